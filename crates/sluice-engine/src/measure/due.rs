//! What a metric needs next, and when.
//!
//! It decides that for one metric at a time. Both the tasks of a look and the time of the next look come from
//! here, so that they cannot disagree.

use jiff::{SignedDuration, Timestamp};
use sluice_api::analysis::{AnalysisPhase, MetricResult};
use sluice_api::defaults::ERROR_RETRY_SECONDS;
use sluice_api::meta::Time;

use super::record;
use super::task::TaskKind;
use super::terms::Term;

/// Shortest time between measurements. Times are stored with whole seconds, so less than one cannot be kept
/// and an interval of 0 would never let go of the provider.
const SHORTEST_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// What all metrics of a run have in common when one is looked at, and what is known of this one.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When the run began.
    pub started_at: Option<Time>,
    /// No new measurements are taken.
    pub is_ending: bool,
    /// The measurement in flight is known to have ended.
    pub has_finished: bool,
}

/// What a metric needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, unless something else changes.
    Nothing,
    /// Something, from this instant on.
    At(Timestamp),
    /// This.
    Now(TaskKind),
}

/// Decides what a metric needs next.
pub fn next(term: &Term, result: Option<&MetricResult>, look: Look, now: Timestamp) -> Next {
    if result.is_some_and(|result| result.phase.is_terminal()) {
        return Next::Nothing;
    }
    if let Some(in_flight) = result.and_then(record::in_flight) {
        return match in_flight.resume_at.map(Time::timestamp) {
            _ if look.is_ending => Next::Now(TaskKind::Terminate),
            Some(resume_at) if resume_at > now && !look.has_finished => Next::At(resume_at),
            _ => Next::Now(TaskKind::Resume),
        };
    }
    if look.is_ending {
        return Next::Nothing;
    }
    let Some((result, last)) = result.and_then(|result| Some((result, result.measurements.last()?))) else {
        let comes_along = term.is_dependency && term.interval.is_none();
        return if comes_along { Next::Nothing } else { first(term, look.started_at, now) };
    };
    if term.limits.count.is_some_and(|count| result.count >= count) {
        return Next::Nothing;
    }
    if term.is_dependency && term.interval.is_none() {
        // It is measured together with the others.
        return Next::Nothing;
    }
    let retry = SignedDuration::from_secs(ERROR_RETRY_SECONDS);
    let pause = match term.interval {
        Some(interval) if last.phase != AnalysisPhase::Error => interval.max(SHORTEST_INTERVAL),
        _ => retry,
    };
    // One nanosecond late, because a measurement is due only after its time has passed.
    let pause = pause.saturating_add(SignedDuration::from_nanos(1));
    // One without an end is in flight.
    last.finished_at.map_or(Next::Nothing, |finished| from(finished.timestamp(), pause, now))
}

/// Whether the last measurement of a metric is so many seconds old, or there is none.
pub fn is_older(result: Option<&MetricResult>, seconds: i64, now: Timestamp) -> bool {
    let last = result.and_then(|result| result.measurements.last()?.finished_at);
    last.is_none_or(|last| now.duration_since(last.timestamp()) >= SignedDuration::from_secs(seconds))
}

fn first(term: &Term, started_at: Option<Time>, now: Timestamp) -> Next {
    match (term.initial_delay, started_at) {
        (None, _) => Next::Now(TaskKind::Run),
        (Some(delay), Some(started_at)) => from(started_at.timestamp(), delay, now),
        // The delay counts from a beginning that has yet to be written down.
        (Some(_), None) => Next::Nothing,
    }
}

/// What lies beyond the range of time is never due.
fn from(start: Timestamp, pause: SignedDuration, now: Timestamp) -> Next {
    match start.checked_add(pause) {
        Ok(at) if at > now => Next::At(at),
        Ok(_) => Next::Now(TaskKind::Run),
        Err(_) => Next::Nothing,
    }
}
