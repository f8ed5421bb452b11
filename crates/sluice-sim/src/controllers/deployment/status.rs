//! What a Deployment's status says: counts, Available, Progressing, ReplicaFailure.
//!
//! Progress is more updated, ready or available pods, or fewer old ones, than the last status said; the
//! deadline counts from the last progress. Same rules as Kubernetes 1.36,
//! `pkg/controller/deployment/progress.go`, whose deadline is checked one second late on purpose.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::object::{
    Says, condition, flag, int, items, later, name, put, remove, seconds, set_count, text, time, wire_time,
};
use super::rolling::Corridor;

/// `progressDeadlineSeconds` and `revisionHistoryLimit` that mean "none".
pub const NO_LIMIT: i64 = i32::MAX as i64;
const DEFAULT_DEADLINE_SECONDS: i64 = 600;

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What of a Deployment's progress is known from elsewhere than its ReplicaSets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The new ReplicaSet is being created right now.
    Created,
    /// The new ReplicaSet was there already.
    Found,
    /// Judge by the counts.
    Judge,
    /// Leave the condition alone: paused, being resized or deleted.
    Ignore,
}

/// Returns the status with the Progressing condition for a pause that begins or ends, if one does.
pub fn pause_change(deployment: &Value, now: Timestamp) -> Option<Value> {
    deadline(deployment)?;
    let reason = progressing(deployment).and_then(|found| text(found, "/reason"));
    let (reason, message) = match (flag(deployment, "/spec/paused"), reason) {
        (_, Some(TIMED_OUT)) | (true, Some(PAUSED)) => return None,
        (true, _) => (PAUSED, "Deployment is paused"),
        (false, Some(PAUSED)) => ("DeploymentResumed", "Deployment is resumed"),
        (false, _) => return None,
    };
    let mut status = deployment.get("status").cloned().unwrap_or(json!({}));
    set_condition(&mut status, Says { kind: "Progressing", status: "Unknown", reason, message }, now);
    Some(status)
}

/// Returns the status that follows from the ReplicaSets, and when the deadline has to be looked at.
pub fn status(
    deployment: &Value,
    sets: &[&Value],
    new: Option<&Value>,
    progress: Progress,
    now: Timestamp,
) -> (Value, Option<Timestamp>) {
    let mut status = counts(deployment, sets, new);
    set_available(&mut status, Corridor::of(deployment), now);
    match (deadline(deployment), progress) {
        (_, Progress::Ignore) => {}
        (None, _) => remove_condition(&mut status, "Progressing"),
        (Some(deadline), _) => set_progressing(&mut status, deployment, new, progress, deadline, now),
    }
    let failure =
        new.into_iter().chain(sets.iter().copied()).find_map(|set| condition(set, "ReplicaFailure"));
    match failure {
        Some(failure) => {
            let says = Says {
                kind: "ReplicaFailure",
                status: text(failure, "/status").unwrap_or_default(),
                reason: text(failure, "/reason").unwrap_or_default(),
                message: text(failure, "/message").unwrap_or_default(),
            };
            set_condition(&mut status, says, now);
        }
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    let recheck_at = if progress == Progress::Ignore { None } else { deadline_check(deployment, &status) };
    (status, recheck_at)
}

/// Returns whether all pods are updated and available and none is left of the old, by the written status.
pub fn is_complete(deployment: &Value, status: &Value) -> bool {
    let count = |field: &str| status.get(field).and_then(Value::as_i64).unwrap_or(0);
    let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
    count("updatedReplicas") == wanted
        && count("replicas") == wanted
        && count("availableReplicas") == wanted
        && count("observedGeneration") >= int(deployment, "/metadata/generation").unwrap_or(0)
}

fn counts(deployment: &Value, sets: &[&Value], new: Option<&Value>) -> Value {
    let sum = |pointer| -> i64 { sets.iter().filter_map(|set| int(set, pointer)).sum() };
    let wanted: i64 = sets.iter().map(|set| int(set, "/spec/replicas").unwrap_or(1)).sum();
    let available = sum("/status/availableReplicas");
    let mut status = deployment.get("status").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
    for (field, count) in [
        ("observedGeneration", int(deployment, "/metadata/generation").unwrap_or(0)),
        ("replicas", sum("/status/replicas")),
        ("updatedReplicas", new.and_then(|set| int(set, "/status/replicas")).unwrap_or(0)),
        ("readyReplicas", sum("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
    ] {
        set_count(&mut status, field, count);
    }
    // Unknown as long as one ReplicaSet has not told.
    let terminating: Option<i64> = sets.iter().map(|set| int(set, "/status/terminatingReplicas")).sum();
    match terminating {
        Some(count) => put(&mut status, &["terminatingReplicas"], count),
        None => remove(&mut status, &["terminatingReplicas"]),
    }
    status
}

fn set_available(status: &mut Value, corridor: Corridor, now: Timestamp) {
    let available = int(status, "/availableReplicas").unwrap_or(0);
    let says = if available >= corridor.min_available() {
        Says {
            kind: "Available",
            status: "True",
            reason: "MinimumReplicasAvailable",
            message: "Deployment has minimum availability.",
        }
    } else {
        Says {
            kind: "Available",
            status: "False",
            reason: "MinimumReplicasUnavailable",
            message: "Deployment does not have minimum availability.",
        }
    };
    set_condition(status, says, now);
}

fn set_progressing(
    status: &mut Value,
    deployment: &Value,
    new: Option<&Value>,
    progress: Progress,
    deadline: i64,
    now: Timestamp,
) {
    let current = progressing(deployment);
    let reason = current.and_then(|found| text(found, "/reason"));
    let subject = match new {
        Some(set) => format!("ReplicaSet \"{}\"", name(set)),
        None => format!("Deployment \"{}\"", name(deployment)),
    };
    let mut say = |status_text, reason, message: &str| {
        set_condition(status, Says { kind: "Progressing", status: status_text, reason, message }, now);
    };
    match progress {
        Progress::Created => {
            let set = new.map(name).unwrap_or_default();
            return say("True", "NewReplicaSetCreated", &format!("Created new replica set \"{set}\""));
        }
        Progress::Found if current.is_none() => {
            let set = new.map(name).unwrap_or_default();
            return say("True", "FoundNewReplicaSet", &format!("Found new replica set \"{set}\""));
        }
        Progress::Found | Progress::Judge | Progress::Ignore => {}
    }
    let is_settled = int(status, "/replicas").unwrap_or(0) == int(status, "/updatedReplicas").unwrap_or(0)
        && reason == Some(NEW_SET_AVAILABLE);
    if is_settled {
        return;
    }
    if is_complete(deployment, status) {
        let says = format!("{subject} has successfully progressed.");
        set_condition(
            status,
            Says { kind: "Progressing", status: "True", reason: NEW_SET_AVAILABLE, message: &says },
            now,
        );
    } else if has_progressed(deployment, status) {
        let message = format!("{subject} is progressing.");
        let says =
            Says { kind: "Progressing", status: "True", reason: "ReplicaSetUpdated", message: &message };
        // Progress renews the time of the update even when the reason stays.
        refresh_condition(status, says, now);
    } else if has_timed_out(current, deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(
            status,
            Says { kind: "Progressing", status: "False", reason: TIMED_OUT, message: &message },
            now,
        );
    }
}

fn has_progressed(deployment: &Value, status: &Value) -> bool {
    let before = |field: &str| int(deployment, &format!("/status/{field}")).unwrap_or(0);
    let after = |field: &str| int(status, &format!("/{field}")).unwrap_or(0);
    after("updatedReplicas") > before("updatedReplicas")
        || after("replicas") - after("updatedReplicas") < before("replicas") - before("updatedReplicas")
        || after("readyReplicas") > before("readyReplicas")
        || after("availableReplicas") > before("availableReplicas")
}

fn has_timed_out(current: Option<&Value>, deadline: i64, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match text(current, "/reason") {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => time(current, "/lastUpdateTime").is_some_and(|from| later(from, seconds(deadline)) < now),
    }
}

fn deadline_check(deployment: &Value, status: &Value) -> Option<Timestamp> {
    let deadline = deadline(deployment)?;
    let current =
        items(status, "/conditions").iter().find(|one| text(one, "/type") == Some("Progressing"))?;
    if is_complete(deployment, status)
        || matches!(text(current, "/reason"), Some(TIMED_OUT | NEW_SET_AVAILABLE))
    {
        return None;
    }
    Some(later(time(current, "/lastUpdateTime")?, seconds(deadline.saturating_add(1))))
}

fn deadline(deployment: &Value) -> Option<i64> {
    let found = int(deployment, "/spec/progressDeadlineSeconds").unwrap_or(DEFAULT_DEADLINE_SECONDS);
    (found != NO_LIMIT).then_some(found)
}

fn progressing(deployment: &Value) -> Option<&Value> {
    condition(deployment, "Progressing")
}

/// Puts a condition, unless one with this status and reason is there already.
fn set_condition(status: &mut Value, says: Says<'_>, now: Timestamp) {
    let conditions = items(status, "/conditions");
    let is_same = |one: &Value| {
        text(one, "/type") == Some(says.kind)
            && text(one, "/status") == Some(says.status)
            && text(one, "/reason") == Some(says.reason)
    };
    if !conditions.iter().any(is_same) {
        refresh_condition(status, says, now);
    }
}

fn refresh_condition(status: &mut Value, says: Says<'_>, now: Timestamp) {
    let mut conditions = items(status, "/conditions").to_vec();
    let mut condition = says.at(now);
    put(&mut condition, &["lastUpdateTime"], wire_time(now));
    super::super::object::put_condition(&mut conditions, condition);
    put(status, &["conditions"], conditions);
}

fn remove_condition(status: &mut Value, kind: &str) {
    let mut conditions = items(status, "/conditions").to_vec();
    conditions.retain(|one| text(one, "/type") != Some(kind));
    if conditions.is_empty() {
        remove(status, &["conditions"]);
    } else {
        put(status, &["conditions"], conditions);
    }
}
