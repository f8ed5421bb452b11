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

/// Rewrites a time to whole seconds in UTC; complains about what is no time.
pub fn canonical_seconds(value: &mut Value) -> Result<(), String> {
    let Some(text) = value.as_str() else { return Ok(()) };
    let at = read(text, "2006-01-02T15:04:05Z07:00")?;
    *value = Value::from(seconds(at));
    Ok(())
}

fn read(text: &str, layout: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        let quoted = crate::status::quoted;
        format!(
            "parsing time {} as {}: cannot parse {} as \"2006\"",
            quoted(text),
            quoted(layout),
            quoted(text)
        )
    })
}

/// Rewrites a time to UTC; complains about what is no time with exactly six digits after the second.
pub fn canonical_micros(value: &mut Value) -> Result<(), String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let Some(text) = value.as_str() else { return Ok(()) };
    let at = read(text, LAYOUT)?;
    let rest = text.get(19..).unwrap_or_default();
    let digits = rest.strip_prefix('.').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if digits != Some(6) {
        let quoted = crate::status::quoted;
        return Err(format!(
            "parsing time {} as {}: cannot parse {} as \".000000\"",
            quoted(text),
            quoted(LAYOUT),
            quoted(rest)
        ));
    }
    *value = Value::from(micros(at));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_canonical() {
        for (given, in_seconds, in_micros) in [
            ("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z"), None),
            (
                "2026-01-02T03:04:05.987654Z",
                Some("2026-01-02T03:04:05Z"),
                Some("2026-01-02T03:04:05.987654Z"),
            ),
            (
                "2026-01-02T05:04:05.100000+02:00",
                Some("2026-01-02T03:04:05Z"),
                Some("2026-01-02T03:04:05.100000Z"),
            ),
            ("2026-01-02T03:04:05.1Z", Some("2026-01-02T03:04:05Z"), None),
            ("soon", None, None),
        ] {
            let (mut a, mut b) = (json!(given), json!(given));
            assert_eq!(
                canonical_seconds(&mut a).is_ok().then_some(a),
                in_seconds.map(|text| json!(text)),
                "{given}"
            );
            assert_eq!(
                canonical_micros(&mut b).is_ok().then_some(b),
                in_micros.map(|text| json!(text)),
                "{given}"
            );
        }
    }
}
