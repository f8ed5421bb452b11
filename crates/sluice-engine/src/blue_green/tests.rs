//! How many pods a preview gets, and what opens and closes the gate before the switch.

use crate::stories::{Story, blue_green};

/// Ten replicas whose preview is a single pod. `auto`: nobody needs to promote.
fn small_preview(auto: bool) -> Story {
    let mut story = blue_green(10);
    story.blue_green().preview_replicas = Some(1);
    story.blue_green().auto_promotion = auto;
    story
}

fn resume(story: &mut Story) {
    story.rollout().status.pause_conditions.clear();
}

fn checkpoint(story: &Story) -> bool {
    story.world.rollout.status.blue_green.scale_up_preview_check_point
}

#[test]
fn a_first_deploy_has_no_preview() {
    let mut story = blue_green(10);
    story.blue_green().preview_replicas = Some(1);
    story.world.replica_sets.clear();
    story.rollout().status = sluice_api::rollout::RolloutStatus::default();
    story.look();
    assert_eq!(story.sizes(), "1:10/0");
}

#[test]
fn the_size_of_a_preview() {
    let mut story = small_preview(false);
    story.image("2");
    story.look();
    assert_eq!(story.sizes(), "1:10/10 2:1/0", "a template that the status does not know yet");
    story.settle();
    assert_eq!((story.sizes().as_str(), checkpoint(&story)), ("1:10/10 2:1/1", false), "paused");
    resume(&mut story);
    story.look();
    assert_eq!((story.sizes().as_str(), checkpoint(&story)), ("1:10/10 2:10/1", true), "resumed");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:10/10 2:10/10", 2), "active leads there");
    story.after(6);
    story.settle();
    assert_eq!((story.phase().as_str(), checkpoint(&story)), ("Healthy", false));
}

#[test]
fn a_preview_that_nobody_judges_still_has_to_start() {
    let mut story = small_preview(true);
    story.broken.insert("2".into());
    story.image("2");
    story.settle();
    assert_eq!((story.sizes().as_str(), checkpoint(&story)), ("1:10/10 2:1/0", false));
    story.broken.clear();
    story.settle();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:10/10 2:10/10", 2));
}

#[test]
fn a_full_promotion_needs_no_preview() {
    let mut story = small_preview(false);
    story.image("2");
    story.settle();
    story.rollout().status.promote_full = true;
    story.look();
    assert_eq!(story.sizes(), "1:10/10 2:10/1");
    story.settle();
    assert_eq!(story.leads("web"), 2);
}

#[test]
fn a_preview_is_never_larger_than_the_rest() {
    let mut story = blue_green(4);
    story.blue_green().preview_replicas = Some(9);
    story.image("2");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:4/4 2:4/4", 2));
}

#[test]
fn a_halt_keeps_the_pods_of_a_judged_preview() {
    let mut story = small_preview(false);
    story.image("2");
    story.settle();
    resume(&mut story);
    story.look();
    story.spec().is_paused = true;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:10/10 2:10/10", 1));
    assert_eq!(story.phase(), "Paused manually paused");
    story.spec().is_paused = false;
    story.settle();
    assert_eq!(story.leads("web"), 2, "and the judgement stands");
}

#[test]
fn a_retry_is_judged_anew() {
    let mut story = small_preview(false);
    story.image("2");
    story.settle();
    resume(&mut story);
    story.look();
    assert!(checkpoint(&story));
    story.rollout().status.abort = true;
    story.settle();
    assert!(!checkpoint(&story));
    story.rollout().status.abort = false;
    story.settle();
    assert_eq!((story.phase().as_str(), story.leads("web")), ("Paused BlueGreenPause", 1));
}
