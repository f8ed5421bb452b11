//! The `duration` of a canary pause.
//!
//! It decides how many whole seconds a value stands for: a number of seconds, a string of digits, or a
//! Go duration cut to whole seconds. It does not decide when a pause is over.

use jiff::SignedDuration;

use crate::go_duration;

/// A text that is neither a number of seconds nor a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a number of seconds nor a duration such as 1h30m")]
pub struct PauseDurationError {
    text: String,
}

/// Reads a duration given as text.
///
/// Negative values are returned as they are; whether they are allowed is for the caller to say.
pub fn parse(text: &str) -> Result<SignedDuration, PauseDurationError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let refused = || PauseDurationError { text: text.chars().take(64).collect() };
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a 32-bit number holds were never a sensible pause.
        return text.parse::<i32>().map(from_seconds).map_err(|_| refused());
    }
    go_duration::parse(text)
        .map(|duration| SignedDuration::from_secs(duration.as_secs()))
        .map_err(|_| refused())
}

/// Returns the duration that a bare number stands for.
pub fn from_seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_whole_seconds() {
        for (text, seconds) in [
            ("30", Some(30)),
            ("0", Some(0)),
            ("007", Some(7)),
            ("-5", Some(-5)),
            ("1h30m", Some(5400)),
            ("1.9s", Some(1)),
            ("999ms", Some(0)),
            ("-1.9s", Some(-1)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("1.5", None),
            ("1d", None),
            ("", None),
            ("-", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text).ok(), seconds.map(SignedDuration::from_secs), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
