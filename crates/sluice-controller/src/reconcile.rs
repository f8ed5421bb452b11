//! One look at one Rollout: gather, decide, act, come back.
//!
//! The shell around the engine. It decides nothing about rollouts; it decides whether what the caches
//! show is recent enough to decide on, and when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use sluice_engine::moves::WaitReason;
use sluice_engine::plan::{Action, Plan};
use sluice_engine::restart;
use sluice_engine::spec::OwnedSet;
use sluice_engine::world::{ReplicaSet, Rollout, Service, Settings, World};
use tokio::time::Instant;

use crate::act::{ActError, Acted, Actor, FIELD_MANAGER, Kind, Trace};
use crate::analysis::{self, AnalysisObjects};
use crate::cache::{Body, Cache, Freshness, ObjectKey, Versions};
use crate::clock::Clock;
use crate::events::{EventType, Events, NewEvent, Regarding};
use crate::experiments::{self, HeldExperiment};
use crate::gather::{self, Remains, Services, Surroundings};
use crate::kept::Kept;
use crate::lease::Leadership;
use crate::metrics::{Metrics, Reconciled};
use crate::pod_sync;
use crate::pods::{self, PodWatches};
use crate::queue::Outcome;
use crate::routes::{self, RouteMemory, RouteObjects};
use crate::selections::Selections;
use crate::workloads::{self, Workloads};

/// How long a watch may take to show our own write before we ask.
pub const WATCH_PATIENCE: Duration = Duration::from_secs(10);
/// When to look again after a conflict, should no event come.
const CONFLICT_RETRY: Duration = Duration::from_secs(1);
/// When to go on with pods that could not be patched.
const POD_SYNC_RETRY: Duration = Duration::from_secs(5);
/// When to look again while the first list of a kind is being read.
const READING_PATIENCE: Duration = Duration::from_millis(250);

/// What an object is known by.
type Target = (Kind, ObjectKey);

/// Looks at Rollouts.
pub struct Reconciler {
    /// To whom writes go.
    pub client: Client,
    /// What time it is.
    pub clock: Clock,
    /// What an administrator set.
    pub settings: Settings,
    /// Whether we may write.
    pub leadership: Leadership,
    /// Rollouts.
    pub rollouts: Cache<Kept>,
    /// Their ReplicaSets.
    pub sets: Cache<OwnedSet>,
    /// Services.
    pub services: Cache<Service>,
    /// Since when they lead where they lead.
    pub selections: Selections,
    /// Objects that routes stand in.
    pub route_objects: RouteObjects,
    /// What is remembered of routes.
    pub route_memory: RouteMemory,
    /// Objects whose templates Rollouts run.
    pub workloads: Workloads,
    /// Analysis runs and what they are made of.
    pub analysis: AnalysisObjects,
    /// Experiments.
    pub experiments: Cache<HeldExperiment>,
    /// The instance id that what we make carries; empty: none.
    pub instance_id: String,
    /// Pods that are awaited.
    pub pods: PodWatches,
    /// Where events go.
    pub events: Events,
    /// Our own last writes.
    pub versions: Versions<Target>,
    /// Which of them belong to which Rollout.
    pub pending: Pending<Target>,
    /// Counts of what happened.
    pub counts: Counts,
    /// Where looks and events are counted for everybody to see.
    pub metrics: Option<std::sync::Arc<Metrics>>,
}

/// Counts of what happened, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Looks at a Rollout.
    pub looks: std::sync::atomic::AtomicU64,
    /// Decisions that found neither goal, write nor wait. Must stay 0.
    pub unexplained: std::sync::atomic::AtomicU64,
    /// Looks that ended because something had changed since.
    pub conflicts: std::sync::atomic::AtomicU64,
}

/// Our own writes that the caches have not shown yet, by the object that they were made for.
#[derive(Debug)]
pub struct Pending<T>(Mutex<BTreeMap<ObjectKey, BTreeSet<T>>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Ord + Clone> Pending<T> {
    /// Those for `object`.
    pub fn of(&self, object: &ObjectKey) -> Vec<T> {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.get(object).into_iter().flatten().cloned().collect()
    }

    /// Adds one.
    pub fn add(&self, object: &ObjectKey, target: T) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.entry(object.clone()).or_default().insert(target);
    }

    /// The caches show one.
    pub fn remove(&self, object: &ObjectKey, target: &T) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(targets) = pending.get_mut(object) {
            targets.remove(target);
            if targets.is_empty() {
                pending.remove(object);
            }
        }
    }

    /// The object is gone.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

impl Reconciler {
    /// Looks at one Rollout, does what is to be done, and counts it.
    pub async fn reconcile(&self, key: ObjectKey) -> Outcome {
        let begun = Instant::now();
        let outcome = self.look(key.clone()).await;
        if let Some(metrics) = &self.metrics {
            metrics.reconciled(Reconciled::Rollout, &key.namespace, &key.name, begun.elapsed());
            if matches!(outcome, Outcome::Failed | Outcome::FailedFor(_)) {
                metrics.reconcile_failed(Reconciled::Rollout, &key.namespace, &key.name);
            }
            if self.rollouts.body(&key).is_none() {
                metrics.forget(&key.namespace, &key.name);
            }
        }
        outcome
    }

    /// What would be looked at and done now, for people who ask why.
    pub fn inspect(&self, key: &ObjectKey) -> Option<Value> {
        let rollout = self.rollouts.get(key)?.rollout().ok()?;
        let now = self.clock.now();
        let traffic = self.routes(&rollout, now).ok()?.map(|look| look.traffic).unwrap_or_default();
        let workloads::Look { rollout, workload, left } =
            workloads::look(&rollout, &self.workloads, &self.sets).ok()?;
        let troubles = self.pods.troubles(key);
        let analysis = analysis::of(&rollout, &self.analysis);
        let trials = experiments::of(&rollout.uid, &self.experiments);
        let surroundings =
            Surroundings { traffic, pods: None, troubles, workload, left_workloads: left, analysis, trials };
        let services = Services { cache: &self.services, selections: &self.selections };
        let world = gather::world(rollout, &self.sets, services, surroundings, self.settings).ok()?;
        let plan = sluice_engine::decide(&world, now);
        Some(json!({
            "world": format!("{world:#?}"),
            "writes": plan.writes.iter().map(|write| format!("{:?}: {}", write.action, write.reason)).collect::<Vec<_>>(),
            "wait": plan.wait.map(|wait| wait.to_string()),
            "recheckAt": plan.recheck_at.map(|at| at.to_string()),
            "status": plan.status,
        }))
    }

    async fn look(&self, key: ObjectKey) -> Outcome {
        use std::sync::atomic::Ordering::Relaxed;
        self.counts.looks.fetch_add(1, Relaxed);
        let rollout = match self.rollouts.body(&key) {
            None => {
                self.pods.follow(&key, None);
                return self.after_the_end(&key, false).await;
            }
            Some(Body::Broken(problem)) => Err(problem.to_string()),
            Some(Body::Good(kept)) => kept.rollout(),
        };
        let rollout = match rollout {
            Ok(rollout) => rollout,
            Err(problem) => {
                tracing::warn!(namespace = %key.namespace, rollout = %key.name, "the object cannot be read: {problem}");
                return Outcome::Done(None);
            }
        };
        if rollout.is_deleting {
            self.pods.follow(&key, None);
            return self.after_the_end(&key, true).await;
        }
        match self.freshness(&key).await {
            Ok(None) => {}
            Ok(Some(at)) => return Outcome::Done(Some(at)),
            Err(problem) => return cannot_ask(&key, &problem),
        }
        // One look has one time: what is gathered for it is what is decided on.
        let now = self.clock.now();
        let (Ok(routes), Ok(look)) =
            (self.routes(&rollout, now), workloads::look(&rollout, &self.workloads, &self.sets))
        else {
            return Outcome::Done(Some(Instant::now() + READING_PATIENCE));
        };
        let workloads::Look { rollout, workload, left } = look;
        let traffic = routes.as_ref().map(|look| look.traffic.clone()).unwrap_or_default();
        let troubles = self.pods.troubles(&key);
        let restarting = matches!(restart::due(&rollout, now), restart::Due::Now(_));
        let pods = if restarting { self.list_pods(&rollout).await } else { None };
        let analysis = analysis::of(&rollout, &self.analysis);
        let trials = experiments::of(&rollout.uid, &self.experiments);
        let surroundings =
            Surroundings { traffic, pods, troubles, workload, left_workloads: left, analysis, trials };
        let services = Services { cache: &self.services, selections: &self.selections };
        let world = match gather::world(rollout, &self.sets, services, surroundings, self.settings) {
            Ok(world) => world,
            Err(problem) => {
                tracing::error!(namespace = %key.namespace, rollout = %key.name, "{problem}");
                return Outcome::Failed;
            }
        };
        let plan = sluice_engine::decide(&world, now);
        if plan.is_unexplained {
            self.counts.unexplained.fetch_add(1, Relaxed);
            if let Some(metrics) = &self.metrics {
                metrics.waited_without_reason();
            }
            tracing::error!(namespace = %key.namespace, rollout = %key.name, "neither goal nor write nor wait: {:?}", plan.status);
        }
        let actor = Actor {
            client: &self.client,
            leadership: &self.leadership,
            world: &world,
            now,
            instance_id: &self.instance_id,
            routes: routes.as_ref().map(|look| (look, &self.route_memory)),
        };
        let acted = actor.act(&plan).await;
        self.remember(&key, &acted);
        match acted.result {
            Ok(()) => {
                self.emit(&world.rollout, &plan);
                let look_at_pods = self.pods.follow(&key, awaited(&plan, &world));
                let retry_at = routes.as_ref().and_then(|look| look.retry_at);
                let recheck = [plan.recheck_at, retry_at].into_iter().flatten().min();
                let recheck = recheck.map(|at| self.clock.instant_at(at));
                // Routes that stood there already bring no event.
                let asked = plan.writes.iter().any(|write| matches!(write.action, Action::Route(_)));
                let again = asked.then(Instant::now);
                let again = [again, self.sync_pods(&key, &plan).await].into_iter().flatten().min();
                Outcome::Done([recheck, look_at_pods, again].into_iter().flatten().min())
            }
            Err(error) => self.trouble(&key, &world, &plan, error).await,
        }
    }

    /// The pods of a Rollout, asked for live: a restart must not count one twice that is on its way out.
    async fn list_pods(&self, rollout: &Rollout) -> Option<Vec<sluice_engine::world::Pod>> {
        // A selector that stands in a workload which is missing is not known.
        let spec = rollout.spec.as_ref().ok().filter(|spec| !spec.label_selector.is_empty())?;
        match pods::list(&self.client, &rollout.namespace, spec).await {
            Ok(pods) => Some(pods),
            Err(error) => {
                tracing::warn!(namespace = %rollout.namespace, rollout = %rollout.name, "cannot list pods: {error}");
                None
            }
        }
    }

    /// Undoes what was done for a Rollout which is gone, or going: workloads get their pods back, Services lead
    /// to every version again.
    async fn after_the_end(&self, key: &ObjectKey, is_going: bool) -> Outcome {
        let left_workloads = workloads::left_by(&self.workloads, key);
        let services = Services { cache: &self.services, selections: &self.selections }
            .carrying(&key.namespace, &key.name);
        if left_workloads.is_empty() && (is_going || services.is_empty()) {
            return Outcome::Done(None);
        }
        match self.freshness(key).await {
            Ok(None) => {}
            Ok(Some(at)) => return Outcome::Done(Some(at)),
            Err(problem) => return cannot_ask(key, &problem),
        }
        let mut is_gone = false;
        if !is_going {
            // What our watch does not show may be another controller's, or the watch may be late.
            match self.live(&(Kind::Rollout, key.clone())).await {
                Ok(None) => is_gone = true,
                Ok(Some(object)) if object["metadata"]["deletionTimestamp"].is_null() => {
                    return Outcome::Done(None);
                }
                Ok(Some(_)) if left_workloads.is_empty() => return Outcome::Done(None),
                Ok(Some(_)) => {}
                Err(problem) => return cannot_ask(key, &problem),
            }
        }
        let world = gather::after(key, Remains { left_workloads, services, is_gone }, self.settings);
        let now = self.clock.now();
        let plan = sluice_engine::decide(&world, now);
        let actor = Actor {
            client: &self.client,
            leadership: &self.leadership,
            world: &world,
            now,
            instance_id: &self.instance_id,
            routes: None,
        };
        let acted = actor.act(&plan).await;
        self.remember(key, &acted);
        match acted.result {
            Ok(()) => {
                for write in &plan.writes {
                    tracing::info!(namespace = %key.namespace, rollout = %key.name, "{:?}: {}", write.action, write.reason);
                }
                self.emit(&world.rollout, &plan);
                Outcome::Done(None)
            }
            Err(error) => self.trouble(key, &world, &plan, error).await,
        }
    }

    /// Lets pods follow their ReplicaSets. Returns when to go on, if some are left.
    async fn sync_pods(&self, key: &ObjectKey, plan: &Plan) -> Option<Instant> {
        let mut again = None;
        for sync in &plan.pod_syncs {
            match pod_sync::follow(&self.client, &self.leadership, &key.namespace, sync).await {
                Ok(pod_sync::Synced::All) => {}
                Ok(pod_sync::Synced::Some) => again = Some(Instant::now()),
                Err(error) => {
                    tracing::warn!(namespace = %key.namespace, rollout = %key.name, "pods of {} do not follow: {error}", sync.replica_set);
                    again = again.or(Some(Instant::now() + POD_SYNC_RETRY));
                }
            }
        }
        again
    }

    /// Looks at the routes of a Rollout.
    fn routes(&self, rollout: &Rollout, now: Timestamp) -> Result<Option<routes::Look>, routes::NotReady> {
        routes::look(rollout, &self.route_objects, &self.route_memory, self.settings, now)
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
                        Kind::Rollout => self.rollouts.relist(),
                        Kind::ReplicaSet => self.sets.relist(),
                        Kind::Service => self.services.relist(),
                        Kind::Pod => {}
                        Kind::AnalysisRun => self.analysis.runs.relist(),
                        Kind::Experiment => self.experiments.relist(),
                        Kind::Route(kind) => self.route_objects.relist(kind),
                        Kind::Workload(kind) => self.workloads.cache(kind).relist(),
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

    fn cached_version(&self, (kind, key): &Target) -> Option<std::sync::Arc<str>> {
        match kind {
            Kind::Rollout => self.rollouts.version(key),
            Kind::ReplicaSet => self.sets.version(key),
            Kind::Service => self.services.version(key),
            Kind::Pod => None,
            Kind::AnalysisRun => self.analysis.runs.version(key),
            Kind::Experiment => self.experiments.version(key),
            Kind::Route(kind) => self.route_objects.version(*kind, key),
            Kind::Workload(kind) => self.workloads.cache(*kind).version(key),
        }
    }

    async fn live_version(&self, target: &Target) -> Result<Option<String>, kube::Error> {
        let live = self.live(target).await?;
        Ok(live.and_then(|object| object["metadata"]["resourceVersion"].as_str().map(str::to_owned)))
    }

    /// An object as the API server has it now, if it does.
    async fn live(&self, (kind, key): &Target) -> Result<Option<Value>, kube::Error> {
        let path = match kind {
            Kind::Route(route) => self.route_objects.path(*route, &key.namespace, &key.name),
            Kind::Rollout
            | Kind::ReplicaSet
            | Kind::Service
            | Kind::Pod
            | Kind::AnalysisRun
            | Kind::Experiment
            | Kind::Workload(_) => kind.path(&key.namespace),
        };
        let request = kube::core::Request::new(path)
            .get(&key.name, &kube::api::GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember(&self, key: &ObjectKey, acted: &Acted) {
        let now = Instant::now();
        for trace in &acted.traces {
            let (Trace::Wrote(kind, object, version) | Trace::Deleted(kind, object, version)) = trace;
            let target = (*kind, object.clone());
            if *kind == Kind::Service {
                self.selections.changed(object, self.clock.now());
            }
            match trace {
                Trace::Wrote(..) => self.versions.wrote(target.clone(), version.clone(), now),
                Trace::Deleted(..) => self.versions.deleted(target.clone(), version.clone(), now),
            }
            self.pending.add(key, target);
        }
    }

    fn emit(&self, rollout: &Rollout, plan: &Plan) {
        for event in &plan.events {
            self.say(rollout, event.is_warning, event.reason, &event.message);
        }
    }

    fn say(&self, rollout: &Rollout, is_warning: bool, reason: &str, message: &str) {
        let (namespace, name) = (&rollout.namespace, &rollout.name);
        if is_warning {
            tracing::warn!(%namespace, rollout = %name, event_reason = reason, "{message}");
        } else {
            tracing::info!(%namespace, rollout = %name, event_reason = reason, "{message}");
        }
        if let Some(metrics) = &self.metrics {
            let kind = if is_warning { "Warning" } else { "Normal" };
            metrics.rollout_event(namespace, name, kind, reason);
        }
        self.events.emit(NewEvent {
            regarding: Regarding {
                api_version: "argoproj.io/v1alpha1".into(),
                kind: "Rollout".into(),
                namespace: namespace.clone(),
                name: name.clone(),
                uid: rollout.uid.clone(),
            },
            event_type: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.into(),
            message: message.into(),
        });
    }

    /// The Rollout has changed since the watch showed it. Until it shows that, a look would decide on the same step
    /// again and again, with sizes that have changed already.
    async fn wait_for_rollout(&self, key: &ObjectKey) {
        let target = (Kind::Rollout, key.clone());
        if let Ok(Some(live)) = self.live_version(&target).await
            && self.cached_version(&target).is_none_or(|cached| *cached != *live)
        {
            self.versions.wrote(target.clone(), live, Instant::now());
            self.pending.add(key, target);
        }
    }

    async fn trouble(&self, key: &ObjectKey, world: &World, plan: &Plan, error: ActError) -> Outcome {
        use std::sync::atomic::Ordering::Relaxed;
        match &error {
            ActError::NotLeading => Outcome::Done(None),
            ActError::Conflict { kind, .. } => {
                self.counts.conflicts.fetch_add(1, Relaxed);
                if *kind == Kind::Rollout.name() {
                    self.wait_for_rollout(key).await;
                }
                tracing::debug!(namespace = %key.namespace, rollout = %key.name, "{error}");
                Outcome::Done(Some(Instant::now() + CONFLICT_RETRY))
            }
            ActError::Collision { .. } => {
                self.say(&world.rollout, true, "ReplicaSetCollision", &error.to_string());
                let count = world.rollout.status.collision_count.unwrap_or(0).saturating_add(1);
                self.patch_status(key, world, json!({"collisionCount": count})).await;
                // Whoever collides again and again is not hurried.
                Outcome::Failed
            }
            ActError::Create { name, source } => {
                let message = format!("Failed to create new replica set \"{name}\": {source}");
                self.say(&world.rollout, true, "ReplicaSetCreateError", &message);
                if let Some(patch) =
                    sluice_engine::status::create_failed(&world.rollout.status, &message, self.clock.now())
                {
                    self.patch_status(key, world, patch).await;
                }
                error.retry_after().map_or(Outcome::Failed, Outcome::FailedFor)
            }
            ActError::Route { object, problem } => {
                // The next look says so in the status; it does all that does not need the router.
                self.say(&world.rollout, true, "TrafficRoutingError", &error.to_string());
                self.route_memory.refuses(&world.rollout, object.clone(), problem.clone(), self.clock.now());
                Outcome::Done(Some(Instant::now()))
            }
            ActError::Api { .. } => {
                if error.is_refusal() {
                    // The status will not say it, so the events have to.
                    if plan.wait.as_ref().is_some_and(|wait| wait.reason == WaitReason::Invalid) {
                        self.emit(&world.rollout, plan);
                    }
                    self.say(&world.rollout, true, "WriteRefused", &error.to_string());
                } else {
                    tracing::warn!(namespace = %key.namespace, rollout = %key.name, "{error}");
                }
                error.retry_after().map_or(Outcome::Failed, Outcome::FailedFor)
            }
        }
    }

    /// Writes a part of the status on the version that was looked at.
    async fn patch_status(&self, key: &ObjectKey, world: &World, status: Value) -> Outcome {
        if !self.leadership.is_leader() {
            return Outcome::Done(None);
        }
        let body = json!({"metadata": {"resourceVersion": world.rollout.resource_version}, "status": status});
        let parameters =
            kube::api::PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let request = kube::core::Request::new(Kind::Rollout.path(&key.namespace)).patch_subresource(
            "status",
            &key.name,
            &parameters,
            &kube::api::Patch::Merge(body),
        );
        let Ok(request) = request else { return Outcome::Failed };
        match self.client.request::<Value>(request).await {
            Ok(object) => {
                let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                let traces = vec![Trace::Wrote(Kind::Rollout, key.clone(), version)];
                self.remember(key, &Acted { traces, result: Ok(()) });
                Outcome::Done(Some(Instant::now() + CONFLICT_RETRY))
            }
            Err(_) => Outcome::Failed,
        }
    }
}

fn cannot_ask(key: &ObjectKey, problem: &kube::Error) -> Outcome {
    tracing::warn!(namespace = %key.namespace, rollout = %key.name, "cannot ask for a live object: {problem}");
    Outcome::Failed
}

/// The ReplicaSet whose pods are awaited: its name and hash.
fn awaited<'a>(plan: &Plan, world: &'a World) -> Option<(&'a str, &'a str)> {
    let wait = plan.wait.as_ref().filter(|wait| wait.reason == WaitReason::Pods)?;
    let name = wait.object.strip_prefix("ReplicaSet ")?;
    let set: &ReplicaSet = world.replica_sets.iter().find(|set| set.name == name)?;
    (set.size > 0).then_some((set.name.as_str(), set.hash.as_str()))
}
