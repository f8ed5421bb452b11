//! Which ReplicaSet runs a Deployment's template, and how revisions are written on both.
//!
//! A ReplicaSet is the new one if its template means the same, its hash label aside. Hashes are our own;
//! they only have to differ when templates do.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::object::{annotation, int, kinds, name, namespace, put, remove, text};
use super::super::ownership::reference_to;
use super::super::seeded;
use super::rolling::Corridor;

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that its ReplicaSets do not take over.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Returns the template in a form in which equal meanings are equal, without the hash label.
fn normal(template: &Value) -> Value {
    let mut template = without_nulls(template);
    remove(&mut template, &["metadata", "labels", HASH_LABEL]);
    remove(&mut template, &["metadata", "creationTimestamp"]);
    for field in ["labels", "annotations"] {
        if template
            .pointer("/metadata")
            .and_then(|all| all.get(field))
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
        {
            remove(&mut template, &["metadata", field]);
        }
    }
    template
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, inner)| !inner.is_null())
            .map(|(key, inner)| (key.clone(), without_nulls(inner)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Returns the hash of the Deployment's template, which also tells collisions apart.
pub fn hash(deployment: &Value) -> String {
    let template = normal(deployment.pointer("/spec/template").unwrap_or(&Value::Null)).to_string();
    let collisions = int(deployment, "/status/collisionCount").unwrap_or(0).to_string();
    seeded::template_hash(&[&template, &collisions])
}

/// Returns which of the ReplicaSets, oldest first, runs the Deployment's template.
pub fn find_new(deployment: &Value, sets: &[Arc<Value>]) -> Option<usize> {
    let template = |object: &Value| object.pointer("/spec/template").map(normal);
    let wanted = template(deployment);
    let hash = hash(deployment);
    let same_hash = |set: &Arc<Value>| text(set, "/metadata/labels/pod-template-hash") == Some(&hash);
    sets.iter().position(|set| template(set) == wanted).or_else(|| sets.iter().position(same_hash))
}

pub fn revision(object: &Value) -> i64 {
    number(object, REVISION).unwrap_or(0)
}

/// Returns the whole number in an annotation.
pub fn number(object: &Value, key: &str) -> Option<i64> {
    annotation(object, key)?.parse().ok()
}

/// Writes on the new ReplicaSet what it takes over from its Deployment: annotations, revision, and how
/// long a pod must be ready.
pub fn take_over(deployment: &Value, set: &mut Value, revision_wanted: i64) {
    if let Some(annotations) = deployment.pointer("/metadata/annotations").and_then(Value::as_object) {
        for (key, value) in annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
            put(set, &["metadata", "annotations", key], value.clone());
        }
    }
    let found = revision(set);
    if found < revision_wanted {
        put(set, &["metadata", "annotations", REVISION], revision_wanted.to_string());
        if found > 0 {
            let history = annotation(set, REVISION_HISTORY).map(|old| format!("{old},")).unwrap_or_default();
            put(set, &["metadata", "annotations", REVISION_HISTORY], format!("{history}{found}"));
        }
    }
    let min_ready = int(deployment, "/spec/minReadySeconds").unwrap_or(0);
    if int(set, "/spec/minReadySeconds").unwrap_or(0) != min_ready {
        put(set, &["spec", "minReadySeconds"], min_ready);
    }
}

/// Writes the size on a ReplicaSet, with the notes by which a later change of the Deployment's size is
/// recognised and shared.
pub fn resize(set: &mut Value, size: i64, corridor: Corridor) {
    if int(set, "/spec/replicas").unwrap_or(1) != size {
        put(set, &["spec", "replicas"], size);
    }
    put(set, &["metadata", "annotations", DESIRED_REPLICAS], corridor.replicas.to_string());
    put(set, &["metadata", "annotations", MAX_REPLICAS], corridor.max_total().to_string());
}

/// Returns a ReplicaSet for the Deployment's template.
pub fn new_set(deployment: &Value, revision: i64, size: i64, corridor: Corridor) -> Value {
    let hash = hash(deployment);
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    put(&mut template, &["metadata", "labels", HASH_LABEL], hash.as_str());
    let labels = template.pointer("/metadata/labels").cloned().unwrap_or_default();
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_default();
    put(&mut selector, &["matchLabels", HASH_LABEL], hash.as_str());
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": kinds::REPLICA_SET,
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)),
            "labels": labels,
            "ownerReferences": [reference_to(deployment, "apps/v1", kinds::DEPLOYMENT)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if let Some(space) = namespace(deployment) {
        put(&mut set, &["metadata", "namespace"], space);
    }
    take_over(deployment, &mut set, revision);
    resize(&mut set, size, corridor);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_means_the_same_is_found_whatever_its_hash() {
        let template = |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}});
        let deployment = json!({"metadata": {"name": "web"}, "spec": {"template": template("web:2")}});
        let mut hashed = template("web:2");
        put(&mut hashed, &["metadata", "labels", HASH_LABEL], "whatever");
        put(&mut hashed, &["metadata", "creationTimestamp"], Value::Null);
        put(&mut hashed, &["metadata", "annotations"], json!({}));
        let sets = [json!({"spec": {"template": template("web:1")}}), json!({"spec": {"template": hashed}})]
            .map(Arc::new);
        assert_eq!(find_new(&deployment, &sets), Some(1));
        assert_eq!(find_new(&deployment, &sets[..1]), None);
        // Defaults that the API server filled in do not hide it: its hash label still tells.
        let mut defaulted = new_set(&deployment, 1, 0, Corridor::of(&deployment));
        put(&mut defaulted, &["spec", "template", "spec", "restartPolicy"], "Always");
        assert_eq!(find_new(&deployment, &[Arc::new(defaulted)]), Some(0));
    }

    #[test]
    fn revisions_and_their_history() {
        let deployment = json!({"metadata": {"annotations": {"team": "a", REVISION: "9"}}, "spec": {}});
        let mut set = json!({"metadata": {"annotations": {REVISION: "2", REVISION_HISTORY: "1"}}});
        take_over(&deployment, &mut set, 4);
        let expected = json!({"team": "a", REVISION: "4", REVISION_HISTORY: "1,2"});
        assert_eq!(set.pointer("/metadata/annotations"), Some(&expected));
        let before = set.clone();
        take_over(&deployment, &mut set, 4);
        assert_eq!(set, before);
    }
}
