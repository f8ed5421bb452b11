//! Measures what a fleet at rest costs: memory of the controller, and its requests.
//!
//! Starts a real API server (nothing else writes), fills it with healthy Rollouts of three ReplicaSets
//! each, has a controller, given as a command line, take them over and write each one's status, kills it,
//! and starts it anew: then nothing is left to be done. Prints the memory of both and what the second
//! asked for in an idle time. The command gets the kubeconfig by the variable `KUBECONFIG`, and the namespace of its lease
//! by `POD_NAMESPACE`.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use futures::StreamExt;
use kube::Client;
use serde_json::{Value, json};
use sluice_tests::cluster::{ControlPlane, Options};
use tokio::process::Child;

/// Measures what a fleet at rest costs.
#[derive(Parser)]
struct Args {
    /// How many Rollouts
    #[arg(long, default_value_t = 2000)]
    rollouts: usize,
    /// ReplicaSets of each
    #[arg(long, default_value_t = 3)]
    sets: usize,
    /// How long to look at its requests, in seconds
    #[arg(long, default_value_t = 120)]
    idle_seconds: u64,
    /// The controller's command line
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

const NAMESPACE: &str = "fleet";
/// Where the controller's own output goes, in the folder of all logs.
const LOG: &str = "controller.log";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let plane =
        ControlPlane::start(Options { controllers: false, scheduler: false, nodes: 0, ..Options::default() })
            .await?;
    let client = plane.client().await?;
    for crd in sluice_api::crds::all() {
        post(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await?;
    }
    post(&client, "/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}})).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    eprintln!("filling: {} Rollouts of {} ReplicaSets", args.rollouts, args.sets);
    let fill =
        futures::stream::iter(0..args.rollouts).map(|n| one(&client, n, args.sets)).buffer_unordered(16);
    for result in fill.collect::<Vec<_>>().await {
        result?;
    }

    let (mut first, pid) = start(&plane, &args.command)?;
    if let Err(problem) = settle(&client, args.rollouts).await {
        eprint!("{}", std::fs::read_to_string(plane.logs_dir().join(LOG))?);
        return Err(problem);
    }
    let taken_over = json!({"rssMiB": mib(pid, "VmRSS")?, "peakRssMiB": mib(pid, "VmHWM")?});
    eprintln!("all healthy: {taken_over}");
    first.kill().await?;
    let (mut child, pid) = start(&plane, &args.command)?;
    // The dead one's lease has to expire first.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mark = plane.audit_mark()?;
    let before = cpu_ticks(pid)?;
    tokio::time::sleep(Duration::from_secs(args.idle_seconds)).await;
    if let Some(status) = child.try_wait()? {
        bail!("the controller ended: {status}");
    }
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for entry in plane.audit_since(mark)?.iter().filter(|entry| entry.user == "sluice") {
        *requests.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
    }
    println!(
        "{}",
        json!({
            "rollouts": args.rollouts,
            "replicaSetsEach": args.sets,
            "whileTakingOver": taken_over,
            "rssMiB": mib(pid, "VmRSS")?,
            "peakRssMiB": mib(pid, "VmHWM")?,
            "idleSeconds": args.idle_seconds,
            "idleCpuTicks": cpu_ticks(pid)? - before,
            "idleRequests": requests,
        })
    );
    Ok(())
}

/// Starts a controller, and returns it with its process id.
fn start(plane: &ControlPlane, command: &[String]) -> anyhow::Result<(Child, u32)> {
    let log = std::fs::File::options().create(true).append(true).open(plane.logs_dir().join(LOG))?;
    let child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .env("KUBECONFIG", plane.kubeconfig_for("sluice", Some("system:masters"))?)
        .env("POD_NAMESPACE", NAMESPACE)
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", command[0]))?;
    let pid = child.id().context("the controller has ended")?;
    Ok((child, pid))
}

fn template(tag: usize) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": format!("registry.example/web:{tag}"),
            "env": (0..20).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value-{n}")})).collect::<Vec<_>>(),
            "ports": [{"containerPort": 8080}],
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}}]},
    })
}

/// A healthy Rollout as a controller leaves it behind.
async fn one(client: &Client, n: usize, sets: usize) -> anyhow::Result<()> {
    let name = format!("web-{n:05}");
    let path = format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts");
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "annotations": {"rollout.argoproj.io/revision": sets.to_string()}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web", "name": name}},
            "template": labelled(sets, &name, None),
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1h"}}]}},
        },
    });
    let created = post(client, &path, &rollout).await?;
    let uid = &created["metadata"]["uid"];
    for revision in 1..=sets {
        let hash = format!("{n:05}{revision}");
        let size = i64::from(revision == sets);
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("{name}-{hash}"),
                "labels": {"app": "web", "name": name, "rollouts-pod-template-hash": hash},
                "annotations": {"rollout.argoproj.io/revision": revision.to_string(), "rollout.argoproj.io/desired-replicas": "1"},
                "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web", "name": name, "rollouts-pod-template-hash": hash}},
                "template": labelled(revision, &name, Some(&hash))},
        });
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/replicasets");
        let mut stored = post(client, &path, &set).await?;
        stored["status"] = json!({"replicas": size, "readyReplicas": size, "availableReplicas": size, "fullyLabeledReplicas": size, "observedGeneration": 1});
        let request =
            http::Request::put(format!("{path}/{name}-{hash}/status")).body(serde_json::to_vec(&stored)?)?;
        client.request::<Value>(request).await?;
    }
    let hash = format!("{n:05}{sets}");
    let status = json!({"status": {"stableRS": hash, "currentPodHash": hash}});
    let request = http::Request::patch(format!("{path}/{name}/status"))
        .header("content-type", "application/merge-patch+json")
        .body(serde_json::to_vec(&status)?)?;
    client.request::<Value>(request).await?;
    Ok(())
}

fn labelled(tag: usize, name: &str, hash: Option<&str>) -> Value {
    let mut template = template(tag);
    template["metadata"]["labels"]["name"] = name.into();
    if let Some(hash) = hash {
        template["metadata"]["labels"]["rollouts-pod-template-hash"] = hash.into();
    }
    template
}

async fn post(client: &Client, path: &str, object: &Value) -> anyhow::Result<Value> {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object)?)?;
    client.request::<Value>(request).await.with_context(|| format!("POST {path}"))
}

/// Waits until the controller has brought every Rollout to rest.
async fn settle(client: &Client, rollouts: usize) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + Duration::from_mins(5);
    loop {
        let path = format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts");
        let list: Value = client.request(http::Request::get(path).body(Vec::new())?).await?;
        let healthy = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|r| r["status"]["phase"] == "Healthy")
            .count();
        if healthy == rollouts {
            return Ok(());
        }
        if tokio::time::Instant::now() > end {
            bail!(
                "only {healthy} of {rollouts} Rollouts are healthy after 300 s: {}",
                list["items"][0]["status"]
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn mib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok((kib / 102.4).round() / 10.0)
}

/// User and system time of a process, in ticks of a hundredth of a second.
fn cpu_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("an odd stat file")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
