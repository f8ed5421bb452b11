//! Built-in kinds: their shapes, defaults and rules.

pub mod defaults;
pub mod rules;
pub mod types;
