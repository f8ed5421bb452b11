//! Which routes of a VirtualService are the Rollout's.
//!
//! Those that the spec names. If it names none: the only HTTP route beside managed ones, and TLS and TCP
//! routes that lead to the Rollout's destinations. Argo Rollouts fails when a TLS or TCP route of a shared
//! VirtualService leads elsewhere; here such a route is somebody else's.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_api::traffic_routing::IstioVirtualService;

use super::destinations::Roles;
use crate::{ObjectRef, TrafficError, fields};

/// Indices of the routes that are the Rollout's, by protocol.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) http: Vec<usize>,
    tls: Vec<usize>,
    tcp: Vec<usize>,
}

impl Selected {
    /// All of them, with the field of `spec` that they are in.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
        let protocols = [("http", &self.http), ("tls", &self.tls), ("tcp", &self.tcp)];
        let all: Vec<_> = protocols
            .into_iter()
            .flat_map(|(protocol, routes)| routes.iter().map(move |at| (protocol, *at)))
            .collect();
        all.into_iter()
    }
}

/// Picks the routes that are the Rollout's; each has both its destinations.
pub(super) fn select(
    object: &Value,
    reference: &ObjectRef,
    target: &IstioVirtualService,
    roles: &Roles,
    managed: &BTreeSet<&str>,
) -> Result<Selected, TrafficError> {
    let tls = fields::list(object, reference, "spec.tls")?;
    let tcp = fields::list(object, reference, "spec.tcp")?;
    let unfit = |field: &str, problem: String| TrafficError::unfit(reference, field, problem);

    let mut selected = Selected::default();
    if target.tls_routes.is_empty() {
        selected.tls = unnamed(tls, roles).map_err(|problem| unfit("spec.tls", problem))?;
    }
    for wanted in &target.tls_routes {
        let sni_hosts: BTreeSet<&str> = wanted.sni_hosts.iter().map(String::as_str).collect();
        let is_meant = |route: &Value| {
            (wanted.port == 0 || port(route) == Some(wanted.port))
                && (sni_hosts.is_empty() || sni_hosts_of(route) == sni_hosts)
        };
        let found = positions(tls, is_meant);
        if found.is_empty() {
            let problem = format!(
                "no TLS route has port {} and SNI hosts {:?} in all its matches",
                wanted.port, wanted.sni_hosts
            );
            return Err(unfit("spec.tls", problem));
        }
        selected.tls.extend(found);
    }
    if target.tcp_routes.is_empty() {
        selected.tcp = unnamed(tcp, roles).map_err(|problem| unfit("spec.tcp", problem))?;
    }
    for wanted in &target.tcp_routes {
        let found = positions(tcp, |route| wanted.port == 0 || port(route) == Some(wanted.port));
        if found.is_empty() {
            let problem = format!("no TCP route has port {} in all its matches", wanted.port);
            return Err(unfit("spec.tcp", problem));
        }
        selected.tcp.extend(found);
    }
    let is_served = !selected.tls.is_empty() || !selected.tcp.is_empty();
    selected.http = http(object, reference, target, roles, managed, is_served)?;
    for routes in [&mut selected.http, &mut selected.tls, &mut selected.tcp] {
        routes.sort_unstable();
        routes.dedup();
    }
    for (protocol, at) in selected.all() {
        let route = fields::list(object, reference, &format!("spec.{protocol}"))?.get(at);
        if let Some(missing) = route.and_then(|route| roles.missing_in(route)) {
            return Err(unfit(&format!("spec.{protocol}[{at}].route"), missing));
        }
    }
    Ok(selected)
}

fn http(
    object: &Value,
    reference: &ObjectRef,
    target: &IstioVirtualService,
    roles: &Roles,
    managed: &BTreeSet<&str>,
    is_served: bool,
) -> Result<Vec<usize>, TrafficError> {
    let list = fields::list(object, reference, "spec.http")?;
    let unfit = |problem: String| TrafficError::unfit(reference, "spec.http", problem);
    let is_managed = |route: &Value| managed.contains(fields::text(route, "name"));
    let mut selected = Vec::new();
    for name in &target.routes {
        let found = positions(list, |route| !is_managed(route) && fields::text(route, "name") == name);
        if found.is_empty() {
            return Err(unfit(format!("HTTP Route '{name}' is not found in the defined Virtual Service.")));
        }
        selected.extend(found);
    }
    if !target.routes.is_empty() {
        return Ok(selected);
    }
    let users = positions(list, |route| !is_managed(route));
    let is_elsewhere = !users.iter().any(|at| roles.are_in(&list[*at]));
    match users[..] {
        _ if is_served && is_elsewhere => Ok(Vec::new()),
        [only] => Ok(vec![only]),
        _ => Err(unfit(
            "spec.http[] should be set in VirtualService and it must have exactly one route when omitting \
             spec.strategy.canary.trafficRouting.istio.virtualService.routes"
                .into(),
        )),
    }
}

/// The route that is meant where the spec names none: the only one that leads to our destinations.
fn unnamed(list: &[Value], roles: &Roles) -> Result<Vec<usize>, String> {
    let found = positions(list, |route| roles.are_in(route));
    if found.len() > 1 {
        return Err(format!(
            "{} routes lead to the Rollout's Services: name those to write in its spec",
            found.len()
        ));
    }
    Ok(found)
}

fn positions(list: &[Value], is_meant: impl Fn(&Value) -> bool) -> Vec<usize> {
    (0..list.len()).filter(|at| is_meant(&list[*at])).collect()
}

fn matches(route: &Value) -> impl Iterator<Item = &Value> {
    route.get("match").and_then(Value::as_array).into_iter().flatten()
}

/// The port that all matches of a route ask for.
fn port(route: &Value) -> Option<i64> {
    let mut ports = matches(route).map(|matched| matched.get("port").and_then(Value::as_i64));
    let first = ports.next()??;
    ports.all(|port| port == Some(first)).then_some(first)
}

/// The SNI hosts that the matches of a route ask for.
fn sni_hosts_of(route: &Value) -> BTreeSet<&str> {
    let hosts =
        matches(route).filter_map(|matched| matched.get("sniHosts").and_then(Value::as_array)).flatten();
    hosts.filter_map(Value::as_str).collect()
}
