//! Metadata indexes with the expression of an older version of pgfox. They serve until this version has built new ones.

use super::metadata::Written;
use crate::store::{Store, StoreError, transaction::Transaction};

/// SQL: whether the index of a row `m` of `metadata_indexes` has an older expression than
/// [`MetadataIndexType::version`].
pub(in crate::store) const OUTDATED: &str = "m.version < CASE m.type WHEN 'time' THEN 2 ELSE 1 END";

/// A job that replaces an outdated index is recorded only while fewer jobs than this run, so that callers' jobs need
/// not wait for all of them.
const MAX_RENEWALS: usize = 16;

impl Store {
    /// Records jobs for collections with outdated indexes. Such a job asks for the indexes that the collection has, which
    /// creates them with the newest expressions. Skips a collection with another job, which replaces them too, and for
    /// an hour after a failed job.
    pub(super) async fn renew_metadata_indexes(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let outdated = format!(
            "SELECT c.id FROM {internal}.collections c
             WHERE EXISTS (SELECT FROM {internal}.metadata_indexes m
                           WHERE m.collection_id = c.id AND m.ready AND {OUTDATED})
               AND NOT EXISTS (SELECT FROM {internal}.metadata_index_jobs j
                               WHERE j.collection_id = c.id
                                 AND (j.state = 'running' OR j.created_at > now() - interval '1 hour'))"
        );
        // Check first, since a standby answers but does not write.
        let sql = format!(
            "-- renew_metadata_indexes
             {outdated} ORDER BY c.id LIMIT greatest(0, {MAX_RENEWALS} - (
                 SELECT count(*) FROM {internal}.metadata_index_jobs r WHERE r.state = 'running'))"
        );
        let statement = connection.prepare_cached(&sql).await?;
        for row in connection.query(&statement, &[]).await? {
            let collection_id: i64 = row.get(0);
            let transaction = Transaction::read_write(&connection);
            transaction.begin().await?;
            // Callers that change its indexes take turns. If another caller has the turn, do not wait for it; it may
            // replace them anyway.
            let lock = format!(
                "-- renew_metadata_indexes
                 SELECT FROM {internal}.collections WHERE id = $1 FOR UPDATE SKIP LOCKED"
            );
            let again = format!("-- renew_metadata_indexes\n {outdated} AND c.id = $1");
            if connection.query_opt(&lock, &[&collection_id]).await?.is_some()
                && connection.query_opt(&again, &[&collection_id]).await?.is_some()
            {
                let ready = self.metadata_indexes(&connection, collection_id).await?.ready;
                let mut wanted: Vec<Written> = ready.into_iter().map(|present| present.index).collect();
                wanted.sort();
                self.insert_metadata_job(&connection, collection_id, &wanted).await?;
                tracing::info!(collection_id, "replacing indexes on times by those of this version");
            }
            transaction.commit().await?;
        }
        connection.done();
        Ok(())
    }
}
