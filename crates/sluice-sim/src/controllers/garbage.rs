//! What goes when its owner goes.
//!
//! Background: objects all of whose owners are gone are deleted. Foreground (`foregroundDeletion` on the
//! owner): the dependents go first, then the finalizer. Orphan (`orphan` on the owner): the references to it
//! go, then the finalizer. The API server puts these finalizers there; this only acts on them.
//! Looks only at the kinds it is given; an owner of another kind counts as present, because nobody can tell.

use std::sync::Arc;

use serde_json::Value;

use super::object::{has_finalizer, is_deleting, items, key, key_of, kind, kinds, name, namespace, put, uid};
use super::ownership::{Owner, owners, released};
use crate::seam::{Controller, Key, Op, Outcome, View};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// The garbage collector.
#[derive(Debug)]
pub struct GarbageCollector {
    kinds: Vec<String>,
}

impl GarbageCollector {
    /// Makes the collector for these kinds.
    pub fn new(kinds: Vec<String>) -> Self {
        Self { kinds }
    }

    /// Returns the objects that name `owner` among their owners.
    fn dependents(&self, owner: &Value, view: &dyn View) -> Vec<Arc<Value>> {
        let owner_uid = uid(owner);
        let is_dependent = |object: &Value| owners(object).iter().any(|one| one.uid == owner_uid);
        let mut found = vec![];
        for kind in &self.kinds {
            // A dependent of a namespaced owner is in its namespace, or else has no owner at all.
            found.extend(view.list(kind, namespace(owner)).into_iter().filter(|one| is_dependent(one)));
        }
        found
    }

    fn owner_of(&self, dependent: &Value, owner: Owner<'_>, view: &dyn View) -> OwnerState {
        if !self.kinds.iter().any(|kind| kind == owner.kind) {
            return OwnerState::Present;
        }
        let in_namespace = view.get(owner.kind, namespace(dependent), owner.name);
        let found = in_namespace.or_else(|| view.get(owner.kind, None, owner.name));
        match found {
            Some(found) if uid(&found) != owner.uid => OwnerState::Gone,
            None => OwnerState::Gone,
            Some(found) if is_deleting(&found) && has_finalizer(&found, FOREGROUND) => OwnerState::Waits,
            Some(_) => OwnerState::Present,
        }
    }

    fn as_owner(&self, owner: &Value, view: &dyn View) -> Option<Vec<Op>> {
        if !is_deleting(owner) {
            return None;
        }
        let dependents = self.dependents(owner, view);
        if has_finalizer(owner, ORPHAN) {
            let mut ops: Vec<Op> =
                dependents.iter().map(|one| Op::Update(released(one, &[uid(owner)]))).collect();
            ops.push(Op::Update(without_finalizer(owner, ORPHAN)));
            return Some(ops);
        }
        if !has_finalizer(owner, FOREGROUND) {
            return None;
        }
        let blocks =
            |one: &Arc<Value>| owners(one).iter().any(|found| found.uid == uid(owner) && found.blocks);
        if !dependents.iter().any(blocks) {
            return Some(vec![Op::Update(without_finalizer(owner, FOREGROUND))]);
        }
        // Each dependent sees for itself whether it has another owner that keeps it.
        Some(dependents.iter().flat_map(|one| self.as_dependent(one, view)).collect())
    }

    fn as_dependent(&self, object: &Value, view: &dyn View) -> Vec<Op> {
        if is_deleting(object) {
            return vec![];
        }
        let all = owners(object);
        let states: Vec<OwnerState> = all.iter().map(|owner| self.owner_of(object, *owner, view)).collect();
        let lost: Vec<&str> = all
            .iter()
            .zip(&states)
            .filter(|(_, state)| **state != OwnerState::Present)
            .map(|(owner, _)| owner.uid)
            .collect();
        if lost.is_empty() {
            return vec![];
        }
        if lost.len() < all.len() {
            return vec![Op::Update(released(object, &lost))];
        }
        vec![Op::Delete {
            kind: kind(object).to_owned(),
            namespace: namespace(object).map(str::to_owned),
            name: name(object).to_owned(),
            uid: Some(uid(object).to_owned()),
            grace_seconds: None,
        }]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    Present,
    /// Deleted in the foreground: waits for its dependents to go.
    Waits,
    Gone,
}

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        let mut keys = vec![];
        // What bears the name by now may be another object.
        let found = view.get(kind(changed), namespace(changed), name(changed));
        let is_gone = found.is_none_or(|found| uid(&found) != uid(changed));
        if is_deleting(changed) || is_gone {
            keys.push(key_of(changed));
            keys.extend(self.dependents(changed, view).iter().map(|one| key_of(one)));
        }
        let owners = owners(changed);
        if !owners.is_empty() {
            keys.push(key_of(changed));
        }
        // An owner may wait for this one to go.
        keys.extend(owners.iter().map(|owner| key(owner.kind, namespace(changed), owner.name)));
        if namespace(changed).is_some() {
            keys.extend(owners.iter().map(|owner| key(owner.kind, None, owner.name)));
        }
        keys.dedup();
        keys
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        let Some(object) = view.get(&key.kind, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        let ops = self.as_owner(&object, view).unwrap_or_else(|| self.as_dependent(&object, view));
        Outcome { ops, recheck_at: None }
    }
}

fn without_finalizer(object: &Value, finalizer: &str) -> Value {
    let mut left = items(object, "/metadata/finalizers").to_vec();
    left.retain(|one| one.as_str() != Some(finalizer));
    let mut written = object.clone();
    put(&mut written, &["metadata", "finalizers"], left);
    written
}

/// The namespace controller: empties a namespace that is deleted, then lets it go.
#[derive(Debug)]
pub struct Namespaces {
    kinds: Vec<String>,
}

impl Namespaces {
    /// Makes the controller; it removes objects of these kinds.
    pub fn new(kinds: Vec<String>) -> Self {
        Self { kinds }
    }
}

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        if kind(changed) == kinds::NAMESPACE {
            return vec![key_of(changed)];
        }
        let space = namespace(changed).and_then(|space| view.get(kinds::NAMESPACE, None, space));
        space.filter(|space| is_deleting(space)).map(|space| key_of(&space)).into_iter().collect()
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::NAMESPACE {
            return Outcome::default();
        }
        let space = view.get(kinds::NAMESPACE, None, &key.name);
        if space.as_ref().is_some_and(|space| !is_deleting(space)) {
            return Outcome::default();
        }
        let mut ops = vec![];
        let mut is_empty = true;
        for kind in &self.kinds {
            for object in view.list(kind, Some(&key.name)) {
                if namespace(&object) != Some(&key.name) {
                    continue;
                }
                is_empty = false;
                if !is_deleting(&object) {
                    ops.push(Op::Delete {
                        kind: kind.clone(),
                        namespace: Some(key.name.clone()),
                        name: name(&object).to_owned(),
                        uid: Some(uid(&object).to_owned()),
                        grace_seconds: None,
                    });
                }
            }
        }
        let Some(space) = space else { return Outcome { ops, recheck_at: None } };
        if super::object::text(&space, "/status/phase") != Some("Terminating") {
            let mut written = Value::clone(&space);
            put(&mut written, &["status", "phase"], "Terminating");
            ops.push(Op::UpdateStatus(written));
        } else if is_empty {
            let mut left = items(&space, "/spec/finalizers").to_vec();
            let before = left.len();
            left.retain(|one| one.as_str() != Some("kubernetes"));
            if left.len() != before {
                let mut written = Value::clone(&space);
                put(&mut written, &["spec", "finalizers"], left.clone());
                ops.push(Op::Update(written));
            }
            if left.is_empty() && items(&space, "/metadata/finalizers").is_empty() {
                ops.push(Op::Delete {
                    kind: kinds::NAMESPACE.to_owned(),
                    namespace: None,
                    name: key.name.clone(),
                    uid: Some(uid(&space).to_owned()),
                    grace_seconds: Some(0),
                });
            }
        }
        Outcome { ops, recheck_at: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::object::labels;
    use super::super::testing::{Cluster, deployment, pod};
    use super::*;

    fn config(name: &str, owners: &[(&str, &Value)]) -> Value {
        let references: Vec<Value> = owners
            .iter()
            .map(|(kind, owner)| {
                json!({
                    "apiVersion": "v1", "kind": kind, "name": super::name(owner), "uid": uid(owner),
                    "blockOwnerDeletion": true,
                })
            })
            .collect();
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "ownerReferences": references},
        })
    }

    fn cluster_with_owner() -> (Cluster, Value) {
        let mut cluster = Cluster::standard();
        cluster.create(config("owner", &[]));
        let owner = cluster.find("ConfigMap", "owner").expect("created");
        (cluster, Value::clone(&owner))
    }

    #[test]
    fn dependents_go_with_their_last_owner() {
        let (mut cluster, owner) = cluster_with_owner();
        cluster.create(config("second", &[]));
        let second = Value::clone(&cluster.find("ConfigMap", "second").expect("created"));
        cluster.create(config("one", &[("ConfigMap", &owner)]));
        cluster.create(config("both", &[("ConfigMap", &owner), ("ConfigMap", &second)]));
        cluster.create(config("unknown", &[("Mystery", &owner)]));
        cluster.create(config("late", &[]));
        cluster.delete("ConfigMap", Some("default"), "owner");
        assert!(cluster.find("ConfigMap", "one").is_none());
        let both = cluster.find("ConfigMap", "both").expect("has another owner");
        assert_eq!(owners(&both).len(), 1);
        assert!(cluster.find("ConfigMap", "unknown").is_some());
        cluster.create(config("orphan", &[("ConfigMap", &owner)]));
        assert!(cluster.find("ConfigMap", "orphan").is_none(), "its owner was gone before it came");
        cluster.check_quiet();
    }

    #[test]
    fn a_new_object_of_the_same_name_is_not_the_owner() {
        let (mut cluster, owner) = cluster_with_owner();
        cluster.delete("ConfigMap", Some("default"), "owner");
        cluster.create(config("owner", &[]));
        cluster.create(config("one", &[("ConfigMap", &owner)]));
        assert!(cluster.find("ConfigMap", "one").is_none());
    }

    #[test]
    fn foreground_waits_for_the_dependents_and_orphan_lets_them_live() {
        for (finalizer, survives) in [(FOREGROUND, false), (ORPHAN, true)] {
            let (mut cluster, owner) = cluster_with_owner();
            cluster.create(config("one", &[("ConfigMap", &owner)]));
            cluster.edit("ConfigMap", Some("default"), "one", |one| {
                one["metadata"]["finalizers"] = json!(["test/hold"]);
            });
            cluster.edit("ConfigMap", Some("default"), "owner", |owner| {
                owner["metadata"]["finalizers"] = json!([finalizer]);
            });
            cluster.delete("ConfigMap", Some("default"), "owner");
            assert_eq!(cluster.find("ConfigMap", "owner").is_some(), !survives, "{finalizer}");
            let one = cluster.find("ConfigMap", "one").expect("held");
            assert_eq!((is_deleting(&one), owners(&one).is_empty()), (!survives, survives), "{finalizer}");
            cluster
                .edit("ConfigMap", Some("default"), "one", |one| one["metadata"]["finalizers"] = json!([]));
            assert!(cluster.find("ConfigMap", "owner").is_none(), "{finalizer}");
            assert_eq!(cluster.find("ConfigMap", "one").is_some(), survives, "{finalizer}");
        }
    }

    #[test]
    fn a_deployment_takes_its_pods_with_it() {
        let mut cluster = Cluster::standard();
        cluster.create(deployment("web", 3, "web:1"));
        cluster.create(pod("alone", "web:1"));
        cluster.advance(5);
        assert_eq!(cluster.list(kinds::POD, None).len(), 4);
        cluster.delete(kinds::DEPLOYMENT, Some("default"), "web");
        cluster.advance(5);
        assert_eq!(cluster.list(kinds::REPLICA_SET, None), vec![]);
        let left = cluster.list(kinds::POD, None);
        assert_eq!(left.iter().map(|pod| name(pod)).collect::<Vec<_>>(), ["alone"]);
        assert!(labels(&left[0]).is_some());
    }

    #[test]
    fn a_namespace_is_emptied_then_removed() {
        let mut cluster = Cluster::standard();
        let space = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}});
        cluster.create(space("default"));
        cluster.create(space("other"));
        cluster.create(deployment("web", 2, "web:1"));
        let mut elsewhere = pod("p", "web:1");
        elsewhere["metadata"]["namespace"] = json!("other");
        cluster.create(elsewhere);
        cluster.advance(5);
        cluster.delete(kinds::NAMESPACE, None, "default");
        let found = cluster.get(kinds::NAMESPACE, None, "default").expect("pods still stop");
        assert_eq!(found["status"]["phase"], "Terminating");
        cluster.advance(5);
        assert!(cluster.get(kinds::NAMESPACE, None, "default").is_none());
        assert_eq!(cluster.list(kinds::DEPLOYMENT, None), vec![]);
        assert_eq!(cluster.list(kinds::POD, None).len(), 1, "the one of the other namespace");
    }
}
