//! A Rollout that takes the place of a Deployment, and gives it back.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::controllers::Settings;
use sluice_sim::{DeleteOptions, Patch};
use sluice_tests::simulation::{NAMESPACE, PERSON, Simulation, canary, number};

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "src"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": canary(1, json!([]))["spec"]["template"],
        },
    })
}

fn referring(replicas: i64, kind: (&str, &str), scale_down: &str, strategy: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "workloadRef": {"apiVersion": kind.0, "kind": kind.1, "name": "src", "scaleDown": scale_down},
            "strategy": strategy,
        },
    })
}

const DEPLOYMENT: (&str, &str) = ("apps/v1", "Deployment");

fn steps() -> Value {
    json!({"canary": {"maxSurge": 1, "maxUnavailable": 0, "steps": [{"setWeight": 20}, {"pause": {}}]}})
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

fn blue_green() -> Value {
    json!({"blueGreen": {"activeService": "active", "autoPromotionEnabled": false}})
}

fn size(simulation: &Simulation) -> i64 {
    let found = simulation.cluster.get("Deployment", Some(NAMESPACE), "src").expect("the Deployment exists");
    number(&found, "/spec/replicas")
}

fn available(simulation: &Simulation) -> i64 {
    let found = simulation.cluster.get("Deployment", Some(NAMESPACE), "src").expect("the Deployment exists");
    number(&found, "/status/availableReplicas")
}

fn scale(simulation: &Simulation, replicas: i64) {
    patch(simulation, json!({"spec": {"replicas": replicas}}));
}

fn image(simulation: &Simulation, tag: &str) {
    let containers = json!([{"name": "app", "image": format!("registry.example/web:{tag}")}]);
    patch(simulation, json!({"spec": {"template": {"spec": {"containers": containers}}}}));
}

fn patch(simulation: &Simulation, patch: Value) {
    let patch = Patch::Merge(patch);
    let patched = simulation.cluster.patch(PERSON, "Deployment", Some(NAMESPACE), "src", None, patch);
    patched.expect("the change is accepted");
}

/// Pods of the application that are ready and not about to go.
fn serving(simulation: &Simulation) -> usize {
    let pods = simulation.cluster.list("Pod", Some(NAMESPACE));
    let serves = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|one| one["type"] == "Ready" && one["status"] == "True");
        pod["metadata"]["deletionTimestamp"].is_null() && ready.next().is_some()
    };
    pods.iter().filter(|pod| serves(pod)).count()
}

/// Lets time pass, and looks at the pods all the while. Returns the fewest and the most that served.
async fn watched(simulation: &Simulation, seconds: u64) -> (usize, usize) {
    let (mut fewest, mut most) = (usize::MAX, 0);
    for _ in 0..seconds * 10 {
        let now = serving(simulation);
        (fewest, most) = (fewest.min(now), most.max(now));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    (fewest, most)
}

fn events(simulation: &Simulation, reason: &str) -> Vec<String> {
    let events = simulation.cluster.list("Event", Some(NAMESPACE));
    let found = events.iter().filter(|event| event["reason"] == reason);
    found.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A Deployment of five that serves, before any Rollout.
async fn before(settings: Settings) -> Simulation {
    let mut simulation = Simulation::new(1, settings);
    simulation.start_controller(Options::default());
    simulation.apply(deployment(5));
    simulation.pass(10).await;
    assert_eq!(serving(&simulation), 5);
    simulation
}

async fn migrated(settings: Settings) -> Simulation {
    let simulation = before(settings).await;
    simulation.apply(referring(5, DEPLOYMENT, "onsuccess", steps()));
    simulation.pass(20).await;
    assert_eq!((simulation.phase("web").as_str(), simulation.sizes("web").as_str()), ("Healthy", "1:5/5"));
    assert_eq!(size(&simulation), 0);
    simulation
}

#[tokio::test(start_paused = true)]
async fn w05_a_migration_ends_with_one_set_of_pods_and_never_has_fewer() {
    let settings = || Settings { ready_jitter: SignedDuration::from_secs(8), ..Settings::default() };
    for (scale_down, strategy) in [
        ("onsuccess", steps()),
        ("progressively", steps()),
        ("onsuccess", blue_green()),
        ("progressively", blue_green()),
    ] {
        let mut simulation = Simulation::new(1, settings());
        simulation.start_controller(Options::default());
        simulation.apply(service("active"));
        simulation.apply(deployment(5));
        simulation.pass(15).await;
        simulation.apply(referring(5, DEPLOYMENT, scale_down, strategy));
        let (fewest, most) = watched(&simulation, 60).await;
        assert!(fewest >= 5 && most <= 10, "{scale_down}: {fewest} to {most} pods served");
        assert_eq!((simulation.phase("web").as_str(), size(&simulation)), ("Healthy", 0), "{scale_down}");
        assert_eq!(serving(&simulation), 5, "{scale_down}");
        let rollout = simulation.rollout("web");
        assert!(rollout["spec"]["template"].is_null() && rollout["spec"]["selector"].is_null());
        simulation.cluster.clear_audit();
        simulation.pass(600).await;
        assert_eq!(simulation.writes(), Vec::<String>::new(), "quiet when still");
    }
}

#[tokio::test(start_paused = true)]
async fn w05_replicas_that_are_set_again_go_again_with_one_event() {
    let simulation = migrated(Settings::default()).await;
    for tag in ["2", "3", "4"] {
        image(&simulation, tag);
        simulation.until_phase("web", "Paused").await;
        assert_eq!(size(&simulation), 0);
        simulation.patch_status("web", json!({"promoteFull": true}));
        simulation.until_phase("web", "Healthy").await;
    }
    assert_eq!(simulation.sizes("web"), "4:5/5");
    // Events are rationed; what was said so far is not to count.
    simulation.pass(7200).await;
    let known = events(&simulation, "ScalingWorkload").len();
    scale(&simulation, 10);
    let (fewest, _) = watched(&simulation, 30).await;
    assert_eq!((fewest, size(&simulation), serving(&simulation)), (5, 0, 5));
    let all = events(&simulation, "ScalingWorkload");
    assert_eq!(all.len(), known + 1, "{all:#?}");
    let wanted = "Scaled down Deployment src from 10 to 0: the Rollout's own pods carry everything";
    assert!(all.iter().any(|message| message == wanted), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn w05_blue_green_lets_the_deployment_go_after_its_success() {
    let mut simulation = Simulation::new(1, Settings::default());
    simulation.start_controller(Options::default());
    simulation.apply(service("active"));
    simulation.apply(deployment(3));
    let mut rollout = referring(3, DEPLOYMENT, "onsuccess", blue_green());
    rollout["spec"]["progressDeadlineSeconds"] = 60.into();
    // The first revision never serves; the second is judged by a person, and then the Deployment goes.
    image(&simulation, "1-bad");
    simulation.apply(rollout);
    simulation.pass(120).await;
    assert_ne!((simulation.phase("web").as_str(), size(&simulation)), ("Healthy", 0));
    image(&simulation, "2");
    simulation.pass(60).await;
    simulation.patch_status("web", json!({"pauseConditions": null}));
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(30).await;
    assert_eq!((size(&simulation), serving(&simulation)), (0, 3), "{}", simulation.describe());
}

#[tokio::test(start_paused = true)]
async fn w05_a_rollout_that_is_deleted_gives_the_pods_back() {
    for is_foreground in [false, true] {
        for strategy in [steps(), blue_green()] {
            let settings = Settings { termination: SignedDuration::from_secs(15), ..Settings::default() };
            let mut simulation = Simulation::new(1, settings);
            simulation.start_controller(Options::default());
            simulation.apply(service("active"));
            simulation.apply(deployment(5));
            simulation.apply(referring(5, DEPLOYMENT, "onsuccess", strategy));
            simulation.pass(60).await;
            assert_eq!((simulation.phase("web").as_str(), size(&simulation)), ("Healthy", 0));
            let propagation = is_foreground.then(|| "Foreground".to_owned());
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            simulation.cluster.delete(PERSON, "Rollout", Some(NAMESPACE), "web", options).expect("it exists");
            simulation
                .until("the Deployment to be back", SignedDuration::from_secs(10), |s| available(s) == 5)
                .await;
            assert!(
                simulation.cluster.list("Pod", Some(NAMESPACE)).len() == 10,
                "our last pod is still there"
            );
            simulation.pass(60).await;
            assert_eq!((size(&simulation), serving(&simulation)), (5, 5));
            let found = simulation.cluster.get("Deployment", Some(NAMESPACE), "src").expect("it exists");
            let annotations = found["metadata"]["annotations"].to_string();
            assert!(!annotations.contains("sluice.dev"), "no note is left: {annotations}");
            let service = simulation.cluster.get("Service", Some(NAMESPACE), "active").expect("it exists");
            assert_eq!(
                service["spec"]["selector"],
                json!({"app": "web"}),
                "it leads to the Deployment's pods"
            );
        }
    }
}

/// Who scales the Deployment up before deleting the Rollout has no gap at all.
#[tokio::test(start_paused = true)]
async fn w05_the_way_back_has_no_gap_when_the_deployment_comes_first() {
    for strategy in [steps(), blue_green()] {
        let mut simulation = Simulation::new(1, Settings::default());
        simulation.start_controller(Options::default());
        simulation.apply(service("active"));
        simulation.apply(deployment(5));
        simulation.apply(referring(5, DEPLOYMENT, "onsuccess", strategy));
        simulation.pass(60).await;
        assert_eq!((simulation.phase("web").as_str(), size(&simulation)), ("Healthy", 0));
        simulation.patch("web", json!({"spec": {"workloadRef": {"scaleDown": "never"}}}));
        scale(&simulation, 5);
        let (fewest, _) = watched(&simulation, 20).await;
        assert_eq!((fewest, serving(&simulation)), (5, 10));
        let deleted =
            simulation.cluster.delete(PERSON, "Rollout", Some(NAMESPACE), "web", DeleteOptions::default());
        deleted.expect("it exists");
        let (fewest, _) = watched(&simulation, 20).await;
        assert_eq!((fewest, serving(&simulation), size(&simulation)), (5, 5, 5));
        let service = simulation.cluster.get("Service", Some(NAMESPACE), "active").expect("it exists");
        assert_eq!(service["spec"]["selector"], json!({"app": "web"}));
    }
}

#[tokio::test(start_paused = true)]
async fn w05_a_rollout_that_is_made_anew_waits_until_its_pods_serve() {
    let settings = Settings { termination: SignedDuration::from_secs(15), ..Settings::default() };
    let simulation = migrated(settings).await;
    let delete =
        || simulation.cluster.delete(PERSON, "Rollout", Some(NAMESPACE), "web", DeleteOptions::default());
    delete().expect("it exists");
    simulation.apply(referring(5, DEPLOYMENT, "onsuccess", steps()));
    simulation.until("the Deployment to be back", SignedDuration::from_secs(5), |s| size(s) == 5).await;
    simulation.pass(60).await;
    assert_eq!((size(&simulation), simulation.phase("web").as_str()), (0, "Healthy"));
    assert_eq!(serving(&simulation), 5);
}

/// Whatever the controller was doing meanwhile: the note stands on the Deployment.
#[tokio::test(start_paused = true)]
async fn w05_a_deletion_that_nobody_saw_is_made_good() {
    let mut simulation = migrated(Settings::default()).await;
    let mut other = referring(1, DEPLOYMENT, "never", steps());
    other["metadata"]["name"] = "other".into();
    other["spec"]["workloadRef"]["name"] = "nothing".into();
    simulation.apply(other);
    simulation.pass(5).await;
    simulation.kill_controller();
    simulation
        .cluster
        .delete(PERSON, "Rollout", Some(NAMESPACE), "web", DeleteOptions::default())
        .expect("it exists");
    simulation.pass(30).await;
    assert_eq!((size(&simulation), serving(&simulation)), (0, 0));
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    assert_eq!((size(&simulation), serving(&simulation)), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn w05_a_reference_that_is_taken_out_gives_the_pods_back() {
    let simulation = migrated(Settings::default()).await;
    let own = canary(5, json!([]));
    let template = &own["spec"]["template"];
    simulation.patch(
        "web",
        json!({"spec": {"workloadRef": null, "template": template, "selector": own["spec"]["selector"]}}),
    );
    let (fewest, _) = watched(&simulation, 20).await;
    assert_eq!((fewest, size(&simulation), simulation.sizes("web").as_str()), (5, 5, "1:5/5"));
    let rollout = simulation.rollout("web");
    assert!(rollout["metadata"]["annotations"]["rollout.argoproj.io/workload-generation"].is_null());
    assert!(rollout["status"]["workloadObservedGeneration"].is_null());
    assert_eq!(simulation.phase("web"), "Healthy");
    scale(&simulation, 0);
    simulation.pass(10).await;
    assert_eq!(size(&simulation), 0, "it is in other hands now");
}

#[tokio::test(start_paused = true)]
async fn w05_double_capacity_is_said_once() {
    let simulation = before(Settings::default()).await;
    simulation.apply(referring(5, DEPLOYMENT, "never", steps()));
    simulation.pass(60).await;
    assert_eq!((size(&simulation), serving(&simulation)), (5, 10));
    let said = || {
        let status = simulation.status("web");
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "DoubleCapacity")
    };
    assert!(said());
    assert_eq!(events(&simulation, "DoubleCapacity").len(), 1);
    simulation.cluster.clear_audit();
    simulation.pass(600).await;
    assert_eq!(simulation.writes(), Vec::<String>::new());
    scale(&simulation, 0);
    simulation.pass(10).await;
    assert!(!said());
}

#[tokio::test(start_paused = true)]
async fn a_new_template_in_the_workload_takes_the_steps() {
    let simulation = migrated(Settings::default()).await;
    image(&simulation, "2");
    simulation.until_phase("web", "Paused CanaryPauseStep").await;
    simulation.pass(5).await;
    assert_eq!((simulation.sizes("web").as_str(), size(&simulation)), ("1:4/4 2:1/1", 0));
    let rollout = simulation.rollout("web");
    let generation =
        simulation.cluster.get("Deployment", Some(NAMESPACE), "src").expect("it exists")["metadata"]
            ["generation"]
            .to_string();
    assert_eq!(rollout["status"]["workloadObservedGeneration"], json!(generation));
    assert_eq!(
        rollout["metadata"]["annotations"]["rollout.argoproj.io/workload-generation"],
        json!(generation)
    );
    // Back to the old template is back to the old version.
    image(&simulation, "1");
    simulation.until_phase("web", "Healthy").await;
    simulation.pass(10).await;
    assert_eq!(simulation.sizes("web"), "3:5/5", "{}", simulation.describe());
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_goes_missing_costs_nobody_a_pod() {
    let simulation = migrated(Settings::default()).await;
    image(&simulation, "2");
    simulation.until_phase("web", "Paused").await;
    let owners = || {
        let sets = simulation.sets("web");
        assert_eq!(sets.len(), 2, "nothing is released");
    };
    let deleted =
        simulation.cluster.delete(PERSON, "Deployment", Some(NAMESPACE), "src", DeleteOptions::default());
    deleted.expect("it exists");
    simulation.pass(30).await;
    let phase = simulation.phase("web");
    let wanted = "Degraded InvalidSpec: The Rollout \"web\" is invalid: spec.workloadRef: Invalid value: \"Deployment src\": deployments.apps \"src\" not found: create it, or name one that exists";
    assert_eq!(phase, wanted);
    assert_eq!(simulation.sizes("web"), "1:4/4 2:1/1");
    owners();
    simulation.patch("web", json!({"spec": {"replicas": 10}}));
    simulation.pass(30).await;
    assert_eq!(simulation.sizes("web"), "1:8/8 2:2/2", "it scales");
    simulation.patch_status("web", json!({"abort": true}));
    simulation.pass(30).await;
    assert_eq!(simulation.sizes("web"), "1:10/10", "an abort works");
    owners();
    let mut back = deployment(0);
    back["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/web:2".into();
    simulation.apply(back);
    simulation.patch_status("web", json!({"abort": false}));
    simulation.until_phase("web", "Paused").await;
    assert_eq!(simulation.sets("web").len(), 2, "it is the same revision");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_comes_before_its_workload_waits() {
    let simulation = Simulation::with_controller();
    simulation.apply(referring(2, DEPLOYMENT, "onsuccess", steps()));
    simulation.pass(10).await;
    assert!(simulation.phase("web").contains("not found"), "{}", simulation.phase("web"));
    simulation.apply(deployment(2));
    simulation.pass(20).await;
    assert_eq!((simulation.phase("web").as_str(), size(&simulation)), ("Healthy", 0));
}

#[tokio::test(start_paused = true)]
async fn replica_sets_and_pod_templates_have_templates_too() {
    let template = canary(1, json!([]))["spec"]["template"].clone();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "src"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let bare =
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "src"}, "template": template});
    for (object, kind) in [(set, ("apps/v1", "ReplicaSet")), (bare, ("v1", "PodTemplate"))] {
        let simulation = Simulation::with_controller();
        let is_bare = kind.1 == "PodTemplate";
        simulation.apply(object);
        simulation.apply(referring(2, kind, "onsuccess", steps()));
        simulation.pass(20).await;
        if is_bare {
            let phase = simulation.phase("web");
            assert!(phase.contains("a PodTemplate has no selector"), "{phase}");
            simulation.patch("web", json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}));
            simulation.pass(20).await;
        } else {
            let found = simulation.cluster.get("ReplicaSet", Some(NAMESPACE), "src").expect("it exists");
            assert_eq!(number(&found, "/spec/replicas"), 2, "only Deployments are scaled down");
        }
        assert_eq!(
            (simulation.sizes("web").as_str(), simulation.phase("web").as_str()),
            ("1:2/2", "Healthy")
        );
    }
}

/// Who refers to nothing causes no watch.
#[tokio::test(start_paused = true)]
async fn workloads_are_watched_once_a_rollout_names_one() {
    let simulation = before(Settings::default()).await;
    simulation.apply(canary(2, json!([])));
    simulation.until_phase("web", "Healthy").await;
    let asked = || {
        let audit = simulation.cluster.audit();
        audit.iter().filter(|r| &*r.identity == "controller" && r.resource == "deployments").count()
    };
    assert_eq!(asked(), 0);
    let mut rollout = referring(2, DEPLOYMENT, "never", steps());
    rollout["metadata"]["name"] = "other".into();
    simulation.apply(rollout);
    simulation.pass(10).await;
    assert!(asked() > 0);
}
