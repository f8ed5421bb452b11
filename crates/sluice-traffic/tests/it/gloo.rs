//! Upstreams of Gloo Edge.

use serde_json::{Value, json};
use sluice_traffic::{Edits, Objects, Routes, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{
    error, exact, extra, header, mirror, named, objects, prefix, read, router, scope, weight, write,
};

const PLUGIN: &str = "solo-io/glooedge";

fn of(block: Value) -> Box<dyn TrafficRouter> {
    router(json!({"plugins": {PLUGIN: block}}), &scope())
}

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"virtualService": {"name": "web"}}))
}

fn object(kind: &str, spec: Value) -> Value {
    let group = if kind == "UpstreamGroup" { "gloo" } else { "gateway" };
    json!({
        "apiVersion": format!("{group}.solo.io/v1"), "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "labels": {"foreign": "stays"}}, "spec": spec,
    })
}

fn web(routes: Value) -> Value {
    object("VirtualService", json!({"virtualHost": {"domains": ["x"], "routes": routes}}))
}

fn table(routes: Value) -> Value {
    object("RouteTable", json!({"routes": routes}))
}

fn to(upstream: &str, weight: i64) -> Value {
    json!({"destination": {"upstream": {"name": upstream, "namespace": "gloo-system"}}, "weight": weight})
}

fn split(stable: i64, canary: i64) -> Value {
    json!([to("shop-stable", stable), to("shop-canary", canary)])
}

fn route(name: &str, destinations: Value) -> Value {
    json!({
        "name": name, "matchers": [{"prefix": "/"}],
        "routeAction": {"multi": {"destinations": destinations}}, "options": {"timeout": "3s"},
    })
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let destinations = foreign.beside(to("shop-stable", 100), to("shop-canary", 0), |weight| to("z", weight));
    let routes = foreign.around(route("main", destinations.clone()));
    let virtual_host = with(json!({"routes": routes}), &foreign.of_object);
    let found = [
        ("virtualService", object("VirtualService", json!({"virtualHost": virtual_host}))),
        ("routeTable", object("RouteTable", with(json!({"routes": routes}), &foreign.of_object))),
        (
            "upstreamGroup",
            object("UpstreamGroup", with(json!({"destinations": destinations}), &foreign.of_object)),
        ),
    ];
    let subject = |(key, object): (&str, Value)| Subject {
        routing: json!({"gloo": {key: {"name": "web"}, "routes": ["main"]}}),
        objects: vec![object],
        whole: Some(100),
        is_exact: max <= 100,
        leaves_no_trace: true,
    };
    found.into_iter().map(subject).collect()
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let before = objects([web(json!([route("", json!([to("shop-stable", 100)]))]))]);
    assert_eq!(read(&*one(), &before).weight, Some(0));
    assert_eq!(one().with_routes(&before, &weight(0)), Ok(Edits::new()), "nothing is asked for");
    let mut now = before;
    for (wanted, stable) in [(20, 80), (60, 40), (100, 0), (0, 100)] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(
            now,
            objects([web(json!([route("", split(stable, wanted))]))]),
            "the canary is made like stable"
        );
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
}

#[test]
fn a_route_to_stable_alone_becomes_one_to_both() {
    let router = of(json!({"routeTable": {"name": "web"}}));
    let single =
        json!({"routeAction": {"single": {"upstream": {"name": "shop-stable", "namespace": "shop"}}}});
    let after = write(&*router, &objects([table(json!([single]))]), &weight(20));
    let of_namespace = |name: &str, weight: i64| json!({"destination": {"upstream": {"name": name, "namespace": "shop"}}, "weight": weight});
    let both = json!([of_namespace("shop-stable", 80), of_namespace("shop-canary", 20)]);
    assert_eq!(after, objects([table(json!([{"routeAction": {"multi": {"destinations": both}}}]))]));
    assert_eq!(read(&*router, &after).weight, Some(20));
}

#[test]
fn destinations_that_name_services_and_those_of_others() {
    let kube = |name: &str, weight: Value| json!({"destination": {"kube": {"ref": {"name": name, "namespace": "shop"}, "port": 80}}, "weight": weight});
    let before = json!([kube("shop-stable", json!(null)), to("z", 30), kube("shop-canary", json!(null))]);
    let after = write(
        &*one(),
        &objects([web(json!([route("", before)]))]),
        &Routes { extra: vec![extra("exp-a", 5)], ..weight(100) },
    );
    let expected = json!([kube("shop-stable", json!(0)), to("z", 30), kube("shop-canary", json!(100))]);
    assert_eq!(after, objects([web(json!([route("", expected)]))]), "0 is written, or it would be nothing");
}

#[test]
fn the_routes_that_the_spec_names() {
    let list = |stable: i64| {
        json!([
            route("a", split(stable, 100 - stable)),
            route("b", split(100, 0)),
            route("c", split(stable, 100 - stable))
        ])
    };
    let router = of(json!({"virtualService": {"name": "web", "namespace": "shop"}, "routes": ["c", "a"]}));
    assert_eq!(write(&*router, &objects([web(list(100))]), &weight(20)), objects([web(list(80))]));
    assert_eq!(
        error(&*one(), &objects([web(list(100))]), &weight(20)),
        format!(
            "VirtualService shop/web: spec.virtualHost.routes: has 3 routes: must specify routes in spec.strategy.canary.trafficRouting.plugins.{PLUGIN}, by their names"
        )
    );
    let unknown = of(json!({"virtualService": {"name": "web"}, "routes": ["d"]}));
    assert_eq!(
        error(&*unknown, &objects([web(list(100))]), &weight(20)),
        "VirtualService shop/web: spec.virtualHost.routes: has no route 'd': add it, or name another in the spec"
    );
}

#[test]
fn route_tables_by_label() {
    let router = of(json!({"routeTable": {"labels": {"app": "shop"}, "namespace": "edge"}}));
    let table = |name: &str, app: &str, stable: i64| {
        let mut table = table(json!([route("", split(stable, 100 - stable))]));
        table["metadata"] = json!({"name": name, "namespace": "edge", "labels": {"app": app}});
        table
    };
    let before = objects([table("a", "shop", 100), table("b", "shop", 100), table("c", "other", 100)]);
    let after = write(&*router, &before, &weight(20));
    assert_eq!(after, objects([table("a", "shop", 80), table("b", "shop", 80), table("c", "other", 100)]));
    assert_eq!(read(&*router, &after).weight, Some(20));
    assert_eq!(
        error(&*router, &Objects::new(), &weight(20)),
        format!(
            "Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}: no RouteTable in namespace edge has the labels that are asked for: label one, or name it"
        )
    );
}

#[test]
fn upstream_groups() {
    let router = of(json!({"upstreamGroup": {"name": "web"}}));
    let at =
        |stable, canary| objects([object("UpstreamGroup", json!({"destinations": split(stable, canary)}))]);
    let after = write(&*router, &at(100, 0), &weight(20));
    assert_eq!(after, at(80, 20));
    assert_eq!(read(&*router, &after).weight, Some(20));
    assert_eq!(write(&*router, &after, &weight(0)), at(100, 0));
}

#[test]
fn header_routes_stand_in_front() {
    let theirs = route("hd-7", json!([to("z", 1)]));
    let before = objects([web(json!([route("a", split(100, 0)), route("b", split(100, 0)), theirs]))]);
    let router = of(json!({"virtualService": {"name": "web"}, "routes": ["a", "b"]}));
    let managed = vec![header("hd", &[("x-a", exact("1")), ("x-b", prefix("q."))])];
    let routes = Routes { managed, ..weight(20) };
    let after = write(&*router, &before, &routes);
    let list = named(&after, "web")["spec"]["virtualHost"]["routes"].as_array().unwrap();
    let mut expected = route("hd", json!(null));
    expected["matchers"] = json!([{"prefix": "/", "headers": [
        {"name": "x-a", "value": "1"}, {"name": "x-b", "value": r"q\..*", "regex": true},
    ]}]);
    expected["routeAction"] =
        json!({"single": {"upstream": {"name": "shop-canary", "namespace": "gloo-system"}}});
    assert_eq!(list[0], expected);
    expected["name"] = "hd-1".into();
    assert_eq!(list[1..], [expected, route("a", split(80, 20)), route("b", split(80, 20)), theirs]);
    assert_eq!(read(&*router, &after).managed, ["hd".to_owned()].into());
    assert_eq!(write(&*router, &after, &weight(0)), before);
    let mirrored =
        Routes { managed: vec![mirror("m", None, json!([{"method": {"exact": "GET"}}]))], ..weight(5) };
    assert_eq!(
        error(&*router, &before, &mirrored),
        format!(
            "Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}: m: mirror routes cannot be written for Gloo: take the step out"
        )
    );
}

#[test]
fn mistakes_are_named() {
    let field = format!("Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}");
    let nobody = "one of virtualService or routeTable selectors must be set in solo-io/glooedge plugin configuration, or upstreamGroup, and no more than one";
    for (block, expected) in [
        (json!({}), format!(": {nobody}")),
        (json!({"virtualService": {"name": "a"}, "routeTable": {"name": "b"}}), format!(": {nobody}")),
        (json!({"virtualService": {"labels": {"a": "b"}}}), ".virtualService: must have a name".into()),
        (json!({"routeTable": {}}), ".routeTable: must have a name or labels".into()),
        (
            json!({"routes": "web"}),
            ": cannot be read: invalid type: string \"web\", expected a sequence".into(),
        ),
    ] {
        assert_eq!(error(&*of(block), &Objects::new(), &weight(20)), format!("{field}{expected}"));
    }
    for (found, expected) in [
        (vec![], "VirtualService shop/web not found: create it, or name another in the spec"),
        (
            vec![web(json!([route("", json!([to("z", 1)]))]))],
            "VirtualService shop/web: spec.virtualHost.routes[0].routeAction: no stable upstream found: add a destination with upstream shop-stable",
        ),
        (
            vec![web(json!([{"delegateAction": {}}]))],
            "VirtualService shop/web: spec.virtualHost.routes[0].routeAction: must have single, or multi with a list of destinations",
        ),
        (
            vec![web(json!([]))],
            "VirtualService shop/web: spec.virtualHost.routes: has no route: add one to the stable Upstream",
        ),
    ] {
        let found = objects(found);
        assert_eq!(error(&*one(), &found, &weight(20)), expected);
        assert_eq!(one().read(&found, None).expect_err("the same").to_string(), expected);
    }
}
