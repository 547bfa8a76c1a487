//! IngestStream: reads and checks the next request while the one before is stored.

use std::time::Instant;

use pgfox::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Status, Streaming};
use tracing::Instrument as _;

use super::CheckedRequest;
use crate::{
    app::App,
    blocking::beside,
    budget::{Held, Received},
    error::Error,
    rpc::{RESPONSES_QUEUED, client_deadline, received},
};

/// Requests that are checked and wait to be stored.
const CHECKED_QUEUED: usize = 1;

/// Answers the requests of a stream in the background.
pub(in crate::rpc) fn ingest_stream(
    app: &App,
    request: Request<Streaming<v1::IngestRequest>>,
) -> ReceiverStream<Result<v1::IngestResponse, Status>> {
    let deadline = client_deadline(request.extensions());
    let received = received(request.extensions());
    let (responses, stream) = mpsc::channel(RESPONSES_QUEUED);
    let answering = run(app.clone(), (request.into_inner(), received), responses, deadline);
    tokio::spawn(answering.in_current_span());
    ReceiverStream::new(stream)
}

/// Answers every request of a stream, in order and after its COMMIT, until the client ends it or leaves, a request is
/// refused, the deadline passes or the server shuts down.
async fn run(
    app: App,
    requests: (Streaming<v1::IngestRequest>, Received),
    responses: mpsc::Sender<Result<v1::IngestResponse, Status>>,
    deadline: Instant,
) {
    let (sender, mut checked) = mpsc::channel(CHECKED_QUEUED);
    // Ends with this function, whatever ends that.
    let _reader = AbortOnDropHandle::new(tokio::spawn(read(app.clone(), requests, sender).in_current_span()));

    let answer = async {
        while let Some(request) = checked.recv().await {
            let deadline = deadline.min(Instant::now() + app.limits.ingest_timeout);
            let stored = match request {
                Ok(request) => tokio::time::timeout_at(deadline.into(), super::store(&app, request, deadline)).await,
                Err(error) => Ok(Err(error)),
            };
            let response = stored.unwrap_or(Err(Error::DeadlineExceeded)).map_err(Status::from);
            let refused = response.is_err();
            if responses.send(response).await.is_err() || refused {
                return;
            }
        }
    };
    tokio::select! {
        () = answer => {}
        // The client is gone: dropping the write cancels it.
        () = responses.closed() => {}
        () = tokio::time::sleep_until(deadline.into()) => {
            let _ = responses.send(Err(Error::DeadlineExceeded.into())).await;
        }
    }
}

/// Reads requests and checks them; the first that is refused is the last.
async fn read(
    app: App,
    (mut requests, received): (Streaming<v1::IngestRequest>, Received),
    checked: mpsc::Sender<Result<(CheckedRequest, Held), Error>>,
) {
    loop {
        let request = tokio::select! {
            biased;
            () = app.draining.cancelled() => Err(Error::ShuttingDown),
            message = beside(|| received.begin_decoding(), requests.message()) => match message {
                Ok(Some(request)) => super::check(&app, (request, received.take())).await,
                Ok(None) => return,
                Err(status) => Err(Error::from_transport(status)),
            },
        };
        let refused = request.is_err();
        if checked.send(request).await.is_err() || refused {
            return;
        }
    }
}
