//! An analysis run as its Rollout sees it: whose it is, what it is for, how it stands.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, AnalysisRunSpec, Metric};
use sluice_api::gates::{BaselineMethod, Origin};
use sluice_api::providers::{Provider, Sigv4};
use sluice_api::{IntOrString, keys, validation};

use super::Slot;
use crate::measure::Position;
use crate::world::ReplicaSet;

/// An analysis run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// Being deleted.
    pub is_deleting: bool,
    /// Label `rollouts-pod-template-hash`.
    pub hash: String,
    /// Label `rollout-type`.
    pub kind: String,
    /// Label `step-index`.
    pub step: Option<usize>,
    /// `spec.terminate`.
    pub is_terminating: bool,
    /// What it measures, to tell whether it is the same as another's.
    pub body: u64,
    /// `status.phase`.
    pub phase: AnalysisPhase,
    /// `status.message`.
    pub message: String,
    /// Every metric that counts has been measured well at least once.
    pub is_proven: bool,
    /// Its limits depend on where the Rollout stands.
    pub follows: bool,
    /// Where it was last told that the Rollout stands.
    pub position: Position,
}

impl Run {
    /// Whether it is for this place.
    pub fn fits(&self, slot: Slot) -> bool {
        let is_step = match slot {
            Slot::Step(index) => self.step == Some(index),
            Slot::Background | Slot::PrePromotion | Slot::PostPromotion => true,
        };
        is_step && self.kind == slot.label() && !self.is_deleting
    }

    /// Whether it goes on, and nobody has asked it to end.
    pub fn is_fresh(&self) -> bool {
        !self.phase.is_terminal() && !self.is_terminating && !self.is_deleting
    }
}

/// A run and who controls it.
#[derive(Clone, Debug)]
pub struct OwnedRun {
    /// Who controls it.
    pub owner: RunOwner,
    /// The run.
    pub run: Arc<Run>,
}

/// Who controls a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOwner {
    /// Nobody: a person made it.
    Nobody,
    /// A Rollout: name and uid.
    Rollout(String, String),
    /// An Experiment: name and uid.
    Experiment(String, String),
    /// Something else.
    Other,
}

/// What a run measures, as one number. Differs between processes' builds, so it is never written.
pub fn body(spec: &AnalysisRunSpec) -> u64 {
    digest(json!([spec.metrics, spec.dry_run, spec.measurement_retention, spec.args]))
}

/// A value that says the same as another one has the same number.
pub fn digest(mut value: Value) -> u64 {
    strip(&mut value);
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Takes out members that say nothing: Argo Rollouts writes empty objects where templates have none.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(strip);
            map.retain(|_, value| !says_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: crate::spec::WireMeta,
    #[serde(default)]
    spec: AnalysisRunSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireStatus {
    phase: AnalysisPhase,
    message: String,
    metric_results: Vec<WireResult>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireResult {
    dry_run: bool,
    successful: i64,
}

impl WireStatus {
    fn is_proven(&self, metrics: usize) -> bool {
        let results = &self.metric_results;
        results.len() >= metrics && results.iter().all(|result| result.dry_run || result.successful > 0)
    }
}

/// Takes over an analysis run.
///
/// # Errors
/// What of the object cannot be read.
pub fn read(object: Value) -> Result<OwnedRun, serde_json::Error> {
    let wire: Wire = serde_json::from_value(object)?;
    let metadata = wire.metadata;
    let label = |key: &str| metadata.labels.get(key).cloned().unwrap_or_default();
    let owner = match metadata.owner_references.iter().find(|owner| owner.controller) {
        None => RunOwner::Nobody,
        Some(owner) if owner.kind == "Rollout" => RunOwner::Rollout(owner.name.clone(), owner.uid.clone()),
        Some(owner) if owner.kind == "Experiment" => {
            RunOwner::Experiment(owner.name.clone(), owner.uid.clone())
        }
        Some(_) => RunOwner::Other,
    };
    let run = Run {
        hash: label(keys::POD_TEMPLATE_HASH),
        kind: label(keys::ROLLOUT_TYPE),
        step: label(keys::STEP_INDEX).parse().ok(),
        created_at: metadata.creation_timestamp.unwrap_or_default(),
        is_deleting: metadata.deletion_timestamp.is_some(),
        is_terminating: wire.spec.terminate,
        body: body(&wire.spec),
        follows: follows(&wire.spec),
        position: Position::of(Some(&metadata.annotations)),
        is_proven: wire.status.is_proven(wire.spec.metrics.len()),
        phase: wire.status.phase,
        message: wire.status.message,
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
    };
    Ok(OwnedRun { owner, run: Arc::new(run) })
}

/// Whether limits in a spec depend on where the Rollout stands.
pub fn follows(spec: &AnalysisRunSpec) -> bool {
    spec.metrics.iter().any(Metric::follows_position)
}

/// Whether a metric goes on until somebody ends it. That of a dependency ends with the others.
pub fn is_endless(metric: &Metric) -> bool {
    let count = match &metric.count {
        None => 0,
        Some(IntOrString::Int(count)) => i64::from(*count),
        // What an argument gives is known when there is one.
        Some(IntOrString::Text(text)) => text.parse().unwrap_or(i64::from(text.contains("{{"))),
    };
    metric.origin == Origin::Own && !metric.interval.is_empty() && count <= 0
}

/// Why a metric cannot be measured by this build. A Rollout that needs it is held: a measurement that can only fail
/// would take every update back.
pub fn not_carried_out(metric: &Metric) -> Option<String> {
    let what = match metric.provider.providers()[..] {
        [Provider::Plugin(..)] => "a plugin",
        [Provider::CloudWatch(_)] => "CloudWatch",
        [Provider::Prometheus(block)]
            if block.authentication.as_ref().is_some_and(|a| a.sigv4 != Sigv4::default()) =>
        {
            "Prometheus with authentication.sigv4"
        }
        _ if metric.baseline.as_ref().is_some_and(|b| b.method == BaselineMethod::Sequential) => {
            return Some(format!(
                "metric {}: baseline.method is sequential, which is not carried out by this build: use ratio, or a build that does",
                metric.name
            ));
        }
        _ => return None,
    };
    Some(format!(
        "metric {} is measured by {what}, which is not carried out by this build: use another provider, or a build that does",
        metric.name
    ))
}

/// The first mistake in the metrics of a run, apart from what arguments give.
pub fn first_mistake(spec: &AnalysisRunSpec) -> Option<String> {
    if spec.metrics.is_empty() {
        return Some("no metrics specified".into());
    }
    let is_open = |metric: &Metric| serde_json::to_string(metric).unwrap_or_default().contains("{{");
    // Which fields make a gate, and whether they fit together, hangs on no argument.
    let of_gate =
        |metric: &Metric| Some((metric.name.clone(), validation::gate_mistakes(metric).into_iter().next()?));
    if let Some((name, mistake)) = spec.metrics.iter().filter(|metric| is_open(metric)).find_map(of_gate) {
        return Some(format!("metric {name}: {mistake}"));
    }
    let fixed = AnalysisRunSpec {
        metrics: spec.metrics.iter().filter(|metric| !is_open(metric)).cloned().collect(),
        ..AnalysisRunSpec::default()
    };
    if fixed.metrics.is_empty() {
        return None;
    }
    // What judges the change may be among those that are left out.
    let is_partial = fixed.metrics.len() < spec.metrics.len();
    let mistakes = validation::validate_analysis_run(&fixed);
    mistakes.iter().find(|mistake| !is_partial || mistake.path != "metrics").map(ToString::to_string)
}

/// The reason of the event about a phase, and whether it is a warning.
pub fn event_of(phase: AnalysisPhase) -> (&'static str, bool) {
    match phase {
        AnalysisPhase::Unset | AnalysisPhase::Pending => ("AnalysisRunPending", false),
        AnalysisPhase::Running => ("AnalysisRunRunning", false),
        AnalysisPhase::Successful => ("AnalysisRunSuccessful", false),
        AnalysisPhase::Inconclusive => ("AnalysisRunInconclusive", false),
        AnalysisPhase::Failed => ("AnalysisRunFailed", true),
        AnalysisPhase::Error => ("AnalysisRunError", true),
    }
}

/// How many finished runs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Of those that ended well.
    pub successful: usize,
    /// Of the others.
    pub unsuccessful: usize,
}

impl Default for RunLimits {
    fn default() -> RunLimits {
        RunLimits { successful: 5, unsuccessful: 5 }
    }
}

/// The finished runs that nobody needs, of `others`: the newest first, without those that count.
pub fn surplus<'a>(
    others: &[&'a Arc<Run>],
    sets: &[Arc<ReplicaSet>],
    in_use: [&str; 2],
    limits: RunLimits,
) -> Vec<(&'a Run, String)> {
    let ended: Vec<&'a Run> =
        others.iter().map(|run| &***run).filter(|run| run.phase.is_terminal()).collect();
    let is_good = |run: &Run| run.phase == AnalysisPhase::Successful;
    let facts: Vec<Ended> = ended
        .iter()
        .map(|run| Ended { hash: &run.hash, place: (&run.kind, run.step), is_good: is_good(run) })
        .collect();
    let surplus = surplus_of(&facts, sets, in_use, limits).into_iter();
    surplus.filter_map(|(index, reason)| Some((*ended.get(index)?, reason))).collect()
}

/// What counts of a run or an experiment that has ended, when it is asked who still needs it.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The version that it was about.
    pub hash: &'a str,
    /// The place that it was for.
    pub place: (&'a str, Option<usize>),
    /// It ended well.
    pub is_good: bool,
}

/// Which of `ended`, the newest first, nobody needs, and why. What a version in use (by its hash) was last told at
/// each of its places stays, whatever the limits.
pub fn surplus_of(
    ended: &[Ended],
    sets: &[Arc<ReplicaSet>],
    in_use: [&str; 2],
    limits: RunLimits,
) -> Vec<(usize, String)> {
    let (mut successful, mut unsuccessful) = (0, 0);
    let mut surplus = Vec::new();
    let mut places = BTreeSet::new();
    for (index, one) in ended.iter().enumerate() {
        let is_last_word = places.insert((one.hash, one.place));
        if is_last_word && !one.hash.is_empty() && in_use.contains(&one.hash) {
            continue;
        }
        let is_of_a_version =
            sets.iter().any(|set| !one.hash.is_empty() && set.hash == one.hash && !set.is_deleting);
        if !is_of_a_version {
            surplus.push((index, "its version is gone".to_owned()));
            continue;
        }
        let (kept, limit, what) = if one.is_good {
            (&mut successful, limits.successful, "successful")
        } else {
            (&mut unsuccessful, limits.unsuccessful, "unsuccessful")
        };
        *kept += 1;
        if *kept > limit {
            surplus.push((index, format!("more than {limit} {what} runs")));
        }
    }
    surplus
}
