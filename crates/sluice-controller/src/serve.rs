//! Runs the controller as a process: flags, logs, client, servers, signals.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::SignedDuration;
use kube::client::ClientBuilder;
use sluice_controller::clock::Clock;
use sluice_controller::flags::{Environment, Flags};
use sluice_controller::lease::{self, LeaseOptions};
use sluice_controller::metrics::{MeasuredRequests, Metrics};
use sluice_controller::server::{self, Sources};
use sluice_controller::{Controller, Handle, Options, logging};
use sluice_engine::world::Settings;

/// Workers of the runtime. The work is waiting for answers; more threads would only cost memory.
const RUNTIME_THREADS: usize = 2;

/// Runs the controller with the arguments of the command line.
///
/// # Errors
/// Flags, client or ports are not usable.
pub fn controller(arguments: Vec<OsString>) -> anyhow::Result<()> {
    let (flags, warnings) = Flags::read(arguments).unwrap_or_else(|error| error.exit());
    if flags.version {
        println!("sluice {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let clock = Clock::system();
    logging::init(
        flags.logformat.parse()?,
        logging::parse_level(&flags.loglevel)?,
        flags.kloglevel,
        clock.clone(),
    )?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // The one provider of cryptography in this process; a second call would find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    runtime.block_on(run(flags, clock))
}

async fn run(flags: Flags, clock: Clock) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    if environment.analysis_job_kubeconfig.is_some() {
        anyhow::bail!(
            "ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG: Jobs in another cluster are not carried out by this build; unset it to run them beside their AnalysisRun, or in the namespace that ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE names"
        );
    }
    let config = flags.kube.client_config().await?;
    let namespace = if flags.namespaced {
        Some(flags.kube.namespace.clone().unwrap_or_else(|| environment.controller_namespace.clone()))
    } else {
        None
    };
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).context("metrics")?);
    let client = ClientBuilder::try_from(config)?.with_layer(&MeasuredRequests(Arc::clone(&metrics))).build();
    let timings = flags.lease_timings().validate()?;
    let options = Options {
        namespace,
        instance_id: flags.instance_id.clone(),
        workers: flags.rollout_threads,
        analysis_workers: flags.analysis_threads,
        experiment_workers: flags.experiment_threads,
        analysis_only: flags.is_analysis_only(),
        providers: environment.providers(),
        lease: flags.leader_elect.then(|| LeaseOptions {
            namespace: environment.controller_namespace.clone(),
            name: lease::lease_name(&flags.instance_id),
            identity: lease::identity(),
            timings,
        }),
        settings: Settings {
            settle: SignedDuration::from_secs(i64::try_from(flags.settle_seconds).unwrap_or(5)),
            ..Settings::default()
        },
        audit_period: Some(Duration::from_mins(15)),
        seed: u64::from(std::process::id()),
        metrics: Some(Arc::clone(&metrics)),
    };
    let controller = Controller::new(client, clock, options);
    let handle = controller.handle();
    show(&metrics, &handle);

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut servers = Vec::new();
    for port in [flags.healthz_port, flags.metrics_port] {
        let sources = sources(&handle, &metrics, flags.debug_rollouts);
        let listener = server::bind(port).await?;
        let mut stopped = stopped.clone();
        servers.push(tokio::spawn(server::serve(listener, sources, async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })));
    }
    controller.run(signals()).await;
    let _ = stop.send(true);
    for server in servers {
        let _ = server.await;
    }
    tracing::info!("stopped");
    Ok(())
}

fn sources(handle: &Handle, metrics: &Arc<Metrics>, inspects: bool) -> Sources {
    let (ready, metrics) = (handle.clone(), Arc::clone(metrics));
    let sources = Sources::new(move || ready.ready(), move || metrics.render());
    if !inspects {
        return sources;
    }
    let handle = handle.clone();
    sources.with_inspection(move |namespace, name| handle.inspect(namespace, name))
}

/// Adds what is known without counting: queue, leadership, caches.
fn show(metrics: &Arc<Metrics>, handle: &Handle) {
    let queue = handle.queue.clone();
    metrics.show_queue("Rollouts", move || queue.stats());
    let queue = handle.experiments_queue.clone();
    metrics.show_queue("Experiments", move || queue.stats());
    let handle = handle.clone();
    metrics.at_scrape(move |samples| handle.sample(samples));
}

/// Completes at the first SIGINT or SIGTERM; at the second the process ends at once.
async fn signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping: what is under way ends first");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(1);
    });
}
