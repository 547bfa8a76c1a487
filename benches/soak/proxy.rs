//! A TCP proxy that delays, cuts, stops and half-opens connections.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The current fault of a proxy.
#[derive(Clone, Debug)]
struct Weather {
    /// The address that new connections lead to.
    target: String,
    /// How long bytes are on their way.
    delay: Duration,
    /// Bytes stay where they are.
    is_stopped: bool,
    /// New connections are closed at once.
    is_closed: bool,
    /// New connections are accepted and lead nowhere.
    is_half_open: bool,
    /// How often all connections were closed.
    cuts: u64,
    /// How often connections were lost. Earlier connections then never move a byte again, and nobody reports it.
    losses: u64,
}

/// The end of a lost connection that does not learn of the loss. The other end learns of it when the fault ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Silent {
    /// The client of the connection.
    Inward,
    /// The server of the connection.
    Outward,
}

/// Stops when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(target: &str, silent: Silent) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::new(Weather {
            target: target.to_owned(),
            delay: Duration::ZERO,
            is_stopped: false,
            is_closed: false,
            is_half_open: false,
            cuts: 0,
            losses: 0,
        });
        let task = tokio::spawn(accept(listener, weather.subscribe(), silent));
        Ok(Self { address, weather, task })
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead_to(&self, target: &str) {
        self.weather.send_modify(|weather| target.clone_into(&mut weather.target));
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Closes the open connections once.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Closes the open connections, and closes new ones at once.
    pub(crate) fn close(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.is_closed = true;
        });
    }

    /// Holds all bytes.
    pub(crate) fn stop(&self) {
        self.weather.send_modify(|weather| weather.is_stopped = true);
    }

    /// Loses the open connections, and accepts new connections that lead nowhere.
    pub(crate) fn half_open(&self) {
        self.weather.send_modify(|weather| {
            weather.losses += 1;
            weather.is_half_open = true;
        });
    }

    /// Ends all of these faults.
    pub(crate) fn heal(&self) {
        self.weather.send_modify(|weather| {
            weather.delay = Duration::ZERO;
            weather.is_stopped = false;
            weather.is_closed = false;
            weather.is_half_open = false;
        });
    }
}

async fn accept(listener: TcpListener, weather: watch::Receiver<Weather>, silent: Silent) {
    // They end with the proxy.
    let mut connections = JoinSet::new();
    loop {
        let Ok((inward, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(inward, weather.clone(), silent));
    }
}

/// Carries one connection to its end.
async fn carry(mut inward: TcpStream, mut weather: watch::Receiver<Weather>, silent: Silent) {
    let born = weather.borrow().clone();
    if born.is_closed {
        return;
    }
    let mut outward = None;
    if !born.is_half_open {
        let Ok(mut connected) = TcpStream::connect(&born.target).await else { return };
        let (mut cut, mut lost) = (weather.clone(), weather.clone());
        let flow = async {
            let (mut from_inward, mut to_inward) = inward.split();
            let (mut from_outward, mut to_outward) = connected.split();
            tokio::join!(
                pass(&mut from_inward, &mut to_outward, weather.clone()),
                pass(&mut from_outward, &mut to_inward, weather.clone())
            );
        };
        tokio::select! {
            () = flow => return,
            _ = cut.wait_for(|now| now.cuts != born.cuts) => return,
            _ = lost.wait_for(|now| now.losses != born.losses) => {}
        }
        outward = Some(connected);
    }
    if weather.wait_for(|now| !now.is_half_open).await.is_err() {
        return; // the soak is over
    }
    // This closes one end.
    let rest = match silent {
        Silent::Inward => {
            drop(outward);
            Some(inward)
        }
        Silent::Outward => {
            drop(inward);
            outward
        }
    };
    if let Some(mut rest) = rest {
        let mut buffer = [0; 4096];
        while rest.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }
}

/// Moves bytes as the current fault allows, then passes on their end.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let Ok(delay) = weather.wait_for(|now| !now.is_stopped).await.map(|now| now.delay) else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
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
