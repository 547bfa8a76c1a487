//! The flags and environment variables, as `--help` shows them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum, builder::Resettable};
use http::HeaderName;
use secrecy::SecretString;

use super::value::{build_memory, bytes, duration, flag, header, postgres_memory};
use crate::layers::web::Origin;

const AFTER_HELP: &str = "\
Secrets are never flags:
  OPENAI_API_KEY or OPENAI_KEY  key of OpenAI or of the server at --openai-base-url
  PGFOX_API_KEYS                keys that callers present, separated by commas

Exit codes: 0 done, 1 failed, 2 the settings are wrong.
Stop with Ctrl-C or SIGTERM: running calls finish first. A second signal stops at once.
SIGHUP reads the files with keys and the certificate again, which also happens when they change.
When a terminal closes, its SIGHUP stops the server as SIGTERM does.";

/// Semantic search on PostgreSQL and pgvector over gRPC.
///
/// With nothing configured it runs a private PostgreSQL with pgvector and embeds text with a local model, both fetched
/// once. Try `pgfox-server demo`.
#[derive(Debug, Parser)]
#[command(name = "pgfox-server", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; serve when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl Cli {
    /// Reads the command line and the environment; ends the process with a message when they make no sense.
    #[must_use]
    pub fn read() -> Cli {
        let matches = prepare(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Has empty variables count as ones that are not set, which is how `docker compose` and the like pass those, and keeps
/// values of variables out of `--help`.
fn prepare(command: clap::Command) -> clap::Command {
    let prepare_arg = |arg: clap::Arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        let arg = if empty { arg.env(Resettable::Reset) } else { arg };
        arg.hide_env_values(true)
    };
    command.mut_args(prepare_arg).mut_subcommands(prepare)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve; the default
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Show a search from nothing to its answer on the embedded default, then serve it
    ///
    /// Always uses a private PostgreSQL and the local model, whatever the environment says. Makes the collection "foxes"
    /// anew; other collections stay.
    Demo(DemoArgs),
    /// Set up the database, or upgrade what an older version has set up, and exit
    Migrate(Box<MigrateArgs>),
    /// Print how to connect to the database with psql and other programs
    ///
    /// Of the embedded default the URL is good while the server runs.
    DatabaseUrl(DatabaseUrlArgs),
    /// Ask a running server whether it is healthy; exit code 0 when it is, else 1
    Healthcheck(HealthcheckArgs),
}

/// The settings of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The gRPC server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The models.
    #[command(flatten)]
    pub embedding: EmbeddingArgs,
    /// The embedded default.
    #[command(flatten)]
    pub embedded: EmbeddedArgs,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The settings of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Stop after the answer instead of serving on
    #[arg(long)]
    pub exit: bool,
    /// Address on this machine to serve on; another port is taken when it is in use
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// The embedded default.
    #[command(flatten)]
    pub embedded: EmbeddedArgs,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The settings of `migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Go on trying for this long when the database cannot be reached, or lacks what a migration needs [default: not]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The embedded default.
    #[command(flatten)]
    pub embedded: EmbeddedArgs,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The settings of `database-url`.
#[derive(Args, Clone, Debug)]
pub struct DatabaseUrlArgs {
    /// The configured database.
    #[command(flatten)]
    pub url: UrlArgs,
    /// Folder of the embedded default [default: /var/lib/pgfox for root, else ~/.local/share/pgfox]
    #[arg(long, env = "PGFOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DatabaseUrlArgs {
    /// The folder of the embedded default; `None` when none is given and there is no home folder.
    #[must_use]
    pub fn data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(|| Some(super::default_dirs()?.data))
    }
}

/// The settings of `healthcheck`.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// Address that the server listens on
    #[arg(long, env = "PGFOX_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: String,
    /// Certificate of the server, when it serves TLS; beyond this machine it must be exactly this one
    #[arg(long, env = "PGFOX_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Service to ask for, such as pgfox.embedder; empty is the server as a whole
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service: String,
    /// Longest time to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

/// Logging.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What to log: error, warn, info, debug or trace, also per module, such as info,pgfox_server::store=debug
    // The library logs whole replies that it does not understand, and those can be large or hold texts.
    #[arg(
        long,
        env = "PGFOX_LOG",
        value_name = "FILTER",
        default_value = "info,async_openai=off",
        help_heading = "Logging"
    )]
    pub log: String,
    /// Lines for people, or JSON for programs
    #[arg(long, env = "PGFOX_LOG_FORMAT", value_name = "FORMAT", default_value = "human", help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// An object of JSON each.
    Json,
}

/// The gRPC server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address to listen on; port 0 takes a free one, and the log names it
    #[arg(long, env = "PGFOX_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: String,
    /// Address that answers GET /metrics for Prometheus, such as 127.0.0.1:9464; port 0 takes a free one [default: none]
    #[arg(long, env = "PGFOX_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// Certificate chain in PEM, to serve TLS
    #[arg(long, env = "PGFOX_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, env = "PGFOX_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// File with the keys that callers present, one per line, each at least 16 characters; PGFOX_API_KEYS holds them too
    #[arg(long, env = "PGFOX_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Listen beyond this machine without API keys
    #[arg(long, env = "PGFOX_INSECURE", value_parser = flag)]
    pub insecure: bool,
    /// Origins of pages that may call by gRPC-Web, separated by commas, such as http://localhost:3000 [default: none]
    #[arg(long, env = "PGFOX_WEB_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub web_origins: Vec<Origin>,
    /// Further headers that calls of these pages may have, separated by commas, such as x-tenant; those of gRPC-Web and of
    /// tracing are allowed anyhow [default: none]
    #[arg(long, env = "PGFOX_WEB_HEADERS", value_name = "HEADERS", value_delimiter = ',', value_parser = header)]
    pub web_headers: Vec<HeaderName>,
    /// Largest request
    #[arg(long, env = "PGFOX_MAX_REQUEST_BYTES", value_name = "BYTES", default_value = "16MB", value_parser = bytes)]
    pub max_request_bytes: u64,
    /// Memory that requests and what is made of them may take at a time; a quarter is reserved for requests that store no
    /// documents
    #[arg(long, env = "PGFOX_MAX_BYTES_IN_FLIGHT", value_name = "BYTES", default_value = "256MB", value_parser = bytes)]
    pub max_bytes_in_flight: u64,
    /// Longest time that a request of more than 64 kB waits for its part of this memory
    #[arg(long, env = "PGFOX_BYTES_WAIT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub bytes_wait: Duration,
    /// Largest response
    #[arg(long, env = "PGFOX_MAX_RESPONSE_BYTES", value_name = "BYTES", default_value = "16MB", value_parser = bytes)]
    pub max_response_bytes: u64,
    /// Documents that one call may delete or change by a filter, in one transaction; a filter that selects more is refused
    #[arg(long, env = "PGFOX_MAX_BULK_DOCUMENTS", value_name = "COUNT", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_bulk_documents: u32,
    /// Most calls at a time on one connection; a client waits with further ones
    #[arg(long, env = "PGFOX_MAX_CALLS_PER_CONNECTION", value_name = "COUNT", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls_per_connection: u32,
    /// Longest time for a call, except for those that store documents or build an index
    #[arg(long, env = "PGFOX_CALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub call_timeout: Duration,
    /// Longest time for one ingest request, embedding included
    #[arg(long, env = "PGFOX_INGEST_TIMEOUT", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub ingest_timeout: Duration,
    /// Longest time for the exact search that fills up a result which the index left short
    #[arg(long, env = "PGFOX_FILL_UP_TIMEOUT", value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub fill_up_timeout: Duration,
    /// Most connections, bounded by the files that the process may open. When all have made a call, new ones are refused;
    /// else the oldest that has made none is closed
    #[arg(long, env = "PGFOX_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Longest time from connecting to a first call, TLS included; a call without a valid key does not count
    #[arg(long, env = "PGFOX_FIRST_CALL_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub first_call_timeout: Duration,
    /// Time without a call after which a client is asked to connect again when it needs to
    #[arg(long, env = "PGFOX_MAX_CONNECTION_IDLE", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub max_connection_idle: Duration,
    /// Pause after which a silent connection is asked whether it is still there
    #[arg(long, env = "PGFOX_KEEPALIVE", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub keepalive: Duration,
    /// Age at which a connection is to be replaced, once its calls have ended: callers that balance between servers then
    /// find new ones [default: any]
    #[arg(long, env = "PGFOX_MAX_CONNECTION_AGE", value_name = "TIME", value_parser = duration)]
    pub max_connection_age: Option<Duration>,
    /// Longest time that running calls get to finish at shutdown
    #[arg(long, env = "PGFOX_DRAIN_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// The configured database.
#[derive(Args, Clone, Debug, Default)]
pub struct UrlArgs {
    /// Database with pgvector, as postgresql://user:password@host/database [default: the embedded one]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, help_heading = "Database")]
    pub database_url: Option<SecretString>,
    /// File with the URL, instead of DATABASE_URL
    #[arg(long, env = "PGFOX_DATABASE_URL_FILE", value_name = "FILE", help_heading = "Database")]
    pub database_url_file: Option<PathBuf>,
}

/// The database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Its URL.
    #[command(flatten)]
    pub url: UrlArgs,
    /// The same database without a pooler, for migrations and index builds [default: --database-url]
    #[arg(long, env = "PGFOX_DIRECT_DATABASE_URL", value_name = "URL")]
    pub direct_database_url: Option<SecretString>,
    /// Schema for the views of the collections; NAME_internal holds the tables
    #[arg(long, env = "PGFOX_SCHEMA", value_name = "NAME", default_value = "pgfox")]
    pub schema: String,
    /// Upgrade the schema of an older version at start; an empty database is always set up
    #[arg(long, env = "PGFOX_MIGRATE", value_parser = flag)]
    pub migrate: bool,
    /// Most connections to the database for searches and writes
    #[arg(long, env = "PGFOX_POOL_SIZE", value_name = "COUNT", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pool_size: u32,
    /// Longest wait for a free connection. A search that is likely to wait for more than a tenth of it is refused at once;
    /// calls that write wait until their deadline
    #[arg(long, env = "PGFOX_POOL_WAIT", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub pool_wait: Duration,
    /// Calls that may wait for a connection; searches, writes and administration have a queue each
    #[arg(long, env = "PGFOX_MAX_WAITING_CALLS", value_name = "COUNT", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_waiting_calls: u32,
    /// Connections that may write into one collection at a time; all writes together take at most half of the pool, or this
    /// number if it is larger
    #[arg(long, env = "PGFOX_INGEST_CONCURRENCY", value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub ingest_concurrency: u32,
    /// Most index builds that run at a time; further ones wait. As many changes of metadata indexes run beside them
    #[arg(long, env = "PGFOX_BUILD_CONCURRENCY", value_name = "COUNT", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub build_concurrency: u32,
    /// Longest time the database may take to answer whether it is there, before health says NOT_SERVING
    #[arg(long, env = "PGFOX_HEALTH_TIMEOUT", value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub health_timeout: Duration,
    /// Age at which a connection is replaced
    #[arg(long, env = "PGFOX_POOL_MAX_AGE", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub pool_max_age: Duration,
    /// Different collections after which a connection is replaced: its process in Postgres keeps up to 60 kB of each
    #[arg(long, env = "PGFOX_POOL_MAX_COLLECTIONS", value_name = "COUNT", default_value_t = 750,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_max_collections: u32,
    /// Prepare no statements, for a pooler in transaction mode that loses them, such as PgBouncer before 1.21; needs
    /// --direct-database-url
    #[arg(long, env = "PGFOX_UNNAMED_STATEMENTS", value_parser = flag)]
    pub unnamed_statements: bool,
    /// Most memory for an index build, such as 2GB [default: maintenance_work_mem of the database]
    #[arg(long, env = "PGFOX_BUILD_MEMORY", value_name = "BYTES", value_parser = build_memory)]
    pub build_memory: Option<u64>,
}

/// The models.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Embedding")]
pub struct EmbeddingArgs {
    /// Server that speaks OpenAI's API, such as http://127.0.0.1:11434/v1; at Azure with ?api-version=... [default: OpenAI's]
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub openai_base_url: Option<String>,
    /// File with its key, instead of OPENAI_API_KEY
    #[arg(long, env = "PGFOX_OPENAI_API_KEY_FILE", value_name = "FILE")]
    pub openai_api_key_file: Option<PathBuf>,
    /// Folder with a folder for each model "local/NAME": config.json, tokenizer.json, model.safetensors
    #[arg(long, env = "PGFOX_LOCAL_MODELS", value_name = "DIR")]
    pub local_models: Option<PathBuf>,
    /// Most local models in memory at a time, about 100 MB each; they stay until the server ends
    #[arg(long, env = "PGFOX_MAX_LOCAL_MODELS", value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_local_models: u32,
    /// Model of collections that name none; `none` where callers send vectors [default: local/all-MiniLM-L6-v2; with a
    /// key of OpenAI or --openai-base-url openai/text-embedding-3-small]
    #[arg(long, env = "PGFOX_DEFAULT_MODEL", value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Most texts in one request to the server
    #[arg(long, env = "PGFOX_EMBED_BATCH_SIZE", value_name = "COUNT", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub embed_batch_size: u32,
    /// Requests to the server at a time; a quarter of them, if there are several, is for queries alone
    #[arg(long, env = "PGFOX_EMBED_CONCURRENCY", value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub embed_concurrency: u32,
    /// Longest time for one request to the server
    #[arg(long, env = "PGFOX_EMBED_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub embed_timeout: Duration,
    /// Attempts after the first one, when the server limits the rate, fails or cannot be reached
    #[arg(long, env = "PGFOX_EMBED_RETRIES", value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    pub embed_retries: u32,
    /// Longest time after the first attempt that another one starts
    #[arg(long, env = "PGFOX_EMBED_MAX_ELAPSED", value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub embed_max_elapsed: Duration,
    /// Longest Retry-After of the server that is waited for
    #[arg(long, env = "PGFOX_EMBED_RETRY_AFTER_CAP", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub embed_retry_after_cap: Duration,
    /// Memory for vectors of query texts that were embedded lately; 0MB remembers none
    #[arg(long, env = "PGFOX_QUERY_CACHE", value_name = "BYTES", default_value = "64MB", value_parser = bytes)]
    pub query_cache: u64,
}

/// The embedded default.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Embedded default (without --database-url)")]
pub struct EmbeddedArgs {
    /// Where the private PostgreSQL keeps its data [default: /var/lib/pgfox for root, else ~/.local/share/pgfox]
    #[arg(long, env = "PGFOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where PostgreSQL (25 MB) and the local model (84 MB) are fetched to [default: /var/cache/pgfox for root, else
    /// ~/.cache/pgfox]
    #[arg(long, env = "PGFOX_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Folder with the programs of an installed PostgreSQL that has pgvector, instead of fetching one
    #[arg(long, env = "PGFOX_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// User that PostgreSQL runs as when started by root [default: postgres, else nobody]
    #[arg(long, env = "PGFOX_RUN_AS", value_name = "USER")]
    pub run_as: Option<String>,
    /// Memory to size PostgreSQL for, such as 2GB [default: that of the machine or the container]
    #[arg(long, env = "PGFOX_POSTGRES_MEMORY", value_name = "BYTES", value_parser = postgres_memory)]
    pub postgres_memory: Option<u64>,
    /// Longest time PostgreSQL may take to start, recovery after a crash included
    #[arg(long, env = "PGFOX_START_TIMEOUT", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub start_timeout: Duration,
    /// Longest time a download may take
    #[arg(long, env = "PGFOX_FETCH_TIMEOUT", value_name = "TIME", default_value = "30m", value_parser = duration)]
    pub fetch_timeout: Duration,
}

/// What the settings are when neither the command line nor the environment says anything.
pub(super) fn defaults<T: Args + FromArgMatches>() -> T {
    let command = T::augment_args(clap::Command::new("defaults").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.get_matches_from([""; 0]);
    // No setting is required; a test of this module reads them all.
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
