//! The one number that a result comes to.
//!
//! It decides which number that is, and what is no data. It does not decide whether the number is good.
//! Providers answer in different shapes: a number, a list with one sample, a row with named columns.

use crate::expr::{Key, List, Map, Record, Value};

/// How deep a number may lie in a result.
const DEPTH: usize = 8;
/// Longest list of members that a message names.
const MAX_SHOWN_MEMBERS: usize = 10;

/// What a result comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A number, finite.
    Number(f64),
    /// Nothing was measured: no value, an empty list, NaN or an infinity.
    NoData,
    /// It is not one number; the text says why and what would help.
    Mistake(String),
}

/// Returns the number at `key` of a result, or that of all of it if the key is empty.
///
/// A list with one item stands for the item, an object with one member for the member. The values of a
/// CloudWatch query are newest first, so the first counts.
pub fn figure(result: &Value, key: &str) -> Figure {
    match member(result, key) {
        Ok(value) => number(&value, DEPTH),
        Err(figure) => figure,
    }
}

/// Whether there is nothing to judge in a result of any shape: no value, or no finite number among its samples.
pub fn is_no_data(result: &Value) -> bool {
    match result {
        Value::Nil => true,
        Value::Float(x) => !x.is_finite(),
        Value::List(list) => list.items.iter().all(|item| match item {
            Value::Nil => true,
            Value::Float(x) => !x.is_finite(),
            _ => false,
        }),
        Value::Map(map) => map.entries.is_empty(),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Int64(_)
        | Value::String(_)
        | Value::Record(_)
        | Value::Time(_)
        | Value::Duration(_)
        | Value::Zone(_)
        | Value::Function(_) => false,
    }
}

/// The member at a path such as `totals.requests`. A member whose name has dots goes before a path.
fn member(result: &Value, key: &str) -> Result<Value, Figure> {
    let mut value = result.clone();
    let mut rest = key;
    for _ in 0..DEPTH {
        if rest.is_empty() {
            return Ok(value);
        }
        value = match value {
            Value::Nil => return Err(Figure::NoData),
            Value::List(List { ref items, .. }) if items.is_empty() => return Err(Figure::NoData),
            Value::List(List { ref items, .. }) if items.len() == 1 => items[0].clone(),
            Value::Map(ref map) => {
                let get = |name: &str| map.entries.get(&Key::String(name.into()));
                let (name, after) = rest.split_once('.').unwrap_or((rest, ""));
                match (get(rest), get(name)) {
                    (Some(found), _) => {
                        rest = "";
                        found.clone()
                    }
                    (None, Some(found)) => {
                        rest = after;
                        found.clone()
                    }
                    (None, None) => {
                        let message = format!("the result has no member {name:?}, it has {}", members(map));
                        return Err(Figure::Mistake(message));
                    }
                }
            }
            Value::Record(ref record) => {
                let (name, after) = rest.split_once('.').unwrap_or((rest, ""));
                rest = after;
                let missing = || Figure::Mistake(format!("the result has no member {name:?}"));
                record.get(name).cloned().ok_or_else(missing)?
            }
            other => {
                let message = format!("the result is {}, which has no member {rest:?}", describe(&other));
                return Err(Figure::Mistake(message));
            }
        };
    }
    Err(Figure::Mistake(format!("{key:?} leads deeper than {DEPTH} members")))
}

fn number(value: &Value, depth: usize) -> Figure {
    let Some(depth) = depth.checked_sub(1) else {
        return Figure::Mistake("the result holds no number near its surface".to_owned());
    };
    match value {
        Value::Float(x) if x.is_finite() => Figure::Number(*x),
        Value::Nil | Value::Float(_) => Figure::NoData,
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
        Value::Int(n) | Value::Int64(n) => Figure::Number(*n as f64),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(x) if x.is_finite() => Figure::Number(x),
            Ok(_) => Figure::NoData,
            Err(_) if text.trim().is_empty() => Figure::NoData,
            Err(_) => Figure::Mistake(format!("the result is {}, not a number", describe(value))),
        },
        Value::List(list) => match &list.items[..] {
            [] => Figure::NoData,
            [one] => number(one, depth),
            many => Figure::Mistake(format!(
                "the result has {} values: make the query return one, or judge it by a condition",
                many.len()
            )),
        },
        Value::Map(map) => match map.entries.len() {
            0 => Figure::NoData,
            1 => map.entries.values().next().map_or(Figure::NoData, |only| number(only, depth)),
            _ => Figure::Mistake(format!("the result has the members {}: name one by key", members(map))),
        },
        Value::Record(record) => of_record(record, depth),
        Value::Bool(_) | Value::Time(_) | Value::Duration(_) | Value::Zone(_) | Value::Function(_) => {
            Figure::Mistake(format!("the result is {}, not a number", describe(value)))
        }
    }
}

fn of_record(record: &Record, depth: usize) -> Figure {
    match record.get("Values") {
        Some(Value::List(list)) => list.items.first().map_or(Figure::NoData, |newest| number(newest, depth)),
        _ => Figure::Mistake("the result is a record, not a number: name a member by key".to_owned()),
    }
}

fn members(map: &Map) -> String {
    let name = |key: &Key| match key {
        Key::String(name) => format!("{:?}", name.chars().take(40).collect::<String>()),
        other => format!("{other:?}"),
    };
    let mut names: Vec<String> = map.entries.keys().take(MAX_SHOWN_MEMBERS).map(name).collect();
    if map.entries.len() > MAX_SHOWN_MEMBERS {
        names.push("…".to_owned());
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        other => other.go_type().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn results_come_to_a_number() {
        let floats = |items: &[f64]| Value::floats(items.iter().copied());
        let json = |json: serde_json::Value| Value::from(&json);
        let mistake = |text: &str| Figure::Mistake(text.to_owned());
        for (result, key, expected) in [
            (Value::Float(0.5), "", Figure::Number(0.5)),
            (Value::Int64(7), "", Figure::Number(7.0)),
            (floats(&[0.5]), "", Figure::Number(0.5)),
            (floats(&[]), "", Figure::NoData),
            (floats(&[f64::NAN]), "", Figure::NoData),
            (Value::Float(f64::INFINITY), "", Figure::NoData),
            (Value::Nil, "", Figure::NoData),
            (Value::Nil, "n", Figure::NoData),
            ("0.25".into(), "", Figure::Number(0.25)),
            ("".into(), "", Figure::NoData),
            ("up".into(), "", mistake("the result is \"up\", not a number")),
            (Value::Bool(true), "", mistake("the result is bool, not a number")),
            (
                floats(&[0.5, 0.6]),
                "",
                mistake("the result has 2 values: make the query return one, or judge it by a condition"),
            ),
            (json(json!({"count": 3})), "", Figure::Number(3.0)),
            (
                json(json!({"a": 1, "b": 2})),
                "",
                mistake("the result has the members \"a\", \"b\": name one by key"),
            ),
            (json(json!({"a": 1, "b": 2})), "b", Figure::Number(2.0)),
            (json(json!([{"a": 1, "b": 2}])), "b", Figure::Number(2.0)),
            (json(json!({"a": {"n": 4}, "a.n": 5})), "a.n", Figure::Number(5.0)),
            (json(json!({"a": {"n": 4}})), "a.n", Figure::Number(4.0)),
            (json(json!({"a": null})), "a", Figure::NoData),
            (json(json!({"a": 1})), "b", mistake("the result has no member \"b\", it has \"a\"")),
            (Value::Float(1.0), "b", mistake("the result is float64, which has no member \"b\"")),
            (json(json!([])), "b", Figure::NoData),
        ] {
            assert_eq!(figure(&result, key), expected, "{result:?} {key}");
        }
    }

    #[test]
    fn no_data_is_told_from_data() {
        let json = |json: serde_json::Value| Value::from(&json);
        for (result, expected) in [
            (Value::Nil, true),
            (Value::floats([]), true),
            (Value::floats([f64::NAN, f64::INFINITY]), true),
            (Value::floats([f64::NAN, 0.0]), false),
            (json(json!({})), true),
            (json(json!({"a": null})), false),
            (Value::Float(0.0), false),
            (Value::Bool(false), false),
        ] {
            assert_eq!(is_no_data(&result), expected, "{result:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in any::<String>(), key in "[a-c.]{0,12}") {
            let json = json!({"a": {"b": text, "c": [text]}});
            if let Figure::Number(x) = figure(&Value::from(&json), &key) {
                prop_assert!(x.is_finite());
            }
        }
    }
}
