//! What a spec says about Gateway API routes: the keys of the plugin `argoproj-labs/gatewayAPI`, which mean
//! the same in the typed block.

use serde::Deserialize;
use serde_json::Value;
use sluice_api::LabelSelector;

use super::kinds::{GRPC_ROUTE, HTTP_ROUTE, LINKERD_HTTP_ROUTE, TCP_ROUTE, TLS_ROUTE};
use crate::{ObjectKind, Scope, TrafficError};

const IN_PROGRESS_KEY: &str = "rollouts.argoproj.io/gatewayapi-canary";
const IN_PROGRESS_VALUE: &str = "in-progress";

/// The block as it is written. Keys that are not known are left out, as the plugin does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    /// Where the routes are; the Rollout's namespace if empty.
    namespace: String,
    /// Whose HTTPRoutes: the Gateway API's if empty, or `policy.linkerd.io`.
    group: String,
    http_route: String,
    http_route_rule_name: String,
    http_routes: Vec<Named>,
    http_route_selector: Option<LabelSelector>,
    grpc_route: String,
    grpc_route_rule_name: String,
    grpc_routes: Vec<Named>,
    grpc_route_selector: Option<LabelSelector>,
    tcp_route: String,
    tcp_route_rule_name: String,
    tcp_routes: Vec<Named>,
    tcp_route_selector: Option<LabelSelector>,
    tls_route: String,
    tls_route_rule_name: String,
    tls_routes: Vec<Named>,
    tls_route_selector: Option<LabelSelector>,
    disable_in_progress_label: bool,
    in_progress_label_key: String,
    in_progress_label_value: String,
}

/// One route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    use_header_routes: bool,
    /// The only rule that is ours; all with both Services if empty.
    rule_name: String,
}

/// The routes of one kind.
#[derive(Debug)]
pub(super) struct OfKind {
    pub(super) kind: ObjectKind,
    pub(super) named: Vec<Target>,
    pub(super) selector: Option<LabelSelector>,
}

/// How one route is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    /// Header and mirror routes go here.
    pub(super) has_managed: bool,
    /// The only rule that is ours; all with both Services if empty.
    pub(super) rule: String,
}

/// The label on a route while the canary gets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

impl Config {
    /// Reads the block `field` of the spec.
    pub(super) fn read(block: &Value, field: &str, scope: &Scope) -> Result<Config, TrafficError> {
        let config: Config = serde_json::from_value(block.clone())
            .map_err(|error| scope.unfit(field, format!("cannot be read: {error}")))?;
        if ![HTTP_ROUTE.group, LINKERD_HTTP_ROUTE.group, ""].contains(&config.group.as_str()) {
            let known = format!("{} or {}", HTTP_ROUTE.group, LINKERD_HTTP_ROUTE.group);
            let problem = format!("{:?} has no HTTPRoutes that are known: use {known}", config.group);
            return Err(scope.unfit(&format!("{field}.group"), problem));
        }
        if config.kinds().iter().all(|kind| kind.named.is_empty() && kind.selector.is_none()) {
            let problem = "No routes configured. At least one of 'httpRoutes', 'grpcRoutes', 'tcpRoutes', \
                           'tlsRoutes', 'httpRoute', 'grpcRoute', 'tcpRoute' or 'tlsRoute' must be set";
            return Err(scope.unfit(field, problem));
        }
        for selector in config.kinds().iter().filter_map(|kind| kind.selector.as_ref()) {
            if selector.is_empty() {
                let problem = format!(
                    "a selector without labels takes every route of the namespace: name some in {field}"
                );
                return Err(scope.unfit(field, problem));
            }
        }
        Ok(config)
    }

    /// The namespace of the routes.
    pub(super) fn namespace<'a>(&'a self, scope: &'a Scope) -> &'a str {
        if self.namespace.is_empty() { &scope.namespace } else { &self.namespace }
    }

    /// The routes by kind, in the order in which they are served.
    pub(super) fn kinds(&self) -> Vec<OfKind> {
        let of_kind =
            |kind, one: &String, rule: &String, several: &[Named], selector: &Option<LabelSelector>| {
                let can_manage = kind != TCP_ROUTE && kind != TLS_ROUTE;
                let mut named = Vec::new();
                if !one.is_empty() {
                    named.push(Target { name: one.clone(), has_managed: can_manage, rule: rule.clone() });
                }
                named.extend(several.iter().map(|route| Target {
                    name: route.name.clone(),
                    has_managed: can_manage && route.use_header_routes,
                    rule: route.rule_name.clone(),
                }));
                OfKind { kind, named, selector: selector.clone() }
            };
        let http = if self.group == LINKERD_HTTP_ROUTE.group { LINKERD_HTTP_ROUTE } else { HTTP_ROUTE };
        vec![
            of_kind(
                http,
                &self.http_route,
                &self.http_route_rule_name,
                &self.http_routes,
                &self.http_route_selector,
            ),
            of_kind(
                GRPC_ROUTE,
                &self.grpc_route,
                &self.grpc_route_rule_name,
                &self.grpc_routes,
                &self.grpc_route_selector,
            ),
            of_kind(
                TCP_ROUTE,
                &self.tcp_route,
                &self.tcp_route_rule_name,
                &self.tcp_routes,
                &self.tcp_route_selector,
            ),
            of_kind(
                TLS_ROUTE,
                &self.tls_route,
                &self.tls_route_rule_name,
                &self.tls_routes,
                &self.tls_route_selector,
            ),
        ]
    }

    /// The label on routes while the canary gets something, unless it is switched off.
    pub(super) fn label(&self) -> Option<Label<'_>> {
        (!self.disable_in_progress_label).then(|| Label {
            key: non_empty(&self.in_progress_label_key, IN_PROGRESS_KEY),
            value: non_empty(&self.in_progress_label_value, IN_PROGRESS_VALUE),
        })
    }
}

fn non_empty<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
