//! TrafficSplits.

use serde_json::{Value, json};
use sluice_traffic::{Edits, Objects, Routes, TrafficRouter};

use crate::harness::{Foreign, Subject, with};
use crate::{error, extra, header, named, objects, read, router, scope, weight, write};

fn of(smi: Value) -> Box<dyn TrafficRouter> {
    router(json!({"smi": smi}), &scope())
}

fn split(version: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("split.smi-spec.io/{version}"), "kind": "TrafficSplit",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "uid-of-shop",
            "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": spec,
    })
}

fn backends(list: &[(&str, i64)]) -> Value {
    list.iter().map(|(service, weight)| json!({"service": service, "weight": weight})).collect()
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let list = backends(&[("shop-canary", 0), ("shop-stable", 100)]);
    let spec = with(json!({"service": "shop-stable", "backends": list}), &foreign.of_object);
    vec![Subject {
        routing: json!({"smi": {}}),
        objects: vec![split("v1alpha2", "shop", spec)],
        whole: Some(100),
        is_exact: max <= 100,
        leaves_no_trace: true,
    }]
}

#[test]
fn a_split_is_created_in_the_version_that_is_served() {
    let router = of(json!({}));
    assert_eq!(read(&*router, &Objects::new()).weight, Some(0));
    let after = write(&*router, &Objects::new(), &weight(20));
    let numbers = backends(&[("shop-canary", 20), ("shop-stable", 80)]);
    let created = split("v1alpha4", "shop", json!({"service": "shop-stable", "backends": numbers}));
    assert_eq!(after, objects([created.clone()]));
    assert_eq!(read(&*router, &after).weight, Some(20));

    let texts =
        json!([{"service": "shop-canary", "weight": "20"}, {"service": "shop-stable", "weight": "80"}]);
    for (version, backends) in [("v1alpha1", texts), ("v1alpha2", numbers)] {
        let expected = split(version, "shop", json!({"service": "shop-stable", "backends": backends}));
        let served = router.in_version(created.clone(), &format!("split.smi-spec.io/{version}"));
        assert_eq!(served, expected);
        let stored = objects([served]);
        assert_eq!(read(&*router, &stored).weight, Some(20), "{version}");
        assert_eq!(router.with_routes(&stored, &weight(20)), Ok(Edits::new()), "{version}");
    }
}

#[test]
fn a_raise_and_the_end() {
    let router = of(json!({"rootService": "root", "trafficSplitName": "mine"}));
    let mut found = split(
        "v1alpha1",
        "mine",
        json!({"service": "root", "backends": [
        {"service": "shop-canary", "weight": "20"}, {"service": "shop-stable", "weight": "80"},
    ], "matches": [{"kind": "HTTPRouteGroup"}]}),
    );
    found["metadata"]["labels"] = json!({"team": "x"});
    let mut now = objects([found.clone()]);
    for (canary, stable) in [(60, 40), (100, 0), (0, 100)] {
        now = write(&*router, &now, &weight(canary));
        found["spec"]["backends"] = json!([
            {"service": "shop-canary", "weight": canary.to_string()}, {"service": "shop-stable", "weight": stable.to_string()},
        ]);
        assert_eq!(named(&now, "mine"), &found, "quantities stay texts, and what is not ours stays");
        assert_eq!(read(&*router, &now).weight, Some(canary));
    }
    assert!(!router.carries(&header("hd", &[])));
}

#[test]
fn further_destinations_come_and_go() {
    let router = of(json!({"rootService": "root"}));
    let at = |list: &[(&str, i64)]| {
        objects([split("v1alpha2", "shop", json!({"service": "root", "backends": backends(list)}))])
    };
    let routes = Routes { extra: vec![extra("exp-a", 5)], ..weight(10) };
    let after = write(&*router, &at(&[("shop-canary", 0), ("shop-stable", 100)]), &routes);
    assert_eq!(after, at(&[("shop-canary", 10), ("exp-a", 5), ("shop-stable", 85)]));
    assert_eq!(read(&*router, &after).weight, Some(10));
    assert_eq!(write(&*router, &after, &weight(10)), at(&[("shop-canary", 10), ("shop-stable", 90)]));
}

#[test]
fn the_root_service_follows_the_spec() {
    let before = split(
        "v1alpha2",
        "shop",
        json!({"service": "former", "backends": backends(&[("shop-canary", 0), ("shop-stable", 100)])}),
    );
    let after = write(&*of(json!({})), &objects([before]), &weight(0));
    assert_eq!(named(&after, "shop")["spec"]["service"], "shop-stable");
}

#[test]
fn mistakes_are_named() {
    let mut orphan = split("v1alpha2", "shop", json!({}));
    orphan["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let mut anothers = split("v1alpha2", "shop", json!({}));
    anothers["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    for found in [orphan, anothers] {
        let found = objects([found]);
        let expected = "TrafficSplit shop/shop: metadata.ownerReferences: Rollout does not own TrafficSplit `shop`: delete it, or give another name in trafficSplitName";
        assert_eq!(error(&*of(json!({})), &found, &weight(20)), expected);
        assert_eq!(of(json!({})).read(&found, None).expect_err("the same").to_string(), expected);
    }
    let found = objects([split("v1alpha2", "shop", json!({"service": "shop-stable", "backends": {}}))]);
    assert_eq!(
        error(&*of(json!({})), &found, &weight(20)),
        "TrafficSplit shop/shop: spec.backends: must be a list"
    );
}
