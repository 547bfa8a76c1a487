//! At shutdown, ends the calls that would keep the server waiting: calls whose message has not arrived, and open
//! reflection.
//!
//! Streams of the service end themselves after their current request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, Request, Response};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::error::Error;

/// Reflection is a bidirectional stream that lasts until its caller ends it.
const REFLECTION: &str = "/grpc.reflection.";

/// Wraps the services of a server.
#[derive(Clone, Debug)]
pub(crate) struct Drain(pub(crate) CancellationToken);

impl<S> Layer<S> for Drain {
    type Service = DrainService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainService { inner, draining: self.0.clone() }
    }
}

/// See [`Drain`].
#[derive(Clone, Debug)]
pub(crate) struct DrainService<S> {
    inner: S,
    draining: CancellationToken,
}

impl<S> Service<Request<Body>> for DrainService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let draining = self.draining.clone();
        let end = move |body, is_answer| {
            Body::new(Ending { body: Some(body), draining: Draining::new(draining.clone()), is_answer })
        };
        let is_reflection = request.uri().path().starts_with(REFLECTION);
        let answer = self.inner.call(request.map(|body| end(body, false)));
        match is_reflection {
            true => Either::Right(Box::pin(async move { Ok(answer.await?.map(|body| end(body, true))) })),
            false => Either::Left(answer),
        }
    }
}

/// A body that ends with the drain. What has arrived of a request can still be read; a read that would wait for more
/// fails.
#[derive(Debug)]
struct Ending {
    /// `None` after the end.
    body: Option<Body>,
    draining: Draining,
    /// An answer still ends with the status of the call, even if its service has already ended because the request
    /// failed.
    is_answer: bool,
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body: rest, draining, is_answer } = &mut *self;
        let Some(body) = rest else { return Poll::Ready(None) };
        if !(*is_answer && draining.token.is_cancelled())
            && let Poll::Ready(frame) = Pin::new(body).poll_frame(context)
        {
            return Poll::Ready(frame);
        }
        if draining.poll(context).is_pending() {
            return Poll::Pending;
        }
        *rest = None;
        let status = Status::from(Error::ShuttingDown);
        if !*is_answer {
            return Poll::Ready(Some(Err(status)));
        }
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

/// Whether the server is ending. Most bodies are complete at once, so the wait begins only if it is needed.
#[derive(Debug)]
struct Draining {
    token: CancellationToken,
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Draining {
    fn new(token: CancellationToken) -> Self {
        Self { token, wait: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { token, wait } = self;
        wait.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned())).as_mut().poll(context)
    }
}
