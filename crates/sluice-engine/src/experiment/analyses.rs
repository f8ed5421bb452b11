//! The analysis runs of an Experiment: which are made, how they stand, which are told to end.
//!
//! Where Argo Rollouts stops to copy how a run stands once the Experiment is ending, so that it may stand still for
//! ever, runs are followed until they have ended.

use std::sync::Arc;

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, AnalysisRunSpec, Argument};
use sluice_api::experiment::{ExperimentAnalysis, ExperimentAnalysisRunStatus};
use sluice_api::steps::AnalysisTemplateRef;
use sluice_lang::template;

use super::world::{ExperimentAction, Part};
use super::{Look, badness, objects};
use crate::analysis::resolve::{self, Rules};
use crate::analysis::{Run, run};
use crate::plan::Event;

/// What is told of a run that is gone before it ended.
const GONE: &str = "the run is gone";

/// The template that an analysis names.
pub fn reference(analysis: &ExperimentAnalysis) -> AnalysisTemplateRef {
    AnalysisTemplateRef {
        template_name: analysis.template_name.clone(),
        cluster_scope: analysis.cluster_scope,
    }
}

impl Look<'_> {
    /// How an analysis stands.
    pub(super) fn standing(&self, name: &str) -> Option<&ExperimentAnalysisRunStatus> {
        self.status.analysis_runs.iter().find(|status| status.name == name)
    }

    /// The worst analysis that has ended and not well; the first of several that are as bad.
    pub(super) fn worst_ended_badly(&self) -> Option<&ExperimentAnalysisRunStatus> {
        let ended = self
            .status
            .analysis_runs
            .iter()
            .filter(|status| status.phase.is_terminal() && status.phase != AnalysisPhase::Successful);
        // The last of equals would win, so they go backwards.
        ended.rev().max_by_key(|status| badness(status.phase))
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &ExperimentAnalysis> {
        self.spec.analyses.iter().filter(|analysis| analysis.required_for_completion)
    }

    /// Whether an analysis has ended well and has judged something.
    pub(super) fn has_passed(&self, analysis: &ExperimentAnalysis) -> bool {
        self.standing(&analysis.name).is_some_and(|status| {
            // What is on record of a run that is gone is believed.
            let is_proven = self.owned(&status.analysis_run).is_none_or(|run| run.is_proven);
            status.phase == AnalysisPhase::Successful && is_proven
        })
    }

    /// Whether all required analyses have ended, of which there is at least one.
    pub(super) fn are_required_done(&self) -> bool {
        let is_over = |analysis: &ExperimentAnalysis| {
            self.standing(&analysis.name).is_some_and(|status| status.phase.is_terminal())
        };
        self.required().next().is_some() && self.required().all(is_over)
    }

    fn owned(&self, name: &str) -> Option<&Arc<Run>> {
        self.world.runs.iter().find(|run| run.name == name && !run.is_deleting)
    }

    /// Takes over how runs stand.
    pub(super) fn copy_runs(&mut self) {
        let stored = &self.stored.analysis_runs;
        let copy = |analysis: &ExperimentAnalysis| {
            let old = stored.iter().find(|status| status.name == analysis.name)?;
            let mut status = old.clone();
            if let Some(run) = self.owned(&old.analysis_run) {
                status.phase = match run.phase {
                    AnalysisPhase::Unset => AnalysisPhase::Pending,
                    phase => phase,
                };
                status.message.clone_from(&run.message);
            }
            Some(status)
        };
        let copied: Vec<_> = self.spec.analyses.iter().filter_map(copy).collect();
        self.status.analysis_runs = copied;
        // Before there are pods, all that can be told is whether the runs can be made.
        if self.status.available_at.is_none() && !self.is_ending() {
            self.verify();
        }
    }

    /// Finds what keeps runs from being made, before pods are made for them.
    fn verify(&mut self) {
        for analysis in &self.spec.analyses {
            if self.standing(&analysis.name).is_some() {
                continue;
            }
            let reference = reference(analysis);
            let problem = match resolve::flatten(std::slice::from_ref(&reference), &self.world.templates) {
                Err(problem) => Some(format!(
                    "{} verification failed for analysis '{}': {problem}",
                    resolve::kind(&reference),
                    analysis.name
                )),
                // The instant stands in for the one at which pods will be available.
                Ok(_) => {
                    self.run_spec(analysis, self.now).err().map(|problem| not_created(analysis, &problem))
                }
            };
            if let Some(message) = problem {
                self.put(analysis, String::new(), AnalysisPhase::Error, message);
            }
        }
    }

    fn put(&mut self, analysis: &ExperimentAnalysis, run: String, phase: AnalysisPhase, message: String) {
        let status =
            ExperimentAnalysisRunStatus { name: analysis.name.clone(), analysis_run: run, phase, message };
        match self.status.analysis_runs.iter_mut().find(|old| old.name == analysis.name) {
            Some(old) => *old = status,
            None => self.status.analysis_runs.push(status),
        }
    }

    /// Makes and ends runs.
    pub(super) fn tend_analyses(&mut self) {
        let is_ending = self.is_ending();
        for analysis in &self.spec.analyses {
            self.tend_analysis(analysis, is_ending);
        }
        let order = |name: &str| self.spec.analyses.iter().position(|analysis| analysis.name == name);
        self.status.analysis_runs.sort_by_key(|status| order(&status.name));
        if self.is_held() {
            return;
        }
        let counts =
            |run: &Run| self.status.analysis_runs.iter().any(|status| status.analysis_run == run.name);
        let surplus = |run: &&Arc<Run>| run.is_fresh() && (is_ending || !counts(run));
        let surplus: Vec<&Arc<Run>> = self.world.runs.iter().filter(surplus).collect();
        for run in surplus {
            let analysis = self.status.analysis_runs.iter().find(|status| status.analysis_run == run.name);
            let part = analysis.map(|status| Part::Analysis(status.name.clone()));
            let message = format!("Terminating AnalysisRun '{}'", run.name);
            self.plan.events.push(Event::normal("AnalysisRunTerminating", message));
            let action = ExperimentAction::TerminateRun { name: run.name.clone(), uid: run.uid.clone() };
            self.write(action, part, if is_ending { "the experiment ends" } else { "it does not count" });
        }
    }

    fn tend_analysis(&mut self, analysis: &ExperimentAnalysis, is_ending: bool) {
        let standing = self.standing(&analysis.name).cloned();
        let is_settled = standing
            .as_ref()
            .is_some_and(|status| status.phase.is_terminal() || self.owned(&status.analysis_run).is_some());
        if is_settled {
            return;
        }
        if is_ending {
            // It was begun and nobody will hear of it any more.
            if let Some(status) = standing {
                self.put(analysis, status.analysis_run, AnalysisPhase::Inconclusive, GONE.into());
            }
            return;
        }
        let Some(available_at) = self.stored.available_at else { return };
        let part = Part::Analysis(analysis.name.clone());
        if let Some(failure) = self.failure(&part).filter(|failure| failure.is_final) {
            let message = not_created(analysis, &failure.message);
            self.put(analysis, String::new(), AnalysisPhase::Error, message);
            return;
        }
        let spec = match self.run_spec(analysis, available_at.timestamp()) {
            Ok(spec) => spec,
            Err(problem) => {
                self.put(analysis, String::new(), AnalysisPhase::Error, not_created(analysis, &problem));
                return;
            }
        };
        let body = run::body(&spec);
        let base = format!("{}-{}", self.name(), analysis.name);
        // One that was made and not put on record.
        let is_for_this = |run: &&Arc<Run>| {
            let is_recorded = self.status.analysis_runs.iter().any(|status| status.analysis_run == run.name);
            is_named(&run.name, &base) && run.is_fresh() && run.body == body && !is_recorded
        };
        if let Some(run) = self.world.runs.iter().find(is_for_this) {
            let phase = if run.phase == AnalysisPhase::Unset { AnalysisPhase::Pending } else { run.phase };
            self.put(analysis, run.name.clone(), phase, run.message.clone());
            return;
        }
        if self.is_held() {
            return;
        }
        let mut name = base.clone();
        let mut number = 0_u32;
        while self.world.runs.iter().any(|run| run.name == name) {
            number += 1;
            name = format!("{base}.{number}");
        }
        let object = objects::analysis_run(self.experiment, &name, &spec);
        self.put(analysis, name.clone(), AnalysisPhase::Pending, String::new());
        self.write(ExperimentAction::CreateRun { name, base, object }, Some(part), "the pods are available");
    }

    /// Puts the spec of a run together. `available_at` is when the pods are available.
    fn run_spec(
        &self,
        analysis: &ExperimentAnalysis,
        available_at: Timestamp,
    ) -> Result<AnalysisRunSpec, String> {
        let rules = Rules { dry_run: &self.spec.dry_run, retention: &self.spec.measurement_retention };
        let references = [reference(analysis)];
        let spec = resolve::assemble(&references, &self.world.templates, rules, |arguments| {
            for given in &analysis.args {
                if let Some(argument) = arguments.iter_mut().find(|argument| argument.name == given.name) {
                    self.give(given, argument, available_at)?;
                }
            }
            Ok(())
        })?;
        match spec.metrics.iter().find_map(run::not_carried_out).or_else(|| run::first_mistake(&spec)) {
            Some(problem) => Err(problem),
            None => Ok(spec),
        }
    }

    /// Fills in what an Experiment gives to an argument. Argo Rollouts drops a Secret that is given here.
    fn give(&self, given: &Argument, argument: &mut Argument, available_at: Timestamp) -> Result<(), String> {
        if let Some(text) = &given.value {
            let values = |tag: &str| self.value(tag, available_at);
            argument.value = Some(template::render(text, &values).map_err(|error| error.to_string())?);
            argument.value_from = None;
        } else if let Some(from) = given.value_from.as_ref().filter(|from| from.secret_key_ref.is_some()) {
            argument.value = None;
            argument.value_from = Some(from.clone());
        }
        Ok(())
    }

    /// What stands in place of a tag in the value of an argument.
    fn value(&self, tag: &str, available_at: Timestamp) -> Option<String> {
        match tag {
            "experiment.availableAt" => return Some(rfc3339(available_at)),
            "experiment.finishedAt" => {
                let super::Duration::Of(duration) = self.duration() else { return None };
                return Some(rfc3339(available_at.checked_add(duration).ok()?));
            }
            _ => {}
        }
        let rest = tag.strip_prefix("templates.")?;
        let of = |suffix: &str| {
            let name = rest.strip_suffix(suffix)?;
            self.spec.templates.iter().find(|template| template.name == name)
        };
        let views = self.find_sets();
        let view = |name: &str| views.iter().find(|view| view.template.name == name);
        if let Some(template) = of(".podTemplateHash") {
            return view(&template.name).map(|view| self.hash_of(view));
        }
        of(".replicaset.name").and_then(|template| view(&template.name)).map(|view| self.set_name_of(view))
    }
}

fn rfc3339(at: Timestamp) -> String {
    sluice_api::Time::new(at).to_string()
}

fn not_created(analysis: &ExperimentAnalysis, problem: &str) -> String {
    format!("Failed to create AnalysisRun for analysis '{}': {problem}", analysis.name)
}

/// Whether a name is `base`, or `base` and a number behind it.
fn is_named(name: &str, base: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix('.').is_some_and(|number| number.parse::<u32>().is_ok());
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || number(rest))
}
