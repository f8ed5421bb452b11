//! The Experiment of a step: whether it is made, what its outcome does, which share of the traffic it gets.
//!
//! How an Experiment goes on is decided where Experiments are looked at. Here it is a trial that the step waits
//! for, as it waits for an analysis.

pub mod object;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_api::analysis::AnalysisPhase;
use sluice_api::experiment::{ExperimentSpec, TemplateStatusCode};
use sluice_api::rollout::{PauseCondition, PauseReason};
use sluice_api::steps::ExperimentStep;
use sluice_api::{Experiment, keys};

use crate::analysis::run::{self, Ended};
use crate::analysis::{Analysis, Verdict, says};
use crate::moves::{Wait, WaitReason};
use crate::pass::Pass;
use crate::plan::{Action, Event, Write};
use crate::traffic::Extra;

/// An experiment that a spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The block of the step.
    pub block: ExperimentStep,
    /// Its analyses, in their order, with the fields of the Rollout that their arguments name filled in.
    pub analyses: Vec<Arc<Analysis>>,
}

impl Setup {
    /// Its analyses, with the fields that name their templates, below `spec.strategy`. One that is not required
    /// ends with the experiment.
    pub fn analyses_at(&self, step: usize) -> Vec<(String, &Arc<Analysis>, bool)> {
        let blocks = self.block.analyses.iter().zip(&self.analyses).enumerate();
        let field = |index| format!("canary.steps[{step}].experiment.analyses[{index}].templateName");
        blocks.map(|(index, (given, one))| (field(index), one, !given.required_for_completion)).collect()
    }
}

/// An Experiment of a Rollout, as far as a step looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Label `rollouts-pod-template-hash`: the version that it was made for.
    pub hash: String,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// Being deleted.
    pub is_deleting: bool,
    /// It was told to end.
    pub is_terminating: bool,
    /// `status.phase`.
    pub phase: AnalysisPhase,
    /// `status.message`.
    pub message: String,
    /// What it runs, as one number.
    pub body: u64,
    /// Its templates that have pods which can answer.
    pub serving: Vec<Serving>,
}

/// A template of an Experiment that has pods which can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its name.
    pub template: String,
    /// The Service that leads to its pods.
    pub service: String,
    /// The hash of its pods.
    pub hash: String,
}

impl Trial {
    /// Takes over an Experiment.
    pub fn of(experiment: &Experiment) -> Trial {
        let metadata = &experiment.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
        let status = experiment.status.clone().unwrap_or_default();
        let serving = status.template_statuses.iter().filter(|template| {
            template.status == TemplateStatusCode::Running
                && template.available_replicas > 0
                && !template.service_name.is_empty()
        });
        Trial {
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            resource_version: text(&metadata.resource_version),
            hash: label(keys::POD_TEMPLATE_HASH).unwrap_or_default(),
            created_at: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            is_deleting: metadata.deletion_timestamp.is_some(),
            is_terminating: experiment.spec.terminate,
            body: body(&experiment.spec),
            serving: serving
                .map(|template| Serving {
                    template: template.name.clone(),
                    service: template.service_name.clone(),
                    hash: template.pod_template_hash.clone(),
                })
                .collect(),
            phase: status.phase,
            message: status.message,
        }
    }

    /// How it stands, in words; its own name is not repeated.
    fn says(&self) -> String {
        let own = format!("Experiment {}: ", self.name);
        says(self.phase, self.message.strip_prefix(&own).unwrap_or(&self.message))
    }

    /// Whether it may still tell something.
    pub fn is_fresh(&self) -> bool {
        !self.phase.is_terminal() && !self.is_terminating && !self.is_deleting
    }
}

/// What an Experiment runs, as one number; pod templates aside, which follow from the version that it is for.
fn body(spec: &ExperimentSpec) -> u64 {
    let template = |template: &sluice_api::experiment::TemplateSpec| {
        json!([template.name, template.replicas.unwrap_or(1), template.service])
    };
    let templates: Vec<Value> = spec.templates.iter().map(template).collect();
    run::digest(json!([
        templates,
        spec.duration,
        spec.progress_deadline_seconds,
        spec.analyses,
        spec.scale_down_delay_seconds,
        spec.dry_run,
        spec.analysis_run_metadata,
    ]))
}

/// The templates that are to get a share and cannot have one.
fn unserved(setup: &Setup, trial: &Trial) -> Option<String> {
    let weighted = setup.block.templates.iter().filter(|template| template.weight.is_some());
    let names: Vec<&str> = weighted
        .map(|template| template.name.as_str())
        .filter(|name| trial.serving.iter().all(|serving| serving.template != *name))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "no share for {}: no Service leads to ready pods of it (it needs a container port)",
            names.join(", ")
        )
    })
}

impl Pass<'_> {
    fn trial(&self, name: &str) -> Option<Arc<Trial>> {
        self.world.trials.iter().find(|trial| trial.name == name).cloned()
    }

    fn recorded_trial(&self) -> Option<Arc<Trial>> {
        self.trial(&self.status.canary.current_experiment)
    }

    /// Whether an experiment is on record.
    pub fn has_trial(&self) -> bool {
        self.recorded_trial().is_some()
    }

    /// What the experiment of the step at hand says; makes one if there is none.
    pub fn try_out(&mut self, setup: &Setup) -> Verdict {
        let Some(trial) = self.recorded_trial() else { return Verdict::Waits(self.begin_trial(setup)) };
        let wait = |wanted: &str| Wait {
            reason: WaitReason::Analysis,
            object: format!("Experiment {}", trial.name),
            seen: trial.says(),
            wanted: wanted.into(),
        };
        match trial.phase {
            AnalysisPhase::Successful => Verdict::Passed,
            AnalysisPhase::Failed | AnalysisPhase::Error => {
                let more =
                    if trial.message.is_empty() { String::new() } else { format!(": {}", trial.message) };
                Verdict::Failed(format!("Experiment analysis phase is error/failed{more}"))
            }
            AnalysisPhase::Inconclusive => Verdict::Inconclusive(wait(super::analysis::PERSON)),
            AnalysisPhase::Running => {
                let wait = wait("Successful");
                let seen = match unserved(setup, &trial) {
                    Some(unserved) => format!("{}, and {unserved}", wait.seen),
                    None => wait.seen,
                };
                Verdict::Waits(Wait { seen, ..wait })
            }
            AnalysisPhase::Unset | AnalysisPhase::Pending => Verdict::Waits(wait("Successful")),
        }
    }

    /// Heeds an experiment that has failed although nothing goes on at the moment: an abort wins over a halt.
    pub fn heed_trial(&mut self, setup: &Setup) {
        let has_failed =
            |trial: Arc<Trial>| matches!(trial.phase, AnalysisPhase::Failed | AnalysisPhase::Error);
        if self.recorded_trial().is_some_and(has_failed)
            && let Verdict::Failed(cause) = self.try_out(setup)
        {
            self.abort(cause);
        }
    }

    /// Pauses, because an experiment cannot tell good from bad. It is off the record from here on, so that whoever
    /// resumes gets another one.
    pub fn pause_after_trial(&mut self) {
        self.status.canary.current_experiment.clear();
        self.pause_for_a_person(PauseReason::InconclusiveExperiment);
    }

    /// What a pause after an experiment waits for.
    pub fn explain_trial(&self) -> Option<Wait> {
        let is_paused = |pause: &PauseCondition| pause.reason == PauseReason::InconclusiveExperiment;
        if !self.status.pause_conditions.iter().any(is_paused) {
            return None;
        }
        let open =
            |trial: &&Arc<Trial>| trial.phase == AnalysisPhase::Inconclusive && trial.hash == self.hash;
        let trial = self.world.trials.iter().filter(open).max_by_key(|trial| trial.created_at);
        Some(Wait {
            reason: WaitReason::Analysis,
            object: trial
                .map_or_else(|| "Experiment".to_owned(), |trial| format!("Experiment {}", trial.name)),
            seen: trial.map_or_else(|| "Inconclusive".to_owned(), |trial| trial.says()),
            wanted: super::analysis::PERSON.into(),
        })
    }

    /// Makes the Experiment of the step at hand, or takes one up that was made for it and is not on record.
    fn begin_trial(&mut self, setup: &Setup) -> Wait {
        let missing = |seen: String, wanted: &str| Wait {
            reason: WaitReason::Analysis,
            object: "experiment".into(),
            seen,
            wanted: wanted.into(),
        };
        let made = match object::make(self, setup) {
            Ok(made) => made,
            Err(problem) => return missing(problem, "ReplicaSets and arguments that fit"),
        };
        let base = format!("{}-{}-{}-{}", self.rollout.name, self.hash, self.revision, self.index);
        let numbered = format!("{base}-");
        let body = body(&made.spec);
        let is_for_this = |trial: &&Arc<Trial>| {
            let number = trial.name.strip_prefix(&numbered);
            let is_named = trial.name == base || number.is_some_and(|rest| rest.parse::<u32>().is_ok());
            is_named && trial.is_fresh() && trial.body == body && trial.hash == self.hash
        };
        let wait = |name: &str, seen: &str| Wait {
            reason: WaitReason::Analysis,
            object: format!("Experiment {name}"),
            seen: seen.into(),
            wanted: "Successful".into(),
        };
        if let Some(trial) = self.world.trials.iter().find(is_for_this).cloned() {
            self.status.canary.current_experiment.clone_from(&trial.name);
            return wait(&trial.name, &trial.says());
        }
        let mut name = base;
        let mut number = 0;
        while self.trial(&name).is_some() {
            number += 1;
            name = format!("{numbered}{number}");
        }
        let object = object::complete(self, &name, &made.spec);
        let reason = format!("experiment of step {} of revision {}", self.index + 1, self.revision);
        let action = Action::CreateExperiment { name: name.clone(), object, pods_of: made.pods_of };
        self.last_writes.push(Write { action, reason });
        self.plan.events.push(Event::normal("ExperimentCreated", format!("Created Experiment '{name}'")));
        self.status.canary.current_experiment.clone_from(&name);
        wait(&name, "just created")
    }

    /// The share that the running experiment gets, by the Services that it made: only those with pods that answer.
    pub fn shares_of_trial(&self, setup: &Setup) -> Vec<Extra> {
        let running =
            self.recorded_trial().filter(|trial| trial.phase == AnalysisPhase::Running && trial.is_fresh());
        let Some(trial) = running.filter(|_| !self.is_beyond_analysis()) else { return Vec::new() };
        let weighted = setup.block.templates.iter().filter_map(|template| Some((template, template.weight?)));
        weighted
            .filter_map(|(template, weight)| {
                let serving = trial.serving.iter().find(|serving| serving.template == template.name)?;
                Some(Extra {
                    service: serving.service.clone(),
                    hash: serving.hash.clone(),
                    weight: i64::from(weight),
                })
            })
            .collect()
    }

    /// Ends Experiments that do not count any more, and clears away what nobody needs.
    pub fn tend_trials(&mut self) {
        if self.is_beyond_analysis() {
            self.status.canary.current_experiment.clear();
        }
        let current = self.status.canary.current_experiment.clone();
        let mut others = Vec::new();
        for trial in self.world.trials.iter().filter(|trial| !trial.is_deleting) {
            if trial.name == current {
                continue;
            }
            if trial.is_fresh() {
                let action = Action::TerminateExperiment { name: trial.name.clone(), uid: trial.uid.clone() };
                let reason = "it does not count any more".into();
                self.last_writes.push(Write { action, reason });
            }
            others.push(trial);
        }
        others.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.name.cmp(&b.name)));
        others.retain(|trial| trial.phase.is_terminal());
        let ended: Vec<Ended> = others
            .iter()
            .map(|trial| Ended {
                hash: &trial.hash,
                place: ("", None),
                is_good: trial.phase == AnalysisPhase::Successful,
            })
            .collect();
        let in_use = [self.hash.as_str(), self.status.stable_rs.as_str()];
        for (index, reason) in run::surplus_of(&ended, &self.world.replica_sets, in_use, self.spec.run_limits)
        {
            let trial = others[index];
            let action = Action::DeleteExperiment {
                name: trial.name.clone(),
                uid: trial.uid.clone(),
                resource_version: trial.resource_version.clone(),
            };
            self.last_writes.push(Write { action, reason });
        }
    }
}
