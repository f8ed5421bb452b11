//! A stand-in for the shell, for tests: looks, reads Secrets, measures by script, writes, lets time pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, AnalysisRun, AnalysisRunStatus, Measurement, MetricResult};

use crate::measure::{Garbage, RunPlan, RunWorld, Secrets, Task, TaskKind, TaskResult, decide_run};
use crate::plan::Event;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A run with a spec; metrics without a provider get one.
pub fn run(mut spec: Value) -> AnalysisRun {
    for metric in spec["metrics"].as_array_mut().into_iter().flatten() {
        let metric = metric.as_object_mut().expect("a metric");
        metric.entry("name").or_insert(json!("m"));
        metric.entry("provider").or_insert(json!({"prometheus": {"query": "up"}}));
    }
    serde_json::from_value(json!({"metadata": {"name": "run"}, "spec": spec})).expect("a run")
}

/// A run with one metric.
pub fn one(metric: Value) -> AnalysisRun {
    run(json!({"metrics": [metric]}))
}

/// A finished measurement by its letter; `R` is one that goes on.
pub fn measurement(letter: char) -> Measurement {
    let phase = match letter {
        'S' => AnalysisPhase::Successful,
        'F' => AnalysisPhase::Failed,
        'I' => AnalysisPhase::Inconclusive,
        'E' => AnalysisPhase::Error,
        'R' => AnalysisPhase::Running,
        other => panic!("no phase is called {other}"),
    };
    let message = if letter == 'E' { "boom".to_owned() } else { String::new() };
    Measurement { phase, message, ..Measurement::default() }
}

pub struct Simulator {
    pub run: AnalysisRun,
    pub now: Timestamp,
    /// What the next measurements of each metric come to. Whoever has no script succeeds.
    pub script: BTreeMap<String, VecDeque<Measurement>>,
    /// What can be read; `None` is what does not exist.
    pub secrets: Secrets,
    pub read: Vec<String>,
    pub tasks: Vec<(i64, TaskKind, String)>,
    pub events: Vec<Event>,
    pub garbage: Vec<Garbage>,
}

impl Simulator {
    pub fn new(run: AnalysisRun, scripts: &[(&str, &str)]) -> Self {
        let script = |letters: &str| letters.chars().map(measurement).collect();
        Self {
            run,
            now: at(1_000),
            script: scripts.iter().map(|(name, letters)| ((*name).to_owned(), script(letters))).collect(),
            secrets: Secrets::new(),
            read: Vec::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            garbage: Vec::new(),
        }
    }

    pub fn status(&self) -> AnalysisRunStatus {
        self.run.status.clone().unwrap_or_default()
    }

    pub fn metric(&self, name: &str) -> MetricResult {
        let results = self.status().metric_results;
        results.into_iter().find(|result| result.name == name).unwrap_or_default()
    }

    pub fn terminate(&mut self) {
        self.run.spec.terminate = true;
    }

    pub fn decide(&self, secrets: &Secrets, results: Vec<TaskResult>) -> RunPlan {
        let world = RunWorld { run: &self.run, secrets, results, has_finished: BTreeSet::new() };
        let plan = decide_run(&world, self.now);
        assert_eq!(decide_run(&world, self.now), plan, "deciding twice");
        plan
    }

    /// The secrets that a plan asks for, as far as they are there.
    pub fn read(&mut self, plan: &RunPlan) -> Secrets {
        self.read.extend(plan.secrets.iter().map(|key| format!("{}/{}", key.name, key.key)));
        let missing = |name: &str, key: &str| format!("key '{key}' does not exist in secret '{name}'");
        let value = |key: &sluice_lang::template::SecretKey| {
            self.secrets.get(key).cloned().unwrap_or_else(|| Err(missing(&key.name, &key.key)))
        };
        plan.secrets.iter().map(|key| (key.clone(), value(key))).collect()
    }

    pub fn measure(&mut self, task: &Task) -> TaskResult {
        self.tasks.push((self.now.as_second(), task.kind, task.metric.name.clone()));
        let script = self.script.get_mut(&task.metric.name);
        let next = script.and_then(VecDeque::pop_front).unwrap_or_else(|| measurement('S'));
        let started_at = task.measurement.as_ref().and_then(|measurement| measurement.started_at);
        task.result(Measurement { started_at, ..next }, BTreeMap::new())
    }

    /// One look: until the status is written.
    pub fn look(&mut self) -> RunPlan {
        let mut secrets = Secrets::new();
        let mut plan = self.decide(&secrets, Vec::new());
        if !plan.secrets.is_empty() {
            assert!(!plan.status_changed && plan.tasks.is_empty(), "{plan:?}");
            secrets = self.read(&plan);
            plan = self.decide(&secrets, Vec::new());
            assert!(plan.secrets.is_empty(), "they have been read");
        }
        if !plan.tasks.is_empty() {
            assert!(!plan.status_changed && plan.events.is_empty(), "{plan:?}");
            let tasks = plan.tasks.clone();
            let results = tasks.iter().map(|task| self.measure(task)).collect();
            plan = self.decide(&secrets, results);
            assert!(plan.tasks.is_empty() && plan.secrets.is_empty(), "{plan:?}");
        }
        self.store(&plan);
        plan
    }

    pub fn store(&mut self, plan: &RunPlan) {
        assert_eq!(plan.status_changed, self.status() != plan.status);
        self.events.extend(plan.events.iter().cloned());
        self.garbage.extend(plan.garbage.iter().cloned());
        if plan.status_changed {
            // As it goes through the API server.
            let json = serde_json::to_value(&plan.status).expect("plain data");
            self.run.status = Some(serde_json::from_value(json).expect("what was written"));
        }
    }

    /// Looks and lets time pass, until the run is over, has nothing to wait for, or so many looks were had.
    pub fn looks(&mut self, most: usize) {
        for _ in 0..most {
            let plan = self.look();
            if self.status().phase.is_terminal() {
                return;
            }
            let Some(recheck_at) = plan.recheck_at else { return };
            self.now = self.now.max(recheck_at);
        }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }
}
