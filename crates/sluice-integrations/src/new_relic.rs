//! New Relic, by NerdGraph.
//!
//! Differences to the original: retries go on for half a minute and not for a number of times, one waits as long
//! as the server asks for, and the account's id may have spaces around it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use sluice_api::providers::{NewRelicMetric, Provider};
use sluice_lang::expr::Value;

use crate::http::{HttpRequest, HttpResponse};
use crate::url::Address;
use crate::{Context, InProgress, Measured, Memory, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "newRelic";
const DEFAULT_TIMEOUT_SECONDS: i64 = 5;
/// How long an answer may take, whatever the query may.
const HTTP_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// From when on a measurement is not tried again. The original tries three times, within some ten seconds.
const RETRIED_FOR_SECONDS: i64 = 30;
/// Longest wait that a server can ask for within a measurement.
const MAX_WAIT_SECONDS: i64 = 60;
const DOCUMENT: &str = "query($query: Nrql!, $accountId: Int!, $timeout: Seconds!) { actor { account(id: $accountId) \
                        { nrql(query: $query, timeout: $timeout) { results } } } }";

/// Asks New Relic.
#[derive(Debug)]
pub struct NewRelic {
    address: Address,
    key: crate::Secret,
    account: i64,
    query: String,
    timeout_seconds: i64,
    version: String,
}

impl NewRelic {
    pub fn new(block: &NewRelicMetric, context: &Context) -> Result<Self, ProviderError> {
        let mistake = |field: &str, problem: String| {
            Err(ProviderError::configuration(format!("provider.newRelic.{field}"), problem))
        };
        let secret = context.secret(Provider::NewRelic(block));
        let (Some(key), Some(account)) = (secret.get("personal-api-key"), secret.get("account-id")) else {
            return mistake("profile", "account ID or personal API key not found".to_owned());
        };
        let Ok(account) = account.trim().parse() else {
            let problem = "could not parse account ID: it is no number";
            return mistake("profile", problem.to_owned());
        };
        let region = secret.get("region").unwrap_or("us").trim().to_ascii_lowercase();
        let host = match region.as_str() {
            "us" => "https://api.newrelic.com/graphql",
            "eu" => "https://api.eu.newrelic.com/graphql",
            "jp" => "https://api.jp.newrelic.com/graphql",
            "gov" | "fedramp" => "https://gov-api.newrelic.com/graphql",
            "staging" => "https://staging-api.newrelic.com/graphql",
            _ => {
                let problem = format!("unknown region {region:?}; it is us, eu, jp, gov or staging");
                return mistake("profile", problem);
            }
        };
        let Some(address) = Address::parse(secret.get("base-url-nerdgraph").unwrap_or(host)) else {
            return mistake("profile", "base-url-nerdgraph is no address with scheme and host".to_owned());
        };
        let timeout_seconds = block.timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        if timeout_seconds < 0 {
            return mistake("timeout", "timeout value needs to be a positive value".to_owned());
        }
        Ok(Self {
            address,
            key: crate::Secret::new(key),
            account,
            query: block.query.clone(),
            timeout_seconds,
            version: context.version.clone(),
        })
    }

    fn request(&self, memory: Memory) -> Next {
        let variables =
            json!({"accountId": self.account, "query": self.query, "timeout": self.timeout_seconds});
        let agent = format!("argo-rollouts/{} (https://github.com/argoproj/argo-rollouts)", self.version);
        let request = HttpRequest::new("POST", &self.address, HTTP_TIMEOUT)
            .with_body("application/json", json!({"query": DOCUMENT, "variables": variables}).to_string())
            .with_secret("Api-Key", self.key.expose())
            .with_plain("User-Agent", &agent);
        Next::Send(request, memory)
    }
}

/// An answer that may be better the next time.
enum Trouble {
    Passing { status: u16, message: String },
    Lasting(ProviderError),
}

impl MetricProvider for NewRelic {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let memory = measurement.memory.clone();
        let Some(answer) = answer else { return Ok(self.request(memory)) };
        let (status, message) = match read(answer) {
            Ok(measured) => return Ok(Next::Done(measured)),
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Passing { status, message }) => (status, message),
        };
        let Some(seconds) = pause(measurement.started_at, now) else {
            let message = format!("maximum retries reached: {message}");
            return Err(ProviderError::status(PROVIDER, status, message));
        };
        let asked = answer.headers.get("retry-after").and_then(|text| text.trim().parse::<i64>().ok());
        let wait = SignedDuration::from_secs(seconds.max(asked.unwrap_or(0)).min(MAX_WAIT_SECONDS));
        Ok(Next::WaitUntil(now.saturating_add(wait).unwrap_or(Timestamp::MAX), memory))
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        [("ResolvedNewRelicQuery".to_owned(), self.query.clone())].into()
    }
}

/// How many seconds to wait before the next attempt, or nothing when it is time to give up.
///
/// Time is the only thing that is certain to outlive a wait, so it takes the place of a count: waits are as
/// long as what has passed already, which doubles them.
fn pause(started_at: Timestamp, now: Timestamp) -> Option<i64> {
    let passed = now.duration_since(started_at).as_secs();
    (passed < RETRIED_FOR_SECONDS).then_some(passed.max(1))
}

fn read(answer: &HttpResponse) -> Result<Measured, Trouble> {
    let status = answer.status;
    let lasting = |error| Err(Trouble::Lasting(error));
    if matches!(status, 429 | 500 | 502..) {
        return Err(Trouble::Passing { status, message: explained(answer) });
    }
    let body = answer.json(PROVIDER);
    let bad_key = "401 response returned: Invalid credentials provided. Missing API key or an invalid API key was provided.";
    let has_bad_key = body
        .as_ref()
        .is_ok_and(|body| errors(body).any(|error| error["extensions"]["error_code"] == "BAD_API_KEY"));
    if status == 401 || has_bad_key {
        return lasting(ProviderError::status(PROVIDER, 401, bad_key));
    }
    if status == 404 {
        return lasting(ProviderError::status(PROVIDER, status, "resource not found"));
    }
    if !answer.is_success() {
        return lasting(ProviderError::status(PROVIDER, status, explained(answer)));
    }
    let body = body.map_err(Trouble::Lasting)?;
    let messages: Vec<&str> =
        errors(&body).map(|error| error["message"].as_str().unwrap_or("error without a message")).collect();
    if !messages.is_empty()
        && !messages.iter().any(|message| message.starts_with("This field is deprecated!"))
    {
        let message = messages.join(", ");
        let passes = |error: &Json| {
            let class = error["extensions"]["errorClass"].as_str().unwrap_or_default();
            matches!(class, "TIMEOUT" | "INTERNAL_SERVER_ERROR" | "SERVER_ERROR" | "TOO_MANY_REQUESTS")
        };
        if errors(&body).any(passes) {
            return Err(Trouble::Passing { status, message });
        }
        return lasting(ProviderError::reported(PROVIDER, message));
    }
    let rows = body["data"]["actor"]["account"]["nrql"]["results"].as_array().map(Vec::as_slice);
    let is_empty = |row: &Json| row.as_object().is_none_or(serde_json::Map::is_empty);
    let result = match rows.unwrap_or_default() {
        [] => None,
        [only] => (!is_empty(only)).then(|| Value::from(only)),
        several => Some(Value::list(several.iter().map(Value::from))),
    };
    let Some(result) = result else {
        return lasting(ProviderError::shape(PROVIDER, "no results returned from NRQL query"));
    };
    let value = result.to_json().map_err(|error| Trouble::Lasting(ProviderError::shape(PROVIDER, error)))?;
    Ok(Measured::new(result, value))
}

fn errors(body: &Json) -> impl Iterator<Item = &Json> {
    body["errors"].as_array().into_iter().flatten()
}

/// The status, and what the body says about it.
fn explained(answer: &HttpResponse) -> String {
    let messages: Vec<String> = answer.json(PROVIDER).map_or_else(
        |_| Vec::new(),
        |body| {
            let all = errors(&body).chain(body.get("error")).filter_map(|error| {
                let text = error["message"].as_str().or(error["title"].as_str()).or(error.as_str());
                text.map(str::to_owned)
            });
            all.collect()
        },
    );
    let message = if messages.is_empty() { String::new() } else { format!(": {}", messages.join(", ")) };
    format!("{} response returned{message}{}", answer.status, answer.redirect_hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_have_an_end() {
        let start = Timestamp::from_second(100).unwrap();
        let mut passed = 0;
        let mut waits = Vec::new();
        while let Some(wait) = pause(start, Timestamp::from_second(100 + passed).unwrap()) {
            passed += wait;
            waits.push(wait);
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16]);
        // A clock that was set back.
        assert_eq!(pause(start, Timestamp::UNIX_EPOCH), Some(1));
    }
}
