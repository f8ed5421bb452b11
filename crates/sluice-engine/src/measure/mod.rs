//! What one AnalysisRun does next, and how it stands.
//!
//! It decides which metrics are to be measured now, what their measurements mean for the run, and when to
//! look again. It does not measure, does not read Secrets, and does not know what a Rollout makes of a run.
//!
//! Same rules as Argo Rollouts v1.10, `analysis/analysis.go`. Differences are named where they are made; the
//! common thread is that trouble on our side (a Secret that cannot be read for a moment) is an error of one
//! measurement, which is tried again, and not the end of the run.
//!
//! One look goes: [`decide_run`] without results. If it names Secrets, they are read and it is asked again.
//! If it names [`Task`]s, all of them are carried out and it is asked again with their results. Then the
//! status is written if it changed. Nothing else is remembered between two looks, so whoever dies on the way
//! starts over from what is stored; and every task has a number by which a result that has been counted
//! already is known.
//!
//! In reading order: [`terms`] (what the spec says once arguments are filled in), [`limits`], [`due`] (what a
//! metric needs next), [`gate`] (limits, samples and the stable version), [`task`], [`record`] (how a measurement is counted), [`assess`] (phases and messages),
//! [`bounds`] (the status stays small), [`ttl`], and [`measured`] for those who measure.

pub mod assess;
pub mod bounds;
pub mod due;
pub mod evidence;
pub mod gate;
pub mod limits;
pub mod measured;
mod origin;
pub mod record;
pub mod task;
pub mod terms;
pub mod ttl;
mod unjudged;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, Measurement};
use sluice_api::defaults::ERROR_RETRY_SECONDS;
use sluice_lang::template::{SecretKey, SecretValue};

use crate::plan::Event;
use due::Next;
pub use gate::{Gate, Position, Readings};
pub use measured::{Asides, Reading, measured};
pub use task::{Aside, Task, TaskKind, TaskResult};
use terms::{Term, Terms};

/// The Secrets that were read for a run: the value of each key, or why it could not be read.
pub type Secrets = BTreeMap<SecretKey, Result<SecretValue, String>>;

/// Everything that a decision about one run can depend on, apart from the time.
#[derive(Clone, Debug)]
pub struct RunWorld<'a> {
    /// The run as it is stored.
    pub run: &'a AnalysisRun,
    /// What was read for it; empty until it is asked for.
    pub secrets: &'a Secrets,
    /// Measurements that came back since the last decision.
    pub results: Vec<TaskResult>,
    /// Names of metrics whose measurement in flight is known to have ended, such as one whose Job is done.
    /// They are looked at without waiting for `resumeAt`.
    pub has_finished: BTreeSet<String>,
}

/// Everything to be done about one run now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPlan {
    /// The whole new status.
    pub status: AnalysisRunStatus,
    /// Whether it differs from the one that is stored.
    pub status_changed: bool,
    /// What has to be read before anything else; the decision is then asked for again, with an answer for
    /// each, be it only why it could not be read.
    pub secrets: Vec<SecretKey>,
    /// What has to be carried out, all at once; the decision is then asked for again with the results.
    pub tasks: Vec<Task>,
    /// Events to record, once the status is written.
    pub events: Vec<Event>,
    /// What measurements left behind and nobody needs any more; to be removed before the status is written,
    /// because nothing points to it afterwards.
    pub garbage: Vec<Garbage>,
    /// Whether the run has been kept long enough after its end.
    pub delete: bool,
    /// The next instant at which the answer can differ with no change in the cluster.
    pub recheck_at: Option<Timestamp>,
}

/// Measurements that are not kept, for providers that leave something behind, such as Jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Name of the metric.
    pub metric: String,
    /// The measurements, oldest first.
    pub measurements: Vec<Measurement>,
}

/// Decides what a run does now.
///
/// With results in the world no further tasks are asked for: whatever has become due meanwhile is due at
/// `recheck_at`, after the results are safely stored.
pub fn decide_run(world: &RunWorld, now: Timestamp) -> RunPlan {
    let spec = &world.run.spec;
    let stored = world.run.status.clone().unwrap_or_default();
    if world.run.metadata.deletion_timestamp.is_some() {
        return RunPlan { status: stored, ..RunPlan::default() };
    }
    if stored.phase.is_terminal() {
        return after_the_end(spec, stored, now);
    }
    let terms = match Terms::read(spec) {
        Ok(terms) => terms,
        Err(message) => return refuse(spec, stored, message, now),
    };

    let is_ending = is_ending(spec, &terms, &stored);
    let wanted = wanted(world, &terms, &stored, is_ending, now);
    let given = accepted(&world.results, &wanted);
    let open: Vec<&Wanted> = wanted.iter().filter(|want| !given.contains_key(want.term.name())).collect();

    let unread = unread(&open, world.secrets);
    let is_first_look = world.results.is_empty();
    if is_first_look && !unread.is_empty() {
        return RunPlan { status: stored, secrets: unread.into_iter().collect(), ..RunPlan::default() };
    }
    let position = Position::of(world.run.metadata.annotations.as_ref());
    let (tasks, blocked) = tasks(spec, &terms, &open, world.secrets, &unread, position);
    if is_first_look && !tasks.is_empty() {
        return RunPlan { status: stored, tasks, ..RunPlan::default() };
    }

    let mut status = stored.clone();
    // Before any result is counted, so that it does not matter which of them is counted first.
    let trouble = origin::trouble(&terms, &stored, &given);
    for term in &terms.metrics {
        if let Some(result) = given.get(term.name()) {
            record::record(&mut status, term, result, trouble.as_ref(), now);
        } else if let Some(result) = blocked.iter().find_map(|task| task.unreadable(term.name(), now)) {
            record::record(&mut status, term, &result, None, now);
        }
    }
    // What is in flight and was not heard of may not be forgotten by an end of the run.
    let is_unheard = tasks.iter().any(|task| task.kind == TaskKind::Terminate);
    let outlook = assess::Outlook { is_ending, is_terminated: spec.terminate, is_unheard };
    let events = assess::assess(&mut status, &terms, outlook, now);
    let garbage = bounds::trim(&mut status, &terms);
    let recheck_at = recheck_at(spec, &terms, &status, now);
    RunPlan { status_changed: stored != status, status, events, garbage, recheck_at, ..RunPlan::default() }
}

fn after_the_end(spec: &AnalysisRunSpec, status: AnalysisRunStatus, now: Timestamp) -> RunPlan {
    let over_at = ttl::over_at(spec.ttl_strategy.as_ref(), &status);
    let delete = over_at.is_some_and(|over_at| over_at <= now);
    RunPlan { status, delete, recheck_at: over_at.filter(|_| !delete), ..RunPlan::default() }
}

/// Ends a run that cannot be carried out as it is written.
///
/// The original leaves `completedAt` empty, so that such a run is kept for ever, and forgets about Jobs that
/// are still under way.
fn refuse(spec: &AnalysisRunSpec, mut status: AnalysisRunStatus, message: String, now: Timestamp) -> RunPlan {
    let in_flight = status.metric_results.iter().filter_map(|result| {
        let last = result.measurements.last().filter(|last| last.finished_at.is_none())?;
        Some(Garbage { metric: result.name.clone(), measurements: vec![last.clone()] })
    });
    let garbage = in_flight.collect();
    status.phase = AnalysisPhase::Error;
    status.message = message;
    status.completed_at = Some(now.into());
    bounds::cut(&mut status.message, bounds::MAX_RUN_MESSAGE_BYTES);
    RunPlan {
        recheck_at: ttl::over_at(spec.ttl_strategy.as_ref(), &status),
        events: assess::run_event(status.phase).into_iter().collect(),
        status,
        status_changed: true,
        garbage,
        ..RunPlan::default()
    }
}

/// Tells whether a run takes no new measurements: it is told to end, or a metric that counts has ended badly.
fn is_ending(spec: &AnalysisRunSpec, terms: &Terms, status: &AnalysisRunStatus) -> bool {
    let ended_badly = |term: &Term| {
        !term.dry_run
            && record::find(status, term.name()).is_some_and(|result| match result.phase {
                AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive => true,
                AnalysisPhase::Unset
                | AnalysisPhase::Pending
                | AnalysisPhase::Running
                | AnalysisPhase::Successful => false,
            })
    };
    spec.terminate || terms.metrics.iter().any(ended_badly) || is_judged(terms, status)
}

/// Tells whether nothing is left but dependencies, which are measured for the sake of the others.
fn is_judged(terms: &Terms, status: &AnalysisRunStatus) -> bool {
    let is_over =
        |term: &Term| record::find(status, term.name()).is_some_and(|result| result.phase.is_terminal());
    let mut own = terms.metrics.iter().filter(|term| !term.is_dependency);
    terms.metrics.iter().any(|term| term.is_dependency) && own.all(is_over)
}

/// Something that a metric needs now.
struct Wanted<'a> {
    term: &'a Term,
    kind: TaskKind,
    in_flight: Option<Measurement>,
    number: i64,
}

fn wanted<'a>(
    world: &RunWorld,
    terms: &'a Terms,
    status: &AnalysisRunStatus,
    is_ending: bool,
    now: Timestamp,
) -> Vec<Wanted<'a>> {
    let want = |term: &'a Term| {
        let result = record::find(status, term.name());
        let look = due::Look {
            started_at: status.started_at,
            is_ending,
            has_finished: world.has_finished.contains(term.name()),
        };
        match due::next(term, result, look, now) {
            Next::Nothing | Next::At(_) => None,
            Next::Now(kind) => Some(Wanted {
                term,
                kind,
                in_flight: result.and_then(record::in_flight).cloned(),
                number: record::next_number(result),
            }),
        }
    };
    let mut wanted: Vec<Wanted> = terms.metrics.iter().filter_map(want).collect();
    // How a dependency does is asked together with everything else, so that a failure always has an answer
    // beside it.
    let is_asked = |kind: TaskKind| wanted.iter().any(|want| !want.term.is_dependency && want.kind == kind);
    let (is_begun, is_resumed) = (is_asked(TaskKind::Run), is_asked(TaskKind::Resume));
    let beside = |term: &&'a Term| {
        let result = record::find(status, term.name());
        let is_due = is_begun || is_resumed && due::is_older(result, ERROR_RETRY_SECONDS, now);
        let is_at_rest =
            result.is_none_or(|result| !result.phase.is_terminal() && record::in_flight(result).is_none());
        term.is_dependency && is_due && is_at_rest && !wanted.iter().any(|want| want.term.index == term.index)
    };
    let beside: Vec<Wanted> = (terms.metrics.iter().filter(beside))
        .map(|term| Wanted {
            term,
            kind: TaskKind::Run,
            in_flight: None,
            number: record::next_number(record::find(status, term.name())),
        })
        .collect();
    wanted.extend(beside);
    wanted
}

/// The results that answer what is wanted, by metric. Others have been counted already.
fn accepted<'a>(results: &'a [TaskResult], wanted: &[Wanted]) -> BTreeMap<&'a str, &'a TaskResult> {
    let mut accepted = BTreeMap::new();
    for result in results {
        let answers = |want: &Wanted| {
            want.term.name() == result.metric()
                && want.kind == result.kind()
                && want.number == result.number()
        };
        if wanted.iter().any(answers) {
            accepted.entry(result.metric()).or_insert(result);
        }
    }
    accepted
}

fn unread(open: &[&Wanted], secrets: &Secrets) -> BTreeSet<SecretKey> {
    let keys = open.iter().flat_map(|want| &want.term.secrets);
    keys.filter(|key| !secrets.contains_key(key)).cloned().collect()
}

/// What can be carried out, and what cannot because a Secret could not be read.
fn tasks(
    spec: &AnalysisRunSpec,
    terms: &Terms,
    open: &[&Wanted],
    secrets: &Secrets,
    unread: &BTreeSet<SecretKey>,
    position: Position,
) -> (Vec<Task>, Vec<task::Blocked>) {
    let known: Vec<SecretValue> = secrets.values().filter_map(|value| value.clone().ok()).collect();
    let (mut tasks, mut blocked) = (Vec::new(), Vec::new());
    for want in open {
        let is_waiting = want.term.secrets.iter().any(|key| unread.contains(key));
        let metric = if is_waiting {
            Ok((want.term.metric.clone(), Vec::new()))
        } else {
            match terms.resolve(spec, want.term, secrets) {
                // A Job under way is known by its name. It must not be lost because of a Secret.
                Err(_) if want.term.metric.provider.job.is_some() && want.kind != TaskKind::Run => {
                    Ok((want.term.metric.clone(), Vec::new()))
                }
                resolved => resolved,
            }
        };
        let task = |(metric, asides)| Task {
            kind: want.kind,
            metric,
            asides,
            gate: want.term.gate.clone(),
            position,
            measurement: want.in_flight.clone(),
            number: want.number,
            secrets: known.clone(),
        };
        match metric {
            Ok(metric) => tasks.push(task(metric)),
            Err(message) => {
                blocked.push(task::Blocked { task: task((want.term.metric.clone(), Vec::new())), message });
            }
        }
    }
    (tasks, blocked)
}

fn recheck_at(
    spec: &AnalysisRunSpec,
    terms: &Terms,
    status: &AnalysisRunStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    if status.phase.is_terminal() {
        return ttl::over_at(spec.ttl_strategy.as_ref(), status);
    }
    // The first metric that ends badly ends the others, and that is the next decision's work.
    if is_ending(spec, terms, status) {
        return Some(now);
    }
    let look = due::Look { started_at: status.started_at, is_ending: false, has_finished: false };
    let next = |term: &Term| match due::next(term, record::find(status, term.name()), look, now) {
        Next::Nothing => None,
        Next::At(at) => Some(at),
        Next::Now(_) => Some(now),
    };
    terms.metrics.iter().filter_map(next).min()
}
