//! Stories on the simulated cluster: the real controller, virtual time.

mod analysis;
mod blue_green;
mod canary;
mod examples;
mod experiment;
mod gates;
mod pods;
mod routed;
mod routers;
mod services;
mod timeline;
mod trial;
mod workload;
