//! What a step asks of a text: to be it, to begin with it, or to fit a regular expression.

use sluice_api::steps::StringMatch;

use crate::{Scope, TrafficError};

/// One of the three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

/// The way that is asked for; `field` says where it stands.
pub(crate) fn way<'a>(
    value: Option<&'a StringMatch>,
    field: &str,
    scope: &Scope,
) -> Result<Way<'a>, TrafficError> {
    let given = value.map(|value| (value.exact.as_str(), value.prefix.as_str(), value.regex.as_str()));
    match given {
        Some((exact, "", "")) if !exact.is_empty() => Ok(Way::Exact(exact)),
        Some(("", prefix, "")) if !prefix.is_empty() => Ok(Way::Prefix(prefix)),
        Some(("", "", regex)) if !regex.is_empty() => Ok(Way::Regex(regex)),
        _ => {
            Err(scope.unfit(field, "invalid header match type: give exactly one of exact, prefix and regex"))
        }
    }
}

/// The regular expression that the whole of a text fits which begins with this one.
pub(crate) fn beginning_with(prefix: &str) -> String {
    let mut quoted = String::new();
    for character in prefix.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + ".*"
}
