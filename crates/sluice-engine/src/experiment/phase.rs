//! How an Experiment stands as a whole.
//!
//! Same table as Argo Rollouts v1.10, `experiments/experiment.go`, but for three cases in which an Experiment never
//! ended or passed without a judgement: required analyses that have passed end it although others still run; a
//! required analysis that ended without having judged anything, or that never began, leaves it Inconclusive; and
//! required analyses are run even where there are no pods.

use sluice_api::experiment::{TemplateStatus, TemplateStatusCode};
use sluice_api::{AnalysisPhase, Time};

use super::Look;
use crate::moves::{Wait, WaitReason};

/// What is told when required analyses have ended it.
const REQUIRED_DONE: &str = "Required AnalysisRuns completed";

fn rank(code: TemplateStatusCode) -> u8 {
    match code {
        TemplateStatusCode::Successful => 0,
        TemplateStatusCode::Running => 1,
        TemplateStatusCode::Unset | TemplateStatusCode::Progressing => 2,
        TemplateStatusCode::Error => 3,
        TemplateStatusCode::Failed => 4,
    }
}

impl Look<'_> {
    /// The worst template; the first of several that are as bad.
    fn worst_template(&self) -> Option<&TemplateStatus> {
        self.status.template_statuses.iter().rev().max_by_key(|template| rank(template.status))
    }

    /// Says how the whole stands. The end is final.
    pub(super) fn judge(&mut self) {
        if self.status.phase.is_terminal() {
            return;
        }
        let template = self.worst_template().cloned();
        let code = template.as_ref().map_or(TemplateStatusCode::Successful, |template| template.status);
        let has_required = self.required().next().is_some();
        // Where there are no pods, they are there at once.
        let is_bare = self.spec.templates.is_empty() && has_required && !self.spec.terminate;
        if self.status.available_at.is_none() && (code == TemplateStatusCode::Running || is_bare) {
            self.status.available_at = Some(Time::new(self.now));
        }
        let (phase, message) = self.outcome(code, template.as_ref());
        self.status.phase = phase;
        self.status.message = message;
        if !phase.is_terminal() && !self.is_duration_over() {
            let at = self.over_at().and_then(|at| at.checked_add(super::TICK).ok());
            self.recheck(at);
        }
    }

    fn outcome(
        &self,
        code: TemplateStatusCode,
        template: Option<&TemplateStatus>,
    ) -> (AnalysisPhase, String) {
        let told = template.map(|template| template.message.clone()).unwrap_or_default();
        match code {
            TemplateStatusCode::Failed => return (AnalysisPhase::Failed, told),
            TemplateStatusCode::Error => return (AnalysisPhase::Error, told),
            TemplateStatusCode::Unset
            | TemplateStatusCode::Progressing
            | TemplateStatusCode::Running
            | TemplateStatusCode::Successful => {}
        }
        if let Some(bad) = self.worst_ended_badly() {
            return (bad.phase, bad.message.clone());
        }
        let open = self.required().find(|analysis| !self.has_passed(analysis));
        let has_required = self.required().next().is_some();
        match open {
            None if has_required => return (AnalysisPhase::Successful, REQUIRED_DONE.into()),
            // All that has ended has ended well; what did not pass has not judged anything.
            Some(analysis) if self.are_required_done() => {
                let name = &analysis.name;
                return (
                    AnalysisPhase::Inconclusive,
                    format!("required analysis '{name}' has ended and not every metric was measured well"),
                );
            }
            Some(_) | None => {}
        }
        let is_over = code == TemplateStatusCode::Successful;
        match code {
            TemplateStatusCode::Successful if !has_required => (AnalysisPhase::Successful, String::new()),
            TemplateStatusCode::Successful if self.is_ending() && self.has_unbegun() => {
                let unbegun = self.required().find(|analysis| self.standing(&analysis.name).is_none());
                let name = unbegun.map(|analysis| analysis.name.as_str()).unwrap_or_default();
                (AnalysisPhase::Inconclusive, format!("ended before required analysis '{name}' was begun"))
            }
            TemplateStatusCode::Successful | TemplateStatusCode::Running => {
                (AnalysisPhase::Running, self.awaited(is_over).to_string())
            }
            TemplateStatusCode::Unset
            | TemplateStatusCode::Progressing
            | TemplateStatusCode::Failed
            | TemplateStatusCode::Error => (AnalysisPhase::Pending, self.awaited(is_over).to_string()),
        }
    }

    /// Whether a required analysis has not been begun.
    fn has_unbegun(&self) -> bool {
        self.required().any(|analysis| self.standing(&analysis.name).is_none())
    }

    /// What an Experiment waits for that goes on.
    pub(super) fn awaited(&self, are_pods_over: bool) -> Wait {
        let progressing =
            self.status.template_statuses.iter().find(|t| t.status == TemplateStatusCode::Progressing);
        if let Some(template) = progressing {
            let (object, seen) = template.message.split_once(": ").unwrap_or(("pods", &template.message));
            let wanted = self.spec.templates.iter().find(|spec| spec.name == template.name);
            let wanted = wanted.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
            return Wait {
                reason: WaitReason::Pods,
                object: object.to_owned(),
                seen: seen.to_owned(),
                wanted: format!("{wanted} available"),
            };
        }
        let over_at = self.over_at();
        let open = self.required().find(|analysis| !self.has_passed(analysis));
        if let Some(analysis) = open {
            let standing = self.standing(&analysis.name);
            let run = standing.map(|status| status.analysis_run.as_str()).filter(|run| !run.is_empty());
            let phase = standing.map_or("not begun", |status| status.phase.as_str());
            let seen = match over_at.filter(|_| !are_pods_over) {
                Some(at) => format!("{phase}, pods stay until {}", Time::new(at)),
                None => phase.to_owned(),
            };
            return Wait {
                reason: WaitReason::Analysis,
                object: run.map_or_else(
                    || format!("analysis {}", analysis.name),
                    |run| format!("AnalysisRun {run}"),
                ),
                seen,
                wanted: "Successful".into(),
            };
        }
        let (seen, wanted) = match (over_at, self.duration()) {
            (Some(at), _) => (format!("runs until {}", Time::new(at)), "the end of its duration"),
            (None, super::Duration::Unreadable) => (
                format!("runs without end, because {:?} is not a duration such as 1h30m", self.spec.duration),
                "terminate",
            ),
            (None, super::Duration::Endless | super::Duration::Of(_)) => {
                ("runs without end".to_owned(), "terminate")
            }
        };
        Wait {
            reason: WaitReason::Pause,
            object: format!("Experiment {}", self.name()),
            seen,
            wanted: wanted.into(),
        }
    }
}
