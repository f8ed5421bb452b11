//! Events have two faces, `v1` and `events.k8s.io/v1`; the first is stored.

use serde_json::{Map, Value, json};

/// Field of `events.k8s.io/v1`, field of `v1`.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

fn rename(value: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = value.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(inner) = map.remove(from) {
            map.insert(to.to_owned(), inner);
        }
    }
}

/// `v1` to `events.k8s.io/v1`.
pub fn to_new(value: &mut Value) {
    rename(value, NAMES.iter().map(|(new, core)| (*core, *new)));
    value["apiVersion"] = Value::from("events.k8s.io/v1");
    if let Some(map) = value.as_object_mut() {
        map.retain(|key, inner| {
            !matches!(key.as_str(), "reportingController" | "reportingInstance") || inner != ""
        });
        map.entry("regarding").or_insert_with(|| Value::Object(Map::new()));
        for key in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"] {
            map.entry(key).or_insert(Value::Null);
        }
        map.entry("deprecatedSource").or_insert_with(|| Value::Object(Map::new()));
    }
}

/// `events.k8s.io/v1` to `v1`.
pub fn to_core(value: &mut Value) {
    rename(value, NAMES.iter().copied());
    value["apiVersion"] = Value::from("v1");
    if let Some(map) = value.as_object_mut() {
        for key in ["reportingComponent", "reportingInstance"] {
            map.entry(key).or_insert_with(|| Value::from(""));
        }
        for key in ["involvedObject", "source"] {
            map.entry(key).or_insert_with(|| json!({}));
        }
        for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            map.entry(key).or_insert(Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_faces_say_the_same() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "message": "m",
            "source": {}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null, "reportingComponent": "c", "reportingInstance": "i"});
        let mut other = core.clone();
        to_new(&mut other);
        assert_eq!(
            (&other["note"], &other["regarding"]["kind"], &other["reportingController"]),
            (&json!("m"), &json!("Pod"), &json!("c"))
        );
        to_core(&mut other);
        assert_eq!(other, core);
    }
}
