//! An annotation in which each Rollout keeps a list of names: JSON, Rollout by Rollout.
//!
//! Objects that several Rollouts share say so who wrote what. The others' entries stay as they are.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_api::step_hash::go_json;

use crate::{ObjectRef, TrafficError, fields};

/// The names that this Rollout has on record.
pub(crate) fn names(
    object: &Value,
    reference: &ObjectRef,
    key: &str,
    rollout: &str,
) -> Result<Vec<String>, TrafficError> {
    let mut entries = entries(object, reference, key)?;
    let Some(entry) = entries.remove(rollout) else { return Ok(Vec::new()) };
    serde_json::from_value(entry).map_err(|_| unreadable(reference, key))
}

/// What every Rollout has on record.
pub(crate) fn all(
    object: &Value,
    reference: &ObjectRef,
    key: &str,
) -> Result<BTreeMap<String, Vec<String>>, TrafficError> {
    let read = |(rollout, entry)| Ok((rollout, serde_json::from_value(entry)?));
    let entries = entries(object, reference, key)?.into_iter().map(read);
    entries.collect::<serde_json::Result<_>>().map_err(|_| unreadable(reference, key))
}

/// Puts these names on record; without any the entry goes.
pub(crate) fn record(
    object: &mut Value,
    reference: &ObjectRef,
    key: &str,
    rollout: &str,
    names: Vec<String>,
) -> Result<(), TrafficError> {
    let before = entries(object, reference, key)?;
    let mut after = before.clone();
    if names.is_empty() {
        after.remove(rollout);
    } else {
        after.insert(rollout.into(), names.into());
    }
    if after == before {
        // Whatever spaces another writer put there stay.
        return Ok(());
    }
    let text = (!after.is_empty()).then(|| String::from_utf8_lossy(&go_json(&after)).into_owned());
    fields::set_annotation(object, reference, key, text)
}

fn entries(
    object: &Value,
    reference: &ObjectRef,
    key: &str,
) -> Result<BTreeMap<String, Value>, TrafficError> {
    let text = fields::annotation(object, key).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(text).map_err(|_| unreadable(reference, key))
}

fn unreadable(reference: &ObjectRef, key: &str) -> TrafficError {
    let problem = "is no JSON object with a list of names for each Rollout: remove the annotation";
    TrafficError::unfit(reference, format!("metadata.annotations[{key}]"), problem)
}
