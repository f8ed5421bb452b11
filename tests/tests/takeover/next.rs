//! From where Argo Rollouts left it, the next thing happens and goes on from there.

use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::Patch;
use sluice_tests::simulation::{NAMESPACE, PERSON, Simulation, number, revision};
use sluice_tests::takeover::{HASH, ROLLOUT, simulated};

/// What is looked at after the next thing: revision, sizes, phase, step index.
type Standing = (String, String, String, Value);

async fn taken_over(name: &str) -> Simulation {
    let mut simulation = simulated(name).await;
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    simulation
}

fn standing(simulation: &Simulation) -> Standing {
    let rollout = simulation.rollout(ROLLOUT);
    let index = rollout["status"]["currentStepIndex"].clone();
    (revision(&rollout).to_string(), simulation.sizes(ROLLOUT), simulation.phase(ROLLOUT), index)
}

/// Compares with revision, sizes, phase and step index, and checks that `created` ReplicaSets are new.
#[track_caller]
fn check(simulation: &Simulation, created: usize, expected: (&str, &str, &str, Value)) {
    let (revision, sizes, phase, index) = expected;
    assert_eq!(
        standing(simulation),
        (revision.to_owned(), sizes.to_owned(), phase.to_owned(), index),
        "{}",
        simulation.describe()
    );
    let writes = simulation.writes();
    let creations: Vec<_> = writes.iter().filter(|write| write.starts_with("create replicasets")).collect();
    assert_eq!(creations.len(), created, "{writes:#?}");
}

fn promote(simulation: &Simulation) {
    simulation.patch_status(ROLLOUT, json!({"pauseConditions": null}));
}

fn abort(simulation: &Simulation) {
    simulation.patch_status(ROLLOUT, json!({"abort": true}));
}

fn retry(simulation: &Simulation) {
    simulation.patch_status(ROLLOUT, json!({"abort": false}));
}

const PAUSED: &str = "Paused CanaryPauseStep";
const PREVIEWED: &str = "Paused BlueGreenPause";

/// The images that the active and the preview Service lead to, by revision.
fn leads(simulation: &Simulation) -> (i64, i64) {
    let of = |name| {
        let service = simulation.cluster.get("Service", Some(NAMESPACE), name).expect("the Service exists");
        let hash = &service["spec"]["selector"][HASH];
        let set = simulation.sets(ROLLOUT).into_iter().find(|set| set["metadata"]["labels"][HASH] == *hash);
        revision(&set.expect("the Service leads to a version"))
    };
    (of("web-active"), of("web-preview"))
}

#[tokio::test(start_paused = true)]
async fn blue_green_previews_its_next_revision() {
    let simulation = taken_over("blue-green.1-healthy").await;
    simulation.image(ROLLOUT, "2");
    simulation.pass(30).await;
    check(&simulation, 1, ("2", "1:3/3 2:1/1", PREVIEWED, Value::Null));
    assert_eq!(leads(&simulation), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn blue_green_is_promoted_and_keeps_the_old_version_for_its_hour() {
    let simulation = taken_over("blue-green.2-awaiting-promotion").await;
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:3/3 2:3/3", "Healthy", Value::Null));
    assert_eq!(leads(&simulation), (2, 2));
    simulation.pass(3600).await;
    check(&simulation, 0, ("2", "2:3/3", "Healthy", Value::Null));
}

#[tokio::test(start_paused = true)]
async fn blue_green_is_aborted_before_its_switch() {
    let simulation = taken_over("blue-green.2-awaiting-promotion").await;
    abort(&simulation);
    simulation.pass(60).await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 2";
    check(&simulation, 0, ("2", "1:3/3", aborted, Value::Null));
    assert_eq!(leads(&simulation), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn blue_green_goes_back_at_once_to_what_still_runs() {
    let simulation = taken_over("blue-green.3-promoted-old-within-delay").await;
    simulation.image(ROLLOUT, "1");
    simulation.pass(30).await;
    check(&simulation, 0, ("3", "2:3/3 3:3/3", "Healthy", Value::Null));
    assert_eq!(leads(&simulation), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn blue_green_ends_the_delays_that_it_found() {
    let simulation = taken_over("blue-green.4-aborted").await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 3";
    simulation.pass(30).await;
    check(&simulation, 0, ("3", "1:3/3 2:3/3", aborted, Value::Null));
    simulation.pass(3600).await;
    check(&simulation, 0, ("3", "2:3/3", aborted, Value::Null));
}

#[tokio::test(start_paused = true)]
async fn blue_green_is_tried_again_and_judged_again() {
    let simulation = taken_over("blue-green.4-aborted").await;
    retry(&simulation);
    simulation.pass(60).await;
    check(&simulation, 0, ("3", "1:3/3 2:3/3 3:1/1", PREVIEWED, Value::Null));
    assert_eq!(leads(&simulation), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn blue_green_goes_back_to_stable_without_new_pods() {
    let simulation = taken_over("blue-green.4-aborted").await;
    simulation.image(ROLLOUT, "2");
    simulation.pass(60).await;
    check(&simulation, 0, ("4", "1:3/3 4:3/3", "Healthy", Value::Null));
    assert_eq!(leads(&simulation), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_healthy_one_starts_its_next_revision() {
    let simulation = taken_over("canary-basic.1-healthy").await;
    simulation.image(ROLLOUT, "2");
    simulation.pass(30).await;
    check(&simulation, 1, ("2", "1:4/4 2:1/1", PAUSED, json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_is_promoted_to_its_next_step() {
    let simulation = taken_over("canary-basic.2-paused-at-20").await;
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:2/2 2:3/3", PAUSED, json!(3)));
    simulation.pass(3600).await;
    check(&simulation, 0, ("2", "2:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_is_promoted_in_full() {
    let simulation = taken_over("canary-basic.2-paused-at-20").await;
    simulation.patch_status(ROLLOUT, json!({"promoteFull": true}));
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "2:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_is_aborted() {
    let simulation = taken_over("canary-basic.2-paused-at-20").await;
    abort(&simulation);
    simulation.pass(30).await;
    check(
        &simulation,
        0,
        ("2", "1:5/5", "Degraded RolloutAborted: Rollout aborted update to revision 2", json!(0)),
    );
}

#[tokio::test(start_paused = true)]
async fn a_timed_pause_lasts_what_is_left_of_it() {
    // Paused for an hour, 2 s before it was captured; 10 s have gone by since.
    let simulation = taken_over("canary-basic.3-timed-pause-at-60").await;
    simulation.pass(3600 - 2 - 10 - 5).await;
    check(&simulation, 0, ("2", "1:2/2 2:3/3", PAUSED, json!(3)));
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "2:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_third_revision_is_promoted() {
    let simulation = taken_over("canary-basic.4-third-revision-paused").await;
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("3", "1:2/2 3:3/3", PAUSED, json!(3)));
}

#[tokio::test(start_paused = true)]
async fn a_third_revision_is_aborted_and_tried_again() {
    let simulation = taken_over("canary-basic.4-third-revision-paused").await;
    abort(&simulation);
    simulation.pass(30).await;
    check(
        &simulation,
        0,
        ("3", "1:5/5", "Degraded RolloutAborted: Rollout aborted update to revision 3", json!(0)),
    );
    retry(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("3", "1:4/4 3:1/1", PAUSED, json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_third_revision_gives_way_to_the_first() {
    let simulation = taken_over("canary-basic.4-third-revision-paused").await;
    simulation.image(ROLLOUT, "1");
    simulation.pass(30).await;
    check(&simulation, 0, ("4", "4:5/5", "Healthy", json!(4)));
    let set =
        simulation.sets(ROLLOUT).into_iter().find(|set| revision(set) == 4).expect("the stable ReplicaSet");
    assert_eq!(set["metadata"]["annotations"]["rollout.argoproj.io/revision-history"], "1");
    assert_eq!(set["metadata"]["name"], "web-689c8bddcc");
}

#[tokio::test(start_paused = true)]
async fn an_aborted_one_is_tried_again_from_its_first_step() {
    let simulation = taken_over("canary-basic.5-aborted").await;
    retry(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("3", "1:4/4 3:1/1", PAUSED, json!(1)));
    assert_eq!(simulation.status(ROLLOUT).get("abortedAt"), None);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_one_goes_back_to_its_first_revision() {
    let simulation = taken_over("canary-basic.5-aborted").await;
    simulation.image(ROLLOUT, "1");
    simulation.pass(30).await;
    check(&simulation, 0, ("4", "4:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn an_old_revision_comes_again() {
    let simulation = taken_over("canary-basic.6-rolled-back-to-first").await;
    simulation.image(ROLLOUT, "3");
    simulation.pass(30).await;
    check(&simulation, 0, ("5", "4:4/4 5:1/1", PAUSED, json!(1)));
    let set = simulation
        .sets(ROLLOUT)
        .into_iter()
        .find(|set| revision(set) == 5)
        .expect("the third image's ReplicaSet");
    assert_eq!(set["metadata"]["annotations"]["rollout.argoproj.io/revision-history"], "3");
}

#[tokio::test(start_paused = true)]
async fn without_steps_the_history_limit_goes_on() {
    let simulation = taken_over("canary-no-steps.1-fourth-revision").await;
    simulation.image(ROLLOUT, "5");
    simulation.pass(30).await;
    check(&simulation, 1, ("5", "5:4/4", "Healthy", Value::Null));
    let mut revisions: Vec<i64> = simulation.sets(ROLLOUT).iter().map(|set| revision(set)).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [3, 4, 5], "two old ones are kept");
}

#[tokio::test(start_paused = true)]
async fn a_corrected_spec_starts_the_first_revision() {
    let simulation = taken_over("invalid-spec.1-weight-120").await;
    let fix = json!([{"op": "replace", "path": "/spec/strategy/canary/steps/0/setWeight", "value": 20}]);
    simulation
        .cluster
        .patch(PERSON, "Rollout", Some(NAMESPACE), ROLLOUT, None, Patch::Json(fix))
        .expect("accepted");
    simulation.pass(30).await;
    check(&simulation, 1, ("1", "1:2/2", "Healthy", json!(1)));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_updated_while_asleep_wakes_to_its_step() {
    let simulation = taken_over("scaled-to-zero.1-updated-while-asleep").await;
    simulation.patch(ROLLOUT, json!({"spec": {"replicas": 4}}));
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:2/2 2:2/2", PAUSED, json!(1)));
    let writes = simulation.writes();
    let sizes: Vec<_> = writes.iter().filter_map(|write| write.strip_prefix("patch replicasets ")).collect();
    assert_eq!(sizes.first(), Some(&"web-689c8bddcc"), "what used to serve comes first: {writes:#?}");
}

/// The image of the Deployment whose template the Rollout runs.
fn image_of_deployment(simulation: &Simulation, tag: &str) {
    let image = format!("registry.example/web:{tag}");
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    let patch = Patch::Json(patch);
    let patched = simulation.cluster.patch(PERSON, "Deployment", Some(NAMESPACE), "web-src", None, patch);
    patched.expect("the Deployment is there");
}

fn size_of_deployment(simulation: &Simulation) -> i64 {
    let deployment = simulation.cluster.get("Deployment", Some(NAMESPACE), "web-src").expect("it is there");
    number(&deployment, "/spec/replicas")
}

#[tokio::test(start_paused = true)]
async fn a_new_image_in_the_deployment_starts_a_revision() {
    let simulation = taken_over("workload-ref.1-healthy").await;
    image_of_deployment(&simulation, "2");
    simulation.pass(30).await;
    check(&simulation, 1, ("2", "1:3/3 2:1/1", PAUSED, json!(1)));
    assert_eq!(size_of_deployment(&simulation), 0);
    let rollout = simulation.rollout(ROLLOUT);
    let generation = &rollout["metadata"]["annotations"]["rollout.argoproj.io/workload-generation"];
    assert_eq!((generation, &rollout["status"]["workloadObservedGeneration"]), (&json!("3"), &json!("3")));
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_in_for_a_deployment_is_promoted() {
    let simulation = taken_over("workload-ref.2-paused-at-25").await;
    promote(&simulation);
    simulation.pass(60).await;
    check(&simulation, 0, ("2", "2:4/4", "Healthy", json!(2)));
    assert_eq!(size_of_deployment(&simulation), 0);
}
