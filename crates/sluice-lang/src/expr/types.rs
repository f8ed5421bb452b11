//! What can be known of a value before an expression is evaluated.

use std::borrow::Cow;
use std::sync::Arc;

use super::value::{Elements, Function, MapForm, Shape, Value};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Nothing is known, and messages say `unknown`.
    Unknown,
    /// Anything: the members of lists and objects of JSON.
    Any,
    /// Always nil.
    Nil,
    /// A truth value.
    Bool,
    /// An integer of the language.
    Int,
    /// An integer from outside.
    Int64,
    /// A float.
    Float,
    /// Text.
    String,
    /// A list: what Go calls it, and what is known of its items.
    List(Elements, Arc<Type>),
    /// A map.
    Map(MapForm),
    /// A record.
    Record(Arc<Shape>),
    /// A point in time.
    Time,
    /// A span of time.
    Duration,
    /// A time zone.
    Zone,
    /// One of the functions that analysis adds.
    Function(Function),
}

/// Groups of types that an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Bool,
    String,
    Integer,
    Number,
    List,
    Map,
    Time,
    Duration,
}

impl Type {
    /// The type of a value.
    pub fn of(value: &Value) -> Type {
        match value {
            Value::Nil => Type::Nil,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Int64(_) => Type::Int64,
            Value::Float(_) => Type::Float,
            Value::String(_) => Type::String,
            Value::List(list) => Type::list(list.of.clone()),
            Value::Map(map) => Type::Map(map.form),
            Value::Record(record) => Type::Record(record.shape.clone()),
            Value::Time(_) => Type::Time,
            Value::Duration(_) => Type::Duration,
            Value::Zone(_) => Type::Zone,
            Value::Function(function) => Type::Function(*function),
        }
    }

    /// A list of which only Go's type is known.
    pub fn list(of: Elements) -> Type {
        let item = match &of {
            Elements::Any => Type::Any,
            Elements::Int => Type::Int,
            Elements::Float => Type::Float,
            Elements::String => Type::String,
            Elements::Pair => Type::list(Elements::Any),
            Elements::Record(shape) => Type::Record(shape.clone()),
        };
        Type::List(of, Arc::new(item))
    }

    /// A list made by an expression; more is known of its items than Go's type says.
    pub fn list_of(item: Type) -> Type {
        Type::List(Elements::Any, Arc::new(item))
    }

    /// How messages name it.
    pub fn go_type(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Type::Unknown | Type::Nil => "unknown",
            Type::Any => "interface {}",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Int64 => "int64",
            Type::Float => "float64",
            Type::String => "string",
            Type::List(of, _) => return of.go_type(),
            Type::Map(form) => form.go_type(),
            Type::Record(shape) => shape.name,
            Type::Time => "time.Time",
            Type::Duration => "time.Duration",
            Type::Zone => "*time.Location",
            Type::Function(function) => function.go_type(),
        })
    }

    /// Whether only evaluation can tell.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Type::Unknown | Type::Any)
    }

    /// Whether it is an integer.
    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Int | Type::Int64)
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Int64 | Type::Float)
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Type::List(..))
    }

    /// Whether it belongs to a group.
    pub fn is(&self, class: Class) -> bool {
        match class {
            Class::Bool => *self == Type::Bool,
            Class::String => *self == Type::String,
            Class::Integer => self.is_integer(),
            Class::Number => self.is_number(),
            Class::List => self.is_list(),
            Class::Map => matches!(self, Type::Map(_)),
            Class::Time => *self == Type::Time,
            Class::Duration => *self == Type::Duration,
        }
    }

    /// Whether both belong to one of the groups as far as is known, at least one of them being unknown.
    pub fn may_agree(&self, other: &Type, classes: &[Class]) -> bool {
        let is_any_of = |t: &Type| classes.iter().any(|class| t.is(*class));
        match (self.is_unknown(), other.is_unknown()) {
            (true, true) => true,
            (true, false) => is_any_of(other),
            (false, true) => is_any_of(self),
            (false, false) => false,
        }
    }

    /// Whether `==` makes sense between them.
    pub fn is_comparable_to(&self, other: &Type) -> bool {
        self.is_unknown()
            || other.is_unknown()
            || *self == Type::Nil
            || *other == Type::Nil
            || self.is_number() && other.is_number()
            || self.is_list() && other.is_list()
            || self.is_assignable_to(other)
    }

    /// Whether a value of this type can stand where `other` is wanted.
    pub fn is_assignable_to(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Nil, _) => {
                matches!(other, Type::Any | Type::List(..) | Type::Map(_) | Type::Zone | Type::Function(_))
            }
            (Type::Unknown, _) | (_, Type::Unknown | Type::Nil) => false,
            (_, Type::Any) => true,
            (Type::List(a, _), Type::List(b, _)) => a == b,
            _ => self == other,
        }
    }
}
