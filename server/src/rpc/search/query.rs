//! Makes a vector of the query of a search.

use std::time::{Duration, Instant};

use pgfox::v1::{self, SearchMode, search_request::Query};

use super::check::Search;
use crate::{
    app::App,
    error::Error,
    rpc::embedding::check_embedding,
    rules::{Violations, can_hold, has_direction},
    store::{Collection, Distance, Excluded, StoreError},
};

/// A query with its vector.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// `None` if the search compares only words.
    pub(super) vector: Option<Vec<f32>>,
    /// Documents to leave out.
    pub(super) exclude: Excluded,
    pub(super) embed: Duration,
    pub(super) tokens: u64,
    pub(super) cached: usize,
}

/// Checks the rules of a query that depend on the collection.
pub(super) fn check(violations: &mut Violations, search: &Search, collection: &Collection) {
    match &search.query {
        Query::Vector(vector) if search.mode != SearchMode::FullText => {
            violations.vector("vector", &vector.values, collection);
        }
        Query::Text(_) if search.text_to_embed().is_some() => {
            let rule = "cannot be embedded: the collection has no model; send a vector";
            violations.check(collection.definition.model.is_some(), "text", rule);
        }
        _ => {}
    }
}

pub(super) async fn prepare(app: &App, collection: &Collection, search: &Search) -> Result<Prepared, Error> {
    if let Some(text) = search.text_to_embed() {
        let mut prepared = embed(app, collection, &[text]).await?;
        return prepared.pop().ok_or_else(|| Error::Internal("a text without its vector".into()));
    }
    match &search.query {
        Query::Text(_) => Ok(Prepared::default()),
        Query::Vector(vector) => Ok(Prepared { vector: Some(vector.values.clone()), ..Prepared::default() }),
        Query::DocumentId(id) => {
            let (mut vectors, exclude) = vectors_of(app, collection, &[id]).await?;
            Ok(Prepared { vector: vectors.pop(), exclude, ..Prepared::default() })
        }
        Query::Examples(v1::Examples { positive_ids, negative_ids }) => {
            let ids: Vec<&String> = positive_ids.iter().chain(negative_ids).collect();
            let (vectors, exclude) = vectors_of(app, collection, &ids).await?;
            let (positive, negative) = vectors.split_at(positive_ids.len());
            let vector = between(collection, positive, negative)?;
            Ok(Prepared { vector: Some(vector), exclude, ..Prepared::default() })
        }
    }
}

/// Embeds the texts of searches with one call. The first result carries the cost of all.
pub(super) async fn embed(app: &App, collection: &Collection, texts: &[&str]) -> Result<Vec<Prepared>, Error> {
    let began = Instant::now();
    let definition = &collection.definition;
    let model = definition.model.as_ref();
    let model = model.ok_or_else(|| Error::invalid("text", "cannot be embedded without a model"))?;
    let prefixed: Vec<String>;
    let prefixed_texts: Vec<&str>;
    let texts = if definition.query_prefix.is_empty() {
        texts
    } else {
        prefixed = texts.iter().map(|text| format!("{}{text}", definition.query_prefix)).collect();
        prefixed_texts = prefixed.iter().map(String::as_str).collect();
        &prefixed_texts
    };
    let embedded = app.embedders.embed_queries(model, texts).await?;
    let mut prepared = Vec::with_capacity(texts.len());
    for vector in embedded.values.chunks_exact(definition.dimensions) {
        check_embedding(collection, vector)?;
        prepared.push(Prepared { vector: Some(vector.to_owned()), embed: began.elapsed(), ..Prepared::default() });
    }
    if let Some(first) = prepared.first_mut() {
        (first.tokens, first.cached) = (embedded.tokens, embedded.cached);
    }
    Ok(prepared)
}

/// The vectors of documents in the order of the ids, and the documents to leave out. Fails if a document has no vector.
async fn vectors_of(
    app: &App,
    collection: &Collection,
    ids: &[impl AsRef<str>],
) -> Result<(Vec<Vec<f32>>, Excluded), Error> {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    let found = app.store.vectors_of(collection, &ids).await?;
    let name = || collection.definition.name.clone();
    let missing: Vec<String> = ids.iter().filter(|id| !found.contains_key(**id)).map(|id| (*id).to_owned()).collect();
    if !missing.is_empty() {
        return Err(StoreError::DocumentsNotFound { collection: name(), ids: missing }.into());
    }
    let mut vectors = Vec::with_capacity(ids.len());
    for id in &ids {
        match found.get(*id) {
            Some((_, Some(vector))) => vectors.push(vector.clone()),
            _ => return Err(StoreError::DocumentWithoutVector { collection: name(), id: (*id).to_owned() }.into()),
        }
    }
    let excluded = match &collection.definition.source {
        Some(_) => Excluded { ids: found.into_keys().collect(), ..Excluded::default() },
        None => Excluded { keys: found.values().map(|(key, _)| *key).collect(), ..Excluded::default() },
    };
    Ok((vectors, excluded))
}

/// `2 * p - n` of the means, or `p` alone without negative vectors.
fn between(collection: &Collection, positive: &[Vec<f32>], negative: &[Vec<f32>]) -> Result<Vec<f32>, Error> {
    let definition = &collection.definition;
    let is_cosine = definition.distance == Distance::Cosine;
    let mean = |vectors: &[Vec<f32>]| {
        let mut sum = vec![0.0; definition.dimensions];
        for vector in vectors {
            let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let scale = if is_cosine && length > 0.0 { 1.0 / length } else { 1.0 } / vectors.len() as f64;
            for (sum, value) in sum.iter_mut().zip(vector) {
                *sum += f64::from(*value) * scale;
            }
        }
        sum
    };
    let mut vector = mean(positive);
    if !negative.is_empty() {
        for (value, negative) in vector.iter_mut().zip(mean(negative)) {
            *value = 2.0 * *value - negative;
        }
    }
    // If vectors cancel out, only the rounding errors of their last digits are left.
    let is_nothing = vector.iter().all(|value| value.abs() < 1e-7);
    let vector: Vec<f32> = vector.into_iter().map(|value| value as f32).collect();
    if is_cosine && (is_nothing || !has_direction(&vector, definition.vector_type)) {
        let rule = "cancel out to a vector of length zero, which DISTANCE_COSINE cannot compare: use other examples";
        return Err(Error::invalid("examples", rule));
    }
    if !vector.iter().all(|value| value.is_finite()) || !can_hold(&vector, definition.vector_type) {
        return Err(Error::invalid(
            "examples",
            "result in a vector with numbers that are too large for the collection: use other examples",
        ));
    }
    Ok(vector)
}
