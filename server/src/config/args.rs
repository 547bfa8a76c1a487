//! The flags and environment variables, as `--help` shows them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum, builder::Resettable};
use http::HeaderName;
use secrecy::SecretString;

use super::value::{build_memory, bytes, duration, flag, header, postgres_memory};
use crate::layers::web::Origin;

const AFTER_HELP: &str = "\
Secrets are never flags:
  OPENAI_API_KEY or OPENAI_KEY  API key for OpenAI or for the server at --openai-base-url
  PGFOX_API_KEYS                keys that callers send, separated by commas

Exit codes: 0 done, 1 failed, 2 the settings are wrong.
Stop with Ctrl-C or SIGTERM: running calls finish first. A second signal stops at once.
SIGHUP reads the files with keys and the certificate again. A change to them has the same effect.
When a terminal closes, its SIGHUP stops the server as SIGTERM does.";

/// Semantic search on PostgreSQL and pgvector over gRPC.
///
/// Without settings it runs a private PostgreSQL with pgvector and embeds text with a local model. It downloads both
/// once. Try `pgfox-server demo`.
#[derive(Debug, Parser)]
#[command(name = "pgfox-server", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The subcommand; `serve` if none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl Cli {
    /// Reads the command line and the environment. If they are wrong, prints a message and ends the process.
    #[must_use]
    pub fn read() -> Cli {
        let matches = prepare(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Treats empty variables as unset, since `docker compose` and similar tools pass unset variables that way. Keeps the
/// values of variables out of `--help`.
fn prepare(command: clap::Command) -> clap::Command {
    let prepare_arg = |arg: clap::Arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        let arg = if empty { arg.env(Resettable::Reset) } else { arg };
        arg.hide_env_values(true)
    };
    command.mut_args(prepare_arg).mut_subcommands(prepare)
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve (the default)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Run an example search on the embedded default, then keep serving it
    ///
    /// Always uses a private PostgreSQL and the local model, and ignores the environment. Replaces the collection
    /// "foxes" and leaves other collections as they are.
    Demo(DemoArgs),
    /// Set up the database or upgrade its schema, then exit
    Migrate(Box<MigrateArgs>),
    /// Print the URL of the database, for psql and other programs
    ///
    /// The URL of the embedded default works while the server runs.
    DatabaseUrl(DatabaseUrlArgs),
    /// Check the health of a running server; exits with 0 if it is healthy, else with 1
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
    /// Exit after the answer instead of serving
    #[arg(long)]
    pub exit: bool,
    /// Address on this machine to serve on; if it is in use, another port is taken
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
    /// Retry for this long if the database cannot be reached or lacks something that a migration needs [default: no
    /// retries]
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
    /// Data folder of the embedded default [default: /var/lib/pgfox for root, else ~/.local/share/pgfox]
    #[arg(long, env = "PGFOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DatabaseUrlArgs {
    /// The data folder of the embedded default. `None` if none is given and there is no home folder.
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
    /// Certificate of the server if it uses TLS; a server on another machine must show exactly this one
    #[arg(long, env = "PGFOX_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Service to check, such as pgfox.embedder; empty means the whole server
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service: String,
    /// Maximum time to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

/// Logging.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Log level: error, warn, info, debug or trace; also per module, such as info,pgfox_server::store=debug
    // At its usual level the library logs whole replies that it does not understand. They can be large or contain
    // texts.
    #[arg(
        long,
        env = "PGFOX_LOG",
        value_name = "FILTER",
        default_value = "info,async_openai=off",
        help_heading = "Logging"
    )]
    pub log: String,
    /// Format of log lines: human for people, json for programs
    #[arg(long, env = "PGFOX_LOG_FORMAT", value_name = "FORMAT", default_value = "human", help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// The gRPC server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address to listen on; port 0 takes a free port, which the log names
    #[arg(long, env = "PGFOX_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: String,
    /// Address that serves GET /metrics for Prometheus, such as 127.0.0.1:9464; port 0 takes a free port [default:
    /// none]
    #[arg(long, env = "PGFOX_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// File with the certificate chain in PEM; turns on TLS
    #[arg(long, env = "PGFOX_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// File with the private key of the certificate in PEM
    #[arg(long, env = "PGFOX_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// File with API keys, one per line, each at least 16 characters; PGFOX_API_KEYS adds more
    #[arg(long, env = "PGFOX_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Allow listening beyond this machine without API keys
    #[arg(long, env = "PGFOX_INSECURE", value_parser = flag)]
    pub insecure: bool,
    /// Origins of web pages that may call by gRPC-Web, separated by commas, such as http://localhost:3000 [default:
    /// none]
    #[arg(long, env = "PGFOX_WEB_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub web_origins: Vec<Origin>,
    /// Additional headers that these pages may send, separated by commas, such as x-tenant; headers of gRPC-Web and of
    /// tracing are always allowed [default: none]
    #[arg(long, env = "PGFOX_WEB_HEADERS", value_name = "HEADERS", value_delimiter = ',', value_parser = header)]
    pub web_headers: Vec<HeaderName>,
    /// Maximum size of a request
    #[arg(long, env = "PGFOX_MAX_REQUEST_BYTES", value_name = "BYTES", default_value = "16MB", value_parser = bytes)]
    pub max_request_bytes: u64,
    /// Maximum memory for requests and everything made from them; a quarter is reserved for requests that store no
    /// documents
    #[arg(long, env = "PGFOX_MAX_BYTES_IN_FLIGHT", value_name = "BYTES", default_value = "256MB", value_parser = bytes)]
    pub max_bytes_in_flight: u64,
    /// Maximum time that a request above 64 kB waits for its share of this memory
    #[arg(long, env = "PGFOX_BYTES_WAIT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub bytes_wait: Duration,
    /// Maximum size of a response
    #[arg(long, env = "PGFOX_MAX_RESPONSE_BYTES", value_name = "BYTES", default_value = "16MB", value_parser = bytes)]
    pub max_response_bytes: u64,
    /// Maximum number of documents that one call may delete or change by a filter, in one transaction; a filter that
    /// selects more is refused
    #[arg(long, env = "PGFOX_MAX_BULK_DOCUMENTS", value_name = "COUNT", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_bulk_documents: u32,
    /// Maximum number of batches of rows of followed tables that are embedded and stored at a time
    #[arg(long, env = "PGFOX_FOLLOW_CONCURRENCY", value_name = "COUNT", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub follow_concurrency: u32,
    /// Compare all rows of each followed table with the documents this often, to find changes that no trigger noted
    #[arg(long, env = "PGFOX_FOLLOW_COMPARE_EVERY", value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub follow_compare_every: Duration,
    /// Maximum number of rows per second that such a comparison reads, which is also how a new collection is filled
    /// [default: no limit]
    #[arg(long, env = "PGFOX_FOLLOW_ROWS_PER_SECOND", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub follow_rows_per_second: Option<u32>,
    /// Maximum number of calls at a time on one connection; further calls wait in the client
    #[arg(long, env = "PGFOX_MAX_CALLS_PER_CONNECTION", value_name = "COUNT", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls_per_connection: u32,
    /// Maximum time for a call, except calls that store documents or build an index
    #[arg(long, env = "PGFOX_CALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub call_timeout: Duration,
    /// Maximum time for one ingest request, including embedding
    #[arg(long, env = "PGFOX_INGEST_TIMEOUT", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub ingest_timeout: Duration,
    /// Maximum time for the exact search that completes a result if the index found too few documents
    #[arg(long, env = "PGFOX_FILL_UP_TIMEOUT", value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub fill_up_timeout: Duration,
    /// Maximum number of connections, limited by the number of files that the process may open. If it is reached, the
    /// oldest connection without a call is closed; if every connection has made a call, the new one is refused
    #[arg(long, env = "PGFOX_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Maximum time from connecting to the first call, including TLS; a call without a valid key does not count
    #[arg(long, env = "PGFOX_FIRST_CALL_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub first_call_timeout: Duration,
    /// Ask a client to reconnect after this time without a call
    #[arg(long, env = "PGFOX_MAX_CONNECTION_IDLE", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub max_connection_idle: Duration,
    /// Ping a silent connection after this time
    #[arg(long, env = "PGFOX_KEEPALIVE", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub keepalive: Duration,
    /// Ask a client to reconnect at this age, once its calls have ended; callers that balance load then find new
    /// servers [default: no limit]
    #[arg(long, env = "PGFOX_MAX_CONNECTION_AGE", value_name = "TIME", value_parser = duration)]
    pub max_connection_age: Option<Duration>,
    /// Maximum time for running calls to finish at shutdown
    #[arg(long, env = "PGFOX_DRAIN_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// The configured database.
#[derive(Args, Clone, Debug, Default)]
pub struct UrlArgs {
    /// URL of a database with pgvector, such as postgresql://user:password@host/database [default: the embedded one]
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
    /// URL of the same database that bypasses the pooler, for migrations and index builds [default: --database-url]
    #[arg(long, env = "PGFOX_DIRECT_DATABASE_URL", value_name = "URL")]
    pub direct_database_url: Option<SecretString>,
    /// Schema for the views of the collections; the tables are in the schema NAME_internal
    #[arg(long, env = "PGFOX_SCHEMA", value_name = "NAME", default_value = "pgfox")]
    pub schema: String,
    /// Upgrade the schema of an older version at start; an empty database is always set up
    #[arg(long, env = "PGFOX_MIGRATE", value_parser = flag)]
    pub migrate: bool,
    /// Maximum number of database connections for searches and writes
    #[arg(long, env = "PGFOX_POOL_SIZE", value_name = "COUNT", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pool_size: u32,
    /// Maximum wait for a free database connection. A search is refused at once if it would probably wait for more than
    /// a tenth of this time; calls that write wait until their deadline
    #[arg(long, env = "PGFOX_POOL_WAIT", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub pool_wait: Duration,
    /// Maximum number of calls that wait for a connection, each for searches, writes and administration
    #[arg(long, env = "PGFOX_MAX_WAITING_CALLS", value_name = "COUNT", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_waiting_calls: u32,
    /// Maximum number of connections that write into one collection at a time; all writes together use at most half of
    /// the pool, or this number if it is larger
    #[arg(long, env = "PGFOX_INGEST_CONCURRENCY", value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub ingest_concurrency: u32,
    /// Maximum number of index builds at a time; further builds wait. As many changes of metadata indexes run beside
    /// them
    #[arg(long, env = "PGFOX_BUILD_CONCURRENCY", value_name = "COUNT", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub build_concurrency: u32,
    /// Health reports NOT_SERVING if the database does not answer within this time
    #[arg(long, env = "PGFOX_HEALTH_TIMEOUT", value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub health_timeout: Duration,
    /// Replace a database connection at this age
    #[arg(long, env = "PGFOX_POOL_MAX_AGE", value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub pool_max_age: Duration,
    /// Replace a database connection after it has served this many collections; its Postgres process keeps up to 60 kB
    /// for each
    #[arg(long, env = "PGFOX_POOL_MAX_COLLECTIONS", value_name = "COUNT", default_value_t = 750,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_max_collections: u32,
    /// Prepare no statements, for a pooler in transaction mode that loses them, such as PgBouncer before 1.21; needs
    /// --direct-database-url
    #[arg(long, env = "PGFOX_UNNAMED_STATEMENTS", value_parser = flag)]
    pub unnamed_statements: bool,
    /// Maximum memory for an index build, such as 2GB [default: maintenance_work_mem of the database]
    #[arg(long, env = "PGFOX_BUILD_MEMORY", value_name = "BYTES", value_parser = build_memory)]
    pub build_memory: Option<u64>,
}

/// The models.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Embedding")]
pub struct EmbeddingArgs {
    /// URL of a server with OpenAI's API, such as http://127.0.0.1:11434/v1; for Azure with ?api-version=... [default:
    /// OpenAI's]
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub openai_base_url: Option<String>,
    /// File with the API key of that server, instead of OPENAI_API_KEY
    #[arg(long, env = "PGFOX_OPENAI_API_KEY_FILE", value_name = "FILE")]
    pub openai_api_key_file: Option<PathBuf>,
    /// Folder with one folder for each model "local/NAME", with config.json, tokenizer.json and model.safetensors
    #[arg(long, env = "PGFOX_LOCAL_MODELS", value_name = "DIR")]
    pub local_models: Option<PathBuf>,
    /// Maximum number of local models in memory, about 100 MB each; they stay until the server ends
    #[arg(long, env = "PGFOX_MAX_LOCAL_MODELS", value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_local_models: u32,
    /// Model of collections that name none; `none` if callers send vectors [default: local/all-MiniLM-L6-v2; with an
    /// OpenAI key or --openai-base-url openai/text-embedding-3-small]
    #[arg(long, env = "PGFOX_DEFAULT_MODEL", value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Maximum number of texts in one request to the embedding server
    #[arg(long, env = "PGFOX_EMBED_BATCH_SIZE", value_name = "COUNT", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub embed_batch_size: u32,
    /// Maximum number of requests to the embedding server at a time; if there are several, a quarter is reserved for
    /// queries
    #[arg(long, env = "PGFOX_EMBED_CONCURRENCY", value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub embed_concurrency: u32,
    /// Maximum time for one request to the embedding server
    #[arg(long, env = "PGFOX_EMBED_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub embed_timeout: Duration,
    /// Number of retries if the embedding server limits the rate, fails or cannot be reached
    #[arg(long, env = "PGFOX_EMBED_RETRIES", value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    pub embed_retries: u32,
    /// Start no retry later than this after the first attempt
    #[arg(long, env = "PGFOX_EMBED_MAX_ELAPSED", value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub embed_max_elapsed: Duration,
    /// Longest Retry-After of the embedding server that pgfox waits for
    #[arg(long, env = "PGFOX_EMBED_RETRY_AFTER_CAP", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub embed_retry_after_cap: Duration,
    /// Memory for the vectors of recent query texts; 0MB turns the cache off
    #[arg(long, env = "PGFOX_QUERY_CACHE", value_name = "BYTES", default_value = "64MB", value_parser = bytes)]
    pub query_cache: u64,
}

/// The embedded default.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Embedded default (without --database-url)")]
pub struct EmbeddedArgs {
    /// Data folder of the private PostgreSQL [default: /var/lib/pgfox for root, else ~/.local/share/pgfox]
    #[arg(long, env = "PGFOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder for the downloaded PostgreSQL (25 MB) and local model (84 MB) [default: /var/cache/pgfox for root, else
    /// ~/.cache/pgfox]
    #[arg(long, env = "PGFOX_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Folder with the programs of an installed PostgreSQL with pgvector, instead of downloading one
    #[arg(long, env = "PGFOX_POSTGRES_BIN", value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// User that runs PostgreSQL if root starts the server [default: postgres, else nobody]
    #[arg(long, env = "PGFOX_RUN_AS", value_name = "USER")]
    pub run_as: Option<String>,
    /// Memory that PostgreSQL is configured for, such as 2GB [default: the memory of the machine or container]
    #[arg(long, env = "PGFOX_POSTGRES_MEMORY", value_name = "BYTES", value_parser = postgres_memory)]
    pub postgres_memory: Option<u64>,
    /// Maximum time for PostgreSQL to start, including recovery after a crash
    #[arg(long, env = "PGFOX_START_TIMEOUT", value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub start_timeout: Duration,
    /// Maximum time for a download
    #[arg(long, env = "PGFOX_FETCH_TIMEOUT", value_name = "TIME", default_value = "30m", value_parser = duration)]
    pub fetch_timeout: Duration,
}

/// The default settings, as they are without flags and environment variables.
pub(super) fn defaults<T: Args + FromArgMatches>() -> T {
    let command = T::augment_args(clap::Command::new("defaults").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.get_matches_from([""; 0]);
    // No setting is required. A test of this module reads them all.
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
