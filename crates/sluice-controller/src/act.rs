//! Carries a plan out: sends its writes in order and stops at the first that fails.
//!
//! Decides nothing. Each write is safe to repeat: a patch of fields that we own, or one that carries the
//! resource version it was decided on. Every write asks first whether this process may still write.

use std::collections::BTreeMap;

use http::Request;
use jiff::Timestamp;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request as Builder;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_api::keys;
use sluice_engine::merge;
use sluice_engine::plan::{Action, Plan};
use sluice_engine::spec::SELECTED_AT;
use sluice_engine::trial;
use sluice_engine::world::{Rollout, WorkloadKind, World};
use sluice_traffic::{Edit, ObjectKind, ObjectRef};

use crate::cache::ObjectKey;
use crate::lease::Leadership;
use crate::routes::{self, RouteMemory};
use crate::workloads;

/// The field manager of all our writes; Argo CD users know it by this name.
pub const FIELD_MANAGER: &str = "rollouts-controller";

/// The kinds of objects that a plan writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Rollout.
    Rollout,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Service.
    Service,
    /// A pod.
    Pod,
    /// An analysis run.
    AnalysisRun,
    /// An experiment.
    Experiment,
    /// An object that routes stand in.
    Route(ObjectKind),
    /// An object whose template a Rollout runs.
    Workload(WorkloadKind),
}

impl Kind {
    /// The name that a person knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rollout => "Rollout",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Service => "Service",
            Kind::Pod => "Pod",
            Kind::AnalysisRun => "AnalysisRun",
            Kind::Experiment => "Experiment",
            Kind::Route(kind) => kind.kind,
            Kind::Workload(kind) => kind.name(),
        }
    }

    /// The collection's path.
    pub(crate) fn path(self, namespace: &str) -> String {
        match self {
            Kind::Rollout => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"),
            Kind::ReplicaSet => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
            Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
            Kind::Pod => format!("/api/v1/namespaces/{namespace}/pods"),
            Kind::AnalysisRun => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/analysisruns"),
            Kind::Experiment => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/experiments"),
            Kind::Route(kind) => routes::path(kind, None, namespace),
            Kind::Workload(kind) => workloads::path(kind, namespace),
        }
    }
}

/// What our write left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The object is at this version, or a later one.
    Wrote(Kind, ObjectKey, String),
    /// The object is gone; it was at this version.
    Deleted(Kind, ObjectKey, String),
}

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// This process may not write any more.
    #[error("this process does not lead any more")]
    NotLeading,
    /// Something changed since it was looked at: look again.
    #[error("{kind} {name} changed since it was looked at")]
    Conflict {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name of a new ReplicaSet is taken by another.
    #[error("ReplicaSet {name} exists, with another template or another owner")]
    Collision {
        /// Its name.
        name: String,
    },
    /// A ReplicaSet could not be created.
    #[error("cannot create ReplicaSet {name}: {source}")]
    Create {
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// A router's objects could not be written.
    #[error("{object}: {problem}")]
    Route {
        /// Which one.
        object: String,
        /// Why.
        problem: String,
    },
    /// The API server did not do what was asked.
    #[error("cannot {verb} {kind} {namespace}/{name}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The object's kind.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
}

impl ActError {
    /// The name used as a metric label.
    pub fn label(&self) -> &'static str {
        match self {
            ActError::NotLeading => "not_leading",
            ActError::Conflict { .. } => "conflict",
            ActError::Collision { .. } => "collision",
            ActError::Create { .. } => "create",
            ActError::Route { .. } => "route",
            ActError::Api { .. } => "api",
        }
    }

    /// Whether the API server said no, so that asking again helps only once somebody has changed something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, ActError::Api { source, .. } | ActError::Create { source, .. } if is_refusal(source))
    }

    /// How long the API server asked us to wait.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        let (ActError::Api { source: kube::Error::Api(status), .. }
        | ActError::Create { source: kube::Error::Api(status), .. }) = self
        else {
            return None;
        };
        let seconds =
            status.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0)?;
        Some(std::time::Duration::from_secs(u64::from(seconds)))
    }
}

/// The part of an answer that matters: which version the object has now.
#[derive(Clone, Debug, Default, Deserialize)]
struct Written {
    #[serde(default)]
    metadata: WrittenMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenMeta {
    resource_version: String,
}

/// Sends the writes of a plan.
pub struct Actor<'a> {
    /// To whom.
    pub client: &'a Client,
    /// Whether we may.
    pub leadership: &'a Leadership,
    /// What was looked at.
    pub world: &'a World,
    /// When it was looked at.
    pub now: Timestamp,
    /// The instance id that what we make carries; empty: none.
    pub instance_id: &'a str,
    /// The routes as they were looked at, and what is remembered of them.
    pub routes: Option<(&'a routes::Look, &'a RouteMemory)>,
}

/// The writes that were done, and how it ended.
pub struct Acted {
    /// What was written, in order.
    pub traces: Vec<Trace>,
    /// How it ended.
    pub result: Result<(), ActError>,
}

impl Actor<'_> {
    /// Carries `plan` out.
    pub async fn act(&self, plan: &Plan) -> Acted {
        let mut traces = Vec::new();
        let result = self.all(plan, &mut traces).await;
        Acted { traces, result }
    }

    fn rollout(&self) -> &Rollout {
        &self.world.rollout
    }

    /// The key of an object beside the Rollout.
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.rollout().namespace.as_str(), name)
    }

    async fn all(&self, plan: &Plan, traces: &mut Vec<Trace>) -> Result<(), ActError> {
        // Writes to the Rollout follow each other: each carries the version that the one before left.
        let mut version = self.rollout().resource_version.clone();
        for write in &plan.writes {
            tracing::debug!(
                rollout = %self.rollout().name,
                namespace = %self.rollout().namespace,
                "{:?}: {}", write.action, write.reason
            );
            self.one(&write.action, &mut version, traces).await?;
        }
        if plan.status_changed {
            let to_value = |status: &_| serde_json::to_value(status).unwrap_or_default();
            if let Some(mut patch) = merge::diff(&to_value(&self.rollout().status), &to_value(&plan.status)) {
                // Argo Rollouts always writes both, and whoever reads a status may rely on them. In a merge
                // patch an empty object adds what is missing and changes nothing else.
                for part in ["canary", "blueGreen"] {
                    if patch.get(part).is_none() {
                        patch[part] = json!({});
                    }
                }
                let body = json!({"metadata": {"resourceVersion": version}, "status": patch});
                self.patch_rollout(Some("status"), body, traces).await?;
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        action: &Action,
        version: &mut String,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        match action {
            Action::CreateReplicaSet { name, object } => self.create(name, object, traces).await,
            Action::AdoptReplicaSet { name, resource_version, .. } => {
                self.adopt(name, resource_version, traces).await
            }
            Action::Scale { name, resource_version, replicas, desired_replicas, clear_deadline } => {
                let mut annotations = json!({keys::DESIRED_REPLICAS: desired_replicas.to_string()});
                if *clear_deadline {
                    annotations[keys::SCALE_DOWN_DEADLINE] = Value::Null;
                }
                let body = json!({
                    "metadata": {"resourceVersion": resource_version, "annotations": annotations},
                    "spec": {"replicas": replicas},
                });
                self.patch(Kind::ReplicaSet, name, body, traces).await.map(|_| ())
            }
            Action::AmendReplicaSet { name, resource_version, annotations, min_ready_seconds, template } => {
                let mut body = json!({
                    "metadata": {"resourceVersion": resource_version, "annotations": annotations_json(annotations)},
                });
                if let Some(seconds) = min_ready_seconds {
                    body["spec"]["minReadySeconds"] = json!(seconds);
                }
                if !template.is_null() {
                    body["spec"]["template"] = template.clone();
                }
                self.patch(Kind::ReplicaSet, name, body, traces).await.map(|_| ())
            }
            Action::DeleteReplicaSet { name, uid, resource_version } => {
                self.delete(Kind::ReplicaSet, name, uid, resource_version, traces).await
            }
            Action::CreateRun { name, object } => {
                self.create_owned(Kind::AnalysisRun, name, object.clone(), traces).await
            }
            Action::CreateExperiment { name, object, pods_of } => {
                let object = self.with_pods(object, pods_of).await?;
                self.create_owned(Kind::Experiment, name, object, traces).await
            }
            Action::TerminateExperiment { name, uid } => {
                let body = json!({"metadata": {"uid": uid}, "spec": {"terminate": true}});
                self.patch(Kind::Experiment, name, body, traces).await.map(|_| ())
            }
            Action::DeleteExperiment { name, uid, resource_version } => {
                self.delete(Kind::Experiment, name, uid, resource_version, traces).await
            }
            Action::PlaceRun { name, uid, annotations } => {
                let body = json!({"metadata": {"uid": uid, "annotations": annotations}});
                self.patch(Kind::AnalysisRun, name, body, traces).await.map(|_| ())
            }
            Action::TerminateRun { name, uid } => {
                // Its status is written all the time; that it is still the same one is all that matters.
                let body = json!({"metadata": {"uid": uid}, "spec": {"terminate": true}});
                self.patch(Kind::AnalysisRun, name, body, traces).await.map(|_| ())
            }
            Action::DeleteRun { name, uid, resource_version } => {
                self.delete(Kind::AnalysisRun, name, uid, resource_version, traces).await
            }
            Action::AnnotateRollout { annotations } => {
                let body = json!({
                    "metadata": {"resourceVersion": version, "annotations": annotations_json(annotations)},
                });
                *version = self.patch_rollout(None, body, traces).await?;
                Ok(())
            }
            Action::DefaultReplicas(replicas) => {
                let body = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
                *version = self.patch_rollout(None, body, traces).await?;
                Ok(())
            }
            Action::SelectService { name, resource_version, hash } => {
                // A key that is null in a merge patch is removed.
                let body = json!({
                    "metadata": {"resourceVersion": resource_version, "annotations": {
                        keys::MANAGED_BY_ROLLOUTS: self.rollout().name,
                        SELECTED_AT: not_before(self.now),
                    }},
                    "spec": {"selector": {keys::POD_TEMPLATE_HASH: hash}},
                });
                self.patch(Kind::Service, name, body, traces).await.map(|_| ())
            }
            Action::ReleaseService { name, resource_version } => {
                let body = json!({
                    "metadata": {
                        "resourceVersion": resource_version,
                        "annotations": {keys::MANAGED_BY_ROLLOUTS: null, SELECTED_AT: null},
                    },
                    "spec": {"selector": {keys::POD_TEMPLATE_HASH: null}},
                });
                self.patch(Kind::Service, name, body, traces).await.map(|_| ())
            }
            Action::Evict { pod } => self.evict(pod).await,
            Action::ScaleWorkload { kind, name, resource_version, replicas, annotations } => {
                let body = json!({
                    "metadata": {"resourceVersion": resource_version, "annotations": annotations_json(annotations)},
                    "spec": {"replicas": replicas},
                });
                self.patch(Kind::Workload(*kind), name, body, traces).await.map(|_| ())
            }
            Action::Route(wanted) => self.route(wanted, traces).await,
        }
    }

    /// Evicts a pod. A disruption budget that refuses is asked again in a later look.
    async fn evict(&self, pod: &str) -> Result<(), ActError> {
        let namespace = &self.rollout().namespace;
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let request = Builder::new(path).create_subresource("eviction", pod, &PostParams::default(), body);
        match self.send::<Value>("evict", Kind::Pod, pod, request).await {
            Err(ActError::Api { source: kube::Error::Api(status), .. })
                if matches!(status.code, 404 | 429) =>
            {
                tracing::debug!(pod, "not evicted now: {}", status.message);
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// Lets every router's objects show these routes. One that fails does not hold the others.
    async fn route(
        &self,
        wanted: &sluice_engine::traffic::Routes,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        let Some((look, memory)) = self.routes else { return Ok(()) };
        let rollout = self.rollout();
        let routes = routes::to_router(wanted);
        let mut edits = Vec::new();
        let mut failed = None;
        for router in look.routers() {
            match look.edits(&**router, &routes) {
                Ok(found) => edits.extend(found),
                Err(error) => {
                    let object = format!("router {}", router.name());
                    failed = failed.or(Some(ActError::Route { object, problem: error.to_string() }));
                }
            }
        }
        let is_change = !edits.is_empty();
        if is_change || failed.is_some() {
            memory.asks(rollout, wanted, self.now);
        }
        for (reference, edit) in &edits {
            match self.edit(reference, look.observed.get(reference), edit, traces).await {
                Ok(()) => {}
                Err(error @ (ActError::NotLeading | ActError::Conflict { .. })) => return Err(error),
                Err(error) => {
                    let object = routes::describe(reference);
                    failed = failed.or(Some(ActError::Route { object, problem: error.to_string() }));
                }
            }
        }
        if let Some(error) = failed {
            Err(error)
        } else {
            memory.shows(rollout, wanted, is_change, self.now);
            Ok(())
        }
    }

    /// Brings one object of a router into the wanted form, as long as it is the one that was looked at.
    async fn edit(
        &self,
        reference: &ObjectRef,
        observed: Option<&Value>,
        edit: &Edit,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        let kind = Kind::Route(reference.kind);
        let key = ObjectKey::new(reference.namespace.as_str(), reference.name.as_str());
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let version = observed.map(|object| text(object, "/metadata/resourceVersion"));
        let api_version = observed.and_then(|object| object["apiVersion"].as_str());
        let builder =
            |api_version| Builder::new(routes::path(reference.kind, api_version, &reference.namespace));
        match (edit, observed) {
            (Edit::Put(wanted), Some(observed)) => {
                let Some(mut patch) = merge::diff(observed, wanted) else { return Ok(()) };
                patch["metadata"]["resourceVersion"] = version.into();
                let request =
                    builder(api_version).patch(&reference.name, &patch_parameters(), &Patch::Merge(patch));
                let written: Written = self.send("patch", kind, &reference.name, request).await?;
                traces.push(Trace::Wrote(kind, key, written.metadata.resource_version));
            }
            (Edit::Put(wanted), None) => {
                let parameters =
                    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
                let body = serde_json::to_vec(wanted).unwrap_or_default();
                let request = builder(wanted["apiVersion"].as_str()).create(&parameters, body);
                match self.send::<Written>("create", kind, &reference.name, request).await {
                    Ok(written) => traces.push(Trace::Wrote(kind, key, written.metadata.resource_version)),
                    Err(ActError::Api { source: kube::Error::Api(status), .. })
                        if status.reason == "AlreadyExists" =>
                    {
                        return Err(ActError::Conflict { kind: kind.name(), name: reference.name.clone() });
                    }
                    Err(error) => return Err(error),
                }
            }
            (Edit::Delete, Some(observed)) => {
                let parameters = DeleteParams {
                    preconditions: Some(Preconditions {
                        uid: Some(text(observed, "/metadata/uid")).filter(|uid| !uid.is_empty()),
                        resource_version: version.clone(),
                    }),
                    ..DeleteParams::background()
                };
                let request = builder(api_version).delete(&reference.name, &parameters);
                match self.send::<Value>("delete", kind, &reference.name, request).await {
                    Ok(_) => traces.push(Trace::Deleted(kind, key, version.unwrap_or_default())),
                    Err(ActError::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => {}
                    Err(error) => return Err(error),
                }
            }
            (Edit::Delete, None) => {}
        }
        Ok(())
    }

    async fn create(&self, name: &str, object: &Value, traces: &mut Vec<Trace>) -> Result<(), ActError> {
        let namespace = &self.rollout().namespace;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let body = serde_json::to_vec(object).unwrap_or_default();
        let request = Builder::new(Kind::ReplicaSet.path(namespace)).create(&parameters, body);
        let sent = self.send::<Written>("create", Kind::ReplicaSet, name, request).await;
        match sent {
            Ok(written) => {
                traces.push(Trace::Wrote(
                    Kind::ReplicaSet,
                    self.key(name),
                    written.metadata.resource_version,
                ));
                Ok(())
            }
            Err(ActError::Api { source: kube::Error::Api(status), .. })
                if status.reason == "AlreadyExists" =>
            {
                self.recognise(name, traces).await
            }
            Err(ActError::Api { source, .. }) if is_refusal(&source) => {
                Err(ActError::Create { name: name.into(), source })
            }
            Err(error) => Err(error),
        }
    }

    /// A ReplicaSet of the wanted name exists, though our cache does not show it: ours, if it has our
    /// Rollout as its owner and means the same.
    async fn recognise(&self, name: &str, traces: &mut Vec<Trace>) -> Result<(), ActError> {
        let namespace = &self.rollout().namespace;
        let request =
            Builder::new(Kind::ReplicaSet.path(namespace)).get(name, &kube::api::GetParams::default());
        let found: Value = self.send("get", Kind::ReplicaSet, name, request).await?;
        let wanted = self.rollout().spec.as_ref().ok().map(|spec| &spec.template);
        let Ok(owned) = sluice_engine::spec::replica_set(found) else {
            return Err(ActError::Collision { name: name.into() });
        };
        let is_ours = matches!(&owned.owner, sluice_engine::spec::Owner::Rollout { uid, .. } if *uid == self.rollout().uid);
        let is_of = |template: &sluice_engine::world::Template| {
            sluice_engine::identity::is_of(&owned.set, &template.digest, &template.source())
        };
        if !is_ours || !wanted.is_some_and(is_of) {
            return Err(ActError::Collision { name: name.into() });
        }
        traces.push(Trace::Wrote(Kind::ReplicaSet, self.key(name), owned.set.resource_version.clone()));
        Ok(())
    }

    /// Adopts an orphan, once a live look has shown that our Rollout still is the one we know: an owner
    /// that is gone would take its ReplicaSets with it.
    async fn adopt(
        &self,
        name: &str,
        resource_version: &str,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        #[derive(Clone, Debug, Default, Deserialize)]
        struct Live {
            metadata: LiveMeta,
        }
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct LiveMeta {
            uid: String,
            deletion_timestamp: Option<String>,
        }
        let rollout = self.rollout();
        let request = Builder::new(Kind::Rollout.path(&rollout.namespace))
            .get(&rollout.name, &kube::api::GetParams::default());
        let live: Live = self.send("get", Kind::Rollout, &rollout.name, request).await?;
        if live.metadata.uid != rollout.uid || live.metadata.deletion_timestamp.is_some() {
            return Err(ActError::Conflict { kind: Kind::Rollout.name(), name: rollout.name.clone() });
        }
        let body = json!({"metadata": {
            "resourceVersion": resource_version,
            "ownerReferences": [sluice_engine::identity::owner_reference(rollout)],
        }});
        self.patch(Kind::ReplicaSet, name, body, traces).await.map(|_| ())
    }

    /// An Experiment with the pods of these ReplicaSets, as they are stored.
    async fn with_pods(&self, object: &Value, pods_of: &[String]) -> Result<Value, ActError> {
        let mut sets = BTreeMap::new();
        for name in pods_of {
            if sets.contains_key(name) {
                continue;
            }
            let request = Builder::new(Kind::ReplicaSet.path(&self.rollout().namespace))
                .get(name, &kube::api::GetParams::default());
            let set: Value = self.send("get", Kind::ReplicaSet, name, request).await?;
            sets.insert(name.clone(), set);
        }
        let mut object = object.clone();
        trial::object::fill_in(&mut object, pods_of, &sets)
            .map_err(|name| ActError::Conflict { kind: Kind::ReplicaSet.name(), name })?;
        Ok(object)
    }

    /// Creates an analysis run or an experiment. One of its name that is ours already is as good; past another's
    /// name is counted on.
    async fn create_owned(
        &self,
        kind: Kind,
        wanted: &str,
        mut object: Value,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        let path = kind.path(&self.rollout().namespace);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        if !self.instance_id.is_empty() {
            object["metadata"]["labels"][keys::CONTROLLER_INSTANCE_ID] = json!(self.instance_id);
        }
        let mut name = wanted.to_owned();
        for number in 1..=MOST_NAMES {
            object["metadata"]["name"] = json!(name);
            let body = serde_json::to_vec(&object).unwrap_or_default();
            let request = Builder::new(path.clone()).create(&parameters, body);
            match self.send::<Written>("create", kind, &name, request).await {
                Ok(written) => {
                    traces.push(Trace::Wrote(kind, self.key(&name), written.metadata.resource_version));
                    return Ok(());
                }
                Err(ActError::Api { source: kube::Error::Api(status), .. })
                    if status.reason == "AlreadyExists" => {}
                Err(error) => return Err(error),
            }
            let request = Builder::new(path.clone()).get(&name, &kube::api::GetParams::default());
            let found: Value = self.send("get", kind, &name, request).await?;
            let version = found["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let mut owners = found["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            if owners.any(|owner| owner["controller"] == true && owner["uid"] == self.rollout().uid) {
                traces.push(Trace::Wrote(kind, self.key(&name), version));
                return Ok(());
            }
            name = match kind {
                Kind::Experiment => format!("{wanted}-{number}"),
                _ => next_name(&name),
            };
        }
        Err(ActError::Conflict { kind: kind.name(), name })
    }

    async fn delete(
        &self,
        kind: Kind,
        name: &str,
        uid: &str,
        resource_version: &str,
        traces: &mut Vec<Trace>,
    ) -> Result<(), ActError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.into()),
                resource_version: Some(resource_version.into()),
            }),
            ..DeleteParams::background()
        };
        let request = Builder::new(kind.path(&self.rollout().namespace)).delete(name, &parameters);
        match self.send::<Value>("delete", kind, name, request).await {
            Ok(_) => {
                traces.push(Trace::Deleted(kind, self.key(name), resource_version.into()));
                Ok(())
            }
            Err(ActError::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        kind: Kind,
        name: &str,
        mut body: Value,
        traces: &mut Vec<Trace>,
    ) -> Result<String, ActError> {
        // An earlier write of this plan left a version that is as good as the one that was looked at.
        let key = self.key(name);
        let latest = traces.iter().rev().find_map(|trace| match trace {
            Trace::Wrote(k, object, version) if *k == kind && *object == key => Some(version),
            _ => None,
        });
        if let (Some(version), Some(given)) = (latest, body.pointer_mut("/metadata/resourceVersion")) {
            *given = version.as_str().into();
        }
        let builder = Builder::new(kind.path(&self.rollout().namespace));
        let request = builder.patch(name, &patch_parameters(), &Patch::Merge(body));
        let written: Written = self.send("patch", kind, name, request).await?;
        let version = written.metadata.resource_version;
        traces.push(Trace::Wrote(kind, self.key(name), version.clone()));
        Ok(version)
    }

    async fn patch_rollout(
        &self,
        subresource: Option<&str>,
        body: Value,
        traces: &mut Vec<Trace>,
    ) -> Result<String, ActError> {
        let rollout = self.rollout();
        let builder = Builder::new(Kind::Rollout.path(&rollout.namespace));
        let patch = Patch::Merge(body);
        let request = match subresource {
            Some(subresource) => {
                builder.patch_subresource(subresource, &rollout.name, &patch_parameters(), &patch)
            }
            None => builder.patch(&rollout.name, &patch_parameters(), &patch),
        };
        let written: Written = self.send("patch", Kind::Rollout, &rollout.name, request).await?;
        let version = written.metadata.resource_version;
        traces.push(Trace::Wrote(Kind::Rollout, self.key(&rollout.name), version.clone()));
        Ok(version)
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        verb: &'static str,
        kind: Kind,
        name: &str,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ActError> {
        let failed = |source| ActError::Api {
            verb,
            kind: kind.name(),
            namespace: self.rollout().namespace.clone(),
            name: name.into(),
            source,
        };
        if !self.leadership.is_leader() {
            return Err(ActError::NotLeading);
        }
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        self.client.request::<T>(request).await.map_err(|source| match &source {
            kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict" => {
                ActError::Conflict { kind: kind.name(), name: name.into() }
            }
            kube::Error::Api(status) if status.code == 404 && verb == "patch" => {
                ActError::Conflict { kind: kind.name(), name: name.into() }
            }
            _ => failed(source),
        })
    }
}

/// How many names that others have are gone past.
const MOST_NAMES: usize = 20;

/// The name after one that is taken: `web-1` is followed by `web-1.1`, `web-1.2`, …
fn next_name(name: &str) -> String {
    let counted = name.rsplit_once('.').and_then(|(base, number)| Some((base, number.parse::<u32>().ok()?)));
    match counted {
        Some((base, number)) => format!("{base}.{}", number.saturating_add(1)),
        None => format!("{name}.1"),
    }
}

/// The first whole second that is not before `now`: times are written in seconds, and one that is too
/// early would let a settle time end too soon.
fn not_before(now: Timestamp) -> sluice_api::Time {
    let second = now.as_second() + i64::from(now.subsec_nanosecond() > 0);
    sluice_api::Time::new(Timestamp::from_second(second).unwrap_or(now))
}

/// Whether the API server said no, rather than being in trouble.
pub(crate) fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    // What is too large for the store comes as an error of the server.
    (400..500).contains(&status.code) && status.code != 429 || status.message.contains(TOO_LARGE)
}

/// How etcd refuses an object.
const TOO_LARGE: &str = "etcdserver: request is too large";

pub(crate) fn patch_parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

fn annotations_json(annotations: &BTreeMap<String, Option<String>>) -> Value {
    let map: Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().map_or(Value::Null, Value::String)))
        .collect();
    Value::Object(map)
}
