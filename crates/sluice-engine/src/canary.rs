//! The canary's step machine: position, pauses, promotion.
//!
//! Decides where a canary wants to be and when it may go on to its next step. Which writes to sizes and
//! traffic are safe on the way there is asked of [`moves::plan_moves`]; this module cannot make one.

use jiff::{SignedDuration, Timestamp};
use sluice_api::rollout::PauseReason;

use crate::destinations;
use crate::moves::{self, Intent, LiveWeight, Moves, Split, State, Wait, WaitReason};
use crate::pass::{Findings, Pass};
use crate::pause::{PauseDecision, decide_pause};
use crate::plan::{Event, Plan};
use crate::world::{Canary, CanaryScale, InvalidSpec, Spec, Step, World};

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
    let pass = Pass::new(world, spec, problem, (canary.steps.len(), &canary.step_hash), now);
    Machine { pass, canary }.decide()
}

struct Machine<'a> {
    pass: Pass<'a>,
    canary: &'a Canary,
}

impl Machine<'_> {
    fn decide(mut self) -> Plan {
        if self.pass.direction() == moves::Direction::Going
            && self.pass.misses_deadline()
            && !self.is_pause_step()
        {
            let wait = self.moves().wait;
            self.pass.abort_for_deadline(wait);
        }
        let moves = self.walk();
        // An abort of our own is on record, with its cause, before it is carried out: after a crash in
        // between nobody could tell any more what was missing.
        if self.pass.cause.is_none() {
            self.carry_out(&moves);
            self.pass.history();
        }
        self.pass.recheck(moves.recheck_at);
        let findings = Findings {
            wait: self.pass.wait(&moves),
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
        moves::plan_moves(&self.state(), &self.intent(), self.pass.now)
    }

    fn is_pause_step(&self) -> bool {
        matches!(self.step(), Some(Step::Pause(_))) && !self.pass.rollout.status.pause_conditions.is_empty()
    }

    /// Goes through as many steps as are done, and returns what the planner says at the position where
    /// it ends.
    fn walk(&mut self) -> Moves {
        for _ in 0..=self.pass.len + 1 {
            let moves = self.moves();
            if self.pass.direction() != moves::Direction::Going || self.pass.is_halted() {
                return self.pass.explain_halt(moves);
            }
            let object = format!("step {} of {}", self.pass.index + 1, self.pass.len);
            match self.step() {
                None if moves.may_promote => {
                    let completed = format!("Completed all {} canary steps", self.pass.len);
                    let reason = self.pass.promotion_reason(&completed);
                    self.pass.promote(&reason);
                    // What follows from being promoted waits for the status that says so: a crash
                    // in between would leave it half done for a version that is not stable yet.
                    let mut moves = self.moves();
                    moves.writes.clear();
                    return moves;
                }
                None => return moves,
                Some(Step::SetWeight(_) | Step::SetCanaryScale(_)) if moves.arrived => self.step_done(),
                Some(Step::Pause(duration)) => match self.pause(*duration, &object, &moves) {
                    None => self.step_done(),
                    Some(wait) => {
                        // Asleep or awake, it is the pause that has to end first.
                        let capacity =
                            moves.wait.clone().filter(|w| wait.is_none() || w.reason != WaitReason::Asleep);
                        return Moves { wait: capacity.or(wait), ..moves };
                    }
                },
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
        self.pass.index += 1;
        self.pass.has_progress = true;
    }

    /// The weight at a position: the nearest `setWeight` at or before it.
    fn weight_at(&self, index: usize) -> i64 {
        let steps = self.canary.steps.iter().take(index + 1).rev();
        steps
            .filter_map(|step| if let Step::SetWeight(weight) = step { Some(*weight) } else { None })
            .next()
            .unwrap_or(0)
    }

    fn canary_size(&self) -> Option<i64> {
        let routing = self.canary.routing.as_ref()?;
        let steps = self.canary.steps.iter().take(self.pass.index + 1).rev();
        let scale = steps
            .filter_map(|s| if let Step::SetCanaryScale(scale) = s { Some(*scale) } else { None })
            .next()?;
        let replicas = self.pass.replicas;
        match scale {
            CanaryScale::Replicas(wanted) => Some(if replicas == 0 { 0 } else { wanted }),
            CanaryScale::Weight(weight) => Some(crate::replicas::need(weight, replicas, routing.max_weight)),
            CanaryScale::MatchTrafficWeight => None,
        }
    }

    fn intent(&self) -> Intent {
        Intent {
            direction: self.pass.direction(),
            is_halted: self.pass.is_halted(),
            promote_full: self.pass.status.promote_full,
            weight: self.weight_at(self.pass.index),
            at_end: self.pass.index >= self.pass.len,
            canary_size: self.canary_size(),
            min_pods: self.canary.min_pods,
            threshold: self.canary.threshold,
            scale_down_delay: self.canary.scale_down_delay,
            abort_scale_down_delay: self.canary.abort_scale_down_delay,
        }
    }

    fn state(&self) -> State {
        let pass = &self.pass;
        let split = match &self.canary.routing {
            None => Split::ByRatio,
            Some(routing) => Split::ByRouter {
                dynamic_stable: routing.dynamic_stable,
                staged: routing.staged,
                ping_pong: routing.ping_pong,
            },
        };
        let hashes = pass.hashes();
        let destination = |name: Option<&String>| destinations::read(pass.world, name?, &hashes, pass.now);
        State {
            corridor: self.canary.corridor(pass.replicas),
            max_weight: self.canary.routing.as_ref().map_or(100, |routing| routing.max_weight),
            sets: pass.planner_sets(),
            stable: pass.stable,
            new: Some(pass.new),
            split,
            stable_destination: destination(self.canary.stable_service.as_ref()),
            canary_destination: destination(self.canary.canary_service.as_ref()),
            weight: match &self.canary.routing {
                Some(_) => pass.world.traffic.weight,
                None => LiveWeight::default(),
            },
            is_asleep: pass.is_asleep(),
            grace_is_over: pass.grace_is_over(),
        }
    }

    /// Turns moves into writes on named objects.
    fn carry_out(&mut self, moves: &Moves) {
        if self.pass.revise(moves) {
            let versions = self.pass.versions_by_name();
            let services = destinations::Services {
                stable: self.canary.stable_service.as_ref(),
                canary: self.canary.canary_service.as_ref(),
            };
            let replicas = self.pass.replicas;
            destinations::writes(self.pass.world, services, &versions, moves, replicas, &mut self.pass.plan);
        }
    }
}
