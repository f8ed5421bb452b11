//! The checker notices: bad writes under the controller's name, each of another kind.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_sim::Patch;
use sluice_sim::controllers::Settings;
use sluice_tests::seeds::bench::{Bench, CONTROLLERS};
use sluice_tests::seeds::in_virtual_time;
use sluice_tests::seeds::scenario::Scenario;

/// A canary at its first pause: four pods of version 1, one of version 2, both Services in place.
async fn at_a_pause() -> Bench {
    let canary = json!({"canary": {
        "maxSurge": 1, "maxUnavailable": 0, "stableService": "web-stable", "canaryService": "web-canary",
        "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}],
    }});
    paused(canary).await
}

/// A blue-green update that is previewed: five pods of each version.
async fn at_a_preview() -> Bench {
    let blue_green = json!({"blueGreen": {
        "activeService": "web-stable", "previewService": "web-canary", "autoPromotionEnabled": false,
        "maxUnavailable": 0,
    }});
    paused(blue_green).await
}

/// Version 1 is deployed, version 2 under way and paused. The controller is gone, so that what follows is
/// written by nobody else.
async fn paused(strategy: Value) -> Bench {
    let mut bench = Bench::new(3, Settings::default(), false);
    for name in ["web-stable", "web-canary"] {
        bench.create(Scenario::service(name));
    }
    bench.create(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:1"}]},
            },
            "strategy": strategy,
        },
    }));
    bench.start();
    bench.comes_to_rest(20, SignedDuration::from_mins(5)).await;
    bench.image("2");
    bench.comes_to_rest(20, SignedDuration::from_mins(5)).await;
    bench.kill();
    assert_eq!(bench.rollout()["status"]["phase"], "Paused", "{}", bench.rollout()["status"]);
    bench.checker.assert_clean();
    bench.pass_ms(10_000).await;
    bench
}

fn name_of(bench: &Bench, tag: &str) -> String {
    let image = format!("registry.example/web:{tag}");
    let set = bench
        .sets()
        .into_iter()
        .find(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == *image);
    set.expect("a ReplicaSet of this image")["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn hash_of(bench: &Bench, tag: &str) -> String {
    name_of(bench, tag).trim_start_matches("web-").to_owned()
}

fn write(bench: &Bench, kind: &str, name: &str, subresource: Option<&str>, patch: Value) {
    let answer =
        bench.cluster.patch(CONTROLLERS[0], kind, Some("default"), name, subresource, Patch::Merge(patch));
    answer.expect("the cluster accepts it");
}

fn status(bench: &Bench, status: Value) {
    write(bench, "Rollout", "web", Some("status"), json!({"status": status}));
}

fn resize(bench: &Bench, tag: &str, size: i64) {
    write(bench, "ReplicaSet", &name_of(bench, tag), None, json!({"spec": {"replicas": size}}));
}

fn select(bench: &Bench, service: &str, hash: &str) {
    write(
        bench,
        "Service",
        service,
        None,
        json!({"spec": {"selector": {"rollouts-pod-template-hash": hash}}}),
    );
}

/// A bad write: its name, the invariant that it breaks, what a person does a second before, and how it is
/// made.
type Tampering = (&'static str, &'static str, fn(&Bench), fn(&Bench));

const TAMPERINGS: [Tampering; 22] = [
    ("stable to 0 at once", "corridor", |_| {}, |bench| resize(bench, "1", 0)),
    ("one pod under the floor", "corridor", |_| {}, |bench| resize(bench, "1", 3)),
    ("sizes above the cap", "corridor", |_| {}, |bench| resize(bench, "2", 3)),
    (
        "the last pod that a Service leads to",
        "I4",
        |bench| {
            bench.status(json!({"abort": true}));
        },
        |bench| {
            resize(bench, "2", 0);
        },
    ),
    (
        "an aborted version grows again",
        "I3",
        |bench| {
            bench.apply(json!({"spec": {"replicas": 9}}));
            bench.status(json!({"abort": true}));
        },
        |bench| {
            resize(bench, "2", 2);
        },
    ),
    ("a Service is led to nobody", "I5", |_| {}, |bench| select(bench, "web-canary", "nosuchhash")),
    (
        "a Service is led to a version without pods",
        "I5",
        |bench| {
            bench.patch("ReplicaSet", &name_of(bench, "2"), None, json!({"spec": {"replicas": 0}}));
        },
        |bench| {
            select(bench, "web-stable", &hash_of(bench, "2"));
        },
    ),
    (
        "a template is rewritten",
        "I9",
        |_| {},
        |bench| {
            let template = json!({"metadata": {"annotations": {"note": "changed"}}});
            write(bench, "ReplicaSet", &name_of(bench, "1"), None, json!({"spec": {"template": template}}));
        },
    ),
    (
        "a hash label is rewritten",
        "I9",
        |_| {},
        |bench| {
            let labels = json!({"rollouts-pod-template-hash": "other"});
            write(bench, "ReplicaSet", &name_of(bench, "1"), None, json!({"metadata": {"labels": labels}}));
        },
    ),
    (
        "somebody's annotation goes",
        "I9",
        |_| {},
        |bench| {
            write(bench, "Service", "web-canary", None, json!({"metadata": {"annotations": {"team": null}}}));
        },
    ),
    (
        "somebody's spec changes",
        "I9",
        |_| {},
        |bench| write(bench, "Rollout", "web", None, json!({"spec": {"replicas": 3}})),
    ),
    (
        "a revision without a change",
        "I10",
        |_| {},
        |bench| {
            write(
                bench,
                "Rollout",
                "web",
                None,
                json!({"metadata": {"annotations": {"rollout.argoproj.io/revision": "3"}}}),
            );
        },
    ),
    (
        "a second ReplicaSet for one template",
        "I10",
        |_| {},
        |bench| {
            let sets = bench.sets();
            let mut twin = Value::clone(&sets[1]);
            for field in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
                twin["metadata"].as_object_mut().expect("metadata").remove(field);
            }
            twin["metadata"]["name"] = "web-twin".into();
            twin["spec"]["replicas"] = 0.into();
            bench.cluster.create(CONTROLLERS[0], twin).expect("accepted");
        },
    ),
    (
        "an abort is forgotten",
        "W24",
        |bench| {
            bench.status(json!({"abort": true}));
        },
        |bench| {
            status(bench, json!({"abort": null}));
        },
    ),
    (
        "an aborted version becomes stable",
        "W20",
        |bench| {
            bench.status(json!({"abort": true}));
        },
        |bench| {
            status(bench, json!({"stableRS": hash_of(bench, "2"), "abort": null}));
        },
    ),
    (
        "promoteFull is forgotten",
        "W29",
        |bench| {
            bench.status(json!({"promoteFull": true}));
        },
        |bench| {
            status(bench, json!({"promoteFull": null}));
        },
    ),
    (
        "a resume is forgotten",
        "W29",
        |bench| bench.status(json!({"pauseConditions": null})),
        |bench| {
            status(
                bench,
                json!({"pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2027-01-15T08:00:30Z"}]}),
            );
        },
    ),
    ("a step goes back", "W29", |_| {}, |bench| status(bench, json!({"currentStepIndex": 0}))),
    (
        "a pause is passed",
        "W41",
        |_| {},
        |bench| {
            status(bench, json!({"currentStepIndex": 2, "pauseConditions": null, "controllerPause": null}));
        },
    ),
    (
        "a promotion with one pod",
        "I1",
        |_| {},
        |bench| {
            status(
                bench,
                json!({"stableRS": hash_of(bench, "2"), "currentStepIndex": 4, "pauseConditions": null, "controllerPause": null}),
            );
        },
    ),
    ("a negative count", "I12", |_| {}, |bench| status(bench, json!({"replicas": -1}))),
    ("a step that is none", "I12", |_| {}, |bench| status(bench, json!({"currentStepIndex": 9}))),
];

const OF_BLUE_GREEN: [Tampering; 9] = [
    ("more pods than replicas", "corridor", |_| {}, |bench| resize(bench, "2", 6)),
    ("the version with the traffic shrinks", "I4", |_| {}, |bench| resize(bench, "1", 4)),
    (
        "an aborted version grows again",
        "I3",
        |bench| {
            bench.apply(json!({"spec": {"replicas": 6}}));
            bench.status(json!({"abort": true}));
        },
        |bench| resize(bench, "2", 6),
    ),
    (
        "a switch that nobody allowed",
        "W41",
        |_| {},
        |bench| select(bench, "web-stable", &hash_of(bench, "2")),
    ),
    (
        "a switch while a pod is missing",
        "I1",
        |bench| {
            bench.status(json!({"pauseConditions": null}));
            bench.patch("ReplicaSet", &name_of(bench, "2"), None, json!({"spec": {"replicas": 4}}));
            bench.patch(
                "ReplicaSet",
                &name_of(bench, "2"),
                Some("status"),
                json!({"status": {"availableReplicas": 4}}),
            );
        },
        |bench| select(bench, "web-stable", &hash_of(bench, "2")),
    ),
    (
        "a switch after an abort",
        "I3",
        |bench| bench.status(json!({"abort": true})),
        |bench| select(bench, "web-stable", &hash_of(bench, "2")),
    ),
    ("a switch to nobody", "I5", |_| {}, |bench| select(bench, "web-stable", "nosuchhash")),
    (
        "a promotion without a switch",
        "I5",
        |_| {},
        |bench| status(bench, json!({"stableRS": hash_of(bench, "2"), "pauseConditions": null})),
    ),
    (
        "a promotion right after the switch",
        "I5",
        |bench| {
            bench.status(json!({"pauseConditions": null}));
            select(bench, "web-stable", &hash_of(bench, "2"));
        },
        |bench| status(bench, json!({"stableRS": hash_of(bench, "2")})),
    ),
];

#[test]
fn every_tampering_is_noticed() {
    let canaries = TAMPERINGS.into_iter().map(|tampering| (tampering, false));
    let all = canaries.chain(OF_BLUE_GREEN.into_iter().map(|tampering| (tampering, true)));
    for ((name, id, prepare, tamper), is_blue_green) in all {
        let found = in_virtual_time(async {
            let bench = if is_blue_green { at_a_preview().await } else { at_a_pause().await };
            prepare(&bench);
            bench.pass_ms(1_000).await;
            tamper(&bench);
            bench.checker.violations()
        });
        let ids: Vec<&str> = found.iter().map(|violation| violation.id).collect();
        assert!(ids.contains(&id), "{name}: {ids:?} without {id}");
        let violation = found.iter().find(|violation| violation.id == id).expect("just found");
        assert!(violation.text.contains(CONTROLLERS[0]) && !violation.recent.is_empty(), "{violation}");
    }
}

#[test]
fn what_people_do_is_nobodys_fault() {
    in_virtual_time(async {
        let bench = at_a_pause().await;
        bench.patch("ReplicaSet", &name_of(&bench, "1"), None, json!({"spec": {"replicas": 0}}));
        bench.status(json!({"abort": true}));
        bench.status(json!({"abort": false, "currentStepIndex": 0}));
        bench.patch(
            "Service",
            "web-canary",
            None,
            json!({"spec": {"selector": {"rollouts-pod-template-hash": "other"}}}),
        );
        bench.apply(json!({"spec": {"replicas": 1}}));
        bench.checker.assert_clean();
    });
}

#[test]
fn a_write_beside_the_leader_is_noticed() {
    in_virtual_time(async {
        let bench = at_a_pause().await;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "argo-rollouts-controller-lock", "namespace": "default"},
            "spec": {"holderIdentity": CONTROLLERS[1]},
        });
        bench.cluster.create(CONTROLLERS[1], lease).expect("accepted");
        status(&bench, json!({"message": "hello"}));
        let ids: Vec<&str> = bench.checker.violations().iter().map(|violation| violation.id).collect();
        assert_eq!(ids, ["W36"]);
    });
}
