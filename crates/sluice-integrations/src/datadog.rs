//! Datadog, both versions of its queries.
//!
//! Differences to the original: a point that is null is no data and not 0, and errors that stand where they
//! are documented are errors.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sluice_api::providers::{DatadogMetric, Provider};
use sluice_lang::expr::Value;
use sluice_lang::{go_duration, go_format};

use crate::http::{HttpRequest, HttpResponse};
use crate::url::{self, Address};
use crate::{Context, DatadogKeys, InProgress, Measured, MetricProvider, Next, ProviderError, Secret};

const PROVIDER: &str = "datadog";
const DEFAULT_ADDRESS: &str = "https://api.datadoghq.com";
const DEFAULT_INTERVAL: &str = "5m";
const DEFAULT_TIMEOUT: &str = "10s";
/// Groups beyond this are shown by their ends only.
const MAX_GROUPS: usize = 100;
const GROUPS_PER_END: usize = 50;
const REVIEW: &str = "Please review the Analysis Template.";

/// Asks Datadog.
#[derive(Debug)]
pub struct Datadog {
    address: Address,
    api_key: Secret,
    app_key: Secret,
    asks: Asks,
    interval: SignedDuration,
    timeout: SignedDuration,
}

#[derive(Debug)]
enum Asks {
    V1(String),
    V2 { queries: Vec<Query>, formulas: Vec<Formula> },
}

#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the name is that of the API")]
struct Query {
    aggregator: String,
    data_source: &'static str,
    name: String,
    query: String,
}

#[derive(Clone, Debug, Serialize)]
struct Formula {
    formula: String,
}

#[derive(Serialize)]
struct Attributes<'a> {
    from: i64,
    to: i64,
    queries: &'a [Query],
    formulas: &'a [Formula],
}

fn mistake(field: &str, problem: &str) -> ProviderError {
    ProviderError::configuration(format!("provider.datadog.{field}"), problem)
}

impl Datadog {
    pub fn new(block: &DatadogMetric, context: &Context) -> Result<Self, ProviderError> {
        let asks = asks(block)?;
        let timeout = if block.request_timeout.is_empty() { DEFAULT_TIMEOUT } else { &block.request_timeout };
        let timeout = go_duration::parse(timeout).map_err(|error| {
            mistake("requestTimeout", &format!("Could not parse the request timeout: {error}. {REVIEW}"))
        })?;
        if timeout <= SignedDuration::ZERO {
            let problem = format!("Request timeout must be a positive duration (e.g. 30s). {REVIEW}");
            return Err(mistake("requestTimeout", &problem));
        }
        let interval = if block.interval.is_empty() { DEFAULT_INTERVAL } else { &block.interval };
        let interval =
            go_duration::parse(interval).map_err(|error| mistake("interval", &error.to_string()))?;
        let keys = keys(block, context)?;
        let Some(address) = Address::parse(keys.address.trim()) else {
            return Err(mistake("secretRef", "the address of datadog is no address with scheme and host"));
        };
        Ok(Self { address, api_key: keys.api_key, app_key: keys.app_key, asks, interval, timeout })
    }

    fn request(&self, now: Timestamp) -> HttpRequest {
        let from = now.saturating_sub(self.interval).unwrap_or(Timestamp::MIN);
        let request = match &self.asks {
            Asks::V1(query) => {
                let (from, to) = (from.as_second().to_string(), now.as_second().to_string());
                let form = url::form(&[("from", &from), ("query", query), ("to", &to)]);
                let mut request = HttpRequest::new(
                    "GET",
                    &self.address.join("/api/v1/query").with_query(form),
                    self.timeout,
                );
                request = request.with_plain("Content-Type", "application/json");
                request
            }
            Asks::V2 { queries, formulas } => {
                let attributes =
                    Attributes { from: from.as_millisecond(), to: now.as_millisecond(), queries, formulas };
                // Numbers and texts: nothing in it that JSON cannot hold.
                let attributes = serde_json::to_string(&attributes).unwrap_or_default();
                let body = format!(r#"{{"data":{{"attributes":{attributes},"type":"scalar_request"}}}}"#);
                HttpRequest::new("POST", &self.address.join("/api/v2/query/scalar"), self.timeout)
                    .with_body("application/json", body)
            }
        };
        request
            .with_secret("DD-API-KEY", self.api_key.expose())
            .with_secret("DD-APPLICATION-KEY", self.app_key.expose())
    }
}

fn asks(block: &DatadogMetric) -> Result<Asks, ProviderError> {
    let refuse = |field: &str, problem: &str| Err(mistake(field, &format!("{problem} {REVIEW}")));
    let has_query = !block.query.is_empty();
    let has_queries = !block.queries.is_empty();
    let is_v1 = match block.api_version.as_str() {
        "" | "v1" => true,
        "v2" => false,
        other => return refuse("apiVersion", &format!("apiVersion is v1 or v2, not {other:?}.")),
    };
    if !has_query && !has_queries {
        return refuse("query", "Must have either a query or queries.");
    }
    if has_query && has_queries {
        return refuse("queries", "Cannot have both a query and queries.");
    }
    if is_v1 && !has_query {
        let problem = "Query is empty. API Version v1 only supports using the query parameter in your Analysis Template.";
        return Err(mistake("query", problem));
    }
    if !block.formula.is_empty() && !has_queries {
        return refuse("formula", "Formula are only valid when queries are set.");
    }
    if block.queries.len() > 1 && block.formula.is_empty() {
        return refuse("formula", "When multiple queries are provided you must include a formula.");
    }
    if is_v1 && !block.aggregator.is_empty() {
        return refuse("aggregator", "Aggregator is not supported in v1.");
    }
    if is_v1 {
        return Ok(Asks::V1(block.query.clone()));
    }
    let aggregator = if block.aggregator.is_empty() { "last" } else { &block.aggregator };
    let query = |name: &str, query: &str| Query {
        aggregator: aggregator.to_owned(),
        data_source: "metrics",
        name: name.to_owned(),
        query: query.to_owned(),
    };
    let queries = if has_query {
        vec![query("query", &block.query)]
    } else {
        block.queries.iter().map(|(name, text)| query(name, text)).collect()
    };
    let formulas = (!block.formula.is_empty()).then(|| Formula { formula: block.formula.clone() });
    Ok(Asks::V2 { queries, formulas: formulas.into_iter().collect() })
}

fn keys(block: &DatadogMetric, context: &Context) -> Result<DatadogKeys, ProviderError> {
    let is_named = !block.secret_ref.name.is_empty();
    if !is_named && block.secret_ref.namespaced {
        return Err(mistake("secretRef.name", "secret name is required for namespaced credentials"));
    }
    if let Some(keys) = context.datadog.as_ref().filter(|_| !is_named) {
        return Ok(keys.clone());
    }
    let secret = context.secret(Provider::Datadog(block));
    let (Some(api_key), Some(app_key)) = (secret.get("api-key"), secret.get("app-key")) else {
        return Err(mistake("secretRef", "failed to find the credentials for datadog metrics provider"));
    };
    Ok(DatadogKeys {
        address: secret.get("address").unwrap_or(DEFAULT_ADDRESS).to_owned(),
        api_key: Secret::new(api_key),
        app_key: Secret::new(app_key),
    })
}

impl MetricProvider for Datadog {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else {
            return Ok(Next::Send(self.request(now), measurement.memory.clone()));
        };
        let status = answer.status;
        if status != 200 {
            let kind = if matches!(status, 401 | 403) { "authentication error" } else { "non 2xx" };
            let hint = answer.redirect_hint();
            let message = format!("received {kind} response code: {status} {}{hint}", answer.quoted());
            return Err(ProviderError::status(PROVIDER, status, message));
        }
        let body = answer.json_or(PROVIDER, |error| format!("Could not parse JSON body: {error}"))?;
        if let Some(errors) = errors(&body) {
            let message = format!("There were errors in your query: {errors}");
            return Err(ProviderError::reported(PROVIDER, message));
        }
        match &self.asks {
            Asks::V1(_) => last_point(&body).map(Next::Done),
            Asks::V2 { .. } => columns(&body).map(Next::Done),
        }
    }
}

fn errors(body: &Json) -> Option<String> {
    let texts = [&body["data"]["errors"], &body["errors"], &body["error"]];
    texts.into_iter().find_map(|errors| match errors {
        Json::Null => None,
        Json::String(text) => (!text.is_empty()).then(|| text.clone()),
        Json::Array(all) if all.is_empty() => None,
        Json::Array(all) => {
            let text = |one: &Json| {
                one.as_str().or(one["detail"].as_str()).map_or_else(|| one.to_string(), str::to_owned)
            };
            Some(all.iter().map(text).collect::<Vec<String>>().join(", "))
        }
        other => Some(other.to_string()),
    })
}

fn shape(problem: &str) -> ProviderError {
    ProviderError::shape(PROVIDER, format!("Could not parse JSON body: {problem}"))
}

/// Version 1: the last point of the first series.
fn last_point(body: &Json) -> Result<Measured, ProviderError> {
    let series = match &body["series"] {
        Json::Null => return Ok(Measured::new(Value::Nil, "null")),
        Json::Array(series) => series,
        _ => return Err(shape("series is no list")),
    };
    let Some(first) = series.first() else { return Ok(Measured::new(Value::Nil, "[]")) };
    let points = match &first["pointlist"] {
        Json::Null => &Vec::new(),
        Json::Array(points) => points,
        _ => return Err(shape("pointlist is no list")),
    };
    let Some(last) = points.last() else { return Ok(Measured::new(Value::Nil, r#"[{"pointlist":[]}]"#)) };
    match (last.as_array().map(Vec::len), &last[1]) {
        (Some(2..), Json::Null) => Ok(Measured::new(Value::Nil, "null")),
        (Some(2..), Json::Number(number)) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            Ok(Measured::new(Value::Float(number), go_format::float_plain(number)))
        }
        _ => Err(shape("a point is no pair of a time and a number")),
    }
}

/// Version 2: the first column of numbers, and beside it the groups.
fn columns(body: &Json) -> Result<Measured, ProviderError> {
    let columns = match &body["data"]["attributes"]["columns"] {
        Json::Null => &Vec::new(),
        Json::Array(columns) => columns,
        _ => return Err(shape("columns is no list")),
    };
    let kind = |column: &Json| column["type"].as_str().unwrap_or_default().to_owned();
    let values = |column: &Json| column["values"].as_array().cloned().unwrap_or_default();
    let group_columns: Vec<Vec<Json>> =
        columns.iter().filter(|column| kind(column) == "group").map(values).collect();
    let number_column = columns.iter().find(|column| matches!(kind(column).as_str(), "number" | ""));
    let Some(number_column) = number_column else { return Ok(Measured::new(Value::Nil, "[]")) };
    let name = number_column["name"].as_str().unwrap_or_default();
    let mut rows: Vec<(String, f64)> = Vec::new();
    for (index, raw) in values(number_column).iter().enumerate() {
        if raw.is_null() {
            continue;
        }
        let Some(number) = raw.as_f64() else {
            let raw = raw.as_str().map_or_else(|| raw.to_string(), str::to_owned);
            let message = format!(
                "could not parse numeric value {raw:?} in column {name:?}: strconv.ParseFloat: parsing {}: invalid syntax",
                go_format::quote(&raw)
            );
            return Err(ProviderError::shape(PROVIDER, message));
        };
        rows.push((label(&group_columns, index)?, number));
    }
    let is_grouped = !group_columns.is_empty();
    match rows.first() {
        None => Ok(Measured::new(Value::Nil, "[]")),
        Some((_, first)) if !is_grouped => {
            Ok(Measured::new(Value::Float(*first), go_format::float_plain(*first)))
        }
        Some(_) => {
            let texts: Vec<String> = rows.iter().map(|(_, number)| go_format::float_plain(*number)).collect();
            let result = Value::floats(rows.iter().map(|(_, number)| *number));
            Ok(with_groups(Measured::new(result, format!("[{}]", texts.join(","))), rows))
        }
    }
}

fn label(group_columns: &[Vec<Json>], index: usize) -> Result<String, ProviderError> {
    let tags = group_columns.iter().map(|column| {
        let tags = column.get(index).and_then(Json::as_array);
        let tags = tags.and_then(|tags| tags.iter().map(Json::as_str).collect::<Option<Vec<&str>>>());
        tags.map(|tags| tags.join(","))
    });
    let tags: Option<Vec<String>> = tags.collect();
    tags.map(|tags| tags.join(",")).ok_or_else(|| {
        ProviderError::shape(PROVIDER, format!("could not parse group label at index {index}"))
    })
}

fn with_groups(measured: Measured, mut rows: Vec<(String, f64)>) -> Measured {
    let is_truncated = rows.len() > MAX_GROUPS;
    if is_truncated {
        rows.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.cmp(b)));
        rows.drain(GROUPS_PER_END..rows.len() - GROUPS_PER_END);
    }
    let group = |(name, number): &(String, f64)| {
        Value::object([("name", Value::from(name.as_str())), ("value", Value::Float(*number))])
    };
    let groups = Value::list(rows.iter().map(group)).to_json().unwrap_or_default();
    let measured = measured.with("groups", groups);
    if is_truncated { measured.with("groups_truncated", json!(true).to_string()) } else { measured }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_groups_are_shown_by_their_ends() {
        let names: Vec<[String; 1]> = (0..101).map(|i| [format!("g{i:03}")]).collect();
        let numbers: Vec<i32> = (0..101).rev().collect();
        let body = json!({"data": {"attributes": {"columns": [
            {"name": "g", "type": "group", "values": names}, {"name": "n", "type": "number", "values": numbers},
        ]}}});
        let measured = columns(&body).unwrap();
        let groups: Vec<Json> = serde_json::from_str(&measured.metadata["groups"]).unwrap();
        assert_eq!(groups.len(), 100);
        assert_eq!(groups[0], json!({"name": "g100", "value": 0}));
        assert_eq!(groups[49]["value"], 49);
        assert_eq!(groups[50]["value"], 51);
        assert_eq!(groups[99], json!({"name": "g000", "value": 100}));
        assert_eq!(measured.metadata["groups_truncated"], "true");
    }
}
