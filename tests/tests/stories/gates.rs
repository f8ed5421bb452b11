//! Gates on the simulated cluster: they judge the change, and not the weather.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_tests::simulation::{NAMESPACE, Simulation, canary};

use crate::analysis::Endpoint;

/// What Prometheus answers if there is one sample.
fn sample(value: f64) -> Value {
    json!({
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1_800_000_000, value.to_string()]}]},
    })
}

/// A metric that asks Prometheus.
fn metric(name: &str, query: &str, more: &Value) -> Value {
    let mut metric = more.clone();
    metric["name"] = json!(name);
    metric["provider"] = json!({"prometheus": {"address": "http://prometheus.example", "query": query}});
    metric
}

fn block() -> Value {
    json!({"templates": [{"templateName": "gates"}]})
}

fn steps() -> Value {
    json!([{"setWeight": 20}, {"analysis": block()}, {"setWeight": 60}])
}

/// The first version healthy, the second on its way.
async fn updated(endpoint: &Endpoint, metrics: &[Value], rollout: Value) -> Simulation {
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(endpoint.options());
    simulation.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "gates"}, "spec": {"metrics": metrics},
    }));
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    simulation.image("web", "2");
    simulation
}

fn runs(simulation: &Simulation) -> Vec<std::sync::Arc<Value>> {
    simulation.cluster.list("AnalysisRun", Some(NAMESPACE))
}

fn message(simulation: &Simulation) -> String {
    simulation.status("web")["message"].as_str().unwrap_or_default().to_owned()
}

/// What the run of the step has come to, as the Rollout has it on record.
fn of_step(simulation: &Simulation) -> String {
    let run = &simulation.status("web")["canary"]["currentStepAnalysisRunStatus"];
    run["message"].as_str().unwrap_or_default().to_owned()
}

/// The newest measurement of a metric in the newest run.
fn measured(simulation: &Simulation, metric: &str) -> Value {
    let run = runs(simulation).pop().expect("a run");
    let results = run["status"]["metricResults"].as_array().cloned().unwrap_or_default();
    let result = results.iter().find(|result| result["name"] == metric).cloned().unwrap_or_default();
    result["measurements"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn m17_an_outage_of_a_dependency_pauses_and_aborts_nothing() {
    let metrics = [
        metric("errors", "own_errors", &json!({"interval": "30s", "count": 4, "thresholds": {"max": 0.01}})),
        metric("payments", "payments_errors", &json!({"origin": "dependency", "thresholds": {"max": 0.05}})),
    ];
    // An outage hits both versions: the new one fails because payments fail.
    let endpoint = Endpoint::default();
    endpoint.says_of("own_errors", sample(0.4));
    endpoint.says_of("payments_errors", sample(0.9));
    let simulation = updated(&endpoint, &metrics, canary(5, steps())).await;
    simulation.until_phase("web", "Paused InconclusiveAnalysisRun").await;
    assert_eq!(simulation.sizes("web"), "1:4/4 2:1/1");
    let said = of_step(&simulation);
    assert!(said.contains("dependency \"payments\" is bad at the same time (measured [0.9])"), "{said}");
    assert!(
        said.contains(
            "Metric \"errors\" assessed Inconclusive due to inconclusive (1) > inconclusiveLimit (0)"
        ),
        "{said}"
    );
    // It ends, a person lets the Rollout go on, and the version is as good as it always was.
    endpoint.says_of("own_errors", sample(0.001));
    endpoint.says_of("payments_errors", sample(0.0));
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.sizes("web"), "2:5/5");

    // The next version is bad by itself, and is taken back.
    endpoint.says_of("own_errors", sample(0.4));
    simulation.image("web", "3");
    simulation.until_phase("web", "Degraded").await;
    assert!(message(&simulation).contains("0.4 is 0.39 above max 0.01"), "{}", message(&simulation));
}

#[tokio::test(start_paused = true)]
async fn w64_six_requests_a_minute_neither_pass_nor_fail() {
    for (policy, phase) in [
        (json!(null), "Paused InconclusiveAnalysisRun"),
        (json!("pass"), "Healthy"),
        (json!("fail"), "Degraded"),
    ] {
        let mut gate = metric(
            "errors",
            "error_share",
            &json!({
                "minSamples": 100, "samples": {"query": "request_count"}, "successCondition": "result[0] < 0.05",
            }),
        );
        if !policy.is_null() {
            gate["onInsufficientTraffic"] = policy.clone();
        }
        // Two of six requests have failed: a share of which nothing follows.
        let endpoint = Endpoint::default();
        endpoint.says_of("error_share", sample(0.333));
        endpoint.says_of("request_count", sample(6.0));
        let simulation = updated(&endpoint, &[gate], canary(5, steps())).await;
        simulation
            .until(phase, SignedDuration::from_mins(10), |s| {
                let is_done = phase != "Healthy" || s.sizes("web") == "2:5/5";
                is_done && s.phase("web").starts_with(phase)
            })
            .await;
        let measurement = measured(&simulation, "errors");
        assert_eq!(measurement["metadata"]["samples"], "6", "{measurement}");
        assert!(
            measurement["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("insufficient traffic: 6 samples, minSamples is 100")),
            "{measurement}"
        );
        if policy.is_null() {
            assert_eq!(simulation.sizes("web"), "1:4/4 2:1/1");
            // With traffic enough the same share is what it is.
            endpoint.says_of("request_count", sample(600.0));
            simulation.patch_status("web", json!({"pauseConditions": null}));
            simulation.until_phase("web", "Degraded").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w71_a_bad_hour_of_both_versions_cancels() {
    let gate = metric(
        "errors",
        "canary_share",
        &json!({
            "interval": "30s", "count": 3, "thresholds": {"max": 0.01},
            "baseline": {"query": "stable_share", "ratio": 1.2, "slack": 0.005},
        }),
    );
    let endpoint = Endpoint::default();
    endpoint.says_of("canary_share", sample(0.31));
    endpoint.says_of("stable_share", sample(0.3));
    let simulation = updated(&endpoint, &[gate], canary(5, steps())).await;
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(10), |s| s.sizes("web") == "2:5/5")
        .await;
    simulation.until_phase("web", "Healthy").await;
    let measurement = measured(&simulation, "errors");
    assert_eq!(
        (&measurement["value"], &measurement["metadata"]["baseline"]),
        (&json!("[0.31]"), &json!("0.3"))
    );
    assert_eq!(
        measurement["metadata"]["threshold"],
        "max 0.365 (stable 0.3 * 1.2 + 0.005, wider than max 0.01)"
    );
    assert_eq!(measurement["metadata"]["query"], "canary_share");
    assert_eq!(measurement["metadata"]["baselineQuery"], "stable_share");

    // In a good hour the same figure is a bad version.
    endpoint.says_of("stable_share", sample(0.001));
    simulation.image("web", "3");
    simulation.until_phase("web", "Degraded").await;
    let said = message(&simulation);
    assert!(said.contains("0.31 is 0.3 above max 0.01; stable 0.001"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn w66_a_failure_pauses_where_that_is_wanted_and_a_promote_goes_on() {
    let endpoint = Endpoint::default();
    endpoint.says_of("own_errors", sample(0.4));
    let gate = metric("errors", "own_errors", &json!({"thresholds": {"max": 0.01}}));
    let mut rollout = canary(5, steps());
    rollout["spec"]["strategy"]["canary"]["steps"][1]["analysis"]["onFailure"] = json!("pause");
    let simulation = updated(&endpoint, &[gate], rollout).await;
    simulation.until_phase("web", "Paused InconclusiveAnalysisRun").await;
    simulation.pass(600).await;
    assert_eq!((simulation.sizes("web").as_str(), runs(&simulation).len()), ("1:4/4 2:1/1", 1));
    assert_eq!(runs(&simulation)[0]["status"]["phase"], "Failed", "the run says what it found");
    let said = of_step(&simulation);
    assert!(
        said.contains("Failed: Metric \"errors\" assessed Failed") && said.contains("(onFailure is pause)"),
        "{said}"
    );
    simulation.patch_status(
        "web",
        json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 2}),
    );
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.sizes("web"), "2:5/5");
}

#[tokio::test(start_paused = true)]
async fn w66_blue_green_stays_at_its_preview() {
    let endpoint = Endpoint::default();
    endpoint.says_of("own_errors", sample(0.4));
    let gate = metric("errors", "own_errors", &json!({"thresholds": {"max": 0.01}}));
    let mut rollout = canary(3, json!([]));
    let mut analysis = block();
    analysis["onFailure"] = json!("pause");
    rollout["spec"]["strategy"] =
        json!({"blueGreen": {"activeService": "active", "prePromotionAnalysis": analysis}});
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(endpoint.options());
    simulation.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "active"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
    simulation.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "gates"}, "spec": {"metrics": [gate]},
    }));
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    let stable = simulation.status("web")["stableRS"].clone();
    simulation.image("web", "2");
    simulation.until_phase("web", "Paused").await;
    simulation.pass(300).await;
    let active = simulation.cluster.get("Service", Some(NAMESPACE), "active").expect("the Service");
    assert_eq!(active["spec"]["selector"]["rollouts-pod-template-hash"], stable);
    assert_eq!(simulation.status("web")["abort"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn m18_a_cold_start_is_shown_and_not_judged() {
    let endpoint = Endpoint::default();
    endpoint.says_of("latency", sample(9.0));
    let gate = metric(
        "latency",
        "latency",
        &json!({
            "interval": "20s", "count": 3, "warmUp": "1m", "thresholds": {"max": 0.5},
        }),
    );
    let simulation = updated(&endpoint, &[gate], canary(5, steps())).await;
    simulation
        .until("the first measurement", SignedDuration::from_mins(5), |s| {
            !runs(s).is_empty() && !measured(s, "latency").is_null()
        })
        .await;
    let cold = measured(&simulation, "latency");
    assert_eq!(cold["value"], "[9]");
    assert!(
        cold["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("warm-up of 1m: shown, not judged (would be Failed)")),
        "{cold}"
    );
    endpoint.says_of("latency", sample(0.2));
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.sizes("web"), "2:5/5");
    let result = runs(&simulation)[0]["status"]["metricResults"][0].clone();
    assert_eq!((&result["count"], &result["successful"]), (&json!(3), &json!(3)), "{result}");
}

#[tokio::test(start_paused = true)]
async fn limits_tighten_from_step_to_step() {
    let endpoint = Endpoint::default();
    endpoint.says_of("own_errors", sample(0.02));
    let gate = metric(
        "errors",
        "own_errors",
        &json!({"thresholds": {"max": 0.01, "byWeight": {"20": 0.03, "60": "0.01"}}}),
    );
    let steps = json!([
        {"setWeight": 20}, {"analysis": block()}, {"setWeight": 60}, {"analysis": block()}, {"setWeight": 80},
    ]);
    let simulation = updated(&endpoint, &[gate], canary(5, steps)).await;
    simulation.until_phase("web", "Degraded").await;
    let mut phases: Vec<_> = runs(&simulation)
        .iter()
        .map(|run| {
            let step = run["metadata"]["annotations"]["sluice.dev/at-step"].as_str().unwrap_or_default();
            format!("{step} {}", run["status"]["phase"].as_str().unwrap_or_default())
        })
        .collect();
    phases.sort();
    assert_eq!(phases, ["1 Successful", "3 Failed"]);
    assert!(
        message(&simulation).contains("0.02 is 0.01 above max 0.01 (weight 60)"),
        "{}",
        message(&simulation)
    );
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_background_run_tighten_while_it_goes_on() {
    let endpoint = Endpoint::default();
    endpoint.says_of("own_errors", sample(0.02));
    let gate = metric(
        "errors",
        "own_errors",
        &json!({
            "interval": "30s", "thresholds": {"max": 0.01, "byStep": {"0": 0.03, "2": 0.01}},
        }),
    );
    let mut rollout = canary(5, json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]));
    rollout["spec"]["strategy"]["canary"]["analysis"] = block();
    let simulation = updated(&endpoint, &[gate], rollout).await;
    simulation.until_phase("web", "Paused").await;
    simulation.pass(300).await;
    assert!(simulation.phase("web").starts_with("Paused"), "{}", simulation.phase("web"));
    assert_eq!(measured(&simulation, "errors")["metadata"]["threshold"], "max 0.03 (step 1)");
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Degraded").await;
    assert_eq!(runs(&simulation).len(), 1, "the same run");
    assert!(message(&simulation).contains("above max 0.01 (step 3)"), "{}", message(&simulation));
}
