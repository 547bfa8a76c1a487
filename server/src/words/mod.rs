//! Words: how texts and queries become the lexemes that full-text search compares. Documents and queries pass the same
//! rules, so neither the parser nor the locale of the database matters.
//!
//! `split` finds words and compounds in a text, `fold` takes away what they do not differ by, `language` has stop words
//! and stemmers. Stop words are not stored, but they have positions.

use std::sync::Arc;

mod detect;
mod find;
mod fold;
mod language;
mod query;
mod split;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use find::{Found, find};
pub(crate) use language::Language;
pub(crate) use query::{count_term, of_pieces, pieces};
pub(crate) use text::TextAnalyzer;

/// The version of these rules; stored with every chunk. Version 0 is Postgres's. A change that makes other lexemes of the
/// same text raises it; the job that makes words again and `WordMaker` then need to know more than 0 and 1.
pub(crate) const VERSION: i16 = 1;
/// Maximum number of words of a query that count.
pub(crate) const MAX_QUERY_WORDS: usize = 256;

/// The language of the texts of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextLanguage {
    One(Language),
    /// Detected for each text.
    Auto,
}

impl TextLanguage {
    /// The language of a text.
    pub(crate) fn of(self, text: &str) -> Language {
        match self {
            Self::One(language) => language,
            Self::Auto => detect::language(text),
        }
    }
}

/// A lexeme of a text: what a tsvector holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lexeme {
    /// At most 2,046 bytes.
    pub text: Arc<str>,
    /// From 1 to 16,383, ascending, at most 256.
    pub positions: Vec<u16>,
}

/// The words of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextWords {
    /// Sorted by bytes, each once. As a tsvector they take at most 1 MB less a margin.
    pub lexemes: Vec<Lexeme>,
    /// Number of words, each time that it occurs, without stop words: the length of the text for BM25.
    pub count: u32,
    /// The language that they are stemmed by.
    pub language: Language,
    /// Something was left out because of the limits of a tsvector.
    pub is_cut: bool,
}

/// What a query means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Text as people write it.
    Plain,
    /// Double quotes make phrases, a single `-` excludes what follows.
    Operators,
}

/// A piece of a query as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub text: String,
    /// In double quotes.
    pub is_phrase: bool,
    /// After `-`.
    pub is_excluded: bool,
}

/// What a text is scanned for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    /// Any of these lexemes, which are forms of one word in the languages of the collection. At least one.
    Word(Vec<String>),
    /// Words that follow each other. At least two.
    Phrase(Vec<Step>),
}

/// A word of a phrase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    /// How many positions after the word before it; 1: next to it. 0 for the first.
    pub distance: u16,
    /// Any of these lexemes.
    pub any: Vec<String>,
}

/// A word or phrase of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub pattern: Pattern,
    /// How often the query has it.
    pub count: u32,
}
