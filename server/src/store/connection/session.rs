//! The sessions of a pool: how they are opened, what they remember, and when they are replaced.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use rand::RngExt as _;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PoolOptions, drive,
    statements::{Seen, Statements},
};

/// Opens a pool's sessions.
pub(super) struct Manager {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) options: PoolOptions,
    /// Raised when prepared statements and types may have changed.
    generation: AtomicU64,
}

/// A session of the database with what it has gathered.
pub(super) struct Session {
    pub(super) client: Client,
    task: JoinHandle<()>,
    state: Mutex<State>,
    /// When to replace it.
    ends: Instant,
    /// Collections from which on it is to be replaced.
    most_collections: usize,
}

/// What a session remembers. Locked for moments only, and one call at a time has the session.
pub(super) struct State {
    pub(super) statements: Statements,
    /// Ids of the collections that it was used for. Postgres keeps what it reads of their tables from its catalog, 35 to
    /// 60 kB for each, until the session ends.
    collections: HashSet<i64>,
    /// The one that the next statements are about.
    current: Option<i64>,
    generation: u64,
}

impl Manager {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, options: PoolOptions) -> Self {
        Self { config, tls, options, generation: AtomicU64::new(0) }
    }

    /// Has every session forget its statements before its next use.
    pub(super) fn forget_statements(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

impl managed::Manager for Manager {
    type Type = Session;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        // Not all at the same time: each a little earlier than it would have to be.
        let share = rand::rng().random_range(0.75..=1.0);
        let state = State {
            statements: Statements::default(),
            collections: HashSet::new(),
            current: None,
            generation: self.generation.load(Ordering::Relaxed),
        };
        Ok(Session {
            client,
            task: drive(connection, None),
            state: Mutex::new(state),
            // Safe from overflow: a lifetime of centuries is none.
            ends: Instant::now() + self.options.max_age.min(MAX_AGE).mul_f64(share),
            most_collections: (self.options.max_collections as f64 * share).ceil() as usize,
        })
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<tokio_postgres::Error> {
        if session.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if session.is_spent() {
            return Err(RecycleError::message("the connection is old"));
        }
        let generation = self.generation.load(Ordering::Relaxed);
        let state = session.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.current = None;
        if state.generation != generation {
            state.generation = generation;
            state.statements.clear();
            session.client.clear_type_cache();
        }
        Ok(())
    }
}

/// Beyond this no one can tell the difference.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Session {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the next statements are about a collection.
    pub(super) fn about(&self, collection: i64) {
        let mut state = self.state();
        state.collections.insert(collection);
        state.current = Some(collection);
    }

    /// Notes that a statement is used.
    pub(super) fn use_one(&self, sql: &str) -> Seen {
        let mut state = self.state();
        let current = state.current;
        state.statements.use_one(sql, current)
    }

    /// Whether it has lived long enough, or has gathered as much as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.state().collections.len() >= self.most_collections || Instant::now() >= self.ends
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}
