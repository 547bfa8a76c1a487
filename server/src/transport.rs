//! What is between HTTP/2 and the service: compression only for those who want it, and a clear answer to a message that
//! is too large or cannot be read.

use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::error::{Error, is_undecodable};

/// Wraps the services of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    pub(crate) max_request_bytes: usize,
}

impl<S> Layer<S> for Transport {
    type Service = TransportService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TransportService { inner, transport: *self }
    }
}

/// See [`Transport`].
#[derive(Clone, Debug)]
pub(crate) struct TransportService<S> {
    inner: S,
    transport: Transport,
}

impl<S, B, R> Service<Request<B>> for TransportService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Many clients say that they accept gzip without their user having asked for it, and compressing an answer takes
        // longer than a search. One that compresses its requests means it.
        if !request.headers().contains_key("grpc-encoding") {
            request.headers_mut().remove("grpc-accept-encoding");
        }
        let answer = self.inner.call(request);
        let limit = self.transport.max_request_bytes;
        Box::pin(async move {
            let answer = answer.await?;
            Ok(match refused_message(answer.headers(), limit) {
                Some(error) => Status::from(error).into_http(),
                None => answer,
            })
        })
    }
}

/// tonic answers OUT_OF_RANGE to a message above the limit and INTERNAL to one that it cannot decode, without details;
/// answers of pgfox have details.
fn refused_message(headers: &HeaderMap, limit: usize) -> Option<Error> {
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::OutOfRange {
        let why = format!("a message may have at most {limit} bytes; send fewer documents at a time");
        return Some(Error::TooLarge(why));
    }
    is_undecodable(status.code(), status.message()).then(|| Error::undecodable(status.message()))
}
