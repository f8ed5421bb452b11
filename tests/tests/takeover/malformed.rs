//! One malformed Rollout harms nobody else, and not what it serves.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_sim::Patch;
use sluice_tests::simulation::{NAMESPACE, PERSON, Simulation, canary};
use sluice_tests::takeover::{ROLLOUT, Situation, put, simulated, simulation};

struct Malformed {
    name: &'static str,
    /// What is wrong with its spec.
    change: fn(&mut Value),
    /// What the condition says: field, value and remedy.
    says: &'static [&'static str],
}

const MALFORMED: &[Malformed] = &[
    Malformed {
        name: "quantity",
        change: |spec| {
            spec["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "50mm".into();
        },
        says: &["spec.template.spec.containers[0].resources.requests", "50mm", "quantit"],
    },
    Malformed {
        name: "types",
        change: |spec| spec["template"]["spec"]["containers"][0]["image"] = 5.into(),
        says: &["spec.template.spec.containers[0].image", "5", "must be a string"],
    },
    Malformed {
        name: "template",
        change: |spec| spec["template"] = Value::Null,
        says: &["spec.template", "missing field"],
    },
    Malformed {
        name: "nothing",
        change: |spec| spec["strategy"] = json!({}),
        says: &["spec.strategy", "missing field"],
    },
    Malformed {
        name: "both",
        change: |spec| spec["strategy"]["blueGreen"] = json!({"activeService": "web"}),
        says: &["spec.strategy", "blueGreen", "Multiple Strategies"],
    },
    Malformed {
        name: "router",
        change: |spec| spec["strategy"]["canary"]["trafficRouting"] = json!({"maxTrafficWeight": 100}),
        says: &[
            "spec.strategy.trafficRouting",
            "no traffic router is set, must have at least one of",
            "istio",
        ],
    },
];

fn invalid(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "InvalidSpec")
}

fn pods(simulation: &Simulation, name: &str) -> Vec<String> {
    let pods = simulation.cluster.list("Pod", None);
    let of_rollout = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == name);
    of_rollout.map(|pod| pod["metadata"]["uid"].to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn malformed_ones_keep_what_serves_and_hold_nobody_up() {
    let mut simulation = simulation();
    let situations = MALFORMED.iter().map(|bad| {
        let mut situation =
            Situation::load("canary-basic.1-healthy").renamed(bad.name, |hash| format!("{hash}{}", bad.name));
        (bad.change)(&mut situation.rollout()["spec"]);
        situation
    });
    put(&simulation, situations.collect()).await;
    for index in 0..100 {
        let mut good = canary(1, json!([]));
        let name = format!("good-{index:03}");
        good["metadata"]["name"] = name.as_str().into();
        for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            *good.pointer_mut(labels).expect("labels") = json!({"app": name});
        }
        simulation.apply(good);
    }
    let before: Vec<Vec<String>> = MALFORMED.iter().map(|bad| pods(&simulation, bad.name)).collect();
    simulation.cluster.clear_audit();
    simulation.start_controller(Options::default());
    simulation
        .until("100 healthy Rollouts", SignedDuration::from_mins(2), |simulation| {
            let rollouts = simulation.cluster.list("Rollout", None);
            rollouts.iter().filter(|rollout| rollout["status"]["phase"] == "Healthy").count() >= 100
        })
        .await;
    simulation.pass(60).await;

    for (bad, before) in MALFORMED.iter().zip(before) {
        let status = simulation.status(bad.name);
        let condition =
            invalid(&status).unwrap_or_else(|| panic!("{} is not called invalid: {status}", bad.name));
        let message = condition["message"].as_str().unwrap_or_default();
        for part in bad.says {
            assert!(message.contains(part), "{}: {part:?} is not in {message:?}", bad.name);
        }
        assert_eq!(simulation.phase(bad.name), format!("Degraded InvalidSpec: {message}"));
        assert_eq!(
            (before.len(), pods(&simulation, bad.name)),
            (5, before),
            "{} keeps what serves",
            bad.name
        );
        let events = simulation.cluster.list("Event", None);
        let told: Vec<_> = events
            .iter()
            .filter(|event| {
                event["involvedObject"]["name"] == bad.name || event["regarding"]["name"] == bad.name
            })
            .map(|event| event["reason"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(told, ["InvalidSpec"], "{}", bad.name);
        let writes: Vec<_> =
            simulation.writes().into_iter().filter(|write| write.contains(bad.name)).collect();
        assert_eq!(writes, [format!("patch rollouts/status {}", bad.name)]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_status_after_the_correction_is_clean() {
    let mut simulation = simulated("invalid-spec.1-weight-120").await;
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    assert!(invalid(&simulation.status(ROLLOUT)).is_some());
    let seen = simulation.cluster.resource_version();
    let fix = json!([{"op": "replace", "path": "/spec/strategy/canary/steps/0/setWeight", "value": 20}]);
    simulation
        .cluster
        .patch(PERSON, "Rollout", Some(NAMESPACE), ROLLOUT, None, Patch::Json(fix))
        .expect("accepted");
    simulation.until_phase(ROLLOUT, "Healthy").await;
    let changes = simulation.cluster.changes_since(seen);
    let statuses: Vec<&Value> = changes
        .iter()
        .filter(|change| &*change.kind == "Rollout")
        .map(|change| &change.after.value["status"])
        .collect();
    let clean = statuses.iter().position(|status| invalid(status).is_none()).expect("it is valid in the end");
    let is_observed = |status: &Value| status["observedGeneration"] == "2";
    assert!(statuses[..clean].iter().all(|status| !is_observed(status)), "{statuses:#?}");
    assert!(is_observed(statuses[clean]), "{statuses:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_mistake_during_an_update_holds_it_where_it_is() {
    let mut simulation = simulated("canary-basic.2-paused-at-20").await;
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    let weight = |weight: i64| {
        Patch::Json(
            json!([{"op": "replace", "path": "/spec/strategy/canary/steps/2/setWeight", "value": weight}]),
        )
    };
    simulation
        .cluster
        .patch(PERSON, "Rollout", Some(NAMESPACE), ROLLOUT, None, weight(120))
        .expect("the definition lets it through");
    simulation.pass(60).await;
    assert!(simulation.phase(ROLLOUT).starts_with("Degraded InvalidSpec"), "{}", simulation.phase(ROLLOUT));
    assert_eq!(simulation.sizes(ROLLOUT), "1:4/4 2:1/1");
    simulation
        .cluster
        .patch(PERSON, "Rollout", Some(NAMESPACE), ROLLOUT, None, weight(60))
        .expect("accepted");
    simulation.pass(60).await;
    assert_eq!(
        (simulation.sizes(ROLLOUT).as_str(), simulation.phase(ROLLOUT).as_str()),
        ("1:4/4 2:1/1", "Paused CanaryPauseStep")
    );
    assert_eq!(simulation.status(ROLLOUT)["currentStepIndex"], 1, "the same steps go on");
}
