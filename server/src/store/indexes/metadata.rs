//! Indexes over metadata: created with a collection, added and dropped later.

use std::time::Duration;

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use crate::store::{
    Collection, MetadataIndex, MetadataIndexType, Store, StoreError,
    connection::sqlstate::{Kind, classify},
    schema,
    tables::Tables,
};

/// What waits to be sorted into a GIN index is read by every search: 6 ms with the 4 MB that Postgres has by default, 0.1 ms
/// with 64 kB. Writing takes about as long.
pub(in crate::store) const GIN_OPTIONS: &str = "gin_pending_list_limit = 64";

impl Store {
    /// Brings the metadata indexes of a collection to those wanted. Searches and writes go on meanwhile. What a run that was
    /// interrupted left behind is dropped by the next.
    pub(crate) async fn update_metadata_indexes(
        &self,
        collection: &Collection,
        wanted: &[MetadataIndex],
        timeout: Duration,
    ) -> Result<(), StoreError> {
        let extension = self.extension()?;
        let internal = &self.inner.names.internal;
        let tables = Tables::new(internal, &extension.schema, collection.id, collection.space_id);
        let (client, _notices) = self.inner.config.direct.connect().await?;
        let timeout = timeout.as_millis().max(1);
        client.batch_execute(&format!("SET statement_timeout = {timeout}; SET lock_timeout = 0")).await?;
        // Callers take turns. Negative, since the positive keys are those of builds.
        let keys = (self.inner.names.lock_class, -(collection.id % i64::from(i32::MAX)) as i32);
        client.execute("SELECT pg_advisory_lock($1, $2)", &[&keys.0, &keys.1]).await?;

        let sql = format!(
            "-- update_metadata_indexes
             SELECT id, type, path, ready FROM {internal}.metadata_indexes WHERE collection_id = $1 ORDER BY id"
        );
        let mut missing: Vec<&MetadataIndex> = wanted.iter().collect();
        for row in client.query(&sql, &[&collection.id]).await? {
            let (id, kind, path): (i64, &str, Vec<String>) = (row.get(0), row.get(1), row.get(2));
            let is_this = |index: &&MetadataIndex| index.kind.name() == kind && index.path == path;
            match missing.iter().position(is_this) {
                Some(position) if row.get(3) => drop(missing.remove(position)),
                _ => drop_index(&client, &tables, id).await?,
            }
        }
        let added = !missing.is_empty();
        for index in missing {
            let id = register(&client, &tables, collection.id, index, false).await?;
            if let Err(error) = create_index(&client, &tables, id, index, true).await {
                // An invalid index costs on every write. When this fails too, the next run finds it.
                let _ = drop_index(&client, &tables, id).await;
                return Err(error);
            }
            let sql = format!(
                "-- update_metadata_indexes\n UPDATE {internal}.metadata_indexes SET ready = true WHERE id = $1"
            );
            client.execute(&sql, &[&id]).await?;
        }
        if added {
            // Statistics of the indexed expressions.
            client.batch_execute(&format!("ANALYZE {}", tables.documents)).await?;
        }
        Ok(())
    }
}

/// Records an index of a new collection and creates it.
pub(in crate::store) async fn create(
    client: &Client,
    tables: &Tables,
    collection_id: i64,
    index: &MetadataIndex,
) -> Result<(), StoreError> {
    let id = register(client, tables, collection_id, index, true).await?;
    create_index(client, tables, id, index, false).await
}

async fn register(
    client: &Client,
    Tables { internal, .. }: &Tables,
    collection_id: i64,
    index: &MetadataIndex,
    ready: bool,
) -> Result<i64, StoreError> {
    let sql = format!(
        "-- register_metadata_index
         INSERT INTO {internal}.metadata_indexes (collection_id, type, path, ready) VALUES ($1, $2, $3, $4) RETURNING id"
    );
    // Not prepared, since the client may be a pooled one.
    let values: [(&(dyn ToSql + Sync), Type); 4] = [
        (&collection_id, Type::INT8),
        (&index.kind.name(), Type::TEXT),
        (&index.path, Type::TEXT_ARRAY),
        (&ready, Type::BOOL),
    ];
    let row = client.query_typed_one(&sql, &values).await;
    match row {
        // The collection is gone.
        Err(error) if classify(&error) == Kind::ForeignKeyViolation => Err(StoreError::Stale(None)),
        row => Ok(row?.get(0)),
    }
}

async fn create_index(
    client: &Client,
    tables: &Tables,
    id: i64,
    index: &MetadataIndex,
    concurrently: bool,
) -> Result<(), StoreError> {
    let Tables { documents, internal, .. } = tables;
    let concurrently = if concurrently { "CONCURRENTLY" } else { "" };
    let name = schema::quote(&tables.metadata_index(id));
    // The expressions of `filter.rs`. Strings have no btree: its entries are limited to 2,704 bytes.
    let definition = match index.kind {
        MetadataIndexType::Gin => format!("gin (metadata jsonb_path_ops) WITH ({GIN_OPTIONS})"),
        MetadataIndexType::Number => {
            format!("btree (({internal}.number_at(metadata, {})))", literal(client, &index.path).await?)
        }
        MetadataIndexType::String => {
            format!("spgist (({internal}.string_at(metadata, {})) COLLATE \"C\")", literal(client, &index.path).await?)
        }
        MetadataIndexType::Time => {
            format!("btree (({internal}.time_at(metadata, {})))", literal(client, &index.path).await?)
        }
    };
    client.batch_execute(&format!("CREATE INDEX {concurrently} {name} ON {documents} USING {definition}")).await?;
    Ok(())
}

/// A path as SQL. An index has no parameters, so this is the one place where Postgres itself quotes what a caller wrote.
async fn literal(client: &Client, path: &[String]) -> Result<String, StoreError> {
    let sql = "-- literal\n SELECT format('%L::text[]', $1::text[])";
    let row = client.query_typed_one(sql, &[(&path, Type::TEXT_ARRAY)]).await?;
    Ok(row.get(0))
}

async fn drop_index(client: &Client, tables: &Tables, id: i64) -> Result<(), StoreError> {
    let internal = &tables.internal;
    // In this order, so that an index is never without its row.
    let sql = format!("-- drop_metadata_index\n UPDATE {internal}.metadata_indexes SET ready = false WHERE id = $1");
    client.execute(&sql, &[&id]).await?;
    let name = schema::quote(&tables.metadata_index(id));
    client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {internal}.{name}")).await?;
    let sql = format!("-- drop_metadata_index\n DELETE FROM {internal}.metadata_indexes WHERE id = $1");
    client.execute(&sql, &[&id]).await?;
    Ok(())
}
