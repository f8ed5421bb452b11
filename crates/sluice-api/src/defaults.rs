//! What holds where a manifest says nothing, and how `maxSurge` and `maxUnavailable` become numbers.
//!
//! It decides defaults and rounding. It does not decide whether a value is allowed; that is
//! [`crate::validation`]. Rules as in Argo Rollouts v1.10.

use crate::blue_green::BlueGreenStrategy;
use crate::canary::{CanaryStrategy, RollingUpdateStrategy};
use crate::meta::IntOrString;
use crate::rollout::{RolloutSpec, RolloutStrategy};

/// Pods when `spec.replicas` is not set.
pub const REPLICAS: i32 = 1;
/// Old ReplicaSets that are kept.
pub const REVISION_HISTORY_LIMIT: i32 = 10;
/// Seconds without progress after which an update counts as stuck.
pub const PROGRESS_DEADLINE_SECONDS: i32 = 600;
/// Finished runs and experiments that are kept, of good and of bad ones each.
pub const ANALYSIS_HISTORY_LIMIT: i32 = 5;
/// Percentage for `maxSurge` and `maxUnavailable`.
pub const MAX_SURGE_PERCENT: &str = "25";
/// Seconds that old pods stay after a switch, where traffic is switched at all.
pub const SCALE_DOWN_DELAY_SECONDS: i32 = 30;
/// Seconds that new pods stay after an abort, where traffic is switched at all.
pub const ABORT_SCALE_DOWN_DELAY_SECONDS: i32 = 30;
/// Old ReplicaSets that may stay during the delay: any number.
pub const SCALE_DOWN_DELAY_REVISION_LIMIT: i32 = i32::MAX;
/// What all weights add up to.
pub const MAX_TRAFFIC_WEIGHT: i32 = 100;
/// Measurements of a metric that are kept.
pub const MEASUREMENT_RETENTION: i32 = 10;
/// Errors in a row that a metric tolerates.
pub const CONSECUTIVE_ERROR_LIMIT: i32 = 4;
/// Seconds after which a measurement that ended in an error is tried again.
pub const ERROR_RETRY_SECONDS: i64 = 10;
/// Longest name of a metric Job.
pub const JOB_NAME_MAX_BYTES: usize = 63;
/// Pods of one template of an experiment.
pub const EXPERIMENT_REPLICAS: i32 = 1;
/// Fewest pods of a ReplicaSet that has any, with traffic routing.
pub const MIN_PODS_PER_REPLICA_SET: i32 = 1;

impl RolloutSpec {
    /// Returns the number of pods wanted.
    pub fn replicas_or_default(&self) -> i32 {
        self.replicas.unwrap_or(REPLICAS)
    }

    /// Returns how many old ReplicaSets are kept.
    pub fn revision_history_limit_or_default(&self) -> i32 {
        self.revision_history_limit.unwrap_or(REVISION_HISTORY_LIMIT)
    }

    /// Returns the seconds without progress after which an update counts as stuck.
    pub fn progress_deadline_seconds_or_default(&self) -> i32 {
        self.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECONDS)
    }

    /// Returns how many successful runs and experiments are kept.
    pub fn successful_run_history_limit(&self) -> i32 {
        let limit = self.analysis.as_ref().and_then(|analysis| analysis.successful_run_history_limit);
        limit.unwrap_or(ANALYSIS_HISTORY_LIMIT)
    }

    /// Returns how many runs and experiments without success are kept.
    pub fn unsuccessful_run_history_limit(&self) -> i32 {
        let limit = self.analysis.as_ref().and_then(|analysis| analysis.unsuccessful_run_history_limit);
        limit.unwrap_or(ANALYSIS_HISTORY_LIMIT)
    }
}

impl BlueGreenStrategy {
    /// Returns the seconds that old pods stay after the switch.
    pub fn scale_down_delay_seconds_or_default(&self) -> i32 {
        self.scale_down_delay_seconds.unwrap_or(SCALE_DOWN_DELAY_SECONDS)
    }

    /// Returns the seconds that preview pods stay after an abort; `None` keeps them.
    pub fn abort_scale_down_delay(&self) -> Option<i32> {
        match self.abort_scale_down_delay_seconds {
            Some(0) => None,
            seconds => Some(seconds.unwrap_or(ABORT_SCALE_DOWN_DELAY_SECONDS)),
        }
    }

    /// Tells whether the switch happens without a person.
    pub fn is_auto_promotion_enabled(&self) -> bool {
        self.auto_promotion_enabled.unwrap_or(true)
    }
}

impl CanaryStrategy {
    /// Returns what all weights add up to.
    pub fn max_weight(&self) -> i32 {
        let weight = self.traffic_routing.as_ref().and_then(|routing| routing.max_traffic_weight);
        weight.unwrap_or(MAX_TRAFFIC_WEIGHT)
    }

    /// Returns the seconds that old pods stay after promotion: 0 without traffic routing.
    pub fn scale_down_delay_seconds_or_default(&self) -> i32 {
        if self.traffic_routing.is_none() {
            return 0;
        }
        self.scale_down_delay_seconds.unwrap_or(SCALE_DOWN_DELAY_SECONDS)
    }

    /// Returns the seconds that canary pods stay after an abort: 0 without traffic routing, where
    /// they go at once; `None` keeps them.
    pub fn abort_scale_down_delay(&self) -> Option<i32> {
        if self.traffic_routing.is_none() {
            return Some(0);
        }
        match self.abort_scale_down_delay_seconds {
            Some(0) => None,
            seconds => Some(seconds.unwrap_or(ABORT_SCALE_DOWN_DELAY_SECONDS)),
        }
    }
}

/// How far the number of pods may stray from what is wanted during an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Pods that may be surplus.
    pub max_surge: i64,
    /// Pods that may be missing.
    pub max_unavailable: i64,
}

/// Resolves `maxSurge` and `maxUnavailable` for a number of pods.
///
/// Any string is a percentage. Surge rounds up and unavailable rounds down; when both come out as 0,
/// one pod may be missing. When either string is no percentage, both count as 0 before that rule.
/// No more pods may be missing than there are, none may when there are none, and a negative number counts
/// as 0.
pub fn bounds(
    replicas: i32,
    max_surge: Option<&IntOrString>,
    max_unavailable: Option<&IntOrString>,
) -> Bounds {
    let wanted = i64::from(replicas).max(0);
    let default = IntOrString::from(MAX_SURGE_PERCENT);
    let surge = share(max_surge.unwrap_or(&default), wanted, Rounding::Up);
    let unavailable = share(max_unavailable.unwrap_or(&default), wanted, Rounding::Down);
    let (surge, unavailable) = surge.zip(unavailable).unwrap_or((0, 0));
    let (surge, mut unavailable) = (surge.max(0), unavailable.max(0));
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Bounds { max_surge: surge, max_unavailable: unavailable.min(wanted) }
}

/// Returns `maxSurge` in pods; see [`bounds`].
pub fn max_surge(spec: &RolloutSpec) -> i64 {
    strategy_bounds(spec).max_surge
}

/// Returns `maxUnavailable` in pods; see [`bounds`].
pub fn max_unavailable(spec: &RolloutSpec) -> i64 {
    strategy_bounds(spec).max_unavailable
}

/// Resolves both for whichever strategy is set; blue-green has no surge of its own.
pub fn strategy_bounds(spec: &RolloutSpec) -> Bounds {
    let replicas = spec.replicas_or_default();
    match &spec.strategy {
        RolloutStrategy { canary: Some(CanaryStrategy { max_surge, max_unavailable, .. }), .. }
        | RolloutStrategy {
            rolling_update: Some(RollingUpdateStrategy { max_surge, max_unavailable, .. }),
            ..
        } => bounds(replicas, max_surge.as_ref(), max_unavailable.as_ref()),
        RolloutStrategy { blue_green: Some(blue_green), .. } => {
            bounds(replicas, Some(&IntOrString::Int(0)), blue_green.max_unavailable.as_ref())
        }
        RolloutStrategy { .. } => bounds(replicas, None, None),
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// Returns the number itself, or the given percentage of `of`; `None` for a string that is no number.
fn share(value: &IntOrString, of: i64, rounding: Rounding) -> Option<i64> {
    let percent = match value {
        IntOrString::Int(number) => return Some(i64::from(*number)),
        IntOrString::Text(text) => percent(text)?,
    };
    let hundredths = i64::from(percent) * of;
    Some(match rounding {
        Rounding::Up => (hundredths + 99).div_euclid(100),
        Rounding::Down => hundredths.div_euclid(100),
    })
}

/// Reads a percentage, with or without its sign.
pub(crate) fn percent(text: &str) -> Option<i32> {
    text.strip_suffix('%').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<IntOrString> {
        match text {
            "-" => None,
            text => Some(text.parse().map_or_else(|_| text.trim_matches('\'').into(), IntOrString::Int)),
        }
    }

    #[test]
    fn bounds_of_an_update() {
        // replicas, maxSurge, maxUnavailable => surge, unavailable; strings are quoted, - is unset
        for (replicas, surge, unavailable, expected_surge, expected_unavailable) in [
            (10, "-", "-", 3, 2),
            (1, "-", "-", 1, 0),
            (4, "-", "-", 1, 1),
            (5, "'5'", "0", 1, 0), // "5" is five percent, rounded up
            (5, "5", "0", 5, 0),
            (5, "0", "'5%'", 0, 1), // both 0, so one may be missing
            (5, "0", "0", 0, 1),
            (5, "'0%'", "'0'", 0, 1),
            (5, "'x'", "3", 0, 1), // either unreadable makes both 0
            (5, "3", "'x%'", 0, 1),
            (5, "'10.5%'", "2", 0, 1),
            (5, "1", "9", 1, 5),
            (5, "'200%'", "'200%'", 10, 5),
            (0, "-", "-", 0, 0),
            (5, "-3", "2", 0, 2),
            (5, "'-50%'", "-1", 0, 1),
            (0, "2", "2", 2, 0),
            (2_147_483_647, "'100%'", "'100%'", 2_147_483_647, 2_147_483_647),
            (i32::MAX, "'2147483647%'", "0", 46_116_860_141_324_207, 0),
        ] {
            let (surge, unavailable) = (value(surge), value(unavailable));
            let found = bounds(replicas, surge.as_ref(), unavailable.as_ref());
            let expected = Bounds { max_surge: expected_surge, max_unavailable: expected_unavailable };
            assert_eq!(found, expected, "{replicas} {surge:?} {unavailable:?}");
        }
    }

    #[test]
    fn strategies_have_their_own_bounds() {
        let spec = |strategy: &str| -> RolloutSpec {
            serde_json::from_str(&format!(r#"{{"replicas": 8, "strategy": {strategy}}}"#)).unwrap()
        };
        // strategy => surge, unavailable
        for (strategy, surge, unavailable) in [
            (r#"{"canary": {"maxSurge": 3, "maxUnavailable": 1}}"#, 3, 1),
            (r#"{"rollingUpdate": {"maxSurge": "50%"}}"#, 4, 2),
            (r#"{"blueGreen": {"activeService": "a"}}"#, 0, 2),
            ("{}", 2, 2),
        ] {
            let spec = spec(strategy);
            assert_eq!((max_surge(&spec), max_unavailable(&spec)), (surge, unavailable), "{strategy}");
        }
    }

    #[test]
    fn delays_depend_on_traffic_routing() {
        let canary = |json: &str| -> CanaryStrategy { serde_json::from_str(json).unwrap() };
        // canary => scale-down delay, abort delay
        for (json, scale_down, abort) in [
            ("{}", 0, Some(0)),
            (r#"{"scaleDownDelaySeconds": 7, "abortScaleDownDelaySeconds": 8}"#, 0, Some(0)),
            (r#"{"trafficRouting": {}}"#, 30, Some(30)),
            (
                r#"{"trafficRouting": {}, "scaleDownDelaySeconds": 0, "abortScaleDownDelaySeconds": 0}"#,
                0,
                None,
            ),
            (
                r#"{"trafficRouting": {}, "scaleDownDelaySeconds": 7, "abortScaleDownDelaySeconds": 8}"#,
                7,
                Some(8),
            ),
        ] {
            let canary = canary(json);
            let found = (canary.scale_down_delay_seconds_or_default(), canary.abort_scale_down_delay());
            assert_eq!(found, (scale_down, abort), "{json}");
        }
    }
}
