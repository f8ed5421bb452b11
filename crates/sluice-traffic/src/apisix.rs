//! Apache APISIX: weights of the backends of an ApisixRoute, and an ApisixRoute of its own for each header
//! route.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_api::steps::SetHeaderRoute;
use sluice_api::traffic_routing::ApisixRouting;

use crate::matches::{Way, beginning_with, way};
use crate::owned::{self, Owner};
use crate::weights::{Names, PERCENT, Part, Weights};
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, fields, shares,
};

/// ApisixRoutes.
pub const APISIX_ROUTE: ObjectKind =
    ObjectKind { group: "apisix.apache.org", versions: &["v2"], kind: "ApisixRoute", plural: "apisixroutes" };

/// A backend without a weight gets what one with 100 gets.
const WEIGHTS: Weights = Weights { absent: 100 };

/// Splits traffic by weights in an ApisixRoute.
#[derive(Clone, Debug)]
pub struct ApisixRouter {
    routing: ApisixRouting,
    scope: Scope,
}

impl ApisixRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &ApisixRouting, scope: &Scope) -> ApisixRouter {
        ApisixRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn reference(&self, name: &str) -> ObjectRef {
        ObjectRef { kind: APISIX_ROUTE, namespace: self.scope.namespace.clone(), name: name.into() }
    }

    fn main(&self) -> Result<ObjectRef, TrafficError> {
        let name = self.routing.route.as_ref().map(|route| route.name.as_str()).unwrap_or_default();
        if name.is_empty() {
            let field = "spec.strategy.canary.trafficRouting.apisix.route";
            return Err(self.scope.unfit(field, "must name an ApisixRoute"));
        }
        Ok(self.reference(name))
    }

    /// The managed routes that stand in objects of their own.
    fn header_names<'a>(&'a self, main: &ObjectRef) -> BTreeSet<&'a str> {
        let names = self.scope.managed_names.iter().map(String::as_str);
        names.filter(|name| *name != main.name && !name.is_empty()).collect()
    }

    /// The indices of the rules that are weighed; each has both backends.
    fn selected(
        &self,
        rules: &[Value],
        reference: &ObjectRef,
        names: &Names,
    ) -> Result<Vec<usize>, TrafficError> {
        let unfit = |field: &str, problem: String| TrafficError::unfit(reference, field, problem);
        if rules.is_empty() {
            return Err(unfit("spec.http", "spec.http was not found in Apisix Route manifest".into()));
        }
        let wanted = self.routing.route.as_ref().map(|route| route.rules.as_slice()).unwrap_or_default();
        let of_name = |name: &str| -> Vec<usize> {
            (0..rules.len()).filter(|at| fields::text(&rules[*at], "name") == name).collect()
        };
        let mut selected = Vec::new();
        match (wanted, rules) {
            ([], [_]) => selected.push(0),
            ([], _) => selected.extend(of_name(&reference.name)),
            (wanted, _) => {
                for name in wanted {
                    let before = selected.len();
                    selected.extend(of_name(name));
                    if selected.len() == before {
                        return Err(unfit("spec.http", format!("Apisix http route rule {name} not found")));
                    }
                }
            }
        }
        if selected.is_empty() {
            let name = &reference.name;
            let problem = format!("Apisix http route rule {name} not found: name the rules in the spec");
            return Err(unfit("spec.http", problem));
        }
        selected.sort_unstable();
        selected.dedup();
        for at in &selected {
            for (part, service) in [(Part::Canary, names.canary), (Part::Stable, names.stable)] {
                if !backends(&rules[*at]).iter().any(|backend| of(names, backend) == part) {
                    let problem = format!("apisix route {service} backend was not found: add it");
                    return Err(unfit(&format!("spec.http[{at}].backends"), problem));
                }
            }
        }
        Ok(selected)
    }

    fn check_header_route(&self, object: &Value, reference: &ObjectRef) -> Result<(), TrafficError> {
        if owned::owner(object, reference, &self.scope)? == Owner::Ours {
            return Ok(());
        }
        let problem = format!(
            "duplicate ApisixRoute [{}] already exists: give it or the managed route another name",
            reference.name
        );
        Err(TrafficError::unfit(reference, "metadata.ownerReferences", problem))
    }

    /// The spec of a header route's object: the selected rules, for requests with these headers, to the
    /// canary alone.
    fn header_spec(
        &self,
        route: &SetHeaderRoute,
        main: &Value,
        rules: &[&Value],
        names: &Names,
    ) -> Result<Value, TrafficError> {
        let expressions = route.r#match.iter().map(|header| {
            let field = format!("setHeaderRoute {}, header {}", route.name, header.header_name);
            let (op, value) = match way(header.header_value.as_ref(), &field, &self.scope)? {
                Way::Exact(text) => ("Equal", text.to_owned()),
                Way::Prefix(text) => ("RegexMatch", format!("^{}", beginning_with(text))),
                Way::Regex(text) => ("RegexMatch", text.to_owned()),
            };
            Ok(json!({"subject": {"scope": "Header", "name": header.header_name}, "op": op, "value": value}))
        });
        let expressions = expressions.collect::<Result<Vec<Value>, TrafficError>>()?;
        let made = rules.iter().map(|rule| {
            let mut rule = rule.as_object().cloned().unwrap_or_default();
            let canary =
                backends_in(&rule).iter().find(|backend| of(names, backend) == Part::Canary).cloned();
            let mut canary = canary.unwrap_or_default();
            WEIGHTS.set(&mut canary, PERCENT);
            rule.insert("backends".into(), json!([canary]));
            let priority = rule.get("priority").and_then(Value::as_i64).unwrap_or(0);
            rule.insert("priority".into(), priority.saturating_add(1).into());
            if let Some(matched) = fields::filled(&mut rule, "match") {
                let known = matched.get("exprs").and_then(Value::as_array).cloned().unwrap_or_default();
                let all: Vec<Value> = known.into_iter().chain(expressions.iter().cloned()).collect();
                matched.insert("exprs".into(), all.into());
            }
            Value::Object(rule)
        });
        let made: Value = made.collect();
        let mut spec = main.get("spec").cloned().unwrap_or_default();
        spec["http"] = made;
        Ok(spec)
    }
}

fn backends(rule: &Value) -> &[Value] {
    rule.as_object().map(backends_in).unwrap_or_default()
}

fn backends_in(rule: &serde_json::Map<String, Value>) -> &[Value] {
    rule.get("backends").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn of(names: &Names, backend: &Value) -> Part {
    names.part(fields::text(backend, "serviceName"))
}

impl TrafficRouter for ApisixRouter {
    fn name(&self) -> &'static str {
        "apisix"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let Ok(main) = self.main() else { return Vec::new() };
        let of_headers: Vec<ObjectRef> =
            self.header_names(&main).into_iter().map(|name| self.reference(name)).collect();
        std::iter::once(main).chain(of_headers).collect()
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let names = Names::two(self.scope.services(None).both(&self.scope)?);
        let main = self.main()?;
        let object = fields::object(observed, &main)?;
        let rules = fields::list(object, &main, "spec.http")?;
        let weights = self.selected(rules, &main, &names)?.into_iter().map(|at| {
            let (canary, whole) = WEIGHTS.read(backends(&rules[at]), |backend| of(&names, backend));
            shares::weight_of(canary, whole, self.scope.max_weight)
        });
        let weight = shares::agreed(weights);
        let mut managed = BTreeSet::new();
        for name in self.header_names(&main) {
            let reference = self.reference(name);
            let Some(object) = observed.get(&reference) else { continue };
            if owned::owner(object, &reference, &self.scope)? == Owner::Ours {
                managed.insert(name.to_owned());
            }
        }
        Ok(Found { weight, managed, subsets: None })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let names = Names::two(self.scope.services(None).both(&self.scope)?);
        let main = self.main()?;
        let object = fields::object(observed, &main)?;
        let mut rules = fields::list(object, &main, "spec.http")?.to_vec();
        let selected = self.selected(&rules, &main, &names)?;
        let mut edits = Edits::new();

        let wanted: Vec<&SetHeaderRoute> = routes
            .wanted()
            .into_iter()
            .filter_map(|route| match route {
                ManagedRoute::Header(route) => Some(route),
                ManagedRoute::Mirror(_) => None,
            })
            .collect();
        let bases: Vec<&Value> = selected.iter().map(|at| &rules[*at]).collect();
        for route in &wanted {
            let reference = self.reference(&route.name);
            if reference == main || !self.scope.managed_names.contains(&route.name) {
                let problem =
                    "must be in managedRoutes, and not have the name of the ApisixRoute: give it another";
                return Err(self.scope.unfit(&format!("setHeaderRoute {}", route.name), problem));
            }
            let spec = self.header_spec(route, object, &bases, &names)?;
            let Some(found) = observed.get(&reference) else {
                let field = |name| object.get(name).cloned().unwrap_or_default();
                let created = json!({
                    "apiVersion": field("apiVersion"),
                    "kind": field("kind"),
                    "metadata": owned::metadata(&reference, &self.scope),
                    "spec": spec,
                });
                edits.insert(reference, Edit::Put(created));
                continue;
            };
            self.check_header_route(found, &reference)?;
            if found.get("spec") != Some(&spec) {
                let mut edited = found.clone();
                edited["spec"] = spec;
                edits.insert(reference, Edit::Put(edited));
            }
        }
        for name in self.header_names(&main) {
            let reference = self.reference(name);
            let Some(found) = observed.get(&reference) else { continue };
            let is_wanted = wanted.iter().any(|route| route.name == name);
            if !is_wanted && owned::owner(found, &reference, &self.scope)? == Owner::Ours {
                edits.insert(reference, Edit::Delete);
            }
        }

        let shares = shares::two(routes, self.scope.max_weight, PERCENT);
        for at in selected {
            let list = rules[at].get_mut("backends").and_then(Value::as_array_mut);
            if let Some(list) = list {
                WEIGHTS.write(list, |backend| of(&names, backend), &shares);
            }
        }
        let mut edited = object.clone();
        fields::set_list(&mut edited, &main, "spec.http", rules)?;
        if edited != *object {
            edits.insert(main, Edit::Put(edited));
        }
        Ok(edits)
    }

    fn carries(&self, route: &ManagedRoute) -> bool {
        matches!(route, ManagedRoute::Header(_))
    }
}
