//! Counts and times the requests that go through the Kubernetes client.
//!
//! Only looks at method, path and status; requests and answers pass through as they are.

use super::{Metrics, RequestInfo};
use http::{Request, Response};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower::{Layer, Service};

/// A layer for the Kubernetes client that counts and times its requests in the given metrics.
#[derive(Clone)]
pub struct MeasuredRequests(pub Arc<Metrics>);

impl<S> Layer<S> for MeasuredRequests {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: Arc::clone(&self.0) }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub struct Measured<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let info = RequestInfo::of(request.method(), request.uri());
        let metrics = Arc::clone(&self.metrics);
        let sent = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.requested(&info, status, sent.elapsed());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use http::StatusCode;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, Client};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_measured() {
        let metrics = Arc::new(Metrics::new("v1").expect("all names differ"));
        let server = Router::new().fallback(async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            (StatusCode::NOT_FOUND, r#"{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}"#)
        });
        let client = Client::new(MeasuredRequests(Arc::clone(&metrics)).layer(server), "default");
        let found = Api::<ConfigMap>::namespaced(client, "prod").get_opt("settings").await.expect("answered");
        assert!(found.is_none());
        let text = metrics.render();
        let total = r#"controller_clientset_k8s_request_total{kind="configmaps",name="settings",namespace="prod",status_code="404",verb="Get"} 1"#;
        assert!(text.contains(total), "{text}");
        let slow = r#"sluice_request_seconds_bucket{kind="configmaps",verb="Get",le="0.25"} 0"#;
        let in_time = r#"sluice_request_seconds_bucket{kind="configmaps",verb="Get",le="0.5"} 1"#;
        assert!(text.contains(slow) && text.contains(in_time), "{text}");
    }
}
