//! Whether one object, looked at alone, makes sense.
//!
//! It decides every rule that needs no second object: paths, messages and their order are those of
//! Argo Rollouts v1.10, because people and dashboards read them. It does not decide whether Services,
//! templates or routes exist, nor what happens to an object that is invalid.
//!
//! A deliberate difference: a `trafficRouting` that names no router is invalid, where Argo Rollouts
//! goes on without one and so without weights.

use std::fmt;

use serde_json::Value;

use crate::meta::RawObject;
use crate::rollout::Rollout;

mod analysis;
mod experiment;
mod gates;
mod pod_template;
mod selector;
mod steps;
mod strategy;

pub use analysis::{validate_analysis_run, validate_analysis_template};
pub use experiment::validate_experiment;
pub use gates::gate_mistakes;
pub use pod_template::validate_pod_template;
pub use strategy::unknown_router;

/// Most mistakes that are reported of one object.
pub const MAX_ERRORS: usize = 100;
/// Most steps that a strategy may have.
pub const MAX_STEPS: usize = 1000;
/// Longest value that is shown in a message.
const MAX_SHOWN_CHARS: usize = 1000;

/// A mistake in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Where it is, such as `spec.strategy.steps[0].setWeight`; may be empty.
    pub path: String,
    /// What sort of mistake it is.
    pub kind: FieldErrorKind,
    /// What is wrong with it, or what to do; may be empty.
    pub message: String,
}

/// What sort of mistake a field has.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldErrorKind {
    /// The value breaks a rule.
    Invalid {
        /// What stands there.
        value: Value,
    },
    /// The value is missing.
    Required,
    /// The object contradicts itself.
    Internal,
    /// The value stands there twice.
    Duplicate {
        /// What stands there.
        value: Value,
    },
    /// The value names something that is not there.
    NotFound {
        /// What stands there.
        value: Value,
    },
    /// The value must not be there at all.
    Forbidden,
    /// The value is not one of those that are known.
    Unsupported {
        /// What stands there.
        value: Value,
    },
    /// Only the path and the message are shown.
    Plain,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            separator = ": ";
        }
        let (title, value) = match &self.kind {
            FieldErrorKind::Invalid { value } => ("Invalid value", Some(value)),
            FieldErrorKind::Required => ("Required value", None),
            FieldErrorKind::Internal => ("Internal error", None),
            FieldErrorKind::Duplicate { value } => ("Duplicate value", Some(value)),
            FieldErrorKind::NotFound { value } => ("Not found", Some(value)),
            FieldErrorKind::Forbidden => ("Forbidden", None),
            FieldErrorKind::Unsupported { value } => ("Unsupported value", Some(value)),
            FieldErrorKind::Plain => ("", None),
        };
        if !title.is_empty() {
            write!(f, "{separator}{title}")?;
            separator = ": ";
        }
        if let Some(value) = value {
            write!(f, "{separator}{}", shown(value))?;
            separator = ": ";
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, "{separator}{}", self.message) }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Collects mistakes, up to a limit.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, path: impl Into<String>, kind: FieldErrorKind, message: impl Into<String>) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError { path: path.into(), kind, message: message.into() });
        }
    }

    fn invalid(&mut self, path: impl Into<String>, value: impl Into<Value>, message: impl Into<String>) {
        self.add(path, FieldErrorKind::Invalid { value: value.into() }, message);
    }

    fn required(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add(path, FieldErrorKind::Required, message);
    }

    fn duplicate(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.add(path, FieldErrorKind::Duplicate { value: value.into() }, "");
    }

    fn not_negative(&mut self, path: impl Into<String>, value: i64) {
        if value < 0 {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_ERRORS
    }
}

/// Returns what is wrong with a Rollout, the most important mistake first.
///
/// `is_template_resolved` says that `spec.template`, and `spec.selector` where it was missing, were
/// filled in from the object that `spec.workloadRef` names. Without that the template of such a Rollout
/// is not looked at, except that it must not have one of its own.
pub fn validate_rollout(rollout: &Rollout, is_template_resolved: bool) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = &rollout.spec;
    let has_workload_ref = spec.workload_ref.is_some();
    errors.not_negative("spec.replicas", i64::from(spec.replicas_or_default()));
    validate_selector(rollout, &mut errors);
    if has_workload_ref && !is_template_resolved {
        let template = spec.template.as_ref();
        let is_empty =
            |template: &RawObject| template.labels().is_empty() && template.annotations().is_empty();
        if template.is_some_and(|template| !is_empty(template)) {
            let message = "template must be empty for workload reference rollout";
            errors.add("spec.template", FieldErrorKind::Internal, message);
        }
    } else if let Some(template) = &spec.template {
        pod_template::validate(template, spec.selector.as_ref(), "spec.template", &mut errors);
    } else {
        errors.required("spec.template", "Rollout has missing field '.spec.template'");
    }
    let progress_deadline = spec.progress_deadline_seconds_or_default();
    errors.not_negative("spec.minReadySeconds", i64::from(spec.min_ready_seconds));
    errors.not_negative("spec.revisionHistoryLimit", i64::from(spec.revision_history_limit_or_default()));
    errors.not_negative("spec.progressDeadlineSeconds", i64::from(progress_deadline));
    if progress_deadline <= spec.min_ready_seconds {
        let message = "must be greater than minReadySeconds";
        errors.invalid("spec.progressDeadlineSeconds", progress_deadline, message);
    }
    strategy::validate(rollout, &mut errors);
    errors.0
}

fn validate_selector(rollout: &Rollout, errors: &mut Errors) {
    let spec = &rollout.spec;
    match &spec.selector {
        None if spec.workload_ref.is_none() => {
            errors.required("spec.selector", "Rollout has missing field '.spec.selector'");
        }
        None => {}
        Some(found) => {
            selector::validate(found, "spec.selector", errors);
            if found.is_empty() && spec.workload_ref.is_none() {
                let message = "empty selector is invalid for deployment";
                errors.invalid("spec.selector", Value::Object(serde_json::Map::new()), message);
            }
        }
    }
}

/// Returns a value as JSON, for a message.
fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
