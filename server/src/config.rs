//! The command line and the environment: the only place that reads either.
//!
//! Every setting is a flag, an environment variable and a line in `--help`; secrets are environment or file only. An
//! empty variable counts as one that is not set. [`Settings::read`] checks the settings together and reports all
//! violations at once.

mod args;
mod dirs;
mod server;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use args::{
    Cli, Command, DatabaseArgs, DatabaseUrlArgs, DemoArgs, EmbeddedArgs, EmbeddingArgs, HealthcheckArgs, LogArgs,
    MigrateArgs, ServeArgs, ServerArgs, UrlArgs,
};
pub use dirs::{Dirs, default_dirs};

use crate::embedded::{Cache, Options};

/// The local model that is used when no other is configured; its weights are fetched.
pub const FETCHED_MODEL: &str = "local/all-MiniLM-L6-v2";

/// The default model with a key of OpenAI.
const OPENAI_MODEL: &str = "openai/text-embedding-3-small";

/// All that [`crate::serve`] needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database: DatabaseConfig,
    /// The models.
    pub embedding: EmbeddingConfig,
    /// The gRPC server.
    pub server: ServerConfig,
}

/// How to reach the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// For searches and writes; may go through a pooler.
    pub url: SecretString,
    /// For migrations and builds, which need a session of their own. `None`: `url`.
    pub direct_url: Option<SecretString>,
    /// Name of the schema with the views; `<schema>_internal` holds the rest.
    pub schema: String,
    /// Upgrade an older schema at start.
    pub migrate: bool,
    /// Most connections for searches and writes.
    pub pool_size: usize,
    /// Longest wait for one of them.
    pub pool_wait: Duration,
    /// Most memory for one index build in bytes. `None`: as Postgres is configured.
    pub build_memory: Option<u64>,
}

/// The models that the server offers.
#[derive(Clone, Debug)]
pub struct EmbeddingConfig {
    /// The provider of `openai/...` models; `None` when neither a key nor a base URL is configured.
    pub openai: Option<OpenAiConfig>,
    /// A folder with a folder for each `local/<name>` model.
    pub local_models: Option<PathBuf>,
    /// Fetches the weights of [`FETCHED_MODEL`], which `local_models` may hold too and then wins.
    pub cache: Cache,
    /// The model of collections that name none. `None`: they must name one.
    pub default_model: Option<String>,
}

impl DatabaseConfig {
    /// The defaults, with the database at `url`.
    #[must_use]
    pub fn new(url: SecretString) -> DatabaseConfig {
        DatabaseConfig {
            url,
            ..read_database(&args::defaults(), &mut Vec::new())
        }
    }
}

impl EmbeddingConfig {
    /// Whether the default model is the one whose weights are fetched, so that they are needed at once.
    #[must_use]
    pub fn needs_fetched_model(&self) -> bool {
        let provided = |folder: &PathBuf| folder.join("all-MiniLM-L6-v2").is_dir();
        self.default_model.as_deref() == Some(FETCHED_MODEL) && !self.local_models.as_ref().is_some_and(provided)
    }
}

/// The provider of `openai/...` models.
#[derive(Clone, Debug)]
pub struct OpenAiConfig {
    /// The address without `/embeddings`. `None`: OpenAI's.
    pub base_url: Option<String>,
    /// Sent as a bearer token. Local servers often need none.
    pub api_key: Option<SecretString>,
    /// Most texts per request, 1 to 2,048.
    pub batch_size: usize,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Attempts after the first one.
    pub retries: usize,
    /// The longest Retry-After that is waited for.
    pub retry_after_cap: Duration,
}

/// The gRPC server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Keys that callers present as bearer tokens. Empty: everyone may call.
    pub api_keys: Vec<SecretString>,
    /// Certificate and key. `None`: plain text.
    pub tls: Option<TlsConfig>,
    /// Largest request in bytes.
    pub max_request_bytes: usize,
    /// Largest response in bytes.
    pub max_response_bytes: usize,
    /// Most calls at a time on one connection.
    pub max_calls_per_connection: u32,
    /// Ingest requests that are written at a time; the others wait.
    pub ingest_concurrency: usize,
    /// Longest time for a search, or for another call that is not about storing documents or building an index.
    pub call_timeout: Duration,
    /// Longest time for one ingest request, embedding included.
    pub ingest_timeout: Duration,
    /// Pause after which a silent connection is asked whether it is still there.
    pub keepalive: Duration,
    /// Longest time that running calls get to finish at shutdown.
    pub drain_timeout: Duration,
}

/// A certificate and its key, as read from the files.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The chain, in PEM.
    pub certificate: Vec<u8>,
    /// The private key, in PEM.
    pub key: SecretString,
}

/// What the settings say, before the database is up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the embedded default.
    pub database_url: Option<SecretString>,
    /// How to run the embedded default.
    pub embedded: Options,
    /// The address to bind, as given.
    pub listen: String,
    /// What may go on but should be known, one text each.
    pub warnings: Vec<String>,
    database: DatabaseConfig,
    embedding: EmbeddingConfig,
    server: ServerConfig,
}

impl Settings {
    /// Checks what the command line and the environment say, and reads the files that they name.
    ///
    /// # Errors
    /// Every violation, as a text for people.
    pub fn read(args: &ServeArgs) -> Result<Settings, Vec<String>> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let database_url = args.database.url.database_url.clone();
        let (embedded, cache) = read_embedded(&args.embedded, database_url.is_none(), &mut errors);
        let embedding = read_embedding(&args.embedding, cache, &mut errors);
        if embedding.needs_fetched_model() && args.embedded.cache_dir.is_none() && default_dirs().is_none() {
            errors.push("neither HOME nor XDG_CACHE_HOME is set: say with --cache-dir where to keep the model".into());
        }
        let server = args.server.read(&mut errors, &mut warnings);
        let database = read_database(&args.database, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let listen = args.server.listen.clone();
        Ok(Settings {
            database_url,
            embedded,
            listen,
            warnings,
            database,
            embedding,
            server,
        })
    }

    /// The settings of the demo: the embedded default whatever the environment says, for this machine only.
    ///
    /// # Errors
    /// Every violation, as a text for people.
    pub fn read_demo(args: &DemoArgs) -> Result<Settings, Vec<String>> {
        let mut errors = Vec::new();
        let (embedded, cache) = read_embedded(&args.embedded, true, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let embedding = EmbeddingConfig {
            openai: None,
            local_models: None,
            cache,
            default_model: Some(FETCHED_MODEL.to_owned()),
        };
        let mut settings = Settings {
            database_url: None,
            embedded,
            listen: args.listen.to_string(),
            warnings: Vec::new(),
            database: read_database(&args::defaults(), &mut errors),
            embedding,
            server: ServerConfig::default(),
        };
        // The data may have been made by an older version.
        settings.database.migrate = true;
        Ok(settings)
    }

    /// The settings of `migrate`.
    ///
    /// # Errors
    /// Every violation, as a text for people.
    pub fn read_migrate(args: &MigrateArgs) -> Result<(Option<SecretString>, Options, DatabaseConfig), Vec<String>> {
        let mut errors = Vec::new();
        let url = args.database.url.database_url.clone();
        let (embedded, _) = read_embedded(&args.embedded, url.is_none(), &mut errors);
        let database = read_database(&args.database, &mut errors);
        if errors.is_empty() {
            Ok((url, embedded, database))
        } else {
            Err(errors)
        }
    }

    /// The configuration with the database at `url`.
    #[must_use]
    pub fn with_database(self, url: SecretString) -> Config {
        let Settings {
            database,
            embedding,
            server,
            ..
        } = self;
        Config {
            database: DatabaseConfig { url, ..database },
            embedding,
            server,
        }
    }

    /// The models.
    #[must_use]
    pub fn embedding(&self) -> &EmbeddingConfig {
        &self.embedding
    }
}

fn read_database(args: &DatabaseArgs, errors: &mut Vec<String>) -> DatabaseConfig {
    let plain = |first: bool, byte: u8| byte.is_ascii_lowercase() || byte == b'_' || (!first && byte.is_ascii_digit());
    // Postgres cuts names at 63 bytes, and "_internal" is appended.
    let valid = (1..=54).contains(&args.schema.len())
        && args
            .schema
            .bytes()
            .enumerate()
            .all(|(index, byte)| plain(index == 0, byte))
        && !args.schema.starts_with("pg_");
    if !valid {
        errors.push(format!(
            "--schema {:?}: expected a lower-case letter or underscore, then up to 53 lower-case letters, digits and \
             underscores, not beginning with pg_",
            args.schema
        ));
    }
    if args.direct_database_url.is_some() && args.url.database_url.is_none() {
        errors.push("--direct-database-url needs --database-url".into());
    }
    DatabaseConfig {
        url: SecretString::default(),
        direct_url: args.direct_database_url.clone(),
        schema: args.schema.clone(),
        migrate: args.migrate,
        pool_size: args.pool_size as usize,
        pool_wait: args.pool_wait,
        build_memory: args.build_memory,
    }
}

/// Without folders that can be used an error is added when the embedded default `needed` them.
fn read_embedded(args: &EmbeddedArgs, needed: bool, errors: &mut Vec<String>) -> (Options, Cache) {
    let dirs = default_dirs();
    let choose = |given: &Option<PathBuf>, default: fn(&Dirs) -> &PathBuf, fallback: &str| {
        given
            .as_ref()
            .or(dirs.as_ref().map(default))
            .cloned()
            .unwrap_or_else(|| PathBuf::from(fallback))
    };
    if needed && dirs.is_none() {
        if args.data_dir.as_ref().is_none() {
            errors.push("neither HOME nor XDG_DATA_HOME is set: say with --data-dir where to keep the data".into());
        }
        if args.cache_dir.as_ref().is_none() && args.postgres_bin.as_ref().is_none() {
            errors.push("neither HOME nor XDG_CACHE_HOME is set: say with --cache-dir where to keep PostgreSQL".into());
        }
    }
    let cache = Cache {
        dir: choose(&args.cache_dir, |dirs| &dirs.cache, dirs::SYSTEM_CACHE),
        timeout: args.fetch_timeout,
        progress: crate::embedded::Progress::Stderr,
    };
    let data_dir = choose(&args.data_dir, |dirs| &dirs.data, dirs::SYSTEM_DATA);
    let options = Options {
        postgres_bin: args.postgres_bin.clone(),
        run_as: args.run_as.clone(),
        memory: args.postgres_memory,
        start_timeout: args.start_timeout,
        ..Options::new(data_dir, cache.clone())
    };
    (options, cache)
}

fn read_embedding(args: &EmbeddingArgs, cache: Cache, errors: &mut Vec<String>) -> EmbeddingConfig {
    let base_url = args.openai_base_url.clone();
    if let Some(url) = &base_url
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        errors.push(format!("--openai-base-url {url:?}: expected http://... or https://..."));
    }
    let from_file = args
        .openai_api_key_file
        .as_ref()
        .and_then(|path| value::read_file("--openai-api-key-file", path, errors).map(|text| text.trim().to_owned()));
    let api_key = from_file.or_else(|| value::variable(&["OPENAI_API_KEY", "OPENAI_KEY"]));
    if let Some(key) = &api_key
        && !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        errors.push("the OpenAI API key holds characters that a key cannot have".into());
    }
    let openai = (base_url.is_some() || api_key.is_some()).then(|| OpenAiConfig {
        base_url,
        api_key: api_key.map(SecretString::from),
        batch_size: args.embed_batch_size as usize,
        concurrency: args.embed_concurrency as usize,
        timeout: args.embed_timeout,
        retries: args.embed_retries as usize,
        retry_after_cap: args.embed_retry_after_cap,
    });
    let local_models = args.local_models.clone();
    if let Some(folder) = &local_models
        && !folder.is_dir()
    {
        errors.push(format!("--local-models {}: there is no such folder", folder.display()));
    }
    let default_model = match (args.default_model.as_ref(), &openai) {
        (Some(model), openai) => {
            let named = |prefix| model.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty());
            if !named("openai/") && !named("local/") {
                errors.push(format!(
                    "--default-model {model:?}: expected openai/<model> or local/<name>"
                ));
            } else if named("openai/") && openai.is_none() {
                errors.push(format!(
                    "--default-model {model}: set OPENAI_API_KEY or OPENAI_BASE_URL to offer it"
                ));
            }
            Some(model.clone())
        }
        (None, None) => Some(FETCHED_MODEL.to_owned()),
        (None, Some(OpenAiConfig { base_url: None, .. })) => Some(OPENAI_MODEL.to_owned()),
        // Which models another server offers is for its operator to say.
        (None, Some(_)) => None,
    };
    EmbeddingConfig {
        openai,
        local_models,
        cache,
        default_model,
    }
}

#[cfg(test)]
mod tests;
