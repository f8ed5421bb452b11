//! Kuma: weights of the backends of MeshHTTPRoutes and MeshTCPRoutes.
//!
//! The TrafficRoutes of old releases are not written: they are objects of the whole cluster.

use serde::Deserialize;
use serde_json::Value;

use crate::weights::{Names, Part, Weights};
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, fields, shares,
};

/// MeshHTTPRoutes.
pub const MESH_HTTP_ROUTE: ObjectKind =
    ObjectKind { group: "kuma.io", versions: &["v1alpha1"], kind: "MeshHTTPRoute", plural: "meshhttproutes" };

/// MeshTCPRoutes.
pub const MESH_TCP_ROUTE: ObjectKind =
    ObjectKind { group: "kuma.io", versions: &["v1alpha1"], kind: "MeshTCPRoute", plural: "meshtcproutes" };

const WEIGHTS: Weights = Weights { absent: 1 };
const LARGEST: i64 = 1_000_000;

/// The block as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    #[serde(rename = "meshHTTPRoutes")]
    mesh_http_routes: Vec<String>,
    #[serde(rename = "meshTCPRoutes")]
    mesh_tcp_routes: Vec<String>,
    /// Where the routes are; the Rollout's namespace if empty.
    namespace: String,
}

/// Splits traffic by weights of backends.
#[derive(Clone, Debug)]
pub struct KumaRouter {
    field: String,
    targets: Result<Vec<ObjectRef>, TrafficError>,
    scope: Scope,
}

impl KumaRouter {
    /// The router for `block`, which stands at `key` of `trafficRouting`.
    pub fn new(key: &str, block: &Value, scope: &Scope) -> KumaRouter {
        let field = format!("spec.strategy.canary.trafficRouting.{key}");
        let targets = targets(block, &field, scope);
        KumaRouter { field, targets, scope: scope.clone() }
    }

    fn targets(&self) -> Result<&[ObjectRef], TrafficError> {
        self.targets.as_deref().map_err(Clone::clone)
    }

    fn names<'a>(&'a self, ping_pong: Option<&'a PingPong>) -> Result<Names<'a>, TrafficError> {
        Ok(Names::two(self.scope.services(ping_pong).both(&self.scope)?))
    }

    /// What a backend is for: a MeshService with the name of the Service, or with the long name that
    /// generated ones have.
    fn part(&self, names: &Names, backend: &Value) -> Part {
        let namespace = fields::text(backend, "namespace");
        if !namespace.is_empty() && namespace != self.scope.namespace {
            return Part::Other;
        }
        let name = fields::text(backend, "name");
        let of_namespace = format!("_{}_svc_", self.scope.namespace);
        names.part(name.find(&of_namespace).map_or(name, |at| &name[..at]))
    }

    /// The lists of backends of a route that hold both Services, in `object`.
    fn lists<'a>(&self, object: &'a mut Value, names: &Names) -> Vec<&'a mut Vec<Value>> {
        let of = |value: &'a mut Value, field: &str| {
            value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
        };
        let Some(spec) = object.get_mut("spec") else { return Vec::new() };
        let rules = of(spec, "to").flat_map(|to| of(to, "rules"));
        let lists = rules.filter_map(|rule| rule.pointer_mut("/default/backendRefs")?.as_array_mut());
        let has = |list: &[Value], part| list.iter().any(|backend| self.part(names, backend) == part);
        lists.filter(|list| has(list, Part::Canary) && has(list, Part::Stable)).collect()
    }

    fn nothing(&self, reference: &ObjectRef, names: &Names) -> TrafficError {
        let problem = format!(
            "no rule leads to both {} and {}: add both to default.backendRefs of one",
            names.stable, names.canary
        );
        TrafficError::unfit(reference, "spec.to", problem)
    }
}

fn targets(block: &Value, field: &str, scope: &Scope) -> Result<Vec<ObjectRef>, TrafficError> {
    let config: Config = serde_json::from_value(block.clone())
        .map_err(|error| scope.unfit(field, format!("cannot be read: {error}")))?;
    let namespace = if config.namespace.is_empty() { &scope.namespace } else { &config.namespace };
    let of = |kind, names: Vec<String>| {
        names.into_iter().map(move |name| ObjectRef { kind, namespace: namespace.clone(), name })
    };
    let http = of(MESH_HTTP_ROUTE, config.mesh_http_routes);
    let found: Vec<ObjectRef> = http.chain(of(MESH_TCP_ROUTE, config.mesh_tcp_routes)).collect();
    if found.is_empty() {
        return Err(scope.unfit(field, "must name a route in meshHTTPRoutes or meshTCPRoutes"));
    }
    Ok(found)
}

impl TrafficRouter for KumaRouter {
    fn name(&self) -> &'static str {
        "kuma"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        self.targets().unwrap_or_default().to_vec()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let names = self.names(ping_pong)?;
        let mut weights = Vec::new();
        for reference in self.targets()? {
            let mut object = fields::object(observed, reference)?.clone();
            let lists = self.lists(&mut object, &names);
            if lists.is_empty() {
                return Err(self.nothing(reference, &names));
            }
            for list in lists {
                let (canary, whole) = WEIGHTS.read(list, |backend| self.part(&names, backend));
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
                "{}: header and mirror routes cannot be written for Kuma: take the step out",
                lost.name()
            );
            return Err(self.scope.unfit(&self.field, problem));
        }
        let max = self.scope.max_weight;
        let shares = shares::two(routes, max, max.clamp(1, LARGEST));
        let mut edits = Edits::new();
        for reference in targets {
            let object = fields::object(observed, reference)?;
            let mut edited = object.clone();
            let lists = self.lists(&mut edited, &names);
            if lists.is_empty() {
                return Err(self.nothing(reference, &names));
            }
            for list in lists {
                WEIGHTS.write(list, |backend| self.part(&names, backend), &shares);
            }
            if edited != *object {
                edits.insert(reference.clone(), Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }
}
