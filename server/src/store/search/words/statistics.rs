//! How many texts have a word, and how long texts are.
//!
//! Small collections are counted when they are searched. In larger ones the common words come from the statistics that
//! ANALYZE gathers of the words (`most_common_elems`), kept in `word_frequencies`, and the rare ones are counted by the
//! index. So nothing has to be kept in step by those who write.

use std::time::Duration;

use crate::{
    store::{
        Store, StoreError,
        catalog::Entry,
        connection::{Connection, Value},
        search::{
            SearchSettings, TEXT_LENGTH,
            words::ranking::{quoted, tsquery},
        },
        tables::Tables,
        transaction::Transaction,
    },
    words::{Pattern, Term},
};

/// Up to so many texts are counted at each search.
const COUNTED: i64 = 5_000;
/// Statistics are gathered again when the number of texts has changed by more than this part.
const CHANGED: f64 = 0.2;
/// The average length is that of about so many texts.
const SAMPLED: f64 = 30_000.0;
/// How long gathering statistics may take.
const GATHER_TIMEOUT: Duration = Duration::from_secs(600);
/// Statistics of this age are not gathered again.
const JUST_NOW: &str = "interval '5 seconds'";

/// How much is known of the words of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::search) enum Freshness {
    /// As it is now.
    Counted,
    /// Statistics that fit the collection.
    Fresh,
    /// Statistics of the collection when it was smaller or larger by more than a fifth.
    Old,
    /// No statistics: what common words count is a guess.
    Missing,
}

/// What BM25 counts.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) texts: f64,
    /// Average number of words of a text.
    pub(super) length: f64,
    /// The number of texts that have each term.
    pub(super) having: Vec<f64>,
    pub(super) freshness: Freshness,
}

impl Counts {
    pub(super) async fn read(
        connection: &Connection,
        entry: &Entry,
        internal: &str,
        terms: &[Term],
        settings: &SearchSettings,
    ) -> Result<Self, StoreError> {
        // A phrase is counted as a whole; each lexeme of a word has a frequency of its own.
        let mut lexemes: Vec<&str> = Vec::new();
        let mut queries: Vec<String> = Vec::new();
        for term in terms {
            match &term.pattern {
                Pattern::Word(any) => {
                    for lexeme in any {
                        lexemes.push(lexeme);
                        queries.push(quoted(lexeme));
                    }
                }
                pattern @ Pattern::Phrase(_) => {
                    lexemes.push("");
                    queries.push(tsquery(pattern));
                }
            }
        }
        let (id, chunks) = (entry.collection.id, &entry.tables.chunks);
        let sql = format!(
            "-- word_counts
             WITH known AS MATERIALIZED (
                 SELECT chunk_count, average_length FROM {internal}.word_statistics WHERE collection_id = {id}),
             first AS MATERIALIZED (
                 SELECT count(*) AS chunks, avg(length)::float8 AS length FROM (
                     SELECT {TEXT_LENGTH} AS length FROM {chunks} w WHERE NOT EXISTS (SELECT FROM known)
                     LIMIT {limit}) w)
             SELECT known.chunk_count, known.average_length, first.chunks, first.length,
                    pg_stat_get_live_tuples('{chunks}'::regclass),
                    ARRAY(SELECT coalesce(
                              (SELECT f.frequency::float8 * known.chunk_count FROM {internal}.word_frequencies f
                               WHERE f.collection_id = {id} AND f.lexeme = t.lexeme),
                              (SELECT count(*) FROM (
                                   SELECT FROM {chunks} w WHERE w.words @@ t.query LIMIT {limit}) w))
                          FROM unnest($1::text[], $2::text[]::tsquery[]) WITH ORDINALITY t(lexeme, query, number)
                          ORDER BY t.number)
             FROM first LEFT JOIN known ON true",
            limit = COUNTED + 1
        );
        let transaction = Transaction::read_only(connection)
            .deadline(settings.deadline)
            .set("jit", "off")
            .set("enable_seqscan", "off");
        let statement = connection.prepare_cached(&sql).await?;
        let parameters: [&dyn Value; 2] = [&lexemes, &queries];
        let row = connection.query_one(&statement, &parameters);
        let (begun, row, committed) = futures_util::join!(transaction.begin(), row, transaction.commit());
        begun?;
        let row = row?;
        committed?;
        let known: Option<i64> = row.get(0);
        let first: i64 = row.get(2);
        let live = row.get::<_, Option<i64>>(4).unwrap_or(0) as f64;
        let (texts, length, freshness) = match known {
            Some(known) => {
                let known = known as f64;
                let changed = live > 0.0 && (live - known).abs() > CHANGED * known;
                (known, row.get::<_, Option<f64>>(1), if changed { Freshness::Old } else { Freshness::Fresh })
            }
            None if first <= COUNTED => (first as f64, row.get(3), Freshness::Counted),
            None => (live.max(first as f64), row.get(3), Freshness::Missing),
        };
        let mut counted = row.get::<_, Vec<f64>>(5).into_iter();
        let having = terms.iter().map(|term| match &term.pattern {
            Pattern::Word(any) => any.iter().filter_map(|_| counted.next()).sum(),
            Pattern::Phrase(_) => counted.next().unwrap_or(0.0),
        });
        Ok(Self { texts, length: length.unwrap_or(0.0), having: having.collect(), freshness })
    }
}

impl Store {
    /// Gathers the statistics of the words of a collection, unless another server has just done so. One transaction, so that
    /// it works through a pooler and nobody sees half of it. ANALYZE waits for that of another server, by its own lock.
    pub(in crate::store) async fn gather_word_statistics(&self, collection_id: i64) -> Result<(), StoreError> {
        let Some(entry) = self.find_entry("c.id = $1", collection_id).await? else { return Ok(()) };
        let connection = self.connection_to(&entry).await?;
        let Tables { internal, chunks, .. } = &entry.tables;
        let id = collection_id;
        let is_new = format!(
            "-- gather_word_statistics
             SELECT EXISTS (SELECT FROM {internal}.word_statistics
                            WHERE collection_id = {id} AND gathered_at > now() - {JUST_NOW})"
        );
        let transaction =
            Transaction::read_write(&connection).timeout(GATHER_TIMEOUT).lock_timeout(Duration::from_secs(1));
        transaction.begin().await?;
        if !connection.query_one(&is_new, &[]).await?.get::<_, bool>(0) {
            connection
                .batch_execute(&format!(
                    "ANALYZE {chunks} (words, word_count);
                     DELETE FROM {internal}.word_frequencies WHERE collection_id = {id};
                     INSERT INTO {internal}.word_frequencies (collection_id, lexeme, frequency)
                     SELECT {id}, e.lexeme, e.frequency
                     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = 'words',
                          unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) e(lexeme, frequency)
                     WHERE c.oid = '{chunks}'::regclass AND c.reltuples > {COUNTED} AND e.lexeme IS NOT NULL;
                     DELETE FROM {internal}.word_statistics WHERE collection_id = {id};
                     INSERT INTO {internal}.word_statistics (collection_id, chunk_count, average_length, gathered_at)
                     SELECT {id}, reltuples, length, clock_timestamp() FROM pg_class, (
                         SELECT avg({TEXT_LENGTH})::float8 AS length FROM {chunks} w TABLESAMPLE SYSTEM (
                             (SELECT least(100, 100 * {SAMPLED} / greatest(1, reltuples)) FROM pg_class
                              WHERE oid = '{chunks}'::regclass))) sampled
                     WHERE oid = '{chunks}'::regclass AND reltuples > {COUNTED} AND length IS NOT NULL"
                ))
                .await?;
        }
        transaction.commit().await?;
        connection.done();
        Ok(())
    }
}
