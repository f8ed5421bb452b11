//! Where two transcripts differ. No difference is accepted.

use serde_json::Value;

use super::normal::Transcript;
use super::sequence::{Sequence, Step};
use super::side::Answer;

/// The first difference of a sequence.
#[derive(Debug)]
pub struct Difference {
    /// Index of the request, or `None` for a watch.
    pub step: Option<usize>,
    /// What differs.
    pub what: String,
}

/// Finds the first difference.
pub fn first(sequence: &Sequence, real: &Transcript, simulated: &Transcript) -> Option<Difference> {
    let answers = sequence.steps.iter().zip(&real.answers).zip(&simulated.answers).enumerate();
    for (i, ((step, real), simulated)) in answers {
        if let Some(what) = between_answers(step, real, simulated) {
            return Some(Difference { step: Some(i), what });
        }
    }
    for (real, simulated) in real.watches.iter().zip(&simulated.watches) {
        let events = |events: &[Value]| -> Vec<String> {
            events
                .iter()
                .map(|event| {
                    format!(
                        "{} {}",
                        event["type"].as_str().unwrap_or_default(),
                        event["object"]["metadata"]["name"].as_str().unwrap_or_default()
                    )
                })
                .collect()
        };
        let what = if events(real) == events(simulated) {
            let mut pairs = real.iter().zip(simulated).enumerate();
            pairs.find_map(|(i, (real, simulated))| {
                between(real, simulated, &format!("event {i} ({}) ", real["type"]))
            })
        } else {
            Some(format!("events: real {:?}, simulated {:?}", events(real), events(simulated)))
        };
        if let Some(what) = what {
            return Some(Difference { step: None, what });
        }
    }
    None
}

fn between_answers(step: &Step, real: &Answer, simulated: &Answer) -> Option<String> {
    let text = |answer: &Answer| match answer.body["message"].as_str() {
        Some(message) if answer.code >= 300 => format!("{} {message}", answer.code),
        _ => answer.code.to_string(),
    };
    if real.code != simulated.code {
        return Some(format!("code: real {}, simulated {}", text(real), text(simulated)));
    }
    if real.code >= 300 {
        let what = between(&told(step, real), &told(step, simulated), "");
        return what
            .map(|what| format!("{what}\n    real {}\n    simulated {}", text(real), text(simulated)));
    }
    if let Some(what) = between(&real.body, &simulated.body, "") {
        return Some(what);
    }
    // A real server tries a patch on the object that its cache holds first, and once more when that was old. It
    // warns of both tries, and what becomes of a directive depends on the object.
    let is_of_old_try = |text: &&String| text.contains(".$") && !simulated.warnings.contains(text);
    let warnings: Vec<&String> = real.warnings.iter().filter(|text| !is_of_old_try(text)).collect();
    (!warnings.iter().copied().eq(&simulated.warnings))
        .then(|| format!("warnings: real {:?}, simulated {:?}", real.warnings, simulated.warnings))
}

/// What clients go by when a request fails: reason, details and causes; the text where people and
/// programs read it.
fn told(step: &Step, answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    let message = body["message"].as_str().unwrap_or_default();
    let is_custom =
        ["/apis/argoproj.io/", "/apis/sluice.example/"].iter().any(|path| step.path.starts_with(path));
    let is_read = matches!(body["reason"].as_str(), Some("NotFound" | "AlreadyExists" | "Conflict"))
        || (is_custom && body["reason"] == "Invalid" && !message.starts_with(" \"\" is invalid: patch:"))
        || message.contains("strict decoding error: ") && !message.starts_with(" \"\" is invalid: patch:");
    // Mistakes are found in no order, and some twice.
    let is_list = body["details"]["causes"].as_array().is_some_and(|causes| causes.len() > 1);
    let keeps_message = is_read && !(body["reason"] == "Invalid" && is_list);
    if let Some(body) = body.as_object_mut().filter(|_| !keeps_message) {
        body.remove("message");
    }
    if let Some(causes) = body.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
        for cause in causes.iter_mut().filter(|_| !is_read) {
            if let Some(cause) = cause.as_object_mut() {
                cause.remove("message");
            }
        }
        causes.sort_by_cached_key(ToString::to_string);
        causes.dedup();
    }
    body
}

/// The first place at which two values differ.
fn between(real: &Value, simulated: &Value, path: &str) -> Option<String> {
    match (real, simulated) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                let path = format!("{path}.{key}");
                match other.get(key) {
                    Some(second) => {
                        if let Some(what) = between(value, second, &path) {
                            return Some(what);
                        }
                    }
                    None => return Some(format!("{path}: real {value}, simulated has none")),
                }
            }
            let more = other.iter().find(|(key, _)| !one.contains_key(*key));
            more.map(|(key, value)| format!("{path}.{key}: real has none, simulated {value}"))
        }
        (Value::Array(one), Value::Array(other)) => {
            let pairs = one.iter().zip(other).enumerate();
            for (i, (value, second)) in pairs {
                if let Some(what) = between(value, second, &format!("{path}[{i}]")) {
                    return Some(what);
                }
            }
            (one.len() != other.len()).then(|| {
                format!(
                    "{path}: real has {} items, simulated {}: real {real}, simulated {simulated}",
                    one.len(),
                    other.len()
                )
            })
        }
        _ => (real != simulated).then(|| format!("{path}: real {real}, simulated {simulated}")),
    }
}
