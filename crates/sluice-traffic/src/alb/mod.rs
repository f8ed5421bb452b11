//! AWS load balancer controller: an annotation of the Ingress says the split as JSON.
//!
//! Writes what Argo Rollouts writes (`rollout/trafficrouting/alb`). What the load balancer really does is
//! for somebody who may ask AWS.

mod action;
mod header;

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_api::keys::{ALB_ANNOTATION_PREFIX, MANAGED_ALB_ACTIONS, MANAGED_ALB_ANNOTATIONS};
use sluice_api::traffic_routing::AlbRouting;

use crate::nginx::INGRESS;
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectRef, Objects, PingPong, Routes, Scope, Services, TrafficError,
    TrafficRouter, fields, ledger, shares,
};

const PERCENT: i64 = 100;
const LONGEST_STICKINESS_SECONDS: i64 = 604_800;

/// Splits traffic by forward actions in annotations.
#[derive(Clone, Debug)]
pub struct AlbRouter {
    routing: AlbRouting,
    scope: Scope,
}

/// What is to be written into each Ingress.
#[derive(Debug)]
struct Desired<'a> {
    root: &'a str,
    /// Annotations with their JSON, in the order in which they are put on record.
    annotations: Vec<(String, String)>,
    /// The header routes that are to be there, the one with precedence first.
    header_routes: Vec<&'a str>,
}

impl AlbRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &AlbRouting, scope: &Scope) -> AlbRouter {
        AlbRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn ingresses(&self) -> Result<BTreeSet<ObjectRef>, TrafficError> {
        let several = self.routing.ingresses.as_deref().unwrap_or_default();
        let one = Some(&self.routing.ingress).filter(|name| !name.is_empty());
        let problem = match (one, several) {
            (Some(_), [_, ..]) => "Both are configured.",
            (None, []) => "Neither are configured.",
            (one, several) => {
                let namespace = &self.scope.namespace;
                let names = one.into_iter().chain(several);
                let reference = |name: &String| ObjectRef {
                    kind: INGRESS,
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                return Ok(names.map(reference).collect());
            }
        };
        Err(self.unfit(format!("Either Ingress or Ingresses must be configured. {problem}")))
    }

    fn unfit(&self, problem: impl Into<String>) -> TrafficError {
        self.scope.unfit("spec.strategy.canary.trafficRouting.alb", problem)
    }

    /// Stable and canary Service. Those that take turns win here.
    fn services<'a>(&'a self, ping_pong: Option<&'a PingPong>) -> Result<(&'a str, &'a str), TrafficError> {
        let services = ping_pong.map_or_else(|| self.scope.services(None), Services::taking_turns);
        services.both(&self.scope)
    }

    fn root<'a>(&'a self, ping_pong: Option<&PingPong>) -> Result<&'a str, TrafficError> {
        if !self.routing.root_service.is_empty() {
            return Ok(&self.routing.root_service);
        }
        if ping_pong.is_some() {
            let problem =
                "Root service field is required for the configuration with ALB and ping-pong feature enabled";
            return Err(self.unfit(problem));
        }
        Ok(self.services(None)?.0)
    }

    fn key(&self, part: &str, name: &str) -> String {
        let prefix = match self.routing.annotation_prefix.as_str() {
            "" => ALB_ANNOTATION_PREFIX,
            prefix => prefix,
        };
        format!("{prefix}/{part}.{name}")
    }

    fn forward(&self, targets: &[(&str, i64)]) -> Result<String, TrafficError> {
        let stickiness = self.routing.stickiness_config.as_ref().filter(|config| config.enabled);
        let seconds = stickiness.map_or(1, |config| config.duration_seconds);
        if !(1..=LONGEST_STICKINESS_SECONDS).contains(&seconds) {
            let problem =
                "TargetGroupStickinessConfig's duration must be between 1 and 604800 seconds (7 days)!";
            return Err(self.unfit(problem));
        }
        Ok(action::forward(targets, self.routing.service_port, stickiness))
    }

    fn desired<'a>(&'a self, routes: &'a Routes) -> Result<Desired<'a>, TrafficError> {
        let ping_pong = routes.ping_pong.as_ref();
        let (stable, canary) = self.services(ping_pong)?;
        let root = self.root(ping_pong)?;
        let parts = shares::divide(routes, self.scope.max_weight, PERCENT);
        let mut targets = vec![(canary, parts.canary)];
        targets.extend(routes.extra.iter().zip(parts.extra).map(|(extra, part)| (&*extra.service, part)));
        targets.push((stable, parts.stable));

        let mut annotations = vec![(self.key("actions", root), self.forward(&targets)?)];
        let mut header_routes = Vec::new();
        for route in routes.wanted() {
            let ManagedRoute::Header(route) = route else { continue };
            if route.name == root {
                return Err(self.unfit(format!(
                    "managed route {root} has the name of the root Service: give it another"
                )));
            }
            annotations.push((self.key("actions", &route.name), self.forward(&[(canary, PERCENT)])?));
            let conditions = action::conditions(&header::headers(&self.scope, route)?);
            annotations.push((self.key("conditions", &route.name), conditions));
            header_routes.push(route.name.as_str());
        }
        Ok(Desired { root, annotations, header_routes })
    }

    /// Names of header routes that are ours: those of the spec, and those on record with action and
    /// conditions, which a spec had before.
    fn ours<'a>(&'a self, recorded: &'a [String], desired: &Desired<'a>) -> BTreeSet<&'a str> {
        let conditions = self.key("conditions", "");
        let former = recorded.iter().filter_map(|key| key.strip_prefix(&conditions));
        let former = former.filter(|name| recorded.contains(&self.key("actions", name)));
        let named = self.scope.managed_names.iter().map(String::as_str);
        let all = former.chain(named).chain(desired.header_routes.iter().copied());
        all.filter(|name| *name != desired.root).collect()
    }

    fn edit(&self, object: &mut Value, reference: &ObjectRef, desired: &Desired) -> Result<(), TrafficError> {
        self.check_rules(object, reference, desired.root)?;
        let recorded = ledger::names(object, reference, MANAGED_ALB_ANNOTATIONS, &self.scope.rollout)?;
        let ours = self.ours(&recorded, desired);
        header::put(object, reference, desired.root, &desired.header_routes, &ours)?;

        let is_wanted = |key: &String| desired.annotations.iter().any(|(wanted, _)| wanted == key);
        let former: Vec<String> = ours
            .iter()
            .flat_map(|name| [self.key("actions", name), self.key("conditions", name)])
            .filter(|key| !is_wanted(key))
            .collect();
        for key in &former {
            fields::set_annotation(object, reference, key, None)?;
        }
        for (key, value) in &desired.annotations {
            if !fields::annotation(object, key).is_some_and(|found| action::same(found, value)) {
                fields::set_annotation(object, reference, key, Some(value.clone()))?;
            }
        }
        let mut keys: Vec<String> = recorded.iter().filter(|key| !former.contains(key)).cloned().collect();
        let wanted = desired.annotations.iter().map(|(key, _)| key);
        keys.extend(wanted.filter(|key| !recorded.contains(key)).cloned());
        ledger::record(object, reference, MANAGED_ALB_ANNOTATIONS, &self.scope.rollout, keys)?;
        fields::set_annotation(object, reference, MANAGED_ALB_ACTIONS, None)
    }

    fn check_rules(&self, object: &Value, reference: &ObjectRef, root: &str) -> Result<(), TrafficError> {
        let rules = fields::list(object, reference, "spec.rules")?;
        let mut paths =
            rules.iter().filter_map(|rule| rule.pointer("/http/paths").and_then(Value::as_array)).flatten();
        if paths.any(|path| header::service(path) == Some(root)) {
            return Ok(());
        }
        let problem = format!("ingress does not have service `{root}` in rules");
        Err(TrafficError::unfit(reference, "spec.rules", problem))
    }

    fn weight(&self, object: &Value, root: &str, (stable, canary): (&str, &str)) -> Option<i64> {
        let targets = action::targets(fields::annotation(object, &self.key("actions", root))?);
        if !targets.iter().any(|(service, _)| service == stable || service == canary) {
            return None;
        }
        let whole = targets.iter().map(|(_, weight)| weight).sum();
        let to_canary = targets.iter().filter(|(service, _)| service == canary);
        shares::weight_of(to_canary.map(|(_, weight)| weight).sum(), whole, self.scope.max_weight)
    }
}

impl TrafficRouter for AlbRouter {
    fn name(&self) -> &'static str {
        "alb"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        self.ingresses().unwrap_or_default().into_iter().collect()
    }

    fn read(&self, observed: &Objects, ping_pong: Option<&PingPong>) -> Result<Found, TrafficError> {
        let services = self.services(ping_pong)?;
        let root = self.root(ping_pong)?;
        let names = self.scope.managed_names.iter().map(String::as_str).collect();
        let (mut weights, mut managed) = (Vec::new(), BTreeSet::new());
        for reference in self.ingresses()? {
            let object = fields::object(observed, &reference)?;
            self.check_rules(object, &reference, root)?;
            weights.push(self.weight(object, root, services));
            managed.extend(header::present(object, &reference, &names)?);
        }
        Ok(Found { weight: shares::agreed(weights), managed, subsets: None })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let desired = self.desired(routes)?;
        let mut edits = Edits::new();
        for reference in self.ingresses()? {
            let object = fields::object(observed, &reference)?;
            let mut edited = object.clone();
            self.edit(&mut edited, &reference, &desired)?;
            if edited != *object {
                edits.insert(reference, Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, route: &ManagedRoute) -> bool {
        matches!(route, ManagedRoute::Header(_))
    }
}
