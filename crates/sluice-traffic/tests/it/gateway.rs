//! Routes of the Gateway API.

use serde_json::{Value, json};
use sluice_api::steps::StringMatch;
use sluice_traffic::{Edits, Objects, PingPong, Routes, Scope, TrafficRouter, Verdict};

use crate::harness::{Foreign, Subject, with};
use crate::{
    error, exact, extra, header, mirror, named, objects, prefix, read, router, scope, weight, write,
};

const PLUGIN: &str = "argoproj-labs/gatewayAPI";
const LABEL: &str = "rollouts.argoproj.io/gatewayapi-canary";
const IN_PROGRESS: &str = "sluice.dev/in-progress";
const MANAGED: &str = "sluice.dev/managed-rules";

fn of(block: Value) -> Box<dyn TrafficRouter> {
    router(json!({"plugins": {PLUGIN: block}}), &scope())
}

fn one() -> Box<dyn TrafficRouter> {
    of(json!({"httpRoute": "web"}))
}

fn route(kind: &str, name: &str, rules: Value) -> Value {
    let version = if kind == "HTTPRoute" || kind == "GRPCRoute" { "v1" } else { "v1alpha2" };
    json!({
        "apiVersion": format!("gateway.networking.k8s.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "shop"}},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": rules},
    })
}

fn to(service: &str, weight: i64) -> Value {
    json!({"name": service, "port": 80, "weight": weight})
}

fn split(stable: i64, canary: i64) -> Value {
    json!([to("shop-stable", stable), to("shop-canary", canary)])
}

fn under(path: &str, stable: i64, canary: i64) -> Value {
    json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": split(stable, canary)})
}

fn web(rules: Value) -> Value {
    route("HTTPRoute", "web", rules)
}

/// The same while the canary gets something.
fn in_progress(mut object: Value) -> Value {
    object["metadata"]["labels"][LABEL] = "in-progress".into();
    object["metadata"]["annotations"][IN_PROGRESS] = format!(r#"{{"shop":["{LABEL}"]}}"#).into();
    object
}

fn with_record(mut object: Value, record: &str) -> Value {
    object["metadata"]["annotations"][MANAGED] = record.into();
    object
}

fn rules(objects: &Objects) -> &Value {
    &named(objects, "web")["spec"]["rules"]
}

/// What the properties are tried on.
pub fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let kinds = [("httpRoute", "HTTPRoute"), ("grpcRoute", "GRPCRoute"), ("tcpRoute", "TCPRoute")];
    let of_kind = |(key, kind): (&str, &str)| {
        let other = |weight| json!({"name": "z", "port": 80, "weight": weight});
        let refs = foreign.beside(to("shop-stable", max), to("shop-canary", 0), other);
        let mut object = route(kind, "web", foreign.around(json!({"name": "main", "backendRefs": refs})));
        object["metadata"]["labels"] = json!({"foreign": "stays"});
        object["spec"] = with(object["spec"].clone(), &foreign.of_object);
        Subject {
            routing: json!({"gatewayAPI": {key: "web"}}),
            objects: vec![object],
            whole: Some(max),
            is_exact: true,
            leaves_no_trace: true,
        }
    };
    kinds.into_iter().map(of_kind).collect()
}

fn regex(text: &str) -> StringMatch {
    StringMatch { regex: text.into(), ..StringMatch::default() }
}

#[test]
fn the_first_weight_a_raise_and_the_end() {
    let without = json!({"name": "z", "weight": 3});
    let refs = json!([{"name": "shop-stable", "port": 80}, {"name": "shop-canary", "port": 80}, without]);
    let before = objects([web(json!([{"backendRefs": refs}]))]);
    assert_eq!(read(&*one(), &before).weight, Some(50), "without weights each gets the same");
    let at = |stable: i64, canary: i64| {
        let list = json!([to("shop-stable", stable), to("shop-canary", canary), without]);
        web(json!([{"backendRefs": list}]))
    };
    let first = write(&*one(), &before, &weight(20));
    assert_eq!(first, objects([in_progress(at(80, 20))]));
    let raised = write(&*one(), &first, &weight(60));
    assert_eq!(raised, objects([in_progress(at(40, 60))]));
    let all = write(&*one(), &raised, &weight(100));
    assert_eq!(all, objects([in_progress(at(0, 100))]));
    assert_eq!(write(&*one(), &all, &weight(0)), objects([at(100, 0)]), "label and record go");
    for (objects, expected) in [(first, 20), (raised, 60), (all, 100)] {
        assert_eq!(read(&*one(), &objects).weight, Some(expected));
    }
}

#[test]
fn an_abort_takes_weight_and_managed_rules_back() {
    let before = objects([web(json!([under("/", 100, 0)]))]);
    let routes = Routes {
        managed: vec![
            header("hd", &[("X-V", exact("2"))]),
            mirror("m", Some(35), json!([{"method": {"exact": "GET"}}])),
        ],
        ..weight(60)
    };
    let after = write(&*one(), &before, &routes);
    assert_eq!(rules(&after).as_array().unwrap().len(), 3);
    assert_eq!(write(&*one(), &after, &weight(0)), before, "without a trace");
}

#[test]
fn header_rules_come_for_each_rule_that_holds_both_services() {
    let theirs =
        json!({"matches": [{"path": {"type": "PathPrefix", "value": "/z"}}], "backendRefs": [{"name": "z"}]});
    let preview = json!({"name": "preview", "backendRefs": [to("shop-canary", 1)]});
    let mut with_more = under("/b", 100, 0);
    with_more["filters"] = json!([{"type": "URLRewrite", "urlRewrite": {"hostname": "x"}}]);
    with_more["timeouts"] = json!({"request": "3s"});
    with_more["matches"][0]["headers"] = json!([{"name": "x-old", "value": "1"}]);
    let before = objects([web(json!([under("/a", 100, 0), with_more, theirs, preview]))]);
    let routes = Routes { managed: vec![header("hd", &[("X-V", exact("2"))])], ..weight(0) };
    let after = write(&*one(), &before, &routes);
    let new = json!({"name": "X-V", "type": "Exact", "value": "2"});
    let expected = with_record(
        web(json!([
            under("/a", 100, 0), with_more, theirs, preview,
            {
                "name": "hd",
                "matches": [{"path": {"type": "PathPrefix", "value": "/a"}, "headers": [new]}],
                "backendRefs": [{"name": "shop-canary", "port": 80}],
            },
            {
                "name": "hd-1",
                "matches": [{"path": {"type": "PathPrefix", "value": "/b"}, "headers": [{"name": "x-old", "value": "1"}, new]}],
                "filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "x"}}],
                "timeouts": {"request": "3s"},
                "backendRefs": [{"name": "shop-canary", "port": 80}],
            },
        ])),
        r#"{"shop":["hd x-v"]}"#,
    );
    assert_eq!(named(&after, "web"), &expected);
    assert_eq!(read(&*one(), &after).managed, ["hd".to_owned()].into());
    assert_eq!(read(&*one(), &after).weight, Some(0));

    // A raise moves the weights of the two rules, and nothing of theirs.
    let raised = write(&*one(), &after, &Routes { canary_weight: 60, ..routes });
    let list = rules(&raised).as_array().unwrap();
    assert_eq!((&list[0]["backendRefs"], &list[1]["backendRefs"]), (&split(40, 60), &split(40, 60)));
    assert_eq!(list[2..], rules(&after).as_array().unwrap()[2..]);
    assert_eq!(write(&*one(), &raised, &weight(0)), before);
}

#[test]
fn headers_of_one_route_have_to_fit_together() {
    let before = objects([web(json!([{"backendRefs": split(100, 0)}]))]);
    let headers = [("X-A", exact("1")), ("X-B", regex("q.+")), ("X-C", prefix("v1."))];
    let after = write(&*one(), &before, &Routes { managed: vec![header("hd", &headers)], ..weight(5) });
    assert_eq!(
        rules(&after)[1]["matches"],
        json!([{"headers": [
            {"name": "X-A", "type": "Exact", "value": "1"},
            {"name": "X-B", "type": "RegularExpression", "value": "q.+"},
            {"name": "X-C", "type": "RegularExpression", "value": r"v1\..*"},
        ]}])
    );
    let twice = [("X-A", exact("1")), ("x-a", exact("2"))];
    assert_eq!(
        error(&*one(), &before, &Routes { managed: vec![header("hd", &twice)], ..weight(5) }),
        "Rollout shop/shop: setHeaderRoute hd, header x-a: is asked for twice, and here all headers of a route have to fit at once: give it one value, as a regex for several"
    );
    let nothing = [("X-A", StringMatch::default())];
    assert_eq!(
        error(&*one(), &before, &Routes { managed: vec![header("hd", &nothing)], ..weight(5) }),
        "Rollout shop/shop: setHeaderRoute hd, header X-A: invalid header match type: give exactly one of exact, prefix and regex"
    );
}

#[test]
fn a_header_of_the_rule_itself_gives_way() {
    let mut rule = under("/", 100, 0);
    rule["matches"][0]["headers"] = json!([{"name": "x-v", "value": "1"}, {"name": "x-w", "value": "1"}]);
    let routes = Routes { managed: vec![header("hd", &[("X-V", exact("2"))])], ..weight(0) };
    let after = write(&*one(), &objects([web(json!([rule]))]), &routes);
    assert_eq!(
        rules(&after)[1]["matches"][0]["headers"],
        json!([{"name": "x-w", "value": "1"}, {"name": "X-V", "type": "Exact", "value": "2"}])
    );
}

#[test]
fn mirror_rules_stand_in_front_and_split_as_the_others_do() {
    let before = objects([web(json!([under("/", 100, 0), under("/b", 100, 0)]))]);
    let matches =
        json!([{"method": {"exact": "GET"}, "path": {"prefix": "/b/c"}, "headers": {"x": {"prefix": "a"}}}]);
    let routes = Routes { managed: vec![mirror("m", Some(35), matches)], ..weight(20) };
    let after = write(&*one(), &before, &routes);
    let expected = json!({
        "matches": [{
            "path": {"type": "PathPrefix", "value": "/b/c"}, "method": "GET",
            "headers": [{"name": "x", "type": "RegularExpression", "value": "a.*"}],
        }],
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shop-canary", "port": 80}, "percent": 35}}],
        "backendRefs": split(80, 20),
    });
    let list = rules(&after).as_array().unwrap();
    assert_eq!(list[2..], [under("/", 80, 20), under("/b", 80, 20)]);
    for (rule, name) in list.iter().zip(["m", "m-1"]) {
        let mut expected = expected.clone();
        expected["name"] = name.into();
        assert_eq!(rule, &expected);
    }
    assert_eq!(read(&*one(), &after).managed, ["m".to_owned()].into());

    let raised = write(&*one(), &after, &Routes { canary_weight: 50, ..routes });
    let weights = rules(&raised).as_array().unwrap().iter().map(|rule| &rule["backendRefs"]);
    assert!(weights.eq([&split(50, 50); 4]), "the copies go along");
    assert_eq!(write(&*one(), &raised, &weight(0)), before);
}

#[test]
fn mirror_steps_that_cannot_be_written() {
    let before = objects([web(json!([under("/a", 100, 0)]))]);
    for (matches, expected) in [
        (
            json!([{"path": {"exact": "/b"}}]),
            "setMirrorRoute m: no rule with both Services takes such requests: ask for a path of one of them",
        ),
        (
            json!([{"path": {"regex": "/a.*"}}]),
            "setMirrorRoute m, path: whether /a.* is among /a cannot be told of a regular expression: use exact or prefix",
        ),
        (
            json!([{"method": {"prefix": "G"}}]),
            "setMirrorRoute m, method: a method can only be matched exactly here: use exact",
        ),
    ] {
        let routes = Routes { managed: vec![mirror("m", None, matches)], ..weight(5) };
        assert_eq!(error(&*one(), &before, &routes), format!("Rollout shop/shop: {expected}"));
    }
}

/// What a CRD without names of rules, and the defaults of the API server, make of what was written.
fn as_stored(mut objects: Objects, has_names: bool) -> Objects {
    for object in objects.values_mut() {
        for rule in object["spec"]["rules"].as_array_mut().into_iter().flatten() {
            if !has_names {
                rule.as_object_mut().expect("as it was written").remove("name");
            }
            for backend in rule["backendRefs"].as_array_mut().into_iter().flatten() {
                for (field, value) in [("group", json!("")), ("kind", json!("Service")), ("weight", json!(1))]
                {
                    backend.as_object_mut().expect("as it was written").entry(field).or_insert(value);
                }
            }
            for matched in rule["matches"].as_array_mut().into_iter().flatten() {
                let path = json!({"type": "PathPrefix", "value": "/"});
                matched.as_object_mut().expect("as it was written").entry("path").or_insert(path);
            }
        }
    }
    objects
}

#[test]
fn defaults_of_the_api_server_and_dropped_names_are_no_difference() {
    let preview = json!({"matches": [{"headers": [{"name": "preview", "value": "1"}]}], "backendRefs": [to("shop-canary", 1)]});
    let before = as_stored(objects([web(json!([{"backendRefs": split(100, 0)}, preview]))]), true);
    let managed =
        vec![header("hd", &[("X-V", exact("2"))]), mirror("m", None, json!([{"method": {"exact": "GET"}}]))];
    let routes = Routes { managed, ..weight(20) };
    for has_names in [true, false] {
        let stored = as_stored(write(&*one(), &before, &routes), has_names);
        assert_eq!(one().with_routes(&stored, &routes), Ok(Edits::new()), "names: {has_names}");
        let names = ["hd".to_owned(), "m".to_owned()];
        assert_eq!(read(&*one(), &stored).managed, names.into(), "names: {has_names}");
        assert_eq!(read(&*one(), &stored).weight, Some(20));
        assert_eq!(write(&*one(), &stored, &weight(0)), as_stored(before.clone(), has_names));
    }
}

#[test]
fn what_the_plugin_left_is_taken_over_without_a_write() {
    let mut found = web(json!([
        under("/a", 80, 20),
        under("/b", 80, 20),
        {
            "name": "hd",
            "matches": [{"path": {"type": "PathPrefix", "value": "/a"}, "headers": [{"name": "X-V", "type": "Exact", "value": "2"}]}],
            "backendRefs": [{"group": "", "kind": "Service", "name": "shop-canary", "port": 80, "weight": 1}],
        },
        {
            "name": "hd-1",
            "matches": [{"path": {"type": "PathPrefix", "value": "/b"}, "headers": [{"name": "X-V", "type": "Exact", "value": "2"}]}],
            "backendRefs": [{"group": "", "kind": "Service", "name": "shop-canary", "port": 80, "weight": 1}],
        },
    ]));
    found["metadata"]["labels"][LABEL] = "in-progress".into();
    let before = objects([found]);
    let routes = Routes { managed: vec![header("hd", &[("X-V", exact("2"))])], ..weight(20) };
    assert_eq!(one().with_routes(&before, &routes), Ok(Edits::new()));
    assert_eq!(read(&*one(), &before).managed, ["hd".to_owned()].into());
    let after = write(&*one(), &before, &weight(0));
    assert_eq!(after, objects([web(json!([under("/a", 100, 0), under("/b", 100, 0)]))]));
}

#[test]
fn rules_of_others_stay_whatever_their_names() {
    let theirs = [
        json!({"name": "hd-7", "backendRefs": [{"name": "z", "port": 80}]}),
        json!({"name": "hd-x", "backendRefs": [to("shop-canary", 1)]}),
        json!({"name": "preview", "backendRefs": [to("shop-canary", 1)]}),
        json!({"matches": [{"headers": [{"name": "X-V", "value": "9"}]}], "backendRefs": [to("shop-stable", 7)]}),
        json!({"filters": [{"type": "RequestRedirect"}]}),
        json!("no rule"),
    ];
    let with = |managed: &[Value], stable, canary| {
        let list: Vec<Value> = theirs
            .iter()
            .cloned()
            .chain([under("/", stable, canary)])
            .chain(managed.iter().cloned())
            .collect();
        web(list.into())
    };
    let before = objects([with(&[], 100, 0)]);
    let routes = Routes { managed: vec![header("hd", &[("X-V", exact("2"))])], ..weight(20) };
    let after = write(&*one(), &before, &routes);
    let list = rules(&after).as_array().unwrap();
    assert_eq!(list[..6], theirs);
    assert_eq!(list[7]["name"], "hd");
    assert_eq!(write(&*one(), &after, &weight(0)), before);
}

#[test]
fn what_others_put_into_a_managed_rule_stays() {
    let before = objects([web(json!([under("/", 100, 0)]))]);
    let routes = Routes { managed: vec![header("hd", &[("X-V", exact("2"))])], ..weight(20) };
    let mut after = write(&*one(), &before, &routes);
    let object = after.values_mut().next().unwrap();
    object["spec"]["rules"][1]["timeouts"] = json!({"request": "1s"});
    assert_eq!(one().with_routes(&after, &routes), Ok(Edits::new()));
    let other = Routes { managed: vec![header("hd", &[("X-V", exact("3"))])], ..weight(20) };
    let again = write(&*one(), &after, &other);
    assert_eq!(rules(&again)[1]["timeouts"], json!({"request": "1s"}));
    assert_eq!(rules(&again)[1]["matches"][0]["headers"][0]["value"], "3");
}

#[test]
fn grpc_rules_keep_their_method() {
    let router = of(json!({"grpcRoute": "web"}));
    let rule = |stable, canary| json!({"matches": [{"method": {"service": "svc", "method": "Get"}}], "backendRefs": split(stable, canary)});
    let before = objects([route("GRPCRoute", "web", json!([rule(100, 0)]))]);
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(30) };
    let after = write(&*router, &before, &routes);
    assert_eq!(
        rules(&after),
        &json!([rule(70, 30), {
            "name": "hd",
            "matches": [{
                "method": {"service": "svc", "method": "Get"},
                "headers": [{"name": "x", "type": "Exact", "value": "1"}],
            }],
            "backendRefs": [{"name": "shop-canary", "port": 80}],
        }])
    );
    assert_eq!(write(&*router, &after, &weight(0)), before);
}

#[test]
fn tcp_and_tls_routes_have_weights_in_every_rule() {
    for (key, kind) in [("tcpRoute", "TCPRoute"), ("tlsRoute", "TLSRoute")] {
        let at = |stable, canary| {
            let rule = json!({"backendRefs": split(stable, canary)});
            route(kind, "web", json!([rule, {"name": "second", "backendRefs": split(stable, canary)}]))
        };
        let router = of(json!({key: "web"}));
        assert_eq!(write(&*router, &objects([at(100, 0)]), &weight(30)), objects([in_progress(at(70, 30))]));
        assert!(!router.carries(&header("hd", &[])));
        let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(30) };
        assert_eq!(
            error(&*router, &objects([at(100, 0)]), &routes),
            format!(
                "Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}: setHeaderRoute hd needs an HTTPRoute or a GRPCRoute with useHeaderRoutes: true: set it at one of the routes"
            )
        );
    }
}

fn labelled(kind: &str, name: &str, team: &str) -> Value {
    let mut object = route(kind, name, json!([{"backendRefs": split(100, 0)}]));
    object["metadata"]["labels"] = json!({"team": team});
    object
}

#[test]
fn routes_by_name_and_by_label() {
    let router = of(json!({"httpRoute": "r1", "httpRouteSelector": {"matchLabels": {"team": "shop"}}}));
    let mut elsewhere = labelled("HTTPRoute", "r6", "shop");
    elsewhere["metadata"]["namespace"] = "other".into();
    let before = objects([
        labelled("HTTPRoute", "r1", "none"),
        labelled("HTTPRoute", "r2", "shop"),
        labelled("HTTPRoute", "r3", "shop"),
        labelled("HTTPRoute", "r4", "other"),
        labelled("GRPCRoute", "r5", "shop"),
        elsewhere,
    ]);
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(20) };
    let after = write(&*router, &before, &routes);
    for (name, stable, count) in
        [("r1", 80, 2), ("r2", 80, 1), ("r3", 80, 1), ("r4", 100, 1), ("r5", 100, 1), ("r6", 100, 1)]
    {
        let rules = named(&after, name)["spec"]["rules"].as_array().unwrap();
        assert_eq!(rules[0]["backendRefs"], split(stable, 100 - stable), "{name}");
        assert_eq!(rules.len(), count, "{name}: header rules only where the spec says so");
    }
    assert_eq!(read(&*router, &after).weight, Some(20));
    assert_eq!(write(&*router, &after, &weight(0)), before);

    let by_label = of(json!({"httpRouteSelector": {"matchLabels": {"team": "nobody"}}}));
    assert_eq!(by_label.reads(), []);
    assert_eq!(
        error(&*by_label, &before, &weight(20)),
        format!(
            "Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}: no route in namespace shop has the labels that are asked for: label one, or name it"
        )
    );
}

#[test]
fn lists_of_routes_and_another_namespace() {
    let router = of(json!({
        "httpRoutes": [{"name": "r1", "useHeaderRoutes": true}, {"name": "r2"}], "tlsRoutes": [{"name": "r3"}],
        "namespace": "edge", "configMap": "legacy-cm",
    }));
    let at_edge = |kind, name| {
        let mut object = labelled(kind, name, "shop");
        object["metadata"]["namespace"] = "edge".into();
        object["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "shop".into();
        object
    };
    let before = objects([at_edge("HTTPRoute", "r1"), at_edge("HTTPRoute", "r2"), at_edge("TLSRoute", "r3")]);
    let routes = Routes { managed: vec![header("hd", &[("x", exact("1"))])], ..weight(20) };
    let after = write(&*router, &before, &routes);
    let counts: Vec<usize> =
        ["r1", "r2", "r3"].map(|name| named(&after, name)["spec"]["rules"].as_array().unwrap().len()).into();
    assert_eq!(counts, [2, 1, 1]);
    let record = &named(&after, "r2")["metadata"]["annotations"][IN_PROGRESS];
    assert_eq!(record, &format!(r#"{{"shop/shop":["{LABEL}"]}}"#));
    assert_eq!(write(&*router, &after, &weight(0)), before);
}

#[test]
fn one_rule_of_a_route() {
    let router = of(json!({"httpRoute": "web", "httpRouteRuleName": "a"}));
    let named_rule =
        |name: &str, stable: i64| json!({"name": name, "backendRefs": split(stable, 100 - stable)});
    let before = objects([web(json!([named_rule("a", 100), named_rule("b", 100)]))]);
    let after = write(&*router, &before, &weight(20));
    assert_eq!(rules(&after), &json!([named_rule("a", 80), named_rule("b", 100)]));
    assert_eq!(read(&*router, &after).weight, Some(20));
    let another = of(json!({"httpRoutes": [{"name": "web", "ruleName": "c"}]}));
    assert_eq!(
        error(&*another, &before, &weight(20)),
        "HTTPRoute shop/web: spec.rules: backendRef was not found in httpRoute: rule c does not exist, or leads to both shop-stable and shop-canary: add what is missing"
    );
}

#[test]
fn the_typed_block_and_the_blocks_of_others_mean_the_same_router() {
    let rule = |stable, canary| json!([{"backendRefs": split(stable, canary)}]);
    for key in ["gatewayAPI", "kong", "linkerd"] {
        let router = router(json!({key: {"httpRoute": "web"}}), &scope());
        assert_eq!(router.name(), key);
        let after = write(&*router, &objects([web(rule(100, 0))]), &weight(20));
        assert_eq!(after, objects([in_progress(web(rule(80, 20)))]));
    }
    let mut linkerds = web(json!([{"backendRefs": [
        {"group": "core", "kind": "Service", "name": "shop-stable", "port": 80, "weight": 100},
        {"kind": "Service", "name": "shop-canary", "port": 80, "weight": 0},
    ]}]));
    linkerds["apiVersion"] = "policy.linkerd.io/v1beta3".into();
    let router = router(json!({"linkerd": {"httpRoute": "web", "group": "policy.linkerd.io"}}), &scope());
    let after = write(&*router, &objects([linkerds]), &weight(20));
    assert_eq!(rules(&after)[0]["backendRefs"][0]["weight"], 80);
    assert_eq!(read(&*router, &after).weight, Some(20));
}

#[test]
fn the_label_as_the_spec_wants_it() {
    let before = objects([web(json!([{"backendRefs": split(100, 0)}]))]);
    for (further, label) in [
        (json!({"disableInProgressLabel": true}), None),
        (json!({"inProgressLabelKey": "x/y", "inProgressLabelValue": "z"}), Some(("x/y", "z"))),
        (json!({"inProgressLabelValue": "z"}), Some((LABEL, "z"))),
    ] {
        let mut block = json!({"httpRoute": "web"});
        for (key, value) in further.as_object().unwrap() {
            block[key] = value.clone();
        }
        let after = write(&*of(block.clone()), &before, &weight(20));
        let labels = named(&after, "web")["metadata"]["labels"].as_object().unwrap();
        assert_eq!(labels.len(), 1 + usize::from(label.is_some()));
        assert_eq!(label.map(|(key, value)| labels[key] == value), label.map(|_| true));
        assert_eq!(write(&*of(block), &after, &weight(0)), before);
        // The spec was changed on the way: the label that was on record goes.
        let plain = write(&*one(), &after, &weight(20));
        assert_eq!(plain, write(&*one(), &before, &weight(20)));
    }
}

#[test]
fn two_rollouts_of_one_route_keep_the_label_until_the_last_is_done() {
    let second = Scope {
        rollout: "cart".into(),
        stable_service: Some("cart-stable".into()),
        canary_service: Some("cart-canary".into()),
        ..scope()
    };
    let second = router(json!({"gatewayAPI": {"httpRoute": "web"}}), &second);
    let cart = json!({"backendRefs": [to("cart-stable", 100), to("cart-canary", 0)]});
    let before = objects([web(json!([under("/", 100, 0), cart]))]);
    let both = write(&*second, &write(&*one(), &before, &weight(20)), &weight(50));
    let label = |objects: &Objects| named(objects, "web")["metadata"]["labels"].get(LABEL).is_some();
    let first_done = write(&*one(), &both, &weight(0));
    assert!(label(&both) && label(&first_done));
    assert_eq!(read(&*second, &first_done).weight, Some(50), "the other's weights are untouched");
    assert_eq!(write(&*second, &first_done, &weight(0)), before);
}

#[test]
fn two_services_that_take_turns() {
    let alone = Scope { stable_service: None, canary_service: None, ..scope() };
    let router = router(json!({"gatewayAPI": {"httpRoute": "web"}}), &alone);
    let (first, second) = (
        PingPong { stable: "ping".into(), canary: "pong".into() },
        PingPong { stable: "pong".into(), canary: "ping".into() },
    );
    let at = |ping, pong| json!({"backendRefs": [to("ping", ping), to("pong", pong)]});
    let before = objects([web(json!([at(100, 0)]))]);
    let managed = vec![header("hd", &[("x", exact("1"))])];
    let routes = Routes { ping_pong: Some(first.clone()), managed: managed.clone(), ..weight(20) };
    let after = write(&*router, &before, &routes);
    assert_eq!(rules(&after)[0], at(80, 20));
    assert_eq!(router.read(&after, Some(&second)).unwrap().weight, Some(80));
    // The next update: the other one is the canary's, and so is the header rule.
    let next = write(&*router, &after, &Routes { ping_pong: Some(second.clone()), managed, ..weight(20) });
    assert_eq!(rules(&next)[0], at(20, 80));
    assert_eq!(rules(&next)[1]["backendRefs"], json!([{"name": "ping", "port": 80}]));
    assert_eq!(rules(&next).as_array().unwrap().len(), 2);
}

#[test]
fn further_destinations_come_and_go() {
    let before = objects([web(json!([under("/", 100, 0)]))]);
    let told_by_name = "shop-779b5f7646-2-3-cand";
    let routes = Routes { extra: vec![extra("exp-a", 20), extra(told_by_name, 5)], ..weight(10) };
    let after = write(&*one(), &before, &routes);
    let mut list = split(65, 10);
    list.as_array_mut().unwrap().extend([to("exp-a", 20), to(told_by_name, 5)]);
    assert_eq!(rules(&after)[0]["backendRefs"], list);
    assert_eq!(read(&*one(), &after).weight, Some(10));
    let later = write(&*one(), &after, &weight(10));
    assert_eq!(later, write(&*one(), &before, &weight(10)), "without a trace");
}

#[test]
fn fine_weights() {
    for (max, wanted, stable, canary) in
        [(1000, 1, 999, 1), (1_000_000, 1, 999_999, 1), (100_000_000, 1, 999_999, 1), (10, 3, 7, 3)]
    {
        let fine = Scope { max_weight: max, has_max_weight: true, ..scope() };
        let router = router(json!({"gatewayAPI": {"httpRoute": "web"}}), &fine);
        let after = write(&*router, &objects([web(json!([under("/", 1, 0)]))]), &weight(wanted));
        assert_eq!(rules(&after)[0], under("/", stable, canary), "{wanted} of {max}");
    }
}

#[test]
fn the_status_of_the_route_is_believed() {
    let condition = |kind, status: &str, generation: i64| json!({"type": kind, "status": status, "observedGeneration": generation});
    let status = |status: &str, generation: i64| {
        json!({"parents": [{"parentRef": {"name": "edge"}, "controllerName": "x", "conditions": [
            condition("Accepted", status, generation), condition("ResolvedRefs", "True", generation),
        ]}]})
    };
    for (status, expected) in [
        (status("True", 5), Verdict::Live),
        (status("True", 4), Verdict::Pending),
        (status("False", 5), Verdict::Pending),
        (json!(null), Verdict::Unknown),
    ] {
        let mut object = web(json!([under("/", 80, 20)]));
        object["metadata"]["generation"] = 5.into();
        object["status"] = status;
        assert_eq!(one().verdict(&objects([object]), &weight(20)), expected);
    }
    assert_eq!(one().verdict(&Objects::new(), &weight(20)), Verdict::Unknown);
}

#[test]
fn mistakes_are_named() {
    let only_stable = web(json!([{"backendRefs": [to("shop-stable", 1)]}]));
    let elsewhere =
        web(json!([{"backendRefs": [to("shop-stable", 1), {"name": "shop-canary", "namespace": "x"}]}]));
    let missing = "HTTPRoute shop/web: spec.rules: backendRef was not found in httpRoute: no rule leads to both shop-stable and shop-canary: add what is missing";
    for (found, expected) in [
        (vec![], "HTTPRoute shop/web not found: create it, or name another in the spec"),
        (vec![only_stable], missing),
        (vec![elsewhere], missing),
        (vec![web(json!(null))], missing),
        (vec![web(json!({}))], "HTTPRoute shop/web: spec.rules: must be a list"),
    ] {
        let found = objects(found);
        assert_eq!(error(&*one(), &found, &weight(20)), expected);
        assert_eq!(one().read(&found, None).expect_err("the same").to_string(), expected);
    }
    let field = format!("Rollout shop/shop: spec.strategy.canary.trafficRouting.plugins.{PLUGIN}");
    for (block, expected) in [
        (
            json!({}),
            ": No routes configured. At least one of 'httpRoutes', 'grpcRoutes', 'tcpRoutes', 'tlsRoutes', 'httpRoute', 'grpcRoute', 'tcpRoute' or 'tlsRoute' must be set".to_owned(),
        ),
        (json!({"httpRoute": 3}), ": cannot be read: invalid type: integer `3`, expected a string".into()),
        (
            json!({"httpRoute": "web", "group": "x"}),
            r#".group: "x" has no HTTPRoutes that are known: use gateway.networking.k8s.io or policy.linkerd.io"#.into(),
        ),
        (
            json!({"httpRouteSelector": {}}),
            format!(": a selector without labels takes every route of the namespace: name some in spec.strategy.canary.trafficRouting.plugins.{PLUGIN}"),
        ),
    ] {
        let router = of(block);
        assert_eq!(error(&*router, &Objects::new(), &weight(20)), format!("{field}{expected}"));
        assert!(router.reads().is_empty() && router.selects().is_empty());
    }
    let without = Scope { canary_service: None, ..scope() };
    let router = router(json!({"gatewayAPI": {"httpRoute": "web"}}), &without);
    assert_eq!(
        error(&*router, &objects([web(json!([]))]), &weight(20)),
        "Rollout shop/shop: spec.strategy.canary: Canary service and Stable service must to be set to use Traffic Routing"
    );
}
