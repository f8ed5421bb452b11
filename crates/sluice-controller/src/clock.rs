//! The wall clock of the process, and the only place that reads one.
//!
//! Gives the time of day as [`Timestamp`] and turns a time of day into the [`Instant`] at which
//! tokio's timers reach it. It does not wait, and it does not measure durations: whoever needs a
//! duration uses tokio's [`Instant`], which can be paused in tests.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// The farthest ahead a timer is set; beyond it a timer fires early and is set again.
const FARTHEST: Duration = Duration::from_hours(720);

/// Tells the time of day: the real one, or one that follows tokio's clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Virtual { start: Timestamp, origin: Instant },
}

impl Clock {
    /// Reads the machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Starts at `start` and advances with tokio's clock, so that it stands still and jumps with it.
    pub fn virtual_from(start: Timestamp) -> Self {
        Self(Source::Virtual { start, origin: Instant::now() })
    }

    /// Returns the time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Virtual { start, origin } => {
                let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Returns the instant of tokio's clock at which this clock shows `at`: now when that is past,
    /// and never more than 30 days ahead.
    ///
    /// Computed from the difference to the time of day as it is now; a machine whose clock is set
    /// afterwards reaches `at` by that much too early or too late, so whoever wakes up asks
    /// [`Clock::now`] again.
    pub fn instant_at(&self, at: Timestamp) -> Instant {
        let ahead = Duration::try_from(at.duration_since(self.now())).unwrap_or(Duration::ZERO);
        // Rounded up to what tokio's timers can tell apart, so that nobody wakes up too early.
        let millis = u64::try_from(ahead.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Instant::now() + Duration::from_millis(millis).min(FARTHEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range")
    }

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_follows_the_runtime() {
        let clock = Clock::virtual_from(start());
        assert_eq!(clock.now(), start());
        tokio::time::sleep(Duration::from_hours(24)).await;
        assert_eq!(clock.now(), start() + SignedDuration::from_hours(24));
        assert_eq!(clock.clone().now(), clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn instants_are_never_early() {
        let clock = Clock::virtual_from(start());
        for (ahead_ns, expected_ms) in
            [(-5_000_000_000, 0), (0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2), (60_000_000_000, 60_000)]
        {
            let at = start() + SignedDuration::from_nanos(ahead_ns);
            let instant = clock.instant_at(at);
            assert_eq!(instant - Instant::now(), Duration::from_millis(expected_ms), "{ahead_ns} ns ahead");
        }
        assert_eq!(clock.instant_at(Timestamp::MAX) - Instant::now(), FARTHEST);
        let at = start() + SignedDuration::from_nanos(1_234_567);
        tokio::time::sleep_until(clock.instant_at(at)).await;
        assert!(clock.now() >= at);
    }

    #[test]
    fn the_system_clock_is_the_machines() {
        let before = Timestamp::now();
        let told = Clock::system().now();
        assert!(before <= told && told <= Timestamp::now());
    }
}
