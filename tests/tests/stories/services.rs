//! What becomes of Services: they lead where pods are, and are let go of when nobody needs them narrowed.

use serde_json::{Value, json};
use sluice_tests::simulation::{Simulation, canary};

const HASH: &str = "/spec/selector/rollouts-pod-template-hash";
const OWNER: &str = "/metadata/annotations/argo-rollouts.argoproj.io~1managed-by-rollouts";

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": {"team": "shop"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

fn field(simulation: &Simulation, name: &str, pointer: &str) -> Value {
    let service = simulation.cluster.get("Service", Some("default"), name).expect("it exists");
    service.pointer(pointer).cloned().unwrap_or_default()
}

fn blue_green(replicas: i64) -> Value {
    let mut rollout = canary(replicas, json!([]));
    rollout["spec"]["strategy"] = json!({"blueGreen": {"activeService": "web", "previewService": "preview"}});
    rollout
}

#[tokio::test(start_paused = true)]
async fn w07_a_deleted_rollout_leaves_its_services_as_they_were() {
    let simulation = Simulation::with_controller();
    simulation.apply(service("web"));
    simulation.apply(service("preview"));
    simulation.apply(service("another"));
    let before = field(&simulation, "web", "/spec/selector");
    simulation.apply(blue_green(2));
    simulation.until_phase("web", "Healthy").await;
    assert!(field(&simulation, "web", HASH).is_string());
    simulation
        .cluster
        .delete("person", "Rollout", Some("default"), "web", sluice_sim::DeleteOptions::default())
        .expect("it exists");
    simulation.pass(30).await;
    for name in ["web", "preview"] {
        assert_eq!(field(&simulation, name, "/spec/selector"), before, "{name}");
        assert_eq!(field(&simulation, name, "/metadata/annotations"), json!({"team": "shop"}), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_named_any_more_is_let_go_of() {
    let simulation = Simulation::with_controller();
    for name in ["web", "preview", "later"] {
        simulation.apply(service(name));
    }
    simulation.apply(blue_green(2));
    simulation.until_phase("web", "Healthy").await;
    simulation.patch("web", json!({"spec": {"strategy": {"blueGreen": {"previewService": "later"}}}}));
    simulation.pass(30).await;
    assert!(field(&simulation, "later", HASH).is_string());
    assert_eq!(
        (field(&simulation, "preview", HASH), field(&simulation, "preview", OWNER)),
        (Value::Null, Value::Null)
    );
    simulation.cluster.clear_audit();
    simulation.pass(120).await;
    assert!(simulation.writes().is_empty(), "{:?}", simulation.writes());
}
