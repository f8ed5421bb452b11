//! Weighted TraefikServices.

use serde_json::{Value, json};
use sluice_traffic::traefik::{FORMER_TRAEFIK_SERVICE, TRAEFIK_SERVICE};
use sluice_traffic::{Edits, Objects, Scope, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, header, objects, read, router, scope, weight, write};

fn one() -> Box<dyn TrafficRouter> {
    router(json!({"traefik": {"weightedTraefikServiceName": "web"}}), &scope())
}

fn service(group: &str, services: Value) -> Value {
    json!({
        "apiVersion": format!("{group}/v1alpha1"), "kind": "TraefikService",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"foreign": "stays"}},
        "spec": {"weighted": {"services": services, "sticky": {"cookie": {}}}},
    })
}

fn to(name: &str, weight: i64) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}

fn split(stable: i64, canary: i64) -> Value {
    json!([to("shop-stable", stable), to("shop-canary", canary)])
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let list = foreign.beside(to("shop-stable", 100), to("shop-canary", 0), |weight| to("z", weight));
    let mut object = service("traefik.io", list);
    object["spec"] = with(object["spec"].clone(), &foreign.of_object);
    vec![Subject {
        routing: json!({"traefik": {"weightedTraefikServiceName": "web"}}),
        objects: vec![object],
        whole: Some(100),
        is_exact: max <= 100,
        leaves_no_trace: true,
    }]
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let first = json!([{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}, {"name": "z", "weight": 7}]);
    let at = |stable: i64, canary: i64| {
        let list = json!([to("shop-stable", stable), to("shop-canary", canary), {"name": "z", "weight": 7}]);
        objects([service("traefik.io", list)])
    };
    let before = objects([service("traefik.io", first)]);
    assert_eq!(read(&*one(), &before).weight, Some(50), "without weights each gets the same");
    let mut now = before;
    for (wanted, stable) in [(20, 80), (60, 40), (100, 0), (0, 100)] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(now, at(stable, wanted));
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
    assert!(!one().carries(&header("hd", &[])));
}

#[test]
fn the_group_that_has_the_object_is_written() {
    let of = |groups: &[&str], stable, canary| {
        objects(groups.iter().map(|group| service(group, split(stable, canary))))
    };
    let (new, former) = ("traefik.io", "traefik.containo.us");
    for groups in [&[new][..], &[former], &[new, former]] {
        let after = write(&*one(), &of(groups, 100, 0), &weight(20));
        assert_eq!(after, of(groups, 80, 20), "{groups:?}");
        assert_eq!(read(&*one(), &after).weight, Some(20));
    }
    // They do not agree: nothing is known, and both are brought to the same.
    let half: Objects = of(&[new], 80, 20).into_iter().chain(of(&[former], 100, 0)).collect();
    assert_eq!(read(&*one(), &half).weight, None);
    assert_eq!(write(&*one(), &half, &weight(20)), of(&[new, former], 80, 20));
    assert!(one().can_do_without(TRAEFIK_SERVICE) && one().can_do_without(FORMER_TRAEFIK_SERVICE));
}

#[test]
fn services_of_other_namespaces_are_others() {
    let mut elsewhere = to("shop-canary", 7);
    elsewhere["namespace"] = "other".into();
    let at = |stable, canary| {
        let mut list = split(stable, canary);
        list.as_array_mut().unwrap().insert(0, elsewhere.clone());
        list[1]["namespace"] = "shop".into();
        objects([service("traefik.io", list)])
    };
    assert_eq!(write(&*one(), &at(100, 0), &weight(20)), at(80, 20));
}

#[test]
fn mistakes_are_named() {
    let field = "TraefikService shop/web: spec.weighted.services:";
    for (services, expected) in [
        (json!([to("shop-stable", 1)]), "traefik canary service was not found: add shop-canary to the list"),
        (json!([to("shop-canary", 1)]), "traefik stable service was not found: add shop-stable to the list"),
        (json!(null), "spec.weighted.services was not found in traefik service manifest"),
        (json!({}), "must be a list"),
    ] {
        let found = objects([service("traefik.io", services)]);
        assert_eq!(error(&*one(), &found, &weight(20)), format!("{field} {expected}"));
        assert!(one().read(&found, None).is_err());
    }
    assert_eq!(
        error(&*one(), &Objects::new(), &weight(20)),
        "TraefikService shop/web not found: create it, or name another in the spec"
    );
    let unnamed = router(json!({"traefik": {"weightedTraefikServiceName": ""}}), &scope());
    assert_eq!(
        error(&*unnamed, &Objects::new(), &weight(20)),
        "Rollout shop/shop: spec.strategy.canary.trafficRouting.traefik.weightedTraefikServiceName: must name a TraefikService"
    );
    let without = Scope { canary_service: None, ..scope() };
    let without = router(json!({"traefik": {"weightedTraefikServiceName": "web"}}), &without);
    let found = objects([service("traefik.io", split(100, 0))]);
    assert!(error(&*without, &found, &weight(20)).contains("Canary service and Stable service must"));
    assert_eq!(one().with_routes(&found, &weight(0)), Ok(Edits::new()));
}
