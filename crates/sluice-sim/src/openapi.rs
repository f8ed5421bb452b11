//! OpenAPI documents, as far as kubectl reads them.
//!
//! Enough for `kubectl apply` to see that the server validates fields, and for `kubectl explain` to show
//! names and types. There are no descriptions of built-in kinds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    builtin::types,
    cluster::Cluster,
    request::Reply,
    resource::{Registry, Resource},
    status::Status,
    typed::{ListKind, Scalar, Shape, Type},
};

/// Documents that were made already, for one revision of the table of kinds.
#[derive(Debug, Default)]
pub struct Documents(Mutex<(u64, BTreeMap<String, Bytes>)>);

/// Answers a path below `/openapi`.
pub fn answer(cluster: &Cluster, path: &str, accept: &str) -> Option<Reply> {
    if accept.contains("protobuf") && !accept.contains("json") && !accept.contains("*/*") {
        let status = Status::not_acceptable(&["application/json"]);
        return Some(Reply::value(406, &status.to_value()));
    }
    let state = cluster.state();
    let registry = &state.registry;
    let mut cache = cluster.0.documents.0.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.0 != registry.revision {
        *cache = (registry.revision, BTreeMap::new());
    }
    if let Some(bytes) = cache.1.get(path) {
        return Some(Reply::json(200, bytes.clone()));
    }
    let document = match path {
        "/openapi/v3" => index(registry),
        "/openapi/v2" => version_2(registry),
        _ => version_3(registry, path.strip_prefix("/openapi/v3/")?)?,
    };
    let bytes = Bytes::from(document.to_string());
    cache.1.insert(path.to_owned(), bytes.clone());
    Some(Reply::json(200, bytes))
}

fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for resource in registry.all() {
        for version in &resource.versions {
            let path = group_path(&resource.group, &version.name);
            let url = format!("/openapi/v3/{path}?hash={}", registry.revision);
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// Go-style name of a type in a document.
fn definition_name(resource: &Resource, version: &str) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').filter(|part| !part.is_empty()).collect();
    parts.reverse();
    parts.push(version);
    parts.push(&resource.kind);
    if resource.custom { parts.join(".") } else { format!("io.k8s.api.{}", parts.join(".")) }
}

fn kind_of(resource: &Resource, version: &str) -> Value {
    json!({"group": resource.group, "version": version, "kind": &*resource.kind})
}

fn resource_paths(resource: &Resource, version: &str, reference: &str, old: bool) -> Vec<(String, Value)> {
    let base = group_path(&resource.group, version);
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let gvk = kind_of(resource, version);
    let answer = if old {
        json!({"200": {"description": "OK", "schema": {"$ref": reference}}})
    } else {
        json!({"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": reference}}}}})
    };
    let parameter = |name: &str| {
        if old {
            json!({"name": name, "in": "query", "type": "string", "uniqueItems": true})
        } else {
            json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
        }
    };
    let operation = |action: &str| json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")], "responses": answer});
    vec![
        (
            format!("/{base}{scope}/{}", resource.plural),
            json!({"get": operation("list"), "post": operation("post")}),
        ),
        (
            format!("/{base}{scope}/{}/{{name}}", resource.plural),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}),
        ),
    ]
}

/// The schema of a built-in type; types it refers to are added to `all`.
fn schema(ty: &Type, prefix: &str, all: &mut Map<String, Value>) -> Value {
    if let Some(name) = ty.name {
        let name = format!("io.k8s.{name}");
        if !all.contains_key(&name) {
            all.insert(name.clone(), Value::Null);
            let body = shape(ty, prefix, all);
            all.insert(name.clone(), body);
        }
        return json!({"$ref": format!("{prefix}{name}")});
    }
    shape(ty, prefix, all)
}

fn shape(ty: &Type, prefix: &str, all: &mut Map<String, Value>) -> Value {
    match &ty.shape {
        Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String | Scalar::Quantity => json!({"type": "string"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
            Scalar::Integer => json!({"type": "integer", "format": "int32"}),
            Scalar::Long => json!({"type": "integer", "format": "int64"}),
            Scalar::Number => json!({"type": "number"}),
            Scalar::Boolean => json!({"type": "boolean"}),
            Scalar::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        },
        Shape::Map(item) => json!({"type": "object", "additionalProperties": schema(item, prefix, all)}),
        Shape::List { item, list } => {
            let mut out = json!({"type": "array", "items": schema(item, prefix, all)});
            match list {
                ListKind::Atomic => out["x-kubernetes-list-type"] = Value::from("atomic"),
                ListKind::Set => out["x-kubernetes-list-type"] = Value::from("set"),
                ListKind::Map(keys) => {
                    out["x-kubernetes-list-type"] = Value::from("map");
                    out["x-kubernetes-list-map-keys"] = json!(keys);
                }
            }
            out
        }
        Shape::Struct { fields, .. } => {
            let mut properties = Map::new();
            let mut required = Vec::new();
            for (name, field) in fields {
                let mut one = schema(&field.ty, prefix, all);
                if let Some(key) = &field.merge_key {
                    one["x-kubernetes-patch-strategy"] = Value::from("merge");
                    if !key.is_empty() {
                        one["x-kubernetes-patch-merge-key"] = Value::from(key.as_str());
                    }
                }
                properties.insert(name.clone(), one);
                if field.required {
                    required.push(name.as_str());
                }
            }
            let mut out = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                out["required"] = json!(required);
            }
            if ty.atomic {
                out["x-kubernetes-map-type"] = Value::from("atomic");
            }
            out
        }
    }
}

/// Adds the schema of a kind, under the name it has in documents.
fn add_kind(resource: &Resource, index: usize, prefix: &str, all: &mut Map<String, Value>) -> String {
    let version = &resource.versions[index];
    let name = definition_name(resource, &version.name);
    let mut body = match &version.raw_schema {
        Some(raw) => {
            let mut body = (**raw).clone();
            if body["properties"].is_object() {
                let metadata =
                    types::find("meta.v1.ObjectMeta").map_or(Value::Null, |ty| schema(&ty, prefix, all));
                body["properties"]["metadata"] = metadata;
            }
            body
        }
        None => shape(&version.ty, prefix, all),
    };
    body["x-kubernetes-group-version-kind"] = json!([kind_of(resource, &version.name)]);
    all.insert(name.clone(), body);
    name
}

fn version_3(registry: &Registry, path: &str) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    let prefix = "#/components/schemas/";
    for resource in registry.all() {
        for (index, version) in resource.versions.iter().enumerate() {
            if group_path(&resource.group, &version.name) == path {
                let name = add_kind(resource, index, prefix, &mut schemas);
                paths.extend(resource_paths(resource, &version.name, &format!("{prefix}{name}"), false));
            }
        }
    }
    if paths.is_empty() {
        return None;
    }
    Some(
        json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "sluice"}, "paths": paths, "components": {"schemas": schemas}}),
    )
}

fn version_2(registry: &Registry) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    let prefix = "#/definitions/";
    for resource in registry.all() {
        for (index, version) in resource.versions.iter().enumerate() {
            let name = add_kind(resource, index, prefix, &mut definitions);
            paths.extend(resource_paths(resource, &version.name, &format!("{prefix}{name}"), true));
        }
    }
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "sluice"}, "paths": paths, "definitions": definitions})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_somewhere() {
        let document = version_3(&Registry::builtin(), "apis/apps/v1").expect("a document");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("a name");
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(
            schemas.values().any(|one| one["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment")
        );
    }
}
