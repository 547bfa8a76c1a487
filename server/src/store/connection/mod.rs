//! Connections to the database: pooled ones for calls, single ones for long work, and what an error of one means.
//!
//! A call can end at any moment: its deadline passes, or its client leaves. Dropping the future of a running statement
//! neither stops it on the server nor waits for it, so a pooled [`Connection`] that was not handed back by
//! [`done`](Connection::done) is settled in the background before anyone else gets it.

pub(crate) mod dsn;
mod gate;
pub(crate) mod sqlstate;
mod tls;

use std::{
    fmt,
    future::{Future, poll_fn},
    ops::{Deref, DerefMut},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool_postgres::{
    ClientWrapper, Connect, Manager, ManagerConfig, Object, PoolConfig, PoolError, RecyclingMethod, Runtime,
    TimeoutType, Timeouts,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Socket,
    config::SslMode,
    error::DbError,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::log;
use dsn::{Dsn, DsnError, TlsOptions, Verify};
use gate::Gate;
use sqlstate::{Kind, classify, explain};

/// How long an abandoned statement may take to end by itself before it is cancelled. Most searches take less, and a
/// cancel costs a connection.
const GRACE: Duration = Duration::from_millis(50);

/// How long a cancelled statement may take to end before its connection is given up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after connections became suspect they can become so again.
const DISTRUST_AGAIN: Duration = Duration::from_secs(1);

/// Notices that one connection holds for its owner; further ones are lost (they are in the log at level debug).
const MAX_NOTICES: usize = 64;

/// Notices of the server (`NOTICE: hnsw graph no longer fits into maintenance_work_mem ...`), in order.
pub(super) type Notices = mpsc::Receiver<DbError>;

/// Opens connections to one database. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Arc<Config>,
    tls: MakeRustlsConnect,
    timeout: Duration,
    target: Arc<str>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("config", &self.config)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server did not answer in time.
    #[error("cannot connect to {target}: no answer within {} s (connect_timeout)", .after.as_secs())]
    Timeout {
        /// The server, without the password.
        target: Arc<str>,
        /// The bound that was exceeded.
        after: Duration,
    },
    /// The network, TLS or the server refused.
    #[error("cannot connect to {target}: {}", explain(.source))]
    Refused {
        /// The server, without the password.
        target: Arc<str>,
        /// What refused, for [`classify`](sqlstate::classify).
        source: tokio_postgres::Error,
    },
}

impl Connector {
    /// Prepares connections to `dsn`; opens none. Reads the certificate files that it names.
    ///
    /// # Errors
    /// [`DsnError::File`] and [`DsnError::NoSystemRoots`].
    pub fn new(dsn: &Dsn) -> Result<Connector, DsnError> {
        // Never used for a handshake when there is to be none, but the types want one.
        const NO_TLS: TlsOptions = TlsOptions {
            verify: Verify::Nothing,
            client: None,
            server_name_indication: true,
            direct: false,
            tls13_only: false,
        };
        debug_assert_eq!(dsn.tls.is_none(), dsn.config.get_ssl_mode() == SslMode::Disable);
        let tls = tls::client_config(dsn.tls.as_ref().unwrap_or(&NO_TLS))?;
        Ok(Connector {
            config: Arc::new(dsn.config.clone()),
            tls: MakeRustlsConnect::new(tls),
            timeout: dsn.connect_timeout,
            target: dsn.describe().into(),
        })
    }

    /// One connection outside of any pool, for work that takes long or holds session state. It closes when the client is
    /// dropped.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<(Client, Notices), ConnectError> {
        let (sender, notices) = mpsc::channel(MAX_NOTICES);
        let attempt = timeout(self.timeout, self.config.connect(self.tls.clone()));
        let target = || Arc::clone(&self.target);
        let (client, connection) = attempt
            .await
            .map_err(|_| ConnectError::Timeout { target: target(), after: self.timeout })?
            .map_err(|source| ConnectError::Refused { target: target(), source })?;
        drive(connection, Some(sender));
        Ok((client, notices))
    }

    /// A pool that opens connections when they are needed.
    pub fn pool(&self, options: PoolOptions) -> Pool {
        let connect = OpenSession { tls: self.tls.clone() };
        let manager = Manager::from_connect(
            self.config.as_ref().clone(),
            connect,
            // `Connection` settles what others would check by a round trip for each call.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let mut config = PoolConfig::new(options.max_size);
        config.timeouts =
            Timeouts { wait: Some(options.wait_timeout), create: Some(self.timeout), recycle: Some(self.timeout) };
        let pool = deadpool_postgres::Pool::builder(manager)
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

/// How a pool is set up.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Connections at most.
    pub max_size: usize,
    /// How long a call waits for a free connection.
    pub wait_timeout: Duration,
}

/// Connections that calls share. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
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
                    return Ok(Connection { object: Some(object), tls: self.tls.clone(), permit: Some(permit) });
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
        self.pool.manager().statement_caches.clear();
    }

    /// The pool itself: status, size, closing.
    pub fn inner(&self) -> &deadpool_postgres::Pool {
        &self.pool
    }
}

/// A pooled connection in use. Call [`done`](Self::done) when nothing is under way any more; dropping it instead settles
/// it first: an open transaction is rolled back, and a statement that still runs is cancelled.
pub struct Connection {
    /// Present until drop.
    object: Option<Object>,
    tls: MakeRustlsConnect,
    /// Given back after the connection.
    permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Gives the connection back at once. To be called when every statement was awaited to its end, successful or not,
    /// and no transaction is open.
    pub fn done(mut self) {
        drop(self.object.take());
    }

    /// Closes the connection instead of giving it back, for when its session can no longer be trusted.
    pub fn discard(mut self) {
        drop(self.object.take().map(Object::take));
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        // Safe: only `done`, `discard` and `drop` take the object, and they end the connection's life.
        self.object.as_ref().expect("the connection is in use")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        // Safe: see `deref`.
        self.object.as_mut().expect("the connection is in use")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // Bounded in number by the pool's size, since each holds one of its connections, and in time by `settle`.
            Ok(runtime) if !object.is_closed() => {
                let (tls, permit) = (self.tls.clone(), self.permit.take());
                drop(runtime.spawn(async move {
                    settle(object, tls).await;
                    drop(permit);
                }));
            }
            _ => drop(Object::take(object)),
        }
    }
}

/// Makes an abandoned connection fit for the next user, or closes it.
async fn settle(object: Object, tls: MakeRustlsConnect) {
    // Ends behind whatever was sent before it. It also ends a transaction that was left open; where none is, the server
    // only warns.
    let settled = {
        let mut rollback = pin!(object.simple_query("ROLLBACK"));
        match timeout(GRACE, rollback.as_mut()).await {
            Ok(result) => result.is_ok(),
            Err(_) => {
                let cancel = async {
                    if let Err(error) = object.cancel_token().cancel_query(tls).await {
                        log::warn(format!("cannot cancel an abandoned statement: {}", explain(&error)));
                    }
                    rollback.await
                };
                if timeout(SETTLE_TIMEOUT, cancel).await.is_err() {
                    log::warn(format!("an abandoned statement did not end within {} s", SETTLE_TIMEOUT.as_secs()));
                }
                // Nobody knows when a cancel arrives; late, it would hit the statement of the connection's next user.
                false
            }
        }
    };
    if !settled {
        drop(Object::take(object));
    }
}

/// Opens a pool's connections.
struct OpenSession {
    tls: MakeRustlsConnect,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Connect for OpenSession {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let task = drive(connection, None);
            Ok((client, task))
        })
    }
}

/// Moves a connection's messages until its client is dropped; notices go to the log and to whom they concern.
fn drive(
    mut connection: tokio_postgres::Connection<Socket, TlsStream>,
    notices: Option<mpsc::Sender<DbError>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    tracing::debug!(severity = notice.severity(), message = notice.message(), "notice of the database");
                    if let Some(notices) = &notices {
                        // A full or closed channel loses the notice, which is what its bound is for.
                        let _ = notices.try_send(notice);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    log::warn(format!("a database connection broke: {}", explain(&error)));
                    break;
                }
            }
        }
    })
}

type TlsStream = <<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Stream;
