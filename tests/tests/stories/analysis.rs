//! Analysis on the simulated cluster: real runs, measured by Jobs of the cluster and by a web endpoint that says what
//! the story wants.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_controller::analysis::measure::Providers;
use sluice_integrations::{Context, HttpRequest, HttpResponse};
use sluice_sim::controllers::Settings;
use sluice_tests::simulation::{CONTROLLER, NAMESPACE, PERSON, Simulation, canary};

/// An endpoint that answers what it is told to, and remembers when it was asked.
#[derive(Clone, Default)]
pub struct Endpoint(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    answers: Vec<Result<(u16, Value), String>>,
    always: Option<Result<(u16, Value), String>>,
    /// Whoever asks for something with this in it is answered so.
    by_query: std::collections::BTreeMap<String, Value>,
    asked: Vec<HttpRequest>,
}

impl Endpoint {
    pub fn always(status: u16, body: Value) -> Endpoint {
        let endpoint = Endpoint::default();
        endpoint.0.lock().expect("the endpoint").always = Some(Ok((status, body)));
        endpoint
    }

    /// Answers these first, one after another.
    pub fn first(self, bodies: &[Value]) -> Endpoint {
        let answers = bodies.iter().map(|body| Ok((200, body.clone())));
        self.0.lock().expect("the endpoint").answers = answers.collect();
        self
    }

    /// Answers requests with `part` in their address or body so, from now on.
    pub fn says_of(&self, part: &str, body: Value) {
        self.0.lock().expect("the endpoint").by_query.insert(part.to_owned(), body);
    }

    pub fn now_says(&self, body: Value) {
        self.0.lock().expect("the endpoint").always = Some(Ok((200, body)));
    }

    pub fn asked(&self) -> usize {
        self.0.lock().expect("the endpoint").asked.len()
    }

    pub fn last_url(&self) -> String {
        self.0.lock().expect("the endpoint").asked.last().map(|r| r.url.clone()).unwrap_or_default()
    }

    pub fn options(&self) -> Options {
        let told = Arc::clone(&self.0);
        let send = move |request: HttpRequest| {
            let mut told = told.lock().expect("the endpoint");
            let asked = format!("{} {}", request.url, request.body.as_deref().unwrap_or_default());
            let of_query = told.by_query.iter().find(|(part, _)| asked.contains(*part));
            let of_query = of_query.map(|(_, body)| Ok((200, body.clone())));
            told.asked.push(request);
            let answer = if of_query.is_some() {
                of_query
            } else if told.answers.is_empty() {
                told.always.clone()
            } else {
                Some(told.answers.remove(0))
            };
            let answer = answer.unwrap_or_else(|| Err("connection refused".into()));
            let answer = answer.map(|(status, body)| HttpResponse {
                status,
                headers: std::collections::BTreeMap::default(),
                body: body.to_string().into_bytes(),
                cut_at_bytes: None,
            });
            async move { answer }.boxed()
        };
        Options { providers: Providers::new(Arc::new(send), Context::default()), ..Options::default() }
    }
}

fn with(endpoint: &Endpoint) -> Simulation {
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(endpoint.options());
    simulation
}

/// A template named `checks` with one metric that asks the endpoint.
fn template(metric: Value) -> Value {
    let mut metric = metric;
    metric["name"] = json!("errors");
    metric["provider"] = json!({"web": {
        "url": "http://metrics.example/errors?version={{args.version}}",
        "jsonPath": "{$.errors}",
    }});
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "checks"},
        "spec": {"args": [{"name": "version"}], "metrics": [metric]},
    })
}

fn once() -> Value {
    template(json!({"successCondition": "result < 5"}))
}

fn block() -> Value {
    json!({
        "templates": [{"templateName": "checks"}],
        "args": [{"name": "version", "valueFrom": {"podTemplateHashValue": "Latest"}}],
    })
}

fn steps() -> Value {
    json!([{"setWeight": 20}, {"analysis": block()}, {"setWeight": 60}])
}

fn runs(simulation: &Simulation) -> Vec<Arc<Value>> {
    simulation.cluster.list("AnalysisRun", Some(NAMESPACE))
}

#[track_caller]
fn run(simulation: &Simulation) -> Arc<Value> {
    runs(simulation).pop().expect("a run")
}

/// The first version healthy, the second on its way.
async fn updated(endpoint: &Endpoint, template: Value, rollout: Value) -> Simulation {
    let simulation = with(endpoint);
    simulation.apply(template);
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    simulation.image("web", "2");
    simulation
}

#[tokio::test(start_paused = true)]
async fn a_good_version_passes_and_the_run_says_what_was_measured() {
    let endpoint = Endpoint::always(200, json!({"errors": 1.5}));
    let simulation = updated(&endpoint, once(), canary(5, steps())).await;
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(5), |s| s.sizes("web") == "2:5/5")
        .await;
    simulation.until_phase("web", "Healthy").await;
    let run = run(&simulation);
    let hash = simulation.status("web")["stableRS"].as_str().expect("a hash").to_owned();
    assert_eq!(run["metadata"]["name"], json!(format!("web-{hash}-2-1")));
    assert_eq!(run["metadata"]["labels"]["rollout-type"], "Step");
    assert_eq!(endpoint.last_url(), format!("http://metrics.example/errors?version={hash}"));
    assert_eq!(run["status"]["phase"], "Successful");
    let measured = &run["status"]["metricResults"][0]["measurements"][0];
    assert_eq!((&measured["phase"], &measured["value"]), (&json!("Successful"), &json!("1.5")));
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_aborted_and_the_message_has_value_and_threshold() {
    let endpoint = Endpoint::always(200, json!({"errors": 40}));
    let simulation = updated(&endpoint, once(), canary(5, steps())).await;
    simulation.until_phase("web", "Degraded").await;
    simulation.until("only version 1", SignedDuration::from_mins(5), |s| s.sizes("web") == "1:5/5").await;
    let phase = simulation.phase("web");
    assert!(
        phase.starts_with(
            "Degraded RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: \
             Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)"
        ),
        "{phase}"
    );
    assert!(
        phase.contains("40") && phase.contains("result < 5"),
        "what was measured and what was wanted: {phase}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_background_run_is_asked_at_its_interval_and_ends_with_the_update() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let template = template(json!({"interval": "1m", "successCondition": "result < 5"}));
    let mut rollout = canary(5, json!([{"setWeight": 20}, {"pause": {}}]));
    rollout["spec"]["strategy"]["canary"]["analysis"] = block();
    let simulation = updated(&endpoint, template, rollout).await;
    simulation.until_phase("web", "Paused").await;
    simulation.pass(601).await;
    let asked = endpoint.asked();
    assert!((10..=11).contains(&asked), "{asked} measurements in ten minutes");
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    simulation
        .until("the run to end", SignedDuration::from_mins(2), |s| run(s)["status"]["phase"] == "Successful")
        .await;
    assert_eq!(run(&simulation)["status"]["message"], "Run Terminated");
    let asked = endpoint.asked();
    simulation.pass(600).await;
    assert_eq!(endpoint.asked(), asked, "nobody asks any more");
}

#[tokio::test(start_paused = true)]
async fn a_background_run_aborts_a_paused_rollout() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let template = template(json!({"interval": "1m", "successCondition": "result < 5", "failureLimit": 1}));
    let mut rollout = canary(5, json!([{"setWeight": 20}, {"pause": {}}]));
    rollout["spec"]["strategy"]["canary"]["analysis"] = block();
    let simulation = updated(&endpoint, template, rollout).await;
    simulation.until_phase("web", "Paused").await;
    simulation.pass(200).await;
    endpoint.now_says(json!({"errors": 9}));
    let begun = simulation.now();
    simulation.until_phase("web", "Degraded").await;
    let took = simulation.now().duration_since(begun).as_secs();
    assert!((60..=130).contains(&took), "two bad measurements are one too many: {took} s");
    assert!(
        simulation.phase("web").contains("Background analysis phase error/failed"),
        "{}",
        simulation.phase("web")
    );
}

#[tokio::test(start_paused = true)]
async fn w67_an_outage_of_the_provider_is_an_error_and_tried_again() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    {
        let mut told = endpoint.0.lock().expect("the endpoint");
        told.answers =
            vec![Err("connection refused".into()), Ok((503, json!("overloaded"))), Err("timed out".into())];
    }
    let simulation = updated(&endpoint, once(), canary(5, steps())).await;
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(5), |s| s.sizes("web") == "2:5/5")
        .await;
    let result = run(&simulation)["status"]["metricResults"][0].clone();
    assert_eq!((&result["error"], &result["count"]), (&json!(3), &json!(1)), "{result}");
    assert!(
        result["measurements"][0]["message"].as_str().is_some_and(|m| m.contains("connection refused")),
        "{result}"
    );
}

#[tokio::test(start_paused = true)]
async fn w67_a_host_that_wants_fewer_requests_is_left_alone_and_that_is_no_error() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    endpoint.0.lock().expect("the endpoint").answers = vec![Ok((429, json!("slow down")))];
    let two = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "checks"},
        "spec": {"args": [{"name": "version"}], "metrics": (0..4).map(|n| {
            let mut metric = once()["spec"]["metrics"][0].clone();
            metric["name"] = json!(format!("m{n}"));
            metric
        }).collect::<Vec<_>>()}});
    let simulation = updated(&endpoint, two, canary(5, steps())).await;
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(5), |s| s.sizes("web") == "2:5/5")
        .await;
    let run = run(&simulation);
    let results = run["status"]["metricResults"].as_array().expect("results").clone();
    let errors: i64 = results.iter().map(|result| result["error"].as_i64().unwrap_or(0)).sum();
    assert_eq!(errors, 1, "only the one that was told so: {results:?}");
}

#[tokio::test(start_paused = true)]
async fn an_inconclusive_run_pauses_until_a_person_decides() {
    let endpoint = Endpoint::always(200, json!({"errors": 1})).first(&[json!({"errors": 7})]);
    let template = template(json!({"successCondition": "result < 5", "failureCondition": "result > 9"}));
    let simulation = updated(&endpoint, template, canary(5, steps())).await;
    simulation.until_phase("web", "Paused InconclusiveAnalysisRun").await;
    simulation.pass(600).await;
    assert_eq!(runs(&simulation).len(), 1, "nothing is asked meanwhile");
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(runs(&simulation).len(), 2, "the resume asked again");
}

#[tokio::test(start_paused = true)]
async fn a_new_controller_goes_on_measuring_where_the_old_one_stopped() {
    let template = || template(json!({"interval": "30s", "count": 6, "successCondition": "result < 5"}));
    let count = |run: &Value| run["status"]["metricResults"][0]["count"].as_i64().unwrap_or(0);
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let mut simulation = updated(&endpoint, template(), canary(5, steps())).await;
    simulation
        .until("three measurements", SignedDuration::from_mins(5), |s| {
            runs(s).last().is_some_and(|run| count(run) == 3)
        })
        .await;
    simulation.kill_controller();
    simulation.pass(7).await;
    simulation.start_controller(endpoint.options());
    simulation.until_phase("web", "Healthy").await;
    let run = run(&simulation);
    assert_eq!((runs(&simulation).len(), count(&run), endpoint.asked()), (1, 6, 6));
    let measured =
        run["status"]["metricResults"][0]["measurements"].as_array().expect("measurements").clone();
    let times: Vec<jiff::Timestamp> = measured
        .iter()
        .map(|one| one["startedAt"].as_str().expect("a time").parse().expect("a time"))
        .collect();
    for pair in times.windows(2) {
        let between = pair[1].duration_since(pair[0]).as_secs();
        assert!((30..=32).contains(&between), "{between} s between two measurements: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_for_analysis_alone_leaves_rollouts_alone() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(Options { analysis_only: true, ..endpoint.options() });
    simulation.apply(canary(3, json!([])));
    let metrics = once()["spec"]["metrics"].clone();
    simulation.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "by-hand"},
        "spec": {"metrics": metrics, "args": [{"name": "version", "value": "2"}]},
    }));
    simulation
        .until("the run to end", SignedDuration::from_mins(2), |s| run(s)["status"]["phase"] == "Successful")
        .await;
    assert_eq!(simulation.rollout("web")["status"], Value::Null);
    assert!(simulation.sets("web").is_empty());
}

#[tokio::test(start_paused = true)]
async fn jobs_of_the_cluster_decide() {
    for (command, phase, sizes) in [("true", "Successful", "2:5/5"), ("exit 1", "Failed", "1:5/5")] {
        let mut simulation = Simulation::new(1, Settings::default());
        simulation.start_controller(Options::default());
        simulation.apply(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "checks"},
            "spec": {"metrics": [{"name": "smoke", "provider": {"job": {"spec": {
                "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", "containers": [
                    {"name": "c", "image": "registry.example/check:1", "command": [command]},
                ]}},
            }}}}]},
        }));
        simulation.apply(canary(
            5,
            json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "checks"}]}}]),
        ));
        simulation.until_phase("web", "Healthy").await;
        simulation.image("web", "2");
        simulation
            .until("the run to end", SignedDuration::from_mins(10), |s| {
                runs(s).last().is_some_and(|run| run["status"]["phase"] == phase)
            })
            .await;
        simulation
            .until("the Rollout to follow", SignedDuration::from_mins(5), |s| s.sizes("web") == sizes)
            .await;
        let run = run(&simulation);
        let jobs = simulation.cluster.list("Job", Some(NAMESPACE));
        let uid = run["metadata"]["uid"].as_str().expect("a uid");
        let names: Vec<_> =
            jobs.iter().map(|job| job["metadata"]["name"].as_str().expect("a name")).collect();
        assert_eq!(names, [format!("{uid}.smoke.1")], "{command}");
        assert_eq!(jobs[0]["metadata"]["ownerReferences"][0]["uid"], uid);
    }
}

#[tokio::test(start_paused = true)]
async fn s27_a_secret_shows_nowhere() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let simulation = with(&endpoint);
    simulation
        .cluster
        .create(
            PERSON,
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "account", "namespace": NAMESPACE},
                "data": {"token": "Y2FuYXJ5LW9mLWEtc2VjcmV0"}, // canary-of-a-secret
            }),
        )
        .expect("the Secret is accepted");
    let mut template = once();
    template["spec"]["args"][0]["valueFrom"] = json!({"secretKeyRef": {"name": "account", "key": "token"}});
    simulation.apply(template);
    let block = json!({"templates": [{"templateName": "checks"}]});
    simulation.apply(canary(3, json!([{"setWeight": 40}, {"analysis": block}])));
    simulation.until_phase("web", "Healthy").await;
    simulation.image("web", "2");
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(5), |s| s.sizes("web") == "2:3/3")
        .await;
    assert!(endpoint.last_url().ends_with("version=canary-of-a-secret"), "{}", endpoint.last_url());
    for kind in ["AnalysisRun", "Rollout", "Event"] {
        for object in simulation.cluster.list(kind, Some(NAMESPACE)) {
            assert!(!object.to_string().contains("canary-of-a-secret"), "{object}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w78_a_finished_run_costs_nothing() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let simulation = updated(&endpoint, once(), canary(5, steps())).await;
    simulation
        .until("version 2 everywhere", SignedDuration::from_mins(5), |s| s.sizes("web") == "2:5/5")
        .await;
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(60).await;
    simulation.cluster.clear_audit();
    simulation.pass(600).await;
    let audit = simulation.cluster.audit();
    let requests: Vec<_> = audit.iter().filter(|r| &*r.identity == CONTROLLER && r.verb != "watch").collect();
    assert!(requests.is_empty(), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn blue_green_is_judged_before_and_after_the_switch() {
    let endpoint = Endpoint::always(200, json!({"errors": 1}));
    let simulation = with(&endpoint);
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        })
    };
    simulation.apply(service("active"));
    simulation.apply(once());
    let mut rollout = canary(3, json!([]));
    rollout["spec"]["strategy"] = json!({"blueGreen": {
        "activeService": "active", "prePromotionAnalysis": block(), "postPromotionAnalysis": block(),
    }});
    simulation.apply(rollout);
    simulation.until_phase("web", "Healthy").await;
    simulation.image("web", "2");
    simulation.until_phase("web", "Progressing").await;
    simulation.until_phase("web", "Healthy").await;
    let kinds: Vec<_> = runs(&simulation)
        .iter()
        .map(|run| {
            format!(
                "{} {}",
                run["metadata"]["labels"]["rollout-type"].as_str().unwrap_or_default(),
                run["status"]["phase"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(kinds, ["PostPromotion Successful", "PrePromotion Successful"]);
    // The third version is fine before the switch and bad after it.
    endpoint.0.lock().expect("the endpoint").answers = vec![Ok((200, json!({"errors": 1})))];
    endpoint.now_says(json!({"errors": 9}));
    simulation.image("web", "3");
    simulation.until_phase("web", "Degraded").await;
    let selected = simulation.cluster.get("Service", Some(NAMESPACE), "active").expect("the Service");
    assert_eq!(
        selected["spec"]["selector"]["rollouts-pod-template-hash"],
        simulation.status("web")["stableRS"]
    );
    assert!(
        simulation.phase("web").contains("Blue/green post-promotion analysis"),
        "{}",
        simulation.phase("web")
    );
}
