//! Sizes and Services: the corridor, aborted versions, and what a Service leads to.

use std::sync::Arc;

use serde_json::Value;
use sluice_sim::Write;

use super::view::{self, SetView};
use super::{Moment, State, blue_green};

/// How long proxies may go on using what a Service selected, unless told otherwise.
pub(super) const SETTLE_SECONDS: i64 = 5;

pub(super) fn check(state: &mut State, write: &Write, before: &Moment) {
    match &*write.kind {
        "ReplicaSet" => resized(state, write, before),
        "Service" => selected(state, write),
        "Rollout" => promoted(state, write, before),
        _ => {}
    }
}

/// The most pods of a version that could be counted on, as the controller may have seen it.
pub(super) fn could_stay(state: &State, name: &str, size: i64) -> i64 {
    let available =
        state.seen().filter_map(|moment| moment.sets.get(name)).map(|set| set.available).max().unwrap_or(0);
    available.min(size)
}

/// The size of a version, or what it was before somebody else changed it a moment ago.
pub(super) fn size_seen(state: &State, set: &SetView, most: bool) -> i64 {
    let since = state.now.at.checked_sub(state.lag(state.now.at)).unwrap_or(jiff::Timestamp::MIN);
    match state.resized.get(&set.name) {
        Some((at, old)) if *at >= since => {
            if most {
                set.size.max(*old)
            } else {
                set.size.min(*old)
            }
        }
        _ => set.size,
    }
}

fn resized(state: &mut State, write: &Write, before: &Moment) {
    let old = before.sets.get(write.name.as_str()).cloned();
    let Some(new) = state.now.sets.get(write.name.as_str()).cloned() else {
        if let Some(old) = old.filter(|old| old.size > 0 || old.existing > 0) {
            state.report(
                "I4",
                write,
                format!("deleted with {} pods, wanted none", old.size.max(old.existing)),
            );
        }
        return;
    };
    let from = old.as_ref().map_or(0, |old| old.size);
    if new.size > from {
        grown(state, write, &new, from);
    } else if new.size < from {
        shrunk(state, write, &new, from);
    }
}

fn grown(state: &mut State, write: &Write, new: &SetView, from: i64) {
    if state.now.rollout.blue_green.is_some() {
        blue_green::grown(state, write, new, from);
    } else {
        within_the_cap(state, write, new, from);
    }
    let size = new.size;
    let is_aborted = |moment: &Moment| {
        let rollout = &moment.rollout;
        let is_new = !rollout.stable.is_empty() && rollout.stable != new.hash && rollout.current == new.hash;
        // Other steps end an abort.
        rollout.aborted && is_new && rollout.plan == state.plan
    };
    if state.seen().all(is_aborted) {
        state.report("I3", write, format!("{from} -> {size} grows a version that was aborted"));
    }
    let leads_nowhere = |moment: &Moment| {
        let rollout = &moment.rollout;
        let is_wanted = [&rollout.stable, &rollout.current].contains(&&new.hash) || rollout.stable.is_empty();
        let is_active = blue_green::is_active(moment, &new.hash);
        !is_wanted && !is_active && Some(rollout.template) != state.templates.get(&new.hash).copied()
    };
    if state.seen().all(leads_nowhere) {
        state.report("I3", write, format!("{from} -> {size} grows a version that leads nowhere"));
    }
}

fn within_the_cap(state: &mut State, write: &Write, new: &SetView, from: i64) {
    let others: i64 = state
        .now
        .sets
        .values()
        .filter(|set| set.name != new.name)
        .map(|set| size_seen(state, set, false))
        .sum();
    let cap = state.seen().map(|moment| moment.rollout.cap).max().unwrap_or(0);
    if others + new.size > cap {
        let seen = others + new.size;
        state.report(
            "corridor",
            write,
            format!("{from} -> {} makes {seen} pods in all, wanted at most {cap}", new.size),
        );
    }
}

fn shrunk(state: &mut State, write: &Write, new: &SetView, from: i64) {
    // Sizes are the controller's own; what was available it may have seen at any of these moments.
    let stays = |moment: &Moment, size: i64| -> i64 {
        let available = |set: &SetView| moment.sets.get(&set.name).map_or(0, |seen| seen.available);
        let others = state.now.sets.values().filter(|set| set.name != new.name);
        others.map(|set| available(set).min(size_seen(state, set, true))).sum::<i64>()
            + available(new).min(size)
    };
    let floor = state.seen().map(|moment| moment.rollout.floor).min().unwrap_or(0);
    let is_wrong = |moment: &Moment| stays(moment, new.size) < stays(moment, from).min(floor);
    // Where one Service has all the traffic, what counts is whom it leads to.
    let is_blue_green = state.now.rollout.blue_green.is_some();
    if is_blue_green {
        blue_green::shrunk(state, write, new, from);
    } else if state.seen().all(is_wrong) {
        let (was, is) = (stays(&state.now, from), stays(&state.now, new.size));
        state.report(
            "corridor",
            write,
            format!(
                "{from} -> {} takes available pods from {was} to {is}, wanted at least {floor}",
                new.size
            ),
        );
    }
    let is_asleep = state.seen().any(|moment| moment.rollout.replicas == 0);
    let owes_time = |moment: &Moment| {
        moment.sets.get(&new.name).and_then(|set| set.deadline).is_some_and(|at| at > state.now.at)
    };
    let is_leaving = *new.hash != *state.now.rollout.stable && *new.hash != *state.now.rollout.current;
    // Of blue-green, old versions follow `replicas` down, and the oldest may be too many.
    let may_go_early = state.now.rollout.blue_green.as_ref().is_some_and(|strategy| {
        let least = state.seen().map(|moment| moment.rollout.replicas).min().unwrap_or(0);
        strategy.limits_revisions || new.size >= least
    });
    if !is_asleep && is_leaving && !may_go_early && state.seen().all(owes_time) {
        state.report("I4", write, format!("{from} -> {} before its scale-down deadline", new.size));
    }
    if new.size == 0 && !is_asleep {
        loses_its_last_pod(state, write, new, from);
    }
}

/// A version that a Service leads to, or led to a moment ago, keeps a pod that can answer.
fn loses_its_last_pod(state: &mut State, write: &Write, new: &SetView, from: i64) {
    let answers = state.seen().all(|moment| moment.sets.get(&new.name).is_some_and(|set| set.ready > 0));
    if !answers {
        return;
    }
    // With no surge and leave for all pods to be missing, the only version makes room for another one.
    let is_alone = |moment: &Moment| {
        moment.sets.values().filter(|set| set.name != new.name).map(|set| set.size).sum::<i64>() == 0
    };
    let rollout = &state.now.rollout;
    if rollout.floor <= 0 && from >= rollout.cap && state.seen().any(is_alone) {
        return;
    }
    let services = state.now.rollout.services.clone();
    let leads = |moment: &Moment| {
        services
            .iter()
            .find(|name| moment.selected.get(*name).and_then(Option::as_deref) == Some(&*new.hash))
            .cloned()
    };
    // The canary Service of a version that is under way at weight 0 has nowhere else to lead.
    let is_member = state.now.rollout.current == new.hash && !state.now.rollout.aborted;
    if !is_member && state.seen().all(|moment| leads(moment).is_some()) {
        let service = leads(&state.now).unwrap_or_default();
        state.report(
            "I4",
            write,
            format!("{from} -> 0 while Service {service} leads there, wanted 1 or more"),
        );
        return;
    }
    let settle = jiff::SignedDuration::from_secs(SETTLE_SECONDS);
    let since = state.now.at.checked_sub(settle).unwrap_or(jiff::Timestamp::MIN);
    let mut left: Option<(jiff::Timestamp, String)> = None;
    for (moment, next) in state.past.iter().zip(state.past.iter().skip(1).chain([&state.now])) {
        if leads(moment).is_some() && leads(next).is_none() {
            left = leads(moment).map(|service| (next.at, service));
        }
    }
    // Nobody reaches anything through a Service that a person has deleted.
    let left = left.filter(|(_, service)| state.now.selected.contains_key(service));
    if let Some((at, service)) = left.filter(|(at, _)| *at > since && !is_member) {
        state.report(
            "I4",
            write,
            format!(
                "{from} -> 0 when Service {service} was led away at {at}, wanted {SETTLE_SECONDS} s to settle"
            ),
        );
    }
}

/// A Service is pointed only at what can answer.
fn selected(state: &mut State, write: &Write) {
    let hash = |object: &Option<Arc<Value>>| {
        object.as_ref().and_then(|object| object["spec"]["selector"][view::HASH].as_str()).map(str::to_owned)
    };
    let (Some(before), Some(target)) = (&write.before, hash(&write.after)) else { return };
    let old = hash(&write.before);
    if old.as_deref() == Some(&*target) {
        return;
    }
    let is_asleep = state.seen().any(|moment| moment.rollout.replicas == 0);
    let of = |hash: &str| state.now.sets.values().find(|set| *set.hash == *hash).cloned();
    let Some(set) = of(&target) else {
        state.report("I5", write, format!("leads to version {target}, which has no ReplicaSet"));
        return;
    };
    if let Some(strategy) = state.now.rollout.blue_green.clone() {
        if write.name == strategy.active {
            blue_green::switched(state, write, old.as_deref(), &set);
        }
        return; // nobody depends on the preview
    }
    let stays = could_stay(state, &set.name, size_seen(state, &set, true));
    let was_managed =
        !view::text(before, "/metadata/annotations/argo-rollouts.argoproj.io~1managed-by-rollouts")
            .is_empty();
    let least = if was_managed { 1 } else { set.size.max(1) };
    let nobody_answers = match &old {
        None => false,
        Some(old) => {
            // Pods of a version that was scaled to 0 are on their way out.
            let answers = |set: &SetView| *set.hash == **old && set.ready.min(set.size) > 0;
            state.seen().any(|moment| !moment.sets.values().any(answers))
        }
    };
    if stays < least && !is_asleep && !nobody_answers {
        state.report(
            "I5",
            write,
            format!("leads to {} with {stays} available pods, wanted {least}", set.name),
        );
    }
}

/// A version becomes the stable one when it carries everything.
fn promoted(state: &mut State, write: &Write, before: &Moment) {
    let (old, new) = (before.rollout.stable.clone(), state.now.rollout.stable.clone());
    if old == new || old.is_empty() {
        return;
    }
    let Some(set) = state.now.sets.values().find(|set| set.hash == new).cloned() else {
        state.report("I1", write, format!("version {new} becomes stable without a ReplicaSet"));
        return;
    };
    let stays = could_stay(state, &set.name, size_seen(state, &set, true));
    let wanted = state.seen().map(|moment| moment.rollout.replicas).min().unwrap_or(0);
    if stays < wanted {
        state.report(
            "I1",
            write,
            format!("{} becomes stable with {stays} available pods, wanted {wanted}", set.name),
        );
    }
    blue_green::promoted(state, write, &set);
}
