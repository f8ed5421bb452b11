//! Stories of experiment steps: when one is made, what its outcome does, which share it gets.

use sluice_api::Experiment;
use sluice_api::analysis::{AnalysisPhase, AnalysisTemplateSpec};
use sluice_api::rollout::PauseReason;
use sluice_api::steps::{AnalysisTemplateRef, ExperimentStep, RolloutAnalysis};

use super::*;
use crate::analysis::Analysis;
use crate::trial::{Serving, Setup, Trial};

/// A step that runs one pod of each version for a while.
pub(super) fn step(more: &Value) -> Step {
    let mut block = json!({
        "templates": [{"name": "base", "specRef": "stable"}, {"name": "cand", "specRef": "canary"}],
        "duration": "1h",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        block[key] = value.clone();
    }
    let block: ExperimentStep = serde_json::from_value(block).expect("a step");
    let analysis = |given: &sluice_api::steps::ExperimentAnalysisRef| {
        let template_name = given.template_name.clone();
        let templates = vec![AnalysisTemplateRef { template_name, cluster_scope: false }];
        let block = RolloutAnalysis { templates, args: given.args.clone(), ..RolloutAnalysis::default() };
        Arc::new(Analysis { block, problem: None })
    };
    let analyses = block.analyses.iter().map(analysis).collect();
    Step::Experiment(Arc::new(Setup { block, analyses }))
}

pub(super) fn carry_out(story: &mut Story, action: &Action) {
    let now = story.now;
    let trials = &mut story.world.trials;
    let find = |trials: &mut Vec<Arc<Trial>>, name: &str| {
        trials.iter().position(|trial| trial.name == name).expect("an Experiment that exists")
    };
    match action {
        Action::CreateExperiment { object, .. } => {
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("trial-{}", trials.len()));
            object["metadata"]["creationTimestamp"] = json!(now.to_string());
            let experiment: Experiment = serde_json::from_value(object).expect("an Experiment");
            trials.push(Arc::new(Trial::of(&experiment)));
        }
        Action::TerminateExperiment { name, .. } => {
            let index = find(trials, name);
            Arc::make_mut(&mut trials[index]).is_terminating = true;
        }
        Action::DeleteExperiment { name, .. } => {
            let index = find(trials, name);
            trials.remove(index);
        }
        other => panic!("not about Experiments: {other:?}"),
    }
}

impl Story {
    fn phase_of_trial(&mut self, phase: AnalysisPhase, message: &str) {
        let trial = Arc::make_mut(self.world.trials.last_mut().expect("an Experiment"));
        trial.phase = phase;
        trial.message = message.into();
    }

    fn serving(&mut self, names: &[&str]) {
        let trial = Arc::make_mut(self.world.trials.last_mut().expect("an Experiment"));
        let serving = |name: &&str| Serving {
            template: (*name).into(),
            service: format!("{}-{name}", trial.name),
            hash: format!("hash-of-{name}"),
        };
        trial.serving = names.iter().map(serving).collect();
    }

    /// The Experiments without the common beginning of their names, with how they stand.
    fn trials(&self) -> String {
        let all = self.world.trials.iter().map(|trial| {
            let name = trial.name.splitn(3, '-').nth(2).unwrap_or_default();
            let phase = if trial.phase == AnalysisPhase::Unset { "-" } else { trial.phase.as_str() };
            format!("{name}:{phase}{}", if trial.is_terminating { " ending" } else { "" })
        });
        all.collect::<Vec<_>>().join(", ")
    }

    fn current(&self) -> &str {
        &self.world.rollout.status.canary.current_experiment
    }
}

/// Five healthy pods, and an experiment between 20 and 60 percent.
fn five(more: &Value) -> Story {
    let mut story =
        Story::new(5, &[json!({"setWeight": 20}), json!({"pause": {}}), json!({"setWeight": 60})]);
    story.canary().steps[1] = step(more);
    story.settle();
    story.image("2");
    story.settle();
    story
}

#[test]
fn a_step_waits_for_its_experiment_and_goes_on_when_it_passes() {
    let mut story = five(&json!({}));
    assert_eq!(story.trials(), "2-1:-");
    assert_eq!(story.current(), story.world.trials[0].name);
    assert!(story.phase().contains("Pending, wanted Successful"), "{}", story.phase());
    story.phase_of_trial(AnalysisPhase::Running, "");
    story.settle();
    assert_eq!((story.trials().as_str(), story.sizes().as_str()), ("2-1:Running", "1:4/4 2:1/1"));
    assert!(story.phase().contains("Running, wanted Successful"), "{}", story.phase());
    story.phase_of_trial(AnalysisPhase::Successful, "");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str(), story.current()), ("2:5/5", "Healthy", ""));
}

/// The template `checks`, of which a metric goes on until somebody ends it.
fn with_template(story: &mut Story) {
    let metric = json!({"name": "errors", "interval": "1m", "provider": {"job": {"spec": {}}}});
    let template: AnalysisTemplateSpec =
        serde_json::from_value(json!({"metrics": [metric]})).expect("a template");
    let reference = AnalysisTemplateRef { template_name: "checks".into(), cluster_scope: false };
    story.world.analysis.templates.insert(reference, Arc::new(template));
}

#[test]
fn what_could_never_be_measured_is_said_before_it_begins() {
    let field = "spec.strategy.canary.steps[1].experiment.analyses[0].templateName";
    for (name, is_required, problem) in [
        ("nope", false, "AnalysisTemplate 'nope' not found"),
        ("checks", true, "AnalysisTemplate checks has metric errors which runs indefinitely"),
        ("checks", false, ""),
    ] {
        let analyses = json!([{"name": "a", "templateName": name, "requiredForCompletion": is_required}]);
        let mut story = Story::new(5, &[json!({"setWeight": 20}), json!({"pause": {}})]);
        with_template(&mut story);
        story.settle();
        story.canary().steps[1] = step(&json!({"analyses": analyses}));
        story.image("2");
        story.settle();
        if problem.is_empty() {
            assert_eq!(story.trials(), "2-1:-");
        } else {
            assert!(story.phase().contains(field) && story.phase().contains(problem), "{}", story.phase());
            let told = story.events.iter().filter(|event| event.starts_with("InvalidSpec: "));
            assert_eq!(told.count(), 1, "said once: {:?}", story.events);
            assert_eq!(story.trials(), "");
        }
    }
}

#[test]
fn the_object_is_what_the_step_asks_for() {
    let more = json!({
        "duration": "30m",
        "scaleDownDelaySeconds": 7,
        "templates": [
            {"name": "base", "specRef": "stable", "replicas": 2},
            {"name": "cand", "specRef": "canary", "weight": 5, "metadata": {"labels": {"side": "b"}}},
        ],
        "analyses": [{"name": "check", "templateName": "checks", "args": [
            {"name": "old", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "ours", "value": "{{templates.cand.podTemplateHash}}"},
        ]}],
    });
    let mut story = Story::new(5, &[json!({"pause": {}})]);
    story.canary().steps[0] = step(&more);
    with_template(&mut story);
    story.settle();
    let stable = story.world.rollout.status.stable_rs.clone();
    story.image("2");
    let mut made = None;
    for _ in 0..20 {
        story.see();
        let plan = decide(&story.world, story.now);
        let create = plan.writes.iter().find_map(|write| match &write.action {
            Action::CreateExperiment { name, object, pods_of } => {
                Some((name.clone(), object.clone(), pods_of.clone()))
            }
            _ => None,
        });
        if let Some(create) = create {
            made = Some(create);
            break;
        }
        story.look();
    }
    let (name, object, pods_of) = made.unwrap_or_else(|| panic!("no Experiment: {}", story.phase()));
    let hash = story.world.rollout.status.current_pod_hash.clone();
    assert_eq!(name, format!("web-{hash}-2-0"));
    assert_eq!(pods_of, [format!("web-{stable}"), format!("web-{hash}")]);
    assert_eq!(object["metadata"]["labels"], json!({"app": "web", "rollouts-pod-template-hash": hash}));
    assert_eq!(object["metadata"]["annotations"], json!({"rollout.argoproj.io/revision": "2"}));
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u1");
    let spec = &object["spec"];
    assert_eq!((&spec["duration"], &spec["progressDeadlineSeconds"]), (&json!("30m"), &json!(600)));
    assert_eq!(spec["scaleDownDelaySeconds"], 7);
    assert_eq!(spec["templates"][0]["replicas"], 2);
    assert_eq!(spec["templates"][0].get("service"), None, "nobody asked for one");
    assert_eq!(spec["templates"][1]["service"], json!({}), "a share comes through a Service");
    assert_eq!(
        spec["analyses"],
        json!([{"name": "check", "templateName": "checks", "args": [
            {"name": "old", "value": stable}, {"name": "ours", "value": "{{templates.cand.podTemplateHash}}"},
        ]}])
    );
}

#[test]
fn a_failed_experiment_aborts_and_says_why() {
    for phase in [AnalysisPhase::Failed, AnalysisPhase::Error] {
        let mut story = five(&json!({}));
        story.phase_of_trial(phase, "Template 'cand' exceeded its progressDeadlineSeconds (600)");
        story.settle();
        assert_eq!(story.sizes(), "1:5/5");
        let wanted = "Experiment analysis phase is error/failed: Template 'cand' exceeded";
        assert!(story.phase().contains(wanted), "{}", story.phase());
        assert_eq!(story.current(), "");
        // A retry gets another one, under another name.
        story.rollout().status.abort = false;
        story.settle();
        assert_eq!(story.trials(), format!("2-1:{}, 2-1-1:-", phase.as_str()));
    }
}

#[test]
fn an_inconclusive_experiment_waits_for_a_person_who_gets_another_one() {
    let mut story = five(&json!({}));
    story.phase_of_trial(AnalysisPhase::Inconclusive, "too little traffic");
    story.settle();
    let pause = PauseReason::InconclusiveExperiment;
    assert_eq!(story.world.rollout.status.pause_conditions[0].reason, pause);
    assert!(story.phase().starts_with("Paused InconclusiveExperiment"), "{}", story.phase());
    story.after(60);
    story.settle();
    assert_eq!(story.trials(), "2-1:Inconclusive", "nothing begins in the pause");
    resume(&mut story);
    story.settle();
    assert_eq!(story.trials(), "2-1:Inconclusive, 2-1-1:-");
}

#[test]
fn abort_promotion_and_a_new_version_end_it() {
    type Act = fn(&mut Story);
    let acts: [(&str, Act); 3] = [
        ("abort", |story| story.rollout().status.abort = true),
        ("promote full", |story| story.rollout().status.promote_full = true),
        ("a new version", |story| story.image("3")),
    ];
    for (name, act) in acts {
        let mut story = five(&json!({}));
        story.phase_of_trial(AnalysisPhase::Running, "");
        story.settle();
        act(&mut story);
        story.settle();
        let first = Arc::clone(&story.world.trials[0]);
        assert!(first.is_terminating, "{name}: {}", story.trials());
        assert_ne!(story.current(), first.name, "{name}");
    }
}

#[test]
fn a_crash_before_the_status_was_written_makes_no_second_one() {
    let mut story = five(&json!({}));
    story.rollout().status.canary.current_experiment.clear();
    story.settle();
    assert_eq!(story.trials(), "2-1:-");
    assert_eq!(story.current(), story.world.trials[0].name);
    // One that runs something else is not the one that the step asks for.
    story.canary().steps[1] = step(&json!({"duration": "2h"}));
    story.rollout().status.canary.current_experiment.clear();
    story.settle();
    assert_eq!(story.trials(), "2-1:- ending, 2-1-1:-");
}

#[test]
fn s49_a_failed_experiment_aborts_although_a_person_has_paused() {
    let mut story = five(&json!({}));
    story.spec().is_paused = true;
    story.settle();
    story.phase_of_trial(AnalysisPhase::Failed, "");
    story.settle();
    assert!(story.world.rollout.status.abort);
}

#[test]
fn what_has_ended_is_kept_within_limits() {
    let mut story = five(&json!({}));
    story.spec().run_limits.unsuccessful = 2;
    for _ in 0..5 {
        story.phase_of_trial(AnalysisPhase::Failed, "");
        story.settle();
        story.after(10);
        story.rollout().status.abort = false;
        story.settle();
    }
    // The last word about the version stays beside those that the limits keep.
    assert_eq!(story.trials(), "2-1-2:Failed, 2-1-3:Failed, 2-1:Failed, 2-1-1:-");
}

fn weighted() -> Story {
    let mut story =
        Story::routed(10, &[json!({"setWeight": 20}), json!({"pause": {}}), json!({"setWeight": 60})]);
    let templates = json!([
        {"name": "base", "specRef": "stable", "weight": 5}, {"name": "cand", "specRef": "canary", "weight": 10},
    ]);
    story.canary().steps[1] = step(&json!({"templates": templates}));
    story.image("2");
    for _ in 0..3 {
        story.settle();
        story.after(6);
    }
    story
}

impl Story {
    fn shares(&self) -> Vec<(String, i64)> {
        let routes = &self.router.as_ref().expect("a router").routes;
        routes.extra.iter().map(|extra| (extra.hash.clone(), extra.weight)).collect()
    }

    /// The recorded weights of stable, canary and experiments.
    fn recorded(&self) -> (i32, i32, Vec<i32>) {
        let weights = self.world.rollout.status.canary.weights.clone().expect("weights");
        (
            weights.stable.weight,
            weights.canary.weight,
            weights.additional.iter().map(|one| one.weight).collect(),
        )
    }
}

#[test]
fn w16_an_experiment_gets_its_share_while_its_pods_answer() {
    let mut story = weighted();
    assert_eq!((story.trials().as_str(), story.shares()), ("2-1:-", vec![]));
    // Pending: pods start.
    story.phase_of_trial(AnalysisPhase::Pending, "");
    story.serving(&["base"]);
    story.settle();
    assert_eq!(story.shares(), vec![], "nothing before it runs");
    story.phase_of_trial(AnalysisPhase::Running, "");
    story.settle();
    assert_eq!(story.shares(), vec![("hash-of-base".into(), 5)], "only what has pods that answer");
    let told = "Running, and no share for cand: no Service leads to ready pods of it";
    assert!(story.phase().contains(told), "{}", story.phase());
    story.serving(&["base", "cand"]);
    story.settle();
    assert_eq!(story.shares(), vec![("hash-of-base".into(), 5), ("hash-of-cand".into(), 10)]);
    assert_eq!(story.recorded(), (65, 20, vec![5, 10]));
    // Another number of pods changes nothing.
    let name = story.current().to_owned();
    story.spec().replicas = Some(20);
    story.settle();
    assert_eq!((story.current(), story.trials().as_str()), (name.as_str(), "2-1:Running"));
    // Its end gives the share back before the step after it.
    story.phase_of_trial(AnalysisPhase::Successful, "");
    story.settle();
    assert_eq!(story.shares(), vec![]);
    for _ in 0..4 {
        story.after(40);
        story.settle();
    }
    assert_eq!(story.phase(), "Healthy");
    assert_eq!(story.recorded(), (100, 0, vec![]));
}

#[test]
fn an_abort_takes_the_shares_away_with_the_weight() {
    let mut story = weighted();
    story.phase_of_trial(AnalysisPhase::Running, "");
    story.serving(&["base", "cand"]);
    story.settle();
    story.rollout().status.abort = true;
    story.look();
    let routes = &story.router.as_ref().expect("a router").routes;
    assert_eq!((routes.weight, routes.extra.len()), (0, 0), "in one write");
}
