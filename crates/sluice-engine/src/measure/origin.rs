//! Failures at a time when a dependency is bad.
//!
//! It decides which failures are not held against the change. It does not decide what is measured when; a
//! metric of a dependency is measured whenever another is, so that there is always one that says how the
//! dependency was just then, whichever of the two answers first.

use std::collections::BTreeMap;

use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, Measurement};

use super::bounds;
use super::record;
use super::task::TaskResult;
use super::terms::Terms;
use super::unjudged;

/// Longest value that a reason quotes.
const MAX_VALUE_BYTES: usize = 100;

/// A dependency that was bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    metric: String,
    value: String,
}

/// Returns the first dependency, in the order of the spec, that is bad in these results, or was when it was last
/// measured: what a query sees begins before its instant, so an outage that has just ended still shows in it.
pub fn trouble(
    terms: &Terms,
    status: &AnalysisRunStatus,
    given: &BTreeMap<&str, &TaskResult>,
) -> Option<Trouble> {
    let mut dependencies = terms.metrics.iter().filter(|term| term.is_dependency);
    dependencies.find_map(|term| {
        let now = given.get(term.name()).map(|result| result.measurement());
        let now = now.filter(|measurement| !unjudged::is_in_warm_up(term, status, measurement));
        let before = record::find(status, term.name()).and_then(|result| last_judged(&result.measurements));
        let bad = [now, before].into_iter().flatten().find(|m| m.phase == AnalysisPhase::Failed)?;
        let mut value = bad.value.clone();
        bounds::cut(&mut value, MAX_VALUE_BYTES);
        Some(Trouble { metric: term.name().to_owned(), value })
    })
}

/// The newest measurement that says something.
pub fn last_judged(measurements: &[Measurement]) -> Option<&Measurement> {
    let says_something = |measurement: &&Measurement| match measurement.phase {
        AnalysisPhase::Successful | AnalysisPhase::Failed | AnalysisPhase::Inconclusive => {
            !unjudged::is_marked(measurement)
        }
        AnalysisPhase::Error | AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => {
            false
        }
    };
    measurements.iter().rev().find(says_something)
}

/// Takes a failure for what it is worth while a dependency is bad.
pub fn excuse(measurement: &mut Measurement, trouble: &Trouble) {
    if measurement.phase != AnalysisPhase::Failed {
        return;
    }
    measurement.phase = AnalysisPhase::Inconclusive;
    let measured =
        if trouble.value.is_empty() { String::new() } else { format!(" (measured {})", trouble.value) };
    let more =
        if measurement.message.is_empty() { String::new() } else { format!(": {}", measurement.message) };
    measurement.message = format!(
        "dependency \"{}\" is bad at the same time{measured}, so this is not held against the change{more}",
        trouble.metric
    );
    measurement.metadata.insert("dependency".into(), trouble.metric.clone());
}
