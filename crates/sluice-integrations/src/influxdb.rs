//! InfluxDB 2, by Flux.
//!
//! Differences to the original: an error in the middle of an answer, and a value that is not of the type that
//! its column says, are errors and not the end of the data.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::json;
use sluice_api::providers::{InfluxdbMetric, Provider};
use sluice_lang::expr::Value;
use sluice_lang::go_duration;

use crate::csv;
use crate::http::{HttpRequest, HttpResponse};
use crate::url::{self, Address};
use crate::{Context, InProgress, Measured, MetricProvider, Next, ProviderError, Secret};

const PROVIDER: &str = "influxdb";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(20);

/// Asks InfluxDB.
#[derive(Debug)]
pub struct Influxdb {
    address: Address,
    token: Secret,
    query: String,
}

impl Influxdb {
    pub fn new(block: &InfluxdbMetric, context: &Context) -> Result<Self, ProviderError> {
        let mistake = |problem: &str| Err(ProviderError::configuration("provider.influxdb.profile", problem));
        let secret = context.secret(Provider::Influxdb(block));
        let (Some(address), Some(token), Some(org)) =
            (secret.get("address"), secret.get("authToken"), secret.get("org"))
        else {
            return mistake("authToken, org, or address not found");
        };
        let Some(address) = Address::parse(address) else {
            return mistake("the address of influxdb is no address with scheme and host");
        };
        let address = address.join("/api/v2/query").with_query(url::form(&[("org", org)]));
        Ok(Self { address, token: Secret::new(token), query: block.query.clone() })
    }

    fn request(&self) -> HttpRequest {
        let dialect =
            json!({"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": true});
        let body = json!({"dialect": dialect, "query": self.query, "type": "flux"});
        HttpRequest::new("POST", &self.address, TIMEOUT)
            .with_body("application/json", body.to_string())
            .with_plain("Accept", "application/csv")
            .with_secret("Authorization", format!("Token {}", self.token.expose()))
    }
}

impl MetricProvider for Influxdb {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        _now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else {
            return Ok(Next::Send(self.request(), measurement.memory.clone()));
        };
        if !answer.is_success() {
            return Err(ProviderError::status(PROVIDER, answer.status, refusal(answer)));
        }
        let values = rows(&answer.text(PROVIDER)?)?;
        if values.is_empty() {
            return Err(ProviderError::shape(PROVIDER, "no results returned from flux query"));
        }
        let result = Value::list(values);
        let value = result.to_text();
        Ok(Next::Done(Measured::new(result, value)))
    }
}

fn refusal(answer: &HttpResponse) -> String {
    let body = answer.json(PROVIDER).unwrap_or_default();
    match (body["code"].as_str(), body["message"].as_str()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => format!("{}: {}{}", answer.status, answer.quoted(), answer.redirect_hint()),
    }
}

/// What is known of the columns of a table.
#[derive(Default)]
struct Table {
    types: Vec<String>,
    defaults: Vec<String>,
    header: Option<Vec<String>>,
}

/// The `_value` of every row of every table.
fn rows(text: &str) -> Result<Vec<Value>, ProviderError> {
    let unreadable = |problem: &str| {
        ProviderError::shape(PROVIDER, format!("cannot read the answer of influxdb: {problem}"))
    };
    let mut table = Table::default();
    let mut values = Vec::new();
    for record in csv::records(text).map_err(unreadable)? {
        let first = record.first().map(String::as_str);
        match (first, &table.header) {
            (None, _) => table = Table::default(),
            (Some(annotation), _) if annotation.starts_with('#') => {
                if table.header.is_some() {
                    table = Table::default();
                }
                match annotation {
                    "#datatype" => table.types = record,
                    "#default" => table.defaults = record,
                    _ => {}
                }
            }
            (Some(_), None) if table.types.is_empty() && !is_error(&record) => {
                return Err(unreadable("it is no CSV with annotations"));
            }
            (Some(_), None) => table.header = Some(record),
            (Some(_), Some(header)) if is_error(header) => {
                let message = record.iter().find(|field| !field.is_empty());
                let message = message.map_or("an error without a message", String::as_str);
                return Err(ProviderError::reported(PROVIDER, message));
            }
            (Some(_), Some(header)) if header.len() != record.len() => {
                return Err(unreadable(
                    "a row has not as many fields as its header; the answer may have ended early",
                ));
            }
            (Some(_), Some(header)) => {
                let value = match header.iter().position(|name| name == "_value") {
                    None => Value::Nil,
                    Some(place) => {
                        let field = |fields: &[String]| fields.get(place).cloned().unwrap_or_default();
                        let own = field(&record);
                        let text = if own.is_empty() { field(&table.defaults) } else { own };
                        let kind = field(&table.types);
                        read(&kind, &text)
                            .ok_or_else(|| unreadable(&format!("{text:?} is no value of type {kind}")))?
                    }
                };
                values.push(value);
            }
        }
    }
    if table.header.as_ref().is_some_and(|header| is_error(header)) {
        return Err(ProviderError::reported(PROVIDER, "an error without a message"));
    }
    Ok(values)
}

fn is_error(header: &[String]) -> bool {
    let names = if header.first().is_some_and(String::is_empty) { &header[1..] } else { header };
    names.first().is_some_and(|name| name == "error") && names.get(1).is_none_or(|name| name == "reference")
}

/// Reads a value of a type of InfluxDB; an empty text is no value, but for strings.
fn read(kind: &str, text: &str) -> Option<Value> {
    if text.is_empty() && kind != "string" {
        return Some(Value::Nil);
    }
    Some(match kind {
        "double" => Value::Float(text.parse().ok()?),
        "long" => Value::Int64(text.parse().ok()?),
        // What does not fit is as near as a float can be.
        "unsignedLong" => {
            let number: u64 = text.parse().ok()?;
            i64::try_from(number).map_or(Value::Float(number as f64), Value::Int64)
        }
        "boolean" => Value::Bool(match text {
            "true" => true,
            "false" => false,
            _ => return None,
        }),
        "duration" => Value::Duration(go_duration::parse(text).ok()?),
        _ if kind.starts_with("dateTime") => {
            let instant: Timestamp = text.parse().ok()?;
            Value::Time(Arc::new(instant.to_zoned(TimeZone::UTC)))
        }
        _ => Value::from(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type() {
        for (kind, text, wanted) in [
            ("double", "0.01", "float64 0.01"),
            ("double", "+Inf", "float64 +Inf"),
            ("long", "-2", "int64 -2"),
            ("unsignedLong", "2", "int64 2"),
            ("unsignedLong", "18446744073709551615", "float64 1.8446744073709552e+19"),
            ("boolean", "true", "bool true"),
            ("string", "", "string "),
            ("long", "", "<nil> <nil>"),
            ("duration", "1h", "time.Duration 1h0m0s"),
            ("dateTime:RFC3339", "2023-11-14T00:00:00Z", "time.Time 2023-11-14 00:00:00 +0000 UTC"),
        ] {
            let got = read(kind, text).unwrap();
            assert_eq!(format!("{} {}", got.go_type(), got.to_text()), wanted);
        }
        for (kind, text) in
            [("double", "x"), ("long", "1.5"), ("boolean", "yes"), ("dateTime:RFC3339", "now")]
        {
            assert!(read(kind, text).is_none(), "{kind} {text}");
        }
    }
}
