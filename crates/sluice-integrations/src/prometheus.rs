//! Prometheus, and what speaks its language.
//!
//! Differences to the original: native histograms are an error and not zeros, a timeout of zero is said to be
//! a mistake, and a redirect names where it leads.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use sluice_api::providers::{BasicAuth, PrometheusMetric, PrometheusRangeQuery, Sigv4, WebHeader};
use sluice_lang::expr::{Condition, Value};
use sluice_lang::{go_duration, go_format};

use crate::http::{self, HeaderValue, HttpRequest, HttpResponse, Secret, Signing};
use crate::oauth::{Grant, Ready};
use crate::url::{self, Address};
use crate::{Context, InProgress, Measured, Memory, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "prometheus";
const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// The stage of a request that is repeated as GET.
const AS_GET: &str = "get";

/// Asks Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    address: Address,
    query: String,
    range: Option<Range>,
    timeout: SignedDuration,
    insecure: bool,
    headers: Vec<WebHeader>,
    grant: Option<Grant>,
    basic: Option<BasicAuth>,
    signing: Option<Signing>,
}

#[derive(Debug)]
struct Range {
    start: Condition,
    end: Condition,
    step: SignedDuration,
}

impl Prometheus {
    pub fn new(block: &PrometheusMetric, context: &Context) -> Result<Self, ProviderError> {
        let mistake = |field: &str, problem: &str| {
            Err(ProviderError::configuration(format!("provider.prometheus{field}"), problem))
        };
        let address = if block.address.is_empty() {
            context.prometheus_address.as_deref().unwrap_or_default()
        } else {
            &block.address
        };
        if address.is_empty() {
            return mistake(".address", "prometheus address is not configured");
        }
        let Some(address) = Address::parse(address) else {
            return mistake(".address", "prometheus address is not is url format");
        };
        let timeout = match block.timeout {
            None => DEFAULT_TIMEOUT,
            Some(..0) => return mistake(".timeout", "prometheus timeout should not be negative"),
            Some(0) => {
                let problem =
                    "prometheus timeout is 0, which no answer can meet; leave it out for 30 seconds";
                return mistake(".timeout", problem);
            }
            Some(seconds) => SignedDuration::from_secs(seconds),
        };
        http::check_headers(&block.headers, "provider.prometheus")?;
        let authentication = block.authentication.clone().unwrap_or_default();
        let basic = match (
            authentication.basic_auth.username.as_str(),
            authentication.basic_auth.password.as_str(),
        ) {
            ("", "") => None,
            (name, password) if !name.is_empty() && !password.is_empty() => Some(authentication.basic_auth),
            (name, _) => {
                let missing = if name.is_empty() { "username" } else { "password" };
                let problem =
                    format!("missing mandatory parameter in metric for basic auth setup: {missing}");
                return mistake(".authentication.basicAuth", &problem);
            }
        };
        let signing = signing(&authentication.sigv4, &address);
        Ok(Self {
            grant: Grant::new(&authentication.oauth2, timeout, block.insecure, "provider.prometheus")?,
            range: block.range_query.as_ref().map(Range::new).transpose()?,
            address,
            query: block.query.clone(),
            timeout,
            insecure: block.insecure,
            headers: block.headers.clone(),
            basic,
            signing,
        })
    }

    fn request(&self, as_get: bool, mut memory: Memory, now: Timestamp) -> Result<Next, ProviderError> {
        let (path, form) = match &self.range {
            None => ("/api/v1/query", url::form(&[("query", &self.query), ("time", &seconds(now))])),
            Some(range) => ("/api/v1/query_range", range.form(&self.query, now)?),
        };
        let address = self.address.join(path);
        let mut request = if as_get {
            HttpRequest::new("GET", &address.with_query(form), self.timeout)
        } else {
            HttpRequest::new("POST", &address, self.timeout)
                .with_body("application/x-www-form-urlencoded", form)
        };
        if let Some(token) = memory.token.as_ref().filter(|_| self.grant.is_some()) {
            request.set_header("Authorization", HeaderValue::Secret(token.authorization.clone()));
        } else if let Some(BasicAuth { username, password }) = &self.basic {
            request.authorize_basic(username, password);
        }
        for WebHeader { key, value } in &self.headers {
            request.set_header(key, HeaderValue::Secret(Secret::new(value)));
        }
        request.insecure = self.insecure;
        request.signing.clone_from(&self.signing);
        memory.stage = json!(if as_get { AS_GET } else { "post" });
        Ok(Next::Send(request, memory))
    }
}

/// Signs only for Amazon's managed service: its address is known by this part.
fn signing(sigv4: &Sigv4, address: &Address) -> Option<Signing> {
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (region, profile, role_arn) = (set(&sigv4.region), set(&sigv4.profile), set(&sigv4.role_arn));
    let is_set = region.is_some() || profile.is_some() || role_arn.is_some();
    let is_amazon = address.without_user().contains("aps-workspaces");
    (is_set && is_amazon).then_some(Signing { service: "aps", region, profile, role_arn })
}

impl Range {
    fn new(block: &PrometheusRangeQuery) -> Result<Self, ProviderError> {
        let expression = |name: &str, text: &str| {
            Condition::parse(text).map_err(|error| bad_range(name, "time", &error.message))
        };
        Ok(Self {
            start: expression("start", &block.start)?,
            end: expression("end", &block.end)?,
            step: go_duration::parse(&block.step)
                .map_err(|error| bad_range("step", "duration", &error.to_string()))?,
        })
    }

    fn form(&self, query: &str, now: Timestamp) -> Result<String, ProviderError> {
        let instant = |name: &str, expression: &Condition| {
            expression.time(now).map(seconds).map_err(|error| bad_range(name, "time", &error.message))
        };
        let (start, end) = (instant("start", &self.start)?, instant("end", &self.end)?);
        let step = go_format::float_plain(self.step.as_secs_f64());
        Ok(url::form(&[("end", &end), ("query", query), ("start", &start), ("step", &step)]))
    }
}

fn bad_range(name: &str, wanted: &str, problem: &str) -> ProviderError {
    let problem = format!("failed to parse rangeQuery.{name} as {wanted}: {problem}");
    ProviderError::configuration(format!("provider.prometheus.rangeQuery.{name}"), problem)
}

fn seconds(instant: Timestamp) -> String {
    let fraction = f64::from(instant.subsec_nanosecond()) / 1e9;
    go_format::float_plain(instant.as_second() as f64 + fraction)
}

impl MetricProvider for Prometheus {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let (memory, answer) = match &self.grant {
            None => (measurement.memory.clone(), answer),
            Some(grant) => match grant.ready(measurement, answer, now)? {
                Ready::Send(request, memory) => return Ok(Next::Send(request, memory)),
                Ready::Go { memory, answer } => (memory, answer),
            },
        };
        let Some(answer) = answer else { return self.request(false, memory, now) };
        // Some proxies let only GET pass.
        if matches!(answer.status, 403 | 405 | 501) && memory.stage != AS_GET {
            return self.request(true, memory, now);
        }
        let measured = read(answer)?;
        Ok(Next::Done(Measured { token: memory.token, ..measured }))
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        [("ResolvedPrometheusQuery".to_owned(), self.query.clone())].into()
    }
}

fn read(answer: &HttpResponse) -> Result<Measured, ProviderError> {
    let status = answer.status;
    // The two codes of which the body says more.
    let is_explained = matches!(status, 400 | 422);
    if !answer.is_success() && !is_explained {
        let message = match status {
            400..500 => format!("client_error: client error: {status}"),
            500..600 => format!("server_error: server error: {status}"),
            _ => format!("bad_response: bad response code {status}{}", answer.redirect_hint()),
        };
        return Err(ProviderError::status(PROVIDER, status, message));
    }
    let body = answer.json_or(PROVIDER, |error| format!("bad_response: {error}"))?;
    let says_success = body["status"] == "success";
    if is_explained && body["status"] == "error" {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let message = format!("{}: {}", text("errorType"), text("error"));
        return Err(ProviderError::status(PROVIDER, status, message));
    }
    if is_explained == says_success || !says_success {
        return Err(shape("inconsistent body for response code"));
    }
    let measured = samples(&body["data"])?;
    let warnings: Vec<String> = body["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(go_format::quote)
        .collect();
    Ok(if warnings.is_empty() { measured } else { measured.with("warnings", warnings.join(", ")) })
}

fn shape(problem: &str) -> ProviderError {
    ProviderError::shape(PROVIDER, format!("bad_response: {problem}"))
}

fn samples(data: &Json) -> Result<Measured, ProviderError> {
    let kind = data["resultType"].as_str().unwrap_or_default();
    let series = || data["result"].as_array().ok_or_else(|| shape("the result is no list"));
    let samples: Vec<f64> = match kind {
        "scalar" => {
            let number = sample(&data["result"])?;
            return Ok(Measured::new(Value::Float(number), go_format::float_plain(number)));
        }
        "vector" => series()?
            .iter()
            .map(|one| sample(&one["value"]).or_else(|_| misfit(one)))
            .collect::<Result<_, _>>()?,
        "matrix" => {
            let mut samples = Vec::new();
            for one in series()? {
                match one["values"].as_array() {
                    Some(values) => {
                        for value in values {
                            samples.push(sample(value)?);
                        }
                    }
                    None => _ = misfit(one)?,
                }
            }
            samples
        }
        other => return Err(ProviderError::shape(PROVIDER, format!("unexpected value type {other:?}"))),
    };
    let texts: Vec<String> = samples.iter().map(|sample| go_format::float_plain(*sample)).collect();
    Ok(Measured::new(Value::floats(samples), format!("[{}]", texts.join(","))))
}

/// Says why a series has no numbers.
fn misfit(series: &Json) -> Result<f64, ProviderError> {
    if series.get("histogram").is_some() || series.get("histograms").is_some() {
        let problem = "the query returns native histograms; use histogram_quantile() or the like";
        return Err(ProviderError::shape(PROVIDER, problem));
    }
    Err(shape("a sample is no pair of a time and a number in a string"))
}

/// Reads `[1700000000, "0.5"]`.
fn sample(pair: &Json) -> Result<f64, ProviderError> {
    let text = pair.as_array().filter(|pair| pair.len() == 2).and_then(|pair| pair[1].as_str());
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| shape("a sample is no pair of a time and a number in a string"))
}
