//! Blue-green: when the new version may take over, and when it is the stable one.
//!
//! Decides what has to happen before the switch (pods of the preview, a pause) and after it. Whether the
//! switch, its undoing and the sizes on the way are safe is asked of [`moves::plan_blue_green`].

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use sluice_api::canary::CanaryStatus;
use sluice_api::rollout::PauseReason;

use crate::analysis::{Analysis, Slot, Verdict};
use crate::destinations;
use crate::moves::{self, BlueGreenIntent, BlueGreenState, Direction, MoveKind, Moves, Wait};
use crate::pass::{Findings, Pass};
use crate::pause::{PauseDecision, decide_pause};
use crate::plan::Plan;
use crate::status::Active;
use crate::world::{BlueGreen, InvalidSpec, Spec, World};

/// The pause before the switch.
const PAUSE: PauseReason = PauseReason::BlueGreenPause;

/// Decides about a Rollout with a valid blue-green strategy. `problem` is what is wrong with the objects
/// that the spec refers to: it stops the update from going on, but not scaling and not an abort.
pub fn decide(
    world: &World,
    spec: &Spec,
    strategy: &BlueGreen,
    problem: Option<&InvalidSpec>,
    now: Timestamp,
) -> Plan {
    let mut pass = Pass::new(world, spec, problem, (0, ""), now);
    // Left over from another strategy.
    pass.status.canary = CanaryStatus::default();
    Machine { pass, strategy }.decide()
}

struct Machine<'a> {
    pass: Pass<'a>,
    strategy: &'a BlueGreen,
}

/// How far the new version may go now.
#[derive(Clone, Copy, Default)]
struct Gates {
    may_switch: bool,
    may_promote: bool,
}

impl Machine<'_> {
    fn decide(mut self) -> Plan {
        self.remember_fast_rollback();
        if self.pass.direction() == Direction::Going
            && self.pass.misses_deadline()
            && self.pass.rollout.status.pause_conditions.is_empty()
        {
            let wait = self.moves(Gates::default()).wait;
            self.pass.abort_for_deadline(wait);
        }
        let moves = self.advance();
        let is_carried_out = self.pass.cause.is_none() && self.carry_out(&moves);
        let mut restarts = None;
        if self.pass.cause.is_none() {
            let corridor = self.strategy.corridor(self.pass.replicas);
            restarts = self.pass.restart(corridor, &moves);
            self.pass.history();
            self.pass.tend_runs();
            self.pass.release_services(&moves);
        }
        self.pass.recheck(moves.recheck_at);
        let findings = Findings {
            wait: self.pass.wait(&moves).or(restarts),
            hides_wait: false,
            is_routed: true,
            is_at_endless_pause: !self.strategy.auto_promotion,
            active: Some(self.active(&moves, is_carried_out)),
        };
        self.pass.finish(findings)
    }

    /// Going back to a version that still waits out its delay needs neither pause nor analysis. The delay
    /// ends with the way back, so the decision is put on record at once.
    fn remember_fast_rollback(&mut self) {
        let is_waiting = |set| {
            matches!(destinations::scale_down_deadline(set, self.pass.now), moves::Deadline::Running(_))
        };
        if self.pass.is_new_template()
            && self.pass.direction() == Direction::Going
            && self.pass.set(self.pass.new).is_some_and(is_waiting)
        {
            self.pass.status.promote_full = true;
        }
    }

    /// Opens the gates that are done, and returns what the planner says then.
    fn advance(&mut self) -> Moves {
        if self.pass.direction() != Direction::Going {
            let moves = self.moves(Gates::default());
            return self.pass.explain_halt(moves);
        }
        if self.pass.is_halted() {
            let analyses = [
                (Slot::PrePromotion, &self.strategy.pre_promotion),
                (Slot::PostPromotion, &self.strategy.post_promotion),
            ];
            for (slot, analysis) in analyses {
                if let Some(analysis) = analysis.as_ref().filter(|_| !self.pass.is_beyond_analysis()) {
                    self.pass.heed(slot, analysis);
                }
            }
            if self.pass.cause.is_some() {
                return self.moves(Gates::default());
            }
            // What was opened stays open, so that nobody's pods go because of a halt.
            let moves = self.moves(Gates { may_switch: self.is_past_preview(), may_promote: false });
            return self.pass.explain_halt(moves);
        }
        if self.is_switched() {
            self.pass.end_pause();
        }
        let (may_switch, wait) = self.before_switch();
        let (is_proven, proof) = self.after_switch();
        if self.pass.cause.is_some() {
            return self.moves(Gates::default());
        }
        let wait = wait.or(proof);
        let moves = self.moves(Gates { may_switch, may_promote: may_switch && is_proven });
        if moves.may_promote {
            let reason = self.pass.promotion_reason("Completed blue-green update");
            self.pass.promote(&reason);
            // What follows from being promoted waits for the status that says so.
            let mut moves = self.moves(Gates::default());
            moves.writes.clear();
            return moves;
        }
        if moves.writes.iter().any(|write| matches!(write.kind(), MoveKind::SelectStable(_))) {
            self.pass.has_progress = true;
        }
        Moves { wait: moves.wait.clone().or(wait), ..moves }
    }

    /// The active Service leads to the new version already.
    fn is_switched(&self) -> bool {
        let active = self.pass.world.services.get(&self.strategy.active_service);
        active.is_some_and(|service| service.selected_hash.as_ref() == Some(&self.pass.hash))
    }

    fn is_fast(&self) -> bool {
        self.pass.status.promote_full || self.pass.is_fast_rollback || self.is_switched()
    }

    /// Whether nothing holds the switch back any more, and what does if something is.
    fn before_switch(&mut self) -> (bool, Option<Wait>) {
        if self.is_past_preview() {
            self.pass.end_pause();
            return (self.pass_preview(), None);
        }
        let pause_is_needed = !self.strategy.auto_promotion || self.strategy.auto_promotion_after.is_some();
        let (is_resumed, pause) = self.pause();
        let (is_proven, proof) = match &self.strategy.pre_promotion {
            None => (true, None),
            Some(analysis) => self.ask(Slot::PrePromotion, &Arc::clone(analysis), self.preview_is_ready()),
        };
        // Whoever waited for a judgement had a preview that was up.
        let was_judged = pause_is_needed || self.strategy.pre_promotion.is_some();
        if is_resumed && is_proven && was_judged {
            let is_small = self.strategy.preview_replicas.is_some();
            self.pass.status.blue_green.scale_up_preview_check_point = is_small;
        }
        let may_switch = is_resumed && is_proven && (was_judged || self.pass_preview());
        (may_switch, pause.or(proof))
    }

    /// Whether the analysis after the switch holds nothing up.
    fn after_switch(&mut self) -> (bool, Option<Wait>) {
        let Some(analysis) = &self.strategy.post_promotion else { return (true, None) };
        if self.pass.is_beyond_analysis() {
            return (true, None);
        }
        if !self.is_switched() {
            return (false, None);
        }
        let replicas = self.pass.replicas;
        let is_up = self.pass.set(self.pass.new).is_some_and(|set| set.available >= replicas);
        self.ask(Slot::PostPromotion, &Arc::clone(analysis), is_up)
    }

    /// What an analysis says, if one runs or may begin now.
    fn ask(&mut self, slot: Slot, analysis: &Analysis, may_begin: bool) -> (bool, Option<Wait>) {
        if !may_begin && !self.pass.has_run(slot) {
            return (false, None);
        }
        match self.pass.analyse(slot, analysis) {
            Verdict::Passed => (true, None),
            Verdict::Waits(wait) => (false, Some(wait)),
            Verdict::Failed(cause) => {
                self.pass.abort(cause);
                (false, None)
            }
            Verdict::Inconclusive(wait) => {
                self.pass.pause_inconclusive();
                (false, Some(wait))
            }
        }
    }

    /// Whether no pause holds the switch back any more.
    fn pause(&mut self) -> (bool, Option<Wait>) {
        let duration = self.strategy.auto_promotion_after;
        if self.strategy.auto_promotion && duration.is_none() {
            if !self.pass.is_inconclusive() {
                self.pass.end_pause();
            }
            return (true, None);
        }
        let duration = duration.filter(|_| self.strategy.auto_promotion);
        let object = format!("Service {}", self.strategy.active_service);
        match decide_pause(&self.pass.pause_step(PAUSE, duration), self.pass.now) {
            PauseDecision::Begin if self.preview_is_ready() => {
                (false, Some(self.pass.begin_pause(PAUSE, duration, &object)))
            }
            PauseDecision::Begin => (false, None),
            decision @ PauseDecision::Wait(_) => (false, Some(self.pass.pause_wait(decision, &object))),
            PauseDecision::Complete => {
                // Kept until the switch: pods that are lost meanwhile must not bring the pause back.
                self.pass.end_pause();
                self.pass.status.controller_pause = true;
                (true, None)
            }
        }
    }

    /// Whether the new version needs no preview, or its preview was judged already.
    fn is_past_preview(&self) -> bool {
        self.is_fast() || self.pass.status.blue_green.scale_up_preview_check_point
    }

    /// Where nobody waits for a judgement, a small preview still has to start before the rest of the pods
    /// are asked for. Returns whether it has, now or before.
    fn pass_preview(&mut self) -> bool {
        let is_small = self.strategy.preview_replicas.is_some();
        if !is_small || self.is_past_preview() {
            return true;
        }
        let is_ready = self.preview_is_ready();
        self.pass.status.blue_green.scale_up_preview_check_point = is_ready;
        is_ready
    }

    fn preview_is_ready(&self) -> bool {
        let wanted = self.preview_size();
        self.pass.set(self.pass.new).is_some_and(|set| set.size >= wanted && set.available >= wanted)
            && self.pass.replicas > 0
    }

    fn preview_size(&self) -> i64 {
        let replicas = self.pass.replicas;
        match self.strategy.preview_replicas {
            Some(preview) if !self.is_fast() => preview.min(replicas),
            _ => replicas,
        }
    }

    fn moves(&self, gates: Gates) -> Moves {
        let pass = &self.pass;
        let hashes = pass.hashes();
        let destination = |name: &String| destinations::read(pass.world, name, &hashes, pass.now);
        let state = BlueGreenState {
            corridor: self.strategy.corridor(pass.replicas),
            sets: pass.planner_sets(),
            stable: pass.stable,
            new: pass.new,
            active: destination(&self.strategy.active_service),
            preview: self.strategy.preview_service.as_ref().and_then(destination),
            extra: pass.restart_extra(self.strategy.corridor(pass.replicas)),
            is_asleep: pass.is_asleep(),
        };
        let intent = BlueGreenIntent {
            direction: pass.direction(),
            is_halted: pass.is_halted(),
            may_switch: gates.may_switch,
            may_promote: gates.may_promote,
            preview_size: self.preview_size(),
            scale_down_delay: self.strategy.scale_down_delay,
            delayed_revisions: self.strategy.delayed_revisions,
            abort_scale_down_delay: self.strategy.abort_scale_down_delay,
        };
        moves::plan_blue_green(&state, &intent, pass.now)
    }

    /// Turns moves into writes on named objects. Returns whether that was done.
    fn carry_out(&mut self, moves: &Moves) -> bool {
        if !self.pass.revise(moves) {
            return false;
        }
        let versions = self.pass.versions_by_name();
        let services = destinations::Services {
            stable: Some(&self.strategy.active_service),
            canary: self.strategy.preview_service.as_ref(),
        };
        let replicas = self.pass.replicas;
        destinations::writes(
            self.pass.world,
            services,
            &versions,
            moves,
            replicas,
            None,
            &mut self.pass.plan,
        );
        true
    }

    /// What the Services select once the writes of this look are done.
    fn active(&self, moves: &Moves, is_carried_out: bool) -> Active {
        let selected = |name: &String| {
            let service = self.pass.world.services.get(name);
            service.and_then(|service| service.selected_hash.clone()).unwrap_or_default()
        };
        let mut active = Active {
            active: selected(&self.strategy.active_service),
            preview: self.strategy.preview_service.as_ref().map(selected),
            awaits_analysis: self.is_switched()
                && self.strategy.post_promotion.is_some()
                && !self.pass.is_beyond_analysis(),
        };
        for write in moves.writes.iter().filter(|_| is_carried_out) {
            match write.kind() {
                MoveKind::SelectStable(version) => self.pass.hash_of(*version).clone_into(&mut active.active),
                MoveKind::SelectCanary(version) if active.preview.is_some() => {
                    active.preview = Some(self.pass.hash_of(*version).to_owned());
                }
                _ => {}
            }
        }
        active
    }
}
