//! The Experiment: several sets of pods side by side for a while, and analyses of them.
//!
//! It decides the wire form. How an experiment goes on is the engine's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::{AnalysisPhase, Argument};
use crate::kind::kind;
use crate::meta::{LabelSelector, PodTemplateMetadata, RawObject, Time, is_zero, text_enum};
use crate::rollout::RolloutCondition;
use crate::steps::{DryRun, MeasurementRetention, TemplateService};

kind! {
    /// Several sets of pods side by side for a while, and analyses of them.
    Experiment, "Experiment", "experiments", NamespaceResourceScope, ExperimentSpec, ExperimentStatus
}

/// What is wanted of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["templates"]))]
pub struct ExperimentSpec {
    /// Sets of pods.
    pub templates: Vec<TemplateSpec>,
    /// How long, such as 1h, counted from when all pods are available. Without end when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: String,
    /// Seconds in which the pods must become available. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Ends the experiment early.
    #[serde(skip_serializing_if = "is_zero")]
    pub terminate: bool,
    /// Analyses.
    #[serde(skip_serializing_if = "is_zero")]
    pub analyses: Vec<ExperimentAnalysis>,
    /// Seconds that pods stay after the end. Default 30; 0 removes them at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the runs.
    pub analysis_run_metadata: PodTemplateMetadata,
}

/// One set of pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "selector", "template"]))]
pub struct TemplateSpec {
    /// Name, unique in the experiment.
    pub name: String,
    /// Number of pods. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Seconds a pod must be ready before it counts as available.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_ready_seconds: i32,
    /// Which pods are of this set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Pod template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RawObject>,
    /// Makes a Service for these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<TemplateService>,
}

/// One analysis of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "templateName"]))]
pub struct ExperimentAnalysis {
    /// Name.
    pub name: String,
    /// Template to run.
    pub template_name: String,
    /// The template is a ClusterAnalysisTemplate.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster_scope: bool,
    /// Arguments. Only fixed values count here.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<Argument>,
    /// The experiment ends only after this analysis.
    #[serde(skip_serializing_if = "is_zero")]
    pub required_for_completion: bool,
}

/// How an experiment stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExperimentStatus {
    /// Phase of the whole experiment.
    #[serde(skip_serializing_if = "is_zero")]
    pub phase: AnalysisPhase,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// When all pods were first available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Time>,
    /// Sets of pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub template_statuses: Vec<TemplateStatus>,
    /// What holds at present, with reasons.
    #[serde(skip_serializing_if = "is_zero")]
    pub conditions: Vec<RolloutCondition>,
    /// Analyses.
    #[serde(skip_serializing_if = "is_zero")]
    pub analysis_runs: Vec<ExperimentAnalysisRunStatus>,
}

text_enum! {
    /// How one set of pods stands.
    #[derive(Default)]
    TemplateStatusCode {
        /// Nothing is known yet.
        #[default]
        Unset = "",
        /// Pods are coming up.
        Progressing = "Progressing",
        /// All pods are available.
        Running = "Running",
        /// Ended well.
        Successful = "Successful",
        /// Did not come up in time.
        Failed = "Failed",
        /// Could not be made.
        Error = "Error",
    }
}

impl TemplateStatusCode {
    /// True when nothing changes any more.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Successful | Self::Failed | Self::Error => true,
            Self::Unset | Self::Progressing | Self::Running => false,
        }
    }
}

/// How one set of pods stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateStatus {
    /// Name of the set.
    pub name: String,
    /// Pods.
    pub replicas: i32,
    /// Pods made of the current template.
    pub updated_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Counts names of ReplicaSets that were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// How the set stands.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: TemplateStatusCode,
    /// Why.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// When that last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Service that was made for the set.
    #[serde(skip_serializing_if = "is_zero")]
    pub service_name: String,
    /// Hash of its pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub pod_template_hash: String,
}

/// How one analysis stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExperimentAnalysisRunStatus {
    /// Name of the analysis.
    pub name: String,
    /// Name of the run.
    pub analysis_run: String,
    /// Phase of the run.
    pub phase: AnalysisPhase,
    /// Message of the run.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
}
