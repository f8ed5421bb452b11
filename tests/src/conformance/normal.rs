//! What two servers may have different names for, under names that compare.
//!
//! Uids, times, resource versions, generated names, addresses and ports become names in angle brackets;
//! the same value gets the same name, resource versions are numbered in their order. Everything else
//! stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::side::Answer;

/// The shape of a uid: `X` is a hexadecimal digit.
const UID: &str = "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX";
/// The shape of a server's time: `D` is a digit.
const TIME: &str = "20DD-DD-DDTDD:DD:DDZ";
/// The shape of a name that a server makes up: `D` is a digit, `*` a letter or digit.
const MADE: &str = "made-D-*****";
/// How the times begin that requests themselves bring.
const GIVEN_TIME: &str = "2026-01-01";

/// The part of `text` at `at`, if it has this shape.
fn shaped<'a>(text: &'a str, at: usize, shape: &str) -> Option<&'a str> {
    let part = text.get(at..at + shape.len())?;
    let fits = part.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
        b'X' => byte.is_ascii_hexdigit(),
        b'D' => byte.is_ascii_digit(),
        b'*' => byte.is_ascii_lowercase() || byte.is_ascii_digit(),
        _ => byte == shape,
    });
    fits.then_some(part)
}

/// Everything that one server told in the course of a sequence.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// Answers, by request.
    pub answers: Vec<Answer>,
    /// Events, by watch.
    pub watches: Vec<Vec<Value>>,
}

/// Rewrites a transcript.
pub fn normalise(transcript: &Transcript) -> Transcript {
    let mut versions = BTreeSet::new();
    for answer in &transcript.answers {
        collect_versions(&answer.body, &mut versions);
    }
    for event in transcript.watches.iter().flatten() {
        collect_versions(&event["object"], &mut versions);
    }
    let mut names = Names {
        versions: versions.into_iter().zip(1..).collect(),
        made: BTreeMap::new(),
        uids: BTreeMap::new(),
        addresses: BTreeMap::new(),
    };
    let answers = transcript.answers.iter().map(|answer| {
        let mut body = answer.body.clone();
        names.object(&mut body);
        Answer {
            code: answer.code,
            warnings: answer.warnings.iter().map(|text| names.text(text)).collect(),
            body,
        }
    });
    let answers = answers.collect();
    let watches = transcript.watches.iter().map(|events| {
        let events = events.iter().map(|event| {
            let mut event = event.clone();
            names.object(&mut event["object"]);
            event
        });
        events.collect()
    });
    let watches = watches.collect();
    Transcript { answers, watches }
}

fn is_list(object: &Value) -> bool {
    object["items"].is_array() && object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
}

fn collect_versions(object: &Value, versions: &mut BTreeSet<u64>) {
    if is_list(object) {
        for item in object["items"].as_array().into_iter().flatten() {
            collect_versions(item, versions);
        }
        return;
    }
    let version = object["metadata"]["resourceVersion"].as_str();
    versions.extend(version.and_then(|text| text.parse::<u64>().ok()));
}

struct Names {
    versions: BTreeMap<u64, u64>,
    made: BTreeMap<String, usize>,
    uids: BTreeMap<String, usize>,
    addresses: BTreeMap<String, usize>,
}

impl Names {
    fn object(&mut self, object: &mut Value) {
        if is_list(object) {
            // Others write meanwhile, so this says only that there is a version.
            for key in ["resourceVersion", "continue"] {
                if let Some(slot) = object["metadata"]
                    .get_mut(key)
                    .filter(|slot| slot.as_str().is_some_and(|text| !text.is_empty()))
                {
                    *slot = format!("<{key}>").into();
                }
            }
            for item in object["items"].as_array_mut().into_iter().flatten() {
                self.object(item);
            }
            self.walk(&mut object["metadata"]);
            return;
        }
        if let Some(metadata) = object.get_mut("metadata").filter(|metadata| metadata.is_object()) {
            self.metadata(metadata);
        }
        self.addresses(object);
        self.walk(object);
    }

    fn metadata(&mut self, metadata: &mut Value) {
        let number = metadata["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        if let Some(rank) = number.and_then(|number| self.versions.get(&number)) {
            metadata["resourceVersion"] = format!("<version {rank}>").into();
        }
        if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            for entry in &mut *entries {
                if let Some(time) = entry.get_mut("time") {
                    *time = "<time>".into();
                }
            }
            // They are ordered by their times, which may or may not fall into the same second.
            entries.sort_by_cached_key(|entry| {
                ["operation", "manager", "apiVersion", "subresource", "fieldsV1"]
                    .map(|key| entry[key].to_string())
            });
        }
    }

    fn addresses(&mut self, object: &mut Value) {
        let mut rename = |slot: &mut Value| {
            if let Some(text) = slot.as_str().filter(|text| text.starts_with("10.")) {
                let next = self.addresses.len();
                *slot = format!("<address {}>", self.addresses.entry(text.to_owned()).or_insert(next)).into();
            }
        };
        if let Some(slot) = object.pointer_mut("/spec/clusterIP") {
            rename(slot);
        }
        object
            .pointer_mut("/spec/clusterIPs")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(rename);
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(map) => map.values_mut().for_each(|entry| self.walk(entry)),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(letter) = text[at..].chars().next() {
            if let Some(uid) = shaped(text, at, UID) {
                let next = self.uids.len();
                out += &format!("<uid {}>", self.uids.entry(uid.to_owned()).or_insert(next));
                at += UID.len();
            } else if let Some(time) = shaped(text, at, TIME).filter(|time| !time.starts_with(GIVEN_TIME)) {
                out += "<time>";
                at += time.len();
            } else if let Some(name) = shaped(text, at, MADE) {
                let next = self.made.len();
                out += &format!("made-<name {}>", self.made.entry(name.to_owned()).or_insert(next));
                at += name.len();
            } else {
                out.push(letter);
                at += letter.len_utf8();
            }
        }
        for (before, after) in
            [("ResourceVersion in the precondition (", ')'), ("ResourceVersion in record (", ')')]
        {
            let Some(begin) = out.find(before).map(|begin| begin + before.len()) else { continue };
            let Some(end) = out[begin..].find(after).map(|length| begin + length) else { continue };
            if let Some(rank) =
                out[begin..end].parse::<u64>().ok().and_then(|number| self.versions.get(&number))
            {
                out.replace_range(begin..end, &format!("<version {rank}>"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: Value) -> Answer {
        Answer { code: 200, warnings: Vec::new(), body }
    }

    fn normal(bodies: [Value; 2]) -> Vec<Value> {
        let transcript = Transcript { answers: bodies.map(answer).to_vec(), watches: Vec::new() };
        normalise(&transcript).answers.into_iter().map(|answer| answer.body).collect()
    }

    #[test]
    fn values_of_two_servers_compare() {
        let bodies = |version: u64, uid: &str, name: &str, time: &str| {
            let metadata = |version: u64| json!({"name": name, "uid": uid, "resourceVersion": version.to_string(), "creationTimestamp": time});
            [
                json!({"metadata": metadata(version)}),
                json!({"metadata": metadata(version + 5), "message": format!("{name} at {time}")}),
            ]
        };
        let real = normal(bodies(
            900,
            "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d11",
            "made-1-aaaaa",
            "2026-11-21T10:00:00Z",
        ));
        let other =
            normal(bodies(7, "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d22", "made-1-bbbbb", "2027-01-21T10:00:01Z"));
        assert_eq!(real, other);
        assert_eq!(real[1]["metadata"]["resourceVersion"], "<version 2>");
    }

    #[test]
    fn order_and_sameness_still_count() {
        let two = |first: &str, second: &str| {
            normal([
                json!({"metadata": {"resourceVersion": first}}),
                json!({"metadata": {"resourceVersion": second}}),
            ])
        };
        assert_eq!(two("3", "9"), two("100", "101"));
        assert_ne!(two("3", "9"), two("3", "3"));
        assert_ne!(two("3", "9"), two("9", "3"));
        assert_ne!(
            normal([json!("made-1-aaaaaa"), json!(0)]),
            normal([json!("made-1-aaaaa"), json!(0)]),
            "the length of a generated name"
        );
    }
}
