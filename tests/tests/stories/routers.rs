//! Routers on the simulated cluster: which objects are found, made and written, in the versions that it serves.

use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_tests::simulation::{Simulation, canary};
use sluice_tests::takeover::{foreign_kind, foreign_kinds};

/// A Rollout at rest, whose share this block carries, on a cluster that serves these kinds besides.
async fn begin(routing: Value, kinds: Vec<Value>, objects: Vec<Value>) -> Simulation {
    let mut simulation = Simulation::new(1, Settings::default());
    for definition in foreign_kinds().into_iter().chain(kinds) {
        simulation.cluster.create("setup", definition).expect("the definition is accepted");
    }
    for name in ["stable", "canary"] {
        simulation.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }));
    }
    for object in objects {
        simulation.apply(object);
    }
    simulation.start_controller(sluice_controller::Options::default());
    let mut rollout = canary(5, json!([{"setWeight": 20}, {"pause": {}}]));
    let spec = &mut rollout["spec"]["strategy"]["canary"];
    spec["stableService"] = "stable".into();
    spec["canaryService"] = "canary".into();
    spec["trafficRouting"] = routing;
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    simulation
}

/// An update that stands at its pause.
async fn update(simulation: &Simulation) {
    simulation.image("web", "2");
    simulation.pass(120).await;
}

/// The pause is over.
async fn finish(simulation: &Simulation) {
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(60).await;
}

fn route(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": labels},
        "spec": {"rules": [{"backendRefs": [
            {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
        ]}]},
    })
}

fn canary_weight(simulation: &Simulation, name: &str) -> Option<i64> {
    let object = simulation.cluster.get("HTTPRoute", Some("default"), name)?;
    object["spec"]["rules"][0]["backendRefs"][1]["weight"].as_i64()
}

#[tokio::test(start_paused = true)]
async fn routes_are_found_by_label_also_those_that_come_later() {
    let routing = json!({"gatewayAPI": {"httpRouteSelector": {"matchLabels": {"team": "web"}}}});
    let routes = vec![route("a", json!({"team": "web"})), route("b", json!({"team": "other"}))];
    let simulation = begin(routing, vec![], routes).await;
    update(&simulation).await;
    let weights = |names: [&str; 3]| names.map(|name| canary_weight(&simulation, name));
    assert_eq!(weights(["a", "b", "c"]), [Some(20), Some(0), None], "{}", simulation.describe());
    simulation.apply(route("c", json!({"team": "web"})));
    simulation.pass(10).await;
    assert_eq!(weights(["a", "b", "c"]), [Some(20), Some(0), Some(20)]);
    finish(&simulation).await;
    assert_eq!(weights(["a", "b", "c"]), [Some(0); 3]);
}

/// A route whose gateway has not taken it counts for nothing, and nothing is done that needs it to.
#[tokio::test(start_paused = true)]
async fn w58_a_route_that_its_gateway_does_not_take_is_waited_for() {
    let mut web = route("web", json!({}));
    web["spec"]["parentRefs"] = json!([{"name": "edge"}]);
    let report = |status: &str, generation: i64| {
        let condition =
            |kind: &str| json!({"type": kind, "status": status, "observedGeneration": generation});
        json!([{"parentRef": {"name": "edge"}, "conditions": [condition("Accepted"), condition("ResolvedRefs")]}])
    };
    web["status"] = json!({"parents": report("True", 1)});
    let simulation = begin(json!({"gatewayAPI": {"httpRoute": "web"}}), vec![], vec![web]).await;
    update(&simulation).await;
    simulation.pass(300).await;
    assert_eq!(canary_weight(&simulation, "web"), Some(20));
    assert_eq!(simulation.status("web")["currentStepIndex"], 0, "{}", simulation.describe());

    let mut taken =
        simulation.cluster.get("HTTPRoute", Some("default"), "web").expect("it exists").as_ref().clone();
    let generation = taken["metadata"]["generation"].as_i64().expect("a generation");
    // Of a kind without a status of its own, this is a new generation by itself.
    taken["status"] = json!({"parents": report("True", generation + 1)});
    simulation.apply(taken);
    simulation.pass(60).await;
    assert_eq!(simulation.status("web")["currentStepIndex"], 1, "{}", simulation.describe());
}

#[tokio::test(start_paused = true)]
async fn w59_traefik_in_the_group_that_the_cluster_serves() {
    for group in ["traefik.io", "traefik.containo.us"] {
        let service = json!({
            "apiVersion": format!("{group}/v1alpha1"), "kind": "TraefikService", "metadata": {"name": "web"},
            "spec": {"weighted": {"services": [
                {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
            ]}},
        });
        let kind = foreign_kind(group, "v1alpha1", "TraefikService", "traefikservices");
        let routing = json!({"traefik": {"weightedTraefikServiceName": "web"}});
        let simulation = begin(routing, vec![kind], vec![service]).await;
        update(&simulation).await;
        let stored = simulation.cluster.get("TraefikService", Some("default"), "web").expect("it exists");
        assert_eq!(
            stored["spec"]["weighted"]["services"][1]["weight"],
            20,
            "{group}: {}",
            simulation.describe()
        );
        finish(&simulation).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_traffic_split_is_made_in_the_version_that_the_cluster_serves() {
    for (version, weight) in [("v1alpha1", json!("20")), ("v1alpha2", json!(20))] {
        let kind = foreign_kind("split.smi-spec.io", version, "TrafficSplit", "trafficsplits");
        let simulation = begin(json!({"smi": {"rootService": "root"}}), vec![kind], vec![]).await;
        update(&simulation).await;
        let stored = simulation.cluster.get("TrafficSplit", Some("default"), "web").expect("it was made");
        assert_eq!(stored["apiVersion"], format!("split.smi-spec.io/{version}"));
        assert_eq!(stored["spec"]["backends"][0], json!({"service": "canary", "weight": weight}));
        finish(&simulation).await;
    }
}
