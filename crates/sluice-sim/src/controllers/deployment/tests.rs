//! Tests of the Deployment controller in a small cluster.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;

use super::super::Settings;
use super::super::object::{condition, text};
use super::super::testing::{Cluster, deployment};
use super::super::{Plan, PodBehaviour};
use super::*;

const DEFAULT: Option<&str> = Some("default");

fn found(cluster: &Cluster) -> Arc<Value> {
    cluster.find(kinds::DEPLOYMENT, "web").expect("the Deployment")
}

fn edit(cluster: &mut Cluster, change: impl FnOnce(&mut Value)) {
    cluster.edit(kinds::DEPLOYMENT, DEFAULT, "web", |deployment| change(&mut deployment["spec"]));
}

fn set_image(cluster: &mut Cluster, image: &str) {
    edit(cluster, |spec| spec["template"]["spec"]["containers"][0]["image"] = json!(image));
}

/// (condition's status, reason) of the Deployment.
fn says(cluster: &Cluster, kind: &str) -> (String, String) {
    let deployment = found(cluster);
    let one = condition(&deployment, kind).cloned().unwrap_or_default();
    let read = |pointer| text(&one, pointer).unwrap_or_default().to_owned();
    (read("/status"), read("/reason"))
}

#[track_caller]
fn check_says(cluster: &Cluster, kind: &str, status: &str, reason: &str) {
    assert_eq!(says(cluster, kind), (status.to_owned(), reason.to_owned()));
}

/// Image to wanted replicas, of all ReplicaSets.
fn sizes(cluster: &Cluster) -> BTreeMap<String, i64> {
    let image =
        |set: &Value| text(set, "/spec/template/spec/containers/0/image").unwrap_or_default().to_owned();
    let all = cluster.list(kinds::REPLICA_SET, None);
    all.iter().map(|set| (image(set), int(set, "/spec/replicas").unwrap_or(-1))).collect()
}

fn of<const N: usize>(sizes: [(&str, i64); N]) -> BTreeMap<String, i64> {
    sizes.into_iter().map(|(image, size)| (image.to_owned(), size)).collect()
}

#[test]
fn rolls_out_and_back() {
    let mut cluster = Cluster::standard();
    cluster.create(deployment("web", 4, "web:1"));
    check_says(&cluster, "Available", "False", "MinimumReplicasUnavailable");
    cluster.advance(2);
    check_says(&cluster, "Available", "True", "MinimumReplicasAvailable");
    check_says(&cluster, "Progressing", "True", "NewReplicaSetAvailable");
    let status = found(&cluster)["status"].clone();
    for (field, expected) in
        [("replicas", 4), ("updatedReplicas", 4), ("readyReplicas", 4), ("availableReplicas", 4)]
    {
        assert_eq!(status[field], expected, "{field}");
    }
    assert_eq!(status.get("unavailableReplicas"), None);
    assert_eq!(template::revision(&found(&cluster)), 1);

    set_image(&mut cluster, "web:2");
    check_says(&cluster, "Progressing", "True", "ReplicaSetUpdated");
    cluster.advance(30);
    assert_eq!(sizes(&cluster), of([("web:1", 0), ("web:2", 4)]));
    check_says(&cluster, "Progressing", "True", "NewReplicaSetAvailable");
    assert_eq!(template::revision(&found(&cluster)), 2);

    set_image(&mut cluster, "web:1");
    cluster.advance(30);
    assert_eq!(sizes(&cluster), of([("web:1", 4), ("web:2", 0)]));
    assert_eq!(template::revision(&found(&cluster)), 3, "the old ReplicaSet has a new revision");
    cluster.check_quiet();
}

#[test]
fn a_bad_version_stops_and_times_out_and_is_undone() {
    let mut cluster = Cluster::standard();
    let mut web = deployment("web", 4, "web:1");
    web["spec"]["progressDeadlineSeconds"] = json!(60);
    cluster.create(web);
    cluster.advance(5);
    set_image(&mut cluster, "web:bad");
    cluster.advance(55);
    assert_eq!(sizes(&cluster), of([("web:1", 3), ("web:bad", 2)]));
    check_says(&cluster, "Progressing", "True", "ReplicaSetUpdated");
    check_says(&cluster, "Available", "True", "MinimumReplicasAvailable");
    cluster.advance(10);
    check_says(&cluster, "Progressing", "False", "ProgressDeadlineExceeded");
    set_image(&mut cluster, "web:1");
    cluster.advance(10);
    assert_eq!(sizes(&cluster), of([("web:1", 4), ("web:bad", 0)]));
    check_says(&cluster, "Progressing", "True", "NewReplicaSetAvailable");
}

#[test]
fn progress_renews_the_deadline() {
    let mut cluster = Cluster::new(Settings { behaviour: Some(behaviour([1, 10])), ..Settings::default() });
    let mut web = deployment("web", 4, "web:1");
    web["spec"]["progressDeadlineSeconds"] = json!(15);
    web["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    cluster.create(web);
    cluster.advance(5);
    set_image(&mut cluster, "web:2");
    for second in 0..50 {
        cluster.advance(1);
        assert_eq!(says(&cluster, "Progressing").0, "True", "after {second} s, 10 s for each pod");
    }
    assert_eq!(sizes(&cluster), of([("web:1", 0), ("web:2", 4)]));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut cluster = Cluster::standard();
    let mut web = deployment("web", 3, "web:1");
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create(web);
    cluster.advance(5);
    let both_at_once = Rc::new(RefCell::new(false));
    let seen = both_at_once.clone();
    cluster.watch = Some(Box::new(move |view| {
        let pods = view.list(kinds::POD, None);
        let images: std::collections::BTreeSet<_> =
            pods.iter().map(|pod| text(pod, "/spec/containers/0/image")).collect();
        *seen.borrow_mut() |= images.len() > 1;
    }));
    set_image(&mut cluster, "web:2");
    assert_eq!(sizes(&cluster), of([("web:1", 0)]));
    cluster.advance(5);
    assert_eq!(sizes(&cluster), of([("web:1", 0), ("web:2", 3)]));
    assert!(!*both_at_once.borrow());
    check_says(&cluster, "Progressing", "True", "NewReplicaSetAvailable");
}

#[test]
fn pause_holds_the_update_but_not_the_size() {
    let mut cluster = Cluster::standard();
    cluster.create(deployment("web", 4, "web:1"));
    cluster.advance(5);
    edit(&mut cluster, |spec| spec["paused"] = json!(true));
    check_says(&cluster, "Progressing", "Unknown", "DeploymentPaused");
    set_image(&mut cluster, "web:2");
    cluster.advance(5);
    assert_eq!(sizes(&cluster), of([("web:1", 4)]));
    edit(&mut cluster, |spec| spec["replicas"] = json!(6));
    cluster.advance(5);
    assert_eq!(sizes(&cluster), of([("web:1", 6)]));
    cluster.check_quiet();
    edit(&mut cluster, |spec| spec["paused"] = json!(false));
    cluster.advance(30);
    assert_eq!(sizes(&cluster), of([("web:1", 0), ("web:2", 6)]));
}

#[test]
fn a_change_of_size_in_the_middle_of_an_update_is_shared() {
    let mut cluster = Cluster::standard();
    cluster.create(deployment("web", 10, "web:1"));
    cluster.advance(5);
    set_image(&mut cluster, "web:unready");
    cluster.advance(5);
    assert_eq!(sizes(&cluster), of([("web:1", 8), ("web:unready", 5)]));
    edit(&mut cluster, |spec| spec["replicas"] = json!(20));
    cluster.advance(1);
    let shared = sizes(&cluster);
    assert_eq!(shared.values().sum::<i64>(), 25, "{shared:?}");
    assert!(shared["web:1"] > 8 && shared["web:unready"] > 5, "{shared:?}");
    cluster.advance(30);
    cluster.check_quiet();
}

#[test]
fn old_revisions_are_forgotten_beyond_the_limit() {
    let mut cluster = Cluster::standard();
    let mut web = deployment("web", 1, "web:1");
    web["spec"]["revisionHistoryLimit"] = json!(2);
    cluster.create(web);
    for image in ["web:2", "web:3", "web:4", "web:5"] {
        cluster.advance(20);
        set_image(&mut cluster, image);
    }
    cluster.advance(20);
    assert_eq!(sizes(&cluster), of([("web:3", 0), ("web:4", 0), ("web:5", 1)]));
}

#[test]
fn a_refused_pod_shows_on_the_deployment() {
    let mut cluster = Cluster::new(Settings { max_pods: Some(1), ..Settings::default() });
    cluster.create(deployment("web", 3, "web:1"));
    cluster.advance(3);
    check_says(&cluster, "ReplicaFailure", "True", "FailedCreate");
}

#[test]
fn annotations_reach_the_replica_set() {
    let mut cluster = Cluster::standard();
    let mut web = deployment("web", 1, "web:1");
    web["metadata"]["annotations"] = json!({"team": "a"});
    cluster.create(web);
    cluster.advance(3);
    let set = cluster.list(kinds::REPLICA_SET, None).remove(0);
    assert_eq!(set["metadata"]["annotations"]["team"], "a");
    assert_eq!(set["metadata"]["annotations"][template::DESIRED_REPLICAS], "1");
    let hash = set["metadata"]["labels"][template::HASH_LABEL].as_str().expect("a hash");
    assert_eq!(name(&set), format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"][template::HASH_LABEL], hash);
}

/// Pods of each version get ready after a time of their own.
fn behaviour(delays: [i64; 2]) -> Arc<dyn PodBehaviour> {
    Arc::new(move |pod: &Value| {
        let at = usize::from(text(pod, "/spec/containers/0/image") == Some("web:2"));
        Some(Plan::ready_after(jiff::SignedDuration::from_secs(delays[at])))
    })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn an_update_stays_in_its_corridor(
        replicas in 1..12i64, surge in 0..5i64, unavailable in 0..5i64, delay in 0..4i64, min_ready in 0..4i64,
    ) {
        let settings = Settings { behaviour: Some(behaviour([1, delay])), ..Settings::default() };
        let mut cluster = Cluster::new(settings);
        let mut web = deployment("web", replicas, "web:1");
        web["spec"]["minReadySeconds"] = json!(min_ready);
        web["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let corridor = Corridor::of(&web);
        cluster.create(web);
        cluster.advance(20);
        let seen = Rc::new(RefCell::new((i64::MAX, 0)));
        let record = seen.clone();
        cluster.watch = Some(Box::new(move |view| {
            let all = view.list(kinds::POD, None);
            let active: Vec<&Value> = all.iter().map(|pod| &**pod).filter(|pod| pods::is_active(pod)).collect();
            let is_available = |pod: &&&Value| {
                pods::availability(pod, min_ready, view.now()) == pods::Availability::Available
            };
            let available = active.iter().filter(is_available).count() as i64;
            let mut record = record.borrow_mut();
            *record = (record.0.min(available), record.1.max(active.len() as i64));
        }));
        set_image(&mut cluster, "web:2");
        cluster.advance(20 * (replicas + 1));
        assert_eq!(sizes(&cluster), of([("web:1", 0), ("web:2", replicas)]));
        let (lowest, highest) = *seen.borrow();
        assert!(lowest >= corridor.min_available(), "{lowest} available, {corridor:?}");
        assert!(highest <= corridor.max_total(), "{highest} pods, {corridor:?}");
        cluster.check_quiet();
    }
}
