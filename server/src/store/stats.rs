//! Counts the work of the store since the start, for operators.

use super::Written;
use crate::stats::{Counter, Histogram, Running};

/// Each is counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// How long it took to get a pooled connection, or to fail.
    pub(crate) pool_wait: Histogram,
    /// Documents that were written, counted once they are committed.
    pub(crate) inserted: Counter,
    pub(crate) updated: Counter,
    pub(crate) unchanged: Counter,
    /// Attempts to build an index.
    pub(crate) builds_started: Counter,
    pub(crate) builds_succeeded: Counter,
    pub(crate) builds_failed: Counter,
    pub(crate) builds_running: Running,
    /// Rows of followed tables: stored as documents, deleted with their document, and refused.
    pub(crate) followed_stored: Counter,
    pub(crate) followed_deleted: Counter,
    pub(crate) followed_failed: Counter,
    /// Chunks of older versions.
    pub(crate) words_converted: Counter,
}

impl Stats {
    pub(super) fn add_written(&self, written: &Written) {
        self.inserted.add(written.inserted as u64);
        self.updated.add(written.updated as u64);
        self.unchanged.add(written.unchanged as u64);
    }
}

/// The pool at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolStatus {
    /// Maximum number of connections.
    pub(crate) max: u64,
    /// Open connections.
    pub(crate) open: u64,
    /// Open connections that are in use.
    pub(crate) in_use: u64,
    /// Calls that wait for a connection.
    pub(crate) waiting: u64,
}
