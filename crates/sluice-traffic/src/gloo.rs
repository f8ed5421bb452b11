//! Gloo Edge: weights of the Upstreams that routes of a VirtualService or RouteTable lead to, or of an
//! UpstreamGroup.
//!
//! Reads the block of the plugin `solo-io/glooedge` and writes what that plugin writes: a route to stable
//! alone becomes one to both. It writes header routes as well.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_api::LabelSelector;
use sluice_api::steps::SetHeaderRoute;

use crate::matches::{Way, beginning_with, way};
use crate::named::{self, Fields};
use crate::weights::{Names, PERCENT, Part, Weights};
use crate::{
    By, Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, Selection,
    TrafficError, TrafficRouter, fields, shares,
};

/// VirtualServices of Gloo.
pub const VIRTUAL_SERVICE: ObjectKind = ObjectKind {
    group: "gateway.solo.io",
    versions: &["v1"],
    kind: "VirtualService",
    plural: "virtualservices",
};

/// RouteTables.
pub const ROUTE_TABLE: ObjectKind =
    ObjectKind { group: "gateway.solo.io", versions: &["v1"], kind: "RouteTable", plural: "routetables" };

/// UpstreamGroups.
pub const UPSTREAM_GROUP: ObjectKind =
    ObjectKind { group: "gloo.solo.io", versions: &["v1"], kind: "UpstreamGroup", plural: "upstreamgroups" };

/// A weight of 0 and none at all are the same to old releases, so ours are always written.
const WEIGHTS: Weights = Weights { absent: 0 };

/// What of a header route is ours.
const OURS: Fields = Fields { names: &["name", "matchers", "routeAction"], plain: Value::clone };

/// The block as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    virtual_service: Option<Selector>,
    route_table: Option<Selector>,
    upstream_group: Option<Selector>,
    /// Names of routes. May be left out when there is only one.
    routes: Vec<String>,
}

/// One object, or several by label.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

/// Which objects are written.
#[derive(Clone, Debug)]
struct Target {
    kind: ObjectKind,
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
}

/// Splits traffic by weights of Upstreams.
#[derive(Clone, Debug)]
pub struct GlooRouter {
    field: String,
    config: Result<(Target, Vec<String>), TrafficError>,
    scope: Scope,
}

impl GlooRouter {
    /// The router for `block`, which stands at `key` of `trafficRouting`.
    pub fn new(key: &str, block: &Value, scope: &Scope) -> GlooRouter {
        let field = format!("spec.strategy.canary.trafficRouting.{key}");
        let config = config(block, &field, scope);
        GlooRouter { field, config, scope: scope.clone() }
    }

    fn target(&self) -> Result<&Target, TrafficError> {
        self.config.as_ref().map(|(target, _)| target).map_err(Clone::clone)
    }

    fn selection(&self) -> Option<Selection> {
        let target = self.target().ok().filter(|target| target.name.is_empty())?;
        let labels = LabelSelector { match_labels: target.labels.clone(), ..LabelSelector::default() };
        Some(Selection { kind: target.kind, namespace: target.namespace.clone(), by: By::Labels(labels) })
    }

    fn named(&self) -> Option<ObjectRef> {
        let target = self.target().ok().filter(|target| !target.name.is_empty())?;
        let (namespace, name) = (target.namespace.clone(), target.name.clone());
        Some(ObjectRef { kind: target.kind, namespace, name })
    }

    /// The objects that are written.
    fn targets(&self, observed: &Objects) -> Result<Vec<ObjectRef>, TrafficError> {
        let target = self.target()?;
        if let Some(reference) = self.named() {
            return Ok(vec![reference]);
        }
        let selection = self.selection();
        let picked = observed.iter().filter(|(reference, object)| {
            selection.as_ref().is_some_and(|selection| selection.takes(reference, object))
        });
        let picked: Vec<ObjectRef> = picked.map(|(reference, _)| reference.clone()).collect();
        if picked.is_empty() {
            let problem = format!(
                "no {} in namespace {} has the labels that are asked for: label one, or name it",
                target.kind.kind, target.namespace
            );
            return Err(self.scope.unfit(&self.field, problem));
        }
        Ok(picked)
    }

    fn names<'a>(&'a self, ping_pong: Option<&'a PingPong>) -> Result<Names<'a>, TrafficError> {
        Ok(Names::two(self.scope.services(ping_pong).both(&self.scope)?))
    }

    /// The indices of the routes that are the Rollout's.
    fn selected(
        &self,
        routes: &[Value],
        reference: &ObjectRef,
        managed: &BTreeSet<&str>,
        names: &Names,
    ) -> Result<Vec<usize>, TrafficError> {
        let wanted = self.config.as_ref().map(|(_, routes)| routes.as_slice()).unwrap_or_default();
        let name = |at: &usize| fields::text(&routes[*at], "name");
        let users = (0..routes.len()).filter(|at| owner(&routes[*at], managed, names).is_none());
        let users: Vec<usize> = users.collect();
        let field = routes_path(reference.kind);
        let unfit = |problem: String| TrafficError::unfit(reference, field, problem);
        if wanted.is_empty() {
            return match users.len() {
                1 => Ok(users),
                0 => Err(unfit("has no route: add one to the stable Upstream".into())),
                count => Err(unfit(format!(
                    "has {count} routes: must specify routes in {}, by their names",
                    self.field
                ))),
            };
        }
        let mut selected = Vec::new();
        for wanted in wanted {
            let found: Vec<usize> = users.iter().copied().filter(|at| name(at) == wanted).collect();
            if found.is_empty() {
                return Err(unfit(format!("has no route '{wanted}': add it, or name another in the spec")));
            }
            selected.extend(found);
        }
        selected.sort_unstable();
        selected.dedup();
        Ok(selected)
    }

    fn managed<'a>(&'a self, routes: &[&'a ManagedRoute]) -> BTreeSet<&'a str> {
        let wanted = routes.iter().map(|route| route.name());
        self.scope.managed_names.iter().map(String::as_str).chain(wanted).collect()
    }

    fn edit(
        &self,
        object: &mut Value,
        reference: &ObjectRef,
        routes: &Routes,
        names: &Names,
    ) -> Result<(), TrafficError> {
        let shares = shares::two(routes, self.scope.max_weight, PERCENT);
        if reference.kind == UPSTREAM_GROUP {
            let mut list = fields::list(object, reference, "spec.destinations")?.to_vec();
            check_stable(&list, names)
                .map_err(|problem| TrafficError::unfit(reference, "spec.destinations", problem))?;
            write(&mut list, names, &shares);
            return fields::set_list(object, reference, "spec.destinations", list);
        }
        let path = routes_path(reference.kind);
        let mut list = fields::list(object, reference, path)?.to_vec();
        let wanted = routes.wanted();
        let managed = self.managed(&wanted);
        let selected = self.selected(&list, reference, &managed, names)?;
        for at in &selected {
            let problem =
                |problem| TrafficError::unfit(reference, format!("{path}[{at}].routeAction"), problem);
            let mut destinations = destinations(&list[*at]).map_err(problem)?;
            check_stable(&destinations, names).map_err(problem)?;
            if write(&mut destinations, names, &shares) {
                set_destinations(&mut list[*at], destinations);
            }
        }
        let mut header_routes = Vec::new();
        for route in wanted {
            let ManagedRoute::Header(route) = route else { continue };
            let is_taken = |name: &str| managed.contains(name);
            for (at, name) in selected.iter().zip(named::numbered(&route.name, is_taken)) {
                header_routes.push(self.header_route(route, &list[*at], name, names)?);
            }
        }
        let is_ours = |route: &Value| owner(route, &managed, names).is_some();
        let below = selected.first().copied();
        let list = named::arrange(&list, header_routes, is_ours, OURS, below).unwrap_or(list);
        fields::set_list(object, reference, path, list)
    }

    fn header_route(
        &self,
        route: &SetHeaderRoute,
        base: &Value,
        name: String,
        names: &Names,
    ) -> Result<Map<String, Value>, TrafficError> {
        let headers = route.r#match.iter().map(|header| {
            let field = format!("setHeaderRoute {}, header {}", route.name, header.header_name);
            Ok(match way(header.header_value.as_ref(), &field, &self.scope)? {
                Way::Exact(text) => json!({"name": header.header_name, "value": text}),
                Way::Prefix(text) => {
                    json!({"name": header.header_name, "value": beginning_with(text), "regex": true})
                }
                Way::Regex(text) => json!({"name": header.header_name, "value": text, "regex": true}),
            })
        });
        let headers = headers.collect::<Result<Vec<Value>, TrafficError>>()?;
        let mut matchers = base.get("matchers").and_then(Value::as_array).cloned().unwrap_or_default();
        if matchers.is_empty() {
            matchers.push(json!({"prefix": "/"}));
        }
        for matcher in matchers.iter_mut().filter(|matcher| matcher.is_object()) {
            let mut all = matcher.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
            all.extend(headers.iter().cloned());
            matcher["headers"] = all.into();
        }
        let mut made = base.as_object().cloned().unwrap_or_default();
        let to = destinations(base).unwrap_or_default();
        let canary = to.iter().find(|entry| part(names, entry) == Part::Canary).cloned();
        let canary = canary.or_else(|| canary_like(&to, names)).unwrap_or_default();
        made.insert("name".into(), name.into());
        made.insert("matchers".into(), matchers.into());
        let mut action = base.get("routeAction").and_then(Value::as_object).cloned().unwrap_or_default();
        action.remove("multi");
        action.insert("single".into(), canary.get("destination").cloned().unwrap_or_default());
        made.insert("routeAction".into(), action.into());
        Ok(made)
    }
}

fn config(block: &Value, field: &str, scope: &Scope) -> Result<(Target, Vec<String>), TrafficError> {
    let config: Config = serde_json::from_value(block.clone())
        .map_err(|error| scope.unfit(field, format!("cannot be read: {error}")))?;
    let of = |kind, selector: &Option<Selector>| {
        let Selector { name, namespace, labels } = selector.clone()?;
        let namespace = if namespace.is_empty() { scope.namespace.clone() } else { namespace };
        Some(Target { kind, namespace, name, labels })
    };
    let all = [
        of(VIRTUAL_SERVICE, &config.virtual_service),
        of(ROUTE_TABLE, &config.route_table),
        of(UPSTREAM_GROUP, &config.upstream_group),
    ];
    let all: Vec<Target> = all.into_iter().flatten().collect();
    let [target] = all.as_slice() else {
        let problem = "one of virtualService or routeTable selectors must be set in solo-io/glooedge plugin \
                       configuration, or upstreamGroup, and no more than one";
        return Err(scope.unfit(field, problem));
    };
    // Only RouteTables are picked by label.
    if target.name.is_empty() && (target.kind != ROUTE_TABLE || target.labels.is_empty()) {
        let problem =
            if target.kind == ROUTE_TABLE { "must have a name or labels" } else { "must have a name" };
        let key = match target.kind.kind {
            "VirtualService" => "virtualService",
            "RouteTable" => "routeTable",
            _ => "upstreamGroup",
        };
        return Err(scope.unfit(&format!("{field}.{key}"), problem));
    }
    Ok((target.clone(), config.routes))
}

/// The managed route that a route belongs to: it has the name, and leads to one of our Services alone.
/// Others may give their routes such names.
fn owner<'a>(route: &Value, managed: &BTreeSet<&'a str>, names: &Names) -> Option<&'a str> {
    let single = json!({"destination": route.pointer("/routeAction/single")?});
    let is_led_to = part(names, &single) != Part::Other;
    named::owner(fields::text(route, "name"), managed.iter().copied()).filter(|_| is_led_to)
}

fn routes_path(kind: ObjectKind) -> &'static str {
    if kind == VIRTUAL_SERVICE { "spec.virtualHost.routes" } else { "spec.routes" }
}

/// What a destination with a weight is for: the Upstream has the name of the Service, or the Service itself
/// is named.
fn part(names: &Names, entry: &Value) -> Part {
    let upstream = entry.pointer("/destination/upstream/name");
    let name = upstream.or_else(|| entry.pointer("/destination/kube/ref/name")).and_then(Value::as_str);
    names.part(&name.unwrap_or_default().to_lowercase())
}

/// The destinations of a route, with weights.
fn destinations(route: &Value) -> Result<Vec<Value>, String> {
    let action = route.get("routeAction");
    if let Some(single) = action.and_then(|action| action.get("single")).filter(|single| !single.is_null()) {
        return Ok(vec![json!({"destination": single, "weight": PERCENT})]);
    }
    let multi = action.and_then(|action| action.pointer("/multi/destinations")).and_then(Value::as_array);
    multi.cloned().ok_or_else(|| "must have single, or multi with a list of destinations".into())
}

fn set_destinations(route: &mut Value, list: Vec<Value>) {
    if let Some(action) = route.get_mut("routeAction").and_then(Value::as_object_mut) {
        action.remove("single");
        if let Some(multi) = fields::filled(action, "multi") {
            multi.insert("destinations".into(), list.into());
        }
    }
}

fn check_stable(list: &[Value], names: &Names) -> Result<(), String> {
    if list.iter().any(|entry| part(names, entry) == Part::Stable) {
        return Ok(());
    }
    Err(format!("no stable upstream found: add a destination with upstream {}", names.stable))
}

/// The canary's destination, made like stable's.
fn canary_like(list: &[Value], names: &Names) -> Option<Value> {
    let mut canary = list.iter().find(|entry| part(names, entry) == Part::Stable)?.clone();
    let name = match canary.pointer("/destination/upstream/name") {
        Some(_) => canary.pointer_mut("/destination/upstream/name"),
        None => canary.pointer_mut("/destination/kube/ref/name"),
    };
    *name? = names.canary.into();
    Some(canary)
}

/// Writes the weights, with a destination for the canary if there is none yet and it is to get something.
/// Says whether there was something to write.
fn write(list: &mut Vec<Value>, names: &Names, shares: &shares::Shares) -> bool {
    let has_canary = list.iter().any(|entry| part(names, entry) == Part::Canary);
    if !has_canary {
        if shares.canary == 0 {
            return false;
        }
        list.extend(canary_like(list, names));
    }
    for entry in list.iter_mut().filter(|entry| part(names, entry) != Part::Other) {
        if entry.get("weight").is_none_or(Value::is_null) {
            entry["weight"] = 0.into();
        }
    }
    WEIGHTS.write(list, |entry| part(names, entry), shares);
    true
}

/// The canary's weight that a list says.
fn weight(list: &[Value], names: &Names, max_weight: i64) -> Option<i64> {
    let (canary, whole) = WEIGHTS.read(list, |entry| part(names, entry));
    if list.iter().all(|entry| part(names, entry) != Part::Canary) {
        return Some(0);
    }
    shares::weight_of(canary, whole, max_weight)
}

impl TrafficRouter for GlooRouter {
    fn name(&self) -> &'static str {
        "gloo"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        self.named().into_iter().collect()
    }

    fn selects(&self) -> Vec<Selection> {
        self.selection().into_iter().collect()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let names = self.names(ping_pong)?;
        let ours = self.managed(&[]);
        let (mut weights, mut managed) = (Vec::new(), BTreeSet::new());
        for reference in self.targets(observed)? {
            let object = fields::object(observed, &reference)?;
            let unfit = |field: String, problem| TrafficError::unfit(&reference, field, problem);
            if reference.kind == UPSTREAM_GROUP {
                let list = fields::list(object, &reference, "spec.destinations")?;
                check_stable(list, &names).map_err(|problem| unfit("spec.destinations".into(), problem))?;
                weights.push(weight(list, &names, self.scope.max_weight));
                continue;
            }
            let path = routes_path(reference.kind);
            let routes = fields::list(object, &reference, path)?;
            for at in self.selected(routes, &reference, &ours, &names)? {
                let field = || format!("{path}[{at}].routeAction");
                let list = destinations(&routes[at]).map_err(|problem| unfit(field(), problem))?;
                check_stable(&list, &names).map_err(|problem| unfit(field(), problem))?;
                weights.push(weight(&list, &names, self.scope.max_weight));
            }
            let present = routes.iter().filter_map(|route| owner(route, &ours, &names));
            managed.extend(present.map(str::to_owned));
        }
        Ok(Found { weight: shares::agreed(weights), managed, subsets: None })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let names = self.names(routes.ping_pong.as_ref())?;
        let targets = self.targets(observed)?;
        if let Some(lost) = routes.wanted().into_iter().find(|route| !self.carries(route)) {
            let problem = match lost {
                ManagedRoute::Header(_) => "a header route needs a virtualService or routeTable: name one",
                ManagedRoute::Mirror(_) => "mirror routes cannot be written for Gloo: take the step out",
            };
            return Err(self.scope.unfit(&self.field, format!("{}: {problem}", lost.name())));
        }
        let mut edits = Edits::new();
        for reference in targets {
            let object = fields::object(observed, &reference)?;
            let mut edited = object.clone();
            self.edit(&mut edited, &reference, routes, &names)?;
            if edited != *object {
                edits.insert(reference, Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, route: &ManagedRoute) -> bool {
        let has_routes = self.target().is_ok_and(|target| target.kind != UPSTREAM_GROUP);
        has_routes && matches!(route, ManagedRoute::Header(_))
    }
}
