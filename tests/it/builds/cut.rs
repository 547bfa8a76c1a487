//! Builds whose connection is dead without either side knowing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::support::cluster;
use crate::support::create_database;

/// A line between a server and Postgres. On demand it swallows everything on connections that created an index, in both
/// directions, and keeps them open, like a firewall that has forgotten them.
struct Line {
    cut: Arc<AtomicBool>,
    port: u16,
}

impl Line {
    async fn to(database_url: &str) -> (Self, String) {
        let (user, rest) = database_url.split_once('@').expect("a user");
        let (address, database) = rest.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let line = Self { cut: Arc::default(), port: listener.local_addr().expect("an address").port() };
        let (cut, address) = (Arc::clone(&line.cut), address.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&address).await.expect("Postgres");
                tokio::spawn(relay(client, server, Arc::clone(&cut)));
            }
        });
        let url = format!("{user}@127.0.0.1:{}/{database}", line.port);
        (line, url)
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

/// The beginning of the statement of a build.
const BUILD: &[u8] = b"CREATE INDEX CONCURRENTLY \"embeddings_";

async fn relay(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicBool>) {
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut builds = false;
    loop {
        let swallow = || builds && cut.load(Ordering::Relaxed);
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(read @ 1..) => {
                    builds |= up[..read].windows(BUILD.len()).any(|window| window == BUILD);
                    if !(builds && cut.load(Ordering::Relaxed)) && server.write_all(&up[..read]).await.is_err() {
                        return;
                    }
                }
                // Even the end of one side is not passed on to the other.
                _ if swallow() => std::future::pending().await,
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(read @ 1..) if !swallow() => {
                    if client.write_all(&down[..read]).await.is_err() {
                        return;
                    }
                }
                Ok(1..) => {}
                _ if swallow() => std::future::pending().await,
                _ => return,
            },
        }
    }
}

/// Waits longer than a silent session is left alone.
async fn within_a_minute<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), done).await.unwrap_or_else(|_| panic!("not in a minute: {what}"))
}

#[tokio::test]
async fn a_build_whose_connection_is_cut_is_resumed() {
    let direct = create_database(&cluster(18).postgres).await;
    let (line, url) = Line::to(&direct).await;
    let server = Setup::new(url).start().await;
    server.ready().await;
    let mut client = server.client();
    fill(&mut client).await;
    let hold = Hold::snapshot(&server).await;
    let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
    let index = until_waiting(&server, &mut progress).await;
    line.cut();
    // Postgres completes the index, but nobody hears of it.
    hold.release().await;
    let built = within_a_minute("the build is resumed", finish(progress)).await.unwrap();
    assert_eq!(built.name, index.name);
    assert_only(&server, &built).await;
}

#[tokio::test]
async fn another_server_takes_a_build_over_whose_session_is_silent() {
    let direct = create_database(&cluster(18).postgres).await;
    let (line, url) = Line::to(&direct).await;
    let cut_off = Setup::new(url).start().await;
    cut_off.ready().await;
    let mut client = cut_off.client();
    fill(&mut client).await;
    let hold = Hold::snapshot(&cut_off).await;
    let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
    let index = until_waiting(&cut_off, &mut progress).await;
    line.cut();
    // The session outlives the server that ends here, and still holds the lock of the build.
    cut_off.stop().await.unwrap();
    hold.release().await;
    let server = Setup::new(direct).start().await;
    server.ready().await;
    let built = within_a_minute("the build is taken over", build(&mut server.client(), hnsw(0, 0))).await.unwrap();
    assert_eq!(built.name, index.name);
    assert_only(&server, &built).await;
}
