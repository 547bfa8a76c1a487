//! How far a search looks: how many candidates it compares, and which cells it reads.
//!
//! Estimates miss the true distance by about the same, so a search compares what may be as near as the last of its results.
//! That is little if few are near.
//!
//! A search takes the first codes that match, in the order of the cells, and expects nothing better in cells that are much
//! farther away than the last of its results among these. How much farther is measured by searches of all codes.

use std::collections::HashMap;

use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{Codes, MAX_RERANK_CANDIDATES, Measured, cells::UNKNOWN_CELL, first_matches};
use crate::store::{
    StoreError,
    catalog::Entry,
    tables::Tables,
    wire::{Bits, VectorValue},
};

const QUERIES: usize = 30;
/// Results of a search.
const NEAREST: usize = 10;
/// This part of the nearest are among the candidates.
const FOUND_BY_CODE: f64 = 0.97;
/// This part of the nearest have an estimate within the margin.
const FOUND_BY_ESTIMATE: f64 = 0.99;
/// This part of the nearest are in cells that are read.
const FOUND_BY_CELL: f64 = 0.98;
/// The nearest are looked for among so many of the best codes, or twice as many as the sample needs.
const MIN_COMPARED: usize = 1_000;

/// What matches in a search.
#[derive(Clone, Copy)]
enum Matches {
    Everything,
    /// Half of the cells, and none of the nearest: then the results lie in many cells.
    Far,
}

impl Matches {
    /// The cells that match, from all of them, which are in order.
    fn among(self, cells: impl Iterator<Item = (i16, f64)>, count: usize) -> Vec<(i16, f64)> {
        const NEAR: usize = 64;
        match self {
            Self::Everything => cells.collect(),
            Self::Far => cells.skip(count.div_ceil(NEAR)).step_by(2).collect(),
        }
    }

    /// How many results are the query itself, which is a stored vector.
    fn themselves(self) -> i64 {
        i64::from(matches!(self, Self::Everything))
    }
}

/// A search of all codes that match.
struct Searched {
    /// The score of each cell that matches, and the number of its codes.
    cells: Vec<(f64, i64)>,
    /// The estimate of the last result among the first matches.
    last: f64,
    /// What the estimate grows by with the slack.
    unit: f64,
    nearest: Vec<Nearest>,
}

impl Searched {
    /// The part of the codes that a search with this slack reads.
    fn share(&self, slack: f64) -> f64 {
        let limit = self.last + slack * self.unit;
        let codes = |limit: f64| -> i64 {
            self.cells.iter().filter(|(score, _)| *score <= limit).map(|(_, codes)| codes).sum()
        };
        codes(limit) as f64 / codes(f64::INFINITY).max(1) as f64
    }
}

/// What one of the nearest needs to be found.
struct Nearest {
    candidates: f64,
    margin: f64,
    slack: f64,
}

/// So much that this part of the nearest need no more.
fn enough_for(part: f64, searched: &[Searched], needed: fn(&Nearest) -> f64) -> f64 {
    let mut needed: Vec<f64> = searched.iter().flat_map(|searched| searched.nearest.iter().map(needed)).collect();
    needed.sort_unstable_by(f64::total_cmp);
    needed.get((needed.len() as f64 * part) as usize).map_or(f64::MAX, |enough| enough.clamp(0.0, f64::MAX))
}

/// Measures how far searches must look among so many vectors, if the sample alone needs so many `candidates`. All codes are
/// more than the sample, and what is far from the query is harder to tell apart.
pub(super) async fn measure(
    client: &Client,
    entry: &Entry,
    codes: &Codes,
    candidates: usize,
    vectors: f64,
    sample: &[Vec<f32>],
) -> Result<Measured, StoreError> {
    let sql = format!("-- measure_reach\n SELECT cell, count(*) FROM {} GROUP BY cell", codes.table);
    let sizes: HashMap<i16, i64> = client.query(&sql, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let searches = Searches {
        client,
        statement: client.prepare(&search_sql(entry, codes)).await?,
        entry,
        codes,
        candidates,
        sizes,
    };
    let kinds: &[Matches] =
        if codes.has_cells() { &[Matches::Everything, Matches::Far] } else { &[Matches::Everything] };
    let mut measured = Measured { candidates, margin: 0.0, slack: 0.0, share: 1.0, vectors };
    for matches in kinds {
        let mut searched = Vec::new();
        for query in sample.iter().step_by(sample.len().div_ceil(QUERIES).max(1)) {
            searched.extend(searches.run(query, *matches).await?);
        }
        if searched.is_empty() {
            // Searches read and compare all of so few.
            return Ok(Measured { margin: f64::MAX, slack: f64::MAX, share: 1.0, ..measured });
        }
        let needed = enough_for(FOUND_BY_CODE, &searched, |nearest| nearest.candidates) as usize;
        measured.candidates = needed.clamp(measured.candidates, MAX_RERANK_CANDIDATES as usize);
        measured.margin = measured.margin.max(enough_for(FOUND_BY_ESTIMATE, &searched, |nearest| nearest.margin));
        measured.slack = measured.slack.max(enough_for(FOUND_BY_CELL, &searched, |nearest| nearest.slack));
        let shares: f64 = searched.iter().map(|searched| searched.share(measured.slack)).sum();
        measured.share = shares / searched.len() as f64;
    }
    Ok(measured)
}

/// Returns the cell of each of the nearest, the place of its code among the best, how much worse its estimate is than that of
/// the last result, and the estimate of the last result among the first matches.
fn search_sql(entry: &Entry, codes: &Codes) -> String {
    let (Tables { embeddings, extension, .. }, table) = (&entry.tables, &codes.table);
    let estimate = codes.maker.sql(extension, "$2", "$3::float8");
    let operator = entry.collection.definition.distance.operator();
    format!(
        "-- measure_reach
         WITH first AS MATERIALIZED (
             SELECT {estimate} AS estimate
             FROM unnest($1::smallint[]) n (cell) CROSS JOIN LATERAL (
                 SELECT c.code, c.norm FROM {table} c WHERE c.cell = n.cell OFFSET 0) c
             LIMIT $4),
         candidates AS MATERIALIZED (
             SELECT c.document_key, c.chunk, c.cell, {estimate} AS estimate
             FROM {table} c WHERE c.cell = ANY($1) ORDER BY estimate LIMIT $5),
         ranked AS (SELECT *, rank() OVER (ORDER BY estimate) AS rank FROM candidates)
         SELECT k.cell, k.rank - $6,
                k.estimate - (SELECT estimate FROM candidates ORDER BY estimate OFFSET $6::bigint + {NEAREST} - 1 LIMIT 1),
                (SELECT estimate FROM first ORDER BY estimate OFFSET $6::bigint + {NEAREST} - 1 LIMIT 1)
         FROM ranked k JOIN {embeddings} e ON e.document_key = k.document_key AND e.chunk = k.chunk
         ORDER BY e.embedding OPERATOR({extension}.{operator}) $7 OFFSET $6 LIMIT {NEAREST}"
    )
}

/// Searches of all codes.
struct Searches<'a> {
    client: &'a Client,
    statement: Statement,
    entry: &'a Entry,
    codes: &'a Codes,
    candidates: usize,
    /// How many codes each cell has.
    sizes: HashMap<i16, i64>,
}

impl Searches<'_> {
    /// `None`: too few match.
    async fn run(&self, query: &[f32], matches: Matches) -> Result<Option<Searched>, StoreError> {
        let maker = &self.codes.maker;
        let code = maker.query(query);
        let unit = maker.unit(&code);
        let cells = code.cells.iter().copied().zip(code.scores.iter().copied());
        let known = cells.filter(|(cell, _)| *cell != UNKNOWN_CELL);
        let matching = matches.among(known, maker.cells().count());
        let cells: Vec<i16> = matching.iter().map(|(cell, _)| *cell).collect();
        let vector = VectorValue { values: query, vector_type: self.entry.collection.definition.vector_type };
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &cells,
            &Bits(&code.bits[..]),
            &maker.weight(&code),
            &(first_matches(self.candidates) as i64),
            &((2 * self.candidates).max(MIN_COMPARED) as i64),
            &matches.themselves(),
            &vector,
        ];
        let rows = self.client.query(&self.statement, &parameters).await?;
        let last = rows.first().and_then(|row| row.get::<_, Option<f64>>(3));
        let Some(last) = last.filter(|last| last.is_finite() && unit > 0.0) else { return Ok(None) };
        let scores: HashMap<i16, f64> = matching.iter().copied().collect();
        let size = |cell: i16| self.sizes.get(&cell).copied().unwrap_or(0);
        let nearest = |row: &Row| Nearest {
            candidates: row.get::<_, i64>(1) as f64,
            margin: row.get::<_, Option<f64>>(2).unwrap_or(0.0) / unit,
            slack: (scores[&row.get::<_, i16>(0)] - last) / unit,
        };
        Ok(Some(Searched {
            cells: matching.iter().map(|(cell, score)| (*score, size(*cell))).collect(),
            last,
            unit,
            nearest: rows.iter().map(nearest).collect(),
        }))
    }
}
