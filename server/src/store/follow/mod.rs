//! Collections that keep documents of their own in step with the rows of a table.
//!
//! Triggers append the ids of changed rows to `changes` (`triggers`), or a column of the table says when rows changed
//! (`columns`). A server moves the ids to `pending`, which has each row once, claims some, reads them and stores them as
//! documents (`pending`). A claim is a time: until then, others leave the row alone. So no transaction is open while texts
//! are embedded, and the rows of a server that was killed are soon taken over. A comparison of all rows and all documents
//! (`compare`) fills a new collection, and finds what else there is.

mod columns;
mod compare;
mod pending;
mod status;
mod triggers;

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Client, types::Type};

use super::{Source, Store, StoreError, catalog::Entry, connection::Value, transaction::Transaction, wire::Json};

pub(crate) use columns::Columns;
pub(crate) use compare::Pace;
pub(crate) use pending::{Claim, Outcome, WaitingWork};
pub(crate) use status::{MAX_FAILURES, SourceStatus};
pub(super) use triggers::{drop as drop_triggers, relations, statements as trigger_statements, trigger_grants};

/// SQL: sets that something was done in a row of `follows`. What ends within the pause after an error began before it.
const SUCCEEDED: &str = "failures = CASE WHEN retry_at <= now() THEN 0 ELSE failures END,
                 last_error = CASE WHEN retry_at > now() THEN last_error END";
/// The longest wait for a lock on the table of the user.
const MAX_LOCK_WAIT: Duration = Duration::from_millis(900);
/// The rate of rows is that of about this many seconds.
const RATE_SECONDS: f64 = 60.0;

/// A table that a collection follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Follow {
    pub source: Source,
    /// The column that says when a row changed; `None`: triggers note the changes.
    pub updated_at: Option<String>,
}

/// Reads what `select_collections` selects of `follows`.
pub(super) fn read_follow(json: Option<&str>) -> Result<Option<Follow>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Row {
        source: Source,
        updated_at: Option<String>,
    }
    let Some(json) = json else { return Ok(None) };
    let unknown = |_| StoreError::Internal("the registry holds an unknown source".into());
    let Row { source, updated_at } = serde_json::from_str(json).map_err(unknown)?;
    Ok(Some(Follow { source, updated_at }))
}

/// SQL: what [`read_follow`] reads of a collection `c`, as jsonb.
pub(super) fn select_follow(internal: &str) -> String {
    format!(
        "(SELECT jsonb_build_object('source', f.source, 'updated_at', f.updated_at)
          FROM {internal}.follows f WHERE f.collection_id = c.id)"
    )
}

/// Forgets what a collection follows. The row of `follows` goes first, so that nobody makes its triggers again.
pub(super) async fn forget(client: &Client, internal: &str, collection_id: i64) -> Result<(), StoreError> {
    for table in ["follows", "changes", "pending"] {
        let sql = format!("-- forget_follow\n DELETE FROM {internal}.{table} WHERE collection_id = $1");
        client.execute_typed(&sql, &[(&collection_id, Type::INT8)]).await?;
    }
    Ok(())
}

impl Store {
    /// Makes the triggers of a new collection and asks for the first comparison, which reads all rows.
    pub(super) async fn begin_to_follow(
        &self,
        client: &Client,
        collection_id: i64,
        follow: &Follow,
    ) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        // Writers to the table wait behind this. Less than `deadlock_timeout`, so that no writer is the one that fails.
        client.batch_execute(&format!("SET LOCAL lock_timeout = {}", MAX_LOCK_WAIT.as_millis())).await?;
        triggers::create(client, internal, collection_id, follow).await?;
        let sql = format!(
            "-- begin_to_follow
             INSERT INTO {internal}.follows (collection_id, source, updated_at, seen_until)
             VALUES ($1, $2, $3, now() - {OVERLAP})",
            OVERLAP = columns::OVERLAP
        );
        let source = Json(follow.source.to_json()?);
        client.execute(&sql, &[&collection_id, &source, &follow.updated_at]).await?;
        Ok(())
    }

    /// The collections that follow a table and meet a condition on `f`, a row of `follows`, with their ids.
    async fn followed_entries(&self, condition: &str) -> Result<Vec<(i64, Arc<Entry>)>, StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!("-- followed_entries\n SELECT f.collection_id FROM {internal}.follows f WHERE {condition}");
        let connection = self.connection().await?;
        let rows = connection.query(&sql, &[]).await?;
        connection.done();
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.get(0);
            entries.extend(self.find_entry("c.id = $1", id).await?.map(|entry| (id, entry)));
        }
        Ok(entries)
    }

    /// Runs a statement in a transaction of its own.
    async fn run_alone(&self, sql: &str, parameters: &[&dyn Value]) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        connection.execute(sql, parameters).await?;
        transaction.commit().await?;
        connection.done();
        Ok(())
    }

    /// What an error of a statement over a followed table means.
    async fn explain_followed(&self, entry: &Entry, error: StoreError) -> StoreError {
        match &entry.collection.definition.follow {
            Some(Follow { source, .. }) => self.error_of_source(source, &entry.collection.definition, error).await,
            None => error,
        }
    }
}
