//! What a workload controller may see, and how it says what it wants.
//!
//! Decides nothing: these are the words in which a controller, a function of what it sees and of the
//! time, talks to the task that runs it (`run`). A controller never waits, never reads a clock of its
//! own and never writes; it hands back operations and the next instant at which it wants to look again.

use std::sync::Arc;

use serde_json::Value;

/// What a workload controller may look at.
pub trait View {
    /// One object, by kind name (`Pod`, `Deployment.apps`), namespace and name.
    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Arc<Value>>;
    /// All objects of a kind, sorted by namespace and name; `None` means every namespace.
    fn list(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;
    /// The cluster's time.
    fn now(&self) -> jiff::Timestamp;
}

/// What a controller asks for, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Create this object.
    Create(Value),
    /// Replace this object, all but its status.
    Update(Value),
    /// Replace this object's status.
    UpdateStatus(Value),
    /// Delete an object.
    Delete {
        /// Kind name, as in [`View::get`].
        kind: String,
        /// `None` for kinds without namespaces.
        namespace: Option<String>,
        /// Name.
        name: String,
        /// Only if it still is this very object.
        uid: Option<String>,
        /// Grace period; `Some(0)` removes a pod at once.
        grace_seconds: Option<i64>,
    },
}

/// The answer of one look at one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Operations, to be performed in this order.
    pub ops: Vec<Op>,
    /// The next instant at which the answer can differ with no change in the cluster.
    pub recheck_at: Option<jiff::Timestamp>,
}

/// What a controller looks after: one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind name.
    pub kind: String,
    /// `None` for kinds without namespaces.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// One controller: which keys a changed object makes dirty, and what to do about one key.
pub trait Controller: Send {
    /// Also the identity under which its writes appear.
    fn name(&self) -> &'static str;
    /// The keys whose answer may differ now that `changed` was created, changed or removed.
    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key>;
    /// What to do about one key.
    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome;
}
