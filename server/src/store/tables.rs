//! The names of the tables and indexes of a collection.

/// The qualified names of the tables of a collection and of the extension's schema.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) documents: String,
    /// Unqualified, the stem of the names of metadata indexes.
    documents_stem: String,
    pub(super) chunks: String,
    pub(super) embeddings: String,
    /// Unqualified, the stem of index names.
    pub(super) embeddings_stem: String,
    pub(super) internal: String,
    pub(super) extension: String,
}

impl Tables {
    /// The qualified name of the documents table of a collection.
    pub(super) fn documents(internal: &str, collection_id: i64) -> String {
        format!("{internal}.documents_{collection_id}")
    }

    pub(super) fn new(internal: &str, extension: &str, collection_id: i64, space_id: i64) -> Self {
        let embeddings_stem = format!("embeddings_{collection_id}_{space_id}");
        let documents_stem = format!("documents_{collection_id}");
        Self {
            documents: Self::documents(internal, collection_id),
            documents_stem,
            chunks: format!("{internal}.chunks_{collection_id}"),
            embeddings: format!("{internal}.{embeddings_stem}"),
            embeddings_stem,
            internal: internal.into(),
            extension: extension.into(),
        }
    }

    /// The name of the metadata index with this id, unqualified.
    pub(super) fn metadata_index(&self, id: i64) -> String {
        format!("{}_metadata_{id}", self.documents_stem)
    }

    /// The name of the index with this id, unqualified.
    pub(super) fn index(&self, method: &str, index_id: i64) -> String {
        format!("{}_{method}_{index_id}", self.embeddings_stem)
    }
}
