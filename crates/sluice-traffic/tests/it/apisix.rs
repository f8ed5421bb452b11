//! ApisixRoutes.

use serde_json::{Value, json};
use sluice_traffic::{Edits, Objects, Routes, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, exact, header, mirror, named, objects, prefix, read, router, scope, weight, write};

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"name": "web", "rules": ["main"]}))
}

fn of(route: Value) -> Box<dyn TrafficRouter> {
    router(json!({"apisix": {"route": route}}), &scope())
}

fn to(service: &str, weight: i64) -> Value {
    json!({"serviceName": service, "servicePort": 80, "weight": weight})
}

fn rule(name: &str, stable: i64, canary: i64) -> Value {
    json!({
        "name": name, "match": {"hosts": ["x"], "paths": ["/*"]}, "timeout": {"read": "3s"},
        "backends": [to("shop-stable", stable), to("shop-canary", canary)],
    })
}

fn web(rules: Value) -> Value {
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {
            "name": "web", "namespace": "shop", "labels": {"foreign": "stays"},
            "annotations": {"foreign": "stays", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "spec": {"ingressClassName": "apisix", "http": rules},
    })
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let backends = foreign.beside(to("shop-stable", 100), to("shop-canary", 0), |weight| to("z", weight));
    let rules = foreign.around(json!({"name": "main", "backends": backends}));
    let mut object = web(rules);
    object["spec"] = with(object["spec"].clone(), &foreign.of_object);
    vec![Subject {
        routing: json!({"apisix": {"route": {"name": "web", "rules": ["main"]}}}),
        objects: vec![object],
        whole: Some(100),
        is_exact: max <= 100,
        leaves_no_trace: true,
    }]
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let mut first = rule("main", 0, 0);
    for backend in first["backends"].as_array_mut().unwrap() {
        backend.as_object_mut().unwrap().remove("weight");
    }
    let theirs = rule("aux", 100, 0);
    let before = objects([web(json!([first, theirs]))]);
    assert_eq!(read(&*one(), &before).weight, Some(50), "without weights each gets the same");
    let mut now = before;
    for (wanted, stable) in [(20, 80), (60, 40), (0, 100)] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(now, objects([web(json!([rule("main", stable, wanted), theirs]))]));
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
}

#[test]
fn the_rule_that_is_meant_where_the_spec_names_none() {
    let router = of(json!({"name": "web"}));
    for (rules, expected) in [
        (json!([rule("other", 100, 0)]), json!([rule("other", 80, 20)])),
        (
            json!([rule("web", 100, 0), rule("other", 100, 0)]),
            json!([rule("web", 80, 20), rule("other", 100, 0)]),
        ),
    ] {
        assert_eq!(write(&*router, &objects([web(rules)]), &weight(20)), objects([web(expected)]));
    }
}

fn created(expressions: Value, priority: i64) -> Value {
    let mut rule = rule("main", 0, 0);
    rule["match"]["exprs"] = expressions;
    rule["priority"] = priority.into();
    rule["backends"] = json!([to("shop-canary", 100)]);
    json!({
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {"name": "hd", "namespace": "shop", "ownerReferences": [{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "uid-of-shop",
            "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {"ingressClassName": "apisix", "http": [rule]},
    })
}

#[test]
fn a_header_route_is_an_object_of_its_own() {
    let before = objects([web(json!([rule("main", 100, 0), rule("aux", 100, 0)]))]);
    let managed = vec![header("hd", &[("trace", prefix("dbg")), ("x", exact("1"))])];
    let routes = Routes { managed, ..weight(20) };
    let after = write(&*one(), &before, &routes);
    let expressions = json!([
        {"subject": {"scope": "Header", "name": "trace"}, "op": "RegexMatch", "value": "^dbg.*"},
        {"subject": {"scope": "Header", "name": "x"}, "op": "Equal", "value": "1"},
    ]);
    assert_eq!(named(&after, "hd"), &created(expressions, 1));
    assert_eq!(named(&after, "web"), &web(json!([rule("main", 80, 20), rule("aux", 100, 0)])));
    assert_eq!(read(&*one(), &after).managed, ["hd".to_owned()].into());
    assert_eq!(write(&*one(), &after, &weight(0)), before, "it goes with the step");
    assert!(one().carries(&routes.managed[0]) && !one().carries(&mirror("m", None, json!([]))));
}

#[test]
fn a_header_route_follows_its_rule_and_asks_for_what_that_asks() {
    let known = json!({"subject": {"scope": "Cookie", "name": "c"}, "op": "Equal", "value": "1"});
    let mut main = rule("main", 100, 0);
    main["match"]["exprs"] = json!([known]);
    main["priority"] = 7.into();
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(0) };
    let after = write(&*one(), &objects([web(json!([main]))]), &routes);
    let new = json!({"subject": {"scope": "Header", "name": "x"}, "op": "Equal", "value": "1"});
    assert_eq!(named(&after, "hd"), &created(json!([known, new]), 8));
    let mut changed = after.clone();
    for object in changed.values_mut().filter(|object| object["metadata"]["name"] == "web") {
        object["spec"]["http"][0]["timeout"]["read"] = "9s".into();
    }
    let again = write(&*one(), &changed, &routes);
    assert_eq!(named(&again, "hd")["spec"]["http"][0]["timeout"]["read"], "9s");
    assert_eq!(named(&again, "hd")["spec"]["http"][0]["priority"], 8);
}

#[test]
fn mistakes_are_named() {
    let mut without_canary = rule("main", 100, 0);
    without_canary["backends"].as_array_mut().unwrap().pop();
    let theirs = {
        let mut object = web(json!([]));
        object["metadata"]["name"] = "hd".into();
        object
    };
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(5) };
    for (found, expected) in [
        (vec![], "ApisixRoute shop/web not found: create it, or name another in the spec"),
        (
            vec![web(json!(null))],
            "ApisixRoute shop/web: spec.http: spec.http was not found in Apisix Route manifest",
        ),
        (
            vec![web(json!([rule("aux", 1, 0)]))],
            "ApisixRoute shop/web: spec.http: Apisix http route rule main not found",
        ),
        (
            vec![web(json!([without_canary]))],
            "ApisixRoute shop/web: spec.http[0].backends: apisix route shop-canary backend was not found: add it",
        ),
        (
            vec![web(json!([rule("main", 100, 0)])), theirs.clone()],
            "ApisixRoute shop/hd: metadata.ownerReferences: duplicate ApisixRoute [hd] already exists: give it or the managed route another name",
        ),
    ] {
        assert_eq!(error(&*one(), &objects(found), &routes), expected);
    }
    // One that is not ours is no managed route, and is not removed.
    let found = objects([web(json!([rule("main", 100, 0)])), theirs]);
    assert!(read(&*one(), &found).managed.is_empty());
    assert_eq!(one().with_routes(&found, &weight(0)), Ok(Edits::new()));
    let several = of(json!({"name": "web"}));
    assert_eq!(
        error(&*several, &objects([web(json!([rule("a", 1, 0), rule("b", 1, 0)]))]), &weight(5)),
        "ApisixRoute shop/web: spec.http: Apisix http route rule web not found: name the rules in the spec"
    );
    let unnamed = router(json!({"apisix": {}}), &scope());
    assert_eq!(
        error(&*unnamed, &Objects::new(), &weight(5)),
        "Rollout shop/shop: spec.strategy.canary.trafficRouting.apisix.route: must name an ApisixRoute"
    );
}
