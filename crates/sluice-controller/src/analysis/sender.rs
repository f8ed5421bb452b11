//! Sends the requests of metric providers.
//!
//! One place, so that proxies, certificates, time limits and the size of answers are the same for all. Decides
//! nothing about answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use reqwest::redirect::{Action, Attempt, Policy};
use sluice_integrations::{HeaderValue, HttpRequest, HttpResponse};

/// The largest answer that is read.
pub const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// How requests get out.
pub type Send =
    Arc<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, String>> + std::marker::Send + Sync>;

/// Sends over the network. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, certificates from the
/// system or from `SSL_CERT_FILE`. Nothing is made before the first request.
pub fn over_the_network() -> Send {
    let clients = Arc::new(Clients::default());
    Arc::new(move |request| {
        let clients = Arc::clone(&clients);
        Box::pin(async move { clients.send(request).await })
    })
}

#[derive(Default)]
struct Clients(Mutex<BTreeMap<Manner, reqwest::Client>>);

/// How a client treats servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Manner {
    /// Certificates go unverified, because somebody asked for that.
    is_insecure: bool,
    follows_redirects: bool,
}

impl Clients {
    fn client(&self, manner: Manner) -> Result<reqwest::Client, String> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&manner) {
            return Ok(client.clone());
        }
        // Whoever came first installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = if manner.follows_redirects { Policy::custom(follow) } else { Policy::none() };
        let client = reqwest::Client::builder()
            .user_agent("sluice")
            .redirect(redirects)
            .tls_danger_accept_invalid_certs(manner.is_insecure)
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {}", causes(&error)))?;
        clients.insert(manner, client.clone());
        Ok(client)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, String> {
        if request.signing.is_some() {
            return Err("signing requests for AWS is not carried out by this build".into());
        }
        let method = request.method.parse::<reqwest::Method>().map_err(|error| error.to_string())?;
        let manner = Manner { is_insecure: request.insecure, follows_redirects: request.follows_redirects };
        let mut builder =
            self.client(manner)?.request(method, &request.url).timeout(request.timeout.unsigned_abs());
        for (name, value) in &request.headers {
            let (text, is_secret) = match value {
                HeaderValue::Plain(text) => (text.as_str(), false),
                HeaderValue::Secret(secret) => (secret.expose(), true),
            };
            let mut value = reqwest::header::HeaderValue::from_str(text)
                .map_err(|_| format!("header {name} holds characters that no header can hold"))?;
            value.set_sensitive(is_secret);
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        // The address may hold a secret; the error is about the rest.
        let mut response = builder.send().await.map_err(|error| causes(&error.without_url()))?;
        let headers = response.headers().iter();
        let headers = headers
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut answer = HttpResponse {
            status: response.status().as_u16(),
            headers,
            body: Vec::new(),
            cut_at_bytes: None,
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| causes(&error.without_url()))? {
            let room = LARGEST_ANSWER - answer.body.len();
            answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                answer.cut_at_bytes = Some(LARGEST_ANSWER);
                break;
            }
        }
        Ok(answer)
    }
}

/// Follows a redirect within one host: headers may hold keys that are meant for it alone. Whoever is sent elsewhere
/// gets to see the redirect.
fn follow(attempt: Attempt<'_>) -> Action {
    let before = attempt.previous();
    let is_same = before.first().is_some_and(|first| first.host_str() == attempt.url().host_str());
    let is_safe =
        before.last().is_none_or(|last| last.scheme() != "https" || attempt.url().scheme() == "https");
    if before.len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else if is_same && is_safe {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// An error with what led to it: its own text alone says "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
