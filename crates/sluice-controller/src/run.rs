//! Puts the controller together and runs it: caches, queue, workers, lease, events, servers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use sluice_engine::analysis::RunOwner;
use sluice_engine::spec::{OwnedSet, Owner};
use sluice_engine::workload;
use sluice_engine::world::{Service, Settings};

use crate::analysis::measure::Providers;
use crate::analysis::runs::RunReconciler;
use crate::analysis::{self, AnalysisObjects};
use crate::cache::{Cache, ObjectKey, Source, Versions};
use crate::clock::Clock;
use crate::events::Events;
use crate::experiments;
use crate::experiments::looks::ExperimentReconciler;
use crate::gather;
use crate::kept::{Figures, Kept};
use crate::lease::{self, Leadership, LeaseOptions};
use crate::metrics::{Metrics, Samples};
use crate::pods::PodWatches;
use crate::queue::{self, Outcome, Queue};
use crate::reconcile::{Counts, Pending, Reconciler, WATCH_PATIENCE};
use crate::routes::{self, RouteMemory, RouteObjects};
use crate::selections::Selections;
use crate::workloads::{self, Workloads};

/// What a controller is run with.
#[derive(Clone)]
pub struct Options {
    /// Only this namespace; `None`: all.
    pub namespace: Option<String>,
    /// Only Rollouts with this instance id; empty: those without one.
    pub instance_id: String,
    /// How many Rollouts are looked at side by side.
    pub workers: usize,
    /// How many analysis runs are looked at side by side.
    pub analysis_workers: usize,
    /// How many Experiments are looked at side by side.
    pub experiment_workers: usize,
    /// Only analysis runs are looked at; Rollouts are somebody else's.
    pub analysis_only: bool,
    /// Where metrics are asked for.
    pub providers: Providers,
    /// The lease; `None`: without election.
    pub lease: Option<LeaseOptions>,
    /// What an administrator set.
    pub settings: Settings,
    /// How often caches are compared with the cluster.
    pub audit_period: Option<Duration>,
    /// Seeds the jitter of delays.
    pub seed: u64,
    /// Where looks and events are counted.
    pub metrics: Option<Arc<Metrics>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            namespace: None,
            instance_id: String::new(),
            workers: 10,
            analysis_workers: 30,
            experiment_workers: 10,
            analysis_only: false,
            providers: Providers::default(),
            lease: None,
            settings: Settings::default(),
            audit_period: Some(Duration::from_mins(15)),
            seed: 0,
            metrics: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("namespace", &self.namespace)
            .field("instance_id", &self.instance_id)
            .field("workers", &self.workers)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// A controller that is put together and can be run.
pub struct Controller {
    options: Options,
    client: Client,
    clock: Clock,
    queue: Queue<ObjectKey>,
    runs_queue: Queue<ObjectKey>,
    experiments_queue: Queue<ObjectKey>,
    reconciler: Arc<Reconciler>,
    runs: Arc<RunReconciler>,
    experiments: Arc<ExperimentReconciler>,
    writer: crate::events::EventWriter,
}

/// A handle on a controller's state, for servers and tests.
#[derive(Clone)]
pub struct Handle {
    /// What looks at Rollouts.
    pub reconciler: Arc<Reconciler>,
    /// The queue.
    pub queue: Queue<ObjectKey>,
    /// What looks at Experiments.
    pub experiments: Arc<ExperimentReconciler>,
    /// The queue of Experiments.
    pub experiments_queue: Queue<ObjectKey>,
}

impl Handle {
    /// Whether the caches are complete; else what is missing.
    ///
    /// # Errors
    /// The kinds that are not complete yet.
    pub fn ready(&self) -> Result<(), String> {
        let reconciler = &self.reconciler;
        let caches = [
            (reconciler.rollouts.name(), reconciler.rollouts.ready()),
            (reconciler.sets.name(), reconciler.sets.ready()),
            (reconciler.services.name(), reconciler.services.ready()),
            (reconciler.analysis.runs.name(), reconciler.analysis.runs.ready()),
            (reconciler.analysis.templates.name(), reconciler.analysis.templates.ready()),
            (reconciler.analysis.cluster_templates.name(), reconciler.analysis.cluster_templates.ready()),
            (self.experiments.experiments.name(), self.experiments.experiments.ready()),
        ];
        let missing: Vec<&str> = caches.iter().filter(|(_, ready)| !ready).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not read yet: {}", missing.join(", "))) }
    }
}

impl Handle {
    /// What is known about one Rollout: what would be looked at now, and what would be done.
    pub fn inspect(&self, namespace: &str, name: &str) -> Option<serde_json::Value> {
        self.reconciler.inspect(&ObjectKey::new(namespace, name))
    }

    /// Adds what the caches and the leadership know to a scrape.
    pub fn sample(&self, samples: &mut Samples) {
        use std::sync::atomic::Ordering::Relaxed;
        let reconciler = &self.reconciler;
        let leads = f64::from(u8::from(reconciler.leadership.is_leader()));
        samples.gauge("sluice_leader", "Whether this process leads", &[], leads);
        for (kind, size, repairs) in [
            ("Rollout", reconciler.rollouts.len(), reconciler.rollouts.repairs()),
            ("ReplicaSet", reconciler.sets.len(), reconciler.sets.repairs()),
            ("Service", reconciler.services.len(), reconciler.services.repairs()),
            ("AnalysisRun", reconciler.analysis.runs.len(), reconciler.analysis.runs.repairs()),
            ("Experiment", self.experiments.experiments.len(), self.experiments.experiments.repairs()),
        ] {
            samples.gauge("sluice_cached_objects", "Objects in a cache", &[("kind", kind)], size as f64);
            samples.counter(
                "sluice_cache_repairs_total",
                "Objects that an audit had to repair",
                &[("kind", kind)],
                repairs as f64,
            );
        }
        let conflicts = reconciler.counts.conflicts.load(Relaxed) as f64;
        samples.counter(
            "sluice_conflicts_total",
            "Looks that ended because something had changed since",
            &[],
            conflicts,
        );
        if leads > 0.0 {
            reconciler.rollouts.for_each(|key, body| {
                if let Some(kept) = body.good() {
                    sample_rollout(samples, key, kept.figures);
                }
            });
        }
    }
}

/// The gauges of one Rollout, by the names that dashboards know.
fn sample_rollout(samples: &mut Samples, key: &ObjectKey, figures: Figures) {
    let (namespace, name) = (&*key.namespace, &*key.name);
    let object = [("namespace", namespace), ("name", name)];
    let info = [
        ("namespace", namespace),
        ("name", name),
        ("strategy", figures.strategy),
        ("traffic_router", ""),
        ("phase", figures.phase),
    ];
    samples.gauge("rollout_info", "Information about rollout.", &info, 1.0);
    let desired = figures.desired as f64;
    let (available, updated) = (f64::from(figures.available), f64::from(figures.updated));
    samples.gauge(
        "rollout_info_replicas_available",
        "The number of available replicas per rollout.",
        &object,
        available,
    );
    samples.gauge(
        "rollout_info_replicas_unavailable",
        "The number of unavailable replicas per rollout.",
        &object,
        desired - available,
    );
    samples.gauge(
        "rollout_info_replicas_desired",
        "The number of desired replicas per rollout.",
        &object,
        desired,
    );
    samples.gauge(
        "rollout_info_replicas_updated",
        "The number of updated replicas per rollout.",
        &object,
        updated,
    );
}

impl Controller {
    /// Puts a controller together; nothing is asked or written before it is run.
    pub fn new(client: Client, clock: Clock, options: Options) -> Controller {
        let leadership = if options.lease.is_some() { Leadership::standby() } else { Leadership::always() };
        let queue = Queue::new("Rollouts", |key: &ObjectKey| key.lane(), options.seed);
        let (events, writer) = Events::new(client.clone(), clock.clone(), leadership.clone());
        let rollouts = Cache::with_index("Rollout", |kept: &Kept| kept.entries().map(Into::into).collect());
        let route_objects = route_objects(&options, &client, &queue, &rollouts);
        let workloads = workloads(&options, &client, &queue, &rollouts);
        let reconciler = Reconciler {
            client: client.clone(),
            clock: clock.clone(),
            settings: options.settings,
            leadership,
            rollouts,
            sets: Cache::with_index("ReplicaSet", gather::index_set),
            services: Cache::with_index("Service", gather::index_service),
            selections: Selections::default(),
            route_objects,
            route_memory: RouteMemory::default(),
            workloads,
            analysis: AnalysisObjects::default(),
            experiments: Cache::new("Experiment"),
            instance_id: options.instance_id.clone(),
            pods: PodWatches::new(client.clone(), queue.clone()),
            events,
            versions: Versions::new(WATCH_PATIENCE),
            pending: Pending::default(),
            counts: Counts::default(),
            metrics: options.metrics.clone(),
        };
        let runs_queue = Queue::new("AnalysisRuns", |key: &ObjectKey| key.lane(), options.seed);
        let runs = RunReconciler::new(&reconciler, options.providers.clone());
        let experiments_queue = Queue::new("Experiments", |key: &ObjectKey| key.lane(), options.seed);
        let experiments = ExperimentReconciler::new(&reconciler, &experiments_queue);
        Controller {
            options,
            client,
            clock,
            queue,
            runs_queue,
            experiments_queue,
            reconciler: Arc::new(reconciler),
            runs: Arc::new(runs),
            experiments: Arc::new(experiments),
            writer,
        }
    }

    /// A handle on this controller's state.
    pub fn handle(&self) -> Handle {
        Handle {
            reconciler: Arc::clone(&self.reconciler),
            queue: self.queue.clone(),
            experiments: Arc::clone(&self.experiments),
            experiments_queue: self.experiments_queue.clone(),
        }
    }

    /// Runs until `shutdown` completes: then what is under way ends, and the lease is given up.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Controller {
            options,
            client,
            clock,
            queue,
            runs_queue,
            experiments_queue,
            reconciler,
            runs,
            experiments,
            writer,
        } = self;
        let mut tasks = tokio::task::JoinSet::new();
        let queues = Queues { rollouts: &queue, runs: &runs_queue, experiments: &experiments_queue };
        feeds(&options, &client, queues, &reconciler, &mut tasks);
        analysis_feeds(&options, &client, queues, &reconciler, &mut tasks);
        experiment_feed(&options, &client, queues, &experiments, &mut tasks);
        tasks.spawn(writer.run());

        let (stop, stopped) = tokio::sync::watch::channel(false);
        let leadership = reconciler.leadership.clone();
        // Ends with this future, so that what is killed does not hold the lease, nor gives it back.
        let mut election = tokio::task::JoinSet::new();
        if let Some(lease) = options.lease.clone() {
            let until = async move {
                let mut stopped = stopped;
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            election.spawn(lease::run(client.clone(), lease, leadership.clone(), clock, until));
        }

        let unless_analysis_only = |workers| if options.analysis_only { 0 } else { workers };
        let work = work(
            Work { workers: unless_analysis_only(options.workers), queue: &queue, looks: &reconciler },
            Work { workers: options.analysis_workers, queue: &runs_queue, looks: &runs },
            Work {
                workers: unless_analysis_only(options.experiment_workers),
                queue: &experiments_queue,
                looks: &experiments,
            },
            &leadership,
        );
        tokio::select! {
            () = work => {}
            () = shutdown => {
                // What is ready is finished; nothing new is taken.
                queue.close();
                runs_queue.close();
                experiments_queue.close();
                let drained =
                    async { tokio::join!(drain(&queue), drain(&runs_queue), drain(&experiments_queue)) };
                let _ = tokio::time::timeout(Duration::from_secs(10), drained).await;
            }
        }
        reconciler.pods.clear();
        experiments.pods.clear();
        let _ = stop.send(true);
        while election.join_next().await.is_some() {}
        reconciler.route_objects.shutdown().await;
        reconciler.workloads.shutdown().await;
        tasks.shutdown().await;
    }
}

/// The queues, by what is looked at.
#[derive(Clone, Copy)]
struct Queues<'a> {
    rollouts: &'a Queue<ObjectKey>,
    runs: &'a Queue<ObjectKey>,
    experiments: &'a Queue<ObjectKey>,
}

/// A queue, how many work on it, and what looks at its objects.
#[derive(Clone, Copy)]
struct Work<'a, T> {
    workers: usize,
    queue: &'a Queue<ObjectKey>,
    looks: &'a Arc<T>,
}

/// Works while leading, over and over.
async fn work(
    rollouts: Work<'_, Reconciler>,
    analyses: Work<'_, RunReconciler>,
    experiments: Work<'_, ExperimentReconciler>,
    leadership: &Leadership,
) {
    let (queue, reconciler) = (rollouts.queue, rollouts.looks);
    loop {
        let mut leads = leadership.subscribe();
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        reconciler.rollouts.wait_ready().await;
        reconciler.sets.wait_ready().await;
        reconciler.services.wait_ready().await;
        reconciler.analysis.runs.wait_ready().await;
        reconciler.analysis.templates.wait_ready().await;
        reconciler.analysis.cluster_templates.wait_ready().await;
        experiments.looks.experiments.wait_ready().await;
        // Another leader may have written routes meanwhile.
        reconciler.route_memory.clear();
        tracing::info!(
            "Argo Rollouts controller starting: leading, {} Rollouts known",
            reconciler.rollouts.len()
        );
        for key in reconciler.rollouts.keys() {
            queue.add(key);
        }
        for (_, cache) in reconciler.workloads.all() {
            cache.for_each(|_, body| {
                if let Some(key) = body.good().and_then(|workload| workloads::told(workload)) {
                    queue.add(key);
                }
            });
        }
        reconciler.analysis.runs.for_each(|key, body| {
            if body.good().is_some_and(|held| held.object.is_some()) {
                analyses.queue.add(key.clone());
            }
        });
        for key in experiments.looks.experiments.keys() {
            experiments.queue.add(key);
        }
        let look = {
            let reconciler = Arc::clone(reconciler);
            let is_ours = rollouts.workers > 0;
            move |key: ObjectKey| {
                let reconciler = Arc::clone(&reconciler);
                async move { if is_ours { reconciler.reconcile(key).await } else { Outcome::Done(None) } }
            }
        };
        let measure = {
            let runs = Arc::clone(analyses.looks);
            move |key: ObjectKey| {
                let runs = Arc::clone(&runs);
                async move { runs.reconcile(key).await }
            }
        };
        let experiment = {
            let looks = Arc::clone(experiments.looks);
            let is_ours = experiments.workers > 0;
            move |key: ObjectKey| {
                let looks = Arc::clone(&looks);
                async move { if is_ours { looks.reconcile(key).await } else { Outcome::Done(None) } }
            }
        };
        let all = async {
            tokio::join!(
                queue::run(queue.clone(), rollouts.workers.max(1), look),
                queue::run(analyses.queue.clone(), analyses.workers, measure),
                queue::run(experiments.queue.clone(), experiments.workers.max(1), experiment)
            )
        };
        if leadership.while_leading(all).await.is_some() {
            return; // the queues are closed
        }
        reconciler.pods.clear();
        experiments.looks.pods.clear();
        queue.clear();
        analyses.queue.clear();
        experiments.queue.clear();
    }
}

async fn drain(queue: &Queue<ObjectKey>) {
    while queue.stats().working > 0 || queue.stats().depth > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn feeds(
    options: &Options,
    client: &Client,
    queues: Queues<'_>,
    reconciler: &Arc<Reconciler>,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let (queue, experiments) = (queues.rollouts, queues.experiments);
    let source = |resource: ApiResource| {
        let source = Source::new(client.clone(), resource)
            .in_namespace(options.namespace.clone())
            .seeded(options.seed);
        match options.audit_period {
            Some(period) => source.audited_every(period),
            None => source,
        }
    };
    let selector = instance_selector(&options.instance_id);
    let rollout = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    let rollouts =
        Source::optional(client.clone(), vec![ApiResource::from_gvk_with_plural(&rollout, "rollouts")])
            .in_namespace(options.namespace.clone())
            .seeded(options.seed)
            .labelled(selector);
    let rollouts = match options.audit_period {
        Some(period) => rollouts.audited_every(period),
        None => rollouts,
    };
    let own = queue.clone();
    let memory = reconciler.route_memory.clone();
    tasks.spawn(reconciler.rollouts.clone().feed(rollouts, move |change| {
        if let (None, Some(gone)) = (change.new, change.old_object()) {
            memory.forget(&gone.uid);
        }
        own.add(change.key.clone());
    }));

    let sets = source(ApiResource::erase::<k8s_openapi::api::apps::v1::ReplicaSet>(&()))
        .labelled(sluice_api::keys::POD_TEMPLATE_HASH);
    let (own, all, theirs) = (queue.clone(), reconciler.rollouts.clone(), experiments.clone());
    tasks.spawn(reconciler.sets.clone().feed(sets, move |change| {
        for set in [change.old_object(), change.new_object()].into_iter().flatten() {
            if let Owner::Experiment { name, .. } = &set.owner {
                theirs.add(ObjectKey::new(Arc::clone(&change.key.namespace), name.as_str()));
            }
            enqueue_owner(set, &change.key.namespace, &own, &all);
        }
    }));

    let services = source(ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&()));
    let (own, all, looker) = (queue.clone(), reconciler.rollouts.clone(), Arc::clone(reconciler));
    let theirs = experiments.clone();
    tasks.spawn(reconciler.services.clone().feed(services, move |change| {
        looker.selections.observed(change, looker.clock.now());
        let is_same =
            matches!((change.old_object(), change.new_object()), (Some(old), Some(new)) if same(old, new));
        if is_same {
            return;
        }
        for (key, _) in all.indexed(&gather::service_entry(&change.key.namespace, &change.key.name)) {
            own.add(key);
        }
        let carried = [change.old_object(), change.new_object()].into_iter().flatten();
        for (name, _) in carried.clone().filter_map(|service| service.experiment.as_deref()) {
            theirs.add(ObjectKey::new(Arc::clone(&change.key.namespace), name.as_str()));
        }
        // Whoever's name it carries may not name it any more.
        for name in carried.filter_map(|service| service.managed_by.as_deref()) {
            own.add(ObjectKey::new(Arc::clone(&change.key.namespace), name));
        }
    }));
}

/// Watches analysis runs and templates.
fn analysis_feeds(
    options: &Options,
    client: &Client,
    queues: Queues<'_>,
    reconciler: &Arc<Reconciler>,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let queue = queues.rollouts;
    let source = optional_source(options, client);
    let selector = instance_selector(&options.instance_id);
    let own =
        |kind: &str, plural: &str| source(vec![analysis::resource(kind, plural)]).labelled(selector.clone());
    let objects = &reconciler.analysis;
    let (looks, measures, theirs) = (queue.clone(), queues.runs.clone(), queues.experiments.clone());
    tasks.spawn(objects.runs.clone().feed(own("AnalysisRun", "analysisruns"), move |change| {
        let (old, new) = (change.old_object(), change.new_object());
        if new.is_some_and(|held| held.object.is_some()) {
            measures.add(change.key.clone());
        }
        if old.zip(new).is_some_and(|(old, new)| analysis::is_same(old, new)) {
            return;
        }
        for held in old.into_iter().chain(new) {
            let key = |name: &str| ObjectKey::new(Arc::clone(&change.key.namespace), name);
            match &held.owned.owner {
                RunOwner::Rollout(name, _) => looks.add(key(name)),
                RunOwner::Experiment(name, _) => theirs.add(key(name)),
                RunOwner::Nobody | RunOwner::Other => {}
            }
        }
    }));
    let tell = |queue: &Queue<ObjectKey>, rollouts: &Cache<Kept>, namespace: &str| {
        for (key, _) in rollouts.indexed(&analysis::entry(namespace)) {
            queue.add(key);
        }
    };
    let (looks, all) = (queue.clone(), reconciler.rollouts.clone());
    let templates = own("AnalysisTemplate", "analysistemplates");
    tasks.spawn(
        objects.templates.clone().feed(templates, move |change| tell(&looks, &all, &change.key.namespace)),
    );
    // A namespaced installation cannot read what belongs to the cluster.
    let (looks, all) = (queue.clone(), reconciler.rollouts.clone());
    let cluster = Source::optional(
        client.clone(),
        vec![analysis::resource("ClusterAnalysisTemplate", "clusteranalysistemplates")],
    )
    .seeded(options.seed)
    .labelled(selector.clone());
    tasks.spawn(
        objects
            .cluster_templates
            .clone()
            .feed(cluster, move |change| tell(&looks, &all, &change.key.namespace)),
    );
}

/// Watches Experiments.
fn experiment_feed(
    options: &Options,
    client: &Client,
    queues: Queues<'_>,
    experiments: &Arc<ExperimentReconciler>,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let source = optional_source(options, client);
    let source = source(vec![analysis::resource("Experiment", "experiments")])
        .labelled(instance_selector(&options.instance_id));
    let (looks, rollouts) = (queues.experiments.clone(), queues.rollouts.clone());
    let cache = experiments.experiments.clone();
    tasks.spawn(cache.feed(source, move |change| {
        looks.add(change.key.clone());
        let (old, new) = (change.old_object(), change.new_object());
        if old.zip(new).is_some_and(|(old, new)| experiments::is_same(old, new)) {
            return;
        }
        let owners = old.into_iter().chain(new).filter_map(|held| experiments::owner(&held.object));
        for (name, _) in owners {
            rollouts.add(ObjectKey::new(Arc::clone(&change.key.namespace), name));
        }
    }));
}

/// What objects that are ours by the instance id carry.
fn instance_selector(id: &str) -> String {
    let instance = sluice_api::keys::CONTROLLER_INSTANCE_ID;
    if id.is_empty() { format!("!{instance}") } else { format!("{instance}={id}") }
}

/// The caches of objects that routes stand in; a change of one is told to the Rollouts that name it.
fn route_objects(
    options: &Options,
    client: &Client,
    queue: &Queue<ObjectKey>,
    rollouts: &Cache<Kept>,
) -> RouteObjects {
    let (queue, rollouts) = (queue.clone(), rollouts.clone());
    RouteObjects::new(optional_source(options, client), move |kind, source, cache, tasks| {
        let (queue, rollouts) = (queue.clone(), rollouts.clone());
        tasks.spawn(cache.feed(source, move |change| {
            let (namespace, name) = (&change.key.namespace, &change.key.name);
            for name in
                [routes::index_name(kind, namespace, name), routes::index_name_of_all(kind, namespace)]
            {
                for (key, _) in rollouts.indexed(&name) {
                    queue.add(key);
                }
            }
        }));
    })
}

/// How a kind is watched that need not exist.
fn optional_source(
    options: &Options,
    client: &Client,
) -> impl Fn(Vec<ApiResource>) -> Source + Send + Sync + use<> {
    let (client, seed, period) = (client.clone(), options.seed, options.audit_period);
    let namespace = options.namespace.clone();
    move |resources| {
        let source = Source::optional(client.clone(), resources).in_namespace(namespace.clone()).seeded(seed);
        match period {
            Some(period) => source.audited_every(period),
            None => source,
        }
    }
}

/// The caches of workloads; a change of one is told to the Rollouts that name it, and to the one that it was
/// scaled down for.
fn workloads(
    options: &Options,
    client: &Client,
    queue: &Queue<ObjectKey>,
    rollouts: &Cache<Kept>,
) -> Workloads {
    let source = optional_source(options, client);
    let (queue, rollouts) = (queue.clone(), rollouts.clone());
    Workloads::new(move |kind, tasks| {
        let cache = workloads::cache(kind);
        let (queue, rollouts) = (queue.clone(), rollouts.clone());
        let source = source(vec![workloads::resource(kind)]);
        tasks.spawn(cache.clone().feed(source, move |change| {
            let (old, new) = (change.old_object(), change.new_object());
            if old.zip(new).is_some_and(|(old, new)| workload::is_same(old, new)) {
                return;
            }
            let name = workloads::index_name(kind, &change.key.namespace, &change.key.name);
            let named = rollouts.indexed(&name).into_iter().map(|(key, _)| key);
            let told = old.into_iter().chain(new).filter_map(|workload| workloads::told(workload));
            for key in named.chain(told) {
                queue.add(key);
            }
        }));
        cache
    })
}

/// Whether nothing that is looked at changed.
fn same(old: &Service, new: &Service) -> bool {
    Service { resource_version: String::new(), ..old.clone() }
        == Service { resource_version: String::new(), ..new.clone() }
}

fn enqueue_owner(set: &OwnedSet, namespace: &Arc<str>, queue: &Queue<ObjectKey>, rollouts: &Cache<Kept>) {
    match &set.owner {
        Owner::Rollout { name, .. } => queue.add(ObjectKey::new(Arc::clone(namespace), name.as_str())),
        Owner::Experiment { .. } | Owner::Other => {}
        Owner::Nobody => rollouts.for_each(|key, body| {
            if key.namespace != *namespace {
                return;
            }
            let rollout = body.good().and_then(|kept| kept.rollout().ok());
            let spec = rollout.as_ref().and_then(|rollout| rollout.spec.as_ref().ok());
            if spec.is_some_and(|spec| spec.label_selector.matches(&set.set.labels)) {
                queue.add(key.clone());
            }
        }),
    }
}
