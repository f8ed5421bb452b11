//! Mappings of Ambassador and Emissary.

use serde_json::{Value, json};
use sluice_traffic::{Objects, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, header, named, objects, read, router, scope, weight, write};

fn of(mappings: Value) -> Box<dyn TrafficRouter> {
    router(json!({"ambassador": {"mappings": mappings}}), &scope())
}

fn one() -> Box<dyn TrafficRouter> {
    of(json!(["shop-map"]))
}

fn mapping(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "getambassador.io/v2", "kind": "Mapping",
        "metadata": {"name": name, "namespace": "shop", "labels": {"foreign": "stays"}}, "spec": spec,
    })
}

fn base() -> Value {
    mapping("shop-map", json!({"hostname": "*", "prefix": "/shop/", "service": "shop-stable.shop:80"}))
}

fn canary(weight: i64) -> Value {
    let spec =
        json!({"hostname": "*", "prefix": "/shop/", "service": "shop-canary.shop:80", "weight": weight});
    let mut canary = mapping("shop-map-canary", spec);
    canary["metadata"] = json!({"name": "shop-map-canary", "namespace": "shop", "ownerReferences": [{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "uid-of-shop",
        "controller": true, "blockOwnerDeletion": true,
    }]});
    canary
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let mut base = base();
    base["spec"] = with(base["spec"].clone(), &foreign.of_object);
    vec![Subject {
        routing: json!({"ambassador": {"mappings": ["shop-map"]}}),
        objects: vec![base],
        whole: None,
        is_exact: max <= 100,
        leaves_no_trace: true,
    }]
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let before = objects([base()]);
    assert_eq!(read(&*one(), &before).weight, Some(0), "no canary Mapping, no traffic");
    assert_eq!(write(&*one(), &before, &weight(0)), before, "and none is made for nothing");
    let mut now = before.clone();
    for wanted in [20, 60, 100] {
        now = write(&*one(), &now, &weight(wanted));
        assert_eq!(now, objects([base(), canary(wanted)]));
        assert_eq!(read(&*one(), &now).weight, Some(wanted));
    }
    assert_eq!(write(&*one(), &now, &weight(0)), before, "the canary Mapping goes");
    assert!(!one().carries(&header("hd", &[])));
}

#[test]
fn what_others_put_on_the_canary_mapping_stays() {
    let mut found = canary(20);
    found["metadata"]["labels"] = json!({"team": "x"});
    found["spec"]["timeout_ms"] = 5.into();
    let after = write(&*one(), &objects([base(), found.clone()]), &weight(30));
    found["spec"]["weight"] = 30.into();
    assert_eq!(named(&after, "shop-map-canary"), &found);
}

#[test]
fn one_that_argo_rollouts_left_is_taken_over() {
    let mut left = canary(20);
    left["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let found = objects([base(), left.clone()]);
    assert_eq!(write(&*one(), &found, &weight(20)), found);
    assert_eq!(write(&*one(), &found, &weight(0)), objects([base()]));
}

#[test]
fn the_service_in_all_its_forms() {
    for (service, expected) in [
        ("shop-stable", "shop-canary"),
        ("shop-stable:80", "shop-canary:80"),
        ("https://shop-stable.shop.svc:443", "https://shop-canary.shop.svc:443"),
    ] {
        let mut base = base();
        base["spec"]["service"] = service.into();
        let after = write(&*one(), &objects([base]), &weight(20));
        assert_eq!(named(&after, "shop-map-canary")["spec"]["service"], expected);
    }
}

#[test]
fn several_mappings_and_the_other_group() {
    let router = of(json!(["a", "b"]));
    let of_group = |name: &str| {
        let mut object = base();
        object["metadata"]["name"] = name.into();
        object["apiVersion"] = "x.getambassador.io/v3alpha1".into();
        object["kind"] = "AmbassadorMapping".into();
        object
    };
    let mut plain = base();
    plain["metadata"]["name"] = "b".into();
    let before = objects([of_group("a"), plain]);
    let after = write(&*router, &before, &weight(20));
    assert_eq!(after.len(), 4);
    assert_eq!(named(&after, "a-canary")["kind"], "AmbassadorMapping");
    assert_eq!(named(&after, "b-canary")["kind"], "Mapping");
    assert_eq!(read(&*router, &after).weight, Some(20));
    let mut half: Objects = after.clone();
    half.retain(|reference, _| reference.name != "b-canary");
    assert_eq!(read(&*router, &half).weight, None, "they do not agree");
    assert_eq!(write(&*router, &after, &weight(0)), before);
}

#[test]
fn mistakes_are_named() {
    let mut weighed = base();
    weighed["spec"]["weight"] = 50.into();
    let mut elsewhere = base();
    elsewhere["spec"]["service"] = "shop-stable-2:80".into();
    let mut anothers = canary(20);
    anothers["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    let unrelated = mapping("shop-map-canary", json!({"service": "other"}));
    let taken = "Mapping shop/shop-map-canary: metadata.ownerReferences: is somebody else's, and the canary's Mapping needs its name: give it another";
    for (found, expected) in [
        (vec![], "Mapping shop/shop-map not found: create it, or name another in the spec"),
        (
            vec![weighed],
            "Mapping shop/shop-map: spec.weight: Ambassador mapping \"shop-map\" can not define weight: take it out",
        ),
        (
            vec![elsewhere],
            "Mapping shop/shop-map: spec.service: leads to \"shop-stable-2:80\": let it lead to shop-stable",
        ),
        (vec![base(), anothers], taken),
        (vec![base(), unrelated], taken),
    ] {
        assert_eq!(error(&*one(), &objects(found), &weight(20)), expected);
    }
    assert_eq!(
        error(&*of(json!([])), &Objects::new(), &weight(20)),
        "Rollout shop/shop: spec.strategy.canary.trafficRouting.ambassador.mappings: must provide at least one mapping"
    );
}
