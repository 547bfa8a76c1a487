//! Search: turn the query into a vector, and find its nearest neighbours.

use std::time::{Duration, Instant};

use pgfox::v1::{self, search_request::Query};

use crate::{
    App,
    documents::{check_size, to_message},
    error::Error,
    ingest::check_embedding,
    store::{Collection, Completeness, Found, MAX_EF_SEARCH, SearchSettings, StoreError},
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
    let v1::SearchRequest { collection: name, query, limit, params, include_vector, .. } = request;
    let params = params.unwrap_or_default();
    let mut violations = Violations::default();
    let plausible = violations.name("collection", &name);
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
        Some(Query::Vector(_) | Query::Examples(_)) => {}
    }
    let (Some(query), true) = (query, plausible) else {
        violations.finish()?;
        return Err(Error::invalid("query", "is required"));
    };
    // What depends on the collection is told together with the rest. Before a caller is told that they are wrong, the
    // database is asked: the cache may hold a collection that another server has replaced.
    let mut collection = app.store.collection(&name).await?;
    if !fits(&query, &collection) {
        collection = app.store.current_collection(&name).await?;
        check_query(&mut violations, &query, &collection);
    }
    violations.finish()?;

    let limit = if limit == 0 { DEFAULT_LIMIT } else { limit } as usize;
    let settings = SearchSettings {
        limit,
        exact: params.exact,
        ef_search: params.ef_search,
        probes: params.probes,
        include_vector,
        exclude: None,
        deadline,
        fill_up: app.limits.fill_up,
        max_bytes: app.limits.max_response_bytes,
    };
    match search_in(app, &collection, &query, settings.clone()).await {
        Err(Error::Store(StoreError::CollectionReplaced(_))) => {
            collection = app.store.current_collection(&name).await?;
            let mut violations = Violations::default();
            check_query(&mut violations, &query, &collection);
            violations.finish()?;
            search_in(app, &collection, &query, settings).await
        }
        result => result,
    }
}

fn fits(query: &Query, collection: &Collection) -> bool {
    let mut violations = Violations::default();
    check_query(&mut violations, query, collection);
    violations.finish().is_ok()
}

/// What depends on the collection.
fn check_query(violations: &mut Violations, query: &Query, collection: &Collection) {
    match query {
        Query::Vector(vector) => violations.vector("vector", &vector.values, collection),
        Query::Text(_) => {
            let rule = "cannot be embedded: the collection has no model; send a vector";
            violations.check(collection.definition.model.is_some(), "text", rule);
        }
        Query::DocumentId(_) | Query::Examples(_) => {}
    }
}

async fn search_in(
    app: &App,
    collection: &Collection,
    query: &Query,
    settings: SearchSettings,
) -> Result<v1::SearchResponse, Error> {
    let Prepared { vector, exclude, embed, tokens } = prepare(app, collection, query).await?;
    let settings = SearchSettings { exclude, ..settings };
    let found = app.store.search(collection, &vector, &settings).await?;
    let response = respond(collection, found, settings.limit, embed, tokens)?;
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

async fn prepare(app: &App, collection: &Collection, query: &Query) -> Result<Prepared, Error> {
    let definition = &collection.definition;
    let given = |vector, exclude| Prepared { vector, exclude, embed: Duration::ZERO, tokens: 0 };
    match query {
        Query::Vector(vector) => Ok(given(vector.values.clone(), None)),
        Query::Examples(_) => Err(Error::invalid("examples", "cannot be used yet")),
        Query::DocumentId(id) => {
            let (key, vector) = app.store.vector_of(&definition.name, id).await?;
            Ok(given(vector, Some(key)))
        }
        Query::Text(text) => {
            let began = Instant::now();
            let model = definition.model.as_ref();
            let model = model.ok_or_else(|| Error::invalid("text", "cannot be embedded without a model"))?;
            let prefixed: String;
            let text = if definition.query_prefix.is_empty() {
                text
            } else {
                prefixed = format!("{}{text}", definition.query_prefix);
                &prefixed
            };
            let embedded = app.embedders.embed(model, &[text]).await?;
            check_embedding(collection, &embedded.values)?;
            Ok(Prepared { vector: embedded.values, exclude: None, embed: began.elapsed(), tokens: embedded.tokens })
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
            ..Default::default()
        })
    });
    Ok(v1::SearchResponse {
        results: results.collect::<Result<_, Error>>()?,
        completeness: completeness.into(),
        usage: Some(v1::Usage { tokens: tokens as i64, ..Default::default() }),
        timing: Some(v1::Timing {
            embed: Some(to_duration(embed)),
            wait: Some(to_duration(found.wait)),
            database: Some(to_duration(found.database)),
        }),
        short_reason: short_reason.into(),
        ..Default::default()
    })
}

/// A duration of at most hours.
pub(crate) fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}
