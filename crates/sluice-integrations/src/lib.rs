//! Metric providers and notification services as data: which request is sent, what its answer means.
//!
//! Building requests and reading answers is pure; sending is somebody else's. Nothing here knows a
//! clock: time is an argument, and what has to be waited for is said with the instant it ends.

#![warn(missing_docs)]

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

/// Text that never shows in logs, events or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*****")
    }
}

/// A header's value: plain, or one that must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// May be shown.
    Plain(String),
    /// Must not be shown.
    Secret(Secret),
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
    /// Headers by name.
    pub headers: BTreeMap<String, HeaderValue>,
    /// The body.
    pub body: Option<String>,
    /// How long the answer may take.
    pub timeout: jiff::SignedDuration,
}

/// An answer that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// Its status code.
    pub status: u16,
    /// Its body, cut at the limit of the sender.
    pub body: String,
}

/// What a measurement has gone through so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// When it began.
    pub started_at: Timestamp,
    /// What the provider wants to remember between rounds.
    pub memory: Value,
}

/// What to do next for a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send this, and come back with the answer and the memory.
    Send(HttpRequest, Value),
    /// Come back at this instant.
    WaitUntil(Timestamp, Value),
    /// This is what was measured.
    Done(Value),
}

/// Why a measurement could not be made. Never a verdict on what was to be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The answer was no success.
    #[error("{provider} answered with status {status}: {body}")]
    Status {
        /// Who answered.
        provider: &'static str,
        /// The status code.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The answer has not the expected shape.
    #[error("{provider} answered something else than {wanted}: {problem}")]
    Shape {
        /// Who answered.
        provider: &'static str,
        /// What was expected.
        wanted: &'static str,
        /// What was found.
        problem: String,
    },
    /// The metric is not configured so that it can be measured.
    #[error("{field}: {problem}")]
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
            ProviderError::Shape { .. } => "shape",
            ProviderError::Configuration { .. } => "configuration",
        }
    }
}

/// A source of measurements.
pub trait MetricProvider {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        let request = HttpRequest {
            method: "GET",
            url: "http://metrics.example/".into(),
            headers: [("Authorization".to_owned(), HeaderValue::Secret(Secret::new("s3cret")))].into(),
            body: None,
            timeout: jiff::SignedDuration::from_secs(10),
        };
        let shown = format!("{request:?}");
        assert!(!shown.contains("s3cret") && shown.contains("*****"), "{shown}");
    }
}
