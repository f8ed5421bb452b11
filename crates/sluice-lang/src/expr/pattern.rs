//! Regular expressions of `matches`.
//!
//! The original reads them as RE2 does. Our library is a close relative, with a few differences that would
//! change what matches: `\d`, `\w`, `\s` and `\b` mean ASCII there, a brace that counts nothing is a brace,
//! a bracket within brackets is a bracket. So a pattern is rewritten before it is compiled. Size and work
//! are bounded.

use regex::Regex;

/// Memory that one compiled pattern may take.
const MAX_BYTES: usize = 256 * 1024;
/// Most groups within each other.
const MAX_NESTING: u32 = 100;

/// Compiles a pattern.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&rewrite(pattern))
        .size_limit(MAX_BYTES)
        .dfa_size_limit(MAX_BYTES)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| match error {
            regex::Error::Syntax(text) => {
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("error parsing regexp: {reason}: `{pattern}`")
            }
            _ => format!("error parsing regexp: expression is too large: `{pattern}`"),
        })
}

/// Says the same in our library's words.
fn rewrite(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' if after.starts_with('Q') => {
                let (literal, after) = after[1..].split_once("\\E").unwrap_or((&after[1..], ""));
                written.push_str(&regex::escape(literal));
                after
            }
            '\\' => escape(after, &mut written, false),
            '[' => class(after, &mut written),
            '{' if !counts(rest) => {
                written.push_str("\\{");
                after
            }
            _ => {
                written.push(c);
                after
            }
        };
    }
    written
}

/// What follows a backslash. Returns what is left.
fn escape<'p>(after: &'p str, written: &mut String, in_class: bool) -> &'p str {
    let Some(c) = after.chars().next() else {
        written.push('\\');
        return after;
    };
    match c {
        'd' => written.push_str("[0-9]"),
        'D' => written.push_str("[^0-9]"),
        'w' => written.push_str("[0-9A-Za-z_]"),
        'W' => written.push_str("[^0-9A-Za-z_]"),
        's' => written.push_str(r"[\t\n\f\r ]"),
        'S' => written.push_str(r"[^\t\n\f\r ]"),
        'b' if !in_class => written.push_str(r"(?-u:\b)"),
        // The brace belongs to the escape: `\x{1F600}`, `\p{Greek}`.
        'x' | 'p' | 'P' if after[1..].starts_with('{') => {
            let length = after.find('}').map_or(after.len(), |end| end + 1);
            written.push('\\');
            written.push_str(&after[..length]);
            return &after[length..];
        }
        // A character by its octal number. A single digit but 0 is a reference, which neither has.
        '0'..='7' => {
            let digits = after.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            if c == '0' || digits > 1 {
                let code = u32::from_str_radix(&after[..digits], 8).unwrap_or(0);
                written.push_str(&format!("\\x{{{code:x}}}"));
                return &after[digits..];
            }
            written.push('\\');
            written.push(c);
        }
        // Escaped these are words' ends in our library.
        '<' | '>' => written.push(c),
        _ => {
            written.push('\\');
            written.push(c);
        }
    }
    &after[c.len_utf8()..]
}

/// A class, after its opening bracket.
fn class<'p>(after: &'p str, written: &mut String) -> &'p str {
    written.push('[');
    let mut rest = after;
    if let Some(after) = rest.strip_prefix('^') {
        written.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        written.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                written.push(']');
                return after;
            }
            '\\' => escape(after, written, true),
            '[' => {
                // `[:alpha:]`
                let name = rest.strip_prefix("[:").and_then(|name| name.find(":]"));
                let length = name.map_or(0, |name| "[::]".len() + name);
                if length > 0 {
                    written.push_str(&rest[..length]);
                } else {
                    written.push_str("\\[");
                }
                &rest[length.max(1)..]
            }
            // Doubled these are operations on classes in our library.
            '&' | '~' => {
                written.push('\\');
                written.push(c);
                after
            }
            '-' if after.starts_with('-') => {
                written.push_str("-\\-");
                &after[1..]
            }
            _ => {
                written.push(c);
                after
            }
        };
    }
    rest
}

/// Whether a brace begins `{2}`, `{2,}` or `{2,5}`.
fn counts(rest: &str) -> bool {
    let Some((counts, _)) = rest[1..].split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns and texts with what Go 1.26 says of them.
    const OBSERVED: &str = include_str!("testdata/patterns.tsv");

    #[test]
    fn patterns_match_what_they_match_in_go() {
        let mut wrong = String::new();
        for line in OBSERVED.lines() {
            let mut fields = line.split('\t');
            let (Some(pattern), Some(text), Some(expected)) = (fields.next(), fields.next(), fields.next())
            else {
                panic!("not three fields: {line:?}");
            };
            let found = match compile(pattern) {
                Ok(compiled) => compiled.is_match(text).to_string(),
                Err(_) => "error".to_owned(),
            };
            if found != expected {
                wrong.push_str(&format!("{line}\n  found {found} by {}\n", rewrite(pattern)));
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    }

    /// What the original refuses without need is let through.
    #[test]
    fn patterns_that_differ_on_purpose() {
        for (pattern, text) in
            [("a**", "a"), ("^a{1001}$", &*"a".repeat(1001)), ("^(a{10}){200}$", &"a".repeat(2000))]
        {
            assert_eq!(compile(pattern).map(|compiled| compiled.is_match(text)), Ok(true), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[\[\]{}()\\a\-0-2,^$.*+?&~|:<QEdwbé]{0,20}") {
            let _ = compile(&pattern).map(|compiled| compiled.is_match("a0é"));
        }
    }
}
