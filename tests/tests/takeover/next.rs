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

/// An object beside the Rollout.
fn object(simulation: &Simulation, kind: &str, name: &str) -> Value {
    let found = simulation.cluster.get(kind, Some(NAMESPACE), name);
    Value::clone(&found.unwrap_or_else(|| panic!("{kind} {name} exists")))
}

/// The routes of the VirtualService: names with their weights, as `beta 100, primary 80/20`.
fn http(simulation: &Simulation) -> String {
    let route = object(simulation, "VirtualService", ROLLOUT);
    let one = |http: &Value| {
        let destinations = http["route"].as_array().expect("destinations");
        let weights: Vec<String> = destinations.iter().map(|one| one["weight"].to_string()).collect();
        format!("{} {}", http["name"].as_str().unwrap_or_default(), weights.join("/"))
    };
    let all: Vec<String> = route["spec"]["http"].as_array().expect("routes").iter().map(one).collect();
    all.join(", ")
}

#[tokio::test(start_paused = true)]
async fn a_header_route_stays_while_the_weight_goes_on() {
    let simulation = taken_over("canary-istio-header.1-header-route").await;
    assert_eq!(http(&simulation), "beta 100, primary 100/0");
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:5/5 2:1/1", PAUSED, json!(5)));
    assert_eq!(http(&simulation), "beta 100, primary 80/20");
    promote(&simulation);
    simulation.pass(90).await;
    check(&simulation, 0, ("2", "2:5/5", "Healthy", json!(6)));
    assert_eq!(http(&simulation), "primary 100/0");
    let route = object(&simulation, "VirtualService", ROLLOUT);
    assert_eq!(
        (&route["spec"]["gateways"], &route["spec"]["http"][0]["retries"]),
        (&json!(["gw"]), &json!({"attempts": 3}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_header_route_goes_with_an_abort() {
    let simulation = taken_over("canary-istio-header.2-paused-at-20").await;
    assert_eq!(http(&simulation), "beta 100, primary 80/20");
    abort(&simulation);
    simulation.pass(10).await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 2";
    check(&simulation, 0, ("2", "1:5/5 2:1/1", aborted, json!(0)));
    assert_eq!(http(&simulation), "primary 100/0");
    simulation.pass(60).await;
    check(&simulation, 0, ("2", "1:5/5", aborted, json!(0)));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_version_goes_at_the_deadline_that_it_was_given() {
    let simulation = taken_over("canary-istio-header.3-aborted-within-delay").await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 2";
    simulation.pass(15).await; // 27 s were left
    check(&simulation, 0, ("2", "1:5/5 2:1/1", aborted, json!(0)));
    simulation.pass(5).await;
    check(&simulation, 0, ("2", "1:5/5", aborted, json!(0)));
    retry(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:5/5 2:1/1", PAUSED, json!(2)));
    assert_eq!(http(&simulation), "beta 100, primary 100/0");
}

#[tokio::test(start_paused = true)]
async fn subsets_go_on_with_the_pods_first() {
    let simulation = taken_over("canary-istio-subsets-dss.1-paused-at-40").await;
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:1/1 2:4/4", PAUSED, json!(3)));
    assert_eq!(http(&simulation), "primary 20/80");
    let writes = simulation.writes();
    let order: Vec<_> =
        writes.iter().filter(|write| !write.contains("rollouts")).map(String::as_str).collect();
    let wanted =
        ["patch replicasets web-779b5f7646", "patch virtualservices web", "patch replicasets web-689c8bddcc"];
    assert_eq!(order, wanted);
}

#[tokio::test(start_paused = true)]
async fn subsets_give_the_weight_back_as_far_as_pods_are_there() {
    let simulation = taken_over("canary-istio-subsets-dss.2-paused-at-80").await;
    abort(&simulation);
    simulation.pass(60).await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 2";
    check(&simulation, 0, ("2", "1:5/5", aborted, json!(0)));
    assert_eq!(http(&simulation), "primary 100/0");
    let writes = simulation.writes();
    let first = writes.iter().find(|write| !write.contains("rollouts"));
    assert_eq!(first.map(String::as_str), Some("patch replicasets web-689c8bddcc"), "{writes:#?}");
    let subsets = object(&simulation, "DestinationRule", ROLLOUT)["spec"]["subsets"].clone();
    assert_eq!(
        (&subsets[0]["labels"][HASH], &subsets[1]["labels"][HASH]),
        (&json!("689c8bddcc"), &json!("689c8bddcc"))
    );
}

#[tokio::test(start_paused = true)]
async fn subsets_at_rest_start_their_next_revision() {
    let simulation = taken_over("canary-istio-subsets-dss.3-promoted-full").await;
    simulation.image(ROLLOUT, "3");
    simulation.pass(40).await;
    check(&simulation, 1, ("3", "2:3/3 3:2/2", PAUSED, json!(1)));
    assert_eq!(http(&simulation), "primary 60/40");
}

fn canary_weight(simulation: &Simulation) -> Value {
    let ingress = object(simulation, "Ingress", "web-web-canary");
    ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_canary_ingress_goes_on_and_back() {
    let simulation = taken_over("canary-nginx.1-paused-at-5").await;
    assert_eq!(canary_weight(&simulation), "5");
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:1/1 2:1/1", PAUSED, json!(3)));
    assert_eq!(canary_weight(&simulation), "50");
    abort(&simulation);
    simulation.pass(60).await;
    let aborted = "Degraded RolloutAborted: Rollout aborted update to revision 2";
    check(&simulation, 0, ("2", "1:1/1", aborted, json!(0)));
    assert_eq!(canary_weight(&simulation), "0");
}

#[tokio::test(start_paused = true)]
async fn an_old_version_goes_at_the_deadline_that_it_was_given() {
    let simulation = taken_over("canary-nginx.2-promoted-old-within-delay").await;
    check(&simulation, 0, ("2", "1:1/1 2:1/1", "Healthy", json!(4)));
    simulation.pass(20).await; // 26 s were left
    check(&simulation, 0, ("2", "2:1/1", "Healthy", json!(4)));
    simulation.image(ROLLOUT, "3");
    simulation.pass(30).await;
    check(&simulation, 1, ("3", "2:1/1 3:1/1", PAUSED, json!(1)));
    assert_eq!(canary_weight(&simulation), "5");
}

/// The weights of the action annotation, by Service.
fn action(simulation: &Simulation) -> String {
    let ingress = object(simulation, "Ingress", ROLLOUT);
    let text = ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.web-root"].as_str();
    let action: Value = serde_json::from_str(text.expect("an action")).expect("JSON");
    let groups = action["ForwardConfig"]["TargetGroups"].as_array().expect("groups").iter();
    let mut all: Vec<String> = groups
        .map(|one| format!("{} {}", one["ServiceName"].as_str().unwrap_or_default(), one["Weight"]))
        .collect();
    all.sort();
    all.join(", ")
}

#[tokio::test(start_paused = true)]
async fn two_services_go_on_taking_turns() {
    let simulation = taken_over("canary-alb-pingpong.1-paused-at-10").await;
    assert_eq!(action(&simulation), "web-ping 90, web-pong 10");
    promote(&simulation);
    simulation.pass(30).await;
    check(&simulation, 0, ("2", "1:3/3 2:3/3", "Healthy", json!(2)));
    assert_eq!(action(&simulation), "web-ping 0, web-pong 100");
    assert_eq!(simulation.status(ROLLOUT)["canary"]["stablePingPong"], "pong");
    simulation.pass(60).await;
    check(&simulation, 0, ("2", "2:3/3", "Healthy", json!(2)));
}

#[tokio::test(start_paused = true)]
async fn it_is_the_other_service_s_turn() {
    let simulation = taken_over("canary-alb-pingpong.2-promoted").await;
    simulation.pass(30).await;
    simulation.image(ROLLOUT, "3");
    simulation.pass(40).await;
    check(&simulation, 1, ("3", "2:3/3 3:1/1", PAUSED, json!(1)));
    assert_eq!(action(&simulation), "web-ping 10, web-pong 90");
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

/// The Experiments, with how they stand.
fn experiments(simulation: &Simulation) -> Vec<String> {
    let all = simulation.cluster.list("Experiment", Some(NAMESPACE));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|one| format!("{} {}", text(&one["metadata"]["name"]), text(&one["status"]["phase"])))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_promotion_goes_on_to_the_experiment() {
    let simulation = taken_over("canary-analysis.1-paused-background-running").await;
    promote(&simulation);
    simulation.pass(60).await;
    let (_, sizes, phase, index) = standing(&simulation);
    assert_eq!((sizes.as_str(), index), ("1:4/4 2:1/1", json!(3)), "{phase}");
    assert_eq!(experiments(&simulation), ["web-779b5f7646-2-3 Running"]);
    simulation.pass(3_700).await;
    check(&simulation, 2, ("2", "2:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_run_beside_the_steps() {
    let simulation = taken_over("canary-analysis.1-paused-background-running").await;
    abort(&simulation);
    simulation.pass(60).await;
    let (_, sizes, phase, _) = standing(&simulation);
    assert_eq!(sizes, "1:5/5");
    assert!(phase.starts_with("Degraded RolloutAborted"), "{phase}");
    let run = simulation.cluster.get("AnalysisRun", Some(NAMESPACE), "web-779b5f7646-2").expect("the run");
    assert_eq!(run["spec"]["terminate"], true);
}

#[tokio::test(start_paused = true)]
async fn an_experiment_that_was_left_running_is_the_one_that_counts() {
    let simulation = taken_over("canary-analysis.2-experiment-running").await;
    assert_eq!(experiments(&simulation), ["web-779b5f7646-2-3 Running"]);
    simulation.pass(3_700).await;
    assert_eq!(experiments(&simulation), ["web-779b5f7646-2-3 Successful"]);
    check(&simulation, 0, ("2", "2:5/5", "Healthy", json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_an_abort_in_an_experiment_starts_at_the_first_step() {
    let simulation = taken_over("canary-analysis.3-aborted-in-experiment").await;
    simulation.pass(120).await;
    assert_eq!(experiments(&simulation), ["web-779b5f7646-2-3 Successful"], "nothing restarts by itself");
    retry(&simulation);
    simulation.pass(60).await;
    let (_, sizes, phase, index) = standing(&simulation);
    assert_eq!((sizes.as_str(), phase.as_str(), index), ("1:4/4 2:1/1", PAUSED, json!(2)));
}
