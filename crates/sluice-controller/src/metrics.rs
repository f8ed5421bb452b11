//! What the process counts, and its text form for Prometheus.
//!
//! Holds counters and histograms, and asks others at scrape time for what they know already (queues,
//! caches, leadership), so that nothing is computed between scrapes. It decides nothing. The names,
//! labels and buckets are those of Argo Rollouts, so that dashboards and alerts go on working; what is
//! our own begins with `sluice_`.

mod layer;
mod process;
mod requests;

pub use layer::{Measured, MeasuredRequests};
pub use requests::RequestInfo;

use crate::queue::QueueStats;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
    core::Collector,
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// For how long the series of a deleted object are still there, so that its last scrape sees them.
const SERIES_OUTLIVE_OBJECTS_BY: Duration = Duration::from_secs(65);
/// Buckets of the reconcile histograms of Argo Rollouts, in seconds.
const RECONCILE_BUCKETS: [f64; 5] = [0.01, 0.15, 0.25, 0.5, 1.0];
/// The bounds of the queues' histograms the way Go writes them.
const QUEUE_BOUNDS: [&str; 10] = [
    "1e-08",
    "1e-07",
    "1e-06",
    "9.999999999999999e-06",
    "9.999999999999999e-05",
    "0.001",
    "0.01",
    "0.1",
    "1",
    "10",
];

/// Kinds that have reconcile metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// `rollout_reconcile`.
    Rollout,
    /// `experiment_reconcile`.
    Experiment,
    /// `analysis_run_reconcile`.
    AnalysisRun,
}

type QueueSource = Box<dyn Fn() -> QueueStats + Send + Sync>;
type SampleSource = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    reconcile: [HistogramVec; 3],
    reconcile_error: [IntCounterVec; 3],
    events: IntCounterVec,
    audit_repairs: IntCounter,
    unexplained_waits: IntCounter,
    version: String,
    queues: Mutex<BTreeMap<String, QueueSource>>,
    sources: Mutex<Vec<SampleSource>>,
    /// Deleted objects whose series are still there, and until when.
    leaving: Mutex<BTreeMap<(String, String), Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Registers everything. `version` is what the binary calls itself.
    ///
    /// # Errors
    /// Only when two metrics have the same name, which a test excludes.
    pub fn new(version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let object = ["namespace", "name"];
        let reconcile = |kind: &str, what: &str| {
            let options = HistogramOpts::new(
                format!("{kind}_reconcile"),
                format!("{what} reconciliation performance."),
            )
            .buckets(RECONCILE_BUCKETS.to_vec());
            register(&registry, HistogramVec::new(options, &object)?)
        };
        let reconcile_error = |kind: &str, what: &str| {
            let help = format!("Error occurring during the {what}");
            counter(&registry, &format!("{kind}_reconcile_error"), &help, &object)
        };
        let request_options = HistogramOpts::new(
            "sluice_request_seconds",
            "Time from a request to the API server to its answer.",
        )
        .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Ok(Self {
            requests: counter(
                &registry,
                "controller_clientset_k8s_request_total",
                "Number of kubernetes requests executed during application reconciliation.",
                &["kind", "namespace", "name", "verb", "status_code"],
            )?,
            request_seconds: register(&registry, HistogramVec::new(request_options, &["kind", "verb"])?)?,
            reconcile: [
                reconcile("rollout", "Rollout")?,
                reconcile("experiment", "Experiment")?,
                reconcile("analysis_run", "Analysis Run")?,
            ],
            reconcile_error: [
                reconcile_error("rollout", "rollout")?,
                reconcile_error("experiment", "experiment")?,
                reconcile_error("analysis_run", "analysis run")?,
            ],
            events: counter(
                &registry,
                "rollout_events_total",
                "The total number of rollout events",
                &["namespace", "name", "type", "reason"],
            )?,
            audit_repairs: register(
                &registry,
                IntCounter::new(
                    "sluice_audit_repairs_total",
                    "Differences that only a comparison with the cluster found. Anything but 0 is a mistake of the controller.",
                )?,
            )?,
            unexplained_waits: register(
                &registry,
                IntCounter::new(
                    "sluice_unexplained_waits_total",
                    "Passes that could not go on and did not say why. Anything but 0 is a mistake of the controller.",
                )?,
            )?,
            registry,
            version: version.to_owned(),
            queues: Mutex::default(),
            sources: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// The registry, for metrics that others bring.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Shows a queue under client-go's names, labelled with `name`.
    pub fn show_queue(&self, name: &str, stats: impl Fn() -> QueueStats + Send + Sync + 'static) {
        lock(&self.queues).insert(name.to_owned(), Box::new(stats));
    }

    /// Asks `source` at each scrape for what it knows; the samples of a family that several sources
    /// name are put together.
    pub fn at_scrape(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        lock(&self.sources).push(Box::new(source));
    }

    /// A pass over an object took so long.
    pub fn reconciled(&self, kind: Reconciled, namespace: &str, name: &str, took: Duration) {
        self.stays(namespace, name);
        self.reconcile[kind as usize].with_label_values(&[namespace, name]).observe(took.as_secs_f64());
    }

    /// A pass over an object failed.
    pub fn reconcile_failed(&self, kind: Reconciled, namespace: &str, name: &str) {
        self.stays(namespace, name);
        self.reconcile_error[kind as usize].with_label_values(&[namespace, name]).inc();
    }

    /// A Kubernetes Event about a Rollout.
    pub fn rollout_event(&self, namespace: &str, name: &str, event_type: &str, reason: &str) {
        self.stays(namespace, name);
        self.events.with_label_values(&[namespace, name, event_type, reason]).inc();
    }

    /// The audit had to repair something.
    pub fn audit_repaired(&self, count: u64) {
        self.audit_repairs.inc_by(count);
    }

    /// A pass could not go on and had no reason to show.
    pub fn waited_without_reason(&self) {
        self.unexplained_waits.inc();
    }

    /// A request to the API server was answered, or failed without an answer (`None`).
    pub fn requested(&self, request: &RequestInfo, status: Option<u16>, took: Duration) {
        let status = status.map_or_else(|| "<error>".to_owned(), |status| status.to_string());
        let labels = [request.kind.as_str(), &request.namespace, &request.name, request.verb, &status];
        self.requests.with_label_values(&labels).inc();
        self.request_seconds
            .with_label_values(&[request.kind.as_str(), request.verb])
            .observe(took.as_secs_f64());
    }

    /// An object was deleted: its series vanish after 65 seconds, unless it comes back.
    pub fn forget(&self, namespace: &str, name: &str) {
        let until = Instant::now() + SERIES_OUTLIVE_OBJECTS_BY;
        lock(&self.leaving).insert((namespace.to_owned(), name.to_owned()), until);
        self.sweep();
    }

    fn stays(&self, namespace: &str, name: &str) {
        let mut leaving = lock(&self.leaving);
        if !leaving.is_empty() {
            leaving.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Removes the series whose time has come. Called when somebody looks or leaves, not by a task.
    fn sweep(&self) {
        let now = Instant::now();
        let mut leaving = lock(&self.leaving);
        let gone: Vec<(String, String)> =
            leaving.iter().filter(|(_, until)| **until <= now).map(|(object, _)| object.clone()).collect();
        if gone.is_empty() {
            return;
        }
        leaving.retain(|_, until| *until > now);
        drop(leaving);
        let is_gone = |labels: &HashMap<&str, &str>| {
            let label = |name| labels.get(name).copied().unwrap_or_default().to_owned();
            gone.binary_search(&(label("namespace"), label("name"))).is_ok()
        };
        for histogram in &self.reconcile {
            remove_where(histogram, is_gone, |labels| histogram.remove(labels));
        }
        for counter in self.reconcile_error.iter().chain([&self.events, &self.requests]) {
            remove_where(counter, is_gone, |labels| counter.remove(labels));
        }
    }

    /// Returns everything in Prometheus' text form.
    pub fn render(&self) -> String {
        self.sweep();
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!("metrics: {error}");
        }
        let mut text = String::from_utf8(text).unwrap_or_default();
        let mut samples = Samples::default();
        let help = "Running Argo-rollouts version";
        samples.gauge("argo_rollouts_controller_info", help, &[("version", &self.version)], 1.0);
        for (name, stats) in lock(&self.queues).iter() {
            show_queue(&mut samples, name, &stats());
        }
        process::show(&mut samples);
        for source in lock(&self.sources).iter() {
            source(&mut samples);
        }
        samples.write(&mut text);
        text
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn remove_where(
    metric: &impl Collector,
    matches: impl Fn(&HashMap<&str, &str>) -> bool,
    remove: impl Fn(&HashMap<&str, &str>) -> prometheus::Result<()>,
) {
    for family in metric.collect() {
        for series in family.get_metric() {
            let labels = series.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if matches(&labels) {
                // It was there a moment ago; if somebody else removed it, so much the better.
                let _ = remove(&labels);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

struct Family {
    help: String,
    kind: Kind,
    lines: String,
}

/// Samples that exist for one scrape only.
#[derive(Default)]
pub struct Samples(BTreeMap<String, Family>);

impl Samples {
    /// Adds a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(Kind::Gauge, name, help, labels, value);
    }

    /// Adds a value that only goes up.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(Kind::Counter, name, help, labels, value);
    }

    fn sample(&mut self, kind: Kind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.family(kind, name, help);
        push_sample(&mut family.lines, name, labels, None, value);
    }

    /// Adds a histogram: `buckets` are upper bounds with the number of values in that bucket alone.
    pub fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (&'a str, u64)>,
        count: u64,
        sum: f64,
    ) {
        let lines = &mut self.family(Kind::Histogram, name, help).lines;
        let bucket_name = format!("{name}_bucket");
        let mut so_far = 0;
        for (bound, values) in buckets {
            so_far += values;
            push_sample(lines, &bucket_name, labels, Some(("le", bound)), so_far as f64);
        }
        push_sample(lines, &bucket_name, labels, Some(("le", "+Inf")), count as f64);
        push_sample(lines, &format!("{name}_sum"), labels, None, sum);
        push_sample(lines, &format!("{name}_count"), labels, None, count as f64);
    }

    fn family(&mut self, kind: Kind, name: &str, help: &str) -> &mut Family {
        let new = || Family { help: help.to_owned(), kind, lines: String::new() };
        self.0.entry(name.to_owned()).or_insert_with(new)
    }

    fn write(&self, text: &mut String) {
        for (name, Family { help, kind, lines }) in &self.0 {
            let kind = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
    }
}

fn push_sample(
    lines: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    last: Option<(&str, &str)>,
    value: f64,
) {
    lines.push_str(name);
    let mut separator = '{';
    for (label, content) in labels.iter().copied().chain(last) {
        lines.push(separator);
        separator = ',';
        lines.push_str(label);
        lines.push_str("=\"");
        for character in content.chars() {
            match character {
                '\\' => lines.push_str("\\\\"),
                '"' => lines.push_str("\\\""),
                '\n' => lines.push_str("\\n"),
                other => lines.push(other),
            }
        }
        lines.push('"');
    }
    if separator == ',' {
        lines.push('}');
    }
    let value = match value {
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    lines.push(' ');
    lines.push_str(&value);
    lines.push('\n');
}

fn show_queue(samples: &mut Samples, name: &str, stats: &QueueStats) {
    let labels = [("name", name)];
    let mut gauge = |metric: &str, help: &str, value: f64| samples.gauge(metric, help, &labels, value);
    gauge("workqueue_depth", "Current depth of workqueue", stats.depth as f64);
    gauge(
        "workqueue_longest_running_processor_seconds",
        "How many seconds has the longest running processor for workqueue been running.",
        stats.longest_running_seconds,
    );
    gauge(
        "workqueue_unfinished_work_seconds",
        "How many seconds of work has been done that is in progress and hasn't been observed by work_duration.",
        stats.unfinished_work_seconds,
    );
    gauge(
        "sluice_workqueue_oldest_seconds",
        "How long the key at the head of the queue has been waiting.",
        stats.oldest_wait_seconds,
    );
    gauge("sluice_workqueue_timers", "Keys that wait for a timer or a retry.", stats.timers as f64);
    let mut counter =
        |metric: &str, help: &str, value: u64| samples.counter(metric, help, &labels, value as f64);
    counter("workqueue_adds_total", "Total number of adds handled by workqueue", stats.adds_total);
    counter("workqueue_retries_total", "Total number of retries handled by workqueue", stats.retries_total);
    counter("sluice_workqueue_panics_total", "Passes that ended in a panic.", stats.panics_total);
    for (metric, help, durations) in [
        (
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            &stats.waited,
        ),
        (
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            &stats.worked,
        ),
    ] {
        let buckets = QUEUE_BOUNDS.into_iter().zip(durations.buckets);
        samples.histogram(metric, help, &labels, buckets, durations.count, durations.sum_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Outcome, Queue};
    use tokio::time::{advance, sleep};

    fn without_process(text: &str) -> String {
        let is_ours = |line: &&str| !line.contains("process_");
        text.lines().filter(is_ours).fold(String::new(), |text, line| text + line + "\n")
    }

    #[tokio::test(start_paused = true)]
    async fn the_text_that_is_scraped() {
        let metrics = Metrics::new("v1.2.3").expect("all names differ");
        let queue: Queue<String> = Queue::new("Rollouts", |key| key, 1);
        let shown = queue.clone();
        metrics.show_queue(queue.name(), move || shown.stats());
        metrics.at_scrape(|samples| {
            let labels = [("namespace", "prod"), ("name", "a\"b\\c\nd")];
            samples.gauge(
                "rollout_info_replicas_desired",
                "The number of desired replicas per rollout.",
                &labels,
                3.0,
            );
        });
        metrics.at_scrape(|samples| {
            let labels = [("namespace", "prod"), ("name", "web")];
            samples.gauge("rollout_info_replicas_desired", "", &labels, 0.5);
            samples.gauge("sluice_leader", "Whether this process leads.", &[], 1.0);
        });
        metrics.reconciled(Reconciled::Rollout, "prod", "web", Duration::from_millis(100));
        metrics.reconciled(Reconciled::Rollout, "prod", "web", Duration::from_secs(2));
        metrics.reconcile_failed(Reconciled::AnalysisRun, "prod", "run-1");
        metrics.rollout_event("prod", "web", "Normal", "RolloutCompleted");
        let (kind, verb) = ("rollouts".to_owned(), "Patch");
        let request = RequestInfo { kind, verb, namespace: "prod".to_owned(), name: "web".to_owned() };
        metrics.requested(&request, Some(200), Duration::from_millis(30));
        metrics.requested(&request, None, Duration::from_secs(30));
        queue.add("a".to_owned());
        queue.add("b".to_owned());
        advance(Duration::from_secs(1)).await;
        let claim = queue.take().await.expect("a key");
        advance(Duration::from_millis(500)).await;
        claim.finish(Outcome::Failed);
        let text = without_process(&metrics.render());
        insta::with_settings!({ snapshot_path => "metrics/snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("scraped", text);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn series_of_deleted_objects_vanish_after_a_while() {
        let metrics = Metrics::new("v1").expect("all names differ");
        for name in ["web", "api", "back"] {
            metrics.reconciled(Reconciled::Rollout, "prod", name, Duration::from_millis(1));
            metrics.reconcile_failed(Reconciled::Rollout, "prod", name);
            metrics.rollout_event("prod", name, "Normal", "RolloutCompleted");
            metrics.rollout_event("prod", name, "Warning", "RolloutAborted");
            let (kind, verb) = ("rollouts".to_owned(), "Patch");
            let request = RequestInfo { kind, verb, namespace: "prod".to_owned(), name: name.to_owned() };
            metrics.requested(&request, Some(200), Duration::from_millis(30));
        }
        let series = |name: &str| {
            let label = format!("name=\"{name}\"");
            metrics.render().lines().filter(|line| line.contains(&label)).count()
        };
        let all = series("api");
        assert_eq!((series("web"), all), (all, 8 + 1 + 2 + 1));
        metrics.forget("prod", "web");
        metrics.forget("prod", "back");
        sleep(Duration::from_secs(30)).await;
        metrics.reconciled(Reconciled::Rollout, "prod", "back", Duration::from_millis(1));
        sleep(Duration::from_secs(34)).await;
        assert_eq!(series("web"), all);
        sleep(Duration::from_secs(2)).await;
        assert_eq!((series("web"), series("api"), series("back")), (0, all, all));
        assert!(lock(&metrics.leaving).is_empty());
    }
}
