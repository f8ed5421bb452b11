//! What is wrong with an expression, and where.

use std::fmt;

use crate::go_format;

/// Bytes of the expression's text, from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// Makes a span.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Span) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// An expression that cannot be read, does not fit its data, or went wrong on the way.
///
/// The message is what goes into a measurement and is worded as the original words it, because people
/// search for it; the span is for tools that show the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, without a position.
    pub message: String,
    /// Where it is.
    pub span: Span,
}

impl Error {
    /// Makes an error. A message may quote a value, and values can be large; what is beyond the length of
    /// anything that people read is cut off.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: go_format::shortened(message.into()), span }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
