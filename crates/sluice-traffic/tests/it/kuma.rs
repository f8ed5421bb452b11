//! Routes of Kuma's meshes.

use serde_json::{Value, json};
use sluice_traffic::{Objects, Routes, Scope, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, exact, header, objects, read, router, scope, weight, write};

fn of(block: Value) -> Box<dyn TrafficRouter> {
    router(json!({"kuma": block}), &scope())
}

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"meshHTTPRoutes": ["web"]}))
}

fn route(kind: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1", "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "labels": {"foreign": "stays"}},
        "spec": {"targetRef": {"kind": "Mesh"}, "to": [{"targetRef": {"kind": "MeshService", "name": "shop"}, "rules": rules}]},
    })
}

fn to(name: &str, weight: i64) -> Value {
    json!({"kind": "MeshService", "name": name, "port": 80, "weight": weight})
}

fn rule(backends: Value) -> Value {
    json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "default": {"filters": [], "backendRefs": backends}})
}

fn at(stable: i64, canary: i64) -> Value {
    rule(json!([to("shop-stable", stable), to("shop-canary", canary)]))
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let backends = foreign.beside(to("shop-stable", max), to("shop-canary", 0), |weight| to("z", weight));
    let kinds = [("meshHTTPRoutes", "MeshHTTPRoute"), ("meshTCPRoutes", "MeshTCPRoute")];
    let of_kind = |(key, kind): (&str, &str)| {
        let mut object = route(kind, foreign.around(rule(backends.clone())));
        object["spec"] = with(object["spec"].clone(), &foreign.of_object);
        Subject {
            routing: json!({"kuma": {key: ["web"]}}),
            objects: vec![object],
            whole: Some(max),
            is_exact: true,
            leaves_no_trace: true,
        }
    };
    kinds.into_iter().map(of_kind).collect()
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let theirs = rule(json!([to("z", 1)]));
    for (key, kind) in [("meshHTTPRoutes", "MeshHTTPRoute"), ("meshTCPRoutes", "MeshTCPRoute")] {
        let router = of(json!({key: ["web"]}));
        let mut now = objects([route(kind, json!([at(100, 0), theirs]))]);
        for (wanted, stable) in [(20, 80), (60, 40), (100, 0), (0, 100)] {
            now = write(&*router, &now, &weight(wanted));
            assert_eq!(now, objects([route(kind, json!([at(stable, wanted), theirs]))]));
            assert_eq!(read(&*router, &now).weight, Some(wanted));
        }
    }
}

#[test]
fn the_names_of_generated_services_are_known() {
    let with = |stable, canary| {
        let backends = json!([
            to("shop-stable_shop_svc_80", stable), to("shop-canary_shop_svc_80", canary), to("shop-canary_other_svc_80", 7),
            {"kind": "MeshService", "name": "shop-canary", "namespace": "other", "weight": 7},
        ]);
        objects([route("MeshHTTPRoute", json!([rule(backends)]))])
    };
    assert_eq!(write(&*one(), &with(100, 0), &weight(20)), with(80, 20));
}

#[test]
fn fine_weights() {
    let fine = Scope { max_weight: 1000, has_max_weight: true, ..scope() };
    let router = router(json!({"kuma": {"meshHTTPRoutes": ["web"]}}), &fine);
    let after = write(&*router, &objects([route("MeshHTTPRoute", json!([at(1, 0)]))]), &weight(1));
    assert_eq!(after, objects([route("MeshHTTPRoute", json!([at(999, 1)]))]));
}

#[test]
fn mistakes_are_named() {
    let missing = "MeshHTTPRoute shop/web: spec.to: no rule leads to both shop-stable and shop-canary: add both to default.backendRefs of one";
    for (found, expected) in [
        (vec![], "MeshHTTPRoute shop/web not found: create it, or name another in the spec"),
        (vec![route("MeshHTTPRoute", json!([rule(json!([to("shop-stable", 1)]))]))], missing),
        (vec![route("MeshHTTPRoute", json!({}))], missing),
    ] {
        let found = objects(found);
        assert_eq!(error(&*one(), &found, &weight(20)), expected);
        assert_eq!(one().read(&found, None).expect_err("the same").to_string(), expected);
    }
    let field = "Rollout shop/shop: spec.strategy.canary.trafficRouting.kuma";
    assert_eq!(
        error(&*of(json!({})), &Objects::new(), &weight(20)),
        format!("{field}: must name a route in meshHTTPRoutes or meshTCPRoutes")
    );
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(5) };
    assert_eq!(
        error(&*one(), &objects([route("MeshHTTPRoute", json!([at(100, 0)]))]), &routes),
        format!("{field}: hd: header and mirror routes cannot be written for Kuma: take the step out")
    );
}
