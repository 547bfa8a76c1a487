//! `pgfox-server demo`: an example search on the embedded default, through the real gRPC port.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use pgfox::v1::{
    BuildIndexRequest, Collection, CreateCollectionRequest, DeleteCollectionRequest, Distance, Document, Embedding,
    IndexPhase, IndexSpec, IngestRequest, IvfFlat, SearchRequest, index_spec, pgfox_service_client::PgfoxServiceClient,
    search_request,
};
use pgfox_server::{EmbeddedPostgres, FETCHED_MODEL, Settings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Every demo creates this collection again.
const COLLECTION: &str = "foxes";

const DOCUMENTS: [(&str, &str); 4] = [
    ("diet", "Foxes are omnivores: predators of small animals that also eat fruit"),
    ("sounds", "Foxes can make over 40 different sounds"),
    ("hunting", "Foxes use the magnetic field of the Earth when they hunt"),
    ("kits", "Baby foxes are called kits"),
];

const QUESTION: &str = "I was wondering, how many sounds can foxes make?";

/// Maximum time for the whole walk. It has only four sentences.
const WALK_LIMIT: Duration = Duration::from_secs(120);

/// How often the state of the server is checked while it starts.
const POLL: Duration = Duration::from_millis(50);

/// Runs the demo, then serves until `stopping`, or stops at once if `exit` is set.
pub(crate) async fn run(
    settings: Settings,
    listen: SocketAddr,
    exit: bool,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    if !listen.ip().is_loopback() {
        bail!("--listen {listen}: the demo has no API keys, so it listens on this machine only");
    }
    let listener = bind(listen).await?;
    let address = listener.local_addr()?;
    let data_dir = std::path::absolute(&settings.embedded.data_dir)?;
    let Some(started) = stopping.run_until_cancelled(super::start(settings)).await else {
        return Ok(());
    };
    let (config, postgres) = started?;

    let done = stopping.child_token();
    let serving = tokio::spawn(super::serve_on(config, listener, done.clone().cancelled_owned()));
    let walked = tokio::select! {
        walked = tokio::time::timeout(WALK_LIMIT, walk(address)) => walked.context("the demo takes too long").flatten(),
        () = done.cancelled() => Ok(()),
        // The reason why a server ended by itself is reported below.
        () = ended(&serving) => Ok(()),
    };
    if walked.is_err() || exit {
        done.cancel();
    } else if let Some(postgres) = postgres.as_ref().filter(|_| !serving.is_finished() && !done.is_cancelled()) {
        print_hints(address, &data_dir, postgres);
    }
    let served = serving.await.context("the server failed").flatten();
    super::stop(postgres).await;
    walked.and(served)
}

/// Takes any free port if the wanted one is in use. A demo should not fail because another one runs.
async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind((listen.ip(), 0)).await?;
            eprintln!("pgfox: {listen} is in use, so the demo listens on {} instead", listener.local_addr()?);
            Ok(listener)
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {listen}")),
    }
}

async fn ended<T>(task: &tokio::task::JoinHandle<T>) {
    while !task.is_finished() {
        tokio::time::sleep(POLL).await;
    }
}

/// The walk: create a collection, store documents, build an index, ask a question.
async fn walk(address: SocketAddr) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    until_serving(HealthClient::new(channel.clone())).await?;
    let mut client = PgfoxServiceClient::new(channel);

    eprintln!("pgfox: storing four sentences about foxes, embedded by {FETCHED_MODEL}");
    create_collection(&mut client).await?;
    let document = |(id, text): (&str, &str)| Document { id: id.into(), text: text.into(), ..Document::default() };
    let request = IngestRequest {
        collection: COLLECTION.into(),
        documents: DOCUMENTS.map(document).into(),
        ..IngestRequest::default()
    };
    client.ingest(request).await?;
    build_index(&mut client).await?;

    eprintln!("pgfox: asking: {QUESTION}");
    let request = SearchRequest {
        collection: COLLECTION.into(),
        query: Some(search_request::Query::Text(QUESTION.into())),
        limit: 1,
        ..SearchRequest::default()
    };
    let found = client.search(request).await?.into_inner().results;
    let nearest = found.into_iter().next().context("the search found nothing")?;
    let (distance, document) = (nearest.distance, nearest.document.unwrap_or_default());
    println!("Distance: {}, Content: {}", distance.unwrap_or_default(), document.text);
    Ok(())
}

/// Waits until the server has made its database ready. The caller limits the wait.
async fn until_serving(mut health: HealthClient<Channel>) -> anyhow::Result<()> {
    loop {
        let request = HealthCheckRequest::default();
        if health.check(request).await?.into_inner().status() == ServingStatus::Serving {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Creates the collection and replaces the one of an earlier demo.
async fn create_collection(client: &mut PgfoxServiceClient<Channel>) -> anyhow::Result<()> {
    match client.delete_collection(DeleteCollectionRequest { name: COLLECTION.into(), ..Default::default() }).await {
        Err(status) if status.code() != tonic::Code::NotFound => return Err(status.into()),
        _ => {}
    }
    let collection = Collection {
        name: COLLECTION.into(),
        embedding: Some(Embedding { model: FETCHED_MODEL.into(), ..Embedding::default() }),
        distance: Distance::L2.into(),
        ..Collection::default()
    };
    client.create_collection(CreateCollectionRequest { collection: Some(collection), ..Default::default() }).await?;
    Ok(())
}

async fn build_index(client: &mut PgfoxServiceClient<Channel>) -> anyhow::Result<()> {
    eprintln!(
        "pgfox: building an IVFFlat index. It needs at least 50 rows per list, so the demo sets allow_few_rows for \
         its four rows. Results stay correct, but good recall needs more data: build the index again after you have loaded yours"
    );
    let kind = index_spec::Kind::IvfFlat(IvfFlat::default());
    let request = BuildIndexRequest {
        collection: COLLECTION.into(),
        spec: Some(IndexSpec { kind: Some(kind), allow_few_rows: true }),
        ..BuildIndexRequest::default()
    };
    let mut progress = client.build_index(request).await?.into_inner();
    let mut phase = IndexPhase::Unspecified;
    while let Some(message) = progress.message().await? {
        phase = message.phase();
    }
    if phase != IndexPhase::Ready {
        bail!("the index build ended in phase {}", phase.as_str_name());
    }
    Ok(())
}

/// Prints what to try next, ready to paste.
fn print_hints(address: SocketAddr, data_dir: &Path, postgres: &EmbeddedPostgres) {
    let psql = quoted(&postgres.bin().join("psql"));
    let url = quoted(&data_dir.join("database-url"));
    eprintln!(
        r#"
pgfox serves on http://{address} until Ctrl-C. Try, in another terminal:

  {} --server http://{address} search {COLLECTION} "what do they eat?"

  grpcurl -plaintext -d '{{"collection": "{COLLECTION}", "text": "what do they eat?", "limit": 2}}' \
    {address} pgfox.v1.PgfoxService/Search

  {psql} "$(cat {url})" -c 'SELECT id, content FROM pgfox.{COLLECTION}'
"#,
        client_program()
    );
}

/// How to start the command line client: beside this program, or with cargo if cargo started this program.
fn client_program() -> String {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("pgfox"));
    match beside {
        Some(client) if client.is_file() => quoted(&client),
        Some(client) if client.ancestors().any(|folder| folder.ends_with("target")) => {
            "cargo run --release --bin pgfox --".to_owned()
        }
        _ => "pgfox".to_owned(),
    }
}

/// Quotes a path for a shell if needed.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/var/lib/pgfox-1.0")), "/var/lib/pgfox-1.0");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
