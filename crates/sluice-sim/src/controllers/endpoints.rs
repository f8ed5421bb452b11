//! Which pods stand behind a Service, as EndpointSlices say it.
//!
//! One IPv4 slice per Service with a selector, however many pods there are. Terminating pods stay in it, not
//! ready but still serving. Same rules as Kubernetes 1.36, `k8s.io/endpointslice`; knows no topology
//! hints, no second slice, and resolves a named port once for all pods.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::object::{
    at, flag, int, is_deleting, items, key, key_of, kind, kinds, labels, means_same, name, namespace, put,
    text, uid,
};
use super::ownership::reference_to;
use super::{pods, seeded, selector};
use crate::seam::{Controller, Key, Op, Outcome, View};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The EndpointSlice controller.
#[derive(Debug)]
pub struct Endpoints {
    seed: u64,
}

impl Endpoints {
    /// Makes the controller; names follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::SERVICE => vec![key_of(changed)],
            kinds::ENDPOINT_SLICE => service_of(changed).into_iter().collect(),
            kinds::POD => {
                let takes = |service: &&Arc<Value>| {
                    selector_of(service).is_some_and(|wanted| selector::matches_map(wanted, labels(changed)))
                };
                let services = view.list(kinds::SERVICE, namespace(changed));
                let mut keys: Vec<Key> =
                    services.iter().filter(takes).map(|service| key_of(service)).collect();
                // Its labels may have been others before.
                let slices = view.list(kinds::ENDPOINT_SLICE, namespace(changed));
                keys.extend(
                    slices
                        .iter()
                        .filter(|slice| has_pod(slice, changed))
                        .filter_map(|slice| service_of(slice)),
                );
                keys.sort();
                keys.dedup();
                keys
            }
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::SERVICE {
            return Outcome::default();
        }
        let Some(service) = view.get(kinds::SERVICE, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        let is_external = text(&service, "/spec/type") == Some("ExternalName");
        let Some(wanted) = selector_of(&service).filter(|_| !is_external && !is_deleting(&service)) else {
            return Outcome::default();
        };
        let all = view.list(kinds::POD, namespace(&service));
        let chosen: Vec<&Value> = all
            .iter()
            .map(|pod| &**pod)
            .filter(|pod| selector::matches_map(wanted, labels(pod)) && is_reachable(pod))
            .collect();
        let slices = view.list(kinds::ENDPOINT_SLICE, namespace(&service));
        let is_ours = |slice: &&Arc<Value>| {
            labels(slice).and_then(|all| all.get(MANAGED_BY)).and_then(Value::as_str) == Some(MANAGER)
                && service_of(slice).is_some_and(|found| found == *key)
        };
        let found = slices.iter().find(is_ours).filter(|slice| !is_deleting(slice));
        let base = match found {
            Some(slice) => Value::clone(slice),
            None => self.new_slice(&service),
        };
        let written = filled(base, &service, &chosen);
        let ops = match found {
            None => vec![Op::Create(written)],
            Some(slice) if !means_same(slice, &written) => vec![Op::Update(written)],
            Some(_) => vec![],
        };
        Outcome { ops, recheck_at: None }
    }
}

impl Endpoints {
    fn new_slice(&self, service: &Value) -> Value {
        let suffix = seeded::suffix(self.seed, &[name(service), uid(service)]);
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": kinds::ENDPOINT_SLICE,
            "metadata": {
                "name": format!("{}-{suffix}", name(service)),
                "generateName": format!("{}-", name(service)),
                "ownerReferences": [reference_to(service, "v1", kinds::SERVICE)],
            },
            "addressType": "IPv4",
        });
        if let Some(space) = namespace(service) {
            put(&mut slice, &["metadata", "namespace"], space);
        }
        slice
    }
}

fn filled(mut slice: Value, service: &Value, pods: &[&Value]) -> Value {
    let mut all = labels(service).cloned().unwrap_or_default();
    all.insert(SERVICE_NAME.to_owned(), Value::from(name(service)));
    all.insert(MANAGED_BY.to_owned(), Value::from(MANAGER));
    if text(service, "/spec/clusterIP") == Some("None") {
        all.insert("service.kubernetes.io/headless".to_owned(), Value::from(""));
    }
    put(&mut slice, &["metadata", "labels"], all);
    let tolerates = flag(service, "/spec/publishNotReadyAddresses");
    let endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(pod, tolerates)).collect();
    put(&mut slice, &["endpoints"], endpoints);
    let ports: Vec<Value> =
        items(service, "/spec/ports").iter().filter_map(|port| resolved(port, pods)).collect();
    put(&mut slice, &["ports"], ports);
    slice
}

fn endpoint(pod: &Value, tolerates_unready: bool) -> Value {
    let serving = pods::is_ready(pod);
    let terminating = is_deleting(pod);
    let mut endpoint = json!({
        "addresses": [text(pod, "/status/podIP").unwrap_or_default()],
        "conditions": {
            "ready": tolerates_unready || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": kinds::POD, "name": name(pod), "namespace": namespace(pod).unwrap_or_default(), "uid": uid(pod),
        },
    });
    if let Some(node) = text(pod, "/spec/nodeName") {
        put(&mut endpoint, &["nodeName"], node);
    }
    endpoint
}

/// Returns the port as the slice has it; `None` for a named one that no pod has.
fn resolved(port: &Value, pods: &[&Value]) -> Option<Value> {
    let protocol = text(port, "/protocol").unwrap_or("TCP");
    let number = match port.get("targetPort") {
        Some(Value::String(wanted)) => match wanted.parse() {
            Ok(number) => number,
            Err(_) => pods.iter().find_map(|pod| named_port(pod, wanted, protocol))?,
        },
        Some(found) if found.as_i64().is_some_and(|number| number > 0) => found.as_i64()?,
        _ => int(port, "/port")?,
    };
    let mut found =
        json!({"name": text(port, "/name").unwrap_or_default(), "port": number, "protocol": protocol});
    if let Some(application) = text(port, "/appProtocol") {
        put(&mut found, &["appProtocol"], application);
    }
    Some(found)
}

fn named_port(pod: &Value, wanted: &str, protocol: &str) -> Option<i64> {
    let ports = items(pod, "/spec/containers").iter().flat_map(|container| items(container, "/ports"));
    let is_wanted = |port: &&Value| {
        text(port, "/name") == Some(wanted) && text(port, "/protocol").unwrap_or("TCP") == protocol
    };
    ports.into_iter().find(is_wanted).and_then(|port| int(port, "/containerPort"))
}

fn is_reachable(pod: &Value) -> bool {
    !pods::is_terminal(pod) && text(pod, "/status/podIP").is_some()
}

fn selector_of(service: &Value) -> Option<&Map<String, Value>> {
    at(service, "/spec/selector").and_then(Value::as_object).filter(|found| !found.is_empty())
}

fn service_of(slice: &Value) -> Option<Key> {
    let service = labels(slice)?.get(SERVICE_NAME)?.as_str()?;
    Some(key(kinds::SERVICE, namespace(slice), service))
}

fn has_pod(slice: &Value, pod: &Value) -> bool {
    items(slice, "/endpoints").iter().any(|one| text(one, "/targetRef/uid") == Some(uid(pod)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, pod};
    use super::*;

    fn service(wanted: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
            "spec": {"selector": wanted, "ports": [{"name": "http", "port": 80, "targetPort": "web"}, {"port": 90}]},
        })
    }

    /// (pod, ready, serving, terminating) for each endpoint.
    fn endpoints(cluster: &Cluster) -> Vec<(String, bool, bool, bool)> {
        let slices = cluster.list(kinds::ENDPOINT_SLICE, None);
        assert_eq!(slices.len(), 1);
        let read = |one: &Value| {
            let says = |what: &str| flag(one, &format!("/conditions/{what}"));
            let name = text(one, "/targetRef/name").unwrap_or_default().to_owned();
            (name, says("ready"), says("serving"), says("terminating"))
        };
        items(&slices[0], "/endpoints").iter().map(read).collect()
    }

    #[test]
    fn a_slice_follows_pods_and_selector() {
        let mut cluster = Cluster::standard();
        cluster.create(service(&json!({"app": "web"})));
        assert_eq!(endpoints(&cluster), []);
        for (name, image) in [("a", "web:1"), ("b", "web:unready")] {
            let mut pod = pod(name, image);
            pod["spec"]["containers"][0]["ports"] = json!([{"name": "web", "containerPort": 8080}]);
            cluster.create(pod);
        }
        cluster.advance(3);
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(endpoints(&cluster), [(a.clone(), true, true, false), (b.clone(), false, false, false)]);
        let slice = cluster.list(kinds::ENDPOINT_SLICE, None).remove(0);
        let expected = json!([
            {"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "", "port": 90, "protocol": "TCP"},
        ]);
        assert_eq!(slice["ports"], expected);
        assert_eq!(slice["metadata"]["labels"][SERVICE_NAME], "web");
        assert_eq!(slice["metadata"]["labels"]["team"], "a");

        cluster.delete(kinds::POD, Some("default"), "a");
        assert_eq!(endpoints(&cluster), [(a, false, true, true), (b.clone(), false, false, false)]);
        cluster.advance(3);
        assert_eq!(endpoints(&cluster), [(b, false, false, false)]);

        cluster
            .edit(kinds::POD, Some("default"), "b", |pod| pod["metadata"]["labels"]["app"] = json!("other"));
        assert_eq!(endpoints(&cluster), []);
        cluster.edit(kinds::SERVICE, Some("default"), "web", |service| {
            service["spec"]["selector"] = json!({"app": "other"});
        });
        assert_eq!(endpoints(&cluster).len(), 1);
        cluster.check_quiet();
    }

    #[test]
    fn a_service_without_selector_has_no_slice_of_ours() {
        let mut cluster = Cluster::standard();
        cluster.create(service(&json!({})));
        cluster.create(pod("a", "web:1"));
        cluster.advance(3);
        assert_eq!(cluster.list(kinds::ENDPOINT_SLICE, None), vec![]);
    }
}
