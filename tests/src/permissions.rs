//! Whether the role that we deploy allows what a controller asks.
//!
//! Decides by the audit of a simulated cluster, so every story says whether the role is wide enough.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;
use sluice_sim::Cluster;

/// A verb on a resource, which is named with its subresource, of a group.
type Permission = (String, String, String);

static ALLOWED: LazyLock<BTreeSet<Permission>> =
    LazyLock::new(|| allowed(include_str!("../../deploy/rbac/role.yaml")));

fn allowed(manifest: &str) -> BTreeSet<Permission> {
    let documents: Vec<Value> = serde_yaml::from_multiple(manifest).unwrap_or_default();
    let rules = documents.iter().flat_map(|document| document["rules"].as_array().into_iter().flatten());
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all
}

/// What `identity` has asked of a cluster and may not, in words.
pub fn missing(cluster: &Cluster, identity: &str) -> BTreeSet<String> {
    let audit = cluster.audit();
    // Discovery is open to everybody.
    let asked = audit.iter().filter(|request| &*request.identity == identity && !request.resource.is_empty());
    let permission = |request: &sluice_sim::Request| {
        let resource = match request.subresource.as_str() {
            "" => request.resource.clone(),
            subresource => format!("{}/{subresource}", request.resource),
        };
        (request.group.clone(), resource, request.verb.to_owned())
    };
    let refused = asked.map(permission).filter(|permission| !ALLOWED.contains(permission));
    refused.map(|(group, resource, verb)| format!("{verb} {resource} of {group:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_what_its_rules_say() {
        let role = "kind: ClusterRole\nrules:\n- apiGroups: [a, b]\n  resources: [c/d]\n  verbs: [get]\n";
        let permission = |group: &str| (group.to_owned(), "c/d".to_owned(), "get".to_owned());
        assert_eq!(allowed(role), BTreeSet::from([permission("a"), permission("b")]));
        assert!(ALLOWED.len() > 100, "{}", ALLOWED.len());
    }
}
