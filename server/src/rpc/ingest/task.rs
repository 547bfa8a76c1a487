//! A document of a request, and what happens to it.

use std::{collections::HashMap, ops::Range};

use pgfox::v1;
use sha2::{Digest as _, Sha256};

use super::{
    chunk_ids::{ChunkId, assign},
    vectors::{Input, Vectors},
};
use crate::{
    chunk::Chunk,
    rules::documents::{CheckedDocument, Condition, document_error},
    store::{ChunkWords, Content, ContentHash, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoredContent},
};

pub(super) struct Task<'a> {
    pub(super) document: &'a CheckedDocument,
    /// The stored state of the document. Each attempt reads it again.
    pub(super) stored: Option<StoredContent>,
    /// Whether it meets the condition of the request.
    pub(super) is_admitted: bool,
    /// The chunks of its text, once the text has been split.
    pub(super) chunks: Option<Vec<Chunk>>,
    /// The words of its chunks, by position, or of its whole text. Without those that are stored already.
    words: HashMap<usize, ChunkWords>,
    plan: Plan,
    /// The hash to store: the hash of the content, unless the document must be embedded again next time.
    hash: ContentHash,
    /// The same for chunks whose text was cut.
    cut_chunks: HashMap<Input<'a>, ContentHash>,
    /// Whether one of its texts is longer than the model reads.
    pub(super) is_truncated: bool,
}

/// The part to store.
enum Plan {
    /// Nothing, because it fails the condition.
    Skip,
    /// Only the metadata, if that changed.
    Unchanged,
    /// The caller's vector.
    OwnVector,
    /// The text with a single vector.
    Whole,
    /// The text without a vector.
    NoVector,
    /// A vector for each chunk of the text.
    Chunks(Vec<ChunkId>),
}

impl<'a> Task<'a> {
    pub(super) fn new(document: &'a CheckedDocument) -> Self {
        Self {
            document,
            stored: None,
            is_admitted: true,
            chunks: None,
            words: HashMap::new(),
            plan: Plan::Skip,
            hash: document.content_hash,
            cut_chunks: HashMap::new(),
            is_truncated: false,
        }
    }

    /// The stored version; 0 if there is none.
    fn version(&self) -> i64 {
        self.stored.as_ref().map_or(0, |stored| stored.version)
    }

    /// Whether the stored version is the one that the request requires. True if it requires none.
    pub(super) fn has_version(&self, wanted: &HashMap<String, i64>) -> bool {
        wanted.get(&self.document.id).is_none_or(|wanted| *wanted == self.version())
    }

    pub(super) fn version_mismatch(&self) -> v1::DocumentError {
        let message = match &self.stored {
            None => "if_version must be 0, because the document does not exist".into(),
            Some(stored) => format!("if_version differs from the stored version, {}", stored.version),
        };
        document_error(self.document.index, &self.document.id, v1::ErrorReason::VersionMismatch, message)
    }

    fn is_unchanged(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.content_hash == self.document.content_hash)
    }

    /// Whether its text must be split before it can be planned, in a collection with chunking.
    pub(super) fn needs_split(&self) -> bool {
        self.is_admitted && self.chunks.is_none() && self.document.needs_embedding && !self.is_unchanged()
    }

    /// Decides what to store. Stored chunks with the same text keep their vectors if `keep_chunks`.
    pub(super) fn plan(&mut self, keep_chunks: bool) {
        self.plan = match &self.chunks {
            _ if !self.is_admitted => Plan::Skip,
            _ if self.is_unchanged() => Plan::Unchanged,
            _ if self.document.vector.is_some() => Plan::OwnVector,
            Some(chunks) if !chunks.is_empty() => {
                let stored = self.stored.as_ref().filter(|_| keep_chunks);
                Plan::Chunks(assign(chunks, stored.map_or(&[], |stored| &stored.chunks)))
            }
            _ if self.document.needs_embedding => Plan::Whole,
            _ => Plan::NoVector,
        }
    }

    /// Why the provider refuses one of its texts.
    pub(super) fn refusal<'v>(&self, vectors: &'v Vectors<'_>) -> Option<&'v str> {
        self.texts_to_embed().into_iter().find_map(|text| vectors.refusal(&text))
    }

    /// Skips the document: nothing of it is stored.
    pub(super) fn skip(&mut self) {
        self.plan = Plan::Skip;
    }

    /// Records the results for its texts. A text that was cut to a limit of the provider is stored with a different
    /// hash, so that it is embedded again next time. If that gives the same vector, nothing is written.
    pub(super) fn settle(&mut self, vectors: &Vectors<'_>) {
        let texts = self.texts_to_embed();
        self.is_truncated = texts.iter().any(|text| vectors.is_truncated(text));
        self.hash = self.document.content_hash;
        self.cut_chunks.clear();
        for text in texts {
            if let Some(bytes) = vectors.cut(&text) {
                self.hash = cut_hash(&self.hash, &text, bytes);
                let hash = cut_hash(&ContentHash::default(), &text, bytes);
                self.cut_chunks.insert(text, hash);
            }
        }
        let is_cut = self.hash != self.document.content_hash;
        if is_cut && self.stored.as_ref().is_some_and(|stored| stored.content_hash == self.hash) {
            self.plan = Plan::Unchanged;
        }
    }

    /// The chunks with their ids, if it is stored in chunks.
    fn planned_chunks(&self) -> impl Iterator<Item = (&ChunkId, &Chunk)> {
        let ids = if let Plan::Chunks(ids) = &self.plan { &ids[..] } else { &[] };
        ids.iter().zip(self.chunks.iter().flatten())
    }

    fn passage(&self, chunk: &Chunk) -> Input<'a> {
        Input { headings: chunk.headings.clone(), text: &self.document.text[chunk.bytes.clone()] }
    }

    /// The texts whose vectors it needs.
    pub(super) fn texts_to_embed(&self) -> Vec<Input<'a>> {
        match &self.plan {
            Plan::Skip | Plan::Unchanged | Plan::OwnVector | Plan::NoVector => Vec::new(),
            Plan::Whole => vec![Input::from(self.document.text.as_str())],
            Plan::Chunks(_) => {
                self.planned_chunks().filter(|(id, _)| !id.is_stored).map(|(_, chunk)| self.passage(chunk)).collect()
            }
        }
    }

    /// The texts that are written but have no words yet: the range of each, with its position among the chunks.
    pub(super) fn texts_without_words(&self) -> Vec<(usize, Range<usize>)> {
        let mut texts = Vec::new();
        match &self.plan {
            Plan::Skip | Plan::Unchanged => {}
            Plan::OwnVector | Plan::Whole | Plan::NoVector if self.document.text.is_empty() => {}
            Plan::OwnVector | Plan::Whole | Plan::NoVector => texts.push((0, 0..self.document.text.len())),
            Plan::Chunks(_) => {
                let new = self.planned_chunks().enumerate().filter(|(_, (id, _))| !id.is_stored);
                texts.extend(new.map(|(position, (_, chunk))| (position, chunk.bytes.clone())));
            }
        }
        texts.retain(|(position, _)| !self.words.contains_key(position));
        texts
    }

    /// Adds words of its texts.
    pub(super) fn add_words(&mut self, words: Vec<(usize, ChunkWords)>) {
        self.words.extend(words);
    }

    /// The document as the store writes it, with the vectors of its texts. `None` if nothing is written.
    pub(super) fn to_write<'n>(&'n self, vectors: &'n Vectors<'a>, condition: &Condition) -> Option<NewDocument<'n>> {
        let CheckedDocument { id, text, metadata, vector, .. } = self.document;
        let content_hash = &self.hash;
        let whole = |vector| Content::Whole { vector, words: self.words.get(&0) };
        let content = match &self.plan {
            Plan::Skip => return None,
            Plan::Unchanged => Content::Unchanged,
            Plan::OwnVector => whole(vector.as_deref()),
            Plan::Whole => whole(vectors.get(&Input::from(text.as_str()))),
            Plan::NoVector => whole(None),
            Plan::Chunks(_) => {
                let chunk = |(position, (id, chunk)): (usize, (&ChunkId, &'n Chunk))| {
                    let passage = self.passage(chunk);
                    NewChunk {
                        id: id.id,
                        characters: chunk.characters.clone(),
                        text: passage.text,
                        hash: self.cut_chunks.get(&passage).unwrap_or(&chunk.hash),
                        vector: if id.is_stored { None } else { vectors.get(&passage) },
                        words: self.words.get(&position),
                    }
                };
                Content::Chunks(self.planned_chunks().enumerate().map(chunk).collect())
            }
        };
        let wanted = match condition {
            Condition::IfVersion(versions) => versions.get(id).copied(),
            Condition::Always | Condition::OnlyIfAbsent => None,
        };
        // Chunks that are kept must still be those that were read.
        let keeps_chunks = self.planned_chunks().any(|(id, _)| id.is_stored);
        let version = wanted.or_else(|| keeps_chunks.then(|| self.version()));
        Some(NewDocument { id, text, metadata, content_hash, version, content })
    }

    /// Whether it changed but is stored without a vector.
    pub(super) fn is_unembedded(&self) -> bool {
        matches!(self.plan, Plan::NoVector)
    }

    /// Whether full-text search does not find every word of a text that is written. `by_postgres`: Postgres makes the words.
    pub(super) fn is_full_text_cut(&self, by_postgres: bool) -> bool {
        let is_cut = |position: usize, bytes: usize| {
            if by_postgres {
                bytes > MAX_FULL_TEXT_BYTES
            } else {
                self.words.get(&position).is_some_and(|words| words.is_cut)
            }
        };
        match &self.plan {
            Plan::Skip | Plan::Unchanged => false,
            Plan::OwnVector | Plan::Whole | Plan::NoVector => is_cut(0, self.document.text.len()),
            Plan::Chunks(_) => self
                .planned_chunks()
                .enumerate()
                .any(|(position, (id, chunk))| !id.is_stored && is_cut(position, chunk.bytes.len())),
        }
    }
}

/// The hash of content of which the model read only `bytes` bytes of a text.
fn cut_hash(hash: &ContentHash, read: &Input<'_>, bytes: usize) -> ContentHash {
    let mut hasher = Sha256::new();
    hasher.update(hash);
    hasher.update((bytes as u64).to_le_bytes());
    hasher.update(read.headings.as_deref().unwrap_or_default().as_bytes());
    hasher.update(read.text.as_bytes());
    hasher.finalize().into()
}
