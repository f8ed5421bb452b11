//! The HTTP servers of the process: health, readiness, metrics and, on demand, a look inside.
//!
//! Says over HTTP what others know; it decides nothing and holds nothing. Every path is served on
//! every port, because probes in the field point at both.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// How long requests that are being answered may take after the shutdown has begun.
const GRACE: Duration = Duration::from_secs(5);

/// Whether the process can do its part; the error says what is missing.
pub type Readiness = dyn Fn() -> Result<(), String> + Send + Sync;
/// The metrics in Prometheus' text form.
pub type Exposition = dyn Fn() -> String + Send + Sync;
/// What is known about the Rollout of a namespace and name.
pub type Inspection = dyn Fn(&str, &str) -> Option<Value> + Send + Sync;

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    ready: Arc<Readiness>,
    metrics: Arc<Exposition>,
    inspect: Option<Arc<Inspection>>,
}

impl Sources {
    /// `ready` holds for a leader with complete caches and for a standby.
    pub fn new(
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { ready: Arc::new(ready), metrics: Arc::new(metrics), inspect: None }
    }

    /// Serves `/debug/rollouts/{namespace}/{name}` too.
    pub fn with_inspection(
        self,
        inspect: impl Fn(&str, &str) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        Self { inspect: Some(Arc::new(inspect)), ..self }
    }
}

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; is another process using the port?")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The routes of every port.
pub fn router(sources: Sources) -> Router {
    let mut router = Router::new()
        // Whether the process lives, and nothing more: a restart helps against nothing else.
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    if sources.inspect.is_some() {
        router = router.route("/debug/rollouts/{namespace}/{name}", get(inspect));
    }
    router.with_state(sources)
}

async fn readyz(State(sources): State<Sources>) -> Response {
    match (sources.ready)() {
        Ok(()) => "ok".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing).into_response(),
    }
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let form = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (form, (sources.metrics)()).into_response()
}

async fn inspect(
    State(sources): State<Sources>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    match sources.inspect.and_then(|inspect| inspect(&namespace, &name)) {
        Some(known) => Json(known).into_response(),
        None => (StatusCode::NOT_FOUND, format!("rollout {namespace}/{name} is not known")).into_response(),
    }
}

/// Takes the port on all addresses; port 0 takes any that is free.
///
/// # Errors
/// [`BindError`] when the port is taken or not allowed.
pub async fn bind(port: u16) -> Result<TcpListener, BindError> {
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves until `shutdown` completes and the requests that are being answered then have ended, or
/// five seconds have passed.
///
/// # Errors
/// None in practice; accepting goes on whatever happens to single connections.
pub async fn serve(
    listener: TcpListener,
    sources: Sources,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let begin_to_stop = async move {
        shutdown.await;
        let _ = stopping.send(());
    };
    let serving = axum::serve(listener, router(sources)).with_graceful_shutdown(begin_to_stop);
    let patience = async {
        if stopped.await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serving => ended,
        () = patience => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{
        io::{Read, Write},
        net::TcpStream,
        sync::atomic::{AtomicBool, Ordering},
    };

    async fn ask(address: SocketAddr, path: &'static str) -> String {
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("it listens");
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answered");
            answer
        });
        let answer = answer.await.expect("no panic");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap_or_default();
        let form = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        format!("{status} {form} {body}")
    }

    #[tokio::test]
    async fn answers() {
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = Arc::clone(&ready);
        let plain = Sources::new(
            move || {
                if is_ready.load(Ordering::SeqCst) { Ok(()) } else { Err("rollouts: not listed".to_owned()) }
            },
            || "sluice_leader 1\n".to_owned(),
        );
        let inspecting = plain
            .clone()
            .with_inspection(|namespace, name| (name == "web").then(|| json!({"namespace": namespace})));
        let text = "text/plain; charset=utf-8";
        for (sources, path, expected) in [
            (&plain, "/healthz", format!("200 {text} ok")),
            (&plain, "/readyz", format!("503 {text} rollouts: not listed")),
            (&plain, "/metrics", "200 text/plain; version=0.0.4; charset=utf-8 sluice_leader 1\n".to_owned()),
            (&plain, "/debug/rollouts/prod/web", "404  ".to_owned()),
            (
                &inspecting,
                "/debug/rollouts/prod/web",
                r#"200 application/json {"namespace":"prod"}"#.to_owned(),
            ),
            (&inspecting, "/debug/rollouts/prod/x", format!("404 {text} rollout prod/x is not known")),
            (&plain, "/", "404  ".to_owned()),
        ] {
            let listener = bind(0).await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let serving = tokio::spawn(serve(listener, sources.clone(), async {
                stopped.await.ok();
            }));
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(ask(address, path).await, expected, "{path}");
            if path == "/readyz" {
                ready.store(true, Ordering::SeqCst);
                assert_eq!(ask(address, path).await, format!("200 {text} ok"));
            }
            drop(stop);
            serving.await.expect("no panic").expect("served");
            assert!(TcpStream::connect(address).is_err(), "the port is given back");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let taken = bind(0).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let error = bind(port).await.expect_err("taken").to_string();
        assert!(error.starts_with(&format!("cannot listen on 0.0.0.0:{port}: ")), "{error}");
    }
}
