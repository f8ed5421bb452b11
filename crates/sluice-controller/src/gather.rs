//! Puts together what a decision looks at, from the caches. Asks nobody and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice_api::rollout::RolloutStatus;
use sluice_engine::analysis::Analyses;
use sluice_engine::spec::{self, OwnedSet, Owner};
use sluice_engine::trial::Trial;
use sluice_engine::world::{InvalidSpec, Pod, Rollout, Service, Settings, Traffic, Workload, World};

use crate::cache::{Body, Cache, ObjectKey, Slim};
use crate::selections::Selections;
use crate::{analysis, routes, workloads};

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
    let services = rollout.spec.as_ref().map(|spec| spec.strategy.services()).unwrap_or_default();
    services.into_iter().map(|(_, name)| name).collect()
}

/// The index entry by which the Rollouts of a Service are found.
pub fn service_entry(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The index entries of a Rollout: the Services that it names, the objects that its routes stand in, and the
/// workload whose template it runs.
pub fn index_rollout(rollout: &Rollout) -> Vec<String> {
    let names = service_names(rollout).into_iter();
    let services = names.map(|name| service_entry(&rollout.namespace, name));
    let objects = services.chain(routes::index(rollout)).chain(workloads::index(rollout));
    objects.chain(analysis::index(rollout)).collect()
}

/// The index entries of a Service: the Rollout whose name it carries.
pub fn index_service(service: &Service) -> Vec<String> {
    service.managed_by.iter().cloned().collect()
}

/// Where Services are found.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// What the watch has told.
    pub cache: &'a Cache<Service>,
    /// Since when they lead where they lead.
    pub selections: &'a Selections,
}

impl Services<'_> {
    fn get(self, key: &ObjectKey) -> Option<Service> {
        self.cache.get(key).map(|service| self.selections.complete(key, &service))
    }

    /// Services that carry the name of a Rollout.
    pub fn carrying(self, namespace: &str, name: &str) -> BTreeMap<String, Service> {
        let carrying = self.cache.indexed(name).into_iter().filter(|(key, _)| *key.namespace == *namespace);
        let complete = |(key, body): (ObjectKey, Body<Service>)| {
            Some((key.name.to_string(), self.selections.complete(&key, body.good()?)))
        };
        carrying.filter_map(complete).collect()
    }

    /// Services that carry the name of a Rollout and that its spec does not name.
    fn former(self, rollout: &Rollout) -> BTreeMap<String, Service> {
        // A spec that cannot be read may name any of them.
        if rollout.spec.is_err() {
            return BTreeMap::new();
        }
        let mut carrying = self.carrying(&rollout.namespace, &rollout.name);
        for name in service_names(rollout) {
            carrying.remove(name);
        }
        carrying
    }
}

/// The index entries of a ReplicaSet.
pub fn index_set(set: &OwnedSet) -> Vec<String> {
    if set.owner == Owner::Nobody { vec![ORPHANS.into()] } else { Vec::new() }
}

/// What is known of a Rollout's surroundings beside its ReplicaSets and Services.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// What traffic does now.
    pub traffic: Traffic,
    /// Its pods, if they had to be looked at.
    pub pods: Option<Vec<Pod>>,
    /// Why pods are not available, by name of their ReplicaSet.
    pub troubles: BTreeMap<String, String>,
    /// The workload that it names.
    pub workload: Option<Result<Arc<Workload>, String>>,
    /// Workloads that it does not stand in for any more.
    pub left_workloads: Vec<Arc<Workload>>,
    /// Its analysis runs, and what they are made of.
    pub analysis: Analyses,
    /// Its Experiments.
    pub trials: Vec<Arc<Trial>>,
}

/// What the caches say about one Rollout. Names the ReplicaSet that cannot be read, if there is one: a
/// decision without it would be about another world.
///
/// # Errors
/// The name of the ReplicaSet and what is wrong with it.
pub fn world(
    rollout: Arc<Rollout>,
    sets: &Cache<OwnedSet>,
    services: Services<'_>,
    surroundings: Surroundings,
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
        Some((name.clone(), service))
    });
    let (services, former_services) = (found.collect(), services.former(&rollout));
    let Surroundings { traffic, pods, troubles, workload, left_workloads, analysis, trials } = surroundings;
    Ok(World {
        rollout,
        replica_sets,
        orphans,
        services,
        former_services,
        workload,
        left_workloads,
        traffic,
        analysis,
        trials,
        pods,
        troubles,
        settings,
    })
}

/// What is left of a Rollout that is gone, or going.
#[derive(Debug)]
pub struct Remains {
    /// Workloads that were scaled down for it.
    pub left_workloads: Vec<Arc<Workload>>,
    /// Services that carry its name.
    pub services: BTreeMap<String, Service>,
    /// It is gone; else it is going, and may still be what its Services lead to.
    pub is_gone: bool,
}

/// What a decision looks at once a Rollout is gone, or going.
pub fn after(key: &ObjectKey, remains: Remains, settings: Settings) -> World {
    let Remains { left_workloads, services, is_gone } = remains;
    let (services, former_services) =
        if is_gone { (BTreeMap::new(), services) } else { (services, BTreeMap::new()) };
    let uid = left_workloads.iter().find_map(|workload| Some(workload.drained.as_ref()?.uid.clone()));
    let rollout = Rollout {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: uid.unwrap_or_default(),
        generation: 0,
        resource_version: String::new(),
        is_deleting: true,
        annotations: BTreeMap::new(),
        workload: None,
        spec: Err(InvalidSpec { message: "the Rollout is gone".into(), replicas: None }),
        status: RolloutStatus::default(),
    };
    World {
        rollout: Arc::new(rollout),
        replica_sets: Vec::new(),
        orphans: Vec::new(),
        services,
        former_services,
        workload: None,
        left_workloads,
        traffic: Traffic::default(),
        analysis: Analyses::default(),
        trials: Vec::new(),
        pods: None,
        troubles: BTreeMap::new(),
        settings,
    }
}
