//! Blue-green, from one look to the next.

use super::*;

#[test]
fn blue_green_switches_once_every_pod_is_there() {
    let mut story = blue_green(4);
    story.image("2");
    story.look();
    assert_eq!(story.leads("web"), 1);
    assert_eq!(story.leads("web-preview"), 2, "the preview leads there before there are pods");
    story.pods();
    story.settle();
    assert_eq!((story.leads("web"), story.sizes().as_str()), (2, "1:4/4 2:4/4"));
    let waits = "Progressing waiting for post-promotion verification to complete: Service web: its last change may not have reached every proxy";
    assert!(story.phase().starts_with(waits), "promoted only once every proxy knows: {}", story.phase());
    story.after(6);
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:4/4 2:4/4", "Healthy"));
    assert!(story.set_of(1).annotation(keys::SCALE_DOWN_DEADLINE).is_some());
    story.after(31);
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:4/4", "Healthy"));
    assert!(story.look().is_empty(), "quiet when still");
}

#[test]
fn blue_green_waits_for_a_person() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion = false;
    story.image("2");
    story.settle();
    assert_eq!((story.leads("web"), story.phase().as_str()), (1, "Paused BlueGreenPause"));
    resume(&mut story);
    story.settle();
    assert_eq!(story.leads("web"), 2);
    story.after(6);
    story.settle();
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn a_resume_outlives_lost_pods() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion = false;
    story.image("2");
    story.settle();
    resume(&mut story);
    story.set_available(2, 3);
    story.look();
    assert_eq!(story.leads("web"), 1, "a pod is missing");
    story.settle();
    assert_eq!(story.leads("web"), 2, "and the resume is not forgotten");
}

#[test]
fn blue_green_promotes_by_the_clock() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion_after = Some(SignedDuration::from_secs(60));
    story.image("2");
    let plan = story.settle();
    assert_eq!(story.phase(), "Paused BlueGreenPause");
    assert_eq!(
        plan.recheck_at,
        Some(story.now + SignedDuration::from_secs(60) + SignedDuration::from_nanos(1))
    );
    story.after(61);
    story.settle();
    assert_eq!(story.leads("web"), 2);
}

#[test]
fn a_small_preview_grows_before_the_switch() {
    let mut story = blue_green(4);
    story.blue_green().preview_replicas = Some(1);
    story.blue_green().auto_promotion = false;
    story.image("2");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:4/4 2:1/1", 1));
    resume(&mut story);
    story.look();
    assert_eq!((story.sizes().as_str(), story.leads("web")), ("1:4/4 2:4/1", 1));
    story.settle();
    assert_eq!(story.leads("web"), 2);
    story.after(6);
    story.settle();
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn abort_before_the_switch_keeps_active_where_it_is() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion = false;
    story.image("2");
    story.settle();
    story.rollout().status.abort = true;
    story.settle();
    assert_eq!((story.leads("web"), story.sizes().as_str()), (1, "1:4/4 2:4/4"));
    assert!(story.phase().starts_with("Degraded RolloutAborted"), "{}", story.phase());
    story.after(31);
    story.settle();
    assert_eq!((story.leads("web"), story.sizes().as_str()), (1, "1:4/4"));
    assert!(story.look().is_empty());
}

/// The peer asks for the health of the new version before it goes back.
#[test]
fn abort_after_the_switch_asks_about_stable_only() {
    let mut story = blue_green(4);
    story.image("2");
    story.look();
    story.pods();
    story.look();
    assert_eq!(story.leads("web"), 2);
    story.set_available(2, 1);
    story.rollout().status.abort = true;
    story.look();
    assert_eq!(story.leads("web"), 1);
}

#[test]
fn a_version_that_died_after_the_switch_gives_the_traffic_back() {
    let mut story = blue_green(4);
    story.image("2");
    story.look();
    story.pods();
    story.look();
    assert_eq!(story.leads("web"), 2);
    story.broken.insert("2".into());
    story.set_available(2, 0);
    story.look();
    assert_eq!(story.leads("web"), 1);
}

/// The peer takes a missing selector for a first deploy, and promotes what may be crashing.
#[test]
fn a_selector_that_somebody_took_away_comes_back() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion = false;
    story.broken.insert("2".into());
    story.image("2");
    story.settle();
    story.world.services.get_mut("web").expect("a Service").selected_hash = None;
    story.settle();
    assert_eq!((story.leads("web"), story.sizes().as_str()), (1, "1:4/4 2:4/0"));
}

#[test]
fn a_version_within_its_delay_comes_back_at_once() {
    let mut story = blue_green(4);
    story.blue_green().auto_promotion = false;
    story.image("2");
    story.settle();
    resume(&mut story);
    story.settle();
    story.after(6);
    story.settle();
    assert_eq!((story.phase().as_str(), story.sizes().as_str()), ("Healthy", "1:4/4 2:4/4"));
    // One pod is missing in the very look that sees the old image, which must not make it forget.
    story.set_available(1, 3);
    story.image("1");
    story.look();
    assert_eq!(story.leads("web"), 2);
    story.settle();
    assert_eq!(story.leads("web"), 3, "without a pause");
    story.after(6);
    story.settle();
    assert_eq!(story.phase(), "Healthy");
}
