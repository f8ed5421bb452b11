//! Which version each subset of a DestinationRule selects.
//!
//! Subsets of others stay. Argo Rollouts removes them, and adds one for each experiment that no route ever
//! names; both are left out here.

use serde_json::Value;
use sluice_api::keys::{MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH};
use sluice_api::traffic_routing::IstioDestinationRule;

use crate::{ObjectRef, Routes, Subsets, TrafficError, fields};

/// The versions that the two subsets select.
pub(super) fn read(
    object: &Value,
    reference: &ObjectRef,
    rule: &IstioDestinationRule,
) -> Result<Subsets, TrafficError> {
    let list = fields::list(object, reference, "spec.subsets")?;
    let hash = |name: &str| {
        let subset = &list[position(list, reference, name)?];
        Ok(hash_of(subset).map(str::to_owned))
    };
    Ok(Subsets { stable: hash(&rule.stable_subset_name)?, canary: hash(&rule.canary_subset_name)? })
}

/// Lets the two subsets select the versions of `routes`.
pub(super) fn write(
    object: &mut Value,
    reference: &ObjectRef,
    rule: &IstioDestinationRule,
    rollout: &str,
    routes: &Routes,
) -> Result<(), TrafficError> {
    let mut list = fields::list(object, reference, "spec.subsets")?.to_vec();
    let wanted =
        [(&rule.stable_subset_name, &routes.stable_hash), (&rule.canary_subset_name, &routes.canary_hash)];
    let (mut is_asked, mut is_changed) = (false, false);
    for (name, hash) in wanted {
        let at = position(&list, reference, name)?;
        let Some(hash) = hash else { continue };
        is_asked = true;
        let hash = Some(hash.as_str()).filter(|hash| !hash.is_empty());
        if hash_of(&list[at]) != hash {
            is_changed = true;
            set_hash(&mut list[at], hash).ok_or_else(|| {
                let field = format!("spec.subsets[{at}].labels");
                TrafficError::unfit(reference, field, "must be an object")
            })?;
        }
    }
    if is_changed {
        fields::set_list(object, reference, "spec.subsets", list)?;
    }
    // Two Rollouts may share a DestinationRule: the other's name is replaced with a change only, or both
    // would write for ever.
    if is_changed || (is_asked && fields::annotation(object, MANAGED_BY_ROLLOUTS).is_none()) {
        fields::set_annotation(object, reference, MANAGED_BY_ROLLOUTS, Some(rollout.into()))?;
    }
    Ok(())
}

fn position(list: &[Value], reference: &ObjectRef, name: &str) -> Result<usize, TrafficError> {
    let found = list.iter().position(|subset| !name.is_empty() && fields::text(subset, "name") == name);
    found.ok_or_else(|| {
        let problem = format!("has no subset '{name}': add it, or name another in the spec");
        TrafficError::unfit(reference, "spec.subsets", problem)
    })
}

fn hash_of(subset: &Value) -> Option<&str> {
    subset.get("labels")?.get(POD_TEMPLATE_HASH)?.as_str()
}

/// Sets the label, or takes it away; `None` if there is no place for it.
fn set_hash(subset: &mut Value, hash: Option<&str>) -> Option<()> {
    let subset = subset.as_object_mut()?;
    if let Some(hash) = hash {
        fields::filled(subset, "labels")?.insert(POD_TEMPLATE_HASH.into(), hash.into());
        return Some(());
    }
    let labels = subset.get_mut("labels")?.as_object_mut()?;
    labels.remove(POD_TEMPLATE_HASH);
    if labels.is_empty() {
        subset.remove("labels");
    }
    Some(())
}
