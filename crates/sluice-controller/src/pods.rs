//! Looks at the pods of a ReplicaSet while, and only while, it is awaited that they become available.
//!
//! A small watch per awaited ReplicaSet, begun once the wait has lasted a moment, ended with it. A
//! Rollout that goes well costs no pod request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::core::ApiResource;
use serde_json::Value;
use sluice_engine::troubles::{self, Pod};
use sluice_engine::world::{Pod as PodInfo, Spec};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cache::{Cache, ObjectKey, Slim, Source};
use crate::queue::Queue;

/// How long a wait lasts before its pods are looked at.
const PATIENCE: Duration = Duration::from_secs(4);

impl Slim for Pod {
    fn from_object(object: Value) -> Result<Self, String> {
        serde_json::from_value(object).map_err(|error| error.to_string())
    }
}

/// The watches on pods of ReplicaSets that are awaited.
pub struct PodWatches {
    client: Client,
    queue: Queue<ObjectKey>,
    watches: Mutex<BTreeMap<ObjectKey, Watched>>,
}

/// Whose pods are looked at for one Rollout.
struct Watched {
    replica_set: String,
    since: Instant,
    watch: Option<(Cache<Pod>, JoinHandle<()>)>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.watch {
            task.abort();
        }
    }
}

/// Asks for the pods that a Rollout's selector matches and that a ReplicaSet owns.
///
/// # Errors
/// The API server does not answer.
pub async fn list(client: &Client, namespace: &str, spec: &Spec) -> Result<Vec<PodInfo>, kube::Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let parameters = kube::api::ListParams::default().labels(&spec.selector_text);
    let request = kube::core::Request::new(path).list(&parameters).map_err(kube::Error::BuildRequest)?;
    let list: Value = client.request(request).await?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|pod| read_pod(pod, spec.min_ready_seconds)).collect())
}

fn read_pod(pod: &Value, min_ready_seconds: i64) -> Option<PodInfo> {
    let metadata = &pod["metadata"];
    let owners = metadata["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "ReplicaSet" && owner["controller"] == true)?;
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|c| c["type"] == "Ready" && c["status"] == "True");
    let since = ready.map(|condition| {
        condition["lastTransitionTime"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
    });
    let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    (!is_over).then(|| PodInfo {
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        set: owner["uid"].as_str().unwrap_or_default().to_owned(),
        created_at: metadata["creationTimestamp"].as_str().and_then(|t| t.parse().ok()).unwrap_or_default(),
        available_at: since.map(|since: Timestamp| {
            since.checked_add(SignedDuration::from_secs(min_ready_seconds)).unwrap_or(Timestamp::MAX)
        }),
        is_terminating: !metadata["deletionTimestamp"].is_null(),
    })
}

impl PodWatches {
    /// No watches yet; changes of pods are told to `queue`.
    pub fn new(client: Client, queue: Queue<ObjectKey>) -> PodWatches {
        PodWatches { client, queue, watches: Mutex::default() }
    }

    fn watches(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Watched>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why pods of the ReplicaSets of `rollout` are not available, as far as they are looked at.
    pub fn troubles(&self, rollout: &ObjectKey) -> BTreeMap<String, String> {
        let watches = self.watches();
        let Some(Watched { replica_set, watch: Some((cache, _)), .. }) = watches.get(rollout) else {
            return BTreeMap::new();
        };
        let mut pods: Vec<Arc<Pod>> = Vec::new();
        cache.for_each(|_, body| pods.extend(body.good().cloned()));
        let trouble = troubles::describe(pods.iter().map(Arc::as_ref));
        trouble.map(|text| (replica_set.clone(), text)).into_iter().collect()
    }

    /// Begins, goes on with or ends looking. `awaited` is the name and hash of the ReplicaSet whose pods
    /// `rollout` waits for. Returns when to come back to begin.
    pub fn follow(&self, rollout: &ObjectKey, awaited: Option<(&str, &str)>) -> Option<Instant> {
        let mut watches = self.watches();
        let Some((name, hash)) = awaited else {
            watches.remove(rollout);
            return None;
        };
        if watches.get(rollout).is_some_and(|watched| watched.replica_set != name) {
            watches.remove(rollout);
        }
        let now = Instant::now();
        let watched = watches.entry(rollout.clone()).or_insert_with(|| Watched {
            replica_set: name.to_owned(),
            since: now,
            watch: None,
        });
        if watched.watch.is_some() {
            return None;
        }
        let begin_at = watched.since + PATIENCE;
        if now < begin_at {
            return Some(begin_at);
        }
        watched.watch = Some(self.begin(rollout, hash));
        None
    }

    fn begin(&self, rollout: &ObjectKey, hash: &str) -> (Cache<Pod>, JoinHandle<()>) {
        let cache: Cache<Pod> = Cache::new("Pod");
        let source =
            Source::new(self.client.clone(), ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()))
                .in_namespace(Some(rollout.namespace.to_string()))
                .labelled(format!("{}={hash}", sluice_api::keys::POD_TEMPLATE_HASH));
        let (queue, key) = (self.queue.clone(), rollout.clone());
        let feed = cache.clone().feed(source, move |_| queue.add(key.clone()));
        (cache, tokio::spawn(feed))
    }

    /// Ends all looking.
    pub fn clear(&self) {
        self.watches().clear();
    }
}
