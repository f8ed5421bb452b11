//! Built-in kinds: their shapes, defaults and rules.

pub mod defaults;
mod pods;
pub mod rules;
pub mod types;
