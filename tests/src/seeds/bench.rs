//! A simulated cluster with one or two controllers in it that can be killed, cut off and misled.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_controller::clock::Clock;
use sluice_controller::lease::LeaseOptions;
use sluice_controller::{Controller, Handle, Options};
use sluice_sim::controllers::{self, Settings};
use sluice_sim::{Cluster, DeleteOptions, Patch};
use tokio::task::JoinHandle;

use crate::invariants::Checker;

/// The identities of the controllers.
pub const CONTROLLERS: [&str; 2] = ["controller", "controller-b"];
/// Who applies and patches.
pub const PERSON: &str = "person";
const NAMESPACE: &str = "default";

/// The cluster and who runs in it.
pub struct Bench {
    /// The cluster.
    pub cluster: Cluster,
    /// What must hold in it.
    pub checker: Checker,
    workloads: JoinHandle<()>,
    running: [Option<Running>; 2],
    has_lease: bool,
    seed: u64,
    /// Decisions of controllers that have ended that found neither goal, write nor wait.
    unexplained: u64,
}

struct Running {
    task: JoinHandle<()>,
    handle: Handle,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.workloads.abort();
        for running in self.running.iter().flatten() {
            running.task.abort();
        }
    }
}

/// Our own kinds; their schemas take long to make.
fn definitions() -> &'static [Value] {
    static DEFINITIONS: OnceLock<Vec<Value>> = OnceLock::new();
    DEFINITIONS.get_or_init(sluice_api::crds::all)
}

impl Bench {
    /// A cluster without controllers. Must be called inside a runtime.
    pub fn new(seed: u64, settings: Settings, has_lease: bool) -> Bench {
        let start = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        let cluster = Cluster::new(sluice_sim::Options { seed, start, ..sluice_sim::Options::default() });
        for crd in definitions() {
            cluster.create("setup", crd.clone()).expect("our own kinds are accepted");
        }
        let checker = Checker::watch(&cluster, &CONTROLLERS);
        let workloads = cluster
            .start_controllers(controllers::standard(Settings { seed, ..settings.with_kinds(["Rollout"]) }));
        Bench { cluster, checker, workloads, running: [None, None], has_lease, seed, unexplained: 0 }
    }

    /// Starts every controller that does not run.
    pub fn start(&mut self) {
        let count = if self.has_lease { 2 } else { 1 };
        for number in 0..count {
            if self.running[number].is_none() {
                self.start_one(number);
            }
        }
    }

    fn start_one(&mut self, number: usize) {
        let identity = CONTROLLERS[number];
        let lease = self.has_lease.then(|| LeaseOptions {
            namespace: NAMESPACE.into(),
            name: "argo-rollouts-controller-lock".into(),
            identity: identity.into(),
            timings: sluice_controller::lease::Timings::default(),
        });
        let options = Options { lease, seed: self.seed, ..Options::default() };
        let clock = Clock::virtual_from(self.cluster.now());
        let controller = Controller::new(self.cluster.client(identity), clock, options);
        let handle = controller.handle();
        let task = tokio::spawn(controller.run(std::future::pending()));
        self.running[number] = Some(Running { task, handle });
    }

    /// Kills every controller where it stands.
    pub fn kill(&mut self) {
        for number in 0..self.running.len() {
            if let Some(running) = self.running[number].take() {
                self.unexplained += unexplained(&running.handle);
                running.task.abort();
            }
        }
    }

    /// How often a controller found neither goal, write nor wait.
    pub fn unexplained(&self) -> u64 {
        self.unexplained
            + self.running.iter().flatten().map(|running| unexplained(&running.handle)).sum::<u64>()
    }

    /// Whether a controller ended by itself, which none may.
    pub fn has_died(&self) -> bool {
        self.running.iter().flatten().any(|running| running.task.is_finished())
    }

    /// The cluster's time.
    pub fn now(&self) -> Timestamp {
        self.cluster.now()
    }

    /// Lets time pass.
    pub async fn pass_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// The Rollout.
    pub fn rollout(&self) -> Arc<Value> {
        self.cluster.get("Rollout", Some(NAMESPACE), "web").unwrap_or_default()
    }

    /// Its ReplicaSets, newest revision last.
    pub fn sets(&self) -> Vec<Arc<Value>> {
        let mut sets = self.cluster.list("ReplicaSet", Some(NAMESPACE));
        sets.sort_by_key(|set| {
            (crate::simulation::revision(set), set["metadata"]["name"].as_str().map(str::to_owned))
        });
        sets
    }

    /// Creates an object as a person does.
    pub fn create(&self, object: Value) {
        self.cluster.create(PERSON, object).expect("what a person creates is accepted");
    }

    /// A person's merge patch of an object; gone objects are left alone.
    pub fn patch(&self, kind: &str, name: &str, subresource: Option<&str>, patch: Value) {
        let answer =
            self.cluster.patch(PERSON, kind, Some(NAMESPACE), name, subresource, Patch::Merge(patch));
        if let Err(status) = answer {
            assert!(status.is_not_found(), "what a person patches is accepted: {status}");
        }
    }

    /// A person's merge patch of the Rollout.
    pub fn apply(&self, patch: Value) {
        self.patch("Rollout", "web", None, patch);
    }

    /// A person's merge patch of the Rollout's status.
    pub fn status(&self, status: Value) {
        self.patch("Rollout", "web", Some("status"), json!({"status": status}));
    }

    /// A person changes the image.
    pub fn image(&self, tag: &str) {
        let path = "/spec/template/spec/containers/0/image";
        let patch = json!([{"op": "replace", "path": path, "value": super::scenario::image(tag)}]);
        let answer = self.cluster.patch(PERSON, "Rollout", Some(NAMESPACE), "web", None, Patch::Json(patch));
        answer.expect("an image is accepted");
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, name: &str) {
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        let _ = self.cluster.delete(PERSON, kind, Some(NAMESPACE), name, options);
    }

    /// Waits until the controllers have not written for `quiet_seconds`; false when `limit` is over first.
    pub async fn comes_to_rest(&self, quiet_seconds: i64, limit: SignedDuration) -> bool {
        let begin = self.now();
        loop {
            let since = self.checker.last_own_write().max(begin);
            let rests_at = since + SignedDuration::from_secs(quiet_seconds);
            let now = self.now();
            if now >= rests_at {
                return true;
            }
            if now >= begin + limit {
                return false;
            }
            let wait = Duration::try_from(rests_at.duration_since(now)).unwrap_or_default();
            tokio::time::sleep(wait + Duration::from_millis(1)).await;
        }
    }
}

fn unexplained(handle: &Handle) -> u64 {
    handle.reconciler.counts.unexplained.load(std::sync::atomic::Ordering::Relaxed)
}
