//! The kinds that requests are about, and values that their fields may and may not have.
//!
//! Decides nothing about order or chance: `sequence` picks from these tables.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// One kind, as requests speak of it.
#[derive(Debug)]
pub struct Kind {
    /// Kind, such as `ReplicaSet`.
    pub name: &'static str,
    /// `group/version`.
    pub api_version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Has `/status`.
    pub has_status: bool,
    /// Has `/scale`.
    pub has_scale: bool,
    /// Comes from a CustomResourceDefinition.
    pub is_custom: bool,
    /// How often a sequence is about it.
    pub weight: u32,
    /// The smallest valid object, without a name.
    pub base: Value,
    /// Fields outside the status.
    pub fields: Vec<Field>,
    /// Fields of the status.
    pub status: Vec<Field>,
    /// Strategic merge patches.
    pub strategic: Vec<Value>,
}

/// One field with values for it.
#[derive(Debug)]
pub struct Field {
    /// JSON pointer.
    pub path: &'static str,
    /// Values that are fine.
    pub good: Vec<Value>,
    /// Values that are refused, or dropped.
    pub bad: Vec<Value>,
}

impl Kind {
    /// The path of the collection in a namespace.
    pub fn collection(&self, namespace: &str) -> String {
        let prefix = if self.api_version.contains('/') { "apis" } else { "api" };
        format!("/{prefix}/{}/namespaces/{namespace}/{}", self.api_version, self.plural)
    }

    /// A valid object of that name.
    pub fn object(&self, name: &str) -> Value {
        let mut object = self.base.clone();
        object["apiVersion"] = self.api_version.into();
        object["kind"] = self.name.into();
        object["metadata"] = json!({"name": name});
        object
    }
}

fn fields(table: &[(&'static str, Value, Value)]) -> Vec<Field> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    table.iter().map(|(path, good, bad)| Field { path, good: list(good), bad: list(bad) }).collect()
}

/// Fields of `metadata` that every kind has.
pub static METADATA: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let owner = |controller: bool| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d11", "controller": controller});
    let nameless =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "uid": "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d11"});
    fields(&[
        (
            "/metadata/labels",
            json!([{"app": "web"}, {"app": "web", "tier": "1"}, {"app": "api"}, {"app": "web", "x.io/y": ""}]),
            json!([{"a b": "c"}, {"app": "-web-"}, {"app": 1}, "app=web"]),
        ),
        (
            "/metadata/annotations",
            json!([{"note": "one"}, {"note": "two", "x.io/y": "z"}, {}]),
            json!([{"a b": "c"}, {"note": true}]),
        ),
        (
            "/metadata/finalizers",
            json!([["sluice.example/hold"], ["sluice.example/hold", "sluice.example/second"], []]),
            json!([["-bad-/x"], "sluice.example/hold"]),
        ),
        ("/metadata/ownerReferences", json!([[owner(true)], [owner(false)], []]), json!([[nameless]])),
    ])
});

/// All kinds.
pub static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    vec![
        rollout(),
        widget(),
        analysis_run(),
        replica_set(),
        deployment(),
        service(),
        config_map(),
        pod(),
        lease(),
        event(),
    ]
});

/// The definition of a kind that has one of everything a schema can say.
pub fn widget_crd() -> Value {
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "message": {"type": "string"}}});
    let port = json!({"type": "object", "required": ["name", "port"], "properties": {
        "name": {"type": "string"}, "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "protocol": {"type": "string", "default": "TCP"}, "note": {"type": "string"}}});
    let spec = json!({"type": "object", "required": ["title"], "properties": {
        "title": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$"},
        "size": {"type": "integer", "default": 1, "minimum": 0, "maximum": 10},
        "ratio": {"type": "number"},
        "mode": {"type": "string", "enum": ["On", "Off"], "default": "On"},
        "surge": {"x-kubernetes-int-or-string": true},
        "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed cannot be changed"}]},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": port},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 3, "items": {"type": "string"}},
        "plain": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}, "b": {"type": "integer"}}}},
        "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
        "place": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"zone": {"type": "string"}, "rack": {"type": "string"}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "integer"}}},
        "maybe": {"type": "string", "nullable": true},
        "deep": {"type": "object", "default": {}, "properties": {
            "level": {"type": "integer", "default": 3}, "inner": {"type": "object", "required": ["must"], "properties": {"must": {"type": "boolean"}}}}},
    }});
    let status = json!({"type": "object", "properties": {
        "phase": {"type": "string"}, "count": {"type": "integer", "default": 7},
        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": condition}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.sluice.example"},
        "spec": {
            "group": "sluice.example", "scope": "Namespaced",
            "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}}}}],
        },
    })
}

fn widget() -> Kind {
    Kind {
        name: "Widget",
        api_version: "sluice.example/v1",
        plural: "widgets",
        has_status: true,
        has_scale: false,
        is_custom: true,
        weight: 6,
        base: json!({"spec": {"title": "one"}}),
        fields: fields(&[
            ("/spec/title", json!(["two", "three"]), json!([null, 5, "Capital", "waytoolong", "x"])),
            ("/spec/size", json!([0, 1, 5, 10]), json!([11, -1, "five", 1.5, null])),
            ("/spec/ratio", json!([0.5, 2, 2.25]), json!(["half"])),
            ("/spec/mode", json!(["On", "Off"]), json!(["Dim", true])),
            ("/spec/surge", json!([1, "25%", "x"]), json!([true, 1.5, []])),
            ("/spec/fixed", json!(["a", "b"]), json!([3])),
            (
                "/spec/ports",
                json!([
                    [{"name": "a", "port": 1}], [{"name": "b", "port": 2, "note": "n"}, {"name": "a", "port": 3}],
                    [{"name": "b", "port": 2, "protocol": "UDP"}], []
                ]),
                json!([[{"name": "a", "port": 1}, {"name": "a", "port": 2}], [{"port": 1}], [{"name": "a", "port": 70000}], [{"name": "a", "port": 1, "more": 1}], {"name": "a"}]),
            ),
            (
                "/spec/tags",
                json!([["x"], ["x", "y"], ["z"]]),
                json!([["x", "x"], ["a", "b", "c", "d"], [1], "x"]),
            ),
            (
                "/spec/plain",
                json!([[{}], [{"a": "y", "b": 1}, {"b": 2}], []]),
                json!([[{"c": 1}], [null], [3]]),
            ),
            (
                "/spec/limits",
                json!([{"cpu": 1}, {"cpu": 2, "memory": 3}, {}]),
                json!([{"cpu": "1"}, {"cpu": null}]),
            ),
            (
                "/spec/place",
                json!([{"zone": "a"}, {"zone": "b", "rack": "r"}]),
                json!([{"zone": 1}, {"street": "s"}]),
            ),
            (
                "/spec/free",
                json!([{"known": 1, "other": [1, {"a": null}]}, {"x": {"y": "z"}}, {}]),
                json!([{"known": "no"}]),
            ),
            ("/spec/maybe", json!(["yes", null]), json!([1])),
            (
                "/spec/deep",
                json!([{}, {"level": 4}, {"inner": {"must": true}}]),
                json!([{"inner": {}}, {"level": "high"}, 3, null]),
            ),
        ]),
        status: fields(&[
            ("/status/phase", json!(["New", "Old"]), json!([1])),
            ("/status/count", json!([1, 2]), json!(["one"])),
            (
                "/status/conditions",
                json!([[{"type": "A", "status": "True"}], [{"type": "A", "status": "False", "message": "m"}, {"type": "B", "status": "True"}]]),
                json!([[{"type": "A"}], [{"type": "A", "status": "Maybe"}]]),
            ),
        ]),
        strategic: vec![json!({"spec": {"size": 2}})],
    }
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}})
}

fn containers() -> Value {
    json!([
        [{"name": "web", "image": "registry.example/web:2"}],
        [{"name": "web", "image": "registry.example/web", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
        [{"name": "web", "image": "registry.example/web:1", "resources": {"limits": {"cpu": "1000m", "memory": "0.5Gi"}, "requests": {"cpu": "0.1"}}}],
        [{"name": "side", "image": "registry.example/side:1"}, {"name": "web", "image": "registry.example/web:1", "args": ["-v"],
            "readinessProbe": {"httpGet": {"port": 80}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    ])
}

fn rollout() -> Kind {
    let steps = json!([
        [{"setWeight": 20}, {"pause": {}}],
        [{"setWeight": 20}, {"pause": {"duration": "10s"}}, {"setWeight": 60}, {"pause": {"duration": 30}}],
        []
    ]);
    Kind {
        name: "Rollout",
        api_version: "argoproj.io/v1alpha1",
        plural: "rollouts",
        has_status: true,
        has_scale: true,
        is_custom: true,
        weight: 8,
        base: json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template(), "strategy": {"canary": {}}}}),
        fields: fields(&[
            ("/spec/replicas", json!([0, 1, 3]), json!(["two", 1.5, null, -1])),
            (
                "/spec/selector",
                json!([{"matchLabels": {"app": "web"}}]),
                json!([{"matchLabels": {"app": "api"}}, "app"]),
            ),
            ("/spec/minReadySeconds", json!([0, 5]), json!(["5", 4_294_967_296_u64])),
            ("/spec/paused", json!([true, false]), json!(["true"])),
            (
                "/spec/strategy/canary/steps",
                steps,
                json!([{"setWeight": 1}, ["pause"], [{"setWeight": "20"}]]),
            ),
            ("/spec/strategy/canary/maxSurge", json!([1, "25%"]), json!([true])),
            ("/spec/strategy/canary/canaryService", json!(["canary", "other"]), json!([{}])),
            ("/spec/template/spec/containers", containers(), json!([])),
            ("/spec/template/metadata/annotations", json!([{"a": "b"}, {}]), json!([])),
            ("/spec/restartAt", json!(["2026-01-01T00:00:00Z", null]), json!(["soon", 5])),
            ("/spec/unheardOf", json!([]), json!([1, {"a": "b"}])),
            (
                "/spec/workloadRef",
                json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}]),
                json!([{"name": 1}, {"nick": "d"}]),
            ),
        ]),
        status: fields(&[
            ("/status/phase", json!(["Progressing", "Healthy", "Paused"]), json!([1])),
            ("/status/HPAReplicas", json!([1, 2]), json!(["1"])),
            ("/status/replicas", json!([1, 4]), json!([1.5])),
            ("/status/selector", json!(["app=web", "app=web,hash=abc"]), json!([7])),
            ("/status/abort", json!([true, false]), json!(["yes"])),
            (
                "/status/pauseConditions",
                json!([[{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}], null]),
                json!([[{"reason": "x"}]]),
            ),
            (
                "/status/conditions",
                json!([[{"type": "Available", "status": "True", "reason": "r", "message": "m"}], []]),
                json!([[{"type": "Available"}], [{"type": "A", "status": "True", "age": 1}]]),
            ),
            (
                "/status/canary",
                json!([{"weights": {"canary": {"weight": 20}, "stable": {"weight": 80}}}, {}]),
                json!([{"weights": 20}, "x"]),
            ),
        ]),
        strategic: vec![json!({"spec": {"replicas": 4}})],
    }
}

fn analysis_run() -> Kind {
    let metric = |name: &str| json!({"name": name, "interval": "10s", "provider": {"job": {"spec": {"template": {"spec": {"x": 1}}}}}});
    Kind {
        name: "AnalysisRun",
        api_version: "argoproj.io/v1alpha1",
        plural: "analysisruns",
        has_status: false,
        has_scale: false,
        is_custom: true,
        weight: 4,
        base: json!({"spec": {"metrics": [{"name": "m", "provider": {"web": {"url": "http://a.example/"}}}]}}),
        fields: fields(&[
            ("/spec/terminate", json!([true, false]), json!(["now"])),
            (
                "/spec/args",
                json!([[{"name": "a", "value": "1"}], [{"name": "a"}, {"name": "b", "value": ""}]]),
                json!([[{"name": 1}], [{"value": "x"}], {}]),
            ),
            ("/spec/metrics", json!([[metric("m")], [metric("m"), metric("n")]]), json!([null, "m"])),
            ("/spec/nothing", json!([]), json!([1])),
            ("/status/phase", json!(["Running", "Successful", "Failed"]), json!([2])),
            ("/status/message", json!(["m", ""]), json!([[]])),
            (
                "/status/metricResults",
                json!([[{"name": "m", "phase": "Running", "count": 1}], []]),
                json!([[{"name": "m", "count": "one"}]]),
            ),
            ("/status/startedAt", json!(["2026-01-01T00:00:00Z"]), json!(["long ago"])),
        ]),
        status: Vec::new(),
        strategic: vec![json!({"spec": {"terminate": true}})],
    }
}

fn strategic_template() -> Vec<Value> {
    let pod = |change: Value| json!({"spec": {"template": {"spec": change}}});
    vec![
        pod(json!({"containers": [{"name": "web", "image": "registry.example/web:3"}]})),
        pod(
            json!({"containers": [{"name": "web", "env": [{"name": "A", "value": "9"}, {"name": "C", "value": "3"}]}]}),
        ),
        pod(json!({"containers": [{"name": "web", "env": [{"name": "A", "$patch": "delete"}]}]})),
        pod(json!({"containers": [{"name": "side", "image": "registry.example/side:2"}]})),
        pod(json!({"containers": [{"name": "side", "$patch": "delete"}]})),
        pod(
            json!({"$setElementOrder/containers": [{"name": "web"}, {"name": "side"}], "containers": [{"name": "side", "image": "registry.example/side:3"}]}),
        ),
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
        ),
        pod(json!({"containers": [{"image": "registry.example/nameless:1"}]})),
        pod(json!({"terminationGracePeriodSeconds": null, "dnsPolicy": "Default"})),
        json!({"metadata": {"labels": {"app": "web", "tier": "9"}, "finalizers": ["sluice.example/hold"]}}),
        json!({"metadata": {"labels": {"$patch": "replace", "only": "this"}}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["sluice.example/hold"]}}),
        json!({"spec": {"replicas": null}}),
        json!({"spec": {"replicas": 6, "minReadySeconds": 1}}),
        json!({"spec": {"replicas": "six"}}),
    ]
}

fn workload_fields() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("/spec/replicas", json!([0, 1, 3]), json!([-1, "two"])),
        (
            "/spec/selector",
            json!([{"matchLabels": {"app": "web"}}]),
            json!([{"matchLabels": {"app": "api"}}, null]),
        ),
        ("/spec/minReadySeconds", json!([0, 5]), json!([-5, "5"])),
        (
            "/spec/template/spec/containers",
            containers(),
            json!([[{"name": "web"}], [], [{"image": "registry.example/x:1"}]]),
        ),
        (
            "/spec/template/spec/volumes",
            json!([[{"name": "v"}], [{"name": "v", "configMap": {"name": "c"}}]]),
            json!([]),
        ),
        (
            "/spec/template/metadata/labels",
            json!([{"app": "web", "more": "1"}, {"app": "web"}]),
            json!([{"app": "api"}]),
        ),
        ("/spec/template/spec/restartPolicy", json!(["Always"]), json!(["Never"])),
        ("/spec/unheardOf", json!([]), json!([1, {"a": "b"}])),
    ]
}

fn replica_set() -> Kind {
    Kind {
        name: "ReplicaSet",
        api_version: "apps/v1",
        plural: "replicasets",
        has_status: true,
        has_scale: true,
        is_custom: false,
        weight: 6,
        base: json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template()}}),
        fields: fields(&workload_fields()),
        status: fields(&[
            ("/status/replicas", json!([0, 1, 2]), json!([-1, "one"])),
            ("/status/readyReplicas", json!([0, 1]), json!([5])),
            ("/status/observedGeneration", json!([1, 2]), json!([])),
            (
                "/status/conditions",
                json!([[{"type": "ReplicaFailure", "status": "True", "reason": "r"}], []]),
                json!([]),
            ),
        ]),
        strategic: strategic_template(),
    }
}

fn deployment() -> Kind {
    let mut table = workload_fields();
    table.extend([
        ("/spec/paused", json!([true, false]), json!(["true"])),
        ("/spec/strategy", json!([{"type": "Recreate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, {}]), json!([{"type": "Slow"}])),
        ("/spec/revisionHistoryLimit", json!([2]), json!([-2])),
    ]);
    Kind {
        name: "Deployment",
        api_version: "apps/v1",
        plural: "deployments",
        has_status: true,
        has_scale: true,
        is_custom: false,
        weight: 3,
        base: json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template()}}),
        fields: fields(&table),
        status: fields(&[
            ("/status/replicas", json!([0, 1, 2]), json!([-1])),
            ("/status/observedGeneration", json!([1, 2]), json!([])),
            (
                "/status/conditions",
                json!([[{"type": "Available", "status": "True"}], [{"type": "Progressing", "status": "True", "reason": "r"}]]),
                json!([]),
            ),
        ]),
        strategic: strategic_template(),
    }
}

fn service() -> Kind {
    Kind {
        name: "Service",
        api_version: "v1",
        plural: "services",
        has_status: true,
        has_scale: false,
        is_custom: false,
        weight: 2,
        base: json!({"spec": {"ports": [{"port": 80}]}}),
        fields: fields(&[
            (
                "/spec/selector",
                json!([{"app": "web"}, {"app": "web", "hash": "abc"}, {"app": "api"}]),
                json!([{"app": 1}]),
            ),
            (
                "/spec/ports",
                json!([[{"port": 80, "targetPort": "http"}], [{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 8080}], [{"port": 80}]]),
                json!([[{"port": 0}], [{"port": 80}, {"port": 81}], []]),
            ),
            ("/spec/sessionAffinity", json!(["None", "ClientIP"]), json!(["Sticky"])),
            ("/spec/publishNotReadyAddresses", json!([true, false]), json!(["true"])),
        ]),
        status: fields(&[(
            "/status/loadBalancer",
            json!([{"ingress": [{"ip": "192.0.2.1"}]}, {}]),
            json!([7]),
        )]),
        strategic: vec![
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8081}]}}),
            json!({"spec": {"ports": [{"port": 80, "$patch": "delete"}, {"port": 82, "name": "c"}]}}),
            json!({"spec": {"selector": {"hash": "def"}}}),
            json!({"spec": {"selector": {"app": null}}}),
        ],
    }
}

fn config_map() -> Kind {
    Kind {
        name: "ConfigMap",
        api_version: "v1",
        plural: "configmaps",
        has_status: false,
        has_scale: false,
        is_custom: false,
        weight: 3,
        base: json!({}),
        fields: fields(&[
            (
                "/data",
                json!([{"a": "1"}, {"a": "2", "b": "3"}, {"c.d": ""}, {}]),
                json!([{"a": 1}, {"a b": "1"}, "a"]),
            ),
            ("/binaryData", json!([{"z": "eA=="}]), json!([{"z": "?"}])),
            ("/immutable", json!([false, true]), json!(["true"])),
            ("/spec", json!([]), json!([{"a": 1}])),
        ]),
        status: Vec::new(),
        strategic: vec![
            json!({"data": {"a": "5"}}),
            json!({"data": {"a": null}}),
            json!({"data": null}),
            json!({"data": {"$patch": "replace", "n": "1"}}),
            json!({"immutable": true}),
        ],
    }
}

fn pod() -> Kind {
    Kind {
        name: "Pod",
        api_version: "v1",
        plural: "pods",
        has_status: true,
        has_scale: false,
        is_custom: false,
        weight: 3,
        base: json!({"spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}}),
        fields: fields(&[
            ("/spec/containers", containers(), json!([[], [{"name": "web"}]])),
            ("/spec/nodeName", json!(["node-0"]), json!([])),
            ("/spec/terminationGracePeriodSeconds", json!([0, 5, 30]), json!([])),
            ("/spec/activeDeadlineSeconds", json!([10]), json!([0])),
            ("/spec/restartPolicy", json!(["Always", "Never"]), json!(["Often"])),
            (
                "/spec/tolerations",
                json!([[{"key": "k", "operator": "Exists"}], [{"operator": "Exists"}]]),
                json!([]),
            ),
        ]),
        status: fields(&[
            ("/status/phase", json!(["Running", "Succeeded", "Failed"]), json!([])),
            (
                "/status/conditions",
                json!([[{"type": "Ready", "status": "True"}], [{"type": "Ready", "status": "False", "reason": "r"}]]),
                json!([]),
            ),
            ("/status/podIP", json!(["10.1.2.3"]), json!([7])),
            ("/status/podIPs", json!([[{"ip": "10.1.2.3"}]]), json!([])),
        ]),
        strategic: vec![
            json!({"spec": {"containers": [{"name": "web", "image": "registry.example/web:3"}]}}),
            json!({"spec": {"containers": [{"name": "more", "image": "registry.example/more:3"}]}}),
            json!({"metadata": {"labels": {"tier": "9"}}}),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]}}),
        ],
    }
}

fn lease() -> Kind {
    Kind {
        name: "Lease",
        api_version: "coordination.k8s.io/v1",
        plural: "leases",
        has_status: false,
        has_scale: false,
        is_custom: false,
        weight: 2,
        base: json!({"spec": {}}),
        fields: fields(&[
            ("/spec/holderIdentity", json!(["me", "you", ""]), json!([1])),
            ("/spec/leaseDurationSeconds", json!([15, 30]), json!([0, "15"])),
            (
                "/spec/renewTime",
                json!(["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:05.5Z"]),
                json!(["now"]),
            ),
            ("/spec/leaseTransitions", json!([0, 1]), json!([-1])),
        ]),
        status: Vec::new(),
        strategic: vec![
            json!({"spec": {"holderIdentity": "third"}}),
            json!({"spec": {"holderIdentity": null}}),
        ],
    }
}

fn event() -> Kind {
    Kind {
        name: "Event",
        api_version: "v1",
        plural: "events",
        has_status: false,
        has_scale: false,
        is_custom: false,
        weight: 2,
        base: json!({"reason": "Because", "message": "m", "type": "Normal", "involvedObject": {"kind": "Pod", "name": "p", "apiVersion": "v1", "namespace": "{namespace}"}}),
        fields: fields(&[
            ("/involvedObject/namespace", json!([]), json!(["elsewhere"])),
            ("/reason", json!(["Other"]), json!([5])),
            ("/count", json!([1, 2]), json!(["one"])),
            ("/source", json!([{"component": "c"}, {}]), json!([])),
            ("/firstTimestamp", json!(["2026-01-01T00:00:00Z"]), json!(["then"])),
            ("/type", json!(["Normal", "Warning"]), json!([])),
        ]),
        status: Vec::new(),
        strategic: vec![json!({"count": 4}), json!({"message": null})],
    }
}
