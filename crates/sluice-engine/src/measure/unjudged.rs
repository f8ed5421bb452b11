//! Measurements that are shown and not judged, because the run warms up.
//!
//! It decides which those are and how they are told from the others. They move no counter; how many there were
//! is on record beside the counters, so that each measurement still has a number of its own.

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, Measurement, MetricResult};
use sluice_api::meta::Time;

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
    is_an_answer
        && ends_at(term, status).is_none_or(|end| {
            let Some(end) = end else { return false };
            measurement.started_at.is_none_or(|started| started.timestamp() < end)
        })
}

/// When the warm-up ends: `Some(None)` if there is none, `None` if the run has yet to begin.
#[expect(clippy::option_option, reason = "no warm-up and no beginning are two things")]
fn ends_at(term: &Term, status: &AnalysisRunStatus) -> Option<Option<Timestamp>> {
    let Some(warm_up) = term.gate.warm_up.filter(jiff::SignedDuration::is_positive) else {
        return Some(None);
    };
    let started = status.started_at.map(Time::timestamp)?;
    Some(Some(started.checked_add(warm_up).unwrap_or(Timestamp::MAX)))
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
