//! Shows calls to operators: an id in every log line of a call, and the duration of each call.
//!
//! The layer sees every call of gRPC first, so also calls that are refused before they reach the service. The layer for
//! pages comes before it, because that layer puts the trailers of an answer into its body.

pub(crate) mod http;
mod metrics;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::{Bytes, Frame, SizeHint};
use pgfox::v1::ErrorReason;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

pub(crate) use metrics::Metrics;
use metrics::{Rpcs, code_name};

use crate::error::{reason_name, reason_of};

/// The metadata key that names a call, in its request and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of an id from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Wraps the services of a server.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    rpcs: Arc<Rpcs>,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        Self { rpcs: Arc::new(Rpcs::new()) }
    }

    /// The counters of the calls.
    pub(crate) fn rpcs(&self) -> Arc<Rpcs> {
        Arc::clone(&self.rpcs)
    }
}

impl<S> Layer<S> for Telemetry {
    type Service = TelemetryService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TelemetryService { inner, rpcs: self.rpcs() }
    }
}

/// See [`Telemetry`].
#[derive(Clone, Debug)]
pub(crate) struct TelemetryService<S> {
    inner: S,
    rpcs: Arc<Rpcs>,
}

impl<S, B> Service<Request<B>> for TelemetryService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id = request_id(request.headers());
        let rpc = self.rpcs.find(request.uri().path());
        // At the highest level, so that a filter that passes a line also keeps its id.
        let span = tracing::error_span!(
            "call",
            method = rpc.map_or("other", |rpc| self.rpcs.name(rpc)),
            request_id = id.to_str().unwrap_or_default()
        );
        let mut call = Call {
            rpcs: Arc::clone(&self.rpcs),
            rpc,
            began: Instant::now(),
            code: Code::Cancelled,
            reason: None,
            span: span.clone(),
        };
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, id);
            call.see(answer.headers());
            Ok(answer.map(|body| Body::new(Answer { body, call })))
        })
    }
}

/// The id from the caller, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_fit = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(is_fit).cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// A call from its request to the last byte of its answer. It is counted when dropped; if the caller leaves before the
/// end, as CANCELLED.
#[derive(Debug)]
struct Call {
    rpcs: Arc<Rpcs>,
    /// `None` for another service, such as health, or for an unknown method.
    rpc: Option<usize>,
    began: Instant,
    code: Code,
    reason: Option<ErrorReason>,
    span: Span,
}

impl Call {
    /// Reads how the call ended from the trailers, or from the headers if an error has no message before it.
    fn see(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
            self.reason = reason_of(headers);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if let Some(rpc) = self.rpc {
            self.rpcs.observe(rpc, self.code, self.reason, took);
        }
        self.span.in_scope(|| {
            let reason = self.reason.map(reason_name);
            tracing::debug!(code = code_name(self.code), reason, took_us = took.as_micros() as u64, "answered");
        });
    }
}

/// The body of an answer together with its call, which ends with the body.
#[derive(Debug)]
struct Answer {
    body: Body,
    call: Call,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.see(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        let taken = request_id(&headers);
        assert!(!taken.is_empty());
        taken.as_bytes() == id
    }

    #[test]
    fn ids_are_taken_over_when_they_are_fit() {
        assert!(taken(b"7") && taken(b"order/42:retry-1") && taken(&[b'x'; 128]));
        assert!(!taken(b"") && !taken(&[b'x'; 129]) && !taken(b"two words") && !taken("ü".as_bytes()));
    }

    #[test]
    fn made_ids_differ() {
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
