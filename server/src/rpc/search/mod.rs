//! Search: check the request, make the query a vector, find, and tell what was found.

mod batch;
mod check;
mod diversity;
mod query;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;

pub(super) use batch::search_batch;
use check::Search;
use query::Prepared;

use super::messages::{check_size, notes, to_duration, to_message};
use crate::{
    app::App,
    blocking::blocking,
    error::Error,
    rules::Violations,
    store::{Collection, Completeness, Explanation, Found, Hit, SearchSettings, StoreError},
};

/// How often a search begins anew while its collection keeps changing.
const ATTEMPTS: u32 = 4;
/// How long the query of a search takes to become a vector before it is made sure that it is about the right collection.
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
    // What depends on the collection is told together with the rest.
    let collection = search.check_in_collection(&mut violations, app).await?;
    violations.finish()?;
    let mut response = search.run(app, collection, None).await?;
    if is_nothing(&response) {
        response.notes = search.notes(app, &response, deadline).await;
    }
    Ok(response)
}

/// Whether no document matches, as far as it is known.
fn is_nothing(response: &v1::SearchResponse) -> bool {
    use v1::ShortReason::{MaxDistance, OutOfTime};
    response.results.is_empty() && !matches!(response.short_reason(), MaxDistance | OutOfTime)
}

impl Search {
    /// Checks what depends on the collection. Before a caller is told that something is wrong, the database is asked: the
    /// cache may hold a collection that another server has replaced.
    async fn check_in_collection(&self, violations: &mut Violations, app: &App) -> Result<Arc<Collection>, Error> {
        let collection = app.store.collection(&self.collection).await?;
        let mut found = Violations::default();
        query::check(&mut found, self, &collection);
        if found.finish().is_ok() {
            return Ok(collection);
        }
        let collection = app.store.current_collection(&self.collection).await?;
        query::check(violations, self, &collection);
        Ok(collection)
    }

    /// Makes the query a vector, unless that was done, and searches; again from the start when the name stands for another
    /// collection meanwhile: the cache may have been wrong about an alias all along.
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

    /// Makes the query a vector. A provider that is gone with the collection is not waited for.
    async fn prepare(&self, app: &App, collection: &Collection) -> Result<Prepared, Error> {
        tokio::select! {
            prepared = query::prepare(app, collection, self) => prepared,
            error = self.changes(app, collection) => Err(error),
        }
    }

    /// Waits for a while, then makes sure that the name stands for this collection. Ends when it does not.
    async fn changes(&self, app: &App, known: &Collection) -> Error {
        tokio::time::sleep(UNSURE_AFTER).await;
        match self.renewed(app, known).await {
            Ok(None) => std::future::pending().await,
            Ok(Some(_)) => StoreError::CollectionReplaced(self.collection.clone()).into(),
            Err(error) => error,
        }
    }

    /// The collection that the name stands for now, when that is another than `known`, or has another revision.
    async fn renewed(&self, app: &App, known: &Collection) -> Result<Option<Arc<Collection>>, Error> {
        match app.store.current_collection(&self.collection).await {
            Ok(now) if (now.id, now.revision) != (known.id, known.revision) => {
                let mut violations = Violations::default();
                query::check(&mut violations, self, &now);
                violations.finish()?;
                Ok(Some(now))
            }
            Err(gone @ StoreError::CollectionNotFound(_)) => Err(gone.into()),
            // What is wrong already says more than that the registry could not be read.
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
            // Most of the candidates are not returned.
            settings.max_bytes = 4 * settings.max_bytes + diversity.candidates * 4 * collection.definition.dimensions;
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
            for hit in &mut found.hits {
                hide(hit, &self.settings);
            }
        }
        let short_reason = if is_short { self.short_reason(&found) } else { v1::ShortReason::Unspecified };
        let usage = v1::Usage { tokens: tokens as i64, cached_count: cached as i32 };
        let response = self.respond(collection, found, short_reason, usage, embed)?;
        check_size(app, &response)?;
        Ok(response)
    }

    /// Why nothing matches.
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
            notes: Vec::new(),
        })
    }
}

/// Takes out what the choice of results needed and the caller did not ask for.
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

/// Whether the database could not even be asked whether the collection has changed, or there is no time for it.
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
