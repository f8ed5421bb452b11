//! What a decision asks for: ordered writes with their reasons, the whole new status, events.
//!
//! A plan is plain data. Whoever carries it out sends the writes in order and stops at the first that
//! fails; every prefix is safe.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use sluice_api::rollout::RolloutStatus;

use crate::moves::Wait;
use crate::parts::PodSync;
use crate::traffic::Routes;
use crate::world::WorkloadKind;

/// Everything to be done about one Rollout now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Writes, in order.
    pub writes: Vec<Write>,
    /// The whole new status.
    pub status: RolloutStatus,
    /// Whether it differs from the one that was looked at.
    pub status_changed: bool,
    /// Pods that are to follow their ReplicaSets, once all else is done.
    pub pod_syncs: Vec<PodSync>,
    /// Events to record, once the writes before them are done.
    pub events: Vec<Event>,
    /// What is awaited, if the goal is not reached.
    pub wait: Option<Wait>,
    /// Whether neither goal, write nor wait was found: a defect, to be counted.
    pub is_unexplained: bool,
    /// The next instant at which the answer can differ with no change in the cluster.
    pub recheck_at: Option<Timestamp>,
}

impl Plan {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && !self.status_changed && self.pod_syncs.is_empty()
    }
}

/// One write and why it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// What is written.
    pub action: Action,
    /// Why, in words, for logs.
    pub reason: String,
}

/// The writes that a plan can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create an Experiment; the object is complete once the pods of these ReplicaSets, one for each of its templates,
    /// are filled in (`trial::object::fill_in`).
    CreateExperiment {
        /// Its name.
        name: String,
        /// The object.
        object: Value,
        /// The ReplicaSets.
        pods_of: Vec<String>,
    },
    /// Ask an Experiment to end.
    TerminateExperiment {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Delete an Experiment that nobody needs any more.
    DeleteExperiment {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
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
    /// Become the owner of a ReplicaSet that has none and that the selector matches.
    AdoptReplicaSet {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The resource version that was looked at.
        resource_version: String,
    },
    /// Resize a ReplicaSet as the planner says, with the resource version it was decided on.
    Scale {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The new size.
        replicas: i64,
        /// The Rollout's replicas, recorded beside it.
        desired_replicas: i64,
        /// Its scale-down deadline goes with its last pod.
        clear_deadline: bool,
    },
    /// Merge annotations and `minReadySeconds` into a ReplicaSet; `None` removes an annotation.
    AmendReplicaSet {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// Annotations to set or remove.
        annotations: BTreeMap<String, Option<String>>,
        /// A new `minReadySeconds`.
        min_ready_seconds: Option<i64>,
        /// A merge patch of its pod template, for what is not part of its identity; null: none.
        template: Value,
    },
    /// Delete a ReplicaSet that nothing needs.
    DeleteReplicaSet {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The resource version that was looked at.
        resource_version: String,
    },
    /// Merge annotations into the Rollout.
    AnnotateRollout {
        /// Annotations to set or remove.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Write `spec.replicas` where nobody did.
    DefaultReplicas(i64),
    /// Let a Service select one version, or (`None`) all of them.
    SelectService {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The pod template hash.
        hash: Option<String>,
    },
    /// Take everything of ours off a Service, so that it leads to every version again.
    ReleaseService {
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
    },
    /// Evict a pod; what refuses that for now is asked again later.
    Evict {
        /// Its name.
        pod: String,
    },
    /// Resize a workload that the Rollout stands in for, or does not stand in for any more.
    ScaleWorkload {
        /// Its kind.
        kind: WorkloadKind,
        /// Its name.
        name: String,
        /// The resource version that was looked at.
        resource_version: String,
        /// The new size.
        replicas: i64,
        /// Annotations to set or remove with it.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Create an analysis run; the object is complete. A name that is taken by another's is counted on.
    CreateRun {
        /// Its name.
        name: String,
        /// The object.
        object: Value,
    },
    /// Tell an analysis run where its Rollout stands, because its limits depend on that.
    PlaceRun {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The annotations that say so.
        annotations: BTreeMap<String, String>,
    },
    /// Ask an analysis run to end.
    TerminateRun {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Delete an analysis run that nothing needs.
    DeleteRun {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The resource version that was looked at.
        resource_version: String,
    },
    /// Let every router's objects ask for these routes. Where they do already, that is noted and nothing
    /// is sent.
    Route(Routes),
}

/// An event about the Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub is_warning: bool,
    /// The reason.
    pub reason: &'static str,
    /// The text.
    pub message: String,
}

impl Event {
    /// An event of type `Normal`.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Event {
        Event { is_warning: false, reason, message: message.into() }
    }

    /// An event of type `Warning`.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Event {
        Event { is_warning: true, reason, message: message.into() }
    }
}
