//! Kinds of routes. They differ in their group and in what a match may ask for; their rules are alike.

use crate::ObjectKind;

const GROUP: &str = "gateway.networking.k8s.io";

/// HTTPRoutes.
pub const HTTP_ROUTE: ObjectKind =
    ObjectKind { group: GROUP, versions: &["v1", "v1beta1"], kind: "HTTPRoute", plural: "httproutes" };

/// GRPCRoutes.
pub const GRPC_ROUTE: ObjectKind =
    ObjectKind { group: GROUP, versions: &["v1", "v1alpha2"], kind: "GRPCRoute", plural: "grpcroutes" };

/// TCPRoutes.
pub const TCP_ROUTE: ObjectKind =
    ObjectKind { group: GROUP, versions: &["v1", "v1alpha2"], kind: "TCPRoute", plural: "tcproutes" };

/// TLSRoutes.
pub const TLS_ROUTE: ObjectKind = ObjectKind {
    group: GROUP,
    versions: &["v1", "v1alpha3", "v1alpha2"],
    kind: "TLSRoute",
    plural: "tlsroutes",
};

/// HTTPRoutes of Linkerd's own group.
pub const LINKERD_HTTP_ROUTE: ObjectKind = ObjectKind {
    group: "policy.linkerd.io",
    versions: &["v1beta3", "v1beta2", "v1beta1"],
    kind: "HTTPRoute",
    plural: "httproutes",
};
