//! The command line and the environment of the controller.
//!
//! Names, defaults and spellings are those of Argo Rollouts v1.10 (`cmd/rollouts-controller/main.go`),
//! so that its manifests and Helm values start this binary unchanged: every flag is accepted, also
//! one that changes nothing here, which is said at the start. Nothing is decided from the values here
//! except how to reach the API server.

mod kubeconfig;

pub use kubeconfig::ClientConfigError;

use crate::analysis::measure::Providers;
use crate::analysis::sender;
use crate::{lease::Timings, logging::Secret};
use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, parser::ValueSource};
use std::{ffi::OsString, time::Duration};

/// Flags that are accepted and change nothing, with the reason. Each is warned about when it is given.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("rollout-resync", "nothing depends on a resync"),
    ("service-threads", "services have no queue of their own"),
    ("ingress-threads", "ingresses have no queue of their own"),
    ("ephemeral-metadata-threads", "not yet supported"),
    ("ephemeral-metadata-update-pod-retries", "not yet supported"),
    ("qps", "the API server's own fairness is the limit"),
    ("burst", "the API server's own fairness is the limit"),
    ("self-service-notification-enabled", "not yet supported"),
    ("enable-pprof-address", "there is no Go runtime to look into"),
    ("alb-ingress-classes", "not yet supported"),
    ("nginx-ingress-classes", "not yet supported"),
    ("aws-verify-target-group", "not yet supported"),
    ("aws-target-group-binding-api-version", "not yet supported"),
    ("alb-tag-key-resource-id", "not yet supported"),
    ("istio-api-version", "the version that the cluster serves is used"),
    ("traffic-split-api-version", "the version that the cluster serves is used"),
    ("appmesh-crd-version", "the version that the cluster serves is used"),
    ("ambassador-api-version", "the version that the cluster serves is used"),
    ("traefik-api-group", "the version that the cluster serves is used"),
    ("traefik-api-version", "the version that the cluster serves is used"),
    ("ingress-api-version", "networking.k8s.io/v1 is used"),
];

/// Whether a shift of traffic is confirmed before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    /// Where somebody can be asked; elsewhere the settle time has to pass.
    #[default]
    Auto,
    /// Always: without an answer, it is not confirmed.
    Strict,
    /// Never: what was written counts.
    Off,
}

/// How far a routed rollout may exceed its replicas on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Surge {
    /// As Argo Rollouts sizes it, warned about when it is more than maxSurge.
    #[default]
    AtOnce,
    /// Never more than maxSurge.
    Staged,
}

/// The flags of the controller.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Watch one namespace only, with a Role instead of a ClusterRole
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, help_heading = "Scope")]
    pub namespaced: bool,
    /// Handle only objects labelled with this controller instance id
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Scope")]
    pub instance_id: String,
    /// Controllers to run; all unless given. Only `analysis` can be named
    #[arg(long, value_delimiter = ',', value_parser = ["analysis"], help_heading = "Scope")]
    pub controllers: Vec<String>,

    /// Elect a leader, so that several replicas can run
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = ArgAction::Set, help_heading = "Leader election")]
    pub leader_elect: bool,
    /// How long others wait after the last renewal of the lease
    #[arg(long, default_value = "15s", value_parser = go_duration, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_election_lease_duration: Duration,
    /// How long after a renewal the leader may write
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_election_renew_deadline: Duration,
    /// How often the lease is renewed or looked at
    #[arg(long, default_value = "2s", value_parser = go_duration, value_name = "DURATION", help_heading = "Leader election")]
    pub leader_election_retry_period: Duration,

    /// Port of /metrics
    #[arg(
        long = "metricsPort",
        alias = "metricsport",
        default_value_t = 8090,
        value_name = "PORT",
        help_heading = "Servers and logs"
    )]
    pub metrics_port: u16,
    /// Port of /healthz
    #[arg(
        long = "healthzPort",
        default_value_t = 8080,
        value_name = "PORT",
        help_heading = "Servers and logs"
    )]
    pub healthz_port: u16,
    /// Serve /debug/rollouts/<namespace>/<name>
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, help_heading = "Servers and logs")]
    pub debug_rollouts: bool,
    /// Address of Go's profiler
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Servers and logs")]
    pub enable_pprof_address: String,
    /// Log level: debug, info, warn or error
    #[arg(long, default_value = "info", value_name = "LEVEL", help_heading = "Servers and logs")]
    pub loglevel: String,
    /// Log format: text or json
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "FORMAT",
        help_heading = "Servers and logs"
    )]
    pub logformat: String,
    /// Log level of the Kubernetes client, from 0 to 10
    #[arg(short = 'v', long, default_value_t = 0, value_name = "LEVEL", help_heading = "Servers and logs")]
    pub kloglevel: u8,
    /// Print the version and exit
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, help_heading = "Servers and logs")]
    pub version: bool,

    /// Rollouts worked on at the same time
    #[arg(long, default_value_t = 10, value_name = "COUNT", help_heading = "Workers")]
    pub rollout_threads: usize,
    /// Experiments worked on at the same time
    #[arg(long, default_value_t = 10, value_name = "COUNT", help_heading = "Workers")]
    pub experiment_threads: usize,
    /// AnalysisRuns worked on at the same time
    #[arg(long, default_value_t = 30, value_name = "COUNT", help_heading = "Workers")]
    pub analysis_threads: usize,
    /// Services worked on at the same time
    #[arg(long, default_value_t = 10, value_name = "COUNT", help_heading = "Workers")]
    pub service_threads: usize,
    /// Ingresses worked on at the same time
    #[arg(long, default_value_t = 10, value_name = "COUNT", help_heading = "Workers")]
    pub ingress_threads: usize,
    /// Pods whose ephemeral metadata is changed at the same time
    #[arg(long, default_value_t = 10, value_name = "COUNT", help_heading = "Workers")]
    pub ephemeral_metadata_threads: usize,
    /// How often a change of ephemeral metadata is tried again
    #[arg(long, default_value_t = 3, value_name = "COUNT", help_heading = "Workers")]
    pub ephemeral_metadata_update_pod_retries: u32,
    /// Resync period in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS", help_heading = "Workers")]
    pub rollout_resync: u64,
    /// Requests per second to the API server
    #[arg(long, default_value_t = 40.0, help_heading = "Workers")]
    pub qps: f64,
    /// Requests at once to the API server
    #[arg(long, default_value_t = 80, help_heading = "Workers")]
    pub burst: u32,

    /// How long a shift of traffic takes where nobody can be asked
    #[arg(long, default_value_t = 5, value_name = "SECONDS", help_heading = "Safety")]
    pub settle_seconds: u64,
    /// Whether a shift of traffic is confirmed before it counts
    #[arg(long, value_enum, default_value_t, help_heading = "Safety")]
    pub verify: Verify,
    /// How far a rollout with a traffic router may exceed its replicas
    #[arg(long, value_enum, default_value_t, help_heading = "Safety")]
    pub surge: Surge,

    /// Let namespaces configure notifications of their own
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, help_heading = "Notifications")]
    pub self_service_notification_enabled: bool,

    /// Ingress classes of the AWS load balancer controller
    #[arg(
        long,
        default_value = "alb",
        value_delimiter = ',',
        value_name = "CLASS",
        help_heading = "Traffic routers"
    )]
    pub alb_ingress_classes: Vec<String>,
    /// Ingress classes of ingress-nginx
    #[arg(
        long,
        default_value = "nginx",
        value_delimiter = ',',
        value_name = "CLASS",
        help_heading = "Traffic routers"
    )]
    pub nginx_ingress_classes: Vec<String>,
    /// Ask AWS whether target groups have what they should
    #[arg(long, alias = "alb-verify-weight", value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, help_heading = "Traffic routers")]
    pub aws_verify_target_group: bool,
    /// API version of TargetGroupBinding
    #[arg(
        long,
        default_value = "elbv2.k8s.aws/v1beta1",
        value_name = "VERSION",
        help_heading = "Traffic routers"
    )]
    pub aws_target_group_binding_api_version: String,
    /// Tag that names the resource of a target group
    #[arg(
        long,
        default_value = "ingress.k8s.aws/resource",
        value_name = "TAG",
        help_heading = "Traffic routers"
    )]
    pub alb_tag_key_resource_id: String,
    /// API version of Istio
    #[arg(long, default_value = "v1alpha3", value_name = "VERSION", help_heading = "Traffic routers")]
    pub istio_api_version: String,
    /// API version of TrafficSplit
    #[arg(long, default_value = "v1alpha1", value_name = "VERSION", help_heading = "Traffic routers")]
    pub traffic_split_api_version: String,
    /// API version of App Mesh
    #[arg(long, default_value = "v1beta2", value_name = "VERSION", help_heading = "Traffic routers")]
    pub appmesh_crd_version: String,
    /// API version of Ambassador
    #[arg(
        long,
        default_value = "getambassador.io/v2",
        value_name = "VERSION",
        help_heading = "Traffic routers"
    )]
    pub ambassador_api_version: String,
    /// API group of Traefik
    #[arg(long, default_value = "traefik.io", value_name = "GROUP", help_heading = "Traffic routers")]
    pub traefik_api_group: String,
    /// API version of Traefik
    #[arg(
        long,
        default_value = "traefik.io/v1alpha1",
        value_name = "VERSION",
        help_heading = "Traffic routers"
    )]
    pub traefik_api_version: String,
    /// API version of Ingress: extensions/v1beta1 or networking/v1
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "VERSION",
        help_heading = "Traffic routers"
    )]
    pub ingress_api_version: String,

    /// How to reach the API server.
    #[command(flatten)]
    pub kube: KubeFlags,
}

/// The flags that kubectl has, too.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "API server")]
pub struct KubeFlags {
    /// Path to a kubeconfig; in a cluster the service account is used without one
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig
    #[arg(long)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long)]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long)]
    pub user: Option<String>,
    /// Namespace to be at home in
    #[arg(short = 'n', long)]
    pub namespace: Option<String>,
    /// Address of the API server
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token
    #[arg(long)]
    pub token: Option<Secret<String>>,
    /// User for basic authentication
    #[arg(long)]
    pub username: Option<String>,
    /// Password for basic authentication
    #[arg(long)]
    pub password: Option<Secret<String>>,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate; can be given several times
    #[arg(long = "as-group", value_name = "GROUP")]
    pub impersonate_groups: Vec<String>,
    /// Uid to impersonate
    #[arg(long = "as-uid", value_name = "UID")]
    pub impersonate_uid: Option<String>,
    /// Path to the certificate of an authority to trust
    #[arg(long, value_name = "PATH")]
    pub certificate_authority: Option<String>,
    /// Path to a client certificate
    #[arg(long, value_name = "PATH")]
    pub client_certificate: Option<String>,
    /// Path to the key of the client certificate
    #[arg(long, value_name = "PATH")]
    pub client_key: Option<String>,
    /// Trust any certificate of the API server
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub insecure_skip_tls_verify: bool,
    /// Name that the certificate of the API server has
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Proxy on the way to the API server
    #[arg(long, value_name = "URL")]
    pub proxy_url: Option<String>,
    /// Do not ask for compressed answers
    #[arg(long, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub disable_compression: bool,
    /// How long connecting and sending may take; 0 is for ever. Watches stay open regardless
    #[arg(long, default_value = "0", value_parser = go_duration, value_name = "DURATION")]
    pub request_timeout: Duration,
}

impl Flags {
    /// The command line as clap knows it, under Argo's name for the binary.
    pub fn command() -> Command {
        Self::augment_args(Command::new("rollouts-controller").disable_version_flag(true))
    }

    /// Reads a command line whose first word is the program, and says which flags have no effect.
    ///
    /// # Errors
    /// What clap finds wrong; it prints itself.
    pub fn read<I, A>(arguments: I) -> Result<(Self, Vec<String>), clap::Error>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(arguments)?;
        Ok((Self::from_arg_matches(&matches)?, Self::warnings(&matches)))
    }

    /// Names the flags that were given and have no effect.
    pub fn warnings(matches: &ArgMatches) -> Vec<String> {
        let given = |flag: &str| {
            let id = flag.replace('-', "_");
            matches.value_source(&id) == Some(ValueSource::CommandLine)
        };
        let without_effect = WITHOUT_EFFECT.iter().filter(|(flag, _)| given(flag));
        without_effect.map(|(flag, why)| format!("flag --{flag} has no effect: {why}")).collect()
    }

    /// The timings of the election.
    pub fn lease_timings(&self) -> Timings {
        Timings {
            lease_duration: self.leader_election_lease_duration,
            renew_deadline: self.leader_election_renew_deadline,
            retry_period: self.leader_election_retry_period,
        }
    }

    /// Whether only AnalysisRuns are handled.
    pub fn is_analysis_only(&self) -> bool {
        !self.controllers.is_empty()
    }
}

/// Reads a bool as Go does.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Reads a duration as Go does, such as `1m30s` or `1.5h`, without a sign; a bare `0` is nothing.
fn go_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 500ms, 15s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit_on) = rest.split_at(number_end);
        let unit_end = unit_on.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_on.len());
        let (unit, further) = unit_on.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = further;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Where a pod finds its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Where the lease and the configuration are: `POD_NAMESPACE`, else the service account's
    /// namespace, else `argo-rollouts`.
    pub controller_namespace: String,
    /// `ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG`: `in-cluster` or a path.
    pub analysis_job_kubeconfig: Option<String>,
    /// `ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE`.
    pub analysis_job_namespace: Option<String>,
    /// `ARGO_ROLLOUTS_PROMETHEUS_ADDRESS`.
    pub prometheus_address: Option<String>,
    /// `DD_ADDRESS`, `DD_API_KEY` and `DD_APP_KEY`, if all three are there.
    pub datadog: Option<Datadog>,
    /// `ROLLOUT_VERIFY_RETRY_INTERVAL` in seconds, 10 without it. Argo Rollouts v1.10 reads it the
    /// wrong way round: a value that makes sense is ignored.
    pub verify_retry_interval: Duration,
}

/// How to reach Datadog unless an AnalysisTemplate says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datadog {
    /// `DD_ADDRESS`.
    pub address: String,
    /// `DD_API_KEY`.
    pub api_key: Secret<String>,
    /// `DD_APP_KEY`.
    pub app_key: Secret<String>,
}

impl Environment {
    /// How metrics are asked for.
    pub fn providers(&self) -> Providers {
        let datadog = self.datadog.as_ref().map(|datadog| sluice_integrations::DatadogKeys {
            address: datadog.address.clone(),
            api_key: sluice_integrations::Secret::new(datadog.api_key.expose()),
            app_key: sluice_integrations::Secret::new(datadog.app_key.expose()),
        });
        let context = sluice_integrations::Context {
            controller_namespace: self.controller_namespace.clone(),
            prometheus_address: self.prometheus_address.clone(),
            datadog,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..sluice_integrations::Context::default()
        };
        let mut providers = Providers::new(sender::over_the_network(), context);
        providers.job_namespace.clone_from(&self.analysis_job_namespace);
        providers
    }

    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        let namespace = std::fs::read_to_string(NAMESPACE_FILE).ok();
        Self::read(|name| std::env::var(name).ok(), namespace.as_deref())
    }

    /// Reads an environment; `namespace_file` is what the service account's file says.
    pub fn read(variable: impl Fn(&str) -> Option<String>, namespace_file: Option<&str>) -> Self {
        let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let variable = |name: &str| variable(name).and_then(filled);
        let controller_namespace = variable("POD_NAMESPACE")
            .or_else(|| namespace_file.map(str::to_owned).and_then(filled))
            .unwrap_or_else(|| "argo-rollouts".to_owned());
        let datadog = || {
            Some(Datadog {
                address: variable("DD_ADDRESS")?,
                api_key: Secret::new(variable("DD_API_KEY")?),
                app_key: Secret::new(variable("DD_APP_KEY")?),
            })
        };
        let seconds = variable("ROLLOUT_VERIFY_RETRY_INTERVAL").and_then(|text| text.parse().ok());
        Self {
            controller_namespace,
            analysis_job_kubeconfig: variable("ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG"),
            analysis_job_namespace: variable("ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE"),
            prometheus_address: variable("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"),
            datadog: datadog(),
            verify_retry_interval: Duration::from_secs(seconds.filter(|seconds| *seconds > 0).unwrap_or(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<(Flags, Vec<String>), clap::Error> {
        Flags::read(std::iter::once("rollouts-controller").chain(arguments.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Flags::command().debug_assert();
        let known: Vec<String> = Flags::command()
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        for (flag, _) in WITHOUT_EFFECT {
            assert!(known.iter().any(|long| long == flag), "--{flag} is not a flag");
        }
    }

    #[test]
    fn defaults() {
        let (flags, warnings) = read("").expect("nothing is required");
        insta::with_settings!({ snapshot_path => "flags/snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_debug_snapshot!("defaults", flags);
        });
        assert_eq!(warnings, [""; 0]);
        assert_eq!(flags.lease_timings().validate(), Ok(Timings::default()));
    }

    #[test]
    fn command_lines_of_the_helm_chart_and_others() {
        let probes = "--healthzPort=8080 --metricsPort=8090 --loglevel=info --logformat=text --kloglevel=0";
        // (arguments, what must hold, how many warnings)
        type Check = fn(&Flags) -> bool;
        let cases: [(String, Check, usize); 12] = [
            (format!("{probes} --leader-elect"), |flags| flags.leader_elect && flags.logformat == "text", 0),
            (format!("{probes} --namespaced"), |flags| flags.namespaced && flags.leader_elect, 0),
            ("--leader-elect=false --namespaced=true".to_owned(), |flags| !flags.leader_elect && flags.namespaced, 0),
            ("--instance-id blue --controllers=analysis".to_owned(), |flags| {
                flags.instance_id == "blue" && flags.is_analysis_only()
            }, 0),
            ("--metricsport 1 --logformat= --loglevel=debug -v 6".to_owned(), |flags| {
                flags.metrics_port == 1 && flags.logformat.is_empty() && flags.kloglevel == 6
            }, 0),
            ("--self-service-notification-enabled --aws-verify-target-group \
              --aws-target-group-binding-api-version=elbv2.k8s.aws/v1alpha1 --alb-tag-key-resource-id=x"
                .to_owned(), |flags| flags.self_service_notification_enabled && flags.aws_verify_target_group, 4),
            ("--alb-verify-weight --enable-pprof-address=127.0.0.1:8888".to_owned(), |flags| {
                flags.aws_verify_target_group
            }, 2),
            ("--rollout-threads=20 --analysis-threads 60 --qps=100 --burst=200".to_owned(), |flags| {
                (flags.rollout_threads, flags.analysis_threads) == (20, 60)
            }, 2),
            ("--leader-election-lease-duration=1m30s --leader-election-renew-deadline=1.5s \
              --leader-election-retry-period 500ms"
                .to_owned(), |flags| {
                flags.lease_timings().lease_duration == Duration::from_secs(90)
                    && flags.lease_timings().renew_deadline == Duration::from_millis(1500)
                    && flags.lease_timings().retry_period == Duration::from_millis(500)
            }, 0),
            ("--alb-ingress-classes alb --alb-ingress-classes=internal --nginx-ingress-classes=a,b".to_owned(), |flags| {
                flags.alb_ingress_classes == ["alb", "internal"] && flags.nginx_ingress_classes == ["a", "b"]
            }, 2),
            ("--kubeconfig=/x --context c -n prod --as jane --as-group a --as-group b --request-timeout=30s \
              --insecure-skip-tls-verify --token hunter2"
                .to_owned(), |flags| {
                flags.kube.namespace.as_deref() == Some("prod")
                    && flags.kube.impersonate_groups == ["a", "b"]
                    && flags.kube.token.as_ref().is_some_and(|token| token.expose() == "hunter2")
                    && !format!("{flags:?}").contains("hunter2")
            }, 0),
            ("--settle-seconds=0 --verify=strict --surge staged --debug-rollouts".to_owned(), |flags| {
                flags.verify == Verify::Strict && flags.surge == Surge::Staged && flags.settle_seconds == 0
            }, 0),
        ];
        for (arguments, holds, expected_warnings) in cases {
            let (flags, warnings) = read(&arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
            assert!(holds(&flags), "{arguments}: {flags:#?}");
            assert_eq!(warnings.len(), expected_warnings, "{arguments}: {warnings:?}");
        }
        let (_, warnings) = read("--qps=1").expect("accepted");
        assert_eq!(warnings, ["flag --qps has no effect: the API server's own fairness is the limit"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, part) in [
            ("--controllers=rollouts", "invalid value 'rollouts'"),
            ("--leader-elect=maybe", "must be true or false"),
            ("--leader-election-lease-duration=15", "\"15\" is not a duration such as 500ms, 15s or 1m30s"),
            ("--leader-election-lease-duration=-1s", "is not a duration"),
            ("--metricsPort=70000", "70000 is not in 0..=65535"),
            ("--no-such-flag", "unexpected argument '--no-such-flag'"),
        ] {
            let error = read(arguments).expect_err(arguments).to_string();
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1ns", Some(1)),
            ("1.5us", Some(1_500)),
            ("1h2m3s4ms", Some(3_723_004_000_000)),
            (".5s", Some(500_000_000)),
            ("", None),
            ("s", None),
            ("1", None),
            ("1d", None),
            ("1.2.3s", None),
            ("99999999999999999999h", None),
        ] {
            let expected = expected.map(Duration::from_nanos);
            assert_eq!(go_duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_environment() {
        let read = |pairs: &[(&str, &str)], file: Option<&str>| {
            Environment::read(
                |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
                file,
            )
        };
        let empty = read(&[], None);
        assert_eq!((empty.controller_namespace.as_str(), empty.datadog.is_none()), ("argo-rollouts", true));
        assert_eq!(empty.verify_retry_interval, Duration::from_secs(10));
        assert_eq!(read(&[], Some("from-file\n")).controller_namespace, "from-file");
        assert_eq!(read(&[("POD_NAMESPACE", "pod")], Some("from-file")).controller_namespace, "pod");
        assert_eq!(read(&[("POD_NAMESPACE", "")], Some("from-file")).controller_namespace, "from-file");
        for (value, seconds) in [("3", 3), ("0", 10), ("x", 10), ("-1", 10)] {
            let environment = read(&[("ROLLOUT_VERIFY_RETRY_INTERVAL", value)], None);
            assert_eq!(environment.verify_retry_interval, Duration::from_secs(seconds), "{value}");
        }
        let keys = [("DD_ADDRESS", "https://dd"), ("DD_API_KEY", "hunter2"), ("DD_APP_KEY", "hunter3")];
        assert!(read(&keys[..2], None).datadog.is_none(), "two of three");
        let environment = read(&keys, None);
        assert_eq!(
            environment.datadog.as_ref().map(|datadog| datadog.app_key.expose().as_str()),
            Some("hunter3")
        );
        assert!(!format!("{environment:?}").contains("hunter"));
    }
}
