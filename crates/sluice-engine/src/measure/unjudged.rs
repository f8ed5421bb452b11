//! Measurements that are shown and not judged, because the run warms up.
//!
//! It decides which those are and how they are told from the others. They move no counter; how many there were
//! is on record beside the counters, so that each measurement still has a number of its own.

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, Measurement, MetricResult};

use super::terms::Term;

/// Metadata of a metric: how many measurements were not judged.
pub const COUNT: &str = "sluice.dev/unjudged";
/// Metadata of a measurement: why it was not judged.
const MARK: &str = "unjudged";

/// Whether a measurement fell into the time in which its metric is not judged. An error says nothing of good
/// and bad anyway, and counts as one.
pub fn is_in_warm_up(term: &Term, status: &AnalysisRunStatus, measurement: &Measurement) -> bool {
    let is_an_answer = match measurement.phase {
        AnalysisPhase::Successful | AnalysisPhase::Failed | AnalysisPhase::Inconclusive => true,
        AnalysisPhase::Error | AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => {
            false
        }
    };
    let warm_up = term.gate.warm_up.filter(|warm_up| warm_up.is_positive() && is_an_answer);
    let Some(warm_up) = warm_up else { return false };
    let (Some(begun), Some(started)) = (status.started_at, measurement.started_at) else {
        // The run begins with this measurement.
        return true;
    };
    let end = begun.timestamp().checked_add(warm_up).unwrap_or(Timestamp::MAX);
    started.timestamp() < end
}

/// Marks a measurement as one that is only shown.
pub fn mark(measurement: &mut Measurement, term: &Term) {
    let warm_up = &term.metric.warm_up;
    let seen = measurement.phase;
    measurement.phase = AnalysisPhase::Inconclusive;
    let more =
        if measurement.message.is_empty() { String::new() } else { format!(": {}", measurement.message) };
    measurement.message = format!("warm-up of {warm_up}: shown, not judged (would be {seen}){more}");
    measurement.metadata.insert(MARK.to_owned(), "warm-up".to_owned());
}

/// Whether a measurement is only shown.
pub fn is_marked(measurement: &Measurement) -> bool {
    measurement.metadata.contains_key(MARK)
}

/// How many measurements of a metric were only shown.
pub fn count(result: &MetricResult) -> i64 {
    let count = result.metadata.get(COUNT).and_then(|count| count.parse().ok());
    count.map_or(0, |count: i64| count.clamp(0, i64::from(i32::MAX)))
}

/// Puts one more on record.
pub fn add(result: &mut MetricResult) {
    let count = count(result).saturating_add(1).min(i64::from(i32::MAX));
    result.metadata.insert(COUNT.to_owned(), count.to_string());
}
