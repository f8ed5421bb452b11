//! What the cluster looks like, as far as our watches have told us.
//!
//! Keeps a slim form of each object of one kind, by name, by owner and by one index of the caller's
//! choice, and says what changed. It decides nothing about the objects, never writes our own results
//! into itself, and never fails because of an object: one that cannot be read is kept as
//! [`Body::Broken`] with the reason. Whether a cache is recent enough after an own write is for
//! [`Versions`] to say.

mod feed;
mod lazy;
mod versions;
mod watched;

pub use feed::Source;
pub use lazy::LazyCaches;
pub use versions::{Freshness, Versions, compare_versions};

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::{Notify, watch};

/// The place of an object: its namespace, empty for objects of the cluster, and its name. Cheap to
/// copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Empty for objects of the cluster.
    pub namespace: Arc<str>,
    /// Unique within the namespace and kind.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Puts the two together.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace, which is the lane of a key in a [`crate::queue::Queue`].
    pub fn lane(&self) -> &str {
        &self.namespace
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        if self.namespace.is_empty() {
            formatter.write_str(&self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What a cache keeps of an object.
pub trait Slim: Sized + Send + Sync + 'static {
    /// Takes what is needed out of an object, without its `managedFields`.
    ///
    /// # Errors
    /// Why the object cannot be used.
    fn from_object(object: Value) -> Result<Self, String>;
}

/// What is known of an object.
#[derive(Debug)]
pub enum Body<T> {
    /// Its slim form.
    Good(Arc<T>),
    /// It exists, but this is why it cannot be used.
    Broken(Arc<str>),
}

impl<T> Clone for Body<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Good(object) => Self::Good(Arc::clone(object)),
            Self::Broken(message) => Self::Broken(Arc::clone(message)),
        }
    }
}

impl<T> Body<T> {
    /// The object, unless it is broken.
    pub fn good(&self) -> Option<&Arc<T>> {
        match self {
            Self::Good(object) => Some(object),
            Self::Broken(_) => None,
        }
    }

    /// Why it cannot be used, if it cannot.
    pub fn broken(&self) -> Option<&str> {
        match self {
            Self::Good(_) => None,
            Self::Broken(message) => Some(message),
        }
    }
}

/// One object that came, changed or went.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Which one.
    pub key: &'a ObjectKey,
    /// As it was; `None` if it was not there.
    pub old: Option<&'a Body<T>>,
    /// As it is; `None` if it is gone.
    pub new: Option<&'a Body<T>>,
    /// The uids of its owners, before and after.
    pub owners: &'a [Arc<str>],
}

impl<T> Change<'_, T> {
    /// The object as it was, if it could be used.
    pub fn old_object(&self) -> Option<&Arc<T>> {
        self.old.and_then(Body::good)
    }

    /// The object as it is, if it can be used.
    pub fn new_object(&self) -> Option<&Arc<T>> {
        self.new.and_then(Body::good)
    }
}

/// How far a cache has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// The first list is not complete.
    Starting,
    /// This optional kind does not exist in the cluster, or we may not read it.
    Absent,
    /// It has been complete, and is kept up to date.
    Synced,
}

/// Names under which an object can be found besides its key.
pub type IndexOf<T> = fn(&T) -> Vec<String>;

/// All objects of one kind; clones are handles on the same cache.
pub struct Cache<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<T> {
    name: String,
    index_of: Option<IndexOf<T>>,
    objects: RwLock<Objects<T>>,
    sync: watch::Sender<SyncState>,
    trouble: RwLock<Option<String>>,
    /// The `apiVersion` that is watched.
    served: RwLock<Option<String>>,
    relist: Notify,
    repairs: std::sync::atomic::AtomicU64,
}

struct Objects<T> {
    stored: BTreeMap<ObjectKey, Stored<T>>,
    owned: BTreeMap<Arc<str>, BTreeSet<ObjectKey>>,
    indexed_as: BTreeMap<Box<str>, BTreeSet<ObjectKey>>,
}

struct Stored<T> {
    version: Arc<str>,
    owners: Box<[Arc<str>]>,
    body: Body<T>,
}

/// The object was there at that version, or was not there, already.
struct Unchanged;

impl<T> Cache<T> {
    /// An empty cache. `name` is the plural of the kind, for logs.
    pub fn new(name: impl Into<String>) -> Self {
        Self::with(name, None)
    }

    /// An empty cache whose objects can also be found by what `index_of` returns for them.
    pub fn with_index(name: impl Into<String>, index_of: IndexOf<T>) -> Self {
        Self::with(name, Some(index_of))
    }

    fn with(name: impl Into<String>, index_of: Option<IndexOf<T>>) -> Self {
        let objects =
            Objects { stored: BTreeMap::new(), owned: BTreeMap::new(), indexed_as: BTreeMap::new() };
        let shared = Shared {
            name: name.into(),
            index_of,
            objects: RwLock::new(objects),
            sync: watch::Sender::new(SyncState::Starting),
            trouble: RwLock::new(None),
            served: RwLock::new(None),
            relist: Notify::new(),
            repairs: std::sync::atomic::AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<T>> {
        self.shared.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<T>> {
        self.shared.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name given to [`Cache::new`].
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The object, unless it is unknown or broken.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.read().stored.get(key).and_then(|stored| stored.body.good().cloned())
    }

    /// The object or the reason why it is broken; `None` if there is none.
    pub fn body(&self, key: &ObjectKey) -> Option<Body<T>> {
        self.read().stored.get(key).map(|stored| stored.body.clone())
    }

    /// The object with the resource version it is at.
    pub fn versioned(&self, key: &ObjectKey) -> Option<(Arc<str>, Body<T>)> {
        let objects = self.read();
        objects.stored.get(key).map(|stored| (Arc::clone(&stored.version), stored.body.clone()))
    }

    /// The resource version of an object.
    pub fn version(&self, key: &ObjectKey) -> Option<Arc<str>> {
        self.read().stored.get(key).map(|stored| Arc::clone(&stored.version))
    }

    /// The objects that name `uid` as an owner, in the order of their keys.
    pub fn owned_by(&self, uid: &str) -> Vec<(ObjectKey, Body<T>)> {
        let objects = self.read();
        objects.bodies(objects.owned.get(uid))
    }

    /// The objects for which the index function returned `name`, in the order of their keys.
    pub fn indexed(&self, name: &str) -> Vec<(ObjectKey, Body<T>)> {
        let objects = self.read();
        objects.bodies(objects.indexed_as.get(name))
    }

    /// Looks at every object in the order of the keys; nothing can change meanwhile, so be quick.
    pub fn for_each(&self, mut look: impl FnMut(&ObjectKey, &Body<T>)) {
        for (key, stored) in &self.read().stored {
            look(key, &stored.body);
        }
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.read().stored.keys().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().stored.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the cache has come.
    pub fn sync(&self) -> SyncState {
        *self.shared.sync.borrow()
    }

    /// Whether the cache can be decided on: complete once, or known to have nothing to hold.
    pub fn ready(&self) -> bool {
        self.sync() != SyncState::Starting
    }

    /// Waits until the cache is [ready](Cache::ready).
    pub async fn wait_ready(&self) {
        // The sender lives as long as this handle does.
        let _ = self.shared.sync.subscribe().wait_for(|sync| *sync != SyncState::Starting).await;
    }

    /// Follows how far the cache has come.
    pub fn subscribe(&self) -> watch::Receiver<SyncState> {
        self.shared.sync.subscribe()
    }

    /// The `apiVersion` in which the cluster serves the kind, once something is watched.
    pub fn served(&self) -> Option<String> {
        self.shared.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the watch does not get on at the moment, if it does not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lists everything anew, because there is a reason to doubt the watch.
    pub fn relist(&self) {
        self.shared.relist.notify_one();
    }

    /// How many objects an audit found to differ from the cluster for longer than a watch may lag.
    pub fn repairs(&self) -> u64 {
        self.shared.repairs.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Replaces or removes one object and returns what it was.
    fn store(&self, key: &ObjectKey, new: Option<Stored<T>>) -> Result<Option<Stored<T>>, Unchanged> {
        let mut objects = self.write();
        let before = objects.stored.get(key).map(|stored| &stored.version);
        if before == new.as_ref().map(|stored| &stored.version) {
            return Err(Unchanged);
        }
        let old = objects.stored.remove(key);
        if let Some(old) = &old {
            objects.unlink(key, old, self.shared.index_of);
        }
        if let Some(new) = new {
            objects.link(key, &new, self.shared.index_of);
            objects.stored.insert(key.clone(), new);
        }
        Ok(old)
    }
}

impl<T> Objects<T> {
    fn bodies(&self, keys: Option<&BTreeSet<ObjectKey>>) -> Vec<(ObjectKey, Body<T>)> {
        let stored = keys.into_iter().flatten().filter_map(|key| self.stored.get_key_value(key));
        stored.map(|(key, stored)| (key.clone(), stored.body.clone())).collect()
    }

    fn link(&mut self, key: &ObjectKey, stored: &Stored<T>, index_of: Option<IndexOf<T>>) {
        for owner in &stored.owners {
            self.owned.entry(Arc::clone(owner)).or_default().insert(key.clone());
        }
        for name in names(stored, index_of) {
            self.indexed_as.entry(name.into()).or_default().insert(key.clone());
        }
    }

    fn unlink(&mut self, key: &ObjectKey, stored: &Stored<T>, index_of: Option<IndexOf<T>>) {
        for owner in &stored.owners {
            if let Some(keys) = self.owned.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
        for name in names(stored, index_of) {
            if let Some(keys) = self.indexed_as.get_mut(name.as_str()) {
                keys.remove(key);
                if keys.is_empty() {
                    self.indexed_as.remove(name.as_str());
                }
            }
        }
    }
}

fn names<T>(stored: &Stored<T>, index_of: Option<IndexOf<T>>) -> Vec<String> {
    match (stored.body.good(), index_of) {
        (Some(object), Some(index_of)) => index_of(object),
        _ => Vec::new(),
    }
}
