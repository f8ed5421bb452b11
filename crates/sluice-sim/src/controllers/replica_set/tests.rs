//! Tests of the ReplicaSet controller in a small cluster.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::super::Settings;
use super::super::object::{condition, is_deleting};
use super::super::ownership::owners;
use super::super::testing::{Cluster, pod, replica_set};
use super::*;

fn names(cluster: &Cluster) -> BTreeSet<String> {
    cluster
        .list(kinds::POD, None)
        .iter()
        .filter(|pod| !is_deleting(pod))
        .map(|pod| name(pod).to_owned())
        .collect()
}

/// (replicas, ready, available, terminating) of the ReplicaSet `web`.
fn counts(cluster: &Cluster) -> (i64, i64, i64, i64) {
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    let read = |field: &str| int(&set, &format!("/status/{field}")).unwrap_or(0);
    (read("replicas"), read("readyReplicas"), read("availableReplicas"), read("terminatingReplicas"))
}

fn resize(cluster: &mut Cluster, replicas: i64) {
    cluster.edit(kinds::REPLICA_SET, Some("default"), "web", |set| set["spec"]["replicas"] = json!(replicas));
}

#[test]
fn grows_shrinks_and_counts() {
    let mut cluster = Cluster::standard();
    cluster.create(replica_set("web", 3, "web:1"));
    assert_eq!(counts(&cluster), (3, 0, 0, 0));
    cluster.advance(1);
    assert_eq!(counts(&cluster), (3, 3, 3, 0));
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    assert_eq!(int(&set, "/status/fullyLabeledReplicas"), Some(3));
    assert_eq!(int(&set, "/status/observedGeneration"), Some(1));
    resize(&mut cluster, 1);
    assert_eq!(counts(&cluster), (1, 1, 1, 2), "those on their way out do not count");
    cluster.advance(1);
    assert_eq!(counts(&cluster), (1, 1, 1, 0));
    resize(&mut cluster, 0);
    cluster.advance(1);
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    let expected = json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3});
    assert_eq!(set["status"], expected, "zero counts are left out");
    cluster.check_quiet();
}

#[test]
fn names_follow_from_the_seed() {
    let names_with = |seed| {
        let mut cluster = Cluster::new(Settings { seed, ..Settings::default() });
        cluster.create(replica_set("web", 4, "web:1"));
        names(&cluster)
    };
    assert_eq!(names_with(7), names_with(7));
    assert_ne!(names_with(7), names_with(8));
    for one in names_with(7) {
        let suffix = one.strip_prefix("web-").expect("the ReplicaSet's name");
        assert!(
            suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
            "{one}"
        );
    }
}

#[test]
fn a_pod_is_available_after_min_ready_seconds() {
    let mut cluster = Cluster::standard();
    let mut set = replica_set("web", 2, "web:1");
    set["spec"]["minReadySeconds"] = json!(10);
    cluster.create(set);
    for (seconds, expected) in [(1, (2, 2, 0, 0)), (9, (2, 2, 0, 0)), (1, (2, 2, 2, 0))] {
        cluster.advance(seconds);
        assert_eq!(counts(&cluster), expected);
    }
}

#[test]
fn adopts_orphans_and_releases_strangers() {
    let mut cluster = Cluster::standard();
    cluster.create(pod("lonely", "web:1"));
    cluster.create(replica_set("web", 2, "web:1"));
    assert_eq!(names(&cluster).len(), 2);
    assert!(is_controlled_by(
        &cluster.pod("lonely"),
        &cluster.find(kinds::REPLICA_SET, "web").expect("the set")
    ));
    cluster
        .edit(kinds::POD, Some("default"), "lonely", |pod| pod["metadata"]["labels"]["app"] = json!("other"));
    assert_eq!(owners(&cluster.pod("lonely")).len(), 0);
    assert_eq!(names(&cluster).len(), 3, "one more in its place");
    cluster
        .edit(kinds::POD, Some("default"), "lonely", |pod| pod["metadata"]["labels"]["app"] = json!("web"));
    cluster.advance(3);
    assert_eq!(names(&cluster).len(), 2, "taken back, and one too many");
    cluster.check_quiet();
}

#[test]
fn leaves_the_pods_of_others_alone() {
    let mut cluster = Cluster::standard();
    cluster.create(replica_set("web", 2, "web:1"));
    let mut second = replica_set("second", 3, "web:1");
    second["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    second["spec"]["template"]["metadata"]["labels"] = json!({"app": "web"});
    cluster.create(second);
    cluster.advance(5);
    assert_eq!(names(&cluster).len(), 5);
    assert!(cluster.list(kinds::POD, None).iter().all(|pod| owners(pod).len() == 1));
}

#[test]
fn replaces_a_deleted_or_failed_pod_at_once() {
    let mut cluster = Cluster::standard();
    cluster.create(replica_set("web", 2, "web:1"));
    cluster.advance(5);
    let victim = names(&cluster).pop_first().expect("two pods");
    cluster.delete(kinds::POD, Some("default"), &victim);
    assert_eq!(counts(&cluster), (2, 1, 1, 1));
    cluster.advance(5);
    let victim = names(&cluster).pop_first().expect("two pods");
    cluster.edit_status(kinds::POD, Some("default"), &victim, |status| status["phase"] = json!("Failed"));
    assert_eq!(counts(&cluster), (2, 1, 1, 0));
    assert_eq!(cluster.list(kinds::POD, None).len(), 3, "the failed one stays");
}

#[test]
fn a_quota_refuses_and_lets_go_again() {
    let mut cluster = Cluster::standard();
    cluster.create(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"},
        "spec": {"hard": {"pods": "2"}},
    }));
    cluster.create(replica_set("web", 4, "web:1"));
    cluster.advance(2);
    assert_eq!(counts(&cluster), (2, 2, 2, 0));
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    let failure = condition(&set, "ReplicaFailure").expect("a failure");
    assert_eq!(text(failure, "/reason"), Some("FailedCreate"));
    let message = text(failure, "/message").unwrap_or_default();
    assert!(
        message.starts_with("pods \"web-\" is forbidden: exceeded quota: q, requested: pods=1"),
        "{message}"
    );
    cluster.check_quiet();
    cluster.edit(kinds::RESOURCE_QUOTA, Some("default"), "q", |quota| {
        quota["spec"]["hard"]["pods"] = json!("9");
    });
    cluster.advance(2);
    assert_eq!(counts(&cluster), (4, 4, 4, 0));
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    assert!(condition(&set, "ReplicaFailure").is_none());
}

#[test]
fn the_settings_limit_counts_like_a_quota() {
    let mut cluster = Cluster::new(Settings { max_pods: Some(3), ..Settings::default() });
    cluster.create(replica_set("web", 4, "web:1"));
    cluster.advance(2);
    assert_eq!(counts(&cluster), (3, 3, 3, 0));
    resize(&mut cluster, 3);
    cluster.advance(2);
    let set = cluster.find(kinds::REPLICA_SET, "web").expect("the ReplicaSet");
    assert!(condition(&set, "ReplicaFailure").is_none());
}

#[test]
fn odd_replica_sets_do_no_harm() {
    for spec in [
        json!(null),
        json!({}),
        json!({"selector": {}, "replicas": 2}),
        json!({"replicas": -3, "selector": 5}),
    ] {
        let mut cluster = Cluster::standard();
        cluster.create(pod("lonely", "web:1"));
        let mut set = replica_set("web", 1, "web:1");
        set["spec"] = spec.clone();
        cluster.create(set);
        cluster.advance_by(SignedDuration::from_millis(10));
        assert_eq!(owners(&cluster.pod("lonely")).len(), 0, "{spec}");
        assert_eq!(cluster.list(kinds::POD, None).len(), 1, "{spec}");
    }
}
