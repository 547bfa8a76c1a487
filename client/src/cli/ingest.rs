//! `pgfox ingest`: stores documents from files, folders and stdin in a collection.

mod prune;
mod report;

use std::{cell::RefCell, collections::HashSet, convert::Infallible, path::PathBuf, time::Duration};

use clap::Args;
use futures_util::StreamExt as _;
use pgfox_client::{Client, IngestCause, IngestError, IngestOptions, error, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{
    Globals,
    collections::Settings,
    failure::{Exit, Failure},
    output,
    progress::Progress,
    read::{self, ColumnType, Format, Globs, Names, Options, Quote, Record, Search},
};
use prune::Pruned;
use report::Report;

/// Documents per request if the server computes the vectors itself. Few, so that the progress moves.
const DOCUMENTS_PER_LOCAL_REQUEST: usize = 100;
/// Bytes of documents per request in that case: about a hundred chunks, which take about a second.
const BYTES_PER_LOCAL_REQUEST: usize = 64 << 10;
/// Bytes of documents per request if a provider embeds their chunks.
const BYTES_PER_CHUNKED_REQUEST: usize = 512 << 10;
/// How often the progress is shown, even if nothing was acknowledged.
const TICK: Duration = Duration::from_secs(1);

/// Store documents from files, folders and stdin
///
/// Reads JSON Lines, JSON arrays, CSV, Parquet, plain text and Markdown; all but Parquet also with gzip. Reads a folder
/// with everything below it, except hidden files and files that .gitignore excludes, and counts files of other formats.
/// If an id repeats, the last document wins. Documents that are already stored unchanged cost nothing, so you can run
/// the same command again at any time.
///
/// Skips and lists documents that it cannot read or that the server refuses; the exit code is then 1. Continues after a
/// broken connection.
#[derive(Args)]
#[command(after_help = "\
Formats:
  .jsonl .ndjson  one document per line, with any of these fields and an id:
                  {\"id\": \"1\", \"text\": \"...\", \"vector\": [0.1, 0.2], \"metadata\": {\"year\": 1999}}
                  Every other field becomes metadata too.
  .json           an array of such documents, or one object after the other
  .csv .tsv       the columns id, text and vector (a JSON array); every other column becomes
                  metadata under its name without `metadata.`, as a string unless the header
                  says more: year:number, seen:time, ok:bool
  .parquet        the same columns with their types; a vector is a list of floats
  .md .mdx        one document; its path, title, heading and front matter become metadata
  .txt .rst       one document, with its path
The id of such a file is its path below the given folder, or below --root. For a single file
it is the path below the current folder.

Examples:
  pgfox ingest films films.jsonl.gz --create
  pgfox ingest notes ~/notes --create --distance cosine
  pgfox ingest notes ~/notes --prune                   lists files that are gone; --yes deletes them
  pgfox ingest docs . --include '*.md' --exclude drafts/
  pgfox ingest books books/*.md --create --chunking markdown
  pgfox ingest products products.csv --id-field sku --text-fields name,description
  pgfox ingest products products.csv --infer-types
  pgfox ingest questions train.parquet --text-fields question --number-records
  pgfox ingest trec corpus.jsonl --create --id-field _id --text-fields title,text
  psql -Atc \"SELECT row_to_json(item) FROM item\" |
    pgfox ingest items - --format jsonl --text-fields content --vector-field embedding")]
pub(crate) struct Ingest {
    /// Name of the collection
    collection: String,
    /// Files and folders; - is stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Format of all files, instead of the format that their names show
    #[arg(short, long)]
    format: Option<Format>,
    /// Create the collection if it does not exist, with the options under Collection
    #[arg(long)]
    create: bool,
    /// Id of the document, for a single text or Markdown file
    #[arg(long)]
    id: Option<String>,
    /// Folder to which the ids of files are relative [default: the given folder; for single files the current folder]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Read only matching files of folders, as in .gitignore, such as '*.md' or '/docs'; can be repeated
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Skip matching files of folders; can be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// List the documents of the folder whose files are gone; with --yes delete them
    #[arg(long)]
    prune: bool,
    /// Delete the documents that --prune finds
    #[arg(short, long, requires = "prune")]
    yes: bool,
    /// JSON field or CSV column with the id
    #[arg(long, alias = "id-column", default_value = "id", value_name = "NAME")]
    id_field: String,
    /// Fields or columns with the text; several are joined by a space
    #[arg(long, alias = "text-column", default_value = "text", value_name = "NAME,...", value_delimiter = ',')]
    text_fields: Vec<String>,
    /// Field or column with the vector; in CSV a JSON array
    #[arg(long, alias = "vector-column", default_value = "vector", value_name = "NAME")]
    vector_field: String,
    /// Fields or columns that become metadata, including fields of the object `metadata` [default: all others]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    metadata_fields: Option<Vec<String>>,
    /// Store metadata numbers that a double would change as strings, instead of refusing the document
    #[arg(long)]
    inexact_as_strings: bool,
    /// Give records without an id their file name and number as id, such as train.parquet:17
    #[arg(long)]
    number_records: bool,
    /// Remove the character U+0000 from texts and metadata; Postgres cannot store it
    #[arg(long)]
    strip_nul: bool,
    /// CSV: separator of cells [default: a comma, in .tsv files a tab]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// CSV: quote character around cells, or none [default: a double quote, in .tsv files none]
    #[arg(long, value_name = "CHAR", value_parser = quote)]
    quote: Option<Quote>,
    /// CSV: types of columns: number, time, bool or string [default: string, or the type in the header]
    #[arg(long, value_name = "NAME:TYPE,...", value_delimiter = ',', value_parser = read::column_type)]
    types: Vec<ColumnType>,
    /// CSV: infer column types from the first 1,000 rows, and print them
    #[arg(long)]
    infer_types: bool,
    /// Store only documents whose id does not exist yet; leave the others as they are
    #[arg(long)]
    only_if_absent: bool,
    /// Documents per request, 1 to 1,000 [default: 500, with a local model 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch_size: Option<u16>,
    /// Seconds to retry after a broken connection
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

fn quote(text: &str) -> Result<Quote, String> {
    match text {
        "none" | "" => Ok(Quote::None),
        _ if text.len() == 1 => Ok(Quote::Byte(text.as_bytes()[0])),
        _ => Err("write one ASCII character, or none".to_owned()),
    }
}

impl Ingest {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        if !self.create && !self.settings.is_empty() {
            return Err(Failure::usage("the options under Collection need --create").with_hint("add --create"));
        }
        let search = Search {
            format: self.format,
            id: self.id.clone(),
            root: self.root.clone(),
            globs: Globs::new(&self.include, &self.exclude)?,
        };
        let found = read::find(&self.paths, &search)?;
        if self.prune && !found.has_only_folders {
            return Err(Failure::usage("--prune needs a folder: a single file does not show which others are gone"));
        }
        let (ignored, files, folders) = (found.ignored.clone(), found.ids(), found.folders.clone());
        if found.sources.is_empty() {
            let ignored = ignored.note().unwrap_or_default();
            return Err(Failure::usage(
                format!("the folder has no file of a known format; {ignored}").trim_end_matches(['\n', ' ', ';']),
            )
            .with_hint(
                "pgfox reads .jsonl, .json, .csv, .tsv, .parquet, .txt, .rst, .md and .mdx files; use --format only \
                 for single files",
            ));
        }
        let client = globals.connect().await?;
        let (collection, is_made) = self.collection(&client, globals).await?;
        let reading = self.reading();
        let mut options = IngestOptions {
            skip_invalid: true,
            only_if_absent: self.only_if_absent,
            retry_timeout: self.retry_timeout,
            ..Default::default()
        };
        let has_chunks = collection.chunking.is_some_and(|chunking| chunking.method() != v1::ChunkingMethod::None);
        let is_local = collection.embedding.is_some_and(|embedding| embedding.model.starts_with("local/"));
        if has_chunks || is_local {
            options.bytes_per_request = if is_local { BYTES_PER_LOCAL_REQUEST } else { BYTES_PER_CHUNKED_REQUEST };
        }
        if let Some(batch_size) = self.batch_size {
            options.documents_per_request = batch_size.into();
        } else if is_local {
            options.documents_per_request = DOCUMENTS_PER_LOCAL_REQUEST;
        }

        let progress = Progress::new(!globals.quiet && !globals.json, found.bytes_total);
        let report = RefCell::new(Report::new(globals.json, has_chunks, progress, ignored)?);
        let chunks = ReceiverStream::new(read::start(found.sources, reading)?);
        let documents = chunks.flat_map(futures_util::stream::iter).filter_map(|record| {
            std::future::ready(match record {
                Record::Document(document, place) => {
                    report.borrow_mut().begin(&document.id, place);
                    Some(Ok::<_, Infallible>(document))
                }
                Record::Problem(problem) => {
                    report.borrow_mut().unreadable(&problem);
                    None
                }
                Record::Note(text) => {
                    report.borrow_mut().note(&text);
                    None
                }
            })
        });
        let ingest = pgfox_client::ingest(&client, &self.collection, documents, &options, |event| {
            report.borrow_mut().observe(&event);
        });
        let outcome = unless_interrupted(ingest, || report.borrow_mut().tick()).await;
        let mut report = report.into_inner();
        let (totals, failure) = match outcome {
            Some(Ok(totals)) => (totals, None),
            Some(Err(IngestError { cause, acknowledged })) => (acknowledged, Some(failure(cause))),
            None => {
                let stored = output::counted(report.totals.upserted + report.totals.unchanged, "document");
                (
                    report.totals.clone(),
                    Some(Failure::new(Exit::Interrupted, format!("interrupted: {stored} are stored"))),
                )
            }
        };
        if is_made && totals.upserted == 0 && (failure.is_some() || report.skipped > 0) {
            self.unmake(&client, globals).await;
        }
        let mut failure = failure;
        if self.prune && failure.is_none() {
            match self.prune(&client, &folders, &files, &search.globs).await {
                Ok(pruned) => report.pruned = Some(pruned),
                Err(cause) => failure = Some(cause),
            }
        }
        report.finish(&self.collection, &totals, globals, failure.is_some())?;
        match failure {
            Some(failure) => Err(failure.with_hint("run the same command again: stored documents cost nothing")),
            None if report.skipped > 0 => Err(Failure::silent()),
            None => Ok(()),
        }
    }

    async fn prune(
        &self,
        client: &Client,
        folders: &[String],
        files: &HashSet<String>,
        globs: &Globs,
    ) -> Result<Pruned, Failure> {
        let mut pruned = prune::find(client, &self.collection, folders, files, globs).await?;
        if self.yes {
            pruned.delete(client, &self.collection).await?;
        }
        Ok(pruned)
    }

    /// How to read the files.
    fn reading(&self) -> Options {
        // An empty list is written as an empty name.
        let picked = |fields: &Vec<String>| fields.iter().filter(|field| !field.is_empty()).cloned().collect();
        Options {
            names: Names {
                id: self.id_field.clone(),
                texts: self.text_fields.clone(),
                vector: self.vector_field.clone(),
                metadata: self.metadata_fields.as_ref().map(picked),
            },
            delimiter: self.delimiter,
            quote: self.quote,
            types: self.types.clone(),
            infers_types: self.infer_types,
            keeps_digits: self.inexact_as_strings,
            numbers_records: self.number_records,
            strips_nul: self.strip_nul,
        }
    }

    /// The collection, created if necessary, and whether it was created.
    async fn collection(&self, client: &Client, globals: &Globals) -> Result<(v1::Collection, bool), Failure> {
        let mut client = client.clone();
        let name = self.collection.clone();
        match client.get_collection(v1::GetCollectionRequest { name: name.clone() }).await {
            Ok(response) => {
                let collection = response.into_inner().collection.unwrap_or_default();
                self.settings.check(&collection)?;
                return Ok((collection, false));
            }
            Err(status) if status.code() == Code::NotFound && self.create => {}
            Err(status) if status.code() == Code::NotFound => {
                return Err(Failure::from(status).with_hint("add --create to create it"));
            }
            Err(status) => return Err(status.into()),
        }
        let collection = Some(self.settings.to_collection(&name));
        match client.create_collection(v1::CreateCollectionRequest { collection, ..Default::default() }).await {
            Ok(response) => {
                if !globals.quiet && !globals.json {
                    output::note(&format!("created the collection {name}\n"));
                }
                Ok((response.into_inner().collection.unwrap_or_default(), true))
            }
            // Somebody else created it first.
            Err(status) if status.code() == Code::AlreadyExists => {
                let response = client.get_collection(v1::GetCollectionRequest { name }).await?;
                let collection = response.into_inner().collection.unwrap_or_default();
                self.settings.check(&collection)?;
                Ok((collection, false))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Removes the collection that was just created, unless somebody else has stored something in it. If that fails,
    /// the original failure says more.
    async fn unmake(&self, client: &Client, globals: &Globals) {
        let mut client = client.clone();
        let count = v1::CountDocumentsRequest { collection: self.collection.clone(), ..Default::default() };
        let is_empty = client.count_documents(count).await.is_ok_and(|response| response.into_inner().count == 0);
        let name = self.collection.clone();
        let is_removed = is_empty
            && client.delete_collection(v1::DeleteCollectionRequest { name, ..Default::default() }).await.is_ok();
        if is_removed && !globals.quiet && !globals.json {
            output::note(&format!("removed the collection {} again, since nothing was stored\n", self.collection));
        }
    }
}

/// Works until the end, and calls `tick` every second. `None`: the user or the system asked this program to end.
async fn unless_interrupted<T>(work: impl Future<Output = T>, mut tick: impl FnMut()) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut interval = tokio::time::interval(TICK);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let mut interrupted = std::pin::pin!(async {
        match &mut terminate {
            Some(terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            None => drop(tokio::signal::ctrl_c().await),
        }
    });
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted => {
                // A second interrupt means that the user does not want to wait.
                tokio::spawn(async {
                    let _ = tokio::signal::ctrl_c().await;
                    std::process::exit(i32::from(Exit::Interrupted as u8));
                });
                return None;
            }
            done = &mut work => return Some(done),
            _ = interval.tick() => tick(),
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
