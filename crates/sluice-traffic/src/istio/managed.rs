//! Header and mirror routes of a VirtualService.
//!
//! They are a set by name, made anew from what the steps ask for at every look. What others put into such
//! a route, a timeout say, stays in it as long as the route stays.

use serde_json::{Map, Value, json};
use sluice_api::steps::{SetHeaderRoute, SetMirrorRoute, StringMatch};

use super::destinations::{self, Roles};
use crate::named::Fields;
use crate::{ManagedRoute, Scope, TrafficError};

/// What of a managed route is ours.
pub(super) const OURS: Fields =
    Fields { names: &["name", "match", "route", "mirror", "mirrorPercentage"], plain };

/// Where a managed route leads.
#[derive(Debug)]
pub(super) struct CanaryTarget {
    destination: Value,
}

impl CanaryTarget {
    /// The canary as the weighted route `base` knows it, under the host that Argo Rollouts would write:
    /// the DestinationRule's, or the Service's short name. In another namespace the short name would mean
    /// another Service.
    pub(super) fn new(base: &Value, roles: &Roles, rule_host: Option<&str>) -> Self {
        let known = destinations::of_canary(base, roles);
        let field = |name: &str| known.and_then(|known| known.get(name)).cloned();
        let written = match roles.subsets {
            Some(_) => rule_host,
            None => roles.services.canary,
        };
        let host =
            if roles.is_elsewhere { field("host") } else { written.map(Value::from).or(field("host")) };
        let subset = roles.subsets.map(|rule| Value::from(rule.canary_subset_name.as_str()));
        let fields = [("host", host), ("subset", subset), ("port", field("port"))];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        CanaryTarget { destination: Value::Object(fields.collect()) }
    }
}

/// The fields of one managed route that are ours.
pub(super) fn route(
    route: &ManagedRoute,
    base: &Value,
    to: &CanaryTarget,
    scope: &Scope,
) -> Result<Map<String, Value>, TrafficError> {
    let value = match route {
        ManagedRoute::Header(route) => header(route, to, scope)?,
        ManagedRoute::Mirror(route) => mirror(route, base, to, scope)?,
    };
    Ok(value.as_object().cloned().unwrap_or_default())
}

fn header(route: &SetHeaderRoute, to: &CanaryTarget, scope: &Scope) -> Result<Value, TrafficError> {
    let matched = route.r#match.iter().map(|header| {
        let field = format!("setHeaderRoute {}, header {}", route.name, header.header_name);
        let value = string_match(header.header_value.as_ref(), &field, scope)?;
        Ok(json!({"headers": {header.header_name.as_str(): value}}))
    });
    Ok(json!({
        "name": route.name,
        "match": matched.collect::<Result<Vec<_>, _>>()?,
        "route": [{"destination": to.destination, "weight": 100}],
    }))
}

fn mirror(
    route: &SetMirrorRoute,
    base: &Value,
    to: &CanaryTarget,
    scope: &Scope,
) -> Result<Value, TrafficError> {
    let matched = route.r#match.iter().map(|matched| {
        let field = format!("setMirrorRoute {}", route.name);
        let mut one = Map::new();
        for (name, value) in [("method", &matched.method), ("uri", &matched.path)] {
            if value.is_some() {
                one.insert(name.into(), string_match(value.as_ref(), &field, scope)?);
            }
        }
        let headers = matched.headers.iter();
        let headers = headers.map(|(name, value)| {
            Ok((name.clone(), string_match(Some(value), &format!("{field}, header {name}"), scope)?))
        });
        let headers = headers.collect::<Result<Map<_, _>, TrafficError>>()?;
        if !headers.is_empty() {
            one.insert("headers".into(), headers.into());
        }
        Ok(Value::Object(one))
    });
    Ok(json!({
        "name": route.name,
        "match": matched.collect::<Result<Vec<_>, TrafficError>>()?,
        "route": destinations_of(base),
        "mirror": to.destination,
        "mirrorPercentage": {"value": route.percentage.unwrap_or(100)},
    }))
}

fn string_match(value: Option<&StringMatch>, field: &str, scope: &Scope) -> Result<Value, TrafficError> {
    let none = StringMatch::default();
    let value = value.unwrap_or(&none);
    let ways = [("exact", &value.exact), ("prefix", &value.prefix), ("regex", &value.regex)];
    let mut given = ways.into_iter().filter(|(_, text)| !text.is_empty());
    match (given.next(), given.next()) {
        (Some((way, text)), None) => Ok(json!({way: text})),
        (None, _) => Err(scope.unfit(
            field,
            "StringMatch value missed, match value must have one of the following: exact, regex, prefix",
        )),
        (Some(_), Some(_)) => Err(scope.unfit(
            field,
            "StringMatch match value must have exactly one of the following: exact, regex, prefix",
        )),
    }
}

/// A copy of a route's destinations, with no more than Argo Rollouts copies.
fn destinations_of(base: &Value) -> Vec<Value> {
    let list = base.get("route").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let copy = |found: &Value| {
        let from = found.get("destination");
        let fields = ["host", "subset", "port"].into_iter();
        let fields = fields.filter_map(|name| Some((name.to_owned(), from?.get(name)?.clone())));
        let mut one = json!({"destination": fields.collect::<Map<_, _>>()});
        if let Some(weight) = found.get("weight").filter(|weight| weight.as_i64() != Some(0)) {
            one["weight"] = weight.clone();
        }
        one
    };
    list.iter().map(copy).collect()
}

/// The value without what says nothing: a weight of 0 is the same as none.
fn plain(value: &Value) -> Value {
    let mut plain = value.clone();
    for found in plain.as_array_mut().into_iter().flatten() {
        if found.get("weight").and_then(Value::as_i64) == Some(0)
            && let Some(found) = found.as_object_mut()
        {
            found.remove("weight");
        }
    }
    plain
}
