//! Numbers and strings as Go prints them.
//!
//! The `value` of a measurement, the messages of expressions and substituted arguments are read by scripts
//! that were written against Go's forms.

/// Writes a float as `%v` does: the fewest digits, and an exponent below 0.0001 and from a million on:
/// `0.5`, `1e+06`, `1.234567e+06`, `NaN`, `+Inf`.
pub fn float(x: f64) -> String {
    if let Some(text) = not_finite(x) {
        return text.to_owned();
    }
    let exponent = exponent_of(x);
    if x != 0.0 && !(-4..6).contains(&exponent) { scientific(x, 2) } else { format!("{x}") }
}

/// Writes a float without an exponent: `1000000`, `0.0000001`.
pub fn float_plain(x: f64) -> String {
    not_finite(x).map_or_else(|| format!("{x}"), str::to_owned)
}

/// Writes a float as Go's JSON does, or nothing for those that JSON cannot hold.
pub fn float_json(x: f64) -> Option<String> {
    if not_finite(x).is_some() {
        return None;
    }
    let size = x.abs();
    let has_exponent = size != 0.0 && !(1e-6..1e21).contains(&size);
    Some(if has_exponent { scientific(x, if size < 1.0 { 1 } else { 2 }) } else { format!("{x}") })
}

/// Cuts a message that quotes something large.
pub(crate) fn shortened(mut message: String) -> String {
    const MOST: usize = 1_000;
    if let Some((place, _)) = message.char_indices().nth(MOST) {
        message.truncate(place);
        message.push('…');
    }
    message
}

fn not_finite(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("NaN")
    } else if x.is_infinite() {
        Some(if x > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

fn exponent_of(x: f64) -> i32 {
    let text = format!("{x:e}");
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0)
}

/// `1e+06`: at least `digits` digits of exponent, and always its sign.
fn scientific(x: f64, digits: usize) -> String {
    let text = format!("{x:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}e{sign}{exponent:0>digits$}")
}

/// Writes a string between double quotes with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if is_printable(c) => quoted.push(c),
            '\u{80}'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Beyond ASCII, near enough to Go: no controls, no separators, no marks without a width.
fn is_printable(c: char) -> bool {
    // What Rust's own debug form leaves alone.
    c.escape_debug().len() == 1 && !c.is_whitespace()
}

/// Appends a JSON string with the escapes that Go's encoder writes: `<`, `>` and `&` too.
pub fn push_json_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\x08' => json.push_str("\\b"),
            '\x0c' => json.push_str("\\f"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_prints_them() {
        // number => %v, plain, JSON
        for (x, general, plain, json) in [
            (0.0, "0", "0", "0"),
            (-0.0, "-0", "-0", "-0"),
            (0.5, "0.5", "0.5", "0.5"),
            (5.0, "5", "5", "5"),
            (100_000.0, "100000", "100000", "100000"),
            (1e6, "1e+06", "1000000", "1000000"),
            (1_234_567.0, "1.234567e+06", "1234567", "1234567"),
            (1_234_567.5, "1.2345675e+06", "1234567.5", "1234567.5"),
            (1e-4, "0.0001", "0.0001", "0.0001"),
            (1e-5, "1e-05", "0.00001", "0.00001"),
            (1e-7, "1e-07", "0.0000001", "1e-7"),
            (1e20, "1e+20", "100000000000000000000", "100000000000000000000"),
            (1e21, "1e+21", "1000000000000000000000", "1e+21"),
            (1.5e100, "1.5e+100", &format!("15{}", "0".repeat(99)), "1.5e+100"),
        ] {
            assert_eq!(float(x), general);
            assert_eq!(float_plain(x), plain);
            assert_eq!(float_json(x).as_deref(), Some(json));
        }
        assert_eq!(float(f64::INFINITY), "+Inf");
        assert_eq!(float_plain(f64::NEG_INFINITY), "-Inf");
        assert_eq!(float_json(f64::NAN), None);
    }

    #[test]
    fn strings_as_go_quotes_them() {
        for (text, quoted) in [
            ("", r#""""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\x07\x08\x0c\n\r\t\x0b\0\x7f", r#""\a\b\f\n\r\t\v\x00\x7f""#),
            ("ü 日 😀", "\"ü 日 😀\""),
            ("\u{a0}\u{200b}\u{e000}", r#""\u00a0\u200b\ue000""#),
            ("\u{f0000}", r#""\U000f0000""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
        let mut json = String::new();
        push_json_string(&mut json, "<a&b>\"\n\x01é");
        assert_eq!(json, r#""\u003ca\u0026b\u003e\"\n\u0001é""#);
    }
}
