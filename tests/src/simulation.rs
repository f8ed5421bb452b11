//! A simulated cluster with the real controller in it, on virtual time.
//!
//! The cluster knows nothing of rollouts, the controller does not know that the cluster is simulated.
//! Tests say what people do, and look at what comes of it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_controller::clock::Clock;
use sluice_controller::{Controller, Handle, Options};
use sluice_sim::controllers::{self, Settings};
use sluice_sim::{Cluster, Patch};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The identity of the controller in the cluster's record of requests.
pub const CONTROLLER: &str = "controller";
/// The identity of people.
pub const PERSON: &str = "person";
/// The namespace of all stories.
pub const NAMESPACE: &str = "default";

/// Our kinds, generated once for all clusters of a run.
static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(sluice_api::crds::all);

/// A cluster, and who runs in it.
pub struct Simulation {
    /// The cluster.
    pub cluster: Cluster,
    workloads: JoinHandle<()>,
    controller: Option<Running>,
}

struct Running {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    handle: Handle,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.workloads.abort();
        if let Some(running) = &self.controller {
            running.task.abort();
        }
        // What is asked in a story has to be allowed by the role that we deploy.
        if !std::thread::panicking() {
            let missing = crate::permissions::missing(&self.cluster, CONTROLLER);
            assert!(missing.is_empty(), "deploy/rbac/role.yaml does not allow: {missing:#?}");
        }
    }
}

impl Simulation {
    /// A cluster with our kinds in it and nothing else. Must be called inside a runtime.
    pub fn new(seed: u64, settings: Settings) -> Simulation {
        let start = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        let cluster = Cluster::new(sluice_sim::Options { seed, start, ..sluice_sim::Options::default() });
        for crd in DEFINITIONS.iter() {
            cluster.create("setup", crd.clone()).expect("our own kinds are accepted");
        }
        let kinds = ["Rollout", "AnalysisRun", "Experiment"];
        let workloads = cluster.start_controllers(controllers::standard(settings.with_kinds(kinds)));
        Simulation { cluster, workloads, controller: None }
    }

    /// A cluster that behaves well, and the controller in it.
    pub fn with_controller() -> Simulation {
        let mut simulation = Simulation::new(1, Settings::default());
        simulation.start_controller(Options::default());
        simulation
    }

    /// Starts the controller, without leader election unless the options ask for it.
    pub fn start_controller(&mut self, options: Options) {
        self.start_controller_as(CONTROLLER, options);
    }

    /// Starts the controller under another identity.
    pub fn start_controller_as(&mut self, identity: &str, options: Options) {
        assert!(self.controller.is_none(), "one controller at a time");
        let clock = Clock::virtual_from(self.cluster.now());
        let controller = Controller::new(self.cluster.client(identity), clock, options);
        let handle = controller.handle();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(controller.run(async move {
            let _ = stopped.await;
        }));
        self.controller = Some(Running { task, stop: Some(stop), handle });
    }

    /// Watches for `seconds` whether the controller stops at a write, as it was told to; if so, it is dead, and
    /// another one with these options takes its place a moment later. Tells whether it was so.
    pub async fn replace_if_stopped(&mut self, seconds: u64, options: Options) -> bool {
        for _ in 0..seconds {
            self.pass(1).await;
            if self.cluster.faults().is_stopped(CONTROLLER) {
                break;
            }
        }
        let is_stopped = self.cluster.faults().is_stopped(CONTROLLER);
        if is_stopped {
            self.kill_controller();
            self.pass(3).await;
            self.cluster.faults().restart(CONTROLLER);
            self.start_controller(options);
        }
        is_stopped
    }

    /// Kills the controller where it stands.
    pub fn kill_controller(&mut self) {
        if let Some(running) = self.controller.take() {
            running.task.abort();
        }
    }

    /// Stops the controller in order.
    pub async fn stop_controller(&mut self) {
        if let Some(mut running) = self.controller.take() {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(());
            }
            let _ = running.task.await;
        }
    }

    /// The running controller's state.
    pub fn handle(&self) -> Option<&Handle> {
        self.controller.as_ref().map(|running| &running.handle)
    }

    /// The cluster's time.
    pub fn now(&self) -> Timestamp {
        self.cluster.now()
    }

    /// Lets time pass.
    pub async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Creates or replaces what a person applies.
    #[track_caller]
    pub fn apply(&self, object: Value) -> Arc<Value> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.cluster.get(&kind, Some(NAMESPACE), &name).is_some() {
            let patch = Patch::Merge(object);
            self.cluster
                .patch(PERSON, &kind, Some(NAMESPACE), &name, None, patch)
                .expect("the change is accepted")
        } else {
            let mut object = object;
            object["metadata"]["namespace"] = NAMESPACE.into();
            self.cluster.create(PERSON, object).expect("the object is accepted")
        }
    }

    /// The Rollout, as it is stored.
    #[track_caller]
    pub fn rollout(&self, name: &str) -> Arc<Value> {
        self.cluster.get("Rollout", Some(NAMESPACE), name).expect("the Rollout exists")
    }

    /// `status` of the Rollout.
    #[track_caller]
    pub fn status(&self, name: &str) -> Value {
        self.rollout(name)["status"].clone()
    }

    /// Phase and message of the Rollout.
    #[track_caller]
    pub fn phase(&self, name: &str) -> String {
        let status = self.status(name);
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("phase"), text("message")).trim().to_owned()
    }

    /// ReplicaSets with pods, by revision: `1:4/4 2:1/0` is size and available.
    pub fn sizes(&self, name: &str) -> String {
        let mut rows: Vec<(i64, String)> = self
            .sets(name)
            .iter()
            .filter(|set| number(set, "/spec/replicas") > 0 || number(set, "/status/replicas") > 0)
            .map(|set| {
                let revision = revision(set);
                (
                    revision,
                    format!(
                        "{revision}:{}/{}",
                        number(set, "/spec/replicas"),
                        number(set, "/status/availableReplicas")
                    ),
                )
            })
            .collect();
        rows.sort();
        rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>().join(" ")
    }

    /// The ReplicaSets that the Rollout owns.
    pub fn sets(&self, name: &str) -> Vec<Arc<Value>> {
        let sets = self.cluster.list("ReplicaSet", Some(NAMESPACE));
        sets.into_iter()
            .filter(|set| {
                set.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str) == Some(name)
            })
            .collect()
    }

    /// Changes the image.
    pub fn image(&self, name: &str, tag: &str) {
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": format!("registry.example/web:{tag}")}]);
        self.person(name, None, Patch::Json(patch));
    }

    /// A person's merge patch of the Rollout.
    pub fn patch(&self, name: &str, patch: Value) {
        self.person(name, None, Patch::Merge(patch));
    }

    /// A person's merge patch of the Rollout's status, as the command line sends it.
    pub fn patch_status(&self, name: &str, status: Value) {
        self.person(name, Some("status"), Patch::Merge(json!({"status": status})));
    }

    #[track_caller]
    fn person(&self, name: &str, subresource: Option<&str>, patch: Patch) {
        self.cluster
            .patch(PERSON, "Rollout", Some(NAMESPACE), name, subresource, patch)
            .expect("the change is accepted");
    }

    /// Waits until `is` holds, looking at virtual time; panics with what there is after `limit`.
    pub async fn until(&self, what: &str, limit: SignedDuration, is: impl Fn(&Simulation) -> bool) {
        let end = self.now() + limit;
        loop {
            let version = self.cluster.resource_version();
            if is(self) {
                return;
            }
            let left = end.duration_since(self.now());
            assert!(left.is_positive(), "{what} does not come about within {limit:#}: {}", self.describe());
            // Nothing can come about without a change.
            let left = Duration::try_from(left).unwrap_or_default();
            let _ = tokio::time::timeout(left, self.cluster.changed(version)).await;
        }
    }

    /// Waits for a phase whose text starts so.
    pub async fn until_phase(&self, name: &str, phase: &str) {
        let wanted = format!("{name} to be {phase}");
        self.until(&wanted, SignedDuration::from_mins(30), |s| s.phase(name).starts_with(phase)).await;
    }

    /// Everything worth knowing when a test fails.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for rollout in self.cluster.list("Rollout", None) {
            let name = rollout["metadata"]["name"].as_str().unwrap_or_default();
            text += &format!("\n{name}: {} | {} | {}", self.sizes(name), self.phase(name), rollout["status"]);
        }
        text
    }

    /// Writes of the controller since the record was last cleared: verb, resource, name.
    pub fn writes(&self) -> Vec<String> {
        let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
        let audit = self.cluster.audit();
        let own = audit.iter().filter(|r| &*r.identity == CONTROLLER && is_write(r.verb));
        own.filter(|r| r.resource != "events" && r.resource != "leases")
            .map(|r| {
                let subresource =
                    if r.subresource.is_empty() { String::new() } else { format!("/{}", r.subresource) };
                format!("{} {}{subresource} {}", r.verb, r.resource, r.name)
            })
            .collect()
    }
}

/// A number in an object; absent is 0.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The revision of an object.
pub fn revision(object: &Value) -> i64 {
    let text = object["metadata"]["annotations"]["rollout.argoproj.io/revision"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A Rollout named `web` with a canary strategy.
pub fn canary(replicas: i64, steps: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:1"}]},
            },
            "strategy": {"canary": {"maxSurge": 1, "maxUnavailable": 0, "steps": steps}},
        },
    })
}
