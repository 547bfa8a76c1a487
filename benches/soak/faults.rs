//! The kinds of faults, how to make them, and the health that servers must report meanwhile.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{
    documents::Store,
    health::Truth,
    hostile::Attack,
    provider::Mood,
    proxy::Proxy,
    report::Kind,
    world::{DRAIN_TIMEOUT, World, signal},
};

/// How long a restarted Postgres may take to accept connections.
const POSTGRES_RESTART: Duration = Duration::from_secs(60);

/// The effect of a proxy on connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Delay(Duration),
    /// Once. New connections work.
    Cut,
    Refuse,
    Stop,
    HalfOpen,
}

impl Trouble {
    fn begin(self, proxy: &Proxy) {
        match self {
            Self::Delay(delay) => proxy.delay(delay),
            Self::Cut => proxy.cut(),
            Self::Refuse => proxy.close(),
            Self::Stop => proxy.stop(),
            Self::HalfOpen => proxy.half_open(),
        }
    }
}

/// A fault. Servers are counted from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Between a server and Postgres.
    Database(usize, Trouble),
    /// Between callers and a server.
    Front(usize, Trouble),
    StopServer(usize),
    KillServer(usize),
    /// SIGTERM, then a new start.
    RestartServer(usize),
    StopPostgres,
    /// Some of its processes that serve connections.
    StopBackends,
    /// By a fast or an immediate shutdown, or by a kill.
    RestartPostgres(Signal),
    TerminateBackends,
    /// Somebody holds a lock on the documents of a collection.
    Lock(Store),
    /// Somebody keeps a snapshot, which index builds wait for.
    LongTransaction,
    /// Somebody takes all remaining connections.
    FillConnections,
    Provider(Mood),
    Hostile(Attack),
}

/// The resource that two faults at a time must not share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    Server(usize),
    Postgres,
    Provider,
    Callers,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Database(server, trouble) => write!(f, "{trouble:?} between server {} and Postgres", server + 1),
            Self::Front(server, trouble) => write!(f, "{trouble:?} between callers and server {}", server + 1),
            Self::StopServer(server) => write!(f, "SIGSTOP of server {}", server + 1),
            Self::KillServer(server) => write!(f, "SIGKILL of server {}", server + 1),
            Self::RestartServer(server) => write!(f, "SIGTERM of server {}", server + 1),
            Self::StopPostgres => write!(f, "SIGSTOP of Postgres"),
            Self::StopBackends => write!(f, "SIGSTOP of some backends"),
            Self::RestartPostgres(Signal::INT) => write!(f, "a fast restart of Postgres"),
            Self::RestartPostgres(Signal::QUIT) => write!(f, "an immediate restart of Postgres"),
            Self::RestartPostgres(_) => write!(f, "SIGKILL of Postgres"),
            Self::TerminateBackends => write!(f, "all backends terminated"),
            Self::Lock(store) => write!(f, "a lock on {}", store.name()),
            Self::LongTransaction => write!(f, "a long transaction"),
            Self::FillConnections => write!(f, "no connection left"),
            Self::Provider(mood) => write!(f, "a provider that {mood:?}"),
            Self::Hostile(attack) => write!(f, "hostile {attack:?}"),
        }
    }
}

impl Fault {
    fn subject(self) -> Subject {
        match self {
            Self::Database(server, _)
            | Self::Front(server, _)
            | Self::StopServer(server)
            | Self::KillServer(server)
            | Self::RestartServer(server) => Subject::Server(server),
            Self::Provider(_) => Subject::Provider,
            Self::Hostile(_) => Subject::Callers,
            _ => Subject::Postgres,
        }
    }

    /// The server whose process is different afterwards.
    fn replaces(self) -> Option<usize> {
        match self {
            Self::KillServer(server) | Self::RestartServer(server) => Some(server),
            _ => None,
        }
    }

    /// The health that a server must report meanwhile.
    pub(crate) fn truth(self, server: usize) -> Truth {
        match self {
            Self::Database(at, Trouble::Refuse | Trouble::Stop | Trouble::HalfOpen) if at == server => {
                Truth::NotServing
            }
            Self::StopPostgres => Truth::NotServing,
            Self::StopServer(at) | Self::KillServer(at) | Self::RestartServer(at) if at == server => Truth::Any,
            Self::StopBackends | Self::RestartPostgres(_) | Self::FillConnections => Truth::Any,
            _ => Truth::Serving,
        }
    }

    /// Every kind, with random details.
    fn all(random: &mut StdRng) -> Vec<Self> {
        let mut faults = Vec::new();
        for server in 0..2 {
            let delay = Trouble::Delay(Duration::from_millis(random.random_range(10..150)));
            for trouble in [delay, Trouble::Cut, Trouble::Refuse, Trouble::Stop, Trouble::HalfOpen] {
                faults.extend([Self::Database(server, trouble), Self::Front(server, trouble)]);
            }
            faults.extend([Self::StopServer(server), Self::KillServer(server), Self::RestartServer(server)]);
        }
        faults.extend([Signal::INT, Signal::QUIT, Signal::KILL].map(Self::RestartPostgres));
        faults.extend([Self::StopPostgres, Self::StopBackends, Self::TerminateBackends]);
        faults.extend([Self::LongTransaction, Self::FillConnections]);
        faults.extend(Store::ALL.map(Self::Lock));
        faults.extend(Mood::BAD.map(Self::Provider));
        faults.extend(Attack::ALL.map(Self::Hostile));
        faults.shuffle(random);
        faults
    }

    pub(crate) async fn begin(self, world: &World) -> anyhow::Result<Underway> {
        let mut underway = Underway::default();
        match self {
            Self::Database(server, trouble) => trouble.begin(&world.replicas[server].database),
            Self::Front(server, trouble) => trouble.begin(&world.replicas[server].front),
            Self::StopServer(server) => {
                underway.stopped = world.replicas[server].pid().await.into_iter().collect();
            }
            Self::KillServer(server) => world.replicas[server].kill().await?,
            Self::RestartServer(server) => {
                let limit = DRAIN_TIMEOUT + Duration::from_secs(3);
                match world.replicas[server].terminate(limit).await? {
                    Some(took) => world.report.worst("until a server ends after SIGTERM", took, self),
                    None => {
                        let what = format!("server {} did not end within {limit:?} of SIGTERM", server + 1);
                        world.report.violation(Kind::Service, what);
                    }
                }
            }
            Self::StopPostgres => underway.stopped = world.postgres_processes(),
            Self::StopBackends => {
                let backends = "SELECT pid FROM pg_stat_activity
                                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid % 2 = 0";
                let rows = world.postgres.connect().await?.query(backends, &[]).await?;
                underway.stopped = rows.iter().map(|row| row.get::<_, i32>(0).cast_unsigned()).collect();
            }
            Self::RestartPostgres(how) => signal(&Vec::from_iter(world.postgres.pid()), how),
            Self::TerminateBackends => terminate_backends(world).await?,
            Self::Lock(store) => underway.sessions.push(lock(world, store).await?),
            Self::LongTransaction => {
                let session = world.postgres.connect().await?;
                session
                    .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgfox.points")
                    .await?;
                underway.sessions.push(session);
            }
            Self::FillConnections => {
                while let Ok(session) = world.postgres.connect().await {
                    underway.sessions.push(session);
                }
            }
            Self::Provider(mood) => world.provider.becomes(mood),
            Self::Hostile(attack) => {
                let addresses = world.replicas.each_ref().map(|replica| replica.address.borrow().clone());
                underway.callers = attack.begin(&addresses);
            }
        }
        signal(&underway.stopped, Signal::STOP);
        Ok(underway)
    }

    /// Returns when the cause has ended.
    pub(crate) async fn end(self, world: &World, underway: Underway) -> anyhow::Result<Instant> {
        signal(&underway.stopped, Signal::CONT);
        match self {
            Self::Database(server, _) => world.replicas[server].database.heal(),
            Self::Front(server, _) => world.replicas[server].front.heal(),
            Self::KillServer(server) | Self::RestartServer(server) => {
                let ended = Instant::now();
                world.replicas[server].start().await?;
                return Ok(ended);
            }
            Self::RestartPostgres(_) => {
                let accepts = async {
                    while world.postgres.connect().await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                };
                tokio::time::timeout(POSTGRES_RESTART, accepts).await.context("Postgres does not come back")?;
            }
            Self::Provider(_) => world.provider.becomes(Mood::Well),
            _ => {}
        }
        Ok(Instant::now())
    }
}

/// The resources of a fault until it ends.
#[derive(Default)]
pub(crate) struct Underway {
    stopped: Vec<u32>,
    sessions: Vec<tokio_postgres::Client>,
    callers: JoinSet<()>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        // Also when the soak fails in the middle.
        signal(&self.stopped, Signal::CONT);
    }
}

async fn terminate_backends(world: &World) -> anyhow::Result<()> {
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    world.postgres.connect().await?.query_one(terminate, &[]).await?;
    Ok(())
}

/// The documents of a collection, locked against everything.
async fn lock(world: &World, store: Store) -> anyhow::Result<tokio_postgres::Client> {
    let session = world.postgres.connect().await?;
    let id: i64 =
        session.query_one("SELECT id FROM pgfox_internal.collections WHERE name = $1", &[&store.name()]).await?.get(0);
    let lock =
        format!("SET lock_timeout = '1s'; BEGIN; LOCK TABLE pgfox_internal.documents_{id} IN ACCESS EXCLUSIVE MODE");
    for _ in 0..30 {
        if session.batch_execute(&lock).await.is_ok() {
            return Ok(session);
        }
        session.batch_execute("ROLLBACK").await?;
    }
    anyhow::bail!("{} is always locked by others", store.name())
}

/// One or two faults at a time.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasts: Duration,
}

/// Deals faults at random, so that every kind comes before any comes again.
#[derive(Debug)]
pub(crate) struct Plan {
    random: StdRng,
    deck: Vec<Fault>,
    is_quick: bool,
    /// A part of the names of the faults to make. Empty: all faults.
    only: String,
}

impl Plan {
    pub(crate) fn new(random: StdRng, is_quick: bool, only: String) -> Self {
        Self { random, deck: Vec::new(), is_quick, only }
    }

    /// The next round, in which only some servers may be replaced.
    pub(crate) fn next(&mut self, may_replace: [bool; 2]) -> Round {
        let is_allowed = |fault: &Fault| fault.replaces().is_none_or(|server| may_replace[server]);
        let mut faults: Vec<Fault> = Vec::new();
        let count = if self.only.is_empty() && self.random.random_bool(0.3) { 2 } else { 1 };
        while faults.len() < count {
            let fits =
                |fault: &Fault| is_allowed(fault) && faults.iter().all(|other| other.subject() != fault.subject());
            match self.deck.iter().rposition(fits) {
                Some(position) => faults.push(self.deck.remove(position)),
                None => {
                    self.deck = Fault::all(&mut self.random);
                    self.deck.retain(|fault| fault.to_string().contains(&self.only));
                }
            }
        }
        // Long enough that health must detect it, or too short for that.
        let is_long = self.random.random_bool(if self.is_quick { 0.1 } else { 0.4 });
        let milliseconds = match (is_long, self.is_quick) {
            (true, true) => 8_500..9_500,
            (true, false) => 9_000..15_000,
            (false, true) => 500..2_500,
            (false, false) => 500..6_000,
        };
        Round { faults, lasts: Duration::from_millis(self.random.random_range(milliseconds)) }
    }
}
