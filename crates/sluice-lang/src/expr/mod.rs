//! Conditions: the expressions by which a measurement is judged.
//!
//! This is the language of expr-lang/expr 1.17 as Argo Rollouts v1.10 uses it (`utils/evaluate`), evaluated
//! by our own means. It decides what a text means, whether it can make sense for a result, and what it comes
//! to. It does not decide what follows for a measurement; that is [`crate::judge`].
//!
//! Three rules shape it. A condition is read once and evaluated many times. A mistake is found from the type
//! of the result before anything is evaluated, also where evaluation would not get to. And whatever a text
//! or a result may hold, work, memory and depth are bounded, because one controller evaluates everybody's.

mod ast;
mod budget;
mod builtins;
mod check;
mod error;
mod eval;
mod functions;
mod lex;
mod lists;
mod operate;
mod parse;
mod pattern;
mod predicates;
mod print;
#[cfg(test)]
mod second_opinion;
mod texts;
mod time;
mod types;
mod value;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use error::{Error, Span};
pub use types::Type;
pub use value::{Elements, Function, Key, List, MAX_DEPTH, Map, MapForm, Record, Shape, Value};

/// An expression that has been read.
#[derive(Clone, Debug)]
pub struct Condition {
    root: ast::Node,
}

/// What an expression is evaluated on.
#[derive(Clone, Debug)]
pub struct Data {
    result: Value,
    known: Type,
    now: Timestamp,
}

impl Data {
    /// A result, and the time at which it is looked at: `now()` in an expression.
    pub fn new(result: Value, now: Timestamp) -> Self {
        let known = Type::of(&result);
        Self { result, known, now }
    }

    /// The result.
    pub fn result(&self) -> &Value {
        &self.result
    }
}

impl Condition {
    /// Reads an expression.
    ///
    /// # Errors
    /// The text is no expression, or too large a one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(|root| Self { root })
    }

    /// Decides whether the expression makes sense for results of a type, and returns the type of its value.
    /// [`Type::Unknown`] finds only what is wrong with any result, such as an unknown name.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, result: &Type) -> Result<Type, Error> {
        check::check(&self.root, Some(result))
    }

    /// Checks and evaluates the expression.
    ///
    /// # Errors
    /// It makes no sense for such a result, meets a value that it cannot use, or takes too much work.
    pub fn evaluate(&self, data: &Data) -> Result<Value, Error> {
        check::check(&self.root, Some(&data.known))?;
        eval::evaluate(&self.root, Some(&data.result), data.now)
    }

    /// As [`Condition::evaluate`], for an expression that has to say yes or no.
    ///
    /// # Errors
    /// As there; or the value is neither.
    pub fn holds(&self, data: &Data) -> Result<bool, Error> {
        match self.evaluate(data)? {
            Value::Bool(x) => Ok(x),
            other => Err(Error::new(format!("expected bool, but got {}", other.go_type()), self.root.span)),
        }
    }

    /// Evaluates an expression that names a point in time and knows no result, such as
    /// `now() - duration("5m")`.
    ///
    /// # Errors
    /// As for [`Condition::evaluate`]; or the value is no time.
    pub fn time(&self, now: Timestamp) -> Result<Timestamp, Error> {
        check::check(&self.root, None)?;
        match eval::evaluate(&self.root, None, now)? {
            Value::Time(time) => Ok(time.timestamp()),
            other => {
                Err(Error::new(format!("expected time.Time, but got {}", other.go_type()), self.root.span))
            }
        }
    }
}
