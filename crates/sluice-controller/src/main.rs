//! The `sluice` binary: the controller, the demo, and the CRDs.

mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Progressive delivery for Kubernetes.
#[derive(Parser)]
#[command(name = "sluice", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller; `sluice controller --help` lists its flags
    Controller,
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Show a good version promoted and a bad one taken back, on a simulated cluster
    #[cfg(feature = "demo")]
    Demo(sluice_controller::demo::DemoArgs),
}

/// The name under which manifests made for Argo Rollouts start the controller.
const ARGO_NAME: &str = "rollouts-controller";

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().map(std::path::PathBuf::from).unwrap_or_default();
    let is_argo_name = called.file_name().is_some_and(|name| name == ARGO_NAME);
    if !is_argo_name && arguments.get(1).is_some_and(|word| word == "controller") {
        arguments.remove(1);
        return report(serve::controller(arguments));
    }
    if is_argo_name {
        return report(serve::controller(arguments));
    }
    let cli = Cli::parse();
    report(match cli.command {
        Command::Controller => unreachable!("taken care of above"),
        Command::Crds => crds(),
        #[cfg(feature = "demo")]
        Command::Demo(args) => single_threaded(sluice_controller::demo::run(args)),
    })
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn crds() -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for crd in sluice_api::crds::all() {
        write!(out, "---\n{}", sluice_api::crds::to_yaml(&crd))?;
    }
    Ok(())
}

#[cfg(feature = "demo")]
fn single_threaded(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
