//! Istio: weights in VirtualServices, versions in the subsets of a DestinationRule.
//!
//! Writes what Argo Rollouts writes (`rollout/trafficrouting/istio`), and differs where that loses what is
//! not ours: destinations and subsets of others stay, TLS and TCP routes that lead elsewhere too.

mod destinations;
mod managed;
mod selection;
mod subsets;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sluice_api::traffic_routing::{IstioDestinationRule, IstioRouting, IstioVirtualService};

use self::destinations::Roles;
use self::managed::CanaryTarget;
use crate::{
    Edit, Edits, Found, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError, TrafficRouter,
    extras::Extras, fields, named, shares,
};

const VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const GROUP: &str = "networking.istio.io";

/// VirtualServices.
pub const VIRTUAL_SERVICE: ObjectKind =
    ObjectKind { group: GROUP, versions: VERSIONS, kind: "VirtualService", plural: "virtualservices" };

/// DestinationRules.
pub const DESTINATION_RULE: ObjectKind =
    ObjectKind { group: GROUP, versions: VERSIONS, kind: "DestinationRule", plural: "destinationrules" };

pub use crate::extras::EXTRA_DESTINATIONS;

/// Splits traffic by weights in VirtualServices.
#[derive(Clone, Debug)]
pub struct IstioRouter {
    routing: IstioRouting,
    scope: Scope,
}

impl IstioRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &IstioRouting, scope: &Scope) -> IstioRouter {
        IstioRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn targets(&self) -> Result<Vec<(&IstioVirtualService, ObjectRef)>, TrafficError> {
        let several = self.routing.virtual_services.as_deref().unwrap_or_default();
        let targets = match (&self.routing.virtual_service, several) {
            (Some(one), []) => std::slice::from_ref(one),
            (None, [_, ..]) => several,
            _ => {
                let problem = "either VirtualService or VirtualServices must be configured";
                return Err(self.scope.unfit("spec.strategy.canary.trafficRouting.istio", problem));
            }
        };
        let namespace = &self.scope.namespace;
        Ok(targets.iter().map(|target| (target, virtual_service(&target.name, namespace))).collect())
    }

    fn destination_rule(&self) -> Option<(&IstioDestinationRule, ObjectRef)> {
        let rule = self.routing.destination_rule.as_ref()?;
        let namespace = self.scope.namespace.clone();
        Some((rule, ObjectRef { kind: DESTINATION_RULE, namespace, name: rule.name.clone() }))
    }

    fn roles<'a>(
        &'a self,
        reference: &ObjectRef,
        ping_pong: Option<&'a PingPong>,
    ) -> Result<Roles<'a>, TrafficError> {
        let services = self.scope.services(ping_pong);
        let subsets = self.routing.destination_rule.as_ref();
        if subsets.is_none() {
            services.both(&self.scope)?;
        }
        let is_elsewhere = reference.namespace != self.scope.namespace;
        Ok(Roles { namespace: &self.scope.namespace, is_elsewhere, services, subsets })
    }

    /// Edits one VirtualService. Says whether it has a place for managed routes.
    fn edit(
        &self,
        object: &mut Value,
        (target, reference): (&IstioVirtualService, &ObjectRef),
        routes: &Routes,
        rule_host: Option<&str>,
    ) -> Result<bool, TrafficError> {
        let roles = self.roles(reference, routes.ping_pong.as_ref())?;
        let extras = Extras::of(object, reference, &self.scope.rollout)?;
        let managed = routes.wanted();
        let ours: BTreeSet<&str> = (self.scope.managed_names.iter().map(String::as_str))
            .chain(routes.managed.iter().map(crate::ManagedRoute::name))
            .collect();
        let selected = selection::select(object, reference, target, &roles, &ours)?;
        for (protocol, at) in selected.all() {
            let path = format!("spec.{protocol}");
            let mut list = fields::list(object, reference, &path)?.to_vec();
            if let Some(route) = list.get_mut(at) {
                let field = format!("{path}[{at}].route");
                let problem = |problem| TrafficError::unfit(reference, field, problem);
                destinations::write(route, &roles, &extras, routes, self.scope.max_weight)
                    .map_err(problem)?;
            }
            fields::set_list(object, reference, &path, list)?;
        }
        extras.record(object, reference, routes)?;

        let http = fields::list(object, reference, "spec.http")?;
        let base = selected.http.first().and_then(|at| http.get(*at));
        let wanted = match base {
            Some(base) => {
                let to = CanaryTarget::new(base, &roles, rule_host);
                let route = |route: &&crate::ManagedRoute| managed::route(route, base, &to, &self.scope);
                managed.iter().map(route).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        if let Some(arranged) = arranged(http, wanted, &ours, selected.http.first().copied()) {
            fields::set_list(object, reference, "spec.http", arranged)?;
        }
        Ok(!selected.http.is_empty() || managed.is_empty())
    }
}

impl TrafficRouter for IstioRouter {
    fn name(&self) -> &'static str {
        "istio"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let virtual_services = self.targets().unwrap_or_default().into_iter().map(|(_, reference)| reference);
        let rule = self.destination_rule().map(|(_, reference)| reference);
        virtual_services.chain(rule).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let ours: BTreeSet<&str> = self.scope.managed_names.iter().map(String::as_str).collect();
        let (mut weights, mut managed) = (Vec::new(), BTreeSet::new());
        for (target, reference) in self.targets()? {
            let roles = self.roles(&reference, ping_pong)?;
            let object = fields::object(observed, &reference)?;
            let extras = Extras::of(object, &reference, &self.scope.rollout)?;
            for (protocol, at) in selection::select(object, &reference, target, &roles, &ours)?.all() {
                let route = fields::list(object, &reference, &format!("spec.{protocol}"))?.get(at);
                weights.push(
                    route.and_then(|route| {
                        destinations::weight(route, &roles, &extras, self.scope.max_weight)
                    }),
                );
            }
            let http = fields::list(object, &reference, "spec.http")?;
            let names = http.iter().map(|route| fields::text(route, "name"));
            managed.extend(names.filter(|name| ours.contains(name)).map(str::to_owned));
        }
        let subsets = match self.destination_rule() {
            Some((rule, reference)) => {
                Some(subsets::read(fields::object(observed, &reference)?, &reference, rule)?)
            }
            None => None,
        };
        Ok(Found { weight: shares::agreed(weights), managed, subsets })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let mut edited = Objects::new();
        let mut rule_host = None;
        if let Some((rule, reference)) = self.destination_rule() {
            let object = fields::object(observed, &reference)?;
            rule_host = object.pointer("/spec/host").and_then(Value::as_str);
            let mut object = object.clone();
            subsets::write(&mut object, &reference, rule, &self.scope.rollout, routes)?;
            edited.insert(reference, object);
        }
        let (mut has_place, mut without_place) = (false, None);
        for (target, reference) in self.targets()? {
            let mut object = match edited.remove(&reference) {
                // Named twice, each time with other routes.
                Some(object) => object,
                None => fields::object(observed, &reference)?.clone(),
            };
            if self.edit(&mut object, (target, &reference), routes, rule_host)? {
                has_place = true;
            } else {
                without_place = Some(reference.clone());
            }
            edited.insert(reference, object);
        }
        if let Some(reference) = without_place.filter(|_| !has_place) {
            let problem =
                "a header or mirror route needs an HTTP route with both destinations beside it: add one";
            return Err(TrafficError::unfit(&reference, "spec.http", problem));
        }
        edited.retain(|reference, object| observed.get(reference) != Some(object));
        Ok(edited.into_iter().map(|(reference, object)| (reference, Edit::Put(object))).collect())
    }
}

fn arranged(
    http: &[Value],
    wanted: Vec<Map<String, Value>>,
    ours: &BTreeSet<&str>,
    below: Option<usize>,
) -> Option<Vec<Value>> {
    named::arrange(http, wanted, |route| ours.contains(fields::text(route, "name")), managed::OURS, below)
}

/// The VirtualService that a name means: `name`, `name.namespace` or `name.namespace.cluster.local`.
fn virtual_service(name: &str, rollout_namespace: &str) -> ObjectRef {
    let short = name.strip_suffix(".cluster.local").unwrap_or(name);
    let (name, namespace) = short.rsplit_once('.').unwrap_or((short, rollout_namespace));
    ObjectRef { kind: VIRTUAL_SERVICE, namespace: namespace.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_name() {
        for (name, namespace, short) in [
            ("web", "prod", "web"),
            ("web.edge", "edge", "web"),
            ("web.edge.cluster.local", "edge", "web"),
            ("a.b.ns1.cluster.local", "ns1", "a.b"),
            ("", "prod", ""),
        ] {
            let found = virtual_service(name, "prod");
            assert_eq!((found.namespace.as_str(), found.name.as_str()), (namespace, short), "{name}");
        }
    }
}
