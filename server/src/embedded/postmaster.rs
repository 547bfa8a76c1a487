//! Starts PostgreSQL, watches it, starts it again if it dies, and stops it.

use std::{
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::{
    Binaries, EmbeddedError, POLL,
    data_dir::{Access, DataDir, cannot_run},
    user::{self, User},
};

/// The signals that stop PostgreSQL, each with its time limit. A fast shutdown ends the sessions and writes a
/// checkpoint. An immediate shutdown leaves recovery to the next start.
pub(super) const SHUTDOWN: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(30)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// Maximum number of attempts to start while the port is taken or the remains of a killed PostgreSQL still hold its
/// memory.
const START_ATTEMPTS: u32 = 20;

/// The pause before PostgreSQL is started again after it died. It doubles up to the longest pause while PostgreSQL
/// keeps dying.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(10);

/// If PostgreSQL runs this long, the pause starts over.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Everything needed to start PostgreSQL.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) binaries: Binaries,
    pub(super) data_dir: DataDir,
    pub(super) user: Option<User>,
    /// Maximum time from the start to the first connection, including recovery after a crash.
    pub(super) limit: Duration,
}

impl Launcher {
    /// Starts PostgreSQL on its previous port if that is free, else on any free port, and stores the port.
    pub(super) async fn start(&self, access: &mut Access) -> Result<Postmaster, EmbeddedError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = if is_free(access.port) { access.port } else { free_port()? };
            match self.launch(port).await {
                Ok(postmaster) => {
                    access.port = port;
                    self.data_dir.store(access)?;
                    return Ok(postmaster);
                }
                Err(EmbeddedError::Start { log, .. }) if attempt < START_ATTEMPTS && passes(&log) => {
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts PostgreSQL again on the same port.
    async fn restart(&self, port: u16) -> Result<Postmaster, EmbeddedError> {
        // Waits for the remains of the old one, which still hold its memory.
        self.data_dir.stop_orphan().await?;
        self.launch(port).await
    }

    async fn launch(&self, port: u16) -> Result<Postmaster, EmbeddedError> {
        let log = self.data_dir.open_log()?;
        let log_again = log.try_clone().map_err(EmbeddedError::io("open", &self.data_dir.path))?;
        let mut command = user::command(&self.binaries.bin.join("postgres"), self.user.as_ref(), &self.data_dir.path);
        command
            .arg("-D")
            .arg(self.data_dir.cluster())
            // On the command line neither a file nor ALTER SYSTEM can change them.
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p"])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            // Ctrl-C in a terminal reaches the whole process group, but running calls must be able to finish first.
            .process_group(0);
        let child = command.spawn().map_err(|error| self.failed(cannot_run(&command, &error)))?;
        let mut postmaster = Postmaster(child);
        let own_pid = postmaster.pid();
        let ready = async {
            loop {
                match postmaster.0.try_wait() {
                    Ok(None) => {}
                    Ok(Some(_)) => return Err(self.failed(self.data_dir.log_tail())),
                    Err(error) => return Err(self.failed(error.to_string())),
                }
                if self.data_dir.postmaster().is_some_and(|(pid, status)| Some(pid) == own_pid && status == "ready") {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(self.limit, ready).await {
            Ok(Ok(())) => Ok(postmaster),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                postmaster.stop().await;
                Err(EmbeddedError::Timeout { what: "starting PostgreSQL".into(), limit: self.limit })
            }
        }
    }

    fn failed(&self, log: String) -> EmbeddedError {
        EmbeddedError::Start { data_dir: self.data_dir.path.clone(), log }
    }

    /// Keeps PostgreSQL running until `stopping` is cancelled, then stops it. `pid` holds its process id, 0 while it is
    /// down.
    pub(super) async fn supervise(
        self,
        mut postmaster: Postmaster,
        port: u16,
        pid: Arc<AtomicU32>,
        stopping: CancellationToken,
    ) {
        let mut pause = RESTART_PAUSE;
        loop {
            let started = Instant::now();
            pid.store(postmaster.0.id().unwrap_or(0), Ordering::Relaxed);
            let status = tokio::select! {
                status = postmaster.0.wait() => status,
                () = stopping.cancelled() => {
                    postmaster.stop().await;
                    pid.store(0, Ordering::Relaxed);
                    return;
                }
            };
            pid.store(0, Ordering::Relaxed);
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::error!(%status, "PostgreSQL died; starting it again");
            if started.elapsed() > HEALTHY_AFTER {
                pause = RESTART_PAUSE;
            }
            postmaster = loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stopping.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_RESTART_PAUSE);
                match self.restart(port).await {
                    Ok(started) => break started,
                    Err(error) => tracing::error!(%error, "PostgreSQL does not start; trying again"),
                }
            };
            tracing::info!("PostgreSQL is up again");
        }
    }
}

/// The first process of a running PostgreSQL. It gets a signal to shut down even if this is dropped after an error.
#[derive(Debug)]
pub(super) struct Postmaster(Child);

impl Postmaster {
    /// Its process id. `None` if it has ended.
    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.0.id()?.cast_signed())
    }

    /// Stops it, with a harder signal each time.
    async fn stop(&mut self) {
        for (signal, limit) in SHUTDOWN {
            self.signal(signal);
            if tokio::time::timeout(limit, self.0.wait()).await.is_ok() {
                return;
            }
            tracing::warn!("PostgreSQL did not stop within {} s", limit.as_secs());
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.signal(Signal::INT);
    }
}

/// Whether the cause of a failed start passes by itself, judged by PostgreSQL's output.
fn passes(log: &str) -> bool {
    ["Address already in use", "pre-existing shared memory block", "postmaster.pid\" already exists"]
        .iter()
        .any(|message| log.contains(message))
}

fn is_free(port: u16) -> bool {
    port != 0 && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn free_port() -> Result<u16, EmbeddedError> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(EmbeddedError::io("listen on", "127.0.0.1".as_ref()))?.port())
}
