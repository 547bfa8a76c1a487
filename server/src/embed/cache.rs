//! A cache of the vectors of recent query texts. People search for the same things, and every embedding costs time or
//! money. Callers that ask for the same text at the same time share one call to the model.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::{EmbedError, Embeddings, Model};

/// Maximum age of a cached vector: a provider can change a model without changing its name.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// Approximate size of an entry beside its vector, in bytes.
const ENTRY_BYTES: usize = 200;

/// The vectors of query texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryEmbeddings {
    /// The vectors one after another, in the order of the texts.
    pub values: Vec<f32>,
    /// Tokens that the model read for this call.
    pub tokens: u64,
    /// The number of texts whose vector was cached, or that another caller was embedding at the time.
    pub cached: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    values: Arc<[f32]>,
    tokens: u64,
}

type Key = [u8; 32];

#[derive(Debug)]
pub(super) struct QueryCache {
    entries: Cache<Key, Entry>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl QueryCache {
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |_: &Key, entry: &Entry| u32::try_from(entry.values.len() * 4 + ENTRY_BYTES).unwrap_or(u32::MAX);
        let entries = Cache::builder().max_capacity(max_bytes).weigher(weigh).time_to_live(TIME_TO_LIVE).build();
        Self { entries, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The vectors of texts. Calls `embed` at most once, for the texts that are not cached.
    pub(super) async fn get<F>(&self, model: &Model, texts: &[&str], embed: F) -> Result<QueryEmbeddings, EmbedError>
    where
        F: AsyncFnOnce(&[&str]) -> Result<Embeddings, EmbedError>,
    {
        let found = match texts {
            [text] => self.get_one(model, text, embed).await?,
            texts => self.get_many(model, texts, embed).await?,
        };
        self.hits.fetch_add(found.cached as u64, Ordering::Relaxed);
        self.misses.fetch_add((texts.len() - found.cached) as u64, Ordering::Relaxed);
        Ok(found)
    }

    async fn get_one<F>(&self, model: &Model, text: &str, embed: F) -> Result<QueryEmbeddings, EmbedError>
    where
        F: AsyncFnOnce(&[&str]) -> Result<Embeddings, EmbedError>,
    {
        let key = key(model, text);
        let embed = async {
            let Embeddings { values, tokens, .. } = embed(&[text]).await?;
            Ok(Entry { values: values.into(), tokens })
        };
        let entry = self.entries.entry(key).or_try_insert_with(embed).await;
        let entry = entry.map_err(|error: Arc<EmbedError>| EmbedError::clone(&error))?;
        let fresh = entry.is_fresh();
        let Entry { values, tokens } = entry.into_value();
        if !worth_keeping(&values) {
            self.entries.invalidate(&key).await;
        }
        Ok(QueryEmbeddings {
            values: values.to_vec(),
            tokens: if fresh { tokens } else { 0 },
            cached: usize::from(!fresh),
        })
    }

    async fn get_many<F>(&self, model: &Model, texts: &[&str], embed: F) -> Result<QueryEmbeddings, EmbedError>
    where
        F: AsyncFnOnce(&[&str]) -> Result<Embeddings, EmbedError>,
    {
        let mut found: HashMap<&str, Arc<[f32]>> = HashMap::with_capacity(texts.len());
        let mut unknown: Vec<&str> = Vec::new();
        for text in texts {
            if found.contains_key(text) || unknown.contains(text) {
                continue;
            }
            match self.entries.get(&key(model, text)).await {
                Some(entry) => {
                    found.insert(text, entry.values);
                }
                None => unknown.push(text),
            }
        }
        let mut tokens = 0;
        if !unknown.is_empty() {
            let embedded = embed(&unknown).await?;
            tokens = embedded.tokens;
            for (text, values) in unknown.iter().zip(embedded.values.chunks_exact(model.dimensions.max(1))) {
                let values: Arc<[f32]> = values.into();
                if worth_keeping(&values) {
                    let entry = Entry { values: Arc::clone(&values), tokens: 0 };
                    self.entries.insert(key(model, text), entry).await;
                }
                found.insert(text, values);
            }
        }
        let values = texts.iter().filter_map(|text| found.get(text)).flat_map(|values| values.iter().copied());
        Ok(QueryEmbeddings { values: values.collect(), tokens, cached: texts.len() - unknown.len() })
    }

    /// The number of texts that were cached and of texts that were not, since the start.
    pub(super) fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

/// A vector of zeros is a mistake of a provider, which must not be repeated for an hour.
fn worth_keeping(values: &[f32]) -> bool {
    values.iter().any(|value| *value != 0.0)
}

fn key(model: &Model, text: &str) -> Key {
    let mut hasher = Sha256::new();
    hasher.update((model.name.len() as u64).to_le_bytes());
    hasher.update(&model.name);
    hasher.update((model.dimensions as u64).to_le_bytes());
    hasher.update(text);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(dimensions: usize) -> Model {
        Model { name: "local/m".into(), dimensions, ask_dimensions: false }
    }

    /// Embeds each text as its length, twice, and counts the texts.
    async fn lengths(asked: &AtomicU64, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        asked.fetch_add(texts.len() as u64, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let values = texts.iter().flat_map(|text| [text.len() as f32; 2]).collect();
        Ok(Embeddings {
            values,
            tokens: texts.len() as u64,
            truncated: vec![false; texts.len()],
            ..Embeddings::default()
        })
    }

    #[tokio::test]
    async fn equal_texts_are_embedded_once() {
        let cache = QueryCache::new(1 << 20);
        let asked = AtomicU64::new(0);
        let (model, other) = (model(2), model(3));
        let one = || cache.get(&model, &["fox"], async |texts: &[&str]| lengths(&asked, texts).await);
        // At the same time, and again later.
        let (a, b) = tokio::join!(one(), one());
        let (a, b, c) = (a.unwrap(), b.unwrap(), one().await.unwrap());
        assert_eq!([&a.values, &b.values, &c.values], [&vec![3.0, 3.0]; 3]);
        assert_eq!((a.tokens + b.tokens, a.cached + b.cached, c.cached), (1, 1, 1));
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let many = cache
            .get(&model, &["fox", "a", "bb", "a"], async |texts: &[&str]| lengths(&asked, texts).await)
            .await
            .unwrap();
        assert_eq!(many.values, [3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0]);
        assert_eq!((many.tokens, many.cached), (2, 2));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        assert_eq!(cache.hits_and_misses(), (4, 3));

        // Another model has another vector.
        cache.get(&other, &["fox"], async |texts: &[&str]| lengths(&asked, texts).await).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn failures_and_zeros_are_not_kept() {
        let cache = QueryCache::new(1 << 20);
        let asked = AtomicU64::new(0);
        let failed = cache.get(&model(2), &["fox"], async |_: &[&str]| Err(EmbedError::Busy)).await;
        assert!(matches!(failed, Err(EmbedError::Busy)));
        for _ in 0..2 {
            cache.get(&model(2), &[""], async |texts: &[&str]| lengths(&asked, texts).await).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let cache = QueryCache::new(10 * (8 + ENTRY_BYTES as u64));
        let asked = AtomicU64::new(0);
        let texts: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        cache.get(&model(2), &texts, async |texts: &[&str]| lengths(&asked, texts).await).await.unwrap();
        cache.entries.run_pending_tasks().await;
        assert!(cache.entries.entry_count() <= 10);
    }
}
