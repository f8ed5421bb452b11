//! Durations as Go writes them: `300ms`, `1.5h`, `1h30m`.
//!
//! It decides which texts are durations, how long they are and how a duration is printed. It does not
//! decide where a bare number may stand for seconds; that is [`crate::pause_duration`].
//!
//! The range is Go's: 64 bits of nanoseconds, about 292 years either way.

use jiff::SignedDuration;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Longest text that is read.
const MAX_TEXT_BYTES: usize = 256;

/// A text that is not a duration. The messages are those of Go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text does not have the form of a duration, or is longer than about 292 years.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit is none of `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands in place of a unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads a duration.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    if text.len() > MAX_TEXT_BYTES {
        let start: String = text.chars().take(32).collect();
        return Err(DurationError::Invalid(format!("{start}…")));
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds: u64 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_point) => split_digits(after_point),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end =
            after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
        let (unit, next) = after_number.split_at(unit_end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let unit = unit_nanoseconds(unit)
            .ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        nanoseconds = whole
            .checked_mul(unit)
            .and_then(|part| part.checked_add(fraction_nanoseconds(fraction, unit)))
            .and_then(|part| part.checked_add(nanoseconds))
            .filter(|sum| *sum <= 1 << 63)
            .ok_or_else(invalid)?;
        rest = next;
    }
    let signed =
        if negative { 0_i64.checked_sub_unsigned(nanoseconds) } else { i64::try_from(nanoseconds).ok() };
    signed.map(SignedDuration::from_nanos).ok_or_else(invalid)
}

/// Prints a duration as Go does: `1h30m0s`, `1.5s`, `100µs`, `0s`.
///
/// A duration beyond Go's range prints as the nearest one within it.
pub fn print(duration: SignedDuration) -> String {
    let nanoseconds = duration.as_nanos().clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < SECOND {
        let (unit, name) = match total {
            ..MICROSECOND => (1, "ns"),
            MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
            _ => (MILLISECOND, "ms"),
        };
        return format!("{sign}{}{name}", decimal(total, unit));
    }
    let seconds = decimal(total % MINUTE, SECOND);
    let (hours, minutes) = (total / HOUR, total % HOUR / MINUTE);
    if hours > 0 {
        format!("{sign}{hours}h{minutes}m{seconds}s")
    } else if minutes > 0 {
        format!("{sign}{minutes}m{seconds}s")
    } else {
        format!("{sign}{seconds}s")
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // Go knows both the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// Returns `0.<digits>` units, rounded down, computed as Go does: digits that no longer fit are
/// dropped, and the quotient is a 64-bit float.
fn fraction_nanoseconds(digits: &str, unit: u64) -> u64 {
    let mut numerator: u64 = 0;
    let mut scale: f64 = 1.0;
    for digit in digits.bytes() {
        let next = numerator.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
        match next {
            Some(next) if next <= 1 << 63 => numerator = next,
            _ => break,
        }
        scale *= 10.0;
    }
    (numerator as f64 * (unit as f64 / scale)) as u64
}

/// Writes `value / unit` with as many decimal places as it needs.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let places = unit.ilog10() as usize;
    let digits = format!("{fraction:0places$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_become_durations() {
        // text => nanoseconds
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("300ms", 300_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("1us", 1_000),
            ("10ns", 10),
            ("3h2m1s4ms5us6ns", 10_921_004_005_006),
            ("1s1h", 3_601_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
            ("0.9223372036854775807h", 3_320_413_933_267),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("2562047h47m16.854775807s", i64::MAX),
            ("1ns.5s", 500_000_001),
        ] {
            assert_eq!(parse(text), Ok(SignedDuration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_in_the_words_of_go() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            (".", r#"time: invalid duration ".""#),
            ("s", r#"time: invalid duration "s""#),
            (".s", r#"time: invalid duration ".s""#),
            ("+-1s", r#"time: invalid duration "+-1s""#),
            (" 1s", r#"time: invalid duration " 1s""#),
            ("30", r#"time: missing unit in duration "30""#),
            ("1h30", r#"time: missing unit in duration "1h30""#),
            ("1.5", r#"time: missing unit in duration "1.5""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1 s", r#"time: unknown unit " s" in duration "1 s""#),
            ("5minutes", r#"time: unknown unit "minutes" in duration "5minutes""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("9223372036854775809ns", r#"time: invalid duration "9223372036854775809ns""#),
            ("-9223372036854775809ns", r#"time: invalid duration "-9223372036854775809ns""#),
            ("99999999999999999999999s", r#"time: invalid duration "99999999999999999999999s""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
        assert!(parse(&"1h".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn durations_print_as_in_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(print(SignedDuration::from_nanos(nanoseconds)), text);
        }
        assert_eq!(print(SignedDuration::MAX), "2562047h47m16.854775807s");
        assert_eq!(print(SignedDuration::MIN), "-2562047h47m16.854775808s");
    }

    proptest! {
        #[test]
        fn print_and_parse_are_inverse(nanoseconds in any::<i64>()) {
            let duration = SignedDuration::from_nanos(nanoseconds);
            // No more than nine decimal places are printed, which the float in between holds exactly.
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn small_durations_too(nanoseconds in -2_000_000_000_i64..2_000_000_000) {
            let duration = SignedDuration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_nearly_right_text_panics(text in "[-+]?([0-9]{0,22}\\.?[0-9]{0,22}(ns|us|µs|ms|s|m|h|d|)){0,5}") {
            let _ = parse(&text);
        }
    }
}
