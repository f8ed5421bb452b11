use serde_json::{Value, json};

use super::*;
use crate::lenient::parse_rollout;

/// Returns a Rollout that is valid but for the strategy.
fn rollout_with(strategy: &Value) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(&json!({})),
            "strategy": strategy,
        },
    })
}

/// Returns a pod template whose only container has further fields.
fn template(container: &Value) -> Value {
    let mut first = json!({"name": "app", "image": "web:1"});
    first.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [first], "volumes": [{"name": "data"}]}})
}

fn errors_of(rollout: &Value) -> Vec<FieldError> {
    let (rollout, problems) = parse_rollout(rollout.clone());
    assert_eq!(problems, []);
    validate_rollout(&rollout, false)
}

#[track_caller]
fn check(rollout: &Value, expected: &[(&str, &str)]) {
    let errors = errors_of(rollout);
    let found: Vec<_> = errors.iter().map(|error| (error.path.as_str(), error.message.as_str())).collect();
    assert_eq!(found, expected, "{rollout}");
}

/// Checks a canary; paths are given from `spec.strategy` on.
#[track_caller]
fn check_canary(canary: &Value, expected: &[(&str, &str)]) {
    let errors = errors_of(&rollout_with(&json!({"canary": canary})));
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.path.trim_start_matches("spec.strategy."), error.message.as_str()))
        .collect();
    assert_eq!(found, expected, "{canary}");
}

#[test]
fn errors_read_as_in_argo_rollouts() {
    // spec => text of the first error
    for (spec, text) in [
        (
            json!({"strategy": {"canary": {"steps": [{"setWeight": 120}]}}}),
            "spec.strategy.steps[0].setWeight: Invalid value: 120: SetWeight needs to be between 0 and 100",
        ),
        (
            json!({"selector": null}),
            "spec.selector: Required value: Rollout has missing field '.spec.selector'",
        ),
        (
            json!({"strategy": {"canary": {}, "blueGreen": {"activeService": "a"}}}),
            r#"spec.strategy.strategy: Invalid value: "blueGreen: true canary: true": Multiple Strategies can not be listed"#,
        ),
        (
            json!({"strategy": {}}),
            "spec.strategy.strategy: Required value: Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
        ),
        (json!({"replicas": -1}), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({"strategy": {"canary": {"stableService": "a", "canaryService": "a"}}}),
            r#"spec.strategy.stableService: Invalid value: "a": This rollout uses the same service for the stable and canary services, but two different services are required."#,
        ),
        (
            json!({"workloadRef": {"name": "web"}}),
            "spec.template: Internal error: template must be empty for workload reference rollout",
        ),
        (
            json!({"template": template(&json!({"resources": {"requests": {"cpu": "50mm"}}}))}),
            r#"spec.template.spec.containers[0].resources.requests[cpu]: Invalid value: "50mm": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#,
        ),
    ] {
        let mut rollout = rollout_with(&json!({"canary": {}}));
        for (key, value) in spec.as_object().unwrap() {
            rollout["spec"][key] = value.clone();
        }
        assert_eq!(errors_of(&rollout)[0].to_string(), text, "{spec}");
    }
    let plain = FieldError {
        path: String::new(),
        kind: FieldErrorKind::Plain,
        message: "no metrics specified".into(),
    };
    assert_eq!(plain.to_string(), "no metrics specified");
    let long = FieldErrorKind::Invalid { value: "é".repeat(9999).into() };
    let long = FieldError { path: "a".into(), kind: long, message: "bad".into() };
    assert!(long.to_string().len() < 3000);
}

#[test]
fn valid_rollouts_have_no_errors() {
    for strategy in [
        json!({"canary": {}}),
        json!({"blueGreen": {"activeService": "a"}}),
        json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0,
            "steps": [{"setWeight": 50}, {"pause": {"duration": "1m"}}, {"analysis": {"templates": []}}]}}),
        json!({"canary": {"steps": [
            {"setWeight": 0}, {"setWeight": 100}, {"pause": {}}, {"pause": {"duration": 0}}, {"pause": {"duration": "1h"}},
            {"plugin": {"name": "a/b"}}, {"experiment": {"templates": []}}, {"setWeight": 5, "plugin": {"name": "a/b"}}]}}),
        json!({"canary": {"canaryService": "c", "stableService": "s",
            "trafficRouting": {"nginx": {"stableIngress": "i"}, "maxTrafficWeight": 1000}, "steps": [{"setWeight": 1000}]}}),
        json!({"canary": {"trafficRouting": {"gatewayAPI": {"httpRoute": "r"}, "maxTrafficWeight": 1000}}}),
        json!({"canary": {"trafficRouting": {"plugins": {"a/b": {}}}, "dynamicStableScale": true}}),
        json!({"canary": {"trafficRouting": {"istio": {"destinationRule": {"name": "d"}}}}}),
    ] {
        check(&rollout_with(&strategy), &[]);
    }
}

#[test]
fn rules_of_the_spec() {
    let spec = |changes: Value| {
        let mut rollout = rollout_with(&json!({"canary": {}}));
        for (key, value) in changes.as_object().unwrap() {
            rollout["spec"][key] = value.clone();
        }
        rollout
    };
    let negative = "must be greater than or equal to 0";
    let deadline = "must be greater than minReadySeconds";
    check(&spec(json!({"progressDeadlineSeconds": 600, "minReadySeconds": 599})), &[]);
    check(&spec(json!({"minReadySeconds": 600})), &[("spec.progressDeadlineSeconds", deadline)]);
    check(&spec(json!({"progressDeadlineSeconds": 0})), &[("spec.progressDeadlineSeconds", deadline)]);
    check(
        &spec(json!({"minReadySeconds": -5, "revisionHistoryLimit": -1, "progressDeadlineSeconds": -2})),
        &[
            ("spec.minReadySeconds", negative),
            ("spec.revisionHistoryLimit", negative),
            ("spec.progressDeadlineSeconds", negative),
        ],
    );
    check(&spec(json!({"selector": {}})), &[("spec.selector", "empty selector is invalid for deployment")]);
    check(
        &spec(json!({"template": null})),
        &[("spec.template", "Rollout has missing field '.spec.template'")],
    );
    let bad_selector = json!({"matchExpressions": [
        {"key": "app", "operator": "Like", "values": ["web"]},
        {"key": "app", "operator": "In"},
        {"key": "-", "operator": "Exists", "values": ["?"]},
    ]});
    let errors = errors_of(&spec(json!({"selector": bad_selector})));
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.selector.matchExpressions[0].operator",
            "spec.selector.matchExpressions[1].values",
            "spec.selector.matchExpressions[2].values",
            "spec.selector.matchExpressions[2].key",
            "spec.selector.matchExpressions[2].values[0]",
            "spec.template.metadata.labels",
        ]
    );
}

#[test]
fn referenced_workloads_bring_their_own_template() {
    let parse = |spec: Value| parse_rollout(json!({"spec": spec})).0;
    let reference = json!({"name": "web", "kind": "Deployment", "apiVersion": "apps/v1"});
    let bare = parse(json!({"workloadRef": reference, "strategy": {"canary": {}}}));
    assert_eq!(validate_rollout(&bare, false), []);
    // Only labels and annotations count; a bare pod spec goes unnoticed.
    let with_spec =
        parse(json!({"workloadRef": reference, "template": {"spec": {}}, "strategy": {"canary": {}}}));
    assert_eq!(validate_rollout(&with_spec, false), []);
    let mut resolved = with_spec;
    resolved.spec.selector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
    let paths: Vec<String> = validate_rollout(&resolved, true).into_iter().map(|error| error.path).collect();
    assert_eq!(paths, ["spec.template.metadata.labels", "spec.template.spec.containers"]);
    resolved.spec.template = Some(RawObject::try_from(template(&json!({}))).unwrap());
    assert_eq!(validate_rollout(&resolved, true), []);
}

#[test]
fn rules_of_blue_green() {
    let blue_green = |value: Value| rollout_with(&json!({"blueGreen": value}));
    let same = "This rollout uses the same service for the active and preview services, but two different services are required.";
    check(
        &blue_green(json!({"activeService": "a", "previewService": "a"})),
        &[("spec.strategy.activeService", same)],
    );
    check(&blue_green(json!({})), &[("spec.strategy.activeService", same)]);
    let limit =
        "This rollout's revision history limit can not be smaller than the rollout's scale down limit";
    check(
        &blue_green(json!({"activeService": "a", "scaleDownDelayRevisionLimit": 11})),
        &[("spec.strategy.scaleDownDelayRevisionLimit", limit)],
    );
    check(&blue_green(json!({"activeService": "a", "scaleDownDelayRevisionLimit": 10})), &[]);
}

#[test]
fn rules_of_anti_affinity() {
    let (preferred, required) =
        ("preferredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution");
    let both = "AntiAffinity must have exactly one strategy listed";
    let weight = "AntiAffinity weight must be between 1-100";
    for (affinity, expected) in [
        (json!({required: {}}), vec![]),
        (json!({preferred: {"weight": 1}}), vec![]),
        (json!({}), vec![("antiAffinity", both)]),
        (json!({required: {}, preferred: {"weight": 5}}), vec![("antiAffinity", both)]),
        (json!({preferred: {"weight": 0}}), vec![("antiAffinity.weight", weight)]),
        (json!({preferred: {"weight": 101}}), vec![("antiAffinity.weight", weight)]),
    ] {
        check_canary(&json!({"antiAffinity": affinity}), &expected);
    }
}

#[test]
fn rules_of_surge_and_services() {
    let zero = "MaxSurge and MaxUnavailable both can not be zero";
    for (surge, unavailable, expected) in [
        (json!(0), json!(0), vec![("maxSurge", zero)]),
        (json!("0%"), json!("0"), vec![("maxSurge", zero)]),
        (json!("many"), json!(0), vec![("maxSurge", zero)]),
        (json!(0), Value::Null, vec![]),
        (Value::Null, json!(0), vec![]),
        (json!("1%"), json!(0), vec![]),
    ] {
        check_canary(&json!({"maxSurge": surge, "maxUnavailable": unavailable}), &expected);
    }
    let needed = "Canary service and Stable service must to be set to use Traffic Routing";
    let both = vec![("stableService", needed), ("canaryService", needed)];
    for (routing, expected) in [
        (json!({"alb": {"ingress": "i", "servicePort": 80}}), both.clone()),
        (json!({"istio": {"virtualService": {"name": "v"}}}), both.clone()),
        (json!({"istio": {"virtualService": {"name": "v"}, "destinationRule": {"name": "d"}}}), vec![]),
        (json!({"smi": {}}), both.clone()),
        (json!({"apisix": {}}), both.clone()),
        (json!({"ambassador": {"mappings": ["m"]}}), both.clone()),
        (json!({"nginx": {"stableIngress": "i"}}), both.clone()),
        (json!({"appMesh": {}}), both.clone()),
        (json!({"traefik": {"weightedTraefikServiceName": "t"}}), both),
        (json!({"plugins": {"a/b": {}}}), vec![]),
        (json!({"gloo": {}}), vec![]),
    ] {
        check_canary(&json!({"trafficRouting": routing}), &expected);
    }
}

#[test]
fn rules_of_ping_pong() {
    let unsupported = "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only";
    let empty = "Ping service and Pong service must to be set to use Ping-Pong feature";
    let same = "This rollout uses the same service for the ping and pong services, but two different services are required.";
    let root = "Root service field is required for the configuration with ALB and ping-pong feature enabled";
    let pair = json!({"pingService": "a", "pongService": "b"});
    for (canary, expected) in [
        (json!({"pingPong": pair, "trafficRouting": {"istio": {"virtualService": {"name": "v"}}}}), vec![]),
        (json!({"pingPong": pair, "trafficRouting": {"alb": {"rootService": "r"}}}), vec![]),
        (
            json!({"pingPong": pair, "trafficRouting": {"alb": {}}}),
            vec![("trafficRouting.alb.rootService", root)],
        ),
        (
            json!({"pingPong": pair, "canaryService": "c", "stableService": "s", "trafficRouting": {"smi": {}}}),
            vec![("trafficRouting.alb", unsupported)],
        ),
        (json!({"pingPong": {"pingService": "a"}}), vec![("pingPong.pongService", empty)]),
        (json!({"pingPong": {"pingService": "a", "pongService": "a"}}), vec![("pingPong.pingService", same)]),
    ] {
        check_canary(&canary, &expected);
    }
}

#[test]
fn rules_of_scaling() {
    let plugin = json!({"plugins": {"a/b": {}}});
    let max = "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins";
    for (canary, expected) in [
        (
            json!({"scaleDownDelaySeconds": 0}),
            vec![(
                "scaleDownDelaySeconds",
                "Canary scaleDownDelaySeconds can only be used with traffic routing",
            )],
        ),
        (
            json!({"dynamicStableScale": true}),
            vec![("dynamicStableScale", "Canary dynamicStableScale can only be used with traffic routing")],
        ),
        (
            json!({"dynamicStableScale": true, "scaleDownDelaySeconds": 5, "trafficRouting": plugin}),
            vec![(
                "dynamicStableScale",
                "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds",
            )],
        ),
        (
            json!({"canaryService": "c", "stableService": "s", "trafficRouting": {"smi": {}, "maxTrafficWeight": 10}}),
            vec![("trafficRouting.maxTrafficWeight", max)],
        ),
        (
            json!({"trafficRouting": {"plugins": {"a/b": {}}, "maxTrafficWeight": 0}}),
            vec![("trafficRouting.maxTrafficWeight", "must be greater than 0")],
        ),
    ] {
        check_canary(&canary, &expected);
    }
}

#[test]
fn rules_of_steps() {
    let step =
        "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause";
    let duration = "Duration needs to be greater than 0";
    for (steps, expected) in [
        (json!([{}]), vec![("steps[0]", step)]),
        (json!([{"pause": {}}, {"setWeight": 5, "pause": {}}]), vec![("steps[1]", step)]),
        (json!([{"experiment": {"templates": []}, "analysis": {}}]), vec![("steps[0]", step)]),
        (json!([{"setWeight": -1}]), vec![("steps[0].setWeight", "SetWeight needs to be between 0 and 100")]),
        (json!([{"pause": {"duration": -1}}]), vec![("steps[0].pause.duration", duration)]),
        (json!([{"pause": {"duration": "-1s"}}]), vec![("steps[0].pause.duration", duration)]),
        (json!([{"pause": {"duration": "1 day"}}]), vec![("steps[0].pause.duration", duration)]),
        (
            json!([{"setCanaryScale": {"weight": 5}}]),
            vec![("trafficRouting", "SetCanaryScale requires TrafficRouting to be set")],
        ),
        (
            json!([{"setHeaderRoute": {"name": "r"}}]),
            vec![(
                "steps[0].setHeaderRoute",
                "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix",
            )],
        ),
        (
            json!([{"setMirrorRoute": {"name": "r"}}]),
            vec![(
                "steps[0].setMirrorRoute",
                "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
            )],
        ),
        (
            json!([{"experiment": {"templates": [{}, {"weight": 5}]}}]),
            vec![(
                "steps[0].experiment.templates[1].weight",
                "Experiment template weight cannot be set unless TrafficRouting is enabled",
            )],
        ),
    ] {
        check_canary(&json!({"steps": steps}), &expected);
    }
    let weight = "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time";
    let nginx = json!({"nginx": {"stableIngress": "i"}});
    check_canary(
        &json!({"canaryService": "c", "stableService": "s", "trafficRouting": nginx,
            "steps": [{"experiment": {"templates": [{"weight": 5}]}}]}),
        &[("steps[0].experiment.templates[0].weight", weight)],
    );
    let many: Vec<Value> = (0..=MAX_STEPS).map(|_| json!({"pause": {}})).collect();
    check_canary(&json!({"steps": many}), &[("steps", "must have at most 1000 items")]);
    let bad: Vec<Value> = (0..MAX_STEPS).map(|_| json!({})).collect();
    assert_eq!(errors_of(&rollout_with(&json!({"canary": {"steps": bad}}))).len(), MAX_ERRORS);
}

#[test]
fn rules_of_managed_routes() {
    let missed = "StringMatch value missed, match value must have one of the following: exact, regex, prefix";
    let multiple = "StringMatch match value must have exactly one of the following: exact, regex, prefix";
    let alb_only = "SetHeaderRoute match value invalid. ALB supports 'exact' value only";
    let unset = "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'";
    let unknown =
        "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes";
    let istio = json!({"istio": {"virtualService": {"name": "v"}}, "managedRoutes": [{"name": "r"}]});
    let alb = json!({"alb": {"servicePort": 80}, "managedRoutes": [{"name": "r"}]});
    let bare = json!({"istio": {"virtualService": {"name": "v"}}});
    let header = |value: Value| json!({"setHeaderRoute": {"name": "r", "match": [{"headerName": "h", "headerValue": value}]}});
    let mirror = |request: Value| json!({"setMirrorRoute": {"name": "r", "match": [request]}});
    let at_match = "steps[0].setHeaderRoute.match[0]";
    for (routing, step, expected) in [
        (&istio, header(json!({"prefix": "x"})), vec![]),
        (&istio, header(json!({})), vec![(at_match, missed)]),
        (&istio, header(Value::Null), vec![(at_match, missed)]),
        (&istio, header(json!({"exact": "a", "regex": "b"})), vec![(at_match, multiple)]),
        (&alb, header(json!({"exact": "a"})), vec![]),
        (&alb, header(json!({"prefix": "a"})), vec![(at_match, alb_only)]),
        (&alb, header(Value::Null), vec![(at_match, missed)]),
        (&bare, header(json!({"exact": "a"})), vec![("trafficRouting.managedRoutes", unset)]),
        (&istio, json!({"setHeaderRoute": {"name": "other"}}), vec![("steps[0].setHeaderRoute", unknown)]),
        (&istio, json!({"setMirrorRoute": {"name": "other"}}), vec![("steps[0].setMirrorRoute", unknown)]),
        (&istio, mirror(json!({"method": {"exact": "GET"}, "headers": {"h": {}}})), vec![]),
        (&istio, mirror(json!({"path": {}})), vec![("steps[0].setMirrorRoute.match[0]", missed)]),
        (
            &istio,
            mirror(json!({"method": {"exact": "a", "prefix": "b"}})),
            vec![("steps[0].setMirrorRoute.match[0]", multiple)],
        ),
        (
            &alb,
            json!({"setMirrorRoute": {"name": "r"}}),
            vec![(
                "steps[0].setMirrorRoute",
                "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
            )],
        ),
    ] {
        let canary =
            json!({"canaryService": "c", "stableService": "s", "trafficRouting": routing, "steps": [step]});
        check_canary(&canary, &expected);
    }
}

#[test]
fn rules_of_analysis_arguments() {
    let message = "Analyses arguments must refer to valid object metadata supported by downwardAPI";
    for (path, is_valid) in [
        ("metadata.name", true),
        ("metadata.labels", true),
        ("metadata.labels['app.kubernetes.io/name']", true),
        ("metadata.annotations['Example.com/A']", true),
        ("metadata.labels['Example.com/A']", false),
        ("metadata.labels['']", false),
        ("metadata.labels[app]", false),
        ("metadata.generation", false),
        ("metadata", false),
        ("status.stableRS", true),
    ] {
        let args = json!([{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
        let analysis = json!({"templates": [{"templateName": "t"}], "args": args});
        let experiment =
            json!({"templates": [], "analyses": [{"name": "n", "templateName": "t", "args": args}]});
        let steps = json!([{"analysis": analysis}, {"experiment": experiment}]);
        let expected = [("steps[0].analyses", message), ("steps[1].analyses", message)];
        check_canary(&json!({"steps": steps, "analysis": analysis}), if is_valid { &[] } else { &expected });
    }
}

#[test]
fn w04_traffic_routing_without_a_router_is_invalid() {
    let mut rollout =
        rollout_with(&json!({"canary": {"trafficRouting": {"managedRoutes": [{"name": "r"}]}}}));
    let known = "no traffic router is set, must have at least one of: istio, nginx, alb, smi, ambassador, appMesh, \
                 traefik, apisix, gatewayAPI, gloo, contour, kong, kuma, linkerd, plugins";
    check(&rollout, &[("spec.strategy.trafficRouting", known)]);
    // The API server has dropped the key, but kubectl remembers it.
    for (key, hint) in [
        ("gatewayApi", r#"; "gatewayApi" is not known, did you mean "gatewayAPI"?"#),
        ("ngnix", r#"; "ngnix" is not known, did you mean "nginx"?"#),
        ("treafik", r#"; "treafik" is not known, did you mean "traefik"?"#),
        ("somethingElse", r#"; "somethingElse" is not known"#),
        ("managedRoutes", ""),
    ] {
        let applied = json!({"spec": {"strategy": {"canary": {"trafficRouting": {key: {}}}}}}).to_string();
        rollout["metadata"]["annotations"] = json!({crate::keys::LAST_APPLIED_CONFIGURATION: applied});
        check(&rollout, &[("spec.strategy.trafficRouting", &format!("{known}{hint}"))]);
    }
    rollout["metadata"]["annotations"] = json!({crate::keys::LAST_APPLIED_CONFIGURATION: "not JSON"});
    check(&rollout, &[("spec.strategy.trafficRouting", known)]);
}

#[test]
fn rules_of_rolling_updates() {
    let step = "Step must have one of the following set: setWeight, pause or analysis";
    let rolling = json!({"maxSurge": 0, "maxUnavailable": 0, "steps": [{}, {"setWeight": 101}, {"pause": {"duration": "x"}}]});
    check(
        &rollout_with(&json!({"rollingUpdate": rolling})),
        &[
            ("spec.strategy.maxSurge", "MaxSurge and MaxUnavailable both can not be zero"),
            ("spec.strategy.steps[0]", step),
            ("spec.strategy.steps[1].setWeight", "SetWeight needs to be between 0 and 100"),
            ("spec.strategy.steps[2].pause.duration", "Duration needs to be greater than 0"),
        ],
    );
    let both = rollout_with(&json!({"rollingUpdate": {}, "canary": {}}));
    check(&both, &[("spec.strategy.strategy", "Multiple Strategies can not be listed")]);
}

#[test]
fn rules_of_pod_templates() {
    // container => text of every error, from spec.template.spec.containers[0] on
    for (container, expected) in [
        (json!({"volumeMounts": [{"name": "data", "mountPath": "/a"}]}), vec![]),
        (
            json!({"ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 65535, "protocol": "UDP"}]}),
            vec![],
        ),
        (
            json!({"resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "0.5Gi"}}}),
            vec![],
        ),
        (json!({"securityContext": {"privileged": true}}), vec![]),
        (json!({"name": ""}), vec!["name: Required value"]),
        (json!({"image": null}), vec!["image: Required value"]),
        (
            json!({"ports": [{"containerPort": 65536}]}),
            vec!["ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"],
        ),
        (json!({"ports": [{}]}), vec!["ports[0].containerPort: Required value"]),
        (
            json!({"ports": [{"containerPort": "http"}]}),
            vec![r#"ports[0].containerPort: Invalid value: "http": must be between 1 and 65535, inclusive"#],
        ),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            vec![r#"ports[1].name: Duplicate value: "a""#],
        ),
        (
            json!({"ports": [{"containerPort": 1, "protocol": "ICMP"}]}),
            vec![r#"ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#],
        ),
        (json!({"ports": 80}), vec!["ports: Invalid value: 80: must be a list"]),
        (
            json!({"volumeMounts": [{"name": "other", "mountPath": "/a"}]}),
            vec![r#"volumeMounts[0].name: Not found: "other""#],
        ),
        (
            json!({"volumeMounts": [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/a"}]}),
            vec![r#"volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#],
        ),
        (json!({"env": [{"value": "x"}]}), vec!["env[0].name: Required value"]),
        (
            json!({"resources": {"limits": {"cpu": "-1"}}}),
            vec![r#"resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#],
        ),
        (
            json!({"resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": 1}}}),
            vec!["resources.requests: Invalid value: 1: must be less than or equal to cpu limit of 500m"],
        ),
        (
            json!({"resources": {"limits": {"cpu": true}}}),
            vec!["resources.limits[cpu]: Invalid value: true: must be a string or a number"],
        ),
    ] {
        let template = RawObject::try_from(template(&container)).unwrap();
        let errors = validate_pod_template(&template, None, "spec.template");
        let found: Vec<String> = errors
            .iter()
            .map(|error| error.to_string().trim_start_matches("spec.template.spec.containers[0].").to_owned())
            .collect();
        assert_eq!(found, expected, "{container}");
    }
}

#[test]
fn rules_of_whole_pod_templates() {
    let app = json!({"name": "app", "image": "web:1"});
    let labels = json!({"labels": {"app": "web"}});
    for (template, expected) in [
        (
            json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [app]}}),
            vec![
                "metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match template `labels`",
            ],
        ),
        (json!({"metadata": labels}), vec!["spec.containers: Required value"]),
        (json!({"metadata": labels, "spec": {"containers": []}}), vec!["spec.containers: Required value"]),
        (
            json!({"metadata": labels, "spec": {"containers": [app, app]}}),
            vec![r#"spec.containers[1].name: Duplicate value: "app""#],
        ),
        (
            json!({"metadata": labels, "spec": {"containers": [app], "initContainers": [app]}}),
            vec![r#"spec.initContainers[0].name: Duplicate value: "app""#],
        ),
        (json!({"metadata": labels, "spec": {"containers": [app], "restartPolicy": "Always"}}), vec![]),
        (
            json!({"metadata": labels, "spec": {"containers": [app], "restartPolicy": "Never"}}),
            vec![r#"spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#],
        ),
        (
            json!({"metadata": labels, "spec": {"containers": [app], "activeDeadlineSeconds": 5}}),
            vec![
                "spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
            ],
        ),
        (
            json!({"metadata": labels, "spec": {"containers": [app], "volumes": [{"name": "a"}, {"name": "a"}, {}]}}),
            vec![r#"spec.volumes[1].name: Duplicate value: "a""#, "spec.volumes[2].name: Required value"],
        ),
        (
            json!({"metadata": {"labels": {"app": "web", "n": 1}}, "spec": {"containers": [app]}}),
            vec!["metadata.labels[n]: Invalid value: 1: must be a string"],
        ),
        (json!({"metadata": labels, "spec": "x"}), vec![r#"spec: Invalid value: "x": must be an object"#]),
        (
            json!({"metadata": labels, "spec": {"containers": ["x"]}}),
            vec![r#"spec.containers[0]: Invalid value: "x": must be an object"#],
        ),
    ] {
        let raw = RawObject::try_from(template.clone()).unwrap();
        let selector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let errors = validate_pod_template(&raw, Some(&selector), "t");
        let found: Vec<String> =
            errors.iter().map(|error| error.to_string().trim_start_matches("t.").to_owned()).collect();
        assert_eq!(found, expected, "{template}");
    }
}

#[test]
fn rules_of_metrics() {
    let metric = |changes: Value| {
        let mut metric = json!({"name": "m", "provider": {"job": {"spec": {}}}});
        metric.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        metric
    };
    let limits = "count (2) must be >= failureLimit + consecutiveSuccessLimit (3 + 0) if both >= 0";
    // metric => text of every error
    for (changes, expected) in [
        (json!({}), vec![]),
        (
            json!({"count": 5, "interval": "1m", "initialDelay": "1h", "failureLimit": 2, "consecutiveSuccessLimit": 3}),
            vec![],
        ),
        (json!({"count": 2, "interval": "1m", "failureLimit": 3}), vec![limits]),
        (json!({"count": "2", "interval": "1m", "failureLimit": "3"}), vec![limits]),
        (json!({"count": 2}), vec!["interval must be specified when count > 1"]),
        (json!({"consecutiveSuccessLimit": -1}), vec!["consecutiveSuccessLimit must be >= 0"]),
        (json!({"failureLimit": -2}), vec!["failureLimit must be >= 0, or -1 to be disabled"]),
        (
            json!({"failureLimit": -1}),
            vec!["failureLimit and consecutiveSuccessLimit cannot both be disabled"],
        ),
        (json!({"failureLimit": -1, "consecutiveSuccessLimit": 2}), vec![]),
        (
            json!({"failureLimit": -1, "consecutiveSuccessLimit": 2, "count": 1}),
            vec!["count must be >= consecutiveSuccessLimit"],
        ),
        (json!({"inconclusiveLimit": -1}), vec!["inconclusiveLimit must be >= 0"]),
        (json!({"inconclusiveLimit": 2, "count": 1}), vec!["count must be >= inconclusiveLimit"]),
        (json!({"consecutiveErrorLimit": -1}), vec!["consecutiveErrorLimit must be >= 0"]),
        (json!({"interval": "5"}), vec![r#"invalid interval string: time: missing unit in duration "5""#]),
        (json!({"initialDelay": "x"}), vec![r#"invalid startDelay string: time: invalid duration "x""#]),
        (json!({"provider": {}}), vec!["no provider specified"]),
        (json!({"provider": {"web": {"url": "u"}, "graphite": {}}}), vec!["multiple providers specified"]),
        (json!({"provider": {"plugin": {"a/b": {}, "a/c": {}}}}), vec!["multiple providers specified"]),
        (
            json!({"count": i32::MAX, "interval": "1s", "failureLimit": i32::MAX, "consecutiveSuccessLimit": i32::MAX}),
            vec![
                "count (2147483647) must be >= failureLimit + consecutiveSuccessLimit (2147483647 + 2147483647) if both >= 0",
            ],
        ),
    ] {
        let spec = serde_json::from_value(json!({"metrics": [metric(changes.clone())]})).unwrap();
        let found: Vec<String> = validate_analysis_run(&spec).iter().map(ToString::to_string).collect();
        let expected: Vec<String> = expected.iter().map(|message| format!("metrics[0]: {message}")).collect();
        assert_eq!(found, expected, "{changes}");
    }
    let placeholders = json!({"count": "{{args.n}}", "interval": "{{ args.i }}", "failureLimit": -1, "consecutiveSuccessLimit": "{{args.s}}"});
    let template = serde_json::from_value(json!({"metrics": [metric(placeholders)]})).unwrap();
    assert_eq!(validate_analysis_template(&template), []);
}

#[test]
fn rules_of_runs() {
    let metrics = json!([{"name": "error-rate", "provider": {"graphite": {}}}, {"name": "b", "provider": {"graphite": {}}}]);
    let unmatched = "Rule didn't match any metric name(s)";
    for (spec, expected) in [
        (json!({}), vec!["no metrics specified".to_owned()]),
        (json!({"metrics": metrics, "dryRun": [{"metricName": "error"}, {"metricName": ".*"}]}), vec![]),
        (
            json!({"metrics": metrics, "dryRun": [{"metricName": "b"}, {"metricName": "*"}],
                "measurementRetention": [{"metricName": "z", "limit": 1}]}),
            vec![format!("dryRun[1]: {unmatched}"), format!("measurementRetention[0]: {unmatched}")],
        ),
        (json!({"metrics": [metrics[1], metrics[1]]}), vec!["metrics[1]: duplicate name 'b'".to_owned()]),
    ] {
        let parsed = serde_json::from_value(spec.clone()).unwrap();
        let found: Vec<String> = validate_analysis_run(&parsed).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{spec}");
    }
}

#[test]
fn rules_of_experiments() {
    let selector = json!({"matchLabels": {"a": "b"}});
    for (templates, expected) in [
        (json!([{"name": "a", "selector": selector}, {"name": "b", "selector": selector}]), vec![]),
        (
            json!([{"name": "a", "selector": selector}, {"name": "b"}]),
            vec!["Rollout has missing field '.Spec.Templates[1].Selector'"],
        ),
        (
            json!([{"name": "a", "selector": {}}]),
            vec!["spec.templates[0].selector: Invalid value: {}: empty selector would select all pods"],
        ),
        (
            json!([{"name": "a", "selector": selector, "minReadySeconds": 601}]),
            vec![
                "spec.templates[0].minReadySeconds: Invalid value: 601: must not be greater than progressDeadlineSeconds",
            ],
        ),
        (
            json!([{"name": "a", "selector": selector}, {"name": "a", "selector": selector}, {"selector": selector}]),
            vec![r#"spec.templates[1].name: Duplicate value: "a""#, "spec.templates[2].name: Required value"],
        ),
    ] {
        let spec = serde_json::from_value(json!({"templates": templates})).unwrap();
        let found: Vec<String> = validate_experiment(&spec).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{templates}");
    }
}
