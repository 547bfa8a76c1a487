//! What operators see of calls: an id in every line of the log that belongs to one, and how long each took.
//!
//! The layer is around everything else, so that it also sees what is refused before it reaches the service.

pub(crate) mod http;
mod metrics;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

pub(crate) use metrics::Metrics;
use metrics::{Rpcs, code_name};

/// Names a call, in the metadata of its request and of its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a caller, in bytes.
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

    /// What the calls are counted in.
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

impl<S, B, R> Service<Request<B>> for TelemetryService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer<R>>;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id = request_id(request.headers());
        let rpc = self.rpcs.find(request.uri().path());
        // Of the highest level, so that no filter that lets a line through leaves out its id.
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
            span: span.clone(),
        };
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, id);
            call.see(answer.headers());
            Ok(answer.map(|body| Answer { body, call }))
        })
    }
}

/// The id that the caller has given, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_fit = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(is_fit).cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// A call from its request to the last byte of its answer. Counted when it is dropped: one whose caller leaves before the
/// end is CANCELLED.
#[derive(Debug)]
struct Call {
    rpcs: Arc<Rpcs>,
    /// `None`: another service, such as health, or a method that there is not.
    rpc: Option<usize>,
    began: Instant,
    code: Code,
    span: Span,
}

impl Call {
    /// Takes the code over from where it stands: the trailers, or the headers of an error without a message before it.
    fn see(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if let Some(rpc) = self.rpc {
            self.rpcs.observe(rpc, self.code, took);
        }
        self.span.in_scope(|| {
            tracing::debug!(code = code_name(self.code), took_us = took.as_micros() as u64, "answered");
        });
    }
}

/// The body of an answer, and the call that ends with it.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    call: Call,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

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
