//! `status`

use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use sluice_lang::go_duration;
use tokio::time::Instant;

use crate::api::{Api, ApiError, ROLLOUTS};
use crate::cli::go_bool;
use crate::error::CommandError;
use crate::kubeconfig::{self, Connection, KubeFlags};
use crate::overlay::{Shown, shown};
use crate::status;
use crate::watch::{Follower, Seen};

/// Show the status of a rollout
///
/// Waits until the rollout is healthy or degraded, and prints its status whenever that changes. The exit
/// code is 0 for healthy and 1 for degraded or a wait that took too long.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollout to look at
    #[arg(value_name = "ROLLOUT")]
    name: String,
    /// Wait until the rollout is healthy or degraded
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = go_bool)]
    watch: bool,
    /// How long to wait, such as 30s or 5m; 0s means without end
    #[arg(short, long, value_name = "DURATION", default_value = "0s", value_parser = timeout)]
    timeout: Duration,
}

fn timeout(text: &str) -> Result<Duration, go_duration::DurationError> {
    // What lies in the past means no limit, as for Argo Rollouts.
    go_duration::parse(text).map(|timeout| Duration::try_from(timeout).unwrap_or_default())
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Arguments { name, watch, timeout } = arguments;
    let Connection { api, namespace } = kubeconfig::connect(flags).await?;
    if *watch {
        let end = (!timeout.is_zero()).then(|| Instant::now() + *timeout);
        let last = wait(&api, namespace, name, end, out).await?;
        return Ok(status::verdict(&last, true)?);
    }
    let rollout = api.get(ROLLOUTS, &namespace, name).await.map_err(|error| or_not_found(error, name))?;
    let shown = shown(&rollout);
    writeln!(out, "{}", status::single_line(&shown))?;
    Ok(status::verdict(&shown, false)?)
}

/// Prints the status whenever it changes, until it is final or the time is up.
async fn wait(
    api: &Api,
    namespace: String,
    name: &str,
    end: Option<Instant>,
    out: &mut dyn Write,
) -> Result<Shown, CommandError> {
    let mut follower = Follower::new(api, Some(namespace), Some(name.to_owned()));
    let mut said = None;
    let mut stop = std::pin::pin!(wish_to_end());
    // The first look is not part of the wait, so that even the shortest one has something to say.
    let mut rollout = tokio::select! {
        () = &mut stop => return Err(status::Verdict::WaitEnded.into()),
        first = look(&mut follower, name) => first?,
    };
    loop {
        let shown = shown(&rollout);
        let line = status::watch_line(&shown);
        if said.as_ref() != Some(&line) {
            writeln!(out, "{line}")?;
            out.flush()?;
            said = Some(line);
        }
        if status::is_final(&shown) {
            return Ok(shown);
        }
        tokio::select! {
            biased;
            () = &mut stop => return Ok(shown),
            () = until(end) => return Ok(shown),
            seen = look(&mut follower, name) => rollout = seen?,
        }
    }
}

async fn look(follower: &mut Follower<'_>, name: &str) -> Result<Value, CommandError> {
    let found = match follower.next().await.map_err(|error| or_not_found(error, name))? {
        Seen::All(rollouts) => rollouts.into_iter().next(),
        Seen::Changed(rollout) => Some(rollout),
        Seen::Deleted(_) => None,
    };
    found.ok_or_else(|| CommandError::RolloutNotFound(name.to_owned()))
}

/// Argo Rollouts reads from a cache here, which words it differently.
fn or_not_found(error: ApiError, name: &str) -> CommandError {
    if error.is_not_found() && !error.is_unknown_kind() {
        CommandError::RolloutNotFound(name.to_owned())
    } else {
        CommandError::Api(error)
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Waits for the wish that the process end. From the call on, it is heard.
#[cfg(unix)]
fn wish_to_end() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::terminate()).and_then(|one| Ok((one, signal(SignalKind::interrupt())?)));
    async move {
        // Without handlers the signals end the process by themselves.
        let Ok((mut terminate, mut interrupt)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Waits for the wish that the process end.
#[cfg(not(unix))]
async fn wish_to_end() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
