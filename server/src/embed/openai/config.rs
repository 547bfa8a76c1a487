//! The settings of a provider.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use secrecy::SecretString;

use super::message::shown_url;

/// OpenAI's own address, used when there is a key and no base URL.
pub(super) const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

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

    pub(super) fn current(&self) -> SecretString {
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
/// `Debug` shows neither the key nor what is secret in the address.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// The address, with or without `/embeddings`, such as `http://127.0.0.1:11434/v1`; only a host stands for its `/v1`. A
    /// query is sent with every request. Default: `OPENAI_BASE_URL`.
    pub base_url: Option<String>,
    /// Sent as a bearer token, to Azure in the header `api-key`. Optional with a base URL: local servers often need none.
    pub api_key: Option<ProviderKey>,
    /// Texts per request, 1 to 2048 (OpenAI's limit). Default 128. When the provider takes fewer, that is learned
    /// from its refusals, and more are tried again from time to time.
    pub max_batch_texts: usize,
    /// Bytes of text per request; a longer text goes alone. Default 256 KiB. A token has at least one byte, so that this
    /// keeps a request below OpenAI's limit of 300,000 tokens.
    pub max_batch_bytes: usize,
    /// Requests under way at a time, over the whole server. A quarter of them, rounded up, is for queries alone, unless it
    /// is a single one. Default 8.
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
    /// How long the provider may be silent while somebody waits before it is taken to be out of order, if that caller then
    /// leaves or an attempt fails. Default 5 s.
    pub hangs_after: Duration,
    /// How long the provider is taken to be out of order after a failure, if no call shows that it works. Default 60 s.
    pub outage_lasts: Duration,
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
            hangs_after: Duration::from_secs(5),
            outage_lasts: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("base_url", &self.base_url.as_deref().map(shown_url))
            .field("max_batch_texts", &self.max_batch_texts)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

impl OpenAiConfig {
    /// Whether the server offers `openai/...` models: it has a key or a base URL.
    pub fn is_enabled(&self) -> bool {
        self.base_url.is_some() || self.api_key.is_some()
    }

    /// The key that requests send now, empty without one.
    pub(super) fn current_key(&self) -> SecretString {
        self.api_key.as_ref().map(ProviderKey::current).unwrap_or_default()
    }
}
