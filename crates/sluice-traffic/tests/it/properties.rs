//! What holds for each router whatever else is in its objects.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_traffic::{Objects, PingPong, Routes, Scope, TrafficRouter};

use crate::harness::{
    Foreign, Subject, any_damages, any_foreign, any_routes, any_updates, check, check_hostile, damage,
    foreign_entries, foreign_fields, try_out, undo, wide_scope, with,
};
use crate::{
    ambassador, apisix, app_mesh, contour, gateway, gloo, header, ingress, kuma, named, objects, prefix,
    router, smi, traefik, write,
};

/// A VirtualService with foreign things all over, and its DestinationRule.
#[derive(Clone, Debug)]
struct Mesh {
    foreign: Foreign,
    by_subset: bool,
}

fn any_mesh() -> impl Strategy<Value = Mesh> {
    (any_foreign(), any::<bool>()).prop_map(|(foreign, by_subset)| Mesh { foreign, by_subset })
}

impl Mesh {
    fn objects(&self) -> Objects {
        let to = |role: &str, weight: i64| {
            let destination = if self.by_subset {
                json!({"host": "shop", "subset": role})
            } else {
                json!({"host": format!("shop-{role}"), "port": {"number": 80}})
            };
            with(json!({"destination": destination, "weight": weight}), &self.foreign.of_destination)
        };
        let foreign = self.foreign.weight.unwrap_or(0);
        let mut route = vec![to("stable", 100 - foreign), to("canary", 0)];
        if let Some(weight) = self.foreign.weight {
            route.insert(
                1,
                with(
                    json!({"destination": {"host": "other"}, "weight": weight}),
                    &self.foreign.of_destination,
                ),
            );
        }
        let http = self.foreign.around(json!({"name": "web", "route": route}));
        let spec = with(json!({"hosts": ["web"], "http": http}), &self.foreign.of_object);
        let subset =
            |name: &str| with(json!({"name": name, "labels": {"app": "shop"}}), &self.foreign.of_route);
        let subsets = json!([subset("z"), subset("stable"), subset("canary")]);
        objects([
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}),
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": {"name": "rule", "namespace": "shop", "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"}},
                "spec": with(json!({"host": "shop", "subsets": subsets}), &self.foreign.of_object),
            }),
        ])
    }

    fn router(&self, scope: &Scope) -> Box<dyn TrafficRouter> {
        let mut istio = json!({"virtualService": {"name": "web", "routes": ["web"]}});
        let mut scope = scope.clone();
        if self.by_subset {
            istio["destinationRule"] =
                json!({"name": "rule", "stableSubsetName": "stable", "canarySubsetName": "canary"});
            (scope.stable_service, scope.canary_service) = (None, None);
        }
        router(json!({"istio": istio}), &scope)
    }
}

/// An Ingress with foreign things all over.
fn any_ingress(root: &'static str) -> impl Strategy<Value = Value> {
    let path = move |service: &str| json!({"path": "/", "backend": {"service": {"name": service, "port": {"name": "use-annotation"}}}});
    (foreign_entries(), foreign_entries(), foreign_fields(), foreign_fields()).prop_map(
        move |(rules, paths, of_path, of_object)| {
            let ours = with(path(root), &of_path);
            let paths: Vec<Value> = paths.into_iter().chain([ours, path("another")]).collect();
            let mut all = rules;
            all.push(with(json!({"host": "x", "http": {"paths": paths}}), &of_path));
            let mut object = with(ingress("web", all.into()), &of_object);
            object["metadata"]["annotations"] = json!({"foreign": "stays"});
            object
        },
    )
}

/// What of a VirtualService is not ours.
fn foreign_part(mesh: &Mesh, objects: &Objects) -> Value {
    let mut object = named(objects, "web").clone();
    let http = object["spec"]["http"].as_array_mut().expect("as it was made");
    http.retain(|route| !["m", "hd", "hd2"].contains(&route["name"].as_str().unwrap_or_default()));
    for route in http.iter_mut().filter(|route| route["name"] == "web") {
        let list = route["route"].as_array_mut().expect("as it was made");
        list.truncate(if mesh.foreign.weight.is_some() { 3 } else { 2 });
        for found in list.iter_mut().filter(|found| found["destination"]["host"] != "other") {
            found["weight"] = 0.into();
        }
    }
    object["metadata"].as_object_mut().expect("as it was made").remove("annotations");
    object
}

/// Routers whose weights stand in lists.
fn subjects(foreign: &Foreign, max: i64) -> Vec<Subject> {
    let lists = [
        ambassador::subjects,
        apisix::subjects,
        app_mesh::subjects,
        contour::subjects,
        gateway::subjects,
        gloo::subjects,
        kuma::subjects,
        smi::subjects,
        traefik::subjects,
    ];
    lists.into_iter().flat_map(|of_router| of_router(foreign, max)).collect()
}

proptest! {
    #[test]
    fn istio((max, all) in any_updates(), mesh in any_mesh()) {
        let (scope, before) = (wide_scope(max), mesh.objects());
        let router = mesh.router(&scope);
        let is_exact = max <= 100 - mesh.foreign.weight.unwrap_or(0);
        let after = check(&*router, &before, &all, &scope, is_exact);
        prop_assert_eq!(&after, &before, "the undo leaves no trace");
        for routes in &all {
            let after = write(&*router, &before, routes);
            prop_assert_eq!(foreign_part(&mesh, &after), foreign_part(&mesh, &before));
            let list = named(&after, "web")["spec"]["http"].as_array().unwrap().clone();
            let main = list.iter().find(|route| route["name"] == "web").unwrap();
            let sum: i64 = main["route"].as_array().unwrap().iter().filter_map(|found| found["weight"].as_i64()).sum();
            prop_assert_eq!(sum, 100);
        }
    }

    #[test]
    fn nginx((max, all) in any_updates(), web in any_ingress("shop-stable")) {
        let (scope, before) = (wide_scope(max), objects([web.clone()]));
        let router = router(json!({"nginx": {"stableIngress": "web"}}), &scope);
        let after = check(&*router, &before, &all, &scope, true);
        prop_assert_eq!(&after, &write(&*router, &before, &undo()), "the canary Ingress stays at weight 0");
        prop_assert_eq!(named(&after, "web"), &web);
    }

    #[test]
    fn alb(
        (max, all) in any_updates(),
        web in any_ingress("shop-root"),
        takes_turns in any::<bool>(),
    ) {
        let (scope, before) = (wide_scope(max), objects([web.clone()]));
        let router = router(json!({"alb": {"ingress": "web", "servicePort": 80, "rootService": "shop-root"}}), &scope);
        let roles = takes_turns.then(|| PingPong { stable: "ping".into(), canary: "pong".into() });
        let all: Vec<Routes> = all.into_iter().map(|routes| Routes { ping_pong: roles.clone(), ..routes }).collect();
        let after = check(&*router, &before, &all, &scope, max <= 100);
        prop_assert_eq!(&after, &write(&*router, &before, &undo()), "only the action and its record stay");
        let mut plain = named(&after, "web").clone();
        let annotations = plain["metadata"]["annotations"].as_object_mut().unwrap();
        prop_assert!(annotations.remove("alb.ingress.kubernetes.io/actions.shop-root").is_some());
        prop_assert!(annotations.remove("rollouts.argoproj.io/managed-alb-annotations").is_some());
        prop_assert_eq!(plain, web);
    }

    #[test]
    fn hostile_meshes(routes in any_routes(100), mesh in any_mesh(), damages in any_damages()) {
        let router = mesh.router(&wide_scope(100));
        let mut observed = mesh.objects();
        observed.values_mut().for_each(|object| damage(object, &damages));
        check_hostile(&*router, &observed, &routes);
        let mut later = write(&*router, &mesh.objects(), &routes);
        later.values_mut().for_each(|object| damage(object, &damages));
        check_hostile(&*router, &later, &Routes { managed: vec![header("hd", &[("x", prefix("a"))])], ..routes });
    }

    #[test]
    fn hostile_ingresses(routes in any_routes(100), web in any_ingress("shop-root"), damages in any_damages()) {
        let scope = Scope { stable_service: Some("shop-root".into()), ..wide_scope(100) };
        for routing in [
            json!({"nginx": {"stableIngress": "web"}}),
            json!({"alb": {"ingress": "web", "servicePort": 80}}),
        ] {
            let router = router(routing, &scope);
            let mut observed = objects([web.clone()]);
            observed.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &observed, &routes);
            let mut later = write(&*router, &objects([web.clone()]), &routes);
            later.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &later, &routes);
        }
    }

    #[test]
    fn lists_of_weights((max, all) in any_updates(), foreign in any_foreign(), some in 0..4usize) {
        for subject in subjects(&foreign, max).into_iter().skip(some).step_by(4) {
            try_out(&subject, &all, &wide_scope(max));
        }
    }

    #[test]
    fn hostile_lists(routes in any_routes(100), foreign in any_foreign(), damages in any_damages(), some in 0..4usize) {
        for subject in subjects(&foreign, 100).into_iter().skip(some).step_by(4) {
            let router = router(subject.routing.clone(), &wide_scope(100));
            let before = objects(subject.objects);
            let mut observed = before.clone();
            observed.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &observed, &routes);
            let managed = routes.managed.iter().filter(|route| router.carries(route)).cloned().collect();
            let mut later = write(&*router, &before, &Routes { managed, ..routes.clone() });
            later.values_mut().for_each(|object| damage(object, &damages));
            check_hostile(&*router, &later, &routes);
        }
    }
}
