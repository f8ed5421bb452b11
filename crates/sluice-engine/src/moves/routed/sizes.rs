//! Which sizes a position wants, and how far versions may grow and shrink now.
//!
//! Growth asks about places only in a staged walk; a shrink is judged on the largest share that the data
//! plane may still give after this pass's own route writes.

use super::{FINE_WEIGHT, Pass, Routes, need};
use crate::moves::wait::{wait_for_deadline, wait_for_floor};
use crate::moves::{Deadline, MoveKind, Set, Timestamp, Version};

impl Pass<'_> {
    /// The size that a share needs. A staged walk allows one unit of rounding and spends the
    /// unavailability budget where there is no surge: it could not take its first step otherwise.
    fn hold(&self, share: i64) -> i64 {
        if !(self.mode.staged && self.mode.dynamic_stable) {
            return self.need(share);
        }
        let per = if self.state.corridor.surge == 0 { self.floor() } else { self.replicas };
        need(share - 1, per, self.max).max(i64::from(share > 0 && self.replicas > 0))
    }

    /// Pods that a version keeps because something may still lead there, apart from its share.
    fn least(&self, version: Version, after: &Routes) -> i64 {
        let is_primary = self.state.needs_live_primary && after.stable.may_use(version);
        i64::from(self.replicas > 0 && (is_primary || after.has_managed(version)))
    }

    pub(super) fn wanted_sizes(
        &self,
        goal: i64,
        handover_size: i64,
        after: &Routes,
    ) -> impl Fn(Version) -> i64 + use<> {
        let mut stable = self.replicas + self.state.extra;
        let mut new = 0;
        let least = |share: i64| if share > 0 { self.intent.min_pods.min(self.replicas) } else { 0 };
        if self.is_going {
            new = match self.intent.canary_size {
                _ if self.is_asleep => 0,
                _ if self.at_end => self.replicas,
                Some(size) => size,
                None => self.need(self.want_weight).max(least(self.want_weight)),
            }
            .max(handover_size);
            if self.intent.keeps_size && !self.is_asleep {
                new = new.max(self.set(self.new).size.min(self.replicas));
            }
            if self.intent.managed && !self.is_asleep {
                new = new.max(1);
            }
            if self.mode.dynamic_stable {
                let everything = self.is_draining()
                    || (self.ready_behind_canary() == 0 && self.state.weight.requested > 0);
                let share = if everything { self.max } else { self.max - self.want_weight.min(goal) };
                stable = self.need(share).max(least(share));
            }
        }
        let has_share = self.state.weight.requested.max(self.state.weight.high) > 0;
        if self.mode.staged
            && self.mode.dynamic_stable
            && self.is_going
            && !(self.is_draining() && has_share)
            && self.set(self.new).size < new
        {
            stable = self.need(self.max - self.want_weight).max(self.hold(after.live_share(self.stable)));
        }
        let (stable_version, new_version) = (self.stable, self.new);
        move |version| match version {
            v if v == stable_version => stable,
            v if v == new_version => new,
            _ => 0,
        }
    }

    pub(super) fn grow(&mut self, wanted: &impl Fn(Version) -> i64) {
        let cap = self.state.corridor.cap();
        let mut total: i64 = self.state.sets.iter().map(|set| set.size).sum();
        let members = if self.is_promoted { vec![self.stable] } else { vec![self.stable, self.new] };
        for version in members {
            let set = self.set(version);
            let serves = version == self.stable || self.is_going;
            if !serves {
                continue;
            }
            if set.deadline != Deadline::None {
                self.moves.push(MoveKind::ClearDeadline(version), "this version serves again");
            }
            let mut to = wanted(version);
            if self.mode.staged && self.mode.dynamic_stable {
                to = to.min(set.size + (cap - total).max(0));
            }
            if to > set.size {
                total += to - set.size;
                let reason = if version == self.stable {
                    "stable takes its share"
                } else {
                    "the step asks for more canary pods"
                };
                self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
            }
        }
    }

    pub(super) fn shrink(&mut self, wanted: &impl Fn(Version) -> i64, after: &Routes) {
        let total: i64 = self.state.sets.iter().map(Set::stay).sum();
        let mut spare = (total - self.floor()).max(0);
        for version in 0..self.state.sets.len() {
            let set = self.set(version);
            if set.size == 0 {
                continue;
            }
            let live = after.live_share(version);
            let is_member = version == self.stable || (version == self.new && self.is_going);
            let to = if is_member {
                let least = self.least(version, after);
                self.member_size(version, wanted(version).max(self.hold(live)).max(least))
            } else {
                self.leaving_size(version, live, after)
            };
            if to >= set.size {
                continue;
            }
            let lost = (set.stay() - to).max(0);
            let is_guarded = (is_member || self.is_promoted) && self.replicas > 0;
            let to = if is_guarded && lost > spare { set.stay() - spare.min(set.stay()) } else { to };
            if to >= set.size {
                self.moves.wait.get_or_insert_with(|| wait_for_floor(set, total, self.state.corridor));
                continue;
            }
            spare -= (set.stay() - to).max(0).min(spare);
            let reason =
                if is_member { "its share needs fewer pods" } else { "no traffic needs it any more" };
            self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
        }
    }

    /// A version that is to inherit a live share does not shrink before it has it.
    fn member_size(&self, version: Version, to: i64) -> i64 {
        let has_share = self.state.weight.requested.max(self.state.weight.high) > 0;
        let is_heir = version == self.new
            && self.is_going
            && self.routes.canary.selected != Some(self.new)
            && has_share;
        if is_heir { to.max(self.set(version).size.min(self.replicas)) } else { to }
    }

    /// The size of a version that leaves: it follows its share down, waits out its deadline, and goes.
    fn leaving_size(&mut self, version: Version, live: i64, after: &Routes) -> i64 {
        let set = self.set(version);
        let hold = if self.max >= FINE_WEIGHT {
            self.need(live - 1).max(i64::from(live > 0 && self.replicas > 0)).min(self.hold(live))
        } else {
            self.hold(live)
        };
        let hold = hold.max(self.least(version, after));
        let is_aborted = !self.is_promoted && !self.is_going && version == self.new;
        let (delay, is_explicit) = if is_aborted {
            self.intent.abort_scale_down_delay
        } else {
            (Some(self.intent.scale_down_delay), false)
        };
        let owes = if is_aborted {
            !self.mode.dynamic_stable || is_explicit && delay.is_some_and(|d| !d.is_zero())
        } else {
            self.is_promoted && !self.mode.dynamic_stable
        };
        let is_running = matches!(set.deadline, Deadline::Running(_));
        let waits = owes || set.deadline != Deadline::None;
        let has_no_share = after.requested_share(version) == 0;
        let mut passed = set.deadline == Deadline::Passed;
        if owes && set.deadline == Deadline::None && has_no_share {
            match delay {
                None => return set.size.min(self.replicas.max(hold)), // a person wants these pods to stay
                Some(delay) if delay.is_zero() => passed = true,
                Some(delay) => {
                    let at = self.now.checked_add(delay).unwrap_or(Timestamp::MAX);
                    self.moves.push(MoveKind::SetDeadline(version, at), "its last share is gone");
                    self.moves.recheck(Some(at));
                }
            }
        }
        if let Deadline::Running(at) = set.deadline {
            self.moves.recheck(Some(at));
            self.moves.wait.get_or_insert_with(|| wait_for_deadline(set, at));
        }
        let gone = live == 0 && !after.may_use(version) && (!waits || passed && !is_running);
        if gone || self.replicas == 0 && live == 0 {
            return 0;
        }
        if !waits && live > 0 { hold } else { set.size.min(self.replicas.max(hold)) }
    }
}
