//! AWS App Mesh: weights of VirtualNodes in the routes of a VirtualRouter, versions in their pod selectors.
//!
//! Two VirtualNodes may not select the same pods; a webhook of App Mesh refuses that. Where stable and
//! canary are the same version, the one that gets nothing selects a version that there is none of.

use serde_json::Value;
use sluice_api::LabelSelector;
use sluice_api::keys::{MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH};
use sluice_api::traffic_routing::{AppMeshRouting, AppMeshVirtualNodeRef};

use crate::weights::{PERCENT, Part, Weights};
use crate::{
    By, Edit, Edits, Found, ManagedRoute, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, Selection,
    Subsets, TrafficError, TrafficRouter, fields, shares,
};

const GROUP: &str = "appmesh.k8s.aws";
const VERSIONS: &[&str] = &["v1beta2"];

/// VirtualServices of App Mesh.
pub const VIRTUAL_SERVICE: ObjectKind =
    ObjectKind { group: GROUP, versions: VERSIONS, kind: "VirtualService", plural: "virtualservices" };

/// VirtualRouters.
pub const VIRTUAL_ROUTER: ObjectKind =
    ObjectKind { group: GROUP, versions: VERSIONS, kind: "VirtualRouter", plural: "virtualrouters" };

/// VirtualNodes.
pub const VIRTUAL_NODE: ObjectKind =
    ObjectKind { group: GROUP, versions: VERSIONS, kind: "VirtualNode", plural: "virtualnodes" };

const WEIGHTS: Weights = Weights { absent: 0 };
/// What a VirtualNode selects that is to select nothing.
const NO_STABLE: &str = "stable-hash";
const NO_CANARY: &str = "canary-hash";

/// Splits traffic by weights in a VirtualRouter.
#[derive(Clone, Debug)]
pub struct AppMeshRouter {
    routing: AppMeshRouting,
    scope: Scope,
}

/// The objects that are written.
struct Target {
    router: ObjectRef,
    stable: ObjectRef,
    canary: ObjectRef,
}

impl AppMeshRouter {
    /// The router for this block of a Rollout's spec.
    pub fn new(routing: &AppMeshRouting, scope: &Scope) -> AppMeshRouter {
        AppMeshRouter { routing: routing.clone(), scope: scope.clone() }
    }

    fn reference(&self, kind: ObjectKind, name: &str) -> ObjectRef {
        ObjectRef { kind, namespace: self.scope.namespace.clone(), name: name.into() }
    }

    fn unfit(&self, field: &str, problem: &str) -> TrafficError {
        self.scope.unfit(&format!("spec.strategy.canary.trafficRouting.appMesh.{field}"), problem)
    }

    fn virtual_service(&self) -> Result<ObjectRef, TrafficError> {
        let name = self.routing.virtual_service.as_ref().map(|service| service.name.as_str());
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(self.reference(VIRTUAL_SERVICE, name)),
            None => Err(self.unfit("virtualService", "must provide virtual-service")),
        }
    }

    /// The VirtualNodes of stable and canary.
    fn nodes(&self) -> Result<(ObjectRef, ObjectRef), TrafficError> {
        let group = self.routing.virtual_node_group.as_ref();
        let node = |node: Option<&AppMeshVirtualNodeRef>, field: &str| {
            let name = node.map(|node| node.name.as_str()).filter(|name| !name.is_empty());
            let problem = "Virtual-node is missing: name one";
            name.map(|name| self.reference(VIRTUAL_NODE, name))
                .ok_or_else(|| self.unfit(&format!("virtualNodeGroup.{field}"), problem))
        };
        let stable =
            node(group.and_then(|group| group.stable_virtual_node_ref.as_ref()), "stableVirtualNodeRef")?;
        let canary =
            node(group.and_then(|group| group.canary_virtual_node_ref.as_ref()), "canaryVirtualNodeRef")?;
        if stable == canary {
            return Err(self.unfit("virtualNodeGroup", "stable and canary need a VirtualNode each"));
        }
        Ok((stable, canary))
    }

    fn target(&self, observed: &Objects) -> Result<Target, TrafficError> {
        let reference = self.virtual_service()?;
        let (stable, canary) = self.nodes()?;
        let object = fields::object(observed, &reference)?;
        let path = "spec.provider.virtualRouter.virtualRouterRef";
        let found = object.pointer("/spec/provider/virtualRouter/virtualRouterRef");
        let name = found.map(|found| fields::text(found, "name")).unwrap_or_default();
        if name.is_empty() {
            let problem = "Virtual-service is not associated with virtual-router: let it name one";
            return Err(TrafficError::unfit(&reference, path, problem));
        }
        let namespace = found.map(|found| fields::text(found, "namespace")).unwrap_or_default();
        if !namespace.is_empty() && namespace != self.scope.namespace {
            let problem = format!("is in namespace {namespace}: only one beside the Rollout can be written");
            return Err(TrafficError::unfit(&reference, path, problem));
        }
        Ok(Target { router: self.reference(VIRTUAL_ROUTER, name), stable, canary })
    }

    fn part(&self, target: &Target, entry: &Value) -> Part {
        let node = entry.get("virtualNodeRef").unwrap_or(&Value::Null);
        let (name, namespace) = (fields::text(node, "name"), fields::text(node, "namespace"));
        match () {
            () if !namespace.is_empty() && namespace != self.scope.namespace => Part::Other,
            () if name == target.canary.name => Part::Canary,
            () if name == target.stable.name => Part::Stable,
            () => Part::Other,
        }
    }

    /// Places of the lists of targets that are the Rollout's, as pointers.
    fn lists(&self, object: &Value, target: &Target) -> Result<Vec<String>, TrafficError> {
        let routes = fields::list(object, &target.router, "spec.routes")?;
        let unfit = |field: String, problem: String| TrafficError::unfit(&target.router, field, problem);
        let wanted = self.routing.virtual_service.as_ref().map(|service| service.routes.as_slice());
        let wanted = wanted.unwrap_or_default();
        let is_wanted = |route: &Value| {
            wanted.is_empty() || wanted.iter().any(|name| name == fields::text(route, "name"))
        };
        let has = |name: &String| routes.iter().any(|route| fields::text(route, "name") == name);
        if let Some(missing) = wanted.iter().find(|name| !has(name)) {
            let problem = format!("has no route '{missing}': add it, or name another in the spec");
            return Err(unfit("spec.routes".into(), problem));
        }
        let mut lists = Vec::new();
        for (at, route) in routes.iter().enumerate().filter(|(_, route)| is_wanted(route)) {
            let kinds = ["httpRoute", "tcpRoute", "http2Route", "grpcRoute"];
            let of_kind = kinds.iter().find_map(|kind| {
                Some((kind, route.pointer(&format!("/{kind}/action/weightedTargets"))?.as_array()?))
            });
            let Some((kind, list)) = of_kind else {
                let problem = "not well-formed: must have httpRoute, tcpRoute, http2Route or grpcRoute with weightedTargets";
                return Err(unfit(format!("spec.routes[{at}]"), problem.into()));
            };
            let has = |part| list.iter().any(|entry| self.part(target, entry) == part);
            if list.len() != 2 || !has(Part::Stable) || !has(Part::Canary) {
                let problem = format!(
                    "must be exactly the two VirtualNodes {} and {}",
                    target.stable.name, target.canary.name
                );
                return Err(unfit(format!("spec.routes[{at}].{kind}.action.weightedTargets"), problem));
            }
            lists.push(format!("/spec/routes/{at}/{kind}/action/weightedTargets"));
        }
        if lists.is_empty() {
            return Err(unfit("spec.routes".into(), "has no routes: add one".into()));
        }
        Ok(lists)
    }

    /// A VirtualNode that selects this version.
    fn selecting(&self, object: &Value, reference: &ObjectRef, hash: &str) -> Result<Value, TrafficError> {
        let mut edited = object.clone();
        let is_selected = hash_of(object) == Some(hash);
        if !is_selected {
            let unfit = |field: &str| TrafficError::unfit(reference, field, "must be an object");
            let spec = edited.as_object_mut().and_then(|object| fields::filled(object, "spec"));
            let selector = spec.ok_or_else(|| unfit("spec")).and_then(|spec| {
                fields::filled(spec, "podSelector").ok_or_else(|| unfit("spec.podSelector"))
            })?;
            let labels = fields::filled(selector, "matchLabels");
            let labels = labels.ok_or_else(|| unfit("spec.podSelector.matchLabels"))?;
            labels.insert(POD_TEMPLATE_HASH.into(), hash.into());
        }
        if !is_selected || fields::annotation(object, MANAGED_BY_ROLLOUTS).is_none() {
            let rollout = Some(self.scope.rollout.clone());
            fields::set_annotation(&mut edited, reference, MANAGED_BY_ROLLOUTS, rollout)?;
        }
        Ok(edited)
    }
}

fn hash_of(node: &Value) -> Option<&str> {
    node.pointer("/spec/podSelector/matchLabels")?.get(POD_TEMPLATE_HASH)?.as_str()
}

/// The versions that the two nodes stand for. One that selects nothing stands for the other's, as that is
/// when it does.
fn subsets(stable: &Value, canary: &Value) -> Subsets {
    let real =
        |hash: Option<&str>| hash.filter(|hash| ![NO_STABLE, NO_CANARY].contains(hash)).map(str::to_owned);
    let (stable_hash, canary_hash) = (hash_of(stable), hash_of(canary));
    let mut found = Subsets { stable: real(stable_hash), canary: real(canary_hash) };
    if stable_hash == Some(NO_STABLE) {
        found.stable.clone_from(&found.canary);
    }
    if canary_hash == Some(NO_CANARY) {
        found.canary.clone_from(&found.stable);
    }
    found
}

/// What the two nodes are to select; `None`: as it is.
fn selected(routes: &Routes, found: &Subsets) -> (Option<String>, Option<String>) {
    let of = |asked: &Option<String>, found: &Option<String>| {
        asked.as_ref().or(found.as_ref()).filter(|hash| !hash.is_empty()).cloned()
    };
    let stable = of(&routes.stable_hash, &found.stable);
    let canary = of(&routes.canary_hash, &found.canary);
    let is_same = stable.is_some() && stable == canary;
    // The node that gets the requests keeps the pods.
    let (is_stable_none, is_canary_none) = match routes.canary_weight {
        _ if !is_same => (stable.is_none(), canary.is_none()),
        0 => (false, true),
        _ => (true, false),
    };
    let hash = |is_none, hash: Option<String>, none: &str| if is_none { Some(none.to_owned()) } else { hash };
    let is_asked = routes.stable_hash.is_some() || routes.canary_hash.is_some();
    let wanted = (hash(is_stable_none, stable, NO_STABLE), hash(is_canary_none, canary, NO_CANARY));
    match (is_asked, is_same) {
        (false, false) => (None, None),
        (_, true) => wanted,
        (true, false) => (
            wanted.0.filter(|_| routes.stable_hash.is_some() || found.stable.is_some()),
            wanted.1.filter(|_| routes.canary_hash.is_some() || found.canary.is_some()),
        ),
    }
}

impl TrafficRouter for AppMeshRouter {
    fn name(&self) -> &'static str {
        "appMesh"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        let nodes = self.nodes().into_iter().flat_map(|(stable, canary)| [stable, canary]);
        self.virtual_service().into_iter().chain(nodes).collect()
    }

    /// Which VirtualRouter it is, the VirtualService says.
    fn selects(&self) -> Vec<Selection> {
        if self.virtual_service().is_err() {
            return Vec::new();
        }
        let (namespace, by) = (self.scope.namespace.clone(), By::Labels(LabelSelector::default()));
        vec![Selection { kind: VIRTUAL_ROUTER, namespace, by }]
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let target = self.target(observed)?;
        let object = fields::object(observed, &target.router)?;
        let (stable, canary) =
            (fields::object(observed, &target.stable)?, fields::object(observed, &target.canary)?);
        let weight = |pointer: String| {
            let list = object.pointer(&pointer)?.as_array()?;
            let (canary, whole) = WEIGHTS.read(list, |entry| self.part(&target, entry));
            shares::weight_of(canary, whole, self.scope.max_weight)
        };
        let weight = shares::agreed(self.lists(object, &target)?.into_iter().map(weight));
        Ok(Found { weight, subsets: Some(subsets(stable, canary)), ..Found::default() })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let target = self.target(observed)?;
        let object = fields::object(observed, &target.router)?;
        let (stable, canary) =
            (fields::object(observed, &target.stable)?, fields::object(observed, &target.canary)?);
        let mut edited = object.clone();
        let shares = shares::two(routes, self.scope.max_weight, PERCENT);
        for pointer in self.lists(object, &target)? {
            if let Some(list) = edited.pointer_mut(&pointer).and_then(Value::as_array_mut) {
                WEIGHTS.write(list, |entry| self.part(&target, entry), &shares);
            }
        }
        let mut edits = Edits::new();
        if edited != *object {
            edits.insert(target.router.clone(), Edit::Put(edited));
        }
        let (stable_hash, canary_hash) = selected(routes, &subsets(stable, canary));
        for (reference, object, hash) in
            [(&target.stable, stable, stable_hash), (&target.canary, canary, canary_hash)]
        {
            let Some(hash) = hash else { continue };
            let edited = self.selecting(object, reference, &hash)?;
            if edited != *object {
                edits.insert(reference.clone(), Edit::Put(edited));
            }
        }
        Ok(edits)
    }

    fn carries(&self, _: &ManagedRoute) -> bool {
        false
    }
}
