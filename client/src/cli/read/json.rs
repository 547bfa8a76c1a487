//! Reads JSON in its usual forms: one document per line, an array of documents, or objects over several lines. The
//! first lines decide, whatever the name of the file.

use std::{
    cell::Cell,
    io::{self, BufRead, Cursor, Read},
    rc::Rc,
};

use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Flaw, MAX_RECORD_BYTES, Options, Records, Stopped, document,
    source::{Source, unreadable},
    utf8,
};
use crate::cli::output::counted;

pub(super) fn read(
    source: &Source,
    mut reader: Box<dyn BufRead>,
    options: &Options,
    records: &mut Records,
) -> Result<(), Stopped> {
    let mut line = 1;
    let first = loop {
        match reader.fill_buf().map(|bytes| bytes.first().copied()) {
            Ok(None) => return Ok(()),
            Ok(Some(byte)) if byte.is_ascii_whitespace() => {
                line += u64::from(byte == b'\n');
                reader.consume(1);
            }
            Ok(Some(byte)) => break byte,
            Err(error) => return records.push(Err(unreadable(&error)), source.place(Some(line))),
        }
    };
    if first == b'[' {
        return Whole { source, options, records, position: Rc::new(Position::new(line)) }.array(reader);
    }
    let mut lines = Lines { source, options, records, line };
    let Some(first) = lines.take(&mut reader)? else { return Ok(()) };
    if !is_cut(&first) {
        lines.push(&first)?;
        return lines.read(reader);
    }
    // Either the first line is broken, or the object continues on the next line.
    lines.line += 1;
    let second = lines.take(&mut reader)?;
    if second.as_deref().is_none_or(is_object) {
        lines.line -= 1;
        lines.push(&first)?;
        lines.line += 1;
        lines.push(&second.unwrap_or_default())?;
        return lines.read(reader);
    }
    let second = second.unwrap_or_default();
    let reader = Cursor::new([first, second].concat()).chain(reader);
    Whole { source, options, records, position: Rc::new(Position::new(line)) }.objects(reader)
}

/// Whether a line is the beginning of valid JSON that continues.
fn is_cut(line: &[u8]) -> bool {
    !line.is_empty() && serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

fn is_object(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// One document per line. Empty lines are skipped.
struct Lines<'a> {
    source: &'a Source,
    options: &'a Options,
    records: &'a mut Records,
    /// The number of the last line read.
    line: u64,
}

impl Lines<'_> {
    /// The next line, or `None` at the end. Reports what cannot be read.
    fn take(&mut self, reader: &mut Box<dyn BufRead>) -> Result<Option<Vec<u8>>, Stopped> {
        let mut line = Vec::new();
        match reader.take(MAX_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(bytes) if bytes <= MAX_RECORD_BYTES => return Ok(Some(line)),
            Ok(_) => {}
            Err(error) => {
                self.records.push(Err(unreadable(&error)), self.source.place(Some(self.line)))?;
                return Ok(None);
            }
        }
        // Do not keep the large buffer for the next lines.
        drop(line);
        let flaw = match reader.skip_until(b'\n') {
            Ok(_) => Flaw::new(format!("the line has more than 32 MiB; a text has at most 8 MiB{TAKE_OUT}")),
            Err(error) => unreadable(&error),
        };
        self.records.push(Err(flaw), self.source.place(Some(self.line)))?;
        Ok(Some(Vec::new()))
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Stopped> {
        let parsed = match utf8(line.trim_ascii_end()) {
            Ok(text) if text.trim_ascii_start().is_empty() => return Ok(()),
            Ok(text) => document::parse(text, self.options),
            Err(flaw) => Err(flaw),
        };
        let parsed = parsed.map_err(|flaw| match flaw.message.starts_with("the JSON ends too early") {
            true => Flaw { message: flaw.message + ": each line must be a complete object", ..flaw },
            false => flaw,
        });
        self.records.push(parsed, self.source.place(Some(self.line)))
    }

    fn read(mut self, mut reader: Box<dyn BufRead>) -> Result<(), Stopped> {
        loop {
            self.line += 1;
            match self.take(&mut reader)? {
                Some(line) => self.push(&line)?,
                None => return Ok(()),
            }
        }
    }
}

/// Advice about one object around all documents.
const TAKE_OUT: &str = ". If it is one object around the documents, take them out, for example with `jq -c '.data[]'`";

/// Values that may span several lines, read by the parser itself.
struct Whole<'a> {
    source: &'a Source,
    options: &'a Options,
    records: &'a mut Records,
    position: Rc<Position>,
}

impl Whole<'_> {
    /// An array of documents.
    fn array(mut self, reader: impl Read) -> Result<(), Stopped> {
        let position = Rc::clone(&self.position);
        let mut parser = serde_json::Deserializer::from_reader(Tracked { inner: reader, position });
        let mut elements = Elements { whole: &mut self, values: None, has_objects: false, stopped: false };
        let outcome = parser.deserialize_seq(&mut elements).and_then(|()| parser.end());
        if elements.stopped {
            return Err(Stopped);
        }
        if let Some(values) = elements.values {
            self.refuse(&values)?;
        }
        outcome.or_else(|error| self.broken(&error))
    }

    /// Objects, one after another.
    fn objects(mut self, reader: impl Read) -> Result<(), Stopped> {
        let position = Rc::clone(&self.position);
        let parser = serde_json::Deserializer::from_reader(Tracked { inner: reader, position });
        for value in parser.into_iter::<Box<RawValue>>() {
            match value {
                Ok(raw) => self.push(&raw)?,
                Err(error) => return self.broken(&error),
            }
        }
        Ok(())
    }

    fn push(&mut self, raw: &RawValue) -> Result<(), Stopped> {
        let position = &self.position;
        position.record_bytes.set(0);
        let newlines = raw.get().bytes().filter(|byte| *byte == b'\n').count() as u64;
        // The column where the value starts, if it is on the parser's line.
        let start = (newlines == 0).then(|| position.column.get().saturating_sub(raw.get().len()));
        let parsed = document::parse(raw.get(), self.options).map_err(|flaw| match (flaw.lines, start) {
            (0, start) => Flaw { column: start.and_then(|start| Some(start + flaw.column?)), ..flaw },
            _ => flaw,
        });
        let line = position.line.get() - newlines;
        self.records.push(parsed, self.source.place(Some(line)))
    }

    /// Refuses values of an array with a single error: there can be millions of them.
    fn refuse(&mut self, values: &Values) -> Result<(), Stopped> {
        let Values { line, kind, count } = values;
        let jq = |field: &str| {
            let document = format!("{{id: (.key + 1), {field}: .value}}");
            format!(
                ": make them documents, for example with \
                 `jq -c 'to_entries[] | {document}' FILE | pgfox ingest ... - --format jsonl`"
            )
        };
        let (kind, remedy) = match kind {
            b'"' => ("a string", jq("text")),
            b'[' => ("a list", jq("vector")),
            b'n' => ("null", String::new()),
            b't' | b'f' => ("true or false", String::new()),
            _ => ("a number", String::new()),
        };
        let values = counted(*count, "value");
        let document = r#"{"id": "1", "text": "..."}"#;
        let message = format!(
            "the array begins with {values} instead of documents, the first of them {kind}, but a document is an \
             object such as {document}{remedy}"
        );
        self.records.push(Err(Flaw::new(message)), self.source.place(Some(*line)))
    }

    fn broken(&mut self, error: &serde_json::Error) -> Result<(), Stopped> {
        let (line, column) = (self.position.line.get(), self.position.column.get());
        let flaw = if self.position.record_bytes.get() > MAX_RECORD_BYTES {
            Flaw::new(format!("a document has more than 32 MiB; the rest of the file is left out{TAKE_OUT}"))
        } else {
            let message = document::flaw(error).message;
            Flaw::at(format!("{message}; the rest of the file is left out"), column.max(1))
        };
        self.records.push(Err(flaw), self.source.place(Some(line)))
    }
}

/// The position of the parser.
struct Position {
    line: Cell<u64>,
    /// Number of bytes of the line so far.
    column: Cell<usize>,
    /// Number of bytes since the last value ended.
    record_bytes: Cell<usize>,
}

impl Position {
    fn new(line: u64) -> Self {
        Self { line: Cell::new(line), column: Cell::new(0), record_bytes: Cell::new(0) }
    }
}

/// Counts lines, and stops at a value that is too large before it fills the memory. The parser reads byte by byte, so
/// the counts are exact only directly below it.
struct Tracked<R> {
    inner: R,
    position: Rc<Position>,
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        let position = &self.position;
        for byte in &buffer[..bytes] {
            if *byte == b'\n' {
                position.line.set(position.line.get() + 1);
                position.column.set(0);
            } else {
                position.column.set(position.column.get() + 1);
            }
        }
        position.record_bytes.set(position.record_bytes.get() + bytes);
        if position.record_bytes.get() > MAX_RECORD_BYTES {
            return Err(io::Error::other("a value is too large"));
        }
        Ok(bytes)
    }
}

/// Hands over the elements of an array one at a time.
struct Elements<'a, 'b> {
    whole: &'a mut Whole<'b>,
    /// The values before the first object.
    values: Option<Values>,
    has_objects: bool,
    stopped: bool,
}

/// Values of an array that are not objects.
struct Values {
    /// The line of the first one.
    line: u64,
    /// The first byte of the first one.
    kind: u8,
    count: u64,
}

impl Elements<'_, '_> {
    fn take(&mut self, raw: &RawValue) -> Result<(), Stopped> {
        let kind = raw.get().bytes().next().unwrap_or_default();
        self.has_objects |= kind == b'{';
        if self.has_objects {
            if let Some(values) = self.values.take() {
                self.whole.refuse(&values)?;
            }
            return self.whole.push(raw);
        }
        let position = &self.whole.position;
        position.record_bytes.set(0);
        let line = position.line.get();
        self.values.get_or_insert(Values { line, kind, count: 0 }).count += 1;
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        // Each element is read raw first, so that one that is not a document does not end the file.
        while let Some(raw) = elements.next_element::<Box<RawValue>>()? {
            if self.take(&raw).is_err() {
                self.stopped = true;
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
