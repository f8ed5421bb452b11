//! Traefik: weights of the Services of a weighted TraefikService.
//!
//! Traefik moved to another API group. Where the object stands in both, both are written: which of them
//! a proxy reads depends on its release.

use serde_json::Value;
use sluice_api::traffic_routing::TraefikRouting;

use crate::weights::{Names, PERCENT, Part, Weights};
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, fields, shares,
};

/// TraefikServices.
pub const TRAEFIK_SERVICE: ObjectKind = ObjectKind {
    group: "traefik.io",
    versions: &["v1alpha1"],
    kind: "TraefikService",
    plural: "traefikservices",
};

/// TraefikServices of the group that Traefik had before.
pub const FORMER_TRAEFIK_SERVICE: ObjectKind = ObjectKind { group: "traefik.containo.us", ..TRAEFIK_SERVICE };

const SERVICES: &str = "spec.weighted.services";
const WEIGHTS: Weights = Weights { absent: 1 };

/// Splits traffic by weights in a TraefikService.
#[derive(Clone, Debug)]
pub struct TraefikRouter {
    routing: TraefikRouting,
    scope: Scope,
}

impl TraefikRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &TraefikRouting, scope: &Scope) -> TraefikRouter {
        TraefikRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn both_groups(&self) -> [ObjectRef; 2] {
        [TRAEFIK_SERVICE, FORMER_TRAEFIK_SERVICE].map(|kind| ObjectRef {
            kind,
            namespace: self.scope.namespace.clone(),
            name: self.routing.weighted_traefik_service_name.clone(),
        })
    }

    /// The object, in the groups in which it stands.
    fn targets(&self, observed: &Objects) -> Result<Vec<ObjectRef>, TrafficError> {
        if self.routing.weighted_traefik_service_name.is_empty() {
            let field = "spec.strategy.canary.trafficRouting.traefik.weightedTraefikServiceName";
            return Err(self.scope.unfit(field, "must name a TraefikService"));
        }
        let all = self.both_groups();
        let found: Vec<ObjectRef> = all.iter().filter(|one| observed.contains_key(one)).cloned().collect();
        if found.is_empty() { Err(TrafficError::not_found(&all[0])) } else { Ok(found) }
    }

    fn part(&self, names: &Names, entry: &Value) -> Part {
        match fields::text(entry, "namespace") {
            namespace if !namespace.is_empty() && namespace != self.scope.namespace => Part::Other,
            _ => names.part(fields::text(entry, "name")),
        }
    }

    /// The list of Services, which holds both of ours.
    fn services<'a>(
        &self,
        object: &'a Value,
        reference: &ObjectRef,
        names: &Names,
    ) -> Result<&'a [Value], TrafficError> {
        let list = fields::list(object, reference, SERVICES)?;
        let has = |part| list.iter().any(|entry| self.part(names, entry) == part);
        let problem = match () {
            () if list.is_empty() => {
                "spec.weighted.services was not found in traefik service manifest".into()
            }
            () if !has(Part::Canary) => {
                format!("traefik canary service was not found: add {} to the list", names.canary)
            }
            () if !has(Part::Stable) => {
                format!("traefik stable service was not found: add {} to the list", names.stable)
            }
            () => return Ok(list),
        };
        Err(TrafficError::unfit(reference, SERVICES, problem))
    }
}

impl TrafficRouter for TraefikRouter {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        self.both_groups().into()
    }

    fn can_do_without(&self, kind: ObjectKind) -> bool {
        [TRAEFIK_SERVICE, FORMER_TRAEFIK_SERVICE].contains(&kind)
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let names = Names::two(self.scope.services(None).both(&self.scope)?);
        let mut weights = Vec::new();
        for reference in self.targets(observed)? {
            let object = fields::object(observed, &reference)?;
            let list = self.services(object, &reference, &names)?;
            let (canary, whole) = WEIGHTS.read(list, |entry| self.part(&names, entry));
            weights.push(shares::weight_of(canary, whole, self.scope.max_weight));
        }
        Ok(Found { weight: shares::agreed(weights), ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let names = Names::two(self.scope.services(None).both(&self.scope)?);
        let shares = shares::two(routes, self.scope.max_weight, PERCENT);
        let mut edits = Edits::new();
        for reference in self.targets(observed)? {
            let object = fields::object(observed, &reference)?;
            let mut list = self.services(object, &reference, &names)?.to_vec();
            WEIGHTS.write(&mut list, |entry| self.part(&names, entry), &shares);
            let mut edited = object.clone();
            fields::set_list(&mut edited, &reference, SERVICES, list)?;
            if edited != *object {
                edits.insert(reference, Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }
}
