//! The local models: where their folders are, and which are loaded.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{OnceCell, Semaphore};
use tracing::Instrument as _;

use crate::blocking::blocking;

use super::{EmbedError, LocalModel, MAX_NAME_BYTES, unknown};

/// The model that comes with the server.
const MINILM: &str = "all-MiniLM-L6-v2";

/// The models that run in this process.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Each folder in it is a model, `local/<folder>`. Default: none.
    pub models_dir: Option<PathBuf>,
    /// Maximum number of models in memory at a time (about 100 MB for all-MiniLM-L6-v2). They stay until the server
    /// ends. Default 4.
    pub max_loaded: usize,
    /// The source of `local/all-MiniLM-L6-v2`, unless it is in `models_dir`.
    pub minilm: FetchModel,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { models_dir: None, max_loaded: 4, minilm: FetchModel::default() }
    }
}

/// Provides the folder of a model and downloads it first if needed. If that fails, the error says what to do, and the
/// next call tries again.
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

    /// A folder that exists already.
    pub fn folder(path: PathBuf) -> Self {
        Self::new(move || std::future::ready(Ok(path.clone())))
    }
}

impl Default for FetchModel {
    fn default() -> Self {
        Self::new(|| std::future::ready(Err("this server cannot download it".to_owned())))
    }
}

impl fmt::Debug for FetchModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FetchModel")
    }
}

/// Local models. Each is loaded when it is first needed.
#[derive(Debug)]
pub(super) struct LocalModels {
    models_dir: Option<PathBuf>,
    minilm: FetchModel,
    /// One cell per folder that exists.
    models: Mutex<HashMap<String, Arc<OnceCell<LocalModel>>>>,
    /// One permit for each further model that may be loaded.
    room: Semaphore,
}

impl LocalModels {
    pub(super) fn new(config: LocalConfig) -> Self {
        Self {
            models_dir: config.models_dir,
            minilm: config.minilm,
            models: Mutex::default(),
            room: Semaphore::new(config.max_loaded.min(Semaphore::MAX_PERMITS)),
        }
    }

    pub(super) async fn get(self: &Arc<Self>, name: &str, folder: &str) -> Result<LocalModel, EmbedError> {
        if let Some(model) = self.lock().get(folder).and_then(|cell| cell.get()) {
            return Ok(model.clone());
        }
        // The operator's own copy has precedence. Only existing folders get a cell, so that callers cannot fill the
        // memory.
        let own = self.models_dir.as_ref().map(|dir| dir.join(folder));
        let own = match own {
            Some(path) if tokio::fs::try_exists(path.join("config.json")).await.unwrap_or(false) => Some(path),
            _ if folder == MINILM => None,
            Some(_) => {
                return Err(unknown(
                    name,
                    "the directory of local models has no folder of this name with a config.json",
                ));
            }
            None => {
                return Err(unknown(name, "the server has no directory of local models (--local-models)"));
            }
        };
        let cell = Arc::clone(self.lock().entry(folder.to_owned()).or_default());
        // A separate task, so that a caller that gives up does not stop a download that the next caller would start
        // again.
        let (models, name) = (Arc::clone(self), name.to_owned());
        let loading = tokio::spawn(
            async move { cell.get_or_try_init(|| models.load(&name, own)).await.cloned() }.in_current_span(),
        );
        loading.await.unwrap_or_else(|error| Err(unavailable(format!("loading a model failed: {error}"))))
    }

    async fn load(&self, name: &str, own: Option<PathBuf>) -> Result<LocalModel, EmbedError> {
        let Ok(permit) = self.room.try_acquire() else {
            return Err(unknown(
                name,
                "the server has already loaded its maximum number of local models (--max-local-models)",
            ));
        };
        let path = match own {
            Some(path) => path,
            None => {
                (self.minilm.0)().await.map_err(|why| unavailable(format!("cannot get the model {name}: {why}")))?
            }
        };
        match blocking(move || LocalModel::load(&path)).await? {
            Ok(model) => {
                permit.forget();
                Ok(model)
            }
            Err(error) => {
                // The error names paths of this machine, so only the log gets it.
                tracing::error!("the model {name} cannot be loaded: {error}");
                Err(unknown(name, "its folder cannot be used as a model; the log of the server says why"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<LocalModel>>>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(why: String) -> EmbedError {
    EmbedError::Unavailable { why, retry_after: Duration::from_secs(30) }
}

/// Whether a name is a single folder name and never a path out of the directory.
pub(super) fn is_folder_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::embed::{Embedders, EmbeddingConfig};

    const MODEL: &str = "local/all-MiniLM-L6-v2";

    fn embedders(local: LocalConfig) -> Embedders {
        Embedders::new(EmbeddingConfig { local, ..EmbeddingConfig::default() }).unwrap()
    }

    #[test]
    fn folder_names_stay_in_their_directory() {
        for name in ["all-MiniLM-L6-v2", "a", "a.b_c-1", "..."] {
            assert!(is_folder_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "/a", "a\\b", "a b", "\u{e4}", "a\0", &"a".repeat(300)] {
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
        let embedders = embedders(LocalConfig { minilm, ..LocalConfig::default() });

        let resolve = embedders.resolve(MODEL, None);
        assert!(tokio::time::timeout(Duration::from_millis(10), resolve).await.is_err());
        tokio::time::timeout(Duration::from_secs(5), finished.notified()).await.unwrap();

        let error = embedders.resolve(MODEL, None).await.unwrap_err();
        assert!(matches!(&error, EmbedError::Unavailable { why, .. } if why.contains("no network")), "{error}");
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_folder_that_is_no_model_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("config.json"), "{}").unwrap();
        }
        let local = LocalConfig { models_dir: Some(dir.path().to_owned()), max_loaded: 1, ..LocalConfig::default() };
        let embedders = embedders(local);
        for name in ["local/one", "local/two", "local/three"] {
            let error = embedders.resolve(name, None).await.unwrap_err();
            let EmbedError::UnknownModel { why, .. } = &error else { panic!("{error}") };
            assert!(!why.contains("as many"), "{why}");
        }
    }
}
