//! What is awaited: the object, what was seen of it, and what is wanted.
//!
//! Only words: whether something is awaited is decided where the moves are.

use std::fmt;

use jiff::Timestamp;

use super::{Destination, Set};
use crate::replicas::Corridor;

/// Why nothing (more) is done now: who is looked at, what was seen and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The kind of wait.
    pub reason: WaitReason,
    /// Kind and name of what is looked at.
    pub object: String,
    /// What was seen there.
    pub seen: String,
    /// What is wanted there.
    pub wanted: String,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, wanted {}", self.object, self.seen, self.wanted)
    }
}

/// The kinds of waits. Each has somebody who ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// Pods of a version are not available: scheduler, kubelet, deadline, user.
    Pods,
    /// Surplus pods still exist: kubelet.
    Termination,
    /// A weight is not live everywhere: router, settle time.
    Weight,
    /// Nobody can say whether a route is live, and the data plane's own word is wanted: person.
    Verify,
    /// A Service's change is not live everywhere: settle time.
    Endpoints,
    /// Stable cannot carry its share back: pods, grace time.
    Carry,
    /// A shrink would go below what must stay available: pods, user.
    Floor,
    /// A scale-down deadline runs: clock.
    Deadline,
    /// No place is free within `replicas + maxSurge`: pods, user.
    Place,
    /// A router cannot be written or read: retry, user.
    Router,
    /// A pause step or a person's pause: clock or person.
    Pause,
    /// `replicas` is 0: autoscaler, person.
    Asleep,
    /// `replicas` was 0, and the first pod of stable is not there yet: pods, grace time.
    Waking,
    /// A step, strategy or router that this build does not carry out: another build.
    Unsupported,
    /// The spec or what it refers to is invalid: person.
    Invalid,
    /// An abort stands: retry or another template.
    Aborted,
    /// Pods are being restarted: kubelet, disruption budgets.
    Restart,
    /// An analysis is not over, or leaves the decision to a person: measurements, person.
    Analysis,
}

impl WaitReason {
    /// Every reason, for metrics and documentation.
    pub const ALL: [WaitReason; 18] = [
        WaitReason::Pods,
        WaitReason::Termination,
        WaitReason::Weight,
        WaitReason::Verify,
        WaitReason::Endpoints,
        WaitReason::Carry,
        WaitReason::Floor,
        WaitReason::Deadline,
        WaitReason::Place,
        WaitReason::Router,
        WaitReason::Pause,
        WaitReason::Asleep,
        WaitReason::Waking,
        WaitReason::Unsupported,
        WaitReason::Invalid,
        WaitReason::Aborted,
        WaitReason::Restart,
        WaitReason::Analysis,
    ];

    /// The name used in conditions and as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            WaitReason::Pods => "Pods",
            WaitReason::Termination => "Termination",
            WaitReason::Weight => "Weight",
            WaitReason::Verify => "Verify",
            WaitReason::Endpoints => "Endpoints",
            WaitReason::Carry => "Carry",
            WaitReason::Floor => "Floor",
            WaitReason::Deadline => "Deadline",
            WaitReason::Place => "Place",
            WaitReason::Router => "Router",
            WaitReason::Pause => "Pause",
            WaitReason::Asleep => "Asleep",
            WaitReason::Waking => "Waking",
            WaitReason::Unsupported => "Unsupported",
            WaitReason::Invalid => "Invalid",
            WaitReason::Aborted => "Aborted",
            WaitReason::Restart => "Restart",
            WaitReason::Analysis => "Analysis",
        }
    }
}

/// The wait for pods of one version.
pub(super) fn wait_for_pods(set: &Set, wanted: i64) -> Wait {
    let trouble = set.trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let seen = format!("{} of {} pods available{trouble}", set.available, set.size);
    Wait {
        reason: WaitReason::Pods,
        object: format!("ReplicaSet {}", set.name),
        seen,
        wanted: format!("{wanted} available"),
    }
}

/// The wait for surplus pods of one version to go.
pub(super) fn wait_for_termination(set: &Set) -> Wait {
    Wait {
        reason: WaitReason::Termination,
        object: format!("ReplicaSet {}", set.name),
        seen: format!("{} pods exist", set.existing),
        wanted: set.size.to_string(),
    }
}

/// The wait for enough available pods to let some of one version go.
pub(super) fn wait_for_floor(set: &Set, available: i64, corridor: Corridor) -> Wait {
    Wait {
        reason: WaitReason::Floor,
        object: format!("ReplicaSet {}", set.name),
        seen: format!("{} pods are needed while {available} are available in all", set.size),
        wanted: format!("more than {} available", corridor.floor()),
    }
}

/// The wait for a scale-down deadline.
pub(super) fn wait_for_deadline(set: &Set, at: Timestamp) -> Wait {
    Wait {
        reason: WaitReason::Deadline,
        object: format!("ReplicaSet {}", set.name),
        seen: format!("{} pods", set.size),
        wanted: format!("0 pods after {at}"),
    }
}

/// The wait for `replicas` to rise above 0.
pub(super) fn wait_asleep() -> Wait {
    Wait {
        reason: WaitReason::Asleep,
        object: "spec.replicas".into(),
        seen: "0".into(),
        wanted: "1 or more".into(),
    }
}

/// The wait for whatever holds the rollout to let go of it.
pub(super) fn wait_halted() -> Wait {
    Wait {
        reason: WaitReason::Pause,
        object: "rollout".into(),
        seen: "halted".into(),
        wanted: "to be resumed".into(),
    }
}

/// The wait for a Service to lead where it should, for everybody.
pub(super) fn wait_for_service(destination: &Destination, seen: &str, wanted: String) -> Wait {
    Wait {
        reason: WaitReason::Endpoints,
        object: format!("Service {}", destination.name),
        seen: seen.into(),
        wanted,
    }
}

/// What is seen of a Service whose selector is right, but was not long ago.
pub(super) const LATE: &str = "its last change may not have reached every proxy";
