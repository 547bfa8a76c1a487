//! Finds the files to read, recognizes their format, and opens them, with or without gzip and byte order mark.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::{
    Flaw, Format, Options, Place, Quote, Records, Stopped, csv,
    folder::{Entry, Globs, Ignored, absolute, files_below, relative_to, slashes},
    json, parquet,
    text::{self, Origin},
};
use crate::cli::failure::Failure;

const BUFFER_BYTES: usize = 128 << 10;
const STDIN: &str = "-";
const ADD_FORMAT: &str = "add --format jsonl, json, csv, parquet, text or markdown";

/// One file, or stdin.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    format: Format,
    /// The id and the metadata of a text.
    origin: Origin,
    /// Its name in messages.
    name: Arc<str>,
    /// Counts the bytes read from all sources.
    bytes_read: Arc<AtomicU64>,
}

/// The files to look for.
#[derive(Debug)]
pub(crate) struct Search {
    /// Format of all files, instead of the format that their names show.
    pub(crate) format: Option<Format>,
    /// Id of a single text.
    pub(crate) id: Option<String>,
    /// The folder to which ids are relative. `None`: the given folder; for single files the current folder.
    pub(crate) root: Option<PathBuf>,
    /// Which files of folders to read.
    pub(crate) globs: Globs,
}

/// The files to read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of reading: as given, and folders by path.
    pub(crate) sources: Vec<Source>,
    /// Size of all sources in bytes, if it is known.
    pub(crate) bytes_total: Option<u64>,
    /// Files of folders that are not read.
    pub(crate) ignored: Ignored,
    /// The folders, as they are named in the metadata of their documents.
    pub(crate) folders: Vec<String>,
    /// Whether all arguments are folders.
    pub(crate) has_only_folders: bool,
}

impl Found {
    /// The ids of the documents that files become.
    pub(crate) fn ids(&self) -> HashSet<String> {
        self.sources.iter().filter(|source| is_text(source.format)).map(|source| source.origin.id.clone()).collect()
    }
}

/// Finds the files to read.
pub(crate) fn find(paths: &[PathBuf], search: &Search) -> Result<Found, Failure> {
    let found = Found { bytes_total: Some(0), has_only_folders: true, ..Found::default() };
    let mut finder = Finder { search, found, seen: HashSet::new(), bytes_read: Arc::default() };
    for path in paths {
        finder.look_at(path)?;
    }
    check_ids(&finder.found.sources, search.id.as_deref())?;
    Ok(finder.found)
}

struct Finder<'a> {
    search: &'a Search,
    found: Found,
    seen: HashSet<PathBuf>,
    bytes_read: Arc<AtomicU64>,
}

impl Finder<'_> {
    fn look_at(&mut self, path: &Path) -> Result<(), Failure> {
        if path.as_os_str() == STDIN {
            self.found.has_only_folders = false;
            let (format, id) = stdin(self.search)?;
            self.add(path, format, Origin { id, path: None, source: None }, None);
            return Ok(());
        }
        let root = self.search.root.as_deref();
        let metadata = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
        let folder = root.or_else(|| metadata.is_dir().then_some(path));
        let source = folder.map(|folder| {
            folder.canonicalize().map(|path| slashes(&path)).map_err(|error| cannot_read(folder, &error))
        });
        let source = source.transpose()?;
        if !metadata.is_dir() {
            self.found.has_only_folders = false;
            let format = self.search.format.or_else(|| format_of(path)).ok_or_else(|| {
                Failure::usage(format!("the name {} does not show the format", path.display())).with_hint(ADD_FORMAT)
            })?;
            let relative = id_of(path, root)?;
            let id = self.search.id.clone().unwrap_or_else(|| relative.clone());
            let bytes = metadata.is_file().then_some(metadata.len());
            self.add(path, format, Origin { id, path: Some(relative), source }, bytes);
            return Ok(());
        }
        self.found.folders.extend(source.clone());
        for Entry { path, relative, bytes } in files_below(path, &self.search.globs, &mut self.found.ignored)? {
            let Some(format) = format_of(&path).map(|by_name| self.search.format.unwrap_or(by_name)) else {
                self.found.ignored.add_file(&path);
                continue;
            };
            let id = if root.is_some() { id_of(&path, root)? } else { relative };
            self.add(&path, format, Origin { path: Some(id.clone()), id, source: source.clone() }, bytes);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, format: Format, origin: Origin, bytes: Option<u64>) {
        let is_stdin = path.as_os_str() == STDIN;
        // A file that is given twice, for example alone and with its folder, is read once.
        if !is_stdin && path.canonicalize().is_ok_and(|canonical| !self.seen.insert(canonical)) {
            return;
        }
        let name = if is_stdin { "stdin".into() } else { path.display().to_string().into() };
        self.found.bytes_total = self.found.bytes_total.and_then(|total| Some(total + bytes?));
        let bytes_read = Arc::clone(&self.bytes_read);
        self.found.sources.push(Source { path: path.to_owned(), format, origin, name, bytes_read });
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", path.display()))
}

/// The format of stdin, and the id of its text.
fn stdin(search: &Search) -> Result<(Format, String), Failure> {
    let format = search
        .format
        .ok_or_else(|| Failure::usage("the name of stdin does not show the format").with_hint(ADD_FORMAT))?;
    if format == Format::Parquet {
        return Err(Failure::usage("Parquet cannot be read from stdin, because its end must be read first")
            .with_hint("name a file"));
    }
    if is_text(format) && search.id.is_none() {
        return Err(Failure::usage("a text from stdin has no name that could be its id").with_hint("add --id ID"));
    }
    Ok((format, search.id.clone().unwrap_or_default()))
}

/// The path of a file relative to the root, else to the current folder, else the absolute path.
fn id_of(path: &Path, root: Option<&Path>) -> Result<String, Failure> {
    match (relative_to(root.unwrap_or(Path::new(".")), path), root) {
        (Some(relative), _) => Ok(relative),
        (None, None) => Ok(slashes(&absolute(path))),
        (None, Some(root)) => Err(Failure::usage(format!("{} is not below --root {}", path.display(), root.display()))),
    }
}

/// Two files must not silently become the same document.
fn check_ids(sources: &[Source], id: Option<&str>) -> Result<(), Failure> {
    let texts: Vec<&Source> = sources.iter().filter(|source| is_text(source.format)).collect();
    if id.is_some() && (sources.len() != 1 || texts.len() != 1) {
        return Err(Failure::usage("--id is for one text or Markdown file"));
    }
    let mut seen: HashMap<&str, &Source> = HashMap::with_capacity(texts.len());
    for source in texts {
        if let Some(other) = seen.insert(&source.origin.id, source) {
            return Err(Failure::usage(format!(
                "{} and {} would both have the id `{}`",
                other.name, source.name, source.origin.id
            ))
            .with_hint("give the folder above both, or name it with --root, so that their paths differ"));
        }
    }
    Ok(())
}

fn is_text(format: Format) -> bool {
    matches!(format, Format::Text | Format::Markdown)
}

fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "json" => Some(Format::Json),
        "csv" | "tsv" => Some(Format::Csv),
        "parquet" => Some(Format::Parquet),
        "txt" | "text" | "rst" => Some(Format::Text),
        "md" | "markdown" | "mdx" => Some(Format::Markdown),
        _ => None,
    }
}

impl Source {
    /// The place of a line, or of the whole file.
    pub(super) fn place(&self, line: Option<u64>) -> Place {
        Place { source: Arc::clone(&self.name), line, bytes_read: self.bytes_read.load(Ordering::Relaxed) }
    }

    /// The id of the text; for records, the name of the file.
    pub(super) fn id(&self) -> &str {
        if self.origin.id.is_empty() { &self.name } else { &self.origin.id }
    }

    /// Counts bytes that were read without [`Source::open`].
    pub(super) fn advance(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the whole source.
    pub(super) fn read(&self, options: &Options, records: &mut Records) -> Result<(), Stopped> {
        if self.format == Format::Parquet {
            return parquet::read(self, &self.path, options, records);
        }
        let reader = match self.open() {
            Ok(reader) => reader,
            Err(flaw) => return records.push(Err(flaw), self.place(None)),
        };
        match self.format {
            Format::Jsonl | Format::Json => json::read(self, reader, options, records),
            Format::Csv => csv::read(self, reader, options, self.dialect(options), records),
            Format::Parquet | Format::Text | Format::Markdown => {
                match text::read(reader, self.format, &self.origin, &options.names) {
                    Ok((document, notes)) => {
                        for note in notes {
                            records.note(format!("{}: {note}\n", self.name))?;
                        }
                        records.push(Ok(document), self.place(None))
                    }
                    Err(flaw) => records.push(Err(flaw), self.place(None)),
                }
            }
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

/// A read error in words. A broken gzip file is the most frequent one.
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
