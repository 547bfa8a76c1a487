//! The sessions of a pool: how they are opened, what they remember, and when they are replaced.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::{sync::watch, time::timeout};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Connector, Driven, PoolError, PoolOptions, drive,
    statements::{Seen, Statements},
};

/// If each idle session has served this share of the collections that it may serve, another session is opened, so that
/// every session serves fewer.
const SPREAD_FROM: usize = 4;

/// A limit long enough to mean never.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Opens a pool's sessions.
pub(super) struct Opener {
    connector: Connector,
    pub(super) options: PoolOptions,
    /// Incremented when prepared statements and types may have changed.
    generation: AtomicU64,
    /// Each session holds a clone, which counts the sessions.
    places: Arc<()>,
    /// Sessions that were opened before this time are closed, even those in use.
    closed_before: watch::Sender<Option<Instant>>,
}

/// A session of the database and its state.
pub(super) struct Session {
    pub(super) client: Client,
    _task: AbortOnDropHandle<()>,
    state: Mutex<State>,
    opened: Instant,
    /// When to replace it.
    ends: Instant,
    /// The number of collections at which it is replaced.
    most_collections: usize,
    _place: Arc<()>,
}

/// The memory of a session. The lock is held only briefly, and one call at a time has the session.
pub(super) struct State {
    pub(super) statements: Statements,
    /// The ids of the collections that it has served. Postgres caches 35 to 60 kB of catalog entries for each until the
    /// session ends.
    collections: HashSet<i64>,
    /// The collection that the next statements concern.
    current: Option<i64>,
    generation: u64,
}

impl State {
    pub(super) fn has_served(&self, collection: i64) -> bool {
        self.collections.contains(&collection)
    }

    /// The number of collections that it has served.
    pub(super) fn served(&self) -> usize {
        self.collections.len()
    }
}

impl Opener {
    pub(super) fn new(connector: Connector, options: PoolOptions) -> Self {
        Self {
            connector,
            options,
            generation: AtomicU64::new(0),
            places: Arc::default(),
            closed_before: watch::Sender::default(),
        }
    }

    /// Opens a session.
    pub(super) async fn open(&self) -> Result<Session, PoolError> {
        let place = Arc::clone(&self.places);
        let target = self.connector.target();
        let opening = timeout(target.timeout, target.config.connect(target.tls.clone()));
        let (client, connection) = opening.await.map_err(|_| PoolError::NoAnswer)??;
        // Sessions are not all replaced at the same time: each a little before its maximum age.
        let share = rand::rng().random_range(0.75..=1.0);
        let state = State {
            statements: Statements::default(),
            collections: HashSet::new(),
            current: None,
            generation: self.generation.load(Ordering::Relaxed),
        };
        let opened = Instant::now();
        Ok(Session {
            client,
            _task: self.drive(connection, opened),
            state: Mutex::new(state),
            opened,
            // Cannot overflow: lifetimes are limited to ten years.
            ends: opened + self.options.max_age.min(MAX_AGE).mul_f64(share),
            most_collections: (self.options.max_collections as f64 * share).ceil() as usize,
            _place: place,
        })
    }

    /// Processes the messages of a session until it is dropped or closed.
    fn drive(&self, connection: Driven, opened: Instant) -> AbortOnDropHandle<()> {
        let mut closed_before = self.closed_before.subscribe();
        let driving = AbortOnDropHandle::new(drive(connection, None));
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                _ = driving => {}
                _ = closed_before.wait_for(|before| before.is_some_and(|before| opened < before)) => {}
            }
        }))
    }

    /// Closes the sessions that were opened before this time, even those in use.
    pub(super) fn close_before(&self, before: Instant) {
        self.closed_before.send_if_modified(|closed| closed.replace(before) != Some(before));
    }

    /// The TLS settings of its connections, for a request to cancel a statement.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.connector.target().tls.clone()
    }

    /// Makes a session fit for the next call.
    pub(super) fn refresh(&self, mut session: Session) -> Session {
        let generation = self.generation.load(Ordering::Relaxed);
        let state = session.state_mut();
        state.current = None;
        if state.generation != generation {
            state.generation = generation;
            state.statements.clear();
            session.client.clear_type_cache();
        }
        session
    }

    /// Whether to open another session for a new collection, if the best idle one has served `served` collections.
    pub(super) fn spreads(&self, served: usize) -> bool {
        self.open_sessions() < self.options.max_size && served >= (self.options.max_collections / SPREAD_FROM).max(1)
    }

    /// Makes every session forget its statements before its next use.
    pub(super) fn forget_statements(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of sessions, including those being opened.
    pub(super) fn open_sessions(&self) -> usize {
        Arc::strong_count(&self.places) - 1
    }
}

impl Session {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the next statements concern a collection.
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

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether another call can have the session: it is connected, not too old, and has not served too many
    /// collections.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && self.state().collections.len() < self.most_collections && Instant::now() < self.ends
    }
}
