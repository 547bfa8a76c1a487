//! Runs the `pgfox` command against a small server in memory, to test the client alone: arguments, formats, exit codes,
//! resuming. The workspace's integration tests use the real server.

mod commands; // exit codes, errors, search, get, delete, health
mod csv; // quotes that do not pair, types of cells
mod evaluate; // evaluate and search --batch
mod filters; // --where, and what takes it: search, list, count, delete, update-metadata
mod folders; // ids of files, ignored files, --prune
mod formats; // every input format, and malformed input
mod help; // golden files of --help
mod index; // build-index and how it attaches again
mod json; // flat records, whole files, numbers that would change
mod parquet; // Parquet files, and records without ids
mod peers; // who answers instead of pgfox
mod proxy; // a TCP proxy that cuts connections
mod resume; // ingest over broken connections and busy servers
mod server; // the server in memory

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

/// The output of a command.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Panics with all output of the command unless it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {}", self.stderr);
        }
    }
}

/// Runs `pgfox` with the server at `endpoint`.
pub(crate) async fn pgfox(endpoint: &str, arguments: &[&str]) -> Output {
    run(endpoint, arguments, Path::new("."), b"", &[]).await
}

pub(crate) async fn run(
    endpoint: &str,
    arguments: &[&str],
    folder: &Path,
    stdin: &[u8],
    environment: &[(&str, &str)],
) -> Output {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_pgfox"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("PGFOX_API_KEY")
        .env_remove("PGFOX_CA")
        .env("PGFOX_SERVER", endpoint)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // The command may end without reading all of it.
    tokio::spawn(async move { drop(input.write_all(&stdin).await) });
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output())
        .await
        .expect("pgfox does not end")
        .unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
