//! The state that every call shares: the store, the embedders and the limits.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{embed::Embedders, store::Store};

/// The limits of a server: sizes, counts and times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum size of a request in bytes.
    pub max_request_bytes: usize,
    /// Maximum number of bytes in memory at a time for requests and everything made from them.
    pub max_bytes_in_flight: usize,
    /// Maximum time that a request waits for its share of `max_bytes_in_flight`.
    pub bytes_wait: Duration,
    /// Maximum size of a response in bytes.
    pub max_response_bytes: usize,
    /// Maximum number of documents that one call deletes or changes by a filter.
    pub max_bulk_documents: usize,
    /// Maximum duration of a call, except those that ingest or stream.
    pub call_timeout: Duration,
    /// Maximum time to embed and store one request of documents.
    pub ingest_timeout: Duration,
    /// Maximum duration of the exact search that completes a result if the index found too few documents.
    pub fill_up: Duration,
    /// Maximum time to find out why no document matches. A call spends at most half of its remaining time on it.
    pub notes: Duration,
    /// Maximum number of concurrent calls on one connection.
    pub max_concurrent_calls: u32,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum time from connecting to the first call that is not refused for lack of a valid key.
    pub first_call: Duration,
    /// A client is asked to reconnect after this time without a call.
    pub max_connection_idle: Duration,
    /// Interval between pings to an idle client.
    pub keepalive: Duration,
    /// A client is asked to reconnect when its connection is this old and its calls have ended. `None`: never.
    pub max_connection_age: Option<Duration>,
    /// Maximum time for running calls to finish at shutdown.
    pub drain: Duration,
    /// How much of the server serves the tables that collections follow.
    pub follow: FollowLimits,
}

/// How much of a server serves the tables that collections follow.
#[derive(Clone, Copy, Debug)]
pub struct FollowLimits {
    /// Maximum number of batches of rows that are embedded and stored at a time.
    pub concurrency: usize,
    /// How often to look for changes. A row should be found two seconds after its commit, and an idle server should ask
    /// less than once a second.
    pub look_every: Duration,
    /// The time between two comparisons of all rows with all documents.
    pub compare_every: Duration,
    /// Maximum number of rows per second that a comparison reads. `None`: no limit.
    pub rows_per_second: Option<u32>,
}

impl Limits {
    /// The share of the bytes in flight for requests that store documents. All other requests use the rest, so that a
    /// search never waits for an ingest.
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
            follow: FollowLimits {
                concurrency: 2,
                look_every: Duration::from_millis(1_150),
                compare_every: Duration::from_secs(24 * 3600),
                rows_per_second: None,
            },
        }
    }
}

/// The state that every call shares. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) embedders: Embedders,
    pub(crate) limits: Arc<Limits>,
    /// Cancelled when the server shuts down. Streams then end after their current request.
    pub(crate) draining: CancellationToken,
}

impl App {
    pub(crate) fn new(store: Store, embedders: Embedders, limits: Limits) -> Self {
        Self { store, embedders, limits: Arc::new(limits), draining: CancellationToken::new() }
    }
}
