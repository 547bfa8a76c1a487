//! A connection while a call has it.

use std::{fmt, ops::Deref, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::{
    Client, CopyInSink, Row, RowStream,
    types::{ToSql, Type},
};

use super::{
    AsStatement, Statement, Value, gate::Permit, log, pool::Shared, session::Session, sqlstate::explain,
    statements::Seen,
};

/// How long an abandoned statement may run before it is cancelled. Most searches end within this time, and a cancel
/// costs a connection.
const GRACE: Duration = Duration::from_millis(50);

/// How long a cancelled statement may take to end. After that its connection is closed.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a suspect connection: others wait for its permit.
const SUSPECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A pooled connection in use. Call [`done`](Self::done) once no statement is running. If it is dropped instead, it is
/// settled first: an open transaction is rolled back, and a running statement is cancelled.
pub struct Connection {
    /// Present until it is dropped.
    session: Option<Session>,
    pool: Arc<Shared>,
    /// Given back after the session.
    permit: Option<Permit>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(session: Session, pool: Arc<Shared>, permit: Permit, collection: Option<i64>) -> Self {
        if let Some(collection) = collection {
            session.about(collection);
        }
        Self { session: Some(session), pool, permit: Some(permit) }
    }

    /// Gives the connection back at once. Call it when every statement has ended, successfully or not, and no
    /// transaction is open.
    pub fn done(mut self) {
        self.session.take().into_iter().for_each(|session| self.pool.put(session));
    }

    /// Closes the connection instead of giving it back, because its session can no longer be trusted.
    pub fn discard(mut self) {
        drop(self.session.take());
    }

    /// Notes that the next statements concern a collection.
    pub(in crate::store) fn about(&self, collection: i64) {
        self.session().about(collection);
    }

    /// Whether it prepares statements.
    pub(in crate::store) fn prepares(&self) -> bool {
        !self.pool.opener.options.unnamed_statements
    }

    /// A statement that will probably be used again. It is prepared if this connection has used it before.
    ///
    /// # Errors
    /// Errors of preparing it.
    pub async fn prepare_cached<'s>(&self, sql: &'s str) -> Result<Statement<'s>, tokio_postgres::Error> {
        self.prepare_cached_typed(sql, &[]).await
    }

    /// The same, for values of these types. Postgres finds the types that are not given.
    pub(in crate::store) async fn prepare_cached_typed<'s>(
        &self,
        sql: &'s str,
        types: &[Type],
    ) -> Result<Statement<'s>, tokio_postgres::Error> {
        if !self.prepares() {
            return Ok(Statement::Unnamed(sql));
        }
        match self.session().use_one(sql) {
            Seen::First => Ok(Statement::Unnamed(sql)),
            Seen::Prepared(statement) => Ok(Statement::Named(statement)),
            Seen::Again => {
                let statement = self.session().client.prepare_typed(sql, types).await?;
                self.session().state().statements.keep(sql, statement.clone());
                Ok(Statement::Named(statement))
            }
        }
    }

    /// The rows of a statement as a stream.
    ///
    /// # Errors
    /// Errors of the database and of the values.
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

    /// The rows of a statement as a stream. The values have the types for which it is prepared, if it is.
    pub(in crate::store) async fn query_parameters(
        &self,
        statement: &Statement<'_>,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<RowStream, tokio_postgres::Error> {
        let client = &self.session().client;
        match statement {
            Statement::Named(statement) => client.query_raw(statement, values.iter().map(|(value, _)| *value)).await,
            Statement::Unnamed(sql) => client.query_typed_raw(sql, values.iter().cloned()).await,
        }
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// Errors of the database and of the values.
    pub async fn query(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.query_raw(statement, values).await?.try_collect().await
    }

    /// The first row of a statement, if there is one.
    ///
    /// # Errors
    /// Errors of the database and of the values.
    pub async fn query_opt(
        &self,
        statement: &(impl AsStatement + ?Sized),
        values: &[&dyn Value],
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// The row of a statement that returns exactly one.
    ///
    /// # Errors
    /// Errors of the database and of the values, and an error if there is no row or more than one.
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

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// Errors of the database and of the values.
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
    /// Errors of the database.
    pub(in crate::store) async fn copy_in(
        &self,
        statement: &Statement<'_>,
    ) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
        match statement {
            Statement::Named(statement) => self.session().client.copy_in(statement).await,
            Statement::Unnamed(sql) => self.session().client.copy_in(*sql).await,
        }
    }

    fn session(&self) -> &Session {
        // Cannot fail: only `done`, `discard` and `drop` take the session, and they end the life of the connection.
        self.session.as_ref().expect("the connection is in use")
    }
}

/// For statements without values, such as transactions and COPY. Statements with values go through the methods of the
/// connection, which send them in the way of its pool.
impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.session().client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if session.client.is_closed() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // The number of these tasks is at most the size of the pool, since each holds one of its permits. `settle`
            // limits their time.
            let (pool, permit) = (Arc::clone(&self.pool), self.permit.take());
            drop(runtime.spawn(async move {
                if settle(&session, &pool).await {
                    pool.put(session);
                }
                drop(permit);
            }));
        }
    }
}

/// Makes an abandoned connection fit for the next user. Returns false if it must be closed.
async fn settle(session: &Session, pool: &Shared) -> bool {
    // Ends after everything that was sent before it. It also ends a transaction that was left open. Without a
    // transaction the server only warns.
    let mut rollback = pin!(session.client.simple_query("ROLLBACK"));
    if let Ok(result) = timeout(GRACE, rollback.as_mut()).await {
        return result.is_ok();
    }
    let cancel = async {
        if let Err(error) = session.client.cancel_token().cancel_query(pool.opener.tls()).await {
            log::warn(format!("cannot cancel an abandoned statement: {}", explain(&error)));
        }
        rollback.await
    };
    let suspected = async {
        pool.suspects(session).await;
        tokio::time::sleep(SUSPECT_TIMEOUT).await;
    };
    tokio::select! {
        _ = cancel => {}
        () = tokio::time::sleep(SETTLE_TIMEOUT) => {
            log::warn(format!("an abandoned statement did not end within {} s", SETTLE_TIMEOUT.as_secs()));
        }
        () = suspected => log::warn("an abandoned statement is given up: its connection may be dead".into()),
    }
    // A cancel can arrive late. It would then hit the statement of the connection's next user.
    false
}
