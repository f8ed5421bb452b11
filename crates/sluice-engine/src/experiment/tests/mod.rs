//! Experiments in a model of a cluster that takes every write as it is asked for.

mod model;
mod properties;
mod rules;
mod vectors;
