//! What an expression comes to.

use std::sync::Arc;

use jiff::Timestamp;

use super::ast::{Binary, Kind, Node, Unary};
use super::budget::Budget;
use super::error::{Error, Span};
use super::operate::{compute, conversion, fetch, is_in, negate, order, slice_bounds, to_bool, to_int};
use super::value::{Elements, Function, Key, List, MAX_DEPTH, Map, MapForm, Value};
use super::{functions, pattern, predicates, time};

/// Evaluates an expression.
///
/// Without a result there is no `result` that could be named.
pub fn evaluate(node: &Node, result: Option<&Value>, now: Timestamp) -> Result<Value, Error> {
    let mut evaluator =
        Evaluator { result, now, budget: Budget::new(), variables: Vec::new(), scopes: Vec::new() };
    evaluator.eval(node).or_else(|halt| match halt {
        Halt::Cut => Ok(Value::Nil),
        Halt::Mistake(error) => Err(error),
    })
}

/// Why evaluation goes no further here.
pub enum Halt {
    /// `?.` met nil: the chain around it is nil.
    Cut,
    /// Something is wrong.
    Mistake(Error),
}

pub type Evaluated = Result<Value, Halt>;

pub struct Evaluator<'a> {
    result: Option<&'a Value>,
    pub now: Timestamp,
    pub budget: Budget,
    variables: Vec<(&'a str, Value)>,
    /// The collections that predicates are about, innermost last.
    pub scopes: Vec<Scope>,
}

/// Where a predicate is in its collection.
pub struct Scope {
    pub items: Arc<[Value]>,
    pub index: usize,
    pub sum: Value,
}

/// Attaches the place to a message.
pub fn at<T>(span: Span, outcome: Result<T, impl Into<String>>) -> Result<T, Halt> {
    outcome.map_err(|message| Halt::Mistake(Error::new(message, span)))
}

impl<'a> Evaluator<'a> {
    pub fn eval(&mut self, node: &'a Node) -> Evaluated {
        at(node.span, self.budget.take_steps(1))?;
        match &node.kind {
            Kind::Nil => Ok(Value::Nil),
            Kind::Bool(x) => Ok(Value::Bool(*x)),
            Kind::Int(x) => Ok(Value::Int(*x)),
            Kind::Float(x) => Ok(Value::Float(*x)),
            Kind::String(text) => Ok(Value::String(text.clone())),
            Kind::Result => at(node.span, self.result.cloned().ok_or("unknown name result")),
            Kind::Function(function) => Ok(Value::Function(*function)),
            Kind::Predicate(inner) => self.eval(inner),
            Kind::Compare(first, rest) => self.compare(node, first, rest),
            Kind::Binary(operator, left, right) => self.binary(node, *operator, left, right),
            Kind::Unary(operator, operand) => self.unary(node, *operator, operand),
            Kind::Member { base, key, optional, .. } => self.member(node, base, key, *optional),
            Kind::Call(callee, arguments) => self.call(node, callee, arguments),
            Kind::Builtin(builtin, arguments) if builtin.predicate_arguments().is_some() => {
                predicates::call(self, node.span, *builtin, arguments)
            }
            Kind::Builtin(builtin, arguments) => {
                let arguments = self.all(arguments)?;
                let outcome = functions::call(*builtin, &arguments, &mut self.budget, self.now);
                at(node.span, outcome.and_then(shallow))
            }
            Kind::Conditional(condition, then, otherwise) => {
                self.conditional(condition, then.as_deref(), otherwise)
            }
            _ => self.rare(node),
        }
    }

    /// Kinds of nodes that few conditions have, apart so that the frame of the others stays small.
    fn rare(&mut self, node: &'a Node) -> Evaluated {
        match &node.kind {
            Kind::Env => {
                at(node.span, self.budget.take_steps(20))?;
                Ok(self.env())
            }
            Kind::Name(name) => {
                let known = self.variables.iter().rev().find(|(variable, _)| **variable == **name);
                at(node.span, known.map(|(_, value)| value.clone()).ok_or(format!("unknown name {name}")))
            }
            Kind::Matches(left, right, compiled) => self.matches(node, left, right, compiled.as_ref()),
            Kind::Chain(inner) => match self.eval(inner) {
                Err(Halt::Cut) => Ok(Value::Nil),
                other => other,
            },
            Kind::Slice(base, from, to) => self.slice(node, base, from.as_deref(), to.as_deref()),
            Kind::Pointer(name) => self.pointer(node, name),
            Kind::Let(name, value, body) => {
                let value = self.eval(value)?;
                self.variables.push((name, value));
                let body = self.eval(body);
                self.variables.pop();
                body
            }
            Kind::Sequence(nodes) => {
                let mut last = Value::Nil;
                for node in nodes {
                    last = self.eval(node)?;
                }
                Ok(last)
            }
            Kind::Array(nodes) => {
                let items = self.all(nodes)?;
                at(node.span, self.budget.take_cells(items.len()))?;
                at(node.span, shallow(Value::list(items)))
            }
            Kind::Map(pairs) => {
                at(node.span, self.budget.take_cells(pairs.len()))?;
                let mut entries = std::collections::BTreeMap::new();
                for (key, value) in pairs {
                    let span = key.span;
                    let (key, value) = (self.eval(key)?, self.eval(value)?);
                    let Value::String(name) = key else {
                        return at(span, Err(conversion(&key, "string")));
                    };
                    entries.insert(Key::String(name), value);
                }
                at(node.span, shallow(Value::Map(Map::new(MapForm::Object, entries))))
            }
            // All others are evaluated by the caller.
            _ => Ok(Value::Nil),
        }
    }

    fn all(&mut self, nodes: &'a [Node]) -> Result<Vec<Value>, Halt> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    fn env(&self) -> Value {
        let functions =
            Function::ALL.into_iter().map(|function| (function.name(), Value::Function(function)));
        Value::object(functions.chain(self.result.map(|result| ("result", result.clone()))))
    }

    fn compare(
        &mut self,
        node: &'a Node,
        first: &'a Node,
        rest: &'a [(super::ast::Comparison, Node)],
    ) -> Evaluated {
        let mut left = self.eval(first)?;
        let mut holds = Value::Bool(true);
        for (operator, right) in rest {
            let right = self.eval(right)?;
            holds = at(node.span, order(*operator, &left, &right))?;
            if let Value::Bool(false) = holds {
                break;
            }
            left = right;
        }
        Ok(holds)
    }

    fn unary(&mut self, node: &'a Node, operator: Unary, operand: &'a Node) -> Evaluated {
        let operand = self.eval(operand)?;
        match operator {
            Unary::Plus => Ok(operand),
            Unary::Minus => at(node.span, negate(&operand)),
            Unary::Not | Unary::Exclamation => at(node.span, to_bool(&operand).map(|x| Value::Bool(!x))),
        }
    }

    fn binary(&mut self, node: &'a Node, operator: Binary, left: &'a Node, right: &'a Node) -> Evaluated {
        let span = node.span;
        let left = self.eval(left)?;
        match operator {
            Binary::Or { .. } => {
                return if at(span, to_bool(&left))? { Ok(left) } else { self.eval(right) };
            }
            Binary::And { .. } => {
                return if at(span, to_bool(&left))? { self.eval(right) } else { Ok(left) };
            }
            Binary::Coalesce => {
                return if let Value::Nil = left { self.eval(right) } else { Ok(left) };
            }
            _ => {}
        }
        let right = self.eval(right)?;
        // What may be large is counted before it is done.
        let work = match (operator, &left, &right) {
            (Binary::In, needle, Value::List(list)) => {
                // No item is walked over further than what is looked for.
                self.budget.take_steps(list.items.len().saturating_mul(needle.weight()))
            }
            (Binary::In, needle, Value::Map(_)) => self.budget.take_steps(needle.weight().saturating_mul(8)),
            (Binary::Equal | Binary::NotEqual, a, b) => {
                self.budget.take_steps(a.weight().min(b.weight()) - 1)
            }
            (Binary::Add, Value::String(a), Value::String(b)) => self.budget.take_cells(a.len() + b.len()),
            (_, Value::String(text), Value::String(_)) => self.budget.take_reading(text.len()),
            _ => Ok(()),
        };
        at(span, work)?;
        match operator {
            Binary::In => at(span, is_in(&left, &right).map(Value::Bool)),
            Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                at(span, search(operator, &left, &right))
            }
            Binary::Range => self.range(span, &left, &right),
            _ => at(span, compute(operator, &left, &right)),
        }
    }

    fn range(&mut self, span: Span, from: &Value, to: &Value) -> Evaluated {
        let (from, to) = (at(span, to_int(from))?, at(span, to_int(to))?);
        let count = (i128::from(to) - i128::from(from) + 1).max(0);
        at(span, self.budget.take_cells(usize::try_from(count).unwrap_or(usize::MAX)))?;
        let items: Arc<[Value]> = (from..=to).map(Value::Int).collect();
        Ok(Value::List(List::new(Elements::Int, items)))
    }

    fn matches(
        &mut self,
        node: &'a Node,
        left: &'a Node,
        right: &'a Node,
        compiled: Option<&'a Result<regex::Regex, String>>,
    ) -> Evaluated {
        let left = self.eval(left)?;
        let right = self.eval(right)?;
        if matches!(left, Value::Nil) || matches!(right, Value::Nil) {
            return Ok(Value::Bool(false));
        }
        let Value::String(pattern) = &right else { return at(node.span, Err(conversion(&right, "string"))) };
        let Value::String(text) = &left else { return at(node.span, Err(conversion(&left, "[]uint8"))) };
        // In the worst case every byte of the text meets every part of the pattern.
        let work = text.len() / 16 * (1 + pattern.len() / 64);
        at(node.span, self.budget.take_steps(work))?;
        let holds = match compiled {
            Some(Ok(compiled)) => compiled.is_match(text),
            Some(Err(message)) => return at(node.span, Err(message.clone())),
            None => {
                // To compile one takes as long as many other steps.
                at(node.span, self.budget.take_steps(2_000 + pattern.len() * 100))?;
                at(node.span, pattern::compile(pattern))?.is_match(text)
            }
        };
        Ok(Value::Bool(holds))
    }

    fn member(&mut self, node: &'a Node, base: &'a Node, key: &'a Node, optional: bool) -> Evaluated {
        let base = self.eval(base)?;
        if optional && matches!(base, Value::Nil) {
            return Err(Halt::Cut);
        }
        let key = self.eval(key)?;
        // A map compares a long name with several others.
        at(node.span, self.budget.take_steps((key.weight() - 1).saturating_mul(8)))?;
        at(node.span, fetch(&base, &key))
    }

    fn slice(
        &mut self,
        node: &'a Node,
        base: &'a Node,
        from: Option<&'a Node>,
        to: Option<&'a Node>,
    ) -> Evaluated {
        let span = node.span;
        let base = self.eval(base)?;
        let to = to.map(|to| self.eval(to)).transpose()?;
        let from = from.map(|from| self.eval(from)).transpose()?;
        let length = match &base {
            Value::List(list) => list.items.len(),
            Value::String(text) => text.len(),
            // Go asks for the length first if the end is left open.
            other if to.is_none() => {
                return at(span, Err(format!("invalid argument for len (type {})", other.go_type())));
            }
            _ => {
                return at(span, Err(format!("cannot slice {}", from.unwrap_or(Value::Int(0)).in_message())));
            }
        };
        let end = |value: Option<Value>, open: i64| value.map_or(Ok(open), |value| to_int(&value));
        let (from, to) = (at(span, end(from, 0))?, at(span, end(to, length as i64))?);
        let (from, to) = slice_bounds(length, from, to);
        at(span, self.budget.take_cells(to - from))?;
        Ok(match &base {
            Value::List(list) => Value::List(List::new(list.of.clone(), &list.items[from..to])),
            // Go cuts between bytes; half a character becomes a replacement character here.
            Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned().into(),
            _ => Value::Nil,
        })
    }

    fn conditional(&mut self, condition: &'a Node, then: Option<&'a Node>, otherwise: &'a Node) -> Evaluated {
        let value = self.eval(condition)?;
        match (at(condition.span, to_bool(&value))?, then) {
            (true, Some(then)) => self.eval(then),
            (true, None) => Ok(value),
            (false, _) => self.eval(otherwise),
        }
    }

    fn pointer(&self, node: &Node, name: &str) -> Evaluated {
        let scope = self.scopes.last();
        let scope = at(node.span, scope.ok_or("cannot use pointer accessor outside predicate"))?;
        let value = match name {
            "" => scope.items.get(scope.index).cloned(),
            "index" => Some(Value::Int(scope.index as i64)),
            "acc" => Some(scope.sum.clone()),
            _ => None,
        };
        at(node.span, value.ok_or_else(|| format!("unknown pointer #{name}")))
    }

    fn call(&mut self, node: &'a Node, callee: &'a Node, arguments: &'a [Node]) -> Evaluated {
        if let Kind::Member { base, key, optional, .. } = &callee.kind {
            let base = self.eval(base)?;
            if *optional && matches!(base, Value::Nil) {
                return Err(Halt::Cut);
            }
            let key = self.eval(key)?;
            let arguments = self.all(arguments)?;
            if let (Value::Time(_) | Value::Duration(_), Value::String(name)) = (&base, &key) {
                return at(node.span, time::call_method(&base, name, &arguments));
            }
            let callee = at(node.span, fetch(&base, &key))?;
            return self.call_value(node, &callee, &arguments);
        }
        let callee = self.eval(callee)?;
        let arguments = self.all(arguments)?;
        self.call_value(node, &callee, &arguments)
    }

    fn call_value(&mut self, node: &'a Node, callee: &Value, arguments: &[Value]) -> Evaluated {
        let outcome = match callee {
            Value::Function(function) => {
                functions::call_added(*function, arguments, self.result.unwrap_or(&Value::Nil))
            }
            Value::Nil => Err("invalid operation: cannot call nil".to_owned()),
            other => Err(format!("invalid operation: cannot call non-function of type {}", other.go_type())),
        };
        at(node.span, outcome)
    }
}

/// Most parts of a value that an expression makes, shared ones counted as often as they are met.
const MAX_WEIGHT: usize = 10_000_000;

/// Refuses values that are nested so deeply that it would take a deep stack to look at them.
pub fn shallow(value: Value) -> Result<Value, String> {
    if value.depth() > MAX_DEPTH {
        return Err(format!("value is nested more than {MAX_DEPTH} levels deep"));
    }
    if value.weight() > MAX_WEIGHT {
        return Err("memory budget exceeded".to_owned());
    }
    Ok(value)
}

fn search(operator: Binary, text: &Value, part: &Value) -> Result<Value, String> {
    let (text, part) = match (text, part) {
        (Value::Nil, _) | (_, Value::Nil) => return Ok(Value::Bool(false)),
        (Value::String(text), Value::String(part)) => (text, part),
        (Value::String(_), other) | (other, _) => return Err(conversion(other, "string")),
    };
    Ok(Value::Bool(match operator {
        Binary::StartsWith => text.starts_with(&**part),
        Binary::EndsWith => text.ends_with(&**part),
        _ => text.contains(&**part),
    }))
}
