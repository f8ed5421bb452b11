//! The workload controllers on the cluster, and what reads along.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use sluice_sim::{
    Cluster, DeleteOptions, Patch,
    controllers::{Settings, standard},
};

use crate::cluster;

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}}})
}

async fn settle(cluster: &Cluster) {
    let mut version = 0;
    while version != cluster.resource_version() {
        version = cluster.resource_version();
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_pods_and_goes_again() {
    let cluster = cluster();
    let running = cluster.start_controllers(standard(Settings::default()));
    cluster.create("tester", deployment(3)).expect("created");
    settle(&cluster).await;
    let web = cluster.get("Deployment", None, "web").expect("web");
    assert_eq!(web["status"]["readyReplicas"], 3, "{web:#}");
    assert_eq!(cluster.list("Pod", Some("default")).len(), 3);
    let change = Patch::Strategic(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}),
    );
    cluster.patch("tester", "Deployment", None, "web", None, change).expect("patched");
    settle(&cluster).await;
    let images: Vec<_> =
        cluster.list("Pod", None).iter().map(|pod| pod["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, ["web:2", "web:2", "web:2"]);
    cluster.delete("tester", "Deployment", None, "web", DeleteOptions::default()).expect("deleted");
    settle(&cluster).await;
    assert_eq!(
        (cluster.list("ReplicaSet", None).len(), cluster.list("Pod", None).len()),
        (0, 0),
        "collected"
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_its_content_along() {
    let cluster = cluster();
    let running = cluster.start_controllers(standard(Settings::default()));
    cluster
        .create("tester", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}))
        .expect("created");
    let mut web = deployment(2);
    web["metadata"]["namespace"] = json!("team");
    cluster.create("tester", web).expect("created");
    settle(&cluster).await;
    assert_eq!(cluster.list("Pod", Some("team")).len(), 2);
    cluster.delete("tester", "Namespace", None, "team", DeleteOptions::default()).expect("begun");
    settle(&cluster).await;
    assert!(cluster.get("Namespace", None, "team").is_none());
    assert!(cluster.list("Pod", Some("team")).is_empty());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn hooks_see_every_write_in_order() {
    let cluster = cluster();
    let seen: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
    let log = seen.clone();
    cluster.on_write(move |cluster, write| {
        // The cluster may be read, and even written to, from here.
        assert_eq!(cluster.get(&write.kind, write.namespace.as_deref(), &write.name).is_some(), write.after.is_some());
        if write.kind.as_ref() == "Deployment" && write.before.is_none() {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "namespace": "default"}});
            cluster.create("hook", map).expect("created");
        }
        log.lock().expect("log").push((write.resource_version, format!("{} {} {}", write.identity, write.verb, write.kind)));
    });
    cluster.create("tester", deployment(1)).expect("created");
    cluster.delete("tester", "Deployment", None, "web", DeleteOptions::default()).expect("deleted");
    let seen = seen.lock().expect("log").clone();
    let texts: Vec<_> = seen.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["tester create Deployment", "hook create ConfigMap", "tester delete Deployment"]);
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_cluster() {
    async fn play() -> Vec<String> {
        let cluster = cluster();
        let running = cluster.start_controllers(standard(Settings::default()));
        cluster.create("tester", deployment(4)).expect("created");
        settle(&cluster).await;
        running.abort();
        cluster.list("Pod", None).iter().map(ToString::to_string).collect()
    }
    assert_eq!(play().await, play().await);
}

#[tokio::test(start_paused = true)]
async fn fixtures_keep_what_they_say() {
    let cluster = cluster();
    let mut web = deployment(2);
    web["metadata"]["uid"] = json!("11111111-1111-1111-1111-111111111111");
    web["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    web["status"] = json!({"readyReplicas": 2});
    cluster.load(vec![web.clone()]);
    let loaded = cluster.get("Deployment", None, "web").expect("web");
    for key in ["uid", "creationTimestamp"] {
        assert_eq!(loaded["metadata"][key], web["metadata"][key]);
    }
    assert_eq!(loaded["status"], web["status"]);
}

#[tokio::test(start_paused = true)]
async fn budgets_refuse_evictions() {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, EvictParams};
    let cluster = cluster();
    let running = cluster.start_controllers(standard(Settings::default()));
    cluster.create("tester", deployment(2)).expect("created");
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    cluster.create("tester", budget).expect("created");
    settle(&cluster).await;
    let api: Api<Pod> = Api::default_namespaced(cluster.client("tester"));
    let pod = cluster.list("Pod", None)[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    assert_eq!(crate::code_of(api.evict(&pod, &EvictParams::default()).await).0, 429);
    let less = Patch::Merge(json!({"spec": {"minAvailable": 1}}));
    cluster.patch("tester", "PodDisruptionBudget", None, "web", None, less).expect("patched");
    settle(&cluster).await;
    api.evict(&pod, &EvictParams::default()).await.expect("evicted");
    running.abort();
}
