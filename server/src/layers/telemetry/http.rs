//! `GET /metrics` on a port of its own, in the text format of OpenMetrics.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::layers::connections::{Acceptor, Slots};

/// Maximum number of connections at a time. Scrapers need only a few.
const MAX_CONNECTIONS: usize = 64;
/// Maximum life of a connection. Each serves one request, so that no client keeps the others out.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics));
    let registry = Arc::new(registry);
    let slots = Slots::new(MAX_CONNECTIONS, CancellationToken::new());
    let mut acceptor = Acceptor::new(listener, slots, "the metrics");
    loop {
        let (socket, slot) = acceptor.accept().await;
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let service = service_fn(async |request| {
                slot.keep();
                Ok::<_, Infallible>(answer(&registry, &request))
            });
            let mut http = http1::Builder::new();
            http.keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
            let served = http.serve_connection(TokioIo::new(socket), service);
            // A scraper detects a missing answer by itself.
            tokio::select! {
                _ = tokio::time::timeout(MAX_CONNECTION_TIME, served) => {}
                () = slot.ended() => {}
            }
        });
    }
}

fn answer<B>(registry: &Registry, request: &Request<B>) -> Response<String> {
    let mut text = String::new();
    let (status, content_type) = if request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, "text/plain")
    } else if request.method() != Method::GET {
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain")
    } else if encode(&mut text, registry).is_err() {
        (StatusCode::INTERNAL_SERVER_ERROR, "text/plain")
    } else {
        (StatusCode::OK, OPEN_METRICS)
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
