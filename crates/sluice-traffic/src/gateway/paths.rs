//! Paths of matches: which requests two of them ask for together.

use serde_json::Value;

use crate::fields;

/// Whether a path match takes every request; so does one that is absent.
pub(super) fn is_everything(path: &Value) -> bool {
    kind(path) == "PathPrefix" && matches!(fields::text(path, "value"), "/" | "")
}

fn kind(path: &Value) -> &str {
    match fields::text(path, "type") {
        "" => "PathPrefix",
        kind => kind,
    }
}

/// The path that takes what both take; `None` if there is nothing.
///
/// # Errors
/// Why it cannot be told.
pub(super) fn both(one: Option<&Value>, other: &Value) -> Result<Option<Value>, String> {
    let Some(one) = one.filter(|one| !one.is_null() && !is_everything(one)) else {
        return Ok(Some(other.clone()));
    };
    let narrower = match (kind(one), kind(other)) {
        _ if one == other || is_everything(other) => Some(one),
        ("Exact" | "PathPrefix", "Exact") | ("PathPrefix", "PathPrefix") if takes(one, other) => Some(other),
        ("Exact" | "PathPrefix", "PathPrefix") if takes(other, one) => Some(one),
        ("Exact" | "PathPrefix", "Exact" | "PathPrefix") => None,
        _ => {
            let (one, other) = (fields::text(one, "value"), fields::text(other, "value"));
            return Err(format!(
                "whether {other} is among {one} cannot be told of a regular expression: use exact or prefix"
            ));
        }
    };
    Ok(narrower.cloned())
}

/// Whether everything that `other` takes, whatever its kind, begins with what `path` takes.
fn takes(path: &Value, other: &Value) -> bool {
    let (mine, theirs) = (fields::text(path, "value"), fields::text(other, "value"));
    if kind(path) == "Exact" {
        return mine == theirs && kind(other) == "Exact";
    }
    // Element by element: /a takes /a/b and not /ab.
    let mine = mine.trim_end_matches('/');
    theirs.strip_prefix(mine).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_both_take() {
        let of = |text: &str| {
            let (kind, value) = text.split_once(' ').expect("kind and value");
            let kind = match kind {
                "=" => "Exact",
                "^" => "PathPrefix",
                _ => "RegularExpression",
            };
            json!({"type": kind, "value": value})
        };
        for (one, other, expected) in [
            ("^ /", "= /a", Some("= /a")),
            ("^ /", "~ /a.*", Some("~ /a.*")),
            ("^ /a", "^ /", Some("^ /a")),
            ("~ /a", "^ /", Some("~ /a")),
            ("^ /a", "= /a", Some("= /a")),
            ("^ /a", "= /a/b", Some("= /a/b")),
            ("^ /a/", "^ /a/b", Some("^ /a/b")),
            ("^ /a", "= /ab", None),
            ("^ /a/b", "^ /a", Some("^ /a/b")),
            ("^ /a", "^ /b", None),
            ("= /a", "^ /a", Some("= /a")),
            ("= /a", "= /a", Some("= /a")),
            ("= /a", "= /b", None),
            ("= /a", "^ /a/b", None),
            ("~ /a", "~ /a", Some("~ /a")),
        ] {
            assert_eq!(both(Some(&of(one)), &of(other)), Ok(expected.map(of)), "{one} and {other}");
        }
        assert_eq!(both(None, &of("= /a")), Ok(Some(of("= /a"))));
        let problem = both(Some(&of("~ /a.")), &of("= /ab")).expect_err("nobody can tell");
        assert_eq!(
            problem,
            "whether /ab is among /a. cannot be told of a regular expression: use exact or prefix"
        );
    }
}
