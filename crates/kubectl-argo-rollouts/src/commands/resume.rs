//! `resume`, which Argo Rollouts does not have.

use std::io::Write;

use super::{Look, act};
use crate::actions::Action;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Resume a paused rollout
///
/// Ends a pause by hand and the pause of a step. Unlike promote, it never skips a step: on a rollout that
/// is not paused it does nothing.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollouts to resume
    #[arg(required = true, value_name = "ROLLOUT")]
    names: Vec<String>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    act(&arguments.names, &Action::Resume, Look::First, "resumed", flags, out).await
}
