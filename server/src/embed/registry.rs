//! What the server offers: which model is served by which embedder.

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

/// The default model where a provider is configured.
const DEFAULT_OPENAI_MODEL: &str = "openai/text-embedding-3-small";
/// The default model without one: fetched on first use, computed in this process.
const DEFAULT_LOCAL_MODEL: &str = "local/all-MiniLM-L6-v2";
/// Models whose dimensions are remembered. Some servers take any name, so that callers could fill the memory.
const MAX_REMEMBERED: usize = 1024;

/// What the server may use to embed.
#[derive(Clone, Debug)]
pub struct EmbeddingConfig {
    /// The model of a collection that names none. Default: `openai/text-embedding-3-small` where a provider is
    /// configured, else `local/all-MiniLM-L6-v2`. Empty: none, callers send vectors.
    pub default_model: Option<String>,
    /// The provider; used when it has a key or a base URL.
    pub openai: OpenAiConfig,
    /// The models in this process.
    pub local: LocalConfig,
    /// Most memory for vectors of query texts in bytes; 0 remembers none. Default 64 MiB.
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
    /// Dimensions that a provider's model has by itself.
    natural_dimensions: Mutex<HashMap<String, usize>>,
    queries: QueryCache,
    local_stats: Stats,
    /// What is told of a provider when there is none.
    no_outage: watch::Sender<Option<Instant>>,
}

impl Embedders {
    /// Checks the configuration. Nothing is connected to, fetched or loaded yet.
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

    /// The model of a collection that names none; empty: its callers send vectors.
    pub fn default_model(&self) -> &str {
        &self.0.default_model
    }

    /// Finds out how the model `name` gives `dimensions` (none = as it does by itself), by asking it.
    ///
    /// # Errors
    /// [`EmbedError::UnknownModel`] when the server does not offer the model, [`EmbedError::Dimensions`] when the model
    /// gives others, and what the provider answers.
    pub async fn resolve(&self, name: &str, dimensions: Option<usize>) -> Result<Model, EmbedError> {
        let natural = match self.embedder(name).await? {
            Embedder::Local(local) => local.dimensions(),
            Embedder::OpenAi(openai) => {
                let resolved = self.resolve_openai(&openai, name, dimensions).await;
                // That a caller's model does not exist is no outage.
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
                // a model that does not take `dimensions`, or not this number
                Err(EmbedError::Refused { .. }) => natural,
                Err(error) => return Err(error),
            };
            if actual != expected {
                return Err(EmbedError::Dimensions { model: name.to_owned(), expected, actual });
            }
        }
        Ok(Model { name: name.to_owned(), dimensions: expected, ask_dimensions })
    }

    /// Embeds the texts of documents, none of them empty. Those that a provider refuses are named in the result. Dropping the future stops the requests.
    ///
    /// # Errors
    /// [`EmbedError::Dimensions`] when the model has changed, [`EmbedError::Busy`] when too many calls wait for it, and what
    /// the provider answers after its retries.
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
                    // another model under the same name
                    self.natural_dimensions().remove(&model.name);
                }
                report_health(&openai, &embedded);
                embedded
            }
        }
    }

    /// Embeds the texts of queries, none of them empty, as far as their vectors are not remembered. They come before those of
    /// documents.
    ///
    /// # Errors
    /// As [`Embedders::embed`], and [`EmbedError::TextRefused`].
    pub async fn embed_queries(&self, model: &Model, texts: &[&str]) -> Result<QueryEmbeddings, EmbedError> {
        self.0
            .queries
            .get(model, texts, async |texts: &[&str]| self.embed_for(Purpose::Query, model, texts).await)
            .await
    }

    /// Texts of queries whose vector was remembered, and those that were embedded, since the start.
    pub fn query_cache_hits_and_misses(&self) -> (u64, u64) {
        self.0.queries.hits_and_misses()
    }

    /// What was asked of the models since the start, by the provider.
    pub(crate) fn stats(&self) -> Vec<(&'static str, &Stats)> {
        let openai = self.0.openai.as_ref().map(|openai| ("openai", openai.stats()));
        openai.into_iter().chain([("local", &self.0.local_stats)]).collect()
    }

    /// What counts the tokens of the model `name`; `None` when the server does not know its tokenizer.
    ///
    /// # Errors
    /// [`EmbedError::UnknownModel`], or [`EmbedError::Unavailable`] when a local model cannot be loaded.
    pub async fn token_counter(&self, name: &str) -> Result<Option<TokenCounter>, EmbedError> {
        Ok(match self.embedder(name).await? {
            Embedder::Local(local) => Some(TokenCounter::local(local)),
            Embedder::OpenAi(_) => TokenCounter::openai(openai_name(name)),
        })
    }

    /// Until when the provider is taken to be out of order, as far as calls tell; nothing is sent to find out. `None` when it
    /// works, at first, and without a provider.
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

/// What the end of a call tells of the provider.
fn report_health<T>(openai: &OpenAi, outcome: &Result<T, EmbedError>) {
    match outcome {
        Ok(_) | Err(EmbedError::TextRefused { .. }) => openai.health().works(),
        Err(EmbedError::Unavailable { .. } | EmbedError::QuotaExhausted { .. } | EmbedError::Refused { .. }) => {
            openai.health().fails();
        }
        // These are not about whether it works.
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
