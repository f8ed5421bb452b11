//! Between objects and the planner: what Services say, and which object a move is written to.
//!
//! Reads Services and subsets into destinations, deadlines out of annotations, and turns the planner's moves into
//! writes on named objects. Decides nothing about sizes or traffic itself.

use std::collections::BTreeMap;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use sluice_api::keys;

use crate::moves::{self, Deadline, Destination, MoveKind, Moves};
use crate::plan::{Action, Event, Plan, Write};
use crate::traffic::{Routes, Subset};
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

/// Reads one side of a split: a Service, the subset of a router, or both. It leads to a version when all of
/// its parts do.
pub fn read_side(
    world: &World,
    service: Option<&String>,
    subset: Option<&Subset>,
    hashes: &[&str],
    now: Timestamp,
) -> Option<Destination> {
    let service = service.and_then(|name| read(world, name, hashes, now));
    let subset = subset.map(|Subset { hash, settles_at }| {
        let selected = hash.as_ref().and_then(|hash| hashes.iter().position(|h| h == hash));
        let live = match (selected, settles_at) {
            (Some(version), None) => vec![version],
            _ => (0..hashes.len()).collect(),
        };
        let settles_at = *settles_at;
        Destination { name: "subset".into(), selected, live, settles_at, is_managed: hash.is_some() }
    });
    match (service, subset) {
        (Some(service), Some(subset)) => Some(Destination {
            selected: service.selected.filter(|_| service.selected == subset.selected),
            live: if service.selected == subset.selected && service.live == subset.live {
                service.live
            } else {
                (0..hashes.len()).collect()
            },
            settles_at: service.settles_at.max(subset.settles_at),
            is_managed: service.is_managed && subset.is_managed,
            name: service.name,
        }),
        (one, other) => one.or(other),
    }
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
/// its size is part of its creation. `routes` is what routers are to show after them; it is asked for
/// after what grows and before what shrinks.
pub fn writes(
    world: &World,
    services: Services,
    versions: &[(Option<&ReplicaSet>, String, i64)],
    moves: &Moves,
    replicas: i64,
    mut routes: Option<Routes>,
    plan: &mut Plan,
) {
    for one in &moves.writes {
        let grows = one.kind().grows() || matches!(one.kind(), MoveKind::ClearDeadline(_));
        if let Some(routes) = routes.take_if(|_| !grows) {
            plan.writes.push(Write { action: Action::Route(routes), reason: one.reason().to_owned() });
        }
        let action = match one.kind() {
            MoveKind::Scale { version, from, to } => scale(versions, *version, (*from, *to), replicas, plan),
            MoveKind::SetDeadline(version, at) => amend(versions, *version, Some(&deadline_text(*at))),
            MoveKind::ClearDeadline(version) => amend(versions, *version, None),
            // Part of the routes.
            MoveKind::Weight(_) | MoveKind::Managed(_) => None,
            MoveKind::SelectStable(version) => {
                select(world, services.stable, Some(&versions[*version].1), plan)
            }
            MoveKind::SelectCanary(version) => {
                select(world, services.canary, Some(&versions[*version].1), plan)
            }
            MoveKind::WidenStable => select(world, services.stable, None, plan),
        };
        if let Some(action) = action {
            plan.writes.push(Write { action, reason: one.reason().to_owned() });
        }
    }
    if let Some(routes) = routes {
        let reason = "the routers are to show what is wanted".to_owned();
        plan.writes.push(Write { action: Action::Route(routes), reason });
    }
}

fn scale(
    versions: &[(Option<&ReplicaSet>, String, i64)],
    version: moves::Version,
    (from, to): (i64, i64),
    replicas: i64,
    plan: &mut Plan,
) -> Option<Action> {
    let (set, _, revision) = &versions[version];
    let set = (*set)?;
    let verb = if to > from { "up" } else { "down" };
    let message = format!("Scaled {verb} ReplicaSet {} (revision {revision}) from {from} to {to}", set.name);
    plan.events.push(Event::normal("ScalingReplicaSet", message));
    Some(Action::Scale {
        name: set.name.clone(),
        resource_version: set.resource_version.clone(),
        replicas: to,
        desired_replicas: replicas,
        clear_deadline: to == 0 && set.annotation(keys::SCALE_DOWN_DEADLINE).is_some(),
    })
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
        template: serde_json::Value::Null,
    })
}

fn select(world: &World, name: Option<&String>, hash: Option<&String>, plan: &mut Plan) -> Option<Action> {
    let name = name?;
    let service = world.services.get(name)?;
    if service.selected_hash.as_ref() == hash && service.managed_by.is_some() {
        return None; // another part of the same side is to follow
    }
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
