//! Names of labels and annotations.
//!
//! It decides how they are spelt. What each one does is decided where it is read or written.

/// Label on ReplicaSets, pods, Service selectors, runs and experiments: identity of a revision.
pub const POD_TEMPLATE_HASH: &str = "rollouts-pod-template-hash";
/// Label on all kinds: which controller looks after the object.
pub const CONTROLLER_INSTANCE_ID: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label on AnalysisRuns: what the run is for.
pub const ROLLOUT_TYPE: &str = "rollout-type";
/// Value of [`ROLLOUT_TYPE`] for the run of a canary step.
pub const ROLLOUT_TYPE_STEP: &str = "Step";
/// Value of [`ROLLOUT_TYPE`] for the run beside the steps.
pub const ROLLOUT_TYPE_BACKGROUND: &str = "Background";
/// Value of [`ROLLOUT_TYPE`] for the run before a blue-green switch.
pub const ROLLOUT_TYPE_PRE_PROMOTION: &str = "PrePromotion";
/// Value of [`ROLLOUT_TYPE`] for the run after a blue-green switch.
pub const ROLLOUT_TYPE_POST_PROMOTION: &str = "PostPromotion";
/// Label on AnalysisRuns of a step: its index in decimal.
pub const STEP_INDEX: &str = "step-index";
/// Label on metric Jobs and their pods: UID of the run.
pub const ANALYSIS_RUN_UID: &str = "analysisrun.argoproj.io/uid";
/// Label on Secrets: `"true"` marks the kubeconfig of Istio's primary cluster.
pub const ISTIO_PRIMARY_CLUSTER: &str = "istio.argoproj.io/primary-cluster";

/// Annotation on Rollouts, ReplicaSets, runs and experiments: decimal revision.
pub const REVISION: &str = "rollout.argoproj.io/revision";
/// Annotation on ReplicaSets: earlier revisions, separated by commas.
pub const REVISION_HISTORY: &str = "rollout.argoproj.io/revision-history";
/// Annotation on ReplicaSets: the Rollout's replicas when the set was last scaled.
pub const DESIRED_REPLICAS: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation on Rollouts and ReplicaSets: generation of the referenced workload.
pub const WORKLOAD_GENERATION: &str = "rollout.argoproj.io/workload-generation";
/// Annotation on ReplicaSets: JSON of the labels and annotations that were put on for a role.
pub const EPHEMERAL_METADATA: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation on ReplicaSets: when the set is to be scaled to zero, RFC 3339 in UTC.
pub const SCALE_DOWN_DEADLINE: &str = "scale-down-deadline";
/// Annotation on ReplicaSets and Services of an experiment: its name.
pub const EXPERIMENT_NAME: &str = "experiment.argoproj.io/name";
/// Annotation on ReplicaSets and Services of an experiment: the template's name.
pub const EXPERIMENT_TEMPLATE_NAME: &str = "experiment.argoproj.io/template-name";
/// Annotation on metric Jobs: name of the run.
pub const ANALYSIS_RUN_NAME: &str = "analysisrun.argoproj.io/name";
/// Annotation on metric Jobs: namespace of the run.
pub const ANALYSIS_RUN_NAMESPACE: &str = "analysisrun.argoproj.io/namespace";
/// Annotation on metric Jobs: name of the metric.
pub const ANALYSIS_RUN_METRIC_NAME: &str = "analysisrun.argoproj.io/metric-name";
/// Annotation on Services, DestinationRules and VirtualNodes: name of the Rollout that writes them.
pub const MANAGED_BY_ROLLOUTS: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
/// Annotation on Ingresses: JSON of the annotation keys that each Rollout owns.
pub const MANAGED_ALB_ANNOTATIONS: &str = "rollouts.argoproj.io/managed-alb-annotations";
/// Annotation on Ingresses that older releases wrote; only ever deleted.
pub const MANAGED_ALB_ACTIONS: &str = "rollouts.argoproj.io/managed-alb-actions";
/// Annotation on Ingresses: their class; wins over `spec.ingressClassName`.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// Prefix of annotations that subscribe to notifications: `<prefix><trigger>.<service>`.
pub const NOTIFICATION_SUBSCRIBE_PREFIX: &str = "notifications.argoproj.io/subscribe.";
/// Annotation on Rollouts: which notifications have been sent.
pub const NOTIFIED: &str = "notified.notifications.argoproj.io";
/// Annotation that is reserved and not used.
pub const RESTARTED_AFTER: &str = "argo-rollouts.argoproj.io/restarted-after";
/// Annotation that kubectl keeps for itself.
pub const LAST_APPLIED_CONFIGURATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotations of a Rollout that are not copied to its ReplicaSets.
pub const NOT_COPIED_TO_REPLICA_SETS: &[&str] =
    &[LAST_APPLIED_CONFIGURATION, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, NOTIFIED];

/// Default prefix of annotations of the NGINX Ingress controller.
pub const NGINX_ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io";
/// Default prefix of annotations of the AWS load balancer controller.
pub const ALB_ANNOTATION_PREFIX: &str = "alb.ingress.kubernetes.io";

/// Prefix of all labels and annotations that Argo Rollouts does not know.
pub const EXTENSION_PREFIX: &str = "sluice.dev/";
/// Annotation of an AnalysisRun: index of the step at which its Rollout stands.
pub const AT_STEP: &str = "sluice.dev/at-step";
/// Annotation of an AnalysisRun: weight at which its Rollout stands, as setWeight names it.
pub const AT_WEIGHT: &str = "sluice.dev/at-weight";
