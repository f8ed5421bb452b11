//! Situations that Argo Rollouts left, put into the real API server and taken over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_tests::cluster::eventually;
use sluice_tests::simulation::number;
use sluice_tests::takeover::{ROLLOUT, Situation, differences};

use crate::harness::{SOON, Sandbox, foreign_kinds, image, is_write, text};

/// What a person does next.
enum Next {
    Image(&'static str),
    Status(&'static str),
    Spec(&'static str),
    /// A patch that replaces single values.
    Replace(&'static str),
}

/// Situations, how they stand, what happens next and where that leads.
const SITUATIONS: &[(&str, &str, Next, &str)] = &[
    (
        "blue-green.1-healthy",
        "1 | 1:3/3 | Healthy",
        Next::Image("2"),
        "2 | 1:3/3 2:1/1 | Paused BlueGreenPause",
    ),
    (
        "blue-green.2-awaiting-promotion",
        "2 | 1:3/3 2:1/1 | Paused BlueGreenPause",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 1:3/3 2:3/3 | Healthy",
    ),
    (
        "blue-green.3-promoted-old-within-delay",
        "2 | 1:3/3 2:3/3 | Healthy",
        Next::Image("1"),
        "3 | 2:3/3 3:3/3 | Healthy",
    ),
    (
        "blue-green.4-aborted",
        "3 | 1:3/3 2:3/3 3:1/1 | Degraded RolloutAborted: Rollout aborted update to revision 3",
        Next::Status(r#"{"abort": null}"#),
        "3 | 1:3/3 2:3/3 3:1/1 | Paused BlueGreenPause",
    ),
    (
        "canary-basic.1-healthy",
        "1 | 1:5/5 | Healthy",
        Next::Image("2"),
        "2 | 1:4/4 2:1/1 | Paused CanaryPauseStep",
    ),
    (
        "canary-basic.2-paused-at-20",
        "2 | 1:4/4 2:1/1 | Paused CanaryPauseStep",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 1:2/2 2:3/3 | Paused CanaryPauseStep",
    ),
    (
        "canary-basic.3-timed-pause-at-60",
        "2 | 1:2/2 2:3/3 | Paused CanaryPauseStep",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 2:5/5 | Healthy",
    ),
    (
        "canary-basic.4-third-revision-paused",
        "3 | 1:4/4 3:1/1 | Paused CanaryPauseStep",
        Next::Status(r#"{"abort": true}"#),
        "3 | 1:5/5 | Degraded RolloutAborted: Rollout aborted update to revision 3",
    ),
    (
        "canary-basic.5-aborted",
        "3 | 1:5/5 | Degraded RolloutAborted: Rollout aborted update to revision 3",
        Next::Status(r#"{"abort": null}"#),
        "3 | 1:4/4 3:1/1 | Paused CanaryPauseStep",
    ),
    (
        "canary-basic.6-rolled-back-to-first",
        "4 | 4:5/5 | Healthy",
        Next::Image("3"),
        "5 | 4:4/4 5:1/1 | Paused CanaryPauseStep",
    ),
    (
        "canary-istio-header.1-header-route",
        "2 | 1:5/5 2:1/1 | Paused CanaryPauseStep",
        Next::Status(r#"{"abort": true}"#),
        "2 | 1:5/5 | Degraded RolloutAborted: Rollout aborted update to revision 2",
    ),
    (
        "canary-istio-subsets-dss.1-paused-at-40",
        "2 | 1:3/3 2:2/2 | Paused CanaryPauseStep",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 1:1/1 2:4/4 | Paused CanaryPauseStep",
    ),
    (
        "canary-istio-subsets-dss.3-promoted-full",
        "2 | 2:5/5 | Healthy",
        Next::Image("5"),
        "3 | 2:3/3 3:2/2 | Paused CanaryPauseStep",
    ),
    (
        "canary-nginx.1-paused-at-5",
        "2 | 1:1/1 2:1/1 | Paused CanaryPauseStep",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 1:1/1 2:1/1 | Paused CanaryPauseStep",
    ),
    (
        "canary-alb-pingpong.1-paused-at-10",
        "2 | 1:3/3 2:1/1 | Paused CanaryPauseStep",
        Next::Status(r#"{"pauseConditions": null}"#),
        "2 | 1:3/3 2:3/3 | Healthy",
    ),
    ("canary-no-steps.1-fourth-revision", "4 | 4:4/4 | Healthy", Next::Image("5"), "5 | 5:4/4 | Healthy"),
    (
        "invalid-spec.1-weight-120",
        "0 |  | Degraded InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.steps[0].setWeight: Invalid value: 120: SetWeight needs to be between 0 and 100",
        Next::Replace(
            r#"[{"op": "replace", "path": "/spec/strategy/canary/steps/0/setWeight", "value": 20}]"#,
        ),
        "1 | 1:2/2 | Healthy",
    ),
    (
        "scaled-to-zero.1-updated-while-asleep",
        "2 |  | Paused CanaryPauseStep",
        Next::Spec(r#"{"replicas": 4}"#),
        "2 | 1:2/2 2:2/2 | Paused CanaryPauseStep",
    ),
];

#[tokio::test]
async fn situations_are_taken_over_untouched_and_go_on() -> Result<()> {
    try_join_all(SITUATIONS.iter().map(|(name, standing, next, then)| async move {
        take_over(name, standing, next, then).await.with_context(|| (*name).to_owned())
    }))
    .await?;
    Ok(())
}

async fn take_over(name: &str, standing: &str, next: &Next, then: &str) -> Result<()> {
    foreign_kinds().await?;
    let mut sandbox = Sandbox::new("taken-over").await?;
    load(&sandbox, Situation::load(name)).await?;
    sandbox.until(standing).await?;
    let pods = sandbox.pods().await.map_err(anyhow::Error::msg)?;
    let sets = sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)?;
    let rollout = sandbox.rollouts().get(ROLLOUT).await?;

    sandbox.start_controller(Options::default()).await?;
    sandbox.at_rest().await?;
    ensure!(sandbox.pods().await.map_err(anyhow::Error::msg)? == pods, "pods changed");
    ensure!(
        sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)? == sets,
        "ReplicaSets changed"
    );
    let (before, after) = (serde_json::to_value(&rollout)?, sandbox.rollouts().get(ROLLOUT).await?);
    let changed = differences(&before, &serde_json::to_value(after)?);
    ensure!(changed.is_empty(), "the Rollout changed: {changed:#?}");

    // Whatever the controller wrote before this request was not asked for.
    let person = PatchParams { field_manager: Some("person".into()), ..PatchParams::default() };
    let rollouts = sandbox.rollouts();
    match next {
        Next::Image(tag) => rollouts.patch(ROLLOUT, &person, &json_patch(&image(tag))?).await?,
        Next::Replace(patch) => rollouts.patch(ROLLOUT, &person, &json_patch(patch)?).await?,
        Next::Spec(spec) => rollouts.patch(ROLLOUT, &person, &merge("spec", spec)?).await?,
        Next::Status(status) => rollouts.patch_status(ROLLOUT, &person, &merge("status", status)?).await?,
    };
    sandbox.until(then).await?;

    let entries = eventually("the audit log to have it all", Duration::from_secs(20), async || {
        let entries = sandbox.cluster.audit_since(sandbox.mark).map_err(text)?;
        let entries: Vec<_> =
            entries.into_iter().filter(|entry| entry.namespace == sandbox.namespace).collect();
        if entries.iter().any(|entry| entry.user == sandbox.controller() && is_write(entry)) {
            Ok(entries)
        } else {
            Err("no write".into())
        }
    })
    .await?;
    let asked = entries
        .iter()
        .position(|entry| entry.uri.contains("fieldManager=person"))
        .context("the request is there")?;
    let unasked: Vec<_> = entries[..asked]
        .iter()
        .filter(|entry| entry.user == sandbox.controller() && is_write(entry))
        .collect();
    ensure!(unasked.is_empty(), "{unasked:#?}");

    let after = sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)?;
    let is_new = matches!(next, Next::Image("2" | "5")) || sets.is_empty();
    let created: Vec<_> = after
        .iter()
        .filter(|set| !sets.iter().any(|old| old["metadata"]["uid"] == set["metadata"]["uid"]))
        .collect();
    ensure!(created.len() == usize::from(is_new), "{created:#?}");
    Ok(())
}

fn json_patch(patch: &str) -> Result<Patch<DynamicObject>> {
    Ok(Patch::Json(serde_json::from_str(patch)?))
}

fn merge(part: &str, value: &str) -> Result<Patch<Value>> {
    Ok(Patch::Merge(json!({part: serde_json::from_str::<Value>(value)?})))
}

/// Puts a situation into the namespace as if it had come about there: new uids, moved times, and the status
/// through its subresource. Returns once all its pods are ready.
async fn load(sandbox: &Sandbox, situation: Situation) -> Result<()> {
    let mut situation = situation.at(jiff::Timestamp::now()).in_namespace(&sandbox.namespace);
    let own = situation.rollout().clone();
    let rollouts = sandbox.rollouts();
    let created = rollouts.create(&PostParams::default(), &bare(&own)?).await?;
    let mut with_status = serde_json::to_value(&created)?;
    with_status["status"] = own["status"].clone();
    // The generation counts from 1 here.
    with_status["status"]["observedGeneration"] =
        created.metadata.generation.unwrap_or_default().to_string().into();
    rollouts
        .replace_status(
            ROLLOUT,
            &PostParams::default(),
            &serde_json::from_value::<DynamicObject>(with_status)?,
        )
        .await?;

    let uid = created.metadata.uid.context("a uid")?;
    for object in &situation.objects {
        let mut object = object.clone();
        for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            owner["uid"] = uid.as_str().into();
        }
        let api = match object["kind"].as_str().unwrap_or_default() {
            "Rollout" => continue,
            "ReplicaSet" => {
                postpone(&mut object)?;
                sandbox.replica_sets()
            }
            "Service" => {
                // Addresses are the other cluster's.
                let spec = object["spec"].as_object_mut().context("a Service has a spec")?;
                for given in ["clusterIP", "clusterIPs"] {
                    spec.remove(given);
                }
                sandbox.api("", "v1", "Service", "services")
            }
            "Ingress" => sandbox.api("networking.k8s.io", "v1", "Ingress", "ingresses"),
            "VirtualService" => {
                sandbox.api("networking.istio.io", "v1beta1", "VirtualService", "virtualservices")
            }
            "DestinationRule" => {
                sandbox.api("networking.istio.io", "v1beta1", "DestinationRule", "destinationrules")
            }
            "HorizontalPodAutoscaler" => {
                sandbox.api("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            }
            other => anyhow::bail!("nobody says how to create a {other}"),
        };
        api.create(&PostParams::default(), &bare(&object)?).await?;
    }
    eventually("all pods", SOON, async || {
        let sets = sandbox.list(sandbox.replica_sets()).await?;
        let is_full = |set: &Value| {
            number(set, "/status/availableReplicas") == number(set, "/spec/replicas")
                && number(set, "/status/observedGeneration") == number(set, "/metadata/generation")
        };
        if sets.iter().all(is_full) { Ok(()) } else { Err(format!("{sets:?}")) }
    })
    .await?;
    Ok(())
}

/// Puts off a scale-down deadline: pods take real time here, and it must not pass while they start.
fn postpone(set: &mut Value) -> Result<()> {
    if let Some(deadline) = set["metadata"]["annotations"].get_mut("scale-down-deadline") {
        let at: jiff::Timestamp = deadline.as_str().context("a text")?.parse()?;
        *deadline = format!("{:.0}", at + jiff::SignedDuration::from_mins(10)).into();
    }
    Ok(())
}

/// An object as one creates it.
fn bare(object: &Value) -> Result<DynamicObject> {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().context("metadata")?;
    for given in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        metadata.remove(given);
    }
    object.as_object_mut().context("an object")?.remove("status");
    Ok(serde_json::from_value(object)?)
}
