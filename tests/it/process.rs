//! The real binaries as processes, which end with the test that started them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::support;

/// The path of a binary of this workspace, built as this test is. Cargo builds no binaries of other packages for tests.
pub(crate) fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // <target>/<profile>/deps/it-<hash>
        let this = std::env::current_exe().expect("this program");
        let folder = this.ancestors().nth(2).expect("a profile's folder").to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Built with this test, because its dependencies decide on the features of the build.
        build.args(["build", "--quiet", "--workspace", "--bins", "--test", "it", "--target-dir"]);
        build.arg(folder.parent().expect("the target folder")).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        // These variables are for this test, not for a build. With them cargo would rebuild ring and everything above
        // it.
        for (name, _) in std::env::vars_os() {
            let set_by_cargo = |prefix: &&str| name.to_string_lossy().starts_with(prefix);
            if ["CARGO_MANIFEST_", "CARGO_PKG_", "OUT_DIR"].iter().any(set_by_cargo) {
                build.env_remove(name);
            }
        }
        assert!(build.status().expect("cargo runs").success(), "the binaries cannot be built");
        folder
    });
    folder.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

/// A command without any part of the environment that could change what it does.
pub(crate) fn command(name: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(binary(name));
    command.env_clear().env("PGFOX_CACHE_DIR", support::cache().dir).stdin(Stdio::null()).kill_on_drop(true);
    for kept in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// A running `pgfox-server`. Killed when dropped.
pub(crate) struct ServerProcess {
    /// Host and port.
    pub(crate) address: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl ServerProcess {
    /// Starts a server on a database and waits until it listens.
    pub(crate) async fn start(database_url: &str, listen: &str) -> Self {
        let mut command = command("pgfox-server");
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        command.args(["--listen", listen, "--default-model", "local/tiny-bert", "--local-models"]).arg(models);
        command.env("DATABASE_URL", database_url);
        Self::spawn(command).await
    }

    /// Starts what the command says and waits until it listens.
    pub(crate) async fn spawn(mut command: tokio::process::Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, mut addresses) = tokio::sync::mpsc::channel(1);
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("listening on http")
                    && let Some((_, address)) = line.split_once("://")
                {
                    // In a line of JSON a quote ends it.
                    let address = address.split('"').next().unwrap_or_default().trim();
                    let _ = sender.try_send(address.to_owned());
                }
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let address = tokio::time::timeout(Duration::from_secs(60), addresses.recv()).await.ok().flatten();
        let address = address.unwrap_or_else(|| panic!("the server does not listen:\n{}", log.lock().unwrap()));
        Self { address, child, log }
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The memory in bytes: current and maximum so far.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let pid = self.child.id().expect("the server runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let kilobytes = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
            line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
        };
        (kilobytes("VmRSS:") * 1024, kilobytes("VmHWM:") * 1024)
    }

    /// Kills it like kill -9.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("the server runs");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Terminates it like `kill`, a service manager or Kubernetes.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let status = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell").success());
    }

    /// Waits for the end, at most 30 seconds; returns the exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the server does not end:\n{}", self.log())).expect("a status").code()
    }
}
