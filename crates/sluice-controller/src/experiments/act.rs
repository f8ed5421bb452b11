//! Carries out what was decided about an Experiment: sends its writes in order and stops at the first that fails.
//!
//! Decides nothing. Each write is safe to repeat: a patch of fields that we own, or one that carries the resource
//! version it was decided on. Every write asks first whether this process may still write.

use http::Request;
use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PostParams, Preconditions};
use kube::core::Request as Builder;
use serde_json::{Value, json};
use sluice_api::{Experiment, keys};
use sluice_engine::experiment::{ExperimentAction, ExperimentPlan, ExperimentWrite, Failure, Part};
use sluice_engine::{analysis, merge};

use crate::act::{FIELD_MANAGER, is_refusal, patch_parameters};
use crate::cache::ObjectKey;
use crate::lease::Leadership;

/// How many names that others have are gone past.
const MOST_NAMES: u32 = 20;

/// The kinds of objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Experiment,
    ReplicaSet,
    Service,
    AnalysisRun,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Experiment => "Experiment",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Service => "Service",
            Kind::AnalysisRun => "AnalysisRun",
        }
    }

    /// The collection's path.
    pub fn path(self, namespace: &str) -> String {
        match self {
            Kind::Experiment => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/experiments"),
            Kind::ReplicaSet => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
            Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
            Kind::AnalysisRun => format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/analysisruns"),
        }
    }
}

/// What an object is known by.
pub(super) type Target = (Kind, ObjectKey);

/// What our write left behind.
#[derive(Clone, Debug)]
pub(super) enum Trace {
    /// The object is at this version, or a later one.
    Wrote(Target, String),
    /// The object is gone; it was at this version.
    Deleted(Target, String),
}

/// Why a plan was not carried out to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// This process may not write any more.
    NotLeading,
    /// Something changed since it was looked at: look again.
    Conflict(String),
    /// The name of the ReplicaSet of this template is taken by another.
    Taken(String),
    /// A write for a part failed, so that it has to be decided again.
    Failed(Failure, kube::Error),
    /// Something else failed.
    Trouble(String, kube::Error),
}

/// Sends the writes of a plan.
pub(super) struct Actor<'a> {
    pub client: &'a Client,
    pub leadership: &'a Leadership,
    pub experiment: &'a Experiment,
    pub namespace: &'a str,
    /// The instance id that runs carry; empty: none.
    pub instance_id: &'a str,
}

/// A request that did not do what it should.
enum Refused {
    NotLeading,
    Conflict,
    Error(kube::Error),
}

impl Actor<'_> {
    /// Carries `plan` out.
    pub async fn act(&self, plan: &ExperimentPlan, traces: &mut Vec<Trace>) -> Result<(), Stopped> {
        for write in &plan.writes {
            tracing::debug!(
                experiment = self.experiment.metadata.name,
                namespace = self.namespace,
                "{:?}: {}",
                write.action,
                write.reason
            );
            self.one(write, traces).await?;
        }
        if plan.status_changed {
            self.status(plan, traces).await?;
        }
        Ok(())
    }

    /// Experiments have no subresource for their status.
    async fn status(&self, plan: &ExperimentPlan, traces: &mut Vec<Trace>) -> Result<(), Stopped> {
        let to_value = |status: &_| serde_json::to_value(status).unwrap_or_default();
        let before = self.experiment.status.as_ref().map_or_else(|| json!({}), to_value);
        let Some(patch) = merge::diff(&before, &to_value(&plan.status)) else { return Ok(()) };
        let metadata = &self.experiment.metadata;
        let body = json!({"metadata": {"resourceVersion": metadata.resource_version}, "status": patch});
        let name = metadata.name.as_deref().unwrap_or_default();
        self.patch(Kind::Experiment, name, body, traces).await.map_err(|refused| match refused {
            Refused::NotLeading => Stopped::NotLeading,
            Refused::Conflict => Stopped::Conflict(format!("Experiment {name}")),
            Refused::Error(error) => Stopped::Trouble("cannot write the status".into(), error),
        })
    }

    async fn one(&self, write: &ExperimentWrite, traces: &mut Vec<Trace>) -> Result<(), Stopped> {
        let owner = match &write.part {
            Some(Part::Template(name) | Part::Analysis(name)) => name.as_str(),
            None => "",
        };
        let (sent, object, tried) = match &write.action {
            ExperimentAction::CreateService { name, object } => {
                let tried = format!("Failed to create Service {name} for template '{owner}'");
                match self.create(Kind::Service, name, object, traces).await {
                    Ok(true) => (Ok(()), name, tried),
                    // The cache did not show it yet; the next look says whose it is.
                    Ok(false) => (Err(Refused::Conflict), name, tried),
                    Err(refused) => (Err(refused), name, tried),
                }
            }
            ExperimentAction::CreateReplicaSet { name, object } => {
                let tried = format!("Failed to create ReplicaSet for template '{owner}'");
                match self.create(Kind::ReplicaSet, name, object, traces).await {
                    Ok(true) => (Ok(()), name, tried),
                    Ok(false) => return Err(Stopped::Taken(owner.to_owned())),
                    Err(refused) => (Err(refused), name, tried),
                }
            }
            ExperimentAction::CreateRun { name, base, object } => {
                (self.create_run(name, base, object, traces).await, name, String::new())
            }
            ExperimentAction::SelectPods { name, resource_version, hash } => {
                let body = json!({
                    "metadata": {"resourceVersion": resource_version},
                    "spec": {"selector": {keys::POD_TEMPLATE_HASH: hash}},
                });
                let tried = format!("Failed to update Service {name} for template '{owner}'");
                (self.patch(Kind::Service, name, body, traces).await, name, tried)
            }
            ExperimentAction::Scale { name, resource_version, replicas } => {
                let body = json!({
                    "metadata": {
                        "resourceVersion": resource_version,
                        "annotations": {keys::SCALE_DOWN_DEADLINE: null},
                    },
                    "spec": {"replicas": replicas},
                });
                let tried = format!(
                    "Unable to scale ReplicaSet for template '{owner}' to desired replica count '{replicas}'"
                );
                (self.patch(Kind::ReplicaSet, name, body, traces).await, name, tried)
            }
            ExperimentAction::SetDeadline { name, resource_version, deadline } => {
                let body = json!({"metadata": {
                    "resourceVersion": resource_version,
                    "annotations": {keys::SCALE_DOWN_DEADLINE: deadline},
                }});
                let tried = format!("Unable to set the scale-down deadline of ReplicaSet {name}");
                (self.patch(Kind::ReplicaSet, name, body, traces).await, name, tried)
            }
            ExperimentAction::TerminateRun { name, uid } => {
                // Its status is written all the time; that it is still the same one is all that matters.
                let body = json!({"metadata": {"uid": uid}, "spec": {"terminate": true}});
                let tried = format!("Failed to terminate AnalysisRun {name}");
                (self.patch(Kind::AnalysisRun, name, body, traces).await, name, tried)
            }
            ExperimentAction::DeleteService { name, resource_version } => {
                let tried = format!("Failed to delete Service {name}");
                (self.delete(name, resource_version, traces).await, name, tried)
            }
        };
        sent.map_err(|refused| self.stopped(refused, write, object, &tried))
    }

    /// What a write that failed means for what goes on.
    fn stopped(&self, refused: Refused, write: &ExperimentWrite, object: &str, tried: &str) -> Stopped {
        let error = match refused {
            Refused::NotLeading => return Stopped::NotLeading,
            Refused::Conflict => return Stopped::Conflict(object.to_owned()),
            Refused::Error(error) => error,
        };
        let message = if tried.is_empty() { error.to_string() } else { format!("{tried}: {error}") };
        // Without what is made or sized, its part cannot go on. The rest can be tried again and again.
        let is_needed = match &write.action {
            ExperimentAction::CreateService { .. }
            | ExperimentAction::CreateReplicaSet { .. }
            | ExperimentAction::CreateRun { .. }
            | ExperimentAction::Scale { .. } => true,
            ExperimentAction::SelectPods { .. }
            | ExperimentAction::SetDeadline { .. }
            | ExperimentAction::TerminateRun { .. }
            | ExperimentAction::DeleteService { .. } => false,
        };
        match &write.part {
            Some(part) if is_needed => {
                let failure = Failure { part: part.clone(), message, is_final: is_refusal(&error) };
                Stopped::Failed(failure, error)
            }
            Some(_) | None => Stopped::Trouble(message, error),
        }
    }

    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.namespace, name)
    }

    /// Creates an object; one of its name that is ours already is as good. Tells whether it is ours.
    async fn create(
        &self,
        kind: Kind,
        name: &str,
        object: &Value,
        traces: &mut Vec<Trace>,
    ) -> Result<bool, Refused> {
        match self.post(kind, object).await {
            Ok(version) => {
                traces.push(Trace::Wrote((kind, self.key(name)), version));
                return Ok(true);
            }
            Err(Refused::Error(kube::Error::Api(status))) if status.reason == "AlreadyExists" => {}
            Err(refused) => return Err(refused),
        }
        let found = self.get(kind, name).await?;
        let is_ours = self.is_ours(&found) && found["metadata"]["deletionTimestamp"].is_null();
        if is_ours {
            let version = text(&found["metadata"]["resourceVersion"]);
            traces.push(Trace::Wrote((kind, self.key(name)), version));
        }
        Ok(is_ours)
    }

    async fn create_run(
        &self,
        name: &str,
        base: &str,
        object: &Value,
        traces: &mut Vec<Trace>,
    ) -> Result<(), Refused> {
        let kind = Kind::AnalysisRun;
        let mut object = object.clone();
        if !self.instance_id.is_empty() {
            object["metadata"]["labels"][keys::CONTROLLER_INSTANCE_ID] = json!(self.instance_id);
        }
        let number = name.strip_prefix(base).and_then(|rest| rest.strip_prefix('.'));
        let first = number.and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        let mut name = name.to_owned();
        for number in first..first.saturating_add(MOST_NAMES) {
            object["metadata"]["name"] = json!(name);
            match self.post(kind, &object).await {
                Ok(version) => {
                    traces.push(Trace::Wrote((kind, self.key(&name)), version));
                    return Ok(());
                }
                Err(Refused::Error(kube::Error::Api(status))) if status.reason == "AlreadyExists" => {}
                Err(refused) => return Err(refused),
            }
            let found = self.get(kind, &name).await?;
            if self.is_ours(&found) {
                let version = text(&found["metadata"]["resourceVersion"]);
                if analysis::run::read(found).is_ok_and(|owned| owned.run.is_fresh()) {
                    traces.push(Trace::Wrote((kind, self.key(&name)), version));
                    return Ok(());
                }
            }
            name = format!("{base}.{}", number.saturating_add(1));
        }
        Err(Refused::Conflict)
    }

    fn is_ours(&self, object: &Value) -> bool {
        let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let uid = self.experiment.metadata.uid.as_deref().unwrap_or_default();
        owners.into_iter().any(|owner| owner["controller"] == true && owner["uid"] == uid)
    }

    async fn post(&self, kind: Kind, object: &Value) -> Result<String, Refused> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let body = serde_json::to_vec(object).unwrap_or_default();
        let written = self.send(Builder::new(kind.path(self.namespace)).create(&parameters, body)).await?;
        Ok(text(&written["metadata"]["resourceVersion"]))
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Value, Refused> {
        let request = Builder::new(kind.path(self.namespace)).get(name, &GetParams::default());
        self.send(request).await.map_err(|refused| match refused {
            // It went away meanwhile.
            Refused::Error(kube::Error::Api(status)) if status.code == 404 => Refused::Conflict,
            refused => refused,
        })
    }

    async fn patch(
        &self,
        kind: Kind,
        name: &str,
        body: Value,
        traces: &mut Vec<Trace>,
    ) -> Result<(), Refused> {
        let builder = Builder::new(kind.path(self.namespace));
        let request = builder.patch(name, &patch_parameters(), &Patch::Merge(body));
        let written = self.send(request).await.map_err(|refused| match refused {
            Refused::Error(kube::Error::Api(status)) if status.code == 404 => Refused::Conflict,
            refused => refused,
        })?;
        let version = text(&written["metadata"]["resourceVersion"]);
        traces.push(Trace::Wrote((kind, self.key(name)), version));
        Ok(())
    }

    async fn delete(
        &self,
        name: &str,
        resource_version: &str,
        traces: &mut Vec<Trace>,
    ) -> Result<(), Refused> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: None, resource_version: Some(resource_version.into()) }),
            ..DeleteParams::background()
        };
        let request = Builder::new(Kind::Service.path(self.namespace)).delete(name, &parameters);
        match self.send(request).await {
            Ok(_) => {
                traces.push(Trace::Deleted((Kind::Service, self.key(name)), resource_version.into()));
                Ok(())
            }
            Err(Refused::Error(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    async fn send(
        &self,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, Refused> {
        if !self.leadership.is_leader() {
            return Err(Refused::NotLeading);
        }
        let request = request.map_err(|error| Refused::Error(kube::Error::BuildRequest(error)))?;
        self.client.request::<Value>(request).await.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict" => {
                Refused::Conflict
            }
            _ => Refused::Error(error),
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
