//! Embeds through a server that speaks OpenAI's `POST /embeddings`: OpenAI, gateways, vLLM, Ollama, TEI, llama.cpp.
//!
//! `async-openai` makes the requests. This module replaces its retries, because it sees the status and the headers of
//! every answer and honours Retry-After up to a cap.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use secrecy::ExposeSecret as _;
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use self::{
    batch_size::BatchSize,
    failure::{Failure, Kind},
    health::Health,
    http::into_failure,
    reply::{Reply, Vectors},
};
use super::{
    ConfigError, EmbedError, Purpose, Stats,
    turns::{Turn, Turns},
};

mod batch_size;
mod batches;
mod config;
mod error_body;
mod failure;
mod health;
mod http;
mod message;
mod reply;

pub use self::config::{OpenAiConfig, ProviderKey};
pub(crate) use self::message::shown_url;

/// The first pause before a retry; it doubles with every attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause that doubling leads to.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// A text that every model accepts.
const PROBE: &str = "dimensions";

/// The provider. Clones share the connections and the limits.
#[derive(Clone, Debug)]
pub(crate) struct OpenAi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: http::Client,
    config: OpenAiConfig,
    /// The address of requests, as callers see it.
    url: String,
    /// One turn for each running request. A request that waits for a retry holds none.
    requests: Arc<Turns>,
    health: Health,
    batch_size: BatchSize,
    stats: Stats,
}

impl OpenAi {
    /// Checks the configuration. Does not connect yet.
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
        let (client, url) = http::client(&config)?;
        Ok(Self(Arc::new(Inner {
            client,
            url,
            requests: Arc::new(Turns::new(config.concurrency, reserved)),
            health: Health::new(config.hangs_after, config.outage_lasts),
            batch_size: BatchSize::new(config.max_batch_texts),
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

    /// The number of dimensions of the model `name`, with `dimensions` requested or not.
    pub(super) async fn probe(&self, name: &str, dimensions: Option<usize>) -> Result<usize, EmbedError> {
        let call = Call::new(name, dimensions, Purpose::Query);
        let vectors = self.request(&call, &[PROBE]).await.map_err(|failure| self.embed_error(&call, failure))?;
        Ok(vectors.dimensions)
    }

    fn embed_error(&self, call: &Call<'_>, failure: Failure) -> EmbedError {
        failure.into_embed_error(&self.0.url, call.model)
    }

    /// Sends one request and retries it.
    async fn request(&self, call: &Call<'_>, texts: &[&str]) -> Result<Vectors, Failure> {
        let _asking = self.0.health.ask();
        let requested = self.request_uncounted(call, texts).await;
        self.0.stats.ended(texts.len(), requested.as_ref().ok().map(|vectors| vectors.tokens));
        requested
    }

    async fn request_uncounted(&self, call: &Call<'_>, texts: &[&str]) -> Result<Vectors, Failure> {
        let Inner { config, health, url, stats, .. } = &*self.0;
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
                // A little later than requested, and not all callers at once.
                Some(asked) => asked.saturating_add(FIRST_BACKOFF.mul_f64(rand::random_range(0.0..1.0))),
                None => backoff(attempt).mul_f64(rand::random_range(0.0..1.0)),
            };
            if start.elapsed().saturating_add(pause) >= config.max_elapsed {
                return Err(failure);
            }
            attempt += 1;
            stats.retries.add(1);
            let why = failure.describe(url, call.model);
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
            Ok(Ok(mut reply)) => {
                if let Some(body) = reply.without_vectors() {
                    return Err(Failure::from_success(&body, config.current_key().expose_secret()));
                }
                let unusable = |why| format!("gives an answer that cannot be used, with {why}");
                reply.into_vectors(texts.len()).map_err(|why| Failure::new(Kind::Garbage, unusable(why)))
            }
            Ok(Err(error)) => Err(into_failure(error, config.current_key().expose_secret())),
            Err(_) => {
                let why = format!("did not answer within {:?}", config.request_timeout);
                Err(Failure::new(Kind::Unavailable, why))
            }
        }
    }
}

/// The shared state of the requests for one list of texts.
#[derive(Debug)]
struct Call<'c> {
    /// The name of the model at the provider.
    model: &'c str,
    /// The dimensions to request.
    dimensions: Option<usize>,
    purpose: Purpose,
    /// Held while one of its requests waits for a turn: a call is in the queue once, however many requests it makes.
    place: Mutex<()>,
    /// Whether the provider has returned vectors for any of its texts.
    is_answered: AtomicBool,
}

impl<'c> Call<'c> {
    fn new(model: &'c str, dimensions: Option<usize>, purpose: Purpose) -> Self {
        Self { model, dimensions, purpose, place: Mutex::new(()), is_answered: AtomicBool::new(false) }
    }
}

/// The body of `POST /embeddings`.
#[derive(Serialize)]
struct Request<'t> {
    model: &'t str,
    input: &'t [&'t str],
    /// Always sent: some servers answer in base64 if it is missing.
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// The pause before retry number `attempt` (from 0), before jitter.
fn backoff(attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt).ok().and_then(|attempt| 2_u32.checked_pow(attempt));
    doubled.and_then(|times| FIRST_BACKOFF.checked_mul(times)).map_or(MAX_BACKOFF, |pause| pause.min(MAX_BACKOFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(backoff(0), Duration::from_millis(500));
        assert_eq!(backoff(3), Duration::from_secs(4));
        assert_eq!(backoff(4), MAX_BACKOFF);
        assert_eq!(backoff(usize::MAX), MAX_BACKOFF);
    }
}
