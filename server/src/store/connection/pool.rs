//! The connections that calls share.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Connection, Connector,
    gate::{Class, Gate, Limits, Refused},
    session::{Opener, Session},
    sqlstate::{Kind, classify},
};

/// Minimum time between two occasions when open connections become suspect.
const DISTRUST_AGAIN: Duration = Duration::from_secs(1);

/// How long statements on suspect connections may go on after the database has answered on a new connection.
const SUSPECTS_MAY_RUN: Duration = Duration::from_secs(1);

/// The settings of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Maximum number of connections.
    pub max_size: usize,
    /// Maximum time that a call waits for a free connection. A search that would probably wait for more than a tenth of
    /// it is refused at once. Calls that write wait until their deadline.
    pub wait_timeout: Duration,
    /// Maximum number of waiting calls in each queue: searches, writes and administration.
    pub max_waiting: usize,
    /// Maximum number of connections that write into one collection.
    pub max_writers: usize,
    /// The age at which a connection is replaced.
    pub max_age: Duration,
    /// The number of different collections after which a connection is replaced.
    pub max_collections: usize,
    /// Prepare no statements: the connections lead to a pooler that uses another session for each transaction.
    pub unnamed_statements: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_size: 16,
            wait_timeout: Duration::from_secs(5),
            max_waiting: 1000,
            max_writers: 4,
            max_age: Duration::from_secs(3600),
            max_collections: 750,
            unnamed_statements: false,
        }
    }
}

/// Why no connection was available.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Too many calls are already waiting.
    #[error("{waiting} calls already wait for a connection")]
    Overloaded {
        /// The number of waiting calls of the same class.
        waiting: usize,
        /// When a connection is probably free.
        retry_after: Duration,
    },
    /// All connections stayed in use.
    #[error("no connection became free in time")]
    Busy,
    /// The database did not answer in time.
    #[error("the database does not answer")]
    NoAnswer,
    /// The database refused the connection.
    #[error(transparent)]
    Refused(#[from] tokio_postgres::Error),
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
}

impl From<Refused> for PoolError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Overloaded { waiting, retry_after } => Self::Overloaded { waiting, retry_after },
            Refused::Timeout => Self::Busy,
        }
    }
}

/// The number of connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct PoolSize {
    pub(in crate::store) open: usize,
    pub(in crate::store) idle: usize,
}

impl Connector {
    /// A pool that opens connections when they are needed.
    pub fn pool(&self, options: PoolOptions) -> Pool {
        let limits = Limits {
            running: options.max_size,
            writers: options.max_writers,
            waiting: options.max_waiting,
            wait: options.wait_timeout,
        };
        let opener = Opener::new(self.clone(), options);
        let shared = Shared { opener, idle: Mutex::new(Some(Vec::new())), trusted_since: watch::Sender::default() };
        Pool { gate: Gate::new(limits), shared: Arc::new(shared) }
    }
}

/// Connections that calls share. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    gate: Arc<Gate>,
    shared: Arc<Shared>,
}

/// The state that the pool shares with its connections in use.
pub(super) struct Shared {
    pub(super) opener: Opener,
    /// Idle sessions, the most recently used one last. `None`: the pool is closed.
    idle: Mutex<Option<Vec<Session>>>,
    /// Sessions that were opened before this time are suspect: they may be dead.
    trusted_since: watch::Sender<Option<Instant>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A connection for a call, which may concern a collection. If none is idle, one is opened. If the database accepts
    /// no more connections, waits for the next one that comes back.
    ///
    /// # Errors
    /// `Overloaded` at once if too many calls wait, `Busy` if all connections stayed in use, `NoAnswer` if the database
    /// did not answer in time, and `Refused` if it refused the connection.
    pub async fn get(&self, class: Class, collection: Option<i64>) -> Result<Connection, PoolError> {
        loop {
            let permit = self.gate.enter(class, collection).await?;
            match self.session(collection).await {
                Ok(session) => return Ok(Connection::new(session, Arc::clone(&self.shared), permit, collection)),
                // The pool is then smaller than its maximum.
                Err(error) if self.is_full(&error) => {
                    if !self.gate.withhold(permit) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn session(&self, collection: Option<i64>) -> Result<Session, PoolError> {
        if let Some(session) = self.shared.take(collection, true)? {
            return Ok(session);
        }
        match self.shared.opener.open().await {
            Ok(session) => Ok(session),
            // An idle connection that did not fit well may still be there.
            Err(error) => self.shared.take(collection, false)?.ok_or(error),
        }
    }

    /// Whether a call of this class could have a connection or wait for one.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(in crate::store) fn admits(&self, class: Class) -> Result<(), PoolError> {
        Ok(self.gate.admits(class)?)
    }

    /// Whether the server accepts no more connections while the pool has some.
    fn is_full(&self, error: &PoolError) -> bool {
        matches!(error, PoolError::Refused(error) if classify(error) == Kind::OutOfConnections) && self.size().open > 0
    }

    /// The number of calls of a class that wait for a connection.
    pub(in crate::store) fn waiting(&self, class: Class) -> u64 {
        self.gate.waiting(class)
    }

    /// Makes all open connections suspect, since they may be dead: they are closed instead of being used again.
    pub fn distrust(&self) {
        self.shared.trusted_since.send_if_modified(|since| {
            // If the database stays as it is, this must not cost each call a connection.
            let is_new = since.is_none_or(|since| since.elapsed() > DISTRUST_AGAIN);
            if is_new {
                *since = Some(Instant::now());
            }
            is_new
        });
    }

    /// Closes the suspect connections in use. Call it when the database answers on a new connection: the answers that
    /// they wait for are lost.
    pub fn close_suspects(&self) {
        let since = *self.shared.trusted_since.borrow();
        if let Some(since) = since.filter(|since| since.elapsed() > SUSPECTS_MAY_RUN) {
            self.shared.opener.close_before(since);
        }
    }

    /// Forgets all prepared statements, because the types or tables that they use were replaced.
    pub fn forget_statements(&self) {
        self.shared.opener.forget_statements();
    }

    /// Closes the prepared statements of a deleted collection. A connection in use keeps its own until others replace
    /// them.
    pub(in crate::store) fn forget_collection(&self, collection: i64) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for session in idle.iter_mut().flatten() {
            session.state_mut().statements.forget_collection(collection);
        }
    }

    /// The number of connections.
    pub(in crate::store) fn size(&self) -> PoolSize {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        PoolSize { open: self.shared.opener.open_sessions(), idle: idle.as_ref().map_or(0, Vec::len) }
    }

    /// Closes every connection that is not in use, and hands out no more.
    pub fn close(&self) {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    /// The idle session that fits a call best. It prefers a session that has served the collection, so that few
    /// Postgres processes cache its catalog entries; otherwise the session that has served the fewest collections.
    /// `None` if a new session is better and may be opened.
    fn take(&self, collection: Option<i64>, may_open: bool) -> Result<Option<Session>, PoolError> {
        let trusted_since = *self.trusted_since.borrow();
        let mut guard = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = guard.as_mut().ok_or(PoolError::Closed)?;
        idle.retain(|session| session.is_usable() && trusted_since.is_none_or(|since| session.opened() >= since));
        let mut best: Option<(usize, usize)> = None;
        for (position, session) in idle.iter_mut().enumerate().rev() {
            let state = session.state_mut();
            if collection.is_none_or(|collection| state.has_served(collection)) {
                return Ok(Some(self.opener.refresh(idle.remove(position))));
            }
            let served = state.served();
            if best.is_none_or(|(_, least)| served < least) {
                best = Some((position, served));
            }
        }
        let Some((position, served)) = best else { return Ok(None) };
        if may_open && self.opener.spreads(served) {
            return Ok(None);
        }
        Ok(Some(self.opener.refresh(idle.remove(position))))
    }

    /// Waits until a session becomes suspect.
    pub(super) async fn suspects(&self, session: &Session) {
        let mut trusted_since = self.trusted_since.subscribe();
        // It fails only if the pool is gone, but `self` keeps the pool.
        let _ = trusted_since.wait_for(|since| since.is_some_and(|since| session.opened() < since)).await;
    }

    /// Takes a session back, or closes it.
    pub(super) fn put(&self, session: Session) {
        let mut guard = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = guard.as_mut().filter(|_| session.is_usable()) {
            idle.push(session);
        }
    }
}
