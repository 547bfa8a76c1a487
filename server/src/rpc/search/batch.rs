//! SearchBatch: several searches, embedded with one call and run a few at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use pgfox::v1;
use prost::Message as _;

use super::{
    ATTEMPTS,
    check::Search,
    is_nothing, is_outage,
    query::{Prepared, embed},
};
use crate::{
    app::App,
    error::Error,
    rules::{MAX_SEARCHES, Violation, Violations},
    store::{Collection, StoreError},
};

/// Searches of a batch that run at a time: one caller must not take every connection.
const CONCURRENCY: usize = 4;

/// A search that keeps the rules, and its query as a vector if that was a text.
struct CheckedSearch {
    search: Search,
    collection: Arc<Collection>,
    embedded: Option<Prepared>,
}

pub(in crate::rpc) async fn search_batch(
    app: &App,
    request: v1::SearchBatchRequest,
    deadline: Instant,
) -> Result<v1::SearchBatchResponse, Error> {
    let mut searches = check(app, request, deadline).await?;
    embed_all(app, &mut searches).await?;
    let bytes = AtomicUsize::new(0);
    let running = searches.into_iter().enumerate().map(|(position, search)| {
        let bytes = &bytes;
        async move {
            let CheckedSearch { search, collection, embedded } = search;
            let response = search.run(app, collection, embedded).await;
            let response = response.map_err(|error| error.within(&place(position)))?;
            let limit = app.limits.max_response_bytes;
            // A few bytes of each go to its tag and length.
            let size = response.encoded_len() + 8;
            if bytes.fetch_add(size, Ordering::Relaxed) + size > limit {
                return Err(StoreError::ResponseTooLarge { limit }.into());
            }
            Ok::<_, Error>((search, response))
        }
    });
    let answered: Vec<(Search, v1::SearchResponse)> =
        futures_util::stream::iter(running).buffered(CONCURRENCY).try_collect().await?;
    Ok(v1::SearchBatchResponse { responses: with_notes(app, answered, deadline).await })
}

/// Says why searches found nothing, for each filter once, and within the time of two calls.
async fn with_notes(
    app: &App,
    mut answered: Vec<(Search, v1::SearchResponse)>,
    deadline: Instant,
) -> Vec<v1::SearchResponse> {
    let deadline = deadline.min(Instant::now() + 2 * app.limits.notes);
    for position in 0..answered.len() {
        let (before, rest) = answered.split_at_mut(position);
        let Some((search, response)) = rest.first_mut().filter(|(_, response)| is_nothing(response)) else { continue };
        let same = before.iter().find(|(other, response)| is_nothing(response) && other.selects_as(search));
        response.notes = match same {
            Some((_, response)) => response.notes.clone(),
            None => search.notes(app, response, deadline).await,
        };
    }
    answered.into_iter().map(|(_, response)| response).collect()
}

fn place(position: usize) -> String {
    format!("searches[{position}]")
}

/// Checks the searches, each in its collection, and tells all that is wrong.
async fn check(app: &App, request: v1::SearchBatchRequest, deadline: Instant) -> Result<Vec<CheckedSearch>, Error> {
    let v1::SearchBatchRequest { collection: default, searches } = request;
    let mut violations = Violations::default();
    violations.check(!searches.is_empty(), "searches", "is required");
    if searches.len() > MAX_SEARCHES {
        let rule = format!("must have at most {MAX_SEARCHES} entries, not {}", searches.len());
        return Err(Violation::new("searches", rule).into());
    }
    let mut checked = Vec::with_capacity(searches.len());
    for (position, mut request) in searches.into_iter().enumerate() {
        if request.collection.is_empty() {
            request.collection.clone_from(&default);
        }
        let mut found = Violations::default();
        if let Some(search) = Search::check(&mut found, request, app, deadline) {
            let collection = search.check_in_collection(&mut found, app).await;
            let collection = collection.map_err(|error| error.within(&place(position)))?;
            checked.push(CheckedSearch { search, collection, embedded: None });
        }
        violations.append(found.within(&place(position)));
    }
    violations.finish()?;
    Ok(checked)
}

/// Embeds the texts of the searches, with one call for each collection; again when names stand for others meanwhile.
async fn embed_all(app: &App, searches: &mut [CheckedSearch]) -> Result<(), Error> {
    let mut attempt = 1;
    while let Err((positions, error)) = try_embed_all(app, searches).await {
        if attempt == ATTEMPTS || is_outage(&error) {
            return Err(error);
        }
        attempt += 1;
        let mut has_changed = false;
        for position in positions {
            let CheckedSearch { search, collection, .. } = &mut searches[position];
            let renewed = search.renewed(app, collection).await.map_err(|error| error.within(&place(position)))?;
            if let Some(renewed) = renewed {
                *collection = renewed;
                has_changed = true;
            }
        }
        if !has_changed {
            return Err(error);
        }
    }
    Ok(())
}

/// Embeds what is not embedded yet. An error comes with the searches whose texts were not.
async fn try_embed_all(app: &App, searches: &mut [CheckedSearch]) -> Result<(), (Vec<usize>, Error)> {
    let mut by_collection: HashMap<i64, Vec<usize>> = HashMap::new();
    for (position, CheckedSearch { search, collection, embedded }) in searches.iter().enumerate() {
        if embedded.is_none() && search.text_to_embed().is_some() {
            by_collection.entry(collection.id).or_default().push(position);
        }
    }
    for positions in by_collection.into_values() {
        let Some(first) = positions.first().map(|first| &searches[*first]) else { continue };
        let texts: Vec<&str> =
            positions.iter().filter_map(|position| searches[*position].search.text_to_embed()).collect();
        let embedded = tokio::select! {
            embedded = embed(app, &first.collection, &texts) => embedded,
            error = first.search.changes(app, &first.collection) => Err(error),
        };
        match embedded {
            Ok(embedded) => {
                for (position, embedded) in positions.into_iter().zip(embedded) {
                    searches[position].embedded = Some(embedded);
                }
            }
            Err(error) => return Err((positions, error)),
        }
    }
    Ok(())
}
