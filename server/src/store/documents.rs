//! Reading and deleting documents by id.

use std::{collections::HashMap, pin::pin};

use futures_util::TryStreamExt as _;
use tokio_postgres::{Row, RowStream, types::ToSql};

use super::{
    Store, StoreError, StoredDocument,
    collections::Tables,
    wire::{Json, VectorColumn},
};

#[derive(Debug)]
pub(super) struct Statements {
    get: String,
    get_with_vector: String,
    vector_of: String,
    delete_documents: String,
    delete_embeddings: String,
}

impl Statements {
    pub(super) fn new(tables: &Tables) -> Self {
        let Tables { documents, embeddings, .. } = tables;
        Self {
            get: format!(
                "-- get_documents
                 SELECT id, text, metadata FROM {documents} WHERE id = ANY($1)"
            ),
            get_with_vector: format!(
                "-- get_documents
                 SELECT d.id, d.text, d.metadata, e.embedding
                 FROM {documents} d LEFT JOIN {embeddings} e ON e.document_key = d.key AND e.chunk = 0
                 WHERE d.id = ANY($1)"
            ),
            vector_of: format!(
                "-- vector_of
                 SELECT d.key, e.embedding
                 FROM {documents} d LEFT JOIN {embeddings} e ON e.document_key = d.key AND e.chunk = 0
                 WHERE d.id = $1"
            ),
            // Rows are locked in the order in which writes lock them.
            delete_documents: format!(
                "-- delete_documents
                 WITH doomed AS (SELECT key FROM {documents} WHERE id = ANY($1) ORDER BY id COLLATE \"C\" FOR UPDATE)
                 DELETE FROM {documents} d USING doomed WHERE d.key = doomed.key RETURNING d.key"
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
                let document = read_document(row, with_vector.then_some(3))?;
                Ok((document.id.clone(), document))
            });
            let documents = documents.await?.into_iter().collect();
            connection.done();
            Ok(documents)
        })
        .await
    }

    /// The key and the vector of a document.
    pub async fn vector_of(&self, collection: &str, id: &str) -> Result<(i64, Vec<f32>), StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection().await?;
            let statement = connection.prepare_cached(&entry.documents.vector_of).await?;
            let row = connection.query_opt(&statement, &[&id]).await?;
            connection.done();
            let Some(row) = row else {
                return Err(StoreError::DocumentsNotFound { collection: collection.into(), ids: vec![id.into()] });
            };
            let Some(VectorColumn(vector)) = row.get(1) else {
                return Err(StoreError::DocumentWithoutVector { collection: collection.into(), id: id.into() });
            };
            Ok((row.get(0), vector))
        })
        .await
    }

    /// Deletes documents; returns how many there were.
    pub async fn delete_documents(&self, collection: &str, ids: &[&str]) -> Result<usize, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection().await?;
            let delete_documents = connection.prepare_cached(&entry.documents.delete_documents).await?;
            let delete_embeddings = connection.prepare_cached(&entry.documents.delete_embeddings).await?;
            let ids: [&(dyn ToSql + Sync); 1] = [&ids];
            let (begun, rows) =
                futures_util::join!(connection.batch_execute("BEGIN"), connection.query(&delete_documents, &ids));
            begun?;
            let keys: Vec<i64> = rows?.iter().map(|row| row.get(0)).collect();
            // A statement of its own, so that it sees vectors written while the first one waited for a row.
            let doomed: [&(dyn ToSql + Sync); 1] = [&keys];
            let (deleted, committed) = futures_util::join!(
                connection.execute(&delete_embeddings, &doomed),
                connection.batch_execute("COMMIT")
            );
            deleted?;
            committed?;
            connection.done();
            Ok(keys.len())
        })
        .await
    }
}

/// A row whose first columns are id, text and metadata; `vector` is the column of the vector.
pub(super) fn read_document(row: &Row, vector: Option<usize>) -> Result<StoredDocument, StoreError> {
    let Json(metadata) = row.try_get::<_, Json<&str>>(2)?;
    let vector = match vector {
        Some(column) => row.try_get::<_, Option<VectorColumn>>(column)?.map(|VectorColumn(values)| values),
        None => None,
    };
    Ok(StoredDocument { id: row.get(0), text: row.get(1), metadata: metadata.into(), vector })
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
