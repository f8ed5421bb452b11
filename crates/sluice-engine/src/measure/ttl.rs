//! How long a run is kept after its end.

use jiff::{SignedDuration, Timestamp};
use sluice_api::analysis::{AnalysisPhase, AnalysisRunStatus, TtlStrategy};

/// Returns the instant from which a run that is over may be deleted; `None` is never.
///
/// A limit has to be exceeded by a whole second. `secondsAfterFailure` is for failures alone: errors and
/// inconclusive runs go by `secondsAfterCompletion`.
pub fn over_at(strategy: Option<&TtlStrategy>, status: &AnalysisRunStatus) -> Option<Timestamp> {
    let strategy = strategy?;
    let of_phase = match status.phase {
        AnalysisPhase::Successful => strategy.seconds_after_success,
        AnalysisPhase::Failed => strategy.seconds_after_failure,
        AnalysisPhase::Error | AnalysisPhase::Inconclusive => None,
        AnalysisPhase::Unset | AnalysisPhase::Pending | AnalysisPhase::Running => return None,
    };
    let limit = of_phase.or(strategy.seconds_after_completion)?;
    let over = SignedDuration::from_secs(i64::from(limit) + 1);
    status.completed_at?.timestamp().checked_add(over).ok()
}
