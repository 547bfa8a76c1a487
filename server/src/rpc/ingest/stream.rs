//! IngestStream: prepares the next request while the previous one is stored, and checks the one after it.

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use pgfox::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Status, Streaming};
use tracing::Instrument as _;

use super::{CheckedRequest, Writer};
use crate::{
    app::App,
    blocking::beside,
    budget::{Held, Received},
    error::Error,
    rpc::{client_deadline, received},
    rules::documents::CheckedDocument,
    store::Turns,
};

/// The number of checked requests that wait to be prepared.
const CHECKED_QUEUED: usize = 1;
/// The number of requests that are prepared or stored at a time, or whose responses wait for the client.
const RUNNING: usize = 2;

/// Answers the requests of a stream in the background.
pub(in crate::rpc) fn ingest_stream(
    app: &App,
    request: Request<Streaming<v1::IngestRequest>>,
) -> ReceiverStream<Result<v1::IngestResponse, Status>> {
    let deadline = client_deadline(request.extensions());
    let received = received(request.extensions());
    let (responses, stream) = mpsc::channel(RUNNING);
    let answering = run(app.clone(), (request.into_inner(), received), responses, deadline);
    tokio::spawn(answering.in_current_span());
    ReceiverStream::new(stream)
}

/// Answers every request of a stream, in order and after its COMMIT. Ends when the client ends the stream or leaves, a
/// request is refused, the deadline passes or the server shuts down.
async fn run(app: App, requests: (Streaming<v1::IngestRequest>, Received), responses: Responses, deadline: Instant) {
    let (sender, checked) = mpsc::channel(CHECKED_QUEUED);
    // Ends with this function, whatever ends the function.
    let _reader = AbortOnDropHandle::new(tokio::spawn(read(app.clone(), requests, sender).in_current_span()));
    tokio::select! {
        () = answer(&app, checked, &responses, deadline) => {}
        // The client is gone. Dropping the write cancels it.
        () = responses.closed() => {}
        () = tokio::time::sleep_until(deadline.into()) => {
            let _ = responses.send(Err(Error::DeadlineExceeded.into())).await;
        }
    }
}

type Checked = Result<(CheckedRequest, Held), Error>;
type Responses = mpsc::Sender<Result<v1::IngestResponse, Status>>;

/// Stores checked requests, one after the other, and prepares the next one meanwhile.
async fn answer(app: &App, mut checked: mpsc::Receiver<Checked>, responses: &Responses, deadline: Instant) {
    let mut running = FuturesOrdered::new();
    let mut turns = Turns::default();
    let mut documents = Arc::default();
    // The time of a request begins when those before it are answered.
    let mut began = Instant::now();
    loop {
        let (response, room) = tokio::select! {
            biased;
            Some(done) = running.next() => done,
            Some((request, room)) = next(&mut checked, responses), if running.len() < RUNNING => {
                if running.is_empty() {
                    began = Instant::now();
                }
                let before = documents;
                documents = request.as_ref().map(|(request, _)| Arc::clone(&request.documents)).unwrap_or_default();
                let turn = turns.next(share_ids(&before, &documents));
                running.push_back(async move {
                    let response = match request {
                        Ok(request) => super::store(app, request, &turn, deadline).await,
                        Err(refused) => Err(refused),
                    };
                    if response.is_ok() {
                        turn.let_next_commit();
                    }
                    (response, room)
                });
                continue;
            }
            () = tokio::time::sleep_until((began + app.limits.ingest_timeout).into()), if !running.is_empty() => {
                // Ends the transactions before it waits for the client.
                drop(running);
                let _ = responses.send(Err(Error::DeadlineExceeded.into())).await;
                return;
            }
            else => return,
        };
        began = Instant::now();
        let refused = response.is_err();
        room.send(response.map_err(Status::from));
        if refused {
            return;
        }
    }
}

/// The next request, once there is room for its response: no transaction stays open while a client reads no responses.
async fn next<'a>(
    checked: &mut mpsc::Receiver<Checked>,
    responses: &'a Responses,
) -> Option<(Checked, mpsc::Permit<'a, Result<v1::IngestResponse, Status>>)> {
    let room = responses.reserve().await.ok()?;
    Some((checked.recv().await?, room))
}

/// Whether the documents of two requests, each sorted by id, have an id in common.
fn share_ids(one: &[CheckedDocument], other: &[CheckedDocument]) -> bool {
    let has = |id: &str| one.binary_search_by(|document| document.id.as_str().cmp(id)).is_ok();
    other.iter().any(|document| has(&document.id))
}

/// Reads and checks requests. The first refused request is the last one.
async fn read(
    app: App,
    (mut requests, received): (Streaming<v1::IngestRequest>, Received),
    checked: mpsc::Sender<Checked>,
) {
    loop {
        let request = tokio::select! {
            biased;
            () = app.draining.cancelled() => Err(Error::ShuttingDown),
            message = beside(|| received.begin_decoding(), requests.message()) => match message {
                Ok(Some(request)) => super::check(&app, (request, received.take()), Writer::Caller).await,
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
