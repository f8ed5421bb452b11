//! Which weight may be asked for now, and which selectors may move.
//!
//! Both are judged on pods alone: a raise on the pods of the version that gains, a return on stable's.

use super::{Pass, carry, need};
use crate::moves::{LiveWeight, MoveKind};

impl Pass<'_> {
    /// The weight that may be asked for now on the way to the wanted one.
    pub(super) fn weight_goal(&self) -> (i64, String) {
        let current = self.state.weight.requested;
        let (stable_stay, new_stay) = (self.stay(self.stable), self.stay(self.new));
        let canary_ready = self.ready_behind_canary();
        let least = self.least_weight();
        let mut goal = current;
        let mut reason = String::new();
        if current > least && self.stable_settled() {
            if self.routes.canary.settled_on(self.stable) {
                goal = least;
                reason = "both destinations lead to the stable version".into();
            } else {
                let relaxed = self.state.grace_is_over || !self.mode.dynamic_stable;
                let per = if relaxed { self.floor().max(1) } else { self.replicas };
                let carried = if self.replicas == 0 { self.max } else { carry(stable_stay, per, self.max) };
                let mut low = self.max - carried;
                if stable_stay + canary_ready < per && stable_stay > canary_ready {
                    low = low.min(ratio_up(self.max, canary_ready, stable_stay));
                }
                goal = current.min(low.max(least));
                reason = format!("stable has {stable_stay} of {} pods to take it back", self.replicas);
            }
        } else if self.is_going
            && !self.intent.is_halted
            && self.canary_settled()
            && self.want_weight > current
            && self.replicas > 0
            && (self.stable_settled() || current == self.max)
        {
            let wanted = self.intent.canary_size.unwrap_or_else(|| self.need(self.want_weight));
            if new_stay >= self.intent.threshold.of(wanted) && new_stay > 0 {
                goal = self.want_weight;
                reason = format!("{new_stay} canary pods are available");
            } else if (self.intent.promote_full || self.mode.staged) && self.mode.dynamic_stable {
                let per = if self.mode.staged && self.state.corridor.surge == 0 {
                    self.floor().max(1)
                } else {
                    self.replicas
                };
                goal = current.max(carry(new_stay, per, self.max).min(self.want_weight));
                reason = format!("{new_stay} canary pods carry this much");
            }
        }
        if self.is_going
            && self.canary_settled()
            && self.want_weight > 0
            && self.set(self.stable).ready == 0
            && new_stay > 0
            && self.replicas > 0
            && !self.is_asleep
        {
            goal = self.max;
            reason = "stable has no ready pod and the canary has".into();
        }
        (goal, reason)
    }

    /// Adds the selector writes; returns the size that a hand-over under live weight needs of the new
    /// version.
    pub(super) fn selectors(&self, goal: i64, routing: &mut Vec<(MoveKind, String)>) -> i64 {
        let LiveWeight { requested, low, high, .. } = self.state.weight;
        let nobody_serves = self.replicas == 0 && self.state.sets.iter().all(|set| set.available == 0);
        let all_on_canary =
            requested == self.max && low == self.max && high == self.max && self.canary_settled();
        let stable_selected = self.routes.stable.selected;
        let enough = self.intent.threshold.of(self.replicas);
        let want_stable = if self.is_promoted {
            Some(self.stable)
        } else if self.is_going
            && self.at_end
            && all_on_canary
            && self.stay(self.new) >= enough
            && !self.is_asleep
            && !self.intent.is_halted
            && !self.mode.ping_pong
        {
            Some(self.new)
        } else if self.is_going
            && all_on_canary
            && self.at_end
            && !self.is_asleep
            && (self.ready_behind_canary() > 0 || self.stay(self.stable) == 0)
        {
            stable_selected
        } else {
            Some(self.stable)
        };
        if let Some(target) = want_stable
            && stable_selected != want_stable
        {
            let share = self.max - low;
            let least = i64::from(share > 0 || target != self.stable);
            if self.stay(target) >= self.need(share).max(least) || nobody_serves {
                let reason = if target == self.stable {
                    "stable traffic belongs to the stable version"
                } else {
                    "the new version takes over"
                };
                routing.push((MoveKind::SelectStable(target), reason.into()));
            }
        }
        let selected = self.routes.canary.selected;
        let want_canary = if self.is_going { self.new } else { self.stable };
        let sleeps = self.is_going && self.is_asleep && !nobody_serves;
        if selected == Some(want_canary) || self.state.canary_destination.is_none() || sleeps {
            return 0;
        }
        let taken: i64 = self.state.sets.iter().map(|set| set.size).sum();
        let no_place = self.mode.staged
            && self.mode.dynamic_stable
            && selected != Some(self.stable)
            && self.is_going
            && self.set(self.new).size == 0
            && taken >= self.state.corridor.cap();
        let target = if no_place { self.stable } else { want_canary };
        let managed = self.state.managed;
        let no_share = requested == 0 && low == 0 && high == 0 && !managed.requested && !managed.may_be_live;
        let hands_over = self.state.grace_is_over
            && self.is_going
            && !self.is_asleep
            && goal == requested
            && requested > 0
            && !managed.requested
            && !managed.may_be_live
            && selected != Some(self.stable)
            && target == self.new
            && (self.stable_settled() || low == self.max)
            && self.set(self.stable).ready < self.floor().max(1);
        let mut size = 0;
        if hands_over {
            size = self.need(high);
            if self.stay(self.new) >= size.max(1) {
                routing.push((
                    MoveKind::SelectCanary(self.new),
                    "stable cannot take the share back, the new version can".into(),
                ));
            }
        }
        // A Service that is narrowed for the first time gets all of the pods.
        let is_adopted =
            self.state.canary_destination.as_ref().is_some_and(|destination| !destination.is_managed);
        let least = if is_adopted { self.set(target).size.max(1) } else { 1 };
        if no_share && (self.stay(target) >= least || no_place || nobody_serves) {
            let reason = format!("no share of traffic depends on it and {} can serve", self.set(target).name);
            routing.push((MoveKind::SelectCanary(target), reason));
        }
        size
    }
}

/// The canary's weight that loads the pods of both sides evenly.
fn ratio_up(max: i64, canary: i64, stable: i64) -> i64 {
    need(canary, max, (canary + stable).max(1))
}
