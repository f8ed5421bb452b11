//! An aborted rollout stays aborted until somebody asks for something else.

use serde_json::json;
use sluice_controller::Options;
use sluice_sim::Patch;
use sluice_tests::simulation::{NAMESPACE, Simulation};
use sluice_tests::takeover::{ROLLOUT, simulated};

const ABORTED: &str = "Degraded RolloutAborted: Rollout aborted update to revision 3";

#[track_caller]
fn check(simulation: &Simulation, sizes: &str) {
    let status = simulation.status(ROLLOUT);
    assert_eq!(
        (simulation.sizes(ROLLOUT).as_str(), simulation.phase(ROLLOUT).as_str()),
        (sizes, ABORTED),
        "{}",
        simulation.describe()
    );
    assert_eq!((&status["abort"], &status["currentStepIndex"]), (&json!(true), &json!(0)), "{status}");
}

#[tokio::test(start_paused = true)]
async fn it_stays_aborted_whatever_else_happens() {
    let mut simulation = simulated("canary-basic.5-aborted").await;
    simulation.start_controller(Options::default());
    simulation.pass(30).await;
    check(&simulation, "1:5/5");
    let since = simulation.status(ROLLOUT)["abortedAt"].clone();

    for _ in 0..3 {
        simulation.kill_controller();
        simulation.start_controller(Options::default());
        simulation.pass(60).await;
        check(&simulation, "1:5/5");
    }

    simulation
        .patch(ROLLOUT, json!({"metadata": {"annotations": {"team": "shop"}, "labels": {"team": "shop"}}}));
    simulation.pass(60).await;
    check(&simulation, "1:5/5");

    for (replicas, sizes) in [(7, "1:7/7"), (3, "1:3/3"), (0, ""), (5, "1:5/5")] {
        // As an autoscaler does it.
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        simulation
            .cluster
            .patch("autoscaler", "Rollout", Some(NAMESPACE), ROLLOUT, Some("scale"), scale)
            .expect("accepted");
        simulation.pass(60).await;
        check(&simulation, sizes);
    }

    simulation.patch(ROLLOUT, json!({"spec": {"paused": true}}));
    simulation.pass(60).await;
    simulation.patch(ROLLOUT, json!({"spec": {"paused": null}}));
    simulation.pass(7200).await;
    check(&simulation, "1:5/5");
    assert_eq!(simulation.status(ROLLOUT)["abortedAt"], since, "it was aborted once");
    let creations: Vec<_> =
        simulation.writes().into_iter().filter(|write| write.starts_with("create")).collect();
    assert_eq!(creations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_default_written_out_is_no_other_template() {
    let mut simulation = simulated("canary-basic.5-aborted").await;
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    simulation.patch(ROLLOUT, json!({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}));
    simulation.pass(60).await;
    check(&simulation, "1:5/5");
    simulation.patch(ROLLOUT, json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}}));
    simulation.until_phase(ROLLOUT, "Paused CanaryPauseStep").await;
    assert_eq!(simulation.sizes(ROLLOUT), "1:4/4 4:1/1", "that one is another");
}
