//! Rollouts that do not go on by themselves for a while: paused, resumed, or without pods.

use super::*;

#[test]
fn a_paused_rollout_scales_but_does_not_go_on() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.spec().is_paused = true;
    resume(&mut story);
    story.settle();
    assert_eq!(story.phase(), "Paused manually paused");
    assert_eq!(story.world.rollout.status.current_step_index, Some(1), "stands still");
    story.spec().replicas = Some(10);
    story.settle();
    assert_eq!(story.sizes(), "1:8/8 2:2/2");
}

#[test]
fn one_resume_is_one_step() {
    let mut story = Story::new(5, &[json!({"setWeight": 20}), json!({"pause": {}}), json!({"pause": {}})]);
    story.settle();
    story.image("2");
    story.settle();
    resume(&mut story);
    story.settle();
    assert_eq!(story.world.rollout.status.current_step_index, Some(2));
    assert_eq!(story.phase(), "Paused CanaryPauseStep");
}

#[test]
fn a_rollout_created_paused_starts_when_it_is_resumed() {
    let mut story = Story::new(3, &four_steps());
    story.spec().is_paused = true;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("", "Paused manually paused"));
    story.spec().is_paused = false;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:3/3", "Healthy"));
}

#[test]
fn a_paused_rollout_that_slept_wakes_up() {
    let mut story = deployed();
    story.spec().replicas = Some(0);
    story.settle();
    assert_eq!(story.sizes(), "");
    story.spec().is_paused = true;
    story.spec().replicas = Some(4);
    story.settle();
    assert_eq!(story.sizes(), "1:4/4");
}

#[test]
fn whoever_skips_the_steps_leaves_the_pause_behind() {
    let mut story = Story::new(5, &[json!({"pause": {}}), json!({"setWeight": 20})]);
    story.settle();
    story.broken.insert("bad".into());
    story.image("bad");
    story.settle();
    assert_eq!(story.phase(), "Paused CanaryPauseStep");
    story.rollout().status.current_step_index = Some(2);
    story.settle();
    assert!(story.world.rollout.status.pause_conditions.is_empty());
    assert!(!story.world.rollout.status.controller_pause);
    assert!(story.phase().starts_with("Progressing "), "{}", story.phase());
}

/// Five replicas of a first version that never comes up, at 0, with an update under way.
fn asleep() -> Story {
    let mut story = Story::new(1, &[json!({"setWeight": 50})]);
    story.spec().replicas = Some(0);
    story.broken.insert("1".into());
    story.settle();
    story.image("2");
    story.settle();
    let waiting = |story: &Story| story.phase().contains("spec.replicas: 0, wanted 1 or more");
    assert!(waiting(&story), "{}", story.phase());
    story
}

#[test]
fn whoever_wakes_waits_for_the_first_stable_pod() {
    let mut story = asleep();
    story.broken.clear();
    story.pods_per_round = 0;
    story.spec().replicas = Some(5);
    story.settle();
    assert_eq!(story.sizes(), "1:5/0");
    let seen = "0 of 5 pods available, wanted 1 available";
    assert!(story.phase().contains(seen), "{}", story.phase());
    story.pods_per_round = 5;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:5/5", "Healthy"));
}

#[test]
fn whoever_promotes_past_everything_does_not_wait_for_a_broken_stable_version() {
    let mut story = asleep();
    story.spec().replicas = Some(5);
    story.settle();
    assert_eq!(story.sizes(), "1:5/0");
    story.rollout().status.promote_full = true;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:5/5", "Healthy"));
}

#[test]
fn a_stable_version_that_does_not_wake_up_lets_its_cure_in() {
    let mut story = asleep();
    story.spec().replicas = Some(5);
    let plan = story.settle();
    assert_eq!(story.sizes(), "1:5/0");
    let at = plan.recheck_at.expect("not for ever");
    story.now = at - SignedDuration::from_nanos(1);
    story.settle();
    assert_eq!(story.sizes(), "1:5/0", "not before its time");
    story.now = at;
    for _ in 0..4 {
        story.settle();
        story.after(10);
    }
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:5/5", "Healthy"));
}
