//! Requests to the Kubernetes API, with objects as raw JSON.
//!
//! Typed objects would lose the fields that this release does not know, and a lost field of a pod
//! template is another pod. Nothing is decided here about what to ask for.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::LocalBoxStream;
use http::{Request, header};
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use serde_json::Value;

use crate::actions::{PatchKind, PatchRequest};

/// A kind of object with a namespace, as it stands in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `/api/v1` or `/apis/<group>/<version>`.
    pub api: &'static str,
    /// Plural name.
    pub plural: &'static str,
}

/// Rollouts.
pub const ROLLOUTS: Kind = Kind { api: "/apis/argoproj.io/v1alpha1", plural: "rollouts" };
/// Deployments.
pub const DEPLOYMENTS: Kind = Kind { api: "/apis/apps/v1", plural: "deployments" };
/// ReplicaSets.
pub const REPLICA_SETS: Kind = Kind { api: "/apis/apps/v1", plural: "replicasets" };
/// Pod templates.
pub const POD_TEMPLATES: Kind = Kind { api: "/api/v1", plural: "podtemplates" };

/// A request that did not go well.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refused; the text is its own.
    #[error("{}", refusal(.0))]
    Refused(Box<Status>),
    /// There was no usable answer.
    #[error("no answer from {server}: {}", chain(.source))]
    NoAnswer {
        /// Address of the API server.
        server: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// `--request-timeout` passed.
    #[error("no answer from {server} within {}s", .after.as_secs_f64())]
    TimedOut {
        /// Address of the API server.
        server: String,
        /// How long it had.
        after: Duration,
    },
    /// A name that could not be part of a path.
    #[error("invalid resource name {0:?}: a name is not empty, not . or .. and has no / and no %")]
    BadName(String),
}

fn refusal(status: &Status) -> String {
    if status.message.is_empty() {
        format!("{} ({})", status.reason, status.code)
    } else {
        status.message.clone()
    }
}

/// The error and its sources in one line, without saying anything twice.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

impl ApiError {
    /// The HTTP status code of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            ApiError::Refused(status) => Some(status.code),
            ApiError::NoAnswer { .. } | ApiError::TimedOut { .. } | ApiError::BadName(_) => None,
        }
    }

    /// 404.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// 404 for want of the kind itself, not of one object.
    pub fn is_unknown_kind(&self) -> bool {
        match self {
            ApiError::Refused(status) => {
                status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
            }
            ApiError::NoAnswer { .. } | ApiError::TimedOut { .. } | ApiError::BadName(_) => false,
        }
    }

    /// Whether asking again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            ApiError::Refused(status) => status.code == 429 || status.code >= 500,
            ApiError::NoAnswer { .. } | ApiError::TimedOut { .. } => true,
            ApiError::BadName(_) => false,
        }
    }
}

/// Objects of a kind and the version of the cluster that they were read at.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The objects.
    pub items: Vec<Value>,
    /// Where a watch goes on.
    pub version: String,
}

/// Events of a watch.
pub type Events = LocalBoxStream<'static, Result<WatchEvent<Value>, ApiError>>;

/// A connection to one cluster.
#[derive(Clone)]
pub struct Api {
    client: Client,
    server: String,
    timeout: Option<Duration>,
}

impl Api {
    /// Makes requests through `client`, each of which has `timeout` to be answered.
    pub fn new(client: Client, server: String, timeout: Option<Duration>) -> Api {
        Api { client, server, timeout }
    }

    /// Reads one object.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value, ApiError> {
        self.send(Request::get(object_path(kind, namespace, name)?), Vec::new()).await
    }

    /// Replaces one object, all but its status.
    pub async fn replace(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let request = Request::put(object_path(kind, namespace, name)?)
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request, object.to_string().into_bytes()).await
    }

    /// Sends the writes in order and stops at the first that fails.
    pub async fn patch(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        requests: &[PatchRequest],
    ) -> Result<(), ApiError> {
        for request in requests {
            let outcome =
                self.patch_one(kind, namespace, name, request.subresource, request.kind, &request.body).await;
            match (outcome, &request.without_subresource) {
                (Err(error), Some(body)) if error.is_not_found() => {
                    return self.patch_one(kind, namespace, name, None, PatchKind::Merge, body).await;
                }
                (outcome, _) => outcome?,
            }
        }
        Ok(())
    }

    async fn patch_one(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
        patch: PatchKind,
        body: &Value,
    ) -> Result<(), ApiError> {
        let mut path = object_path(kind, namespace, name)?;
        if let Some(subresource) = subresource {
            path = format!("{path}/{subresource}");
        }
        let content_type = match patch {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Json => "application/json-patch+json",
        };
        let request = Request::patch(path).header(header::CONTENT_TYPE, content_type);
        self.send(request, body.to_string().into_bytes()).await.map(drop)
    }

    /// Reads all objects of a kind that `selection` lets through, in one namespace or in all.
    pub async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        selection: &ListParams,
    ) -> Result<Listed, ApiError> {
        let request = kube::core::Request::new(path(kind, namespace)?).list(selection);
        let request = request.map_err(|error| self.no_answer(kube::Error::BuildRequest(error)))?;
        let (parts, body) = request.into_parts();
        let mut list = self.call(Request::from_parts(parts, body)).await?;
        let version =
            list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let items = match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        Ok(Listed { items, version })
    }

    /// Opens a watch behind `version`.
    pub async fn watch(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        selection: &WatchParams,
        version: &str,
    ) -> Result<Events, ApiError> {
        let request = kube::core::Request::new(path(kind, namespace)?).watch(selection, version);
        let request = request.map_err(|error| self.no_answer(kube::Error::BuildRequest(error)))?;
        let api = self.clone();
        let events = self.in_time(self.client.request_events::<Value>(request)).await?;
        Ok(events.map(move |event| event.map_err(|error| api.error(error))).boxed_local())
    }

    async fn send(&self, request: http::request::Builder, body: Vec<u8>) -> Result<Value, ApiError> {
        let request = request.body(body).map_err(|error| self.no_answer(kube::Error::HttpError(error)))?;
        self.call(request).await
    }

    async fn call(&self, request: Request<Vec<u8>>) -> Result<Value, ApiError> {
        self.in_time(self.client.request::<Value>(request)).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
        let outcome = match self.timeout {
            None => work.await,
            Some(after) => match tokio::time::timeout(after, work).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(ApiError::TimedOut { server: self.server.clone(), after }),
            },
        };
        outcome.map_err(|error| self.error(error))
    }

    fn error(&self, error: kube::Error) -> ApiError {
        match error {
            kube::Error::Api(status) => ApiError::Refused(status),
            other => self.no_answer(other),
        }
    }

    fn no_answer(&self, source: kube::Error) -> ApiError {
        ApiError::NoAnswer { server: self.server.clone(), source: Box::new(source) }
    }
}

fn path(kind: Kind, namespace: Option<&str>) -> Result<String, ApiError> {
    let Kind { api, plural } = kind;
    match namespace {
        None => Ok(format!("{api}/{plural}")),
        Some(namespace) => Ok(format!("{api}/namespaces/{}/{plural}", checked(namespace)?)),
    }
}

fn object_path(kind: Kind, namespace: &str, name: &str) -> Result<String, ApiError> {
    Ok(format!("{}/{}", path(kind, Some(namespace))?, checked(name)?))
}

/// A name must not lead to another path.
fn checked(name: &str) -> Result<&str, ApiError> {
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'?' | b'#');
    if name.is_empty() || matches!(name, "." | "..") || !name.bytes().all(is_safe) {
        return Err(ApiError::BadName(name.to_owned()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (name, expected) in [
            ("web", Some("/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web")),
            ("web.1", Some("/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web.1")),
            ("", None),
            (".", None),
            ("..", None),
            ("../web", None),
            ("web?dryRun=All", None),
            ("web#", None),
            ("we%62", None),
            ("we b", None),
            ("wéb", None),
        ] {
            assert_eq!(object_path(ROLLOUTS, "shop", name).ok().as_deref(), expected, "{name}");
            assert_eq!(path(ROLLOUTS, Some(name)).is_ok(), expected.is_some(), "{name}");
        }
        assert_eq!(path(POD_TEMPLATES, Some("a")).ok().as_deref(), Some("/api/v1/namespaces/a/podtemplates"));
        assert_eq!(path(ROLLOUTS, None).ok().as_deref(), Some("/apis/argoproj.io/v1alpha1/rollouts"));
    }

    #[test]
    fn refusals_are_told_apart() {
        let refused = |code: u16, name: &str| {
            let status = serde_json::json!({"reason": "Reason", "code": code, "details": {"name": name}});
            ApiError::Refused(serde_json::from_value::<Box<Status>>(status).expect("a status"))
        };
        // code, name in the details => unknown kind, passing
        for (code, name, unknown_kind, passing) in [
            (404, "web", false, false),
            (404, "", true, false),
            (403, "", false, false),
            (409, "web", false, false),
            (429, "", false, true),
            (500, "", false, true),
            (503, "", false, true),
        ] {
            let error = refused(code, name);
            assert_eq!(
                (error.is_unknown_kind(), error.is_passing()),
                (unknown_kind, passing),
                "{code} {name}"
            );
            assert_eq!(error.to_string(), format!("Reason ({code})"));
        }
    }
}
