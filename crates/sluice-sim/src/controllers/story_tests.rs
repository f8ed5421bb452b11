//! The controllers on the simulated API server: what they write must come back as they meant it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::object::{int, items, kinds, namespace};
use super::testing::{deployment, pod};
use super::{BUILT_IN_KINDS, Settings, pods, standard};
use crate::{Cluster, DeleteOptions, Options};

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn started() -> Cluster {
    let cluster = Cluster::new(Options::default());
    cluster.start_controllers(standard(Settings::default()));
    cluster
}

fn delete(cluster: &Cluster, kind: &str, namespace: Option<&str>, name: &str) {
    cluster.delete("test", kind, namespace, name, DeleteOptions::default()).expect("deleted");
}

fn set_image(cluster: &Cluster, image: &str) {
    let mut web =
        Value::clone(&cluster.get(kinds::DEPLOYMENT, Some("default"), "web").expect("the Deployment"));
    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    cluster.update("test", web).expect("updated");
}

/// Checks that controllers without any memory have nothing to write.
#[track_caller]
fn check_quiet(cluster: &Cluster) {
    let objects: Vec<Arc<Value>> = BUILT_IN_KINDS.iter().flat_map(|kind| cluster.list(kind, None)).collect();
    for mut controller in standard(Settings::default()) {
        for object in &objects {
            for key in controller.keys_for(object, cluster) {
                let outcome = controller.reconcile(&key, cluster);
                assert_eq!(outcome.ops, vec![], "{} at {key:?}", controller.name());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_settled_cluster_is_quiet() {
    let cluster = started();
    cluster.create("test", deployment("web", 3, "web:1")).expect("created");
    cluster.create("test", pod("alone", "web:bad")).expect("created");
    for object in [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1},
        }),
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task", "namespace": "default"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "task:1"}]}}},
        }),
    ] {
        cluster.create("test", object).expect("created");
    }
    sleep(30).await;
    delete(&cluster, kinds::POD, Some("default"), "alone");
    set_image(&cluster, "web:2");
    sleep(60).await;
    check_quiet(&cluster);
    let before = cluster.resource_version();
    sleep(3600).await;
    assert_eq!(cluster.resource_version(), before);

    let web = cluster.get(kinds::DEPLOYMENT, Some("default"), "web").expect("the Deployment");
    assert_eq!(int(&web, "/status/availableReplicas"), Some(3));
    assert_eq!(int(&web, "/status/updatedReplicas"), Some(3));
    let task = cluster.get(kinds::JOB, Some("default"), "task").expect("the Job");
    assert_eq!(int(&task, "/status/succeeded"), Some(1));
    let slice = cluster.list(kinds::ENDPOINT_SLICE, Some("default")).remove(0);
    assert_eq!(items(&slice, "/endpoints").len(), 3);
    let budget = cluster.get(kinds::POD_DISRUPTION_BUDGET, Some("default"), "web").expect("the budget");
    assert_eq!(int(&budget, "/status/disruptionsAllowed"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn deletions_are_carried_out() {
    let cluster = started();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    cluster.create("test", space).expect("created");
    let mut other = deployment("web", 2, "web:1");
    other["metadata"]["namespace"] = json!("other");
    cluster.create("test", other).expect("created");
    cluster.create("test", deployment("web", 2, "web:1")).expect("created");
    sleep(10).await;
    let ready =
        |space| cluster.list(kinds::POD, Some(space)).iter().filter(|pod| pods::is_ready(pod)).count();
    assert_eq!((ready("default"), ready("other")), (2, 2));

    for (propagation, lives) in [("Orphan", true), ("Foreground", false)] {
        let options = DeleteOptions { propagation: Some(propagation.to_owned()), ..DeleteOptions::default() };
        cluster.delete("test", kinds::DEPLOYMENT, Some("default"), "web", options).expect("deleted");
        sleep(10).await;
        assert!(cluster.get(kinds::DEPLOYMENT, Some("default"), "web").is_none(), "{propagation}");
        assert_eq!(ready("default") == 2, lives, "{propagation}");
        // It takes the orphaned ReplicaSet over.
        if lives {
            cluster.create("test", deployment("web", 2, "web:1")).expect("created");
            sleep(10).await;
            assert_eq!(cluster.list(kinds::REPLICA_SET, Some("default")).len(), 1);
        }
    }
    check_quiet(&cluster);
    delete(&cluster, kinds::NAMESPACE, None, "other");
    sleep(10).await;
    let left = BUILT_IN_KINDS.iter().flat_map(|kind| cluster.list(kind, Some("other")));
    let left: Vec<Arc<Value>> = left.filter(|object| namespace(object) == Some("other")).collect();
    assert_eq!(left, vec![]);
}
