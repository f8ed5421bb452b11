//! Between objects and the planner: what Services say, and which object a move is written to.
//!
//! Reads Services into destinations, deadlines out of annotations, and turns the planner's moves into
//! writes on named objects. Decides nothing about sizes or traffic itself.

use std::collections::BTreeMap;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use sluice_api::keys;

use crate::moves::{self, Deadline, Destination, MoveKind, Moves};
use crate::plan::{Action, Event, Plan, Write};
use crate::world::{ReplicaSet, World};

/// Reads a Service as a destination; `hashes` names the versions by index. `None`: no such Service.
///
/// What its last change left live is not recorded anywhere, so every version may still be used until
/// the settle time after that change is over. A Service that nobody knows the time of counts as
/// changed long ago: its selector stood before we looked.
pub fn read(world: &World, name: &str, hashes: &[&str], now: Timestamp) -> Option<Destination> {
    let service = world.services.get(name)?;
    let selected = service.selected_hash.as_deref().and_then(|hash| hashes.iter().position(|h| *h == hash));
    let settles_at = service
        .selected_since
        .and_then(|at| at.checked_add(world.settings.settle).ok())
        .filter(|at| *at > now);
    let live = match (selected, settles_at) {
        (Some(version), None) => vec![version],
        _ => (0..hashes.len()).collect(),
    };
    Some(Destination {
        name: name.into(),
        selected,
        live,
        settles_at,
        is_managed: service.managed_by.is_some(),
    })
}

/// Reads the scale-down deadline of a ReplicaSet. An unreadable one counts as none, so that it is set
/// anew from now where it is owed.
pub fn scale_down_deadline(set: &ReplicaSet, now: Timestamp) -> Deadline {
    match set.annotation(keys::SCALE_DOWN_DEADLINE).map(str::parse::<Timestamp>) {
        Some(Ok(at)) if at > now => Deadline::Running(at),
        Some(Ok(_)) => Deadline::Passed,
        Some(Err(_)) | None => Deadline::None,
    }
}

/// A deadline as the annotation has it: whole seconds, and never before its time.
fn deadline_text(at: Timestamp) -> String {
    let up = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    format!("{:.0}", at.round(up).unwrap_or(at))
}

/// The Services that moves are written to, by what the planner calls them.
#[derive(Clone, Copy, Debug)]
pub struct Services<'a> {
    /// The stable destination; of blue-green, the active one.
    pub stable: Option<&'a String>,
    /// The canary destination; of blue-green, the preview.
    pub canary: Option<&'a String>,
}

/// Adds the writes of `moves` to the plan. A version that is still to be created has no object here:
/// its size is part of its creation.
pub fn writes(
    world: &World,
    services: Services,
    versions: &[(Option<&ReplicaSet>, String, i64)],
    moves: &Moves,
    replicas: i64,
    plan: &mut Plan,
) {
    for one in &moves.writes {
        let action = match one.kind() {
            MoveKind::Scale { version, from, to } => {
                let (Some(set), _, revision) = &versions[*version] else { continue };
                let verb = if to > from { "up" } else { "down" };
                let message = format!(
                    "Scaled {verb} ReplicaSet {} (revision {revision}) from {from} to {to}",
                    set.name
                );
                plan.events.push(Event::normal("ScalingReplicaSet", message));
                Action::Scale {
                    name: set.name.clone(),
                    resource_version: set.resource_version.clone(),
                    replicas: *to,
                    desired_replicas: replicas,
                    clear_deadline: *to == 0 && set.annotation(keys::SCALE_DOWN_DEADLINE).is_some(),
                }
            }
            MoveKind::SetDeadline(version, at) => {
                let Some(action) = amend(versions, *version, Some(&deadline_text(*at))) else { continue };
                action
            }
            MoveKind::ClearDeadline(version) => {
                let Some(action) = amend(versions, *version, None) else { continue };
                action
            }
            MoveKind::Weight(weight) => Action::Route { weight: *weight },
            MoveKind::SelectStable(version) => {
                let Some(action) = select(world, services.stable, Some(&versions[*version].1), plan) else {
                    continue;
                };
                action
            }
            MoveKind::SelectCanary(version) => {
                let Some(action) = select(world, services.canary, Some(&versions[*version].1), plan) else {
                    continue;
                };
                action
            }
            MoveKind::WidenStable => {
                let Some(action) = select(world, services.stable, None, plan) else {
                    continue;
                };
                action
            }
        };
        plan.writes.push(Write { action, reason: one.reason().to_owned() });
    }
}

fn amend(
    versions: &[(Option<&ReplicaSet>, String, i64)],
    version: moves::Version,
    value: Option<&str>,
) -> Option<Action> {
    let set = versions[version].0?;
    let annotations: BTreeMap<String, Option<String>> =
        [(keys::SCALE_DOWN_DEADLINE.to_owned(), value.map(str::to_owned))].into();
    Some(Action::AmendReplicaSet {
        name: set.name.clone(),
        resource_version: set.resource_version.clone(),
        annotations,
        min_ready_seconds: None,
    })
}

fn select(world: &World, name: Option<&String>, hash: Option<&String>, plan: &mut Plan) -> Option<Action> {
    let name = name?;
    let service = world.services.get(name)?;
    let from = service.selected_hash.as_deref().unwrap_or("");
    let to = hash.map_or("", String::as_str);
    let message = format!("Switched selector for service '{name}' from '{from}' to '{to}'");
    plan.events.push(Event::normal("SwitchService", message));
    Some(Action::SelectService {
        name: name.clone(),
        resource_version: service.resource_version.clone(),
        hash: hash.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pod_goes_before_its_time() {
        for (at, text) in [
            ("2026-11-21T07:13:07Z", "2026-11-21T07:13:07Z"),
            ("2026-11-21T07:13:07.000000001Z", "2026-11-21T07:13:08Z"),
            ("2026-12-31T23:59:59.6Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(deadline_text(at.parse().expect("a time")), text);
        }
        assert!(!deadline_text(Timestamp::MAX).is_empty(), "there is nothing after it");
    }
}
