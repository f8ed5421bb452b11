//! What pods and pod templates demand.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rules::at;
use crate::{
    meta::{NameRule, label_problems, name_complaints},
    status::Problem,
};

/// Quality-of-service class of a pod.
pub fn quality(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            for name in ["cpu", "memory"] {
                let limit = at(container, &format!("/resources/limits/{name}"));
                let request = at(container, &format!("/resources/requests/{name}"));
                any |= !limit.is_null() || !request.is_null();
                guaranteed &= !limit.is_null() && (request.is_null() || request == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn fixed_pod_spec() -> Problem {
    Problem::forbidden(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )
}

/// The tolerations of every pod: it stays for a while on a node that is in trouble.
pub fn tolerate_trouble(spec: &mut Value) {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let known =
            |one: &Value| one["key"] == key || (one.get("key").is_none() && one["operator"] == "Exists");
        if !tolerations.iter().any(known) {
            tolerations.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}

/// Where a volume comes from.
fn sources(volume: &Value) -> impl Iterator<Item = &'static str> {
    let known = [
        "emptyDir",
        "hostPath",
        "secret",
        "nfs",
        "persistentVolumeClaim",
        "downwardAPI",
        "configMap",
        "projected",
        "csi",
        "ephemeral",
    ];
    known.into_iter().filter(|source| volume.get(source).is_some())
}

/// Which field of a pod may change: images, deadlines, and tolerations that are added.
pub fn pod_update_problems(new: &Value, old: &Value) -> Vec<Problem> {
    let mut out = pod_spec_problems(&new["spec"], "spec");
    let mut probe = new["spec"].clone();
    for list in ["containers", "initContainers"] {
        let before = old["spec"][list].as_array().cloned().unwrap_or_default();
        let after = new["spec"][list].as_array().map_or(0, Vec::len);
        if before.len() != after {
            out.push(Problem::forbidden(
                &format!("spec.{list}"),
                "pod updates may not add or remove containers",
            ));
            return out;
        }
        for (i, container) in before.iter().enumerate() {
            for key in ["image"] {
                match container.get(key) {
                    Some(value) => probe[list][i][key] = value.clone(),
                    None => {
                        if let Some(map) = probe[list][i].as_object_mut() {
                            map.remove(key);
                        }
                    }
                }
            }
        }
    }
    let (deadline, deadline_before) =
        (&new["spec"]["activeDeadlineSeconds"], &old["spec"]["activeDeadlineSeconds"]);
    let path = "spec.activeDeadlineSeconds";
    match (deadline.as_i64(), deadline_before.as_i64()) {
        (Some(after), Some(before)) if after > before => {
            out.push(Problem::invalid(path, deadline, "must be less than or equal to previous value"));
            return out;
        }
        (None, Some(_)) => {
            out.push(Problem::invalid(
                path,
                deadline,
                "must not update from a positive integer to nil value",
            ));
        }
        _ => {}
    }
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let list = |pod: &Value| -> Vec<Value> {
        pod["spec"]["tolerations"].as_array().into_iter().flatten().map(bare).collect()
    };
    let after = list(new);
    if list(old).iter().any(|toleration| !after.contains(toleration)) {
        out.push(Problem::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    let negative = old["spec"]["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0);
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates", "terminationGracePeriodSeconds"] {
        if key == "terminationGracePeriodSeconds" && !negative {
            continue;
        }
        if key == "nodeName" && old["spec"].get("nodeName").is_some() {
            continue;
        }
        match old["spec"].get(key) {
            Some(value) => probe[key] = value.clone(),
            None => {
                if let Some(map) = probe.as_object_mut() {
                    map.remove(key);
                }
            }
        }
    }
    if probe != old["spec"] {
        out.push(fixed_pod_spec());
    }
    out
}

pub fn template_problems(template: &Value, path: &str, restart: Option<&str>) -> Vec<Problem> {
    let mut out = label_problems(&template["metadata"]["labels"], &format!("{path}.labels"));
    out.extend(pod_spec_problems(&template["spec"], &format!("{path}.spec")));
    if let Some(wanted) = restart {
        let policy = &template["spec"]["restartPolicy"];
        if policy.is_string() && policy != wanted {
            out.push(Problem::unsupported(
                &format!("{path}.spec.restartPolicy"),
                policy,
                &[wanted.to_owned()],
            ));
        }
    }
    out
}

pub fn pod_spec_problems(spec: &Value, path: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        out.push(Problem::required(&format!("{path}.containers"), ""));
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for (i, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{i}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                out.push(Problem::required(&format!("{path}.name"), ""));
            } else {
                for complaint in name_complaints(name, NameRule::Label) {
                    out.push(Problem::invalid(&format!("{path}.name"), &json!(name), &complaint));
                }
            }
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                out.push(Problem::duplicate(&format!("{path}.name"), &json!(name)));
            }
            let image = container["image"].as_str().unwrap_or_default();
            if image.is_empty() {
                out.push(Problem::required(&format!("{path}.image"), ""));
            }
            for (i, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
                let number = port["containerPort"].as_i64().unwrap_or_default();
                if number == 0 {
                    out.push(Problem::required(&format!("{path}.ports[{i}].containerPort"), ""));
                } else if !(1..=65535).contains(&number) {
                    out.push(Problem::invalid(
                        &format!("{path}.ports[{i}].containerPort"),
                        &json!(number),
                        "must be between 1 and 65535, inclusive",
                    ));
                }
            }
            for mount in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
                let (i, mount) = mount;
                // A volume that is refused is not there for mounts either.
                let known = spec["volumes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|volume| volume["name"] == mount["name"] && sources(volume).count() < 2);
                if !known {
                    out.push(Problem::not_found(&format!("{path}.volumeMounts[{i}].name"), &mount["name"]));
                }
            }
        }
    }
    for (i, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        for source in sources(volume).skip(1) {
            let detail = "may not specify more than 1 volume type";
            out.push(Problem::forbidden(&format!("{path}.volumes[{i}].{source}"), detail));
        }
    }
    if let Some(seconds) =
        spec["activeDeadlineSeconds"].as_i64().filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
    {
        out.push(Problem::invalid(
            &format!("{path}.activeDeadlineSeconds"),
            &json!(seconds),
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    let policy = &spec["restartPolicy"];
    if !matches!(policy.as_str(), Some("Always" | "OnFailure" | "Never")) && !policy.is_null() {
        let supported = ["Always".to_owned(), "OnFailure".to_owned(), "Never".to_owned()];
        out.push(Problem::unsupported(&format!("{path}.restartPolicy"), policy, &supported));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_pods() {
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"limits": {"cpu": "1", "memory": "1"}}), "Guaranteed"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
        ] {
            assert_eq!(quality(&json!({"spec": {"containers": [{"resources": resources}]}})), class);
        }
    }
}
