//! Turning a patch and an object into a new object.
//!
//! Each kind of patch is a pure function of two values here; what becomes of the result is decided in
//! `write`.

use serde_json::Value;

pub mod apply;
pub mod conform;
pub mod fieldset;
pub mod json;
pub mod merge;
pub mod strategic;

/// A patch of one of the kinds that an API server takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// `application/json-patch+json`: an array of operations.
    Json(Value),
    /// `application/merge-patch+json`.
    Merge(Value),
    /// `application/strategic-merge-patch+json`; built-in kinds only.
    Strategic(Value),
    /// `application/apply-patch+yaml`, server-side apply.
    Apply {
        /// The wanted fields.
        object: Value,
        /// Who owns them from now on.
        field_manager: String,
        /// Take fields from other owners.
        force: bool,
    },
}
