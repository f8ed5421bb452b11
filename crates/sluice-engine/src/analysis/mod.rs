//! The analysis runs of a Rollout: which ones it wants, and what their outcomes do to it.
//!
//! Decides when a run is made, which one counts for which place, what ends and what is cleared away. How
//! a run measures and judges is decided where runs are looked at; what an outcome means for steps and
//! switches is the strategies' business, who ask for a [`Verdict`].

pub mod resolve;
pub mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sluice_api::analysis::{AnalysisPhase, AnalysisRunSpec};
use sluice_api::gates::OnFailure;
use sluice_api::rollout::{AnalysisRunRef, PauseReason, RolloutStatus};
use sluice_api::steps::RolloutAnalysis;
use sluice_api::{keys, kind};

pub use self::resolve::Templates;
pub use self::run::{OwnedRun, Run, RunOwner};
use crate::identity;
use crate::measure::Position;
use crate::moves::{Wait, WaitReason};
use crate::pass::Pass;
use crate::plan::{Action, Event, Write};
use crate::world::{Spec, Strategy, World};

/// What is known of the analysis of a Rollout.
#[derive(Clone, Debug, Default)]
pub struct Analyses {
    /// The runs that it owns.
    pub runs: Vec<Arc<Run>>,
    /// The templates that its spec leads to.
    pub templates: Templates,
}

/// An analysis that a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The block of the spec, with the fields of the Rollout that its arguments name filled in.
    pub block: RolloutAnalysis,
    /// An argument that names a field which is not there.
    pub problem: Option<String>,
}

/// The place that a run counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Beside the steps.
    Background,
    /// A step, by its index.
    Step(usize),
    /// Before the switch of blue-green.
    PrePromotion,
    /// After it.
    PostPromotion,
}

impl Slot {
    /// The value of the label `rollout-type`.
    pub fn label(self) -> &'static str {
        match self {
            Slot::Background => keys::ROLLOUT_TYPE_BACKGROUND,
            Slot::Step(_) => keys::ROLLOUT_TYPE_STEP,
            Slot::PrePromotion => keys::ROLLOUT_TYPE_PRE_PROMOTION,
            Slot::PostPromotion => keys::ROLLOUT_TYPE_POST_PROMOTION,
        }
    }

    /// What the causes of aborts call it.
    fn says(self) -> &'static str {
        match self {
            Slot::Background => "Background",
            Slot::Step(_) => "Step-based",
            Slot::PrePromotion => "Blue/green pre-promotion",
            Slot::PostPromotion => "Blue/green post-promotion",
        }
    }

    fn suffix(self) -> String {
        match self {
            Slot::Background => String::new(),
            Slot::Step(index) => format!("-{index}"),
            Slot::PrePromotion => "-pre".into(),
            Slot::PostPromotion => "-post".into(),
        }
    }

    /// What is on record for it.
    fn recorded(self, status: &RolloutStatus) -> Option<&AnalysisRunRef> {
        match self {
            Slot::Background => status.canary.current_background_analysis_run_status.as_ref(),
            Slot::Step(_) => status.canary.current_step_analysis_run_status.as_ref(),
            Slot::PrePromotion => status.blue_green.pre_promotion_analysis_run_status.as_ref(),
            Slot::PostPromotion => status.blue_green.post_promotion_analysis_run_status.as_ref(),
        }
    }

    fn of(self, status: &mut RolloutStatus) -> &mut Option<AnalysisRunRef> {
        match self {
            Slot::Background => &mut status.canary.current_background_analysis_run_status,
            Slot::Step(_) => &mut status.canary.current_step_analysis_run_status,
            Slot::PrePromotion => &mut status.blue_green.pre_promotion_analysis_run_status,
            Slot::PostPromotion => &mut status.blue_green.post_promotion_analysis_run_status,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What an analysis says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not over.
    Waits(Wait),
    /// It ended well.
    Passed,
    /// It ended badly, or could not be carried out: the cause of an abort.
    Failed(String),
    /// It cannot tell good from bad: a person has to.
    Inconclusive(Wait),
}

/// What ends a pause after a run that could not tell good from bad.
pub const PERSON: &str = "a person's word: promote, abort, or resume to ask again";

/// A phase and why, in words.
pub fn says(phase: AnalysisPhase, message: &str) -> String {
    let phase = if phase == AnalysisPhase::Unset { AnalysisPhase::Pending } else { phase };
    if message.is_empty() { phase.to_string() } else { format!("{phase}: {message}") }
}

/// A run as its Rollout takes it: one that has failed leaves the judgement to a person if that is wanted. On
/// record it is inconclusive then, so that a promote goes on as it does after every such run.
fn outcome(mut run: Arc<Run>, on_failure: OnFailure) -> Arc<Run> {
    if on_failure == OnFailure::Pause && matches!(run.phase, AnalysisPhase::Failed | AnalysisPhase::Error) {
        let failed = Arc::make_mut(&mut run);
        failed.message = format!("{} (onFailure is pause)", says(failed.phase, &failed.message));
        failed.phase = AnalysisPhase::Inconclusive;
    }
    run
}

/// The annotations that tell a run where its Rollout stands.
fn place(position: Position) -> BTreeMap<String, String> {
    let places = [(keys::AT_STEP, position.step), (keys::AT_WEIGHT, position.weight)];
    places.into_iter().filter_map(|(key, place)| Some((key.to_owned(), place?.to_string()))).collect()
}

/// Forgets all runs that count, as for a new template.
pub fn forget(status: &mut RolloutStatus) {
    status.canary.current_step_analysis_run_status = None;
    status.canary.current_background_analysis_run_status = None;
    status.blue_green.pre_promotion_analysis_run_status = None;
    status.blue_green.post_promotion_analysis_run_status = None;
}

/// What is on record of the runs that count.
fn recorded(status: &RolloutStatus) -> impl Iterator<Item = &AnalysisRunRef> {
    // Of steps only one is on record, whatever its index.
    [Slot::Step(0), Slot::Background, Slot::PrePromotion, Slot::PostPromotion]
        .into_iter()
        .filter_map(|slot| slot.recorded(status))
}

/// The names of the runs that count.
fn current(status: &RolloutStatus) -> BTreeSet<&str> {
    recorded(status).map(|run| run.name.as_str()).collect()
}

/// Returns the first analysis of a spec that cannot be run, in the words of the condition.
pub fn check(world: &World, spec: &Spec) -> Option<String> {
    for (field, analysis, may_be_endless) in spec.strategy.analyses() {
        let names: Vec<_> = analysis.block.templates.iter().map(|t| t.template_name.as_str()).collect();
        let problem = check_one(analysis, &world.analysis.templates, may_be_endless);
        if let Some(problem) = problem {
            let names = names.join(",");
            return Some(format!("spec.strategy.{field}: Invalid value: \"{names}\": {problem}"));
        }
    }
    None
}

fn check_one(analysis: &Analysis, templates: &Templates, may_be_endless: bool) -> Option<String> {
    if let Some(problem) = &analysis.problem {
        return Some(problem.clone());
    }
    let spec = match resolve::run_spec(&analysis.block, templates, resolve::Hashes::default()) {
        Ok(spec) => spec,
        Err(problem) => return Some(problem),
    };
    let found = resolve::flatten(&analysis.block.templates, templates).unwrap_or_default();
    let endless = found
        .iter()
        .flat_map(|(reference, template)| template.metrics.iter().map(move |metric| (reference, metric)))
        .find(|(_, metric)| !may_be_endless && run::is_endless(metric));
    if let Some((reference, metric)) = endless {
        let count = metric.count.as_ref().map_or_else(|| "<nil>".to_owned(), ToString::to_string);
        return Some(format!(
            "AnalysisTemplate {} has metric {} which runs indefinitely. Invalid value for count: {count}",
            reference.template_name, metric.name
        ));
    }
    spec.metrics.iter().find_map(run::not_carried_out).or_else(|| run::first_mistake(&spec))
}

impl Pass<'_> {
    /// Whether nothing is to be analysed: there is nothing under way, or it goes on without a judgement.
    pub fn is_beyond_analysis(&self) -> bool {
        self.is_promoted() || self.status.abort || self.status.promote_full || self.is_fast_rollback
    }

    /// What the run that counts for `slot` says; makes one if there is none that counts.
    pub fn analyse(&mut self, slot: Slot, analysis: &Analysis) -> Verdict {
        let run = self.recorded_run(slot).filter(|run| run.fits(slot));
        match run.map(|run| outcome(run, analysis.block.on_failure)) {
            Some(run) if !self.is_resumed_after(slot, &run) => self.judge(slot, &run),
            _ => Verdict::Waits(self.begin(slot, analysis)),
        }
    }

    /// Whether a run counts for `slot`.
    pub fn has_run(&self, slot: Slot) -> bool {
        self.recorded_run(slot).is_some()
    }

    /// Heeds a run that has failed although nothing goes on at the moment: an abort wins over a halt.
    pub fn heed(&mut self, slot: Slot, analysis: &Analysis) {
        let run = self.recorded_run(slot).filter(|run| run.fits(slot));
        let has_failed =
            run.is_some_and(|run| matches!(run.phase, AnalysisPhase::Failed | AnalysisPhase::Error));
        if has_failed && let Verdict::Failed(cause) = self.analyse(slot, analysis) {
            self.abort(cause);
        }
    }

    /// The run that is on record for `slot`, if it exists.
    fn recorded_run(&self, slot: Slot) -> Option<Arc<Run>> {
        self.run(&slot.recorded(&self.status)?.name)
    }

    fn run(&self, name: &str) -> Option<Arc<Run>> {
        self.world.analysis.runs.iter().find(|run| run.name == name).cloned()
    }

    /// Whether a person let the Rollout go on although this run could not tell good from bad: it is asked anew.
    fn is_resumed_after(&mut self, slot: Slot, run: &Run) -> bool {
        let is_open = run.phase == AnalysisPhase::Inconclusive
            || run.phase == AnalysisPhase::Successful && !run.is_proven && slot != Slot::Background;
        let is_recorded = slot.of(&mut self.status).as_ref().is_some_and(|r| r.status == run.phase);
        let is_paused =
            self.status.pause_conditions.iter().any(|p| p.reason == PauseReason::InconclusiveAnalysisRun);
        is_open && is_recorded && !is_paused
    }

    fn judge(&mut self, slot: Slot, run: &Run) -> Verdict {
        self.record(slot, run);
        let wait = |wanted: &str| Wait {
            reason: WaitReason::Analysis,
            object: format!("AnalysisRun {}", run.name),
            seen: says(run.phase, &run.message),
            wanted: wanted.into(),
        };
        match run.phase {
            // It ended before it could tell, or every measurement was forgiven.
            AnalysisPhase::Successful if !run.is_proven && slot != Slot::Background => {
                let seen =
                    format!("{}, and not every metric was measured well", says(run.phase, &run.message));
                Verdict::Inconclusive(Wait { seen, ..wait(PERSON) })
            }
            AnalysisPhase::Successful => Verdict::Passed,
            AnalysisPhase::Failed | AnalysisPhase::Error => {
                let more = if run.message.is_empty() { String::new() } else { format!(": {}", run.message) };
                Verdict::Failed(format!("{} analysis phase error/failed{more}", slot.says()))
            }
            AnalysisPhase::Inconclusive => Verdict::Inconclusive(wait(PERSON)),
            AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => {
                Verdict::Waits(wait("Successful"))
            }
        }
    }

    /// Puts how a run stands on record, and says so when that has changed.
    fn record(&mut self, slot: Slot, run: &Run) {
        let old = slot.of(&mut self.status).clone();
        let before = old.as_ref().map_or(AnalysisPhase::Unset, |old| old.status);
        if before != run.phase && run.phase != AnalysisPhase::Unset {
            let previous = if before == AnalysisPhase::Unset { "NoPreviousStatus" } else { before.as_str() };
            let message = format!(
                "{slot} Analysis Run '{}' Status New: '{}' Previous: '{previous}'",
                run.name,
                run.phase.as_str()
            );
            let (reason, is_warning) = run::event_of(run.phase);
            self.plan.events.push(Event { is_warning, reason, message });
        }
        *slot.of(&mut self.status) =
            Some(AnalysisRunRef { name: run.name.clone(), status: run.phase, message: run.message.clone() });
    }

    /// Makes a run for `slot`, or takes one up that was made for it and is not on record.
    fn begin(&mut self, slot: Slot, analysis: &Analysis) -> Wait {
        let hashes = resolve::Hashes { stable: &self.status.stable_rs, new: &self.hash };
        let spec = match resolve::run_spec(&analysis.block, &self.world.analysis.templates, hashes) {
            Ok(spec) => spec,
            Err(problem) => {
                return Wait {
                    reason: WaitReason::Analysis,
                    object: format!("{slot} analysis"),
                    seen: problem,
                    wanted: "templates and arguments that fit".into(),
                };
            }
        };
        let body = run::body(&spec);
        let base = format!("{}-{}-{}{}", self.rollout.name, self.hash, self.revision, slot.suffix());
        let numbered = format!("{base}.");
        let is_for_this = |run: &&Arc<Run>| {
            let is_named = run.name == base || run.name.starts_with(&numbered);
            is_named && run.is_fresh() && run.fits(slot) && run.body == body
        };
        if let Some(run) = self.world.analysis.runs.iter().find(is_for_this).cloned() {
            self.record(slot, &run);
            return Wait {
                reason: WaitReason::Analysis,
                object: format!("AnalysisRun {}", run.name),
                seen: "not measured yet".into(),
                wanted: "Successful".into(),
            };
        }
        let mut name = base;
        let mut number = 0;
        while self.run(&name).is_some() {
            number += 1;
            name = format!("{numbered}{number}");
        }
        let object = self.run_object(slot, &name, analysis, &spec);
        let reason = format!("{slot} analysis of revision {}", self.revision);
        self.last_writes.push(Write { action: Action::CreateRun { name: name.clone(), object }, reason });
        self.plan.events.push(Event::normal(
            "AnalysisRunPending",
            format!("{slot} Analysis Run '{name}' Status New: 'Pending' Previous: 'NoPreviousStatus'"),
        ));
        *slot.of(&mut self.status) = Some(AnalysisRunRef {
            name: name.clone(),
            status: AnalysisPhase::Pending,
            message: String::new(),
        });
        Wait {
            reason: WaitReason::Analysis,
            object: format!("AnalysisRun {name}"),
            seen: "just created".into(),
            wanted: "Successful".into(),
        }
    }

    /// Where the Rollout stands. Blue-green has neither steps nor weights.
    fn position(&self) -> Position {
        match &self.spec.strategy {
            Strategy::Canary(canary) => {
                Position { step: i64::try_from(self.index).ok(), weight: Some(canary.weight_at(self.index)) }
            }
            Strategy::BlueGreen(_) | Strategy::Unsupported(_) => Position::default(),
        }
    }

    fn run_object(&self, slot: Slot, name: &str, analysis: &Analysis, spec: &AnalysisRunSpec) -> Value {
        let given = analysis.block.analysis_run_metadata.clone().unwrap_or_default();
        let mut labels = Map::new();
        labels.insert(keys::POD_TEMPLATE_HASH.into(), json!(self.hash));
        labels.insert(keys::ROLLOUT_TYPE.into(), json!(slot.label()));
        if let Slot::Step(index) = slot {
            labels.insert(keys::STEP_INDEX.into(), json!(index.to_string()));
        }
        labels.extend(given.labels.into_iter().map(|(key, value)| (key, json!(value))));
        let selector = self.spec.label_selector.match_labels.iter();
        labels.extend(selector.map(|(key, value)| (key.clone(), json!(value))));
        let mut annotations = Map::new();
        annotations.insert(keys::REVISION.into(), json!(self.revision.to_string()));
        if run::follows(spec) {
            annotations.extend(place(self.position()).into_iter().map(|(key, value)| (key, json!(value))));
        }
        annotations.extend(given.annotations.into_iter().map(|(key, value)| (key, json!(value))));
        json!({
            "apiVersion": kind::API_VERSION,
            "kind": "AnalysisRun",
            "metadata": {
                "name": name,
                "namespace": self.rollout.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [identity::owner_reference(self.rollout)],
            },
            "spec": spec,
        })
    }

    /// Pauses, because an analysis cannot tell good from bad.
    pub fn pause_inconclusive(&mut self) {
        self.pause_for_a_person(PauseReason::InconclusiveAnalysisRun);
    }

    /// What a pause that leaves the judgement to a person waits for.
    pub fn explain_inconclusive(&self) -> Option<Wait> {
        if let Some(wait) = self.explain_trial() {
            return Some(wait);
        }
        let find = |is: fn(AnalysisPhase) -> bool| recorded(&self.status).find(|run| is(run.status));
        let run = find(|phase| phase == AnalysisPhase::Inconclusive)
            .or_else(|| find(|phase| phase == AnalysisPhase::Successful))?;
        Some(Wait {
            reason: WaitReason::Analysis,
            object: format!("AnalysisRun {}", run.name),
            seen: says(run.status, &run.message),
            wanted: PERSON.into(),
        })
    }

    /// Takes the run of a place off the record; what has not ended is ended by [`Pass::tend_runs`].
    pub fn drop_run(&mut self, slot: Slot) {
        *slot.of(&mut self.status) = None;
    }

    /// Ends runs that do not count any more, and clears away what nobody needs.
    pub fn tend_runs(&mut self) {
        let is_open = !self.is_beyond_analysis();
        if !is_open {
            self.status.canary.current_step_analysis_run_status = None;
            self.status.canary.current_background_analysis_run_status = None;
        }
        let current = current(&self.status);
        let position = self.position();
        let mut writes = Vec::new();
        let mut others: Vec<&Arc<Run>> = Vec::new();
        for run in self.world.analysis.runs.iter().filter(|run| !run.is_deleting) {
            let counts = current.contains(run.name.as_str());
            if run.is_fresh() && !(counts && is_open) {
                writes.push(Write {
                    action: Action::TerminateRun { name: run.name.clone(), uid: run.uid.clone() },
                    reason: "it does not count any more".into(),
                });
            }
            if !counts {
                others.push(run);
            } else if is_open && run.is_fresh() && run.follows && run.position != position {
                writes.push(Write {
                    action: Action::PlaceRun {
                        name: run.name.clone(),
                        uid: run.uid.clone(),
                        annotations: place(position),
                    },
                    reason: "its limits go by step and weight".into(),
                });
            }
        }
        let in_use = [self.hash.as_str(), self.status.stable_rs.as_str()];
        others.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.name.cmp(&b.name)));
        for (run, reason) in run::surplus(&others, &self.world.replica_sets, in_use, self.spec.run_limits) {
            let action = Action::DeleteRun {
                name: run.name.clone(),
                uid: run.uid.clone(),
                resource_version: run.resource_version.clone(),
            };
            writes.push(Write { action, reason });
        }
        self.last_writes.extend(writes);
        self.tend_trials();
    }
}
