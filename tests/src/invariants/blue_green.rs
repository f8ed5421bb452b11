//! Blue-green: one Service has all the traffic, and what it leads to has all the pods.

use sluice_sim::Write;

use super::capacity::{SETTLE_SECONDS, could_stay, size_seen};
use super::view::{self, SetView};
use super::{Moment, State};

/// Whether the active Service leads to this version.
pub(super) fn is_active(moment: &Moment, hash: &str) -> bool {
    moment.rollout.blue_green.as_ref().is_some_and(|strategy| {
        moment.selected.get(&strategy.active).and_then(Option::as_deref) == Some(hash)
    })
}

/// No version is larger than wanted; how many there are is not bounded.
pub(super) fn grown(state: &mut State, write: &Write, new: &SetView, from: i64) {
    let most = state.seen().map(|moment| moment.rollout.replicas).max().unwrap_or(0);
    if new.size > most {
        state.report("corridor", write, format!("{from} -> {} of {most} replicas", new.size));
    }
}

/// The version that everybody is sent to keeps its pods.
pub(super) fn shrunk(state: &mut State, write: &Write, new: &SetView, from: i64) {
    let least = state.seen().map(|moment| moment.rollout.replicas).min().unwrap_or(0).min(from);
    if new.size < least && state.seen().all(|moment| is_active(moment, &new.hash)) {
        let text = format!("{from} -> {} where all traffic goes, wanted {least}", new.size);
        state.report("I4", write, text);
    }
}

/// Everybody is sent to another version, or to one version instead of all.
pub(super) fn switched(state: &mut State, write: &Write, old: Option<&str>, target: &SetView) {
    let stays = could_stay(state, &target.name, size_seen(state, target, true));
    let hash = target.hash.clone();
    let is_asleep = state.seen().any(|moment| moment.rollout.replicas == 0);
    let wanted = state.seen().map(|moment| moment.rollout.replicas).min().unwrap_or(0);
    let floor = state.seen().map(|moment| moment.rollout.floor).min().unwrap_or(0);
    // What the version that is left could still do, at the worst moment that may have been seen.
    let ready = |moment: &Moment| {
        let set = moment.sets.values().find(|set| Some(&*set.hash) == old);
        set.map_or(0, |set| set.ready)
    };
    let left = state.seen().map(ready).min().unwrap_or(0);
    let is_stable = |moment: &Moment| moment.rollout.stable == hash;
    let is_known = |moment: &Moment| moment.sets.values().any(|set| set.hash == moment.rollout.stable);
    let is_forward = state.seen().all(|moment| !is_stable(moment) && is_known(moment));
    let was_managed = write.before.as_ref().is_some_and(|before| {
        !view::text(before, "/metadata/annotations/argo-rollouts.argoproj.io~1managed-by-rollouts").is_empty()
    });
    let least = match old {
        _ if is_forward => wanted,
        None if !was_managed => wanted,
        None => floor.max(1),
        Some(_) => floor.max(1).min(left + 1),
    };
    if stays < least && !is_asleep {
        let text = format!("leads to {} with {stays} available pods, wanted {least}", target.name);
        state.report("I1", write, text);
    }
    let is_aborted = |moment: &Moment| moment.rollout.aborted && moment.rollout.is_observed;
    if is_forward && state.seen().all(is_aborted) {
        state.report("I3", write, format!("leads to {} after an abort", target.name));
    }
    let waits_for_person = |moment: &Moment| {
        let strategy = moment.rollout.blue_green.clone().unwrap_or_default();
        let is_judged = strategy.promote_full || !strategy.is_paused || !strategy.needs_person;
        !is_judged && moment.rollout.current == hash && moment.rollout.is_observed
    };
    if is_forward && state.seen().all(waits_for_person) {
        state.report("W41", write, format!("leads to {} while it waits for a person", target.name));
    }
}

/// A version becomes stable once everybody is sent there, and every proxy has had time to know.
pub(super) fn promoted(state: &mut State, write: &Write, new: &SetView) {
    let Some(strategy) = state.now.rollout.blue_green.clone() else { return };
    if !state.seen().any(|moment| is_active(moment, &new.hash)) {
        state.report(
            "I5",
            write,
            format!("{} becomes stable, and {} leads elsewhere", new.name, strategy.active),
        );
        return;
    }
    // The time of a change is kept in whole seconds.
    let settle = jiff::SignedDuration::from_secs(SETTLE_SECONDS - 1);
    let settled = |moment: &Moment| {
        let since = moment.selected_at.get(&strategy.active);
        since.is_none_or(|since| state.now.at.duration_since(*since) >= settle)
    };
    if !state.seen().any(settled) {
        let text = format!("{} becomes stable within {SETTLE_SECONDS} s of the switch", new.name);
        state.report("I5", write, text);
    }
}
