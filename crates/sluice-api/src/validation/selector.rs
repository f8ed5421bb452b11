//! Whether a label selector and its labels are well formed.
//!
//! It decides the form of keys, values and operators, by the rules of Kubernetes.

use super::{Errors, FieldErrorKind};
use crate::meta::LabelSelector;

/// Checks every part of a selector.
pub(super) fn validate(selector: &LabelSelector, path: &str, errors: &mut Errors) {
    for (key, value) in &selector.match_labels {
        validate_label(key, value, &format!("{path}.matchLabels"), errors);
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values_path = format!("{path}.values");
        match requirement.operator.as_str() {
            "In" | "NotIn" if requirement.values.is_empty() => {
                errors.required(values_path, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.add(values_path, FieldErrorKind::Forbidden, message);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        if let Some(message) = key_mistake(&requirement.key) {
            errors.invalid(format!("{path}.key"), requirement.key.as_str(), message);
        }
        for (index, value) in requirement.values.iter().enumerate() {
            if let Some(message) = value_mistake(value) {
                errors.invalid(format!("{path}.values[{index}]"), value.as_str(), message);
            }
        }
    }
}

/// Checks one label.
pub(super) fn validate_label(key: &str, value: &str, path: &str, errors: &mut Errors) {
    if let Some(message) = key_mistake(key) {
        errors.invalid(path, key, message);
    }
    if let Some(message) = value_mistake(value) {
        errors.invalid(path, value, message);
    }
}

/// Says what is wrong with the key of a label or annotation.
pub(super) fn key_mistake(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) {
        return Some("prefix part must be a DNS subdomain: lower case letters, digits, '-' and '.'");
    }
    if name.is_empty() {
        return Some("name part must be non-empty");
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes");
    }
    let message = "name part must consist of letters, digits, '-', '_' or '.', and begin and end with a letter or digit";
    (!is_label_text(name)).then_some(message)
}

fn value_mistake(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes");
    }
    let message = "a valid label must be empty or consist of letters, digits, '-', '_' or '.', and begin and end with a letter or digit";
    (!value.is_empty() && !is_label_text(value)).then_some(message)
}

fn is_label_text(text: &str) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// True for lower-case names of at most 253 bytes, as most objects have.
fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| !part.is_empty() && is_dns_text(part))
}

/// True for lower-case names of at most 63 bytes without dots, as containers have.
pub(super) fn is_dns_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && is_dns_text(text)
}

fn is_dns_text(text: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    text.bytes().all(|byte| is_inner(&byte)) && !text.starts_with('-') && !text.ends_with('-')
}
