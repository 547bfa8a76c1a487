//! Reads CSV with a header: the columns of id, text and vector, and every other column as metadata.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use csv::{ByteRecord, ErrorKind};
use pgfox_client::v1::Document;
use prost_types::{Struct, Value, value::Kind};

use super::{
    Flaw, MAX_RECORD_BYTES, Names, Records, Stopped, document,
    source::{Source, unreadable},
    utf8,
};

/// What a column becomes.
enum Role {
    Id,
    /// One of `Names::texts`.
    Text(usize),
    Vector,
    Metadata(String),
}

pub(super) fn read(
    source: &Source,
    reader: Box<dyn BufRead>,
    names: &Names,
    delimiter: u8,
    records: &mut Records,
) -> Result<(), Stopped> {
    let record_bytes = Rc::new(Cell::new(0));
    let bounded = Bounded { inner: reader, record_bytes: Rc::clone(&record_bytes) };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bounded);
    let roles = match reader.byte_headers().map_err(|error| failed(&error)).and_then(|header| roles(header, names)) {
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
                records.push(to_document(&row, &roles, names), source.place(line))?;
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

fn roles(header: &ByteRecord, names: &Names) -> Result<Vec<Role>, Flaw> {
    let columns = header.iter().map(utf8).collect::<Result<Vec<_>, _>>()?;
    let has = |name: &str| columns.contains(&name);
    let list = || columns.join(", ");
    if !has(&names.id) {
        return Err(Flaw::new(format!(
            "the header has no column `{}`, only: {}; --id-field names the one with the ids",
            names.id,
            list()
        )));
    }
    let missing = names.texts.iter().find(|name| !has(name));
    // Own vectors need no text, unless the user asked for one.
    if let Some(missing) = missing.filter(|_| names.texts.len() > 1 || !has(&names.vector)) {
        return Err(Flaw::new(format!(
            "the header has neither a column `{missing}` nor `{}`, only: {}; --text-fields names those with the texts",
            names.vector,
            list()
        )));
    }
    if let Some(twice) = columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name)) {
        return Err(Flaw::new(format!("the header has the column `{twice}` twice")));
    }
    let role = |name: &str| {
        if name == names.id {
            Role::Id
        } else if let Some(i) = names.texts.iter().position(|text| text == name) {
            Role::Text(i)
        } else if name == names.vector {
            Role::Vector
        } else {
            Role::Metadata(name.strip_prefix("metadata.").unwrap_or(name).to_owned())
        }
    };
    Ok(columns.into_iter().map(role).collect())
}

/// Metadata stay strings, since `007` may be a number or a name; an empty cell is no field.
fn to_document(row: &ByteRecord, roles: &[Role], names: &Names) -> Result<Document, Flaw> {
    if row.len() != roles.len() {
        return Err(Flaw::new(format!("the row has {} cells where the header has {}", row.len(), roles.len())));
    }
    let mut document = Document::default();
    let mut texts = vec![String::new(); names.texts.len()];
    let mut metadata = Struct::default();
    for (cell, role) in row.iter().zip(roles) {
        let cell = utf8(cell).map_err(|flaw| Flaw { column: None, ..flaw })?;
        match role {
            Role::Id => document.id = cell.to_owned(),
            Role::Text(i) => texts[*i] = cell.to_owned(),
            Role::Vector if cell.is_empty() => {}
            Role::Vector => document.vector = Some(document::parse_vector(cell).map_err(Flaw::new)?),
            Role::Metadata(_) if cell.is_empty() => {}
            Role::Metadata(name) => {
                metadata.fields.insert(name.clone(), Value { kind: Some(Kind::StringValue(cell.to_owned())) });
            }
        }
    }
    document.text = super::join(texts.into_iter());
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
        if self.record_bytes.get() > MAX_RECORD_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = self.inner.read(buffer)?;
        self.record_bytes.set(self.record_bytes.get() + bytes);
        Ok(bytes)
    }
}
