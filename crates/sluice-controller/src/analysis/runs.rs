//! One look at one analysis run: decide, read secrets, measure, decide on what was measured, write.
//!
//! The shell around `sluice_engine::measure`. What was measured is never lost to a conflict: it is decided on again
//! with the run as it is by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, Preconditions};
use kube::core::Request as Builder;
use serde_json::{Value, json};
use sluice_api::analysis::AnalysisRun;
use sluice_engine::measure::{self, RunPlan, RunWorld, Secrets, TaskResult};
use sluice_engine::merge;
use sluice_lang::template::{SecretKey, SecretValue};
use tokio::time::Instant;

use super::AnalysisObjects;
use super::job::{JOB_NAME, Jobs};
use super::measure::{Measurer, Providers};
use crate::act::{Kind, patch_parameters};
use crate::cache::{Body, Freshness, ObjectKey, Versions};
use crate::clock::Clock;
use crate::events::{EventType, Events, NewEvent, Regarding};
use crate::lease::Leadership;
use crate::queue::Outcome;
use crate::reconcile::{Reconciler, WATCH_PATIENCE};

/// How often a status is written anew because something else changed meanwhile.
const MOST_TRIES: usize = 5;

/// Looks at analysis runs.
pub struct RunReconciler {
    client: Client,
    clock: Clock,
    leadership: Leadership,
    objects: AnalysisObjects,
    events: Events,
    versions: Versions<ObjectKey>,
    providers: Providers,
}

impl RunReconciler {
    /// One that shares what the Rollouts' reconciler has.
    pub fn new(rollouts: &Reconciler, providers: Providers) -> RunReconciler {
        RunReconciler {
            client: rollouts.client.clone(),
            clock: rollouts.clock.clone(),
            leadership: rollouts.leadership.clone(),
            objects: rollouts.analysis.clone(),
            events: rollouts.events.clone(),
            versions: Versions::new(WATCH_PATIENCE),
            providers,
        }
    }

    /// Looks at one run, and does what is to be done.
    pub async fn reconcile(&self, key: ObjectKey) -> Outcome {
        let run = match self.objects.runs.body(&key) {
            None => return Outcome::Done(None),
            Some(Body::Broken(problem)) => {
                tracing::warn!(namespace = %key.namespace, run = %key.name, "the object cannot be read: {problem}");
                return Outcome::Done(None);
            }
            Some(Body::Good(held)) => match &held.object {
                Some(run) => Arc::clone(run),
                None => return Outcome::Done(None),
            },
        };
        match self.freshness(&key).await {
            Ok(None) => {}
            Ok(Some(at)) => return Outcome::Done(Some(at)),
            Err(error) => return failed(&key, &error),
        }
        match self.look(&key, &run).await {
            Ok(outcome) => outcome,
            Err(error) => failed(&key, &error),
        }
    }

    async fn look(&self, key: &ObjectKey, run: &AnalysisRun) -> Result<Outcome, kube::Error> {
        let mut secrets = Secrets::new();
        let mut plan = self.decide(run, &secrets, &[]);
        if !plan.secrets.is_empty() {
            secrets = self.read(&key.namespace, &plan.secrets).await;
            plan = self.decide(run, &secrets, &[]);
        }
        let mut results = Vec::new();
        if !plan.tasks.is_empty() {
            if !self.leadership.is_leader() {
                return Ok(Outcome::Done(None));
            }
            let measurer =
                Measurer { client: &self.client, clock: &self.clock, run, providers: &self.providers };
            let all = plan.tasks.iter().map(|task| async {
                // A provider that panics costs its own measurement and nothing else.
                let measured = std::panic::AssertUnwindSafe(measurer.measure(task)).catch_unwind().await;
                measured.unwrap_or_else(|_| measurer.broken(task, "the provider failed unexpectedly"))
            });
            results = futures::future::join_all(all).await;
            plan = self.decide(run, &secrets, &results);
        }
        if plan.delete {
            self.providers.forget(run.metadata.uid.as_deref().unwrap_or_default());
            return self.delete(key, run).await;
        }
        self.clear_away(run, &plan).await;
        self.write(key, run, &secrets, &results, plan).await
    }

    /// Removes what measurements left behind and nobody needs any more.
    async fn clear_away(&self, run: &AnalysisRun, plan: &RunPlan) {
        for garbage in &plan.garbage {
            let namespace = self.providers.job_namespace.as_deref();
            let jobs = Jobs { client: &self.client, run, metric: &garbage.metric, namespace };
            for measurement in &garbage.measurements {
                if !self.leadership.is_leader() || !measurement.metadata.contains_key(JOB_NAME) {
                    continue;
                }
                if let Err(problem) = jobs.terminate(measurement, self.clock.now()).await {
                    tracing::warn!(run = run.metadata.name, metric = %garbage.metric, "{problem}");
                }
            }
        }
        if plan.status.phase.is_terminal() {
            self.providers.forget(run.metadata.uid.as_deref().unwrap_or_default());
        }
    }

    fn decide(&self, run: &AnalysisRun, secrets: &Secrets, results: &[TaskResult]) -> RunPlan {
        let world = RunWorld { run, secrets, results: results.to_vec(), has_finished: BTreeSet::new() };
        measure::decide_run(&world, self.clock.now())
    }

    /// Reads Secrets: those that are named, in the run's own namespace.
    async fn read(&self, namespace: &str, keys: &[SecretKey]) -> Secrets {
        let names: BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let mut found: BTreeMap<&str, Result<Value, String>> = BTreeMap::new();
        for name in names {
            found.insert(name, super::measure::secret(&self.client, namespace, name).await);
        }
        let value = |key: &SecretKey| {
            let secret = found.get(key.name.as_str()).ok_or("not read")?.as_ref().map_err(String::as_str)?;
            super::measure::secret_text(secret, &key.key)
                .ok_or_else(|| format!("key '{}' does not exist in secret '{}'", key.key, key.name))
        };
        keys.iter().map(|key| (key.clone(), value(key).map(SecretValue::new))).collect()
    }

    /// Writes the status, as often as something else changes meanwhile.
    async fn write(
        &self,
        key: &ObjectKey,
        run: &AnalysisRun,
        secrets: &Secrets,
        results: &[TaskResult],
        mut plan: RunPlan,
    ) -> Result<Outcome, kube::Error> {
        let mut live = run.clone();
        for _ in 0..MOST_TRIES {
            let to_value = |status: &_| serde_json::to_value(status).unwrap_or_default();
            let before = live.status.as_ref().map_or_else(|| json!({}), &to_value);
            let patch = merge::diff(&before, &to_value(&plan.status)).filter(|_| plan.status_changed);
            let Some(patch) = patch else {
                let recheck = plan.recheck_at.map(|at| self.clock.instant_at(at));
                return Ok(Outcome::Done(recheck));
            };
            if !self.leadership.is_leader() {
                return Ok(Outcome::Done(None));
            }
            let body = json!({
                "metadata": {"resourceVersion": live.metadata.resource_version},
                "status": patch,
            });
            let request = Builder::new(Kind::AnalysisRun.path(&key.namespace))
                .patch(&key.name, &patch_parameters(), &Patch::Merge(body))
                .map_err(kube::Error::BuildRequest)?;
            match self.client.request::<Value>(request).await {
                Ok(object) => {
                    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                    self.versions.wrote(key.clone(), version.to_owned(), Instant::now());
                    self.emit(run, &plan);
                    let recheck = plan.recheck_at.map(|at| self.clock.instant_at(at));
                    return Ok(Outcome::Done(recheck));
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let request = Builder::new(Kind::AnalysisRun.path(&key.namespace))
                        .get(&key.name, &GetParams::default())
                        .map_err(kube::Error::BuildRequest)?;
                    live = match self.client.request::<AnalysisRun>(request).await {
                        Ok(live) if live.metadata.uid == run.metadata.uid => live,
                        Ok(_) => return Ok(Outcome::Done(None)),
                        Err(kube::Error::Api(status)) if status.code == 404 => {
                            return Ok(Outcome::Done(None));
                        }
                        Err(error) => return Err(error),
                    };
                    plan = self.decide(&live, secrets, results);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Outcome::Done(None)),
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Failed)
    }

    async fn delete(&self, key: &ObjectKey, run: &AnalysisRun) -> Result<Outcome, kube::Error> {
        if !self.leadership.is_leader() {
            return Ok(Outcome::Done(None));
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: run.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::background()
        };
        let request = Builder::new(Kind::AnalysisRun.path(&key.namespace))
            .delete(&key.name, &parameters)
            .map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Value>(request).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
        Ok(Outcome::Done(None))
    }

    /// Whether the cache shows our own last write: `None`, or when to look again.
    async fn freshness(&self, key: &ObjectKey) -> Result<Option<Instant>, kube::Error> {
        let now = Instant::now();
        let cached = self.objects.runs.version(key);
        match self.versions.check(key, cached.as_deref(), now) {
            Freshness::Fresh => Ok(None),
            Freshness::Wait(until) => Ok(Some(until)),
            Freshness::AskLive => {
                let request = Builder::new(Kind::AnalysisRun.path(&key.namespace))
                    .get(&key.name, &GetParams::default())
                    .map_err(kube::Error::BuildRequest)?;
                let live = match self.client.request::<Value>(request).await {
                    Ok(object) => object["metadata"]["resourceVersion"].as_str().map(str::to_owned),
                    Err(kube::Error::Api(status)) if status.code == 404 => None,
                    Err(error) => return Err(error),
                };
                self.versions.settle(key);
                if live.as_deref() == cached.as_deref() {
                    return Ok(None);
                }
                tracing::warn!(run = %key, "the watch is silent: listing anew");
                self.objects.runs.relist();
                Ok(Some(now + WATCH_PATIENCE))
            }
        }
    }

    fn emit(&self, run: &AnalysisRun, plan: &RunPlan) {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        for event in &plan.events {
            self.events.emit(NewEvent {
                regarding: Regarding {
                    api_version: sluice_api::kind::API_VERSION.into(),
                    kind: "AnalysisRun".into(),
                    namespace: of(&run.metadata.namespace),
                    name: of(&run.metadata.name),
                    uid: of(&run.metadata.uid),
                },
                event_type: if event.is_warning { EventType::Warning } else { EventType::Normal },
                reason: event.reason.to_string(),
                message: event.message.clone(),
            });
        }
    }
}

fn failed(key: &ObjectKey, error: &kube::Error) -> Outcome {
    tracing::warn!(namespace = %key.namespace, run = %key.name, "{error}");
    Outcome::Failed
}
