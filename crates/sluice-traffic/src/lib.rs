//! Traffic routers: how each mesh or ingress writes "20 % to the canary".
//!
//! A router turns [`Routes`] into the whole objects with those routes in them, and says what the data
//! plane really does where it can be asked. It knows no steps, no clock and no client: which weight is
//! wanted and when it may be written is decided elsewhere, and somebody else sends the objects.

#![warn(missing_docs)]

pub mod memory;

use std::collections::BTreeMap;

use serde_json::Value;

/// Names one object that a router reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// The objects that a router asked for, as far as they exist.
pub type Objects = BTreeMap<ObjectRef, Value>;

/// Where traffic is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The canary's weight, of `max_weight`.
    pub canary_weight: i64,
    /// The weight that means everything.
    pub max_weight: i64,
    /// Where stable traffic goes.
    pub stable: Backend,
    /// Where canary traffic goes.
    pub canary: Backend,
}

impl Routes {
    /// The share that is left for stable.
    pub fn stable_weight(&self) -> i64 {
        (self.max_weight - self.canary_weight).clamp(0, self.max_weight)
    }
}

/// One side of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its Service.
    pub service: String,
    /// The pod template hash that it selects.
    pub hash: String,
}

/// What a router cannot do, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// An object that the spec names does not exist.
    #[error("{kind} {namespace}/{name} not found: create it, or name another in the spec")]
    NotFound {
        /// Its kind.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An object has not the shape that is needed.
    #[error("{kind} {namespace}/{name}: {field}: {problem}")]
    Unfit {
        /// Its kind.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl TrafficError {
    /// The name used as a metric label.
    pub fn label(&self) -> &'static str {
        match self {
            TrafficError::NotFound { .. } => "not_found",
            TrafficError::Unfit { .. } => "unfit",
        }
    }
}

/// What the data plane does, as far as it can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does what was asked.
    Live,
    /// It does not yet.
    Pending,
    /// Nobody can tell.
    Unknown,
}

/// One way to split traffic.
pub trait TrafficRouter {
    /// The objects that it reads and writes.
    fn reads(&self) -> Vec<ObjectRef>;

    /// The same objects with these routes in them; whatever is not ours stays as it was. Applying it
    /// twice gives the same.
    ///
    /// # Errors
    /// An object that is missing or has not the needed shape.
    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Objects, TrafficError>;

    /// The canary's weight that the objects ask for now; `None` if they do not say.
    fn requested(&self, observed: &Objects) -> Option<i64>;

    /// What the data plane really does.
    fn verdict(&self, observed: &Objects, routes: &Routes) -> Verdict;
}
