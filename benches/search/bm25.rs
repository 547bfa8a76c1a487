//! BM25 of every document, computed here from the words that Postgres stores: what a search must find.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use tokio_postgres::types::{FromSql, Type};

/// The defaults of a collection.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// How far two scores may differ and count as the same: the server answers in floats of 4 bytes.
const TOLERANCE: f64 = 1e-5;

/// A lexeme with the number of times that a text has it.
type Counts = Vec<(String, u32)>;

/// The tables of a collection.
pub(super) struct Tables {
    pub(super) documents: String,
    pub(super) chunks: String,
}

impl Tables {
    pub(super) async fn of(sql: &tokio_postgres::Client, collection: &str) -> anyhow::Result<Self> {
        let find = "SELECT id FROM pgfox_internal.collections WHERE name = $1";
        let id: i64 = sql.query_one(find, &[&collection]).await?.get(0);
        Ok(Self { documents: format!("pgfox_internal.documents_{id}"), chunks: format!("pgfox_internal.chunks_{id}") })
    }

    /// The words of every document, as stored.
    pub(super) async fn words(&self, sql: &tokio_postgres::Client) -> anyhow::Result<HashMap<String, Counts>> {
        let read =
            format!("SELECT d.id, c.words FROM {} c JOIN {} d ON d.key = c.document_key", self.chunks, self.documents);
        let rows = sql.query(&read, &[]).await?;
        rows.iter().map(|row| Ok((row.get(0), row.get::<_, Lexemes<'_>>(1).counts()?))).collect()
    }
}

/// What BM25 needs of a collection for some queries.
pub(super) struct Scores {
    /// Words of each document.
    lengths: Vec<u32>,
    /// The documents that have a lexeme, and how often.
    postings: HashMap<String, Vec<(u32, u32)>>,
    average_length: f64,
}

impl Scores {
    /// Reads all documents, whose ids are numbers from 0, and keeps of them what these lexemes need.
    pub(super) async fn read(
        sql: &tokio_postgres::Client,
        tables: &Tables,
        documents: usize,
        lexemes: &HashSet<&str>,
    ) -> anyhow::Result<Self> {
        let Tables { documents: table, chunks } = tables;
        let has_length = "SELECT FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'word_count'";
        let has_length = sql.query_opt(has_length, &[chunks]).await?.is_some();
        // Without the column it is the number of positions.
        let length = if has_length { "c.word_count" } else { "NULL::int" };
        let read = format!("SELECT d.id, c.words, {length} FROM {chunks} c JOIN {table} d ON d.key = c.document_key");
        let rows = sql.query_raw(&read, std::iter::empty::<&str>()).await?;
        let mut rows = std::pin::pin!(rows);
        let mut scores = Self { lengths: vec![0; documents], postings: HashMap::new(), average_length: 0.0 };
        while let Some(row) = rows.try_next().await? {
            let number: usize = row.get::<_, &str>(0).parse()?;
            let mut positions = 0;
            for lexeme in row.get::<_, Lexemes<'_>>(1) {
                let (lexeme, count) = lexeme?;
                positions += count;
                if lexemes.contains(lexeme) {
                    let number = u32::try_from(number)?;
                    scores.postings.entry(lexeme.to_owned()).or_default().push((number, count));
                }
            }
            let stored = row.get::<_, Option<i32>>(2).map(u32::try_from).transpose()?;
            *scores.lengths.get_mut(number).context("ids are numbers from 0")? = stored.unwrap_or(positions);
        }
        let total: f64 = scores.lengths.iter().map(|length| f64::from(*length)).sum();
        scores.average_length = total / documents as f64;
        Ok(scores)
    }

    /// How many documents have any of the words, and the score of every document.
    pub(super) fn of(&self, query: &Counts) -> (usize, Vec<f64>) {
        let documents = self.lengths.len() as f64;
        let mut scores = vec![0.0; self.lengths.len()];
        for (lexeme, repeated) in query {
            let Some(postings) = self.postings.get(lexeme) else { continue };
            let df = postings.len() as f64;
            let idf = (1.0 + (documents - df + 0.5) / (df + 0.5)).ln();
            for (document, count) in postings {
                let (number, tf) = (*document as usize, f64::from(*count));
                let length = f64::from(self.lengths[number]) / self.average_length;
                let part = tf * (K1 + 1.0) / (tf + K1 * (1.0 - B + B * length));
                scores[number] += f64::from(*repeated) * idf * part;
            }
        }
        (scores.iter().filter(|score| **score > 0.0).count(), scores)
    }
}

/// How many of the documents found, of at most `limit`, are among the best: those of the same score count alike.
pub(super) fn right(found: &[usize], scores: &[f64], limit: usize) -> usize {
    let mut best: Vec<Reverse<u64>> = scores.iter().map(|score| Reverse(score.to_bits())).collect();
    let (_, Reverse(last), _) = best.select_nth_unstable(limit.min(scores.len()) - 1);
    // Scores are not negative, so their bits are in the order of the numbers.
    let enough = f64::from_bits(*last) * (1.0 - TOLERANCE);
    found.iter().filter(|number| scores[**number] > 0.0 && scores[**number] >= enough).count()
}

/// A tsvector as Postgres sends it: the number of lexemes, then each with a zero byte, the number of its positions and
/// those in two bytes each.
pub(super) struct Lexemes<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl Lexemes<'_> {
    fn counts(self) -> anyhow::Result<Counts> {
        self.map(|lexeme| lexeme.map(|(lexeme, count)| (lexeme.to_owned(), count))).collect()
    }
}

impl<'a> FromSql<'a> for Lexemes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let (left, bytes) = raw.split_first_chunk().ok_or("a tsvector begins with a number")?;
        Ok(Self { left: u32::from_be_bytes(*left), bytes })
    }

    fn accepts(found: &Type) -> bool {
        *found == Type::TS_VECTOR
    }
}

impl<'a> Iterator for Lexemes<'a> {
    type Item = anyhow::Result<(&'a str, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut read = || {
            let end = self.bytes.iter().position(|byte| *byte == 0).context("a lexeme ends")?;
            let (lexeme, rest) = self.bytes.split_at(end);
            let (count, rest) = rest[1..].split_first_chunk().context("a lexeme has a number of positions")?;
            let count = u16::from_be_bytes(*count);
            self.bytes = rest.get(2 * usize::from(count)..).context("there are as many positions")?;
            anyhow::Ok((std::str::from_utf8(lexeme)?, u32::from(count)))
        };
        Some(read())
    }
}
