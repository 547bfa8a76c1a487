//! The command line and the environment. No other module reads either.
//!
//! Every setting is a flag, an environment variable and a line in `--help`; a secret is only an environment variable or
//! a file. An empty variable counts as unset. [`Settings::read`] checks the settings together and reports all
//! violations at once.

mod args;
mod command_line;
mod dirs;
mod files;
mod server;
mod value;

use std::sync::{Arc, OnceLock};

use secrecy::{ExposeSecret as _, SecretString};

pub use args::{Cli, Command, DatabaseUrlArgs, HealthcheckArgs, LogArgs, LogFormat, MigrateArgs, ServeArgs};
use args::{DatabaseArgs, DemoArgs, EmbeddedArgs, EmbeddingArgs, ServerArgs, UrlArgs};
pub use command_line::{hide_passwords, shown_password};
pub use dirs::{Dirs, default_dirs};
pub use files::WatchedFiles;

use crate::{
    embed::{EmbeddingConfig, FetchModel, LocalConfig, OpenAiConfig, ProviderKey, shown_url},
    embedded::{Cache, Options, Progress},
    serve::ServeConfig,
    store::{Connector, Dsn, DsnError, Migrate, PoolOptions, StoreConfig},
};

/// The local model that is used if no other is configured. Its weights are downloaded.
pub const FETCHED_MODEL: &str = "local/all-MiniLM-L6-v2";

/// The number of files that a server opens beside its connections: logs, models, certificates, the embedded default.
const OTHER_FILES: usize = 100;

/// The settings, before the database is up.
#[derive(Debug)]
pub struct Settings {
    /// How to run the embedded default.
    pub embedded: Options,
    /// The address to bind, as given in the settings.
    pub listen: String,
    /// The address to bind for metrics, as given in the settings. `None`: no metrics.
    pub metrics_listen: Option<String>,
    /// Warnings for the operator, one text each.
    pub warnings: Vec<String>,
    /// The files to read again while the server runs.
    pub files: WatchedFiles,
    /// The database.
    pub database: DatabaseSettings,
    embedding: EmbeddingConfig,
    server: server::ServerSettings,
}

/// The address of the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `None` means the embedded default.
    pub url: Option<SecretString>,
    direct_url: Option<SecretString>,
    /// Set as soon as it is known, for a URL that changes later.
    connector: Arc<OnceLock<Connector>>,
    schema: String,
    migrate: Migrate,
    pool: PoolOptions,
    build_concurrency: usize,
    health_timeout: std::time::Duration,
    build_memory: Option<u64>,
}

impl DatabaseSettings {
    /// The configuration of the store for the database at `url`, and warnings for the operator.
    ///
    /// # Errors
    /// If a URL cannot be read. The text names it without its secrets.
    pub fn into_store(self, url: &SecretString) -> Result<(StoreConfig, Vec<String>), DsnError> {
        let mut warnings = Vec::new();
        let mut connector = |url: &SecretString| {
            let dsn = Dsn::parse(url.expose_secret())?;
            warnings.extend_from_slice(dsn.warnings());
            Connector::new(&dsn)
        };
        let through = connector(url)?;
        // If there are several calls, the first connector stays.
        let _ = self.connector.set(through.clone());
        let direct = self.direct_url.as_ref().map(connector).transpose()?;
        if !self.pool.unnamed_statements && Dsn::parse(url.expose_secret())?.hints_at_unnamed_statements() {
            warnings.push(
                "--database-url looks like a pooler without prepared statements: if calls fail, set \
                 PGFOX_UNNAMED_STATEMENTS=true and PGFOX_DIRECT_DATABASE_URL"
                    .into(),
            );
        }
        let config = StoreConfig {
            direct: direct.unwrap_or_else(|| through.clone()),
            connector: through,
            schema: self.schema,
            pool: self.pool,
            build_concurrency: self.build_concurrency,
            health_timeout: self.health_timeout,
            build_memory: self.build_memory,
        };
        Ok((config, warnings))
    }
}

impl Settings {
    /// Checks the command line and the environment, and reads the files that they name.
    ///
    /// # Errors
    /// All violations, each as a text for people.
    pub fn read(args: &ServeArgs) -> Result<Settings, Vec<String>> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let database = args.database.read(&mut errors);
        let embedded = args.embedded.read(database.url.is_none(), &mut errors);
        let embedding = args.embedding.read(&embedded.cache, &mut errors);
        if needs_fetched_model(&embedding) && args.embedded.cache_dir.is_none() && default_dirs().is_none() {
            errors.push("neither HOME nor XDG_CACHE_HOME is set: set --cache-dir to a folder for the model".into());
        }
        let server = args.server.read(&mut errors, &mut warnings);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut files = WatchedFiles::default();
        args.server.watch(&server, &mut files);
        args.embedding.watch(&embedding, &mut files);
        args.database.url.watch(&database, &mut files);
        let (listen, metrics_listen) = (args.server.listen.clone(), args.server.metrics_listen.clone());
        Ok(Settings { embedded, listen, metrics_listen, warnings, files, database, embedding, server })
    }

    /// The settings of the demo: the embedded default, for this machine only. The environment does not matter.
    ///
    /// # Errors
    /// All violations, each as a text for people.
    pub fn read_demo(args: &DemoArgs) -> Result<Settings, Vec<String>> {
        let mut errors = Vec::new();
        let embedded = args.embedded.read(true, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let defaults: DatabaseArgs = args::defaults();
        let mut database = defaults.read(&mut errors);
        // An older version may have created the data.
        database.migrate = Migrate::Always;
        let local = LocalConfig { minilm: fetch_from(&embedded.cache), ..LocalConfig::default() };
        Ok(Settings {
            embedded,
            listen: args.listen.to_string(),
            metrics_listen: None,
            warnings: Vec::new(),
            files: WatchedFiles::default(),
            database,
            embedding: EmbeddingConfig {
                default_model: Some(FETCHED_MODEL.to_owned()),
                local,
                ..EmbeddingConfig::default()
            },
            server: server::ServerSettings::default(),
        })
    }

    /// The settings of `migrate`: the embedded default and the database.
    ///
    /// # Errors
    /// All violations, each as a text for people.
    pub fn read_migrate(args: &MigrateArgs) -> Result<(Options, DatabaseSettings), Vec<String>> {
        let mut errors = Vec::new();
        let database = args.database.read(&mut errors);
        let embedded = args.embedded.read(database.url.is_none(), &mut errors);
        if errors.is_empty() { Ok((embedded, database)) } else { Err(errors) }
    }

    /// Whether the default model is the downloaded one, so that it is needed at once.
    #[must_use]
    pub fn needs_fetched_model(&self) -> bool {
        needs_fetched_model(&self.embedding)
    }

    /// Limits the connections by the number of files that the process may open. The database and the providers need
    /// some of them.
    pub fn bound_connections(&mut self, open_files: u64) {
        let pools =
            self.database.pool.max_size + 2 * self.database.build_concurrency + self.embedding.openai.concurrency;
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let others = (pools + OTHER_FILES).min(open_files / 2);
        let most = (open_files - others).max(1);
        let wanted = &mut self.server.limits.max_connections;
        if *wanted > most {
            self.warnings.push(format!(
                "the process may open {open_files} files, so it accepts at most {most} connections instead of \
                 {wanted} (--max-connections): raise the limit with `ulimit -n` or LimitNOFILE= of systemd"
            ));
            *wanted = most;
        }
    }

    /// The configuration of the server for the database at `url`, and warnings for the operator. The caller adds the
    /// listener for metrics.
    ///
    /// # Errors
    /// If a URL cannot be read. The text names it without its secrets.
    pub fn into_config(self, url: &SecretString) -> Result<(ServeConfig, Vec<String>), DsnError> {
        let migrate = self.database.migrate;
        let (store, warnings) = self.database.into_store(url)?;
        let server::ServerSettings { limits, api_keys, tls, web_origins, web_headers } = self.server;
        let embedding = self.embedding;
        let metrics = None;
        let config =
            ServeConfig { store, migrate, embedding, limits, api_keys, tls, web_origins, web_headers, metrics };
        Ok((config, warnings))
    }
}

impl UrlArgs {
    /// The URL of the configured database; `None` for the embedded one. A file that cannot be used adds to the errors.
    pub fn read(&self, errors: &mut Vec<String>) -> Option<SecretString> {
        let Some(path) = &self.database_url_file else { return self.database_url.clone() };
        if self.database_url.is_some() {
            // One of them may be left over in the environment and name the wrong database.
            errors.push("--database-url (DATABASE_URL) and --database-url-file are both set: give one of them".into());
        }
        let url = value::read_secret("--database-url-file", path, errors)?;
        if url.trim().is_empty() {
            // Do not use the embedded database instead.
            errors.push(format!("--database-url-file {}: the file is empty", path.display()));
        }
        Some(url.trim().into())
    }

    /// Reads the URL again when its file changes: its user and password can change.
    fn watch(&self, database: &DatabaseSettings, files: &mut WatchedFiles) {
        let Some(file) = &self.database_url_file else { return };
        let (args, connector) = (self.clone(), Arc::clone(&database.connector));
        files.add("the URL of the database", vec![file.clone()], move || {
            let mut errors = Vec::new();
            let url = args.read(&mut errors);
            let (Some(url), true) = (url, errors.is_empty()) else { return Err(errors) };
            let named = |error: &dyn std::fmt::Display| vec![format!("--database-url-file: {error}")];
            let dsn = Dsn::parse(url.expose_secret()).map_err(|error| named(&error))?;
            let new = Connector::new(&dsn).map_err(|error| named(&error))?;
            connector.get().map_or(Ok(()), |connector| connector.replace(&new).map_err(|error| named(&error)))
        });
    }
}

impl DatabaseArgs {
    fn read(&self, errors: &mut Vec<String>) -> DatabaseSettings {
        let plain =
            |first: bool, byte: u8| byte.is_ascii_lowercase() || byte == b'_' || (!first && byte.is_ascii_digit());
        // Postgres cuts names at 63 bytes, and "_internal" is appended.
        let valid = (1..=54).contains(&self.schema.len())
            && self.schema.bytes().enumerate().all(|(index, byte)| plain(index == 0, byte))
            && !self.schema.starts_with("pg_");
        if !valid {
            errors.push(format!(
                "--schema {:?}: expected a lower-case letter or underscore, then up to 53 lower-case letters, digits and \
                 underscores, not beginning with pg_",
                self.schema
            ));
        }
        let url = self.url.read(errors);
        let direct_url = self.direct_database_url.clone();
        if direct_url.is_some() && url.is_none() && self.url.database_url_file.is_none() {
            errors.push("--direct-database-url needs --database-url".into());
        }
        if self.unnamed_statements && direct_url.is_none() {
            errors.push(
                "--unnamed-statements is for a pooler, which migrations and index builds bypass: set \
                 PGFOX_DIRECT_DATABASE_URL to the URL of the database itself"
                    .into(),
            );
        }
        for (flag, url) in [("--database-url", &url), ("--direct-database-url", &direct_url)] {
            if let Some(Err(error)) = url.as_ref().map(|url| Dsn::parse(url.expose_secret())) {
                errors.push(format!("{flag}: {error}"));
            }
        }
        DatabaseSettings {
            url,
            direct_url,
            connector: Arc::default(),
            schema: self.schema.clone(),
            migrate: if self.migrate { Migrate::Always } else { Migrate::IfEmpty },
            pool: PoolOptions {
                max_size: self.pool_size as usize,
                wait_timeout: self.pool_wait,
                max_waiting: self.max_waiting_calls as usize,
                max_writers: self.ingest_concurrency as usize,
                max_age: self.pool_max_age,
                max_collections: self.pool_max_collections as usize,
                unnamed_statements: self.unnamed_statements,
            },
            build_concurrency: self.build_concurrency as usize,
            health_timeout: self.health_timeout,
            build_memory: self.build_memory,
        }
    }
}

impl EmbeddedArgs {
    /// If the embedded default is `needed`, folders that cannot be used add to the errors.
    fn read(&self, needed: bool, errors: &mut Vec<String>) -> Options {
        let dirs = default_dirs();
        if needed && dirs.is_none() {
            if self.data_dir.is_none() {
                errors.push("neither HOME nor XDG_DATA_HOME is set: set --data-dir to a folder for the data".into());
            }
            if self.cache_dir.is_none() && self.postgres_bin.is_none() {
                errors
                    .push("neither HOME nor XDG_CACHE_HOME is set: set --cache-dir to a folder for PostgreSQL".into());
            }
        }
        // Without the embedded default, such as in a container without a home, the folders may be unusable.
        let dirs = dirs.unwrap_or_else(Dirs::of_the_system);
        let cache = Cache {
            dir: self.cache_dir.clone().unwrap_or(dirs.cache),
            timeout: self.fetch_timeout,
            progress: Progress::Stderr,
        };
        Options {
            postgres_bin: self.postgres_bin.clone(),
            run_as: self.run_as.clone(),
            memory: self.postgres_memory,
            start_timeout: self.start_timeout,
            ..Options::new(self.data_dir.clone().unwrap_or(dirs.data), cache)
        }
    }
}

impl EmbeddingArgs {
    fn read(&self, cache: &Cache, errors: &mut Vec<String>) -> EmbeddingConfig {
        if let Some(url) = &self.openai_base_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            errors.push(format!("--openai-base-url {:?}: expected http://... or https://...", shown_url(url)));
        }
        let openai = OpenAiConfig {
            base_url: self.openai_base_url.clone(),
            api_key: self.read_api_key(errors),
            max_batch_texts: self.embed_batch_size as usize,
            concurrency: self.embed_concurrency as usize,
            request_timeout: self.embed_timeout,
            max_retries: self.embed_retries as usize,
            max_elapsed: self.embed_max_elapsed,
            retry_after_cap: self.embed_retry_after_cap,
            ..OpenAiConfig::default()
        };
        if let Some(folder) = self.local_models.as_ref().filter(|folder| !folder.is_dir()) {
            errors.push(format!("--local-models {}: the folder does not exist", folder.display()));
        }
        let default_model = match self.default_model.as_deref() {
            Some("none") => Some(""),
            model => model,
        };
        if let Some(model) = default_model.filter(|model| !model.is_empty()) {
            let named = |prefix| model.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty());
            if !named("openai/") && !named("local/") {
                errors.push(format!("--default-model {model:?}: expected openai/<model>, local/<name> or none"));
            } else if named("openai/") && !openai.is_enabled() {
                errors.push(format!("--default-model {model}: set OPENAI_API_KEY or OPENAI_BASE_URL to offer it"));
            }
        }
        EmbeddingConfig {
            default_model: default_model.map(str::to_owned),
            openai,
            local: LocalConfig {
                models_dir: self.local_models.clone(),
                max_loaded: self.max_local_models as usize,
                minilm: fetch_from(cache),
            },
            query_cache_bytes: self.query_cache,
        }
    }
}

impl EmbeddingArgs {
    fn read_api_key(&self, errors: &mut Vec<String>) -> Option<ProviderKey> {
        let file = self.openai_api_key_file.as_ref();
        let from_file = file.and_then(|path| value::read_secret("--openai-api-key-file", path, errors));
        let from_file = from_file.filter(|key| !key.trim().is_empty());
        let api_key = from_file.or_else(|| value::variable(&["OPENAI_API_KEY", "OPENAI_KEY"]))?;
        if !api_key.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
            errors.push("the OpenAI API key contains characters that a key cannot have".into());
        }
        Some(ProviderKey::from(api_key.trim()))
    }

    /// Reads the key again when its file changes.
    fn watch(&self, embedding: &EmbeddingConfig, files: &mut WatchedFiles) {
        let (Some(file), Some(key)) = (&self.openai_api_key_file, &embedding.openai.api_key) else { return };
        let (args, key) = (self.clone(), key.clone());
        files.add("the key of the provider", vec![file.clone()], move || {
            let mut errors = Vec::new();
            match args.read_api_key(&mut errors) {
                Some(new) if errors.is_empty() => key.replace(&new),
                None if errors.is_empty() => errors.push("the file contains no key".into()),
                _ => {}
            }
            if errors.is_empty() { Ok(()) } else { Err(errors) }
        });
    }
}

fn needs_fetched_model(embedding: &EmbeddingConfig) -> bool {
    let is_default = match &embedding.default_model {
        Some(model) => model == FETCHED_MODEL,
        None => !embedding.openai.is_enabled(),
    };
    let own = embedding.local.models_dir.as_ref().map(|folder| folder.join("all-MiniLM-L6-v2").join("config.json"));
    is_default && !own.is_some_and(|file| file.exists())
}

fn fetch_from(cache: &Cache) -> FetchModel {
    let cache = cache.clone();
    FetchModel::new(move || {
        let cache = cache.clone();
        async move { cache.model().await.map_err(|error| error.to_string()) }
    })
}

#[cfg(test)]
mod tests;
