//! The rows of followed tables that changed: noted by triggers, claimed by a server, read, and done.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use super::{Follow, RATE_SECONDS, SUCCEEDED};
use crate::store::{
    Collection, Filter, Store, StoreError, StoredDocument,
    catalog::Entry,
    connection::Value,
    documents::{collect_bounded, read_document},
    transaction::{Retry, Transaction},
    wire::Parameters,
};

/// Maximum number of changes that one transaction moves to `pending`.
const COLLECTED: i64 = 20_000;
/// Maximum number of rows that are claimed at a time.
const CLAIMED: i64 = 128;
/// When fewer than `SHARE * CLAIMED` are left, a claim takes one of so many parts, but at least `FEWEST` rows. So all
/// processors work until the end.
const SHARE: i64 = 4;
const FEWEST: i64 = 16;
/// Rows that failed together this often are claimed one by one: 128, 16, 2, 1.
const ALONE: i16 = 3;
/// How long others leave a claimed row alone, unless its claim is extended.
const LEASE: &str = "interval '30 seconds'";
/// The longest pause after an error, in seconds.
const MAX_PAUSE: i32 = 30;
/// A longer id can be none of a document, and an index could not hold it.
pub(super) const MAX_ID_BYTES: usize = 2_000;

/// What there is to do for followed tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitingWork {
    /// Some collection follows a table by triggers.
    pub triggers: bool,
    /// Triggers have noted changes.
    pub changes: bool,
    /// The collections that follow a column.
    pub columns: Vec<i64>,
    /// A comparison is due.
    pub comparison: bool,
    /// Rows can be claimed.
    pub rows: bool,
}

/// Rows that this server stores next.
#[derive(Debug)]
pub(crate) struct Claim {
    entry: Arc<Entry>,
    number: i64,
    /// How often something that has nothing to do with single rows has failed with them.
    failures: i16,
    pub ids: Vec<String>,
}

impl Claim {
    pub(crate) fn collection(&self) -> &Collection {
        &self.entry.collection
    }

    /// The only row, if it was tried with ever fewer others.
    pub(crate) fn suspect(&self) -> Option<&str> {
        match self.ids.as_slice() {
            [id] if self.failures >= ALONE => Some(id),
            _ => None,
        }
    }
}

/// The current rows of a claim.
#[derive(Debug, Default)]
pub(crate) struct FollowedRows {
    /// Those that are there, as many as fit, as documents.
    pub rows: Vec<StoredDocument>,
    /// The ids of those that are not in the table.
    pub missing: Vec<String>,
    /// Those that no document can hold, with their bytes.
    pub too_large: Vec<(String, usize)>,
    /// Those that do not fit beside the others.
    pub later: Vec<String>,
}

/// What became of the rows of a claim.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Ids that cannot be documents, and why.
    pub failed: Vec<(String, String)>,
    /// Ids to claim again.
    pub later: Vec<String>,
}

impl Store {
    /// What there is to do. One short statement, which an idle server runs about once a second.
    pub(crate) async fn waiting_work(&self) -> Result<WaitingWork, StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- waiting_work
             SELECT coalesce(bool_or(f.updated_at IS NULL), false),
                    EXISTS (SELECT FROM {internal}.changes WHERE NOT pg_is_in_recovery()),
                    coalesce(array_agg(f.collection_id) FILTER (WHERE f.updated_at IS NOT NULL AND is_active), '{{}}'),
                    coalesce(bool_or(is_active AND f.compare_at <= now()
                                     AND (f.leased_until IS NULL OR f.leased_until <= now())), false),
                    coalesce(bool_or(is_active AND EXISTS (
                        SELECT FROM {internal}.pending p
                        WHERE p.collection_id = f.collection_id AND p.due_at <= now())), false)
             FROM {internal}.follows f, LATERAL (SELECT NOT f.paused AND f.retry_at <= now() AS is_active) a
             WHERE NOT pg_is_in_recovery()"
        );
        let row = connection.query_one(&connection.prepare_cached(&sql).await?, &[]).await?;
        connection.done();
        Ok(WaitingWork {
            triggers: row.get(0),
            changes: row.get(1),
            columns: row.get(2),
            comparison: row.get(3),
            rows: row.get(4),
        })
    }

    /// Moves changes that triggers have noted to `pending`. Returns whether more may be left.
    pub(crate) async fn collect_changes(&self) -> Result<bool, StoreError> {
        let internal = &self.inner.names.internal;
        // Rows are locked in the order of their ids. Another server takes other changes.
        let sql = format!(
            "-- collect_changes
             WITH taken AS (
                 DELETE FROM {internal}.changes
                 WHERE ctid = ANY(ARRAY(SELECT ctid FROM {internal}.changes LIMIT {COLLECTED} FOR UPDATE SKIP LOCKED))
                 RETURNING collection_id, id, changed_at),
             everything AS (
                 UPDATE {internal}.follows f
                 SET compare_again = f.compare_part IS NOT NULL,
                     compare_at = CASE WHEN f.compare_part IS NULL THEN now() ELSE f.compare_at END
                 FROM (SELECT DISTINCT collection_id FROM taken WHERE id IS NULL) t
                 WHERE f.collection_id = t.collection_id),
             moved AS (
                 INSERT INTO {internal}.pending AS p (collection_id, id, changed_at)
                 SELECT collection_id, id, min(changed_at)
                 FROM taken JOIN {internal}.follows USING (collection_id) WHERE octet_length(id) <= {MAX_ID_BYTES}
                 GROUP BY collection_id, id ORDER BY collection_id, id COLLATE \"C\"
                 ON CONFLICT (collection_id, id) DO UPDATE SET error = NULL, failures = 0, is_changed = true,
                     changed_at = CASE WHEN p.error IS NULL THEN p.changed_at ELSE excluded.changed_at END,
                     due_at = CASE WHEN p.claim IS NULL THEN now() ELSE p.due_at END)
             SELECT count(*), array_agg(DISTINCT collection_id) FILTER (WHERE id IS NULL) FROM taken"
        );
        // A claimed row may have been read before everything changed.
        let claimed = format!(
            "-- collect_changes
             UPDATE {internal}.pending SET is_changed = true WHERE collection_id = ANY($1) AND claim IS NOT NULL"
        );
        let connection = self.connection().await?;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let row = connection.query_one(&sql, &[]).await?;
        if let Some(everything) = row.get::<_, Option<Vec<i64>>>(1) {
            connection.execute(&claimed, &[&everything]).await?;
        }
        transaction.commit().await?;
        connection.done();
        Ok(row.get::<_, i64>(0) == COLLECTED)
    }

    /// Claims rows of one collection. Those that failed together are claimed in ever smaller parts, so that a row that
    /// makes others fail is found.
    pub(crate) async fn claim_rows(&self) -> Result<Option<Claim>, StoreError> {
        let internal = &self.inner.names.internal;
        let number: i64 = rand::random();
        let sql = format!(
            "-- claim_rows
             WITH next AS MATERIALIZED (
                 SELECT f.collection_id, p.failures, l.left_over
                 FROM {internal}.follows f, LATERAL (
                     SELECT p.failures FROM {internal}.pending p
                     WHERE p.collection_id = f.collection_id AND p.due_at <= now() ORDER BY p.due_at LIMIT 1) p,
                 LATERAL (
                     SELECT count(*) AS left_over
                     FROM (SELECT FROM {internal}.pending p
                           WHERE p.collection_id = f.collection_id AND p.due_at <= now() LIMIT {SHARE} * {CLAIMED}) l) l
                 WHERE NOT f.paused AND f.retry_at <= now()
                 ORDER BY random() LIMIT 1),
             due AS MATERIALIZED (
                 SELECT p.id FROM {internal}.pending p
                 WHERE p.collection_id = (SELECT collection_id FROM next) AND p.due_at <= now()
                   AND p.failures = (SELECT failures FROM next)
                 ORDER BY p.due_at
                 LIMIT (SELECT least(greatest(1, {CLAIMED} >> least({ALONE} * failures, 30)),
                                     greatest({FEWEST}, left_over / {SHARE})) FROM next)
                 FOR UPDATE SKIP LOCKED)
             UPDATE {internal}.pending p SET claim = $1, is_changed = false, due_at = now() + {LEASE}
             FROM due WHERE p.collection_id = (SELECT collection_id FROM next) AND p.id = due.id
             RETURNING p.collection_id, p.id, p.failures"
        );
        let connection = self.connection().await?;
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let rows = connection.query(&connection.prepare_cached(&sql).await?, &[&number]).await?;
        transaction.commit().await?;
        connection.done();
        let Some(first) = rows.first() else { return Ok(None) };
        let ids = rows.iter().map(|row| row.get(1)).collect();
        // None: it was just deleted, and its rows with it.
        let entry = self.find_entry("c.id = $1", first.get(0)).await?;
        Ok(entry.map(|entry| Claim { entry, number, failures: first.get(2), ids }))
    }

    /// Keeps the rows of a claim for longer.
    pub(crate) async fn extend_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- extend_claim
             UPDATE {internal}.pending SET due_at = now() + {LEASE}
             WHERE collection_id = $1 AND id = ANY($2) AND claim = $3"
        );
        self.run_alone(&sql, &[&claim.collection().id, &claim.ids, &claim.number]).await
    }

    /// Reads rows of a claim as they are now: texts and metadata of at most `max_bytes` together, but at least one row,
    /// and none above `max_row_bytes`.
    pub(crate) async fn read_claimed(
        &self,
        claim: &Claim,
        ids: &[String],
        max_row_bytes: usize,
        max_bytes: usize,
    ) -> Result<FollowedRows, StoreError> {
        match self.read_rows_of(&claim.entry, ids, max_row_bytes, max_bytes).await {
            Err(error) => Err(self.explain_followed(&claim.entry, error).await),
            rows => rows,
        }
    }

    async fn read_rows_of(
        &self,
        entry: &Entry,
        claimed: &[String],
        max_row_bytes: usize,
        max_bytes: usize,
    ) -> Result<FollowedRows, StoreError> {
        let Some(Follow { source, .. }) = &entry.collection.definition.follow else {
            return Ok(FollowedRows::default());
        };
        let documents = source.documents(&self.inner.names.internal);
        let connection = self.connection_to(entry).await?;
        let mut found = FollowedRows::default();

        // The sizes first: of a text that is a column, Postgres knows it without reading the text.
        let mut parameters = Parameters::default();
        let condition = source.has_id(claimed.iter().map(String::as_str), &mut parameters);
        let sql = format!(
            "-- sizes_of_claimed
             SELECT d.id, octet_length(d.text) + octet_length(d.metadata::text)::bigint
             FROM {documents} d WHERE {condition}"
        );
        let sizes = connection.query_typed(&sql, &parameters.typed()).await?;
        let sizes: HashMap<&str, i64> = sizes.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut ids: Vec<&str> = Vec::with_capacity(sizes.len());
        let mut bytes = 0;
        for id in claimed {
            match sizes.get(id.as_str()).map(|size| usize::try_from(*size).unwrap_or(usize::MAX)) {
                None => found.missing.push(id.clone()),
                Some(size) if size > max_row_bytes => found.too_large.push((id.clone(), size)),
                Some(size) if bytes + size > max_bytes && !ids.is_empty() => found.later.push(id.clone()),
                Some(size) => {
                    bytes += size;
                    ids.push(id);
                }
            }
        }
        if !ids.is_empty() {
            let mut parameters = Parameters::default();
            let condition = source.has_id(ids.iter().copied(), &mut parameters);
            let send = format!("{}.{}_send", entry.tables.extension, entry.collection.definition.vector_type.name());
            let vector =
                if source.vector.is_empty() { "NULL::bytea".to_owned() } else { format!("{send}(d.embedding)") };
            let sql = format!(
                "-- read_claimed
                 SELECT d.id, d.text, d.metadata, {vector} FROM {documents} d WHERE {condition}"
            );
            let rows = connection.query_typed_raw(&sql, parameters.typed()).await?;
            // A row may have grown since.
            let most = 4 * (max_bytes.max(max_row_bytes) + ids.len() * entry.collection.definition.dimensions * 4);
            found.rows = collect_bounded(rows, most, |row| read_document(row, Some(3))).await?;
            let read: HashSet<&str> = found.rows.iter().map(|row| row.id.as_str()).collect();
            // Deleted since.
            found.missing.extend(ids.iter().filter(|id| !read.contains(**id)).map(|id| (*id).to_owned()));
        }
        connection.done();
        Ok(found)
    }

    /// Deletes the documents whose rows are missing. Returns how many there were.
    pub(crate) async fn delete_missing(
        &self,
        claim: &Claim,
        ids: Vec<String>,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        let count = ids.len();
        let mut retry = Retry::until(deadline);
        loop {
            match self.delete_own(&claim.entry, &Filter::Ids(ids.clone()), count, deadline).await {
                Err(StoreError::Conflict(_)) if retry.pause().await => {}
                deleted => return deleted,
            }
        }
    }

    /// Ends a claim: its rows are stored, or failed, or due again because they changed meanwhile.
    pub(crate) async fn finish_claim(&self, claim: &Claim, outcome: &Outcome) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- finish_claim
             WITH mine AS MATERIALIZED (
                 SELECT p.id, p.is_changed, f.error, p.id = ANY($6) AS is_later
                 FROM {internal}.pending p LEFT JOIN unnest($4::text[], $5::text[]) f(id, error) ON f.id = p.id
                 WHERE p.collection_id = $1 AND p.id = ANY($2) AND p.claim = $3
                 ORDER BY p.id FOR UPDATE OF p),
             done AS (
                 DELETE FROM {internal}.pending p USING mine m
                 WHERE p.collection_id = $1 AND p.id = m.id AND NOT (m.is_changed OR m.is_later) AND m.error IS NULL
                 RETURNING p.id),
             kept AS (
                 UPDATE {internal}.pending p
                 SET claim = NULL, error = CASE WHEN NOT m.is_changed THEN m.error END,
                     due_at = CASE WHEN NOT m.is_changed AND m.error IS NOT NULL THEN 'infinity' ELSE now() END
                 FROM mine m
                 WHERE p.collection_id = $1 AND p.id = m.id AND (m.is_changed OR m.is_later OR m.error IS NOT NULL)),
             {lost}
             SELECT FROM done",
            lost = lost(internal)
        );
        // By itself, so that it waits for nobody who holds rows, and first, so that nobody sees an old error once all is done.
        let done = claim.ids.len() - outcome.failed.len() - outcome.later.len();
        let succeeded = format!(
            "-- finish_claim
             UPDATE {internal}.follows
             SET {SUCCEEDED}, recent_at = now(),
                 recent_rows = recent_rows * exp(-extract(epoch FROM now() - recent_at)::float8 / {RATE_SECONDS}) + $2
             WHERE collection_id = $1"
        );
        let (failed, errors): (Vec<&str>, Vec<&str>) =
            outcome.failed.iter().map(|(id, error)| (id.as_str(), error.as_str())).unzip();
        let parameters: [&dyn Value; 6] =
            [&claim.collection().id, &claim.ids, &claim.number, &failed, &errors, &outcome.later];
        self.run_alone(&succeeded, &[&claim.collection().id, &(done as f64)]).await?;
        self.run_alone(&sql, &parameters).await
    }

    /// Gives the rows of a claim back after an error that has nothing to do with them, and pauses the collection.
    pub(crate) async fn release_claim(&self, claim: &Claim, error: &str) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- release_claim
             WITH mine AS (
                 UPDATE {internal}.pending SET claim = NULL, due_at = now(), failures = least(failures + 1, {ALONE})
                 WHERE collection_id = $1 AND id = ANY($2) AND claim = $3 RETURNING id),
             {lost}
             SELECT FROM mine",
            lost = lost(internal)
        );
        self.run_alone(&sql, &[&claim.collection().id, &claim.ids, &claim.number]).await?;
        self.note_failure(claim.collection().id, error).await
    }

    /// Notes why nothing can be done for a collection, which then pauses for a while.
    pub(super) async fn note_failure(&self, collection_id: i64, error: &str) -> Result<(), StoreError> {
        let internal = &self.inner.names.internal;
        let sql = format!(
            "-- note_failure
             UPDATE {internal}.follows
             SET failures = failures + 1, last_error = $2, leased_until = NULL,
                 retry_at = now() + least(2 ^ least(failures, 10), {MAX_PAUSE}) * interval '1 second'
             WHERE collection_id = $1"
        );
        self.run_alone(&sql, &[&collection_id, &error]).await
    }
}

/// SQL, part of a WITH: notes the rows of a claim `$2` that are not in `mine`. Another server has taken them over, and the
/// older state may have been stored after the newer one.
fn lost(internal: &str) -> String {
    format!(
        "lost AS (
             INSERT INTO {internal}.changes (collection_id, id)
             SELECT $1, c.id FROM unnest($2::text[]) c(id) WHERE c.id NOT IN (SELECT id FROM mine))"
    )
}
