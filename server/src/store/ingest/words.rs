//! The words of texts as the database stores them: made by pgfox, or by Postgres where only it knows the language.

use super::MAX_FULL_TEXT_BYTES;
use crate::{
    store::{Collection, StoreError, connection::Value, wire::TsVector},
    words::{self, Language, TextAnalyzer, TextWords},
};

/// The words of a text, as they are stored.
#[derive(Clone, Debug)]
pub(crate) struct ChunkWords {
    tsvector: TsVector,
    count: i32,
    /// What they are stemmed by.
    language: Language,
    /// Something was left out because of the limits of a tsvector.
    pub is_cut: bool,
}

impl ChunkWords {
    /// Makes the words of a text. Takes about a millisecond for each 100,000 bytes.
    pub(crate) fn of_text(text: &str, language: Language, analyzer: &mut TextAnalyzer) -> Self {
        let TextWords { lexemes, count, language, is_cut } = analyzer.words(text, language);
        Self { tsvector: TsVector::new(&lexemes), count: i32::try_from(count).unwrap_or(i32::MAX), language, is_cut }
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.tsvector.size()
    }

    pub(in crate::store) fn language(&self) -> Language {
        self.language
    }

    /// The columns `words` and `word_count`.
    pub(in crate::store) fn columns(&self) -> (&TsVector, i32) {
        (&self.tsvector, self.count)
    }
}

/// Where the columns of words come from in a statement that writes the rows `n`.
pub(super) struct WordColumns {
    /// The type of `n.words`.
    pub(super) parameter: &'static str,
    /// What is stored of it.
    pub(super) source: String,
    pub(super) version: i16,
}

impl WordColumns {
    pub(super) fn new(collection: &Collection) -> Self {
        if collection.words.language().is_some() {
            return Self { parameter: "tsvector", source: "n.words".into(), version: words::VERSION };
        }
        // Checked when the collection was created: letters, digits and underscores.
        let language = &collection.definition.full_text.language;
        let source = format!("to_tsvector('{language}'::regconfig, left(n.text, n.words))");
        Self { parameter: "int", source, version: 0 }
    }
}

/// The words of texts for a statement with [`WordColumns`]: words of pgfox, or how many characters of each text Postgres
/// makes words of.
pub(super) enum WordValues<'a> {
    Own(Vec<Option<&'a TsVector>>),
    Postgres(Vec<i32>),
}

impl<'a> WordValues<'a> {
    pub(super) fn new(collection: &Collection) -> Self {
        if collection.words.language().is_some() { Self::Own(Vec::new()) } else { Self::Postgres(Vec::new()) }
    }

    /// Adds those of a text; returns their number.
    pub(super) fn push(&mut self, text: &str, words: Option<&'a ChunkWords>) -> Result<i32, StoreError> {
        match self {
            Self::Own(values) => {
                let words = words.ok_or_else(|| StoreError::Internal("a text came without its words".into()))?;
                values.push(Some(&words.tsvector));
                Ok(words.count)
            }
            Self::Postgres(values) => {
                // Characters of at most 200,000 bytes.
                values.push(text[..text.floor_char_boundary(MAX_FULL_TEXT_BYTES)].chars().count() as i32);
                Ok(0)
            }
        }
    }

    /// Adds nothing, for a row without words.
    pub(super) fn skip(&mut self) {
        match self {
            Self::Own(values) => values.push(None),
            Self::Postgres(values) => values.push(0),
        }
    }

    pub(super) fn value(&self) -> &dyn Value {
        match self {
            Self::Own(values) => values,
            Self::Postgres(values) => values,
        }
    }
}
