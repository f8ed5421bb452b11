//! Reading and writing Kubernetes objects as plain JSON.
//!
//! Decides nothing. Whatever is missing or of the wrong type reads as absent, because a controller must
//! not stumble over an odd object; writing makes the objects on the way, replacing what is in the way.

use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Map, Value, json};

use crate::seam::Key;

/// Kind names, as the view and the keys spell them.
pub(super) mod kinds {
    pub const DEPLOYMENT: &str = "Deployment";
    pub const ENDPOINT_SLICE: &str = "EndpointSlice";
    pub const JOB: &str = "Job";
    pub const NAMESPACE: &str = "Namespace";
    pub const NODE: &str = "Node";
    pub const POD: &str = "Pod";
    pub const POD_DISRUPTION_BUDGET: &str = "PodDisruptionBudget";
    pub const REPLICA_SET: &str = "ReplicaSet";
    pub const RESOURCE_QUOTA: &str = "ResourceQuota";
    pub const SERVICE: &str = "Service";
}

/// Returns the value at a JSON pointer of plain names. Unlike `Value::pointer` it unescapes nothing, and so
/// allocates nothing: the controllers read some thousand fields for each change.
pub(super) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    debug_assert!(pointer.starts_with('/') && !pointer.contains('~'), "{pointer} is a plain pointer");
    pointer.split('/').skip(1).try_fold(object, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// Returns the text at a JSON pointer, unless it is absent or empty.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    at(object, pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns the whole number at a JSON pointer.
pub(super) fn int(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// Returns whether there is a `true` at a JSON pointer.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// Returns the list at a JSON pointer, empty when there is none.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the time at a JSON pointer.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer)?.parse().ok()
}

/// Returns the time as Kubernetes writes it: whole seconds.
pub(super) fn wire_time(at: Timestamp) -> Value {
    Value::from(whole_second(at).to_string())
}

/// Returns the beginning of the second, which is what a written timestamp keeps.
pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_nanosecond().div_euclid(1_000_000_000) as i64).unwrap_or(at)
}

/// Returns `at + after`, kept within the supported range.
pub(super) fn later(at: Timestamp, after: SignedDuration) -> Timestamp {
    at.checked_add(after).unwrap_or(Timestamp::MAX)
}

/// Returns the time between two instants, not negative.
pub(super) fn since(earlier: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(earlier).max(SignedDuration::ZERO)
}

/// Returns `seconds` as a duration; absurd numbers are cut to what a timestamp can still take.
pub(super) fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds.clamp(0, 10_000_000_000))
}

/// Returns the earlier of two instants that may be absent.
pub(super) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// Returns a duration the way Go prints it with whole seconds: `10s`, `2m40s`, `5m0s`.
pub(super) fn go_duration(duration: SignedDuration) -> String {
    let total = duration.round(Unit::Second).unwrap_or(duration).as_secs();
    match (total / 3600, total / 60 % 60, total % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

pub(super) fn kind(object: &Value) -> &str {
    text(object, "/kind").unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name").unwrap_or_default()
}

pub(super) fn namespace(object: &Value) -> Option<&str> {
    text(object, "/metadata/namespace")
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

pub(super) fn is_deleting(object: &Value) -> bool {
    text(object, "/metadata/deletionTimestamp").is_some()
}

/// Returns the labels; of an object, or of a pod template, which looks the same.
pub(super) fn labels(object: &Value) -> Option<&Map<String, Value>> {
    at(object, "/metadata/labels").and_then(Value::as_object)
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, "/metadata/annotations").and_then(|all| all.get(key)).and_then(Value::as_str)
}

pub(super) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    items(object, "/metadata/finalizers").iter().any(|found| found.as_str() == Some(finalizer))
}

/// Returns the condition of this type from `status.conditions`.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|one| text(one, "/type") == Some(kind))
}

/// Returns whether the condition of this type has this status.
pub(super) fn condition_is(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).and_then(|found| text(found, "/status")) == Some(status)
}

/// Returns the key of an object.
pub(super) fn key_of(object: &Value) -> Key {
    key(kind(object), namespace(object), name(object))
}

pub(super) fn key(kind: &str, namespace: Option<&str>, name: &str) -> Key {
    Key { kind: kind.to_owned(), namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

/// Writes a value at a path, making the objects on the way.
pub(super) fn put(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    match path {
        [] => *object = value.into(),
        [last] => {
            fields(object).insert((*last).to_owned(), value.into());
        }
        [first, rest @ ..] => {
            let inner = fields(object).entry((*first).to_owned()).or_insert(Value::Null);
            put(inner, rest, value);
        }
    }
}

/// Writes a count that Kubernetes leaves out when it is zero.
pub(super) fn set_count(object: &mut Value, field: &str, count: i64) {
    if count == 0 {
        fields(object).remove(field);
    } else {
        fields(object).insert(field.to_owned(), Value::from(count));
    }
}

/// Removes what is at a path, if the path exists.
pub(super) fn remove(object: &mut Value, path: &[&str]) {
    let Some((last, way)) = path.split_last() else { return };
    let mut here = object;
    for step in way {
        let Some(next) = here.get_mut(*step) else { return };
        here = next;
    }
    if let Some(map) = here.as_object_mut() {
        map.remove(*last);
    }
}

/// Returns the fields of a value, which becomes an object if it is none.
pub(super) fn fields(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object on the line above")
}

/// Returns whether two values mean the same: an API server may leave out or write as null what is empty.
pub(super) fn means_same(a: &Value, b: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let same =
                |key| means_same(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
            a.keys().chain(b.keys()).all(same)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| means_same(a, b))
        }
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

/// Returns whether the object has a status that means the same as this one.
pub(super) fn has_status(object: &Value, status: &Value) -> bool {
    object.get("status").is_some_and(|found| means_same(found, status))
}

/// What a condition says, without its times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Says<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

impl Says<'_> {
    /// Returns the condition with both its times at `now`, empty texts left out.
    pub fn at(&self, now: Timestamp) -> Value {
        let mut condition = json!({
            "type": self.kind, "status": self.status, "lastTransitionTime": wire_time(now),
        });
        for (field, value) in [("reason", self.reason), ("message", self.message)] {
            if !value.is_empty() {
                put(&mut condition, &[field], value);
            }
        }
        condition
    }
}

/// Puts a condition into a list, in place of the one of its type; the time of transition stays when the
/// status does.
pub(super) fn put_condition(conditions: &mut Vec<Value>, mut condition: Value) {
    let same_type = |one: &Value| text(one, "/type") == text(&condition, "/type");
    let Some(at) = conditions.iter().position(same_type) else {
        conditions.push(condition);
        return;
    };
    let found = &conditions[at];
    if text(found, "/status") == text(&condition, "/status")
        && let Some(since) = found.get("lastTransitionTime")
    {
        put(&mut condition, &["lastTransitionTime"], since.clone());
    }
    conditions[at] = condition;
}

/// Resolves an int-or-percent against a total; text that is neither is absent.
pub(super) fn scaled(value: Option<&Value>, total: i64, round_up: bool) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent.checked_mul(total)?;
            Some(if round_up {
                product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
            } else {
                product.div_euclid(100)
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_objects_read_as_absent_and_can_be_written() {
        for odd in [json!(null), json!([1]), json!("x"), json!({"metadata": 3, "status": []})] {
            assert_eq!((name(&odd), namespace(&odd), is_deleting(&odd)), ("", None, false), "{odd}");
            let mut written = odd.clone();
            put(&mut written, &["metadata", "labels", "a/b"], "c");
            assert_eq!(labels(&written).and_then(|all| all.get("a/b")), Some(&json!("c")), "{odd}");
            remove(&mut written, &["metadata", "labels", "a/b"]);
            assert_eq!(labels(&written).map(Map::len), Some(0), "{odd}");
        }
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        for (a, b, expected) in [
            (json!({"a": {}, "b": "", "c": [], "d": null}), json!({}), true),
            (json!({"a": [{"b": {}}]}), json!({"a": [{}]}), true),
            (json!({"a": [1]}), json!({"a": [1, 2]}), false),
            (json!({"a": 0}), json!({}), false),
            (json!({"a": false}), json!({"a": true}), false),
        ] {
            assert_eq!((means_same(&a, &b), means_same(&b, &a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn ints_and_percents() {
        for (value, total, round_up, expected) in [
            (json!(3), 10, true, Some(3)),
            (json!("25%"), 10, true, Some(3)),
            (json!("25%"), 10, false, Some(2)),
            (json!("100%"), 7, true, Some(7)),
            (json!("25"), 10, true, None),
            (json!(null), 10, true, None),
        ] {
            assert_eq!(scaled(Some(&value), total, round_up), expected, "{value} of {total}, {round_up}");
        }
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (seconds, expected) in
            [(10, "10s"), (60, "1m0s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s")]
        {
            assert_eq!(go_duration(SignedDuration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut list = vec![];
        for (second, status, expected) in
            [(10, "False", 10), (20, "False", 10), (30, "True", 30), (40, "True", 30)]
        {
            let says = Says { kind: "Ready", status, reason: "", message: "" };
            put_condition(&mut list, says.at(at(second)));
            assert_eq!(list.len(), 1);
            assert_eq!(time(&list[0], "/lastTransitionTime"), Some(at(expected)), "at {second}");
        }
    }
}
