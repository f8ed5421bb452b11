//! VirtualServices and DestinationRules.

use serde_json::{Value, json};
use sluice_traffic::istio::EXTRA_DESTINATIONS;
use sluice_traffic::{Edits, Objects, PingPong, Routes, Scope, Subsets, TrafficRouter};

use crate::{
    error, exact, extra, header, mirror, named, objects, prefix, read, router, scope, weight, write,
};

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"name": "web", "routes": ["web"]}))
}

fn of(virtual_service: Value) -> Box<dyn TrafficRouter> {
    router(json!({"istio": {"virtualService": virtual_service}}), &scope())
}

/// A router that tells stable and canary apart by subsets alone.
fn by_subsets(additional: &[&str]) -> Box<dyn TrafficRouter> {
    let istio = json!({
        "virtualService": {"name": "web"},
        "destinationRule": {
            "name": "web-rule", "stableSubsetName": "stable", "canarySubsetName": "canary",
            "additionalSubsetNames": additional,
        },
    });
    let scope = Scope { stable_service: None, canary_service: None, ..scope() };
    router(json!({"istio": istio}), &scope)
}

fn virtual_service(spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    })
}

fn rule(subsets: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule",
        "metadata": {"name": "web-rule", "namespace": "shop"}, "spec": {"host": "shop", "subsets": subsets},
    })
}

fn two_subsets() -> Value {
    rule(json!([{"name": "stable"}, {"name": "canary"}]))
}

fn to(host: &str, weight: i64) -> Value {
    json!({"destination": {"host": host}, "weight": weight})
}

fn subset(name: &str, weight: i64) -> Value {
    json!({"destination": {"host": "shop", "subset": name}, "weight": weight})
}

/// Weights at the start, under hosts of both forms.
fn split(stable: i64, canary: i64) -> Value {
    json!([to("shop-stable.shop.svc.cluster.local", stable), to("shop-canary", canary)])
}

fn web() -> Value {
    virtual_service(json!({"http": [{"name": "web", "route": split(100, 0)}]}))
}

/// What the first HTTP route leads to after these routes were written.
#[track_caller]
fn route_after(router: &dyn TrafficRouter, found: Objects, routes: &Routes) -> Value {
    named(&write(router, &found, routes), "web")["spec"]["http"][0]["route"].clone()
}

#[test]
fn weights() {
    let after = write(&*one(), &objects([web()]), &weight(20));
    let mut expected = web();
    expected["spec"]["http"][0]["route"] = split(80, 20);
    assert_eq!(named(&after, "web"), &expected);
    assert_eq!(read(&*one(), &after).weight, Some(20));
    assert_eq!(read(&*one(), &after).subsets, None);
    assert_eq!(write(&*one(), &after, &weight(0)), objects([web()]), "and back");
}

#[test]
fn a_weight_that_is_absent_is_0_already() {
    let mut found = web();
    found["spec"]["http"][0]["route"][1].as_object_mut().unwrap().remove("weight");
    let before = objects([found]);
    assert_eq!(one().with_routes(&before, &weight(0)), Ok(Edits::new()));
    assert_eq!(read(&*one(), &before).weight, Some(0));
    assert_eq!(route_after(&*one(), before, &weight(20)), split(80, 20));
}

#[test]
fn destinations_of_others_keep_their_weight() {
    let with = |other: Value, stable: i64, canary: i64| {
        let mut route = split(stable, canary);
        route.as_array_mut().unwrap().insert(1, other);
        virtual_service(json!({"http": [{"name": "web", "route": route}]}))
    };
    // (weight of the other, wanted) => (stable, canary), read back
    for (other, wanted, stable, canary, found) in [
        (15, 20, 68, 17, 20),
        (20, 0, 80, 0, 0),
        (20, 50, 40, 40, 50),
        (20, 99, 1, 79, 99),
        (20, 100, 0, 80, 100),
        (20, 3, 78, 2, 3),
        (20, 2, 78, 2, 3), // the nearest there is
        (0, 20, 80, 20, 20),
        (98, 1, 1, 1, 50),
    ] {
        let before = objects([with(to("other", other), 100 - other, 0)]);
        let after = write(&*one(), &before, &weight(wanted));
        assert_eq!(
            named(&after, "web"),
            &with(to("other", other), stable, canary),
            "{wanted} beside {other}"
        );
        assert_eq!(read(&*one(), &after).weight, Some(found), "{wanted} beside {other}");
        assert_eq!(write(&*one(), &after, &weight(0)), before);
    }
    let full = objects([with(to("other", 99), 1, 0)]);
    assert_eq!(
        error(&*one(), &full, &weight(20)),
        "VirtualService shop/web: spec.http[0].route: other destinations have weight 99: leave at least 2 of 100 for stable and canary"
    );
}

#[test]
fn additional_subsets_are_taken_from_stable() {
    let found = |stable: i64, canary: i64| {
        let route = json!([subset("stable", stable), subset("canary", canary), subset("legacy", 20)]);
        objects([two_subsets(), virtual_service(json!({"http": [{"route": route}]}))])
    };
    let router = by_subsets(&["legacy"]);
    for (wanted, stable, canary) in [(30, 50, 30), (0, 80, 0), (90, 0, 90), (100, 0, 100), (80, 0, 80)] {
        let after = write(&*router, &found(80, 0), &weight(wanted));
        assert_eq!(after, found(stable, canary), "{wanted}");
        assert_eq!(read(&*router, &after).weight, Some(wanted));
    }
}

#[test]
fn further_destinations_come_and_go() {
    let routes = Routes { extra: vec![extra("exp-b", 5), extra("exp-a", 20)], ..weight(10) };
    let after = write(&*one(), &objects([web()]), &routes);
    let mut route = split(65, 10);
    route.as_array_mut().unwrap().extend([
        json!({"weight": 20, "destination": {"host": "exp-a"}}),
        json!({"weight": 5, "destination": {"host": "exp-b"}}),
    ]);
    assert_eq!(named(&after, "web")["spec"]["http"][0]["route"], route);
    assert_eq!(
        named(&after, "web")["metadata"]["annotations"],
        json!({EXTRA_DESTINATIONS: r#"{"shop":["exp-b","exp-a"]}"#})
    );
    assert_eq!(read(&*one(), &after).weight, Some(10));

    let later = write(&*one(), &after, &weight(10));
    assert_eq!(later, write(&*one(), &objects([web()]), &weight(10)), "without a trace");
}

#[test]
fn destinations_of_experiments_that_argo_rollouts_left_are_known() {
    let name = "shop-779b5f7646-2-3-cand";
    let mut route = split(70, 10);
    route.as_array_mut().unwrap().push(json!({"weight": 20, "destination": {"host": name}}));
    let before = objects([virtual_service(json!({"http": [{"name": "web", "route": route}]}))]);
    assert_eq!(read(&*one(), &before).weight, Some(10));
    let routes = Routes { extra: vec![extra(name, 20)], ..weight(10) };
    assert_eq!(one().with_routes(&before, &routes), Ok(Edits::new()), "no record is needed");
    assert_eq!(route_after(&*one(), before, &weight(10)), split(90, 10));
}

#[test]
fn a_further_destination_that_is_there_already() {
    let mut route = split(100, 0);
    route.as_array_mut().unwrap().push(to("exp-a.shop", 0));
    let before = objects([virtual_service(json!({"http": [{"name": "web", "route": route}]}))]);
    let mut expected = split(75, 20);
    expected.as_array_mut().unwrap().push(to("exp-a.shop", 5));
    let routes =
        Routes { extra: vec![extra("exp-a", 5), extra("shop-canary", 0), extra("", 0)], ..weight(20) };
    assert_eq!(route_after(&*one(), before, &routes), expected);
}

#[test]
fn several_destinations_of_one_role_share_its_weight() {
    let port = |host: &str, port: i64, weight: i64| json!({"destination": {"host": host, "port": {"number": port}}, "weight": weight});
    let found = |stable: i64, canary: [i64; 2]| {
        let route = json!([
            port("shop-canary", 1, canary[0]),
            port("shop-canary", 2, canary[1]),
            port("shop-stable", 1, stable)
        ]);
        objects([virtual_service(json!({"http": [{"name": "web", "route": route}]}))])
    };
    let after = write(&*one(), &found(100, [0, 0]), &weight(25));
    assert_eq!(after, found(75, [13, 12]));
    assert_eq!(read(&*one(), &after).weight, Some(25));
}

#[test]
fn fine_weights_become_the_nearest_percent() {
    let fine = Scope { max_weight: 1000, has_max_weight: true, ..scope() };
    let router = router(json!({"istio": {"virtualService": {"name": "web"}}}), &fine);
    for (wanted, canary, found) in
        [(0, 0, 0), (1, 1, 10), (14, 1, 10), (16, 2, 20), (996, 99, 990), (999, 99, 990), (1000, 100, 1000)]
    {
        let after = write(&*router, &objects([web()]), &weight(wanted));
        assert_eq!(named(&after, "web")["spec"]["http"][0]["route"], split(100 - canary, canary), "{wanted}");
        assert_eq!(read(&*router, &after).weight, Some(found), "{wanted}");
    }
}

#[test]
fn tls_and_tcp_routes() {
    let tls = |stable: i64, canary: i64| {
        json!([
            {"match": [{"port": 443, "sniHosts": ["a"]}, {"port": 443, "sniHosts": ["b"]}], "route": split(stable, canary)},
            {"match": [{"port": 444}], "route": split(100, 0)},
            {"match": [{"port": 443, "sniHosts": ["a", "b"]}, {"port": 445}], "route": split(100, 0)},
            {"match": [{"port": 443, "sniHosts": ["a"]}], "route": split(100, 0)},
        ])
    };
    let tcp = |stable: i64, canary: i64| {
        json!([
            {"match": [{"port": 3306}], "route": split(stable, canary)},
            {"match": [{"port": 3307}], "route": [to("other", 100)]},
            {"route": [to("other", 100)]},
        ])
    };
    for (target, tls_after, tcp_after) in [
        (
            json!({"name": "web", "tlsRoutes": [{"port": 443, "sniHosts": ["b", "a"]}]}),
            tls(75, 25),
            json!([]),
        ),
        (json!({"name": "web", "tcpRoutes": [{"port": 3306}]}), json!([]), tcp(75, 25)),
        // The only one that leads to us needs no name.
        (json!({"name": "web"}), json!([]), tcp(75, 25)),
    ] {
        let before = |tls_before: Value, tcp_before: Value| {
            let mut spec = json!({"hosts": ["web"], "http": [{"name": "theirs", "route": [to("other", 100)]}, {"redirect": {}}]});
            for (protocol, list) in [("tls", tls_before), ("tcp", tcp_before)] {
                if list != json!([]) {
                    spec[protocol] = list;
                }
            }
            objects([virtual_service(spec)])
        };
        let of_before = |after: &Value, list: Value| if *after == json!([]) { json!([]) } else { list };
        let (tls_before, tcp_before) =
            (of_before(&tls_after, tls(100, 0)), of_before(&tcp_after, tcp(100, 0)));
        let router = of(target.clone());
        let after = write(&*router, &before(tls_before, tcp_before), &weight(25));
        assert_eq!(after, before(tls_after, tcp_after), "{target}");
        assert_eq!(read(&*router, &after).weight, Some(25));
    }
}

#[test]
fn tls_and_tcp_routes_of_others_are_left_alone() {
    let mut found = web();
    found["spec"]["tls"] = json!([{"match": [{"port": 443}], "route": [to("other", 100)]}, {"x": 1}]);
    found["spec"]["tcp"] = json!([{"route": [to("shop-stable.elsewhere", 100)]}, "no route"]);
    let after = write(&*one(), &objects([found.clone()]), &weight(20));
    found["spec"]["http"][0]["route"] = split(80, 20);
    assert_eq!(named(&after, "web"), &found);
}

#[test]
fn which_http_route_is_meant() {
    let several = json!([
        {"name": "a", "route": split(100, 0)},
        {"name": "hd", "route": [to("shop-canary", 100)]},
        {"name": "b", "route": split(100, 0)},
    ]);
    let one_beside_managed = json!([several[1], several[2]]);
    let nobody = "spec.http[] should be set in VirtualService and it must have exactly one route when omitting spec.strategy.canary.trafficRouting.istio.virtualService.routes";
    for (http, routes, expected) in [
        (several.clone(), json!(["a"]), Ok(vec!["a"])),
        (several.clone(), json!(["b", "a"]), Ok(vec!["a", "b"])),
        (one_beside_managed, json!([]), Ok(vec!["b"])),
        (json!([{"route": split(100, 0)}]), json!([]), Ok(vec![""])),
        (several.clone(), json!([]), Err(format!("spec.http: {nobody}"))),
        (json!(null), json!([]), Err(format!("spec.http: {nobody}"))),
        (json!({}), json!([]), Err("spec.http: must be a list".into())),
        (
            several.clone(),
            json!(["a", "c"]),
            Err("spec.http: HTTP Route 'c' is not found in the defined Virtual Service.".into()),
        ),
        (
            json!([{"route": [to("shop-canary", 100)]}]),
            json!([]),
            Err("spec.http[0].route: Stable Service 'shop-stable' not found in route".into()),
        ),
        (
            json!([{"redirect": {}}]),
            json!([]),
            Err("spec.http[0].route: Canary Service 'shop-canary' not found in route".into()),
        ),
    ] {
        let router = of(json!({"name": "web", "routes": routes}));
        let observed = objects([virtual_service(json!({"http": http}))]);
        match expected {
            Ok(names) => {
                let after = write(&*router, &observed, &weight(20));
                let list = named(&after, "web")["spec"]["http"].as_array().unwrap();
                let written = list.iter().filter(|route| route["route"] == split(80, 20));
                let written: Vec<_> =
                    written.map(|route| route["name"].as_str().unwrap_or_default()).collect();
                assert_eq!(written, names, "{http} {routes}");
            }
            Err(problem) => {
                assert_eq!(
                    error(&*router, &observed, &weight(20)),
                    format!("VirtualService shop/web: {problem}")
                );
                assert!(router.read(&observed, None).is_err());
            }
        }
    }
}

/// Header and mirror routes as steps ask for them, the mirror first in `managedRoutes`.
fn two_managed(canary_weight: i64) -> Routes {
    let managed = vec![
        mirror("m", Some(35), json!([{"method": {"exact": "GET"}}])),
        header("hd", &[("x-b", exact("1"))]),
    ];
    Routes { managed, ..weight(canary_weight) }
}

fn with_user_route() -> Value {
    let mut found = web();
    found["spec"]["http"][0]["timeout"] = "3s".into();
    found["spec"]["http"][0]["match"] = json!([{"withoutHeaders": {"x": {}}}]);
    let user_route = json!({"name": "z", "route": [to("other", 100)]});
    found["spec"]["http"].as_array_mut().expect("routes").push(user_route);
    found
}

#[test]
fn managed_routes() {
    let before = objects([with_user_route()]);
    let after = write(&*one(), &before, &two_managed(40));
    let mut weighted = with_user_route()["spec"]["http"].clone();
    weighted[0]["route"] = split(60, 40);
    let expected = json!([
        {
            "name": "m",
            "match": [{"method": {"exact": "GET"}}],
            "route": split(60, 40),
            "mirror": {"host": "shop-canary"},
            "mirrorPercentage": {"value": 35},
        },
        {
            "name": "hd",
            "match": [{"headers": {"x-b": {"exact": "1"}}}],
            "route": [to("shop-canary", 100)],
        },
        weighted[0],
        weighted[1],
    ]);
    assert_eq!(named(&after, "web")["spec"]["http"], expected);
    assert_eq!(read(&*one(), &after).managed, ["hd".to_owned(), "m".to_owned()].into());

    let stopped = write(&*one(), &after, &two_managed(0));
    assert_eq!(named(&stopped, "web")["spec"]["http"][2]["route"], split(100, 0));
    assert_eq!(named(&stopped, "web")["spec"]["http"][1], expected[1], "a header route keeps its 100 %");
    assert_eq!(write(&*one(), &stopped, &weight(0)), before, "without a trace");
}

#[test]
fn every_way_to_match() {
    let managed = vec![
        header("hd", &[("x-beta", exact("yes")), ("x-team", prefix("qa"))]),
        mirror(
            "m",
            None,
            json!([
                {"method": {"exact": "GET"}, "path": {"prefix": "/a"}, "headers": {"x": {"regex": "b.*"}}},
                {"path": {"regex": "/c"}},
            ]),
        ),
    ];
    let after = write(&*one(), &objects([web()]), &Routes { managed, ..weight(0) });
    let http = &named(&after, "web")["spec"]["http"];
    // One item for each header: any of them is enough.
    assert_eq!(
        http[0]["match"],
        json!([{"headers": {"x-beta": {"exact": "yes"}}}, {"headers": {"x-team": {"prefix": "qa"}}}])
    );
    assert_eq!(
        http[1]["match"],
        json!([
            {"method": {"exact": "GET"}, "uri": {"prefix": "/a"}, "headers": {"x": {"regex": "b.*"}}},
            {"uri": {"regex": "/c"}},
        ])
    );
    assert_eq!(http[1]["mirrorPercentage"], json!({"value": 100}));
    // Of its destinations' fields no more than these, and a weight of 0 is left out.
    assert_eq!(
        http[1]["route"],
        json!([to("shop-stable.shop.svc.cluster.local", 100), {"destination": {"host": "shop-canary"}}])
    );
}

#[test]
fn a_managed_route_is_rebuilt_where_it_differs() {
    let after = write(&*one(), &objects([with_user_route()]), &two_managed(0));
    let edit = |edit: fn(&mut Vec<Value>)| {
        let mut objects = after.clone();
        let object = objects.values_mut().next().unwrap();
        edit(object["spec"]["http"].as_array_mut().unwrap());
        objects
    };
    for damaged in [
        edit(|http| http[1]["match"] = json!([])),
        edit(|http| http[1]["route"][0]["weight"] = 50.into()),
        edit(|http| http[1]["mirror"] = json!({"host": "z"})),
        edit(|http| {
            http[0].as_object_mut().unwrap().remove("mirror");
        }),
        edit(|http| http.swap(0, 1)),
        edit(|http| http.swap(1, 2)),
        edit(|http| http.push(http[1].clone())),
        edit(|http| {
            http.remove(0);
        }),
    ] {
        assert_eq!(write(&*one(), &damaged, &two_managed(0)), after);
    }
    let theirs = edit(|http| {
        http[0]["timeout"] = "1s".into();
        http[0]["route"][1]["weight"] = 0.into();
        http.insert(0, json!({"name": "of-another-rollout", "route": [to("other", 100)]}));
    });
    assert_eq!(write(&*one(), &theirs, &two_managed(0)), theirs, "nobody is fought with");
}

#[test]
fn a_route_that_asks_for_nothing_is_none() {
    let managed = vec![header("hd", &[("x-b", exact("1"))]), mirror("m", None, json!([])), header("hd", &[])];
    let after = write(&*one(), &objects([web()]), &Routes { managed, ..weight(0) });
    assert_eq!(after, objects([web()]));
}

#[test]
fn a_route_that_the_spec_does_not_name_does_not_pile_up() {
    let routes = Routes { managed: vec![header("unnamed", &[("x", exact("1"))])], ..weight(0) };
    let after = write(&*one(), &objects([web()]), &routes);
    assert_eq!(named(&after, "web")["spec"]["http"].as_array().map(Vec::len), Some(2));
    assert_eq!(read(&*one(), &after).managed, [].into(), "only those of the spec are ours to find");
}

#[test]
fn managed_routes_lead_where_the_canary_is() {
    let port = |host: &str, port: i64, weight: i64| json!({"destination": {"host": host, "port": {"number": port}}, "weight": weight});
    let route = json!([port("shop-stable", 80, 100), port("shop-canary", 81, 0)]);
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(0) };
    let after = write(
        &*one(),
        &objects([virtual_service(json!({"http": [{"name": "web", "route": route}]}))]),
        &routes,
    );
    assert_eq!(named(&after, "web")["spec"]["http"][0]["route"], json!([port("shop-canary", 81, 100)]));

    let by_subset = objects([
        rule(json!([{"name": "stable"}, {"name": "canary"}])),
        virtual_service(json!({"http": [{"route": [subset("stable", 100), subset("canary", 0)]}]})),
    ]);
    let after = write(&*by_subsets(&[]), &by_subset, &routes);
    assert_eq!(named(&after, "web")["spec"]["http"][0]["route"], json!([subset("canary", 100)]));

    // A short host in another namespace would be another Service.
    let mut elsewhere = virtual_service(
        json!({"http": [{"route": [to("shop-stable.shop", 100), to("shop-canary.shop", 0)]}]}),
    );
    elsewhere["metadata"]["namespace"] = "edge".into();
    let routes = Routes { extra: vec![extra("exp-a", 5)], ..routes };
    let after = write(&*of(json!({"name": "web.edge"})), &objects([elsewhere]), &routes);
    let http = &named(&after, "web")["spec"]["http"];
    assert_eq!(http[0]["route"], json!([to("shop-canary.shop", 100)]));
    assert_eq!(http[1]["route"][2], to("exp-a.shop", 5));
}

#[test]
fn several_virtual_services() {
    let istio = json!({"istio": {"virtualServices": [
        {"name": "tcp"}, {"name": "web", "routes": ["a"]}, {"name": "web", "routes": ["b"]}, {"name": "web.edge"},
    ]}});
    let router = router(istio, &scope());
    let mut tcp = virtual_service(json!({"tcp": [{"route": split(100, 0)}]}));
    tcp["metadata"]["name"] = "tcp".into();
    let two = virtual_service(json!({"http": [
        {"name": "a", "route": split(100, 0)}, {"name": "b", "route": split(100, 0)},
    ]}));
    let mut edge = web();
    edge["metadata"]["namespace"] = "edge".into();
    let before = objects([tcp.clone(), two, edge]);
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(20) };
    let after = write(&*router, &before, &routes);
    let weighted = |object: &Value| object.to_string().matches("\"weight\":20").count();
    assert_eq!(after.values().map(weighted).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(read(&*router, &after).weight, Some(20));
    assert_eq!(write(&*router, &after, &weight(0)), before);

    let mut half = before.clone();
    half.extend(after.into_iter().take(2));
    assert_eq!(read(&*router, &half).weight, None, "they do not agree");
    assert_eq!(read(&*router, &half).managed, ["hd".to_owned()].into(), "it is in one of them");

    let only_tcp = of(json!({"name": "tcp"}));
    assert_eq!(
        error(&*only_tcp, &objects([tcp]), &routes),
        "VirtualService shop/tcp: spec.http: a header or mirror route needs an HTTP route with both destinations beside it: add one"
    );
}

#[test]
fn two_services_that_take_turns_unless_others_are_named() {
    let roles = PingPong { stable: "ping".into(), canary: "pong".into() };
    let routes = Routes { ping_pong: Some(roles.clone()), ..weight(20) };
    let alone = Scope { stable_service: None, canary_service: None, ..scope() };
    let istio = json!({"istio": {"virtualService": {"name": "web"}}});
    let found = |stable: i64, canary: i64| {
        let route = json!([to("ping", stable), to("pong", canary)]);
        objects([virtual_service(json!({"http": [{"route": route}]}))])
    };
    let router_alone = router(istio.clone(), &alone);
    let after = write(&*router_alone, &found(100, 0), &routes);
    assert_eq!(after, found(80, 20));
    assert_eq!(router_alone.read(&after, Some(&roles)).unwrap().weight, Some(20));
    assert_eq!(route_after(&*router(istio, &scope()), objects([web()]), &routes), split(80, 20));
}

#[test]
fn subsets_select_versions() {
    let found = rule(json!([
        {"name": "stable", "labels": {"app": "x"}},
        {"name": "canary", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}},
        {"name": "foo", "labels": {"rollouts-pod-template-hash": "z"}},
    ]));
    let split = virtual_service(json!({"http": [{"route": [subset("stable", 100), subset("canary", 0)]}]}));
    let before = objects([found.clone(), split.clone()]);
    let router = by_subsets(&[]);
    assert_eq!(read(&*router, &before).subsets, Some(Subsets::default()));
    assert_eq!(
        router.with_routes(&before, &weight(0)),
        Ok(Edits::new()),
        "without hashes they stay as they are"
    );

    let hashes = |stable: Option<&str>, canary: Option<&str>| Routes {
        stable_hash: stable.map(str::to_owned),
        canary_hash: canary.map(str::to_owned),
        ..weight(0)
    };
    let after = write(&*router, &before, &hashes(Some("s1"), Some("c1")));
    let mut expected = found.clone();
    expected["metadata"]["annotations"] = json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"});
    expected["spec"]["subsets"][0]["labels"]["rollouts-pod-template-hash"] = "s1".into();
    expected["spec"]["subsets"][1]["labels"] = json!({"rollouts-pod-template-hash": "c1"});
    assert_eq!(named(&after, "web-rule"), &expected);
    let subsets = Subsets { stable: Some("s1".into()), canary: Some("c1".into()) };
    assert_eq!(read(&*router, &after).subsets, Some(subsets));

    let only_canary = write(&*router, &after, &hashes(None, Some("c2")));
    expected["spec"]["subsets"][1]["labels"] = json!({"rollouts-pod-template-hash": "c2"});
    assert_eq!(named(&only_canary, "web-rule"), &expected);

    let without = write(&*router, &only_canary, &hashes(Some(""), Some("")));
    expected["spec"]["subsets"] = found["spec"]["subsets"].clone();
    assert_eq!(named(&without, "web-rule"), &expected, "an empty hash takes the label away");
}

#[test]
fn a_destination_rule_of_two_rollouts_is_not_fought_over() {
    let labels = |hash: &str| json!({"rollouts-pod-template-hash": hash});
    let mut found =
        rule(json!([{"name": "stable", "labels": labels("s1")}, {"name": "canary", "labels": labels("c1")}]));
    let split = virtual_service(json!({"http": [{"route": [subset("stable", 100), subset("canary", 0)]}]}));
    let routes = |canary: &str| Routes {
        stable_hash: Some("s1".into()),
        canary_hash: Some(canary.into()),
        ..weight(0)
    };
    let manager = |objects: &Objects| {
        named(objects, "web-rule")["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"]
            .clone()
    };
    let router = by_subsets(&[]);
    let unnamed = write(&*router, &objects([found.clone(), split.clone()]), &routes("c1"));
    assert_eq!(manager(&unnamed), "shop");
    found["metadata"]["annotations"] = json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "other"});
    let anothers = objects([found, split]);
    assert_eq!(manager(&write(&*router, &anothers, &routes("c1"))), "other");
    assert_eq!(manager(&write(&*router, &anothers, &routes("c2"))), "shop");
}

#[test]
fn mistakes_are_named() {
    let istio = "Rollout shop/shop: spec.strategy.canary.trafficRouting.istio: either VirtualService or VirtualServices must be configured";
    for routing in [json!({}), json!({"virtualService": {"name": "a"}, "virtualServices": [{"name": "b"}]})] {
        let router = router(json!({"istio": routing}), &scope());
        assert_eq!(error(&*router, &objects([web()]), &weight(20)), istio);
    }
    let split = virtual_service(json!({"http": [{"route": [subset("stable", 100)]}]}));
    let mut unreadable = web();
    unreadable["metadata"]["annotations"] = json!({EXTRA_DESTINATIONS: r#"{"shop": 3}"#});
    let subsets = json!([{"name": "stable"}, {"name": "canary", "labels": 3}]);
    for (router, found, routes, expected) in [
        (
            one(),
            vec![],
            weight(20),
            "VirtualService shop/web not found: create it, or name another in the spec",
        ),
        (
            one(),
            vec![json!({"kind": "VirtualService", "metadata": {"name": "web"}, "spec": 3})],
            weight(20),
            "VirtualService shop/web: spec.http: HTTP Route 'web' is not found in the defined Virtual Service.",
        ),
        (
            one(),
            vec![unreadable],
            weight(20),
            "VirtualService shop/web: metadata.annotations[sluice.dev/extra-destinations]: is no JSON object with a list of names for each Rollout: remove the annotation",
        ),
        (
            by_subsets(&[]),
            vec![split.clone()],
            weight(20),
            "DestinationRule shop/web-rule not found: create it, or name another in the spec",
        ),
        (
            by_subsets(&[]),
            vec![split.clone(), two_subsets()],
            weight(20),
            "VirtualService shop/web: spec.http[0].route: Canary DestinationRule subset 'canary' not found in route",
        ),
        (
            by_subsets(&[]),
            vec![split.clone(), rule(json!([{"name": "stable"}]))],
            weight(20),
            "DestinationRule shop/web-rule: spec.subsets: has no subset 'canary': add it, or name another in the spec",
        ),
        (
            by_subsets(&[]),
            vec![split, rule(subsets)],
            Routes { canary_hash: Some("c".into()), ..weight(0) },
            "DestinationRule shop/web-rule: spec.subsets[1].labels: must be an object",
        ),
        (
            of(json!({"name": "web", "tlsRoutes": [{"port": 443, "sniHosts": ["a"]}]})),
            vec![web()],
            weight(20),
            r#"VirtualService shop/web: spec.tls: no TLS route has port 443 and SNI hosts ["a"] in all its matches"#,
        ),
        (
            of(json!({"name": "web", "tcpRoutes": [{"port": 3306}]})),
            vec![web()],
            weight(20),
            "VirtualService shop/web: spec.tcp: no TCP route has port 3306 in all its matches",
        ),
        (
            one(),
            vec![web()],
            Routes { managed: vec![header("hd", &[("x", exact(""))])], ..weight(0) },
            "Rollout shop/shop: setHeaderRoute hd, header x: StringMatch value missed, match value must have one of the following: exact, regex, prefix",
        ),
        (
            one(),
            vec![web()],
            Routes {
                managed: vec![mirror("m", None, json!([{"path": {"exact": "a", "prefix": "b"}}]))],
                ..weight(0)
            },
            "Rollout shop/shop: setMirrorRoute m: StringMatch match value must have exactly one of the following: exact, regex, prefix",
        ),
    ] {
        assert_eq!(error(&*router, &objects(found), &routes), expected);
    }
    let mut two = web();
    two["spec"]["tcp"] = json!([{"route": split_at_start()}, {"route": split_at_start()}]);
    assert_eq!(
        error(&*one(), &objects([two]), &weight(20)),
        "VirtualService shop/web: spec.tcp: 2 routes lead to the Rollout's Services: name those to write in its spec"
    );
    let alone = Scope { stable_service: None, ..scope() };
    let router = router(json!({"istio": {"virtualService": {"name": "web"}}}), &alone);
    assert_eq!(
        error(&*router, &objects([web()]), &weight(20)),
        "Rollout shop/shop: spec.strategy.canary: Canary service and Stable service must to be set to use Traffic Routing"
    );
}

fn split_at_start() -> Value {
    split(100, 0)
}
