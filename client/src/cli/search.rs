//! `pgfox search`: the documents nearest to a text, a vector or stored documents, or by their words.

pub(crate) mod batch;
pub(crate) mod method;
mod show;

use std::path::{Path, PathBuf};

use clap::Args;
use pgfox_client::v1::{self, search_request};

use super::{Globals, columns::Columns, failure::Failure, json, output};
use method::Method;

/// Find the documents nearest to a text, a vector or stored documents, or search by words
#[derive(Args)]
#[command(
    override_usage = "pgfox search [OPTIONS] <COLLECTION> <TEXT | --vector <JSON> | --id <ID> | --positive <ID> | --batch <FILE>>"
)]
#[command(after_help = "\
Examples:
  pgfox search films \"a fox in love\"
  pgfox search films \"a fox in love\" --where 'year >= 2000 and not draft'
  pgfox search films '\"silent film\" -musical' --mode full-text
  pgfox search films \"a fox in love\" --mode hybrid --highlight
  pgfox search films --id \"Heat-1995-12\" --limit 20
  pgfox search films --positive 17 --positive 18 --negative 4 --diversity
  pgfox search images --vector '[0.1, 0.2, 0.3]' --exact
  pgfox search images --vector @query.json --json | jq -r '.results[].document.id'
  pgfox search films --batch queries.jsonl > found.jsonl

A batch has one search per line, and the other options apply to all of them. Each answer is one line
of JSON, in the same order:
  {\"id\": \"q1\", \"text\": \"a fox in love\"}
  {\"id\": \"q2\", \"vector\": [0.1, 0.2, 0.3], \"full_text\": \"fox\"}
  {\"id\": \"q3\", \"document_id\": \"Heat-1995-12\"}")]
pub(crate) struct Search {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    query: Query,
    /// Id of a stored document that results should differ from; needs --positive; can be repeated
    #[arg(long, value_name = "ID")]
    negative: Vec<String>,
    /// Words to search for with --mode hybrid, if they differ from the text
    #[arg(long, value_name = "TEXT")]
    words: Option<String>,
    /// Maximum number of results, 1 to 1,000
    #[arg(short, long, default_value = "10", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Fields to return beside the id: text, metadata, or fields of it such as metadata.title [default: text,metadata]
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// Return the vectors too, with --json
    #[arg(long)]
    include_vector: bool,
    /// In a collection with chunks, also return the whole texts of the documents, with --json
    #[arg(long)]
    include_full_text: bool,
    /// Show the passages that contain the words, instead of the texts; with --mode full-text or hybrid
    #[arg(long)]
    highlight: bool,
    /// Show how the search ran; takes at least twice as long
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    method: Method,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Query {
    /// Text to search for
    text: Option<String>,
    /// Vector to search for: a JSON array, or @FILE with one; @- is stdin
    #[arg(long, value_name = "JSON")]
    vector: Option<String>,
    /// Id of a stored document: find similar ones
    #[arg(long)]
    id: Option<String>,
    /// Id of a stored document that results should be similar to; can be repeated
    #[arg(long, value_name = "ID")]
    positive: Vec<String>,
    /// File with one search per line, in JSON; - is stdin
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
}

impl Search {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        if !self.negative.is_empty() && self.query.positive.is_empty() {
            return Err(Failure::usage("--negative needs --positive"));
        }
        let is_json = globals.json || self.query.batch.is_some();
        if (self.include_vector || self.include_full_text) && !is_json {
            return Err(Failure::usage("vectors and whole texts do not fit into a table").with_hint("add --json"));
        }
        if self.highlight && !self.method.has_words() {
            return Err(Failure::usage("--highlight needs a search by words")
                .with_hint("add --mode full-text or --mode hybrid"));
        }
        let search = v1::SearchRequest {
            full_text: self.words.clone().unwrap_or_default(),
            include_vector: self.include_vector,
            include_full_text: self.include_full_text,
            explain: self.explain,
            highlight: self.highlight,
            read_mask: (!self.fields.is_empty()).then(|| prost_types::FieldMask { paths: self.fields.clone() }),
            ..self.method.request(&self.collection, self.limit)?
        };
        if let Some(path) = &self.query.batch {
            return batch::search_file(globals, path, &search).await;
        }
        let request = v1::SearchRequest { query: Some(self.query()?), ..search };
        let response = globals.connect().await?.search(request).await?.into_inner();
        if globals.json {
            return output::print_json(&json::search(&response));
        }
        if !response.results.is_empty() {
            let columns = Columns::of(&self.fields);
            output::print(&show::table(&response.results, &columns, output::columns(), output::has_styles()))?;
        }
        if !globals.quiet {
            output::note(&show::remarks(&response, self.limit));
        }
        // An explanation contains the notes about the filter, too.
        let is_new = |note: &&String| response.explanation.as_ref().is_none_or(|known| !known.notes.contains(note));
        let notes: Vec<String> = response.notes.iter().filter(is_new).cloned().collect();
        globals.print_notes(self.method.filter(), &notes);
        output::note(&show::explanation(&response));
        Ok(())
    }

    fn query(&self) -> Result<search_request::Query, Failure> {
        let Query { text, vector, id, positive, batch: _ } = &self.query;
        Ok(match (text, vector, id) {
            (Some(text), _, _) => search_request::Query::Text(text.clone()),
            (_, Some(vector), _) => search_request::Query::Vector(read_vector(vector)?),
            (_, _, Some(id)) => search_request::Query::DocumentId(id.clone()),
            (None, None, None) => search_request::Query::Examples(v1::Examples {
                positive_ids: positive.clone(),
                negative_ids: self.negative.clone(),
            }),
        })
    }
}

fn read_vector(argument: &str) -> Result<v1::Vector, Failure> {
    let json = read_argument("vector", argument)?;
    super::read::document::parse_vector(&json).map_err(|message| {
        Failure::usage(format!("--vector: {message}")).with_hint("write a JSON array, such as '[0.1, 0.2, 0.3]'")
    })
}

/// The argument itself, or the contents of `@FILE`.
pub(crate) fn read_argument(what: &str, argument: &str) -> Result<String, Failure> {
    match argument.strip_prefix('@') {
        None => Ok(argument.to_owned()),
        Some("-") => Ok(std::io::read_to_string(std::io::stdin())?),
        Some(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|error| Failure::usage(format!("cannot read the {what} from {path}: {error}"))),
    }
}
