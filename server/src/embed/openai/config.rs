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

/// The key of a provider. Clones share it, so replacing it affects all further requests.
///
/// `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct ProviderKey(Arc<RwLock<SecretString>>);

impl ProviderKey {
    /// From now on requests send the `other` key.
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

/// The address of the provider, and how to use it.
///
/// `Debug` shows neither the key nor the secrets in the address.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// The address, with or without `/embeddings`, such as `http://127.0.0.1:11434/v1`. If it has no path, `/v1` is
    /// added. A query in it is sent with every request. Default: `OPENAI_BASE_URL`.
    pub base_url: Option<String>,
    /// Sent as a bearer token; to Azure in the header `api-key`. Optional with a base URL: local servers often need
    /// none.
    pub api_key: Option<ProviderKey>,
    /// Maximum number of texts per request, 1 to 2048 (OpenAI's limit). Default 128. If the provider accepts fewer,
    /// pgfox learns that from its refusals and tries more from time to time.
    pub max_batch_texts: usize,
    /// Maximum number of bytes of text per request. A longer text is sent alone. Default 256 KiB. A token has at least
    /// one byte, so this keeps a request below OpenAI's limit of 300,000 tokens.
    pub max_batch_bytes: usize,
    /// Maximum number of requests at a time over the whole server. If it is more than 1, a quarter, rounded up, is
    /// reserved for queries. Default 8.
    pub concurrency: usize,
    /// Maximum size of a reply in bytes; a longer one is given up. Default 64 MiB, enough for 128 vectors of 16,000
    /// values at 30 bytes each.
    pub max_reply_bytes: usize,
    /// Maximum time for one request, from connecting to the end of the reply. Default 60 s.
    pub request_timeout: Duration,
    /// Maximum number of retries after rate limits, failures of the provider and lost connections. Default 5.
    pub max_retries: usize,
    /// No retry starts later than this after the first attempt, and no request waits longer for its turn. Default 120
    /// s.
    pub max_elapsed: Duration,
    /// The longest Retry-After that a call waits for. If the provider asks for more, the caller gets an error at once.
    /// Default 30 s.
    pub retry_after_cap: Duration,
    /// How long the provider may be silent while somebody waits. After that, a caller that leaves or an attempt that
    /// fails marks it as out of order. Default 5 s.
    pub hangs_after: Duration,
    /// How long the provider counts as out of order after a failure, if no call shows that it works. Default 60 s.
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

    /// The key that requests send now. Empty if there is none.
    pub(super) fn current_key(&self) -> SecretString {
        self.api_key.as_ref().map(ProviderKey::current).unwrap_or_default()
    }
}
