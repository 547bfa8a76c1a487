//! Aliases: additional names of collections, which move from one collection to another in one transaction, with their views.

use std::time::Instant;

use tokio_postgres::error::SqlState;

use super::{Collection, Store, StoreError, connection::Connection, schema, tables::Tables, transaction::Transaction};

impl Store {
    /// Gives these aliases to a collection. Aliases of another collection move here.
    pub(crate) async fn update_aliases(
        &self,
        collection: &Collection,
        aliases: &[String],
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let name = &collection.definition.name;
        let names = &self.inner.names;
        let tables = &Tables::of(&names.internal, &self.extension()?.schema, collection);
        self.with_registry(name, deadline, |lock_timeout| async move {
            let connection = self.connection().await?;
            let transaction = Transaction::new(&connection).lock_timeout(lock_timeout);
            transaction.begin().await?;
            let internal = &names.internal;
            lock(&connection, internal).await?;
            let sql = format!("-- update_aliases\n SELECT FROM {internal}.collections WHERE id = $1 FOR UPDATE");
            if connection.query_opt(&sql, &[&collection.id]).await?.is_none() {
                return Err(StoreError::CollectionNotFound(name.clone()));
            }
            set(&connection, names, collection.id, tables, aliases).await?;
            transaction.commit().await?;
            connection.done();
            Ok(())
        })
        .await
    }
}

/// Serializes the assignment of names, so that no collection has the name of an alias. Readers are not blocked. Call it
/// after everything that can take long, and before rows of the registry are locked.
pub(super) async fn lock(connection: &Connection, internal: &str) -> Result<(), StoreError> {
    Ok(connection.batch_execute(&format!("LOCK TABLE {internal}.aliases IN SHARE ROW EXCLUSIVE MODE")).await?)
}

/// Gives these aliases to a collection, each with a view beside that of the collection. Call [`lock`] first.
pub(super) async fn set(
    connection: &Connection,
    names: &schema::Names,
    collection_id: i64,
    tables: &Tables,
    aliases: &[String],
) -> Result<(), StoreError> {
    let schema::Names { views, internal, .. } = names;
    // Also reads which objects in the schema of the views have these names.
    let sql = format!(
        "-- set_aliases
         SELECT name, EXISTS (SELECT FROM {internal}.collections c WHERE c.name = n.name),
                a.alias IS NOT NULL, coalesce(a.collection_id = $1, false), coalesce(a.has_view, false), NOT n.name = ANY($2),
                to_regclass('{views}.' || quote_ident(n.name)) IS NOT NULL
         FROM (SELECT unnest($2::text[]) UNION SELECT alias FROM {internal}.aliases WHERE collection_id = $1) n (name)
         LEFT JOIN {internal}.aliases a ON a.alias = n.name"
    );
    let mut changes = Vec::new();
    let mut with_view: Vec<String> = Vec::new();
    for row in connection.query(&sql, &[&collection_id, &aliases]).await? {
        let name: String = row.get(0);
        let [is_collection, exists, is_ours, has_view, is_gone, is_taken] =
            [1, 2, 3, 4, 5, 6].map(|column| row.get::<_, bool>(column));
        if is_collection || (is_taken && !exists) {
            return Err(StoreError::CollectionExists(name));
        }
        let view = format!("{views}.{}", schema::quote(&name));
        if is_gone || tables.source.is_some() {
            if has_view {
                changes.push((name, format!("DROP VIEW IF EXISTS {view}")));
            }
            continue;
        }
        // An object with the name of an alias that is not its view belongs to the user.
        if has_view || !is_taken {
            if !(is_ours && is_taken) {
                changes.push((name.clone(), replace_view(&view, &tables.view())));
            }
            with_view.push(name);
        }
    }
    // The new revision shows searches that their cached aliases are outdated.
    let sql = format!(
        "-- set_aliases
         WITH gone AS (DELETE FROM {internal}.aliases WHERE collection_id = $1 AND alias <> ALL($2)),
              moved AS (SELECT collection_id FROM {internal}.aliases WHERE alias = ANY($2)),
              revised AS (UPDATE {internal}.collections SET revision = revision + 1
                          WHERE id = $1 OR id IN (SELECT collection_id FROM moved))
         INSERT INTO {internal}.aliases (alias, collection_id, has_view)
         SELECT alias, $1, alias = ANY($3) FROM unnest($2::text[]) alias
         ON CONFLICT (alias) DO UPDATE SET collection_id = excluded.collection_id, has_view = excluded.has_view"
    );
    connection.execute(&sql, &[&collection_id, &aliases, &with_view]).await?;
    for (alias, change) in changes {
        match connection.batch_execute(&change).await {
            Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                return Err(StoreError::CollectionInUse(alias));
            }
            // Another call has just created a collection with this name. The next attempt sees it.
            Err(error) if matches!(error.code(), Some(&SqlState::DUPLICATE_TABLE | &SqlState::UNIQUE_VIOLATION)) => {
                return Err(StoreError::Conflict(error));
            }
            changed => changed?,
        }
    }
    Ok(())
}

/// Replaces a view. If the new columns have the same types as the old ones, the grants on it and the views that use it
/// are kept.
fn replace_view(view: &str, definition: &str) -> String {
    format!(
        "DO $do$ BEGIN
             CREATE OR REPLACE VIEW {view} AS {definition};
         EXCEPTION WHEN invalid_table_definition THEN
             DROP VIEW {view};
             CREATE VIEW {view} AS {definition};
         END $do$;"
    )
}

/// The statements that drop the views of the aliases of a collection.
pub(super) async fn drop_views(
    connection: &Connection,
    names: &schema::Names,
    collection_id: i64,
) -> Result<String, StoreError> {
    let schema::Names { views, internal, .. } = names;
    let sql = format!(
        "-- drop_alias_views
         SELECT alias FROM {internal}.aliases WHERE collection_id = $1 AND has_view ORDER BY alias"
    );
    let rows = connection.query(&sql, &[&collection_id]).await?;
    Ok(rows.iter().map(|row| format!("DROP VIEW IF EXISTS {views}.{};", schema::quote(row.get(0)))).collect())
}
