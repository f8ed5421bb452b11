//! Contour: weights of the services in the routes of HTTPProxies.
//!
//! Reads the block of the plugin `argoproj-labs/contour` and writes what that plugin writes: services of
//! others keep their weight, and ours share what is left of 100.

use serde::Deserialize;
use serde_json::Value;

use crate::weights::{Names, PERCENT, Part, Weights};
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, Verdict, fields, shares,
};

/// HTTPProxies.
pub const HTTP_PROXY: ObjectKind =
    ObjectKind { group: "projectcontour.io", versions: &["v1"], kind: "HTTPProxy", plural: "httpproxies" };

const WEIGHTS: Weights = Weights { absent: 0 };

/// The block as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    http_proxy: String,
    http_proxies: Vec<String>,
    namespace: String,
}

/// Splits traffic by weights in HTTPProxies.
#[derive(Clone, Debug)]
pub struct ContourRouter {
    field: String,
    targets: Result<Vec<ObjectRef>, TrafficError>,
    scope: Scope,
}

impl ContourRouter {
    /// The router for `block`, which stands at `key` of `trafficRouting`.
    pub fn new(key: &str, block: &Value, scope: &Scope) -> ContourRouter {
        let field = format!("spec.strategy.canary.trafficRouting.{key}");
        let targets = targets(block, &field, scope);
        ContourRouter { field, targets, scope: scope.clone() }
    }

    fn targets(&self) -> Result<&[ObjectRef], TrafficError> {
        self.targets.as_deref().map_err(Clone::clone)
    }

    fn names<'a>(&'a self, ping_pong: Option<&'a PingPong>) -> Result<Names<'a>, TrafficError> {
        Ok(Names::two(self.scope.services(ping_pong).both(&self.scope)?))
    }

    /// The indices of the routes that hold both Services.
    fn selected(
        &self,
        routes: &[Value],
        reference: &ObjectRef,
        names: &Names,
    ) -> Result<Vec<usize>, TrafficError> {
        let has = |at: usize, wanted| services(&routes[at]).iter().any(|entry| part(names, entry) == wanted);
        let selected: Vec<usize> = (0..routes.len()).filter(|at| has(*at, Part::Canary)).collect();
        let missing = |field: String, service: &str| {
            let problem = format!("the service: {service} is not found in httpproxy: add it to the route");
            TrafficError::unfit(reference, field, problem)
        };
        if selected.is_empty() {
            return Err(missing("spec.routes".into(), names.canary));
        }
        match selected.iter().find(|at| !has(**at, Part::Stable)) {
            Some(at) => Err(missing(format!("spec.routes[{at}].services"), names.stable)),
            None => Ok(selected),
        }
    }

    /// What the services of a route leave for ours.
    fn whole(&self, list: &[Value], names: &Names, routes: &Routes) -> Result<i64, String> {
        let of_part = |is_meant: &dyn Fn(Part) -> bool| -> i64 {
            list.iter().filter(|entry| is_meant(part(names, entry))).map(|entry| WEIGHTS.of(entry)).sum()
        };
        let (ours, others) = (of_part(&|part| part != Part::Other), of_part(&|part| part == Part::Other));
        if ours != 0 && ours + others != PERCENT {
            return Err(format!("the total weight must equals to 100, and is {}", ours + others));
        }
        let (whole, needed) = (PERCENT - others, shares::wanted(routes, self.scope.max_weight));
        if whole < needed {
            return Err(format!(
                "other services have weight {others}: leave at least {needed} of {PERCENT} for stable and canary"
            ));
        }
        Ok(whole)
    }
}

fn targets(block: &Value, field: &str, scope: &Scope) -> Result<Vec<ObjectRef>, TrafficError> {
    let config: Config = serde_json::from_value(block.clone())
        .map_err(|error| scope.unfit(field, format!("cannot be read: {error}")))?;
    let namespace = if config.namespace.is_empty() { &scope.namespace } else { &config.namespace };
    let one = Some(config.http_proxy).filter(|name| !name.is_empty());
    let reference = |name: String| ObjectRef { kind: HTTP_PROXY, namespace: namespace.clone(), name };
    let found: Vec<ObjectRef> = one.into_iter().chain(config.http_proxies).map(reference).collect();
    if found.is_empty() {
        Err(scope.unfit(field, "must name an HTTPProxy in httpProxies"))
    } else {
        Ok(found)
    }
}

fn services(route: &Value) -> &[Value] {
    route.get("services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A service that requests are only copied to has no part in the split.
fn part(names: &Names, entry: &Value) -> Part {
    match entry.get("mirror").and_then(Value::as_bool) {
        Some(true) => Part::Other,
        _ => names.part(fields::text(entry, "name")),
    }
}

impl TrafficRouter for ContourRouter {
    fn name(&self) -> &'static str {
        "contour"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        self.targets().unwrap_or_default().to_vec()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let names = self.names(ping_pong)?;
        let mut weights = Vec::new();
        for reference in self.targets()? {
            let object = fields::object(observed, reference)?;
            let routes = fields::list(object, reference, "spec.routes")?;
            for at in self.selected(routes, reference, &names)? {
                let (canary, whole) = WEIGHTS.read(services(&routes[at]), |entry| part(&names, entry));
                weights.push(shares::weight_of(canary, whole, self.scope.max_weight));
            }
        }
        Ok(Found { weight: shares::agreed(weights), ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let names = self.names(routes.ping_pong.as_ref())?;
        let targets = self.targets()?;
        if let Some(lost) = routes.wanted().first() {
            let problem = format!(
                "{}: header and mirror routes cannot be written for Contour: take the step out",
                lost.name()
            );
            return Err(self.scope.unfit(&self.field, problem));
        }
        let of_two = Routes { canary_weight: routes.canary_weight, ..Routes::default() };
        let mut edits = Edits::new();
        for reference in targets {
            let object = fields::object(observed, reference)?;
            let mut list = fields::list(object, reference, "spec.routes")?.to_vec();
            for at in self.selected(&list, reference, &names)? {
                let Some(services) = list[at].get_mut("services").and_then(Value::as_array_mut) else {
                    continue;
                };
                let whole = self.whole(services, &names, &of_two).map_err(|problem| {
                    TrafficError::unfit(reference, format!("spec.routes[{at}].services"), problem)
                })?;
                let shares = shares::divide(&of_two, self.scope.max_weight, whole);
                WEIGHTS.write(services, |entry| part(&names, entry), &shares);
            }
            let mut edited = object.clone();
            fields::set_list(&mut edited, reference, "spec.routes", list)?;
            if edited != *object {
                edits.insert(reference.clone(), Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }

    fn verdict(&self, observed: &Objects, _: &Routes) -> Verdict {
        let of_proxy = |reference: &ObjectRef| {
            let Some(object) = observed.get(reference) else { return Verdict::Unknown };
            let conditions = fields::list(object, reference, "status.conditions").unwrap_or_default();
            let valid = conditions.iter().find(|one| fields::text(one, "type") == "Valid");
            let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
            let observed = valid.and_then(|valid| valid.get("observedGeneration")?.as_i64());
            match (valid, generation.zip(observed)) {
                (Some(valid), Some((generation, observed))) => {
                    let is_live = observed >= generation && fields::text(valid, "status") == "True";
                    if is_live { Verdict::Live } else { Verdict::Pending }
                }
                _ => Verdict::Unknown,
            }
        };
        Verdict::all(self.targets().unwrap_or_default().iter().map(of_proxy))
    }
}
