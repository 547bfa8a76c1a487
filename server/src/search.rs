//! Search: turn the query into a vector, and find its nearest neighbours.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1::{self, search_request::Query};

use crate::{
    App,
    documents::{check_size, to_message},
    error::Error,
    ingest::check_embedding,
    store::{Collection, Completeness, Found, MAX_EF_SEARCH, SearchSettings},
    validate::{MAX_LIMIT, Violations},
};

/// Results unless the caller says otherwise.
const DEFAULT_LIMIT: i32 = 10;
/// pgvector's most lists, and so most probes.
const MAX_PROBES: i32 = 32_768;

pub(crate) async fn search(
    app: &App,
    request: v1::SearchRequest,
    deadline: Instant,
) -> Result<v1::SearchResponse, Error> {
    let v1::SearchRequest { collection: name, query, limit, params, include_vector } = request;
    let params = params.unwrap_or_default();
    let mut violations = Violations::default();
    violations.name("collection", &name);
    violations.range("limit", limit, 0, MAX_LIMIT);
    if let Some(ef_search) = params.ef_search {
        violations.range("params.ef_search", ef_search, 1, MAX_EF_SEARCH);
    }
    if let Some(probes) = params.probes {
        violations.range("params.probes", probes, 1, MAX_PROBES);
    }
    match &query {
        None => violations.check(false, "query", "is required: one of text, vector and document_id"),
        Some(Query::Text(text)) => {
            violations.text("text", text);
            violations.check(!text.trim().is_empty(), "text", "must not be empty");
        }
        Some(Query::DocumentId(id)) => violations.id("document_id", id),
        Some(Query::Vector(_)) => {}
    }
    // What depends on the collection is told together with the rest, if there is such a collection.
    let collection = if name.is_empty() { None } else { app.store.collection(&name).await.map(Some)? };
    if let Some(collection) = &collection {
        match &query {
            Some(Query::Vector(vector)) => violations.vector("vector", &vector.values, collection),
            Some(Query::Text(_)) => {
                let rule = "cannot be embedded: the collection has no model; send a vector";
                violations.check(collection.definition.model.is_some(), "text", rule);
            }
            _ => {}
        }
    }
    violations.finish()?;
    let (Some(collection), Some(query)) = (collection, query) else {
        return Err(Error::invalid("query", "is required"));
    };

    let limit = if limit == 0 { DEFAULT_LIMIT } else { limit } as usize;
    let Prepared { vector, exclude, embed, tokens } = prepare(app, &collection, query).await?;
    let settings = SearchSettings {
        limit,
        exact: params.exact,
        ef_search: params.ef_search,
        probes: params.probes,
        include_vector,
        exclude,
        deadline,
        fill_up: app.limits.fill_up,
        max_bytes: app.limits.max_response_bytes,
    };
    let found = app.store.search(&name, &vector, &settings).await?;
    let response = respond(&collection, found, limit, embed, tokens)?;
    check_size(app, &response)?;
    Ok(response)
}

/// A query as a vector.
struct Prepared {
    vector: Vec<f32>,
    exclude: Option<i64>,
    embed: Duration,
    tokens: u64,
}

async fn prepare(app: &App, collection: &Arc<Collection>, query: Query) -> Result<Prepared, Error> {
    let definition = &collection.definition;
    let given = |vector, exclude| Prepared { vector, exclude, embed: Duration::ZERO, tokens: 0 };
    match query {
        Query::Vector(vector) => Ok(given(vector.values, None)),
        Query::DocumentId(id) => {
            let (key, vector) = app.store.vector_of(&definition.name, &id).await?;
            Ok(given(vector, Some(key)))
        }
        Query::Text(text) => {
            let began = Instant::now();
            let model = definition.model.as_ref();
            let model = model.ok_or_else(|| Error::invalid("text", "cannot be embedded without a model"))?;
            let text = if definition.query_prefix.is_empty() { text } else { definition.query_prefix.clone() + &text };
            let embedded = app.embedders.embed(model, &[&text]).await?;
            check_embedding(collection, &embedded.values)?;
            Ok(Prepared {
                vector: embedded.values,
                exclude: None,
                embed: began.elapsed(),
                tokens: embedded.tokens,
            })
        }
    }
}

fn respond(
    collection: &Collection,
    found: Found,
    limit: usize,
    embed: Duration,
    tokens: u64,
) -> Result<v1::SearchResponse, Error> {
    let distance = collection.definition.distance;
    let short_reason = match found.completeness {
        _ if found.hits.len() >= limit => v1::ShortReason::Unspecified,
        Completeness::Truncated => v1::ShortReason::OutOfTime,
        Completeness::Exact | Completeness::Approximate => v1::ShortReason::FewDocuments,
    };
    let completeness = match found.completeness {
        Completeness::Exact => v1::Completeness::Exact,
        Completeness::Approximate => v1::Completeness::Approximate,
        Completeness::Truncated => v1::Completeness::Truncated,
    };
    let results = found.hits.into_iter().map(|hit| {
        Ok(v1::SearchResult {
            document: Some(to_message(hit.document)?),
            distance: Some(hit.distance as f32),
            score: distance.score(hit.distance) as f32,
        })
    });
    Ok(v1::SearchResponse {
        results: results.collect::<Result<_, Error>>()?,
        completeness: completeness.into(),
        usage: Some(v1::Usage { tokens: tokens as i64 }),
        timing: Some(v1::Timing {
            embed: Some(to_duration(embed)),
            wait: Some(to_duration(found.wait)),
            database: Some(to_duration(found.database)),
        }),
        short_reason: short_reason.into(),
    })
}

/// A duration of at most hours.
pub(crate) fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}
