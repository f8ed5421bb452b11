//! Every field that Argo Rollouts knows is read, written back, and part of the schema.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_api::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment, Rollout, crds, parse};

fn read(file: &str) -> Value {
    let path = format!("{}/tests/it/every-field/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn check<K: DeserializeOwned + Default + Serialize>(file: &str) {
    let object = read(file);
    let (parsed, problems) = parse::<K>(object.clone());
    assert_eq!(problems, [], "{file}");
    let written = serde_json::to_value(&parsed).unwrap();
    for part in ["apiVersion", "kind", "spec", "status"] {
        assert_eq!(written[part], object[part], "{file}");
    }
    let crd = crds::all().into_iter().find(|crd| crd["spec"]["names"]["kind"] == object["kind"]).unwrap();
    check_pruning(&object, &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], file);
}

/// Checks that the API server would drop nothing.
#[track_caller]
fn check_pruning(value: &Value, schema: &Value, path: &str) {
    assert!(schema.is_object(), "{path}: not in the schema");
    if schema["x-kubernetes-preserve-unknown-fields"] == true || path.ends_with(".metadata") {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, field) in map {
                let known = &schema["properties"][key];
                let known = if known.is_null() { &schema["additionalProperties"] } else { known };
                check_pruning(field, known, &format!("{path}.{key}"));
            }
        }
        Value::Array(list) => {
            for item in list {
                check_pruning(item, &schema["items"], &format!("{path}[]"));
            }
        }
        Value::String(text) => {
            let allowed =
                schema["enum"].as_array().is_none_or(|values| values.iter().any(|value| value == text));
            let fits = schema["type"] == "string" || schema["x-kubernetes-int-or-string"] == true;
            assert!(fits && allowed, "{path}: {text}");
        }
        Value::Number(number) => {
            let fits = schema["type"] == "integer" || schema["x-kubernetes-int-or-string"] == true;
            assert!(fits, "{path}: {number}");
        }
        Value::Bool(_) => assert_eq!(schema["type"], "boolean", "{path}"),
        Value::Null => panic!("{path}: null"),
    }
}

#[test]
fn every_field_survives() {
    check::<Rollout>("rollout-canary");
    check::<Rollout>("rollout-blue-green");
    check::<Rollout>("rollout-rolling-update");
    check::<AnalysisTemplate>("analysis-template");
    check::<ClusterAnalysisTemplate>("cluster-analysis-template");
    check::<AnalysisRun>("analysis-run");
    check::<Experiment>("experiment");
}

#[test]
fn every_field_of_the_types_is_among_them() {
    // The other way round: a field that is in no example was never compared with anything.
    for (kind, files) in [
        ("Rollout", vec!["rollout-canary", "rollout-blue-green", "rollout-rolling-update"]),
        ("AnalysisTemplate", vec!["analysis-template"]),
        ("AnalysisRun", vec!["analysis-run", "analysis-template"]),
        ("Experiment", vec!["experiment"]),
    ] {
        let crd = crds::all().into_iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let examples: Vec<Value> = files.into_iter().map(read).collect();
        for part in ["spec", "status"] {
            let found: Vec<&Value> = examples.iter().map(|example| &example[part]).collect();
            check_covered(&root[part], &found, &format!("{kind}.{part}"));
        }
    }
}

#[track_caller]
fn check_covered(schema: &Value, examples: &[&Value], path: &str) {
    // Blocks that stand in several places are written out in one of them only.
    let elsewhere = [
        ".analysis.",
        "PromotionAnalysis.",
        ".virtualServices[].",
        "AnalysisRunStatus.",
        ".authentication.",
        ".headerValue.",
        ".method.",
        ".path.",
        ".headers{}.",
        ".selector.",
        "Scope.",
        ".rollingUpdate.",
        ".antiAffinity.",
        ".args[].",
    ];
    if elsewhere.iter().any(|block| path.contains(block)) {
        return;
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let found: Vec<&Value> =
            examples.iter().map(|example| &example[name]).filter(|value| !value.is_null()).collect();
        let is_elsewhere = elsewhere.iter().any(|block| path.contains(block));
        assert!(!found.is_empty() || is_elsewhere, "{path}: in no example");
        check_covered(field, &found, &path);
    }
    if schema["items"].is_object() {
        let items: Vec<&Value> = examples.iter().filter_map(|example| example.as_array()).flatten().collect();
        check_covered(&schema["items"], &items, &format!("{path}[]"));
    }
}
