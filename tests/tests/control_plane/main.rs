//! The controller on a real control plane: etcd, kube-apiserver, controller-manager, scheduler, and KWOK in
//! the place of kubelets. What only an API server can tell is looked at here; the rest is simulated.

mod analysis;
mod definitions;
mod experiment;
mod failover;
mod fixtures;
mod harness;
mod idle;
mod malformed;
mod people;
mod routed;
