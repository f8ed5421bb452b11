//! The progress deadline: whether an update has stood still for too long.
//!
//! Progress is a new maximum of available pods of the version that is rolled out, or a step that got
//! done; pods that come and go are none. The clock runs from the last progress, stands still in a
//! pause, and is kept as the time of update of the `Progressing` condition.

use jiff::{SignedDuration, Timestamp};
use sluice_api::rollout::RolloutStatus;

use crate::conditions::{self, kind, reason};

/// The clock of a progress deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The first instant at which the deadline is over; `None`: it does not run.
    pub over_at: Option<Timestamp>,
}

impl Clock {
    /// Whether the deadline is over.
    pub fn is_over(self, now: Timestamp) -> bool {
        self.over_at.is_some_and(|at| now >= at)
    }
}

/// Reads the clock out of the conditions.
pub fn clock(status: &RolloutStatus, deadline: SignedDuration) -> Clock {
    let Some(progressing) = conditions::get(status, kind::PROGRESSING) else { return Clock::default() };
    let Some(since) = progressing.last_update_time.map(sluice_api::Time::timestamp) else {
        return Clock::default();
    };
    match progressing.reason.as_str() {
        reason::ABORTED | reason::PAUSED | reason::NEW_AVAILABLE => Clock::default(),
        // Over is over until there is progress.
        reason::TIMED_OUT => Clock { over_at: Some(since) },
        _ => {
            let end = since.checked_add(deadline);
            Clock { over_at: end.and_then(|end| end.checked_add(SignedDuration::from_nanos(1))).ok() }
        }
    }
}
