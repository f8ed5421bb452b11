//! One look at one Experiment: gather, decide, act, come back.
//!
//! It decides nothing about Experiments; it decides whether what the caches show is recent enough to decide on, and
//! when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use kube::api::GetParams;
use kube::core::Request as Builder;
use serde_json::Value;
use sluice_api::analysis::AnalysisTemplateSpec;
use sluice_api::steps::AnalysisTemplateRef;
use sluice_api::{Experiment, keys, kind};
use sluice_engine::analysis::Templates;
use sluice_engine::experiment::{ExperimentPlan, ExperimentWorld, decide_experiment, reference};
use sluice_engine::spec::OwnedSet;
use sluice_engine::world::Service;
use tokio::time::Instant;

use super::act::{Actor, Kind, Stopped, Target, Trace};
use super::{HeldExperiment, Surroundings};
use crate::analysis::AnalysisObjects;
use crate::cache::{Body, Cache, Freshness, ObjectKey, Versions};
use crate::clock::Clock;
use crate::events::{EventType, Events, NewEvent, Regarding};
use crate::kept::Kept;
use crate::lease::Leadership;
use crate::metrics::{Metrics, Reconciled};
use crate::pods::PodWatches;
use crate::queue::{Outcome, Queue};
use crate::reconcile::{Pending, Reconciler, WATCH_PATIENCE};

/// When to look again after a conflict, should no event come.
const CONFLICT_RETRY: Duration = Duration::from_secs(1);
/// How often one look decides anew, because a name was taken or a write failed.
const MOST_DECISIONS: usize = 20;
/// How many templates that the caches do not show are asked for.
const MOST_TEMPLATES: usize = 32;

/// Looks at Experiments.
pub struct ExperimentReconciler {
    client: Client,
    clock: Clock,
    leadership: Leadership,
    /// Experiments.
    pub experiments: Cache<HeldExperiment>,
    rollouts: Cache<Kept>,
    settle: SignedDuration,
    sets: Cache<OwnedSet>,
    services: Cache<Service>,
    analysis: AnalysisObjects,
    instance_id: String,
    /// Pods that are awaited.
    pub pods: PodWatches,
    events: Events,
    versions: Versions<Target>,
    /// Our own writes that the caches have not shown yet, by Experiment.
    pending: Pending<Target>,
    metrics: Option<Arc<Metrics>>,
}

impl ExperimentReconciler {
    /// One that shares what the Rollouts' reconciler has.
    pub fn new(rollouts: &Reconciler, queue: &Queue<ObjectKey>) -> ExperimentReconciler {
        ExperimentReconciler {
            client: rollouts.client.clone(),
            clock: rollouts.clock.clone(),
            leadership: rollouts.leadership.clone(),
            experiments: rollouts.experiments.clone(),
            rollouts: rollouts.rollouts.clone(),
            settle: rollouts.settings.settle,
            sets: rollouts.sets.clone(),
            services: rollouts.services.clone(),
            analysis: rollouts.analysis.clone(),
            instance_id: rollouts.instance_id.clone(),
            pods: PodWatches::new(rollouts.client.clone(), queue.clone()),
            events: rollouts.events.clone(),
            versions: Versions::new(WATCH_PATIENCE),
            pending: Pending::default(),
            metrics: rollouts.metrics.clone(),
        }
    }

    /// Looks at one Experiment, does what is to be done, and counts it.
    pub async fn reconcile(&self, key: ObjectKey) -> Outcome {
        let begun = Instant::now();
        let outcome = self.look(&key).await;
        if let Some(metrics) = &self.metrics {
            metrics.reconciled(Reconciled::Experiment, &key.namespace, &key.name, begun.elapsed());
            if matches!(outcome, Outcome::Failed | Outcome::FailedFor(_)) {
                metrics.reconcile_failed(Reconciled::Experiment, &key.namespace, &key.name);
            }
        }
        outcome
    }

    async fn look(&self, key: &ObjectKey) -> Outcome {
        let held = match self.experiments.body(key) {
            None => {
                self.pods.follow(key, None);
                self.pending.forget(key);
                return Outcome::Done(None);
            }
            Some(Body::Broken(problem)) => {
                tracing::warn!(namespace = %key.namespace, experiment = %key.name, "the object cannot be read: {problem}");
                return Outcome::Done(None);
            }
            Some(Body::Good(held)) => held,
        };
        let experiment = &*held.object;
        if experiment.metadata.deletion_timestamp.is_some() {
            self.pods.follow(key, None);
            return Outcome::Done(None);
        }
        match self.freshness(key).await {
            Ok(None) => {}
            Ok(Some(at)) => return Outcome::Done(Some(at)),
            Err(error) => return failed(key, &error.to_string()),
        }
        let gathered = super::surroundings(experiment, &self.sets, &self.services, &self.analysis);
        let Surroundings { sets, services, runs, mut templates } = match gathered {
            Ok(surroundings) => surroundings,
            Err(problem) => return failed(key, &problem),
        };
        if let Err(error) = self.ask_for_templates(key, experiment, &mut templates).await {
            return failed(key, &error.to_string());
        }
        let (served, shares_traffic) = self.shares(experiment, &key.namespace);
        let world = ExperimentWorld {
            experiment,
            malformed: held.malformed.as_deref(),
            sets,
            services,
            runs,
            templates,
            troubles: self.pods.troubles(key),
            taken: BTreeMap::new(),
            failed: None,
            served,
            shares_traffic,
            settle: self.settle,
        };
        self.carry_out(key, world).await
    }

    /// The hashes of the pods that its Rollout sends a share to, and whether it does such a thing at all.
    fn shares(&self, experiment: &Experiment, namespace: &str) -> (BTreeSet<String>, bool) {
        let Some((name, uid)) = super::owner(experiment) else { return Default::default() };
        let kept = self.rollouts.get(&ObjectKey::new(namespace, name));
        let rollout = kept.and_then(|kept| kept.rollout().ok()).filter(|rollout| rollout.uid == uid);
        let Some(rollout) = rollout else { return Default::default() };
        let weights = rollout.status.canary.weights.as_ref();
        let additional = weights.into_iter().flat_map(|weights| &weights.additional);
        let served = additional.filter(|share| share.weight > 0).map(|share| share.pod_template_hash.clone());
        let gets_services = experiment.spec.templates.iter().any(|template| template.service.is_some());
        (served.collect(), gets_services && weights.is_some())
    }

    /// Decides and acts, and once more where acting has shown what no cache shows.
    async fn carry_out(&self, key: &ObjectKey, mut world: ExperimentWorld<'_>) -> Outcome {
        let now = self.clock.now();
        let actor = Actor {
            client: &self.client,
            leadership: &self.leadership,
            experiment: world.experiment,
            namespace: &key.namespace,
            instance_id: &self.instance_id,
        };
        // What a look comes to that had to leave something for later.
        let mut later = None;
        for _ in 0..MOST_DECISIONS {
            let plan = decide_experiment(&world, now);
            let mut traces = Vec::new();
            let acted = actor.act(&plan, &mut traces).await;
            self.remember(key, &traces);
            match acted {
                Ok(()) => {
                    self.emit(world.experiment, &plan);
                    let awaited = plan.awaited.as_ref().map(|(name, hash)| (name.as_str(), hash.as_str()));
                    let look_at_pods = self.pods.follow(key, awaited);
                    let recheck = plan.recheck_at.map(|at| self.clock.instant_at(at));
                    let again = [recheck, look_at_pods].into_iter().flatten().min();
                    return later.unwrap_or(Outcome::Done(again));
                }
                Err(Stopped::NotLeading) => return Outcome::Done(None),
                Err(Stopped::Conflict(object)) => {
                    tracing::debug!(namespace = %key.namespace, experiment = %key.name, "{object} changed since it was looked at");
                    return Outcome::Done(Some(Instant::now() + CONFLICT_RETRY));
                }
                Err(Stopped::Taken(template)) => {
                    *world.taken.entry(template).or_default() += 1;
                }
                Err(Stopped::Failed(failure, error)) => {
                    tracing::warn!(namespace = %key.namespace, experiment = %key.name, "{}", failure.message);
                    if world.failed.is_some() {
                        return retry(&error);
                    }
                    if !failure.is_final {
                        later = Some(retry(&error));
                    }
                    world.failed = Some(failure);
                }
                Err(Stopped::Trouble(message, error)) => {
                    tracing::warn!(namespace = %key.namespace, experiment = %key.name, "{message}: {error}");
                    return retry(&error);
                }
            }
        }
        Outcome::Failed
    }

    /// Asks for templates that the caches do not show: one that was made just before its Experiment must not be
    /// missing because another watch was faster. Costs nothing where all are there, or nothing is to be begun.
    async fn ask_for_templates(
        &self,
        key: &ObjectKey,
        experiment: &Experiment,
        templates: &mut Templates,
    ) -> Result<(), kube::Error> {
        let status = experiment.status.as_ref();
        if status.is_some_and(|status| status.phase.is_terminal()) {
            return Ok(());
        }
        let is_begun =
            |name: &str| status.is_some_and(|status| status.analysis_runs.iter().any(|r| r.name == name));
        let ahead = experiment.spec.analyses.iter().filter(|analysis| !is_begun(&analysis.name));
        let mut open: Vec<AnalysisTemplateRef> = ahead.map(reference).collect();
        let mut seen = BTreeSet::new();
        let mut asked = 0;
        while let Some(reference) = open.pop() {
            if !seen.insert(reference.clone()) {
                continue;
            }
            if !templates.contains_key(&reference) && asked < MOST_TEMPLATES {
                asked += 1;
                if let Some(template) = self.live_template(&key.namespace, &reference).await? {
                    templates.insert(reference.clone(), Arc::new(template));
                }
            }
            open.extend(
                templates.get(&reference).into_iter().flat_map(|template| template.templates.clone()),
            );
        }
        Ok(())
    }

    async fn live_template(
        &self,
        namespace: &str,
        reference: &AnalysisTemplateRef,
    ) -> Result<Option<AnalysisTemplateSpec>, kube::Error> {
        let base = format!("/apis/{}", kind::API_VERSION);
        let path = if reference.cluster_scope {
            format!("{base}/clusteranalysistemplates")
        } else {
            format!("{base}/namespaces/{namespace}/analysistemplates")
        };
        let request = Builder::new(path).get(&reference.template_name, &GetParams::default());
        // A name that no object can have is that of none.
        let Ok(request) = request else { return Ok(None) };
        let mut object = match self.client.request::<Value>(request).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404) => return Ok(None),
            Err(error) => return Err(error),
        };
        let instance =
            object["metadata"]["labels"][keys::CONTROLLER_INSTANCE_ID].as_str().unwrap_or_default();
        if instance != self.instance_id {
            return Ok(None);
        }
        Ok(serde_json::from_value(object["spec"].take()).ok())
    }

    fn remember(&self, key: &ObjectKey, traces: &[Trace]) {
        let now = Instant::now();
        for trace in traces {
            let (Trace::Wrote(target, version) | Trace::Deleted(target, version)) = trace;
            match trace {
                Trace::Wrote(..) => self.versions.wrote(target.clone(), version.clone(), now),
                Trace::Deleted(..) => self.versions.deleted(target.clone(), version.clone(), now),
            }
            self.pending.add(key, target.clone());
        }
    }

    /// Whether the caches show our own last writes: `None`, or when to look again.
    async fn freshness(&self, key: &ObjectKey) -> Result<Option<Instant>, kube::Error> {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        for target in self.pending.of(key) {
            let cached = self.cached_version(&target);
            match self.versions.check(&target, cached.as_deref(), now) {
                Freshness::Fresh => self.pending.remove(key, &target),
                Freshness::Wait(until) => again = Some(again.map_or(until, |at| at.min(until))),
                Freshness::AskLive => {
                    let live = self.live_version(&target).await?;
                    self.versions.settle(&target);
                    if live.as_deref() == cached.as_deref() {
                        self.pending.remove(key, &target);
                        continue;
                    }
                    tracing::warn!(kind = target.0.name(), object = %target.1, "the watch is silent: listing anew");
                    match target.0 {
                        Kind::Experiment => self.experiments.relist(),
                        Kind::ReplicaSet => self.sets.relist(),
                        Kind::Service => self.services.relist(),
                        Kind::AnalysisRun => self.analysis.runs.relist(),
                    }
                    match live {
                        Some(version) => self.versions.wrote(target, version, now),
                        None => {
                            self.versions.deleted(target, cached.as_deref().unwrap_or("0").to_owned(), now);
                        }
                    }
                    again = Some(now + WATCH_PATIENCE);
                }
            }
        }
        Ok(again)
    }

    fn cached_version(&self, (kind, key): &Target) -> Option<Arc<str>> {
        match kind {
            Kind::Experiment => self.experiments.version(key),
            Kind::ReplicaSet => self.sets.version(key),
            Kind::Service => self.services.version(key),
            Kind::AnalysisRun => self.analysis.runs.version(key),
        }
    }

    async fn live_version(&self, (kind, key): &Target) -> Result<Option<String>, kube::Error> {
        let request = Builder::new(kind.path(&key.namespace))
            .get(&key.name, &GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(object["metadata"]["resourceVersion"].as_str().map(str::to_owned)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn emit(&self, experiment: &Experiment, plan: &ExperimentPlan) {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let metadata = &experiment.metadata;
        for event in &plan.events {
            self.events.emit(NewEvent {
                regarding: Regarding {
                    api_version: kind::API_VERSION.into(),
                    kind: "Experiment".into(),
                    namespace: of(&metadata.namespace),
                    name: of(&metadata.name),
                    uid: of(&metadata.uid),
                },
                event_type: if event.is_warning { EventType::Warning } else { EventType::Normal },
                reason: event.reason.to_string(),
                message: event.message.clone(),
            });
        }
    }
}

fn failed(key: &ObjectKey, problem: &str) -> Outcome {
    tracing::warn!(namespace = %key.namespace, experiment = %key.name, "{problem}");
    Outcome::Failed
}

/// When to try again what failed.
fn retry(error: &kube::Error) -> Outcome {
    let kube::Error::Api(status) = error else { return Outcome::Failed };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 { Outcome::FailedFor(Duration::from_secs(u64::from(seconds))) } else { Outcome::Failed }
}
