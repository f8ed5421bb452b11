//! Tests of the kubelets in a small cluster.

use super::super::object::{condition, flag};
use super::super::testing::{Cluster, pod, replica_set};
use super::super::{Plan, Run, Settings};
use super::*;

const DEFAULT: Option<&str> = Some("default");

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// One word for what the first container shows.
fn shows(pod: &Value) -> String {
    let status = pod.pointer("/status/containerStatuses/0").cloned().unwrap_or_default();
    let restarts = int(&status, "/restartCount").unwrap_or(0);
    let state = if status.pointer("/state/running").is_some() {
        if flag(&status, "/ready") { "ready" } else { "running" }
    } else {
        text(&status, "/state/waiting/reason")
            .or_else(|| text(&status, "/state/terminated/reason"))
            .unwrap_or("none")
    };
    format!("{state} {restarts}")
}

/// The changes of what the first container of pod `p` shows, with their second, over so many seconds.
fn timeline(cluster: &mut Cluster, seconds: i64) -> Vec<(i64, String)> {
    let mut seen: Vec<(i64, String)> = vec![];
    for second in 0..=seconds {
        let now = shows(&cluster.pod("p"));
        if seen.last().is_none_or(|(_, before)| *before != now) {
            seen.push((second, now));
        }
        cluster.advance(1);
    }
    seen
}

#[track_caller]
fn check_timeline(pod: Value, seconds: i64, expected: &[(i64, &str)]) {
    let mut cluster = Cluster::standard();
    cluster.create(pod);
    let found = timeline(&mut cluster, seconds);
    let found: Vec<(i64, &str)> = found.iter().map(|(second, word)| (*second, word.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_crash_loop_backs_off_like_the_real_one() {
    // Starts, by the real back-off after each exit: 0, 10, 20, 40, 80, 160, 300, 300.
    let mut cluster = Cluster::standard();
    cluster.create(pod("p", "web:bad"));
    let seen = timeline(&mut cluster, 1000);
    let starts: Vec<i64> =
        seen.iter().filter(|(_, word)| word.starts_with("running")).map(|(second, _)| *second).collect();
    assert_eq!(starts, [0, 2, 13, 34, 75, 156, 317, 618, 919]);
    assert!(seen.iter().all(|(_, word)| !word.starts_with("ready")));
    let head: Vec<(i64, &str)> = seen.iter().take(7).map(|(second, word)| (*second, word.as_str())).collect();
    let expected = [
        (0, "running 0"),
        (1, "Error 0"),
        (2, "running 1"),
        (3, "Error 1"),
        (4, "CrashLoopBackOff 1"),
        (13, "running 2"),
        (14, "Error 2"),
    ];
    assert_eq!(head, expected);
    let pod = cluster.pod("p");
    let last = pod.pointer("/status/containerStatuses/0/lastState/terminated").expect("crashed before");
    assert_eq!((int(last, "/exitCode"), text(last, "/reason")), (Some(1), Some("Error")));
    assert!(text(last, "/message").is_some());
    let message = text(&pod, "/status/containerStatuses/0/state/waiting/message").unwrap_or_default();
    assert!(message.starts_with("back-off 5m0s restarting failed container=app pod=p_default("), "{message}");
    assert_eq!(text(&pod, "/status/phase"), Some("Running"));
}

#[test]
fn timelines_by_tag() {
    check_timeline(pod("p", "web:1"), 60, &[(0, "running 0"), (1, "ready 0")]);
    check_timeline(pod("p", "web:slow"), 60, &[(0, "running 0"), (30, "ready 0")]);
    check_timeline(pod("p", "web:unready"), 60, &[(0, "running 0")]);
    check_timeline(pod("p", "web:pull"), 60, &[(0, "ErrImagePull 0"), (2, "ImagePullBackOff 0")]);
    check_timeline(pod("p", "web:pending"), 60, &[(0, "none 0")]);
    check_timeline(
        pod("p", "web:flap"),
        32,
        &[(0, "running 0"), (1, "ready 0"), (11, "running 0"), (21, "ready 0"), (31, "running 0")],
    );
    let expected = [
        (0, "running 0"),
        (1, "ready 0"),
        (6, "Error 0"),
        (7, "running 1"),
        (8, "Error 1"),
        (9, "CrashLoopBackOff 1"),
        (18, "running 2"),
        (19, "Error 2"),
        (20, "CrashLoopBackOff 2"),
    ];
    check_timeline(pod("p", "web:dies-5s"), 30, &expected);
    let mut late = pod("p", "web:1");
    late["metadata"]["annotations"] = json!({"sim/ready-after": "5s"});
    check_timeline(late, 60, &[(0, "running 0"), (5, "ready 0")]);
}

#[test]
fn a_plan_may_recover() {
    let crash = Plan::crash_loop(2, "not yet").runs.remove(0);
    let well = Run { ready_after: Some(secs(1)), ..Run::default() };
    let plan = Plan::runs(vec![crash.clone(), crash, well]);
    let mut cluster = Cluster::new(Settings {
        behaviour: Some(std::sync::Arc::new(move |_: &Value| Some(plan.clone()))),
        ..Settings::default()
    });
    cluster.create(pod("p", "web:1"));
    cluster.advance(20);
    assert_eq!(shows(&cluster.pod("p")), "ready 2");
    cluster.check_quiet();
}

#[test]
fn a_ready_pod_has_the_whole_status() {
    let mut cluster = Cluster::new(Settings { start_after: secs(2), ..Settings::default() });
    cluster.create(pod("p", "web:1"));
    assert_eq!(text(&cluster.pod("p"), "/status/phase"), Some("Pending"));
    assert_eq!(shows(&cluster.pod("p")), "ContainerCreating 0");
    cluster.advance(10);
    let pod = cluster.pod("p");
    let status = &pod["status"];
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["startTime"], "2026-01-01T00:00:00Z");
    for kind in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&pod, kind).and_then(|found| text(found, "/status")), Some("True"), "{kind}");
    }
    let ready = condition(&pod, "Ready").expect("checked above");
    assert_eq!(ready["lastTransitionTime"], "2026-01-01T00:00:03Z");
    assert_eq!(status["podIPs"][0]["ip"], status["podIP"]);
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (&container["ready"], &container["started"], &container["image"]),
        (&json!(true), &json!(true), &json!("web:1"))
    );
    assert_eq!(container["state"]["running"]["startedAt"], "2026-01-01T00:00:02Z");
    cluster.check_quiet();
}

#[test]
fn times_finer_than_seconds_are_kept() {
    let mut cluster = Cluster::standard();
    cluster.advance_by(SignedDuration::from_millis(900));
    cluster.create(pod("p", "web:1"));
    cluster.advance_by(SignedDuration::from_millis(999));
    assert!(!pods::is_ready(&cluster.pod("p")), "started at 0.9 s, written as 0 s, ready at 1.9 s");
    cluster.advance_by(SignedDuration::from_millis(1));
    assert!(pods::is_ready(&cluster.pod("p")));
}

#[test]
fn jitter_spreads_readiness_and_follows_from_the_seed() {
    let ready_after = |seed| {
        let settings = Settings { seed, ready_jitter: secs(10), ..Settings::default() };
        let mut cluster = Cluster::new(settings);
        cluster.create(replica_set("web", 8, "web:1"));
        let mut counts = vec![];
        for _ in 0..12 {
            cluster.advance(1);
            counts.push(cluster.list(kinds::POD, None).iter().filter(|pod| pods::is_ready(pod)).count());
        }
        counts
    };
    let counts = ready_after(3);
    assert_eq!(counts, ready_after(3));
    assert_eq!(counts[11], 8);
    assert!(counts[2] < 8, "not all at once: {counts:?}");
}

#[test]
fn a_stopping_pod_serves_until_it_is_gone() {
    let mut cluster = Cluster::new(Settings { termination: secs(3), ..Settings::default() });
    cluster.create(pod("p", "web:1"));
    cluster.advance(5);
    cluster.delete(kinds::POD, DEFAULT, "p");
    cluster.advance(2);
    assert!(is_deleting(&cluster.pod("p")) && pods::is_ready(&cluster.pod("p")));
    cluster.advance(1);
    assert!(cluster.find(kinds::POD, "p").is_none());
}

#[test]
fn a_finalizer_holds_a_stopped_pod() {
    let mut cluster = Cluster::standard();
    let mut held = pod("p", "web:1");
    held["metadata"]["finalizers"] = json!(["test/hold"]);
    cluster.create(held);
    cluster.advance(5);
    cluster.delete(kinds::POD, DEFAULT, "p");
    cluster.advance(5);
    let pod = cluster.pod("p");
    assert_eq!(text(&pod, "/status/phase"), Some("Succeeded"));
    assert!(!pods::is_ready(&pod));
    assert!(pod.pointer("/status/containerStatuses/0/state/terminated").is_some());
    cluster.check_quiet();
}

#[test]
fn addresses_are_unique() {
    let mut cluster = Cluster::standard();
    cluster.create(replica_set("web", 300, "web:1"));
    let mut addresses: Vec<String> = cluster
        .list(kinds::POD, None)
        .iter()
        .filter_map(|pod| text(pod, "/status/podIP").map(str::to_owned))
        .collect();
    assert!(addresses.iter().all(|one| one.starts_with("10.")));
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 300);
}

#[test]
fn an_unscheduled_pod_is_removed_at_once() {
    let mut cluster = Cluster::standard();
    let mut held = pod("p", "web:pending");
    held["metadata"]["finalizers"] = json!(["test/hold"]);
    cluster.create(held);
    cluster.delete(kinds::POD, DEFAULT, "p");
    assert!(is_deleting(&cluster.pod("p")));
    cluster.check_quiet();
    cluster.create(pod("q", "web:pending"));
    cluster.delete(kinds::POD, DEFAULT, "q");
    assert!(cluster.find(kinds::POD, "q").is_none());
}
