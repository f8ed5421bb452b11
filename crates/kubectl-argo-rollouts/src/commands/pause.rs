//! `pause`

use std::io::Write;

use super::{Look, act};
use crate::actions::Action;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Pause a rollout
///
/// The update stays where it is until resume or promote. Promote also skips the current canary step.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollouts to pause
    #[arg(required = true, value_name = "ROLLOUT")]
    names: Vec<String>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    act(&arguments.names, &Action::Pause, Look::No, "paused", flags, out).await
}
