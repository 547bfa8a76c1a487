//! Splits a filter expression into its pieces, and prints the line that points at one.

use prost_types::Value;
use unicode_width::UnicodeWidthChar as _;

use super::Error;
use crate::cli::read::{number, value};

/// Number of characters of the expression that are shown before and after the place of an error.
const SHOWN_BEFORE: usize = 50;
const SHOWN_AFTER: usize = 20;

/// Reads pieces from the front of an expression. The caller says which kind of piece it expects: `2024-05-01` can be a
/// time or a key.
pub(super) struct Lexer<'a> {
    expression: &'a str,
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(expression: &'a str) -> Self {
        Self { expression, rest: expression.trim_start() }
    }

    pub(super) fn offset(&self) -> usize {
        self.expression.len() - self.rest.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        piece
    }

    pub(super) fn is_next(&self, symbol: &str) -> bool {
        self.rest.starts_with(symbol)
    }

    pub(super) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let is_there = self.is_next(symbol);
        if is_there {
            self.advance(symbol.len());
        }
        is_there
    }

    fn key_bytes(&self) -> usize {
        self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(self.rest.len())
    }

    pub(super) fn is_key(&self) -> bool {
        self.key_bytes() > 0
    }

    pub(super) fn is_word(&self, words: &[&str]) -> bool {
        let key = &self.rest[..self.key_bytes()];
        words.iter().any(|word| word.eq_ignore_ascii_case(key)) && !self.rest[key.len()..].starts_with('.')
    }

    /// A word of the language, in any letter case. `not.x` is a field.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(&[word]);
        if is_there {
            self.advance(word.len());
        }
        is_there
    }

    /// The name of the id, in lower case, since keys of metadata are case-sensitive. `id.x` is a field.
    pub(super) fn eat_id(&mut self) -> bool {
        self.is_next("id") && self.eat_word("id")
    }

    /// Whether the next key leads to another one.
    pub(super) fn is_prefix(&self) -> bool {
        self.rest[self.key_bytes()..].trim_start().starts_with('.')
    }

    /// A key without quotes.
    pub(super) fn key(&mut self) -> Option<&'a str> {
        match self.key_bytes() {
            0 => None,
            bytes => Some(self.advance(bytes)),
        }
    }

    /// A time without quotes: all characters that can belong to one.
    pub(super) fn time(&mut self) -> Option<&'a str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '+');
        match self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len()) {
            0 => None,
            bytes => Some(self.advance(bytes)),
        }
    }

    pub(super) fn number(&mut self) -> Result<Option<f64>, Error> {
        let digits = self.rest.strip_prefix(['-', '+']).unwrap_or(self.rest);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        // Reads as far as a number or a time could go, so that the error shows the whole of it.
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':');
        let bytes = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let text = &self.rest[..bytes];
        let error = |message: String| Err(Error { offset: self.offset(), message });
        let number = match text.parse::<f64>() {
            Ok(number) if number.is_finite() => number,
            _ if super::read_time(text).is_some() => {
                return error("compare times with `before` and `since`".to_owned());
            }
            _ => return error(format!("`{text}` is not a number; write strings in quotes")),
        };
        let digits = text.trim_start_matches(['-', '+']);
        if !number::is_exact(digits) {
            return error(format!("the number {text} would lose digits, because numbers are doubles"));
        }
        self.advance(bytes);
        Ok(Some(number))
    }

    /// A string in double or single quotes, with the escapes of JSON and `\'`.
    pub(super) fn string(&mut self) -> Result<Option<String>, Error> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.advance(at + 1);
                    return Ok(Some(text));
                }
                '\\' => {
                    let (c, bytes) = unescape(&self.rest[at..]).ok_or_else(|| Error {
                        offset: self.offset() + at,
                        message: r#"expected an escape such as \", \', \\, \n or \u00e9"#.to_owned(),
                    })?;
                    text.push(c);
                    // The characters of an escape are ASCII, one byte each. The backslash has been read already.
                    chars.by_ref().take(bytes - 1).for_each(drop);
                }
                c => text.push(c),
            }
        }
        Err(Error { offset: self.offset(), message: format!("this string has no closing {quote}") })
    }

    /// A list or an object as JSON.
    pub(super) fn json(&mut self) -> Result<Value, Error> {
        let (value, bytes) = value::parse_value(self.rest).map_err(|(bytes, message)| Error {
            offset: self.offset() + bytes.min(self.rest.len()),
            message: format!("{message}; write lists and objects as JSON, with double quotes"),
        })?;
        self.advance(bytes);
        Ok(value)
    }

    /// A description of the next piece.
    pub(super) fn found(&self) -> String {
        let piece = match (self.key_bytes(), self.rest.chars().next()) {
            (_, None) => return "the end".to_owned(),
            (0, Some(c)) if c.is_control() => c.escape_debug().to_string(),
            (0, Some(c)) => c.to_string(),
            (bytes, Some(_)) => self.rest[..bytes].chars().take(40).collect(),
        };
        format!("`{piece}`")
    }
}

/// The character that an escape means, and the length of the escape in bytes.
fn unescape(text: &str) -> Option<(char, usize)> {
    let c = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        c @ (b'"' | b'\'' | b'\\' | b'/') => char::from(*c),
        b'u' => {
            let unit = |at: usize| {
                let digits =
                    text.get(at..at + 4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
                u16::from_str_radix(digits, 16).ok()
            };
            let first = unit(2)?;
            if let Some(c) = char::from_u32(first.into()) {
                return Some((c, 6));
            }
            // A character beyond 16 bits is written as two escapes.
            let second = text.get(6..8).filter(|escape| *escape == r"\u").and_then(|_| unit(8))?;
            let c = char::decode_utf16([first, second]).next()?.ok()?;
            return Some((c, 12));
        }
        _ => return None,
    };
    Some((c, 2))
}

/// The part of the expression around a place, its column in characters, and a caret below it.
pub(super) fn point(expression: &str, offset: usize) -> (String, usize, String) {
    let before: Vec<char> = expression.get(..offset).unwrap_or(expression).chars().collect();
    let after: Vec<char> = expression.get(offset..).unwrap_or("").chars().take(SHOWN_AFTER + 1).collect();
    let visible = |c: &char| if c.is_control() || c.is_whitespace() { ' ' } else { *c };
    let is_cut = before.len() > SHOWN_BEFORE;
    let shown: String = before[before.len().saturating_sub(SHOWN_BEFORE)..].iter().map(visible).collect();
    let mut line = if is_cut { format!("…{shown}") } else { shown };
    let caret = " ".repeat(line.chars().map(|c| c.width().unwrap_or(0)).sum()) + "^";
    line.extend(after.iter().take(SHOWN_AFTER).map(visible));
    if after.len() > SHOWN_AFTER {
        line.push('…');
    }
    (line.trim_end().to_owned(), before.len() + 1, caret)
}
