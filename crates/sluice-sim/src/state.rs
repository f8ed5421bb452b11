//! The state behind the lock: kinds, objects, randomness; and what one request brings along.

use std::sync::Arc;

use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;

use crate::{
    events,
    resource::{Registry, Resource},
    store::{Change, Store},
};

/// The address that a rehearsal shows for a Service: that of the network itself.
pub const REHEARSED_ADDRESS: &str = "10.96.0.0";

/// What to do about fields that a kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// One request on its way through.
#[derive(Debug)]
pub struct Context {
    /// Who asks.
    pub identity: Arc<str>,
    /// Field manager.
    pub manager: String,
    /// When.
    pub now: Timestamp,
    /// Do everything but store.
    pub dry_run: bool,
    /// About unknown fields.
    pub validation: FieldValidation,
    /// Verb, for hooks and the audit.
    pub verb: &'static str,
    /// Texts of `Warning` headers.
    pub warnings: Vec<String>,
    /// What was committed.
    pub writes: Vec<Write>,
    /// This is a server-side apply.
    pub applies: bool,
    /// It comes from inside, where pods are put on nodes by an update.
    pub direct: bool,
}

impl Context {
    /// A request of `identity`, whose name is also the field manager.
    pub fn new(identity: &str, verb: &'static str, now: Timestamp) -> Context {
        Context {
            identity: identity.into(),
            manager: identity.to_owned(),
            now,
            dry_run: false,
            validation: FieldValidation::Ignore,
            verb,
            warnings: Vec::new(),
            writes: Vec::new(),
            applies: false,
            direct: true,
        }
    }
}

/// A committed write, as hooks see it.
#[derive(Clone, Debug)]
pub struct Write {
    /// When.
    pub at: Timestamp,
    /// Who wrote.
    pub identity: Arc<str>,
    /// Verb of the request.
    pub verb: &'static str,
    /// Kind of the object.
    pub kind: Arc<str>,
    /// `None` for kinds without namespaces.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `status`, `scale`, `eviction`; `None` for the object itself.
    pub subresource: Option<&'static str>,
    /// The object before.
    pub before: Option<Arc<Value>>,
    /// The object after; `None` when it is gone.
    pub after: Option<Arc<Value>>,
    /// Resource version of this write.
    pub resource_version: u64,
}

/// Everything behind the lock.
#[derive(Debug)]
pub struct State {
    /// Kinds.
    pub registry: Registry,
    /// Objects.
    pub store: Store,
    /// Source of uids, generated names and latencies.
    pub rng: SmallRng,
    /// Last assigned service address.
    next_address: u32,
    /// Last assigned node port.
    next_port: u32,
}

impl State {
    /// Built-in kinds, no objects.
    pub fn new(seed: u64, history: usize) -> State {
        State {
            registry: Registry::builtin(),
            store: Store::new(history),
            rng: SmallRng::seed_from_u64(seed),
            next_address: 9,
            next_port: 29_999,
        }
    }

    /// A fresh uid.
    pub fn uid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid().to_string()
    }

    /// A fresh service address out of 10.96.0.0/12.
    pub fn address(&mut self) -> String {
        self.next_address += 1;
        let n = (10 << 24) + (96 << 16) + self.next_address;
        std::net::Ipv4Addr::from(n).to_string()
    }

    /// A fresh node port.
    pub fn node_port(&mut self) -> u32 {
        self.next_port += 1;
        self.next_port
    }

    /// An object as a version of its kind shows it.
    pub fn shown(resource: &Resource, version: usize, value: &Value) -> Value {
        let mut out = value.clone();
        convert(resource, version, &mut out);
        out
    }

    /// Stores an object.
    pub fn commit(
        &mut self,
        context: &mut Context,
        resource: &Arc<Resource>,
        subresource: Option<&'static str>,
        key: (String, String),
        value: Value,
    ) -> Arc<Change> {
        // events.k8s.io shares the table of core events, and so its kind's name.
        let change = self.store.put(&resource.kind, &resource.table, key, value, context.now);
        self.after_change(context, resource, subresource, &change);
        change
    }

    /// Removes an object.
    pub fn erase(
        &mut self,
        context: &mut Context,
        resource: &Arc<Resource>,
        subresource: Option<&'static str>,
        key: &(String, String),
    ) -> Option<Arc<Change>> {
        let change = self.store.remove(&resource.kind, &resource.table, key, context.now)?;
        self.after_change(context, resource, subresource, &change);
        Some(change)
    }

    fn after_change(
        &mut self,
        context: &mut Context,
        resource: &Arc<Resource>,
        subresource: Option<&'static str>,
        change: &Change,
    ) {
        context.writes.push(Write {
            at: context.now,
            identity: context.identity.clone(),
            verb: context.verb,
            kind: resource.kind.clone(),
            namespace: resource.namespaced.then(|| change.key.0.clone()),
            name: change.key.1.clone(),
            subresource,
            before: change.before.as_ref().map(|entry| entry.value.clone()),
            after: (!change.deleted).then(|| change.after.value.clone()),
            resource_version: change.resource_version,
        });
        if &*resource.table == "customresourcedefinitions.apiextensions.k8s.io" {
            self.definition_changed(context, change);
        }
    }

    fn definition_changed(&mut self, context: &mut Context, change: &Change) {
        let definition = change.after.value.clone();
        let group = definition["spec"]["group"].as_str().unwrap_or_default();
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
        if change.deleted {
            if let Some(resource) = self.registry.remove(group, plural) {
                let keys: Vec<_> =
                    self.store.list(&resource.table, None).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    self.erase(context, &resource, None, &key);
                }
            }
            return;
        }
        let same = change.before.as_ref().is_some_and(|before| before.value["spec"] == definition["spec"]);
        if same && self.registry.at(group, plural).is_some() {
            return;
        }
        if let Some((resource, ignored)) = crate::crd::resource(&definition) {
            if ignored > 0 {
                tracing::debug!(kind = %resource.kind, ignored, "validation rules that are not carried out");
            }
            self.registry.insert(Arc::new(resource));
        }
    }
}

/// Rewrites a stored object to a served version.
pub fn convert(resource: &Resource, version: usize, value: &mut Value) {
    if &*resource.table == "events" {
        if resource.group == "events.k8s.io" {
            events::to_new(value);
        }
    } else if version != resource.storage {
        value["apiVersion"] = Value::from(resource.versions[version].api_version.as_str());
    }
}

/// Rewrites an object of a served version to what is stored.
pub fn convert_back(resource: &Resource, version: usize, value: &mut Value) {
    if &*resource.table == "events" {
        if resource.group == "events.k8s.io" {
            events::to_core(value);
        }
    } else if version != resource.storage {
        value["apiVersion"] = Value::from(resource.stored().api_version.as_str());
    }
}
