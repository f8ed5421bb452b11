//! Moves while no stable version exists: its ReplicaSet was deleted, or none was ever recorded.
//!
//! The new version grows to its full size at once, Services follow when it can serve, and what else is
//! there keeps serving until then. Whether that makes it the stable version is not decided here: with a
//! stable version on record that is missing, steps and gates still hold. Weights are left alone, since
//! both destinations end on the one version.

use jiff::Timestamp;

use super::wait::{
    LATE, wait_asleep, wait_for_deadline, wait_for_floor, wait_for_pods, wait_for_service,
    wait_for_termination, wait_halted,
};
use super::{
    Deadline, Destination, Direction, Intent, MoveKind, Moves, Set, Split, State, Version, Wait, WaitReason,
    Wanted,
};

pub(super) fn plan(state: &State, intent: &Intent, now: Timestamp) -> Moves {
    let Some(new) = state.new else {
        let wait = Wait {
            reason: WaitReason::Pods,
            object: "ReplicaSet of the current template".into(),
            seen: "none".into(),
            wanted: "one".into(),
        };
        return Moves { wait: Some(wait), ..Moves::default() };
    };
    let set = &state.sets[new];
    let is_back = intent.direction == Direction::Back;
    let replicas = state.corridor.replicas;
    // Nothing else could serve: an aborted version keeps its pods while it is the only one, and gains none.
    let wanted = if is_back { set.size.min(replicas) } else { replicas };
    let mut moves = Moves { wanted: Wanted { stable: 0, new: wanted }, ..Moves::default() };
    if set.deadline != Deadline::None && !is_back {
        moves.push(MoveKind::ClearDeadline(new), "this version serves");
    }
    let to = wanted.min(set.size.saturating_add(free_places(state)));
    if set.size != to {
        let reason = if set.size < to { "no stable version exists" } else { "fewer replicas are wanted" };
        moves.push(MoveKind::Scale { version: new, from: set.size, to }, reason);
    }
    if !is_back {
        services(state, new, &mut moves);
    }
    let held = shrink_others(state, new, is_back, now, &mut moves);

    let is_there = set.size >= wanted && set.stay() >= intent.threshold.of(wanted);
    let unsettled = unsettled_service(state, new);
    let stands = is_back || intent.is_halted || replicas == 0;
    moves.arrived = moves.is_empty() && is_there && unsettled.is_none() && !stands;
    moves.may_promote = moves.arrived && (intent.at_end || intent.promote_full);
    if moves.is_empty() && !moves.arrived {
        moves.wait = match () {
            () if set.size >= wanted && set.stay() < wanted => Some(wait_for_pods(set, wanted)),
            () if is_back && replicas > 0 => Some(aborted(set)),
            () => unsettled
                .or(held)
                .or_else(|| state.sets.iter().find(|set| set.existing > set.size).map(wait_for_termination))
                .or_else(|| (set.size < wanted).then(|| wait_for_pods(set, wanted)))
                .or_else(|| Some(if replicas == 0 { wait_asleep() } else { wait_halted() })),
        };
    }
    for destination in destinations(state) {
        moves.recheck(destination.settles_at);
    }
    moves
}

/// Places within `replicas + surge`: a version that never came up holds its own until it gives them up.
/// A router's sizes follow weights instead, unless its surge is staged.
fn free_places(state: &State) -> i64 {
    match state.split {
        Split::ByRatio | Split::ByRouter { staged: true, .. } => {
            let sizes: i64 = state.sets.iter().map(|set| set.size).sum();
            (state.corridor.cap() - sizes).max(0)
        }
        Split::ByRouter { .. } => i64::MAX,
    }
}

fn destinations(state: &State) -> impl Iterator<Item = &Destination> {
    [&state.stable_destination, &state.canary_destination].into_iter().flatten()
}

/// Whether the new version can take over what a Service carries.
fn can_serve(state: &State, destination: &Destination, new: Version) -> bool {
    let stay = state.sets[new].stay();
    let replicas = state.corridor.replicas;
    let serves = |version: Version| version != new && state.sets[version].ready > 0;
    if replicas == 0 {
        return state.sets.iter().all(|set| set.existing == 0);
    }
    if state.split == Split::ByRatio && destination.is_managed {
        return stay > 0; // few call the canary Service, and the others hold the places for more
    }
    if destination.is_managed && !destination.selected.is_some_and(serves) {
        stay > 0 // better than nobody
    } else {
        stay >= replicas
    }
}

fn services(state: &State, new: Version, moves: &mut Moves) {
    if let Some(destination) = &state.canary_destination
        && destination.selected != Some(new)
        && can_serve(state, destination, new)
    {
        moves.push(MoveKind::SelectCanary(new), "the only version to lead to can serve");
    }
    let Some(destination) = &state.stable_destination else { return };
    if state.split == Split::ByRatio {
        if destination.is_managed && destination.selected.is_some() {
            moves.push(
                MoveKind::WidenStable,
                "without a router the stable Service has to reach every version",
            );
        }
    } else if destination.selected != Some(new) && can_serve(state, destination, new) {
        moves.push(MoveKind::SelectStable(new), "the only version to lead to can serve");
    }
}

fn unsettled_service(state: &State, new: Version) -> Option<Wait> {
    let name = &state.sets[new].name;
    let by_ratio = state.split == Split::ByRatio;
    if let Some(destination) = state
        .canary_destination
        .iter()
        .chain(state.stable_destination.iter().filter(|_| !by_ratio))
        .find(|d| !d.settled_on(new))
    {
        let seen = if destination.selected == Some(new) { LATE } else { "leads elsewhere" };
        return Some(wait_for_service(destination, seen, format!("only pods of {name}")));
    }
    let destination = state
        .stable_destination
        .as_ref()
        .filter(|d| by_ratio && (d.selected.is_some() || d.settles_at.is_some()))?;
    let seen = if destination.selected.is_none() { LATE } else { "selects one version" };
    Some(wait_for_service(destination, seen, "pods of every version".into()))
}

/// Shrinks the other versions by what the floor allows; what a Service may still lead to stays. Returns
/// why one of them is kept.
fn shrink_others(
    state: &State,
    new: Version,
    is_back: bool,
    now: Timestamp,
    moves: &mut Moves,
) -> Option<Wait> {
    let corridor = state.corridor;
    let stays: i64 = state.sets.iter().map(Set::stay).sum();
    let mut spare = (stays - corridor.floor()).max(0);
    let mut held = None;
    for (version, set) in
        state.sets.iter().enumerate().filter(|(version, set)| *version != new && set.size > 0)
    {
        if let Deadline::Running(at) = set.deadline
            && at > now
            && corridor.replicas > 0
        {
            moves.recheck(Some(at));
            held.get_or_insert_with(|| wait_for_deadline(set, at));
            continue;
        }
        let least = if is_back { set.size.min(corridor.replicas) } else { least(state, new, version) };
        let to = (set.stay() - spare).max(least).min(set.size);
        spare -= (set.stay() - to).max(0);
        if to < set.size {
            moves.push(MoveKind::Scale { version, from: set.size, to }, "another version takes over");
        } else {
            held.get_or_insert_with(|| wait_for_floor(set, stays, corridor));
        }
    }
    held
}

/// Pods that a version keeps because a Service leads to it, or may still do so.
fn least(state: &State, new: Version, version: Version) -> i64 {
    let uses = |destination: &Option<Destination>| {
        destination
            .as_ref()
            .is_some_and(|d| (d.selected.is_some() || d.settles_at.is_some()) && d.may_use(version))
    };
    let (set, corridor) = (&state.sets[version], state.corridor);
    let all = set.size.min(corridor.replicas);
    let is_capped = free_places(state) < i64::MAX;
    let fills_the_corridor = set.size >= corridor.cap() && corridor.floor() == 0 && state.sets[new].size == 0;
    match () {
        () if uses(&state.stable_destination) => all,
        () if !uses(&state.canary_destination) => 0,
        () if !is_capped => all,
        // Nobody is answered there, or no other version could ever have a pod.
        () if set.ready == 0 || fills_the_corridor => 0,
        () => all.min(1),
    }
}

fn aborted(set: &Set) -> Wait {
    Wait {
        reason: WaitReason::Aborted,
        object: format!("ReplicaSet {}", set.name),
        seen: "aborted, and no stable version to go back to".into(),
        wanted: "retry, or another template".into(),
    }
}
