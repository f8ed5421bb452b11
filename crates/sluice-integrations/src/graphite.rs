//! Graphite, by its render API.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use sluice_api::providers::GraphiteMetric;
use sluice_lang::expr::Value;
use sluice_lang::go_format;

use crate::http::{HttpRequest, HttpResponse};
use crate::url::{self, Address};
use crate::{InProgress, Measured, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "graphite";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

/// Asks Graphite.
#[derive(Debug)]
pub struct Graphite {
    address: Address,
}

impl Graphite {
    pub fn new(block: &GraphiteMetric) -> Result<Self, ProviderError> {
        let Some(address) = Address::parse(&block.address) else {
            let problem = format!("Graphite address {} is not a valid URL", block.address);
            return Err(ProviderError::configuration("provider.graphite.address", problem));
        };
        Ok(Self { address: address.join("/render").with_query(query(&block.query)) })
    }
}

/// Writes a query anew: without white space, as the original does, with its keys in order.
fn query(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let plain = |text: &str| url::unescape(&text.replace('+', " "));
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<(String, String)> = pairs.map(|(key, value)| (plain(key), plain(value))).collect();
    pairs.retain(|(key, _)| key != "format");
    pairs.push(("format".to_owned(), "json".to_owned()));
    // Several of one key stay in their order.
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    url::form(&pairs)
}

impl MetricProvider for Graphite {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        _now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else {
            let request = HttpRequest::new("GET", &self.address, TIMEOUT);
            return Ok(Next::Send(request, measurement.memory.clone()));
        };
        if !answer.is_success() {
            let message = format!("error response: {}{}", answer.quoted(), answer.redirect_hint());
            return Err(ProviderError::status(PROVIDER, answer.status, message));
        }
        read(&answer.json(PROVIDER)?).map(Next::Done)
    }
}

fn read(body: &Json) -> Result<Measured, ProviderError> {
    let shape = |problem: &str| ProviderError::shape(PROVIDER, problem);
    let series = body.as_array().ok_or_else(|| shape("graphite answered with something else than series"))?;
    let points = match series.first().map(|first| &first["datapoints"]) {
        Some(Json::Array(points)) if !points.is_empty() => points,
        None | Some(Json::Array(_) | Json::Null) => return Err(shape("no values found")),
        Some(_) => return Err(shape("graphite answered with datapoints that are no list")),
    };
    let mut numbers = Vec::new();
    for point in points {
        let number = match point.as_array().and_then(|pair| pair.first()) {
            Some(Json::Null) => continue,
            Some(Json::Number(number)) => number.as_f64(),
            Some(Json::String(text)) => text.parse().ok(),
            _ => None,
        };
        numbers.push(number.ok_or_else(|| shape("graphite answered with a point whose value is no number"))?);
    }
    let texts: Vec<String> = numbers.iter().map(|number| six_digits(*number)).collect();
    let mut measured = Measured::new(Value::floats(numbers), format!("[{}]", texts.join(",")));
    measured.keeps_value = true;
    Ok(measured)
}

/// Go's `%f`.
fn six_digits(number: f64) -> String {
    if number.is_finite() { format!("{number:.6}") } else { go_format::float_plain(number) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries() {
        for (text, wanted) in [
            ("target=a(b.*, '5min')\n&from=-5min", "format=json&from=-5min&target=a%28b.%2A%2C%275min%27%29"),
            ("target=b&target=a&format=csv", "format=json&target=b&target=a"),
            ("target=a%2Bb+c", "format=json&target=a%2Bb+c"),
            ("", "format=json"),
            ("x&&y=%", "format=json&x=&y=%25"),
        ] {
            assert_eq!(super::query(text), wanted, "{text}");
        }
    }
}
