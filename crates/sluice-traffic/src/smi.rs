//! Service Mesh Interface, which Linkerd and Open Service Mesh read: a TrafficSplit of the Rollout's own.

use serde_json::{Value, json};
use sluice_api::traffic_routing::SmiRouting;

use crate::owned::{self, Owner};
use crate::weights::PERCENT;
use crate::{
    Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, fields, shares,
};

/// TrafficSplits.
pub const TRAFFIC_SPLIT: ObjectKind = ObjectKind {
    group: "split.smi-spec.io",
    versions: &["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"],
    kind: "TrafficSplit",
    plural: "trafficsplits",
};

/// The only version in which a weight is a quantity, which is a text.
const WITH_QUANTITIES: &str = "split.smi-spec.io/v1alpha1";

/// Splits traffic by a TrafficSplit.
#[derive(Clone, Debug)]
pub struct SmiRouter {
    routing: SmiRouting,
    scope: Scope,
}

impl SmiRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &SmiRouting, scope: &Scope) -> SmiRouter {
        SmiRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn split(&self) -> ObjectRef {
        let name = match self.routing.traffic_split_name.as_str() {
            "" => self.scope.rollout.clone(),
            name => name.to_owned(),
        };
        ObjectRef { kind: TRAFFIC_SPLIT, namespace: self.scope.namespace.clone(), name }
    }

    /// The TrafficSplit, if there is one.
    fn found<'a>(&self, observed: &'a Objects) -> Result<Option<&'a Value>, TrafficError> {
        let reference = self.split();
        if !observed.contains_key(&reference) {
            return Ok(None);
        }
        let object = fields::object(observed, &reference)?;
        if owned::owner(object, &reference, &self.scope)? == Owner::Ours {
            return Ok(Some(object));
        }
        let problem = format!(
            "Rollout does not own TrafficSplit `{}`: delete it, or give another name in trafficSplitName",
            reference.name
        );
        Err(TrafficError::unfit(&reference, "metadata.ownerReferences", problem))
    }

    fn backends(&self, routes: &Routes) -> Result<Vec<(String, i64)>, TrafficError> {
        let (stable, canary) = self.scope.services(None).both(&self.scope)?;
        let shares = shares::divide(routes, self.scope.max_weight, PERCENT);
        let mut backends = vec![(canary.to_owned(), shares.canary)];
        backends.extend(routes.extra.iter().map(|extra| extra.service.clone()).zip(shares.extra));
        backends.push((stable.to_owned(), shares.stable));
        Ok(backends)
    }

    fn root<'a>(&'a self, stable: &'a str) -> &'a str {
        if self.routing.root_service.is_empty() { stable } else { &self.routing.root_service }
    }
}

fn weight_of(backend: &Value) -> Option<i64> {
    let weight = backend.get("weight")?;
    weight.as_i64().or_else(|| weight.as_str()?.trim().parse().ok()).map(|weight| weight.clamp(0, 1_000_000))
}

/// Service and weight of each backend, whatever a weight is written as.
fn plain(backends: &[Value]) -> Vec<(String, Option<i64>)> {
    backends.iter().map(|backend| (fields::text(backend, "service").to_owned(), weight_of(backend))).collect()
}

fn written(backends: &[(String, i64)], api_version: &str) -> Value {
    let weight = |weight: i64| match api_version {
        WITH_QUANTITIES => json!(weight.to_string()),
        _ => json!(weight),
    };
    backends.iter().map(|(service, part)| json!({"service": service, "weight": weight(*part)})).collect()
}

impl TrafficRouter for SmiRouter {
    fn name(&self) -> &'static str {
        "smi"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        vec![self.split()]
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let (_, canary) = self.scope.services(None).both(&self.scope)?;
        // Without one, everything goes where the root Service leads.
        let Some(object) = self.found(observed)? else {
            return Ok(Found { weight: Some(0), ..Found::default() });
        };
        let backends = plain(fields::list(object, &self.split(), "spec.backends")?);
        let sum = |is_meant: &dyn Fn(&str) -> bool| {
            backends.iter().filter(|(service, _)| is_meant(service)).filter_map(|(_, weight)| *weight).sum()
        };
        let weight =
            shares::weight_of(sum(&|service| service == canary), sum(&|_| true), self.scope.max_weight);
        Ok(Found { weight, ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let reference = self.split();
        let backends = self.backends(routes)?;
        let (stable, _) = self.scope.services(None).both(&self.scope)?;
        let root = self.root(stable);
        let Some(object) = self.found(observed)? else {
            let version = format!("{}/{}", TRAFFIC_SPLIT.group, TRAFFIC_SPLIT.versions[0]);
            let object = json!({
                "apiVersion": version,
                "kind": TRAFFIC_SPLIT.kind,
                "metadata": owned::metadata(&reference, &self.scope),
                "spec": {"service": root, "backends": written(&backends, &version)},
            });
            return Ok([(reference, Edit::Put(object))].into());
        };
        let mut edited = object.clone();
        let spec = edited.as_object_mut().and_then(|object| fields::filled(object, "spec"));
        let spec = spec.ok_or_else(|| TrafficError::unfit(&reference, "spec", "must be an object"))?;
        if spec.get("service").and_then(Value::as_str) != Some(root) {
            spec.insert("service".into(), root.into());
        }
        let wanted = backends.iter().map(|(service, weight)| (service.clone(), Some(*weight)));
        if !wanted.eq(plain(fields::list(object, &reference, "spec.backends")?)) {
            spec.insert("backends".into(), written(&backends, fields::text(object, "apiVersion")));
        }
        Ok(if edited == *object { Edits::new() } else { [(reference, Edit::Put(edited))].into() })
    }

    fn in_version(&self, mut object: Value, api_version: &str) -> Value {
        let backends = object.pointer("/spec/backends").and_then(Value::as_array);
        let backends = plain(backends.map(Vec::as_slice).unwrap_or_default());
        let backends: Vec<_> =
            backends.into_iter().map(|(service, weight)| (service, weight.unwrap_or(0))).collect();
        object["apiVersion"] = api_version.into();
        if let Some(place) = object.pointer_mut("/spec/backends") {
            *place = written(&backends, api_version);
        }
        object
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }
}
