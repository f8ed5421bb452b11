//! The CustomResourceDefinitions, made of the types.
//!
//! It decides names, columns, subresources and the form that the API server wants of a schema. What
//! the fields are is decided by the types; a schema is never stricter than Argo Rollouts' own, so that
//! every object stored there is accepted here.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::analysis::{AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplateSpec};
use crate::experiment::{ExperimentSpec, ExperimentStatus};
use crate::kind::{GROUP, VERSION};
use crate::rollout::{RolloutSpec, RolloutStatus};

/// Returns every CustomResourceDefinition, the Rollout's first.
pub fn all() -> Vec<Value> {
    vec![rollout(), analysis_template(), cluster_analysis_template(), analysis_run(), experiment()]
}

/// Returns the name of the file that a definition is kept in, such as `rollout-crd.yaml`.
pub fn file_name(crd: &Value) -> String {
    let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
    let mut name = String::new();
    for letter in kind.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    format!("{name}-crd.yaml")
}

/// Writes a definition as YAML that `kubectl apply` reads.
pub fn to_yaml(crd: &Value) -> String {
    let options = serde_yaml::ser_options! { prefer_block_scalars: false };
    let mut yaml = String::from("# Generated from the types of sluice-api.\n");
    let written = serde_yaml::to_fmt_writer_with_options(&mut yaml, &sorted(crd), options);
    // A JSON value always has a YAML form, and writing into a string cannot fail.
    debug_assert!(written.is_ok(), "{written:?}");
    yaml
}

fn rollout() -> Value {
    let mut spec = schema_of::<RolloutSpec>();
    spec["properties"]["selector"]["x-kubernetes-validations"] =
        json!([{"rule": "self == oldSelf", "message": ".spec.selector is immutable"}]);
    let mut crd = definition(&Names {
        kind: "Rollout",
        plural: "rollouts",
        short: "ro",
        scope: "Namespaced",
        description: "A workload whose updates go out step by step.",
        spec,
        status: Some(schema_of::<RolloutStatus>()),
        columns: vec![
            column("Desired", "integer", ".spec.replicas"),
            column("Current", "integer", ".status.replicas"),
            column("Up-to-date", "integer", ".status.updatedReplicas"),
            column("Available", "integer", ".status.availableReplicas"),
            age(),
        ],
    });
    crd["spec"]["versions"][0]["subresources"] = json!({
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.HPAReplicas",
            "labelSelectorPath": ".status.selector",
        },
    });
    crd
}

fn analysis_template() -> Value {
    definition(&Names {
        kind: "AnalysisTemplate",
        plural: "analysistemplates",
        short: "at",
        scope: "Namespaced",
        description: "Metrics that analysis runs in the same namespace are made of.",
        spec: schema_of::<AnalysisTemplateSpec>(),
        status: None,
        columns: vec![age()],
    })
}

fn cluster_analysis_template() -> Value {
    definition(&Names {
        kind: "ClusterAnalysisTemplate",
        plural: "clusteranalysistemplates",
        short: "cat",
        scope: "Cluster",
        description: "Metrics that analysis runs in any namespace are made of.",
        spec: schema_of::<AnalysisTemplateSpec>(),
        status: None,
        columns: vec![age()],
    })
}

fn analysis_run() -> Value {
    definition(&Names {
        kind: "AnalysisRun",
        plural: "analysisruns",
        short: "ar",
        scope: "Namespaced",
        description: "One run of some metrics, and its outcome.",
        spec: schema_of::<AnalysisRunSpec>(),
        status: Some(schema_of::<AnalysisRunStatus>()),
        columns: vec![column("Status", "string", ".status.phase"), age()],
    })
}

fn experiment() -> Value {
    definition(&Names {
        kind: "Experiment",
        plural: "experiments",
        short: "exp",
        scope: "Namespaced",
        description: "Several sets of pods side by side for a while, and analyses of them.",
        spec: schema_of::<ExperimentSpec>(),
        status: Some(schema_of::<ExperimentStatus>()),
        columns: vec![column("Status", "string", ".status.phase"), age()],
    })
}

struct Names {
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    scope: &'static str,
    description: &'static str,
    spec: Value,
    status: Option<Value>,
    columns: Vec<Value>,
}

fn definition(names: &Names) -> Value {
    let Names { kind, plural, short, scope, description, spec, status, columns } = names;
    let mut properties = json!({
        "apiVersion": {"type": "string", "description": "Group and version."},
        "kind": {"type": "string", "description": "Kind."},
        "metadata": {"type": "object"},
        "spec": spec,
    });
    if let Some(status) = status {
        properties["status"] = status.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
                "shortNames": [short],
            },
            "scope": scope,
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {
                    "description": description,
                    "type": "object",
                    "properties": properties,
                    "required": ["spec"],
                }},
            }],
        },
    })
}

fn column(name: &str, r#type: &str, path: &str) -> Value {
    json!({"name": name, "type": r#type, "jsonPath": path})
}

fn age() -> Value {
    column("Age", "date", ".metadata.creationTimestamp")
}

fn schema_of<T: JsonSchema>() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    structural(T::json_schema(&mut generator).to_value())
}

/// Turns a JSON schema into the structural form that the API server wants: no null types, no
/// defaults but those that are asked for, no titles.
fn structural(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else {
        // `true` and `{}` mean anything at all.
        return json!({"x-kubernetes-preserve-unknown-fields": true});
    };
    let mut result = Map::new();
    // What an optional value may be besides null.
    if let Some(Value::Array(choices)) = schema.remove("anyOf") {
        let other = choices.into_iter().find(|choice| choice["type"] != "null");
        if let Value::Object(other) = structural(other.unwrap_or_default()) {
            result.extend(other);
        }
    }
    for (key, value) in schema {
        let kept = match key.as_str() {
            "type" => Some(match value {
                Value::Array(types) => types.into_iter().find(|name| name != "null").unwrap_or_default(),
                single => single,
            }),
            "description" => {
                value.as_str().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ").into())
            }
            "properties" => value.as_object().cloned().map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, field)| (name, structural(field)))
                    .collect::<Map<_, _>>()
                    .into()
            }),
            "items" | "additionalProperties" => match value {
                Value::Bool(_) => None,
                other => Some(structural(other)),
            },
            "enum" => value.as_array().cloned().map(|mut values| {
                values.retain(|value| !value.is_null());
                Value::Array(values)
            }),
            "format" => ["int32", "int64", "date-time"].iter().any(|known| value == *known).then_some(value),
            "required" | "x-default" => Some(value),
            other if other.starts_with("x-kubernetes-") => Some(value),
            _ => None,
        };
        if let Some(kept) = kept {
            // Defaults of Rust are not defaults of the API; those are marked as such.
            result.insert(if key == "x-default" { "default".to_owned() } else { key }, kept);
        }
    }
    Value::Object(result)
}

/// Returns the value with the keys of all objects in order, whatever order they were inserted in.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
