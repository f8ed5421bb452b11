//! Whether an experiment makes sense.
//!
//! It decides the rules that stop an experiment before any pod is made. Its analyses are judged when
//! their templates are read.

use std::collections::BTreeSet;

use super::{Errors, FieldError, FieldErrorKind, selector};
use crate::defaults::PROGRESS_DEADLINE_SECONDS;
use crate::experiment::ExperimentSpec;

/// Returns what is wrong with an experiment, the most important mistake first.
pub fn validate_experiment(spec: &ExperimentSpec) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let progress_deadline = spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECONDS);
    let mut names = BTreeSet::new();
    for (index, template) in spec.templates.iter().enumerate() {
        let path = format!("spec.templates[{index}]");
        match &template.selector {
            None => {
                let message = format!("Rollout has missing field '.Spec.Templates[{index}].Selector'");
                errors.add("", FieldErrorKind::Plain, message);
            }
            Some(found) if found.is_empty() => {
                let value = serde_json::Value::Object(serde_json::Map::new());
                errors.invalid(format!("{path}.selector"), value, "empty selector would select all pods");
            }
            Some(found) => selector::validate(found, &format!("{path}.selector"), &mut errors),
        }
        if template.min_ready_seconds > progress_deadline {
            let message = "must not be greater than progressDeadlineSeconds";
            errors.invalid(format!("{path}.minReadySeconds"), template.min_ready_seconds, message);
        }
        if template.name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if !names.insert(template.name.as_str()) {
            errors.duplicate(format!("{path}.name"), template.name.as_str());
        }
    }
    errors.0
}
