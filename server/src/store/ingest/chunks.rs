//! The rows of chunks and vectors that belong to documents which were just written, and are locked.

use std::pin::pin;

use super::{Content, NewDocument, StoreError, Upserted, searched_characters};
use crate::store::{
    Collection,
    catalog::Entry,
    connection::{Connection, Foreign, Statement, Value},
    tables::Tables,
    transaction::Transaction,
    wire::{VectorValue, copy_frames},
};
use futures_util::{FutureExt as _, SinkExt as _, future::OptionFuture};

/// From this many vectors on COPY is faster than an INSERT of arrays.
const COPY_ROWS: usize = 64;

#[derive(Debug)]
pub(in crate::store) struct ChunkStatements {
    delete_chunks: String,
    delete_embeddings: String,
    move_chunks: String,
    insert_chunks: String,
    insert_embeddings: String,
    copy_embeddings: String,
}

impl ChunkStatements {
    pub(super) fn new(tables: &Tables, collection: &Collection) -> Self {
        let Tables { chunks, embeddings, extension, .. } = tables;
        let vector_type = collection.definition.vector_type.name();
        let language = &collection.definition.text_search_language;
        let delete = |name: &str, table: &str| {
            format!(
                "-- {name}
                 DELETE FROM {table} t
                 WHERE t.document_key = ANY($1)
                   AND NOT EXISTS (SELECT FROM unnest($2::bigint[], $3::int[]) AS kept (document_key, chunk)
                                   WHERE kept.document_key = t.document_key AND kept.chunk = t.chunk)"
            )
        };
        Self {
            delete_chunks: delete("delete_chunks", chunks),
            delete_embeddings: delete("delete_embeddings", embeddings),
            move_chunks: format!(
                "-- move_chunks
                 UPDATE {chunks} c SET ordinal = n.ordinal, start_char = n.start_char, end_char = n.end_char
                 FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[])
                     AS n (document_key, chunk, ordinal, start_char, end_char)
                 WHERE c.document_key = n.document_key AND c.chunk = n.chunk
                   AND (c.ordinal, c.start_char, c.end_char) <> (n.ordinal, n.start_char, n.end_char)"
            ),
            insert_chunks: format!(
                "-- insert_chunks
                 INSERT INTO {chunks} (document_key, chunk, ordinal, start_char, end_char, hash, text, words)
                 SELECT n.document_key, n.chunk, n.ordinal, n.start_char, n.end_char, n.hash, n.text,
                        to_tsvector('{language}'::regconfig, left(n.text, n.searched))
                 FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $6::bytea[], $7::text[], $8::int[])
                     AS n (document_key, chunk, ordinal, start_char, end_char, hash, text, searched)"
            ),
            insert_embeddings: format!(
                "-- insert_embeddings
                 INSERT INTO {embeddings} (document_key, chunk, embedding)
                 SELECT * FROM unnest($1::bigint[], $2::int[], $3::{extension}.{vector_type}[])"
            ),
            copy_embeddings: format!("COPY {embeddings} (document_key, chunk, embedding) FROM STDIN (FORMAT binary)"),
        }
    }
}

/// Keys of chunks, for a statement with arrays.
#[derive(Default)]
struct Keys {
    documents: Vec<i64>,
    chunks: Vec<i32>,
}

impl Keys {
    fn push(&mut self, document: i64, chunk: i32) {
        self.documents.push(document);
        self.chunks.push(chunk);
    }
}

/// Where chunks are in their documents.
#[derive(Default)]
struct Places {
    keys: Keys,
    ordinals: Vec<i32>,
    starts: Vec<i32>,
    ends: Vec<i32>,
}

/// What becomes of the rows.
#[derive(Default)]
struct Rows<'a> {
    /// Documents that existed: what they have beside `kept` goes.
    stale: Vec<i64>,
    kept_chunks: Keys,
    kept_embeddings: Keys,
    moved: Places,
    new: Places,
    hashes: Vec<&'a [u8]>,
    texts: Vec<&'a str>,
    searched: Vec<i32>,
    embedded: Keys,
    vectors: Vec<VectorValue<'a>>,
}

impl<'a> Rows<'a> {
    fn new(entry: &Entry, documents: &[&NewDocument<'a>], upserted: &[Upserted]) -> Self {
        let vector_type = entry.collection.definition.vector_type;
        let mut rows = Self::default();
        for row in upserted {
            let document = documents[row.index];
            if row.existed() {
                rows.stale.push(row.key);
            }
            match &document.content {
                Content::Unchanged => {}
                Content::Whole(vector) => {
                    if row.existed() && !document.text.is_empty() {
                        rows.kept_chunks.push(row.key, 0);
                    }
                    if let Some(values) = vector {
                        rows.embedded.push(row.key, 0);
                        rows.vectors.push(VectorValue { values, vector_type });
                    }
                }
                Content::Chunks(chunks) => {
                    for (ordinal, chunk) in chunks.iter().enumerate() {
                        let places = if chunk.vector.is_some() { &mut rows.new } else { &mut rows.moved };
                        places.keys.push(row.key, chunk.id);
                        // A text has at most 8 MiB.
                        places.ordinals.push(ordinal as i32);
                        places.starts.push(chunk.characters.start as i32);
                        places.ends.push(chunk.characters.end as i32);
                        if let Some(values) = chunk.vector {
                            rows.hashes.push(chunk.hash);
                            rows.texts.push(chunk.text);
                            rows.searched.push(searched_characters(chunk.text));
                            rows.embedded.push(row.key, chunk.id);
                            rows.vectors.push(VectorValue { values, vector_type });
                        } else {
                            rows.kept_chunks.push(row.key, chunk.id);
                            rows.kept_embeddings.push(row.key, chunk.id);
                        }
                    }
                }
            }
        }
        rows
    }
}

/// Writes the rows and commits, all of it in one round trip.
pub(super) async fn write_and_commit(
    connection: &Connection,
    transaction: &Transaction<'_>,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
    upserted: &[Upserted],
) -> Result<(), StoreError> {
    let statements = &entry.ingest.chunks;
    let rows = Rows::new(entry, documents, upserted);
    // COPY takes a prepared statement.
    let copied = rows.vectors.len() >= COPY_ROWS && connection.prepares();
    let prepare =
        |needed: bool, sql| OptionFuture::from(needed.then(|| connection.prepare_cached(sql))).map(Option::transpose);
    let delete_chunks = prepare(!rows.stale.is_empty(), &statements.delete_chunks).await?;
    let delete_embeddings = prepare(!rows.stale.is_empty(), &statements.delete_embeddings).await?;
    let move_chunks = prepare(!rows.moved.ordinals.is_empty(), &statements.move_chunks).await?;
    let insert_chunks = prepare(!rows.new.ordinals.is_empty(), &statements.insert_chunks).await?;
    let insert = prepare(!copied && !rows.vectors.is_empty(), &statements.insert_embeddings).await?;
    let copy = prepare(copied, &statements.copy_embeddings).await?;

    let parameters: [&dyn Value; 3] = [&rows.stale, &rows.kept_chunks.documents, &rows.kept_chunks.chunks];
    let delete_chunks = execute(connection, delete_chunks.as_ref(), &parameters);
    let parameters: [&dyn Value; 3] = [&rows.stale, &rows.kept_embeddings.documents, &rows.kept_embeddings.chunks];
    let delete_embeddings = execute(connection, delete_embeddings.as_ref(), &parameters);
    let Places { keys, ordinals, starts, ends } = &rows.moved;
    let parameters: [&dyn Value; 5] = [&keys.documents, &keys.chunks, ordinals, starts, ends];
    let move_chunks = execute(connection, move_chunks.as_ref(), &parameters);
    let Places { keys, ordinals, starts, ends } = &rows.new;
    let parameters: [&dyn Value; 8] =
        [&keys.documents, &keys.chunks, ordinals, starts, ends, &rows.hashes, &rows.texts, &rows.searched];
    let insert_chunks = execute(connection, insert_chunks.as_ref(), &parameters);
    let vectors = Foreign { value: &rows.vectors, sql_type: &entry.types.list };
    let parameters: [&dyn Value; 3] = [&rows.embedded.documents, &rows.embedded.chunks, &vectors];
    let insert = execute(connection, insert.as_ref(), &parameters);
    let copy_and_commit = async {
        let Some(copy) = &copy else { return transaction.commit().await };
        let mut sink = pin!(connection.copy_in(copy).await?);
        let keys = rows.embedded.documents.iter().zip(&rows.embedded.chunks);
        for frame in
            copy_frames(keys.zip(&rows.vectors).map(|((document, chunk), vector)| (*document, *chunk, *vector)))
        {
            sink.as_mut().feed(frame).await?;
        }
        let (copied, committed) = futures_util::join!(sink.finish(), transaction.commit());
        copied?;
        committed
    };
    // They are sent in this order, each without waiting for the one before. One that fails makes the rest fail, and of
    // COMMIT a rollback; the first error is the telling one.
    let (deleted, unembedded, moved, inserted, embedded, committed) =
        futures_util::join!(delete_chunks, delete_embeddings, move_chunks, insert_chunks, insert, copy_and_commit);
    deleted.and(unembedded).and(moved).and(inserted).and(embedded)?;
    committed
}

async fn execute(
    connection: &Connection,
    statement: Option<&Statement<'_>>,
    parameters: &[&dyn Value],
) -> Result<(), tokio_postgres::Error> {
    let execution = statement.map(|statement| connection.execute(statement, parameters));
    OptionFuture::from(execution).await.transpose().map(|_| ())
}
