//! Runs a control plane with fake nodes for people, until Ctrl-C.
//!
//! It is the one that the tests use: real API server, controllers and scheduler, played pods.

use std::{error::Error, fmt::Write, fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use sluice_tests::cluster::{ControlPlane, Options};

/// Run a Kubernetes control plane with fake nodes until Ctrl-C
///
/// Pods are played, not run: what becomes of a container is read from its image's tag, see
/// tests/controlplane/README.md. All of it, processes and files, is gone when this command ends.
#[derive(Parser)]
struct Arguments {
    /// Number of fake nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Apply this file or folder once the control plane is ready (may be repeated)
    #[arg(long, value_name = "PATH")]
    apply: Vec<PathBuf>,
    /// Also write the kubeconfig to this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Describe the control plane as one line of JSON on stdout
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run(Arguments::parse()).await else { return ExitCode::SUCCESS };
    eprintln!("sluice-cluster: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::from(2)
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if !arguments.json {
        eprintln!("starting a control plane with {} nodes…", arguments.nodes);
    }
    let cluster = ControlPlane::start(Options { nodes: arguments.nodes, ..Options::default() }).await?;
    let mut kubeconfig = cluster.kubeconfig_path();
    if let Some(copy) = arguments.kubeconfig {
        fs::copy(&kubeconfig, &copy)?;
        kubeconfig = fs::canonicalize(copy)?;
    }
    for path in &arguments.apply {
        let path = path.to_string_lossy();
        let output = cluster.kubectl(["apply", "--server-side", "--recursive", "--filename", &*path]).await?;
        eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(format!("kubectl could not apply {path}").into());
        }
    }
    let kubectl = cluster.kubectl_command().as_std().get_program().to_owned();
    if arguments.json {
        let processes: Vec<_> = (cluster.processes().into_iter())
            .map(|(component, id)| serde_json::json!({"name": component.binary(), "pid": id}))
            .collect();
        println!(
            "{}",
            serde_json::json!({
                "url": cluster.url(),
                "kubeconfig": kubeconfig,
                "dir": cluster.dir(),
                "processes": processes,
            })
        );
    } else {
        println!("{}", describe(&cluster, &kubeconfig.display().to_string(), &kubectl.to_string_lossy()));
    }
    tokio::signal::ctrl_c().await?;
    if !arguments.json {
        eprintln!("\nstopping");
    }
    Ok(())
}

fn describe(cluster: &ControlPlane, kubeconfig: &str, kubectl: &str) -> String {
    let mut processes = String::new();
    for (component, id) in cluster.processes() {
        let memory = resident_mebibytes(id).map(|size| format!("{size:>5} MiB")).unwrap_or_default();
        let _ = writeln!(processes, "  {:<24} pid {id:<8} {memory}", component.binary());
    }
    format!(
        "\
Kubernetes is ready at {url} after {ready:.1} s.

In another terminal:

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}
  kubectl get nodes

Pods are played by kwok. An image's tag says what becomes of its container: `bad` crash-loops, `slow` is
ready after 10 s, `unready` never, `pull` cannot be pulled; Jobs fail with `fail` or a command `exit 1`.

{processes}
Logs and the audit log: {logs}
Press Ctrl-C to stop it and remove its files.",
        url = cluster.url(),
        ready = cluster.ready_after().as_secs_f64(),
        logs = cluster.logs_dir().display(),
    )
}

/// Reads how much memory a process has in RAM, where /proc tells.
fn resident_mebibytes(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|size| size / 1024)
}
