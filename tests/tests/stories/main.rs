//! Stories on the simulated cluster: the real controller, virtual time.

mod canary;
mod pods;
mod routed;
mod workload;
