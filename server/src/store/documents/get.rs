//! Reads documents by id.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{collect_bounded, read_versioned};
use crate::store::{
    Collection, Source, Store, StoreError, StoredDocument,
    catalog::Entry,
    wire::{Parameters, VectorColumn},
};

impl Store {
    /// The existing documents among these ids, at most `max_bytes` of them.
    pub(crate) async fn get_documents(
        &self,
        collection: &str,
        ids: &[&str],
        with_vector: bool,
        max_bytes: usize,
    ) -> Result<HashMap<String, StoredDocument>, StoreError> {
        self.with_collection(collection, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            if let Some(source) = &entry.tables.source {
                let mut parameters = Parameters::default();
                let sql = attached_sql(&entry, source, ids, with_vector, &mut parameters);
                let rows = connection.query_typed_raw(&sql, parameters.typed()).await?;
                let documents = collect_bounded(rows, max_bytes, |row| read_versioned(row, with_vector.then_some(6)));
                let documents = documents.await?.into_iter().map(|document| (document.id.clone(), document));
                let documents = by_given_id(source, ids, documents.collect());
                connection.done();
                return Ok(documents);
            }
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

    /// The keys and the vectors of the existing documents among these ids. The vector of a document with several chunks
    /// is the mean of theirs.
    pub(crate) async fn vectors_of(
        &self,
        collection: &Collection,
        ids: &[&str],
    ) -> Result<HashMap<String, (i64, Option<Vec<f32>>)>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            if let Some(source) = &entry.tables.source {
                let mut parameters = Parameters::default();
                let sql = attached_sql(&entry, source, ids, true, &mut parameters);
                let rows = connection.query_typed(&sql, &parameters.typed()).await?;
                connection.done();
                let vector = |row: &Row| row.get::<_, Option<VectorColumn>>(6).map(|VectorColumn(vector)| vector);
                // Another number of dimensions is that of another model.
                let vector = |row: &Row| vector(row).filter(|values| values.len() == collection.definition.dimensions);
                let found = rows.iter().map(|row| (row.get(0), (0, vector(row)))).collect();
                return Ok(by_given_id(source, ids, found));
            }
            let statement = connection.prepare_cached(&entry.documents.vectors_of).await?;
            let rows = connection.query(&statement, &[&ids]).await?;
            connection.done();
            let vector = |row: &Row| row.get::<_, Option<VectorColumn>>(2).map(|VectorColumn(vector)| vector);
            Ok(rows.iter().map(|row| (row.get(0), (row.get(1), vector(row)))).collect())
        })
        .await
    }
}

/// The documents of an attached collection with these ids.
fn attached_sql<'a>(
    entry: &Entry,
    source: &Source,
    ids: &'a [&'a str],
    with_vector: bool,
    parameters: &mut Parameters<'a>,
) -> String {
    let definition = &entry.collection.definition;
    let vector = match with_vector {
        true => entry.tables.vector_of("d", &format!("{}_send", definition.vector_type.name())),
        false => "NULL::bytea".to_owned(),
    };
    format!(
        "-- get_documents
         SELECT d.id, d.text, d.metadata, d.version, d.created_at, d.updated_at, {vector}
         FROM {documents} d WHERE {condition}",
        documents = entry.tables.documents,
        condition = source.has_id(ids.iter().copied(), parameters),
    )
}

/// Adds the documents under the ids of the request, if those are written differently.
fn by_given_id<T: Clone>(source: &Source, ids: &[&str], mut found: HashMap<String, T>) -> HashMap<String, T> {
    for id in ids {
        if !found.contains_key(*id)
            && let Some(value) = source.canonical_id(id).and_then(|id| found.get(&id).cloned())
        {
            found.insert((*id).to_owned(), value);
        }
    }
    found
}
