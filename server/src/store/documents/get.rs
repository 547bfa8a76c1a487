//! Reading documents by id.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{collect_bounded, read_versioned};
use crate::store::{Collection, Store, StoreError, StoredDocument, wire::VectorColumn};

impl Store {
    /// Those of the documents that exist, by id. At most `max_bytes` of them.
    pub(crate) async fn get_documents(
        &self,
        collection: &str,
        ids: &[&str],
        with_vector: bool,
        max_bytes: usize,
    ) -> Result<HashMap<String, StoredDocument>, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let statements = &entry.documents;
            let sql = if with_vector { &statements.get_with_vector } else { &statements.get };
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query_raw(&statement, &[&ids]).await?;
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
    pub(crate) async fn vectors_of(
        &self,
        collection: &Collection,
        ids: &[&str],
    ) -> Result<HashMap<String, (i64, Option<Vec<f32>>)>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let statement = connection.prepare_cached(&entry.documents.vectors_of).await?;
            let rows = connection.query(&statement, &[&ids]).await?;
            connection.done();
            let vector = |row: &Row| row.get::<_, Option<VectorColumn>>(2).map(|VectorColumn(vector)| vector);
            Ok(rows.iter().map(|row| (row.get(0), (row.get(1), vector(row)))).collect())
        })
        .await
    }
}
