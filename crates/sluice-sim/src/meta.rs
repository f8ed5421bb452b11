//! Rules for `metadata` that hold for every kind: names, labels, annotations, owners, finalizers.
//!
//! Decides what is valid there and how names are generated; who sets which system field is decided in
//! `write`.

use rand::{Rng, rngs::SmallRng};
use serde_json::Value;

use crate::status::Problem;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Which names a kind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Dots allowed; most kinds.
    Subdomain,
    /// No dots: namespaces.
    Label,
    /// No dots, starts with a letter: services.
    Label1035,
    /// Anything that fits into a path.
    PathSegment,
}

/// The rule for a kind.
pub fn name_rule(table: &str) -> NameRule {
    match table {
        "namespaces" => NameRule::Label,
        "events" => NameRule::PathSegment,
        "services" => NameRule::Label1035,
        _ if table.ends_with("rbac.authorization.k8s.io") => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

fn alphanumeric_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| alphanumeric_lower(*byte))
        && bytes.last().is_some_and(|byte| alphanumeric_lower(*byte))
        && bytes.iter().all(|byte| alphanumeric_lower(*byte) || *byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// What is wrong with a name.
pub fn name_complaints(name: &str, rule: NameRule) -> Vec<String> {
    let mut out = Vec::new();
    let (limit, fits, text) = match rule {
        NameRule::Subdomain => (253, is_subdomain(name), SUBDOMAIN),
        NameRule::Label => (63, is_label(name), LABEL),
        NameRule::Label1035 => (63, is_label(name) && name.as_bytes()[0].is_ascii_lowercase(), LABEL_1035),
        NameRule::PathSegment => {
            for bad in [".", ".."] {
                if name == bad {
                    out.push(format!("may not be '{bad}'"));
                }
            }
            for bad in ["/", "%"] {
                if name.contains(bad) {
                    out.push(format!("may not contain '{bad}'"));
                }
            }
            return out;
        }
    };
    if name.len() > limit {
        out.push(format!("must be no more than {limit} characters"));
    }
    if !fits {
        out.push(text.to_owned());
    }
    out
}

fn key_complaints(key: &str) -> Vec<String> {
    let mut out = Vec::new();
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(
                    name_complaints(prefix, NameRule::Subdomain)
                        .into_iter()
                        .map(|text| format!("prefix part {text}")),
                );
            }
            name
        }
        None => key,
    };
    if name.contains('/') {
        return vec![format!(
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_name_part(name) {
        out.push(NAME_PART.to_owned());
    }
    out
}

/// Problems of labels at `path`.
pub fn label_problems(labels: &Value, path: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        for complaint in key_complaints(key) {
            out.push(Problem::invalid(path, &Value::from(key.as_str()), &complaint));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            out.push(Problem::invalid(path, value, "must be no more than 63 bytes"));
        }
        if !text.is_empty() && !is_name_part(text) {
            out.push(Problem::invalid(path, value, LABEL_VALUE));
        }
    }
    out
}

fn common_problems(metadata: &Value) -> Vec<Problem> {
    let mut out = label_problems(&metadata["labels"], "metadata.labels");
    let mut total = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        for complaint in key_complaints(&key.to_lowercase()) {
            out.push(Problem::invalid("metadata.annotations", &Value::from(key.as_str()), &complaint));
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > 256 * 1024 {
        out.push(Problem::too_long("metadata.annotations", "may not be more than 262144 bytes"));
    }
    let mut controllers = 0;
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let path = "metadata.ownerReferences";
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("apiVersion").is_empty() {
            out.push(Problem::invalid(
                &format!("{path}.apiVersion"),
                &Value::from(""),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                out.push(Problem::invalid(&format!("{path}.{key}"), &Value::from(""), "must not be empty"));
            }
        }
        if owner["controller"] == true {
            controllers += 1;
            if controllers == 2 {
                out.push(Problem::invalid(
                    "metadata.ownerReferences",
                    &metadata["ownerReferences"],
                    "Only one reference can have Controller set to true. Found \"true\" in references for more than one owner",
                ));
            }
        }
    }
    out
}

fn finalizer_problems(metadata: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let list: Vec<&str> =
        metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &list {
        for complaint in key_complaints(name) {
            out.push(Problem::invalid("metadata.finalizers", &Value::from(*name), &complaint));
        }
    }
    if list.contains(&"orphan") && list.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        out.push(Problem::invalid("metadata.finalizers", &metadata["finalizers"], detail));
    }
    out
}

/// Problems of the metadata of a new object.
pub fn create_problems(metadata: &Value, rule: NameRule, namespaced: bool) -> Vec<Problem> {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut out = Vec::new();
    let generate = text("generateName");
    if !generate.is_empty() {
        let base = generate.trim_end_matches('-');
        let probe = if base.len() == generate.len() { generate.to_owned() } else { format!("{base}a") };
        for complaint in name_complaints(&probe, rule) {
            out.push(Problem::invalid("metadata.generateName", &Value::from(generate), &complaint));
        }
    }
    let name = text("name");
    if name.is_empty() {
        out.push(Problem::required("metadata.name", "name or generateName is required"));
    } else {
        for complaint in name_complaints(name, rule) {
            out.push(Problem::invalid("metadata.name", &Value::from(name), &complaint));
        }
    }
    if !namespaced && !text("namespace").is_empty() {
        out.push(Problem::forbidden("metadata.namespace", "not allowed on this type"));
    }
    out.extend(common_problems(metadata));
    out.extend(finalizer_problems(metadata));
    out
}

/// Problems of the metadata of a changed object, each as often as it is found: all kinds are looked at in
/// whole and for what changed, each kind looks at what changed again, and some look at the whole again.
pub fn update_problems(new: &Value, old: &Value, namespaced: bool, wholes: usize) -> Vec<Problem> {
    let mut out = Vec::new();
    for _ in 0..wholes {
        out.extend(create_problems(new, NameRule::PathSegment, namespaced));
    }
    for _ in 0..2 {
        out.extend(change_problems(new, old));
    }
    out
}

fn change_problems(new: &Value, old: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    if old.get("deletionTimestamp").is_some() {
        let before = old["finalizers"].as_array().cloned().unwrap_or_default();
        let added: Vec<_> = new["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| !before.contains(one))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let list: Vec<_> = added.iter().map(|one| crate::status::quoted(one)).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            out.push(Problem::forbidden("metadata.finalizers", &detail));
        }
    }
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        if new.get(key) != old.get(key) {
            let value = new.get(key).unwrap_or(&Value::Null);
            out.push(Problem::invalid(&format!("metadata.{key}"), value, "field is immutable"));
        }
    }
    out.extend(common_problems(new));
    out
}

/// A name with a random tail; the base is cut so that the whole fits a label.
pub fn generate_name(base: &str, rng: &mut SmallRng) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base: String = base.chars().take(58).collect();
    let tail: String = (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    format!("{base}{tail}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use serde_json::json;

    use super::*;

    #[test]
    fn names() {
        for (name, rule, good) in [
            ("a", NameRule::Subdomain, true),
            ("a.b-c.d", NameRule::Subdomain, true),
            ("A", NameRule::Subdomain, false),
            ("a..b", NameRule::Subdomain, false),
            ("-a", NameRule::Subdomain, false),
            ("a.b", NameRule::Label, false),
            ("1a", NameRule::Label, true),
            ("1a", NameRule::Label1035, false),
            ("system:node", NameRule::PathSegment, true),
            ("a/b", NameRule::PathSegment, false),
        ] {
            assert_eq!(name_complaints(name, rule).is_empty(), good, "{name} {rule:?}");
        }
        assert!(!name_complaints(&"a".repeat(254), NameRule::Subdomain).is_empty());
    }

    #[test]
    fn labels() {
        for (labels, count) in [
            (json!({"a": "b", "x.io/y": "", "A_b.c": "1-2"}), 0),
            (json!({"a b": "c"}), 1),
            (json!({"a": "b c"}), 1),
            (json!({"/a": "b"}), 1),
            (json!({"a": "x".repeat(64)}), 1),
        ] {
            assert_eq!(label_problems(&labels, "metadata.labels").len(), count, "{labels}");
        }
    }

    proptest::proptest! {
        #[test]
        fn generated_names_are_names(base in "[a-z]([a-z0-9-]{0,70}[a-z0-9])?-?", seed in 0u64..100) {
            let name = generate_name(&base, &mut SmallRng::seed_from_u64(seed));
            proptest::prop_assert!(name_complaints(&name, NameRule::Label).is_empty(), "{}", name);
        }
    }
}
