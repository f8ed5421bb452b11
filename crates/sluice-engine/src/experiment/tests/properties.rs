//! What holds for every Experiment, whatever its spec, its status, its pods, its runs and its crashes are.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::{Model, analysis, template};

#[derive(Clone, Debug)]
enum Happening {
    Look { dies_after: usize },
    Pods,
    Pass(i64),
    EndRun(usize, &'static str),
    DeleteRun(usize),
    DeleteSet(usize),
    DeleteService(usize),
    Resize(usize, i64),
    Terminate,
    Retry,
    Drop,
    Never(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let phases = prop::sample::select(vec!["Successful", "Failed", "Error", "Inconclusive", "Running"]);
    prop_oneof![
        8 => (0..4_usize).prop_map(|dies_after| Happening::Look { dies_after }),
        6 => Just(Happening::Pods),
        4 => (0..400_i64).prop_map(Happening::Pass),
        2 => (0..3_usize, phases).prop_map(|(index, phase)| Happening::EndRun(index, phase)),
        1 => (0..3_usize).prop_map(Happening::DeleteRun),
        1 => (0..3_usize).prop_map(Happening::DeleteSet),
        1 => (0..3_usize).prop_map(Happening::DeleteService),
        1 => (0..3_usize, -1..4_i64).prop_map(|(index, size)| Happening::Resize(index, size)),
        1 => Just(Happening::Terminate),
        1 => Just(Happening::Retry),
        1 => Just(Happening::Drop),
        1 => any::<bool>().prop_map(Happening::Never),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let templates = prop::collection::vec((0..4_i32, any::<bool>(), any::<bool>()), 0..3);
    let analyses = prop::collection::vec(any::<bool>(), 0..3);
    let duration = prop::sample::select(vec!["", "5s", "10m", "5", "-1s", "2540400h"]);
    let delay = prop::sample::select(vec![json!(null), json!(0), json!(5), json!(-7), json!(i32::MAX)]);
    let deadline = prop::sample::select(vec![json!(null), json!(0), json!(-5), json!(20), json!(i32::MAX)]);
    (templates, analyses, duration, delay, deadline).prop_map(|(templates, analyses, duration, delay, deadline)| {
        let templates = templates.into_iter().enumerate().map(|(index, (replicas, has_service, has_port))| {
            let mut one = template(&format!("t{index}"));
            one["replicas"] = json!(replicas - 1);
            if has_service {
                one["service"] = json!({});
            }
            if !has_port {
                one["template"]["spec"]["containers"][0]["ports"] = json!([]);
            }
            one
        });
        let analyses = analyses.into_iter().enumerate().map(|(index, is)| analysis(&format!("a{index}"), is));
        let mut spec = json!({
            "templates": templates.collect::<Vec<_>>(), "analyses": analyses.collect::<Vec<_>>(), "duration": duration,
        });
        if !delay.is_null() {
            spec["scaleDownDelaySeconds"] = delay;
        }
        if !deadline.is_null() {
            spec["progressDeadlineSeconds"] = deadline;
        }
        spec
    })
}

fn nth<T>(map: &std::collections::BTreeMap<String, T>, index: usize) -> Option<String> {
    map.keys().nth(index).cloned()
}

impl Model {
    fn happens(&mut self, happening: &Happening) {
        match happening {
            Happening::Look { dies_after } => {
                self.look_and_die_after(*dies_after);
            }
            Happening::Pods => {
                self.kubelet();
            }
            Happening::Pass(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Happening::EndRun(index, phase) => {
                if let Some(name) = nth(&self.runs, *index) {
                    self.end_run(&name, phase, "as it happens");
                }
            }
            Happening::DeleteRun(index) => {
                nth(&self.runs, *index).map(|name| self.runs.remove(&name));
            }
            Happening::DeleteSet(index) => {
                nth(&self.sets, *index).map(|name| self.sets.remove(&name));
            }
            Happening::DeleteService(index) => {
                nth(&self.services, *index).map(|name| self.services.remove(&name));
            }
            Happening::Resize(index, size) => {
                if let Some(name) = nth(&self.sets, *index) {
                    self.sets.get_mut(&name).expect("it is there")["spec"]["replicas"] =
                        (*size).max(0).into();
                }
            }
            Happening::Terminate => self.experiment.spec.terminate = true,
            Happening::Retry => self.experiment.status = None,
            Happening::Drop => {
                self.experiment.spec.templates.pop();
                self.experiment.spec.analyses.pop();
            }
            Happening::Never(is) => {
                self.never =
                    if *is { ["t0".to_owned()].into() } else { std::collections::BTreeSet::default() };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The model itself checks that deciding twice is the same, that only what is owned is written to, that no name
    /// is made twice and that every look that is asked for lies ahead.
    #[test]
    fn whatever_happens_it_comes_to_rest_and_once_told_to_it_ends(
        spec in spec(),
        happenings in prop::collection::vec(happening(), 0..30),
    ) {
        let mut model = Model::new(&spec);
        for happening in &happenings {
            model.happens(happening);
        }
        model.rest();
        model.experiment.spec.terminate = true;
        model.rest();
        prop_assert!(model.status().phase.is_terminal() || !model.status().conditions.iter().all(|c| c.type_ != "InvalidSpec"),
            "{} {}", model.phase(), model.parts());
        if model.status().phase.is_terminal() {
            let delay = i64::from(model.experiment.spec.scale_down_delay_seconds.unwrap_or(30));
            model.pass(delay + 2);
            for (name, set) in &model.sets {
                prop_assert_eq!(&set["spec"]["replicas"], 0, "{} has pods", name);
            }
            prop_assert!(model.services.is_empty(), "Services are left");
            prop_assert!(model.own_runs().iter().all(|run| !run.is_fresh()), "runs go on");
            prop_assert!(model.status().analysis_runs.iter().all(|run| run.phase.is_terminal()), "{}", model.parts());
            prop_assert!(model.decide().recheck_at.is_none(), "it looks again for nothing");
        }
    }

    /// What stands in a status may be anybody's.
    #[test]
    fn no_status_is_too_odd(
        spec in spec(),
        phase in prop::sample::select(vec!["", "Pending", "Running", "Successful", "Failed"]),
        codes in prop::collection::vec(prop::sample::select(vec!["", "Progressing", "Running", "Successful", "Error"]), 0..4),
        mark in prop::sample::select(vec!["", "{", "[]", r#"{"t0":-9223372036854775808}"#, r#"{"t0":9223372036854775807}"#]),
        second in prop::sample::select(vec!["0001-01-01T00:00:00Z", "9999-12-30T22:00:00Z", "1970-01-12T13:46:40Z"]),
        count in any::<i32>(),
    ) {
        let mut model = Model::new(&spec);
        let templates: Vec<Value> = codes.iter().enumerate().map(|(index, code)| json!({
            "name": format!("t{}", index % 3), "status": code, "collisionCount": count, "replicas": count,
            "updatedReplicas": 0, "readyReplicas": 0, "availableReplicas": count, "lastTransitionTime": second,
        })).collect();
        let status = json!({
            "phase": phase, "availableAt": second, "templateStatuses": templates,
            "analysisRuns": [{"name": "a0", "analysisRun": "nobody", "phase": phase}, {"name": "zz", "analysisRun": "", "phase": ""}],
            "conditions": [{"type": "MostAvailable", "status": "True", "message": mark}],
        });
        model.experiment.status = serde_json::from_value(status).ok();
        model.taken.insert("t1".into(), 1);
        model.decide();
        model.taken.clear();
        model.rest();
        model.experiment.spec.terminate = true;
        model.rest();
    }
}
