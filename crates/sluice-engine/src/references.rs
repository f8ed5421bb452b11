//! Whether the objects that a spec refers to fit it.

use sluice_api::keys;

use crate::analysis;
use crate::world::{InvalidSpec, Spec, World};

/// Returns the first reference that does not hold, in the words of the condition.
pub fn check(world: &World, spec: &Spec) -> Option<InvalidSpec> {
    if let Some(Err(problem)) = &world.workload {
        return Some(InvalidSpec { message: problem.clone(), replicas: spec.replicas });
    }
    let problem = spec.strategy.services().into_iter().find_map(|(field, name)| {
        service(world, spec, name)
            .map(|problem| format!("spec.strategy.{field}: Invalid value: \"{name}\": {problem}"))
    });
    let problem = problem.or_else(|| analysis::check(world, spec))?;
    Some(InvalidSpec { message: problem, replicas: spec.replicas })
}

fn service(world: &World, spec: &Spec, name: &str) -> Option<String> {
    let Some(service) = world.services.get(name) else {
        return Some(format!("service \"{name}\" not found"));
    };
    if let Some(owner) = &service.managed_by
        && *owner != world.rollout.name
    {
        return Some(format!("Service \"{name}\" is managed by another Rollout"));
    }
    let labels = &spec.template.labels;
    let mismatch = service.selector.iter().find(|(key, value)| {
        key.as_str() != keys::POD_TEMPLATE_HASH && labels.get(key.as_str()) != Some(value)
    });
    mismatch.map(|(key, _)| format!("Service \"{name}\" has unmatch label \"{key}\" in rollout"))
}
