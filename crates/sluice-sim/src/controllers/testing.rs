//! A tiny cluster for the tests beside the controllers: objects in a map, time that jumps.
//!
//! Decides just enough to be believable: versions, generations, status apart from the rest, finalizers,
//! graceful deletion of pods. It runs every controller until nothing changes any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{
    int, is_deleting, items, kind, kinds, name, namespace, put, remove, text, uid, wire_time,
};
use super::{Settings, standard};
use crate::seam::{Controller, Key, Op, Outcome, View};

/// More looks than any story here needs at one instant.
const TOO_MANY_LOOKS: usize = 200_000;

type Watch = Box<dyn FnMut(&dyn View)>;
type ObjectKey = (String, Option<String>, String);

pub(super) struct Cluster {
    store: Store,
    controllers: Vec<Box<dyn Controller>>,
    queue: VecDeque<(usize, Key)>,
    timers: BTreeMap<(usize, Key), Timestamp>,
    /// Called after every write, with the store as it is then.
    pub watch: Option<Watch>,
}

struct Store {
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    now: Timestamp,
    version: u64,
}

impl View for Store {
    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&(kind.to_owned(), namespace.map(str::to_owned), name.to_owned())).cloned()
    }

    fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let is_wanted =
            |key: &ObjectKey| key.0 == kind && (namespace.is_none() || key.1.as_deref() == namespace);
        self.objects.iter().filter(|(key, _)| is_wanted(key)).map(|(_, object)| object.clone()).collect()
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

impl View for Cluster {
    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.store.get(kind, namespace, name)
    }

    fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.store.list(kind, namespace)
    }

    fn now(&self) -> Timestamp {
        self.store.now
    }
}

impl Store {
    /// Performs an operation; returns the object that changed. What a real API server would refuse panics.
    fn apply(&mut self, op: Op) -> Option<Value> {
        match op {
            Op::Create(object) => {
                assert!(self.find(&object).is_none(), "created twice: {object}");
                self.version += 1;
                let mut object = object;
                put(&mut object, &["metadata", "uid"], format!("uid-{:06}", self.version));
                put(&mut object, &["metadata", "generation"], 1);
                put(&mut object, &["metadata", "creationTimestamp"], wire_time(self.now));
                Some(self.store(object))
            }
            Op::Update(object) => {
                let found = self.current(&object);
                let mut written = object;
                match found.get("status") {
                    Some(status) => put(&mut written, &["status"], status.clone()),
                    None => remove(&mut written, &["status"]),
                }
                assert_ne!(*found, written, "an update that changes nothing");
                if found.get("spec") != written.get("spec") {
                    let generation = int(&found, "/metadata/generation").unwrap_or(0);
                    put(&mut written, &["metadata", "generation"], generation + 1);
                }
                let is_over = is_deleting(&written) && items(&written, "/metadata/finalizers").is_empty();
                if is_over && kind(&written) != kinds::POD && kind(&written) != kinds::NAMESPACE {
                    return Some(self.drop(&written));
                }
                Some(self.store(written))
            }
            Op::UpdateStatus(object) => {
                let found = self.current(&object);
                let mut written = Value::clone(&found);
                put(&mut written, &["status"], object.get("status").cloned().unwrap_or_default());
                // What else of a built-in kind's metadata may be changed by this door.
                if let Some(annotations) = object.pointer("/metadata/annotations") {
                    put(&mut written, &["metadata", "annotations"], annotations.clone());
                }
                assert_ne!(*found, written, "a status update that changes nothing");
                Some(self.store(written))
            }
            Op::Delete { kind, namespace, name, uid: wanted, grace_seconds } => {
                let found = self.get(&kind, namespace.as_deref(), &name)?;
                if wanted.is_some_and(|wanted| wanted != uid(&found)) {
                    return None;
                }
                let is_graceful = kind == kinds::POD && text(&found, "/spec/nodeName").is_some();
                let grace = grace_seconds.unwrap_or(if is_graceful { 30 } else { 0 });
                let is_held = !items(&found, "/metadata/finalizers").is_empty()
                    || (kind == kinds::NAMESPACE && !items(&found, "/spec/finalizers").is_empty());
                if grace == 0 && !is_held {
                    return Some(self.drop(&found));
                }
                if is_deleting(&found) && int(&found, "/metadata/deletionGracePeriodSeconds") == Some(grace) {
                    return None;
                }
                let mut written = Value::clone(&found);
                let until = self.now + SignedDuration::from_secs(grace);
                put(&mut written, &["metadata", "deletionTimestamp"], wire_time(until));
                put(&mut written, &["metadata", "deletionGracePeriodSeconds"], grace);
                Some(self.store(written))
            }
        }
    }

    fn find(&self, object: &Value) -> Option<Arc<Value>> {
        self.get(kind(object), namespace(object), name(object))
    }

    /// Returns the stored object, which must be the version that is being written.
    fn current(&self, object: &Value) -> Arc<Value> {
        let found = self.find(object).unwrap_or_else(|| panic!("written but not there: {object}"));
        let version = |one: &Value| text(one, "/metadata/resourceVersion").map(str::to_owned);
        assert_eq!(version(object), version(&found), "a write of an old version: {object}");
        found
    }

    fn store(&mut self, mut object: Value) -> Value {
        self.version += 1;
        put(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let key = (kind(&object).to_owned(), namespace(&object).map(str::to_owned), name(&object).to_owned());
        self.objects.insert(key, Arc::new(object.clone()));
        object
    }

    fn drop(&mut self, object: &Value) -> Value {
        let key = (kind(object).to_owned(), namespace(object).map(str::to_owned), name(object).to_owned());
        self.objects.remove(&key);
        let mut last = object.clone();
        if !is_deleting(&last) {
            put(&mut last, &["metadata", "deletionTimestamp"], wire_time(self.now));
        }
        last
    }
}

impl Cluster {
    pub fn standard() -> Self {
        Self::new(Settings::default())
    }

    pub fn new(settings: Settings) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        Self {
            store: Store { objects: BTreeMap::new(), now, version: 0 },
            controllers: standard(settings),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            watch: None,
        }
    }

    pub fn create(&mut self, object: Value) {
        self.perform(Op::Create(object));
        self.settle();
    }

    #[track_caller]
    pub fn edit(&mut self, kind: &str, namespace: Option<&str>, name: &str, change: impl FnOnce(&mut Value)) {
        let found = self.get(kind, namespace, name).expect("the object to edit");
        let mut object = Value::clone(&found);
        change(&mut object);
        self.perform(Op::Update(object));
        self.settle();
    }

    #[track_caller]
    pub fn edit_status(
        &mut self,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let found = self.get(kind, namespace, name).expect("the object to edit");
        let mut object = Value::clone(&found);
        change(&mut object["status"]);
        self.perform(Op::UpdateStatus(object));
        self.settle();
    }

    pub fn delete(&mut self, kind: &str, namespace: Option<&str>, name: &str) {
        self.perform(Op::Delete {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            uid: None,
            grace_seconds: None,
        });
        self.settle();
    }

    /// Returns an object of the namespace `default`.
    pub fn find(&self, kind: &str, name: &str) -> Option<Arc<Value>> {
        self.get(kind, Some("default"), name)
    }

    #[track_caller]
    pub fn pod(&self, name: &str) -> Arc<Value> {
        self.find(kinds::POD, name).expect("the pod")
    }

    /// Lets so many seconds pass, with everything that happens in them.
    pub fn advance(&mut self, seconds: i64) {
        self.advance_by(SignedDuration::from_secs(seconds));
    }

    pub fn advance_by(&mut self, duration: SignedDuration) {
        let end = self.store.now + duration;
        self.settle();
        while let Some(next) = self.timers.values().min().copied().filter(|at| *at <= end) {
            self.store.now = next.max(self.store.now);
            let due: Vec<(usize, Key)> =
                self.timers.iter().filter(|(_, at)| **at <= next).map(|(timer, _)| timer.clone()).collect();
            for timer in due {
                self.timers.remove(&timer);
                self.queue.push_back(timer);
            }
            self.settle();
        }
        self.store.now = end;
    }

    /// Lets the controllers work until nothing is left to do at this instant.
    pub fn settle(&mut self) {
        for _ in 0..TOO_MANY_LOOKS {
            let Some((at, key)) = self.queue.pop_front() else { return };
            let Outcome { ops, recheck_at } = self.controllers[at].reconcile(&key, &self.store);
            if let Some(recheck_at) = recheck_at {
                assert!(
                    recheck_at > self.store.now || !ops.is_empty(),
                    "{key:?} wants to look again at once"
                );
                self.timers.insert((at, key), recheck_at);
            } else {
                self.timers.remove(&(at, key));
            }
            for op in ops {
                self.perform(op);
            }
        }
        panic!("the controllers do not come to rest");
    }

    /// Checks that looking again at everything changes nothing.
    #[track_caller]
    pub fn check_quiet(&mut self) {
        let objects: Vec<Arc<Value>> = self.store.objects.values().cloned().collect();
        for controller in &mut self.controllers {
            for object in &objects {
                for key in controller.keys_for(object, &self.store) {
                    let outcome = controller.reconcile(&key, &self.store);
                    assert_eq!(outcome.ops, vec![], "{} at {key:?}", controller.name());
                }
            }
        }
    }

    fn perform(&mut self, op: Op) {
        let Some(changed) = self.store.apply(op) else { return };
        if let Some(watch) = &mut self.watch {
            watch(&self.store);
        }
        for (at, controller) in self.controllers.iter().enumerate() {
            for key in controller.keys_for(&changed, &self.store) {
                if !self.queue.contains(&(at, key.clone())) {
                    self.queue.push_back((at, key));
                }
            }
        }
    }
}

/// A pod of one container, labelled `app: web`, in the namespace `default`.
pub(super) fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    })
}

/// A Deployment of such pods.
pub(super) fn deployment(name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, image)},
    })
}

/// A ReplicaSet of such pods.
pub(super) fn replica_set(name: &str, replicas: i64, image: &str) -> Value {
    let mut set = deployment(name, replicas, image);
    set["kind"] = json!("ReplicaSet");
    set
}

pub(super) fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}
