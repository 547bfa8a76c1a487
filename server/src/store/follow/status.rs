//! How far a collection has followed its table, and what an operator can do about it.

use std::time::SystemTime;

use super::{Follow, RATE_SECONDS};
use crate::store::{Collection, Store, StoreError, tables::ESTIMATED_ROWS, transaction::Transaction};

/// Maximum number of pending rows that are counted.
const COUNTED: i64 = 1_000_000;
/// Maximum number of failed rows with their errors.
pub(crate) const MAX_FAILURES: usize = 10;

/// How far a collection has followed its table.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub pending: i64,
    pub oldest_pending: Option<SystemTime>,
    pub failed: i64,
    /// The first of the failed rows: the id and the error.
    pub failures: Vec<(String, String)>,
    pub last_error: Option<String>,
    pub rows_per_second: f64,
    pub paused: bool,
    /// 0 to 1 while a comparison is running.
    pub compare_progress: Option<f64>,
}

impl Store {
    /// The status of a collection that follows a table; `None` for any other.
    pub(crate) async fn source_status(&self, collection: &Collection) -> Result<Option<SourceStatus>, StoreError> {
        let Some(Follow { source, .. }) = &collection.definition.follow else { return Ok(None) };
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- source_status
             SELECT p.pending, p.oldest, e.failed, s.ids, s.errors, coalesce(f.trigger_error, f.last_error), f.paused,
                    f.recent_rows * exp(-extract(epoch FROM now() - f.recent_at)::float8 / {RATE_SECONDS}) / {RATE_SECONDS},
                    CASE WHEN f.compare_part = 'documents' THEN 0.99
                         WHEN f.compare_part = 'rows' OR f.compare_at <= now() THEN
                             least(0.99, f.compared / greatest(1, (
                                 SELECT {ESTIMATED_ROWS} FROM pg_class c WHERE c.oid = to_regclass($2))::float8))
                    END
             FROM {internal}.follows f,
                  LATERAL (SELECT count(*) AS pending, min(changed_at) AS oldest
                           FROM (SELECT changed_at FROM {internal}.pending WHERE collection_id = $1 AND due_at < 'infinity'
                                 UNION ALL
                                 (SELECT changed_at FROM {internal}.changes WHERE collection_id = $1)
                                 LIMIT {COUNTED}) p) p,
                  LATERAL (SELECT count(*) AS failed
                           FROM (SELECT FROM {internal}.pending WHERE collection_id = $1 AND due_at = 'infinity'
                                 LIMIT {COUNTED}) e) e,
                  LATERAL (SELECT array_agg(id ORDER BY id) AS ids, array_agg(error ORDER BY id) AS errors
                           FROM (SELECT id, error FROM {internal}.pending
                                 WHERE collection_id = $1 AND due_at = 'infinity' ORDER BY id LIMIT {MAX_FAILURES}) s) s
             WHERE f.collection_id = $1"
        );
        let connection = self.connection().await?;
        let row = connection.query_opt(&sql, &[&collection.id, &source.relation()]).await?;
        connection.done();
        Ok(row.map(|row| {
            let ids: Vec<String> = row.get::<_, Option<_>>(3).unwrap_or_default();
            let errors: Vec<String> = row.get::<_, Option<_>>(4).unwrap_or_default();
            SourceStatus {
                pending: row.get(0),
                oldest_pending: row.get(1),
                failed: row.get(2),
                failures: ids.into_iter().zip(errors).collect(),
                last_error: row.get(5),
                paused: row.get(6),
                rows_per_second: row.get(7),
                compare_progress: row.get(8),
            }
        }))
    }

    /// Stops or continues to follow.
    pub(crate) async fn pause_source(&self, collection: &Collection, paused: bool) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- pause_source
             UPDATE {internal}.follows SET paused = $2, failures = 0, retry_at = now() WHERE collection_id = $1"
        );
        self.change_source(collection, &sql, &[&collection.id, &paused]).await?;
        Ok(())
    }

    /// Makes failed rows due again. Returns how many there were.
    pub(crate) async fn retry_failed(&self, collection: &Collection) -> Result<i64, StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- retry_failed
             UPDATE {internal}.pending SET error = NULL, failures = 0, due_at = now(), changed_at = now()
             WHERE collection_id = $1 AND error IS NOT NULL"
        );
        Ok(self.change_source(collection, &sql, &[&collection.id]).await? as i64)
    }

    async fn change_source(
        &self,
        collection: &Collection,
        sql: &str,
        parameters: &[&dyn crate::store::connection::Value],
    ) -> Result<u64, StoreError> {
        let name = &collection.definition.name;
        if collection.definition.follow.is_none() {
            return Err(StoreError::NotFollowing(name.clone()));
        }
        let connection = self.connection().await?;
        let transaction = Transaction::new(&connection);
        transaction.begin().await?;
        let changed = connection.execute(sql, parameters).await?;
        transaction.commit().await?;
        connection.done();
        Ok(changed)
    }
}
