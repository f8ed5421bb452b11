//! What is told of an Experiment: conditions, events, and what is awaited.

use std::collections::BTreeMap;

use sluice_api::experiment::{ExperimentStatus, TemplateStatusCode};
use sluice_api::rollout::{ConditionStatus, RolloutCondition};
use sluice_api::{AnalysisPhase, Time};

use super::Look;
use super::sets::{NO_PORTS, View};
use crate::analysis::run;
use crate::conditions::{kind, reason};
use crate::plan::Event;

/// What is not to be found in those of a Rollout.
const EXPERIMENT_COMPLETED: &str = "ExperimentCompleted";

/// The most pods that each template has had available on its way up.
pub(super) fn marks(status: &ExperimentStatus) -> BTreeMap<String, i64> {
    let mark = status.conditions.iter().find(|condition| condition.type_ == kind::MOST_AVAILABLE);
    mark.and_then(|mark| serde_json::from_str(&mark.message).ok()).unwrap_or_default()
}

impl Look<'_> {
    /// Says that the spec cannot be carried out; nothing else is done.
    pub(super) fn refuse(&mut self, problem: &str) {
        if self.condition(kind::INVALID_SPEC).is_none_or(|old| old.message != problem) {
            self.plan.events.push(Event::warning(reason::INVALID_SPEC, problem));
        }
        self.set(kind::INVALID_SPEC, ConditionStatus::True, reason::INVALID_SPEC, problem);
        if !self.status.phase.is_terminal() {
            self.status.message = format!("{}: {problem}", reason::INVALID_SPEC);
        }
    }

    /// Puts everything into words that the look has found.
    pub(super) fn tell(&mut self, views: &[View]) {
        self.remove(kind::INVALID_SPEC);
        let phase = self.status.phase;
        if phase.is_terminal() {
            self.remove(kind::WAITING);
        } else {
            let are_pods_over = self.status.template_statuses.iter().all(|t| t.status.is_terminal());
            let wait = self.awaited(are_pods_over);
            self.set(kind::WAITING, ConditionStatus::True, wait.reason.label(), &wait.to_string());
            self.plan.wait = Some(wait);
            let progressing = views.iter().find(|view| {
                let status = self.status.template_statuses.iter().find(|s| s.name == view.template.name);
                status.is_some_and(|status| status.status == TemplateStatusCode::Progressing)
            });
            let set = progressing.and_then(|view| view.set).filter(|set| set.size > 0);
            self.plan.awaited = set.map(|set| (set.name.clone(), set.hash.clone()));
        }
        if self.marks.is_empty() || phase.is_terminal() {
            self.remove(kind::MOST_AVAILABLE);
        } else {
            let marks = serde_json::to_string(&self.marks).unwrap_or_default();
            self.set(kind::MOST_AVAILABLE, ConditionStatus::True, reason::HIGH_WATER, &marks);
        }
        self.tell_progress();
        self.tell_changes();
    }

    fn tell_progress(&mut self) {
        let name = self.name().to_owned();
        let says = |what: &str| format!("Experiment \"{name}\" {what}");
        match self.status.phase {
            AnalysisPhase::Successful => {
                let message = says("has successfully ran and completed.");
                self.set(kind::PROGRESSING, ConditionStatus::False, EXPERIMENT_COMPLETED, &message);
            }
            AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive => {
                let message = says(&format!("has ended: {}: {}", self.status.phase, self.status.message));
                let reason = format!("Experiment{}", self.status.phase);
                self.set(kind::PROGRESSING, ConditionStatus::False, &reason, &message);
            }
            AnalysisPhase::Running => {
                let message = says("is running.");
                self.set(kind::PROGRESSING, ConditionStatus::True, reason::NEW_AVAILABLE, &message);
            }
            AnalysisPhase::Unset | AnalysisPhase::Pending => {
                let message = says("is progressing.");
                self.set(kind::PROGRESSING, ConditionStatus::True, reason::UPDATED, &message);
            }
        }
    }

    /// Events about everything that stands differently from before.
    fn tell_changes(&mut self) {
        let none = "NoPreviousStatus";
        let mut events = Vec::new();
        for template in &self.status.template_statuses {
            let old = self.stored.template_statuses.iter().find(|old| old.name == template.name);
            let before = old.map_or(TemplateStatusCode::Unset, |old| old.status);
            if template.message == NO_PORTS && old.is_none_or(|old| old.message != NO_PORTS) {
                let message = format!("Template '{}': {NO_PORTS}", template.name);
                events.push(Event::warning("ServiceNotCreated", message));
            }
            if before == template.status {
                continue;
            }
            let from = if before == TemplateStatusCode::Unset { none } else { before.as_str() };
            let message =
                format!("Template '{}' transitioned from {from} -> {}", template.name, template.status);
            events.push(match template.status {
                TemplateStatusCode::Unset | TemplateStatusCode::Progressing => {
                    Event::normal("TemplateProgressing", message)
                }
                TemplateStatusCode::Running => Event::normal("TemplateRunning", message),
                TemplateStatusCode::Successful => Event::normal("TemplateSuccessful", message),
                TemplateStatusCode::Failed => {
                    Event::warning("TemplateFailed", message + ": " + &template.message)
                }
                TemplateStatusCode::Error => {
                    Event::warning("TemplateError", message + ": " + &template.message)
                }
            });
        }
        for analysis in &self.status.analysis_runs {
            let old = self.stored.analysis_runs.iter().find(|old| old.name == analysis.name);
            let before = old.map_or(AnalysisPhase::Unset, |old| old.phase);
            if before == analysis.phase {
                continue;
            }
            let from = if before == AnalysisPhase::Unset { none } else { before.as_str() };
            let mut message =
                format!("AnalysisRun '{}' transitioned from {from} -> {}", analysis.name, analysis.phase);
            if !analysis.message.is_empty() {
                message += &format!(": {}", analysis.message);
            }
            let (reason, is_warning) = run::event_of(analysis.phase);
            events.push(Event { is_warning, reason, message });
        }
        let (before, phase) = (self.stored.phase, self.status.phase);
        if before != phase {
            let from = if before == AnalysisPhase::Unset { none } else { before.as_str() };
            let message = format!("Experiment transitioned from {from} -> {phase}");
            events.push(match phase {
                AnalysisPhase::Unset | AnalysisPhase::Pending => Event::normal("ExperimentPending", message),
                AnalysisPhase::Running => Event::normal("ExperimentRunning", message),
                AnalysisPhase::Successful => Event::normal("ExperimentSuccessful", message),
                AnalysisPhase::Inconclusive => {
                    Event::warning("ExperimentInconclusive", message + ": " + &self.status.message)
                }
                AnalysisPhase::Failed => {
                    Event::warning("ExperimentFailed", message + ": " + &self.status.message)
                }
                AnalysisPhase::Error => {
                    Event::warning("ExperimentError", message + ": " + &self.status.message)
                }
            });
        }
        self.plan.events.extend(events);
    }

    fn condition(&self, kind: &str) -> Option<&RolloutCondition> {
        self.status.conditions.iter().find(|condition| condition.type_ == kind)
    }

    fn remove(&mut self, kind: &str) {
        self.status.conditions.retain(|condition| condition.type_ != kind);
    }

    /// Sets a condition in place: its time of transition says since when its status and reason stand.
    fn set(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
        let now = Some(Time::new(self.now));
        let mut message = message.to_owned();
        crate::measure::bounds::cut(&mut message, crate::measure::bounds::MAX_RUN_MESSAGE_BYTES);
        match self.status.conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(old) if old.status == status && old.reason == reason => {
                if old.message != message {
                    old.message = message;
                    old.last_update_time = now;
                }
            }
            found => {
                let condition = RolloutCondition {
                    type_: kind.into(),
                    status,
                    last_update_time: now,
                    last_transition_time: now,
                    reason: reason.into(),
                    message,
                };
                match found {
                    Some(old) => *old = condition,
                    None => self.status.conditions.push(condition),
                }
            }
        }
    }
}
