//! Experiments that steps of a Rollout make: pods, Services, runs and routes are real.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::controllers::Settings;
use sluice_tests::simulation::{CONTROLLER, NAMESPACE, Simulation, canary};

use crate::analysis::Endpoint;

/// An AnalysisTemplate `checks` that asks the endpoint every half minute.
fn checks() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "checks"},
        "spec": {"args": [{"name": "base"}, {"name": "cand"}], "metrics": [{
            "name": "errors", "interval": "30s", "successCondition": "result < 5",
            "provider": {"web": {
                "url": "http://metrics.example/errors?base={{args.base}}&cand={{args.cand}}", "jsonPath": "{$.errors}",
            }},
        }]},
    })
}

fn experiment(duration: &str) -> Value {
    json!({"experiment": {
        "duration": duration,
        "templates": [{"name": "base", "specRef": "stable"}, {"name": "cand", "specRef": "canary", "replicas": 2}],
        "analyses": [{"name": "compare", "templateName": "checks", "args": [
            {"name": "base", "value": "{{templates.base.podTemplateHash}}"},
            {"name": "cand", "value": "{{templates.cand.podTemplateHash}}"},
        ]}],
    }})
}

/// Five healthy pods of the first version, and an experiment of ten minutes between 20 and 60 percent.
async fn begin(endpoint: &Endpoint) -> Simulation {
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(Options { audit_period: None, ..endpoint.options() });
    simulation.apply(checks());
    simulation.apply(canary(5, json!([{"setWeight": 20}, experiment("10m"), {"setWeight": 60}])));
    simulation.until_phase("web", "Healthy").await;
    simulation
}

/// The only Experiment.
fn trial(simulation: &Simulation) -> Value {
    let all = simulation.cluster.list("Experiment", Some(NAMESPACE));
    assert_eq!(all.len(), 1, "{all:#?}");
    Value::clone(&all[0])
}

fn phase(trial: &Value) -> &str {
    trial["status"]["phase"].as_str().unwrap_or_default()
}

async fn until_it_runs(simulation: &Simulation) {
    simulation
        .until("an Experiment to run", SignedDuration::from_mins(5), |s| {
            let all = s.cluster.list("Experiment", Some(NAMESPACE));
            all.iter().any(|one| one["status"]["phase"] == "Running")
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_step_compares_both_versions_and_goes_on() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let simulation = begin(&endpoint).await;
    simulation.image("web", "2");
    until_it_runs(&simulation).await;
    simulation.pass(90).await;
    let running = trial(&simulation);
    let name = running["metadata"]["name"].as_str().expect("a name").to_owned();
    let status = simulation.status("web");
    assert_eq!(status["canary"]["currentExperiment"], *name);
    assert_eq!(status["currentStepIndex"], 1);
    assert_eq!(name, format!("web-{}-2-1", status["currentPodHash"].as_str().expect("a hash")));
    let images = |name: &str| {
        let set = simulation.cluster.get("ReplicaSet", Some(NAMESPACE), name).expect("the ReplicaSet");
        (set["spec"]["template"]["spec"]["containers"][0]["image"].clone(), set["spec"]["replicas"].clone())
    };
    assert_eq!(images(&format!("{name}-base")), (json!("registry.example/web:1"), json!(1)));
    assert_eq!(images(&format!("{name}-cand")), (json!("registry.example/web:2"), json!(2)));
    let hash = |template: &str| {
        let name = format!("{name}-{template}");
        let set = simulation.cluster.get("ReplicaSet", Some(NAMESPACE), &name).expect("the ReplicaSet");
        set["metadata"]["labels"]["rollouts-pod-template-hash"].as_str().expect("a hash").to_owned()
    };
    let asked = format!("base={}&cand={}", hash("base"), hash("cand"));
    assert!(endpoint.last_url().ends_with(&asked), "{} does not end with {asked}", endpoint.last_url());
    // The versions of the Rollout keep their sizes.
    assert_eq!(simulation.sizes("web"), "1:4/4 2:1/1");
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(phase(&trial(&simulation)), "Successful");
    simulation.pass(120).await;
    let left = simulation.cluster.list("Pod", Some(NAMESPACE));
    assert_eq!(left.len(), 5, "pods of the Experiment are gone");
    simulation.cluster.clear_audit();
    simulation.pass(300).await;
    assert_eq!(simulation.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_bad_comparison_takes_the_update_back() {
    let endpoint = Endpoint::always(200, json!({"errors": 9}));
    let simulation = begin(&endpoint).await;
    simulation.image("web", "2");
    simulation.until_phase("web", "Degraded").await;
    let message = simulation.phase("web");
    let wanted = "Experiment analysis phase is error/failed: Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)";
    assert!(message.contains(wanted), "{message}");
    assert_eq!(phase(&trial(&simulation)), "Failed");
    simulation.pass(60).await;
    assert_eq!(simulation.sizes("web"), "1:5/5");
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_experiment_and_its_pods_go() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let simulation = begin(&endpoint).await;
    simulation.image("web", "2");
    until_it_runs(&simulation).await;
    simulation.patch_status("web", json!({"abort": true}));
    simulation.pass(120).await;
    let ended = trial(&simulation);
    assert_eq!((ended["spec"]["terminate"].clone(), phase(&ended)), (json!(true), "Successful"));
    assert_eq!(simulation.sizes("web"), "1:5/5");
    assert_eq!(simulation.cluster.list("Pod", Some(NAMESPACE)).len(), 5);
}

/// A whole update, with a crash after the n-th write and a new controller a moment later.
async fn updated_with_a_crash_after(write: u64) -> (bool, String) {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let mut simulation = begin(&endpoint).await;
    simulation.cluster.faults().stop_after_writes(CONTROLLER, write);
    simulation.image("web", "2");
    let options = Options { audit_period: None, ..endpoint.options() };
    let has_crashed = simulation.replace_if_stopped(60, options).await;
    simulation.until("the update to end", SignedDuration::from_hours(1), |s| s.sizes("web") == "2:5/5").await;
    simulation.pass(120).await;
    let end = format!("{} {}", phase(&trial(&simulation)), simulation.sizes("web"));
    (has_crashed, end)
}

#[tokio::test(start_paused = true)]
async fn w42_wherever_the_controller_dies_there_is_one_experiment() {
    for write in 1..40 {
        let (has_crashed, end) = updated_with_a_crash_after(write).await;
        assert_eq!(end, "Successful 2:5/5", "a crash after write {write}");
        if !has_crashed {
            assert!(write > 10, "only {write} writes");
            return;
        }
    }
}
