//! Hostile callers.

use std::time::Duration;

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient, search_request::Query};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tonic::transport::Endpoint;

use super::documents::{self, Store};

/// The kinds of hostile callers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// They connect and send nothing.
    Silence,
    /// They begin calls whose messages never come.
    HalfCalls,
    /// They send small requests with very many parts.
    Counts,
    /// They send bytes that are not HTTP.
    Garbage,
}

impl Attack {
    pub(crate) const ALL: [Self; 4] = [Self::Silence, Self::HalfCalls, Self::Counts, Self::Garbage];

    /// Starts the callers. They end when the set is dropped.
    pub(crate) fn begin(self, addresses: &[String]) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for address in addresses {
            let count = match self {
                Self::Silence => 200,
                Self::HalfCalls => 50,
                Self::Counts => 2,
                Self::Garbage => 20,
            };
            for _ in 0..count {
                let address = address.clone();
                callers.spawn(async move {
                    // The result does not matter, as long as others do not suffer.
                    let _ = match self {
                        Self::Silence => silence(&address).await,
                        Self::HalfCalls => half_call(&address).await,
                        Self::Counts => counts(&address).await,
                        Self::Garbage => garbage(&address).await,
                    };
                });
            }
        }
        callers
    }
}

async fn until_closed(mut socket: TcpStream) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn silence(address: &str) -> anyhow::Result<()> {
    until_closed(TcpStream::connect(address).await?).await
}

/// The headers of a call, and the first bytes of a message that is announced as large.
async fn half_call(address: &str) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
    };
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/pgfox.v1.PgfoxService/Ingest"),
        (":authority", "soak"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal without indexing.
        headers.push(0);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend(text.bytes());
        }
    }
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    const END_HEADERS: u8 = 4;
    frame(SETTINGS, 0, 0, &[]);
    frame(HEADERS, END_HEADERS, 1, &headers);
    // Not compressed, of 10 MB.
    frame(DATA, 0, 1, &[&[0], &10_000_000_u32.to_be_bytes()[..], &[1; 100]].concat());
    socket.write_all(&bytes).await?;
    until_closed(socket).await
}

async fn counts(address: &str) -> anyhow::Result<()> {
    const COUNT: usize = 100_000;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let mut client = PgfoxServiceClient::new(channel);
    let collection = Store::Points.name();
    loop {
        let documents = vec![v1::Document::default(); COUNT];
        let request = v1::IngestRequest { collection: collection.into(), documents, ..Default::default() };
        let _ = client.ingest(request).await;
        let if_version = (0..COUNT).map(|i| (i.to_string(), 1)).collect();
        let request = v1::IngestRequest { collection: collection.into(), if_version, ..Default::default() };
        let _ = client.ingest(request).await;
        let filters = v1::FilterList { filters: vec![v1::Filter::default(); COUNT] };
        let filter = Some(v1::Filter { node: Some(v1::filter::Node::AnyOf(filters)) });
        let query = Some(Query::Vector(v1::Vector { values: documents::vector("hostile", 1) }));
        let request = v1::SearchRequest { collection: collection.into(), query, filter, ..Default::default() };
        let _ = client.search(request).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn garbage(address: &str) -> anyhow::Result<()> {
    loop {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(&b"\x16\x03\x01GET / \0\xff\r\n".repeat(50)).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
