//! What holds for each router whatever else is in its objects.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use sluice_traffic::{Edits, Objects, PingPong, Routes, Scope, TrafficRouter, apply};

use crate::{exact, extra, header, ingress, mirror, named, objects, prefix, router, scope, write};

/// JSON of any shape, with words that routers look for among others.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "shop-stable",
        "shop-canary",
        "web",
        "hd",
        "canary",
        "use-annotation",
        "",
        "weight",
        "destination",
        "host",
        "route",
        "http",
        "name",
        "service",
        "labels",
        "0",
        "{",
        "[]",
        "{\"shop\":3}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2.0..200.0f64).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..3).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

/// Fields that are nobody's business.
fn foreign_fields() -> impl Strategy<Value = Map<String, Value>> {
    let name =
        prop::sample::select(vec!["retries", "timeout", "withoutHeaders", "delegate", "x", "corsPolicy"]);
    prop::collection::vec((name, any_json()), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn with(mut object: Value, fields: &Map<String, Value>) -> Value {
    for (name, value) in fields {
        object[name.as_str()] = value.clone();
    }
    object
}

/// A route, path or rule of somebody else.
fn foreign_entries() -> impl Strategy<Value = Vec<Value>> {
    let fields = foreign_fields();
    prop::collection::vec(
        ("[a-z]{3}-z", fields).prop_map(|(name, fields)| {
            let route = json!([{"destination": {"host": format!("{name}.elsewhere")}, "weight": 100}]);
            with(json!({"name": name, "route": route}), &fields)
        }),
        0..3,
    )
}

/// Routes that a step may ask for.
fn any_routes(max: i64) -> impl Strategy<Value = Routes> {
    let hash = || prop::option::of(prop::sample::select(vec!["59ff1".to_owned(), "6bd9c".to_owned()]));
    let extras = prop::sample::subsequence(vec!["exp-a", "exp-b", "shop-779b5f7646-2-3-cand"], 0..=2);
    let managed = prop::sample::subsequence(vec![0, 1, 2], 0..=3);
    (0..=max, extras, 1..=max.min(10), hash(), hash(), managed, any::<bool>()).prop_map(
        move |(canary_weight, extras, weight, stable_hash, canary_hash, managed, other)| {
            let value = if other { "1" } else { "2" };
            let managed = managed.into_iter().map(|at| match at {
                0 => mirror("m", other.then_some(35), json!([{"method": {"exact": "GET"}}])),
                1 => header("hd", &[("x-b", exact(value)), ("x-c", exact("3"))]),
                _ => header("hd2", &[("x-a", exact(value))]),
            });
            let each = weight.min((max - canary_weight) / 2);
            let extra = extras.into_iter().filter(|_| each > 0).map(|service| extra(service, each));
            Routes {
                canary_weight,
                stable_hash,
                canary_hash,
                ping_pong: None,
                extra: extra.collect(),
                managed: managed.collect(),
            }
        },
    )
}

fn wide_scope(max: i64) -> Scope {
    let managed_names = ["m", "hd", "hd2"].map(str::to_owned).to_vec();
    Scope { max_weight: max, has_max_weight: max != 100, managed_names, ..scope() }
}

fn any_max() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![100, 10, 1000])
}

/// Everything back where it was, with subsets that select no version.
fn undo() -> Routes {
    Routes { stable_hash: Some(String::new()), canary_hash: Some(String::new()), ..Routes::default() }
}

/// Writes these routes one after another and checks each time what was asked.
#[track_caller]
fn check(
    router: &dyn TrafficRouter,
    before: &Objects,
    all: &[Routes],
    scope: &Scope,
    is_exact: bool,
) -> Objects {
    let mut now = before.clone();
    for routes in all {
        now = write(router, &now, routes);
        let found = router.read(&now, routes.ping_pong.as_ref()).expect("fit objects");
        let weight = found.weight.expect("a weight was written");
        if is_exact {
            assert_eq!(weight, routes.canary_weight);
        }
        assert_eq!(weight == 0, routes.canary_weight == 0, "{routes:?}");
        assert_eq!(weight == scope.max_weight, routes.canary_weight == scope.max_weight, "{routes:?}");
        let carried = routes.managed.iter().filter(|route| router.carries(route));
        assert_eq!(found.managed, carried.map(|route| route.name().to_owned()).collect());
        if let Some(subsets) = found.subsets {
            for (found, asked) in
                [(subsets.stable, &routes.stable_hash), (subsets.canary, &routes.canary_hash)]
            {
                assert!(asked.is_none() || found == *asked, "{routes:?}");
            }
        }
    }
    write(router, &now, &undo())
}

/// A VirtualService with foreign things all over, and its DestinationRule.
#[derive(Clone, Debug)]
struct Mesh {
    above: Vec<Value>,
    below: Vec<Value>,
    of_route: Map<String, Value>,
    of_destination: Map<String, Value>,
    of_object: Map<String, Value>,
    foreign_weight: Option<i64>,
    by_subset: bool,
}

fn any_mesh() -> impl Strategy<Value = Mesh> {
    let foreign_weight = prop::option::of(0..=60i64);
    let fields = (foreign_fields(), foreign_fields(), foreign_fields());
    (foreign_entries(), foreign_entries(), fields, foreign_weight, any::<bool>()).prop_map(
        |(above, below, (of_route, of_destination, of_object), foreign_weight, by_subset)| Mesh {
            above,
            below,
            of_route,
            of_destination,
            of_object,
            foreign_weight,
            by_subset,
        },
    )
}

impl Mesh {
    fn objects(&self) -> Objects {
        let to = |role: &str, weight: i64| {
            let destination = if self.by_subset {
                json!({"host": "shop", "subset": role})
            } else {
                json!({"host": format!("shop-{role}"), "port": {"number": 80}})
            };
            with(json!({"destination": destination, "weight": weight}), &self.of_destination)
        };
        let foreign = self.foreign_weight.unwrap_or(0);
        let mut route = vec![to("stable", 100 - foreign), to("canary", 0)];
        if let Some(weight) = self.foreign_weight {
            route.insert(
                1,
                with(json!({"destination": {"host": "other"}, "weight": weight}), &self.of_destination),
            );
        }
        let main = with(json!({"name": "web", "route": route}), &self.of_route);
        let http: Vec<Value> = self.above.iter().cloned().chain([main]).chain(self.below.clone()).collect();
        let spec = with(json!({"hosts": ["web"], "http": http}), &self.of_object);
        let subset = |name: &str| with(json!({"name": name, "labels": {"app": "shop"}}), &self.of_route);
        let subsets = json!([subset("z"), subset("stable"), subset("canary")]);
        objects([
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": {"name": "rule", "namespace": "shop", "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"}},
                "spec": with(json!({"host": "shop", "subsets": subsets}), &self.of_object),
            }),
        ])
    }

    fn router(&self, scope: &Scope) -> Box<dyn TrafficRouter> {
        let mut istio = json!({"virtualService": {"name": "web", "routes": ["web"]}});
        let mut scope = scope.clone();
        if self.by_subset {
            istio["destinationRule"] =
                json!({"name": "rule", "stableSubsetName": "stable", "canarySubsetName": "canary"});
            (scope.stable_service, scope.canary_service) = (None, None);
        }
        router(json!({"istio": istio}), &scope)
    }
}

/// An Ingress with foreign things all over.
fn any_ingress(root: &'static str) -> impl Strategy<Value = Value> {
    let path = move |service: &str| json!({"path": "/", "backend": {"service": {"name": service, "port": {"name": "use-annotation"}}}});
    (foreign_entries(), foreign_entries(), foreign_fields(), foreign_fields()).prop_map(
        move |(rules, paths, of_path, of_object)| {
            let ours = with(path(root), &of_path);
            let paths: Vec<Value> = paths.into_iter().chain([ours, path("another")]).collect();
            let mut all = rules;
            all.push(with(json!({"host": "x", "http": {"paths": paths}}), &of_path));
            let mut object = with(ingress("web", all.into()), &of_object);
            object["metadata"]["annotations"] = json!({"foreign": "stays"});
            object
        },
    )
}

/// Puts anything at some places of an object.
fn damage(object: &mut Value, damages: &[(Index, Value)]) {
    for (at, value) in damages {
        let mut pointers = vec![String::new()];
        pointers_in(object, "", &mut pointers);
        let pointer = &pointers[at.index(pointers.len())];
        if let Some(place) = object.pointer_mut(pointer) {
            *place = value.clone();
        }
    }
}

fn pointers_in(value: &Value, base: &str, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(list) => list.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, child)| (name.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        _ => Vec::new(),
    };
    for (name, child) in children {
        let pointer = format!("{base}/{name}");
        pointers_in(child, &pointer, pointers);
        pointers.push(pointer);
    }
}

/// Objects of any shape are an error or are written once; nothing else.
fn check_hostile(router: &dyn TrafficRouter, observed: &Objects, routes: &Routes) {
    let _ = router.read(observed, routes.ping_pong.as_ref());
    let _ = router.nearest_weight(observed, routes);
    if let Ok(edits) = router.with_routes(observed, routes) {
        let mut after = observed.clone();
        apply(&mut after, edits);
        assert_eq!(router.with_routes(&after, routes), Ok(Edits::new()), "twice is once");
        assert!(router.read(&after, routes.ping_pong.as_ref()).is_ok(), "what was written can be read");
    }
}

/// What of a VirtualService is not ours.
fn foreign_part(mesh: &Mesh, objects: &Objects) -> Value {
    let mut object = named(objects, "web").clone();
    let http = object["spec"]["http"].as_array_mut().expect("as it was made");
    http.retain(|route| !["m", "hd", "hd2"].contains(&route["name"].as_str().unwrap_or_default()));
    for route in http.iter_mut().filter(|route| route["name"] == "web") {
        let list = route["route"].as_array_mut().expect("as it was made");
        list.truncate(if mesh.foreign_weight.is_some() { 3 } else { 2 });
        for found in list.iter_mut().filter(|found| found["destination"]["host"] != "other") {
            found["weight"] = 0.into();
        }
    }
    object["metadata"].as_object_mut().expect("as it was made").remove("annotations");
    object
}

proptest! {
    #[test]
    fn istio((max, all) in any_max().prop_flat_map(|max| (Just(max), prop::collection::vec(any_routes(max), 1..4))), mesh in any_mesh()) {
        let (scope, before) = (wide_scope(max), mesh.objects());
        let router = mesh.router(&scope);
        let is_exact = max <= 100 - mesh.foreign_weight.unwrap_or(0);
        let after = check(&*router, &before, &all, &scope, is_exact);
        prop_assert_eq!(&after, &before, "the undo leaves no trace");
        for routes in &all {
            let after = write(&*router, &before, routes);
            prop_assert_eq!(foreign_part(&mesh, &after), foreign_part(&mesh, &before));
            let list = named(&after, "web")["spec"]["http"].as_array().unwrap().clone();
            let main = list.iter().find(|route| route["name"] == "web").unwrap();
            let sum: i64 = main["route"].as_array().unwrap().iter().filter_map(|found| found["weight"].as_i64()).sum();
            prop_assert_eq!(sum, 100);
        }
    }

    #[test]
    fn nginx((max, all) in any_max().prop_flat_map(|max| (Just(max), prop::collection::vec(any_routes(max), 1..4))), web in any_ingress("shop-stable")) {
        let (scope, before) = (wide_scope(max), objects([web.clone()]));
        let router = router(json!({"nginx": {"stableIngress": "web"}}), &scope);
        let after = check(&*router, &before, &all, &scope, true);
        prop_assert_eq!(&after, &write(&*router, &before, &undo()), "the canary Ingress stays at weight 0");
        prop_assert_eq!(named(&after, "web"), &web);
    }

    #[test]
    fn alb(
        (max, all) in any_max().prop_flat_map(|max| (Just(max), prop::collection::vec(any_routes(max), 1..4))),
        web in any_ingress("shop-root"),
        takes_turns in any::<bool>(),
    ) {
        let (scope, before) = (wide_scope(max), objects([web.clone()]));
        let router = router(json!({"alb": {"ingress": "web", "servicePort": 80, "rootService": "shop-root"}}), &scope);
        let roles = takes_turns.then(|| PingPong { stable: "ping".into(), canary: "pong".into() });
        let all: Vec<Routes> = all.into_iter().map(|routes| Routes { ping_pong: roles.clone(), ..routes }).collect();
        let after = check(&*router, &before, &all, &scope, max <= 100);
        prop_assert_eq!(&after, &write(&*router, &before, &undo()), "only the action and its record stay");
        let mut plain = named(&after, "web").clone();
        let annotations = plain["metadata"]["annotations"].as_object_mut().unwrap();
        prop_assert!(annotations.remove("alb.ingress.kubernetes.io/actions.shop-root").is_some());
        prop_assert!(annotations.remove("rollouts.argoproj.io/managed-alb-annotations").is_some());
        prop_assert_eq!(plain, web);
    }

    #[test]
    fn hostile_meshes(routes in any_routes(100), mesh in any_mesh(), damages in prop::collection::vec((any::<Index>(), any_json()), 1..4)) {
        let router = mesh.router(&wide_scope(100));
        let mut observed = mesh.objects();
        observed.values_mut().for_each(|object| damage(object, &damages));
        check_hostile(&*router, &observed, &routes);
        let mut later = write(&*router, &mesh.objects(), &routes);
        later.values_mut().for_each(|object| damage(object, &damages));
        check_hostile(&*router, &later, &Routes { managed: vec![header("hd", &[("x", prefix("a"))])], ..routes });
    }

    #[test]
    fn hostile_ingresses(routes in any_routes(100), web in any_ingress("shop-root"), damages in prop::collection::vec((any::<Index>(), any_json()), 1..4)) {
        let scope = Scope { stable_service: Some("shop-root".into()), ..wide_scope(100) };
        for routing in [
            json!({"nginx": {"stableIngress": "web"}}),
            json!({"alb": {"ingress": "web", "servicePort": 80}}),
        ] {
            let router = router(routing, &scope);
            let mut observed = objects([web.clone()]);
            observed.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &observed, &routes);
            let mut later = write(&*router, &objects([web.clone()]), &routes);
            later.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &later, &routes);
        }
    }
}
