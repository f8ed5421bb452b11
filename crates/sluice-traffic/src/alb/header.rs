//! Header routes: paths in front of those that lead to the root Service.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_api::steps::SetHeaderRoute;

use crate::{ObjectRef, Scope, TrafficError, fields};

const USE_ANNOTATION: &str = "use-annotation";

/// Header names and the values that are asked for.
pub(super) fn headers<'a>(
    scope: &Scope,
    route: &'a SetHeaderRoute,
) -> Result<Vec<(&'a str, &'a str)>, TrafficError> {
    let header = |matched: &'a sluice_api::steps::HeaderMatch| {
        let value = matched.header_value.as_ref();
        let exact = value
            .filter(|value| !value.exact.is_empty() && value.prefix.is_empty() && value.regex.is_empty());
        exact.map(|value| (matched.header_name.as_str(), value.exact.as_str())).ok_or_else(|| {
            let problem = "SetHeaderRoute match value invalid. ALB supports 'exact' value only";
            scope.unfit(&format!("setHeaderRoute {}, header {}", route.name, matched.header_name), problem)
        })
    };
    route.r#match.iter().map(header).collect()
}

/// The Service behind a path.
pub(super) fn service(path: &Value) -> Option<&str> {
    path.pointer("/backend/service/name").and_then(Value::as_str)
}

/// The route among these that a path leads to.
fn route_of<'a>(path: &'a Value, names: &BTreeSet<&str>) -> Option<&'a str> {
    let by_annotation =
        path.pointer("/backend/service/port/name").and_then(Value::as_str) == Some(USE_ANNOTATION);
    service(path).filter(|name| by_annotation && names.contains(name))
}

/// The routes among these that some path leads to.
pub(super) fn present(
    object: &Value,
    reference: &ObjectRef,
    names: &BTreeSet<&str>,
) -> Result<BTreeSet<String>, TrafficError> {
    let rules = fields::list(object, reference, "spec.rules")?;
    let paths =
        rules.iter().filter_map(|rule| rule.pointer("/http/paths").and_then(Value::as_array)).flatten();
    Ok(paths.filter_map(|path| route_of(path, names)).map(str::to_owned).collect())
}

/// Gives these routes, the one with precedence first, their paths: in each rule that leads to the root
/// Service, a copy of each of those paths, in front of all others. Argo Rollouts puts a path `/*` into the
/// rules of all hosts, which takes requests from hosts and paths that are not the Rollout's.
pub(super) fn put(
    object: &mut Value,
    reference: &ObjectRef,
    root: &str,
    wanted: &[&str],
    ours: &BTreeSet<&str>,
) -> Result<(), TrafficError> {
    fields::list(object, reference, "spec.rules")?;
    let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let Some(paths) = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut) else { continue };
        let is_ours = |path: &Value| route_of(path, ours).is_some();
        let others: Vec<Value> = paths.iter().filter(|path| !is_ours(path)).cloned().collect();
        let is_root = |path: &Value| service(path) == Some(root);
        let bases = || others.iter().filter(|path| is_root(path));
        let desired: Vec<Value> =
            wanted.iter().flat_map(|name| bases().map(|base| leading_to(name, base))).collect();

        let first_base = paths.iter().position(is_root).unwrap_or(paths.len());
        let last_of_ours = paths.iter().rposition(is_ours);
        let present = paths.iter().filter(|path| is_ours(path));
        // Others may have put theirs before ours meanwhile; to go in front again would never end.
        if !present.eq(&desired) || last_of_ours.is_some_and(|at| at > first_base) {
            *paths = desired.into_iter().chain(others).collect();
        }
    }
    Ok(())
}

fn leading_to(name: &str, base: &Value) -> Value {
    let mut path = json!({"backend": {"service": {"name": name, "port": {"name": USE_ANNOTATION}}}});
    for field in ["path", "pathType"] {
        if let Some(value) = base.get(field) {
            path[field] = value.clone();
        }
    }
    path
}
