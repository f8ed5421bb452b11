//! The canary and rolling strategies and the canary's part of the status.
//!
//! It decides the wire form only. Sizes, weights and their order are the engine's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{IntOrString, PodTemplateMetadata, RawValue, Time, is_zero, text_enum};
use crate::rollout::{AnalysisRunRef, AntiAffinity};
use crate::steps::{BackgroundAnalysis, CanaryStep, RollingUpdateStep};
use crate::traffic_routing::TrafficRouting;

/// A growing share of pods or traffic for the new revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryStrategy {
    /// Service that selects the new revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub canary_service: String,
    /// What to do, in order. None means a plain rolling update.
    #[serde(skip_serializing_if = "is_zero")]
    pub steps: Vec<CanaryStep>,
    /// Who splits the traffic. Without it the number of pods stands in for the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_routing: Option<TrafficRouting>,
    /// How many pods may be missing. Any string is a percentage, rounded down. Default 25 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// How many pods may be surplus. Any string is a percentage, rounded up. Default 25 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// Analysis that runs beside the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
    /// Keeps pods of two revisions on different nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<AntiAffinity>,
    /// Labels and annotations for pods while they are the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_metadata: Option<PodTemplateMetadata>,
    /// Labels and annotations for pods while they are stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_metadata: Option<PodTemplateMetadata>,
    /// Seconds that old pods stay after promotion. Needs trafficRouting. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// How many old ReplicaSets may stay during the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Seconds that canary pods stay after an abort. Needs trafficRouting. Default 30; 0 keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<i32>,
    /// Lets stable shrink as the canary's weight grows. Needs trafficRouting.
    #[serde(skip_serializing_if = "is_zero")]
    pub dynamic_stable_scale: bool,
    /// Service that selects the stable revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub stable_service: String,
    /// Two Services that take turns being stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_pong: Option<PingPong>,
    /// Fewest pods of a ReplicaSet that has any. Needs trafficRouting. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pods_per_replica_set: Option<i32>,
    /// How many pods must be available before the next step. All of them when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_progress_threshold: Option<ReplicaProgressThreshold>,
}

/// Two Services that take turns being stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["pingService", "pongService"]))]
pub struct PingPong {
    /// One Service.
    pub ping_service: String,
    /// The other.
    pub pong_service: String,
}

/// How many pods must be available before the next step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["type", "value"]))]
pub struct ReplicaProgressThreshold {
    /// Percent or Pods.
    #[serde(rename = "type")]
    pub type_: String,
    /// Percentage or number. Negative means all.
    pub value: i32,
}

/// Pods are replaced one by one, as a Deployment does it. Extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdateStrategy {
    /// How many pods may be surplus. Any string is a percentage, rounded up. Default 25 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// How many pods may be missing. Any string is a percentage, rounded down. Default 25 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Checkpoints at which the update waits or is judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub steps: Vec<RollingUpdateStep>,
    /// Analysis that runs while pods are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
}

/// What the controller reports of a canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryStatus {
    /// Run of the current step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_analysis_run_status: Option<AnalysisRunRef>,
    /// Run beside the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_background_analysis_run_status: Option<AnalysisRunRef>,
    /// Experiment of the current step.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_experiment: String,
    /// Weights as last set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<TrafficWeights>,
    /// Which of ping and pong is stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_ping_pong: Option<PingPongSide>,
    /// What step plugins reported.
    #[serde(skip_serializing_if = "is_zero")]
    pub step_plugin_statuses: Vec<StepPluginStatus>,
}

text_enum! {
    /// One of the two Services that take turns.
    PingPongSide {
        /// The ping Service.
        Ping = "ping",
        /// The pong Service.
        Pong = "pong",
    }
}

/// Traffic weights as last set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficWeights {
    /// Of the canary.
    pub canary: WeightDestination,
    /// Of stable.
    pub stable: WeightDestination,
    /// Of experiments.
    #[serde(skip_serializing_if = "is_zero")]
    pub additional: Vec<WeightDestination>,
    /// Whether the router confirmed them, where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

/// One share of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightDestination {
    /// Share of the traffic.
    pub weight: i32,
    /// Service that gets it.
    #[serde(skip_serializing_if = "is_zero")]
    pub service_name: String,
    /// Hash of the pods behind it.
    #[serde(skip_serializing_if = "is_zero")]
    pub pod_template_hash: String,
}

text_enum! {
    /// What a step plugin was asked to do.
    StepPluginOperation {
        /// Run the step.
        Run = "Run",
        /// Stop it early.
        Terminate = "Terminate",
        /// Undo it.
        Abort = "Abort",
    }
}

text_enum! {
    /// How a step plugin's work goes.
    StepPluginPhase {
        /// Still at it.
        Running = "Running",
        /// Done.
        Successful = "Successful",
        /// Done, with a bad outcome.
        Failed = "Failed",
        /// Something went wrong on the way.
        Error = "Error",
    }
}

/// What a step plugin reported of one operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StepPluginStatus {
    /// Index of the step.
    pub index: i32,
    /// Name of the plugin.
    pub name: String,
    /// Message of the plugin.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// How it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<StepPluginPhase>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How long to wait before it is asked again.
    #[serde(skip_serializing_if = "is_zero")]
    pub backoff: String,
    /// Run, Terminate or Abort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<StepPluginOperation>,
    /// How often it was asked.
    #[serde(skip_serializing_if = "is_zero")]
    pub executions: i32,
    /// True when the plugin is turned off and the step was skipped.
    #[serde(skip_serializing_if = "is_zero")]
    pub disabled: bool,
    /// State of the plugin's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RawValue>,
}
