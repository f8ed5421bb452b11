//! Which router carries out which block of a spec.

use serde_json::Value;
use sluice_api::traffic_routing::{Router, TrafficRouting};

use crate::{
    Scope, TrafficRouter, alb::AlbRouter, ambassador::AmbassadorRouter, apisix::ApisixRouter,
    app_mesh::AppMeshRouter, contour::ContourRouter, gateway::GatewayRouter, gloo::GlooRouter,
    istio::IstioRouter, kuma::KumaRouter, nginx::NginxRouter, smi::SmiRouter, traefik::TraefikRouter,
};

/// Keys of the sample plugin, whose block is that of NGINX.
const SAMPLE_NGINX: &[&str] = &["argoproj/sample-nginx", "argoproj-labs/sample-nginx"];

/// A block of the spec that this build does not carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trafficRouting.{block} is not carried out by this build: use another router, or another build")]
pub struct Unsupported {
    /// The key of the block, as it stands in a manifest.
    pub block: String,
}

/// Makes the routers that the spec names, in the order in which they are served.
pub fn routers(routing: &TrafficRouting, scope: &Scope) -> Vec<Result<Box<dyn TrafficRouter>, Unsupported>> {
    // Two that look after canary Ingresses would remove each other's.
    let is_nginx = |router: &Router| match router {
        Router::Nginx(_) => true,
        Router::Plugin(key, _) => SAMPLE_NGINX.contains(key),
        _ => false,
    };
    let is_alone = routing.routers().iter().filter(|router| is_nginx(router)).count() < 2;
    let alone = |router: NginxRouter| if is_alone { router } else { router.beside_another() };
    let gateway = |name, block: &Value| -> Result<Box<dyn TrafficRouter>, Unsupported> {
        Ok(Box::new(GatewayRouter::new(name, name, block, scope)))
    };
    let router = |router| -> Result<Box<dyn TrafficRouter>, Unsupported> {
        match router {
            Router::Istio(istio) => Ok(Box::new(IstioRouter::new(istio, scope))),
            Router::Nginx(nginx) => Ok(Box::new(alone(NginxRouter::new(nginx, scope)))),
            Router::Alb(alb) => Ok(Box::new(AlbRouter::new(alb, scope))),
            Router::Smi(smi) => Ok(Box::new(SmiRouter::new(smi, scope))),
            Router::Ambassador(ambassador) => Ok(Box::new(AmbassadorRouter::new(ambassador, scope))),
            Router::AppMesh(app_mesh) => Ok(Box::new(AppMeshRouter::new(app_mesh, scope))),
            Router::Traefik(traefik) => Ok(Box::new(TraefikRouter::new(traefik, scope))),
            Router::Apisix(apisix) => Ok(Box::new(ApisixRouter::new(apisix, scope))),
            Router::GatewayApi(block) => gateway("gatewayAPI", &Value::Object(block.0.clone())),
            Router::Gloo(block) => {
                Ok(Box::new(GlooRouter::new("gloo", &Value::Object(block.0.clone()), scope)))
            }
            Router::Contour(block) => {
                Ok(Box::new(ContourRouter::new("contour", &Value::Object(block.0.clone()), scope)))
            }
            Router::Kong(block) => gateway("kong", &Value::Object(block.0.clone())),
            Router::Kuma(block) => {
                Ok(Box::new(KumaRouter::new("kuma", &Value::Object(block.0.clone()), scope)))
            }
            Router::Linkerd(block) => gateway("linkerd", &Value::Object(block.0.clone())),
            Router::Plugin(key, block) if SAMPLE_NGINX.contains(&key) => {
                let place = format!("plugins.{key}");
                Ok(Box::new(alone(NginxRouter::of_plugin(&place, &block.0, scope))))
            }
            Router::Plugin(name, block) => plugin(name, &block.0, scope),
        }
    };
    routing.routers().into_iter().map(router).collect()
}

/// The router that a plugin's key means. No plugin is ever run: those that are known are built in.
fn plugin(key: &str, block: &Value, scope: &Scope) -> Result<Box<dyn TrafficRouter>, Unsupported> {
    let place = format!("plugins.{key}");
    match key {
        "argoproj-labs/gatewayAPI" => Ok(Box::new(GatewayRouter::new("gatewayAPI", &place, block, scope))),
        "argoproj-labs/contour" => Ok(Box::new(ContourRouter::new(&place, block, scope))),
        "solo-io/glooedge" => Ok(Box::new(GlooRouter::new(&place, block, scope))),
        _ => Err(Unsupported { block: place }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_in_the_order_in_which_they_are_served() {
        let routing: TrafficRouting = serde_json::from_value(json!({
            "plugins": {"example/b": {}, "example/a": {}, "argoproj-labs/gatewayAPI": {"httpRoute": "web"}},
            "appMesh": {},
            "traefik": {"weightedTraefikServiceName": "web"},
            "alb": {"ingress": "web", "servicePort": 80},
            "nginx": {"stableIngress": "web"},
            "istio": {"virtualService": {"name": "web"}},
        }))
        .unwrap();
        let served: Vec<String> = routers(&routing, &Scope::default())
            .into_iter()
            .map(|router| router.map_or_else(|no| no.to_string(), |router| router.name().to_owned()))
            .collect();
        let no = |block| {
            format!(
                "trafficRouting.{block} is not carried out by this build: use another router, or another build"
            )
        };
        let expected = [
            "istio".into(),
            "nginx".into(),
            "alb".into(),
            "appMesh".into(),
            "traefik".into(),
            "gatewayAPI".into(),
            no("plugins.example/a"),
            no("plugins.example/b"),
        ];
        assert_eq!(served, expected);
    }
}
