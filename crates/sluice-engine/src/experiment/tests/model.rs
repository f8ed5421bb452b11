//! A cluster in a few maps: it takes writes as the API server does, and pods come up at once or never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_api::analysis::AnalysisTemplateSpec;
use sluice_api::experiment::ExperimentStatus;
use sluice_api::steps::AnalysisTemplateRef;
use sluice_api::{Experiment, keys};

use crate::analysis::{Run, RunOwner, Templates, run};
use crate::experiment::{
    ExperimentAction, ExperimentPlan, ExperimentWorld, Failure, FoundService, decide_experiment,
};
use crate::plan::Event;
use crate::spec::{self, Owner};
use crate::world::ReplicaSet;

pub const UID: &str = "uid-of-ex";

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

pub struct Model {
    pub experiment: Experiment,
    pub sets: BTreeMap<String, Value>,
    pub services: BTreeMap<String, Value>,
    pub runs: BTreeMap<String, Value>,
    pub templates: Templates,
    pub malformed: Option<String>,
    pub taken: BTreeMap<String, i32>,
    pub failed: Option<Failure>,
    pub now: Timestamp,
    /// Templates whose pods never start.
    pub never: BTreeSet<String>,
    /// Runs that are told to end have measured something well before.
    pub has_measured: bool,
    pub events: Vec<Event>,
    /// Every write, in words.
    pub log: Vec<String>,
    version: u64,
}

/// A template of an experiment with one pod that has a port.
pub fn template(name: &str) -> Value {
    json!({
        "name": name,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web", keys::POD_TEMPLATE_HASH: "of-somebody-else"}},
            "spec": {"containers": [{"name": "app", "image": "web:1", "ports": [{"containerPort": 8080}]}]},
        },
    })
}

/// An analysis by the template `checks`.
pub fn analysis(name: &str, is_required: bool) -> Value {
    json!({"name": name, "templateName": "checks", "requiredForCompletion": is_required})
}

impl Model {
    pub fn new(spec: &Value) -> Model {
        let experiment = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
            "metadata": {"name": "ex", "namespace": "ns", "uid": UID, "resourceVersion": "1"},
            "spec": spec,
        });
        let reference = AnalysisTemplateRef { template_name: "checks".into(), cluster_scope: false };
        let checks = json!({
            "args": [{"name": "version", "value": "none"}],
            "metrics": [{"name": "m", "interval": "1m", "provider": {"web": {"url": "http://x/{{args.version}}"}}}],
        });
        let checks: AnalysisTemplateSpec = serde_json::from_value(checks).expect("a template");
        Model {
            experiment: serde_json::from_value(experiment).expect("an experiment"),
            sets: BTreeMap::new(),
            services: BTreeMap::new(),
            runs: BTreeMap::new(),
            templates: Templates::from([(reference, Arc::new(checks))]),
            malformed: None,
            taken: BTreeMap::new(),
            failed: None,
            now: at(1_000_000),
            never: BTreeSet::new(),
            has_measured: true,
            events: Vec::new(),
            log: Vec::new(),
            version: 1,
        }
    }

    pub fn status(&self) -> ExperimentStatus {
        self.experiment.status.clone().unwrap_or_default()
    }

    /// Phase and message.
    pub fn phase(&self) -> String {
        let status = self.status();
        format!("{} {}", status.phase, status.message).trim().to_owned()
    }

    /// Status of each template, and phase of each run.
    pub fn parts(&self) -> String {
        let status = self.status();
        let templates = status.template_statuses.iter().map(|t| format!("{}:{}", t.name, t.status));
        let runs = status.analysis_runs.iter().map(|a| format!("{}:{}", a.name, a.phase));
        templates.chain(runs).collect::<Vec<_>>().join(" ")
    }

    pub fn size(&self, set: &str) -> i64 {
        self.sets.get(set).map_or(-1, |set| set["spec"]["replicas"].as_i64().unwrap_or(1))
    }

    fn own_sets(&self) -> Vec<Arc<ReplicaSet>> {
        let sets = self.sets.values().filter_map(|set| {
            let owned = spec::replica_set(set.clone()).expect("a ReplicaSet");
            let is_own = matches!(&owned.owner, Owner::Experiment { uid, .. } if uid == UID);
            is_own.then_some(owned.set)
        });
        sets.collect()
    }

    pub fn own_runs(&self) -> Vec<Arc<Run>> {
        let runs = self.runs.values().filter_map(|object| {
            let owned = run::read(object.clone()).expect("a run");
            matches!(&owned.owner, RunOwner::Experiment(_, uid) if uid == UID).then_some(owned.run)
        });
        runs.collect()
    }

    pub fn decide(&self) -> ExperimentPlan {
        let services = self.services.iter().map(|(name, object)| {
            let service = spec::service(object.clone()).expect("a Service");
            let is_own = service.experiment.as_ref().is_some_and(|owner| owner.1 == UID);
            (name.clone(), FoundService { is_own, service })
        });
        let world = ExperimentWorld {
            experiment: &self.experiment,
            malformed: self.malformed.as_deref(),
            sets: self.own_sets(),
            services: services.collect(),
            runs: self.own_runs(),
            templates: self.templates.clone(),
            troubles: BTreeMap::new(),
            taken: self.taken.clone(),
            served: BTreeSet::new(),
            shares_traffic: false,
            settle: SignedDuration::from_secs(5),
            failed: self.failed.clone(),
        };
        let plan = decide_experiment(&world, self.now);
        let again = decide_experiment(&world, self.now);
        assert_eq!(format!("{plan:?}"), format!("{again:?}"), "deciding twice is the same");
        plan
    }

    fn version(&mut self) -> Value {
        self.version += 1;
        self.version.to_string().into()
    }

    fn made(&mut self, object: &Value) -> Value {
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = self.version();
        object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        object["metadata"]["creationTimestamp"] = self.now.to_string().into();
        object
    }

    /// Whether an object that is written to is the experiment's own, at the version that was looked at.
    #[track_caller]
    fn check(object: Option<&Value>, version: Option<&str>) {
        let object = object.expect("what is written to exists");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], UID, "only what is owned is written to");
        if let Some(version) = version {
            assert_eq!(object["metadata"]["resourceVersion"], version);
        }
    }

    /// Carries out one write.
    #[track_caller]
    pub fn write(&mut self, action: &ExperimentAction) {
        match action {
            ExperimentAction::CreateService { name, object } => {
                self.log.push(format!("create Service {name}"));
                let object = self.made(object);
                assert!(self.services.insert(name.clone(), object).is_none(), "{name} is taken");
            }
            ExperimentAction::CreateReplicaSet { name, object } => {
                self.log.push(format!("create ReplicaSet {name} {}", object["spec"]["replicas"]));
                let object = self.made(object);
                assert!(self.sets.insert(name.clone(), object).is_none(), "{name} is taken");
            }
            ExperimentAction::CreateRun { name, object, .. } => {
                self.log.push(format!("create AnalysisRun {name}"));
                let object = self.made(object);
                assert!(self.runs.insert(name.clone(), object).is_none(), "{name} is taken");
            }
            ExperimentAction::SelectPods { name, resource_version, hash } => {
                self.log.push(format!("select Service {name}"));
                Self::check(self.services.get(name), Some(resource_version));
                let version = self.version();
                let service = self.services.get_mut(name).expect("it is there");
                service["spec"]["selector"][keys::POD_TEMPLATE_HASH] = hash.as_str().into();
                service["metadata"]["resourceVersion"] = version;
            }
            ExperimentAction::DeleteService { name, resource_version } => {
                self.log.push(format!("delete Service {name}"));
                Self::check(self.services.get(name), Some(resource_version));
                self.services.remove(name);
            }
            ExperimentAction::Scale { name, resource_version, replicas } => {
                self.log.push(format!("scale ReplicaSet {name} {replicas}"));
                Self::check(self.sets.get(name), Some(resource_version));
                let version = self.version();
                let set = self.sets.get_mut(name).expect("it is there");
                set["spec"]["replicas"] = (*replicas).into();
                if let Some(annotations) = set["metadata"]["annotations"].as_object_mut() {
                    annotations.remove(keys::SCALE_DOWN_DEADLINE);
                }
                set["metadata"]["resourceVersion"] = version;
            }
            ExperimentAction::SetDeadline { name, resource_version, deadline } => {
                self.log.push(format!("deadline ReplicaSet {name}"));
                Self::check(self.sets.get(name), Some(resource_version));
                let version = self.version();
                let set = self.sets.get_mut(name).expect("it is there");
                if let Some(annotations) = set["metadata"]["annotations"].as_object_mut() {
                    annotations.remove(keys::SCALE_DOWN_DEADLINE);
                    let at = deadline.as_deref().map(Value::from);
                    annotations.extend(at.map(|at| (keys::SCALE_DOWN_DEADLINE.to_owned(), at)));
                }
                set["metadata"]["resourceVersion"] = version;
            }
            ExperimentAction::TerminateRun { name, .. } => {
                self.log.push(format!("terminate AnalysisRun {name}"));
                Self::check(self.runs.get(name), None);
                self.runs.get_mut(name).expect("it is there")["spec"]["terminate"] = true.into();
            }
        }
    }

    /// One look. Tells whether anything was written. The first `most` writes are done; then it dies.
    #[track_caller]
    pub fn look_and_die_after(&mut self, most: usize) -> bool {
        let plan = self.decide();
        for write in plan.writes.iter().take(most) {
            self.write(&write.action);
        }
        if plan.writes.len() > most {
            return true;
        }
        self.events.extend(plan.events.clone());
        if plan.status_changed {
            self.experiment.status = Some(plan.status.clone());
        }
        !plan.is_empty()
    }

    /// Looks until nothing is to be done any more.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..20 {
            if !self.look_and_die_after(usize::MAX) {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.decide());
    }

    /// Pods come and go as sizes say, and runs end that are told to. Tells whether anything changed.
    pub fn kubelet(&mut self) -> bool {
        let mut changed = false;
        let is_proven = self.has_measured;
        for set in self.sets.values_mut() {
            let template = set["metadata"]["annotations"][keys::EXPERIMENT_TEMPLATE_NAME].as_str();
            let starts = template.is_none_or(|template| !self.never.contains(template));
            let size = set["spec"]["replicas"].as_i64().unwrap_or(1);
            let up = if starts { size } else { 0 };
            let status = json!({"replicas": size, "readyReplicas": up, "availableReplicas": up});
            if set["status"] != status {
                set["status"] = status;
                self.version += 1;
                set["metadata"]["resourceVersion"] = self.version.to_string().into();
                changed = true;
            }
        }
        for run in self.runs.values_mut() {
            let phase = run["status"]["phase"].as_str().unwrap_or_default();
            if run["spec"]["terminate"] == true && matches!(phase, "" | "Pending" | "Running") {
                end(run, "Successful", "Run Terminated", is_proven);
                changed = true;
            }
        }
        changed
    }

    /// Lets everything come to rest that needs no time.
    #[track_caller]
    pub fn rest(&mut self) {
        for _ in 0..20 {
            self.settle();
            if !self.kubelet() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets time pass, with a look whenever one was asked for.
    #[track_caller]
    pub fn pass(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        for _ in 0..1_000 {
            self.rest();
            let Some(next) = self.decide().recheck_at.filter(|at| *at <= end) else {
                self.now = end;
                self.rest();
                return;
            };
            assert!(next > self.now, "a look that is asked for lies ahead");
            self.now = next;
        }
        panic!("it looks without end");
    }

    /// Lets a run end.
    #[track_caller]
    pub fn end_run(&mut self, name: &str, phase: &str, message: &str) {
        end(self.runs.get_mut(name).expect("the run exists"), phase, message, true);
    }

    #[track_caller]
    pub fn run_runs(&mut self, name: &str) {
        self.runs.get_mut(name).expect("the run exists")["status"] = json!({"phase": "Running"});
    }
}

fn end(run: &mut Value, phase: &str, message: &str, is_proven: bool) {
    run["status"] = json!({
        "phase": phase, "message": message,
        "metricResults": [{"name": "m", "phase": phase, "successful": i64::from(is_proven)}],
    });
}
