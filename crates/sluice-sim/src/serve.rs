//! The cluster behind a socket, for kubectl.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{cluster::Cluster, request};

/// A served cluster. Dropping it stops the server.
#[derive(Debug)]
pub struct Served {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The task that accepts connections.
    pub handle: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Starts serving.
pub async fn serve(cluster: &Cluster, addr: SocketAddr) -> std::io::Result<Served> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let cluster = cluster.clone();
    let handle = tokio::spawn(async move {
        // Connections end with the task.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Small answers must not wait for each other.
            let _ = stream.set_nodelay(true);
            let cluster = cluster.clone();
            connections.spawn(async move {
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let cluster = cluster.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body: Bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
                        let identity = identity(&parts.headers);
                        request::handle(&cluster, identity, http::Request::from_parts(parts, body)).await
                    }
                });
                // A broken connection is the client's affair.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Served { addr, handle })
}

/// The first word of the user agent.
fn identity(headers: &http::HeaderMap) -> Arc<str> {
    let agent =
        headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    agent.split(['/', ' ']).next().unwrap_or("unknown").into()
}

/// A kubeconfig for a cluster at `addr`.
pub fn kubeconfig(addr: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: sluice\n  cluster:\n    server: http://{addr}\nusers:\n- name: sluice\n  user: {{}}\ncontexts:\n- name: sluice\n  context:\n    cluster: sluice\n    user: sluice\n    namespace: default\ncurrent-context: sluice\n"
    )
}
