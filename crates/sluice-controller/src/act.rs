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
use sluice_engine::world::{Rollout, World};

use crate::lease::Leadership;

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
}

impl Kind {
    /// The name that a person knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rollout => "Rollout",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Service => "Service",
        }
    }

    /// The collection's path.
    pub(crate) fn path(self, namespace: &str) -> String {
        match self {
            Kind::Rollout => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"),
            Kind::ReplicaSet => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
            Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
        }
    }
}

/// What our write left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The object is at this version, or a later one.
    Wrote(Kind, String, String),
    /// The object is gone; it was at this version.
    Deleted(Kind, String, String),
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
            Action::AmendReplicaSet { name, resource_version, annotations, min_ready_seconds } => {
                let mut body = json!({
                    "metadata": {"resourceVersion": resource_version, "annotations": annotations_json(annotations)},
                });
                if let Some(seconds) = min_ready_seconds {
                    body["spec"] = json!({"minReadySeconds": seconds});
                }
                self.patch(Kind::ReplicaSet, name, body, traces).await.map(|_| ())
            }
            Action::DeleteReplicaSet { name, uid, resource_version } => {
                self.delete(name, uid, resource_version, traces).await
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
            Action::Route { weight } => {
                // No router is part of this build, and a spec that names one is held before it comes to
                // this.
                tracing::error!(rollout = %self.rollout().name, "a weight of {weight} is wanted and no router is there");
                Ok(())
            }
        }
    }

    async fn create(&self, name: &str, object: &Value, traces: &mut Vec<Trace>) -> Result<(), ActError> {
        let namespace = &self.rollout().namespace;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let body = serde_json::to_vec(object).unwrap_or_default();
        let request = Builder::new(Kind::ReplicaSet.path(namespace)).create(&parameters, body);
        let sent = self.send::<Written>("create", Kind::ReplicaSet, name, request).await;
        match sent {
            Ok(written) => {
                traces.push(Trace::Wrote(Kind::ReplicaSet, name.into(), written.metadata.resource_version));
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
        let wanted = self.rollout().spec.as_ref().ok().map(|spec| spec.template.digest);
        let Ok(owned) = sluice_engine::spec::replica_set(found) else {
            return Err(ActError::Collision { name: name.into() });
        };
        let is_ours = matches!(&owned.owner, sluice_engine::spec::Owner::Rollout { uid, .. } if *uid == self.rollout().uid);
        if !is_ours || Some(owned.set.template) != wanted {
            return Err(ActError::Collision { name: name.into() });
        }
        traces.push(Trace::Wrote(Kind::ReplicaSet, name.into(), owned.set.resource_version.clone()));
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

    async fn delete(
        &self,
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
        let path = Kind::ReplicaSet.path(&self.rollout().namespace);
        let request = Builder::new(path).delete(name, &parameters);
        match self.send::<Value>("delete", Kind::ReplicaSet, name, request).await {
            Ok(_) => {
                traces.push(Trace::Deleted(Kind::ReplicaSet, name.into(), resource_version.into()));
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
        body: Value,
        traces: &mut Vec<Trace>,
    ) -> Result<String, ActError> {
        let builder = Builder::new(kind.path(&self.rollout().namespace));
        let request = builder.patch(name, &patch_parameters(), &Patch::Merge(body));
        let written: Written = self.send("patch", kind, name, request).await?;
        let version = written.metadata.resource_version;
        traces.push(Trace::Wrote(kind, name.into(), version.clone()));
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
        traces.push(Trace::Wrote(Kind::Rollout, rollout.name.clone(), version.clone()));
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

/// The first whole second that is not before `now`: times are written in seconds, and one that is too
/// early would let a settle time end too soon.
fn not_before(now: Timestamp) -> sluice_api::Time {
    let second = now.as_second() + i64::from(now.subsec_nanosecond() > 0);
    sluice_api::Time::new(Timestamp::from_second(second).unwrap_or(now))
}

/// Whether the API server said no, rather than being in trouble.
fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    // What is too large for the store comes as an error of the server.
    (400..500).contains(&status.code) && status.code != 429 || status.message.contains(TOO_LARGE)
}

/// How etcd refuses an object.
const TOO_LARGE: &str = "etcdserver: request is too large";

fn patch_parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

fn annotations_json(annotations: &BTreeMap<String, Option<String>>) -> Value {
    let map: Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().map_or(Value::Null, Value::String)))
        .collect();
    Value::Object(map)
}
