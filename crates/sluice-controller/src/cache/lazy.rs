//! Caches of kinds that are followed only once somebody asks for one of their objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

use super::Cache;

/// Begins to follow a kind.
type Begin<K, T> = Box<dyn Fn(K, &mut JoinSet<()>) -> Cache<T> + Send + Sync>;

/// The caches, by kind.
pub struct LazyCaches<K, T> {
    caches: Mutex<BTreeMap<K, Cache<T>>>,
    begin: Begin<K, T>,
    tasks: Mutex<JoinSet<()>>,
}

impl<K, T> std::fmt::Debug for LazyCaches<K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyCaches").finish_non_exhaustive()
    }
}

impl<K: Copy + Ord, T> LazyCaches<K, T> {
    /// No watches yet. `begin` makes the cache of a kind and spawns what feeds it.
    pub fn new(begin: impl Fn(K, &mut JoinSet<()>) -> Cache<T> + Send + Sync + 'static) -> Self {
        Self { caches: Mutex::default(), begin: Box::new(begin), tasks: Mutex::default() }
    }

    /// The cache of a kind, which is followed from now on.
    pub fn cache(&self, kind: K) -> Cache<T> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = caches.get(&kind) {
            return cache.clone();
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = (self.begin)(kind, &mut tasks);
        caches.insert(kind, cache.clone());
        cache
    }

    /// The cache of a kind that is followed already.
    pub fn begun(&self, kind: K) -> Option<Cache<T>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    /// All kinds that are followed.
    pub fn all(&self) -> Vec<(K, Cache<T>)> {
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.iter().map(|(kind, cache)| (*kind, cache.clone())).collect()
    }

    /// Ends all watches.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}
