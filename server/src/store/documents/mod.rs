//! Reads, lists, changes and deletes documents. `ingest` writes them.

mod delete;
mod facet;
mod get;
mod list;
mod update_metadata;

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Row, RowStream};

pub(crate) use facet::Facets;
pub(crate) use list::{DocumentOrder, Listing, Position};
pub(super) use update_metadata::compact_len;
pub(crate) use update_metadata::{Changed, MetadataChange};

use super::{
    DocumentVersion, Filter, StoreError, StoredDocument, VectorType,
    catalog::Entry,
    connection::Connection,
    tables::Tables,
    transaction::Transaction,
    wire::{Json, Parameters, VectorColumn},
};

/// Maximum number of documents that one statement writes. This limits its locks and memory; the next statement
/// continues in the order of ids.
pub(super) const BATCH: usize = 10_000;

/// Begins a transaction and runs the first batch of a change. Fails if more than `limit` documents match.
pub(super) async fn begin_change<T>(
    connection: &Connection,
    transaction: &Transaction<'_>,
    entry: &Entry,
    filter: &Filter,
    limit: usize,
    first: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // A list of ids has its own limit and is changed in one round trip.
    if matches!(filter, Filter::Ids(ids) if ids.len() <= limit) {
        let (begun, first) = futures_util::join!(transaction.begin(), first);
        begun?;
        return first;
    }
    let (begun, exceeds) = futures_util::join!(transaction.begin(), exceeds(connection, entry, filter, limit));
    begun?;
    if exceeds? {
        let collection = entry.collection.definition.name.clone();
        return Err(StoreError::TooManyDocuments { collection, limit });
    }
    first.await
}

/// Whether more than `limit` documents match a filter.
async fn exceeds(connection: &Connection, entry: &Entry, filter: &Filter, limit: usize) -> Result<bool, StoreError> {
    let mut parameters = Parameters::default();
    let condition = filter.sql(entry.functions(), &mut parameters);
    let sql = format!(
        "-- exceeds
         SELECT EXISTS (SELECT FROM {documents} d WHERE {condition} OFFSET {limit})",
        documents = entry.tables.documents
    );
    Ok(connection.query_typed_one(&sql, &parameters.typed()).await?.get(0))
}

#[derive(Debug)]
pub(super) struct DocumentStatements {
    get: String,
    get_with_vector: String,
    vectors_of: String,
    pub(super) delete_chunks: String,
    pub(super) delete_embeddings: String,
}

impl DocumentStatements {
    pub(super) fn new(tables: &Tables, vector_type: VectorType) -> Self {
        let Tables { documents, chunks, embeddings, .. } = tables;
        let vector = tables.vector_of("d", &format!("{}_send", vector_type.name()));
        Self {
            get: format!(
                "-- get_documents
                 SELECT d.id, d.text, d.metadata, d.version, d.created_at, d.updated_at
                 FROM {documents} d WHERE d.id = ANY($1)"
            ),
            get_with_vector: format!(
                "-- get_documents
                 SELECT d.id, d.text, d.metadata, d.version, d.created_at, d.updated_at,
                        {vector}
                 FROM {documents} d WHERE d.id = ANY($1)"
            ),
            vectors_of: format!(
                "-- vectors_of
                 SELECT d.id, d.key,
                        {vector}
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

/// Reads a row whose first columns are id, text and metadata. `vector` is the column of the vector.
pub(super) fn read_document(row: &Row, vector: Option<usize>) -> Result<StoredDocument, StoreError> {
    let Json(metadata) = row.try_get::<_, Json<&str>>(2)?;
    let vector = match vector {
        Some(column) => row.try_get::<_, Option<VectorColumn>>(column)?.map(|VectorColumn(values)| values),
        None => None,
    };
    Ok(StoredDocument { id: row.get(0), text: row.get(1), metadata: metadata.into(), vector, version: None })
}

/// The same, followed by version, created_at and updated_at, which are null in an attached collection.
pub(super) fn read_versioned(row: &Row, vector: Option<usize>) -> Result<StoredDocument, StoreError> {
    let version = row.get::<_, Option<i64>>(3).map(|number| DocumentVersion {
        number,
        created_at: row.get(4),
        updated_at: row.get(5),
    });
    Ok(StoredDocument { version, ..read_document(row, vector)? })
}

/// Reads rows until they exceed the maximum size of a response, so that no request can fill the memory of the server.
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
