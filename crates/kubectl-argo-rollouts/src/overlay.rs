//! Which phase a rollout is in, as a client shows it.
//!
//! The controller writes phase and message into the status. A client lays over them what the controller
//! cannot have seen yet, and computes them where an old controller left them empty. Same rules as Argo
//! Rollouts v1.10 (`utils/rollout/rolloututil.go`).

use serde_json::Value;
use sluice_api::keys;

use crate::fields::{annotation, has_object, is_true, list, number, text};

/// Phase and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `Healthy`, `Progressing`, `Paused` or `Degraded`, or what the controller calls it.
    pub phase: String,
    /// Why; may be empty.
    pub message: String,
}

impl Shown {
    fn new(phase: &str, message: impl Into<String>) -> Shown {
        Shown { phase: phase.to_owned(), message: message.into() }
    }
}

/// Returns phase and message of a rollout.
pub fn shown(rollout: &Value) -> Shown {
    if let Some(message) = not_yet_seen(rollout) {
        return Shown::new("Progressing", message);
    }
    let phase = text(rollout, "/status/phase");
    if phase.is_empty() { computed(rollout) } else { Shown::new(phase, text(rollout, "/status/message")) }
}

/// What the controller has yet to look at.
fn not_yet_seen(rollout: &Value) -> Option<&'static str> {
    let generation = number(rollout, "/metadata/generation").unwrap_or(0);
    // Anything that is not a number was written by a release that used a hash here.
    let observed = text(rollout, "/status/observedGeneration").parse::<i64>().ok();
    if observed.is_some_and(|observed| observed < generation) {
        return Some("waiting for rollout spec update to be observed");
    }
    if is_true(rollout, "/status/controllerPause") && list(rollout, "/status/pauseConditions").is_empty() {
        return Some("waiting for rollout to unpause");
    }
    if has_object(rollout, "/spec/workloadRef") {
        let generation =
            annotation(rollout, keys::WORKLOAD_GENERATION).and_then(|text| text.parse::<i64>().ok());
        let observed = text(rollout, "/status/workloadObservedGeneration").parse::<i64>().ok();
        if let (Some(generation), Some(observed)) = (generation, observed)
            && generation != observed
        {
            return Some("waiting for rollout spec update to be observed for the reference workload");
        }
    }
    None
}

/// Phase and message of a status without them; the first match counts.
fn computed(rollout: &Value) -> Shown {
    if let Some(message) = list(rollout, "/status/conditions").iter().find_map(degraded) {
        return Shown::new("Degraded", message);
    }
    if is_true(rollout, "/spec/paused") {
        return Shown::new("Paused", "manually paused");
    }
    if let Some(pause) = list(rollout, "/status/pauseConditions").first() {
        return Shown::new("Paused", text(pause, "/reason"));
    }
    match unfinished(rollout) {
        Some(message) => Shown::new("Progressing", message),
        None => Shown::new("Healthy", ""),
    }
}

fn degraded(condition: &Value) -> Option<String> {
    let (kind, reason) = (text(condition, "/type"), text(condition, "/reason"));
    let message = text(condition, "/message");
    match (kind, reason) {
        ("InvalidSpec", _) => Some(format!("{kind}: {message}")),
        (_, "RolloutAborted" | "ProgressDeadlineExceeded") => Some(format!("{reason}: {message}")),
        _ => None,
    }
}

fn unfinished(rollout: &Value) -> Option<&'static str> {
    let count = |field: &str| number(rollout, &format!("/status/{field}")).unwrap_or(0);
    let wanted = number(rollout, "/spec/replicas").unwrap_or(1);
    let (updated, available) = (count("updatedReplicas"), count("availableReplicas"));
    let current = text(rollout, "/status/currentPodHash");
    let is_promoted = current == text(rollout, "/status/stableRS");
    let restart_at = text(rollout, "/spec/restartAt");
    if !restart_at.is_empty() && restart_at != text(rollout, "/status/restartedAt") {
        return Some("rollout is restarting");
    }
    if updated < wanted {
        return Some("more replicas need to be updated");
    }
    if available < updated {
        return Some("updated replicas are still becoming available");
    }
    if has_object(rollout, "/spec/strategy/blueGreen") {
        let active = text(rollout, "/status/blueGreen/activeSelector");
        if active.is_empty() || active != current {
            return Some("active service cutover pending");
        }
        if is_promoted {
            return None;
        }
        let run = text(rollout, "/status/blueGreen/postPromotionAnalysisRunStatus/status");
        let is_finished = matches!(run, "Successful" | "Failed" | "Error" | "Inconclusive");
        if has_object(rollout, "/spec/strategy/blueGreen/postPromotionAnalysis") && !is_finished {
            return Some("waiting for analysis to complete");
        }
        return Some("waiting for post-promotion verification to complete");
    }
    let is_routed = has_object(rollout, "/spec/strategy/canary/trafficRouting");
    if !is_routed && count("replicas") > updated {
        return Some("old replicas are pending termination");
    }
    (!is_promoted).then_some("waiting for all steps to complete")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(rollout: &Value, phase: &str, message: &str) {
        assert_eq!(shown(rollout), Shown::new(phase, message), "{rollout}");
    }

    #[test]
    fn what_the_controller_has_not_seen_goes_first() {
        const SPEC: &str = "waiting for rollout spec update to be observed";
        let status = |observed: &str| json!({"observedGeneration": observed, "phase": "Healthy"});
        // generation, observed => phase, message
        for (generation, observed, phase, message) in [
            (5, "4", "Progressing", SPEC),
            (5, "5", "Healthy", ""),
            (5, "6", "Healthy", ""),
            (5, "5d7f8c", "Healthy", ""),
            (5, "", "Healthy", ""),
            (10, "9", "Progressing", SPEC),
        ] {
            let rollout = json!({"metadata": {"generation": generation}, "status": status(observed)});
            check(&rollout, phase, message);
        }

        const UNPAUSE: &str = "waiting for rollout to unpause";
        let pause = json!([{"reason": "CanaryPauseStep"}]);
        for (status, phase, message) in [
            (json!({"controllerPause": true}), "Progressing", UNPAUSE),
            (json!({"controllerPause": true, "pauseConditions": []}), "Progressing", UNPAUSE),
            (json!({"controllerPause": true, "pauseConditions": pause}), "Paused", "CanaryPauseStep"),
        ] {
            let mut rollout = json!({"status": status});
            rollout["status"]["phase"] = json!("Paused");
            rollout["status"]["message"] = json!("CanaryPauseStep");
            check(&rollout, phase, message);
        }

        const WORKLOAD: &str = "waiting for rollout spec update to be observed for the reference workload";
        let workload = json!({"workloadRef": {"kind": "Deployment", "name": "web"}});
        // spec, annotation, observed => phase, message
        for (spec, generation, observed, phase, message) in [
            (workload.clone(), Some("2"), "1", "Progressing", WORKLOAD),
            (workload.clone(), Some("1"), "2", "Progressing", WORKLOAD),
            (workload.clone(), Some("2"), "2", "Healthy", ""),
            (workload.clone(), None, "2", "Healthy", ""),
            (workload, Some("2"), "", "Healthy", ""),
            (json!({}), Some("2"), "1", "Healthy", ""),
        ] {
            let mut rollout =
                json!({"metadata": {"annotations": {}}, "spec": spec, "status": {"phase": "Healthy"}});
            rollout["status"]["workloadObservedGeneration"] = json!(observed);
            if let Some(generation) = generation {
                rollout["metadata"]["annotations"][keys::WORKLOAD_GENERATION] = json!(generation);
            }
            check(&rollout, phase, message);
        }
    }

    #[test]
    fn the_controllers_word_counts() {
        let status = json!({"phase": "Degraded", "message": "RolloutAborted: by hand", "updatedReplicas": 1});
        check(&json!({"spec": {"paused": true}, "status": status}), "Degraded", "RolloutAborted: by hand");
    }

    #[test]
    fn a_status_without_phase_is_computed() {
        // What is changed in a finished canary of two pods => phase, message
        let base = || {
            json!({
                "spec": {"replicas": 2, "strategy": {"canary": {}}},
                "status": {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
                    "currentPodHash": "new", "stableRS": "new"},
            })
        };
        let invalid =
            json!([{"type": "Progressing", "reason": "x"}, {"type": "InvalidSpec", "message": "bad"}]);
        let aborted = json!([{"type": "Progressing", "reason": "RolloutAborted", "message": "m"}]);
        let stuck = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "m"}]);
        let routed = json!({"canary": {"trafficRouting": {"nginx": {}}}});
        let blue_green = json!({"blueGreen": {"activeService": "web"}});
        let analysed = json!({"blueGreen": {"postPromotionAnalysis": {"templates": []}}});
        let at = "2026-01-01T00:00:00Z";
        for (changes, phase, message) in [
            (vec![], "Healthy", ""),
            (vec![("status/conditions", invalid)], "Degraded", "InvalidSpec: bad"),
            (vec![("status/conditions", aborted)], "Degraded", "RolloutAborted: m"),
            (vec![("status/conditions", stuck)], "Degraded", "ProgressDeadlineExceeded: m"),
            (vec![("spec/paused", json!(true))], "Paused", "manually paused"),
            (
                vec![("status/pauseConditions", json!([{"reason": "BlueGreenPause"}]))],
                "Paused",
                "BlueGreenPause",
            ),
            (vec![("spec/restartAt", json!(at))], "Progressing", "rollout is restarting"),
            (vec![("spec/restartAt", json!(at)), ("status/restartedAt", json!(at))], "Healthy", ""),
            (vec![("status/updatedReplicas", json!(1))], "Progressing", "more replicas need to be updated"),
            (
                vec![("status/availableReplicas", json!(1))],
                "Progressing",
                "updated replicas are still becoming available",
            ),
            (vec![("status/replicas", json!(3))], "Progressing", "old replicas are pending termination"),
            (vec![("status/replicas", json!(3)), ("spec/strategy", routed)], "Healthy", ""),
            (vec![("status/stableRS", json!("old"))], "Progressing", "waiting for all steps to complete"),
            (vec![("spec/strategy", blue_green.clone())], "Progressing", "active service cutover pending"),
            (
                vec![
                    ("spec/strategy", blue_green.clone()),
                    ("status/blueGreen", json!({"activeSelector": "new"})),
                    ("status/stableRS", json!("old")),
                ],
                "Progressing",
                "waiting for post-promotion verification to complete",
            ),
            (
                vec![
                    ("spec/strategy", analysed),
                    ("status/blueGreen", json!({"activeSelector": "new"})),
                    ("status/stableRS", json!("old")),
                ],
                "Progressing",
                "waiting for analysis to complete",
            ),
            (
                vec![("spec/strategy", blue_green), ("status/blueGreen", json!({"activeSelector": "new"}))],
                "Healthy",
                "",
            ),
        ] {
            let mut rollout = base();
            for (place, value) in changes {
                let (part, field) = place.split_once('/').expect("two names");
                rollout[part][field] = value;
            }
            check(&rollout, phase, message);
        }
        check(&json!({"spec": {}}), "Progressing", "more replicas need to be updated");
    }
}
