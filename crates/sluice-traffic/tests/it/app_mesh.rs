//! VirtualRouters and VirtualNodes of AWS App Mesh.

use serde_json::{Value, json};
use sluice_traffic::{Edits, Objects, Routes, Subsets, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, named, objects, read, router, scope, weight, write};

const HASH: &str = "rollouts-pod-template-hash";
const MANAGED_BY: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";

fn routing(routes: &[&str]) -> Value {
    json!({"appMesh": {
        "virtualService": {"name": "web", "routes": routes},
        "virtualNodeGroup": {"canaryVirtualNodeRef": {"name": "canary-vn"}, "stableVirtualNodeRef": {"name": "stable-vn"}},
    }})
}

fn one() -> Box<dyn TrafficRouter> {
    router(routing(&[]), &scope())
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "appmesh.k8s.aws/v1beta2", "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "labels": {"foreign": "stays"}}, "spec": spec,
    })
}

fn service() -> Value {
    object(
        "VirtualService",
        "web",
        json!({"provider": {"virtualRouter": {"virtualRouterRef": {"name": "web-router"}}}}),
    )
}

fn node(name: &str, hash: Option<&str>) -> Value {
    let mut node = object(
        "VirtualNode",
        name,
        json!({"podSelector": {"matchLabels": {"app": "shop"}}, "listeners": []}),
    );
    if let Some(hash) = hash {
        node["spec"]["podSelector"]["matchLabels"][HASH] = hash.into();
        node["metadata"]["annotations"] = json!({MANAGED_BY: "shop"});
    }
    node
}

fn to(node: &str, weight: i64) -> Value {
    json!({"virtualNodeRef": {"name": node}, "weight": weight})
}

fn route(name: &str, kind: &str, stable: i64, canary: i64) -> Value {
    let targets = json!([to("stable-vn", stable), to("canary-vn", canary)]);
    json!({"name": name, kind: {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}})
}

fn virtual_router(routes: Value) -> Value {
    object("VirtualRouter", "web-router", json!({"listeners": [], "routes": routes}))
}

fn all(stable: i64, stable_hash: Option<&str>, canary_hash: Option<&str>) -> Objects {
    let routes = json!([route("main", "httpRoute", stable, 100 - stable)]);
    objects([
        service(),
        virtual_router(routes),
        node("stable-vn", stable_hash),
        node("canary-vn", canary_hash),
    ])
}

fn asked(weight: i64, stable: &str, canary: &str) -> Routes {
    Routes {
        canary_weight: weight,
        stable_hash: Some(stable.into()),
        canary_hash: Some(canary.into()),
        ..Routes::default()
    }
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let targets = json!([to("shop-stable", 100), to("shop-canary", 0)]);
    let ours = with(
        json!({"name": "main", "httpRoute": {"action": {"weightedTargets": targets}}}),
        &foreign.of_route,
    );
    let mut found = virtual_router(json!([ours]));
    found["spec"] = with(found["spec"].clone(), &foreign.of_object);
    let nodes = [node("shop-stable", Some("59ff1")), node("shop-canary", Some("6bd9c"))];
    let mut routing = routing(&["main"]);
    let group = json!({"canaryVirtualNodeRef": {"name": "shop-canary"}, "stableVirtualNodeRef": {"name": "shop-stable"}});
    routing["appMesh"]["virtualNodeGroup"] = group;
    vec![Subject {
        routing,
        objects: [service(), found].into_iter().chain(nodes).collect(),
        whole: Some(100),
        is_exact: max <= 100,
        leaves_no_trace: false,
    }]
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let mut now = all(100, None, None);
    for (wanted, stable) in [(20, 80), (60, 40), (100, 0), (0, 100)] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(now, all(stable, None, None));
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
}

#[test]
fn every_kind_of_route_that_the_spec_names() {
    let list = |stable: i64| {
        json!([
            route("a", "tcpRoute", stable, 100 - stable),
            route("b", "httpRoute", 100, 0),
            route("c", "grpcRoute", stable, 100 - stable),
            route("d", "http2Route", stable, 100 - stable),
        ])
    };
    let with = |stable| {
        objects([service(), virtual_router(list(stable)), node("stable-vn", None), node("canary-vn", None)])
    };
    let router = router(routing(&["a", "c", "d"]), &scope());
    assert_eq!(write(&*router, &with(100), &weight(20)), with(80));
    let theirs = objects([
        service(),
        virtual_router(json!([route("a", "httpRoute", 100, 0)])),
        node("stable-vn", None),
        node("canary-vn", None),
    ]);
    assert_eq!(
        error(&*router, &theirs, &weight(20)),
        "VirtualRouter shop/web-router: spec.routes: has no route 'c': add it, or name another in the spec"
    );
}

#[test]
fn nodes_select_versions_and_never_the_same() {
    let none = ("stable-hash", "canary-hash");
    // (weight, asked of stable, of canary) => what they select, what is read
    for (weight, stable, canary, selected, found) in [
        (20, "s", "c", ("s", "c"), (Some("s"), Some("c"))),
        (0, "s", "s", ("s", none.1), (Some("s"), Some("s"))),
        (100, "c", "c", (none.0, "c"), (Some("c"), Some("c"))),
        (0, "s", "", ("s", none.1), (Some("s"), Some("s"))),
        (0, "", "", none, (None, None)),
    ] {
        let after = write(&*one(), &all(100, None, None), &asked(weight, stable, canary));
        assert_eq!(
            after,
            all(100 - weight, Some(selected.0), Some(selected.1)),
            "{weight} {stable} {canary}"
        );
        let owned = |hash: Option<&str>| hash.map(str::to_owned);
        let subsets = Subsets { stable: owned(found.0), canary: owned(found.1) };
        assert_eq!(read(&*one(), &after).subsets, Some(subsets), "{weight} {stable} {canary}");
    }
}

#[test]
fn the_way_of_an_update_through_the_nodes() {
    let mut now = all(100, Some("s"), Some("canary-hash"));
    for (routes, expected) in [
        (asked(0, "s", "c"), all(100, Some("s"), Some("c"))),
        (asked(100, "s", "c"), all(0, Some("s"), Some("c"))),
        // Both are the new version: the node that gets the requests keeps the pods until it gets none.
        (asked(100, "c", "c"), all(0, Some("stable-hash"), Some("c"))),
        (weight(100), all(0, Some("stable-hash"), Some("c"))),
        (asked(0, "c", "c"), all(100, Some("c"), Some("canary-hash"))),
    ] {
        now = write(&*one(), &now, &routes);
        assert_eq!(now, expected, "{routes:?}");
    }
    assert_eq!(one().with_routes(&now, &weight(0)), Ok(Edits::new()));
    let stable = named(&now, "stable-vn");
    assert_eq!(
        (&stable["spec"]["podSelector"]["matchLabels"]["app"], &stable["spec"]["listeners"]),
        (&json!("shop"), &json!([]))
    );
}

#[test]
fn mistakes_are_named() {
    let mut unrouted = service();
    unrouted["spec"] = json!({"provider": {}});
    let mut far = service();
    far["spec"]["provider"]["virtualRouter"]["virtualRouterRef"]["namespace"] = "other".into();
    let mut three = route("main", "httpRoute", 100, 0);
    three["httpRoute"]["action"]["weightedTargets"].as_array_mut().unwrap().push(to("z", 0));
    let nodes = || [node("stable-vn", None), node("canary-vn", None)];
    let place = "VirtualService shop/web: spec.provider.virtualRouter.virtualRouterRef:";
    let router_place = "VirtualRouter shop/web-router: spec.routes";
    let with =
        |routes: Value| [service(), virtual_router(routes)].into_iter().chain(nodes()).collect::<Vec<_>>();
    for (found, expected) in [
        (vec![], "VirtualService shop/web not found: create it, or name another in the spec".to_owned()),
        (
            vec![unrouted],
            format!("{place} Virtual-service is not associated with virtual-router: let it name one"),
        ),
        (vec![far], format!("{place} is in namespace other: only one beside the Rollout can be written")),
        (
            vec![service()],
            "VirtualRouter shop/web-router not found: create it, or name another in the spec".into(),
        ),
        (with(json!([])), format!("{router_place}: has no routes: add one")),
        (
            with(json!([{"name": "main"}])),
            format!(
                "{router_place}[0]: not well-formed: must have httpRoute, tcpRoute, http2Route or grpcRoute with weightedTargets"
            ),
        ),
        (
            with(json!([three])),
            format!(
                "{router_place}[0].httpRoute.action.weightedTargets: must be exactly the two VirtualNodes stable-vn and canary-vn"
            ),
        ),
        (
            vec![service(), virtual_router(json!([route("main", "httpRoute", 100, 0)]))],
            "VirtualNode shop/stable-vn not found: create it, or name another in the spec".into(),
        ),
    ] {
        let found = objects(found);
        assert_eq!(error(&*one(), &found, &weight(20)), expected);
        assert_eq!(one().read(&found, None).expect_err("the same").to_string(), expected);
    }
    let field = "Rollout shop/shop: spec.strategy.canary.trafficRouting.appMesh";
    for (block, expected) in [
        (json!({}), ".virtualService: must provide virtual-service"),
        (
            json!({"virtualService": {"name": "web"}}),
            ".virtualNodeGroup.stableVirtualNodeRef: Virtual-node is missing: name one",
        ),
        (
            json!({"virtualService": {"name": "web"}, "virtualNodeGroup": {"canaryVirtualNodeRef": {"name": "a"}, "stableVirtualNodeRef": {"name": "a"}}}),
            ".virtualNodeGroup: stable and canary need a VirtualNode each",
        ),
    ] {
        let router = router(json!({"appMesh": block}), &scope());
        assert_eq!(error(&*router, &Objects::new(), &weight(20)), format!("{field}{expected}"));
    }
}
