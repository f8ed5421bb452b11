//! Fields of objects whose shape nobody promised.
//!
//! What is absent or null counts as empty; what has another type is an error that names the field.

use serde_json::{Map, Value};

use crate::{ObjectRef, Objects, TrafficError};

/// The object that was asked for.
pub(crate) fn object<'a>(observed: &'a Objects, reference: &ObjectRef) -> Result<&'a Value, TrafficError> {
    let found = observed.get(reference).ok_or_else(|| TrafficError::not_found(reference))?;
    if !found.is_object() {
        return Err(TrafficError::unfit(reference, ".", "must be an object"));
    }
    Ok(found)
}

/// The list at this path.
pub(crate) fn list<'a>(
    object: &'a Value,
    reference: &ObjectRef,
    path: &str,
) -> Result<&'a [Value], TrafficError> {
    match object.pointer(&pointer(path)) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(TrafficError::unfit(reference, path, "must be a list")),
    }
}

/// Puts a list at this path, whose parent is there.
pub(crate) fn set_list(
    object: &mut Value,
    reference: &ObjectRef,
    path: &str,
    list: Vec<Value>,
) -> Result<(), TrafficError> {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = object.pointer_mut(&pointer(parent)).and_then(Value::as_object_mut);
    let parent = parent.ok_or_else(|| TrafficError::unfit(reference, path, "must be in an object"))?;
    parent.insert(field.into(), list.into());
    Ok(())
}

fn pointer(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("/{}", path.replace('.', "/")) }
}

/// A text field, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The value of an annotation.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Sets an annotation, or takes it away.
pub(crate) fn set_annotation(
    object: &mut Value,
    reference: &ObjectRef,
    key: &str,
    value: Option<String>,
) -> Result<(), TrafficError> {
    set_entry(object, reference, "annotations", key, value)
}

/// The value of a label.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// Sets a label, or takes it away.
pub(crate) fn set_label(
    object: &mut Value,
    reference: &ObjectRef,
    key: &str,
    value: Option<String>,
) -> Result<(), TrafficError> {
    set_entry(object, reference, "labels", key, value)
}

fn set_entry(
    object: &mut Value,
    reference: &ObjectRef,
    field: &str,
    key: &str,
    value: Option<String>,
) -> Result<(), TrafficError> {
    let Some(value) = value else {
        remove_entry(object, field, key);
        return Ok(());
    };
    let unfit = |field: String| TrafficError::unfit(reference, field, "must be an object");
    let object = object.as_object_mut().ok_or_else(|| unfit(".".into()))?;
    let metadata = filled(object, "metadata").ok_or_else(|| unfit("metadata".into()))?;
    let entries = filled(metadata, field).ok_or_else(|| unfit(format!("metadata.{field}")))?;
    entries.insert(key.into(), value.into());
    Ok(())
}

fn remove_entry(object: &mut Value, field: &str, key: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(entries) = metadata.get_mut(field).and_then(Value::as_object_mut) else { return };
    // An empty map is not stored by an API server, so it would be a difference for ever.
    if entries.remove(key).is_some() && entries.is_empty() {
        metadata.remove(field);
    }
}

/// The object in this field, made if it is absent or null.
pub(crate) fn filled<'a>(
    parent: &'a mut Map<String, Value>,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    let value = parent.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectKind;
    use serde_json::json;

    const KIND: ObjectKind = ObjectKind { group: "", versions: &["v1"], kind: "Thing", plural: "things" };

    fn reference() -> ObjectRef {
        ObjectRef { kind: KIND, namespace: "prod".into(), name: "web".into() }
    }

    #[test]
    fn lists_of_any_shape() {
        for (object, expected) in [
            (json!({"spec": {"http": [1]}}), Ok(1)),
            (json!({"spec": {"http": null}}), Ok(0)),
            (json!({"spec": 3}), Ok(0)),
            (json!({}), Ok(0)),
            (json!({"spec": {"http": {}}}), Err("Thing prod/web: spec.http: must be a list".to_owned())),
        ] {
            let found = list(&object, &reference(), "spec.http").map(<[Value]>::len);
            assert_eq!(found.map_err(|error| error.to_string()), expected, "{object}");
        }
    }

    #[test]
    fn annotations_come_and_go_without_a_trace() {
        for before in
            [json!({}), json!({"metadata": {}}), json!({"metadata": {"annotations": {"other": "x"}}})]
        {
            let mut object = before.clone();
            set_annotation(&mut object, &reference(), "key", Some("value".into())).unwrap();
            assert_eq!(annotation(&object, "key"), Some("value"));
            set_annotation(&mut object, &reference(), "key", None).unwrap();
            let mut expected = before.clone();
            expected.as_object_mut().unwrap().entry("metadata").or_insert(json!({}));
            assert_eq!(object, expected);
        }
        let error = set_annotation(
            &mut json!({"metadata": {"annotations": []}}),
            &reference(),
            "key",
            Some(String::new()),
        );
        assert_eq!(error.unwrap_err().to_string(), "Thing prod/web: metadata.annotations: must be an object");
    }
}
