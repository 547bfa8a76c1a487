//! The triggers that note which rows of a table have changed.

use tokio_postgres::{Client, types::Type};

use super::Follow;
use crate::store::{Source, StoreError, sources::literal};

/// The operations with a trigger each, and the rows that it sees.
const TRIGGERS: [(&str, &str, &str); 4] = [
    ("insert", "INSERT", "REFERENCING NEW TABLE AS new_rows"),
    ("update", "UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    ("delete", "DELETE", "REFERENCING OLD TABLE AS old_rows"),
    ("truncate", "TRUNCATE", ""),
];

/// The statements that make the triggers on these tables, which are the one of the source and its partitions. Triggers of
/// statements fire only on the table that the statement names.
pub(in crate::store) fn statements(
    internal: &str,
    collection_id: i64,
    source: &Source,
    relations: &[String],
) -> Vec<String> {
    let mut statements = vec![function(internal, collection_id, source)];
    statements.extend(relations.iter().map(|relation| triggers(internal, collection_id, source, relation)));
    statements
}

fn function_name(internal: &str, collection_id: i64) -> String {
    format!("{internal}.follow_{collection_id}")
}

/// The function of the triggers. It runs as pgfox's role, because writers have no right to pgfox's tables.
///
/// It must never make a write of the user fail: if a column of the key is gone, everything may have changed, and the
/// comparison reports why. It asks the catalog for that, because an exception block would cost the user a subtransaction.
/// EXCEPT is hashed or sorted, however many rows an UPDATE changes.
fn function(internal: &str, collection_id: i64, source: &Source) -> String {
    let name = function_name(internal, collection_id);
    let (new, old) = (source.id("n"), source.id("o"));
    let columns: Vec<String> = source.id.iter().map(|column| literal(&column.name)).collect();
    let body = format!(
        "
BEGIN
    IF TG_OP = 'TRUNCATE' OR (
        SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND attname IN ({columns})) < {count}
    THEN
        INSERT INTO {internal}.changes (collection_id) VALUES ({collection_id});
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO {internal}.changes (collection_id, id) SELECT {collection_id}, {new} FROM new_rows n;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO {internal}.changes (collection_id, id)
        SELECT {collection_id}, {new} FROM new_rows n
        UNION ALL
        (SELECT {collection_id}, {old} COLLATE \"C\" FROM old_rows o
         EXCEPT SELECT {collection_id}, {new} COLLATE \"C\" FROM new_rows n);
    ELSE
        INSERT INTO {internal}.changes (collection_id, id) SELECT {collection_id}, {old} FROM old_rows o;
    END IF;
    RETURN NULL;
END ",
        columns = columns.join(", "),
        count = columns.len(),
    );
    format!(
        "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {};
REVOKE ALL ON FUNCTION {name}() FROM PUBLIC",
        literal(&body)
    )
}

fn triggers(internal: &str, collection_id: i64, source: &Source, relation: &str) -> String {
    let function = function_name(internal, collection_id);
    let create = |(name, operation, rows): (&str, &str, &str)| {
        format!(
            "CREATE OR REPLACE TRIGGER {stem}_{name} AFTER {operation} ON {relation} {rows}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
            stem = source.stem
        )
    };
    TRIGGERS.map(create).join(";\n")
}

/// Makes the triggers of a new collection. Waits for those who write to the table, and later writers wait for this.
pub(super) async fn create(
    client: &Client,
    internal: &str,
    collection_id: i64,
    follow: &Follow,
) -> Result<(), StoreError> {
    if follow.updated_at.is_some() {
        return Ok(());
    }
    let relations = relations(client, &follow.source).await?;
    for statement in statements(internal, collection_id, &follow.source, &relations) {
        client.batch_execute(&statement).await?;
    }
    Ok(())
}

/// The statements that grant what the role lacks to make triggers on tables.
pub(in crate::store) async fn trigger_grants(client: &Client, relations: &[String]) -> Result<Vec<String>, StoreError> {
    let sql = "-- trigger_grants
        SELECT format('GRANT TRIGGER ON TABLE %s TO %I', r, current_user) FROM unnest($1::text[]) r
        WHERE NOT has_table_privilege(r, 'TRIGGER')";
    let rows = client.query_typed(sql, &[(&relations, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Drops the triggers of a collection, wherever they are. Their function belongs to pgfox, and the owner of the table is not
/// needed to drop what depends on it.
pub(in crate::store) async fn drop(client: &Client, internal: &str, collection_id: i64) -> Result<(), StoreError> {
    let name = function_name(internal, collection_id);
    Ok(client.batch_execute(&format!("DROP FUNCTION IF EXISTS {name}() CASCADE")).await?)
}

/// The tables of a source that need triggers, quoted.
pub(in crate::store) async fn relations(client: &Client, source: &Source) -> Result<Vec<String>, StoreError> {
    let sql = format!("-- relations_of_source\n {}", select_relations("true"));
    let rows = client.query_typed(&sql, &[(&source.relation(), Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// SQL: the table `$1` and its partitions.
const SELECT_OIDS: &str =
    "SELECT to_regclass($1)::oid AS oid UNION SELECT p.relid FROM pg_partition_tree(to_regclass($1)) p";

/// SQL: the quoted names of the table `$1` and of its partitions that meet a condition on `r`, a row of `pg_class`.
fn select_relations(condition: &str) -> String {
    format!(
        "SELECT format('%I.%I', n.nspname, r.relname)
         FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
         WHERE r.oid IN ({SELECT_OIDS})
           AND r.relkind IN ('r', 'p') AND {condition}
         ORDER BY r.oid"
    )
}

/// What is wrong with the triggers of a collection.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The tables that lack one, quoted.
    pub(super) missing: Vec<String>,
    /// The tables where somebody has disabled one.
    pub(super) disabled: Vec<String>,
    /// All tables, by their numbers in the catalog.
    pub(super) relations: String,
}

pub(super) async fn faults(
    client: &Client,
    internal: &str,
    collection_id: i64,
    source: &Source,
) -> Result<Faults, StoreError> {
    let name = function_name(internal, collection_id);
    let count = |condition: &str| {
        format!(
            "(SELECT count(*) FROM pg_trigger t
              WHERE t.tgrelid = r.oid AND t.tgfoid = to_regproc('{name}')::oid AND {condition})"
        )
    };
    let (all, disabled) = (count("true"), count("t.tgenabled = 'D'"));
    let sql = format!(
        "-- faults_of_triggers\n SELECT ARRAY({}), ARRAY({}), (SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM ({}) r)",
        select_relations(&format!("{all} < {}", TRIGGERS.len())),
        select_relations(&format!("{disabled} > 0")),
        SELECT_OIDS
    );
    let row = client.query_typed_one(&sql, &[(&source.relation(), Type::TEXT)]).await?;
    Ok(Faults { missing: row.get(0), disabled: row.get(1), relations: row.get::<_, Option<_>>(2).unwrap_or_default() })
}
