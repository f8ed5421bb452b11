//! A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager and kube-scheduler,
//! with kwok in the place of all kubelets.
//!
//! Starting one takes a few seconds; several run side by side, each on a loopback port and in a folder of its
//! own. Pods are played, not run: what becomes of a container is read from its image's tag (`:bad` crash-loops,
//! `:slow` is late…), by the table in `tests/controlplane/README.md`. There is no network behind a pod's
//! address, no logs and no exec.
//!
//! This module knows nothing of rollouts; whoever tests a controller installs its CRDs and starts it.

mod audit;
mod error;
mod files;
mod pki;
mod processes;
mod tools;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, sync::OnceCell};

pub use audit::{AuditEntry, AuditMark};
pub use error::{ClusterError, LogTail};
pub use processes::Component;

use files::{Files, etcd_arguments, kubeconfig, server_url, write_kubeconfig};
use pki::Authority;
use processes::ProcessGroup;
use tools::Tools;

/// Members of this group may do everything.
const MASTERS: &str = "system:masters";
/// Who asks for what this module itself needs, so that `admin` in the audit log is always a test.
const HARNESS: &str = "cluster-harness";
/// Pause between two looks at something that is not there yet.
const POLL_EVERY: Duration = Duration::from_millis(25);
/// How often to begin anew when somebody else takes the port that was free a moment ago.
const PORT_ATTEMPTS: u32 = 4;

/// What a control plane shall consist of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run kube-controller-manager. Without it nothing makes pods of Deployments or lifts the `not-ready` taint
    /// from nodes, and pods have no service account.
    pub controllers: bool,
    /// Run kube-scheduler. Without it only pods with `spec.nodeName` start.
    pub scheduler: bool,
    /// Number of fake nodes, named `node-0`, `node-1`… in zones `a`, `b`, `c`, `a`…; zero leaves out kwok.
    pub nodes: usize,
    /// Where the pods' addresses are taken from.
    pub pod_cidr: String,
    /// Further arguments by component.
    pub extra_arguments: BTreeMap<Component, Vec<String>>,
    /// Longest time to wait until all is ready.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: true,
            scheduler: true,
            nodes: 3,
            pod_cidr: "10.128.0.0/9".to_owned(),
            extra_arguments: BTreeMap::new(),
            ready_within: Duration::from_mins(2),
        }
    }
}

/// A running control plane. Its processes and files are gone when this is dropped, and also when this process
/// ends in any other way; with `SLUICE_KEEP` set the files stay.
pub struct ControlPlane {
    // The processes end before their folder is removed.
    processes: Mutex<ProcessGroup>,
    dir: TempDir,
    tools: Tools,
    authority: Authority,
    port: u16,
    has_controllers: bool,
    namespaces: AtomicU32,
    ready_after: Duration,
}

impl ControlPlane {
    /// Starts a control plane and returns when it is ready for use.
    ///
    /// # Errors
    /// When binaries are missing, or when something ended or was not ready in time; the message has the end of
    /// the log that tells why.
    pub async fn start(options: Options) -> Result<Self, ClusterError> {
        let tools = Tools::find()?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&tools, &options).await {
                Err(error) if error.is_port_clash() && attempt < PORT_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Returns the one control plane, with default options, that all tests of a test binary share. Tests keep
    /// apart by namespace, see [`Self::unique_namespace`].
    pub async fn shared() -> Result<&'static Self, ClusterError> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::start(Options::default())).await
    }

    /// Returns a client that may do everything, known to the API server as `admin`.
    ///
    /// A client belongs to the async runtime in which it was made, so each test makes its own.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        self.client_for("admin").await
    }

    /// Returns a client that may do everything, known to the API server, and thus in the audit log, as `user`.
    pub async fn client_for(&self, user: &str) -> Result<Client, ClusterError> {
        self.client_as(user, Some(MASTERS)).await
    }

    /// Returns a client of `user` as a member of `group` only, who may do what RBAC objects allow.
    pub async fn client_as(&self, user: &str, group: Option<&str>) -> Result<Client, ClusterError> {
        let credentials = self.authority.client(user, group)?;
        client(user, kubeconfig(self.port, &self.authority, &credentials)).await
    }

    /// The kubeconfig of `admin`, for kubectl and other programs.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Writes a kubeconfig for a program that shall be known to the API server as `user`, a member of `group`
    /// (`Some("system:masters")` may do everything), and returns its path.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf, ClusterError> {
        let path = self.dir.path().join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        write_kubeconfig(&path, self.port, &self.authority, user, group)?;
        Ok(path)
    }

    /// The API server's address.
    pub fn url(&self) -> String {
        server_url(self.port)
    }

    /// The certificate, as PEM, by which to know the API server.
    pub fn ca_pem(&self) -> &str {
        &self.authority.certificate_pem
    }

    /// Creates a namespace whose name begins with `prefix` and returns the name. Pods can be made in it at once.
    pub async fn unique_namespace(&self, prefix: &str) -> Result<String, ClusterError> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let client = self.client_for(HARNESS).await?;
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        (Api::all(client.clone()).create(&PostParams::default(), &namespace).await)
            .map_err(ClusterError::api(format!("create namespace {name}")))?;
        if self.has_controllers {
            let what = format!("the default service account of namespace {name}");
            eventually(&what, Duration::from_secs(30), async || {
                default_service_account(&client, &name).await
            })
            .await?;
        }
        Ok(name)
    }

    /// Returns `kubectl` set up for this control plane as `admin`, to be given arguments and run.
    pub fn kubectl_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.tools.path("kubectl"));
        command
            .env("KUBECONFIG", self.kubeconfig_path())
            // Where it keeps what it learns about the API, which differs between control planes.
            .env("KUBECACHEDIR", self.dir.path().join("kubectl-cache"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `kubectl` as `admin` and returns what came of it, also when it reports failure.
    pub async fn kubectl(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Output, ClusterError> {
        self.kubectl_command().args(arguments).output().await.map_err(ClusterError::io("run kubectl"))
    }

    /// Applies YAML documents by server-side apply, as `admin`.
    ///
    /// # Errors
    /// Also when kubectl reports failure.
    pub async fn apply(&self, manifest: &str) -> Result<(), ClusterError> {
        let arguments = ["apply", "--server-side", "--filename=-"];
        let mut child = self
            .kubectl_command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(ClusterError::io("run kubectl"))?;
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // It reads all of its input before it answers, and when it does not, its own message says why.
        let _ = stdin.write_all(manifest.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.map_err(ClusterError::io("run kubectl"))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ClusterError::Kubectl { arguments: arguments.join(" "), status: output.status, stderr })
    }

    /// Returns all requests that the API server has answered since it started.
    ///
    /// A line is written when the answer is complete, so the caller may see the answer a moment before
    /// the line: wait for it with [`eventually`].
    pub fn audit(&self) -> Result<Vec<AuditEntry>, ClusterError> {
        self.audit_since(AuditMark::default())
    }

    /// Returns the requests answered since `mark` was made.
    pub fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEntry>, ClusterError> {
        Ok(audit::parse(self.read_audit()?.get(mark.0..).unwrap_or_default()))
    }

    /// Marks the present end of the audit log.
    pub fn audit_mark(&self) -> Result<AuditMark, ClusterError> {
        let log = self.read_audit()?;
        Ok(AuditMark(log.rfind('\n').map_or(0, |at| at + 1)))
    }

    fn read_audit(&self) -> Result<String, ClusterError> {
        let path = self.logs_dir().join("audit.log");
        let log = std::fs::read(&path).map_err(ClusterError::io(format!("read {}", path.display())))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Where the components log, each to `<binary>.log`.
    pub fn logs_dir(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// The folder with all files of this control plane.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How long it took from nothing until all was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// The components with their process ids.
    pub fn processes(&self) -> Vec<(Component, u32)> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).ids()
    }

    /// Fails when a component has ended by itself, with the end of its log.
    pub fn check_running(&self) -> Result<(), ClusterError> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).check_running()
    }

    /// Stops a component from doing anything, without closing its connections: an outage, until [`Self::thaw`].
    pub fn freeze(&self, component: Component) -> Result<(), ClusterError> {
        self.signal(component, "-STOP")
    }

    /// Lets a frozen component go on.
    pub fn thaw(&self, component: Component) -> Result<(), ClusterError> {
        self.signal(component, "-CONT")
    }

    fn signal(&self, component: Component, signal: &str) -> Result<(), ClusterError> {
        for (_, id) in self.processes().into_iter().filter(|(member, _)| *member == component) {
            std::process::Command::new("kill")
                .args([signal, &id.to_string()])
                .status()
                .map_err(ClusterError::io(format!("kill {signal} {component}")))?;
        }
        Ok(())
    }

    async fn start_once(tools: &Tools, options: &Options) -> Result<Self, ClusterError> {
        let began = Instant::now();
        let mut dir = tempfile::Builder::new()
            .prefix("sluice-cluster-")
            .tempdir()
            .map_err(ClusterError::io("make a folder"))?;
        dir.disable_cleanup(keeps_files());
        let port = free_port()?;
        let authority = Authority::new()?;
        let files = Files::write(dir.path(), port, &authority)?;
        let remove = (!keeps_files()).then(|| dir.path());
        let mut processes = ProcessGroup::new(dir.path(), &files.logs_dir, remove)?;
        let launch = |processes: &mut ProcessGroup, component: Component, mut arguments: Vec<OsString>| {
            let extra = options.extra_arguments.get(&component).into_iter().flatten();
            arguments.extend(extra.map(OsString::from));
            processes.start(component, &tools.path(component.binary()), arguments)
        };
        launch(&mut processes, Component::Etcd, etcd_arguments())?;
        // It waits for etcd by itself.
        launch(&mut processes, Component::ApiServer, files.api_server_arguments(port, options.controllers))?;

        let credentials = authority.client(HARNESS, Some(MASTERS))?;
        let client = client(HARNESS, kubeconfig(port, &authority, &credentials)).await?;
        let deadline = began + options.ready_within;
        let mut wait = Wait { processes: &mut processes, deadline, ready_within: options.ready_within };
        wait.until("/readyz of kube-apiserver", Component::ApiServer, async || is_ready(&client).await)
            .await?;

        if options.controllers {
            launch(wait.processes, Component::ControllerManager, files.controller_manager_arguments())?;
        }
        if options.scheduler {
            launch(wait.processes, Component::Scheduler, files.scheduler_arguments())?;
        }
        if options.nodes > 0 {
            launch(wait.processes, Component::Kwok, files.kwok_arguments(&options.pod_cidr)?)?;
            create_nodes(&client, options.nodes).await?;
        }
        if options.controllers {
            wait.until("the default service account", Component::ControllerManager, async || {
                default_service_account(&client, "default").await
            })
            .await?;
        }
        if options.nodes > 0 {
            wait.until("readiness of all nodes", Component::Kwok, async || {
                nodes_are_ready(&client, options.controllers).await
            })
            .await?;
        }
        Ok(Self {
            processes: Mutex::new(processes),
            dir,
            tools: tools.clone(),
            authority,
            port,
            has_controllers: options.controllers,
            namespaces: AtomicU32::new(1),
            ready_after: began.elapsed(),
        })
    }
}

/// Looks until `look` finds what it looks for; what it saw instead is part of the error.
///
/// # Errors
/// [`ClusterError::TimedOut`] after `within`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, ClusterError> {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(last_seen) if Instant::now() >= deadline => {
                return Err(ClusterError::TimedOut {
                    what: what.to_owned(),
                    within,
                    last_seen,
                    log: LogTail::default(),
                });
            }
            Err(_) => tokio::time::sleep(POLL_EVERY).await,
        }
    }
}

/// [`eventually`] for a control plane that is starting: it also fails as soon as one of its processes ends.
struct Wait<'a> {
    processes: &'a mut ProcessGroup,
    deadline: Instant,
    ready_within: Duration,
}

impl Wait<'_> {
    /// Looks until `look` succeeds. `cause` is whose log to show when it never does.
    async fn until(
        &mut self,
        what: &str,
        cause: Component,
        mut look: impl AsyncFnMut() -> Result<(), String>,
    ) -> Result<(), ClusterError> {
        loop {
            self.processes.check_running()?;
            match look().await {
                Ok(()) => return Ok(()),
                Err(last_seen) if Instant::now() >= self.deadline => {
                    return Err(ClusterError::TimedOut {
                        what: what.to_owned(),
                        within: self.ready_within,
                        last_seen,
                        log: self.processes.log_tail(cause),
                    });
                }
                Err(_) => tokio::time::sleep(POLL_EVERY).await,
            }
        }
    }
}

async fn is_ready(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).expect("a path is a valid request");
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}

async fn default_service_account(client: &Client, namespace: &str) -> Result<(), String> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    accounts.get("default").await.map(drop).map_err(|error| error.to_string())
}

async fn create_nodes(client: &Client, count: usize) -> Result<(), ClusterError> {
    let nodes = Api::<Node>::all(client.clone());
    for index in 0..count {
        let name = format!("node-{index}");
        let zone = ["a", "b", "c"][index % 3];
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("topology.kubernetes.io/zone", zone),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
        let node = Node { metadata, ..Node::default() };
        (nodes.create(&PostParams::default(), &node).await)
            .map_err(ClusterError::api(format!("create node {name}")))?;
    }
    Ok(())
}

/// A node can be used when it is Ready and, where somebody lifts it, the taint from before that is gone.
async fn nodes_are_ready(client: &Client, taints_are_lifted: bool) -> Result<(), String> {
    let nodes = Api::<Node>::all(client.clone());
    for node in nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())? {
        let name = node.metadata.name.unwrap_or_default();
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        if !conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            return Err(format!("{name} is not Ready"));
        }
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        if let Some(taint) = taints.first().filter(|_| taints_are_lifted) {
            return Err(format!("{name} has the taint {}", taint.key));
        }
    }
    Ok(())
}

/// Finds a port that is free now. Somebody may take it before we do; then [`ControlPlane::start`] begins anew.
fn free_port() -> Result<u16, ClusterError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ClusterError::io("find a free port on 127.0.0.1"))
}

async fn client(user: &str, kubeconfig: serde_json::Value) -> Result<Client, ClusterError> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("the kubeconfig is of our making");
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Client {
        user: user.to_owned(),
        source,
    };
    let mut config = (kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await)
        .map_err(|error| refused(error.into()))?;
    // A proxy from the environment has no way to our loopback address.
    config.proxy_url = None;
    Client::try_from(config).map_err(|error| refused(error.into()))
}

/// True when `SLUICE_KEEP` asks to leave the files for reading.
fn keeps_files() -> bool {
    std::env::var_os("SLUICE_KEEP").is_some()
}
