//! Whether a strategy makes sense.
//!
//! It decides the rules of blue-green, canary and rolling updates except those of single steps, which
//! are next door. Paths leave out the name of the strategy, as they do in Argo Rollouts.

use serde_json::{Value, json};

use super::steps::{self, Routers};
use super::{Errors, MAX_STEPS};
use crate::blue_green::BlueGreenStrategy;
use crate::canary::{CanaryStrategy, RollingUpdateStrategy};
use crate::defaults::{self, MAX_SURGE_PERCENT};
use crate::keys;
use crate::meta::IntOrString;
use crate::rollout::{AntiAffinity, Rollout, RolloutStrategy};
use crate::traffic_routing::TrafficRouting;

const ROOT: &str = "spec.strategy";

pub(super) fn validate(rollout: &Rollout, errors: &mut Errors) {
    let RolloutStrategy { blue_green, canary, rolling_update } = &rollout.spec.strategy;
    let set = [
        ("blueGreen", blue_green.is_some()),
        ("canary", canary.is_some()),
        ("rollingUpdate", rolling_update.is_some()),
    ];
    let set: Vec<String> =
        set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!("{name}: true")).collect();
    let path = format!("{ROOT}.strategy");
    match set.len() {
        0 => errors
            .required(path, "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'"),
        1 => {
            if let Some(blue_green) = blue_green {
                validate_blue_green(rollout, blue_green, errors);
            }
            if let Some(canary) = canary {
                validate_canary(rollout, canary, errors);
            }
            if let Some(rolling_update) = rolling_update {
                validate_rolling_update(rolling_update, errors);
            }
        }
        _ => errors.invalid(path, set.join(" "), "Multiple Strategies can not be listed"),
    }
}

fn same_service(which: &str) -> String {
    format!(
        "This rollout uses the same service for the {which} services, but two different services are required."
    )
}

fn validate_blue_green(rollout: &Rollout, blue_green: &BlueGreenStrategy, errors: &mut Errors) {
    if blue_green.active_service == blue_green.preview_service {
        let value = blue_green.active_service.as_str();
        errors.invalid(format!("{ROOT}.activeService"), value, same_service("active and preview"));
    }
    if let Some(limit) = blue_green.scale_down_delay_revision_limit
        && limit > rollout.spec.revision_history_limit_or_default()
    {
        let message =
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit";
        errors.invalid(format!("{ROOT}.scaleDownDelayRevisionLimit"), limit, message);
    }
    validate_anti_affinity(blue_green.anti_affinity.as_ref(), errors);
}

fn validate_canary(rollout: &Rollout, canary: &CanaryStrategy, errors: &mut Errors) {
    validate_bounds(canary.max_surge.as_ref(), canary.max_unavailable.as_ref(), errors);
    let (stable, canary_service) = (canary.stable_service.as_str(), canary.canary_service.as_str());
    if !stable.is_empty() && stable == canary_service {
        errors.invalid(format!("{ROOT}.stableService"), stable, same_service("stable and canary"));
    }
    let routing = canary.traffic_routing.as_ref();
    if let Some(routing) = routing.filter(|routing| routing.routers().is_empty()) {
        let message = no_router(rollout);
        errors.invalid(format!("{ROOT}.trafficRouting"), super::json(routing), message);
    }
    validate_ping_pong(canary, errors);
    if routing.is_some_and(|routing| needs_services(routing, canary.ping_pong.is_some())) {
        let message = "Canary service and Stable service must to be set to use Traffic Routing";
        for (field, service) in [("stableService", stable), ("canaryService", canary_service)] {
            if service.is_empty() {
                errors.invalid(format!("{ROOT}.{field}"), service, message);
            }
        }
    }
    validate_scaling(canary, errors);
    if canary.steps.len() > MAX_STEPS {
        let message = format!("must have at most {MAX_STEPS} items");
        errors.invalid(format!("{ROOT}.steps"), canary.steps.len(), message);
    }
    let routers = Routers::of(routing);
    for (index, step) in canary.steps.iter().enumerate().take(MAX_STEPS) {
        steps::validate(step, canary, &routers, &format!("{ROOT}.steps[{index}]"), errors);
    }
    validate_anti_affinity(canary.anti_affinity.as_ref(), errors);
}

fn validate_ping_pong(canary: &CanaryStrategy, errors: &mut Errors) {
    let Some(ping_pong) = &canary.ping_pong else { return };
    let routing = canary.traffic_routing.as_ref();
    let routers = Routers::of(routing);
    if routing.is_some() && !(routers.alb || routers.istio || routers.plugins) {
        let message = "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only";
        errors.invalid(format!("{ROOT}.trafficRouting.alb"), Value::Null, message);
    }
    let (ping, pong) = (ping_pong.ping_service.as_str(), ping_pong.pong_service.as_str());
    for (field, service) in [("pingService", ping), ("pongService", pong)] {
        if service.is_empty() {
            let message = "Ping service and Pong service must to be set to use Ping-Pong feature";
            errors.invalid(format!("{ROOT}.pingPong.{field}"), service, message);
        }
    }
    if ping == pong {
        errors.invalid(format!("{ROOT}.pingPong.pingService"), ping, same_service("ping and pong"));
    }
    let alb = routing.and_then(|routing| routing.alb.as_ref());
    if alb.is_some_and(|alb| alb.root_service.is_empty()) {
        let message =
            "Root service field is required for the configuration with ALB and ping-pong feature enabled";
        errors.invalid(format!("{ROOT}.trafficRouting.alb.rootService"), "", message);
    }
}

/// Tells whether these routers cannot do without `stableService` and `canaryService`.
fn needs_services(routing: &TrafficRouting, has_ping_pong: bool) -> bool {
    let istio_by_host = routing.istio.as_ref().is_some_and(|istio| istio.destination_rule.is_none());
    ((routing.alb.is_some() || istio_by_host) && !has_ping_pong)
        || routing.smi.is_some()
        || routing.apisix.is_some()
        || routing.ambassador.is_some()
        || routing.nginx.is_some()
        || routing.app_mesh.is_some()
        || routing.traefik.is_some()
}

fn validate_scaling(canary: &CanaryStrategy, errors: &mut Errors) {
    let routing = canary.traffic_routing.as_ref();
    if let Some(seconds) = canary.scale_down_delay_seconds.filter(|_| routing.is_none()) {
        let message = "Canary scaleDownDelaySeconds can only be used with traffic routing";
        errors.invalid(format!("{ROOT}.scaleDownDelaySeconds"), seconds, message);
    }
    if canary.dynamic_stable_scale {
        let path = format!("{ROOT}.dynamicStableScale");
        if routing.is_none() {
            let message = "Canary dynamicStableScale can only be used with traffic routing";
            errors.invalid(path.as_str(), true, message);
        }
        if canary.scale_down_delay_seconds.is_some() {
            let message = "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds";
            errors.invalid(path, true, message);
        }
    }
    if let Some(weight) = routing.and_then(|routing| routing.max_traffic_weight) {
        let routers = Routers::of(routing);
        let path = format!("{ROOT}.trafficRouting.maxTrafficWeight");
        if !(routers.nginx || routers.plugins) {
            let message = "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins";
            errors.invalid(path, weight, message);
        } else if weight < 1 {
            errors.invalid(path, weight, "must be greater than 0");
        }
    }
}

fn validate_rolling_update(rolling: &RollingUpdateStrategy, errors: &mut Errors) {
    validate_bounds(rolling.max_surge.as_ref(), rolling.max_unavailable.as_ref(), errors);
    if rolling.steps.len() > MAX_STEPS {
        let message = format!("must have at most {MAX_STEPS} items");
        errors.invalid(format!("{ROOT}.steps"), rolling.steps.len(), message);
    }
    for (index, step) in rolling.steps.iter().enumerate().take(MAX_STEPS) {
        steps::validate_rolling(step, &format!("{ROOT}.steps[{index}]"), errors);
    }
}

fn validate_bounds(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, errors: &mut Errors) {
    let default = IntOrString::from(MAX_SURGE_PERCENT);
    let number = |value: &IntOrString| match value {
        IntOrString::Int(number) => *number,
        IntOrString::Text(text) => defaults::percent(text).unwrap_or(0),
    };
    let surge = surge.unwrap_or(&default);
    if number(surge) == 0 && number(unavailable.unwrap_or(&default)) == 0 {
        let message = "MaxSurge and MaxUnavailable both can not be zero";
        errors.invalid(format!("{ROOT}.maxSurge"), json!(surge), message);
    }
}

fn validate_anti_affinity(affinity: Option<&AntiAffinity>, errors: &mut Errors) {
    let Some(affinity) = affinity else { return };
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_ref();
    let is_required = affinity.required_during_scheduling_ignored_during_execution.is_some();
    if preferred.is_some() == is_required {
        let message = "AntiAffinity must have exactly one strategy listed";
        errors.invalid(format!("{ROOT}.antiAffinity"), super::json(affinity), message);
    }
    if let Some(weight) =
        preferred.map(|preferred| preferred.weight).filter(|weight| !(1..=100).contains(weight))
    {
        errors.invalid(
            format!("{ROOT}.antiAffinity.weight"),
            weight,
            "AntiAffinity weight must be between 1-100",
        );
    }
}

/// Says that no router is named and which there are, and guesses which one was meant.
///
/// The API server drops keys that it does not know, so a misspelt one can only be found in what
/// `kubectl apply` remembers.
fn no_router(rollout: &Rollout) -> String {
    let known = TrafficRouting::ROUTER_KEYS.join(", ");
    let message = format!("no traffic router is set, must have at least one of: {known}");
    let annotations = rollout.metadata.annotations.as_ref();
    let applied = annotations.and_then(|annotations| annotations.get(keys::LAST_APPLIED_CONFIGURATION));
    let Some(applied) = applied.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return message;
    };
    let routing = &applied["spec"]["strategy"]["canary"]["trafficRouting"];
    match routing.as_object().into_iter().flatten().find_map(|(key, _)| unknown_router(key)) {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    }
}

/// Says that a key of `trafficRouting` is not known, and which known one is closest to it; `None` for a
/// key that is known.
pub fn unknown_router(key: &str) -> Option<String> {
    let is_known = |key: &str| TrafficRouting::ROUTER_KEYS.contains(&key);
    if is_known(key) || ["managedRoutes", "maxTrafficWeight"].contains(&key) {
        return None;
    }
    let shown: String = key.chars().take(64).collect();
    let lower = shown.to_lowercase();
    let distances =
        TrafficRouting::ROUTER_KEYS.iter().map(|known| (distance(&lower, &known.to_lowercase()), *known));
    let (distance, closest) = distances.min()?;
    let is_close = distance <= closest.len() / 2;
    let guess = if is_close { format!(", did you mean {closest:?}?") } else { String::new() };
    Some(format!("{shown:?} is not known{guess}"))
}

/// Returns how many letters must be put in, taken out or replaced to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
