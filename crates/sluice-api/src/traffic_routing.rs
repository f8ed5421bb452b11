//! Who splits the traffic, and how to reach it.
//!
//! It decides the wire form and which routers a block names, in the order in which they are served.
//! How a router writes a weight is not known here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{RawObject, RawValue, is_zero};

/// Who splits the traffic. Several routers may be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficRouting {
    /// Istio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio: Option<IstioRouting>,
    /// NGINX Ingress controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx: Option<NginxRouting>,
    /// AWS load balancer controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alb: Option<AlbRouting>,
    /// Service Mesh Interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smi: Option<SmiRouting>,
    /// Ambassador, now Emissary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador: Option<AmbassadorRouting>,
    /// AWS App Mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_mesh: Option<AppMeshRouting>,
    /// Traefik.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traefik: Option<TraefikRouting>,
    /// Apache APISIX.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apisix: Option<ApisixRouting>,
    /// Configuration by plugin name.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(with = "RawObject")]
    pub plugins: BTreeMap<String, RawValue>,
    /// Gateway API. Extension.
    #[serde(rename = "gatewayAPI", skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<RawObject>,
    /// Gloo. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gloo: Option<RawObject>,
    /// Contour. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contour: Option<RawObject>,
    /// Kong. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kong: Option<RawObject>,
    /// Kuma. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kuma: Option<RawObject>,
    /// Linkerd. Extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linkerd: Option<RawObject>,
    /// Routes that the controller may create; earlier ones take precedence.
    #[serde(skip_serializing_if = "is_zero")]
    pub managed_routes: Vec<ManagedRoute>,
    /// What all weights add up to. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_traffic_weight: Option<i32>,
}

/// One router that a block names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Router<'a> {
    /// `istio`.
    Istio(&'a IstioRouting),
    /// `nginx`.
    Nginx(&'a NginxRouting),
    /// `alb`.
    Alb(&'a AlbRouting),
    /// `smi`.
    Smi(&'a SmiRouting),
    /// `ambassador`.
    Ambassador(&'a AmbassadorRouting),
    /// `appMesh`.
    AppMesh(&'a AppMeshRouting),
    /// `traefik`.
    Traefik(&'a TraefikRouting),
    /// `apisix`.
    Apisix(&'a ApisixRouting),
    /// `gatewayAPI`.
    GatewayApi(&'a RawObject),
    /// `gloo`.
    Gloo(&'a RawObject),
    /// `contour`.
    Contour(&'a RawObject),
    /// `kong`.
    Kong(&'a RawObject),
    /// `kuma`.
    Kuma(&'a RawObject),
    /// `linkerd`.
    Linkerd(&'a RawObject),
    /// One entry of `plugins`: name and configuration.
    Plugin(&'a str, &'a RawValue),
}

impl TrafficRouting {
    /// Keys of all routers, as they stand in a manifest.
    pub const ROUTER_KEYS: &[&str] = &[
        "istio",
        "nginx",
        "alb",
        "smi",
        "ambassador",
        "appMesh",
        "traefik",
        "apisix",
        "gatewayAPI",
        "gloo",
        "contour",
        "kong",
        "kuma",
        "linkerd",
        "plugins",
    ];

    /// Returns the routers that are set, in the order in which they are served.
    pub fn routers(&self) -> Vec<Router<'_>> {
        let typed = [
            self.istio.as_ref().map(Router::Istio),
            self.nginx.as_ref().map(Router::Nginx),
            self.alb.as_ref().map(Router::Alb),
            self.smi.as_ref().map(Router::Smi),
            self.ambassador.as_ref().map(Router::Ambassador),
            self.app_mesh.as_ref().map(Router::AppMesh),
            self.traefik.as_ref().map(Router::Traefik),
            self.apisix.as_ref().map(Router::Apisix),
            self.gateway_api.as_ref().map(Router::GatewayApi),
            self.gloo.as_ref().map(Router::Gloo),
            self.contour.as_ref().map(Router::Contour),
            self.kong.as_ref().map(Router::Kong),
            self.kuma.as_ref().map(Router::Kuma),
            self.linkerd.as_ref().map(Router::Linkerd),
        ];
        let plugins = self.plugins.iter().map(|(name, config)| Router::Plugin(name, config));
        typed.into_iter().flatten().chain(plugins).collect()
    }
}

/// A route that the controller may create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct ManagedRoute {
    /// Name.
    pub name: String,
}

/// Istio. Exactly one of virtualService and virtualServices is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioRouting {
    /// One VirtualService.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_service: Option<IstioVirtualService>,
    /// DestinationRule whose subsets split the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<IstioDestinationRule>,
    /// Several VirtualServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_services: Option<Vec<IstioVirtualService>>,
}

/// One VirtualService and the routes to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct IstioVirtualService {
    /// Name, or name.namespace.
    pub name: String,
    /// Names of HTTP routes. May be left out when there is only one.
    #[serde(skip_serializing_if = "is_zero")]
    pub routes: Vec<String>,
    /// TLS routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub tls_routes: Vec<TlsRoute>,
    /// TCP routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub tcp_routes: Vec<TcpRoute>,
}

/// Picks a TLS route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsRoute {
    /// Port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: i64,
    /// Host names.
    #[serde(skip_serializing_if = "is_zero")]
    pub sni_hosts: Vec<String>,
}

/// Picks a TCP route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRoute {
    /// Port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: i64,
}

/// DestinationRule whose subsets split the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "canarySubsetName", "stableSubsetName"]))]
pub struct IstioDestinationRule {
    /// Name, in the Rollout's namespace.
    pub name: String,
    /// Subset of the canary.
    pub canary_subset_name: String,
    /// Subset of stable.
    pub stable_subset_name: String,
    /// Subsets that are left alone.
    #[serde(skip_serializing_if = "is_zero")]
    pub additional_subset_names: Vec<String>,
}

/// NGINX Ingress controller. Exactly one of stableIngress and stableIngresses is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NginxRouting {
    /// Prefix of annotations. Default nginx.ingress.kubernetes.io.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotation_prefix: String,
    /// Ingress of the stable Service.
    #[serde(skip_serializing_if = "is_zero")]
    pub stable_ingress: String,
    /// Further annotations for the canary Ingress; the prefix is put in front.
    #[serde(skip_serializing_if = "is_zero")]
    pub additional_ingress_annotations: BTreeMap<String, String>,
    /// Several Ingresses of the stable Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_ingresses: Option<Vec<String>>,
    /// Further annotations for the canary Ingress, with full keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub canary_ingress_annotations: BTreeMap<String, String>,
}

/// AWS load balancer controller. Exactly one of ingress and ingresses is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["servicePort"]))]
pub struct AlbRouting {
    /// Ingress.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress: String,
    /// Port in the forward action.
    pub service_port: i32,
    /// Service named in the Ingress rule. Default stableService.
    #[serde(skip_serializing_if = "is_zero")]
    pub root_service: String,
    /// Prefix of annotations. Default alb.ingress.kubernetes.io.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotation_prefix: String,
    /// Keeps a client with one target group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stickiness_config: Option<StickinessConfig>,
    /// Several Ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingresses: Option<Vec<String>>,
}

/// Keeps a client with one target group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["enabled", "durationSeconds"]))]
pub struct StickinessConfig {
    /// Turns it on.
    pub enabled: bool,
    /// For how long, 1 to 604800.
    pub duration_seconds: i64,
}

/// Service Mesh Interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SmiRouting {
    /// Service that clients use. Default stableService.
    #[serde(skip_serializing_if = "is_zero")]
    pub root_service: String,
    /// Name of the TrafficSplit. Default the Rollout's.
    #[serde(skip_serializing_if = "is_zero")]
    pub traffic_split_name: String,
}

/// Ambassador, now Emissary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["mappings"]))]
pub struct AmbassadorRouting {
    /// Mappings of the stable Service, without weights.
    pub mappings: Vec<String>,
}

/// AWS App Mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppMeshRouting {
    /// VirtualService. Needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_service: Option<AppMeshVirtualService>,
    /// VirtualNodes of both revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_node_group: Option<AppMeshVirtualNodeGroup>,
}

/// One App Mesh VirtualService and the routes to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct AppMeshVirtualService {
    /// Name.
    pub name: String,
    /// Routes. All when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub routes: Vec<String>,
}

/// VirtualNodes of both revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["canaryVirtualNodeRef", "stableVirtualNodeRef"]))]
pub struct AppMeshVirtualNodeGroup {
    /// Of the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
    /// Of stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
}

/// Names a VirtualNode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct AppMeshVirtualNodeRef {
    /// Name.
    pub name: String,
}

/// Traefik.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["weightedTraefikServiceName"]))]
pub struct TraefikRouting {
    /// TraefikService whose weights are written.
    pub weighted_traefik_service_name: String,
}

/// Apache APISIX.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApisixRouting {
    /// ApisixRoute to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<ApisixRoute>,
}

/// One ApisixRoute and the rules to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name"]))]
pub struct ApisixRoute {
    /// Name.
    pub name: String,
    /// Rules. All when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub rules: Vec<String>,
}
