//! The top of a decision: which strategy, and what stops it before it starts.

use jiff::Timestamp;
use sluice_api::rollout::RolloutPhase;

use crate::moves::{Wait, WaitReason};
use crate::plan::{Action, Event, Plan, Write};
use crate::world::{InvalidSpec, Rollout, Strategy, World};
use crate::{blue_green, canary, conditions, references, status, workload};

/// Decides what is to be done about one Rollout now. Total: it never fails and never waits; what is not
/// ready is a [`Wait`] in the plan.
pub fn decide(world: &World, now: Timestamp) -> Plan {
    let rollout = &*world.rollout;
    if rollout.is_deleting || !world.left_workloads.is_empty() {
        return workload::give_back(world);
    }
    match &rollout.spec {
        Err(problem) => hold_invalid(rollout, problem, now),
        Ok(spec) => {
            if let Some(what) = spec.strategy.not_carried_out() {
                return hold_unsupported(rollout, what);
            }
            if let Some(plan) = workload::note_generation(world) {
                return plan;
            }
            if !world.orphans.is_empty() {
                return adopt(world);
            }
            let problem = references::check(world, spec);
            match &spec.strategy {
                Strategy::Canary(canary) => canary::decide(world, spec, canary, problem.as_ref(), now),
                Strategy::BlueGreen(strategy) => {
                    blue_green::decide(world, spec, strategy, problem.as_ref(), now)
                }
                Strategy::Unsupported(what) => hold_unsupported(rollout, what),
            }
        }
    }
}

/// Orphans first: which version is which can only be told when all are there.
fn adopt(world: &World) -> Plan {
    let rollout = &*world.rollout;
    let writes = world.orphans.iter().map(|set| Write {
        action: Action::AdoptReplicaSet {
            name: set.name.clone(),
            uid: set.uid.clone(),
            resource_version: set.resource_version.clone(),
        },
        reason: "nobody owns it and the selector matches it".into(),
    });
    Plan { writes: writes.collect(), status: rollout.status.clone(), ..Plan::default() }
}

/// An invalid spec: what serves goes on serving, and the condition says what to do.
fn hold_invalid(rollout: &Rollout, problem: &InvalidSpec, now: Timestamp) -> Plan {
    let mut plan = Plan { status: rollout.status.clone(), ..Plan::default() };
    let is_new = conditions::get(&plan.status, conditions::kind::INVALID_SPEC).is_none();
    plan.status.observed_generation = rollout.generation.to_string();
    status::invalid(&mut plan.status, rollout, Some(problem), now);
    plan.status.phase = Some(RolloutPhase::Degraded);
    plan.status.message = status::degraded(&plan.status).unwrap_or_default();
    if is_new || plan.status.message != rollout.status.message {
        plan.events.push(Event::warning("InvalidSpec", problem.message.clone()));
    }
    plan.wait = Some(Wait {
        reason: WaitReason::Invalid,
        object: format!("rollout {}/{}", rollout.namespace, rollout.name),
        seen: problem.message.clone(),
        wanted: "a valid spec".into(),
    });
    plan.status_changed = plan.status != rollout.status;
    plan
}

/// Something that this build does not carry out: nothing is touched, and that is said.
fn hold_unsupported(rollout: &Rollout, what: &str) -> Plan {
    let mut plan = Plan { status: rollout.status.clone(), ..Plan::default() };
    let wait = Wait {
        reason: WaitReason::Unsupported,
        object: format!("rollout {}/{}", rollout.namespace, rollout.name),
        seen: format!("{what} is not carried out by this build of Sluice, so nothing is changed"),
        wanted: "a build that does".into(),
    };
    let is_in_use = !rollout.status.stable_rs.is_empty();
    if !is_in_use {
        // Nothing runs yet: say why. What another controller left is left as it is.
        plan.status.observed_generation = rollout.generation.to_string();
        plan.status.phase = Some(RolloutPhase::Progressing);
        plan.status.message = wait.to_string();
        if plan.status != rollout.status {
            plan.events.push(Event::warning("Unsupported", wait.to_string()));
        }
    }
    plan.wait = Some(wait);
    plan.status_changed = plan.status != rollout.status;
    plan
}
