//! Embedding by a server that speaks OpenAI's `POST /embeddings`: OpenAI, gateways, vLLM, Ollama, TEI, llama.cpp.
//!
//! `async-openai` makes the requests; its own retries are replaced by those in here, which see the status and the
//! headers of every answer and honour Retry-After up to a cap.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::SecretString;
use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};

use self::{
    failure::{Failure, Kind},
    http::into_failure,
    reply::{Reply, Vectors},
};
use super::{ConfigError, EmbedError, Embeddings, Model, Stats};

mod failure;
mod http;
mod reply;

/// OpenAI's own address, used when there is a key and no base URL.
pub(super) const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// The first pause before a retry; it doubles with every attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause that the doubling leads to.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// How often a text that is too long for the model is halved: enough to get from 1 MiB to a few words.
const MAX_CUTS: usize = 16;
/// The server's own idea of a batch is not learned below this, so that one odd refusal does not slow everything down.
const MIN_LEARNED_BATCH_TEXTS: usize = 8;

/// The key of a provider. Clones share it, so that replacing it replaces it for the requests that follow.
///
/// `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct ProviderKey(Arc<RwLock<SecretString>>);

impl ProviderKey {
    /// Requests send the `other` key from now on.
    pub fn replace(&self, other: &Self) {
        let other = other.current();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    fn current(&self) -> SecretString {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<&str> for ProviderKey {
    fn from(key: &str) -> Self {
        Self(Arc::new(RwLock::new(key.into())))
    }
}

/// Where the provider is and how it is used.
///
/// `Debug` does not show the key.
#[derive(Clone, Debug)]
pub struct OpenAiConfig {
    /// The address up to and without `/embeddings`, such as `http://127.0.0.1:11434/v1`. Default: `OPENAI_BASE_URL`.
    pub base_url: Option<String>,
    /// Sent as a bearer token. Optional with a base URL: local servers often need none.
    pub api_key: Option<ProviderKey>,
    /// Texts per request, 1 to 2048 (OpenAI's limit). Default 128. When the provider takes fewer, that is learned from its refusals.
    pub max_batch_texts: usize,
    /// Bytes of text per request; a longer text is cut there. Default 256 KiB. A token has at least one byte, so that this
    /// keeps a request below OpenAI's limit of 300,000 tokens.
    pub max_batch_bytes: usize,
    /// Requests under way at a time, over the whole server. Default 8.
    pub concurrency: usize,
    /// Bytes of a reply that are read before it is given up. Default 64 MiB: 128 vectors of 16,000 values fit, 30 bytes each.
    pub max_reply_bytes: usize,
    /// Time for one request, from connecting to the end of the reply. Default 60 s.
    pub request_timeout: Duration,
    /// Attempts after the first one, on rate limits, failures of the provider and lost connections. Default 5.
    pub max_retries: usize,
    /// No retry starts later than this after the first attempt, and no request waits longer for its turn. Default 120 s.
    pub max_elapsed: Duration,
    /// The longest Retry-After that is waited for. When the provider asks for more, the caller is told at once. Default 30 s.
    pub retry_after_cap: Duration,
}

impl Default for OpenAiConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            api_key: None,
            max_batch_texts: 128,
            max_batch_bytes: 256 * 1024,
            concurrency: 8,
            max_reply_bytes: 64 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            max_retries: 5,
            max_elapsed: Duration::from_secs(120),
            retry_after_cap: Duration::from_secs(30),
        }
    }
}

impl OpenAiConfig {
    /// Whether the server offers `openai/...` models: it has a key or a base URL.
    pub fn is_enabled(&self) -> bool {
        self.base_url.is_some() || self.api_key.is_some()
    }
}

/// The provider. Clones share the connections and the limits.
#[derive(Clone, Debug)]
pub(crate) struct OpenAi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: http::Client,
    config: OpenAiConfig,
    /// One permit per request under way. Not held while a retry waits.
    requests: Semaphore,
    /// `max_batch_texts`, or less once the provider has refused that many.
    batch_texts: AtomicUsize,
    stats: Stats,
}

impl OpenAi {
    /// Checks the configuration; connects to nothing yet.
    pub(crate) fn new(config: OpenAiConfig) -> Result<Self, ConfigError> {
        let positive = [
            ("max_batch_texts", config.max_batch_texts),
            ("max_batch_bytes", config.max_batch_bytes),
            ("concurrency", config.concurrency),
            ("max_reply_bytes", config.max_reply_bytes),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { name });
        }
        Ok(Self(Arc::new(Inner {
            client: http::client(&config)?,
            requests: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
            batch_texts: AtomicUsize::new(config.max_batch_texts),
            config,
            stats: Stats::default(),
        })))
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// How many values a vector of the model `name` has, with `dimensions` asked for or not.
    pub(super) async fn probe(&self, name: &str, dimensions: Option<usize>) -> Result<usize, EmbedError> {
        let vectors = self.request(name, dimensions, &["dimensions"]).await.map_err(Failure::into_embed_error)?;
        Ok(vectors.dimensions)
    }

    /// Embeds non-empty texts with the model `name`, in as many requests as the limits ask for.
    pub(super) async fn embed(&self, name: &str, model: &Model, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        let limit = self.0.batch_texts.load(Ordering::Relaxed);
        // A loop, because a closure here would keep the future from being Send.
        let mut calls = Vec::new();
        for batch in batches(texts, limit, self.0.config.max_batch_bytes) {
            calls.push(self.embed_batch(name, model, batch));
        }
        let mut parts = stream::iter(calls).buffered(self.0.config.concurrency);

        let mut embeddings = Embeddings {
            values: Vec::with_capacity(texts.len() * model.dimensions),
            tokens: 0,
            truncated: Vec::with_capacity(texts.len()),
        };
        while let Some(part) = parts.try_next().await? {
            embeddings.append(part);
        }
        Ok(embeddings)
    }

    /// Embeds a batch. What the provider finds too large is split, down to single texts, which are cut.
    async fn embed_batch(&self, name: &str, model: &Model, batch: &[&str]) -> Result<Embeddings, EmbedError> {
        let mut embeddings = Embeddings::default();
        let mut was_split = false;
        let mut todo = vec![batch]; // the last one is next
        while let Some(part) = todo.pop() {
            if let [text] = part {
                embeddings.append(self.embed_one(name, model, text).await?);
                continue;
            }
            match self.request_checked(name, model, part).await {
                Ok(vectors) => embeddings.append(vectors.into_embeddings(part.len())),
                Err(Rejected::TooLarge(_)) => {
                    was_split = true;
                    let (first, second) = part.split_at(part.len() / 2);
                    todo.extend([second, first]);
                }
                Err(Rejected::Error(error)) => return Err(error),
            }
        }
        // Nothing had to be cut, so it was the number of texts that the provider refused.
        if was_split && !embeddings.truncated.contains(&true) {
            let learned = (batch.len() / 2).max(MIN_LEARNED_BATCH_TEXTS);
            if self.0.batch_texts.fetch_min(learned, Ordering::Relaxed) > learned {
                tracing::warn!(
                    texts = learned,
                    "the embedding provider takes fewer texts in a request than configured"
                );
            }
        }
        Ok(embeddings)
    }

    /// Embeds a text, or as much of its beginning as the model reads.
    async fn embed_one(&self, name: &str, model: &Model, text: &str) -> Result<Embeddings, EmbedError> {
        let mut beginning = cut(text, self.0.config.max_batch_bytes);
        for _ in 0..=MAX_CUTS {
            match self.request_checked(name, model, &[beginning]).await {
                Ok(vectors) => {
                    let mut embeddings = vectors.into_embeddings(1);
                    embeddings.truncated[0] = beginning.len() < text.len();
                    return Ok(embeddings);
                }
                Err(Rejected::TooLarge(why)) => {
                    let half = cut(beginning, beginning.len() / 2);
                    if half.trim().is_empty() {
                        return Err(EmbedError::Refused { why });
                    }
                    beginning = half;
                }
                Err(Rejected::Error(error)) => return Err(error),
            }
        }
        Err(EmbedError::Refused { why: format!("even {} bytes of a text are too long", beginning.len()) })
    }

    /// One request, and the dimensions of its vectors checked.
    async fn request_checked(&self, name: &str, model: &Model, texts: &[&str]) -> Result<Vectors, Rejected> {
        let dimensions = model.ask_dimensions.then_some(model.dimensions);
        match self.request(name, dimensions, texts).await {
            Ok(vectors) if vectors.dimensions != model.dimensions => Err(Rejected::Error(EmbedError::Dimensions {
                model: model.name.clone(),
                expected: model.dimensions,
                actual: vectors.dimensions,
            })),
            Ok(vectors) => Ok(vectors),
            Err(failure) if failure.kind == Kind::TooLarge => Err(Rejected::TooLarge(failure.why)),
            Err(failure) => Err(Rejected::Error(failure.into_embed_error())),
        }
    }

    /// One request with its retries.
    async fn request(&self, name: &str, dimensions: Option<usize>, texts: &[&str]) -> Result<Vectors, Failure> {
        let requested = self.request_uncounted(name, dimensions, texts).await;
        self.0.stats.ended(texts.len(), requested.as_ref().ok().map(|vectors| vectors.tokens));
        requested
    }

    async fn request_uncounted(
        &self,
        name: &str,
        dimensions: Option<usize>,
        texts: &[&str],
    ) -> Result<Vectors, Failure> {
        let config = &self.0.config;
        let start = Instant::now();
        let mut attempt = 0;
        loop {
            let failure = match self.attempt(name, dimensions, texts).await {
                Ok(vectors) => return Ok(vectors),
                Err(failure) => failure,
            };
            if !failure.is_transient() || attempt == config.max_retries {
                return Err(failure);
            }
            let pause = match failure.retry_after {
                Some(asked) if asked > config.retry_after_cap => return Err(failure),
                // a little later than asked, and not everyone at once
                Some(asked) => asked.saturating_add(FIRST_BACKOFF.mul_f64(rand::random_range(0.0..1.0))),
                None => backoff(attempt).mul_f64(rand::random_range(0.0..1.0)),
            };
            if start.elapsed().saturating_add(pause) >= config.max_elapsed {
                return Err(failure);
            }
            attempt += 1;
            self.0.stats.retries.add(1);
            tracing::warn!(attempt, pause_ms = pause.as_millis(), why = failure.why, "retrying an embedding request");
            tokio::time::sleep(pause).await;
        }
    }

    /// One HTTP request.
    async fn attempt(&self, name: &str, dimensions: Option<usize>, texts: &[&str]) -> Result<Vectors, Failure> {
        let Inner { client, config, requests, .. } = &*self.0;
        let turn = tokio::time::timeout(config.max_elapsed, requests.acquire()).await;
        // The semaphore is never closed, so what is held here is a permit.
        let _permit = turn.map_err(|_| Failure::new(Kind::Unavailable, "too many requests to it are under way"))?;

        let request = Request { model: name, input: texts, encoding_format: "float", dimensions };
        let embeddings = client.embeddings();
        let reply = embeddings.create_byot::<_, Reply>(request);
        match tokio::time::timeout(config.request_timeout, reply).await {
            Ok(Ok(reply)) => reply
                .into_vectors(texts.len())
                .map_err(|why| Failure::new(Kind::Garbage, format!("its answer is not usable: {why}"))),
            Ok(Err(error)) => Err(into_failure(error)),
            Err(_) => Err(Failure::new(Kind::Unavailable, "it did not answer in time")),
        }
    }
}

/// Why a request did not give vectors.
enum Rejected {
    /// Too many texts, or a text too long; fewer or less may work.
    TooLarge(String),
    Error(EmbedError),
}

/// The body of `POST /embeddings`.
#[derive(Serialize)]
struct Request<'t> {
    model: &'t str,
    input: &'t [&'t str],
    /// Always said: some servers answer in base64 when it is missing.
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// The pause before retry number `attempt` (from 0), before jitter.
fn backoff(attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt).ok().and_then(|attempt| 2_u32.checked_pow(attempt));
    doubled.and_then(|times| FIRST_BACKOFF.checked_mul(times)).map_or(MAX_BACKOFF, |pause| pause.min(MAX_BACKOFF))
}

/// Splits texts into runs of at most `max_texts` and `max_bytes`; a text above `max_bytes` is alone.
fn batches<'t>(texts: &'t [&'t str], max_texts: usize, max_bytes: usize) -> Vec<&'t [&'t str]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (end, text) in texts.iter().enumerate() {
        if end > start && (end - start == max_texts || bytes + text.len() > max_bytes) {
            batches.push(&texts[start..end]);
            (start, bytes) = (end, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

/// The beginning of a text, at most `bytes` long and no character broken.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_order_and_bounds() {
        let texts = ["aa", "b", "cccc", "dddddddd", "e", "f", "g"];
        let batches = batches(&texts, 2, 5);
        assert_eq!(batches, [&["aa", "b"][..], &["cccc"], &["dddddddd"], &["e", "f"], &["g"]]);
        assert!(super::batches(&[], 2, 5).is_empty());
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("aäb", 100), "aäb");
        assert_eq!(cut("ä", 1), "");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(backoff(0), Duration::from_millis(500));
        assert_eq!(backoff(3), Duration::from_secs(4));
        assert_eq!(backoff(4), MAX_BACKOFF);
        assert_eq!(backoff(usize::MAX), MAX_BACKOFF);
    }
}
