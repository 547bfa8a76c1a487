//! The types of the store: collections, documents and indexes as they are in the database.

use std::time::SystemTime;

use super::{
    follow::Follow,
    sources::{Source, SourceIndex},
};
use crate::{
    embed::Model,
    words::{Language, TextLanguage},
};

/// The distance between two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    L2,
    Cosine,
    InnerProduct,
    L1,
}

impl Distance {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::L2, Self::Cosine, Self::InnerProduct, Self::L1].into_iter().find(|distance| distance.name() == name)
    }

    /// The name in the registry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner_product",
            Self::L1 => "l1",
        }
    }

    pub(super) fn operator(self) -> &'static str {
        match self {
            Self::L2 => "<->",
            Self::Cosine => "<=>",
            Self::InnerProduct => "<#>",
            Self::L1 => "<+>",
        }
    }

    /// The middle of the name of its operator classes, as in `vector_ip_ops`.
    pub(super) fn operator_class(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::InnerProduct => "ip",
            Self::L1 => "l1",
        }
    }

    /// The score for a distance; larger is nearer. The definition is in the proto, at `SearchResult.score`.
    pub(crate) fn score(self, distance: f64) -> f64 {
        match self {
            Self::Cosine => 1.0 - distance,
            Self::InnerProduct => -distance,
            Self::L2 | Self::L1 => 1.0 / (1.0 + distance),
        }
    }
}

/// How the elements of vectors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorType {
    Vector,
    HalfVec,
}

impl VectorType {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Vector, Self::HalfVec].into_iter().find(|vector_type| vector_type.name() == name)
    }

    /// The name of the type in pgvector.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::HalfVec => "halfvec",
        }
    }

    /// Bytes per element.
    pub(super) fn element_size(self) -> usize {
        match self {
            Self::Vector => 4,
            Self::HalfVec => 2,
        }
    }

    /// Maximum number of dimensions that HNSW and IVFFlat can index. At least two elements must fit on a page of 8 kB.
    pub(crate) fn max_indexed_dimensions(self) -> usize {
        match self {
            Self::Vector => 2_000,
            Self::HalfVec => 4_000,
        }
    }
}

/// How to split a long text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkMethod {
    /// Between paragraphs, else between sentences or words.
    Text,
    /// Between the parts of Markdown first.
    Markdown,
}

/// The unit of the size of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkUnit {
    Characters,
    Tokens,
}

/// How a long text becomes chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunking {
    pub method: ChunkMethod,
    pub unit: ChunkUnit,
    /// Maximum number of characters or tokens of a chunk.
    pub max_size: usize,
    /// Maximum number of characters or tokens that a chunk repeats of the previous one.
    pub overlap: usize,
    /// Whether the headings above a chunk are embedded with it.
    pub embed_headings: bool,
}

impl Chunking {
    /// Maximum number of characters or tokens of the headings of a chunk.
    pub(crate) fn headings_size(&self) -> usize {
        if self.embed_headings { self.max_size / 4 } else { 0 }
    }

    /// Maximum number of characters or tokens of the text of a chunk.
    pub(crate) fn text_size(&self) -> usize {
        self.max_size - self.headings_size()
    }

    /// The name in the registry.
    pub(crate) fn method_name(chunking: Option<Self>) -> &'static str {
        match chunking.map(|chunking| chunking.method) {
            None => "none",
            Some(ChunkMethod::Text) => "text",
            Some(ChunkMethod::Markdown) => "markdown",
        }
    }
}

impl ChunkUnit {
    /// The name in the registry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Tokens => "tokens",
        }
    }
}

/// The filters that an index over metadata serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MetadataIndexType {
    /// Equality and containment of all fields.
    Gin,
    /// Comparisons of one field.
    Number,
    String,
    Time,
    /// Equality of the booleans of one field.
    Boolean,
    /// The strings in the list of one field.
    StringList,
}

impl MetadataIndexType {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Gin, Self::Number, Self::String, Self::Time, Self::Boolean, Self::StringList]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The version of the expression of new indexes, as stored in the registry.
    pub(super) fn version(self) -> i32 {
        match self {
            Self::Gin | Self::Number | Self::String | Self::Boolean | Self::StringList => 1,
            Self::Time => 2,
        }
    }

    /// The name in the registry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gin => "gin",
            Self::Number => "number",
            Self::String => "string",
            Self::Time => "time",
            Self::Boolean => "boolean",
            Self::StringList => "string_list",
        }
    }
}

/// An index over metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataIndex {
    pub kind: MetadataIndexType,
    /// The keys that lead to the field. Empty for [`MetadataIndexType::Gin`].
    pub path: Vec<String>,
}

/// How full-text search splits and ranks texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FullText {
    /// A language, "auto", or the name of a text search configuration.
    pub language: String,
    /// How much repetitions of a word count.
    pub k1: f64,
    /// How much the length of a text counts.
    pub b: f64,
}

impl FullText {
    /// The language of a collection that names none.
    pub(crate) const DEFAULT_LANGUAGE: &'static str = "english";
    /// The server detects the language of each text.
    pub(crate) const AUTO: &'static str = "auto";
    pub(crate) const DEFAULT_K1: f64 = 1.2;
    pub(crate) const DEFAULT_B: f64 = 0.75;

    /// The language by which pgfox makes words. `None` if pgfox does not know it and Postgres makes them.
    pub(crate) fn text_language(&self) -> Option<TextLanguage> {
        if self.language == Self::AUTO {
            return Some(TextLanguage::Auto);
        }
        Language::from_name(&self.language).map(TextLanguage::One)
    }
}

/// The maker of the words of a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WordMaker {
    /// This version of pgfox.
    Own(TextLanguage),
    /// This version of pgfox made the share `progress`, Postgres the rest.
    Both { language: TextLanguage, progress: f32 },
    /// Postgres, by a text search configuration that pgfox does not know.
    Postgres,
}

impl WordMaker {
    /// The language by which pgfox makes the words of new texts. `None` if Postgres makes them.
    pub(crate) fn language(self) -> Option<TextLanguage> {
        match self {
            Self::Own(language) | Self::Both { language, .. } => Some(language),
            Self::Postgres => None,
        }
    }

    /// The share of the texts whose words are made like those of new texts, 0 to 1.
    pub(crate) fn progress(self) -> f32 {
        match self {
            Self::Own(_) | Self::Postgres => 1.0,
            Self::Both { progress, .. } => progress,
        }
    }
}

/// The definition of a new collection.
#[derive(Clone, Debug)]
pub(crate) struct NewCollection {
    pub name: String,
    /// The model. `None` if callers send vectors.
    pub model: Option<Model>,
    pub dimensions: usize,
    pub distance: Distance,
    pub vector_type: VectorType,
    pub query_prefix: String,
    pub document_prefix: String,
    /// `None`: a document has one vector.
    pub chunking: Option<Chunking>,
    pub full_text: FullText,
    pub metadata_indexes: Vec<MetadataIndex>,
    pub aliases: Vec<String>,
    /// The table that holds the documents, if it belongs to the user.
    pub source: Option<Source>,
    /// The table whose rows the documents are copies of.
    pub follow: Option<Follow>,
}

/// A collection in the registry. It is shared and cached. `revision` shows whether it is still current.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub id: i64,
    pub space_id: i64,
    pub revision: i64,
    pub created_at: SystemTime,
    /// The index that searches use.
    pub index: Option<IndexKind>,
    /// The maker of its words.
    pub words: WordMaker,
    /// The languages by which its words are stemmed. More than one only with [`TextLanguage::Auto`].
    pub languages: Vec<Language>,
    /// Fields with an index that reads times as older versions did, until it is replaced.
    pub outdated_times: Vec<Vec<String>>,
    /// The ordinary indexes on the table of its source.
    pub source_indexes: Vec<SourceIndex>,
    /// How far the codes of its vectors were made when it was read.
    pub codes: Option<CodesProgress>,
    pub definition: NewCollection,
}

/// Codes of the vectors of a collection, and how far they are made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CodesProgress {
    pub fields: Vec<MetadataIndex>,
    /// 0 to 1. At 1 searches use them.
    pub progress: f64,
}

/// A collection with the values that are not cached.
#[derive(Clone, Debug)]
pub(crate) struct CollectionInfo {
    pub collection: Collection,
    /// Exact up to about 100,000; above that the estimate of Postgres.
    pub document_count: i64,
}

/// A vector index with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexKind {
    Hnsw { m: i32, ef_construction: i32 },
    IvfFlat { lists: i32 },
}

impl IndexKind {
    /// The name of its access method.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Hnsw { .. } => "hnsw",
            Self::IvfFlat { .. } => "ivfflat",
        }
    }
}

/// A vector index in the database.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub id: i64,
    pub name: String,
    pub kind: IndexKind,
    pub ready: bool,
    /// Made by SQL on the table of a source.
    pub made_by_sql: bool,
    pub size_bytes: i64,
    pub scan_count: i64,
    pub created_at: SystemTime,
}

/// A stored document.
#[derive(Clone, Debug)]
pub(crate) struct StoredDocument {
    pub id: String,
    pub text: String,
    /// A JSON object.
    pub metadata: String,
    /// Present if it was requested and exists.
    pub vector: Option<Vec<f32>>,
    /// `None` if a search found the document.
    pub version: Option<DocumentVersion>,
}

/// The history of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentVersion {
    /// 1 when the document is first stored. Each change adds one.
    pub number: i64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}
