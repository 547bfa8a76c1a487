//! Accepts connections from a listener and survives every error of it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};

use super::slots::{Slot, Slots};

/// How long to wait if a connection cannot be accepted. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Minimum time between two log lines about the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A listener that gives each connection a [`Slot`].
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    slots: Arc<Slots>,
    /// The name of its connections in the log.
    name: &'static str,
    no_room: Complaint,
    no_socket: Complaint,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, slots: Arc<Slots>, name: &'static str) -> Self {
        Self { listener, slots, name, no_room: Complaint::default(), no_socket: Complaint::default() }
    }

    /// Accepts the next connection. Dropping the future loses no connection.
    pub(crate) async fn accept(&mut self) -> (TcpStream, Slot) {
        loop {
            self.slots.closed().await;
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    let replaced = self.slots.stats.replaced.get();
                    let slot = self.slots.take();
                    if slot.is_none() || self.slots.stats.replaced.get() > replaced {
                        self.complain_of_room();
                    }
                    if let Some(slot) = slot {
                        return (socket, slot);
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    // A connection that has made no call can be spared.
                    self.slots.end_oldest();
                    if let Some(times) = self.no_socket.add() {
                        tracing::warn!(
                            times,
                            "cannot accept connections to {}, trying again: {error} ({} are open; `ulimit -n` or \
                             LimitNOFILE= of systemd limits the files of a process)",
                            self.name,
                            self.slots.count()
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn complain_of_room(&mut self) {
        if let Some(times) = self.no_room.add() {
            tracing::warn!(
                times,
                "{} of at most {} connections to {} are open: a new one replaces one without a call, or is refused",
                self.slots.count(),
                self.slots.max(),
                self.name
            );
        }
    }
}

/// Whether the error concerns a single client, which left before its connection was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// Limits how often repeated trouble is logged.
#[derive(Debug, Default)]
struct Complaint {
    times: u64,
    last: Option<Instant>,
}

impl Complaint {
    /// Returns how often it has happened since the last line. `None` means no line yet.
    fn add(&mut self) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}
