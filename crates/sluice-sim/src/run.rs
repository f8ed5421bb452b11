//! Running workload controllers.
//!
//! One task follows the journal, keeps a set of dirty keys and their timers, and looks at one key after
//! the other. Decides the order of looks and what happens to operations that fail; what to do about a
//! key is the controllers' decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    delete::DeleteOptions,
    seam::{Controller, Key, Op, View},
    status::Status,
};

impl View for Cluster {
    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        Cluster::get(self, kind, namespace, name)
    }

    fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        Cluster::list(self, kind, namespace)
    }

    fn now(&self) -> Timestamp {
        Cluster::now(self)
    }
}

/// A controller's key.
type Dirty = (usize, Key);

struct Runner {
    cluster: Cluster,
    controllers: Vec<Box<dyn Controller>>,
    dirty: BTreeSet<Dirty>,
    timers: BTreeMap<Dirty, Timestamp>,
    seen: u64,
}

impl Cluster {
    /// Starts the task that runs `controllers`. Everything that exists is looked at once.
    pub fn start_controllers(&self, controllers: Vec<Box<dyn Controller>>) -> JoinHandle<()> {
        let mut runner = Runner {
            cluster: self.clone(),
            controllers,
            dirty: BTreeSet::new(),
            timers: BTreeMap::new(),
            seen: 0,
        };
        tokio::spawn(async move { runner.run().await })
    }

    fn everything(&self) -> (Vec<Arc<Value>>, u64) {
        let state = self.state();
        let tables: Vec<_> = state.store.tables().cloned().collect();
        let objects = tables.iter().flat_map(|table| {
            state.store.list(table, None).map(|(_, entry)| entry.value.clone()).collect::<Vec<_>>()
        });
        (objects.collect(), state.store.version())
    }
}

impl Runner {
    async fn run(&mut self) {
        let (objects, version) = self.cluster.everything();
        self.seen = version;
        for object in &objects {
            self.touch(object);
        }
        loop {
            self.follow();
            let now = self.cluster.now();
            let due: Vec<Dirty> =
                self.timers.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
            for key in due {
                self.timers.remove(&key);
                self.dirty.insert(key);
            }
            let Some(key) = self.dirty.pop_first() else {
                self.wait().await;
                continue;
            };
            self.look(key).await;
        }
    }

    async fn wait(&mut self) {
        let changed = self.cluster.changed(self.seen);
        match self.timers.values().min() {
            Some(at) => {
                // A timer of the cluster may lie between two ticks of tokio's clock.
                let instant = self.cluster.clock().instant(*at) + std::time::Duration::from_millis(1);
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(instant) => {}
                }
            }
            None => changed.await,
        }
    }

    fn follow(&mut self) {
        for change in self.cluster.changes_since(self.seen) {
            self.seen = change.resource_version;
            // What an object no longer refers to may care too.
            if let Some(before) = change.before.as_ref().filter(|_| !change.deleted) {
                self.touch(&before.value);
            }
            self.touch(change.object());
        }
    }

    fn touch(&mut self, object: &Value) {
        for (index, controller) in self.controllers.iter().enumerate() {
            for key in controller.keys_for(object, &self.cluster) {
                self.dirty.insert((index, key));
            }
        }
    }

    async fn look(&mut self, dirty: Dirty) {
        let latency = self.cluster.0.options.controller_latency;
        self.timers.remove(&dirty);
        let controller = &mut self.controllers[dirty.0];
        let actor = controller.name();
        let outcome = controller.reconcile(&dirty.1, &self.cluster);
        for op in outcome.ops {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            match perform(&self.cluster, actor, op) {
                Ok(()) => {}
                // Somebody else was faster: look again at what is there now.
                Err(status) => {
                    if !(status.is_conflict() || status.is_not_found() || status.is_already_exists()) {
                        tracing::debug!(controller = actor, key = ?dirty.1, %status, "operation refused");
                    }
                    let again = self.cluster.now()
                        + jiff::SignedDuration::from_millis(if status.is_conflict() { 10 } else { 500 });
                    self.timers.insert(dirty, again);
                    return;
                }
            }
        }
        if let Some(at) = outcome.recheck_at {
            self.timers.insert(dirty, at);
        }
    }
}

fn perform(cluster: &Cluster, actor: &str, op: Op) -> Result<(), Status> {
    match op {
        Op::Create(object) => cluster.create(actor, object).map(drop),
        // What holds a terminating namespace is let go through a door of its own.
        Op::Update(object)
            if object["kind"] == "Namespace" && object["metadata"].get("deletionTimestamp").is_some() =>
        {
            cluster.finalize(actor, &object)
        }
        Op::Update(object) => cluster.update(actor, object).map(drop),
        Op::UpdateStatus(object) => cluster.update_status(actor, object).map(drop),
        Op::Delete { kind, namespace, name, uid, grace_seconds } => {
            let options = DeleteOptions {
                uid,
                grace_seconds,
                propagation: Some("Background".to_owned()),
                ..DeleteOptions::default()
            };
            match cluster.delete(actor, &kind, namespace.as_deref(), &name, options) {
                Err(status) if status.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        }
    }
}
