//! Lists and counts the documents that a filter selects.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::types::{ToSql, Type};

use super::read_versioned;
use crate::store::{Filter, Store, StoreError, StoredDocument, catalog::Entry, tables::Tables, wire::Parameters};

/// Which documents of a collection to list, and which of their fields.
#[derive(Clone, Debug)]
pub(crate) struct Listing<'a> {
    pub filter: Option<&'a Filter>,
    pub order: DocumentOrder,
    pub descending: bool,
    /// The page before this one.
    pub after: Option<Position>,
    /// Maximum number of documents.
    pub limit: usize,
    /// A page that has reached this size takes no further document.
    pub max_bytes: usize,
    pub with_text: bool,
    pub with_metadata: bool,
    pub with_vector: bool,
}

/// The order of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentOrder {
    Id,
    /// The order in which they were first stored.
    Key,
}

/// The last document of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub collection_id: i64,
    pub id: String,
    pub key: i64,
}

/// Documents in order, with their positions.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub documents: Vec<(Position, StoredDocument)>,
    /// Whether more documents follow.
    pub more: bool,
}

impl Store {
    /// A page of documents. Fails with [`StoreError::CollectionReplaced`] if the previous page is from another
    /// collection.
    pub(crate) async fn list_documents(&self, collection: &str, listing: &Listing<'_>) -> Result<Page, StoreError> {
        self.with_collection(collection, |entry| async move {
            let collection_id = entry.collection.id;
            if let Some(after) = listing.after.as_ref().filter(|after| after.collection_id != collection_id) {
                // The cache itself may be wrong.
                let current = self.current_collection(collection).await?;
                return Err(if current.id == after.collection_id {
                    StoreError::Stale(None)
                } else {
                    StoreError::CollectionReplaced(collection.into())
                });
            }
            if listing.order == DocumentOrder::Key {
                entry.collection.check_own("it does not know when a row was stored; list by DOCUMENT_ORDER_ID")?;
            }
            let mut parameters = Parameters::default();
            let sql = list_sql(&entry, listing, &mut parameters);
            let connection = self.connection_to(&entry).await?;
            let mut rows = pin!(connection.query_typed_raw(&sql, parameters.typed()).await?);
            let mut page = Page { documents: Vec::new(), more: false };
            let mut bytes = 0;
            // Rows after a full page are read and dropped, so that the connection can be used again.
            while let Some(row) = rows.try_next().await? {
                if bytes < listing.max_bytes {
                    let document = read_versioned(&row, listing.with_vector.then_some(6))?;
                    let position = Position {
                        collection_id,
                        id: document.id.clone(),
                        key: row.get::<_, Option<i64>>(7).unwrap_or_default(),
                    };
                    bytes += row.raw_size_bytes();
                    page.documents.push((position, document));
                    let found: i64 = row.get(8);
                    page.more = found > page.documents.len() as i64;
                }
            }
            connection.done();
            Ok(page)
        })
        .await
    }

    /// The number of documents.
    pub(crate) async fn count_documents(&self, collection: &str, filter: Option<&Filter>) -> Result<i64, StoreError> {
        self.with_collection(collection, |entry| async move {
            let mut parameters = Parameters::default();
            let condition = condition(&entry, filter, &mut parameters);
            let sql =
                format!("-- count_documents\n SELECT count(*) FROM {} d WHERE {condition}", entry.tables.documents);
            let connection = self.connection_to(&entry).await?;
            let row = connection.query_typed_one(&sql, &parameters.typed()).await?;
            connection.done();
            Ok(row.get(0))
        })
        .await
    }

    /// The number of documents that the planner expects.
    pub(crate) async fn estimate_documents(
        &self,
        collection: &str,
        filter: Option<&Filter>,
    ) -> Result<i64, StoreError> {
        self.with_collection(collection, |entry| async move {
            let Tables { documents, .. } = &entry.tables;
            let mut parameters = Parameters::default();
            let condition = condition(&entry, filter, &mut parameters);
            let sql =
                format!("-- estimate_documents\n EXPLAIN (FORMAT JSON) SELECT FROM {documents} d WHERE {condition}");
            // The planner assumes that a new table has ten pages. One with partitions has no pages of its own.
            let is_empty = "-- estimate_documents
                            SELECT relkind <> 'p' AND pg_relation_size(oid) = 0 FROM pg_class WHERE oid = to_regclass($1)";
            let relation = entry.tables.relation();
            let relation: [(&(dyn ToSql + Sync), Type); 1] = [(&relation, Type::TEXT)];
            let connection = self.connection_to(&entry).await?;
            let parameters = parameters.typed();
            let (row, is_empty) = futures_util::try_join!(
                connection.query_typed_one(&sql, &parameters),
                connection.query_typed_one(is_empty, &relation)
            )?;
            connection.done();
            let plan: serde_json::Value = row.get(0);
            let rows = plan[0]["Plan"]["Plan Rows"].as_i64();
            let rows = rows.ok_or_else(|| StoreError::Internal("a plan without a number of rows".into()))?;
            Ok(if is_empty.get(0) { 0 } else { rows })
        })
        .await
    }
}

fn condition<'a>(entry: &Entry, filter: Option<&'a Filter>, parameters: &mut Parameters<'a>) -> String {
    filter.map_or_else(|| "true".into(), |filter| filter.sql(entry.functions(), parameters))
}

fn list_sql<'a>(entry: &Entry, listing: &'a Listing<'_>, parameters: &mut Parameters<'a>) -> String {
    let Tables { documents, source, .. } = &entry.tables;
    let definition = &entry.collection.definition;
    let mut condition = condition(entry, listing.filter, parameters);
    let (comparison, direction) = if listing.descending { ("<", "DESC") } else { (">", "ASC") };
    let order = match (listing.order, source) {
        // Its index is in this order.
        (_, Some(source)) => source.order(),
        (DocumentOrder::Id, None) => vec!["id".to_owned()],
        (DocumentOrder::Key, None) => vec!["key".to_owned()],
    };
    if let Some(after) = &listing.after {
        let beyond = match (listing.order, source) {
            (_, Some(source)) => source.is_beyond(&after.id, comparison, parameters),
            (DocumentOrder::Id, None) => Some(format!("d.id {comparison} ${}", parameters.push(&after.id, Type::TEXT))),
            (DocumentOrder::Key, None) => {
                Some(format!("d.key {comparison} ${}", parameters.push(after.key, Type::INT8)))
            }
        };
        condition = format!("{condition} AND {}", beyond.as_deref().unwrap_or("false"));
    }
    let ordered = |alias: &str| {
        let columns = order.iter().map(|column| format!("{alias}.{column} {direction}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    // Neither size reads values that are stored out of line. The size of metadata is the compressed one.
    let mut size = "0".to_owned();
    let mut vector = "NULL::bytea".to_owned();
    if listing.with_text {
        size.push_str(" + octet_length(d.text)");
    }
    if listing.with_metadata {
        size.push_str(" + pg_column_size(d.metadata)");
    }
    if listing.with_vector {
        size.push_str(&format!(" + {}", definition.dimensions * size_of::<f32>()));
        vector = entry.tables.vector_of("p", &format!("{}_send", definition.vector_type.name()));
    }
    format!(
        "-- list_documents
         SELECT p.id, {text}, {metadata}, p.version, p.created_at, p.updated_at, {vector}, {key}, p.found
         FROM (SELECT d.*, count(*) OVER () AS found, row_number() OVER ordered AS position,
                      sum({size}) OVER (ordered ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
               FROM (SELECT d.* FROM {documents} d WHERE {condition} ORDER BY {by_d} LIMIT {fetched}) d
               WINDOW ordered AS (ORDER BY {by_d})) p
         WHERE p.position <= {limit} AND coalesce(p.bytes_before, 0) < {max_bytes}
         ORDER BY {by_p}",
        by_d = ordered("d"),
        by_p = ordered("p"),
        key = if source.is_some() { "NULL::bigint" } else { "p.key" },
        text = if listing.with_text { "p.text" } else { "''" },
        metadata = if listing.with_metadata { "p.metadata" } else { "'{}'::jsonb" },
        limit = listing.limit,
        // One more shows whether others follow.
        fetched = listing.limit + 1,
        max_bytes = listing.max_bytes,
    )
}
