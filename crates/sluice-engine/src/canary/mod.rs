//! The canary's step machine: position, pauses, abort, promotion.
//!
//! Decides where a canary wants to be and when it may go on to its next step. Which writes to sizes and
//! traffic are safe on the way there is asked of [`moves::plan_moves`]; this module cannot make one.

pub mod pause;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sluice_api::keys;
use sluice_api::meta::Time;
use sluice_api::rollout::{CompletionStatus, ConditionStatus, PauseCondition, PauseReason, RolloutStatus};

use self::pause::{PauseDecision, PauseStep, decide_pause};
use crate::conditions::{self, kind};
use crate::deadline;
use crate::moves::{self, Direction, Intent, LiveWeight, Moves, Set, Split, State, Wait, WaitReason};
use crate::plan::{Action, Event, Plan, Write};
use crate::status::{self, Facts};
use crate::world::{Canary, CanaryScale, InvalidSpec, ReplicaSet, Rollout, Spec, Step, World};
use crate::{destinations, identity};

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
    Pass::new(world, spec, canary, problem, now).decide()
}

struct Pass<'a> {
    world: &'a World,
    rollout: &'a Rollout,
    spec: &'a Spec,
    canary: &'a Canary,
    problem: Option<&'a InvalidSpec>,
    now: Timestamp,
    replicas: i64,
    /// Versions in order of revision; the new one last if it is still to be created.
    versions: Vec<VersionRef<'a>>,
    new: usize,
    stable: Option<usize>,
    hash: String,
    revision: i64,
    status: RolloutStatus,
    index: usize,
    cause: Option<String>,
    has_progress: bool,
    /// The clock of the progress deadline starts anew: what it measured has ended.
    restarts_clock: bool,
    plan: Plan,
}

/// A version: a ReplicaSet, or the one that is still to be created.
#[derive(Clone, Copy)]
enum VersionRef<'a> {
    Existing(&'a ReplicaSet),
    New,
}

impl<'a> Pass<'a> {
    fn new(
        world: &'a World,
        spec: &'a Spec,
        canary: &'a Canary,
        problem: Option<&'a InvalidSpec>,
        now: Timestamp,
    ) -> Pass<'a> {
        let rollout = &*world.rollout;
        let current = identity::find_current(rollout, spec, &world.replica_sets).map(Arc::as_ref);
        let hash = current.map_or_else(|| identity::new_hash(rollout, spec), |set| set.hash.clone());
        let revision = identity::revision(current, &world.replica_sets);
        let mut sets: Vec<&ReplicaSet> =
            world.replica_sets.iter().map(Arc::as_ref).filter(|s| !s.is_deleting).collect();
        sets.sort_by_key(|set| (set.revision(), set.created_at, &set.name));
        let mut versions: Vec<VersionRef> = sets.iter().map(|set| VersionRef::Existing(set)).collect();
        let new = match current {
            Some(current) => sets.iter().position(|set| set.uid == current.uid).unwrap_or(0),
            None => {
                versions.push(VersionRef::New);
                versions.len() - 1
            }
        };
        let replicas = spec.replicas.unwrap_or_else(|| default_replicas(rollout, &sets));
        let mut pass = Pass {
            world,
            rollout,
            spec,
            canary,
            problem,
            now,
            replicas: replicas.max(0),
            versions,
            new,
            stable: None,
            hash,
            revision,
            status: rollout.status.clone(),
            index: 0,
            cause: None,
            has_progress: false,
            restarts_clock: false,
            plan: Plan::default(),
        };
        pass.status.observed_generation = rollout.generation.to_string();
        pass
    }

    fn decide(mut self) -> Plan {
        if self.spec.replicas.is_none() {
            let message = format!("spec.replicas was not set, {} is written", self.replicas);
            self.plan.events.push(Event::normal("ReplicasDefaulted", message));
            self.write(
                Action::DefaultReplicas(self.replicas),
                "nobody set spec.replicas, and autoscalers need it",
            );
        }
        self.settle_position();
        let moves = self.walk();
        // An abort of our own is on record, with its cause, before it is carried out: after a crash in
        // between nobody could tell any more what was missing.
        if self.cause.is_none() {
            self.carry_out(&moves);
            self.history();
        }
        self.finish(&moves)
    }

    fn write(&mut self, action: Action, reason: impl Into<String>) {
        self.plan.writes.push(Write { action, reason: reason.into() });
    }

    fn len(&self) -> usize {
        self.canary.steps.len()
    }

    fn is_promoted(&self) -> bool {
        self.status.stable_rs == self.hash
    }

    fn is_halted(&self) -> bool {
        let is_inconclusive =
            self.status.pause_conditions.iter().any(|pause| status::is_inconclusive(pause.reason));
        self.spec.is_paused || self.problem.is_some() || is_inconclusive
    }

    fn set(&self, version: usize) -> Option<&'a ReplicaSet> {
        match self.versions[version] {
            VersionRef::Existing(set) => Some(set),
            VersionRef::New => None,
        }
    }

    /// Brings the recorded position in line with the spec, with what people asked for, and with what is
    /// there, before anything is decided.
    fn settle_position(&mut self) {
        let old = &self.rollout.status;
        let is_new_template = !old.current_pod_hash.is_empty() && old.current_pod_hash != self.hash;
        let is_new_plan = old.current_step_hash != self.canary.step_hash;
        let is_first = old.stable_rs.is_empty();
        self.index = usize::try_from(old.current_step_index.unwrap_or(0)).unwrap_or(0).min(self.len());
        self.restarts_clock = is_new_template || is_new_plan || self.stood_still();
        if is_new_template || is_new_plan {
            self.reset();
            // Back to a version that serves in full, nothing begins.
            let serves =
                self.is_promoted() && self.set(self.new).is_some_and(|set| set.available >= self.replicas);
            if !is_first && (is_new_template || !self.is_promoted()) && !serves {
                status::start_duration(&mut self.status, self.now);
            }
        }
        if old.current_pod_hash.is_empty() && is_first {
            status::start_duration(&mut self.status, self.now);
        }
        self.status.current_pod_hash.clone_from(&self.hash);
        self.status.current_step_hash.clone_from(&self.canary.step_hash);
        if is_first {
            let serving = self.serving_without_record();
            self.status.stable_rs = serving.map_or_else(|| self.hash.clone(), |set| set.hash.clone());
            if serving.is_none() {
                self.completed("Initial deploy");
            }
        }
        self.stable = self.versions.iter().position(|version| match version {
            VersionRef::Existing(set) => set.hash == self.status.stable_rs,
            VersionRef::New => self.status.stable_rs == self.hash,
        });
        if self.is_promoted() {
            self.at_rest(is_new_template);
        } else {
            self.under_way();
        }
    }

    /// A status that knows no stable version while pods of another version serve: it was lost. The
    /// newest version that serves is the stable one.
    fn serving_without_record(&self) -> Option<&'a ReplicaSet> {
        let sets = (0..self.versions.len()).filter(|v| *v != self.new).filter_map(|v| self.set(v));
        sets.filter(|set| set.size > 0 && set.available > 0).max_by_key(|set| set.revision())
    }

    fn reset(&mut self) {
        let status = &mut self.status;
        status.pause_conditions.clear();
        status.controller_pause = false;
        status.abort = false;
        status.aborted_at = None;
        status.promote_full = false;
        status.canary.current_step_analysis_run_status = None;
        status.canary.current_background_analysis_run_status = None;
        status.canary.step_plugin_statuses.clear();
        self.index = 0;
    }

    fn at_rest(&mut self, is_new_template: bool) {
        self.index = self.len();
        if is_new_template && self.len() > 0 {
            self.plan.events.push(Event::normal("SkipSteps", "Rollback to stable ReplicaSets"));
        }
        if self.status.abort && !is_new_template {
            let message = format!("Revision {} is the stable one, there is nothing to abort", self.revision);
            self.plan.events.push(Event::normal("RolloutNotAborted", message));
        }
        self.status.abort = false;
        self.status.aborted_at = None;
        self.status.promote_full = false;
        self.clear_pause();
    }

    fn under_way(&mut self) {
        if self.status.abort {
            self.aborted();
            return;
        }
        if self.status.aborted_at.is_some() {
            // A person cleared the abort: everything from the start.
            self.status.aborted_at = None;
            self.index = 0;
            conditions::put(
                &mut self.status,
                kind::PROGRESSING,
                ConditionStatus::Unknown,
                conditions::reason::RETRY,
                "Retrying Rollout after abort",
                self.now,
            );
            conditions::set_high_water(&mut self.status, None, self.now);
            status::start_duration(&mut self.status, self.now);
        }
        if let Some(cause) = self.missed_deadline() {
            self.status.abort = true;
            self.cause = Some(cause);
            self.aborted();
            return;
        }
        if self.status.promote_full {
            self.index = self.len();
            self.clear_pause();
        }
    }

    /// The cause of an abort, if the progress deadline is over and asks for one.
    fn missed_deadline(&mut self) -> Option<String> {
        let set = self.set(self.new)?;
        self.has_progress = self.restarts_clock || self.reaches_new_height(set);
        if self.has_progress || !self.spec.progress_deadline_abort || self.is_halted() || self.replicas == 0 {
            return None;
        }
        let clock = deadline::clock(&self.rollout.status, self.spec.progress_deadline);
        if !clock.is_over(self.now) || self.is_pause_step() {
            return None;
        }
        let moves = moves::plan_moves(&self.state(), &self.intent(), self.now);
        let wait = moves.wait.filter(|wait| wait.reason == WaitReason::Pods);
        let detail = wait.map_or_else(
            || format!("{} of {} pods available", set.available, set.size),
            |wait| format!("{}, wanted {}", wait.seen, wait.wanted),
        );
        let message = format!(
            "ReplicaSet \"{}\" has timed out progressing: {detail} within {}",
            set.name,
            sluice_lang::go_duration::print(self.spec.progress_deadline),
        );
        Some(message)
    }

    /// Whether until now no pods were awaited: nobody wanted any, or what the spec refers to was missing.
    fn stood_still(&self) -> bool {
        let old = &self.rollout.status;
        let was_asleep = conditions::get(old, kind::WAITING)
            .is_some_and(|waiting| waiting.reason == WaitReason::Asleep.label());
        let was_invalid = conditions::get(old, kind::INVALID_SPEC).is_some();
        was_asleep && self.replicas > 0 || was_invalid && self.problem.is_none()
    }

    fn reaches_new_height(&self, set: &ReplicaSet) -> bool {
        match conditions::high_water(&self.rollout.status) {
            Some(mark) if mark.hash == set.hash => set.available > mark.pods,
            _ => set.available > 0,
        }
    }

    fn is_pause_step(&self) -> bool {
        matches!(self.canary.steps.get(self.index), Some(Step::Pause(_)))
            && !self.rollout.status.pause_conditions.is_empty()
    }

    fn aborted(&mut self) {
        self.index = 0;
        self.status.promote_full = false;
        self.clear_pause();
        if self.status.aborted_at.is_none() {
            self.status.aborted_at = Some(Time::new(self.now));
            let message = self.abort_message();
            self.plan.events.push(Event::warning("RolloutAborted", message));
        }
    }

    fn abort_message(&self) -> String {
        let message = format!("Rollout aborted update to revision {}", self.revision);
        match &self.cause {
            Some(cause) => format!("{message}: {cause}"),
            None => message,
        }
    }

    fn clear_pause(&mut self) {
        self.status.pause_conditions.clear();
        self.status.controller_pause = false;
    }

    /// Goes through as many steps as are done, and returns what the planner says at the position where
    /// it ends.
    fn walk(&mut self) -> Moves {
        for _ in 0..=self.len() + 1 {
            let moves = moves::plan_moves(&self.state(), &self.intent(), self.now);
            if self.is_promoted() || self.status.abort || self.is_halted() {
                return self.explain_halt(moves);
            }
            match self.canary.steps.get(self.index) {
                None => {
                    if moves.may_promote {
                        let reason = if self.status.promote_full {
                            "Full promotion requested".to_owned()
                        } else {
                            format!("Completed all {} canary steps", self.len())
                        };
                        self.promote(&reason);
                        // What follows from being promoted waits for the status that says so: a crash
                        // in between would leave it half done for a version that is not stable yet.
                        let mut moves = moves::plan_moves(&self.state(), &self.intent(), self.now);
                        moves.writes.clear();
                        return moves;
                    }
                    return moves;
                }
                Some(Step::SetWeight(_) | Step::SetCanaryScale(_)) if moves.arrived => self.step_done(),
                Some(Step::Pause(duration)) => match self.pause(*duration, &moves) {
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
                        object: format!("step {} of {}", self.index + 1, self.len()),
                        seen: format!("{step} is not carried out by this build"),
                        wanted: "a build that does, another step, or skipping it by promote".into(),
                    };
                    return Moves { wait: moves.wait.clone().or(Some(wait)), ..moves };
                }
                Some(_) => return moves,
            }
        }
        moves::plan_moves(&self.state(), &self.intent(), self.now)
    }

    fn explain_halt(&self, moves: Moves) -> Moves {
        let wait = if let Some(problem) = self.problem {
            Some(Wait {
                reason: WaitReason::Invalid,
                object: format!("rollout {}/{}", self.rollout.namespace, self.rollout.name),
                seen: problem.message.clone(),
                wanted: "a valid reference".into(),
            })
        } else if self.spec.is_paused && !self.is_promoted() && !self.status.abort {
            Some(manual_pause())
        } else {
            None
        };
        Moves { wait: wait.or(moves.wait.clone()), ..moves }
    }

    /// Goes on, begins, or waits at a pause step. `None`: the step is done.
    fn pause(&mut self, duration: Option<SignedDuration>, moves: &Moves) -> Option<Option<Wait>> {
        let since = self.status.pause_conditions.iter().find(|pause| pause.reason == PAUSE_STEP);
        let step = PauseStep {
            duration,
            paused_since: since.map(|pause| pause.start_time.timestamp()),
            controller_pause: self.status.controller_pause,
        };
        match decide_pause(&step, self.now) {
            PauseDecision::Complete => None,
            PauseDecision::Begin if !moves.arrived => Some(None),
            PauseDecision::Begin => {
                let start_time = Time::new(self.now);
                self.status.pause_conditions.push(PauseCondition { reason: PAUSE_STEP, start_time });
                self.status.controller_pause = true;
                self.plan
                    .events
                    .push(Event::normal("RolloutPaused", format!("Rollout is paused ({PAUSE_STEP})")));
                let step = PauseStep { paused_since: Some(start_time.timestamp()), ..step };
                Some(Some(self.pause_wait(decide_pause(&step, self.now))))
            }
            PauseDecision::Wait(at) => Some(Some(self.pause_wait(PauseDecision::Wait(at)))),
        }
    }

    fn pause_wait(&mut self, decision: PauseDecision) -> Wait {
        let until = match decision {
            PauseDecision::Wait(at) => at,
            // A pause of no length: the next look goes on.
            PauseDecision::Begin | PauseDecision::Complete => Some(self.now + SignedDuration::from_secs(1)),
        };
        self.recheck(until);
        Wait {
            reason: WaitReason::Pause,
            object: format!("step {} of {}", self.index + 1, self.len()),
            seen: "paused".into(),
            wanted: match until {
                Some(at) => format!("{} to pass, or promote", Time::new(at)),
                None => "promote".into(),
            },
        }
    }

    fn recheck(&mut self, at: Option<Timestamp>) {
        self.plan.recheck_at = [self.plan.recheck_at, at].into_iter().flatten().min();
    }

    fn step_done(&mut self) {
        let step = self.canary.steps[self.index].describe();
        let message = format!("Rollout step {}/{} completed ({step})", self.index + 1, self.len());
        self.plan.events.push(Event::normal("RolloutStepCompleted", message));
        if !self.status.pause_conditions.is_empty() {
            self.plan.events.push(Event::normal("RolloutResumed", "Rollout is resumed"));
        }
        self.clear_pause();
        self.index += 1;
        self.has_progress = true;
    }

    fn promote(&mut self, reason: &str) {
        let is_fast = self.status.promote_full;
        self.status.stable_rs.clone_from(&self.hash);
        self.stable = Some(self.new);
        self.status.promote_full = false;
        self.status.abort = false;
        self.status.aborted_at = None;
        self.clear_pause();
        self.index = self.len();
        self.has_progress = true;
        status::complete_duration(
            &mut self.status,
            if is_fast { CompletionStatus::FastPromoted } else { CompletionStatus::Promoted },
        );
        self.completed(reason);
    }

    fn completed(&mut self, reason: &str) {
        let message =
            format!("Rollout completed update to revision {} ({}): {reason}", self.revision, self.hash);
        self.plan.events.push(Event::normal("RolloutCompleted", message));
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
        let steps = self.canary.steps.iter().take(self.index + 1).rev();
        let scale = steps
            .filter_map(|s| if let Step::SetCanaryScale(scale) = s { Some(*scale) } else { None })
            .next()?;
        match scale {
            CanaryScale::Replicas(replicas) => Some(if self.replicas == 0 { 0 } else { replicas }),
            CanaryScale::Weight(weight) => {
                Some(crate::replicas::need(weight, self.replicas, routing.max_weight))
            }
            CanaryScale::MatchTrafficWeight => None,
        }
    }

    fn intent(&self) -> Intent {
        let direction = if self.is_promoted() {
            Direction::Rest
        } else if self.status.abort {
            Direction::Back
        } else {
            Direction::Going
        };
        Intent {
            direction,
            is_halted: self.is_halted(),
            promote_full: self.status.promote_full,
            weight: self.weight_at(self.index),
            at_end: self.index >= self.len(),
            canary_size: self.canary_size(),
            min_pods: self.canary.min_pods,
            threshold: self.canary.threshold,
            scale_down_delay: self.canary.scale_down_delay,
            abort_scale_down_delay: self.canary.abort_scale_down_delay,
        }
    }

    fn state(&self) -> State {
        let sets = (0..self.versions.len()).map(|version| self.planner_set(version)).collect();
        let split = match &self.canary.routing {
            None => Split::ByRatio,
            Some(routing) => Split::ByRouter {
                dynamic_stable: routing.dynamic_stable,
                staged: routing.staged,
                ping_pong: routing.ping_pong,
            },
        };
        let hashes: Vec<&str> = (0..self.versions.len()).map(|version| self.hash_of(version)).collect();
        let destination = |name: Option<&String>| destinations::read(self.world, name?, &hashes, self.now);
        State {
            corridor: self.canary.corridor(self.replicas),
            max_weight: self.canary.routing.as_ref().map_or(100, |routing| routing.max_weight),
            sets,
            stable: self.stable,
            new: Some(self.new),
            split,
            stable_destination: destination(self.canary.stable_service.as_ref()),
            canary_destination: destination(self.canary.canary_service.as_ref()),
            weight: match &self.canary.routing {
                Some(_) => self.world.traffic.weight,
                None => LiveWeight::default(),
            },
            is_asleep: self.is_asleep(),
            grace_is_over: self.grace_is_over(),
        }
    }

    fn hash_of(&self, version: usize) -> &str {
        self.set(version).map_or(self.hash.as_str(), |set| set.hash.as_str())
    }

    fn planner_set(&self, version: usize) -> Set {
        let Some(set) = self.set(version) else {
            let name = format!("{}-{}", self.rollout.name, self.hash);
            let deadline = moves::Deadline::None;
            return Set { name, size: 0, available: 0, ready: 0, existing: 0, deadline, trouble: None };
        };
        Set {
            name: set.name.clone(),
            size: set.size,
            available: set.available,
            ready: set.ready,
            existing: set.existing,
            deadline: destinations::scale_down_deadline(set, self.now),
            trouble: self.world.troubles.get(&set.name).cloned(),
        }
    }

    /// Whether `replicas` is 0, or was and no stable pod has been available since: the record of that is
    /// the wait that was written meanwhile.
    fn is_asleep(&self) -> bool {
        let slept = conditions::get(&self.rollout.status, kind::WAITING)
            .is_some_and(|waiting| waiting.reason == WaitReason::Asleep.label());
        let stable_is_up =
            self.stable.and_then(|stable| self.set(stable)).is_some_and(|set| set.available > 0);
        self.replicas == 0 || slept && !stable_is_up && !self.is_promoted()
    }

    /// Whether the way back has stood still for the grace time.
    fn grace_is_over(&self) -> bool {
        let Some(waiting) = conditions::get(&self.rollout.status, kind::WAITING) else { return false };
        waiting.reason == WaitReason::Carry.label()
            && waiting
                .last_transition_time
                .is_some_and(|since| self.now.duration_since(since.timestamp()) >= self.world.settings.grace)
    }

    /// Turns moves into writes on named objects.
    fn carry_out(&mut self, moves: &Moves) {
        let creates = matches!(self.versions[self.new], VersionRef::New);
        let is_held = self.is_created_under_pause();
        if creates {
            if self.problem.is_some() {
                return;
            }
            let size = if self.spec.is_paused { 0 } else { planned_size(moves, self.new).unwrap_or(0) };
            self.create(size);
        } else if let Some(set) = self.set(self.new) {
            if let Some((annotations, min_ready)) =
                identity::amendments(self.rollout, self.spec, set, self.revision)
            {
                let action = Action::AmendReplicaSet {
                    name: set.name.clone(),
                    resource_version: set.resource_version.clone(),
                    annotations,
                    min_ready_seconds: min_ready,
                };
                self.write(
                    action,
                    "the current ReplicaSet carries the Rollout's annotations and its revision",
                );
            }
        }
        if self.rollout.annotation(keys::REVISION) != Some(self.revision.to_string().as_str()) {
            let annotations = [(keys::REVISION.to_owned(), Some(self.revision.to_string()))].into();
            self.write(Action::AnnotateRollout { annotations }, "the revision of the current template");
            self.plan.events.push(Event::normal(
                "RolloutUpdated",
                format!("Rollout updated to revision {}", self.revision),
            ));
        }
        if is_held {
            return;
        }
        destinations::writes(
            self.world,
            self.canary,
            &self.versions_by_name(),
            moves,
            self.replicas,
            &mut self.plan,
        );
    }

    /// A Rollout that was created paused keeps its first version at 0 until it is resumed; one that was
    /// asleep is told apart by the replicas that its ReplicaSet was last sized for.
    fn is_created_under_pause(&self) -> bool {
        let Some(set) = self.set(self.new) else { return self.spec.is_paused };
        let sized_for = set.annotation(keys::DESIRED_REPLICAS).and_then(|text| text.parse::<i64>().ok());
        self.spec.is_paused && self.is_promoted() && set.size == 0 && sized_for == Some(self.replicas)
    }

    fn versions_by_name(&self) -> Vec<(Option<&'a ReplicaSet>, String, i64)> {
        (0..self.versions.len())
            .map(|version| {
                let set = self.set(version);
                let revision =
                    if version == self.new { self.revision } else { set.map_or(0, ReplicaSet::revision) };
                (set, self.hash_of(version).to_owned(), revision)
            })
            .collect()
    }

    fn create(&mut self, size: i64) {
        let name = format!("{}-{}", self.rollout.name, self.hash);
        let object = identity::new_replica_set(
            self.rollout,
            self.spec,
            &self.hash,
            self.revision,
            size,
            self.replicas,
        );
        self.write(
            Action::CreateReplicaSet { name: name.clone(), object },
            "no ReplicaSet runs this template",
        );
        let message = format!("Created ReplicaSet {name} (revision {})", self.revision);
        self.plan.events.push(Event::normal("NewReplicaSetCreated", message));
        if size > 0 {
            let message =
                format!("Scaled up ReplicaSet {name} (revision {}) from 0 to {size}", self.revision);
            self.plan.events.push(Event::normal("ScalingReplicaSet", message));
        }
        let message = format!("Created new replica set \"{name}\"");
        conditions::put(
            &mut self.status,
            kind::PROGRESSING,
            ConditionStatus::True,
            conditions::reason::NEW_REPLICA_SET,
            &message,
            self.now,
        );
        conditions::set_high_water(&mut self.status, None, self.now);
    }

    fn history(&mut self) {
        let limit = self.spec.revision_history_limit;
        let in_use = [self.hash.as_str(), self.status.stable_rs.as_str()];
        let surplus: Vec<_> = identity::surplus(&self.world.replica_sets, &in_use, limit)
            .into_iter()
            .map(|set| Action::DeleteReplicaSet {
                name: set.name.clone(),
                uid: set.uid.clone(),
                resource_version: set.resource_version.clone(),
            })
            .collect();
        for action in surplus {
            self.write(action, format!("more than {limit} old revisions"));
        }
    }

    fn finish(mut self, moves: &Moves) -> Plan {
        self.recheck(moves.recheck_at);
        let len = self.len();
        self.status.current_step_index = (len > 0).then(|| i32::try_from(self.index).unwrap_or(i32::MAX));
        let wait = self.wait(moves);
        let new = self.set(self.new);
        let facts = Facts {
            rollout: self.rollout,
            spec: self.spec,
            replicas: self.replicas,
            sets: &self.world.replica_sets,
            new,
            new_name: format!("{}-{}", self.rollout.name, self.hash),
            revision: self.revision,
            is_routed: self.canary.routing.is_some(),
            has_progress: self.has_progress,
            abort_message: self.abort_message(),
            position: if !self.is_promoted() && !self.status.abort && self.index < len {
                format!("step {}/{len}", self.index + 1)
            } else {
                String::new()
            },
            is_at_endless_pause: matches!(self.canary.steps.get(self.index), Some(Step::Pause(None))),
            wait: wait.as_ref(),
            problem: self.problem,
        };
        let recheck = status::complete(&mut self.status, &facts, &mut self.plan.events, self.now);
        self.recheck(recheck);
        self.plan.status_changed = self.status != self.rollout.status;
        let is_at_goal = status::is_at_goal(&self.status, self.replicas);
        self.plan.is_unexplained = wait.is_none() && self.plan.is_empty() && !is_at_goal;
        self.plan.wait = wait;
        self.plan.status = self.status;
        self.plan
    }

    fn wait(&self, moves: &Moves) -> Option<Wait> {
        if let Some((object, error)) = &self.world.traffic.trouble {
            return Some(Wait {
                reason: WaitReason::Router,
                object: object.clone(),
                seen: error.clone(),
                wanted: "an answer".into(),
            });
        }
        if let Some(wait) = &moves.wait {
            let wakes = self.replicas > 0 && self.is_asleep();
            let reason = if wakes { WaitReason::Asleep } else { wait.reason };
            return Some(Wait { reason, ..wait.clone() });
        }
        if self.spec.is_paused {
            return Some(manual_pause());
        }
        if self.status.abort && (moves.is_empty() || self.cause.is_some()) {
            return Some(Wait {
                reason: WaitReason::Aborted,
                object: format!("rollout {}/{}", self.rollout.namespace, self.rollout.name),
                seen: self.abort_message(),
                wanted: "retry, or another template".into(),
            });
        }
        None
    }
}

fn manual_pause() -> Wait {
    Wait {
        reason: WaitReason::Pause,
        object: "spec.paused".into(),
        seen: "true".into(),
        wanted: "false".into(),
    }
}

/// What the moves make of a version's size.
fn planned_size(moves: &Moves, version: usize) -> Option<i64> {
    moves.writes.iter().find_map(|write| match write.kind() {
        moves::MoveKind::Scale { version: v, to, .. } if *v == version => Some(*to),
        _ => None,
    })
}

/// `spec.replicas` where nobody set one: what the stable version was sized for, else 1.
fn default_replicas(rollout: &Rollout, sets: &[&ReplicaSet]) -> i64 {
    let stable = sets.iter().find(|set| !set.hash.is_empty() && set.hash == rollout.status.stable_rs);
    stable.and_then(|set| set.annotation(keys::DESIRED_REPLICAS)?.parse().ok()).unwrap_or(1)
}
