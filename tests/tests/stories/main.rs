//! Stories on the simulated cluster: the real controller, virtual time.

mod blue_green;
mod canary;
mod timeline;
