//! Reads CSV with a header: the columns of id, text and vector, and every other column as metadata.

use std::{
    cell::RefCell,
    io::{self, BufRead},
    rc::Rc,
};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use pgfox_client::v1::Document;

use super::{
    Flaw, Options, Records, Stopped,
    cells::{Guess, Type},
    document,
    fields::{Draft, Role},
    quotes::{self, Unpaired, Watched, Window},
    source::{Source, unreadable},
    utf8,
};

/// Number of rows from which types are inferred.
const SAMPLE_ROWS: usize = 1_000;
/// Maximum number of bytes of cells in this sample.
const SAMPLE_BYTES: usize = 8 << 20;

/// How cells are separated and quoted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// `None`: quotes are ordinary characters.
    pub(super) quote: Option<u8>,
}

/// The target of the cells of a column.
struct Column {
    role: Role,
    /// The metadata field.
    name: String,
    kind: Type,
    /// Whether the type was inferred, not given.
    is_inferred: bool,
}

pub(super) fn read(
    source: &Source,
    reader: Box<dyn BufRead>,
    options: &Options,
    dialect: Dialect,
    records: &mut Records,
) -> Result<(), Stopped> {
    let mut rows = Rows::new(reader, dialect);
    let mut row = ByteRecord::new();
    let mut columns = match rows.next(&mut row) {
        Ok(None) => return Ok(()),
        Ok(Some(_)) => match columns(&row, options, dialect) {
            Ok(columns) => columns,
            Err(flaw) => return records.push(Err(flaw), source.place(Some(1))),
        },
        Err((line, flaw)) => return records.push(Err(flaw), source.place(Some(line))),
    };
    let mut sample = Vec::new();
    if options.infers_types {
        let mut bytes = 0;
        while sample.len() < SAMPLE_ROWS && bytes < SAMPLE_BYTES {
            let next = rows.next(&mut row);
            let is_last = !matches!(next, Ok(Some(_)));
            bytes += row.len() + row.as_slice().len();
            sample.push((next, row.clone()));
            if is_last {
                break;
            }
        }
        infer(&mut columns, sample.iter().filter(|(next, _)| matches!(next, Ok(Some(_)))).map(|(_, row)| row));
        records.note(inferred(source, &columns))?;
    }
    let mut sample = sample.into_iter();
    loop {
        let next = match sample.next() {
            Some((next, sampled)) => {
                row = sampled;
                next
            }
            None => rows.next(&mut row),
        };
        match next {
            Ok(None) => return Ok(()),
            Ok(Some(line)) => records.push(to_document(&row, &columns, options), source.place(Some(line)))?,
            Err((line, flaw)) => {
                let is_last = rows.is_broken;
                records.push(Err(flaw), source.place(Some(line)))?;
                if is_last && sample.len() == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The rows of a file, each with its line number, and with quotes that pair.
struct Rows {
    reader: Reader<Watched<Box<dyn BufRead>>>,
    window: Rc<RefCell<Window>>,
    dialect: Dialect,
    /// Nothing follows the last error.
    is_broken: bool,
}

impl Rows {
    fn new(reader: Box<dyn BufRead>, dialect: Dialect) -> Self {
        let window = Rc::<RefCell<Window>>::default();
        let watched = Watched { inner: reader, window: Rc::clone(&window) };
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.delimiter).quoting(dialect.quote.is_some()).flexible(true).has_headers(false);
        if let Some(quote) = dialect.quote {
            builder.quote(quote);
        }
        Self { reader: builder.from_reader(watched), window, dialect, is_broken: false }
    }

    /// Reads a row and returns its line number. An error has its line number too.
    fn next(&mut self, row: &mut ByteRecord) -> Result<Option<u64>, (u64, Flaw)> {
        let mut line = self.reader.position().line();
        let read = self.reader.read_byte_record(row);
        let end = self.reader.position().byte();
        let mut window = self.window.borrow_mut();
        let written = if read.is_ok() { window.take(end) } else { window.rest() };
        // Skips the line end of the previous row, and empty lines.
        let blank = written.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        line += newlines(&written[..blank]);
        let written = &written[blank..];
        let quotes = match self.dialect.quote {
            Some(quote) if written.contains(&quote) => quotes::check(written, self.dialect.delimiter, quote),
            _ => Ok(()),
        };
        match (read, quotes) {
            (Ok(is_row), Ok(())) => Ok(is_row.then_some(line)),
            (Err(error), Ok(())) => {
                self.is_broken = true;
                Err((line, failed(&error)))
            }
            // A closed quote in a row without an end means nothing.
            (Err(error), Err(Unpaired::Continued { .. })) => {
                self.is_broken = true;
                Err((line, failed(&error)))
            }
            (_, Err(Unpaired::Open { opened })) => {
                self.is_broken = true;
                let flaw = Flaw::at(
                    "the quote that opens here never closes, so the rest of the file is left out: close it, or add \
                     --quote none if quotes are ordinary characters",
                    column(written, opened),
                );
                Err((line + newlines(&written[..opened]), flaw))
            }
            (Ok(_), Err(Unpaired::Continued { opened, at })) => {
                let (first, last) = (line + newlines(&written[..opened]), line + newlines(&written[..at]));
                let range =
                    if first == last { "the row is".to_owned() } else { format!("lines {first} to {last} are") };
                let flaw = Flaw::at(
                    format!(
                        "more of the cell follows its closing quote (line {last}, column {}), so {range} left out: \
                         double a quote within quotes, or add --quote none if quotes are ordinary characters",
                        column(written, at)
                    ),
                    column(written, opened),
                );
                Err((first, flaw))
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The column of a byte in its line, from 1.
fn column(bytes: &[u8], at: usize) -> usize {
    at - bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1
}

fn failed(error: &csv::Error) -> Flaw {
    match error.kind() {
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Flaw::new(
            "a row has more than 32 MiB, so the rest of the file is left out: check for a quote that is not closed",
        ),
        ErrorKind::Io(error) => unreadable(error),
        _ => Flaw::new(error.to_string()),
    }
}

fn columns(header: &ByteRecord, options: &Options, dialect: Dialect) -> Result<Vec<Column>, Flaw> {
    let names = &options.names;
    let headers = header.iter().map(utf8).collect::<Result<Vec<_>, _>>()?;
    let is_own = |name: &str| !matches!(names.role(name), Role::Metadata | Role::LeftOut);
    // `year:number` means the column `year`, unless the user named the whole as a column.
    let typed: Vec<(&str, Option<Type>)> =
        headers.iter().map(|header| if is_own(header) { (*header, None) } else { Type::of_header(header) }).collect();
    let plain: Vec<&str> = typed.iter().map(|(name, _)| *name).collect();
    options.check_columns(&plain).map_err(|flaw| match separator(&headers, dialect) {
        Some(separator) => Flaw {
            message: format!("{}; if {separator} separates the cells, add --delimiter '{separator}'", flaw.message),
            ..flaw
        },
        None => flaw,
    })?;
    let missing = |wanted: &str| !plain.contains(&wanted);
    if let Some(column) = options.types.iter().map(|named| &named.column).find(|column| missing(column)) {
        return Err(Flaw::new(format!(
            "--types names the column `{column}`, but the file has only: {}",
            plain.join(", ")
        )));
    }
    let picked = names.metadata.iter().flatten();
    if let Some(column) = picked.map(String::as_str).find(|column| missing(column)) {
        return Err(Flaw::new(format!(
            "--metadata-fields names the column `{column}`, but the file has only: {}",
            plain.join(", ")
        )));
    }
    let column = |(name, kind): &(&str, Option<Type>)| {
        let kind = options.types.iter().find(|named| named.column == *name).map(|named| named.kind).or(*kind);
        Column {
            role: names.role(name),
            name: name.strip_prefix("metadata.").unwrap_or(name).to_owned(),
            kind: kind.unwrap_or(Type::String),
            is_inferred: kind.is_none() && options.infers_types,
        }
    };
    Ok(typed.iter().map(column).collect())
}

/// The probable separator of the cells, if the header was read as a single cell.
fn separator(headers: &[&str], dialect: Dialect) -> Option<&'static str> {
    let [header] = headers else { return None };
    let separators = [(b';', ";"), (b'\t', "\\t"), (b'|', "|"), (b',', ",")];
    separators.iter().find(|(byte, _)| *byte != dialect.delimiter && header.as_bytes().contains(byte)).map(|(_, c)| *c)
}

fn infer<'a>(columns: &mut [Column], rows: impl Iterator<Item = &'a ByteRecord>) {
    let mut guesses = vec![Guess::new(); columns.len()];
    for row in rows.filter(|row| row.len() == columns.len()) {
        for (cell, guess) in row.iter().zip(&mut guesses) {
            // Text that is not UTF-8 is refused later.
            guess.see(std::str::from_utf8(cell).unwrap_or("?"));
        }
    }
    for (column, guess) in columns.iter_mut().zip(guesses).filter(|(column, _)| column.is_inferred) {
        column.kind = guess.kind();
    }
}

fn inferred(source: &Source, columns: &[Column]) -> String {
    let metadata = || columns.iter().filter(|column| column.role == Role::Metadata && column.is_inferred);
    let typed: Vec<String> = metadata()
        .filter(|column| column.kind != Type::String)
        .map(|column| format!("{}:{}", column.name, column.kind.name()))
        .collect();
    let found = if typed.is_empty() { "only strings".to_owned() } else { typed.join(",") };
    let strings = metadata().filter(|column| column.kind == Type::String).count();
    let rest = if typed.is_empty() || strings == 0 { "" } else { "; the other columns stay strings" };
    format!("{}: inferred {found}{rest}\n", source.name())
}

/// Converts a row. Empty cells are left out.
fn to_document(row: &ByteRecord, columns: &[Column], options: &Options) -> Result<Document, Flaw> {
    if row.len() != columns.len() {
        return Err(Flaw::new(format!("the row has {} cells but the header has {}", row.len(), columns.len())));
    }
    let mut draft = Draft::new(&options.names);
    for (cell, column) in row.iter().zip(columns) {
        let cell = utf8(cell).map_err(|flaw| Flaw { column: None, ..flaw })?;
        match column.role {
            Role::Id => draft.document.id = cell.to_owned(),
            Role::Text(i) => draft.set_text(i, cell.to_owned()),
            Role::Vector if cell.is_empty() => {}
            Role::Vector => draft.document.vector = Some(document::parse_vector(cell).map_err(Flaw::new)?),
            Role::LeftOut => {}
            Role::Metadata if cell.is_empty() => {}
            Role::Metadata => {
                if cell.starts_with('[') {
                    options.names.check_list(&column.name)?;
                }
                let value = column.kind.value(cell).map_err(|problem| refused(cell, column, problem))?;
                draft.set_metadata(column.name.clone(), value)?;
            }
        }
    }
    Ok(draft.finish())
}

fn refused(cell: &str, column: &Column, problem: &str) -> Flaw {
    let (name, shown) = (&column.name, cell.chars().take(60).collect::<String>());
    let remedy = if column.is_inferred {
        format!(", but the first rows are {}s: add --types {name}:string", column.kind.name())
    } else {
        String::new()
    };
    Flaw::new(format!("the cell `{shown}` in the column `{name}` is {problem}{remedy}"))
}
