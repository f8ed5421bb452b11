//! One look at one valid Rollout: what every strategy does alike.
//!
//! Tells which version is which, brings the recorded position in line with what people asked for, makes
//! ReplicaSets of new revisions, and puts the status together. Where a rollout goes is decided by the
//! strategies; which writes to sizes and traffic are safe is decided by `moves`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sluice_api::keys;
use sluice_api::meta::Time;
use sluice_api::rollout::{CompletionStatus, ConditionStatus, PauseCondition, PauseReason, RolloutStatus};

use crate::conditions::{self, kind};
use crate::deadline;
use crate::moves::{self, Direction, Moves, Set, Wait, WaitReason};
use crate::pause::{PauseDecision, PauseStep, decide_pause};
use crate::plan::{Action, Event, Plan, Write};
use crate::replicas::Corridor;
use crate::restart::{self, Due};
use crate::status::{self, Facts};
use crate::world::{InvalidSpec, ReplicaSet, Rollout, Spec, World};
use crate::{analysis, destinations, identity, parts};

/// One look at one Rollout.
pub(crate) struct Pass<'a> {
    pub world: &'a World,
    pub rollout: &'a Rollout,
    pub spec: &'a Spec,
    /// What is wrong with the objects that the spec refers to: it stops the update from going on, but
    /// not scaling and not an abort.
    pub problem: Option<&'a InvalidSpec>,
    pub now: Timestamp,
    pub replicas: i64,
    /// Versions in order of revision; the new one last if it is still to be created.
    versions: Vec<VersionRef<'a>>,
    pub new: usize,
    pub stable: Option<usize>,
    pub hash: String,
    pub revision: i64,
    pub status: RolloutStatus,
    /// The step that it is at.
    pub index: usize,
    /// How many steps there are.
    pub len: usize,
    step_hash: &'a str,
    /// The new version is an older one that may come back at once.
    pub is_fast_rollback: bool,
    /// Why this look aborts.
    pub cause: Option<String>,
    pub has_progress: bool,
    /// The clock of the progress deadline starts anew: what it measured has ended.
    restarts_clock: bool,
    pub plan: Plan,
    /// Writes that nothing else waits for, and that may fail: they come after all others.
    pub last_writes: Vec<Write>,
}

/// A version: a ReplicaSet, or the one that is still to be created.
#[derive(Clone, Copy)]
enum VersionRef<'a> {
    Existing(&'a ReplicaSet),
    New,
}

/// What a strategy found, for the status.
pub(crate) struct Findings {
    /// What is awaited.
    pub wait: Option<Wait>,
    /// What is awaited ends by itself and holds nobody up, so that it is not worth a write.
    pub hides_wait: bool,
    /// A router carries the share.
    pub is_routed: bool,
    /// The step that it is at is a pause which only a person ends.
    pub is_at_endless_pause: bool,
    /// What blue-green reports of its Services.
    pub active: Option<status::Active>,
}

impl<'a> Pass<'a> {
    /// Begins a look. `len` is the number of steps, `step_hash` their hash.
    pub fn new(
        world: &'a World,
        spec: &'a Spec,
        problem: Option<&'a InvalidSpec>,
        (len, step_hash): (usize, &'a str),
        now: Timestamp,
    ) -> Pass<'a> {
        let rollout = &*world.rollout;
        let current = identity::find_current(rollout, spec, &world.replica_sets).map(Arc::as_ref);
        let hash = current.map_or_else(|| identity::new_hash(rollout, spec), |set| set.hash.clone());
        let revision = identity::revision(rollout, current, &world.replica_sets);
        let mut sets: Vec<&ReplicaSet> =
            world.replica_sets.iter().map(Arc::as_ref).filter(|s| !s.is_deleting).collect();
        sets.sort_by_key(|set| (set.revision(), set.created_at, &set.name));
        let mut versions: Vec<VersionRef> = sets.iter().map(|set| VersionRef::Existing(set)).collect();
        let new = if let Some(current) = current {
            sets.iter().position(|set| set.uid == current.uid).unwrap_or(0)
        } else {
            versions.push(VersionRef::New);
            versions.len() - 1
        };
        let replicas = spec.replicas.unwrap_or_else(|| default_replicas(world, &sets));
        let mut pass = Pass {
            world,
            rollout,
            spec,
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
            len,
            step_hash,
            is_fast_rollback: false,
            cause: None,
            has_progress: false,
            restarts_clock: false,
            plan: Plan::default(),
            last_writes: Vec::new(),
        };
        pass.status.observed_generation = rollout.generation.to_string();
        match &world.workload {
            None => pass.status.workload_observed_generation.clear(),
            Some(Ok(workload)) => {
                pass.status.workload_observed_generation = workload.generation.to_string();
            }
            Some(Err(_)) => {}
        }
        if spec.replicas.is_none() {
            let message = format!("spec.replicas was not set, {} is written", pass.replicas);
            pass.plan.events.push(Event::normal("ReplicasDefaulted", message));
            pass.write(
                Action::DefaultReplicas(pass.replicas),
                "nobody set spec.replicas, and autoscalers need it",
            );
        }
        pass.settle_position();
        pass
    }

    pub fn write(&mut self, action: Action, reason: impl Into<String>) {
        self.plan.writes.push(Write { action, reason: reason.into() });
    }

    /// Asks for another look. What has gone by and changed nothing is not waited for.
    pub fn recheck(&mut self, at: Option<Timestamp>) {
        let at = at.filter(|at| *at > self.now);
        self.plan.recheck_at = [self.plan.recheck_at, at].into_iter().flatten().min();
    }

    pub fn is_promoted(&self) -> bool {
        self.status.stable_rs == self.hash
    }

    pub fn direction(&self) -> Direction {
        if self.is_promoted() {
            Direction::Rest
        } else if self.status.abort {
            Direction::Back
        } else {
            Direction::Going
        }
    }

    pub fn is_halted(&self) -> bool {
        self.spec.is_paused || self.problem.is_some() || self.is_inconclusive()
    }

    /// Whether a judgement is left to a person.
    pub fn is_inconclusive(&self) -> bool {
        self.status.pause_conditions.iter().any(|pause| status::is_inconclusive(pause.reason))
    }

    /// How many versions there are, the one that is still to be created included.
    pub fn count(&self) -> usize {
        self.versions.len()
    }

    pub fn set(&self, version: usize) -> Option<&'a ReplicaSet> {
        match self.versions[version] {
            VersionRef::Existing(set) => Some(set),
            VersionRef::New => None,
        }
    }

    pub fn hash_of(&self, version: usize) -> &str {
        self.set(version).map_or(self.hash.as_str(), |set| set.hash.as_str())
    }

    /// The hashes of all versions, by index.
    pub fn hashes(&self) -> Vec<&str> {
        (0..self.count()).map(|version| self.hash_of(version)).collect()
    }

    /// The name of the new version's ReplicaSet.
    pub fn new_name(&self) -> String {
        let name = || format!("{}-{}", self.rollout.name, self.hash);
        self.set(self.new).map_or_else(name, |set| set.name.clone())
    }

    /// Whether the template has changed since the last look.
    pub fn is_new_template(&self) -> bool {
        let old = &self.rollout.status.current_pod_hash;
        !old.is_empty() && *old != self.hash
    }

    /// Brings the recorded position in line with the spec, with what people asked for, and with what is
    /// there, before anything is decided.
    fn settle_position(&mut self) {
        let old = &self.rollout.status;
        let is_new_template = self.is_new_template();
        let is_new_plan = old.current_step_hash != self.step_hash;
        let is_first = old.stable_rs.is_empty();
        self.index = usize::try_from(old.current_step_index.unwrap_or(0)).unwrap_or(0).min(self.len);
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
        self.step_hash.clone_into(&mut self.status.current_step_hash);
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
        self.is_fast_rollback = !self.is_promoted()
            && self.stable.zip(self.set(self.new)).is_some_and(|(stable, new)| {
                let Some(stable) = self.set(stable) else { return false };
                identity::is_within_window(new, stable, &self.world.replica_sets, self.spec.rollback_window)
            });
        if self.is_promoted() {
            self.at_rest(is_new_template);
        } else {
            self.under_way(is_new_template);
        }
    }

    /// A status that knows no stable version while pods of another version serve: it was lost. The
    /// newest version that serves is the stable one.
    fn serving_without_record(&self) -> Option<&'a ReplicaSet> {
        let sets = (0..self.count()).filter(|v| *v != self.new).filter_map(|v| self.set(v));
        sets.filter(|set| set.size > 0 && set.available > 0).max_by_key(|set| set.revision())
    }

    fn reset(&mut self) {
        let status = &mut self.status;
        status.pause_conditions.clear();
        status.controller_pause = false;
        status.abort = false;
        status.aborted_at = None;
        status.promote_full = false;
        analysis::forget(status);
        status.canary.step_plugin_statuses.clear();
        status.blue_green.scale_up_preview_check_point = false;
        self.index = 0;
    }

    fn at_rest(&mut self, is_new_template: bool) {
        self.index = self.len;
        if is_new_template && self.len > 0 {
            self.plan.events.push(Event::normal("SkipSteps", "Rollback to stable ReplicaSets"));
        }
        if is_new_template {
            status::complete_duration(&mut self.status, CompletionStatus::RolledBack);
        }
        if self.status.abort && !is_new_template {
            let message = format!("Revision {} is the stable one, there is nothing to abort", self.revision);
            self.plan.events.push(Event::normal("RolloutNotAborted", message));
        }
        self.status.abort = false;
        self.status.aborted_at = None;
        self.status.promote_full = false;
        self.status.blue_green.scale_up_preview_check_point = false;
        self.clear_pause();
    }

    fn under_way(&mut self, is_new_template: bool) {
        if self.status.abort {
            self.aborted();
            return;
        }
        if self.status.aborted_at.is_some() {
            // A person cleared the abort: everything from the start, with runs of its own.
            analysis::forget(&mut self.status);
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
        if self.is_fast_rollback && is_new_template && self.len > 0 {
            let message = "Rollback within the window of revisions skips all steps";
            self.plan.events.push(Event::normal("SkipSteps", message));
        }
        if self.status.promote_full || self.is_fast_rollback {
            self.index = self.len;
            self.clear_pause();
        }
    }

    /// Whether the progress deadline is over and asks for an abort. To be asked once, while going.
    pub fn misses_deadline(&mut self) -> bool {
        let Some(set) = self.set(self.new) else { return false };
        self.has_progress = self.restarts_clock || self.reaches_new_height(set);
        let is_exempt = !self.spec.progress_deadline_abort || self.is_halted() || self.replicas == 0;
        let clock = deadline::clock(&self.rollout.status, self.spec.progress_deadline);
        !self.has_progress && !is_exempt && clock.is_over(self.now)
    }

    /// Aborts because the progress deadline is over. `wait` is what was awaited meanwhile.
    pub fn abort_for_deadline(&mut self, wait: Option<Wait>) {
        let (available, size) = self.set(self.new).map_or((0, 0), |set| (set.available, set.size));
        let detail = wait.filter(|wait| wait.reason == WaitReason::Pods).map_or_else(
            || format!("{available} of {size} pods available"),
            |wait| format!("{}, wanted {}", wait.seen, wait.wanted),
        );
        let deadline = sluice_lang::go_duration::print(self.spec.progress_deadline);
        let name = self.new_name();
        self.abort(format!("ReplicaSet \"{name}\" has timed out progressing: {detail} within {deadline}"));
    }

    /// Aborts the update.
    pub fn abort(&mut self, cause: String) {
        self.status.abort = true;
        self.cause = Some(cause);
        self.aborted();
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

    fn aborted(&mut self) {
        self.index = 0;
        self.status.promote_full = false;
        self.status.blue_green.scale_up_preview_check_point = false;
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

    pub fn clear_pause(&mut self) {
        self.status.pause_conditions.clear();
        self.status.controller_pause = false;
    }

    /// Pauses for `reason`, because something cannot tell good from bad.
    pub fn pause_for_a_person(&mut self, reason: PauseReason) {
        if self.status.pause_conditions.iter().any(|pause| pause.reason == reason) {
            return;
        }
        self.add_pause(reason);
    }

    fn add_pause(&mut self, reason: PauseReason) {
        let start_time = Time::new(self.now);
        self.status.pause_conditions.push(PauseCondition { reason, start_time });
        self.status.controller_pause = true;
        self.plan.events.push(Event::normal("RolloutPaused", format!("Rollout is paused ({reason})")));
    }

    /// There is no pause for `reason`.
    pub fn forget_pause(&mut self, reason: PauseReason) {
        let before = self.status.pause_conditions.len();
        self.status.pause_conditions.retain(|pause| pause.reason != reason);
        if self.status.pause_conditions.len() < before && self.status.pause_conditions.is_empty() {
            self.status.controller_pause = false;
        }
    }

    /// What a pause for `reason` looks like now.
    pub fn pause_step(&self, reason: PauseReason, duration: Option<SignedDuration>) -> PauseStep {
        let since = self.status.pause_conditions.iter().find(|pause| pause.reason == reason);
        PauseStep {
            duration,
            paused_since: since.map(|pause| pause.start_time.timestamp()),
            controller_pause: self.status.controller_pause,
        }
    }

    /// Begins a pause, and says what ends it.
    pub fn begin_pause(
        &mut self,
        reason: PauseReason,
        duration: Option<SignedDuration>,
        object: &str,
    ) -> Wait {
        self.add_pause(reason);
        let decision = decide_pause(&self.pause_step(reason, duration), self.now);
        self.pause_wait(decision, object)
    }

    /// What ends a pause that `decide_pause` says to wait for.
    pub fn pause_wait(&mut self, decision: PauseDecision, object: &str) -> Wait {
        let until = match decision {
            PauseDecision::Wait(at) => at,
            // A pause of no length: the next look goes on.
            PauseDecision::Begin | PauseDecision::Complete => Some(self.now + SignedDuration::from_secs(1)),
        };
        self.recheck(until);
        Wait {
            reason: WaitReason::Pause,
            object: object.into(),
            seen: "paused".into(),
            wanted: match until {
                Some(at) => format!("{} to pass, or promote", Time::new(at)),
                None => "promote".into(),
            },
        }
    }

    /// Ends whatever pause there is.
    pub fn end_pause(&mut self) {
        if !self.status.pause_conditions.is_empty() {
            self.plan.events.push(Event::normal("RolloutResumed", "Rollout is resumed"));
        }
        self.clear_pause();
    }

    /// Why a version is promoted now, in the words of the event; `completed` unless something shorter led
    /// there.
    pub fn promotion_reason(&self, completed: &str) -> String {
        match () {
            () if self.is_fast_rollback => "Rollback within window".into(),
            () if self.status.promote_full => "Full promotion requested".into(),
            () => completed.into(),
        }
    }

    /// Makes the new version the stable one.
    pub fn promote(&mut self, reason: &str) {
        let how = match (self.is_fast_rollback, self.status.promote_full) {
            (true, _) => CompletionStatus::FastRolledBack,
            (false, true) => CompletionStatus::FastPromoted,
            (false, false) => CompletionStatus::Promoted,
        };
        self.status.stable_rs.clone_from(&self.hash);
        self.stable = Some(self.new);
        self.status.promote_full = false;
        self.status.abort = false;
        self.status.aborted_at = None;
        self.status.blue_green.scale_up_preview_check_point = false;
        self.clear_pause();
        self.index = self.len;
        self.is_fast_rollback = false;
        self.has_progress = true;
        status::complete_duration(&mut self.status, how);
        self.completed(reason);
    }

    fn completed(&mut self, reason: &str) {
        let message =
            format!("Rollout completed update to revision {} ({}): {reason}", self.revision, self.hash);
        self.plan.events.push(Event::normal("RolloutCompleted", message));
    }

    /// Explains why nothing goes on although a version is under way: a broken reference, a person's pause.
    pub fn explain_halt(&self, moves: Moves) -> Moves {
        let wait = if let Some(problem) = self.problem {
            Some(Wait {
                reason: WaitReason::Invalid,
                object: format!("rollout {}/{}", self.rollout.namespace, self.rollout.name),
                seen: problem.message.clone(),
                wanted: "a valid reference".into(),
            })
        } else if self.spec.is_paused && self.direction() == Direction::Going {
            Some(manual_pause())
        } else if self.is_inconclusive() {
            self.explain_inconclusive()
        } else {
            None
        };
        Moves { wait: wait.or(moves.wait.clone()), ..moves }
    }

    /// A version as the planner sees it.
    pub fn planner_set(&self, version: usize) -> Set {
        let Some(set) = self.set(version) else {
            let deadline = moves::Deadline::None;
            let name = self.new_name();
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

    /// All versions as the planner sees them.
    pub fn planner_sets(&self) -> Vec<Set> {
        (0..self.count()).map(|version| self.planner_set(version)).collect()
    }

    /// Whether `replicas` is 0, or was and no stable pod has been available since: the record of that is
    /// the wait that was written meanwhile. A stable version that does not come up within the grace time is not
    /// waited for, what replaces it may be its cure; nor is it when a person promotes past everything.
    pub fn is_asleep(&self) -> bool {
        let waiting = conditions::get(&self.rollout.status, kind::WAITING);
        let slept = waiting.is_some_and(|waiting| {
            waiting.reason == WaitReason::Asleep.label()
                || self.wakes_until().is_some_and(|until| until > self.now)
        });
        let stable_is_up =
            self.stable.and_then(|stable| self.set(stable)).is_some_and(|set| set.available > 0);
        let is_hurried = self.status.promote_full;
        self.replicas == 0 || slept && !stable_is_up && !is_hurried && !self.is_promoted()
    }

    /// Until when the first pod of the stable version is waited for, after a time at 0 replicas.
    pub fn wakes_until(&self) -> Option<Timestamp> {
        let waiting = conditions::get(&self.rollout.status, kind::WAITING)?;
        let since = waiting.last_transition_time.filter(|_| waiting.reason == WaitReason::Waking.label())?;
        since.timestamp().checked_add(self.world.settings.grace).ok()
    }

    /// Whether the way back has stood still for the grace time.
    pub fn grace_is_over(&self) -> bool {
        let Some(waiting) = conditions::get(&self.rollout.status, kind::WAITING) else { return false };
        waiting.reason == WaitReason::Carry.label()
            && waiting
                .last_transition_time
                .is_some_and(|since| self.now.duration_since(since.timestamp()) >= self.world.settings.grace)
    }

    /// Makes the ReplicaSet of the current template, or brings the one that is there up to date. Returns
    /// whether the planner's moves may be carried out.
    pub fn revise(&mut self, moves: &Moves) -> bool {
        let is_held = self.is_created_under_pause();
        match self.set(self.new) {
            None if self.problem.is_some() => return false,
            // Without its workload the template is not known, so no ReplicaSet can be brought in line with it.
            Some(_) if matches!(self.world.workload, Some(Err(_))) => return !is_held,
            None => {
                let size = if self.spec.is_paused { 0 } else { planned_size(moves, self.new).unwrap_or(0) };
                self.create(size);
            }
            Some(set) => self.amend(set),
        }
        self.dress();
        if self.rollout.annotation(keys::REVISION) != Some(self.revision.to_string().as_str()) {
            let annotations = [(keys::REVISION.to_owned(), Some(self.revision.to_string()))].into();
            self.write(Action::AnnotateRollout { annotations }, "the revision of the current template");
            self.plan.events.push(Event::normal(
                "RolloutUpdated",
                format!("Rollout updated to revision {}", self.revision),
            ));
        }
        !is_held
    }

    /// Brings the ReplicaSet of the current template up to date.
    fn amend(&mut self, set: &ReplicaSet) {
        let amendments = identity::amendments(self.rollout, self.spec, set, self.revision);
        let stable = self.status.stable_rs.as_str();
        let is_stale = self.direction() == Direction::Going && set.apart_from.as_deref() != Some(stable);
        let affinity = self.spec.parts.anti_affinity.as_ref().filter(|_| is_stale).map(|rule| {
            let template = self.spec.template.json();
            json!({"spec": {"affinity": parts::keep_apart(&template, rule, stable, &self.rollout.namespace)}})
        });
        if amendments.is_none() && affinity.is_none() {
            return;
        }
        let (annotations, min_ready_seconds) = amendments.unwrap_or_default();
        let action = Action::AmendReplicaSet {
            name: set.name.clone(),
            resource_version: set.resource_version.clone(),
            annotations,
            min_ready_seconds,
            template: affinity.unwrap_or_default(),
        };
        let reason = "the current ReplicaSet carries the Rollout's annotations and its revision";
        self.write(action, reason);
    }

    /// Gives every version the metadata of its part. One write to an object in a look: what is amended
    /// already is dressed in the next.
    fn dress(&mut self) {
        let parts = &self.spec.parts;
        let none = parts::Metadata::default();
        for version in 0..self.count() {
            let Some(set) = self.set(version) else { continue };
            let wanted = match () {
                () if Some(version) == self.stable => &parts.stable,
                () if version == self.new && self.is_promoted() => &parts.stable,
                () if version == self.new => &parts.new,
                () => &none,
            };
            let is_written = self.plan.writes.iter().any(
                |write| matches!(&write.action, Action::AmendReplicaSet { name, .. } if *name == set.name),
            );
            match parts::change(set, wanted, &self.spec.template) {
                Some(change) if !is_written => {
                    let action = Action::AmendReplicaSet {
                        name: set.name.clone(),
                        resource_version: set.resource_version.clone(),
                        annotations: change.annotations,
                        min_ready_seconds: None,
                        template: change.template,
                    };
                    self.write(action, "pods carry what belongs to the part of their version");
                }
                Some(_) => {}
                None if is_written => {}
                None => self.plan.pod_syncs.extend(parts::pods_to_follow(set, &self.spec.template)),
            }
        }
    }

    /// A Rollout that was created paused keeps its first version at 0 until it is resumed; one that was
    /// asleep is told apart by the replicas that its ReplicaSet was last sized for.
    fn is_created_under_pause(&self) -> bool {
        let Some(set) = self.set(self.new) else { return self.spec.is_paused };
        let sized_for = set.annotation(keys::DESIRED_REPLICAS).and_then(|text| text.parse::<i64>().ok());
        self.spec.is_paused && self.is_promoted() && set.size == 0 && sized_for == Some(self.replicas)
    }

    /// The objects that moves are written to.
    pub fn versions_by_name(&self) -> Vec<(Option<&'a ReplicaSet>, String, i64)> {
        (0..self.count())
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
            Some(self.status.stable_rs.as_str()).filter(|stable| !stable.is_empty()),
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

    /// Pods that stable is to have beyond `replicas`, because its pods are restarted and none may be missing.
    pub fn restart_extra(&self, corridor: Corridor) -> i64 {
        match restart::due(self.rollout, self.now) {
            Due::Now(before) if self.direction() == Direction::Rest => {
                restart::extra(corridor, self.world.pods.as_deref(), before)
            }
            Due::Now(_) | Due::At(_) | Due::Never => 0,
        }
    }

    /// Restarts pods that may go now. Returns what is awaited.
    pub fn restart(&mut self, corridor: Corridor, moves: &Moves) -> Option<Wait> {
        let before = match restart::due(self.rollout, self.now) {
            Due::Never => return None,
            Due::At(at) => {
                self.recheck(Some(at));
                return None;
            }
            Due::Now(before) => before,
        };
        let Some(pods) = self.world.pods.as_deref() else {
            let unknown = restart::unknown(before, self.now);
            self.recheck(unknown.recheck_at);
            return unknown.wait;
        };
        let is_shrinking = moves.writes.iter().any(|write| write.kind().shrinks());
        let uid = |version: usize| self.set(version).map(|set| set.uid.as_str());
        let (stable, new) = (self.stable.and_then(uid), uid(self.new));
        let rank = |set: &str| match Some(set) {
            set if set == stable => 0,
            set if set == new => 1,
            _ => 2,
        };
        let restart = restart::decide(corridor, pods, before, rank, is_shrinking, self.now);
        if restart.is_done {
            self.status.restarted_at = Some(Time::new(before));
            let message = format!("All pods that were created before {before:.0} are restarted");
            self.plan.events.push(Event::normal("RolloutRestarted", message));
        }
        for action in restart.evictions {
            self.write(action, "it was created before restartAt");
        }
        self.recheck(restart.recheck_at);
        restart.wait
    }

    /// Lets go of Services that the spec named once, when only one version has pods: whoever calls them
    /// notices nothing.
    pub fn release_services(&mut self, moves: &Moves) {
        let is_alone = self.direction() == Direction::Rest
            && (0..self.count())
                .filter(|v| *v != self.new)
                .filter_map(|v| self.set(v))
                .all(|s| s.existing == 0);
        if !is_alone || !moves.is_empty() || self.problem.is_some() {
            return;
        }
        for (name, service) in &self.world.former_services {
            let action = Action::ReleaseService {
                name: name.clone(),
                resource_version: service.resource_version.clone(),
            };
            let message = format!("Service '{name}' is not named any more and leads to every version again");
            self.plan.events.push(Event::normal("ServiceReleased", message));
            self.write(action, "the spec does not name it any more");
        }
    }

    /// Deletes old ReplicaSets beyond the history limit.
    pub fn history(&mut self) {
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

    fn wait_for_first_pod(&self) -> Option<Wait> {
        let set = self.stable.and_then(|stable| self.set(stable))?;
        Some(Wait {
            reason: WaitReason::Waking,
            object: format!("ReplicaSet {}", set.name),
            seen: format!("{} of {} pods available", set.available, set.size),
            wanted: "1 available".into(),
        })
    }

    /// What is awaited, of all that a strategy and its moves say.
    pub fn wait(&self, moves: &Moves) -> Option<Wait> {
        if let Some((object, error)) = &self.world.traffic.trouble {
            return Some(Wait {
                reason: WaitReason::Router,
                object: object.clone(),
                seen: error.clone(),
                wanted: "an answer".into(),
            });
        }
        // Whatever else is awaited, it is on record that it is for the first pod of stable.
        if self.replicas > 0 && self.is_asleep() {
            let wait = moves.wait.clone().filter(|wait| wait.reason != WaitReason::Asleep);
            let wait = wait.or_else(|| self.wait_for_first_pod());
            return wait.map(|wait| Wait { reason: WaitReason::Waking, ..wait });
        }
        if let Some(wait) = &moves.wait {
            return Some(wait.clone());
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

    /// Puts the status together and hands the plan over.
    pub fn finish(mut self, findings: Findings) -> Plan {
        let len = self.len;
        self.status.current_step_index = (len > 0).then(|| i32::try_from(self.index).unwrap_or(i32::MAX));
        let facts = Facts {
            rollout: self.rollout,
            spec: self.spec,
            replicas: self.replicas,
            sets: &self.world.replica_sets,
            new: self.set(self.new),
            new_name: self.new_name(),
            revision: self.revision,
            is_routed: findings.is_routed,
            has_progress: self.has_progress,
            abort_message: self.abort_message(),
            position: if self.direction() == Direction::Going && self.index < len {
                format!("step {}/{len}", self.index + 1)
            } else {
                String::new()
            },
            is_at_endless_pause: findings.is_at_endless_pause,
            active: findings.active,
            is_restarting: matches!(restart::due(self.rollout, self.now), Due::Now(_))
                && self.status.restarted_at == self.rollout.status.restarted_at,
            wait: findings.wait.as_ref().filter(|_| !findings.hides_wait),
            problem: self.problem,
        };
        let recheck = status::complete(&mut self.status, &facts, &mut self.plan.events, self.now);
        self.recheck(self.wakes_until().filter(|until| *until > self.now));
        let is_at_goal = status::is_at_goal(&self.status, &facts);
        self.recheck(recheck);
        self.tend_workload();
        self.plan.writes.append(&mut self.last_writes);
        self.plan.status_changed = self.status != self.rollout.status;
        self.plan.is_unexplained = findings.wait.is_none() && self.plan.is_empty() && !is_at_goal;
        self.plan.wait = findings.wait;
        self.plan.status = self.status;
        self.plan
    }
}

pub(crate) fn manual_pause() -> Wait {
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

/// `spec.replicas` where nobody set one: what the stable version was sized for, else what the workload has
/// that this Rollout is to stand in for, else 1.
fn default_replicas(world: &World, sets: &[&ReplicaSet]) -> i64 {
    let hash = &world.rollout.status.stable_rs;
    let stable = sets.iter().find(|set| !set.hash.is_empty() && set.hash == *hash);
    let sized_for = stable.and_then(|set| set.annotation(keys::DESIRED_REPLICAS)?.parse().ok());
    let workload = world.workload.as_ref().and_then(|workload| workload.as_ref().ok());
    let workload = workload.map(|workload| workload.size).filter(|size| *size > 0);
    sized_for.or(workload).unwrap_or(1)
}
