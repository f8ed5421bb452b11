//! Addresses and their escapes.
//!
//! It decides what is an address that can be asked, and writes forms byte for byte as Go does. It resolves
//! nothing.

use std::fmt::Write as _;

/// An address, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`.
    pub scheme: String,
    /// Name and password, escaped.
    pub user: Option<String>,
    /// Host and port.
    pub host: String,
    /// Path, with its slash; may be empty.
    pub path: String,
    /// What stands behind the question mark.
    pub query: Option<String>,
}

impl Address {
    /// Reads an address; nothing if it has not both a scheme and a host, or could break a request.
    pub fn parse(text: &str) -> Option<Address> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if text.chars().any(char::is_control) || scheme != "http" && scheme != "https" {
            return None;
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let has_host =
            !host.is_empty() && !host.starts_with(':') && !host.contains([' ', '\\', '"', '<', '>']);
        has_host.then(|| Address {
            scheme,
            user: user.map(str::to_owned),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// The whole of it but name and password.
    pub fn without_user(&self) -> String {
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{}{query}", self.origin(), self.path)
    }

    /// The same with a path below its own.
    pub fn join(&self, path: &str) -> Address {
        let path = format!("{}/{}", self.path.trim_end_matches('/'), path.trim_start_matches('/'));
        Address { path, ..self.clone() }
    }

    /// The same with another query.
    pub fn with_query(&self, query: impl Into<String>) -> Address {
        Address { query: Some(query.into()), ..self.clone() }
    }
}

/// Escapes a text for a form or a query, as Go's `url.QueryEscape`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            // Writing to a string cannot fail.
            _ => _ = write!(escaped, "%{byte:02X}"),
        }
    }
    escaped
}

/// Writes a form; the caller gives the keys in order.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

/// Takes back the escapes of the part of an address before the `@`.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        // text => without user, origin; nothing if it is none
        for (text, wanted) in [
            ("http://p:9090", Some(("http://p:9090", "http://p:9090"))),
            ("HTTPS://u:p%40@h/a/?b=c#d", Some(("https://h/a/?b=c", "https://h"))),
            ("http://[::1]:80?x=/y", Some(("http://[::1]:80?x=/y", "http://[::1]:80"))),
            ("p:9090", None),
            ("http://", None),
            ("http://:80", None),
            ("http://a b/", None),
            ("http://a/\r\nX: y", None),
            ("ftp://a", None),
            ("/path", None),
            ("", None),
        ] {
            let got = Address::parse(text);
            let got = got.as_ref().map(|address| (address.without_user(), address.origin()));
            let got = got.as_ref().map(|(whole, origin)| (whole.as_str(), origin.as_str()));
            assert_eq!(got, wanted, "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("a b+c/ü{}~"), "a+b%2Bc%2F%C3%BC%7B%7D~");
        assert_eq!(form(&[("a", "1 2"), ("b", "")]), "a=1+2&b=");
        for (text, plain) in [("p%40%3a", "p@:"), ("%", "%"), ("%4", "%4"), ("%é", "%é"), ("%+1", "%+1")] {
            let got = unescape(text);
            assert_eq!(got, plain, "{text}");
        }
    }
}
