//! The table of a set of codes, and the triggers that keep its rows in step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_postgres::Client;

use super::{CodeMaker, Codes, Field, Measured, UNLISTED, cells::UNKNOWN_CELL};
use crate::store::{
    MetadataIndexType, StoreError, catalog::Entry, indexes::metadata::literal, schema, tables::Tables,
    transaction::Transaction,
};

/// Maximum wait for a lock on the tables of a collection: later callers wait behind it. It is above Postgres'
/// `deadlock_timeout` (1 s), after which an autovacuum lets go of its table.
const CREATE_LOCK_TIMEOUT: Duration = Duration::from_millis(1_600);
/// Shorter, because searches would wait too.
const DROP_LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// A set of codes to create.
pub(super) struct NewCodes<'a> {
    pub(super) fields: &'a [Field],
    pub(super) maker: CodeMaker,
}

impl NewCodes<'_> {
    /// Records the set of codes and creates its table. All writes from then on fire the triggers.
    pub(super) async fn create(self, client: &Client, entry: &Entry) -> Result<i64, StoreError> {
        let Tables { documents, embeddings, internal, .. } = &entry.tables;
        let transaction = Transaction::read_write(client).lock_timeout(CREATE_LOCK_TIMEOUT);
        let created = async {
            let sql = format!("LOCK TABLE {documents}, {embeddings} IN SHARE ROW EXCLUSIVE MODE");
            client.batch_execute(&sql).await?;
            let sql = format!(
                "-- create_codes
                 INSERT INTO {internal}.codes (space_id, fields, centre, seed, centroids, state, last_key)
                 VALUES ($1, $2::text::jsonb, $3, $4, $5, 'building',
                         coalesce((SELECT max(document_key) FROM {embeddings}), 0)) RETURNING id"
            );
            let fields: Vec<(&str, &[String])> =
                self.fields.iter().map(|field| (field.kind.name(), &field.path[..])).collect();
            let fields = serde_json::to_string(&fields)
                .map_err(|error| StoreError::Internal(format!("fields of codes as JSON: {error}")))?;
            let collection = &entry.collection;
            let maker = self.maker;
            let (centre, seed, centroids) = (maker.centre(), maker.seed(), maker.cells().coordinates());
            let row = client.query_one(&sql, &[&collection.space_id, &fields, &centre, &seed, &centroids]).await?;
            let id: i64 = row.get(0);
            let table = Tables::codes(internal, collection.id, id);
            let (maker, measured) = (Arc::new(maker), Measured::NOTHING);
            let codes = Codes { id, table, fields: self.fields.to_vec(), maker, measured, is_ready: false };
            client.batch_execute(&codes.create_tables(internal)).await?;
            codes.create_triggers(client, &entry.tables).await?;
            let sql =
                format!("-- create_codes\n UPDATE {internal}.collections SET revision = revision + 1 WHERE id = $1");
            client.execute(&sql, &[&collection.id]).await?;
            Ok(id)
        };
        transaction.run(created).await
    }
}

impl Codes {
    /// The statements that create its tables, and the triggers between them.
    fn create_tables(&self, internal: &str) -> String {
        let table = &self.table;
        let columns: String =
            (1..).zip(&self.fields).map(|(number, field)| format!(", f{number} {}", field.sql_type())).collect();
        let mut sql = self.create_table(table, &columns, "");
        sql += &format!("; CREATE INDEX ON {table} (document_key) WHERE cell = {UNKNOWN_CELL}");
        let others: Vec<usize> = self.numbers(false).collect();
        for list in self.numbers(true) {
            sql += &format!("; CREATE INDEX ON {table} (document_key) WHERE f{list} = '{UNLISTED}'");
            let columns: String = others
                .iter()
                .map(|number| format!(", f{number} {}", self.fields[number - 1].sql_type()))
                .chain([format!(", f{list} text COLLATE \"C\" NOT NULL")])
                .collect();
            let listed = self.list_table(list);
            sql += &format!("; {}", self.create_table(&listed, &columns, &format!(", f{list}")));
            let columns_of = |row: &str| others.iter().map(|number| format!(", {row}f{number}")).collect::<String>();
            let (names, values) = (columns_of(""), columns_of("n."));
            let add = |from: &str| {
                format!(
                    "INSERT INTO {listed} (document_key, chunk, code, norm, cell, f{list}{names})
                     SELECT n.document_key, n.chunk, n.code, n.norm, n.cell, unnest(n.f{list}){values} FROM {from}"
                )
            };
            let remove = |from: &str| {
                format!(
                    "DELETE FROM {listed} c USING {from} WHERE c.document_key = n.document_key AND c.chunk = n.chunk"
                )
            };
            // Other lists are not in this table.
            let before = columns_of("b.");
            let changed = format!(
                "(SELECT n.* FROM after n JOIN before b ON b.document_key = n.document_key AND b.chunk = n.chunk
                  WHERE (n.code, n.norm, n.cell, n.f{list}{values})
                        IS DISTINCT FROM (b.code, b.norm, b.cell, b.f{list}{before})) n"
            );
            let triggers = [
                ("INSERT", "REFERENCING NEW TABLE AS added", add("added n")),
                ("DELETE", "REFERENCING OLD TABLE AS removed", remove("removed n")),
                (
                    "UPDATE",
                    "REFERENCING OLD TABLE AS before NEW TABLE AS after",
                    format!("{}; {}", remove(&changed), add(&changed)),
                ),
                ("TRUNCATE", "", format!("TRUNCATE {listed}")),
            ];
            for (event, referencing, statement) in triggers {
                // The statements have only names that pgfox makes.
                sql += &format!(
                    "; CREATE TRIGGER list{list}_{event} AFTER {event} ON {table} {referencing} FOR EACH STATEMENT
                       EXECUTE FUNCTION {internal}.keep_codes('{statement}')"
                );
            }
        }
        sql
    }

    fn create_table(&self, table: &str, columns: &str, key: &str) -> String {
        // Codes are random, so compressing them only takes time. Frequent vacuums let searches read the indexes alone.
        format!(
            "CREATE TABLE {table} (
                 document_key bigint NOT NULL,
                 chunk        int NOT NULL,
                 code         bit({bits}) STORAGE EXTERNAL,
                 norm         real,
                 cell         smallint NOT NULL DEFAULT {UNKNOWN_CELL}
                 {columns},
                 PRIMARY KEY (document_key, chunk{key})
             ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
                     autovacuum_analyze_scale_factor = 0.02)",
            bits = self.maker.bits(),
        )
    }

    /// A trigger has no parameters, so Postgres itself quotes the paths that callers wrote, then the statements with them.
    async fn create_triggers(&self, client: &Client, tables: &Tables) -> Result<(), StoreError> {
        let Tables { documents, embeddings, internal, extension, .. } = tables;
        let (table, columns) = (&self.table, self.columns());
        let mut values = String::new();
        for field in &self.fields {
            values += &format!(", {}", field.value(internal, &literal(client, &field.path).await?));
        }
        let mut triggers = vec![
            (
                "AFTER INSERT",
                embeddings,
                "REFERENCING NEW TABLE AS added",
                format!(
                    "INSERT INTO {table} (document_key, chunk{columns})
                     SELECT n.document_key, n.chunk{values}
                     FROM added n JOIN {documents} d ON d.key = n.document_key
                     WHERE NOT EXISTS (SELECT FROM {table} c
                                       WHERE c.document_key = n.document_key AND c.chunk = n.chunk)
                     ORDER BY n.document_key, n.chunk
                     ON CONFLICT DO NOTHING"
                ),
            ),
            (
                "AFTER DELETE",
                embeddings,
                "REFERENCING OLD TABLE AS removed",
                format!(
                    "DELETE FROM {table} c USING removed r WHERE c.document_key = r.document_key AND c.chunk = r.chunk"
                ),
            ),
            ("AFTER TRUNCATE", embeddings, "", format!("TRUNCATE {table}")),
            // pgfox deletes a vector and inserts another one, so this is a change by SQL. A row that the job is about to add is
            // added here, so that the job does not add the code of the old vector.
            (
                "AFTER UPDATE",
                embeddings,
                "REFERENCING OLD TABLE AS before NEW TABLE AS after",
                format!(
                    "INSERT INTO {table} (document_key, chunk{columns})
                     SELECT a.document_key, a.chunk{values}
                     FROM after a JOIN before b ON b.document_key = a.document_key AND b.chunk = a.chunk
                     JOIN {documents} d ON d.key = a.document_key
                     WHERE a.embedding OPERATOR({extension}.<>) b.embedding
                     ORDER BY a.document_key, a.chunk
                     ON CONFLICT (document_key, chunk) DO UPDATE SET code = NULL, norm = NULL, cell = {UNKNOWN_CELL}"
                ),
            ),
        ];
        // Without fields nothing depends on the documents.
        if !self.fields.is_empty() {
            let each = |write: fn(usize) -> String| (1..=self.fields.len()).map(write).collect::<Vec<_>>().join(", ");
            triggers.push((
                "AFTER UPDATE",
                documents,
                "REFERENCING OLD TABLE AS before NEW TABLE AS after",
                format!(
                    "UPDATE {table} c SET {set}
                     FROM (SELECT d.key{values} FROM after d JOIN before b ON b.key = d.key
                           WHERE b.metadata <> d.metadata) n (key{columns})
                     WHERE c.document_key = n.key AND ({stored}) IS DISTINCT FROM ({new})",
                    set = each(|number| format!("f{number} = n.f{number}")),
                    stored = each(|number| format!("c.f{number}")),
                    new = each(|number| format!("n.f{number}")),
                ),
            ));
        }
        for ((event, on, referencing, statement), name) in triggers.into_iter().zip(trigger_names(self.id)) {
            let quoted = client.query_one("-- quote\n SELECT quote_literal($1::text)", &[&statement]).await?;
            let quoted: &str = quoted.get(0);
            let sql = format!(
                "CREATE TRIGGER {name} {event} ON {on} {referencing} FOR EACH STATEMENT
                     EXECUTE FUNCTION {internal}.keep_codes({quoted})"
            );
            client.batch_execute(&sql).await?;
        }
        Ok(())
    }

    /// The indexes of the field with this number: what their names end with, their tables, and their columns. They have all
    /// that a search reads. Those by cell are for ranges: the rows of a range that lie in a cell are together in no other.
    pub(super) fn indexes(&self, number: usize) -> Vec<(String, String, String)> {
        let others = self.numbers(false).filter(|other| *other != number).map(|other| format!(", f{other}"));
        let others: String = others.collect();
        let (field, table) = (&self.fields[number - 1], &self.table);
        let included = "INCLUDE (document_key, chunk, code, norm";
        let mut indexes = vec![match field.kind {
            // One string can be in most lists, so the other fields narrow the range too.
            MetadataIndexType::StringList => {
                let columns = format!("(f{number}, cell{others}) {included})");
                (format!("f{number}"), self.list_table(number), columns)
            }
            _ => (format!("f{number}"), table.clone(), format!("(f{number}, cell) {included}{others})")),
        }];
        if self.has_cells() && field.has_ranges() {
            let columns = format!("(cell, f{number}) {included}{others})");
            indexes.push((format!("cell_f{number}"), table.clone(), columns));
        }
        indexes
    }

    /// Creates one of its [`indexes`](Self::indexes), unless it exists.
    pub(super) async fn create_index(
        &self,
        client: &Client,
        tables: &Tables,
        (ending, table, columns): (String, String, String),
    ) -> Result<(), StoreError> {
        let name = schema::quote(&format!("{}_{}_{ending}", tables.codes_stem, self.id));
        let qualified = format!("{}.{name}", tables.internal);
        let sql = "-- create_code_index\n SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        match client.query_opt(sql, &[&qualified]).await?.map(|row| row.get(0)) {
            Some(true) => return Ok(()),
            // Left by an attempt that was interrupted.
            Some(false) => client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {qualified}")).await?,
            None => {}
        }
        Ok(client.batch_execute(&format!("CREATE INDEX CONCURRENTLY {name} ON {table} {columns}")).await?)
    }
}

fn trigger_names(id: i64) -> [String; 5] {
    ["added", "removed", "emptied", "replaced", "changed"].map(|what| format!("codes_{id}_{what}"))
}

/// The qualified names of the tables of codes of a collection, registered or not.
pub(in crate::store) async fn tables_of(
    client: &Client,
    internal: &str,
    collection_id: i64,
) -> Result<Vec<String>, StoreError> {
    let found = find_tables(client, internal, collection_id, "true").await?;
    Ok(found.into_values().flatten().collect())
}

/// The qualified names of the tables `c` of codes that meet a condition, by the ids of their sets.
async fn find_tables(
    client: &Client,
    internal: &str,
    collection_id: i64,
    condition: &str,
) -> Result<BTreeMap<i64, Vec<String>>, StoreError> {
    let sql = format!(
        "-- tables_of_codes
         SELECT k.id, c.relname::text
         FROM pg_class c,
              LATERAL (SELECT substring(c.relname FROM '^codes_{collection_id}_([0-9]+)(_list[0-9]+)?$')::bigint AS id) k
         WHERE c.relnamespace = to_regnamespace('{internal}') AND c.relkind = 'r' AND k.id IS NOT NULL AND {condition}"
    );
    let mut found: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for row in client.query_typed(&sql, &[]).await? {
        found.entry(row.get(0)).or_default().push(format!("{internal}.{}", row.get::<_, &str>(1)));
    }
    Ok(found)
}

/// Drops the tables of codes of a collection that the registry does not have.
pub(super) async fn drop_unregistered(client: &Client, entry: &Entry) -> Result<(), StoreError> {
    let Tables { documents, embeddings, internal, .. } = &entry.tables;
    let is_unknown = format!("NOT EXISTS (SELECT FROM {internal}.codes r WHERE r.state <> 'failed' AND r.id = k.id)");
    for (id, tables) in find_tables(client, internal, entry.collection.id, &is_unknown).await? {
        let [added, removed, emptied, replaced, changed] = trigger_names(id);
        let transaction = Transaction::read_write(client).lock_timeout(DROP_LOCK_TIMEOUT);
        let sql = format!(
            "DROP TRIGGER IF EXISTS {changed} ON {documents};
             DROP TRIGGER IF EXISTS {added} ON {embeddings};
             DROP TRIGGER IF EXISTS {removed} ON {embeddings};
             DROP TRIGGER IF EXISTS {emptied} ON {embeddings};
             DROP TRIGGER IF EXISTS {replaced} ON {embeddings};
             DROP TABLE IF EXISTS {}",
            tables.join(", ")
        );
        transaction.run(async { Ok(client.batch_execute(&sql).await?) }).await?;
    }
    Ok(())
}
