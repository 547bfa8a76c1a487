//! Search: the query, how often Postgres runs it, and how complete the result is.

mod explain;
mod run;
mod statement;
mod words;
mod writer;

use std::time::{Duration, Instant};

use super::{Collection, Filter, Store, StoreError, StoredDocument, catalog::Entry, indexes::Job};
use explain::How;
use run::Run;
use statement::{Coded, Reach, UseOfCodes};
use words::{Freshness, Ranking};

pub(crate) use explain::Explanation;
pub(super) use statement::SearchStatements;
pub(crate) use words::Words;

/// The query of a search.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// The nearest to a vector.
    Nearest(Vec<f32>),
    /// The best by words.
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

/// How two results become one score; the formulas are in the proto, at `FusionMethod`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FusionMethod {
    ReciprocalRank { constant: i32 },
    RelativeScore,
}

/// How two results are fused. A weight of 0 switches a search off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fusion {
    pub method: FusionMethod,
    pub vector_weight: f64,
    pub full_text_weight: f64,
    /// Results of each search that are fused.
    pub candidates: usize,
}

/// Documents to leave out: by their keys, or by their ids if a collection is attached to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excluded {
    pub keys: Vec<i64>,
    pub ids: Vec<String>,
}

impl Excluded {
    fn len(&self) -> usize {
        self.keys.len() + self.ids.len()
    }
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
    /// How many of the best codes are compared.
    pub rerank_candidates: Option<usize>,
    /// Which documents.
    pub filter: Option<Filter>,
    /// Documents to leave out.
    pub exclude: Excluded,
    /// Leave out vectors that are farther than this.
    pub max_distance: Option<f64>,
    /// Each document once, if documents have chunks.
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
    /// Maximum size of the returned documents in bytes.
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
            rerank_candidates: None,
            filter: None,
            exclude: Excluded::default(),
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
    /// The result of the operator of the collection; `None` if the vector search did not find it.
    pub distance: Option<f64>,
    /// From the full-text search, or from the fusion.
    pub score: Option<f64>,
    /// If documents have chunks.
    pub chunk: Option<Chunk>,
    pub vector_rank: Option<i64>,
    pub full_text_rank: Option<i64>,
}

/// How complete a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// Every vector and every text was compared that could be among the results.
    Exact,
    /// An index of vectors was used, or some texts that have common words were not scored.
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
    /// Some of the rows that were found are beyond the largest distance.
    pub has_farther: bool,
    pub explanation: Option<Explanation>,
    /// Notes for the caller about the words.
    pub word_notes: Vec<String>,
    /// The words and phrases that the results do not contain, as they were typed.
    pub excluded_words: Vec<String>,
    /// Waiting for a connection.
    pub wait: Duration,
    /// Running the query.
    pub database: Duration,
}

/// SQL: the number of words of a chunk `w`, or of different words if Postgres has made them.
const TEXT_LENGTH: &str = "coalesce(nullif(w.word_count, 0), length(w.words))";

/// pgvector's largest `hnsw.ef_search`.
pub(crate) const MAX_EF_SEARCH: i32 = 1_000;
/// Chunks to look at for one document, first and when these were of too few documents.
const CHUNKS_PER_DOCUMENT: [usize; 2] = [4, 32];
/// Maximum number of chunks to read by the index; more are compared one by one.
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
                // The vector was made for the deleted collection.
                return Err(StoreError::CollectionReplaced(name.into()));
            }
            let by_index = entry.collection.index.is_some() && !settings.exact && query.vector().is_some();
            let rows = match query {
                Query::Both { fusion, .. } => fusion.candidates.max(settings.limit),
                _ => settings.limit,
            };
            let is_grouped = settings.group_by_document && entry.collection.definition.chunking.is_some();
            let all = Reach { by_index: false, rows: (!is_grouped).then_some(rows), codes: None };
            let first = if is_grouped { (rows * CHUNKS_PER_DOCUMENT[0]).min(MAX_CHUNKS) } else { rows };
            let vector = query.vector().filter(|_| !settings.exact);
            let coded = vector.and_then(|vector| Coded::new(&entry, settings.filter.as_ref(), vector));
            let codes = coded.as_ref().map(|coded| {
                (if by_index && !coded.always_reads_few() { UseOfCodes::IfFew } else { UseOfCodes::Always }, coded)
            });
            let is_partial = by_index || coded.is_some() || is_grouped && matches!(query, Query::Words(_));
            let mut reach = if is_partial { Reach { by_index, rows: Some(first), codes } } else { all };
            let mut ranking = None;
            let mut run = self.run_search(&entry, query, &mut ranking, settings, reach, settings.deadline).await?;
            self.check_revision(name, &entry, &run).await?;
            // Searches that take longer than those by an index share this time.
            let until = settings.deadline.min(Instant::now() + settings.fill_up);
            let mut again = async |reach, deadline: Instant| {
                let again = self.run_search(&entry, query, &mut ranking, settings, reach, deadline);
                match tokio::time::timeout_at(deadline.into(), again).await {
                    Ok(Ok(again)) => Ok(Some(again)),
                    Err(_) | Ok(Err(StoreError::TimedOut)) => Ok(None),
                    Ok(Err(error)) => Err(error),
                }
            };
            // Rows without a code come before all others, so they can be in the way of nearer ones.
            let is_obstructed = |run: &Run, rows: usize| {
                let candidates = coded.as_ref().map_or(usize::MAX, |coded| settings.candidates(coded.codes, rows));
                run.by_codes && !run.compared && run.uncoded + rows > candidates
            };
            if run.uncoded > 0 {
                self.spawn_job(Job::Codes(entry.collection.id));
            }
            let mut is_in_time = true;
            let other = if is_obstructed(&run, first) {
                Some((None, settings.deadline))
            } else if let Some(coded) = coded.as_ref().filter(|coded| !coded.declared.is_partial)
                && !run.by_codes
                && is_short(&run, query, first, is_grouped, settings)
            {
                // What matches is too far away to be met along the vector index.
                Some((Some((UseOfCodes::Always, coded)), until))
            } else {
                None
            };
            if let Some((codes, deadline)) = other {
                let other = Reach { codes, ..reach };
                match again(other, deadline).await? {
                    Some(again) if is_obstructed(&again, first) => {}
                    Some(again) => {
                        reach = other;
                        run = again.after(&run);
                    }
                    None => is_in_time = false,
                }
            }

            let mut filled_up = false;
            if is_partial && is_short(&run, query, first, is_grouped, settings) {
                let wider = (rows * CHUNKS_PER_DOCUMENT[1]).min(MAX_CHUNKS);
                filled_up = true;
                if is_in_time && is_grouped && run.nearest.max(run.matches) >= first && wider > first {
                    match again(Reach { rows: Some(wider), ..reach }, settings.deadline).await? {
                        Some(again) => {
                            filled_up =
                                is_obstructed(&again, wider) || is_short(&again, query, wider, is_grouped, settings);
                            run = again.after(&run);
                        }
                        None => is_in_time = false,
                    }
                }
            }
            if filled_up && is_in_time {
                // Once more without the index, which gave too few.
                match again(all, until).await? {
                    Some(again) => run = again.after(&run),
                    None => is_in_time = false,
                }
            }
            let is_truncated = filled_up && !is_in_time;
            let by_codes = run.by_codes;
            let explanation = match run.plan.take() {
                Some(plan) => {
                    let by_codes = coded.as_ref().filter(|_| by_codes);
                    let how = How { filled_up: filled_up && !is_truncated, by_codes };
                    Some(self.explain(&entry, query, settings, plan, how).await?)
                }
                None => None,
            };
            // Postgres need not use an index that it may use. Only the plan says whether it did.
            let all_compared =
                !by_codes && explanation.as_ref().is_some_and(|explanation| !explanation.no_index_reason.is_empty());
            let completeness = if is_truncated {
                Completeness::Truncated
            } else if (by_index || by_codes) && !filled_up && !run.compared && !all_compared || run.left_out_texts {
                Completeness::Approximate
            } else {
                Completeness::Exact
            };
            let Run { hits, has_farther, wait, database, .. } = run;
            let word_notes = ranking.as_ref().map(|ranking| notes(&entry, query, ranking)).unwrap_or_default();
            let excluded = ranking.into_iter().flat_map(|ranking| ranking.excluded);
            let excluded_words =
                excluded.filter(|excluded| !excluded.queries.is_empty()).map(|excluded| excluded.text).collect();
            Ok(Found { hits, completeness, has_farther, explanation, word_notes, excluded_words, wait, database })
        })
        .await
    }

    /// Checks that the cached collection is still true: an index may have come or gone, and an alias may have moved.
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

/// Whether the index may have left out matches: it gave fewer rows than asked for, or too few documents.
fn is_short(run: &Run, query: &Query, asked: usize, is_grouped: bool, settings: &SearchSettings) -> bool {
    if matches!(query, Query::Words(_)) {
        return run.matches == asked && run.hits.len() < settings.limit;
    }
    // The rows that the index has not given are farther than those that it has.
    let has_nearest = run.has_farther || run.compared && run.nearest < asked;
    if is_grouped {
        run.hits.len() < settings.limit && !(has_nearest && run.matches < asked)
    } else {
        run.nearest < asked && !run.compared && !run.has_farther
    }
}

/// Notes for the caller about the words.
fn notes(entry: &Entry, query: &Query, ranking: &Ranking) -> Vec<String> {
    let mut notes = Vec::new();
    let language = &entry.collection.definition.full_text.language;
    let has_words = !entry.collection.languages.is_empty() || entry.collection.words.language().is_none();
    if query.words().is_some_and(|words| words.wanted().next().is_some()) && ranking.has_no_terms && has_words {
        notes.push(format!(
            "the query has only stop words of the language {language:?}, which full-text search leaves out; search with \
             vectors, or use a collection of the language \"simple\""
        ));
    }
    for excluded in ranking.excluded.iter().filter(|excluded| excluded.queries.is_empty() && has_words) {
        notes.push(format!(
            "{:?} excludes nothing, because it has only stop words of the language {language:?}",
            excluded.text
        ));
    }
    match ranking.freshness {
        Freshness::Counted | Freshness::Fresh => {}
        Freshness::Old => notes.push(
            "the statistics of words are from before a fifth of the collection changed; they are being gathered again"
                .into(),
        ),
        Freshness::Missing => notes.push(
            "the statistics of words are still being gathered; until then common words count as if they were rarer"
                .into(),
        ),
    }
    notes
}
