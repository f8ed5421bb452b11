//! The Rollout: what is wanted of it and what its controller reports.
//!
//! It decides the wire form. A zero is left out exactly where Argo Rollouts leaves it out, so that a
//! status read and written again is the same JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::AnalysisPhase;
use crate::blue_green::{BlueGreenStatus, BlueGreenStrategy};
use crate::canary::{CanaryStatus, CanaryStrategy, RollingUpdateStrategy};
use crate::kind::kind;
use crate::meta::{LabelSelector, RawObject, Time, is_zero, text_enum};

kind! {
    /// A workload whose updates go out step by step.
    Rollout, "Rollout", "rollouts", NamespaceResourceScope, RolloutSpec, RolloutStatus
}

/// What is wanted of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// Number of pods wanted. Written as 1 into the object when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Which pods are ours. Needed unless workloadRef gives it; cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Pod template. Needed unless workloadRef is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RawObject>,
    /// Takes the pod template from another object: a Deployment, ReplicaSet or PodTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// Seconds a pod must be ready before it counts as available.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_ready_seconds: i32,
    /// How old revisions give way to new ones. Exactly one strategy is to be set.
    pub strategy: RolloutStrategy,
    /// How many old ReplicaSets are kept. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Paused by hand.
    #[serde(skip_serializing_if = "is_zero")]
    pub paused: bool,
    /// Seconds without progress after which an update counts as stuck. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Aborts an update that is stuck.
    #[serde(skip_serializing_if = "is_zero")]
    pub progress_deadline_abort: bool,
    /// Replaces every pod created before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
    /// How many finished analysis runs and experiments are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisRunStrategy>,
    /// Which rollbacks may go out at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_window: Option<RollbackWindow>,
}

/// Names the object that the pod template is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadRef {
    /// API group and version.
    #[serde(skip_serializing_if = "is_zero")]
    pub api_version: String,
    /// Deployment, ReplicaSet or PodTemplate.
    #[serde(skip_serializing_if = "is_zero")]
    pub kind: String,
    /// Name, in the same namespace.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// When the Deployment is scaled to zero: never (default), onsuccess or progressively.
    #[serde(skip_serializing_if = "is_zero")]
    pub scale_down: String,
}

/// The ways of updating. Exactly one is to be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    /// Full second set of pods, then one switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenStrategy>,
    /// A growing share of pods or traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStrategy>,
    /// Pod by pod, as a Deployment does it. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdateStrategy>,
}

/// How many finished analysis runs and experiments are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisRunStrategy {
    /// Successful ones. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_run_history_limit: Option<i32>,
    /// Failed, inconclusive and broken ones. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsuccessful_run_history_limit: Option<i32>,
}

/// Which rollbacks may go out at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackWindow {
    /// Rolling back skips all steps when fewer revisions than this lie between. 0 turns it off.
    #[serde(skip_serializing_if = "is_zero")]
    pub revisions: i32,
}

/// Keeps pods of two revisions apart, or tries to. Exactly one kind is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AntiAffinity {
    /// Prefers another node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_during_scheduling_ignored_during_execution: Option<PreferredAntiAffinity>,
    /// Demands another node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_during_scheduling_ignored_during_execution: Option<RequiredAntiAffinity>,
}

/// How much another node is preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["weight"]))]
pub struct PreferredAntiAffinity {
    /// Weight of the preference, 1 to 100.
    pub weight: i32,
}

/// Another node is demanded; there is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequiredAntiAffinity {}

/// What the controller reports of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// True while the update is aborted. May be set and cleared by a person.
    #[serde(skip_serializing_if = "is_zero")]
    pub abort: bool,
    /// Why the update waits. Cleared by a person to go on.
    #[serde(skip_serializing_if = "is_zero")]
    pub pause_conditions: Vec<PauseCondition>,
    /// True when the controller itself added a pause condition.
    #[serde(skip_serializing_if = "is_zero")]
    pub controller_pause: bool,
    /// When the update was aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<Time>,
    /// Hash of the current pod template.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_pod_hash: String,
    /// Hash of the canary steps; a change starts them over.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_step_hash: String,
    /// Pods of all revisions.
    #[serde(skip_serializing_if = "is_zero")]
    pub replicas: i32,
    /// Pods of the current revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i32,
    /// Ready pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i32,
    /// Available pods.
    #[serde(skip_serializing_if = "is_zero")]
    pub available_replicas: i32,
    /// Canary step in progress; the number of steps when all are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_index: Option<i32>,
    /// Counts names of ReplicaSets that were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Generation this status speaks of, in decimal.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: String,
    /// What holds at present, with reasons.
    #[serde(skip_serializing_if = "is_zero")]
    pub conditions: Vec<RolloutCondition>,
    /// Of the canary strategy.
    pub canary: CanaryStatus,
    /// Of the blue-green strategy.
    pub blue_green: BlueGreenStatus,
    /// Pods that an autoscaler should count.
    #[serde(rename = "HPAReplicas", skip_serializing_if = "is_zero")]
    pub hpa_replicas: i32,
    /// Selector of the pods that an autoscaler should look at.
    #[serde(skip_serializing_if = "is_zero")]
    pub selector: String,
    /// Hash of the stable revision.
    #[serde(rename = "stableRS", skip_serializing_if = "is_zero")]
    pub stable_rs: String,
    /// restartAt of the last restart that is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Time>,
    /// Set by a person to skip all that is left of the update.
    #[serde(skip_serializing_if = "is_zero")]
    pub promote_full: bool,
    /// Healthy, Progressing, Paused or Degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RolloutPhase>,
    /// Why the phase is what it is.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
    /// Generation of the referenced workload this status speaks of, in decimal.
    #[serde(skip_serializing_if = "is_zero")]
    pub workload_observed_generation: String,
    /// AWS objects of the last load balancer looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alb: Option<AlbStatus>,
    /// AWS objects, one entry per ingress.
    #[serde(skip_serializing_if = "is_zero")]
    pub albs: Vec<AlbStatus>,
    /// How long the update has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<RolloutDuration>,
}

text_enum! {
    /// The one-word state of a Rollout.
    RolloutPhase {
        /// All is as wanted.
        Healthy = "Healthy",
        /// On the way.
        Progressing = "Progressing",
        /// Waiting for a person or for time to pass.
        Paused = "Paused",
        /// Aborted, stuck or invalid.
        Degraded = "Degraded",
    }
}

text_enum! {
    /// Why an update waits.
    PauseReason {
        /// A canary pause step.
        CanaryPauseStep = "CanaryPauseStep",
        /// Blue-green waits before the switch.
        BlueGreenPause = "BlueGreenPause",
        /// An analysis run could not tell good from bad.
        InconclusiveAnalysisRun = "InconclusiveAnalysisRun",
        /// An experiment could not tell good from bad.
        InconclusiveExperiment = "InconclusiveExperiment",
    }
}

/// One reason why the update waits, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseCondition {
    /// Why.
    pub reason: PauseReason,
    /// Since when.
    pub start_time: Time,
}

text_enum! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// It cannot be told.
        Unknown = "Unknown",
    }
}

/// One thing that holds, does not hold, or cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutCondition {
    /// What this is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// When it was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Reason in one word.
    #[serde(default)]
    pub reason: String,
    /// Reason for people.
    #[serde(default)]
    pub message: String,
}

/// AWS objects behind one ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AlbStatus {
    /// Load balancer.
    pub load_balancer: AwsResourceRef,
    /// Target group of the canary.
    pub canary_target_group: AwsResourceRef,
    /// Target group of stable.
    pub stable_target_group: AwsResourceRef,
    /// Ingress.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress: String,
}

/// One AWS object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AwsResourceRef {
    /// Name.
    pub name: String,
    /// Amazon resource name.
    pub arn: String,
    /// Tail of the resource name, as metrics use it.
    #[serde(skip_serializing_if = "is_zero")]
    pub full_name: String,
}

/// How long an update has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutDuration {
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_started_at: Option<Time>,
    /// When the present wait for a person began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual_pause_started_at: Option<Time>,
    /// Seconds spent waiting for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_manual_pause_duration_seconds: Option<i64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_status: Option<CompletionStatus>,
}

text_enum! {
    /// How an update ended.
    CompletionStatus {
        /// Every step was taken.
        Promoted = "Promoted",
        /// A person skipped what was left.
        FastPromoted = "FastPromoted",
        /// It was aborted.
        Aborted = "Aborted",
        /// An older revision went out step by step.
        RolledBack = "RolledBack",
        /// An older revision went out at once.
        FastRolledBack = "FastRolledBack",
        /// A newer update took its place.
        Superseded = "Superseded",
    }
}

/// Which analysis run counts at present, and how it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnalysisRunRef {
    /// Name of the run.
    pub name: String,
    /// Its phase.
    pub status: AnalysisPhase,
    /// Its message.
    #[serde(skip_serializing_if = "is_zero")]
    pub message: String,
}
