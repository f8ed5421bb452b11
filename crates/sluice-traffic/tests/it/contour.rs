//! HTTPProxies of Contour.

use serde_json::{Value, json};
use sluice_traffic::{Objects, Routes, TrafficRouter, Verdict};

use crate::harness::{Foreign, Subject, with};
use crate::{error, exact, header, objects, read, router, scope, weight, write};

const PLUGIN: &str = "argoproj-labs/contour";

fn of(block: Value) -> Box<dyn TrafficRouter> {
    router(json!({"plugins": {PLUGIN: block}}), &scope())
}

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"httpProxies": ["web"]}))
}

fn proxy(routes: Value) -> Value {
    json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"foreign": "stays"}},
        "spec": {"virtualhost": {"fqdn": "x"}, "routes": routes},
    })
}

fn to(name: &str, weight: i64) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}

fn route(services: Value) -> Value {
    json!({"conditions": [{"prefix": "/"}], "services": services})
}

fn at(stable: i64, canary: i64) -> Value {
    route(json!([to("shop-stable", stable), to("shop-canary", canary)]))
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let left = 100 - foreign.weight.unwrap_or(0);
    let services = foreign.beside(to("shop-stable", left), to("shop-canary", 0), |weight| to("z", weight));
    let mut object = proxy(foreign.around(json!({"services": services})));
    object["spec"] = with(object["spec"].clone(), &foreign.of_object);
    vec![Subject {
        routing: json!({"contour": {"httpProxy": "web"}}),
        objects: vec![object],
        whole: Some(left),
        is_exact: max <= left,
        leaves_no_trace: true,
    }]
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let theirs = route(json!([to("shop-stable", 100)]));
    let mut now = objects([proxy(json!([at(100, 0), theirs]))]);
    for (wanted, stable) in [(20, 80), (60, 40), (100, 0), (0, 100)] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(now, objects([proxy(json!([at(stable, wanted), theirs]))]));
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
}

#[test]
fn services_of_others_keep_their_weight() {
    let with = |stable, canary| {
        let mirror = json!({"name": "shop-canary", "port": 80, "mirror": true});
        proxy(json!([route(json!([
            to("shop-stable", stable),
            to("legacy", 10),
            to("shop-canary", canary),
            mirror
        ]))]))
    };
    let after = write(&*one(), &objects([with(90, 0)]), &weight(20));
    assert_eq!(after, objects([with(72, 18)]));
    assert_eq!(read(&*one(), &after).weight, Some(20));
}

#[test]
fn without_weights_nothing_is_said() {
    let plain = route(json!([{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}]));
    let before = objects([proxy(json!([plain]))]);
    assert_eq!(read(&*one(), &before).weight, None);
    assert_eq!(read(&*one(), &write(&*one(), &before, &weight(0))).weight, Some(0));
    assert_eq!(write(&*one(), &before, &weight(20)), objects([proxy(json!([at(80, 20)]))]));
}

#[test]
fn forms_of_the_block() {
    for block in [
        json!({"httpProxy": "web"}),
        json!({"httpProxies": ["web"], "namespace": "shop"}),
        json!({"httpProxy": "web", "unknown": 1}),
    ] {
        assert_eq!(of(block).reads(), one().reads());
    }
    assert_eq!(router(json!({"contour": {"httpProxy": "web"}}), &scope()).reads(), one().reads());
}

#[test]
fn the_status_of_the_proxy_is_believed() {
    for (condition, expected) in [
        (json!({"type": "Valid", "status": "True", "observedGeneration": 5}), Verdict::Live),
        (json!({"type": "Valid", "status": "True", "observedGeneration": 4}), Verdict::Pending),
        (json!({"type": "Valid", "status": "False", "observedGeneration": 5}), Verdict::Pending),
        (json!({"type": "Other", "status": "True", "observedGeneration": 5}), Verdict::Unknown),
    ] {
        let mut object = proxy(json!([at(80, 20)]));
        object["metadata"]["generation"] = 5.into();
        object["status"] = json!({"conditions": [condition]});
        assert_eq!(one().verdict(&objects([object]), &weight(20)), expected);
    }
    assert_eq!(one().verdict(&Objects::new(), &weight(20)), Verdict::Unknown);
}

#[test]
fn mistakes_are_named() {
    let field = "HTTPProxy shop/web: spec.routes";
    for (services, expected) in [
        (
            json!([to("shop-stable", 100), to("shop-canary", 10)]),
            "[0].services: the total weight must equals to 100, and is 110",
        ),
        (
            json!([to("shop-stable", 1), to("shop-canary", 0), to("z", 99)]),
            "[0].services: other services have weight 99: leave at least 2 of 100 for stable and canary",
        ),
        (
            json!([to("shop-stable", 100)]),
            ": the service: shop-canary is not found in httpproxy: add it to the route",
        ),
        (
            json!([to("shop-canary", 100)]),
            "[0].services: the service: shop-stable is not found in httpproxy: add it to the route",
        ),
    ] {
        let found = objects([proxy(json!([route(services)]))]);
        assert_eq!(error(&*one(), &found, &weight(20)), format!("{field}{expected}"));
    }
    let block = format!("Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}");
    assert_eq!(
        error(&*of(json!({})), &Objects::new(), &weight(20)),
        format!("{block}: must name an HTTPProxy in httpProxies")
    );
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(5) };
    assert_eq!(
        error(&*one(), &objects([proxy(json!([at(100, 0)]))]), &routes),
        format!("{block}: hd: header and mirror routes cannot be written for Contour: take the step out")
    );
}
