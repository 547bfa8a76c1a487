//! Makes the words again that Postgres made for an older version of pgfox. This happens in small steps, and searches
//! find both kinds meanwhile.
//!
//! `word_jobs` has a row for each collection in progress, with the last key that is done. A worker holds the row by a
//! lease and not by a lock. So no transaction is open while words are made, and any pooler works.

use std::time::{Duration, Instant};

use super::jobs::Job;
use crate::{
    blocking::blocking,
    store::{
        ChunkWords, Store, StoreError, WordMaker,
        catalog::Entry,
        tables::Tables,
        transaction::{Retry, Transaction},
    },
    words::{self, Language, TextAnalyzer, TextLanguage},
};

/// Maximum number of chunks in a step, and maximum bytes of their texts. The first text may be larger.
const STEP_CHUNKS: i64 = 200;
const STEP_BYTES: i64 = 4 * 1024 * 1024;
/// The pause after a step is this many times as long as the step. So the work takes at most a quarter of the time of
/// one processor and one connection.
const PAUSE_PER_STEP: u32 = 3;
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// Much shorter than the lease.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The pause before chunks are tried again that other sessions hold.
const HELD_PAUSE: Duration = Duration::from_secs(1);
/// How long the lease of a vanished worker keeps others out.
const LEASE: &str = "interval '2 minutes'";

/// A chunk, by the key of its document and its number.
type Place = (i64, i32);

/// A chunk whose words must be made again.
struct OldChunk {
    document: i64,
    chunk: i32,
    text: String,
}

/// The result of a step.
enum Step {
    /// More chunks are left.
    Done,
    /// The chunks that are left begin with one that another session holds.
    Held,
    /// No chunk is left.
    Last,
    /// Another worker has the collection, or the collection is gone.
    NotMine,
}

impl Store {
    /// Finds collections whose words must be made again and that no worker has.
    pub(super) async fn resume_words(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let internal = &self.inner.names.internal;
        // A standby finds them too, but cannot change them.
        let sql = format!(
            "-- resume_words
             SELECT c.id, c.text_search_language
             FROM {internal}.collections c LEFT JOIN {internal}.word_jobs w ON w.collection_id = c.id
             WHERE c.words_version = 0 AND (w.leased_until IS NULL OR w.leased_until < now()) AND NOT pg_is_in_recovery()
             ORDER BY c.id"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[]).await?;
        connection.done();
        // Postgres continues to make words in languages that pgfox does not know.
        for row in rows.iter().filter(|row| Language::from_name(row.get(1)).is_some()) {
            self.spawn_job(Job::Words(row.get(0)));
        }
        Ok(())
    }

    /// Makes the words of a collection again, until none is left or another worker takes over.
    pub(super) async fn convert_words(&self, collection_id: i64) -> Result<(), StoreError> {
        let worker: i64 = rand::random();
        let Some(entry) = self.find_entry("c.id = $1", collection_id).await? else { return Ok(()) };
        let WordMaker::Both { language, .. } = entry.collection.words else { return Ok(()) };
        let name = &entry.collection.definition.name;
        let (began, mut said, mut ahead) = (Instant::now(), false, None);
        loop {
            let step_began = Instant::now();
            let mut retry = Retry::few();
            let step = loop {
                match self.make_words_step(&entry, language, worker, &mut ahead).await {
                    Err(StoreError::Conflict(_)) if retry.pause().await => {}
                    step => break step?,
                }
            };
            match step {
                Step::NotMine => return Ok(()),
                Step::Last => {
                    self.finish_words(&entry, worker).await?;
                    let seconds = began.elapsed().as_secs();
                    tracing::info!(collection = name, seconds, "all words of the collection are made by this version");
                    return Ok(());
                }
                Step::Done if !said => {
                    tracing::info!(collection = name, "words that an older version has stored are being converted");
                    said = true;
                }
                Step::Done => {}
                Step::Held => tokio::time::sleep(HELD_PAUSE).await,
            }
            tokio::time::sleep((step_began.elapsed() * PAUSE_PER_STEP).clamp(MIN_PAUSE, MAX_PAUSE)).await;
        }
    }

    /// `ahead`: the last chunk that was read, once a chunk before it was held by others. What is behind it is not read again
    /// until the end is reached.
    async fn make_words_step(
        &self,
        entry: &Entry,
        language: TextLanguage,
        worker: i64,
        ahead: &mut Option<Place>,
    ) -> Result<Step, StoreError> {
        let Some((place, last_key)) = self.claim_words(entry, worker).await? else { return Ok(Step::NotMine) };
        let chunks = self.read_old_chunks(entry, ahead.unwrap_or(place), last_key).await?;
        if chunks.is_empty() {
            return Ok(if ahead.take().is_some() { Step::Held } else { Step::Last });
        }
        let make = move || {
            let mut analyzer = TextAnalyzer::default();
            let words = |OldChunk { document, chunk, text }| {
                (document, chunk, ChunkWords::of_text(&text, language.of(&text), &mut analyzer))
            };
            chunks.into_iter().map(words).collect::<Vec<_>>()
        };
        let made = blocking(make).await.map_err(|stopped| StoreError::unavailable(stopped.to_string()))?;
        self.replace_words(entry, worker, &made, ahead).await
    }

    /// Takes or extends the lease. Returns the place up to which the words are made, and the last key.
    async fn claim_words(&self, entry: &Entry, worker: i64) -> Result<Option<(Place, i64)>, StoreError> {
        let connection = self.connection_to(entry).await?;
        let Tables { internal, documents, .. } = &entry.tables;
        let sql = format!(
            "-- claim_words
             INSERT INTO {internal}.word_jobs AS w (collection_id, last_key, worker, leased_until)
             SELECT id, (SELECT coalesce(max(key), 0) FROM {documents}), $2, now() + {LEASE}
             FROM {internal}.collections WHERE id = $1 AND words_version = 0 FOR SHARE
             ON CONFLICT (collection_id) DO UPDATE SET worker = $2, leased_until = now() + {LEASE}
                 WHERE w.worker = $2 OR w.leased_until < now()
             RETURNING document_key, chunk, last_key"
        );
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let row = connection.query_opt(&sql, &[&entry.collection.id, &worker]).await?;
        transaction.commit().await?;
        connection.done();
        Ok(row.map(|row| ((row.get(0), row.get(1)), row.get(2))))
    }

    /// The next chunks with words of Postgres, in the order of their keys.
    async fn read_old_chunks(
        &self,
        entry: &Entry,
        (document, chunk): Place,
        last_key: i64,
    ) -> Result<Vec<OldChunk>, StoreError> {
        let connection = self.connection_to(entry).await?;
        let Tables { documents, chunks, .. } = &entry.tables;
        // Postgres knows the sizes of texts without reading them.
        let sql = format!(
            "-- read_old_chunks
             SELECT s.document_key, s.chunk, s.text
             FROM (SELECT o.document_key, o.chunk, o.text, row_number() OVER w AS number,
                          sum(octet_length(o.text)) OVER w AS bytes
                   FROM (SELECT c.document_key, c.chunk, coalesce(c.text, d.text) AS text
                         FROM {chunks} c JOIN {documents} d ON d.key = c.document_key
                         WHERE (c.document_key, c.chunk) > ($1, $2) AND c.document_key <= $3 AND c.words_version = 0
                         ORDER BY c.document_key, c.chunk LIMIT {STEP_CHUNKS}) o
                   WINDOW w AS (ORDER BY o.document_key, o.chunk ROWS UNBOUNDED PRECEDING)) s
             WHERE s.number = 1 OR s.bytes <= {STEP_BYTES}
             ORDER BY s.document_key, s.chunk"
        );
        let statement = connection.prepare_cached(&sql).await?;
        let rows = connection.query(&statement, &[&document, &chunk, &last_key]).await?;
        connection.done();
        Ok(rows.iter().map(|row| OldChunk { document: row.get(0), chunk: row.get(1), text: row.get(2) }).collect())
    }

    /// Stores the words of chunks, in the order of their keys, and the last key that is done.
    ///
    /// A row of version 0 still has the text that was read. A server that writes a text writes its words in the same
    /// statement or transaction, which raises the version. This does not wait for a locked row, because that could end
    /// in a deadlock. It tries the row again after all others.
    async fn replace_words(
        &self,
        entry: &Entry,
        worker: i64,
        made: &[(i64, i32, ChunkWords)],
        ahead: &mut Option<Place>,
    ) -> Result<Step, StoreError> {
        let connection = self.connection_to(entry).await?;
        let Tables { internal, chunks, .. } = &entry.tables;
        let documents: Vec<i64> = made.iter().map(|(document, ..)| *document).collect();
        let chunk_ids: Vec<i32> = made.iter().map(|(_, chunk, _)| *chunk).collect();
        let (tsvectors, counts): (Vec<_>, Vec<_>) = made.iter().map(|(.., words)| words.columns()).unzip();
        let update = format!(
            "-- replace_words
             WITH n AS MATERIALIZED (
                 SELECT * FROM unnest($1::bigint[], $2::int[], $3::tsvector[], $4::int[])
                     AS n (document_key, chunk, words, word_count)),
             locked AS MATERIALIZED (
                 SELECT c.document_key, c.chunk FROM {chunks} c JOIN n USING (document_key, chunk)
                 WHERE c.words_version = 0 FOR UPDATE OF c SKIP LOCKED),
             updated AS (
                 UPDATE {chunks} c SET words = n.words, words_version = {version}, word_count = n.word_count
                 FROM n JOIN locked USING (document_key, chunk)
                 WHERE c.document_key = n.document_key AND c.chunk = n.chunk AND c.words_version = 0
                 RETURNING c.document_key, c.chunk)
             SELECT (SELECT count(*) FROM updated), s.document_key, s.chunk
             FROM (VALUES (1)) one LEFT JOIN LATERAL (
                 SELECT c.document_key, c.chunk FROM {chunks} c JOIN n USING (document_key, chunk)
                 WHERE c.words_version = 0 AND (c.document_key, c.chunk) NOT IN (SELECT document_key, chunk FROM updated)
                 ORDER BY 1, 2 LIMIT 1) s ON true",
            version = words::VERSION
        );
        let place = format!(
            "-- replace_words
             UPDATE {internal}.word_jobs SET document_key = coalesce($3, document_key), chunk = coalesce($4, chunk),
                 leased_until = now() + {LEASE}
             WHERE collection_id = $1 AND worker = $2"
        );
        let transaction = Transaction::read_write(&connection).lock_timeout(Retry::few().lock_timeout());
        transaction.begin().await?;
        let row = connection.query_one(&update, &[&documents, &chunk_ids, &tsvectors, &counts]).await?;
        let (updated, held): (i64, Option<(i64, i32)>) =
            (row.get(0), row.get::<_, Option<i64>>(1).zip(row.get::<_, Option<i32>>(2)));
        // The last chunk before the first held one.
        let places = made.iter().map(|(document, chunk, _)| (*document, *chunk));
        let is_done = |place: &Place| ahead.is_none() && held.is_none_or(|held| *place < held);
        let done: (Option<i64>, Option<i32>) = places.clone().take_while(is_done).last().unzip();
        if connection.execute(&place, &[&entry.collection.id, &worker, &done.0, &done.1]).await? == 0 {
            // Do not commit: another worker has taken over because the lease expired, and does the same.
            transaction.rollback().await?;
            connection.done();
            return Ok(Step::NotMine);
        }
        transaction.commit().await?;
        connection.done();
        self.stats().words_converted.add(updated.unsigned_abs());
        if ahead.is_some() || held.is_some() {
            *ahead = places.last();
        }
        Ok(Step::Done)
    }

    /// From here on all words of the collection are made by this version.
    async fn finish_words(&self, entry: &Entry, worker: i64) -> Result<(), StoreError> {
        let connection = self.connection_to(entry).await?;
        let internal = &self.inner.names.internal;
        let languages: Vec<&str> = entry.collection.languages.iter().map(|language| language.name()).collect();
        let finish = format!(
            "-- finish_words
             UPDATE {internal}.collections SET words_version = $3, languages = $4, revision = revision + 1
             WHERE id = $1 AND EXISTS (SELECT FROM {internal}.word_jobs WHERE collection_id = $1 AND worker = $2)"
        );
        let forget = format!("-- finish_words\n DELETE FROM {internal}.word_jobs WHERE collection_id = $1");
        let transaction = Transaction::read_write(&connection);
        transaction.begin().await?;
        let finished =
            connection.execute(&finish, &[&entry.collection.id, &worker, &words::VERSION, &languages]).await?;
        if finished > 0 {
            connection.execute(&forget, &[&entry.collection.id]).await?;
        }
        transaction.commit().await?;
        connection.done();
        self.forget(&entry.collection.definition.name);
        Ok(())
    }
}
