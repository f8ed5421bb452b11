//! The functions of the language about lists and maps.

use std::collections::BTreeMap;

use super::budget::Budget;
use super::builtins::Builtin;
use super::functions::SORTING;
use super::operate::{Outcome, to_key};
use super::predicates::sort;
use super::value::{Elements, List, Map, MapForm, Value, equal};

/// Calls one of those about maps.
pub fn call_for_maps(builtin: Builtin, value: &Value, budget: &mut Budget) -> Outcome {
    if builtin == Builtin::FromPairs {
        return from_pairs(value, budget);
    }
    let Value::Map(map) = value else {
        let kind = kind(value);
        return Err(match builtin {
            Builtin::Keys => format!("cannot get keys from {kind}"),
            Builtin::Values => format!("cannot get values from {kind}"),
            _ => format!("cannot transform {kind} to pairs"),
        });
    };
    budget.take_cells(map.entries.len())?;
    Ok(match builtin {
        Builtin::Keys => Value::list(map.entries.keys().map(super::value::Key::value)),
        Builtin::Values => Value::list(map.entries.values().cloned()),
        _ => {
            budget.take_cells(map.entries.len() * 2)?;
            let pair = |(key, value): (&super::value::Key, &Value)| Value::list([key.value(), value.clone()]);
            Value::List(List::new(Elements::Pair, map.entries.iter().map(pair).collect::<Vec<_>>()))
        }
    })
}

fn from_pairs(value: &Value, budget: &mut Budget) -> Outcome {
    let Value::List(list) = value else {
        return Err(format!("cannot transform {} from pairs", value.in_message()));
    };
    budget.take_cells(list.items.len())?;
    let mut entries = BTreeMap::new();
    for item in list.items.iter() {
        match item {
            Value::List(pair) if pair.items.len() == 2 => {
                entries.insert(to_key(&pair.items[0])?, pair.items[1].clone());
            }
            Value::List(_) => return Err(format!("invalid pair length {}", item.in_message())),
            _ => return Err(format!("invalid pair {}", item.in_message())),
        }
    }
    Ok(Value::Map(Map::new(MapForm::AnyKeys, entries)))
}

/// Go's word for what a value is made of.
fn kind(value: &Value) -> String {
    match value {
        Value::Nil => "invalid".to_owned(),
        Value::List(_) => "slice".to_owned(),
        Value::Map(_) => "map".to_owned(),
        Value::Record(_) | Value::Time(_) => "struct".to_owned(),
        Value::Duration(_) => "int64".to_owned(),
        Value::Zone(_) => "ptr".to_owned(),
        Value::Function(_) => "func".to_owned(),
        other => other.go_type().into_owned(),
    }
}

/// Calls one of those about lists.
pub fn call(builtin: Builtin, arguments: &[Value], budget: &mut Budget) -> Outcome {
    let name = builtin.name();
    let mut whole = Vec::new();
    for argument in arguments.iter().take(if builtin == Builtin::Concat { usize::MAX } else { 1 }) {
        match argument {
            Value::List(list) => whole.push(list),
            // Go sorts nothing of what is no list.
            _ if builtin == Builtin::Sort => return Ok(Value::list([])),
            other if builtin == Builtin::Take => return Err(format!("cannot take from {}", kind(other))),
            other => return Err(format!("cannot {name} {}", kind(other))),
        }
    }
    let Some(list) = whole.first() else { return Ok(Value::Nil) };
    let second = arguments.get(1);
    match builtin {
        Builtin::Take => {
            let count = match second {
                Some(Value::Int(count) | Value::Int64(count)) => *count,
                other => {
                    let kind = kind(other.unwrap_or(&Value::Nil));
                    return Err(format!("cannot take {kind} elements"));
                }
            };
            let Ok(count) = usize::try_from(count) else {
                return Err("reflect.Value.Slice: slice index out of bounds".to_owned());
            };
            let count = count.min(list.items.len());
            budget.take_cells(count)?;
            Ok(Value::List(List::new(list.of.clone(), &list.items[..count])))
        }
        Builtin::Reverse => {
            budget.take_cells(list.items.len())?;
            Ok(Value::list(list.items.iter().rev().cloned()))
        }
        Builtin::Uniq => {
            let mut kept: Vec<Value> = Vec::new();
            for item in list.items.iter() {
                budget.take_steps(kept.len().saturating_mul(item.weight()))?;
                if !kept.iter().any(|other| equal(item, other)) {
                    kept.push(item.clone());
                }
            }
            budget.take_cells(kept.len())?;
            Ok(Value::list(kept))
        }
        Builtin::Concat => {
            budget.take_cells(whole.iter().map(|list| list.items.len()).sum())?;
            Ok(Value::list(whole.iter().flat_map(|list| list.items.iter().cloned())))
        }
        Builtin::Flatten => {
            let mut items = Vec::new();
            flatten(list, &mut items, budget)?;
            Ok(Value::list(items))
        }
        _ => {
            let descending = match second {
                None => false,
                Some(Value::String(order)) if &**order == "asc" => false,
                Some(Value::String(order)) if &**order == "desc" => true,
                Some(Value::String(order)) => {
                    return Err(format!("invalid order {order}, expected asc or desc"));
                }
                Some(other) => {
                    return Err(format!("sort order argument must be a string (got {})", other.go_type()));
                }
            };
            budget.take_cells(list.items.len())?;
            budget.take_steps(arguments[0].weight().saturating_mul(SORTING))?;
            sort(list, descending)
        }
    }
}

fn flatten(list: &List, items: &mut Vec<Value>, budget: &mut Budget) -> Result<(), String> {
    budget.take_cells(list.items.len())?;
    for item in list.items.iter() {
        match item {
            Value::List(inner) => flatten(inner, items, budget)?,
            other => items.push(other.clone()),
        }
    }
    Ok(())
}
