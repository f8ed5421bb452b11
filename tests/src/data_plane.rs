//! A data plane that follows late: proxies that see each change of a route or a Service at a time of their
//! own, and requests that are lost when one of them sends to nobody.
//!
//! Knows nothing of rollouts. What it reads are the objects of a mesh, an ingress controller or a plain
//! Service, and pods that are ready. A request counts as lost when a proxy sends it to a destination without
//! a ready pod while ready pods of the application exist.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sluice_sim::Cluster;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::simulation::NAMESPACE;

/// How traffic comes in.
#[derive(Clone, Debug)]
pub enum Entry {
    /// By a VirtualService of this name, with the DestinationRule of that name if it has subsets.
    Istio(String, Option<String>),
    /// By an Ingress of this name and a canary Ingress of that one.
    Nginx(String, String),
    /// By a Service of this name.
    Service(String),
}

/// How many proxies there are.
const PROXIES: usize = 3;
/// The kinds that proxies follow.
const FOLLOWED: [&str; 4] = ["VirtualService", "DestinationRule", "Ingress", "Service"];

/// What went wrong, and when.
#[derive(Clone, Debug, Default)]
pub struct Losses(Arc<Mutex<Vec<String>>>);

impl Losses {
    /// Every loss, each with its time and destination.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, loss: String) {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.len() < 100 {
            losses.push(loss);
        }
    }
}

/// A running data plane.
pub struct DataPlane {
    task: JoinHandle<()>,
    /// What it lost.
    pub losses: Losses,
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Key = (&'static str, String);

/// One proxy: what it has seen, and what it is about to see.
#[derive(Default)]
struct Proxy {
    seen: BTreeMap<Key, Arc<Value>>,
    coming: Vec<(Instant, Key, Option<Arc<Value>>)>,
}

impl Proxy {
    fn let_come(&mut self, now: Instant) {
        // What changed twice comes in the order of its changes.
        self.coming.sort_by_key(|(at, ..)| *at);
        let ready = self.coming.iter().take_while(|(at, ..)| *at <= now).count();
        for (_, key, object) in self.coming.drain(..ready) {
            match object {
                Some(object) => self.seen.insert(key, object),
                None => self.seen.remove(&key),
            };
        }
    }

    fn object(&self, kind: &'static str, name: &str) -> Option<&Value> {
        self.seen.get(&(kind, name.to_owned())).map(Arc::as_ref)
    }

    /// Where it sends requests: weight and label selector of each destination that gets any.
    fn destinations(&self, entry: &Entry) -> Vec<(i64, String, BTreeMap<String, String>)> {
        let service = |name: &str| {
            let selector = self.object("Service", name).map(|service| labels(&service["spec"]["selector"]));
            selector.unwrap_or_default()
        };
        match entry {
            Entry::Service(name) => vec![(100, name.clone(), service(name))],
            Entry::Istio(name, rule) => {
                let Some(route) = self.object("VirtualService", name) else { return Vec::new() };
                let mut all = Vec::new();
                for http in route["spec"]["http"].as_array().into_iter().flatten() {
                    for one in http["route"].as_array().into_iter().flatten() {
                        let host = one["destination"]["host"].as_str().unwrap_or_default();
                        let mut selector = service(host.split('.').next().unwrap_or(host));
                        let subset = one["destination"]["subset"].as_str();
                        if let (Some(subset), Some(rule)) = (subset, rule) {
                            let subsets = self.object("DestinationRule", rule).map(|r| &r["spec"]["subsets"]);
                            let found = subsets.and_then(Value::as_array).into_iter().flatten();
                            for found in found.filter(|s| s["name"].as_str() == Some(subset)) {
                                selector.extend(labels(&found["labels"]));
                            }
                        }
                        let weight = one["weight"].as_i64().unwrap_or(100);
                        all.push((weight, format!("{host} {}", subset.unwrap_or("")), selector));
                    }
                }
                all.retain(|(weight, ..)| *weight > 0);
                all
            }
            Entry::Nginx(stable, canary) => {
                let backend = |ingress: &Value| {
                    let path = ingress.pointer("/spec/rules/0/http/paths/0/backend/service/name");
                    path.and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let Some(ingress) = self.object("Ingress", stable) else { return Vec::new() };
                let mut all = Vec::new();
                let mut left = 100;
                if let Some(canary) = self.object("Ingress", canary) {
                    let weight =
                        canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]
                            .as_str()
                            .and_then(|text| text.parse().ok())
                            .unwrap_or(0);
                    left -= weight;
                    all.push((weight, backend(canary), service(&backend(canary))));
                }
                // Without a pod behind it, nginx answers for the canary too.
                all.push((left.max(1), backend(ingress), service(&backend(ingress))));
                all.retain(|(weight, ..)| *weight > 0);
                all
            }
        }
    }
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let all = value.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Starts proxies that see a change after at most `latest`.
pub fn start(cluster: &Cluster, entry: Entry, latest: Duration, seed: u64) -> DataPlane {
    let losses = Losses::default();
    let task = tokio::spawn(run(cluster.clone(), entry, latest, seed, losses.clone()));
    DataPlane { task, losses }
}

async fn run(cluster: Cluster, entry: Entry, latest: Duration, seed: u64, losses: Losses) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut proxies: Vec<Proxy> = (0..PROXIES).map(|_| Proxy::default()).collect();
    let mut known: BTreeMap<Key, Arc<Value>> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let version = cluster.resource_version();
        let now = Instant::now();
        let found: BTreeMap<Key, Arc<Value>> = FOLLOWED
            .iter()
            .flat_map(|kind| {
                let objects = cluster.list(kind, Some(NAMESPACE));
                objects.into_iter().map(move |object| {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    ((*kind, name), object)
                })
            })
            .collect();
        let gone: Vec<Key> = known.keys().filter(|key| !found.contains_key(*key)).cloned().collect();
        let changed = found
            .iter()
            .filter(|(key, object)| {
                known.get(*key).is_none_or(|old| {
                    old["spec"] != object["spec"]
                        || old["metadata"]["annotations"] != object["metadata"]["annotations"]
                })
            })
            .map(|(key, object)| (key.clone(), Some(Arc::clone(object))))
            .chain(gone.into_iter().map(|key| (key, None)))
            .collect::<Vec<_>>();
        for proxy in &mut proxies {
            for (key, object) in &changed {
                let delay =
                    if is_first { Duration::ZERO } else { latest.mul_f64(random.random_range(0.0..1.0)) };
                let before = proxy.coming.iter().filter(|(_, k, _)| k == key).map(|(at, ..)| *at).max();
                proxy.coming.push(((now + delay).max(before.unwrap_or(now)), key.clone(), object.clone()));
            }
            proxy.let_come(now);
        }
        known = found;
        is_first = false;
        look(&cluster, &entry, &proxies, &losses);
        let next = proxies.iter().flat_map(|proxy| proxy.coming.iter().map(|(at, ..)| *at)).min();
        let change = cluster.changed(version);
        match next {
            Some(at) => {
                let _ = tokio::time::timeout_at(at, change).await;
            }
            None => change.await,
        }
    }
}

fn look(cluster: &Cluster, entry: &Entry, proxies: &[Proxy], losses: &Losses) {
    let pods = cluster.list("Pod", Some(NAMESPACE));
    let ready: Vec<BTreeMap<String, String>> =
        pods.iter().filter(|pod| is_ready(pod)).map(|pod| labels(&pod["metadata"]["labels"])).collect();
    if ready.is_empty() {
        return; // nobody could answer
    }
    for (number, proxy) in proxies.iter().enumerate() {
        for (weight, name, selector) in proxy.destinations(entry) {
            let is_served =
                ready.iter().any(|pod| selector.iter().all(|(key, value)| pod.get(key) == Some(value)));
            if !is_served {
                losses.add(format!(
                    "{}: proxy {number} sends {weight} to {name}, where no pod is ready ({selector:?})",
                    cluster.now()
                ));
            }
        }
    }
}
