//! Who leads: leader election on the Lease that Argo Rollouts uses.
//!
//! Decides when this process may write to the cluster and keeps the Lease up to date. It does not
//! start or stop any work: others ask the [`Leadership`] handle before each write and subscribe to
//! its changes. Losing the lease ends nothing; the process goes on as a standby and may lead again.
//!
//! The rules are those of client-go's `tools/leaderelection`: another's lease is timed from when *we*
//! saw its record change, on our own monotonic clock, and no wall clock is compared with another.
//! Stricter than client-go in one point: leading ends the renew deadline after the last successful
//! renewal was *sent*, by a fence that needs no task to run, so that no write is sent afterwards.
//! Also different: the lease is given up on shutdown, and a standby tries at the very moment of expiry.

mod candidate;
mod run;

pub use candidate::{Action, Candidate, Observed, Record, State, Timings, TimingsError, decide};
pub use run::{Leadership, LeaseOptions, identity, lease_name, run};
