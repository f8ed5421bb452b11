//! Which node a pending pod goes to, and what is said when none takes it.
//!
//! Nodes are the Node objects; without any, a given list of names. A node takes pods up to
//! `status.allocatable.pods`, the cluster up to [`Capacity`]; the emptiest node wins. Knows nothing of CPU,
//! memory, affinity, taints (but `spec.unschedulable` and readiness), priority or preemption.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::kubelet::behaviour::Behaviour;
use super::object::{
    Says, at, flag, int, is_deleting, items, key_of, kind, kinds, labels, later, means_same, name, put,
    put_condition, text, time,
};
use super::{nodes, pods, selector};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// How much the cluster holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Pods on all nodes together; `None` means any number.
    pub pods: Option<usize>,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    behaviour: Behaviour,
    schedule_after: SignedDuration,
    capacity: Capacity,
    nodes: Vec<String>,
}

/// A node as the scheduler sees it, with why it takes no pod, if it does not.
struct Candidate {
    name: String,
    pods: usize,
    refusal: Option<&'static str>,
}

impl Scheduler {
    pub(super) fn new(
        behaviour: Behaviour,
        schedule_after: SignedDuration,
        capacity: Capacity,
        nodes: Vec<String>,
    ) -> Self {
        Self { behaviour, schedule_after, capacity, nodes }
    }

    fn candidates(&self, pod: &Value, view: &dyn View) -> Vec<Candidate> {
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        for one in view.list(kinds::POD, None).iter().filter(|one| !pods::is_terminal(one)) {
            if let Some(node) = text(one, "/spec/nodeName") {
                *used.entry(node.to_owned()).or_default() += 1;
            }
        }
        let is_full = self.capacity.pods.is_some_and(|limit| used.values().sum::<usize>() >= limit);
        let is_schedulable = self.behaviour.is_schedulable(pod);
        let objects = view.list(kinds::NODE, None);
        let candidate = |name: &str, own_refusal: Option<&'static str>, limit: Option<usize>| {
            let pods = used.get(name).copied().unwrap_or(0);
            let refusal = if !is_schedulable {
                Some("Insufficient cpu")
            } else if own_refusal.is_some() {
                own_refusal
            } else {
                (is_full || limit.is_some_and(|limit| pods >= limit)).then_some("Too many pods")
            };
            Candidate { name: name.to_owned(), pods, refusal }
        };
        if objects.is_empty() {
            return self.nodes.iter().map(|name| candidate(name, None, None)).collect();
        }
        objects.iter().map(|node| candidate(name(node), refusal(node, pod), limit(node))).collect()
    }
}

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "default-scheduler"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::POD if text(changed, "/spec/nodeName").is_none() => vec![key_of(changed)],
            kinds::POD if is_deleting(changed) || pods::is_terminal(changed) => pending(view),
            kinds::NODE => pending(view),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::POD {
            return Outcome::default();
        }
        let Some(pod) = view.get(kinds::POD, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        if !waits(&pod) {
            return Outcome::default();
        }
        let now = view.now();
        if !items(&pod, "/spec/schedulingGates").is_empty() {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            return refuse(&pod, "SchedulingGated", message, now);
        }
        let ready_at = time(&pod, "/metadata/creationTimestamp").map(|at| later(at, self.schedule_after));
        if let Some(at) = ready_at.filter(|at| *at > now) {
            return Outcome { ops: vec![], recheck_at: Some(at) };
        }
        let candidates = self.candidates(&pod, view);
        let willing = candidates.iter().filter(|one| one.refusal.is_none());
        match willing.min_by_key(|one| (one.pods, &one.name)) {
            Some(node) => Outcome { ops: vec![Op::Update(bound(&pod, &node.name, now))], recheck_at: None },
            None => refuse(&pod, "Unschedulable", &explain(&candidates), now),
        }
    }
}

/// Why a node takes no pods, or not this one.
fn refusal(node: &Value, pod: &Value) -> Option<&'static str> {
    let wanted = at(pod, "/spec/nodeSelector").and_then(Value::as_object);
    if flag(node, "/spec/unschedulable") {
        Some("node(s) were unschedulable")
    } else if !nodes::is_ready_node(node) || is_deleting(node) {
        Some("node(s) had untolerated taint(s)")
    } else if wanted.is_some_and(|wanted| !selector::matches_map(wanted, labels(node))) {
        Some("node(s) didn't match Pod's node affinity/selector")
    } else {
        None
    }
}

fn limit(node: &Value) -> Option<usize> {
    let number = int(node, "/status/allocatable/pods").and_then(|found| usize::try_from(found).ok());
    number.or_else(|| text(node, "/status/allocatable/pods")?.parse().ok())
}

fn explain(candidates: &[Candidate]) -> String {
    let total = candidates.len();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for refusal in candidates.iter().filter_map(|one| one.refusal) {
        *counts.entry(refusal).or_default() += 1;
    }
    let reasons: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if total == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    format!(
        "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {total} No preemption victims found for incoming pod.",
        reasons.join(", ")
    )
}

/// Returns whether the pod still waits for a node.
fn waits(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_none() && !is_deleting(pod) && !pods::is_terminal(pod)
}

fn pending(view: &dyn View) -> Vec<Key> {
    // The oldest first, as far as the second tells.
    let mut waiting: Vec<Arc<Value>> = view.list(kinds::POD, None);
    waiting.retain(|pod| waits(pod));
    waiting.sort_by_key(|pod| time(pod, "/metadata/creationTimestamp"));
    waiting.iter().map(|pod| key_of(pod)).collect()
}

fn with_scheduled(pod: &Value, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let mut conditions = items(pod, "/status/conditions").to_vec();
    let mut condition = Says { kind: "PodScheduled", status, reason, message }.at(now);
    put(&mut condition, &["lastProbeTime"], Value::Null);
    if let Some(generation) = int(pod, "/metadata/generation") {
        put(&mut condition, &["observedGeneration"], generation);
    }
    put_condition(&mut conditions, condition);
    let mut written = pod.clone();
    put(&mut written, &["status", "conditions"], conditions);
    written
}

/// Returns the pod on its node. The condition is written here as a binding does; where a status cannot be
/// written along with the rest, the kubelet writes it a moment later.
fn bound(pod: &Value, node: &str, now: Timestamp) -> Value {
    let mut written = with_scheduled(pod, "True", "", "", now);
    put(&mut written, &["spec", "nodeName"], node);
    written
}

fn refuse(pod: &Value, reason: &str, message: &str, now: Timestamp) -> Outcome {
    let mut written = with_scheduled(pod, "False", reason, message, now);
    if text(&written, "/status/phase").is_none() {
        put(&mut written, &["status", "phase"], json!("Pending"));
    }
    let ops = if means_same(&written, pod) { vec![] } else { vec![Op::UpdateStatus(written)] };
    Outcome { ops, recheck_at: None }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::object::condition;
    use super::super::testing::{Cluster, pod};
    use super::*;

    fn scheduled(cluster: &Cluster, name: &str) -> (String, String) {
        let pod = cluster.pod(name);
        let found = condition(&pod, "PodScheduled").cloned().unwrap_or_default();
        let read = |pointer| text(&found, pointer).unwrap_or_default().to_owned();
        (read("/status"), read("/message"))
    }

    #[test]
    fn a_full_cluster_refuses_until_a_pod_goes() {
        let mut cluster =
            Cluster::new(Settings { capacity: Capacity { pods: Some(2) }, ..Settings::default() });
        for name in ["a", "b", "c"] {
            cluster.create(pod(name, "web:1"));
        }
        cluster.advance(3);
        let expected = "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
        assert_eq!(scheduled(&cluster, "c"), ("False".to_owned(), expected.to_owned()));
        assert_eq!(text(&cluster.pod("c"), "/status/phase"), Some("Pending"));
        cluster.delete(kinds::POD, Some("default"), "a");
        cluster.advance(3);
        assert!(pods::is_ready(&cluster.pod("c")));
    }

    #[test]
    fn nodes_share_the_pods_and_refuse_for_their_own_reasons() {
        let mut cluster = Cluster::standard();
        let now = cluster.now();
        for (name, limit) in [("n1", Some(1)), ("n2", None), ("n3", None)] {
            cluster.create(nodes::node(name, limit, now));
        }
        for name in ["a", "b", "c", "d", "e"] {
            cluster.create(pod(name, "web:1"));
        }
        let count = |cluster: &Cluster, node: &str| nodes::pods_on(cluster, node).len();
        assert_eq!((count(&cluster, "n1"), count(&cluster, "n2"), count(&cluster, "n3")), (1, 2, 2));
        for node in ["n2", "n3"] {
            cluster.edit(kinds::NODE, None, node, |node| node["spec"]["unschedulable"] = json!(true));
        }
        cluster.create(pod("f", "web:1"));
        let (status, message) = scheduled(&cluster, "f");
        assert_eq!(status, "False");
        assert!(
            message.starts_with("0/3 nodes are available: 1 Too many pods, 2 node(s) were unschedulable."),
            "{message}"
        );
        cluster.edit(kinds::NODE, None, "n3", |node| node["spec"]["unschedulable"] = json!(false));
        assert_eq!(text(&cluster.pod("f"), "/spec/nodeName"), Some("n3"));
    }

    #[test]
    fn scheduling_takes_its_time_and_waits_for_gates() {
        let schedule_after = SignedDuration::from_secs(2);
        let mut cluster = Cluster::new(Settings { schedule_after, ..Settings::default() });
        cluster.create(pod("a", "web:1"));
        let mut gated = pod("b", "web:1");
        gated["spec"]["schedulingGates"] = json!([{"name": "wait"}]);
        cluster.create(gated);
        cluster.create(pod("c", "web:pending"));
        cluster.advance(1);
        assert_eq!(text(&cluster.pod("a"), "/spec/nodeName"), None);
        cluster.advance(1);
        assert_eq!(text(&cluster.pod("a"), "/spec/nodeName"), Some("node-1"));
        cluster.advance(100);
        assert_eq!(text(&cluster.pod("b"), "/spec/nodeName"), None);
        assert_eq!(scheduled(&cluster, "c").0, "False");
        cluster.edit(kinds::POD, Some("default"), "b", |pod| pod["spec"]["schedulingGates"] = json!([]));
        cluster.settle();
        assert_eq!(text(&cluster.pod("b"), "/spec/nodeName"), Some("node-1"));
    }
}
