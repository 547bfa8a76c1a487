//! The rows of chunks and vectors that belong to documents which were just written, and are locked.

use std::pin::pin;

use super::{Content, NewDocument, StoreError, Turn, Upserted, WordColumns, WordValues};
use crate::store::{
    Collection,
    catalog::Entry,
    codes::{Code, CodeMaker, CodeRows},
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
        let WordColumns { parameter, source, version } = WordColumns::new(collection);
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
                 INSERT INTO {chunks} (document_key, chunk, ordinal, start_char, end_char, hash, text, words, words_version,
                                       word_count)
                 SELECT n.document_key, n.chunk, n.ordinal, n.start_char, n.end_char, n.hash, n.text, {source}, {version},
                        n.word_count
                 FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $6::bytea[], $7::text[],
                             $8::{parameter}[], $9::int[])
                     AS n (document_key, chunk, ordinal, start_char, end_char, hash, text, words, word_count)"
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
struct Rows<'a> {
    /// Documents that existed: what they have beside `kept` goes.
    stale: Vec<i64>,
    kept_chunks: Keys,
    kept_embeddings: Keys,
    moved: Places,
    new: Places,
    hashes: Vec<&'a [u8]>,
    texts: Vec<&'a str>,
    words: WordValues<'a>,
    word_counts: Vec<i32>,
    embedded: Keys,
    vectors: Vec<VectorValue<'a>>,
    /// For each set of codes.
    codes: Vec<CodeRows<'a>>,
}

impl<'a> Rows<'a> {
    fn new(
        entry: &Entry,
        documents: &[&NewDocument<'a>],
        upserted: &[Upserted],
        codes: &'a [Vec<NewCodes>],
    ) -> Result<Self, StoreError> {
        let vector_type = entry.collection.definition.vector_type;
        let mut rows = Self {
            stale: Vec::new(),
            kept_chunks: Keys::default(),
            kept_embeddings: Keys::default(),
            moved: Places::default(),
            new: Places::default(),
            hashes: Vec::new(),
            texts: Vec::new(),
            words: WordValues::new(&entry.collection),
            word_counts: Vec::new(),
            embedded: Keys::default(),
            vectors: Vec::new(),
            codes: codes.iter().map(|_| CodeRows::default()).collect(),
        };
        for row in upserted {
            let embedded = rows.vectors.len();
            let document = documents[row.index];
            if row.existed() {
                rows.stale.push(row.key);
            }
            match &document.content {
                Content::Unchanged => {}
                Content::Whole { vector, .. } => {
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
                            rows.word_counts.push(rows.words.push(chunk.text, chunk.words)?);
                            rows.embedded.push(row.key, chunk.id);
                            rows.vectors.push(VectorValue { values, vector_type });
                        } else {
                            rows.kept_chunks.push(row.key, chunk.id);
                            rows.kept_embeddings.push(row.key, chunk.id);
                        }
                    }
                }
            }
            let keys = &rows.embedded;
            for (rows, codes) in rows.codes.iter_mut().zip(codes) {
                for (chunk, code) in keys.chunks[embedded..].iter().zip(&codes[row.index]) {
                    rows.push(row.key, *chunk, code);
                }
            }
        }
        Ok(rows)
    }
}

/// The codes of the vectors of a document that are written, in order.
pub(super) type NewCodes = Vec<Code>;

/// For each set of codes those of each document.
pub(super) async fn codes(entry: &Entry, documents: &[&NewDocument<'_>]) -> Vec<Vec<NewCodes>> {
    let of_document = |maker: &CodeMaker, document: &NewDocument<'_>| match &document.content {
        Content::Unchanged => Vec::new(),
        Content::Whole { vector, .. } => vector.iter().map(|vector| maker.code(vector)).collect(),
        Content::Chunks(chunks) => {
            chunks.iter().filter_map(|chunk| chunk.vector).map(|vector| maker.code(vector)).collect()
        }
    };
    let mut made = Vec::with_capacity(entry.codes.len());
    for codes in &entry.codes {
        let mut of_set = Vec::with_capacity(documents.len());
        for document in documents {
            of_set.push(of_document(&codes.maker, document));
            // Other calls of this thread take their turn: a code takes about 10 microseconds.
            tokio::task::consume_budget().await;
        }
        made.push(of_set);
    }
    made
}

/// Writes the rows and commits, all of it in one round trip.
pub(super) async fn write_and_commit(
    connection: &Connection,
    transaction: &Transaction<'_>,
    turn: &Turn,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
    upserted: &[Upserted],
    codes: &[Vec<NewCodes>],
) -> Result<(), StoreError> {
    let statements = &entry.ingest.chunks;
    let rows = Rows::new(entry, documents, upserted, codes)?;
    // COPY takes a prepared statement.
    let copied = rows.vectors.len() >= COPY_ROWS && connection.prepares();
    let prepare =
        |needed: bool, sql| OptionFuture::from(needed.then(|| connection.prepare_cached(sql))).map(Option::transpose);
    let delete_chunks = prepare(!rows.stale.is_empty(), &statements.delete_chunks).await?;
    let delete_embeddings = prepare(!rows.stale.is_empty(), &statements.delete_embeddings).await?;
    let move_chunks = prepare(!rows.moved.ordinals.is_empty(), &statements.move_chunks).await?;
    let insert_chunks = prepare(!rows.new.ordinals.is_empty(), &statements.insert_chunks).await?;
    let codes = rows.codes.iter().zip(&entry.codes).filter(|(rows, _)| !rows.documents.is_empty());
    let codes: Vec<_> = codes.map(|(rows, codes)| (rows, rows.sql(entry, codes), codes)).collect();
    let mut insert_codes = Vec::with_capacity(codes.len());
    for (rows, sql, codes) in &codes {
        insert_codes.push((connection.prepare_cached(sql).await?, rows.parameters(codes)));
    }
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
    let (hashes, texts, words) = (&rows.hashes, &rows.texts, rows.words.value());
    let parameters: [&dyn Value; 9] =
        [&keys.documents, &keys.chunks, ordinals, starts, ends, hashes, texts, words, &rows.word_counts];
    let insert_chunks = execute(connection, insert_chunks.as_ref(), &parameters);
    // Before the vectors, whose trigger adds the rows that are missing.
    let insert_codes = insert_codes.iter().map(|(statement, parameters)| connection.execute(statement, parameters));
    let insert_codes = futures_util::future::join_all(insert_codes);
    let vectors = Foreign { value: &rows.vectors, sql_type: &entry.types.list };
    let parameters: [&dyn Value; 3] = [&rows.embedded.documents, &rows.embedded.chunks, &vectors];
    let insert = execute(connection, insert.as_ref(), &parameters);
    let copy_and_commit = async {
        let Some(copy) = &copy else {
            turn.may_commit().await?;
            return transaction.commit().await;
        };
        let mut sink = pin!(connection.copy_in(copy).await?);
        let keys = rows.embedded.documents.iter().zip(&rows.embedded.chunks);
        for frame in
            copy_frames(keys.zip(&rows.vectors).map(|((document, chunk), vector)| (*document, *chunk, *vector)))
        {
            sink.as_mut().feed(frame).await?;
        }
        let commit = async {
            turn.may_commit().await?;
            transaction.commit().await
        };
        let (copied, committed) = futures_util::join!(sink.finish(), commit);
        copied?;
        committed
    };
    // They are sent in this order, each without waiting for the one before. One that fails makes the rest fail, and of
    // COMMIT a rollback; the first error is the telling one.
    let (deleted, unembedded, moved, inserted, coded, embedded, committed) = futures_util::join!(
        delete_chunks,
        delete_embeddings,
        move_chunks,
        insert_chunks,
        insert_codes,
        insert,
        copy_and_commit
    );
    let coded = coded.into_iter().collect::<Result<Vec<_>, _>>();
    deleted.and(unembedded).and(moved).and(inserted).and(coded.map(drop)).and(embedded)?;
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
