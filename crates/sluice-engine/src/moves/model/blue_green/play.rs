//! How the model goes on: the planner's writes, the cluster's own doings, people and other tools.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::moves::model::explore::{Fair, Model, Transition, happens};

/// What leads from one state to the next.
#[derive(Clone, Copy)]
pub(super) enum Label {
    /// The first so many writes of a plan.
    Plan(usize),
    Event(&'static str, usize),
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn later() -> Timestamp {
    now() + SignedDuration::from_secs(30)
}

impl Config {
    fn state(&self, fleet: &Fleet) -> BlueGreenState {
        let versions = 0..self.versions as usize;
        let sets = versions.clone().map(|version| {
            let pods = fleet.pods[version];
            Set {
                name: ["v1", "v2", "v3"][version].to_owned(),
                size: pods.size.into(),
                available: pods.available.into(),
                ready: pods.available.into(),
                existing: pods.size.max(pods.available).into(),
                deadline: match pods.deadline {
                    Delay::None => Deadline::None,
                    Delay::Running => Deadline::Running(later()),
                    Delay::Passed => Deadline::Passed,
                },
                trouble: None,
            }
        });
        let destination = |name: &str, selected: u8, live: &dyn Fn(usize) -> bool, is_managed| Destination {
            name: name.to_owned(),
            selected: (selected != WIDE).then_some(selected.into()),
            live: versions.clone().filter(|version| live(*version)).collect(),
            settles_at: None,
            is_managed,
        };
        let is_vague = self.is_vague && !fleet.active.is_settled();
        let live = |version| is_vague || fleet.active.may_use(version);
        let active = destination("active", fleet.active.selected, &live, fleet.is_managed);
        let preview = destination("preview", fleet.preview, &|v| v == fleet.preview as usize, true);
        BlueGreenState {
            corridor: Corridor {
                replicas: fleet.replicas.into(),
                surge: 0,
                unavailable: self.unavailable.min(fleet.replicas).into(),
            },
            sets: sets.collect(),
            stable: fleet.knows_stable().then_some(fleet.stable.into()),
            new: fleet.current.into(),
            active: fleet.has_active.then_some(active),
            preview: Some(preview),
            extra: 0,
            is_asleep: fleet.is_asleep,
        }
    }

    fn intent(&self, fleet: &Fleet) -> BlueGreenIntent {
        let may_switch = self.may_switch(fleet);
        BlueGreenIntent {
            direction: match () {
                () if fleet.is_promoted() => Direction::Rest,
                () if fleet.is_aborted => Direction::Back,
                () => Direction::Going,
            },
            is_halted: fleet.is_held(),
            may_switch: may_switch && fleet.is_going(),
            may_promote: may_switch && fleet.is_going() && self.may_promote(fleet),
            preview_size: self.preview.map_or(fleet.replicas, |preview| preview).into(),
            scale_down_delay: SignedDuration::from_secs(if self.has_delay { 30 } else { 0 }),
            delayed_revisions: self.delayed_revisions.into(),
            abort_scale_down_delay: (!self.keeps_aborted).then(|| SignedDuration::from_secs(30)),
        }
    }

    /// Asks the planner, and says what its answer does to the cluster.
    fn plan(&self, fleet: &Fleet) -> (Vec<Write>, Option<Wait>) {
        let moves = plan_blue_green(&self.state(fleet), &self.intent(fleet), now());
        let small = |number: i64| u8::try_from(number).expect("a small number");
        let mut writes: Vec<Write> = Vec::with_capacity(moves.writes.len() + 1);
        // Nothing else is written in the look that promotes.
        if moves.may_promote {
            writes.push(Write::Promote);
        } else {
            writes.extend(moves.writes.iter().map(|write| match *write.kind() {
                MoveKind::Scale { version, to, .. } => Write::Scale(version, small(to)),
                MoveKind::Weight(weight) => Write::Weight(small(weight)),
                MoveKind::Managed(wanted) => Write::Managed(wanted),
                MoveKind::SelectStable(version) => Write::SelectStable(version as u8),
                MoveKind::SelectCanary(version) => Write::SelectCanary(version as u8),
                MoveKind::WidenStable => Write::SelectStable(WIDE),
                MoveKind::SetDeadline(version, _) => Write::SetDeadline(version),
                MoveKind::ClearDeadline(version) => Write::ClearDeadline(version),
            }));
            if moves.is_awake && fleet.is_asleep {
                writes.push(Write::Awake);
            }
        }
        if let Some(mutate) = self.mutation {
            mutate(fleet, &mut writes);
        }
        (writes, moves.wait)
    }

    fn apply(&self, fleet: &mut Fleet, write: Write) {
        match write {
            Write::Scale(version, size) => {
                fleet.pods[version].size = size;
                if size == 0 {
                    fleet.pods[version].deadline = Delay::None;
                }
            }
            Write::SelectStable(version) => {
                fleet.active.select(version);
                fleet.is_managed = true;
                if version != fleet.current {
                    fleet.forget_gates();
                }
            }
            Write::SelectCanary(version) => fleet.preview = version,
            Write::SetDeadline(version) => fleet.pods[version].deadline = Delay::Running,
            Write::ClearDeadline(version) => fleet.pods[version].deadline = Delay::None,
            Write::Awake => fleet.is_asleep = false,
            Write::Promote => {
                (fleet.stable, fleet.has_stable) = (fleet.current, true);
                fleet.forget_gates();
            }
            Write::Weight(_) | Write::Managed(_) | Write::StepDone => {}
        }
        fleet.wake_at_rest();
    }

    fn planner(&self, fleet: &Fleet, out: &mut Vec<Transition<Fleet, Label>>) -> Result<(), String> {
        let (plan, wait) = self.plan(fleet);
        if plan.is_empty() {
            let is_done = rules::is_at_goal(self, fleet);
            if wait.is_none() && !is_done && !rules::is_for_others(self, fleet) {
                return Err(format!("I11: nothing to do and no wait\n  at {fleet:?}"));
            }
            let stands = is_done && fleet.replicas > 0 && fleet.pods.iter().all(|p| p.size == p.available);
            if let Some(wait) = wait.filter(|_| stands) {
                return Err(format!("all is done, yet it waits: {wait}\n  at {fleet:?}"));
            }
        }
        let mut next = *fleet;
        for (index, write) in plan.iter().enumerate() {
            let before = next;
            self.apply(&mut next, *write);
            rules::check(self, &before, &next, *write)
                .map_err(|error| format!("{error}\n  by {write:?} of {plan:?}\n  at {fleet:?}"))?;
            if next != *fleet {
                out.push(Transition { to: next, label: Label::Plan(index + 1), happens: happens::ALWAYS });
            }
        }
        if !plan.contains(&Write::Promote) {
            rules::check_pass(self, &next)
                .map_err(|error| format!("{error}\n  by {plan:?}\n  at {fleet:?}"))?;
        }
        Ok(())
    }

    /// What pods, clocks, the data plane and those who judge do.
    fn environment(&self, fleet: &Fleet, out: &mut Vec<Transition<Fleet, Label>>) {
        let mut event = |name, version: usize, happens, change: &dyn Fn(&mut Fleet)| {
            let mut to = *fleet;
            change(&mut to);
            if to != *fleet {
                out.push(Transition { to, label: Label::Event(name, version), happens });
            }
        };
        let has_room = self.room.is_none_or(|room| fleet.available() < room);
        for (version, pods) in fleet.pods.iter().enumerate() {
            if pods.available < pods.size && has_room {
                let happens =
                    if fleet.is_stable(version) { happens::FOR_STABLE } else { happens::FOR_OTHERS };
                event("pod ready", version, happens, &|to| to.pods[version].available += 1);
            }
            if pods.available > pods.size {
                event("pod deleted", version, happens::ALWAYS, &|to| to.pods[version].available -= 1);
            } else if pods.available > 0 {
                event("pod LOST", version, happens::NEVER, &|to| to.pods[version].available -= 1);
            }
            if pods.deadline == Delay::Running {
                event("deadline passes", version, happens::ALWAYS, &|to| {
                    to.pods[version].deadline = Delay::Passed;
                });
            }
        }
        event("active Service settles", 0, happens::ALWAYS, &|to| {
            to.active = Service::on(to.active.selected);
        });
        if self.is_gated && fleet.is_going() && !fleet.is_held() {
            let current = fleet.current as usize;
            if fleet.replicas > 0 && fleet.pods[current].stay() >= self.preview_size(fleet) {
                event("gate before the switch opens", 0, happens::ALWAYS, &|to| to.may_switch = true);
            }
            if fleet.active == Service::on(fleet.current) {
                event("gate after the switch opens", 0, happens::ALWAYS, &|to| to.may_promote = true);
            }
        }
    }

    /// What people and other tools may do.
    fn user(&self, fleet: &Fleet, out: &mut Vec<Transition<Fleet, Label>>) {
        if fleet.actions_left == 0 {
            return;
        }
        let mut action = |name, number: usize, change: &dyn Fn(&mut Fleet)| {
            let mut to = *fleet;
            to.actions_left -= 1;
            change(&mut to);
            to.wake_at_rest();
            out.push(Transition { to, label: Label::Event(name, number), happens: happens::NEVER });
        };
        if fleet.is_going() {
            action("USER aborts", 0, &|to| {
                to.is_aborted = true;
                to.forget_gates();
            });
        } else if fleet.is_aborted {
            action("USER retries", 0, &|to| to.is_aborted = false);
        }
        for version in (0..self.versions).filter(|version| *version != fleet.current) {
            action("USER sets the image of v", version as usize + 1, &|to| {
                (to.current, to.is_aborted) = (version, false);
                to.forget_gates();
            });
        }
        for replicas in self.replicas_values.iter().filter(|replicas| **replicas != fleet.replicas) {
            action("USER sets replicas", *replicas as usize, &|to| {
                to.replicas = *replicas;
                to.is_asleep |= *replicas == 0;
            });
        }
        if self.may_halt {
            action("USER halts or resumes", 0, &|to| to.is_halted = !to.is_halted);
        }
        if self.may_meddle && fleet.has_active {
            action("SOMEBODY takes the selector away", 0, &|to| to.active = Service::on(WIDE));
            action("SOMEBODY applies the Service anew", 0, &|to| {
                (to.active, to.is_managed) = (Service::on(WIDE), false);
            });
            for version in (0..self.versions).filter(|version| *version != fleet.active.selected) {
                action("SOMEBODY points the Service at v", version as usize + 1, &|to| {
                    to.active.select(version);
                });
            }
        }
        if self.may_delete {
            if fleet.has_active {
                action("SOMEBODY deletes the Service", 0, &|to| to.has_active = false);
            } else {
                action("SOMEBODY makes the Service again", 0, &|to| {
                    (to.has_active, to.is_managed, to.active) = (true, false, Service::on(WIDE));
                });
            }
            action("SOMEBODY deletes the stable ReplicaSet", 0, &|to| {
                let stable = to.stable as usize;
                (to.pods[stable].size, to.pods[stable].deadline) = (0, Delay::None);
                to.has_stable = false;
                if !to.is_promoted() && to.active.selected == to.stable {
                    // It names a version that nobody knows any more.
                    to.active = Service::on(WIDE);
                }
            });
        }
    }
}

impl Fleet {
    /// Only an update has to be told apart from one that was interrupted by a sleep.
    fn wake_at_rest(&mut self) {
        self.has_stable |= self.is_promoted();
        if self.replicas > 0 && self.is_promoted() {
            self.is_asleep = false;
        }
    }
}

impl Model for Config {
    type State = Fleet;
    type Label = Label;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> Fleet {
        let mut pods = [Pods::default(); VERSIONS];
        if !self.is_adopted {
            pods[0] = Pods { size: self.replicas, available: self.replicas, deadline: Delay::None };
        }
        Fleet {
            replicas: self.replicas,
            stable: 0,
            has_stable: true,
            current: u8::from(!self.is_adopted),
            is_aborted: false,
            is_halted: false,
            is_asleep: false,
            may_switch: false,
            may_promote: false,
            pods,
            active: Service::on(if self.is_adopted { WIDE } else { 0 }),
            has_active: true,
            is_managed: !self.is_adopted,
            preview: 0,
            actions_left: self.actions,
        }
    }

    fn transitions(&self, fleet: &Fleet, out: &mut Vec<Transition<Fleet, Label>>) -> Result<(), String> {
        self.planner(fleet, out)?;
        self.environment(fleet, out);
        self.user(fleet, out);
        Ok(())
    }

    fn may_end(&self, fleet: &Fleet, fair: Fair) -> Result<(), String> {
        rules::may_end(self, fleet, fair).map_err(|error| {
            let wait = self.plan(fleet).1.map_or_else(|| "nothing".into(), |wait| wait.to_string());
            format!("{error}; waits for {wait}\n  at {fleet:?}")
        })
    }

    fn describe(&self, from: &Fleet, label: Label) -> String {
        match label {
            Label::Plan(writes) => format!("{:?}", &self.plan(from).0[..writes]),
            Label::Event(name, number) => format!("{name} ({number})"),
        }
    }
}
