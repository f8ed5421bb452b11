//! Which ReplicaSet is which revision.
//!
//! Decides which of the owned ReplicaSets is the current one, what a new one looks like, which number a
//! revision gets and which old ReplicaSets are too many. A ReplicaSet is current because its template
//! *means* what the Rollout's template means; hashes only name it. So a change of controller, of its
//! version or of a library starts no revision. What an API server makes of a template when it stores it
//! (fields that it does not know are dropped, defaults are filled in) starts none either: a ReplicaSet says
//! which template it was made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_api::keys;

use crate::template::TemplateDigest;
use crate::world::{ReplicaSet, Rollout, Spec};
use crate::{parts, template};

/// Returns the ReplicaSet whose template means what `spec` wants. Of several, the one that the status
/// already calls current, then the stable one, then the oldest.
pub fn find_current<'a>(
    rollout: &Rollout,
    spec: &Spec,
    sets: &'a [Arc<ReplicaSet>],
) -> Option<&'a Arc<ReplicaSet>> {
    let source = spec.template.source();
    let fits = |set: &Arc<ReplicaSet>| is_of(set, &spec.template.digest, &source) && !set.is_deleting;
    sets.iter().filter(|set| fits(set)).min_by_key(|set| {
        let rank = if rollout.status.current_pod_hash == set.hash {
            0
        } else if rollout.status.stable_rs == set.hash {
            1
        } else {
            2
        };
        (rank, set.created_at, &set.name)
    })
}

/// Whether a ReplicaSet runs a template: it means the same, or was made of that very text.
pub fn is_of(set: &ReplicaSet, digest: &TemplateDigest, source: &str) -> bool {
    set.template == *digest || set.annotation(TEMPLATE) == Some(source)
}

/// Annotation of a ReplicaSet: a print of the template that it was made of.
pub const TEMPLATE: &str = "sluice.dev/template";

/// Returns the name part for a new ReplicaSet, with the collisions on record.
pub fn new_hash(rollout: &Rollout, spec: &Spec) -> String {
    template::pod_template_hash(&spec.template.json(), rollout.status.collision_count)
}

/// Returns the revision that the current ReplicaSet has to have: above every other one. One that is still to be
/// created also comes after the revision on record, whose ReplicaSet may be gone from the history by now.
pub fn revision(rollout: &Rollout, current: Option<&ReplicaSet>, sets: &[Arc<ReplicaSet>]) -> i64 {
    let is_in_use = !rollout.status.current_pod_hash.is_empty();
    let recorded = rollout.annotation(keys::REVISION).filter(|_| is_in_use && current.is_none());
    let recorded = recorded.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let others =
        sets.iter().filter(|set| current.is_none_or(|c| c.uid != set.uid)).map(|set| set.revision()).max();
    let least = others.unwrap_or(0).max(recorded).saturating_add(1);
    current.map_or(least, |c| c.revision().max(least))
}

/// Returns the annotations that a Rollout's ReplicaSets carry on.
pub fn copied_annotations(rollout: &Rollout) -> impl Iterator<Item = (&String, &String)> {
    rollout.annotations.iter().filter(|(key, _)| {
        !keys::NOT_COPIED_TO_REPLICA_SETS.contains(&key.as_str()) && !key.starts_with(keys::EXTENSION_PREFIX)
    })
}

/// Returns the annotations and `minReadySeconds` that the current ReplicaSet lacks, if any.
#[allow(clippy::type_complexity)]
pub fn amendments(
    rollout: &Rollout,
    spec: &Spec,
    current: &ReplicaSet,
    revision: i64,
) -> Option<(BTreeMap<String, Option<String>>, Option<i64>)> {
    let mut annotations: BTreeMap<String, Option<String>> = copied_annotations(rollout)
        .filter(|(key, value)| current.annotations.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect();
    let old = current.revision();
    if old != revision {
        annotations.insert(keys::REVISION.into(), Some(revision.to_string()));
        if old > 0 {
            let history = match current.annotation(keys::REVISION_HISTORY) {
                Some(history) if !history.is_empty() => format!("{history},{old}"),
                _ => old.to_string(),
            };
            annotations.insert(keys::REVISION_HISTORY.into(), Some(history));
        }
    }
    let min_ready = (current.min_ready_seconds != spec.min_ready_seconds).then_some(spec.min_ready_seconds);
    (!annotations.is_empty() || min_ready.is_some()).then_some((annotations, min_ready))
}

/// Builds the ReplicaSet of a new revision. `stable_hash` is the stable version beside it, if there is one.
#[allow(clippy::too_many_arguments)]
pub fn new_replica_set(
    rollout: &Rollout,
    spec: &Spec,
    hash: &str,
    revision: i64,
    size: i64,
    desired: i64,
    stable_hash: Option<&str>,
) -> Value {
    let mut template = spec.template.json();
    let other = stable_hash.filter(|stable| *stable != hash);
    if let Some((rule, stable)) = spec.parts.anti_affinity.as_ref().zip(other) {
        template["spec"]["affinity"] = parts::keep_apart(&template, rule, stable, &rollout.namespace);
    }
    if !template.get("metadata").is_some_and(Value::is_object) {
        template["metadata"] = json!({});
    }
    if !template["metadata"].get("labels").is_some_and(Value::is_object) {
        template["metadata"]["labels"] = json!({});
    }
    template["metadata"]["labels"][keys::POD_TEMPLATE_HASH] = hash.into();
    let labels = template["metadata"]["labels"].clone();
    if !template["metadata"].get("annotations").is_some_and(Value::is_object) && !spec.parts.is_plain() {
        template["metadata"]["annotations"] = json!({});
    }
    let mut selector = spec.selector.clone();
    if !selector.get("matchLabels").is_some_and(Value::is_object) {
        selector["matchLabels"] = json!({});
    }
    selector["matchLabels"][keys::POD_TEMPLATE_HASH] = hash.into();
    let mut annotations: BTreeMap<&str, String> =
        copied_annotations(rollout).map(|(key, value)| (key.as_str(), value.clone())).collect();
    annotations.insert(keys::REVISION, revision.to_string());
    annotations.insert(TEMPLATE, spec.template.source());
    annotations.insert(keys::DESIRED_REPLICAS, desired.to_string());
    let part = if other.is_some() { &spec.parts.new } else { &spec.parts.stable };
    part.put(&mut template, &mut annotations);
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", rollout.name),
            "namespace": rollout.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(rollout)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if spec.min_ready_seconds > 0 {
        object["spec"]["minReadySeconds"] = spec.min_ready_seconds.into();
    }
    object
}

/// Whether `new` is an older version that may come back at once: it was created before `stable`, and fewer
/// than `window` versions were created in between.
pub fn is_within_window(
    new: &ReplicaSet,
    stable: &ReplicaSet,
    sets: &[Arc<ReplicaSet>],
    window: i64,
) -> bool {
    let is_between = |set: &&Arc<ReplicaSet>| {
        new.created_at < set.created_at
            && set.created_at < stable.created_at
            && set.annotation(keys::EXPERIMENT_NAME).is_none()
    };
    let between = i64::try_from(sets.iter().filter(is_between).count()).unwrap_or(i64::MAX);
    window > 0 && new.created_at < stable.created_at && between < window
}

/// The reference by which a Rollout owns an object.
pub fn owner_reference(rollout: &Rollout) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "name": rollout.name,
        "uid": rollout.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Returns the old ReplicaSets beyond the history limit that nothing needs any more, oldest first.
pub fn surplus<'a>(sets: &'a [Arc<ReplicaSet>], in_use: &[&str], limit: i64) -> Vec<&'a Arc<ReplicaSet>> {
    let mut old: Vec<_> =
        sets.iter().filter(|set| !set.is_deleting && !in_use.contains(&set.hash.as_str())).collect();
    old.sort_by_key(|set| (set.created_at, &set.name));
    let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.truncate(excess);
    old.retain(|set| set.existing == 0 && set.size == 0 && set.generation <= set.observed_generation);
    old
}
