//! Reads a plain text or Markdown file: one document.

use std::io::{BufRead, Read as _};

use pgfox_client::v1::Document;

use super::{Flaw, MAX_TEXT_BYTES, source::unreadable, utf8};

pub(super) fn read(reader: Box<dyn BufRead>, id: &str) -> Result<Document, Flaw> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells a text at the limit from one above it.
    reader.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(Flaw::new("the text has more than 8 MiB: split it"));
    }
    Ok(Document { id: id.to_owned(), text: utf8(&bytes)?.to_owned(), ..Default::default() })
}
