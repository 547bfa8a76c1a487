//! A connection while a call has it.

use std::{fmt, ops::Deref, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::{Client, CopyInSink, Row, RowStream};

use super::{
    AsStatement, Statement, Value, gate::Permit, log, pool::Shared, session::Session, sqlstate::explain,
    statements::Seen,
};

/// How long an abandoned statement may take to end by itself before it is cancelled. Most searches take less, and a
/// cancel costs a connection.
const GRACE: Duration = Duration::from_millis(50);

/// How long a cancelled statement may take to end before its connection is given up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same from when the connection is suspected to lead nowhere: others wait for its permit.
const SUSPECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A pooled connection in use. Call [`done`](Self::done) when nothing is under way any more; dropping it instead settles
/// it first: an open transaction is rolled back, and a statement that still runs is cancelled.
pub struct Connection {
    /// Present until drop.
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

    /// Gives the connection back at once. To be called when every statement was awaited to its end, successful or not,
    /// and no transaction is open.
    pub fn done(mut self) {
        self.session.take().into_iter().for_each(|session| self.pool.put(session));
    }

    /// Closes the connection instead of giving it back, for when its session can no longer be trusted.
    pub fn discard(mut self) {
        drop(self.session.take());
    }

    /// Notes that the statements that follow are about a collection.
    pub(in crate::store) fn about(&self, collection: i64) {
        self.session().about(collection);
    }

    /// Whether it prepares statements.
    pub(in crate::store) fn prepares(&self) -> bool {
        !self.pool.opener.options.unnamed_statements
    }

    /// A statement that is likely to come again. It is prepared when it was used before on this connection.
    ///
    /// # Errors
    /// Those of preparing it.
    pub async fn prepare_cached<'s>(&self, sql: &'s str) -> Result<Statement<'s>, tokio_postgres::Error> {
        if !self.prepares() {
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
        // Safe: only `done`, `discard` and `drop` take the session, and they end the connection's life.
        self.session.as_ref().expect("the connection is in use")
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
        let Some(session) = self.session.take() else { return };
        if session.client.is_closed() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Bounded in number by the pool's size, since each holds one of its permits, and in time by `settle`.
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

/// Makes an abandoned connection fit for the next user. False: it is to be closed.
async fn settle(session: &Session, pool: &Shared) -> bool {
    // Ends behind whatever was sent before it. It also ends a transaction that was left open; where none is, the server
    // only warns.
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
        () = suspected => log::warn("an abandoned statement is not waited for: its connection may lead nowhere".into()),
    }
    // Nobody knows when a cancel arrives; late, it would hit the statement of the connection's next user.
    false
}
