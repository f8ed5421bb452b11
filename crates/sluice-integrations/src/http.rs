//! Requests and answers.
//!
//! It decides what of them may be seen: their debug forms show neither headers of ours nor a body, because
//! either may hold a secret. It does not send.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use jiff::SignedDuration;
use serde_json::Value;
use sluice_api::providers::WebHeader;

use crate::ProviderError;
use crate::url::{self, Address};

/// Longest message of an error.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Text that never shows in logs, events or debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes over a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*****")
    }
}

/// A header's value: plain, or one that must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// May be shown.
    Plain(String),
    /// Must not be shown.
    Secret(Secret),
}

/// A signature of AWS (version 4) that whoever sends has to put on a request, body included.
///
/// Only the sender has credentials, and only it knows the time at which it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The service, such as `aps`.
    pub service: &'static str,
    /// The region; the sender's own when there is none.
    pub region: Option<String>,
    /// The profile of the shared configuration.
    pub profile: Option<String>,
    /// The role to take on.
    pub role_arn: Option<String>,
}

/// A request to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`.
    pub method: String,
    /// The whole address. It may hold secrets that a template put there.
    pub url: String,
    /// Headers by name.
    pub headers: BTreeMap<String, HeaderValue>,
    /// The body.
    pub body: Option<String>,
    /// How long the answer may take.
    pub timeout: SignedDuration,
    /// Whether certificates go unverified.
    pub insecure: bool,
    /// Whether a redirect is followed. To another host, headers must not go along.
    pub follows_redirects: bool,
    /// The signature to put on it.
    pub signing: Option<Signing>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Address::parse(&self.url).map(|address| address.origin());
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("origin", &origin.as_deref().unwrap_or("?"))
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.as_ref().map(String::len))
            .field("timeout", &self.timeout)
            .field("insecure", &self.insecure)
            .field("follows_redirects", &self.follows_redirects)
            .field("signing", &self.signing)
            .finish()
    }
}

impl HttpRequest {
    /// A request without a body. Credentials in the address become a header.
    pub(crate) fn new(method: impl Into<String>, address: &Address, timeout: SignedDuration) -> Self {
        let mut request = HttpRequest {
            method: method.into(),
            url: address.without_user(),
            headers: BTreeMap::new(),
            body: None,
            timeout,
            insecure: false,
            follows_redirects: false,
            signing: None,
        };
        if let Some(user) = &address.user {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            request.authorize_basic(&url::unescape(name), &url::unescape(password));
        }
        request
    }

    pub(crate) fn with_body(mut self, content_type: &str, body: impl Into<String>) -> Self {
        self.set_header("Content-Type", HeaderValue::Plain(content_type.to_owned()));
        self.body = Some(body.into());
        self
    }

    pub(crate) fn with_plain(mut self, name: &str, value: &str) -> Self {
        self.set_header(name, HeaderValue::Plain(value.to_owned()));
        self
    }

    pub(crate) fn with_secret(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_header(name, HeaderValue::Secret(Secret::new(value)));
        self
    }

    /// Scheme, host and port: what a [`crate::circuit`] is about.
    pub fn origin(&self) -> String {
        Address::parse(&self.url).map_or_else(String::new, |address| address.origin())
    }

    /// Sets a header, whatever the case in which it is written already.
    pub(crate) fn set_header(&mut self, name: &str, value: HeaderValue) {
        self.headers.retain(|existing, _| !existing.eq_ignore_ascii_case(name));
        self.headers.insert(name.to_owned(), value);
    }

    pub(crate) fn authorize_basic(&mut self, user: &str, password: &str) {
        let header = basic(user, password);
        self.set_header("Authorization", HeaderValue::Secret(Secret::new(header)));
    }
}

/// The header of basic authentication.
pub(crate) fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

/// An answer that came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// Its status code.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
    /// The limit at which the sender cut the body, if it did.
    pub cut_at_bytes: Option<usize>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The answer of a token server is a secret as a whole.
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("cut_at_bytes", &self.cut_at_bytes)
            .finish_non_exhaustive()
    }
}

impl HttpResponse {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Where a redirect leads, without what may be secret in it, as an addition to a message.
    pub(crate) fn redirect_hint(&self) -> String {
        let target = self.headers.get("location").filter(|_| (300..400).contains(&self.status));
        let target = target.and_then(|target| Address::parse(target));
        target.map_or_else(String::new, |target| {
            format!("; it redirects to {}, use that as the address", target.origin())
        })
    }

    /// The body, for a message; the message is cut when the secrets are out of it, lest half of one stays.
    /// A body that was cut already may end within a secret.
    pub(crate) fn quoted(&self) -> Cow<'_, str> {
        if self.cut_at_bytes.is_some() { "".into() } else { String::from_utf8_lossy(&self.body) }
    }

    /// The body as text, if it is all there.
    pub(crate) fn text(&self, provider: &'static str) -> Result<Cow<'_, str>, ProviderError> {
        match self.cut_at_bytes {
            Some(limit_bytes) => Err(ProviderError::TooLarge { provider, limit_bytes }),
            None => Ok(String::from_utf8_lossy(&self.body)),
        }
    }

    /// The body as JSON, if it is all there.
    pub(crate) fn json(&self, provider: &'static str) -> Result<Value, ProviderError> {
        self.json_or(provider, |error| {
            format!("{provider} answered with something else than JSON ({error}): {:?}", self.quoted())
        })
    }

    /// As [`HttpResponse::json`], with the provider's own words for a body that is no JSON.
    pub(crate) fn json_or(
        &self,
        provider: &'static str,
        message: impl FnOnce(serde_json::Error) -> String,
    ) -> Result<Value, ProviderError> {
        let text = self.text(provider)?;
        serde_json::from_str(&text).map_err(|error| ProviderError::shape(provider, message(error)))
    }
}

/// Refuses headers that cannot be sent. A line break at the end of a value comes with many a Secret.
pub(crate) fn check_headers(headers: &[WebHeader], field: &str) -> Result<(), ProviderError> {
    for WebHeader { key, value } in headers {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let problem = if key.is_empty() || !key.chars().all(is_name) {
            format!("header {key:?}: this is no name of a header")
        } else if value.chars().any(|c| c.is_control() && c != '\t') {
            format!("header {key:?}: its value holds a line break or another control character")
        } else {
            continue;
        };
        return Err(ProviderError::configuration(format!("{field}.headers"), problem));
    }
    Ok(())
}

/// Cuts a message that quotes something from elsewhere to what a person reads of it.
pub(crate) fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_no_secret() {
        let address = Address::parse("http://me:s3cret-1@metrics.example:9090/s3cret-2?q=s3cret-3").unwrap();
        let request = HttpRequest::new("GET", &address, SignedDuration::from_secs(10))
            .with_secret("X-Token", "s3cret-4")
            .with_body("text/plain", "s3cret-5");
        assert_eq!(request.url, "http://metrics.example:9090/s3cret-2?q=s3cret-3");
        let shown = format!("{request:?}");
        assert!(!shown.contains("s3cret") && shown.contains("*****"), "{shown}");
        assert!(shown.contains("http://metrics.example:9090\""), "{shown}");
        let answer = HttpResponse { status: 200, body: b"s3cret".into(), ..HttpResponse::default() };
        assert!(!format!("{answer:?}").contains("s3cret"));
    }

    #[test]
    fn a_header_is_there_once() {
        let address = Address::parse("http://x").unwrap();
        let mut request = HttpRequest::new("GET", &address, SignedDuration::ZERO).with_plain("X-a", "1");
        request.set_header("x-A", HeaderValue::Plain("2".into()));
        assert_eq!(request.headers, [("x-A".to_owned(), HeaderValue::Plain("2".into()))].into());
    }

    #[test]
    fn a_cut_body_is_an_error_that_names_the_limit() {
        let answer = HttpResponse { status: 200, cut_at_bytes: Some(64), ..HttpResponse::default() };
        let error = answer.json("web").unwrap_err();
        assert_eq!(error.to_string(), "web answered with more than 64 bytes; make the query return less");
    }
}
