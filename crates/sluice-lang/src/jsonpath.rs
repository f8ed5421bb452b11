//! Paths into JSON, in the dialect of Kubernetes: `{$.data.value}`.
//!
//! It decides what a path selects. It does not print: the values themselves are wanted.
//!
//! The dialect is that of `kubectl` (client-go, `util/jsonpath`) and no standard: braces around paths and text
//! around braces, `{range .items[*]}…{end}`, `.my-key`, `a\.b`. A path gives one list of values, in the order of
//! its parts. Differences: members come in the order of their names, where the original has none; a filter
//! compares numbers by value, where the original refuses to compare `2` with the 2 of a document; a filter
//! that asks whether something is there takes an index out of bounds as a no; a range over nothing is nothing, and one that is not closed
//! ends with the text.

mod find;
mod parse;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use crate::go_format;

/// A path that cannot be read or does not fit the document. The texts are the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(String);

impl JsonPathError {
    fn new(message: impl Into<String>) -> Self {
        Self(go_format::shortened(message.into()))
    }
}

/// A path that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    blocks: Vec<Block>,
}

/// A part of the whole text.
#[derive(Clone, Debug, PartialEq)]
enum Block {
    /// Between braces.
    Action(Vec<Node>),
    /// Outside of braces.
    Text(String),
    /// What is done for each value.
    Range(Vec<Node>, Vec<Block>),
}

/// A step within braces.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// `"text"`
    Text(String),
    /// `.name`
    Field(String),
    /// `[0]`, `[1:3]`, `[*]`
    Slice(Slice),
    /// `[?(@.name == "x")]`
    Filter(Filter),
    /// `5`, `0.5`, `true`
    Literal(Value),
    /// `.*`
    Wildcard,
    /// `..`
    Descent,
    /// `[0,1]`
    Union(Vec<Vec<Node>>),
    /// A word that means nothing here.
    Word(String),
}

/// Bounds of a part of a list; what is not written is open.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    /// Whether `to` was not written: `[2]` ends at 3.
    is_index: bool,
    step: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Vec<Node>,
    /// The operator and what is compared with; without it the filter asks whether `left` is there.
    comparison: Option<(String, Vec<Node>)>,
}

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        parse::parse(text).map(|blocks| Self { blocks })
    }

    /// Whether it is mere text, without any braces: most likely they were forgotten.
    pub fn is_literal(&self) -> bool {
        self.blocks.iter().all(|block| matches!(block, Block::Text(_)))
    }

    /// Returns the values that the path selects.
    ///
    /// # Errors
    /// The document does not have what a step asks for, or there is too much of it.
    pub fn find<'a>(&'a self, document: &'a Value) -> Result<Vec<Cow<'a, Value>>, JsonPathError> {
        find::find(&self.blocks, document)
    }
}
