//! `promote`

use std::io::Write;
use std::slice;

use super::{Look, act};
use crate::actions::{Action, Promotion};
use crate::cli::go_bool;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Promote a rollout
///
/// Ends the pause that the rollout waits in. A canary that is at a step and not in a pause goes past that
/// step; one that was paused by hand is resumed and goes past its step too.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollout to promote
    #[arg(value_name = "ROLLOUT")]
    name: String,
    /// Skip all that is left: analysis, pauses and steps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    full: bool,
    /// Skip the current step (deprecated: promote does that)
    #[arg(short = 'c', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    skip_current_step: bool,
    /// Skip all steps (deprecated: use --full)
    #[arg(short = 'a', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    skip_all_steps: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Arguments { name, full, skip_current_step, skip_all_steps } = arguments;
    let promotion = Promotion::from_flags(*full, *skip_current_step, *skip_all_steps)?;
    let done = match promotion {
        Promotion::Full => "fully promoted",
        Promotion::Next | Promotion::SkipCurrentStep | Promotion::SkipAllSteps => "promoted",
    };
    act(slice::from_ref(name), &Action::Promote(promotion), Look::First, done, flags, out).await
}
