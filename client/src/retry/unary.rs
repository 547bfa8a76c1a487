//! Retries unary calls that may succeed a little later, within their deadline.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        BoxFuture, Bytes, Service,
        http::{HeaderMap, HeaderValue, Request, Response},
    },
};

use super::Backoff;
use crate::error;

/// Calls that are never retried. Streams are not kept to be sent again. The others would report an error although the
/// first attempt succeeded: that the name is taken, or that there is nothing to delete.
const MADE_ONCE: [&str; 6] =
    ["IngestStream", "BuildIndex", "Watch", "CreateCollection", "DeleteCollection", "DropIndex"];

/// A channel that retries unary calls within their deadline: if the connection breaks, or if they end with UNAVAILABLE,
/// or with RESOURCE_EXHAUSTED and a time to come back. Calls without a deadline are made once. So are calls that are
/// not safe to repeat: CreateCollection, DeleteCollection, DropIndex and an Ingest with `if_version`.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    channel: S,
    is_enabled: bool,
}

impl<S> Retry<S> {
    /// Retries the calls over `channel`, or only passes them through.
    pub fn new(channel: S, is_enabled: bool) -> Self {
        Self { channel, is_enabled }
    }
}

impl<S> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Error + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<Response<Body>, Status>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(context).map_err(|error| Status::from_error(error.into()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Use the channel that was polled to be ready.
        let channel = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, channel);
        let deadline = timeout(request.headers()).map(|timeout| Instant::now() + timeout);
        match deadline {
            Some(deadline) if self.is_enabled && may_repeat(request.uri().path()) => {
                Box::pin(repeat(channel, request, deadline))
            }
            _ => {
                let call = channel.call(request);
                Box::pin(async move { call.await.map_err(broken) })
            }
        }
    }
}

async fn repeat<S>(mut channel: S, request: Request<Body>, deadline: Instant) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Error + Send + Sync + 'static,
{
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let started = Instant::now();
    let mut backoff = Backoff::new(deadline - started);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut request = Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
        if attempt > 1 {
            let left = (deadline - Instant::now()).as_millis();
            // Digits and a letter are always a valid header.
            let left = HeaderValue::try_from(format!("{left}m")).expect("a header value");
            request.headers_mut().insert("grpc-timeout", left);
        }
        let status = match attempt_once(&mut channel, request).await {
            Ok(response) => return Ok(response),
            Err(status) => status,
        };
        let is_repeated = error::is_retryable(&status) && !has_if_version(parts.uri.path(), &body);
        match backoff.pause(&status).filter(|pause| is_repeated && Instant::now() + *pause < deadline) {
            Some(pause) => tokio::time::sleep(pause).await,
            None if attempt > 1 && (is_repeated || error::is_timeout(&status)) => {
                return Err(after(status, attempt, started.elapsed()));
            }
            None => return Err(status),
        }
    }
}

async fn attempt_once<S>(channel: &mut S, request: Request<Body>) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Error + Send + Sync + 'static,
{
    std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    let response = channel.call(request).await.map_err(broken)?;
    // The server sends the status of a failed unary call in the headers, since no message has to come before it.
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(response),
    }
}

/// The error of a call without an answer. If the client's own clock ended it, tonic would say CANCELLED.
fn broken(error: impl Error + Send + Sync + 'static) -> Status {
    let status = Status::from_error(error.into());
    if status.code() != Code::Cancelled || !error::is_timeout(&status) {
        return status;
    }
    let mut late = Status::deadline_exceeded("the deadline of the call has passed");
    late.set_source(Arc::new(status));
    late
}

/// Whether the call is safe to repeat.
fn may_repeat(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|method| !MADE_ONCE.contains(&method))
}

/// Whether this is an Ingest that requires versions of documents, which the first attempt may have changed. Assumed for
/// a compressed message.
fn has_if_version(path: &str, body: &[u8]) -> bool {
    /// The part of `IngestRequest` that shows this. prost skips the rest.
    #[derive(prost::Message)]
    struct Conditions {
        #[prost(map = "string, int64", tag = "6")]
        if_version: std::collections::HashMap<String, i64>,
    }
    path.ends_with("/Ingest")
        && match body.split_first_chunk::<5>() {
            Some(([0, ..], message)) => {
                Conditions::decode(message).is_ok_and(|conditions| !conditions.if_version.is_empty())
            }
            _ => true,
        }
}

/// The status, with the number and duration of earlier attempts.
fn after(status: Status, attempts: u32, time: Duration) -> Status {
    let message = format!("{} (attempt {attempts}, after {:.1} s)", status.message(), time.as_secs_f64());
    let details = Bytes::copy_from_slice(status.details());
    let mut told = Status::with_details_and_metadata(status.code(), message, details, status.metadata().clone());
    if error::is_transport(&status) {
        told.set_source(Arc::new(status));
    }
    told
}

/// The timeout of a call from its header, such as "1500m" for 1.5 s.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn a_passed_deadline_is_one_by_the_clock_of_either_side() {
        let late = broken(tonic::TimeoutExpired(()));
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert!(error::is_timeout(&late) && !error::is_retryable(&late));
        assert_eq!(broken(Status::cancelled("reset")).code(), Code::Cancelled);
    }

    /// Gives fixed answers, and records the time that each attempt had.
    #[derive(Clone)]
    struct Answers(Arc<Mutex<(Vec<Status>, Vec<Duration>)>>);

    impl Service<Request<Body>> for Answers {
        type Response = Response<Body>;
        type Error = Status;
        type Future = std::future::Ready<Result<Response<Body>, Status>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let mut state = self.0.lock().unwrap();
            state.1.push(timeout(request.headers()).unwrap());
            std::future::ready(Ok(state.0.remove(0).into_http()))
        }
    }

    fn client(answers: &[Status], is_enabled: bool) -> (PgfoxServiceClient<Retry<Answers>>, Answers) {
        let answers = Answers(Arc::new(Mutex::new((answers.to_vec(), Vec::new()))));
        (PgfoxServiceClient::new(Retry::new(answers.clone(), is_enabled)), answers)
    }

    fn within<M>(seconds: u64, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_secs(seconds));
        request
    }

    fn unavailable() -> Status {
        Status::unavailable("the database is restarting")
    }

    #[tokio::test]
    async fn what_passes_is_repeated_within_the_deadline() {
        let busy = ErrorDetails::with_retry_info(Some(Duration::from_millis(300)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "busy", busy);
        let (mut client, answers) = client(&[unavailable(), busy, Status::not_found("an answer")], true);
        let status = client.search(within(10, v1::SearchRequest::default())).await.unwrap_err();
        assert_eq!(status.message(), "an answer");
        let timeouts = &answers.0.lock().unwrap().1;
        assert_eq!(timeouts.len(), 3);
        assert!(timeouts[0] - timeouts[2] > Duration::from_millis(300), "{timeouts:?}");
    }

    #[tokio::test]
    async fn the_last_error_is_reported_with_the_attempts() {
        let (mut client, _) = client(&vec![unavailable(); 30], true);
        let status = client.search(within(1, v1::SearchRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("the database is restarting (attempt "), "{status}");
    }

    #[tokio::test]
    async fn what_lasts_or_could_mislead_is_made_once() {
        let (mut used_up, _) = client(&[Status::resource_exhausted("the quota is used up")], true);
        let status = used_up.search(within(5, v1::SearchRequest::default())).await.unwrap_err();
        assert_eq!(status.message(), "the quota is used up");

        let (mut client, answers) = client(&vec![unavailable(); 9], true);
        client.create_collection(within(5, v1::CreateCollectionRequest::default())).await.unwrap_err();
        client.delete_collection(within(5, v1::DeleteCollectionRequest::default())).await.unwrap_err();
        client.drop_index(within(5, v1::DropIndexRequest::default())).await.unwrap_err();
        client.build_index(within(5, v1::BuildIndexRequest::default())).await.unwrap_err();
        let if_version = HashMap::from([("a".to_owned(), 0)]);
        let conditional = v1::IngestRequest { if_version, ..Default::default() };
        client.ingest(within(5, conditional)).await.unwrap_err();
        assert_eq!(answers.0.lock().unwrap().1.len(), 5);
    }

    #[tokio::test]
    async fn repeating_can_be_switched_off() {
        let (mut client, answers) = client(&[unavailable()], false);
        client.search(within(5, v1::SearchRequest::default())).await.unwrap_err();
        assert_eq!(answers.0.lock().unwrap().1.len(), 1);
    }
}
