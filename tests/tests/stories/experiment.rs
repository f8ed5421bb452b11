//! Experiments on the simulated cluster: pods, Services and runs are real, metrics are asked of an endpoint.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::controllers::Settings;
use sluice_sim::{DeleteOptions, Failure, Patch, When};
use sluice_tests::simulation::{CONTROLLER, NAMESPACE, PERSON, Simulation, number};

use crate::analysis::Endpoint;

const HASH: &str = "rollouts-pod-template-hash";

fn with(endpoint: &Endpoint) -> Simulation {
    let mut simulation = Simulation::new(1, Settings::default());
    // The comparison with the cluster, every quarter of an hour, costs requests.
    simulation.start_controller(Options { audit_period: None, ..endpoint.options() });
    simulation
}

fn fine() -> Endpoint {
    Endpoint::always(200, json!({"errors": 1}))
}

/// A template of an Experiment whose pods have one port.
fn template(name: &str, tag: &str) -> Value {
    json!({
        "name": name,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{
                "name": "app", "image": format!("registry.example/web:{tag}"), "ports": [{"containerPort": 8080}],
            }]},
        },
    })
}

fn experiment(more: Value) -> Value {
    let mut spec = json!({"templates": [template("baseline", "1"), template("canary", "2")]});
    if let Value::Object(more) = more {
        for (key, value) in more {
            spec[key] = value;
        }
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "ex"}, "spec": spec,
    })
}

/// An AnalysisTemplate named `checks`, measured every half minute.
fn checks(metric: &Value) -> Value {
    let mut of = json!({
        "name": "errors", "interval": "30s", "successCondition": "result < 5",
        "provider": {"web": {
            "url": "http://metrics.example/errors?version={{args.version}}", "jsonPath": "{$.errors}",
        }},
    });
    for (key, value) in metric.as_object().into_iter().flatten() {
        of[key] = value.clone();
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "checks"},
        "spec": {"args": [{"name": "version"}], "metrics": [of]},
    })
}

fn analysis(name: &str, is_required: bool) -> Value {
    json!({
        "name": name, "templateName": "checks", "requiredForCompletion": is_required,
        "args": [{"name": "version", "value": "{{templates.canary.podTemplateHash}}"}],
    })
}

#[track_caller]
fn get(simulation: &Simulation, kind: &str, name: &str) -> Arc<Value> {
    simulation.cluster.get(kind, Some(NAMESPACE), name).unwrap_or_else(|| panic!("{kind} {name} exists"))
}

fn status(simulation: &Simulation) -> Value {
    get(simulation, "Experiment", "ex")["status"].clone()
}

fn phase(simulation: &Simulation) -> String {
    let status = status(simulation);
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("phase"), text("message")).trim().to_owned()
}

async fn until_phase(simulation: &Simulation, wanted: &str) {
    let what = format!("the Experiment to be {wanted}");
    simulation
        .until(&what, SignedDuration::from_mins(60), |s| {
            s.cluster.get("Experiment", Some(NAMESPACE), "ex").is_some() && phase(s).starts_with(wanted)
        })
        .await;
}

/// ReplicaSets of Experiments: name, size and available pods.
fn sizes(simulation: &Simulation) -> String {
    let sets = simulation.sets("ex");
    let row = |set: &Arc<Value>| {
        let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        format!("{name}:{}/{}", number(set, "/spec/replicas"), number(set, "/status/availableReplicas"))
    };
    sets.iter().map(row).collect::<Vec<_>>().join(" ")
}

fn terminate(simulation: &Simulation) {
    let patch = Patch::Merge(json!({"spec": {"terminate": true}}));
    simulation.cluster.patch(PERSON, "Experiment", Some(NAMESPACE), "ex", None, patch).expect("accepted");
}

fn events(simulation: &Simulation) -> Vec<String> {
    let events = simulation.cluster.list("Event", Some(NAMESPACE));
    let own = events.iter().filter(|event| {
        event["regarding"]["kind"] == "Experiment" || event["involvedObject"]["kind"] == "Experiment"
    });
    own.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What has ended leaves no pods, no Services and no runs that go on, and costs nothing any more.
async fn is_left_in_order(simulation: &Simulation) {
    simulation
        .until("no pods", SignedDuration::from_mins(2), |s| {
            s.cluster.list("Pod", Some(NAMESPACE)).is_empty()
                && s.sets("ex").iter().all(|set| number(set, "/spec/replicas") == 0)
        })
        .await;
    simulation.pass(10).await;
    assert!(simulation.cluster.list("Service", Some(NAMESPACE)).is_empty());
    let ended = ["Successful", "Failed", "Error", "Inconclusive"];
    for run in simulation.cluster.list("AnalysisRun", Some(NAMESPACE)) {
        assert!(ended.contains(&run["status"]["phase"].as_str().unwrap_or_default()), "{run}");
    }
    for run in status(simulation)["analysisRuns"].as_array().into_iter().flatten() {
        assert!(ended.contains(&run["phase"].as_str().unwrap_or_default()), "{run}");
    }
    is_quiet(simulation, 600).await;
}

/// Nothing is asked of the API server for so long.
async fn is_quiet(simulation: &Simulation, seconds: u64) {
    simulation.cluster.clear_audit();
    simulation.pass(seconds).await;
    let audit = simulation.cluster.audit();
    let requests: Vec<_> = audit.iter().filter(|r| &*r.identity == CONTROLLER && r.verb != "watch").collect();
    assert!(requests.is_empty(), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn two_templates_run_side_by_side_for_their_duration() {
    let simulation = with(&fine());
    let mut canary = template("canary", "2");
    canary["service"] = json!({});
    canary["replicas"] = json!(2);
    simulation.apply(experiment(json!({"duration": "5m", "templates": [template("baseline", "1"), canary]})));
    until_phase(&simulation, "Running").await;
    assert_eq!(sizes(&simulation), "ex-baseline:1/1 ex-canary:2/2");
    let begun: jiff::Timestamp =
        status(&simulation)["availableAt"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(
        phase(&simulation),
        format!(
            "Running Experiment ex: runs until {}, wanted the end of its duration",
            begun + SignedDuration::from_mins(5)
        )
    );
    let service = get(&simulation, "Service", "ex-canary");
    let set = get(&simulation, "ReplicaSet", "ex-canary");
    assert_eq!(service["spec"]["selector"][HASH], set["metadata"]["labels"][HASH]);
    assert_eq!(
        status(&simulation)["templateStatuses"][1]["podTemplateHash"],
        set["metadata"]["labels"][HASH]
    );
    simulation.pass(5).await;
    is_quiet(&simulation, 200).await;
    until_phase(&simulation, "Successful").await;
    let took = simulation.now().duration_since(begun).as_secs();
    assert!((300..=302).contains(&took), "{took} s");
    assert_eq!(sizes(&simulation), "ex-baseline:1/1 ex-canary:2/2", "pods stay for the delay");
    is_left_in_order(&simulation).await;
    let told = events(&simulation);
    for reason in ["ExperimentPending", "ExperimentRunning", "ExperimentSuccessful", "NewReplicaSetCreated"] {
        assert!(told.iter().any(|event| event == reason), "{reason}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_analysis_that_fails_ends_it_at_once() {
    let endpoint = fine();
    let simulation = with(&endpoint);
    simulation.apply(checks(&json!({})));
    simulation.apply(experiment(json!({"duration": "1h", "analyses": [analysis("errors", false)]})));
    until_phase(&simulation, "Running").await;
    simulation.pass(70).await;
    let run = get(&simulation, "AnalysisRun", "ex-errors");
    let hash = get(&simulation, "ReplicaSet", "ex-canary")["metadata"]["labels"][HASH].clone();
    assert_eq!(run["spec"]["args"], json!([{"name": "version", "value": hash}]));
    assert_eq!(status(&simulation)["analysisRuns"][0]["phase"], "Running");
    endpoint.now_says(json!({"errors": 40}));
    let begun = simulation.now();
    until_phase(&simulation, "Failed").await;
    let told = phase(&simulation);
    assert!(
        told.starts_with("Failed Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)"),
        "{told}"
    );
    assert!(simulation.now().duration_since(begun).as_secs() <= 32);
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn a_required_analysis_ends_it_and_the_others_are_followed_to_their_end() {
    let endpoint = fine();
    let simulation = with(&endpoint);
    let mut once = checks(&json!({}));
    once["metadata"]["name"] = json!("once");
    once["spec"]["metrics"][0]["count"] = json!(4);
    simulation.apply(once);
    simulation.apply(checks(&json!({})));
    let mut required = analysis("smoke", true);
    required["templateName"] = json!("once");
    simulation.apply(experiment(json!({"analyses": [analysis("errors", false), required]})));
    until_phase(&simulation, "Running").await;
    until_phase(&simulation, "Successful").await;
    assert_eq!(phase(&simulation), "Successful Required AnalysisRuns completed");
    is_left_in_order(&simulation).await;
    assert_eq!(get(&simulation, "AnalysisRun", "ex-errors")["spec"]["terminate"], true);
    let runs = status(&simulation)["analysisRuns"].clone();
    let phases: Vec<String> = runs
        .as_array()
        .into_iter()
        .flatten()
        .map(|run| format!("{} {}", run["name"].as_str().unwrap_or(""), run["phase"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(phases, ["errors Successful", "smoke Successful"]);
}

#[tokio::test(start_paused = true)]
async fn s24_one_that_is_told_to_end_while_a_required_analysis_runs_ends() {
    let endpoint = fine();
    let simulation = with(&endpoint);
    simulation.apply(checks(&json!({})));
    simulation.apply(experiment(json!({"analyses": [analysis("errors", true)]})));
    until_phase(&simulation, "Running").await;
    simulation.pass(100).await;
    terminate(&simulation);
    simulation.pass(5).await;
    assert_eq!(phase(&simulation), "Successful Required AnalysisRuns completed");
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn w62_one_that_is_told_to_end_before_anything_was_measured_has_not_passed() {
    let endpoint = fine();
    let simulation = with(&endpoint);
    simulation.apply(checks(&json!({"initialDelay": "10m"})));
    simulation.apply(experiment(json!({"analyses": [analysis("errors", true)]})));
    until_phase(&simulation, "Running").await;
    simulation.pass(30).await;
    terminate(&simulation);
    simulation.pass(5).await;
    let told = phase(&simulation);
    assert!(told.starts_with("Inconclusive required analysis 'errors' has ended"), "{told}");
    assert_eq!(endpoint.asked(), 0);
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_never_start_fail_it_and_the_message_says_why() {
    let simulation = with(&fine());
    let templates = json!([template("baseline", "1"), template("canary", "2-bad")]);
    simulation.apply(experiment(json!({"templates": templates, "progressDeadlineSeconds": 120})));
    until_phase(&simulation, "Pending").await;
    let begun = simulation.now();
    simulation.pass(60).await;
    let told = phase(&simulation);
    assert!(
        told.starts_with("Pending ReplicaSet ex-canary: 0 of 1 pods available (CrashLoopBackOff"),
        "{told}"
    );
    until_phase(&simulation, "Failed").await;
    let took = simulation.now().duration_since(begun).as_secs();
    assert!((118..=130).contains(&took), "{took} s");
    let told = phase(&simulation);
    assert!(
        told.starts_with("Failed Template 'canary' exceeded its progressDeadlineSeconds (120)"),
        "{told}"
    );
    assert!(told.contains("CrashLoopBackOff"), "{told}");
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_begins_anew() {
    let endpoint = Endpoint::always(200, json!({"errors": 40}));
    let simulation = with(&endpoint);
    simulation.apply(checks(&json!({"count": 2})));
    simulation.apply(experiment(json!({"analyses": [analysis("errors", true)]})));
    until_phase(&simulation, "Failed").await;
    is_left_in_order(&simulation).await;
    endpoint.now_says(json!({"errors": 1}));
    let patch = Patch::Merge(json!({"status": null}));
    simulation.cluster.patch(PERSON, "Experiment", Some(NAMESPACE), "ex", None, patch).expect("accepted");
    until_phase(&simulation, "Running").await;
    until_phase(&simulation, "Successful").await;
    assert_eq!(status(&simulation)["analysisRuns"][0]["analysisRun"], "ex-errors.1");
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_own_is_left_alone() {
    let simulation = with(&fine());
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
    });
    simulation.apply(service);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "ex-baseline"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/other:1"}]},
            },
        },
    });
    simulation.apply(set);
    let theirs = |s: &Simulation| {
        (get(s, "Service", "taken")["spec"].clone(), get(s, "ReplicaSet", "ex-baseline")["spec"].clone())
    };
    let before = theirs(&simulation);
    simulation.apply(experiment(json!({"duration": "1m"})));
    until_phase(&simulation, "Running").await;
    assert_eq!(sizes(&simulation), "ex-baseline-1:1/1 ex-canary:1/1");
    until_phase(&simulation, "Successful").await;
    simulation.pass(60).await;
    assert_eq!(theirs(&simulation), before);

    let delete = DeleteOptions::default();
    simulation.cluster.delete(PERSON, "Experiment", Some(NAMESPACE), "ex", delete).expect("it exists");
    simulation.pass(30).await;
    let mut canary = template("canary", "2");
    canary["service"] = json!({"name": "taken"});
    simulation.apply(experiment(json!({"templates": [canary]})));
    until_phase(&simulation, "Error").await;
    let told = phase(&simulation);
    assert!(
        told.contains("service taken already exists and is not owned by experiment template canary"),
        "{told}"
    );
    assert_eq!(theirs(&simulation), before);
}

#[tokio::test(start_paused = true)]
async fn w38_what_the_api_server_refuses_is_told() {
    let simulation = with(&fine());
    let mut odd = template("canary", "2");
    odd["selector"] = json!({"matchLabels": {"app": "another"}});
    simulation.apply(experiment(json!({"templates": [template("baseline", "1"), odd]})));
    until_phase(&simulation, "Error").await;
    let told = phase(&simulation);
    assert!(told.starts_with("Error Failed to create ReplicaSet for template 'canary': "), "{told}");
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn w38_trouble_of_the_api_server_is_told_and_tried_again() {
    let simulation = with(&fine());
    // The second write is the status that tells of the first.
    for n in [1].into_iter().chain(3..40) {
        simulation.cluster.faults().fail_write(CONTROLLER, n, When::Before, Failure::Internal);
    }
    simulation.apply(experiment(json!({"duration": "1m"})));
    simulation.pass(1).await;
    let told = phase(&simulation);
    let wanted =
        "Pending ReplicaSet ex-baseline: not there yet (Failed to create ReplicaSet for template 'baseline'";
    assert!(told.starts_with(wanted), "{told}");
    until_phase(&simulation, "Successful").await;
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_one_is_told_and_goes_on_once_it_is_corrected() {
    let simulation = with(&fine());
    simulation.apply(experiment(json!({"templates": [template("a", "1"), template("a", "2")]})));
    simulation.pass(5).await;
    let condition = status(&simulation)["conditions"][0].clone();
    assert_eq!((&condition["type"], &condition["status"]), (&json!("InvalidSpec"), &json!("True")));
    assert!(simulation.sets("ex").is_empty());
    is_quiet(&simulation, 300).await;
    simulation.apply(experiment(json!({"duration": "1m"})));
    until_phase(&simulation, "Successful").await;
    is_left_in_order(&simulation).await;
}

#[tokio::test(start_paused = true)]
async fn instance_ids_part_experiments() {
    let endpoint = fine();
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(Options {
        instance_id: "one".into(),
        audit_period: None,
        ..endpoint.options()
    });
    let labels = json!({"argo-rollouts.argoproj.io/controller-instance-id": "one"});
    let mut template = checks(&json!({"count": 1}));
    template["metadata"]["labels"] = labels.clone();
    let mut own = experiment(json!({"analyses": [analysis("errors", true)]}));
    own["metadata"]["labels"] = labels.clone();
    let mut theirs = experiment(json!({}));
    theirs["metadata"]["name"] = json!("theirs");
    simulation.apply(theirs);
    // The template comes with its Experiment, and a watch may be slower than another.
    simulation.cluster.faults().delay_watch(
        CONTROLLER,
        "AnalysisTemplate",
        std::time::Duration::from_secs(30),
    );
    simulation.apply(template);
    simulation.apply(own);
    until_phase(&simulation, "Successful").await;
    let run = get(&simulation, "AnalysisRun", "ex-errors");
    assert_eq!(run["metadata"]["labels"], labels);
    assert!(simulation.sets("theirs").is_empty());
    assert_eq!(get(&simulation, "Experiment", "theirs")["status"], Value::Null);
}

/// A whole Experiment, with a crash after the n-th write and a new controller a moment later.
async fn ended_with_a_crash_after(write: u64) -> (bool, String) {
    let endpoint = fine();
    let mut simulation = with(&endpoint);
    let mut canary = template("canary", "2");
    canary["service"] = json!({});
    simulation.apply(checks(&json!({"count": 3})));
    simulation.cluster.faults().stop_after_writes(CONTROLLER, write);
    simulation.apply(experiment(json!({
        "templates": [template("baseline", "1"), canary], "duration": "2m",
        "analyses": [analysis("errors", true)],
    })));
    let options = Options { audit_period: None, ..endpoint.options() };
    let has_crashed = simulation.replace_if_stopped(240, options).await;
    until_phase(&simulation, "Successful").await;
    is_left_in_order(&simulation).await;
    let runs = simulation.cluster.list("AnalysisRun", Some(NAMESPACE)).len();
    let end = format!(
        "{} | {} | {runs} runs | {} measured",
        phase(&simulation),
        sizes(&simulation),
        endpoint.asked()
    );
    (has_crashed, end)
}

#[tokio::test(start_paused = true)]
async fn wherever_the_controller_dies_it_ends_the_same() {
    let (_, wanted) = ended_with_a_crash_after(1_000).await;
    assert_eq!(
        wanted,
        "Successful Required AnalysisRuns completed | ex-baseline:0/0 ex-canary:0/0 | 1 runs | 3 measured"
    );
    for write in 1..60 {
        let (has_crashed, end) = ended_with_a_crash_after(write).await;
        // A measurement whose result could not be written is made again.
        let end = end.replace("4 measured", "3 measured");
        assert_eq!(end, wanted, "a crash after write {write}");
        if !has_crashed {
            assert!(write > 10, "only {write} writes");
            return;
        }
    }
    panic!("it makes writes without end");
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_late_watches_change_nothing() {
    for seed in 0..4 {
        let endpoint = fine();
        let mut simulation = Simulation::new(seed, Settings::default());
        simulation.start_controller(Options { audit_period: None, ..endpoint.options() });
        let faults = simulation.cluster.faults();
        faults.delay_watch(CONTROLLER, "*", std::time::Duration::from_millis(700));
        for n in [1, 2, 4] {
            faults.conflict_update(CONTROLLER, n);
        }
        faults.fail_write(CONTROLLER, 3, When::After, Failure::Connection);
        faults.fail_write(CONTROLLER, 5, When::After, Failure::Timeout);
        simulation.apply(checks(&json!({"count": 3})));
        simulation.apply(experiment(json!({"duration": "2m", "analyses": [analysis("errors", true)]})));
        until_phase(&simulation, "Successful").await;
        is_left_in_order(&simulation).await;
        assert_eq!(simulation.sets("ex").len(), 2, "seed {seed}: {}", sizes(&simulation));
        assert_eq!(simulation.cluster.list("AnalysisRun", Some(NAMESPACE)).len(), 1, "seed {seed}");
    }
}
