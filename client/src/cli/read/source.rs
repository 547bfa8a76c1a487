//! Finds the files to read, tells their format, and opens them: gzip or not, with a byte order mark or without.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::{Flaw, Format, Options, Place, Quote, Records, Stopped, csv, json, text};
use crate::cli::failure::Failure;

const BUFFER_BYTES: usize = 128 << 10;
const STDIN: &str = "-";

/// One file, or stdin.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    format: Format,
    /// The id of its document, for texts.
    id: String,
    /// How messages name it.
    name: Arc<str>,
    /// Counts the bytes that were read of all sources.
    bytes_read: Arc<AtomicU64>,
}

/// The sources in the order they are read: as given, folders by path. Also the bytes of all of them, when that is known.
pub(crate) fn find(
    paths: &[PathBuf],
    format: Option<Format>,
    id: Option<&str>,
) -> Result<(Vec<Source>, Option<u64>), Failure> {
    let bytes_read = Arc::new(AtomicU64::new(0));
    let mut sources = Vec::new();
    let mut bytes_total = Some(0);
    let mut add = |path: PathBuf, format: Format, id: String, bytes: Option<u64>| {
        let name = if path.as_os_str() == STDIN { "stdin".into() } else { path.display().to_string().into() };
        bytes_total = bytes_total.and_then(|total: u64| Some(total + bytes?));
        sources.push(Source { path, format, id, name, bytes_read: Arc::clone(&bytes_read) });
    };
    for path in paths {
        if path.as_os_str() == STDIN {
            let format = format.ok_or_else(|| {
                Failure::usage("stdin has no name that tells the format")
                    .with_hint("add --format jsonl, json, csv, text or markdown")
            })?;
            if is_text(format) && id.is_none() {
                return Err(Failure::usage("a text from stdin has no name to be its id").with_hint("add --id ID"));
            }
            add(path.clone(), format, id.unwrap_or_default().to_owned(), None);
            continue;
        }
        let metadata = std::fs::metadata(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        if metadata.is_dir() {
            for (path, relative, bytes) in files_below(path)? {
                if let Some(format) = format_of(&path).map(|by_name| format.unwrap_or(by_name)) {
                    add(path, format, relative, bytes);
                }
            }
            continue;
        }
        let format = format.or_else(|| format_of(path)).ok_or_else(|| {
            Failure::usage(format!("the name {} does not tell the format", path.display()))
                .with_hint("add --format jsonl, json, csv, text or markdown")
        })?;
        let as_given = slashes(path.strip_prefix("./").unwrap_or(path));
        add(path.clone(), format, id.map_or(as_given, str::to_owned), metadata.is_file().then_some(metadata.len()));
    }
    check_ids(&sources, id)?;
    Ok((sources, bytes_total))
}

/// Two files must not become the same document unnoticed.
fn check_ids(sources: &[Source], id: Option<&str>) -> Result<(), Failure> {
    let texts: Vec<&Source> = sources.iter().filter(|source| is_text(source.format)).collect();
    if id.is_some() && (sources.len() != 1 || texts.len() != 1) {
        return Err(Failure::usage("--id is for one text or Markdown file"));
    }
    let mut seen: HashMap<&str, &Source> = HashMap::with_capacity(texts.len());
    for source in texts {
        if let Some(other) = seen.insert(&source.id, source) {
            return Err(Failure::usage(format!(
                "{} and {} would both have the id `{}`",
                other.name, source.name, source.id
            ))
            .with_hint("give the folder above both, so that their paths differ"));
        }
    }
    Ok(())
}

fn is_text(format: Format) -> bool {
    matches!(format, Format::Text | Format::Markdown)
}

/// The files below a folder in the order of their paths, with their path relative to it. As git does, hidden files and
/// those that a .gitignore or .ignore names are left out.
fn files_below(folder: &Path) -> Result<Vec<(PathBuf, String, Option<u64>)>, Failure> {
    let mut files = Vec::new();
    for entry in ignore::WalkBuilder::new(folder).sort_by_file_path(Ord::cmp).build() {
        let entry = entry.map_err(|error| Failure::usage(format!("cannot read {}: {error}", folder.display())))?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            let relative = slashes(entry.path().strip_prefix(folder).unwrap_or(entry.path()));
            let bytes = entry.metadata().ok().map(|metadata| metadata.len());
            files.push((entry.into_path(), relative, bytes));
        }
    }
    Ok(files)
}

fn slashes(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
        .replacen("//", "/", 1)
}

fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "json" => Some(Format::Json),
        "csv" | "tsv" => Some(Format::Csv),
        "txt" | "text" => Some(Format::Text),
        "md" | "markdown" => Some(Format::Markdown),
        _ => None,
    }
}

impl Source {
    /// The place of a line, or of the whole file.
    pub(super) fn place(&self, line: Option<u64>) -> Place {
        Place { source: Arc::clone(&self.name), line, bytes_read: self.bytes_read.load(Ordering::Relaxed) }
    }

    /// How messages name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the whole source.
    pub(super) fn read(&self, options: &Options, records: &mut Records) -> Result<(), Stopped> {
        let reader = match self.open() {
            Ok(reader) => reader,
            Err(flaw) => return records.push(Err(flaw), self.place(None)),
        };
        match self.format {
            Format::Jsonl | Format::Json => json::read(self, reader, options, records),
            Format::Csv => csv::read(self, reader, options, self.dialect(options), records),
            Format::Text | Format::Markdown => records.push(text::read(reader, &self.id), self.place(None)),
        }
    }

    fn dialect(&self, options: &Options) -> csv::Dialect {
        let name = self.name.to_lowercase();
        let is_tabs = name.trim_end_matches(".gz").ends_with(".tsv");
        let quote = options.quote.unwrap_or(if is_tabs { Quote::None } else { Quote::Byte(b'"') });
        csv::Dialect {
            delimiter: options.delimiter.unwrap_or(if is_tabs { b'\t' } else { b',' }),
            quote: match quote {
                Quote::None => None,
                Quote::Byte(byte) => Some(byte),
            },
        }
    }

    fn open(&self) -> Result<Box<dyn BufRead>, Flaw> {
        let raw: Box<dyn Read> = if self.path.as_os_str() == STDIN {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.path).map_err(|error| Flaw::new(format!("cannot open it: {error}")))?)
        };
        let counted = Counted { inner: raw, bytes_read: Arc::clone(&self.bytes_read) };
        let (magic, compressed) = peek::<2>(counted).map_err(|error| unreadable(&error))?;
        let plain: Box<dyn Read> = if magic == [0x1f, 0x8b] {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, compressed)))
        } else {
            Box::new(compressed)
        };
        let (mark, mut plain) = peek::<3>(plain).map_err(|error| unreadable(&error))?;
        match mark.as_slice() {
            [0xef, 0xbb, 0xbf] => {
                io::copy(&mut (&mut plain).take(3), &mut io::sink()).map_err(|error| unreadable(&error))?;
            }
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                return Err(Flaw::new("it is UTF-16: convert it, for example with `iconv -f utf-16 -t utf-8`"));
            }
            _ => {}
        }
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, plain)))
    }
}

/// A read error in words; a broken gzip file is the usual one.
pub(super) fn unreadable(error: &io::Error) -> Flaw {
    match error.kind() {
        io::ErrorKind::IsADirectory => Flaw::new("it is a folder"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Flaw::new(format!("the rest cannot be read, the file is damaged or cut off: {error}"))
        }
        _ => Flaw::new(format!("the rest cannot be read: {error}")),
    }
}

/// The first bytes of a reader, and the reader from its beginning.
fn peek<const N: usize>(mut reader: impl Read) -> io::Result<(Vec<u8>, impl Read)> {
    let mut first = Vec::with_capacity(N);
    (&mut reader).take(N as u64).read_to_end(&mut first)?;
    Ok((first.clone(), Cursor::new(first).chain(reader)))
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
