//! Deletes documents: first their own rows, which hold the locks, then their chunks and vectors.

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
    /// Deletes at most `limit` documents in one transaction. Returns how many there were.
    pub(crate) async fn delete_documents(
        &self,
        collection: &str,
        filter: &Filter,
        limit: usize,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        self.with_collection(collection, |entry| async move {
            entry.collection.check_not_followed()?;
            match &entry.tables.source {
                Some(source) => self.delete_rows(&entry, source, filter, limit, deadline).await,
                None => self.delete_own(&entry, filter, limit, deadline).await,
            }
        })
        .await
    }

    /// The same for documents in tables of pgfox.
    pub(in crate::store) async fn delete_own(
        &self,
        entry: &Entry,
        filter: &Filter,
        limit: usize,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        let connection = self.connection_to(entry).await?;
        let delete_chunks = connection.prepare_cached(&entry.documents.delete_chunks).await?;
        let delete_embeddings = connection.prepare_cached(&entry.documents.delete_embeddings).await?;
        let transaction = Transaction::new(&connection).deadline(deadline).pipelined();
        let first = delete_batch(&connection, entry, filter, "");
        let mut batch = begin_change(&connection, &transaction, entry, filter, limit, first).await?;
        let mut deleted = 0;
        loop {
            deleted += batch.keys.len();
            // Separate statements, so that they see chunks and vectors that were written while the first one waited
            // for a row.
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
            let next = delete_batch(&connection, entry, filter, &batch.last);
            let (chunks, embeddings, next) = futures_util::join!(chunks, embeddings, next);
            chunks?;
            embeddings?;
            batch = next?;
        }
    }
}

/// Deleted documents.
struct Batch {
    keys: Vec<i64>,
    /// The greatest of their ids.
    last: String,
}

/// Deletes the first documents after an id. Like every write, it locks rows in the order of their ids.
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
