//! The conditions of a Rollout: how one is set, and the ones that only we write.
//!
//! Does not decide which condition holds; that is `status`.

use jiff::Timestamp;
use sluice_api::meta::Time;
use sluice_api::rollout::ConditionStatus::{self, True};
use sluice_api::rollout::{RolloutCondition, RolloutStatus};

use crate::moves::Wait;

/// Condition types.
pub mod kind {
    /// The spec, or what it refers to, is invalid.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Enough pods are available.
    pub const AVAILABLE: &str = "Available";
    /// The update makes progress.
    pub const PROGRESSING: &str = "Progressing";
    /// The update stands still until a person or a clock goes on.
    pub const PAUSED: &str = "Paused";
    /// Everything is as it should be.
    pub const HEALTHY: &str = "Healthy";
    /// The current version is the stable one.
    pub const COMPLETED: &str = "Completed";
    /// A ReplicaSet cannot create its pods.
    pub const REPLICA_FAILURE: &str = "ReplicaFailure";
    /// What is awaited: present while the goal is not reached.
    pub const WAITING: &str = "Waiting";
    /// A workload runs its pods beside those of the Rollout that took its template, and nobody scales it down.
    pub const DOUBLE_CAPACITY: &str = "DoubleCapacity";
    /// The most available pods that the current version has had during this update.
    pub const MOST_AVAILABLE: &str = "MostAvailable";
}

/// Condition reasons.
pub mod reason {
    /// Of `InvalidSpec`.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Of `Available`.
    pub const AVAILABLE: &str = "AvailableReason";
    /// Of `Healthy`.
    pub const HEALTHY: &str = "RolloutHealthy";
    /// Of `Completed`.
    pub const COMPLETED: &str = "RolloutCompleted";
    /// The update stands still.
    pub const PAUSED: &str = "RolloutPaused";
    /// It goes on again.
    pub const RESUMED: &str = "RolloutResumed";
    /// It starts over after an abort.
    pub const RETRY: &str = "RolloutRetry";
    /// It was aborted.
    pub const ABORTED: &str = "RolloutAborted";
    /// Its ReplicaSet was created.
    pub const NEW_REPLICA_SET: &str = "NewReplicaSetCreated";
    /// Its ReplicaSet was there already.
    pub const FOUND_REPLICA_SET: &str = "FoundNewReplicaSet";
    /// It makes progress.
    pub const UPDATED: &str = "ReplicaSetUpdated";
    /// A finished update lost pods.
    pub const NOT_AVAILABLE: &str = "ReplicaSetNotAvailable";
    /// It is finished.
    pub const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
    /// It stood still for longer than its deadline.
    pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";
    /// Its ReplicaSet could not be created.
    pub const CREATE_ERROR: &str = "ReplicaSetCreateError";
    /// Of `DoubleCapacity`.
    pub const NOT_SCALED_DOWN: &str = "NotScaledDown";
    /// Of `MostAvailable`.
    pub const HIGH_WATER: &str = "HighWaterMark";
}

/// Returns the condition of a type.
pub fn get<'a>(status: &'a RolloutStatus, kind: &str) -> Option<&'a RolloutCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Returns the reason of the `Progressing` condition; empty when there is none.
pub fn progressing_reason(status: &RolloutStatus) -> &str {
    get(status, kind::PROGRESSING).map_or("", |condition| condition.reason.as_str())
}

/// Sets a condition as Argo Rollouts does: an equal status and reason stay untouched, message included;
/// the time of transition changes only with the status; what is updated moves to the end of the list.
pub fn set(
    status: &mut RolloutStatus,
    kind: &str,
    value: ConditionStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if get(status, kind).is_some_and(|old| old.status == value && old.reason == reason) {
        return;
    }
    put(status, kind, value, reason, message, now);
}

/// Sets a condition even if only its message changed.
pub fn set_with_message(
    status: &mut RolloutStatus,
    kind: &str,
    value: ConditionStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if get(status, kind)
        .is_some_and(|old| old.status == value && old.reason == reason && old.message == message)
    {
        return;
    }
    put(status, kind, value, reason, message, now);
}

/// Sets a condition and its time of update in any case.
pub fn put(
    status: &mut RolloutStatus,
    kind: &str,
    value: ConditionStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let since = get(status, kind).filter(|old| old.status == value).and_then(|old| old.last_transition_time);
    remove(status, kind);
    status.conditions.push(RolloutCondition {
        type_: kind.into(),
        status: value,
        reason: reason.into(),
        message: message.into(),
        last_update_time: Some(Time::new(now)),
        last_transition_time: since.or(Some(Time::new(now))),
    });
}

/// Removes a condition.
pub fn remove(status: &mut RolloutStatus, kind: &str) {
    status.conditions.retain(|condition| condition.type_ != kind);
}

/// Writes what is awaited, in place: its time of transition says since when this reason stands.
pub fn set_wait(status: &mut RolloutStatus, wait: Option<(&Wait, &str)>, now: Timestamp) {
    let Some((wait, position)) = wait else {
        remove(status, kind::WAITING);
        return;
    };
    let message = if position.is_empty() { wait.to_string() } else { format!("{position}: {wait}") };
    let reason = wait.reason.label();
    match status.conditions.iter_mut().find(|condition| condition.type_ == kind::WAITING) {
        Some(old) if old.reason == reason => {
            if old.message != message {
                old.message = message;
                old.last_update_time = Some(Time::new(now));
            }
        }
        _ => {
            remove(status, kind::WAITING);
            put(status, kind::WAITING, True, reason, &message, now);
        }
    }
}

/// The most pods that a version has had available during this update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HighWater<'a> {
    /// Hash of the version.
    pub hash: &'a str,
    /// Pods.
    pub pods: i64,
}

const HIGH_WATER_WORDS: &str = " pods available at most: ";

/// Reads the high-water mark; unreadable is absent.
pub fn high_water(status: &RolloutStatus) -> Option<HighWater<'_>> {
    let (hash, pods) = get(status, kind::MOST_AVAILABLE)?.message.split_once(HIGH_WATER_WORDS)?;
    Some(HighWater { hash, pods: pods.parse().ok()? })
}

/// Writes the high-water mark.
pub fn set_high_water(status: &mut RolloutStatus, mark: Option<HighWater<'_>>, now: Timestamp) {
    match mark {
        Some(HighWater { hash, pods }) => {
            let message = format!("{hash}{HIGH_WATER_WORDS}{pods}");
            set_with_message(status, kind::MOST_AVAILABLE, True, reason::HIGH_WATER, &message, now);
        }
        None => remove(status, kind::MOST_AVAILABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moves::WaitReason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn an_equal_status_and_reason_stays_untouched() {
        let mut status = RolloutStatus::default();
        set(&mut status, kind::PAUSED, True, reason::PAUSED, "first", at(1));
        set(&mut status, kind::COMPLETED, ConditionStatus::False, reason::COMPLETED, "x", at(1));
        set(&mut status, kind::PAUSED, True, reason::PAUSED, "second", at(9));
        assert_eq!(status.conditions[0].message, "first");
        set(&mut status, kind::PAUSED, ConditionStatus::False, reason::PAUSED, "third", at(9));
        assert_eq!(status.conditions[1].type_, kind::PAUSED, "an updated condition moves to the end");
        assert_eq!(status.conditions[1].last_transition_time, Some(Time::new(at(9))));
    }

    #[test]
    fn a_wait_keeps_its_beginning_while_its_numbers_change() {
        let wait = |seen: &str| Wait {
            reason: WaitReason::Pods,
            object: "ReplicaSet web-1".into(),
            seen: seen.into(),
            wanted: "2 available".into(),
        };
        let mut status = RolloutStatus::default();
        set_wait(&mut status, Some((&wait("0 of 2"), "step 1/4")), at(1));
        set_wait(&mut status, Some((&wait("1 of 2"), "step 1/4")), at(5));
        let condition = get(&status, kind::WAITING).expect("waiting");
        assert_eq!(condition.last_transition_time, Some(Time::new(at(1))));
        assert_eq!(condition.message, "step 1/4: ReplicaSet web-1: 1 of 2, wanted 2 available");
        set_wait(&mut status, None, at(6));
        assert!(get(&status, kind::WAITING).is_none());
    }

    #[test]
    fn a_high_water_mark_is_read_back() {
        let mut status = RolloutStatus::default();
        assert_eq!(high_water(&status), None);
        set_high_water(&mut status, Some(HighWater { hash: "abc", pods: 3 }), at(1));
        assert_eq!(high_water(&status), Some(HighWater { hash: "abc", pods: 3 }));
        status.conditions[0].message = "somebody wrote here".into();
        assert_eq!(high_water(&status), None);
    }
}
