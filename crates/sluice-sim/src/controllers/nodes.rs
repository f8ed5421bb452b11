//! Nodes: which there are, whether they can be used, and what happens to the pods of a lost one.
//!
//! The node lifecycle controller marks the pods of a node that is not Ready as not ready, deletes them
//! after a while, and removes the pods of a node that is gone. A node becomes not Ready when somebody
//! writes so into its conditions; there are no heartbeats. Without Node objects every node is taken to be
//! there and well.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{
    Says, condition, condition_is, earliest, is_deleting, items, key_of, kind, kinds, later, name, namespace,
    put, put_condition, text, time, uid,
};
use super::{pods, seeded};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// Returns a Node object that is Ready, for seeding a cluster; `max_pods` limits what it takes.
pub fn node(name: &str, max_pods: Option<usize>, now: Timestamp) -> Value {
    let room = max_pods.unwrap_or(10_000).to_string();
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": room});
    let says = Says {
        kind: "Ready",
        status: "True",
        reason: "KubeletReady",
        message: "kubelet is posting ready status",
    };
    json!({
        "apiVersion": "v1", "kind": kinds::NODE,
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "capacity": room, "allocatable": room,
            "conditions": [says.at(now)],
            "addresses": [{"type": "InternalIP", "address": fallback_address(name)}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    })
}

/// Returns whether the node has a working kubelet; one without an object does.
pub(super) fn is_ready(view: &dyn View, node: &str) -> bool {
    view.get(kinds::NODE, None, node).is_none_or(|found| is_ready_node(&found))
}

/// Returns whether a Node is Ready; one that says nothing about it is.
pub(super) fn is_ready_node(node: &Value) -> bool {
    condition(node, "Ready").is_none() || condition_is(node, "Ready", "True")
}

/// Returns the pods bound to a node.
pub(super) fn pods_on(view: &dyn View, node: &str) -> Vec<Arc<Value>> {
    let mut all = view.list(kinds::POD, None);
    all.retain(|pod| text(pod, "/spec/nodeName") == Some(node));
    all
}

/// Returns the node's own address.
pub(super) fn address(view: &dyn View, node: &str) -> String {
    let found = view.get(kinds::NODE, None, node).and_then(|found| {
        let internal =
            items(&found, "/status/addresses").iter().find(|one| text(one, "/type") == Some("InternalIP"));
        internal.and_then(|one| text(one, "/address")).map(str::to_owned)
    });
    found.unwrap_or_else(|| fallback_address(node))
}

fn fallback_address(node: &str) -> String {
    let number = seeded::mix(0, &[node]) % 64_000;
    format!("172.18.{}.{}", number / 250, 2 + number % 250)
}

/// The node lifecycle controller, together with the one that removes pods of vanished nodes.
#[derive(Debug)]
pub struct NodeLifecycle {
    evict_after: SignedDuration,
}

impl NodeLifecycle {
    /// Makes the controller; pods of a lost node are deleted after `evict_after`.
    pub fn new(evict_after: SignedDuration) -> Self {
        Self { evict_after }
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn keys_for(&self, changed: &Value, _view: &dyn View) -> Vec<Key> {
        if kind(changed) == kinds::NODE { vec![key_of(changed)] } else { vec![] }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::NODE {
            return Outcome::default();
        }
        let now = view.now();
        let pods = pods_on(view, &key.name);
        let Some(node) = view.get(kinds::NODE, None, &key.name) else {
            return Outcome { ops: pods.iter().map(|pod| delete(pod, Some(0))).collect(), recheck_at: None };
        };
        if is_ready_node(&node) {
            return Outcome::default();
        }
        let lost_at =
            condition(&node, "Ready").and_then(|found| time(found, "/lastTransitionTime")).unwrap_or(now);
        let evict_at = later(lost_at, self.evict_after);
        let mut outcome = Outcome::default();
        for pod in pods.iter().filter(|pod| !pods::is_terminal(pod)) {
            if pods::is_ready(pod) {
                outcome.ops.push(Op::UpdateStatus(not_ready(pod, now)));
            } else if !is_deleting(pod) && evict_at <= now {
                outcome.ops.push(delete(pod, None));
            }
            if !is_deleting(pod) && now < evict_at {
                outcome.recheck_at = earliest(outcome.recheck_at, Some(evict_at));
            }
        }
        outcome
    }
}

fn delete(pod: &Value, grace_seconds: Option<i64>) -> Op {
    Op::Delete {
        kind: kinds::POD.to_owned(),
        namespace: namespace(pod).map(str::to_owned),
        name: name(pod).to_owned(),
        uid: Some(uid(pod).to_owned()),
        grace_seconds,
    }
}

fn not_ready(pod: &Value, now: Timestamp) -> Value {
    let mut conditions = items(pod, "/status/conditions").to_vec();
    let says = Says { kind: "Ready", status: "False", reason: "NodeNotReady", message: "Node is not ready" };
    put_condition(&mut conditions, says.at(now));
    let mut written = pod.clone();
    put(&mut written, &["status", "conditions"], conditions);
    written
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, pod};
    use super::*;

    #[test]
    fn pods_of_a_lost_node_are_not_ready_then_go_and_come_back_with_it() {
        let mut cluster = Cluster::standard();
        cluster.create(node("n1", None, cluster.now()));
        cluster.create(pod("p", "web:1"));
        cluster.create(pod("q", "web:1"));
        cluster.advance(5);
        assert!(pods::is_ready(&cluster.pod("p")));
        cluster.edit_status(kinds::NODE, None, "n1", |status| {
            status["conditions"][0]["status"] = json!("Unknown");
        });
        cluster.edit_status(kinds::NODE, None, "n1", |status| {
            status["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:00:05Z");
        });
        cluster.settle();
        assert!(!pods::is_ready(&cluster.pod("p")));
        cluster.advance(299);
        assert!(!is_deleting(&cluster.pod("p")));
        cluster.advance(2);
        assert!(is_deleting(&cluster.pod("p")), "told to go");
        cluster.advance(100);
        assert!(is_deleting(&cluster.pod("p")), "but nobody on the node hears it");
        cluster
            .edit_status(kinds::NODE, None, "n1", |status| status["conditions"][0]["status"] = json!("True"));
        cluster.advance(2);
        assert!(cluster.find(kinds::POD, "p").is_none());
    }

    #[test]
    fn a_node_that_comes_back_in_time_keeps_its_pods() {
        let mut cluster = Cluster::standard();
        cluster.create(node("n1", None, cluster.now()));
        cluster.create(pod("p", "web:1"));
        cluster.advance(5);
        cluster.edit_status(kinds::NODE, None, "n1", |status| {
            status["conditions"][0]["status"] = json!("False");
        });
        cluster.settle();
        assert!(!pods::is_ready(&cluster.pod("p")));
        cluster
            .edit_status(kinds::NODE, None, "n1", |status| status["conditions"][0]["status"] = json!("True"));
        cluster.settle();
        assert!(pods::is_ready(&cluster.pod("p")));
    }

    #[test]
    fn pods_of_a_removed_node_are_removed() {
        let mut cluster = Cluster::standard();
        cluster.create(node("n1", None, cluster.now()));
        cluster.create(pod("p", "web:1"));
        cluster.advance(5);
        cluster.delete(kinds::NODE, None, "n1");
        assert!(cluster.find(kinds::POD, "p").is_none());
    }
}
