//! Moves of a blue-green update: one selector is the whole switch.
//!
//! The version that the active Service selects has all the traffic, so it keeps its pods at full size
//! until another one carries everything. On the way forward the new version needs every pod and open
//! gates; on the way back stable needs what must not be missing, or more than the other has left. The
//! preview Service leads to the new version from the beginning: nobody's traffic depends on it.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use super::wait::{
    LATE, wait_asleep, wait_for_deadline, wait_for_floor, wait_for_pods, wait_for_service,
    wait_for_termination, wait_halted,
};
use super::{Deadline, Destination, Direction, MoveKind, Moves, Set, Version, Wait, WaitReason, Wanted};
use crate::replicas::Corridor;

/// What the planner looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct BlueGreenState {
    /// Wanted replicas and how many of them may be missing.
    pub corridor: Corridor,
    /// Every version that exists, in order of revision.
    pub sets: Vec<Set>,
    /// The stable version, if it exists.
    pub stable: Option<Version>,
    /// The version of the current template.
    pub new: Version,
    /// The active Service, if it exists.
    pub active: Option<Destination>,
    /// The preview Service, if the spec names one and it exists.
    pub preview: Option<Destination>,
    /// Pods that stable is to have beyond `replicas` while its pods are restarted.
    pub extra: i64,
    /// `replicas` was 0 and no stable pod has been available since.
    pub is_asleep: bool,
}

/// Where a blue-green update wants to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlueGreenIntent {
    /// Which way it goes.
    pub direction: Direction,
    /// The switch and the promotion stand still.
    pub is_halted: bool,
    /// Everything that comes before the switch is done: pause, analysis.
    pub may_switch: bool,
    /// Everything that comes after the switch is done.
    pub may_promote: bool,
    /// The size of the new version until it may be switched to.
    pub preview_size: i64,
    /// How long an old version keeps its pods after it lost the traffic.
    pub scale_down_delay: SignedDuration,
    /// How many old versions may wait like that.
    pub delayed_revisions: i64,
    /// The same as the delay for an aborted version; `None`: its pods stay.
    pub abort_scale_down_delay: Option<SignedDuration>,
}

/// Decides which writes to sizes and selectors are safe now on the way to `intent`.
pub fn plan_blue_green(state: &BlueGreenState, intent: &BlueGreenIntent, now: Timestamp) -> Moves {
    let is_going = intent.direction == Direction::Going;
    let pass = Pass {
        state,
        intent,
        now,
        replicas: state.corridor.replicas,
        is_going,
        is_asleep: state.is_asleep || state.corridor.replicas == 0,
        active: state.active.clone(),
        moves: Moves::default(),
    };
    pass.plan()
}

struct Pass<'a> {
    state: &'a BlueGreenState,
    intent: &'a BlueGreenIntent,
    now: Timestamp,
    replicas: i64,
    is_going: bool,
    is_asleep: bool,
    /// The active Service, with the write of this pass applied.
    active: Option<Destination>,
    moves: Moves,
}

impl<'a> Pass<'a> {
    fn set(&self, version: Version) -> &'a Set {
        &self.state.sets[version]
    }

    fn plan(mut self) -> Moves {
        let switch = self.switch();
        if let (Some(target), Some(active)) = (switch, &mut self.active) {
            active.selected = Some(target);
            if !active.live.contains(&target) {
                active.live.push(target);
                active.live.sort_unstable();
            }
        }
        self.grow();
        self.preview();
        if let Some(target) = switch {
            let reason = match () {
                () if Some(target) == self.state.stable => "active traffic belongs to the stable version",
                () => "every pod of the new version is available and nothing holds the switch back",
            };
            self.moves.push(MoveKind::SelectStable(target), reason);
        }
        self.shrink();
        self.position(switch);
        if !self.moves.is_empty() || self.moves.may_promote {
            self.moves.wait = None;
        } else if let Some(wait) = self.explain() {
            self.moves.wait = Some(wait);
        } else if self.moves.wait.is_none() {
            self.moves.wait = self.explain_stillness();
        }
        self.moves.recheck(self.state.active.as_ref().and_then(|active| active.settles_at));
        self.moves
    }

    /// The version that the active Service is to lead to.
    fn wanted_active(&self) -> Option<Version> {
        let active = self.state.active.as_ref()?;
        let new = self.state.new;
        let is_complete = self.set(new).size >= self.replicas && self.set(new).stay() >= self.replicas;
        let Some(stable) = self.state.stable else {
            // Nothing to go back to: unless another version serves, the new one does as soon as it can.
            let serves = active.selected.is_some_and(|version| self.set(version).ready > 0);
            let is_better = !serves && self.set(new).stay() > 0 && active.is_managed;
            let is_next = is_complete && (self.intent.may_switch || !serves);
            let may_go = self.is_going && !self.intent.is_halted && (is_next || is_better);
            return if may_go { Some(new) } else { active.selected };
        };
        if !self.is_going {
            return Some(stable);
        }
        let may_switch = self.intent.may_switch && !self.intent.is_halted && !self.is_asleep;
        match active.selected {
            Some(selected) if selected == new => {
                // It died after the switch; better the old version than nobody.
                Some(if self.set(new).ready == 0 { stable } else { new })
            }
            _ if may_switch && is_complete => Some(new),
            // Somebody took the selector away, or a version died that nothing leads to any more.
            None => Some(stable),
            Some(selected) if self.set(selected).ready == 0 && self.set(stable).stay() > 0 => Some(stable),
            selected => selected,
        }
    }

    /// The version to switch to now, if that is safe.
    fn switch(&self) -> Option<Version> {
        let active = self.state.active.as_ref()?;
        let target = self.wanted_active().filter(|target| active.selected != Some(*target))?;
        let stay = self.set(target).stay();
        let nobody_serves = self.replicas == 0 && self.state.sets.iter().all(|set| set.existing == 0);
        if nobody_serves {
            return Some(target);
        }
        let ready_now = match active.selected {
            Some(selected) => self.set(selected).ready,
            None => i64::MAX,
        };
        let may_go = self.replicas > 0 && stay >= self.enough_for(active, target) || stay > ready_now;
        may_go.then_some(target)
    }

    /// How many pods of a version let the active Service lead there, whatever it leads to now.
    fn enough_for(&self, active: &Destination, target: Version) -> i64 {
        if active.selected.is_none() && !active.is_managed {
            // Until now it led to everything that carries its labels.
            self.set(target).size.max(self.replicas).max(1)
        } else {
            self.state.corridor.floor().max(1)
        }
    }

    /// The preview Service leads to the new version, whether or not it has pods.
    fn preview(&mut self) {
        let Some(preview) = &self.state.preview else { return };
        if preview.selected != Some(self.state.new) && !self.intent.is_halted {
            self.moves.push(MoveKind::SelectCanary(self.state.new), "the preview leads to the new version");
        }
    }

    /// Some caller of the active Service may reach this version.
    fn is_serving(&self, version: Version) -> bool {
        let Some(active) = &self.active else { return true };
        match active.selected {
            Some(selected) => selected == version || active.may_use(version),
            None => self.set(version).size > 0,
        }
    }

    /// The active Service leads to every version. Then all pods together serve, as without blue-green.
    fn is_wide(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.selected.is_none())
    }

    fn is_selected(&self, version: Version) -> bool {
        self.active.as_ref().is_some_and(|active| active.selected == Some(version))
    }

    /// Whether a version is to stay, by its part or because the active Service names it. A deadline follows
    /// the selector, not the data plane.
    fn is_member(&self, version: Version) -> bool {
        Some(version) == self.state.stable
            || version == self.state.new && (self.is_going || self.state.stable.is_none())
            || self.is_selected(version)
    }

    fn wanted(&self, version: Version) -> i64 {
        let is_new = version == self.state.new && self.is_going;
        match () {
            () if Some(version) == self.state.stable => self.replicas + self.state.extra,
            () if self.is_selected(version) => self.replicas,
            () if is_new && self.is_asleep && self.state.stable.is_some() => 0,
            () if is_new && (self.intent.may_switch || self.state.stable.is_none()) => self.replicas,
            () if is_new => self.intent.preview_size.min(self.replicas),
            () => 0,
        }
    }

    fn grow(&mut self) {
        let new = self.state.new;
        let stable = self.state.stable.unwrap_or(new);
        self.moves.wanted = Wanted { stable: self.wanted(stable), new: self.wanted(new) };
        for version in 0..self.state.sets.len() {
            let set = self.set(version);
            if self.is_member(version) && set.deadline != Deadline::None {
                self.moves.push(MoveKind::ClearDeadline(version), "this version serves again");
            }
            // After an abort nothing but stable grows, and never what only a late proxy may still use.
            let may_grow = Some(version) == self.state.stable
                || self.intent.direction != Direction::Back && self.is_member(version);
            let to = self.wanted(version);
            if may_grow && to > set.size {
                let reason = match () {
                    () if Some(version) == self.state.stable => "stable runs at full size",
                    () if version == new => "the new version gets its pods before anybody is sent there",
                    () => "active traffic depends on it",
                };
                self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
            }
        }
    }

    fn shrink(&mut self) {
        let total: i64 = self.state.sets.iter().map(Set::stay).sum();
        let is_wide = self.is_wide();
        let least = self.state.corridor.floor().max(i64::from(is_wide));
        let mut spare = (total - least).max(0);
        let mut delayed = 0;
        // The newest first: they have the first claim to wait.
        for version in (0..self.state.sets.len()).rev() {
            let set = self.set(version);
            if set.size == 0 {
                continue;
            }
            let mut to = if self.is_member(version) {
                self.member_size(version)
            } else {
                self.leaving_size(version, &mut delayed)
            };
            let is_guarded = (self.intent.direction == Direction::Rest || is_wide) && self.replicas > 0;
            if is_guarded && to < set.size && set.stay() - to > spare {
                // Not all at once: what goes may make room for the pods that are missing.
                to = set.stay() - spare;
                self.moves.wait.get_or_insert_with(|| wait_for_floor(set, total, self.state.corridor));
            }
            if to >= set.size {
                continue;
            }
            spare -= (set.stay() - to).clamp(0, spare);
            let reason = if self.is_member(version) {
                "fewer replicas are wanted"
            } else {
                "no traffic needs it any more"
            };
            self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
        }
    }

    fn member_size(&self, version: Version) -> i64 {
        let wanted = self.wanted(version);
        if self.is_serving(version) && self.replicas > 0 {
            wanted.max(self.set(version).size.min(self.replicas))
        } else {
            wanted
        }
    }

    /// The size of a version that leaves: it waits out its deadline, and goes.
    fn leaving_size(&mut self, version: Version, delayed: &mut i64) -> i64 {
        let set = self.set(version);
        let kept = set.size.min(self.replicas);
        if self.replicas == 0 {
            return 0;
        }
        let is_aborted = self.intent.direction == Direction::Back && version == self.state.new;
        let delay =
            if is_aborted { self.intent.abort_scale_down_delay } else { Some(self.intent.scale_down_delay) };
        let mut passed = set.deadline == Deadline::Passed;
        match (set.deadline, delay) {
            (Deadline::None, None) => return kept, // a person wants these pods to stay
            (Deadline::None, Some(delay)) if delay.is_zero() => passed = true,
            (Deadline::None, Some(_)) if !is_aborted && *delayed >= self.intent.delayed_revisions => {
                passed = true;
            }
            (Deadline::None, Some(delay)) => {
                *delayed += i64::from(!is_aborted);
                let at = self.now.checked_add(delay).unwrap_or(Timestamp::MAX);
                self.moves.push(MoveKind::SetDeadline(version, at), "the active Service leads elsewhere");
                self.moves.recheck(Some(at));
            }
            (Deadline::Running(at), _) => {
                *delayed += i64::from(!is_aborted);
                if !is_aborted && *delayed > self.intent.delayed_revisions {
                    passed = true;
                } else {
                    self.moves.recheck(Some(at));
                    self.moves.wait.get_or_insert_with(|| wait_for_deadline(set, at));
                }
            }
            (Deadline::Passed, _) => {}
        }
        if !passed {
            return kept;
        }
        // Where it leads to every version, an old one may go as long as enough of the others serve.
        if !self.is_serving(version) || self.is_wide() {
            return 0;
        }
        if let Some(active) = &self.active {
            let wait = self.wait_for_proxies(active);
            self.moves.wait.get_or_insert(wait);
        }
        kept
    }

    /// The wait for everybody to know where the active Service leads.
    fn wait_for_proxies(&self, active: &Destination) -> Wait {
        let only = active.selected.map_or("one version", |version| self.set(version).name.as_str());
        wait_for_service(active, LATE, format!("only pods of {only}"))
    }

    fn position(&mut self, switch: Option<Version>) {
        let stable_stays = self.state.stable.is_some_and(|stable| self.set(stable).stay() > 0);
        self.moves.is_awake = self.state.is_asleep && self.replicas > 0 && stable_stays;
        if !self.is_going || self.is_asleep && self.state.stable.is_some() || self.intent.is_halted {
            return;
        }
        let new = self.set(self.state.new);
        self.moves.arrived = new.size >= self.moves.wanted.new && new.stay() >= self.moves.wanted.new;
        let is_switched = self.state.active.as_ref().is_some_and(|active| active.settled_on(self.state.new));
        self.moves.may_promote = is_switched
            && switch.is_none()
            && self.intent.may_promote
            && self.replicas > 0
            && new.stay() >= self.replicas;
    }

    /// Names what is awaited when no write is safe and the goal is not reached.
    fn explain(&self) -> Option<Wait> {
        if let Some(active) = &self.state.active
            && let Some(target) = self.wanted_active().filter(|target| active.selected != Some(*target))
            && self.replicas > 0
        {
            let set = self.set(target);
            let mut wait = wait_for_pods(set, self.enough_for(active, target));
            wait.reason = WaitReason::Carry;
            wait.wanted = format!("{} before Service {} leads there", wait.wanted, active.name);
            return Some(wait);
        }
        if self.is_going && self.intent.is_halted && self.replicas > 0 {
            return Some(wait_halted());
        }
        for version in [Some(self.state.new), self.state.stable].into_iter().flatten() {
            let (set, wanted) = (self.set(version), self.wanted(version));
            if set.stay() < wanted && (self.is_going || Some(version) == self.state.stable) {
                return Some(wait_for_pods(set, wanted));
            }
        }
        if let Some(active) = self.state.active.as_ref().filter(|active| !active.is_settled())
            && self.is_going
            && active.selected == Some(self.state.new)
        {
            return Some(self.wait_for_proxies(active)); // the promotion does
        }
        None // gates, which the strategy names, or what a shrink waits for
    }

    /// Names what is left once no pod is missing and no shrink is held back.
    fn explain_stillness(&self) -> Option<Wait> {
        if let Some(set) = self.state.sets.iter().find(|set| set.existing > set.size) {
            return Some(wait_for_termination(set));
        }
        (self.is_going && self.is_asleep).then(wait_asleep)
    }
}
