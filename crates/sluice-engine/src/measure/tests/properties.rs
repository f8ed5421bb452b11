//! What holds for every run, whatever its metrics, measurements, crashes and leftovers are.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, AnalysisRun, AnalysisRunStatus, Measurement, MetricResult};

use super::simulator::{Simulator, at, measurement, run};
use crate::measure::{RunPlan, Secrets, Task, TaskKind, TaskResult};

/// What a world does that a decision does not know of.
#[derive(Clone, Debug)]
struct Story {
    run: AnalysisRun,
    /// What the measurements of each metric come to, over and over; a small letter takes two looks.
    letters: Vec<String>,
    /// The look before which the run is told to end.
    terminate_before: usize,
    /// The look from which on the Secret can be read.
    secret_from: usize,
}

fn metric(index: usize) -> impl Strategy<Value = Value> {
    let interval = prop::sample::select(vec!["", "0s", "1s", "10s", "1m"]);
    let delay = prop::sample::select(vec!["", "", "5s", "2m"]);
    let limits = (-1..3_i32, 0..2_i32, 0..3_i32, 0..3_i32, 0..5_i32);
    let warm_up = prop::sample::select(vec!["", "", "15s", "3m"]);
    let is_dependency = if index == 0 { Just(false).boxed() } else { any::<bool>().boxed() };
    (interval, delay, limits, (any::<bool>(), any::<bool>()), warm_up, is_dependency).prop_map(
        move |(interval, delay, limits, (is_job, has_secret), warm_up, is_dependency)| {
            let (failures, inconclusive, errors, successes, count) = limits;
            // As validation wants it.
            let successes = if failures < 0 { successes.max(1) } else { successes };
            let least = failures.max(0) + successes.max(inconclusive);
            let count = if interval.is_empty() {
                0
            } else if count > 0 {
                count.max(least)
            } else {
                0
            };
            let text = if has_secret { "{{args.token}}" } else { "x" };
            let provider =
                if is_job { json!({"job": {"spec": {"x": text}}}) } else { json!({"web": {"url": text}}) };
            if is_dependency {
                return json!({
                    "name": format!("m{index}"), "interval": interval, "initialDelay": delay,
                    "successCondition": "true", "provider": provider, "origin": "dependency",
                    "warmUp": warm_up,
                });
            }
            json!({
                "warmUp": warm_up,
                "name": format!("m{index}"), "interval": interval, "initialDelay": delay, "count": count,
                "failureLimit": failures, "inconclusiveLimit": inconclusive, "consecutiveErrorLimit": errors,
                "consecutiveSuccessLimit": successes, "provider": provider,
            })
        },
    )
}

fn story() -> impl Strategy<Value = Story> {
    let metrics = (1..4_usize).prop_flat_map(|count| (0..count).map(metric).collect::<Vec<_>>());
    let letters = prop::collection::vec("[SSSFIEsfie]{1,6}", 3);
    let dry_run = prop::sample::select(vec![
        json!([]),
        json!([]),
        json!([{"metricName": "m0"}]),
        json!([{"metricName": "*"}]),
    ]);
    (metrics, dry_run, letters, 0..30_usize, 0..4_usize).prop_map(
        |(metrics, dry_run, letters, terminate_before, secret_from)| {
            let args = json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]);
            let spec = json!({"metrics": metrics, "dryRun": dry_run, "args": args});
            Story { run: run(spec), letters, terminate_before, secret_from }
        },
    )
}

impl Story {
    /// Answers by the number of the measurement, as a Job does that is found again.
    fn answer(&self, task: &Task) -> TaskResult {
        let index: usize = task.metric.name[1..].parse().expect("m and a number");
        let letters = self.letters[index].as_bytes();
        let letter = char::from(letters[(task.number - 1) as usize % letters.len()]);
        let letter = match task.kind {
            TaskKind::Run if letter.is_ascii_lowercase() => 'R',
            TaskKind::Run | TaskKind::Resume => letter.to_ascii_uppercase(),
            TaskKind::Terminate => 'I',
        };
        let begun = task.measurement.clone().unwrap_or_default();
        task.result(Measurement { started_at: begun.started_at, ..measurement(letter) }, [].into())
    }

    /// One look, of which the first `crashes` attempts are lost with all that was in memory.
    fn look(
        &self,
        simulator: &mut Simulator,
        index: usize,
        crashes: usize,
        outage: SignedDuration,
    ) -> RunPlan {
        if index == self.terminate_before {
            simulator.terminate();
        }
        if index == self.secret_from {
            let key = sluice_lang::template::SecretKey { name: "n".to_owned(), key: "k".to_owned() };
            simulator.secrets.insert(key, Ok(sluice_lang::template::SecretValue::new("hush")));
        }
        for attempt in 0..=crashes {
            let mut secrets = Secrets::new();
            let mut plan = simulator.decide(&secrets, vec![]);
            if !plan.secrets.is_empty() {
                secrets = simulator.read(&plan);
                plan = simulator.decide(&secrets, vec![]);
            }
            if !plan.tasks.is_empty() {
                let results = plan.tasks.iter().map(|task| self.answer(task)).collect();
                plan = simulator.decide(&secrets, results);
            }
            assert!(plan.tasks.is_empty() && plan.secrets.is_empty());
            if attempt == crashes {
                simulator.store(&plan);
                return plan;
            }
            simulator.now += outage;
        }
        unreachable!("the last attempt returns")
    }

    /// Plays the story until the run is over.
    fn play(
        &self,
        crashes: &[usize],
        outage: SignedDuration,
        mut after: impl FnMut(&Simulator, &AnalysisRunStatus, &RunPlan),
    ) -> Simulator {
        let mut simulator = Simulator::new(self.run.clone(), &[]);
        for index in 0..60 {
            let before = simulator.status();
            let crashes = if crashes.is_empty() { 0 } else { crashes[index % crashes.len()] };
            let plan = self.look(&mut simulator, index, crashes, outage);
            after(&simulator, &before, &plan);
            match plan.recheck_at {
                Some(recheck_at) if !plan.status.phase.is_terminal() => {
                    simulator.now = simulator.now.max(recheck_at);
                }
                // Somebody may yet tell it to end.
                _ if !plan.status.phase.is_terminal() => simulator.pass(1),
                _ => break,
            }
        }
        simulator
    }
}

fn counts(result: &MetricResult) -> [i32; 5] {
    [result.count, result.successful, result.failed, result.inconclusive, result.error]
}

fn is_quiet(simulator: &Simulator, now: Timestamp) -> bool {
    let plan = Simulator { now, ..copy(simulator) }.decide(&Secrets::new(), vec![]);
    plan.tasks.is_empty()
        && plan.secrets.is_empty()
        && !plan.status_changed
        && plan.events.is_empty()
        && !plan.delete
}

fn copy(simulator: &Simulator) -> Simulator {
    Simulator { now: simulator.now, ..Simulator::new(simulator.run.clone(), &[]) }
}

fn any_measurement() -> impl Strategy<Value = Measurement> {
    let time = || prop::option::of((0..3_000_i64).prop_map(|second| at(second).into()));
    let phase = prop::sample::select(AnalysisPhase::ALL.to_vec());
    (phase, time(), time(), time()).prop_map(|(phase, started_at, finished_at, resume_at)| Measurement {
        phase,
        started_at,
        finished_at,
        resume_at,
        ..Measurement::default()
    })
}

fn any_result(index: usize) -> impl Strategy<Value = MetricResult> {
    let number = || prop::sample::select(vec![-1, 0, 1, 2, 5, i32::MAX, i32::MIN]);
    let phase = prop::sample::select(AnalysisPhase::ALL.to_vec());
    let numbers = (number(), number(), number(), number(), number(), number());
    (phase, numbers, prop::collection::vec(any_measurement(), 0..3)).prop_map(
        move |(phase, numbers, measurements)| {
            let (count, failed, inconclusive, error, consecutive_error, consecutive_success) = numbers;
            MetricResult {
                name: format!("m{index}"),
                phase,
                measurements,
                count,
                failed,
                inconclusive,
                error,
                consecutive_error,
                consecutive_success,
                ..MetricResult::default()
            }
        },
    )
}

fn any_status() -> impl Strategy<Value = AnalysisRunStatus> {
    let phase = prop::sample::select(AnalysisPhase::ALL.to_vec());
    let started_at = prop::option::of((0..3_000_i64).prop_map(|second| at(second).into()));
    let results = (0..4_usize).prop_flat_map(|count| (0..count).map(any_result).collect::<Vec<_>>());
    (phase, started_at, results).prop_map(|(phase, started_at, metric_results)| AnalysisRunStatus {
        phase,
        started_at,
        metric_results,
        ..AnalysisRunStatus::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing is due before the time that a plan names, and something is at that time.
    #[test]
    fn the_next_look_is_neither_early_nor_late(story in story()) {
        story.play(&[], SignedDuration::ZERO, |simulator, _, plan| {
            let now = simulator.now;
            let late = plan.recheck_at.map_or(now + SignedDuration::from_hours(1), |recheck_at| recheck_at - SignedDuration::from_nanos(1));
            for time in [now, late] {
                assert!(time < now || plan.recheck_at == Some(now) || is_quiet(simulator, time), "{plan:?}");
            }
            if let Some(recheck_at) = plan.recheck_at {
                assert!(recheck_at >= now && !is_quiet(simulator, recheck_at), "{plan:?}");
            }
        });
    }

    /// Counts only grow, and what is over stays as it is.
    #[test]
    fn nothing_is_taken_back(story in story()) {
        let simulator = story.play(&[], SignedDuration::ZERO, |simulator, before, _| {
            for old in &before.metric_results {
                let new = simulator.metric(&old.name);
                assert!(counts(old).iter().zip(counts(&new)).all(|(old, new)| *old <= new), "{old:?} {new:?}");
                assert_eq!(new.count, new.successful + new.failed + new.inconclusive);
                assert!(!old.phase.is_terminal() || *old == new, "{old:?} {new:?}");
            }
        });
        if simulator.status().phase.is_terminal() {
            for seconds in [0, 1, 1_000_000] {
                prop_assert!(is_quiet(&simulator, simulator.now + SignedDuration::from_secs(seconds)));
            }
            let ends = simulator.events.iter().filter(|event| event.reason.starts_with("AnalysisRun")).count();
            prop_assert_eq!(ends, 1);
        }
    }

    /// Whoever dies between looking and writing, as often as may be, is followed by somebody who comes to the
    /// same end.
    #[test]
    fn crashes_change_nothing(story in story(), crashes in prop::collection::vec(0..3_usize, 1..5)) {
        let whole = story.play(&[], SignedDuration::ZERO, |_, _, _| {});
        let broken = story.play(&crashes, SignedDuration::ZERO, |_, _, _| {});
        prop_assert_eq!(whole.status(), broken.status());
    }

    /// Not even if it takes a while, as far as one metric's counts go.
    #[test]
    fn outages_change_no_counts(mut story in story(), crashes in prop::collection::vec(0..3_usize, 1..5)) {
        story.run.spec.metrics.truncate(1);
        story.run.spec.dry_run.clear();
        // How much of it is judged is a matter of time.
        story.run.spec.metrics[0].warm_up.clear();
        story.terminate_before = usize::MAX;
        let whole = story.play(&[], SignedDuration::ZERO, |_, _, _| {});
        let broken = story.play(&crashes, SignedDuration::from_secs(7), |_, _, _| {});
        prop_assert_eq!(whole.status().phase, broken.status().phase);
        prop_assert_eq!(counts(&whole.metric("m0")), counts(&broken.metric("m0")));
    }

    /// The order in which metrics are written, and so counted, decides nothing.
    #[test]
    fn the_order_of_metrics_decides_nothing(story in story()) {
        let mut turned = story.clone();
        turned.run.spec.metrics.reverse();
        let (one, other) = (story.play(&[], SignedDuration::ZERO, |_, _, _| {}), turned.play(&[], SignedDuration::ZERO, |_, _, _| {}));
        prop_assert_eq!(one.status().phase, other.status().phase);
        for metric in &story.run.spec.metrics {
            prop_assert_eq!(one.metric(&metric.name), other.metric(&metric.name));
        }
    }

    /// Whatever somebody left in the status, a look ends and comes to rest.
    #[test]
    fn any_status_is_taken_up(mut story in story(), status in any_status()) {
        story.run.status = Some(status);
        let mut simulator = Simulator::new(story.run.clone(), &[]);
        for index in 0..6 {
            story.look(&mut simulator, index, 0, SignedDuration::ZERO);
        }
        prop_assert!(is_quiet(&simulator, simulator.now));
    }
}
