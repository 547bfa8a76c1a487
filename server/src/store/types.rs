//! What the store speaks of: collections, documents and indexes as they are in the database.

use std::time::SystemTime;

use crate::embed::Model;

/// How near two vectors are.
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

    /// As stored in the registry.
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

    /// Larger is nearer; the definition is in the proto, at `SearchResult.score`.
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

    /// Most dimensions that HNSW and IVFFlat can index: two elements and more must fit on a page of 8 kB.
    pub(crate) fn max_indexed_dimensions(self) -> usize {
        match self {
            Self::Vector => 2_000,
            Self::HalfVec => 4_000,
        }
    }
}

/// Where a long text is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkMethod {
    /// Between paragraphs, sentences, words.
    Text,
    /// Between the parts of Markdown first.
    Markdown,
}

/// What the size of a chunk is counted in.
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
    /// Most characters or tokens of a chunk.
    pub max_size: usize,
    /// Most of them that a chunk repeats of the one before.
    pub overlap: usize,
    /// Whether the headings above a chunk are embedded with it.
    pub embed_headings: bool,
}

impl Chunking {
    /// Most characters or tokens of the headings of a chunk.
    pub(crate) fn headings_size(&self) -> usize {
        if self.embed_headings { self.max_size / 4 } else { 0 }
    }

    /// Most characters or tokens of the text of a chunk.
    pub(crate) fn text_size(&self) -> usize {
        self.max_size - self.headings_size()
    }

    /// As stored in the registry.
    pub(crate) fn method_name(chunking: Option<Self>) -> &'static str {
        match chunking.map(|chunking| chunking.method) {
            None => "none",
            Some(ChunkMethod::Text) => "text",
            Some(ChunkMethod::Markdown) => "markdown",
        }
    }
}

impl ChunkUnit {
    /// As stored in the registry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Tokens => "tokens",
        }
    }
}

/// What an index over metadata serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataIndexType {
    /// Equality and containment of all fields.
    Gin,
    /// Comparisons of one field.
    Number,
    String,
    Time,
}

impl MetadataIndexType {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Gin, Self::Number, Self::String, Self::Time].into_iter().find(|kind| kind.name() == name)
    }

    /// Which of its expressions new indexes are of, as stored in the registry.
    pub(super) fn version(self) -> i32 {
        match self {
            Self::Gin | Self::Number | Self::String => 1,
            Self::Time => 2,
        }
    }

    /// As stored in the registry.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gin => "gin",
            Self::Number => "number",
            Self::String => "string",
            Self::Time => "time",
        }
    }
}

/// An index over metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataIndex {
    pub kind: MetadataIndexType,
    /// The keys that lead to the field; none for [`MetadataIndexType::Gin`].
    pub path: Vec<String>,
}

/// What a new collection shall be.
#[derive(Clone, Debug)]
pub(crate) struct NewCollection {
    pub name: String,
    /// The model; `None` when callers send vectors.
    pub model: Option<Model>,
    pub dimensions: usize,
    pub distance: Distance,
    pub vector_type: VectorType,
    pub query_prefix: String,
    pub document_prefix: String,
    /// `None`: a document has one vector.
    pub chunking: Option<Chunking>,
    /// A text search configuration.
    pub text_search_language: String,
    pub metadata_indexes: Vec<MetadataIndex>,
    pub aliases: Vec<String>,
}

/// A collection as the registry has it. Shared and cached; `revision` tells whether it is still true.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub id: i64,
    pub space_id: i64,
    pub revision: i64,
    pub created_at: SystemTime,
    /// The index that serves searches.
    pub index: Option<IndexKind>,
    /// Fields whose index reads times as older versions did, until it is replaced.
    pub outdated_times: Vec<Vec<String>>,
    pub definition: NewCollection,
}

/// A collection with what is not cached.
#[derive(Clone, Debug)]
pub(crate) struct CollectionInfo {
    pub collection: Collection,
    /// Exact up to about 100,000, above that the estimate of Postgres.
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
    pub size_bytes: i64,
    pub scan_count: i64,
    pub created_at: SystemTime,
}

/// A document as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredDocument {
    pub id: String,
    pub text: String,
    /// A JSON object.
    pub metadata: String,
    /// Asked for and there.
    pub vector: Option<Vec<f32>>,
    /// Unless a search found it.
    pub version: Option<DocumentVersion>,
}

/// What a document has been through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DocumentVersion {
    /// 1 when it was first stored, one more with every change.
    pub number: i64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
}
