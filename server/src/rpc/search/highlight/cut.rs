//! Decides where a passage begins and ends: between sentences, else between words.

use std::ops::Range;

use icu_segmenter::{
    SentenceSegmenter, WordSegmenter,
    options::{SentenceBreakInvariantOptions, WordBreakInvariantOptions},
};

use super::{MAX_CHARACTERS, Place};

/// Number of characters that are scanned beyond those that can be shown. The scanned part may begin and end within a
/// word.
const MARGIN: usize = 100;
/// Minimum number of characters of a passage that ends with a sentence, unless the text ends there.
const MIN_CHARACTERS: usize = MAX_CHARACTERS / 2;

/// A passage of at most [`MAX_CHARACTERS`] characters around `words`, inside `within`, without white space at its ends.
/// It is cut only at bytes for which `is_free` is true.
pub(super) fn cut(text: &str, words: &Place, within: Range<usize>, is_free: impl Fn(usize) -> bool) -> Place {
    let window = Window::new(text, words.bytes.start, is_free);
    let (first, last) = (window.first, window.character(words.bytes.end));
    let (lowest, highest) = (window.character(within.start), window.character(within.end));
    let spare = MAX_CHARACTERS.saturating_sub(last - first);

    let sentence = latest(&window.sentences, first).filter(|start| *start >= lowest && first - start <= spare);
    let mut start = sentence.unwrap_or_else(|| {
        // Half of the room is for the words before, the rest for the words after.
        let earliest = first.saturating_sub(spare / 2).max(lowest);
        earliest_in(&window.words, earliest..first).unwrap_or(first)
    });
    let most = (start + MAX_CHARACTERS).min(highest);
    let end = if most == highest && within.end == text.len() {
        most
    } else {
        let sentence = latest(&window.sentences, most).filter(|end| *end >= last && end - start >= MIN_CHARACTERS);
        sentence.or_else(|| latest(&window.words, most)).map_or(last, |end| end.max(last))
    };
    // Adds whole sentences before, if there is room left.
    let earliest = end.saturating_sub(MAX_CHARACTERS).max(lowest);
    if let Some(sentence) = earliest_in(&window.sentences, earliest..start) {
        start = sentence;
    }
    window.place(text, words, start..end)
}

fn latest(positions: &[usize], most: usize) -> Option<usize> {
    positions.iter().rev().copied().find(|position| *position <= most)
}

fn earliest_in(positions: &[usize], range: Range<usize>) -> Option<usize> {
    positions.iter().copied().find(|position| range.contains(position))
}

/// The part of a text that is scanned. Positions count its characters.
struct Window {
    /// The byte at which each character begins in the text, and the end of the last one.
    bytes: Vec<usize>,
    /// The character at which the words of the passage begin.
    first: usize,
    /// The characters at which a word can end, ascending.
    words: Vec<usize>,
    /// The characters at which a sentence can end, ascending.
    sentences: Vec<usize>,
}

impl Window {
    fn new(text: &str, at: usize, is_free: impl Fn(usize) -> bool) -> Self {
        const REACH: usize = MAX_CHARACTERS + MARGIN;
        let mut bytes: Vec<usize> = text[..at].char_indices().rev().take(REACH).map(|(byte, _)| byte).collect();
        bytes.reverse();
        let first = bytes.len();
        let mut behind = text[at..].char_indices().map(|(byte, _)| at + byte);
        bytes.extend(behind.by_ref().take(REACH));
        let (from, to) = (bytes.first().copied().unwrap_or(at), behind.next().unwrap_or(text.len()));
        bytes.push(to);
        let part = &text[from..to];
        let mut window = Self { bytes, first, words: Vec::new(), sentences: Vec::new() };
        let is_real = |byte: &usize| (*byte > from || from == 0) && (*byte < to || to == text.len()) && is_free(*byte);
        let ends = |segments: &mut dyn Iterator<Item = usize>| {
            segments.map(|byte| from + byte).filter(is_real).map(|byte| window.character(byte)).collect()
        };
        let words = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
        let sentences = SentenceSegmenter::new(SentenceBreakInvariantOptions::default());
        let (words, sentences) = (ends(&mut words.segment_str(part)), ends(&mut sentences.segment_str(part)));
        (window.words, window.sentences) = (words, sentences);
        window
    }

    /// The character that begins at a byte of the text. For a byte outside the window, the first character or the end
    /// of the last one.
    fn character(&self, byte: usize) -> usize {
        self.bytes.partition_point(|begin| *begin < byte).min(self.bytes.len() - 1)
    }

    /// A range of characters as a place in the text, without the white space at its ends.
    fn place(&self, text: &str, words: &Place, range: Range<usize>) -> Place {
        let is_space = |position: usize| text[self.bytes[position]..].starts_with(char::is_whitespace);
        let Range { mut start, mut end } = range;
        while start < end && is_space(start) {
            start += 1;
        }
        while start < end && is_space(end - 1) {
            end -= 1;
        }
        let character = |position: usize| words.characters.start + position - self.first;
        Place { bytes: self.bytes[start]..self.bytes[end], characters: character(start)..character(end) }
    }
}
