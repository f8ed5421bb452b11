//! The `kubectl-argo-rollouts` binary, which kubectl runs as `kubectl argo rollouts`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_argo_rollouts::cli::run(std::env::args_os())
}
