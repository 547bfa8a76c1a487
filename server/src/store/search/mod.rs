//! Search: what is looked for, how often Postgres is asked, and what the result stands for.

mod explain;
mod run;
mod statement;
mod words;
mod writer;

use std::time::{Duration, Instant};

use super::{Collection, Filter, Store, StoreError, StoredDocument, catalog::Entry};
use run::Run;
use statement::Reach;

pub(crate) use explain::Explanation;
pub(super) use statement::SearchStatements;
pub(crate) use words::Words;

/// What to look for.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// What is nearest to a vector.
    Nearest(Vec<f32>),
    /// What has words in it.
    Words(Words),
    /// Both, fused by their ranks.
    Both { vector: Vec<f32>, words: Words, fusion: Fusion },
}

impl Query {
    /// The vector, if vectors are compared.
    pub(crate) fn vector(&self) -> Option<&[f32]> {
        match self {
            Self::Nearest(vector) | Self::Both { vector, .. } => Some(vector),
            Self::Words(_) => None,
        }
    }

    fn words(&self) -> Option<&Words> {
        match self {
            Self::Nearest(_) => None,
            Self::Words(words) | Self::Both { words, .. } => Some(words),
        }
    }
}

/// How two results are fused; the formula is in the proto, at `Fusion`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fusion {
    pub vector_weight: f64,
    pub full_text_weight: f64,
    pub rank_constant: i32,
    /// Results of each search that are fused.
    pub candidates: usize,
}

/// How to search.
#[derive(Clone, Debug)]
pub(crate) struct SearchSettings {
    pub limit: usize,
    /// Compare with every vector.
    pub exact: bool,
    /// Candidates of an HNSW search.
    pub ef_search: Option<i32>,
    /// Lists of an IVFFlat search.
    pub probes: Option<i32>,
    /// Which documents.
    pub filter: Option<Filter>,
    /// Keys of documents to leave out.
    pub exclude: Vec<i64>,
    /// Leave out vectors that are farther.
    pub max_distance: Option<f64>,
    /// Each document once, where documents have chunks.
    pub group_by_document: bool,
    pub with_text: bool,
    pub with_metadata: bool,
    pub include_vector: bool,
    /// The text of the documents beside that of their chunks.
    pub include_full_text: bool,
    pub explain: bool,
    /// When to give up.
    pub deadline: Instant,
    /// Longest time for the exact search that fills up a short result.
    pub fill_up: Duration,
    /// Most bytes of documents to return.
    pub max_bytes: usize,
}

#[cfg(test)]
impl SearchSettings {
    /// A search for `limit` results and nothing else.
    fn of(limit: usize) -> Self {
        Self {
            limit,
            exact: false,
            ef_search: None,
            probes: None,
            filter: None,
            exclude: Vec::new(),
            max_distance: None,
            group_by_document: false,
            with_text: true,
            with_metadata: true,
            include_vector: false,
            include_full_text: false,
            explain: false,
            deadline: Instant::now(),
            fill_up: Duration::ZERO,
            max_bytes: 0,
        }
    }
}

/// A passage that was found.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub ordinal: i32,
    pub text: String,
    /// In characters.
    pub start: i32,
    pub end: i32,
}

/// A document that was found.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub document: StoredDocument,
    /// What the operator of the collection gives; `None` when the vector search did not find it.
    pub distance: Option<f64>,
    /// Of the full-text search, or of the fusion.
    pub score: Option<f64>,
    /// Where documents have chunks.
    pub chunk: Option<Chunk>,
    pub vector_rank: Option<i64>,
    pub full_text_rank: Option<i64>,
}

/// What a result stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// Every vector was compared, or every text.
    Exact,
    /// An index was used.
    Approximate,
    /// The index gave too few, and there was no time to compare every vector.
    Truncated,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Nearest first.
    pub hits: Vec<Hit>,
    pub completeness: Completeness,
    /// Some that were found are beyond the largest distance.
    pub has_farther: bool,
    pub explanation: Option<Explanation>,
    /// Waiting for a connection.
    pub wait: Duration,
    /// Running the query.
    pub database: Duration,
}

/// pgvector's largest `hnsw.ef_search`.
pub(crate) const MAX_EF_SEARCH: i32 = 1_000;
/// Chunks to look at for one document, first and when these were of too few documents.
const CHUNKS_PER_DOCUMENT: [usize; 2] = [4, 32];
/// Most chunks to look at by the index; more are compared one by one.
const MAX_CHUNKS: usize = 10_000;

impl Store {
    /// Searches a collection by the name or the alias that the caller knows it by.
    pub(crate) async fn search(
        &self,
        name: &str,
        collection: &Collection,
        query: &Query,
        settings: &SearchSettings,
    ) -> Result<Found, StoreError> {
        self.with_known_collection(name, |entry| async move {
            if entry.collection.id != collection.id {
                // The vector was made for the one that is gone.
                return Err(StoreError::CollectionReplaced(name.into()));
            }
            let by_index = entry.collection.index.is_some() && !settings.exact && query.vector().is_some();
            let rows = match query {
                Query::Both { fusion, .. } => fusion.candidates.max(settings.limit),
                _ => settings.limit,
            };
            let is_grouped = settings.group_by_document && entry.collection.definition.chunking.is_some();
            let all = Reach { by_index: false, rows: (!is_grouped).then_some(rows) };
            let first = if is_grouped { (rows * CHUNKS_PER_DOCUMENT[0]).min(MAX_CHUNKS) } else { rows };
            let reach = if by_index { Reach { by_index, rows: Some(first) } } else { all };
            let mut run = self.run_search(&entry, query, settings, reach, settings.deadline).await?;
            self.check_revision(name, &entry, &run).await?;

            let mut filled_up = false;
            let mut is_truncated = false;
            if by_index && is_short(&run, first, is_grouped, settings) {
                let wider = (rows * CHUNKS_PER_DOCUMENT[1]).min(MAX_CHUNKS);
                if is_grouped && run.nearest == first && wider > first {
                    let reach = Reach { by_index, rows: Some(wider) };
                    let again = self.run_search(&entry, query, settings, reach, settings.deadline).await?;
                    filled_up = is_short(&again, wider, is_grouped, settings);
                    run = again.after(&run);
                } else {
                    filled_up = true;
                }
            }
            if filled_up {
                // Once more without the index, which gave too few.
                let deadline = settings.deadline.min(Instant::now() + settings.fill_up);
                let again = self.run_search(&entry, query, settings, all, deadline);
                match tokio::time::timeout_at(deadline.into(), again).await {
                    Ok(Ok(again)) => run = again.after(&run),
                    Err(_) | Ok(Err(StoreError::TimedOut)) => is_truncated = true,
                    Ok(Err(error)) => return Err(error),
                }
            }
            let explanation = match run.plan.take() {
                Some(plan) => Some(self.explain(&entry, query, settings, plan, filled_up && !is_truncated).await?),
                None => None,
            };
            // Postgres need not use an index that it may use. Only the plan tells.
            let all_compared = explanation.as_ref().is_some_and(|explanation| !explanation.no_index_reason.is_empty());
            let completeness = if is_truncated {
                Completeness::Truncated
            } else if by_index && !filled_up && !run.compared && !all_compared {
                Completeness::Approximate
            } else {
                Completeness::Exact
            };
            let Run { hits, has_farther, wait, database, .. } = run;
            Ok(Found { hits, completeness, has_farther, explanation, wait, database })
        })
        .await
    }

    /// What was cached of the collection must be true still: an index may have come or gone, and an alias moved.
    async fn check_revision(&self, name: &str, entry: &Entry, run: &Run) -> Result<(), StoreError> {
        let known = &entry.collection;
        let is_known = match run.revision {
            Some(revision) => revision == known.revision,
            None => {
                let now = self.current_collection(name).await?;
                (now.id, now.revision) == (known.id, known.revision)
            }
        };
        if is_known { Ok(()) } else { Err(StoreError::Stale(None)) }
    }
}

/// Whether the index may have left out what matches: it gave fewer rows than asked for, or of too few documents.
fn is_short(run: &Run, asked: usize, is_grouped: bool, settings: &SearchSettings) -> bool {
    // What the index has not given is farther than what it has.
    let has_nearest = run.has_farther || run.compared && run.nearest < asked;
    if is_grouped {
        run.hits.len() < settings.limit && !(has_nearest && run.matches < asked)
    } else {
        run.nearest < asked && !run.compared && !run.has_farther
    }
}
