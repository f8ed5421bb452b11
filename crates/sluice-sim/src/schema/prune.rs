//! Dropping what a schema does not know, and filling in what it gives by default.

use serde_json::Value;

use super::Structural;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields of an object; returns their paths, sorted.
pub fn prune(object: &mut Value, schema: &Structural) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(object, Some(schema), schema.preserve_unknown, true, &mut String::new(), &mut unknown);
    unknown.sort();
    unknown
}

/// `keep`: unknown fields stay here, but known ones below are pruned on.
fn walk(
    value: &mut Value,
    schema: Option<&Structural>,
    keep: bool,
    root: bool,
    path: &mut String,
    unknown: &mut Vec<String>,
) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            let embedded = root || schema.is_some_and(|schema| schema.embedded);
            map.retain(|key, entry| {
                if embedded && META.contains(&key.as_str()) {
                    return true;
                }
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let below =
                    schema.and_then(|schema| schema.properties.get(key).or(schema.additional.as_deref()));
                let known = match below {
                    Some(below) => {
                        walk(entry, Some(below), below.preserve_unknown, false, path, unknown);
                        true
                    }
                    None if keep => true,
                    None => {
                        unknown.push(path.clone());
                        false
                    }
                };
                path.truncate(length);
                known
            });
        }
        Value::Array(items) => {
            let below = schema.and_then(|schema| schema.items.as_deref());
            if below.is_none() && keep {
                return;
            }
            for (i, item) in items.iter_mut().enumerate() {
                path.extend(["[", &i.to_string(), "]"]);
                let keep = below.is_some_and(|below| below.preserve_unknown);
                walk(item, below, keep, false, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Removes nulls that are not allowed and have no default to replace them… where a default follows.
pub fn drop_nulls(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(map) => {
            map.retain(|key, entry| {
                let Some(below) = schema.properties.get(key).or(schema.additional.as_deref()) else {
                    return true;
                };
                if entry.is_null() && !below.nullable && below.default.is_none() {
                    return false;
                }
                drop_nulls(entry, below);
                true
            });
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for item in items {
                    drop_nulls(item, below);
                }
            }
        }
        _ => {}
    }
}

/// Fills in defaults.
pub fn default(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, below) in &schema.properties {
                let Some(default) = &below.default else { continue };
                let missing = map.get(key).is_none_or(|entry| entry.is_null() && !below.nullable);
                if missing {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, entry) in map.iter_mut() {
                if let Some(below) = schema.properties.get(key) {
                    default(entry, below);
                } else if let Some(below) = &schema.additional {
                    if entry.is_null()
                        && !below.nullable
                        && let Some(default) = &below.default
                    {
                        *entry = default.clone();
                    }
                    default(entry, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for item in items {
                    if item.is_null()
                        && !below.nullable
                        && let Some(default) = &below.default
                    {
                        *item = default.clone();
                    }
                    default(item, below);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Structural {
        let raw = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "n": {"type": "integer", "default": 3},
                "nothing": {"type": "string", "nullable": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"k": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "res": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
            }},
        }});
        Structural::read(&raw).0
    }

    #[test]
    fn unknown_fields_go() {
        let mut object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "extra": 1, "spec": {
            "n": 1, "foo": 1, "list": [{"a": "1", "b": 2}], "free": {"any": {"x": [1]}, "k": {"a": "", "b": 1}},
            "map": {"one": {"a": "", "z": 0}}, "res": {"apiVersion": "v1", "metadata": {"name": "y"}, "spec": {"p": 1}, "q": 1}}});
        let unknown = prune(&mut object, &schema());
        assert_eq!(
            unknown,
            [
                "extra",
                "spec.foo",
                "spec.free.k.b",
                "spec.list[0].b",
                "spec.map.one.z",
                "spec.res.q",
                "spec.res.spec.p"
            ]
        );
        assert_eq!(object["spec"]["free"], json!({"any": {"x": [1]}, "k": {"a": ""}}));
        assert_eq!(object["metadata"]["name"], "x");
    }

    #[test]
    fn defaults_and_nulls() {
        let mut object = json!({"spec": {"n": null, "nothing": null, "list": [{}], "map": null}});
        drop_nulls(&mut object, &schema());
        default(&mut object, &schema());
        assert_eq!(object, json!({"spec": {"n": 3, "nothing": null, "list": [{"a": "x"}]}}));
        let mut none = json!({});
        default(&mut none, &schema());
        assert_eq!(none, json!({}), "a default does not create its parents");
    }
}
