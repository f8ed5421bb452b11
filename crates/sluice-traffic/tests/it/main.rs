//! Routers through their seam: what they write into objects, what they leave alone, what they read back.

mod alb;
mod ambassador;
mod apisix;
mod app_mesh;
mod argo_live;
mod contour;
mod gateway;
mod gloo;
mod harness;
mod istio;
mod kuma;
mod nginx;
mod properties;
mod smi;
mod traefik;

use serde_json::{Value, json};
use sluice_api::steps::{HeaderMatch, SetHeaderRoute, SetMirrorRoute, StringMatch};
use sluice_traffic::{
    Edits, Extra, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, Routes, Scope, TrafficRouter, apply,
    routers,
};

/// The Rollout `shop` in namespace `shop`, with its two Services.
fn scope() -> Scope {
    Scope {
        namespace: "shop".into(),
        rollout: "shop".into(),
        uid: "uid-of-shop".into(),
        stable_service: Some("shop-stable".into()),
        canary_service: Some("shop-canary".into()),
        max_weight: 100,
        has_max_weight: false,
        managed_names: vec!["m".into(), "hd".into()],
    }
}

/// The only router of this `trafficRouting`.
#[track_caller]
fn router(routing: Value, scope: &Scope) -> Box<dyn TrafficRouter> {
    let routing = serde_json::from_value(routing).expect("a valid trafficRouting");
    let mut all = routers(&routing, scope);
    assert_eq!(all.len(), 1);
    all.remove(0).expect("a router that is carried out")
}

/// Objects by what they say of themselves.
fn objects(list: impl IntoIterator<Item = Value>) -> Objects {
    let text = |value: &Value| value.as_str().unwrap_or("shop").to_owned();
    let reference = |object: &Value| ObjectRef {
        kind: kind(&text(&object["apiVersion"]), &text(&object["kind"])),
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]),
    };
    list.into_iter().map(|object| (reference(&object), object)).collect()
}

const INGRESS: ObjectKind =
    ObjectKind { group: "networking.k8s.io", versions: &["v1"], kind: "Ingress", plural: "ingresses" };

#[track_caller]
fn kind(api_version: &str, kind: &str) -> ObjectKind {
    use sluice_traffic::{ambassador, apisix, app_mesh, contour, gateway, gloo, istio, kuma, smi, traefik};
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let all = [
        INGRESS,
        istio::VIRTUAL_SERVICE,
        istio::DESTINATION_RULE,
        gateway::HTTP_ROUTE,
        gateway::GRPC_ROUTE,
        gateway::TCP_ROUTE,
        gateway::TLS_ROUTE,
        gateway::LINKERD_HTTP_ROUTE,
        traefik::TRAEFIK_SERVICE,
        traefik::FORMER_TRAEFIK_SERVICE,
        gloo::VIRTUAL_SERVICE,
        gloo::ROUTE_TABLE,
        gloo::UPSTREAM_GROUP,
        smi::TRAFFIC_SPLIT,
        ambassador::MAPPING,
        ambassador::AMBASSADOR_MAPPING,
        apisix::APISIX_ROUTE,
        app_mesh::VIRTUAL_SERVICE,
        app_mesh::VIRTUAL_ROUTER,
        app_mesh::VIRTUAL_NODE,
        contour::HTTP_PROXY,
        kuma::MESH_HTTP_ROUTE,
        kuma::MESH_TCP_ROUTE,
    ];
    let found =
        all.into_iter().find(|known| known.kind == kind && (known.group == group || group.is_empty()));
    found.unwrap_or_else(|| panic!("no kind {kind} of {api_version}"))
}

fn weight(canary_weight: i64) -> Routes {
    Routes { canary_weight, ..Routes::default() }
}

fn extra(service: &str, weight: i64) -> Extra {
    Extra { service: service.into(), hash: "77aa0".into(), weight }
}

fn exact(text: &str) -> StringMatch {
    StringMatch { exact: text.into(), ..StringMatch::default() }
}

fn prefix(text: &str) -> StringMatch {
    StringMatch { prefix: text.into(), ..StringMatch::default() }
}

fn header(name: &str, matches: &[(&str, StringMatch)]) -> ManagedRoute {
    let one = |(header, value): &(&str, StringMatch)| HeaderMatch {
        header_name: (*header).into(),
        header_value: Some(value.clone()),
    };
    ManagedRoute::Header(SetHeaderRoute { name: name.into(), r#match: matches.iter().map(one).collect() })
}

fn mirror(name: &str, percentage: Option<i32>, matches: Value) -> ManagedRoute {
    let r#match = serde_json::from_value(matches).expect("valid matches");
    ManagedRoute::Mirror(SetMirrorRoute { name: name.into(), percentage, r#match })
}

/// Writes these routes, and checks that they are written once and read back.
#[track_caller]
fn write(router: &dyn TrafficRouter, observed: &Objects, routes: &Routes) -> Objects {
    let edits = router.with_routes(observed, routes).expect("fit objects");
    let is_read = |reference: &ObjectRef| {
        let by_label =
            |object: &Value| router.selects().iter().any(|selection| selection.takes(reference, object));
        router.reads().contains(reference) || observed.get(reference).is_some_and(by_label)
    };
    assert!(edits.keys().all(is_read), "only what it reads is written");
    let nearest = router.nearest_weight(observed, routes);
    let mut after = observed.clone();
    apply(&mut after, edits);
    assert_eq!(router.with_routes(&after, routes), Ok(Edits::new()), "twice is once");
    let found = router.read(&after, routes.ping_pong.as_ref()).expect("fit objects");
    assert_eq!(Ok(found.weight), nearest);
    after
}

#[track_caller]
fn read(router: &dyn TrafficRouter, observed: &Objects) -> Found {
    router.read(observed, None).expect("fit objects")
}

#[track_caller]
fn error(router: &dyn TrafficRouter, observed: &Objects, routes: &Routes) -> String {
    router.with_routes(observed, routes).expect_err("it cannot be written").to_string()
}

/// The object of this name.
#[track_caller]
fn named<'a>(objects: &'a Objects, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|(reference, _)| reference.name == name)
        .map_or_else(|| panic!("no {name}"), |(_, object)| object)
}

/// An Ingress of the Rollout's namespace with these rules.
fn ingress(name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"rules": rules},
    })
}
