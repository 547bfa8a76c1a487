//! Answers clients that do not speak gRPC with one sentence: a browser, `curl`, a load balancer's health check.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tonic::body::Body;
use tower::{Layer, Service};

const NOT_GRPC: &str = "This is pgfox, a gRPC server, and this request is not a gRPC call. Try \
                        `pgfox health`, or `grpcurl -plaintext HOST:PORT list`.\n";
const NOT_HTTP_2: &str = "This is pgfox, a gRPC server: gRPC needs HTTP/2, but this request came by HTTP/1. A proxy \
    in between may speak HTTP/1 to the server.\n";
const NO_PAGES: &str =
    "This is pgfox, a gRPC server: it answers gRPC-Web only if --web-origins names the pages that may call.\n";

/// Wraps the services of a server.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    /// Whether gRPC-Web is answered.
    pub(crate) has_pages: bool,
}

impl Plain {
    /// The answer to a request that is not a call.
    fn answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_web = content_type.starts_with(b"application/grpc-web");
        let is_grpc = content_type.starts_with(b"application/grpc") && !is_web;
        let (status, text) = match request.version() {
            // Browsers send a preflight request first.
            _ if self.has_pages && (is_web || request.method() == Method::OPTIONS) => return None,
            _ if is_web => (StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_PAGES),
            Version::HTTP_2 if is_grpc => return None,
            _ if is_grpc => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, NOT_HTTP_2),
            _ => (StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_GRPC),
        };
        let mut answer = in_words(status, text);
        if request.version() < Version::HTTP_2 {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Some(answer)
    }
}

/// A text answer for people.
pub(super) fn in_words(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::new(text.to_owned()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

impl<S> Layer<S> for Plain {
    type Service = PlainService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PlainService { inner, plain: self.clone() }
    }
}

/// See [`Plain`].
#[derive(Clone, Debug)]
pub(crate) struct PlainService<S> {
    inner: S,
    plain: Plain,
}

impl<S, B> Service<Request<B>> for PlainService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, Self::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.plain.answer(&request) {
            Some(answer) => Either::Left(ready(Ok(answer))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}
