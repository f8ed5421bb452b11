//! `sluice demo`: the real controller on a simulated cluster, with somebody to watch it.
//!
//! Starts a small cluster in this process, serves its API on loopback so that an ordinary kubectl works
//! against it, runs the controller against it, and plays a story: a good version goes out step by step,
//! a bad one is held and taken back. It decides what the people in the story do; what the controller
//! does is not decided here.

mod story;
mod view;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use sluice_sim::Cluster;
use sluice_sim::controllers::{self, Settings};

use self::story::Ending;
use self::view::Screen;
use crate::clock::Clock;
use crate::{Controller, Options};

/// The manifests that the story begins with.
const MANIFESTS: &str = include_str!("../../../../examples/demo/rollout.yaml");

/// Shows a good version promoted and a bad one taken back, on a simulated cluster.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Play in accelerated time, print one line per change, and say with the exit status whether all
    /// went as told. Serves no API.
    #[arg(long)]
    fast: bool,
    /// Exit when the story is told, instead of staying up for kubectl.
    #[arg(long)]
    exit: bool,
    /// Port of the API on loopback; 0 takes any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where to write the kubeconfig.
    #[arg(long, default_value = "sluice-demo.kubeconfig")]
    kubeconfig: PathBuf,
}

/// Plays the demo; the result says whether all went as told.
///
/// # Errors
/// The API cannot be served, the kubeconfig cannot be written, or the story went otherwise.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    if args.fast {
        tokio::time::pause();
    }
    let start = Timestamp::now();
    let cluster = Cluster::new(sluice_sim::Options { start, ..sluice_sim::Options::default() });
    for crd in sluice_api::crds::all() {
        cluster.create("setup", crd).map_err(|status| anyhow::anyhow!("a CRD is refused: {status:?}"))?;
    }
    let settings = Settings {
        ready_after: jiff::SignedDuration::from_millis(1500),
        ready_jitter: jiff::SignedDuration::from_millis(1500),
        ..Settings::default().with_kinds(["Rollout", "AnalysisRun", "Experiment"])
    };
    let workloads = cluster.start_controllers(controllers::standard(settings));

    let mut screen = Screen::new(!args.fast && std::io::stdout().is_terminal());
    let served = if args.fast {
        None
    } else {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        let served =
            cluster.serve(address).await.with_context(|| format!("cannot serve the API on {address}"))?;
        std::fs::write(&args.kubeconfig, Cluster::kubeconfig(served.addr))
            .with_context(|| format!("cannot write {}", args.kubeconfig.display()))?;
        screen.say(&format!(
            "A simulated cluster serves its API on {}. In another terminal:\n\n    kubectl --kubeconfig {} get rollouts -w\n",
            served.addr,
            args.kubeconfig.display(),
        ));
        Some(served)
    };

    let clock = Clock::virtual_from(cluster.now());
    let controller = Controller::new(cluster.client("sluice"), clock, Options::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(controller.run(async move {
        let _ = stopped.await;
    }));

    let manifests = manifests()?;
    let ending = tokio::select! {
        ending = story::play(&cluster, &mut screen, &manifests) => ending,
        _ = tokio::signal::ctrl_c(), if !args.fast => Ending::Interrupted,
    };
    if ending == Ending::AsTold && !args.fast && !args.exit {
        screen.say("The story is told; the cluster stays up. Try your own:\n");
        screen.say(&format!(
            "    kubectl --kubeconfig {0} edit rollout web   (give it the image registry.example/web:3)\n    kubectl --kubeconfig {0} describe rollout web\n\nCtrl-C ends it.\n",
            args.kubeconfig.display(),
        ));
        tokio::select! {
            () = story::watch(&cluster, &mut screen) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    let _ = stop.send(());
    let _ = tokio::time::timeout(Duration::from_secs(2), running).await;
    workloads.abort();
    screen.close();
    if served.is_some() {
        let _ = std::fs::remove_file(&args.kubeconfig);
    }
    match ending {
        Ending::AsTold | Ending::Interrupted => Ok(()),
        Ending::Otherwise(what) => bail!("the story went otherwise: {what}"),
    }
}

fn manifests() -> anyhow::Result<Vec<Value>> {
    let options = serde_yaml::options! { legacy_octal_numbers: true };
    serde_yaml::from_multiple_with_options(MANIFESTS, options).context("the manifests of the demo")
}
