//! Metric providers and notification services as data: which request is sent, what its answer means.
//!
//! Building requests and reading answers is pure; sending is somebody else's. Nothing here knows a
//! clock: time is an argument, and what has to be waited for is said with the instant it ends.
//!
//! Behaviour and texts are those of Argo Rollouts v1.10, `metricproviders`; each module says where it differs.

#![warn(missing_docs)]

pub mod circuit;
mod cloud_watch;
mod context;
mod csv;
mod datadog;
mod graphite;
mod http;
mod influxdb;
mod kayenta;
mod new_relic;
mod oauth;
mod prometheus;
mod redaction;
mod sky_walking;
mod url;
mod wavefront;
mod web;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, Metric};
use sluice_api::providers::{OAuth2, Provider};
use sluice_lang::expr::Value;

pub use context::{Context, DatadogKeys, SecretName, needed_secrets};
pub use http::{HeaderValue, HttpRequest, HttpResponse, Secret, Signing};

/// What a measurement has gone through so far.
#[derive(Clone, Debug, PartialEq)]
pub struct InProgress {
    /// When it began.
    pub started_at: Timestamp,
    /// What the provider wanted to remember. At the beginning it is empty but for a token that an earlier
    /// measurement of the same metric left behind; after a wait there may be only its metadata.
    pub memory: Memory,
}

/// What a provider remembers between the rounds of a measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Where the conversation stands. Never in any object, so a wait may lose it.
    pub stage: serde_json::Value,
    /// The metadata of the measurement. It is written into the run, so it survives a restart.
    pub metadata: BTreeMap<String, String>,
    /// A token that is still good. Never in any object.
    pub token: Option<Token>,
}

/// What an OAuth 2 server gave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The whole `Authorization` header.
    pub authorization: Secret,
    /// When it was given out.
    pub granted_at: Timestamp,
    /// When it ends, if the server said so.
    pub expires_at: Option<Timestamp>,
    /// To whom it was given; for anybody else it is worth nothing.
    pub granted_to: OAuth2,
}

/// What to do next for a measurement.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send this, and come back with the answer and the memory.
    Send(HttpRequest, Memory),
    /// Come back at this instant, without an answer.
    WaitUntil(Timestamp, Memory),
    /// This is what was measured.
    Done(Measured),
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What is known of good and bad.
    pub outcome: Outcome,
    /// The `value` of the measurement, as people read it.
    pub value: Option<String>,
    /// Whether `value` is shown even if a condition cannot be evaluated on the result.
    pub keeps_value: bool,
    /// The metadata of the measurement.
    pub metadata: BTreeMap<String, String>,
    /// A token for the next measurement of the same metric.
    pub token: Option<Token>,
}

/// What is known of good and bad.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The conditions of the metric decide about this.
    Result(Value),
    /// The provider itself has decided.
    Judged {
        /// Successful, Failed or Inconclusive.
        phase: AnalysisPhase,
        /// The message of the measurement.
        message: String,
    },
}

impl Measured {
    fn new(result: Value, value: impl Into<String>) -> Self {
        Measured {
            outcome: Outcome::Result(result),
            value: Some(value.into()),
            keeps_value: false,
            metadata: BTreeMap::new(),
            token: None,
        }
    }

    fn with(mut self, key: &str, text: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), text.into());
        self
    }
}

/// Why a measurement could not be made. Never a verdict on what was to be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The answer was no success.
    #[error("{message}")]
    Status {
        /// Who answered.
        provider: &'static str,
        /// The status code.
        status: u16,
        /// What goes into the message of the measurement.
        message: String,
    },
    /// The answer was a success and says that there is an error.
    #[error("{message}")]
    Reported {
        /// Who answered.
        provider: &'static str,
        /// What goes into the message of the measurement.
        message: String,
    },
    /// The answer has not the expected shape.
    #[error("{message}")]
    Shape {
        /// Who answered.
        provider: &'static str,
        /// What goes into the message of the measurement.
        message: String,
    },
    /// The answer was cut because it is too large.
    #[error("{provider} answered with more than {limit_bytes} bytes; make the query return less")]
    TooLarge {
        /// Who answered.
        provider: &'static str,
        /// How much of an answer is read.
        limit_bytes: usize,
    },
    /// No answer came. Only who sends can know.
    #[error("{provider} did not answer: {problem}")]
    NoAnswer {
        /// Who was asked.
        provider: &'static str,
        /// What happened.
        problem: String,
    },
    /// The metric is not configured so that it can be measured.
    #[error("{problem}")]
    Configuration {
        /// The field of the metric.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl ProviderError {
    /// The name used as a metric label.
    pub fn label(&self) -> &'static str {
        match self {
            ProviderError::Status { .. } => "status",
            ProviderError::Reported { .. } => "reported",
            ProviderError::Shape { .. } => "shape",
            ProviderError::TooLarge { .. } => "too_large",
            ProviderError::NoAnswer { .. } => "no_answer",
            ProviderError::Configuration { .. } => "configuration",
        }
    }

    fn configuration(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        ProviderError::Configuration { field: field.into(), problem: problem.to_string() }
    }

    fn shape(provider: &'static str, message: impl fmt::Display) -> Self {
        ProviderError::Shape { provider, message: message.to_string() }
    }

    fn reported(provider: &'static str, message: impl fmt::Display) -> Self {
        ProviderError::Reported { provider, message: message.to_string() }
    }

    fn status(provider: &'static str, status: u16, message: impl fmt::Display) -> Self {
        ProviderError::Status { provider, status, message: message.to_string() }
    }
}

/// A source of measurements.
pub trait MetricProvider: fmt::Debug + Send + Sync {
    /// What to do next, given what the measurement has gone through so far.
    ///
    /// # Errors
    /// The measurement cannot be made; that says nothing about what was to be measured.
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError>;

    /// The metadata of the metric, such as its query.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// Returns the provider that a metric names, ready to measure. Placeholders are resolved by then.
///
/// Nothing that it returns shows a secret: neither its debug form nor its errors nor any metadata.
///
/// # Errors
/// The metric names no provider or several, or the one that it names cannot be asked as configured.
pub fn provider(metric: &Metric, context: &Context) -> Result<Box<dyn MetricProvider>, ProviderError> {
    let named = only_provider(metric)?;
    let secrets = redaction::Redaction::new(&named, context);
    let made = build(&named, metric, context).map_err(|error| secrets.error(error))?;
    Ok(Box::new(redaction::Redacted::new(named.name(), made, secrets)))
}

fn build(
    named: &Provider<'_>,
    metric: &Metric,
    context: &Context,
) -> Result<Box<dyn MetricProvider>, ProviderError> {
    Ok(match named {
        Provider::Prometheus(block) => Box::new(prometheus::Prometheus::new(block, context)?),
        Provider::Web(block) => Box::new(web::Web::new(block)?),
        Provider::NewRelic(block) => Box::new(new_relic::NewRelic::new(block, context)?),
        Provider::Datadog(block) => Box::new(datadog::Datadog::new(block, context)?),
        Provider::CloudWatch(block) => Box::new(cloud_watch::CloudWatch::new(block, context)?),
        Provider::Graphite(block) => Box::new(graphite::Graphite::new(block)?),
        Provider::Influxdb(block) => Box::new(influxdb::Influxdb::new(block, context)?),
        Provider::Wavefront(block) => Box::new(wavefront::Wavefront::new(block, context)?),
        Provider::SkyWalking(block) => Box::new(sky_walking::SkyWalking::new(block)?),
        Provider::Kayenta(block) => Box::new(kayenta::Kayenta::new(block, &metric.interval, context)?),
        Provider::Job(_) | Provider::Plugin(..) => {
            let field = named.name();
            let problem = format!("metric {:?}: {field} is not measured by requests", metric.name);
            return Err(ProviderError::configuration(format!("provider.{field}"), problem));
        }
    })
}

fn only_provider(metric: &Metric) -> Result<Provider<'_>, ProviderError> {
    let mut named = metric.provider.providers();
    let (problem, fields) = match (named.len(), named.pop()) {
        (_, None) => ("no provider specified", "set one".to_owned()),
        (1, Some(only)) => return Ok(only),
        (_, Some(_)) => {
            let fields: Vec<&str> = metric.provider.providers().iter().map(Provider::name).collect();
            ("multiple providers specified", format!("{}; keep one", fields.join(", ")))
        }
    };
    let problem = format!("{problem}: metric {:?}: provider: {fields}", metric.name);
    Err(ProviderError::configuration("provider", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_names_one_provider() {
        let problem = |provider: serde_json::Value| {
            let metric: Metric =
                serde_json::from_value(serde_json::json!({"name": "m", "provider": provider})).unwrap();
            super::provider(&metric, &Context::default()).map(|_| ()).unwrap_err()
        };
        let none = problem(serde_json::json!({}));
        assert_eq!(none.to_string(), "no provider specified: metric \"m\": provider: set one");
        assert_eq!(none.label(), "configuration");
        let two = problem(serde_json::json!({"web": {"url": "http://x"}, "prometheus": {"query": "up"}}));
        assert_eq!(
            two.to_string(),
            "multiple providers specified: metric \"m\": provider: prometheus, web; keep one"
        );
        let job = problem(serde_json::json!({"job": {"spec": {}}}));
        assert_eq!(job.to_string(), "metric \"m\": job is not measured by requests");
    }
}
