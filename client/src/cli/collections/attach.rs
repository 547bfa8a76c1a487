//! `pgfox collections attach`: makes an existing table searchable as a collection.

use clap::Args;
use pgfox_client::v1;
use serde_json::{Value, json};

use super::Settings;
use crate::cli::{Globals, failure::Failure, json, output};

/// Serve an existing table as a collection, or follow it
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox collections attach docs --table documents --text content
  pgfox collections attach docs --table public.documents --text title,body --vector embedding
  pgfox collections attach pages --table langchain_pg_embedding --text document --metadata cmetadata
  pgfox collections attach docs --table documents --text content --dry-run    only print the SQL
  pgfox collections attach docs --table documents --text content --follow     pgfox makes the vectors

Searches read the current rows of the table. You continue to write to it by SQL, or by `pgfox ingest`,
`update-metadata` and `delete` if the role of the server has the privileges. `pgfox collections delete`
removes the collection and leaves the table as it is. With --follow, pgfox keeps documents of its own and
changes them when the table changes. Write the name of a column in double quotes if
it contains a comma.")]
pub(crate) struct Attach {
    /// Name of the collection: a lower-case letter, then up to 62 lower-case letters, digits and underscores
    name: String,
    /// Name of the table, as in SQL: documents, public.documents or 'public."My Documents"'
    #[arg(long)]
    table: String,
    /// Columns that become the text, separated by commas; each becomes a line of the text [default: no text]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    text: Option<Columns>,
    /// Template that makes the text from several columns, such as "{title}: {body}"
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "text")]
    template: Option<String>,
    /// Column of the vectors [default: the only vector column]
    #[arg(long, value_name = "COLUMN")]
    vector: Option<String>,
    /// Columns of the id, separated by commas [default: the primary key]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    id: Option<Columns>,
    /// Columns of the metadata; the keys of a single json column become the fields [default: all other columns]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    metadata: Option<Columns>,
    /// Keep documents of pgfox's own in step with the table: it embeds what you write by SQL, and all modes of search,
    /// chunking and metadata indexes work. Without --vector it makes the vectors from the text
    #[arg(long)]
    follow: bool,
    /// Follow by a timestamptz column that says when a row changed, where triggers cannot be made
    #[arg(long, value_name = "COLUMN", requires = "follow")]
    updated_at: Option<String>,
    /// Use no model; searches must then send vectors
    #[arg(long, conflicts_with = "model")]
    no_model: bool,
    #[command(flatten)]
    settings: Settings,
    /// Print the SQL that would run, and attach nothing
    #[arg(long)]
    dry_run: bool,
}

/// Names of columns.
#[derive(Clone)]
struct Columns(Vec<String>);

/// Parses column names that are separated by commas. A name in double quotes may contain commas, and a double quote in
/// it is written twice.
fn columns(text: &str) -> Result<Columns, String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let Some(name) = names.last_mut() else { break };
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                name.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => names.push(String::new()),
            c => name.push(c),
        }
    }
    if is_quoted || names.iter().any(String::is_empty) {
        return Err("write names of columns separated by commas, such as title,body".into());
    }
    Ok(Columns(names))
}

impl Attach {
    fn to_request(&self) -> v1::CreateCollectionRequest {
        let names = |columns: &Option<Columns>| columns.as_ref().map(|columns| columns.0.clone()).unwrap_or_default();
        let source = v1::Source {
            table: self.table.clone(),
            id_columns: names(&self.id),
            text_columns: names(&self.text),
            text_template: self.template.clone().unwrap_or_default(),
            vector_column: self.vector.clone().unwrap_or_default(),
            metadata_columns: names(&self.metadata),
            follow: self.follow.then(|| v1::Follow {
                triggers: self.updated_at.is_none(),
                updated_at_column: self.updated_at.clone().unwrap_or_default(),
            }),
        };
        let mut collection = v1::Collection { source: Some(source), ..self.settings.to_collection(&self.name) };
        if self.no_model {
            // An embedding without a model means that callers send vectors.
            collection.embedding.get_or_insert_default().model.clear();
        }
        v1::CreateCollectionRequest { collection: Some(collection), dry_run: self.dry_run }
    }

    pub(super) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        let response = client.create_collection(self.to_request()).await?.into_inner();
        let collection = response.collection.unwrap_or_default();
        if !self.dry_run {
            return super::print(globals, &collection);
        }
        if globals.json {
            let statements: Vec<Value> = response
                .statements
                .iter()
                .map(|statement| json!({ "purpose": statement.purpose, "sql": statement.sql }))
                .collect();
            return output::print_json(&json!({
                "collection": json::collection(&collection), "statements": statements
            }));
        }
        let mut text = String::new();
        for v1::Statement { purpose, sql } in &response.statements {
            text.push_str(&format!("-- {purpose}\n{};\n", sql.trim_end()));
        }
        output::print(&text)
    }
}

/// The fields of a source that `pgfox collections get` shows.
pub(super) fn properties(source: &v1::Source) -> [(&'static str, String); 6] {
    let text = match (source.text_template.as_str(), &source.text_columns[..]) {
        ("", []) => "none".to_owned(),
        ("", columns) => columns.join(", "),
        (template, _) => format!("{template:?}"),
    };
    [
        ("table", source.table.clone()),
        ("id column", source.id_columns.join(", ")),
        ("text column", text),
        ("vector column", if source.vector_column.is_empty() { "none".into() } else { source.vector_column.clone() }),
        ("metadata columns", super::list(source.metadata_columns.iter().cloned())),
        (
            "followed",
            match &source.follow {
                None => "no".to_owned(),
                Some(follow) if follow.updated_at_column.is_empty() => "by triggers".to_owned(),
                Some(follow) => format!("by the column {}", follow.updated_at_column),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_separated_by_commas() {
        let read = |text| columns(text).map(|columns| columns.0);
        assert_eq!(read("a,b c"), Ok(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(read(r#""a,b","say ""x""""#), Ok(vec!["a,b".to_owned(), "say \"x\"".to_owned()]));
        for bad in ["", "a,", ",a", r#""a"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
