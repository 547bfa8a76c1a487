//! Turns text into vectors. Knows neither tonic nor `pgfox::v1`.
//!
//! A model is named by its provider and its name at that provider: `openai/text-embedding-3-small` or
//! `local/all-MiniLM-L6-v2`. [`Embedders`] is what the server offers. [`openai`] asks a provider over HTTP; [`local`]
//! computes in this process.

mod cache;
pub(crate) mod local;
mod local_models;
mod openai;
mod registry;
mod stats;
mod token_counter;
mod turns;

use std::time::Duration;

pub use self::{
    local::LocalModel,
    local_models::LocalConfig,
    openai::{OpenAiConfig, ProviderKey},
    registry::{Embedders, EmbeddingConfig},
};
pub(crate) use self::{
    local_models::FetchModel,
    openai::{OpenAi, shown_url},
    stats::Stats,
    token_counter::TokenCounter,
};

use crate::blocking::Stopped;

/// Maximum length of a model name in bytes. Names at Hugging Face are below 200.
const MAX_NAME_BYTES: usize = 256;

/// A model as a collection uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `openai/<model>` or `local/<name>`.
    pub name: String,
    /// Elements per vector; checked on every reply of a provider.
    pub dimensions: usize,
    /// Whether to send `dimensions` to the provider, because the model's default differs.
    pub ask_dimensions: bool,
}

/// The purpose of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To search. Somebody waits, so these texts come before documents.
    Query,
    /// To be stored.
    Document,
}

/// The vectors of a batch of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The vectors one after another, `dimensions` values each: one allocation for the whole batch.
    pub values: Vec<f32>,
    /// The number of tokens that the model read; 0 if the provider does not say.
    pub tokens: u64,
    /// For each text, whether it was longer than the model reads. Some providers cut a text without saying so.
    pub truncated: Vec<bool>,
    /// The texts, by position, that were cut to this many bytes because the provider said that it reads no more. It may
    /// read more another time.
    pub cut: Vec<(usize, usize)>,
    /// The texts, by position, that the provider refuses although it takes others, and why. Their vectors are zeros.
    pub refused: Vec<(usize, String)>,
}

impl Embeddings {
    pub(crate) fn append(&mut self, part: Self) {
        if self.truncated.is_empty() && self.values.capacity() == 0 {
            *self = part;
            return;
        }
        let before = self.truncated.len();
        self.values.extend_from_slice(&part.values);
        self.tokens += part.tokens;
        self.truncated.extend_from_slice(&part.truncated);
        self.cut.extend(part.cut.into_iter().map(|(position, bytes)| (before + position, bytes)));
        self.refused.extend(part.refused.into_iter().map(|(position, why)| (before + position, why)));
    }
}

/// Why a text could not be embedded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EmbedError {
    /// The server has no such provider or local model. `why` says what to configure.
    #[error("the server does not offer the model \"{model}\": {why}")]
    UnknownModel { model: String, why: String },
    /// The dimensions of the model differ from those requested or from those of the collection.
    #[error("the model \"{model}\" has {actual} dimensions, not {expected}")]
    Dimensions { model: String, expected: usize, actual: usize },
    /// The provider cannot be reached, fails, or answers with something other than embeddings.
    #[error("{why}")]
    Unavailable { why: String, retry_after: Duration },
    /// The provider limits the rate, even after the retries.
    #[error("{why}")]
    RateLimited { why: String, retry_after: Duration },
    /// The quota is used up. Retrying does not help.
    #[error("{why}")]
    QuotaExhausted { why: String },
    /// The provider refuses the key, the model or the request.
    #[error("{why}")]
    Refused { why: String },
    /// The provider refuses the text of a query but takes other texts.
    #[error("{why}")]
    TextRefused { why: String },
    /// The maximum number of calls already waits for the model.
    #[error("too many calls wait for the embedding model; try again later")]
    Busy,
    /// The server is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("\"{url}\" cannot be the base URL of an embedding provider: {why}")]
    BaseUrl { url: String, why: String },
    #[error(
        "the API key of the embedding provider contains characters that an HTTP header cannot carry; check it for a \
         line break"
    )]
    ApiKey,
    #[error("{name} of the embedding provider is 0; it must be at least 1")]
    Zero { name: &'static str },
    #[error(
        "cannot set up HTTPS to the embedding provider: {why}; check that the system's CA certificates are installed"
    )]
    HttpClient { why: String },
    #[error("the default model \"{model}\" is not offered: {why}")]
    DefaultModel { model: String, why: String },
}

fn unknown(model: &str, why: &str) -> EmbedError {
    // The caller chooses the name, which may be anything.
    EmbedError::UnknownModel { model: model.chars().take(MAX_NAME_BYTES).collect(), why: why.to_owned() }
}
