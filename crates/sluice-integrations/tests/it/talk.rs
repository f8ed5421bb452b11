//! A measurement against written answers, and its transcript.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use sluice_api::analysis::Metric;
use sluice_integrations::{
    Context, DatadogKeys, HeaderValue, HttpRequest, HttpResponse, InProgress, Measured, Memory, Next,
    Outcome, ProviderError, Secret, Signing, needed_secrets, provider,
};

/// One conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub provider: serde_json::Value,
    #[serde(default)]
    pub interval: String,
    pub now: Option<Timestamp>,
    #[serde(default)]
    pub context: Surroundings,
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// Whether a second measurement follows at once, with the token of the first.
    #[serde(default)]
    pub again: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Surroundings {
    pub run_started_at: Option<Timestamp>,
    pub prometheus_address: Option<String>,
    pub datadog: Option<[String; 3]>,
    pub aws_region: Option<String>,
    pub cloud_watch_address: Option<String>,
    /// The content of each Secret that the metric asks for.
    pub secret: Option<BTreeMap<String, String>>,
    pub secret_arguments: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub cut_at_bytes: Option<usize>,
}

impl Answer {
    pub fn response(&self) -> HttpResponse {
        HttpResponse {
            status: if self.status == 0 { 200 } else { self.status },
            headers: self.headers.clone(),
            body: self.body.clone().into_bytes(),
            cut_at_bytes: self.cut_at_bytes,
        }
    }
}

impl Case {
    pub fn metric(&self) -> Metric {
        let metric = serde_json::json!({"name": "m", "interval": self.interval, "provider": self.provider});
        serde_json::from_value(metric).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    pub fn context(&self) -> Context {
        let around = &self.context;
        let mut context = Context {
            controller_namespace: "controller".into(),
            run_namespace: "run".into(),
            run_started_at: around.run_started_at,
            prometheus_address: around.prometheus_address.clone(),
            datadog: around.datadog.clone().map(|[address, api_key, app_key]| DatadogKeys {
                address,
                api_key: Secret::new(api_key),
                app_key: Secret::new(app_key),
            }),
            aws_region: around.aws_region.clone(),
            cloud_watch_address: around.cloud_watch_address.clone(),
            version: "1.2.3".into(),
            secrets: BTreeMap::new(),
            secret_arguments: around.secret_arguments.iter().map(Secret::new).collect(),
        };
        if let Some(secret) = &around.secret {
            for name in needed_secrets(&self.metric(), &context) {
                let content = secret.iter().map(|(key, text)| (key.clone(), Secret::new(text))).collect();
                context.secrets.insert(name, content);
            }
        }
        context
    }

    pub fn now(&self) -> Timestamp {
        self.now.unwrap_or(Timestamp::from_second(1_700_000_000).unwrap())
    }

    /// Plays the conversation.
    pub fn transcript(&self) -> String {
        let mut text = format!("## {}\n", self.name);
        let mut answers = self.answers.iter();
        let memory = self.play(&mut answers, Memory::default(), self.now(), &mut text);
        if self.again {
            text.push_str("--\n");
            let later = self.now() + jiff::SignedDuration::from_secs(60);
            self.play(&mut answers, memory, later, &mut text);
        }
        assert!(answers.next().is_none(), "{}: more answers than questions:\n{text}", self.name);
        text
    }

    fn play<'a>(
        &self,
        answers: &mut impl Iterator<Item = &'a Answer>,
        memory: Memory,
        mut now: Timestamp,
        text: &mut String,
    ) -> Memory {
        let asked = match provider(&self.metric(), &self.context()) {
            Ok(asked) => asked,
            Err(error) => {
                push_error(text, &error);
                return Memory::default();
            }
        };
        for (key, shown) in asked.metadata() {
            writeln!(text, "metric {key}: {shown}").unwrap();
        }
        let mut measurement = InProgress { started_at: now, memory };
        let mut answer = None;
        loop {
            match asked.next(&measurement, answer.as_ref(), now) {
                Ok(Next::Send(request, memory)) => {
                    push_request(text, &request);
                    let next =
                        answers.next().unwrap_or_else(|| panic!("{}: no answer to\n{text}", self.name));
                    answer = Some(next.response());
                    let cut = next.cut_at_bytes.map_or_else(String::new, |limit| format!(" cut at {limit}"));
                    writeln!(text, "< {}{cut} {}", next.response().status, next.body.trim_end()).unwrap();
                    measurement.memory = memory;
                }
                Ok(Next::WaitUntil(instant, memory)) => {
                    writeln!(text, "wait {}, metadata {:?}", instant.duration_since(now), memory.metadata)
                        .unwrap();
                    (now, answer) = (instant, None);
                    // Only the metadata is certain to outlive a wait.
                    measurement.memory = Memory { metadata: memory.metadata, ..Memory::default() };
                }
                Ok(Next::Done(measured)) => {
                    push_measured(text, &measured);
                    return Memory { token: measured.token, ..Memory::default() };
                }
                Err(error) => {
                    push_error(text, &error);
                    return Memory::default();
                }
            }
        }
    }
}

fn push_error(text: &mut String, error: &ProviderError) {
    let field = match error {
        ProviderError::Configuration { field, .. } => format!(" [{field}]"),
        _ => String::new(),
    };
    writeln!(text, "! {}{field}: {error}", error.label()).unwrap();
}

fn push_request(text: &mut String, request: &HttpRequest) {
    writeln!(text, "> {} {}", request.method, request.url).unwrap();
    for (name, value) in &request.headers {
        match value {
            HeaderValue::Plain(value) => writeln!(text, "> {name}: {value}").unwrap(),
            HeaderValue::Secret(value) => writeln!(text, "> {name}: (secret) {}", value.expose()).unwrap(),
        }
    }
    let flags = [(request.insecure, ", insecure"), (request.follows_redirects, ", follows redirects")];
    let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
    writeln!(text, "> (within {:#}{flags})", request.timeout).unwrap();
    if let Some(Signing { service, region, profile, role_arn }) = &request.signing {
        writeln!(text, "> (signed: {service} {region:?} {profile:?} {role_arn:?})").unwrap();
    }
    if let Some(body) = &request.body {
        writeln!(text, "> {body}").unwrap();
    }
}

fn push_measured(text: &mut String, measured: &Measured) {
    match &measured.outcome {
        Outcome::Result(value) => writeln!(text, "= {} {}", value.go_type(), value.to_text()).unwrap(),
        Outcome::Judged { phase, message } => writeln!(text, "= {phase:?} {message:?}").unwrap(),
    }
    let kept = if measured.keeps_value { " (kept)" } else { "" };
    writeln!(text, "= value {}{kept}", measured.value.as_deref().unwrap_or("(none)")).unwrap();
    for (key, shown) in &measured.metadata {
        writeln!(text, "= {key}: {shown}").unwrap();
    }
}
