//! How values of a kind are put together: which lists are keyed, which maps are one piece.
//!
//! One description for built-in kinds and for custom ones, used by strategic merge and by server-side
//! apply. It says nothing of what is valid.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

/// A type.
#[derive(Debug)]
pub struct Type {
    /// What it is made of.
    pub shape: Shape,
    /// Owned and replaced as a whole.
    pub atomic: bool,
    /// Short name of a built-in struct.
    pub name: Option<&'static str>,
}

/// What a type is made of.
#[derive(Debug)]
pub enum Shape {
    /// Unknown: maps are granular, lists are atomic.
    Any,
    /// One value.
    Scalar(Scalar),
    /// Named fields, and maybe further ones.
    Struct {
        /// The named fields.
        fields: BTreeMap<String, Field>,
        /// The type of fields that have no name here, where such are kept.
        rest: Option<Arc<Type>>,
    },
    /// Arbitrary keys.
    Map(Arc<Type>),
    /// A list.
    List {
        /// Type of the items.
        item: Arc<Type>,
        /// How items are told apart.
        list: ListKind,
    },
}

/// Kinds of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    String,
    Integer,
    Long,
    Number,
    Boolean,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Bytes,
}

/// How list items are told apart.
#[derive(Debug, PartialEq, Eq)]
pub enum ListKind {
    /// They are not; the list is one piece.
    Atomic,
    /// By value.
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its type.
    pub ty: Arc<Type>,
    /// When the encoder leaves it out.
    pub omit: Omit,
    /// Merged by a strategic patch: by this key, or by value when empty.
    pub merge_key: Option<String>,
    /// A strategic patch names the keys to retain.
    pub retain_keys: bool,
    /// Named as required.
    pub required: bool,
    /// Its number in the binary encoding, after those of the messages it is wrapped in.
    pub numbers: Vec<u32>,
}

/// When the encoder leaves a field out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// When it was not given.
    Absent,
    /// When it is zero, whoever gave it.
    Zero,
    /// Never.
    Never,
    /// Never: it is null when it was not given.
    Null,
}

static ANY: LazyLock<Arc<Type>> =
    LazyLock::new(|| Arc::new(Type { shape: Shape::Any, atomic: false, name: None }));

impl Type {
    /// The type of which nothing is known.
    pub fn any() -> Arc<Type> {
        ANY.clone()
    }

    /// The type of a field or map entry.
    pub fn entry(&self, key: &str) -> Option<&Arc<Type>> {
        match &self.shape {
            Shape::Any => Some(&ANY),
            Shape::Struct { fields, rest } => fields.get(key).map(|field| &field.ty).or(rest.as_ref()),
            Shape::Map(item) => Some(item),
            Shape::Scalar(_) | Shape::List { .. } => None,
        }
    }

    /// Whether `key` is one of a struct's named fields.
    pub fn has_named(&self, key: &str) -> bool {
        matches!(&self.shape, Shape::Struct { fields, .. } if fields.contains_key(key))
    }

    /// Whether `value` is, under this type, one piece: a scalar, or something atomic.
    pub fn is_leaf(&self, value: &Value) -> bool {
        match value {
            Value::Object(_) => self.atomic || matches!(self.shape, Shape::Scalar(_) | Shape::List { .. }),
            Value::Array(_) => self.atomic || !matches!(self.shape, Shape::List { .. }),
            _ => true,
        }
    }
}
