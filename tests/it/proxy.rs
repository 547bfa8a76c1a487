//! A TCP proxy in front of a database. A test uses it to make the network fail silently, as networks do.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The current fault of the proxy.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Bytes stay where they are, on every connection.
    is_frozen: bool,
    /// How often connections were lost. Earlier connections then never move a byte again, and nobody reports it.
    losses: u64,
}

/// Stops when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy before the database with this URL.
    pub(crate) async fn start(database_url: &str) -> Self {
        let (_, host) = database_url.rsplit_once('@').expect("a user");
        let (target, _) = host.split_once('/').expect("a database");
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let weather = watch::Sender::new(Weather::default());
        let task = tokio::spawn(accept(listener, target, weather.subscribe()));
        Self { address, weather, task }
    }

    /// The address where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a database, through the proxy.
    pub(crate) fn through(&self, database_url: &str) -> String {
        let (user, host) = database_url.rsplit_once('@').expect("a user");
        let (_, name) = host.split_once('/').expect("a database");
        format!("{user}@{}/{name}", self.address)
    }

    /// Holds back everything that is sent, on new connections too.
    pub(crate) fn freeze(&self) {
        self.weather.send_modify(|weather| weather.is_frozen = true);
    }

    /// Lets through what was held back.
    pub(crate) fn thaw(&self) {
        self.weather.send_modify(|weather| weather.is_frozen = false);
    }

    /// Leaves the open connections open but moves no byte on them any more, so that both ends think they are alive.
    pub(crate) fn lose(&self) {
        self.weather.send_modify(|weather| weather.losses += 1);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, weather: watch::Receiver<Weather>) {
    // They end with the proxy.
    let mut connections = JoinSet::new();
    while let Ok((inward, _)) = listener.accept().await {
        let weather = weather.clone();
        connections.spawn(async move {
            let Ok(outward) = TcpStream::connect(target).await else { return };
            let born = weather.borrow().losses;
            let (from_client, to_client) = inward.into_split();
            let (from_database, to_database) = outward.into_split();
            tokio::join!(
                pass(from_client, to_database, weather.clone(), born),
                pass(from_database, to_client, weather, born)
            );
        });
    }
}

/// Moves bytes as the weather allows, then the end of them.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>, born: u64) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let is_open = |weather: &Weather| !weather.is_frozen && weather.losses == born;
        if weather.wait_for(is_open).await.is_err() {
            return; // the test is over
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
