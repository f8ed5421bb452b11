//! The canary's step machine: position, pauses, promotion.
//!
//! Decides where a canary wants to be and when it may go on to its next step. Which writes to sizes and
//! traffic are safe on the way there is asked of [`moves::plan_moves`]; this module cannot make one.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sluice_api::blue_green::BlueGreenStatus;
use sluice_api::canary::{PingPongSide, TrafficWeights, WeightDestination};
use sluice_api::keys;
use sluice_api::rollout::PauseReason;

use crate::analysis::{Slot, Verdict};
use crate::moves::{
    self, Intent, LiveWeight, ManagedRoutes, MoveKind, Moves, Split, State, Wait, WaitReason,
};
use crate::pass::{Findings, Pass};
use crate::pause::{PauseDecision, decide_pause};
use crate::plan::{Action, Event, Plan};
use crate::spec::ROUTED_BY;
use crate::traffic::{Extra, ManagedRoute, Routes, Subset, SubsetPair};
use crate::world::{Canary, CanaryScale, InvalidSpec, Spec, Step, Verify, World};
use crate::{conditions, destinations};

/// The pause reason of a canary's pause step.
const PAUSE_STEP: PauseReason = PauseReason::CanaryPauseStep;

/// Decides about a Rollout with a valid canary strategy. `problem` is what is wrong with the objects
/// that the spec refers to: it stops the update from going on, but not scaling and not an abort.
pub fn decide(
    world: &World,
    spec: &Spec,
    canary: &Canary,
    problem: Option<&InvalidSpec>,
    now: Timestamp,
) -> Plan {
    let mut pass = Pass::new(world, spec, problem, (canary.steps.len(), &canary.step_hash), now);
    // Left over from another strategy.
    pass.status.blue_green = BlueGreenStatus::default();
    Machine { pass, canary, has_promoted: false }.decide()
}

struct Machine<'a> {
    pass: Pass<'a>,
    canary: &'a Canary,
    /// In this very look: what follows from it waits for the status that says so.
    has_promoted: bool,
}

impl<'a> Machine<'a> {
    fn decide(mut self) -> Plan {
        if self.pass.direction() == moves::Direction::Going
            && self.pass.misses_deadline()
            && !self.is_pause_step()
        {
            let wait = self.moves().wait;
            self.pass.abort_for_deadline(wait);
        }
        if self.pass.cause.is_none() {
            self.watch_background();
        }
        if self.pass.cause.is_none() && self.pass.is_halted() && !self.pass.is_beyond_analysis() {
            match self.step() {
                Some(Step::Analysis(analysis)) => {
                    self.pass.heed(Slot::Step(self.pass.index), &Arc::clone(analysis));
                }
                Some(Step::Experiment(setup)) => self.pass.heed_trial(&Arc::clone(setup)),
                _ => {}
            }
        }
        let moves = self.walk();
        if !matches!(self.step(), Some(Step::Analysis(_))) {
            self.pass.drop_run(Slot::Step(self.pass.index));
        }
        if !matches!(self.step(), Some(Step::Experiment(_))) {
            self.pass.status.canary.current_experiment.clear();
        }
        let moves = self.hold_back_routing(self.explain_strictness(moves));
        // An abort of our own is on record, with its cause, before it is carried out: after a crash in
        // between nobody could tell any more what was missing.
        let mut restarts = None;
        if self.pass.cause.is_none() {
            self.carry_out(&moves);
            let corridor = self.canary.corridor(self.pass.replicas);
            restarts = self.pass.restart(corridor, &moves);
            self.retire(&moves);
            self.pass.history();
            self.pass.tend_runs();
            self.pass.release_services(&moves);
        }
        self.pass.recheck(moves.recheck_at);
        let wait = self.pass.wait(&moves);
        let findings = Findings {
            hides_wait: wait.as_ref().is_some_and(|wait| self.ends_by_itself(wait)),
            wait: wait.or(restarts),
            is_routed: self.canary.routing.is_some(),
            is_at_endless_pause: matches!(self.step(), Some(Step::Pause(None))),
            active: None,
        };
        self.pass.finish(findings)
    }

    fn step(&self) -> Option<&Step> {
        self.canary.steps.get(self.pass.index)
    }

    fn moves(&self) -> Moves {
        let mut moves = moves::plan_moves(&self.state(), &self.intent(), self.pass.now);
        // Nothing is reached while routers do not show all of what is wanted.
        if self
            .wanted_routes(&moves)
            .is_some_and(|routes| Some(&routes) != self.pass.world.traffic.shown.as_ref())
        {
            moves.arrived = false;
            moves.may_promote = false;
        }
        moves
    }

    fn is_pause_step(&self) -> bool {
        matches!(self.step(), Some(Step::Pause(_))) && !self.pass.rollout.status.pause_conditions.is_empty()
    }

    /// Goes through as many steps as are done, and returns what the planner says at the position where
    /// it ends.
    fn walk(&mut self) -> Moves {
        // A person who goes to another step leaves the pause behind.
        if !matches!(self.step(), Some(Step::Pause(_))) {
            self.pass.forget_pause(PAUSE_STEP);
        }
        for _ in 0..=self.pass.len + 1 {
            let moves = self.moves();
            if self.pass.direction() != moves::Direction::Going || self.pass.is_halted() || self.is_retiring()
            {
                return self.pass.explain_halt(moves);
            }
            let object = format!("step {} of {}", self.pass.index + 1, self.pass.len);
            match self.step() {
                None if moves.may_promote => {
                    let completed = format!("Completed all {} canary steps", self.pass.len);
                    let reason = self.pass.promotion_reason(&completed);
                    self.pass.promote(&reason);
                    self.swap_roles();
                    // A crash before the status says so would leave what follows half done for a version
                    // that is not stable yet.
                    self.has_promoted = true;
                    let mut moves = self.moves();
                    moves.writes.clear();
                    return moves;
                }
                None => return moves,
                Some(
                    Step::SetWeight(_)
                    | Step::SetCanaryScale(_)
                    | Step::SetHeaderRoute(_)
                    | Step::SetMirrorRoute(_),
                ) if moves.arrived => self.step_done(),
                Some(Step::Pause(duration)) => match self.pause(*duration, &object, &moves) {
                    None => self.step_done(),
                    Some(wait) => {
                        // Asleep or awake, it is the pause that has to end first.
                        let capacity = moves.wait.clone().filter(|w| {
                            wait.is_none() || !matches!(w.reason, WaitReason::Asleep | WaitReason::Waking)
                        });
                        return Moves { wait: capacity.or(wait), ..moves };
                    }
                },
                Some(Step::Analysis(_))
                    if self.pass.is_asleep() && !self.pass.has_run(Slot::Step(self.pass.index)) =>
                {
                    return moves;
                }
                Some(Step::Analysis(analysis)) => {
                    let analysis = Arc::clone(analysis);
                    match self.pass.analyse(Slot::Step(self.pass.index), &analysis) {
                        Verdict::Passed => self.step_done(),
                        Verdict::Waits(wait) => {
                            return Moves { wait: moves.wait.clone().or(Some(wait)), ..moves };
                        }
                        Verdict::Failed(cause) => {
                            self.pass.abort(cause);
                            return self.moves();
                        }
                        Verdict::Inconclusive(wait) => {
                            self.pass.pause_inconclusive();
                            return Moves { wait: Some(wait), ..self.moves() };
                        }
                    }
                }
                Some(Step::Experiment(_)) if self.pass.is_asleep() && !self.pass.has_trial() => return moves,
                Some(Step::Experiment(setup)) => {
                    let setup = Arc::clone(setup);
                    match self.pass.try_out(&setup) {
                        Verdict::Passed => self.step_done(),
                        Verdict::Waits(wait) => {
                            return Moves { wait: moves.wait.clone().or(Some(wait)), ..self.moves() };
                        }
                        Verdict::Failed(cause) => {
                            self.pass.abort(cause);
                            return self.moves();
                        }
                        Verdict::Inconclusive(wait) => {
                            self.pass.pause_after_trial();
                            return Moves { wait: Some(wait), ..self.moves() };
                        }
                    }
                }
                Some(Step::Unsupported(step)) => {
                    let wait = Wait {
                        reason: WaitReason::Unsupported,
                        object,
                        seen: format!("{step} is not carried out by this build"),
                        wanted: "a build that does, another step, or skipping it by promote".into(),
                    };
                    return Moves { wait: moves.wait.clone().or(Some(wait)), ..moves };
                }
                Some(_) => return moves,
            }
        }
        self.moves()
    }

    /// Asks the analysis beside the steps, before any of them goes on.
    fn watch_background(&mut self) {
        let Some(background) = &self.canary.background else {
            self.pass.drop_run(Slot::Background);
            return;
        };
        let is_early = self.pass.len > 0 && self.pass.index < background.starting_step;
        if self.pass.direction() != moves::Direction::Going || self.pass.is_beyond_analysis() || is_early {
            return;
        }
        let analysis = Arc::clone(&background.analysis);
        if self.pass.is_inconclusive() || self.pass.problem.is_some() {
            self.pass.heed(Slot::Background, &analysis);
            return;
        }
        // There is nothing to measure while nobody runs.
        let is_idle = self.pass.is_asleep() && !self.pass.has_run(Slot::Background);
        if analysis.block.templates.is_empty() || is_idle {
            return;
        }
        match self.pass.analyse(Slot::Background, &analysis) {
            Verdict::Passed | Verdict::Waits(_) => {}
            Verdict::Failed(cause) => self.pass.abort(cause),
            Verdict::Inconclusive(_) => self.pass.pause_inconclusive(),
        }
    }

    /// Goes on, begins, or waits at a pause step. `None`: the step is done.
    fn pause(
        &mut self,
        duration: Option<SignedDuration>,
        object: &str,
        moves: &Moves,
    ) -> Option<Option<Wait>> {
        match decide_pause(&self.pass.pause_step(PAUSE_STEP, duration), self.pass.now) {
            PauseDecision::Complete => None,
            PauseDecision::Begin if !moves.arrived => Some(None),
            PauseDecision::Begin => Some(Some(self.pass.begin_pause(PAUSE_STEP, duration, object))),
            decision @ PauseDecision::Wait(_) => Some(Some(self.pass.pause_wait(decision, object))),
        }
    }

    fn step_done(&mut self) {
        let Some(step) = self.step() else { return };
        let (number, len) = (self.pass.index + 1, self.pass.len);
        let message = format!("Rollout step {number}/{len} completed ({})", step.describe());
        self.pass.plan.events.push(Event::normal("RolloutStepCompleted", message));
        self.pass.end_pause();
        self.pass.drop_run(Slot::Step(self.pass.index));
        self.pass.status.canary.current_experiment.clear();
        self.pass.index += 1;
        self.pass.has_progress = true;
    }

    /// The weight at a position: the nearest `setWeight` at or before it.
    fn weight_at(&self, index: usize) -> i64 {
        self.canary.weight_at(index)
    }

    /// The size that the nearest `setCanaryScale` asks for.
    fn canary_size(&self) -> Option<i64> {
        let routing = self.canary.routing.as_ref()?;
        let mut steps = self.canary.steps.iter().take(self.pass.index + 1).rev();
        let scale =
            steps.find_map(|s| if let Step::SetCanaryScale(scale) = s { Some(*scale) } else { None })?;
        let replicas = self.pass.replicas;
        match scale {
            CanaryScale::Replicas(wanted) => Some(if replicas == 0 { 0 } else { wanted }),
            CanaryScale::Weight(weight) => Some(crate::replicas::need(weight, replicas, routing.max_weight)),
            CanaryScale::MatchTrafficWeight => None,
        }
    }

    /// Whether a step has given the size back to the weight, and no weight has come since: that alone takes
    /// no pod away.
    fn keeps_size(&self) -> bool {
        let steps = self.canary.steps.iter().take(self.pass.index + 1).rev();
        let latest = steps.clone().find(|step| matches!(step, Step::SetWeight(_) | Step::SetCanaryScale(_)));
        latest == Some(&Step::SetCanaryScale(CanaryScale::MatchTrafficWeight))
    }

    /// The managed routes of all steps so far, the one with precedence first.
    fn managed(&self) -> Vec<ManagedRoute> {
        let Some(routing) = &self.canary.routing else { return Vec::new() };
        let is_going = self.pass.direction() == moves::Direction::Going && !self.is_retiring();
        if !is_going || self.pass.status.promote_full {
            return Vec::new();
        }
        let at = |name: &String| {
            let routes = self.canary.managed.iter().filter(|(index, _)| *index <= self.pass.index);
            let latest = routes.map(|(_, route)| route).rfind(|route| route.name() == name)?;
            (!latest.is_removal()).then(|| latest.clone())
        };
        routing.managed_names.iter().filter_map(at).collect()
    }

    /// Whether the spec has lost its router, whose share goes back to stable before anything else.
    fn is_retiring(&self) -> bool {
        self.canary.routing.as_ref().is_some_and(|routing| routing.is_retired)
    }

    fn intent(&self) -> Intent {
        let intent = self.intent_of_steps();
        if !self.is_retiring() {
            return intent;
        }
        Intent {
            is_halted: true,
            promote_full: false,
            weight: 0,
            at_end: false,
            canary_size: None,
            keeps_size: true, // the pods are needed as soon as their ratio is the share
            managed: false,
            ..intent
        }
    }

    fn intent_of_steps(&self) -> Intent {
        Intent {
            direction: self.pass.direction(),
            is_halted: self.pass.is_halted(),
            promote_full: self.pass.status.promote_full,
            weight: self.weight_at(self.pass.index),
            at_end: self.pass.index >= self.pass.len,
            canary_size: self.canary_size(),
            keeps_size: self.keeps_size(),
            managed: !self.managed().is_empty(),
            min_pods: self.canary.min_pods,
            threshold: self.canary.threshold,
            scale_down_delay: self.canary.scale_down_delay,
            abort_scale_down_delay: self.canary.abort_scale_down_delay,
        }
    }

    /// The Services of both sides, in the parts that they play now.
    fn services(&self) -> destinations::Services<'a> {
        let canary = self.canary;
        match &canary.ping_pong {
            Some((ping, pong)) => match self.pass.status.canary.stable_ping_pong {
                Some(PingPongSide::Ping) => destinations::Services { stable: Some(ping), canary: Some(pong) },
                Some(PingPongSide::Pong) | None => {
                    destinations::Services { stable: Some(pong), canary: Some(ping) }
                }
            },
            None => destinations::Services {
                stable: canary.stable_service.as_ref(),
                canary: canary.canary_service.as_ref(),
            },
        }
    }

    /// With two Services that take turns, the canary's becomes stable's at a promotion.
    fn swap_roles(&mut self) {
        if self.canary.ping_pong.is_some() {
            self.pass.status.canary.stable_ping_pong = Some(match self.pass.status.canary.stable_ping_pong {
                Some(PingPongSide::Ping) => PingPongSide::Pong,
                Some(PingPongSide::Pong) | None => PingPongSide::Ping,
            });
        }
    }

    fn state(&self) -> State {
        let pass = &self.pass;
        let traffic = &pass.world.traffic;
        let split = match &self.canary.routing {
            None => Split::ByRatio,
            Some(routing) => Split::ByRouter {
                dynamic_stable: routing.dynamic_stable,
                staged: routing.staged,
                ping_pong: self.canary.ping_pong.is_some(),
            },
        };
        let hashes = pass.hashes();
        let services = self.services();
        let side = |service: Option<&String>, of: fn(&SubsetPair) -> &Subset| {
            destinations::read_side(pass.world, service, traffic.subsets.as_ref().map(of), &hashes, pass.now)
        };
        let is_routed = self.canary.routing.is_some();
        State {
            corridor: self.canary.corridor(pass.replicas),
            max_weight: self.max_weight(),
            sets: pass.planner_sets(),
            stable: pass.stable,
            new: Some(pass.new),
            split,
            stable_destination: side(services.stable, |subsets| &subsets.stable),
            canary_destination: side(services.canary, |subsets| &subsets.canary),
            weight: if is_routed { traffic.weight } else { LiveWeight::default() },
            managed: if is_routed { traffic.managed } else { ManagedRoutes::default() },
            needs_live_primary: is_routed && traffic.needs_live_primary,
            extra: pass.restart_extra(self.canary.corridor(pass.replicas)),
            is_asleep: pass.is_asleep(),
            grace_is_over: pass.grace_is_over(),
        }
    }

    fn max_weight(&self) -> i64 {
        self.canary.routing.as_ref().map_or(100, |routing| routing.max_weight)
    }

    /// While a router is in trouble the others follow all the same, and nothing is done that counts on an
    /// answer of that one.
    fn hold_back_routing(&self, mut moves: Moves) -> Moves {
        if self.canary.routing.is_some() && self.pass.world.traffic.trouble.is_some() {
            moves.writes.retain(|write| match write.kind() {
                MoveKind::ClearDeadline(_) | MoveKind::Weight(_) | MoveKind::Managed(_) => true,
                kind => kind.grows(),
            });
        }
        moves
    }

    /// Whether a wait is only for a settle time, while nothing else is to happen, or while all that is known is
    /// that we have just begun to look.
    fn ends_by_itself(&self, wait: &Wait) -> bool {
        let traffic = &self.pass.world.traffic;
        let is_by_clock = matches!(wait.reason, WaitReason::Weight | WaitReason::Endpoints);
        if self.canary.routing.is_none() || !is_by_clock || traffic.verified == Some(false) {
            return false;
        }
        let says = conditions::get(&self.pass.rollout.status, conditions::kind::WAITING).is_some();
        let stands = self.pass.is_promoted() || !self.pass.status.pause_conditions.is_empty();
        stands || traffic.is_guess && !says
    }

    /// Says so where the data plane's own word is wanted and it has none: only a person can end that.
    fn explain_strictness(&self, moves: Moves) -> Moves {
        let is_strict = self.canary.routing.as_ref().is_some_and(|routing| routing.verify == Verify::Strict);
        let wait = moves.wait.clone().map(|wait| match wait.reason {
            WaitReason::Weight if is_strict && self.pass.world.traffic.verified.is_none() => Wait {
                reason: WaitReason::Verify,
                wanted: format!(
                    "{} by the word of a router that can be asked (sluice.dev/verify: strict)",
                    wait.wanted
                ),
                ..wait
            },
            _ => wait,
        });
        Moves { wait, ..moves }
    }

    /// Forgets a router that has given its share back.
    fn retire(&mut self, moves: &Moves) {
        let traffic = &self.pass.world.traffic;
        let weight = traffic.weight;
        let is_idle = (weight.requested, weight.low, weight.high) == (0, 0, 0)
            && !traffic.managed.requested
            && !traffic.managed.may_be_live;
        let asks = |write: &moves::Move| matches!(write.kind(), MoveKind::Weight(_) | MoveKind::Managed(_));
        if self.is_retiring() && is_idle && traffic.trouble.is_none() && !moves.writes.iter().any(asks) {
            let annotations = [(ROUTED_BY.to_owned(), None)].into();
            let reason = "the spec names no router, and the one that it had sends nothing to the canary";
            self.pass.write(Action::AnnotateRollout { annotations }, reason);
            self.pass.status.canary.weights = None;
        }
    }

    /// Puts on record which router is about to give a share away, so that it can be told to take it back
    /// when the spec names it no more.
    fn record_router(&mut self, moves: &Moves) {
        let Some(routing) = self.canary.routing.as_ref().filter(|routing| !routing.is_retired) else {
            return;
        };
        let weight = self.pass.world.traffic.weight.requested;
        let gives_away = moves.writes.iter().any(|write| match write.kind() {
            MoveKind::Weight(asked) => *asked > weight,
            MoveKind::Managed(wanted) => *wanted,
            _ => false,
        });
        let block = serde_json::to_string(&*routing.block).unwrap_or_default();
        if gives_away && self.pass.rollout.annotation(ROUTED_BY) != Some(block.as_str()) {
            let annotations = [(ROUTED_BY.to_owned(), Some(block))].into();
            let reason = "who carries the share is on record before it is given away";
            self.pass.write(Action::AnnotateRollout { annotations }, reason);
        }
    }

    /// Tells people of what is done as they asked, though it may not be what they meant.
    fn warn(&mut self, moves: &Moves, routes: Option<&Routes>) {
        let Some(routing) = &self.canary.routing else { return };
        let replicas = self.pass.replicas;
        let weight = routes.map_or(0, |routes| routes.weight);
        let needed = crate::replicas::need(weight, replicas, routing.max_weight);
        if let Some(size) = self.canary_size().filter(|size| *size < needed)
            && weight > self.pass.world.traffic.weight.requested
            && self.pass.index < self.pass.len
        {
            let max = routing.max_weight;
            let message =
                format!("Weight {weight} of {max} needs {needed} canary pods, setCanaryScale keeps {size}");
            self.pass.plan.events.push(Event::warning("CanaryScaleTooSmall", message));
        }
        let surge = self.canary.corridor(replicas).surge;
        if routing.staged || self.pass.direction() == moves::Direction::Rest {
            return;
        }
        for write in &moves.writes {
            let MoveKind::Scale { version, from, to } = write.kind() else { continue };
            // What grows with `replicas` was asked for.
            let is_resized = self.pass.set(*version).is_some_and(|set| {
                set.annotation(keys::DESIRED_REPLICAS) != Some(replicas.to_string().as_str())
            });
            if to - from > surge && !is_resized {
                let name = self.pass.planner_set(*version).name;
                let message = format!(
                    "ReplicaSet {name} grows by {} pods in one write, more than maxSurge ({surge}): with a router sizes follow weights; annotation {}surge: staged keeps to it where stable shrinks too",
                    to - from,
                    keys::EXTENSION_PREFIX,
                );
                self.pass.plan.events.push(Event::warning("MaxSurgeExceeded", message));
            }
        }
    }

    /// What is to be asked of routers now, if they do not show it already.
    fn routes(&self, moves: &Moves) -> Option<Routes> {
        let traffic = &self.pass.world.traffic;
        let is_held = self.pass.cause.is_some() || self.has_promoted;
        // What is in trouble is asked again when its time comes, and at once for something else.
        let is_asked = |routes: &Routes| traffic.trouble.is_some() && traffic.asked.as_ref() == Some(routes);
        self.wanted_routes(moves)
            .filter(|routes| !is_held && traffic.shown.as_ref() != Some(routes) && !is_asked(routes))
    }

    /// What routers are to show once `moves` are carried out. `None`: nothing is wanted of them yet.
    fn wanted_routes(&self, moves: &Moves) -> Option<Routes> {
        self.canary.routing.as_ref()?;
        let traffic = &self.pass.world.traffic;
        let stable = self.pass.stable?;
        let is_first = self.pass.is_promoted()
            && traffic.shown.is_none()
            && self.pass.set(stable).is_none_or(|set| set.available == 0);
        if is_first {
            return None;
        }
        let mut routes = Routes {
            weight: traffic.weight.requested,
            stable_hash: None,
            canary_hash: None,
            ping_pong: self.canary.ping_pong.as_ref().and_then(|_| {
                let services = self.services();
                Some((services.stable?.clone(), services.canary?.clone()))
            }),
            managed: if traffic.managed.requested { self.managed() } else { Vec::new() },
            extra: self.shares_of_trial(),
        };
        if let Some(subsets) = &traffic.subsets {
            routes.stable_hash.clone_from(&subsets.stable.hash);
            routes.canary_hash.clone_from(&subsets.canary.hash);
        }
        let has_subsets = traffic.subsets.is_some();
        for write in &moves.writes {
            match write.kind() {
                MoveKind::Weight(weight) => routes.weight = *weight,
                MoveKind::Managed(wanted) => {
                    routes.managed = if *wanted { self.managed() } else { Vec::new() };
                }
                MoveKind::SelectStable(version) if has_subsets => {
                    routes.stable_hash = Some(self.pass.hash_of(*version).to_owned());
                }
                MoveKind::SelectCanary(version) if has_subsets => {
                    routes.canary_hash = Some(self.pass.hash_of(*version).to_owned());
                }
                _ => {}
            }
        }
        Some(routes)
    }

    /// What the experiment of the step at hand gets.
    fn shares_of_trial(&self) -> Vec<Extra> {
        let is_going = self.pass.direction() == moves::Direction::Going && !self.is_retiring();
        match self.step() {
            Some(Step::Experiment(setup)) if is_going => self.pass.shares_of_trial(setup),
            _ => Vec::new(),
        }
    }

    /// Turns moves into writes on named objects.
    fn carry_out(&mut self, moves: &Moves) {
        let routes = self.routes(moves);
        if self.pass.revise(moves) {
            self.warn(moves, routes.as_ref());
            self.record_router(moves);
            let asked = routes.as_ref().map(|routes| (routes.weight, routes.extra.clone()));
            let versions = self.pass.versions_by_name();
            let (services, replicas) = (self.services(), self.pass.replicas);
            let (world, plan) = (self.pass.world, &mut self.pass.plan);
            destinations::writes(world, services, &versions, moves, replicas, routes, plan);
            self.record_weights(asked);
        }
    }

    /// Puts the weights into the status, where dashboards look for them.
    fn record_weights(&mut self, asked: Option<(i64, Vec<Extra>)>) {
        let traffic = &self.pass.world.traffic;
        if self.canary.routing.is_none() {
            self.pass.status.canary.weights = None;
            return;
        }
        let is_known = traffic.shown.is_some() || asked.is_some();
        if traffic.trouble.is_some() || !is_known {
            return;
        }
        let max = self.max_weight();
        let is_swapped =
            self.pass.status.canary.stable_ping_pong != self.pass.rollout.status.canary.stable_ping_pong;
        let is_asked = asked.is_some();
        let shown = || traffic.shown.as_ref().map(|shown| shown.extra.clone()).unwrap_or_default();
        let (weight, extra) = asked.unwrap_or_else(|| (traffic.weight.requested, shown()));
        let weight = if is_swapped { max - weight } else { weight };
        let side = |weight: i64, service: &Option<String>, hash: &str| WeightDestination {
            weight: i32::try_from(weight).unwrap_or(i32::MAX),
            service_name: service.clone().unwrap_or_default(),
            pod_template_hash: hash.to_owned(),
        };
        let taken: i64 = extra.iter().map(|extra| extra.weight).sum();
        let additional: Vec<_> =
            extra.into_iter().map(|one| side(one.weight, &Some(one.service), &one.hash)).collect();
        let weights = TrafficWeights {
            canary: side(weight, &self.canary.canary_service, &self.pass.hash),
            stable: side(
                (max - weight - taken).max(0),
                &self.canary.stable_service,
                &self.pass.status.stable_rs,
            ),
            additional,
            verified: traffic.verified.map(|verified| verified && !is_asked),
        };
        let old = self.pass.status.canary.weights.as_ref();
        let is_changed = |old: &TrafficWeights| {
            old.canary.weight != weights.canary.weight || old.additional != weights.additional
        };
        if old.is_none_or(is_changed) {
            let from = old.map_or_else(String::new, |old| format!(" from {}", old.canary.weight));
            let each = weights.additional.iter().map(|one| format!("{}: {}", one.service_name, one.weight));
            let each: Vec<_> = each.collect();
            let more =
                if each.is_empty() { String::new() } else { format!(", additional: {}", each.join(", ")) };
            let message = format!("Traffic weight updated{from} to {}{more}", weights.canary.weight);
            self.pass.plan.events.push(Event::normal("TrafficWeightUpdated", message));
        }
        self.pass.status.canary.weights = Some(weights);
    }
}
