//! Objects that a router makes, and how it knows them again.

use serde_json::{Value, json};

use crate::{ObjectRef, Scope, TrafficError, fields};

/// `metadata` of a new object of the Rollout.
pub(crate) fn metadata(reference: &ObjectRef, scope: &Scope) -> Value {
    json!({
        "name": reference.name,
        "namespace": reference.namespace,
        "ownerReferences": [{
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": scope.rollout,
            "uid": scope.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Ours,
    Nobody,
    Another,
}

/// Tells by the controller among its owners.
pub(crate) fn owner(object: &Value, reference: &ObjectRef, scope: &Scope) -> Result<Owner, TrafficError> {
    let owners = fields::list(object, reference, "metadata.ownerReferences")?;
    let controller = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    Ok(match controller {
        None => Owner::Nobody,
        Some(owner) if fields::text(owner, "uid") == scope.uid => Owner::Ours,
        Some(_) => Owner::Another,
    })
}

/// The name of the canary's counterpart of an object, short enough for its suffix.
pub(crate) fn canary_name(base: &str) -> String {
    const LONGEST_BASE: usize = 253 - "-canary".len();
    base.chars().take(LONGEST_BASE).chain("-canary".chars()).collect()
}
