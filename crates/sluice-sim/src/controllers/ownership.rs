//! Owner references: whose an object is, and making it ours or nobody's.
//!
//! Does not decide what to adopt or release; it only knows how that is written.

use serde_json::{Value, json};

use super::object::{items, name, put, text, uid};

/// One owner reference, as written on the dependent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// The owner's foreground deletion waits for this dependent.
    pub blocks: bool,
    is_controller: bool,
}

/// Returns all complete owner references.
pub(super) fn owners(object: &Value) -> Vec<Owner<'_>> {
    let read = |reference| {
        Some(Owner {
            kind: text(reference, "/kind")?,
            name: text(reference, "/name")?,
            uid: text(reference, "/uid")?,
            blocks: super::object::flag(reference, "/blockOwnerDeletion"),
            is_controller: super::object::flag(reference, "/controller"),
        })
    };
    items(object, "/metadata/ownerReferences").iter().filter_map(read).collect()
}

/// Returns the owner that controls this object.
pub(super) fn controller_of(object: &Value) -> Option<Owner<'_>> {
    owners(object).into_iter().find(|owner| owner.is_controller)
}

/// Returns whether `owner` controls `object`.
pub(super) fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller_of(object).is_some_and(|found| found.uid == uid(owner) && !found.uid.is_empty())
}

/// Returns the reference by which `owner` controls a dependent.
pub(super) fn reference_to(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Returns the object with one more owner reference.
pub(super) fn adopted(object: &Value, reference: Value) -> Value {
    let mut references = items(object, "/metadata/ownerReferences").to_vec();
    references.push(reference);
    let mut adopted = object.clone();
    put(&mut adopted, &["metadata", "ownerReferences"], references);
    adopted
}

/// Returns the object without the references to these owners.
pub(super) fn released(object: &Value, owner_uids: &[&str]) -> Value {
    let is_left = |one: &&Value| !text(one, "/uid").is_some_and(|found| owner_uids.contains(&found));
    let references: Vec<Value> =
        items(object, "/metadata/ownerReferences").iter().filter(is_left).cloned().collect();
    let mut released = object.clone();
    if references.is_empty() {
        super::object::remove(&mut released, &["metadata", "ownerReferences"]);
    } else {
        put(&mut released, &["metadata", "ownerReferences"], references);
    }
    released
}
