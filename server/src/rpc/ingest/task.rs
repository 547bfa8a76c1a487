//! A document of a request and what becomes of it.

use std::collections::HashMap;

use pgfox::v1;
use sha2::{Digest as _, Sha256};

use super::{
    chunk_ids::{ChunkId, assign},
    vectors::{Input, Vectors},
};
use crate::{
    chunk::Chunk,
    rules::documents::{CheckedDocument, Condition, document_error},
    store::{Content, ContentHash, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoredContent},
};

pub(super) struct Task<'a> {
    pub(super) document: &'a CheckedDocument,
    /// What the database has of it; read anew by each attempt.
    pub(super) stored: Option<StoredContent>,
    /// Whether the condition of the request lets it through.
    pub(super) is_admitted: bool,
    /// The chunks of its text, once it was split.
    pub(super) chunks: Option<Vec<Chunk>>,
    plan: Plan,
    /// The hash to store: that of the content, unless its vectors are to be made anew another time.
    hash: ContentHash,
    /// The same for those of its chunks.
    cut_chunks: HashMap<Input<'a>, ContentHash>,
    /// Whether a text of it is longer than the model reads.
    pub(super) is_truncated: bool,
}

/// What to store.
enum Plan {
    /// Nothing: the condition does not let it through.
    Skip,
    /// The metadata, if that changed.
    Unchanged,
    /// The vector of the caller.
    OwnVector,
    /// The text with a vector of its own.
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
            plan: Plan::Skip,
            hash: document.content_hash,
            cut_chunks: HashMap::new(),
            is_truncated: false,
        }
    }

    /// The version that is stored; 0 when there is none.
    fn version(&self) -> i64 {
        self.stored.as_ref().map_or(0, |stored| stored.version)
    }

    /// Whether the stored version is the one that the request wants, if it wants one.
    pub(super) fn has_version(&self, wanted: &HashMap<String, i64>) -> bool {
        wanted.get(&self.document.id).is_none_or(|wanted| *wanted == self.version())
    }

    pub(super) fn version_mismatch(&self) -> v1::DocumentError {
        let message = match &self.stored {
            None => "if_version says another version than 0: the document does not exist".into(),
            Some(stored) => format!("if_version says another version than {}, which is stored", stored.version),
        };
        document_error(self.document.index, &self.document.id, v1::ErrorReason::VersionMismatch, message)
    }

    fn is_unchanged(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.content_hash == self.document.content_hash)
    }

    /// Whether its text has to be split before it can be planned, in a collection with chunking.
    pub(super) fn needs_split(&self) -> bool {
        self.is_admitted && self.chunks.is_none() && self.document.needs_embedding() && !self.is_unchanged()
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
            _ if self.document.needs_embedding() => Plan::Whole,
            _ => Plan::NoVector,
        }
    }

    /// Why the provider does not take a text of it.
    pub(super) fn refusal<'v>(&self, vectors: &'v Vectors<'_>) -> Option<&'v str> {
        self.texts_to_embed().into_iter().find_map(|text| vectors.refusal(&text))
    }

    /// Stores nothing of it.
    pub(super) fn skip(&mut self) {
        self.plan = Plan::Skip;
    }

    /// Takes in what became of its texts. One that was cut to a limit that the provider stated is stored with another hash
    /// than that of its content, so that it is embedded again next time. Nothing is written if that gives the same again.
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

    /// The document as the store writes it, with the vectors of its texts. `None` when nothing of it is written.
    pub(super) fn to_write<'n>(&'n self, vectors: &'n Vectors<'a>, condition: &Condition) -> Option<NewDocument<'n>> {
        let CheckedDocument { id, text, metadata, vector, .. } = self.document;
        let content_hash = &self.hash;
        let content = match &self.plan {
            Plan::Skip => return None,
            Plan::Unchanged => Content::Unchanged,
            Plan::OwnVector => Content::Whole(vector.as_deref()),
            Plan::Whole => Content::Whole(vectors.get(&Input::from(text.as_str()))),
            Plan::NoVector => Content::Whole(None),
            Plan::Chunks(_) => {
                let chunk = |(id, chunk): (&ChunkId, &'n Chunk)| {
                    let passage = self.passage(chunk);
                    NewChunk {
                        id: id.id,
                        characters: chunk.characters.clone(),
                        text: passage.text,
                        hash: self.cut_chunks.get(&passage).unwrap_or(&chunk.hash),
                        vector: if id.is_stored { None } else { vectors.get(&passage) },
                    }
                };
                Content::Chunks(self.planned_chunks().map(chunk).collect())
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

    /// Whether it is stored without a vector though it changed.
    pub(super) fn is_unembedded(&self) -> bool {
        matches!(self.plan, Plan::NoVector)
    }

    /// Whether full-text search finds only the beginning of the text or of a chunk of it.
    pub(super) fn is_full_text_cut(&self) -> bool {
        match &self.plan {
            Plan::Skip | Plan::Unchanged => false,
            Plan::OwnVector | Plan::Whole | Plan::NoVector => self.document.text.len() > MAX_FULL_TEXT_BYTES,
            Plan::Chunks(_) => self.planned_chunks().any(|(_, chunk)| chunk.bytes.len() > MAX_FULL_TEXT_BYTES),
        }
    }
}

/// A hash for content of which the model read only so many bytes of a text.
fn cut_hash(hash: &ContentHash, read: &Input<'_>, bytes: usize) -> ContentHash {
    let mut hasher = Sha256::new();
    hasher.update(hash);
    hasher.update((bytes as u64).to_le_bytes());
    hasher.update(read.headings.as_deref().unwrap_or_default().as_bytes());
    hasher.update(read.text.as_bytes());
    hasher.finalize().into()
}
