//! Moves of a canary whose share a router carries.
//!
//! The rules were checked by exhaustive search over every interleaving of planner, ReplicaSets, a slow
//! router and a user within small numbers. The side that gains counts pods that stay; the side that
//! loses, and every test for "none left", counts ready pods. Shrinks are judged on what the data plane
//! may still do after this pass's own route writes.

use jiff::Timestamp;

use super::wait::{
    LATE, wait_asleep, wait_for_deadline, wait_for_floor, wait_for_pods, wait_for_service, wait_for_termination, wait_halted,
};
use super::{
    Deadline, Destination, Direction, Intent, LiveWeight, MoveKind, Moves, Set, State, Version, Wait, WaitReason, Wanted,
};
use crate::replicas::{carry, need};

/// Weights of at least this resolution allow one unit of rounding for a version that leaves.
const FINE_WEIGHT: i64 = 100;

/// Which version plays which part.
#[derive(Clone, Copy)]
pub(super) struct Roles {
    stable: Version,
    new: Version,
}

impl Roles {
    pub(super) fn of(state: &State, stable: Version) -> Roles {
        Roles { stable, new: state.new.unwrap_or(stable) }
    }
}

/// How sizes follow weights.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub dynamic_stable: bool,
    pub staged: bool,
    pub ping_pong: bool,
}

/// What the data plane may do: destinations and weight, with the writes of this pass applied.
#[derive(Clone)]
struct Routes {
    stable: Destination,
    canary: Destination,
    weight: LiveWeight,
    max: i64,
}

impl Routes {
    /// The largest share that the data plane may be giving to a version.
    fn live_share(&self, version: Version) -> i64 {
        let stable = if self.stable.may_use(version) { self.max - self.weight.low } else { 0 };
        let canary = if self.canary.may_use(version) { self.weight.high } else { 0 };
        (stable + canary).min(self.max)
    }

    /// The share that is asked for a version.
    fn requested_share(&self, version: Version) -> i64 {
        let stable = if self.stable.selected == Some(version) { self.max - self.weight.requested } else { 0 };
        let canary = if self.canary.selected == Some(version) { self.weight.requested } else { 0 };
        stable + canary
    }

    fn may_use(&self, version: Version) -> bool {
        self.stable.may_use(version) || self.canary.may_use(version)
    }

    fn apply(&mut self, kind: &MoveKind) {
        let widen = |destination: &mut Destination, version: Version| {
            destination.selected = Some(version);
            if !destination.live.contains(&version) {
                destination.live.push(version);
                destination.live.sort_unstable();
            }
        };
        match kind {
            MoveKind::Weight(weight) => self.weight.ask(*weight),
            MoveKind::SelectStable(version) => widen(&mut self.stable, *version),
            MoveKind::SelectCanary(version) => widen(&mut self.canary, *version),
            _ => {}
        }
    }
}

pub(super) fn plan(state: &State, intent: &Intent, roles: Roles, mode: Mode, now: Timestamp) -> Moves {
    Pass::new(state, intent, roles, mode, now).plan()
}

struct Pass<'a> {
    state: &'a State,
    intent: &'a Intent,
    mode: Mode,
    now: Timestamp,
    stable: Version,
    new: Version,
    /// Wanted replicas.
    replicas: i64,
    max: i64,
    is_going: bool,
    is_promoted: bool,
    is_asleep: bool,
    at_end: bool,
    want_weight: i64,
    routes: Routes,
    moves: Moves,
}

impl<'a> Pass<'a> {
    fn new(state: &'a State, intent: &'a Intent, roles: Roles, mode: Mode, now: Timestamp) -> Pass<'a> {
        let replicas = state.corridor.replicas;
        let is_asleep = state.is_asleep || replicas == 0;
        let is_going = intent.direction == Direction::Going;
        let at_end = intent.at_end || intent.promote_full;
        let max = state.max_weight;
        let want_weight = match () {
            () if !is_going || is_asleep => 0,
            () if at_end => max,
            () => intent.weight.clamp(0, max),
        };
        // A destination that the spec does not name is one that follows by itself.
        let implied = |version| Destination {
            name: String::new(),
            selected: Some(version),
            live: vec![version],
            settles_at: None,
            is_managed: true,
        };
        let routes = Routes {
            stable: state.stable_destination.clone().unwrap_or_else(|| implied(roles.stable)),
            canary: state.canary_destination.clone().unwrap_or_else(|| implied(roles.new)),
            weight: state.weight,
            max,
        };
        Pass {
            state,
            intent,
            mode,
            now,
            stable: roles.stable,
            new: roles.new,
            replicas,
            max,
            is_going,
            is_promoted: intent.direction == Direction::Rest,
            is_asleep,
            at_end,
            want_weight,
            routes,
            moves: Moves::default(),
        }
    }

    fn set(&self, version: Version) -> &'a Set {
        &self.state.sets[version]
    }

    fn stay(&self, version: Version) -> i64 {
        self.set(version).stay()
    }

    fn need(&self, share: i64) -> i64 {
        need(share, self.replicas, self.max)
    }

    /// Replicas that must not be missing.
    fn floor(&self) -> i64 {
        self.state.corridor.floor()
    }

    fn stable_settled(&self) -> bool {
        self.routes.stable.settled_on(self.stable)
    }

    fn canary_settled(&self) -> bool {
        self.routes.canary.settled_on(self.new)
    }

    /// Ready pods behind the canary destination.
    fn ready_behind_canary(&self) -> i64 {
        match self.routes.canary.selected {
            Some(version) => self.set(version).ready,
            None => self.state.sets.iter().map(|set| set.ready).sum(),
        }
    }

    /// The canary destination leads elsewhere than the rollout goes: its share is on the way out.
    fn is_draining(&self) -> bool {
        !self.is_going || self.is_asleep || self.routes.canary.selected != Some(self.new)
    }

    /// The weight that the canary destination may keep.
    fn least_weight(&self) -> i64 {
        if self.is_draining() || self.ready_behind_canary() == 0 { 0 } else { self.want_weight }
    }

    fn plan(mut self) -> Moves {
        let before = self.routes.clone();
        let (goal, weight_reason) = self.weight_goal();
        let mut routing: Vec<(MoveKind, String)> = Vec::new();
        if goal != self.state.weight.requested {
            routing.push((MoveKind::Weight(goal), weight_reason));
        }
        let handover_size = self.selectors(goal, &mut routing);
        let mut after = before;
        for (kind, _) in &routing {
            after.apply(kind);
        }
        let wanted = self.wanted_sizes(goal, handover_size, &after);
        self.moves.wanted = Wanted { stable: wanted(self.stable), new: wanted(self.new) };

        self.grow(&wanted);
        for (kind, reason) in routing {
            self.moves.push(kind, reason);
        }
        self.shrink(&wanted, &after);
        self.position(&wanted, goal);
        if !self.moves.is_empty() || self.moves.arrived {
            self.moves.wait = None;
        } else if let Some(wait) = self.explain(&wanted, goal) {
            self.moves.wait = Some(wait);
        } else if self.moves.wait.is_none() {
            self.moves.wait = self.explain_stillness();
        }
        for at in [self.state.weight.settles_at, self.routes.stable.settles_at, self.routes.canary.settles_at] {
            self.moves.recheck(at);
        }
        self.moves
    }

    /// The weight that may be asked for now on the way to the wanted one.
    fn weight_goal(&self) -> (i64, String) {
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
                let per = if self.mode.staged && self.state.corridor.surge == 0 { self.floor().max(1) } else { self.replicas };
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
    fn selectors(&self, goal: i64, routing: &mut Vec<(MoveKind, String)>) -> i64 {
        let LiveWeight { requested, low, high, .. } = self.state.weight;
        let nobody_serves = self.replicas == 0 && self.state.sets.iter().all(|set| set.available == 0);
        let all_on_canary = requested == self.max && low == self.max && high == self.max && self.canary_settled();
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
                let reason = if target == self.stable { "stable traffic belongs to the stable version" } else { "the new version takes over" };
                routing.push((MoveKind::SelectStable(target), reason.into()));
            }
        }
        let selected = self.routes.canary.selected;
        let want_canary = if self.is_going { self.new } else { self.stable };
        if selected == Some(want_canary) || self.state.canary_destination.is_none() {
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
        let no_share = requested == 0 && low == 0 && high == 0;
        let hands_over = self.state.grace_is_over
            && self.is_going
            && !self.is_asleep
            && goal == requested
            && requested > 0
            && selected != Some(self.stable)
            && target == self.new
            && (self.stable_settled() || low == self.max)
            && self.set(self.stable).ready < self.floor().max(1);
        let mut size = 0;
        if hands_over {
            size = self.need(high);
            if self.stay(self.new) >= size.max(1) {
                routing.push((MoveKind::SelectCanary(self.new), "stable cannot take the share back, the new version can".into()));
            }
        }
        if no_share && (self.stay(target) >= 1 || no_place || nobody_serves) {
            let reason = format!("no share of traffic depends on it and {} can serve", self.set(target).name);
            routing.push((MoveKind::SelectCanary(target), reason));
        }
        size
    }

    /// The size that a share needs. A staged walk allows one unit of rounding and spends the
    /// unavailability budget where there is no surge: it could not take its first step otherwise.
    fn hold(&self, share: i64) -> i64 {
        if !(self.mode.staged && self.mode.dynamic_stable) {
            return self.need(share);
        }
        let per = if self.state.corridor.surge == 0 { self.floor() } else { self.replicas };
        need(share - 1, per, self.max).max(i64::from(share > 0 && self.replicas > 0))
    }

    fn wanted_sizes(&self, goal: i64, handover_size: i64, after: &Routes) -> impl Fn(Version) -> i64 + use<> {
        let mut stable = self.replicas;
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
            if self.mode.dynamic_stable {
                let everything = self.is_draining() || (self.ready_behind_canary() == 0 && self.state.weight.requested > 0);
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

    fn grow(&mut self, wanted: &impl Fn(Version) -> i64) {
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
                let reason = if version == self.stable { "stable takes its share" } else { "the step asks for more canary pods" };
                self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
            }
        }
    }

    fn shrink(&mut self, wanted: &impl Fn(Version) -> i64, after: &Routes) {
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
                self.member_size(version, wanted(version).max(self.hold(live)))
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
            let reason = if is_member { "its share needs fewer pods" } else { "no traffic needs it any more" };
            self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
        }
    }

    /// A version that is to inherit a live share does not shrink before it has it.
    fn member_size(&self, version: Version, to: i64) -> i64 {
        let has_share = self.state.weight.requested.max(self.state.weight.high) > 0;
        let is_heir =
            version == self.new && self.is_going && self.routes.canary.selected != Some(self.new) && has_share;
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

    fn position(&mut self, wanted: &impl Fn(Version) -> i64, goal: i64) {
        if self.state.is_asleep && self.replicas > 0 && self.stay(self.stable) > 0 {
            self.moves.is_awake = true;
        }
        let weight = self.state.weight;
        let no_share = self.want_weight == 0 && weight.requested == 0;
        if !self.is_going
            || self.is_asleep
            || self.intent.is_halted
            || !(self.canary_settled() || no_share)
            || !weight.is_settled()
            || goal != weight.requested
        {
            return;
        }
        let enough = |version: Version, pods: i64| self.set(version).size >= pods;
        let want_new = wanted(self.new);
        let fits = enough(self.new, want_new)
            && self.stay(self.new) >= self.intent.threshold.of(want_new)
            && (self.mode.dynamic_stable || enough(self.stable, self.replicas));
        if !fits {
            return;
        }
        let stable_done = self.stable_settled() || weight.requested == self.max;
        if !self.at_end {
            self.moves.arrived = weight.requested >= self.want_weight && stable_done;
        } else if weight.requested == self.max && (self.mode.ping_pong || self.routes.stable.settled_on(self.new)) {
            self.moves.arrived = true;
            self.moves.may_promote = true;
        }
    }

    /// Names what is awaited when no write is safe and the position is not reached.
    fn explain(&self, wanted: &impl Fn(Version) -> i64, goal: i64) -> Option<Wait> {
        let weight = self.state.weight;
        let is_held = weight.requested > self.least_weight() && goal == weight.requested;
        if is_held && (self.stable_settled() || weight.low == self.max) {
            // The grace time counts from here, so it comes before everything else.
            let stable = self.set(self.stable);
            return Some(Wait {
                reason: WaitReason::Carry,
                object: format!("ReplicaSet {}", stable.name),
                seen: format!("{} of {} pods available, weight {} kept", stable.available, stable.size, weight.requested),
                wanted: format!("{} available", self.need(self.max)),
            });
        }
        for destination in [&self.routes.stable, &self.routes.canary] {
            if let Some(selected) = destination.selected
                && !destination.is_settled()
            {
                let wanted = format!("only pods of {}", self.set(selected).name);
                return Some(wait_for_service(destination, LATE, wanted));
            }
        }
        if !weight.is_settled() {
            return Some(Wait {
                reason: WaitReason::Weight,
                object: "canary weight".into(),
                seen: format!("between {} and {} of {}", weight.low, weight.high, self.max),
                wanted: weight.requested.to_string(),
            });
        }
        for version in [self.new, self.stable] {
            let set = self.set(version);
            let pods = wanted(version);
            if set.stay() < pods {
                return Some(wait_for_pods(set, pods));
            }
        }
        None
    }

    /// Names what is left once no pod is missing and no shrink is held back.
    fn explain_stillness(&self) -> Option<Wait> {
        if let Some(set) = self.state.sets.iter().find(|set| set.existing > set.size) {
            return Some(wait_for_termination(set));
        }
        match () {
            () if !self.is_going => None,
            () if self.is_asleep => Some(wait_asleep()),
            () if self.intent.is_halted => Some(wait_halted()),
            () => None,
        }
    }
}

fn ratio_up(max: i64, canary: i64, stable: i64) -> i64 {
    need(canary, max, (canary + stable).max(1))
}
