//! The Experiment that a step makes.
//!
//! What its pods run comes from the ReplicaSets of the two versions, as they are stored. Decisions do not know pod
//! templates, so [`fill_in`] puts them in when the Experiment is about to be created.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sluice_api::analysis::Argument;
use sluice_api::experiment::{ExperimentAnalysis, ExperimentSpec, TemplateSpec};
use sluice_api::meta::RawObject;
use sluice_api::steps::{ExperimentStepTemplate, TemplateService};
use sluice_api::{keys, kind};

use super::Setup;
use crate::analysis::resolve;
use crate::identity;
use crate::pass::Pass;
use crate::world::ReplicaSet;

/// An Experiment without its pod templates.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) spec: ExperimentSpec,
    /// For each template the ReplicaSet whose pods it runs.
    pub(super) pods_of: Vec<String>,
}

/// Makes what the step asks for.
///
/// # Errors
/// What is missing.
pub(super) fn make(pass: &Pass, setup: &Setup) -> Result<Made, String> {
    let stable = pass.stable.and_then(|stable| pass.set(stable));
    let stable = stable.ok_or("the stable ReplicaSet is missing")?;
    let canary = pass.set(pass.new).ok_or("the ReplicaSet of the new version is missing")?;
    let block = &setup.block;
    let mut pods_of = Vec::new();
    let mut templates = Vec::new();
    for given in &block.templates {
        let set = match given.spec_ref.as_str() {
            "stable" => stable,
            "canary" => canary,
            other => {
                return Err(format!(
                    "templates.{}.specRef: '{other}' is neither canary nor stable",
                    given.name
                ));
            }
        };
        pods_of.push(set.name.clone());
        templates.push(template(given, set));
    }
    let hashes = resolve::Hashes { stable: &pass.status.stable_rs, new: &pass.hash };
    let mut analyses = Vec::new();
    for (given, analysis) in block.analyses.iter().zip(&setup.analyses) {
        if let Some(problem) = &analysis.problem {
            return Err(problem.clone());
        }
        let argument = |argument: &sluice_api::steps::AnalysisRunArgument| -> Result<Argument, String> {
            let value = resolve::value(argument, hashes)?;
            Ok(Argument { name: argument.name.clone(), value: Some(value), ..Argument::default() })
        };
        analyses.push(ExperimentAnalysis {
            name: given.name.clone(),
            template_name: given.template_name.clone(),
            cluster_scope: given.cluster_scope,
            args: analysis.block.args.iter().map(argument).collect::<Result<_, _>>()?,
            required_for_completion: given.required_for_completion,
        });
    }
    let deadline = i32::try_from(pass.spec.progress_deadline.as_secs()).ok();
    let spec = ExperimentSpec {
        templates,
        duration: block.duration.clone(),
        progress_deadline_seconds: deadline,
        analyses,
        scale_down_delay_seconds: block.scale_down_delay_seconds,
        dry_run: block.dry_run.clone(),
        analysis_run_metadata: block.analysis_run_metadata.clone(),
        ..ExperimentSpec::default()
    };
    Ok(Made { spec, pods_of })
}

fn template(given: &ExperimentStepTemplate, set: &ReplicaSet) -> TemplateSpec {
    // A share of the traffic comes through a Service.
    let service = given.service.clone().or_else(|| given.weight.map(|_| TemplateService::default()));
    let more = json!({"metadata": {
        "labels": given.metadata.labels,
        "annotations": given.metadata.annotations,
    }});
    TemplateSpec {
        name: given.name.clone(),
        replicas: given.replicas,
        min_ready_seconds: i32::try_from(set.min_ready_seconds).unwrap_or(i32::MAX),
        selector: given.selector.clone(),
        template: serde_json::from_value::<RawObject>(more).ok(),
        service,
    }
}

/// The Experiment, complete but for its pod templates.
pub(super) fn complete(pass: &Pass, name: &str, spec: &ExperimentSpec) -> Value {
    let mut labels = Map::new();
    let selector = pass.spec.label_selector.match_labels.iter();
    labels.extend(selector.map(|(key, value)| (key.clone(), json!(value))));
    labels.insert(keys::POD_TEMPLATE_HASH.into(), json!(pass.hash));
    json!({
        "apiVersion": kind::API_VERSION,
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "namespace": pass.rollout.namespace,
            "labels": labels,
            "annotations": {keys::REVISION: pass.revision.to_string()},
            "ownerReferences": [identity::owner_reference(pass.rollout)],
        },
        "spec": spec,
    })
}

/// Puts the pod templates and selectors of ReplicaSets, as they are stored, into an Experiment. `pods_of` has a
/// ReplicaSet for each of its templates.
///
/// # Errors
/// The ReplicaSet that is missing.
pub fn fill_in(object: &mut Value, pods_of: &[String], sets: &BTreeMap<String, Value>) -> Result<(), String> {
    let Some(templates) = object.pointer_mut("/spec/templates").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    for (template, name) in templates.iter_mut().zip(pods_of) {
        let set = sets.get(name).ok_or_else(|| format!("ReplicaSet {name} is gone"))?;
        let more = template["template"]["metadata"].take();
        let mut pods = set["spec"]["template"].clone();
        merge_maps(&mut pods["metadata"]["labels"], &more["labels"]);
        merge_maps(&mut pods["metadata"]["annotations"], &more["annotations"]);
        if pods["metadata"]["annotations"].is_null()
            && let Some(metadata) = pods["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
        template["template"] = pods;
        if template.get("selector").is_none_or(Value::is_null) {
            template["selector"] = set["spec"]["selector"].clone();
        }
        merge_maps(&mut template["selector"]["matchLabels"], &more["labels"]);
    }
    Ok(())
}

fn merge_maps(into: &mut Value, more: &Value) {
    let Some(more) = more.as_object().filter(|more| !more.is_empty()) else { return };
    if !into.is_object() {
        *into = json!({});
    }
    if let Some(into) = into.as_object_mut() {
        into.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_those_of_the_version_with_what_the_step_adds() {
        let set = json!({"spec": {
            "selector": {"matchLabels": {"app": "web", "rollouts-pod-template-hash": "abc"}},
            "template": {
                "metadata": {"labels": {"app": "web", "rollouts-pod-template-hash": "abc"}},
                "spec": {"containers": [{"name": "app", "image": "web:1"}]},
            },
        }});
        let sets = BTreeMap::from([("web-abc".to_owned(), set.clone())]);
        let mut object = json!({"spec": {"templates": [
            {"name": "a", "template": {"metadata": {"labels": {"side": "a"}, "annotations": {"n": "1"}}}},
            {"name": "b", "template": {"metadata": {}}, "selector": {"matchLabels": {"only": "b"}}},
        ]}});
        let pods_of = ["web-abc".to_owned(), "web-abc".to_owned()];
        fill_in(&mut object, &pods_of, &sets).expect("it is there");
        let templates = &object["spec"]["templates"];
        assert_eq!(
            templates[0]["template"]["metadata"],
            json!({
                "labels": {"app": "web", "rollouts-pod-template-hash": "abc", "side": "a"},
                "annotations": {"n": "1"},
            })
        );
        assert_eq!(templates[0]["template"]["spec"], set["spec"]["template"]["spec"]);
        assert_eq!(
            templates[0]["selector"]["matchLabels"],
            json!({"app": "web", "rollouts-pod-template-hash": "abc", "side": "a"})
        );
        assert_eq!(templates[1]["template"], set["spec"]["template"]);
        assert_eq!(templates[1]["selector"], json!({"matchLabels": {"only": "b"}}));
        let gone = fill_in(&mut object, &["other".to_owned()], &sets);
        assert_eq!(gone, Err("ReplicaSet other is gone".to_owned()));
    }
}
