//! The workloads whose templates Rollouts run: what is known of them, from watches that begin when the first
//! Rollout names one of their kind.
//!
//! Decides nothing about them. What a Rollout makes of its workload is the business of
//! `sluice_engine::workload`.

use std::sync::Arc;

use kube::core::ApiResource;
use serde_json::Value;
use sluice_engine::spec::OwnedSet;
use sluice_engine::workload::{self, Found};
use sluice_engine::world::{Rollout, Workload, WorkloadKind};

use crate::cache::{Body, Cache, LazyCaches, ObjectKey, Slim, SyncState};
use crate::routes::NotReady;

/// The caches of workloads, by kind.
pub type Workloads = LazyCaches<WorkloadKind, Workload>;

impl Slim for Workload {
    fn from_object(object: Value) -> Result<Workload, String> {
        workload::read(kind_of(&object), object).map_err(|error| error.to_string())
    }
}

/// The kind of an object. In a list it does not say so itself, but no two of the three have the same shape: an
/// API server fills in a Deployment's `strategy`.
fn kind_of(object: &Value) -> WorkloadKind {
    match object["kind"].as_str() {
        Some("Deployment") => WorkloadKind::Deployment,
        Some("ReplicaSet") => WorkloadKind::ReplicaSet,
        Some("PodTemplate") => WorkloadKind::PodTemplate,
        _ if object["template"].is_object() => WorkloadKind::PodTemplate,
        _ if object["spec"]["strategy"].is_object() => WorkloadKind::Deployment,
        _ => WorkloadKind::ReplicaSet,
    }
}

/// The kind, as it is watched.
pub fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        WorkloadKind::ReplicaSet => ApiResource::erase::<k8s_openapi::api::apps::v1::ReplicaSet>(&()),
        WorkloadKind::PodTemplate => ApiResource::erase::<k8s_openapi::api::core::v1::PodTemplate>(&()),
    }
}

/// The collection's path.
pub fn path(kind: WorkloadKind, namespace: &str) -> String {
    match kind {
        WorkloadKind::Deployment => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        WorkloadKind::ReplicaSet => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
        WorkloadKind::PodTemplate => format!("/api/v1/namespaces/{namespace}/podtemplates"),
    }
}

/// The name under which Rollouts are indexed by their workload.
pub fn index_name(kind: WorkloadKind, namespace: &str, name: &str) -> String {
    format!("workload {}/{namespace}/{name}", kind.name())
}

/// The index entry of a Rollout that names a workload.
pub fn index(rollout: &Rollout) -> Option<String> {
    let reference = rollout.workload.as_ref()?;
    Some(index_name(*reference.kind.as_ref().ok()?, &rollout.namespace, &reference.name))
}

/// An empty cache of workloads, which can be found by the Rollout that they were scaled down for.
pub fn cache(kind: WorkloadKind) -> Cache<Workload> {
    Cache::with_index(kind.name(), |workload: &Workload| drained_for(workload).into_iter().collect())
}

/// The Rollout that a workload was scaled down for: its namespace and name.
fn drained_for(workload: &Workload) -> Option<String> {
    let drained = workload.drained.as_ref()?;
    Some(format!("{}/{}", workload.namespace, drained.rollout))
}

/// The Rollouts that a workload is of interest to by what stands in it.
pub fn told(workload: &Workload) -> Option<ObjectKey> {
    let drained = workload.drained.as_ref()?;
    Some(ObjectKey::new(workload.namespace.as_str(), drained.rollout.as_str()))
}

/// The workloads that were scaled down for a Rollout of this name, as far as their kind is followed.
pub fn left_by(workloads: &Workloads, key: &ObjectKey) -> Vec<Arc<Workload>> {
    let Some(deployments) = workloads.begun(WorkloadKind::Deployment) else { return Vec::new() };
    let found = deployments.indexed(&format!("{}/{}", key.namespace, key.name));
    found.into_iter().filter_map(|(_, body)| body.good().cloned()).collect()
}

/// One look at the workload of one Rollout.
#[derive(Debug)]
pub struct Look {
    /// The Rollout, with the template that it runs.
    pub rollout: Arc<Rollout>,
    /// The workload that it names, or why its template cannot be used.
    pub workload: Option<Result<Arc<Workload>, String>>,
    /// Workloads that were scaled down for it, or one of its name, and that it does not stand in for.
    pub left: Vec<Arc<Workload>>,
}

/// Looks at the workload of `rollout`.
///
/// # Errors
/// Not all of a kind is known yet.
pub fn look(rollout: &Arc<Rollout>, workloads: &Workloads, sets: &Cache<OwnedSet>) -> Result<Look, NotReady> {
    let reference = rollout.workload.as_ref();
    // One that has taken its reference out may have left a Deployment without pods.
    if reference.is_some() || rollout.annotation(sluice_api::keys::WORKLOAD_GENERATION).is_some() {
        synced(workloads, WorkloadKind::Deployment)?;
    }
    let key = ObjectKey::new(rollout.namespace.as_str(), rollout.name.as_str());
    let mut left = left_by(workloads, &key);
    let Some(reference) = reference else {
        return Ok(Look { rollout: Arc::clone(rollout), workload: None, left });
    };
    left.retain(|workload| {
        let is_named = reference.kind == Ok(workload.kind) && reference.name == workload.name;
        !(is_named && workload::is_drained_for(workload, &rollout.uid))
    });
    let found = match &reference.kind {
        Ok(kind) => find(workloads, *kind, &ObjectKey::new(&*key.namespace, reference.name.as_str()))?,
        Err(_) => Found::Nothing,
    };
    let owned = sets.owned_by(&rollout.uid);
    let sets: Vec<_> = owned.iter().filter_map(|(_, set)| Some(Arc::clone(&set.good()?.set))).collect();
    let (resolved, workload) = workload::resolve(rollout, reference, found, &sets);
    Ok(Look { rollout: Arc::new(resolved), workload: Some(workload), left })
}

fn synced(workloads: &Workloads, kind: WorkloadKind) -> Result<Cache<Workload>, NotReady> {
    let cache = workloads.cache(kind);
    if cache.ready() { Ok(cache) } else { Err(NotReady::Reading) }
}

fn find(workloads: &Workloads, kind: WorkloadKind, key: &ObjectKey) -> Result<Found, NotReady> {
    let cache = synced(workloads, kind)?;
    if cache.sync() == SyncState::Absent {
        let remedy = "let the controller list and watch them";
        return Ok(Found::Unreadable(format!("objects of kind {} cannot be read: {remedy}", kind.name())));
    }
    Ok(match cache.body(key) {
        None => Found::Nothing,
        Some(Body::Good(workload)) => Found::Workload(workload),
        Some(Body::Broken(problem)) => Found::Unreadable(problem.to_string()),
    })
}
