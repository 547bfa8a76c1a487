//! Writes to the table of a source. They go through its constraints, triggers and policies as any other SQL does. When these
//! refuse a row, the whole request writes nothing, or Ingest skips the row if it may.

mod change;
mod parts;
mod rows;
mod table;
mod values;

use tokio_postgres::error::SqlState;

pub(crate) use parts::RefusedRow;
pub(crate) use rows::Row;
pub(crate) use table::{MetadataProblem, WritableTable};

use table::WritableColumn;

use super::{ColumnType, Source};
use crate::store::{
    StoreError, catalog::Entry, connection::sqlstate::explain, log, schema::quote, transaction::Transaction,
    wire::Parameters,
};

impl Source {
    /// That the row `t` of the table has the key of the row `n`, whose columns are `key_1` and so on.
    fn is_row(&self) -> String {
        let part = |(number, column): (usize, &super::Column)| format!("t.{} = n.key_{number}", quote(&column.name));
        (1..).zip(&self.id).map(part).collect::<Vec<_>>().join(" AND ")
    }

    /// The names of the columns of the key in the rows `n`.
    fn key_names(&self) -> Vec<String> {
        (1..=self.id.len()).map(|number| format!("key_{number}")).collect()
    }

    /// SQL: locks the rows of the documents that meet a condition on `d`, like every write in the order of the key, and
    /// selects their keys. A row that another writer has changed meanwhile must meet the condition still.
    fn locked(&self, documents: &str, condition: &str) -> String {
        let order: Vec<String> = self.order().into_iter().map(|column| format!("d.{column}")).collect();
        format!("{} ORDER BY {} FOR UPDATE OF d", self.selected(documents, condition), order.join(", "))
    }

    /// SQL: the keys of the documents that meet a condition on `d`, as `key_1` and so on.
    fn selected(&self, documents: &str, condition: &str) -> String {
        let keys = self.order().into_iter().zip(self.key_names()).map(|(column, name)| format!("d.{column} AS {name}"));
        format!("SELECT {} FROM {documents} d WHERE {condition}", keys.collect::<Vec<_>>().join(", "))
    }
}

impl WritableColumn {
    /// The column of the row `t`.
    fn of_row(&self) -> String {
        format!("t.{}", quote(&self.name))
    }

    /// What `jsonb_to_record` makes of a field, as `m`.
    fn definition(&self) -> String {
        // The input of timestamp ignores the zone of a time.
        let type_name = if self.kind == ColumnType::Timestamp { "timestamptz" } else { &self.type_name };
        format!("{} {type_name}", quote(&self.name))
    }

    /// The value of a field of `m`, as the column stores it.
    fn value(&self) -> String {
        let field = format!("m.{}", quote(&self.name));
        match self.kind {
            ColumnType::Timestamp => format!("({field} AT TIME ZONE interval '0')::{}", self.type_name),
            _ => field,
        }
    }

    fn assignment(&self, value: &str) -> String {
        format!("{} = {value}", quote(&self.name))
    }

    /// JSON as the column stores it.
    fn whole(&self, json: &str) -> String {
        if self.kind == ColumnType::Json { format!("({json})::json") } else { json.to_owned() }
    }

    /// The JSON of the row `t` with a change by RFC 7396, as the column stores it.
    fn merged(&self, internal: &str, change: &str) -> String {
        self.whole(&format!("{internal}.merge_patch({}::jsonb, {change}::jsonb)", self.of_row()))
    }

    /// That a value differs from that of the row `t`. Equality of a type can treat different values as equal.
    fn differs(&self, value: &str) -> String {
        let column = self.of_row();
        let compared = |value: &str| match self.kind {
            ColumnType::Text | ColumnType::Textual => format!("{value}::text COLLATE \"C\""),
            ColumnType::Json => format!("{value}::jsonb"),
            _ => value.to_owned(),
        };
        format!("{} IS DISTINCT FROM {}", compared(&column), compared(&format!("({value})")))
    }
}

/// SQL: the fields of the JSON `metadata` as the record `m`; nothing without columns.
fn record(columns: &[&WritableColumn], metadata: &str) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let definitions: Vec<String> = columns.iter().map(|column| column.definition()).collect();
    format!(", jsonb_to_record({metadata}) AS m ({})", definitions.join(", "))
}

/// Sends a statement; returns the number of rows that it changed.
async fn execute(
    client: &tokio_postgres::Client,
    entry: &Entry,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<usize, StoreError> {
    let executed = client.execute_typed(sql, &parameters.typed()).await;
    Ok(executed.map_err(|error| refused(entry, error))? as usize)
}

/// Commits. Constraints can be deferred until then.
async fn commit(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    match transaction.commit().await {
        Err(StoreError::Database(error)) => Err(refused(entry, error)),
        committed => committed,
    }
}

/// The error of a statement that writes to the table of a source.
fn refused(entry: &Entry, error: tokio_postgres::Error) -> StoreError {
    let (Some(db), Some(source)) = (error.as_db_error(), &entry.tables.source) else { return error.into() };
    let named = |name: Option<&str>| name.map(|name| format!(" {}", quote(name))).unwrap_or_default();
    let (constraint, column) = (named(db.constraint()), named(db.column()));
    let code = db.code();
    let why = match *code {
        SqlState::NOT_NULL_VIOLATION => format!("the column{column} must not be null"),
        SqlState::UNIQUE_VIOLATION => format!("another row has the values of the unique constraint{constraint}"),
        SqlState::FOREIGN_KEY_VIOLATION => format!("the foreign key{constraint} does not allow it"),
        SqlState::CHECK_VIOLATION => format!("the constraint{constraint} does not allow it"),
        SqlState::EXCLUSION_VIOLATION => format!("the exclusion constraint{constraint} does not allow it"),
        SqlState::RESTRICT_VIOLATION => format!("rows of another table depend on it by the foreign key{constraint}"),
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "a policy of row-level security, or a privilege that the role lacks on a column or in a trigger, does not allow \
             it"
            .into()
        }
        SqlState::INVALID_COLUMN_REFERENCE => return not_unique(entry, source),
        SqlState::GENERATED_ALWAYS => format!("the column{column} is GENERATED ALWAYS"),
        SqlState::STRING_DATA_RIGHT_TRUNCATION => "a text is longer than its column allows".into(),
        _ => match code.code().get(..2) {
            Some("22") => "a value is not one of the type of its column, or out of its range".into(),
            Some("P0" | "38" | "39" | "44" | "09" | "27") => {
                "a trigger does not allow it; the log of the server has its message".into()
            }
            _ => return error.into(),
        },
    };
    log::warn(format!("the table {} refuses a change: {}", source.relation(), explain(&error)));
    StoreError::RowsRefused {
        collection: entry.collection.definition.name.clone(),
        table: source.relation(),
        id: None,
        why,
    }
}

/// The error if the table can have, or has, several rows with the same id.
fn not_unique(entry: &Entry, source: &Source) -> StoreError {
    let table = source.relation();
    let change = format!("the table {table} has changed: no unique index is over its id columns any more");
    StoreError::SourceChanged { collection: entry.collection.definition.name.clone(), table, change }
}
