//! Taking a cluster over from Argo Rollouts, and the way back: the real controller on what the other one
//! really wrote, on virtual time.

mod aborted;
mod fixtures;
mod identity;
mod malformed;
mod next;
mod way_back;
