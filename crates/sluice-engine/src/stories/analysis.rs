//! Stories of analysis: when runs are made, what their outcomes do, and what is cleared away.

use sluice_api::analysis::{AnalysisPhase, AnalysisTemplateSpec};
use sluice_api::gates::OnFailure;
use sluice_api::rollout::PauseReason;
use sluice_api::steps::{AnalysisTemplateRef, RolloutAnalysis};

use super::*;
use crate::analysis::{Analysis, Run, run};
use crate::measure::Position;
use crate::world::Background;

fn reference(name: &str) -> AnalysisTemplateRef {
    AnalysisTemplateRef { template_name: name.into(), cluster_scope: false }
}

/// An analysis by one template.
pub(super) fn of(template: &str) -> Arc<Analysis> {
    let block = RolloutAnalysis { templates: vec![reference(template)], ..RolloutAnalysis::default() };
    Arc::new(Analysis { block, problem: None })
}

pub(super) fn carry_out(story: &mut Story, action: &Action) {
    let now = story.now;
    let runs = &mut story.world.analysis.runs;
    let find = |runs: &mut Vec<Arc<Run>>, name: &str| {
        runs.iter().position(|run| run.name == name).expect("a run that exists")
    };
    match action {
        Action::CreateRun { object, .. } => {
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("run-{}", runs.len()));
            object["metadata"]["creationTimestamp"] = json!(now.to_string());
            let owned = run::read(object).expect("a run that can be read");
            runs.push(owned.run);
        }
        Action::PlaceRun { name, annotations, .. } => {
            let index = find(runs, name);
            Arc::make_mut(&mut runs[index]).position = Position::of(Some(annotations));
        }
        Action::TerminateRun { name, .. } => {
            let index = find(runs, name);
            Arc::make_mut(&mut runs[index]).is_terminating = true;
        }
        Action::DeleteRun { name, .. } => {
            let index = find(runs, name);
            runs.remove(index);
        }
        other => panic!("not about runs: {other:?}"),
    }
}

fn with_template(mut story: Story) -> Story {
    let metric = json!({"metrics": [{"name": "errors", "provider": {"job": {"spec": {}}}}]});
    let template: AnalysisTemplateSpec = serde_json::from_value(metric).expect("a template");
    story.world.analysis.templates.insert(reference("checks"), Arc::new(template));
    story
}

/// Five healthy pods, and steps for the next version.
fn five(steps: &[Value]) -> Story {
    let mut story = with_template(Story::new(5, steps));
    story.settle();
    story
}

fn weight(weight: i64) -> Value {
    json!({"setWeight": weight})
}

fn analysis() -> Value {
    json!({"analysis": {}})
}

fn with_background(mut story: Story, starting_step: usize) -> Story {
    story.canary().background = Some(Background { analysis: of("checks"), starting_step });
    story
}

impl Story {
    /// Lets a run end, or stand, this way.
    fn phase_of_run(&mut self, name: &str, phase: AnalysisPhase, message: &str) {
        let runs = &mut self.world.analysis.runs;
        let run = runs.iter_mut().find(|run| run.name == name).unwrap_or_else(|| panic!("no run {name}"));
        let run = Arc::make_mut(run);
        run.phase = phase;
        run.is_proven = phase == AnalysisPhase::Successful;
        run.message = message.into();
    }

    /// The runs without the common beginning of their names, with how they stand.
    fn runs(&self) -> String {
        let runs = self.world.analysis.runs.iter();
        let all = runs.map(|run| {
            let name = run.name.splitn(3, '-').nth(2).unwrap_or_default();
            let phase = if run.phase == AnalysisPhase::Unset { "-" } else { run.phase.as_str() };
            format!("{name}:{phase}{}", if run.is_terminating { " ending" } else { "" })
        });
        all.collect::<Vec<_>>().join(", ")
    }

    fn last_run(&self) -> String {
        self.world.analysis.runs.last().expect("a run").name.clone()
    }

    fn index(&self) -> i32 {
        self.world.rollout.status.current_step_index.unwrap_or(-1)
    }
}

#[test]
fn a_step_waits_for_its_run_and_goes_on_when_it_passes() {
    let mut story = five(&[weight(20), analysis(), weight(60)]);
    story.image("2");
    story.settle();
    assert_eq!((story.runs().as_str(), story.index()), ("2-1:-", 1));
    let run = story.last_run();
    let wait = story.look().wait.expect("a wait").to_string();
    assert_eq!(wait, format!("AnalysisRun {run}: Pending, wanted Successful"));
    story.phase_of_run(&run, AnalysisPhase::Running, "");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.index()), ("1:4/4 2:1/1", 1));
    story.phase_of_run(&run, AnalysisPhase::Successful, "");
    story.settle();
    assert_eq!((story.phase().as_str(), story.index()), ("Healthy", 3));
    assert_eq!(story.runs(), "2-1:Successful", "what has ended stays in the history");
    let status = &story.world.rollout.status.canary;
    assert_eq!(status.current_step_analysis_run_status, None);
}

#[test]
fn a_failed_step_aborts_and_says_why() {
    let mut story = five(&[weight(20), analysis(), weight(60)]);
    story.image("2");
    story.settle();
    let run = story.last_run();
    let because = "Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)";
    story.phase_of_run(&run, AnalysisPhase::Failed, because);
    story.settle();
    let status = &story.world.rollout.status;
    assert!(status.abort && status.aborted_at.is_some());
    assert_eq!(story.sizes(), "1:5/5");
    assert!(
        status.message.starts_with(&format!(
            "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: {because}"
        )),
        "{}",
        status.message
    );
    assert!(story.events.iter().any(|event| event.contains("AnalysisRunFailed")), "{:?}", story.events);
}

#[test]
fn a_retry_is_analysed_anew() {
    let mut story = five(&[weight(20), analysis()]);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Error, "no connection");
    story.settle();
    story.rollout().status.abort = false;
    story.settle();
    assert_eq!(story.runs(), "2-1:Error, 2-1.1:-");
}

#[test]
fn s15_a_run_that_is_ending_is_not_taken_for_the_next() {
    let mut story = five(&[weight(20), analysis()]);
    story.image("2");
    story.settle();
    story.rollout().status.abort = true;
    story.settle();
    assert_eq!(story.runs(), "2-1:- ending", "an abort ends what is measured");
    story.rollout().status.abort = false;
    story.settle();
    assert_eq!(story.runs(), "2-1:- ending, 2-1.1:-");
}

#[test]
fn a_run_that_is_not_on_record_is_taken_up() {
    let mut story = five(&[weight(20), analysis()]);
    story.image("2");
    story.settle();
    // The process died between the run and the status.
    story.rollout().status.canary.current_step_analysis_run_status = None;
    story.settle();
    assert_eq!(story.runs(), "2-1:-");
    assert!(story.world.rollout.status.canary.current_step_analysis_run_status.is_some());
}

#[test]
fn an_inconclusive_run_pauses_and_a_resume_asks_again() {
    let mut story = five(&[weight(20), analysis(), weight(60)]);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Inconclusive, "neither good nor bad");
    story.settle();
    assert_eq!(story.phase(), "Paused InconclusiveAnalysisRun");
    assert!(story.world.rollout.status.controller_pause);
    let wait = story.look().wait.expect("a wait").to_string();
    assert!(wait.starts_with(&format!("AnalysisRun {run}: Inconclusive: neither good nor bad")), "{wait}");
    assert_eq!(story.sizes(), "1:4/4 2:1/1", "nothing moves meanwhile");
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!(story.runs(), "2-1:Inconclusive, 2-1.1:-");
    let second = story.last_run();
    story.phase_of_run(&second, AnalysisPhase::Successful, "");
    story.settle();
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn a_promote_goes_past_an_inconclusive_step() {
    let mut story = five(&[weight(20), analysis(), json!({"pause": {}})]);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Inconclusive, "");
    story.settle();
    let status = &mut story.rollout().status;
    status.pause_conditions.clear();
    status.controller_pause = false;
    status.current_step_index = Some(2);
    story.settle();
    assert_eq!((story.phase().as_str(), story.index()), ("Paused CanaryPauseStep", 2));
    assert_eq!(story.runs(), "2-1:Inconclusive");
}

#[test]
fn a_promote_in_the_middle_ends_the_run() {
    let mut story = five(&[weight(20), analysis(), json!({"pause": {}})]);
    story.image("2");
    story.settle();
    story.rollout().status.current_step_index = Some(2);
    story.settle();
    assert_eq!(story.runs(), "2-1:- ending");
    assert_eq!(story.world.rollout.status.canary.current_step_analysis_run_status, None);
}

#[test]
fn a_background_run_begins_at_its_step_and_ends_with_the_update() {
    let pause = json!({"pause": {}});
    let mut story = with_background(five(&[weight(20), pause.clone(), weight(40), pause]), 2);
    story.image("2");
    story.settle();
    assert_eq!(story.runs(), "", "not before its step");
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!((story.phase().as_str(), story.runs().as_str()), ("Paused CanaryPauseStep", "2:-"));
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Running, "");
    story.settle();
    let recorded = story.world.rollout.status.canary.current_background_analysis_run_status.clone();
    assert_eq!(recorded.map(|run| run.status), Some(AnalysisPhase::Running));
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!((story.phase().as_str(), story.runs().as_str()), ("Healthy", "2:Running ending"));
    assert_eq!(story.world.rollout.status.canary.current_background_analysis_run_status, None);
}

#[test]
fn a_background_run_aborts_in_the_middle_of_a_pause() {
    let mut story = with_background(five(&[weight(20), json!({"pause": {}})]), 0);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Failed, "too many errors");
    story.settle();
    assert_eq!(story.sizes(), "1:5/5");
    let message = &story.world.rollout.status.message;
    assert!(message.contains("Background analysis phase error/failed: too many errors"), "{message}");
}

#[test]
fn an_inconclusive_background_run_pauses_beside_a_pause() {
    let mut story =
        with_background(five(&[weight(20), json!({"pause": {}}), weight(60), json!({"pause": {}})]), 0);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Inconclusive, "");
    story.settle();
    let reasons: Vec<_> = story.world.rollout.status.pause_conditions.iter().map(|p| p.reason).collect();
    assert_eq!(reasons, [PauseReason::CanaryPauseStep, PauseReason::InconclusiveAnalysisRun]);
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!(story.runs(), "2:Inconclusive, 2.1:-");
}

#[test]
fn nothing_is_analysed_on_the_way_back_or_in_a_full_promotion() {
    let mut story = with_background(five(&[weight(20), json!({"pause": {}})]), 0);
    assert_eq!(story.runs(), "", "nor at a first deploy");
    story.image("2");
    story.settle();
    story.image("1");
    story.settle();
    assert_eq!(story.runs(), "2:- ending");
    story.image("3");
    story.settle();
    story.rollout().status.promote_full = true;
    story.settle();
    assert_eq!(story.phase(), "Healthy");
    assert!(story.runs().ends_with("4:- ending"), "{}", story.runs());
}

#[test]
fn a_missing_template_holds_the_update_and_names_the_field() {
    let mut story = five(&[weight(20), analysis()]);
    story.world.analysis.templates.clear();
    story.image("2");
    story.settle();
    let message = &story.world.rollout.status.message;
    assert!(
        message.contains(
            "spec.strategy.canary.steps[1].analysis.templates: Invalid value: \"checks\": AnalysisTemplate 'checks' not found"
        ),
        "{message}"
    );
    assert_eq!((story.sizes().as_str(), story.runs().as_str()), ("1:5/5", ""));
}

#[test]
fn a_metric_that_nobody_here_can_measure_holds_the_update_and_takes_nothing_back() {
    let mut story = five(&[weight(20), analysis()]);
    let template =
        json!({"metrics": [{"name": "errors", "provider": {"cloudWatch": {"metricDataQueries": []}}}]});
    let template: AnalysisTemplateSpec = serde_json::from_value(template).expect("a template");
    story.world.analysis.templates.insert(reference("checks"), Arc::new(template));
    story.image("2");
    story.settle();
    let status = &story.world.rollout.status;
    assert!(!status.abort);
    assert!(status.message.contains("metric errors is measured by CloudWatch"), "{}", status.message);
    assert_eq!(story.sizes(), "1:5/5");
}

#[test]
fn s49_a_failed_analysis_aborts_although_a_person_has_paused() {
    for background in [false, true] {
        let steps =
            if background { vec![weight(20), json!({"pause": {}})] } else { vec![weight(20), analysis()] };
        let mut story = five(&steps);
        if background {
            story = with_background(story, 0);
        }
        story.image("2");
        story.settle();
        story.spec().is_paused = true;
        story.settle();
        let run = story.last_run();
        story.phase_of_run(&run, AnalysisPhase::Failed, "broken");
        story.settle();
        assert!(story.world.rollout.status.abort, "background: {background}");
    }
    let mut story = judged(false, true);
    story.image("2");
    story.settle();
    story.after(6);
    story.settle();
    story.spec().is_paused = true;
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Failed, "broken");
    story.settle();
    assert!(story.world.rollout.status.abort);
}

#[test]
fn nothing_is_measured_while_nobody_runs() {
    let mut story = with_background(five(&[weight(20), analysis()]), 0);
    story.spec().replicas = Some(0);
    story.settle();
    story.image("2");
    story.settle();
    assert_eq!(story.runs(), "");
    story.spec().replicas = Some(5);
    story.settle();
    assert_eq!(story.runs(), "2:-, 2-1:-");
}

#[test]
fn w69_old_runs_are_cleared_away_and_those_that_count_are_not() {
    let mut story = five(&[weight(20), analysis(), json!({"pause": {}})]);
    story.spec().run_limits = run::RunLimits { successful: 1, unsuccessful: 0 };
    for tag in ["2", "3", "4"] {
        story.image(tag);
        story.settle();
        let run = story.last_run();
        story.phase_of_run(&run, AnalysisPhase::Successful, "");
        story.after(1);
        story.settle();
    }
    // Of former versions one successful run is kept; what the current one was told stays in any case.
    assert_eq!(story.runs(), "3-1:Successful, 4-1:Successful");
}

#[test]
fn w69_two_steps_of_one_second_both_keep_their_runs() {
    let mut story = five(&[weight(20), analysis(), analysis(), json!({"pause": {}})]);
    story.spec().run_limits = run::RunLimits { successful: 1, unsuccessful: 1 };
    story.image("2");
    for _ in 0..2 {
        story.settle();
        let run = story.last_run();
        story.phase_of_run(&run, AnalysisPhase::Successful, "");
    }
    story.settle();
    assert_eq!(story.runs(), "2-1:Successful, 2-2:Successful");
}

#[test]
fn w62_a_run_that_was_ended_before_it_measured_passes_nothing() {
    let mut story = five(&[weight(20), analysis(), weight(60)]);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Successful, "Run Terminated");
    let runs = &mut story.world.analysis.runs;
    Arc::make_mut(runs.last_mut().expect("a run")).is_proven = false;
    story.settle();
    assert_eq!((story.phase().as_str(), story.index()), ("Paused InconclusiveAnalysisRun", 1));
    let wait = story.look().wait.expect("a wait").to_string();
    assert!(wait.starts_with(&format!("AnalysisRun {run}: Successful: Run Terminated")), "{wait}");
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!(story.runs(), "2-1:Successful, 2-1.1:-", "a resume asks again");
}

fn judged(pre: bool, post: bool) -> Story {
    let mut story = with_template(super::blue_green(3));
    let strategy = story.blue_green();
    strategy.pre_promotion = pre.then(|| of("checks"));
    strategy.post_promotion = post.then(|| of("checks"));
    story
}

#[test]
fn blue_green_switches_after_its_first_analysis_and_promotes_after_its_second() {
    let mut story = judged(true, true);
    story.image("2");
    story.settle();
    assert_eq!((story.runs().as_str(), story.leads("web")), ("2-pre:-", 1));
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Successful, "");
    story.settle();
    story.after(6);
    story.settle();
    assert_eq!((story.runs().as_str(), story.leads("web")), ("2-pre:Successful, 2-post:-", 2));
    assert_ne!(story.world.rollout.status.stable_rs, story.world.rollout.status.current_pod_hash);
    assert!(story.phase().starts_with("Progressing"), "{}", story.phase());
    let message = &story.world.rollout.status.message;
    assert!(message.starts_with("waiting for analysis to complete"), "{message}");
    assert_eq!(story.sizes(), "1:3/3 2:3/3", "the old version stays until the new one is proven");
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Successful, "");
    story.settle();
    story.after(6);
    story.settle();
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn blue_green_goes_back_when_an_analysis_fails() {
    let mut story = judged(true, false);
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Failed, "broken");
    story.settle();
    assert_eq!(story.leads("web"), 1);
    let message = &story.world.rollout.status.message;
    assert!(message.contains("Blue/green pre-promotion analysis phase error/failed: broken"), "{message}");

    let mut story = judged(false, true);
    story.image("2");
    story.settle();
    story.after(6);
    story.settle();
    assert_eq!((story.runs().as_str(), story.leads("web")), ("2-post:-", 2));
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Failed, "broken");
    story.settle();
    assert_eq!(story.leads("web"), 1, "traffic is back where it came from");
    let message = &story.world.rollout.status.message;
    assert!(message.contains("Blue/green post-promotion analysis phase error/failed: broken"), "{message}");
}

#[test]
fn s42_time_alone_does_not_go_past_the_analysis_before_the_switch() {
    let mut story = judged(true, false);
    story.blue_green().auto_promotion_after = Some(SignedDuration::from_secs(30));
    story.image("2");
    story.settle();
    story.after(60);
    story.settle();
    assert_eq!(story.leads("web"), 1);
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Successful, "");
    story.settle();
    assert_eq!(story.leads("web"), 2);
}

/// The same analysis, which pauses where others abort.
fn pausing() -> Arc<Analysis> {
    let mut analysis = Analysis::clone(&of("checks"));
    analysis.block.on_failure = OnFailure::Pause;
    Arc::new(analysis)
}

#[test]
fn w66_a_failed_step_pauses_where_that_is_wanted() {
    for (phase, begin) in
        [(AnalysisPhase::Failed, "Failed: too many"), (AnalysisPhase::Error, "Error: too many")]
    {
        let mut story = five(&[weight(20), analysis(), weight(60), json!({"pause": {}})]);
        story.canary().steps[1] = Step::Analysis(pausing());
        story.image("2");
        story.settle();
        let run = story.last_run();
        story.phase_of_run(&run, phase, "too many");
        story.settle();
        assert_eq!(story.phase(), "Paused InconclusiveAnalysisRun");
        assert_eq!((story.sizes().as_str(), story.index()), ("1:4/4 2:1/1", 1), "the weight stays");
        assert!(!story.world.rollout.status.abort);
        let wait = story.look().wait.expect("a wait").to_string();
        let says =
            format!("AnalysisRun {run}: Inconclusive: {begin} (onFailure is pause), wanted a person's word");
        assert!(wait.starts_with(&says), "{wait}");
        // A promote, as kubectl sends it after a run that left the judgement to a person.
        let recorded = story.world.rollout.status.canary.current_step_analysis_run_status.clone();
        assert_eq!(recorded.map(|run| run.status), Some(AnalysisPhase::Inconclusive));
        let status = &mut story.rollout().status;
        (status.pause_conditions, status.controller_pause, status.current_step_index) =
            (vec![], false, Some(2));
        story.settle();
        assert_eq!((story.index(), story.runs().matches("2-1").count()), (3, 1), "{}", story.runs());
        assert_eq!(story.sizes(), "1:2/2 2:3/3");
    }
}

#[test]
fn w66_a_failed_background_run_pauses_and_a_resume_asks_again() {
    let mut story = five(&[weight(20), json!({"pause": {}}), weight(60), json!({"pause": {}})]);
    story.canary().background = Some(Background { analysis: pausing(), starting_step: 0 });
    story.image("2");
    story.settle();
    let run = story.last_run();
    story.phase_of_run(&run, AnalysisPhase::Failed, "too many");
    story.settle();
    let status = &story.world.rollout.status;
    assert!(
        !status.abort
            && status.pause_conditions.iter().any(|p| p.reason == PauseReason::InconclusiveAnalysisRun)
    );
    assert_eq!((story.sizes().as_str(), story.index()), ("1:4/4 2:1/1", 1));
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!(story.runs(), "2:Failed, 2.1:-");
    assert!(!story.world.rollout.status.abort);
}

#[test]
fn a_run_whose_limits_tighten_is_told_where_its_rollout_stands() {
    let template = json!({"metrics": [{
        "name": "errors", "interval": "1m", "provider": {"prometheus": {"query": "up"}},
        "thresholds": {"max": 1, "byWeight": {"20": 2}},
    }]});
    let template: AnalysisTemplateSpec = serde_json::from_value(template).expect("a template");
    let steps = [weight(20), json!({"pause": {}}), weight(60), json!({"pause": {}})];
    for follows in [true, false] {
        let mut story = five(&steps);
        if follows {
            story.world.analysis.templates.insert(reference("checks"), Arc::new(template.clone()));
        }
        let mut story = with_background(story, 0);
        story.image("2");
        story.settle();
        let position = |story: &Story| story.world.analysis.runs[0].position;
        let at = |step, weight| {
            if follows { Position { step: Some(step), weight: Some(weight) } } else { Position::default() }
        };
        assert_eq!(position(&story), at(1, 20));
        story.log.clear();
        story.rollout().status.pause_conditions.clear();
        story.settle();
        assert_eq!(position(&story), at(3, 60));
        let told = story.log.iter().filter(|line| line.starts_with("place run")).count();
        assert!(told <= 2 && (told > 0) == follows, "{:?}", story.log);
    }
}

#[test]
fn gates_that_cannot_work_hold_the_update_before_anything_is_measured() {
    let gate = |more: Value| {
        let mut metric = json!({"name": "errors", "provider": {"prometheus": {"query": "up{{args.v}}"}}});
        metric.as_object_mut().expect("a metric").extend(more.as_object().expect("fields").clone());
        metric
    };
    let payments = json!({
        "name": "payments", "origin": "dependency", "interval": "30s", "successCondition": "true",
        "provider": {"prometheus": {"query": "up"}},
    });
    for (metrics, expected) in [
        (
            json!([gate(
                json!({"thresholds": {"max": 1}, "baseline": {"query": "q", "method": "sequential"}})
            )]),
            "metric errors: baseline.method is sequential, which is not carried out by this build",
        ),
        (
            json!([gate(json!({"minSamples": 5}))]),
            "metric errors: minSamples needs samples: set samples.query",
        ),
        (json!([payments]), "metrics: origin is dependency in every metric (payments)"),
        // One that goes on as long as the others does not run indefinitely.
        (json!([gate(json!({})), payments]), ""),
    ] {
        let mut story = five(&[weight(20), analysis()]);
        let spec = json!({"args": [{"name": "v", "value": "1"}], "metrics": metrics});
        let template: AnalysisTemplateSpec = serde_json::from_value(spec).expect("a template");
        story.world.analysis.templates.insert(reference("checks"), Arc::new(template));
        story.image("2");
        story.settle();
        let message = &story.world.rollout.status.message;
        assert_eq!(story.runs().is_empty(), !expected.is_empty(), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}
