//! The blue-green strategy and its part of the status.
//!
//! It decides the wire form only. When the switch happens is the engine's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{IntOrString, PodTemplateMetadata, is_zero};
use crate::rollout::{AnalysisRunRef, AntiAffinity};
use crate::steps::RolloutAnalysis;

/// A full second set of pods, then one switch of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["activeService"]))]
pub struct BlueGreenStrategy {
    /// Service that is switched on promotion.
    pub active_service: String,
    /// Service that points at the new revision before promotion.
    #[serde(skip_serializing_if = "is_zero")]
    pub preview_service: String,
    /// Pods of the new revision before promotion. Full size when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_replica_count: Option<i32>,
    /// False waits for a person before the switch. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_promotion_enabled: Option<bool>,
    /// Waits this long before the switch.
    #[serde(skip_serializing_if = "is_zero")]
    pub auto_promotion_seconds: i32,
    /// How many pods may be restarted at once. Any string is a percentage. Default 25 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Seconds that old pods stay after the switch. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// How many old ReplicaSets may stay during the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Analysis before the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promotion_analysis: Option<RolloutAnalysis>,
    /// Keeps pods of two revisions on different nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<AntiAffinity>,
    /// Analysis after the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promotion_analysis: Option<RolloutAnalysis>,
    /// Labels and annotations for pods while they are the preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_metadata: Option<PodTemplateMetadata>,
    /// Labels and annotations for pods while they are active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_metadata: Option<PodTemplateMetadata>,
    /// Seconds that preview pods stay after an abort. Default 30; 0 keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<i32>,
}

/// What the controller reports of a blue-green update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BlueGreenStatus {
    /// Hash that the preview Service selects.
    #[serde(skip_serializing_if = "is_zero")]
    pub preview_selector: String,
    /// Hash that the active Service selects.
    #[serde(skip_serializing_if = "is_zero")]
    pub active_selector: String,
    /// True once the preview has passed and may grow to full size.
    #[serde(skip_serializing_if = "is_zero")]
    pub scale_up_preview_check_point: bool,
    /// Run before the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promotion_analysis_run_status: Option<AnalysisRunRef>,
    /// Run after the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promotion_analysis_run_status: Option<AnalysisRunRef>,
}
