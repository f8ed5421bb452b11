//! Clients without a network.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::Frame;
use http_body_util::BodyExt;

use crate::{cluster::Cluster, request};

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// A watch.
    Stream(BoxStream<'static, Result<Bytes, std::io::Error>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.as_ref().map(Bytes::len)).finish(),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match &mut *self {
            Body::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Body::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Body::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

#[derive(Clone)]
struct Service {
    cluster: Cluster,
    identity: Arc<str>,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, std::io::Error>> + Send>>;

impl tower::Service<http::Request<kube::client::Body>> for Service {
    type Response = http::Response<Body>;
    type Error = std::io::Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Answer {
        let Service { cluster, identity } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            request::handle(&cluster, identity, http::Request::from_parts(parts, body)).await
        })
    }
}

/// A client of `cluster` that calls itself `identity`.
pub fn client(cluster: &Cluster, identity: &str) -> kube::Client {
    kube::Client::new(Service { cluster: cluster.clone(), identity: identity.into() }, "default")
}
