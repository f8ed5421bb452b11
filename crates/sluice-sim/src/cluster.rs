//! The cluster as its users hold it: options, clock, and the direct doors.
//!
//! The direct doors answer at once and know no faults; tests and the workload controllers use them.
//! Clients go through `request`, which ends in the same operations.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    audit::{Audit, Request},
    client,
    delete::DeleteOptions,
    faults::Faults,
    patch::Patch,
    resource::Resource,
    serve::{self, Served},
    state::{Context, State, Write},
    status::Status,
    store::Change,
    write::Target,
};

/// What a cluster starts with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's time at its creation.
    pub start: Timestamp,
    /// Source of uids, generated names and latencies.
    pub seed: u64,
    /// Major and minor version that it claims to be.
    pub server_version: (u32, u32),
    /// How many changes a watch can reach back.
    pub history: usize,
    /// How long a controller's operations take, so that others get their turn.
    pub controller_latency: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            start: Timestamp::constant(1_767_225_600, 0),
            seed: 0,
            server_version: (1, 36),
            history: 20_000,
            controller_latency: Duration::from_millis(2),
        }
    }
}

/// The cluster's time: real, or virtual where tokio's is.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Timestamp {
        let elapsed = self.origin.elapsed();
        jiff::SignedDuration::try_from(elapsed)
            .map_or(self.start, |elapsed| self.start.checked_add(elapsed).unwrap_or(self.start))
    }

    /// The instant, of tokio's clock, of a time; in the past it is now.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let offset = Duration::try_from(at.duration_since(self.start)).unwrap_or_default();
        self.origin + offset
    }
}

type Hook = Arc<dyn Fn(&Cluster, &Write) + Send + Sync>;

#[derive(Default)]
struct Hooks {
    list: Vec<Hook>,
    pending: VecDeque<Write>,
    running: bool,
}

pub(crate) struct Inner {
    pub options: Options,
    pub clock: Clock,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    hooks: Mutex<Hooks>,
    pub faults: Faults,
    pub audit: Audit,
    pub documents: crate::openapi::Documents,
}

/// A small Kubernetes cluster. Clones are handles to the same one.
#[derive(Clone)]
pub struct Cluster(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("options", &self.0.options).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A cluster with its four namespaces and nothing else.
    pub fn new(options: Options) -> Cluster {
        let clock = Clock { start: options.start, origin: tokio::time::Instant::now() };
        let state = State::new(options.seed, options.history);
        let cluster = Cluster(Arc::new(Inner {
            faults: Faults::new(options.seed),
            state: Mutex::new(state),
            version: watch::Sender::new(1),
            hooks: Mutex::new(Hooks::default()),
            audit: Audit::default(),
            documents: crate::openapi::Documents::default(),
            clock,
            options,
        }));
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // Cannot fail: the store is empty and the names are valid.
            let _ = cluster.create("kube-apiserver", namespace);
        }
        cluster
    }

    /// The cluster's time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A handle to the cluster's time.
    pub fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// A client without a network. The identity appears in the audit and selects faults. Needs a
    /// running tokio runtime.
    pub fn client(&self, identity: &str) -> kube::Client {
        client::client(self, identity)
    }

    /// Serves plain HTTP on `addr`, for kubectl.
    pub async fn serve(&self, addr: SocketAddr) -> std::io::Result<Served> {
        serve::serve(self, addr).await
    }

    /// A kubeconfig for a served cluster.
    pub fn kubeconfig(addr: SocketAddr) -> String {
        serve::kubeconfig(addr)
    }

    /// Faults that clients meet.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Requests of clients so far.
    pub fn audit(&self) -> Vec<Request> {
        self.0.audit.list()
    }

    /// Forgets the requests so far.
    pub fn clear_audit(&self) {
        self.0.audit.clear();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Runs one request on the state; then tells watches and hooks what it wrote.
    pub(crate) fn transact<T>(
        &self,
        context: &mut Context,
        work: impl FnOnce(&mut State, &mut Context) -> T,
    ) -> T {
        let (out, version) = {
            let mut state = self.state();
            let out = work(&mut state, context);
            if !context.writes.is_empty() {
                let mut hooks = lock(&self.0.hooks);
                if !hooks.list.is_empty() {
                    hooks.pending.extend(context.writes.iter().cloned());
                }
            }
            (out, state.store.version())
        };
        if !context.writes.is_empty() {
            self.0.version.send_replace(version);
            self.run_hooks();
        }
        out
    }

    /// Calls hooks in the order of writes. A write made by a hook is told after the hook has returned.
    fn run_hooks(&self) {
        {
            let mut hooks = lock(&self.0.hooks);
            if hooks.running || hooks.pending.is_empty() {
                return;
            }
            hooks.running = true;
        }
        struct Running<'a>(&'a Cluster);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                lock(&self.0.0.hooks).running = false;
            }
        }
        let running = Running(self);
        loop {
            let (write, list) = {
                let mut hooks = lock(&self.0.hooks);
                let Some(write) = hooks.pending.pop_front() else { break };
                (write, hooks.list.clone())
            };
            for hook in &list {
                hook(self, &write);
            }
        }
        drop(running);
    }

    /// Calls `hook` after every committed write, in the order of commits.
    pub fn on_write(&self, hook: impl Fn(&Cluster, &Write) + Send + Sync + 'static) {
        lock(&self.0.hooks).list.push(Arc::new(hook));
    }

    /// The latest resource version.
    pub fn resource_version(&self) -> u64 {
        self.state().store.version()
    }

    /// Changes after a resource version, oldest first, as far as history reaches back.
    pub fn changes_since(&self, resource_version: u64) -> Vec<Arc<Change>> {
        self.state().store.since(resource_version).cloned().collect()
    }

    /// Waits until there is a change after `after`.
    pub async fn changed(&self, after: u64) {
        let mut versions = self.versions();
        // Cannot fail: the sender lives as long as `self`.
        let _ = versions.wait_for(|version| *version > after).await;
    }

    /// Forgets the history, so that every watch from an earlier version gets 410.
    pub fn compact(&self) {
        self.state().store.compact();
    }

    /// The table of kinds has this kind.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.state().registry.kind(kind).is_some()
    }

    /// One object. A kind name that is used twice is written `Kind.group`.
    pub fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        let state = self.state();
        let resource = state.registry.kind(kind)?;
        let namespace = scope(resource, namespace);
        state.store.get(&resource.table, namespace, name).map(|entry| entry.value.clone())
    }

    /// All objects of a kind, in one namespace or in all, sorted by namespace and name.
    pub fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let state = self.state();
        let Some(resource) = state.registry.kind(kind) else { return Vec::new() };
        let namespace = namespace.filter(|_| resource.namespaced);
        state.store.list(&resource.table, namespace).map(|(_, entry)| entry.value.clone()).collect()
    }

    fn target_of(&self, object: &Value, subresource: Option<&'static str>) -> Result<Target, Status> {
        let state = self.state();
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let (resource, version) =
            state.registry.of_object(api_version, kind).ok_or_else(Status::no_such_resource)?;
        let metadata =
            |key: &str| object["metadata"].get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = match metadata("namespace") {
            namespace if namespace.is_empty() && resource.namespaced => "default".to_owned(),
            namespace => namespace,
        };
        Ok(Target { resource: resource.clone(), version, namespace, name: metadata("name"), subresource })
    }

    fn target(
        &self,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&'static str>,
    ) -> Result<Target, Status> {
        let state = self.state();
        let resource = state.registry.kind(kind).ok_or_else(Status::no_such_resource)?;
        Ok(Target {
            resource: resource.clone(),
            version: resource.storage,
            namespace: scope(resource, namespace).to_owned(),
            name: name.to_owned(),
            subresource,
        })
    }

    /// Creates an object.
    pub fn create(&self, actor: &str, object: Value) -> Result<Arc<Value>, Status> {
        let target = self.target_of(&object, None)?;
        let mut context = Context::new(actor, "create", self.now());
        self.transact(&mut context, |state, context| state.create(context, &target, object))
            .map(|written| written.entry.value.clone())
    }

    /// Replaces an object, all but its status; a resource version in it is checked.
    pub fn update(&self, actor: &str, mut object: Value) -> Result<Arc<Value>, Status> {
        let target = self.target_of(&object, None)?;
        self.fill_version(&target, &mut object);
        let mut context = Context::new(actor, "update", self.now());
        self.transact(&mut context, |state, context| state.update(context, &target, object))
            .map(|written| written.entry.value.clone())
    }

    /// Replaces an object's status; a resource version in it is checked.
    pub fn update_status(&self, actor: &str, mut object: Value) -> Result<Arc<Value>, Status> {
        let mut target = self.target_of(&object, Some("status"))?;
        if !target.version().status {
            target.subresource = None;
        }
        self.fill_version(&target, &mut object);
        let mut context = Context::new(actor, "update", self.now());
        self.transact(&mut context, |state, context| state.update(context, &target, object))
            .map(|written| written.entry.value.clone())
    }

    /// These doors let an update without a resource version pass for every kind.
    fn fill_version(&self, target: &Target, object: &mut Value) {
        if object["metadata"].get("resourceVersion").is_none()
            && let Some(entry) =
                self.state().store.get(&target.resource.table, &target.namespace, &target.name)
            && object["metadata"].is_object()
        {
            object["metadata"]["resourceVersion"] = Value::from(entry.version.to_string());
        }
    }

    /// Patches an object.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the patch for this call")]
    pub fn patch(
        &self,
        actor: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        patch: Patch,
    ) -> Result<Arc<Value>, Status> {
        let mut context = Context::new(actor, "patch", self.now());
        let subresource = match subresource {
            None => None,
            Some("status") => Some("status"),
            Some("scale") => {
                let target = self.target(kind, namespace, name, None)?;
                let written = self
                    .transact(&mut context, |state, context| state.patch_scale(context, &target, &patch))?;
                return Ok(written.entry.value.clone());
            }
            Some(_) => return Err(Status::no_such_resource()),
        };
        let target = self.target(kind, namespace, name, subresource)?;
        let written = self.transact(&mut context, |state, context| state.patch(context, &target, &patch))?;
        Ok(written.entry.value.clone())
    }

    /// Deletes an object; the answer is its last state, or how it waits for its finalizers.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the options for this call")]
    pub fn delete(
        &self,
        actor: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Arc<Value>, Status> {
        let target = self.target(kind, namespace, name, None)?;
        let mut context = Context::new(actor, "delete", self.now());
        let written =
            self.transact(&mut context, |state, context| state.delete(context, &target, &options))?;
        Ok(written.entry.value.clone())
    }

    /// Sets what holds a terminating namespace.
    pub(crate) fn finalize(&self, actor: &str, namespace: &Value) -> Result<(), Status> {
        let target = self.target_of(namespace, None)?;
        let mut context = Context::new(actor, "update", self.now());
        self.transact(&mut context, |state, context| state.finalize(context, &target, namespace)).map(drop)
    }

    /// Puts objects in as they are, status and uid included; only resource versions are new. Kinds must
    /// be known, so definitions come first. Missing uids, creation times and namespaces are filled in.
    pub fn load(&self, objects: Vec<Value>) {
        for mut object in objects {
            let target = match self.target_of(&object, None) {
                Ok(target) => target,
                Err(status) => {
                    tracing::warn!(%status, kind = %object["kind"], "object not loaded");
                    continue;
                }
            };
            let mut context = Context::new("load", "create", self.now());
            self.transact(&mut context, |state, context| {
                if !object["metadata"].is_object() {
                    object["metadata"] = json!({});
                }
                let now = crate::time::seconds(context.now);
                let uid = state.uid();
                let metadata = &mut object["metadata"];
                for (key, value) in [("uid", uid), ("creationTimestamp", now)] {
                    if metadata.get(key).is_none_or(Value::is_null) {
                        metadata[key] = Value::from(value);
                    }
                }
                if target.resource.namespaced {
                    metadata["namespace"] = Value::from(target.namespace.as_str());
                }
                crate::state::convert_back(&target.resource, target.version, &mut object);
                let key = (
                    if target.resource.namespaced { target.namespace.clone() } else { String::new() },
                    target.name.clone(),
                );
                if &*target.resource.table == "customresourcedefinitions.apiextensions.k8s.io" {
                    crate::crd::fill_in(&mut object);
                    object["status"] = crate::crd::status(&object, context.now);
                }
                state.commit(context, &target.resource, None, key, object);
            });
        }
    }
}

fn scope<'a>(resource: &Resource, namespace: Option<&'a str>) -> &'a str {
    if resource.namespaced { namespace.unwrap_or("default") } else { "" }
}
