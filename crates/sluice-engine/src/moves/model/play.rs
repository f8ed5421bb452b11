//! How a model goes on: the planner's writes, the cluster's own doings, a user.

use jiff::{SignedDuration, Timestamp};

use super::explore::{Fair, Model, Transition, happens};
use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn later() -> Timestamp {
    now() + SignedDuration::from_secs(30)
}

impl Config {
    fn state(&self, cluster: &Cluster, grace_is_over: bool) -> State {
        let sets = cluster.pods[..self.versions as usize].iter().enumerate().map(|(version, pods)| Set {
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
        });
        let destination = |name: &str, service: Service| {
            let is_wide = service.selected == WIDE;
            let live = (0..self.versions as usize).filter(|v| is_wide || service.may_use(*v)).collect();
            (self.services != Services::None).then(|| Destination {
                name: name.to_owned(),
                selected: (!is_wide).then_some(service.selected.into()),
                live,
                settles_at: (!service.is_settled()).then(later),
                is_managed: match self.services {
                    Services::RatioForeign => false,
                    Services::Adopted => !is_wide,
                    Services::None | Services::Both | Services::RatioManaged => true,
                },
            })
        };
        State {
            corridor: Corridor {
                replicas: cluster.replicas.into(),
                surge: self.surge.into(),
                unavailable: self.unavailable(cluster.replicas).into(),
            },
            max_weight: self.max_weight.into(),
            sets: sets.collect(),
            stable: Some(cluster.stable.into()),
            new: Some(cluster.current.into()),
            split: match self.split {
                Split::ByRatio => Split::ByRatio,
                Split::ByRouter { staged, ping_pong, .. } => {
                    Split::ByRouter { dynamic_stable: cluster.dynamic_stable, staged, ping_pong }
                }
            },
            stable_destination: destination("stable", cluster.stable_service),
            canary_destination: destination("canary", cluster.canary_service),
            weight: LiveWeight::between(cluster.weight.into(), cluster.low.into(), cluster.high.into()),
            managed: ManagedRoutes {
                requested: cluster.managed.requested,
                may_be_live: cluster.managed.may_be_live,
                may_be_absent: cluster.managed.may_be_absent,
                settles_at: (cluster.managed.may_be_live && cluster.managed.may_be_absent).then(later),
            },
            needs_live_primary: self.needs_live_primary,
            extra: 0,
            is_asleep: cluster.is_asleep,
            grace_is_over,
        }
    }

    fn intent(&self, cluster: &Cluster) -> Intent {
        Intent {
            direction: match () {
                () if cluster.is_promoted() => Direction::Rest,
                () if cluster.is_aborted => Direction::Back,
                () => Direction::Going,
            },
            is_halted: cluster.is_halted,
            promote_full: cluster.promote_full,
            weight: self.steps.get(cluster.index as usize).copied().unwrap_or(self.max_weight).into(),
            at_end: self.at_end(cluster),
            canary_size: None,
            keeps_size: false,
            managed: self.wants_managed(cluster),
            min_pods: self.min_pods.into(),
            threshold: Threshold::All,
            scale_down_delay: SignedDuration::from_secs(if self.is_routed() { 30 } else { 0 }),
            abort_scale_down_delay: (Some(SignedDuration::from_secs(30)), self.keeps_aborted),
        }
    }

    /// Asks the planner, and says what its answer does to the cluster.
    fn plan(&self, cluster: &Cluster, grace_is_over: bool) -> (Vec<Write>, Option<Wait>) {
        let moves = plan_moves(&self.state(cluster, grace_is_over), &self.intent(cluster), now());
        let small = |number: i64| u8::try_from(number).expect("a small number");
        let mut writes: Vec<Write> = Vec::with_capacity(moves.writes.len() + 1);
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
        if moves.is_awake && cluster.is_asleep {
            writes.push(Write::Awake);
        }
        if cluster.is_going() && !cluster.is_halted {
            if self.at_end(cluster) && moves.may_promote {
                writes.push(Write::Promote);
            } else if !self.at_end(cluster) && moves.arrived {
                writes.push(Write::StepDone);
            }
        }
        if let Some(mutate) = self.mutation {
            mutate(cluster, &mut writes);
        }
        (writes, moves.wait)
    }

    fn apply(&self, cluster: &mut Cluster, write: Write) {
        match write {
            Write::Scale(version, size) => {
                cluster.pods[version].size = size;
                if size == 0 {
                    cluster.pods[version].deadline = Delay::None;
                }
            }
            Write::Weight(weight) => {
                cluster.weight = weight;
                cluster.low = cluster.low.min(weight);
                cluster.high = cluster.high.max(weight);
            }
            Write::Managed(wanted) => cluster.managed.ask(wanted),
            Write::SelectStable(version) => cluster.stable_service.select(version),
            Write::SelectCanary(version) => cluster.canary_service.select(version),
            Write::SetDeadline(version) => cluster.pods[version].deadline = Delay::Running,
            Write::ClearDeadline(version) => cluster.pods[version].deadline = Delay::None,
            Write::Awake => cluster.is_asleep = false,
            Write::StepDone => cluster.index += 1,
            Write::Promote => {
                cluster.stable = cluster.current;
                cluster.index = self.steps.len() as u8;
                cluster.promote_full = false;
                if matches!(self.split, Split::ByRouter { ping_pong: true, .. }) {
                    // The Services swap their roles; what leads where stays as it is.
                    std::mem::swap(&mut cluster.stable_service, &mut cluster.canary_service);
                    let (low, high) = (self.max_weight - cluster.high, self.max_weight - cluster.low);
                    (cluster.weight, cluster.low, cluster.high) =
                        (self.max_weight - cluster.weight, low, high);
                }
            }
        }
    }

    fn check(&self, before: &Cluster, after: &Cluster, write: Write) -> Result<(), String> {
        if self.is_routed() {
            routed::check(self, before, after, write)
        } else {
            ratio::check(self, before, after, write)
        }
    }

    fn planner(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) -> Result<(), String> {
        let mut can_begin_grace = true;
        for grace_is_over in [false, true] {
            let (plan, wait) = self.plan(cluster, grace_is_over);
            if !grace_is_over {
                // The grace time is measured from the instant at which this wait shows.
                can_begin_grace =
                    !plan.is_empty() || wait.as_ref().is_some_and(|w| w.reason == WaitReason::Carry);
            } else if !plan.is_empty() && !can_begin_grace {
                return Err(format!(
                    "{plan:?} is for after a grace time that never begins\n  at {cluster:?}"
                ));
            }
            let mut next = *cluster;
            for (index, write) in plan.iter().enumerate() {
                let before = next;
                self.apply(&mut next, *write);
                self.check(&before, &next, *write)
                    .map_err(|error| format!("{error}\n  by {write:?} of {plan:?}\n  at {cluster:?}"))?;
                let label = Label::Plan { grace_is_over, writes: index + 1 };
                if next != *cluster {
                    out.push(Transition { to: next, label, happens: happens::ALWAYS });
                }
            }
            let verdict = if self.is_routed() {
                routed::check_pass(self, cluster, &next)
            } else {
                ratio::check_pass(cluster, &next)
            };
            verdict.map_err(|error| format!("{error}\n  by {plan:?}\n  at {cluster:?}"))?;
            if plan.is_empty() {
                let goal = !cluster.is_going() && cluster.is_at_goal(self.services);
                let stands = goal && cluster.pods.iter().all(|pods| pods.size == pods.available);
                if wait.is_none() && !stands {
                    return Err(format!("I11: nothing to do and no wait\n  at {cluster:?}"));
                }
                if let Some(wait) = wait.filter(|_| stands && cluster.replicas > 0) {
                    return Err(format!("all is done, yet it waits: {wait}\n  at {cluster:?}"));
                }
            }
        }
        Ok(())
    }

    /// Goes through several steps in one pass, as the step machine does: only the writes of the last
    /// position are made, and the position is recorded after them, so a crash leaves them at the old one.
    /// A promotion ends a walk: what follows it is safe only once it is on record.
    fn walk(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) -> Result<(), String> {
        let mut ahead = *cluster;
        let mut plan = self.plan(&ahead, false).0;
        while plan.contains(&Write::StepDone) {
            self.apply(&mut ahead, Write::StepDone);
            plan = self.plan(&ahead, false).0;
        }
        if ahead.index == cluster.index || plan.contains(&Write::Promote) {
            return Ok(());
        }
        for (index, write) in plan.iter().enumerate() {
            let before = ahead;
            self.apply(&mut ahead, *write);
            self.check(&before, &ahead, *write).map_err(|error| {
                format!("{error}\n  by {write:?} of {plan:?} after a walk\n  at {cluster:?}")
            })?;
            let crashed = Cluster { index: cluster.index, ..ahead };
            let label = Label::Event("crash after a walk", index + 1);
            out.push(Transition { to: crashed, label, happens: happens::NEVER });
        }
        out.push(Transition { to: ahead, label: Label::Event("walk", plan.len()), happens: happens::ALWAYS });
        Ok(())
    }

    /// What pods, clocks and the data plane do.
    fn environment(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) {
        let mut event = |name, version: usize, happens, change: &dyn Fn(&mut Cluster)| {
            let mut to = *cluster;
            change(&mut to);
            if to != *cluster {
                out.push(Transition { to, label: Label::Event(name, version), happens });
            }
        };
        let has_room = self.room.is_none_or(|room| cluster.available() < room);
        for (version, pods) in cluster.pods.iter().enumerate() {
            if pods.available < pods.size && has_room {
                let of_stable = version == cluster.stable as usize;
                let happens = if of_stable { happens::FOR_STABLE } else { happens::FOR_OTHERS };
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
        event("weight settles", 0, happens::ALWAYS, &|to| (to.low, to.high) = (to.weight, to.weight));
        event("managed routes settle", 0, happens::ALWAYS, &|to| to.managed.settle());
        let settle = |service: &mut Service| *service = Service::on(service.selected);
        event("stable Service settles", 0, happens::ALWAYS, &|to| settle(&mut to.stable_service));
        event("canary Service settles", 0, happens::ALWAYS, &|to| settle(&mut to.canary_service));
    }

    /// What a person may do.
    fn user(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) {
        if cluster.actions_left == 0 {
            return;
        }
        let mut action = |name, number: usize, change: &dyn Fn(&mut Cluster)| {
            let mut to = *cluster;
            to.actions_left -= 1;
            change(&mut to);
            out.push(Transition { to, label: Label::Event(name, number), happens: happens::NEVER });
        };
        let start_over = |to: &mut Cluster| {
            (to.is_aborted, to.promote_full, to.index) = (false, false, 0);
        };
        if cluster.is_going() {
            action("USER aborts", 0, &|to| {
                start_over(to);
                (to.is_aborted, to.is_halted) = (true, false);
            });
        }
        if !cluster.is_promoted() {
            if cluster.is_aborted {
                action("USER retries", 0, &|to| to.is_aborted = false);
            } else if !cluster.promote_full {
                action("USER promotes in full", 0, &|to| to.promote_full = true);
            }
            action("USER goes back to stable", 0, &|to| {
                start_over(to);
                (to.current, to.index) = (to.stable, self.steps.len() as u8);
            });
        }
        if cluster.current + 1 < self.versions {
            action("USER sets a new image", 0, &|to| {
                start_over(to);
                to.current += 1;
            });
        }
        if self.may_halt {
            action("USER halts or resumes", 0, &|to| to.is_halted = !to.is_halted);
        }
        if self.may_toggle {
            action("USER toggles dynamicStableScale", 0, &|to| to.dynamic_stable = !to.dynamic_stable);
        }
        for replicas in self.replicas_values.iter().filter(|replicas| **replicas != cluster.replicas) {
            action("USER sets replicas", *replicas as usize, &|to| {
                to.replicas = *replicas;
                to.is_asleep |= *replicas == 0;
            });
        }
    }
}

impl Model for Config {
    type State = Cluster;
    type Label = Label;

    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&self) -> Cluster {
        let mut pods = [Pods::default(); VERSIONS];
        let services = match self.services {
            Services::None => (WIDE, 0),
            Services::Adopted => (WIDE, WIDE),
            Services::Both | Services::RatioManaged | Services::RatioForeign => (0, 0),
        };
        pods[0] = Pods { size: self.replicas, available: self.replicas, deadline: Delay::None };
        Cluster {
            replicas: self.replicas,
            stable: 0,
            current: 1,
            index: 0,
            is_aborted: false,
            promote_full: false,
            is_halted: false,
            is_asleep: false,
            dynamic_stable: matches!(self.split, Split::ByRouter { dynamic_stable: true, .. }),
            pods,
            stable_service: Service::on(services.0),
            canary_service: Service::on(services.1),
            weight: 0,
            low: 0,
            high: 0,
            managed: Managed::GONE,
            actions_left: self.actions,
        }
    }

    fn transitions(
        &self,
        cluster: &Cluster,
        out: &mut Vec<Transition<Cluster, Label>>,
    ) -> Result<(), String> {
        self.planner(cluster, out)?;
        self.walk(cluster, out)?;
        self.environment(cluster, out);
        self.user(cluster, out);
        Ok(())
    }

    fn may_end(&self, cluster: &Cluster, fair: Fair) -> Result<(), String> {
        let verdict = if self.is_routed() {
            routed::may_end(self, cluster, fair)
        } else {
            ratio::may_end(self, cluster, fair)
        };
        verdict.map_err(|error| {
            let wait = self.plan(cluster, false).1.map_or_else(|| "nothing".into(), |wait| wait.to_string());
            format!("{error}; waits for {wait}\n  at {cluster:?}")
        })
    }

    fn describe(&self, from: &Cluster, label: Label) -> String {
        match label {
            Label::Plan { grace_is_over, writes } => {
                let grace = if grace_is_over { "grace over, " } else { "" };
                format!("{grace}{:?}", &self.plan(from, grace_is_over).0[..writes])
            }
            Label::Event(name, number) => format!("{name} ({number})"),
        }
    }
}
