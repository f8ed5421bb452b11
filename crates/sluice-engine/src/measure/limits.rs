//! The numbers by which a metric is judged.
//!
//! It decides what the fields of a metric come to once placeholders are filled in. It does not decide whether
//! the numbers fit together; that is validation.

use sluice_api::analysis::Metric;
use sluice_api::defaults::CONSECUTIVE_ERROR_LIMIT;
use sluice_api::gates::Origin;
use sluice_api::meta::IntOrString;

/// The numbers of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Measurements to take; `None` is without end.
    pub count: Option<i32>,
    /// Failures that are tolerated; `None` is any number.
    pub failures: Option<i32>,
    /// Inconclusive measurements that are tolerated.
    pub inconclusive: i32,
    /// Errors in a row that are tolerated.
    pub consecutive_errors: i32,
    /// Successes in a row that end the metric well; `None` is not to be ended that way.
    pub consecutive_successes: Option<i32>,
}

impl Limits {
    /// Those of a dependency: it is measured as long as there is something to judge, and ends nothing.
    pub const OF_A_DEPENDENCY: Self = Self {
        count: None,
        failures: None,
        inconclusive: i32::MAX,
        consecutive_errors: i32::MAX,
        consecutive_successes: None,
    };

    /// Reads the numbers of a metric.
    ///
    /// # Errors
    /// A text is no number. The original takes 0 for it, which is a limit that nobody wrote.
    pub fn of(metric: &Metric) -> Result<Self, String> {
        if metric.origin == Origin::Dependency {
            return Ok(Self::OF_A_DEPENDENCY);
        }
        let count = number("count", metric.count.as_ref(), 0)?;
        let failures = number("failureLimit", metric.failure_limit.as_ref(), 0)?;
        let errors = metric.consecutive_error_limit.as_ref();
        let successes = number("consecutiveSuccessLimit", metric.consecutive_success_limit.as_ref(), 0)?;
        Ok(Self {
            count: match count {
                0 if metric.interval.is_empty() => Some(1),
                0 => None,
                count => Some(count),
            },
            failures: Some(failures).filter(|limit| *limit >= 0),
            inconclusive: number("inconclusiveLimit", metric.inconclusive_limit.as_ref(), 0)?,
            consecutive_errors: number("consecutiveErrorLimit", errors, CONSECUTIVE_ERROR_LIMIT)?,
            consecutive_successes: Some(successes).filter(|limit| *limit > 0),
        })
    }
}

pub(super) fn number(field: &str, value: Option<&IntOrString>, default: i32) -> Result<i32, String> {
    match value {
        None => Ok(default),
        Some(IntOrString::Int(number)) => Ok(*number),
        Some(IntOrString::Text(text)) => text.parse().map_err(|_| {
            let shown: String = text.chars().take(100).collect();
            format!("{field} is {shown:?}, must be a whole number")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_metrics() {
        let text = |text: &str| Some(IntOrString::from(text));
        let int = |number: i32| Some(IntOrString::from(number));
        // count, interval, failureLimit => count, failures
        for (count, interval, failures, expected) in [
            (None, "", None, (Some(1), Some(0))),
            (None, "1m", None, (None, Some(0))),
            (int(0), "", int(-1), (Some(1), None)),
            (int(0), "1m", int(2), (None, Some(2))),
            (text("5"), "1m", text("-1"), (Some(5), None)),
            (text("0"), "1m", text("3"), (None, Some(3))),
        ] {
            let metric = Metric {
                count: count.clone(),
                interval: interval.to_owned(),
                failure_limit: failures.clone(),
                ..Metric::default()
            };
            let limits = Limits::of(&metric).expect("all are numbers");
            assert_eq!((limits.count, limits.failures), expected, "{count:?} {interval} {failures:?}");
            let rest = (limits.inconclusive, limits.consecutive_errors, limits.consecutive_successes);
            assert_eq!(rest, (0, 4, None));
        }
    }

    #[test]
    fn a_text_that_is_no_number_is_named() {
        for text in ["", "five", "5.0", " 5", "9999999999"] {
            let metric = Metric { consecutive_error_limit: Some(text.into()), ..Metric::default() };
            let expected = format!("consecutiveErrorLimit is {text:?}, must be a whole number");
            assert_eq!(Limits::of(&metric), Err(expected));
        }
        let fields: [fn(&mut Metric) -> &mut Option<IntOrString>; 5] = [
            |metric| &mut metric.count,
            |metric| &mut metric.failure_limit,
            |metric| &mut metric.inconclusive_limit,
            |metric| &mut metric.consecutive_error_limit,
            |metric| &mut metric.consecutive_success_limit,
        ];
        for field in fields {
            let mut metric = Metric::default();
            *field(&mut metric) = Some("many".into());
            assert!(Limits::of(&metric).is_err());
        }
    }
}
