//! Puts together what a decision looks at, from the caches. Asks nobody and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice_api::validation::validate_rollout;
use sluice_engine::spec::{self, OwnedSet, Owner};
use sluice_engine::world::{Pod, Rollout, Service, Settings, Traffic, World};

use crate::cache::{Body, Cache, ObjectKey};
use crate::routes;

/// The index entry of ReplicaSets that nobody owns.
pub const ORPHANS: &str = "orphans";

/// Takes a Rollout over from its JSON, with what validation says of it.
///
/// # Errors
/// The object is no Rollout at all.
pub fn read_rollout(object: Value) -> Result<Rollout, String> {
    let (rollout, problems) = sluice_api::parse_rollout(object);
    // What cannot be read was left out, so what is said of the rest would be about another object.
    let problem = match problems.first() {
        Some(problem) => Some(problem.to_string()),
        None => validate_rollout(&rollout, false).first().map(ToString::to_string),
    };
    let mut rollout = spec::rollout(rollout, problem);
    routes::mark_unsupported(&mut rollout);
    Ok(rollout)
}

/// Takes a ReplicaSet over from its JSON.
///
/// # Errors
/// What of it cannot be read.
pub fn read_set(object: Value) -> Result<OwnedSet, String> {
    spec::replica_set(object).map_err(|error| error.to_string())
}

/// Takes a Service over from its JSON.
///
/// # Errors
/// What of it cannot be read.
pub fn read_service(object: Value) -> Result<Service, String> {
    spec::service(object).map_err(|error| error.to_string())
}

/// The Services that a Rollout names.
pub fn service_names(rollout: &Rollout) -> Vec<&String> {
    let services = rollout.spec.as_ref().map(|spec| spec.strategy.services()).unwrap_or_default();
    services.into_iter().map(|(_, name)| name).collect()
}

/// The index entries of a Rollout: the Services that it names, and the objects that its routes stand in.
pub fn index_rollout(rollout: &Rollout) -> Vec<String> {
    let services = service_names(rollout).into_iter().map(|name| format!("{}/{name}", rollout.namespace));
    services.chain(routes::index(rollout)).collect()
}

/// The index entries of a Service: the Rollout whose name it carries.
pub fn index_service(service: &Service) -> Vec<String> {
    service.managed_by.iter().cloned().collect()
}

/// Services that carry the name of a Rollout and that its spec does not name.
pub fn former_services(rollout: &Rollout, services: &Cache<Service>) -> BTreeMap<String, Service> {
    // A spec that cannot be read may name any of them.
    if rollout.spec.is_err() {
        return BTreeMap::new();
    }
    let named = service_names(rollout);
    let carrying = services.indexed(&rollout.name).into_iter();
    carrying
        .filter(|(key, _)| *key.namespace == *rollout.namespace)
        .filter(|(key, _)| !named.iter().any(|name| **name == *key.name))
        .filter_map(|(key, body)| Some((key.name.to_string(), Service::clone(body.good()?))))
        .collect()
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
    traffic: Traffic,
    pods: Option<Vec<Pod>>,
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
    let former_services = former_services(&rollout, services);
    let services = found.collect();
    Ok(World { rollout, replica_sets, orphans, services, former_services, traffic, pods, troubles, settings })
}
