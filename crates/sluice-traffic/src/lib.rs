//! Traffic routers: how each mesh or ingress writes "20 % to the canary".
//!
//! A router reads its objects, turns [`Routes`] into edits of them, and says what the data plane really
//! does where it can be asked. It knows no steps, no clock and no client: which weight is wanted and when
//! it may be written is decided elsewhere, and somebody else sends the objects.

#![warn(missing_docs)]

pub mod alb;
pub mod ambassador;
pub mod apisix;
pub mod app_mesh;
mod blocks;
pub mod contour;
mod extras;
mod fields;
pub mod gateway;
pub mod gloo;
pub mod istio;
pub mod kuma;
mod ledger;
mod matches;
pub mod memory;
mod named;
pub mod nginx;
mod owned;
mod shares;
pub mod smi;
pub mod traefik;
mod weights;

pub use blocks::{Unsupported, routers};

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_api::LabelSelector;

/// A kind of object, without its version: which version is served differs from cluster to cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// Versions that are understood, the preferred one first.
    pub versions: &'static [&'static str],
    /// `kind`.
    pub kind: &'static str,
    /// The plural in paths.
    pub plural: &'static str,
}

/// Names one object that a router reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// Objects that a router picks otherwise than by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Their kind.
    pub kind: ObjectKind,
    /// Their namespace.
    pub namespace: String,
    /// What tells them from others.
    pub by: By,
}

/// What tells objects that are picked from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Their labels.
    Labels(LabelSelector),
    /// The uid of the object that controls them.
    Owner(String),
}

impl Selection {
    /// Whether it picks this object.
    pub fn takes(&self, reference: &ObjectRef, object: &Value) -> bool {
        let is_there = reference.kind == self.kind && reference.namespace == self.namespace;
        is_there
            && match &self.by {
                By::Labels(_) => self.fits(object.pointer("/metadata/labels").unwrap_or(&Value::Null)),
                By::Owner(uid) => {
                    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
                    let is_owner = |owner: &Value| {
                        owner.get("controller") == Some(&Value::Bool(true))
                            && owner.get("uid") == Some(&uid.as_str().into())
                    };
                    !uid.is_empty() && owners.into_iter().flatten().any(is_owner)
                }
            }
    }

    /// Whether `metadata.labels` are what they have to be, if labels are what it picks by.
    pub fn fits(&self, labels: &Value) -> bool {
        let By::Labels(selector) = &self.by else { return false };
        let labels = labels.as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        selector.matches(&labels.collect())
    }
}

/// The objects that a router asked for, as far as they exist.
pub type Objects = BTreeMap<ObjectRef, Value>;

/// What is to become of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// It is to look like this. One that was not observed is created.
    Put(Value),
    /// It is to go.
    Delete,
}

/// The objects that have to change, and how. One that is not named stays as it is.
pub type Edits = BTreeMap<ObjectRef, Edit>;

/// What of a Rollout a router needs besides its own block of the spec. It stays the same for a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Name of the Rollout.
    pub rollout: String,
    /// Its uid, for objects that it owns.
    pub uid: String,
    /// `stableService`, if the spec names one.
    pub stable_service: Option<String>,
    /// `canaryService`, if the spec names one.
    pub canary_service: Option<String>,
    /// The weight that means everything.
    pub max_weight: i64,
    /// `maxTrafficWeight` stands in the spec.
    pub has_max_weight: bool,
    /// Every route name that is ours to write and to remove, the one with precedence first.
    pub managed_names: Vec<String>,
}

impl Scope {
    /// The Services that stable and canary traffic go to; the two that take turns only where the spec
    /// names none.
    fn services<'a>(&'a self, ping_pong: Option<&'a PingPong>) -> Services<'a> {
        let named = |service: &'a Option<String>| service.as_deref().filter(|name| !name.is_empty());
        let (stable, canary) = (named(&self.stable_service), named(&self.canary_service));
        match ping_pong {
            Some(roles) if stable.is_none() && canary.is_none() => Services::taking_turns(roles),
            _ => Services { stable, canary },
        }
    }

    /// A mistake in the Rollout's own spec.
    fn unfit(&self, field: &str, problem: impl Into<String>) -> TrafficError {
        TrafficError::Unfit {
            kind: "Rollout".into(),
            namespace: self.namespace.clone(),
            name: self.rollout.clone(),
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// The Services that stable and canary traffic go to, as far as there are any.
#[derive(Clone, Copy, Debug)]
struct Services<'a> {
    stable: Option<&'a str>,
    canary: Option<&'a str>,
}

impl<'a> Services<'a> {
    fn taking_turns(roles: &'a PingPong) -> Services<'a> {
        Services { stable: Some(&roles.stable), canary: Some(&roles.canary) }
    }

    /// Both, for routers that cannot do without: stable, then canary.
    fn both(&self, scope: &Scope) -> Result<(&'a str, &'a str), TrafficError> {
        self.stable.zip(self.canary).ok_or_else(|| {
            let problem = "Canary service and Stable service must to be set to use Traffic Routing";
            scope.unfit("spec.strategy.canary", problem)
        })
    }
}

/// Where traffic is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The canary's weight, of [`Scope::max_weight`].
    pub canary_weight: i64,
    /// The pod template hash behind the stable destination, for routers with subsets of their own.
    pub stable_hash: Option<String>,
    /// The pod template hash behind the canary destination.
    pub canary_hash: Option<String>,
    /// The two Services that take turns, in the roles that they have now.
    pub ping_pong: Option<PingPong>,
    /// Further destinations with a weight of their own, sorted by Service.
    pub extra: Vec<Extra>,
    /// The managed routes that are to be there, the one with precedence first.
    pub managed: Vec<ManagedRoute>,
}

impl Routes {
    /// The share that is left for stable.
    pub fn stable_weight(&self, max_weight: i64) -> i64 {
        let extra: i64 = self.extra.iter().map(|extra| extra.weight).sum();
        (max_weight - self.canary_weight - extra).clamp(0, max_weight)
    }

    /// The managed routes that ask for something, each name once: the last of that name, in the first
    /// place.
    fn wanted(&self) -> Vec<&ManagedRoute> {
        let mut found: Vec<&ManagedRoute> = Vec::new();
        for route in &self.managed {
            match found.iter_mut().find(|known| known.name() == route.name()) {
                Some(known) => *known = route,
                None => found.push(route),
            }
        }
        found.retain(|route| match route {
            ManagedRoute::Header(route) => !route.r#match.is_empty(),
            ManagedRoute::Mirror(route) => !route.r#match.is_empty(),
        });
        found
    }
}

/// Two Services that take turns, in the roles that they have now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingPong {
    /// The one that stable traffic goes to.
    pub stable: String,
    /// The other.
    pub canary: String,
}

/// A further destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its Service.
    pub service: String,
    /// The pod template hash that it selects.
    pub hash: String,
    /// Its weight.
    pub weight: i64,
}

/// A route that a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedRoute {
    /// Requests with certain headers go to the canary.
    Header(sluice_api::steps::SetHeaderRoute),
    /// Certain requests are copied to the canary.
    Mirror(sluice_api::steps::SetMirrorRoute),
}

impl ManagedRoute {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            ManagedRoute::Header(route) => &route.name,
            ManagedRoute::Mirror(route) => &route.name,
        }
    }
}

/// What the objects ask the data plane for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The canary's weight, of [`Scope::max_weight`]; `None` if the objects do not say one, or do not
    /// agree on one. Objects that know whole percent only may say another than was asked for: see
    /// [`TrafficRouter::nearest_weight`]. It is 0 only if the canary gets nothing, and all of it only if
    /// nobody else gets any.
    pub weight: Option<i64>,
    /// The managed routes that are there, be it in one object of several.
    pub managed: BTreeSet<String>,
    /// Which versions the router's own subsets select, for routers that have any.
    pub subsets: Option<Subsets>,
}

/// Which versions a router's own subsets select, by pod template hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsets {
    /// The one for stable traffic; `None`: it is not narrowed to one version.
    pub stable: Option<String>,
    /// The one for canary traffic.
    pub canary: Option<String>,
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
    /// An object that the spec names does not exist.
    pub fn not_found(object: &ObjectRef) -> TrafficError {
        TrafficError::NotFound {
            kind: object.kind.kind.into(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        }
    }

    /// An object has not the shape that is needed.
    pub fn unfit(object: &ObjectRef, field: impl Into<String>, problem: impl Into<String>) -> TrafficError {
        TrafficError::Unfit {
            kind: object.kind.kind.into(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            field: field.into(),
            problem: problem.into(),
        }
    }

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

impl Verdict {
    /// What holds for all of them together.
    fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let found: Vec<Verdict> = verdicts.into_iter().collect();
        match () {
            () if found.contains(&Verdict::Pending) => Verdict::Pending,
            () if found.is_empty() || found.contains(&Verdict::Unknown) => Verdict::Unknown,
            () => Verdict::Live,
        }
    }
}

/// One way to split traffic.
pub trait TrafficRouter: Send + Sync + std::fmt::Debug {
    /// How it is called in logs and metrics: the key of its block in a manifest.
    fn name(&self) -> &'static str;

    /// The objects that it reads and writes, those that it creates included.
    fn reads(&self) -> Vec<ObjectRef>;

    /// The objects that it reads and writes besides, picked otherwise than by name.
    fn selects(&self) -> Vec<Selection> {
        Vec::new()
    }

    /// Whether the cluster need not serve this kind, because the same may stand under another group.
    fn can_do_without(&self, _kind: ObjectKind) -> bool {
        false
    }

    /// What the objects ask the data plane for now, with the two Services that take turns in these roles.
    ///
    /// # Errors
    /// An object that is missing or has not the needed shape.
    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError>;

    /// What has to change so that the objects ask for these routes; whatever is not ours stays as it was.
    /// Empty when they do already.
    ///
    /// # Errors
    /// An object that is missing or has not the needed shape.
    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError>;

    /// The canary's weight that [`TrafficRouter::read`] will find once these routes are written: the
    /// nearest to the wanted one that the objects can hold.
    ///
    /// # Errors
    /// An object that is missing or has not the needed shape.
    fn nearest_weight(&self, observed: &Objects, routes: &Routes) -> Result<Option<i64>, TrafficError> {
        let mut objects = observed.clone();
        apply(&mut objects, self.with_routes(observed, routes)?);
        Ok(self.read(&objects, routes.ping_pong.as_ref())?.weight)
    }

    /// An object that is to be created, in the version of its kind that the cluster serves. Objects are
    /// made in a version that an observed one has, or in the preferred one of their kind.
    fn in_version(&self, object: Value, _api_version: &str) -> Value {
        object
    }

    /// Whether it can write such a managed route. One that it cannot write it leaves out.
    fn carries(&self, _route: &ManagedRoute) -> bool {
        true
    }

    /// What the data plane really does about these routes.
    fn verdict(&self, _observed: &Objects, _routes: &Routes) -> Verdict {
        Verdict::Unknown
    }

    /// Whether the data plane fails when the stable destination has no pods, even at weight 0.
    fn needs_live_primary(&self) -> bool {
        false
    }
}

/// Carries edits out on a set of objects.
pub fn apply(objects: &mut Objects, edits: Edits) {
    for (reference, edit) in edits {
        match edit {
            Edit::Put(object) => {
                objects.insert(reference, object);
            }
            Edit::Delete => {
                objects.remove(&reference);
            }
        }
    }
}
