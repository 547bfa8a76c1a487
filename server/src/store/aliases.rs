//! Aliases: other names of collections, which move from one to another in one transaction.

use std::time::Instant;

use super::{Collection, Store, StoreError, connection::Connection, transaction::Transaction};

impl Store {
    /// Makes these the aliases of a collection; those that another collection has move here.
    pub(crate) async fn update_aliases(
        &self,
        collection: &Collection,
        aliases: &[String],
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let name = &collection.definition.name;
        self.with_registry(name, deadline, |lock_timeout| async move {
            let connection = self.connection().await?;
            let transaction = Transaction::new(&connection).lock_timeout(lock_timeout);
            transaction.begin().await?;
            let internal = &self.inner.names.internal;
            lock(&connection, internal).await?;
            let sql = format!("-- update_aliases\n SELECT FROM {internal}.collections WHERE id = $1 FOR UPDATE");
            if connection.query_opt(&sql, &[&collection.id]).await?.is_none() {
                return Err(StoreError::CollectionNotFound(name.clone()));
            }
            set(&connection, internal, collection.id, aliases).await?;
            transaction.commit().await?;
            connection.done();
            Ok(())
        })
        .await
    }
}

/// Serializes the assignment of names, so that no collection has the name of an alias. Who reads them goes on. Comes after
/// all that can take long, and before rows of the registry are locked.
pub(super) async fn lock(connection: &Connection, internal: &str) -> Result<(), StoreError> {
    Ok(connection.batch_execute(&format!("LOCK TABLE {internal}.aliases IN SHARE ROW EXCLUSIVE MODE")).await?)
}

/// Makes these the aliases of a collection. [`lock`] comes first.
pub(super) async fn set(
    connection: &Connection,
    internal: &str,
    collection_id: i64,
    aliases: &[String],
) -> Result<(), StoreError> {
    let sql = format!("-- set_aliases\n SELECT name FROM {internal}.collections WHERE name = ANY($1) LIMIT 1");
    if let Some(row) = connection.query_opt(&sql, &[&aliases]).await? {
        return Err(StoreError::CollectionExists(row.get(0)));
    }
    // Searches that know a collection by its old aliases see that the revision is another.
    let sql = format!(
        "-- set_aliases
         WITH gone AS (DELETE FROM {internal}.aliases WHERE collection_id = $1 AND alias <> ALL($2)),
              moved AS (SELECT collection_id FROM {internal}.aliases WHERE alias = ANY($2)),
              revised AS (UPDATE {internal}.collections SET revision = revision + 1
                          WHERE id = $1 OR id IN (SELECT collection_id FROM moved))
         INSERT INTO {internal}.aliases (alias, collection_id) SELECT unnest($2), $1
         ON CONFLICT (alias) DO UPDATE SET collection_id = excluded.collection_id"
    );
    connection.execute(&sql, &[&collection_id, &aliases]).await?;
    Ok(())
}
