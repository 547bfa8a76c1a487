//! Splits texts into chunks. The text-splitter crate finds the boundaries. This module passes it the text in windows,
//! so that the time grows linearly with the text and not with its square. It also counts the tokens once, not for every
//! size that the splitter tries.

use std::{collections::HashMap, ops::Range, sync::Arc};

use sha2::{Digest as _, Sha256};
use text_splitter::{Characters, ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use crate::{
    embed::TokenCounter,
    store::{ChunkMethod, ChunkUnit, Chunking, ContentHash},
};

mod headings;
#[cfg(test)]
mod tests;

pub(crate) use headings::AFTER_HEADINGS;
use headings::Above;

/// A token counts for at most this many characters. An unknown word or a run of white space can be one token, however
/// long it is.
pub(crate) const CHARACTERS_PER_TOKEN: usize = 8;

/// The number of chunks of maximum size, in ASCII, that the splitter sees at a time.
const WINDOW_CHUNKS: usize = 16;

/// Tokens are counted in pieces of at most this many bytes, even within a word. WordPiece takes quadratic time for a
/// word.
const MAX_PIECE: usize = 48;

/// A run of at least this many white space characters divides a text, whatever the method. The splitter goes through
/// white space character by character, and a run can be longer than a window.
const GAP: usize = 64;

/// A passage of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Range<usize>,
    pub(crate) characters: Range<usize>,
    /// The headings above the passage that the model reads with it, such as `Guide > Install`.
    pub(crate) headings: Option<Arc<str>>,
    /// The hash of its text and its headings.
    pub(crate) hash: ContentHash,
}

/// Splits the texts of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    pub(crate) chunking: Chunking,
    /// Counts the tokens of the model. Required for [`ChunkUnit::Tokens`].
    pub(crate) counter: Option<TokenCounter>,
}

impl Splitter {
    /// The chunks of a text, in order. Empty if the text fits in one chunk. Takes about 0.1 s per megabyte.
    pub(crate) fn split(&self, text: &str) -> Vec<Chunk> {
        let mut ranges = self.ranges(text);
        if ranges.len() < 2 || self.is_one(text) {
            ranges.clear();
        }
        let (mut byte, mut character) = (0, 0);
        let mut above = self.chunking.embed_headings.then(|| Above::new(self, text));
        let chunk = |bytes: Range<usize>| {
            // Chunks can overlap, but each begins after the previous one begins.
            character += text[byte..bytes.start].chars().count();
            byte = bytes.start;
            let passage = &text[bytes.clone()];
            let characters = character..character + passage.chars().count();
            let headings = above.as_mut().and_then(|above| above.chunk(bytes.start));
            Chunk { characters, hash: hash(headings.as_deref(), passage), headings, bytes }
        };
        ranges.into_iter().map(chunk).collect()
    }

    /// Whether a text fits in one chunk. Such a text contains all of its headings.
    fn is_one(&self, text: &str) -> bool {
        let whole = Chunking { embed_headings: false, ..self.chunking };
        self.chunking.embed_headings
            && text.trim().chars().nth(self.max_characters()).is_none()
            && Self { chunking: whole, counter: self.counter.clone() }.ranges(text).len() < 2
    }

    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let window = WINDOW_CHUNKS * self.max_characters();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let seen = &text[start..text.floor_char_boundary(start + window)];
            let gap = find_gap(seen);
            let seen = gap.map_or(seen, |gap| &seen[..gap]);
            let end = start + seen.len();
            let mut found = self.split_window(seen);
            // The place where the next window begins.
            start = match found.last() {
                _ if gap.is_some() => text.len() - text[end..].trim_start().len(),
                // The last chunk might be longer in a longer window. The other chunks end where they would in the whole
                // text.
                Some(last) if end < text.len() && found.len() > 1 => {
                    let next = start + last.start;
                    found.pop();
                    next
                }
                Some(only) if end < text.len() => start + only.end,
                _ => end,
            };
            for found in found {
                let (begin, end) = (end - seen.len() + found.start, end - seen.len() + found.end);
                // A Markdown chunk can begin with indentation that the previous chunk leaves out.
                match ranges.last() {
                    Some(last) if last.end < end => ranges.push(begin.max(last.start)..end),
                    None => ranges.push(begin..end),
                    Some(_) => {}
                }
            }
        }
        ranges
    }

    fn split_window(&self, text: &str) -> Vec<Range<usize>> {
        match (&self.counter, self.chunking.unit) {
            (Some(counter), ChunkUnit::Tokens) => self.split_by(text, TokenSizer::new(text, counter)),
            (None, ChunkUnit::Tokens) | (_, ChunkUnit::Characters) => self.split_by(text, Characters),
        }
    }

    fn split_by(&self, text: &str, sizer: impl ChunkSizer) -> Vec<Range<usize>> {
        let Chunking { method, overlap, .. } = self.chunking;
        // The overlap is at most half of the size; otherwise the collection would have been refused.
        let Ok(config) = ChunkConfig::new(self.chunking.text_size()).with_sizer(sizer).with_overlap(overlap) else {
            return Vec::new();
        };
        let range = |(start, chunk): (usize, &str)| start..start + chunk.len();
        match method {
            ChunkMethod::Text => TextSplitter::new(config).chunk_indices(text).map(range).collect(),
            ChunkMethod::Markdown => MarkdownSplitter::new(config).chunk_indices(text).map(range).collect(),
        }
    }

    /// The number of characters or tokens of a text.
    fn size(&self, text: &str) -> usize {
        match (&self.counter, self.chunking.unit) {
            (Some(counter), ChunkUnit::Tokens) => counter.count(text),
            (None, ChunkUnit::Tokens) | (_, ChunkUnit::Characters) => text.chars().count(),
        }
    }

    /// Maximum number of characters of a chunk.
    fn max_characters(&self) -> usize {
        match self.chunking.unit {
            ChunkUnit::Characters => self.chunking.max_size,
            ChunkUnit::Tokens => CHARACTERS_PER_TOKEN * self.chunking.max_size,
        }
    }
}

/// The hash of what the model reads. Without headings it covers the text alone, so that stored hashes stay valid.
fn hash(headings: Option<&str>, text: &str) -> ContentHash {
    let mut hasher = Sha256::new();
    if let Some(headings) = headings {
        hasher.update((headings.len() as u64).to_le_bytes());
        hasher.update(headings);
    }
    hasher.update(text);
    hasher.finalize().into()
}

/// Counts the tokens of any part of one text. The splitter tries many sizes for each chunk, so this counts the tokens
/// of the text once, piece by piece. For a part it counts again only the incomplete pieces at both ends.
struct TokenSizer<'t> {
    text: &'t str,
    counter: &'t TokenCounter,
    /// The pieces, and one more entry for the end of the text.
    pieces: Vec<Piece>,
}

struct Piece {
    start: usize,
    /// The number of tokens before the piece.
    before: usize,
    /// 1 if the piece begins within a word, else 0. The cut can change the tokens on both sides of it.
    cut: usize,
}

impl<'t> TokenSizer<'t> {
    fn new(text: &'t str, counter: &'t TokenCounter) -> Self {
        // Words repeat within a text.
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut pieces = vec![Piece { start: 0, before: 0, cut: 0 }];
        let (mut start, mut tokens) = (0, 0);
        let mut count = |piece| *known.entry(piece).or_insert_with(|| counter.count(piece));
        let mut previous = ' ';
        for (position, character) in text.char_indices() {
            let seam = is_seam(previous, character);
            if position > start && (seam || position - start >= MAX_PIECE) {
                let cut = usize::from(!seam);
                tokens += count(&text[start..position]) + cut;
                start = position;
                pieces.push(Piece { start, before: tokens, cut });
            }
            previous = character;
        }
        tokens += count(&text[start..]);
        pieces.push(Piece { start: text.len(), before: tokens, cut: 0 });
        Self { text, counter, pieces }
    }

    /// The number of tokens of a part of the text. Within long words it can be a few too high.
    fn tokens(&self, part: Range<usize>) -> usize {
        let first = self.pieces.partition_point(|piece| piece.start < part.start);
        let after = self.pieces.partition_point(|piece| piece.start <= part.end);
        match (self.pieces.get(first), self.pieces[..after].last()) {
            (Some(first), Some(last)) if first.start <= last.start => {
                let begun = self.count(part.start..first.start);
                begun + first.cut.min(begun) + (last.before - first.before) + self.count(last.start..part.end)
            }
            _ => self.count(part),
        }
    }

    fn count(&self, part: Range<usize>) -> usize {
        if part.is_empty() { 0 } else { self.counter.count(&self.text[part]) }
    }
}

impl ChunkSizer for TokenSizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        // The splitter asks for parts of the text that it received.
        let start = chunk.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let part = start.and_then(|start| Some(start..start.checked_add(chunk.len())?));
        let tokens = match part {
            Some(part) if part.end <= self.text.len() => self.tokens(part),
            _ => self.counter.count(chunk),
        };
        tokens.max(chunk.chars().count().div_ceil(CHARACTERS_PER_TOKEN))
    }
}

/// The place where the first run of at least [`GAP`] white space characters begins.
fn find_gap(text: &str) -> Option<usize> {
    let (mut begin, mut length) = (0, 0);
    for (position, character) in text.char_indices() {
        if !character.is_whitespace() {
            length = 0;
            continue;
        }
        if length == 0 {
            begin = position;
        }
        length += 1;
        if length == GAP {
            return Some(begin);
        }
    }
    None
}

/// Whether no token crosses the place between two characters. Tokenizers split words at white space. OpenAI's joins a
/// space to the word that follows, and line ends to the punctuation before them.
fn is_seam(before: char, after: char) -> bool {
    let line_end = matches!(after, '\r' | '\n');
    after.is_whitespace() && !before.is_whitespace() && (!line_end || before.is_alphanumeric())
}
