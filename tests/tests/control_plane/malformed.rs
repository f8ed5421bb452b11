//! What the definitions would refuse today may be stored from another day.

use anyhow::{Context, Result, ensure};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_controller::clock::Clock;
use sluice_controller::{Controller, Options as ControllerOptions};
use sluice_tests::cluster::{ControlPlane, Options, eventually};

use crate::harness::{SOON, canary, define, text};

/// A definition of Rollouts that lets everything through.
fn lax() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": "Rollout", "plural": "rollouts", "singular": "rollout", "listKind": "RolloutList"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn rollouts(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    Api::namespaced_with(client, "default", &ApiResource::from_gvk_with_plural(&kind, "rollouts"))
}

#[tokio::test]
async fn a_rollout_of_wrong_types_is_told_so() -> Result<()> {
    let bare = Options { controllers: false, scheduler: false, nodes: 0, ..Options::default() };
    let cluster = ControlPlane::start(bare).await?;
    cluster.apply(&lax().to_string()).await?;
    let rollouts = rollouts(cluster.client().await?);
    let mut bad = canary("bad", 1, json!([]));
    bad["spec"]["replicas"] = "many".into();
    bad["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": "half"}]);
    let bad: DynamicObject = serde_json::from_value(bad)?;
    eventually("the object to be stored", SOON, async || {
        rollouts.create(&PostParams::default(), &bad).await.map(drop).map_err(text)
    })
    .await?;
    define(&cluster).await?;
    let good: DynamicObject = serde_json::from_value(canary("good", 1, json!([])))?;
    eventually("the definitions to count", SOON, async || {
        let mut copy = bad.clone();
        copy.metadata.name = Some("copy".into());
        match rollouts.create(&PostParams::default(), &copy).await {
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
            other => {
                let _ = rollouts.delete("copy", &kube::api::DeleteParams::default()).await;
                Err(format!("{other:?}"))
            }
        }
    })
    .await?;
    rollouts.create(&PostParams::default(), &good).await?;

    let client = cluster.client_for("controller").await?;
    let controller = Controller::new(client, Clock::system(), ControllerOptions::default());
    let task = tokio::spawn(controller.run(std::future::pending()));
    let told = eventually("the condition", SOON, async || {
        let bad = rollouts.get("bad").await.map_err(text)?;
        let status = &bad.data["status"];
        if status["phase"] == "Degraded" { Ok(status.clone()) } else { Err(bad.data.to_string()) }
    })
    .await?;
    let message = told["message"].as_str().context("a message")?;
    ensure!(
        message.contains("spec.") && message.contains("Invalid value") && message.contains("expected"),
        "{message}"
    );
    eventually("the good one's ReplicaSet", SOON, async || {
        let good = rollouts.get("good").await.map_err(text)?;
        if good.data["status"]["currentPodHash"].is_string() { Ok(()) } else { Err(good.data.to_string()) }
    })
    .await?;
    task.abort();
    Ok(())
}
