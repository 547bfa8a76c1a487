//! Reads JSON Lines, and JSON files that hold an array of documents.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Flaw, MAX_RECORD_BYTES, Names, Records, Stopped, document,
    source::{Source, unreadable},
    utf8,
};

/// One document per line; empty lines are nothing.
pub(super) fn read_lines(
    source: &Source,
    reader: Box<dyn BufRead>,
    names: &Names,
    records: &mut Records,
) -> Result<(), Stopped> {
    lines_from(1, source, reader, names, records)
}

fn lines_from(
    first_line: u64,
    source: &Source,
    mut reader: Box<dyn BufRead>,
    names: &Names,
    records: &mut Records,
) -> Result<(), Stopped> {
    let mut line = Vec::new();
    for number in first_line.. {
        line.clear();
        let parsed = match (&mut reader).take(MAX_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(bytes) if bytes > MAX_RECORD_BYTES => {
                // Not kept for the lines after it.
                line = Vec::new();
                if let Err(error) = reader.skip_until(b'\n') {
                    return records.push(Err(unreadable(&error)), source.place(Some(number)));
                }
                Err(Flaw::new("the line has more than 32 MiB; a text has at most 8 MiB"))
            }
            Ok(_) => match utf8(line.trim_ascii_end()) {
                Ok(text) if text.trim_ascii_start().is_empty() => continue,
                Ok(text) => document::parse(text, names),
                Err(flaw) => Err(flaw),
            },
            Err(error) => return records.push(Err(unreadable(&error)), source.place(Some(number))),
        };
        records.push(parsed, source.place(Some(number)))?;
    }
    Ok(())
}

/// An array of documents. Anything else is read as JSON Lines, which many call .json too.
pub(super) fn read_json(
    source: &Source,
    mut reader: Box<dyn BufRead>,
    names: &Names,
    records: &mut Records,
) -> Result<(), Stopped> {
    let mut first_line = 1;
    let is_array = loop {
        match reader.fill_buf().map(|bytes| bytes.first().copied()) {
            Ok(None) => return Ok(()),
            Ok(Some(byte)) if byte.is_ascii_whitespace() => {
                first_line += u64::from(byte == b'\n');
                reader.consume(1);
            }
            Ok(Some(byte)) => break byte == b'[',
            Err(error) => return records.push(Err(unreadable(&error)), source.place(Some(first_line))),
        }
    };
    if !is_array {
        return lines_from(first_line, source, reader, names, records);
    }
    let position = Rc::new(Position { line: Cell::new(first_line), record_bytes: Cell::new(0) });
    // The parser reads byte by byte, so that the count of lines is exact only right above it.
    let tracked = Tracked { inner: reader, position: Rc::clone(&position) };
    let mut parser = serde_json::Deserializer::from_reader(tracked);
    let mut elements = Elements { source, names, records, position: &position, stopped: false };
    let outcome = parser.deserialize_seq(&mut elements).and_then(|()| parser.end());
    match outcome {
        _ if elements.stopped => Err(Stopped),
        Ok(()) => Ok(()),
        Err(error) => {
            let flaw = if position.record_bytes.get() > MAX_RECORD_BYTES {
                Flaw::new("an element has more than 32 MiB; the rest of the file is left out")
            } else {
                let flaw = document::flaw(&error);
                Flaw { message: format!("{}; the rest of the file is left out", flaw.message), ..flaw }
            };
            records.push(Err(flaw), source.place(Some(position.line.get())))
        }
    }
}

/// Where the parser is.
struct Position {
    line: Cell<u64>,
    /// Bytes since the last element ended.
    record_bytes: Cell<usize>,
}

/// Counts lines and ends the reading at an element that is too large, before it fills the memory.
struct Tracked<R> {
    inner: R,
    position: Rc<Position>,
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        let lines = buffer[..bytes].iter().filter(|byte| **byte == b'\n').count();
        self.position.line.set(self.position.line.get() + lines as u64);
        self.position.record_bytes.set(self.position.record_bytes.get() + bytes);
        if self.position.record_bytes.get() > MAX_RECORD_BYTES {
            return Err(io::Error::other("an element is too large"));
        }
        Ok(bytes)
    }
}

/// Hands over the elements of an array one at a time.
struct Elements<'a> {
    source: &'a Source,
    names: &'a Names,
    records: &'a mut Records,
    position: &'a Position,
    stopped: bool,
}

impl<'de> Visitor<'de> for &mut Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        // An element is taken raw first, so that one that is no document does not end the file.
        while let Some(raw) = elements.next_element::<Box<RawValue>>()? {
            self.position.record_bytes.set(0);
            let first_line = self.position.line.get() - raw.get().bytes().filter(|byte| *byte == b'\n').count() as u64;
            if self.records.push(document::parse(raw.get(), self.names), self.source.place(Some(first_line))).is_err() {
                self.stopped = true;
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
