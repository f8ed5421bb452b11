//! Puts together what a decision looks at, from the caches. Asks nobody and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice_engine::spec::{self, OwnedSet, Owner};
use sluice_engine::world::{Rollout, Service, Settings, Strategy, Traffic, World};

use crate::cache::{Body, Cache, ObjectKey, Slim};

/// The index entry of ReplicaSets that nobody owns.
pub const ORPHANS: &str = "orphans";

impl Slim for OwnedSet {
    fn from_object(object: Value) -> Result<Self, String> {
        spec::replica_set(object).map_err(|error| error.to_string())
    }
}

impl Slim for Service {
    fn from_object(object: Value) -> Result<Self, String> {
        spec::service(object).map_err(|error| error.to_string())
    }
}

/// The Services that a Rollout names.
pub fn service_names(rollout: &Rollout) -> Vec<&String> {
    match rollout.spec.as_ref().map(|spec| &spec.strategy) {
        Ok(Strategy::Canary(canary)) => {
            [&canary.canary_service, &canary.stable_service].into_iter().flatten().collect()
        }
        Ok(Strategy::Unsupported(_)) | Err(_) => Vec::new(),
    }
}

/// The index entry by which the Rollouts of a Service are found.
pub fn service_entry(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The index entries of a ReplicaSet.
pub fn index_set(set: &OwnedSet) -> Vec<String> {
    if set.owner == Owner::Nobody { vec![ORPHANS.into()] } else { Vec::new() }
}

/// What the caches say about one Rollout. Names the ReplicaSet that cannot be read, if there is one: a
/// decision without it would be about another world.
///
/// # Errors
/// The name of the ReplicaSet and what is wrong with it.
pub fn world(
    rollout: Arc<Rollout>,
    sets: &Cache<OwnedSet>,
    services: &Cache<Service>,
    troubles: BTreeMap<String, String>,
    settings: Settings,
) -> Result<World, String> {
    let mut replica_sets = Vec::new();
    for (key, body) in sets.owned_by(&rollout.uid) {
        match body {
            Body::Good(owned) if matches!(&owned.owner, Owner::Rollout { uid, .. } if *uid == rollout.uid) => {
                replica_sets.push(Arc::clone(&owned.set));
            }
            Body::Good(_) => {}
            Body::Broken(problem) => return Err(format!("ReplicaSet {key} cannot be read: {problem}")),
        }
    }
    let mut orphans = Vec::new();
    if let Ok(spec) = &rollout.spec {
        for (key, body) in sets.indexed(ORPHANS) {
            let Some(owned) = body.good().filter(|_| *key.namespace == *rollout.namespace) else { continue };
            let selector = &spec.label_selector;
            if !owned.set.is_deleting && !selector.is_empty() && selector.matches(&owned.set.labels) {
                orphans.push(Arc::clone(&owned.set));
            }
        }
    }
    let found = service_names(&rollout).into_iter().filter_map(|name| {
        let service = services.get(&ObjectKey::new(rollout.namespace.as_str(), name.as_str()))?;
        Some((name.clone(), Service::clone(&service)))
    });
    let services = found.collect();
    Ok(World { rollout, replica_sets, orphans, services, traffic: Traffic::default(), troubles, settings })
}
