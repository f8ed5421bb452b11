//! The structural schema of a custom kind.
//!
//! Decides what a schema in a CustomResourceDefinition means; `prune` and `validate` use it. Of the
//! formats `int32` and `date-time` are looked at, the others are ignored. Of the CEL rules only the transition rule `self == oldSelf` is carried out; the others
//! are counted when the schema is read, and ignored.

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;
use serde_json::Value;

use crate::typed::{Field, ListKind, Omit, Scalar, Shape, Type};

pub mod prune;
pub mod validate;

/// A node of a schema.
#[derive(Debug, Default)]
pub struct Structural {
    /// `type`; empty for none.
    pub ty: String,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `nullable`.
    pub nullable: bool,
    /// `default`.
    pub default: Option<Value>,
    /// `properties`.
    pub properties: BTreeMap<String, Structural>,
    /// `additionalProperties`, when it is a schema.
    pub additional: Option<Box<Structural>>,
    /// `items`.
    pub items: Option<Box<Structural>>,
    /// `required`.
    pub required: Vec<String>,
    /// `enum`.
    pub allowed: Option<Vec<Value>>,
    /// `x-kubernetes-list-type` and its keys.
    pub list: Option<ListKind>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// `format`.
    pub format: String,
    /// The rest of what a value must satisfy.
    pub bounds: Bounds,
    /// `allOf`.
    pub all_of: Vec<Structural>,
    /// `anyOf`.
    pub any_of: Vec<Structural>,
    /// `oneOf`.
    pub one_of: Vec<Structural>,
    /// `not`.
    pub not: Option<Box<Structural>>,
    /// Message of the rule `self == oldSelf`, if there is one.
    pub immutable: Option<String>,
    /// Whether there are defaults here or below.
    pub has_defaults: bool,
    /// Whether there is a list here or below whose items may not repeat.
    pub has_unique_lists: bool,
    /// Whether there is such a rule here or below.
    pub has_rules: bool,
    /// Whether there is any rule here or below, understood or not.
    pub has_any_rules: bool,
}

/// Limits on values.
#[derive(Debug, Default)]
pub struct Bounds {
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<(String, Option<Regex>)>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub unique_items: bool,
}

impl Structural {
    /// Reads `openAPIV3Schema`. Tells how many rules were ignored.
    pub fn read(schema: &Value) -> (Structural, usize) {
        let mut ignored = 0;
        let out = read(schema, &mut ignored);
        (out, ignored)
    }

    /// How objects of this schema are put together, for patches.
    pub fn to_type(&self) -> Arc<Type> {
        Arc::new(self.build_type(true))
    }

    fn build_type(&self, root: bool) -> Type {
        let scalar = |scalar| Type { shape: Shape::Scalar(scalar), atomic: false, name: None };
        if self.int_or_string {
            return scalar(Scalar::IntOrString);
        }
        match self.ty.as_str() {
            // With a format it may be any scalar, and is looked at by the schema alone.
            "string" if !matches!(self.format.as_str(), "" | "byte") => scalar(Scalar::IntOrString),
            "string" => scalar(Scalar::String),
            "integer" => scalar(Scalar::Integer),
            "number" => scalar(Scalar::Number),
            "boolean" => scalar(Scalar::Boolean),
            "array" => {
                let item =
                    self.items.as_ref().map_or_else(Type::any, |items| Arc::new(items.build_type(false)));
                let list = match &self.list {
                    Some(ListKind::Set) => ListKind::Set,
                    Some(ListKind::Map(keys)) => ListKind::Map(keys.clone()),
                    Some(ListKind::Atomic) | None => ListKind::Atomic,
                };
                let atomic = list == ListKind::Atomic;
                Type { shape: Shape::List { item, list }, atomic, name: None }
            }
            "object" => self.build_object(root),
            _ => Type { shape: Shape::Any, atomic: false, name: None },
        }
    }

    fn build_object(&self, root: bool) -> Type {
        if let Some(additional) = &self.additional {
            return Type {
                shape: Shape::Map(Arc::new(additional.build_type(false))),
                atomic: self.atomic_map,
                name: None,
            };
        }
        let mut fields: BTreeMap<String, Field> = self
            .properties
            .iter()
            .map(|(name, node)| (name.clone(), field(Arc::new(node.build_type(false)))))
            .collect();
        if root || self.embedded {
            let string =
                || Arc::new(Type { shape: Shape::Scalar(Scalar::String), atomic: false, name: None });
            fields.insert("apiVersion".to_owned(), field(string()));
            fields.insert("kind".to_owned(), field(string()));
            let metadata = crate::builtin::types::find("meta.v1.ObjectMeta").unwrap_or_else(Type::any);
            fields.insert("metadata".to_owned(), field(metadata));
        }
        if fields.is_empty() {
            return Type { shape: Shape::Any, atomic: self.atomic_map, name: None };
        }
        let rest = self.preserve_unknown.then(Type::any);
        Type { shape: Shape::Struct { fields, rest }, atomic: self.atomic_map, name: None }
    }
}

fn field(ty: Arc<Type>) -> Field {
    Field {
        ty,
        omit: Omit::Absent,
        merge_key: None,
        retain_keys: false,
        required: false,
        numbers: Vec::new(),
    }
}

fn read(schema: &Value, ignored: &mut usize) -> Structural {
    let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let count = |key: &str| schema.get(key).and_then(Value::as_u64);
    let strings = |key: &str| -> Vec<String> {
        (schema.get(key).and_then(Value::as_array).into_iter().flatten())
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let mut each = |key: &str| -> Vec<Structural> {
        (schema.get(key).and_then(Value::as_array).into_iter().flatten())
            .map(|one| read(one, ignored))
            .collect()
    };
    let (all_of, any_of, one_of) = (each("allOf"), each("anyOf"), each("oneOf"));
    let not = schema.get("not").map(|one| Box::new(read(one, ignored)));
    let properties: BTreeMap<_, _> =
        (schema.get("properties").and_then(Value::as_object).into_iter().flatten())
            .map(|(name, one)| (name.clone(), read(one, ignored)))
            .collect();
    let additional = schema.get("additionalProperties").and_then(|one| match one {
        Value::Object(_) => Some(Box::new(read(one, ignored))),
        Value::Bool(true) => Some(Box::new(Structural { preserve_unknown: true, ..Structural::default() })),
        _ => None,
    });
    let items = schema.get("items").map(|one| Box::new(read(one, ignored)));
    let mut immutable = None;
    for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        let condition: String = rule["rule"].as_str().unwrap_or_default().split_whitespace().collect();
        if condition == "self==oldSelf" || condition == "oldSelf==self" {
            let message = rule.get("message").and_then(Value::as_str);
            immutable = Some(message.map_or_else(
                || format!("failed rule: {}", rule["rule"].as_str().unwrap_or_default()),
                str::to_owned,
            ));
        } else {
            *ignored += 1;
        }
    }
    let has_any_rules = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .is_some_and(|rules| !rules.is_empty());
    let list = match text("x-kubernetes-list-type") {
        "atomic" => Some(ListKind::Atomic),
        "set" => Some(ListKind::Set),
        "map" => Some(ListKind::Map(strings("x-kubernetes-list-map-keys"))),
        _ => None,
    };
    let default = schema.get("default").cloned();
    let below = || properties.values().chain(additional.as_deref()).chain(items.as_deref());
    let has_defaults = default.is_some() || below().any(|node| node.has_defaults);
    let has_any_rules = has_any_rules || below().any(|node| node.has_any_rules);
    let has_rules = immutable.is_some() || below().any(|node| node.has_rules);
    let has_unique_lists =
        matches!(list, Some(ListKind::Set | ListKind::Map(_))) || below().any(|node| node.has_unique_lists);
    Structural {
        ty: text("type").to_owned(),
        format: text("format").to_owned(),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        nullable: flag("nullable"),
        default,
        required: strings("required"),
        allowed: schema.get("enum").and_then(Value::as_array).cloned(),
        list,
        atomic_map: text("x-kubernetes-map-type") == "atomic",
        bounds: Bounds {
            minimum: number("minimum").map(|n| (n, flag("exclusiveMinimum"))),
            maximum: number("maximum").map(|n| (n, flag("exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .map(|text| (text.to_owned(), Regex::new(text).ok())),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            unique_items: flag("uniqueItems"),
        },
        all_of,
        any_of,
        one_of,
        not,
        immutable,
        has_defaults,
        has_unique_lists,
        has_rules,
        has_any_rules,
        properties,
        additional,
        items,
    }
}
