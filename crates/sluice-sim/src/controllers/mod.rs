//! The controllers, scheduler and kubelets of the simulated cluster.
//!
//! Each is a function of what it sees: it reads through a `View`, and answers with operations and with the
//! next instant at which it wants to look again. None reads a clock or draws a number that does not follow
//! from the seed; what a controller keeps for itself (names given out, instants finer than the seconds that
//! are written) could be lost without harm.
//! They expect to see the cluster as it is, their own last writes included, and so need none of the real
//! ones' precautions against stale caches. They know nothing of any custom kind.

mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod job;
mod kubelet;
mod nodes;
mod object;
mod ownership;
mod pods;
mod quota;
mod replica_set;
mod scheduler;
mod seeded;
mod selector;
#[cfg(test)]
mod story_tests;
#[cfg(test)]
mod testing;

use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;

pub use self::deployment::Deployments;
pub use self::disruption::Disruption;
pub use self::endpoints::Endpoints;
pub use self::garbage::{GarbageCollector, Namespaces};
pub use self::job::Jobs;
pub use self::kubelet::Kubelets;
pub use self::kubelet::behaviour::{Exit, Plan, PodBehaviour, Run};
pub use self::nodes::{NodeLifecycle, node};
pub use self::replica_set::ReplicaSets;
pub use self::scheduler::{Capacity, Scheduler};

use self::kubelet::behaviour::Behaviour;
use crate::seam::Controller;

/// Kinds that every cluster has and that can be owned, or be emptied out of a namespace.
pub const BUILT_IN_KINDS: &[&str] = &[
    "ConfigMap",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Event",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "Lease",
    "Namespace",
    "Node",
    "Pod",
    "PodDisruptionBudget",
    "ReplicaSet",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
];

/// How the cluster behaves.
#[derive(Clone)]
pub struct Settings {
    /// Names and jitter follow from it.
    pub seed: u64,
    /// From the creation of a pod to its binding to a node.
    pub schedule_after: SignedDuration,
    /// From a pod's arrival on its node to the start of its containers.
    pub start_after: SignedDuration,
    /// From the start of a container to its readiness.
    pub ready_after: SignedDuration,
    /// Up to so much is added to `ready_after`, pod by pod.
    pub ready_jitter: SignedDuration,
    /// From the deletion of a pod to its disappearance; a shorter grace period cuts it.
    pub termination: SignedDuration,
    /// From the loss of a node to the deletion of its pods.
    pub evict_after: SignedDuration,
    /// What all nodes together hold. Node objects have limits of their own.
    pub capacity: Capacity,
    /// Names of the nodes while there are no Node objects.
    pub nodes: Vec<String>,
    /// Pods that ReplicaSets may bring each namespace to. ResourceQuota objects count as well.
    pub max_pods: Option<usize>,
    /// Kinds that the garbage and namespace controllers look at, custom ones included.
    pub kinds: Vec<String>,
    /// Says what pods do, in place of the conventions.
    pub behaviour: Option<Arc<dyn PodBehaviour>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            schedule_after: SignedDuration::ZERO,
            start_after: SignedDuration::ZERO,
            ready_after: SignedDuration::from_secs(1),
            ready_jitter: SignedDuration::ZERO,
            termination: SignedDuration::from_secs(1),
            evict_after: SignedDuration::from_secs(300),
            capacity: Capacity::default(),
            nodes: vec!["node-1".to_owned()],
            max_pods: None,
            kinds: BUILT_IN_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
            behaviour: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("seed", &self.seed)
            .field("ready_after", &self.ready_after)
            .field("termination", &self.termination)
            .field("capacity", &self.capacity)
            .field("nodes", &self.nodes)
            .field("max_pods", &self.max_pods)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Adds kinds for the garbage and namespace controllers to look at.
    pub fn with_kinds<'a>(mut self, kinds: impl IntoIterator<Item = &'a str>) -> Self {
        self.kinds.extend(kinds.into_iter().map(str::to_owned));
        self
    }
}

/// Returns all controllers of a cluster with these settings.
pub fn standard(settings: Settings) -> Vec<Box<dyn Controller>> {
    let Settings { seed, max_pods, capacity, nodes, kinds, .. } = settings;
    let behaviour = Behaviour {
        seed,
        start_after: settings.start_after,
        ready_after: settings.ready_after,
        ready_jitter: settings.ready_jitter,
        custom: settings.behaviour,
    };
    vec![
        Box::new(Deployments),
        Box::new(ReplicaSets::new(seed, max_pods)),
        Box::new(Jobs::new(seed)),
        Box::new(Scheduler::new(behaviour.clone(), settings.schedule_after, capacity, nodes)),
        Box::new(Kubelets::new(behaviour, settings.termination)),
        Box::new(NodeLifecycle::new(settings.evict_after)),
        Box::new(Endpoints::new(seed)),
        Box::new(Disruption),
        Box::new(GarbageCollector::new(kinds.clone())),
        Box::new(Namespaces::new(kinds)),
    ]
}
