//! Ingest and IngestStream: check, find out what changed, embed that, and store it in one transaction.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;

use crate::{
    App,
    embed::{EmbedError, Embeddings},
    error::Error,
    store::{Collection, Content, ContentHash, Distance, NewDocument},
    validate::{self, CheckedDocument, Violations, can_hold, has_direction},
};

/// A request that keeps the rules.
#[derive(Debug)]
pub(crate) struct Checked {
    collection: Arc<Collection>,
    /// Sorted by id, each id once.
    documents: Vec<CheckedDocument>,
    errors: Vec<v1::DocumentError>,
    sequence: i64,
    /// How long checking took, most of it hashing.
    check: Duration,
}

pub(crate) async fn ingest(
    app: &App,
    request: v1::IngestRequest,
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let checked = check(app, request).await?;
    store(app, checked, deadline).await
}

/// The part that needs only the processor: a stream does it for the next request while the one before is stored.
pub(crate) async fn check(app: &App, request: v1::IngestRequest) -> Result<Checked, Error> {
    let v1::IngestRequest { collection, documents, sequence, skip_invalid, .. } = request;
    let mut violations = Violations::default();
    violations.name("collection", &collection);
    violations.finish()?;
    // Not the cache: documents for a collection that another server has replaced would be checked by the wrong rules.
    let collection = app.store.current_collection(&collection).await?;
    let began = Instant::now();
    let (documents, errors) = validate::documents(documents, &collection, skip_invalid)?;
    Ok(Checked { collection, documents, errors, sequence, check: began.elapsed() })
}

pub(crate) async fn store(app: &App, checked: Checked, deadline: Instant) -> Result<v1::IngestResponse, Error> {
    let Checked { collection, documents, errors, sequence, check } = checked;
    let mut response = v1::IngestResponse { sequence, errors, usage: Some(v1::Usage::default()), ..Default::default() };
    if documents.is_empty() {
        return Ok(response);
    }
    let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    let began = Instant::now();
    let stored = app.store.stored_hashes(&collection, &ids).await?;
    let read = Instant::now();
    let embedded = embed(app, &collection, &documents, &stored).await?;
    let embed = read.elapsed();

    let dimensions = collection.definition.dimensions;
    let mut vectors = embedded.values.chunks_exact(dimensions.max(1));
    let new: Vec<NewDocument<'_>> = documents
        .iter()
        .map(|document| NewDocument {
            id: &document.id,
            text: &document.text,
            metadata: &document.metadata,
            content_hash: &document.content_hash,
            content: if is_stored(document, &stored) {
                Content::Unchanged
            } else if let Some(vector) = &document.vector {
                Content::Vector(vector)
            } else if document.needs_embedding() {
                vectors.next().map_or(Content::NoVector, Content::Vector)
            } else {
                Content::NoVector
            },
        })
        .collect();
    let unembedded = new.iter().filter(|document| matches!(document.content, Content::NoVector)).count();
    let Ok(_writer) = app.writers.acquire().await else {
        return Err(Error::ShuttingDown);
    };
    let timeout = deadline.saturating_duration_since(Instant::now());
    let writing = Instant::now();
    let written = app.store.write(&collection, &new, timeout).await?;
    tracing::debug!(
        documents = documents.len(),
        check_us = check.as_micros(),
        read_us = (read - began).as_micros(),
        embed_us = embed.as_micros(),
        write_us = writing.elapsed().as_micros(),
        "stored a request"
    );

    // Counts of at most 1,000 documents.
    response.upserted_count = (written.inserted + written.updated) as i32;
    response.updated_count = written.updated as i32;
    response.unchanged_count = written.unchanged as i32;
    response.unembedded_count = unembedded as i32;
    response.truncated_count = embedded.truncated.iter().filter(|truncated| **truncated).count() as i32;
    response.usage = Some(v1::Usage { tokens: embedded.tokens as i64, ..Default::default() });
    Ok(response)
}

fn is_stored(document: &CheckedDocument, stored: &HashMap<String, ContentHash>) -> bool {
    stored.get(&document.id) == Some(&document.content_hash)
}

/// Embeds the texts that are new or changed, in their order. No connection to the database is held meanwhile.
async fn embed(
    app: &App,
    collection: &Collection,
    documents: &[CheckedDocument],
    stored: &HashMap<String, ContentHash>,
) -> Result<Embeddings, Error> {
    let definition = &collection.definition;
    let changed = documents.iter().filter(|document| document.needs_embedding() && !is_stored(document, stored));
    let Some(model) = &definition.model else {
        return Ok(Embeddings::default());
    };
    let prefix = &definition.document_prefix;
    let prefixed: Vec<String>;
    let texts: Vec<&str> = if prefix.is_empty() {
        changed.map(|document| document.text.as_str()).collect()
    } else {
        prefixed = changed.map(|document| format!("{prefix}{}", document.text)).collect();
        prefixed.iter().map(String::as_str).collect()
    };
    if texts.is_empty() {
        return Ok(Embeddings::default());
    }
    let embedded = app.embedders.embed(model, &texts).await?;
    for vector in embedded.values.chunks_exact(definition.dimensions) {
        check_embedding(collection, vector)?;
    }
    Ok(embedded)
}

/// A model can give what the collection cannot hold.
pub(crate) fn check_embedding(collection: &Collection, vector: &[f32]) -> Result<(), Error> {
    let definition = &collection.definition;
    let why = if !can_hold(vector, definition.vector_type) {
        "it gave a vector with a number that the collection cannot hold"
    } else if definition.distance == Distance::Cosine && !has_direction(vector, definition.vector_type) {
        "it gave a vector of length zero, which DISTANCE_COSINE cannot compare"
    } else {
        return Ok(());
    };
    Err(EmbedError::Unavailable { why: why.into(), retry_after: Duration::from_secs(10) }.into())
}
