//! Resource quantities in the one form in which the API server writes them.
//!
//! Decides the canonical text only; no arithmetic on quantities happens here.

use serde_json::Value;

/// Rewrites a quantity canonically; leaves what is no quantity alone.
pub fn canonicalise(value: &mut Value) {
    let text = match &*value {
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        _ => return,
    };
    *value = Value::from(canonical(&text).unwrap_or(text));
}

/// The canonical form, or `None` if `text` is no quantity in the range handled here.
pub fn canonical(text: &str) -> Option<String> {
    const SUFFIXES: [(i32, &str); 10] = [
        (-9, "n"),
        (-6, "u"),
        (-3, "m"),
        (0, ""),
        (3, "k"),
        (6, "M"),
        (9, "G"),
        (12, "T"),
        (15, "P"),
        (18, "E"),
    ];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.trim();
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let sign = if negative { "-" } else { "" };
    if let Some(power) = BINARY.iter().position(|s| *s == suffix && !s.is_empty()) {
        // Binary: whole bytes if it comes out even, else back to thousandths.
        let scaled = digits.checked_mul(1i128 << (10 * power))?;
        let divisor = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        if scaled % divisor == 0 {
            let mut n = scaled / divisor;
            if n.abs() < 1024 {
                return decimal(n, 0, sign, &SUFFIXES);
            }
            let mut power = 0;
            while n % 1024 == 0 && power + 1 < BINARY.len() {
                n /= 1024;
                power += 1;
            }
            return Some(format!("{sign}{n}{}", BINARY[power]));
        }
        return decimal(scaled, -i32::try_from(fraction.len()).ok()?, sign, &SUFFIXES);
    }
    let (exponent, scientific) = match SUFFIXES.iter().find(|(_, s)| *s == suffix) {
        Some((exponent, _)) => (*exponent, false),
        None => (suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?, true),
    };
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    if scientific && digits != 0 {
        let (mut n, mut e) = (digits, exponent);
        while n % 10 == 0 {
            n /= 10;
            e += 1;
        }
        while e % 3 != 0 {
            n = n.checked_mul(10)?;
            e -= 1;
        }
        return Some(if e == 0 { format!("{sign}{n}") } else { format!("{sign}{n}e{e}") });
    }
    decimal(digits, exponent, sign, &SUFFIXES)
}

fn decimal(digits: i128, exponent: i32, sign: &str, suffixes: &[(i32, &str)]) -> Option<String> {
    if digits == 0 {
        return Some("0".to_owned());
    }
    let (mut n, mut e) = (digits, exponent);
    while n % 10 == 0 {
        n /= 10;
        e += 1;
    }
    // Nothing finer than a billionth is kept; the rest is rounded up.
    while e < -9 {
        n = (n + 9) / 10;
        e += 1;
    }
    while e % 3 != 0 {
        n = n.checked_mul(10)?;
        e -= 1;
    }
    while e > 18 {
        n = n.checked_mul(1000)?;
        e -= 3;
    }
    let (_, suffix) = suffixes.iter().find(|(power, _)| *power == e)?;
    Some(format!("{sign}{n}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (given, expected) in [
            ("1", Some("1")),
            ("0.5", Some("500m")),
            ("1000m", Some("1")),
            ("1500m", Some("1500m")),
            ("100m", Some("100m")),
            ("0", Some("0")),
            ("0Gi", Some("0")),
            ("128Mi", Some("128Mi")),
            ("1024Mi", Some("1Gi")),
            ("0.5Gi", Some("512Mi")),
            ("1.5Ki", Some("1536")),
            ("1000", Some("1k")),
            ("1000Ki", Some("1000Ki")),
            ("1e3", Some("1e3")),
            ("100e1", Some("1e3")),
            ("12000000", Some("12M")),
            ("-5", Some("-5")),
            ("", None),
            ("abc", None),
            ("1x", None),
        ] {
            assert_eq!(canonical(given).as_deref(), expected, "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn canonical_is_stable(n in 0u64..1_000_000_000_000, suffix in "(|m|k|M|G|Ki|Mi|Gi)") {
            let once = canonical(&format!("{n}{suffix}")).expect("a quantity");
            proptest::prop_assert_eq!(canonical(&once), Some(once.clone()));
        }
    }
}
