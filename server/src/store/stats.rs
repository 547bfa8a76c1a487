//! What the store has done since the start, for those who watch it.

use crate::stats::{Counter, Histogram, Running};

/// Counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// How long it took to get a connection of the pool, or to get none.
    pub(crate) pool_wait: Histogram,
    /// Documents of [`Store::write`](super::Store::write), once they are committed.
    pub(crate) inserted: Counter,
    pub(crate) updated: Counter,
    pub(crate) unchanged: Counter,
    /// Attempts to build an index.
    pub(crate) builds_started: Counter,
    pub(crate) builds_succeeded: Counter,
    pub(crate) builds_failed: Counter,
    pub(crate) builds_running: Running,
}

/// The pool at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolStatus {
    /// Most connections.
    pub(crate) max: u64,
    /// Open ones.
    pub(crate) open: u64,
    /// Those of them that somebody has.
    pub(crate) in_use: u64,
    /// Calls that wait for one.
    pub(crate) waiting: u64,
}
