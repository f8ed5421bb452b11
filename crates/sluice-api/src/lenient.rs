//! Reading stored objects that may be malformed in places.
//!
//! It decides what is kept: everything but the fields that do not fit, each of which is reported. One
//! bad field must not hide an object, and one bad object must not stop a watch. It does not decide
//! what a reported field means; a bad field in a spec is as good as an invalid spec.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::rollout::Rollout;

/// Most problems that are reported of one object.
const MAX_PROBLEMS: usize = 64;
/// Most attempts at one object. Fields that are null cost an attempt and are not reported.
const MAX_ATTEMPTS: usize = 256;
/// Longest text that is shown of a value.
const MAX_SHOWN_CHARS: usize = 200;

/// A field that was left out because its value does not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldProblem {
    /// Where the field stands, such as `spec.replicas` or `spec.strategy.canary.steps[1].setWeight`.
    pub path: String,
    /// What stands there.
    pub value: Value,
    /// Why it does not fit.
    pub message: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A whole pod template in a message helps nobody.
        write!(f, "{}: Invalid value: {}: ", self.path, start_of(&self.value.to_string()))?;
        // The message may quote the value once more; what was expected stands behind that.
        let expected = self.message.rfind(", expected ").unwrap_or(self.message.len());
        let (quoted, expected) = self.message.split_at(expected);
        write!(f, "{}{}", start_of(quoted), start_of(expected))
    }
}

/// Returns as much of a text as a person reads of it.
fn start_of(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Reads a Rollout, leaving out what does not fit.
pub fn parse_rollout(value: Value) -> (Rollout, Vec<FieldProblem>) {
    parse(value)
}

/// Reads an object, leaving out what does not fit.
///
/// A null counts as absent and is never reported. An element of a list is removed as a whole when a
/// field that it cannot do without is missing.
pub fn parse<K: DeserializeOwned + Default>(mut value: Value) -> (K, Vec<FieldProblem>) {
    if let Ok(object) = K::deserialize(&value) {
        return (object, Vec::new());
    }
    let mut problems = Vec::new();
    let mut removed = Vec::new();
    for _ in 0..MAX_ATTEMPTS {
        let error = match serde_path_to_error::deserialize::<_, K>(&value) {
            Ok(object) => return (object, problems),
            Err(error) => error,
        };
        let path: Vec<Step> = error.path().iter().map_while(Step::of).collect();
        let message = error.inner().to_string();
        let (path, value) = remove(&mut value, &path);
        let shown = shown_path(&path, &removed);
        removed.push(path);
        if !value.is_null() {
            problems.push(FieldProblem { path: shown, value, message });
        }
        if problems.len() == MAX_PROBLEMS {
            break;
        }
    }
    // So little fits that the rest is not worth having. The name is, to say whose problem it is.
    let metadata = value.get_mut("metadata").map(Value::take).unwrap_or_default();
    let object = K::deserialize(serde_json::json!({ "metadata": metadata })).unwrap_or_default();
    (object, problems)
}

/// An object together with what was left out of it; a watch over this type cannot be stopped by a
/// malformed object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lenient<K> {
    /// The object, without the fields that do not fit.
    pub object: K,
    /// The fields that do not fit.
    pub problems: Vec<FieldProblem>,
}

impl<'de, K: DeserializeOwned + Default> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (object, problems) = parse(Value::deserialize(deserializer)?);
        Ok(Self { object, problems })
    }
}

impl<K: k8s_openapi::Resource> k8s_openapi::Resource for Lenient<K> {
    const API_VERSION: &'static str = K::API_VERSION;
    const GROUP: &'static str = K::GROUP;
    const KIND: &'static str = K::KIND;
    const VERSION: &'static str = K::VERSION;
    const URL_PATH_SEGMENT: &'static str = K::URL_PATH_SEGMENT;
    type Scope = K::Scope;
}

impl<K: k8s_openapi::Metadata<Ty = ObjectMeta>> k8s_openapi::Metadata for Lenient<K> {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        self.object.metadata()
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.object.metadata_mut()
    }
}

/// One step on the way from an object to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of(segment: &Segment) -> Option<Self> {
        match segment {
            Segment::Map { key } => Some(Self::Key(key.clone())),
            Segment::Seq { index } => Some(Self::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        }
    }
}

/// Removes what stands at a path, or at the longest part of it that exists.
fn remove(root: &mut Value, path: &[Step]) -> (Vec<Step>, Value) {
    let exists = |length: &usize| lookup(root, &path[..*length]).is_some();
    let length = (0..=path.len()).rev().find(exists).unwrap_or(0);
    let path = &path[..length];
    let Some((last, parent)) = path.split_last() else {
        return (Vec::new(), root.take());
    };
    let taken = match (lookup(root, parent), last) {
        (Some(Value::Object(map)), Step::Key(key)) => map.remove(key),
        (Some(Value::Array(list)), Step::Index(index)) => Some(list.remove(*index)),
        _ => None,
    };
    (path.to_vec(), taken.unwrap_or_default())
}

fn lookup<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// Writes a path as it stood before earlier removals moved the elements of lists.
fn shown_path(path: &[Step], removed: &[Vec<Step>]) -> String {
    use fmt::Write as _;
    let mut shown = String::new();
    for (depth, step) in path.iter().enumerate() {
        match step {
            Step::Key(key) if shown.is_empty() => shown.push_str(key),
            Step::Key(key) => {
                shown.push('.');
                shown.push_str(key);
            }
            Step::Index(index) => {
                let mut original = *index;
                let same_list =
                    removed.iter().filter(|gone| gone.len() == depth + 1 && gone[..depth] == path[..depth]);
                for gone in same_list.rev() {
                    if let Step::Index(gone) = gone[depth]
                        && gone <= original
                    {
                        original += 1;
                    }
                }
                // Writing into a string cannot fail.
                let _ = write!(shown, "[{original}]");
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, expected: &[(&str, &str)]) -> Rollout {
        let (rollout, problems) = parse_rollout(value);
        let found: Vec<_> =
            problems.iter().map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
        assert_eq!(found, expected);
        rollout
    }

    #[test]
    fn w06_bad_fields_are_left_out_and_named() {
        let rollout = check(
            json!({
                "metadata": {"name": "web"},
                "spec": {
                    "replicas": "three", "template": null, "minReadySeconds": 7, "paused": null,
                    "strategy": {"canary": {"maxSurge": 1, "steps": [{"setWeight": []}, {"pause": {"duration": true}}]}},
                },
                "status": {"replicas": 4_000_000_000_u64, "canary": null, "stableRS": "abc"},
            }),
            &[
                ("spec.replicas", r#"invalid type: string "three", expected i32"#),
                ("spec.strategy.canary.steps[0].setWeight", "invalid type: sequence, expected i32"),
                (
                    "spec.strategy.canary.steps[1].pause.duration",
                    "invalid type: boolean `true`, expected a 32-bit integer or a string",
                ),
                ("status.replicas", "invalid value: integer `4000000000`, expected i32"),
            ],
        );
        assert_eq!(rollout.metadata.name.as_deref(), Some("web"));
        assert_eq!(rollout.spec.min_ready_seconds, 7);
        assert_eq!(rollout.spec.template, None);
        assert_eq!(rollout.spec.strategy.canary.unwrap().steps.len(), 2);
        assert_eq!(rollout.status.unwrap().stable_rs, "abc");
    }

    #[test]
    fn elements_keep_their_original_index_in_reports() {
        let good = json!({"reason": "CanaryPauseStep", "startTime": "2026-11-21T07:13:18Z"});
        let bad = json!({"reason": "Nonsense", "startTime": "2026-11-21T07:13:18Z"});
        let late = json!({"reason": "BlueGreenPause", "startTime": "yesterday"});
        let value = json!({"status": {"pauseConditions": [bad, 5, good, null, late]}});
        let (rollout, problems) = parse_rollout(value);
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "status.pauseConditions[0].reason",
                "status.pauseConditions[0]",
                "status.pauseConditions[1]",
                "status.pauseConditions[4].startTime",
                "status.pauseConditions[4]",
            ]
        );
        assert_eq!(rollout.status.unwrap().pause_conditions.len(), 1);
    }

    #[test]
    fn hopeless_objects_still_have_a_name() {
        for value in [json!(null), json!([1]), json!("text")] {
            let (rollout, _) = parse_rollout(value);
            assert_eq!(rollout, Rollout::default());
        }
        let steps: Vec<Value> = (0..1000).map(|_| json!({"setWeight": "x"})).collect();
        let value = json!({"metadata": {"name": "web"}, "spec": {"strategy": {"canary": {"steps": steps}}}});
        let (rollout, problems) = parse_rollout(value);
        assert_eq!((rollout.metadata.name.as_deref(), problems.len()), (Some("web"), MAX_PROBLEMS));
    }

    #[test]
    fn lists_of_objects_survive_a_bad_one() {
        let list = r#"[{"metadata": {"name": "a"}, "spec": {"replicas": {}}}, {"metadata": {"name": "b"}, "spec": {}}, 7]"#;
        let rollouts: Vec<Lenient<Rollout>> = serde_json::from_str(list).unwrap();
        let counts: Vec<usize> = rollouts.iter().map(|rollout| rollout.problems.len()).collect();
        assert_eq!(counts, [1, 0, 1]);
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let long = "é".repeat(5000);
        let (_, problems) = parse_rollout(json!({"spec": {"replicas": long}}));
        let shown = problems[0].to_string();
        assert!(shown.len() < 1000, "{shown}");
        assert!(shown.starts_with("spec.replicas: Invalid value: \"ééé"), "{shown}");
        assert!(shown.ends_with("…, expected i32"), "{shown}");
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z0-9%]{0,5}".prop_map(Value::from),
        ];
        let key = proptest::sample::select(vec![
            "metadata",
            "spec",
            "status",
            "strategy",
            "canary",
            "steps",
            "pause",
            "setWeight",
            "conditions",
            "trafficRouting",
            "istio",
            "pauseConditions",
            "template",
            "labels",
            "name",
            "experiment",
            "templates",
        ]);
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn any_object_is_read(value in any_json()) {
            let (rollout, _) = parse_rollout(value);
            // Whatever is in it, looking it over ends.
            let _ = crate::validation::validate_rollout(&rollout, true);
            let again = serde_json::to_value(&rollout).unwrap();
            proptest::prop_assert_eq!(parse_rollout(again), (rollout, vec![]));
        }
    }
}
