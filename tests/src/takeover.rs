//! What Argo Rollouts left behind, to be put into a cluster and gone on with.
//!
//! Each [`Situation`] is one captured namespace (`tests/fixtures/argo-live`). It can be moved in time, to
//! another namespace and under another name, so that it fits the cluster it is put into; what Argo
//! Rollouts wrote stays as it is. Knows no controller and asserts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_sim::controllers::Settings;

use crate::simulation::{NAMESPACE, Simulation, number};

/// The name of the Rollout in every situation.
pub const ROLLOUT: &str = "web";
/// The label that names a version.
pub const HASH: &str = "rollouts-pod-template-hash";

/// One moment of one namespace, as Argo Rollouts left it.
#[derive(Clone, Debug)]
pub struct Situation {
    /// Its name in the folder's README.
    pub name: String,
    /// When it was captured.
    pub captured_at: Timestamp,
    /// The objects, the Rollout first.
    pub objects: Vec<Value>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/argo-live")
}

/// The names of all captured situations, from the files.
pub fn names() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).expect("the fixtures are there");
    let files = entries.map(|entry| entry.expect("the folder can be read").file_name());
    files.filter_map(|file| Some(file.to_str()?.strip_suffix(".json")?.to_owned())).collect()
}

/// When each situation was captured, from the folder's README.
pub fn times() -> BTreeMap<String, Timestamp> {
    let text = std::fs::read_to_string(folder().join("README.md")).expect("the README is there");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let (name, time) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        Some((name.to_owned(), format!("2026-11-21T{time}").parse().expect("a time of day")))
    });
    rows.collect()
}

impl Situation {
    /// Reads a situation.
    #[track_caller]
    pub fn load(name: &str) -> Situation {
        let path = folder().join(format!("{name}.json"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut list: Value = serde_json::from_str(&text).expect("a list of objects");
        let Value::Array(mut objects) = list["items"].take() else { panic!("{name} has no items") };
        objects.sort_by_key(|object| (object["kind"] != "Rollout", object["kind"] != "Deployment"));
        let captured_at = *times().get(name).unwrap_or_else(|| panic!("the README has no row for {name}"));
        Situation { name: name.to_owned(), captured_at, objects }
    }

    /// Moves every time in it, so that it was captured at `now`.
    pub fn at(mut self, now: Timestamp) -> Situation {
        let distance = SignedDuration::from_secs(now.as_second() - self.captured_at.as_second());
        for object in &mut self.objects {
            each_text(object, &mut |text| {
                // Times are a part of some texts and the whole of others; only whole ones matter.
                if text.len() >= 20
                    && text.ends_with('Z')
                    && let Ok(time) = text.parse::<Timestamp>()
                {
                    *text = format!("{:.0}", time + distance);
                }
            });
        }
        self.captured_at += distance;
        self
    }

    /// Moves it to another namespace.
    pub fn in_namespace(mut self, namespace: &str) -> Situation {
        for object in &mut self.objects {
            object["metadata"]["namespace"] = namespace.into();
        }
        self
    }

    /// Gives the Rollout, what belongs to it and its pods another name, its objects other uids, and its
    /// versions the hashes that `hash` makes of theirs.
    pub fn renamed(mut self, name: &str, hash: impl Fn(&str) -> String) -> Situation {
        let sets = self.objects.iter().filter(|object| object["kind"] == "ReplicaSet");
        let hashes: BTreeSet<String> =
            sets.filter_map(|set| set["metadata"]["labels"][HASH].as_str()).map(str::to_owned).collect();
        let uids: Vec<String> =
            self.objects.iter().filter_map(|o| o["metadata"]["uid"].as_str()).map(str::to_owned).collect();
        let mut text = serde_json::to_string(&self.objects).expect("JSON");
        for old in hashes {
            text = text.replace(&old, &hash(&old));
        }
        for uid in uids {
            text = text.replace(&uid, &format!("{uid}-{name}"));
        }
        for (before, after) in [("\"", "\""), ("\"", "-"), ("=", "\"")] {
            text = text.replace(&format!("{before}{ROLLOUT}{after}"), &format!("{before}{name}{after}"));
        }
        self.objects = serde_json::from_str(&text).expect("JSON as before");
        self
    }

    /// The Rollout.
    pub fn rollout(&mut self) -> &mut Value {
        self.objects
            .iter_mut()
            .find(|object| object["kind"] == "Rollout")
            .expect("each situation has a Rollout")
    }

    /// The ReplicaSets of the Rollout.
    pub fn sets(&self) -> Vec<&Value> {
        let is_ours = |object: &&Value| {
            object["kind"] == "ReplicaSet" && object["metadata"]["labels"].get(HASH).is_some()
        };
        self.objects.iter().filter(is_ours).collect()
    }
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(list) => list.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(map) => map.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

/// Definitions of the kinds of others that the situations and examples hold, with no schema of their own.
pub fn foreign_kinds() -> Vec<Value> {
    let kinds = [
        ("networking.istio.io", "v1beta1", "VirtualService", "virtualservices"),
        ("networking.istio.io", "v1beta1", "DestinationRule", "destinationrules"),
        ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    ];
    kinds.map(|(group, version, kind, plural)| foreign_kind(group, version, kind, plural)).into()
}

/// The definition of a kind of somebody else, with no schema of its own.
pub fn foreign_kind(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            // An API server asks for it where the group belongs to Kubernetes.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

/// A simulated cluster in which pods are ready at once and Istio's kinds are known.
pub fn simulation() -> Simulation {
    let settings = Settings { ready_after: SignedDuration::ZERO, ..Settings::default() };
    let simulation = Simulation::new(1, settings);
    for definition in foreign_kinds() {
        simulation.cluster.create("setup", definition).expect("the definition is accepted");
    }
    simulation
}

/// A simulated cluster with a situation in it: all its pods run, no controller does.
pub async fn simulated(name: &str) -> Simulation {
    let simulation = simulation();
    put(&simulation, vec![Situation::load(name)]).await;
    simulation
}

/// Puts situations into a cluster and waits until the ReplicaSets have their pods.
pub async fn put(simulation: &Simulation, situations: Vec<Situation>) {
    for situation in situations {
        let situation = situation.at(simulation.now()).in_namespace(NAMESPACE);
        simulation.cluster.load(situation.objects);
    }
    simulation.until("every ReplicaSet to have its pods", SignedDuration::from_mins(2), is_filled).await;
}

/// Every ReplicaSet has all its pods, they are ready, and its status has been written since.
///
/// The status that was put in says so from the start, while no pod exists. Like the real one, the ReplicaSet
/// controller asks for the pods, then writes that none of them counts yet, then counts them as they become
/// ready: the status can be believed once the pods themselves are ready.
fn is_filled(simulation: &Simulation) -> bool {
    let sets = simulation.cluster.list("ReplicaSet", None);
    let wanted: i64 = sets.iter().map(|set| number(set, "/spec/replicas")).sum();
    let is_full =
        |set: &Arc<Value>| number(set, "/status/availableReplicas") == number(set, "/spec/replicas");
    let pods = simulation.cluster.list("Pod", None);
    pods.len() as i64 == wanted && pods.iter().all(|pod| is_ready(pod)) && sets.iter().all(is_full)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// Everything in a cluster that a controller could change, by kind, namespace and name; without what the
/// API server writes along with every change.
pub fn state(simulation: &Simulation) -> BTreeMap<String, Value> {
    let mut state = BTreeMap::new();
    let kinds = [
        "Rollout",
        "AnalysisRun",
        "AnalysisTemplate",
        "Experiment",
        "ReplicaSet",
        "Deployment",
        "Service",
        "Ingress",
        "VirtualService",
        "DestinationRule",
        "HorizontalPodAutoscaler",
        "Pod",
    ];
    for kind in kinds {
        for object in simulation.cluster.list(kind, None) {
            let mut object = Value::clone(&object);
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            for noise in ["resourceVersion", "managedFields"] {
                metadata.remove(noise);
            }
            let name = format!(
                "{kind} {}/{}",
                metadata["namespace"].as_str().unwrap_or_default(),
                metadata["name"].as_str().unwrap_or_default()
            );
            state.insert(name, object);
        }
    }
    state
}

/// The paths at which two JSON values differ.
pub fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(left, right, "", &mut found);
    found
}

fn compare(left: &Value, right: &Value, path: &str, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                compare(
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    &format!("{path}/{key}"),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}/{index}"), found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: {left} -> {right}")),
    }
}
