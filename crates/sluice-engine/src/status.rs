//! The status that a pass leaves: counters, conditions, phase and message, duration.
//!
//! Same wire form as Argo Rollouts v1.10 (`rollout/sync.go`, `utils/rollout`); what differs is said
//! where it is decided. Sizes, positions and verdicts are not decided here.

use std::sync::Arc;

use jiff::Timestamp;
use sluice_api::keys;
use sluice_api::meta::Time;
use sluice_api::rollout::ConditionStatus::{False, True, Unknown};
use sluice_api::rollout::{CompletionStatus, PauseReason, RolloutDuration, RolloutPhase, RolloutStatus};

use crate::conditions::{self, HighWater, kind, reason};
use crate::deadline;
use crate::moves::{Wait, WaitReason};
use crate::plan::Event;
use crate::world::{InvalidSpec, ReplicaSet, Rollout, Spec};

/// What the status is made of.
pub(crate) struct Facts<'a> {
    pub rollout: &'a Rollout,
    pub spec: &'a Spec,
    /// Wanted replicas.
    pub replicas: i64,
    pub sets: &'a [Arc<ReplicaSet>],
    /// The ReplicaSet of the current template, once it exists.
    pub new: Option<&'a ReplicaSet>,
    pub new_name: String,
    pub revision: i64,
    pub is_routed: bool,
    /// A step got done, or more pods than ever are available.
    pub has_progress: bool,
    pub abort_message: String,
    /// Which step it is at, for people; empty when at none.
    pub position: String,
    /// The step that it is at is a pause which only a person ends.
    pub is_at_endless_pause: bool,
    /// What blue-green reports of its Services.
    pub active: Option<Active>,
    /// Pods are being restarted.
    pub is_restarting: bool,
    pub wait: Option<&'a Wait>,
    pub problem: Option<&'a InvalidSpec>,
}

/// What blue-green reports of its Services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Active {
    /// The version that the active Service selects, by hash; empty when it selects none.
    pub active: String,
    /// The same of the preview Service.
    pub preview: Option<String>,
    /// An analysis after the switch is asked for and not done.
    pub awaits_analysis: bool,
}

/// Fills in everything that follows from what is there. Returns when the progress deadline has to be
/// looked at again.
pub(crate) fn complete(
    status: &mut RolloutStatus,
    facts: &Facts,
    events: &mut Vec<Event>,
    now: Timestamp,
) -> Option<Timestamp> {
    count(status, facts);
    pause_conditions(status, facts, now);
    let is_healthy = is_at_goal(status, facts) && !is_paused(status, facts);
    healthy(status, is_healthy, now);
    let recheck = progressing(status, facts, is_healthy, now);
    let available = i64::from(status.available_replicas) >= facts.replicas;
    let (value, message) = if available {
        (True, "Rollout has minimum availability")
    } else {
        (False, "Rollout does not have minimum availability")
    };
    conditions::set(status, kind::AVAILABLE, value, reason::AVAILABLE, message, now);
    replica_failure(status, facts, now);
    completed(status, facts, events, now);
    let told = conditions::get(status, kind::INVALID_SPEC).map(|condition| condition.message.clone());
    invalid(status, facts.rollout, facts.problem, now);
    let tells = conditions::get(status, kind::INVALID_SPEC).map(|condition| condition.message.clone());
    if let Some(problem) = facts.problem.filter(|_| told != tells) {
        events.push(Event::warning("InvalidSpec", problem.message.clone()));
    }
    // What other conditions say already is not said twice; pods that wait out their delay hold nobody up.
    let is_said = |reason| {
        use WaitReason::{Aborted, Deadline, Invalid, Pause};
        matches!(reason, Pause | Aborted | Invalid | Deadline)
    };
    let shown = facts.wait.filter(|wait| !is_said(wait.reason));
    conditions::set_wait(status, shown.map(|wait| (wait, facts.position.as_str())), now);
    phase(status, facts);
    duration(status, facts, now);
    recheck
}

/// Whether the status shows everything at its goal.
pub(crate) fn is_at_goal(status: &RolloutStatus, facts: &Facts) -> bool {
    let replicas = facts.replicas;
    let is_stable = !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash;
    let leads = |hash: &String| *hash == status.current_pod_hash;
    let services_lead = facts.active.as_ref().map_or(i64::from(status.replicas) == replicas, |active| {
        // Of blue-green, old pods may wait out their delay.
        leads(&active.active) && active.preview.as_ref().is_none_or(leads)
    });
    is_stable
        && i64::from(status.updated_replicas) == replicas
        && i64::from(status.available_replicas) == replicas
        && services_lead
}

fn is_paused(status: &RolloutStatus, facts: &Facts) -> bool {
    facts.spec.is_paused || !status.pause_conditions.is_empty()
}

fn count(status: &mut RolloutStatus, facts: &Facts) {
    let sum = |of: fn(&ReplicaSet) -> i64| int(facts.sets.iter().map(|set| of(set)).sum());
    status.replicas = sum(|set| set.existing);
    status.ready_replicas = sum(|set| set.ready);
    status.available_replicas = sum(|set| set.available);
    status.hpa_replicas = status.replicas;
    status.updated_replicas = int(facts.new.map_or(0, |set| set.existing));
    // A selector that stands in a workload which is missing is the one that was last seen.
    let is_known = !facts.spec.label_selector.is_empty();
    if is_known {
        status.selector.clone_from(&facts.spec.selector_text);
    }
    let Some(active) = &facts.active else { return };
    status.blue_green.active_selector.clone_from(&active.active);
    status.blue_green.preview_selector = active.preview.clone().unwrap_or_default();
    // An autoscaler is to look at the pods that serve, and at no others.
    if let Some(set) = facts.sets.iter().find(|set| !set.hash.is_empty() && set.hash == active.active) {
        status.ready_replicas = int(set.ready);
        status.available_replicas = int(set.available);
        status.hpa_replicas = int(set.existing);
        if is_known {
            let mut selector = facts.spec.label_selector.clone();
            selector.match_labels.insert(keys::POD_TEMPLATE_HASH.into(), set.hash.clone());
            status.selector = selector.to_text();
        }
    }
}

fn int(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn pause_conditions(status: &mut RolloutStatus, facts: &Facts, now: Timestamp) {
    if status.abort {
        return;
    }
    let paused = is_paused(status, facts);
    let is_promoted = status.stable_rs == status.current_pod_hash;
    let said = conditions::progressing_reason(status);
    // An abort that does not stand any more must not be read out of the conditions either.
    let was_aborted = said == reason::ABORTED;
    let says_paused = said == reason::PAUSED;
    if paused != says_paused && !is_promoted && !was_aborted || was_aborted && paused {
        let (reason, message) = if paused {
            (reason::PAUSED, "Rollout is paused")
        } else {
            (reason::RESUMED, "Rollout is resumed")
        };
        conditions::put(status, kind::PROGRESSING, Unknown, reason, message, now);
    }
    let value = if paused { True } else { False };
    if paused || conditions::get(status, kind::PAUSED).is_some() {
        conditions::set(status, kind::PAUSED, value, reason::PAUSED, "Rollout is paused", now);
    }
}

fn healthy(status: &mut RolloutStatus, is_healthy: bool, now: Timestamp) {
    if is_healthy {
        conditions::set(status, kind::HEALTHY, True, reason::HEALTHY, "Rollout is healthy", now);
    } else if conditions::get(status, kind::HEALTHY).is_some() {
        conditions::set(status, kind::HEALTHY, False, reason::HEALTHY, "Rollout is not healthy", now);
    }
}

fn progressing(
    status: &mut RolloutStatus,
    facts: &Facts,
    is_healthy: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    let name = facts.new_name.as_str();
    if status.abort {
        conditions::set(status, kind::PROGRESSING, False, reason::ABORTED, &facts.abort_message, now);
        conditions::set_high_water(status, None, now);
        return None;
    }
    if is_healthy {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        conditions::set(status, kind::PROGRESSING, True, reason::NEW_AVAILABLE, &message, now);
        conditions::set_high_water(status, None, now);
        return None;
    }
    let said = conditions::progressing_reason(status).to_owned();
    if said == reason::PAUSED || facts.spec.is_paused {
        // No clock runs, so no height is kept; going on counts as progress anyway.
        conditions::set_high_water(status, None, now);
        return None;
    }
    let mark = conditions::high_water(status)
        .filter(|mark| mark.hash == status.current_pod_hash)
        .map_or(0, |mark| mark.pods);
    let available = facts.new.map_or(0, |set| set.available);
    let is_promoted = status.stable_rs == status.current_pod_hash;
    // Old pods that wait out their delay are no progress of the version that is there in full.
    let is_full = is_promoted && available >= facts.replicas;
    let is_higher = available > mark && !is_full;
    if is_full {
        conditions::set_high_water(status, None, now);
    } else if is_higher {
        let hash = status.current_pod_hash.clone();
        conditions::set_high_water(status, Some(HighWater { hash: &hash, pods: available }), now);
    }
    if is_promoted && said == reason::NEW_AVAILABLE {
        let message = "Rollout does not have minimum availability";
        conditions::put(status, kind::PROGRESSING, True, reason::NOT_AVAILABLE, message, now);
    } else if (facts.has_progress || is_higher || said.is_empty() || said == reason::ABORTED)
        && (said != reason::NEW_REPLICA_SET || facts.new.is_some())
    {
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        conditions::put(status, kind::PROGRESSING, True, reason::UPDATED, &message, now);
    }
    if facts.replicas == 0 || facts.problem.is_some() || is_full {
        return None; // no pods are awaited
    }
    let clock = deadline::clock(status, facts.spec.progress_deadline);
    if clock.is_over(now) {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        conditions::set(status, kind::PROGRESSING, False, reason::TIMED_OUT, &message, now);
        return None;
    }
    clock.over_at
}

fn replica_failure(status: &mut RolloutStatus, facts: &Facts, now: Timestamp) {
    let sets = facts.new.into_iter().chain(facts.sets.iter().map(Arc::as_ref));
    match sets.into_iter().find_map(|set| set.failure.as_ref()) {
        Some((value, reason, message)) => {
            conditions::set(status, kind::REPLICA_FAILURE, *value, reason, message, now);
        }
        None => conditions::remove(status, kind::REPLICA_FAILURE),
    }
}

fn completed(status: &mut RolloutStatus, facts: &Facts, events: &mut Vec<Event>, now: Timestamp) {
    let is_promoted = !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash;
    let was = conditions::get(status, kind::COMPLETED).is_some_and(|condition| condition.status == True);
    if was && !is_promoted {
        let (revision, hash) = (facts.revision, &status.current_pod_hash);
        let message = format!("Rollout not completed, started update to revision {revision} ({hash})");
        events.push(Event::normal("RolloutNotCompleted", message));
    }
    let value = if is_promoted { True } else { False };
    conditions::set(status, kind::COMPLETED, value, reason::COMPLETED, "RolloutCompleted", now);
}

/// Sets or removes the condition that says what is wrong with the spec.
pub fn invalid(status: &mut RolloutStatus, rollout: &Rollout, problem: Option<&InvalidSpec>, now: Timestamp) {
    match problem {
        Some(problem) => {
            let message = format!("The Rollout \"{}\" is invalid: {}", rollout.name, problem.message);
            conditions::set_with_message(
                status,
                kind::INVALID_SPEC,
                True,
                reason::INVALID_SPEC,
                &message,
                now,
            );
        }
        None => conditions::remove(status, kind::INVALID_SPEC),
    }
}

/// Sets phase and message from a status whose conditions are complete: the first that matches.
fn phase(status: &mut RolloutStatus, facts: &Facts) {
    let replicas = facts.replicas;
    let is_promoted = status.stable_rs == status.current_pod_hash;
    let (phase, message) = if let Some(message) = degraded(status) {
        (RolloutPhase::Degraded, message)
    } else if facts.spec.is_paused {
        (RolloutPhase::Paused, "manually paused".to_owned())
    } else if let Some(pause) = status.pause_conditions.first() {
        (RolloutPhase::Paused, pause.reason.to_string())
    } else {
        let message = if facts.is_restarting {
            "rollout is restarting"
        } else if i64::from(status.updated_replicas) < replicas {
            "more replicas need to be updated"
        } else if status.available_replicas < status.updated_replicas {
            "updated replicas are still becoming available"
        } else if let Some(active) = &facts.active {
            match () {
                () if active.active.is_empty() || active.active != status.current_pod_hash => {
                    "active service cutover pending"
                }
                () if !is_promoted && active.awaits_analysis => "waiting for analysis to complete",
                () if !is_promoted => "waiting for post-promotion verification to complete",
                () => "",
            }
        } else if !facts.is_routed && status.replicas > status.updated_replicas {
            "old replicas are pending termination"
        } else if !is_promoted {
            "waiting for all steps to complete"
        } else {
            ""
        };
        match (message, facts.wait) {
            ("", _) => (RolloutPhase::Healthy, String::new()),
            (message, Some(wait)) => (RolloutPhase::Progressing, format!("{message}: {wait}")),
            (message, None) => (RolloutPhase::Progressing, message.to_owned()),
        }
    };
    status.phase = Some(phase);
    status.message = message;
}

/// The message of a degraded Rollout, from the first condition that says so.
pub fn degraded(status: &RolloutStatus) -> Option<String> {
    status.conditions.iter().find_map(|condition| {
        if condition.type_ == kind::INVALID_SPEC {
            return Some(format!("{}: {}", condition.type_, condition.message));
        }
        let is_bad = matches!(condition.reason.as_str(), reason::ABORTED | reason::TIMED_OUT);
        is_bad.then(|| format!("{}: {}", condition.reason, condition.message))
    })
}

/// Returns the merge patch of a status after a ReplicaSet could not be created; `None` when it says so
/// already.
pub fn create_failed(old: &RolloutStatus, message: &str, now: Timestamp) -> Option<serde_json::Value> {
    let mut status = old.clone();
    conditions::set_with_message(&mut status, kind::PROGRESSING, False, reason::CREATE_ERROR, message, now);
    status.phase = Some(RolloutPhase::Progressing);
    status.message = message.into();
    let to_value = |status: &RolloutStatus| serde_json::to_value(status).unwrap_or_default();
    crate::merge::diff(&to_value(old), &to_value(&status))
}

/// Returns the phase under which `rollout_info` counts a Rollout.
pub fn metric_phase(status: &RolloutStatus) -> &'static str {
    if conditions::get(status, kind::INVALID_SPEC).is_some() {
        return "InvalidSpec";
    }
    match conditions::progressing_reason(status) {
        reason::NEW_AVAILABLE => "Completed",
        reason::PAUSED => "Paused",
        reason::CREATE_ERROR => "Error",
        reason::TIMED_OUT => "Timeout",
        reason::ABORTED => "Abort",
        _ => "Progressing",
    }
}

/// Starts the clock of an update.
pub fn start_duration(status: &mut RolloutStatus, now: Timestamp) {
    status.duration =
        Some(RolloutDuration { rollout_started_at: Some(Time::new(now)), ..RolloutDuration::default() });
}

/// Notes how an update ended, unless it ended before.
pub fn complete_duration(status: &mut RolloutStatus, how: CompletionStatus) {
    if let Some(duration) = status.duration.as_mut().filter(|duration| duration.finished_at.is_none()) {
        duration.completion_status = Some(how);
    }
}

fn duration(status: &mut RolloutStatus, facts: &Facts, now: Timestamp) {
    let is_promoted = status.stable_rs == status.current_pod_hash;
    let is_manual = facts.spec.is_paused
        || status.pause_conditions.iter().any(|pause| is_inconclusive(pause.reason))
        || !status.pause_conditions.is_empty() && facts.is_at_endless_pause;
    let is_up = facts.new.is_some_and(|set| set.available >= facts.replicas);
    let aborted = status.abort;
    let Some(duration) = &mut status.duration else { return };
    if duration.finished_at.is_some() || duration.rollout_started_at.is_none() {
        return;
    }
    match (is_manual && !aborted, duration.manual_pause_started_at) {
        (true, None) => duration.manual_pause_started_at = Some(Time::new(now)),
        (false, Some(since)) => {
            let seconds = now.duration_since(since.timestamp()).as_secs().max(0);
            *duration.total_manual_pause_duration_seconds.get_or_insert(0) += seconds;
            duration.manual_pause_started_at = None;
        }
        _ => {}
    }
    if aborted {
        duration.completion_status = Some(CompletionStatus::Aborted);
        duration.finished_at = Some(Time::new(now));
    } else if is_promoted && is_up {
        duration.completion_status.get_or_insert(CompletionStatus::Promoted);
        duration.finished_at = Some(Time::new(now));
    }
}

/// Whether a pause waits for a person to judge a result.
pub fn is_inconclusive(reason: PauseReason) -> bool {
    matches!(reason, PauseReason::InconclusiveAnalysisRun | PauseReason::InconclusiveExperiment)
}
