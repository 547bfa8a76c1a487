//! The embedded default: a private PostgreSQL with pgvector, and the weights of the local model, so that a fresh machine
//! needs neither a database nor an account.

mod data_dir;
mod error;
mod fetch;
mod orphan;
mod postmaster;
mod progress;
mod sizing;
mod user;
mod wheel;

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::Pid;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use data_dir::stored_database_url;
pub use error::EmbeddedError;
pub use fetch::Cache;
pub use progress::Progress;

use data_dir::{DataDir, cannot_run};
use postmaster::Launcher;
use sizing::Machine;
use user::User;

/// The major version of PostgreSQL for new databases.
pub(crate) const DEFAULT_MAJOR: u32 = 18;

/// How often the state of a process is looked at while it starts or stops.
const POLL: Duration = Duration::from_millis(20);

/// Settings that make PostgreSQL keep a log of its own, bounded by a week.
const LOGGING: [(&str, &str); 6] = [
    ("logging_collector", "on"),
    ("log_directory", "log"),
    ("log_filename", "postgresql-%a.log"),
    ("log_truncate_on_rotation", "on"),
    ("log_rotation_size", "0"),
    // Statements can hold documents, and those do not belong in a log.
    ("log_min_error_statement", "panic"),
];

/// How to run the private PostgreSQL.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the data is kept; created when it is not there.
    pub data_dir: PathBuf,
    /// Where the binaries are fetched to.
    pub cache: Cache,
    /// The bin directory of an installed PostgreSQL that has pgvector. `None`: fetched binaries.
    pub postgres_bin: Option<PathBuf>,
    /// The user that PostgreSQL runs as when pgfox runs as root. `None`: postgres, else nobody.
    pub run_as: Option<String>,
    /// The major version of a new database, 16 or 18 with fetched binaries. An existing one keeps its own.
    pub major: u32,
    /// Memory in bytes that PostgreSQL is sized for. `None`: the memory of the machine or of the control group.
    pub memory: Option<u64>,
    /// Longest time PostgreSQL may take to start, recovery after a crash included.
    pub start_timeout: Duration,
    /// Settings of PostgreSQL beyond those that follow from the machine; of two with the same name the last one wins.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// The defaults, with data in `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf, cache: Cache) -> Options {
        Options {
            data_dir,
            cache,
            postgres_bin: None,
            run_as: None,
            major: DEFAULT_MAJOR,
            memory: None,
            start_timeout: Duration::from_secs(300),
            settings: Vec::new(),
        }
    }
}

/// The programs of one version of PostgreSQL.
#[derive(Clone, Debug)]
struct Binaries {
    bin: PathBuf,
    major: u32,
}

/// A private PostgreSQL that runs, and is started again when it dies.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    database_url: String,
    bin: PathBuf,
    /// The process id of the postmaster, 0 while it is down.
    pid: Arc<AtomicU32>,
    /// Tells the supervisor to stop, also when this is dropped.
    stopping: DropGuard,
    /// Owns the process and the lock on the data directory.
    supervisor: JoinHandle<()>,
}

impl EmbeddedPostgres {
    /// Fetches what is missing, creates the database when there is none, and starts PostgreSQL.
    ///
    /// One that a killed server has left behind is stopped first; what it had committed is there again.
    ///
    /// # Errors
    /// When another server uses the data directory, the binaries can be neither found nor fetched, or PostgreSQL does not
    /// start.
    pub async fn start(options: &Options) -> Result<EmbeddedPostgres, EmbeddedError> {
        let user = user::choose(options.run_as.as_deref())?;
        let data_dir = DataDir::open(&options.data_dir)?;
        let major = data_dir.major()?;
        let binaries = find_binaries(options, major, user.as_ref(), &data_dir.path).await?;
        let mut access = data_dir.set_up(&binaries, user.as_ref(), options).await?;
        let machine = Machine::detect(options.memory).settings();
        let own = machine.iter().map(|(name, value)| (*name, value.as_str())).chain(LOGGING);
        let extra = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        data_dir.write_settings(own.chain(extra))?;
        data_dir.stop_orphan().await?;

        let launcher = Launcher { binaries, data_dir, user, limit: options.start_timeout };
        let bin = launcher.binaries.bin.clone();
        let postmaster = launcher.start(&mut access).await?;
        let pid =
            Arc::new(AtomicU32::new(postmaster.pid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned())));
        let stopping = CancellationToken::new();
        let supervisor = tokio::spawn(launcher.supervise(postmaster, access.port, Arc::clone(&pid), stopping.clone()));
        Ok(EmbeddedPostgres {
            database_url: access.database_url(),
            bin,
            pid,
            stopping: stopping.drop_guard(),
            supervisor,
        })
    }

    /// How to connect, as the superuser. It stays the same while PostgreSQL is started again.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The folder with psql and the other programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The process id of the postmaster; `None` while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Kills the postmaster as kill -9 does; it is started again soon after. For tests of what happens then.
    ///
    /// # Errors
    /// When it is down.
    pub fn kill(&self) -> io::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        orphan::kill(pid.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Stops PostgreSQL: a fast shutdown, and firmer ways when it takes more than 30 seconds.
    pub async fn stop(self) {
        drop(self.stopping);
        // It fails only when it was aborted with the runtime, and then there is nothing left to do.
        let _ = self.supervisor.await;
    }
}

/// Finds the programs for a cluster of version `existing`, or for a new one.
async fn find_binaries(
    options: &Options,
    existing: Option<u32>,
    user: Option<&User>,
    dir: &Path,
) -> Result<Binaries, EmbeddedError> {
    let bin = match &options.postgres_bin {
        Some(bin) => bin.clone(),
        None => options.cache.postgres_bin(existing.unwrap_or(options.major)).await?,
    };
    // Programs are run in another folder than this one.
    let bin = std::path::absolute(&bin).map_err(EmbeddedError::io("find", &bin))?;
    // Asked as the user that it will run as, so that a folder which that user cannot enter shows here.
    let mut command = user::command(&bin.join("postgres"), user, dir);
    command.arg("--version").stdin(Stdio::null());
    let output = command.output().await.map_err(|error| {
        let said = cannot_run(&command, &error);
        match user.filter(|_| error.kind() == io::ErrorKind::PermissionDenied) {
            Some(User { name, .. }) => EmbeddedError::User(format!(
                "{said}: PostgreSQL runs as the user {name}, who must be able to enter {} and {}; choose other folders \
                 with --data-dir and --cache-dir, or another user with --run-as",
                dir.display(),
                bin.display()
            )),
            None => EmbeddedError::Version(said),
        }
    })?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = parse_major(&version).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        EmbeddedError::Version(format!("{}/postgres --version says {version:?} {}", bin.display(), said.trim()))
    })?;
    match existing {
        Some(existing) if existing != major => Err(EmbeddedError::Version(format!(
            "the database in {} was made by PostgreSQL {existing}, but {} holds PostgreSQL {major}",
            options.data_dir.display(),
            bin.display()
        ))),
        _ => Ok(Binaries { bin, major }),
    }
}

/// Reads the major version from "postgres (PostgreSQL) 18.4 (Debian 18.4-1)".
fn parse_major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = number.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("psql (PostgreSQL) 15.13"), None);
    }
}
