//! What people do with kubectl, and what comes of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_tests::cluster::eventually;
use sluice_tests::simulation::revision;
use sluice_tests::takeover::HASH;

use crate::harness::{SOON, Sandbox, canary, image};

async fn patch(sandbox: &Sandbox, patch: &Value) -> Result<()> {
    sandbox.kubectl(&["patch", "rollout", "web", "--type=merge", "--patch", &patch.to_string()]).await?;
    Ok(())
}

async fn patch_status(sandbox: &Sandbox, status: &Value) -> Result<()> {
    let patch = json!({"status": status}).to_string();
    sandbox
        .kubectl(&["patch", "rollout", "web", "--subresource=status", "--type=merge", "--patch", &patch])
        .await?;
    Ok(())
}

async fn set_image(sandbox: &Sandbox, tag: &str) -> Result<()> {
    sandbox.kubectl(&["patch", "rollout", "web", "--type=json", "--patch", &image(tag)]).await?;
    Ok(())
}

/// The patch by which the plugin goes back to a revision.
async fn undo(sandbox: &Sandbox, to_revision: i64) -> Result<()> {
    let sets = sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)?;
    let mut template = sets
        .iter()
        .find(|set| revision(set) == to_revision)
        .context("the revision is history")?["spec"]["template"]
        .clone();
    template["metadata"]["labels"].as_object_mut().context("labels")?.remove(HASH);
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]).to_string();
    sandbox.kubectl(&["patch", "rollout", "web", "--type=json", "--patch", &patch]).await?;
    Ok(())
}

#[tokio::test]
async fn kubectl_deploys_promotes_aborts_scales_and_deletes() -> Result<()> {
    let sandbox = Sandbox::with_controller("people").await?;
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut manifest = canary("web", 4, steps);
    sandbox.apply(&manifest).await?;
    sandbox.until("1 | 1:4/4 | Healthy").await?;

    // An update, by a changed manifest; held and let go by hand; then resumed at its pause.
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/web:2".into();
    sandbox.apply(&manifest).await?;
    sandbox.until("2 | 1:3/3 2:1/1 | Paused CanaryPauseStep").await?;
    patch(&sandbox, &json!({"spec": {"paused": true}})).await?;
    sandbox.until("2 | 1:3/3 2:1/1 | Paused manually paused").await?;
    patch(&sandbox, &json!({"spec": {"paused": false}})).await?;
    sandbox.until("2 | 1:3/3 2:1/1 | Paused CanaryPauseStep").await?;
    patch_status(&sandbox, &json!({"pauseConditions": null})).await?;
    sandbox.until("2 | 1:2/2 2:2/2 | Paused CanaryPauseStep").await?;

    // Aborted, tried again, promoted in full.
    patch_status(&sandbox, &json!({"abort": true})).await?;
    sandbox.until("2 | 1:4/4 | Degraded RolloutAborted: Rollout aborted update to revision 2").await?;
    patch_status(&sandbox, &json!({"abort": false})).await?;
    sandbox.until("2 | 1:3/3 2:1/1 | Paused CanaryPauseStep").await?;
    patch_status(&sandbox, &json!({"promoteFull": true})).await?;
    sandbox.until("2 | 2:4/4 | Healthy").await?;

    // A third image, taken back half-way; and the first one as an update like any other.
    set_image(&sandbox, "3").await?;
    sandbox.until("3 | 2:3/3 3:1/1 | Paused CanaryPauseStep").await?;
    undo(&sandbox, 2).await?;
    sandbox.until("4 | 4:4/4 | Healthy").await?;
    undo(&sandbox, 1).await?;
    sandbox.until("5 | 4:3/3 5:1/1 | Paused CanaryPauseStep").await?;

    // Scaled on the way, and at rest.
    sandbox.kubectl(&["scale", "rollout", "web", "--replicas=8"]).await?;
    sandbox.until("5 | 4:6/6 5:2/2 | Paused CanaryPauseStep").await?;
    patch_status(&sandbox, &json!({"promoteFull": true})).await?;
    sandbox.until("5 | 5:8/8 | Healthy").await?;
    sandbox.kubectl(&["scale", "rollout", "web", "--replicas=2"]).await?;
    sandbox.until("5 | 5:2/2 | Healthy").await?;
    let shown = sandbox.kubectl(&["get", "rollout", "web", "--no-headers"]).await?;
    let columns: Vec<&str> = shown.split_whitespace().take(5).collect();
    ensure!(columns == ["web", "2", "2", "2", "2"], "{shown}");

    let sets = sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)?;
    ensure!(sets.len() == 3, "one for each image: {sets:#?}");
    sandbox.kubectl(&["delete", "rollout", "web", "--wait=false"]).await?;
    eventually("everything to be gone", SOON, async || {
        let sets = sandbox.list(sandbox.replica_sets()).await?.len();
        let pods = sandbox.pods().await?.len();
        if (sets, pods) == (0, 0) { Ok(()) } else { Err(format!("{sets} ReplicaSets, {pods} pods")) }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_version_that_never_starts_says_why() -> Result<()> {
    let sandbox = Sandbox::with_controller("broken").await?;
    sandbox.apply(&canary("web", 2, json!([{"setWeight": 50}]))).await?;
    sandbox.until("1 | 1:2/2 | Healthy").await?;
    set_image(&sandbox, "2-bad").await?;
    eventually("the reason in the message", SOON, async || {
        let standing = sandbox.standing("web").await?;
        if standing.contains("CrashLoopBackOff") { Ok(()) } else { Err(standing) }
    })
    .await?;
    set_image(&sandbox, "1").await?;
    sandbox.until("3 | 3:2/2 | Healthy").await?;
    Ok(())
}
