//! Apache SkyWalking, by GraphQL.
//!
//! The time that is asked for is in UTC, where the original takes the zone of its machine; in a container both
//! are the same.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value as Json, json};
use sluice_api::providers::SkyWalkingMetric;
use sluice_lang::expr::Value;
use sluice_lang::go_duration;

use crate::http::{HttpRequest, HttpResponse};
use crate::url::Address;
use crate::{InProgress, Measured, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "skywalking";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
const JSON: &str = "application/json; charset=utf-8";

/// Asks SkyWalking.
#[derive(Debug)]
pub struct SkyWalking {
    address: Address,
    query: String,
    interval: SignedDuration,
}

impl SkyWalking {
    pub fn new(block: &SkyWalkingMetric) -> Result<Self, ProviderError> {
        let mistake = |field: &str, problem: String| {
            ProviderError::configuration(format!("provider.skywalking.{field}"), problem)
        };
        let address = Address::parse(&block.address).ok_or_else(|| {
            mistake("address", format!("skywalking address {:?} has no scheme and host", block.address))
        })?;
        let interval =
            go_duration::parse(&block.interval).map_err(|error| mistake("interval", error.to_string()))?;
        Ok(Self { address: address.join("/graphql"), query: block.query.clone(), interval })
    }

    fn request(&self, now: Timestamp) -> HttpRequest {
        let minute =
            |instant: Timestamp| instant.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H%M").to_string();
        let from = now.saturating_sub(self.interval).unwrap_or(Timestamp::MIN);
        let duration = json!({"start": minute(from), "end": minute(now), "step": "MINUTE"});
        let body = json!({"query": self.query, "variables": {"duration": duration}});
        HttpRequest::new("POST", &self.address, TIMEOUT)
            .with_body(JSON, body.to_string())
            .with_plain("Accept", JSON)
    }
}

impl MetricProvider for SkyWalking {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else {
            return Ok(Next::Send(self.request(now), measurement.memory.clone()));
        };
        read(answer).map(Next::Done)
    }
}

fn read(answer: &HttpResponse) -> Result<Measured, ProviderError> {
    let status = answer.status;
    let body = answer.json_or(PROVIDER, |error| format!("decoding response: {error}"));
    let first = body.as_ref().ok().and_then(|body| body["errors"].as_array()?.first());
    if let Some(error) = first {
        let message = format!("graphql: {}", error["message"].as_str().unwrap_or("error without a message"));
        return Err(if answer.is_success() {
            ProviderError::reported(PROVIDER, message)
        } else {
            ProviderError::status(PROVIDER, status, message)
        });
    }
    if !answer.is_success() {
        let (text, hint) = (answer.quoted(), answer.redirect_hint());
        let message = format!("skywalking answered with status {status}: {text}{hint}");
        return Err(ProviderError::status(PROVIDER, status, message));
    }
    let mut body = body?;
    let data = body.get_mut("data").map(Json::take).unwrap_or_default();
    if data.is_null() {
        return Err(ProviderError::shape(PROVIDER, "no results returned from SkyWalking query"));
    }
    let result = Value::from(&data);
    let value = result.to_json().map_err(|error| ProviderError::shape(PROVIDER, error))?;
    Ok(Measured::new(result, value))
}
