//! Measurements to be made, and what comes back of them.
//!
//! It decides what a measurement may show: a result is made of its task, which hides every Secret that was
//! read for the run. There is no other way to make one.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, Measurement, Metric};
use sluice_lang::template::{SecretValue, redact};

use super::evidence;
use super::gate::{Gate, Position};

/// What is done with a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    /// Begin it.
    Run,
    /// Look at it again.
    Resume,
    /// Stop it.
    Terminate,
}

/// Something that is read beside what a metric itself says, of the same provider and at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aside {
    /// How many samples there are.
    Samples,
    /// What the stable version does.
    Baseline,
}

/// One measurement that is to be carried on now.
#[derive(Clone, PartialEq)]
pub struct Task {
    /// What is to be done.
    pub kind: TaskKind,
    /// The metric with everything filled in, Secrets too.
    pub metric: Metric,
    /// The measurement in flight, for all but [`TaskKind::Run`].
    pub measurement: Option<Measurement>,
    /// Which measurement of its metric it is, from 1. It stays the same until that one is counted, so
    /// whatever is named by it is found again by whoever repeats the task after a crash.
    pub number: i64,
    /// What else is to be read, each as a metric whose provider says it. A provider knows nothing of gates.
    pub asides: Vec<(Aside, Metric)>,
    /// What makes the metric a gate.
    pub gate: Gate,
    /// Where the Rollout stands.
    pub position: Position,
    /// What must not be seen in logs and results.
    pub secrets: Vec<SecretValue>,
}

impl fmt::Debug for Task {
    /// Leaves out the metric, which holds Secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut task = f.debug_struct("Task");
        task.field("kind", &self.kind).field("metric", &self.metric.name).field("number", &self.number);
        task.field("measurement", &self.measurement).finish_non_exhaustive()
    }
}

impl Task {
    /// Makes the result of a task. `metadata` is what the provider says of the metric.
    pub fn result(&self, measurement: Measurement, metadata: BTreeMap<String, String>) -> TaskResult {
        let hidden = |text: &str| redact(text, &self.secrets);
        let is_over = measurement.phase.is_terminal();
        let hidden_value = |(key, value): (String, String)| {
            // By what is in flight a provider finds its work again: an identifier, or a plugin's own notes.
            let is_handle = HANDLES.contains(&key.as_str());
            let value = if is_over && !is_handle { hidden(&value) } else { value };
            (key, value)
        };
        let asked = if is_over { evidence::asked(&self.metric, &self.asides) } else { BTreeMap::new() };
        let said = asked.into_iter().chain(measurement.metadata);
        let measurement = Measurement {
            message: hidden(&measurement.message),
            value: hidden(&measurement.value),
            metadata: said.map(hidden_value).collect(),
            ..measurement
        };
        TaskResult {
            metric: self.metric.name.clone(),
            kind: self.kind,
            number: self.number,
            measurement,
            metadata: metadata.into_iter().map(|(key, value)| (key, hidden(&value))).collect(),
        }
    }
}

/// Metadata that are never made of arguments, and by which Jobs are removed at last.
const HANDLES: [&str; 2] = ["job-name", "job-namespace"];

/// What came back of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult {
    metric: String,
    kind: TaskKind,
    number: i64,
    measurement: Measurement,
    metadata: BTreeMap<String, String>,
}

impl TaskResult {
    /// The metric's name.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// What was done.
    pub fn kind(&self) -> TaskKind {
        self.kind
    }

    /// Which measurement it is.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// The measurement, with Secrets hidden.
    pub fn measurement(&self) -> &Measurement {
        &self.measurement
    }

    /// What the provider says of the metric, with Secrets hidden.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// A task that cannot be carried out, because a Secret could not be read.
pub(super) struct Blocked {
    pub task: Task,
    pub message: String,
}

impl Blocked {
    /// What comes of it, if it is a task of this metric: an error, which is tried again.
    ///
    /// The original ends the whole run in an error and never looks again, so that one failed read aborts a
    /// rollout.
    pub fn unreadable(&self, metric: &str, now: Timestamp) -> Option<TaskResult> {
        let in_flight = self.task.measurement.clone().unwrap_or_default();
        let measurement = Measurement {
            phase: AnalysisPhase::Error,
            message: self.message.clone(),
            finished_at: Some(now.into()),
            ..in_flight
        };
        (self.task.metric.name == metric).then(|| self.task.result(measurement, BTreeMap::new()))
    }
}
