//! Moves of a canary without a router: the ratio of pods is the split.
//!
//! The arithmetic is [`replicas::step_toward`]; this module keeps it inside the corridor. Growth takes
//! only places that are free now; available pods never fall below `replicas − maxUnavailable` by a write
//! of ours; an aborted version never grows; and if nothing else can move, surplus pods that are not
//! available give their places up.
//!
//! It does not split by Services. Everybody calls the stable Service, so it has to reach every version;
//! while it is narrowed to one, that version keeps the pods for everything.

use jiff::Timestamp;

use super::wait::{
    LATE, wait_asleep, wait_for_deadline, wait_for_floor, wait_for_pods, wait_for_service,
    wait_for_termination, wait_halted,
};
use super::{
    Deadline, Destination, Direction, Intent, MoveKind, Moves, Set, State, Version, Wait, WaitReason, Wanted,
};
use crate::replicas::{self, Corridor, Count};

pub(super) fn plan(state: &State, intent: &Intent, stable: Version, now: Timestamp) -> Moves {
    Pass::new(state, intent, stable, now).plan()
}

struct Pass<'a> {
    state: &'a State,
    intent: &'a Intent,
    now: Timestamp,
    corridor: Corridor,
    stable: Version,
    /// The version of the current template, unless it is the stable one.
    new: Option<Version>,
    is_going: bool,
    is_asleep: bool,
    /// Available pods that may go without falling under the floor.
    spare: i64,
    /// Places that are free within `replicas + surge`.
    free: i64,
    moves: Moves,
}

impl<'a> Pass<'a> {
    fn new(state: &'a State, intent: &'a Intent, stable: Version, now: Timestamp) -> Pass<'a> {
        let corridor = state.corridor;
        let stays: i64 = state.sets.iter().map(Set::stay).sum();
        let sizes: i64 = state.sets.iter().map(|set| set.size).sum();
        let new = state.new.filter(|new| *new != stable);
        Pass {
            state,
            intent,
            now,
            corridor,
            stable,
            new,
            is_going: new.is_some() && intent.direction == Direction::Going,
            is_asleep: state.is_asleep || corridor.replicas == 0,
            spare: (stays - corridor.floor()).max(0),
            free: (corridor.cap() - sizes).max(0),
            moves: Moves::default(),
        }
    }

    fn set(&self, version: Version) -> &'a Set {
        &self.state.sets[version]
    }

    /// Versions that lead nowhere.
    fn leaving(&self) -> impl Iterator<Item = (Version, &'a Set)> + use<'a> {
        let (stable, new) = (self.stable, self.new);
        self.state
            .sets
            .iter()
            .enumerate()
            .filter(move |(version, _)| *version != stable && Some(*version) != new)
    }

    fn plan(mut self) -> Moves {
        self.services();
        let weight = self.weight();
        let (want_new, want_stable) =
            replicas::approximate(self.corridor.replicas, weight, self.corridor.surge);
        let want_stable = want_stable + self.state.extra;
        let (to_new, to_stable) = self.targets(weight);
        self.moves.wanted =
            Wanted { stable: want_stable, new: if self.new.is_some() { want_new } else { want_stable } };

        self.clear_deadline(self.stable);
        let reason = if to_stable > self.set(self.stable).size {
            "stable takes its share"
        } else {
            "the canary carries this share"
        };
        self.resize(self.stable, to_stable, reason);
        if let Some(new) = self.new {
            let reason = match () {
                () if !self.is_going => "aborted: stable takes over",
                () if to_new > self.set(new).size => "the step asks for more canary pods",
                () => "the step asks for fewer canary pods",
            };
            if self.is_going {
                self.clear_deadline(new);
            }
            self.resize(new, to_new, reason);
        }
        self.shrink_leaving();
        self.give_up_places(want_new, want_stable);
        self.position(want_new, want_stable);
        if self.moves.is_empty() && !self.moves.arrived {
            self.moves.wait = self.explain(want_new, want_stable);
        }
        for destination in
            [&self.state.stable_destination, &self.state.canary_destination].into_iter().flatten()
        {
            self.moves.recheck(destination.settles_at);
        }
        self.moves
    }

    /// The percentage that the position asks for.
    fn weight(&self) -> i64 {
        match () {
            () if !self.is_going || self.is_asleep => 0,
            () if self.intent.at_end || self.intent.promote_full => 100,
            () => self.intent.weight,
        }
    }

    /// The sizes of new and stable to move to, before the bounds.
    fn targets(&self, weight: i64) -> (i64, i64) {
        let count = |set: &Set| Count { size: set.size, available: set.available };
        let stable = count(self.set(self.stable));
        let new = self.new.map_or(Count::default(), |new| count(self.set(new)));
        let old = self.leaving().fold(Count::default(), |sum, (_, set)| Count {
            size: sum.size + set.size,
            available: sum.available + set.available,
        });
        let toward = |weight| replicas::step_toward(self.corridor, weight, new, Some(stable), old);
        let replicas = self.corridor.replicas;
        let (to_new, to_stable) = match () {
            () if replicas == 0 => (0, 0),
            // The whole way for stable; the canary goes as stable's pods come.
            () if !self.is_going => (toward(0).0, replicas + self.state.extra),
            () if self.intent.is_halted && !self.is_asleep => {
                at_live_share(self.corridor, new.size, stable.size)
            }
            () => toward(weight),
        };
        // Aborted or asleep, only stable grows.
        let to_new = if self.is_going && !self.is_asleep { to_new } else { to_new.min(new.size) };
        let is_narrowed =
            self.state.stable_destination.as_ref().is_some_and(|d| may_be_narrowed_to(d, self.stable));
        (to_new, if is_narrowed { to_stable.max(replicas) } else { to_stable })
    }

    /// Resizes a version as far as the corridor allows now.
    fn resize(&mut self, version: Version, to: i64, reason: &str) {
        let set = self.set(version);
        let to = if to > set.size {
            to.min(set.size + self.free)
        } else {
            to.max(set.stay() - self.spare).max(self.least(version)).min(set.size)
        };
        if to == set.size {
            return;
        }
        self.free -= (to - set.size).max(0);
        self.spare -= (set.stay() - to).max(0);
        self.moves.push(MoveKind::Scale { version, from: set.size, to }, reason);
    }

    /// Pods that a version keeps because a Service leads to it, or may still do so.
    fn least(&self, version: Version) -> i64 {
        let leads = |destination: &Option<Destination>, test: fn(&Destination, Version) -> bool| {
            destination.as_ref().is_some_and(|destination| test(destination, version))
        };
        let is_member = self.is_going && self.new == Some(version);
        if leads(&self.state.stable_destination, may_be_narrowed_to) {
            self.corridor.replicas
        } else if is_member || self.holds_the_only_place(version) {
            0
        } else if leads(&self.state.canary_destination, |d, v| {
            // One that was made anew a moment ago may have led anywhere before.
            (d.selected.is_some() || d.settles_at.is_some()) && d.may_use(v)
        }) || self.moves.writes.iter().any(|write| write.kind == MoveKind::SelectCanary(version))
        {
            self.corridor.replicas.min(1)
        } else {
            0
        }
    }

    /// Whether no other version has or can get a pod before this one gives its place up. A Service that
    /// leads to it loses no more than the budget for missing pods allows.
    fn holds_the_only_place(&self, version: Version) -> bool {
        let others = self.state.sets.iter().enumerate().filter(|(other, _)| *other != version);
        let is_held = self.is_going && self.intent.is_halted;
        let fills_the_corridor = self.set(version).size >= self.corridor.cap() && self.corridor.floor() == 0;
        !is_held && fills_the_corridor && others.map(|(_, set)| set.size).sum::<i64>() == 0
    }

    /// Shrinks versions that lead nowhere, oldest first; pods of theirs that are not available go at once.
    fn shrink_leaving(&mut self) {
        for (version, set) in self.leaving() {
            match set.deadline {
                Deadline::Running(at) if self.corridor.replicas > 0 && at > self.now => {
                    self.moves.recheck(Some(at));
                }
                _ => self.resize(version, 0, "another version takes over"),
            }
        }
    }

    /// If no size can move, surplus pods that are not available give their places up: they cost nothing.
    fn give_up_places(&mut self, want_new: i64, want_stable: i64) {
        let is_held = self.is_going && self.intent.is_halted;
        let moved = self.moves.writes.iter().any(|write| matches!(write.kind, MoveKind::Scale { .. }));
        if is_held || moved {
            return;
        }
        let sides = [self.new.map(|new| (new, want_new)), Some((self.stable, want_stable))];
        for (version, want) in sides.into_iter().flatten() {
            let set = self.set(version);
            let to = set.stay().max(want).max(self.least(version));
            if to < set.size {
                self.resize(version, to, "pods that are not available give their places up");
                return;
            }
        }
    }

    fn clear_deadline(&mut self, version: Version) {
        if self.set(version).deadline != Deadline::None {
            self.moves.push(MoveKind::ClearDeadline(version), "this version serves again");
        }
    }

    /// The stable Service reaches every version; the canary Service leads to the side that it is named for.
    fn services(&mut self) {
        let is_going = self.is_going;
        if let Some(destination) = &self.state.stable_destination
            && destination.is_managed
            && destination.selected.is_some_and(|selected| is_going || selected != self.stable)
        {
            let reason = "without a router the share follows the pods, so the stable Service has to reach every version";
            self.moves.push(MoveKind::WidenStable, reason);
        }
        let Some(destination) = &self.state.canary_destination else { return };
        let stands = is_going && self.intent.is_halted && destination.selected.is_some();
        // A version that leads nowhere keeps a pod for this Service, maybe in the only place for a new one.
        let holder = destination.selected.filter(|v| *v != self.stable && Some(*v) != self.new);
        let has_no_place = self.free == 0 && self.new.is_some_and(|new| self.set(new).size == 0);
        let makes_room = holder.is_some() && has_no_place;
        let target = self.new.filter(|_| is_going && !makes_room).unwrap_or(self.stable);
        if destination.selected == Some(target) || stands {
            return;
        }
        let set = self.set(target);
        // Whoever is ready answers, available or not.
        let answers = |set: &Set| set.ready.min(set.size) > 0;
        let loses_nothing = makes_room && holder.is_some_and(|holder| !answers(self.set(holder)));
        let nobody_serves =
            self.corridor.replicas == 0 && self.state.sets.iter().all(|set| set.existing == 0);
        if nobody_serves
            || loses_nothing
            || set.stay() >= if destination.is_managed { 1 } else { set.size.max(1) }
        {
            self.moves.push(MoveKind::SelectCanary(target), format!("{} can serve", set.name));
        }
    }

    fn position(&mut self, want_new: i64, want_stable: i64) {
        let stable = self.set(self.stable);
        self.moves.is_awake = self.state.is_asleep && self.corridor.replicas > 0 && stable.stay() > 0;
        let Some(new) = self.new.filter(|_| self.is_going && !self.is_asleep && !self.intent.is_halted)
        else {
            return;
        };
        let new = self.set(new);
        let stable_fits =
            stable.size == want_stable.max(self.least(self.stable)) && stable.existing <= stable.size;
        let canary_fits = new.size >= want_new && new.stay() >= self.intent.threshold.of(want_new);
        // Pods that only the floor keeps are no reason to stand still: else a broken stable version
        // would keep its replacement out.
        let is_gone =
            |set: &Set| set.size == 0 && set.available == 0 || set.size == set.available && self.spare == 0;
        let is_alone = self.leaving().all(|(_, set)| is_gone(set));
        let services_fit = self.unsettled_service(want_new).is_none();
        self.moves.arrived = self.moves.is_empty() && stable_fits && canary_fits && is_alone && services_fit;
        let at_end = self.intent.at_end || self.intent.promote_full;
        self.moves.may_promote = self.moves.arrived && at_end;
    }

    /// The wait for a Service that does not lead where it should, or not yet for everybody.
    fn unsettled_service(&self, want_new: i64) -> Option<Wait> {
        if let Some(wait) = self.narrowed_service() {
            return Some(wait);
        }
        if let Some(destination) = &self.state.stable_destination
            && destination.selected.is_none()
            && destination.settles_at.is_some()
        {
            return Some(wait_for_service(destination, LATE, "pods of every version".into()));
        }
        let destination = self.state.canary_destination.as_ref()?;
        let target = self.new.filter(|_| self.is_going).unwrap_or(self.stable);
        if self.is_going && want_new == 0 || destination.settled_on(target) {
            return None;
        }
        let seen = if destination.selected == Some(target) { LATE } else { "leads elsewhere" };
        Some(wait_for_service(destination, seen, format!("only pods of {}", self.set(target).name)))
    }

    /// The wait for somebody to widen a stable Service that is not ours to widen.
    fn narrowed_service(&self) -> Option<Wait> {
        let destination = self.state.stable_destination.as_ref()?;
        let selected = destination.selected.filter(|selected| self.is_going || *selected != self.stable)?;
        let seen = format!("selects only pods of {}", self.set(selected).name);
        Some(wait_for_service(destination, &seen, "pods of every version, for there is no router".into()))
    }

    /// Names what is awaited when nothing can be written and the position is not reached.
    fn explain(&self, want_new: i64, want_stable: i64) -> Option<Wait> {
        let stable = self.set(self.stable);
        let new = self.new.map(|new| self.set(new));
        if !self.is_going && stable.stay() < want_stable {
            return Some(if stable.size < want_stable {
                self.wait_for_place(stable, want_stable, new)
            } else {
                wait_for_pods(stable, want_stable)
            });
        }
        if self.is_going && self.corridor.replicas > 0 && self.intent.is_halted {
            return Some(wait_halted());
        }
        if let Some(wait) = self.narrowed_service() {
            return Some(wait);
        }
        if let Some(new) = new.filter(|_| self.is_going) {
            let enough = self.intent.threshold.of(want_new);
            if new.size < want_new {
                return Some(self.wait_for_place(new, want_new, Some(stable)));
            } else if new.stay() < enough {
                return Some(wait_for_pods(new, enough));
            } else if stable.size < want_stable {
                return Some(self.wait_for_place(stable, want_stable, Some(new)));
            }
        }
        for (_, set) in self.leaving().filter(|(_, set)| set.size > 0) {
            if let Deadline::Running(at) = set.deadline {
                return Some(wait_for_deadline(set, at));
            }
        }
        if let Some(wait) = self.unsettled_service(want_new) {
            return Some(wait);
        }
        let surplus = |version: &Version| match *version {
            v if v == self.stable => self.set(v).size > want_stable,
            v if Some(v) == self.new => !self.is_going && self.set(v).size > 0,
            v => self.set(v).size > 0,
        };
        if let Some(version) = (0..self.state.sets.len()).find(surplus) {
            let stays = self.state.sets.iter().map(Set::stay).sum();
            return Some(wait_for_floor(self.set(version), stays, self.corridor));
        }
        if let Some(set) = self.state.sets.iter().find(|set| set.existing > set.size) {
            return Some(wait_for_termination(set));
        }
        self.is_going.then(wait_asleep)
    }

    /// Growth finds no place: names who holds them.
    fn wait_for_place(&self, set: &Set, wanted: i64, other: Option<&Set>) -> Wait {
        if set.stay() < set.size {
            return wait_for_pods(set, wanted); // its own pods free the next place
        }
        if let Some(other) = other.filter(|other| other.stay() < other.size) {
            // The places are held by pods that are not available: that is what has to change.
            let mut wait = wait_for_pods(other, other.size);
            wait.wanted =
                format!("{}, or places for {} more pods of {}", wait.wanted, wanted - set.size, set.name);
            return wait;
        }
        let sizes: i64 = self.state.sets.iter().map(|set| set.size).sum();
        Wait {
            reason: WaitReason::Place,
            object: format!("ReplicaSet {}", set.name),
            seen: format!("{} pods, and {sizes} in all versions together", set.size),
            wanted: format!("{wanted} pods, within {} in all", self.corridor.cap()),
        }
    }
}

/// Whether some callers of a Service may reach this version only.
fn may_be_narrowed_to(destination: &Destination, version: Version) -> bool {
    match destination.selected {
        Some(selected) => selected == version,
        // Widened not long ago: to whom it was narrowed is not known any more.
        None => destination.settles_at.is_some() && destination.may_use(version),
    }
}

/// The sizes of new and stable at the share that is live, for a rollout that somebody holds: a change of
/// `replicas` is followed, the share stands still. Sizes within the corridor stay as they are.
fn at_live_share(corridor: Corridor, new: i64, stable: i64) -> (i64, i64) {
    let (replicas, total) = (corridor.replicas, new + stable);
    if total == 0 {
        return (0, replicas);
    }
    if (replicas..=corridor.cap()).contains(&total) {
        return (new, stable);
    }
    // Rounded down, but no side that has pods loses its last one where two can be had.
    let share = i128::from(new) * i128::from(replicas) / i128::from(total);
    let least = i64::from(new > 0 && replicas > 1);
    let to_new = i64::try_from(share).unwrap_or(replicas).max(least).min(replicas);
    (to_new, replicas - to_new)
}
