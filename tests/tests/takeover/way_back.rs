//! What we write can be gone on with by Argo Rollouts: it is what Argo Rollouts would have written.
//!
//! The sequences by which the `canary-basic` and `blue-green` fixtures were made are played by our
//! controller, and at every captured moment our objects are compared with those that Argo Rollouts wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_tests::simulation::{Simulation, revision};
use sluice_tests::takeover::{HASH, ROLLOUT, Situation, differences, simulation};

/// A full canary of ours, for whoever wants to see what it leaves.
const GOLDEN: &str = include_str!("full_canary.json");

/// The manifest that was applied for a situation.
fn manifest(name: &str) -> Value {
    let mut situation = Situation::load(name);
    let annotation =
        &situation.rollout()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let mut manifest: Value =
        serde_json::from_str(annotation.as_str().expect("it was applied")).expect("JSON");
    manifest["metadata"] = json!({"name": ROLLOUT, "annotations": {}});
    manifest
}

/// Status and ReplicaSets in a form that can be compared: versions by the order of their creation, times
/// as such, conditions by type.
fn comparable(rollout: &Value, mut sets: Vec<Value>) -> Value {
    sets.sort_by_key(|set| {
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        (revision_at_creation(set), image.as_str().unwrap_or_default().to_owned())
    });
    let hashes: Vec<String> =
        sets.iter().map(|set| set["metadata"]["labels"][HASH].as_str().expect("a hash").to_owned()).collect();
    let mut status = rollout["status"].clone();
    let conditions = status["conditions"].as_array().expect("conditions").clone();
    status["conditions"] =
        conditions.into_iter().map(|c| (c["type"].as_str().expect("a type").to_owned(), c)).collect();
    for set in &mut sets {
        let metadata = set["metadata"].as_object_mut().expect("metadata");
        // Numbers and times that the API server gives.
        for field in
            ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "namespace"]
        {
            metadata.remove(field);
        }
        if let Some(annotations) = set["metadata"]["annotations"].as_object_mut() {
            annotations.remove("sluice.dev/template"); // ours alone
        }
        set["metadata"]["ownerReferences"][0]["uid"] = "uid of the Rollout".into();
        set["status"].as_object_mut().expect("a status").remove("observedGeneration");
    }
    let annotation = rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"].clone();
    let mut all = json!({"revision": annotation, "status": status, "sets": sets});
    if let Some(generation) = all["status"].get("observedGeneration") {
        assert_eq!(
            generation.as_str(),
            Some(rollout["metadata"]["generation"].to_string().as_str()),
            "a decimal string"
        );
    }
    let mut text = all.take().to_string();
    for (index, hash) in hashes.iter().enumerate() {
        text = text.replace(hash.as_str(), &format!("hash-{index}"));
    }
    let mut all = serde_json::from_str(&text).expect("JSON as before");
    without_times(&mut all);
    all
}

/// The first revision that a ReplicaSet was.
fn revision_at_creation(set: &Value) -> i64 {
    let history = set["metadata"]["annotations"]["rollout.argoproj.io/revision-history"].as_str();
    let first = history.and_then(|history| history.split(',').next()?.parse().ok());
    first.unwrap_or_else(|| revision(set))
}

fn without_times(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<Timestamp>().is_ok() => *text = "a time".into(),
        Value::Array(list) => list.iter_mut().for_each(without_times),
        Value::Object(map) => {
            if let Some(observed) = map.get_mut("observedGeneration") {
                *observed = "a generation".into();
            }
            // How long people took.
            map.remove("totalManualPauseDurationSeconds");
            map.values_mut().for_each(without_times);
        }
        _ => {}
    }
}

fn ours(simulation: &Simulation) -> Value {
    let sets = simulation.sets(ROLLOUT).iter().map(|set| Value::clone(set)).collect();
    comparable(&simulation.rollout(ROLLOUT), sets)
}

fn theirs(name: &str) -> Value {
    let mut situation = Situation::load(name);
    let sets = situation.sets().into_iter().cloned().collect();
    comparable(situation.rollout(), sets)
}

#[tokio::test(start_paused = true)]
async fn at_every_stage_we_write_what_argo_rollouts_writes() {
    let mut simulation = simulation();
    simulation.start_controller(Options::default());
    let mut found = BTreeMap::new();
    let mut compare = |simulation: &Simulation, name: &'static str| {
        let differences = differences(&theirs(name), &ours(simulation));
        if !differences.is_empty() {
            found.insert(name, differences);
        }
    };
    simulation.apply(manifest("canary-basic.1-healthy"));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.1-healthy");

    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.2-paused-at-20");

    simulation.patch_status(ROLLOUT, json!({"pauseConditions": null}));
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.3-timed-pause-at-60");

    simulation.image(ROLLOUT, "3");
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.4-third-revision-paused");

    simulation.patch_status(ROLLOUT, json!({"abort": true}));
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.5-aborted");

    simulation.image(ROLLOUT, "1");
    simulation.pass(30).await;
    compare(&simulation, "canary-basic.6-rolled-back-to-first");
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn at_every_stage_of_blue_green_we_write_what_argo_rollouts_writes() {
    let mut simulation = simulation();
    for name in ["web-active", "web-preview"] {
        simulation.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }));
    }
    simulation.start_controller(Options::default());
    let mut found = BTreeMap::new();
    let mut compare = |simulation: &Simulation, name: &'static str| {
        let differences = differences(&theirs(name), &ours(simulation));
        if !differences.is_empty() {
            found.insert(name, differences);
        }
    };
    simulation.apply(manifest("blue-green.1-healthy"));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(30).await;
    compare(&simulation, "blue-green.1-healthy");

    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.pass(30).await;
    compare(&simulation, "blue-green.2-awaiting-promotion");

    simulation.patch_status(ROLLOUT, json!({"pauseConditions": null}));
    simulation.pass(30).await;
    compare(&simulation, "blue-green.3-promoted-old-within-delay");

    simulation.image(ROLLOUT, "3");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.patch_status(ROLLOUT, json!({"abort": true}));
    simulation.pass(10).await;
    compare(&simulation, "blue-green.4-aborted");
    assert!(found.is_empty(), "{found:#?}");
}

/// Everything that says where requests go, with versions by the order of their creation.
fn routes(objects: impl Iterator<Item = Value>, hashes: &[String]) -> Value {
    let kinds = ["Service", "Ingress", "VirtualService", "DestinationRule"];
    let mut all = serde_json::Map::new();
    for object in objects.filter(|object| kinds.iter().any(|kind| object["kind"] == *kind)) {
        let mut annotations = object["metadata"]["annotations"].clone();
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations.remove("sluice.dev/selected-at"); // ours alone
        }
        if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
            annotations = Value::Null;
        }
        let spec = match object["kind"].as_str() {
            Some("Service") => object["spec"]["selector"].clone(),
            _ => object["spec"].clone(),
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        all.insert(name, json!({"spec": spec, "annotations": annotations}));
    }
    let mut text = Value::Object(all).to_string();
    for (index, hash) in hashes.iter().enumerate() {
        text = text.replace(hash.as_str(), &format!("hash-{index}"));
    }
    serde_json::from_str(&text).expect("JSON as before")
}

fn hashes(sets: &[Value]) -> Vec<String> {
    let mut sets: Vec<&Value> = sets.iter().collect();
    sets.sort_by_key(|set| revision_at_creation(set));
    sets.iter().map(|set| set["metadata"]["labels"][HASH].as_str().expect("a hash").to_owned()).collect()
}

/// Where we differ from Argo Rollouts on purpose: situation, beginning of the path, why.
const ON_PURPOSE: &[(&str, &str, &str)] = &[(
    "canary-istio-header.2-paused-at-20",
    "/VirtualService web/spec/http",
    "the header route of an earlier step stays (argo-rollouts#4486)",
)];

/// What differs between what Argo Rollouts left and what we leave, statuses, ReplicaSets and routes.
fn routed_differences(simulation: &Simulation, name: &str) -> Vec<String> {
    let situation = Situation::load(name);
    let their_sets: Vec<Value> = situation.sets().into_iter().cloned().collect();
    let our_sets: Vec<Value> = simulation.sets(ROLLOUT).iter().map(|set| Value::clone(set)).collect();
    let kinds = ["Service", "Ingress", "VirtualService", "DestinationRule"];
    let objects = kinds.iter().flat_map(|kind| simulation.cluster.list(kind, None));
    let our_routes = routes(objects.map(|object| Value::clone(&object)), &hashes(&our_sets));
    let their_routes = routes(situation.objects.iter().cloned(), &hashes(&their_sets));
    let mut found = differences(&theirs(name), &ours(simulation));
    found.extend(differences(&their_routes, &our_routes));
    let is_meant = |difference: &String| {
        ON_PURPOSE.iter().any(|(situation, path, _)| *situation == name && difference.starts_with(path))
    };
    found.retain(|difference| !is_meant(difference));
    found
}

/// Applies what a person applied before the Rollout of a situation, and the Rollout.
async fn deployed(name: &str) -> Simulation {
    let mut simulation = simulation();
    for object in Situation::load(name).objects {
        let applied = &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        let kind = object["kind"].as_str().unwrap_or_default();
        if let (Some(text), true) = (applied.as_str(), kind != "Rollout" && kind != "ReplicaSet") {
            let mut applied: Value = serde_json::from_str(text).expect("JSON");
            applied["metadata"].as_object_mut().expect("metadata").remove("namespace");
            simulation.apply(applied);
        }
    }
    simulation.start_controller(Options::default());
    simulation.apply(manifest(name));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(30).await;
    simulation
}

#[tokio::test(start_paused = true)]
async fn at_every_stage_behind_a_router_we_write_what_argo_rollouts_writes() {
    let resume = json!({"pauseConditions": null});
    let mut found = BTreeMap::new();
    let mut compare = |simulation: &Simulation, name: &'static str| {
        let differences = routed_differences(simulation, name);
        if !differences.is_empty() {
            found.insert(name, differences);
        }
    };

    let simulation = deployed("canary-istio-header.1-header-route").await;
    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.pass(30).await;
    compare(&simulation, "canary-istio-header.1-header-route");
    simulation.patch_status(ROLLOUT, resume.clone());
    simulation.pass(30).await;
    compare(&simulation, "canary-istio-header.2-paused-at-20");
    simulation.patch_status(ROLLOUT, json!({"abort": true}));
    simulation.pass(15).await;
    compare(&simulation, "canary-istio-header.3-aborted-within-delay");

    let simulation = deployed("canary-istio-subsets-dss.1-paused-at-40").await;
    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.pass(30).await;
    compare(&simulation, "canary-istio-subsets-dss.1-paused-at-40");
    simulation.patch_status(ROLLOUT, resume.clone());
    simulation.pass(30).await;
    compare(&simulation, "canary-istio-subsets-dss.2-paused-at-80");
    simulation.patch_status(ROLLOUT, json!({"promoteFull": true, "pauseConditions": null}));
    simulation.pass(60).await;
    compare(&simulation, "canary-istio-subsets-dss.3-promoted-full");

    let simulation = deployed("canary-nginx.1-paused-at-5").await;
    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.pass(30).await;
    compare(&simulation, "canary-nginx.1-paused-at-5");
    simulation.patch_status(ROLLOUT, json!({"promoteFull": true, "pauseConditions": null}));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(15).await;
    compare(&simulation, "canary-nginx.2-promoted-old-within-delay");
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_canary_leaves_this() {
    let mut simulation = simulation();
    simulation.start_controller(Options::default());
    simulation.apply(manifest("canary-basic.1-healthy"));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.image(ROLLOUT, "2");
    simulation.until_phase(ROLLOUT, "Paused").await;
    simulation.patch_status(ROLLOUT, json!({"pauseConditions": null}));
    simulation.pass(3700).await;
    assert_eq!(simulation.phase(ROLLOUT), "Healthy");
    let found = ours(&simulation);
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    // To write it anew: print `found`, and look at what changed.
    assert_eq!(differences(&golden, &found), Vec::<String>::new(), "{found:#}");
    for set in simulation.sets(ROLLOUT) {
        let mut template = set["spec"]["template"].clone();
        let labels = template["metadata"]["labels"].as_object_mut().expect("labels");
        let hash = labels.remove(HASH);
        assert_eq!(hash.as_ref(), set["metadata"]["labels"].get(HASH));
        assert_eq!(
            set["metadata"]["name"],
            format!("web-{}", hash.and_then(|h| h.as_str().map(str::to_owned)).unwrap_or_default())
        );
        if revision(&set) == 2 {
            // As it was sent, but for what a ReplicaSet's types make of it: the API server fills in defaults,
            // writes quantities in their canonical form and leaves empty texts away. The captured
            // ReplicaSets of a real server show the same.
            let mut desired = simulation.rollout(ROLLOUT)["spec"]["template"].clone();
            desired["spec"]["containers"][0]["image"] = "registry.example/web:2".into();
            let rewritten: Vec<_> = differences(&desired, &template)
                .into_iter()
                .filter(|line| !line.contains(": null -> "))
                .collect();
            let expected = [
                r#"/spec/containers/0/env/1/value: "" -> null"#,
                r#"/spec/containers/0/resources/limits/memory: "1024Mi" -> "1Gi""#,
                r#"/spec/containers/0/resources/requests/cpu: "1000m" -> "1""#,
                r#"/spec/containers/0/resources/requests/memory: "0.5Gi" -> "512Mi""#,
            ];
            assert_eq!(rewritten, expected);
        }
    }
}
