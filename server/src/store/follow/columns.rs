//! Changes where triggers cannot be made: a column of the table says when each row changed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_postgres::types::Type;

use super::{Follow, SUCCEEDED, pending::MAX_ID_BYTES};
use crate::store::{Store, StoreError, catalog::Entry, transaction::Transaction};

/// How long after its transaction began a row can still become visible, where a column says when rows changed. Within this
/// time the rows are read from the index again and again.
pub(super) const OVERLAP: &str = "interval '10 minutes'";
/// Changes of a column are written in one statement, however many there are.
const POLL_TIMEOUT: Duration = Duration::from_secs(600);

/// The collections that follow a column, as a server knows them. What they follow never changes.
#[derive(Debug, Default)]
pub(crate) struct Columns(Vec<(i64, Arc<Entry>)>);

impl Store {
    /// Adds the rows of these collections to `pending` whose column says that they have changed. Returns whether there
    /// are any. One short statement for each collection while nothing changes.
    pub(crate) async fn poll_columns(&self, collections: &[i64], known: &mut Columns) -> Result<bool, StoreError> {
        known.0.retain(|(id, _)| collections.contains(id));
        for id in collections {
            if known.0.iter().all(|(other, _)| other != id) {
                known.0.extend(self.find_entry("c.id = $1", *id).await?.map(|entry| (*id, entry)));
            }
        }
        let mut found = false;
        for (id, entry) in &known.0 {
            match self.poll_column(*id, entry).await {
                Ok(changed) => found |= changed,
                Err(error) => {
                    let error = self.explain_followed(entry, error).await;
                    self.note_failure(*id, &error.to_string()).await?;
                }
            }
        }
        Ok(found)
    }

    async fn poll_column(&self, id: i64, entry: &Entry) -> Result<bool, StoreError> {
        let Some(Follow { source, updated_at: Some(column) }) = &entry.collection.definition.follow else {
            return Ok(false);
        };
        let internal = &self.inner.names.internal;
        let documents = source.documents_with_change(column);
        // What was not visible before was written by a transaction that has ended since, or by a part of it, which has a
        // later number.
        let first_new = "SELECT min(x) FROM (
                 (SELECT x::text::bigint FROM pg_snapshot_xip(f.seen) x
                  EXCEPT SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) x)
                 UNION ALL SELECT pg_snapshot_xmax(f.seen)::text::bigint) x(x)";
        // A number of 32 bits says which of two transactions is older only while they are less than 2^31 apart.
        let is_new = format!(
            "d.changed_at >= f.seen_until AND octet_length(d.id) <= {MAX_ID_BYTES}
               AND (age(d.xmin) <= age(n.first::text::xid8::xid)
                    OR pg_snapshot_xmax(pg_current_snapshot())::text::bigint - n.first > 2000000000)"
        );
        let follows = format!("{internal}.follows f, LATERAL ({first_new}) n(first)");
        let look = format!(
            "-- poll_columns
             SELECT now(), pg_current_snapshot()::text,
                    f.failures > 0 OR f.seen_until < now() - 2 * {OVERLAP}
                    OR EXISTS (SELECT FROM {documents} d WHERE {is_new})
             FROM {follows} WHERE f.collection_id = $1 AND NOT f.paused AND f.retry_at <= now()"
        );
        let sql = format!(
            "-- poll_columns
             INSERT INTO {internal}.pending AS p (collection_id, id, changed_at)
             SELECT f.collection_id, d.id, least(d.changed_at, now()) FROM {follows}, {documents} d
             WHERE f.collection_id = $1 AND {is_new}
             ORDER BY d.id
             ON CONFLICT (collection_id, id) DO UPDATE SET is_changed = true, error = NULL, failures = 0,
                 due_at = CASE WHEN p.claim IS NULL THEN now() ELSE p.due_at END"
        );
        // By itself, so that it locks nothing while it waits for rows that others finish.
        let seen = format!(
            "-- poll_columns
             UPDATE {internal}.follows
             SET seen_until = $2::timestamptz - {OVERLAP}, seen = $3::text::pg_snapshot, {SUCCEEDED}
             WHERE collection_id = $1"
        );
        let connection = self.connection_to(entry).await?;
        let looked = connection.query_typed(&look, &[(&id, Type::INT8)]).await?;
        let Some(looked) = looked.first().filter(|looked| looked.get(2)) else {
            connection.done();
            return Ok(false);
        };
        let (now, snapshot): (SystemTime, &str) = (looked.get(0), looked.get(1));
        let transaction = Transaction::read_write(&connection).timeout(POLL_TIMEOUT);
        transaction.begin().await?;
        connection.query_typed(&sql, &[(&id, Type::INT8)]).await?;
        transaction.commit().await?;
        transaction.begin().await?;
        connection.execute(&seen, &[&id, &now, &snapshot]).await?;
        transaction.commit().await?;
        connection.done();
        Ok(true)
    }
}
