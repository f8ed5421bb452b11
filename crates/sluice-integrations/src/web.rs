//! Any HTTP endpoint that answers in JSON.
//!
//! Differences to the original: `null` is no result and no crash, and a path without braces is a mistake and
//! not its own result.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use sluice_api::providers::{WebHeader, WebMetric};
use sluice_lang::expr::Value;
use sluice_lang::jsonpath::JsonPath;

use crate::http::{self, HeaderValue, HttpRequest, HttpResponse, Secret};
use crate::oauth::{Grant, Ready};
use crate::url::Address;
use crate::{InProgress, Measured, Memory, MetricProvider, Next, ProviderError};

const PROVIDER: &str = "web";
const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);
const WHOLE: &str = "{$}";

/// Asks an endpoint.
#[derive(Debug)]
pub struct Web {
    method: String,
    address: Address,
    headers: Vec<WebHeader>,
    body: Option<String>,
    is_json: bool,
    timeout: SignedDuration,
    insecure: bool,
    path: JsonPath,
    grant: Option<Grant>,
}

impl Web {
    pub fn new(block: &WebMetric) -> Result<Self, ProviderError> {
        let mistake = |field: &str, problem: String| {
            Err(ProviderError::configuration(format!("provider.web.{field}"), problem))
        };
        let Some(address) = Address::parse(&block.url) else {
            return mistake("url", "web: url is no address with scheme and host".to_owned());
        };
        let method = if block.method.is_empty() { "GET" } else { &block.method };
        if !method.chars().all(|c| c.is_ascii_alphabetic()) {
            return mistake("method", format!("web: method {method:?} is none; use GET, POST or PUT"));
        }
        let body = match (block.body.as_str(), &block.json_body) {
            ("", None) => None,
            ("", Some(object)) => Some(Json::Object(object.0.clone()).to_string()),
            (text, None) => Some(text.to_owned()),
            (_, Some(_)) => {
                let problem = "use either Body or JSONBody; both cannot exists for WebMetric payload";
                return mistake("body", problem.to_owned());
            }
        };
        if body.is_some() && method == "GET" {
            let problem = "Body/JSONBody can only be used with POST or PUT WebMetric Method types";
            return mistake("method", problem.to_owned());
        }
        let written = if block.json_path.is_empty() { WHOLE } else { &block.json_path };
        let path = match JsonPath::parse(written) {
            Ok(path) => path,
            Err(error) => return mistake("jsonPath", error.to_string()),
        };
        if path.is_literal() {
            return mistake("jsonPath", format!("jsonPath {written:?} has no braces; write {{{written}}}"));
        }
        http::check_headers(&block.headers, "provider.web")?;
        let timeout = match block.timeout_seconds {
            seconds @ 1.. => SignedDuration::from_secs(seconds),
            _ => DEFAULT_TIMEOUT,
        };
        let oauth2 = block.authentication.clone().unwrap_or_default().oauth2;
        Ok(Self {
            grant: Grant::new(&oauth2, timeout, block.insecure, "provider.web")?,
            method: method.to_owned(),
            address,
            headers: block.headers.clone(),
            body,
            is_json: block.json_body.is_some(),
            timeout,
            insecure: block.insecure,
            path,
        })
    }

    fn request(&self, mut memory: Memory) -> Next {
        let mut request = HttpRequest::new(&self.method, &self.address, self.timeout);
        if let Some(token) = memory.token.as_ref().filter(|_| self.grant.is_some()) {
            request.set_header("Authorization", HeaderValue::Secret(token.authorization.clone()));
        }
        for WebHeader { key, value } in &self.headers {
            request.set_header(key, HeaderValue::Secret(Secret::new(value)));
        }
        if self.is_json {
            request.set_header("Content-Type", HeaderValue::Plain("application/json".to_owned()));
        }
        request.body.clone_from(&self.body);
        request.insecure = self.insecure;
        request.follows_redirects = true;
        memory.stage = json!("asked");
        Next::Send(request, memory)
    }

    fn read(&self, answer: &HttpResponse) -> Result<Measured, ProviderError> {
        if !answer.is_success() {
            let hint = answer.redirect_hint();
            let message = format!("received non 2xx response code: {}{hint}", answer.status);
            return Err(ProviderError::status(PROVIDER, answer.status, message));
        }
        let text = answer.text(PROVIDER)?;
        let document: Json = match serde_json::from_str(&text) {
            Ok(document) => document,
            // What is JSON and too deep to be read is not text.
            Err(error) if error.to_string().starts_with("recursion limit") => {
                return Err(ProviderError::shape(PROVIDER, "the body is nested deeper than 128 levels"));
            }
            Err(_) => return Ok(Measured::new(Value::from(&*text), &*text)),
        };
        let could_not = |error: &dyn std::fmt::Display| {
            ProviderError::shape(PROVIDER, format!("Could not find JSONPath in body: {error}"))
        };
        let found = self.path.find(&document).map_err(|error| could_not(&error))?;
        let Some(first) = found.first() else {
            return Err(ProviderError::shape(PROVIDER, "result of web metric produced no value"));
        };
        let result = Value::from(&**first);
        let value = result.to_json().map_err(|error| could_not(&error))?;
        Ok(Measured::new(result, value))
    }
}

impl MetricProvider for Web {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let (memory, answer) = match &self.grant {
            None => (measurement.memory.clone(), answer),
            Some(grant) => match grant.ready(measurement, answer, now)? {
                Ready::Send(request, memory) => return Ok(Next::Send(request, memory)),
                Ready::Go { memory, answer } => (memory, answer),
            },
        };
        let Some(answer) = answer else { return Ok(self.request(memory)) };
        Ok(Next::Done(Measured { token: memory.token, ..self.read(answer)? }))
    }
}
