//! Shared by the benchmarks of the service: a separate Postgres and server process, and the processor time that each of
//! them took.

// Each benchmark uses only a part of it.
#![allow(dead_code)]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use pgfox::v1::{self, index_spec, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::{Cache, EmbeddedOptions, EmbeddedPostgres, Progress};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
};
use tonic::transport::Channel;

/// Maximum time for the server to get ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The embedded Postgres in its own folder, with full durability: nothing is switched off.
pub(crate) struct Postgres {
    postgres: EmbeddedPostgres,
    options: EmbeddedOptions,
    /// Removed at the end.
    _folder: Option<TempDir>,
}

impl Postgres {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Like `new`, with additional settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let started = Self::start_in(folder.path(), settings).await?;
        Ok(Self { _folder: Some(folder), ..started })
    }

    /// Like `new`, in a folder that stays. Keeps what an earlier run has left there.
    pub(crate) async fn start_in(folder: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let cache = std::env::var_os("PGFOX_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| Some(pgfox_server::default_dirs()?.cache))
            .context("there is no home folder: set PGFOX_CACHE_DIR")?;
        let cache = Cache { dir: cache, timeout: Duration::from_secs(1800), progress: Progress::Stderr };
        let mut options = EmbeddedOptions::new(folder.join("data"), cache);
        options.settings = owned(settings);
        let postgres = EmbeddedPostgres::start(&options).await?;
        Ok(Self { postgres, options, _folder: None })
    }

    /// Stops it and starts it again with other settings.
    pub(crate) async fn restart(self, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let Self { postgres, mut options, _folder } = self;
        postgres.stop().await;
        options.settings = owned(settings);
        let postgres = EmbeddedPostgres::start(&options).await?;
        Ok(Self { postgres, options, _folder })
    }

    pub(crate) fn url(&self) -> &str {
        self.postgres.database_url()
    }

    /// The process id of the postmaster. `None` while it is down. It is started again when it dies.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.postgres.pid()
    }

    /// The folder of psql, pgbench and other programs.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.postgres.bin().join(name));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A connection for setup and inspection.
    pub(crate) async fn connect(&self) -> anyhow::Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(self.url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Processor time of the postmaster and all its children so far, including those that have ended.
    pub(crate) fn processor_time(&self) -> Duration {
        let Some(postmaster) = self.postgres.pid() else {
            return Duration::ZERO;
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(read_stat)
            .filter(|stat| stat.pid == postmaster || stat.parent == postmaster)
            .map(|stat| if stat.pid == postmaster { stat.own + stat.ended_children } else { stat.own })
            .sum()
    }

    /// The private memory of its largest process for a connection, in bytes.
    pub(crate) fn largest_backend(&self) -> anyhow::Result<u64> {
        let postmaster = self.postgres.pid().context("Postgres runs")?;
        let mut largest = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if read_stat(pid).is_none_or(|stat| stat.parent != postmaster) {
                continue;
            }
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let private = text.lines().filter(|line| line.starts_with("Private_"));
            let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            largest = largest.max(kilobytes.sum::<u64>() * 1024);
        }
        Ok(largest)
    }

    pub(crate) async fn stop(self) {
        self.postgres.stop().await;
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The optimized server that `cargo bench` has built.
pub(crate) struct Server {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
    /// The path of its log.
    pub(crate) log: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub(crate) async fn start(postgres: &Postgres, log_filter: &str) -> anyhow::Result<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_pgfox-server"));
        Self::start_program(postgres, program, &["--log", log_filter]).await
    }

    /// Like `start`, with more arguments.
    pub(crate) async fn start_with(postgres: &Postgres, arguments: &[&str]) -> anyhow::Result<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_pgfox-server"));
        Self::start_program(postgres, program, arguments).await
    }

    /// Another build of the server, with its own schema: its tables may differ.
    pub(crate) async fn start_other(postgres: &Postgres, program: &Path, schema: &str) -> anyhow::Result<Self> {
        Self::start_program(postgres, program, &["--log", "warn,pgfox_server=info", "--schema", schema]).await
    }

    async fn start_program(postgres: &Postgres, program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        // With a provider configured, the server does not download the local model. Nothing calls the provider.
        let server = Self::launch(program, arguments, postgres.url(), "http://127.0.0.1:9/v1").await?;
        server.ready().await?;
        Ok(server)
    }

    /// Starts the server with a database and a provider, and waits until it listens.
    pub(crate) async fn launch(
        program: &Path,
        arguments: &[&str],
        database_url: &str,
        provider_url: &str,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        // The environment of the person who runs the benchmark must not change what it measures.
        let foreign =
            |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("PGFOX_") || name.starts_with("OPENAI_"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(name)) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("DATABASE_URL", database_url)
            .env("OPENAI_BASE_URL", provider_url)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the server cannot be started")?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is a pipe")?).lines();
        let (sender, mut log) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = log.recv().await else {
                anyhow::bail!("the server ended: {}", said.join("\n"));
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().to_owned();
            }
            said.push(line);
        };
        Ok(Self { child, address, log })
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let mut client = self.client()?;
        let answered = async {
            while client.list_collections(v1::ListCollectionsRequest::default()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(READY_TIMEOUT, answered).await.context("the server did not get ready")
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> anyhow::Result<PgfoxServiceClient<Channel>> {
        let channel = Channel::from_shared(format!("http://{}", self.address))?.connect_lazy();
        Ok(PgfoxServiceClient::new(channel).max_encoding_message_size(usize::MAX))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }

    pub(crate) fn processor_time(&self) -> Duration {
        read_stat(self.pid()).map_or(Duration::ZERO, |stat| stat.own)
    }

    /// The maximum memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("Linux reports VmHWM")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// Builds an HNSW index with the usual parameters.
pub(crate) async fn build_index(client: &mut PgfoxServiceClient<Channel>, collection: &str) -> anyhow::Result<()> {
    let kind = index_spec::Kind::Hnsw(v1::Hnsw { m: 16, ef_construction: 64 });
    let spec = v1::IndexSpec { kind: Some(kind), allow_few_rows: false };
    let request = v1::BuildIndexRequest { collection: collection.into(), spec: Some(spec), ..Default::default() };
    let mut progress = client.build_index(request).await?.into_inner();
    let mut phase = v1::IndexPhase::Unspecified;
    while let Some(message) = progress.message().await? {
        phase = message.phase();
    }
    ensure!(phase == v1::IndexPhase::Ready, "the index was not built");
    Ok(())
}

/// Processor time of this process.
pub(crate) fn own_processor_time() -> Duration {
    read_stat(std::process::id()).map_or(Duration::ZERO, |stat| stat.own)
}

struct Stat {
    pid: u32,
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

/// `None` if the process or /proc does not exist.
fn read_stat(pid: u32) -> Option<Stat> {
    // The unit of Linux for these times on every platform that Rust supports.
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets and may contain anything.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<i64> = fields.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    let ticks = |user: usize| Some(TICK * u32::try_from(fields.get(user)? + fields.get(user + 1)?).ok()?);
    Some(Stat { pid, parent: u32::try_from(*fields.first()?).ok()?, own: ticks(10)?, ended_children: ticks(12)? })
}

/// Random numbers that are the same in every run.
#[derive(Debug)]
pub(crate) struct Random(StdRng);

impl Random {
    pub(crate) fn new() -> Self {
        Self(StdRng::seed_from_u64(20))
    }

    /// An endless sequence of numbers below a limit.
    pub(crate) fn below(&mut self, limit: usize) -> impl Iterator<Item = usize> + Send + 'static {
        let mut random = StdRng::seed_from_u64(self.0.random_range(0..u64::MAX));
        std::iter::repeat_with(move || random.random_range(0..limit))
    }

    pub(crate) fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.0.random_range(-1.0..1.0)).collect()
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

/// The command line without the arguments that cargo adds.
pub(crate) fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| argument != "--bench").collect()
}
