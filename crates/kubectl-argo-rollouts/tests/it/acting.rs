//! Verbs that change something.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::{IDENTITY, World, blue_green, canary, failed, replica_set, said, waiting, with};

/// What a rollout must look like afterwards: a JSON pointer and the value there.
type After<'a> = &'a [(&'a str, Value)];

#[track_caller]
fn check_object(object: &Value, expected: After) {
    for (pointer, value) in expected {
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {object}");
    }
}

#[tokio::test]
async fn promote() {
    const READ: &str = "get rollouts web 200";
    const STATUS: &str = "patch rollouts/status web 200";
    const MAIN: &str = "patch rollouts web 200";
    let by_hand = |rollout: Value| with(rollout, "spec", json!({"paused": true}));
    let inconclusive = || {
        let run = json!({"name": "web-new-2-2", "status": "Inconclusive"});
        let part = json!({"canary": {"currentStepAnalysisRunStatus": run}});
        with(waiting(canary("web", 2), "InconclusiveAnalysisRun"), "status", part)
    };
    let pauses = "/status/pauseConditions";
    let index = "/status/currentStepIndex";
    let paused = "/spec/paused";
    let full = "/status/promoteFull";
    let controller_pause = "/status/controllerPause";
    let gone = Value::Null;

    // rollout, flags => requests, fields afterwards
    let table: Vec<(Value, &[&str], Vec<&str>, Vec<(&str, Value)>)> = vec![
        (
            waiting(canary("web", 1), "CanaryPauseStep"),
            &[],
            vec![READ, STATUS],
            vec![(pauses, gone.clone()), (index, json!(1)), (controller_pause, json!(true))],
        ),
        (canary("web", 1), &[], vec![READ, STATUS], vec![(index, json!(2))]),
        (
            by_hand(canary("web", 1)),
            &[],
            vec![READ, STATUS, MAIN],
            vec![(index, json!(2)), (paused, json!(false))],
        ),
        (
            by_hand(waiting(canary("web", 1), "CanaryPauseStep")),
            &[],
            vec![READ, STATUS, MAIN],
            vec![(pauses, gone.clone()), (index, json!(1)), (paused, json!(false))],
        ),
        (
            inconclusive(),
            &[],
            vec![READ, STATUS],
            vec![(pauses, gone.clone()), (index, json!(3)), (controller_pause, json!(false))],
        ),
        (waiting(blue_green("web"), "BlueGreenPause"), &[], vec![READ, STATUS], vec![(pauses, gone.clone())]),
        (blue_green("web"), &[], vec![READ], vec![(full, gone.clone())]),
        (canary("web", 1), &["--full"], vec![READ, STATUS], vec![(full, json!(true)), (index, json!(1))]),
        (canary("web", 1), &["--full=true"], vec![READ, STATUS], vec![(full, json!(true))]),
        (
            by_hand(canary("web", 1)),
            &["--full"],
            vec![READ, STATUS, MAIN],
            vec![(full, json!(true)), (paused, json!(false))],
        ),
        (
            with(canary("web", 4), "status", json!({"stableRS": "new"})),
            &["--full"],
            vec![READ],
            vec![(full, gone.clone())],
        ),
        (canary("web", 1), &["-c"], vec![READ, STATUS], vec![(index, json!(2))]),
        (canary("web", 1), &["-a"], vec![READ, STATUS], vec![(index, json!(4))]),
    ];
    for (rollout, flags, requests, after) in table {
        let world = World::new().await;
        world.load(vec![rollout]);
        let done =
            if flags.iter().any(|flag| flag.starts_with("--full")) { "fully promoted" } else { "promoted" };
        let outcome = world.run(&[&["promote", "web"], flags].concat()).await;
        assert_eq!(outcome, said(&format!("rollout 'web' {done}\n")));
        assert_eq!(world.requests(), requests, "{flags:?}");
        check_object(&world.rollout("web"), &after);
    }
}

#[tokio::test]
async fn promote_refuses() {
    let world = World::new().await;
    let stepless = with(canary("plain", 0), "spec", json!({"strategy": {"canary": {}}}));
    world.load(vec![canary("web", 1), blue_green("bg"), stepless]);
    let before = world.cluster.resource_version();
    for (arguments, requests, stderr) in [
        (
            ["promote", "web", "-c", "-a"].as_slice(),
            vec![],
            "Error: Cannot use skip-current-step and skip-all-steps flags at the same time\n",
        ),
        (
            &["promote", "bg", "-c"],
            vec!["get rollouts bg 200"],
            "Error: Cannot skip steps of a bluegreen rollout. Run without a flags\n",
        ),
        (
            &["promote", "plain", "-a"],
            vec!["get rollouts plain 200"],
            "Error: Cannot skip steps of a rollout without steps\n",
        ),
        (
            &["promote", "nope"],
            vec!["get rollouts nope 404"],
            "Error: rollouts.argoproj.io \"nope\" not found\n",
        ),
    ] {
        world.cluster.clear_audit();
        assert_eq!(world.run(arguments).await, failed("", stderr), "{arguments:?}");
        assert_eq!(world.requests(), requests, "{arguments:?}");
    }
    assert_eq!(world.cluster.resource_version(), before, "nothing was written");
}

#[tokio::test]
async fn verbs_that_need_no_look() {
    let aborted = with(canary("web", 0), "status", json!({"abort": true}));
    // rollout, arguments => stdout, request, fields afterwards
    for (rollout, arguments, stdout, request, after) in [
        (
            canary("web", 1),
            ["abort", "web"].as_slice(),
            "rollout 'web' aborted\n",
            "patch rollouts/status web 200",
            ("/status/abort", json!(true)),
        ),
        (
            aborted.clone(),
            &["retry", "rollout", "web"],
            "rollout 'web' retried\n",
            "patch rollouts/status web 200",
            ("/status/abort", json!(false)),
        ),
        (
            aborted,
            &["retry", "ro", "web"],
            "rollout 'web' retried\n",
            "patch rollouts/status web 200",
            ("/status/abort", json!(false)),
        ),
        (
            canary("web", 1),
            &["pause", "web"],
            "rollout 'web' paused\n",
            "patch rollouts web 200",
            ("/spec/paused", json!(true)),
        ),
    ] {
        let world = World::new().await;
        world.load(vec![rollout]);
        assert_eq!(world.run(arguments).await, said(stdout));
        assert_eq!(world.requests(), [request]);
        check_object(&world.rollout("web"), &[after]);
    }
}

#[tokio::test]
async fn several_names_go_from_left_to_right() {
    let world = World::new().await;
    world.load(vec![canary("a", 1), canary("b", 1), canary("c", 1)]);
    assert_eq!(world.run(&["abort", "a", "c"]).await, said("rollout 'a' aborted\nrollout 'c' aborted\n"));
    assert_eq!(world.run(&["pause", "a", "b"]).await, said("rollout 'a' paused\nrollout 'b' paused\n"));
    for name in ["a", "b"] {
        check_object(&world.rollout(name), &[("/spec/paused", json!(true))]);
    }

    let world = World::new().await;
    world.load(vec![canary("a", 1), canary("b", 1)]);
    let outcome = world.run(&["abort", "a", "missing", "b"]).await;
    let stderr = "Error: rollouts.argoproj.io \"missing\" not found\n";
    assert_eq!(outcome, failed("rollout 'a' aborted\n", stderr));
    check_object(&world.rollout("a"), &[("/status/abort", json!(true))]);
    check_object(&world.rollout("b"), &[("/status/abort", Value::Null)]);
}

#[tokio::test]
async fn resume() {
    let by_hand = |rollout: Value| with(rollout, "spec", json!({"paused": true}));
    const READ: &str = "get rollouts web 200";
    const STATUS: &str = "patch rollouts/status web 200";
    const MAIN: &str = "patch rollouts web 200";
    for (rollout, requests) in [
        (canary("web", 1), vec![READ]),
        (by_hand(canary("web", 1)), vec![READ, MAIN]),
        (waiting(canary("web", 1), "CanaryPauseStep"), vec![READ, STATUS]),
        (by_hand(waiting(canary("web", 1), "CanaryPauseStep")), vec![READ, STATUS, MAIN]),
    ] {
        let world = World::new().await;
        world.load(vec![rollout]);
        assert_eq!(world.run(&["resume", "web"]).await, said("rollout 'web' resumed\n"));
        assert_eq!(world.requests(), requests);
        let after = world.rollout("web");
        check_object(
            &after,
            &[("/status/pauseConditions", Value::Null), ("/status/currentStepIndex", json!(1))],
        );
        assert_ne!(after["spec"]["paused"], true);
    }
}

#[tokio::test]
async fn definitions_without_a_status_subresource() {
    let mut definitions = sluice_api::crds::all();
    definitions[0]["spec"]["versions"][0]["subresources"] = json!({});
    let paused = || with(waiting(canary("web", 1), "CanaryPauseStep"), "spec", json!({"paused": true}));
    const MISSED: &str = "patch rollouts/status web 404";
    const MAIN: &str = "patch rollouts web 200";
    // arguments => requests, fields afterwards
    for (arguments, requests, after) in [
        (["abort", "web"].as_slice(), vec![MISSED, MAIN], vec![("/status/abort", json!(true))]),
        (&["retry", "rollout", "web"], vec![MISSED, MAIN], vec![("/status/abort", json!(false))]),
        (
            &["promote", "web"],
            vec!["get rollouts web 200", MISSED, MAIN],
            vec![("/status/pauseConditions", Value::Null), ("/spec/paused", json!(false))],
        ),
        (
            &["promote", "web", "--full"],
            vec!["get rollouts web 200", MISSED, MAIN],
            vec![("/status/promoteFull", json!(true)), ("/spec/paused", json!(false))],
        ),
    ] {
        let world = World::with_definitions(definitions.clone()).await;
        world.load(vec![paused()]);
        let outcome = world.run(arguments).await;
        assert_eq!((outcome.stderr.as_str(), outcome.code), ("", Some(0)), "{arguments:?}");
        assert_eq!(world.requests(), requests, "{arguments:?}");
        check_object(&world.rollout("web"), &after);
    }
}

#[tokio::test]
async fn restart() {
    for (arguments, wait, stdout) in [
        (["restart", "web"].as_slice(), 0, "rollout 'web' restarts in 0s\n"),
        (&["restart", "web", "--in", "1h30m"], 5400, "rollout 'web' restarts in 1h30m\n"),
        (&["restart", "web", "-i", "90"], 90, "rollout 'web' restarts in 90\n"),
    ] {
        let world = World::new().await;
        world.load(vec![canary("web", 1)]);
        let wait = SignedDuration::from_secs(wait);
        let earliest = Timestamp::now() + wait - SignedDuration::from_secs(1);
        assert_eq!(world.run(arguments).await, said(stdout));
        let latest = Timestamp::now() + wait;
        let rollout = world.rollout("web");
        let written = rollout["spec"]["restartAt"].as_str().expect("a time");
        let at: Timestamp = written.parse().expect("RFC 3339");
        assert!(earliest < at && at <= latest, "{earliest} {at} {latest}");
        assert_eq!(written.len(), "2026-01-02T03:04:05Z".len(), "whole seconds: {written}");
    }

    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    let outcome = world.run(&["restart", "web", "--in", "soon"]).await;
    assert_eq!(outcome, failed("", "Error: --in: time: invalid duration \"soon\"\n"));
    assert_eq!(world.requests(), Vec::<String>::new());
}

fn with_image(mut rollout: Value) -> Value {
    rollout["spec"]["template"]["spec"] = json!({
        "initContainers": [{"name": "app", "image": "r/app:1"}],
        "containers": [{"name": "app", "image": "r/app:1"}, {"name": "side", "image": "r/side:1"}],
        "ephemeralContainers": [{"name": "app", "image": "r/app:1"}],
    });
    rollout
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:3"}]},
            },
        },
    })
}

fn referring(name: &str, kind: &str) -> Value {
    let mut rollout = canary(name, 1);
    rollout["spec"].as_object_mut().expect("an object").remove("template");
    let api_version = if kind == "PodTemplate" { "v1" } else { "apps/v1" };
    rollout["spec"]["workloadRef"] = json!({"apiVersion": api_version, "kind": kind, "name": "workload"});
    rollout
}

#[tokio::test]
async fn set_image() {
    // container => images of init, app, side, ephemeral
    for (argument, images) in [
        ("app=r/app:2", ["r/app:2", "r/app:2", "r/side:1", "r/app:2"]),
        ("side=r/app:2", ["r/app:1", "r/app:1", "r/app:2", "r/app:1"]),
        ("*=r/app:2", ["r/app:2", "r/app:2", "r/app:2", "r/app:2"]),
    ] {
        let world = World::new().await;
        world.load(vec![with_image(canary("web", 1))]);
        assert_eq!(
            world.run(&["set", "image", "web", argument]).await,
            said("rollout \"web\" image updated\n")
        );
        assert_eq!(world.requests(), ["get rollouts web 200", "update rollouts web 200"]);
        let spec = &world.rollout("web")["spec"]["template"]["spec"];
        let pointers = [
            "/initContainers/0/image",
            "/containers/0/image",
            "/containers/1/image",
            "/ephemeralContainers/0/image",
        ];
        for (pointer, image) in pointers.into_iter().zip(images) {
            assert_eq!(spec.pointer(pointer), Some(&json!(image)), "{argument} {pointer}");
        }
        let status = world.rollout("web")["status"].clone();
        assert_eq!(status["currentStepIndex"], 1, "the status stays as it was");
    }
}

#[tokio::test]
async fn set_image_of_a_workload() {
    let world = World::new().await;
    world.load(vec![referring("web", "Deployment"), deployment("workload")]);
    let outcome = world.run(&["set", "image", "web", "app=r/app:2"]).await;
    assert_eq!(outcome, said("deployment \"workload\" image updated\n"));
    let workload = world.cluster.get("Deployment", Some("shop"), "workload").expect("a deployment");
    check_object(&workload, &[("/spec/template/spec/containers/0/image", json!("r/app:2"))]);
    check_object(&world.rollout("web"), &[("/spec/template", Value::Null)]);
}

#[tokio::test]
async fn set_image_refuses() {
    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    let outcome = world.run(&["set", "image", "web", "c=r/app:2"]).await;
    assert_eq!(outcome, failed("", "Error: unable to find container named \"c\"\n"));
    assert_eq!(world.requests(), ["get rollouts web 200"]);

    world.cluster.clear_audit();
    for argument in ["app", "app=a=b"] {
        let outcome = world.run(&["set", "image", "web", argument]).await;
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)), "{argument}");
        let usage = "Usage: kubectl argo rollouts set image [OPTIONS] <NAME> <CONTAINER=IMAGE>\n";
        assert!(outcome.stderr.starts_with(usage), "{}", outcome.stderr);
    }
    assert_eq!(world.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn set_image_tries_again_when_somebody_was_faster() {
    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    world.cluster.faults().conflict_update(IDENTITY, 1);
    world.cluster.faults().conflict_update(IDENTITY, 2);
    assert_eq!(
        world.run(&["set", "image", "web", "app=r/app:2"]).await,
        said("rollout \"web\" image updated\n")
    );
    check_object(&world.rollout("web"), &[("/spec/template/spec/containers/0/image", json!("r/app:2"))]);

    world.cluster.clear_audit();
    for n in 1..=5 {
        world.cluster.faults().conflict_update(IDENTITY, n);
    }
    let outcome = world.run(&["set", "image", "web", "app=r/app:4"]).await;
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)));
    let is_told =
        outcome.stderr.starts_with("Error: ") && outcome.stderr.contains("the object has been modified");
    assert!(is_told, "{}", outcome.stderr);
    let writes = world.requests().into_iter().filter(|request| request == "update rollouts web 409").count();
    assert_eq!(writes, 5);
    check_object(&world.rollout("web"), &[("/spec/template/spec/containers/0/image", json!("r/app:2"))]);
}

fn history() -> Vec<Value> {
    let mut stranger = replica_set("other", 9);
    stranger["metadata"]["labels"]["app"] = json!("web");
    vec![replica_set("web", 1), replica_set("web", 2), replica_set("web", 3), stranger]
}

#[tokio::test]
async fn undo() {
    // flags => image afterwards
    for (flags, image) in [
        ([].as_slice(), "registry.example/web:2"),
        (&["--to-revision=2"], "registry.example/web:2"),
        (&["--to-revision", "1"], "registry.example/web:1"),
    ] {
        let world = World::new().await;
        world.load([vec![canary("web", 1)], history()].concat());
        assert_eq!(world.run(&[&["undo", "web"], flags].concat()).await, said("rollout 'web' undo\n"));
        let expected = ["get rollouts web 200", "list replicasets 200", "patch rollouts web 200"];
        assert_eq!(world.requests(), expected);
        let after = [
            ("/spec/template/spec/containers/0/image", json!(image)),
            ("/spec/template/metadata/labels", json!({"app": "web"})),
        ];
        check_object(&world.rollout("web"), &after);
    }
}

#[tokio::test]
async fn undo_to_what_is_there_already() {
    let world = World::new().await;
    world.load([vec![canary("web", 1)], history()].concat());
    let before = world.cluster.resource_version();
    let outcome = world.run(&["undo", "web", "--to-revision=3"]).await;
    assert_eq!(outcome, said("skipped rollback (current template already matches revision 3)"));
    assert_eq!(world.cluster.resource_version(), before);
}

#[tokio::test]
async fn undo_refuses() {
    let world = World::new().await;
    world.load(
        [vec![canary("web", 1), canary("fresh", 0), referring("odd", "StatefulSet")], history()].concat(),
    );
    world.load(vec![replica_set("fresh", 1), replica_set("odd", 1), replica_set("odd", 2)]);
    let before = world.cluster.resource_version();
    for (arguments, stderr) in [
        (
            ["undo", "web", "--to-revision=9"].as_slice(),
            "Error: unable to find specified revision 9 in history\n",
        ),
        (&["undo", "fresh"], "Error: no revision found for rollout \"fresh\"\n"),
        (&["undo", "odd"], "Error: workload of type StatefulSet is not supported\n"),
        (&["undo", "nope"], "Error: rollouts.argoproj.io \"nope\" not found\n"),
    ] {
        assert_eq!(world.run(arguments).await, failed("", stderr), "{arguments:?}");
    }
    assert_eq!(world.cluster.resource_version(), before, "nothing was written");
}

#[tokio::test]
async fn undo_changes_the_workload_that_is_referred_to() {
    let pod_template = json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "workload", "namespace": "shop"},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "registry.example/web:3"}]},
        },
    });
    for (kind, workload, image) in [
        ("Deployment", deployment("workload"), "/spec/template/spec/containers/0/image"),
        ("PodTemplate", pod_template, "/template/spec/containers/0/image"),
    ] {
        let world = World::new().await;
        world.load([vec![referring("web", kind), workload], history()].concat());
        assert_eq!(world.run(&["undo", "web"]).await, said("rollout 'web' undo\n"), "{kind}");
        let workload = world.cluster.get(kind, Some("shop"), "workload").expect("a workload");
        check_object(&workload, &[(image, json!("registry.example/web:2"))]);
        check_object(&world.rollout("web"), &[("/spec/template", Value::Null)]);
    }
}
