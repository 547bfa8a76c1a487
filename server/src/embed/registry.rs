//! What the server offers: which model is served by which embedder.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OnceCell, Semaphore, watch};

use super::{ConfigError, EmbedError, Embeddings, LocalModel, Model, OpenAi, OpenAiConfig};

/// The default model where a provider is configured.
const DEFAULT_OPENAI_MODEL: &str = "openai/text-embedding-3-small";
/// The default model without one: fetched on first use, computed in this process.
const DEFAULT_LOCAL_MODEL: &str = "local/all-MiniLM-L6-v2";
/// [`DEFAULT_LOCAL_MODEL`] without its provider.
const MINILM: &str = "all-MiniLM-L6-v2";
/// Longest model name, in bytes; Hugging Face's are below 200.
const MAX_NAME_BYTES: usize = 256;
/// Models whose dimensions are remembered. Some servers take any name, so that callers could fill the memory.
const MAX_REMEMBERED: usize = 1024;

/// What the server may use to embed.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingConfig {
    /// The model of a collection that names none. Default: `openai/text-embedding-3-small` where a provider is
    /// configured, else `local/all-MiniLM-L6-v2`.
    pub default_model: Option<String>,
    /// The provider; used when it has a key or a base URL.
    pub openai: OpenAiConfig,
    /// The models in this process.
    pub local: LocalConfig,
}

/// The models that run in this process.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Each folder in here is a model, `local/<folder>`. Default: none.
    pub models_dir: Option<PathBuf>,
    /// Models in memory at a time (about 100 MB for all-MiniLM-L6-v2). They stay until the server ends. Default 4.
    pub max_loaded: usize,
    /// Where `local/all-MiniLM-L6-v2` comes from, unless it is in `models_dir`.
    pub minilm: FetchModel,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            models_dir: None,
            max_loaded: 4,
            minilm: FetchModel::default(),
        }
    }
}

/// Gives the folder of a model, fetching it first where needed. On failure it says what to do, and is asked again next time.
#[derive(Clone)]
pub struct FetchModel(Arc<dyn Fn() -> BoxFuture<'static, Result<PathBuf, String>> + Send + Sync>);

impl FetchModel {
    pub fn new<F, R>(fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<PathBuf, String>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(fetch())))
    }

    /// A folder that is there already.
    pub fn folder(path: PathBuf) -> Self {
        Self::new(move || std::future::ready(Ok(path.clone())))
    }
}

impl Default for FetchModel {
    fn default() -> Self {
        Self::new(|| std::future::ready(Err("this server has no way to fetch it".to_owned())))
    }
}

impl fmt::Debug for FetchModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FetchModel")
    }
}

/// One way to embed. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Embedder {
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
    health: watch::Sender<bool>,
}

impl Embedders {
    /// Checks the configuration. Nothing is connected to, fetched or loaded yet.
    pub fn new(config: EmbeddingConfig) -> Result<Self, ConfigError> {
        let openai = config
            .openai
            .is_enabled()
            .then(|| OpenAi::new(config.openai))
            .transpose()?;
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
            health: watch::Sender::new(true),
        }));
        match embedders.locate(embedders.default_model()) {
            Err(EmbedError::UnknownModel { model, why }) => Err(ConfigError::DefaultModel { model, why }),
            Ok(_) | Err(_) => Ok(embedders),
        }
    }

    /// The model of a collection that names none.
    pub fn default_model(&self) -> &str {
        &self.0.default_model
    }

    /// Finds out how the model `name` gives `dimensions` (none = as it does by itself), by asking it.
    pub async fn resolve(&self, name: &str, dimensions: Option<usize>) -> Result<Model, EmbedError> {
        let natural = match self.embedder(name).await? {
            Embedder::Local(local) => local.dimensions(),
            Embedder::OpenAi(openai) => {
                let resolved = self.resolve_openai(&openai, name, dimensions).await;
                // That a caller's model does not exist is no outage.
                if !matches!(resolved, Err(EmbedError::Refused { .. })) {
                    self.report_health(&resolved);
                }
                return resolved;
            }
        };
        match dimensions {
            Some(expected) if expected != natural => Err(EmbedError::Dimensions {
                model: name.to_owned(),
                expected,
                actual: natural,
            }),
            _ => Ok(Model {
                name: name.to_owned(),
                dimensions: natural,
                ask_dimensions: false,
            }),
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
                return Err(EmbedError::Dimensions {
                    model: name.to_owned(),
                    expected,
                    actual,
                });
            }
        }
        Ok(Model {
            name: name.to_owned(),
            dimensions: expected,
            ask_dimensions,
        })
    }

    /// Embeds texts, none of them empty. Dropping the future stops the requests.
    pub async fn embed(&self, model: &Model, texts: &[&str]) -> Result<Embeddings, EmbedError> {
        match self.embedder(&model.name).await? {
            Embedder::Local(local) if local.dimensions() != model.dimensions => Err(EmbedError::Dimensions {
                model: model.name.clone(),
                expected: model.dimensions,
                actual: local.dimensions(),
            }),
            Embedder::Local(local) => local.embed(texts).await,
            Embedder::OpenAi(openai) => {
                let embedded = openai.embed(openai_name(&model.name), model, texts).await;
                if let Err(EmbedError::Dimensions { .. }) = embedded {
                    // another model under the same name
                    self.natural_dimensions().remove(&model.name);
                }
                self.report_health(&embedded);
                embedded
            }
        }
    }

    /// Whether the provider works, as far as the last calls tell; nothing is sent to find out. True at first and without a provider.
    pub fn provider_health(&self) -> watch::Receiver<bool> {
        self.0.health.subscribe()
    }

    fn report_health<T>(&self, outcome: &Result<T, EmbedError>) {
        let healthy = match outcome {
            Ok(_) => true,
            Err(EmbedError::Unavailable { .. } | EmbedError::QuotaExhausted | EmbedError::Refused { .. }) => false,
            // it answers: these are about the rate and about the collection
            Err(EmbedError::RateLimited { .. } | EmbedError::Dimensions { .. } | EmbedError::UnknownModel { .. }) => {
                return;
            }
        };
        self.0
            .health
            .send_if_modified(|before| std::mem::replace(before, healthy) != healthy);
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

    fn natural_dimensions(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.0.natural_dimensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Location<'e, 'n> {
    OpenAi(&'e OpenAi),
    Local(&'n str),
}

/// Local models, each loaded when it is first asked for.
#[derive(Debug)]
struct LocalModels {
    models_dir: Option<PathBuf>,
    minilm: FetchModel,
    /// One cell per folder that exists.
    models: Mutex<HashMap<String, Arc<OnceCell<LocalModel>>>>,
    /// One permit per model that may still be loaded.
    room: Semaphore,
}

impl LocalModels {
    fn new(config: LocalConfig) -> Self {
        Self {
            models_dir: config.models_dir,
            minilm: config.minilm,
            models: Mutex::default(),
            room: Semaphore::new(config.max_loaded.min(Semaphore::MAX_PERMITS)),
        }
    }

    async fn get(self: &Arc<Self>, name: &str, folder: &str) -> Result<LocalModel, EmbedError> {
        if let Some(model) = self.lock().get(folder).and_then(|cell| cell.get()) {
            return Ok(model.clone());
        }
        // The operator's own copy comes first. Only folders that exist get a cell, so that callers cannot fill the memory.
        let own = self.models_dir.as_ref().map(|dir| dir.join(folder));
        let own = match own {
            Some(path) if tokio::fs::try_exists(path.join("config.json")).await.unwrap_or(false) => Some(path),
            _ if folder == MINILM => None,
            Some(_) => {
                return Err(unknown(
                    name,
                    "there is no folder of this name with a config.json in the directory of local models",
                ));
            }
            None => {
                return Err(unknown(
                    name,
                    "the server has no directory of local models (--local-models)",
                ));
            }
        };
        let cell = Arc::clone(self.lock().entry(folder.to_owned()).or_default());
        // In a task of its own: a caller that gives up does not stop a download that the next one would start again.
        let (models, name) = (Arc::clone(self), name.to_owned());
        let loading = tokio::spawn(async move { cell.get_or_try_init(|| models.load(&name, own)).await.cloned() });
        loading
            .await
            .unwrap_or_else(|error| Err(unavailable(format!("loading a model failed: {error}"))))
    }

    async fn load(&self, name: &str, own: Option<PathBuf>) -> Result<LocalModel, EmbedError> {
        let Ok(permit) = self.room.try_acquire() else {
            return Err(unknown(
                name,
                "the server holds as many local models as it may (--max-local-models)",
            ));
        };
        let path = match own {
            Some(path) => path,
            None => (self.minilm.0)()
                .await
                .map_err(|why| unavailable(format!("cannot get the model {name}: {why}")))?,
        };
        let loaded = tokio::task::spawn_blocking(move || LocalModel::load(&path)).await;
        match loaded {
            Ok(Ok(model)) => {
                permit.forget();
                Ok(model)
            }
            Ok(Err(error)) => Err(unknown(name, &error.to_string())),
            Err(error) => Err(unavailable(format!("loading the model {name} failed: {error}"))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OnceCell<LocalModel>>>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(model: &str, why: &str) -> EmbedError {
    // the name is the caller's and may be anything
    EmbedError::UnknownModel {
        model: model.chars().take(MAX_NAME_BYTES).collect(),
        why: why.to_owned(),
    }
}

fn unavailable(why: String) -> EmbedError {
    EmbedError::Unavailable {
        why,
        retry_after: Duration::from_secs(30),
    }
}

/// The model's name at the provider.
fn openai_name(name: &str) -> &str {
    name.strip_prefix("openai/").unwrap_or(name)
}

fn is_openai_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(|c| c.is_ascii_graphic())
}

/// A name in a directory, never a path out of it.
fn is_folder_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn embedders(local: LocalConfig) -> Embedders {
        Embedders::new(EmbeddingConfig {
            local,
            ..EmbeddingConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn folder_names_stay_in_their_directory() {
        for name in ["all-MiniLM-L6-v2", "a", "a.b_c-1", "..."] {
            assert!(is_folder_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            "a\\b",
            "a b",
            "\u{e4}",
            "a\0",
            &"a".repeat(300),
        ] {
            assert!(!is_folder_name(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_failed_fetch_is_tried_again_and_not_stopped_by_its_caller() {
        let fetches = Arc::new(AtomicUsize::new(0));
        let finished = Arc::new(tokio::sync::Notify::new());
        let minilm = {
            let (fetches, finished) = (Arc::clone(&fetches), Arc::clone(&finished));
            FetchModel::new(move || {
                let (fetches, finished) = (Arc::clone(&fetches), Arc::clone(&finished));
                async move {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    finished.notify_one();
                    Err("no network".to_owned())
                }
            })
        };
        let embedders = embedders(LocalConfig {
            minilm,
            ..LocalConfig::default()
        });

        let resolve = embedders.resolve(DEFAULT_LOCAL_MODEL, None);
        assert!(tokio::time::timeout(Duration::from_millis(10), resolve).await.is_err());
        tokio::time::timeout(Duration::from_secs(5), finished.notified())
            .await
            .unwrap();

        let error = embedders.resolve(DEFAULT_LOCAL_MODEL, None).await.unwrap_err();
        assert!(
            matches!(&error, EmbedError::Unavailable { why, .. } if why.contains("no network")),
            "{error}"
        );
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_folder_that_is_no_model_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("config.json"), "{}").unwrap();
        }
        let local = LocalConfig {
            models_dir: Some(dir.path().to_owned()),
            max_loaded: 1,
            ..LocalConfig::default()
        };
        let embedders = embedders(local);
        for name in ["local/one", "local/two", "local/three"] {
            let error = embedders.resolve(name, None).await.unwrap_err();
            let EmbedError::UnknownModel { why, .. } = &error else {
                panic!("{error}")
            };
            assert!(!why.contains("as many"), "{why}");
        }
    }
}
