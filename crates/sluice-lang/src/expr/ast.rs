//! The tree of an expression.

use std::sync::Arc;

use regex::Regex;

use super::builtins::Builtin;
use super::error::Span;
use super::value::Function;

/// A part of an expression.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// What a message about it points at.
    pub span: Span,
    /// Levels below and including this one; bounds every walk over the tree.
    pub height: u16,
}

/// The kinds of nodes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// `5`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `"text"`
    String(Arc<str>),
    /// `result`
    Result,
    /// `$env`, everything that an expression can name
    Env,
    /// One of the functions that analysis adds.
    Function(Function),
    /// A variable, or a name that means nothing.
    Name(Arc<str>),
    /// `-x`, `+x`, `not x`
    Unary(Unary, Box<Node>),
    /// `x + y`
    Binary(Binary, Box<Node>, Box<Node>),
    /// `0 < x < 1`: each member of `rest` is compared with its neighbour on the left.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    /// `x matches "…"`; the expression is compiled beforehand if it is written out.
    Matches(Box<Node>, Box<Node>, Option<Result<Regex, String>>),
    /// `x.name`, `x["name"]`, `x?.name`
    Member {
        /// What is looked into.
        base: Box<Node>,
        /// What is looked for.
        key: Box<Node>,
        /// Whether nil ends the chain instead of being an error.
        optional: bool,
        /// Whether it is called: `x.name()`.
        called: bool,
    },
    /// The outermost part that `?.` can cut short.
    Chain(Box<Node>),
    /// `x[1:3]`
    Slice(Box<Node>, Option<Box<Node>>, Option<Box<Node>>),
    /// `f(x)`
    Call(Box<Node>, Vec<Node>),
    /// A function of the language.
    Builtin(Builtin, Vec<Node>),
    /// The second argument of `filter` and others.
    Predicate(Box<Node>),
    /// `#`, `#acc`, `#index`
    Pointer(Arc<str>),
    /// `let x = …; …`
    Let(Arc<str>, Box<Node>, Box<Node>),
    /// `a; b`
    Sequence(Vec<Node>),
    /// `a ? b : c`, `if a { b } else { c }`; without a middle part it is the condition itself: `a ?: c`.
    Conditional(Box<Node>, Option<Box<Node>>, Box<Node>),
    /// `[a, b]`
    Array(Vec<Node>),
    /// `{a: b}`
    Map(Vec<(Node, Node)>),
}

/// Operators before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Not,
    Exclamation,
    Plus,
    Minus,
}

impl Unary {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Unary::Not => "not",
            Unary::Exclamation => "!",
            Unary::Plus => "+",
            Unary::Minus => "-",
        }
    }
}

/// Operators that order two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

/// Operators between two values, save those with a node of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Or { word: bool },
    And { word: bool },
    Equal,
    NotEqual,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power { caret: bool },
    Coalesce,
}

impl Binary {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Binary::Or { word: true } => "or",
            Binary::Or { word: false } => "||",
            Binary::And { word: true } => "and",
            Binary::And { word: false } => "&&",
            Binary::Equal => "==",
            Binary::NotEqual => "!=",
            Binary::In => "in",
            Binary::Contains => "contains",
            Binary::StartsWith => "startsWith",
            Binary::EndsWith => "endsWith",
            Binary::Range => "..",
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Modulo => "%",
            Binary::Power { caret: true } => "^",
            Binary::Power { caret: false } => "**",
            Binary::Coalesce => "??",
        }
    }
}

impl Kind {
    /// The height of the highest part below.
    pub fn height_below(&self) -> u16 {
        let highest = |nodes: &[Node]| nodes.iter().map(|node| node.height).max().unwrap_or(0);
        match self {
            Kind::Nil
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::String(_)
            | Kind::Result
            | Kind::Env
            | Kind::Function(_)
            | Kind::Name(_)
            | Kind::Pointer(_) => 0,
            Kind::Unary(_, a) | Kind::Chain(a) | Kind::Predicate(a) => a.height,
            Kind::Binary(_, a, b) | Kind::Matches(a, b, _) | Kind::Let(_, a, b) => a.height.max(b.height),
            Kind::Compare(first, rest) => {
                rest.iter().map(|(_, node)| node.height).fold(first.height, u16::max)
            }
            Kind::Member { base, key, .. } => base.height.max(key.height),
            Kind::Slice(a, from, to) => {
                let height = |node: &Option<Box<Node>>| node.as_ref().map_or(0, |node| node.height);
                a.height.max(height(from)).max(height(to))
            }
            Kind::Call(callee, arguments) => callee.height.max(highest(arguments)),
            Kind::Builtin(_, nodes) | Kind::Sequence(nodes) | Kind::Array(nodes) => highest(nodes),
            Kind::Conditional(a, b, c) => {
                a.height.max(b.as_ref().map_or(0, |node| node.height)).max(c.height)
            }
            Kind::Map(pairs) => pairs.iter().map(|(k, v)| k.height.max(v.height)).max().unwrap_or(0),
        }
    }
}
