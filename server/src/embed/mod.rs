//! Turning text into vectors. Knows neither tonic nor `pgfox::v1`.
//!
//! A model is named by its provider and its name there: `openai/text-embedding-3-small` or `local/all-MiniLM-L6-v2`.

use std::time::Duration;

/// A model as a collection uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `openai/<model>` or `local/<name>`.
    pub name: String,
    /// Elements per vector; checked on every reply of a provider.
    pub dimensions: usize,
    /// Send `dimensions` to the provider, because the model gives another number by itself.
    pub ask_dimensions: bool,
}

/// The vectors of a batch of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The vectors one after the other, `dimensions` values each: one allocation for the whole batch.
    pub values: Vec<f32>,
    /// Tokens that the model read.
    pub tokens: u64,
    /// For each text, whether it was longer than the model reads.
    pub truncated: Vec<bool>,
}

/// Why a text could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// No such provider or local model here; `why` says what to configure.
    #[error("the server does not offer the model \"{model}\": {why}")]
    UnknownModel { model: String, why: String },
    /// The model gives other dimensions than asked for, or than the collection has.
    #[error("the model \"{model}\" gives {actual} dimensions, not {expected}")]
    Dimensions { model: String, expected: usize, actual: usize },
    /// The provider cannot be reached, fails, or answers with something that is not embeddings.
    #[error("the embedding provider is unavailable: {why}")]
    Unavailable { why: String, retry_after: Duration },
    /// The provider limits the rate, still after the retries.
    #[error("the embedding provider limits the rate")]
    RateLimited { retry_after: Duration },
    /// The quota is used up: repeating does not help.
    #[error("the quota of the embedding provider is used up")]
    QuotaExhausted,
    /// The provider refuses the key, the model or the request.
    #[error("the embedding provider refuses the request: {why}")]
    Refused { why: String },
}
