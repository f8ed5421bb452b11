//! Lets pods follow the metadata of their ReplicaSet, which shapes only the pods that come after it.
//!
//! Asks for the pods once, patches those that differ, a few at a time, and takes the note off the ReplicaSet
//! when all are done. A pod that fails costs the others nothing; what is left is done in a later look.

use std::collections::BTreeMap;

use futures::StreamExt;
use kube::Client;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request as Builder;
use serde_json::{Value, json};
use sluice_engine::parts::{PENDING, PodSync};

use crate::act::{FIELD_MANAGER, Kind};
use crate::lease::Leadership;

/// How many pods are patched side by side.
const PARALLEL: usize = 10;
/// How many pods are patched in one go, so that a large version does not hold its Rollout up.
const AT_ONCE: usize = 100;

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// All pods carry what they should.
    All,
    /// Some are left.
    Some,
}

/// Lets the pods of one ReplicaSet follow.
///
/// # Errors
/// The first trouble with the API server. What was done before stays done.
pub async fn follow(
    client: &Client,
    leadership: &Leadership,
    namespace: &str,
    sync: &PodSync,
) -> Result<Synced, kube::Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let selector = format!("{}={}", sluice_api::keys::POD_TEMPLATE_HASH, sync.hash);
    let request = Builder::new(&path).list(&ListParams::default().labels(&selector));
    let list: Value = client.request(request.map_err(kube::Error::BuildRequest)?).await?;
    let mut differing: Vec<(String, Value)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| is_owned(pod, &sync.uid) && pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| Some((pod["metadata"]["name"].as_str()?.to_owned(), patch(pod, sync)?)))
        .collect();
    let is_last = differing.len() <= AT_ONCE;
    differing.truncate(AT_ONCE);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let writes = differing.into_iter().map(|(name, patch)| {
        let (path, parameters) = (&path, &parameters);
        async move {
            if !leadership.is_leader() {
                return Ok(false);
            }
            let request = Builder::new(path).patch(&name, parameters, &Patch::Merge(patch));
            match client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
                Ok(_) => Ok(true),
                // It is gone, and what comes in its place has the metadata.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
                Err(error) => Err(error),
            }
        }
    });
    let results: Vec<Result<bool, kube::Error>> =
        futures::stream::iter(writes).buffer_unordered(PARALLEL).collect().await;
    let mut all_done = is_last;
    for result in results {
        all_done &= result?;
    }
    if !all_done || !leadership.is_leader() {
        return Ok(Synced::Some);
    }
    let note = json!({"metadata": {"annotations": {PENDING: null}}});
    let request = Builder::new(Kind::ReplicaSet.path(namespace)).patch(
        &sync.replica_set,
        &parameters,
        &Patch::Merge(note),
    );
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(Synced::All)
}

fn is_owned(pod: &Value, uid: &str) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["uid"].as_str() == Some(uid))
}

/// What has to change in a pod, if anything has.
fn patch(pod: &Value, sync: &PodSync) -> Option<Value> {
    let mut metadata = json!({});
    for (field, wanted) in [("labels", &sync.labels), ("annotations", &sync.annotations)] {
        for (key, value) in differing(&pod["metadata"][field], wanted) {
            metadata[field][key] = value.map_or(Value::Null, Value::String);
        }
    }
    (metadata != json!({})).then(|| json!({"metadata": metadata}))
}

fn differing(found: &Value, wanted: &BTreeMap<String, Option<String>>) -> Vec<(String, Option<String>)> {
    let differs =
        |(key, value): &(&String, &Option<String>)| found[key.as_str()].as_str() != value.as_deref();
    wanted.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let map = |list: &[(&str, Option<&str>)]| {
            list.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
        };
        let sync = PodSync {
            replica_set: "web-1".into(),
            uid: "u".into(),
            hash: "1".into(),
            labels: map(&[("role", Some("stable")), ("old", None)]),
            annotations: map(&[("note", Some("x"))]),
        };
        for (pod, expected) in [
            (json!({"metadata": {"labels": {"role": "stable"}, "annotations": {"note": "x"}}}), None),
            (
                json!({"metadata": {"labels": {"role": "canary", "old": "y", "app": "web"}}}),
                Some(
                    json!({"metadata": {"labels": {"role": "stable", "old": null}, "annotations": {"note": "x"}}}),
                ),
            ),
        ] {
            assert_eq!(patch(&pod, &sync), expected, "{pod}");
        }
    }
}
