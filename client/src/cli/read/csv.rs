//! Reads CSV with a header: the columns of id, text and vector, and every other column as metadata.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind};
use pgfox_client::v1::Document;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::source::{Source, unreadable};
use super::{Columns, Flaw, RECORD_BYTES_MAX, Records, Stopped, document, utf8};

/// What a column becomes.
enum Role {
    Id,
    Text,
    Vector,
    Metadata(String),
}

pub(super) fn read(
    source: &Source,
    reader: Box<dyn BufRead>,
    columns: &Columns,
    delimiter: u8,
    records: &mut Records,
) -> Result<(), Stopped> {
    let record_bytes = Rc::new(Cell::new(0));
    let bounded = Bounded { inner: reader, record_bytes: Rc::clone(&record_bytes) };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bounded);
    let roles = match reader.byte_headers().map_err(|error| failed(&error)).and_then(|header| roles(header, columns)) {
        Ok(roles) => roles,
        Err(flaw) => return records.push(Err(flaw), source.place(Some(1))),
    };
    let mut row = ByteRecord::new();
    loop {
        record_bytes.set(0);
        match reader.read_byte_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = row.position().map(csv::Position::line);
                records.push(to_document(&row, &roles), source.place(line))?;
            }
            Err(error) => return records.push(Err(failed(&error)), source.place(Some(reader.position().line()))),
        }
    }
}

fn failed(error: &csv::Error) -> Flaw {
    match error.kind() {
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Flaw::new("a row has more than 32 MiB: is a quote left open? The rest of the file is left out")
        }
        ErrorKind::Io(error) => unreadable(error),
        _ => Flaw::new(error.to_string()),
    }
}

fn roles(header: &ByteRecord, columns: &Columns) -> Result<Vec<Role>, Flaw> {
    let names = header.iter().map(utf8).collect::<Result<Vec<_>, _>>()?;
    let has = |name: &str| names.contains(&name);
    let list = || names.join(", ");
    if !has(&columns.id) {
        return Err(Flaw::new(format!(
            "the header has no column `{}`, only: {}; --id-column names the one with the ids",
            columns.id,
            list()
        )));
    }
    if !has(&columns.text) && !has(&columns.vector) {
        return Err(Flaw::new(format!(
            "the header has neither a column `{}` nor `{}`, only: {}; --text-column names the one with the texts",
            columns.text,
            columns.vector,
            list()
        )));
    }
    if let Some(twice) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
        return Err(Flaw::new(format!("the header has the column `{twice}` twice")));
    }
    Ok(names
        .into_iter()
        .map(|name| match name {
            _ if name == columns.id => Role::Id,
            _ if name == columns.text => Role::Text,
            _ if name == columns.vector => Role::Vector,
            _ => Role::Metadata(name.strip_prefix("metadata.").unwrap_or(name).to_owned()),
        })
        .collect())
}

/// Metadata stay strings, since `007` may be a number or a name; an empty cell is no field.
fn to_document(row: &ByteRecord, roles: &[Role]) -> Result<Document, Flaw> {
    if row.len() != roles.len() {
        return Err(Flaw::new(format!("the row has {} cells where the header has {}", row.len(), roles.len())));
    }
    let mut document = Document::default();
    let mut metadata = Struct::default();
    for (cell, role) in row.iter().zip(roles) {
        let cell = utf8(cell).map_err(|flaw| Flaw { column: None, ..flaw })?;
        match role {
            Role::Id => document.id = cell.to_owned(),
            Role::Text => document.text = cell.to_owned(),
            Role::Vector if cell.is_empty() => {}
            Role::Vector => document.vector = Some(document::parse_vector(cell).map_err(Flaw::new)?),
            Role::Metadata(_) if cell.is_empty() => {}
            Role::Metadata(name) => {
                metadata.fields.insert(name.clone(), Value { kind: Some(Kind::StringValue(cell.to_owned())) });
            }
        }
    }
    document.metadata = (!metadata.fields.is_empty()).then_some(metadata);
    Ok(document)
}

/// Ends the reading at a row that is too large, before it fills the memory.
struct Bounded<R> {
    inner: R,
    /// Bytes since the last row ended.
    record_bytes: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.record_bytes.get() > RECORD_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = self.inner.read(buffer)?;
        self.record_bytes.set(self.record_bytes.get() + bytes);
        Ok(bytes)
    }
}
