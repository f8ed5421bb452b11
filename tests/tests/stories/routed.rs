//! A canary whose share a router carries, in front of proxies that see every change late: no request is lost.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_tests::data_plane::{self, DataPlane, Entry};
use sluice_tests::simulation::{Simulation, canary};
use sluice_tests::takeover::foreign_kinds;

/// Proxies see a change within this time; the controller waits a little longer.
const LATEST: Duration = Duration::from_millis(4_500);

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

/// How a story's traffic comes in.
#[derive(Clone, Copy, Debug)]
enum Router {
    Istio,
    Subsets,
    Nginx,
}

const ALL: [Router; 3] = [Router::Istio, Router::Subsets, Router::Nginx];

struct Story {
    simulation: Simulation,
    data_plane: DataPlane,
    router: Router,
}

impl Story {
    async fn begin(router: Router, strategy: Value, steps: Value) -> Story {
        let mut simulation = Simulation::new(1, Settings::default());
        for definition in foreign_kinds() {
            simulation.cluster.create("setup", definition).expect("the definition is accepted");
        }
        let mut rollout = canary(5, steps);
        let spec = &mut rollout["spec"]["strategy"]["canary"];
        for (key, value) in strategy.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        spec["trafficRouting"] = match router {
            Router::Istio => {
                json!({"istio": {"virtualService": {"name": "web"}}, "managedRoutes": [{"name": "beta"}]})
            }
            Router::Subsets => json!({"istio": {"virtualService": {"name": "web"}, "destinationRule":
                {"name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable"}}}),
            Router::Nginx => json!({"nginx": {"stableIngress": "web"}}),
        };
        let route = |host: &str, subset: Option<&str>, weight: i64| match subset {
            Some(subset) => json!({"destination": {"host": host, "subset": subset}, "weight": weight}),
            None => json!({"destination": {"host": host}, "weight": weight}),
        };
        let routes = match router {
            Router::Istio => vec![route("stable", None, 100), route("canary", None, 0)],
            Router::Subsets => vec![route("web", Some("stable"), 100), route("web", Some("canary"), 0)],
            Router::Nginx => vec![],
        };
        match router {
            Router::Istio | Router::Nginx => {
                spec["canaryService"] = "canary".into();
                spec["stableService"] = "stable".into();
                simulation.apply(service("stable"));
                simulation.apply(service("canary"));
            }
            Router::Subsets => {
                simulation.apply(service("web"));
                simulation.apply(json!({
                    "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule", "metadata": {"name": "web"},
                    "spec": {"host": "web", "subsets": [{"name": "stable", "labels": {"app": "web"}}, {"name": "canary", "labels": {"app": "web"}}]},
                }));
            }
        }
        let entry = match router {
            Router::Istio | Router::Subsets => {
                simulation.apply(json!({
                    "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": {"name": "web"},
                    "spec": {"hosts": ["web"], "http": [{"name": "primary", "route": routes}]},
                }));
                Entry::Istio("web".into(), Some("web".into()))
            }
            Router::Nginx => {
                simulation.apply(json!({
                    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
                    "spec": {"ingressClassName": "nginx", "rules": [{"host": "web.example", "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "stable", "port": {"number": 80}}}}]}}]},
                }));
                Entry::Nginx("web".into(), "web-web-canary".into())
            }
        };
        simulation.start_controller(sluice_controller::Options::default());
        simulation.apply(rollout);
        simulation.until_phase("web", "Healthy").await;
        simulation.pass(30).await;
        let data_plane = data_plane::start(&simulation.cluster, entry, LATEST, 7);
        simulation.pass(1).await;
        Story { simulation, data_plane, router }
    }

    /// The canary's weight that the objects ask for.
    fn weight(&self) -> i64 {
        let get = |kind: &str, name: &str| self.simulation.cluster.get(kind, Some("default"), name);
        match self.router {
            Router::Istio | Router::Subsets => {
                let route = get("VirtualService", "web").expect("the route exists");
                let http = route["spec"]["http"].as_array().expect("routes");
                let primary =
                    http.iter().find(|route| route["name"] == "primary").expect("the primary route");
                primary["route"][1]["weight"].as_i64().unwrap_or(0)
            }
            Router::Nginx => {
                let ingress = get("Ingress", "web-web-canary").expect("the canary Ingress exists");
                let text = &ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
                text.as_str().and_then(|text| text.parse().ok()).expect("a weight")
            }
        }
    }

    /// Changes the image, and waits for the first pause.
    async fn update(&self) {
        self.simulation.image("web", "2");
        self.simulation.until_phase("web", "Paused CanaryPauseStep").await;
    }

    /// Everything that says where requests go.
    fn routes(&self) -> Vec<(String, Value)> {
        let kinds = ["Service", "Ingress", "VirtualService", "DestinationRule"];
        let objects = kinds.iter().flat_map(|kind| self.simulation.cluster.list(kind, Some("default")));
        let mut routes: Vec<_> = objects
            .map(|object| {
                let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
                let mut annotations = object["metadata"]["annotations"].clone();
                if let Some(annotations) = annotations.as_object_mut() {
                    annotations.remove("sluice.dev/selected-at");
                }
                (name, json!({"spec": object["spec"], "annotations": annotations}))
            })
            .collect();
        routes.sort_by(|left, right| left.0.cmp(&right.0));
        routes
    }

    fn resume(&self) {
        self.simulation.patch_status("web", json!({"pauseConditions": null}));
    }

    #[track_caller]
    fn nothing_is_lost(&self) {
        let losses = self.data_plane.losses.all();
        assert!(losses.is_empty(), "{:?}: {losses:#?}", self.router);
    }
}

fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}])
}

async fn updated(router: Router, strategy: Value) -> Story {
    let story = Story::begin(router, strategy, steps()).await;
    story.update().await;
    assert_eq!(story.weight(), 20, "{router:?}");
    story
}

#[tokio::test(start_paused = true)]
async fn w09_a_good_version_takes_over_and_no_request_is_lost() {
    for router in ALL {
        for strategy in [json!({}), json!({"dynamicStableScale": true})] {
            let is_dynamic = strategy["dynamicStableScale"] == true;
            let story = updated(router, strategy).await;
            story.simulation.pass(30).await;
            assert_eq!(story.simulation.sizes("web"), if is_dynamic { "1:4/4 2:1/1" } else { "1:5/5 2:1/1" });
            story.resume();
            story.simulation.pass(60).await;
            assert_eq!(story.weight(), 60);
            assert_eq!(story.simulation.sizes("web"), if is_dynamic { "1:2/2 2:3/3" } else { "1:5/5 2:3/3" });
            story.resume();
            story.simulation.until_phase("web", "Healthy").await;
            story.simulation.pass(60).await;
            assert_eq!((story.weight(), story.simulation.sizes("web").as_str()), (0, "2:5/5"), "{router:?}");
            story.nothing_is_lost();
            story.simulation.cluster.clear_audit();
            story.simulation.pass(300).await;
            assert!(
                story.simulation.writes().is_empty(),
                "quiet when still: {:?}",
                story.simulation.writes()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w20_an_abort_at_every_step_loses_nothing_and_leaves_nothing() {
    for router in ALL {
        for strategy in
            [json!({}), json!({"dynamicStableScale": true}), json!({"abortScaleDownDelaySeconds": 0})]
        {
            for resumes in 0..2 {
                let story = Story::begin(router, strategy.clone(), steps()).await;
                let before = story.routes();
                story.update().await;
                for _ in 0..resumes {
                    story.resume();
                    story.simulation.pass(60).await;
                }
                story.simulation.patch_status("web", json!({"abort": true}));
                story.simulation.pass(90).await;
                let phase = story.simulation.phase("web");
                assert!(phase.starts_with("Degraded RolloutAborted"), "{router:?} {strategy} {phase}");
                assert_eq!(story.weight(), 0, "{router:?} {strategy}");
                let sizes = story.simulation.sizes("web");
                assert!(sizes.starts_with("1:5/5"), "{router:?} {strategy} {sizes}");
                assert_eq!(story.routes(), before, "as it was before: {router:?} {strategy}");
                story.nothing_is_lost();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w08_a_third_version_over_the_second_loses_nothing() {
    for router in ALL {
        for strategy in [json!({}), json!({"dynamicStableScale": true})] {
            let story = updated(router, strategy.clone()).await;
            story.resume();
            story.simulation.pass(60).await;
            assert_eq!(story.weight(), 60);
            story.simulation.image("web", "3");
            story.simulation.pass(2).await;
            story.simulation.until_phase("web", "Paused CanaryPauseStep").await;
            story.simulation.pass(60).await;
            assert_eq!(story.weight(), 20, "{router:?}");
            let wanted = if strategy["dynamicStableScale"] == true { "1:4/4 3:1/1" } else { "1:5/5 3:1/1" };
            assert_eq!(story.simulation.sizes("web"), wanted, "{router:?}");
            story.nothing_is_lost();
        }
    }
}

/// Three quarters of an hour's worth of requests, a share of them to an experiment: nothing before its pods answer,
/// nothing after they begin to go.
#[tokio::test(start_paused = true)]
async fn w16_an_experiment_gets_and_loses_its_share_and_no_request_is_lost() {
    for delay in [json!(null), json!(0)] {
        for is_aborted in [false, true] {
            let experiment = json!({"experiment": {
                "duration": "5m",
                "scaleDownDelaySeconds": delay,
                "templates": [
                    {"name": "base", "specRef": "stable", "weight": 5},
                    {"name": "cand", "specRef": "canary", "weight": 10},
                ],
            }});
            let steps = json!([{"setWeight": 20}, experiment, {"setWeight": 60}, {"pause": {}}]);
            let story = Story::begin(Router::Istio, json!({}), steps).await;
            let simulation = &story.simulation;
            // Only a port makes a Service.
            simulation.patch(
                "web",
                json!({"spec": {"template": {"spec": {"containers": [
                {"name": "app", "image": "registry.example/web:2", "ports": [{"containerPort": 8080}]}]}}}}),
            );
            simulation.pass(60).await;
            simulation.patch_status("web", json!({"promoteFull": true}));
            simulation.until_phase("web", "Healthy").await;
            simulation.pass(60).await;
            simulation.image("web", "3");
            simulation.pass(60).await;
            let route = simulation.cluster.get("VirtualService", Some("default"), "web").expect("it exists");
            let weights: Vec<_> = route["spec"]["http"][0]["route"]
                .as_array()
                .expect("destinations")
                .iter()
                .map(|destination| destination["weight"].as_i64().unwrap_or(0))
                .collect();
            assert_eq!(weights, [65, 20, 5, 10], "{route:#}");
            let weights = &simulation.status("web")["canary"]["weights"];
            assert_eq!(weights["stable"]["weight"], 65);
            assert_eq!(weights["additional"][1]["weight"], 10);
            if is_aborted {
                simulation.patch_status("web", json!({"abort": true}));
                simulation.pass(90).await;
                assert_eq!(story.weight(), 0);
            } else {
                simulation.until_phase("web", "Paused CanaryPauseStep").await;
                simulation.pass(60).await;
                assert_eq!(story.weight(), 60);
            }
            let route = simulation.cluster.get("VirtualService", Some("default"), "web").expect("it exists");
            let destinations = route["spec"]["http"][0]["route"].as_array().map(Vec::len);
            assert_eq!(destinations, Some(2), "{route:#}");
            let pods = simulation.cluster.list("Pod", Some("default"));
            let hashes =
                |pod: &std::sync::Arc<Value>| pod["metadata"]["ownerReferences"][0]["name"].to_string();
            assert!(!pods.iter().any(|pod| hashes(pod).contains("-2-1-")), "pods of the experiment are gone");
            story.nothing_is_lost();
        }
    }
}

/// Whoever resets a route by hand, or by a sync from Git, does not win over the rollout.
#[tokio::test(start_paused = true)]
async fn w52_a_route_that_somebody_resets_is_put_right() {
    let story = updated(Router::Istio, json!({})).await;
    let route = json!({"spec": {"hosts": ["web"], "http": [{"name": "primary", "timeout": "3s", "route": [
        {"destination": {"host": "stable"}, "weight": 100}, {"destination": {"host": "canary"}, "weight": 0}]}]}});
    let mut object = json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": {"name": "web"}});
    object["spec"] = route["spec"].clone();
    story.simulation.apply(object);
    story.simulation.pass(1).await;
    assert_eq!(story.weight(), 20);
    let stored = story.simulation.cluster.get("VirtualService", Some("default"), "web").expect("it exists");
    assert_eq!(stored["spec"]["http"][0]["timeout"], "3s", "what is not ours stays");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_does_not_exist_is_named_and_an_abort_still_counts() {
    let story = updated(Router::Istio, json!({})).await;
    story
        .simulation
        .cluster
        .delete("person", "VirtualService", Some("default"), "web", sluice_sim::DeleteOptions::default())
        .expect("it exists");
    story.simulation.pass(5).await;
    let phase = story.simulation.phase("web");
    story.simulation.patch_status("web", json!({"abort": true}));
    story.simulation.pass(5).await;
    let status = story.simulation.status("web");
    let waits = status["conditions"].as_array().expect("conditions").iter().any(|condition| {
        condition["type"] == "Waiting"
            && condition["message"]
                .as_str()
                .is_some_and(|m| m.contains("VirtualService default/web not found"))
    });
    assert!(waits, "{phase} {status:#}");
    assert!(story.simulation.phase("web").starts_with("Degraded RolloutAborted"));
}

/// ingress-nginx answers nobody when the stable Service has no pod, whatever the weight of the canary is.
#[tokio::test(start_paused = true)]
async fn w15_a_primary_service_always_has_a_pod() {
    let steps = json!([{"setWeight": 100}, {"pause": {}}]);
    let story = Story::begin(Router::Nginx, json!({"dynamicStableScale": true}), steps).await;
    story.update().await;
    story.simulation.pass(60).await;
    assert_eq!((story.weight(), story.simulation.sizes("web").as_str()), (100, "1:1/1 2:5/5"));
    story.resume();
    story.simulation.until_phase("web", "Healthy").await;
    story.simulation.pass(60).await;
    assert_eq!((story.weight(), story.simulation.sizes("web").as_str()), (0, "2:5/5"));
    story.nothing_is_lost();
}

/// Of two routers one cannot be written: the other follows, nobody loses pods, and it heals by itself.
#[tokio::test(start_paused = true)]
async fn w14_a_router_that_refuses_does_not_hold_the_other() {
    let story = Story::begin(Router::Nginx, json!({}), steps()).await;
    let simulation = &story.simulation;
    let virtual_service = json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"hosts": ["web"], "http": [{"name": "primary", "route": [
            {"destination": {"host": "stable"}, "weight": 100}, {"destination": {"host": "canary"}, "weight": 0}]}]},
    });
    simulation.apply(virtual_service.clone());
    let both = json!({"nginx": {"stableIngress": "web"}, "istio": {"virtualService": {"name": "web"}}});
    simulation.patch("web", json!({"spec": {"strategy": {"canary": {"trafficRouting": both}}}}));
    story.update().await;
    assert_eq!(story.weight(), 20);
    let delete = sluice_sim::DeleteOptions::default();
    simulation.cluster.delete("person", "VirtualService", Some("default"), "web", delete).expect("it exists");
    simulation.pass(5).await;
    simulation.patch_status("web", json!({"abort": true}));
    simulation.pass(60).await;
    assert_eq!(story.weight(), 0, "the one that can be written");
    assert_eq!(simulation.sizes("web"), "1:5/5 2:1/1", "somebody may still be sent there");
    simulation.cluster.clear_audit();
    simulation.pass(600).await;
    let writes = simulation.writes();
    assert!(writes.is_empty(), "it is asked once, not again and again: {writes:?}");

    simulation.apply(virtual_service);
    simulation.pass(60).await;
    assert_eq!(simulation.sizes("web"), "1:5/5");
    story.nothing_is_lost();
}

/// A spec that names no router any more still gets its share back from the one that it had, also if the
/// controller was not there to see it change.
#[tokio::test(start_paused = true)]
async fn a_router_that_the_spec_drops_gives_its_share_back() {
    for is_seen in [true, false] {
        let mut story = updated(Router::Istio, json!({})).await;
        story.resume();
        story.simulation.pass(60).await;
        assert_eq!(story.weight(), 60);
        if !is_seen {
            story.simulation.kill_controller();
        }
        story.simulation.patch("web", json!({"spec": {"strategy": {"canary": {"trafficRouting": null}}}}));
        story.simulation.pass(1).await;
        if !is_seen {
            story.simulation.start_controller(sluice_controller::Options::default());
        }
        story.simulation.pass(120).await;
        assert_eq!(story.weight(), 0);
        assert_eq!(story.simulation.sizes("web"), "1:2/2 2:3/3", "the ratio of pods is the share");
        let rollout = story.simulation.rollout("web");
        assert_eq!(rollout["metadata"]["annotations"].get("sluice.dev/routed-by"), None);
        assert_eq!(rollout["status"]["canary"].get("weights"), None);
        story.nothing_is_lost();
    }
}
