//! DeleteDocuments and UpdateMetadata in the table of a source.

use std::{pin::pin, time::Instant};

use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;

use super::{WritableTable, commit, execute, record, refused};
use crate::store::{
    Changed, Filter, MetadataChange, Source, Store, StoreError,
    catalog::Entry,
    documents::{begin_change, compact_len},
    sources::table::Privilege,
    transaction::{IN_TRANSACTION, Transaction},
    wire::{Json, Parameters},
};

impl Store {
    /// Deletes the rows of at most `limit` documents in one transaction. Returns how many there were.
    pub(in crate::store) async fn delete_rows(
        &self,
        entry: &Entry,
        source: &Source,
        filter: &Filter,
        limit: usize,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        let needed = [(Privilege::Lock, Vec::new()), (Privilege::Delete, Vec::new())];
        self.table_for(&entry.collection.definition, source, &needed).await?;
        let mut parameters = Parameters::default();
        let condition = format!("{} AND {IN_TRANSACTION}", filter.sql(entry.functions(), &mut parameters));
        let sql = format!(
            "-- delete_rows
             WITH selected AS MATERIALIZED ({locked})
             DELETE FROM {relation} t USING selected n WHERE {is_row}",
            relation = source.relation(),
            locked = source.locked(&entry.tables.documents, &condition),
            is_row = source.is_row(),
        );
        let connection = self.connection_to(entry).await?;
        let transaction = Transaction::new(&connection).deadline(deadline).pipelined();
        let delete = execute(&connection, entry, &sql, &parameters);
        let deleted = begin_change(&connection, &transaction, entry, filter, limit, delete).await?;
        commit(&transaction, entry).await?;
        connection.done();
        Ok(deleted)
    }

    /// Changes the metadata of at most `limit` documents in one transaction.
    pub(in crate::store) async fn update_rows(
        &self,
        entry: &Entry,
        source: &Source,
        filter: &Filter,
        change: &MetadataChange,
        limit: usize,
        deadline: Instant,
    ) -> Result<Changed, StoreError> {
        let table = self.changeable_table(&entry.collection.definition, source).await?;
        let max_bytes = change.max_bytes;
        let mut parameters = Parameters::default();
        let change = RowChange::new(entry, &table, change, &mut parameters)?;
        let condition = format!("{} AND {IN_TRANSACTION}", filter.sql(entry.functions(), &mut parameters));
        let RowChange { set, differs, from } = change;
        let update = if set.is_empty() {
            "SELECT NULL AS id, NULL::jsonb AS large WHERE false".to_owned()
        } else {
            // Postgres writes JSON with spaces. So only a text that is longer than the limit can be too long without them.
            format!(
                "UPDATE {relation} t SET {set} FROM selected n{from} WHERE {is_row} AND ({differs})
                 RETURNING {id} AS id, CASE WHEN octet_length(({metadata})::text) > {max_bytes} THEN {metadata} END AS large",
                relation = source.relation(),
                is_row = source.is_row(),
                id = source.id("t"),
                metadata = source.metadata("t", &entry.tables.internal),
            )
        };
        let sql = format!(
            "-- update_rows
             WITH selected AS MATERIALIZED ({locked}),
                  updated AS ({update})
             SELECT (SELECT count(*) FROM selected), (SELECT count(*) FROM updated), l.id, l.large
             FROM (SELECT) one LEFT JOIN updated l ON l.large IS NOT NULL",
            locked = source.locked(&entry.tables.documents, &condition),
        );
        let connection = self.connection_to(entry).await?;
        let transaction = Transaction::new(&connection).deadline(deadline).pipelined();
        let update = async {
            let refused = |error| refused(entry, error);
            let mut rows = pin!(connection.query_typed_raw(&sql, parameters.typed()).await.map_err(refused)?);
            let mut changed = Changed::default();
            while let Some(row) = rows.try_next().await.map_err(refused)? {
                changed = Changed { matched: row.get(0), updated: row.get(1) };
                if let Some(Json(json)) = row.try_get::<_, Option<Json<&str>>>(3)? {
                    let bytes = compact_len(json);
                    if bytes > max_bytes {
                        return Err(StoreError::MetadataTooLarge { id: row.get(2), bytes, limit: max_bytes });
                    }
                }
            }
            Ok(changed)
        };
        let changed = begin_change(&connection, &transaction, entry, filter, limit, update).await?;
        commit(&transaction, entry).await?;
        connection.done();
        Ok(changed)
    }

    /// What [`Store::update_rows`] would change.
    pub(in crate::store) async fn count_row_changes(
        &self,
        entry: &Entry,
        source: &Source,
        filter: &Filter,
        change: &MetadataChange,
    ) -> Result<Changed, StoreError> {
        let table = self.changeable_table(&entry.collection.definition, source).await?;
        let mut parameters = Parameters::default();
        let RowChange { differs, from, .. } = RowChange::new(entry, &table, change, &mut parameters)?;
        let condition = filter.sql(entry.functions(), &mut parameters);
        let sql = format!(
            "-- count_row_changes
             SELECT count(*), count(*) FILTER (WHERE {differs})
             FROM ({selected}) n JOIN {relation} t ON {is_row}{from}",
            selected = source.selected(&entry.tables.documents, &condition),
            relation = source.relation(),
            is_row = source.is_row(),
        );
        let connection = self.connection_to(entry).await?;
        let row = connection.query_typed_one(&sql, &parameters.typed()).await;
        let row = row.map_err(|error| refused(entry, error))?;
        connection.done();
        Ok(Changed { matched: row.get(0), updated: row.get(1) })
    }
}

/// A change of metadata as parts of a statement over the row `t`.
struct RowChange {
    /// The assignments; empty if nothing is to be set.
    set: String,
    /// Whether they would change the row.
    differs: String,
    /// What they read, with a comma before it.
    from: String,
}

impl RowChange {
    fn new<'a>(
        entry: &Entry,
        table: &WritableTable,
        change: &'a MetadataChange,
        parameters: &mut Parameters<'a>,
    ) -> Result<Self, StoreError> {
        let problems = table.problems(&change.metadata);
        if !problems.is_empty() {
            return Err(StoreError::MetadataInvalid(problems));
        }
        let is_spread = table.source.is_spread();
        if change.replace && !is_spread {
            return Err(StoreError::Attached {
                collection: entry.collection.definition.name.clone(),
                table: table.relation(),
                what: "its columns cannot be replaced as a whole; name those that change, in METADATA_UPDATE_MERGE, with null \
                       for those to empty"
                    .into(),
            });
        }
        let columns = table.columns_of(&change.metadata);
        table.check_granted(&entry.collection.definition, [change.metadata.as_str()])?;
        if columns.is_empty() {
            return Ok(Self { set: String::new(), differs: "false".into(), from: String::new() });
        }
        let metadata = format!("${}", parameters.push(Json(&change.metadata), Type::JSONB));
        let from = if is_spread { String::new() } else { record(&columns, &metadata) };
        let internal = &entry.tables.internal;
        let (mut set, mut differs) = (Vec::new(), Vec::new());
        for column in columns {
            let value = match (is_spread, change.replace) {
                (true, true) => column.whole(&metadata),
                (true, false) => column.merged(internal, &metadata),
                (false, _) if column.kind.is_json() => {
                    let field = column.value();
                    format!("CASE WHEN {field} IS NOT NULL THEN {} END", column.merged(internal, &field))
                }
                (false, _) => column.value(),
            };
            set.push(column.assignment(&value));
            differs.push(column.differs(&value));
        }
        Ok(Self { set: set.join(", "), differs: differs.join(" OR "), from })
    }
}
