//! The shapes of built-in kinds, and how a decoder and an encoder treat them.
//!
//! Decides which fields exist, which are dropped when empty and which are always written, so that an
//! object comes back as from a real API server. Knows nothing of defaults or of what is valid; those
//! are `defaults` and `validate`.
//!
//! `types.txt` is one block per type: its name (`!` = merged as a whole), then one field per line:
//! name, shape, flags. Shapes: `s` string, `i`/`l` integer of 32/64 bits, `n` number, `b` bool, `q` quantity, `x`
//! integer or string, `t`/`m` time with seconds/microseconds, `y` base64, `a` anything, `@T` struct,
//! `{}S` map, `[]S`/`[=]S`/`[k1,k2]S` atomic list, set, list keyed by fields (`!` = atomic). Flags:
//! `o` left out when zero, `p` left out when absent, `z` always written, `n` written as null when absent; `~key` strategic merge key,
//! `^` retain keys, `!` required, `#` number in the binary encoding.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::typed::{Field, ListKind, Omit, Scalar, Shape, Type};

/// All built-in types by short name, such as `apps.v1.Deployment`.
static TYPES: LazyLock<BTreeMap<&'static str, Arc<Type>>> =
    LazyLock::new(|| parse(include_str!("types.txt")));

/// The type of that short name.
pub fn find(name: &str) -> Option<Arc<Type>> {
    TYPES.get(name).cloned()
}

fn parse(table: &'static str) -> BTreeMap<&'static str, Arc<Type>> {
    let mut raw: BTreeMap<&str, (bool, Vec<&str>)> = BTreeMap::new();
    let mut current = "";
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some(field) = line.strip_prefix(' ') {
            if let Some((_, fields)) = raw.get_mut(current) {
                fields.push(field);
            }
        } else {
            let (name, atomic) = match line.strip_suffix(" !") {
                Some(name) => (name, true),
                None => (line, false),
            };
            current = name;
            raw.insert(name, (atomic, Vec::new()));
        }
    }
    let mut done = BTreeMap::new();
    let names: Vec<_> = raw.keys().copied().collect();
    for name in names {
        build(name, &raw, &mut done);
    }
    done
}

fn build(
    name: &'static str,
    raw: &BTreeMap<&'static str, (bool, Vec<&'static str>)>,
    done: &mut BTreeMap<&'static str, Arc<Type>>,
) -> Arc<Type> {
    if let Some(known) = done.get(name) {
        return known.clone();
    }
    let Some((atomic, lines)) = raw.get(name) else { return Type::any() };
    let mut fields = BTreeMap::new();
    for line in lines {
        let mut parts = line.split(' ');
        let (Some(field), Some(shape)) = (parts.next(), parts.next()) else { continue };
        let mut out = Field {
            ty: shape_of(shape, raw, done),
            omit: Omit::Absent,
            merge_key: None,
            retain_keys: false,
            required: false,
            numbers: Vec::new(),
        };
        for flag in parts {
            match flag {
                "o" => out.omit = Omit::Zero,
                "z" => out.omit = Omit::Never,
                "n" => out.omit = Omit::Null,
                "!" => out.required = true,
                "^" => out.retain_keys = true,
                _ => match (flag.strip_prefix('~'), flag.strip_prefix('#')) {
                    (Some(key), _) => out.merge_key = Some(key.to_owned()),
                    (_, Some(numbers)) => {
                        out.numbers = numbers.split('.').filter_map(|n| n.parse().ok()).collect();
                    }
                    (None, None) => {}
                },
            }
        }
        fields.insert(field.to_owned(), out);
    }
    let ty =
        Arc::new(Type { shape: Shape::Struct { fields, rest: None }, atomic: *atomic, name: Some(name) });
    done.insert(name, ty.clone());
    ty
}

fn shape_of(
    text: &'static str,
    raw: &BTreeMap<&'static str, (bool, Vec<&'static str>)>,
    done: &mut BTreeMap<&'static str, Arc<Type>>,
) -> Arc<Type> {
    let scalar = |s| Arc::new(Type { shape: Shape::Scalar(s), atomic: false, name: None });
    if let Some(name) = text.strip_prefix('@') {
        return build(name.trim_end_matches('!'), raw, done);
    }
    if let Some(rest) = text.strip_prefix("{}") {
        let (rest, atomic) = match rest.strip_prefix('!') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        return Arc::new(Type { shape: Shape::Map(shape_of(rest, raw, done)), atomic, name: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (keys, item) = rest.split_once(']').unwrap_or(("", rest));
        let list = match keys {
            "" => ListKind::Atomic,
            "=" => ListKind::Set,
            keys => ListKind::Map(keys.split(',').map(str::to_owned).collect()),
        };
        let atomic = list == ListKind::Atomic;
        return Arc::new(Type {
            shape: Shape::List { item: shape_of(item, raw, done), list },
            atomic,
            name: None,
        });
    }
    match text {
        "s" => scalar(Scalar::String),
        "i" => scalar(Scalar::Integer),
        "l" => scalar(Scalar::Long),
        "n" => scalar(Scalar::Number),
        "b" => scalar(Scalar::Boolean),
        "q" => scalar(Scalar::Quantity),
        "x" => scalar(Scalar::IntOrString),
        "t" => scalar(Scalar::Time),
        "m" => scalar(Scalar::MicroTime),
        "y" => scalar(Scalar::Bytes),
        _ => Type::any(),
    }
}

/// What a decoder says about an object besides the object itself.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Paths of fields that the kind does not have.
    pub unknown: Vec<String>,
    /// The first value of a wrong type: struct and path of fields, what was found, what was expected.
    pub mismatch: Option<(String, &'static str, String)>,
    /// The first complaint about a value that has a form of its own.
    pub unreadable: Option<String>,
    /// The innermost struct and the fields on the way, for complaints.
    at: (&'static str, Vec<String>),
}

impl Decoded {
    fn unreadable(&mut self, result: Result<(), String>) {
        if let Err(complaint) = result {
            self.unreadable.get_or_insert(complaint);
        }
    }
}

/// Brings an object into the form that a round trip through its Go type gives it.
pub fn normalise(value: &mut Value, ty: &Type) -> Decoded {
    let mut decoded = Decoded::default();
    value_as(value, ty, &mut String::new(), &mut decoded);
    decoded
}

/// The same for a change of `before`, which has that form already: what was left alone is not looked at again.
pub fn normalise_change(value: &mut Value, before: &Value, ty: &Type) -> Decoded {
    let (Shape::Struct { fields, .. }, Value::Object(map), Some(before)) =
        (&ty.shape, &mut *value, before.as_object())
    else {
        return normalise(value, ty);
    };
    let mut decoded = Decoded::default();
    decoded.at.0 = ty.name.unwrap_or_default();
    struct_as(map, fields, Some(before), &mut String::new(), &mut decoded);
    decoded
}

/// The object that a Go type encodes to when nothing was set.
pub fn empty(ty: &Type) -> Value {
    let mut value = Value::Object(Map::new());
    normalise(&mut value, ty);
    value
}

fn value_as(value: &mut Value, ty: &Type, path: &mut String, decoded: &mut Decoded) {
    let length = path.len();
    match (&ty.shape, &mut *value) {
        (Shape::Any, _) | (Shape::Map(_) | Shape::List { .. } | Shape::Struct { .. }, Value::Null) => {}
        (Shape::Scalar(scalar), _) => scalar_as(value, *scalar, ty, decoded),
        (Shape::Map(item), Value::Object(map)) => {
            for (key, entry) in map.iter_mut() {
                path.push('.');
                path.push_str(key);
                if entry.is_null() {
                    *entry = zero(item);
                }
                value_as(entry, item, path, decoded);
                path.truncate(length);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            for (i, entry) in items.iter_mut().enumerate() {
                path.push('[');
                path.push_str(&i.to_string());
                path.push(']');
                if entry.is_null() {
                    *entry = zero(item);
                }
                value_as(entry, item, path, decoded);
                path.truncate(length);
            }
        }
        (Shape::Struct { fields, .. }, Value::Object(map)) => {
            let outer = std::mem::replace(&mut decoded.at.0, ty.name.unwrap_or_default());
            struct_as(map, fields, None, path, decoded);
            decoded.at.0 = outer;
        }
        (Shape::Map(_) | Shape::List { .. } | Shape::Struct { .. }, other) => mismatch(other, ty, decoded),
    }
}

fn struct_as(
    map: &mut Map<String, Value>,
    fields: &BTreeMap<String, Field>,
    before: Option<&Map<String, Value>>,
    path: &mut String,
    decoded: &mut Decoded,
) {
    let length = path.len();
    if map.keys().any(|key| !fields.contains_key(key)) {
        map.retain(|key, _| {
            let known = fields.contains_key(key);
            if !known {
                decoded.unknown.push(if length == 0 { key.clone() } else { format!("{path}.{key}") });
            }
            known
        });
    }
    for (name, field) in fields {
        if let Some(value) = map.get_mut(name) {
            if before.and_then(|before| before.get(name)) == Some(&*value) {
                continue;
            }
            if !value.is_null() {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                decoded.at.1.push(name.clone());
                value_as(value, &field.ty, path, decoded);
                decoded.at.1.pop();
                path.truncate(length);
            }
            let drop = match field.omit {
                Omit::Absent => value.is_null() || is_empty_collection(value, &field.ty),
                Omit::Zero => is_zero(value),
                Omit::Never | Omit::Null => false,
            };
            if drop {
                map.remove(name);
                continue;
            }
        }
        match field.omit {
            Omit::Never if map.get(name).is_none_or(Value::is_null) => {
                let mut value = zero(&field.ty);
                if value.is_object() {
                    value_as(&mut value, &field.ty, path, decoded);
                }
                map.insert(name.clone(), value);
            }
            Omit::Null => {
                map.entry(name.clone()).or_insert(Value::Null);
            }
            Omit::Never | Omit::Absent | Omit::Zero => {}
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Storage forgets the difference between an absent and an empty list or map.
fn is_empty_collection(value: &Value, ty: &Type) -> bool {
    match &ty.shape {
        Shape::List { .. } | Shape::Map(_) => is_zero(value),
        Shape::Any | Shape::Scalar(_) | Shape::Struct { .. } => false,
    }
}

fn zero(ty: &Type) -> Value {
    match &ty.shape {
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => Value::from(""),
            Scalar::Integer | Scalar::Long | Scalar::Number | Scalar::IntOrString => Value::from(0),
            Scalar::Boolean => Value::from(false),
            Scalar::Quantity => Value::from("0"),
            Scalar::Time | Scalar::MicroTime | Scalar::Bytes => Value::Null,
        },
        Shape::Struct { .. } => Value::Object(Map::new()),
        Shape::Any | Shape::Map(_) | Shape::List { .. } => Value::Null,
    }
}

fn scalar_as(value: &mut Value, scalar: Scalar, ty: &Type, decoded: &mut Decoded) {
    let fits = match (scalar, &*value) {
        (Scalar::String | Scalar::Time | Scalar::MicroTime, value) => value.is_string(),
        (Scalar::Bytes, value) => value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok()),
        (Scalar::Boolean, value) => value.is_boolean(),
        (Scalar::Number, value) => value.is_number(),
        (Scalar::IntOrString, value) => value.is_string() || value.is_number(),
        (Scalar::Integer | Scalar::Long, Value::Number(n)) if n.is_i64() || n.is_u64() => true,
        (Scalar::Integer | Scalar::Long, Value::Number(n)) => {
            match n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                Some(whole) => {
                    *value = Value::from(whole as i64);
                    true
                }
                None => false,
            }
        }
        (Scalar::Integer | Scalar::Long, _) => false,
        (Scalar::Quantity, _) => true,
    };
    match scalar {
        _ if !fits => mismatch(value, ty, decoded),
        Scalar::Quantity => crate::quantity::canonicalise(value),
        Scalar::Time => decoded.unreadable(crate::time::canonical_seconds(value)),
        Scalar::MicroTime => decoded.unreadable(crate::time::canonical_micros(value)),
        Scalar::String
        | Scalar::Bytes
        | Scalar::Boolean
        | Scalar::Number
        | Scalar::IntOrString
        | Scalar::Integer
        | Scalar::Long => {}
    }
}

fn mismatch(value: &Value, ty: &Type, decoded: &mut Decoded) {
    if decoded.mismatch.is_none() {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let holder = decoded.at.0.rsplit('.').next().unwrap_or_default();
        decoded.mismatch = Some((format!("{holder}.{}", decoded.at.1.join(".")), found, go_type(ty)));
    }
}

/// The type as Go's decoder names it.
fn go_type(ty: &Type) -> String {
    match &ty.shape {
        Shape::Any => "interface {}".to_owned(),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Integer => "int32",
            Scalar::Long => "int64",
            Scalar::Number => "float64",
            Scalar::Boolean => "bool",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time | Scalar::MicroTime => "v1.Time",
            Scalar::Bytes => "[]uint8",
        }
        .to_owned(),
        Shape::Struct { .. } => {
            let mut parts = ty.name.unwrap_or_default().rsplit('.');
            let (kind, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{version}.{kind}")
        }
        Shape::Map(item) => format!("map[string]{}", go_type(item)),
        Shape::List { item, .. } => format!("[]{}", go_type(item)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_objects_look_like_those_of_a_go_encoder() {
        for (name, expected) in [
            (
                "apps.v1.ReplicaSet",
                json!({"metadata": {}, "spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {"replicas": 0}}),
            ),
            ("core.v1.ConfigMap", json!({"metadata": {}})),
            ("core.v1.Service", json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}})),
        ] {
            let ty = find(name).expect(name);
            let mut value = empty(&ty);
            if name == "apps.v1.ReplicaSet" {
                // A pointer without omitempty: the decoder leaves null, as Go does.
                assert!(value["spec"].as_object_mut().expect("spec").contains_key("selector"));
                value["spec"]["selector"] = Value::Null;
                value["spec"]["template"]["spec"]["containers"] = Value::Null;
            }
            // Required strings and the like are always written; compare what the case names.
            assert_eq!(value["metadata"], expected["metadata"], "{name}");
            assert_eq!(value["status"], expected["status"], "{name}");
        }
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let ty = find("apps.v1.Deployment").expect("deployment");
        let mut value = json!({"spec": {"replicas": 2, "foo": 1, "template": {"spec": {"containers": [{"name": "a", "bar": {}, "args": []}]}}}});
        let decoded = normalise(&mut value, &ty);
        assert_eq!(decoded.unknown, ["spec.foo", "spec.template.spec.containers[0].bar"]);
        assert_eq!(value["spec"]["template"]["spec"]["containers"], json!([{"name": "a", "resources": {}}]));
        assert_eq!(value["spec"]["replicas"], 2);
    }

    #[test]
    fn wrong_types_are_reported() {
        let ty = find("apps.v1.Deployment").expect("deployment");
        let mut value = json!({"spec": {"replicas": "two"}});
        let decoded = normalise(&mut value, &ty);
        assert_eq!(
            decoded.mismatch,
            Some(("DeploymentSpec.spec.replicas".to_owned(), "string", "int32".to_owned()))
        );
    }
}
