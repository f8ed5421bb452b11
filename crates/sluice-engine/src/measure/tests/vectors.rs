//! Sequences of measurements and what they come to. The numbers are those of a table that was made from the
//! behaviour of Argo Rollouts v1.10.

use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, RunSummary};

use super::assessed;
use super::simulator::{Simulator, at, one, run};
use crate::measure::TaskKind;

/// Sequences that end by themselves: vector, metric, letters => phase, message.
#[test]
fn sequences_end_a_run() {
    let five = json!({"interval": "1m", "count": 5, "failureLimit": 2});
    let csl = json!({"interval": "1m", "count": 5, "failureLimit": 1, "consecutiveSuccessLimit": 3});
    let csl_only = json!({"interval": "1m", "count": 4, "failureLimit": -1, "consecutiveSuccessLimit": 3});
    let boom = ": \"Error Message: boom\"";
    for (name, metric, letters, phase, message) in [
        ("L1", json!({}), "S", "Successful", String::new()),
        ("L2", json!({}), "F", "Failed", assessed("Failed", "failed (1) > failureLimit (0)")),
        ("L3", five.clone(), "FSFSS", "Successful", String::new()),
        ("L4", five, "FFF", "Failed", assessed("Failed", "failed (3) > failureLimit (2)")),
        (
            "L5",
            json!({}),
            "EEEEE",
            "Error",
            assessed("Error", "consecutiveErrors (5) > consecutiveErrorLimit (4)") + boom,
        ),
        ("L6", json!({}), "EEEES", "Successful", String::new()),
        (
            "L7",
            json!({"consecutiveErrorLimit": 0}),
            "E",
            "Error",
            assessed("Error", "consecutiveErrors (1) > consecutiveErrorLimit (0)") + boom,
        ),
        (
            "L8",
            json!({}),
            "I",
            "Inconclusive",
            assessed("Inconclusive", "inconclusive (1) > inconclusiveLimit (0)"),
        ),
        (
            "L9",
            json!({"interval": "1m", "failureLimit": -1, "consecutiveSuccessLimit": 3}),
            "FSSFSSS",
            "Successful",
            String::new(),
        ),
        // The original has no message here, and counts both as successful.
        (
            "L10",
            csl,
            "SSFSS",
            "Inconclusive",
            assessed("Inconclusive", "consecutiveSuccess (2) < consecutiveSuccessLimit (3)"),
        ),
        (
            "L11",
            csl_only,
            "SSFS",
            "Failed",
            assessed("Failed", "consecutiveSuccess (1) < consecutiveSuccessLimit (3)"),
        ),
        ("L18", json!({"interval": "1m", "count": 3, "failureLimit": 3}), "FFF", "Successful", String::new()),
        ("L19", json!({"interval": "1m", "count": 2}), "SES", "Successful", String::new()),
    ] {
        let mut simulator = Simulator::new(one(metric), &[("m", letters)]);
        simulator.looks(50);
        let status = simulator.status();
        assert_eq!((status.phase.as_str(), &status.message), (phase, &message), "{name}");
        assert!(simulator.script["m"].is_empty(), "{name}: all are taken");
        assert!(status.started_at.is_some() && status.completed_at.is_some(), "{name}");
        let summary = &status.run_summary;
        let by_phase = [
            ("Successful", summary.successful),
            ("Failed", summary.failed),
            ("Error", summary.error),
            ("Inconclusive", summary.inconclusive),
        ];
        for (outcome, number) in by_phase {
            assert_eq!(number, i32::from(outcome == phase), "{name}: {outcome}");
        }
        let count = letters.chars().filter(|letter| *letter != 'E').count();
        let metric = simulator.metric("m");
        assert_eq!(metric.count as usize, count, "{name}");
        assert_eq!(metric.error as usize, letters.len() - count, "{name}");
    }
}

#[test]
fn errors_are_tried_again_after_ten_seconds_and_others_at_the_interval() {
    // L5 and L19, with the seconds at which measurements begin.
    for (metric, letters, seconds) in [
        (json!({}), "EEEEE", vec![1000, 1010, 1020, 1030, 1040]),
        (json!({"interval": "1m", "count": 2}), "SES", vec![1000, 1060, 1070]),
        (json!({"interval": "5s", "count": 2}), "ESS", vec![1000, 1010, 1015]),
    ] {
        let mut simulator = Simulator::new(one(metric), &[("m", letters)]);
        simulator.looks(20);
        let found: Vec<i64> = simulator.tasks.iter().map(|(second, ..)| *second).collect();
        assert_eq!(found, seconds, "{letters}");
    }
}

#[test]
fn l12_and_l21_a_run_that_is_told_to_end_is_successful() {
    let tolerant = json!({"interval": "1m", "failureLimit": 1});
    for (metric, letters) in [(tolerant, "SF"), (json!({"interval": "1m"}), "SE")] {
        let mut simulator = Simulator::new(one(metric), &[("m", letters)]);
        simulator.looks(2);
        assert_eq!(simulator.status().phase, AnalysisPhase::Running);
        simulator.terminate();
        simulator.looks(5);
        let status = simulator.status();
        assert_eq!((status.phase.as_str(), status.message.as_str()), ("Successful", "Run Terminated"));
        assert_eq!(simulator.tasks.len(), 2);
        assert_eq!(simulator.metric("m").phase, AnalysisPhase::Successful);
    }
}

#[test]
fn l13_a_run_may_end_before_it_begins() {
    let mut simulator = Simulator::new(one(json!({"initialDelay": "1h"})), &[]);
    simulator.terminate();
    simulator.looks(5);
    let status = simulator.status();
    assert_eq!((status.phase.as_str(), status.message.as_str()), ("Successful", "Run Terminated"));
    assert!(status.metric_results.is_empty() && simulator.tasks.is_empty());
}

#[test]
fn l14_a_measurement_in_flight_is_stopped() {
    let mut simulator = Simulator::new(one(json!({"provider": {"job": {}}})), &[("m", "RRI")]);
    simulator.looks(2);
    simulator.terminate();
    simulator.looks(5);
    let status = simulator.status();
    assert_eq!(status.phase, AnalysisPhase::Inconclusive);
    assert_eq!(
        status.message,
        assessed("Inconclusive", "inconclusive (1) > inconclusiveLimit (0)")
            + ": \"Error Message: Metric Terminated\""
    );
    assert_eq!(simulator.metric("m").measurements.len(), 1);
    assert_eq!(simulator.metric("m").measurements[0].message, "Metric Terminated");
    let kinds: Vec<TaskKind> = simulator.tasks.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [TaskKind::Run, TaskKind::Resume, TaskKind::Terminate]);
}

#[test]
fn l15_the_first_bad_metric_ends_the_others_at_the_next_look() {
    let run = run(json!({"metrics": [{"name": "a"}, {"name": "b", "interval": "1m"}]}));
    let mut simulator = Simulator::new(run, &[("a", "F"), ("b", "S")]);
    let plan = simulator.look();
    assert_eq!(simulator.metric("a").phase, AnalysisPhase::Failed);
    assert_eq!(simulator.status().phase, AnalysisPhase::Running);
    assert_eq!(plan.recheck_at, Some(simulator.now));
    simulator.look();
    let status = simulator.status();
    assert_eq!(simulator.metric("b").phase, AnalysisPhase::Successful);
    assert_eq!(status.phase, AnalysisPhase::Failed);
    assert_eq!(status.message, "Metric \"a\" assessed Failed due to failed (1) > failureLimit (0)");
    let events: Vec<_> = simulator.events.iter().map(|event| (event.is_warning, event.reason)).collect();
    assert_eq!(events, [(true, "MetricFailed"), (false, "MetricSuccessful"), (true, "AnalysisRunFailed")]);
    let texts: Vec<_> = simulator.events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(texts[0], "Metric 'a' Completed. Result: Failed");
    assert_eq!(texts[2], "Analysis Completed. Result: Failed");
}

#[test]
fn l16_and_l17_metrics_that_are_only_shown_do_not_count() {
    let both = run(json!({"metrics": [{"name": "a"}, {"name": "b"}], "dryRun": [{"metricName": "b"}]}));
    let mut simulator = Simulator::new(both, &[("a", "S"), ("b", "F")]);
    simulator.looks(5);
    let status = simulator.status();
    assert_eq!(status.phase, AnalysisPhase::Successful);
    assert_eq!(status.dry_run_summary, Some(RunSummary { count: 1, failed: 1, ..RunSummary::default() }));
    assert_eq!(status.run_summary, RunSummary { count: 1, successful: 1, ..RunSummary::default() });
    let b = simulator.metric("b");
    assert_eq!(b.message, "Metric assessed Failed due to failed (1) > failureLimit (0)");
    assert!(b.dry_run);

    // A lone star is no pattern, and everybody means all metrics by it.
    for pattern in ["m", ".*", "*"] {
        let all = run(json!({"metrics": [{}], "dryRun": [{"metricName": pattern}]}));
        let mut simulator = Simulator::new(all, &[("m", "F")]);
        simulator.looks(5);
        assert_eq!(simulator.status().phase, AnalysisPhase::Successful, "{pattern}");
        assert_eq!(simulator.status().message, "");
    }
    // One that takes long, or never succeeds, ends all the same.
    let metrics = json!([{"name": "a"}, {"name": "b", "provider": {"job": {}}}]);
    let with_job = run(json!({"metrics": metrics, "dryRun": [{"metricName": "b"}]}));
    for (letters, b) in [("RRS", "Successful"), ("RRI", "Inconclusive"), ("EEEEE", "Error")] {
        let mut simulator = Simulator::new(with_job.clone(), &[("b", letters)]);
        simulator.looks(20);
        assert_eq!(simulator.status().phase, AnalysisPhase::Successful, "{letters}");
        assert_eq!(simulator.metric("b").phase.as_str(), b);
    }
    // Without metrics of that sort the summary is there and empty.
    let mut simulator = Simulator::new(one(json!({})), &[]);
    simulator.looks(5);
    assert_eq!(simulator.status().dry_run_summary, Some(RunSummary::default()));
}

#[test]
fn l20_the_worst_metric_speaks_for_the_run() {
    let metrics = json!([{"name": "a", "consecutiveErrorLimit": 0}, {"name": "b"}]);
    let mut simulator = Simulator::new(run(json!({"metrics": metrics})), &[("a", "E"), ("b", "F")]);
    simulator.looks(5);
    let status = simulator.status();
    assert_eq!(status.phase, AnalysisPhase::Failed);
    assert_eq!(status.message, "Metric \"b\" assessed Failed due to failed (1) > failureLimit (0)");
}

#[test]
fn l23_what_cannot_be_stopped_does_not_hold_the_run() {
    let kayenta = json!({"provider": {"kayenta": {}}});
    let mut simulator = Simulator::new(one(kayenta), &[("m", "RR")]);
    simulator.look();
    simulator.terminate();
    simulator.looks(5);
    let status = simulator.status();
    assert_eq!((status.phase.as_str(), status.message.as_str()), ("Successful", "Run Terminated"));
    let last = &simulator.metric("m").measurements[0];
    assert_eq!((last.phase, last.finished_at), (AnalysisPhase::Running, None));
}

/// Specs that cannot be carried out: L22, validation, arguments => message.
#[test]
fn some_specs_are_refused() {
    let named = |metric: Value| json!({"metrics": [metric]});
    let with_args = |metric: Value, args: Value| json!({"metrics": [metric], "args": args});
    let secret = json!([{"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]);
    let arg = |value: &str| json!([{"name": "a", "value": value}]);
    for (spec, message) in [
        (
            named(json!({"interval": "1m", "count": 2, "failureLimit": 3})),
            "Analysis spec invalid: metrics[0]: count (2) must be >= failureLimit + consecutiveSuccessLimit \
             (3 + 0) if both >= 0",
        ),
        (json!({"metrics": []}), "Analysis spec invalid: no metrics specified"),
        (json!({"metrics": [{}, {}]}), "Analysis spec invalid: metrics[1]: duplicate name 'm'"),
        (named(json!({"provider": {}})), "Analysis spec invalid: metrics[0]: no provider specified"),
        (
            named(json!({"interval": "5"})),
            "Analysis spec invalid: metrics[0]: invalid interval string: time: missing unit in duration \"5\"",
        ),
        (
            json!({"metrics": [{}], "dryRun": [{"metricName": "x"}]}),
            "Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s)",
        ),
        (
            json!({"metrics": [{}], "measurementRetention": [{"metricName": "[", "limit": 3}]}),
            "Analysis spec invalid: measurementRetention[0]: Rule didn't match any metric name(s)",
        ),
        (
            named(json!({"successCondition": "{{args.a}}"})),
            "Unable to resolve metric arguments: failed to resolve {{args.a}}",
        ),
        (
            with_args(json!({}), json!([{"name": "a"}])),
            "Unable to resolve metric arguments: argument \"a\" was not supplied",
        ),
        (
            with_args(
                json!({}),
                json!([{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            ),
            "Unable to resolve metric arguments: argument \"a\" was not supplied",
        ),
        // The original takes 0 for these.
        (
            with_args(json!({"interval": "1m", "count": "{{args.a}}"}), arg("five")),
            "Analysis spec invalid: metrics[0]: count is \"five\", must be a whole number",
        ),
        (
            with_args(json!({"failureLimit": "{{args.a}}"}), arg("{{args.a}}")),
            "Analysis spec invalid: metrics[0]: failureLimit is \"{{args.a}}\", must be a whole number",
        ),
        (
            with_args(json!({"interval": "{{args.a}}"}), arg("{{args.a}}")),
            "Analysis spec invalid: metrics[0]: invalid interval string: time: invalid duration \"{{args.a}}\"",
        ),
        // The original would measure this one on every look and never end.
        (
            with_args(json!({"name": "m-{{ args.s }}"}), secret.clone()),
            "Analysis spec invalid: metrics[0]: name must not depend on a secret",
        ),
        (
            with_args(json!({"interval": "1m", "count": "{{args.s}}"}), secret),
            "Analysis spec invalid: metrics[0]: count must not depend on a secret",
        ),
    ] {
        let mut simulator = Simulator::new(run(spec.clone()), &[]);
        let plan = simulator.look();
        let status = simulator.status();
        assert_eq!((status.phase, status.message.as_str()), (AnalysisPhase::Error, message), "{spec}");
        assert_eq!(status.completed_at, Some(at(1_000).into()));
        let events: Vec<_> = plan.events.iter().map(|event| (event.is_warning, event.reason)).collect();
        assert_eq!(events, [(true, "AnalysisRunError")]);
        assert!(simulator.tasks.is_empty() && simulator.read.is_empty());
    }
}
