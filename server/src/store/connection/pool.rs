//! The connections that calls share.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{self, PoolConfig, TimeoutType, Timeouts},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Connection, Connector,
    gate::Gate,
    session::Manager,
    sqlstate::{Kind, classify},
};

/// How long after connections became suspect they can become so again.
const DISTRUST_AGAIN: Duration = Duration::from_secs(1);

/// How a pool is set up.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Connections at most.
    pub max_size: usize,
    /// How long a call waits for a free connection.
    pub wait_timeout: Duration,
    /// Age at which a connection is replaced.
    pub max_age: Duration,
    /// Different collections after which a connection is replaced.
    pub max_collections: usize,
    /// Prepare nothing: the connections lead to a pooler that hands out another session for each transaction.
    pub unnamed_statements: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_size: 16,
            wait_timeout: Duration::from_secs(5),
            max_age: Duration::from_secs(3600),
            max_collections: 750,
            unnamed_statements: false,
        }
    }
}

/// Why there is no connection.
pub type PoolError = managed::PoolError<tokio_postgres::Error>;

pub(super) type Object = managed::Object<Manager>;

impl Connector {
    /// A pool that opens connections when they are needed.
    pub fn pool(&self, options: PoolOptions) -> Pool {
        let manager = Manager::new(self.config.as_ref().clone(), self.tls.clone(), options);
        let mut config = PoolConfig::new(options.max_size);
        config.timeouts =
            Timeouts { wait: Some(options.wait_timeout), create: Some(self.timeout), recycle: Some(self.timeout) };
        let pool = managed::Pool::builder(manager)
            .config(config)
            .runtime(Runtime::Tokio1)
            .build()
            // Safe: building fails only when there are timeouts without a runtime.
            .expect("the pool has a runtime");
        Pool {
            pool,
            tls: self.tls.clone(),
            wait_timeout: options.wait_timeout,
            gate: Arc::new(Gate::new(options.max_size)),
            trusted_since: Arc::default(),
        }
    }
}

/// Connections that calls share. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pool: managed::Pool<Manager>,
    tls: MakeRustlsConnect,
    wait_timeout: Duration,
    gate: Arc<Gate>,
    /// What was opened before may be dead without knowing.
    trusted_since: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A connection, opened if none is idle and the pool is not full. When the server takes no more connections, the next
    /// one that comes back is waited for.
    ///
    /// # Errors
    /// `Timeout(Wait)` when all connections stayed busy, `Timeout(Create)` when the server did not answer in time, and
    /// `Backend` when it refused.
    pub async fn get(&self) -> Result<Connection, PoolError> {
        let began = Instant::now();
        loop {
            let left = self.wait_timeout.saturating_sub(began.elapsed());
            let permit = self.gate.enter(left).await.ok_or(PoolError::Timeout(TimeoutType::Wait))?;
            match self.pool.get().await {
                Ok(object) if self.is_trusted(&object) => {
                    let unnamed = self.pool.manager().options.unnamed_statements;
                    let tls = self.tls.clone();
                    return Ok(Connection::new(object, unnamed, tls, permit));
                }
                Ok(object) => drop(Object::take(object)),
                // The pool is smaller than it may be then.
                Err(PoolError::Backend(error)) if self.is_full(&error) && self.gate.withhold(permit) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the server takes no more connections while the pool has some.
    fn is_full(&self, error: &tokio_postgres::Error) -> bool {
        classify(error) == Kind::OutOfConnections && self.pool.status().size > 0
    }

    /// How many wait for a connection.
    pub(crate) fn waiting(&self) -> u64 {
        self.gate.waiting()
    }

    fn is_trusted(&self, object: &Object) -> bool {
        let since = *self.trusted_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| Object::metrics(object).created >= since)
    }

    /// Closes the connections that are open now instead of lending them again, for when they may lead nowhere.
    pub fn distrust(&self) {
        let mut since = self.trusted_since.lock().unwrap_or_else(PoisonError::into_inner);
        // A database that stays as it is shall not cost each call a connection.
        if since.is_none_or(|since| since.elapsed() > DISTRUST_AGAIN) {
            *since = Some(Instant::now());
        }
    }

    /// Forgets all prepared statements, for when types or tables were replaced under them.
    pub fn forget_statements(&self) {
        self.pool.manager().forget_statements();
    }

    /// Closes the prepared statements of a collection that is gone. Connections in use at this moment keep theirs until
    /// others have pushed them out.
    pub(in crate::store) fn forget_collection(&self, collection: i64) {
        self.pool.retain(|session, _| {
            session.state().statements.forget_collection(collection);
            true
        });
    }

    /// How many connections there are, and how many calls wait for one.
    pub fn status(&self) -> managed::Status {
        self.pool.status()
    }

    /// Ends every connection that is not in use, and hands out no more.
    pub fn close(&self) {
        self.pool.close();
    }
}
