//! What pods carry because of the part that their version plays: labels, annotations, distance.
//!
//! Decides which metadata belongs on which version, what has to change in a ReplicaSet for it, and which
//! pods are to follow. Same record as Argo Rollouts keeps (`rollout.argoproj.io/ephemeral-metadata`), so
//! that either controller can take away what the other put on. None of it is part of a version's identity.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_api::keys;
use sluice_api::meta::PodTemplateMetadata;
use sluice_api::rollout::AntiAffinity;

use crate::world::{ReplicaSet, Template};

/// Annotation of a ReplicaSet whose pods do not carry its metadata yet: what is to go from them. Absent, all
/// pods do.
pub const PENDING: &str = "sluice.dev/metadata-pending";

/// Labels and annotations of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Takes over a block of the spec.
    pub fn of(block: Option<&PodTemplateMetadata>) -> Metadata {
        block.map_or_else(Metadata::default, |block| Metadata {
            labels: block.labels.clone(),
            annotations: block.annotations.clone(),
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    /// Reads the record of what a ReplicaSet carries; what cannot be read counts as nothing.
    pub fn recorded(set: &ReplicaSet) -> Metadata {
        set.annotation(keys::EPHEMERAL_METADATA)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Puts it onto a pod template, and its record beside it.
    pub fn put(&self, template: &mut Value, annotations: &mut BTreeMap<&str, String>) {
        if self.is_empty() {
            return;
        }
        for (field, values) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            for (key, value) in values {
                template["metadata"][field][key] = value.as_str().into();
            }
        }
        annotations.insert(keys::EPHEMERAL_METADATA, self.text());
    }
}

/// What a spec says about parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// `stableMetadata`, or `activeMetadata`.
    pub stable: Metadata,
    /// `canaryMetadata`, or `previewMetadata`.
    pub new: Metadata,
    /// `antiAffinity`.
    pub anti_affinity: Option<AntiAffinity>,
}

impl Parts {
    /// Whether nothing is put on pods.
    pub fn is_plain(&self) -> bool {
        self.stable.is_empty() && self.new.is_empty()
    }
}

/// Keys that are to go from pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Leftovers {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
}

impl Leftovers {
    fn of(set: &ReplicaSet) -> Leftovers {
        set.annotation(PENDING).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// A change of a ReplicaSet: annotations of its own, and a merge patch of its pod template.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Annotations to set or remove.
    pub annotations: BTreeMap<String, Option<String>>,
    /// The merge patch.
    pub template: Value,
}

/// What has to change in `set` so that its pods carry `wanted`; `template` is the Rollout's, which gets its
/// own values back where a part had others.
pub fn change(set: &ReplicaSet, wanted: &Metadata, template: &Template) -> Option<Change> {
    let recorded = Metadata::recorded(set);
    if recorded == *wanted {
        return None;
    }
    let mut left = Leftovers::of(set);
    let own = template.json();
    let mut patch = json!({});
    let fields = [
        ("labels", &recorded.labels, &wanted.labels, &mut left.labels),
        ("annotations", &recorded.annotations, &wanted.annotations, &mut left.annotations),
    ];
    for (field, old, new, left) in fields {
        left.extend(old.keys().cloned());
        left.retain(|key| !new.contains_key(key));
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            patch["metadata"][field][key] = own["metadata"][field][key].clone();
        }
        for (key, value) in new {
            patch["metadata"][field][key] = value.as_str().into();
        }
    }
    let record = (!wanted.is_empty()).then(|| wanted.text());
    let mut annotations = BTreeMap::from([(keys::EPHEMERAL_METADATA.to_owned(), record)]);
    if set.size > 0 || set.existing > 0 {
        let pending = serde_json::to_string(&left).unwrap_or_default();
        annotations.insert(PENDING.to_owned(), Some(pending));
    }
    Some(Change { annotations, template: patch })
}

/// Pods that are to follow their ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSync {
    /// Name of the ReplicaSet.
    pub replica_set: String,
    /// Its uid.
    pub uid: String,
    /// Its pod template hash.
    pub hash: String,
    /// Labels that the pods are to have, or (`None`) not to have.
    pub labels: BTreeMap<String, Option<String>>,
    /// The same of annotations.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// The pods of `set` that are to follow, if any are.
pub fn pods_to_follow(set: &ReplicaSet, template: &Template) -> Option<PodSync> {
    set.annotation(PENDING)?;
    let left = Leftovers::of(set);
    let recorded = Metadata::recorded(set);
    let own = template.json();
    let all = |field: &str, left: &BTreeSet<String>, recorded: &BTreeMap<String, String>| {
        let back =
            left.iter().map(|key| (key.clone(), own["metadata"][field][key].as_str().map(str::to_owned)));
        let put = recorded.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        back.chain(put).collect()
    };
    Some(PodSync {
        replica_set: set.name.clone(),
        uid: set.uid.clone(),
        hash: set.hash.clone(),
        labels: all("labels", &left.labels, &recorded.labels),
        annotations: all("annotations", &left.annotations, &recorded.annotations),
    })
}

/// The affinity of a pod template whose pods are to keep away from those of `stable_hash`.
pub fn keep_apart(template: &Value, rule: &AntiAffinity, stable_hash: &str, namespace: &str) -> Value {
    let mut affinity =
        template.pointer("/spec/affinity").filter(|a| a.is_object()).cloned().unwrap_or(json!({}));
    let term = json!({
        "labelSelector": {"matchExpressions": [
            {"key": keys::POD_TEMPLATE_HASH, "operator": "In", "values": [stable_hash]},
        ]},
        "namespaces": [namespace],
        "topologyKey": "kubernetes.io/hostname",
    });
    let (list, entry) = match &rule.preferred_during_scheduling_ignored_during_execution {
        Some(preferred) => (
            "preferredDuringSchedulingIgnoredDuringExecution",
            json!({"weight": preferred.weight, "podAffinityTerm": term}),
        ),
        None => ("requiredDuringSchedulingIgnoredDuringExecution", term),
    };
    if !affinity["podAntiAffinity"].is_object() {
        affinity["podAntiAffinity"] = json!({});
    }
    match affinity["podAntiAffinity"][list].as_array_mut() {
        Some(entries) => entries.push(entry),
        None => affinity["podAntiAffinity"][list] = json!([entry]),
    }
    affinity
}

/// The version that the pods of a template keep away from because of a controller, by hash.
pub fn kept_apart_from(template: &Value) -> Option<String> {
    let anti = template.pointer("/spec/affinity/podAntiAffinity")?;
    let terms = |list: &str| anti[list].as_array().into_iter().flatten();
    let required = terms("requiredDuringSchedulingIgnoredDuringExecution");
    let preferred =
        terms("preferredDuringSchedulingIgnoredDuringExecution").map(|entry| &entry["podAffinityTerm"]);
    required.chain(preferred).find_map(|term| {
        let expressions = term.pointer("/labelSelector/matchExpressions")?.as_array()?;
        let [only] = expressions.as_slice() else { return None };
        let is_ours = only["key"].as_str() == Some(keys::POD_TEMPLATE_HASH);
        is_ours.then(|| only["values"][0].as_str().map(str::to_owned)).flatten()
    })
}
