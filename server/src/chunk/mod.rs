//! Splitting texts into chunks. The text-splitter crate finds where; here a text is given to it in windows, so that the
//! time grows with the text and not with its square, and tokens are counted once and not for every size that is tried.

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

/// Most characters that a token is taken for: an unknown word or a run of white space can be one token, however long.
pub(crate) const CHARACTERS_PER_TOKEN: usize = 8;

/// Largest chunks, in bytes of ASCII, that the splitter sees at a time.
const WINDOW_CHUNKS: usize = 16;

/// Bytes after which tokens are counted anew even within a word. WordPiece takes as long as the square of a word.
const MAX_PIECE: usize = 48;

/// White space of at least so many characters divides a text, whatever the method: the splitter goes through it character
/// by character, and it can be longer than a window.
const GAP: usize = 64;

/// A passage of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Range<usize>,
    pub(crate) characters: Range<usize>,
    /// Those above it that the model reads with it, such as `Guide > Install`.
    pub(crate) headings: Option<Arc<str>>,
    /// The hash of its text and its headings.
    pub(crate) hash: ContentHash,
}

/// Splits the texts of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    pub(crate) chunking: Chunking,
    /// Of the model; needed with [`ChunkUnit::Tokens`].
    pub(crate) counter: Option<TokenCounter>,
}

impl Splitter {
    /// The chunks of a text, in order; none when it is no larger than one. Takes some 0.1 s for a megabyte.
    pub(crate) fn split(&self, text: &str) -> Vec<Chunk> {
        let mut ranges = self.ranges(text);
        if ranges.len() < 2 || self.is_one(text) {
            ranges.clear();
        }
        let (mut byte, mut character) = (0, 0);
        let mut above = self.chunking.embed_headings.then(|| Above::new(self, text));
        let chunk = |bytes: Range<usize>| {
            // They can overlap, but each begins behind where the one before begins.
            character += text[byte..bytes.start].chars().count();
            byte = bytes.start;
            let passage = &text[bytes.clone()];
            let characters = character..character + passage.chars().count();
            let headings = above.as_mut().and_then(|above| above.chunk(bytes.start));
            Chunk { characters, hash: hash(headings.as_deref(), passage), headings, bytes }
        };
        ranges.into_iter().map(chunk).collect()
    }

    /// Whether a text is no larger than one chunk: none of it is below a heading that it is without.
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
            // Where the next window begins.
            start = match found.last() {
                _ if gap.is_some() => text.len() - text[end..].trim_start().len(),
                // The last one might be longer if the window were. The others end where they would in the whole text.
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
                // Of Markdown a chunk can begin with indentation that the one before is without.
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
        // It is at most half of the size, or the collection would not have been created.
        let Ok(config) = ChunkConfig::new(self.chunking.text_size()).with_sizer(sizer).with_overlap(overlap) else {
            return Vec::new();
        };
        let range = |(start, chunk): (usize, &str)| start..start + chunk.len();
        match method {
            ChunkMethod::Text => TextSplitter::new(config).chunk_indices(text).map(range).collect(),
            ChunkMethod::Markdown => MarkdownSplitter::new(config).chunk_indices(text).map(range).collect(),
        }
    }

    /// The characters or tokens of a text.
    fn size(&self, text: &str) -> usize {
        match (&self.counter, self.chunking.unit) {
            (Some(counter), ChunkUnit::Tokens) => counter.count(text),
            (None, ChunkUnit::Tokens) | (_, ChunkUnit::Characters) => text.chars().count(),
        }
    }

    /// Most characters of a chunk.
    fn max_characters(&self) -> usize {
        match self.chunking.unit {
            ChunkUnit::Characters => self.chunking.max_size,
            ChunkUnit::Tokens => CHARACTERS_PER_TOKEN * self.chunking.max_size,
        }
    }
}

/// The hash of what the model reads. Without headings that is the text alone, so that stored hashes stay true.
fn hash(headings: Option<&str>, text: &str) -> ContentHash {
    let mut hasher = Sha256::new();
    if let Some(headings) = headings {
        hasher.update((headings.len() as u64).to_le_bytes());
        hasher.update(headings);
    }
    hasher.update(text);
    hasher.finalize().into()
}

/// Tells how many tokens any part of one text has. The splitter tries many sizes for each chunk, so the tokens of the text
/// are counted once, piece by piece; of a part only what it holds of a piece at either end is counted anew.
struct TokenSizer<'t> {
    text: &'t str,
    counter: &'t TokenCounter,
    /// The end of the text is one more.
    pieces: Vec<Piece>,
}

struct Piece {
    start: usize,
    /// Tokens of the text before.
    before: usize,
    /// 1 when it begins within a word, whose tokens on either side can be others for the cut, else 0.
    cut: usize,
}

impl<'t> TokenSizer<'t> {
    fn new(text: &'t str, counter: &'t TokenCounter) -> Self {
        // Most words of a text come again.
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

    /// The tokens of a part of the text; within long words up to a few more than they are.
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
        // The splitter asks for parts of the text that it was given.
        let start = chunk.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let part = start.and_then(|start| Some(start..start.checked_add(chunk.len())?));
        let tokens = match part {
            Some(part) if part.end <= self.text.len() => self.tokens(part),
            _ => self.counter.count(chunk),
        };
        tokens.max(chunk.chars().count().div_ceil(CHARACTERS_PER_TOKEN))
    }
}

/// Where the first [`GAP`] of a text begins.
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

/// Whether no token reaches over the place between two characters: tokenizers split words at white space. OpenAI's join it
/// to the word that follows, and line ends to punctuation that precedes.
fn is_seam(before: char, after: char) -> bool {
    let line_end = matches!(after, '\r' | '\n');
    after.is_whitespace() && !before.is_whitespace() && (!line_end || before.is_alphanumeric())
}
