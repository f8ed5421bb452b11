//! What happens in the demo: who does what, and what has to come of it.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_sim::{Cluster, Patch};

use super::view::Screen;

/// Who acts in the story.
const PERSON: &str = "you";
const NAMESPACE: &str = "default";
const NAME: &str = "web";

/// How the story ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it was told beforehand.
    AsTold,
    /// Otherwise; the text says how.
    Otherwise(String),
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Plays the story on a cluster that has a controller.
pub async fn play(cluster: &Cluster, screen: &mut Screen, manifests: &[Value]) -> Ending {
    match chapters(cluster, screen, manifests).await {
        Ok(()) => Ending::AsTold,
        Err(what) => Ending::Otherwise(what),
    }
}

async fn chapters(cluster: &Cluster, screen: &mut Screen, manifests: &[Value]) -> Result<(), String> {
    screen.chapter("1/3  kubectl apply -f examples/demo/rollout.yaml: the first version goes out at once.");
    for manifest in manifests {
        let mut object = manifest.clone();
        object["metadata"]["namespace"] = NAMESPACE.into();
        cluster.create(PERSON, object).map_err(|status| format!("a manifest is refused: {status:?}"))?;
    }
    until(cluster, screen, 60, "version 1 is healthy", |status| phase(status) == "Healthy").await?;

    screen.chapter("2/3  A new image: version 2 is good. A fifth of the pods, half of them, all.");
    image(cluster, "2")?;
    let mut weights = Weights::default();
    until(cluster, screen, 180, "version 2 is promoted", |status| {
        weights.see(status);
        phase(status) == "Healthy" && status["stableRS"] == status["currentPodHash"] && weights.updates()
    })
    .await?;
    let seen = weights.finished();
    if seen != [0, 1, 2, 3, 4, 5] {
        return Err(format!("version 2 took the steps {seen:?} of 5"));
    }

    screen.chapter("3/3  A new image: version bad crashes. It gets one pod's share, and is taken back.");
    let before = rollout(cluster)["status"]["stableRS"].clone();
    image(cluster, "bad")?;
    until(cluster, screen, 180, "the bad version is aborted", |status| {
        status["abort"] == true && phase(status) == "Degraded"
    })
    .await?;
    until(cluster, screen, 60, "version 2 has all its pods again", |status| {
        status["availableReplicas"] == 10
            && status["replicas"] == 10
            && status["updatedReplicas"].as_i64().unwrap_or(0) == 0
    })
    .await?;
    let status = rollout(cluster)["status"].clone();
    if status["stableRS"] != before {
        return Err("the bad version became the stable one".into());
    }
    let message = status["message"].as_str().unwrap_or_default();
    if !(message.contains("0 of 1 pods available (CrashLoopBackOff")
        && message.contains("wanted 2 available"))
    {
        return Err(format!("the reason does not name pods seen and wanted: {message}"));
    }
    screen.chapter("Every user was served all the time: the bad version never had more than its one step.");
    Ok(())
}

/// The steps that an update was seen at.
#[derive(Default)]
struct Weights {
    seen: Vec<i64>,
    started: bool,
}

impl Weights {
    fn see(&mut self, status: &Value) {
        let index = status["currentStepIndex"].as_i64().unwrap_or(0);
        if index == 0 {
            self.started = true;
        }
        if self.started && self.seen.last() != Some(&index) {
            self.seen.push(index);
        }
    }

    fn updates(&self) -> bool {
        self.started
    }

    fn finished(&self) -> &[i64] {
        &self.seen
    }
}

fn phase(status: &Value) -> &str {
    status["phase"].as_str().unwrap_or_default()
}

fn rollout(cluster: &Cluster) -> Value {
    cluster.get("Rollout", Some(NAMESPACE), NAME).map(|object| Value::clone(&object)).unwrap_or_default()
}

fn image(cluster: &Cluster, tag: &str) -> Result<(), String> {
    let image = format!("registry.example/web:{tag}");
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
    cluster
        .patch(PERSON, "Rollout", Some(NAMESPACE), NAME, None, Patch::Json(patch))
        .map(|_| ())
        .map_err(|status| format!("the new image is refused: {status:?}"))
}

/// Shows every change until `is` holds for the status of the present generation.
async fn until(
    cluster: &Cluster,
    screen: &mut Screen,
    limit_seconds: i64,
    what: &str,
    mut is: impl FnMut(&Value) -> bool,
) -> Result<(), String> {
    let end = cluster.now() + SignedDuration::from_secs(limit_seconds);
    loop {
        let version = cluster.resource_version();
        screen.show(cluster, NAMESPACE, NAME);
        let object = rollout(cluster);
        let observed =
            object["status"]["observedGeneration"].as_str().and_then(|text| text.parse::<i64>().ok());
        if observed == object["metadata"]["generation"].as_i64() && is(&object["status"]) {
            return Ok(());
        }
        if cluster.now() >= end {
            return Err(format!("{what}: not within {limit_seconds} s; status is {}", object["status"]));
        }
        // A change, or a moment for the clocks on the screen.
        let _ = tokio::time::timeout(Duration::from_millis(250), cluster.changed(version)).await;
    }
}

/// Shows every change for ever.
pub async fn watch(cluster: &Cluster, screen: &mut Screen) {
    loop {
        let version = cluster.resource_version();
        screen.show(cluster, NAMESPACE, NAME);
        let _ = tokio::time::timeout(Duration::from_millis(250), cluster.changed(version)).await;
    }
}
