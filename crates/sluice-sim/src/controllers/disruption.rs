//! How many pods a PodDisruptionBudget lets go, as its status says.
//!
//! Percentages and `maxUnavailable` count against what the pods' controllers want: the Deployment's or
//! ReplicaSet's `spec.replicas`, or that of whatever kind controls the pods. Same rules as Kubernetes 1.36,
//! `pkg/controller/disruption`. Does not evict, and keeps no list of evictions under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::object::{
    Says, at, has_status, int, is_deleting, items, key_of, kind, kinds, labels, namespace, put,
    put_condition, scaled,
};
use super::ownership::controller_of;
use super::{pods, selector};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// The disruption controller.
#[derive(Debug, Default)]
pub struct Disruption;

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        let budgets = |takes: &dyn Fn(&Value) -> bool| -> Vec<Key> {
            let all = view.list(kinds::POD_DISRUPTION_BUDGET, namespace(changed));
            all.iter().filter(|budget| takes(budget)).map(|budget| key_of(budget)).collect()
        };
        match kind(changed) {
            kinds::POD_DISRUPTION_BUDGET => vec![key_of(changed)],
            kinds::POD => budgets(&|budget| covers(budget, changed)),
            // Whatever has replicas may be what the pods are counted against.
            _ if int(changed, "/spec/replicas").is_some() => budgets(&|_| true),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::POD_DISRUPTION_BUDGET {
            return Outcome::default();
        }
        let Some(budget) = view.get(kinds::POD_DISRUPTION_BUDGET, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        let all = view.list(kinds::POD, namespace(&budget));
        let covered: Vec<&Value> = all
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| covers(&budget, pod) && !pods::is_terminal(pod))
            .collect();
        let (expected, desired) = wanted(&budget, &covered, view);
        let healthy = covered.iter().filter(|pod| pods::is_ready(pod) && !is_deleting(pod)).count() as i64;
        let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };

        let mut status = budget.get("status").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
        for (field, value) in [
            ("currentHealthy", healthy),
            ("desiredHealthy", desired),
            ("disruptionsAllowed", allowed),
            ("expectedPods", expected),
            ("observedGeneration", int(&budget, "/metadata/generation").unwrap_or(0)),
        ] {
            put(&mut status, &[field], value);
        }
        let (value, reason) =
            if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let mut conditions = items(&status, "/conditions").to_vec();
        let says = Says { kind: "DisruptionAllowed", status: value, reason, message: "" };
        let mut condition = says.at(view.now());
        put(&mut condition, &["message"], "");
        put(&mut condition, &["observedGeneration"], int(&budget, "/metadata/generation").unwrap_or(0));
        put_condition(&mut conditions, condition);
        put(&mut status, &["conditions"], conditions);
        if has_status(&budget, &status) {
            return Outcome::default();
        }
        let mut written = Value::clone(&budget);
        put(&mut written, &["status"], status);
        Outcome { ops: vec![Op::UpdateStatus(written)], recheck_at: None }
    }
}

fn covers(budget: &Value, pod: &Value) -> bool {
    at(budget, "/spec/selector").is_some_and(|wanted| selector::matches(wanted, labels(pod)))
}

/// Returns how many pods there should be, and how many of them must stay healthy.
fn wanted(budget: &Value, pods: &[&Value], view: &dyn View) -> (i64, i64) {
    if let Some(limit) = at(budget, "/spec/maxUnavailable") {
        let expected = expected_by_controllers(pods, view);
        let unavailable = scaled(Some(limit), expected, true).unwrap_or(0);
        return (expected, (expected - unavailable).max(0));
    }
    match at(budget, "/spec/minAvailable") {
        Some(Value::Number(number)) => (pods.len() as i64, number.as_i64().unwrap_or(0).max(0)),
        limit @ Some(_) => {
            let expected = expected_by_controllers(pods, view);
            (expected, scaled(limit, expected, true).unwrap_or(0).max(0))
        }
        None => (pods.len() as i64, 0),
    }
}

/// Returns the sum of what the pods' controllers want, each controller counted once.
fn expected_by_controllers(pods: &[&Value], view: &dyn View) -> i64 {
    let mut by_uid: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller_of(pod) else { continue };
        let Some(found) = view.get(owner.kind, namespace(pod), owner.name) else { continue };
        let above = controller_of(&found).filter(|above| above.kind == kinds::DEPLOYMENT);
        let deployment: Option<(String, Arc<Value>)> = above.and_then(|above| {
            Some((above.uid.to_owned(), view.get(kinds::DEPLOYMENT, namespace(pod), above.name)?))
        });
        let (uid, scaled) = deployment.unwrap_or_else(|| (owner.uid.to_owned(), found.clone()));
        by_uid.insert(uid, int(&scaled, "/spec/replicas").unwrap_or(1));
    }
    by_uid.values().sum()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, deployment};
    use super::*;

    #[test]
    fn allowances() {
        // (spec, pods that are ready of 4 wanted) => expected, desired, healthy, allowed
        for (spec, image, expected) in [
            (json!({"minAvailable": 3}), "web:1", [4, 3, 4, 1]),
            (json!({"minAvailable": "60%"}), "web:1", [4, 3, 4, 1]),
            (json!({"maxUnavailable": 1}), "web:1", [4, 3, 4, 1]),
            (json!({"maxUnavailable": "50%"}), "web:1", [4, 2, 4, 2]),
            (json!({"maxUnavailable": "30%"}), "web:1", [4, 2, 4, 2]), // rounded up
            (json!({"maxUnavailable": 1}), "web:unready", [4, 3, 0, 0]),
            (json!({}), "web:1", [4, 0, 4, 4]),
        ] {
            let mut cluster = Cluster::standard();
            let mut spec = spec;
            spec["selector"] = json!({"matchLabels": {"app": "web"}});
            cluster.create(deployment("web", 4, image));
            cluster.create(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "b", "namespace": "default"}, "spec": spec,
            }));
            cluster.advance(5);
            let budget = cluster.find(kinds::POD_DISRUPTION_BUDGET, "b").expect("the budget");
            let found = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
                .map(|field| int(&budget, &format!("/status/{field}")).unwrap_or(-1));
            assert_eq!(found, expected, "{spec} {image}");
            cluster.check_quiet();
        }
    }
}
