//! The controller: watches, caches, queue, leader lease, act, metrics, health.
//!
//! The shell around the engine. It gathers what the watches have told, calls `sluice_engine::decide`,
//! carries the plan out and comes back. What a rollout should do is not decided here.

pub mod act;
pub mod analysis;
pub mod cache;
pub mod clock;
#[cfg(feature = "demo")]
pub mod demo;
pub mod events;
pub mod experiments;
pub mod flags;
pub mod gather;
pub mod kept;
pub mod lease;
pub mod logging;
pub mod metrics;
pub mod pod_sync;
pub mod pods;
pub mod queue;
pub mod reconcile;
pub mod routes;
pub mod run;
pub mod selections;
pub mod server;
pub mod workloads;

pub use run::{Controller, Handle, Options};
