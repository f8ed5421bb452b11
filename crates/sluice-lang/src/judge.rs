//! What a measured result means, given the conditions of its metric.
//!
//! It decides between success, failure and neither. It does not decide what a run makes of that, nor
//! whether an error is tolerated.
//!
//! Same rules and texts as Argo Rollouts v1.10, `utils/evaluate/evaluate.go`, with two differences. A typo is
//! named even when there is no data, where the original speaks of the missing data alone. And
//! `isNil(result) || …` holds when there is no result; see [`crate::expr`].

use std::fmt;

use crate::expr::{Condition, Data, Error, Type};

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Successful,
    /// It is bad.
    Failed,
    /// Neither condition says anything of it.
    Inconclusive,
}

/// The conditions of a metric, read once.
///
/// A text that is no expression is kept as well: it is an error of every measurement, and not of the
/// metric, because that is where people look for it.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    success: Option<Written>,
    failure: Option<Written>,
}

#[derive(Clone, Debug)]
struct Written {
    text: String,
    condition: Result<Condition, Error>,
}

impl Written {
    fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self { text: text.to_owned(), condition: Condition::parse(text) })
    }
}

/// A condition that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// `successCondition` or `failureCondition`.
    pub field: &'static str,
    /// The condition as it is written.
    pub text: String,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not evaluate {} \"{}\": {}", self.field, self.text, self.detail)
    }
}

impl std::error::Error for ConditionError {}

/// What is wrong when there is nothing to judge.
const NO_DATA: &str = "metric result is nil or empty: no data returned from the metric provider";

impl Conditions {
    /// Reads both conditions; an empty text is none.
    pub fn new(success: &str, failure: &str) -> Self {
        Self { success: Written::new(success), failure: Written::new(failure) }
    }

    /// What is wrong with the texts themselves, whatever the result will be.
    pub fn mistakes(&self) -> impl Iterator<Item = (&'static str, Error)> {
        let both = [("successCondition", &self.success), ("failureCondition", &self.failure)];
        both.into_iter().filter_map(|(field, written)| Some((field, mistake(written.as_ref()?)?)))
    }
}

fn mistake(written: &Written) -> Option<Error> {
    match &written.condition {
        Ok(condition) => condition.check(&Type::Unknown).err(),
        Err(error) => Some(error.clone()),
    }
}

/// Judges a result. Both conditions are evaluated, success first, and a failure beats a success.
///
/// Without any condition every result is good, also none.
///
/// # Errors
/// A condition cannot be evaluated.
pub fn judge(conditions: &Conditions, data: &Data) -> Result<Verdict, ConditionError> {
    let success = evaluate("successCondition", conditions.success.as_ref(), data)?;
    let failure = evaluate("failureCondition", conditions.failure.as_ref(), data)?;
    Ok(match (success, failure) {
        (_, Some(true)) | (Some(false), None) => Verdict::Failed,
        (None | Some(true), None | Some(false)) => Verdict::Successful,
        (Some(false), Some(false)) => Verdict::Inconclusive,
    })
}

fn evaluate(
    field: &'static str,
    written: Option<&Written>,
    data: &Data,
) -> Result<Option<bool>, ConditionError> {
    let Some(written) = written else { return Ok(None) };
    let holds = written.condition.as_ref().map_err(Clone::clone).and_then(|condition| condition.holds(data));
    holds.map(Some).map_err(|error| {
        let detail = match mistake(written) {
            _ if !data.result().is_nil_or_empty() => error.message,
            Some(mistake) => format!("{NO_DATA}; and the condition is wrong: {mistake}"),
            None => NO_DATA.to_owned(),
        };
        ConditionError { field, text: written.text.clone(), detail }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Elements, List, Shape, Value};
    use serde_json::json;

    fn data(result: Value) -> Data {
        Data::new(result, jiff::Timestamp::UNIX_EPOCH)
    }

    #[track_caller]
    fn check(name: &str, result: &Value, success: &str, failure: &str, expected: &str) {
        let found = match judge(&Conditions::new(success, failure), &data(result.clone())) {
            Ok(verdict) => format!("{verdict:?}"),
            Err(error) if expected == "Error" => {
                assert!(error.to_string().starts_with("could not evaluate "), "{name}: {error}");
                "Error".to_owned()
            }
            Err(error) => format!("Error {error}"),
        };
        let holds = expected.strip_prefix("Error …").map_or(found == expected, |end| found.ends_with(end));
        assert!(holds, "{name}: {result:?} | {success} | {failure}\nwanted {expected}\nfound  {found}");
    }

    #[test]
    fn results_are_judged() {
        let floats = |items: &[f64]| Value::floats(items.iter().copied());
        let json = |json: serde_json::Value| Value::from(&json);
        let nan = f64::NAN;
        let one = |x: f64| Value::Float(x);
        let integers = Value::List(List::new(Elements::Any, vec![Value::Int64(2)]));
        // vector, result, success, failure => verdict
        for (name, result, success, failure, expected) in [
            ("E1", one(0.97), "result >= 0.95", "", "Successful"),
            ("E2", one(0.90), "result >= 0.95", "", "Failed"),
            ("E3", one(0.97), "", "result < 0.95", "Successful"),
            ("E4", one(0.7), "result >= 0.9", "result < 0.5", "Inconclusive"),
            ("E5", one(0.7), "result > 0.1", "result > 0.2", "Failed"),
            ("E6", Value::Nil, "", "", "Successful"),
            ("E6", one(0.0), "", "", "Successful"),
            ("E7", floats(&[0.97]), "result[0] >= 0.95", "", "Successful"),
            (
                "E8",
                floats(&[0.97]),
                "result >= 0.95",
                "",
                "Error …: invalid operation: >= (mismatched types []float64 and float64)",
            ),
            (
                "E9",
                floats(&[]),
                "result[0] >= 0.95",
                "",
                "Error could not evaluate successCondition \"result[0] >= 0.95\": metric result is nil or empty: \
                 no data returned from the metric provider",
            ),
            ("E10", floats(&[]), "len(result) == 0 || result[0] >= 0.95", "", "Successful"),
            ("E11", floats(&[]), "len(result) > 0 && result[0] >= 0.95", "", "Failed"),
            (
                "E12",
                floats(&[]),
                "len(result) > 0 and result[0] >= 0.95",
                "len(result) > 0 and result[0] < 0.5",
                "Inconclusive",
            ),
            ("E13", floats(&[]), "result[0] >= 0.95", "len(result) == 0", "Error"),
            ("E14", floats(&[]), "(result[0] ?? 0) < 1", "", "Error"),
            ("E15", floats(&[]), "all(result, # > 0.95)", "", "Successful"),
            ("E16", floats(&[]), "any(result, # > 0.95)", "", "Failed"),
            ("E17", floats(&[]), "max(result) < 1", "", "Error"),
            ("E18", floats(&[]), "sum(result) == 0", "", "Successful"),
            ("E18", floats(&[]), "mean(result) == 0", "", "Successful"),
            ("E19", floats(&[nan]), "result[0] >= 0.95", "", "Failed"),
            ("E20", floats(&[nan]), "", "result[0] >= 0.05", "Successful"),
            ("E21", floats(&[nan]), "result[0] >= 0.95", "result[0] < 0.95", "Inconclusive"),
            ("E22", floats(&[nan]), "isNaN(result[0]) || result[0] >= 0.95", "", "Successful"),
            ("E23", floats(&[nan]), "isNaN(result)", "", "Error"),
            ("E24", one(f64::INFINITY), "result >= 0.95", "", "Successful"),
            ("E25", one(f64::NEG_INFINITY), "", "isInf(result)", "Failed"),
            ("E26", Value::Nil, "result < 0.05", "", "Error"),
            ("E27", Value::Nil, "default(result, 0) < 0.05", "", "Successful"),
            // The original reports an error here, so that the guard fails just when it is needed.
            ("E28", Value::Nil, "isNil(result) || result < 0.05", "", "Successful"),
            ("E29", Value::Nil, "result != nil && result < 5", "", "Error"),
            ("E30", Value::Nil, "(result ?? 0) < 0.05", "", "Successful"),
            ("E31", Value::Nil, "result == 0", "", "Failed"),
            ("E32", Value::Nil, "default(result, 0) > 0.9", "default(result, 1) < 0.5", "Inconclusive"),
            ("E33", floats(&[0.9]), "default(result[0], 0) > 0.5", "", "Error"),
            ("E34", json(json!({"a": null})), "isNil(result.a)", "", "Failed"),
            ("E35", json(json!({"a": null})), "default(result.a, 5) == 5", "", "Failed"),
            ("E36", json(json!({"a": 1})), "result.b > 1", "", "Error …: invalid operation: <nil> > int"),
            ("E37", json(json!({"a": null})), "result.a == nil || result.a > 1", "", "Successful"),
            ("E38", json(json!({"a": null})), "result.a.b == nil", "", "Error"),
            ("E38", json(json!({"a": null})), "result?.a?.b == nil", "", "Successful"),
            ("E39", json(json!({"a": 5})), "result.a == '5'", "", "Failed"),
            ("E40", one(5.0), "result == '5'", "", "Error …(mismatched types float64 and string)"),
            ("E41", "true".into(), "result == 'true'", "", "Successful"),
            ("E41", "true".into(), "result == true", "", "Error"),
            ("E42", Value::Bool(true), "result", "", "Successful"),
            ("E43", "5".into(), "asInt(result) > 3", "", "Successful"),
            ("E44", "5.5".into(), "asInt(result) > 3", "", "Error"),
            ("E44", "5.5".into(), "asFloat(result) > 3", "", "Successful"),
            ("E45", one(0.7), "result", "", "Error …: expected bool, but got float64"),
            (
                "E46",
                one(0.7),
                "result > 0.1",
                "resul > 0.2",
                "Error could not evaluate failureCondition \"resul > 0.2\": unknown name resul",
            ),
            (
                "E47",
                floats(&[1.0]),
                "result[1] > 0",
                "",
                "Error …: index out of range: 1 (array length is 1)",
            ),
            ("E48", floats(&[1.0, 7.0]), "result[-1] == 7", "", "Successful"),
            ("E49", floats(&[1.0]), "true || result.foo > 1", "", "Error"),
            (
                "E50",
                json(json!({"ok": 999, "total": 1000})),
                "result.ok / result.total * 100 >= 99.9",
                "",
                "Successful",
            ),
            ("E51", one(5.0), "result % 2 == 1", "", "Error"),
            ("E51", one(5.0), "asInt(result) % 2 == 1", "", "Successful"),
            (
                "E52",
                json(json!({"average.duration": 0.4})),
                "result['average.duration'] < 1",
                "",
                "Successful",
            ),
            ("E53", "".into(), "result == ''", "", "Successful"),
            ("E53", "".into(), "result > 1", "", "Error …(mismatched types string and int)"),
            (
                "E54",
                json(json!([{"s": "up"}, {"s": "down"}])),
                "count(result, {.s == 'down'}) == 0",
                "",
                "Failed",
            ),
            ("E55", integers, "isNaN(result[0])", "", "Error"),
            ("E56", one(0.5), "result = 1", "", "Error …: unexpected token Operator(\"=\")"),
        ] {
            check(name, &result, success, failure, expected);
        }
    }

    #[test]
    fn conditions_combine() {
        let nothing = Value::Nil;
        for (success, failure, expected) in [
            ("", "", "Successful"),
            ("true", "", "Successful"),
            ("false", "", "Failed"),
            ("", "true", "Failed"),
            ("", "false", "Successful"),
            ("true", "true", "Failed"),
            ("true", "false", "Successful"),
            ("false", "true", "Failed"),
            ("false", "false", "Inconclusive"),
            ("true", "1", "Error"),
            ("1", "true", "Error"),
            (" ", "", "Error"),
        ] {
            check("", &nothing, success, failure, expected);
        }
    }

    #[test]
    fn a_guard_against_nil_guards() {
        for (result, success, expected) in [
            (Value::Nil, "isNil(result) or result > 5 or result < 1", "Successful"),
            (Value::Nil, "false || isNil(result) || result > 5", "Successful"),
            (Value::Nil, "isNil(result) ? true : result > 5", "Successful"),
            (Value::Nil, "result > 5 || isNil(result)", "Error"),
            (Value::Nil, "isNil(result) && result > 5", "Error"),
            (Value::Float(9.0), "isNil(result) || result > 5", "Successful"),
            (Value::Float(1.0), "isNil(result) || result > 5", "Failed"),
            (Value::Float(1.0), "isNil(result) || result > 'x'", "Error"),
        ] {
            check("", &result, success, "", expected);
        }
    }

    #[test]
    fn a_typo_is_named_even_without_data() {
        let start = format!("Error could not evaluate successCondition \"resul > 1\": {NO_DATA}");
        let typo = format!("{start}; and the condition is wrong: unknown name resul");
        check("", &Value::Nil, "resul > 1", "", &typo);
        let mistakes: Vec<_> = Conditions::new("resul > 1", "result >").mistakes().collect();
        assert_eq!(
            mistakes.iter().map(|(field, _)| *field).collect::<Vec<_>>(),
            ["successCondition", "failureCondition"]
        );
        assert_eq!((mistakes[0].1.span.start, mistakes[0].1.span.end), (0, 5));
        assert_eq!(Conditions::new("result > 1 && result == 'x'", "").mistakes().count(), 0);
    }

    #[test]
    fn records_know_their_members() {
        let fields =
            vec![("Id", Type::String), ("Label", Type::Any), ("Values", Type::list(Elements::Float))];
        let shape = std::sync::Arc::new(Shape { name: "types.MetricDataResult", fields });
        let result = Value::records(&shape, [vec!["m".into(), Value::Nil, Value::floats([0.5, 2.0])]]);
        for (success, expected) in [
            ("result[0].Values[0] == 0.5", "Successful"),
            ("all(result, len(.Values) == 2 and .Id == 'm')", "Successful"),
            ("result[0].Label == nil", "Successful"),
            ("result[0].Value[0] > 1", "Error …: type types.MetricDataResult has no field Value"),
            (
                "true || result[0].Values > 1",
                "Error …: invalid operation: > (mismatched types []float64 and int)",
            ),
            ("'Id' in result[0]", "Successful"),
            ("'id' in result[0]", "Failed"),
        ] {
            check("", &result, success, "", expected);
        }
        assert_eq!(result.to_json().as_deref(), Ok(r#"[{"Id":"m","Label":null,"Values":[0.5,2]}]"#));
        assert_eq!(result.to_text(), "[{m <nil> [0.5 2]}]");
    }
}
