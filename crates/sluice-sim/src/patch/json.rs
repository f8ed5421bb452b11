//! JSON patch, RFC 6902, with the leniencies of the library that API servers use.

use serde_json::Value;

/// Why a patch could not be carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPatchError {
    /// Not a list of operations.
    #[error("{0}")]
    Malformed(String),
    /// A path leads nowhere, or a test failed.
    #[error("{0}")]
    Failed(String),
}

/// Applies all operations, or none.
pub fn apply(target: Value, patch: &Value) -> Result<Value, JsonPatchError> {
    let Value::Array(operations) = patch else {
        return Err(JsonPatchError::Malformed("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp".to_owned()));
    };
    let mut out = target;
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let op = text("op").unwrap_or_default();
        let path = text("path").ok_or_else(|| failed(format!("{op} operation: missing path")))?;
        let value = || {
            (operation.get("value").cloned()).ok_or_else(|| failed(format!("{op} operation: missing value")))
        };
        match op {
            "add" => add(&mut out, path, value()?)?,
            "remove" => {
                remove(&mut out, path)?;
            }
            "replace" => {
                if path.is_empty() {
                    out = value()?;
                } else {
                    // A missing key of an object counts as replaced, as that library has it.
                    let slot = find_mut(&mut out, path).ok_or_else(|| {
                        failed(format!(
                            "replace operation does not apply: doc is missing key: {path}: missing value"
                        ))
                    })?;
                    *slot = value()?;
                }
            }
            "move" | "copy" => {
                let from = text("from").ok_or_else(|| failed(format!("{op} operation: missing from")))?;
                let moved = if op == "move" {
                    remove(&mut out, from)?
                } else {
                    out.pointer(from).cloned().ok_or_else(|| {
                        failed(format!(
                            "copy operation does not apply: doc is missing from path: {from}: missing value"
                        ))
                    })?
                };
                add(&mut out, path, moved)?;
            }
            "test" => {
                // A missing key counts as null, but there has to be something that misses it.
                let holder = split(path).and_then(|(parent, _)| out.pointer(parent));
                if !path.is_empty() && !holder.is_some_and(|holder| holder.is_object() || holder.is_array()) {
                    return Err(failed(format!(
                        "test operation does not apply: is missing path: {path}: missing value"
                    )));
                }
                let found = out.pointer(path).unwrap_or(&Value::Null);
                if !same(found, operation.get("value").unwrap_or(&Value::Null)) {
                    return Err(failed(format!("testing value {path} failed: test failed")));
                }
            }
            other => return Err(failed(format!("Unexpected kind: {other}"))),
        }
    }
    Ok(out)
}

fn failed(message: String) -> JsonPatchError {
    JsonPatchError::Failed(message)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn find_mut<'a>(target: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => Some(map.entry(key).or_insert(Value::Null)),
        Value::Array(items) => {
            let index = index(&key, items.len())?;
            items.get_mut(index)
        }
        _ => None,
    }
}

/// Negative indices count from the end, as that library has it.
fn index(key: &str, length: usize) -> Option<usize> {
    match key.parse::<i64>().ok()? {
        n if n < 0 => usize::try_from(i64::try_from(length).ok()? + n).ok(),
        n => usize::try_from(n).ok(),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), JsonPatchError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let missing =
        || failed(format!("add operation does not apply: doc is missing path: \"{path}\": missing value"));
    let (parent, key) = split(path).ok_or_else(missing)?;
    match target.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(&key, items.len() + 1).filter(|at| *at <= items.len());
            let at = at.ok_or_else(|| failed(format!("add operation does not apply: doc is missing path: \"{path}\": Unable to access invalid index: {key}: invalid index referenced")))?;
            items.insert(at, value);
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, JsonPatchError> {
    let missing =
        || failed(format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"));
    let (parent, key) = split(path).ok_or_else(missing)?;
    match target.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => map.remove(&key).ok_or_else(|| {
            failed(format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            ))
        }),
        Value::Array(items) => {
            let at = index(&key, items.len()).filter(|at| *at < items.len());
            let at = at.ok_or_else(|| failed(format!("error in remove for path: '{path}': Unable to access invalid index: {key}: invalid index referenced")))?;
            Ok(items.remove(at))
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations() {
        for (target, patch, expected) in [
            (
                json!({"a": [1, 2]}),
                json!([{"op": "add", "path": "/a/1", "value": 9}]),
                Some(json!({"a": [1, 9, 2]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                Some(json!({"a": [1, 2]})),
            ),
            (
                json!({"a": {}}),
                json!([{"op": "add", "path": "/a/x~1y", "value": 2}]),
                Some(json!({"a": {"x/y": 2}})),
            ),
            (json!({"a": 1}), json!([{"op": "remove", "path": "/b"}]), None),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "/b", "value": 1}]),
                Some(json!({"a": 1, "b": 1})),
            ),
            (json!({"a": 1}), json!([{"op": "replace", "path": "/b/c", "value": 1}]), None),
            (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}]), None),
            (json!({"a": 1}), json!([{"op": "test", "path": "/b", "value": null}]), Some(json!({"a": 1}))),
            (json!({"a": 1}), json!([{"op": "test", "path": "/b/c", "value": null}]), None),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 1.0}, {"op": "move", "from": "/a", "path": "/b"}]),
                Some(json!({"b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                Some(json!({"a": 1, "b": 1})),
            ),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), Some(json!({"a": [1]}))),
            (json!({"a": 1}), json!({"op": "remove"}), None),
        ] {
            assert_eq!(apply(target.clone(), &patch).ok(), expected, "{target} with {patch}");
        }
    }
}
