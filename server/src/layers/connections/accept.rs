//! Takes connections from a listener, whatever happens to it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};

use super::slots::{Slot, Slots};

/// How long to wait when a connection cannot be accepted, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two lines of the log about the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A listener whose connections each have a [`Slot`].
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    slots: Arc<Slots>,
    /// What the log calls its connections.
    name: &'static str,
    no_room: Complaint,
    no_socket: Complaint,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, slots: Arc<Slots>, name: &'static str) -> Self {
        Self { listener, slots, name, no_room: Complaint::default(), no_socket: Complaint::default() }
    }

    /// The next connection. Nothing is lost when it is dropped.
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
                    // One that has made no call can be spared.
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
                "{} of at most {} connections to {} are open: new ones take the place of those without a call, or are \
                 refused",
                self.slots.count(),
                self.slots.max(),
                self.name
            );
        }
    }
}

/// Whether the client is to blame, who left before its connection was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// Keeps trouble that comes often from filling the log.
#[derive(Debug, Default)]
struct Complaint {
    times: u64,
    last: Option<Instant>,
}

impl Complaint {
    /// How often it has happened since the last line; `None`: no line yet.
    fn add(&mut self) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}
