//! What belongs to whom, and which revision is which: foreign fields, templates, revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice_sim::Write;

use super::State;
use super::view::{self, HASH, REVISION};

/// What has been applied and created so far.
#[derive(Default)]
pub(super) struct Memory {
    /// How often the template has changed in meaning, the first one included.
    templates: u64,
    /// The template that stands.
    template: Option<u64>,
    /// How often the Rollout's revision has changed.
    revisions: u64,
    /// The same for each ReplicaSet.
    set_revisions: BTreeMap<String, u64>,
    /// The annotations that the Rollout has ever had.
    annotations: Vec<(String, String)>,
}

/// Fields of metadata that the API server writes.
const SERVER: [&str; 3] = ["metadata/resourceVersion", "metadata/managedFields", "metadata/generation"];

pub(super) fn check(state: &mut State, write: &Write) {
    foreign_fields(state, write);
    if &*write.kind == "ReplicaSet" {
        match (&write.before, &write.after) {
            (None, Some(after)) => created(state, write, &Arc::clone(after)),
            (Some(before), Some(after)) => {
                for path in ["/spec/template", "/spec/selector", "/metadata/labels"] {
                    if before.pointer(path) != after.pointer(path) {
                        state.report("I9", write, format!("{path} of an existing ReplicaSet changes"));
                    }
                }
            }
            _ => {}
        }
    }
    revisions(state, write);
}

/// Whatever is not ours comes out as it was.
fn foreign_fields(state: &mut State, write: &Write) {
    let (Some(before), Some(after)) = (&write.before, &write.after) else { return };
    let mut ignored: Vec<&str> = SERVER.to_vec();
    let annotation = |key: &str| format!("metadata/annotations/{}", key.replace('/', "~1"));
    let ours: Vec<String> = match &*write.kind {
        "Rollout" => vec![annotation(REVISION)],
        "Service" => vec![
            annotation("argo-rollouts.argoproj.io/managed-by-rollouts"),
            annotation("sluice.dev/selected-at"),
            format!("spec/selector/{HASH}"),
        ],
        _ => {
            let keys = ["revision", "revision-history", "desired-replicas"];
            let mut ours: Vec<String> =
                keys.iter().map(|key| annotation(&format!("rollout.argoproj.io/{key}"))).collect();
            ours.push(annotation("scale-down-deadline"));
            ours.extend(state.identity.annotations.iter().filter_map(|(key, value)| {
                let is_copied = after["metadata"]["annotations"][key].as_str() == Some(value.as_str());
                is_copied.then(|| annotation(key))
            }));
            ours.extend(["spec/replicas".into(), "spec/minReadySeconds".into()]);
            ours
        }
    };
    ignored.extend(ours.iter().map(String::as_str));
    if &*write.kind == "Rollout" {
        if write.subresource == Some("status") {
            ignored.push("status");
        } else if before["spec"].get("replicas").is_none() {
            ignored.push("spec/replicas");
        }
    }
    if &*write.kind == "ReplicaSet" && before["metadata"].get("ownerReferences").is_none() {
        ignored.push("metadata/ownerReferences");
    }
    // A missing map and an empty one say the same.
    let found: Vec<String> = view::differences(before, after, &ignored)
        .into_iter()
        .filter(|line| !line.starts_with("metadata/annotations: none -> "))
        .collect();
    if !found.is_empty() {
        state.report("I9", write, format!("changes what is not ours: {}", found.join("; ")));
    }
}

fn created(state: &mut State, write: &Write, after: &Value) {
    let template = view::print(&after["spec"]["template"]);
    let is_same = |other: &Value| {
        other["metadata"]["name"] != after["metadata"]["name"]
            && other["metadata"].get("deletionTimestamp").is_none()
            && view::print(&other["spec"]["template"]) == template
            && other.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str) == Some("Rollout")
    };
    let twin = state
        .objects
        .iter()
        .find(|((kind, _), object)| &**kind == "ReplicaSet" && is_same(object))
        .map(|((_, name), _)| name.clone());
    if let Some(twin) = twin {
        state.report(
            "I10",
            write,
            format!("runs the same template as {twin}, wanted one ReplicaSet for one template"),
        );
    }
    if state.seen().all(|moment| moment.rollout.template != template) {
        state.report("I10", write, "runs a template that nobody asked for".into());
    }
    let hash = after["metadata"]["labels"][HASH].as_str().unwrap_or_default();
    let in_pods = after["spec"]["template"]["metadata"]["labels"][HASH].as_str();
    let in_selector = after["spec"]["selector"]["matchLabels"][HASH].as_str();
    if hash.is_empty() || in_pods != Some(hash) || in_selector != Some(hash) {
        state.report("I10", write, format!("hash {hash} is not the one of its pods and its selector"));
    }
}

/// Revisions rise, and only when the template changed in meaning.
fn revisions(state: &mut State, write: &Write) {
    let revision = |object: &Option<Arc<Value>>| -> Option<i64> {
        object.as_ref()?["metadata"]["annotations"][REVISION].as_str()?.parse().ok()
    };
    let (old, new) = (revision(&write.before), revision(&write.after));
    let Some(new) = new.filter(|new| old != Some(*new)) else { return };
    if let Some(old) = old.filter(|old| new < *old) {
        state.report("I10", write, format!("revision {old} -> {new} falls"));
    }
    let count = match &*write.kind {
        "Rollout" => {
            state.identity.revisions += 1;
            state.identity.revisions
        }
        "ReplicaSet" => {
            let count = state.identity.set_revisions.entry(write.name.clone()).or_default();
            *count += 1;
            *count
        }
        _ => return,
    };
    let templates = state.identity.templates;
    if count > templates {
        state.report(
            "I10",
            write,
            format!("revision {new} is change {count}, and the template changed {templates} times"),
        );
    }
}

/// Takes note of what people and the cluster do.
pub(super) fn remember(state: &mut State, write: &Write, is_own: bool) {
    let Some(after) = write.after.as_ref().filter(|_| &*write.kind == "Rollout" && !is_own) else { return };
    let template = state.now.rollout.template;
    let memory = &mut state.identity;
    if memory.template != Some(template) {
        memory.template = Some(template);
        memory.templates += 1;
    }
    for (key, value) in after["metadata"]["annotations"].as_object().into_iter().flatten() {
        let entry = (key.clone(), value.as_str().unwrap_or_default().to_owned());
        if !memory.annotations.contains(&entry) {
            memory.annotations.push(entry);
        }
    }
}
