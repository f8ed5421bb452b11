//! What `status` says and when it is done.
//!
//! A function of the phases seen. Paused does not end the wait; only Healthy and Degraded do.

use crate::overlay::Shown;

/// A `status` that ends with exit code 1. The wording is Argo Rollouts'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// The rollout is degraded.
    #[error("The rollout is in a degraded state with message: {0}")]
    Degraded(String),
    /// The wait ended, by time or by a signal, before the rollout was healthy.
    #[error("Rollout status watch exceeded timeout")]
    WaitEnded,
}

/// Returns the line for a single look.
pub fn single_line(shown: &Shown) -> String {
    match shown.phase.as_str() {
        "Healthy" | "Degraded" => shown.phase.clone(),
        phase => format!("{phase} - {}", shown.message),
    }
}

/// Returns the line while watching.
pub fn watch_line(shown: &Shown) -> String {
    if shown.message.is_empty() {
        shown.phase.clone()
    } else {
        format!("{} - {}", shown.phase, shown.message)
    }
}

/// Whether a watch ends here.
pub fn is_final(shown: &Shown) -> bool {
    matches!(shown.phase.as_str(), "Healthy" | "Degraded")
}

/// Judges the last phase seen.
pub fn verdict(shown: &Shown, is_watching: bool) -> Result<(), Verdict> {
    match shown.phase.as_str() {
        "Degraded" => Err(Verdict::Degraded(shown.message.clone())),
        "Healthy" => Ok(()),
        _ if is_watching => Err(Verdict::WaitEnded),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_verdicts() {
        let degraded = |message: &str| Err(Verdict::Degraded(message.to_owned()));
        // phase, message => single look: line, verdict; watch: line, end, verdict
        for (phase, message, single, once, watched, ends, verdict_watched) in [
            ("Healthy", "", "Healthy", Ok(()), "Healthy", true, Ok(())),
            ("Healthy", "m", "Healthy", Ok(()), "Healthy - m", true, Ok(())),
            ("Degraded", "m", "Degraded", degraded("m"), "Degraded - m", true, degraded("m")),
            ("Paused", "P", "Paused - P", Ok(()), "Paused - P", false, Err(Verdict::WaitEnded)),
            ("Progressing", "", "Progressing - ", Ok(()), "Progressing", false, Err(Verdict::WaitEnded)),
        ] {
            let shown = Shown { phase: phase.to_owned(), message: message.to_owned() };
            assert_eq!(single_line(&shown), single, "{shown:?}");
            assert_eq!(verdict(&shown, false), once, "{shown:?}");
            assert_eq!(watch_line(&shown), watched, "{shown:?}");
            assert_eq!(is_final(&shown), ends, "{shown:?}");
            assert_eq!(verdict(&shown, true), verdict_watched, "{shown:?}");
        }
    }
}
