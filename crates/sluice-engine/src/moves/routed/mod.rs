//! Moves of a canary whose share a router carries.
//!
//! The tests in `model` search every interleaving of this planner, ReplicaSets, a slow router and a user
//! within small numbers. The side that gains counts pods that stay; the side that loses, and every test
//! for "none left", counts ready pods. Shrinks are judged on what the data plane may still do after this
//! pass's own route writes.

mod sizes;
mod traffic;

use jiff::Timestamp;

use super::wait::{LATE, wait_asleep, wait_for_pods, wait_for_service, wait_for_termination, wait_halted};
use super::{
    Destination, Direction, Intent, LiveWeight, ManagedRoutes, MoveKind, Moves, Set, State, Version, Wait,
    WaitReason, Wanted,
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
    managed: ManagedRoutes,
    max: i64,
}

impl Routes {
    /// The largest share that a version may still have to serve.
    fn live_share(&self, version: Version) -> i64 {
        let (low, high) = self.weight.kept;
        let stable = if self.stable.may_use(version) { self.max - low } else { 0 };
        let canary = if self.canary.may_use(version) { high } else { 0 };
        (stable + canary).min(self.max)
    }

    /// Whether requests may reach a version by a managed route.
    fn has_managed(&self, version: Version) -> bool {
        self.managed.may_be_live && self.canary.may_use(version)
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
            MoveKind::Managed(wanted) => {
                self.managed.requested = *wanted;
                self.managed.may_be_live |= wanted;
                self.managed.may_be_absent |= !wanted;
            }
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
            managed: state.managed,
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
        let managed = self.wants_managed();
        if managed != self.state.managed.requested {
            let reason =
                if managed { "the canary can serve what leads there" } else { "nothing is to lead there" };
            routing.push((MoveKind::Managed(managed), reason.into()));
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
        let weight = self.state.weight;
        for at in [weight.settles_at, weight.released_at, self.state.managed.settles_at] {
            self.moves.recheck(at);
        }
        for destination in [&self.routes.stable, &self.routes.canary] {
            self.moves.recheck(destination.settles_at);
        }
        self.moves
    }

    /// Whether managed routes are to be there now: they follow the pods of the new version, not the weight,
    /// and come back by themselves.
    fn wants_managed(&self) -> bool {
        self.intent.managed
            && self.is_going
            && !self.is_asleep
            && self.leads_to_new()
            && self.set(self.new).ready > 0
    }

    /// Whether what follows a managed route comes to the new version. A route that is there stays while only
    /// that is unknown, as when we have just begun to look.
    fn leads_to_new(&self) -> bool {
        let selected = self.routes.canary.selected == Some(self.new);
        self.canary_settled() || selected && self.state.managed.requested
    }

    fn position(&mut self, wanted: &impl Fn(Version) -> i64, goal: i64) {
        if self.state.is_asleep && self.replicas > 0 && self.stay(self.stable) > 0 {
            self.moves.is_awake = true;
        }
        let weight = self.state.weight;
        let no_share = self.want_weight == 0 && weight.requested == 0 && !self.intent.managed;
        if !self.is_going
            || self.is_asleep
            || self.intent.is_halted
            || !(self.canary_settled() || no_share)
            || !weight.is_settled()
            || goal != weight.requested
            || self.intent.managed != self.state.managed.requested
            || !self.state.managed.is_settled()
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
        } else if weight.requested == self.max
            && (self.mode.ping_pong || self.routes.stable.settled_on(self.new))
        {
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
                seen: format!(
                    "{} of {} pods available, weight {} kept",
                    stable.available, stable.size, weight.requested
                ),
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
        if !self.state.managed.is_settled() {
            return Some(Wait {
                reason: WaitReason::Weight,
                object: "managed routes".into(),
                seen: LATE.into(),
                wanted: if self.state.managed.requested { "in force" } else { "gone" }.into(),
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
