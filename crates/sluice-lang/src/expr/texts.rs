//! The functions of the language about texts.

use super::budget::Budget;
use super::builtins::Builtin;
use super::functions::{invalid, made, text};
use super::operate::{Outcome, to_int};
use super::value::{Elements, List, Value};

/// Calls one of them.
pub fn call(builtin: Builtin, arguments: &[Value], budget: &mut Budget) -> Outcome {
    let nil = Value::Nil;
    let argument = |position: usize| arguments.get(position).unwrap_or(&nil);
    if builtin == Builtin::Join {
        return join(argument(0), arguments.get(1), budget);
    }
    let subject = text(argument(0))?;
    let part = || text(argument(1));
    let place = |place: Option<usize>| Value::Int(place.map_or(-1, |place| place as i64));
    match builtin {
        Builtin::Trim => match arguments.get(1) {
            Some(set) => {
                let set = text(set)?;
                // Each character is looked for in the set.
                budget.take_steps((subject.len() / 64).saturating_mul(set.len()))?;
                made(subject.trim_matches(|c| set.contains(c)).to_owned(), budget)
            }
            None => made(subject.trim().to_owned(), budget),
        },
        Builtin::TrimPrefix => {
            let part = if arguments.len() > 1 { part()?.clone() } else { " ".into() };
            made(subject.strip_prefix(&*part).unwrap_or(subject).to_owned(), budget)
        }
        Builtin::TrimSuffix => {
            let part = if arguments.len() > 1 { part()?.clone() } else { " ".into() };
            made(subject.strip_suffix(&*part).unwrap_or(subject).to_owned(), budget)
        }
        Builtin::Upper => made(subject.to_uppercase(), budget),
        Builtin::Lower => made(subject.to_lowercase(), budget),
        Builtin::IndexOf => Ok(place(subject.find(&**part()?))),
        Builtin::LastIndexOf => Ok(place(subject.rfind(&**part()?))),
        Builtin::HasPrefix => Ok(Value::Bool(subject.starts_with(&**part()?))),
        Builtin::HasSuffix => Ok(Value::Bool(subject.ends_with(&**part()?))),
        Builtin::Split | Builtin::SplitAfter => {
            let limit = arguments.get(2).map(to_int).transpose()?;
            let parts = split(subject, part()?, limit, builtin == Builtin::SplitAfter);
            budget.take_cells(parts.len() + subject.len())?;
            let items: Vec<Value> = parts.into_iter().map(Value::from).collect();
            Ok(Value::List(List::new(Elements::String, items)))
        }
        Builtin::Replace => {
            let (old, new) = (part()?, text(argument(2))?);
            let limit = arguments.get(3).map(to_int).transpose()?;
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            let count = subject.matches(&**old).count().min(limit);
            budget.take_cells(subject.len().saturating_add(count.saturating_mul(new.len())))?;
            Ok(subject.replacen(&**old, new, limit).into())
        }
        _ => {
            let count = to_int(argument(1))?;
            let Ok(count) = usize::try_from(count) else {
                return Err(format!("invalid argument for repeat (expected positive integer, got {count})"));
            };
            budget.take_cells(subject.len().saturating_mul(count))?;
            Ok(if subject.is_empty() { "".into() } else { subject.repeat(count).into() })
        }
    }
}

/// Cuts a text as Go does: a limit is the most parts, none is no limit, and an empty separator stands
/// between any two characters.
fn split<'a>(text: &'a str, separator: &str, limit: Option<i64>, keep: bool) -> Vec<&'a str> {
    let limit = match limit {
        Some(0) => return Vec::new(),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let mut parts = Vec::new();
    let mut rest = text;
    if separator.is_empty() {
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == limit {
                break;
            }
            let (part, after) = rest.split_at(c.len_utf8());
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        return parts;
    }
    while parts.len() + 1 < limit {
        let Some(place) = rest.find(separator) else { break };
        let after = place + separator.len();
        parts.push(if keep { &rest[..after] } else { &rest[..place] });
        rest = &rest[after..];
    }
    parts.push(rest);
    parts
}

fn join(list: &Value, glue: Option<&Value>, budget: &mut Budget) -> Outcome {
    let glue = glue.map(text).transpose()?;
    let glue = glue.map_or("", |glue| glue);
    let Value::List(list) = list else { return Err(invalid("join", list)) };
    if !matches!(list.of, Elements::Any | Elements::String) {
        return Err(format!("invalid argument for join (type {})", list.of.go_type()));
    }
    let mut joined = String::new();
    for (position, item) in list.items.iter().enumerate() {
        let item = text(item)?;
        let glue = if position > 0 { glue } else { "" };
        budget.take_cells(glue.len() + item.len())?;
        joined.push_str(glue);
        joined.push_str(item);
    }
    Ok(joined.into())
}
