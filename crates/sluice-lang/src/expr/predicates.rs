//! The functions that ask something of each item: `all`, `filter`, `reduce` and the like.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Binary, Node};
use super::builtins::Builtin;
use super::error::Span;
use super::eval::{Evaluated, Evaluator, Halt, Scope, at, shallow};
use super::functions::SORTING;
use super::operate::{compute, to_bool, to_float, to_key};
use super::value::{Elements, Key, List, Map, MapForm, Value, compare};

/// Calls one of them.
pub fn call<'a>(
    evaluator: &mut Evaluator<'a>,
    span: Span,
    builtin: Builtin,
    arguments: &'a [Node],
) -> Evaluated {
    let Some(first) = arguments.first() else { return Ok(Value::Nil) };
    let collection = evaluator.eval(first)?;
    let items = at(span, items_of(&collection))?;
    let third = arguments.get(2).map(|node| evaluator.eval(node)).transpose()?;
    evaluator.scopes.push(Scope { items, index: 0, sum: Value::Nil });
    let walk = Walk { evaluator, span, predicate: arguments.get(1) };
    let (value, evaluator) = walk.run(builtin, third);
    evaluator.scopes.pop();
    at(span, shallow(value?))
}

/// What is walked over. Go's reflection does the same to whatever it is given.
fn items_of(collection: &Value) -> Result<Arc<[Value]>, String> {
    match collection {
        Value::List(list) => Ok(list.items.clone()),
        Value::String(text) => Ok(text.bytes().map(|byte| Value::Int(i64::from(byte))).collect()),
        Value::Map(map) if map.entries.is_empty() => Ok(Arc::new([])),
        Value::Map(_) => Err("reflect: call of reflect.Value.Index on map Value".to_owned()),
        Value::Nil => Err("reflect: call of reflect.Value.Len on zero Value".to_owned()),
        other => {
            let kind = match other {
                Value::Time(_) | Value::Record(_) => "struct".into(),
                Value::Duration(_) => "int64".into(),
                Value::Zone(_) => "ptr".into(),
                Value::Function(_) => "func".into(),
                _ => other.go_type(),
            };
            Err(format!("reflect: call of reflect.Value.Len on {kind} Value"))
        }
    }
}

struct Walk<'e, 'a> {
    evaluator: &'e mut Evaluator<'a>,
    span: Span,
    predicate: Option<&'a Node>,
}

impl<'e, 'a> Walk<'e, 'a> {
    fn run(mut self, builtin: Builtin, third: Option<Value>) -> (Evaluated, &'e mut Evaluator<'a>) {
        let value = match builtin {
            Builtin::All => self.find(false, false).map(|found| Value::Bool(found.is_none())),
            Builtin::None => self.find(true, false).map(|found| Value::Bool(found.is_none())),
            Builtin::Any => self.find(true, false).map(|found| Value::Bool(found.is_some())),
            Builtin::One => self.kept().map(|kept| Value::Bool(kept.len() == 1)),
            Builtin::Count => self.kept().map(|kept| Value::Int(kept.len() as i64)),
            Builtin::Find => self.find(true, false).map(|found| self.item_at(found)),
            Builtin::FindLast => self.find(true, true).map(|found| self.item_at(found)),
            Builtin::FindIndex => self.find(true, false).map(index_value),
            Builtin::FindLastIndex => self.find(true, true).map(index_value),
            Builtin::Filter => self.filter(),
            Builtin::Map => self.map(),
            Builtin::Sum => self.sum(),
            Builtin::GroupBy => self.group(),
            Builtin::SortBy => self.sort(third),
            _ => self.reduce(third),
        };
        (value, self.evaluator)
    }

    fn items(&self) -> Arc<[Value]> {
        self.evaluator.scopes.last().map_or_else(|| Arc::new([]) as Arc<[Value]>, |scope| scope.items.clone())
    }

    fn item_at(&self, index: Option<usize>) -> Value {
        index.and_then(|index| self.items().get(index).cloned()).unwrap_or(Value::Nil)
    }

    /// What the predicate says of the item at an index; without a predicate, the item itself.
    fn ask(&mut self, index: usize) -> Evaluated {
        if let Some(scope) = self.evaluator.scopes.last_mut() {
            scope.index = index;
        }
        if let Some(predicate) = self.predicate {
            return self.evaluator.eval(predicate);
        }
        at(self.span, self.evaluator.budget.take_steps(1))?;
        Ok(self.item_at(Some(index)))
    }

    fn holds(&mut self, index: usize) -> Result<bool, Halt> {
        let answer = self.ask(index)?;
        at(self.predicate.map_or(self.span, |predicate| predicate.span), to_bool(&answer))
    }

    /// The first or last item of which the predicate says this.
    fn find(&mut self, wanted: bool, backwards: bool) -> Result<Option<usize>, Halt> {
        let length = self.items().len();
        for step in 0..length {
            let index = if backwards { length - 1 - step } else { step };
            if self.holds(index)? == wanted {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn kept(&mut self) -> Result<Vec<usize>, Halt> {
        let mut kept = Vec::new();
        for index in 0..self.items().len() {
            if self.holds(index)? {
                kept.push(index);
            }
        }
        Ok(kept)
    }

    fn filter(&mut self) -> Evaluated {
        let kept = self.kept()?;
        at(self.span, self.evaluator.budget.take_cells(kept.len()))?;
        let items = self.items();
        Ok(Value::list(kept.into_iter().filter_map(|index| items.get(index).cloned())))
    }

    fn map(&mut self) -> Evaluated {
        let length = self.items().len();
        at(self.span, self.evaluator.budget.take_cells(length))?;
        let mapped = (0..length).map(|index| self.ask(index)).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::list(mapped))
    }

    fn sum(&mut self) -> Evaluated {
        let mut sum = Value::Int(0);
        for index in 0..self.items().len() {
            let item = self.ask(index)?;
            sum = at(self.span, compute(Binary::Add, &item, &sum))?;
        }
        Ok(sum)
    }

    fn group(&mut self) -> Evaluated {
        let items = self.items();
        at(self.span, self.evaluator.budget.take_cells(items.len()))?;
        let mut groups: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let key = self.ask(index)?;
            at(self.span, self.evaluator.budget.take_steps(key.weight().saturating_mul(SORTING)))?;
            groups.entry(at(self.span, to_key(&key))?).or_default().push(item.clone());
        }
        let entries = groups.into_iter().map(|(key, items)| (key, Value::list(items))).collect();
        Ok(Value::Map(Map::new(MapForm::Groups, entries)))
    }

    fn sort(&mut self, order: Option<Value>) -> Evaluated {
        let descending = match order.as_ref() {
            None => false,
            Some(Value::String(order)) if &**order == "asc" => false,
            Some(Value::String(order)) if &**order == "desc" => true,
            Some(Value::String(_)) => return at(self.span, Err("unknown order, use asc or desc")),
            Some(_) => return at(self.span, Err("sortBy order argument must be a string")),
        };
        let items = self.items();
        at(self.span, self.evaluator.budget.take_cells(items.len()))?;
        let mut keyed = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            keyed.push((self.ask(index)?, item.clone()));
        }
        let weight = keyed.iter().map(|(key, _)| key.weight()).fold(0, usize::saturating_add);
        at(self.span, self.evaluator.budget.take_steps(weight.saturating_mul(SORTING)))?;
        at(self.span, sort_by_key(&mut keyed, descending))?;
        Ok(Value::list(keyed.into_iter().map(|(_, item)| item)))
    }

    fn reduce(&mut self, initial: Option<Value>) -> Evaluated {
        let length = self.items().len();
        let (mut sum, from) = match initial {
            Some(initial) => (initial, 0),
            None if length == 0 => {
                return at(self.span, Err("reduce of empty array with no initial value"));
            }
            None => (self.item_at(Some(0)), 1),
        };
        for index in from..length {
            if let Some(scope) = self.evaluator.scopes.last_mut() {
                scope.sum = sum;
            }
            let next = self.ask(index)?;
            sum = at(self.span, shallow(next))?;
        }
        Ok(sum)
    }
}

fn index_value(index: Option<usize>) -> Value {
    index.map_or(Value::Nil, |index| Value::Int(index as i64))
}

/// Sorts by keys that are all numbers, all strings, all times or all spans of time; equal ones stay in
/// order. What is not a number comes first.
pub fn sort_by_key(keyed: &mut [(Value, Value)], descending: bool) -> Result<(), String> {
    for pair in keyed.windows(2) {
        if compare(&pair[1].0, &pair[0].0).is_none() {
            let (a, b) = (pair[1].0.go_type(), pair[0].0.go_type());
            return Err(format!("invalid operation: {a} < {b}"));
        }
    }
    // Integers and floats side by side are sorted as floats: to compare some of them exactly and others
    // not would be no order.
    let has_floats = keyed.iter().any(|(key, _)| matches!(key, Value::Float(_)));
    let as_float = |value: &Value| to_float(value).unwrap_or(f64::NAN);
    let is_nan = f64::is_nan;
    keyed.sort_by(|(a, _), (b, _)| {
        let (a, b) = if descending { (b, a) } else { (a, b) };
        if has_floats {
            let (a, b) = (as_float(a), as_float(b));
            return a.partial_cmp(&b).unwrap_or_else(|| is_nan(b).cmp(&is_nan(a)));
        }
        compare(a, b).flatten().unwrap_or(Ordering::Equal)
    });
    Ok(())
}

/// Sorts a list.
pub fn sort(list: &List, descending: bool) -> Result<Value, String> {
    let mut keyed: Vec<_> = list.items.iter().map(|item| (item.clone(), item.clone())).collect();
    sort_by_key(&mut keyed, descending)?;
    let items: Vec<Value> = keyed.into_iter().map(|(_, item)| item).collect();
    Ok(Value::List(List::new(Elements::Any, items)))
}
