//! What measurements mean: the phases of metrics and of the run, and why.
//!
//! It decides from counters and phases alone. It does not decide what is measured next.

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, MetricResult, RunSummary};

use super::bounds;
use super::evidence::evidence;
use super::origin;
use super::record;
use super::terms::{Term, Terms};
use crate::plan::Event;

/// What is known of the run as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// No new measurements are taken.
    pub is_ending: bool,
    /// Somebody asked for the end.
    pub is_terminated: bool,
    /// A measurement is in flight that was to be stopped and was not heard of.
    pub is_unheard: bool,
}

/// Brings the phases, messages and summaries of a run that is not over up to date.
pub fn assess(status: &mut AnalysisRunStatus, terms: &Terms, outlook: Outlook, now: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    status.started_at.get_or_insert(now.into());
    for of_dependencies in [false, true] {
        // With the last of the others a dependency has nothing more to be measured for.
        let is_ending = outlook.is_ending || of_dependencies && super::is_judged(terms, status);
        for term in terms.metrics.iter().filter(|term| term.is_dependency == of_dependencies) {
            let found = status.metric_results.iter_mut().find(|result| result.name == term.name());
            if let Some(result) = found {
                events.extend(assess_metric(result, term, is_ending));
            }
        }
    }
    let (phase, message) = verdict(status, terms, outlook);
    if phase != status.phase {
        status.phase = phase;
        status.message = message;
        bounds::cut(&mut status.message, bounds::MAX_RUN_MESSAGE_BYTES);
        if phase.is_terminal() {
            status.completed_at = Some(now.into());
            events.extend(run_event(phase));
        }
    }
    status.run_summary = summary(status, terms, false);
    status.dry_run_summary = Some(summary(status, terms, true));
    events
}

fn assess_metric(result: &mut MetricResult, term: &Term, is_ending: bool) -> Option<Event> {
    let phase = metric_phase(result, term, is_ending);
    if phase == result.phase {
        return None;
    }
    result.phase = phase;
    let reason = limit_message(result, term).filter(|_| term.dry_run);
    result.message = match reason {
        Some(reason) => format!("Metric assessed {phase} due to {reason}{}", evidence(result, term)),
        None => result.measurements.last().map(|last| last.message.clone()).unwrap_or_default(),
    };
    bounds::cut(&mut result.message, bounds::MAX_MESSAGE_BYTES);
    metric_event(phase, term.name())
}

fn metric_phase(result: &MetricResult, term: &Term, is_ending: bool) -> AnalysisPhase {
    if result.phase.is_terminal() {
        return result.phase;
    }
    if result.measurements.is_empty() {
        return if is_ending { AnalysisPhase::Successful } else { AnalysisPhase::Pending };
    }
    if record::in_flight(result).is_some() {
        return AnalysisPhase::Running;
    }
    if let Some(limit) = Limit::reached(result, term) {
        return limit.phase;
    }
    let limits = &term.limits;
    if limits.consecutive_successes.is_some_and(|limit| result.consecutive_success >= limit) {
        return AnalysisPhase::Successful;
    }
    if limits.count.is_some_and(|count| result.count >= count) {
        return match limits.consecutive_successes {
            None => AnalysisPhase::Successful,
            Some(_) if limits.failures.is_none() => AnalysisPhase::Failed,
            Some(_) => AnalysisPhase::Inconclusive,
        };
    }
    match origin::last_judged(&result.measurements) {
        _ if !is_ending => AnalysisPhase::Running,
        // It is over when the others are, and shows how the dependency did then.
        Some(last) if term.is_dependency => last.phase,
        _ => AnalysisPhase::Successful,
    }
}

/// A limit that a metric went beyond.
struct Limit {
    phase: AnalysisPhase,
    message: String,
}

impl Limit {
    /// Returns the limit that counts: of several, the last in this order.
    fn reached(result: &MetricResult, term: &Term) -> Option<Self> {
        let limits = &term.limits;
        let errors = (result.consecutive_error, limits.consecutive_errors);
        let reached = [
            (AnalysisPhase::Error, "consecutiveErrors", "consecutiveErrorLimit", Some(errors)),
            (
                AnalysisPhase::Inconclusive,
                "inconclusive",
                "inconclusiveLimit",
                Some((result.inconclusive, limits.inconclusive)),
            ),
            (
                AnalysisPhase::Failed,
                "failed",
                "failureLimit",
                limits.failures.map(|limit| (result.failed, limit)),
            ),
        ];
        reached.into_iter().find_map(|(phase, counter, limit_name, numbers)| {
            let (number, limit) = numbers.filter(|(number, limit)| number > limit)?;
            Some(Self { phase, message: format!("{counter} ({number}) > {limit_name} ({limit})") })
        })
    }
}

/// Why a metric that is over ended other than well.
fn limit_message(result: &MetricResult, term: &Term) -> Option<String> {
    match result.phase {
        AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive => {}
        AnalysisPhase::Unset
        | AnalysisPhase::Pending
        | AnalysisPhase::Running
        | AnalysisPhase::Successful => return None,
    }
    if let Some(limit) = Limit::reached(result, term) {
        return Some(limit.message);
    }
    // The original gives no reason when all measurements are taken and too few in a row were good.
    let limit = term.limits.consecutive_successes?;
    Some(format!("consecutiveSuccess ({}) < consecutiveSuccessLimit ({limit})", result.consecutive_success))
}

/// The run's phase, and the message that goes with it if it is new.
fn verdict(status: &AnalysisRunStatus, terms: &Terms, outlook: Outlook) -> (AnalysisPhase, String) {
    let mut worst: Option<AnalysisPhase> = None;
    let mut message = if outlook.is_terminated { "Run Terminated".to_owned() } else { String::new() };
    let mut all_over = true;
    for term in &terms.metrics {
        let Some(result) = record::find(status, term.name()).filter(|result| result.phase.is_terminal())
        else {
            all_over = false;
            continue;
        };
        if term.dry_run {
            worst.get_or_insert(AnalysisPhase::Successful);
        } else if worst.is_none_or(|worst| result.phase.badness() > worst.badness()) {
            worst = Some(result.phase);
            if let Some(reason) = limit_message(result, term) {
                message = run_message(result, term, &reason);
            }
        }
    }
    let is_over = if outlook.is_ending { !outlook.is_unheard } else { all_over };
    if is_over {
        (worst.unwrap_or(AnalysisPhase::Successful), message)
    } else {
        (AnalysisPhase::Running, String::new())
    }
}

fn run_message(result: &MetricResult, term: &Term, reason: &str) -> String {
    let mut message = format!("Metric \"{}\" assessed {} due to {reason}", result.name, result.phase);
    if !result.message.is_empty() {
        message.push_str(&format!(": \"Error Message: {}\"", result.message));
    }
    message + &evidence(result, term)
}

fn summary(status: &AnalysisRunStatus, terms: &Terms, of_dry_run: bool) -> RunSummary {
    let mut summary = RunSummary::default();
    for term in terms.metrics.iter().filter(|term| term.dry_run == of_dry_run) {
        summary.count = summary.count.saturating_add(1);
        // By phase, and not by the limit that was passed as in the original, where a metric without enough
        // successes in a row is summed up as successful.
        let counter = match record::find(status, term.name()).map(|result| result.phase) {
            Some(AnalysisPhase::Successful) => &mut summary.successful,
            Some(AnalysisPhase::Failed) => &mut summary.failed,
            Some(AnalysisPhase::Error) => &mut summary.error,
            Some(AnalysisPhase::Inconclusive) => &mut summary.inconclusive,
            Some(AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running) | None => continue,
        };
        *counter = counter.saturating_add(1);
    }
    summary
}

/// The event of a run that is over.
pub fn run_event(phase: AnalysisPhase) -> Option<Event> {
    let reason = match phase {
        AnalysisPhase::Successful => "AnalysisRunSuccessful",
        AnalysisPhase::Failed => "AnalysisRunFailed",
        AnalysisPhase::Error => "AnalysisRunError",
        AnalysisPhase::Inconclusive => "AnalysisRunInconclusive",
        AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => return None,
    };
    Some(event(phase, reason, format!("Analysis Completed. Result: {phase}")))
}

fn metric_event(phase: AnalysisPhase, name: &str) -> Option<Event> {
    let reason = match phase {
        AnalysisPhase::Successful => "MetricSuccessful",
        AnalysisPhase::Failed => "MetricFailed",
        AnalysisPhase::Error => "MetricError",
        AnalysisPhase::Inconclusive => "MetricInconclusive",
        AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => return None,
    };
    Some(event(phase, reason, format!("Metric '{name}' Completed. Result: {phase}")))
}

fn event(phase: AnalysisPhase, reason: &'static str, mut message: String) -> Event {
    bounds::cut(&mut message, bounds::MAX_MESSAGE_BYTES);
    let is_warning = matches!(phase, AnalysisPhase::Failed | AnalysisPhase::Error);
    Event { is_warning, reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::limits::Limits;
    use sluice_api::analysis::{Measurement, Metric};

    fn term(limits: Limits) -> Term {
        Term {
            metric: Metric { name: "m".to_owned(), ..Metric::default() },
            dry_run: false,
            kept: 10,
            limits,
            interval: None,
            initial_delay: None,
            secrets: Vec::new(),
            index: 0,
            is_dependency: false,
            gate: crate::measure::Gate::default(),
        }
    }

    /// The counters of a metric after a measurement => its phase, while the run goes on and while it ends.
    #[test]
    fn counters_make_a_phase() {
        let base = Limits {
            count: Some(9),
            failures: Some(1),
            inconclusive: 1,
            consecutive_errors: 1,
            consecutive_successes: None,
        };
        let successes = Limits { consecutive_successes: Some(2), ..base };
        let endless = Limits { count: None, ..base };
        let tireless = Limits { failures: None, ..successes };
        // (failed, inconclusive, errors in a row, successes in a row, count)
        for (limits, (failed, inconclusive, errors, in_a_row, count), going_on, ending) in [
            (base, (0, 0, 0, 0, 0), "Running", "Successful"),
            (base, (1, 1, 1, 0, 8), "Running", "Successful"),
            (base, (1, 1, 1, 0, 9), "Successful", "Successful"),
            (endless, (0, 0, 0, 100, 100), "Running", "Successful"),
            (base, (2, 0, 0, 0, 9), "Failed", "Failed"),
            (base, (2, 2, 0, 0, 9), "Inconclusive", "Inconclusive"),
            (base, (2, 2, 2, 0, 9), "Error", "Error"),
            (successes, (1, 0, 0, 2, 3), "Successful", "Successful"),
            (successes, (2, 0, 0, 2, 9), "Failed", "Failed"),
            (successes, (1, 0, 0, 1, 9), "Inconclusive", "Inconclusive"),
            (successes, (1, 0, 0, 1, 8), "Running", "Successful"),
            (tireless, (8, 0, 0, 1, 9), "Failed", "Failed"),
            (tireless, (7, 0, 0, 2, 9), "Successful", "Successful"),
        ] {
            let over =
                Measurement { finished_at: Some(Timestamp::UNIX_EPOCH.into()), ..Measurement::default() };
            let mut result = MetricResult {
                failed,
                inconclusive,
                count,
                consecutive_error: errors,
                consecutive_success: in_a_row,
                measurements: vec![over],
                ..MetricResult::default()
            };
            let phase =
                |result: &MetricResult, is_ending| metric_phase(result, &term(limits), is_ending).to_string();
            assert_eq!(
                (phase(&result, false).as_str(), phase(&result, true).as_str()),
                (going_on, ending),
                "{result:?}"
            );
            // In flight, and without any measurement, counters say nothing.
            result.measurements[0].finished_at = None;
            assert_eq!(phase(&result, true), "Running");
            result.measurements.clear();
            assert_eq!(
                (phase(&result, false).as_str(), phase(&result, true).as_str()),
                ("Pending", "Successful")
            );
            // What is over stays.
            result.phase = AnalysisPhase::Inconclusive;
            assert_eq!(phase(&result, false), "Inconclusive");
        }
    }
}
