//! A served cluster with rollouts in it, and the binary as a person would run it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::{Cluster, Options, Served};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How the binary appears to the cluster.
pub const IDENTITY: &str = "kubectl-argo-rollouts";
/// Nothing here takes this long; it turns a hang into a failure.
const LONGEST: Duration = Duration::from_mins(1);

/// What a process left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

pub struct World {
    pub cluster: Cluster,
    pub address: SocketAddr,
    _served: Served,
    home: TempDir,
}

impl World {
    /// A cluster with the namespace `shop`, and Argo's kinds.
    pub async fn new() -> World {
        World::with_definitions(sluice_api::crds::all()).await
    }

    pub async fn with_definitions(definitions: Vec<Value>) -> World {
        let cluster = Cluster::new(Options::default());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        for object in definitions.into_iter().chain([namespace]) {
            cluster.create("setup", object).expect("created");
        }
        let served = cluster.serve((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
        let home = TempDir::new().expect("a directory");
        let config = Cluster::kubeconfig(served.addr).replace("namespace: default", "namespace: shop");
        std::fs::write(home.path().join("config"), config).expect("written");
        World { cluster, address: served.addr, _served: served, home }
    }

    /// The binary with its environment, ready to get arguments.
    pub fn command(&self) -> Command {
        let mut command = self.command_without_kubeconfig();
        command.env("KUBECONFIG", self.home.path().join("config"));
        command
    }

    pub fn command_without_kubeconfig(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-argo-rollouts"));
        command.env_clear().env("HOME", self.home.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.command().args(arguments)).await
    }

    /// Puts objects in as they are.
    pub fn load(&self, objects: Vec<Value>) {
        self.cluster.load(objects);
    }

    pub fn rollout(&self, name: &str) -> Arc<Value> {
        self.cluster.get("Rollout", Some("shop"), name).expect("a rollout")
    }

    /// The requests of the binary, such as `patch rollouts/status web 200`.
    pub fn requests(&self) -> Vec<String> {
        let ours = self.cluster.audit().into_iter().filter(|request| &*request.identity == IDENTITY);
        ours.map(|request| {
            let slash = if request.subresource.is_empty() { "" } else { "/" };
            let line = format!(
                "{} {}{slash}{} {}",
                request.verb, request.resource, request.subresource, request.name
            );
            format!("{} {}", line.trim_end(), request.code)
        })
        .collect()
    }
}

/// A process that is just being made holds a copy of every open pipe for a moment, and as long as somebody
/// holds its reading end, a pipe is not broken.
static SPAWNING: Mutex<()> = Mutex::new(());

/// Starts a process.
pub fn spawn(command: &mut Command) -> Child {
    let _guard = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("a process")
}

/// Closes one end of a pipe, for good.
pub fn close<T>(end: T) {
    let _guard = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
    drop(end);
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Outcome {
    let output = in_time(spawn(command).wait_with_output()).await.expect("an end");
    Outcome {
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
        code: output.status.code(),
    }
}

pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONGEST, work).await.expect("it ends")
}

pub fn said(stdout: &str) -> Outcome {
    Outcome { stdout: stdout.to_owned(), stderr: String::new(), code: Some(0) }
}

pub fn failed(stdout: &str, stderr: &str) -> Outcome {
    Outcome { stdout: stdout.to_owned(), stderr: stderr.to_owned(), code: Some(1) }
}

fn rollout(name: &str, strategy: Value, status: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "generation": 1},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "strategy": strategy,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:3"}]},
            },
        },
        "status": status,
    })
}

/// A canary at step `index` of four.
pub fn canary(name: &str, index: i64) -> Value {
    let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let status = json!({
        "currentStepIndex": index, "currentPodHash": "new", "stableRS": "old", "observedGeneration": "1",
        "phase": "Progressing", "message": "waiting for all steps to complete",
    });
    rollout(name, json!({"canary": {"steps": steps}}), status)
}

pub fn blue_green(name: &str) -> Value {
    let status = json!({
        "currentPodHash": "new", "stableRS": "old", "observedGeneration": "1", "phase": "Healthy",
    });
    rollout(name, json!({"blueGreen": {"activeService": name}}), status)
}

/// The rollout with these fields in `spec` or `status`.
pub fn with(mut rollout: Value, part: &str, fields: Value) -> Value {
    for (key, value) in fields.as_object().expect("an object") {
        rollout[part][key] = value.clone();
    }
    rollout
}

/// The rollout in a pause of the controller's.
pub fn waiting(rollout: Value, reason: &str) -> Value {
    let pause = json!([{"reason": reason, "startTime": "2026-01-01T00:00:00Z"}]);
    let fields =
        json!({"pauseConditions": pause, "controllerPause": true, "phase": "Paused", "message": reason});
    with(rollout, "status", fields)
}

/// A ReplicaSet of a rollout with an image of the same number as its revision.
pub fn replica_set(rollout: &str, revision: i64) -> Value {
    let hash = format!("hash{revision}");
    let labels = json!({"app": rollout, "rollouts-pod-template-hash": hash});
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{rollout}-{hash}"), "namespace": "shop", "labels": labels,
            "annotations": {"rollout.argoproj.io/revision": revision.to_string()},
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": rollout,
                "uid": format!("uid-of-{rollout}"), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": format!("registry.example/web:{revision}")}]},
            },
        },
    })
}
