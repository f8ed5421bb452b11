//! Gates: dependencies, warm-up, what else is read, and what stands beside each measurement.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_api::analysis::AnalysisPhase;
use sluice_lang::template::SecretKey;

use super::simulator::{Simulator, measurement, one, run};
use crate::measure::{Aside, Position, Secrets};

/// A metric of the version itself and one of what it depends on, in both orders.
fn with_dependency(own: &Value, dependency: &Value) -> [Value; 2] {
    let mut own = own.clone();
    own["name"] = json!("errors");
    let mut dependency = dependency.clone();
    dependency["name"] = json!("payments");
    dependency["origin"] = json!("dependency");
    dependency["successCondition"] = json!("result < 1");
    [json!({"metrics": [own, dependency]}), json!({"metrics": [dependency, own]})]
}

/// What the metrics measure, look by look => the phase of the run, and how its message ends.
#[test]
fn m17_a_failure_while_a_dependency_is_bad_is_not_held_against_the_change() {
    let excused = "Error Message: dependency \"payments\" is bad at the same time, so this is not held against the change\"";
    for (own, measured, payments, phase, says) in [
        (json!({}), "F", "F", AnalysisPhase::Inconclusive, excused),
        (json!({}), "F", "S", AnalysisPhase::Failed, "failed (1) > failureLimit (0)"),
        (json!({}), "S", "F", AnalysisPhase::Successful, ""),
        (json!({}), "F", "E", AnalysisPhase::Failed, "failed (1) > failureLimit (0)"),
        // Neither good nor bad is not bad.
        (json!({}), "F", "I", AnalysisPhase::Failed, "failed (1) > failureLimit (0)"),
        // An outage that has just ended still shows in what was measured; later it does not.
        (json!({"interval": "1m", "count": 3}), "SF", "FS", AnalysisPhase::Inconclusive, excused),
        (
            json!({"interval": "1m", "count": 3}),
            "SSF",
            "FSS",
            AnalysisPhase::Failed,
            "failed (1) > failureLimit (0)",
        ),
        (json!({"interval": "1m", "count": 3}), "SF", "FE", AnalysisPhase::Inconclusive, excused),
        // It excuses what is bad, and nothing else.
        (
            json!({"interval": "1m", "count": 3, "inconclusiveLimit": 2}),
            "FFS",
            "FFS",
            AnalysisPhase::Successful,
            "",
        ),
        (
            json!({"interval": "1m", "consecutiveErrorLimit": 0}),
            "E",
            "F",
            AnalysisPhase::Error,
            "consecutiveErrors",
        ),
    ] {
        // With intervals of their own they are asked at other times, of which the script knows nothing.
        let intervals = if own["interval"].is_null() {
            vec![json!({}), json!({"interval": "20s"})]
        } else {
            vec![json!({})]
        };
        for spec in intervals.iter().flat_map(|dependency| with_dependency(&own, dependency)) {
            let scripts = [("errors", measured), ("payments", payments)];
            let mut simulator = Simulator::new(run(spec.clone()), &scripts);
            simulator.looks(20);
            let status = simulator.status();
            assert_eq!(status.phase, phase, "{measured} {payments} {spec}");
            assert!(status.message.contains(says), "{}", status.message);
            assert!(simulator.metric("payments").dry_run);
            assert!(simulator.metric("payments").phase.is_terminal());
        }
    }
}

#[test]
fn m17_a_dependency_is_measured_with_everything_else_and_as_long() {
    for spec in with_dependency(&json!({"interval": "1m", "count": 3}), &json!({})) {
        let mut simulator = Simulator::new(run(spec), &[("payments", "FFF")]);
        simulator.looks(20);
        let seconds = |name: &str| -> Vec<i64> {
            simulator
                .tasks
                .iter()
                .filter(|(_, _, metric)| metric == name)
                .map(|(second, ..)| *second)
                .collect()
        };
        assert_eq!(seconds("errors"), [1_000, 1_060, 1_120]);
        assert_eq!(seconds("payments"), seconds("errors"));
        assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
        let payments = simulator.metric("payments");
        assert_eq!((payments.phase, payments.failed), (AnalysisPhase::Failed, 3), "it shows how it did");
    }
    // With an interval of its own it is asked in between as well.
    let [spec, _] = with_dependency(&json!({"interval": "1m", "count": 2}), &json!({"interval": "25s"}));
    let mut simulator = Simulator::new(run(spec), &[]);
    simulator.looks(20);
    let payments = simulator.tasks.iter().filter(|(_, _, metric)| metric == "payments").count();
    assert_eq!(payments, 4, "{:?}", simulator.tasks);
}

#[test]
fn m18_what_is_measured_in_the_warm_up_is_shown_and_not_judged() {
    let mut simulator =
        Simulator::new(one(json!({"interval": "30s", "count": 2, "warmUp": "1m"})), &[("m", "FFESSF")]);
    simulator.looks(2);
    let shown = simulator.metric("m");
    assert_eq!((shown.count, shown.failed, shown.measurements.len()), (0, 0, 2));
    for measurement in &shown.measurements {
        assert_eq!(measurement.phase, AnalysisPhase::Inconclusive);
        assert_eq!(measurement.message, "warm-up of 1m: shown, not judged (would be Failed)");
    }
    assert_eq!(simulator.status().phase, AnalysisPhase::Running);
    simulator.looks(20);
    let (status, judged) = (simulator.status(), simulator.metric("m"));
    assert_eq!(status.phase, AnalysisPhase::Successful, "{status:?}");
    // An error is one whenever it happens.
    assert_eq!((judged.count, judged.successful, judged.error), (2, 2, 1));
    let seconds: Vec<i64> = simulator.tasks.iter().map(|(second, ..)| *second).collect();
    assert_eq!(seconds, [1_000, 1_030, 1_060, 1_070, 1_100]);
}

#[test]
fn m18_without_an_interval_it_is_asked_until_it_is_warm() {
    let mut simulator = Simulator::new(one(json!({"warmUp": "25s"})), &[("m", "FFFF")]);
    simulator.looks(20);
    assert_eq!(simulator.tasks.len(), 4, "{:?}", simulator.tasks);
    let status = simulator.status();
    assert_eq!(status.phase, AnalysisPhase::Failed);
    // A run that is ended before that has judged nothing.
    let mut simulator = Simulator::new(one(json!({"warmUp": "25s"})), &[("m", "SS")]);
    simulator.looks(2);
    simulator.terminate();
    simulator.look();
    assert_eq!((simulator.status().phase, simulator.metric("m").successful), (AnalysisPhase::Successful, 0));
}

#[test]
fn what_else_is_read_is_asked_of_the_same_provider() {
    let run = run(json!({
        "args": [
            {"name": "hash", "value": "new"}, {"name": "stable", "value": "old"},
            {"name": "token", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}},
        ],
        "metrics": [
            {"name": "by-query", "minSamples": 5, "samples": {"query": "n{{args.hash}}"}, "thresholds": {"max": 1},
             "baseline": {"query": "up{{args.stable}}"},
             "provider": {"prometheus": {"address": "http://p/{{args.token}}", "query": "up{{args.hash}}"}}},
            {"name": "by-args", "thresholds": {"max": 1},
             "baseline": {"args": [{"name": "hash", "value": "{{args.stable}}"}]},
             "provider": {"web": {"url": "http://w/{{args.hash}}/{{args.token}}"}}},
        ],
    }));
    let mut simulator = Simulator::new(run, &[]);
    let key = SecretKey { name: "n".to_owned(), key: "k".to_owned() };
    simulator.secrets.insert(key, Ok(sluice_lang::template::SecretValue::new("hush")));
    let secrets = simulator.read(&simulator.decide(&Secrets::new(), vec![]));
    let tasks = simulator.decide(&secrets, vec![]).tasks;
    let asked: Vec<(Aside, Value)> = (tasks.iter().flat_map(|task| &task.asides))
        .map(|(aside, metric)| (*aside, serde_json::to_value(&metric.provider).expect("plain data")))
        .collect();
    let prometheus = |query: &str| json!({"prometheus": {"address": "http://p/hush", "query": query}});
    assert_eq!(
        asked,
        [
            (Aside::Samples, prometheus("nnew")),
            (Aside::Baseline, prometheus("upold")),
            (Aside::Baseline, json!({"web": {"url": "http://w/old/hush"}})),
        ]
    );
}

#[test]
fn a_baseline_that_compares_the_new_version_with_itself_is_refused() {
    let run = run(json!({
        "args": [{"name": "hash", "value": "new"}, {"name": "other", "value": "x"}],
        "metrics": [{
            "thresholds": {"max": 1}, "baseline": {"args": [{"name": "other", "value": "old"}]},
            "provider": {"web": {"url": "http://w/{{args.hash}}"}},
        }],
    }));
    let mut simulator = Simulator::new(run, &[]);
    simulator.look();
    assert_eq!(
        simulator.status().message,
        "Analysis spec invalid: metrics[0]: baseline.args names \"other\", which the provider does not use: \
         name an argument of its query"
    );
}

#[test]
fn a_run_knows_where_its_rollout_stands() {
    for (annotations, expected) in [
        (json!({}), Position::default()),
        (
            json!({"sluice.dev/at-step": "3", "sluice.dev/at-weight": "25"}),
            Position { step: Some(3), weight: Some(25) },
        ),
        (json!({"sluice.dev/at-step": "third"}), Position::default()),
    ] {
        let mut run = one(json!({"thresholds": {"max": 1, "byStep": {"3": 2}}}));
        run.metadata.annotations = serde_json::from_value(annotations).expect("texts");
        let tasks = Simulator::new(run, &[]).decide(&Secrets::new(), vec![]).tasks;
        assert_eq!(tasks[0].position, expected);
    }
}

#[test]
fn w74_a_measurement_says_what_was_asked_and_what_it_was_held_against() {
    let long = "x".repeat(5_000);
    let run = run(json!({
        "args": [{"name": "v", "value": "2"}],
        "metrics": [{
            "successCondition": "result < {{args.v}}", "failureCondition": "result > 9",
            "thresholds": {"max": 1}, "baseline": {"query": long},
            "provider": {"prometheus": {"query": "errors{version=\"{{args.v}}\"}"}},
        }],
    }));
    let mut simulator = Simulator::new(run, &[]);
    simulator.look();
    let found = simulator.metric("m").measurements[0].metadata.clone();
    assert_eq!(found["query"], "errors{version=\"2\"}");
    assert_eq!(found["condition"], "successCondition \"result < 2\", failureCondition \"result > 9\"");
    assert!(found["baselineQuery"].len() <= 500 && found["baselineQuery"].ends_with('…'));
    // One that goes on says nothing yet.
    let mut simulator = Simulator::new(one(json!({"provider": {"job": {}}})), &[("m", "R")]);
    simulator.look();
    assert_eq!(simulator.metric("m").measurements[0].metadata, BTreeMap::new());
}

#[test]
fn w74_the_run_says_which_measurement_tripped() {
    let mut simulator = Simulator::new(one(json!({"interval": "1m", "failureLimit": 1})), &[]);
    let of = |letter: char, value: &str, message: &str| sluice_api::analysis::Measurement {
        value: value.to_owned(),
        message: message.to_owned(),
        ..measurement(letter)
    };
    let measured = [of('F', "0.9", "late"), of('S', "0.1", ""), of('F', "0.8", "0.8 is 0.7 above max 0.1")];
    simulator.script.insert("m".to_owned(), measured.into());
    simulator.looks(10);
    assert_eq!(
        simulator.status().message,
        "Metric \"m\" assessed Failed due to failed (2) > failureLimit (1): \
         \"Error Message: 0.8 is 0.7 above max 0.1\"; measured 0.8, measurement 3"
    );
}
