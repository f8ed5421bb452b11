//! What the functions do that take plain values, both the language's and those that analysis adds.
//!
//! Work and memory are counted before they are spent.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::budget::Budget;
use super::builtins::Builtin;
use super::operate::{Outcome, conversion, fetch, index_in, to_int};
use super::value::{Function, Value, compare};
use super::{lists, texts, time};
use crate::{go_duration, go_format};

/// Calls one of the functions that analysis adds. `result` is the whole result, because two of them look at
/// nothing else.
pub fn call_added(function: Function, arguments: &[Value], result: &Value) -> Outcome {
    let wanted = if function == Function::Default { 2 } else { 1 };
    if arguments.len() != wanted {
        let count = arguments.len();
        return Err(format!("invalid number of arguments: expected {wanted}, got {count}"));
    }
    let argument = &arguments[0];
    match function {
        Function::AsInt => as_int(argument).map(Value::Int64),
        Function::AsFloat => as_float(argument).map(Value::Float),
        Function::IsNan | Function::IsInf => match argument {
            Value::Float(x) if function == Function::IsNan => Ok(Value::Bool(x.is_nan())),
            Value::Float(x) => Ok(Value::Bool(x.is_infinite())),
            other => Err(conversion(other, "float64")),
        },
        Function::IsNil => Ok(Value::Bool(matches!(result, Value::Nil))),
        Function::Default => {
            Ok(if matches!(result, Value::Nil) { arguments[1].clone() } else { result.clone() })
        }
    }
}

fn as_int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(*x),
        // Outside this range the original returns whatever the machine makes of it.
        Value::Float(x) if (-9.3e18..9.3e18).contains(x) => Ok(*x as i64),
        Value::String(text) => text.parse::<i64>().map_err(|error| {
            let reason = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            format!("strconv.ParseInt: parsing {}: {reason}", go_format::quote(text))
        }),
        other => Err(format!("asInt() not supported on {} {}", other.go_type(), other.in_message())),
    }
}

fn as_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(*x as f64),
        Value::Float(x) => Ok(*x),
        Value::String(text) => parse_float(text)
            .map_err(|reason| format!("strconv.ParseFloat: parsing {}: {reason}", go_format::quote(text))),
        other => Err(format!("asFloat() not supported on {} {}", other.go_type(), other.in_message())),
    }
}

fn parse_float(text: &str) -> Result<f64, &'static str> {
    let x = text.parse::<f64>().map_err(|_| "invalid syntax")?;
    let is_named = text.contains(|c: char| c.eq_ignore_ascii_case(&'n'));
    if x.is_infinite() && !is_named { Err("value out of range") } else { Ok(x) }
}

/// How often an item is looked at when a list is sorted.
pub const SORTING: usize = 16;

pub fn text(value: &Value) -> Result<&Arc<str>, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(conversion(other, "string")),
    }
}

/// Calls a function of the language.
pub fn call(builtin: Builtin, arguments: &[Value], budget: &mut Budget, now: Timestamp) -> Outcome {
    let looks_at_the_whole = match (builtin, arguments.first()) {
        (Builtin::Len, Some(Value::String(_))) => true,
        (Builtin::Len | Builtin::Type | Builtin::First | Builtin::Last | Builtin::Get, _) => false,
        _ => true,
    };
    if looks_at_the_whole {
        budget.take_steps(arguments.iter().map(Value::weight).fold(0, usize::saturating_add))?;
    }
    let nil = Value::Nil;
    let argument = |position: usize| arguments.get(position).unwrap_or(&nil);
    let first = argument(0);
    match builtin {
        Builtin::Len => match first {
            Value::List(list) => Ok(Value::Int(list.items.len() as i64)),
            Value::Map(map) => Ok(Value::Int(map.entries.len() as i64)),
            Value::String(text) => Ok(Value::Int(text.chars().count() as i64)),
            other => Err(invalid("len", other)),
        },
        Builtin::Type => Ok(type_name(first).as_str().into()),
        Builtin::Abs => match first {
            Value::Int(x) => Ok(Value::Int(x.wrapping_abs())),
            Value::Int64(x) => Ok(Value::Int64(x.wrapping_abs())),
            Value::Float(x) => Ok(Value::Float(if *x < 0.0 { -x } else { *x })),
            other => Err(invalid("abs", other)),
        },
        Builtin::Ceil => rounded(builtin, first, f64::ceil),
        Builtin::Floor => rounded(builtin, first, f64::floor),
        Builtin::Round => rounded(builtin, first, f64::round),
        Builtin::Int => match first {
            Value::String(text) => {
                text.parse().map(Value::Int).map_err(|_| format!("invalid operation: int({text})"))
            }
            Value::Duration(duration) => Ok(Value::Int(duration.as_nanos() as i64)),
            Value::Nil => Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
            number => to_int(number).map(Value::Int),
        },
        Builtin::Float => match first {
            Value::String(text) => {
                parse_float(text).map(Value::Float).map_err(|_| format!("invalid operation: float({text})"))
            }
            number => super::operate::to_float(number).map(Value::Float),
        },
        Builtin::String => made(first.to_text_within(budget.cells_left()), budget),
        Builtin::ToJson => made(first.to_json_indented()?, budget),
        Builtin::FromJson => from_json(text(first)?, budget),
        Builtin::ToBase64 => made(STANDARD.encode(&**text(first)?), budget),
        Builtin::FromBase64 => {
            let bytes = STANDARD.decode(&**text(first)?).map_err(|_| "illegal base64 data".to_owned())?;
            made(String::from_utf8_lossy(&bytes).into_owned(), budget)
        }
        Builtin::Trim
        | Builtin::TrimPrefix
        | Builtin::TrimSuffix
        | Builtin::Upper
        | Builtin::Lower
        | Builtin::Split
        | Builtin::SplitAfter
        | Builtin::Replace
        | Builtin::Repeat
        | Builtin::Join
        | Builtin::IndexOf
        | Builtin::LastIndexOf
        | Builtin::HasPrefix
        | Builtin::HasSuffix => texts::call(builtin, arguments, budget),
        Builtin::Max | Builtin::Min => match arguments {
            // The greatest of one thing is that thing, whatever it is.
            [only] if !matches!(only, Value::List(_)) => Ok(only.clone()),
            _ => extreme(builtin, arguments),
        },
        Builtin::Mean | Builtin::Median => {
            let mut numbers = Vec::new();
            collect_numbers(builtin.name(), arguments, &mut numbers, budget)?;
            Ok(Value::Float(if builtin == Builtin::Mean { mean(&numbers) } else { median(numbers) }))
        }
        Builtin::Now => time::now(now, arguments),
        Builtin::Duration => {
            go_duration::parse(text(first)?).map(Value::Duration).map_err(|error| error.to_string())
        }
        Builtin::Date => {
            budget.take_steps(if arguments.len() > 2 { 10_000 } else { 10 })?;
            time::date(arguments)
        }
        Builtin::Timezone => {
            // It may have to be looked for on the machine.
            budget.take_steps(10_000)?;
            time::zone(text(first)?)
        }
        Builtin::First => Ok(fetch(first, &Value::Int(0)).unwrap_or(Value::Nil)),
        Builtin::Last => Ok(fetch(first, &Value::Int(-1)).unwrap_or(Value::Nil)),
        Builtin::Get => match first {
            Value::List(list) => Ok(index_in(list, to_int(argument(1))?).cloned().unwrap_or(Value::Nil)),
            Value::Nil => Ok(Value::Nil),
            Value::Map(_) => fetch(first, argument(1)),
            from => Ok(fetch(from, argument(1)).unwrap_or(Value::Nil)),
        },
        Builtin::Keys | Builtin::Values | Builtin::ToPairs | Builtin::FromPairs => {
            lists::call_for_maps(builtin, first, budget)
        }
        Builtin::Take
        | Builtin::Reverse
        | Builtin::Uniq
        | Builtin::Concat
        | Builtin::Flatten
        | Builtin::Sort => lists::call(builtin, arguments, budget),
        Builtin::BitNot => Ok(Value::Int(!bits(builtin, first)?)),
        Builtin::BitAnd
        | Builtin::BitOr
        | Builtin::BitXor
        | Builtin::BitNand
        | Builtin::BitShl
        | Builtin::BitShr
        | Builtin::BitUshr => bitwise(builtin, bits(builtin, first)?, bits(builtin, argument(1))?),
        Builtin::All
        | Builtin::None
        | Builtin::Any
        | Builtin::One
        | Builtin::Filter
        | Builtin::Map
        | Builtin::Find
        | Builtin::FindIndex
        | Builtin::FindLast
        | Builtin::FindLastIndex
        | Builtin::Count
        | Builtin::Sum
        | Builtin::GroupBy
        | Builtin::SortBy
        | Builtin::Reduce => Err(format!("{} takes a predicate", builtin.name())),
    }
}

pub fn invalid(name: &str, value: &Value) -> String {
    format!("invalid argument for {name} (type {})", value.go_type())
}

pub fn made(text: String, budget: &mut Budget) -> Outcome {
    budget.take_cells(text.len())?;
    Ok(text.into())
}

fn type_name(value: &Value) -> String {
    match value {
        Value::Nil => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Int64(_) => "int",
        Value::Float(_) => "float",
        Value::String(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "map",
        Value::Record(_) => "struct",
        Value::Time(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Zone(_) => "time.Location",
        Value::Function(_) => "func",
    }
    .to_owned()
}

fn rounded(builtin: Builtin, value: &Value, round: fn(f64) -> f64) -> Outcome {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(Value::Float(*x as f64)),
        Value::Float(x) => Ok(Value::Float(round(*x))),
        other => Err(invalid(builtin.name(), other)),
    }
}

fn from_json(text: &str, budget: &mut Budget) -> Outcome {
    // A value takes about this much per byte of text at worst.
    budget.take_cells(text.len() / 2 + 1)?;
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Value::from(&json))
}

fn extreme(builtin: Builtin, arguments: &[Value]) -> Outcome {
    let wanted = if builtin == Builtin::Max { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
    let mut found = Value::Nil;
    for argument in arguments {
        let candidate = match argument {
            Value::List(list) => extreme(builtin, &list.items)?,
            Value::Int(_) | Value::Int64(_) | Value::Float(_) | Value::Duration(_) => argument.clone(),
            other => return Err(invalid(builtin.name(), other)),
        };
        // An empty list has none.
        if matches!(candidate, Value::Nil) {
            continue;
        }
        if matches!(found, Value::Nil) {
            found = candidate;
            continue;
        }
        let order = compare(&found, &candidate).ok_or_else(|| {
            let operator = if builtin == Builtin::Max { "<" } else { ">" };
            format!("invalid operation: {} {operator} {}", found.go_type(), candidate.go_type())
        })?;
        if order == Some(wanted) {
            found = candidate;
        }
    }
    Ok(found)
}

fn collect_numbers(
    name: &str,
    values: &[Value],
    numbers: &mut Vec<f64>,
    budget: &mut Budget,
) -> Result<(), String> {
    budget.take_steps(values.len())?;
    for value in values {
        match value {
            Value::Int(x) | Value::Int64(x) => numbers.push(*x as f64),
            Value::Float(x) => numbers.push(*x),
            Value::List(list) => collect_numbers(name, &list.items, numbers, budget)?,
            other => return Err(invalid(name, other)),
        }
    }
    Ok(())
}

fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() { 0.0 } else { numbers.iter().fold(0.0, |sum, x| sum + x) / numbers.len() as f64 }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    // What is not a number comes first, as Go sorts it.
    numbers.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        count if count % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

fn bits(builtin: Builtin, value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(x) | Value::Int64(x) => Ok(*x),
        other => {
            let (given, name) = (other.go_type(), builtin.name());
            Err(format!("cannot use {given} as argument (type int) to call {name}"))
        }
    }
}

fn bitwise(builtin: Builtin, x: i64, y: i64) -> Outcome {
    let shift = |x: Option<i64>, beyond: i64| {
        if y < 0 {
            return Err(format!("invalid operation: negative shift count {y} (type int)"));
        }
        Ok(x.unwrap_or(beyond))
    };
    let places = u32::try_from(y).unwrap_or(u32::MAX);
    let sign = if x < 0 { -1 } else { 0 };
    Ok(Value::Int(match builtin {
        Builtin::BitAnd => x & y,
        Builtin::BitOr => x | y,
        Builtin::BitXor => x ^ y,
        Builtin::BitNand => x & !y,
        Builtin::BitShl => shift(x.checked_shl(places), 0)?,
        Builtin::BitShr => shift(x.checked_shr(places), sign)?,
        _ => shift((x as u64).checked_shr(places).map(|x| x as i64), 0)?,
    }))
}
