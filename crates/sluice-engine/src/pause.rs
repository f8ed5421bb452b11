//! When a canary `pause` step is over.
//!
//! A pause ends when its duration has passed or when somebody resumes the rollout: resuming removes the
//! pause condition while `status.controllerPause` stays true. Same rules as Argo Rollouts v1.10,
//! `rollout/pause.go`, which counts a pause as over only strictly after its end.

use jiff::{SignedDuration, Timestamp};

/// The pause step that is running now, as the cluster shows it.
#[derive(Clone, Copy, Debug)]
pub struct PauseStep {
    /// `pause.duration`; `None` waits for a person.
    pub duration: Option<SignedDuration>,
    /// `startTime` of the pause condition, when there is one.
    pub paused_since: Option<Timestamp>,
    /// `status.controllerPause`: the pause condition was put there by a controller.
    pub controller_pause: bool,
}

/// What to do about a pause step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseDecision {
    /// Add the pause condition, starting now.
    Begin,
    /// Keep waiting until the given instant, the first at which the answer can differ; `None` means
    /// that only a person can end this pause.
    Wait(Option<Timestamp>),
    /// Go on to the next step.
    Complete,
}

/// Decides whether `step` is over at `now`. A pause whose end lies beyond what a timestamp can hold
/// waits for a person.
pub fn decide_pause(step: &PauseStep, now: Timestamp) -> PauseDecision {
    let Some(since) = step.paused_since else {
        return if step.controller_pause { PauseDecision::Complete } else { PauseDecision::Begin };
    };
    let Some(duration) = step.duration else {
        return PauseDecision::Wait(None);
    };
    // One nanosecond late, because a pause is not yet over at the instant of its end.
    let over = since.checked_add(duration).and_then(|end| end.checked_add(SignedDuration::from_nanos(1)));
    match over {
        Ok(over) if now < over => PauseDecision::Wait(Some(over)),
        Ok(_) => PauseDecision::Complete,
        Err(_) => PauseDecision::Wait(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{PauseDecision::*, *};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn pause_decisions() {
        let over = at(160) + SignedDuration::from_nanos(1);
        // (duration in s, paused since, put there by a controller, now) => decision
        for (duration, since, controller_pause, now, expected) in [
            (Some(60), None, false, 100, Begin),
            (Some(60), None, true, 130, Complete), // resumed by a person
            (Some(60), Some(100), true, 160, Wait(Some(over))), // strictly after
            (Some(60), Some(100), true, 161, Complete),
            (Some(0), Some(100), true, 101, Complete),
            (None, Some(100), true, 9_999_999, Wait(None)),
            (Some(i64::MAX), Some(100), true, 9_999_999, Wait(None)),
        ] {
            let duration = duration.map(SignedDuration::from_secs);
            let step = PauseStep { duration, paused_since: since.map(at), controller_pause };
            assert_eq!(decide_pause(&step, at(now)), expected, "{step:?} at {now}");
        }
    }

    proptest::proptest! {
        #[test]
        fn recheck_is_neither_early_nor_late(since in 0..4_000_000_000i64, secs in 0..1_000_000i64) {
            let duration = Some(SignedDuration::from_secs(secs));
            let step = PauseStep { duration, paused_since: Some(at(since)), controller_pause: true };
            let Wait(Some(over)) = decide_pause(&step, at(since)) else { panic!("must wait") };
            assert_eq!(decide_pause(&step, over), Complete);
            assert_ne!(decide_pause(&step, over - SignedDuration::from_nanos(1)), Complete);
        }
    }
}
