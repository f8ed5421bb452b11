//! Annotations for the AWS load balancer controller.

use serde_json::{Value, json};
use sluice_traffic::{PingPong, Routes, Scope, TrafficRouter};

use crate::{
    error, exact, extra, header, ingress, mirror, named, objects, prefix, read, router, scope, weight, write,
};

const ACTION: &str = "alb.ingress.kubernetes.io/actions.shop-root";
const RECORD: &str = "rollouts.argoproj.io/managed-alb-annotations";

fn one() -> Box<dyn TrafficRouter> {
    with(json!({"ingress": "web"}))
}

fn with(further: Value) -> Box<dyn TrafficRouter> {
    let mut alb = json!({"servicePort": 443, "rootService": "shop-root"});
    for (key, value) in further.as_object().into_iter().flatten() {
        alb[key] = value.clone();
    }
    router(json!({"alb": alb}), &scope())
}

fn path(path: &str, service: &str, port: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"name": port}}});
    json!({"path": path, "pathType": "ImplementationSpecific", "backend": backend})
}

fn web() -> Value {
    ingress("web", json!([{"http": {"paths": [path("/*", "shop-root", "use-annotation")]}}]))
}

fn group(service: &str, weight: i64) -> String {
    format!(r#"{{"ServiceName":"{service}","ServicePort":"443","Weight":{weight}}}"#)
}

fn action(groups: &[String]) -> String {
    format!(r#"{{"Type":"forward","ForwardConfig":{{"TargetGroups":[{}]}}}}"#, groups.join(","))
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key).and_then(Value::as_str)
}

#[test]
fn weights_byte_for_byte() {
    let sticky = json!({"ingress": "web", "stickinessConfig": {"enabled": true, "durationSeconds": 3600}});
    let sticky_action = action(&[group("shop-canary", 20), group("shop-stable", 80)])
        .replace("]}}", r#"],"TargetGroupStickinessConfig":{"Enabled":true,"DurationSeconds":3600}}}"#);
    let with_extra = Routes { extra: vec![extra("exp-a", 5)], ..weight(15) };
    let three = [group("shop-canary", 15), group("exp-a", 5), group("shop-stable", 80)];
    for (router, routes, expected) in [
        (one(), weight(20), action(&[group("shop-canary", 20), group("shop-stable", 80)])),
        (one(), weight(0), action(&[group("shop-canary", 0), group("shop-stable", 100)])),
        (one(), with_extra, action(&three)),
        (with(sticky), weight(20), sticky_action),
    ] {
        let before = objects([web()]);
        assert_eq!(read(&*router, &before).weight, None, "nothing is said yet");
        let after = write(&*router, &before, &routes);
        let mut wanted = web();
        wanted["metadata"]["annotations"] =
            json!({ACTION: expected, RECORD: format!(r#"{{"shop":["{ACTION}"]}}"#)});
        assert_eq!(named(&after, "web"), &wanted);
        assert_eq!(read(&*router, &after).weight, Some(routes.canary_weight));
    }
}

#[test]
fn two_services_that_take_turns() {
    let alone = Scope { stable_service: None, canary_service: None, ..scope() };
    let alb = json!({"ingress": "web", "servicePort": 443, "rootService": "shop-root"});
    let first = PingPong { stable: "ping".into(), canary: "pong".into() };
    let second = PingPong { stable: "pong".into(), canary: "ping".into() };
    // With the two of the spec besides: those that take turns win.
    for scope in [alone.clone(), scope()] {
        let router = router(json!({"alb": alb}), &scope);
        let routes = Routes { ping_pong: Some(first.clone()), ..weight(20) };
        let after = write(&*router, &objects([web()]), &routes);
        assert_eq!(
            annotation(named(&after, "web"), ACTION),
            Some(action(&[group("pong", 20), group("ping", 80)]).as_str())
        );
        let weight = |roles| router.read(&after, Some(roles)).unwrap().weight;
        assert_eq!((weight(&first), weight(&second)), (Some(20), Some(80)));
    }
    let router = router(json!({"alb": {"ingress": "web", "servicePort": 443}}), &alone);
    assert_eq!(
        error(&*router, &objects([web()]), &Routes { ping_pong: Some(first), ..weight(20) }),
        "Rollout shop/shop: spec.strategy.canary.trafficRouting.alb: Root service field is required for the configuration with ALB and ping-pong feature enabled"
    );
}

#[test]
fn the_root_is_the_stable_service_by_default() {
    let router = router(json!({"alb": {"ingress": "web", "servicePort": 443}}), &scope());
    let web = ingress("web", json!([{"http": {"paths": [path("/*", "shop-stable", "use-annotation")]}}]));
    let after = write(&*router, &objects([web]), &weight(20));
    assert!(annotation(named(&after, "web"), "alb.ingress.kubernetes.io/actions.shop-stable").is_some());
}

#[test]
fn header_routes_come_and_go() {
    let headers = [("X-A", exact("1")), ("X-A", exact("2")), ("X-B", exact("3"))];
    let routes = Routes { managed: vec![header("hd", &headers)], ..weight(0) };
    let plain = write(&*one(), &objects([web()]), &weight(0));
    let after = write(&*one(), &plain, &routes);
    let object = named(&after, "web");
    assert_eq!(
        annotation(object, "alb.ingress.kubernetes.io/actions.hd"),
        Some(action(&[group("shop-canary", 100)]).as_str())
    );
    assert_eq!(
        annotation(object, "alb.ingress.kubernetes.io/conditions.hd"),
        Some(concat!(
            r#"[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-A","values":["1","2"]}},"#,
            r#"{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-B","values":["3"]}}]"#,
        ))
    );
    let record = format!(
        r#"{{"shop":["{ACTION}","alb.ingress.kubernetes.io/actions.hd","alb.ingress.kubernetes.io/conditions.hd"]}}"#
    );
    assert_eq!(annotation(object, RECORD), Some(record.as_str()));
    assert_eq!(
        object["spec"]["rules"][0]["http"]["paths"],
        json!([path("/*", "hd", "use-annotation"), path("/*", "shop-root", "use-annotation")])
    );
    assert_eq!(read(&*one(), &after).managed, ["hd".to_owned()].into());
    assert_eq!(write(&*one(), &after, &weight(0)), plain, "without a trace");
    assert!(one().carries(&header("hd", &[])));
    assert!(!one().carries(&mirror("m", None, json!([]))));
}

#[test]
fn header_routes_only_where_the_root_is() {
    let rules = json!([
        {"host": "a", "http": {"paths": [
            path("/img", "img", "http"), path("/", "shop-root", "use-annotation"), path("/api", "shop-root", "use-annotation"),
        ]}},
        {"host": "b", "http": {"paths": [path("/", "other", "http")]}},
        {"host": "c"},
        {"host": "d", "http": {"paths": null}},
    ]);
    let routes = Routes {
        managed: vec![header("m", &[("X", exact("1"))]), header("hd", &[("Y", exact("2"))])],
        ..weight(5)
    };
    let after = write(&*one(), &objects([ingress("web", rules.clone())]), &routes);
    let mut expected = rules;
    let paths = expected[0]["http"]["paths"].as_array_mut().unwrap();
    for (at, (route, name)) in
        [("/", "m"), ("/api", "m"), ("/", "hd"), ("/api", "hd")].into_iter().enumerate()
    {
        paths.insert(at, path(route, name, "use-annotation"));
    }
    assert_eq!(named(&after, "web")["spec"]["rules"], expected);

    let with_paths = |edit: fn(&mut Vec<Value>)| {
        let mut object = named(&after, "web").clone();
        edit(object["spec"]["rules"][0]["http"]["paths"].as_array_mut().expect("paths"));
        objects([object])
    };
    let theirs = with_paths(|paths| paths.insert(0, path("/", "of-another-rollout", "use-annotation")));
    assert_eq!(write(&*one(), &theirs, &routes), theirs, "two Rollouts do not fight for the first place");
    for damaged in [
        with_paths(|paths| paths.swap(0, 2)),
        with_paths(|paths| paths[3..].rotate_left(1)),
        with_paths(|paths| paths[0]["pathType"] = "Exact".into()),
        with_paths(|paths| {
            paths.remove(1);
        }),
    ] {
        assert_eq!(write(&*one(), &damaged, &routes), after);
    }
}

#[test]
fn a_route_that_the_spec_does_not_name_does_not_pile_up() {
    let routes = Routes { managed: vec![header("unnamed", &[("x", exact("1"))])], ..weight(5) };
    let after = write(&*one(), &objects([web()]), &routes);
    let paths = &named(&after, "web")["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths.as_array().map(Vec::len), Some(2));
    assert_eq!(write(&*one(), &after, &weight(5)), write(&*one(), &objects([web()]), &weight(5)));

    let mut without_record = named(&after, "web").clone();
    without_record["metadata"]["annotations"][RECORD] = "".into();
    assert_eq!(write(&*one(), &objects([without_record]), &routes), after);
}

#[test]
fn a_service_with_the_name_of_a_managed_route_is_another() {
    let paths = json!([path("/*", "shop-root", "use-annotation"), path("/hd", "hd", "http")]);
    let found = ingress("web", json!([{"http": {"paths": paths}}]));
    let after = write(&*one(), &objects([found.clone()]), &weight(5));
    assert_eq!(named(&after, "web")["spec"], found["spec"]);
    assert_eq!(read(&*one(), &after).managed, [].into());
}

#[test]
fn a_header_route_that_is_no_longer_in_the_spec_goes() {
    let routes = Routes { managed: vec![header("hd", &[("X", exact("1"))])], ..weight(5) };
    let after = write(&*one(), &objects([web()]), &routes);
    let renamed = Scope { managed_names: vec!["other".into()], ..scope() };
    let router =
        router(json!({"alb": {"ingress": "web", "servicePort": 443, "rootService": "shop-root"}}), &renamed);
    assert_eq!(write(&*router, &after, &weight(5)), write(&*one(), &objects([web()]), &weight(5)));
}

#[test]
fn every_ingress_is_brought_up_to_date() {
    let router = with(json!({"ingresses": ["a", "web"]}));
    let mut first = web();
    first["metadata"]["name"] = "a".into();
    let before = objects([first, web()]);
    let after = write(&*router, &before, &weight(20));
    let mut half = before.clone();
    let done = after.iter().next().map(|(reference, object)| (reference.clone(), object.clone())).unwrap();
    half.extend([done]);
    assert_eq!(read(&*router, &half).weight, None, "they do not agree");
    let edits = router.with_routes(&half, &weight(20)).unwrap();
    assert_eq!(edits.keys().map(|reference| reference.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn what_others_wrote_stays() {
    let mut found = web();
    found["metadata"]["annotations"] = json!({
        "alb.ingress.kubernetes.io/scheme": "internal",
        "alb.ingress.kubernetes.io/actions.other": "{\"Type\": \"redirect\"}",
        ACTION: r#"{ "ForwardConfig": {"TargetGroups": [{"Weight": 20, "ServicePort": "443", "ServiceName": "shop-canary"},
            {"ServiceName": "shop-stable", "ServicePort": "443", "Weight": 80}]}, "Type": "forward" }"#,
        RECORD: format!("{{\"zoo\": [\"x\"], \"shop\": [ \"{ACTION}\" ]}}"),
    });
    let before = objects([found.clone()]);
    assert_eq!(write(&*one(), &before, &weight(20)), before, "spaces and order are another writer's");

    found["metadata"]["annotations"]["rollouts.argoproj.io/managed-alb-actions"] = "{}".into();
    found["metadata"]["annotations"][RECORD] = r#"{"zoo": ["x"]}"#.into();
    let after = write(&*one(), &objects([found.clone()]), &weight(30));
    let annotations = found["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("rollouts.argoproj.io/managed-alb-actions");
    annotations[ACTION] = action(&[group("shop-canary", 30), group("shop-stable", 70)]).into();
    annotations[RECORD] = format!(r#"{{"shop":["{ACTION}"],"zoo":["x"]}}"#).into();
    assert_eq!(named(&after, "web"), &found);
}

#[test]
fn actions_that_say_nothing_or_something_else() {
    for (found, expected) in [
        ("", None),
        ("{", None),
        (r#"{"Type":"redirect"}"#, None),
        (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":"z","Weight":1}]}}"#, None),
        (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":"shop-stable","Weight":1}]}}"#, Some(0)),
        (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":"shop-canary","Weight":1}]}}"#, Some(100)),
        (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":"shop-canary"}]}}"#, None),
    ] {
        let mut object = web();
        object["metadata"]["annotations"] = json!({ACTION: found});
        assert_eq!(read(&*one(), &objects([object])).weight, expected, "{found}");
    }
}

#[test]
fn mistakes_are_named() {
    let alb = "Rollout shop/shop: spec.strategy.canary.trafficRouting.alb:";
    for (further, expected) in [
        (json!({}), "Either Ingress or Ingresses must be configured. Neither are configured."),
        (
            json!({"ingress": "a", "ingresses": ["b"]}),
            "Either Ingress or Ingresses must be configured. Both are configured.",
        ),
        (
            json!({"ingress": "web", "stickinessConfig": {"enabled": true, "durationSeconds": 604_801}}),
            "TargetGroupStickinessConfig's duration must be between 1 and 604800 seconds (7 days)!",
        ),
        (
            json!({"ingress": "web", "rootService": "hd"}),
            "managed route hd has the name of the root Service: give it another",
        ),
    ] {
        let web = ingress("web", json!([{"http": {"paths": [path("/", "hd", "use-annotation")]}}]));
        let routes = Routes { managed: vec![header("hd", &[("X", exact("1"))])], ..weight(5) };
        assert_eq!(error(&*with(further), &objects([web]), &routes), format!("{alb} {expected}"));
    }
    let by_prefix = Routes { managed: vec![header("hd", &[("X", prefix("1"))])], ..weight(5) };
    assert_eq!(
        error(&*one(), &objects([web()]), &by_prefix),
        "Rollout shop/shop: setHeaderRoute hd, header X: SetHeaderRoute match value invalid. ALB supports 'exact' value only"
    );
    let mut unreadable = web();
    unreadable["metadata"]["annotations"] = json!({RECORD: "[]"});
    for (found, expected) in [
        (vec![], "Ingress shop/web not found: create it, or name another in the spec".to_owned()),
        (
            vec![ingress("web", json!([{"http": {}}]))],
            "Ingress shop/web: spec.rules: ingress does not have service `shop-root` in rules".into(),
        ),
        (
            vec![unreadable],
            format!(
                "Ingress shop/web: metadata.annotations[{RECORD}]: is no JSON object with a list of names for each Rollout: remove the annotation"
            ),
        ),
    ] {
        let found = objects(found);
        assert_eq!(error(&*one(), &found, &weight(20)), expected);
        let is_record = expected.contains("annotation");
        assert_eq!(one().read(&found, None).is_err(), !is_record, "{expected}");
    }
}
