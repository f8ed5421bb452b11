//! What built-in kinds demand, and what writes to them carry along.
//!
//! Decides validity where code depends on it, which parts a write cannot touch, and when a generation
//! goes up. It is not a complete validation: fields that nobody here gets wrong are not looked at.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::pods::{pod_spec_problems, pod_update_problems, quality, template_problems, tolerate_trouble};
use crate::{meta::label_problems, selector::LabelSelector, status::Problem};

/// What a Service says about the families of its addresses, unless it says otherwise.
pub static FAMILIES: LazyLock<[(&str, Value); 2]> =
    LazyLock::new(|| [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))]);

pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or(&Value::Null)
}

/// Sets the status and other fields that a creation does not choose.
pub fn prepare_create(kind: &str, object: &mut Value, empty_status: Option<Value>) {
    if let Some(status) = empty_status {
        object["status"] = status;
    }
    match kind {
        "Pod" => {
            let class = quality(object);
            object["status"] = json!({"phase": "Pending", "qosClass": class});
            let spec = &mut object["spec"];
            for (key, value) in [("priority", json!(0)), ("preemptionPolicy", json!("PreemptLowerPriority"))]
            {
                if spec.get(key).is_none() {
                    spec[key] = value;
                }
            }
            tolerate_trouble(spec);
        }
        "Job" => {
            if object["spec"]["manualSelector"] != true
                && object["spec"].get("selector").is_none_or(Value::is_null)
            {
                let uid = object["metadata"]["uid"].clone();
                let name = object["metadata"]["name"].clone();
                object["spec"]["selector"] =
                    json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
                let labels = &mut object["spec"]["template"]["metadata"]["labels"];
                for (key, value) in [
                    ("batch.kubernetes.io/controller-uid", &uid),
                    ("controller-uid", &uid),
                    ("batch.kubernetes.io/job-name", &name),
                    ("job-name", &name),
                ] {
                    labels[key] = value.clone();
                }
            }
            // The template's labels are shown on the job too.
            if object["metadata"].get("labels").is_none()
                && let Some(labels) = object.pointer("/spec/template/metadata/labels").cloned()
            {
                object["metadata"]["labels"] = labels;
            }
        }
        "DaemonSet" => {
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = Value::from("1");
        }
        "Namespace" => {
            let spec = &mut object["spec"];
            if spec["finalizers"].as_array().is_none_or(|list| !list.contains(&Value::from("kubernetes"))) {
                spec["finalizers"] = json!(["kubernetes"]);
            }
            object["status"] = json!({"phase": "Active"});
        }
        // A real one gets a finalizer too, which nobody here would ever take off.
        "PersistentVolumeClaim" => {
            object["status"] = json!({"phase": "Pending"});
        }
        _ => {}
    }
}

/// Keeps what an update through the main door cannot change.
pub fn prepare_update(kind: &str, new: &mut Value, old: &Value) {
    match kind {
        // An update that leaves addresses out keeps them.
        "Service" if new["spec"]["type"] != "ExternalName" => {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let absent = new["spec"].get(key).is_none_or(|value| value == "" || value.is_null());
                if absent && let Some(value) = old["spec"].get(key) {
                    new["spec"][key] = value.clone();
                }
            }
            // One that was made through its status has none yet.
            for (key, value) in FAMILIES.iter() {
                if new["spec"].get(*key).is_none_or(Value::is_null) {
                    new["spec"][*key] = value.clone();
                }
            }
        }
        "Namespace" => {
            new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
        }
        "Pod" => tolerate_trouble(&mut new["spec"]),
        _ => {}
    }
}

/// Keeps what a status of a pod is not meant to lose when whoever writes it does not know of it.
pub fn keep_pod_status(new: &mut Value, old: &Value) {
    let before = &old["status"];
    for key in ["qosClass", "observedGeneration"] {
        if at(new, "/status").get(key).is_none()
            && let Some(value) = before.get(key)
        {
            new["status"][key] = value.clone();
        }
    }
    let mut left: Vec<&Value> = before["conditions"].as_array().into_iter().flatten().collect();
    let conditions = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let Some(at) = left.iter().position(|one| one["type"] == condition["type"]) else { continue };
        let known = left.remove(at);
        if condition.get("observedGeneration").is_none()
            && let Some(generation) = known.get("observedGeneration")
        {
            condition["observedGeneration"] = generation.clone();
        }
    }
}

/// Whether an update raises the generation.
pub fn raises_generation(kind: &str, new: &Value, old: &Value) -> bool {
    match kind {
        "Deployment" => {
            new["spec"] != old["spec"] || at(new, "/metadata/annotations") != at(old, "/metadata/annotations")
        }
        "EndpointSlice" => {
            ["endpoints", "ports", "addressType"].iter().any(|key| new[*key] != old[*key])
                || at(new, "/metadata/labels") != at(old, "/metadata/labels")
        }
        "PodTemplate" => new["template"] != old["template"],
        "PriorityClass" => false,
        _ => new["spec"] != old["spec"],
    }
}

/// Problems of a new object.
pub fn create_problems(kind: &str, object: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let spec = &object["spec"];
    match kind {
        "Pod" => out.extend(pod_spec_problems(spec, "spec")),
        "ReplicaSet" | "Deployment" | "StatefulSet" | "DaemonSet" => {
            out.extend(workload_problems(kind, object));
        }
        "ReplicationController" => {
            out.extend(template_problems(&spec["template"], "spec.template", Some("Always")));
        }
        "Job" => out.extend(job_problems(object)),
        "CronJob" => {
            if spec["schedule"].as_str().unwrap_or_default().is_empty() {
                out.push(Problem::required("spec.schedule", ""));
            }
            out.extend(template_problems(
                at(spec, "/jobTemplate/spec/template"),
                "spec.jobTemplate.spec.template",
                None,
            ));
        }
        "Service" => out.extend(service_problems(spec)),
        "HorizontalPodAutoscaler" => out.extend(hpa_problems(spec)),
        "ConfigMap" | "Secret" => {
            for section in ["data", "binaryData"] {
                for key in object[section].as_object().into_iter().flatten().map(|(key, _)| key) {
                    let fits = !key.is_empty()
                        && key.len() <= 253
                        && key
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
                    if !fits {
                        let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                        out.push(Problem::invalid(
                            &format!("{section}[{key}]"),
                            &Value::from(key.as_str()),
                            detail,
                        ));
                    }
                }
            }
        }
        "Event" => {
            let namespace = at(object, "/involvedObject/namespace");
            let own = at(object, "/metadata/namespace").as_str().unwrap_or_default();
            let named = namespace.as_str().unwrap_or_default();
            // What has no namespace is spoken of in the default one.
            if named != own && !(named.is_empty() && own == "default") {
                out.push(Problem::invalid(
                    "involvedObject.namespace",
                    &json!(named),
                    "does not match event.namespace",
                ));
            }
        }
        "Lease" => {
            if let Some(times) = spec["leaseTransitions"].as_i64().filter(|times| *times < 0) {
                out.push(Problem::invalid(
                    "spec.leaseTransitions",
                    &json!(times),
                    "must be greater than or equal to 0",
                ));
            }
            if let Some(seconds) = spec["leaseDurationSeconds"].as_i64()
                && seconds <= 0
            {
                out.push(Problem::invalid(
                    "spec.leaseDurationSeconds",
                    &json!(seconds),
                    "must be greater than 0",
                ));
            }
        }
        "PodDisruptionBudget"
            if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() =>
        {
            out.push(Problem::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
        }
        "CustomResourceDefinition" => out.extend(crate::crd::problems(object)),
        _ => {}
    }
    out
}

/// Problems of a changed object.
pub fn update_problems(kind: &str, new: &Value, old: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let immutable = |out: &mut Vec<Problem>, path: &str, pointer: &str, detail: &str| {
        if at(new, pointer) != at(old, pointer) {
            out.push(Problem::invalid(path, at(new, pointer), detail));
        }
    };
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            out.extend(create_problems(kind, new));
            immutable(&mut out, "spec.selector", "/spec/selector", "field is immutable");
        }
        "StatefulSet" => {
            out.extend(create_problems(kind, new));
            let mut probe = new["spec"].clone();
            for key in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                if let (Some(map), Some(before)) = (probe.as_object_mut(), old["spec"].as_object()) {
                    match before.get(key) {
                        Some(value) => map.insert(key.to_owned(), value.clone()),
                        None => map.remove(key),
                    };
                }
            }
            if probe != old["spec"] {
                out.push(Problem::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
            }
        }
        "Job" => {
            out.extend(job_problems(new));
            immutable(&mut out, "spec.selector", "/spec/selector", "field is immutable");
            // Before it starts, a suspended job may still be told where to run.
            let mut template = new["spec"]["template"].clone();
            if old["spec"]["suspend"] == true && at(old, "/status/startTime").is_null() {
                let before = &old["spec"]["template"];
                for (section, keys) in [
                    ("metadata", &["labels", "annotations"][..]),
                    ("spec", &["nodeSelector", "affinity", "tolerations", "schedulingGates"]),
                ] {
                    let Some(map) = template[section].as_object_mut() else { continue };
                    for key in keys {
                        match before[section].get(key) {
                            Some(value) => map.insert((*key).to_owned(), value.clone()),
                            None => map.remove(*key),
                        };
                    }
                }
            }
            if template != old["spec"]["template"] {
                out.push(Problem::invalid("spec.template", &new["spec"]["template"], "field is immutable"));
            }
            if new["spec"]["completionMode"] != "Indexed" {
                immutable(&mut out, "spec.completions", "/spec/completions", "field is immutable");
            }
            immutable(&mut out, "spec.completionMode", "/spec/completionMode", "field is immutable");
        }
        "Pod" => out.extend(pod_update_problems(new, old)),
        "Service" => {
            out.extend(service_problems(&new["spec"]));
            let (before, after) = (at(old, "/spec/clusterIP"), at(new, "/spec/clusterIP"));
            if before.is_string()
                && after != before
                && new["spec"]["type"] != "ExternalName"
                && old["spec"]["type"] != "ExternalName"
            {
                let mut problem =
                    Problem::invalid("spec.clusterIPs[0]", &json!([after]), "may not change once set");
                problem.body = format!("Invalid value: {}: may not change once set", json!([after]));
                out.push(problem);
            }
        }
        "ConfigMap" => {
            if old["immutable"] == true {
                if new["immutable"] != true {
                    out.push(Problem::forbidden("immutable", "field is immutable when `immutable` is set"));
                }
                for key in ["data", "binaryData"] {
                    if new[key] != old[key] {
                        out.push(Problem::forbidden(key, "field is immutable when `immutable` is set"));
                    }
                }
            }
            out.extend(create_problems(kind, new));
        }
        "Secret" => {
            immutable(&mut out, "type", "/type", "field is immutable");
            if old["immutable"] == true {
                if new["immutable"] != true {
                    out.push(Problem::forbidden("immutable", "field is immutable when `immutable` is set"));
                }
                if new["data"] != old["data"] {
                    out.push(Problem::forbidden("data", "field is immutable when `immutable` is set"));
                }
            }
            out.extend(create_problems(kind, new));
        }
        "CustomResourceDefinition" => {
            out.extend(crate::crd::problems(new));
            immutable(&mut out, "spec.group", "/spec/group", "field is immutable");
            immutable(&mut out, "spec.names.kind", "/spec/names/kind", "field is immutable");
            immutable(&mut out, "spec.scope", "/spec/scope", "field is immutable");
        }
        _ => out.extend(create_problems(kind, new)),
    }
    out
}

/// Problems of a status.
pub fn status_problems(kind: &str, object: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let status = &object["status"];
    let number = |key: &str| status[key].as_i64().unwrap_or_default();
    let mut counts = |keys: &[&str], parts: &[&str]| {
        for key in keys {
            if number(key) < 0 {
                let detail = "must be greater than or equal to 0";
                out.push(Problem::invalid(&format!("status.{key}"), &json!(number(key)), detail));
            }
        }
        for key in parts {
            if number(key) > number("replicas") {
                let detail = "cannot be greater than status.replicas";
                out.push(Problem::invalid(&format!("status.{key}"), &json!(number(key)), detail));
            }
        }
        if number("availableReplicas") > number("readyReplicas") {
            let shown = json!(number("availableReplicas"));
            out.push(Problem::invalid(
                "status.availableReplicas",
                &shown,
                "cannot be greater than readyReplicas",
            ));
        }
    };
    match kind {
        "ReplicaSet" => counts(
            &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
                "terminatingReplicas",
            ],
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        ),
        "Deployment" => counts(
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "collisionCount",
                "terminatingReplicas",
            ],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
        ),
        "Service" => {
            let ingress = at(status, "/loadBalancer/ingress").as_array().is_some_and(|list| !list.is_empty());
            if ingress && object["spec"]["type"] != "LoadBalancer" {
                out.push(Problem::forbidden(
                    "status.loadBalancer.ingress",
                    "may only be used when `spec.type` is 'LoadBalancer'",
                ));
            }
        }
        _ => {}
    }
    out
}

fn nonnegative(out: &mut Vec<Problem>, spec: &Value, key: &str) {
    if let Some(n) = spec[key].as_i64()
        && n < 0
    {
        out.push(Problem::invalid(&format!("spec.{key}"), &json!(n), "must be greater than or equal to 0"));
    }
}

fn selector_problems(selector: &Value, path: &str) -> Vec<Problem> {
    let mut out = label_problems(&selector["matchLabels"], &format!("{path}.matchLabels"));
    for (i, one) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let count = one["values"].as_array().map_or(0, Vec::len);
        let path = format!("{path}.matchExpressions[{i}]");
        match one["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" => {
                if count == 0 {
                    out.push(Problem::required(
                        &format!("{path}.values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    ));
                }
            }
            "Exists" | "DoesNotExist" => {
                if count > 0 {
                    out.push(Problem::forbidden(
                        &format!("{path}.values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ));
                }
            }
            other => out.push(Problem::invalid(
                &format!("{path}.operator"),
                &json!(other),
                "not a valid selector operator",
            )),
        }
    }
    out
}

fn workload_problems(kind: &str, object: &Value) -> Vec<Problem> {
    let spec = &object["spec"];
    let mut out = Vec::new();
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        nonnegative(&mut out, spec, key);
    }
    let selector = &spec["selector"];
    let empty = at(selector, "/matchLabels").is_null() && at(selector, "/matchExpressions").is_null();
    if selector.is_null() {
        out.push(Problem::required("spec.selector", ""));
    } else {
        out.extend(selector_problems(selector, "spec.selector"));
        if empty {
            let detail = match kind {
                "Deployment" => "empty selector is invalid for deployment",
                "StatefulSet" => "empty selector is invalid for statefulset",
                "DaemonSet" => "empty selector is invalid for daemonset",
                _ => "empty selector is invalid for replicaset",
            };
            out.push(Problem::invalid("spec.selector", selector, detail));
        }
    }
    if !empty || selector.is_null() {
        let labels = at(spec, "/template/metadata/labels");
        // No selector selects nothing.
        if !LabelSelector::from_object(selector).is_some_and(|selector| selector.matches(labels)) {
            let shown = if labels.is_null() { json!({}) } else { labels.clone() };
            let shown = if shown == json!({}) && labels.is_null() { Value::Null } else { shown };
            out.push(Problem::invalid(
                "spec.template.metadata.labels",
                &shown,
                "`selector` does not match template `labels`",
            ));
        }
    }
    if kind == "Deployment" {
        let strategy = &spec["strategy"];
        let (surge, down) =
            (at(strategy, "/rollingUpdate/maxSurge"), at(strategy, "/rollingUpdate/maxUnavailable"));
        let zero = |value: &Value| *value == json!(0) || value == "0%" || value == "0";
        if strategy["type"] == "Recreate" && strategy.get("rollingUpdate").is_some() {
            out.push(Problem::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ));
        } else if strategy["type"] == "RollingUpdate" && zero(surge) && zero(down) {
            out.push(Problem::invalid(
                "spec.strategy.rollingUpdate.maxUnavailable",
                down,
                "may not be 0 when `maxSurge` is 0",
            ));
        } else if !matches!(strategy["type"].as_str(), Some("Recreate" | "RollingUpdate")) {
            let shown = json!({"Type": strategy["type"], "RollingUpdate": null});
            let mut problem = Problem::unsupported(
                "spec.strategy",
                &shown,
                &["Recreate".to_owned(), "RollingUpdate".to_owned()],
            );
            problem.body = format!(
                "Unsupported value: {{\"Type\":{},\"RollingUpdate\":null}}: supported values: \"Recreate\", \"RollingUpdate\"",
                strategy["type"]
            );
            out.push(problem);
        }
        let (deadline, ready) =
            (spec["progressDeadlineSeconds"].as_i64(), spec["minReadySeconds"].as_i64().unwrap_or(0));
        if deadline.is_some_and(|deadline| deadline <= ready && deadline >= 0) {
            out.push(Problem::invalid(
                "spec.progressDeadlineSeconds",
                &spec["progressDeadlineSeconds"],
                "must be greater than minReadySeconds",
            ));
        }
    }
    out.extend(template_problems(&spec["template"], "spec.template", Some("Always")));
    out
}

fn job_problems(object: &Value) -> Vec<Problem> {
    let spec = &object["spec"];
    let mut out = Vec::new();
    for key in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        nonnegative(&mut out, spec, key);
    }
    out.extend(template_problems(&spec["template"], "spec.template", None));
    let policy = at(spec, "/template/spec/restartPolicy");
    if policy == "Always" {
        let supported = ["OnFailure".to_owned(), "Never".to_owned()];
        let mut problem = Problem::unsupported("spec.template.spec.restartPolicy", policy, &supported);
        problem.reason = "FieldValueNotSupported";
        out.push(problem);
    }
    out
}

fn service_problems(spec: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !headless && spec["type"] != "ExternalName" {
        out.push(Problem::required("spec.ports", ""));
    }
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        if ports.len() > 1 && port["name"].as_str().unwrap_or_default().is_empty() {
            out.push(Problem::required(&format!("{path}.name"), ""));
        }
        let number = port["port"].as_i64().unwrap_or_default();
        if !(1..=65535).contains(&number) {
            out.push(Problem::invalid(
                &format!("{path}.port"),
                &json!(number),
                "must be between 1 and 65535, inclusive",
            ));
        }
        if let Some(number) = port["targetPort"].as_i64().filter(|number| !(1..=65535).contains(number)) {
            let detail = "must be between 1 and 65535, inclusive";
            out.push(Problem::invalid(&format!("{path}.targetPort"), &json!(number), detail));
        }
    }
    let affinity = spec["sessionAffinity"].as_str().unwrap_or_default();
    let has_config = !at(spec, "/sessionAffinityConfig").is_null();
    let path = "spec.sessionAffinityConfig";
    match affinity {
        "ClientIP" if !has_config => {
            out.push(Problem::required(path, "when session affinity type is ClientIP"));
        }
        "None" if has_config => {
            out.push(Problem::forbidden(path, "must not be set when session affinity is None"));
        }
        "ClientIP" | "None" => {}
        _ => {
            let supported = ["ClientIP", "None"].map(str::to_owned);
            out.push(Problem::unsupported("spec.sessionAffinity", &json!(affinity), &supported));
        }
    }
    if !matches!(spec["type"].as_str(), Some("ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName")) {
        let supported = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].map(str::to_owned);
        out.push(Problem::unsupported("spec.type", &spec["type"], &supported));
    }
    if spec["type"] == "ExternalName" && spec["externalName"].as_str().unwrap_or_default().is_empty() {
        out.push(Problem::required("spec.externalName", ""));
    }
    out.extend(label_problems(&spec["selector"], "spec.selector"));
    out
}

fn hpa_problems(spec: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let most = spec["maxReplicas"].as_i64().unwrap_or_default();
    let least = spec["minReplicas"].as_i64().unwrap_or(1);
    if least < 1 {
        out.push(Problem::invalid("spec.minReplicas", &json!(least), "must be greater than or equal to 1"));
        let metrics = spec["metrics"].as_array().cloned().unwrap_or_default();
        if least == 0
            && !metrics.iter().any(|one| matches!(one["type"].as_str(), Some("Object" | "External")))
        {
            out.push(Problem::forbidden(
                "spec.metrics",
                "must specify at least one Object or External metric to support scaling to zero replicas",
            ));
        }
    }
    if most < 1 {
        out.push(Problem::required("spec.maxReplicas", "must be set and greater than 0"));
    }
    if most < least {
        out.push(Problem::invalid(
            "spec.maxReplicas",
            &json!(most),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    for key in ["kind", "name"] {
        if spec["scaleTargetRef"][key].as_str().unwrap_or_default().is_empty() {
            out.push(Problem::required(&format!("spec.scaleTargetRef.{key}"), ""));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replica_sets_are_checked() {
        let good = json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Always"}}}});
        assert_eq!(create_problems("ReplicaSet", &good), []);
        for (pointer, value, field) in [
            ("/spec/replicas", json!(-1), "spec.replicas"),
            ("/spec/template/metadata/labels", json!({"a": "c"}), "spec.template.metadata.labels"),
            ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers"),
            ("/spec/template/spec/restartPolicy", json!("Never"), "spec.template.spec.restartPolicy"),
            ("/spec/template/spec/containers/0/name", json!("A"), "spec.template.spec.containers[0].name"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("there") = value;
            let fields: Vec<_> =
                create_problems("ReplicaSet", &bad).into_iter().map(|problem| problem.field).collect();
            assert_eq!(fields, [field], "{pointer}");
        }
        let mut none = good.clone();
        none["spec"]["selector"] = Value::Null;
        let fields: Vec<_> =
            create_problems("ReplicaSet", &none).into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["spec.selector", "spec.template.metadata.labels"], "no selector selects nothing");
        let mut other = good.clone();
        other["spec"]["selector"] = json!({"matchLabels": {"a": "b", "c": "d"}});
        other["spec"]["template"]["metadata"]["labels"] = json!({"a": "b", "c": "d"});
        assert_eq!(update_problems("ReplicaSet", &other, &good)[0].field, "spec.selector");
    }
}
