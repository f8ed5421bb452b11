//! The small languages that users write inside manifests.
//!
//! It decides what a text means. It does not decide what to do about it, and it knows neither
//! Kubernetes objects nor a clock.

#![warn(missing_docs)]

pub mod expr;
pub mod figure;
pub mod go_duration;
pub mod go_format;
pub mod jsonpath;
pub mod judge;
pub mod pause_duration;
pub mod template;
