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
