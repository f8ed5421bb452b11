//! What providers need beside the metric.
//!
//! It decides which Secrets have to be read before a provider can be asked. Reading them, and the
//! environment, is somebody else's.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use sluice_api::analysis::Metric;
use sluice_api::providers::{MetricProvider, Provider};

use crate::Secret;

/// What comes from the environment, from Secrets and from the run, as plain data.
#[derive(Clone, Default)]
pub struct Context {
    /// The namespace of the controller: the accounts of most providers are there.
    pub controller_namespace: String,
    /// The namespace of the run.
    pub run_namespace: String,
    /// When the run began.
    pub run_started_at: Option<Timestamp>,
    /// `ARGO_ROLLOUTS_PROMETHEUS_ADDRESS`
    pub prometheus_address: Option<String>,
    /// `DD_API_KEY`, `DD_APP_KEY` and `DD_ADDRESS`; all three or nothing.
    pub datadog: Option<DatadogKeys>,
    /// The region that the AWS chain finds: `AWS_REGION` and so on.
    pub aws_region: Option<String>,
    /// `AWS_ENDPOINT_URL_CLOUDWATCH`
    pub cloud_watch_address: Option<String>,
    /// The version that we tell servers.
    pub version: String,
    /// The content of the Secrets that [`needed_secrets`] names, as far as they exist.
    pub secrets: BTreeMap<SecretName, BTreeMap<String, Secret>>,
    /// Values of arguments that came from Secrets. They may stand anywhere in the metric.
    pub secret_arguments: Vec<Secret>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may hold passwords.
        f.debug_struct("Context")
            .field("controller_namespace", &self.controller_namespace)
            .field("run_namespace", &self.run_namespace)
            .field("run_started_at", &self.run_started_at)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// Namespace and name of a Secret.
pub type SecretName = (String, String);

/// How Datadog is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatadogKeys {
    /// Address.
    pub address: String,
    /// Key to the API.
    pub api_key: Secret,
    /// Key of the application.
    pub app_key: Secret,
}

/// Returns the Secrets whose content the metric's provider needs in [`Context::secrets`].
pub fn needed_secrets(metric: &Metric, context: &Context) -> Vec<SecretName> {
    secret_of(&metric.provider, context).into_iter().collect()
}

fn secret_of(provider: &MetricProvider, context: &Context) -> Option<SecretName> {
    let named = provider.providers();
    let [named] = named.as_slice() else { return None };
    let of_controller = |name: &str| Some((context.controller_namespace.clone(), name.to_owned()));
    let or = |name: &str, default: &str| of_controller(if name.is_empty() { default } else { name });
    match named {
        Provider::NewRelic(block) => or(&block.profile, "newrelic"),
        Provider::Influxdb(block) => or(&block.profile, "influxdb"),
        Provider::Wavefront(_) => of_controller("wavefront-api-tokens"),
        Provider::Datadog(block) => match (block.secret_ref.name.as_str(), block.secret_ref.namespaced) {
            ("", true) => None,
            ("", false) if context.datadog.is_some() => None,
            ("", false) => of_controller("datadog"),
            (name, false) => of_controller(name),
            (name, true) => Some((context.run_namespace.clone(), name.to_owned())),
        },
        Provider::Prometheus(_)
        | Provider::Kayenta(_)
        | Provider::Web(_)
        | Provider::Job(_)
        | Provider::CloudWatch(_)
        | Provider::Graphite(_)
        | Provider::SkyWalking(_)
        | Provider::Plugin(..) => None,
    }
}

impl Context {
    /// The content of the Secret of a metric's provider; empty when it does not exist.
    pub(crate) fn secret(&self, provider: Provider<'_>) -> Account<'_> {
        let mut block = MetricProvider::default();
        match provider {
            Provider::NewRelic(x) => block.new_relic = Some(x.clone()),
            Provider::Influxdb(x) => block.influxdb = Some(x.clone()),
            Provider::Wavefront(x) => block.wavefront = Some(x.clone()),
            Provider::Datadog(x) => block.datadog = Some(x.clone()),
            _ => {}
        }
        Account(secret_of(&block, self).and_then(|name| self.secrets.get(&name)))
    }
}

/// The content of a Secret.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a>(Option<&'a BTreeMap<String, Secret>>);

impl<'a> Account<'a> {
    /// An entry that is there and not empty. A line end at its end comes from an editor and is not meant.
    pub(crate) fn get(self, key: &str) -> Option<&'a str> {
        let text = self.0?.get(key)?.expose().trim_end_matches(['\r', '\n']);
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_are_needed() {
        let keys = DatadogKeys {
            address: "https://dd".into(),
            api_key: Secret::new("a"),
            app_key: Secret::new("b"),
        };
        let ours =
            Context { controller_namespace: "ctl".into(), run_namespace: "run".into(), ..Context::default() };
        let with_keys = Context { datadog: Some(keys), ..ours.clone() };
        for (context, provider, wanted) in [
            (&ours, r#"{"newRelic": {"query": "q"}}"#, "ctl/newrelic"),
            (&ours, r#"{"newRelic": {"query": "q", "profile": "p"}}"#, "ctl/p"),
            (&ours, r#"{"influxdb": {}}"#, "ctl/influxdb"),
            (&ours, r#"{"wavefront": {}}"#, "ctl/wavefront-api-tokens"),
            (&ours, r#"{"datadog": {}}"#, "ctl/datadog"),
            (&with_keys, r#"{"datadog": {}}"#, ""),
            (&with_keys, r#"{"datadog": {"secretRef": {"name": "s"}}}"#, "ctl/s"),
            (&with_keys, r#"{"datadog": {"secretRef": {"name": "s", "namespaced": true}}}"#, "run/s"),
            (&with_keys, r#"{"datadog": {"secretRef": {"namespaced": true}}}"#, ""),
            (&ours, r#"{"prometheus": {"query": "q"}}"#, ""),
            (&ours, r#"{"datadog": {}, "influxdb": {}}"#, ""),
            (&ours, "{}", ""),
        ] {
            let metric = Metric { provider: serde_json::from_str(provider).unwrap(), ..Metric::default() };
            let got: Vec<String> =
                needed_secrets(&metric, context).iter().map(|(ns, name)| format!("{ns}/{name}")).collect();
            assert_eq!(got.join(" "), wanted, "{provider}");
        }
    }
}
