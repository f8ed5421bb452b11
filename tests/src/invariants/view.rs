//! What a Rollout, its ReplicaSets and its Services say, read for the checker alone.
//!
//! Shares no code with the engine: a mistake in how the engine reads a field must not hide here too.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

/// The label by which versions are told apart.
pub const HASH: &str = "rollouts-pod-template-hash";
/// The revision annotation.
pub const REVISION: &str = "rollout.argoproj.io/revision";

/// A ReplicaSet of the Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct SetView {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub hash: Arc<str>,
    /// Wanted pods.
    pub size: i64,
    /// Available pods.
    pub available: i64,
    /// Ready pods.
    pub ready: i64,
    /// Pods that exist.
    pub existing: i64,
    /// When it may be scaled down, if somebody said so.
    pub deadline: Option<Timestamp>,
}

impl SetView {
    /// Reads one; `None` unless a Rollout owns it.
    pub fn read(set: &Value) -> Option<SetView> {
        let owner = set.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str);
        if owner != Some("Rollout") {
            return None;
        }
        Some(SetView {
            name: text(set, "/metadata/name").into(),
            hash: set["metadata"]["labels"][HASH].as_str().unwrap_or_default().into(),
            size: number(set, "/spec/replicas"),
            available: number(set, "/status/availableReplicas"),
            ready: number(set, "/status/readyReplicas"),
            existing: number(set, "/status/replicas"),
            deadline: set
                .pointer("/metadata/annotations/scale-down-deadline")
                .and_then(|at| at.as_str()?.parse().ok()),
        })
    }
}

/// What matters of the Rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutView {
    /// Wanted pods.
    pub replicas: i64,
    /// The fewest available pods that a write may leave.
    pub floor: i64,
    /// The most pods that a write may ask for.
    pub cap: i64,
    /// `status.abort`.
    pub aborted: bool,
    /// `status.stableRS`.
    pub stable: Arc<str>,
    /// `status.currentPodHash`.
    pub current: Arc<str>,
    /// The Services it names that callers depend on.
    pub services: Vec<String>,
    /// What blue-green adds.
    pub blue_green: Option<BlueGreenView>,
    /// A print of the template's meaning.
    pub template: u64,
    /// A print of the steps.
    pub plan: u64,
    /// Whether the status is about this very spec.
    pub is_observed: bool,
}

/// What matters of a blue-green strategy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlueGreenView {
    /// The Service with all the traffic.
    pub active: String,
    /// Old versions may have to go before their time.
    pub limits_revisions: bool,
    /// Only a person lets the switch happen.
    pub needs_person: bool,
    /// The status says that it is paused.
    pub is_paused: bool,
    /// A person asked to skip what is left.
    pub promote_full: bool,
}

impl BlueGreenView {
    fn read(strategy: &Value, status: &Value) -> BlueGreenView {
        BlueGreenView {
            active: text(strategy, "/activeService").into(),
            limits_revisions: strategy.get("scaleDownDelayRevisionLimit").is_some(),
            needs_person: strategy["autoPromotionEnabled"] == false,
            is_paused: status["pauseConditions"].as_array().is_some_and(|list| !list.is_empty()),
            promote_full: status["promoteFull"] == true,
        }
    }
}

impl RolloutView {
    /// Reads one.
    pub fn read(rollout: &Value) -> RolloutView {
        let spec = &rollout["spec"];
        let canary = &spec["strategy"]["canary"];
        let replicas = spec["replicas"].as_i64().unwrap_or(1).max(0);
        let blue_green = spec["strategy"].get("blueGreen");
        let limits = blue_green.unwrap_or(canary);
        let (surge, unavailable) = bounds(replicas, limits.get("maxSurge"), limits.get("maxUnavailable"));
        let blue_green = blue_green.map(|strategy| BlueGreenView::read(strategy, &rollout["status"]));
        RolloutView {
            replicas,
            floor: (replicas - unavailable).max(0),
            cap: replicas + surge,
            aborted: rollout["status"]["abort"].as_bool().unwrap_or(false),
            stable: text(rollout, "/status/stableRS").into(),
            current: text(rollout, "/status/currentPodHash").into(),
            services: ["stableService", "canaryService"]
                .iter()
                .filter_map(|field| canary[field].as_str().map(str::to_owned))
                .chain(blue_green.iter().map(|strategy| strategy.active.clone()))
                .collect(),
            blue_green,
            template: print(&spec["template"]),
            plan: {
                let mut plan = Print::default();
                plan.add(&canary["steps"].to_string());
                plan.0
            },
            is_observed: text(rollout, "/status/observedGeneration")
                == number(rollout, "/metadata/generation").to_string(),
        }
    }
}

/// `maxSurge` and `maxUnavailable` in pods: surge rounded up, unavailable down, and never both 0.
fn bounds(replicas: i64, surge: Option<&Value>, unavailable: Option<&Value>) -> (i64, i64) {
    let scaled = |value: Option<&Value>, up: bool| -> i64 {
        match value {
            Some(Value::Number(count)) => count.as_i64().unwrap_or(0),
            other => {
                let text = other.and_then(Value::as_str).unwrap_or("25");
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
                let product = percent * replicas;
                if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) }
            }
        }
    };
    let surge = scaled(surge, true);
    let mut unavailable = scaled(unavailable, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    (surge, unavailable.min(replicas))
}

/// A text in an object; absent is empty.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number in an object; absent is 0.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A print of a pod template without the labels that only tell versions apart: of the images, labels
/// and annotations that a run varies.
pub fn print(template: &Value) -> u64 {
    let mut hash = Print::default();
    for part in ["labels", "annotations"] {
        for (key, value) in template["metadata"][part].as_object().into_iter().flatten() {
            if key != HASH {
                hash.add(key);
                hash.add(value.as_str().unwrap_or_default());
            }
        }
    }
    for container in template["spec"]["containers"].as_array().into_iter().flatten() {
        for part in ["name", "image"] {
            hash.add(container[part].as_str().unwrap_or_default());
        }
    }
    hash.0
}

/// A running print of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(pub u64);

impl Default for Print {
    fn default() -> Print {
        Print(0xcbf2_9ce4_8422_2325)
    }
}

impl Print {
    /// Adds a text and its end.
    pub fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The leaves in which two values differ, as `path: before -> after`. Paths in `ignored` are left out
/// with all below them.
pub fn differences(before: &Value, after: &Value, ignored: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    walk(before, after, &mut String::new(), ignored, &mut found);
    found
}

fn walk(before: &Value, after: &Value, path: &mut String, ignored: &[&str], found: &mut Vec<String>) {
    if before == after || ignored.contains(&path.as_str()) {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (before, after) else {
        found.push(format!("{path}: {} -> {}", short(before), short(after)));
        return;
    };
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let length = path.len();
        if length > 0 {
            path.push('/');
        }
        path.push_str(&key.replace('/', "~1"));
        walk(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), path, ignored, found);
        path.truncate(length);
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > 160 { text.chars().take(160).chain("…".chars()).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn corridors() {
        for (replicas, surge, unavailable, expected) in [
            (8, json!(1), json!(0), (1, 0)),
            (8, json!("25%"), json!("25%"), (2, 2)),
            (5, json!("25%"), json!("25%"), (2, 1)),
            (5, json!(0), json!(0), (0, 1)),
            (0, json!(0), json!(0), (0, 0)),
            (3, json!(0), json!("10%"), (0, 1)),
            (2, json!(1), json!(7), (1, 2)),
        ] {
            assert_eq!(
                bounds(replicas, Some(&surge), Some(&unavailable)),
                expected,
                "{replicas} {surge} {unavailable}"
            );
        }
        assert_eq!(bounds(8, None, None), (2, 2));
    }

    #[test]
    fn differences_name_the_leaf() {
        let before =
            json!({"metadata": {"labels": {"a/b": "1"}, "resourceVersion": "1"}, "spec": {"replicas": 1}});
        let after =
            json!({"metadata": {"labels": {"a/b": "2"}, "resourceVersion": "2"}, "spec": {"replicas": 1}});
        let found = differences(&before, &after, &["metadata/resourceVersion"]);
        assert_eq!(found, ["metadata/labels/a~1b: 1 -> 2"]);
    }
}
