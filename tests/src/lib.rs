//! What the tests that span crates share.

pub mod cluster;
pub mod conformance;
pub mod data_plane;
pub mod invariants;
pub mod seeds;
pub mod simulation;
pub mod takeover;
