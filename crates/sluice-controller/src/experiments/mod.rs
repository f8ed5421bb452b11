//! Experiments in the shell: what is known of them, and who looks at them.
//!
//! Decides nothing about how an Experiment goes on: that is `sluice_engine::experiment`. What its runs measure is
//! the business of whoever looks at runs.

mod act;
pub mod looks;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice_api::Experiment;
use sluice_engine::analysis::{Run, RunOwner, Templates};
use sluice_engine::experiment::{FoundService, objects, reference};
use sluice_engine::spec::{OwnedSet, Owner};
use sluice_engine::trial::Trial;
use sluice_engine::world::{ReplicaSet, Service};

use crate::analysis::{self, AnalysisObjects};
use crate::cache::{Body, Cache, ObjectKey, Slim};

/// An Experiment in the cache. Those of a Rollout are found by its uid: [`Cache::owned_by`].
pub struct HeldExperiment {
    /// The object. One that has ended is kept without its pod templates, since no pod is made any more.
    pub object: Arc<Experiment>,
    /// A field of its spec that could not be read and was left out.
    pub malformed: Option<Box<str>>,
}

impl Slim for HeldExperiment {
    fn from_object(object: Value) -> Result<HeldExperiment, String> {
        let (mut object, problems) = sluice_api::parse::<Experiment>(object);
        let malformed = problems.iter().find(|problem| problem.path.starts_with("spec"));
        if object.metadata.name.is_none() {
            return Err("it has no name".into());
        }
        if let Some(annotations) = &mut object.metadata.annotations {
            annotations.remove(sluice_api::keys::LAST_APPLIED_CONFIGURATION);
        }
        if object.status.as_ref().is_some_and(|status| status.phase.is_terminal()) {
            for template in &mut object.spec.templates {
                template.template = None;
            }
        }
        let malformed = malformed.map(|problem| problem.to_string().into());
        Ok(HeldExperiment { object: Arc::new(object), malformed })
    }
}

/// The Experiments of a Rollout.
pub fn of(rollout_uid: &str, experiments: &Cache<HeldExperiment>) -> Vec<Arc<Trial>> {
    let owned = experiments.owned_by(rollout_uid).into_iter();
    let trials = owned.filter_map(|(_, body)| {
        let object = &body.good()?.object;
        owner(object).filter(|(_, uid)| *uid == rollout_uid)?;
        Some(Arc::new(Trial::of(object)))
    });
    trials.collect()
}

/// The Rollout that controls an Experiment: its name and uid.
pub fn owner(experiment: &Experiment) -> Option<(&str, &str)> {
    let owners = experiment.metadata.owner_references.iter().flatten();
    let mut rollouts = owners.filter(|owner| owner.controller == Some(true) && owner.kind == "Rollout");
    rollouts.next().map(|owner| (owner.name.as_str(), owner.uid.as_str()))
}

/// Whether a Rollout would see no difference between two Experiments.
pub fn is_same(old: &HeldExperiment, new: &HeldExperiment) -> bool {
    let without_version =
        |held: &HeldExperiment| Trial { resource_version: String::new(), ..Trial::of(&held.object) };
    without_version(old) == without_version(new)
}

/// What the caches say about what an Experiment owns, and what it would like to own.
pub(crate) struct Surroundings {
    pub sets: Vec<Arc<ReplicaSet>>,
    pub services: BTreeMap<String, FoundService>,
    pub runs: Vec<Arc<Run>>,
    pub templates: Templates,
}

/// Gathers what a decision looks at. Names the object that cannot be read, if there is one: a decision without it
/// would be about another world.
///
/// # Errors
/// The name of the ReplicaSet and what is wrong with it.
pub(crate) fn surroundings(
    experiment: &Experiment,
    sets: &Cache<OwnedSet>,
    services: &Cache<Service>,
    analysis: &AnalysisObjects,
) -> Result<Surroundings, String> {
    let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
    let namespace = experiment.metadata.namespace.as_deref().unwrap_or_default();
    let mut own_sets = Vec::new();
    for (key, body) in sets.owned_by(uid) {
        match body {
            Body::Good(owned) if matches!(&owned.owner, Owner::Experiment { uid: owner, .. } if owner == uid) =>
            {
                own_sets.push(Arc::clone(&owned.set));
            }
            Body::Good(_) => {}
            Body::Broken(problem) => return Err(format!("ReplicaSet {key} cannot be read: {problem}")),
        }
    }
    let is_own = |service: &Service| service.experiment.as_ref().is_some_and(|owner| owner.1 == uid);
    let own = services.owned_by(uid).into_iter().map(|(key, _)| key.name.to_string());
    let wanted = experiment.spec.templates.iter().filter_map(|t| objects::service_name(experiment, t));
    let mut found = BTreeMap::new();
    for name in own.chain(wanted) {
        if let Some(service) = services.get(&ObjectKey::new(namespace, name.as_str())) {
            let is_own = is_own(&service);
            found.insert(name, FoundService { is_own, service: Service::clone(&service) });
        }
    }
    // A Service that names it as an owner and is controlled by nobody is a person's.
    let is_wanted = |name: &String| {
        experiment.spec.templates.iter().any(|t| objects::service_name(experiment, t).as_ref() == Some(name))
    };
    found.retain(|name, service| service.is_own || is_wanted(name));
    let runs = analysis.runs.owned_by(uid).into_iter().filter_map(|(_, body)| {
        let held = body.good()?;
        let is_own = matches!(&held.owned.owner, RunOwner::Experiment(_, owner) if owner == uid);
        is_own.then(|| Arc::clone(&held.owned.run))
    });
    let references = experiment.spec.analyses.iter().map(reference).collect();
    let templates = analysis::templates_of(namespace, references, analysis);
    Ok(Surroundings { sets: own_sets, services: found, runs: runs.collect(), templates })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(more: &Value) -> HeldExperiment {
        let mut object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "ex", "namespace": "ns"},
            "spec": {"templates": [{"name": "a", "template": {"spec": {"containers": []}}}]},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        HeldExperiment::from_object(object).expect("it can be read")
    }

    #[test]
    fn pod_templates_are_kept_until_it_has_ended() {
        for (phase, is_kept) in [("", true), ("Running", true), ("Successful", false), ("Failed", false)] {
            let held = held(&json!({"status": {"phase": phase}}));
            assert_eq!(held.object.spec.templates[0].template.is_some(), is_kept, "{phase}");
        }
    }

    #[test]
    fn w06_a_bad_field_of_the_spec_is_named_and_one_of_the_status_is_left_out() {
        let held_bad = held(&json!({"spec": {"templates": [], "duration": 5}}));
        let malformed = held_bad.malformed.expect("it is named");
        assert!(malformed.starts_with("spec.duration: Invalid value: 5"), "{malformed}");
        let odd = held(&json!({"status": {"phase": "Odd", "message": "kept"}}));
        assert_eq!(odd.malformed, None);
        assert_eq!(odd.object.status.as_ref().map(|status| status.message.as_str()), Some("kept"));
    }
}
