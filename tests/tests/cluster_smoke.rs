//! The control plane for tests does what the tests that build on it take for granted.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, ContainerStatus, Pod},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, PropagationPolicy},
};
use serde_json::{Value, json};
use sluice_tests::cluster::{Component, ControlPlane, Options, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Far more than anything here takes on an idle machine; a busy one must not fail the tests.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_deployment_becomes_available() -> Result<()> {
    let (client, namespace) = sandbox("available").await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    create(&deployments, deployment("web", 5, "registry.example:5000/web:v1")).await?;
    eventually("5 available replicas", SOON, async || {
        let status = deployments.get_status("web").await.map_err(text)?.status.unwrap_or_default();
        if status.available_replicas == Some(5) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await?;
    let pods = Api::<Pod>::namespaced(client, &namespace).list(&ListParams::default()).await?;
    let mut addresses: Vec<_> = (pods.items.into_iter())
        .map(|pod| pod.status.and_then(|status| status.pod_ip).expect("a ready pod has an address"))
        .collect();
    addresses.sort();
    addresses.dedup();
    ensure!(addresses.len() == 5, "every pod has an address of its own: {addresses:?}");
    Ok(())
}

#[tokio::test]
async fn a_bad_image_crash_loops() -> Result<()> {
    let (client, namespace) = sandbox("crash").await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    create(&deployments, deployment("web", 5, "web:v2-bad")).await?;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    eventually("5 pods that crashed twice", SOON, async || {
        let containers = containers(&pods).await?;
        let crashed = |container: &&ContainerStatus| {
            let exit_code = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
            waits_because(container) == "CrashLoopBackOff"
                && exit_code.is_some_and(|ended| ended.exit_code == 1)
                && container.restart_count >= 2
        };
        if containers.iter().filter(crashed).count() == 5 { Ok(()) } else { Err(format!("{containers:?}")) }
    })
    .await?;
    let status = deployments.get_status("web").await?.status.unwrap_or_default();
    ensure!(status.available_replicas.is_none_or(|count| count == 0), "{status:?}");
    ensure!(status.unavailable_replicas == Some(5), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn image_tags_decide_what_becomes_of_a_pod() -> Result<()> {
    let (client, namespace) = sandbox("tags").await?;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    // (name, image, ready in the end, what its container waits for)
    let cases = [
        ("plain", "web", true, ""),
        ("port", "localhost:5000/bad/web", true, ""), // no tag
        ("digest", "web:v1@sha256:bad0", true, ""),   // a digest is not a tag
        ("late", "web:v1-slow-1s", true, ""),
        ("unready", "web:unready", false, ""),
        ("slow-unready", "web:slow-1s-unready", false, ""),
        ("crash", "web:crash", false, "CrashLoopBackOff"),
        ("pull", "web:pull", false, "ImagePullBackOff"),
    ];
    for (name, image, ..) in cases {
        create(&pods, pod(name, image)).await?;
    }
    for (name, image, ready, waits_for) in cases {
        eventually(&format!("the end of {name} with {image}"), SOON, async || {
            let pod = pods.get(name).await.map_err(text)?;
            let container = containers_of(&pod).into_iter().next().ok_or("no status yet")?;
            let seen = (is_ready(&pod), container.ready, waits_because(&container));
            if seen == (ready, ready, waits_for) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_waits_for_its_readiness_gates() -> Result<()> {
    let (client, namespace) = sandbox("gates").await?;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let mut gated = pod("gated", "web:v1");
    gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/attached"}]);
    create(&pods, gated).await?;
    eventually("readiness of the containers only", SOON, async || {
        let pod = pods.get("gated").await.map_err(text)?;
        if condition(&pod, "ContainersReady") == "True" && !is_ready(&pod) {
            Ok(())
        } else {
            Err(format!("{pod:?}"))
        }
    })
    .await?;
    for (gate, ready) in [("True", true), ("False", false)] {
        let status = json!({"status": {"conditions": [{"type": "example.com/attached", "status": gate}]}});
        pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(status)).await?;
        eventually("the pod following its gate", SOON, async || {
            let pod = pods.get("gated").await.map_err(text)?;
            if is_ready(&pod) == ready { Ok(()) } else { Err(format!("{:?}", pod.status)) }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn jobs_fail_and_complete() -> Result<()> {
    let (client, namespace) = sandbox("jobs").await?;
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    // (name, image, script, restart policy, condition in the end)
    let cases = [
        ("good", "tool:v1", "echo fine; exit 0", "Never", "Complete"),
        ("script", "tool:v1", "echo oh; exit 1", "Never", "Failed"),
        ("tag", "tool:fail", "run", "Never", "Failed"),
        ("again", "tool:v1", "exit 1", "OnFailure", "Failed"),
    ];
    for (name, image, script, restart_policy, _) in cases {
        create(&jobs, job(name, image, script, restart_policy)).await?;
    }
    for (name, .., expected) in cases {
        eventually(&format!("{expected} of job {name}"), SOON, async || {
            let status = jobs.get_status(name).await.map_err(text)?.status.unwrap_or_default();
            let mut conditions =
                status.conditions.iter().flatten().filter(|condition| condition.status == "True");
            if conditions.any(|condition| condition.type_ == expected) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await?;
    }
    create(&jobs, job("stopped", "tool:slow-600s", "wait", "Never")).await?;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let of_job = ListParams::default().labels("batch.kubernetes.io/job-name=stopped");
    eventually("the pod of the long job", SOON, async || {
        let pods = pods.list(&of_job).await.map_err(text)?;
        if pods.items.iter().any(is_ready) { Ok(()) } else { Err(format!("{} pods", pods.items.len())) }
    })
    .await?;
    let with_pods =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    jobs.delete("stopped", &with_pods).await?;
    eventually("the end of the long job's pod", SOON, async || {
        let pods = pods.list(&of_job).await.map_err(text)?;
        if pods.items.is_empty() { Ok(()) } else { Err(format!("{} pods", pods.items.len())) }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_audit_log_tells_clients_apart() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.unique_namespace("audit").await?;
    let mark = cluster.audit_mark()?;
    let writer = Api::<ConfigMap>::namespaced(cluster.client_for("writer").await?, &namespace);
    let reader = Api::<ConfigMap>::namespaced(cluster.client_for("reader").await?, &namespace);
    let metadata = ObjectMeta { name: Some("settings".to_owned()), ..ObjectMeta::default() };
    writer.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?;
    for _ in 0..3 {
        reader.get("settings").await?;
    }
    ensure!(reader.get("missing").await.is_err());
    let requests_of = |user: &str| -> Result<Vec<_>, String> {
        let entries = cluster.audit_since(mark).map_err(text)?;
        let of_user = entries.into_iter().filter(|entry| entry.user == user && entry.namespace == namespace);
        Ok(of_user.map(|entry| (entry.verb, entry.resource, entry.name, entry.code)).collect())
    };
    let request =
        |verb: &str, name: &str, code: u16| (verb.to_owned(), "configmaps".to_owned(), name.to_owned(), code);
    let mut expected_reads = vec![request("get", "settings", 200); 3];
    expected_reads.push(request("get", "missing", 404));
    for (user, expected) in [("writer", vec![request("create", "settings", 201)]), ("reader", expected_reads)]
    {
        eventually(&format!("the requests of {user}"), SOON, async || {
            let mut seen = requests_of(user)?;
            for entry in &mut seen {
                if entry.0 == "create" {
                    "settings".clone_into(&mut entry.2);
                }
            }
            if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn only_masters_may_do_everything() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let stranger = Api::<Pod>::all(cluster.client_as("stranger", None).await?);
    match stranger.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => ensure!(status.code == 403, "{status:?}"),
        other => anyhow::bail!("a stranger may list pods: {other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_works() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.unique_namespace("kubectl").await?;
    cluster.apply(&format!("{:#}\n---\n{:#}", pod_in(&namespace, "one"), pod_in(&namespace, "two"))).await?;
    let output = cluster.kubectl(["get", "pods", "--namespace", &namespace, "--output=name"]).await?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout) == "pod/one\npod/two\n", "{output:?}");
    let refused = cluster.apply("{apiVersion: v1, kind: Pod, metadata: {name: empty}}").await;
    let message = refused.expect_err("a pod needs a spec").to_string();
    ensure!(message.contains("spec.containers: Required value"), "{message}");
    Ok(())
}

#[tokio::test]
async fn control_planes_run_side_by_side_and_leave_nothing() -> Result<()> {
    let shared = ControlPlane::shared().await?;
    let other = ControlPlane::start(Options { nodes: 1, ..Options::default() }).await?;
    ensure!(shared.url() != other.url());
    let namespace = other.unique_namespace("apart").await?;
    let pods = Api::<Pod>::namespaced(other.client().await?, &namespace);
    create(&pods, pod("web", "web:v1")).await?;
    eventually("the pod", SOON, async || {
        let pod = pods.get("web").await.map_err(text)?;
        if is_ready(&pod) { Ok(()) } else { Err(format!("{:?}", pod.status)) }
    })
    .await?;
    let elsewhere = Api::<Pod>::namespaced(shared.client().await?, &namespace);
    ensure!(elsewhere.get_opt("web").await?.is_none(), "the other control plane's pod is here too");

    other.freeze(Component::ApiServer)?;
    let answer = tokio::time::timeout(Duration::from_millis(300), pods.get("web")).await;
    other.thaw(Component::ApiServer)?;
    ensure!(answer.is_err(), "a frozen API server does not answer: {answer:?}");
    pods.get("web").await.context("after the outage")?;

    let (dir, url, processes) = (other.dir().to_owned(), other.url(), other.processes());
    ensure!(dir.exists() && processes.len() == 5, "{processes:?}");
    drop(other);
    ensure!(!dir.exists(), "{} is still there", dir.display());
    let ids: Vec<u64> = processes.into_iter().map(|(_, id)| id.into()).collect();
    nothing_is_left(&dir, &url, &ids).map_err(anyhow::Error::msg)
}

#[tokio::test]
async fn parts_can_be_left_out() -> Result<()> {
    let api_only = Options { controllers: false, scheduler: false, nodes: 0, ..Options::default() };
    let cluster = ControlPlane::start(api_only).await?;
    let components: Vec<_> = cluster.processes().into_iter().map(|(component, _)| component).collect();
    ensure!(components == [Component::Etcd, Component::ApiServer], "{components:?}");
    let namespace = cluster.unique_namespace("objects").await?;
    let deployments = Api::<Deployment>::namespaced(cluster.client().await?, &namespace);
    create(&deployments, deployment("web", 5, "web:v1")).await?;
    drop(cluster);

    let unscheduled = Options { controllers: false, scheduler: false, nodes: 1, ..Options::default() };
    let cluster = ControlPlane::start(unscheduled).await?;
    let namespace = cluster.unique_namespace("pods").await?;
    let pods = Api::<Pod>::namespaced(cluster.client().await?, &namespace);
    let mut placed = pod("web", "web:v1");
    placed["spec"]["nodeName"] = "node-0".into();
    create(&pods, placed).await?;
    eventually("the pod", SOON, async || {
        let pod = pods.get("web").await.map_err(text)?;
        if is_ready(&pod) { Ok(()) } else { Err(format!("{:?}", pod.status)) }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_ends_at_once_is_told_with_its_log() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken_port = format!("--secure-port={}", taken.local_addr()?.port());
    for (argument, reason) in [("--no-such-flag", "unknown flag"), (&taken_port, "address already in use")] {
        let extra_arguments = [(Component::ApiServer, vec![argument.to_owned()])].into();
        let started = ControlPlane::start(Options { extra_arguments, ..Options::default() }).await;
        let Err(error) = started else { anyhow::bail!("a control plane started with {argument}") };
        let message = error.to_string();
        ensure!(message.starts_with("kube-apiserver ended with exit status: 1; the end of /"), "{message}");
        ensure!(message.contains(reason), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_outlives_a_killed_process() -> Result<()> {
    let mut helper = tokio::process::Command::new(env!("CARGO_BIN_EXE_sluice-cluster"))
        .args(["--json", "--nodes=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = helper.stdout.take().context("stdout is a pipe")?;
    let line =
        BufReader::new(stdout).lines().next_line().await?.context("the helper started no control plane")?;
    let cluster: Value = serde_json::from_str(&line)?;
    let path = cluster["dir"].as_str().context("dir")?.to_owned();
    let url = cluster["url"].as_str().context("url")?.to_owned();
    let ids: Vec<u64> = cluster["processes"]
        .as_array()
        .context("processes")?
        .iter()
        .map(|process| process["pid"].as_u64().expect("a process id"))
        .collect();
    ensure!(ids.len() == 5 && ids.iter().all(|&id| is_running(id)), "{ids:?}");
    ensure!(nothing_is_left(Path::new(&path), &url, &ids).is_err(), "nothing is there to be killed");

    helper.kill().await?;
    eventually("the end of everything", Duration::from_secs(10), async || {
        nothing_is_left(Path::new(&path), &url, &ids)
    })
    .await?;
    Ok(())
}

/// Fails with what is left of a control plane.
fn nothing_is_left(dir: &Path, url: &str, ids: &[u64]) -> Result<(), String> {
    if let Some(id) = ids.iter().find(|&&id| is_running(id)) {
        return Err(format!("process {id} runs"));
    }
    let address = url.strip_prefix("https://").expect("the API server speaks TLS");
    TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    if dir.exists() { Err(format!("{} is there", dir.display())) } else { Ok(()) }
}

/// A process that has ended but was not waited for by its parent does not run any more.
fn is_running(id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // `<id> (<name>) <state> …`, where the name may contain anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn sandbox(prefix: &str) -> Result<(Client, String)> {
    let cluster = ControlPlane::shared().await?;
    Ok((cluster.client().await?, cluster.unique_namespace(prefix).await?))
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

async fn containers(pods: &Api<Pod>) -> Result<Vec<ContainerStatus>, String> {
    let pods = pods.list(&ListParams::default()).await.map_err(text)?;
    Ok(pods.items.iter().flat_map(containers_of).collect())
}

fn containers_of(pod: &Pod) -> Vec<ContainerStatus> {
    pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default()
}

fn waits_because(container: &ContainerStatus) -> &str {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == "True"
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> &'a str {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == kind).map_or("", |condition| &condition.status)
}

fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}},
        },
    })
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image}]},
    })
}

fn pod_in(namespace: &str, name: &str) -> Value {
    let mut pod = pod(name, "web:v1");
    pod["metadata"]["namespace"] = namespace.into();
    pod
}

fn job(name: &str, image: &str, script: &str, restart_policy: &str) -> Value {
    let container = json!({"name": "main", "image": image, "command": ["sh", "-c"], "args": [script]});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": restart_policy, "containers": [container]}},
        },
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
