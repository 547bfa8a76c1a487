//! Deleting documents: their own rows first, which hold the locks, then their chunks and vectors.

use std::time::Instant;

use tokio_postgres::types::Type;

use super::{BATCH, begin_change};
use crate::store::{
    Filter, Store, StoreError,
    catalog::Entry,
    connection::{Connection, Value},
    tables::Tables,
    transaction::{IN_TRANSACTION, Transaction},
    wire::Parameters,
};

impl Store {
    /// Deletes at most `limit` documents in one transaction; returns how many there were.
    pub(crate) async fn delete_documents(
        &self,
        collection: &str,
        filter: &Filter,
        limit: usize,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let delete_chunks = connection.prepare_cached(&entry.documents.delete_chunks).await?;
            let delete_embeddings = connection.prepare_cached(&entry.documents.delete_embeddings).await?;
            let transaction = Transaction::new(&connection).deadline(deadline).pipelined();
            let first = delete_batch(&connection, &entry, filter, "");
            let mut batch = begin_change(&connection, &transaction, &entry, filter, limit, first).await?;
            let mut deleted = 0;
            loop {
                deleted += batch.keys.len();
                // Statements of their own, so that they see chunks and vectors written while the first one waited for a
                // row.
                let keys: [&dyn Value; 1] = [&batch.keys];
                let chunks = connection.execute(&delete_chunks, &keys);
                let embeddings = connection.execute(&delete_embeddings, &keys);
                if batch.keys.len() < BATCH {
                    let (chunks, embeddings, committed) = futures_util::join!(chunks, embeddings, transaction.commit());
                    chunks?;
                    embeddings?;
                    committed?;
                    connection.done();
                    return Ok(deleted);
                }
                let next = delete_batch(&connection, &entry, filter, &batch.last);
                let (chunks, embeddings, next) = futures_util::join!(chunks, embeddings, next);
                chunks?;
                embeddings?;
                batch = next?;
            }
        })
        .await
    }
}

/// Documents that are deleted.
struct Batch {
    keys: Vec<i64>,
    /// The greatest of their ids.
    last: String,
}

/// Deletes the first of the documents behind an id. Rows are locked in the order of their ids, as every write does.
async fn delete_batch(
    connection: &Connection,
    entry: &Entry,
    filter: &Filter,
    after: &str,
) -> Result<Batch, StoreError> {
    let Tables { documents, .. } = &entry.tables;
    let mut parameters = Parameters::default();
    let condition = filter.sql(entry.functions(), &mut parameters);
    let after = parameters.push(after, Type::TEXT);
    let sql = format!(
        "-- delete_documents
         WITH doomed AS MATERIALIZED (
             SELECT d.key FROM {documents} d WHERE {condition} AND d.id > ${after} AND {IN_TRANSACTION}
             ORDER BY d.id LIMIT {BATCH} FOR UPDATE)
         DELETE FROM {documents} d USING doomed WHERE d.key = doomed.key RETURNING d.key, d.id"
    );
    let rows = connection.query_typed(&sql, &parameters.typed()).await?;
    let last = rows.iter().map(|row| row.get::<_, &str>(1)).max().unwrap_or_default().to_owned();
    Ok(Batch { keys: rows.iter().map(|row| row.get(0)).collect(), last })
}
