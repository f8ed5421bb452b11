//! Which destinations of a route are whose, and their weights.
//!
//! A destination of somebody else keeps its weight, and ours share what is left in the proportion that was
//! asked for: then stable and canary each carry the part of the Rollout's own traffic that their pods are
//! counted for, and all weights add up to 100, which old releases of Istio insist on. Subsets that the spec
//! names as additional are taken from stable alone, as Argo Rollouts does.

use serde_json::{Value, json};
use sluice_api::traffic_routing::IstioDestinationRule;

use crate::extras::Extras;
use crate::{Routes, Services, shares};

const PERCENT: i64 = 100;

/// What tells stable, canary and the rest apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles<'a> {
    pub(super) namespace: &'a str,
    /// The VirtualService is in another namespace, where a short host would mean another Service.
    pub(super) is_elsewhere: bool,
    pub(super) services: Services<'a>,
    pub(super) subsets: Option<&'a IstioDestinationRule>,
}

/// What a destination is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Canary,
    Stable,
    /// A subset that the spec says to leave alone.
    Additional,
    Other,
}

impl Roles<'_> {
    pub(super) fn role(&self, destination: &Value) -> Role {
        let host = |service: Option<&str>| service.is_some_and(|service| self.is_host(destination, service));
        let subset = subset(destination);
        let named = |name: &str| !name.is_empty() && name == subset;
        let rule =
            |name: fn(&IstioDestinationRule) -> &String| self.subsets.is_some_and(|rule| named(name(rule)));
        let additional = self.subsets.map(|rule| rule.additional_subset_names.as_slice()).unwrap_or_default();
        if host(self.services.canary) || rule(|rule| &rule.canary_subset_name) {
            Role::Canary
        } else if host(self.services.stable) || rule(|rule| &rule.stable_subset_name) {
            Role::Stable
        } else if additional.iter().any(|name| named(name)) {
            Role::Additional
        } else {
            Role::Other
        }
    }

    /// Whether a destination leads to a Service of the Rollout's namespace. A host without a namespace
    /// counts as that.
    fn is_host(&self, destination: &Value, service: &str) -> bool {
        let host = host(destination);
        let (name, rest) = host.split_once('.').unwrap_or((host, ""));
        let namespace = rest.split('.').next().unwrap_or_default();
        !service.is_empty() && name == service && (namespace.is_empty() || namespace == self.namespace)
    }

    /// Whether some destination of a route is stable's or the canary's.
    pub(super) fn are_in(&self, route: &Value) -> bool {
        destinations(route).iter().any(|found| matches!(self.role(found), Role::Canary | Role::Stable))
    }

    /// What is missing in a route, if anything.
    pub(super) fn missing_in(&self, route: &Value) -> Option<String> {
        let has = |role| destinations(route).iter().any(|found| self.role(found) == role);
        let missing = |name: &str, service: Option<&str>, subset: Option<&String>| match (subset, service) {
            (Some(subset), _) => format!("{name} DestinationRule subset '{subset}' not found in route"),
            (None, service) => format!("{name} Service '{}' not found in route", service.unwrap_or_default()),
        };
        if !has(Role::Canary) {
            let subset = self.subsets.map(|rule| &rule.canary_subset_name);
            Some(missing("Canary", self.services.canary, subset))
        } else if !has(Role::Stable) {
            let subset = self.subsets.map(|rule| &rule.stable_subset_name);
            Some(missing("Stable", self.services.stable, subset))
        } else {
            None
        }
    }
}

fn is_extra(destination: &Value, extras: &Extras, roles: &Roles) -> bool {
    let name = host(destination).split('.').next().unwrap_or_default();
    extras.know(name) && roles.is_host(destination, name)
}

/// The destinations of a route with their weights.
fn destinations(route: &Value) -> &[Value] {
    route.get("route").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn host(destination: &Value) -> &str {
    destination.pointer("/destination/host").and_then(Value::as_str).unwrap_or_default()
}

fn subset(destination: &Value) -> &str {
    destination.pointer("/destination/subset").and_then(Value::as_str).unwrap_or_default()
}

/// The destination of the canary in a route.
pub(super) fn of_canary<'a>(route: &'a Value, roles: &Roles) -> Option<&'a Value> {
    destinations(route).iter().find(|found| roles.role(found) == Role::Canary)?.get("destination")
}

fn weight_at(destination: &Value) -> i64 {
    destination.get("weight").and_then(Value::as_i64).unwrap_or(0).clamp(0, 1_000_000)
}

/// Sets a weight. None is 0 already, and is left so.
fn set_weight(destination: &mut Value, weight: i64) {
    let is_number = destination.get("weight").is_none_or(Value::is_i64);
    if (weight_at(destination) != weight || !is_number)
        && let Some(destination) = destination.as_object_mut()
    {
        destination.insert("weight".into(), weight.into());
    }
}

/// Writes the weights into a route, and further destinations. Says what is wrong with it, if anything.
pub(super) fn write(
    route: &mut Value,
    roles: &Roles,
    extras: &Extras,
    routes: &Routes,
    max_weight: i64,
) -> Result<(), String> {
    if let Some(missing) = roles.missing_in(route) {
        return Err(missing);
    }
    let Some(list) = route.get_mut("route").and_then(Value::as_array_mut) else { return Ok(()) };
    list.retain(|found| {
        let is_wanted = routes.extra.iter().any(|extra| roles.is_host(found, &extra.service));
        is_wanted || roles.role(found) != Role::Other || !is_extra(found, extras, roles)
    });
    let role = |found: &Value| match roles.role(found) {
        Role::Other => match routes.extra.iter().position(|extra| roles.is_host(found, &extra.service)) {
            Some(at) => Part::Extra(at),
            None => Part::Kept(Role::Other),
        },
        Role::Canary => Part::Canary,
        Role::Stable => Part::Stable,
        Role::Additional => Part::Kept(Role::Additional),
    };
    let kept = |list: &[Value], kept| {
        list.iter().filter(|found| role(found) == Part::Kept(kept)).map(weight_at).sum::<i64>()
    };
    let (foreign, additional) = (kept(list, Role::Other), kept(list, Role::Additional));
    let whole = PERCENT - foreign;
    let needed = shares::wanted(routes, max_weight);
    if whole < needed {
        return Err(format!(
            "other destinations have weight {foreign}: leave at least {needed} of {PERCENT} for stable and canary"
        ));
    }
    let parts = shares::divide(routes, max_weight, whole);
    let total = |part| match part {
        Part::Canary => parts.canary,
        Part::Stable => (parts.stable - additional).max(0),
        Part::Extra(at) => parts.extra.get(at).copied().unwrap_or_default(),
        Part::Kept(_) => 0,
    };
    let all: Vec<Part> = list.iter().map(role).collect();
    for (at, found) in list.iter_mut().enumerate() {
        let part = all[at];
        if matches!(part, Part::Kept(_)) {
            continue;
        }
        // Several for the same part, with different ports say, have it in common.
        let before = all[..at].iter().filter(|other| **other == part).count() as i64;
        let count = all.iter().filter(|other| **other == part).count() as i64;
        let total = total(part);
        set_weight(found, total / count + i64::from(before < total % count));
    }
    let suffix = list.iter().find(|found| roles.role(found) == Role::Canary && roles.is_elsewhere);
    let suffix = suffix.and_then(|canary| host(canary).split_once('.')).map(|(_, suffix)| suffix.to_owned());
    let mut wanted: Vec<_> = routes.extra.iter().enumerate().collect();
    wanted.sort_by_key(|(_, extra)| &extra.service);
    for (at, extra) in wanted {
        let service = &extra.service;
        if service.contains('.')
            || service.is_empty()
            || list.iter().any(|found| roles.is_host(found, service))
        {
            continue;
        }
        let host = suffix.as_ref().map_or_else(|| service.clone(), |suffix| format!("{service}.{suffix}"));
        list.push(json!({"weight": total(Part::Extra(at)), "destination": {"host": host}}));
    }
    Ok(())
}

/// What of the split a destination carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Canary,
    Stable,
    Extra(usize),
    Kept(Role),
}

/// The canary's weight that a route says.
pub(super) fn weight(route: &Value, roles: &Roles, extras: &Extras, max_weight: i64) -> Option<i64> {
    let (mut canary, mut stable, mut further, mut additional, mut foreign) = (0, 0, 0, 0, 0);
    for found in destinations(route) {
        let sum = match roles.role(found) {
            Role::Canary => &mut canary,
            Role::Stable => &mut stable,
            Role::Additional => &mut additional,
            Role::Other if is_extra(found, extras, roles) => &mut further,
            Role::Other => &mut foreign,
        };
        *sum += weight_at(found);
    }
    let ours = canary + stable + further + additional;
    // Additional subsets are taken from stable alone; when that has nothing left, the sum is too large.
    let is_overdrawn = stable == 0 && additional > 0 && ours + foreign > PERCENT;
    let whole = if is_overdrawn { PERCENT - foreign } else { ours };
    shares::weight_of(canary, whole, max_weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let services = Services { stable: Some("shop-stable"), canary: Some("shop-canary") };
        let roles = Roles { namespace: "shop", is_elsewhere: false, services, subsets: None };
        for (host, expected) in [
            ("shop-stable", Role::Stable),
            ("shop-canary.shop", Role::Canary),
            ("shop-canary.shop.svc.cluster.local", Role::Canary),
            ("shop-canary.", Role::Canary),
            ("shop-canary.other", Role::Other),
            ("shop-canary.other.svc.cluster.local", Role::Other),
            ("shop-canary-2", Role::Other),
            ("", Role::Other),
        ] {
            assert_eq!(roles.role(&json!({"destination": {"host": host}})), expected, "{host}");
        }
        for shape in [json!(null), json!(3), json!({"destination": []}), json!({"destination": {"host": 3}})]
        {
            assert_eq!(roles.role(&shape), Role::Other, "{shape}");
        }
    }
}
