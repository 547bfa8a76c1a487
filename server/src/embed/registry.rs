//! Maps each model that the server offers to the embedder that serves it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

use super::{
    ConfigError, EmbedError, Embeddings, LocalConfig, LocalModel, MAX_NAME_BYTES, Model, OpenAi, OpenAiConfig, Purpose,
    Stats, TokenCounter,
    cache::{QueryCache, QueryEmbeddings},
    local_models::{LocalModels, is_folder_name},
    unknown,
};

/// The default model if a provider is configured.
const DEFAULT_OPENAI_MODEL: &str = "openai/text-embedding-3-small";
/// The default model without a provider. It is downloaded on first use and computed in this process.
const DEFAULT_LOCAL_MODEL: &str = "local/all-MiniLM-L6-v2";
/// Maximum number of models whose dimensions are remembered. Some servers accept any name, so callers could otherwise
/// fill the memory.
const MAX_REMEMBERED: usize = 1024;

/// The configuration of embedding.
#[derive(Clone, Debug)]
pub struct EmbeddingConfig {
    /// The model of a collection that names none. Default: `openai/text-embedding-3-small` if a provider is configured,
    /// else `local/all-MiniLM-L6-v2`. Empty: no model; callers send vectors.
    pub default_model: Option<String>,
    /// The provider. It is used if it has a key or a base URL.
    pub openai: OpenAiConfig,
    /// The models in this process.
    pub local: LocalConfig,
    /// Maximum memory for the vectors of query texts in bytes; 0 turns the cache off. Default 64 MiB.
    pub query_cache_bytes: u64,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self {
            default_model: None,
            openai: OpenAiConfig::default(),
            local: LocalConfig::default(),
            query_cache_bytes: 64 << 20,
        }
    }
}

/// One way to embed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Embedder {
    OpenAi(OpenAi),
    Local(LocalModel),
}

/// All models that the server offers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedders(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    default_model: String,
    openai: Option<OpenAi>,
    local: Arc<LocalModels>,
    /// The default dimensions of the provider's models.
    natural_dimensions: Mutex<HashMap<String, usize>>,
    queries: QueryCache,
    local_stats: Stats,
    /// Reported if there is no provider.
    no_outage: watch::Sender<Option<Instant>>,
}

impl Embedders {
    /// Checks the configuration. Does not connect, download or load anything yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work.
    pub fn new(config: EmbeddingConfig) -> Result<Self, ConfigError> {
        let openai = config.openai.is_enabled().then(|| OpenAi::new(config.openai)).transpose()?;
        let default_model = match config.default_model {
            Some(model) => model,
            None if openai.is_some() => DEFAULT_OPENAI_MODEL.to_owned(),
            None => DEFAULT_LOCAL_MODEL.to_owned(),
        };
        let embedders = Self(Arc::new(Inner {
            default_model,
            openai,
            local: Arc::new(LocalModels::new(config.local)),
            natural_dimensions: Mutex::default(),
            queries: QueryCache::new(config.query_cache_bytes),
            local_stats: Stats::default(),
            no_outage: watch::Sender::new(None),
        }));
        if embedders.default_model().is_empty() {
            return Ok(embedders);
        }
        match embedders.locate(embedders.default_model()) {
            Err(EmbedError::UnknownModel { model, why }) => Err(ConfigError::DefaultModel { model, why }),
            Ok(_) | Err(_) => Ok(embedders),
        }
    }

    /// The model of a collection that names none. Empty: its callers send vectors.
    pub fn default_model(&self) -> &str {
        &self.0.default_model
    }

    /// Asks the model `name` for a vector, to find out how it gives `dimensions`. `None` means its default.
    ///
    /// # Errors
    /// [`EmbedError::UnknownModel`] if the server does not offer the model, [`EmbedError::Dimensions`] if the model has
    /// other dimensions, and errors of the provider.
    pub async fn resolve(&self, name: &str, dimensions: Option<usize>) -> Result<Model, EmbedError> {
        let natural = match self.embedder(name).await? {
            Embedder::Local(local) => local.dimensions(),
            Embedder::OpenAi(openai) => {
                let resolved = self.resolve_openai(&openai, name, dimensions).await;
                // A caller that names an unknown model is not an outage.
                if !matches!(resolved, Err(EmbedError::Refused { .. })) {
                    report_health(&openai, &resolved);
                }
                return resolved;
            }
        };
        match dimensions {
            Some(expected) if expected != natural => {
                Err(EmbedError::Dimensions { model: name.to_owned(), expected, actual: natural })
            }
            _ => Ok(Model { name: name.to_owned(), dimensions: natural, ask_dimensions: false }),
        }
    }

    async fn resolve_openai(
        &self,
        openai: &OpenAi,
        name: &str,
        dimensions: Option<usize>,
    ) -> Result<Model, EmbedError> {
        let name_there = openai_name(name);
        let remembered = self.natural_dimensions().get(name).copied();
        let natural = match remembered {
            Some(natural) => natural,
            None => {
                let natural = openai.probe(name_there, None).await?;
                let mut remembered = self.natural_dimensions();
                if remembered.len() < MAX_REMEMBERED {
                    remembered.insert(name.to_owned(), natural);
                }
                natural
            }
        };
        let expected = dimensions.unwrap_or(natural);
        let ask_dimensions = expected != natural;
        if ask_dimensions {
            let actual = match openai.probe(name_there, Some(expected)).await {
                Ok(actual) => actual,
                // The model does not accept `dimensions`, or not this number.
                Err(EmbedError::Refused { .. }) => natural,
                Err(error) => return Err(error),
            };
            if actual != expected {
                return Err(EmbedError::Dimensions { model: name.to_owned(), expected, actual });
            }
        }
        Ok(Model { name: name.to_owned(), dimensions: expected, ask_dimensions })
    }

    /// Embeds the texts of documents, which must not be empty. The result names the texts that a provider refuses.
    /// Dropping the future stops the requests.
    ///
    /// # Errors
    /// [`EmbedError::Dimensions`] if the model has changed, [`EmbedError::Busy`] if too many calls wait for it, and
    /// errors of the provider after the retries.
    pub async fn embed(&self, model: &Model, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        self.embed_for(Purpose::Document, model, texts).await
    }

    async fn embed_for(&self, purpose: Purpose, model: &Model, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        match self.embedder(&model.name).await? {
            Embedder::Local(local) if local.dimensions() != model.dimensions => Err(EmbedError::Dimensions {
                model: model.name.clone(),
                expected: model.dimensions,
                actual: local.dimensions(),
            }),
            Embedder::Local(local) => {
                let embedded = local.embed(texts, purpose).await;
                self.0.local_stats.ended(texts.len(), embedded.as_ref().ok().map(|embedded| embedded.tokens));
                embedded
            }
            Embedder::OpenAi(openai) => {
                let mut embedded = openai.embed(openai_name(&model.name), model, texts, purpose).await;
                if purpose == Purpose::Query
                    && let Ok(Embeddings { refused, .. }) = &embedded
                    && let Some((_, why)) = refused.first()
                {
                    embedded = Err(EmbedError::TextRefused { why: why.clone() });
                }
                if let Err(EmbedError::Dimensions { .. }) = embedded {
                    // Another model now has this name.
                    self.natural_dimensions().remove(&model.name);
                }
                report_health(&openai, &embedded);
                embedded
            }
        }
    }

    /// Embeds the texts of queries, which must not be empty, unless their vectors are cached. Queries come before
    /// documents.
    ///
    /// # Errors
    /// Like [`Embedders::embed`], and [`EmbedError::TextRefused`].
    pub async fn embed_queries(&self, model: &Model, texts: &[&str]) -> Result<QueryEmbeddings, EmbedError> {
        self.0
            .queries
            .get(model, texts, async |texts: &[&str]| self.embed_for(Purpose::Query, model, texts).await)
            .await
    }

    /// The number of query texts whose vector was cached, and of those that were embedded, since the start.
    pub fn query_cache_hits_and_misses(&self) -> (u64, u64) {
        self.0.queries.hits_and_misses()
    }

    /// The counters of each provider since the start.
    pub(crate) fn stats(&self) -> Vec<(&'static str, &Stats)> {
        let openai = self.0.openai.as_ref().map(|openai| ("openai", openai.stats()));
        openai.into_iter().chain([("local", &self.0.local_stats)]).collect()
    }

    /// The token counter of the model `name`. `None` if the server does not know its tokenizer.
    ///
    /// # Errors
    /// [`EmbedError::UnknownModel`], or [`EmbedError::Unavailable`] if a local model cannot be loaded.
    pub async fn token_counter(&self, name: &str) -> Result<Option<TokenCounter>, EmbedError> {
        Ok(match self.embedder(name).await? {
            Embedder::Local(local) => Some(TokenCounter::local(local)),
            Embedder::OpenAi(_) => TokenCounter::openai(openai_name(name)),
        })
    }

    /// Until when the provider counts as out of order, judged by calls alone. `None` if it works, at the start, and
    /// without a provider.
    pub fn provider_outage(&self) -> watch::Receiver<Option<Instant>> {
        self.0.openai.as_ref().map_or_else(|| self.0.no_outage.subscribe(), |openai| openai.health().outage())
    }

    async fn embedder(&self, name: &str) -> Result<Embedder, EmbedError> {
        match self.locate(name)? {
            Location::OpenAi(openai) => Ok(Embedder::OpenAi(openai.clone())),
            Location::Local(folder) => Ok(Embedder::Local(self.0.local.get(name, folder).await?)),
        }
    }

    fn locate<'n>(&self, name: &'n str) -> Result<Location<'_, 'n>, EmbedError> {
        let unknown = |why: &str| Err(unknown(name, why));
        match name.split_once('/') {
            Some(("openai", model)) if is_openai_name(model) => match &self.0.openai {
                Some(openai) => Ok(Location::OpenAi(openai)),
                None => unknown("set OPENAI_API_KEY, or OPENAI_BASE_URL for another server that speaks OpenAI's API"),
            },
            Some(("local", folder)) if is_folder_name(folder) => Ok(Location::Local(folder)),
            _ => unknown("a model is named openai/<model> or local/<folder>, such as local/all-MiniLM-L6-v2"),
        }
    }

    fn natural_dimensions(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.natural_dimensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Location<'e, 'n> {
    OpenAi(&'e OpenAi),
    Local(&'n str),
}

/// Updates the state of the provider after a call.
fn report_health<T>(openai: &OpenAi, outcome: &Result<T, EmbedError>) {
    match outcome {
        Ok(_) | Err(EmbedError::TextRefused { .. }) => openai.health().works(),
        Err(EmbedError::Unavailable { .. } | EmbedError::QuotaExhausted { .. } | EmbedError::Refused { .. }) => {
            openai.health().fails();
        }
        // These errors do not show whether the provider works.
        Err(
            EmbedError::RateLimited { .. }
            | EmbedError::Dimensions { .. }
            | EmbedError::UnknownModel { .. }
            | EmbedError::Busy
            | EmbedError::Stopped(_),
        ) => {}
    }
}

/// The model's name at the provider.
fn openai_name(name: &str) -> &str {
    name.strip_prefix("openai/").unwrap_or(name)
}

fn is_openai_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(|c| c.is_ascii_graphic())
}
