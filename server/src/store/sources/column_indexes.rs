//! The ordinary indexes on the table of a source, which serve filters.

use tokio_postgres::{Client, types::Type};

use super::{ColumnType, Source};
use crate::store::{Store, StoreError, Test};

/// An ordinary index on the table of a source, by its first column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceIndex {
    column: String,
    method: Method,
    /// It compares text as the column does, so it serves equality.
    compares_as_column: bool,
    /// It compares text by bytes, so it serves ranges and prefixes of text.
    compares_by_bytes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Btree,
    Gin,
}

impl SourceIndex {
    /// Whether it finds the rows for which a test of a column is true, if that test is a condition on the column.
    pub(super) fn serves(&self, column: &str, kind: ColumnType, test: &Test) -> bool {
        let serves = match (self.method, test) {
            (Method::Gin, Test::ContainsAny(_) | Test::ContainsAll(_)) => kind == ColumnType::TextArray,
            (Method::Btree, Test::Equals(_) | Test::OneOf(_)) => self.compares_as_column,
            (Method::Btree, Test::String(..) | Test::StartsWith(_)) => self.compares_by_bytes,
            (Method::Btree, Test::Number(..) | Test::Time(..)) => true,
            _ => false,
        };
        serves && self.column == column
    }
}

/// The indexes on the table of a source.
pub(in crate::store) async fn source_indexes(client: &Client, source: &Source) -> Result<Vec<SourceIndex>, StoreError> {
    Ok(read_indexes(client, &[source]).await?.pop().unwrap_or_default())
}

/// The indexes on the table of each source.
async fn read_indexes(client: &Client, sources: &[&Source]) -> Result<Vec<Vec<SourceIndex>>, StoreError> {
    let sql = "-- source_indexes
        SELECT DISTINCT w.position, a.attname::text, m.amname::text, x.indcollation[0] = a.attcollation,
               o.opcdefault AND x.indcollation[0] = 'pg_catalog.\"C\"'::regcollation
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w (schema, name, position)
        JOIN pg_namespace n ON n.nspname = w.schema
        JOIN pg_class t ON t.relnamespace = n.oid AND t.relname = w.name
        JOIN pg_index x ON x.indrelid = t.oid AND x.indisvalid AND x.indpred IS NULL
        JOIN pg_class k ON k.oid = x.indexrelid
        JOIN pg_am m ON m.oid = k.relam AND m.amname IN ('btree', 'gin')
        JOIN pg_opclass o ON o.oid = x.indclass[0]
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
        ORDER BY 1, 2, 3, 4, 5";
    let schemas: Vec<&str> = sources.iter().map(|source| source.schema.as_str()).collect();
    let tables: Vec<&str> = sources.iter().map(|source| source.table.as_str()).collect();
    let rows = client.query_typed(sql, &[(&schemas, Type::TEXT_ARRAY), (&tables, Type::TEXT_ARRAY)]).await?;
    let mut indexes = vec![Vec::new(); sources.len()];
    for row in &rows {
        let position = usize::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        let index = SourceIndex {
            column: row.get(1),
            method: if row.get::<_, &str>(2) == "gin" { Method::Gin } else { Method::Btree },
            compares_as_column: row.get(3),
            compares_by_bytes: row.get(4),
        };
        // Positions begin with 1.
        if let Some(of_source) = position.checked_sub(1).and_then(|position| indexes.get_mut(position)) {
            of_source.push(index);
        }
    }
    Ok(indexes)
}

impl Store {
    /// Removes collections from the cache whose table has other indexes now, so that the next call reads them.
    pub(in crate::store) async fn recheck_source_indexes(&self) -> Result<(), StoreError> {
        let attached = self.cached_entries(|entry| entry.tables.source.is_some());
        let sources: Vec<&Source> = attached.iter().filter_map(|(_, entry)| entry.tables.source.as_ref()).collect();
        if sources.is_empty() {
            return Ok(());
        }
        let connection = self.connection().await?;
        let indexes = read_indexes(&connection, &sources).await?;
        connection.done();
        for ((name, entry), indexes) in attached.iter().zip(indexes) {
            if entry.collection.source_indexes != indexes {
                self.forget(name);
            }
        }
        Ok(())
    }
}
