//! What is checked against files: the generated definitions, and objects that Argo Rollouts wrote.

#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod crds;
mod every_field;
mod fixtures;
