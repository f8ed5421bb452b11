//! What the tests that span crates share.

use mimalloc::MiMalloc;

// A third of a simulated canary was the system's allocator: objects are trees of small maps. Only for tests: a
// controller at rest takes twice the memory with it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

pub mod cluster;
pub mod conformance;
pub mod data_plane;
pub mod invariants;
pub mod permissions;
pub mod seeds;
pub mod simulation;
pub mod takeover;
