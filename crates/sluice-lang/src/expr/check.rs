//! What can be said against an expression before it is evaluated.
//!
//! Once the type of `result` is known, a comparison that can never make sense is a mistake even where
//! evaluation would not reach it. That is how the original treats a condition, and users count on a typo in
//! the second half of an `||` being reported at once.

use std::sync::Arc;

use super::ast::{Binary, Kind, Node, Unary};
use super::builtins::{Builtin, check_arguments};
use super::error::{Error, Span};
use super::types::{Class, Type};
use super::value::{Elements, Function, MapForm};

/// Decides whether an expression makes sense for a result of a type, and returns the type of its value.
///
/// Without a type there is no `result` that could be named.
pub fn check(node: &Node, result: Option<&Type>) -> Result<Type, Error> {
    Checker { result: result.cloned(), variables: Vec::new(), predicates: Vec::new() }.visit(node)
}

struct Checker<'a> {
    result: Option<Type>,
    variables: Vec<(&'a str, Type)>,
    predicates: Vec<Scope>,
}

/// What a predicate is about.
struct Scope {
    collection: Type,
    /// Names that may follow `#`.
    names: &'static [(&'static str, Type)],
}

type Checked = Result<Type, Error>;

fn mistake<T>(span: Span, message: String) -> Result<T, Error> {
    Err(Error::new(message, span))
}

impl<'a> Checker<'a> {
    fn visit(&mut self, node: &'a Node) -> Checked {
        Ok(match &node.kind {
            Kind::Nil => Type::Nil,
            Kind::Bool(_) => Type::Bool,
            Kind::Int(_) => Type::Int,
            Kind::Float(_) => Type::Float,
            Kind::String(_) => Type::String,
            Kind::Result => match &self.result {
                Some(result) => result.clone(),
                None => return mistake(node.span, "unknown name result".to_owned()),
            },
            Kind::Env => Type::Unknown,
            Kind::Function(function) => Type::Function(*function),
            Kind::Name(name) => return self.name(node, name),
            Kind::Unary(operator, operand) => return self.unary(node, *operator, operand),
            Kind::Binary(operator, left, right) => return self.binary(node, *operator, left, right),
            Kind::Compare(first, rest) => {
                let mut left = self.visit(first)?;
                for (operator, right) in rest {
                    let right = self.visit(right)?;
                    check_order(node, operator.text(), &left, &right)?;
                    left = right;
                }
                Type::Bool
            }
            Kind::Matches(left, right, compiled) => {
                let (left, right) = (self.visit(left)?, self.visit(right)?);
                if let Some(Err(message)) = compiled {
                    return mistake(node.span, message.clone());
                }
                check_texts(node, "matches", &left, &right)?
            }
            Kind::Member { base, key, optional, called } => {
                return self.member(node, base, key, *optional, *called);
            }
            Kind::Chain(inner) | Kind::Predicate(inner) => return self.visit(inner),
            Kind::Slice(base, from, to) => return self.slice(node, base, from.as_deref(), to.as_deref()),
            Kind::Call(callee, arguments) => return self.call(node, callee, arguments),
            Kind::Builtin(builtin, arguments) => return self.builtin(node, *builtin, arguments),
            Kind::Pointer(name) => return self.pointer(node, name),
            Kind::Let(name, value, body) => return self.declaration(node, name, value, body),
            Kind::Sequence(nodes) => {
                let mut last = Type::Unknown;
                for node in nodes {
                    last = self.visit(node)?;
                }
                last
            }
            Kind::Conditional(condition, then, otherwise) => {
                return self.conditional(condition, then.as_deref(), otherwise);
            }
            Kind::Array(nodes) => {
                let types = nodes.iter().map(|node| self.visit(node)).collect::<Result<Vec<_>, _>>()?;
                let are_alike = types.windows(2).all(|pair| have_one_kind(&pair[0], &pair[1]));
                match types.last() {
                    Some(last) if are_alike => Type::list_of(last.clone()),
                    Some(_) => Type::list(Elements::Any),
                    None => Type::list_of(Type::Unknown),
                }
            }
            Kind::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Type::Map(MapForm::Object)
            }
        })
    }

    fn name(&self, node: &Node, name: &str) -> Checked {
        if let Some((_, known)) = self.variables.iter().rev().find(|(variable, _)| *variable == name) {
            return Ok(known.clone());
        }
        // Functions of the language are values in the original. Here they can only be called.
        mistake(node.span, format!("unknown name {name}"))
    }

    fn unary(&mut self, node: &Node, operator: Unary, operand: &'a Node) -> Checked {
        let operand = self.visit(operand)?;
        match operator {
            Unary::Not | Unary::Exclamation if operand == Type::Bool || operand.is_unknown() => {
                Ok(Type::Bool)
            }
            Unary::Plus | Unary::Minus if operand.is_number() => Ok(operand),
            Unary::Plus | Unary::Minus if operand.is_unknown() => Ok(Type::Unknown),
            _ => {
                let (operator, operand) = (operator.text(), operand.go_type());
                mistake(node.span, format!("invalid operation: {operator} (mismatched type {operand})"))
            }
        }
    }

    fn binary(&mut self, node: &Node, operator: Binary, left: &'a Node, right: &'a Node) -> Checked {
        let l = self.visit(left)?;
        let r = if matches!(operator, Binary::Or { .. }) && asks_for_nil(left) {
            self.visit_knowing_a_result(right)?
        } else {
            self.visit(right)?
        };
        let numbers = l.is_number() && r.is_number();
        let both = |class| l.is(class) && r.is(class);
        let pair = |a, b| l.is(a) && r.is(b);
        let promoted = || if l == Type::Float || r == Type::Float { Type::Float } else { Type::Int };
        let fits = match operator {
            Binary::Equal | Binary::NotEqual if l.is_comparable_to(&r) => Type::Bool,
            Binary::Or { .. } | Binary::And { .. }
                if both(Class::Bool) || l.may_agree(&r, &[Class::Bool]) =>
            {
                Type::Bool
            }
            Binary::Add | Binary::Subtract | Binary::Multiply if numbers => promoted(),
            Binary::Add if both(Class::String) => Type::String,
            Binary::Add if both(Class::Duration) => Type::Duration,
            Binary::Add if pair(Class::Time, Class::Duration) || pair(Class::Duration, Class::Time) => {
                Type::Time
            }
            Binary::Add if l.may_agree(&r, &[Class::Number, Class::String, Class::Time, Class::Duration]) => {
                Type::Unknown
            }
            Binary::Subtract if both(Class::Time) || both(Class::Duration) => Type::Duration,
            Binary::Subtract if pair(Class::Time, Class::Duration) => Type::Time,
            Binary::Subtract if l.may_agree(&r, &[Class::Number, Class::Time, Class::Duration]) => {
                Type::Unknown
            }
            Binary::Multiply
                if both(Class::Duration)
                    || pair(Class::Number, Class::Duration)
                    || pair(Class::Duration, Class::Number) =>
            {
                Type::Duration
            }
            Binary::Multiply if l.may_agree(&r, &[Class::Number, Class::Duration]) => Type::Unknown,
            Binary::Divide | Binary::Power { .. } if numbers || l.may_agree(&r, &[Class::Number]) => {
                Type::Float
            }
            Binary::Modulo if matches!((&left.kind, &right.kind), (Kind::Int(_), Kind::Int(0))) => {
                return mistake(node.span, "integer divide by zero".to_owned());
            }
            Binary::Modulo if both(Class::Integer) || l.may_agree(&r, &[Class::Integer]) => Type::Int,
            Binary::Range if both(Class::Integer) || l.may_agree(&r, &[Class::Integer]) => {
                Type::list_of(Type::Int)
            }
            Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                return check_texts(node, operator.text(), &l, &r);
            }
            Binary::In => return check_in(node, &l, &r),
            Binary::Coalesce => match (&l, &r) {
                (Type::Nil, _) => r,
                (_, Type::Nil) => l,
                _ if r.is_assignable_to(&l) => l,
                _ => Type::Unknown,
            },
            _ => return mismatch(node, operator.text(), &l, &r),
        };
        Ok(fits)
    }

    /// What follows `isNil(result) ||` is reached only with a result. The original reports a comparison
    /// there whenever there is none, which makes the guard useless just when it is needed.
    fn visit_knowing_a_result(&mut self, node: &'a Node) -> Checked {
        if self.result != Some(Type::Nil) {
            return self.visit(node);
        }
        self.result = Some(Type::Unknown);
        let checked = self.visit(node);
        self.result = Some(Type::Nil);
        checked
    }

    fn member(
        &mut self,
        node: &Node,
        base: &'a Node,
        key: &'a Node,
        optional: bool,
        called: bool,
    ) -> Checked {
        let name = match &key.kind {
            Kind::String(name) => Some(&**name),
            _ => None,
        };
        if let Kind::Env = base.kind {
            return match (name, &self.result) {
                (Some("result"), Some(result)) => Ok(result.clone()),
                (Some(name), _) => match Function::ALL.into_iter().find(|function| function.name() == name) {
                    Some(function) => Ok(Type::Function(function)),
                    None if optional => Ok(Type::Unknown),
                    None => mistake(node.span, format!("unknown name {name}")),
                },
                (None, _) => Ok(Type::Unknown),
            };
        }
        let base = self.visit(base)?;
        let key_type = self.visit(key)?;
        let go_type = base.go_type();
        match (&base, name) {
            _ if base.is_unknown() => Ok(Type::Unknown),
            (Type::Nil, Some(name)) => mistake(node.span, format!("type nil has no field {name}")),
            (Type::Time | Type::Duration, Some(name)) if super::time::method(&base, name).is_some() => {
                Ok(Type::Unknown)
            }
            (Type::Map(form), _) => {
                if *form == MapForm::Object && !key_type.is_unknown() && key_type != Type::String {
                    let given = key_type.go_type();
                    return mistake(key.span, format!("cannot use {given} to get an element from {go_type}"));
                }
                Ok(if *form == MapForm::Groups { Type::list(Elements::Any) } else { Type::Any })
            }
            (Type::List(_, item), _) => {
                if key_type.is_integer() || key_type.is_unknown() {
                    return Ok((**item).clone());
                }
                let given = key_type.go_type();
                mistake(
                    key.span,
                    format!("array elements can only be selected using an integer (got {given})"),
                )
            }
            (Type::Record(shape), Some(name)) if shape.fields.iter().any(|(field, _)| *field == name) => {
                let field = shape.fields.iter().find(|(field, _)| *field == name);
                Ok(field.map_or(Type::Unknown, |(_, known)| known.clone()))
            }
            (_, Some(name)) => {
                let what = if called { "method" } else { "field" };
                mistake(node.span, format!("type {go_type} has no {what} {name}"))
            }
            (_, None) => mistake(node.span, format!("type {go_type}[{}] is undefined", key_type.go_type())),
        }
    }

    fn slice(
        &mut self,
        node: &Node,
        base: &'a Node,
        from: Option<&'a Node>,
        to: Option<&'a Node>,
    ) -> Checked {
        let base = self.visit(base)?;
        if base.is_unknown() {
            return Ok(Type::Unknown);
        }
        if !(base.is_list() || base == Type::String) {
            return mistake(node.span, format!("cannot slice {}", base.go_type()));
        }
        for end in [from, to].into_iter().flatten() {
            let known = self.visit(end)?;
            if !(known.is_integer() || known.is_unknown()) {
                return mistake(end.span, format!("non-integer slice index {}", known.go_type()));
            }
        }
        Ok(base)
    }

    fn call(&mut self, node: &Node, callee: &'a Node, arguments: &'a [Node]) -> Checked {
        if let Kind::Env = callee.kind {
            let env = MapForm::Object.go_type();
            return mistake(node.span, format!("{env} is not callable"));
        }
        let known = self.visit(callee)?;
        let function = match known {
            Type::Function(function) => function,
            Type::Unknown | Type::Any => {
                for argument in arguments {
                    self.visit(argument)?;
                }
                return Ok(Type::Unknown);
            }
            Type::Nil => {
                return mistake(node.span, "function is nil; cannot call nil as function".to_owned());
            }
            other => return mistake(node.span, format!("{} is not callable", other.go_type())),
        };
        let types = arguments.iter().map(|node| self.visit(node)).collect::<Result<Vec<_>, _>>()?;
        let spans: Vec<Span> = arguments.iter().map(|node| node.span).collect();
        let parameters: &[Type] = match function {
            Function::AsInt | Function::AsFloat | Function::IsNil => &[Type::Any],
            Function::IsNan | Function::IsInf => &[Type::Float],
            Function::Default => &[Type::Any, Type::Any],
        };
        check_arguments(function.name(), parameters, &types, node.span, &spans)?;
        Ok(match function {
            Function::AsInt => Type::Int64,
            Function::AsFloat => Type::Float,
            Function::IsNan | Function::IsInf | Function::IsNil => Type::Bool,
            Function::Default => Type::Any,
        })
    }

    fn builtin(&mut self, node: &Node, builtin: Builtin, arguments: &'a [Node]) -> Checked {
        if builtin == Builtin::Get {
            return self.get(node, arguments);
        }
        if builtin.predicate_arguments().is_some() {
            return self.predicate(builtin, arguments);
        }
        let types = arguments.iter().map(|node| self.visit(node)).collect::<Result<Vec<_>, _>>()?;
        let spans: Vec<Span> = arguments.iter().map(|node| node.span).collect();
        builtin.check(&types, node.span, &spans)
    }

    fn get(&mut self, node: &Node, arguments: &'a [Node]) -> Checked {
        let [base, key] = arguments else {
            let count = arguments.len();
            return mistake(node.span, format!("invalid number of arguments (expected 2, got {count})"));
        };
        let (from, key_type) = (self.visit(base)?, self.visit(key)?);
        match &from {
            _ if from.is_unknown() => Ok(Type::Unknown),
            Type::List(..) if !(key_type.is_integer() || key_type.is_unknown()) => {
                mistake(key.span, format!("non-integer slice index {}", key_type.go_type()))
            }
            Type::List(_, item) => Ok((**item).clone()),
            Type::Map(MapForm::Object) if !(key_type == Type::String || key_type.is_unknown()) => {
                let (given, map) = (key_type.go_type(), from.go_type());
                mistake(key.span, format!("cannot use {given} to get an element from {map}"))
            }
            Type::Map(MapForm::Groups) => Ok(Type::list(Elements::Any)),
            Type::Map(_) => Ok(Type::Any),
            _ => mistake(base.span, format!("type {} does not support indexing", from.go_type())),
        }
    }

    fn predicate(&mut self, builtin: Builtin, arguments: &'a [Node]) -> Checked {
        const INDEX: &[(&str, Type)] = &[("index", Type::Int)];
        const INDEX_AND_SUM: &[(&str, Type)] = &[("index", Type::Int), ("acc", Type::Unknown)];
        let Some(first) = arguments.first() else { return Ok(Type::Unknown) };
        let collection = self.visit(first)?;
        if !(collection.is_list() || collection.is_unknown()) {
            let (name, given) = (builtin.name(), collection.go_type());
            return mistake(first.span, format!("builtin {name} takes only array (got {given})"));
        }
        let item = match &collection {
            Type::List(_, item) => (**item).clone(),
            _ => Type::Unknown,
        };
        let names = match builtin {
            Builtin::Map => INDEX,
            Builtin::Reduce => INDEX_AND_SUM,
            _ => &[],
        };
        let predicate = match arguments.get(1) {
            Some(predicate) => {
                self.predicates.push(Scope { collection: collection.clone(), names });
                let checked = self.visit(predicate);
                self.predicates.pop();
                Some((checked?, predicate.span))
            }
            None => None,
        };
        if let Some(third) = arguments.get(2) {
            let known = self.visit(third)?;
            if builtin == Builtin::SortBy && !(known == Type::String || known.is_unknown()) {
                let given = known.go_type();
                return mistake(third.span, format!("sortBy order argument must be a string (got {given})"));
            }
        }
        let wants_bool = !matches!(
            builtin,
            Builtin::Map | Builtin::Sum | Builtin::GroupBy | Builtin::SortBy | Builtin::Reduce
        );
        if let Some((known, span)) = &predicate {
            if *known == Type::Nil {
                let count = if builtin == Builtin::Reduce { "two" } else { "one" };
                return mistake(*span, format!("predicate should has {count} input and one output param"));
            }
            if wants_bool && !(*known == Type::Bool || known.is_unknown()) {
                return mistake(*span, format!("predicate should return boolean (got {})", known.go_type()));
            }
        }
        let known = predicate.map(|(known, _)| known);
        Ok(match builtin {
            Builtin::All | Builtin::None | Builtin::Any | Builtin::One => Type::Bool,
            Builtin::Filter if collection.is_unknown() => Type::list(Elements::Any),
            Builtin::Filter => Type::list_of(item),
            Builtin::Find | Builtin::FindLast => item,
            Builtin::FindIndex | Builtin::FindLastIndex | Builtin::Count => Type::Int,
            Builtin::Map => Type::list_of(known.unwrap_or(Type::Unknown)),
            Builtin::Sum => known.unwrap_or(item),
            Builtin::GroupBy => Type::Map(MapForm::Groups),
            Builtin::SortBy => collection,
            _ => known.unwrap_or(Type::Unknown),
        })
    }

    fn pointer(&self, node: &Node, name: &str) -> Checked {
        let Some(scope) = self.predicates.last() else {
            return mistake(node.span, "cannot use pointer accessor outside predicate".to_owned());
        };
        if name.is_empty() {
            return Ok(match &scope.collection {
                Type::List(_, item) => (**item).clone(),
                _ => Type::Unknown,
            });
        }
        match scope.names.iter().find(|(known, _)| *known == name) {
            Some((_, known)) => Ok(known.clone()),
            None => mistake(node.span, format!("unknown pointer #{name}")),
        }
    }

    fn declaration(&mut self, node: &Node, name: &'a Arc<str>, value: &'a Node, body: &'a Node) -> Checked {
        if &**name == "result" || Function::ALL.iter().any(|function| function.name() == &**name) {
            return mistake(node.span, format!("cannot redeclare {name}"));
        }
        if Builtin::named(name).is_some() {
            return mistake(node.span, format!("cannot redeclare builtin {name}"));
        }
        if self.variables.iter().any(|(variable, _)| *variable == &**name) {
            return mistake(node.span, format!("cannot redeclare variable {name}"));
        }
        let known = self.visit(value)?;
        self.variables.push((name, known));
        let body = self.visit(body);
        self.variables.pop();
        body
    }

    fn conditional(&mut self, condition: &'a Node, then: Option<&'a Node>, otherwise: &'a Node) -> Checked {
        let known = self.visit(condition)?;
        if !(known == Type::Bool || known.is_unknown()) {
            let given = known.go_type();
            return mistake(condition.span, format!("non-bool expression (type {given}) used as condition"));
        }
        let then = match then {
            Some(then) => self.visit(then)?,
            None => known,
        };
        let otherwise = if asks_for_nil(condition) {
            self.visit_knowing_a_result(otherwise)?
        } else {
            self.visit(otherwise)?
        };
        Ok(match (&then, &otherwise) {
            (Type::Nil, _) => otherwise,
            (_, Type::Nil) => then,
            (Type::List(_, a), Type::List(_, b)) if then.is_assignable_to(&otherwise) => {
                if a.is_assignable_to(b) && b.is_assignable_to(a) { then } else { Type::list(Elements::Any) }
            }
            _ if then.is_assignable_to(&otherwise) => then,
            _ => Type::Unknown,
        })
    }
}

/// Whether a condition is true as soon as there is no result: `isNil(result)`, `isNil(result) || …`.
fn asks_for_nil(node: &Node) -> bool {
    match &node.kind {
        Kind::Call(callee, _) => matches!(callee.kind, Kind::Function(Function::IsNil)),
        Kind::Binary(Binary::Or { .. }, left, right) => asks_for_nil(left) || asks_for_nil(right),
        _ => false,
    }
}

fn mismatch(node: &Node, operator: &str, left: &Type, right: &Type) -> Checked {
    let (left, right) = (left.go_type(), right.go_type());
    mistake(node.span, format!("invalid operation: {operator} (mismatched types {left} and {right})"))
}

fn check_order(node: &Node, operator: &str, left: &Type, right: &Type) -> Checked {
    const CLASSES: [Class; 4] = [Class::Number, Class::String, Class::Time, Class::Duration];
    let both = |class: &Class| left.is(*class) && right.is(*class);
    if CLASSES.iter().any(both) || left.may_agree(right, &CLASSES) {
        Ok(Type::Bool)
    } else {
        mismatch(node, operator, left, right)
    }
}

fn check_texts(node: &Node, operator: &str, left: &Type, right: &Type) -> Checked {
    let are_texts = *left == Type::String && *right == Type::String;
    if are_texts || left.may_agree(right, &[Class::String]) {
        Ok(Type::Bool)
    } else {
        mismatch(node, operator, left, right)
    }
}

fn check_in(node: &Node, left: &Type, right: &Type) -> Checked {
    let refused = |of: &Type, what: &str| {
        let (left, of) = (left.go_type(), of.go_type());
        mistake(node.span, format!("cannot use {left} as type {of} in {what}"))
    };
    match right {
        Type::Record(_) if left.is_unknown() || *left == Type::String => Ok(Type::Bool),
        Type::Map(form) => {
            let key = if *form == MapForm::Object { Type::String } else { Type::Any };
            if left.is_unknown() || left.is_assignable_to(&key) {
                Ok(Type::Bool)
            } else {
                refused(&key, "map key")
            }
        }
        Type::List(_, item) if left.is_comparable_to(item) => Ok(Type::Bool),
        Type::List(_, item) => refused(item, "array"),
        Type::String if left.is_unknown() => Ok(Type::Bool),
        _ if right.is_unknown() => Ok(Type::Bool),
        _ => mismatch(node, "in", left, right),
    }
}

/// Whether Go would say that both are of one kind, whatever their parts are.
fn have_one_kind(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::List(..), Type::List(..))
        | (Type::Map(_), Type::Map(_))
        | (Type::Record(_), Type::Record(_))
        | (Type::Function(_), Type::Function(_)) => true,
        _ => a == b,
    }
}
