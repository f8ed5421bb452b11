//! Blue-green updates, as a person sees them.

use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::Patch;
use sluice_tests::simulation::{NAMESPACE, PERSON, Simulation};

use crate::timeline::{Timeline, leads};

const SERVICES: [&str; 2] = ["web-active", "web-preview"];

/// A blue-green Rollout of four pods whose first version serves, and what happens from now on.
async fn deployed(options: Value) -> (Simulation, Timeline) {
    let simulation = Simulation::with_controller();
    for name in SERVICES {
        simulation.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }));
    }
    let mut strategy = json!({"activeService": SERVICES[0], "previewService": SERVICES[1]});
    for (key, value) in options.as_object().expect("options") {
        strategy[key] = value.clone();
    }
    simulation.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:1"}]},
            },
            "strategy": {"blueGreen": strategy},
        },
    }));
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(30).await;
    let timeline = Timeline::of(&simulation, SERVICES);
    (simulation, timeline)
}

fn image(simulation: &Simulation, timeline: &mut Timeline, tag: &str) {
    timeline.say(simulation, &format!("image {tag}"));
    simulation.image("web", tag);
}

fn promote(simulation: &Simulation, timeline: &mut Timeline) {
    timeline.say(simulation, "promote");
    simulation.patch_status("web", json!({"pauseConditions": null}));
}

fn abort(simulation: &Simulation, timeline: &mut Timeline) {
    timeline.say(simulation, "abort");
    simulation.patch_status("web", json!({"abort": true}));
}

#[tokio::test(start_paused = true)]
async fn a_good_version() {
    let (simulation, mut timeline) = deployed(json!({})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 120).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
           6 s  v1 4, v2 4             active v2, preview v2 | Healthy
          36 s  v2 4                   active v2, preview v2 | Healthy
    ");
}

#[tokio::test(start_paused = true)]
async fn a_person_promotes_a_small_preview() {
    let (simulation, mut timeline) =
        deployed(json!({"autoPromotionEnabled": false, "previewReplicaCount": 1})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 600).await;
    promote(&simulation, &mut timeline);
    timeline.watch(&simulation, 120).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 1 starting    active v1, preview v2 | Progressing more replicas need to be updated
           1 s  v1 4, v2 1             active v1, preview v2 | Paused BlueGreenPause
         600 s -- promote
         600 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
         600 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
         601 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
         606 s  v1 4, v2 4             active v2, preview v2 | Healthy
         636 s  v2 4                   active v2, preview v2 | Healthy
    ");
}

#[tokio::test(start_paused = true)]
async fn a_small_preview_that_nobody_judges() {
    let (simulation, mut timeline) = deployed(json!({"previewReplicaCount": 1})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 20).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 1 starting    active v1, preview v2 | Progressing more replicas need to be updated
           1 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           1 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           2 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
           7 s  v1 4, v2 4             active v2, preview v2 | Healthy
    ");
}

#[tokio::test(start_paused = true)]
async fn the_clock_promotes() {
    let (simulation, mut timeline) = deployed(json!({"autoPromotionSeconds": 60})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 150).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v1, preview v2 | Paused BlueGreenPause
          60 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
          66 s  v1 4, v2 4             active v2, preview v2 | Healthy
          96 s  v2 4                   active v2, preview v2 | Healthy
    ");
}

#[tokio::test(start_paused = true)]
async fn abort_before_the_switch() {
    let (simulation, mut timeline) = deployed(json!({"autoPromotionEnabled": false})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 60).await;
    abort(&simulation, &mut timeline);
    timeline.watch(&simulation, 120).await;
    timeline.check(
        "
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v1, preview v2 | Paused BlueGreenPause
          60 s -- abort
          60 s  v1 4, v2 4             active v1, preview v2 | Degraded RolloutAborted
          90 s  v1 4                   active v1, preview v2 | Degraded RolloutAborted
    ",
    );
}

#[tokio::test(start_paused = true)]
async fn abort_after_the_switch() {
    let (simulation, mut timeline) = deployed(json!({})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch_until(&simulation, 60, |simulation| leads(simulation, SERVICES[0]) == "v2").await;
    timeline.watch(&simulation, 2).await;
    abort(&simulation, &mut timeline);
    timeline.watch(&simulation, 120).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
           3 s -- abort
           3 s  v1 4, v2 4             active v1, preview v2 | Degraded RolloutAborted
          33 s  v1 4                   active v1, preview v2 | Degraded RolloutAborted
    ");
}

#[tokio::test(start_paused = true)]
async fn back_to_a_version_within_its_delay() {
    let (simulation, mut timeline) =
        deployed(json!({"autoPromotionEnabled": false, "scaleDownDelaySeconds": 300})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch(&simulation, 30).await;
    promote(&simulation, &mut timeline);
    timeline.watch(&simulation, 60).await;
    image(&simulation, &mut timeline, "1");
    timeline.watch(&simulation, 400).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v1, preview v2 | Paused BlueGreenPause
          30 s -- promote
          30 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
          35 s  v1 4, v2 4             active v2, preview v2 | Healthy
          90 s -- image 1
          90 s  v2 4, v3 4             active v3, preview v3 | Progressing waiting for post-promotion verification to complete
          95 s  v2 4, v3 4             active v3, preview v3 | Healthy
         395 s  v3 4                   active v3, preview v3 | Healthy
    ");
}

#[tokio::test(start_paused = true)]
async fn somebody_takes_the_selector_away() {
    let (simulation, mut timeline) = deployed(json!({"autoPromotionEnabled": false})).await;
    image(&simulation, &mut timeline, "2-bad");
    timeline.watch(&simulation, 60).await;
    timeline.say(&simulation, "the active Service is applied anew, without selector and mark");
    let bare = json!({
        "metadata": {"annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": null}},
        "spec": {"selector": {"rollouts-pod-template-hash": null}},
    });
    simulation
        .cluster
        .patch(PERSON, "Service", Some(NAMESPACE), SERVICES[0], None, Patch::Merge(bare))
        .expect("accepted");
    timeline.watch(&simulation, 60).await;
    timeline.check(
        "
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2-bad
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
          60 s -- the active Service is applied anew, without selector and mark
          60 s  v1 4, v2 4 starting    active all, preview v2 | Progressing active service cutover pending
          60 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
    ",
    );
}

#[tokio::test(start_paused = true)]
async fn the_controller_dies_after_the_switch() {
    let (mut simulation, mut timeline) = deployed(json!({})).await;
    image(&simulation, &mut timeline, "2");
    timeline.watch_until(&simulation, 60, |simulation| leads(simulation, SERVICES[0]) == "v2").await;
    timeline.say(&simulation, "the controller dies");
    simulation.kill_controller();
    timeline.watch(&simulation, 60).await;
    timeline.say(&simulation, "another one starts");
    simulation.start_controller(Options::default());
    timeline.watch(&simulation, 120).await;
    timeline.check("
           0 s  v1 4                   active v1, preview v1 | Healthy
           0 s -- image 2
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing more replicas need to be updated
           0 s  v1 4, v2 4 starting    active v1, preview v2 | Progressing active service cutover pending
           1 s  v1 4, v2 4             active v2, preview v2 | Progressing waiting for post-promotion verification to complete
           1 s -- the controller dies
          61 s -- another one starts
          61 s  v1 4, v2 4             active v2, preview v2 | Healthy
          91 s  v2 4                   active v2, preview v2 | Healthy
    ");
}
