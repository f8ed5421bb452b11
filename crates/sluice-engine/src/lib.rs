//! All decisions: where a rollout goes, and which write may happen now.
//!
//! [`decide::decide`] is a pure and total function of a [`world::World`] and the time. It never waits,
//! never reads a clock and never calls anybody: what is to be done is data in a [`plan::Plan`].
//!
//! In reading order: `world` (what is looked at), `plan` (what is asked for), `decide` (the top),
//! `pass` (what every strategy does alike), `canary` and `blue_green` (the machines: where we want to be), `moves` (the planner: which writes are safe now),
//! `replicas` (arithmetic), `restart` (which pod may go), `analysis` (which runs are wanted and what they mean), `identity` (which ReplicaSet is which revision), `template` (when two
//! templates mean the same), `status`, `conditions`, `deadline`, `parts` (what pods carry
//! because of the part that their version plays), `references`, `workload` (templates that stand elsewhere), `destinations`, `traffic` (what is known of routes),
//! `spec`.

#![warn(missing_docs)]

pub mod analysis;
pub mod blue_green;
pub mod canary;
pub mod conditions;
pub mod deadline;
pub mod decide;
pub mod destinations;
pub mod experiment;
pub mod identity;
pub mod measure;
pub mod merge;
pub mod moves;
pub mod parts;
mod pass;
pub mod pause;
pub mod plan;
pub mod references;
pub mod replicas;
pub mod restart;
pub mod spec;
pub mod status;
pub mod template;
pub mod traffic;
pub mod trial;
pub mod troubles;
pub mod workload;
pub mod world;

#[cfg(test)]
mod stories;

pub use decide::decide;
