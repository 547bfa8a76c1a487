//! Signals: some stop the server, others make it read files again.

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// The exit code of a program that a signal ends: 128 plus the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// The requests that came by signals.
pub(crate) struct Signals {
    /// Cancelled by the first signal that stops the server. The second one ends the process.
    pub(crate) stopping: CancellationToken,
    /// Receives a message for each SIGHUP that asks to read files again.
    pub(crate) reload: mpsc::Receiver<()>,
}

impl Signals {
    /// Listens for signals from now on. Call it before the terminal can disappear.
    pub(crate) fn listen() -> anyhow::Result<Signals> {
        let ends_with_terminal = has_terminal() && !ignores_hangup();
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let token = CancellationToken::new();
        let stopping = token.clone();
        let (ask, reload) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut asked_to_end = false;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => if !ends_with_terminal {
                        // If a request is still pending, it covers this one.
                        let _ = ask.try_send(());
                        continue;
                    }
                }
                if asked_to_end {
                    std::process::exit(EXIT_INTERRUPTED);
                }
                asked_to_end = true;
                stopping.cancel();
                tracing::info!("stopping: running calls finish first; a second signal stops at once");
            }
        });
        Ok(Signals { stopping: token, reload })
    }
}

/// Whether a terminal controls this process. SIGHUP then means that the terminal is gone.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether the process was started to outlive its terminal, as with `nohup`. Only Linux shows this.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}
