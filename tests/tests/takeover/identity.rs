//! Which ReplicaSet is which revision does not depend on who named it.

use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_tests::simulation::{Simulation, number, revision};
use sluice_tests::takeover::{HASH, ROLLOUT, Situation, put, simulated, simulation, state};

/// Forms in which releases of Argo Rollouts, and others, have named versions.
fn foreign_hash(old: &str, index: usize) -> String {
    match index % 3 {
        0 => format!("{old}{index}"),
        1 => format!("v{index}-{}", &old[..4]),
        _ => format!("{}x{index}", old.chars().rev().collect::<String>()),
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_rollouts_with_hashes_of_others_are_taken_over() {
    let mut simulation = simulation();
    let stages = [
        "canary-basic.1-healthy",
        "canary-basic.2-paused-at-20",
        "canary-basic.5-aborted",
        "canary-basic.6-rolled-back-to-first",
    ];
    let situations = (0..50).map(|index| {
        let situation = Situation::load(stages[index % stages.len()]);
        situation.renamed(&format!("shop-{index:02}"), |old| foreign_hash(old, index))
    });
    put(&simulation, situations.collect()).await;
    let before = state(&simulation);
    simulation.cluster.clear_audit();
    simulation.start_controller(Options::default());
    simulation.pass(120).await;
    assert_eq!(simulation.writes(), Vec::<String>::new());
    assert!(before == state(&simulation), "something changed without a write of ours");

    simulation.image("shop-00", "9");
    simulation.until_phase("shop-00", "Paused").await;
    simulation.pass(30).await;
    let writes = simulation.writes();
    let creations: Vec<_> = writes.iter().filter(|write| write.starts_with("create ")).collect();
    assert_eq!(creations.len(), 1, "{creations:?}");
    let others: Vec<_> =
        writes.iter().filter(|write| !write.starts_with("create ") && !write.contains("shop-00")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(
        (simulation.sizes("shop-00"), revision(&simulation.rollout("shop-00"))),
        ("1:4/4 2:1/1".into(), 2)
    );
}

/// Changes of form only, in the Rollout's template or in the ReplicaSet's.
fn changes_of_form() -> Vec<(&'static str, fn(&mut Value))> {
    vec![
        ("quantities", |template| {
            template["spec"]["containers"][0]["resources"] =
                json!({"limits": {"memory": "1048576Ki"}, "requests": {"cpu": 1, "memory": "536870912"}});
        }),
        ("fractions", |template| {
            template["spec"]["containers"][0]["resources"] =
                json!({"limits": {"memory": "1024Mi"}, "requests": {"cpu": "1000m", "memory": "0.5Gi"}});
        }),
        ("defaults of the pod", |template| {
            for (field, value) in [
                ("dnsPolicy", json!("ClusterFirst")),
                ("schedulerName", json!("default-scheduler")),
                ("securityContext", json!({})),
                ("serviceAccount", json!("")),
                ("restartPolicy", json!("Always")),
            ] {
                template["spec"][field] = value;
            }
        }),
        ("defaults of the container", |template| {
            let container = &mut template["spec"]["containers"][0];
            container["imagePullPolicy"] = "IfNotPresent".into();
            container["terminationMessagePath"] = "/dev/termination-log".into();
            container["ports"][0]["protocol"] = "TCP".into();
            container["readinessProbe"]["httpGet"]["scheme"] = "HTTP".into();
            container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1".into();
        }),
        ("empty against absent", |template| {
            template["metadata"]["annotations"] = json!({});
            template["spec"]["tolerations"] = json!([]);
            template["spec"]["nodeSelector"] = json!({});
            template["spec"]["affinity"] = Value::Null;
            template["spec"]["containers"][0]["command"] = json!([]);
            template["spec"]["containers"][0]["securityContext"] = json!({});
            template["spec"]["containers"][0]["env"][1]["value"] = "".into();
        }),
        ("metadata of old releases", |template| template["metadata"]["creationTimestamp"] = Value::Null),
        ("defaults left away", |template| {
            let spec = template["spec"].as_object_mut().expect("a pod");
            for field in [
                "dnsPolicy",
                "restartPolicy",
                "schedulerName",
                "securityContext",
                "terminationGracePeriodSeconds",
            ] {
                spec.remove(field);
            }
            let container = spec["containers"][0].as_object_mut().expect("a container");
            for field in ["imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy"] {
                container.remove(field);
            }
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_template_of_the_same_meaning_is_the_same_revision() {
    for side in ["Rollout", "ReplicaSet"] {
        let mut simulation = simulation();
        let situations = changes_of_form().into_iter().enumerate().map(|(index, (_, change))| {
            let mut situation = Situation::load("canary-basic.2-paused-at-20")
                .renamed(&format!("form-{index}"), |old| foreign_hash(old, index));
            let objects = situation.objects.iter_mut().filter(|object| object["kind"] == side);
            objects.for_each(|object| change(&mut object["spec"]["template"]));
            situation
        });
        put(&simulation, situations.collect()).await;
        simulation.cluster.clear_audit();
        simulation.start_controller(Options::default());
        simulation.pass(60).await;
        for (index, (form, _)) in changes_of_form().iter().enumerate() {
            let touched: Vec<_> = simulation
                .writes()
                .into_iter()
                .filter(|write| write.contains(&format!("form-{index}")))
                .collect();
            assert_eq!(touched, Vec::<String>::new(), "{form}, in the {side}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_letter_more_is_another_revision() {
    let mut simulation = simulated("canary-basic.1-healthy").await;
    simulation.start_controller(Options::default());
    simulation.pass(10).await;
    simulation.patch(ROLLOUT, json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}));
    simulation.until_phase(ROLLOUT, "Paused").await;
    assert_eq!(simulation.sizes(ROLLOUT), "1:4/4 2:1/1");
}

#[tokio::test(start_paused = true)]
async fn a_changed_selector_skips_no_step_and_leaves_nobody_behind() {
    let mut simulation = simulation();
    // The definition has refused this change for some releases; objects from before are still around.
    let mut situation = Situation::load("canary-basic.1-healthy");
    let labels = json!({"app": "web", "team": "new"});
    let rollout = situation.rollout();
    rollout["spec"]["selector"]["matchLabels"] = labels.clone();
    rollout["spec"]["template"]["metadata"]["labels"] = labels;
    put(&simulation, vec![situation]).await;
    simulation.start_controller(Options::default());
    simulation.until_phase(ROLLOUT, "Paused CanaryPauseStep").await;
    assert_eq!(
        (simulation.sizes(ROLLOUT).as_str(), &simulation.status(ROLLOUT)["currentStepIndex"]),
        ("1:4/4 2:1/1", &json!(1))
    );
    assert_eq!(simulation.status(ROLLOUT)["stableRS"], "689c8bddcc");
    simulation.patch_status(ROLLOUT, json!({"promoteFull": true}));
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(30).await;
    assert_eq!(
        simulation.sizes(ROLLOUT),
        "2:5/5",
        "the old version is gone, though the selector does not match it"
    );
    assert_eq!(simulation.sets(ROLLOUT).len(), 2, "and is history");
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_owner_is_adopted() {
    let mut simulation = simulation();
    let mut situation = Situation::load("canary-basic.2-paused-at-20");
    for object in &mut situation.objects {
        if object["kind"] == "ReplicaSet" {
            object["metadata"].as_object_mut().expect("metadata").remove("ownerReferences");
        }
    }
    // One that the selector does not match, and one that another controller owns.
    let bystander = |name: &str, labels: Value, owner: Option<Value>| {
        let mut set = situation.sets()[0].clone();
        set["metadata"]["name"] = name.into();
        set["metadata"]["uid"] = name.into();
        for place in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            *set.pointer_mut(place).expect("labels") = labels.clone();
        }
        if let Some(owner) = owner {
            set["metadata"]["ownerReferences"] = json!([owner]);
        }
        set["spec"]["replicas"] = 0.into();
        set
    };
    let deployment =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "owner", "controller": true});
    let bystanders = [
        bystander("unmatched", json!({"app": "other", HASH: "abc"}), None),
        bystander("owned", json!({"app": "web", HASH: "abcd"}), Some(deployment)),
    ];
    situation.objects.extend(bystanders);
    situation.objects.push(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "uid": "owner"}}),
    );
    put(&simulation, vec![situation]).await;
    let pods = |simulation: &Simulation| -> Vec<String> {
        simulation.cluster.list("Pod", None).iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = pods(&simulation);
    simulation.cluster.clear_audit();
    simulation.start_controller(Options::default());
    simulation.pass(60).await;
    let expected = ["patch replicasets web-689c8bddcc", "patch replicasets web-779b5f7646"];
    assert_eq!(simulation.writes(), expected);
    assert_eq!(
        (simulation.sizes(ROLLOUT).as_str(), simulation.phase(ROLLOUT).as_str()),
        ("1:4/4 2:1/1", "Paused CanaryPauseStep")
    );
    assert_eq!(pods(&simulation), before);
    for set in simulation.sets(ROLLOUT) {
        let owner = json!([{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": ROLLOUT, "uid": simulation.rollout(ROLLOUT)["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }]);
        assert_eq!(set["metadata"]["ownerReferences"], owner);
        assert!(number(&set, "/spec/replicas") > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_status_is_found_again() {
    let mut simulation = simulation();
    let mut situation = Situation::load("canary-basic.1-healthy");
    situation.rollout().as_object_mut().expect("an object").remove("status");
    put(&simulation, vec![situation]).await;
    simulation.cluster.clear_audit();
    simulation.start_controller(Options::default());
    simulation.until_phase(ROLLOUT, "Healthy").await;
    simulation.pass(30).await;
    assert_eq!(simulation.sizes(ROLLOUT), "1:5/5");
    let writes: Vec<_> =
        simulation.writes().into_iter().filter(|write| !write.starts_with("patch rollouts/status")).collect();
    assert_eq!(writes, Vec::<String>::new());
}
