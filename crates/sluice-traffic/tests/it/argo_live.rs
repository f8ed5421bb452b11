//! What Argo Rollouts really wrote: taking over costs no write.
//!
//! Router objects and the parts of a Rollout that name them, as a real API server returned them. The file
//! names say in which state each was.

use serde_json::Value;
use sluice_api::steps::SetHeaderRoute;
use sluice_traffic::{Edits, ManagedRoute, PingPong, Routes, Scope, Subsets};

use crate::{objects, router};

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("../fixtures/argo-live/", $name, ".json")))
    };
}

const FIXTURES: [(&str, &str); 10] = [
    fixture!("canary-alb-pingpong.1-paused-at-10"),
    fixture!("canary-alb-pingpong.2-promoted"),
    fixture!("canary-istio-header.1-header-route"),
    fixture!("canary-istio-header.2-paused-at-20"),
    fixture!("canary-istio-header.3-aborted-within-delay"),
    fixture!("canary-istio-subsets-dss.1-paused-at-40"),
    fixture!("canary-istio-subsets-dss.2-paused-at-80"),
    fixture!("canary-istio-subsets-dss.3-promoted-full"),
    fixture!("canary-nginx.1-paused-at-5"),
    fixture!("canary-nginx.2-promoted-old-within-delay"),
];

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn scope(rollout: &Value) -> Scope {
    let canary = &rollout["spec"]["strategy"]["canary"];
    let managed = canary["trafficRouting"]["managedRoutes"].as_array();
    let of = |field: &str| text(&rollout["metadata"][field]).expect("a Rollout that was stored");
    Scope {
        namespace: of("namespace"),
        rollout: of("name"),
        uid: of("uid"),
        stable_service: text(&canary["stableService"]),
        canary_service: text(&canary["canaryService"]),
        max_weight: 100,
        has_max_weight: false,
        managed_names: managed.into_iter().flatten().filter_map(|route| text(&route["name"])).collect(),
    }
}

/// What the status says that the routes are.
fn routes(rollout: &Value, managed: Vec<ManagedRoute>) -> Routes {
    let canary = &rollout["spec"]["strategy"]["canary"];
    let status = &rollout["status"]["canary"];
    let weights = &status["weights"];
    let service = |role: &str| text(&canary["pingPong"][role]);
    let ping_pong =
        service("pingService").zip(service("pongService")).map(|(ping, pong)| match status["stablePingPong"]
            .as_str()
        {
            Some("ping") => PingPong { stable: ping, canary: pong },
            _ => PingPong { stable: pong, canary: ping },
        });
    Routes {
        canary_weight: weights["canary"]["weight"].as_i64().expect("weights on record"),
        stable_hash: text(&weights["stable"]["podTemplateHash"]),
        canary_hash: text(&weights["canary"]["podTemplateHash"]),
        ping_pong,
        extra: Vec::new(),
        managed,
    }
}

/// The header route of the steps. Argo Rollouts removed it in the later two files: when the canary shrank
/// to no pods, and when it was aborted.
fn managed(name: &str, rollout: &Value) -> Vec<ManagedRoute> {
    let steps = rollout["spec"]["strategy"]["canary"]["steps"].as_array().into_iter().flatten();
    let header = |step: &Value| -> Option<SetHeaderRoute> {
        serde_json::from_value(step.get("setHeaderRoute")?.clone()).ok()
    };
    if name == "canary-istio-header.1-header-route" {
        steps.filter_map(header).map(ManagedRoute::Header).collect()
    } else {
        Vec::new()
    }
}

#[test]
fn taking_over_costs_no_write() {
    for (name, fixture) in FIXTURES {
        let fixture: Value = serde_json::from_str(fixture).expect("valid JSON");
        let rollout = &fixture["rollout"];
        let scope = scope(rollout);
        let router = router(rollout["spec"]["strategy"]["canary"]["trafficRouting"].clone(), &scope);
        let observed = objects(fixture["objects"].as_array().expect("a list").iter().cloned());
        let routes = routes(rollout, managed(name, rollout));

        let found = router.read(&observed, routes.ping_pong.as_ref()).expect(name);
        assert_eq!(found.weight, Some(routes.canary_weight), "{name}");
        let names: Vec<&str> = routes.managed.iter().map(ManagedRoute::name).collect();
        assert_eq!(found.managed.iter().map(String::as_str).collect::<Vec<_>>(), names, "{name}");
        let hashes = Subsets { stable: routes.stable_hash.clone(), canary: routes.canary_hash.clone() };
        let has_rule = name.contains("subsets");
        assert_eq!(found.subsets, has_rule.then_some(hashes), "{name}");
        assert_eq!(router.with_routes(&observed, &routes), Ok(Edits::new()), "{name}");

        // The check above can fail: other routes are written.
        let other = Routes { canary_weight: 33, ..routes };
        assert_eq!(router.with_routes(&observed, &other).expect(name).len(), 1, "{name}");
    }
}
