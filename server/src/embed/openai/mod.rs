//! Embedding by a server that speaks OpenAI's `POST /embeddings`: OpenAI, gateways, vLLM, Ollama, TEI, llama.cpp.
//!
//! `async-openai` makes the requests; its own retries are replaced by those in here, which see the status and the
//! headers of every answer and honour Retry-After up to a cap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use self::{
    failure::{Failure, Kind},
    health::Health,
    http::into_failure,
    reply::{Reply, Vectors},
};
use super::{
    ConfigError, EmbedError, Embeddings, Model, Purpose, Stats,
    turns::{Turn, Turns},
};

mod config;
mod failure;
mod health;
mod http;
mod message;
mod reply;

pub use self::config::{OpenAiConfig, ProviderKey};
pub(crate) use self::message::shown_url;

/// The first pause before a retry; it doubles with every attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause that the doubling leads to.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// How often a text that is too long for the model is halved: enough to get from 1 MiB to a few words.
const MAX_CUTS: usize = 16;
/// The server's own idea of a batch is not learned below this, so that one odd refusal does not slow everything down.
const MIN_LEARNED_BATCH_TEXTS: usize = 8;

/// The provider. Clones share the connections and the limits.
#[derive(Clone, Debug)]
pub(crate) struct OpenAi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: http::Client,
    config: OpenAiConfig,
    /// Where it is, as callers are told.
    host: String,
    /// One for each request under way. Not held while a retry waits.
    requests: Arc<Turns>,
    health: Health,
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
        let reserved = if config.concurrency > 1 { config.concurrency.div_ceil(4) } else { 0 };
        let (client, host) = http::client(&config)?;
        Ok(Self(Arc::new(Inner {
            client,
            host,
            requests: Arc::new(Turns::new(config.concurrency, reserved)),
            health: Health::new(config.hangs_after, config.outage_lasts),
            batch_texts: AtomicUsize::new(config.max_batch_texts),
            config,
            stats: Stats::default(),
        })))
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.0.stats
    }

    pub(super) fn health(&self) -> &Health {
        &self.0.health
    }

    /// How many values a vector of the model `name` has, with `dimensions` asked for or not.
    pub(super) async fn probe(&self, name: &str, dimensions: Option<usize>) -> Result<usize, EmbedError> {
        let call = Call::new(name, dimensions, Purpose::Query);
        let vectors = self.request(&call, &["dimensions"]).await.map_err(|failure| self.embed_error(&call, failure))?;
        Ok(vectors.dimensions)
    }

    /// Embeds non-empty texts with the model `name`, in as many requests as the limits ask for.
    pub(super) async fn embed(
        &self,
        name: &str,
        model: &Model,
        texts: &[&str],
        purpose: Purpose,
    ) -> Result<Embeddings, EmbedError> {
        let limit = self.0.batch_texts.load(Ordering::Relaxed);
        let call = Call::new(name, model.ask_dimensions.then_some(model.dimensions), purpose);
        // A loop, because a closure here would keep the future from being Send.
        let mut calls = Vec::new();
        for batch in batches(texts, limit, self.0.config.max_batch_bytes) {
            calls.push(self.embed_batch(&call, model, batch));
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
    async fn embed_batch(&self, call: &Call<'_>, model: &Model, batch: &[&str]) -> Result<Embeddings, EmbedError> {
        let mut embeddings = Embeddings::default();
        let mut was_split = false;
        let mut todo = vec![batch]; // the last one is next
        while let Some(part) = todo.pop() {
            if let [text] = part {
                embeddings.append(self.embed_one(call, model, text).await?);
                continue;
            }
            match self.request_checked(call, model, part).await {
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
    async fn embed_one(&self, call: &Call<'_>, model: &Model, text: &str) -> Result<Embeddings, EmbedError> {
        let mut beginning = cut(text, self.0.config.max_batch_bytes);
        for _ in 0..=MAX_CUTS {
            match self.request_checked(call, model, &[beginning]).await {
                Ok(vectors) => {
                    let mut embeddings = vectors.into_embeddings(1);
                    embeddings.truncated[0] = beginning.len() < text.len();
                    return Ok(embeddings);
                }
                Err(Rejected::TooLarge(failure)) => {
                    let half = cut(beginning, beginning.len() / 2);
                    if half.trim().is_empty() {
                        return Err(self.embed_error(call, failure));
                    }
                    beginning = half;
                }
                Err(Rejected::Error(error)) => return Err(error),
            }
        }
        let why = format!("finds even {} bytes of a text too large", beginning.len());
        Err(self.embed_error(call, Failure::new(Kind::TooLarge, why)))
    }

    /// One request, and the dimensions of its vectors checked.
    async fn request_checked(&self, call: &Call<'_>, model: &Model, texts: &[&str]) -> Result<Vectors, Rejected> {
        match self.request(call, texts).await {
            Ok(vectors) if vectors.dimensions != model.dimensions => Err(Rejected::Error(EmbedError::Dimensions {
                model: model.name.clone(),
                expected: model.dimensions,
                actual: vectors.dimensions,
            })),
            Ok(vectors) => Ok(vectors),
            Err(failure) if failure.kind == Kind::TooLarge => Err(Rejected::TooLarge(failure)),
            Err(failure) => Err(Rejected::Error(self.embed_error(call, failure))),
        }
    }

    fn embed_error(&self, call: &Call<'_>, failure: Failure) -> EmbedError {
        failure.into_embed_error(&self.0.host, call.model)
    }

    /// One request with its retries.
    async fn request(&self, call: &Call<'_>, texts: &[&str]) -> Result<Vectors, Failure> {
        let _asking = self.0.health.ask();
        let requested = self.request_uncounted(call, texts).await;
        self.0.stats.ended(texts.len(), requested.as_ref().ok().map(|vectors| vectors.tokens));
        requested
    }

    async fn request_uncounted(&self, call: &Call<'_>, texts: &[&str]) -> Result<Vectors, Failure> {
        let Inner { config, health, host, stats, .. } = &*self.0;
        let start = Instant::now();
        let mut attempt = 0;
        loop {
            let turn = self.turn(call).await?;
            let attempted = self.attempt(call, texts).await;
            drop(turn);
            let failure = match attempted {
                Ok(vectors) => {
                    health.heard();
                    return Ok(vectors);
                }
                Err(failure) => failure,
            };
            if failure.is_answer() {
                health.heard();
            } else {
                health.unheard();
            }
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
            stats.retries.add(1);
            let why = failure.describe(host, call.model);
            tracing::warn!(attempt, pause_ms = pause.as_millis(), why, "retrying an embedding request");
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until a request may be sent.
    async fn turn(&self, call: &Call<'_>) -> Result<Turn, Failure> {
        let Inner { requests, config, .. } = &*self.0;
        let turn = async {
            let _place = call.place.lock().await;
            requests.take(call.purpose).await
        };
        match tokio::time::timeout(config.max_elapsed, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Failure::new(Kind::Busy, "has too many requests waiting for it")),
        }
    }

    /// One HTTP request.
    async fn attempt(&self, call: &Call<'_>, texts: &[&str]) -> Result<Vectors, Failure> {
        let Inner { client, config, .. } = &*self.0;
        let request =
            Request { model: call.model, input: texts, encoding_format: "float", dimensions: call.dimensions };
        let embeddings = client.embeddings();
        let reply = embeddings.create_byot::<_, Reply>(request);
        match tokio::time::timeout(config.request_timeout, reply).await {
            Ok(Ok(reply)) => reply
                .into_vectors(texts.len())
                .map_err(|why| Failure::new(Kind::Garbage, format!("gives an answer that is not usable, with {why}"))),
            Ok(Err(error)) => Err(into_failure(error, config.current_key().expose_secret())),
            Err(_) => {
                let why = format!("did not answer within {:?}", config.request_timeout);
                Err(Failure::new(Kind::Unavailable, why))
            }
        }
    }
}

/// What the requests for one list of texts have in common.
#[derive(Debug)]
struct Call<'c> {
    /// The model by its name there.
    model: &'c str,
    /// Dimensions to ask for.
    dimensions: Option<usize>,
    purpose: Purpose,
    /// Held while one of its requests waits for a turn: a call stands in the queue once, however many requests it makes.
    place: Mutex<()>,
}

impl<'c> Call<'c> {
    fn new(model: &'c str, dimensions: Option<usize>, purpose: Purpose) -> Self {
        Self { model, dimensions, purpose, place: Mutex::new(()) }
    }
}

/// Why a request did not give vectors.
enum Rejected {
    /// Too many texts, or a text too long; fewer or less may work.
    TooLarge(Failure),
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
