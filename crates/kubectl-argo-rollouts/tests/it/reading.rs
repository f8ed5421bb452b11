//! `status` and `list`, which only read.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{
    IDENTITY, World, blue_green, canary, close, failed, finish, in_time, said, spawn, waiting, with,
};

fn degraded(name: &str) -> Value {
    let message = "RolloutAborted: Rollout aborted update to revision 2";
    with(canary(name, 0), "status", json!({"phase": "Degraded", "message": message, "abort": true}))
}

/// A running process and its lines.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(world: &World, arguments: &[&str]) -> Running {
        let mut child = spawn(world.command().args(arguments));
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Running { child, lines }
    }

    async fn line(&mut self) -> Option<String> {
        in_time(self.lines.next_line()).await.expect("text")
    }

    /// What is left of stderr, and the exit code.
    async fn end(mut self) -> (String, Option<i32>) {
        assert_eq!(self.line().await, None, "no more lines");
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("piped");
        in_time(pipe.read_to_string(&mut stderr)).await.expect("text");
        (stderr, in_time(self.child.wait()).await.expect("an end").code())
    }
}

/// Changes the status of a rollout as a controller does.
fn set_status(world: &World, name: &str, fields: Value) {
    let rollout = with((*world.rollout(name)).clone(), "status", fields);
    world.cluster.update_status("controller", rollout).expect("written");
}

#[tokio::test]
async fn status_of_a_single_look() {
    let world = World::new().await;
    let unseen = with(blue_green("unseen"), "status", json!({"observedGeneration": "0"}));
    world.load(vec![
        waiting(blue_green("web"), "BlueGreenPause"),
        degraded("bad"),
        blue_green("good"),
        unseen,
    ]);
    let message = "Error: The rollout is in a degraded state with message: \
                   RolloutAborted: Rollout aborted update to revision 2\n";
    for (name, expected) in [
        ("web", said("Paused - BlueGreenPause\n")),
        ("good", said("Healthy\n")),
        ("bad", failed("Degraded\n", message)),
        ("unseen", said("Progressing - waiting for rollout spec update to be observed\n")),
        ("nope", failed("", "Error: rollout.argoproj.io \"nope\" not found\n")),
    ] {
        assert_eq!(world.run(&["status", name, "--watch=false"]).await, expected, "{name}");
        assert_eq!(world.run(&["status", "-w=f", name]).await, expected, "{name}");
    }
}

#[tokio::test]
async fn status_that_is_final_at_once() {
    let world = World::new().await;
    world.load(vec![degraded("bad"), blue_green("good")]);
    assert_eq!(world.run(&["status", "good"]).await, said("Healthy\n"));
    let message = "RolloutAborted: Rollout aborted update to revision 2";
    let stderr = format!("Error: The rollout is in a degraded state with message: {message}\n");
    assert_eq!(world.run(&["status", "bad"]).await, failed(&format!("Degraded - {message}\n"), &stderr));
    let missing = failed("", "Error: rollout.argoproj.io \"nope\" not found\n");
    assert_eq!(world.run(&["status", "nope"]).await, missing);
}

#[tokio::test]
async fn status_gives_up_in_time() {
    let world = World::new().await;
    world.load(vec![waiting(canary("web", 1), "CanaryPauseStep")]);
    let expected = failed("Paused - CanaryPauseStep\n", "Error: Rollout status watch exceeded timeout\n");
    assert_eq!(world.run(&["status", "web", "-t", "20ms"]).await, expected);
}

#[tokio::test]
async fn status_says_each_change_once() {
    let world = World::new().await;
    world.load(vec![canary("web", 1), canary("other", 1)]);
    let mut process = Running::start(&world, &["status", "web"]);
    assert_eq!(process.line().await.as_deref(), Some("Progressing - waiting for all steps to complete"));
    set_status(&world, "other", json!({"phase": "Healthy", "message": ""}));
    set_status(&world, "web", json!({"updatedReplicas": 1}));
    set_status(&world, "web", json!({"phase": "Paused", "message": "CanaryPauseStep"}));
    assert_eq!(process.line().await.as_deref(), Some("Paused - CanaryPauseStep"), "a pause is not the end");
    set_status(&world, "web", json!({"phase": "Healthy", "message": ""}));
    assert_eq!(process.line().await.as_deref(), Some("Healthy"));
    assert_eq!(process.end().await, (String::new(), Some(0)));
}

#[tokio::test]
async fn status_survives_a_lost_watch() {
    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    let mut process = Running::start(&world, &["status", "web"]);
    assert!(process.line().await.is_some());
    set_status(&world, "web", json!({"phase": "Paused", "message": "CanaryPauseStep"}));
    assert_eq!(process.line().await.as_deref(), Some("Paused - CanaryPauseStep"));
    world.cluster.faults().drop_watches(IDENTITY);
    // It has to start over, too: the change is gone from history when it asks again.
    set_status(&world, "web", json!({"phase": "Healthy", "message": ""}));
    world.cluster.compact();
    assert_eq!(process.line().await.as_deref(), Some("Healthy"));
    assert_eq!(process.end().await, (String::new(), Some(0)));
}

#[tokio::test]
async fn status_ends_with_the_rollout() {
    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    let mut process = Running::start(&world, &["status", "web"]);
    assert!(process.line().await.is_some());
    world
        .cluster
        .delete("somebody", "Rollout", Some("shop"), "web", sluice_sim::DeleteOptions::default())
        .expect("gone");
    let stderr = "Error: rollout.argoproj.io \"web\" not found\n".to_owned();
    assert_eq!(process.end().await, (stderr, Some(1)));
}

#[cfg(unix)]
#[tokio::test]
async fn status_ends_by_signal() {
    for signal in ["-TERM", "-INT"] {
        let world = World::new().await;
        world.load(vec![canary("web", 1)]);
        let mut process = Running::start(&world, &["status", "web"]);
        assert!(process.line().await.is_some());
        let id = process.child.id().expect("it runs").to_string();
        let sent = in_time(spawn(Command::new("kill").args([signal, &id])).wait()).await;
        assert!(sent.expect("an end").success());
        let stderr = "Error: Rollout status watch exceeded timeout\n".to_owned();
        assert_eq!(process.end().await, (stderr, Some(1)), "{signal}");
    }
}

fn billing() -> Value {
    let status = json!({"readyReplicas": 3, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    with(with(blue_green("billing"), "spec", json!({"replicas": 3})), "status", status)
}

fn checkout() -> Value {
    let status = json!({"readyReplicas": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2});
    let rollout = with(canary("checkout", 1), "spec", json!({"replicas": 1}));
    with(waiting(rollout, "CanaryPauseStep"), "status", status)
}

const HEADER: &str =
    "NAME        STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE";
const BILLING: &str = "billing     BlueGreen  Healthy       -     -           3/3    3        3           3";
const CHECKOUT: &str = "checkout    Canary     Paused        1/4   10          2/2    1        1           2";

#[tokio::test]
async fn list() {
    let world = World::new().await;
    let mut elsewhere = billing();
    elsewhere["metadata"]["namespace"] = json!("default");
    world.load(vec![checkout(), billing(), elsewhere]);
    let both = format!("{HEADER}\n{BILLING}\n{CHECKOUT}\n");
    for word in ["rollouts", "ro", "rollout"] {
        assert_eq!(world.run(&["list", word]).await, said(&both));
    }
    assert_eq!(
        world.run(&["list", "ro", "--name", "checkout"]).await,
        said(&format!("{HEADER}\n{CHECKOUT}\n"))
    );
    assert_eq!(world.run(&["list", "ro", "-n", "default"]).await, said(&format!("{HEADER}\n{BILLING}\n")));
    let all =
        format!("NAMESPACE  {HEADER}\ndefault    {BILLING}\nshop       {BILLING}\nshop       {CHECKOUT}\n");
    assert_eq!(world.run(&["list", "ro", "-A"]).await, said(&all));

    let none = |outcome: crate::cluster::Outcome| (outcome.stdout, outcome.stderr, outcome.code);
    let expected = (String::new(), "No resources found.\n".to_owned(), Some(0));
    assert_eq!(none(world.run(&["list", "ro", "--name", "nope"]).await), expected);
    assert_eq!(none(world.run(&["list", "ro", "-n", "kube-public"]).await), expected);
}

#[tokio::test]
async fn list_with_times() {
    let world = World::new().await;
    world.load(vec![billing()]);
    let outcome = world.run(&["list", "ro", "--timestamps"]).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], format!("TIMESTAMP             {HEADER}"));
    let (time, rest) = lines[1].split_at(22);
    assert_eq!(rest, BILLING);
    assert!(time.trim_end().parse::<jiff::Timestamp>().is_ok() && time.ends_with("Z  "), "{time:?}");
}

#[tokio::test]
async fn list_goes_on() {
    let world = World::new().await;
    world.load(vec![billing(), checkout()]);
    let mut process = Running::start(&world, &["list", "ro", "-w"]);
    for expected in [HEADER, BILLING, CHECKOUT] {
        assert_eq!(process.line().await.as_deref(), Some(expected));
    }
    set_status(&world, "billing", json!({"HPAReplicas": 3}));
    world
        .cluster
        .delete("somebody", "Rollout", Some("shop"), "billing", sluice_sim::DeleteOptions::default())
        .expect("gone");
    set_status(&world, "checkout", json!({"currentStepIndex": 3}));
    let changed = "checkout    Canary     Paused        3/4   50          2/2    1        1           2";
    assert_eq!(process.line().await.as_deref(), Some(changed), "what is not shown makes no line");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_trouble() {
    let world = World::new().await;
    world.load(vec![checkout()]);
    let mut process = Running::start(&world, &["list", "ro", "-w"]);
    assert_eq!(process.line().await.as_deref(), Some(HEADER));
    assert_eq!(process.line().await.as_deref(), Some(CHECKOUT));
    let Running { mut child, lines } = process;
    close(lines);
    set_status(&world, "checkout", json!({"currentStepIndex": 3}));
    let mut stderr = String::new();
    in_time(child.stderr.take().expect("piped").read_to_string(&mut stderr)).await.expect("text");
    assert_eq!((stderr.as_str(), in_time(child.wait()).await.expect("an end").code()), ("", Some(0)));
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_the_work() {
    let world = World::new().await;
    world.load(vec![canary("a", 1), canary("b", 1)]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    close(reader);
    let outcome = finish(world.command().args(["abort", "a", "b"]).stdout(Stdio::from(writer))).await;
    assert_eq!(outcome, said(""));
    for name in ["a", "b"] {
        assert_eq!(world.rollout(name)["status"]["abort"], true, "{name}");
    }
}
