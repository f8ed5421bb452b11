//! The binary against a simulated cluster that is served on loopback.

mod acting;
mod cluster;
mod reading;
mod shell;
