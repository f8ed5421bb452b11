//! Tables, as kubectl asks for them.
//!
//! Decides columns and cells. Custom kinds say theirs in their definition; the built-in kinds that people
//! look at have theirs here, and all others show name and age.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    crd::Column,
    jsonpath::find,
    resource::{Resource, Version},
    time,
};

/// A column of a built-in kind: heading, type, priority.
type Heading = (&'static str, &'static str, i64);

/// What clients show when asked what the first column means.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// Column definitions of a table.
pub fn columns(resource: &Resource, version: &Version) -> Value {
    let mut out =
        vec![json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0})];
    if resource.custom && !version.columns.is_empty() {
        for column in &version.columns {
            let description = match column.description.as_str() {
                "" => format!("Custom resource definition column (in JSONPath format): {}", column.json_path),
                given => given.to_owned(),
            };
            out.push(json!({"name": column.name, "type": column.ty, "format": column.format, "description": description, "priority": column.priority}));
        }
    } else {
        for (name, ty, priority) in headings(resource) {
            out.push(
                json!({"name": name, "type": ty, "format": "", "description": "", "priority": priority}),
            );
        }
    }
    Value::Array(out)
}

/// One row.
pub fn row(resource: &Resource, version: &Version, object: &Value, include: &str, now: Timestamp) -> Value {
    let mut cells = vec![object["metadata"]["name"].clone()];
    if resource.custom && !version.columns.is_empty() {
        cells.extend(version.columns.iter().map(|column| cell(column, object, now)));
    } else {
        cells.extend(built_in(resource, object, now));
    }
    if &*resource.table == "events" {
        cells = event_cells(object, now);
    }
    let shown = match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
        }
    };
    let mut out = json!({"cells": cells});
    if !shown.is_null() {
        out["object"] = shown;
    }
    if &*resource.table == "pods"
        && matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    {
        let phase = object["status"]["phase"].clone();
        out["conditions"] = json!([{"type": "Completed", "status": "True", "reason": phase, "message": "The pod has completed."}]);
    }
    out
}

/// How long ago something was, as people read it.
pub fn human_duration(seconds: i64) -> String {
    let (minute, hour, day) = (60, 3600, 86_400);
    match seconds {
        s if s < -1 => "<invalid>".to_owned(),
        s if s < 0 => "0s".to_owned(),
        s if s < 2 * minute => format!("{s}s"),
        s if s < 10 * minute => parts(s / minute, "m", s % minute, "s"),
        s if s < 3 * hour => format!("{}m", s / minute),
        s if s < 8 * hour => parts(s / hour, "h", s / minute % 60, "m"),
        s if s < 2 * day => format!("{}h", s / hour),
        s if s < 8 * day => parts(s / day, "d", s / hour % 24, "h"),
        s if s < 2 * 365 * day => format!("{}d", s / day),
        s if s < 8 * 365 * day => parts(s / day / 365, "y", s / day % 365, "d"),
        s => format!("{}y", s / day / 365),
    }
}

fn parts(a: i64, unit_a: &str, b: i64, unit_b: &str) -> String {
    if b == 0 { format!("{a}{unit_a}") } else { format!("{a}{unit_a}{b}{unit_b}") }
}

fn since(value: Option<&Value>, now: Timestamp) -> String {
    match time::parse(value) {
        Some(at) => human_duration(now.duration_since(at).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(since(object["metadata"].get("creationTimestamp"), now))
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(found) = find(object, &column.json_path) else { return Value::Null };
    match column.ty.as_str() {
        "integer" => found
            .as_i64()
            .map_or_else(|| found.as_f64().map_or(Value::Null, |n| json!(n as i64)), Value::from),
        "number" => found.as_f64().map_or(Value::Null, Value::from),
        "boolean" => found.as_bool().map_or(Value::Null, Value::from),
        "date" => match found.as_str() {
            Some(_) => match time::parse(Some(found)) {
                Some(_) => Value::from(since(Some(found), now)),
                None => Value::from("<invalid>"),
            },
            None => Value::Null,
        },
        _ => match found {
            Value::String(text) => Value::from(text.as_str()),
            Value::Null => Value::Null,
            other => Value::from(other.to_string()),
        },
    }
}

fn headings(resource: &Resource) -> &'static [Heading] {
    if resource.custom {
        return &[("Age", "date", 0)];
    }
    match &*resource.table {
        "pods" => &[
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            ("Age", "string", 0),
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ],
        "replicasets.apps" | "replicationcontrollers" => &[
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "deployments.apps" => &[
            ("Ready", "string", 0),
            ("Up-to-date", "string", 0),
            ("Available", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "statefulsets.apps" => &[
            ("Ready", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
        ],
        "services" => &[
            ("Type", "string", 0),
            ("Cluster-IP", "string", 0),
            ("External-IP", "string", 0),
            ("Port(s)", "string", 0),
            ("Age", "string", 0),
            ("Selector", "string", 1),
        ],
        "jobs.batch" => &[
            ("Status", "string", 0),
            ("Completions", "string", 0),
            ("Duration", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "namespaces" => &[("Status", "string", 0), ("Age", "string", 0)],
        "configmaps" => &[("Data", "string", 0), ("Age", "string", 0)],
        "secrets" => &[("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)],
        "leases.coordination.k8s.io" => &[("Holder", "string", 0), ("Age", "string", 0)],
        "nodes" => {
            &[("Status", "string", 0), ("Roles", "string", 0), ("Age", "string", 0), ("Version", "string", 0)]
        }
        "horizontalpodautoscalers.autoscaling" => &[
            ("Reference", "string", 0),
            ("Targets", "string", 0),
            ("MinPods", "string", 0),
            ("MaxPods", "string", 0),
            ("Replicas", "string", 0),
            ("Age", "string", 0),
        ],
        "poddisruptionbudgets.policy" => &[
            ("Min Available", "string", 0),
            ("Max Unavailable", "string", 0),
            ("Allowed Disruptions", "string", 0),
            ("Age", "string", 0),
        ],
        "ingresses.networking.k8s.io" => &[
            ("Class", "string", 0),
            ("Hosts", "string", 0),
            ("Address", "string", 0),
            ("Ports", "string", 0),
            ("Age", "string", 0),
        ],
        "endpointslices.discovery.k8s.io" => &[
            ("AddressType", "string", 0),
            ("Ports", "string", 0),
            ("Endpoints", "string", 0),
            ("Age", "string", 0),
        ],
        "customresourcedefinitions.apiextensions.k8s.io" => &[("Created At", "date", 0)],
        _ => &[("Age", "string", 0)],
    }
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

fn text(object: &Value, path: &str) -> String {
    match object.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn or_none(text: String) -> Value {
    Value::from(if text.is_empty() { "<none>".to_owned() } else { text })
}

fn containers(template: &Value) -> (Value, Value) {
    let list = template["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let join = |key: &str| list.iter().filter_map(|one| one[key].as_str()).collect::<Vec<_>>().join(",");
    (Value::from(join("name")), Value::from(join("image")))
}

fn selector(value: &Value) -> Value {
    or_none(crate::subresource::selector_text(value))
}

fn built_in(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    let age = age(object, now);
    let template = &object["spec"]["template"];
    let (names, images) = containers(template);
    if resource.custom {
        return vec![age];
    }
    match &*resource.table {
        "pods" => pod_cells(object, now),
        "replicasets.apps" | "replicationcontrollers" => vec![
            json!(number(object, "/spec/replicas")),
            json!(number(object, "/status/replicas")),
            json!(number(object, "/status/readyReplicas")),
            age,
            names,
            images,
            selector(&object["spec"]["selector"]),
        ],
        "deployments.apps" => vec![
            json!(format!(
                "{}/{}",
                number(object, "/status/readyReplicas"),
                number(object, "/spec/replicas")
            )),
            json!(number(object, "/status/updatedReplicas")),
            json!(number(object, "/status/availableReplicas")),
            age,
            names,
            images,
            selector(&object["spec"]["selector"]),
        ],
        "statefulsets.apps" => vec![
            json!(format!(
                "{}/{}",
                number(object, "/status/readyReplicas"),
                number(object, "/spec/replicas")
            )),
            age,
            names,
            images,
        ],
        "services" => service_cells(object, age),
        "jobs.batch" => job_cells(object, now, age, names, images),
        "namespaces" => vec![json!(text(object, "/status/phase")), age],
        "configmaps" => {
            let count = ["data", "binaryData"]
                .iter()
                .map(|key| object[*key].as_object().map_or(0, serde_json::Map::len))
                .sum::<usize>();
            vec![json!(count), age]
        }
        "secrets" => vec![
            json!(text(object, "/type")),
            json!(object["data"].as_object().map_or(0, serde_json::Map::len)),
            age,
        ],
        "leases.coordination.k8s.io" => vec![json!(text(object, "/spec/holderIdentity")), age],
        "nodes" => {
            let ready = object["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Ready" && one["status"] == "True");
            let version = or_none(text(object, "/status/nodeInfo/kubeletVersion"));
            vec![json!(if ready { "Ready" } else { "NotReady" }), json!("<none>"), age, version]
        }
        "horizontalpodautoscalers.autoscaling" => {
            let reference = format!(
                "{}/{}",
                text(object, "/spec/scaleTargetRef/kind"),
                text(object, "/spec/scaleTargetRef/name")
            );
            let least =
                object["spec"].get("minReplicas").map_or_else(|| json!("<unset>"), |n| json!(n.to_string()));
            vec![
                json!(reference),
                json!(hpa_targets(object)),
                least,
                json!(number(object, "/spec/maxReplicas")),
                json!(number(object, "/status/currentReplicas")),
                age,
            ]
        }
        "poddisruptionbudgets.policy" => {
            let shown = |path: &str| match text(object, path) {
                text if text.is_empty() => json!("N/A"),
                text => json!(text),
            };
            vec![
                shown("/spec/minAvailable"),
                shown("/spec/maxUnavailable"),
                json!(number(object, "/status/disruptionsAllowed")),
                age,
            ]
        }
        "ingresses.networking.k8s.io" => {
            let hosts: Vec<_> = object["spec"]["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|rule| rule["host"].as_str())
                .collect();
            let hosts = if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") };
            let address = text(object, "/status/loadBalancer/ingress/0/ip");
            let ports = if object["spec"].get("tls").is_some() { "80, 443" } else { "80" };
            vec![
                or_none(text(object, "/spec/ingressClassName")),
                json!(hosts),
                json!(address),
                json!(ports),
                age,
            ]
        }
        "endpointslices.discovery.k8s.io" => {
            let list = |key: &str, inner: &str| -> Vec<String> {
                (object[key].as_array().into_iter().flatten())
                    .flat_map(|one| match &one[inner] {
                        Value::Array(items) => {
                            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
                        }
                        Value::Null => Vec::new(),
                        other => vec![other.to_string()],
                    })
                    .collect()
            };
            let unset =
                |list: Vec<String>| if list.is_empty() { "<unset>".to_owned() } else { list.join(",") };
            vec![
                json!(text(object, "/addressType")),
                json!(unset(list("ports", "port"))),
                json!(unset(list("endpoints", "addresses"))),
                age,
            ]
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            vec![object["metadata"]["creationTimestamp"].clone()]
        }
        _ => vec![age],
    }
}

fn hpa_targets(object: &Value) -> String {
    let mut out = Vec::new();
    for (i, metric) in object["spec"]["metrics"].as_array().into_iter().flatten().enumerate() {
        let target = metric.pointer("/resource/target/averageUtilization").and_then(Value::as_i64);
        let current = object
            .pointer(&format!("/status/currentMetrics/{i}/resource/current/averageUtilization"))
            .and_then(Value::as_i64);
        let name = text(metric, "/resource/name");
        if let Some(target) = target {
            let current = current.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
            out.push(format!("{name}: {current}/{target}%"));
        } else {
            out.push("<unknown>".to_owned());
        }
    }
    if out.is_empty() { "<none>".to_owned() } else { out.join(", ") }
}

fn pod_cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let status = &pod["status"];
    let total = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let mut reason = match text(pod, "/status/reason") {
        reason if reason.is_empty() => text(pod, "/status/phase"),
        reason => reason,
    };
    let (mut ready, mut restarts) = (0, 0);
    let mut last_restart = None;
    let mut running = false;
    for container in status["containerStatuses"].as_array().into_iter().flatten().rev() {
        restarts += container["restartCount"].as_i64().unwrap_or(0);
        if let Some(at) = time::parse(container.pointer("/lastState/terminated/finishedAt")) {
            last_restart = last_restart.max(Some(at));
        }
        let state = &container["state"];
        if let Some(why) = state["waiting"]["reason"].as_str().filter(|why| !why.is_empty()) {
            why.clone_into(&mut reason);
        } else if let Some(why) = state["terminated"]["reason"].as_str().filter(|why| !why.is_empty()) {
            why.clone_into(&mut reason);
        } else if state.get("terminated").is_some() {
            reason = format!("ExitCode:{}", number(state, "/terminated/exitCode"));
        } else if container["ready"] == true && state.get("running").is_some() {
            running = true;
            ready += 1;
        }
    }
    if reason == "Completed" && running {
        "Running".clone_into(&mut reason);
    }
    if pod["metadata"].get("deletionTimestamp").is_some() {
        reason = if text(pod, "/status/reason") == "NodeLost" {
            "Unknown".to_owned()
        } else {
            "Terminating".to_owned()
        };
    }
    let restarts = match last_restart {
        Some(at) if restarts > 0 => {
            format!("{restarts} ({} ago)", human_duration(now.duration_since(at).as_secs()))
        }
        _ => restarts.to_string(),
    };
    vec![
        json!(format!("{ready}/{total}")),
        json!(reason),
        json!(restarts),
        age(pod, now),
        or_none(text(pod, "/status/podIP")),
        or_none(text(pod, "/spec/nodeName")),
        or_none(text(pod, "/status/nominatedNodeName")),
        json!("<none>"),
    ]
}

fn service_cells(object: &Value, age: Value) -> Vec<Value> {
    let ports: Vec<String> = object["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            let node = port["nodePort"].as_i64().map_or_else(String::new, |n| format!(":{n}"));
            format!("{}{node}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"))
        })
        .collect();
    let external = match text(object, "/spec/type").as_str() {
        "LoadBalancer" => match text(object, "/status/loadBalancer/ingress/0/ip") {
            ip if ip.is_empty() => "<pending>".to_owned(),
            ip => ip,
        },
        "ExternalName" => text(object, "/spec/externalName"),
        _ => "<none>".to_owned(),
    };
    vec![
        json!(text(object, "/spec/type")),
        or_none(text(object, "/spec/clusterIP")),
        json!(external),
        or_none(ports.join(",")),
        age,
        selector(&json!({"matchLabels": object["spec"]["selector"]})),
    ]
}

fn job_cells(object: &Value, now: Timestamp, age: Value, names: Value, images: Value) -> Vec<Value> {
    let has = |ty: &str| {
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["type"] == ty && one["status"] == "True")
    };
    let status = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object["metadata"].get("deletionTimestamp").is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let completions =
        object["spec"]["completions"].as_i64().unwrap_or_else(|| number(object, "/spec/parallelism"));
    let start = time::parse(object["status"].get("startTime"));
    let end = time::parse(object["status"].get("completionTime"));
    let duration = start
        .map_or_else(String::new, |start| human_duration(end.unwrap_or(now).duration_since(start).as_secs()));
    vec![
        json!(status),
        json!(format!("{}/{completions}", number(object, "/status/succeeded"))),
        json!(duration),
        age,
        names,
        images,
        selector(&object["spec"]["selector"]),
    ]
}

/// Events show no name.
fn event_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let (object_field, message) = if object.get("regarding").is_some() {
        ("regarding", "/note")
    } else {
        ("involvedObject", "/message")
    };
    let involved = format!(
        "{}/{}",
        text(object, &format!("/{object_field}/kind")).to_lowercase(),
        text(object, &format!("/{object_field}/name"))
    );
    let seen = ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
    let last = seen.iter().find_map(|path| object.pointer(path).filter(|value| value.is_string()));
    vec![
        json!(since(last, now)),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(involved),
        json!(text(object, message).trim()),
    ]
}

/// Column definitions of events, which have no name column.
pub fn event_columns() -> Value {
    let column =
        |name: &str| json!({"name": name, "type": "string", "format": "", "description": "", "priority": 0});
    json!([column("Last Seen"), column("Type"), column("Reason"), column("Object"), column("Message")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn pods_show_why_they_wait() {
        let now = Timestamp::UNIX_EPOCH;
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": {"phase": "Running", "containerStatuses": [
            {"ready": true, "restartCount": 0, "state": {"running": {}}}, {"ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        assert_eq!(
            pod_cells(&pod, now)[..4],
            [json!("1/2"), json!("CrashLoopBackOff"), json!("3"), json!("0s")]
        );
    }
}
