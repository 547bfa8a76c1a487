//! Ingest into the table of a source: which rows are as the documents, and the one transaction that writes the others.

use std::{collections::BTreeMap, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, types::Type};

use super::{
    RefusedRow, WritableColumn, WritableTable, commit, execute, not_unique, parts::write_parts, record, refused,
};
use crate::store::{
    Collection, Content, NewDocument, Store, StoreError, Written,
    catalog::Entry,
    schema::quote,
    transaction::Transaction,
    wire::{Json, Parameters, VectorValue},
};

/// Maximum number of refused documents that are examined to name the one that is the reason.
const MAX_EXAMINED: usize = 8;

/// A document to compare with the row of its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub id: &'a str,
    /// `None` if it does not matter.
    pub text: Option<&'a str>,
    /// The vector that the caller sends.
    pub vector: Option<&'a [f32]>,
    /// Its row must have a vector to be the same.
    pub is_embedded: bool,
}

impl Store {
    /// For each document whether its row has the same text and a vector, and the caller's vector if there is one. `None`
    /// for a document without a row.
    pub(crate) async fn stored_rows(
        &self,
        collection: &Collection,
        rows: &[Row<'_>],
    ) -> Result<Vec<Option<bool>>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let stored = find_rows(&connection, &entry, rows, "").await?;
            connection.done();
            Ok(stored)
        })
        .await
    }

    /// Writes documents, each id once, in one transaction; returns after COMMIT. With `only_absent` rows that exist stay as
    /// they are. With `skip_refused` the documents that the table refuses are left out and returned.
    /// [`StoreError::Overtaken`] if other writers have changed the rows since they were read.
    pub(crate) async fn write_rows(
        &self,
        collection: &Collection,
        table: &WritableTable,
        documents: &[NewDocument<'_>],
        only_absent: bool,
        skip_refused: bool,
        timeout: Duration,
    ) -> Result<(Written, Vec<RefusedRow>), StoreError> {
        let documents: Vec<&NewDocument<'_>> = documents.iter().collect();
        let documents = &documents[..];
        self.with_collection(&collection.definition.name, |entry| async move {
            if entry.collection.id != collection.id {
                // The documents were meant for a collection that is gone.
                return Err(StoreError::CollectionReplaced(collection.definition.name.clone()));
            }
            let connection = self.connection_to(&entry).await?;
            let transaction = Transaction::new(&connection).timeout(timeout);
            transaction.begin().await?;
            let mut written = match write(&connection, &entry, table, documents, only_absent).await {
                Ok(written) => commit(&transaction, &entry).await.map(|()| (written, Vec::new())),
                Err(error) => Err(error),
            };
            if let Err(StoreError::RowsRefused { id, why, .. }) = &mut written {
                transaction.rollback().await?;
                transaction.begin().await?;
                let most = if skip_refused { documents.len() } else { MAX_EXAMINED };
                match write_parts(&connection, &entry, table, documents, only_absent, most).await {
                    Ok(parts) if skip_refused => written = commit(&transaction, &entry).await.map(|()| parts),
                    // The first one with this reason: others may depend on its row.
                    Ok((_, refused)) => *id = refused.into_iter().find(|row| row.why == *why).map(|row| row.id),
                    Err(StoreError::Overtaken) if !skip_refused => {}
                    Err(error) => written = Err(error),
                }
            }
            if let Err(StoreError::Overtaken | StoreError::RowsRefused { .. }) = written {
                transaction.rollback().await?;
                connection.done();
                return written;
            }
            let (written, refused) = written?;
            connection.done();
            self.stats().add_written(&written);
            Ok((written, refused))
        })
        .await
    }
}

/// What becomes of documents, now that their rows are locked.
#[derive(Default)]
struct Plan<'a> {
    new: Vec<&'a NewDocument<'a>>,
    changed: Vec<&'a NewDocument<'a>>,
    /// At most the metadata changes.
    kept: Vec<&'a NewDocument<'a>>,
    skipped: usize,
    /// Documents whose rows were the same when they were read, and are not now.
    overtaken: Vec<&'a NewDocument<'a>>,
}

pub(super) async fn write<'a>(
    client: &Client,
    entry: &Entry,
    table: &WritableTable,
    documents: &[&'a NewDocument<'a>],
    only_absent: bool,
) -> Result<Written, StoreError> {
    let rows: Vec<Row<'_>> = documents.iter().map(|document| to_row(entry, document)).collect();
    let locked = find_rows(client, entry, &rows, "FOR UPDATE OF t").await?;
    let mut plan = Plan::default();
    for (&document, row) in documents.iter().zip(locked) {
        match (row, &document.content) {
            (Some(_), _) if only_absent => plan.skipped += 1,
            (Some(true), Content::Unchanged) => plan.kept.push(document),
            (_, Content::Unchanged) => plan.overtaken.push(document),
            (Some(_), _) => plan.changed.push(document),
            (None, _) => plan.new.push(document),
        }
    }
    if !plan.overtaken.is_empty() {
        return Err(why_missing(client, entry, &plan.overtaken, false).await?);
    }
    let mut written = Written { skipped: plan.skipped, ..Written::default() };
    for (columns, documents) in by_columns(table, &plan.new) {
        let inserted = insert(client, entry, table, &columns, &documents).await?;
        if inserted < documents.len() && !(only_absent && all_exist(client, entry, &documents).await?) {
            return Err(why_missing(client, entry, &documents, true).await?);
        }
        written.inserted += inserted;
        written.skipped += documents.len() - inserted;
    }
    for (columns, documents) in by_columns(table, &plan.changed) {
        written.updated += update_content(client, entry, table, &columns, &documents).await?;
    }
    for (columns, documents) in by_columns(table, &plan.kept) {
        if !columns.is_empty() {
            written.updated += update_metadata(client, entry, table, &columns, &documents).await?;
        }
    }
    written.unchanged = documents.len() - written.inserted - written.updated - written.skipped;
    Ok(written)
}

fn to_row<'a>(entry: &Entry, document: &'a NewDocument<'a>) -> Row<'a> {
    // Only the sameness of documents without changes matters.
    let text = matches!(document.content, Content::Unchanged).then_some(document.text);
    let is_embedded = entry.collection.definition.model.is_some() && !document.text.trim().is_empty();
    Row { id: document.id, text, vector: None, is_embedded }
}

/// For each document whether its row is the same. `None` for a document without a row.
async fn find_rows(
    client: &Client,
    entry: &Entry,
    rows: &[Row<'_>],
    locking: &str,
) -> Result<Vec<Option<bool>>, StoreError> {
    let source = entry.source()?;
    let extension = &entry.tables.extension;
    let definition = &entry.collection.definition;
    let mut parameters = Parameters::default();
    let mut lists = source.key_lists(rows.iter().map(|row| row.id), &mut parameters);
    let mut hashes = Vec::with_capacity(rows.len());
    for row in rows {
        hashes.push(row.text.map(|text| Sha256::digest(text).to_vec()));
        // Other calls of this thread take their turn.
        tokio::task::consume_budget().await;
    }
    lists.push(format!("${}", parameters.push(hashes, Type::BYTEA_ARRAY)));
    let needed: Vec<bool> = rows.iter().map(|row| row.is_embedded || row.vector.is_some()).collect();
    lists.push(format!("${}", parameters.push(needed, Type::BOOL_ARRAY)));
    let vector_type = definition.vector_type;
    let vectors: Vec<Option<VectorValue<'_>>> =
        rows.iter().map(|row| row.vector.map(|values| VectorValue { values, vector_type })).collect();
    lists.push(format!("${}", parameters.push(vectors, entry.types.list.clone())));
    let keys = source.key_names();
    // By the columns of the table, whose collation can be another one.
    let order: Vec<String> = source.id.iter().map(|column| format!("t.{}", quote(&column.name))).collect();
    let vector = quote(&source.vector);
    let sql = format!(
        "-- stored_rows
         SELECT n.position, (n.hash IS NULL OR sha256(convert_to({text}, 'UTF8')) = n.hash)
                AND (NOT n.is_embedded OR {has_vector})
                AND (n.embedding IS NULL OR coalesce(t.{vector} OPERATOR({extension}.=) n.embedding, false))
         FROM unnest({lists}) WITH ORDINALITY AS n ({keys}, hash, is_embedded, embedding, position)
         JOIN {relation} t ON {is_row} ORDER BY {order} {locking}",
        text = source.text("t"),
        has_vector = source.has_vector("t", &vector, extension, definition.dimensions),
        lists = lists.join(", "),
        keys = keys.join(", "),
        order = order.join(", "),
        relation = source.relation(),
        is_row = source.is_row(),
    );
    let found = client.query_typed(&sql, &parameters.typed()).await?;
    let mut stored = vec![None; rows.len()];
    for row in &found {
        let position = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let Some(stored) = stored.get_mut(position)
            && stored.replace(row.get(1)).is_some()
        {
            return Err(not_unique(entry, source));
        }
    }
    Ok(stored)
}

/// Why rows are not there, or not as they were read: other writers, or what the table does with rows. `are_new`: they were
/// just inserted.
async fn why_missing(
    client: &Client,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
    are_new: bool,
) -> Result<StoreError, StoreError> {
    let rows: Vec<Row<'_>> = documents.iter().map(|document| to_row(entry, document)).collect();
    let locked = find_rows(client, entry, &rows, "FOR UPDATE OF t").await?;
    let visible = find_rows(client, entry, &rows, "").await?;
    let why = if visible.iter().zip(&locked).any(|(visible, locked)| visible.is_some() && locked.is_none()) {
        "a policy of row-level security lets the role read a row but not change it"
    } else if are_new && visible.iter().any(Option::is_none) {
        "a trigger leaves a row out, or a policy of row-level security hides a row with the same id"
    } else {
        return Ok(StoreError::Overtaken);
    };
    refused_row(entry, why)
}

/// Whether all documents have a row.
async fn all_exist(client: &Client, entry: &Entry, documents: &[&NewDocument<'_>]) -> Result<bool, StoreError> {
    let rows: Vec<Row<'_>> = documents.iter().map(|document| to_row(entry, document)).collect();
    Ok(find_rows(client, entry, &rows, "").await?.iter().all(Option::is_some))
}

fn refused_row(entry: &Entry, why: &str) -> Result<StoreError, StoreError> {
    let collection = entry.collection.definition.name.clone();
    Ok(StoreError::RowsRefused { collection, table: entry.source()?.relation(), id: None, why: why.into() })
}

/// The documents by the columns that their metadata set. A column that the metadata do not name keeps its value, or gets its
/// default in a new row.
fn by_columns<'d, 't>(
    table: &'t WritableTable,
    documents: &[&'d NewDocument<'d>],
) -> Vec<(Vec<&'t WritableColumn>, Vec<&'d NewDocument<'d>>)> {
    let mut groups: BTreeMap<Vec<&str>, (Vec<&WritableColumn>, Vec<&NewDocument<'_>>)> = BTreeMap::new();
    for document in documents {
        let columns = table.columns_of(document.metadata);
        let names = columns.iter().map(|column| column.name.as_str()).collect();
        groups.entry(names).or_insert_with(|| (columns, Vec::new())).1.push(document);
    }
    groups.into_values().collect()
}

/// Documents as the rows `n` of a statement.
struct Input<'a> {
    from: String,
    /// The fields of their metadata as `m`, with a comma before it.
    fields: String,
    parameters: Parameters<'a>,
}

impl<'a> Input<'a> {
    fn new(
        entry: &Entry,
        table: &WritableTable,
        columns: &[&WritableColumn],
        documents: &[&'a NewDocument<'a>],
        with_content: bool,
    ) -> Self {
        let mut parameters = Parameters::default();
        let mut lists = table.source.key_lists(documents.iter().map(|document| document.id), &mut parameters);
        let mut names = table.source.key_names();
        let mut add = |name: &str, number: usize| {
            names.push(name.to_owned());
            lists.push(format!("${number}"));
        };
        if with_content {
            let texts: Vec<&str> = documents.iter().map(|document| document.text).collect();
            add("text", parameters.push(texts, Type::TEXT_ARRAY));
            let vector_type = entry.collection.definition.vector_type;
            let vector = |document: &&'a NewDocument<'a>| match &document.content {
                Content::Whole { vector, .. } => vector.map(|values| VectorValue { values, vector_type }),
                Content::Unchanged | Content::Chunks(_) => None,
            };
            let vectors: Vec<Option<VectorValue<'_>>> = documents.iter().map(vector).collect();
            add("embedding", parameters.push(vectors, entry.types.list.clone()));
        }
        if !columns.is_empty() {
            let metadata: Vec<Json<&str>> = documents.iter().map(|document| Json(document.metadata)).collect();
            add("metadata", parameters.push(metadata, Type::JSONB_ARRAY));
        }
        let fields = if table.source.is_spread() { String::new() } else { record(columns, "n.metadata") };
        let from = format!("unnest({}) AS n ({})", lists.join(", "), names.join(", "));
        Self { from, fields, parameters }
    }
}

/// SQL: what an UPDATE sets.
fn set(table: &WritableTable, columns: &[&WritableColumn], content: bool) -> String {
    let set = assignments(table, columns, content).into_iter().map(|(column, value)| format!("{column} = {value}"));
    set.collect::<Vec<_>>().join(", ")
}

/// The columns that a statement sets, with their values. `content`: also the text and the vector.
fn assignments(table: &WritableTable, columns: &[&WritableColumn], content: bool) -> Vec<(String, String)> {
    let mut set = Vec::with_capacity(columns.len() + 2);
    if content {
        set.extend(table.source.text.iter().map(|column| (quote(&column.name), "n.text".to_owned())));
        set.push((quote(&table.source.vector), "n.embedding".to_owned()));
    }
    set.extend(columns.iter().map(|column| (quote(&column.name), value(table, column))));
    set
}

fn value(table: &WritableTable, column: &WritableColumn) -> String {
    if table.source.is_spread() { column.whole("n.metadata") } else { column.value() }
}

/// Inserts rows; returns how many. A row that exists stays as it is.
async fn insert(
    client: &Client,
    entry: &Entry,
    table: &WritableTable,
    columns: &[&WritableColumn],
    documents: &[&NewDocument<'_>],
) -> Result<usize, StoreError> {
    let Input { from, fields, parameters } = Input::new(entry, table, columns, documents, true);
    let keys: Vec<String> = table.source.id.iter().map(|column| quote(&column.name)).collect();
    let names: Vec<String> = table.source.key_names().iter().map(|name| format!("n.{name}")).collect();
    let (mut targets, mut values) = (keys.clone(), names.clone());
    for (column, value) in assignments(table, columns, true) {
        targets.push(column);
        values.push(value);
    }
    let sql = format!(
        "-- insert_rows
         INSERT INTO {relation} ({targets}) SELECT {values} FROM {from}{fields} ORDER BY {names}
         ON CONFLICT ({keys}) DO NOTHING",
        relation = table.relation(),
        targets = targets.join(", "),
        values = values.join(", "),
        names = names.join(", "),
        keys = keys.join(", "),
    );
    execute(client, entry, &sql, &parameters).await
}

/// Updates rows with their texts and vectors; returns how many.
async fn update_content(
    client: &Client,
    entry: &Entry,
    table: &WritableTable,
    columns: &[&WritableColumn],
    documents: &[&NewDocument<'_>],
) -> Result<usize, StoreError> {
    let Input { from, fields, parameters } = Input::new(entry, table, columns, documents, true);
    let sql = format!(
        "-- update_rows
         UPDATE {relation} t SET {set} FROM {from}{fields} WHERE {is_row}",
        relation = table.relation(),
        set = set(table, columns, true),
        is_row = table.source.is_row(),
    );
    let updated = execute(client, entry, &sql, &parameters).await?;
    check_updated(entry, table, documents, documents.len(), updated)
}

/// Updates the rows whose metadata differ; returns how many.
async fn update_metadata(
    client: &Client,
    entry: &Entry,
    table: &WritableTable,
    columns: &[&WritableColumn],
    documents: &[&NewDocument<'_>],
) -> Result<usize, StoreError> {
    let Input { from, fields, parameters } = Input::new(entry, table, columns, documents, false);
    let differs: Vec<String> = columns.iter().map(|column| column.differs(&value(table, column))).collect();
    let sql = format!(
        "-- update_row_metadata
         WITH different AS MATERIALIZED (
             SELECT n.* FROM {from}{fields}, {relation} t WHERE {is_row} AND ({differs})),
         updated AS (UPDATE {relation} t SET {set} FROM different n{fields} WHERE {is_row} RETURNING 1)
         SELECT (SELECT count(*) FROM different), (SELECT count(*) FROM updated)",
        relation = table.relation(),
        differs = differs.join(" OR "),
        set = set(table, columns, false),
        is_row = table.source.is_row(),
    );
    let row = client.query_typed(&sql, &parameters.typed()).await.map_err(|error| refused(entry, error))?;
    // The statement has one row, and counts fit.
    let count = |column: usize| row.first().map_or(0, |row| row.get::<_, i64>(column)) as usize;
    check_updated(entry, table, documents, count(0), count(1))
}

/// Checks the number of rows that an UPDATE of locked rows has changed.
fn check_updated(
    entry: &Entry,
    table: &WritableTable,
    documents: &[&NewDocument<'_>],
    expected: usize,
    updated: usize,
) -> Result<usize, StoreError> {
    if updated > documents.len() {
        return Err(not_unique(entry, &table.source));
    }
    if updated < expected {
        return Err(refused_row(entry, "a trigger leaves the change of a row out")?);
    }
    Ok(updated)
}
