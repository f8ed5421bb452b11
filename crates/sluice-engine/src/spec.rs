//! From an object of the API to what a decision looks at.
//!
//! Takes over a Rollout, a ReplicaSet or a Service as it was read: fills in defaults, brings templates
//! into their canonical form, and turns a spec that cannot be carried out into the problem that says so.
//! Decides nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use sluice_api::blue_green::BlueGreenStrategy;
use sluice_api::canary::{CanaryStrategy, ReplicaProgressThreshold, RollingUpdateStrategy};
use sluice_api::rollout::{ConditionStatus, RolloutSpec};
use sluice_api::steps::{
    AnalysisTemplateRef, CanaryStep, ExperimentAnalysisRef, ExperimentStep, RolloutAnalysis, StepKind,
};
use sluice_api::traffic_routing::{Router, TrafficRouting};
use sluice_api::{IntOrString, keys, step_hash};
use sluice_lang::pause_duration;

use crate::analysis::run::RunLimits;
use crate::analysis::{self, Analysis};
use crate::moves::Threshold;
use crate::parts::{self, Metadata, Parts};
use crate::template::{self, Injected};
use crate::traffic::ManagedRoute;
use crate::trial::Setup;
use crate::workload;
use crate::world::{
    Background, BlueGreen, Canary, CanaryScale, InvalidSpec, ReplicaSet, Rollout, Routing, Service, Spec,
    Step, Strategy, Template, Verify,
};

/// Takes over a Rollout. `problem` is what validation of the object found first.
pub fn rollout(object: sluice_api::Rollout, problem: Option<String>) -> Rollout {
    let mut spec = match problem {
        Some(message) => Err(InvalidSpec { message, replicas: object.spec.replicas.map(i64::from) }),
        None => spec(&object),
    };
    // One that matches everything says nothing of its own.
    let gives_selector = object.spec.selector.as_ref().is_none_or(sluice_api::LabelSelector::is_empty);
    let workload = object.spec.workload_ref.as_ref();
    let workload = workload.map(|reference| workload::reference(reference, gives_selector));
    let metadata = object.metadata;
    if let (Ok(spec), Some(annotations)) = (&mut spec, &metadata.annotations) {
        with_annotations(&mut spec.strategy, annotations);
    }
    Rollout {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        resource_version: metadata.resource_version.unwrap_or_default(),
        is_deleting: metadata.deletion_timestamp.is_some(),
        annotations: metadata
            .annotations
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| is_kept(key))
            .collect(),
        workload,
        spec,
        status: object.status.unwrap_or_default(),
    }
}

fn spec(object: &sluice_api::Rollout) -> Result<Spec, InvalidSpec> {
    let spec = &object.spec;
    let invalid =
        |message: &str| InvalidSpec { message: message.into(), replicas: spec.replicas.map(i64::from) };
    let strategy = match &spec.strategy.canary {
        Some(canary) => not_carried_out(canary)
            .map_or_else(|| Strategy::Canary(canary_strategy(canary, object)), Strategy::Unsupported),
        None => match (&spec.strategy.blue_green, &spec.strategy.rolling_update) {
            (Some(strategy), _) => blue_green_strategy(strategy, object),
            (None, Some(rolling)) => rolling_strategy(rolling, object),
            (None, None) => Strategy::Unsupported("spec.strategy"),
        },
    };
    let template = match (&spec.template, &spec.workload_ref) {
        // Whoever looks fills it in from the workload.
        (_, Some(_)) => Template::new(&Value::Null),
        (Some(template), None) => Template::new(&template.to_value()),
        (None, None) => {
            return Err(invalid("spec.template: Required value: the Rollout has no pod template"));
        }
    };
    let selector = match (&spec.selector, &spec.workload_ref) {
        (Some(selector), _) => selector.clone(),
        (None, Some(_)) => sluice_api::LabelSelector::default(),
        (None, None) => {
            return Err(invalid("spec.selector: Required value: Rollout has missing field '.spec.selector'"));
        }
    };
    Ok(Spec {
        replicas: spec.replicas.map(i64::from),
        template,
        selector_text: selector.to_text(),
        selector: serde_json::to_value(&selector).unwrap_or_default(),
        label_selector: selector,
        min_ready_seconds: i64::from(spec.min_ready_seconds),
        revision_history_limit: i64::from(spec.revision_history_limit_or_default()),
        progress_deadline: seconds(spec.progress_deadline_seconds_or_default()),
        progress_deadline_abort: spec.progress_deadline_abort,
        is_paused: spec.paused,
        rollback_window: spec.rollback_window.as_ref().map_or(0, |window| i64::from(window.revisions)),
        restart_at: spec.restart_at.map(sluice_api::Time::timestamp),
        run_limits: run_limits(spec),
        parts: parts_of(spec),
        strategy,
    })
}

fn run_limits(spec: &RolloutSpec) -> RunLimits {
    let limits = spec.analysis.clone().unwrap_or_default();
    let of =
        |limit: Option<i32>, otherwise| limit.map_or(otherwise, |limit| usize::try_from(limit).unwrap_or(0));
    let default = RunLimits::default();
    RunLimits {
        successful: of(limits.successful_run_history_limit, default.successful),
        unsuccessful: of(limits.unsuccessful_run_history_limit, default.unsuccessful),
    }
}

fn parts_of(spec: &RolloutSpec) -> Parts {
    match (&spec.strategy.canary, &spec.strategy.blue_green) {
        (Some(canary), _) => Parts {
            stable: Metadata::of(canary.stable_metadata.as_ref()),
            new: Metadata::of(canary.canary_metadata.as_ref()),
            anti_affinity: canary.anti_affinity.clone(),
        },
        (None, Some(strategy)) => Parts {
            stable: Metadata::of(strategy.active_metadata.as_ref()),
            new: Metadata::of(strategy.preview_metadata.as_ref()),
            anti_affinity: strategy.anti_affinity.clone(),
        },
        (None, None) => Parts::default(),
    }
}

/// The first part of a canary without which it must not go on: who leaves a verdict out promotes blindly.
fn not_carried_out(canary: &CanaryStrategy) -> Option<&'static str> {
    canary.steps.iter().find_map(|step| match step.kind()? {
        StepKind::Experiment(experiment) => {
            let is_weighted = experiment.templates.iter().any(|template| template.weight.is_some());
            (is_weighted && !carries_shares(canary)).then_some(
                "a share of the traffic for an experiment, with a router other than Istio, ALB, SMI and Gateway API,",
            )
        }
        StepKind::Plugin(_) => Some("a step of kind plugin"),
        StepKind::SetWeight(_)
        | StepKind::Pause(_)
        | StepKind::SetCanaryScale(_)
        | StepKind::Analysis(_)
        | StepKind::SetHeaderRoute(_)
        | StepKind::SetMirrorRoute(_) => None,
    })
}

/// Whether all routers have room for further destinations.
fn carries_shares(canary: &CanaryStrategy) -> bool {
    let routers = canary.traffic_routing.as_ref().map(TrafficRouting::routers).unwrap_or_default();
    routers.iter().all(|router| match router {
        Router::Istio(_)
        | Router::Alb(_)
        | Router::Smi(_)
        | Router::GatewayApi(_)
        | Router::Kong(_)
        | Router::Linkerd(_) => true,
        Router::Plugin(name, _) => *name == "argoproj-labs/gatewayAPI",
        Router::Nginx(_)
        | Router::Ambassador(_)
        | Router::AppMesh(_)
        | Router::Traefik(_)
        | Router::Apisix(_)
        | Router::Gloo(_)
        | Router::Contour(_)
        | Router::Kuma(_) => false,
    })
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

fn canary_strategy(canary: &CanaryStrategy, object: &sluice_api::Rollout) -> Canary {
    let named = |name: &String| (!name.is_empty()).then(|| name.clone());
    Canary {
        steps: canary.steps.iter().map(|one| step(one, object)).collect(),
        background: canary.analysis.as_ref().map(|background| Background {
            analysis: analyse(&background.to_analysis(), object),
            starting_step: background.starting_step.and_then(|step| usize::try_from(step).ok()).unwrap_or(0),
        }),
        step_hash: step_hash(&canary.steps),
        max_surge: canary.max_surge.clone(),
        max_unavailable: canary.max_unavailable.clone(),
        canary_service: named(&canary.canary_service),
        stable_service: named(&canary.stable_service),
        routing: canary.traffic_routing.as_ref().map(|routing| self::routing(canary, routing)),
        ping_pong: canary
            .ping_pong
            .as_ref()
            .filter(|_| canary.traffic_routing.is_some())
            .map(|services| (services.ping_service.clone(), services.pong_service.clone())),
        managed: canary
            .steps
            .iter()
            .enumerate()
            .flat_map(|(index, step)| managed_routes(index, step))
            .collect(),
        threshold: threshold(canary.replica_progress_threshold.as_ref()),
        min_pods: canary.min_pods_per_replica_set.map_or(1, i64::from),
        scale_down_delay: seconds(canary.scale_down_delay_seconds_or_default()),
        abort_scale_down_delay: (
            canary.abort_scale_down_delay().map(seconds),
            canary.abort_scale_down_delay_seconds.is_some(),
        ),
    }
}

fn blue_green_strategy(strategy: &BlueGreenStrategy, object: &sluice_api::Rollout) -> Strategy {
    Strategy::BlueGreen(BlueGreen {
        pre_promotion: strategy.pre_promotion_analysis.as_ref().map(|one| analyse(one, object)),
        post_promotion: strategy.post_promotion_analysis.as_ref().map(|one| analyse(one, object)),
        active_service: strategy.active_service.clone(),
        preview_service: (!strategy.preview_service.is_empty()).then(|| strategy.preview_service.clone()),
        preview_replicas: strategy.preview_replica_count.map(i64::from),
        auto_promotion: strategy.auto_promotion_enabled != Some(false),
        auto_promotion_after: Some(seconds(strategy.auto_promotion_seconds))
            .filter(jiff::SignedDuration::is_positive),
        max_unavailable: strategy.max_unavailable.clone(),
        scale_down_delay: seconds(strategy.scale_down_delay_seconds_or_default()),
        delayed_revisions: strategy.scale_down_delay_revision_limit.map_or(i64::MAX, i64::from),
        abort_scale_down_delay: strategy.abort_scale_down_delay().map(seconds),
    })
}

/// Pods are exchanged as a Deployment does it: a canary by the ratio of pods whose steps are checkpoints.
fn rolling_strategy(rolling: &RollingUpdateStrategy, object: &sluice_api::Rollout) -> Strategy {
    let canary = CanaryStrategy {
        steps: rolling.steps.iter().cloned().map(CanaryStep::from).collect(),
        max_surge: rolling.max_surge.clone(),
        max_unavailable: rolling.max_unavailable.clone(),
        analysis: rolling.analysis.clone(),
        ..CanaryStrategy::default()
    };
    not_carried_out(&canary)
        .map_or_else(|| Strategy::Canary(canary_strategy(&canary, object)), Strategy::Unsupported)
}

fn routing(canary: &CanaryStrategy, routing: &TrafficRouting) -> Routing {
    let mut managed_names: Vec<String> =
        routing.managed_routes.iter().map(|route| route.name.clone()).collect();
    for (_, route) in canary.steps.iter().flat_map(|step| managed_routes(0, step)) {
        if !managed_names.iter().any(|name| name == route.name()) {
            managed_names.push(route.name().to_owned());
        }
    }
    // Stable's pods leave one by one here, so they get the time that old pods get elsewhere.
    let drain = canary.scale_down_delay_seconds.filter(|_| canary.dynamic_stable_scale).unwrap_or(0);
    let has_both =
        canary.ping_pong.is_some() && !(canary.canary_service.is_empty() && canary.stable_service.is_empty());
    Routing {
        max_weight: i64::from(canary.max_weight()),
        dynamic_stable: canary.dynamic_stable_scale,
        staged: false,
        managed_names,
        drain: seconds(drain.max(0)),
        verify: Verify::Auto,
        block: Arc::new(routing.clone()),
        unsupported: has_both
            .then(|| "spec.strategy.canary.pingPong together with canaryService and stableService".into()),
        is_retired: false,
    }
}

fn managed_routes(index: usize, step: &CanaryStep) -> Vec<(usize, ManagedRoute)> {
    let header = step.set_header_route.clone().map(ManagedRoute::Header);
    let mirror = step.set_mirror_route.clone().map(ManagedRoute::Mirror);
    header.into_iter().chain(mirror).map(|route| (index, route)).collect()
}

/// What annotations say about how a router is used.
fn with_annotations(strategy: &mut Strategy, annotations: &BTreeMap<String, String>) {
    let Strategy::Canary(canary) = strategy else { return };
    if canary.routing.is_none() {
        canary.routing = annotations.get(ROUTED_BY).and_then(|text| retired(canary, text));
        return;
    }
    let Some(routing) = &mut canary.routing else { return };
    let value = |key: &str| annotations.get(&format!("{}{key}", keys::EXTENSION_PREFIX)).map(String::as_str);
    routing.staged = value("surge") == Some("staged");
    routing.verify = match value("verify") {
        Some("strict") => Verify::Strict,
        Some("off") => Verify::Off,
        _ => Verify::Auto,
    };
    if let Some(drain) = value("drain-seconds").and_then(|text| text.parse::<u32>().ok()) {
        routing.drain = SignedDuration::from_secs(i64::from(drain));
    }
}

/// The router that a Rollout had, from the record of its block. One that cannot be read is forgotten.
fn retired(canary: &Canary, text: &str) -> Option<Routing> {
    let block: TrafficRouting = serde_json::from_str(text).ok()?;
    let named = block.managed_routes.iter().map(|route| route.name.clone());
    let of_steps = canary.managed.iter().map(|(_, route)| route.name().to_owned());
    Some(Routing {
        max_weight: block.max_traffic_weight.map_or(100, i64::from),
        dynamic_stable: false,
        staged: false,
        managed_names: named.chain(of_steps).collect(),
        drain: SignedDuration::ZERO,
        verify: Verify::Auto,
        block: Arc::new(block),
        unsupported: None,
        is_retired: true,
    })
}

fn threshold(threshold: Option<&ReplicaProgressThreshold>) -> Threshold {
    match threshold {
        None => Threshold::All,
        Some(threshold) if threshold.value < 0 => Threshold::All,
        Some(threshold) if threshold.type_ == "Percent" => Threshold::Percent(i64::from(threshold.value)),
        Some(threshold) => Threshold::Pods(i64::from(threshold.value)),
    }
}

fn analyse(analysis: &RolloutAnalysis, object: &sluice_api::Rollout) -> Arc<Analysis> {
    let json = || serde_json::to_value(object).unwrap_or_default();
    Arc::new(analysis::resolve::with_fields(analysis, &json))
}

fn setup(block: &ExperimentStep, object: &sluice_api::Rollout) -> Setup {
    let analysis = |given: &ExperimentAnalysisRef| {
        let template = AnalysisTemplateRef {
            template_name: given.template_name.clone(),
            cluster_scope: given.cluster_scope,
        };
        let analysis = RolloutAnalysis {
            templates: vec![template],
            args: given.args.clone(),
            dry_run: block.dry_run.clone(),
            ..RolloutAnalysis::default()
        };
        analyse(&analysis, object)
    };
    Setup { analyses: block.analyses.iter().map(analysis).collect(), block: block.clone() }
}

fn step(step: &CanaryStep, object: &sluice_api::Rollout) -> Step {
    match step.kind() {
        Some(StepKind::SetWeight(weight)) => Step::SetWeight(i64::from(weight)),
        Some(StepKind::Pause(pause)) => Step::Pause(
            // One that cannot be read was refused by validation; left over, it waits for a person.
            pause.duration.as_ref().and_then(|duration| match duration {
                IntOrString::Int(seconds) => Some(pause_duration::from_seconds(*seconds)),
                IntOrString::Text(text) => pause_duration::parse(text).ok(),
            }),
        ),
        Some(StepKind::SetCanaryScale(scale)) => {
            Step::SetCanaryScale(match (scale.match_traffic_weight, scale.replicas, scale.weight) {
                (false, Some(replicas), _) => CanaryScale::Replicas(i64::from(replicas)),
                (false, None, Some(weight)) => CanaryScale::Weight(i64::from(weight)),
                _ => CanaryScale::MatchTrafficWeight,
            })
        }
        Some(StepKind::Experiment(experiment)) => Step::Experiment(Arc::new(setup(experiment, object))),
        Some(StepKind::Analysis(analysis)) => Step::Analysis(analyse(analysis, object)),
        Some(StepKind::SetHeaderRoute(route)) => Step::SetHeaderRoute(route.name.clone()),
        Some(StepKind::SetMirrorRoute(route)) => Step::SetMirrorRoute(route.name.clone()),
        Some(StepKind::Plugin(_)) => Step::Unsupported("plugin"),
        None => Step::Unsupported("an unknown kind of step"),
    }
}

/// A ReplicaSet as it comes over the wire: only what is looked at, the template as it stands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSet {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSetSpec,
    #[serde(default)]
    status: WireSetStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireMeta {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner_references: Vec<WireOwner>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireOwner {
    pub name: String,
    pub uid: String,
    pub kind: String,
    pub controller: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireSetSpec {
    replicas: Option<i64>,
    min_ready_seconds: i64,
    template: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireSetStatus {
    replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    observed_generation: i64,
    conditions: Vec<WireCondition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
    message: String,
}

/// A ReplicaSet and who owns it.
#[derive(Clone, Debug)]
pub struct OwnedSet {
    /// Who controls it.
    pub owner: Owner,
    /// The ReplicaSet.
    pub set: Arc<ReplicaSet>,
}

/// Who controls a ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    Nobody,
    /// A Rollout.
    Rollout {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// An Experiment.
    Experiment {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Something else.
    Other,
}

/// Annotations that a decision never looks at and that are not worth their memory.
fn is_kept(key: &str) -> bool {
    key != keys::LAST_APPLIED_CONFIGURATION && !key.starts_with("deployment.kubernetes.io/")
}

/// Takes over a ReplicaSet.
///
/// # Errors
/// What of the object cannot be read.
pub fn replica_set(object: Value) -> Result<OwnedSet, serde_json::Error> {
    let wire: WireSet = serde_json::from_value(object)?;
    let mut metadata = wire.metadata;
    let injected =
        Injected::from_annotation(metadata.annotations.get(keys::EPHEMERAL_METADATA).map(String::as_str));
    metadata.annotations.retain(|key, _| is_kept(key));
    let owner = match metadata.owner_references.into_iter().find(|owner| owner.controller) {
        None => Owner::Nobody,
        Some(owner) if owner.kind == "Rollout" => Owner::Rollout { name: owner.name, uid: owner.uid },
        Some(owner) if owner.kind == "Experiment" => Owner::Experiment { name: owner.name, uid: owner.uid },
        Some(_) => Owner::Other,
    };
    let failure = wire.status.conditions.into_iter().find(|condition| condition.type_ == "ReplicaFailure");
    let set = ReplicaSet {
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        created_at: metadata.creation_timestamp.unwrap_or_default(),
        generation: metadata.generation,
        is_deleting: metadata.deletion_timestamp.is_some(),
        hash: metadata.labels.get(keys::POD_TEMPLATE_HASH).cloned().unwrap_or_default(),
        labels: if owner == Owner::Nobody { metadata.labels } else { BTreeMap::new() },
        annotations: metadata.annotations,
        template: template::digest(&wire.spec.template, &injected),
        apart_from: parts::kept_apart_from(&wire.spec.template),
        size: wire.spec.replicas.unwrap_or(1),
        min_ready_seconds: wire.spec.min_ready_seconds,
        existing: wire.status.replicas,
        ready: wire.status.ready_replicas,
        available: wire.status.available_replicas,
        observed_generation: wire.status.observed_generation,
        failure: failure.map(|condition| {
            let status = ConditionStatus::from_text(&condition.status).unwrap_or(ConditionStatus::Unknown);
            (status, condition.reason, condition.message)
        }),
    };
    Ok(OwnedSet { owner, set: Arc::new(set) })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireServiceMeta {
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<WireOwner>,
}

#[derive(Deserialize)]
struct WireService {
    metadata: WireServiceMeta,
    #[serde(default)]
    spec: WireServiceSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireServiceSpec {
    selector: BTreeMap<String, String>,
}

/// Takes over a Service.
///
/// # Errors
/// What of the object cannot be read.
pub fn service(object: Value) -> Result<Service, serde_json::Error> {
    let wire: WireService = serde_json::from_value(object)?;
    let WireServiceMeta { resource_version, creation_timestamp, annotations, owner_references } =
        wire.metadata;
    let owner = owner_references.into_iter().find(|owner| owner.controller && owner.kind == "Experiment");
    let selected_at = annotations.get(SELECTED_AT).and_then(|text| text.parse().ok());
    let mut selector = wire.spec.selector;
    Ok(Service {
        resource_version,
        selected_hash: selector.remove(keys::POD_TEMPLATE_HASH),
        selector,
        managed_by: annotations.get(keys::MANAGED_BY_ROLLOUTS).cloned(),
        // A Service that was made anew may have led elsewhere until then.
        selected_since: selected_at.into_iter().chain(creation_timestamp).max(),
        experiment: owner.map(|owner| Box::new((owner.name, owner.uid))),
    })
}

/// Annotation of a Rollout: the block of its router, as it was when a share was first given away. A spec that
/// names no router any more does not say which objects still send a share to the canary.
pub const ROUTED_BY: &str = "sluice.dev/routed-by";
/// Annotation of a Service: when we last changed which version it selects.
pub const SELECTED_AT: &str = "sluice.dev/selected-at";
