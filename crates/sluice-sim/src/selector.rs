//! Label and field selectors, in the text form of requests and in the object form of specs.

use serde_json::Value;

use crate::status::Status;

/// A conjunction of requirements on labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),!h`.
    pub fn parse(text: &str) -> Result<LabelSelector, Status> {
        let bad = |why: &str| Status::bad_request(format!("unable to parse requirement: {why}"));
        let mut out = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (requirement, tail) =
                requirement(rest).ok_or_else(|| bad(&format!("found '{rest}', expected: identifier")))?;
            out.push(requirement);
            rest = tail.trim_start();
            if let Some(tail) = rest.strip_prefix(',') {
                rest = tail.trim_start();
                if rest.is_empty() {
                    return Err(bad("found '', expected: identifier after ','"));
                }
            } else if !rest.is_empty() {
                return Err(bad(&format!("found '{rest}', expected: ',' or 'end of string'")));
            }
        }
        Ok(LabelSelector(out))
    }

    /// Reads `matchLabels` and `matchExpressions`; null selects nothing (`None`).
    pub fn from_object(selector: &Value) -> Option<LabelSelector> {
        let map = selector.as_object()?;
        let mut out = Vec::new();
        for (key, value) in map.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            out.push(Requirement {
                key: key.clone(),
                test: Test::In(vec![value.as_str().unwrap_or_default().to_owned()]),
            });
        }
        for expression in map.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let values = || {
                (expression["values"].as_array().into_iter().flatten())
                    .filter_map(|one| one.as_str().map(str::to_owned))
                    .collect()
            };
            let test = match expression["operator"].as_str()? {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return None,
            };
            out.push(Requirement { key: expression["key"].as_str()?.to_owned(), test });
        }
        Some(LabelSelector(out))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|one| {
            let value = labels.get(&one.key).and_then(Value::as_str);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &one.test {
                Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(limit) => number().is_some_and(|n| n > *limit),
                Test::Less(limit) => number().is_some_and(|n| n < *limit),
            }
        })
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')' | '<' | '>'))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn requirement(text: &str) -> Option<(Requirement, &str)> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start());
        return (!key.is_empty()).then(|| (Requirement { key: key.to_owned(), test: Test::Absent }, rest));
    }
    let (key, rest) = word(text);
    if key.is_empty() {
        return None;
    }
    let key = key.to_owned();
    let rest = rest.trim_start();
    for (sign, equal) in [("==", true), ("!=", false), ("=", true)] {
        if let Some(rest) = rest.strip_prefix(sign) {
            let (value, rest) = word(rest.trim_start());
            let values = vec![value.to_owned()];
            let test = if equal { Test::In(values) } else { Test::NotIn(values) };
            return Some((Requirement { key, test }, rest));
        }
    }
    for (sign, greater) in [(">", true), ("<", false)] {
        if let Some(rest) = rest.strip_prefix(sign) {
            let (value, rest) = word(rest.trim_start());
            let limit = value.parse().ok()?;
            return Some((
                Requirement { key, test: if greater { Test::Greater(limit) } else { Test::Less(limit) } },
                rest,
            ));
        }
    }
    let (operator, after) = word(rest);
    if matches!(operator, "in" | "notin") {
        let inside = after.trim_start().strip_prefix('(')?;
        let (list, rest) = inside.split_once(')')?;
        let values = list.split(',').map(|one| one.trim().to_owned()).collect();
        let test = if operator == "in" { Test::In(values) } else { Test::NotIn(values) };
        return Some((Requirement { key, test }, rest));
    }
    Some((Requirement { key, test: Test::Exists }, rest))
}

/// A conjunction of `path=value` and `path!=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads the selector and checks that the kind has those fields.
    pub fn parse(text: &str, table: &str, is_custom: bool) -> Result<FieldSelector, Status> {
        let mut out = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (path, true, value)
            } else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            if !supported(table, path) {
                let has_own = is_custom
                    || matches!(
                        table,
                        "pods"
                            | "events"
                            | "namespaces"
                            | "nodes"
                            | "secrets"
                            | "services"
                            | "replicationcontrollers"
                            | "replicasets.apps"
                            | "jobs.batch"
                    );
                return Err(Status::bad_request(if has_own {
                    format!("field label not supported: {path}")
                } else {
                    format!(
                        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        crate::status::quoted(path)
                    )
                }));
            }
            out.push((path.to_owned(), equal, value.to_owned()));
        }
        Ok(FieldSelector(out))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object is selected by the terms that ask for one value of this field.
    pub fn matches_exactly(&self, field: &str, object: &Value) -> bool {
        let terms = self.0.iter().filter(|(path, equal, _)| *equal && path == field);
        terms.into_iter().all(|(path, _, wanted)| value_at(object, path) == *wanted)
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, equal, wanted)| (value_at(object, path) == *wanted) == *equal)
    }
}

fn value_at(object: &Value, path: &str) -> String {
    let mut value = object;
    for step in path.split('.') {
        value = value.get(step).unwrap_or(&Value::Null);
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => match path {
            "spec.unschedulable" | "spec.hostNetwork" => "false".to_owned(),
            "status.successful" => "0".to_owned(),
            _ => String::new(),
        },
        other => other.to_string(),
    }
}

fn supported(table: &str, path: &str) -> bool {
    if matches!(path, "metadata.name" | "metadata.namespace") {
        return true;
    }
    match table {
        "pods" => matches!(
            path,
            "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "spec.hostNetwork"
                | "status.phase"
                | "status.podIP"
                | "status.nominatedNodeName"
        ),
        "events" => matches!(
            path,
            "involvedObject.kind"
                | "involvedObject.namespace"
                | "involvedObject.name"
                | "involvedObject.uid"
                | "involvedObject.apiVersion"
                | "involvedObject.resourceVersion"
                | "involvedObject.fieldPath"
                | "reason"
                | "reportingComponent"
                | "source"
                | "type"
        ),
        "namespaces" => path == "status.phase",
        "nodes" => path == "spec.unschedulable",
        "secrets" => path == "type",
        "services" => matches!(path, "spec.clusterIP" | "spec.type"),
        "replicationcontrollers" | "replicasets.apps" => path == "status.replicas",
        "jobs.batch" => path == "status.successful",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors() {
        let labels = json!({"app": "web", "tier": "1", "x.io/y": "z"});
        for (text, expected) in [
            ("", Some(true)),
            ("app=web", Some(true)),
            ("app==web,tier!=2", Some(true)),
            ("app != web", Some(false)),
            ("app in (web, api)", Some(true)),
            ("app notin (web)", Some(false)),
            ("missing notin (a)", Some(true)),
            ("missing!=a", Some(true)),
            ("app", Some(true)),
            ("!app", Some(false)),
            ("!missing,x.io/y=z", Some(true)),
            ("tier>0", Some(true)),
            ("tier<1", Some(false)),
            ("app=web,", None),
            ("=a", None),
            ("app in (web", None),
        ] {
            assert_eq!(LabelSelector::parse(text).ok().map(|one| one.matches(&labels)), expected, "{text}");
        }
    }

    #[test]
    fn selectors_of_specs() {
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["2", "3"]}, {"key": "c", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_object(&selector).expect("a selector");
        assert!(selector.matches(&json!({"a": "1", "b": "3"})));
        assert!(!selector.matches(&json!({"a": "1", "b": "3", "c": ""})));
        assert_eq!(LabelSelector::from_object(&Value::Null), None);
    }

    #[test]
    fn field_selectors() {
        let pod =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("metadata.name=a,status.phase!=Failed", Some(true)),
            ("spec.nodeName=m", Some(false)),
            ("spec.foo=1", None),
        ] {
            assert_eq!(
                FieldSelector::parse(text, "pods", false).ok().map(|one| one.matches(&pod)),
                expected,
                "{text}"
            );
        }
    }
}
