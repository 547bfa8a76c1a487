//! The indexes that people make on the table of a source, and where those of pgfox are.

use tokio_postgres::types::{ToSql, Type};

use crate::store::{Collection, Store, StoreError, catalog::Entry, schema::quote, transaction::Transaction};

/// SQL: the table that holds the vectors of the embedding space `s` of the collection `c`; null if it is gone. By names,
/// without asking whether the role may look into the schema.
pub(in crate::store) fn vectors_relation(internal: &str) -> String {
    format!(
        "(SELECT t.oid FROM pg_namespace n JOIN pg_class t ON t.relnamespace = n.oid
          WHERE n.oid = CASE WHEN c.source IS NULL THEN to_regnamespace('{internal}')::oid
                             ELSE (SELECT o.oid FROM pg_namespace o WHERE o.nspname = c.source ->> 'schema') END
            AND t.relname = coalesce(c.source ->> 'table', format('embeddings_%s_%s', s.collection_id, s.id)))"
    )
}

/// SQL: the index of the row `i` of `indexes`, whose embedding space is the row `s`; null if the database has none.
pub(in crate::store) fn index_relation(internal: &str) -> String {
    format!(
        "CASE WHEN i.name IS NULL
              THEN to_regclass(format('%s.embeddings_%s_%s_%s_%s', '{internal}', s.collection_id, s.id, i.method, i.id))::oid
              ELSE (SELECT x.oid FROM {internal}.collections o JOIN pg_namespace n ON n.nspname = o.source ->> 'schema'
                    JOIN pg_class x ON x.relnamespace = n.oid AND x.relname = i.name WHERE o.id = s.collection_id) END"
    )
}

/// SQL: an index on the vectors of each attached collection without a ready one, or of the collection `$1` alone: the
/// columns of `indexes`, and `collection_id`. HNSW comes before IVFFlat, and a newer index before an older one. A partial
/// index serves if its condition is that the row has a vector.
fn found_indexes(internal: &str) -> String {
    let relation = vectors_relation(internal);
    let option = |name: &str, default: i32| {
        format!(
            "coalesce((SELECT option_value::int FROM pg_options_to_table(k.reloptions) WHERE option_name = '{name}'), {default})"
        )
    };
    format!(
        "SELECT DISTINCT ON (s.id) s.id AS space_id, c.id AS collection_id, am.amname::text AS method,
                CASE am.amname WHEN 'hnsw' THEN {m} END AS m,
                CASE am.amname WHEN 'hnsw' THEN {ef_construction} END AS ef_construction,
                CASE am.amname WHEN 'ivfflat' THEN {lists} END AS lists, k.relname::text AS name
         FROM {internal}.collections c
         JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
         JOIN pg_index x ON x.indrelid = {relation}
         JOIN pg_class k ON k.oid = x.indexrelid
         JOIN pg_am am ON am.oid = k.relam AND am.amname IN ('hnsw', 'ivfflat')
         JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0] AND a.attname = c.source ->> 'vector'
         JOIN pg_opclass o ON o.oid = x.indclass[0]
              AND o.opcname = format('%s_%s_ops', s.vector_type, CASE s.distance WHEN 'inner_product' THEN 'ip'
                                                                               ELSE s.distance END)
         WHERE c.source IS NOT NULL AND x.indisvalid AND k.relname !~ format('^%s_(hnsw|ivfflat)_[0-9]+$', c.source ->> 'stem')
           AND ($1::bigint IS NULL OR c.id = $1)
           AND (x.indpred IS NULL
                OR pg_get_expr(x.indpred, x.indrelid) = format('(%I IS NOT NULL)', c.source ->> 'vector'))
           AND NOT EXISTS (SELECT FROM {internal}.indexes i
                           WHERE i.space_id = s.id AND (i.state = 'ready' OR i.name = k.relname))
         ORDER BY s.id, am.amname, k.oid DESC",
        m = option("m", 16),
        ef_construction = option("ef_construction", 64),
        lists = option("lists", 100),
    )
}

impl Store {
    /// Writes the indexes that people have made on the tables of sources into the registry, where searches look.
    pub(in crate::store) async fn recognise_indexes(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        let found = found_indexes(internal);
        // Asked first, since a standby answers but does not write.
        let sql = format!("-- recognise_indexes\n SELECT EXISTS ({found})");
        let statement = connection.prepare_cached(&sql).await?;
        if !connection.query_one(&statement, &[&None::<i64>]).await?.get::<_, bool>(0) {
            connection.done();
            return Ok(());
        }
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let rows = connection.query_typed(&self.recognise_sql(), &[(&None::<i64>, Type::INT8)]).await?;
        transaction.commit().await?;
        connection.done();
        for row in rows {
            let (collection, index): (&str, &str) = (row.get(0), row.get(1));
            tracing::info!(collection, "found the index {index} on the table of the collection");
            self.forget(collection);
        }
        Ok(())
    }

    /// The indexes that pgfox has made on the table of a collection, qualified and quoted.
    pub(crate) async fn indexes_on_source(&self, collection: &Collection) -> Result<Vec<String>, StoreError> {
        let Some(source) = &collection.definition.source else { return Ok(Vec::new()) };
        let connection = self.connection().await?;
        let sql = "-- indexes_on_source
            SELECT k.relname::text
            FROM pg_namespace n JOIN pg_class t ON t.relnamespace = n.oid
            JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class k ON k.oid = x.indexrelid
            WHERE n.nspname = $1 AND t.relname = $2 AND k.relname ~ format('^%s_(hnsw|ivfflat)_[0-9]+$', $3)
            ORDER BY k.oid";
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&source.schema, Type::TEXT), (&source.table, Type::TEXT), (&source.stem, Type::TEXT)];
        let rows = connection.query_typed(sql, &parameters).await?;
        connection.done();
        let schema = quote(&source.schema);
        Ok(rows.iter().map(|row| format!("{schema}.{}", quote(row.get(0)))).collect())
    }

    /// Drops these indexes, and stops the build of one.
    pub(crate) async fn drop_indexes_of_source(&self, collection: &Collection) -> Result<(), StoreError> {
        if collection.definition.source.is_none() {
            return Ok(());
        }
        match self.drop_index(&collection.definition.name, None).await {
            // It has none, or only those that were made by SQL.
            Err(StoreError::IndexNotFound(_) | StoreError::IndexMadeBySql { .. }) => Ok(()),
            dropped => dropped,
        }
    }

    /// Whether an index on the table of a source is one of vectors.
    pub(in crate::store) async fn is_vector_index(&self, entry: &Entry, index: &str) -> Result<bool, StoreError> {
        let Some(source) = &entry.tables.source else { return Ok(false) };
        let connection = self.connection_to(entry).await?;
        // That of a partition has the schema of the partition.
        let sql = "-- is_vector_index
            SELECT EXISTS (
                SELECT FROM pg_namespace n JOIN pg_class t ON t.relnamespace = n.oid
                JOIN pg_index x ON x.indrelid IN (SELECT t.oid UNION SELECT p.relid FROM pg_partition_tree(t.oid) p)
                JOIN pg_class k ON k.oid = x.indexrelid JOIN pg_am a ON a.oid = k.relam
                WHERE n.nspname = $1 AND t.relname = $2 AND k.relname = $3 AND a.amname IN ('hnsw', 'ivfflat'))";
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&source.schema, Type::TEXT), (&source.table, Type::TEXT), (&index, Type::TEXT)];
        let row = connection.query_typed_one(sql, &parameters).await?;
        connection.done();
        Ok(row.get(0))
    }

    /// The statement that does this, for all collections or for `$1` alone. It returns the collections with the indexes.
    pub(in crate::store) fn recognise_sql(&self) -> String {
        let internal = &self.inner.names.internal;
        format!(
            "-- recognise_indexes
             WITH found AS ({found}),
             written AS (
                 INSERT INTO {internal}.indexes (space_id, method, m, ef_construction, lists, state, name, made_by_sql)
                 SELECT space_id, method, m, ef_construction, lists, 'ready', name, true FROM found
                 ON CONFLICT DO NOTHING RETURNING space_id, name)
             UPDATE {internal}.collections c SET revision = revision + 1
             FROM written w JOIN {internal}.embedding_spaces s ON s.id = w.space_id
             WHERE c.id = s.collection_id RETURNING c.name, w.name",
            found = found_indexes(internal)
        )
    }
}
