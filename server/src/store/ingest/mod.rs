//! Writing documents: what is stored already, and the one transaction that stores the rest.

use std::{ops::Range, time::Duration};

use super::{
    Collection, Store, StoreError,
    catalog::Entry,
    connection::{Connection, Value},
    tables::Tables,
    transaction::{IN_TRANSACTION, Transaction},
    wire::Json,
};

mod chunks;
mod languages;
mod turn;
mod words;

pub(crate) use turn::{Turn, Turns};
pub(crate) use words::ChunkWords;
use words::{WordColumns, WordValues};

/// A content hash: SHA-256.
pub(crate) type ContentHash = [u8; 32];

/// Maximum bytes of a text, or of a chunk, whose words full-text search finds if Postgres makes them. No text of this
/// size makes more than the 1 MB that a tsvector holds: the worst have been seen to make 3.5 bytes of one.
pub(crate) const MAX_FULL_TEXT_BYTES: usize = 200_000;

/// What is stored of a document that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct StoredContent {
    pub content_hash: ContentHash,
    pub version: i64,
    /// The ids of its chunks and the hashes of their texts, when the content is another now and the document has several.
    pub chunks: Vec<(i32, ContentHash)>,
}

/// A document to write.
#[derive(Clone, Debug)]
pub(crate) struct NewDocument<'a> {
    pub id: &'a str,
    pub text: &'a str,
    /// A JSON object.
    pub metadata: &'a str,
    /// Hash of everything that the vectors depend on.
    pub content_hash: &'a ContentHash,
    /// The version that it must have to be written, 0 when it must not exist; `None`: any.
    pub version: Option<i64>,
    pub content: Content<'a>,
}

/// What to do with the text and the vectors of a document.
#[derive(Clone, Debug)]
pub(crate) enum Content<'a> {
    /// The stored hash was the same: at most the metadata changes.
    Unchanged,
    /// Store the text as one chunk, with its vector if it has one.
    Whole {
        vector: Option<&'a [f32]>,
        /// `None` where Postgres makes them, or when there is no text.
        words: Option<&'a ChunkWords>,
    },
    /// Store the text and these chunks of it, in order; those that are kept need [`NewDocument::version`].
    Chunks(Vec<NewChunk<'a>>),
}

/// A chunk to write.
#[derive(Clone, Debug)]
pub(crate) struct NewChunk<'a> {
    /// Unique in the document; stays when the chunk moves.
    pub id: i32,
    pub characters: Range<usize>,
    pub text: &'a str,
    pub hash: &'a ContentHash,
    /// `None`: it is stored, at most its place in the document changes.
    pub vector: Option<&'a [f32]>,
    /// `None` where Postgres makes them, or when it is stored.
    pub words: Option<&'a ChunkWords>,
}

/// What [`Store::write`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub inserted: usize,
    pub updated: usize,
    pub unchanged: usize,
    /// Existed, though only absent ones were to be written.
    pub skipped: usize,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
    }
}

#[derive(Debug)]
pub(super) struct IngestStatements {
    stored_content: String,
    stored_chunks: String,
    upsert_documents: String,
    insert_documents: String,
    lock_documents: String,
    update_metadata: String,
    chunks: chunks::ChunkStatements,
}

impl IngestStatements {
    pub(super) fn new(tables: &Tables, collection: &Collection) -> Self {
        let Tables { documents, chunks, .. } = tables;
        let WordColumns { parameter, source, version } = WordColumns::new(collection);
        // With the row of the chunk that a text which is not split has: its words come from the text that is sent anyway.
        // Another writer may have left that row meanwhile; its other chunks are for `delete_chunks`.
        let write_documents = |name: &str, conflict: &str| {
            format!(
                "-- {name}
                 WITH new AS (
                     SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[], $5::{parameter}[], $6::int[])
                         AS n (id, text, metadata, content_hash, words, word_count)
                     WHERE {IN_TRANSACTION}),
                 written AS (
                     INSERT INTO {documents} AS d (id, text, metadata, content_hash)
                     SELECT id, text, metadata, content_hash FROM new
                     ON CONFLICT (id) {conflict}
                     RETURNING d.id, d.key, d.version),
                 whole AS (
                     INSERT INTO {chunks}
                         (document_key, chunk, ordinal, start_char, end_char, words, words_version, word_count)
                     SELECT w.key, 0, 0, 0, char_length(n.text), {source}, {version}, n.word_count
                     FROM written w JOIN new n ON n.id = w.id WHERE n.word_count IS NOT NULL
                     ON CONFLICT (document_key, chunk) DO UPDATE SET ordinal = 0, start_char = 0,
                         end_char = excluded.end_char, hash = NULL, text = NULL, words = excluded.words,
                         words_version = excluded.words_version, word_count = excluded.word_count)
                 SELECT id, key, version FROM written"
            )
        };
        Self {
            stored_content: format!(
                "-- stored_content
                 SELECT id, content_hash, version FROM {documents} WHERE id = ANY($1)"
            ),
            // The condition within keeps the chunks of unchanged documents unread.
            stored_chunks: format!(
                "-- stored_chunks
                 SELECT d.id, d.content_hash, d.version, c.chunks, c.hashes
                 FROM unnest($1::text[], $2::bytea[]) AS n (id, content_hash)
                 JOIN {documents} d ON d.id = n.id
                 CROSS JOIN LATERAL (
                     SELECT array_agg(chunk ORDER BY chunk) AS chunks, array_agg(hash ORDER BY chunk) AS hashes
                     FROM {chunks}
                     WHERE d.content_hash <> n.content_hash AND document_key = d.key AND hash IS NOT NULL) c"
            ),
            upsert_documents: write_documents(
                "upsert_documents",
                "DO UPDATE SET text = excluded.text, metadata = excluded.metadata, content_hash = excluded.content_hash,
                     version = d.version + 1, updated_at = now()",
            ),
            insert_documents: write_documents("insert_documents", "DO NOTHING"),
            // In the order in which every write locks them.
            lock_documents: format!(
                "-- lock_documents
                 SELECT id, version FROM {documents} WHERE id = ANY($1) ORDER BY id FOR UPDATE"
            ),
            // A row whose content has changed since it was read is left to the one who changed it: as if this write had
            // come just before. Rows are locked in the order of their ids, as every write does, against deadlocks.
            update_metadata: format!(
                "-- update_metadata
                 WITH changed AS MATERIALIZED (
                     SELECT d.key, n.metadata
                     FROM {documents} d JOIN unnest($1::text[], $2::jsonb[], $3::bytea[]) AS n (id, metadata, content_hash)
                         ON d.id = n.id AND d.content_hash = n.content_hash AND d.metadata <> n.metadata
                     ORDER BY d.id COLLATE \"C\" FOR UPDATE OF d)
                 UPDATE {documents} d SET metadata = c.metadata, version = d.version + 1, updated_at = now()
                 FROM changed c WHERE d.key = c.key"
            ),
            chunks: chunks::ChunkStatements::new(tables, collection),
        }
    }
}

impl Store {
    /// What is stored of the documents with these ids, which are sorted, and content hashes; in their order. With their
    /// chunks, when asked for and not only the hash is needed.
    pub(crate) async fn stored_content(
        &self,
        collection: &Collection,
        ids: &[&str],
        hashes: &[&[u8]],
        with_chunks: bool,
    ) -> Result<Vec<Option<StoredContent>>, StoreError> {
        self.with_collection(&collection.definition.name, |entry| async move {
            let connection = self.connection_to(&entry).await?;
            let (sql, parameters): (&str, &[&dyn Value]) = if with_chunks {
                (&entry.ingest.stored_chunks, &[&ids, &hashes])
            } else {
                (&entry.ingest.stored_content, &[&ids])
            };
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query(&statement, parameters).await?;
            connection.done();
            // A hash of another length is one that nothing equals.
            let hash = |bytes: &[u8]| ContentHash::try_from(bytes).unwrap_or_default();
            let mut stored = vec![None; ids.len()];
            for row in &rows {
                let index = ids.binary_search(&row.get(0));
                let index = index.map_err(|_| StoreError::Internal("a query returned another id".into()))?;
                let mut chunks = Vec::new();
                if with_chunks && let (Some(ids), Some(hashes)) = (row.get(3), row.get(4)) {
                    let (ids, hashes): (Vec<i32>, Vec<&[u8]>) = (ids, hashes);
                    chunks = ids.into_iter().zip(hashes.into_iter().map(hash)).collect();
                }
                stored[index] = Some(StoredContent { content_hash: hash(row.get(1)), version: row.get(2), chunks });
            }
            Ok(stored)
        })
        .await
    }

    /// Stores documents, sorted by id and each id once, in one transaction; returns after COMMIT. With `only_absent` those
    /// that exist stay as they are. [`StoreError::Overtaken`] when one has not the version that it must have.
    pub(crate) async fn write(
        &self,
        collection: &Collection,
        documents: &[NewDocument<'_>],
        only_absent: bool,
        turn: &Turn,
        timeout: Duration,
    ) -> Result<Written, StoreError> {
        let (kept, changed): (Vec<_>, Vec<_>) =
            documents.iter().partition(|document| matches!(document.content, Content::Unchanged));
        let (kept, changed) = (&kept[..], &changed[..]);
        self.add_languages(collection, changed, timeout).await?;
        turn.may_begin().await;
        self.with_collection(&collection.definition.name, |entry| async move {
            if entry.collection.id != collection.id {
                // The documents were meant for the one that is gone.
                return Err(StoreError::CollectionReplaced(collection.definition.name.clone()));
            }
            let codes = chunks::codes(&entry, changed).await;
            turn.begins();
            let connection = self.connection_to(&entry).await?;
            let mut written = Written::default();
            let conditional: Vec<&NewDocument<'_>> =
                kept.iter().copied().filter(|document| document.version.is_some()).collect();
            if changed.is_empty() && conditional.is_empty() {
                // One statement is a transaction by itself.
                turn.is_next().await;
                written.updated = update_metadata(&connection, &entry, kept).await?;
            } else {
                let transaction = Transaction::new(&connection).timeout(timeout).pipelined();
                let (begun, locked, upserted) = futures_util::join!(
                    transaction.begin(),
                    lock_documents(&connection, &entry, &conditional),
                    write_documents(&connection, &entry, changed, only_absent),
                );
                begun?;
                let (locked, upserted) = (locked?, upserted?);
                if !locked || upserted.iter().any(|row| row.is_overtaken(changed)) {
                    transaction.rollback().await?;
                    connection.done();
                    return Err(StoreError::Overtaken);
                }
                written.inserted = upserted.iter().filter(|row| !row.existed()).count();
                written.updated = upserted.len() - written.inserted;
                written.skipped = changed.len() - upserted.len();
                if !kept.is_empty() {
                    written.updated += update_metadata(&connection, &entry, kept).await?;
                }
                turn.let_next_begin();
                chunks::write_and_commit(&connection, &transaction, turn, &entry, changed, &upserted, &codes).await?;
            }
            connection.done();
            written.unchanged = documents.len() - written.inserted - written.updated - written.skipped;
            self.stats().add_written(&written);
            Ok(written)
        })
        .await
    }
}

/// A row that [`write_documents`] wrote.
struct Upserted {
    key: i64,
    version: i64,
    /// Position in the documents that were written.
    index: usize,
}

impl Upserted {
    fn existed(&self) -> bool {
        self.version > 1
    }

    /// Whether another writer came between the one who decided what to write and this row.
    fn is_overtaken(&self, documents: &[&NewDocument<'_>]) -> bool {
        documents[self.index].version.is_some_and(|version| version != self.version - 1)
    }
}

async fn write_documents(
    connection: &Connection,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
    only_absent: bool,
) -> Result<Vec<Upserted>, StoreError> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let sql = if only_absent { &entry.ingest.insert_documents } else { &entry.ingest.upsert_documents };
    let statement = connection.prepare_cached(sql).await?;
    let ids: Vec<&str> = documents.iter().map(|document| document.id).collect();
    let texts: Vec<&str> = documents.iter().map(|document| document.text).collect();
    let metadata: Vec<Json<&str>> = documents.iter().map(|document| Json(document.metadata)).collect();
    let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
    let mut words = WordValues::new(&entry.collection);
    // None where no chunk is written with the document.
    let mut counts: Vec<Option<i32>> = Vec::with_capacity(documents.len());
    for document in documents {
        match document.content {
            Content::Whole { words: made, .. } if !document.text.is_empty() => {
                counts.push(Some(words.push(document.text, made)?));
            }
            Content::Whole { .. } | Content::Chunks(_) | Content::Unchanged => {
                words.skip();
                counts.push(None);
            }
        }
    }
    let rows = connection.query(&statement, &[&ids, &texts, &metadata, &hashes, words.value(), &counts]).await?;
    rows.iter()
        .map(|row| {
            // SQL promises no order, so each row is found by its id; ids are sorted.
            let index = ids.binary_search(&row.get(0));
            let index = index.map_err(|_| StoreError::Internal("an upsert returned another id".into()))?;
            Ok(Upserted { key: row.get(1), version: row.get(2), index })
        })
        .collect()
}

/// Locks the documents; returns whether each has the version that it must have.
async fn lock_documents(
    connection: &Connection,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
) -> Result<bool, StoreError> {
    if documents.is_empty() {
        return Ok(true);
    }
    let statement = connection.prepare_cached(&entry.ingest.lock_documents).await?;
    let ids: Vec<&str> = documents.iter().map(|document| document.id).collect();
    let rows = connection.query(&statement, &[&ids]).await?;
    let as_expected = rows.iter().all(|row| {
        let index = ids.binary_search(&row.get(0));
        index.is_ok_and(|index| documents[index].version == Some(row.get(1)))
    });
    Ok(as_expected && rows.len() == documents.len())
}

/// Writes the metadata of documents whose content is stored; returns how many it changed.
async fn update_metadata(
    connection: &Connection,
    entry: &Entry,
    documents: &[&NewDocument<'_>],
) -> Result<usize, StoreError> {
    let statement = connection.prepare_cached(&entry.ingest.update_metadata).await?;
    let ids: Vec<&str> = documents.iter().map(|document| document.id).collect();
    let metadata: Vec<Json<&str>> = documents.iter().map(|document| Json(document.metadata)).collect();
    let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
    Ok(connection.execute(&statement, &[&ids, &metadata, &hashes]).await? as usize)
}
