//! Streams documents into a collection. It groups them into requests, keeps a limited number of requests in flight, and
//! after a broken connection sends everything again that was not acknowledged. Ids make that safe: nothing is lost and
//! nothing is stored twice.

mod options;
mod requests;

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_util::Stream;
use pgfox::v1::{Document, ErrorReason, IngestRequest, IngestResponse};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{connect::Client, error, retry::Backoff};
use requests::Requests;

pub use options::{IngestOptions, MAX_BYTES_PER_REQUEST, MAX_DOCUMENTS_PER_REQUEST, MAX_REQUESTS_IN_FLIGHT};

/// An error of the caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long to wait for the end of the stream once everything is acknowledged.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Everything that is acknowledged, which means committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestTotals {
    /// Documents, including skipped ones.
    pub documents: u64,
    /// Documents that were inserted or changed.
    pub upserted: u64,
    /// Documents among `upserted` that existed before.
    pub updated: u64,
    /// Documents that were already stored unchanged. After an interruption this includes documents that were sent
    /// twice.
    pub unchanged: u64,
    /// Documents that the server refused, with `skip_invalid`.
    pub skipped: u64,
    /// Documents whose id existed, with `only_if_absent`. After an interruption this includes documents that were sent
    /// twice.
    pub existing: u64,
    /// Embedded texts: documents or their chunks.
    pub embedded: u64,
    /// Documents whose text is longer than the model reads.
    pub truncated: u64,
    /// Documents that were stored without a vector because they have no text.
    pub unembedded: u64,
    /// Documents whose text is so long that full-text search does not know all of it.
    pub full_text_cut: u64,
    /// Tokens that the model read.
    pub tokens: u64,
}

/// A document that the server refused.
#[derive(Debug, Clone, PartialEq)]
pub struct SkippedDocument {
    /// Position in the whole stream, from 0.
    pub position: u64,
    /// Id of the document, cut to at most 512 bytes.
    pub id: String,
    /// The reason for programs.
    pub reason: ErrorReason,
    /// The reason for people.
    pub message: String,
}

/// An event during the ingest.
#[derive(Debug)]
pub enum IngestEvent<'a> {
    /// A request was committed.
    Acknowledged {
        /// Everything acknowledged so far.
        totals: &'a IngestTotals,
        /// The skipped documents of this request.
        skipped: &'a [SkippedDocument],
    },
    /// The stream broke. It is resumed after the pause.
    Interrupted {
        /// The error that broke it.
        status: &'a Status,
        /// The pause.
        pause: Duration,
    },
}

/// Why the ingest ended early, and what is stored.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct IngestError {
    /// The reason.
    pub cause: IngestCause,
    /// The totals so far: the first `acknowledged.documents` documents of the stream are stored.
    pub acknowledged: IngestTotals,
}

/// The reason why an ingest ended.
#[derive(Debug, thiserror::Error)]
pub enum IngestCause {
    /// An option is outside its range. Nothing was sent.
    #[error("{option} must be {range}, not {value}")]
    Option {
        /// Name of the option, a field of [`IngestOptions`].
        option: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        range: String,
    },
    /// The stream of documents failed.
    #[error("{0}")]
    Source(BoxError),
    /// The server refused. [`crate::error`] reads the reason and the violations.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// The interruption lasted longer than `retry_timeout`.
    #[error("retried without success for {tried_for:.0?}: {}", .status.message())]
    Interrupted {
        /// The last failure.
        status: Box<Status>,
        /// Time since the interruption.
        tried_for: Duration,
    },
    /// A document is larger than a request may be.
    #[error("document {position} (`{id}`) has {bytes} bytes; a request may have at most {MAX_BYTES_PER_REQUEST}")]
    TooLarge {
        /// Position in the whole stream, from 0.
        position: u64,
        /// Id of the document.
        id: String,
        /// Its size as a message, in bytes.
        bytes: usize,
    },
    /// The server acknowledged another request than expected.
    #[error("the server acknowledged request {actual} instead of {expected}")]
    OutOfOrder {
        /// Sequence number of the oldest request in flight; -1 if there is none.
        expected: i64,
        /// Sequence number of the response.
        actual: i64,
    },
}

/// Streams `documents` into `collection` and returns when everything is committed.
///
/// Calls `observe` for every acknowledgement and every interruption. It runs between messages and should be quick. At
/// most `requests_in_flight` requests, and one that is being filled, are in memory.
///
/// # Errors
///
/// [`IngestError`] says why the ingest ended early and what is stored. An option outside its range is refused before
/// anything is sent.
pub async fn ingest<E: Into<BoxError>>(
    client: &Client,
    collection: impl Into<String>,
    documents: impl Stream<Item = Result<Document, E>>,
    options: &IngestOptions,
    mut observe: impl FnMut(IngestEvent<'_>),
) -> Result<IngestTotals, IngestError> {
    options.check().map_err(|cause| IngestError { cause, acknowledged: IngestTotals::default() })?;
    let documents = pin!(documents);
    let mut ingest = Ingest {
        requests: Requests::new(documents, collection.into(), options),
        unacknowledged: VecDeque::new(),
        totals: IngestTotals::default(),
        backoff: Backoff::new(options.retry_timeout),
    };
    match ingest.run(client, options, &mut observe).await {
        Ok(()) => Ok(ingest.totals),
        Err(cause) => Err(IngestError { cause, acknowledged: ingest.totals }),
    }
}

/// Why a connection ended.
enum Broken {
    /// Another connection may succeed.
    Interrupted(Status),
    Ended(IngestCause),
}

impl From<IngestCause> for Broken {
    fn from(cause: IngestCause) -> Self {
        Self::Ended(cause)
    }
}

struct Ingest<'a, S> {
    requests: Requests<'a, S>,
    unacknowledged: VecDeque<IngestRequest>,
    totals: IngestTotals,
    backoff: Backoff,
}

impl<S, E> Ingest<'_, S>
where
    S: Stream<Item = Result<Document, E>>,
    E: Into<BoxError>,
{
    async fn run(
        &mut self,
        client: &Client,
        options: &IngestOptions,
        observe: &mut impl FnMut(IngestEvent<'_>),
    ) -> Result<(), IngestCause> {
        loop {
            // The server may answer the call only after it has received a request, so send one first.
            if self.unacknowledged.is_empty() {
                match self.requests.next().await? {
                    Some(request) => self.unacknowledged.push_back(request),
                    None => return Ok(()),
                }
                // Waiting for a document is not a failure.
                self.backoff.reset();
            }
            let status = match self.connection(client, options, observe).await {
                Ok(()) => return Ok(()),
                Err(Broken::Ended(cause)) => return Err(cause),
                Err(Broken::Interrupted(status)) => status,
            };
            let Some(pause) = self.backoff.pause(&status) else {
                let tried_for = self.backoff.failing_for();
                return Err(IngestCause::Interrupted { status: Box::new(status), tried_for });
            };
            observe(IngestEvent::Interrupted { status: &status, pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends everything over one connection, beginning with requests that an earlier connection left unacknowledged.
    async fn connection(
        &mut self,
        client: &Client,
        options: &IngestOptions,
        observe: &mut impl FnMut(IngestEvent<'_>),
    ) -> Result<(), Broken> {
        // As large as the window, so that sending never waits.
        let (sender, receiver) = mpsc::channel(options.requests_in_flight);
        for request in &self.unacknowledged {
            // It fails only if the call is gone. The status of the call then says more.
            let _ = sender.try_send(request.clone());
        }
        let mut sender = Some(sender);
        let mut client = client.clone();
        let call = client.ingest_stream(ReceiverStream::new(receiver));
        let mut responses = tokio::time::timeout(options.acknowledge_timeout, call)
            .await
            .map_err(|_| Broken::Ended(silent(options)))?
            .map_err(broken)?
            .into_inner();

        let mut deadline = pin!(tokio::time::sleep(options.acknowledge_timeout));
        loop {
            if self.requests.is_done() {
                sender = None;
                if self.unacknowledged.is_empty() {
                    // Everything is stored. Ending the stream properly is only polite.
                    let _ = tokio::time::timeout(CLOSE_WAIT, responses.message()).await;
                    return Ok(());
                }
            }
            let has_room = self.unacknowledged.len() < options.requests_in_flight;
            tokio::select! {
                // Acknowledgements first: they make room, and keep the totals correct if the connection breaks.
                biased;
                response = responses.message() => match response.map_err(broken)? {
                    Some(response) => {
                        self.acknowledge(&response, observe)?;
                        deadline.as_mut().reset(Instant::now() + options.acknowledge_timeout);
                    }
                    None => return Err(Broken::Interrupted(Status::unavailable("the server ended the stream early"))),
                },
                request = self.requests.next(), if has_room && !self.requests.is_done() => {
                    if let Some(request) = request? {
                        if self.unacknowledged.is_empty() {
                            deadline.as_mut().reset(Instant::now() + options.acknowledge_timeout);
                        }
                        if let Some(sender) = &sender {
                            let _ = sender.try_send(request.clone());
                        }
                        self.unacknowledged.push_back(request);
                    }
                },
                () = &mut deadline, if !self.unacknowledged.is_empty() => return Err(silent(options).into()),
            }
        }
    }

    fn acknowledge(
        &mut self,
        response: &IngestResponse,
        observe: &mut impl FnMut(IngestEvent<'_>),
    ) -> Result<(), IngestCause> {
        let oldest = self.unacknowledged.pop_front();
        let expected = oldest.as_ref().map_or(-1, |request| request.sequence);
        let Some(request) = oldest.filter(|_| response.sequence == expected) else {
            return Err(IngestCause::OutOfOrder { expected, actual: response.sequence });
        };
        self.backoff.reset();
        let first = self.totals.documents;
        let skipped: Vec<SkippedDocument> = response
            .errors
            .iter()
            .map(|error| SkippedDocument {
                position: first + u64::try_from(error.index).unwrap_or(0),
                id: error.id.clone(),
                reason: error.reason(),
                message: error.message.clone(),
            })
            .collect();
        let count = |value: i32| u64::try_from(value).unwrap_or(0);
        let totals = &mut self.totals;
        totals.documents += request.documents.len() as u64;
        totals.upserted += count(response.upserted_count);
        totals.updated += count(response.updated_count);
        totals.unchanged += count(response.unchanged_count);
        totals.skipped += skipped.len() as u64;
        totals.existing += count(response.skipped_count);
        totals.embedded += count(response.embedded_count);
        totals.full_text_cut += count(response.full_text_cut_count);
        totals.truncated += count(response.truncated_count);
        totals.unembedded += count(response.unembedded_count);
        totals.tokens += response.usage.as_ref().map_or(0, |usage| u64::try_from(usage.tokens).unwrap_or(0));
        observe(IngestEvent::Acknowledged { totals, skipped: &skipped });
        Ok(())
    }
}

fn broken(status: Status) -> Broken {
    if error::is_retryable(&status) {
        Broken::Interrupted(status)
    } else {
        Broken::Ended(IngestCause::Refused(Box::new(status)))
    }
}

fn silent(options: &IngestOptions) -> IngestCause {
    let message = format!("the server acknowledged nothing for {:.0?}", options.acknowledge_timeout);
    IngestCause::Refused(Box::new(Status::new(Code::DeadlineExceeded, message)))
}
