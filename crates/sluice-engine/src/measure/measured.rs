//! What a provider's answer makes of a measurement.
//!
//! It decides how the answer is judged and written down, which is the same for every provider. It does not
//! decide how one is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sluice_api::analysis::{AnalysisPhase, Measurement};
use sluice_lang::expr::Value;
use sluice_lang::go_format;

use super::gate::Readings;
use super::task::{Aside, Task};

/// An answer, and how it is shown.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What conditions see.
    pub value: Value,
    /// What people see, in the form that Go gives it.
    pub text: String,
    /// What the provider says of the measurement.
    pub metadata: BTreeMap<String, String>,
    /// Whether the text is shown even if the value cannot be judged.
    pub is_shown_on_error: bool,
}

impl Reading {
    /// An answer with a text of its own.
    pub fn new(value: Value, text: impl Into<String>) -> Self {
        Self { value, text: text.into(), metadata: BTreeMap::new(), is_shown_on_error: false }
    }

    /// Samples: numbers without exponents, lists as `[1,0.5]`.
    pub fn samples(value: Value) -> Self {
        let text = plain(&value);
        Self::new(value, text)
    }

    /// An answer that is shown as JSON. What JSON cannot hold is shown as Go prints it.
    pub fn json(value: Value) -> Self {
        let text = value.to_json().unwrap_or_else(|_| value.to_text());
        Self::new(value, text)
    }

    /// An answer that is shown as Go's `%v`: `[0.01 2 <nil>]`.
    pub fn printed(value: Value) -> Self {
        let text = value.to_text();
        Self::new(value, text)
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Float(x) => go_format::float_plain(*x),
        Value::List(list) => {
            let items: Vec<String> = list.items.iter().map(plain).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_text(),
    }
}

/// What else was read for a measurement.
pub type Asides = BTreeMap<Aside, Value>;

/// Makes a finished measurement of an answer, or of the reason why there is none.
pub fn measured(
    task: &Task,
    answer: Result<Reading, String>,
    asides: &Asides,
    started_at: Timestamp,
    now: Timestamp,
) -> Measurement {
    let base = Measurement {
        started_at: Some(started_at.into()),
        finished_at: Some(now.into()),
        ..Measurement::default()
    };
    let reading = match answer {
        Ok(reading) => reading,
        Err(message) => return Measurement { phase: AnalysisPhase::Error, message, ..base },
    };
    let readings = Readings {
        main: reading.value,
        samples: asides.get(&Aside::Samples).cloned(),
        baseline: asides.get(&Aside::Baseline).cloned(),
    };
    let judgement = task.gate.judge(&task.metric, &readings, task.position, now);
    let is_shown = judgement.phase != AnalysisPhase::Error || reading.is_shown_on_error;
    Measurement {
        phase: judgement.phase,
        message: judgement.message,
        value: if is_shown { reading.text } else { String::new() },
        metadata: reading.metadata.into_iter().chain(judgement.metadata).collect(),
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Gate, Position, TaskKind};
    use serde_json::json;
    use sluice_api::analysis::Metric;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn answers_become_measurements() {
        use AnalysisPhase::{Error, Failed, Inconclusive, Successful};
        let json = |json: serde_json::Value| Reading::json(Value::from(&json));
        let floats = |items: &[f64]| Value::floats(items.iter().copied());
        let no_data = "could not evaluate successCondition \"result > 1\": metric result is nil or empty: \
                       no data returned from the metric provider";
        let shown = Reading { is_shown_on_error: true, ..Reading::printed(Value::list([])) };
        // answer, success, failure => phase, value, message
        for (answer, success, failure, phase, value, message) in [
            (Ok(Reading::samples(Value::Float(0.97))), "result >= 0.95", "", Successful, "0.97", ""),
            (Ok(Reading::samples(Value::Float(1e6))), "result < 1", "", Failed, "1000000", ""),
            (Ok(Reading::samples(floats(&[0.5, f64::NAN]))), "false", "false", Inconclusive, "[0.5,NaN]", ""),
            (Ok(Reading::samples(floats(&[]))), "", "", Successful, "[]", ""),
            (
                Ok(Reading::printed(Value::list([Value::Float(0.01), Value::Nil]))),
                "",
                "",
                Successful,
                "[0.01 <nil>]",
                "",
            ),
            (
                Ok(json(json!({"b": 1, "a": "<"}))),
                "result.b == 1",
                "",
                Successful,
                "{\"a\":\"\\u003c\",\"b\":1}",
                "",
            ),
            (Ok(json(json!(null))), "result == nil", "", Successful, "null", ""),
            (Ok(json(json!(null))), "result > 1", "", Error, "", no_data),
            (Ok(Reading::json(floats(&[f64::NAN]))), "", "", Successful, "[NaN]", ""),
            (Ok(shown), "result > 1", "", Error, "[]", no_data),
            (Ok(Reading::new(Value::Float(0.999), "1.00")), "result < 1", "", Successful, "1.00", ""),
            (Err("no route".to_owned()), "true", "", Error, "", "no route"),
        ] {
            let metric = Metric {
                success_condition: success.to_owned(),
                failure_condition: failure.to_owned(),
                ..Metric::default()
            };
            let task = Task {
                kind: TaskKind::Run,
                asides: Vec::new(),
                gate: Gate::of(&metric).expect("numbers"),
                position: Position::default(),
                metric,
                measurement: None,
                number: 1,
                secrets: Vec::new(),
            };
            let found = measured(&task, answer, &Asides::new(), at(100), at(103));
            assert_eq!((found.phase, found.value.as_str(), found.message.as_str()), (phase, value, message));
            assert_eq!((found.started_at, found.finished_at), (Some(at(100).into()), Some(at(103).into())));
        }
    }
}
