//! Highlights: the passages of a result that contain the most words of the query.

mod cut;

use std::{ops::Range, time::Instant};

use pgfox::v1;

use crate::{
    store::{Collection, Hit, WordMaker, Words},
    words::{self, Found, Language, Term, TextLanguage},
};

/// Maximum number of passages of a text.
const MAX_PASSAGES: usize = 3;
/// Maximum number of characters of a passage.
const MAX_CHARACTERS: usize = 200;
/// Maximum number of marked words in a passage.
const MAX_WORDS: usize = 50;
/// Maximum number of bytes of a text that are scanned.
const MAX_BYTES: usize = 1024 * 1024;

/// Finds the passages of texts of one collection.
#[derive(Debug)]
pub(super) struct Highlighter {
    terms: Vec<Term>,
    language: TextLanguage,
    /// The languages of the collection.
    languages: Vec<Language>,
}

impl Highlighter {
    /// Marks the words of a query that are not excluded.
    pub(super) fn new(words: &Words, collection: &Collection) -> Self {
        let (language, languages) = match collection.words {
            WordMaker::Own(language) | WordMaker::Both { language, .. } => (language, collection.languages.clone()),
            // Only Postgres knows what its configuration does.
            WordMaker::Postgres => (TextLanguage::One(Language::Simple), vec![Language::Simple]),
        };
        Self { terms: words::of_pieces(words.wanted(), &languages), language, languages }
    }

    /// The best passages of each hit. Hits that are not scanned before the deadline have none, since nobody waits for
    /// them.
    pub(super) fn highlight(&self, hits: &[Hit], deadline: Instant) -> Vec<Vec<v1::Highlight>> {
        let highlight = |hit: &Hit| match &hit.chunk {
            _ if Instant::now() >= deadline => Vec::new(),
            // A chunk has the language of its document. The text of the chunk alone may not show it.
            Some(chunk) => self.highlight_text(&chunk.text, &self.languages),
            None => self.highlight_text(&hit.document.text, &[self.language.of(&hit.document.text)]),
        };
        hits.iter().map(highlight).collect()
    }

    fn highlight_text(&self, text: &str, languages: &[Language]) -> Vec<v1::Highlight> {
        if self.terms.is_empty() {
            return Vec::new();
        }
        let read = &text[..text.floor_char_boundary(MAX_BYTES)];
        let found = languages.iter().flat_map(|language| words::find(read, *language, &self.terms));
        let mut found: Vec<Found> = found.collect();
        if languages.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        passages(text, &found, self.terms.len())
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    bytes: Range<usize>,
    characters: Range<usize>,
}

/// A part that is marked as a whole: overlapping places of terms, such as `XK-4711` with `XK` and `4711`.
#[derive(Clone, Debug)]
struct Mark {
    place: Place,
    /// The positions of these places among all that were found.
    found: Range<usize>,
    /// Whether a chosen passage contains it.
    is_shown: bool,
}

/// The best passages: those with the most different terms, then with the most words, then the first ones.
fn passages(text: &str, found: &[Found], terms: usize) -> Vec<v1::Highlight> {
    let mut marks = marks(text, found);
    let mut shown: Vec<Place> = Vec::new();
    while shown.len() < MAX_PASSAGES
        && let Some(best) = best(&marks, found, terms)
    {
        let (first, last) = (&marks[best.start].place, &marks[best.end - 1].place);
        let words =
            Place { bytes: first.bytes.start..last.bytes.end, characters: first.characters.start..last.characters.end };
        // The passage must not overlap the chosen ones.
        let before = shown.iter().map(|place| place.bytes.end).filter(|end| *end <= words.bytes.start);
        let after = shown.iter().map(|place| place.bytes.start).filter(|start| *start >= words.bytes.end);
        let within = before.max().unwrap_or(0)..after.min().unwrap_or(text.len());
        let is_free = |byte: usize| {
            let next = marks.partition_point(|mark| mark.place.bytes.end <= byte);
            marks.get(next).is_none_or(|mark| mark.place.bytes.start >= byte)
        };
        let passage = cut::cut(text, &words, within, is_free);
        for mark in &mut marks[best] {
            mark.is_shown = true;
        }
        let touched = marks.iter_mut().filter(|mark| overlap(&mark.place.bytes, &passage.bytes));
        touched.for_each(|mark| mark.is_shown = true);
        shown.push(passage);
    }
    shown.into_iter().map(|passage| message(text, &passage, &marks)).collect()
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Joins overlapping places, up to the size of a passage, and counts characters.
fn marks(text: &str, found: &[Found]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let (mut byte, mut character) = (0, 0);
    for (position, Found { start, end, .. }) in found.iter().enumerate() {
        let (mut start, mut end) = (*start, *end);
        if let Some(last) = marks.last_mut() {
            let place = &mut last.place;
            if end <= place.bytes.end {
                last.found.end = position + 1;
                continue;
            }
            if start < place.bytes.end {
                let more = text[place.bytes.end..end].chars().count();
                if place.characters.len() + more <= MAX_CHARACTERS {
                    last.found.end = position + 1;
                    place.bytes.end = end;
                    place.characters.end += more;
                    (byte, character) = (end, place.characters.end);
                    continue;
                }
                start = place.bytes.end;
            }
        }
        character += text[byte..start].chars().count();
        let first = character;
        // Only the beginning of a longer word is shown.
        if let Some((longest, _)) = text[start..end].char_indices().nth(MAX_CHARACTERS) {
            end = start + longest;
        }
        character += text[start..end].chars().count();
        byte = end;
        let place = Place { bytes: start..end, characters: first..character };
        marks.push(Mark { place, found: position..position + 1, is_shown: false });
    }
    marks
}

/// The best run of marks that fits into a passage and is not shown yet.
fn best(marks: &[Mark], found: &[Found], terms: usize) -> Option<Range<usize>> {
    let mut counts = vec![0_u32; terms];
    let mut distinct = 0;
    let mut first = 0;
    let mut best: Option<((usize, usize), Range<usize>)> = None;
    let remove = |mark: &Mark, counts: &mut [u32], distinct: &mut usize| {
        for Found { term, .. } in &found[mark.found.clone()] {
            counts[*term] -= 1;
            *distinct -= usize::from(counts[*term] == 0);
        }
    };
    for (position, mark) in marks.iter().enumerate() {
        if mark.is_shown {
            marks[first..position].iter().for_each(|mark| remove(mark, &mut counts, &mut distinct));
            first = position + 1;
            continue;
        }
        for Found { term, .. } in &found[mark.found.clone()] {
            distinct += usize::from(counts[*term] == 0);
            counts[*term] += 1;
        }
        while mark.place.characters.end - marks[first].place.characters.start > MAX_CHARACTERS {
            remove(&marks[first], &mut counts, &mut distinct);
            first += 1;
        }
        let value = (distinct, position + 1 - first);
        if best.as_ref().is_none_or(|(other, _)| value > *other) {
            best = Some((value, first..position + 1));
        }
    }
    best.map(|(_, range)| range)
}

fn message(text: &str, passage: &Place, marks: &[Mark]) -> v1::Highlight {
    let first = marks.partition_point(|mark| mark.place.bytes.start < passage.bytes.start);
    let inside = marks[first..].iter().take_while(|mark| mark.place.bytes.end <= passage.bytes.end);
    let span = |place: &Place| v1::Span { start: place.characters.start as i32, end: place.characters.end as i32 };
    let v1::Span { start, end } = span(passage);
    v1::Highlight {
        start,
        end,
        text: text[passage.bytes.clone()].to_owned(),
        words: inside.take(MAX_WORDS).map(|mark| span(&mark.place)).collect(),
    }
}

#[cfg(test)]
mod tests;
