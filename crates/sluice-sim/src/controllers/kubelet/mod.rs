//! How pods live on their nodes: start, get ready, crash, finish, stop.
//!
//! Writes the status of every pod that is bound to a node, and removes pods that were told to go. What the
//! containers do is a [`Plan`]; see [`behaviour`] for the conventions. A pod that is told to go keeps its
//! status, Ready included, until the termination time is over, as real pods do while their program still
//! runs; then its containers are written as stopped and the pod is removed.
//! Nodes whose Ready condition is not True have no kubelet: their pods stay as they are. Does not schedule,
//! probe, run init containers (they are written as done) or react to a changed image.

pub mod behaviour;
mod container;
mod status;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::behaviour::Behaviour;
use self::container::Situation;
use super::object::{
    earliest, has_status, int, is_deleting, items, key_of, kind, kinds, later, name, namespace, put, text,
    time, uid, whole_second, wire_time,
};
use super::{nodes, pods};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// All kubelets of the cluster.
#[derive(Debug)]
pub struct Kubelets {
    behaviour: Behaviour,
    termination: SignedDuration,
    memory: BTreeMap<Key, Memory>,
    /// How many addresses were given out; `None` before the first look at those in use.
    addresses: Option<u32>,
}

/// What a kubelet knows of a pod beyond what is written.
#[derive(Debug, Default)]
struct Memory {
    uid: String,
    /// The instants at which something was written, because what is written has only seconds.
    instants: Vec<Timestamp>,
    stops_since: Option<Timestamp>,
}

impl Memory {
    fn exact(&self, written: Timestamp) -> Timestamp {
        self.instants.iter().copied().find(|at| whole_second(*at) == written).unwrap_or(written)
    }
}

impl Kubelets {
    pub(super) fn new(behaviour: Behaviour, termination: SignedDuration) -> Self {
        Self { behaviour, termination, memory: BTreeMap::new(), addresses: None }
    }

    fn new_address(&mut self, view: &dyn View) -> String {
        let next = match self.addresses {
            Some(used) => used + 1,
            None => highest_address(view) + 1,
        };
        self.addresses = Some(next);
        address(next)
    }

    fn run(&mut self, key: &Key, pod: &Value, view: &dyn View) -> Outcome {
        let now = view.now();
        let ip = match text(pod, "/status/podIP") {
            Some(found) => found.to_owned(),
            None => self.new_address(view),
        };
        let memory = self.memory.entry(key.clone()).or_default();
        let exact = |written| memory.exact(written);
        let pod_start = time(pod, "/status/startTime").map_or(now, exact);
        let mut statuses = vec![];
        let mut standings = vec![];
        let mut recheck_at = None;
        for container in items(pod, "/spec/containers") {
            let plan = self.behaviour.plan(pod, container);
            let situation = Situation { pod, container, plan: &plan, pod_start, now, exact: &exact };
            let found = container::look(&situation, previous(pod, container));
            statuses.push(found.status);
            standings.push(found.standing);
            recheck_at = earliest(recheck_at, found.next);
        }
        let restarts_always = !matches!(text(pod, "/spec/restartPolicy"), Some("Never" | "OnFailure"));
        let phase = status::phase(&standings, restarts_always);
        let mut status = status::status(pod, phase, statuses, now);
        put(&mut status, &["startTime"], wire_time(pod_start));
        put(&mut status, &["podIP"], ip.as_str());
        put(&mut status, &["podIPs"], json!([{"ip": ip}]));
        let host = nodes::address(view, text(pod, "/spec/nodeName").unwrap_or_default());
        put(&mut status, &["hostIP"], host.as_str());
        put(&mut status, &["hostIPs"], json!([{"ip": host}]));
        if has_status(pod, &status) {
            return Outcome { ops: vec![], recheck_at };
        }
        memory.instants.push(now);
        Outcome { ops: vec![Op::UpdateStatus(with_status(pod, status))], recheck_at }
    }

    fn stop(&mut self, key: &Key, pod: &Value, now: Timestamp) -> Outcome {
        if pods::is_terminal(pod) {
            return Outcome { ops: remove_now(pod).into_iter().collect(), recheck_at: None };
        }
        let memory = self.memory.entry(key.clone()).or_default();
        let since = *memory.stops_since.get_or_insert(now);
        let grace =
            int(pod, "/metadata/deletionGracePeriodSeconds").map_or(self.termination, super::object::seconds);
        let until = later(since, self.termination.min(grace));
        if now < until {
            return Outcome { ops: vec![], recheck_at: Some(until) };
        }
        let exact = |written| memory.exact(written);
        let pod_start = time(pod, "/status/startTime").map_or(now, exact);
        let stopped = |container| {
            let plan = self.behaviour.plan(pod, container);
            let situation = Situation { pod, container, plan: &plan, pod_start, now, exact: &exact };
            container::stopped(&situation, previous(pod, container))
        };
        let statuses: Vec<Value> = items(pod, "/spec/containers").iter().map(stopped).collect();
        let has_failed = |status: &Value| int(status, "/state/terminated/exitCode").unwrap_or(137) != 0;
        let phase = if statuses.iter().any(has_failed) { "Failed" } else { "Succeeded" };
        let status = status::status(pod, phase, statuses, now);
        let mut ops = vec![Op::UpdateStatus(with_status(pod, status))];
        ops.extend(remove_now(pod));
        Outcome { ops, recheck_at: None }
    }
}

impl Controller for Kubelets {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::POD => vec![key_of(changed)],
            kinds::NODE => nodes::pods_on(view, name(changed)).iter().map(|pod| key_of(pod)).collect(),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::POD {
            return Outcome::default();
        }
        let Some(pod) = view.get(kinds::POD, key.namespace.as_deref(), &key.name) else {
            self.memory.remove(key);
            return Outcome::default();
        };
        let memory = self.memory.entry(key.clone()).or_default();
        if memory.uid != uid(&pod) {
            *memory = Memory { uid: uid(&pod).to_owned(), ..Memory::default() };
        }
        match text(&pod, "/spec/nodeName") {
            // Nothing runs anywhere, so there is nothing to wait for.
            None if is_deleting(&pod) => {
                Outcome { ops: remove_now(&pod).into_iter().collect(), recheck_at: None }
            }
            None => Outcome::default(),
            Some(node) if !nodes::is_ready(view, node) => Outcome::default(),
            Some(_) if is_deleting(&pod) => self.stop(key, &pod, view.now()),
            Some(_) if pods::is_terminal(&pod) => Outcome::default(),
            Some(_) => self.run(key, &pod, view),
        }
    }
}

/// Removes a pod for good, unless that was asked already and a finalizer holds it.
fn remove_now(pod: &Value) -> Option<Op> {
    let is_asked = int(pod, "/metadata/deletionGracePeriodSeconds") == Some(0);
    let is_held = !items(pod, "/metadata/finalizers").is_empty();
    (!(is_asked && is_held)).then(|| Op::Delete {
        kind: kinds::POD.to_owned(),
        namespace: namespace(pod).map(str::to_owned),
        name: name(pod).to_owned(),
        uid: Some(uid(pod).to_owned()),
        grace_seconds: Some(0),
    })
}

fn with_status(pod: &Value, status: Value) -> Value {
    let mut written = pod.clone();
    put(&mut written, &["status"], status);
    written
}

/// Returns the last written status of a container.
fn previous<'a>(pod: &'a Value, container: &Value) -> Option<&'a Value> {
    let wanted = text(container, "/name")?;
    items(pod, "/status/containerStatuses").iter().find(|one| text(one, "/name") == Some(wanted))
}

fn address(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

fn highest_address(view: &dyn View) -> u32 {
    let number = |pod: &Value| {
        let ip: std::net::Ipv4Addr = text(pod, "/status/podIP")?.parse().ok()?;
        let [first, a, b, c] = ip.octets();
        (first == 10).then(|| u32::from_be_bytes([0, a, b, c]))
    };
    view.list(kinds::POD, None).iter().filter_map(|pod| number(pod)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
