//! `pgfox ingest`: documents from files, folders and stdin into a collection.

use std::{cell::RefCell, collections::VecDeque, convert::Infallible, path::PathBuf, time::Duration};

use clap::Args;
use futures_util::StreamExt as _;
use pgfox_client::{Client, IngestCause, IngestError, IngestEvent, IngestOptions, IngestTotals, error, v1};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{
    Globals,
    collections::Settings,
    failure::{Exit, Failure},
    output,
    progress::Progress,
    read::{self, Format, Names, Place, Problem, Record},
};

/// Skipped documents that are listed one by one; with --json all are.
const MAX_LISTED: u64 = 20;
/// Widest id in a message.
const MAX_ID_COLUMNS: usize = 80;
/// Documents per request where the server computes the vectors itself: few, so that the progress moves.
const DOCUMENTS_PER_LOCAL_REQUEST: usize = 100;

/// Store documents from files, folders and stdin
///
/// Reads JSON Lines, JSON arrays, CSV, plain text and Markdown, each also with gzip. A folder is read with everything
/// below it, except hidden files and what .gitignore names. Of a repeated id the last one wins; documents that are stored
/// already just as they are cost nothing, so the same command can be run again at any time.
///
/// Documents that cannot be read or that the server refuses are skipped and listed, and the exit code is 1. A broken
/// connection is taken up again.
#[derive(Args)]
#[command(after_help = "\
Formats:
  .jsonl .ndjson  one document per line, with any of these fields and an id:
                  {\"id\": \"1\", \"text\": \"...\", \"vector\": [0.1, 0.2], \"metadata\": {\"year\": 1999}}
  .json           an array of such documents
  .csv .tsv       the columns id, text and vector (a JSON array); every other column becomes
                  metadata, as a string, under its name without `metadata.`
  .txt .md        one document; its id is the path as given, below a folder the path relative to it

Examples:
  pgfox ingest films films.jsonl.gz --create
  pgfox ingest notes ~/notes --create --distance cosine
  pgfox ingest books books/*.md --create --chunking markdown
  pgfox ingest products products.csv --id-field sku --text-fields name,description
  pgfox ingest trec corpus.jsonl --create --id-field _id --text-fields title,text
  psql -Atc \"SELECT json_build_object('id', id, 'text', title) FROM film\" |
    pgfox ingest films - --format jsonl")]
pub(crate) struct Ingest {
    /// Name of the collection
    collection: String,
    /// Files and folders; - is stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Format of all files, instead of what their names say
    #[arg(short, long)]
    format: Option<Format>,
    /// Make the collection if there is none; the collection flags say how
    #[arg(long)]
    create: bool,
    /// Id of a single text or Markdown file
    #[arg(long)]
    id: Option<String>,
    /// The field of JSON documents, or the column of CSV, that is the id
    #[arg(long, alias = "id-column", default_value = "id", value_name = "NAME")]
    id_field: String,
    /// The fields or columns that are the text; of several the texts are joined by a space
    #[arg(long, alias = "text-column", default_value = "text", value_name = "NAME,...", value_delimiter = ',')]
    text_fields: Vec<String>,
    /// The field or column that is the vector, in CSV as a JSON array
    #[arg(long, alias = "vector-column", default_value = "vector", value_name = "NAME")]
    vector_field: String,
    /// CSV: what separates cells [default: a comma, in .tsv files a tab]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Store only documents whose id does not exist; the others stay as they are
    #[arg(long)]
    only_if_absent: bool,
    /// Documents per request, 1 to 1,000 [default: 500, with a local model 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch_size: Option<u16>,
    /// Seconds to try again after a broken connection
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = super::seconds)]
    retry_timeout: Duration,
    #[command(flatten)]
    settings: Settings,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" => Ok(b'\t'),
        _ if text.len() == 1 => Ok(text.as_bytes()[0]),
        _ => Err("write one ASCII character, or \\t".to_owned()),
    }
}

impl Ingest {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        if !self.create && !self.settings.is_empty() {
            return Err(Failure::usage("the collection flags say how to make a collection").with_hint("add --create"));
        }
        let (sources, bytes_total) = read::find(&self.paths, self.format, self.id.as_deref())?;
        if sources.is_empty() {
            return Err(Failure::usage("there is no file of a known format in the folder")
                .with_hint("pgfox reads .jsonl, .json, .csv, .txt and .md files; --format is for single files"));
        }
        let client = globals.connect().await?;
        let collection = self.collection(&client, globals).await?;
        let names = Names {
            id: self.id_field.clone(),
            texts: self.text_fields.clone(),
            vector: self.vector_field.clone(),
            delimiter: self.delimiter,
        };
        let mut options = IngestOptions {
            skip_invalid: true,
            only_if_absent: self.only_if_absent,
            retry_timeout: self.retry_timeout,
            ..Default::default()
        };
        if let Some(batch_size) = self.batch_size {
            options.documents_per_request = batch_size.into();
        } else if collection.embedding.is_some_and(|embedding| embedding.model.starts_with("local/")) {
            options.documents_per_request = DOCUMENTS_PER_LOCAL_REQUEST;
        }

        let progress = Progress::new(!globals.quiet && !globals.json, bytes_total);
        let report = RefCell::new(Report::new(globals.json, progress)?);
        let chunks = ReceiverStream::new(read::start(sources, names)?);
        let documents = chunks.flat_map(futures_util::stream::iter).filter_map(|record| {
            std::future::ready(match record {
                Record::Document(document, place) => {
                    report.borrow_mut().places.push_back(place);
                    Some(Ok::<_, Infallible>(document))
                }
                Record::Problem(problem) => {
                    report.borrow_mut().unreadable(&problem);
                    None
                }
            })
        });
        let outcome = pgfox_client::ingest(&client, &self.collection, documents, &options, |event| {
            report.borrow_mut().observe(&event);
        })
        .await;
        let report = report.into_inner();
        let (totals, failure) = match outcome {
            Ok(totals) => (totals, None),
            Err(IngestError { cause, acknowledged }) => (acknowledged, Some(failure(cause))),
        };
        report.finish(&self.collection, &totals, globals, failure.is_some())?;
        match failure {
            Some(failure) => Err(failure.with_hint("run the same command again: what is stored already costs nothing")),
            None if report.skipped > 0 => Err(Failure::silent()),
            None => Ok(()),
        }
    }

    /// The collection, made if need be.
    async fn collection(&self, client: &Client, globals: &Globals) -> Result<v1::Collection, Failure> {
        let mut client = client.clone();
        let name = self.collection.clone();
        match client.get_collection(v1::GetCollectionRequest { name: name.clone() }).await {
            Ok(response) => {
                let collection = response.into_inner().collection.unwrap_or_default();
                self.settings.check(&collection)?;
                return Ok(collection);
            }
            Err(status) if status.code() == Code::NotFound && self.create => {}
            Err(status) if status.code() == Code::NotFound => {
                return Err(Failure::from(status).with_hint("add --create to make it"));
            }
            Err(status) => return Err(status.into()),
        }
        let collection = Some(self.settings.to_collection(&name));
        match client.create_collection(v1::CreateCollectionRequest { collection }).await {
            Ok(response) => {
                if !globals.quiet && !globals.json {
                    output::note(&format!("made the collection {name}\n"));
                }
                Ok(response.into_inner().collection.unwrap_or_default())
            }
            // Somebody else was faster.
            Err(status) if status.code() == Code::AlreadyExists => {
                let response = client.get_collection(v1::GetCollectionRequest { name }).await?;
                let collection = response.into_inner().collection.unwrap_or_default();
                self.settings.check(&collection)?;
                Ok(collection)
            }
            Err(status) => Err(status.into()),
        }
    }
}

fn failure(cause: IngestCause) -> Failure {
    match cause {
        IngestCause::Refused(status) => Failure::from(*status),
        IngestCause::Interrupted { status, tried_for } => {
            let exit = if error::is_transport(&status) { Exit::Connect } else { Exit::Refused };
            let cause = error::transport_cause(&status);
            Failure::new(exit, format!("gave up after {}: {cause}", output::seconds(tried_for.as_secs_f64())))
        }
        cause @ IngestCause::Option { .. } => Failure::usage(cause.to_string()),
        cause @ (IngestCause::Source(_) | IngestCause::TooLarge { .. } | IngestCause::OutOfOrder { .. }) => {
            Failure::refused(cause.to_string())
        }
    }
}

/// What the user hears: progress, what was skipped and where it stands, and the totals.
struct Report {
    progress: Progress,
    is_json: bool,
    /// Where the documents stand that are not acknowledged yet, oldest first.
    places: VecDeque<Place>,
    /// Documents acknowledged so far.
    acknowledged: u64,
    skipped: u64,
}

impl Report {
    /// With JSON the list of what is skipped is written as it grows, since it can be longer than memory.
    fn new(is_json: bool, progress: Progress) -> Result<Self, Failure> {
        if is_json {
            output::print("{\"skipped\":[")?;
        }
        Ok(Self { progress, is_json, places: VecDeque::new(), acknowledged: 0, skipped: 0 })
    }

    fn observe(&mut self, event: &IngestEvent<'_>) {
        match event {
            IngestEvent::Interrupted { status, pause } => self.progress.remark(&format!(
                "{}; trying again in {}\n",
                error::transport_cause(status),
                output::seconds(pause.as_secs_f64())
            )),
            IngestEvent::Acknowledged { totals, skipped } => {
                let acknowledged = totals.documents - std::mem::replace(&mut self.acknowledged, totals.documents);
                let first = totals.documents - acknowledged;
                let count = self.places.len().min(acknowledged as usize);
                let places: Vec<Place> = self.places.drain(..count).collect();
                for document in *skipped {
                    if let Some(place) = places.get((document.position - first) as usize) {
                        let reason = output::reason_name(document.reason);
                        self.skip(place, None, Some(&document.id), reason, &document.message);
                    }
                }
                self.progress.update(totals.documents, places.last().map_or(0, |place| place.bytes_read));
            }
        }
    }

    fn unreadable(&mut self, problem: &Problem) {
        self.skip(&problem.place, problem.column, None, "UNREADABLE", &problem.message);
    }

    fn skip(&mut self, place: &Place, column: Option<usize>, id: Option<&str>, reason: &str, message: &str) {
        self.skipped += 1;
        if self.is_json {
            let separator = if self.skipped == 1 { "" } else { "," };
            let skipped = json!({
                "source": *place.source,
                "line": place.line,
                "column": column,
                "id": id,
                "reason": reason,
                "message": message,
            });
            // Whatever keeps stdout from being written shows again at the end.
            let _ = output::print(&format!("{separator}{skipped}"));
            return;
        }
        if self.skipped > MAX_LISTED {
            return;
        }
        let mut text = format!("skipped {}", place.source);
        for number in [place.line, column.map(|column| column as u64)].into_iter().flatten() {
            text += &format!(":{number}");
        }
        if let Some(id) = id {
            text += &format!(" {}", output::one_line(id, MAX_ID_COLUMNS));
        }
        self.progress.note(&format!("{text}: {message}\n"));
        if self.skipped == MAX_LISTED {
            self.progress.note("further skipped documents are only counted; --json lists them all\n");
        }
    }

    fn finish(
        &self,
        collection: &str,
        totals: &IngestTotals,
        globals: &Globals,
        has_failed: bool,
    ) -> Result<(), Failure> {
        self.progress.clear();
        let seconds = self.progress.seconds();
        if self.is_json {
            let summary = json!({
                "collection": collection,
                "complete": !has_failed,
                "documents": totals.documents,
                "upserted_count": totals.upserted,
                "updated_count": totals.updated,
                "unchanged_count": totals.unchanged,
                "skipped_count": self.skipped,
                "existing_count": totals.existing,
                "embedded_count": totals.embedded,
                "truncated_count": totals.truncated,
                "full_text_cut_count": totals.full_text_cut,
                "unembedded_count": totals.unembedded,
                "usage": { "tokens": totals.tokens },
                "seconds": (seconds * 1e3).round() / 1e3,
            });
            // The object that `new` began goes on with the fields of this one.
            return output::print(&format!("],{}\n", &summary.to_string()[1..]));
        }
        if globals.quiet {
            return Ok(());
        }
        output::print(&summary(collection, totals, self.skipped, seconds))
    }
}

fn summary(collection: &str, totals: &IngestTotals, skipped: u64, seconds: f64) -> String {
    let inserted = totals.upserted - totals.updated.min(totals.upserted);
    let rate = (totals.documents as f64 / seconds.max(0.001)) as u64;
    let mut text = format!(
        "{collection}: {} in {} ({}/s): {} new, {} changed, {} unchanged, {} skipped\n",
        output::counted(totals.documents, "document"),
        output::seconds(seconds),
        output::count(rate),
        output::count(inserted),
        output::count(totals.updated),
        output::count(totals.unchanged),
        output::count(skipped),
    );
    let repeated =
        totals.documents.saturating_sub(totals.upserted + totals.unchanged + totals.existing + totals.skipped);
    if repeated > 0 {
        text += &format!("{} replaced by a later one with the same id\n", output::counted(repeated, "document"));
    }
    if totals.existing > 0 {
        text += &format!("{} left alone, since their ids exist\n", output::counted(totals.existing, "document"));
    }
    if totals.unembedded > 0 {
        text +=
            &format!("{} without a text: search does not find them\n", output::counted(totals.unembedded, "document"));
    }
    if totals.truncated > 0 {
        text += &format!(
            "{} longer than the model reads: their vectors stand for the beginning\n",
            output::counted(totals.truncated, "document")
        );
    }
    if totals.full_text_cut > 0 {
        text += &format!(
            "{} with so long a text that full-text search knows the beginning only\n",
            output::counted(totals.full_text_cut, "document")
        );
    }
    if totals.embedded > 0 || totals.tokens > 0 {
        let texts = output::counted(totals.embedded, "text");
        text += &format!("{texts} embedded, {}\n", output::counted(totals.tokens, "token"));
    }
    text
}
