//! NGINX ingress controller: a second Ingress beside each stable one says the canary's share.
//!
//! The canary Ingress is made as Argo Rollouts makes it (`rollout/trafficrouting/nginx`), and like there
//! it stays at weight 0 when nothing is under way. That of an Ingress which the spec does not name any more
//! goes. It carries neither managed routes nor further
//! destinations: its annotations have no place for them.

use serde_json::{Map, Value, json};
use sluice_api::keys::{INGRESS_CLASS, NGINX_ANNOTATION_PREFIX};
use sluice_api::traffic_routing::NginxRouting;

use crate::owned::{self, Owner};
use crate::{
    By, Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, Selection,
    TrafficError, TrafficRouter, fields, shares,
};

/// Ingresses, shared with other routers.
pub(crate) const INGRESS: ObjectKind =
    ObjectKind { group: "networking.k8s.io", versions: &["v1"], kind: "Ingress", plural: "ingresses" };

/// Splits traffic by canary Ingresses.
#[derive(Clone, Debug)]
pub struct NginxRouter {
    routing: Result<NginxRouting, TrafficError>,
    /// The block of the spec, for messages.
    field: String,
    /// Whether canary Ingresses of the Rollout that the block does not name are left from a former spec.
    is_alone: bool,
    scope: Scope,
}

impl NginxRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &NginxRouting, scope: &Scope) -> NginxRouter {
        let field = "spec.strategy.canary.trafficRouting.nginx".into();
        NginxRouter { routing: Ok(routing.clone()), field, is_alone: true, scope: scope.clone() }
    }

    /// The router for the same block under the key of a plugin.
    pub fn of_plugin(key: &str, block: &Value, scope: &Scope) -> NginxRouter {
        let field = format!("spec.strategy.canary.trafficRouting.{key}");
        let routing = serde_json::from_value(block.clone())
            .map_err(|error| scope.unfit(&field, format!("cannot be read: {error}")));
        NginxRouter { routing, field, is_alone: true, scope: scope.clone() }
    }

    /// The same beside another of the same kind, whose canary Ingresses are not left from a former spec.
    #[must_use]
    pub fn beside_another(self) -> NginxRouter {
        NginxRouter { is_alone: false, ..self }
    }

    fn routing(&self) -> Result<&NginxRouting, TrafficError> {
        self.routing.as_ref().map_err(Clone::clone)
    }

    /// Canary Ingresses of Ingresses that the spec named before. They still send a share to the canary.
    fn former<'a>(&self, observed: &'a Objects) -> Result<Vec<(&'a ObjectRef, &'a Value)>, TrafficError> {
        let named: Vec<ObjectRef> =
            self.stable_ingresses()?.iter().map(|stable| self.canary_ingress(stable)).collect();
        let owned = self.selects();
        let base = format!("{}-", self.scope.rollout);
        let is_former = |reference: &ObjectRef, object: &Value| {
            owned.iter().any(|selection| selection.takes(reference, object))
                && !named.contains(reference)
                && reference.name.starts_with(&base)
                && reference.name.ends_with("-canary")
                && fields::annotation(object, &self.key("canary")) == Some("true")
        };
        Ok(observed.iter().filter(|(reference, object)| is_former(reference, object)).collect())
    }

    fn stable_ingresses(&self) -> Result<Vec<ObjectRef>, TrafficError> {
        let routing = self.routing()?;
        let several = routing.stable_ingresses.as_deref().unwrap_or_default();
        let one = Some(&routing.stable_ingress).filter(|name| !name.is_empty());
        let problem = match (one, several) {
            (Some(_), [_, ..]) => "Both are configured.",
            (None, []) => "Neither are configured.",
            (one, several) => {
                return Ok(one.into_iter().chain(several).map(|name| self.ingress(name.clone())).collect());
            }
        };
        Err(self.scope.unfit(
            &self.field,
            format!("Either StableIngress or StableIngresses must be configured. {problem}"),
        ))
    }

    fn canary_ingress(&self, stable: &ObjectRef) -> ObjectRef {
        self.ingress(owned::canary_name(&format!("{}-{}", self.scope.rollout, stable.name)))
    }

    fn ingress(&self, name: String) -> ObjectRef {
        ObjectRef { kind: INGRESS, namespace: self.scope.namespace.clone(), name }
    }

    fn prefix(&self) -> &str {
        match self.routing.as_ref().map(|routing| routing.annotation_prefix.as_str()) {
            Err(_) | Ok("") => NGINX_ANNOTATION_PREFIX,
            Ok(prefix) => prefix,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix())
    }

    /// The annotations that are ours, the later ones with precedence.
    fn annotations(&self, routing: &NginxRouting, canary_weight: i64) -> Vec<(String, String)> {
        let prefixed = |key: &String| {
            if key.starts_with(self.prefix()) { key.clone() } else { self.key(key) }
        };
        let further = &routing.additional_ingress_annotations;
        let mut annotations: Vec<_> =
            further.iter().map(|(key, value)| (prefixed(key), value.clone())).collect();
        annotations.extend(routing.canary_ingress_annotations.clone());
        annotations.push((self.key("canary"), "true".into()));
        annotations.push((self.key("canary-weight"), canary_weight.to_string()));
        if self.scope.has_max_weight {
            annotations.push((self.key("canary-weight-total"), self.scope.max_weight.to_string()));
        }
        annotations
    }

    /// The canary Ingress as it is to be, beginning with what is there.
    fn edited(
        &self,
        stable: (&ObjectRef, &Value),
        canary: (&ObjectRef, Option<&Value>),
        weight: i64,
    ) -> Result<Value, TrafficError> {
        let (reference, observed) = canary;
        let mut object = match observed {
            Some(object) => object.clone(),
            None => self.created(stable.1, reference),
        };
        let rules = self.canary_rules(stable.0, stable.1)?;
        let unfit = |field: &str| TrafficError::unfit(reference, field, "must be an object");
        let spec = object.as_object_mut().and_then(|object| fields::filled(object, "spec"));
        let spec = spec.ok_or_else(|| unfit("spec"))?;
        spec.insert("rules".into(), rules.into());
        copy(stable.1.pointer("/spec/tls"), spec, "tls");
        let class_name = stable.1.pointer("/spec/ingressClassName").filter(|name| !name.is_null());
        let class = fields::annotation(stable.1, INGRESS_CLASS);
        if class.is_some() || class_name.is_some() {
            // With neither, a class that the cluster filled in as its default stays.
            copy(class_name, spec, "ingressClassName");
            fields::set_annotation(&mut object, reference, INGRESS_CLASS, class.map(str::to_owned))?;
        }
        for (key, value) in self.annotations(self.routing()?, weight) {
            fields::set_annotation(&mut object, reference, &key, Some(value))?;
        }
        Ok(object)
    }

    fn created(&self, stable: &Value, reference: &ObjectRef) -> Value {
        let version = match fields::text(stable, "apiVersion") {
            "" => "networking.k8s.io/v1",
            version => version,
        };
        json!({
            "apiVersion": version,
            "kind": "Ingress",
            "metadata": owned::metadata(reference, &self.scope),
        })
    }

    /// The rules that lead to the stable Service, leading to the canary's.
    fn canary_rules(&self, reference: &ObjectRef, stable: &Value) -> Result<Vec<Value>, TrafficError> {
        let (stable_service, canary_service) = self.scope.services(None).both(&self.scope)?;
        let mut rules = Vec::new();
        for rule in fields::list(stable, reference, "spec.rules")? {
            let mut rule = rule.clone();
            let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut);
            let names =
                paths.into_iter().flatten().filter_map(|path| path.pointer_mut("/backend/service/name"));
            let ours: Vec<_> = names.filter(|name| name.as_str() == Some(stable_service)).collect();
            if !ours.is_empty() {
                ours.into_iter().for_each(|name| *name = canary_service.into());
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            let name = &reference.name;
            let problem = format!("ingress `{name}` has no rules using service {stable_service} backend");
            return Err(TrafficError::unfit(reference, "spec.rules", problem));
        }
        Ok(rules)
    }

    fn check_owner(&self, reference: &ObjectRef, object: &Value) -> Result<(), TrafficError> {
        if owned::owner(object, reference, &self.scope)? == Owner::Ours {
            return Ok(());
        }
        let name = &reference.name;
        let problem = format!("canary ingress `{name}` controlled by different object");
        Err(TrafficError::unfit(reference, "metadata.ownerReferences", problem))
    }

    /// The weight that a canary Ingress says; one that is not there gives the canary nothing.
    fn weight(&self, canary: Option<&Value>) -> Option<i64> {
        let Some(object) = canary else { return Some(0) };
        let annotation = |name: &str| fields::annotation(object, &self.key(name));
        if annotation("canary") != Some("true") {
            return None;
        }
        let total = annotation("canary-weight-total").map_or(Some(100), |total| total.trim().parse().ok())?;
        let weight: i64 = annotation("canary-weight")?.trim().parse().ok()?;
        shares::weight_of(weight, total, self.scope.max_weight)
    }
}

impl TrafficRouter for NginxRouter {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let stable = self.stable_ingresses().unwrap_or_default();
        stable.into_iter().flat_map(|stable| [self.canary_ingress(&stable), stable]).collect()
    }

    fn selects(&self) -> Vec<Selection> {
        let (namespace, by) = (self.scope.namespace.clone(), By::Owner(self.scope.uid.clone()));
        let owned = Selection { kind: INGRESS, namespace, by };
        if self.is_alone && self.routing.is_ok() { vec![owned] } else { Vec::new() }
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let mut weights = Vec::new();
        for stable in self.stable_ingresses()? {
            fields::object(observed, &stable)?;
            let canary = self.canary_ingress(&stable);
            let object = observed.get(&canary);
            object.map_or(Ok(()), |object| self.check_owner(&canary, object))?;
            weights.push(self.weight(object));
        }
        let former = self.former(observed)?.into_iter().map(|(_, object)| self.weight(Some(object)));
        weights.extend(former.filter(|weight| *weight != Some(0)));
        Ok(Found { weight: shares::agreed(weights), ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let weight = routes.canary_weight.clamp(0, self.scope.max_weight.max(0));
        let former = self.former(observed)?.into_iter();
        let mut edits: Edits = former.map(|(reference, _)| (reference.clone(), Edit::Delete)).collect();
        for stable in self.stable_ingresses()? {
            let object = fields::object(observed, &stable)?;
            let reference = self.canary_ingress(&stable);
            let canary = observed.get(&reference);
            canary.map_or(Ok(()), |canary| self.check_owner(&reference, canary))?;
            let edited = self.edited((&stable, object), (&reference, canary), weight)?;
            if canary != Some(&edited) {
                edits.insert(reference, Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }

    fn needs_live_primary(&self) -> bool {
        true
    }
}

/// Makes a field like another, which may be absent.
fn copy(from: Option<&Value>, to: &mut Map<String, Value>, field: &str) {
    match from.filter(|value| !value.is_null()) {
        Some(value) => to.insert(field.into(), value.clone()),
        None => to.remove(field),
    };
}
