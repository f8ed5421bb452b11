//! What operators do with values.
//!
//! Errors are worded as in Go, with Go's names of the types.

use std::cmp::Ordering;

use jiff::SignedDuration;

use super::ast::{Binary, Comparison};
use super::value::{Key, List, Map, MapForm, Numbers, Value, compare, equal, numbers};

/// A value, or why there is none.
pub type Outcome = Result<Value, String>;

/// The error of Go for a value that is not of the type that is needed here.
pub fn conversion(value: &Value, wanted: &str) -> String {
    let given = match value {
        Value::Nil => "nil".into(),
        other => other.go_type(),
    };
    format!("interface conversion: interface {{}} is {given}, not {wanted}")
}

/// Returns a truth value.
pub fn to_bool(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(x) => Ok(*x),
        other => Err(conversion(other, "bool")),
    }
}

/// Returns a number as an integer: the fraction is cut off.
pub fn to_int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(*x),
        Value::Float(x) => Ok(*x as i64),
        other => Err(format!("invalid operation: int({})", other.go_type())),
    }
}

/// Returns a number as a float.
pub fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(*x as f64),
        Value::Float(x) => Ok(*x),
        other => Err(format!("invalid operation: float({})", other.go_type())),
    }
}

fn undefined(operator: &str, a: &Value, b: &Value) -> String {
    format!("invalid operation: {} {operator} {}", a.go_type(), b.go_type())
}

/// Orders two values.
pub fn order(operator: Comparison, a: &Value, b: &Value) -> Outcome {
    let ordering = compare(a, b).ok_or_else(|| undefined(operator.text(), a, b))?;
    Ok(Value::Bool(match (operator, ordering) {
        // Not a number: neither less nor more nor equal.
        (_, None) => false,
        (Comparison::Less, Some(ordering)) => ordering == Ordering::Less,
        (Comparison::LessOrEqual, Some(ordering)) => ordering != Ordering::Greater,
        (Comparison::Greater, Some(ordering)) => ordering == Ordering::Greater,
        (Comparison::GreaterOrEqual, Some(ordering)) => ordering != Ordering::Less,
    }))
}

/// Computes `a + b` and the like. Operators that do not always need their right side are not among them.
pub fn compute(operator: Binary, a: &Value, b: &Value) -> Outcome {
    let undefined = || undefined(operator.text(), a, b);
    match operator {
        Binary::Equal => return Ok(Value::Bool(equal(a, b))),
        Binary::NotEqual => return Ok(Value::Bool(!equal(a, b))),
        Binary::Divide => {
            let (a, b) = match numbers(a, b).ok_or_else(undefined)? {
                Numbers::Ints(a, b) => (a as f64, b as f64),
                Numbers::Floats(a, b) => (a, b),
            };
            return Ok(Value::Float(a / b));
        }
        Binary::Power { .. } => return Ok(Value::Float(to_float(a)?.powf(to_float(b)?))),
        Binary::Modulo => {
            return match numbers(a, b) {
                Some(Numbers::Ints(_, 0)) => Err("runtime error: integer divide by zero".to_owned()),
                Some(Numbers::Ints(a, b)) => Ok(Value::Int(a.wrapping_rem(b))),
                _ => Err(undefined()),
            };
        }
        _ => {}
    }
    match (operator, numbers(a, b)) {
        (Binary::Add, Some(Numbers::Ints(a, b))) => return Ok(Value::Int(a.wrapping_add(b))),
        (Binary::Add, Some(Numbers::Floats(a, b))) => return Ok(Value::Float(a + b)),
        (Binary::Subtract, Some(Numbers::Ints(a, b))) => return Ok(Value::Int(a.wrapping_sub(b))),
        (Binary::Subtract, Some(Numbers::Floats(a, b))) => return Ok(Value::Float(a - b)),
        (Binary::Multiply, Some(Numbers::Ints(a, b))) => return Ok(Value::Int(a.wrapping_mul(b))),
        (Binary::Multiply, Some(Numbers::Floats(a, b))) => return Ok(Value::Float(a * b)),
        _ => {}
    }
    let too_long = || "duration is out of range".to_owned();
    let out_of_time = |_| "time is out of range".to_owned();
    match (operator, a, b) {
        (Binary::Add, Value::String(a), Value::String(b)) => Ok(Value::String(format!("{a}{b}").into())),
        (Binary::Add, Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(too_long)
        }
        (Binary::Subtract, Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(too_long)
        }
        (Binary::Add, Value::Time(time), Value::Duration(duration))
        | (Binary::Add, Value::Duration(duration), Value::Time(time)) => {
            time.checked_add(*duration).map(|time| Value::Time(time.into())).map_err(out_of_time)
        }
        (Binary::Subtract, Value::Time(time), Value::Duration(duration)) => {
            time.checked_sub(*duration).map(|time| Value::Time(time.into())).map_err(out_of_time)
        }
        (Binary::Subtract, Value::Time(a), Value::Time(b)) => {
            Ok(Value::Duration(a.timestamp().duration_since(b.timestamp())))
        }
        (Binary::Multiply, Value::Duration(duration), factor)
        | (Binary::Multiply, factor, Value::Duration(duration)) => {
            times(*duration, factor).ok_or_else(undefined)
        }
        _ => Err(undefined()),
    }
}

fn times(duration: SignedDuration, factor: &Value) -> Option<Value> {
    let nanoseconds = i64::try_from(duration.as_nanos()).ok()?;
    Some(match factor {
        Value::Int(x) | Value::Int64(x) => {
            Value::Duration(SignedDuration::from_nanos(nanoseconds.wrapping_mul(*x)))
        }
        // A number of nanoseconds, as in the original.
        Value::Float(x) => Value::Float(nanoseconds as f64 * x),
        Value::Duration(other) => {
            let other = i64::try_from(other.as_nanos()).ok()?;
            Value::Duration(SignedDuration::from_nanos(nanoseconds.wrapping_mul(other)))
        }
        _ => return None,
    })
}

/// Computes `-x`.
pub fn negate(value: &Value) -> Outcome {
    match value {
        Value::Int(x) => Ok(Value::Int(x.wrapping_neg())),
        Value::Int64(x) => Ok(Value::Int64(x.wrapping_neg())),
        Value::Float(x) => Ok(Value::Float(-x)),
        other => Err(format!("invalid operation: - {}", other.go_type())),
    }
}

/// Decides `needle in haystack`.
pub fn is_in(needle: &Value, haystack: &Value) -> Result<bool, String> {
    match haystack {
        Value::Nil => Ok(false),
        Value::List(list) => Ok(list.items.iter().any(|item| equal(item, needle))),
        Value::Map(map) => Ok(look_up(map, needle)?.is_some()),
        Value::Record(record) => {
            if let Value::String(name) = needle {
                return Ok(record.get(name).is_some());
            }
            let (needle, haystack) = (needle.go_type(), haystack.go_type());
            Err(format!("cannot use {needle} as field name of {haystack}"))
        }
        other => Err(format!("operator \"in\" not defined on {}", other.go_type())),
    }
}

/// Returns a member of a map, if it is there.
fn look_up<'a>(map: &'a Map, key: &Value) -> Result<Option<&'a Value>, String> {
    let key = match (map.form, key) {
        (MapForm::Object, Value::String(_)) => Key::of(key),
        // Go looks nil up as an empty string.
        (MapForm::Object, Value::Nil) => Some(Key::String("".into())),
        (MapForm::Object, _) => {
            let given = key.go_type();
            return Err(format!(
                "reflect.Value.MapIndex: value of type {given} is not assignable to type string"
            ));
        }
        _ => Some(to_key(key)?),
    };
    Ok(key.and_then(|key| map.entries.get(&key)))
}

/// Returns the key that a value makes in a map of anything.
pub fn to_key(value: &Value) -> Result<Key, String> {
    Key::of(value).ok_or_else(|| format!("hash of unhashable type: {}", value.go_type()))
}

/// Computes `from.key` and `from[key]`.
pub fn fetch(from: &Value, key: &Value) -> Outcome {
    let cannot = || Err(format!("cannot fetch {} from {}", key.in_message(), from.go_type()));
    match from {
        Value::List(list) => {
            let index = to_int(key)?;
            index_in(list, index).cloned().ok_or_else(|| out_of_range(index, list.items.len()))
        }
        Value::String(text) => {
            let (index, length) = (to_int(key)?, text.len());
            let place = if index < 0 { index.saturating_add(length as i64) } else { index };
            let byte = usize::try_from(place).ok().and_then(|place| text.as_bytes().get(place));
            byte.map(|byte| Value::Int(i64::from(*byte))).ok_or_else(|| out_of_range(index, length))
        }
        Value::Map(map) => match look_up(map, key)? {
            Some(value) => Ok(value.clone()),
            None if map.form == MapForm::Groups => Ok(Value::list([])),
            None => Ok(Value::Nil),
        },
        Value::Record(record) => match key {
            Value::String(name) => record.get(name).cloned().map_or_else(cannot, Ok),
            _ => Err(conversion(key, "string")),
        },
        _ => cannot(),
    }
}

fn out_of_range(index: i64, length: usize) -> String {
    let index = if index < 0 { index.saturating_add(length as i64) } else { index };
    format!("index out of range: {index} (array length is {length})")
}

/// Returns the item at an index, counted from the end if it is negative.
pub fn index_in(list: &List, index: i64) -> Option<&Value> {
    let index = if index < 0 { index.checked_add(list.items.len() as i64)? } else { index };
    list.items.get(usize::try_from(index).ok()?)
}

/// Where `x[from:to]` begins and ends in something of a length.
pub fn slice_bounds(length: usize, from: i64, to: i64) -> (usize, usize) {
    let place = |x: i64| {
        let x = if x < 0 { x.saturating_add(length as i64) } else { x };
        usize::try_from(x).unwrap_or(0).min(length)
    };
    let to = place(to);
    (place(from).min(to), to)
}
