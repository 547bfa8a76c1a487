//! Search: checks the request, makes a vector of the query, searches, and describes the result.

mod batch;
mod check;
mod diversity;
mod highlight;
mod query;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;

pub(super) use batch::search_batch;
use check::Search;
use highlight::Highlighter;
use query::Prepared;

use super::messages::{check_size, notes, to_duration, to_message};
use crate::{
    app::App,
    blocking::blocking,
    error::Error,
    rules::Violations,
    store::{Collection, Completeness, Explanation, Found, Hit, SearchSettings, StoreError},
};

/// Maximum number of times that a search starts again because its collection changes.
const ATTEMPTS: u32 = 4;
/// If embedding the query takes longer than this, the search checks whether its collection is still the right one.
const UNSURE_AFTER: Duration = Duration::from_secs(2);

pub(super) async fn search(
    app: &App,
    request: v1::SearchRequest,
    deadline: Instant,
) -> Result<v1::SearchResponse, Error> {
    let mut violations = Violations::default();
    let Some(search) = Search::check(&mut violations, request, app, deadline) else {
        violations.finish()?;
        return Err(Error::invalid("query", "is required"));
    };
    // Violations that depend on the collection are reported together with the others.
    let collection = search.check_in_collection(&mut violations, app).await?;
    violations.finish()?;
    let mut response = search.run(app, collection, None).await?;
    if is_nothing(&response) {
        response.notes.extend(search.notes(app, &response, deadline).await);
    }
    Ok(response)
}

/// Whether no document matches, as far as it is known.
fn is_nothing(response: &v1::SearchResponse) -> bool {
    use v1::ShortReason::{MaxDistance, OutOfTime};
    response.results.is_empty() && !matches!(response.short_reason(), MaxDistance | OutOfTime)
}

impl Search {
    /// Checks the rules that depend on the collection. Before a caller gets an error, this reads the collection from
    /// the database, because another server may have replaced the cached one.
    async fn check_in_collection(&self, violations: &mut Violations, app: &App) -> Result<Arc<Collection>, Error> {
        let collection = app.store.collection(&self.collection).await?;
        if collection.definition.source.is_some() && self.mode != v1::SearchMode::Vector {
            // The cached collection may have been replaced.
            let now = app.store.current_collection(&self.collection).await?;
            now.check_own("full-text search is not available for it; use SEARCH_MODE_VECTOR, or attach the table with source.follow")?;
        }
        let mut found = Violations::default();
        query::check(&mut found, self, &collection);
        if found.finish().is_ok() {
            return Ok(collection);
        }
        let collection = app.store.current_collection(&self.collection).await?;
        query::check(violations, self, &collection);
        Ok(collection)
    }

    /// Embeds the query, unless that is done, and searches. If the name means another collection meanwhile, starts
    /// again, because the cached alias may have been wrong from the beginning.
    async fn run(
        &self,
        app: &App,
        mut collection: Arc<Collection>,
        mut prepared: Option<Prepared>,
    ) -> Result<v1::SearchResponse, Error> {
        let mut attempt = 1;
        loop {
            let attempted = async {
                let prepared = match prepared.take() {
                    Some(prepared) => prepared,
                    None => self.prepare(app, &collection).await?,
                };
                self.find(app, &collection, prepared).await
            };
            let error = match attempted.await {
                Err(error) if attempt < ATTEMPTS && !is_outage(&error) => error,
                result => return result,
            };
            collection = self.renewed(app, &collection).await?.ok_or(error)?;
            attempt += 1;
        }
    }

    /// Makes a vector of the query. Stops waiting for a provider if the collection is gone.
    async fn prepare(&self, app: &App, collection: &Collection) -> Result<Prepared, Error> {
        tokio::select! {
            prepared = query::prepare(app, collection, self) => prepared,
            error = self.changes(app, collection) => Err(error),
        }
    }

    /// Waits for a while, then checks whether the name still means this collection. Returns only if it does not.
    async fn changes(&self, app: &App, known: &Collection) -> Error {
        tokio::time::sleep(UNSURE_AFTER).await;
        match self.renewed(app, known).await {
            Ok(None) => std::future::pending().await,
            Ok(Some(_)) => StoreError::CollectionReplaced(self.collection.clone()).into(),
            Err(error) => error,
        }
    }

    /// The collection with this name, if it differs from `known` or has another revision.
    async fn renewed(&self, app: &App, known: &Collection) -> Result<Option<Arc<Collection>>, Error> {
        match app.store.current_collection(&self.collection).await {
            Ok(now) if (now.id, now.revision) != (known.id, known.revision) => {
                let mut violations = Violations::default();
                query::check(&mut violations, self, &now);
                violations.finish()?;
                Ok(Some(now))
            }
            Err(gone @ StoreError::CollectionNotFound(_)) => Err(gone.into()),
            // The original error says more than one about the registry.
            _ => Ok(None),
        }
    }

    async fn find(&self, app: &App, collection: &Collection, prepared: Prepared) -> Result<v1::SearchResponse, Error> {
        let Prepared { vector, exclude, embed, tokens, cached } = prepared;
        let query = self.query(vector)?;
        let mut settings = self.settings.clone();
        settings.exclude = exclude;
        if let Some(diversity) = &self.diversity {
            settings.limit = diversity.candidates;
            settings.include_vector = true;
            settings.with_text = true;
            // The answer has only a few of the candidates.
            settings.max_bytes = 4 * settings.max_bytes + diversity.candidates * 4 * collection.definition.dimensions;
        }
        if self.highlight && !settings.with_text {
            settings.with_text = true;
            // The texts are not returned.
            settings.max_bytes *= 4;
        }
        let mut found = app.store.search(&self.collection, collection, &query, &settings).await?;
        let is_short = found.hits.len() < self.settings.limit;
        if let (Some(diversity), Some(vector)) = (self.diversity, query.vector()) {
            let distance = collection.definition.distance;
            let (vector, limit) = (vector.to_owned(), self.settings.limit);
            let hits = std::mem::take(&mut found.hits);
            // Thousands of candidates with thousands of dimensions take long.
            let choose = move || diversity::choose(hits, &vector, distance, diversity.weight, limit);
            found.hits = blocking(choose).await?;
        }
        let mut highlights = Vec::new();
        if self.highlight {
            let highlighter = Highlighter::new(&self.words, collection);
            let (hits, deadline) = (std::mem::take(&mut found.hits), self.settings.deadline);
            let highlight = move || (highlighter.highlight(&hits, deadline), hits);
            (highlights, found.hits) = blocking(highlight).await?;
        }
        for hit in &mut found.hits {
            hide(hit, &self.settings);
        }
        let short_reason = if is_short { self.short_reason(&found) } else { v1::ShortReason::Unspecified };
        let usage = v1::Usage { tokens: tokens as i64, cached_count: cached as i32 };
        let mut response = self.respond(collection, found, short_reason, usage, embed)?;
        for (result, highlights) in response.results.iter_mut().zip(highlights) {
            result.highlights = highlights;
        }
        check_size(app, &response)?;
        Ok(response)
    }

    /// Explains why nothing matches.
    async fn notes(&self, app: &App, response: &v1::SearchResponse, deadline: Instant) -> Vec<String> {
        match &response.explanation {
            Some(explanation) if !explanation.notes.is_empty() => explanation.notes.clone(),
            _ => notes(app, &self.collection, self.settings.filter.as_ref(), None, deadline).await,
        }
    }

    fn short_reason(&self, found: &Found) -> v1::ShortReason {
        if found.completeness == Completeness::Truncated {
            v1::ShortReason::OutOfTime
        } else if found.has_farther {
            v1::ShortReason::MaxDistance
        } else if self.settings.filter.is_some() || self.mode == v1::SearchMode::FullText {
            v1::ShortReason::FewMatches
        } else {
            v1::ShortReason::FewDocuments
        }
    }

    fn respond(
        &self,
        collection: &Collection,
        found: Found,
        short_reason: v1::ShortReason,
        usage: v1::Usage,
        embed: Duration,
    ) -> Result<v1::SearchResponse, Error> {
        let completeness = match found.completeness {
            Completeness::Exact => v1::Completeness::Exact,
            Completeness::Approximate => v1::Completeness::Approximate,
            Completeness::Truncated => v1::Completeness::Truncated,
        };
        let distance = collection.definition.distance;
        let results = found.hits.into_iter().map(|hit| {
            let Hit { document, chunk, .. } = hit;
            let score = hit.score.or_else(|| hit.distance.map(|value| distance.score(value))).unwrap_or_default();
            let mut document = to_message(document)?;
            document.metadata = document.metadata.and_then(|metadata| self.fields.prune(metadata));
            Ok(v1::SearchResult {
                document: Some(document),
                distance: hit.distance.map(|distance| distance as f32),
                score: score as f32,
                chunk: chunk.map(|chunk| v1::Chunk {
                    ordinal: chunk.ordinal,
                    text: chunk.text,
                    start: chunk.start,
                    end: chunk.end,
                }),
                vector_rank: hit.vector_rank.map(|rank| rank as i32),
                full_text_rank: hit.full_text_rank.map(|rank| rank as i32),
                highlights: Vec::new(),
            })
        });
        Ok(v1::SearchResponse {
            results: results.collect::<Result<_, Error>>()?,
            completeness: completeness.into(),
            usage: Some(usage),
            timing: Some(v1::Timing {
                embed: Some(to_duration(embed)),
                wait: Some(to_duration(found.wait)),
                database: Some(to_duration(found.database)),
            }),
            short_reason: short_reason.into(),
            explanation: found.explanation.map(explain),
            notes: found.word_notes,
            excluded_words: found.excluded_words,
        })
    }
}

/// Removes the fields that were read only for diversity or for highlights.
fn hide(hit: &mut Hit, asked: &SearchSettings) {
    if !asked.include_vector {
        hit.document.vector = None;
    }
    if !asked.with_text {
        hit.document.text.clear();
        if let Some(chunk) = &mut hit.chunk {
            chunk.text.clear();
        }
    }
}

/// Whether the database cannot be asked if the collection has changed, or time has run out.
fn is_outage(error: &Error) -> bool {
    use StoreError::{Busy, Cancelled, NotReady, TimedOut, Unavailable};
    matches!(
        error,
        Error::DeadlineExceeded
            | Error::ShuttingDown
            | Error::Store(Busy(_) | Cancelled | NotReady(_) | TimedOut | Unavailable { .. })
    )
}

fn explain(explanation: Explanation) -> v1::Explanation {
    let Explanation { plan_node, index, no_index_reason, rows_scanned, rows_filtered, notes, plan_json } = explanation;
    v1::Explanation { plan_node, index, no_index_reason, rows_scanned, rows_filtered, notes, plan_json }
}
