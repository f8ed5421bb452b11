//! Where metrics come from.
//!
//! It decides the wire form and which provider a metric names. How one is asked is not known here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{IntOrString, RawObject, RawValue, is_zero};

/// Who measures. Exactly one is to be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricProvider {
    /// Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusMetric>,
    /// Kayenta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kayenta: Option<KayentaMetric>,
    /// Any HTTP endpoint that answers in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebMetric>,
    /// Datadog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadog: Option<DatadogMetric>,
    /// Wavefront.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wavefront: Option<WavefrontMetric>,
    /// New Relic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_relic: Option<NewRelicMetric>,
    /// A Job, whose end is the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobMetric>,
    /// Amazon CloudWatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_watch: Option<CloudWatchMetric>,
    /// Graphite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphite: Option<GraphiteMetric>,
    /// InfluxDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub influxdb: Option<InfluxdbMetric>,
    /// SkyWalking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skywalking: Option<SkyWalkingMetric>,
    /// Configuration by plugin name; exactly one.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(with = "RawObject")]
    pub plugin: BTreeMap<String, RawValue>,
}

/// One provider that a metric names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Provider<'a> {
    /// `prometheus`.
    Prometheus(&'a PrometheusMetric),
    /// `kayenta`.
    Kayenta(&'a KayentaMetric),
    /// `web`.
    Web(&'a WebMetric),
    /// `datadog`.
    Datadog(&'a DatadogMetric),
    /// `wavefront`.
    Wavefront(&'a WavefrontMetric),
    /// `newRelic`.
    NewRelic(&'a NewRelicMetric),
    /// `job`.
    Job(&'a JobMetric),
    /// `cloudWatch`.
    CloudWatch(&'a CloudWatchMetric),
    /// `graphite`.
    Graphite(&'a GraphiteMetric),
    /// `influxdb`.
    Influxdb(&'a InfluxdbMetric),
    /// `skywalking`.
    SkyWalking(&'a SkyWalkingMetric),
    /// One entry of `plugin`: name and configuration.
    Plugin(&'a str, &'a RawValue),
}

impl MetricProvider {
    /// Returns every provider that is set; a valid metric has one.
    pub fn providers(&self) -> Vec<Provider<'_>> {
        let typed = [
            self.prometheus.as_ref().map(Provider::Prometheus),
            self.kayenta.as_ref().map(Provider::Kayenta),
            self.web.as_ref().map(Provider::Web),
            self.datadog.as_ref().map(Provider::Datadog),
            self.wavefront.as_ref().map(Provider::Wavefront),
            self.new_relic.as_ref().map(Provider::NewRelic),
            self.job.as_ref().map(Provider::Job),
            self.cloud_watch.as_ref().map(Provider::CloudWatch),
            self.graphite.as_ref().map(Provider::Graphite),
            self.influxdb.as_ref().map(Provider::Influxdb),
            self.skywalking.as_ref().map(Provider::SkyWalking),
        ];
        let plugins = self.plugin.iter().map(|(name, config)| Provider::Plugin(name, config));
        typed.into_iter().flatten().chain(plugins).collect()
    }
}

impl Provider<'_> {
    /// The name of the field that holds it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prometheus(_) => "prometheus",
            Self::Kayenta(_) => "kayenta",
            Self::Web(_) => "web",
            Self::Datadog(_) => "datadog",
            Self::Wavefront(_) => "wavefront",
            Self::NewRelic(_) => "newRelic",
            Self::Job(_) => "job",
            Self::CloudWatch(_) => "cloudWatch",
            Self::Graphite(_) => "graphite",
            Self::Influxdb(_) => "influxdb",
            Self::SkyWalking(_) => "skywalking",
            Self::Plugin(..) => "plugin",
        }
    }

    /// The text of its query, if it is asked by one.
    pub fn query(&self) -> Option<Cow<'_, str>> {
        let one = |query: &'_ str| Some(Cow::Owned(query.to_owned()));
        match self {
            Self::Prometheus(block) => one(&block.query),
            Self::Datadog(block) if block.queries.is_empty() => one(&block.query),
            Self::Datadog(block) => {
                let queries = block.queries.iter().map(|(name, query)| format!("{name}: {query}"));
                let formula = Some(&block.formula).filter(|formula| !formula.is_empty()).cloned();
                Some(queries.chain(formula).collect::<Vec<_>>().join("; ").into())
            }
            Self::Wavefront(block) => one(&block.query),
            Self::NewRelic(block) => one(&block.query),
            Self::CloudWatch(block) => serde_json::to_string(&block.metric_data_queries).ok().map(Cow::Owned),
            Self::Graphite(block) => one(&block.query),
            Self::Influxdb(block) => one(&block.query),
            Self::SkyWalking(block) => one(&block.query),
            Self::Kayenta(_) | Self::Web(_) | Self::Job(_) | Self::Plugin(..) => None,
        }
    }

    /// The same provider with another query, or `None` where there is none to replace. Everything else stays,
    /// so that the answer comes from the same place and the same window.
    pub fn with_query(&self, query: &str) -> Option<MetricProvider> {
        let mut other = MetricProvider::default();
        let query = query.to_owned();
        match *self {
            Self::Prometheus(block) => {
                other.prometheus = Some(PrometheusMetric { query, ..block.clone() });
            }
            Self::Datadog(block) => {
                let (queries, formula) = (BTreeMap::new(), String::new());
                other.datadog = Some(DatadogMetric { query, queries, formula, ..block.clone() });
            }
            Self::Wavefront(block) => other.wavefront = Some(WavefrontMetric { query, ..block.clone() }),
            Self::NewRelic(block) => other.new_relic = Some(NewRelicMetric { query, ..block.clone() }),
            Self::CloudWatch(block) => {
                // An expression may go by the ids of the other queries.
                let mut block = block.clone();
                block.metric_data_queries.iter_mut().for_each(|query| query.return_data = Some(false));
                let period = block.metric_data_queries.iter().find_map(|query| {
                    query.period.clone().or_else(|| query.metric_stat.as_ref()?.period.clone())
                });
                block.metric_data_queries.push(CloudWatchQuery {
                    id: "sluice_reading".to_owned(),
                    expression: Some(query),
                    period,
                    return_data: Some(true),
                    ..CloudWatchQuery::default()
                });
                other.cloud_watch = Some(block);
            }
            Self::Graphite(block) => other.graphite = Some(GraphiteMetric { query, ..block.clone() }),
            Self::Influxdb(block) => other.influxdb = Some(InfluxdbMetric { query, ..block.clone() }),
            Self::SkyWalking(block) => other.skywalking = Some(SkyWalkingMetric { query, ..block.clone() }),
            Self::Kayenta(_) | Self::Web(_) | Self::Job(_) | Self::Plugin(..) => return None,
        }
        Some(other)
    }

    /// Whether it gives a result that can be judged here. The others judge by themselves.
    pub fn gives_a_result(&self) -> bool {
        match self {
            Self::Prometheus(_)
            | Self::Web(_)
            | Self::Datadog(_)
            | Self::Wavefront(_)
            | Self::NewRelic(_)
            | Self::CloudWatch(_)
            | Self::Graphite(_)
            | Self::Influxdb(_)
            | Self::SkyWalking(_) => true,
            Self::Kayenta(_) | Self::Job(_) | Self::Plugin(..) => false,
        }
    }
}

/// A query to Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrometheusMetric {
    /// Address, with scheme and host.
    #[serde(skip_serializing_if = "is_zero")]
    pub address: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
    /// How to prove who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Seconds to wait for an answer. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Does not verify certificates.
    #[serde(skip_serializing_if = "is_zero")]
    pub insecure: bool,
    /// Further headers.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers: Vec<WebHeader>,
    /// Asks for a range of time in place of an instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_query: Option<PrometheusRangeQuery>,
}

/// A range of time for a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrometheusRangeQuery {
    /// Expression for the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start: String,
    /// Expression for the end.
    #[serde(skip_serializing_if = "is_zero")]
    pub end: String,
    /// Time between points, such as 1m.
    #[serde(skip_serializing_if = "is_zero")]
    pub step: String,
}

/// How to prove who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// AWS signature, for Amazon managed Prometheus.
    #[serde(skip_serializing_if = "is_zero")]
    pub sigv4: Sigv4,
    /// OAuth 2 client credentials.
    #[serde(skip_serializing_if = "is_zero")]
    pub oauth2: OAuth2,
    /// User name and password, for Prometheus.
    #[serde(skip_serializing_if = "is_zero")]
    pub basic_auth: BasicAuth,
}

/// AWS signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sigv4 {
    /// Region.
    #[serde(skip_serializing_if = "is_zero")]
    pub region: String,
    /// Profile of the shared configuration.
    #[serde(skip_serializing_if = "is_zero")]
    pub profile: String,
    /// Role to take on.
    #[serde(skip_serializing_if = "is_zero")]
    pub role_arn: String,
}

/// OAuth 2 client credentials. Used when tokenUrl is set.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2 {
    /// Where tokens are given out.
    #[serde(skip_serializing_if = "is_zero")]
    pub token_url: String,
    /// Client id.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: String,
    /// Client secret.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_secret: String,
    /// Scopes to ask for.
    #[serde(skip_serializing_if = "is_zero")]
    pub scopes: Vec<String>,
}

impl std::fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuth2").field("token_url", &self.token_url).finish_non_exhaustive()
    }
}

/// User name and password. Both or neither.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicAuth {
    /// User name.
    #[serde(skip_serializing_if = "is_zero")]
    pub username: String,
    /// Password.
    #[serde(skip_serializing_if = "is_zero")]
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// An HTTP header. Its value may be a secret, so it is never printed for debugging.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["key", "value"]))]
pub struct WebHeader {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

impl std::fmt::Debug for WebHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebHeader").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A request to any HTTP endpoint that answers in JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["url"]))]
pub struct WebMetric {
    /// Method: GET (default), POST or PUT.
    #[serde(skip_serializing_if = "is_zero")]
    pub method: String,
    /// Address.
    pub url: String,
    /// Headers.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers: Vec<WebHeader>,
    /// Body as text.
    #[serde(skip_serializing_if = "is_zero")]
    pub body: String,
    /// Seconds to wait for an answer. Default 10.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout_seconds: i64,
    /// Which part of the answer is the result. Default all of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub json_path: String,
    /// Does not verify certificates.
    #[serde(skip_serializing_if = "is_zero")]
    pub insecure: bool,
    /// Body as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_body: Option<RawObject>,
    /// How to prove who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
}

/// A query to Datadog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatadogMetric {
    /// How far back to look. Default 5m.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("x-default" = "5m"))]
    pub interval: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
    /// Queries by name, for a formula.
    #[serde(skip_serializing_if = "is_zero")]
    pub queries: BTreeMap<String, String>,
    /// Formula over the queries.
    #[serde(skip_serializing_if = "is_zero")]
    pub formula: String,
    /// Version of the API: v1 (default) or v2.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("x-default" = "v1", "enum" = ["v1", "v2"]))]
    pub api_version: String,
    /// How points become one number. For v2.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("enum" = ["avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area"]))]
    pub aggregator: String,
    /// Secret with the keys to the API.
    #[serde(skip_serializing_if = "is_zero")]
    pub secret_ref: DatadogSecretRef,
    /// How long to wait for an answer. Default 10s.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("x-default" = "10s"))]
    pub request_timeout: String,
}

/// Secret with the keys to the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatadogSecretRef {
    /// Name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// It is in the run's namespace, not the controller's.
    #[serde(skip_serializing_if = "is_zero")]
    pub namespaced: bool,
}

/// A query to Wavefront.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WavefrontMetric {
    /// Address.
    #[serde(skip_serializing_if = "is_zero")]
    pub address: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
}

/// A query to New Relic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["query"]))]
pub struct NewRelicMetric {
    /// Secret with the account. Default newrelic.
    #[serde(skip_serializing_if = "is_zero")]
    pub profile: String,
    /// Query.
    pub query: String,
    /// Seconds to wait for an answer. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// A Job, whose end is the outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["spec"]))]
pub struct JobMetric {
    /// Labels and annotations for the Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RawObject>,
    /// Spec of the Job, carried as it is.
    pub spec: RawObject,
}

/// Queries to Amazon CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["metricDataQueries"]))]
pub struct CloudWatchMetric {
    /// How far back to look. Default 5m.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: String,
    /// Queries.
    pub metric_data_queries: Vec<CloudWatchQuery>,
}

/// One query to Amazon CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudWatchQuery {
    /// Name, unique among the queries.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: String,
    /// Expression over other queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_stat: Option<CloudWatchMetricStat>,
    /// Seconds between points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// False for a query that only serves an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_data: Option<bool>,
}

/// A metric of Amazon CloudWatch and what to make of its points.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudWatchMetricStat {
    /// Metric.
    #[serde(skip_serializing_if = "is_zero")]
    pub metric: CloudWatchMetricName,
    /// Seconds between points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// Statistic.
    #[serde(skip_serializing_if = "is_zero")]
    pub stat: String,
    /// Unit.
    #[serde(skip_serializing_if = "is_zero")]
    pub unit: String,
}

/// Names a metric of Amazon CloudWatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudWatchMetricName {
    /// Dimensions.
    #[serde(skip_serializing_if = "is_zero")]
    pub dimensions: Vec<CloudWatchDimension>,
    /// Name.
    #[serde(skip_serializing_if = "is_zero")]
    pub metric_name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// One dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CloudWatchDimension {
    /// Name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Value.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: String,
}

/// A query to Graphite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GraphiteMetric {
    /// Address.
    #[serde(skip_serializing_if = "is_zero")]
    pub address: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
}

/// A query to InfluxDB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InfluxdbMetric {
    /// Secret with the account. Default influxdb.
    #[serde(skip_serializing_if = "is_zero")]
    pub profile: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
}

/// A query to SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SkyWalkingMetric {
    /// Address.
    #[serde(skip_serializing_if = "is_zero")]
    pub address: String,
    /// Query.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
    /// How far back to look.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: String,
}

/// A judgement by Kayenta.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = [
    "address", "application", "canaryConfigName", "metricsAccountName", "configurationAccountName",
    "storageAccountName", "threshold", "scopes",
]))]
pub struct KayentaMetric {
    /// Address.
    pub address: String,
    /// Application.
    pub application: String,
    /// Canary configuration.
    pub canary_config_name: String,
    /// Account for metrics.
    pub metrics_account_name: String,
    /// Account for configuration.
    pub configuration_account_name: String,
    /// Account for storage.
    pub storage_account_name: String,
    /// Scores.
    pub threshold: KayentaThreshold,
    /// What to compare.
    pub scopes: Vec<KayentaScope>,
    /// Looks back in place of waiting.
    #[serde(skip_serializing_if = "is_zero")]
    pub lookback: bool,
}

/// Scores of a judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["pass", "marginal"]))]
pub struct KayentaThreshold {
    /// Good from here on.
    pub pass: i64,
    /// Inconclusive from here on.
    pub marginal: i64,
}

/// What to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "controlScope", "experimentScope"]))]
pub struct KayentaScope {
    /// Name.
    pub name: String,
    /// The old version.
    pub control_scope: KayentaScopeDetail,
    /// The new version.
    pub experiment_scope: KayentaScopeDetail,
}

/// One side of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["scope", "region", "step"]))]
pub struct KayentaScopeDetail {
    /// Scope.
    pub scope: String,
    /// Region.
    pub region: String,
    /// Seconds between points.
    pub step: i64,
    /// Start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start: String,
    /// End.
    #[serde(skip_serializing_if = "is_zero")]
    pub end: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A provider => whether its query can be replaced, and whether its result is judged here.
    #[test]
    fn queries_are_replaced_where_there_is_one() {
        for (block, replaced) in [
            (
                json!({"prometheus": {"query": "a", "address": "http://p"}}),
                Some(json!({"prometheus": {"query": "b", "address": "http://p"}})),
            ),
            (
                json!({"datadog": {"queries": {"a": "q"}, "formula": "a", "apiVersion": "v2"}}),
                Some(json!({"datadog": {"query": "b", "apiVersion": "v2"}})),
            ),
            (json!({"wavefront": {"query": "a"}}), Some(json!({"wavefront": {"query": "b"}}))),
            (
                json!({"newRelic": {"query": "a", "profile": "p"}}),
                Some(json!({"newRelic": {"query": "b", "profile": "p"}})),
            ),
            (
                json!({"cloudWatch": {"metricDataQueries": [{"id": "m", "expression": "x", "period": 60}]}}),
                Some(json!({"cloudWatch": {"metricDataQueries": [
                    {"id": "m", "expression": "x", "period": 60, "returnData": false},
                    {"id": "sluice_reading", "expression": "b", "period": 60, "returnData": true},
                ]}})),
            ),
            (json!({"graphite": {"query": "a"}}), Some(json!({"graphite": {"query": "b"}}))),
            (json!({"influxdb": {"query": "a"}}), Some(json!({"influxdb": {"query": "b"}}))),
            (
                json!({"skywalking": {"query": "a", "interval": "1m"}}),
                Some(json!({"skywalking": {"query": "b", "interval": "1m"}})),
            ),
            (json!({"web": {"url": "http://w"}}), None),
            (json!({"job": {"spec": {}}}), None),
            (json!({"kayenta": {}}), None),
            (json!({"plugin": {"p": {}}}), None),
        ] {
            let provider: MetricProvider = serde_json::from_value(block.clone()).expect("a provider");
            let named = provider.providers();
            let other =
                named[0].with_query("b").map(|other| serde_json::to_value(other).expect("plain data"));
            assert_eq!(other, replaced, "{block}");
            assert_eq!(named[0].query().is_some(), replaced.is_some(), "{block}");
            let judges_itself = ["job", "kayenta", "plugin"].contains(&named[0].name());
            assert_eq!(named[0].gives_a_result(), !judges_itself, "{block}");
        }
    }
}
