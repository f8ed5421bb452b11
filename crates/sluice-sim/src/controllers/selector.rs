//! Whether labels match a selector.
//!
//! Knows `matchLabels`, `matchExpressions` and the plain maps of Services. Does not decide what an absent
//! selector means: it matches nothing here, and callers for which an empty one means "all" or "none" say so.

use serde_json::{Map, Value};

use super::object::{items, text};

/// Returns whether a selector of the `LabelSelector` type says nothing at all.
pub(super) fn is_empty(selector: &Value) -> bool {
    let no_labels = selector.get("matchLabels").and_then(Value::as_object).is_none_or(Map::is_empty);
    no_labels && items(selector, "/matchExpressions").is_empty()
}

/// Returns whether the labels match a selector of the `LabelSelector` type. An empty one matches
/// everything; one with an operator that does not exist matches nothing.
pub(super) fn matches(selector: &Value, labels: Option<&Map<String, Value>>) -> bool {
    if !selector.is_object() {
        return false;
    }
    let plain = selector.get("matchLabels").and_then(Value::as_object);
    plain.is_none_or(|wanted| matches_map(wanted, labels))
        && items(selector, "/matchExpressions").iter().all(|one| matches_expression(one, labels))
}

/// Returns whether the labels hold all of `wanted`.
pub(super) fn matches_map(wanted: &Map<String, Value>, labels: Option<&Map<String, Value>>) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
}

/// Returns whether what an object makes of its template is its own by its selector. Where it is not, making
/// more of it would never end.
pub(super) fn fits_template(object: &Value) -> bool {
    let template_labels = super::object::at(object, "/spec/template").and_then(super::object::labels);
    super::object::at(object, "/spec/selector")
        .is_some_and(|found| !is_empty(found) && matches(found, template_labels))
}

fn matches_expression(expression: &Value, labels: Option<&Map<String, Value>>) -> bool {
    let Some(key) = text(expression, "/key") else { return false };
    let found = labels.and_then(|all| all.get(key));
    let listed = found.is_some_and(|value| items(expression, "/values").contains(value));
    match text(expression, "/operator") {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("Exists") => found.is_some(),
        Some("DoesNotExist") => found.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, expected) in [
            (json!({}), true),
            (json!(null), false),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "x": "y"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "web"]}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), false),
            (json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Like"}]}), false),
        ] {
            assert_eq!(matches(&selector, labels.as_object()), expected, "{selector}");
        }
    }
}
