//! Whether an object satisfies its schema, with the complaints of a real API server.
//!
//! An update may keep what was wrong before: a value that did not change is not complained about.

use serde_json::Value;

use super::Structural;
use crate::{
    status::{Problem, quoted},
    typed::ListKind,
};

/// All problems of `value`, which stands at `path`; `old` is what stood there before.
pub fn validate(value: &Value, old: Option<&Value>, schema: &Structural, path: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    check(value, old, schema, path, &mut out);
    lists(value, schema, path, &mut out);
    out
}

/// Rules are not looked at while the object has mistakes of certain kinds; this is what is said then.
pub fn unchecked_rules(schema: &Structural, problems: &[Problem]) -> Option<Problem> {
    let blocking = [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ];
    if !schema.has_any_rules || !problems.iter().any(|problem| blocking.contains(&problem.reason)) {
        return None;
    }
    let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    Some(Problem::invalid("<nil>", &Value::Null, detail))
}

/// Problems of the change from `old` to `value`.
pub fn transitions(value: &Value, old: &Value, schema: &Structural) -> Vec<Problem> {
    let mut out = Vec::new();
    rules(value, Some(old), schema, "", &mut out);
    out
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f.fract() == 0.0) => {
            "integer"
        }
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(value: &Value, old: Option<&Value>, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    if old == Some(value) {
        return;
    }
    let shown_path = if path.is_empty() { "<nil>" } else { path };
    if value.is_null() {
        if schema.nullable || schema.ty.is_empty() {
            return;
        }
        let expected = wanted(schema);
        out.push(Problem::wrong_type(
            shown_path,
            "null",
            &format!("{path} in body must be of type {expected}: \"null\""),
        ));
        return;
    }
    let found = type_name(value);
    let is_time = schema.format == "date-time";
    if is_time && value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_err()) {
        let shown = match value {
            Value::String(text) => text.as_str(),
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_i64() => "int64",
            Value::Number(_) => "float64",
            _ => found,
        };
        let detail = format!("{path} in body must be of type date-time: {}", quoted(shown));
        out.push(Problem::wrong_type(shown_path, shown, &detail));
        return;
    }
    let fits = if schema.int_or_string {
        matches!(found, "integer" | "string")
    } else {
        schema.ty.is_empty() || schema.ty == found || (schema.ty == "number" && found == "integer")
    };
    if !fits {
        // A fraction is judged by the format.
        let is_fraction = schema.ty == "integer" && found == "number";
        let is_int32 = is_fraction && schema.format == "int32";
        let (found, wanted) = if is_int32 { ("float64", "int32") } else { (found, wanted(schema)) };
        let detail = format!("{path} in body must be of type {wanted}: {}", quoted(found));
        out.push(Problem::wrong_type(shown_path, found, &detail));
        if is_fraction {
            let format = if is_int32 { "with format int32" } else { "(default format)" };
            let detail = format!("Checked value must be of type integer {format} in {path}");
            out.push(Problem::invalid("<nil>", &Value::from(""), &detail));
        }
    }
    if let Some(allowed) = &schema.allowed
        && !allowed.contains(value)
    {
        let names: Vec<_> =
            allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        out.push(Problem::unsupported(shown_path, value, &names));
    }
    if !fits {
        return;
    }
    combined(value, schema, path, out);
    match value {
        Value::Number(_) => numbers(value, schema, path, out),
        Value::String(text) => strings(text, schema, path, out),
        Value::Array(items) => {
            let bounds = &schema.bounds;
            if let Some(least) = bounds.min_items.filter(|least| (items.len() as u64) < *least) {
                let detail = format!("{path} in body should have at least {least} items");
                out.push(Problem::invalid(path, &Value::from(items.len()), &detail));
            }
            if let Some(most) = bounds.max_items.filter(|most| items.len() as u64 > *most) {
                out.push(Problem::too_many(path, items.len(), most));
            }
            if bounds.unique_items && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
                out.push(Problem::invalid(
                    path,
                    &Value::from(""),
                    &format!("{path} in body shouldn't contain duplicates"),
                ));
            }
            if let Some(below) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    let before = matching(old, schema, i, item);
                    if before != Some(item) {
                        check(item, before, below, &format!("{path}[{i}]"), out);
                    }
                }
            }
        }
        Value::Object(map) => {
            let count = map.len() as u64;
            if let Some(least) = schema.bounds.min_properties.filter(|least| count < *least) {
                let detail = format!("{path} in body should have at least {least} properties");
                out.push(Problem::invalid(path, &Value::from(map.len()), &detail));
            }
            if let Some(most) = schema.bounds.max_properties.filter(|most| count > *most) {
                out.push(Problem::too_many(path, map.len(), most));
            }
            for key in &schema.required {
                if !map.contains_key(key) {
                    out.push(Problem::required(&child(path, key), ""));
                }
            }
            for (key, entry) in map {
                let before = old.and_then(|old| old.get(key));
                if before != Some(entry)
                    && let Some(below) = schema.properties.get(key).or(schema.additional.as_deref())
                {
                    check(entry, before, below, &child(path, key), out);
                }
            }
            if schema.embedded {
                embedded(map, path, out);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn embedded(map: &serde_json::Map<String, Value>, path: &str, out: &mut Vec<Problem>) {
    for key in ["apiVersion", "kind"] {
        if map.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
            out.push(Problem::required(&child(path, key), "must not be empty"));
        }
    }
}

/// The item that this one corresponds to in the old list; only keyed lists have such.
fn matching<'a>(
    old: Option<&'a Value>,
    schema: &Structural,
    _index: usize,
    item: &Value,
) -> Option<&'a Value> {
    let items = old?.as_array()?;
    match &schema.list {
        Some(ListKind::Map(keys)) => {
            items.iter().find(|one| keys.iter().all(|key| one.get(key) == item.get(key)))
        }
        _ => None,
    }
}

fn wanted(schema: &Structural) -> &str {
    if schema.int_or_string { "integer,string" } else { &schema.ty }
}

fn combined(value: &Value, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    let problems_of = |one: &Structural| {
        let mut list = Vec::new();
        check(value, None, one, path, &mut list);
        list
    };
    let complain = |out: &mut Vec<Problem>, detail: String| {
        out.push(Problem {
            reason: "FieldValueInvalid",
            field: "<nil>".to_owned(),
            body: format!("Invalid value: \"\": {detail}"),
        });
    };
    if !schema.any_of.is_empty() {
        let mut lists: Vec<_> = schema.any_of.iter().map(problems_of).collect();
        if lists.iter().all(|list| !list.is_empty()) {
            complain(out, format!("{} must validate at least one schema (anyOf)", quoted(path)));
            out.append(&mut lists[0]);
        }
    }
    if !schema.one_of.is_empty() {
        let mut lists: Vec<_> = schema.one_of.iter().map(problems_of).collect();
        let valid = lists.iter().filter(|list| list.is_empty()).count();
        if valid == 0 {
            complain(
                out,
                format!("{} must validate one and only one schema (oneOf). Found none valid", quoted(path)),
            );
            out.append(&mut lists[0]);
        } else if valid > 1 {
            complain(
                out,
                format!(
                    "{} must validate one and only one schema (oneOf). Found {valid} valid alternatives",
                    quoted(path)
                ),
            );
        }
    }
    if !schema.all_of.is_empty() {
        let lists: Vec<_> = schema.all_of.iter().map(problems_of).collect();
        let valid = lists.iter().filter(|list| list.is_empty()).count();
        if valid != lists.len() {
            let tail = if valid == 0 { ". None validated" } else { "" };
            complain(out, format!("{} must validate all the schemas (allOf){tail}", quoted(path)));
            out.extend(lists.into_iter().flatten());
        }
    }
    if let Some(not) = &schema.not
        && problems_of(not).is_empty()
    {
        complain(out, format!("{} must not validate the schema (not)", quoted(path)));
    }
}

fn numbers(value: &Value, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    if schema.format == "int32" && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
        let detail = format!("Checked value must be of type integer with format int32 in {path}");
        out.push(Problem::invalid("<nil>", &Value::from(""), &detail));
    }
    let n = value.as_f64().unwrap_or_default();
    let bounds = &schema.bounds;
    let mut complain =
        |detail: String| out.push(Problem::invalid(path, value, &format!("{path} in body {detail}")));
    if let Some((least, exclusive)) = bounds.minimum {
        if exclusive && n <= least {
            complain(format!("should be greater than {least}"));
        } else if n < least {
            complain(format!("should be greater than or equal to {least}"));
        }
    }
    if let Some((most, exclusive)) = bounds.maximum {
        if exclusive && n >= most {
            complain(format!("should be less than {most}"));
        } else if n > most {
            complain(format!("should be less than or equal to {most}"));
        }
    }
    if let Some(factor) = bounds.multiple_of
        && factor > 0.0
        && (n / factor).fract().abs() > 1e-9
    {
        complain(format!("should be a multiple of {factor}"));
    }
}

fn strings(text: &str, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    let bounds = &schema.bounds;
    let length = text.chars().count() as u64;
    if let Some(most) = bounds.max_length.filter(|most| length > *most) {
        out.push(Problem::too_long(path, &format!("may not be more than {most} bytes")));
        return;
    }
    if let Some(least) = bounds.min_length.filter(|least| length < *least) {
        let detail = format!("{path} in body should be at least {least} chars long");
        out.push(Problem::invalid(path, &Value::from(text), &detail));
        return;
    }
    if let Some((pattern, Some(regex))) = &bounds.pattern
        && !regex.is_match(text)
    {
        let detail = format!("{path} in body should match '{pattern}'");
        out.push(Problem::invalid(path, &Value::from(text), &detail));
    }
}

/// Transition rules look at every place that has an old value, changed or not.
fn rules(value: &Value, old: Option<&Value>, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    let Some(old) = old.filter(|_| schema.has_rules) else { return };
    if let Some(message) = &schema.immutable
        && old != value
    {
        let mut problem = Problem::invalid(path, value, message);
        // Objects and lists are not shown.
        if value.is_object() || value.is_array() {
            problem.body = format!("Invalid value: {message}");
        }
        out.push(problem);
    }
    match value {
        Value::Object(map) => {
            for (key, entry) in map {
                if let Some(below) = schema.properties.get(key).or(schema.additional.as_deref()) {
                    rules(entry, old.get(key), below, &child(path, key), out);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    rules(item, matching(Some(old), schema, i, item), below, &format!("{path}[{i}]"), out);
                }
            }
        }
        _ => {}
    }
}

fn lists(value: &Value, schema: &Structural, path: &str, out: &mut Vec<Problem>) {
    if !schema.has_unique_lists {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, entry) in map {
                if let Some(below) = schema.properties.get(key).or(schema.additional.as_deref()) {
                    lists(entry, below, &child(path, key), out);
                }
            }
        }
        Value::Array(items) => {
            let identity = |item: &Value| match &schema.list {
                Some(ListKind::Set) => Some(item.clone()),
                Some(ListKind::Map(keys)) => Some(Value::Object(
                    keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect(),
                )),
                Some(ListKind::Atomic) | None => None,
            };
            let ids: Vec<_> = items.iter().map(identity).collect();
            for (i, id) in ids.iter().enumerate() {
                if let Some(id) = id
                    && ids[..i].iter().filter(|one| one.as_ref() == Some(id)).count() == 1
                {
                    out.push(Problem::duplicate(&format!("{path}[{i}]"), id));
                }
            }
            if let Some(below) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    lists(item, below, &format!("{path}[{i}]"), out);
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
        let raw = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "n": {"type": "integer", "minimum": 1, "maximum": 9},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is fixed"}, {"rule": "size(self) > 1"}]},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 3},
        }}}});
        let (schema, ignored) = Structural::read(&raw);
        assert_eq!(ignored, 1, "one rule is not understood");
        schema
    }

    #[test]
    fn complaints() {
        let text = |problem: &Problem| format!("{}: {}", problem.field, problem.body);
        for (spec, expected) in [
            (json!({"name": "abc", "n": 3, "mode": "a", "size": "1%", "tags": ["x"]}), vec![]),
            (json!({}), vec!["spec.name: Required value"]),
            (
                json!({"name": "A"}),
                vec!["spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"],
            ),
            (json!({"name": "abcdef"}), vec!["spec.name: Too long: may not be more than 5 bytes"]),
            (
                json!({"name": 1}),
                vec![
                    "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
                ],
            ),
            (
                json!({"name": null}),
                vec![
                    "spec.name: Invalid value: \"null\": spec.name in body must be of type string: \"null\"",
                ],
            ),
            (
                json!({"name": "a", "n": 0}),
                vec!["spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"],
            ),
            (
                json!({"name": "a", "n": 10}),
                vec!["spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9"],
            ),
            (
                json!({"name": "a", "n": 1.5}),
                vec![
                    "spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\"",
                    "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.n",
                ],
            ),
            (
                json!({"name": "a", "mode": "c"}),
                vec!["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""],
            ),
            (
                json!({"name": "a", "size": true}),
                vec![
                    "spec.size: Invalid value: \"boolean\": spec.size in body must be of type integer,string: \"boolean\"",
                ],
            ),
            (json!({"name": "a", "tags": ["x", "x"]}), vec!["spec.tags[1]: Duplicate value: \"x\""]),
            (
                json!({"name": "a", "tags": ["x", "y", "z", "w"]}),
                vec!["spec.tags: Too many: 4: must have at most 3 items"],
            ),
        ] {
            let got: Vec<_> =
                validate(&json!({"spec": spec}), None, &schema(), "").iter().map(text).collect();
            assert_eq!(got, expected, "{spec}");
        }
    }

    #[test]
    fn updates_may_keep_what_was_wrong_but_not_change_what_is_fixed() {
        let old = json!({"spec": {"name": "A", "fixed": "x"}});
        assert_eq!(
            validate(&json!({"spec": {"name": "A", "fixed": "x", "n": 2}}), Some(&old), &schema(), ""),
            []
        );
        let changed = transitions(&json!({"spec": {"name": "A", "fixed": "y"}}), &old, &schema());
        assert_eq!(changed, [Problem::invalid("spec.fixed", &json!("y"), "is fixed")]);
    }
}
