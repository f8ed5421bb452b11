//! Whether a configuration that is applied fits its type at all.

use serde_json::Value;

use super::fieldset::{FieldSet, item_step, key_default};
use crate::{
    status::quoted,
    typed::{ListKind, Scalar, Shape, Type},
};

/// Checks that a configuration fits its type; the path and complaint of the first misfit.
pub fn check(config: &Value, ty: &Type) -> Result<(), String> {
    check_at(config, ty, false, &mut String::new())
}

/// The same for a whole object, which may have items of the same key.
pub fn fits(object: &Value, ty: &Type) -> Result<(), String> {
    check_at(object, ty, true, &mut String::new())
}

fn check_at(value: &Value, ty: &Type, may_repeat: bool, path: &mut String) -> Result<(), String> {
    match (&ty.shape, value) {
        (Shape::Struct { fields, rest }, Value::Object(map)) => {
            for (key, entry) in map {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                match fields.get(key).map(|field| &field.ty).or(rest.as_ref()) {
                    Some(ty) => check_at(entry, ty, may_repeat, path)?,
                    None => return Err(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
            }
            Ok(())
        }
        (Shape::Map(item), Value::Object(map)) => {
            for (key, entry) in map {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                check_at(entry, item, may_repeat, path)?;
                path.truncate(length);
            }
            Ok(())
        }
        (Shape::List { item, list }, Value::Array(items)) => {
            let mut seen = Vec::new();
            for (i, one) in items.iter().enumerate() {
                let step = match list {
                    ListKind::Atomic => format!("[{i}]"),
                    ListKind::Set | ListKind::Map(_) => {
                        if let ListKind::Map(keys) = list
                            && keys
                                .iter()
                                .all(|key| one.get(key).is_none() && key_default(item, key).is_none())
                        {
                            let missing: Vec<_> = keys.iter().map(|key| quoted(key)).collect();
                            return Err(format!(
                                "{path}: element {i}: associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                                missing.join(" ")
                            ));
                        }
                        let mut set = FieldSet::default();
                        let step = item_step(one, item, list);
                        set.insert(std::slice::from_ref(&step));
                        let shown = set.paths().concat();
                        if !may_repeat && seen.contains(&step) {
                            return Err(format!("{path}: duplicate entries for key {shown}"));
                        }
                        seen.push(step);
                        shown
                    }
                };
                let length = path.len();
                path.push_str(&step);
                check_at(one, item, may_repeat, path)?;
                path.truncate(length);
            }
            Ok(())
        }
        (Shape::Any | Shape::Scalar(Scalar::IntOrString), _) | (_, Value::Null) => Ok(()),
        (Shape::Scalar(_), Value::Object(_) | Value::Array(_)) => {
            let found = if value.is_array() { "list" } else { "map" };
            Err(format!("{path}: expected {}, got {found}", scalar_name(ty)))
        }
        (Shape::Scalar(scalar), _) => {
            let fits = match scalar {
                Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Bytes => value.is_string(),
                Scalar::Integer | Scalar::Long | Scalar::Number => value.is_number(),
                Scalar::Boolean => value.is_boolean(),
                Scalar::Quantity | Scalar::IntOrString => true,
            };
            if fits {
                return Ok(());
            }
            let found = match (scalar, value) {
                (Scalar::Integer | Scalar::Long | Scalar::Number, Value::String(_)) => "string".to_owned(),
                (Scalar::Integer | Scalar::Long | Scalar::Number, Value::Bool(_)) => "bool".to_owned(),
                (Scalar::Boolean, value) => {
                    format!("&{{{}}}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                }
                _ => format!("&value.valueUnstructured{{Value:{value}}}"),
            };
            Err(format!("{path}: expected {}, got {found}", scalar_name(ty)))
        }
        (Shape::List { .. }, _) => Err(format!("{path}: expected list, got {}", go_shown(value))),
        (Shape::Struct { .. } | Shape::Map(_), _) => {
            Err(format!("{path}: expected map, got {}", go_shown(value)))
        }
    }
}

fn go_shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "list".to_owned(),
        Value::Object(_) => "map".to_owned(),
        other => format!("&{{{other}}}"),
    }
}

fn scalar_name(ty: &Type) -> &'static str {
    match &ty.shape {
        Shape::Scalar(Scalar::Integer | Scalar::Long | Scalar::Number) => "numeric (int or float)",
        Shape::Scalar(Scalar::Boolean) => "boolean",
        _ => "string",
    }
}
