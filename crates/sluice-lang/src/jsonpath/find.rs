//! What a path selects in a document.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{Block, Filter, JsonPathError, Node, Slice};

/// Most values that are looked at. Each `..` can multiply them by the depth of the document.
const MAX_STEPS: usize = 500_000;

type Found<'a> = Vec<Cow<'a, Value>>;

fn refuse<T>(message: impl Into<String>) -> Result<T, JsonPathError> {
    Err(JsonPathError::new(message))
}

/// Returns the values that blocks select.
pub fn find<'a>(blocks: &'a [Block], document: &'a Value) -> Result<Found<'a>, JsonPathError> {
    let mut finder = Finder { left: MAX_STEPS };
    let mut found = Vec::new();
    finder.blocks(blocks, Cow::Borrowed(document), &mut found)?;
    Ok(found)
}

struct Finder {
    left: usize,
}

impl Finder {
    fn take(&mut self, count: usize) -> Result<(), JsonPathError> {
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => refuse(format!("path looks at more than {MAX_STEPS} values")),
        }
    }

    fn blocks<'a>(
        &mut self,
        blocks: &'a [Block],
        current: Cow<'a, Value>,
        found: &mut Found<'a>,
    ) -> Result<(), JsonPathError> {
        for block in blocks {
            self.take(1)?;
            match block {
                Block::Text(text) => found.push(Cow::Owned(Value::String(text.clone()))),
                Block::Action(nodes) => found.append(&mut self.steps(nodes, vec![current.clone()])?),
                Block::Range(over, body) => {
                    for value in self.steps(over, vec![current.clone()])? {
                        self.blocks(body, value, found)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn steps<'a>(&mut self, nodes: &'a [Node], input: Found<'a>) -> Result<Found<'a>, JsonPathError> {
        nodes.iter().try_fold(input, |input, node| {
            self.take(input.len() + 1)?;
            self.step(node, input)
        })
    }

    fn step<'a>(&mut self, node: &'a Node, input: Found<'a>) -> Result<Found<'a>, JsonPathError> {
        match node {
            Node::Text(text) => Ok(vec![Cow::Owned(Value::String(text.clone()))]),
            Node::Literal(value) => Ok(input.iter().map(|_| Cow::Borrowed(value)).collect()),
            Node::Word(word) => refuse(format!("unrecognized identifier {word}")),
            Node::Field(name) => {
                if input.is_empty() {
                    return Ok(input);
                }
                let found: Found = input.into_iter().filter_map(|value| member(value, name)).collect();
                if found.is_empty() { refuse(format!("{name} is not found")) } else { Ok(found) }
            }
            Node::Slice(slice) => {
                let mut found = Vec::new();
                for value in input {
                    self.slice(*slice, value, &mut found)?;
                }
                Ok(found)
            }
            Node::Wildcard => {
                let mut found = Vec::new();
                for value in input {
                    let parts = parts(value);
                    self.take(parts.len())?;
                    found.extend(parts);
                }
                Ok(found)
            }
            Node::Descent => self.descend(input),
            Node::Union(parts) => {
                let mut found = Vec::new();
                for part in parts {
                    self.take(input.len())?;
                    found.append(&mut self.steps(part, input.clone())?);
                }
                Ok(found)
            }
            Node::Filter(filter) => self.filter(filter, input),
        }
    }

    fn slice<'a>(
        &mut self,
        slice: Slice,
        value: Cow<'a, Value>,
        found: &mut Found<'a>,
    ) -> Result<(), JsonPathError> {
        let length = match &*value {
            Value::Null => return Ok(()),
            Value::Array(items) => items.len() as i64,
            other => return refuse(format!("{} is not array or slice", go_type(other))),
        };
        let mut from = slice.from.unwrap_or(0);
        if from < 0 {
            from = from.saturating_add(length);
        }
        let mut to = slice.to.unwrap_or(length);
        // `[-1]` ends at the end and not at the beginning.
        if to < 0 || to == 0 && slice.is_index {
            to = to.saturating_add(length);
        }
        if from == to {
            return Ok(());
        }
        let out_of_bounds =
            |index: i64| refuse(format!("array index out of bounds: index {index}, length {length}"));
        if !(0..length).contains(&from) {
            return out_of_bounds(from);
        }
        if !(0..=length).contains(&to) {
            return out_of_bounds(to.saturating_sub(1));
        }
        if from > to {
            return refuse(format!("starting index {from} is greater than ending index {to}"));
        }
        let step = match slice.step.map(usize::try_from) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return refuse("step must be > 0"),
        };
        let (from, count) = (from as usize, (to - from) as usize);
        self.take(count / step)?;
        if let Cow::Borrowed(Value::Array(items)) = value {
            found.extend(items.iter().skip(from).take(count).step_by(step).map(Cow::Borrowed));
        }
        Ok(())
    }

    /// Each value that has parts, before its parts. The original counts a text as having some.
    fn descend<'a>(&mut self, input: Found<'a>) -> Result<Found<'a>, JsonPathError> {
        let mut found = Vec::new();
        let mut waiting: Found<'a> = input.into_iter().rev().collect();
        while let Some(value) = waiting.pop() {
            self.take(1)?;
            if matches!(&*value, Value::String(text) if !text.is_empty()) {
                found.push(value);
                continue;
            }
            let parts = parts(value.clone());
            if !parts.is_empty() {
                self.take(parts.len())?;
                found.push(value);
                waiting.extend(parts.into_iter().rev());
            }
        }
        Ok(found)
    }

    fn filter<'a>(&mut self, filter: &'a Filter, input: Found<'a>) -> Result<Found<'a>, JsonPathError> {
        let mut found = Vec::new();
        for value in input {
            if !value.is_array() {
                let value = crate::expr::Value::from(&*value).to_text_within(200);
                return refuse(format!("{value} is not array or slice and cannot be filtered"));
            }
            for item in parts(value) {
                self.take(1)?;
                if self.passes(filter, item.clone())? {
                    found.push(item);
                }
            }
        }
        Ok(found)
    }

    fn passes<'a>(&mut self, filter: &'a Filter, item: Cow<'a, Value>) -> Result<bool, JsonPathError> {
        let left = self.steps(&filter.left, vec![item.clone()]);
        let Some((operator, right)) = &filter.comparison else {
            return Ok(left.is_ok_and(|found| !found.is_empty()));
        };
        let Some(left) = only(left?)? else { return Ok(false) };
        let Some(right) = only(self.steps(right, vec![item.clone()])?)? else { return Ok(false) };
        let is_equal = || match (&*left, &*right) {
            (Value::Null, Value::Null) => Ok(true),
            // Nothing is like nothing else, and that is no reason to fail.
            (Value::Null, _) | (_, Value::Null) => Ok(false),
            (left, right) => Ok(order(left, right)? == Some(Ordering::Equal)),
        };
        let comes = |wanted: &[Ordering]| match (&*left, &*right) {
            (Value::Bool(_) | Value::Null, _) => refuse("invalid type for comparison"),
            (left, right) => Ok(order(left, right)?.is_some_and(|ordering| wanted.contains(&ordering))),
        };
        match operator.as_str() {
            "==" => is_equal(),
            "!=" => is_equal().map(|equal| !equal),
            "<" => comes(&[Ordering::Less]),
            "<=" => comes(&[Ordering::Less, Ordering::Equal]),
            ">" => comes(&[Ordering::Greater]),
            ">=" => comes(&[Ordering::Greater, Ordering::Equal]),
            other => refuse(format!("unrecognized filter operator {other}")),
        }
    }
}

fn only(mut found: Found<'_>) -> Result<Option<Cow<'_, Value>>, JsonPathError> {
    if found.len() > 1 {
        return refuse("can only compare one element at a time");
    }
    Ok(found.pop())
}

fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, JsonPathError> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Ok(Some(left.cmp(&right))),
            _ => Ok(left.as_f64().partial_cmp(&right.as_f64())),
        },
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            refuse("invalid type for comparison")
        }
        _ => refuse("incompatible types for comparison"),
    }
}

/// Values of a list or an object, in order.
fn parts(value: Cow<'_, Value>) -> Found<'_> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(members)) => members.values().map(Cow::Borrowed).collect(),
        // Only literals are owned, and they have no parts.
        Cow::Borrowed(_) | Cow::Owned(_) => Vec::new(),
    }
}

fn member<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(_) => None,
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
