//! Connections to the database: pooled ones for calls, single ones for long work, and what an error of one means.
//!
//! A call can end at any moment: its deadline passes, or its client leaves. Dropping the future of a running statement
//! neither stops it on the server nor waits for it, so a pooled [`Connection`] that was not handed back by
//! [`done`](Connection::done) is settled in the background before anyone else gets it.

pub(crate) mod dsn;
mod gate;
mod pooler;
mod session;
pub(crate) mod sqlstate;
mod statements;
mod tls;
mod values;

use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use deadpool::{
    Runtime,
    managed::{self, PoolConfig, TimeoutType, Timeouts},
};
use futures_util::TryStreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, CopyInSink, Row, RowStream, Socket,
    config::SslMode,
    error::DbError,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::log;
use dsn::{Dsn, DsnError, TlsOptions, Verify};
use gate::Gate;
use session::{Manager, Session};
use sqlstate::{Kind, classify, explain};
use statements::Seen;

pub use statements::{AsStatement, Statement};
pub use values::Value;
pub(super) use values::{Element, Foreign, Typed};

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

type Object = managed::Object<Manager>;

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
                    return Ok(Connection { object: Some(object), unnamed, tls, permit: Some(permit) });
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
    pub(super) fn forget_collection(&self, collection: i64) {
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

/// A pooled connection in use. Call [`done`](Self::done) when nothing is under way any more; dropping it instead settles
/// it first: an open transaction is rolled back, and a statement that still runs is cancelled.
pub struct Connection {
    /// Present until drop.
    object: Option<Object>,
    /// Prepare nothing.
    unnamed: bool,
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
        if self.session().is_spent() {
            return self.discard();
        }
        drop(self.object.take());
    }

    /// Closes the connection instead of giving it back, for when its session can no longer be trusted.
    pub fn discard(mut self) {
        drop(self.object.take().map(Object::take));
    }

    /// Notes that the statements that follow are about a collection.
    pub(super) fn about(&self, collection: i64) {
        self.session().about(collection);
    }

    /// Whether it prepares statements.
    pub(super) fn prepares(&self) -> bool {
        !self.unnamed
    }

    /// A statement that is likely to come again. It is prepared when it was used before on this connection.
    ///
    /// # Errors
    /// Those of preparing it.
    pub async fn prepare_cached<'s>(&self, sql: &'s str) -> Result<Statement<'s>, tokio_postgres::Error> {
        if self.unnamed {
            return Ok(Statement::Unnamed(sql));
        }
        match self.session().use_one(sql) {
            Seen::First => Ok(Statement::Unnamed(sql)),
            Seen::Prepared(statement) => Ok(Statement::Named(statement)),
            Seen::Again => {
                let statement = self.session().client.prepare(sql).await?;
                self.session().state().statements.keep(sql, statement.clone());
                Ok(Statement::Named(statement))
            }
        }
    }

    /// The rows of a statement as they come.
    ///
    /// # Errors
    /// Those of the database and of its values.
    pub async fn query_raw(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<RowStream, tokio_postgres::Error> {
        let client = &self.session().client;
        match statement.as_statement() {
            Statement::Named(statement) => {
                client.query_raw(&statement, values.iter().map(|value| value.as_sql())).await
            }
            Statement::Unnamed(sql) => {
                client.query_typed_raw(sql, values.iter().map(|value| (value.as_sql(), value.sql_type()))).await
            }
        }
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// Those of the database and of its values.
    pub async fn query(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.query_raw(statement, values).await?.try_collect().await
    }

    /// The first row of a statement, if there is any.
    ///
    /// # Errors
    /// Those of the database and of its values.
    pub async fn query_opt(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// The row of a statement that has exactly one.
    ///
    /// # Errors
    /// Those of the database and of its values, and that there is no row or more than one.
    pub async fn query_one(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<Row, tokio_postgres::Error> {
        match statement.as_statement() {
            Statement::Named(statement) => {
                let values: Vec<_> = values.iter().map(|value| value.as_sql()).collect();
                self.session().client.query_one(&statement, &values).await
            }
            Statement::Unnamed(sql) => {
                let values: Vec<_> = values.iter().map(|value| (value.as_sql(), value.sql_type())).collect();
                self.session().client.query_typed_one(sql, &values).await
            }
        }
    }

    /// Runs a statement; returns how many rows it changed.
    ///
    /// # Errors
    /// Those of the database and of its values.
    pub async fn execute(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<u64, tokio_postgres::Error> {
        let mut rows = pin!(self.query_raw(statement, values).await?);
        while rows.try_next().await?.is_some() {}
        Ok(rows.rows_affected().unwrap_or(0))
    }

    /// Begins to send rows.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn copy_in(&self, statement: &Statement<'_>) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
        match statement {
            Statement::Named(statement) => self.session().client.copy_in(statement).await,
            Statement::Unnamed(sql) => self.session().client.copy_in(*sql).await,
        }
    }

    fn session(&self) -> &Session {
        // Safe: only `done`, `discard` and `drop` take the object, and they end the connection's life.
        self.object.as_ref().expect("the connection is in use")
    }
}

/// For what has no values: transactions, COPY and the like. Statements with values go through the methods of the
/// connection, which send them as its pool does.
impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.session().client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // Bounded in number by the pool's size, since each holds one of its connections, and in time by `settle`.
            Ok(runtime) if !object.client.is_closed() => {
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
        let mut rollback = pin!(object.client.simple_query("ROLLBACK"));
        match timeout(GRACE, rollback.as_mut()).await {
            Ok(result) => result.is_ok(),
            Err(_) => {
                let cancel = async {
                    if let Err(error) = object.client.cancel_token().cancel_query(tls).await {
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
    if !settled || object.is_spent() {
        drop(Object::take(object));
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
