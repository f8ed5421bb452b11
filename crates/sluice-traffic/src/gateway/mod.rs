//! Gateway API: weights of the backends of HTTPRoutes, GRPCRoutes, TCPRoutes and TLSRoutes.
//!
//! Reads the block of the plugin `argoproj-labs/gatewayAPI` and writes what that plugin writes. It differs
//! where the plugin loses what is not ours (rules that lead to the canary alone, names that only look like
//! a managed route's, the label while another Rollout still needs it), and it writes mirror routes and
//! believes the status of a route. What reads the same objects under other names, Kong and Linkerd, is
//! this router as well.

mod config;
mod kinds;
mod label;
mod managed;
mod paths;
mod refs;
mod status;

pub use kinds::{GRPC_ROUTE, HTTP_ROUTE, LINKERD_HTTP_ROUTE, TCP_ROUTE, TLS_ROUTE};

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::config::{Config, Target};
use self::managed::{MANAGED_RULES, Ownership};
use self::refs::View;
use crate::extras::Extras;
use crate::weights::Names;
use crate::{
    By, Edit, Edits, Extra, Found, ManagedRoute, ObjectRef, Objects, PingPong, Routes, Scope, Selection,
    TrafficError, TrafficRouter, Verdict, fields, ledger, shares,
};

/// Splits traffic by weights of backends.
#[derive(Clone, Debug)]
pub struct GatewayRouter {
    name: &'static str,
    /// The block of the spec, for messages.
    field: String,
    config: Result<Config, TrafficError>,
    scope: Scope,
}

impl GatewayRouter {
    /// The router for `block`, which stands at `key` of `trafficRouting`.
    pub fn new(name: &'static str, key: &str, block: &Value, scope: &Scope) -> GatewayRouter {
        let field = format!("spec.strategy.canary.trafficRouting.{key}");
        let config = Config::read(block, &field, scope);
        GatewayRouter { name, field, config, scope: scope.clone() }
    }

    fn config(&self) -> Result<&Config, TrafficError> {
        self.config.as_ref().map_err(Clone::clone)
    }

    /// Under which name the Rollout is on record in a route.
    fn recorded_as(&self, reference: &ObjectRef) -> String {
        if reference.namespace == self.scope.namespace {
            self.scope.rollout.clone()
        } else {
            format!("{}/{}", self.scope.namespace, self.scope.rollout)
        }
    }

    /// The routes, in the order in which they are served: those that the spec names, and those with the
    /// labels that it asks for.
    fn targets(&self, observed: &Objects) -> Result<Vec<(Target, ObjectRef)>, TrafficError> {
        let config = self.config()?;
        let namespace = config.namespace(&self.scope);
        let mut targets: Vec<(Target, ObjectRef)> = Vec::new();
        for of_kind in config.kinds() {
            let reference =
                |name: &str| ObjectRef { kind: of_kind.kind, namespace: namespace.into(), name: name.into() };
            targets.extend(of_kind.named.into_iter().map(|target| (target.clone(), reference(&target.name))));
            if let Some(labels) = of_kind.selector {
                let by = By::Labels(labels);
                let selection = Selection { kind: of_kind.kind, namespace: namespace.into(), by };
                let taken = observed.iter().filter(|(reference, object)| selection.takes(reference, object));
                let taken = taken.map(|(reference, _)| reference.clone());
                for reference in taken.collect::<Vec<_>>() {
                    if !targets.iter().any(|(_, known)| *known == reference) {
                        targets.push((Target::default(), reference));
                    }
                }
            }
        }
        if targets.is_empty() {
            let problem = format!(
                "no route in namespace {namespace} has the labels that are asked for: label one, or name it"
            );
            return Err(self.scope.unfit(&self.field, problem));
        }
        Ok(targets)
    }

    fn names<'a>(
        &'a self,
        ping_pong: Option<&'a PingPong>,
        extra: &'a [Extra],
    ) -> Result<Names<'a>, TrafficError> {
        let (stable, canary) = self.scope.services(ping_pong).both(&self.scope)?;
        Ok(Names { stable, canary, extra })
    }

    /// The indices of the rules that are weighed.
    fn bases(
        &self,
        rules: &[Value],
        (target, reference): (&Target, &ObjectRef),
        view: &View,
        ownership: &Ownership,
    ) -> Result<Vec<usize>, TrafficError> {
        let is_base = |rule: &Value| {
            (target.rule.is_empty() || fields::text(rule, "name") == target.rule)
                && view.has_both(rule)
                && ownership.owner(rule, view).is_none()
        };
        let bases: Vec<usize> = (0..rules.len()).filter(|at| is_base(&rules[*at])).collect();
        if !bases.is_empty() {
            return Ok(bases);
        }
        let (stable, canary) = (view.names.stable, view.names.canary);
        let which = match target.rule.as_str() {
            "" => "no rule".to_owned(),
            rule => format!("rule {rule} does not exist, or"),
        };
        let what = match reference.kind.kind {
            "TCPRoute" => "backendRef list was not found in tcpRoute",
            "TLSRoute" => "backendRef list was not found in tlsRoute",
            "GRPCRoute" => "backendRef was not found in grpcRoute",
            _ => "backendRef was not found in httpRoute",
        };
        let problem = format!("{what}: {which} leads to both {stable} and {canary}: add what is missing");
        Err(TrafficError::unfit(reference, "spec.rules", problem))
    }

    fn edit(
        &self,
        object: &mut Value,
        (target, reference): (&Target, &ObjectRef),
        routes: &Routes,
    ) -> Result<(), TrafficError> {
        let rollout = self.recorded_as(reference);
        let extras = Extras::of(object, reference, &rollout)?;
        let names = self.names(routes.ping_pong.as_ref(), &routes.extra)?;
        let view = View { names, namespace: &self.scope.namespace, extras: &extras };
        let recorded = ledger::names(object, reference, MANAGED_RULES, &rollout)?;
        let wanted = self.wanted(target, reference, routes);
        let ownership = self.ownership(target, &recorded, &wanted);
        let mut rules = fields::list(object, reference, "spec.rules")?.to_vec();
        let bases = self.bases(&rules, (target, reference), &view, &ownership)?;
        for at in &bases {
            view.write(&mut rules[*at], routes, self.scope.max_weight);
        }
        let (rules, record) = managed::arrange(&rules, &bases, &wanted, &ownership, &view, &self.scope)?;
        fields::set_list(object, reference, "spec.rules", rules)?;
        ledger::record(object, reference, MANAGED_RULES, &rollout, record)?;
        extras.record(object, reference, routes)?;
        let is_in_progress = routes.canary_weight > 0;
        label::write(object, reference, &rollout, self.config()?.label(), is_in_progress)
    }

    /// The managed routes that a route is to have.
    fn wanted<'r>(
        &self,
        target: &Target,
        reference: &ObjectRef,
        routes: &'r Routes,
    ) -> Vec<&'r ManagedRoute> {
        let mut wanted = routes.wanted();
        wanted.retain(|route| {
            target.has_managed && (matches!(route, ManagedRoute::Header(_)) || reference.kind != GRPC_ROUTE)
        });
        wanted
    }

    /// In a route that has no managed ones, only what is on record can be left from before.
    fn ownership<'a>(
        &'a self,
        target: &Target,
        recorded: &[String],
        wanted: &[&'a ManagedRoute],
    ) -> Ownership<'a> {
        let declared = if target.has_managed { self.scope.managed_names.as_slice() } else { &[] };
        Ownership::new(declared, recorded, wanted)
    }

    /// The kinds of routes that may have managed ones.
    fn with_managed(&self) -> BTreeSet<&'static str> {
        let kinds = self.config.as_ref().map(Config::kinds).unwrap_or_default();
        let has_any = |kind: &&config::OfKind| kind.named.iter().any(|target| target.has_managed);
        kinds.iter().filter(has_any).map(|kind| kind.kind.kind).collect()
    }
}

impl TrafficRouter for GatewayRouter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let named = self.config.as_ref().map(Config::kinds).unwrap_or_default();
        let namespace = self.config.as_ref().map(|config| config.namespace(&self.scope)).unwrap_or_default();
        let of_kind = |of_kind: config::OfKind| {
            let kind = of_kind.kind;
            of_kind.named.into_iter().map(move |target| ObjectRef {
                kind,
                namespace: namespace.into(),
                name: target.name,
            })
        };
        named.into_iter().flat_map(of_kind).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn selects(&self) -> Vec<Selection> {
        let Ok(config) = &self.config else { return Vec::new() };
        let namespace = config.namespace(&self.scope);
        let of_kind = |of_kind: config::OfKind| {
            let by = By::Labels(of_kind.selector?);
            Some(Selection { kind: of_kind.kind, namespace: namespace.into(), by })
        };
        config.kinds().into_iter().filter_map(of_kind).collect()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let (mut weights, mut managed) = (Vec::new(), BTreeSet::new());
        for (target, reference) in self.targets(observed)? {
            let object = fields::object(observed, &reference)?;
            let rollout = self.recorded_as(&reference);
            let extras = Extras::of(object, &reference, &rollout)?;
            let names = self.names(ping_pong, &[])?;
            let view = View { names, namespace: &self.scope.namespace, extras: &extras };
            let recorded = ledger::names(object, &reference, MANAGED_RULES, &rollout)?;
            let ownership = self.ownership(&target, &recorded, &[]);
            let rules = fields::list(object, &reference, "spec.rules")?;
            for at in self.bases(rules, (&target, &reference), &view, &ownership)? {
                weights.push(view.weight(&rules[at], self.scope.max_weight));
            }
            managed.extend(rules.iter().filter_map(|rule| ownership.owner(rule, &view)).map(str::to_owned));
        }
        Ok(Found { weight: shares::agreed(weights), managed, subsets: None })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        self.config()?;
        if let Some(lost) = routes.wanted().into_iter().find(|route| !self.carries(route)) {
            let (step, kinds) = match lost {
                ManagedRoute::Header(_) => ("setHeaderRoute", "an HTTPRoute or a GRPCRoute"),
                ManagedRoute::Mirror(_) => ("setMirrorRoute", "an HTTPRoute"),
            };
            let problem = format!(
                "{step} {} needs {kinds} with useHeaderRoutes: true: set it at one of the routes",
                lost.name()
            );
            return Err(self.scope.unfit(&self.field, problem));
        }
        let mut edited: BTreeMap<ObjectRef, Value> = BTreeMap::new();
        for (target, reference) in self.targets(observed)? {
            let mut object = match edited.remove(&reference) {
                // Named twice, each time with another rule.
                Some(object) => object,
                None => fields::object(observed, &reference)?.clone(),
            };
            self.edit(&mut object, (&target, &reference), routes)?;
            edited.insert(reference, object);
        }
        edited.retain(|reference, object| observed.get(reference) != Some(object));
        Ok(edited.into_iter().map(|(reference, object)| (reference, Edit::Put(object))).collect())
    }

    fn carries(&self, route: &ManagedRoute) -> bool {
        let kinds = self.with_managed();
        match route {
            ManagedRoute::Header(_) => !kinds.is_empty(),
            ManagedRoute::Mirror(_) => kinds.contains(HTTP_ROUTE.kind),
        }
    }

    fn verdict(&self, observed: &Objects, _: &Routes) -> Verdict {
        let targets = self.targets(observed).unwrap_or_default();
        let of_route = |(_, reference): &(Target, ObjectRef)| {
            observed.get(reference).map_or(Verdict::Unknown, |object| status::verdict(object, reference))
        };
        Verdict::all(targets.iter().map(of_route))
    }
}
