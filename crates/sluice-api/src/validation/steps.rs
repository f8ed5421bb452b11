//! Whether a single step makes sense.
//!
//! It decides what a step may hold and which routers it needs. What a step does is not known here.

use serde_json::Value;

use super::selector::key_mistake;
use super::{Errors, json};
use crate::canary::CanaryStrategy;
use crate::steps::{
    AnalysisRunArgument, CanaryStep, PauseStep, RollingUpdateStep, SetHeaderRoute, SetMirrorRoute,
    StringMatch,
};
use crate::traffic_routing::{Router, TrafficRouting};

const STEP_MESSAGE: &str =
    "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause";
const MATCH_MISSED: &str =
    "StringMatch value missed, match value must have one of the following: exact, regex, prefix";
const MATCH_MULTIPLE: &str =
    "StringMatch match value must have exactly one of the following: exact, regex, prefix";

/// Which routers are set, as far as rules depend on it.
pub(super) struct Routers {
    pub istio: bool,
    pub alb: bool,
    pub nginx: bool,
    pub smi: bool,
    pub apisix: bool,
    /// Plugins, and the routers that are plugins elsewhere.
    pub plugins: bool,
    is_set: bool,
}

impl Routers {
    pub fn of(routing: Option<&TrafficRouting>) -> Self {
        let routers = routing.map(TrafficRouting::routers).unwrap_or_default();
        let any = |test: fn(&Router<'_>) -> bool| routers.iter().any(test);
        Self {
            istio: any(|router| matches!(router, Router::Istio(_))),
            alb: any(|router| matches!(router, Router::Alb(_))),
            nginx: any(|router| matches!(router, Router::Nginx(_))),
            smi: any(|router| matches!(router, Router::Smi(_))),
            apisix: any(|router| matches!(router, Router::Apisix(_))),
            plugins: any(is_plugin),
            is_set: routing.is_some(),
        }
    }
}

fn is_plugin(router: &Router<'_>) -> bool {
    match router {
        Router::Plugin(..)
        | Router::GatewayApi(_)
        | Router::Gloo(_)
        | Router::Contour(_)
        | Router::Kong(_)
        | Router::Kuma(_)
        | Router::Linkerd(_) => true,
        Router::Istio(_)
        | Router::Nginx(_)
        | Router::Alb(_)
        | Router::Smi(_)
        | Router::Ambassador(_)
        | Router::AppMesh(_)
        | Router::Traefik(_)
        | Router::Apisix(_) => false,
    }
}

/// Checks one step of a canary.
pub(super) fn validate(
    step: &CanaryStep,
    canary: &CanaryStrategy,
    routers: &Routers,
    path: &str,
    errors: &mut Errors,
) {
    // Only these four exclude each other; the others may stand beside them.
    let exclusive =
        [step.set_weight.is_some(), step.pause.is_some(), step.experiment.is_some(), step.analysis.is_some()];
    if exclusive.iter().filter(|is_set| **is_set).count() > 1 || step.kind().is_none() {
        errors.invalid(path, json(step), STEP_MESSAGE);
    }
    if let Some(weight) = step.set_weight {
        validate_weight(weight, canary.max_weight(), path, errors);
    }
    if let Some(pause) = &step.pause {
        validate_pause(pause, path, errors);
    }
    if step.set_canary_scale.is_some() && !routers.is_set {
        errors.required("spec.strategy.trafficRouting", "SetCanaryScale requires TrafficRouting to be set");
    }
    if let Some(route) = &step.set_header_route {
        validate_header_route(route, routers, &format!("{path}.setHeaderRoute"), errors);
        validate_managed_route(canary, &route.name, &format!("{path}.setHeaderRoute"), errors);
    }
    if let Some(route) = &step.set_mirror_route {
        validate_mirror_route(route, routers, &format!("{path}.setMirrorRoute"), errors);
        validate_managed_route(canary, &route.name, &format!("{path}.setMirrorRoute"), errors);
    }
    validate_experiment(step, routers, path, errors);
    let analysis_args = step.analysis.iter().flat_map(|analysis| &analysis.args);
    let experiment = step.experiment.iter().flat_map(|experiment| &experiment.analyses);
    validate_args(analysis_args.chain(experiment.flat_map(|analysis| &analysis.args)), path, errors);
}

/// Checks one checkpoint of a rolling update.
pub(super) fn validate_rolling(step: &RollingUpdateStep, path: &str, errors: &mut Errors) {
    let set = [step.set_weight.is_some(), step.pause.is_some(), step.analysis.is_some()];
    if set.iter().filter(|is_set| **is_set).count() != 1 {
        let message = "Step must have one of the following set: setWeight, pause or analysis";
        errors.invalid(path, json(step), message);
    }
    if let Some(weight) = step.set_weight {
        validate_weight(weight, 100, path, errors);
    }
    if let Some(pause) = &step.pause {
        validate_pause(pause, path, errors);
    }
    validate_args(step.analysis.iter().flat_map(|analysis| &analysis.args), path, errors);
}

fn validate_weight(weight: i32, max: i32, path: &str, errors: &mut Errors) {
    if weight < 0 || weight > max {
        errors.invalid(
            format!("{path}.setWeight"),
            weight,
            format!("SetWeight needs to be between 0 and {max}"),
        );
    }
}

fn validate_pause(pause: &PauseStep, path: &str, errors: &mut Errors) {
    if !pause.length().is_ok_and(|length| length.is_none_or(|length| !length.is_negative())) {
        let message = "Duration needs to be greater than 0";
        errors.invalid(format!("{path}.pause.duration"), json(&pause.duration), message);
    }
}

fn validate_header_route(route: &SetHeaderRoute, routers: &Routers, path: &str, errors: &mut Errors) {
    if !(routers.istio || routers.alb || routers.apisix || routers.plugins) {
        let message = "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix";
        errors.invalid(path, json(route), message);
    }
    for (index, header) in route.r#match.iter().enumerate() {
        let path = format!("{path}.match[{index}]");
        let value = header.header_value.as_ref();
        let mistake = match value {
            Some(value) if routers.alb => {
                let is_exact_only =
                    !value.exact.is_empty() && value.prefix.is_empty() && value.regex.is_empty();
                let message = "SetHeaderRoute match value invalid. ALB supports 'exact' value only";
                (!is_exact_only).then_some(message)
            }
            value => match_mistake(value),
        };
        if let Some(message) = mistake {
            errors.invalid(path, json(header), message);
        }
    }
}

fn validate_mirror_route(route: &SetMirrorRoute, routers: &Routers, path: &str, errors: &mut Errors) {
    if !(routers.istio || routers.plugins) {
        let message = "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins";
        errors.invalid(path, json(route), message);
    }
    for (index, request) in route.r#match.iter().enumerate() {
        for value in [&request.method, &request.path].into_iter().flatten() {
            if let Some(message) = match_mistake(Some(value)) {
                errors.invalid(format!("{path}.match[{index}]"), json(request), message);
            }
        }
    }
}

fn match_mistake(value: Option<&StringMatch>) -> Option<&'static str> {
    let set = value.map_or(0, |value| {
        [&value.exact, &value.prefix, &value.regex].into_iter().filter(|text| !text.is_empty()).count()
    });
    match set {
        0 => Some(MATCH_MISSED),
        1 => None,
        _ => Some(MATCH_MULTIPLE),
    }
}

fn validate_managed_route(canary: &CanaryStrategy, name: &str, path: &str, errors: &mut Errors) {
    let Some(routing) = &canary.traffic_routing else { return };
    if routing.managed_routes.is_empty() {
        let field = "spec.strategy.canary.trafficRouting.managedRoutes";
        let message = format!("Rollout has missing field '{field}'");
        errors.required("spec.strategy.trafficRouting.managedRoutes", message);
    } else if !routing.managed_routes.iter().any(|route| route.name == name) {
        let message =
            "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes";
        errors.invalid(path, name, message);
    }
}

fn validate_experiment(step: &CanaryStep, routers: &Routers, path: &str, errors: &mut Errors) {
    let Some(experiment) = &step.experiment else { return };
    for (index, template) in experiment.templates.iter().enumerate() {
        let Some(weight) = template.weight else { continue };
        let path = format!("{path}.experiment.templates[{index}].weight");
        if !routers.is_set {
            let message = "Experiment template weight cannot be set unless TrafficRouting is enabled";
            errors.invalid(path, weight, message);
        } else if !(routers.alb || routers.smi || routers.istio || routers.plugins) {
            let message = "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time";
            errors.invalid(path, weight, message);
        }
    }
}

fn validate_args<'a>(args: impl Iterator<Item = &'a AnalysisRunArgument>, path: &str, errors: &mut Errors) {
    for arg in args {
        let field = arg
            .value_from
            .as_ref()
            .and_then(|from| from.field_ref.as_ref())
            .map(|field| field.field_path.as_str());
        if let Some(field) = field.filter(|field| field.starts_with("metadata") && !is_metadata_path(field)) {
            let message = "Analyses arguments must refer to valid object metadata supported by downwardAPI";
            errors.invalid(format!("{path}.analyses"), Value::from(field), message);
        }
    }
}

/// True for paths that the Downward API knows: a name, or one label or annotation, or all of them.
fn is_metadata_path(path: &str) -> bool {
    if ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"]
        .contains(&path)
    {
        return true;
    }
    let key = |prefix| path.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix("']"));
    let label = key("metadata.labels['").map(str::to_owned);
    let annotation = key("metadata.annotations['").map(str::to_lowercase);
    label.or(annotation).is_some_and(|key| key_mistake(&key).is_none())
}
