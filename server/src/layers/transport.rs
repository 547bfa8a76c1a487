//! Sits between HTTP/2 and the service. It compresses answers only for clients that want it. It answers clearly if a
//! message is too large or unreadable, if headers are too large, or if a message does not arrive before the deadline of
//! its call.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::messages::Messages;
use crate::{
    blocking::beside,
    error::{Error, is_undecodable},
};

/// Maximum size of the headers of a call in bytes, as HTTP/2 counts it: names, values, and 32 for each header.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// When the client gives up, stored in the extensions of its request. Slightly earlier than that, so that the answer
/// arrives in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientDeadline(pub(crate) Instant);

impl ClientDeadline {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let timeout = parse_timeout(headers.get("grpc-timeout")?.to_str().ok()?)?;
        let reserve = (timeout / 20).clamp(Duration::from_millis(1), Duration::from_millis(50));
        Instant::now().checked_add(timeout.saturating_sub(reserve)).map(Self)
    }
}

/// Wraps the services of a server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) messages: Messages,
}

impl<S> Layer<S> for Transport {
    type Service = TransportService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TransportService { inner, transport: self.clone() }
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
    S: Service<Request<Body>, Response = Response<R>>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let bytes = header_bytes(request.headers());
        if bytes > MAX_HEADER_BYTES {
            let error = Error::HeadersTooLarge { bytes, limit: MAX_HEADER_BYTES };
            return Box::pin(async move { Ok(Status::from(error).into_http()) });
        }
        // Many clients announce gzip although their user did not ask for it, and compressing an answer takes longer
        // than a search. A client that compresses its own requests can use it.
        if !request.headers().contains_key("grpc-encoding") {
            request.headers_mut().remove("grpc-accept-encoding");
        }
        let deadline = ClientDeadline::read(request.headers());
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let (request, received) = self.transport.messages.receive(request);
        let answer = self.inner.call(request);
        let limit = self.transport.messages.max_bytes;
        Box::pin(async move {
            // The call holds its bytes until the answer is there.
            let answer = beside(|| received.begin_decoding(), answer);
            let answer = match deadline {
                None => answer.await?,
                // The service keeps the deadline too, but only once it has the whole message.
                Some(ClientDeadline(deadline)) => match tokio::time::timeout_at(deadline.into(), answer).await {
                    Ok(answer) => answer?,
                    Err(_) => return Ok(Status::from(Error::DeadlineExceeded).into_http()),
                },
            };
            Ok(match refused_message(answer.headers(), limit) {
                Some(error) => Status::from(error).into_http(),
                None => answer,
            })
        })
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// tonic answers OUT_OF_RANGE to a message above the limit and INTERNAL to a message that it cannot decode, both
/// without details. Answers of pgfox have details.
fn refused_message(headers: &HeaderMap, limit: usize) -> Option<Error> {
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::OutOfRange {
        return Some(Error::message_too_large(limit));
    }
    is_undecodable(status.code(), status.message()).then(|| Error::undecodable(status.message()))
}

/// Parses `grpc-timeout` of the gRPC protocol: at most eight digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let amount = digits.parse::<u32>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(u64::from(amount) * 3600),
        "M" => Duration::from_secs(u64::from(amount) * 60),
        "S" => Duration::from_secs(amount.into()),
        "m" => Duration::from_millis(amount.into()),
        "u" => Duration::from_micros(amount.into()),
        "n" => Duration::from_nanos(amount.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_units() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999H").map(|timeout| timeout.as_secs()), Some(99_999_999 * 3600));
        assert_eq!(parse_timeout("1"), None);
        assert_eq!(parse_timeout(""), None);
        assert_eq!(parse_timeout("é"), None);
    }
}
