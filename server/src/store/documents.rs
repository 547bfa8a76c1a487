//! Reading documents by id, and what the operations on documents share.

use std::{
    collections::HashMap,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use tokio_postgres::{Row, RowStream};

use super::{
    Collection, DocumentVersion, Store, StoreError, StoredDocument,
    catalog::Tables,
    wire::{Json, VectorColumn},
};

/// Most documents that a statement writes to. Bounds what it holds; the order of ids leads to the next ones.
pub(super) const BATCH: usize = 10_000;

#[derive(Debug)]
pub(super) struct Statements {
    get: String,
    get_with_vector: String,
    vectors_of: String,
    pub(super) delete_chunks: String,
    pub(super) delete_embeddings: String,
}

impl Statements {
    pub(super) fn new(tables: &Tables) -> Self {
        let Tables { documents, chunks, embeddings, extension, .. } = tables;
        Self {
            get: format!(
                "-- get_documents
                 SELECT id, text, metadata, version, created_at, updated_at FROM {documents} WHERE id = ANY($1)"
            ),
            get_with_vector: format!(
                "-- get_documents
                 SELECT d.id, d.text, d.metadata, d.version, d.created_at, d.updated_at,
                        (SELECT {extension}.avg(e.embedding) FROM {embeddings} e WHERE e.document_key = d.key)
                 FROM {documents} d WHERE d.id = ANY($1)"
            ),
            vectors_of: format!(
                "-- vectors_of
                 SELECT d.id, d.key,
                        (SELECT {extension}.avg(e.embedding) FROM {embeddings} e WHERE e.document_key = d.key)
                 FROM {documents} d WHERE d.id = ANY($1)"
            ),
            delete_chunks: format!(
                "-- delete_chunks
                 DELETE FROM {chunks} WHERE document_key = ANY($1)"
            ),
            delete_embeddings: format!(
                "-- delete_embeddings
                 DELETE FROM {embeddings} WHERE document_key = ANY($1)"
            ),
        }
    }
}

impl Store {
    /// Those of the documents that exist, by id. At most `max_bytes` of them.
    pub async fn get_documents(
        &self,
        collection: &str,
        ids: &[&str],
        with_vector: bool,
        max_bytes: usize,
    ) -> Result<HashMap<String, StoredDocument>, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection().await?;
            let statements = &entry.documents;
            let sql = if with_vector { &statements.get_with_vector } else { &statements.get };
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query_raw(&statement, [&ids]).await?;
            let documents = collect_bounded(rows, max_bytes, |row| {
                let document = read_versioned(row, with_vector.then_some(6))?;
                Ok((document.id.clone(), document))
            });
            let documents = documents.await?.into_iter().collect();
            connection.done();
            Ok(documents)
        })
        .await
    }

    /// The keys and the vectors of those of the documents that exist; of several chunks the mean of theirs.
    pub async fn vectors_of(
        &self,
        collection: &Collection,
        ids: &[&str],
    ) -> Result<HashMap<String, (i64, Option<Vec<f32>>)>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection().await?;
            let statement = connection.prepare_cached(&entry.documents.vectors_of).await?;
            let rows = connection.query(&statement, &[&ids]).await?;
            connection.done();
            let vector = |row: &Row| row.get::<_, Option<VectorColumn>>(2).map(|VectorColumn(vector)| vector);
            Ok(rows.iter().map(|row| (row.get(0), (row.get(1), vector(row)))).collect())
        })
        .await
    }

    /// The key and the vector of a document.
    pub async fn vector_of(&self, collection: &str, id: &str) -> Result<(i64, Vec<f32>), StoreError> {
        let found = self.vectors_of(&*self.collection(collection).await?, &[id]).await?;
        match found.into_values().next() {
            Some((key, Some(vector))) => Ok((key, vector)),
            Some((_, None)) => Err(StoreError::DocumentWithoutVector { collection: collection.into(), id: id.into() }),
            None => Err(StoreError::DocumentsNotFound { collection: collection.into(), ids: vec![id.into()] }),
        }
    }
}

/// Opens a transaction that ends at the deadline of its call.
pub(super) fn begin(deadline: Instant) -> String {
    let timeout = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    format!("BEGIN; SET LOCAL statement_timeout = {}", timeout.as_millis())
}

/// A row whose first columns are id, text and metadata; `vector` is the column of the vector.
pub(super) fn read_document(row: &Row, vector: Option<usize>) -> Result<StoredDocument, StoreError> {
    let Json(metadata) = row.try_get::<_, Json<&str>>(2)?;
    let vector = match vector {
        Some(column) => row.try_get::<_, Option<VectorColumn>>(column)?.map(|VectorColumn(values)| values),
        None => None,
    };
    Ok(StoredDocument { id: row.get(0), text: row.get(1), metadata: metadata.into(), vector, version: None })
}

/// The same, followed by version, created_at and updated_at.
pub(super) fn read_versioned(row: &Row, vector: Option<usize>) -> Result<StoredDocument, StoreError> {
    let version = DocumentVersion { number: row.get(3), created_at: row.get(4), updated_at: row.get(5) };
    Ok(StoredDocument { version: Some(version), ..read_document(row, vector)? })
}

/// Reads rows until they are larger than a response may be, so that no request can fill the memory of the server.
pub(super) async fn collect_bounded<T>(
    rows: RowStream,
    max_bytes: usize,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = pin!(rows);
    let mut collected = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        bytes += row.raw_size_bytes();
        if bytes > max_bytes {
            return Err(StoreError::ResponseTooLarge { limit: max_bytes });
        }
        collected.push(read(&row)?);
    }
    Ok(collected)
}
