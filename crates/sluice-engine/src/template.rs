//! When two pod templates mean the same.
//!
//! A ReplicaSet belongs to a revision if its template *means* what the Rollout's template means:
//! whatever an API server fills in by default, whichever way a quantity is written, and whether an
//! empty field is written out or left away. This module brings a template into one canonical form and
//! takes a digest of it; equality of digests is equality of meaning. It does not decide which
//! ReplicaSet is current (see `identity`), and it never changes a template that is written somewhere.
//!
//! The canonical form works on raw JSON, so fields that this version of Kubernetes does not know yet
//! take part in it like any other.

use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sluice_api::{Quantity, keys, step_hash};

/// A digest of the meaning of a pod template.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateDigest([u8; 16]);

impl fmt::Debug for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Metadata that a controller injected into the template of a ReplicaSet and recorded beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Keys of labels that were injected.
    pub labels: Vec<String>,
    /// Keys of annotations that were injected.
    pub annotations: Vec<String>,
}

impl Injected {
    /// Reads the record that stands in the `rollout.argoproj.io/ephemeral-metadata` annotation.
    /// Anything unreadable counts as nothing injected.
    pub fn from_annotation(text: Option<&str>) -> Injected {
        let record: Value = text.and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
        let keys_of = |field: &str| {
            record
                .get(field)
                .and_then(Value::as_object)
                .map(|m| m.keys().cloned().collect())
                .unwrap_or_default()
        };
        Injected { labels: keys_of("labels"), annotations: keys_of("annotations") }
    }
}

/// Returns the digest of what `template` means.
pub fn digest(template: &Value, injected: &Injected) -> TemplateDigest {
    let canonical = canonical(template, injected);
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&canonical).unwrap_or_default());
    let full = hasher.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    TemplateDigest(short)
}

/// Returns a print of a template as it is written.
pub fn print(text: &str) -> String {
    use std::fmt::Write;
    let full = Sha256::digest(text.as_bytes());
    full[..8].iter().fold(String::new(), |mut print, byte| {
        // Writing to a String cannot fail.
        let _ = write!(print, "{byte:02x}");
        print
    })
}

/// Returns the name part for a new ReplicaSet of this template: 32 bits of its canonical form, in the
/// alphabet that Kubernetes uses for generated names. `collisions` counts names that were taken.
pub fn pod_template_hash(template: &Value, collisions: Option<i32>) -> String {
    let mut bytes = serde_json::to_vec(&canonical(template, &Injected::default())).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    step_hash::safe_encode(step_hash::fnv1a_32(&bytes))
}

/// Returns the canonical form of `template`: equal for templates that mean the same.
pub fn canonical(template: &Value, injected: &Injected) -> Value {
    let mut form = template.clone();
    strip_injected(&mut form, injected);
    if let Some(spec) = form.get_mut("spec").and_then(Value::as_object_mut) {
        strip_injected_affinity(spec);
        pod_spec(spec);
    }
    if let Some(metadata) = form.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    prune(&mut form);
    numbers(&mut form);
    form
}

fn strip_injected(template: &mut Value, injected: &Injected) {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(keys::POD_TEMPLATE_HASH);
        for key in &injected.labels {
            labels.remove(key);
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        for key in &injected.annotations {
            annotations.remove(key);
        }
    }
}

/// Removes the anti-affinity term that keeps a new version away from the stable one. It is known by
/// its shape: the only expression asks for a pod template hash.
fn strip_injected_affinity(spec: &mut Map<String, Value>) {
    let is_injected = |term: &Value| {
        let expressions = term.pointer("/labelSelector/matchExpressions").and_then(Value::as_array);
        expressions.is_some_and(|list| {
            list.len() == 1 && list[0].get("key").and_then(Value::as_str) == Some(keys::POD_TEMPLATE_HASH)
        })
    };
    let Some(anti) = spec.get_mut("affinity").and_then(|a| a.get_mut("podAntiAffinity")) else { return };
    if let Some(list) =
        anti.get_mut("requiredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut)
    {
        list.retain(|term| !is_injected(term));
    }
    if let Some(list) =
        anti.get_mut("preferredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut)
    {
        list.retain(|weighted| !weighted.get("podAffinityTerm").is_some_and(is_injected));
    }
}

/// Removes `object[key]` if it says what an API server would fill in.
fn default(object: &mut Map<String, Value>, key: &str, value: &Value) {
    if object.get(key) == Some(value) {
        object.remove(key);
    }
}

fn defaults(object: &mut Map<String, Value>, list: &[(&str, Value)]) {
    for (key, value) in list {
        default(object, key, value);
    }
}

fn each<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn pod_spec(spec: &mut Map<String, Value>) {
    // The deprecated twin of serviceAccountName; an API server keeps both equal.
    if let Some(account) = spec.remove("serviceAccount") {
        spec.entry("serviceAccountName").or_insert(account);
    }
    defaults(
        spec,
        &[
            ("dnsPolicy", "ClusterFirst".into()),
            ("restartPolicy", "Always".into()),
            ("schedulerName", "default-scheduler".into()),
            ("terminationGracePeriodSeconds", 30.into()),
            ("enableServiceLinks", true.into()),
            ("preemptionPolicy", "PreemptLowerPriority".into()),
            ("hostNetwork", false.into()),
            ("hostPID", false.into()),
            ("hostIPC", false.into()),
        ],
    );
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        each(spec, list).for_each(|c| container(c, host_network));
    }
    each(spec, "volumes").for_each(volume);
    if let Some(overhead) = spec.get_mut("overhead") {
        quantities(overhead);
    }
    if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) {
        resource_lists(resources);
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    let pull_policy = match container.get("image").and_then(Value::as_str) {
        Some(image) if !is_latest(image) => "IfNotPresent",
        _ => "Always",
    };
    defaults(
        container,
        &[
            ("imagePullPolicy", pull_policy.into()),
            ("terminationMessagePath", "/dev/termination-log".into()),
            ("terminationMessagePolicy", "File".into()),
            ("stdin", false.into()),
            ("stdinOnce", false.into()),
            ("tty", false.into()),
        ],
    );
    each(container, "ports").for_each(|port| {
        default(port, "protocol", &"TCP".into());
        if host_network && port.get("hostPort") == port.get("containerPort") {
            port.remove("hostPort");
        }
        default(port, "hostPort", &0.into());
    });
    each(container, "env").for_each(|env| {
        if let Some(source) = env.get_mut("valueFrom").and_then(Value::as_object_mut) {
            value_source(source);
        }
    });
    each(container, "volumeMounts").for_each(|mount| {
        default(mount, "readOnly", &false.into());
        default(mount, "recursiveReadOnly", &"Disabled".into());
    });
    for probe_name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe_name).and_then(Value::as_object_mut) {
            defaults(
                probe,
                &[
                    ("failureThreshold", 3.into()),
                    ("periodSeconds", 10.into()),
                    ("successThreshold", 1.into()),
                    ("timeoutSeconds", 1.into()),
                    ("initialDelaySeconds", 0.into()),
                ],
            );
            handler(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook).and_then(Value::as_object_mut) {
                handler(hook);
            }
        }
    }
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
        resource_lists(resources);
    }
    if let Some(security) = container.get_mut("securityContext").and_then(Value::as_object_mut) {
        default(security, "procMount", &"Default".into());
    }
}

fn is_latest(image: &str) -> bool {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn handler(handler: &mut Map<String, Value>) {
    if let Some(get) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        defaults(get, &[("scheme", "HTTP".into()), ("path", "/".into())]);
    }
}

fn value_source(source: &mut Map<String, Value>) {
    if let Some(field) = source.get_mut("fieldRef").and_then(Value::as_object_mut) {
        default(field, "apiVersion", &"v1".into());
    }
    if let Some(resource) = source.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
        if let Some(divisor) = resource.get_mut("divisor") {
            quantity_value(divisor);
        }
        default(resource, "divisor", &"0".into());
    }
    for reference in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = source.get_mut(reference).and_then(Value::as_object_mut) {
            default(reference, "optional", &false.into());
        }
    }
}

fn resource_lists(resources: &mut Map<String, Value>) {
    for list in ["limits", "requests"] {
        if let Some(list) = resources.get_mut(list) {
            quantities(list);
        }
    }
}

fn quantities(list: &mut Value) {
    for quantity in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        quantity_value(quantity);
    }
}

/// Writes a quantity in its one canonical form; what is no quantity stays as it is.
fn quantity_value(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(quantity) = Quantity::parse(&text) {
        *value = Value::String(quantity.to_string());
    }
}

fn volume(volume: &mut Map<String, Value>) {
    let mode = Value::from(420);
    for (source, field) in [
        ("configMap", "defaultMode"),
        ("secret", "defaultMode"),
        ("downwardAPI", "defaultMode"),
        ("projected", "defaultMode"),
    ] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, field, &mode);
            default(source, "optional", &false.into());
        }
    }
    if let Some(downward) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        each(downward, "items").for_each(value_source);
    }
    if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
        each(projected, "sources").for_each(|source| {
            if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                default(token, "expirationSeconds", &3600.into());
            }
            if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                each(downward, "items").for_each(value_source);
            }
        });
    }
    if let Some(empty) = volume.get_mut("emptyDir").and_then(Value::as_object_mut)
        && let Some(limit) = empty.get_mut("sizeLimit")
    {
        quantity_value(limit);
    }
    let source_defaults: [(&str, &[(&str, Value)]); 4] = [
        ("hostPath", &[("type", "".into())]),
        ("iscsi", &[("iscsiInterface", "default".into())]),
        ("rbd", &[("pool", "rbd".into()), ("user", "admin".into()), ("keyring", "/etc/ceph/keyring".into())]),
        (
            "azureDisk",
            &[
                ("cachingMode", "ReadWrite".into()),
                ("fsType", "ext4".into()),
                ("kind", "Shared".into()),
                ("readOnly", false.into()),
            ],
        ),
    ];
    for (source, list) in source_defaults {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            defaults(source, list);
        }
    }
    if let Some(claim) = volume.get_mut("persistentVolumeClaim").and_then(Value::as_object_mut) {
        default(claim, "readOnly", &false.into());
    }
    if let Some(claim) = volume
        .get_mut("ephemeral")
        .and_then(|e| e.pointer_mut("/volumeClaimTemplate/spec"))
        .and_then(Value::as_object_mut)
    {
        default(claim, "volumeMode", &"Filesystem".into());
        if let Some(resources) = claim.get_mut("resources").and_then(Value::as_object_mut) {
            resource_lists(resources);
        }
    }
}

/// Removes nulls, empty strings, empty lists and empty objects: absent and empty mean the same.
/// Not for selectors, where an empty one selects everything and an absent one nothing, and not for
/// the items of a list, whose number has a meaning.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for child in map.values_mut() {
                prune(child);
            }
            map.retain(|key, child| !is_empty(child) || is_selector(key, child));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_selector(key: &str, value: &Value) -> bool {
    value.is_object() && matches!(key, "labelSelector" | "namespaceSelector" | "selector")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Writes whole numbers as integers, so that `8080.0` and `8080` are the same.
fn numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(numbers),
        Value::Array(list) => list.iter_mut().for_each(numbers),
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && number.is_f64()
                && float.fract() == 0.0
                && float.abs() < 9e15
            {
                *value = Value::from(float as i64);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(left: &Value, right: &Value) -> bool {
        digest(left, &Injected::default()) == digest(right, &Injected::default())
    }

    fn pod(spec: Value) -> Value {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": spec})
    }

    #[test]
    fn templates_that_mean_the_same() {
        let container = |extra: Value| {
            let mut container = json!({"name": "app", "image": "registry.example/web:1"});
            for (key, value) in extra.as_object().expect("an object") {
                container[key] = value.clone();
            }
            pod(json!({"containers": [container]}))
        };
        let with = |key: &str, value: Value| {
            let mut template = container(json!({}));
            template["spec"][key] = value;
            template
        };
        let plain = container(json!({}));
        for (other, equal) in [
            (container(json!({"imagePullPolicy": "IfNotPresent"})), true),
            (container(json!({"imagePullPolicy": "Always"})), false),
            (container(json!({"resources": {}})), true),
            (
                container(
                    json!({"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}),
                ),
                true,
            ),
            (container(json!({"terminationMessagePolicy": "FallbackToLogsOnError"})), false),
            (container(json!({"env": []})), true),
            (container(json!({"env": null, "command": []})), true),
            (container(json!({"stdin": true})), false),
            (container(json!({"securityContext": {"allowPrivilegeEscalation": false}})), false),
            (container(json!({"futureField": "x"})), false),
            (with("restartPolicy", json!("Always")), true),
            (with("terminationGracePeriodSeconds", json!(30)), true),
            (with("terminationGracePeriodSeconds", json!(0)), false),
            (with("securityContext", json!({})), true),
            (with("dnsPolicy", json!("Default")), false),
            (with("hostNetwork", json!(false)), true),
            (with("tolerations", json!([{}])), false),
        ] {
            assert_eq!(same(&plain, &other), equal, "{other}");
        }
    }

    #[test]
    fn quantities_compare_by_value() {
        let limits =
            |list: Value| pod(json!({"containers": [{"name": "app", "resources": {"limits": list}}]}));
        for (left, right, equal) in [
            (json!({"cpu": "1000m"}), json!({"cpu": "1"}), true),
            (json!({"cpu": 1}), json!({"cpu": "1"}), true),
            (json!({"memory": "1024Mi"}), json!({"memory": "1Gi"}), true),
            (json!({"memory": "0.5Gi"}), json!({"memory": "512Mi"}), true),
            (json!({"memory": "1G"}), json!({"memory": "1Gi"}), false),
            (json!({"cpu": "0.15"}), json!({"cpu": "150m"}), true),
        ] {
            assert_eq!(same(&limits(left.clone()), &limits(right.clone())), equal, "{left} {right}");
        }
    }

    #[test]
    fn what_controllers_inject_is_left_aside() {
        let plain = pod(json!({"containers": [{"name": "app", "image": "web:1"}]}));
        let mut labelled = plain.clone();
        labelled["metadata"]["labels"][keys::POD_TEMPLATE_HASH] = json!("abc");
        assert!(same(&plain, &labelled));

        let mut spread = plain.clone();
        spread["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchExpressions": [{"key": keys::POD_TEMPLATE_HASH, "operator": "In", "values": ["abc"]}]},
            "namespaces": ["prod"], "topologyKey": "kubernetes.io/hostname"}]}});
        assert!(same(&plain, &spread));

        let mut role = plain.clone();
        role["metadata"]["labels"]["role"] = json!("canary");
        assert!(!same(&plain, &role));
        let record = Injected::from_annotation(Some(r#"{"labels":{"role":"canary"},"annotations":{}}"#));
        assert_eq!(digest(&role, &record), digest(&plain, &Injected::default()));
    }

    #[test]
    fn an_empty_selector_is_not_an_absent_one() {
        let spread = |term: Value| pod(json!({"containers": [], "topologySpreadConstraints": [term]}));
        assert!(!same(&spread(json!({"maxSkew": 1, "labelSelector": {}})), &spread(json!({"maxSkew": 1}))));
    }

    #[test]
    fn names_differ_by_template_and_by_collision() {
        let one = pod(json!({"containers": [{"name": "app", "image": "web:1"}]}));
        let two = pod(json!({"containers": [{"name": "app", "image": "web:2"}]}));
        let name = pod_template_hash(&one, None);
        assert_ne!(name, pod_template_hash(&two, None));
        assert_ne!(name, pod_template_hash(&one, Some(1)));
        assert!(name.bytes().all(|b| b"456789bcdf".contains(&b)), "fit for a name: {name}");
    }
}
