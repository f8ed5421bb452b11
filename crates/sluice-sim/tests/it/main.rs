//! The cluster as a client sees it, on virtual time.

mod clients;
mod faults;
mod workloads;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use sluice_sim::{Cluster, Options};

fn cluster() -> Cluster {
    Cluster::new(Options::default())
}

/// A definition of a small scalable kind, `Sample` in `x.io/v1`.
fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "samples.x.io"}, "spec": {
        "group": "x.io", "scope": "Namespaced", "names": {"plural": "samples", "kind": "Sample", "shortNames": ["sm"]},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["mode"], "properties": {"mode": {"type": "string", "enum": ["a", "b"]}, "replicas": {"type": "integer", "minimum": 0, "default": 1}}},
                "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}}}]}})
}

fn sample(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "x.io/v1", "kind": "Sample", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": value}})
}

fn dynamic(client: kube::Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
    Api::default_namespaced_with(client, &resource)
}

fn config_maps(cluster: &Cluster, identity: &str) -> Api<DynamicObject> {
    dynamic(cluster.client(identity), "", "ConfigMap", "configmaps")
}

fn parsed(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

#[track_caller]
fn code_of<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.expect_err("must be refused") {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("no answer: {other}"),
    }
}
