//! Which pods a ReplicaSet makes, adopts, lets go and deletes, and what its status says.
//!
//! Same rules as Kubernetes 1.36, `pkg/controller/replicaset`, without its batches and its back-off: all
//! missing pods are asked for at once, and pods refused by a quota are asked for again when the quota or a
//! pod changes. Does not look at Deployments, nor at whose the ReplicaSet is.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{
    Says, at, earliest, has_status, int, is_deleting, items, key_of, kind, kinds, labels, name, namespace,
    put, put_condition, set_count, text, uid,
};
use super::ownership::{adopted, controller_of, is_controlled_by, reference_to, released};
use super::pods::{self, Availability};
use super::{quota, seeded, selector};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// The ReplicaSet controller.
#[derive(Debug)]
pub struct ReplicaSets {
    seed: u64,
    max_pods: Option<usize>,
    /// Pods named so far; makes each name another.
    named: u64,
}

impl ReplicaSets {
    /// Makes the controller. Names follow from `seed`; no namespace gets more than `max_pods` pods.
    pub fn new(seed: u64, max_pods: Option<usize>) -> Self {
        Self { seed, max_pods, named: 0 }
    }

    fn new_name(&mut self, set: &Value, view: &dyn View) -> String {
        loop {
            self.named += 1;
            let suffix = seeded::suffix(self.seed, &[name(set), &self.named.to_string()]);
            let found = format!("{}-{suffix}", name(set));
            if view.get(kinds::POD, namespace(set), &found).is_none() {
                return found;
            }
        }
    }

    /// Asks for the missing pods; returns why not for all of them.
    fn create(&mut self, set: &Value, missing: usize, view: &dyn View, ops: &mut Vec<Op>) -> Option<String> {
        let space = namespace(set);
        if space.and_then(|ns| view.get(kinds::NAMESPACE, None, ns)).is_some_and(|ns| is_deleting(&ns)) {
            return None;
        }
        let prefix = format!("{}-", name(set));
        let room = quota::room(view, space, self.max_pods);
        let fitting = room.pods.map_or(missing, |pods| pods.min(missing));
        let template = at(set, "/spec/template").cloned().unwrap_or_default();
        for _ in 0..fitting {
            let owner = reference_to(set, "apps/v1", kinds::REPLICA_SET);
            let pod = pods::from_template(&template, space, &prefix, &self.new_name(set, view), owner);
            ops.push(Op::Create(pod));
        }
        (fitting < missing).then(|| room.refusal(&prefix))
    }
}

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::REPLICA_SET => vec![key_of(changed)],
            kinds::POD => {
                let mut keys = sets_of_pod(changed, view);
                if pods::is_terminal(changed) || is_deleting(changed) {
                    keys.extend(refused_sets(namespace(changed), view));
                }
                keys
            }
            kinds::RESOURCE_QUOTA => refused_sets(namespace(changed), view),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::REPLICA_SET {
            return Outcome::default();
        }
        let Some(set) = view.get(kinds::REPLICA_SET, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        let mut ops = vec![];
        let all = view.list(kinds::POD, key.namespace.as_deref());
        let claimed = claim(&set, &all, &mut ops);
        let active: Vec<&Value> = claimed.iter().copied().filter(|pod| pods::is_active(pod)).collect();
        let terminating = claimed.iter().filter(|pod| pods::is_terminating(pod)).count();
        let wanted = int(&set, "/spec/replicas").unwrap_or(1).max(0) as usize;
        let makes_own = selector::fits_template(&set);

        let mut refusal = None;
        if is_deleting(&set) {
            // Its pods belong to the garbage collector now.
        } else if active.len() < wanted && makes_own {
            refusal = self.create(&set, wanted - active.len(), view, &mut ops);
        } else if active.len() > wanted {
            let related = related_pods(&set, &all, view);
            let victims = pods::sort_victims(&active, &related, view.now());
            ops.extend(victims.into_iter().take(active.len() - wanted).map(delete));
        }

        let (status, recheck_at) = status(&set, &active, terminating, refusal.as_deref(), view.now());
        if !has_status(&set, &status) {
            let mut written = Value::clone(&set);
            put(&mut written, &["status"], status);
            ops.push(Op::UpdateStatus(written));
        }
        Outcome { ops, recheck_at }
    }
}

/// Deletes a pod, if it still is this one.
fn delete(pod: &Value) -> Op {
    Op::Delete {
        kind: kinds::POD.to_owned(),
        namespace: namespace(pod).map(str::to_owned),
        name: name(pod).to_owned(),
        uid: Some(uid(pod).to_owned()),
        grace_seconds: None,
    }
}

/// Returns the pods that are the ReplicaSet's, adopting orphans that fit and releasing its own that do not.
fn claim<'a>(set: &Value, all: &'a [Arc<Value>], ops: &mut Vec<Op>) -> Vec<&'a Value> {
    let selector = at(set, "/spec/selector").cloned().unwrap_or_default();
    let fits = |pod: &Value| !selector::is_empty(&selector) && selector::matches(&selector, labels(pod));
    let mut claimed: Vec<&Value> = vec![];
    for pod in all {
        let is_ours = is_controlled_by(pod, set);
        let is_orphan = controller_of(pod).is_none();
        match (is_ours, fits(pod)) {
            (true, true) => claimed.push(pod),
            (true, false) if pods::is_active(pod) && !is_deleting(set) => {
                ops.push(Op::Update(released(pod, &[uid(set)])));
            }
            (false, true) if is_orphan && pods::is_active(pod) && !is_deleting(set) => {
                ops.push(Op::Update(adopted(pod, reference_to(set, "apps/v1", kinds::REPLICA_SET))));
                claimed.push(pod);
            }
            _ => {}
        }
    }
    claimed
}

/// Returns the pods of all ReplicaSets with the same owner as this one.
fn related_pods<'a>(set: &Value, all: &'a [Arc<Value>], view: &dyn View) -> Vec<&'a Value> {
    let mut uids = vec![uid(set).to_owned()];
    if let Some(owner) = controller_of(set) {
        let siblings = view.list(kinds::REPLICA_SET, namespace(set));
        let shares_owner = |one: &&Arc<Value>| controller_of(one).is_some_and(|found| found.uid == owner.uid);
        uids.extend(siblings.iter().filter(shares_owner).map(|one| uid(one).to_owned()));
    }
    let is_related =
        |pod: &&Arc<Value>| controller_of(pod).is_some_and(|found| uids.iter().any(|one| one == found.uid));
    all.iter().filter(is_related).map(|pod| &**pod).collect()
}

fn status(
    set: &Value,
    active: &[&Value],
    terminating: usize,
    refusal: Option<&str>,
    now: Timestamp,
) -> (Value, Option<Timestamp>) {
    let min_ready = int(set, "/spec/minReadySeconds").unwrap_or(0);
    let template_labels = at(set, "/spec/template").and_then(labels).cloned().unwrap_or_default();
    let (mut labelled, mut ready, mut available) = (0, 0, 0);
    let mut recheck_at = None;
    for pod in active {
        labelled += i64::from(selector::matches_map(&template_labels, labels(pod)));
        ready += i64::from(pods::is_ready(pod));
        match pods::availability(pod, min_ready, now) {
            Availability::Available => available += 1,
            Availability::From(at) => recheck_at = earliest(recheck_at, Some(at)),
            Availability::No => {}
        }
    }
    let mut status = set.get("status").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
    put(&mut status, &["replicas"], active.len() as i64);
    set_count(&mut status, "fullyLabeledReplicas", labelled);
    set_count(&mut status, "readyReplicas", ready);
    set_count(&mut status, "availableReplicas", available);
    put(&mut status, &["terminatingReplicas"], terminating as i64);
    set_count(&mut status, "observedGeneration", int(set, "/metadata/generation").unwrap_or(0));
    set_failure(&mut status, refusal, now);
    (status, recheck_at)
}

/// Puts the ReplicaFailure condition in place; like the real one, an existing condition keeps its first
/// message for as long as pods are refused.
fn set_failure(status: &mut Value, refusal: Option<&str>, now: Timestamp) {
    let mut conditions = items(status, "/conditions").to_vec();
    let has_failed = conditions.iter().any(|one| text(one, "/type") == Some("ReplicaFailure"));
    match (refusal, has_failed) {
        (Some(message), false) => {
            let says = Says { kind: "ReplicaFailure", status: "True", reason: "FailedCreate", message };
            put_condition(&mut conditions, says.at(now));
        }
        (None, true) => conditions.retain(|one| text(one, "/type") != Some("ReplicaFailure")),
        _ => return,
    }
    if conditions.is_empty() {
        super::object::remove(status, &["conditions"]);
    } else {
        put(status, &["conditions"], conditions);
    }
}

/// Returns the ReplicaSet that controls the pod, or all that would take it if nobody does.
fn sets_of_pod(pod: &Value, view: &dyn View) -> Vec<Key> {
    if let Some(owner) = controller_of(pod) {
        let key = super::object::key(kinds::REPLICA_SET, namespace(pod), owner.name);
        return if owner.kind == kinds::REPLICA_SET { vec![key] } else { vec![] };
    }
    let takes = |set: &&Arc<Value>| {
        at(set, "/spec/selector")
            .is_some_and(|found| !selector::is_empty(found) && selector::matches(found, labels(pod)))
    };
    view.list(kinds::REPLICA_SET, namespace(pod)).iter().filter(takes).map(|set| key_of(set)).collect()
}

fn refused_sets(namespace: Option<&str>, view: &dyn View) -> Vec<Key> {
    let is_refused = |set: &&Arc<Value>| super::object::condition_is(set, "ReplicaFailure", "True");
    view.list(kinds::REPLICA_SET, namespace).iter().filter(is_refused).map(|set| key_of(set)).collect()
}

#[cfg(test)]
mod tests;
