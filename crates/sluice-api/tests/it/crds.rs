//! The definitions in `deploy/crds` are those that the types give, and the API server can take them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use sluice_api::crds;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds"))
}

#[test]
fn files_are_up_to_date() {
    let bless = std::env::var_os("SLUICE_BLESS").is_some_and(|value| value == "1");
    let mut expected = BTreeSet::new();
    for crd in crds::all() {
        let name = crds::file_name(&crd);
        let path = folder().join(&name);
        let yaml = crds::to_yaml(&crd);
        if bless {
            std::fs::write(&path, &yaml).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == yaml, "{name} differs from what the types give; run this test with SLUICE_BLESS=1");
        expected.insert(name);
    }
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn files_fit_plain_kubectl_apply() {
    // The whole object also has to fit into an annotation, as JSON.
    const LIMIT_BYTES: usize = 262_144;
    for crd in crds::all() {
        let name = crds::file_name(&crd);
        let yaml = crds::to_yaml(&crd);
        assert!(yaml.len() < LIMIT_BYTES, "{name} has {} bytes", yaml.len());
        let annotation = json!({"kubectl.kubernetes.io/last-applied-configuration": crd.to_string()});
        assert!(
            annotation.to_string().len() < LIMIT_BYTES,
            "{name} has {} bytes as JSON",
            crd.to_string().len()
        );
    }
}

#[test]
fn yaml_reads_back_as_the_same_definition() {
    for crd in crds::all() {
        let yaml = crds::to_yaml(&crd);
        let read: Value = serde_yaml::from_str(&yaml).unwrap();
        assert_eq!(read, crd);
        // Forms that readers of YAML 1.1 and 1.2 disagree about.
        assert!(
            !yaml.contains(": |") && !yaml.contains(": >") && !yaml.contains('&') && !yaml.contains('\t')
        );
    }
}

#[test]
fn schemas_are_structural() {
    for crd in crds::all() {
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        check_schema(root, &crds::file_name(&crd));
    }
}

/// Checks what the API server demands of every node of a schema, and that ours say no more than that.
#[track_caller]
fn check_schema(schema: &Value, path: &str) {
    let object = schema.as_object().unwrap_or_else(|| panic!("{path}: not an object"));
    for key in object.keys() {
        let known = [
            "type",
            "description",
            "properties",
            "items",
            "additionalProperties",
            "required",
            "format",
            "enum",
            "default",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-validations",
        ];
        assert!(known.contains(&key.as_str()), "{path}: {key}");
    }
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let is_either = schema["x-kubernetes-int-or-string"] == true;
    assert_eq!(
        schema["type"].is_string(),
        !is_either && (!is_open || schema["type"] == "object"),
        "{path}: type"
    );
    match schema["type"].as_str() {
        Some("object") => {
            let has_properties = object.contains_key("properties");
            let has_additional = object.contains_key("additionalProperties");
            assert!(!(has_properties && has_additional), "{path}: both properties and additionalProperties");
            let is_leaf = is_open || path.ends_with(".metadata") || path.ends_with("DuringExecution");
            assert!(has_properties || has_additional || is_leaf, "{path}: everything in it would be pruned");
        }
        Some("array") => assert!(object.contains_key("items"), "{path}: no items"),
        Some("string" | "integer" | "boolean") | None => {}
        Some(other) => panic!("{path}: type {other}"),
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        check_schema(field, &format!("{path}.{name}"));
        let described = field["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(described || !path.contains("yaml."), "{path}.{name}: no description");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(schema["properties"][name.as_str().unwrap()].is_object(), "{path}: requires unknown {name}");
    }
    if object.contains_key("items") {
        check_schema(&schema["items"], &format!("{path}[]"));
    }
    if object.contains_key("additionalProperties") {
        check_schema(&schema["additionalProperties"], &format!("{path}{{}}"));
    }
}

#[test]
fn names_and_subresources_are_those_of_argo_rollouts() {
    let facts: Vec<Value> = crds::all()
        .iter()
        .map(|crd| {
            let (spec, version) = (&crd["spec"], &crd["spec"]["versions"][0]);
            let columns = version["additionalPrinterColumns"].as_array().unwrap();
            let columns: Vec<&str> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
            let names = &spec["names"];
            json!([
                crd["metadata"]["name"],
                names["kind"],
                names["shortNames"],
                spec["scope"],
                version["subresources"],
                columns
            ])
        })
        .collect();
    insta::assert_json_snapshot!(facts);
}

#[test]
fn schema_shapes() {
    let spec = |kind: usize| {
        crds::all()[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    };
    let at = |kind: usize, path: &str| {
        let mut schema = spec(kind);
        for key in path.split('.') {
            let step = if key == "[]" { "items" } else { "properties" };
            schema = if step == "items" { schema[step].clone() } else { schema[step][key].clone() };
        }
        schema.as_object_mut().unwrap().remove("description");
        schema
    };
    const ROLLOUT: usize = 0;
    const RUN: usize = 3;
    const EXPERIMENT: usize = 4;
    let raw = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    // kind, path => schema without its description
    for (kind, path, expected) in [
        (ROLLOUT, "replicas", json!({"type": "integer", "format": "int32"})),
        (ROLLOUT, "restartAt", json!({"type": "string", "format": "date-time"})),
        (ROLLOUT, "template", raw.clone()),
        (ROLLOUT, "strategy.canary.maxSurge", json!({"x-kubernetes-int-or-string": true})),
        (ROLLOUT, "strategy.canary.trafficRouting.plugins", raw.clone()),
        (ROLLOUT, "strategy.canary.trafficRouting.gatewayAPI", raw.clone()),
        (
            ROLLOUT,
            "strategy.canary.trafficRouting.istio.virtualService.tlsRoutes.[].port",
            json!({"type": "integer", "format": "int64"}),
        ),
        (ROLLOUT, "strategy.canary.steps.[].plugin.config", raw.clone()),
        (
            ROLLOUT,
            "strategy.canary.canaryMetadata.labels",
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        (RUN, "metrics.[].provider.job.spec", raw.clone()),
        (
            RUN,
            "metrics.[].provider.datadog.apiVersion",
            json!({"type": "string", "default": "v1", "enum": ["v1", "v2"]}),
        ),
        (RUN, "metrics.[].provider.datadog.requestTimeout", json!({"type": "string", "default": "10s"})),
        (RUN, "metrics.[].count", json!({"x-kubernetes-int-or-string": true})),
        (EXPERIMENT, "templates.[].template", raw),
    ] {
        assert_eq!(at(kind, path), expected, "{path}");
    }
    assert_eq!(spec(ROLLOUT)["required"], Value::Null);
    assert_eq!(at(RUN, "metrics.[]")["required"], json!(["name", "provider"]));
}
