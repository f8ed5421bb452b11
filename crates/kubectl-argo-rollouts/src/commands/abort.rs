//! `abort`

use std::io::Write;

use super::{Look, act};
use crate::actions::Action;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Abort a rollout
///
/// The update stops where it is and all traffic goes back to the stable revision. The pod template stays
/// as it is: retry takes the update up again, undo brings the old template back.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollouts to abort
    #[arg(required = true, value_name = "ROLLOUT")]
    names: Vec<String>,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    act(&arguments.names, &Action::Abort, Look::No, "aborted", flags, out).await
}
