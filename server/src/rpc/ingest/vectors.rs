//! The vectors of the texts of a request, each text embedded once.

use std::collections::HashMap;

use crate::{app::App, embed::Embeddings, error::Error, rpc::embedding::check_embedding, store::Collection};

/// Texts that are embedded at a time: what that takes beside their vectors is bounded, however many a request makes.
const PIECE: usize = 4_096;

pub(super) struct Vectors<'a> {
    app: &'a App,
    collection: &'a Collection,
    /// Where the vector of a text is in `embeddings`.
    positions: HashMap<&'a str, usize>,
    embeddings: Embeddings,
}

impl<'a> Vectors<'a> {
    pub(super) fn new(app: &'a App, collection: &'a Collection) -> Self {
        Self { app, collection, positions: HashMap::new(), embeddings: Embeddings::default() }
    }

    /// Embeds those of the texts that were not yet, in their order. No connection to the database is held meanwhile.
    pub(super) async fn embed(&mut self, mut texts: Vec<&'a str>) -> Result<(), Error> {
        let definition = &self.collection.definition;
        let Some(model) = &definition.model else {
            return Ok(());
        };
        let positions = &mut self.positions;
        texts.retain(|text| {
            let next = positions.len();
            *positions.entry(text).or_insert(next) == next
        });
        if texts.is_empty() {
            return Ok(());
        }
        let prefix = &definition.document_prefix;
        for texts in texts.chunks(PIECE) {
            let embedded = if prefix.is_empty() {
                self.app.embedders.embed(model, texts).await?
            } else {
                let prefixed: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
                let prefixed: Vec<&str> = prefixed.iter().map(String::as_str).collect();
                self.app.embedders.embed(model, &prefixed).await?
            };
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

    /// The vector of a text that was embedded.
    pub(super) fn get(&self, text: &str) -> Option<&[f32]> {
        let dimensions = self.collection.definition.dimensions;
        self.embeddings.values.get(self.positions.get(text)? * dimensions..)?.get(..dimensions)
    }

    /// Whether a text was longer than the model reads.
    pub(super) fn is_truncated(&self, text: &str) -> bool {
        self.positions.get(text).is_some_and(|position| self.embeddings.truncated.get(*position) == Some(&true))
    }

    /// To how many bytes a text was cut because the provider said that it reads no more.
    pub(super) fn cut(&self, text: &str) -> Option<usize> {
        self.find(&self.embeddings.cut, text).copied()
    }

    /// Why the provider does not take a text.
    pub(super) fn refusal(&self, text: &str) -> Option<&str> {
        self.find(&self.embeddings.refused, text).map(String::as_str)
    }

    /// What is said of a text in a list that is sorted by position.
    fn find<'l, T>(&self, list: &'l [(usize, T)], text: &str) -> Option<&'l T> {
        // Most often there is nothing to look for.
        let position = if list.is_empty() { None } else { self.positions.get(text) }?;
        let found = list.binary_search_by_key(position, |(position, _)| *position).ok()?;
        Some(&list[found].1)
    }

    /// How many texts were embedded.
    pub(super) fn count(&self) -> usize {
        self.positions.len() - self.embeddings.refused.len()
    }

    /// How many tokens the model read.
    pub(super) fn tokens(&self) -> u64 {
        self.embeddings.tokens
    }
}
