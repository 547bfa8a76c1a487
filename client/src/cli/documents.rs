//! `pgfox get`, `pgfox list` and `pgfox count`: show the stored documents.

use clap::{Args, ValueEnum};
use pgfox_client::v1;
use serde_json::{Value, json};

use super::{
    Globals,
    columns::Columns,
    failure::Failure,
    filter::Where,
    json,
    output::{self, Align},
};

/// Ids per GetDocuments. Few, so that long texts stay below the 16 MiB of a response.
const IDS_PER_GET: usize = 100;
/// Documents per ListDocuments, the server's maximum. A page of large documents has fewer.
pub(crate) const PAGE_SIZE: i32 = 1_000;
/// Documents of a list without `--limit`, unless it is an export.
const DEFAULT_LISTED: u64 = 100;

/// Show documents by id
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox get films \"Heat-1995-12\"
  pgfox get films 17 18 19 --include-vector --json

Unknown ids are listed on stderr, and the exit code is 1.")]
pub(crate) struct Get {
    /// Name of the collection
    collection: String,
    /// Ids of the documents
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Show the vectors too; a document with chunks has their mean
    #[arg(long)]
    include_vector: bool,
}

/// List documents, or export them with --json
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox list films --where 'year >= 2000 and genres contains \"romance\"'
  pgfox list films --order created --desc --limit 20     the newest
  pgfox list films --json --include-vector | gzip > films.jsonl.gz
  pgfox ingest copy films.jsonl.gz                       stores the export

With --json each line is a document that `pgfox ingest` can read. Without --include-vector,
ingesting embeds the texts again. Leave the vectors out for documents with chunks: only the mean of
their vectors can be exported.

Filters:
  = != < <= > >=                numbers and strings; = and != also true, false, null and JSON
  between 1990 and 1999         includes both bounds
  in (\"a\", \"b\")  not in (1, 2)  one of these, or none of them
  starts with \"The \"            strings; ^= is the same
  contains text \"fox\"           strings; like '%fox%' and like 'fox%' work as in SQL
  contains \"a\"                  lists; also contains any (\"a\", \"b\") and contains all (...)
  ... ignoring case             after = != in contains, starts with and like, with strings
  before 2024-05-01             times, such as 2024-05-01T12:00+02:00; without a zone in UTC
  since 2024-05-01T12:00:00Z    that time or later
  exists F  F is not null       there is a value; F is null: there is none
  F                             the same as F = true
  and  or  not  ( )             not binds closest, then and, then or
Write strings in double or single quotes. A field such as author.name leads into objects, and
variants[].color into any element of a list. Write a key with other characters in quotes, as in
author.\"first name\". The id of the document is id, as in id = \"a\" or id in (\"a\", \"b\"). Write a
metadata field with this name as \"id\".")]
pub(crate) struct List {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    filter: Where,
    /// Maximum number of documents [default: 100, with --json all]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Sort by id (compared by bytes) or by the order in which the documents were first stored
    #[arg(long, default_value = "id")]
    order: Order,
    /// Reverse the order
    #[arg(long)]
    desc: bool,
    /// Fields to return beside the id: text, metadata, or fields of it such as metadata.title [default: text,metadata]
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// Return the vectors too, with --json
    #[arg(long)]
    include_vector: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Id,
    Created,
}

/// Count documents
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox count films
  pgfox count films --where 'year >= 2000' --estimated")]
pub(crate) struct Count {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    filter: Where,
    /// All documents, the same as without --where
    #[arg(long, conflicts_with = "expression")]
    all: bool,
    /// The estimate of Postgres' planner, fast for any number of documents
    #[arg(long)]
    estimated: bool,
}

impl Get {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        let mut documents = Vec::new();
        let mut missing_ids = Vec::new();
        for ids in self.ids.chunks(IDS_PER_GET) {
            let request = v1::GetDocumentsRequest {
                collection: self.collection.clone(),
                ids: ids.to_vec(),
                include_vector: self.include_vector,
                allow_missing: true,
            };
            let response = client.get_documents(request).await?.into_inner();
            documents.extend(response.documents);
            missing_ids.extend(response.missing_ids);
        }
        if globals.json {
            let documents: Vec<Value> = documents.iter().map(json::document).collect();
            output::print_json(&json!({ "documents": documents, "missing_ids": missing_ids }))?;
        } else {
            let texts: Vec<String> = documents.iter().map(describe).collect();
            output::print(&texts.join("\n"))?;
        }
        if missing_ids.is_empty() {
            return Ok(());
        }
        if globals.json {
            return Err(Failure::silent());
        }
        Err(Failure::refused(format!("{} has no document {}", self.collection, missing_ids.join(", "))))
    }
}

fn describe(document: &v1::Document) -> String {
    let mut pairs = vec![("id", document.id.clone()), ("text", document.text.clone())];
    if let Some(metadata) = &document.metadata {
        pairs.push(("metadata", json::metadata(metadata).to_string()));
    }
    if let Some(vector) = &document.vector {
        pairs.push(("vector", Value::from_iter(vector.values.iter().map(|value| json::float(*value))).to_string()));
    }
    if document.version > 0 {
        pairs.push(("version", document.version.to_string()));
    }
    for (name, time) in [("created", &document.create_time), ("changed", &document.update_time)] {
        if let Some(time) = time {
            pairs.push((name, time.to_string()));
        }
    }
    output::properties(&pairs)
}

impl List {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        if self.include_vector && !globals.json {
            return Err(Failure::usage("vectors do not fit into a table").with_hint("add --json"));
        }
        let mut request = v1::ListDocumentsRequest {
            collection: self.collection.clone(),
            filter: self.filter.filter()?,
            order: match self.order {
                Order::Id => v1::DocumentOrder::Id,
                Order::Created => v1::DocumentOrder::CreateTime,
            }
            .into(),
            descending: self.desc,
            include_vector: self.include_vector,
            read_mask: (!self.fields.is_empty()).then(|| prost_types::FieldMask { paths: self.fields.clone() }),
            ..Default::default()
        };
        let mut client = globals.connect().await?;
        let limit = self.limit.unwrap_or(if globals.json { u64::MAX } else { DEFAULT_LISTED });
        let mut left = limit;
        let mut rows = Vec::new();
        let mut notes = Vec::new();
        loop {
            request.page_size = left.min(PAGE_SIZE as u64) as i32;
            let page = client.list_documents(request.clone()).await?.into_inner();
            left = left.saturating_sub(page.documents.len() as u64);
            if globals.json {
                let lines: String = page.documents.iter().map(|document| self.line(document)).collect();
                output::print(&lines)?;
            } else {
                rows.extend(page.documents);
            }
            notes.extend(page.notes);
            request.page_token = page.next_page_token;
            if left == 0 || request.page_token.is_empty() {
                break;
            }
        }
        if globals.json {
            globals.print_notes(&self.filter, &notes);
            return Ok(());
        }
        if !rows.is_empty() {
            output::print(&table(&rows, &Columns::of(&self.fields), output::columns()))?;
        }
        if globals.quiet {
            return Ok(());
        }
        if rows.is_empty() {
            output::note("no documents\n");
            globals.print_notes(&self.filter, &notes);
        } else if !request.page_token.is_empty() {
            output::note(&format!(
                "there are more than {}; --limit shows more, --json shows all\n",
                output::count(limit)
            ));
        }
        Ok(())
    }

    /// A document as a line of JSON. Fields that were not requested are left out, not empty.
    fn line(&self, document: &v1::Document) -> String {
        let mut object = json::document(document);
        if let Value::Object(fields) = &mut object
            && !self.fields.is_empty()
            && !self.fields.iter().any(|field| field == "text")
        {
            fields.remove("text");
        }
        object.to_string() + "\n"
    }
}

fn table(documents: &[v1::Document], shown: &Columns, columns: usize) -> String {
    let mut header = vec![("ID", Align::Left), ("VERSION", Align::Right), ("CHANGED", Align::Left)];
    header.extend(shown.header());
    let rows: Vec<Vec<String>> = documents
        .iter()
        .map(|document| {
            // Seconds are precise enough for people.
            let changed = document.update_time.map(|time| prost_types::Timestamp { nanos: 0, ..time }.to_string());
            let mut row =
                vec![output::cell(&document.id, columns), document.version.to_string(), changed.unwrap_or_default()];
            row.extend(shown.cells(document, columns));
            row.extend(shown.text(document, None).map(|text| output::one_line(&text, columns)));
            row
        })
        .collect();
    // The text is last, so that only the text is cut to the width of the terminal.
    output::table(&header, &rows).lines().map(|line| cut(line, columns) + "\n").collect()
}

fn cut(line: &str, columns: usize) -> String {
    use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
    if line.width() <= columns {
        return line.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < columns
    };
    line.chars().take_while(fits).collect::<String>() + "…"
}

impl Count {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let request = v1::CountDocumentsRequest {
            collection: self.collection.clone(),
            filter: self.filter.filter()?,
            estimated: self.estimated,
        };
        let v1::CountDocumentsResponse { count, notes } =
            globals.connect().await?.count_documents(request).await?.into_inner();
        if globals.json {
            return output::print_json(&json::with_notes(json!({ "count": count }), &notes));
        }
        output::print(&format!("{count}\n"))?;
        globals.print_notes(&self.filter, &notes);
        Ok(())
    }
}
