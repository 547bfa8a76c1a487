//! The job that makes a set of codes: in batches, while searches and writes continue.
//!
//! A row of `codes` in the state 'building' is the job. It has a table and triggers from its beginning. So the table has
//! what is written meanwhile, and the job adds what is older. Searches use the codes when every vector has one and the
//! indexes are ready.

use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    Code, CodeMaker, CodeRows, Codes, MAX_FIELDS, MIN_ROWS, Measured,
    cells::{Cells, UNKNOWN_CELL},
    measure::{INSERTED, is_due},
    read_fields, table, unknown,
};
use crate::{
    blocking::blocking,
    store::{
        Store, StoreError,
        catalog::Entry,
        indexes::{is_interruption, metadata_key},
        tables::{is_metadata_index_valid, is_valid},
        transaction::Transaction,
        wire::VectorColumn,
    },
};

/// Bytes of vectors in a batch.
const BATCH_BYTES: usize = 4 << 20;
const MAX_BATCH_ROWS: usize = 2_000;

/// Codes stay until a collection has fewer vectors, so that a number near [`MIN_ROWS`] does not make them again and again.
const KEPT_ROWS: i64 = MIN_ROWS / 2;
/// `pg_class.reltuples` until Postgres counts.
const UNKNOWN_ROWS: i64 = -1;

/// SQL: whether an embedding space `s` has too many dimensions for a vector index.
/// [`VectorType::max_indexed_dimensions`](crate::store::VectorType::max_indexed_dimensions) says the same.
const UNINDEXABLE: &str = "s.dimensions > CASE s.vector_type WHEN 'halfvec' THEN 4000 ELSE 2000 END";

/// SQL: the fields for which a collection `c` with the embedding space `s` should have codes, as `codes.fields` has them.
/// Null if it should have no codes: without a vector index, only vectors that cannot have one have codes. `has_codes` says
/// the same of paths.
fn wanted_fields(internal: &str) -> String {
    format!(
        "(SELECT CASE WHEN EXISTS (SELECT FROM {internal}.indexes i
                                   WHERE i.space_id = s.id AND i.state = 'ready' AND {is_valid}) THEN n.fields
                      WHEN {UNINDEXABLE} THEN coalesce(n.fields, '[]') END
          FROM (
          SELECT jsonb_agg(jsonb_build_array(f.type, f.path) ORDER BY f.type, f.path) AS fields
          FROM (SELECT DISTINCT m.type, m.path FROM {internal}.metadata_indexes m
                WHERE m.collection_id = c.id AND m.ready AND m.type <> 'gin'
                  AND NOT EXISTS (SELECT FROM unnest(m.path) WITH ORDINALITY p (key, number)
                                  WHERE p.number > 1 AND p.key ~ '[0-9]$')
                  AND {is_metadata_valid}
                ORDER BY m.type, m.path LIMIT {MAX_FIELDS}) f) n
          WHERE s.distance <> 'l1'
            AND EXISTS (SELECT FROM pg_class t
                        WHERE t.oid = to_regclass(format('%s.embeddings_%s_%s', '{internal}', c.id, s.id))
                          AND (t.reltuples >= {MIN_ROWS}
                               OR (t.reltuples >= {KEPT_ROWS} OR t.reltuples = {UNKNOWN_ROWS})
                                  AND EXISTS (SELECT FROM {internal}.codes h
                                              WHERE h.space_id = s.id AND h.state <> 'failed'))))",
        is_metadata_valid = is_metadata_index_valid(internal),
        is_valid = is_valid(internal),
    )
}

/// SQL: whether the codes of an embedding space `s` could not be made, less than an hour ago.
fn has_failed(internal: &str) -> String {
    format!(
        "EXISTS (SELECT FROM {internal}.codes f
                 WHERE f.space_id = s.id AND f.state = 'failed' AND f.created_at > now() - interval '1 hour')"
    )
}

/// SQL: the ids of collections whose codes are not what they should be. Not for an hour after a failure.
pub(in crate::store) fn collections_without(internal: &str) -> String {
    format!(
        "SELECT c.id
         FROM {internal}.collections c JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
         LEFT JOIN {internal}.codes k ON k.space_id = s.id AND k.state = 'ready'
         WHERE (k.id IS NOT NULL
                OR {UNINDEXABLE}
                OR EXISTS (SELECT FROM {internal}.metadata_indexes m WHERE m.collection_id = c.id AND m.type <> 'gin'))
           AND ({wanted} IS DISTINCT FROM k.fields
                OR {is_due}
                OR EXISTS (SELECT FROM {internal}.codes b WHERE b.space_id = s.id AND b.state = 'building'))
           AND NOT {has_failed}",
        wanted = wanted_fields(internal),
        is_due = is_due(internal),
        has_failed = has_failed(internal),
    )
}

impl Store {
    /// Makes the codes that the declared fields of a collection need, and drops others. Does nothing while another session
    /// works on them or on its metadata indexes.
    pub(in crate::store) async fn make_codes(&self, collection_id: i64) -> Result<(), StoreError> {
        let Some(entry) = self.find_entry("c.id = $1", collection_id).await? else { return Ok(()) };
        let Some(session) = self.lock_session(metadata_key(collection_id)).await? else { return Ok(()) };
        let work = self.make_codes_in(&session.client, &entry);
        self.supervise(session.pid_and_key(), work).await
    }

    async fn make_codes_in(&self, client: &Client, entry: &Entry) -> Result<(), StoreError> {
        let (collection, internal) = (&entry.collection, &entry.tables.internal);
        table::drop_unregistered(client, entry).await?;
        let sql = format!(
            "-- make_codes
             SELECT k.id, k.state = 'ready' AS ready, k.fields = w.fields AS wanted, w.fields::text AS fields,
                    {has_failed} AS paused, {is_due} AS due
             FROM {internal}.collections c JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
             CROSS JOIN LATERAL (SELECT {wanted} AS fields) w
             LEFT JOIN {internal}.codes k ON k.space_id = s.id AND k.state <> 'failed'
             WHERE c.id = $1 ORDER BY k.state = 'ready'",
            wanted = wanted_fields(internal),
            has_failed = has_failed(internal),
            is_due = is_due(internal),
        );
        let mut building = None;
        let mut ready = None;
        let mut wanted = None;
        let mut is_paused = false;
        for row in client.query(&sql, &[&collection.id]).await? {
            wanted = row.get::<_, Option<String>>("fields");
            is_paused = row.get("paused");
            let Some(id) = row.get::<_, Option<i64>>("id") else { continue };
            match (row.get("ready"), row.get::<_, Option<bool>>("wanted") == Some(true)) {
                (true, is_wanted) => ready = Some((id, is_wanted, row.get("due"))),
                (false, true) => building = Some(id),
                (false, false) => self.forget_codes(client, entry, id).await?,
            }
        }
        let Some(wanted) = wanted else {
            for codes in &entry.codes {
                self.forget_codes(client, entry, codes.id).await?;
            }
            return table::drop_unregistered(client, entry).await;
        };
        if let Some((id, is_wanted, is_due)) = ready {
            let Some(codes) = entry.codes.iter().find(|codes| codes.id == id) else { return Ok(()) };
            let is_renewed =
                building.is_some() || is_due && !is_paused && self.is_outdated(client, entry, codes).await?;
            // Searches use it until another one is ready. After the measurement, because a search that finds rows without a code
            // meanwhile starts no other job.
            self.fill_gaps(client, entry, codes).await?;
            if is_wanted && !is_renewed {
                return Ok(());
            }
        }
        if is_paused {
            return Ok(());
        }
        let begun = match building {
            Some(id) => Ok(Some(id)),
            None => self.begin_codes(client, entry, &wanted).await,
        };
        let (id, made) = match begun {
            Ok(Some(id)) => (Some(id), self.complete_codes(client, collection.id, id).await),
            // There are no vectors.
            Ok(None) => return Ok(()),
            Err(error) => (None, Err(error)),
        };
        match made {
            Ok(()) => {}
            Err(error) if is_interruption(&error) => return Err(error),
            Err(error) => self.fail_codes(client, entry, id, &wanted, &error).await?,
        }
        table::drop_unregistered(client, entry).await
    }

    /// Records why codes could not be made: those with this id, or those that could not even be begun.
    async fn fail_codes(
        &self,
        client: &Client,
        entry: &Entry,
        id: Option<i64>,
        fields: &str,
        error: &StoreError,
    ) -> Result<(), StoreError> {
        let (collection, internal) = (&entry.collection, &entry.tables.internal);
        let message = error.to_string();
        let record = async {
            let sql = format!("-- fail_codes\n DELETE FROM {internal}.codes WHERE space_id = $1 AND state = 'failed'");
            client.execute(&sql, &[&collection.space_id]).await?;
            let failed = match id {
                Some(id) => {
                    let sql = format!(
                        "-- fail_codes
                         UPDATE {internal}.codes SET state = 'failed', error = $2, created_at = now()
                         WHERE id = $1 AND state = 'building'"
                    );
                    client.execute(&sql, &[&id, &message]).await?
                }
                None => {
                    let sql = format!(
                        "-- fail_codes
                         INSERT INTO {internal}.codes (space_id, fields, centre, seed, state, error)
                         VALUES ($1, $2::text::jsonb, '{{}}', 0, 'failed', $3)"
                    );
                    client.execute(&sql, &[&collection.space_id, &fields, &message]).await?
                }
            };
            Ok(failed)
        };
        // Otherwise somebody stopped the job.
        if Transaction::read_write(client).run(record).await? > 0 {
            let collection = &collection.definition.name;
            tracing::error!(collection, "codes of vectors could not be made: {}", error.detail());
        }
        self.revise(client, entry).await
    }

    /// Removes a set of codes from the registry. Its table is a leftover then.
    async fn forget_codes(&self, client: &Client, entry: &Entry, id: i64) -> Result<(), StoreError> {
        let sql = format!("-- forget_codes\n DELETE FROM {}.codes WHERE id = $1", entry.tables.internal);
        client.execute(&sql, &[&id]).await?;
        self.revise(client, entry).await
    }

    /// Makes every server read the collection again.
    pub(super) async fn revise(&self, client: &Client, entry: &Entry) -> Result<(), StoreError> {
        let internal = &entry.tables.internal;
        let sql = format!("-- revise\n UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
        client.execute(&sql, &[&entry.collection.id]).await?;
        self.forget(&entry.collection.definition.name);
        Ok(())
    }

    /// Records a set of codes for fields, if there are vectors, whose mean is its centre.
    async fn begin_codes(&self, client: &Client, entry: &Entry, fields: &str) -> Result<Option<i64>, StoreError> {
        let fields = read_fields(serde_json::from_str(fields).map_err(|_| unknown())?)?;
        let sample = self.sample_vectors(client, entry).await?;
        if sample.is_empty() {
            return Ok(None);
        }
        let definition = &entry.collection.definition;
        let (distance, dimensions) = (definition.distance, definition.dimensions);
        let cells = Cells::count_for(self.expected_vectors(client, entry).await?, dimensions);
        let made = blocking(move || CodeMaker::of(distance, rand::random(), &sample, cells)).await;
        let maker = made.map_err(|error| StoreError::Internal(error.to_string()))?;
        let id = table::NewCodes { fields: &fields, maker }.create(client, entry).await?;
        self.forget(&entry.collection.definition.name);
        Ok(Some(id))
    }

    /// Makes the codes that are missing, then the indexes, and lets searches use them. Ends early if it must give way.
    async fn complete_codes(&self, client: &Client, collection_id: i64, id: i64) -> Result<(), StoreError> {
        // Read again, with the set of codes that may just have begun.
        let Some(entry) = self.find_entry("c.id = $1", collection_id).await? else { return Ok(()) };
        let Some(codes) = entry.codes.iter().find(|codes| codes.id == id) else { return Ok(()) };
        let collection = &entry.collection.definition.name;
        tracing::info!(collection, "making codes of its vectors");
        if !self.fill(client, &entry, codes).await? || !self.fill_gaps(client, &entry, codes).await? {
            return Ok(());
        }
        for index in (1..=codes.fields.len()).flat_map(|number| codes.indexes(number)) {
            if !self.may_continue(client, &entry, codes).await? {
                return Ok(());
            }
            codes.create_index(client, &entry.tables, index).await?;
        }
        if !self.may_continue(client, &entry, codes).await? {
            return Ok(());
        }
        let tables: Vec<String> = codes.numbers(true).map(|number| codes.list_table(number)).collect();
        for table in [&codes.table].into_iter().chain(&tables) {
            client.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
        }
        let measured = self.measure(client, &entry, codes).await?;
        // What came without a code meanwhile.
        if self.fill_gaps(client, &entry, codes).await? {
            self.publish_codes(client, &entry, codes, measured).await?;
            let Measured { candidates, margin, slack, share, .. } = measured;
            tracing::info!(collection, candidates, margin, slack, share, "searches use codes of its vectors");
        }
        Ok(())
    }

    /// Whether the codes are still registered, and no change of metadata indexes waits for the session.
    async fn may_continue(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<bool, StoreError> {
        let internal = &entry.tables.internal;
        let sql = format!(
            "-- may_continue
             SELECT FROM {internal}.codes k
             WHERE k.id = $1
               AND NOT EXISTS (SELECT FROM {internal}.metadata_index_jobs j
                               WHERE j.collection_id = $2 AND j.state = 'running')"
        );
        Ok(client.query_opt(&sql, &[&codes.id, &entry.collection.id]).await?.is_some())
    }

    /// Makes the codes of the vectors that are older than the table, in the order of their keys. Then each vector has a row.
    /// Returns false if the job must give way.
    async fn fill(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<bool, StoreError> {
        let internal = &entry.tables.internal;
        let sql = format!("-- fill_codes\n SELECT document_key, chunk FROM {internal}.codes WHERE id = $1");
        let Some(row) = client.query_opt(&sql, &[&codes.id]).await? else { return Ok(false) };
        let (mut document, mut chunk): (i64, i32) = (row.get(0), row.get(1));
        let next = format!(
            "-- fill_codes
             SELECT e.document_key, e.chunk, {send}(e.embedding) FROM {embeddings} e
             WHERE (e.document_key, e.chunk) > ($1, $2) ORDER BY e.document_key, e.chunk LIMIT $3",
            send = send(entry),
            embeddings = entry.tables.embeddings,
        );
        let next = client.prepare(&next).await?;
        let advance =
            format!("-- fill_codes\n UPDATE {internal}.codes SET document_key = $2, chunk = $3 WHERE id = $1");
        let mut filled = 0_u64;
        loop {
            if !self.may_continue(client, entry, codes).await? {
                return Ok(false);
            }
            // This can take hours, and searches still use the other one.
            for ready in entry.codes.iter().filter(|codes| codes.is_ready) {
                self.fill_gaps(client, entry, ready).await?;
            }
            let rows = client.query(&next, &[&document, &chunk, &batch_rows(entry)]).await?;
            let Some(last) = rows.last() else { return Ok(true) };
            (document, chunk) = (last.get(0), last.get(1));
            let made = make(codes, &rows).await?;
            let write = async {
                with_keys(&rows, &made).insert_missing(client, entry, codes).await?;
                Ok(client.execute(&advance, &[&codes.id, &document, &chunk]).await?)
            };
            Transaction::read_write(client).run(write).await?;
            let before = filled;
            filled += rows.len() as u64;
            const SAY_EVERY: u64 = 100_000;
            if before / SAY_EVERY != filled / SAY_EVERY {
                let collection = &entry.collection.definition.name;
                tracing::info!(collection, vectors = filled, "making codes of its vectors");
            }
        }
    }

    /// Makes the codes of rows without one. Returns false if the job must give way.
    async fn fill_gaps(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<bool, StoreError> {
        /// Rounds that make no code, because all of the rows have changed meanwhile.
        const MAX_VAIN_ROUNDS: usize = 1_000;
        let sql = format!(
            "-- fill_gaps
             SELECT c.document_key, c.chunk, {send}(e.embedding), c.xmin::text::bigint
             FROM {table} c JOIN {embeddings} e ON e.document_key = c.document_key AND e.chunk = c.chunk
             WHERE c.cell = {UNKNOWN_CELL} LIMIT $1",
            send = send(entry),
            embeddings = entry.tables.embeddings,
            table = codes.table,
        );
        let mut vain_rounds = 0;
        while vain_rounds < MAX_VAIN_ROUNDS {
            if !self.may_continue(client, entry, codes).await? {
                return Ok(false);
            }
            let rows = client.query(&sql, &[&batch_rows(entry)]).await?;
            if rows.is_empty() {
                return Ok(true);
            }
            let made = make(codes, &rows).await?;
            let versions: Vec<i64> = rows.iter().map(|row| row.get(3)).collect();
            let batch = with_keys(&rows, &made);
            let filled = Transaction::read_write(client).run(batch.fill_unchanged(client, codes, &versions)).await?;
            vain_rounds += usize::from(filled == 0);
        }
        Err(StoreError::unavailable("vectors change faster than their codes are made"))
    }

    async fn publish_codes(
        &self,
        client: &Client,
        entry: &Entry,
        codes: &Codes,
        measured: Measured,
    ) -> Result<(), StoreError> {
        let internal = &entry.tables.internal;
        let sql = format!(
            "-- publish_codes
             WITH old AS (DELETE FROM {internal}.codes o
                          WHERE o.space_id = $2 AND o.state <> 'building'
                            AND EXISTS (SELECT FROM {internal}.codes n WHERE n.id = $1 AND n.state = 'building'))
             UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $3"
        );
        let publish = format!(
            "-- publish_codes
             UPDATE {internal}.codes SET state = 'ready', candidates = $2, margin = $3, slack = $4, share = $5, vectors = $6,
                 measured = {INSERTED}('{embeddings}'::regclass)
             WHERE id = $1 AND state = 'building'",
            embeddings = entry.tables.embeddings,
        );
        let published = async {
            client.execute(&sql, &[&codes.id, &entry.collection.space_id, &entry.collection.id]).await?;
            let Measured { candidates, margin, slack, share, vectors } = measured;
            let parameters: [&(dyn ToSql + Sync); 6] =
                [&codes.id, &(candidates as i32), &margin, &slack, &share, &vectors];
            Ok(client.execute(&publish, &parameters).await?)
        };
        Transaction::read_write(client).run(published).await?;
        self.forget(&entry.collection.definition.name);
        Ok(())
    }
}

pub(super) fn send(entry: &Entry) -> String {
    format!("{}.{}_send", entry.tables.extension, entry.collection.definition.vector_type.name())
}

fn batch_rows(entry: &Entry) -> i64 {
    (BATCH_BYTES / (4 * entry.collection.definition.dimensions)).clamp(1, MAX_BATCH_ROWS) as i64
}

/// The codes of rows `(document_key, chunk, vector, ...)`.
async fn make(codes: &Codes, rows: &[Row]) -> Result<Vec<Code>, StoreError> {
    let mut made = Vec::with_capacity(rows.len());
    for row in rows {
        made.push(codes.maker.code(&row.try_get::<_, VectorColumn>(2)?.0));
        // Other tasks of this thread take their turn.
        tokio::task::consume_budget().await;
    }
    Ok(made)
}

fn with_keys<'a>(rows: &[Row], made: &'a [Code]) -> CodeRows<'a> {
    let mut batch = CodeRows::default();
    rows.iter().zip(made).for_each(|(row, code)| batch.push(row.get(0), row.get(1), code));
    batch
}
