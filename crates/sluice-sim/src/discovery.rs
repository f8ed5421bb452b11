//! Documents that tell clients what there is: versions, groups, kinds, health.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    openapi,
    request::Reply,
    resource::{Registry, Resource},
};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Answers the path of a document; `None` if it is none.
pub fn answer(cluster: &Cluster, path: &str, accept: &str) -> Option<Reply> {
    let trimmed = path.trim_end_matches('/');
    let aggregated = accept.split(',').any(|one| {
        one.contains("as=APIGroupDiscoveryList")
            && one.contains("v=v2;") | one.ends_with("v=v2") | one.contains("v=v2 ")
    });
    Some(match trimmed {
        "" => Reply::value(
            200,
            &json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        ),
        "/version" => Reply::value(200, &version(cluster)),
        "/healthz" | "/readyz" | "/livez" => Reply::text(200, "ok"),
        "/api" if aggregated => group_list(&cluster.state().registry, true),
        "/apis" if aggregated => group_list(&cluster.state().registry, false),
        "/api" => Reply::value(
            200,
            &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]}),
        ),
        "/apis" => {
            let state = cluster.state();
            let groups: Vec<Value> = groups(&state.registry)
                .iter()
                .filter(|name| !name.is_empty())
                .map(|name| group(&state.registry, name))
                .collect();
            Reply::value(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/api/v1" => resources(&cluster.state().registry, "", "v1")?,
        _ if trimmed.starts_with("/openapi") => return openapi::answer(cluster, trimmed, accept),
        _ => {
            let rest = trimmed.strip_prefix("/apis/")?;
            let state = cluster.state();
            match rest.split_once('/') {
                None => {
                    if rest.is_empty() || !groups(&state.registry).iter().any(|name| name == rest) {
                        return None;
                    }
                    let mut out = group(&state.registry, rest);
                    out["kind"] = Value::from("APIGroup");
                    out["apiVersion"] = Value::from("v1");
                    Reply::value(200, &out)
                }
                Some((group, version)) => resources(&state.registry, group, version)?,
            }
        }
    })
}

fn version(cluster: &Cluster) -> Value {
    let (major, minor) = cluster.0.options.server_version;
    json!({
        "major": major.to_string(), "minor": minor.to_string(), "gitVersion": format!("v{major}.{minor}.0+sluice"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": "sim",
    })
}

fn groups(registry: &Registry) -> Vec<String> {
    let mut out: Vec<String> = registry.all().map(|resource| resource.group.clone()).collect();
    out.dedup();
    out
}

/// Served versions of a group, preferred first.
fn versions(registry: &Registry, group: &str) -> Vec<String> {
    let mut out = Vec::new();
    for resource in registry.all().filter(|resource| resource.group == group) {
        for version in &resource.versions {
            if !out.contains(&version.name) {
                out.push(version.name.clone());
            }
        }
    }
    out
}

fn group(registry: &Registry, name: &str) -> Value {
    let list: Vec<Value> = versions(registry, name)
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": list, "preferredVersion": list[0]})
}

fn verbs(resource: &Resource) -> Vec<&'static str> {
    if resource.custom {
        return vec!["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    }
    if resource.traits.virtual_only { vec!["create"] } else { VERBS.to_vec() }
}

fn subresource_kind(resource: &Resource, subresource: &str) -> (String, String, String, Vec<&'static str>) {
    match subresource {
        "scale" => {
            ("autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned(), vec!["get", "patch", "update"])
        }
        "eviction" => ("policy".to_owned(), "v1".to_owned(), "Eviction".to_owned(), vec!["create"]),
        "binding" => (String::new(), String::new(), "Binding".to_owned(), vec!["create"]),
        "log" => (String::new(), String::new(), resource.kind.to_string(), vec!["get"]),
        "finalize" => (String::new(), String::new(), resource.kind.to_string(), vec!["update"]),
        _ => (String::new(), String::new(), resource.kind.to_string(), vec!["get", "patch", "update"]),
    }
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Reply> {
    let mut list = Vec::new();
    for resource in registry.all().filter(|resource| resource.group == group) {
        let Some(index) = resource.version(version) else { continue };
        let mut one = json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": &*resource.kind, "verbs": verbs(resource)});
        if !resource.short_names.is_empty() {
            one["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            one["categories"] = json!(resource.categories);
        }
        list.push(one);
        for subresource in resource.subresources(index) {
            let (group, version, kind, verbs) = subresource_kind(resource, subresource);
            let mut one = json!({"name": format!("{}/{subresource}", resource.plural), "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": verbs});
            if !group.is_empty() {
                one["group"] = Value::from(group);
                one["version"] = Value::from(version);
            }
            list.push(one);
        }
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Reply::value(
        200,
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    ))
}

fn group_list(registry: &Registry, core: bool) -> Reply {
    let mut items = Vec::new();
    for name in groups(registry).iter().filter(|name| name.is_empty() == core) {
        let mut served = Vec::new();
        for version in versions(registry, name) {
            let mut list = Vec::new();
            for resource in registry.all().filter(|resource| resource.group == *name) {
                let Some(index) = resource.version(&version) else { continue };
                let response = json!({"group": name, "version": version, "kind": &*resource.kind});
                let mut one = json!({
                    "resource": resource.plural, "responseKind": response, "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                    "singularResource": resource.singular, "verbs": verbs(resource),
                });
                if !resource.short_names.is_empty() {
                    one["shortNames"] = json!(resource.short_names);
                }
                if !resource.categories.is_empty() {
                    one["categories"] = json!(resource.categories);
                }
                let subresources: Vec<Value> = (resource.subresources(index).into_iter())
                    .map(|subresource| {
                        let (mut group, mut spoken, kind, verbs) = subresource_kind(resource, subresource);
                        if group.is_empty() && spoken.is_empty() {
                            group.clone_from(name);
                            spoken.clone_from(&version);
                        }
                        json!({"subresource": subresource, "responseKind": {"group": group, "version": spoken, "kind": kind}, "verbs": verbs})
                    })
                    .collect();
                if !subresources.is_empty() {
                    one["subresources"] = Value::Array(subresources);
                }
                list.push(one);
            }
            served.push(json!({"version": version, "resources": list, "freshness": "Current"}));
        }
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        items.push(json!({"metadata": metadata, "versions": served}));
    }
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let mut reply = Reply::json(200, Bytes::from(list.to_string()));
    reply.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed_once() {
        let registry = Registry::builtin();
        assert_eq!(versions(&registry, "apps"), ["v1"]);
        let names = groups(&registry);
        assert!(names.contains(&"apps".to_owned()) && names.contains(&String::new()));
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(resources(&registry, "apps", "v1").is_some() && resources(&registry, "apps", "v2").is_none());
    }
}
