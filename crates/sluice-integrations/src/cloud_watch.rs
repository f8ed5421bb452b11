//! Amazon CloudWatch: `GetMetricData`.
//!
//! The JSON form of the API is used, so that there is no XML to read. Differences to the original: messages
//! are shown as text, and a period that is no number is a mistake and not 0.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};
use sluice_api::meta::IntOrString;
use sluice_api::providers::{CloudWatchMetric, CloudWatchMetricStat, CloudWatchQuery};
use sluice_lang::expr::{Elements, Shape, Type, Value};
use sluice_lang::{go_duration, go_format};

use crate::http::{HttpRequest, HttpResponse, Signing};
use crate::url::Address;
use crate::{Context, InProgress, Measured, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "cloudWatch";
const DEFAULT_INTERVAL: &str = "5m";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// Asks CloudWatch.
#[derive(Debug)]
pub struct CloudWatch {
    address: Address,
    region: String,
    interval: SignedDuration,
    queries: Vec<Json>,
}

fn mistake(field: &str, problem: &str) -> ProviderError {
    ProviderError::configuration(format!("provider.cloudWatch.{field}"), problem)
}

impl CloudWatch {
    pub fn new(block: &CloudWatchMetric, context: &Context) -> Result<Self, ProviderError> {
        let interval = if block.interval.is_empty() { DEFAULT_INTERVAL } else { &block.interval };
        let interval =
            go_duration::parse(interval).map_err(|error| mistake("interval", &error.to_string()))?;
        let region = context.aws_region.as_deref().unwrap_or_default();
        let is_region = !region.is_empty() && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_region {
            let problem = "no AWS region is known: set AWS_REGION for the controller";
            return Err(mistake("metricDataQueries", problem));
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let default = format!("https://monitoring.{region}.{domain}/");
        let Some(address) = Address::parse(context.cloud_watch_address.as_deref().unwrap_or(&default)) else {
            return Err(mistake("metricDataQueries", "AWS_ENDPOINT_URL_CLOUDWATCH has no scheme and host"));
        };
        let queries = block.metric_data_queries.iter().enumerate();
        let queries: Result<Vec<Json>, ProviderError> =
            queries.map(|(place, one)| query(one, place)).collect();
        Ok(Self { address, region: region.to_owned(), interval, queries: queries? })
    }

    fn request(&self, now: Timestamp) -> HttpRequest {
        let from = now.saturating_sub(self.interval).unwrap_or(Timestamp::MIN);
        let body = json!({
            "StartTime": from.as_second(),
            "EndTime": now.as_second(),
            "MetricDataQueries": self.queries,
        });
        let mut request = HttpRequest::new("POST", &self.address, TIMEOUT)
            .with_body("application/x-amz-json-1.0", body.to_string())
            .with_plain("X-Amz-Target", "GraniteServiceVersion20100801.GetMetricData");
        request.signing = Some(Signing {
            service: "monitoring",
            region: Some(self.region.clone()),
            profile: None,
            role_arn: None,
        });
        request
    }
}

fn query(one: &CloudWatchQuery, place: usize) -> Result<Json, ProviderError> {
    let mut members = Map::new();
    let mut set = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let at = |field: &str| format!("metricDataQueries[{place}].{field}");
    set("Id", Some(json!(one.id)));
    set("Expression", one.expression.as_ref().map(|text| json!(text)));
    set("Label", one.label.as_ref().map(|text| json!(text)));
    set("Period", period(one.period.as_ref(), &at("period"))?);
    set("ReturnData", one.return_data.map(|is_returned| json!(is_returned)));
    set("MetricStat", one.metric_stat.as_ref().map(|stat| metric_stat(stat, &at("metricStat"))).transpose()?);
    Ok(Json::Object(members))
}

fn metric_stat(stat: &CloudWatchMetricStat, field: &str) -> Result<Json, ProviderError> {
    let dimension =
        |one: &sluice_api::providers::CloudWatchDimension| json!({"Name": one.name, "Value": one.value});
    let mut metric = json!({"MetricName": stat.metric.metric_name});
    if !stat.metric.dimensions.is_empty() {
        metric["Dimensions"] = stat.metric.dimensions.iter().map(dimension).collect();
    }
    if let Some(namespace) = &stat.metric.namespace {
        metric["Namespace"] = json!(namespace);
    }
    let mut members = json!({"Metric": metric, "Stat": stat.stat});
    if let Some(period) = period(stat.period.as_ref(), &format!("{field}.period"))? {
        members["Period"] = period;
    }
    if !stat.unit.is_empty() {
        members["Unit"] = json!(stat.unit);
    }
    Ok(members)
}

fn period(period: Option<&IntOrString>, field: &str) -> Result<Option<Json>, ProviderError> {
    match period {
        None => Ok(None),
        Some(IntOrString::Int(seconds)) => Ok(Some(json!(seconds))),
        Some(IntOrString::Text(text)) => match text.parse::<i32>() {
            Ok(seconds) => Ok(Some(json!(seconds))),
            Err(_) => Err(mistake(field, &format!("{field} is {text:?}, must be a number of seconds"))),
        },
    }
}

impl MetricProvider for CloudWatch {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let Some(answer) = answer else {
            return Ok(Next::Send(self.request(now), measurement.memory.clone()));
        };
        if !answer.is_success() {
            return Err(ProviderError::status(PROVIDER, answer.status, refusal(answer)));
        }
        let body = answer.json(PROVIDER)?;
        read(&body).map(Next::Done)
    }
}

/// Says who refuses, and why, as the AWS libraries do.
fn refusal(answer: &HttpResponse) -> String {
    let body = answer.json(PROVIDER).unwrap_or_default();
    let code = body["__type"].as_str().or(body["code"].as_str()).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    let detail = match (code, message) {
        ("", "") => answer.quoted().into_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    let hint = answer.redirect_hint();
    format!(
        "operation error CloudWatch: GetMetricData, https response error StatusCode: {}, {detail}{hint}",
        answer.status
    )
}

fn shape(problem: &str) -> ProviderError {
    ProviderError::shape(PROVIDER, format!("CloudWatch answered with something unexpected: {problem}"))
}

fn read(body: &Json) -> Result<Measured, ProviderError> {
    let (of_result, of_message) = (result_shape(), message_shape());
    let list = |value: &Json, name: &str| match value {
        Json::Null => Ok(Vec::new()),
        Json::Array(items) => Ok(items.clone()),
        _ => Err(shape(&format!("{name} is no list"))),
    };
    let messages = |value: &Json| -> Result<Vec<Vec<Value>>, ProviderError> {
        let text = |one: &Json, name: &str| one[name].as_str().map_or(Value::Nil, Value::from);
        Ok(list(value, "Messages")?.iter().map(|one| vec![text(one, "Code"), text(one, "Value")]).collect())
    };
    let mut records = Vec::new();
    let mut texts = Vec::new();
    for one in list(&body["MetricDataResults"], "MetricDataResults")? {
        let numbers: Option<Vec<f64>> = list(&one["Values"], "Values")?.iter().map(Json::as_f64).collect();
        let numbers = numbers.ok_or_else(|| shape("Values holds something else than numbers"))?;
        let times = list(&one["Timestamps"], "Timestamps")?;
        let times: Vec<Value> = times.iter().map(time).collect();
        let shown: Vec<String> = numbers.iter().map(|number| go_format::float(*number)).collect();
        texts.push(format!("[{}]", shown.join(" ")));
        let text = |name: &str| one[name].as_str().map_or(Value::Nil, Value::from);
        records.push(vec![
            text("Id"),
            text("Label"),
            Value::records(&of_message, messages(&one["Messages"])?),
            one["StatusCode"].as_str().map_or_else(|| Value::from(""), Value::from),
            Value::list(times),
            Value::floats(numbers),
        ]);
    }
    let mut measured = Measured::new(Value::records(&of_result, records), format!("[{}]", texts.join(" ")));
    measured.keeps_value = true;
    let said: Vec<String> = list(&body["Messages"], "Messages")?.iter().map(said).collect();
    Ok(if said.is_empty() { measured } else { measured.with("messages", said.join(", ")) })
}

fn said(message: &Json) -> String {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("Code"), text("Value"))
}

/// A time is a number of seconds.
fn time(seconds: &Json) -> Value {
    let instant =
        seconds.as_f64().and_then(|seconds| Timestamp::from_millisecond((seconds * 1e3) as i64).ok());
    instant.map_or(Value::Nil, |instant| Value::Time(Arc::new(instant.to_zoned(jiff::tz::TimeZone::UTC))))
}

/// The members that conditions can name.
fn result_shape() -> Arc<Shape> {
    Arc::new(Shape {
        name: "types.MetricDataResult",
        fields: vec![
            ("Id", Type::Any),
            ("Label", Type::Any),
            ("Messages", Type::list(Elements::Record(message_shape()))),
            ("StatusCode", Type::String),
            ("Timestamps", Type::list(Elements::Any)),
            ("Values", Type::list(Elements::Float)),
        ],
    })
}

fn message_shape() -> Arc<Shape> {
    Arc::new(Shape { name: "types.MessageData", fields: vec![("Code", Type::Any), ("Value", Type::Any)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use sluice_lang::expr::Data;
    use sluice_lang::judge::{Conditions, judge};

    #[test]
    fn conditions_name_members_with_capitals() {
        let body =
            json!({"MetricDataResults": [{"Id": "rate", "Values": [0.001, 0.25], "StatusCode": "Complete"}]});
        let Outcome::Result(result) = read(&body).unwrap().outcome else { panic!("a result") };
        let data = Data::new(result, Timestamp::UNIX_EPOCH);
        for (condition, wanted) in [
            ("all(result[0].Values, {# <= 0.01})", "Failed"),
            ("all(result[0].Values, {# <= 0.25})", "Successful"),
            ("result[0].Id == 'rate' && result[0].StatusCode == 'Complete'", "Successful"),
            ("len(result[0].Messages) == 0 && len(result[0].Timestamps) == 0", "Successful"),
            ("result[0].Label == nil", "Successful"),
            ("result[0].values", "error"),
        ] {
            let got = judge(&Conditions::new(condition, ""), &data);
            let got = got.map_or_else(|_| "error".to_owned(), |verdict| format!("{verdict:?}"));
            assert_eq!(got, wanted, "{condition}");
        }
    }
}
