//! The command line: words and flags, and what a process says at its end.
//!
//! Exit codes are Argo Rollouts': 0 for success and help, 1 for everything else. Arguments that do not
//! fit bring the usage to stderr.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    abort, list, pause, promote, restart, resume, retry, set_image, status, undo, version,
};
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Manage Argo Rollouts
#[derive(Debug, Parser)]
#[command(name = "kubectl-argo-rollouts", bin_name = "kubectl argo rollouts")]
pub struct Cli {
    #[command(flatten)]
    kube: KubeFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Abort(abort::Arguments),
    /// List rollouts
    #[command(subcommand)]
    List(List),
    Pause(pause::Arguments),
    Promote(promote::Arguments),
    Restart(restart::Arguments),
    Resume(resume::Arguments),
    /// Retry a rollout
    #[command(subcommand)]
    Retry(Retry),
    /// Update values on a rollout
    #[command(subcommand)]
    Set(Set),
    Status(status::Arguments),
    Undo(undo::Arguments),
    Version(version::Arguments),
}

#[derive(Debug, Subcommand)]
enum List {
    #[command(visible_aliases = ["ro", "rollout"])]
    Rollouts(list::Arguments),
}

#[derive(Debug, Subcommand)]
enum Retry {
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout(retry::Arguments),
}

#[derive(Debug, Subcommand)]
enum Set {
    Image(set_image::Arguments),
}

/// Reads a truth value as Go does.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// Runs the command line to its end.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return say_parse_error(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say_error(&CommandError::Output(error)),
    };
    let mut out = io::stdout();
    let outcome = runtime.block_on(dispatch(cli, &mut out));
    match outcome.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say_error(&error),
    }
}

async fn dispatch(cli: Cli, out: &mut dyn Write) -> Result<(), CommandError> {
    let flags = &cli.kube;
    match cli.command {
        Command::Abort(arguments) => abort::run(&arguments, flags, out).await,
        Command::List(List::Rollouts(arguments)) => list::run(&arguments, flags, out).await,
        Command::Pause(arguments) => pause::run(&arguments, flags, out).await,
        Command::Promote(arguments) => promote::run(&arguments, flags, out).await,
        Command::Restart(arguments) => restart::run(&arguments, flags, out).await,
        Command::Resume(arguments) => resume::run(&arguments, flags, out).await,
        Command::Retry(Retry::Rollout(arguments)) => retry::run(&arguments, flags, out).await,
        Command::Set(Set::Image(arguments)) => set_image::run(&arguments, flags, out).await,
        Command::Status(arguments) => status::run(&arguments, flags, out).await,
        Command::Undo(arguments) => undo::run(&arguments, flags, out).await,
        Command::Version(arguments) => version::run(&arguments, out),
    }
}

fn say_error(error: &CommandError) -> ExitCode {
    if error.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    if let CommandError::Usage(path) = error {
        to_stderr(&usage(path));
        return ExitCode::FAILURE;
    }
    to_stderr(&format!("Error: {error}\n"));
    if let Some(hint) = error.hint() {
        to_stderr(&format!("hint: {hint}\n"));
    }
    ExitCode::FAILURE
}

fn say_parse_error(error: &clap::Error) -> ExitCode {
    let is_positional = |argument: &ContextValue| match argument {
        ContextValue::String(argument) => !argument.starts_with('-'),
        _ => false,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody is left to be told that the reader went away.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => to_stderr(&error.render().to_string()),
        ErrorKind::MissingRequiredArgument => to_stderr(&usage_in(error)),
        ErrorKind::UnknownArgument if error.get(ContextKind::InvalidArg).is_some_and(is_positional) => {
            to_stderr(&usage_in(error));
        }
        _ => {
            let text = error.render().to_string();
            to_stderr(&format!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text)));
        }
    }
    ExitCode::FAILURE
}

const MORE: &str = "\n\nFor more information, try '--help'.\n";

fn usage_in(error: &clap::Error) -> String {
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => format!("{usage}{MORE}"),
        _ => error.render().to_string(),
    }
}

/// The usage of the command at `path`.
fn usage(path: &[&str]) -> String {
    let mut root = Cli::command();
    root.build();
    let command = path.iter().try_fold(&mut root, |command, word| command.find_subcommand_mut(word));
    command.map(clap::Command::render_usage).map_or_else(String::new, |usage| format!("{usage}{MORE}"))
}

fn to_stderr(text: &str) {
    // There is no other place to complain to.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn truth_values() {
        for (text, expected) in [
            ("true", Some(true)),
            ("T", Some(true)),
            ("0", Some(false)),
            ("False", Some(false)),
            ("yes", None),
            ("", None),
        ] {
            assert_eq!(go_bool(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn usages() {
        let expected = "Usage: kubectl argo rollouts set image [OPTIONS] <NAME> <CONTAINER=IMAGE>\n\n\
                        For more information, try '--help'.\n";
        assert_eq!(usage(&["set", "image"]), expected);
    }
}
