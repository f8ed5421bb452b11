//! What holds for each router, checked in one place: write, read back, write again, take back.
//!
//! A router is tried as a [`Subject`]: its block of a spec, and objects with whatever else may stand in
//! them. The checks know no router; what is ours in an object they tell by our names.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use sluice_traffic::{Edits, Objects, Routes, Scope, TrafficRouter, apply};

use crate::{exact, extra, header, mirror, scope, write};

/// Names of managed routes that routes of these tests ask for.
const MANAGED: [&str; 3] = ["m", "hd", "hd2"];
/// Names of further destinations.
const EXTRAS: [&str; 3] = ["exp-a", "exp-b", "shop-779b5f7646-2-3-cand"];

/// JSON of any shape, with words that routers look for among others.
pub fn any_json() -> impl Strategy<Value = Value> {
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
        "spec",
        "rules",
        "backendRefs",
        "matches",
        "filters",
        "services",
        "weighted",
        "backends",
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
pub fn foreign_fields() -> impl Strategy<Value = Map<String, Value>> {
    let name =
        prop::sample::select(vec!["retries", "timeout", "withoutHeaders", "delegate", "x", "corsPolicy"]);
    prop::collection::vec((name, any_json()), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The object with these fields besides.
pub fn with(mut object: Value, fields: &Map<String, Value>) -> Value {
    for (name, value) in fields {
        object[name.as_str()] = value.clone();
    }
    object
}

/// A route, path or rule of somebody else.
pub fn foreign_entries() -> impl Strategy<Value = Vec<Value>> {
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
pub fn any_routes(max: i64) -> impl Strategy<Value = Routes> {
    let hash = || prop::option::of(prop::sample::select(vec!["59ff1".to_owned(), "6bd9c".to_owned()]));
    let extras = prop::sample::subsequence(EXTRAS.to_vec(), 0..=2);
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

/// What the weights add up to, and routes of one update after the other.
pub fn any_updates() -> impl Strategy<Value = (i64, Vec<Routes>)> {
    let max = prop::sample::select(vec![100, 10, 1000]);
    max.prop_flat_map(|max| (Just(max), prop::collection::vec(any_routes(max), 1..4)))
}

/// The Rollout of these tests, with all managed routes and these weights.
pub fn wide_scope(max: i64) -> Scope {
    let managed_names = MANAGED.map(str::to_owned).to_vec();
    Scope { max_weight: max, has_max_weight: max != 100, managed_names, ..scope() }
}

/// Everything back where it was, with subsets that select no version.
pub fn undo() -> Routes {
    Routes { stable_hash: Some(String::new()), canary_hash: Some(String::new()), ..Routes::default() }
}

/// Writes these routes one after another and checks each time what was asked; then takes them back.
#[track_caller]
pub fn check(
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

/// Puts anything at some places of an object.
pub fn damage(object: &mut Value, damages: &[(Index, Value)]) {
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

/// Damages at up to three places.
pub fn any_damages() -> impl Strategy<Value = Vec<(Index, Value)>> {
    prop::collection::vec((any::<Index>(), any_json()), 1..4)
}

/// Objects of any shape are an error or are written once; nothing else.
pub fn check_hostile(router: &dyn TrafficRouter, observed: &Objects, routes: &Routes) {
    let _ = router.read(observed, routes.ping_pong.as_ref());
    let _ = router.nearest_weight(observed, routes);
    let _ = router.verdict(observed, routes);
    if let Ok(edits) = router.with_routes(observed, routes) {
        let mut after = observed.clone();
        apply(&mut after, edits);
        assert_eq!(router.with_routes(&after, routes), Ok(Edits::new()), "twice is once");
        assert!(router.read(&after, routes.ping_pong.as_ref()).is_ok(), "what was written can be read");
    }
}

/// What others have in the objects of a router.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Routes or rules above ours.
    pub above: Vec<Value>,
    /// And below.
    pub below: Vec<Value>,
    /// Fields of our route or rule.
    pub of_route: Map<String, Value>,
    /// Fields of each destination.
    pub of_destination: Map<String, Value>,
    /// Fields of the spec.
    pub of_object: Map<String, Value>,
    /// The weight of a destination of somebody else between ours.
    pub weight: Option<i64>,
}

/// Any of it.
pub fn any_foreign() -> impl Strategy<Value = Foreign> {
    let fields = (foreign_fields(), foreign_fields(), foreign_fields());
    (foreign_entries(), foreign_entries(), fields, prop::option::of(0..=60i64)).prop_map(
        |(above, below, (of_route, of_destination, of_object), weight)| Foreign {
            above,
            below,
            of_route,
            of_destination,
            of_object,
            weight,
        },
    )
}

impl Foreign {
    /// Our route between those of others.
    pub fn around(&self, ours: Value) -> Value {
        let ours = with(ours, &self.of_route);
        self.above.iter().cloned().chain([ours]).chain(self.below.clone()).collect()
    }

    /// Our two destinations with fields of others, and one of somebody else in between.
    pub fn beside(&self, stable: Value, canary: Value, other: impl FnOnce(i64) -> Value) -> Value {
        let with = |entry| with(entry, &self.of_destination);
        let other = self.weight.map(other);
        [Some(stable), other, Some(canary)].into_iter().flatten().map(with).collect()
    }
}

/// A router and what it is tried on.
#[derive(Debug)]
pub struct Subject {
    /// The `trafficRouting` that names it.
    pub routing: Value,
    /// The objects, at weight 0.
    pub objects: Vec<Value>,
    /// What our weights in one list add up to, if they stand in lists.
    pub whole: Option<i64>,
    /// Whether every weight can be held exactly.
    pub is_exact: bool,
    /// Whether nothing tells afterwards that there was an update.
    pub leaves_no_trace: bool,
}

/// Tries a router: each of these routes is written once, read back, and leaves alone what is not ours.
#[track_caller]
pub fn try_out(subject: &Subject, all: &[Routes], scope: &Scope) {
    let router = crate::router(subject.routing.clone(), scope);
    let before = crate::objects(subject.objects.iter().cloned());
    // One that carries no managed routes says so, or has no place for them.
    let carried = |routes: &Routes| {
        let managed = routes.managed.iter().filter(|route| router.carries(route)).cloned();
        Routes { managed: managed.collect(), ..routes.clone() }
    };
    let all: Vec<Routes> = all.iter().map(carried).collect();
    let after = check(&*router, &before, &all, scope, subject.is_exact);
    assert_eq!(after, write(&*router, &before, &undo()), "the way to it does not matter");
    if subject.leaves_no_trace {
        assert_eq!(after, before, "the undo leaves no trace");
    }
    for routes in &all {
        let mut after = write(&*router, &before, routes);
        if let Some(whole) = subject.whole {
            after.values().for_each(|object| check_sums(object, whole));
        }
        after.retain(|reference, _| before.contains_key(reference));
        assert_eq!(foreign_part(&after), foreign_part(&before));
    }
}

fn is_our_name(text: &str) -> bool {
    ["shop-stable", "shop-canary"].contains(&text) || EXTRAS.contains(&text)
}

/// Whether an entry of a list is a destination of ours: some name in it is, not deeper than names stand.
fn is_ours(entry: &Value, depth: usize) -> bool {
    match entry {
        Value::String(text) => is_our_name(text),
        Value::Object(fields) if depth > 0 => {
            let named =
                ["name", "serviceName", "service", "destination", "upstream", "virtualNodeRef", "backendRef"];
            named.iter().filter_map(|name| fields.get(*name)).any(|value| is_ours(value, depth - 1))
        }
        _ => false,
    }
}

fn is_managed(entry: &Value) -> bool {
    let name = entry["name"].as_str().unwrap_or_default();
    MANAGED.iter().any(|managed| name == *managed || name.starts_with(&format!("{managed}-")))
}

fn check_sums(value: &Value, whole: i64) {
    match value {
        Value::Array(list) => {
            let ours = || list.iter().filter(|entry| entry.get("weight").is_some() && is_ours(entry, 3));
            if ours().count() > 1 {
                assert_eq!(
                    ours().filter_map(|entry| entry["weight"].as_i64()).sum::<i64>(),
                    whole,
                    "{value}"
                );
            }
            list.iter().for_each(|entry| check_sums(entry, whole));
        }
        Value::Object(fields) => fields.values().for_each(|field| check_sums(field, whole)),
        _ => {}
    }
}

/// The objects without what is ours in them.
fn foreign_part(objects: &Objects) -> Objects {
    let mut objects = objects.clone();
    for object in objects.values_mut() {
        for field in ["annotations", "labels"] {
            if let Some(entries) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) {
                entries.retain(|key, _| key == "foreign");
                let is_empty = entries.is_empty();
                if is_empty {
                    object["metadata"].as_object_mut().expect("it has entries").remove(field);
                }
            }
        }
        if let Some(spec) = object.get_mut("spec") {
            remove_ours(spec);
        }
    }
    objects
}

fn remove_ours(value: &mut Value) {
    match value {
        Value::Array(list) => {
            let is_extra =
                |entry: &Value| EXTRAS.iter().any(|name| entry["name"] == *name || entry["service"] == *name);
            list.retain(|entry| !is_managed(entry) && !is_extra(entry));
            for entry in list.iter_mut() {
                if is_ours(entry, 3)
                    && let Some(entry) = entry.as_object_mut()
                {
                    entry.remove("weight");
                }
                remove_ours(entry);
            }
        }
        Value::Object(fields) => {
            fields.remove("rollouts-pod-template-hash");
            fields.values_mut().for_each(remove_ours);
        }
        _ => {}
    }
}
