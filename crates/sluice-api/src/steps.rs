//! Canary steps, and the analysis blocks that steps and strategies share.
//!
//! It decides the wire form. Fields stand in the order in which the step hash writes them, and a
//! field that may be left out is left out by the same rule as in Go; see [`crate::step_hash`].

use std::collections::BTreeMap;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_lang::pause_duration::{self, PauseDurationError};

use crate::gates::OnFailure;
use crate::meta::{IntOrString, LabelSelector, PodTemplateMetadata, RawObject, is_zero};

/// One step of a canary. Exactly one field is to be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryStep {
    /// Share of the new revision, in percent or of maxTrafficWeight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_weight: Option<i32>,
    /// Waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStep>,
    /// Runs an experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentStep>,
    /// Runs an analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RolloutAnalysis>,
    /// Sets the number of canary pods apart from the weight. Needs trafficRouting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_canary_scale: Option<SetCanaryScale>,
    /// Sends requests with certain headers to the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_header_route: Option<SetHeaderRoute>,
    /// Copies certain requests to the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_mirror_route: Option<SetMirrorRoute>,
    /// Runs a step plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginStep>,
}

/// Which kind of step a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepKind<'a> {
    /// `setWeight`.
    SetWeight(i32),
    /// `pause`.
    Pause(&'a PauseStep),
    /// `experiment`.
    Experiment(&'a ExperimentStep),
    /// `analysis`.
    Analysis(&'a RolloutAnalysis),
    /// `setCanaryScale`.
    SetCanaryScale(&'a SetCanaryScale),
    /// `setHeaderRoute`.
    SetHeaderRoute(&'a SetHeaderRoute),
    /// `setMirrorRoute`.
    SetMirrorRoute(&'a SetMirrorRoute),
    /// `plugin`.
    Plugin(&'a PluginStep),
}

impl CanaryStep {
    /// Returns every kind of step that is set, in order of declaration; a valid step has one.
    pub fn kinds(&self) -> Vec<StepKind<'_>> {
        [
            self.set_weight.map(StepKind::SetWeight),
            self.pause.as_ref().map(StepKind::Pause),
            self.experiment.as_ref().map(StepKind::Experiment),
            self.analysis.as_ref().map(StepKind::Analysis),
            self.set_canary_scale.as_ref().map(StepKind::SetCanaryScale),
            self.set_header_route.as_ref().map(StepKind::SetHeaderRoute),
            self.set_mirror_route.as_ref().map(StepKind::SetMirrorRoute),
            self.plugin.as_ref().map(StepKind::Plugin),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns the first kind that is set.
    pub fn kind(&self) -> Option<StepKind<'_>> {
        self.kinds().into_iter().next()
    }
}

/// One checkpoint of a rolling update. Exactly one field is to be set. Extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdateStep {
    /// Share of pods to replace before going on, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_weight: Option<i32>,
    /// Waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStep>,
    /// Runs an analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RolloutAnalysis>,
}

impl From<RollingUpdateStep> for CanaryStep {
    fn from(step: RollingUpdateStep) -> Self {
        let RollingUpdateStep { set_weight, pause, analysis } = step;
        Self { set_weight, pause, analysis, ..Self::default() }
    }
}

/// Waits for a time, or for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PauseStep {
    /// How long, in seconds or as a duration such as 1h30m. Without it only a person ends the pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<IntOrString>,
}

impl PauseStep {
    /// Returns how long the pause lasts in whole seconds; `None` when only a person ends it.
    pub fn length(&self) -> Result<Option<SignedDuration>, PauseDurationError> {
        match &self.duration {
            None => Ok(None),
            Some(IntOrString::Int(seconds)) => Ok(Some(pause_duration::from_seconds(*seconds))),
            Some(IntOrString::Text(text)) => pause_duration::parse(text).map(Some),
        }
    }
}

/// Runs an experiment and goes on when it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["templates"]))]
pub struct ExperimentStep {
    /// What to run side by side.
    pub templates: Vec<ExperimentStepTemplate>,
    /// How long, such as 1h. Until the analyses end when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub duration: String,
    /// Analyses of the experiment.
    #[serde(skip_serializing_if = "is_zero")]
    pub analyses: Vec<ExperimentAnalysisRef>,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// Labels and annotations for the runs.
    pub analysis_run_metadata: PodTemplateMetadata,
    /// Seconds that pods stay after the end. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
}

/// One set of pods of an experiment step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "specRef"]))]
pub struct ExperimentStepTemplate {
    /// Name.
    pub name: String,
    /// Which revision to run: canary or stable.
    pub spec_ref: String,
    /// Number of pods. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Further labels and annotations for the pods.
    pub metadata: PodTemplateMetadata,
    /// Selector to use in place of the Rollout's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Share of the traffic. Needs trafficRouting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Makes a Service for these pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<TemplateService>,
}

/// A Service for the pods of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateService {
    /// Name. That of the ReplicaSet when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
}

/// One analysis of an experiment step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "templateName"]))]
pub struct ExperimentAnalysisRef {
    /// Name.
    pub name: String,
    /// Template to run.
    pub template_name: String,
    /// The template is a ClusterAnalysisTemplate.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster_scope: bool,
    /// Arguments.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<AnalysisRunArgument>,
    /// The experiment ends only after this analysis.
    #[serde(skip_serializing_if = "is_zero")]
    pub required_for_completion: bool,
}

/// Which templates to run, with which arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutAnalysis {
    /// Templates, merged into one run.
    #[serde(skip_serializing_if = "is_zero")]
    pub templates: Vec<AnalysisTemplateRef>,
    /// Arguments.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<AnalysisRunArgument>,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_run_metadata: Option<PodTemplateMetadata>,
    /// What follows a failure: abort (default), or pause, which leaves the judgement to a person. Extension.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("enum" = ["abort", "pause"]))]
    pub on_failure: OnFailure,
}

/// Analysis that runs beside the steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackgroundAnalysis {
    /// Templates, merged into one run.
    #[serde(skip_serializing_if = "is_zero")]
    pub templates: Vec<AnalysisTemplateRef>,
    /// Arguments.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<AnalysisRunArgument>,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_run_metadata: Option<PodTemplateMetadata>,
    /// Index of the step at which the run starts. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_step: Option<i32>,
    /// What follows a failure: abort (default), or pause, which leaves the judgement to a person. Extension.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("enum" = ["abort", "pause"]))]
    pub on_failure: OnFailure,
}

impl BackgroundAnalysis {
    /// Returns the block without the starting step.
    pub fn to_analysis(&self) -> RolloutAnalysis {
        RolloutAnalysis {
            templates: self.templates.clone(),
            args: self.args.clone(),
            dry_run: self.dry_run.clone(),
            measurement_retention: self.measurement_retention.clone(),
            analysis_run_metadata: self.analysis_run_metadata.clone(),
            on_failure: self.on_failure,
        }
    }
}

/// Names an analysis template.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisTemplateRef {
    /// Name.
    pub template_name: String,
    /// It is a ClusterAnalysisTemplate.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster_scope: bool,
}

/// An argument that a Rollout gives to an analysis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct AnalysisRunArgument {
    /// Name.
    pub name: String,
    /// Fixed value.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: String,
    /// Value taken from the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ArgumentValueFrom>,
}

/// Where in the Rollout a value is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ArgumentValueFrom {
    /// Hash of a revision: Stable or Latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_hash_value: Option<String>,
    /// A field of the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// Names a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["fieldPath"]))]
pub struct FieldRef {
    /// Path of the field.
    pub field_path: String,
}

/// Metrics that are shown and not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["metricName"]))]
pub struct DryRun {
    /// Regular expression over metric names.
    pub metric_name: String,
}

/// How many measurements of some metrics are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["metricName", "limit"]))]
pub struct MeasurementRetention {
    /// Regular expression over metric names.
    pub metric_name: String,
    /// How many.
    pub limit: i32,
}

/// The number of canary pods apart from the weight. The first of matchTrafficWeight, replicas and
/// weight that is set counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SetCanaryScale {
    /// Percentage of spec.replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Number of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Follows the traffic weight again.
    #[serde(skip_serializing_if = "is_zero")]
    pub match_traffic_weight: bool,
}

/// Sends requests with certain headers to the canary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SetHeaderRoute {
    /// Name of the route, one of managedRoutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Headers. None removes the route.
    #[serde(skip_serializing_if = "is_zero")]
    pub r#match: Vec<HeaderMatch>,
}

/// One header and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["headerName", "headerValue"]))]
pub struct HeaderMatch {
    /// Name of the header.
    pub header_name: String,
    /// Its value. Written as null when not set, as Go does.
    pub header_value: Option<StringMatch>,
}

/// Matches a string in one of three ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StringMatch {
    /// The whole string.
    #[serde(skip_serializing_if = "is_zero")]
    pub exact: String,
    /// How it begins.
    #[serde(skip_serializing_if = "is_zero")]
    pub prefix: String,
    /// A regular expression.
    #[serde(skip_serializing_if = "is_zero")]
    pub regex: String,
}

/// Copies certain requests to the canary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct SetMirrorRoute {
    /// Name of the route, one of managedRoutes.
    pub name: String,
    /// Requests. None removes the route.
    #[serde(skip_serializing_if = "is_zero")]
    pub r#match: Vec<RouteMatch>,
    /// Percentage of the matching requests. All of them when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<i32>,
}

/// Matches requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// Method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<StringMatch>,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<StringMatch>,
    /// Headers, by name.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers: BTreeMap<String, StringMatch>,
}

/// Runs a step plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct PluginStep {
    /// Name of the plugin.
    pub name: String,
    /// Its configuration, carried as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<RawObject>,
}
