//! The vectors of the texts of a request. Each different text is embedded once.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use crate::{
    app::App, chunk::AFTER_HEADINGS, embed::Embeddings, error::Error, rpc::embedding::check_embedding,
    store::Collection,
};

/// The number of texts that are embedded at a time. It limits the memory beside the vectors, however many texts a
/// request has.
const PIECE: usize = 4_096;

/// A text as the model reads it, without the prefix of the collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Input<'a> {
    /// The headings above the text.
    pub(super) headings: Option<Arc<str>>,
    pub(super) text: &'a str,
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(text: &'a str) -> Self {
        Self { headings: None, text }
    }
}

impl<'a> Input<'a> {
    fn write(&self, prefix: &str) -> Cow<'a, str> {
        let Self { headings, text } = self;
        match headings {
            Some(headings) => Cow::Owned(format!("{prefix}{headings}{AFTER_HEADINGS}{text}")),
            None if prefix.is_empty() => Cow::Borrowed(text),
            None => Cow::Owned(format!("{prefix}{text}")),
        }
    }
}

pub(super) struct Vectors<'a> {
    app: &'a App,
    collection: &'a Collection,
    /// The position of each text's vector in `embeddings`.
    positions: HashMap<Input<'a>, usize>,
    embeddings: Embeddings,
}

impl<'a> Vectors<'a> {
    pub(super) fn new(app: &'a App, collection: &'a Collection) -> Self {
        Self { app, collection, positions: HashMap::new(), embeddings: Embeddings::default() }
    }

    /// Embeds the texts that are not embedded yet, in their order. Holds no database connection meanwhile.
    pub(super) async fn embed(&mut self, mut texts: Vec<Input<'a>>) -> Result<(), Error> {
        let definition = &self.collection.definition;
        let Some(model) = &definition.model else {
            return Ok(());
        };
        let positions = &mut self.positions;
        texts.retain(|text| {
            let next = positions.len();
            *positions.entry(text.clone()).or_insert(next) == next
        });
        if texts.is_empty() {
            return Ok(());
        }
        let prefix = &definition.document_prefix;
        for texts in texts.chunks(PIECE) {
            let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| text.write(prefix)).collect();
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            let embedded = self.app.embedders.embed(model, &texts).await?;
            let mut refused = embedded.refused.iter().map(|(position, _)| *position).peekable();
            for (position, vector) in embedded.values.chunks_exact(definition.dimensions).enumerate() {
                if refused.next_if_eq(&position).is_none() {
                    check_embedding(self.collection, vector)?;
                }
            }
            self.embeddings.append(embedded);
        }
        Ok(())
    }

    /// The vector of an embedded text.
    pub(super) fn get(&self, text: &Input<'_>) -> Option<&[f32]> {
        let dimensions = self.collection.definition.dimensions;
        self.embeddings.values.get(self.positions.get(text)? * dimensions..)?.get(..dimensions)
    }

    /// Whether a text was longer than the model reads.
    pub(super) fn is_truncated(&self, text: &Input<'_>) -> bool {
        self.positions.get(text).is_some_and(|position| self.embeddings.truncated.get(*position) == Some(&true))
    }

    /// The number of bytes to which a text was cut because the provider said that it reads no more.
    pub(super) fn cut(&self, text: &Input<'_>) -> Option<usize> {
        self.find(&self.embeddings.cut, text).copied()
    }

    /// Why the provider refuses a text.
    pub(super) fn refusal(&self, text: &Input<'_>) -> Option<&str> {
        self.find(&self.embeddings.refused, text).map(String::as_str)
    }

    /// The entry of a text in a list that is sorted by position.
    fn find<'l, T>(&self, list: &'l [(usize, T)], text: &Input<'_>) -> Option<&'l T> {
        // Usually the list is empty.
        let position = if list.is_empty() { None } else { self.positions.get(text) }?;
        let found = list.binary_search_by_key(position, |(position, _)| *position).ok()?;
        Some(&list[found].1)
    }

    /// The number of embedded texts.
    pub(super) fn count(&self) -> usize {
        self.positions.len() - self.embeddings.refused.len()
    }

    /// The number of tokens that the model read.
    pub(super) fn tokens(&self) -> u64 {
        self.embeddings.tokens
    }
}
