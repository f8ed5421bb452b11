//! The kinds of `argoproj.io/v1alpha1`: their wire form, schemas, names, defaults and the validation
//! that needs one object only.
//!
//! Everything here is a function of its arguments. There is no clock, no client and no file, and
//! nothing is decided about what a controller should do next.

#![warn(missing_docs)]

pub mod rollout;

pub mod blue_green;
pub mod canary;
pub mod steps;
pub mod traffic_routing;

pub mod analysis;
pub mod experiment;
pub mod gates;
pub mod providers;

pub mod keys;
pub mod kind;
pub mod meta;

pub mod lenient;

pub mod crds;
pub mod defaults;
pub mod quantity;
pub mod step_hash;

pub mod validation;

pub use analysis::{AnalysisPhase, AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate};
pub use experiment::Experiment;
pub use lenient::{FieldProblem, Lenient, parse, parse_rollout};
pub use meta::{IntOrString, LabelSelector, RawObject, RawValue, Time};
pub use quantity::Quantity;
pub use rollout::{Rollout, RolloutSpec, RolloutStatus};
pub use step_hash::step_hash;
