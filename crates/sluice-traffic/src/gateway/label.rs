//! The label on a route while the canary gets something, by which GitOps tools know to leave it alone.
//!
//! Several Rollouts may share a route. Who asked for the label is on record, so that it stays until the
//! last of them is done; a label that another controller left has no record and needs none.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::Label;
use crate::{ObjectRef, TrafficError, fields, ledger};

/// Annotation on routes: which label each Rollout asked for.
pub(super) const IN_PROGRESS: &str = "sluice.dev/in-progress";

/// Brings label and record to where they are to be.
pub(super) fn write(
    object: &mut Value,
    reference: &ObjectRef,
    rollout: &str,
    label: Option<Label>,
    is_in_progress: bool,
) -> Result<(), TrafficError> {
    let wanted = label.filter(|_| is_in_progress);
    let mut others: BTreeMap<String, Vec<String>> = ledger::all(object, reference, IN_PROGRESS)?;
    let recorded = others.remove(rollout).unwrap_or_default();
    let former = recorded.iter().map(String::as_str).chain(label.map(|label| label.key));
    let former: Vec<String> = former
        .filter(|key| wanted.is_none_or(|wanted| wanted.key != *key))
        .filter(|key| !others.values().flatten().any(|other| other == key))
        .map(str::to_owned)
        .collect();
    for key in former {
        fields::set_label(object, reference, &key, None)?;
    }
    let mut record = Vec::new();
    if let Some(label) = wanted {
        let is_there = fields::label(object, label.key) == Some(label.value);
        if !is_there {
            fields::set_label(object, reference, label.key, Some(label.value.into()))?;
        }
        if !is_there || !recorded.is_empty() || !others.is_empty() {
            record.push(label.key.to_owned());
        }
    }
    ledger::record(object, reference, IN_PROGRESS, rollout, record)
}
