//! A small Kubernetes cluster in process.
//!
//! Not a mock that expects calls: an API server that behaves, on tokio's clock, so that a paused clock
//! makes its time virtual. Objects with resource versions, lists and watches with bookmarks and 410, the
//! four kinds of patches, managed fields, custom kinds with pruning, defaults and validation, tables for
//! kubectl. Faults between a client and the cluster are settings. It knows the kinds of Kubernetes and
//! those that CustomResourceDefinitions bring; it knows nothing of rollouts.
//!
//! Everything that is random comes from a seed, nothing reads a real clock, and no thread is started.
//!
//! Reading order: [`Cluster`] is what users hold; `request` turns HTTP into operations; `write`, `read`
//! and `watch` are the operations; `store` keeps objects and history; `patch`, `schema`, `builtin` and
//! `meta` say what an object may look like and becomes.

mod audit;
mod builtin;
mod client;
mod cluster;
pub mod controllers;
mod crd;
mod decode;
mod delete;
mod discovery;
mod events;
mod faults;
mod jsonpath;
mod meta;
mod openapi;
mod patch;
mod proto;
mod quantity;
mod read;
mod request;
mod resource;
mod route;
mod run;
mod schema;
pub mod seam;
mod selector;
mod serve;
mod state;
mod status;
mod store;
mod subresource;
mod table;
mod time;
mod typed;
mod watch;
mod write;

pub use audit::Request;
pub use cluster::{Clock, Cluster, Options};
pub use delete::DeleteOptions;
pub use faults::{Failure, Faults, When};
pub use patch::Patch;
pub use serve::Served;
pub use state::Write;
pub use status::Status;
pub use store::{Change, Entry, ObjectKey};
