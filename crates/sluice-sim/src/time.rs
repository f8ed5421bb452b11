//! Timestamps as Kubernetes writes them.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::Value;

/// `2026-01-02T03:04:05Z`.
pub fn seconds(at: Timestamp) -> String {
    let at = at.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor)).unwrap_or(at);
    at.to_string()
}

/// `2026-01-02T03:04:05.000000Z`.
pub fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// The instant that a timestamp of an object names.
pub fn parse(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// Rewrites a time to whole seconds in UTC; leaves what is no time alone.
pub fn canonical_seconds(value: &mut Value) {
    let Some(text) = value.as_str() else { return };
    if text.len() == 20 && text.ends_with('Z') {
        return;
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        *value = Value::from(seconds(at));
    }
}

/// Rewrites a time to microseconds in UTC; leaves what is no time alone.
pub fn canonical_micros(value: &mut Value) {
    let Some(text) = value.as_str() else { return };
    if let Ok(at) = text.parse::<Timestamp>() {
        *value = Value::from(micros(at));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_canonical() {
        for (given, in_seconds, in_micros) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
            ("2026-01-02T03:04:05.987654321Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.987654Z"),
            ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
            ("soon", "soon", "soon"),
        ] {
            let (mut a, mut b) = (json!(given), json!(given));
            canonical_seconds(&mut a);
            canonical_micros(&mut b);
            assert_eq!((a, b), (json!(in_seconds), json!(in_micros)), "{given}");
        }
    }
}
