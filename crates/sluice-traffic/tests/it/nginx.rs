//! Canary Ingresses for the NGINX controller.

use serde_json::{Value, json};
use sluice_traffic::{Objects, TrafficRouter};

use crate::{error, header, ingress, named, objects, read, router, scope, weight, write};

fn one() -> Box<dyn TrafficRouter> {
    router(json!({"nginx": {"stableIngress": "web"}}), &scope())
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

fn path(path: &str, service: &str) -> Value {
    json!({"path": path, "pathType": "Prefix", "backend": backend(service)})
}

fn web() -> Value {
    let mut web = ingress(
        "web",
        json!([
            {"host": "x", "http": {"paths": [path("/", "shop-stable"), path("/img", "img-svc")]}},
            {"host": "y", "http": {"paths": [path("/", "other")]}},
        ]),
    );
    web["metadata"]["labels"] = json!({"app": "shop"});
    web["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "nginx", "foreign": "x"});
    web["spec"]["tls"] = json!([{"hosts": ["x"], "secretName": "x-tls"}]);
    web["spec"]["defaultBackend"] = backend("shop-stable");
    web
}

/// What is created for `web` at weight 20.
fn canary() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "shop-web-canary",
            "namespace": "shop",
            "annotations": {
                "kubernetes.io/ingress.class": "nginx",
                "nginx.ingress.kubernetes.io/canary": "true",
                "nginx.ingress.kubernetes.io/canary-weight": "20",
            },
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "uid-of-shop",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "tls": [{"hosts": ["x"], "secretName": "x-tls"}],
            "rules": [{"host": "x", "http": {"paths": [path("/", "shop-canary"), path("/img", "img-svc")]}}],
        },
    })
}

#[test]
fn a_canary_ingress_is_created() {
    let before = objects([web()]);
    assert_eq!(read(&*one(), &before).weight, Some(0), "no canary Ingress, no traffic");
    let after = write(&*one(), &before, &weight(20));
    assert_eq!(named(&after, "shop-web-canary"), &canary());
    assert_eq!(named(&after, "web"), &web());
    assert_eq!(read(&*one(), &after).weight, Some(20));
    assert!(one().needs_live_primary());
    assert!(!one().carries(&header("hd", &[])));
}

#[test]
fn annotations_of_the_spec() {
    let routing = json!({"nginx": {
        "stableIngress": "web",
        "annotationPrefix": "p.io",
        "additionalIngressAnnotations": {"canary-by-header": "X-B", "p.io/load-balance": "ewma", "canary": "no"},
        "canaryIngressAnnotations": {"p.io/canary-by-header": "X-Z", "p.io/canary-weight": "99"},
    }});
    let fine = sluice_traffic::Scope { max_weight: 1000, has_max_weight: true, ..scope() };
    let router = router(routing, &fine);
    let after = write(&*router, &objects([web()]), &weight(250));
    assert_eq!(
        named(&after, "shop-web-canary")["metadata"]["annotations"],
        json!({
            "kubernetes.io/ingress.class": "nginx",
            "p.io/canary": "true",
            "p.io/canary-by-header": "X-Z",
            "p.io/canary-weight": "250",
            "p.io/canary-weight-total": "1000",
            "p.io/load-balance": "ewma",
        })
    );
    assert_eq!(read(&*router, &after).weight, Some(250));
}

#[test]
fn what_others_put_on_the_canary_ingress_stays() {
    let mut found = canary();
    found["metadata"]["annotations"]["field.cattle.io/x"] = "y".into();
    found["metadata"]["labels"] = json!({"team": "x"});
    found["metadata"]["resourceVersion"] = "7".into();
    found["status"] = json!({"loadBalancer": {}});
    found["spec"]["defaultBackend"] = backend("z");
    let after = write(&*one(), &objects([web(), found.clone()]), &weight(0));
    found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] = "0".into();
    assert_eq!(named(&after, "shop-web-canary"), &found, "only the weight, and nothing is deleted");
    assert_eq!(read(&*one(), &after).weight, Some(0));
}

#[test]
fn several_ingresses() {
    let router = router(json!({"nginx": {"stableIngresses": ["web", "internal"]}}), &scope());
    let mut internal = web();
    internal["metadata"]["name"] = "internal".into();
    let after = write(&*router, &objects([web(), internal]), &weight(20));
    assert_eq!(after.len(), 4);
    assert_eq!(read(&*router, &after).weight, Some(20));

    let mut half: Objects = after.clone();
    half.retain(|reference, _| reference.name != "shop-internal-canary");
    assert_eq!(read(&*router, &half).weight, None, "they do not agree");
    assert_eq!(write(&*router, &half, &weight(20)), after);
}

#[test]
fn the_class_follows_the_stable_ingress() {
    // (of the stable Ingress: annotation, name; of the canary's: annotation, name; expected)
    for (stable, found, expected) in [
        ((Some("nginx"), None), (None, None), (Some("nginx"), None)),
        ((None, Some("nginx")), (None, None), (None, Some("nginx"))),
        ((None, Some("nginx")), (Some("nginx"), None), (None, Some("nginx"))),
        ((Some("nginx"), None), (None, Some("nginx")), (Some("nginx"), None)),
        ((None, None), (None, Some("the-default")), (None, Some("the-default"))),
        ((None, None), (None, None), (None, None)),
    ] {
        let with = |mut object: Value, (annotation, name): (Option<&str>, Option<&str>)| {
            let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove("kubernetes.io/ingress.class");
            if let Some(class) = annotation {
                annotations.insert("kubernetes.io/ingress.class".into(), class.into());
            }
            if let Some(class) = name {
                object["spec"]["ingressClassName"] = class.into();
            }
            object
        };
        let after = write(&*one(), &objects([with(web(), stable), with(canary(), found)]), &weight(20));
        assert_eq!(named(&after, "shop-web-canary"), &with(canary(), expected), "{stable:?} {found:?}");
    }
}

#[test]
fn rules_without_http_and_backends_that_are_no_service_are_skipped() {
    let mut web = web();
    let rules = web["spec"]["rules"].as_array_mut().unwrap();
    rules.insert(0, json!({"host": "nothing"}));
    rules.push(json!({"host": "null", "http": null}));
    rules.push(json!({"http": {"paths": [{"path": "/", "backend": {"resource": {"kind": "Bucket", "name": "shop-stable"}}}]}}));
    rules.push(json!("no rule"));
    let after = write(&*one(), &objects([web]), &weight(20));
    assert_eq!(named(&after, "shop-web-canary")["spec"]["rules"], canary()["spec"]["rules"]);
}

#[test]
fn a_weight_that_says_nothing() {
    for (key, value) in [
        ("canary", json!("false")),
        ("canary-weight", json!("many")),
        ("canary-weight", json!(20)),
        ("canary-weight-total", json!("0")),
        ("canary-weight-total", json!("x")),
    ] {
        let mut found = canary();
        found["metadata"]["annotations"][format!("nginx.ingress.kubernetes.io/{key}")] = value.clone();
        assert_eq!(read(&*one(), &objects([web(), found])).weight, None, "{key} {value}");
    }
}

#[test]
fn names_are_cut() {
    let name = "w".repeat(250);
    let router = router(json!({"nginx": {"stableIngress": name}}), &scope());
    let names: Vec<String> = router.reads().into_iter().map(|reference| reference.name).collect();
    assert!(names.contains(&format!("shop-{}-canary", "w".repeat(241))), "{names:?}");
    assert!(names.iter().all(|name| name.len() <= 253));
}

#[test]
fn mistakes_are_named() {
    let nobody = ingress("web", json!([{"http": {"paths": [path("/", "other")]}}]));
    let mut anothers = canary();
    anothers["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    let mut orphan = canary();
    orphan["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let controlled = "Ingress shop/shop-web-canary: metadata.ownerReferences: canary ingress `shop-web-canary` controlled by different object";
    for (found, expected) in [
        (vec![], "Ingress shop/web not found: create it, or name another in the spec"),
        (
            vec![nobody],
            "Ingress shop/web: spec.rules: ingress `web` has no rules using service shop-stable backend",
        ),
        (vec![ingress("web", json!({}))], "Ingress shop/web: spec.rules: must be a list"),
        (vec![web(), anothers], controlled),
        (vec![web(), orphan], controlled),
    ] {
        assert_eq!(error(&*one(), &objects(found), &weight(20)), expected);
    }
    let field = "Rollout shop/shop: spec.strategy.canary.trafficRouting.nginx: Either StableIngress or StableIngresses must be configured.";
    for (nginx, expected) in [
        (json!({}), "Neither are configured."),
        (json!({"stableIngress": "a", "stableIngresses": ["b"]}), "Both are configured."),
    ] {
        let router = router(json!({"nginx": nginx}), &scope());
        assert_eq!(error(&*router, &objects([web()]), &weight(20)), format!("{field} {expected}"));
        assert!(router.reads().is_empty());
    }
    let without = sluice_traffic::Scope { canary_service: None, ..scope() };
    let router = router(json!({"nginx": {"stableIngress": "web"}}), &without);
    assert_eq!(
        error(&*router, &objects([web()]), &weight(20)),
        "Rollout shop/shop: spec.strategy.canary: Canary service and Stable service must to be set to use Traffic Routing"
    );
}

#[test]
fn the_canary_of_an_ingress_that_the_spec_names_no_more_goes() {
    let mut former = canary();
    former["metadata"]["name"] = "shop-former-canary".into();
    let (mut anothers, mut no_canary) = (former.clone(), former.clone());
    anothers["metadata"]["name"] = "shop-anothers-canary".into();
    anothers["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    no_canary["metadata"]["name"] = "shop-plain-canary".into();
    no_canary["metadata"]["annotations"] = json!({});
    let before = objects([web(), canary(), former, anothers, no_canary]);
    assert_eq!(read(&*one(), &before).weight, Some(20), "they agree");
    let mut expected = before.clone();
    expected.retain(|reference, _| reference.name != "shop-former-canary");
    assert_eq!(write(&*one(), &before, &weight(20)), expected);
    let half = write(&*one(), &expected, &weight(0));
    let both: Objects = before.into_iter().chain(half).collect();
    assert_eq!(read(&*one(), &both).weight, None, "the former one still sends a share to the canary");
}

#[test]
fn the_sample_plugin_is_this_router() {
    for key in ["argoproj/sample-nginx", "argoproj-labs/sample-nginx"] {
        let plugin = router(json!({"plugins": {key: {"stableIngress": "web"}}}), &scope());
        assert_eq!((plugin.name(), plugin.reads()), ("nginx", one().reads()));
        let before = objects([web()]);
        assert_eq!(write(&*plugin, &before, &weight(20)), write(&*one(), &before, &weight(20)));
        let wrong = router(json!({"plugins": {key: {"stableIngress": 3}}}), &scope());
        assert_eq!(
            error(&*wrong, &before, &weight(20)),
            format!(
                "Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{key}: cannot be read: invalid type: integer `3`, expected a string"
            )
        );
    }
    // Beside the typed block neither removes the other's canary Ingress.
    let routing = json!({"nginx": {"stableIngress": "web"}, "plugins": {"argoproj/sample-nginx": {"stableIngress": "b"}}});
    let routing = serde_json::from_value(routing).unwrap();
    for router in sluice_traffic::routers(&routing, &scope()) {
        assert_eq!(router.unwrap().selects(), []);
    }
}
