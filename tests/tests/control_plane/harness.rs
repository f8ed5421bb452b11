//! One control plane for all tests of this binary, each in namespaces of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_controller::clock::Clock;
use sluice_controller::{Handle, Options};
use sluice_tests::cluster::{AuditEntry, AuditMark, ControlPlane, eventually};
use sluice_tests::simulation::{number, revision};
use sluice_tests::takeover::ROLLOUT;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;

/// Far more than anything here takes on an idle machine; a busy one must not fail the tests.
pub const SOON: Duration = Duration::from_mins(2);
/// The finest image that KWOK makes ready at once.
pub const IMAGE: &str = "registry.example/web";

/// The control plane, with our kinds in it.
pub async fn cluster() -> Result<&'static ControlPlane> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await?;
    DEFINED.get_or_try_init(|| define(cluster)).await?;
    Ok(cluster)
}

/// Applies the definitions as a person does it.
pub async fn define(cluster: &ControlPlane) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    kubectl(cluster, [OsStr::new("apply"), OsStr::new("--filename"), folder.as_os_str()]).await?;
    let client = cluster.client().await?;
    let definitions = Api::<CustomResourceDefinition>::all(client);
    eventually("our kinds to be served", SOON, async || {
        let list = definitions.list(&ListParams::default()).await.map_err(text)?;
        let ours = list.items.iter().filter(|crd| crd.spec.group == "argoproj.io" && is_served(crd));
        let count = ours.count();
        if count == 5 { Ok(()) } else { Err(format!("{count} of 5")) }
    })
    .await?;
    Ok(())
}

/// Defines the kinds of others that routes stand in, once.
pub async fn foreign_kinds() -> Result<()> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let cluster = cluster().await?;
    DEFINED.get_or_try_init(|| define_foreign(cluster)).await?;
    Ok(())
}

async fn define_foreign(cluster: &ControlPlane) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(cluster.client().await?);
    let kinds = sluice_tests::takeover::foreign_kinds();
    let count = kinds.len();
    let groups: Vec<String> =
        kinds.iter().filter_map(|kind| Some(kind["spec"]["group"].as_str()?.to_owned())).collect();
    for kind in kinds {
        definitions.create(&PostParams::default(), &serde_json::from_value(kind)?).await?;
    }
    eventually("kinds of others to be served", SOON, async || {
        let list = definitions.list(&ListParams::default()).await.map_err(text)?;
        let served = list.items.iter().filter(|crd| groups.contains(&crd.spec.group) && is_served(crd));
        let served = served.count();
        if served == count { Ok(()) } else { Err(format!("{served} of {count}")) }
    })
    .await?;
    Ok(())
}

fn is_served(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Runs kubectl and returns what it said; fails if it fails.
pub async fn kubectl(
    cluster: &ControlPlane,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String> {
    let output = cluster.kubectl(arguments).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// A namespace, a client of a person, and the controller in it.
pub struct Sandbox {
    pub cluster: &'static ControlPlane,
    pub namespace: String,
    pub client: Client,
    /// The end of the audit log at the beginning.
    pub mark: AuditMark,
    running: Option<Running>,
}

struct Running {
    handle: Handle,
    task: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}

impl Sandbox {
    /// A namespace of its own, without a controller.
    pub async fn new(prefix: &str) -> Result<Sandbox> {
        let cluster = cluster().await?;
        let namespace = cluster.unique_namespace(prefix).await?;
        let client = cluster.client().await?;
        let mark = cluster.audit_mark()?;
        Ok(Sandbox { cluster, namespace, client, mark, running: None })
    }

    /// The same with the controller.
    pub async fn with_controller(prefix: &str) -> Result<Sandbox> {
        let mut sandbox = Sandbox::new(prefix).await?;
        sandbox.start_controller(Options::default()).await?;
        Ok(sandbox)
    }

    /// What the controller of this namespace is known as.
    pub fn controller(&self) -> String {
        format!("controller-of-{}", self.namespace)
    }

    /// Starts the controller for this namespace only, in this process.
    pub async fn start_controller(&mut self, options: Options) -> Result<()> {
        let client = self.cluster.client_for(&self.controller()).await?;
        let options = Options { namespace: Some(self.namespace.clone()), ..options };
        let controller = sluice_controller::Controller::new(client, Clock::system(), options);
        let handle = controller.handle();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(controller.run(async move {
            let _ = stopped.await;
        }));
        self.running = Some(Running { handle, task, _stop: stop });
        Ok(())
    }

    /// Waits until the controller has looked at what there is and has nothing more to do.
    pub async fn at_rest(&self) -> Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let running = self.running.as_ref().context("a controller runs")?;
        eventually("the controller to come to rest", SOON, async || {
            let stats = running.handle.queue.stats();
            let looks = running.handle.reconciler.counts.looks.load(Relaxed);
            let seen = format!("{looks} looks, {} working, {} waiting", stats.working, stats.depth);
            if looks > 0 && stats.working == 0 && stats.depth == 0 { Ok(()) } else { Err(seen) }
        })
        .await?;
        Ok(())
    }

    /// Runs kubectl in this namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let namespace = ["--namespace", self.namespace.as_str()];
        kubectl(self.cluster, namespace.iter().chain(arguments)).await
    }

    /// `kubectl apply`, client-side as most people do it.
    pub async fn apply(&self, object: &Value) -> Result<String> {
        let mut child = self
            .cluster
            .kubectl_command()
            .args(["--namespace", &self.namespace, "apply", "--filename=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("stdin is a pipe")?;
        stdin.write_all(object.to_string().as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Objects of a kind in this namespace.
    pub fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub fn rollouts(&self) -> Api<DynamicObject> {
        self.api("argoproj.io", "v1alpha1", "Rollout", "rollouts")
    }

    pub fn replica_sets(&self) -> Api<DynamicObject> {
        self.api("apps", "v1", "ReplicaSet", "replicasets")
    }

    /// All objects of a kind, as JSON, by name.
    pub async fn list(&self, api: Api<DynamicObject>) -> Result<Vec<Value>, String> {
        let list = api.list(&ListParams::default()).await.map_err(text)?;
        let mut objects: Vec<Value> =
            list.items.iter().map(|object| serde_json::to_value(object).expect("JSON")).collect();
        objects.sort_by_key(|object| object["metadata"]["name"].to_string());
        Ok(objects)
    }

    /// The uids of all pods.
    pub async fn pods(&self) -> Result<Vec<String>, String> {
        let pods = self.list(self.api("", "v1", "Pod", "pods")).await?;
        Ok(pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Revision, sizes, phase and message of a Rollout, in one line: `2 | 1:4/4 2:1/1 | Paused CanaryPauseStep`.
    pub async fn standing(&self, name: &str) -> Result<String, String> {
        let rollout = serde_json::to_value(self.rollouts().get(name).await.map_err(text)?).expect("JSON");
        let mut sets = self.list(self.replica_sets()).await?;
        sets.retain(|set| set["metadata"]["ownerReferences"][0]["name"] == name);
        sets.retain(|set| number(set, "/spec/replicas") > 0 || number(set, "/status/replicas") > 0);
        sets.sort_by_key(revision);
        let size = |set: &Value| {
            format!(
                "{}:{}/{}",
                revision(set),
                number(set, "/spec/replicas"),
                number(set, "/status/availableReplicas")
            )
        };
        let sizes: Vec<String> = sets.iter().map(size).collect();
        let part = |field: &str| rollout["status"][field].as_str().unwrap_or_default().to_owned();
        let phase = format!("{} {}", part("phase"), part("message"));
        Ok(format!("{} | {} | {}", revision(&rollout), sizes.join(" "), phase.trim()))
    }

    /// Waits for this standing of a Rollout whose spec has been observed.
    pub async fn until_named(&self, name: &str, expected: &str) -> Result<()> {
        eventually(&format!("{name} to be at {expected}"), SOON, async || {
            let rollout = serde_json::to_value(self.rollouts().get(name).await.map_err(text)?).expect("JSON");
            let standing = self.standing(name).await?;
            let observed = rollout["status"]["observedGeneration"].as_str().unwrap_or_default().to_owned();
            let is_observed = observed == rollout["metadata"]["generation"].to_string();
            if standing == expected && is_observed {
                Ok(())
            } else {
                Err(format!("{standing} (observed {observed})"))
            }
        })
        .await?;
        Ok(())
    }

    /// The same for the Rollout `web`.
    pub async fn until(&self, expected: &str) -> Result<()> {
        self.until_named(ROLLOUT, expected).await
    }

    /// Requests of the controller since the sandbox was made.
    pub fn requests(&self) -> Result<Vec<AuditEntry>> {
        let entries = self.cluster.audit_since(self.mark)?;
        Ok(entries.into_iter().filter(|entry| entry.user == self.controller()).collect())
    }
}

/// Whether a request writes something that people look at.
pub fn is_write(entry: &AuditEntry) -> bool {
    !matches!(entry.verb.as_str(), "get" | "list" | "watch")
        && !matches!(entry.resource.as_str(), "events" | "leases")
}

/// A Rollout with the canary strategy.
pub fn canary(name: &str, replicas: i64, steps: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": format!("{IMAGE}:1")}]},
            },
            "strategy": {"canary": {"maxSurge": 1, "maxUnavailable": 0, "steps": steps}},
        },
    })
}

/// The patch by which a person changes the image.
pub fn image(tag: &str) -> String {
    json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": format!("{IMAGE}:{tag}")}]).to_string()
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
