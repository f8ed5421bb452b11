//! What is looked at of an Experiment, and what is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_api::Experiment;
use sluice_api::experiment::ExperimentStatus;

use crate::analysis::{Run, Templates};
use crate::moves::Wait;
use crate::plan::Event;
use crate::world::{ReplicaSet, Service};

/// Everything that a decision about one Experiment can depend on, apart from the time.
#[derive(Clone, Debug)]
pub struct ExperimentWorld<'a> {
    /// The Experiment as it is stored.
    pub experiment: &'a Experiment,
    /// A field of its spec that could not be read and was left out.
    pub malformed: Option<&'a str>,
    /// The ReplicaSets that it controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// By name: the Services that it controls, and others that have a name which it wants.
    pub services: BTreeMap<String, FoundService>,
    /// The analysis runs that it controls.
    pub runs: Vec<Arc<Run>>,
    /// The templates that its analyses lead to, as far as they exist.
    pub templates: Templates,
    /// Why pods are not available, by name of their ReplicaSet.
    pub troubles: BTreeMap<String, String>,
    /// How many names for the ReplicaSet of a template turned out to be taken since the status was written.
    pub taken: BTreeMap<String, i32>,
    /// What went wrong when the last plan was carried out.
    pub failed: Option<Failure>,
    /// Hashes of pods that its Rollout sends a share of its traffic to.
    pub served: BTreeSet<String>,
    /// Its Rollout gives it a share of its traffic, if it gets as far.
    pub shares_traffic: bool,
    /// How long a change of routes takes to reach every proxy.
    pub settle: SignedDuration,
}

/// A Service, and whether the Experiment controls it.
#[derive(Clone, Debug)]
pub struct FoundService {
    /// The Experiment controls it.
    pub is_own: bool,
    /// The Service.
    pub service: Service,
}

/// What an Experiment consists of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A template, by name.
    Template(String),
    /// An analysis, by name.
    Analysis(String),
}

/// A write that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it was for.
    pub part: Part,
    /// What was tried and why it failed, in words.
    pub message: String,
    /// It was refused, so that trying again does not help. Otherwise the plan says how things stand, and asks for no
    /// other write, until it is tried again.
    pub is_final: bool,
}

/// Everything to be done about one Experiment now.
#[derive(Clone, Debug, Default)]
pub struct ExperimentPlan {
    /// Writes, in order; every prefix is safe, and the status comes last.
    pub writes: Vec<ExperimentWrite>,
    /// The whole new status.
    pub status: ExperimentStatus,
    /// Whether it differs from the one that is stored.
    pub status_changed: bool,
    /// Events to record, once the status is written.
    pub events: Vec<Event>,
    /// What is awaited, unless it has ended.
    pub wait: Option<Wait>,
    /// The ReplicaSet whose pods are awaited: its name and hash.
    pub awaited: Option<(String, String)>,
    /// The next instant at which the answer can differ with no change in the cluster.
    pub recheck_at: Option<Timestamp>,
}

impl ExperimentPlan {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && !self.status_changed
    }
}

/// One write, what it is for and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentWrite {
    /// What is written.
    pub action: ExperimentAction,
    /// What it is for; `None`: something that the spec does not name any more.
    pub part: Option<Part>,
    /// Why, in words, for logs.
    pub reason: String,
}

/// The writes that a plan can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum ExperimentAction {
    /// Create a Service; the object is complete.
    CreateService {
        /// Its name.
        name: String,
        /// The object.
        object: Value,
    },
    /// Let a Service of the Experiment lead to the pods of a hash.
    SelectPods {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The pod template hash.
        hash: String,
    },
    /// Delete a Service of the Experiment.
    DeleteService {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
    },
    /// Create a ReplicaSet; the object is complete.
    CreateReplicaSet {
        /// Its name.
        name: String,
        /// The object.
        object: Value,
    },
    /// Resize a ReplicaSet and take its scale-down deadline away.
    Scale {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The new size.
        replicas: i64,
    },
    /// Set or take away a scale-down deadline.
    SetDeadline {
        /// Name of the ReplicaSet.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The deadline.
        deadline: Option<String>,
    },
    /// Create an analysis run; the object is complete. A name that is taken by another's is counted on.
    CreateRun {
        /// Its name.
        name: String,
        /// The name that numbers are put behind, as in `<base>.1`.
        base: String,
        /// The object.
        object: Value,
    },
    /// Ask an analysis run to end.
    TerminateRun {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}
