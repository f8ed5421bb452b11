//! A canary, from its first deploy to promotion or abort.

use serde_json::json;
use sluice_tests::simulation::{Simulation, canary};

fn steps() -> serde_json::Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1h"}}])
}

#[tokio::test(start_paused = true)]
async fn a_canary_takes_its_steps_and_is_promoted() {
    let simulation = Simulation::with_controller();
    simulation.apply(canary(5, steps()));
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.sizes("web"), "1:5/5");
    simulation.image("web", "2");
    simulation.until_phase("web", "Paused CanaryPauseStep").await;
    assert_eq!(simulation.sizes("web"), "1:4/4 2:1/1");
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.pass(30).await;
    assert_eq!(
        (simulation.sizes("web"), simulation.phase("web")),
        ("1:2/2 2:3/3".into(), "Paused CanaryPauseStep".into())
    );
    simulation.pass(3500).await;
    assert_eq!(simulation.phase("web"), "Paused CanaryPauseStep");
    simulation.pass(200).await;
    assert_eq!((simulation.sizes("web"), simulation.phase("web")), ("2:5/5".into(), "Healthy".into()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_or_written_at_rest() {
    let simulation = Simulation::with_controller();
    simulation.apply(canary(5, steps()));
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(30).await;
    simulation.cluster.clear_audit();
    simulation.pass(240).await;
    let requests = simulation.cluster.audit();
    let asked: Vec<_> = requests.iter().filter(|r| &*r.identity == "controller").collect();
    assert!(asked.iter().all(|r| r.verb == "watch"), "{asked:#?}");
}

/// Fields that the API server drops or fills in when it stores a ReplicaSet.
#[tokio::test(start_paused = true)]
async fn w04_a_template_that_is_stored_otherwise_is_one_revision() {
    for container in [
        json!({"imagePulPolicy": "Always"}),
        json!({"livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 0}}),
        json!({"resources": {"requests": {"cpu": "0.0001"}}}),
    ] {
        let mut simulation = Simulation::with_controller();
        let mut rollout = canary(3, json!([{"setWeight": 34}, {"pause": {}}]));
        let first = &mut rollout["spec"]["template"]["spec"]["containers"][0];
        for (key, value) in container.as_object().expect("fields") {
            first[key] = value.clone();
        }
        simulation.apply(rollout);
        simulation.until_phase("web", "Healthy").await;
        let path = "/spec/template/spec/containers/0/image";
        let odd = json!([{"op": "replace", "path": path, "value": "registry.example/web:2"}]);
        let odd = sluice_sim::Patch::Json(odd);
        simulation
            .cluster
            .patch(sluice_tests::simulation::PERSON, "Rollout", Some("default"), "web", None, odd)
            .expect("accepted");
        simulation.until_phase("web", "Paused").await;
        simulation.kill_controller();
        simulation.start_controller(sluice_controller::Options::default());
        simulation.pass(60).await;
        assert_eq!(simulation.sizes("web"), "1:2/2 2:1/1", "{container}");
        let sets = simulation.cluster.list("ReplicaSet", Some("default"));
        assert_eq!(sets.len(), 2, "{container}");
        assert!(simulation.status("web").get("collisionCount").is_none(), "{container}");
    }
}
