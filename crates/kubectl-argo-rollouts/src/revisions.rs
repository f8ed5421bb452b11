//! Which earlier revision `undo` goes back to, and the template that it had.
//!
//! Decides on raw ReplicaSets. Whether going back has to run all steps again is the controller's decision.

use serde_json::{Map, Value};
use sluice_api::keys;
use sluice_engine::template::{Injected, canonical};

use crate::fields::{annotation, list, text};

/// A revision that is not there. The wording is Argo Rollouts'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    /// No ReplicaSet has the revision that was asked for.
    #[error("unable to find specified revision {0} in history")]
    NotInHistory(i64),
    /// There is nothing before the current revision.
    #[error("no revision found for rollout {0:?}")]
    NothingBefore(String),
}

/// Returns the ReplicaSet of `revision`, or of the second-highest revision for 0, with its revision.
/// Only those count that the rollout controls.
pub fn find<'a>(rollout: &Value, sets: &'a [Value], revision: i64) -> Result<(i64, &'a Value), NoRevision> {
    let uid = text(rollout, "/metadata/uid");
    let is_ours = |set: &&Value| {
        let is_controller = |owner: &Value| owner["controller"] == true && owner["uid"] == uid;
        list(set, "/metadata/ownerReferences").iter().any(is_controller)
    };
    let mut known: Vec<(i64, &Value)> =
        sets.iter().filter(is_ours).map(|set| (revision_of(set), set)).collect();
    if revision == 0 {
        known.sort_by_key(|(revision, _)| std::cmp::Reverse(*revision));
        let name = || text(rollout, "/metadata/name").to_owned();
        return known.get(1).copied().ok_or_else(|| NoRevision::NothingBefore(name()));
    }
    known.into_iter().find(|(known, _)| *known == revision).ok_or(NoRevision::NotInHistory(revision))
}

fn revision_of(set: &Value) -> i64 {
    annotation(set, keys::REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether the rollout's own template means the same as the ReplicaSet's.
pub fn is_current(rollout: &Value, set: &Value) -> bool {
    let template = |object: &Value| object.pointer("/spec/template").cloned().unwrap_or_default();
    canonical(&template(rollout), &Injected::default()) == canonical(&template(set), &injected(set))
}

fn injected(set: &Value) -> Injected {
    Injected::from_annotation(annotation(set, keys::EPHEMERAL_METADATA))
}

/// Returns the ReplicaSet's template as a person wrote it: without the hash label, and without the metadata
/// and the anti-affinity term that a controller put in.
///
/// Argo Rollouts v1.10 (`cmd/undo`) takes only the label off. The rest would then become part of what
/// the user wants, and the result a revision that never was.
pub fn template(set: &Value) -> Value {
    let mut template = set.pointer("/spec/template").cloned().unwrap_or_default();
    let injected = injected(set);
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        let hash = [keys::POD_TEMPLATE_HASH.to_owned()];
        remove_keys(metadata, "labels", hash.iter().chain(&injected.labels));
        remove_keys(metadata, "annotations", injected.annotations.iter());
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        remove_injected_affinity(spec);
    }
    template
}

/// Removes keys from a map; a map that becomes empty goes too.
fn remove_keys<'a>(parent: &mut Map<String, Value>, field: &str, keys: impl Iterator<Item = &'a String>) {
    let Some(map) = parent.get_mut(field).and_then(Value::as_object_mut) else { return };
    let before = map.len();
    for key in keys {
        map.remove(key);
    }
    if map.is_empty() && before > 0 {
        parent.remove(field);
    }
}

/// Removes the term whose only expression asks for a pod template hash.
fn remove_injected_affinity(spec: &mut Map<String, Value>) {
    let is_injected = |term: &Value| {
        let expressions = list(term, "/labelSelector/matchExpressions");
        expressions.len() == 1 && text(&expressions[0], "/key") == keys::POD_TEMPLATE_HASH
    };
    let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) else { return };
    let Some(anti) = affinity.get_mut("podAntiAffinity").and_then(Value::as_object_mut) else { return };
    let mut is_changed = false;
    for (field, at) in [
        ("requiredDuringSchedulingIgnoredDuringExecution", ""),
        ("preferredDuringSchedulingIgnoredDuringExecution", "/podAffinityTerm"),
    ] {
        let Some(terms) = anti.get_mut(field).and_then(Value::as_array_mut) else { continue };
        let before = terms.len();
        terms.retain(|term| !term.pointer(at).is_some_and(is_injected));
        if terms.len() < before {
            is_changed = true;
            if terms.is_empty() {
                anti.remove(field);
            }
        }
    }
    if is_changed && anti.is_empty() {
        affinity.remove("podAntiAffinity");
        if affinity.is_empty() {
            spec.remove("affinity");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, owner: &str, revision: Option<&str>) -> Value {
        let mut set = json!({"metadata": {
            "name": name, "ownerReferences": [{"uid": owner, "controller": true}], "annotations": {},
        }});
        if let Some(revision) = revision {
            set["metadata"]["annotations"][keys::REVISION] = json!(revision);
        }
        set
    }

    #[test]
    fn revisions_are_found() {
        let rollout = json!({"metadata": {"name": "web", "uid": "u"}});
        let mut not_controlled = set("not-controlled", "u", Some("9"));
        not_controlled["metadata"]["ownerReferences"][0]["controller"] = json!(false);
        let history = || {
            vec![
                set("c", "u", Some("10")),
                set("a", "u", Some("1")),
                set("b", "u", Some("2")),
                set("other", "x", Some("7")),
                not_controlled.clone(),
            ]
        };
        let one = || vec![set("a", "u", Some("1")), set("other", "x", Some("7"))];
        // sets, asked for => name and revision, or the error
        for (sets, revision, expected) in [
            (history(), 0, Ok((2, "b"))),
            (history(), 1, Ok((1, "a"))),
            (history(), 10, Ok((10, "c"))),
            (history(), 7, Err("unable to find specified revision 7 in history")),
            (history(), 9, Err("unable to find specified revision 9 in history")),
            (history(), -1, Err("unable to find specified revision -1 in history")),
            (one(), 0, Err("no revision found for rollout \"web\"")),
            (vec![], 0, Err("no revision found for rollout \"web\"")),
            (vec![set("a", "u", Some("x")), set("b", "u", Some("1"))], 0, Ok((0, "a"))),
            (vec![set("a", "u", None), set("b", "u", Some("1"))], 0, Ok((0, "a"))),
        ] {
            let found = find(&rollout, &sets, revision);
            let found = found.map(|(revision, set)| (revision, text(set, "/metadata/name")));
            assert_eq!(
                found.map_err(|error| error.to_string()),
                expected.map_err(str::to_owned),
                "{revision}"
            );
        }
    }

    fn injected_term() -> Value {
        json!({"labelSelector": {"matchExpressions": [
            {"key": keys::POD_TEMPLATE_HASH, "operator": "NotIn", "values": ["abc"]},
        ]}, "topologyKey": "kubernetes.io/hostname"})
    }

    fn replica_set() -> Value {
        let term = injected_term();
        let own = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"});
        let labels = json!({"app": "web", "role": "canary", keys::POD_TEMPLATE_HASH: "abc"});
        json!({
            "metadata": {"annotations": {
                keys::EPHEMERAL_METADATA: r#"{"labels":{"role":"canary"},"annotations":{"note":"x"}}"#,
            }},
            "spec": {"template": {
                "metadata": {"creationTimestamp": null, "labels": labels, "annotations": {"note": "x"}},
                "spec": {
                    "affinity": {"podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [term, own],
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 1, "podAffinityTerm": term},
                        ],
                    }},
                    "containers": [{"name": "app", "image": "web:1", "imagePullPolicy": "IfNotPresent"}],
                },
            }},
        })
    }

    #[test]
    fn a_template_is_what_a_person_wrote() {
        let own = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"});
        let expected = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}},
                "containers": [{"name": "app", "image": "web:1", "imagePullPolicy": "IfNotPresent"}],
            },
        });
        assert_eq!(template(&replica_set()), expected);

        let mut alone = replica_set();
        alone["spec"]["template"]["spec"]["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [injected_term()]}});
        assert_eq!(template(&alone)["spec"].get("affinity"), None, "nothing is left of it");

        let own_empty = json!({"spec": {"template": {"spec": {"affinity": {"podAntiAffinity": {}}}}}});
        assert_eq!(template(&own_empty), own_empty["spec"]["template"], "what was not injected stays");
    }

    #[test]
    fn the_current_template_is_known_whatever_was_put_in() {
        let set = replica_set();
        let mut rollout = json!({"spec": {"template": template(&set)}});
        assert!(is_current(&rollout, &set));
        let container = &mut rollout["spec"]["template"]["spec"]["containers"][0];
        container.as_object_mut().expect("an object").remove("imagePullPolicy");
        assert!(is_current(&rollout, &set), "a default makes no difference");
        rollout["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        assert!(!is_current(&rollout, &set));
    }
}
