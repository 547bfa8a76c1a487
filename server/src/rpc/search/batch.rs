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

/// Number of searches of a batch that run at a time. One caller must not take every connection.
const CONCURRENCY: usize = 4;

/// A search that follows the rules, with the vector of its text once that is embedded.
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
            // The tag and the length of each answer take a few bytes.
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

/// Explains why searches found nothing, once for each filter, and within the time of two calls.
async fn with_notes(
    app: &App,
    mut answered: Vec<(Search, v1::SearchResponse)>,
    deadline: Instant,
) -> Vec<v1::SearchResponse> {
    let deadline = deadline.min(Instant::now() + 2 * app.limits.notes);
    // The notes of each search, by its position.
    let mut found: Vec<Vec<String>> = vec![Vec::new(); answered.len()];
    for position in 0..answered.len() {
        let (before, rest) = answered.split_at_mut(position);
        let Some((search, response)) = rest.first_mut().filter(|(_, response)| is_nothing(response)) else { continue };
        let same = before.iter().position(|(other, response)| is_nothing(response) && other.selects_as(search));
        found[position] = match same {
            Some(same) => found[same].clone(),
            None => search.notes(app, response, deadline).await,
        };
    }
    for ((_, response), notes) in answered.iter_mut().zip(found) {
        response.notes.extend(notes);
    }
    answered.into_iter().map(|(_, response)| response).collect()
}

fn place(position: usize) -> String {
    format!("searches[{position}]")
}

/// Checks the searches, each in its collection, and reports all violations.
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

/// Embeds the texts of the searches, with one call for each collection. Repeats this if a name means another collection
/// meanwhile.
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

/// Embeds the texts that are not embedded yet. An error includes the searches whose texts could not be embedded.
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
