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

    /// How the quoted names of all metadata indexes begin.
    pub(super) fn quoted_metadata_index_prefix(&self) -> String {
        format!("\"{}_metadata_", self.documents_stem)
    }

    /// How the quoted names of all vector indexes begin.
    pub(super) fn quoted_index_prefix(&self) -> String {
        format!("\"{}_", self.embeddings_stem)
    }

    /// The name of the index with this id, unqualified.
    pub(super) fn index(&self, method: &str, index_id: i64) -> String {
        format!("{}_{method}_{index_id}", self.embeddings_stem)
    }
}

/// SQL: the index of a row `i` of `indexes` whose embedding space is the row `s`, null when the database has none.
pub(super) fn index_of_row(internal: &str) -> String {
    format!("to_regclass(format('%s.embeddings_%s_%s_%s_%s', '{internal}', s.collection_id, s.id, i.method, i.id))")
}

/// SQL: whether searches can use the index of a row `i` of `indexes` whose embedding space is the row `s`.
pub(super) fn is_valid(internal: &str) -> String {
    format!("EXISTS (SELECT FROM pg_index x WHERE x.indexrelid = {} AND x.indisvalid)", index_of_row(internal))
}

/// SQL: whether filters can use the index of a row `m` of `metadata_indexes`.
pub(super) fn is_metadata_index_valid(internal: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_index x
                 WHERE x.indexrelid = to_regclass(format('%s.documents_%s_metadata_%s', '{internal}', m.collection_id, m.id))
                   AND x.indisvalid)"
    )
}
