//! `restart`

use std::io::Write;
use std::slice;

use jiff::{SignedDuration, Timestamp};
use sluice_lang::go_duration;

use super::{Look, act};
use crate::actions::Action;
use crate::error::CommandError;
use crate::kubeconfig::KubeFlags;

/// Restart the pods of a rollout
///
/// Every pod that was created before the given time is replaced, a few at a time.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollout to restart
    #[arg(value_name = "ROLLOUT")]
    name: String,
    /// How long to wait before the restart, such as 10s, 5m or 1h
    #[arg(short, long = "in", value_name = "DURATION", default_value = "", hide_default_value = true)]
    in_: String,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Arguments { name, in_ } = arguments;
    let shown = if in_.is_empty() { "0s" } else { in_ };
    let at = at(Timestamp::now(), shown)?;
    act(slice::from_ref(name), &Action::Restart(at), Look::No, &format!("restarts in {shown}"), flags, out)
        .await
}

/// Adds a number of seconds, or a duration with units, to `now`.
fn at(now: Timestamp, text: &str) -> Result<Timestamp, CommandError> {
    let bad = |reason: &dyn std::fmt::Display| CommandError::BadDuration(reason.to_string());
    let wait = match text.parse::<i64>() {
        Ok(seconds) => SignedDuration::from_secs(seconds),
        Err(_) => go_duration::parse(text).map_err(|error| bad(&error))?,
    };
    now.checked_add(wait).map_err(|error| bad(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        let now: Timestamp = "2026-01-02T10:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("0s", Ok("2026-01-02T10:00:00Z")),
            ("90", Ok("2026-01-02T10:01:30Z")),
            ("1h30m", Ok("2026-01-02T11:30:00Z")),
            ("-1m", Ok("2026-01-02T09:59:00Z")),
            ("soon", Err("--in: time: invalid duration \"soon\"")),
            ("1d", Err("--in: time: unknown unit \"d\" in duration \"1d\"")),
        ] {
            let found = at(now, text).map(|at| at.to_string()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert!(at(now, &i64::MAX.to_string()).is_err(), "beyond what a timestamp holds");
    }
}
