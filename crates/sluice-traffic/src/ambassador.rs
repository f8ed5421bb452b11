//! Ambassador, now Emissary: a second Mapping beside each one of the stable Service says the canary's share.
//!
//! It is made as Argo Rollouts makes it, and owned by the Rollout besides, so that it goes with it. At
//! weight 0 it goes at once: what is left then is the Mapping that everything goes by anyway.

use serde_json::{Value, json};
use sluice_api::traffic_routing::AmbassadorRouting;

use crate::owned::{self, Owner};
use crate::weights::PERCENT;
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, fields, shares,
};

/// Mappings.
pub const MAPPING: ObjectKind = ObjectKind {
    group: "getambassador.io",
    versions: &["v3alpha1", "v2", "v1"],
    kind: "Mapping",
    plural: "mappings",
};

/// Mappings of the group that previews of Emissary had.
pub const AMBASSADOR_MAPPING: ObjectKind = ObjectKind {
    group: "x.getambassador.io",
    versions: &["v3alpha1"],
    kind: "AmbassadorMapping",
    plural: "ambassadormappings",
};

/// Splits traffic by canary Mappings.
#[derive(Clone, Debug)]
pub struct AmbassadorRouter {
    routing: AmbassadorRouting,
    scope: Scope,
}

/// A Mapping of the stable Service, and where the canary's is.
struct Pair<'a> {
    base: &'a Value,
    base_reference: ObjectRef,
    canary_reference: ObjectRef,
    canary: Option<&'a Value>,
}

impl AmbassadorRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &AmbassadorRouting, scope: &Scope) -> AmbassadorRouter {
        AmbassadorRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn reference(&self, kind: ObjectKind, name: &str) -> ObjectRef {
        ObjectRef { kind, namespace: self.scope.namespace.clone(), name: name.into() }
    }

    fn pairs<'a>(&self, observed: &'a Objects) -> Result<Vec<Pair<'a>>, TrafficError> {
        if self.routing.mappings.is_empty() {
            let field = "spec.strategy.canary.trafficRouting.ambassador.mappings";
            return Err(self.scope.unfit(field, "must provide at least one mapping"));
        }
        let mut pairs = Vec::new();
        for name in &self.routing.mappings {
            let in_group = [MAPPING, AMBASSADOR_MAPPING].map(|kind| self.reference(kind, name));
            let found = in_group.iter().find(|reference| observed.contains_key(reference));
            let base_reference = found.unwrap_or(&in_group[0]).clone();
            let base = fields::object(observed, &base_reference)?;
            if base.pointer("/spec/weight").is_some_and(|weight| !weight.is_null()) {
                let problem = format!("Ambassador mapping \"{name}\" can not define weight: take it out");
                return Err(TrafficError::unfit(&base_reference, "spec.weight", problem));
            }
            let canary_reference = self.reference(base_reference.kind, &owned::canary_name(name));
            let canary = observed.get(&canary_reference);
            if let Some(canary) = canary {
                self.check_canary(canary, &canary_reference)?;
            }
            pairs.push(Pair { base, base_reference, canary_reference, canary });
        }
        Ok(pairs)
    }

    /// A canary Mapping is ours, or was left by Argo Rollouts, which makes it nobody's.
    fn check_canary(&self, object: &Value, reference: &ObjectRef) -> Result<(), TrafficError> {
        let (_, canary) = self.scope.services(None).both(&self.scope)?;
        let is_led_to =
            object.pointer("/spec/service").and_then(Value::as_str).and_then(service) == Some(canary);
        match owned::owner(object, reference, &self.scope)? {
            Owner::Ours => Ok(()),
            Owner::Nobody if is_led_to => Ok(()),
            Owner::Nobody | Owner::Another => {
                let problem = "is somebody else's, and the canary's Mapping needs its name: give it another";
                Err(TrafficError::unfit(reference, "metadata.ownerReferences", problem))
            }
        }
    }

    fn created(&self, pair: &Pair, weight: i64) -> Result<Value, TrafficError> {
        let mut spec = pair.base.get("spec").cloned().unwrap_or_default();
        spec["service"] = self.canary_service(pair)?.into();
        spec["weight"] = weight.into();
        let field = |name| pair.base.get(name).cloned().unwrap_or_default();
        Ok(json!({
            "apiVersion": field("apiVersion"),
            "kind": field("kind"),
            "metadata": owned::metadata(&pair.canary_reference, &self.scope),
            "spec": spec,
        }))
    }

    /// `spec.service` of the base, with the canary's Service in it.
    fn canary_service(&self, pair: &Pair) -> Result<String, TrafficError> {
        let (stable, canary) = self.scope.services(None).both(&self.scope)?;
        let text = pair.base.pointer("/spec/service").and_then(Value::as_str).unwrap_or_default();
        if service(text) != Some(stable) {
            let problem = format!("leads to {text:?}: let it lead to {stable}");
            return Err(TrafficError::unfit(&pair.base_reference, "spec.service", problem));
        }
        let scheme = text.find("://").map_or(0, |at| at + "://".len());
        Ok(format!("{}{canary}{}", &text[..scheme], &text[scheme + stable.len()..]))
    }
}

/// The Service in a text like `https://web.prod:80`.
fn service(text: &str) -> Option<&str> {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    host.split(['.', ':', '/']).next().filter(|name| !name.is_empty())
}

impl TrafficRouter for AmbassadorRouter {
    fn name(&self) -> &'static str {
        "ambassador"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let mut reads = Vec::new();
        for name in &self.routing.mappings {
            for kind in [MAPPING, AMBASSADOR_MAPPING] {
                reads.push(self.reference(kind, name));
                reads.push(self.reference(kind, &owned::canary_name(name)));
            }
        }
        reads
    }

    fn can_do_without(&self, _: ObjectKind) -> bool {
        true
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let weight = |pair: &Pair| match pair.canary {
            None => Some(0),
            Some(canary) => {
                let part = canary.pointer("/spec/weight").and_then(Value::as_i64)?;
                shares::weight_of(part, PERCENT, self.scope.max_weight)
            }
        };
        let pairs = self.pairs(observed)?;
        Ok(Found { weight: shares::agreed(pairs.iter().map(weight)), ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let weight = shares::two(routes, self.scope.max_weight, PERCENT).canary;
        let mut edits = Edits::new();
        for pair in self.pairs(observed)? {
            let service = self.canary_service(&pair)?;
            let edit = match pair.canary {
                None if weight == 0 => continue,
                None => Edit::Put(self.created(&pair, weight)?),
                Some(_) if weight == 0 => Edit::Delete,
                Some(canary) => {
                    let mut edited = canary.clone();
                    let spec = edited.as_object_mut().and_then(|object| fields::filled(object, "spec"));
                    let spec = spec.ok_or_else(|| {
                        TrafficError::unfit(&pair.canary_reference, "spec", "must be an object")
                    })?;
                    spec.insert("service".into(), service.into());
                    spec.insert("weight".into(), weight.into());
                    if edited == *canary {
                        continue;
                    }
                    Edit::Put(edited)
                }
            };
            edits.insert(pair.canary_reference, edit);
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        for (text, expected) in [
            ("web", Some("web")),
            ("web:80", Some("web")),
            ("web.prod:80", Some("web")),
            ("https://web.prod.svc", Some("web")),
            ("", None),
            ("://", None),
        ] {
            assert_eq!(service(text), expected, "{text}");
        }
    }
}
