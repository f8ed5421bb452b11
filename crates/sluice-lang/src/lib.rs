//! The small languages that users write inside manifests.
//!
//! It decides what a text means. It does not decide what to do about it, and it knows neither
//! Kubernetes objects nor a clock.

#![warn(missing_docs)]

pub mod go_duration;
pub mod pause_duration;
