//! Experiments: several sets of pods side by side for a while, and analyses of them.
//!
//! Decides what one Experiment does next and how it stands. What its runs measure is `measure`; what a Rollout makes
//! of its Experiment is the Rollout's business. Sizes, and which pods a Service leads to, come from `moves`.
//!
//! Same rules as Argo Rollouts v1.10, `experiments/`. The differences are named where they are made. The common threads:
//! an Experiment always ends, whatever its runs do; a required analysis that never judged anything passes nothing; and
//! whatever is awaited or left out is told.
//!
//! Levels and not edges: every look compares what is there with what is to be there, so that whoever dies on the way
//! starts over from what is stored. One that has ended is looked at until its pods, its Service and its runs are
//! gone or done, and then costs nothing.
//!
//! In reading order: [`world`] (what is looked at and asked for), `sets` (pods and Services), `analyses`, `phase`,
//! `telling` (conditions, events, waits), [`objects`].

mod analyses;
pub mod objects;
mod phase;
mod sets;
mod telling;
#[cfg(test)]
mod tests;
pub mod world;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sluice_api::experiment::{ExperimentSpec, ExperimentStatus, TemplateStatusCode};
use sluice_api::{AnalysisPhase, Experiment, defaults, validation};
use sluice_lang::go_duration;

pub use self::analyses::reference;
pub use self::world::{
    ExperimentAction, ExperimentPlan, ExperimentWorld, ExperimentWrite, Failure, FoundService, Part,
};
use crate::measure::bounds;

/// How long after an instant it has passed for certain.
const TICK: SignedDuration = SignedDuration::from_millis(1);

/// Decides what an Experiment does now.
pub fn decide_experiment(world: &ExperimentWorld, now: Timestamp) -> ExperimentPlan {
    let stored = world.experiment.status.clone().unwrap_or_default();
    if world.experiment.metadata.deletion_timestamp.is_some() {
        // What it owns goes with it.
        return ExperimentPlan { status: stored, ..ExperimentPlan::default() };
    }
    let mut look = Look::new(world, stored, now);
    match world.malformed.map(str::to_owned).or_else(|| invalid(world.experiment)) {
        Some(problem) => look.refuse(&problem),
        None => look.all(),
    }
    look.finish()
}

/// The first mistake that keeps an Experiment from being carried out.
fn invalid(experiment: &Experiment) -> Option<String> {
    if let Some(error) = validation::validate_experiment(&experiment.spec).first() {
        return Some(error.to_string());
    }
    let analyses = &experiment.spec.analyses;
    let repeats = |(index, name): (usize, &String)| analyses[..index].iter().any(|other| other.name == *name);
    let names = analyses.iter().map(|analysis| &analysis.name);
    let repeated = names.enumerate().find(|one| repeats(*one))?;
    Some(format!(
        "Experiment {} has repeated analysis name '{}' in analyses",
        objects::name(experiment),
        repeated.1
    ))
}

/// How long an Experiment goes on once its pods are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duration {
    /// Until somebody or something ends it.
    Endless,
    /// The same, because what stands there is no duration.
    Unreadable,
    /// This long.
    Of(SignedDuration),
}

/// One look at an Experiment.
struct Look<'a> {
    world: &'a ExperimentWorld<'a>,
    experiment: &'a Experiment,
    spec: &'a ExperimentSpec,
    stored: ExperimentStatus,
    status: ExperimentStatus,
    now: Timestamp,
    plan: ExperimentPlan,
    /// The most pods that a template has had available on its way up.
    marks: BTreeMap<String, i64>,
}

impl<'a> Look<'a> {
    fn new(world: &'a ExperimentWorld<'a>, stored: ExperimentStatus, now: Timestamp) -> Look<'a> {
        let marks = telling::marks(&stored);
        Look {
            experiment: world.experiment,
            spec: &world.experiment.spec,
            status: stored.clone(),
            plan: ExperimentPlan::default(),
            world,
            stored,
            now,
            marks,
        }
    }

    fn all(&mut self) {
        self.copy_runs();
        let views = self.find_sets();
        self.judge_templates(&views);
        self.judge();
        self.tend_sets(&views);
        self.tend_analyses();
        self.tell(&views);
    }

    fn finish(mut self) -> ExperimentPlan {
        bounds::cut(&mut self.status.message, bounds::MAX_RUN_MESSAGE_BYTES);
        for template in &mut self.status.template_statuses {
            bounds::cut(&mut template.message, bounds::MAX_MESSAGE_BYTES);
        }
        for analysis in &mut self.status.analysis_runs {
            bounds::cut(&mut analysis.message, bounds::MAX_RUN_MESSAGE_BYTES);
        }
        self.plan.status_changed = self.status != self.stored;
        self.plan.status = self.status;
        self.plan
    }

    fn name(&self) -> &'a str {
        objects::name(self.experiment)
    }

    fn recheck(&mut self, at: Option<Timestamp>) {
        self.plan.recheck_at = [self.plan.recheck_at, at].into_iter().flatten().min();
    }

    /// Whether only the state is told until a write that failed is tried again.
    fn is_held(&self) -> bool {
        self.world.failed.as_ref().is_some_and(|failure| !failure.is_final)
    }

    /// The failure of a write for a part.
    fn failure(&self, part: &Part) -> Option<&'a Failure> {
        self.world.failed.as_ref().filter(|failure| failure.part == *part)
    }

    fn duration(&self) -> Duration {
        let text = self.spec.duration.trim();
        if text.is_empty() {
            return Duration::Endless;
        }
        go_duration::parse(text).map_or(Duration::Unreadable, Duration::Of)
    }

    /// When the duration is over; `None`: not as things stand.
    fn over_at(&self) -> Option<Timestamp> {
        let Duration::Of(duration) = self.duration() else { return None };
        let available_at = self.status.available_at?.timestamp();
        // One that is longer than time itself has no end.
        available_at.checked_add(duration).ok()
    }

    fn is_duration_over(&self) -> bool {
        self.over_at().is_some_and(|at| at < self.now)
    }

    fn progress_deadline(&self) -> i32 {
        self.spec.progress_deadline_seconds.unwrap_or(defaults::PROGRESS_DEADLINE_SECONDS)
    }

    fn scale_down_delay(&self) -> SignedDuration {
        let seconds = self.spec.scale_down_delay_seconds.unwrap_or(defaults::SCALE_DOWN_DELAY_SECONDS);
        SignedDuration::from_secs(i64::from(seconds))
    }

    /// Whether nothing more is begun: it was told to end, or something has decided how it ends.
    fn is_ending(&self) -> bool {
        let has_failed_template = self.status.template_statuses.iter().any(|template| {
            matches!(template.status, TemplateStatusCode::Failed | TemplateStatusCode::Error)
        });
        self.spec.terminate
            || self.status.phase.is_terminal()
            || has_failed_template
            || self.worst_ended_badly().is_some()
            || self.are_required_done()
    }
}

/// Worse is greater.
fn badness(phase: AnalysisPhase) -> u8 {
    match phase {
        AnalysisPhase::Unset | AnalysisPhase::Successful => 0,
        AnalysisPhase::Running => 1,
        AnalysisPhase::Pending => 2,
        AnalysisPhase::Inconclusive => 3,
        AnalysisPhase::Error => 4,
        AnalysisPhase::Failed => 5,
    }
}
