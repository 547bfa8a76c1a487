//! Finds CSV quotes that do not pair. The parser ignores them silently and reads all rows up to the next quote as one
//! cell.

use std::{
    cell::RefCell,
    io::{self, Read},
    rc::Rc,
};

use super::MAX_RECORD_BYTES;

/// Number of bytes before the current row that are kept before they are dropped together.
const SLACK_BYTES: usize = 256 << 10;

/// The bytes of the current row, and those read beyond it.
#[derive(Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// The start of the current row in `bytes`.
    row: usize,
    /// Number of input bytes before the current row.
    offset: u64,
}

impl Window {
    /// The row that ends before the byte `end` of the input. The next row starts there.
    pub(super) fn take(&mut self, end: u64) -> &[u8] {
        if self.row > SLACK_BYTES {
            self.bytes.drain(..self.row);
            self.row = 0;
        }
        let start = self.row;
        let bytes = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        self.row = self.bytes.len().min(start.saturating_add(bytes));
        self.offset = end;
        &self.bytes[start..self.row]
    }

    /// Everything from the start of the current row.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.row..]
    }
}

/// Keeps a window of what is read, and stops at a row that is too large before it fills the memory.
pub(super) struct Watched<R> {
    pub(super) inner: R,
    pub(super) window: Rc<RefCell<Window>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut window = self.window.borrow_mut();
        if window.rest().len() > MAX_RECORD_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = self.inner.read(buffer)?;
        window.bytes.extend_from_slice(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// A mistake in the quotes of a row. The numbers are bytes from the start of the row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpaired {
    /// The quote opens a cell, but nothing closes it.
    Open { opened: usize },
    /// More of the cell follows the closing quote.
    Continued { opened: usize, at: usize },
}

/// Checks a raw row with its line end.
pub(super) fn check(row: &[u8], delimiter: u8, quote: u8) -> Result<(), Unpaired> {
    let mut at = 0;
    while at < row.len() {
        if row[at] == quote {
            let opened = at;
            at = loop {
                let Some(next) = row[at + 1..].iter().position(|byte| *byte == quote) else {
                    return Err(Unpaired::Open { opened });
                };
                at += 1 + next;
                if row.get(at + 1) != Some(&quote) {
                    break at + 1;
                }
                at += 1;
            };
            if row.get(at).is_some_and(|byte| !is_end(*byte, delimiter)) {
                return Err(Unpaired::Continued { opened, at });
            }
        } else {
            at += row[at..].iter().position(|byte| is_end(*byte, delimiter)).unwrap_or(row.len() - at);
        }
        // The delimiter.
        at += 1;
    }
    Ok(())
}

fn is_end(byte: u8, delimiter: u8) -> bool {
    byte == delimiter || byte == b'\n' || byte == b'\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_pair_or_say_where_not() {
        for good in ["", "a,b\n", "\"a\",b\r\n", "a,\"b \"\"c\"\" \n d\"\n", "5\" disk,x\n", "\"\",\"\"", "\"\"\"\"\n"]
        {
            assert_eq!(check(good.as_bytes(), b',', b'"'), Ok(()), "{good:?}");
        }
        assert_eq!(check(b"1,\"open\n2,x\n", b',', b'"'), Err(Unpaired::Open { opened: 2 }));
        assert_eq!(check(b"1,\"open\n2,\"x\"\n", b',', b'"'), Err(Unpaired::Continued { opened: 2, at: 11 }));
        assert_eq!(check(b"1,\"a\" ,b\n", b',', b'"'), Err(Unpaired::Continued { opened: 2, at: 5 }));
        assert_eq!(check(b"\"a\"\"", b',', b'"'), Err(Unpaired::Open { opened: 0 }));
    }
}
