//! What every call needs: the store, the embedders, the limits.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{embed::Embedders, store::Store};

/// How much a server takes on, and how long it takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum size of a request in bytes.
    pub max_request_bytes: usize,
    /// Maximum number of bytes of requests, and of what is made of them, in memory at a time.
    pub max_bytes_in_flight: usize,
    /// Maximum time that a request waits for its part of them.
    pub bytes_wait: Duration,
    /// Maximum size of a response in bytes.
    pub max_response_bytes: usize,
    /// Maximum number of documents that one call deletes or changes by a filter.
    pub max_bulk_documents: usize,
    /// Maximum duration of a call, except those that ingest or stream.
    pub call_timeout: Duration,
    /// Maximum time to embed and store one request of documents.
    pub ingest_timeout: Duration,
    /// Maximum duration of the exact search that completes a result which the index left short.
    pub fill_up: Duration,
    /// Maximum time to find out why no document matches, of what a call has left half at most.
    pub notes: Duration,
    /// Maximum number of concurrent calls on one connection.
    pub max_concurrent_calls: u32,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum time from connecting to the first call that is not refused for want of a key.
    pub first_call: Duration,
    /// Time without a call after which a client is asked to reconnect.
    pub max_connection_idle: Duration,
    /// Interval between pings to an idle client.
    pub keepalive: Duration,
    /// Age at which a client is asked to reconnect once its calls have ended. `None`: never.
    pub max_connection_age: Option<Duration>,
    /// Maximum time for running calls to finish at shutdown.
    pub drain: Duration,
}

impl Limits {
    /// The part of the bytes in flight that requests of documents share. The rest is for all others, so that a search never
    /// waits for an ingest.
    pub(crate) fn ingest_bytes(&self) -> usize {
        self.max_bytes_in_flight - self.max_bytes_in_flight / 4
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 16 * 1024 * 1024,
            max_bytes_in_flight: 256 * 1024 * 1024,
            bytes_wait: Duration::from_secs(30),
            max_response_bytes: 16 * 1024 * 1024,
            max_bulk_documents: 100_000,
            call_timeout: Duration::from_secs(30),
            ingest_timeout: Duration::from_secs(600),
            fill_up: Duration::from_secs(2),
            notes: Duration::from_millis(500),
            max_concurrent_calls: 256,
            max_connections: 10_000,
            first_call: Duration::from_secs(20),
            max_connection_idle: Duration::from_secs(3600),
            keepalive: Duration::from_secs(30),
            max_connection_age: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// What every call needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) embedders: Embedders,
    pub(crate) limits: Arc<Limits>,
    /// Cancelled when the server shuts down: streams end after their current request.
    pub(crate) draining: CancellationToken,
}

impl App {
    pub(crate) fn new(store: Store, embedders: Embedders, limits: Limits) -> Self {
        Self { store, embedders, limits: Arc::new(limits), draining: CancellationToken::new() }
    }
}
