//! What happens to pods beside an update: what they carry, where they run, restarts.

use super::*;

fn metadata(label: &str) -> crate::parts::Metadata {
    let labels = [("role".to_owned(), label.to_owned())].into();
    crate::parts::Metadata { labels, ..Default::default() }
}

#[test]
fn pods_carry_what_belongs_to_their_part() {
    let mut story = deployed();
    let parts = &mut story.spec().parts;
    (parts.stable, parts.new) = (metadata("stable"), metadata("canary"));
    let recorded = |story: &Story, revision: i64| crate::parts::Metadata::recorded(story.set_of(revision));
    story.look();
    assert_eq!(recorded(&story, 1), metadata("stable"));
    let plan = story.look();
    let sync = &plan.pod_syncs[0];
    assert_eq!(
        (sync.hash.as_str(), sync.labels["role"].as_deref()),
        (story.set_of(1).hash.as_str(), Some("stable"))
    );
    story.pods_followed();
    assert!(story.look().is_empty(), "quiet when still");

    story.image("2");
    story.settle();
    assert_eq!((recorded(&story, 1), recorded(&story, 2)), (metadata("stable"), metadata("canary")));
    assert!(story.look().pod_syncs.is_empty(), "a new version has it from its template");
    assert_eq!(
        story.set_of(2).template,
        Template::new(&template("2")).digest,
        "it is no part of its identity"
    );

    story.rollout().status.promote_full = true;
    for _ in 0..20 {
        story.look();
        story.pods();
        story.pods_followed();
    }
    story.settle();
    assert_eq!(recorded(&story, 2), metadata("stable"));
    assert!(recorded(&story, 1).is_empty());

    // The blocks are taken out of the spec: so is what they put on.
    story.spec().parts = crate::parts::Parts::default();
    story.look();
    assert!(recorded(&story, 2).is_empty());
    let plan = story.look();
    assert_eq!(plan.pod_syncs[0].labels["role"], None);
}

#[test]
fn a_new_version_keeps_away_from_the_stable_one() {
    let mut story = deployed();
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": {}});
    story.spec().parts.anti_affinity = serde_json::from_value(rule).expect("a rule");
    assert!(story.look().writes.is_empty(), "what serves stays as it is");
    story.image("2");
    story.settle();
    assert_eq!(story.set_of(2).apart_from.as_ref(), Some(&story.set_of(1).hash));
    assert!(story.look().is_empty());
}

#[test]
fn a_restart_replaces_old_pods_and_no_pod_is_missing_meanwhile() {
    let mut story = deployed();
    let set = story.set_of(1).uid.clone();
    let pod = |number: i64, created_at: Timestamp| Pod {
        name: format!("p{number}"),
        set: set.clone(),
        created_at,
        available_at: Some(created_at),
        is_terminating: false,
    };
    let begun = story.now;
    story.world.pods =
        Some((0..5).map(|number| pod(number, begun - SignedDuration::from_secs(60))).collect());
    story.spec().restart_at = Some(begun);
    story.after(1);
    story.look();
    assert_eq!(story.sizes(), "1:6/5", "none may be missing, so an extra pod comes first");
    assert!(
        story.phase().starts_with("Progressing rollout is restarting: pods: 5 created before"),
        "{}",
        story.phase()
    );
    assert!(!story.log.iter().any(|line| line.starts_with("evict")));
    story.look();
    assert_eq!(story.sizes(), "1:6/5", "and is waited for");
    story.pods();
    let now = story.now;
    story.world.pods.as_mut().expect("pods").push(pod(5, now));
    for _ in 0..10 {
        story.look();
        let available =
            story.world.pods.as_ref().expect("pods").iter().filter(|pod| pod.is_available(story.now)).count();
        assert!(available >= 5, "{available}");
        story.after(4);
    }
    let evicted: Vec<&str> = story.log.iter().filter_map(|line| line.strip_prefix("evict ")).collect();
    assert_eq!(evicted, ["p0", "p1", "p2", "p3", "p4"]);
    assert_eq!(story.world.rollout.status.restarted_at.map(sluice_api::Time::timestamp), Some(begun));
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:5/5", "Healthy"));
}

#[test]
fn a_restart_that_lies_ahead_waits_for_its_time() {
    let mut story = deployed();
    let at = story.now + SignedDuration::from_secs(60);
    story.spec().restart_at = Some(at);
    let plan = story.settle();
    assert_eq!(
        (story.phase().as_str(), plan.recheck_at),
        ("Healthy", Some(at + SignedDuration::from_nanos(1)))
    );
}

#[test]
fn a_restart_whose_pods_could_not_be_listed_is_tried_again() {
    let mut story = deployed();
    story.spec().restart_at = Some(story.now);
    story.after(1);
    let plan = story.settle();
    assert_eq!(plan.recheck_at, Some(story.now + SignedDuration::from_secs(5)));
    assert!(story.phase().contains("rollout is restarting: pods: not known"), "{}", story.phase());
}
