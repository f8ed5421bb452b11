//! How a measurement is counted.
//!
//! It decides what a result changes in its metric's counters and list. What the counters mean is decided in
//! [`super::assess`].

use jiff::{SignedDuration, Timestamp};
use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, Measurement, MetricResult};
use sluice_api::defaults::ERROR_RETRY_SECONDS;
use sluice_api::meta::Time;

use super::bounds;
use super::origin::{self, Trouble};
use super::task::{TaskKind, TaskResult};
use super::terms::Term;
use super::unjudged;

/// The result of a metric, once it has been measured.
pub fn find<'a>(status: &'a AnalysisRunStatus, name: &str) -> Option<&'a MetricResult> {
    status.metric_results.iter().find(|result| result.name == name)
}

/// The measurement that has begun and not ended.
pub fn in_flight(result: &MetricResult) -> Option<&Measurement> {
    result.measurements.last().filter(|last| last.finished_at.is_none())
}

/// Which measurement is the next to be counted, from 1.
pub fn next_number(result: Option<&MetricResult>) -> i64 {
    let counted = |result: &MetricResult| {
        i64::from(result.count.max(0)) + i64::from(result.error.max(0)) + unjudged::count(result)
    };
    result.map_or(0, counted) + 1
}

/// Puts a result into the status. `trouble` is a dependency that is bad at the time.
pub fn record(
    status: &mut AnalysisRunStatus,
    term: &Term,
    result: &TaskResult,
    trouble: Option<&Trouble>,
    now: Timestamp,
) {
    let mut measurement = complete(result, now);
    let is_in_warm_up = unjudged::is_in_warm_up(term, status, &measurement);
    if is_in_warm_up {
        unjudged::mark(&mut measurement, term);
    } else if let Some(trouble) = trouble.filter(|_| !term.is_dependency) {
        origin::excuse(&mut measurement, trouble);
    }
    bounds::cut_measurement(&mut measurement);
    let place = status.metric_results.iter().position(|found| found.name == term.name());
    let place = place.unwrap_or_else(|| {
        status.metric_results.push(MetricResult {
            name: term.name().to_owned(),
            phase: AnalysisPhase::Running,
            dry_run: term.dry_run,
            ..MetricResult::default()
        });
        status.metric_results.len() - 1
    });
    let metric = &mut status.metric_results[place];
    if metric.metadata.keys().all(|key| key == unjudged::COUNT) {
        metric.metadata.extend(result.metadata().clone());
    }
    if in_flight(metric).is_some() {
        metric.measurements.pop();
    }
    if is_in_warm_up {
        unjudged::add(metric);
    } else if measurement.finished_at.is_some() {
        count(metric, measurement.phase);
    }
    metric.measurements.push(measurement);
}

/// A measurement with everything that its phase asks for.
fn complete(result: &TaskResult, now: Timestamp) -> Measurement {
    let mut measurement = result.measurement().clone();
    measurement.started_at.get_or_insert(now.into());
    match measurement.phase {
        AnalysisPhase::Successful
        | AnalysisPhase::Failed
        | AnalysisPhase::Error
        | AnalysisPhase::Inconclusive => {
            // The next one counts from here, and plugins have clocks of their own.
            let finished_at =
                measurement.finished_at.map_or(now.into(), |finished_at| finished_at.min(now.into()));
            measurement.finished_at = Some(finished_at);
            let is_stopped = result.kind() == TaskKind::Terminate
                && matches!(measurement.phase, AnalysisPhase::Successful | AnalysisPhase::Inconclusive);
            if is_stopped {
                "Metric Terminated".clone_into(&mut measurement.message);
            }
        }
        AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => {
            measurement.phase = AnalysisPhase::Running;
            measurement.finished_at = None;
            if result.kind() != TaskKind::Terminate {
                measurement.resume_at = Some(resume_at(measurement.resume_at, now));
            }
        }
    }
    measurement
}

/// A provider that names no time, or one that has passed, would be asked without a pause.
fn resume_at(wanted: Option<Time>, now: Timestamp) -> Time {
    let after = |seconds| now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now).into();
    wanted.map_or_else(|| after(ERROR_RETRY_SECONDS), |wanted| wanted.max(after(1)))
}

fn count(metric: &mut MetricResult, phase: AnalysisPhase) {
    let add = |counter: &mut i32| *counter = counter.saturating_add(1);
    if phase == AnalysisPhase::Error {
        add(&mut metric.error);
        add(&mut metric.consecutive_error);
        metric.consecutive_success = 0;
        return;
    }
    add(&mut metric.count);
    metric.consecutive_error = 0;
    if phase == AnalysisPhase::Successful {
        add(&mut metric.consecutive_success);
    } else {
        metric.consecutive_success = 0;
    }
    match phase {
        AnalysisPhase::Successful => add(&mut metric.successful),
        AnalysisPhase::Failed => add(&mut metric.failed),
        AnalysisPhase::Inconclusive => add(&mut metric.inconclusive),
        AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running | AnalysisPhase::Error => {}
    }
}
