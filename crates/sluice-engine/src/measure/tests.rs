//! The state machine as a table, and then rule by rule.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, Measurement, RunSummary};
use sluice_lang::template::{SecretKey, SecretValue};

use super::simulator::{Simulator, at, measurement, one, run};
use super::{RunWorld, Secrets, TaskKind, decide_run};

fn assessed(phase: &str, reason: &str) -> String {
    format!("Metric \"m\" assessed {phase} due to {reason}")
}

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

#[test]
fn a_refusal_leaves_no_job_behind() {
    let mut simulator = Simulator::new(one(json!({"provider": {"job": {}}})), &[("m", "R")]);
    simulator.look();
    simulator.run.spec.metrics[0].interval = "5".to_owned();
    let plan = simulator.look();
    assert_eq!(simulator.status().phase, AnalysisPhase::Error);
    let garbage: Vec<_> =
        plan.garbage.iter().map(|garbage| (garbage.metric.as_str(), garbage.measurements.len())).collect();
    assert_eq!(garbage, [("m", 1)]);
}

#[test]
fn a_delay_counts_from_the_beginning_of_the_run() {
    let run = run(json!({"metrics": [{"name": "a", "initialDelay": "30s"}]}));
    let mut simulator = Simulator::new(run, &[]);
    let plan = simulator.look();
    assert_eq!(
        (simulator.status().phase, simulator.status().started_at),
        (AnalysisPhase::Running, Some(at(1_000).into()))
    );
    assert_eq!(plan.recheck_at, Some(at(1_030)));
    simulator.looks(5);
    assert_eq!(simulator.tasks, [(1_030, TaskKind::Run, "a".to_owned())]);
    assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
}

#[test]
fn what_is_in_flight_is_looked_at_when_it_says() {
    let mut later = measurement('R');
    later.resume_at = Some(at(1_090).into());
    let mut simulator = Simulator::new(one(json!({"provider": {"job": {}}})), &[]);
    let soon = Measurement { resume_at: Some(at(1_000).into()), ..measurement('R') };
    simulator.script.insert("m".to_owned(), [soon, measurement('R'), later].into());
    let plan = simulator.look();
    // One that asks to be looked at right away is given a second.
    assert_eq!(plan.recheck_at, Some(at(1_001)));
    simulator.now = at(1_001);
    // One that says nothing is looked at as often as an error.
    assert_eq!(simulator.look().recheck_at, Some(at(1_011)));
    simulator.now = at(1_011);
    assert_eq!(simulator.look().recheck_at, Some(at(1_090)));

    // Nothing to do before its time, unless it is known to have ended.
    simulator.now = at(1_020);
    assert!(simulator.decide(&Secrets::new(), vec![]).tasks.is_empty());
    let has_finished = BTreeSet::from(["m".to_owned()]);
    let world = RunWorld { run: &simulator.run, secrets: &Secrets::new(), results: vec![], has_finished };
    let tasks = decide_run(&world, simulator.now).tasks;
    assert_eq!(tasks.iter().map(|task| task.kind).collect::<Vec<_>>(), [TaskKind::Resume]);
    assert_eq!(tasks[0].number, 1);
}

#[test]
fn without_an_interval_to_speak_of_a_second_passes() {
    for interval in ["0s", "10ms", "-5m"] {
        let mut simulator = Simulator::new(one(json!({"interval": interval, "count": 3})), &[]);
        simulator.looks(10);
        let seconds: Vec<i64> = simulator.tasks.iter().map(|(second, ..)| *second).collect();
        assert_eq!(seconds, [1_000, 1_001, 1_002], "{interval}");
    }
    // Beyond the range of time is never.
    let mut simulator = Simulator::new(one(json!({"initialDelay": "2000000h"})), &[]);
    simulator.now = "9990-01-01T00:00:00Z".parse().expect("a time");
    assert_eq!(simulator.look().recheck_at, None);
}

#[test]
fn messages_tell_what_was_measured() {
    let prometheus =
        |success: &str, failure: &str| json!({"successCondition": success, "failureCondition": failure});
    let kayenta = json!({"provider": {"kayenta": {"threshold": {"pass": 90, "marginal": 75}}}});
    let failed = "failed (1) > failureLimit (0)";
    let inconclusive = "inconclusive (1) > inconclusiveLimit (0)";
    for (metric, letter, value, reason, end) in [
        (
            prometheus("result >= 0.95", ""),
            'F',
            "0.9",
            failed,
            "; measured 0.9, successCondition \"result >= 0.95\"",
        ),
        (prometheus("a", "b"), 'F', "0.9", failed, "; measured 0.9, failureCondition \"b\""),
        (
            prometheus("a", "b"),
            'I',
            "[0.9]",
            inconclusive,
            "; measured [0.9], successCondition \"a\", failureCondition \"b\"",
        ),
        (prometheus("a", "b"), 'F', "", failed, ""),
        (kayenta, 'F', "12", failed, "; measured 12, threshold pass 90, marginal 75"),
    ] {
        let phase = measurement(letter).phase;
        let script = Measurement { value: value.to_owned(), ..measurement(letter) };
        for dry_run in [false, true] {
            let spec = if dry_run {
                json!({"metrics": [metric], "dryRun": [{"metricName": "m"}]})
            } else {
                json!({"metrics": [metric]})
            };
            let mut simulator = Simulator::new(run(spec), &[]);
            simulator.script.insert("m".to_owned(), [script.clone()].into());
            simulator.looks(3);
            let expected = format!("assessed {phase} due to {reason}{end}");
            if dry_run {
                assert_eq!(simulator.metric("m").message, format!("Metric {expected}"));
            } else {
                assert_eq!(simulator.status().message, format!("Metric \"m\" {expected}"));
            }
        }
    }
}

fn secret_run(metric: Value) -> Simulator {
    let from = |key: &str| json!({"secretKeyRef": {"name": "tokens", "key": key}});
    let args = json!([
        {"name": "token", "value": "beaten", "valueFrom": from("api")},
        {"name": "other", "valueFrom": from("other")},
    ]);
    Simulator::new(run(json!({"metrics": [metric], "args": args})), &[])
}

fn token() -> SecretKey {
    SecretKey { name: "tokens".to_owned(), key: "api".to_owned() }
}

#[test]
fn only_the_secrets_that_are_named_are_read() {
    let web =
        json!({"provider": {"web": {"url": "http://x?t={{args.token}}"}}, "interval": "1m", "count": 2});
    let mut simulator = secret_run(web);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    let plan = simulator.decide(&Secrets::new(), vec![]);
    assert_eq!(plan.secrets, [token()]);
    let secrets = simulator.read(&plan);
    let plan = simulator.decide(&secrets, vec![]);
    let web = plan.tasks[0].metric.provider.web.as_ref().expect("a web metric");
    assert_eq!(web.url, "http://x?t=hush");
    assert!(!format!("{plan:?}").contains("hush"));
    simulator.look();
    simulator.read.clear();
    // Nothing is read while nothing is due.
    simulator.pass(30);
    assert!(simulator.look().secrets.is_empty() && simulator.read.is_empty());
}

#[test]
fn secrets_show_nowhere() {
    let web = json!({
        "provider": {"web": {"url": "http://x?t={{args.token}}"}},
        "successCondition": "result != '{{args.token}}'",
    });
    let mut simulator = secret_run(web);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    let plan = simulator.decide(&Secrets::new(), vec![]);
    let secrets = simulator.read(&plan);
    let task = simulator.decide(&secrets, vec![]).tasks.remove(0);
    let metadata = [("query", "hush=1"), ("job-name", "hush.m.1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let measurement = Measurement {
        phase: AnalysisPhase::Failed,
        value: "\"hush\"".to_owned(),
        message: "got hush".to_owned(),
        metadata: metadata.clone().into(),
        ..Measurement::default()
    };
    let result = task.result(measurement, metadata[..1].to_vec().into_iter().collect());
    let plan = simulator.decide(&secrets, vec![result]);
    let metric = &plan.status.metric_results[0];
    let found = &metric.measurements[0];
    assert_eq!((found.value.as_str(), found.message.as_str()), ("\"*****\"", "got *****"));
    assert_eq!((metric.metadata["query"].as_str(), found.metadata["query"].as_str()), ("*****=1", "*****=1"));
    // The name of a Job is not made of arguments, and it is needed to remove the Job.
    assert_eq!(found.metadata["job-name"], "hush.m.1");
    assert_eq!(
        plan.status.message,
        assessed("Failed", "failed (1) > failureLimit (0)")
            + ": \"Error Message: got *****\"; measured \"*****\", successCondition \"result != '*****'\""
    );
    let events = format!("{:?}", plan.events);
    assert!(!events.contains("hush"));
}

#[test]
fn a_secret_that_cannot_be_read_is_an_error_that_is_tried_again() {
    let web = json!({"provider": {"web": {"url": "http://x?t={{args.token}}"}}});
    let mut simulator = secret_run(web.clone());
    let plan = simulator.look();
    assert_eq!(simulator.status().phase, AnalysisPhase::Running);
    let last = simulator.metric("m").measurements[0].clone();
    assert_eq!(last.phase, AnalysisPhase::Error);
    assert_eq!(
        last.message,
        "Unable to resolve metric arguments: key 'api' does not exist in secret 'tokens'"
    );
    assert_eq!((last.started_at, last.finished_at), (Some(at(1_000).into()), Some(at(1_000).into())));
    simulator.now = plan.recheck_at.expect("tried again");
    assert_eq!(simulator.now.as_second(), 1_010);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    simulator.looks(5);
    assert_eq!((simulator.status().phase, simulator.metric("m").error), (AnalysisPhase::Successful, 1));

    // It does not last for ever.
    let mut simulator = secret_run(web);
    simulator.looks(20);
    assert_eq!(simulator.status().phase, AnalysisPhase::Error);
    assert_eq!(simulator.metric("m").consecutive_error, 5);
    assert!(simulator.status().completed_at.is_some());
}

#[test]
fn a_secret_that_cannot_be_read_holds_up_its_own_metric_alone() {
    let mut simulator = secret_run(json!({"provider": {"web": {"url": "{{args.token}}"}}}));
    let mut plain = simulator.run.spec.metrics[0].clone();
    plain.name = "plain".to_owned();
    plain.provider.web.as_mut().expect("a web metric").url = "http://x".to_owned();
    simulator.run.spec.metrics.push(plain);
    simulator.look();
    assert_eq!(simulator.metric("plain").phase, AnalysisPhase::Successful);
    assert_eq!((simulator.metric("m").phase, simulator.metric("m").error), (AnalysisPhase::Running, 1));
}

#[test]
fn a_job_under_way_is_not_lost_for_want_of_a_secret() {
    let job = json!({"provider": {"job": {"spec": {"template": {"x": "{{args.token}}"}}}}});
    let mut simulator = secret_run(job);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    simulator.script.insert("m".to_owned(), [measurement('R'), measurement('R'), measurement('S')].into());
    simulator.look();
    simulator.secrets.clear();
    simulator.pass(60);
    simulator.looks(5);
    assert_eq!(simulator.metric("m").error, 0);
    assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
}

#[test]
fn results_count_once() {
    let mut simulator = Simulator::new(one(json!({"interval": "1m"})), &[]);
    let plan = simulator.decide(&Secrets::new(), vec![]);
    let task = plan.tasks[0].clone();
    let result = task.result(measurement('F'), [("q".to_owned(), "up".to_owned())].into());
    let twice = simulator.decide(&Secrets::new(), vec![result.clone(), result.clone()]);
    assert_eq!(twice.status.metric_results[0].failed, 1);
    assert_eq!(twice.status.metric_results[0].metadata["q"], "up");
    simulator.run.spec.metrics[0].failure_limit = Some(5.into());
    let stored = simulator.decide(&Secrets::new(), vec![result.clone()]);
    simulator.store(&stored);
    // Somebody who did not hear that it was stored comes again.
    let again = simulator.decide(&Secrets::new(), vec![result]);
    assert!(!again.status_changed, "{again:?}");
    // The next one is another one.
    simulator.pass(61);
    assert_eq!(simulator.decide(&Secrets::new(), vec![]).tasks[0].number, 2);
}

#[test]
fn an_end_waits_for_what_was_to_be_stopped() {
    let metrics = json!([{"name": "a", "provider": {"job": {}}}, {"name": "b", "provider": {"job": {}}}]);
    let mut simulator = Simulator::new(run(json!({"metrics": metrics})), &[("a", "R"), ("b", "R")]);
    simulator.look();
    simulator.terminate();
    let tasks = simulator.decide(&Secrets::new(), vec![]).tasks;
    assert_eq!(tasks.len(), 2);
    let plan = simulator.decide(&Secrets::new(), vec![tasks[0].result(measurement('S'), [].into())]);
    assert_eq!((plan.status.phase, plan.recheck_at), (AnalysisPhase::Running, Some(simulator.now)));
    simulator.store(&plan);
    simulator.looks(5);
    assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
}

#[test]
fn the_newest_measurements_are_kept() {
    for (retention, kept) in [
        (json!([]), 10),
        (json!([{"metricName": "m", "limit": 3}]), 3),
        (json!([{"metricName": "*", "limit": 3}]), 3),
        (json!([{"metricName": "m", "limit": 3}, {"metricName": ".", "limit": 4}]), 4),
        (json!([{"metricName": "m", "limit": 0}]), 10),
        (json!([{"metricName": "m", "limit": -1}]), 10),
    ] {
        let spec = json!({"metrics": [{"interval": "1m", "count": 15}], "measurementRetention": retention});
        let mut simulator = Simulator::new(run(spec), &[]);
        simulator.looks(50);
        let metric = simulator.metric("m");
        assert_eq!((metric.count, metric.measurements.len()), (15, kept), "{retention}");
        let dropped: usize = simulator.garbage.iter().map(|garbage| garbage.measurements.len()).sum();
        assert_eq!(dropped, 15 - kept);
    }
}

#[test]
fn w68_the_status_stays_small() {
    let size = |simulator: &Simulator| serde_json::to_vec(&simulator.status()).expect("plain data").len();
    let long = |letter| Measurement {
        value: "é".repeat(50_000),
        message: "\u{1}".repeat(50_000),
        metadata: [("groups".to_owned(), "x".repeat(50_000))].into(),
        ..measurement(letter)
    };
    let spec = json!({
        "metrics": [{"interval": "1m", "failureLimit": -1, "consecutiveSuccessLimit": 1}],
        "measurementRetention": [{"metricName": "m", "limit": 100_000}],
    });
    for script in [measurement('F'), long('F')] {
        let mut simulator = Simulator::new(run(spec.clone()), &[]);
        for _ in 0..2_000 {
            simulator.script.insert("m".to_owned(), [script.clone()].into());
            let plan = simulator.look();
            assert!(size(&simulator) < 100 << 10, "{}", size(&simulator));
            simulator.now = plan.recheck_at.expect("goes on");
        }
        assert_eq!(simulator.metric("m").failed, 2_000);
    }
    // By default even the longest of measurements come to less.
    let mut simulator =
        Simulator::new(one(json!({"interval": "1m", "failureLimit": -1, "consecutiveSuccessLimit": 1})), &[]);
    for _ in 0..10_000 {
        simulator.script.insert("m".to_owned(), [measurement('F')].into());
        let plan = simulator.look();
        simulator.now = plan.recheck_at.expect("goes on");
    }
    assert!(size(&simulator) < 64 << 10, "{}", size(&simulator));
    assert_eq!((simulator.metric("m").failed, simulator.metric("m").measurements.len()), (10_000, 10));
    // Many metrics share the room.
    let metrics: Vec<Value> = (0..150).map(|index| json!({"name": format!("m{index}")})).collect();
    let mut simulator = Simulator::new(run(json!({"metrics": metrics})), &[]);
    for index in 0..150 {
        simulator.script.insert(format!("m{index}"), [long('S')].into());
    }
    simulator.looks(3);
    assert!(size(&simulator) < 100 << 10, "{}", size(&simulator));
    assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
}

#[test]
fn runs_are_kept_for_a_while() {
    let all = json!({"secondsAfterCompletion": 10, "secondsAfterSuccess": 20, "secondsAfterFailure": 30});
    for (letter, strategy, limit) in [
        ('S', all.clone(), Some(20)),
        ('F', all.clone(), Some(30)),
        ('E', all.clone(), Some(10)),
        ('I', all, Some(10)),
        ('S', json!({"secondsAfterFailure": 30}), None),
        ('E', json!({"secondsAfterFailure": 30}), None),
        ('F', json!({"secondsAfterCompletion": 0}), Some(0)),
        ('S', json!({}), None),
    ] {
        let spec = json!({"metrics": [{"consecutiveErrorLimit": 0}], "ttlStrategy": strategy});
        let mut simulator = Simulator::new(run(spec), &[("m", &letter.to_string())]);
        let plan = simulator.look();
        assert!(simulator.status().phase.is_terminal());
        let over_at = limit.map(|limit| at(1_000 + limit + 1));
        assert_eq!(plan.recheck_at, over_at, "{letter} {strategy}");
        let Some(over_at) = over_at else { continue };
        simulator.now = over_at - jiff::SignedDuration::from_nanos(1);
        let plan = simulator.look();
        assert_eq!((plan.delete, plan.recheck_at), (false, Some(over_at)));
        simulator.now = over_at;
        let plan = simulator.look();
        assert_eq!((plan.delete, plan.recheck_at, plan.status_changed), (true, None, false));
    }
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    let mut simulator = Simulator::new(one(json!({})), &[]);
    let metadata = json!({"name": "run", "deletionTimestamp": "2026-11-21T07:13:18Z"});
    simulator.run.metadata = serde_json::from_value(metadata).expect("metadata");
    let plan = simulator.look();
    assert_eq!((plan.status_changed, plan.recheck_at, simulator.tasks.len()), (false, None, 0));
}
