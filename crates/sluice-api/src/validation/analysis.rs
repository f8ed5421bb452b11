//! Whether metrics make sense.
//!
//! It decides the rules that Argo Rollouts applies before a run begins. Conditions and queries are
//! judged where they are evaluated.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use sluice_lang::go_duration;

use super::gates::{gate_mistakes, nothing_judged};
use super::{Errors, FieldError, FieldErrorKind};
use crate::analysis::{AnalysisRunSpec, AnalysisTemplateSpec, Metric};
use crate::defaults::CONSECUTIVE_ERROR_LIMIT;
use crate::meta::IntOrString;
use crate::steps::{DryRun, MeasurementRetention};

/// Largest compiled pattern over metric names.
const PATTERN_LIMIT_BYTES: usize = 1 << 20;

/// Returns what is wrong with a run whose arguments are already filled in.
///
/// The text of the first mistake is what follows `Analysis spec invalid: ` in the run's message.
pub fn validate_analysis_run(spec: &AnalysisRunSpec) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if spec.metrics.is_empty() {
        errors.add("", FieldErrorKind::Plain, "no metrics specified");
    }
    validate_metrics(&spec.metrics, &mut errors);
    // A template alone may bring nothing but dependencies; what it is merged with brings the rest.
    if let Some(mistake) = nothing_judged(&spec.metrics) {
        errors.add("metrics", FieldErrorKind::Plain, mistake);
    }
    let names: Vec<&str> = spec.metrics.iter().map(|metric| metric.name.as_str()).collect();
    validate_rules(&spec.dry_run, &spec.measurement_retention, &names, &mut errors);
    errors.0
}

/// Returns what is wrong with a template. A field with a placeholder in it is not judged, and neither
/// is a rule for metrics that another template may bring.
pub fn validate_analysis_template(spec: &AnalysisTemplateSpec) -> Vec<FieldError> {
    let mut errors = Errors::default();
    validate_metrics(&spec.metrics, &mut errors);
    errors.0
}

fn validate_metrics(metrics: &[Metric], errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, metric) in metrics.iter().enumerate() {
        let path = format!("metrics[{index}]");
        if !names.insert(metric.name.as_str()) {
            let message = format!("duplicate name '{}'", metric.name);
            errors.add(path.as_str(), FieldErrorKind::Plain, message);
        }
        for message in metric_mistakes(metric) {
            errors.add(path.as_str(), FieldErrorKind::Plain, message);
        }
    }
}

fn metric_mistakes(metric: &Metric) -> Vec<String> {
    let mut mistakes: Vec<String> = Vec::new();
    let mut check = |is_wrong: Option<bool>, message: &str| {
        if is_wrong == Some(true) {
            mistakes.push(message.to_owned());
        }
    };
    let count = number(metric.count.as_ref(), 0);
    let failures = number(metric.failure_limit.as_ref(), 0);
    let inconclusive = number(metric.inconclusive_limit.as_ref(), 0);
    let errors = number(metric.consecutive_error_limit.as_ref(), i64::from(CONSECUTIVE_ERROR_LIMIT));
    let successes = number(metric.consecutive_success_limit.as_ref(), 0);

    check(successes.map(|limit| limit < 0), "consecutiveSuccessLimit must be >= 0");
    check(failures.map(|limit| limit < -1), "failureLimit must be >= 0, or -1 to be disabled");
    let limits = failures.zip(successes);
    let message = "failureLimit and consecutiveSuccessLimit cannot both be disabled";
    check(limits.map(|(failures, successes)| failures == -1 && successes == 0), message);
    check(inconclusive.map(|limit| limit < 0), "inconclusiveLimit must be >= 0");
    check(errors.map(|limit| limit < 0), "consecutiveErrorLimit must be >= 0");
    if let Some((count, (failures, successes))) = count.zip(limits).filter(|(count, _)| *count > 0) {
        let message = format!(
            "count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failures} + {successes}) if both >= 0"
        );
        check(Some(failures >= 0 && count < failures + successes), &message);
        let message = "count must be >= consecutiveSuccessLimit";
        check(Some(failures == -1 && count < successes), message);
    }
    let both = count.zip(inconclusive);
    let message = "count must be >= inconclusiveLimit";
    check(both.map(|(count, inconclusive)| count > 0 && count < inconclusive), message);
    check(
        count.map(|count| count > 1 && metric.interval.is_empty()),
        "interval must be specified when count > 1",
    );
    for (text, name) in [(&metric.interval, "interval"), (&metric.initial_delay, "startDelay")] {
        if text.is_empty() || has_placeholder(text) {
            continue;
        }
        if let Err(error) = go_duration::parse(text) {
            mistakes.push(format!("invalid {name} string: {error}"));
        }
    }
    match metric.provider.providers().len() {
        0 => mistakes.push("no provider specified".to_owned()),
        1 => {}
        _ => mistakes.push("multiple providers specified".to_owned()),
    }
    mistakes.extend(gate_mistakes(metric));
    mistakes
}

/// Returns a number; `None` while a placeholder stands in its place.
pub(super) fn number(value: Option<&IntOrString>, default: i64) -> Option<i64> {
    match value {
        None => Some(default),
        Some(IntOrString::Text(text)) if has_placeholder(text) => None,
        Some(value) => Some(i64::from(value.as_int())),
    }
}

pub(super) fn has_placeholder(text: &str) -> bool {
    text.contains("{{")
}

fn validate_rules(
    dry_run: &[DryRun],
    retention: &[MeasurementRetention],
    names: &[&str],
    errors: &mut Errors,
) {
    let dry_run = dry_run.iter().map(|rule| rule.metric_name.as_str());
    let retention = retention.iter().map(|rule| rule.metric_name.as_str());
    let rules = dry_run
        .enumerate()
        .map(|(index, pattern)| ("dryRun", index, pattern))
        .chain(retention.enumerate().map(|(index, pattern)| ("measurementRetention", index, pattern)));
    for (field, index, pattern) in rules {
        // A pattern that is none matches nothing.
        let matches = RegexBuilder::new(pattern).size_limit(PATTERN_LIMIT_BYTES).build();
        if !matches.is_ok_and(|pattern| names.iter().any(|name| pattern.is_match(name))) {
            let message = "Rule didn't match any metric name(s)";
            errors.add(format!("{field}[{index}]"), FieldErrorKind::Plain, message);
        }
        if errors.is_full() {
            return;
        }
    }
}
