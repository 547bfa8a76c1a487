//! Changes the metadata of documents that a filter selects. Texts and vectors stay.

use std::{pin::pin, time::Instant};

use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;

use super::{BATCH, begin_change};
use crate::store::{
    Filter, Store, StoreError,
    catalog::Entry,
    connection::Connection,
    tables::Tables,
    transaction::{IN_TRANSACTION, Transaction},
    wire::{Json, Parameters},
};

/// A change of metadata.
#[derive(Clone, Debug)]
pub(crate) struct MetadataChange {
    /// A JSON object.
    pub metadata: String,
    /// Replace the metadata. Otherwise merge the two by RFC 7396.
    pub replace: bool,
    /// Maximum size of the result as JSON, in bytes.
    pub max_bytes: usize,
}

/// The result of [`Store::update_metadata`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The number of documents that the filter selects.
    pub matched: i64,
    /// The number of those whose metadata changed.
    pub updated: i64,
}

impl Store {
    /// Changes the metadata of at most `limit` documents in one transaction.
    pub(crate) async fn update_metadata(
        &self,
        collection: &str,
        filter: &Filter,
        change: &MetadataChange,
        limit: usize,
        deadline: Instant,
    ) -> Result<Changed, StoreError> {
        self.with_collection(collection, |entry| async move {
            entry.collection.check_not_followed()?;
            if let Some(source) = &entry.tables.source {
                return self.update_rows(&entry, source, filter, change, limit, deadline).await;
            }
            let connection = self.connection_to(&entry).await?;
            let transaction = Transaction::new(&connection).deadline(deadline).pipelined();
            let first = update_batch(&connection, &entry, filter, change, "");
            let mut batch = begin_change(&connection, &transaction, &entry, filter, limit, first).await?;
            let mut changed = batch.changed;
            while batch.changed.matched == BATCH as i64 {
                batch = update_batch(&connection, &entry, filter, change, &batch.last).await?;
                changed.matched += batch.changed.matched;
                changed.updated += batch.changed.updated;
            }
            transaction.commit().await?;
            connection.done();
            Ok(changed)
        })
        .await
    }

    /// Counts the documents that [`Store::update_metadata`] would change.
    pub(crate) async fn count_changes(
        &self,
        collection: &str,
        filter: &Filter,
        change: &MetadataChange,
    ) -> Result<Changed, StoreError> {
        self.with_collection(collection, |entry| async move {
            entry.collection.check_not_followed()?;
            if let Some(source) = &entry.tables.source {
                return self.count_row_changes(&entry, source, filter, change).await;
            }
            let Tables { documents, internal, .. } = &entry.tables;
            let mut parameters = Parameters::default();
            let condition = filter.sql(entry.functions(), &mut parameters);
            let wanted = change.sql(internal, &mut parameters);
            let sql = format!(
                "-- count_changes
                 SELECT count(*), count(*) FILTER (WHERE {wanted} <> d.metadata) FROM {documents} d WHERE {condition}"
            );
            let connection = self.connection_to(&entry).await?;
            let row = connection.query_typed_one(&sql, &parameters.typed()).await?;
            connection.done();
            Ok(Changed { matched: row.get(0), updated: row.get(1) })
        })
        .await
    }
}

impl MetadataChange {
    /// The new metadata of the document `d`.
    fn sql<'a>(&'a self, internal: &str, parameters: &mut Parameters<'a>) -> String {
        let metadata = parameters.push(Json(&self.metadata), Type::JSONB);
        if self.replace { format!("${metadata}") } else { format!("{internal}.merge_patch(d.metadata, ${metadata})") }
    }
}

struct Batch {
    changed: Changed,
    /// The greatest of the ids.
    last: String,
}

/// Changes the first documents after an id. Like every write, it locks rows in the order of their ids.
async fn update_batch(
    connection: &Connection,
    entry: &Entry,
    filter: &Filter,
    change: &MetadataChange,
    after: &str,
) -> Result<Batch, StoreError> {
    let Tables { documents, internal, .. } = &entry.tables;
    let mut parameters = Parameters::default();
    let condition = filter.sql(entry.functions(), &mut parameters);
    let wanted = change.sql(internal, &mut parameters);
    let after = parameters.push(after, Type::TEXT);
    // Postgres writes JSON with spaces. So only a text that is longer than the limit can be too long without them.
    let sql = format!(
        "-- update_metadata
         WITH matched AS MATERIALIZED (
             SELECT d.key, d.id, d.metadata AS stored, {wanted} AS wanted
             FROM {documents} d WHERE {condition} AND d.id > ${after} AND {IN_TRANSACTION}
             ORDER BY d.id LIMIT {BATCH} FOR UPDATE),
         changed AS (
             UPDATE {documents} d SET metadata = m.wanted, version = d.version + 1, updated_at = now()
             FROM matched m WHERE d.key = m.key AND m.wanted <> m.stored)
         SELECT id, wanted <> stored,
                CASE WHEN wanted <> stored AND octet_length(wanted::text) > {max_bytes} THEN wanted END
         FROM matched",
        max_bytes = change.max_bytes
    );
    let mut rows = pin!(connection.query_typed_raw(&sql, parameters.typed()).await?);
    let mut batch = Batch { changed: Changed::default(), last: String::new() };
    while let Some(row) = rows.try_next().await? {
        let id: &str = row.get(0);
        batch.changed.matched += 1;
        batch.changed.updated += i64::from(row.get::<_, bool>(1));
        if let Some(Json(json)) = row.try_get::<_, Option<Json<&str>>>(2)? {
            let bytes = compact_len(json);
            if bytes > change.max_bytes {
                return Err(StoreError::MetadataTooLarge { id: id.into(), bytes, limit: change.max_bytes });
            }
        }
        if *batch.last < *id {
            batch.last = id.into();
        }
    }
    Ok(batch)
}

/// The length of JSON without the spaces that Postgres writes between its parts.
pub(in crate::store) fn compact_len(json: &str) -> usize {
    let (mut length, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b' ' {
            continue;
        } else {
            in_string = byte == b'"';
        }
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_within_strings_count() {
        let compact = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON").to_string().len();
        for json in [r#"{"a b": [1, "x, \" y", {}], "c\\": "\\\\ \" : ", "d": null}"#, "{}", r#"{"": " "}"#] {
            assert_eq!(compact_len(json), compact(json), "{json}");
        }
    }
}
