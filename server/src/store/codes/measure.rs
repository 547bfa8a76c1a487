//! How many of the best codes hold the nearest, when codes are made and again when many vectors are new.
//!
//! Codes have the centre that the vectors had when they were made. If the vectors drift away from it, their codes become alike,
//! and more of them must be compared. Another set of codes with another centre then takes the place of this one.

use std::sync::Arc;

use tokio_postgres::Client;

use super::{CodeMaker, Codes, MAX_RERANK_CANDIDATES, MIN_ROWS, build::send};
use crate::{
    blocking::blocking,
    store::{Store, StoreError, catalog::Entry, tables::Tables, wire::VectorColumn},
};

/// Vectors that the centre and the number of candidates are found with.
const MAX_SAMPLE_ROWS: usize = 10_000;
const MAX_SAMPLE_BYTES: usize = 32 << 20;

/// Codes are measured again when this part of the vectors is new.
const NEW_PART: i64 = 5;
/// Other codes are made if those in use need this many times as many candidates.
const WORTHWHILE: usize = 2;

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

    /// How many of the best codes to compare.
    pub(super) async fn measure(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<usize, StoreError> {
        let sample = self.sample_vectors(client, entry).await?;
        let maker = Arc::clone(&codes.maker);
        let measured = blocking(move || candidates(&maker, &sample)).await;
        measured.map_err(|error| StoreError::Internal(error.to_string()))
    }

    /// Measures codes in use again. Returns whether others with another centre should take their place.
    pub(super) async fn is_outdated(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<bool, StoreError> {
        let Tables { embeddings, internal, .. } = &entry.tables;
        let inserted = format!("-- measure_codes\n SELECT {INSERTED}('{embeddings}'::regclass)");
        let inserted: i64 = client.query_one(&inserted, &[]).await?.get(0);
        let sample = self.sample_vectors(client, entry).await?;
        if sample.is_empty() {
            return Ok(false);
        }
        let maker = Arc::clone(&codes.maker);
        let measured =
            blocking(move || (candidates(&maker, &sample), candidates(&maker.renewed(&sample), &sample))).await;
        let (needed, renewed) = measured.map_err(|error| StoreError::Internal(error.to_string()))?;
        let collection = &entry.collection.definition.name;
        tracing::info!(collection, needed, renewed, "measured the codes of its vectors again");
        if needed >= WORTHWHILE * renewed {
            return Ok(true);
        }
        let sql =
            format!("-- measure_codes\n UPDATE {internal}.codes SET candidates = $2, measured = $3 WHERE id = $1");
        client.execute(&sql, &[&codes.id, &(needed as i32), &inserted]).await?;
        self.revise(client, entry).await?;
        Ok(false)
    }
}

/// How many of the best codes hold 95 % of the 10 nearest, and some more for what a sample does not show.
fn candidates(maker: &CodeMaker, sample: &[Vec<f32>]) -> usize {
    const QUERIES: usize = 100;
    const NEAREST: usize = 10;
    const SHARE: f64 = 0.97;
    const MIN_CANDIDATES: usize = 100;
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
