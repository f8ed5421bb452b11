//! Time, limits of size, results and leftovers, one rule at a time.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, Measurement};

use super::simulator::{Simulator, at, measurement, one, run};
use crate::measure::{RunWorld, Secrets, TaskKind, decide_run};

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
fn a_measurement_that_ends_in_the_future_does_not_stop_the_clock() {
    let script = Measurement { finished_at: Some(at(5_000).into()), ..measurement('S') };
    let mut simulator = Simulator::new(one(json!({"interval": "1m"})), &[]);
    simulator.script.insert("m".to_owned(), [script].into());
    simulator.look();
    assert_eq!(simulator.metric("m").measurements[0].finished_at, Some(at(1_000).into()));
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
            "; measured 0.9, successCondition \"result >= 0.95\", measurement 1",
        ),
        (prometheus("a", "b"), 'F', "0.9", failed, "; measured 0.9, failureCondition \"b\", measurement 1"),
        (
            prometheus("a", "b"),
            'I',
            "[0.9]",
            inconclusive,
            "; measured [0.9], successCondition \"a\", failureCondition \"b\", measurement 1",
        ),
        (prometheus("a", "b"), 'F', "", failed, ""),
        (kayenta, 'F', "12", failed, "; measured 12, threshold pass 90, marginal 75, measurement 1"),
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
    let again = simulator.decide(&Secrets::new(), vec![result.clone()]);
    assert!(!again.status_changed, "{again:?}");
    // The next one is another one.
    simulator.pass(61);
    assert_eq!(simulator.decide(&Secrets::new(), vec![]).tasks[0].number, 2);
    let again = simulator.decide(&Secrets::new(), vec![result]);
    assert_eq!((again.status_changed, again.recheck_at), (false, Some(simulator.now)));
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
    let endless = json!({"interval": "1m", "failureLimit": -1, "consecutiveSuccessLimit": 1});
    let greedy = json!([{"metricName": "m", "limit": 100_000}]);
    for (retention, most) in [(greedy, 100 << 10), (json!([]), 64 << 10)] {
        let spec = json!({"metrics": [endless], "measurementRetention": retention});
        let mut simulator = Simulator::new(run(spec), &[("m", "F")]);
        simulator.look();
        // As somebody left it who kept everything.
        let mut status = simulator.status();
        let result = &mut status.metric_results[0];
        result.measurements = vec![result.measurements[0].clone(); 10_000];
        (result.failed, result.count) = (10_000, 10_000);
        simulator.run.status = Some(status);
        for script in [measurement('F'), long('F')] {
            for _ in 0..20 {
                simulator.pass(61);
                simulator.script.insert("m".to_owned(), [script.clone()].into());
                simulator.look();
                assert!(size(&simulator) < 100 << 10, "{}", size(&simulator));
            }
            if script.value.is_empty() {
                assert!(size(&simulator) < most, "{}", size(&simulator));
            }
        }
        let metric = simulator.metric("m");
        assert_eq!((metric.failed, metric.measurements.is_empty()), (10_040, false));
    }
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

#[test]
fn measurements_are_counted_by_phase() {
    let tolerant = json!({
        "interval": "1m", "failureLimit": -1, "consecutiveSuccessLimit": 9, "inconclusiveLimit": 9,
        "consecutiveErrorLimit": 9,
    });
    // letters => count, successful, failed, inconclusive, error, errors in a row, successes in a row
    for (letters, expected) in [
        ("SS", [2, 2, 0, 0, 0, 0, 2]),
        ("SSF", [3, 2, 1, 0, 0, 0, 0]),
        ("SSI", [3, 2, 0, 1, 0, 0, 0]),
        ("SSE", [2, 2, 0, 0, 1, 1, 0]),
        ("SSEE", [2, 2, 0, 0, 2, 2, 0]),
        ("EES", [1, 1, 0, 0, 2, 0, 1]),
        ("EEF", [1, 0, 1, 0, 2, 0, 0]),
        ("EEI", [1, 0, 0, 1, 2, 0, 0]),
        ("SRS", [2, 2, 0, 0, 0, 0, 2]),
        ("R", [0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut simulator = Simulator::new(one(tolerant.clone()), &[("m", letters)]);
        simulator.looks(letters.len());
        let m = simulator.metric("m");
        let found = [
            m.count,
            m.successful,
            m.failed,
            m.inconclusive,
            m.error,
            m.consecutive_error,
            m.consecutive_success,
        ];
        assert_eq!(found, expected, "{letters}");
    }
}

#[test]
fn a_measurement_is_due_only_after_its_time() {
    let mut simulator = Simulator::new(one(json!({"interval": "1m"})), &[]);
    let plan = simulator.look();
    assert_eq!(plan.recheck_at, Some(at(1_060) + jiff::SignedDuration::from_nanos(1)));
    simulator.now = at(1_060);
    assert!(simulator.decide(&Secrets::new(), vec![]).tasks.is_empty());
}
