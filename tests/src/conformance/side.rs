//! One of the two servers: sends requests, remembers what it has seen, and follows watches.
//!
//! Names in braces are filled in from this side's own memory. What an answer means is not looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::sequence::{Body, LAST, Step, json_patch_merge};

/// The longest time to wait for a watch to tell what has happened already.
const WATCH_WITHIN: Duration = Duration::from_mins(1);

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Texts of `Warning` headers.
    pub warnings: Vec<String>,
    /// Body; text that is no JSON is a string.
    pub body: Value,
}

#[derive(Default)]
struct Memory {
    /// Objects by path: as first seen and as last seen.
    objects: BTreeMap<String, (Value, Value)>,
    generated: Vec<String>,
    token: String,
}

/// A server in the course of one sequence.
pub struct Side {
    client: Client,
    namespace: String,
    memory: Memory,
}

/// A watch that has been opened.
pub struct Watch {
    body: kube::client::Body,
    rest: Vec<u8>,
}

impl Side {
    /// A server that has seen nothing yet.
    pub fn new(client: Client, namespace: &str) -> Side {
        Side { client, namespace: namespace.to_owned(), memory: Memory::default() }
    }

    /// Creates the namespace that the sequence works in.
    pub async fn begin(&mut self) -> Result<(), String> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let request =
            request(&http::Method::POST, "/api/v1/namespaces", "application/json", namespace.to_string())?;
        let answer = self.send_raw(request).await?;
        if answer.code == 201 { Ok(()) } else { Err(format!("the namespace is refused: {}", answer.body)) }
    }

    /// Opens a watch of a kind, from the version of a list.
    pub async fn watch(&self, kind: &Kind, selector: &str) -> Result<Watch, String> {
        let path = kind.collection(&self.namespace);
        let list = self.send_raw(request(&http::Method::GET, &path, "", String::new())?).await?;
        let version = list.body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let uri = format!("{path}?watch=true&resourceVersion={version}&labelSelector={}", escape(selector));
        let request = request(&http::Method::GET, &uri, "", String::new())?;
        let response =
            self.client.send(request).await.map_err(|error| format!("watch of {path}: {error}"))?;
        if response.status() != 200 {
            return Err(format!("watch of {path}: {}", response.status()));
        }
        Ok(Watch { body: response.into_body(), rest: Vec::new() })
    }

    /// Sends one request.
    pub async fn send(&mut self, step: &Step) -> Result<Answer, String> {
        let about = self.fill(&step.about, "");
        let mut uri = self.fill(&step.path, &about);
        for (i, (key, value)) in step.query.iter().enumerate() {
            uri += if i == 0 { "?" } else { "&" };
            uri += &format!("{key}={}", escape(&self.fill(value, &about)));
        }
        let body = match &step.body {
            Body::Empty => String::new(),
            Body::Value(value) => self.fill_all(value, &about).to_string(),
            Body::Seen { unseen, change } => {
                let unseen = || self.fill_all(unseen, &about);
                let mut object =
                    self.memory.objects.get(&about).map_or_else(unseen, |(_, last)| last.clone());
                json_patch_merge(&mut object, &self.fill_all(change, &about));
                object.to_string()
            }
        };
        let answer = self.send_raw(request(&step.method, &uri, step.content_type, body)?).await?;
        self.remember(step, &answer);
        Ok(answer)
    }

    async fn send_raw(&self, request: http::Request<kube::client::Body>) -> Result<Answer, String> {
        let what = format!("{} {}", request.method(), request.uri());
        let failed = |error: &dyn std::fmt::Display| format!("{what}: no answer: {error}");
        let response = self.client.send(request).await.map_err(|error| failed(&error))?;
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        let bytes = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { code, warnings, body })
    }

    fn remember(&mut self, step: &Step, answer: &Answer) {
        let body = &answer.body;
        if let Some(token) = body["metadata"]["continue"].as_str() {
            token.clone_into(&mut self.memory.token);
        }
        let is_rehearsal = step.query.iter().any(|(key, _)| *key == "dryRun")
            || matches!(&step.body, Body::Value(value) if value.get("dryRun").is_some());
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        if answer.code >= 300 || body["kind"] == "Status" || name.is_empty() {
            return;
        }
        if body["metadata"]["generateName"].is_string()
            && !self.memory.generated.iter().any(|known| known == name)
        {
            self.memory.generated.push(name.to_owned());
        }
        if is_rehearsal {
            return;
        }
        let about = self.fill(&step.about, "");
        let (collection, _) = about.rsplit_once('/').unwrap_or_default();
        let path = format!("{collection}/{name}");
        if body["kind"] == "Scale" {
            if let Some((_, last)) = self.memory.objects.get_mut(&path) {
                last["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"].clone();
            }
            return;
        }
        let first = self.memory.objects.remove(&path).map_or_else(|| body.clone(), |(first, _)| first);
        self.memory.objects.insert(path, (first, body.clone()));
    }

    fn fill(&self, text: &str, about: &str) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let seen = self.memory.objects.get(about);
        let metadata = |object: Option<&Value>, key: &str, otherwise: &str| {
            object.and_then(|object| object["metadata"][key].as_str()).unwrap_or(otherwise).to_owned()
        };
        let last = seen.map(|(_, last)| last);
        text.replace("{namespace}", &self.namespace)
            .replace("{generated}", self.memory.generated.last().map_or("made-up", String::as_str))
            .replace("{continue}", &self.memory.token)
            .replace("{rv}", &metadata(last, "resourceVersion", "1"))
            .replace("{old-rv}", &metadata(seen.map(|(first, _)| first), "resourceVersion", "1"))
            .replace("{uid}", &metadata(last, "uid", "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"))
    }

    fn fill_all(&self, value: &Value, about: &str) -> Value {
        match value {
            Value::String(text) => Value::from(self.fill(text, about)),
            Value::Array(items) => items.iter().map(|item| self.fill_all(item, about)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, entry)| (key.clone(), self.fill_all(entry, about))).collect()
            }
            other => other.clone(),
        }
    }
}

impl Watch {
    /// The events up to the one about the last object.
    pub async fn events(mut self) -> Result<Vec<Value>, String> {
        let mut events: Vec<Value> = Vec::new();
        let read = async {
            loop {
                let Some(frame) = self.body.frame().await else { return Err("the watch ended".to_owned()) };
                let frame = frame.map_err(|error| format!("the watch broke: {error}"))?;
                self.rest.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
                while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line)
                        .map_err(|error| format!("an event that is no JSON: {error}"))?;
                    if event["type"] == "BOOKMARK" {
                        continue;
                    }
                    let is_last = event["object"]["metadata"]["name"] == LAST;
                    events.push(event);
                    if is_last {
                        return Ok(());
                    }
                }
            }
        };
        match tokio::time::timeout(WATCH_WITHIN, read).await {
            Ok(Ok(())) => Ok(events),
            Ok(Err(problem)) => Err(format!("{problem}, after {} events", events.len())),
            Err(_) => {
                Err(format!("the watch does not tell of the last object, after {} events", events.len()))
            }
        }
    }
}

fn request(
    method: &http::Method,
    uri: &str,
    content_type: &str,
    body: String,
) -> Result<http::Request<kube::client::Body>, String> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("User-Agent", "conformance/1")
        .header("Accept", "application/json");
    if !body.is_empty() {
        request = request.header("Content-Type", content_type);
    }
    request.body(kube::client::Body::from(body.into_bytes())).map_err(|error| format!("{uri}: {error}"))
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
