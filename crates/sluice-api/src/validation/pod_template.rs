//! Whether a pod template can become pods that belong to the Rollout.
//!
//! It decides what can be told from the template's JSON without knowing every field of it: labels,
//! containers, names, quantities, ports and mounts. The API server decides the rest when a pod is made.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::selector::{is_dns_label, key_mistake, validate_label};
use super::{Errors, FieldError, FieldErrorKind, json};
use crate::meta::{LabelSelector, RawObject};
use crate::quantity::Quantity;

const DNS_LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const PORT_MESSAGE: &str = "must be between 1 and 65535, inclusive";

/// Returns what is wrong with a pod template that stands at `path`.
pub fn validate_pod_template(
    template: &RawObject,
    selector: Option<&LabelSelector>,
    path: &str,
) -> Vec<FieldError> {
    let mut errors = Errors::default();
    validate(template, selector, path, &mut errors);
    errors.0
}

pub(super) fn validate(
    template: &RawObject,
    selector: Option<&LabelSelector>,
    path: &str,
    errors: &mut Errors,
) {
    let labels = template.labels();
    if selector.is_some_and(|selector| !selector.is_empty() && !selector.matches(&labels)) {
        let message = "`selector` does not match template `labels`";
        errors.invalid(format!("{path}.metadata.labels"), json(&labels), message);
    }
    validate_metadata(template, path, errors);
    match template.0.get("spec") {
        Some(Value::Object(spec)) => validate_spec(spec, &format!("{path}.spec"), errors),
        None | Some(Value::Null) => errors.required(format!("{path}.spec.containers"), ""),
        Some(other) => errors.invalid(format!("{path}.spec"), other.clone(), "must be an object"),
    }
}

fn validate_metadata(template: &RawObject, path: &str, errors: &mut Errors) {
    let path = format!("{path}.metadata");
    for part in ["labels", "annotations"] {
        let path = format!("{path}.{part}");
        let map = match template.at(&["metadata", part]) {
            Some(Value::Object(map)) => map,
            None | Some(Value::Null) => continue,
            Some(other) => {
                errors.invalid(path, other.clone(), "must be an object");
                continue;
            }
        };
        for (key, value) in map {
            match value.as_str() {
                Some(value) if part == "labels" => validate_label(key, value, &path, errors),
                Some(_) => {
                    if let Some(message) = key_mistake(&key.to_lowercase()) {
                        errors.invalid(path.as_str(), key.as_str(), message);
                    }
                }
                None => errors.invalid(format!("{path}[{key}]"), value.clone(), "must be a string"),
            }
        }
    }
}

fn validate_spec(spec: &Map<String, Value>, path: &str, errors: &mut Errors) {
    let volumes = validate_volumes(spec, path, errors);
    let mut names = BTreeSet::new();
    let containers = list(spec, "containers", path, errors);
    if containers.is_empty() && spec.get("containers").is_none_or(|value| value.is_null() || value.is_array())
    {
        errors.required(format!("{path}.containers"), "");
    }
    let groups = [("containers", containers), ("initContainers", list(spec, "initContainers", path, errors))];
    for (group, containers) in groups {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("{path}.{group}[{index}]");
            match container.as_object() {
                Some(container) => validate_container(container, &mut names, &volumes, &path, errors),
                None => errors.invalid(path, container.clone(), "must be an object"),
            }
            if errors.is_full() {
                return;
            }
        }
    }
    match spec.get("restartPolicy") {
        None | Some(Value::Null) => {}
        Some(Value::String(policy)) if policy == "Always" => {}
        Some(other) => {
            let kind = FieldErrorKind::Unsupported { value: other.clone() };
            errors.add(format!("{path}.restartPolicy"), kind, r#"supported values: "Always""#);
        }
    }
    if spec.get("activeDeadlineSeconds").is_some_and(|value| !value.is_null()) {
        let message = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.add(format!("{path}.activeDeadlineSeconds"), FieldErrorKind::Forbidden, message);
    }
}

/// Returns the names of all volumes.
fn validate_volumes(spec: &Map<String, Value>, path: &str, errors: &mut Errors) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, volume) in list(spec, "volumes", path, errors).iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        let name_path = format!("{path}.name");
        match volume["name"].as_str() {
            None | Some("") => errors.required(name_path, ""),
            Some(name) if !is_dns_label(name) => errors.invalid(name_path, name, DNS_LABEL_MESSAGE),
            Some(name) => {
                if !names.insert(name.to_owned()) {
                    errors.duplicate(name_path, name);
                }
            }
        }
        validate_quantity(&volume["emptyDir"]["sizeLimit"], &format!("{path}.emptyDir.sizeLimit"), errors);
    }
    names
}

fn validate_container(
    container: &Map<String, Value>,
    names: &mut BTreeSet<String>,
    volumes: &BTreeSet<String>,
    path: &str,
    errors: &mut Errors,
) {
    let name_path = format!("{path}.name");
    match container.get("name").and_then(Value::as_str) {
        None | Some("") => errors.required(name_path, ""),
        Some(name) if !is_dns_label(name) => errors.invalid(name_path, name, DNS_LABEL_MESSAGE),
        Some(name) => {
            if !names.insert(name.to_owned()) {
                errors.duplicate(name_path, name);
            }
        }
    }
    match container.get("image") {
        None | Some(Value::Null) => errors.required(format!("{path}.image"), ""),
        Some(Value::String(image)) if image.is_empty() => errors.required(format!("{path}.image"), ""),
        Some(Value::String(_)) => {}
        Some(other) => errors.invalid(format!("{path}.image"), other.clone(), "must be a string"),
    }
    validate_ports(container, path, errors);
    for (index, variable) in list(container, "env", path, errors).iter().enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            errors.required(format!("{path}.env[{index}].name"), "");
        }
    }
    validate_mounts(container, volumes, path, errors);
    validate_resources(container, path, errors);
}

fn validate_ports(container: &Map<String, Value>, path: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in list(container, "ports", path, errors).iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let is_port = |value: &Value| value.as_i64().is_some_and(|number| (1..=65535).contains(&number));
        match &port["containerPort"] {
            Value::Null => errors.required(format!("{path}.containerPort"), ""),
            number if number == 0 => errors.required(format!("{path}.containerPort"), ""),
            number if !is_port(number) => {
                errors.invalid(format!("{path}.containerPort"), number.clone(), PORT_MESSAGE);
            }
            _ => {}
        }
        let host_port = &port["hostPort"];
        if !host_port.is_null() && host_port != 0 && !is_port(host_port) {
            errors.invalid(format!("{path}.hostPort"), host_port.clone(), PORT_MESSAGE);
        }
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty())
            && !names.insert(name.to_owned())
        {
            errors.duplicate(format!("{path}.name"), name);
        }
        let protocol = &port["protocol"];
        if !protocol.is_null() && !["TCP", "UDP", "SCTP"].iter().any(|known| protocol == *known) {
            let kind = FieldErrorKind::Unsupported { value: protocol.clone() };
            errors.add(format!("{path}.protocol"), kind, r#"supported values: "SCTP", "TCP", "UDP""#);
        }
    }
}

fn validate_mounts(
    container: &Map<String, Value>,
    volumes: &BTreeSet<String>,
    path: &str,
    errors: &mut Errors,
) {
    let mut mount_paths = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts", path, errors).iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        match mount["name"].as_str() {
            None | Some("") => errors.required(format!("{path}.name"), ""),
            Some(name) if !volumes.contains(name) => {
                errors.add(format!("{path}.name"), FieldErrorKind::NotFound { value: name.into() }, "");
            }
            Some(_) => {}
        }
        match mount["mountPath"].as_str() {
            None | Some("") => errors.required(format!("{path}.mountPath"), ""),
            Some(mount_path) => {
                if !mount_paths.insert(mount_path.to_owned()) {
                    errors.invalid(format!("{path}.mountPath"), mount_path, "must be unique");
                }
            }
        }
    }
}

fn validate_resources(container: &Map<String, Value>, path: &str, errors: &mut Errors) {
    let path = format!("{path}.resources");
    let Some(resources) = container.get("resources") else { return };
    let amounts = |part: &str| resources[part].as_object().cloned().unwrap_or_default();
    let (limits, requests) = (amounts("limits"), amounts("requests"));
    for (part, amounts) in [("limits", &limits), ("requests", &requests)] {
        let found = &resources[part];
        if !found.is_null() && !found.is_object() {
            errors.invalid(format!("{path}.{part}"), found.clone(), "must be an object");
        }
        for (name, amount) in amounts {
            validate_quantity(amount, &format!("{path}.{part}[{name}]"), errors);
        }
    }
    for (name, request) in &requests {
        let limit = limits.get(name);
        if let Some((request_quantity, limit_quantity)) = quantity(request).zip(limit.and_then(quantity))
            && request_quantity > limit_quantity
        {
            let limit = limit.map(plain_text).unwrap_or_default();
            let message = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(format!("{path}.requests"), request.clone(), message);
        }
    }
}

/// Checks an amount, when there is one.
fn validate_quantity(value: &Value, path: &str, errors: &mut Errors) {
    if value.is_null() {
        return;
    }
    if !value.is_string() && !value.is_number() {
        errors.invalid(path, value.clone(), "must be a string or a number");
        return;
    }
    match Quantity::parse(&plain_text(value)) {
        Err(error) => errors.invalid(path, value.clone(), error.to_string()),
        Ok(quantity) if quantity.is_negative() => {
            errors.invalid(path, value.clone(), "must be greater than or equal to 0");
        }
        Ok(_) => {}
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::parse(&plain_text(value)).ok()
}

/// Returns a string as it is, and any other value as JSON.
fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns a list, or none where there is something else, which is reported.
fn list<'a>(map: &'a Map<String, Value>, key: &str, path: &str, errors: &mut Errors) -> &'a [Value] {
    match map.get(key) {
        Some(Value::Array(list)) => list,
        None | Some(Value::Null) => &[],
        Some(other) => {
            errors.invalid(format!("{path}.{key}"), other.clone(), "must be a list");
            &[]
        }
    }
}
