//! What a decision looks at: plain data, already parsed, nothing that can be asked for more.
//!
//! A [`World`] holds everything that the decision about one Rollout can depend on. It is put together
//! by whoever watches the cluster; nothing here reads a cache or a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_api::rollout::{ConditionStatus, RolloutStatus};
use sluice_api::traffic_routing::TrafficRouting;
use sluice_api::{IntOrString, LabelSelector};

use crate::analysis::run::RunLimits;
use crate::analysis::{Analyses, Analysis};
use crate::moves::{LiveWeight, ManagedRoutes, ScaleDown, Threshold};
use crate::parts::Parts;
use crate::replicas::Corridor;
use crate::template::{self, Injected, TemplateDigest};
use crate::traffic::{ManagedRoute, Routes, SubsetPair};
use crate::trial::{Setup, Trial};

/// Everything that one Rollout's decision can depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// The Rollout.
    pub rollout: Arc<Rollout>,
    /// The ReplicaSets that it owns, in any order.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// ReplicaSets that nobody owns, that carry a pod template hash and that its selector matches.
    pub orphans: Vec<Arc<ReplicaSet>>,
    /// The Services that its spec names, as far as they exist.
    pub services: BTreeMap<String, Service>,
    /// Services that carry its name and that its spec does not name any more.
    pub former_services: BTreeMap<String, Service>,
    /// The object that `spec.workloadRef` names, or why its template cannot be used; `None`: it names none.
    pub workload: Option<Result<Arc<Workload>, String>>,
    /// Workloads that were drained for this Rollout, or one of its name, and that it does not stand in for.
    pub left_workloads: Vec<Arc<Workload>>,
    /// What traffic does now, for a Rollout whose share a router carries.
    pub traffic: Traffic,
    /// Its analysis runs, and what they are made of.
    pub analysis: Analyses,
    /// The Experiments that it owns.
    pub trials: Vec<Arc<Trial>>,
    /// The Rollout's pods, looked at only while a restart is due.
    pub pods: Option<Vec<Pod>>,
    /// Why pods are not available, by name of their ReplicaSet.
    pub troubles: BTreeMap<String, String>,
    /// What an administrator set.
    pub settings: Settings,
}

/// What an administrator set for all Rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a change of a Service needs to reach every proxy when nobody can be asked.
    pub settle: SignedDuration,
    /// How long stable may fail to get its pods back before `maxUnavailable` is spent on the way down.
    pub grace: SignedDuration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { settle: SignedDuration::from_secs(5), grace: SignedDuration::from_secs(30) }
    }
}

/// A Rollout as it was read.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Being deleted.
    pub is_deleting: bool,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.workloadRef`: also of a spec that is invalid.
    pub workload: Option<WorkloadRef>,
    /// The spec, or the first problem that keeps it from being carried out.
    pub spec: Result<Spec, InvalidSpec>,
    /// `status`, as it was last written by anybody.
    pub status: RolloutStatus,
}

impl Rollout {
    /// Returns an annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// Names the object that a Rollout takes its template from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Its kind, or the name of one that has no template to give.
    pub kind: Result<WorkloadKind, String>,
    /// Its name.
    pub name: String,
    /// When it is scaled down.
    pub scale_down: ScaleDown,
    /// The Rollout has no selector of its own.
    pub gives_selector: bool,
}

/// The kinds of objects that have a template to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// The only one that is ever scaled down.
    Deployment,
    /// One that is not ours.
    ReplicaSet,
    /// A template alone.
    PodTemplate,
}

impl WorkloadKind {
    /// `kind`.
    pub fn name(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::ReplicaSet => "ReplicaSet",
            WorkloadKind::PodTemplate => "PodTemplate",
        }
    }
}

/// An object that a Rollout takes its template from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Its pod template.
    pub template: Template,
    /// What keeps that template from becoming pods.
    pub problem: Option<String>,
    /// `spec.selector`, if the kind has one.
    pub selector: Option<LabelSelector>,
    /// `spec.replicas`.
    pub size: i64,
    /// `status.replicas`.
    pub existing: i64,
    /// What a Rollout made of its size.
    pub drained: Option<Drained>,
}

/// The note on a workload that was scaled down for a Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The Rollout's name.
    pub rollout: String,
    /// The Rollout's uid.
    pub uid: String,
    /// The size that it was last scaled down to.
    pub to: i64,
    /// Its size before that, if it can be read.
    pub before: Option<i64>,
}

/// Why a spec cannot be carried out, in the words of the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSpec {
    /// Field, value and remedy.
    pub message: String,
    /// What of it can still be relied on, so that what serves goes on serving.
    pub replicas: Option<i64>,
}

/// A valid spec with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `spec.replicas`; `None`: nobody wrote one.
    pub replicas: Option<i64>,
    /// The template to run.
    pub template: Template,
    /// `spec.selector`, as written.
    pub selector: Value,
    /// The same, to match labels with.
    pub label_selector: LabelSelector,
    /// `spec.selector` in the text form of a selector.
    pub selector_text: String,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i64,
    /// `spec.revisionHistoryLimit`.
    pub revision_history_limit: i64,
    /// `spec.progressDeadlineSeconds`.
    pub progress_deadline: SignedDuration,
    /// `spec.progressDeadlineAbort`.
    pub progress_deadline_abort: bool,
    /// `spec.paused`.
    pub is_paused: bool,
    /// `spec.rollbackWindow.revisions`.
    pub rollback_window: i64,
    /// `spec.restartAt`.
    pub restart_at: Option<Timestamp>,
    /// How many finished analysis runs are kept.
    pub run_limits: RunLimits,
    /// What pods carry because of the part that their version plays.
    pub parts: Parts,
    /// How versions are exchanged.
    pub strategy: Strategy,
}

/// A pod template and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As written, in JSON: only looked into when a ReplicaSet is made of it.
    pub text: Arc<str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its meaning.
    pub digest: TemplateDigest,
}

impl Template {
    /// Takes over a template that was read.
    pub fn new(json: &Value) -> Template {
        let labels = json.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        let labels =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        Template {
            text: json.to_string().into(),
            labels,
            digest: template::digest(json, &Injected::default()),
        }
    }

    /// A template of which only the meaning is known: versions are told apart by it, and none is made of it.
    pub fn of_digest(digest: TemplateDigest) -> Template {
        Template { text: "null".into(), labels: BTreeMap::new(), digest }
    }

    /// What a ReplicaSet that is made of it carries, to be known by: a print of the text.
    pub fn source(&self) -> String {
        template::print(&self.text)
    }

    /// Returns the template as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// How versions are exchanged.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// Step by step, beside the stable version.
    Canary(Canary),
    /// All at once, by one Service, after the new version is up in full.
    BlueGreen(BlueGreen),
    /// One that this build does not carry out; the text names it.
    Unsupported(&'static str),
}

impl Strategy {
    /// The part of it that this build does not carry out, if there is one.
    pub fn not_carried_out(&self) -> Option<&str> {
        match self {
            Strategy::Canary(canary) => canary.routing.as_ref()?.unsupported.as_deref(),
            Strategy::BlueGreen(_) => None,
            Strategy::Unsupported(what) => Some(what),
        }
    }

    /// How far sizes may stray from `replicas`.
    pub fn corridor(&self, replicas: i64) -> Corridor {
        match self {
            Strategy::Canary(canary) => canary.corridor(replicas),
            Strategy::BlueGreen(strategy) => strategy.corridor(replicas),
            Strategy::Unsupported(_) => Corridor { replicas, surge: 0, unavailable: 0 },
        }
    }

    /// The analyses that it asks for, with the fields that name their templates, below `spec.strategy`, and whether
    /// one may go on until somebody ends it.
    pub fn analyses(&self) -> Vec<(String, &Arc<Analysis>, bool)> {
        match self {
            Strategy::Canary(canary) => {
                let steps = canary.steps.iter().enumerate().flat_map(|(index, step)| match step {
                    Step::Analysis(analysis) => {
                        vec![(format!("canary.steps[{index}].analysis.templates"), analysis, false)]
                    }
                    Step::Experiment(setup) => setup.analyses_at(index),
                    _ => Vec::new(),
                });
                let background = canary
                    .background
                    .iter()
                    .map(|one| ("canary.analysis.templates".to_owned(), &one.analysis, true));
                steps.chain(background).collect()
            }
            Strategy::BlueGreen(strategy) => [
                ("blueGreen.prePromotionAnalysis.templates", &strategy.pre_promotion),
                ("blueGreen.postPromotionAnalysis.templates", &strategy.post_promotion),
            ]
            .into_iter()
            .filter_map(|(field, analysis)| Some((field.to_owned(), analysis.as_ref()?, false)))
            .collect(),
            Strategy::Unsupported(_) => Vec::new(),
        }
    }

    /// The Services that it names, with the fields that do, below `spec.strategy`.
    pub fn services(&self) -> Vec<(&'static str, &String)> {
        let all = match self {
            Strategy::Canary(canary) => vec![
                ("canary.canaryService", canary.canary_service.as_ref()),
                ("canary.stableService", canary.stable_service.as_ref()),
                ("canary.pingPong.pingService", canary.ping_pong.as_ref().map(|(ping, _)| ping)),
                ("canary.pingPong.pongService", canary.ping_pong.as_ref().map(|(_, pong)| pong)),
            ],
            Strategy::BlueGreen(strategy) => vec![
                ("blueGreen.activeService", Some(&strategy.active_service)),
                ("blueGreen.previewService", strategy.preview_service.as_ref()),
            ],
            Strategy::Unsupported(_) => Vec::new(),
        };
        all.into_iter().filter_map(|(field, name)| Some((field, name?))).collect()
    }
}

/// The canary strategy.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The steps.
    pub steps: Vec<Step>,
    /// The analysis beside the steps.
    pub background: Option<Background>,
    /// Their hash, as `status.currentStepHash` has it.
    pub step_hash: String,
    /// `maxSurge` as written.
    pub max_surge: Option<IntOrString>,
    /// `maxUnavailable` as written.
    pub max_unavailable: Option<IntOrString>,
    /// `canaryService`.
    pub canary_service: Option<String>,
    /// `stableService`.
    pub stable_service: Option<String>,
    /// How a router splits traffic; `None`: the ratio of pods does.
    pub routing: Option<Routing>,
    /// The two Services that take turns: ping and pong.
    pub ping_pong: Option<(String, String)>,
    /// The managed routes that steps ask for, with the index of the step.
    pub managed: Vec<(usize, ManagedRoute)>,
    /// `replicaProgressThreshold`.
    pub threshold: Threshold,
    /// `minPodsPerReplicaSet`.
    pub min_pods: i64,
    /// `scaleDownDelaySeconds`.
    pub scale_down_delay: SignedDuration,
    /// `abortScaleDownDelaySeconds`; `None`: never. The flag says whether it was written.
    pub abort_scale_down_delay: (Option<SignedDuration>, bool),
}

impl Canary {
    /// The weight at a position: the nearest `setWeight` at or before it.
    pub fn weight_at(&self, index: usize) -> i64 {
        let mut steps = self.steps.iter().take(index.saturating_add(1)).rev();
        let weight =
            steps.find_map(|step| if let Step::SetWeight(weight) = step { Some(*weight) } else { None });
        weight.unwrap_or(0)
    }
}

/// An analysis beside the steps.
#[derive(Clone, Debug)]
pub struct Background {
    /// What is analysed.
    pub analysis: Arc<Analysis>,
    /// The index of the step that it begins at.
    pub starting_step: usize,
}

impl Canary {
    /// How far sizes may stray from `replicas`.
    pub fn corridor(&self, replicas: i64) -> Corridor {
        let wanted = i32::try_from(replicas).unwrap_or(i32::MAX);
        let bounds =
            sluice_api::defaults::bounds(wanted, self.max_surge.as_ref(), self.max_unavailable.as_ref());
        Corridor { replicas, surge: bounds.max_surge, unavailable: bounds.max_unavailable }
    }
}

/// The blue-green strategy.
#[derive(Clone, Debug)]
pub struct BlueGreen {
    /// `activeService`.
    pub active_service: String,
    /// `previewService`.
    pub preview_service: Option<String>,
    /// `previewReplicaCount`.
    pub preview_replicas: Option<i64>,
    /// `autoPromotionEnabled`: no person is needed for the switch.
    pub auto_promotion: bool,
    /// `autoPromotionSeconds`, if there are any.
    pub auto_promotion_after: Option<SignedDuration>,
    /// `maxUnavailable` as written.
    pub max_unavailable: Option<IntOrString>,
    /// `scaleDownDelaySeconds`.
    pub scale_down_delay: SignedDuration,
    /// `scaleDownDelayRevisionLimit`.
    pub delayed_revisions: i64,
    /// `abortScaleDownDelaySeconds`; `None`: never.
    pub abort_scale_down_delay: Option<SignedDuration>,
    /// `prePromotionAnalysis`.
    pub pre_promotion: Option<Arc<Analysis>>,
    /// `postPromotionAnalysis`.
    pub post_promotion: Option<Arc<Analysis>>,
}

impl BlueGreen {
    /// How far available pods may fall below `replicas`.
    pub fn corridor(&self, replicas: i64) -> Corridor {
        let wanted = i32::try_from(replicas).unwrap_or(i32::MAX);
        // No surge is ever used; leaving it at its default keeps the rule for no room at all out.
        let bounds = sluice_api::defaults::bounds(wanted, None, self.max_unavailable.as_ref());
        Corridor { replicas, surge: 0, unavailable: bounds.max_unavailable }
    }
}

/// How a router splits traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// `maxTrafficWeight`.
    pub max_weight: i64,
    /// `dynamicStableScale`.
    pub dynamic_stable: bool,
    /// Sizes stay within `maxSurge`.
    pub staged: bool,
    /// The names of managed routes that may be written, the one with precedence first.
    pub managed_names: Vec<String>,
    /// How long pods that lose a share are kept beyond the settle time.
    pub drain: SignedDuration,
    /// Whether the data plane has to confirm what it is asked for.
    pub verify: Verify,
    /// The block of the spec, for those who write it.
    pub block: Arc<TrafficRouting>,
    /// The first router that this build does not carry out.
    pub unsupported: Option<String>,
    /// The spec does not name it any more: it gives its share back to stable and is forgotten.
    pub is_retired: bool,
}

/// What counts as proof that a route is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// The data plane's word, or the settle time where it cannot be asked.
    #[default]
    Auto,
    /// The data plane's word alone.
    Strict,
    /// None is needed.
    Off,
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `setWeight`.
    SetWeight(i64),
    /// `pause`; `None` waits for a person.
    Pause(Option<SignedDuration>),
    /// `setCanaryScale`.
    SetCanaryScale(CanaryScale),
    /// `setHeaderRoute`; the route's name.
    SetHeaderRoute(String),
    /// `setMirrorRoute`; the route's name.
    SetMirrorRoute(String),
    /// `analysis`.
    Analysis(Arc<Analysis>),
    /// `experiment`.
    Experiment(Arc<Setup>),
    /// A kind that this build does not carry out; the text names it.
    Unsupported(&'static str),
}

impl Step {
    /// How the step is named in events.
    pub fn describe(&self) -> String {
        match self {
            Step::SetWeight(weight) => format!("setWeight: {weight}"),
            Step::Pause(None) => "pause".into(),
            Step::Pause(Some(duration)) => format!("pause: {}", sluice_lang::go_duration::print(*duration)),
            Step::SetCanaryScale(CanaryScale::Weight(weight)) => {
                format!("setCanaryScale{{weight: {weight}}}")
            }
            Step::SetCanaryScale(CanaryScale::Replicas(replicas)) => {
                format!("setCanaryScale{{replicas: {replicas}}}")
            }
            Step::SetCanaryScale(CanaryScale::MatchTrafficWeight) => {
                "setCanaryScale{matchTrafficWeight: true}".into()
            }
            Step::SetHeaderRoute(name) => format!("setHeaderRoute: {name}"),
            Step::SetMirrorRoute(name) => format!("setMirrorRoute: {name}"),
            Step::Analysis(_) => "analysis".into(),
            Step::Experiment(_) => "experiment".into(),
            Step::Unsupported(kind) => (*kind).into(),
        }
    }
}

/// What a `setCanaryScale` step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryScale {
    /// The size that this weight would have.
    Weight(i64),
    /// This many pods.
    Replicas(i64),
    /// What the traffic weight asks for.
    MatchTrafficWeight,
}

/// A ReplicaSet that the Rollout owns.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// `metadata.generation`.
    pub generation: i64,
    /// Being deleted.
    pub is_deleting: bool,
    /// Label `rollouts-pod-template-hash`.
    pub hash: String,
    /// Annotations, without those of other tools.
    pub annotations: BTreeMap<String, String>,
    /// What its template means.
    pub template: TemplateDigest,
    /// The version that its pods keep away from because of a controller, by hash.
    pub apart_from: Option<String>,
    /// `spec.replicas`.
    pub size: i64,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i64,
    /// `status.replicas`.
    pub existing: i64,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// `status.availableReplicas`.
    pub available: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// Its labels, as long as nobody owns it.
    pub labels: BTreeMap<String, String>,
    /// The `ReplicaFailure` condition: status, reason, message.
    pub failure: Option<(ConditionStatus, String, String)>,
}

impl ReplicaSet {
    /// Returns an annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The revision that it stands for; 0 when it says none.
    pub fn revision(&self) -> i64 {
        self.annotation(sluice_api::keys::REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// A pod of one of the versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// The uid of its ReplicaSet.
    pub set: String,
    /// `metadata.creationTimestamp`.
    pub created_at: Timestamp,
    /// Since when, or from when on, it counts as available; `None`: it is not ready.
    pub available_at: Option<Timestamp>,
    /// Being deleted.
    pub is_terminating: bool,
}

impl Pod {
    /// Whether it can be counted on.
    pub fn is_available(&self, now: Timestamp) -> bool {
        !self.is_terminating && self.available_at.is_some_and(|at| at <= now)
    }
}

/// A Service that the spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.selector["rollouts-pod-template-hash"]`.
    pub selected_hash: Option<String>,
    /// `spec.selector` without the hash.
    pub selector: BTreeMap<String, String>,
    /// Annotation `argo-rollouts.argoproj.io/managed-by-rollouts`.
    pub managed_by: Option<String>,
    /// When we last changed which version it selects, as far as that is known.
    pub selected_since: Option<Timestamp>,
    /// The Experiment that made it: name and uid.
    pub experiment: Option<Box<(String, String)>>,
}

/// What traffic does now, for a Rollout whose share a router carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The canary's weight.
    pub weight: LiveWeight,
    /// Managed routes.
    pub managed: ManagedRoutes,
    /// What subsets of a router select, if it has any.
    pub subsets: Option<SubsetPair>,
    /// The routes that the objects show, if they are those that were last asked for.
    pub shown: Option<Routes>,
    /// While there is trouble: the routes that were last asked for, if every other object shows them.
    pub asked: Option<Routes>,
    /// What may be live is only a guess: nobody has asked for anything since we began to look.
    pub is_guess: bool,
    /// What the data plane says of them; `None`: it cannot be asked.
    pub verified: Option<bool>,
    /// A router fails when the stable destination has no pods.
    pub needs_live_primary: bool,
    /// Trouble with a router: object and error.
    pub trouble: Option<(String, String)>,
}
