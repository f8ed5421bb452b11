//! JSON merge patch, RFC 7386, with the ways of the library that API servers use.

use serde_json::Value;

/// Merges `patch` into `target`; null removes.
pub fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(map), Value::Object(patch)) = (&mut *target, patch) else {
        // What comes in the place of an object stays as it is.
        *target = if target.is_object() { patch.clone() } else { without_nulls(patch) };
        return;
    };
    for (key, value) in patch {
        match map.get_mut(key) {
            _ if value.is_null() => drop(map.remove(key)),
            Some(slot) if !slot.is_null() => merge(slot, value),
            _ => drop(map.insert(key.clone(), without_nulls(value))),
        }
    }
}

/// A value without nulls in its objects, those in lists included.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, entry)| !entry.is_null());
            entries.map(|(key, entry)| (key.clone(), without_nulls(entry))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cases_of_the_rfc() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a"]), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": [{"b": null}, null]}), json!({"a": [{}, null]})),
            (json!({"a": [1]}), json!({"a": [{"b": null}]}), json!({"a": [{}]})),
            (json!({"a": {"c": 1}}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]})),
        ] {
            let mut got = target.clone();
            merge(&mut got, &patch);
            assert_eq!(got, expected, "{target} with {patch}");
        }
    }
}
