//! The kubectl plugin: acts on rollouts from a shell or a script.
//!
//! Commands, flags, texts and exit codes are those of Argo Rollouts v1.10, so that scripts need not
//! change; a difference is said where it is made. The plugin talks to the Kubernetes API alone and knows
//! no controller.
//!
//! In reading order: [`actions`] (which patches a verb means), [`overlay`] and [`status`] (what state a
//! rollout is in, for people and scripts), [`rows`], [`revisions`] and [`image`] are pure. [`kubeconfig`],
//! [`api`] and [`watch`] reach a cluster, [`commands`] has one file per command, [`cli`] puts them together.

pub mod actions;
pub mod image;
pub mod overlay;
pub mod revisions;
pub mod rows;
pub mod status;

pub mod api;
pub mod kubeconfig;
pub mod watch;

pub mod cli;
pub mod commands;
pub mod error;
mod fields;
