//! Compares all rows of a followed table with the documents: first each row becomes pending, which costs no more than its
//! hash if its document is the same, then each document whose row is gone.
//!
//! A step takes a bounded number of ids and remembers the last one, so that any server can continue.

use std::{collections::HashSet, time::Duration};

use tokio_postgres::types::Type;

use super::{Follow, MAX_LOCK_WAIT, SUCCEEDED, pending::MAX_ID_BYTES, triggers};
use crate::store::{Store, StoreError, catalog::Entry, transaction::Transaction, wire::Parameters};

/// How often and how fast to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The time between two comparisons.
    pub every: Duration,
    /// Maximum number of rows per second. `None`: no limit.
    pub rows_per_second: Option<u32>,
}

impl Pace {
    /// Seconds until the next step, on whatever server.
    fn pause_after(self, rows: usize) -> f64 {
        self.rows_per_second.map_or(0.0, |rate| rows as f64 / f64::from(rate))
    }
}

/// Number of ids that a step takes.
const STEP: i64 = 5_000;
/// A step waits while this many rows are pending, so that `pending` stays small.
const MAX_PENDING: i64 = 20_000;
/// How long others leave a comparison alone.
const LEASE: &str = "interval '60 seconds'";

impl Store {
    /// Does a step of a comparison that is due, if there is one.
    pub(crate) async fn compare_source(&self, pace: Pace) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let comparer: i64 = rand::random();
        let sql = format!(
            "-- claim_comparison
             UPDATE {internal}.follows f
             SET comparer = $1, leased_until = now() + {LEASE}, compare_part = coalesce(f.compare_part, 'rows'),
                 compared = CASE WHEN f.compare_part IS NULL THEN 0 ELSE f.compared END
             FROM (SELECT d.collection_id FROM {internal}.follows d
                   WHERE NOT d.paused AND d.retry_at <= now() AND d.compare_at <= now()
                     AND (d.leased_until IS NULL OR d.leased_until <= now())
                     AND (SELECT count(*) FROM (SELECT FROM {internal}.pending p
                                                WHERE p.collection_id = d.collection_id AND p.due_at < 'infinity'
                                                LIMIT {MAX_PENDING}) p) < {MAX_PENDING}
                   ORDER BY d.compare_at LIMIT 1 FOR UPDATE SKIP LOCKED) due
             WHERE f.collection_id = due.collection_id
             RETURNING f.collection_id, f.compare_part, f.compare_after, f.compare_after IS NULL AND f.compare_part = 'rows'"
        );
        // Rows that failed may be gone.
        let again = format!(
            "-- claim_comparison
             UPDATE {internal}.pending SET error = NULL, failures = 0, due_at = now()
             WHERE collection_id = $1 AND error IS NOT NULL"
        );
        let connection = self.connection().await?;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let row = connection.query_opt(&connection.prepare_cached(&sql).await?, &[&comparer]).await?;
        transaction.commit().await?;
        if let Some(row) = row.as_ref().filter(|row| row.get(3)) {
            transaction.begin().await?;
            connection.execute(&again, &[&row.get::<_, i64>(0)]).await?;
            transaction.commit().await?;
        }
        connection.done();
        let Some(row) = row else { return Ok(()) };
        let id: i64 = row.get(0);
        let (part, after): (&str, Option<&str>) = (row.get(1), row.get(2));
        let Some(entry) = self.find_entry("c.id = $1", id).await? else { return Ok(()) };
        let step = match part {
            "rows" => self.compare_rows(&entry, after).await,
            _ => self.compare_documents(&entry, after).await,
        };
        match step {
            Ok(Step { ids, last, taken }) => {
                self.end_step(id, comparer, part, (&ids, last.as_deref(), taken), pace).await
            }
            Err(error) => {
                let error = self.explain_followed(&entry, error).await;
                self.note_failure(id, &error.to_string()).await
            }
        }
    }

    /// The next rows of the table.
    async fn compare_rows(&self, entry: &Entry, after: Option<&str>) -> Result<Step, StoreError> {
        let Some(Follow { source, .. }) = &entry.collection.definition.follow else { return Ok(Step::default()) };
        let mut parameters = Parameters::default();
        let beyond = after.and_then(|after| source.is_beyond(after, ">", &mut parameters));
        let order: Vec<String> = source.order().iter().map(|column| format!("d.{column}")).collect();
        let sql = format!(
            "-- compare_rows
             SELECT d.id FROM {documents} d WHERE {condition} ORDER BY {order} LIMIT {STEP}",
            documents = source.documents(&self.inner.names.internal),
            condition = beyond.unwrap_or_else(|| "true".into()),
            order = order.join(", "),
        );
        let connection = self.connection_to(entry).await?;
        let rows = connection.query_typed(&sql, &parameters.typed()).await?;
        connection.done();
        let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        Ok(Step { last: (rows.len() as i64 == STEP).then(|| ids.last().cloned()).flatten(), taken: ids.len(), ids })
    }

    /// The next documents: those of them that have no row.
    async fn compare_documents(&self, entry: &Entry, after: Option<&str>) -> Result<Step, StoreError> {
        let Some(Follow { source, .. }) = &entry.collection.definition.follow else { return Ok(Step::default()) };
        let sql = format!(
            "-- compare_documents\n SELECT d.id FROM {} d WHERE d.id > $1 ORDER BY d.id LIMIT {STEP}",
            entry.tables.documents
        );
        let connection = self.connection_to(entry).await?;
        let rows = connection.query_typed(&sql, &[(&after.unwrap_or_default(), Type::TEXT)]).await?;
        let mut ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let (taken, last) = (ids.len(), ids.last().cloned());
        let mut parameters = Parameters::default();
        let condition = source.has_id(ids.iter().map(String::as_str), &mut parameters);
        let documents = source.documents(&self.inner.names.internal);
        let sql = format!("-- compare_documents\n SELECT d.id FROM {documents} d WHERE {condition}");
        let rows = connection.query_typed(&sql, &parameters.typed()).await?;
        connection.done();
        let there: HashSet<&str> = rows.iter().map(|row| row.get(0)).collect();
        ids.retain(|id| !there.contains(id.as_str()));
        Ok(Step { ids, last: last.filter(|_| taken as i64 == STEP), taken })
    }

    /// Makes the ids of a step pending and remembers its end, unless the lease has ended meanwhile.
    async fn end_step(
        &self,
        collection_id: i64,
        comparer: i64,
        part: &str,
        (ids, last, taken): (&[String], Option<&str>, usize),
        pace: Pace,
    ) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        // The end of the rows is followed by the documents.
        let next_part = match (last, part) {
            (Some(_), part) => Some(part),
            (None, "rows") => Some("documents"),
            (None, _) => None,
        };
        let (seconds, pause) = (pace.every.as_secs_f64(), pace.pause_after(taken));
        // A claimed row may have been read before it changed.
        let add = format!(
            "-- end_step
             INSERT INTO {internal}.pending AS p (collection_id, id, changed_at)
             SELECT $1, i.id, now() FROM unnest($2::text[]) i(id) WHERE octet_length(i.id) <= {MAX_ID_BYTES}
             ORDER BY i.id COLLATE \"C\"
             ON CONFLICT (collection_id, id) DO UPDATE SET is_changed = true WHERE p.claim IS NOT NULL"
        );
        let end = format!(
            "-- end_step
             UPDATE {internal}.follows
             SET leased_until = now() + $7::float8 * interval '1 second', compare_part = $3, compare_after = $4,
                 compared = compared + $5, compare_again = compare_again AND $3::text IS NOT NULL,
                 compare_at = CASE WHEN $3::text IS NOT NULL THEN compare_at
                                   WHEN compare_again THEN now()
                                   ELSE now() + $6::float8 * interval '1 second' END, {SUCCEEDED}
             WHERE collection_id = $1 AND comparer = $2"
        );
        self.run_alone(&add, &[&collection_id, &ids]).await?;
        let taken = taken as i64;
        self.run_alone(&end, &[&collection_id, &comparer, &next_part, &last, &taken, &seconds, &pause]).await
    }

    /// Makes triggers again where they are missing, for example on a new partition or a table that was made again. Then,
    /// and if a partition is gone, everything is compared. Notes what is wrong with them.
    pub(crate) async fn repair_triggers(&self) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        for (id, entry) in self.followed_entries("f.updated_at IS NULL AND NOT f.paused").await? {
            let fault = match self.repair_triggers_of(id, &entry).await {
                Ok(fault) => fault,
                Err(StoreError::Conflict(_)) => {
                    Some("a trigger is missing, and another transaction holds a lock on the table".to_owned())
                }
                Err(error) => Some(self.explain_followed(&entry, error).await.to_string()),
            };
            let sql = format!(
                "-- repair_triggers
                 UPDATE {internal}.follows SET trigger_error = $2
                 WHERE collection_id = $1 AND trigger_error IS DISTINCT FROM $2"
            );
            self.run_alone(&sql, &[&id, &fault]).await?;
        }
        Ok(())
    }

    /// Returns what is wrong and stays so.
    async fn repair_triggers_of(&self, id: i64, entry: &Entry) -> Result<Option<String>, StoreError> {
        let internal = &self.inner.names.internal;
        let Some(Follow { source, .. }) = &entry.collection.definition.follow else { return Ok(None) };
        let connection = self.connection_to(entry).await?;
        let faults = triggers::faults(&connection, internal, id, source).await?;
        if faults.relations.is_empty() {
            return Err(StoreError::Stale(None)); // the table is gone
        }
        let grants = triggers::trigger_grants(&connection, &faults.missing).await?;
        if !grants.is_empty() {
            connection.done();
            return Ok(Some(format!(
                "the role of the server may not make triggers; have the owner of the table run: {}",
                grants.join("; ")
            )));
        }
        // The row goes first when the collection is deleted, and its triggers must not be made after that.
        let is_there = format!(
            "-- repair_triggers
             SELECT relations FROM {internal}.follows WHERE collection_id = $1 FOR KEY SHARE"
        );
        let compare = format!("-- repair_triggers\n INSERT INTO {internal}.changes (collection_id) VALUES ($1)");
        let known =
            format!("-- repair_triggers\n UPDATE {internal}.follows SET relations = $2 WHERE collection_id = $1");
        let transaction = Transaction::read_write(&connection).lock_timeout(MAX_LOCK_WAIT);
        // One transaction for each, so that no writer to several partitions waits in a circle.
        for relation in &faults.missing {
            transaction.begin().await?;
            if connection.query_opt(&is_there, &[&id]).await?.is_none() {
                transaction.rollback().await?;
                connection.done();
                return Ok(None);
            }
            for statement in triggers::statements(internal, id, source, std::slice::from_ref(relation)) {
                connection.batch_execute(&statement).await?;
            }
            connection.execute(&compare, &[&id]).await?;
            transaction.commit().await?;
        }
        let row = connection.query_opt(&is_there, &[&id]).await?;
        let before: Option<String> = row.and_then(|row| row.get(0));
        if before.as_ref() != Some(&faults.relations) {
            transaction.begin().await?;
            connection.execute(&known, &[&id, &faults.relations]).await?;
            if before.is_some() {
                connection.execute(&compare, &[&id]).await?;
            }
            transaction.commit().await?;
        }
        connection.done();
        Ok((!faults.disabled.is_empty()).then(|| {
            format!(
                "a trigger of pgfox is disabled on {}: only the comparison of all rows finds changes there; run ALTER TABLE \
                 ... ENABLE TRIGGER",
                faults.disabled.join(", ")
            )
        }))
    }
}

/// What a step found.
#[derive(Default)]
struct Step {
    /// The ids to make pending.
    ids: Vec<String>,
    /// The last id that was looked at, unless that was the end.
    last: Option<String>,
    /// The number of ids that were looked at.
    taken: usize,
}
