//! Which backends of a rule are whose, and their weights.
//!
//! Weights of a rule are parts of their sum, so backends of others keep theirs. Only rules that hold both
//! Services are ours to weigh: in a rule that leads to one of them alone, a weight of 0 would mean errors.

use serde_json::Value;

use crate::extras::Extras;
use crate::weights::{Names, Part, Weights};
use crate::{Routes, fields, shares};

/// An absent weight is 1.
const WEIGHTS: Weights = Weights { absent: 1 };

/// The largest weight that a backend may have.
const LARGEST: i64 = 1_000_000;

/// What tells the backends of one route apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) names: Names<'a>,
    /// Of the Services.
    pub(super) namespace: &'a str,
    pub(super) extras: &'a Extras,
}

/// The backends of a rule.
pub(super) fn of(rule: &Value) -> &[Value] {
    rule.get("backendRefs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl View<'_> {
    /// What a backend is for. Group and kind do not matter: meshes write `core` or nothing, and a Service
    /// of several clusters has a kind of its own. One without a namespace is taken to be ours, as by the
    /// plugin.
    pub(super) fn part(&self, backend: &Value) -> Part {
        self.here(backend).map_or(Part::Other, |service| self.names.part(service))
    }

    fn found(&self, backend: &Value) -> Part {
        self.here(backend).map_or(Part::Other, |service| self.names.found(service, self.extras))
    }

    fn here<'b>(&self, backend: &'b Value) -> Option<&'b str> {
        let namespace = fields::text(backend, "namespace");
        (namespace.is_empty() || namespace == self.namespace).then(|| fields::text(backend, "name"))
    }

    /// Whether a rule holds both Services.
    pub(super) fn has_both(&self, rule: &Value) -> bool {
        let has = |part| of(rule).iter().any(|backend| self.part(backend) == part);
        has(Part::Stable) && has(Part::Canary)
    }

    /// The backend of the canary in a rule, without its weight.
    pub(super) fn canary(&self, rule: &Value) -> Option<Value> {
        let mut found = of(rule).iter().find(|backend| self.part(backend) == Part::Canary)?.clone();
        found.as_object_mut()?.remove("weight");
        Some(found)
    }

    /// The canary's weight that a rule says.
    pub(super) fn weight(&self, rule: &Value, max_weight: i64) -> Option<i64> {
        let (canary, whole) = WEIGHTS.read(of(rule), |backend| self.found(backend));
        shares::weight_of(canary, whole, max_weight)
    }

    /// Writes the weights into a rule, and further destinations.
    pub(super) fn write(&self, rule: &mut Value, routes: &Routes, max_weight: i64) {
        let canary = self.canary(rule);
        let Some(list) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) else { return };
        list.retain(|backend| self.part(backend) != Part::Other || self.found(backend) == Part::Other);
        let shares = shares::divide(routes, max_weight, max_weight.clamp(1, LARGEST));
        WEIGHTS.write(list, |backend| self.part(backend), &shares);
        for (at, extra) in routes.extra.iter().enumerate() {
            let is_there = list.iter().any(|backend| self.part(backend) == Part::Extra(at));
            let is_new = self.names.part(&extra.service) == Part::Extra(at);
            if let (Some(mut backend), true) = (canary.clone(), is_new && !is_there) {
                backend["name"] = extra.service.as_str().into();
                if let Some(backend) = backend.as_object_mut() {
                    backend.remove("filters");
                }
                backend["weight"] = shares.extra.get(at).copied().unwrap_or_default().into();
                list.push(backend);
            }
        }
    }
}
