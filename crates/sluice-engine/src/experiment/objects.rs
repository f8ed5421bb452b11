//! The objects that an Experiment makes: ReplicaSets, Services and analysis runs.
//!
//! Names, labels and annotations are those of Argo Rollouts v1.10, `experiments/replicaset.go` and
//! `experiments/service.go`, so that either controller finds what the other made. One difference: the hash is taken
//! of the Experiment's uid and the template's name too. Otherwise two templates of the same pods, or an Experiment and
//! the Rollout that it belongs to, could select each other's pods.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sluice_api::analysis::AnalysisRunSpec;
use sluice_api::experiment::TemplateSpec;
use sluice_api::{Experiment, keys, kind, step_hash};

use crate::template;

/// The name of an Experiment.
pub fn name(experiment: &Experiment) -> &str {
    experiment.metadata.name.as_deref().unwrap_or_default()
}

/// The name of the ReplicaSet of a template, with the names that turned out to be taken counted.
pub fn set_name(experiment: &Experiment, template: &TemplateSpec, collisions: Option<i32>) -> String {
    let base = format!("{}-{}", name(experiment), template.name);
    match collisions {
        Some(count) if count > 0 => format!("{base}-{count}"),
        Some(_) | None => base,
    }
}

/// The name of the Service of a template; `None`: it asks for none.
pub fn service_name(experiment: &Experiment, template: &TemplateSpec) -> Option<String> {
    let service = template.service.as_ref()?;
    Some(if service.name.is_empty() { set_name(experiment, template, None) } else { service.name.clone() })
}

/// The hash that the pods of a template get.
pub fn hash(experiment: &Experiment, template: &TemplateSpec) -> String {
    let pods = template.template.as_ref().map_or(Value::Null, sluice_api::meta::RawObject::to_value);
    let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
    let bytes = format!("{uid}/{}/{}", template.name, template::pod_template_hash(&pods, None));
    step_hash::safe_encode(step_hash::fnv1a_32(bytes.as_bytes()))
}

/// The pod template as it stands in the ReplicaSet, and its labels.
fn pods(template: &TemplateSpec, hash: &str) -> (Value, Value) {
    let mut pods =
        template.template.as_ref().map_or_else(|| json!({}), sluice_api::meta::RawObject::to_value);
    if !pods.get("metadata").is_some_and(Value::is_object) {
        pods["metadata"] = json!({});
    }
    if !pods["metadata"].get("labels").is_some_and(Value::is_object) {
        pods["metadata"]["labels"] = json!({});
    }
    pods["metadata"]["labels"][keys::POD_TEMPLATE_HASH] = hash.into();
    let labels = pods["metadata"]["labels"].clone();
    (pods, labels)
}

fn metadata(experiment: &Experiment, name: &str, template: &str, labels: &Value) -> Value {
    json!({
        "name": name,
        "namespace": experiment.metadata.namespace.as_deref().unwrap_or_default(),
        "labels": labels,
        "annotations": {
            keys::EXPERIMENT_NAME: self::name(experiment),
            keys::EXPERIMENT_TEMPLATE_NAME: template,
        },
        "ownerReferences": [owner_reference(experiment)],
    })
}

/// The ReplicaSet of a template.
pub fn replica_set(
    experiment: &Experiment,
    template: &TemplateSpec,
    name: &str,
    hash: &str,
    size: i64,
) -> Value {
    let (pods, labels) = pods(template, hash);
    let mut selector =
        serde_json::to_value(template.selector.clone().unwrap_or_default()).unwrap_or_default();
    if !selector.get("matchLabels").is_some_and(Value::is_object) {
        selector["matchLabels"] = json!({});
    }
    selector["matchLabels"][keys::POD_TEMPLATE_HASH] = hash.into();
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata(experiment, name, &template.name, &labels),
        "spec": {"replicas": size, "selector": selector, "template": pods},
    });
    if template.min_ready_seconds > 0 {
        object["spec"]["minReadySeconds"] = template.min_ready_seconds.into();
    }
    object
}

/// The Service of a template; `None`: no container has a port.
pub fn service(experiment: &Experiment, template: &TemplateSpec, name: &str, hash: &str) -> Option<Value> {
    let ports = ports(template);
    if ports.is_empty() {
        return None;
    }
    let (_, labels) = pods(template, hash);
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(experiment, name, &template.name, &labels),
        "spec": {"selector": labels, "ports": ports},
    });
    Some(object)
}

/// Whether any container of a template has a port.
pub fn has_ports(template: &TemplateSpec) -> bool {
    !ports(template).is_empty()
}

/// One port of a Service for each port of a container.
fn ports(template: &TemplateSpec) -> Vec<Value> {
    let containers = template.template.as_ref().and_then(|pods| pods.at(&["spec", "containers"]));
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    let mut found = Vec::new();
    for port in containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()) {
        let Some(number) = port["containerPort"].as_i64() else { continue };
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if !found.iter().any(|(_, other, n)| (*other, *n) == (protocol, number)) {
            found.push((port["name"].as_str().filter(|name| !name.is_empty()), protocol, number));
        }
    }
    let is_single = found.len() == 1;
    let mut names = BTreeSet::new();
    let object = |(name, protocol, number): (Option<&str>, &str, i64)| {
        let mut object = json!({"protocol": protocol, "port": number, "targetPort": number});
        // A Service of several ports wants a name for each, and no name twice.
        match name.filter(|name| names.insert(name.to_string())) {
            Some(name) => object["name"] = name.into(),
            None if is_single => {}
            None => object["name"] = format!("{}-{number}", protocol.to_lowercase()).into(),
        }
        object
    };
    found.into_iter().map(object).collect()
}

/// The run of an analysis.
pub fn analysis_run(experiment: &Experiment, name: &str, spec: &AnalysisRunSpec) -> Value {
    let given = &experiment.spec.analysis_run_metadata;
    let map = |entries: &std::collections::BTreeMap<String, String>| {
        let entries = entries.iter().map(|(key, value)| (key.clone(), json!(value)));
        Value::Object(entries.collect::<Map<String, Value>>())
    };
    json!({
        "apiVersion": kind::API_VERSION,
        "kind": "AnalysisRun",
        "metadata": {
            "name": name,
            "namespace": experiment.metadata.namespace.as_deref().unwrap_or_default(),
            "labels": map(&given.labels),
            "annotations": map(&given.annotations),
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": spec,
    })
}

/// The reference by which an Experiment owns an object.
pub fn owner_reference(experiment: &Experiment) -> Value {
    json!({
        "apiVersion": kind::API_VERSION,
        "kind": "Experiment",
        "name": name(experiment),
        "uid": experiment.metadata.uid.as_deref().unwrap_or_default(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}
