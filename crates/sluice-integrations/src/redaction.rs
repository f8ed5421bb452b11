//! What leaves a provider shows no secret.
//!
//! It decides which texts of a metric are secret, and takes them out of errors, values and metadata: a server
//! may well quote in an error what it was sent. The result itself stays as it is, for conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use sluice_api::providers::{Authentication, Provider, WebHeader};
use sluice_lang::go_format;

use crate::http::{self, Secret};
use crate::url::{self, Address};
use crate::{
    Context, HttpResponse, InProgress, Measured, Memory, MetricProvider, Next, Outcome, ProviderError,
};

/// What stands in place of a secret.
const HIDDEN: &str = "*****";
/// A text shorter than this is no secret, and taking it out would make `0.*****` of numbers.
const MIN_BYTES: usize = 4;
/// How often a text is quoted in another: by us, in the JSON of a request, in that of its answer.
const QUOTES: usize = 3;

/// The secrets of one metric, longest first, so that what contains another goes as a whole.
pub struct Redaction {
    secrets: Vec<Secret>,
}

impl Redaction {
    pub fn new(provider: &Provider<'_>, context: &Context) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        let mut add = |text: &str| secrets.extend(forms(text));
        context.secret_arguments.iter().for_each(|secret| add(secret.expose()));
        context.secrets.values().flat_map(BTreeMap::iter).for_each(|(key, secret)| {
            if !matches!(key.as_str(), "address" | "region" | "org" | "base-url-rest" | "base-url-nerdgraph")
            {
                add(secret.expose());
                add(secret.expose().trim_end());
            }
        });
        if let Some(keys) = &context.datadog {
            add(keys.api_key.expose());
            add(keys.app_key.expose());
        }
        let addresses = [context.prometheus_address.as_deref(), context.cloud_watch_address.as_deref()];
        let addresses = addresses.into_iter().flatten().chain(address_of(provider));
        for user in addresses.filter_map(user_of) {
            let (name, password) = user.split_once(':').unwrap_or((&user, ""));
            add(password);
            add(&url::unescape(password));
            add(&http::basic(&url::unescape(name), &url::unescape(password)));
        }
        let (headers, authentication) = credentials(provider);
        for header in headers.iter().filter(|header| is_sensitive(&header.key)) {
            add(&header.value);
            // `Bearer …` and its kin: the part behind the word is what matters.
            header.value.split_once(' ').into_iter().for_each(|(_, credential)| add(credential));
        }
        if let Some(Authentication { oauth2, basic_auth, .. }) = authentication {
            for (user, password) in
                [(&oauth2.client_id, &oauth2.client_secret), (&basic_auth.username, &basic_auth.password)]
            {
                add(password);
                add(&url::escape(password));
                if !password.is_empty() {
                    add(http::basic(user, password).trim_start_matches("Basic "));
                }
            }
        }
        secrets.retain(|secret| secret.len() >= MIN_BYTES);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets: secrets.into_iter().map(Secret::new).collect() }
    }

    fn text(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), HIDDEN) } else { text }
        })
    }

    fn metadata(&self, metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
        metadata.into_iter().map(|(key, text)| (key, self.text(text))).collect()
    }

    pub fn error(&self, error: ProviderError) -> ProviderError {
        let text = |text: String| http::shortened(self.text(text));
        match error {
            ProviderError::Status { provider, status, message } => {
                ProviderError::Status { provider, status, message: text(message) }
            }
            ProviderError::Reported { provider, message } => {
                ProviderError::Reported { provider, message: text(message) }
            }
            ProviderError::Shape { provider, message } => {
                ProviderError::Shape { provider, message: text(message) }
            }
            ProviderError::NoAnswer { provider, problem } => {
                ProviderError::NoAnswer { provider, problem: text(problem) }
            }
            ProviderError::Configuration { field, problem } => {
                ProviderError::Configuration { field, problem: text(problem) }
            }
            error @ ProviderError::TooLarge { .. } => error,
        }
    }

    fn next(&self, next: Next) -> Next {
        let memory = |memory: Memory| Memory { metadata: self.metadata(memory.metadata), ..memory };
        match next {
            Next::Send(request, kept) => Next::Send(request, memory(kept)),
            Next::WaitUntil(instant, kept) => Next::WaitUntil(instant, memory(kept)),
            Next::Done(measured) => Next::Done(Measured {
                outcome: match measured.outcome {
                    Outcome::Judged { phase, message } => {
                        Outcome::Judged { phase, message: self.text(message) }
                    }
                    result @ Outcome::Result(_) => result,
                },
                value: measured.value.map(|text| self.text(text)),
                metadata: self.metadata(measured.metadata),
                ..measured
            }),
        }
    }

    /// With what a token server gave out meanwhile.
    fn with_token(&self, memory: &Memory) -> Redaction {
        let mut secrets = self.secrets.clone();
        if let Some(token) = &memory.token {
            let whole = token.authorization.expose();
            let credential = whole.split_once(' ').map_or(whole, |(_, credential)| credential);
            let found = [whole, credential].into_iter().filter(|text| text.len() >= MIN_BYTES);
            secrets.splice(0..0, found.map(Secret::new));
        }
        Redaction { secrets }
    }
}

/// Name and password in an address, or in what was meant as one.
fn user_of(text: &str) -> Option<String> {
    if let Some(address) = Address::parse(text) {
        return address.user;
    }
    let (user, _) = text.rsplit_once('@')?;
    Some(user.split_once("://").map_or(user, |(_, user)| user).to_owned())
}

/// How a secret may look in a text that quotes a text that quotes it.
fn forms(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([text.to_owned()]);
    for _ in 0..QUOTES {
        all = all.iter().flat_map(|text| quoted(text)).collect();
    }
    all
}

/// A text as it is, within JSON, within an address, quoted.
fn quoted(text: &str) -> Vec<String> {
    let mut json = String::new();
    go_format::push_json_string(&mut json, text);
    let inner = |quoted: &str| quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let plain_json = serde_json::Value::from(text).to_string();
    vec![
        text.to_owned(),
        inner(&json),
        inner(&plain_json),
        inner(&go_format::quote(text)),
        inner(&format!("{text:?}")),
        url::escape(text),
    ]
}

/// Whether the value of a header of this name is likely secret.
fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "key", "secret", "password"].iter().any(|part| name.contains(part))
}

fn credentials<'a>(provider: &Provider<'a>) -> (&'a [WebHeader], Option<&'a Authentication>) {
    match *provider {
        Provider::Prometheus(block) => (&block.headers, block.authentication.as_ref()),
        Provider::Web(block) => (&block.headers, block.authentication.as_ref()),
        _ => (&[], None),
    }
}

fn address_of<'a>(provider: &Provider<'a>) -> Option<&'a str> {
    match *provider {
        Provider::Prometheus(block) => Some(&block.address),
        Provider::Web(block) => Some(&block.url),
        Provider::Kayenta(block) => Some(&block.address),
        Provider::Graphite(block) => Some(&block.address),
        Provider::SkyWalking(block) => Some(&block.address),
        Provider::Wavefront(block) => Some(&block.address),
        Provider::Datadog(_)
        | Provider::NewRelic(_)
        | Provider::Job(_)
        | Provider::CloudWatch(_)
        | Provider::Influxdb(_)
        | Provider::Plugin(..) => None,
    }
}

/// A provider whose secrets stay within.
pub struct Redacted {
    name: &'static str,
    provider: Box<dyn MetricProvider>,
    redaction: Redaction,
}

impl Redacted {
    pub fn new(name: &'static str, provider: Box<dyn MetricProvider>, redaction: Redaction) -> Self {
        Self { name, provider, redaction }
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is configured may hold secrets at any place.
        write!(f, "MetricProvider({})", self.name)
    }
}

impl MetricProvider for Redacted {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let redaction = self.redaction.with_token(&measurement.memory);
        match self.provider.next(measurement, answer, now) {
            Ok(next) => Ok(redaction.next(next)),
            Err(error) => Err(redaction.error(error)),
        }
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.redaction.metadata(self.provider.metadata())
    }
}
