//! OAuth 2 tokens by client credentials.
//!
//! It decides when a token is asked for and what the server's answer means. A token is used until shortly
//! before its end, also by later measurements, where Argo Rollouts fetches one for each.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_api::providers::OAuth2;

use crate::http::{HttpRequest, HttpResponse, Secret};
use crate::url::{self, Address};
use crate::{InProgress, Memory, ProviderError, Token};

/// A token that ends within this time is not worth using.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);
const PROVIDER: &str = "oauth2";

/// How a provider proves itself before its request.
#[derive(Debug)]
pub struct Grant {
    settings: OAuth2,
    address: Address,
    timeout: SignedDuration,
    insecure: bool,
}

/// What comes before the request of the provider itself.
pub enum Ready<'a> {
    /// Send this first.
    Send(HttpRequest, Memory),
    /// The request can be sent. An answer, if there is one, is that of the provider.
    Go { memory: Memory, answer: Option<&'a HttpResponse> },
}

impl Grant {
    /// Reads the settings; nothing when they are not used.
    ///
    /// # Errors
    /// They are used and not complete.
    pub fn new(
        settings: &OAuth2,
        timeout: SignedDuration,
        insecure: bool,
        field: &str,
    ) -> Result<Option<Self>, ProviderError> {
        if settings.token_url.is_empty() {
            return Ok(None);
        }
        if settings.client_id.is_empty() || settings.client_secret.is_empty() {
            let problem = "missing mandatory parameter in metric for OAuth2 setup";
            return Err(ProviderError::configuration(format!("{field}.authentication.oauth2"), problem));
        }
        let Some(address) = Address::parse(&settings.token_url) else {
            let problem = "authentication.oauth2.tokenUrl is no address with scheme and host";
            return Err(ProviderError::configuration(
                format!("{field}.authentication.oauth2.tokenUrl"),
                problem,
            ));
        };
        Ok(Some(Self { settings: settings.clone(), address, timeout, insecure }))
    }

    /// Sees to a token. Stages that begin with `token` are its own.
    pub fn ready<'a>(
        &self,
        measurement: &InProgress,
        answer: Option<&'a HttpResponse>,
        now: Timestamp,
    ) -> Result<Ready<'a>, ProviderError> {
        let mut memory = measurement.memory.clone();
        let stage = memory.stage.as_str().unwrap_or_default().to_owned();
        match (stage.as_str(), answer) {
            // Servers know either way of telling them who asks, and do not say which.
            ("token", Some(answer)) if (400..500).contains(&answer.status) && answer.status != 429 => {
                Ok(self.ask("token-in-form", memory))
            }
            ("token" | "token-in-form", Some(answer)) => {
                memory.token = Some(self.read(answer, now)?);
                memory.stage = Value::Null;
                Ok(Ready::Go { memory, answer: None })
            }
            // What was good when it was sent may have been revoked: one more attempt with a new one.
            (_, Some(answer)) if answer.status == 401 && is_older(&memory, measurement) => {
                Ok(self.ask("token", memory))
            }
            (_, Some(answer)) if memory.token.is_some() => Ok(Ready::Go { memory, answer: Some(answer) }),
            _ if self.is_good(memory.token.as_ref(), now) => Ok(Ready::Go { memory, answer: None }),
            _ => Ok(self.ask("token", memory)),
        }
    }

    fn is_good(&self, token: Option<&Token>, now: Timestamp) -> bool {
        token.is_some_and(|token| {
            let has_time = |end: Timestamp| end.duration_since(now) > MARGIN;
            token.granted_to == self.settings && token.expires_at.is_none_or(has_time)
        })
    }

    fn ask<'a>(&self, stage: &str, mut memory: Memory) -> Ready<'a> {
        let OAuth2 { client_id, client_secret, scopes, .. } = &self.settings;
        let scopes = scopes.join(" ");
        let in_form = stage == "token-in-form";
        let mut pairs = vec![("grant_type", "client_credentials")];
        if in_form {
            pairs.insert(0, ("client_id", client_id));
            pairs.insert(1, ("client_secret", client_secret));
        }
        if !scopes.is_empty() {
            pairs.push(("scope", &scopes));
        }
        let mut request = HttpRequest::new("POST", &self.address, self.timeout)
            .with_body("application/x-www-form-urlencoded", url::form(&pairs));
        request.insecure = self.insecure;
        if !in_form {
            request.authorize_basic(&url::escape(client_id), &url::escape(client_secret));
        }
        memory.token = None;
        memory.stage = json!(stage);
        Ready::Send(request, memory)
    }

    fn read(&self, answer: &HttpResponse, now: Timestamp) -> Result<Token, ProviderError> {
        if !answer.is_success() {
            let message = format!(
                "oauth2: cannot fetch token: {}{}\nResponse: {}",
                answer.status,
                answer.redirect_hint(),
                answer.quoted()
            );
            return Err(ProviderError::status(PROVIDER, answer.status, message));
        }
        // The body is not quoted: what cannot be read may be a token all the same.
        let text = answer.text(PROVIDER)?;
        let body: Value = serde_json::from_str(&text)
            .map_err(|_| ProviderError::shape(PROVIDER, "oauth2: cannot parse json of the token server"))?;
        let Some(token) = body["access_token"].as_str().filter(|token| is_printable(token)) else {
            return Err(ProviderError::shape(PROVIDER, "oauth2: server response missing access_token"));
        };
        let kind = body["token_type"].as_str().filter(|kind| is_printable(kind)).unwrap_or("Bearer");
        let kind = if kind.eq_ignore_ascii_case("bearer") { "Bearer" } else { kind };
        let seconds = match &body["expires_in"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64().or_else(|| other.as_f64().map(|seconds| seconds as i64)),
        };
        let seconds = seconds.filter(|seconds| *seconds > 0);
        let expires_at = seconds
            .map(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX));
        Ok(Token {
            authorization: Secret::new(format!("{kind} {token}")),
            granted_at: now,
            expires_at,
            granted_to: self.settings.clone(),
        })
    }
}

/// Whether the token is left from an earlier measurement.
fn is_older(memory: &Memory, measurement: &InProgress) -> bool {
    memory.token.as_ref().is_some_and(|token| token.granted_at < measurement.started_at)
}

/// Whether a text can stand in a header.
fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| ('!'..='~').contains(&c))
}
