//! Starting up on what Argo Rollouts left changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use serde_json::Value;
use sluice_controller::Options;
use sluice_tests::takeover::{differences, names, simulated, state, times};

/// Situations that are carried on with. At rest, paused or aborted, none of them costs a write.
const CARRIED_OUT: &[&str] = &[
    "blue-green.1-healthy",
    "blue-green.2-awaiting-promotion",
    "blue-green.3-promoted-old-within-delay",
    "blue-green.4-aborted",
    "canary-alb-pingpong.1-paused-at-10",
    "canary-basic.1-healthy",
    "canary-basic.2-paused-at-20",
    "canary-basic.3-timed-pause-at-60",
    "canary-basic.4-third-revision-paused",
    "canary-basic.5-aborted",
    "canary-basic.6-rolled-back-to-first",
    "canary-istio-header.1-header-route",
    "canary-istio-header.3-aborted-within-delay",
    "canary-istio-subsets-dss.1-paused-at-40",
    "canary-istio-subsets-dss.2-paused-at-80",
    "canary-istio-subsets-dss.3-promoted-full",
    "canary-nginx.1-paused-at-5",
    "canary-nginx.2-promoted-old-within-delay",
    "canary-no-steps.1-fourth-revision",
    "invalid-spec.1-weight-120",
    "scaled-to-zero.1-updated-while-asleep",
    "workload-ref.1-healthy",
    "workload-ref.2-paused-at-25",
];

/// Situations in which something is put right, with the reason, the writes that it takes, and the beginnings of what
/// changes by them. Nothing else does.
const PUT_RIGHT: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "canary-alb-pingpong.2-promoted",
        "the Service that waits for its turn leads to a version that is about to lose its pods",
        &["patch services web-ping"],
        &[
            "Service default/web-ping /metadata/annotations/sluice.dev/selected-at: null",
            r#"Service default/web-ping /spec/selector/rollouts-pod-template-hash: "689c8bddcc" -> "779b5f7646""#,
        ],
    ),
    (
        "canary-istio-header.2-paused-at-20",
        "the header route of an earlier step was lost when its pause ended (argo-rollouts#4486)",
        &["patch rollouts web", "patch virtualservices web"],
        &[
            "Rollout default/web /metadata/annotations/sluice.dev/routed-by: null",
            "VirtualService default/web /metadata/generation: 4 -> 5",
            "VirtualService default/web /spec/http: ",
        ],
    ),
];

/// Situations in which something is measured, so that runs and the Experiment are written, with the beginnings of what
/// changes of the Rollout, of which no other object may change.
const MEASURED: &[(&str, &[&str])] = &[
    ("canary-analysis.1-paused-background-running", &[]),
    (
        "canary-analysis.2-experiment-running",
        // What is awaited is told.
        &[
            "patch rollouts/status web",
            "Rollout default/web /status/message",
            "Rollout default/web /status/conditions",
        ],
    ),
    ("canary-analysis.3-aborted-in-experiment", &[]),
];

/// The Experiment in some of them, and the beginning of the names of all that it owns.
const EXPERIMENT: &str = "web-779b5f7646-2-3";

/// How long it is watched. Longer than every settle and grace time, shorter than the pauses.
const SECONDS: u64 = 120;

/// Situations in which a scale-down delay ends sooner, and how long they are watched.
const WITHIN_DELAY: &[(&str, u64)] = &[
    ("blue-green.4-aborted", 25),
    ("canary-alb-pingpong.2-promoted", 25),
    ("canary-istio-header.3-aborted-within-delay", 25),
    ("canary-nginx.2-promoted-old-within-delay", 25),
];

#[test]
fn every_situation_is_in_one_table() {
    let measured = MEASURED.iter().map(|(name, _)| *name);
    let put_right = PUT_RIGHT.iter().map(|(name, ..)| *name);
    let mut tables: Vec<&str> = CARRIED_OUT.iter().copied().chain(put_right).chain(measured).collect();
    tables.sort_unstable();
    let expected: Vec<String> = names().into_iter().collect();
    assert_eq!(tables, expected);
    let described: BTreeSet<String> = times().into_keys().collect();
    assert_eq!(described, names(), "the README describes them");
}

#[tokio::test(start_paused = true)]
async fn what_is_carried_out_is_taken_over_without_a_write() {
    check_untouched(CARRIED_OUT.iter().copied()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_measured_goes_on_and_nothing_else_changes() {
    let is_of_a_run = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(
            words[..],
            ["create" | "delete", "jobs", ..]
                | ["patch", "analysisruns", ..]
                | ["AnalysisRun" | "Job" | "Pod", ..]
        )
    };
    let mut touched = BTreeMap::new();
    for (name, told) in MEASURED {
        let (writes, changes) = take_over(name).await;
        let found: Vec<_> = [writes, changes]
            .concat()
            .into_iter()
            .filter(|line| !is_of_a_run(line) && !line.contains(EXPERIMENT))
            .filter(|line| !told.iter().any(|beginning| line.starts_with(beginning)))
            .collect();
        if !found.is_empty() {
            touched.insert(name, found);
        }
    }
    assert!(touched.is_empty(), "{touched:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_experiment_goes_on_where_it_stands() {
    // One that runs: its pods stay, and what is awaited is told.
    let of_it = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains(EXPERIMENT) && !line.starts_with("Rollout ")).collect()
    };
    let (writes, changes) = take_over("canary-analysis.2-experiment-running").await;
    let (writes, changes) = (of_it(writes), of_it(changes));
    assert_eq!(writes, [format!("patch experiments {EXPERIMENT}")]);
    let told = ["/metadata/generation", "/status/conditions", "/status/message"];
    let is_told = |line: &String| {
        told.iter().any(|field| line.starts_with(&format!("Experiment default/{EXPERIMENT} {field}: ")))
    };
    assert!(changes.iter().all(is_told), "{changes:#?}");
    // One that has ended: its pods go when the delay is over that was set for them, and the status follows.
    let (writes, changes) = take_over("canary-analysis.3-aborted-in-experiment").await;
    let writes = of_it(writes);
    let (sets, statuses): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|line| line.contains(" replicasets "));
    assert_eq!(sets, ["base", "cand"].map(|name| format!("patch replicasets {EXPERIMENT}-{name}")));
    assert!(statuses.iter().all(|line| *line == format!("patch experiments {EXPERIMENT}")), "{statuses:?}");
    for name in ["base", "cand"] {
        let change = format!("ReplicaSet default/{EXPERIMENT}-{name} /spec/replicas: 1 -> 0");
        assert!(changes.contains(&change), "{changes:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_wrong_is_put_right_and_nothing_else() {
    for (name, reason, expected, changed) in PUT_RIGHT {
        let (writes, changes) = take_over(name).await;
        assert_eq!(writes, *expected, "{name}: {reason}: {changes:#?}");
        let found: Vec<_> = changes.iter().map(String::as_str).collect();
        let is_expected = |change: &&str| changed.iter().any(|beginning| change.starts_with(beginning));
        assert!(found.iter().all(is_expected), "{name}: {reason}: {found:#?}");
        assert_eq!(found.len(), changed.len(), "{name}: {reason}: {found:#?}");
    }
}

/// Starts the controller on a situation; returns what it writes, and what is different then.
async fn take_over(name: &str) -> (Vec<String>, Vec<String>) {
    let mut simulation = simulated(name).await;
    let before = state(&simulation);
    simulation.cluster.clear_audit();
    simulation.start_controller(Options::default());
    let shorter = WITHIN_DELAY.iter().find(|(other, _)| *other == name);
    simulation.pass(shorter.map_or(SECONDS, |(_, seconds)| *seconds)).await;
    let looks = simulation.handle().map(|handle| handle.reconciler.counts.looks.load(Relaxed));
    assert!(looks > Some(0), "{name}: the controller never looked");
    (simulation.writes(), changes(&before, &state(&simulation)))
}

async fn check_untouched(names: impl Iterator<Item = &'static str>) {
    let mut touched = BTreeMap::new();
    for name in names {
        let (writes, changes) = take_over(name).await;
        let found = [writes, changes].concat();
        if !found.is_empty() {
            touched.insert(name, found);
        }
    }
    assert!(touched.is_empty(), "{touched:#?}");
}

fn changes(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter()
        .flat_map(|name| {
            let of = |state: &BTreeMap<String, Value>| state.get(name).cloned().unwrap_or_default();
            differences(&of(before), &of(after))
                .into_iter()
                .map(move |difference| format!("{name} {difference}"))
        })
        .collect()
}
