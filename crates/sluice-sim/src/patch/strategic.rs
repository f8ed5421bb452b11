//! Strategic merge patch: lists of built-in kinds merge by their keys.
//!
//! Directives handled: `$patch` (replace, delete, merge), `$deleteFromPrimitiveList/…`,
//! `$setElementOrder/…` and `$retainKeys`. Which list merges by which key is read from the type.

use serde_json::{Map, Value};

use crate::typed::{Shape, Type};

const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `original`.
pub fn merge(original: Value, patch: &Value, ty: &Type) -> Result<Value, String> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else { return Ok(patch.clone()) };
    Ok(Value::Object(merge_map(original, patch, ty)?))
}

fn merge_map(
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    ty: &Type,
) -> Result<Map<String, Value>, String> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut out = patch.clone();
            out.remove("$patch");
            return Ok(out);
        }
        Some("delete") => return Ok(Map::new()),
        Some("merge") | None => {}
        Some(other) => return Err(format!("invalid type patch directive found: {other}")),
    }
    if let Some(Value::Array(retain)) = patch.get("$retainKeys") {
        original.retain(|key, _| retain.iter().any(|one| one.as_str() == Some(key)));
    }
    for (key, order) in patch.iter().filter_map(|(key, value)| Some((key.strip_prefix(ORDER)?, value))) {
        let Some(Value::Array(before)) = original.get(key).cloned() else { continue };
        let Some(merge_key) = merge_key(ty, key) else { continue };
        let item = item_type(ty, key);
        let merged = match patch.get(key) {
            Some(Value::Array(items)) => merge_list(&before, items, &item, &merge_key)?,
            _ => before.clone(),
        };
        let deleted: Vec<Value> = match patch.get(&format!("{DELETE_PRIMITIVES}{key}")) {
            Some(Value::Array(deleted)) => deleted.clone(),
            _ => Vec::new(),
        };
        let merged: Vec<Value> = merged.into_iter().filter(|item| !deleted.contains(item)).collect();
        let Value::Array(order) = order else { continue };
        original.insert(key.to_owned(), Value::Array(in_order(merged, order, &before, &merge_key)));
    }
    for (key, value) in patch {
        if key == "$patch" || key == "$retainKeys" || key.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES) {
            if patch.contains_key(&format!("{ORDER}{list}")) {
                continue;
            }
            if let (Some(Value::Array(items)), Value::Array(deleted)) = (original.get_mut(list), value) {
                items.retain(|item| !deleted.contains(item));
            }
            continue;
        }
        let ordered = patch.contains_key(&format!("{ORDER}{key}"));
        match (original.get_mut(key), value) {
            (_, Value::Null) => {
                original.remove(key);
            }
            (Some(Value::Object(before)), Value::Object(change)) => {
                let entry = ty.entry(key).cloned().unwrap_or_else(Type::any);
                let merged = merge_map(std::mem::take(before), change, &entry)?;
                original.insert(key.clone(), Value::Object(merged));
            }
            (Some(Value::Array(before)), Value::Array(items)) if merge_key(ty, key).is_some() => {
                if !ordered {
                    let merge_key = merge_key(ty, key).unwrap_or_default();
                    let merged = merge_list(before, items, &item_type(ty, key), &merge_key)?;
                    original.insert(key.clone(), Value::Array(merged));
                }
            }
            (Some(Value::Array(_)), Value::Array(_)) => {
                original.insert(key.clone(), value.clone());
            }
            _ => match without_directives(value) {
                Some(value) => drop(original.insert(key.clone(), value)),
                None => drop(original.remove(key)),
            },
        }
    }
    Ok(original)
}

/// What a patch adds where there was nothing of its type. A directive says what to do with what is there,
/// so that a value with one adds nothing at all.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key("$patch") => None,
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, entry)| !entry.is_null());
            Some(entries.filter_map(|(key, entry)| Some((key.clone(), without_directives(entry)?))).collect())
        }
        Value::Array(items) => Some(items.iter().filter_map(without_directives).collect()),
        other => Some(other.clone()),
    }
}

/// `None`: the list is replaced; empty: it is a set of plain values.
fn merge_key(ty: &Type, key: &str) -> Option<String> {
    let Shape::Struct { fields, .. } = &ty.shape else { return None };
    fields.get(key)?.merge_key.clone()
}

fn item_type(ty: &Type, key: &str) -> std::sync::Arc<Type> {
    match ty.entry(key).map(|list| &list.shape) {
        Some(Shape::List { item, .. }) => item.clone(),
        _ => Type::any(),
    }
}

fn identity<'a>(item: &'a Value, merge_key: &str) -> Option<&'a Value> {
    if merge_key.is_empty() { Some(item) } else { item.get(merge_key) }
}

fn merge_list(
    original: &[Value],
    patch: &[Value],
    item: &Type,
    merge_key: &str,
) -> Result<Vec<Value>, String> {
    let mut out: Vec<Value> = original.to_vec();
    let mut given: Vec<Value> = Vec::new();
    let mut replace = false;
    for change in patch {
        match change.get("$patch").and_then(Value::as_str) {
            Some("delete") => {
                let gone = identity(change, merge_key)
                    .ok_or_else(|| format!("delete patch type with no merge key defined: {change}"))?;
                out.retain(|one| identity(one, merge_key) != Some(gone));
            }
            Some("replace") => replace = true,
            _ => given.push(change.clone()),
        }
    }
    if replace {
        return Ok(given);
    }
    for change in &given {
        let id = identity(change, merge_key)
            .ok_or_else(|| format!("map: {change} does not contain declared merge key: {merge_key}"))?
            .clone();
        match out.iter_mut().find(|one| identity(one, merge_key) == Some(&id)) {
            Some(_) if merge_key.is_empty() => {}
            Some(found) => *found = merge(found.take(), change, item)?,
            // Directives in what is new are unknown fields of it.
            None => out.push(change.clone()),
        }
    }
    Ok(in_order(out, &given, original, merge_key))
}

/// Brings the items that `order` names into its order and weaves the others in where they were.
fn in_order(items: Vec<Value>, order: &[Value], original: &[Value], merge_key: &str) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| {
        let id = identity(item, merge_key);
        list.iter().position(|one| identity(one, merge_key) == id)
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(original, item));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut out = Vec::new();
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some(other), Some(one)) => match (place(original, other), place(original, one)) {
                (Some(other), Some(one)) => other < one,
                _ => false,
            },
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if other_first { others.next() } else { named.next() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::types;

    #[test]
    fn lists_merge_by_key() {
        let ty = types::find("core.v1.PodSpec").expect("pod spec");
        for (original, patch, expected) in [
            (
                json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}),
                json!({"containers": [{"name": "b", "image": "y"}]}),
                json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}),
            ),
            (
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                json!({"containers": [{"name": "a", "$patch": "delete"}]}),
                json!({"containers": [{"name": "b"}]}),
            ),
            (
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
                json!({"containers": [{"name": "c"}]}),
            ),
            (
                json!({"containers": [{"name": "a", "args": ["1", "2"]}]}),
                json!({"containers": [{"name": "a", "args": ["3"]}]}),
                json!({"containers": [{"name": "a", "args": ["3"]}]}),
            ),
            (
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "y"}]}),
                json!({"containers": [{"name": "b", "image": "y"}, {"name": "a"}]}),
            ),
            (
                json!({"nodeSelector": {"a": "1", "b": "2"}}),
                json!({"nodeSelector": {"a": null}}),
                json!({"nodeSelector": {"b": "2"}}),
            ),
            (
                json!({"nodeSelector": {"a": "1"}}),
                json!({"nodeSelector": {"$patch": "replace", "c": "3"}}),
                json!({"nodeSelector": {"c": "3"}}),
            ),
            (
                json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
                json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
                json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
            ),
        ] {
            assert_eq!(merge(original.clone(), &patch, &ty), Ok(expected), "{original} with {patch}");
        }
    }

    #[test]
    fn a_directive_about_nothing_adds_nothing() {
        let ty = types::find("core.v1.PodSpec").expect("pod spec");
        for (original, patch, expected) in [
            (json!({}), json!({"nodeSelector": {"$patch": "replace", "a": "1"}}), json!({})),
            (
                json!({}),
                json!({"containers": [{"name": "a"}, {"name": "b", "$patch": "delete"}]}),
                json!({"containers": [{"name": "a"}]}),
            ),
            (
                json!({"containers": [{"name": "a"}]}),
                json!({"containers": [{"name": "b", "env": [{"name": "E", "$patch": "delete"}]}]}),
                json!({"containers": [{"name": "b", "env": [{"name": "E", "$patch": "delete"}]}, {"name": "a"}]}),
            ),
            (json!({}), json!({"securityContext": {"runAsUser": null}}), json!({"securityContext": {}})),
        ] {
            assert_eq!(merge(original.clone(), &patch, &ty), Ok(expected), "{original} with {patch}");
        }
    }

    #[test]
    fn finalizers_are_a_set() {
        let ty = types::find("meta.v1.ObjectMeta").expect("metadata");
        let original = json!({"finalizers": ["a", "b"]});
        let added = merge(original.clone(), &json!({"finalizers": ["c", "a"]}), &ty).expect("merges");
        let mut list = added["finalizers"].as_array().expect("list").clone();
        list.sort_by_key(ToString::to_string);
        assert_eq!(list, [json!("a"), json!("b"), json!("c")]);
        let removed = merge(original.clone(), &json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), &ty)
            .expect("merges");
        assert_eq!(removed, json!({"finalizers": ["b"]}));
        let ordered =
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]});
        assert_eq!(merge(original.clone(), &ordered, &ty), Ok(json!({"finalizers": ["b"]})));
    }
}
