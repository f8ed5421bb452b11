//! Wavefront.
//!
//! Differences to the original: a request ends in time, a series without points is no data and not 0, and
//! what the server says about an error is said.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use sluice_api::providers::{Provider, WavefrontMetric};
use sluice_lang::expr::Value;
use sluice_lang::go_format;

use crate::http::{HttpRequest, HttpResponse};
use crate::url::{self, Address};
use crate::{Context, InProgress, Measured, Memory, MetricProvider, Next, ProviderError, Secret};

const PROVIDER: &str = "wavefront";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// Asks Wavefront.
#[derive(Debug)]
pub struct Wavefront {
    address: Address,
    token: Secret,
    query: String,
}

/// The point of a series that is nearest to the start.
struct Point {
    seconds: f64,
    number: f64,
    drift: f64,
}

impl Wavefront {
    pub fn new(block: &WavefrontMetric, context: &Context) -> Result<Self, ProviderError> {
        let mistake =
            |problem: String| Err(ProviderError::configuration("provider.wavefront.address", problem));
        let secret = context.secret(Provider::Wavefront(block));
        let Some(token) = secret.get(&block.address) else {
            return mistake("API token not found".to_owned());
        };
        let Some(address) = Address::parse(&format!("https://{}", block.address)) else {
            return mistake(format!("wavefront address {} is no host", block.address));
        };
        Ok(Self { address, token: Secret::new(token), query: block.query.clone() })
    }

    fn request(&self, memory: &Memory, now: Timestamp) -> Next {
        let instant = now.as_millisecond().to_string();
        let form = url::form(&[
            ("autoEvents", "false"),
            ("e", &instant),
            ("g", "s"),
            ("i", "true"),
            ("includeObsoleteMetrics", "false"),
            ("listmode", "false"),
            ("p", "1"),
            ("q", &self.query),
            ("s", &instant),
            ("strict", "false"),
        ]);
        let address = self.address.join("/api/v2/chart/api").with_query(form);
        let request = HttpRequest::new("GET", &address, TIMEOUT)
            .with_plain("Accept", "application/json")
            .with_secret("Authorization", format!("Bearer {}", self.token.expose()));
        Next::Send(request, Memory { stage: json!(now.as_second()), ..memory.clone() })
    }
}

impl MetricProvider for Wavefront {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else { return Ok(self.request(&measurement.memory, now)) };
        if answer.status != 200 {
            let (status, hint) = (answer.status, answer.redirect_hint());
            let message = format!("server returned {status}\n{}\n{hint}", answer.quoted());
            return Err(ProviderError::status(PROVIDER, status, message));
        }
        let start = measurement.memory.stage.as_i64().unwrap_or(measurement.started_at.as_second());
        read(&answer.json(PROVIDER)?, start as f64).map(Next::Done)
    }
}

fn read(body: &Json, start: f64) -> Result<Measured, ProviderError> {
    let shape = |problem: &str| ProviderError::shape(PROVIDER, problem);
    let none = || {
        let why = body["errorMessage"].as_str().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        shape(&format!("No TimeSeries found in response from Wavefront{why}"))
    };
    let series = match &body["timeseries"] {
        Json::Null => return Err(none()),
        Json::Array(series) if series.is_empty() => return Err(none()),
        Json::Array(series) => series,
        _ => return Err(shape("wavefront answered with timeseries that are no list")),
    };
    let mut points = Vec::new();
    for one in series {
        let data = match &one["data"] {
            Json::Null => continue,
            Json::Array(data) => data,
            _ => return Err(shape("wavefront answered with data that is no list")),
        };
        points.extend(nearest(data, start).map_err(shape)?);
    }
    let bracketed = |texts: Vec<String>| match texts.as_slice() {
        [only] if series.len() == 1 => only.clone(),
        several => format!("[{}]", several.join(",")),
    };
    let all = |text: fn(&Point) -> String| bracketed(points.iter().map(text).collect());
    let result = match points.as_slice() {
        [] => Value::Nil,
        [only] if series.len() == 1 => Value::Float(only.number),
        several => Value::floats(several.iter().map(|point| point.number)),
    };
    let measured = Measured::new(result, all(|point| two_digits(point.number)))
        .with("timestamps", all(|point| go_format::float_plain(point.seconds)))
        .with("drift", all(|point| go_format::float_plain(point.drift)));
    let warnings = body["warnings"].as_str().filter(|warnings| !warnings.is_empty());
    Ok(match warnings {
        Some(warnings) => measured.with("warnings", warnings),
        None => measured,
    })
}

fn nearest(data: &[Json], start: f64) -> Result<Option<Point>, &'static str> {
    let mut nearest: Option<Point> = None;
    for pair in data {
        let (Some(seconds), Some(number)) = (pair[0].as_f64(), pair[1].as_f64()) else {
            return Err("wavefront answered with a point that is no pair of numbers");
        };
        let drift = (seconds - start).abs();
        if nearest.as_ref().is_none_or(|found| drift < found.drift) {
            nearest = Some(Point { seconds, number, drift });
        }
    }
    Ok(nearest)
}

/// Go's `%.2f`.
fn two_digits(number: f64) -> String {
    if number.is_finite() { format!("{number:.2}") } else { go_format::float_plain(number) }
}
