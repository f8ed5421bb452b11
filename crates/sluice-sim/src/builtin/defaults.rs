//! What an API server fills in for built-in kinds.
//!
//! Decides defaults only; shapes are `types`, validity and what happens on writes are `rules`.

use serde_json::{Map, Value, json};

/// Sets `key` if it is absent or null.
fn or(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let slot = map.entry(key.to_owned()).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

fn object<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(key)?.as_object_mut()
}

fn each<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Fills in defaults of an object of this kind.
pub fn fill_in(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => {
            if let Some(spec) = self::object(object, "spec") {
                pod_spec(spec);
                or(spec, "enableServiceLinks", true);
                for list in ["initContainers", "containers"] {
                    for container in each(spec, list) {
                        requests(container);
                    }
                }
            }
            if let Some(status) = self::object(object, "status") {
                addresses(status);
            }
        }
        "PodTemplate" => {
            if let Some(spec) = object.pointer_mut("/template/spec").and_then(Value::as_object_mut) {
                pod_spec(spec);
            }
        }
        "Deployment" => workload(object, |spec| {
            or(spec, "replicas", 1);
            or(spec, "revisionHistoryLimit", 10);
            or(spec, "progressDeadlineSeconds", 600);
            let strategy = spec.entry("strategy").or_insert_with(|| json!({}));
            if let Some(strategy) = strategy.as_object_mut() {
                or(strategy, "type", "RollingUpdate");
                if strategy["type"] == "RollingUpdate" {
                    or(strategy, "rollingUpdate", json!({}));
                    if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                        or(rolling, "maxSurge", "25%");
                        or(rolling, "maxUnavailable", "25%");
                    }
                }
            }
        }),
        "ReplicaSet" => workload(object, |spec| or(spec, "replicas", 1)),
        "ReplicationController" => {
            let labels = object.pointer("/spec/template/metadata/labels").cloned();
            workload(object, |spec| {
                or(spec, "replicas", 1);
                if let Some(labels) = labels {
                    or(spec, "selector", labels);
                }
            });
        }
        "StatefulSet" => workload(object, |spec| {
            or(spec, "replicas", 1);
            or(spec, "revisionHistoryLimit", 10);
            or(spec, "podManagementPolicy", "OrderedReady");
            or(
                spec,
                "persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            );
            let update = spec.entry("updateStrategy").or_insert_with(|| json!({}));
            if let Some(update) = update.as_object_mut() {
                or(update, "type", "RollingUpdate");
                if update["type"] == "RollingUpdate" {
                    or(update, "rollingUpdate", json!({}));
                    if let Some(rolling) = update.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                        or(rolling, "partition", 0);
                    }
                }
            }
        }),
        "DaemonSet" => workload(object, |spec| {
            or(spec, "revisionHistoryLimit", 10);
            let update = spec.entry("updateStrategy").or_insert_with(|| json!({}));
            if let Some(update) = update.as_object_mut() {
                or(update, "type", "RollingUpdate");
                if update["type"] == "RollingUpdate" {
                    or(update, "rollingUpdate", json!({"maxSurge": 0, "maxUnavailable": 1}));
                }
            }
        }),
        "Job" => {
            if let Some(spec) = self::object(object, "spec") {
                job_spec(spec, true);
            }
        }
        "CronJob" => {
            if let Some(spec) = self::object(object, "spec") {
                or(spec, "concurrencyPolicy", "Allow");
                or(spec, "suspend", false);
                or(spec, "successfulJobsHistoryLimit", 3);
                or(spec, "failedJobsHistoryLimit", 1);
                if let Some(job) = spec
                    .get_mut("jobTemplate")
                    .and_then(|template| template.get_mut("spec"))
                    .and_then(Value::as_object_mut)
                {
                    job_spec(job, false);
                }
            }
        }
        "Service" => {
            if let Some(spec) = self::object(object, "spec") {
                service_spec(spec);
            }
        }
        "Secret" => {
            if let Some(map) = object.as_object_mut() {
                secret(map);
            }
        }
        "HorizontalPodAutoscaler" => {
            if let Some(spec) = self::object(object, "spec") {
                or(spec, "minReplicas", 1);
                if spec.get("metrics").is_none_or(Value::is_null) {
                    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
                    spec.insert("metrics".to_owned(), json!([metric]));
                }
                hpa_behavior(spec);
            }
        }
        "Namespace" => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if !name.is_empty() {
                let labels = &mut object["metadata"]["labels"];
                labels["kubernetes.io/metadata.name"] = Value::from(name);
            }
            if let Some(status) = self::object(object, "status") {
                or(status, "phase", "Active");
            }
        }
        "EndpointSlice" => {
            if let Some(map) = object.as_object_mut() {
                for port in each(map, "ports") {
                    or(port, "name", "");
                    or(port, "protocol", "TCP");
                }
            }
        }
        "Endpoints" => {
            if let Some(map) = object.as_object_mut() {
                for subset in each(map, "subsets") {
                    for port in each(subset, "ports") {
                        or(port, "protocol", "TCP");
                    }
                }
            }
        }
        "PersistentVolumeClaim" => {
            if let Some(spec) = self::object(object, "spec") {
                or(spec, "volumeMode", "Filesystem");
            }
            if let Some(status) = self::object(object, "status") {
                or(status, "phase", "Pending");
            }
        }
        "CustomResourceDefinition" => crate::crd::fill_in(object),
        "RoleBinding" | "ClusterRoleBinding" => {
            if let Some(map) = object.as_object_mut() {
                if let Some(role) = map.get_mut("roleRef").and_then(Value::as_object_mut)
                    && role.get("apiGroup").and_then(Value::as_str).unwrap_or_default().is_empty()
                {
                    role.insert("apiGroup".to_owned(), Value::from("rbac.authorization.k8s.io"));
                }
                for subject in each(map, "subjects") {
                    if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                        or(subject, "apiGroup", "rbac.authorization.k8s.io");
                    }
                }
            }
        }
        "NetworkPolicy" => {
            if let Some(spec) = self::object(object, "spec") {
                for key in ["ingress", "egress"] {
                    for rule in each(spec, key) {
                        for port in each(rule, "ports") {
                            or(port, "protocol", "TCP");
                        }
                    }
                }
                let types =
                    if spec.get("egress").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
                        json!(["Ingress", "Egress"])
                    } else {
                        json!(["Ingress"])
                    };
                or(spec, "policyTypes", types);
            }
        }
        _ => {}
    }
}

fn workload(object: &mut Value, more: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(spec) = self::object(object, "spec") {
        more(spec);
        if let Some(pod) = spec
            .get_mut("template")
            .and_then(|template| template.get_mut("spec"))
            .and_then(Value::as_object_mut)
        {
            pod_spec(pod);
        }
    }
}

fn job_spec(spec: &mut Map<String, Value>, whole: bool) {
    if whole {
        if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
            or(spec, "completions", 1);
            or(spec, "parallelism", 1);
        }
        or(spec, "parallelism", 1);
        or(spec, "backoffLimit", 6);
        or(spec, "completionMode", "NonIndexed");
        or(spec, "suspend", false);
        or(spec, "manualSelector", false);
        let policy = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        or(spec, "podReplacementPolicy", policy);
    }
    if let Some(pod) =
        spec.get_mut("template").and_then(|template| template.get_mut("spec")).and_then(Value::as_object_mut)
    {
        pod_spec(pod);
    }
}

fn secret(map: &mut Map<String, Value>) {
    use base64::Engine as _;
    or(map, "type", "Opaque");
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data[key] = Value::from(base64::engine::general_purpose::STANDARD.encode(text));
        }
    }
}

fn service_spec(spec: &mut Map<String, Value>) {
    or(spec, "sessionAffinity", "None");
    or(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        or(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    } else if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    }
    let ty = spec["type"].as_str().unwrap_or_default().to_owned();
    for port in each(spec, "ports") {
        or(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        if port.get("targetPort").is_none_or(|target| *target == json!(0) || *target == json!("")) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    if ty != "ExternalName" {
        or(spec, "internalTrafficPolicy", "Cluster");
    }
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer") {
        or(spec, "externalTrafficPolicy", "Cluster");
    }
    if ty == "LoadBalancer" {
        or(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn hpa_behavior(spec: &mut Map<String, Value>) {
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let down =
        json!({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    for (key, defaults) in [("scaleUp", up), ("scaleDown", down)] {
        let Some(defaults) = defaults.as_object().cloned() else { continue };
        let rules = behavior.entry(key).or_insert_with(|| json!({}));
        if let Some(rules) = rules.as_object_mut() {
            for (name, value) in defaults {
                or(rules, &name, value);
            }
        }
    }
}

/// Fills in defaults of a pod's specification.
pub fn pod_spec(spec: &mut Map<String, Value>) {
    or(spec, "dnsPolicy", "ClusterFirst");
    or(spec, "restartPolicy", "Always");
    or(spec, "schedulerName", "default-scheduler");
    or(spec, "securityContext", json!({}));
    or(spec, "terminationGracePeriodSeconds", 30);
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        or(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        or(spec, "serviceAccountName", account);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in each(spec, list) {
            self::container(container, host_network);
        }
    }
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
    for constraint in each(spec, "topologySpreadConstraints") {
        if constraint.contains_key("labelSelector") {
            or(constraint, "whenUnsatisfiable", "DoNotSchedule");
        }
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    or(container, "terminationMessagePath", "/dev/termination-log");
    or(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if !image.is_empty() && is_latest(image) { "Always" } else { "IfNotPresent" };
    or(container, "imagePullPolicy", policy);
    for port in each(container, "ports") {
        or(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            or(port, "hostPort", number);
        }
    }
    for env in each(container, "env") {
        if let Some(field) =
            env.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")).and_then(Value::as_object_mut)
        {
            or(field, "apiVersion", "v1");
        }
        if let Some(field) = env
            .get_mut("valueFrom")
            .and_then(|from| from.get_mut("resourceFieldRef"))
            .and_then(Value::as_object_mut)
        {
            or(field, "divisor", "0");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            or(probe, key, value);
        }
        handler(probe);
    }
    for hook in ["postStart", "preStop"] {
        let hook = container
            .get_mut("lifecycle")
            .and_then(|lifecycle| lifecycle.get_mut(hook))
            .and_then(Value::as_object_mut);
        if let Some(hook) = hook {
            handler(hook);
        }
    }
}

/// What a pod's container may use at most, it requests. Templates say nothing of it.
fn requests(container: &mut Map<String, Value>) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, value) in limits {
            or(requests, &name, value);
        }
    }
}

/// A pod's first address stands in both places.
fn addresses(status: &mut Map<String, Value>) {
    let first = status.get("podIPs").and_then(|list| list[0]["ip"].as_str()).map(str::to_owned);
    if let Some(first) = first {
        status.insert("podIP".to_owned(), Value::from(first));
    } else if let Some(address) =
        status.get("podIP").and_then(Value::as_str).filter(|address| !address.is_empty())
    {
        let list = json!([{"ip": address}]);
        status.insert("podIPs".to_owned(), list);
    }
}

fn handler(action: &mut Map<String, Value>) {
    if let Some(http) = action.get_mut("httpGet").and_then(Value::as_object_mut) {
        or(http, "path", "/");
        or(http, "scheme", "HTTP");
    }
    if let Some(grpc) = action.get_mut("grpc").and_then(Value::as_object_mut) {
        or(grpc, "service", "");
    }
}

fn volume(volume: &mut Map<String, Value>) {
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            or(source, "defaultMode", 420);
        }
    }
    if let Some(host) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        or(host, "type", "");
    }
    let downward = |api: &mut Map<String, Value>| {
        for item in each(api, "items") {
            if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
                or(field, "apiVersion", "v1");
            }
        }
    };
    if let Some(api) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        downward(api);
    }
    if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
        for source in each(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                or(token, "expirationSeconds", 3600);
            }
            if let Some(api) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                downward(api);
            }
        }
    }
    let sources = ["name"];
    if volume.keys().all(|key| sources.contains(&key.as_str())) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
}

/// Whether an image has the tag `latest`, or none and no digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest" || tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::types;

    fn filled(kind: &str, ty: &str, object: Value) -> Value {
        let mut object = object;
        let ty = types::find(ty).expect("type");
        types::normalise(&mut object, &ty);
        fill_in(kind, &mut object);
        object
    }

    #[test]
    fn pod_templates_are_complete() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{
            "name": "a", "image": "nginx", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1000m"}}}], "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]}});
        let got = filled(
            "ReplicaSet",
            "apps.v1.ReplicaSet",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}),
        );
        assert_eq!(got["spec"]["replicas"], 1);
        assert_eq!(
            got["spec"]["template"]["spec"],
            json!({
                "containers": [{
                    "name": "a", "image": "nginx", "imagePullPolicy": "Always",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
                    "resources": {"limits": {"cpu": "1"}},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            })
        );
    }

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, latest) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("reg:5000/nginx", true),
            ("reg:5000/nginx:2", false),
            ("nginx@sha256:abc", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}]}}});
        for (kind, ty) in [
            ("Deployment", "apps.v1.Deployment"),
            ("ReplicaSet", "apps.v1.ReplicaSet"),
            ("Job", "batch.v1.Job"),
            ("StatefulSet", "apps.v1.StatefulSet"),
        ] {
            let once = filled(kind, ty, json!({"metadata": {"name": "x"}, "spec": spec}));
            assert_eq!(filled(kind, ty, once.clone()), once, "{kind}");
        }
    }
}
