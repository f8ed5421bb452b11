//! `retry rollout`

use std::io::Write;

use super::{Look, act};
use crate::actions::Action;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Retry an aborted rollout
///
/// The update starts again at its first step.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollouts to retry
    #[arg(required = true, value_name = "ROLLOUT")]
    names: Vec<String>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    act(&arguments.names, &Action::Retry, Look::No, "retried", flags, out).await
}
