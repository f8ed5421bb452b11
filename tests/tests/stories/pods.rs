//! What happens to pods beside an update: restarts, and what they carry because of their version's part.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_tests::simulation::{Simulation, canary, number};

fn pods(simulation: &Simulation) -> Vec<Arc<Value>> {
    simulation.cluster.list("Pod", Some("default"))
}

/// How many pods carry each value of a label; empty for none.
fn roles(simulation: &Simulation) -> String {
    let mut roles: Vec<String> = pods(simulation)
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["metadata"]["labels"]["role"].as_str().unwrap_or("none").to_owned())
        .collect();
    roles.sort();
    roles.join(" ")
}

fn available(simulation: &Simulation) -> i64 {
    simulation.sets("web").iter().map(|set| number(set, "/status/availableReplicas")).sum()
}

#[tokio::test(start_paused = true)]
async fn w27_a_restart_replaces_every_pod_and_none_is_missing_meanwhile() {
    for (replicas, unavailable) in [(3, 0), (1, 0), (4, 1)] {
        let simulation = Simulation::with_controller();
        let mut rollout = canary(replicas, json!([]));
        rollout["spec"]["strategy"]["canary"]["maxUnavailable"] = unavailable.into();
        simulation.apply(rollout);
        simulation.until_phase("web", "Healthy").await;
        simulation.pass(30).await;
        let asked_at = simulation.now();
        simulation.patch("web", json!({"spec": {"restartAt": asked_at.to_string()}}));
        let mut was_restarting = false;
        for second in 0..600 {
            simulation.pass(1).await;
            let (there, least) = (available(&simulation), replicas - unavailable);
            assert!(there >= least, "{there} of {least} pods after {second} s: {}", simulation.sizes("web"));
            was_restarting |= simulation.phase("web").starts_with("Progressing rollout is restarting");
            if !simulation.status("web")["restartedAt"].is_null() {
                break;
            }
        }
        assert!(was_restarting, "it is said what goes on");
        let is_young = |pod: &Arc<Value>| {
            let text = pod["metadata"]["creationTimestamp"].as_str().expect("a time");
            text.parse::<Timestamp>().expect("a time").as_second() >= asked_at.as_second()
        };
        simulation.pass(60).await;
        assert!(pods(&simulation).iter().all(is_young), "{replicas}: {}", simulation.describe());
        assert_eq!(simulation.phase("web"), "Healthy");
        assert_eq!(simulation.sizes("web"), format!("1:{replicas}/{replicas}"));
        simulation.cluster.clear_audit();
        simulation.pass(120).await;
        assert!(simulation.writes().is_empty(), "{:?}", simulation.writes());
    }
}

#[tokio::test(start_paused = true)]
async fn w79_pods_carry_the_metadata_of_their_version_s_part() {
    let simulation = Simulation::with_controller();
    let mut rollout = canary(4, json!([{"setWeight": 50}, {"pause": {}}]));
    let strategy = &mut rollout["spec"]["strategy"]["canary"];
    strategy["stableMetadata"] = json!({"labels": {"role": "stable"}});
    strategy["canaryMetadata"] = json!({"labels": {"role": "canary"}, "annotations": {"note": "new"}});
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(roles(&simulation), "stable stable stable stable");
    simulation.image("web", "2");
    simulation.until_phase("web", "Paused").await;
    simulation.pass(60).await;
    assert_eq!(roles(&simulation), "canary canary stable stable");
    let before: Vec<String> =
        pods(&simulation).iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(60).await;
    assert_eq!(roles(&simulation), "stable stable stable stable");
    let kept =
        pods(&simulation).iter().filter(|pod| before.contains(&pod["metadata"]["uid"].to_string())).count();
    assert_eq!(kept, 2, "no pod goes for the sake of a label");
    assert!(pods(&simulation).iter().all(|pod| pod["metadata"]["annotations"]["note"].is_null()));
    simulation.cluster.clear_audit();
    simulation.pass(120).await;
    assert!(simulation.writes().is_empty(), "{:?}", simulation.writes());
}

#[tokio::test(start_paused = true)]
async fn a_new_version_s_pods_keep_away_from_stable_s() {
    let simulation = Simulation::with_controller();
    let mut rollout = canary(2, json!([{"setWeight": 50}, {"pause": {}}]));
    rollout["spec"]["strategy"]["canary"]["antiAffinity"] =
        json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 10}});
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    simulation.image("web", "2");
    simulation.until_phase("web", "Paused").await;
    let stable = simulation.status("web")["stableRS"].clone();
    let term = "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
    let apart: Vec<Value> = pods(&simulation)
        .iter()
        .filter_map(|pod| pod.pointer(term).cloned())
        .map(|entry| entry["podAffinityTerm"]["labelSelector"]["matchExpressions"][0]["values"][0].clone())
        .collect();
    assert_eq!(apart, [stable]);
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.status("web")["currentPodHash"], simulation.status("web")["stableRS"]);
}
