//! A Postgres, a provider and two servers, with a proxy in front of each server and one between each server and
//! Postgres.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient, search_request::Query};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::{
    documents::{self, Store},
    provider::Provider,
    proxy::{Proxy, Silent},
    report::{Kind, Report},
    setup::{Postgres, Server},
};

/// Settings of the servers that limit how long recovery may take and how many resources they use.
pub(crate) const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const POOL_SIZE: usize = 8;
const SETTINGS: [&str; 12] = [
    "--log",
    "warn,pgfox_server=info,async_openai=off",
    "--health-timeout",
    "3s",
    "--drain-timeout",
    "5s",
    "--pool-size",
    "8",
    "--keepalive",
    "5s",
    "--embed-timeout",
    "3s",
];
/// Number of lines of a server's log that are kept.
const LOG_LINES: usize = 400;

/// A server between its two proxies.
pub(crate) struct Replica {
    /// The proxy between the server and Postgres.
    pub(crate) database: Proxy,
    /// The proxy between callers and the server.
    pub(crate) front: Proxy,
    /// `None` while it is down.
    process: tokio::sync::Mutex<Option<Server>>,
    /// The address where it listens.
    pub(crate) address: watch::Sender<String>,
    log: Arc<Mutex<VecDeque<String>>>,
    database_url: String,
    provider_url: String,
}

impl Replica {
    async fn new(postgres: &Postgres, provider: &Provider) -> anyhow::Result<Self> {
        let (user, host) = postgres.url().rsplit_once('@').context("the URL has a user")?;
        let (host, name) = host.split_once('/').context("the URL has a database")?;
        let database = Proxy::start(host, Silent::Inward).await?;
        Ok(Self {
            database_url: format!("{user}@{}/{name}", database.address),
            provider_url: provider.url(),
            database,
            front: Proxy::start("127.0.0.1:9", Silent::Outward).await?,
            process: tokio::sync::Mutex::default(),
            address: watch::Sender::default(),
            log: Arc::default(),
        })
    }

    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let program = Path::new(env!("CARGO_BIN_EXE_pgfox-server"));
        let mut server = Server::launch(program, &SETTINGS, &self.database_url, &self.provider_url).await?;
        let (_, none) = tokio::sync::mpsc::unbounded_channel();
        let mut lines = std::mem::replace(&mut server.log, none);
        let log = Arc::clone(&self.log);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                if log.len() >= LOG_LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        self.front.lead_to(&server.address);
        self.address.send_replace(server.address.clone());
        *self.process.lock().await = Some(server);
        Ok(())
    }

    /// Its process id; `None` while it is down.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.process.lock().await.as_ref().map(Server::pid)
    }

    /// Kills it like kill -9.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        match self.process.lock().await.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Terminates it like a service manager. Returns how long it took; `None` if it did not end in time and was killed.
    pub(crate) async fn terminate(&self, limit: Duration) -> anyhow::Result<Option<Duration>> {
        let Some(mut server) = self.process.lock().await.take() else { return Ok(Some(Duration::ZERO)) };
        let began = Instant::now();
        signal(&[server.pid()], rustix::process::Signal::TERM);
        if tokio::time::timeout(limit, server.ended()).await.is_ok() {
            return Ok(Some(began.elapsed()));
        }
        server.stop().await?;
        Ok(None)
    }

    /// The last lines of its log.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A channel through the proxy in front of it. It detects a dead connection like the clients of pgfox do.
    pub(crate) fn channel(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.front.address))?;
        Ok(endpoint
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .connect_lazy())
    }
}

/// Everything that faults affect.
pub(crate) struct World {
    pub(crate) postgres: Postgres,
    pub(crate) provider: Provider,
    pub(crate) replicas: [Replica; 2],
    pub(crate) report: Arc<Report>,
}

impl World {
    pub(crate) async fn start(report: Arc<Report>) -> anyhow::Result<Self> {
        let postgres = Postgres::start_with(&[("max_connections", "80")]).await?;
        let provider = Provider::start().await?;
        let replicas = [Replica::new(&postgres, &provider).await?, Replica::new(&postgres, &provider).await?];
        let world = Self { postgres, provider, replicas, report };
        for replica in &world.replicas {
            replica.start().await?;
        }
        Ok(world)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for replica in &self.replicas {
            replica.kill().await?;
        }
        self.postgres.stop().await;
        Ok(())
    }

    /// All processes of Postgres.
    pub(crate) fn postgres_processes(&self) -> Vec<u32> {
        let Some(postmaster) = self.postgres.pid() else { return Vec::new() };
        let mut found = vec![postmaster];
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            if status.lines().any(|line| line.split_whitespace().eq(["PPid:", &postmaster.to_string()])) {
                found.push(pid);
            }
        }
        found
    }

    /// How long a write and a search of every kind currently take, at the slower server. No fault may be active.
    pub(crate) async fn time_service(&self) -> anyhow::Result<Duration> {
        const LIMIT: Duration = Duration::from_secs(30);
        let use_one = async |position: usize| {
            let mut client = PgfoxServiceClient::new(self.replicas[position].channel()?);
            let began = Instant::now();
            while let Err(status) = use_service(&mut client, position).await {
                anyhow::ensure!(began.elapsed() < LIMIT, "server {} fails without a fault: {status}", position + 1);
            }
            anyhow::Ok(began.elapsed())
        };
        let (first, second) = tokio::try_join!(use_one(0), use_one(1))?;
        Ok(first.max(second))
    }

    /// Waits until both servers answer a write and a search of every kind again. That may take `limit` after `since`
    /// and, on a busy machine, a few times the earlier duration of these calls.
    pub(crate) async fn wait_for_service(
        &self,
        since: Instant,
        limit: Duration,
        before: Duration,
        after: &str,
    ) -> anyhow::Result<()> {
        const TIMES: u32 = 4;
        let limit = limit + before * TIMES;
        let back = async |position: usize| {
            let mut client = PgfoxServiceClient::new(self.replicas[position].channel()?);
            let mut last = String::from("no call was made");
            // After a much longer time it will not recover by itself.
            while since.elapsed() < limit * 6 {
                match use_service(&mut client, position).await {
                    Ok(()) => break,
                    Err(status) => last = format!("{:?}: {}", status.code(), status.message()),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok((since.elapsed(), last))
        };
        let (first, second) = tokio::join!(back(0), back(1));
        for (position, back) in [first?, second?].into_iter().enumerate() {
            let (took, last) = back;
            self.report.worst("until the service is back", took, after);
            if took > limit {
                let what = format!(
                    "server {} took {took:.1?} to be back after {after}: {last} (the same calls took {before:.1?} before)",
                    position + 1
                );
                self.report.violation(Kind::Service, what);
            }
        }
        Ok(())
    }
}

/// A write and a search of each kind, in documents that no writer has.
async fn use_service(client: &mut PgfoxServiceClient<Channel>, position: usize) -> Result<(), tonic::Status> {
    let id = format!("probe-{position}");
    for store in [Store::Points, Store::Texts] {
        // A different text each time, so that the server asks the provider.
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let documents = vec![store.document(&id, number)];
        let request = v1::IngestRequest { collection: store.name().to_owned(), documents, ..Default::default() };
        client.ingest(limited(request)).await?;
        let query = match store {
            Store::Texts => Query::Text(store.text(&id, number + 1)),
            _ => Query::Vector(v1::Vector { values: documents::vector(&id, number) }),
        };
        let request =
            v1::SearchRequest { collection: store.name().to_owned(), query: Some(query), ..Default::default() };
        client.search(limited(request)).await?;
    }
    Ok(())
}

/// Short, so that a stuck call is given up for another one, and long enough for a busy machine.
fn limited<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(Duration::from_secs(1));
    request
}

/// Sends a signal. One of the processes may have ended by itself.
pub(crate) fn signal(pids: &[u32], signal: rustix::process::Signal) {
    for pid in pids {
        if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}
