//! Real Postgres clusters, one per major version and test run, and real servers on free ports, one per test.

use std::{
    io,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::{
    ApiKeys, Cache, Certificate, Connector, Dsn, EmbeddedOptions, EmbeddedPostgres, EmbeddingConfig, Limits,
    LocalConfig, Migrate, OpenAiConfig, Origin, PoolOptions, Progress, ServeConfig, StoreConfig,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::pooler;

pub(crate) type Client = PgfoxServiceClient<Channel>;

/// The major versions of Postgres that tests run on.
const MAJORS: [u32; 2] = [16, 18];

/// A cluster that lives as long as the test run.
pub(crate) struct Cluster {
    pub(crate) postgres: EmbeddedPostgres,
    /// Keeps the supervisor of Postgres running. The runtime of a single test could not.
    _runtime: tokio::runtime::Runtime,
}

static CLUSTERS: [OnceLock<Cluster>; MAJORS.len()] = [const { OnceLock::new() }; MAJORS.len()];

/// The cluster of a major version, shared by all tests.
pub(crate) fn cluster(major: u32) -> &'static Cluster {
    let position = MAJORS.iter().position(|known| *known == major).expect("a tested version");
    CLUSTERS[position].get_or_init(|| {
        // A thread of its own, since a runtime cannot be entered from within another.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            let postgres = runtime.block_on(start_postgres(major));
            Cluster { postgres, _runtime: runtime }
        })
        .join()
        .expect("Postgres starts")
    })
}

/// The URLs of the shared clusters that are running.
pub(crate) fn shared_urls() -> Vec<&'static str> {
    CLUSTERS.iter().filter_map(|cluster| Some(cluster.get()?.postgres.database_url())).collect()
}

/// Starts a small separate Postgres for a test that kills it. See [`cluster`] for the shared ones.
pub(crate) async fn start_postgres(major: u32) -> EmbeddedPostgres {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let postgres = start_postgres_in(&folder, major).await;
    remove_at_exit(&folder, &folder).expect("a watcher");
    postgres
}

/// Starts a small process that cleans up when this process has ended in any way: it kills the Postgres of a data folder
/// and removes `folder`. Destructors do not run for statics, nor after kill -9.
pub(crate) fn remove_at_exit(data_dir: &Path, folder: &Path) -> io::Result<()> {
    // The pipe closes when this process ends. By then PostgreSQL may have another process id than now.
    let script = r#"read -r _
        pid=$(head -n 1 "$1/postmaster.pid") && kill -QUIT "$pid" 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
        rm -rf -- "$2""#;
    let mut watcher = Command::new("/bin/sh");
    watcher.args(["-c", script, "sh"]).arg(data_dir.join("postgres")).arg(folder);
    watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C must not end it before its work is done.
    watcher.process_group(0);
    let mut watcher = watcher.spawn()?;
    // Kept open until this process ends.
    std::mem::forget(watcher.stdin.take());
    Ok(())
}

/// Starts a small Postgres in the caller's folder. The caller also stops it.
pub(crate) async fn start_postgres_in(folder: &Path, major: u32) -> EmbeddedPostgres {
    let settings = [("fsync", "off"), ("logging_collector", "off"), ("max_connections", "300")];
    let options = EmbeddedOptions {
        major,
        memory: Some(1 << 30),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..EmbeddedOptions::new(folder.to_owned(), cache())
    };
    EmbeddedPostgres::start(&options).await.expect("Postgres starts")
}

/// The folder that keeps fetched binaries and weights between runs.
pub(crate) fn cache() -> Cache {
    let dir = std::env::var_os("PGFOX_CACHE_DIR")
        .map_or_else(|| pgfox_server::default_dirs().expect("a home folder").cache, PathBuf::from);
    Cache { dir, timeout: Duration::from_secs(1800), progress: Progress::Silent }
}

/// A connection for inspecting and changing a database.
pub(crate) async fn sql(database_url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(database_url, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Creates a database for a test; returns its DSN.
pub(crate) async fn create_database(postgres: &EmbeddedPostgres) -> String {
    static CREATED: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
    sql(postgres.database_url()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let (server, _) = postgres.database_url().rsplit_once('/').expect("a URL");
    format!("{server}/{name}")
}

/// The settings of a test's server.
pub(crate) struct Setup {
    pub(crate) database_url: String,
    pub(crate) openai: OpenAiConfig,
    pub(crate) limits: Limits,
    pub(crate) api_keys: ApiKeys,
    pub(crate) tls: Option<Certificate>,
    /// Whether the server has a port for metrics.
    pub(crate) metrics: bool,
    pub(crate) web_origins: Vec<Origin>,
    pub(crate) web_headers: Vec<hyper::header::HeaderName>,
    pub(crate) migrate: Migrate,
    pub(crate) schema: String,
    pub(crate) pool_size: usize,
    pub(crate) pool_wait: Duration,
    /// Calls of a class that wait for a connection.
    pub(crate) max_waiting: usize,
    pub(crate) build_concurrency: usize,
    pub(crate) health_timeout: Duration,
    /// Different collections after which a connection is replaced.
    pub(crate) max_collections: usize,
    /// The same database through a pooler, for connections that may use one.
    pub(crate) pooled_url: Option<String>,
    pub(crate) unnamed_statements: bool,
}

impl Setup {
    /// The usual server on a database.
    pub(crate) fn new(database_url: String) -> Self {
        Self {
            database_url,
            pooled_url: None,
            unnamed_statements: false,
            max_collections: PoolOptions::default().max_collections,
            openai: OpenAiConfig::default(),
            // Longer than any machine takes, so that results do not depend on it.
            limits: Limits { notes: Duration::from_secs(20), ..Limits::default() },
            api_keys: ApiKeys::default(),
            tls: None,
            metrics: false,
            web_origins: Vec::new(),
            web_headers: Vec::new(),
            migrate: Migrate::IfEmpty,
            schema: "pgfox".into(),
            pool_size: 8,
            pool_wait: Duration::from_secs(5),
            max_waiting: PoolOptions::default().max_waiting,
            build_concurrency: 2,
            health_timeout: Duration::from_secs(3),
        }
    }

    /// Starts the server, without waiting until it is ready. With the variable PGFOX_TEST_POOLER it goes through a
    /// PgBouncer that loses prepared statements.
    pub(crate) async fn start(mut self) -> Server {
        if self.pooled_url.is_none() {
            self.pooled_url = pooler::in_front_of_all(&self.database_url);
            self.unnamed_statements |= self.pooled_url.is_some();
        }
        let dsn = Dsn::parse(&self.database_url).expect("a DSN");
        let direct = Connector::new(&dsn).expect("a connector");
        let connector = match &self.pooled_url {
            Some(url) => Connector::new(&Dsn::parse(url).expect("a DSN")).expect("a connector"),
            None => direct.clone(),
        };
        let default_model = (!self.openai.is_enabled()).then(|| "local/tiny-bert".to_owned());
        let models = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"));
        let metrics = match self.metrics {
            true => Some(TcpListener::bind("127.0.0.1:0").await.expect("a port")),
            false => None,
        };
        let metrics_address = metrics.as_ref().map(|listener| listener.local_addr().expect("an address"));
        let config = ServeConfig {
            store: StoreConfig {
                connector,
                direct,
                schema: self.schema,
                pool: PoolOptions {
                    max_size: self.pool_size,
                    wait_timeout: self.pool_wait,
                    max_waiting: self.max_waiting,
                    max_collections: self.max_collections,
                    unnamed_statements: self.unnamed_statements,
                    ..PoolOptions::default()
                },
                build_concurrency: self.build_concurrency,
                health_timeout: self.health_timeout,
                build_memory: None,
            },
            migrate: self.migrate,
            embedding: EmbeddingConfig {
                default_model,
                openai: self.openai,
                local: LocalConfig { models_dir: Some(models), ..LocalConfig::default() },
                ..EmbeddingConfig::default()
            },
            limits: self.limits,
            api_keys: self.api_keys,
            tls: self.tls,
            metrics,
            web_origins: self.web_origins,
            web_headers: self.web_headers,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (shutdown, stopped) = oneshot::channel();
        let task = tokio::spawn(pgfox_server::serve(config, listener, async {
            let _ = stopped.await;
        }));
        let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect_lazy();
        Server { address, metrics_address, database_url: self.database_url, channel, shutdown: Some(shutdown), task }
    }
}

/// A server in this process. Aborted when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    /// The address of the metrics, if the test asked for them.
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) database_url: String,
    pub(crate) channel: Channel,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A ready server on its own database, with the tiny model as default.
    pub(crate) async fn start(major: u32) -> Self {
        Self::start_with(major, |_| {}).await
    }

    /// The same with changed settings.
    pub(crate) async fn start_with(major: u32, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(create_database(&cluster(major).postgres).await);
        change(&mut setup);
        let server = setup.start().await;
        server.ready().await;
        server
    }

    pub(crate) fn client(&self) -> Client {
        let limit = 64 * 1024 * 1024;
        PgfoxServiceClient::new(self.channel.clone()).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        sql(&self.database_url).await
    }

    /// Waits until the service says SERVING.
    pub(crate) async fn ready(&self) {
        let mut health = tonic_health::pb::health_client::HealthClient::new(self.channel.clone());
        eventually("the server is ready", async || {
            let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
            health.check(request).await.is_ok_and(|response| response.into_inner().status == 1)
        })
        .await;
    }

    /// Waits until the server ends by itself.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        in_time("the server ends", &mut self.task).await.expect("the server does not panic")
    }

    /// Shuts down like SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.shutdown.take());
        in_time("the server stops", &mut self.task).await?
    }
}

/// The sessions of a database that wait for a lock. A separate session asks: a transaction that holds the lock would
/// always see what it saw at its first query.
pub(crate) async fn waiting_for_locks(database_url: &str) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'";
    sql(database_url).await.query_one(waiting, &[]).await.expect("a count").get(0)
}

/// Waits until `done`.
pub(crate) async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Waits for something that takes far less than a minute, so that a test fails instead of hanging.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("not in {limit:?}: {what}"))
}

/// For a limit of the server that a test must not reach: much longer than the wait of [`in_time`].
pub(crate) const AN_HOUR: Duration = Duration::from_secs(60 * 60);

/// The reason of an error, and the fields that it names.
pub(crate) fn reason(status: &Status) -> (String, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "pgfox");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    (info.reason.clone(), violations.into_iter().map(|violation| violation.field).collect())
}

/// A collection whose callers send vectors.
pub(crate) fn vectors(name: &str, dimensions: i32, distance: v1::Distance) -> v1::CreateCollectionRequest {
    v1::CreateCollectionRequest {
        collection: Some(v1::Collection {
            name: name.into(),
            embedding: Some(v1::Embedding { dimensions, ..Default::default() }),
            distance: distance.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A collection with the default model.
pub(crate) fn texts(name: &str) -> v1::CreateCollectionRequest {
    let collection = v1::Collection { name: name.into(), ..Default::default() };
    v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() }
}

/// A document with a vector.
pub(crate) fn vector_document(id: &str, values: &[f32]) -> v1::Document {
    v1::Document { id: id.into(), vector: Some(v1::Vector { values: values.to_vec() }), ..Default::default() }
}

/// A document with a text.
pub(crate) fn text_document(id: &str, text: &str) -> v1::Document {
    v1::Document { id: id.into(), text: text.into(), ..Default::default() }
}
