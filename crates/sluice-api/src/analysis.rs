//! Analysis: templates, the runs made of them, and metrics.
//!
//! It decides the wire form. Whether a measurement is good is decided where conditions are evaluated.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gates::{Baseline, InsufficientTraffic, Origin, Samples, Thresholds};
use crate::kind::kind;
use crate::meta::{IntOrString, Time, is_zero, text_enum};
use crate::providers::MetricProvider;
use crate::steps::{AnalysisTemplateRef, DryRun, FieldRef, MeasurementRetention};

kind! {
    /// Metrics that analysis runs in the same namespace are made of.
    AnalysisTemplate, "AnalysisTemplate", "analysistemplates", NamespaceResourceScope, AnalysisTemplateSpec
}

kind! {
    /// Metrics that analysis runs in any namespace are made of.
    ClusterAnalysisTemplate, "ClusterAnalysisTemplate", "clusteranalysistemplates", ClusterResourceScope,
    AnalysisTemplateSpec
}

kind! {
    /// One run of some metrics, and its outcome.
    AnalysisRun, "AnalysisRun", "analysisruns", NamespaceResourceScope, AnalysisRunSpec, AnalysisRunStatus
}

/// Metrics and the arguments they need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisTemplateSpec {
    /// Metrics.
    #[serde(skip_serializing_if = "is_zero")]
    pub metrics: Vec<Metric>,
    /// Arguments, with values for those that need not be given.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<Argument>,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Further templates whose metrics join these.
    #[serde(skip_serializing_if = "is_zero")]
    pub templates: Vec<AnalysisTemplateRef>,
}

/// What one run is to measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["metrics"]))]
pub struct AnalysisRunSpec {
    /// Metrics.
    pub metrics: Vec<Metric>,
    /// Arguments and their values.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<Argument>,
    /// Ends the run early.
    #[serde(skip_serializing_if = "is_zero")]
    pub terminate: bool,
    /// Metrics that are shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// How long the run is kept after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_strategy: Option<TtlStrategy>,
}

/// How long a run is kept after its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TtlStrategy {
    /// Seconds, whatever the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_after_completion: Option<i32>,
    /// Seconds after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_after_failure: Option<i32>,
    /// Seconds after a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_after_success: Option<i32>,
}

/// An argument of a template or run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct Argument {
    /// Name.
    pub name: String,
    /// Value. In a template, the one that holds when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value is taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where the value of an argument is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueFrom {
    /// A Secret in the run's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// A field. Accepted, and resolved only where a Rollout gives the argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "key"]))]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// What to measure, how often, and what counts as good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "provider"]))]
pub struct Metric {
    /// Name, unique in the run.
    pub name: String,
    /// Time between measurements, such as 1m.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: String,
    /// Time before the first measurement.
    #[serde(skip_serializing_if = "is_zero")]
    pub initial_delay: String,
    /// Number of measurements. 1 when not set and no interval is; without end when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<IntOrString>,
    /// A measurement is good when this holds.
    #[serde(skip_serializing_if = "is_zero")]
    pub success_condition: String,
    /// A measurement is bad when this holds.
    #[serde(skip_serializing_if = "is_zero")]
    pub failure_condition: String,
    /// Bad measurements that are tolerated. Default 0; -1 turns the limit off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<IntOrString>,
    /// Inconclusive measurements that are tolerated. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inconclusive_limit: Option<IntOrString>,
    /// Errors in a row that are tolerated. Default 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_error_limit: Option<IntOrString>,
    /// Good measurements in a row that end the metric well. Default 0, which turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_success_limit: Option<IntOrString>,
    /// Who measures. Exactly one is to be set.
    pub provider: MetricProvider,
    /// Whose health it shows: own (default), or dependency, which never fails the run; while it is bad, bad
    /// measurements of the others count as inconclusive. Extension.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("enum" = ["own", "dependency"]))]
    pub origin: Origin,
    /// Time from the beginning of the run in which measurements are shown and not judged. Extension.
    #[serde(skip_serializing_if = "is_zero")]
    pub warm_up: String,
    /// Samples below which nothing is said of good and bad. Needs samples. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<IntOrString>,
    /// Where the number of samples is taken from. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    /// What too few samples come to, or no data: inconclusive (default), pass or fail. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["inconclusive", "pass", "fail"]))]
    pub on_insufficient_traffic: Option<InsufficientTraffic>,
    /// Limits that may tighten from step to step. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// The stable version in the same window, for comparison. Needs thresholds. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

text_enum! {
    /// How a run, a metric, a measurement or an experiment stands.
    #[derive(Default)]
    AnalysisPhase {
        /// Nothing is known yet.
        #[default]
        Unset = "",
        /// Waiting to begin.
        Pending = "Pending",
        /// Under way.
        Running = "Running",
        /// Ended well.
        Successful = "Successful",
        /// Ended badly.
        Failed = "Failed",
        /// Could not be carried out.
        Error = "Error",
        /// Ended without telling good from bad.
        Inconclusive = "Inconclusive",
    }
}

impl AnalysisPhase {
    /// True when nothing changes any more.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Successful | Self::Failed | Self::Error | Self::Inconclusive => true,
            Self::Unset | Self::Pending | Self::Running => false,
        }
    }

    /// Returns a rank that grows with badness: successful, running, pending, inconclusive, error,
    /// failed. A phase that is not set ranks lowest.
    pub const fn badness(self) -> u8 {
        match self {
            Self::Unset => 0,
            Self::Successful => 1,
            Self::Running => 2,
            Self::Pending => 3,
            Self::Inconclusive => 4,
            Self::Error => 5,
            Self::Failed => 6,
        }
    }
}

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisRunStatus {
    /// Phase of the whole run.
    pub phase: AnalysisPhase,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// Results by metric.
    #[serde(skip_serializing_if = "is_zero")]
    pub metric_results: Vec<MetricResult>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Metrics that count, by outcome.
    pub run_summary: RunSummary,
    /// Metrics that are only shown, by outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run_summary: Option<RunSummary>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// Numbers of metrics by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSummary {
    /// All of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: i32,
    /// Ended well.
    #[serde(skip_serializing_if = "is_zero")]
    pub successful: i32,
    /// Ended badly.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: i32,
    /// Ended without telling good from bad.
    #[serde(skip_serializing_if = "is_zero")]
    pub inconclusive: i32,
    /// Could not be carried out.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: i32,
}

/// What one metric has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricResult {
    /// Name of the metric.
    pub name: String,
    /// Phase of the metric.
    pub phase: AnalysisPhase,
    /// Newest measurements.
    #[serde(skip_serializing_if = "is_zero")]
    pub measurements: Vec<Measurement>,
    /// Why it ended as it did.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// Measurements without errors.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: i32,
    /// Good ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub successful: i32,
    /// Bad ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: i32,
    /// Inconclusive ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub inconclusive: i32,
    /// Errors.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: i32,
    /// Errors in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub consecutive_error: i32,
    /// True when the metric is shown and not judged.
    #[serde(skip_serializing_if = "is_zero")]
    pub dry_run: bool,
    /// What the provider says of the metric, such as the query it sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub metadata: BTreeMap<String, String>,
    /// Good ones in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub consecutive_success: i32,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Measurement {
    /// How it went.
    pub phase: AnalysisPhase,
    /// Why.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What was measured.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: String,
    /// What the provider says of the measurement, such as the name of a Job.
    #[serde(skip_serializing_if = "is_zero")]
    pub metadata: BTreeMap<String, String>,
    /// When to look again at one that takes several looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<Time>,
}
