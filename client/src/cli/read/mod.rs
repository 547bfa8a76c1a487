//! Reads documents from files, folders and stdin of any size in constant memory. One thread parses and passes chunks
//! through a bounded channel. What cannot be read becomes a [`Problem`] with its place, and reading continues.

mod cells;
mod csv;
pub(crate) mod document;
mod fields;
mod folder;
mod json;
mod nul;
pub(crate) mod number;
mod parquet;
mod quotes;
mod source;
pub(crate) mod text;
pub(crate) mod value;

use std::sync::Arc;

use pgfox_client::v1::Document;
use prost::Message as _;
use tokio::sync::mpsc;

pub(crate) use cells::{ColumnType, column_type};
pub(crate) use fields::Names;
pub(crate) use folder::{Globs, Ignored};
pub(crate) use source::{Search, Source, find};

/// Maximum size of a record in bytes, such as one line: a text of 8 MiB with every character escaped, and room for
/// metadata and vector.
pub(crate) const MAX_RECORD_BYTES: usize = 32 << 20;
/// Maximum size of a text in bytes, the limit of the server.
const MAX_TEXT_BYTES: usize = 8 << 20;
/// Maximum size of a document as a message in bytes, below the 16 MiB of a request.
const MAX_DOCUMENT_BYTES: usize = 15 << 20;

/// Number of records that are passed on together. One at a time would cost more than parsing it.
const CHUNK_RECORDS: usize = 128;
/// Number of bytes of documents at which a chunk is passed on before it is full.
const CHUNK_BYTES: usize = 1 << 20;
/// Maximum number of chunks that wait for the network.
const CHUNKS_WAITING: usize = 4;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// JSON Lines: one document per line
    Jsonl,
    /// A JSON array of documents
    Json,
    /// Comma-separated values with a header
    Csv,
    /// Parquet, from files only
    Parquet,
    /// One plain text, one document
    Text,
    /// One Markdown text, one document
    Markdown,
}

/// How to read the contents of files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) names: Names,
    /// The separator of CSV cells. `None`: a comma, or a tab in a file named .tsv.
    pub(crate) delimiter: Option<u8>,
    /// The quote character of CSV cells. `None`: a double quote, or nothing in a file named .tsv.
    pub(crate) quote: Option<Quote>,
    /// The types of CSV columns.
    pub(crate) types: Vec<ColumnType>,
    /// Whether to infer the types of the other columns from the first rows.
    pub(crate) infers_types: bool,
    /// Whether numbers that a double cannot represent become strings. Otherwise they are refused.
    pub(crate) keeps_digits: bool,
    /// Whether records without an id get their file name and number as id.
    pub(crate) numbers_records: bool,
    /// Whether to remove U+0000, which Postgres cannot store, from texts and metadata.
    pub(crate) strips_nul: bool,
}

impl Options {
    /// Refuses a file that lacks required columns.
    fn check_columns(&self, columns: &[&str]) -> Result<(), Flaw> {
        self.names.check_columns(columns, self.numbers_records)
    }
}

/// The quote character of CSV cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    /// A quote is an ordinary character.
    None,
    Byte(u8),
}

/// The place of a record.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The name of the file, as the user knows it.
    pub(crate) source: Arc<str>,
    /// Its line, from 1. `None`: the whole file.
    pub(crate) line: Option<u64>,
    /// Number of bytes of all input read up to here, as they are on disk.
    pub(crate) bytes_read: u64,
}

/// Something that cannot become a document.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    /// Column in bytes, from 1, if it is known.
    pub(crate) column: Option<usize>,
    pub(crate) message: String,
}

/// A record that was read.
#[derive(Debug)]
pub(crate) enum Record {
    Document(Document, Place),
    Problem(Problem),
    /// A line for the user.
    Note(String),
}

/// Starts reading. The thread ends with the last source, or when the receiver is dropped.
pub(crate) fn start(sources: Vec<Source>, options: Options) -> std::io::Result<mpsc::Receiver<Vec<Record>>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let mut records = Records::new(sender, &options);
        // Sending fails only if nobody listens any more.
        let _ = sources
            .iter()
            .try_for_each(|source| read_source(source, &options, &mut records))
            .and_then(|()| records.flush());
    })?;
    Ok(receiver)
}

/// Reads a source. A panic of the reader must not look like the end of the file.
fn read_source(source: &Source, options: &Options, records: &mut Records) -> Result<(), Stopped> {
    records.begin(source.id());
    let read = std::panic::AssertUnwindSafe(|| source.read(options, records));
    std::panic::catch_unwind(read).unwrap_or_else(|_| {
        let flaw =
            Flaw::new("the reader failed, so the rest of the file is left out: check whether the file is damaged");
        records.push(Err(flaw), source.place(None))
    })
}

/// Nobody reads more records.
#[derive(Debug)]
pub(crate) struct Stopped;

/// Takes records from the readers and passes them on in chunks.
pub(crate) struct Records {
    sender: mpsc::Sender<Vec<Record>>,
    chunk: Vec<Record>,
    chunk_bytes: usize,
    strips_nul: bool,
    numbers_records: bool,
    /// The current file.
    file: String,
    /// The number of its records so far.
    count: u64,
}

impl Records {
    fn new(sender: mpsc::Sender<Vec<Record>>, options: &Options) -> Self {
        let Options { strips_nul, numbers_records, .. } = *options;
        let (chunk, file) = (Vec::new(), String::new());
        Self { sender, chunk, chunk_bytes: 0, strips_nul, numbers_records, file, count: 0 }
    }

    /// Begins a file.
    fn begin(&mut self, file: &str) {
        file.clone_into(&mut self.file);
        self.count = 0;
    }

    /// Takes one parsed record. Refuses what the server would refuse and what would not fit into a request.
    fn push(&mut self, parsed: Result<Document, Flaw>, place: Place) -> Result<(), Stopped> {
        self.count += 1;
        let amend = |mut document: Document| {
            if self.numbers_records && document.id.is_empty() {
                document.id = format!("{}:{}", self.file, self.count);
            }
            if self.strips_nul { nul::strip(document) } else { document }
        };
        let record = match parsed.map(amend).and_then(check_size) {
            Ok(document) => {
                self.chunk_bytes += document.encoded_len();
                Record::Document(document, place)
            }
            Err(flaw) => {
                let place = Place { line: place.line.map(|line| line + flaw.lines), ..place };
                Record::Problem(Problem { place, column: flaw.column, message: flaw.message })
            }
        };
        self.add(record)
    }

    /// Passes on a note for the user before the next record.
    fn note(&mut self, text: String) -> Result<(), Stopped> {
        self.add(Record::Note(text))
    }

    fn add(&mut self, record: Record) -> Result<(), Stopped> {
        self.chunk.push(record);
        if self.chunk.len() < CHUNK_RECORDS && self.chunk_bytes < CHUNK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        self.chunk_bytes = 0;
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_RECORDS));
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(chunk).map_err(|_| Stopped)
    }
}

fn check_size(document: Document) -> Result<Document, Flaw> {
    if document.text.len() > MAX_TEXT_BYTES {
        return Err(Flaw::new(format!(
            "the text has {} bytes, above the limit of 8 MiB: split it",
            document.text.len()
        )));
    }
    let bytes = document.encoded_len();
    if bytes > MAX_DOCUMENT_BYTES {
        return Err(Flaw::new(format!("the document has {bytes} bytes, more than fit into a request")));
    }
    Ok(document)
}

/// A mistake in a record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Flaw {
    message: String,
    column: Option<usize>,
    /// Number of lines below the first one of the record.
    lines: u64,
}

impl Flaw {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    fn at(message: impl Into<String>, column: usize) -> Self {
        Self { column: Some(column), ..Self::new(message) }
    }

    /// A flaw at a byte of the record.
    fn within(record: &str, at: usize, message: impl Into<String>) -> Self {
        let before = &record.as_bytes()[..at];
        let lines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Self { lines, ..Self::at(message, at - start + 1) }
    }
}

/// The text of bytes that should be UTF-8.
fn utf8(bytes: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(bytes).map_err(|error| {
        let byte = bytes[error.valid_up_to()];
        Flaw::at(
            format!("byte 0x{byte:02x} is not UTF-8: convert the file, for example with `iconv -f latin1 -t utf-8`"),
            error.valid_up_to() + 1,
        )
    })
}
