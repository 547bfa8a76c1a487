//! The names of the tables and indexes of a collection.

use super::{
    Collection, schema,
    sources::{Source, index_relation},
};

/// The qualified names of the tables of a collection and of the extension's schema.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The documents in a FROM clause, always with an alias.
    pub(super) documents: String,
    /// Unqualified. The names of metadata indexes begin with it.
    documents_stem: String,
    pub(super) chunks: String,
    /// The vectors in a FROM clause, always with an alias.
    pub(super) embeddings: String,
    /// The documents `d` joined with their vectors `e`.
    pub(super) joined: String,
    /// The table that contains the vectors, and their column.
    pub(super) vectors: String,
    pub(super) vector_column: String,
    /// The tables to ANALYZE after an index build.
    pub(super) analyzed: String,
    /// Unqualified. The names of vector indexes begin with it.
    pub(super) embeddings_stem: String,
    /// The schema of the vector indexes.
    pub(super) index_schema: String,
    /// Unqualified. The names of the tables of codes and of their indexes begin with it.
    pub(super) codes_stem: String,
    pub(super) internal: String,
    pub(super) extension: String,
    /// The table of the user that contains the documents, if the collection is attached.
    pub(super) source: Option<Source>,
}

impl Tables {
    /// The qualified name of the documents table of a collection.
    pub(super) fn documents(internal: &str, collection_id: i64) -> String {
        format!("{internal}.documents_{collection_id}")
    }

    /// The tables of a collection.
    pub(super) fn of(internal: &str, extension: &str, collection: &Collection) -> Self {
        let mut tables = Self::new(internal, extension, collection.id, collection.space_id);
        if let Some(source) = &collection.definition.source {
            let dimensions = collection.definition.dimensions;
            tables.documents = source.documents(internal);
            tables.embeddings = source.embeddings(extension, dimensions);
            tables.joined = source.documents_and_vectors(internal, extension, dimensions);
            tables.vectors = source.relation();
            tables.vector_column = schema::quote(&source.vector);
            tables.analyzed = source.relation();
            tables.embeddings_stem = source.stem.clone();
            tables.index_schema = schema::quote(&source.schema);
            tables.source = Some(source.clone());
        }
        tables
    }

    /// The tables of a collection that is not attached.
    pub(super) fn new(internal: &str, extension: &str, collection_id: i64, space_id: i64) -> Self {
        let embeddings_stem = format!("embeddings_{collection_id}_{space_id}");
        let documents_stem = format!("documents_{collection_id}");
        let documents = Self::documents(internal, collection_id);
        let chunks = format!("{internal}.chunks_{collection_id}");
        let embeddings = format!("{internal}.{embeddings_stem}");
        Self {
            joined: format!("{embeddings} e JOIN {documents} d ON d.key = e.document_key"),
            analyzed: format!("{embeddings}, {documents}, {chunks}"),
            vectors: embeddings.clone(),
            vector_column: "embedding".into(),
            index_schema: internal.into(),
            documents,
            documents_stem,
            chunks,
            embeddings,
            embeddings_stem,
            codes_stem: format!("codes_{collection_id}"),
            internal: internal.into(),
            extension: extension.into(),
            source: None,
        }
    }

    /// SQL: the query of the view of a collection.
    pub(super) fn view(&self) -> String {
        let Self { documents, chunks, embeddings, .. } = self;
        format!(
            "SELECT d.id, coalesce(c.ordinal, 0) AS chunk, coalesce(c.text, d.text) AS content, d.metadata,
                    e.embedding, c.words
             FROM {documents} d
             LEFT JOIN {chunks} c ON c.document_key = d.key
             LEFT JOIN {embeddings} e ON e.document_key = d.key AND e.chunk = coalesce(c.chunk, 0)"
        )
    }

    /// The table that contains the documents.
    pub(super) fn relation(&self) -> String {
        self.source.as_ref().map_or_else(|| self.documents.clone(), Source::relation)
    }

    /// SQL: whether a document `d` has this key.
    pub(super) fn on_document(&self, key: &str) -> String {
        match &self.source {
            Some(source) => source.on_document(key),
            None => format!("d.key = {key}"),
        }
    }

    /// SQL: the vector of a document as bytes. If it has several chunks, this is the mean of their vectors. `send` is
    /// the function that converts it to bytes.
    pub(super) fn vector_of(&self, document: &str, send: &str) -> String {
        let Self { extension, embeddings, source, .. } = self;
        match source {
            Some(_) => format!("{extension}.{send}({document}.embedding)"),
            None => format!(
                "(SELECT {extension}.{send}({extension}.avg(e.embedding)) FROM {embeddings} e
                  WHERE e.document_key = {document}.key)"
            ),
        }
    }

    /// The qualified name of the table of the set of codes with this id.
    pub(super) fn codes(internal: &str, collection_id: i64, id: i64) -> String {
        format!("{internal}.codes_{collection_id}_{id}")
    }

    /// The name of the metadata index with this id, unqualified.
    pub(super) fn metadata_index(&self, id: i64) -> String {
        format!("{}_metadata_{id}", self.documents_stem)
    }

    /// The quoted names of all metadata indexes begin with this.
    pub(super) fn quoted_metadata_index_prefix(&self) -> String {
        format!("\"{}_metadata_", self.documents_stem)
    }

    /// The quoted names of all indexes of codes begin with this.
    pub(super) fn quoted_codes_index_prefix(&self) -> String {
        format!("\"{}_", self.codes_stem)
    }

    /// The quoted names of all vector indexes begin with this.
    pub(super) fn quoted_index_prefix(&self) -> String {
        format!("\"{}_", self.embeddings_stem)
    }

    /// The name of the index with this id, unqualified.
    pub(super) fn index(&self, method: &str, index_id: i64) -> String {
        format!("{}_{method}_{index_id}", self.embeddings_stem)
    }
}

/// SQL: how many rows Postgres estimates that the table of the row `c` of `pg_class` has; for a partitioned table the sum of
/// its partitions.
pub(super) const ESTIMATED_ROWS: &str = "CASE c.relkind
    WHEN 'p' THEN (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)
                   FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf)
    ELSE c.reltuples END";

/// SQL: whether searches can use the index of a row `i` of `indexes` whose embedding space is the row `s`.
pub(super) fn is_valid(internal: &str) -> String {
    format!("EXISTS (SELECT FROM pg_index x WHERE x.indexrelid = {} AND x.indisvalid)", index_relation(internal))
}

/// SQL: whether filters can use the index of a row `m` of `metadata_indexes`.
pub(super) fn is_metadata_index_valid(internal: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_index x
                 WHERE x.indexrelid = to_regclass(format('%s.documents_%s_metadata_%s', '{internal}', m.collection_id, m.id))
                   AND x.indisvalid)"
    )
}
