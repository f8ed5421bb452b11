//! Kubernetes quantities such as `500m`, `0.5Gi` and `1e3`.
//!
//! It decides whether a text is a quantity and which exact number it stands for. It does not decide
//! whether that number is sensible for the resource at hand.
//!
//! Numbers are kept as an integer times a power of ten, so nothing is ever rounded.

use std::cmp::Ordering;
use std::fmt;

/// Longest text that is read; real ones are far shorter.
const MAX_TEXT_BYTES: usize = 64;
/// Largest decimal exponent that is read, either way. Kubernetes caps values far below it.
const MAX_EXPONENT: i32 = 60;

/// An exact number, equal to another one when the values are equal, however they were written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantity {
    /// Has no factor ten, except that zero is zero.
    digits: i128,
    exponent: i32,
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not have the form of a quantity.
    #[error("quantities must match the regular expression '{PATTERN}'")]
    Malformed,
    /// The text has the right form, but stands for more digits than are kept.
    #[error("quantity is out of range")]
    OutOfRange,
}

/// What Kubernetes names in its own message.
const PATTERN: &str = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(QuantityError::OutOfRange);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Malformed);
        }
        let (binary, decimal) = scale(suffix)?;
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        let zeros = (all.len() - significant.len()) as i32;
        let mut digits: i128 = 0;
        for digit in significant.bytes() {
            digits = digits
                .checked_mul(10)
                .and_then(|digits| digits.checked_add(i128::from(digit - b'0')))
                .ok_or(QuantityError::OutOfRange)?;
        }
        digits = digits.checked_mul(1 << binary).ok_or(QuantityError::OutOfRange)?;
        if negative {
            digits = -digits;
        }
        Ok(Self::normalised(digits, decimal + zeros - fraction.len() as i32))
    }

    fn normalised(mut digits: i128, mut exponent: i32) -> Self {
        if digits == 0 {
            return Self { digits: 0, exponent: 0 };
        }
        while digits % 10 == 0 {
            digits /= 10;
            exponent += 1;
        }
        Self { digits, exponent }
    }

    /// True for numbers below zero.
    pub const fn is_negative(self) -> bool {
        self.digits < 0
    }

    /// True for numbers without a fraction.
    pub const fn is_whole(self) -> bool {
        self.exponent >= 0
    }

    /// Returns the value as a whole number, rounded up; `None` when it does not fit.
    pub fn to_i64_ceil(self) -> Option<i64> {
        if self.exponent >= 0 {
            let factor = 10_i128.checked_pow(self.exponent.unsigned_abs())?;
            return i64::try_from(self.digits.checked_mul(factor)?).ok();
        }
        let Some(divisor) = 10_i128.checked_pow(self.exponent.unsigned_abs()) else {
            return Some(i64::from(self.digits > 0));
        };
        let floor = self.digits.div_euclid(divisor);
        i64::try_from(floor + i128::from(self.digits.rem_euclid(divisor) != 0)).ok()
    }
}

/// Returns the powers of two and of ten that a suffix stands for.
fn scale(suffix: &str) -> Result<(u32, i32), QuantityError> {
    Ok(match suffix {
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        other => {
            let exponent = other.strip_prefix(['e', 'E']).ok_or(QuantityError::Malformed)?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(QuantityError::Malformed);
            }
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::OutOfRange)?;
            if exponent.abs() > MAX_EXPONENT {
                return Err(QuantityError::OutOfRange);
            }
            (0, exponent)
        }
    })
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    /// Writes the plain decimal form: `0.5`, `1073741824`, `-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.unsigned_abs().to_string();
        let sign = if self.digits < 0 { "-" } else { "" };
        let places = self.exponent.min(0).unsigned_abs() as usize;
        if places == 0 {
            return write!(f, "{sign}{digits}{}", "0".repeat(self.exponent.unsigned_abs() as usize));
        }
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.digits.signum().cmp(&other.digits.signum());
        if signs != Ordering::Equal || self.digits == 0 {
            return signs;
        }
        // The larger has its first digit further left; the digits decide only on a tie.
        let magnitude = |quantity: &Self| quantity.digits.unsigned_abs().ilog10() as i32 + quantity.exponent;
        let larger = magnitude(self).cmp(&magnitude(other)).then_with(|| {
            let (a, b) = (self.digits.unsigned_abs().to_string(), other.digits.unsigned_abs().to_string());
            a.cmp(&b)
        });
        if self.digits < 0 { larger.reverse() } else { larger }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn values_are_compared_exactly() {
        // one way of writing, another, plain decimal form
        for (one, other, plain) in [
            ("1000m", "1", "1"),
            ("0.5Gi", "512Mi", "536870912"),
            ("1024Mi", "1Gi", "1073741824"),
            ("1E", "1e18", "1000000000000000000"),
            ("1Ei", "1152921504606846976", "1152921504606846976"),
            ("0.5", "500m", "0.5"),
            (".5", "0.50", "0.5"),
            ("5.", "5", "5"),
            ("1e3", "1k", "1000"),
            ("1E3", "1000", "1000"),
            ("1e-3", "1m", "0.001"),
            ("100n", "0.1u", "0.0000001"),
            ("-1.5", "-1500m", "-1.5"),
            ("+2", "2", "2"),
            ("0", "-0", "0"),
            ("0Ki", "0m", "0"),
            ("12e0", "12", "12"),
            ("0.1Ki", "102.4", "102.4"),
        ] {
            assert_eq!(parse(one), parse(other), "{one} {other}");
            assert_eq!(parse(one).to_string(), plain, "{one}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "", "50mm", "m", ".", "-", "1.2.3", "1 ", " 1", "1K", "1ki", "1e", "1e+", "1e1.5", "1Kim", "abc",
            "--1", "1i", "١",
        ] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Malformed), "{text:?}");
        }
        let long = "9".repeat(60);
        for text in
            ["1e99999999999", "1e61", long.as_str(), &"1".repeat(100), "999999999999999999999999999999Ei"]
        {
            assert_eq!(Quantity::parse(text), Err(QuantityError::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn order_follows_the_value() {
        let sorted = ["-1e3", "-2", "-1.5", "0", "1n", "999m", "1", "1.5", "9", "10", "1k", "1Ki", "1e60"];
        for pair in sorted.windows(2) {
            assert!(parse(pair[0]) < parse(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn whole_numbers_round_up() {
        for (text, whole) in [
            ("1", Some(1)),
            ("1m", Some(1)),
            ("-1m", Some(0)),
            ("1500m", Some(2)),
            ("1e-60", Some(1)),
            ("1e30", None),
            ("8Ei", None),
            ("1Ei", Some(1 << 60)),
        ] {
            assert_eq!(parse(text).to_i64_ceil(), whole, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn plain_form_reads_back(text in "[+-]?[0-9]{0,20}\\.?[0-9]{0,9}(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2}|)") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let plain = quantity.to_string();
                if plain.len() <= MAX_TEXT_BYTES {
                    proptest::prop_assert_eq!(Quantity::parse(&plain), Ok(quantity));
                }
            }
        }

        #[test]
        fn order_agrees_with_integers(a in proptest::prelude::any::<i64>(), b in proptest::prelude::any::<i64>()) {
            proptest::prop_assert_eq!(parse(&a.to_string()).cmp(&parse(&b.to_string())), a.cmp(&b));
        }
    }
}
