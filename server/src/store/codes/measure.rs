//! How many of the best codes hold the nearest, and in which cells, when codes are made and again when many vectors are new.
//!
//! Codes have the centre that the vectors had when they were made. If the vectors drift away from it, their codes become alike,
//! and more of them must be compared. Another set of codes with another centre then takes the place of this one.

use std::sync::Arc;

use tokio_postgres::{Client, types::ToSql};

use super::{CodeMaker, Codes, MAX_RERANK_CANDIDATES, MIN_ROWS, Measured, build::send, cells::Cells, reach};
use crate::{
    blocking::blocking,
    store::{Store, StoreError, catalog::Entry, tables::Tables, wire::VectorColumn},
};

/// Vectors that the centre and the number of candidates are found with.
const MAX_SAMPLE_ROWS: usize = 20_000;
const MAX_SAMPLE_BYTES: usize = 32 << 20;

/// Codes are measured again when this part of the vectors is new.
const NEW_PART: i64 = 5;
/// Other codes are made if those in use need this many times as many candidates.
const WORTHWHILE: usize = 2;
/// They are made, too, if the vectors are worth this many times as many cells.
const MORE_CELLS: usize = 4;

/// SQL: the function that counts the rows that were ever inserted into a table. pgfox inserts a vector that has changed.
pub(super) const INSERTED: &str = "pg_stat_get_tuples_inserted";

/// SQL: whether many of the vectors of a collection `c` with the embedding space `s` are newer than the last measurement of its
/// codes `k`. Postgres can lose the counter, so that a smaller one means the same.
pub(super) fn is_due(internal: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_class e
                 WHERE e.oid = to_regclass(format('%s.embeddings_%s_%s', '{internal}', c.id, s.id)) AND k.state = 'ready'
                   AND abs({INSERTED}(e.oid) - k.measured) > greatest(e.reltuples, {MIN_ROWS}) / {NEW_PART})"
    )
}

impl Store {
    /// A sample of the vectors, from all parts of the table.
    pub(super) async fn sample_vectors(&self, client: &Client, entry: &Entry) -> Result<Vec<Vec<f32>>, StoreError> {
        let embeddings = &entry.tables.embeddings;
        let dimensions = entry.collection.definition.dimensions;
        let rows = MAX_SAMPLE_ROWS.min(MAX_SAMPLE_BYTES / (4 * dimensions)) as i64;
        let sql = format!(
            "-- sample_vectors
             SELECT least(100, 120 * $1::float8 / greatest(reltuples, 1)) FROM pg_class
             WHERE oid = '{embeddings}'::regclass"
        );
        let percent: f64 = client.query_one(&sql, &[&(rows as f64)]).await?.get(0);
        let sql = format!(
            "-- sample_vectors
             SELECT {send}(e.embedding) FROM {embeddings} e TABLESAMPLE SYSTEM ({percent}) LIMIT $1",
            send = send(entry)
        );
        let rows = client.query(&sql, &[&rows]).await?;
        rows.iter().map(|row| Ok(row.try_get::<_, VectorColumn>(0)?.0)).collect()
    }

    /// How many vectors Postgres expects in the table, which it may have analyzed before the last of them came.
    pub(super) async fn expected_vectors(&self, client: &Client, entry: &Entry) -> Result<f64, StoreError> {
        let sql = format!(
            "-- expected_vectors
             SELECT greatest(reltuples, pg_stat_get_live_tuples(oid), 0)::float8 FROM pg_class WHERE oid = '{}'::regclass",
            entry.tables.embeddings
        );
        Ok(client.query_one(&sql, &[]).await?.get(0))
    }

    /// Measures codes before their first use.
    pub(super) async fn measure(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<Measured, StoreError> {
        let sample = Arc::new(self.sample_vectors(client, entry).await?);
        let (maker, of) = (Arc::clone(&codes.maker), Arc::clone(&sample));
        let candidates = blocking(move || candidates(&maker, &of)).await;
        let candidates = candidates.map_err(|error| StoreError::Internal(error.to_string()))?;
        let vectors = self.expected_vectors(client, entry).await?;
        reach::measure(client, entry, codes, candidates, vectors, &sample).await
    }

    /// Measures codes in use again. Returns whether others with another centre should take their place.
    pub(super) async fn is_outdated(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<bool, StoreError> {
        let Tables { embeddings, internal, .. } = &entry.tables;
        let inserted = format!("-- measure_codes\n SELECT {INSERTED}('{embeddings}'::regclass)");
        let inserted: i64 = client.query_one(&inserted, &[]).await?.get(0);
        let sample = Arc::new(self.sample_vectors(client, entry).await?);
        if sample.is_empty() {
            return Ok(false);
        }
        let (maker, of) = (Arc::clone(&codes.maker), Arc::clone(&sample));
        let measured = blocking(move || (candidates(&maker, &of), candidates(&maker.renewed(&of), &of))).await;
        let (needed, renewed) = measured.map_err(|error| StoreError::Internal(error.to_string()))?;
        let collection = &entry.collection.definition.name;
        let vectors = self.expected_vectors(client, entry).await?;
        let cells = Cells::count_for(vectors, entry.collection.definition.dimensions);
        tracing::info!(collection, needed, renewed, cells, "measured the codes of its vectors again");
        if needed >= WORTHWHILE * renewed || cells >= MORE_CELLS * codes.maker.cells().count() {
            return Ok(true);
        }
        let Measured { candidates, margin, slack, share, vectors } =
            reach::measure(client, entry, codes, needed, vectors, &sample).await?;
        let sql = format!(
            "-- measure_codes
             UPDATE {internal}.codes SET candidates = $2, margin = $3, slack = $4, share = $5, vectors = $6,
                 measured = $7
             WHERE id = $1"
        );
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&codes.id, &(candidates as i32), &margin, &slack, &share, &vectors, &inserted];
        client.execute(&sql, &parameters).await?;
        self.revise(client, entry).await?;
        Ok(false)
    }
}

/// How many of the best codes hold 95 % of the 10 nearest, and some more for what a sample does not show.
fn candidates(maker: &CodeMaker, sample: &[Vec<f32>]) -> usize {
    const QUERIES: usize = 100;
    const NEAREST: usize = 10;
    const SHARE: f64 = 0.97;
    const MIN_CANDIDATES: usize = 150;
    let codes: Vec<_> = sample.iter().map(|vector| maker.code(vector)).collect();
    let mut positions = Vec::with_capacity(QUERIES * NEAREST);
    for (number, query) in sample.iter().enumerate().step_by(sample.len().div_ceil(QUERIES).max(1)) {
        let code = maker.query(query);
        // Without the query itself, whose code is always the best.
        let others = || (0..sample.len()).filter(|row| *row != number);
        let estimates: Vec<f64> = others().map(|row| maker.estimate(&code, &codes[row])).collect();
        let mut distances: Vec<(f64, usize)> =
            others().map(|row| maker.distance(query, &sample[row])).zip(0..).collect();
        distances.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (_, row) in distances.iter().take(NEAREST) {
            positions.push(estimates.iter().filter(|estimate| **estimate < estimates[*row]).count() + 1);
        }
    }
    positions.sort_unstable();
    let at = (positions.len() as f64 * SHARE) as usize;
    positions
        .get(at)
        .map_or(MIN_CANDIDATES, |position| (*position).clamp(MIN_CANDIDATES, MAX_RERANK_CANDIDATES as usize))
}
