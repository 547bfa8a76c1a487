//! A line to Postgres that counts round trips, and can make the beginning of a transaction fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// The delay of answers while round trips are counted. Everything that is sent without waiting for an answer is sent
/// within this time.
const DELAY: Duration = Duration::from_millis(100);

/// How a transaction that writes begins.
const WRITE: &[u8] = b"BEGIN; SET LOCAL statement_timeout";

/// Stops when dropped.
pub(crate) struct Relay {
    pub(crate) database_url: String,
    count: Arc<Count>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Count {
    is_on: AtomicBool,
    round_trips: AtomicUsize,
    spoils_begin: AtomicBool,
}

impl Relay {
    /// A line to the database of this URL; [`Relay::database_url`] leads to it over the line.
    pub(crate) async fn start(database_url: &str) -> Self {
        let (user, rest) = database_url.split_once('@').expect("a user");
        let (postgres, database) = rest.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let count = Arc::new(Count::default());
        let accepting = tokio::spawn(accept(listener, postgres.to_owned(), Arc::clone(&count))).abort_handle();
        Self { database_url: format!("{user}@{address}/{database}"), count, accepting }
    }

    /// How often `work` waits for Postgres. Several messages that are sent together are one round trip.
    pub(crate) async fn round_trips(&self, work: impl Future<Output = ()>) -> usize {
        self.count.round_trips.store(0, Ordering::SeqCst);
        self.count.is_on.store(true, Ordering::SeqCst);
        work.await;
        self.count.is_on.store(false, Ordering::SeqCst);
        self.count.round_trips.load(Ordering::SeqCst)
    }

    /// Makes the BEGIN of the next write fail. Everything after it arrives unchanged.
    pub(crate) fn spoil_begin(&self) {
        self.count.spoils_begin.store(true, Ordering::SeqCst);
    }

    /// Whether a BEGIN is still to be spoiled.
    pub(crate) fn spoils_begin(&self) -> bool {
        self.count.spoils_begin.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, postgres: String, count: Arc<Count>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&postgres).await.expect("Postgres");
        connections.spawn(relay(client, server, Arc::clone(&count)));
    }
}

/// Relays one connection until either side closes it.
async fn relay(mut client: TcpStream, mut server: TcpStream, count: Arc<Count>) {
    client.set_nodelay(true).expect("a socket");
    server.set_nodelay(true).expect("a socket");
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // Whether the client has heard an answer to what it sent last.
    let answered = AtomicBool::new(true);
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            if answered.swap(false, Ordering::SeqCst) && count.is_on.load(Ordering::SeqCst) {
                count.round_trips.fetch_add(1, Ordering::SeqCst);
            }
            if count.spoils_begin.load(Ordering::SeqCst)
                && let Some(begin) = buffer[..length].windows(WRITE.len()).position(|bytes| bytes == WRITE)
            {
                count.spoils_begin.store(false, Ordering::SeqCst);
                buffer[begin] = b'X';
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if count.is_on.load(Ordering::SeqCst) {
                tokio::time::sleep(DELAY).await;
            }
            answered.store(true, Ordering::SeqCst);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
