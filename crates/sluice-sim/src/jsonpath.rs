//! JSONPath of the simple kind that printer columns use.

use serde_json::Value;

/// The first value at a JSONPath of the simple kind that printer columns use.
pub fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut value = object;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let end = closing(tail)?;
            let inside = &tail[..end];
            rest = &tail[end + 1..];
            value = step_into(value, inside)?;
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = name(tail);
            rest = after;
            value = if name == "*" { first(value)? } else { value.get(&name)? };
        }
    }
    Some(value)
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ']') => return Some(i),
            _ => {}
        }
    }
    None
}

fn name(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (out, &text[i..]),
            c => out.push(c),
        }
    }
    (out, "")
}

fn first(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(items) => items.first(),
        Value::Object(map) => map.values().next(),
        _ => None,
    }
}

fn step_into<'a>(value: &'a Value, inside: &str) -> Option<&'a Value> {
    let inside = inside.trim();
    if inside == "*" {
        return first(value);
    }
    if let Some(condition) = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (equal, (left, right)) = match condition.split_once("==") {
            Some(sides) => (true, sides),
            None => (false, condition.split_once("!=")?),
        };
        let path = left.trim().strip_prefix('@')?;
        let wanted = right.trim().trim_matches(['"', '\'']);
        return value.as_array()?.iter().find(|item| {
            let found = find(item, path);
            let text = found.map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
            text.is_some_and(|text| (text == wanted) == equal)
        });
    }
    if let Ok(index) = inside.parse::<i64>() {
        let items = value.as_array()?;
        let index = if index < 0 {
            usize::try_from(i64::try_from(items.len()).ok()? + index).ok()?
        } else {
            usize::try_from(index).ok()?
        };
        return items.get(index);
    }
    value.get(inside.trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn simple_paths() {
        let object = json!({"spec": {"replicas": 2, "list": [{"n": 1}, {"n": 2}]}, "metadata": {"annotations": {"a.b/c": "x"}}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        for (path, expected) in [
            (".spec.replicas", Some(json!(2))),
            ("{.spec.replicas}", Some(json!(2))),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".metadata.annotations['a.b/c']", Some(json!("x"))),
            (".spec.list[1].n", Some(json!(2))),
            (".spec.list[-1].n", Some(json!(2))),
            (".spec.list[*].n", Some(json!(1))),
            (".status.conditions[?(@.type==\"Ready\")].status", Some(json!("True"))),
            (".status.conditions[?(@.type==\"Other\")].status", None),
            (".spec.none", None),
        ] {
            assert_eq!(find(&object, path).cloned(), expected, "{path}");
        }
    }
}
