//! Writing documents: what is stored already, and the one transaction that stores the rest.

use std::{collections::HashMap, pin::pin, time::Duration};

use futures_util::SinkExt as _;

use super::{
    Collection, Store, StoreError,
    collections::{Entry, Tables},
    connect::Connection,
    wire::{Json, VectorValue, copy_frames},
};

/// A content hash: SHA-256.
pub type ContentHash = [u8; 32];

/// A document to write.
#[derive(Clone, Copy, Debug)]
pub struct NewDocument<'a> {
    pub id: &'a str,
    pub text: &'a str,
    /// A JSON object.
    pub metadata: &'a str,
    /// Of all that the vector depends on.
    pub content_hash: &'a ContentHash,
    pub content: Content<'a>,
}

/// What to do with the text and the vector of a document.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The stored hash was the same: at most the metadata changes.
    Unchanged,
    /// Store the text and this vector.
    Vector(&'a [f32]),
    /// Store the text without a vector.
    NoVector,
}

/// What [`Store::write`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub inserted: usize,
    pub updated: usize,
    pub unchanged: usize,
}

/// From this many new rows on COPY is faster than an INSERT of arrays.
const COPY_ROWS: usize = 64;

#[derive(Debug)]
pub(super) struct Statements {
    stored_hashes: String,
    upsert_documents: String,
    update_metadata: String,
    upsert_embeddings: String,
    delete_embeddings: String,
    copy_embeddings: String,
}

impl Statements {
    pub(super) fn new(tables: &Tables, collection: &Collection) -> Self {
        let Tables { documents, embeddings, extension, .. } = tables;
        let vector_type = collection.definition.vector_type.name();
        Self {
            stored_hashes: format!(
                "-- stored_hashes
                 SELECT id, content_hash FROM {documents} WHERE id = ANY($1)"
            ),
            upsert_documents: format!(
                "-- upsert_documents
                 INSERT INTO {documents} AS d (id, text, metadata, content_hash)
                 SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[])
                 ON CONFLICT (id) DO UPDATE SET text = excluded.text, metadata = excluded.metadata,
                     content_hash = excluded.content_hash, version = d.version + 1, updated_at = now()
                 RETURNING d.id, d.key, d.version > 1"
            ),
            // A row whose content has changed since it was read is left to the one who changed it: as if this write had
            // come just before. Rows are locked in the order of their ids, as every write does, against deadlocks.
            update_metadata: format!(
                "-- update_metadata
                 WITH changed AS MATERIALIZED (
                     SELECT d.key, n.metadata
                     FROM {documents} d JOIN unnest($1::text[], $2::jsonb[], $3::bytea[]) AS n (id, metadata, content_hash)
                         ON d.id = n.id AND d.content_hash = n.content_hash AND d.metadata <> n.metadata
                     ORDER BY d.id COLLATE \"C\" FOR UPDATE OF d)
                 UPDATE {documents} d SET metadata = c.metadata, version = d.version + 1, updated_at = now()
                 FROM changed c WHERE d.key = c.key"
            ),
            upsert_embeddings: format!(
                "-- upsert_embeddings
                 INSERT INTO {embeddings} (document_key, embedding)
                 SELECT * FROM unnest($1::bigint[], $2::{extension}.{vector_type}[])
                 ON CONFLICT (document_key, chunk) DO UPDATE SET embedding = excluded.embedding"
            ),
            delete_embeddings: format!(
                "-- delete_embeddings
                 DELETE FROM {embeddings} WHERE document_key = ANY($1)"
            ),
            copy_embeddings: format!("COPY {embeddings} (document_key, embedding) FROM STDIN (FORMAT binary)"),
        }
    }
}

impl Store {
    /// The content hashes of those of the documents that exist.
    pub async fn stored_hashes(
        &self,
        collection: &Collection,
        ids: &[&str],
    ) -> Result<HashMap<String, ContentHash>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection().await?;
            let statement = connection.prepare_cached(&entry.ingest.stored_hashes).await?;
            let rows = connection.query(&statement, &[&ids]).await?;
            connection.done();
            // A hash of another length is one that nothing equals.
            let hash = |bytes: &[u8]| ContentHash::try_from(bytes).unwrap_or_default();
            Ok(rows.iter().map(|row| (row.get(0), hash(row.get(1)))).collect())
        })
        .await
    }

    /// Stores documents, sorted by id and each id once, in one transaction; returns after COMMIT.
    pub async fn write(
        &self,
        collection: &Collection,
        documents: &[NewDocument<'_>],
        timeout: Duration,
    ) -> Result<Written, StoreError> {
        let (kept, changed): (Vec<_>, Vec<_>) =
            documents.iter().copied().partition(|document| matches!(document.content, Content::Unchanged));
        let (kept, changed) = (&kept[..], &changed[..]);
        self.with_collection(&collection.definition.name, |entry| async move {
            if entry.collection.id != collection.id {
                // The documents were meant for the one that is gone.
                return Err(StoreError::CollectionReplaced(collection.definition.name.clone()));
            }
            let connection = self.connection().await?;
            let mut written = Written::default();
            if changed.is_empty() {
                // One statement is a transaction by itself.
                written.updated = update_metadata(&connection, &entry, kept).await?;
            } else {
                let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", timeout.as_millis().max(1));
                let (begun, upserted) = futures_util::join!(
                    connection.batch_execute(&begin),
                    upsert_documents(&connection, &entry, changed)
                );
                begun?;
                let upserted = upserted?;
                written.inserted = upserted.iter().filter(|row| !row.existed).count();
                written.updated = upserted.len() - written.inserted;
                if !kept.is_empty() {
                    written.updated += update_metadata(&connection, &entry, kept).await?;
                }
                write_embeddings(&connection, &entry, changed, &upserted).await?;
                connection.batch_execute("COMMIT").await?;
            }
            connection.done();
            written.unchanged = documents.len() - written.inserted - written.updated;
            Ok(written)
        })
        .await
    }
}

/// A row that [`upsert_documents`] wrote.
struct Upserted {
    key: i64,
    existed: bool,
    /// Position in the documents that were written.
    index: usize,
}

async fn upsert_documents(
    connection: &Connection,
    entry: &Entry,
    documents: &[NewDocument<'_>],
) -> Result<Vec<Upserted>, StoreError> {
    let statement = connection.prepare_cached(&entry.ingest.upsert_documents).await?;
    let ids: Vec<&str> = documents.iter().map(|document| document.id).collect();
    let texts: Vec<&str> = documents.iter().map(|document| document.text).collect();
    let metadata: Vec<Json<&str>> = documents.iter().map(|document| Json(document.metadata)).collect();
    let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
    let rows = connection.query(&statement, &[&ids, &texts, &metadata, &hashes]).await?;
    rows.iter()
        .map(|row| {
            // SQL promises no order, so each row is found by its id; ids are sorted.
            let index = ids.binary_search(&row.get(0));
            let index = index.map_err(|_| StoreError::Internal("an upsert returned another id".into()))?;
            Ok(Upserted { key: row.get(1), existed: row.get(2), index })
        })
        .collect()
}

/// Writes the metadata of documents whose content is stored; returns how many it changed.
async fn update_metadata(
    connection: &Connection,
    entry: &Entry,
    documents: &[NewDocument<'_>],
) -> Result<usize, StoreError> {
    let statement = connection.prepare_cached(&entry.ingest.update_metadata).await?;
    let ids: Vec<&str> = documents.iter().map(|document| document.id).collect();
    let metadata: Vec<Json<&str>> = documents.iter().map(|document| Json(document.metadata)).collect();
    let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
    Ok(connection.execute(&statement, &[&ids, &metadata, &hashes]).await? as usize)
}

async fn write_embeddings(
    connection: &Connection,
    entry: &Entry,
    documents: &[NewDocument<'_>],
    upserted: &[Upserted],
) -> Result<(), StoreError> {
    let vector_type = entry.collection.definition.vector_type;
    let mut vectors = Vec::with_capacity(upserted.len());
    let mut without = Vec::new();
    for row in upserted {
        match documents[row.index].content {
            Content::Vector(values) => vectors.push((row.key, VectorValue { values, vector_type })),
            _ if row.existed => without.push(row.key),
            _ => {}
        }
    }
    if !without.is_empty() {
        let statement = connection.prepare_cached(&entry.ingest.delete_embeddings).await?;
        connection.execute(&statement, &[&without]).await?;
    }
    if vectors.is_empty() {
        return Ok(());
    }
    if vectors.len() >= COPY_ROWS && upserted.iter().all(|row| !row.existed) {
        let mut sink = pin!(connection.copy_in(&entry.ingest.copy_embeddings).await?);
        for frame in copy_frames(vectors.into_iter()) {
            sink.as_mut().feed(frame).await?;
        }
        sink.as_mut().finish().await?;
        return Ok(());
    }
    let statement = connection.prepare_cached(&entry.ingest.upsert_embeddings).await?;
    let (keys, vectors): (Vec<i64>, Vec<VectorValue<'_>>) = vectors.into_iter().unzip();
    connection.execute(&statement, &[&keys, &vectors]).await?;
    Ok(())
}
