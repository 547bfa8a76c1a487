//! Searches through gRPC against the same queries sent by pgbench, in alternating rounds.
//!
//! ```text
//! cargo bench -p pgfox-server --bench search                # queries/s at 10,000 vectors, in about two minutes
//! cargo bench -p pgfox-server --bench search -- --filtered  # filters of every selectivity at 100,000, in about a minute
//! cargo bench -p pgfox-server --bench search -- --attached  # a table that is there against pgfox's own, in about two minutes
//! cargo bench -p pgfox-server --bench search -- --codes 100000  # filters by declared fields, in about two minutes
//! cargo bench -p pgfox-server --bench search -- --sizing    # the embedded settings at 100,000, in about five
//! cargo bench -p pgfox-server --bench search -- --collections  # thousands of collections, in about six
//! cargo bench -p pgfox-server --bench search -- --callers 1000  # far more callers than can be served, in about a minute
//! cargo bench -p pgfox-server --bench search -- --against /path/to/pgfox-server  # another build, in about three
//! cargo bench -p pgfox-server --bench search -- --words texts.jsonl  # full-text and hybrid search at a million
//! ```
//!
//! The SQL and the settings that pgbench uses are read from the log of Postgres while the server searches, so they are the
//! same by construction. pgbench has its settings from the start of its sessions and sends one statement per query, outside
//! a transaction; the server makes them for each query. Client, server and Postgres share the processors;
//! `taskset -c 0,1 cargo bench ...` gives them two.

mod against;
mod attached;
mod bm25;
mod callers;
mod clusters;
mod codes;
mod collections;
mod filtered;
mod sentences;
#[path = "../setup.rs"]
mod setup;
mod sizing;
mod words;

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use setup::{Postgres, Random, Server, build_index, median};
use tonic::transport::Channel;

const DOCUMENTS: usize = 10_000;
const DIMENSIONS: usize = 384;
const LIMIT: i32 = 10;
/// Queries at a time.
const CONCURRENCY: usize = 8;
/// Different vectors to search for.
const QUERIES: usize = 16;
const ROUNDS: usize = 8;
/// One side of a round.
const TURN: Duration = Duration::from_secs(4);
const COLLECTION: &str = "bench";

/// The ratio to pgbench that a change may not fall below.
const MIN_RATIO: f64 = 0.75;

type Client = PgfoxServiceClient<Channel>;

/// One thread, as pgbench has.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = setup::arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--words", file, options @ ..] = &arguments[..] {
        return words::run(Path::new(file), options).await;
    }
    let is_known = matches!(
        arguments[..],
        [] | ["--filtered" | "--attached" | "--sizing" | "--collections"] | ["--codes" | "--callers" | "--against", _]
    );
    ensure!(
        is_known,
        "usage: search [--filtered | --codes COUNT | --attached | --sizing | --collections | --callers COUNT | \
         --against PROGRAM | {}]",
        words::USAGE
    );
    let postgres = Postgres::start().await?;
    if arguments == ["--sizing"] {
        return sizing::run(postgres).await;
    }
    if arguments == ["--filtered"] {
        let measured = filtered::run(&postgres).await;
        postgres.stop().await;
        return measured;
    }
    if arguments == ["--attached"] {
        let measured = attached::run(&postgres).await;
        postgres.stop().await;
        return measured;
    }
    if arguments == ["--collections"] {
        let measured = collections::run(&postgres).await;
        postgres.stop().await;
        return measured;
    }
    if let ["--codes", count] = arguments[..] {
        let measured = codes::run(&postgres, count.parse()?).await;
        postgres.stop().await;
        return measured;
    }
    if let ["--callers", count] = arguments[..] {
        let measured = callers::run(&postgres, count.parse()?).await;
        postgres.stop().await;
        return measured;
    }
    if let ["--against", other] = arguments[..] {
        let measured = against::run(&postgres, Path::new(other)).await;
        postgres.stop().await;
        return measured;
    }
    let measured = measure(&postgres).await;
    postgres.stop().await;
    let ratio = measured?;
    ensure!(ratio >= MIN_RATIO, "below a ratio of {MIN_RATIO}");
    Ok(())
}

/// Prints the table; returns the median of the ratios.
async fn measure(postgres: &Postgres) -> anyhow::Result<f64> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let client = server.client()?;
    let mut random = Random::new();
    fill(client.clone(), DOCUMENTS, |number| plain_document(&mut random, number)).await?;
    let queries: Arc<Vec<Vec<f32>>> = Arc::new((0..QUERIES).map(|_| random.vector(DIMENSIONS)).collect());
    let statement = Statement::capture(postgres, client.clone(), &queries[0]).await?;
    println!(
        "{DOCUMENTS} vectors of {DIMENSIONS}, HNSW, the {LIMIT} nearest, {CONCURRENCY} at a time, {ROUNDS} rounds of {TURN:?}"
    );
    println!("with {}", statement.settings.join(", "));

    println!("{:>10} {:>10} {:>8}   processor time per query in us", "pgfox", "pgbench", "ratio");
    println!("{:>10} {:>10} {:>8}   client, server, Postgres; Postgres for pgbench", "queries/s", "queries/s", "");
    let mut ratios = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let before = [setup::own_processor_time(), server.processor_time(), postgres.processor_time()];
        let (searches, elapsed) = search_for(&client, COLLECTION, &queries, TURN).await?;
        let after = [setup::own_processor_time(), server.processor_time(), postgres.processor_time()];
        let ours = searches as f64 / elapsed.as_secs_f64();
        let times: Vec<String> = before
            .iter()
            .zip(after)
            .map(|(before, after)| format!("{:.0}", (after - *before).as_secs_f64() * 1e6 / searches as f64))
            .collect();

        let before = postgres.processor_time();
        let theirs = statement.pgbench(postgres, &queries, TURN).await?;
        let time = (postgres.processor_time() - before).as_secs_f64() * 1e6 / (theirs * TURN.as_secs_f64());
        if round > 0 {
            println!("{ours:>10.0} {theirs:>10.0} {:>8.3}   {}; {time:.0}", ours / theirs, times.join(", "));
            ratios.push(ours / theirs);
        }
    }
    let ratio = median(&ratios);
    println!("median of the ratios: {ratio:.3}");
    server.stop().await?;
    Ok(ratio)
}

/// Creates the collection, stores documents in it and builds the index.
async fn fill(mut client: Client, documents: usize, document: impl FnMut(usize) -> v1::Document) -> anyhow::Result<()> {
    store(&mut client, documents, v1::Distance::L2, Vec::new(), document).await?;
    build_index(&mut client, COLLECTION).await
}

/// Creates the collection and stores documents in it.
async fn store(
    client: &mut Client,
    documents: usize,
    distance: v1::Distance,
    metadata_indexes: Vec<v1::MetadataIndex>,
    mut document: impl FnMut(usize) -> v1::Document,
) -> anyhow::Result<()> {
    const PER_REQUEST: usize = 500;
    let embedding = v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() };
    let collection = v1::Collection {
        name: COLLECTION.into(),
        embedding: Some(embedding),
        distance: distance.into(),
        metadata_indexes,
        ..Default::default()
    };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await?;
    for first in (0..documents).step_by(PER_REQUEST) {
        let documents = (first..documents.min(first + PER_REQUEST)).map(&mut document).collect();
        client.ingest(v1::IngestRequest { collection: COLLECTION.into(), documents, ..Default::default() }).await?;
    }
    Ok(())
}

/// A document with a random vector.
fn plain_document(random: &mut Random, number: usize) -> v1::Document {
    v1::Document {
        id: format!("document-{number}"),
        text: format!("The text of document {number}."),
        vector: Some(v1::Vector { values: random.vector(DIMENSIONS) }),
        ..Default::default()
    }
}

/// Searches from several tasks on one connection; returns how many searches ended, and the time.
async fn search_for(
    client: &Client,
    collection: &'static str,
    queries: &Arc<Vec<Vec<f32>>>,
    turn: Duration,
) -> anyhow::Result<(usize, Duration)> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..CONCURRENCY {
        let (mut client, queries) = (client.clone(), Arc::clone(queries));
        tasks.spawn(async move {
            let mut searches = 0;
            while began.elapsed() < turn {
                let query = &queries[(first + searches) % queries.len()];
                let found = search(&mut client, collection, query).await?;
                ensure!(found.results.len() == LIMIT as usize, "a search found {}", found.results.len());
                ensure!(found.completeness() == v1::Completeness::Approximate, "a search did not use the index");
                searches += 1;
            }
            Ok(searches)
        });
    }
    let mut searches = 0;
    while let Some(ended) = tasks.join_next().await {
        searches += ended??;
    }
    Ok((searches, began.elapsed()))
}

async fn search(client: &mut Client, collection: &str, query: &[f32]) -> anyhow::Result<v1::SearchResponse> {
    let query = v1::search_request::Query::Vector(v1::Vector { values: query.to_vec() });
    let request =
        v1::SearchRequest { collection: collection.into(), query: Some(query), limit: LIMIT, ..Default::default() };
    Ok(client.search(request).await?.into_inner())
}

/// What the server asks of Postgres.
struct Statement {
    /// With $1 for the vector and $2 for the limit.
    sql: String,
    /// As `name=value`.
    settings: Vec<String>,
}

impl Statement {
    /// Reads the log of Postgres while the server searches.
    async fn capture(postgres: &Postgres, mut client: Client, query: &[f32]) -> anyhow::Result<Self> {
        let sql = postgres.connect().await?;
        let log = async || {
            anyhow::Ok(sql.query_one("SELECT pg_read_file(pg_current_logfile())", &[]).await?.get::<_, String>(0))
        };
        sql.batch_execute("ALTER SYSTEM SET log_statement = 'all'").await?;
        sql.batch_execute("SELECT pg_reload_conf()").await?;
        // Sessions take new settings up between two statements, and the log is written by another process.
        let pause = || tokio::time::sleep(Duration::from_millis(500));
        pause().await;
        search(&mut client, COLLECTION, query).await?;
        pause().await;
        let text = log().await?;
        sql.batch_execute("ALTER SYSTEM RESET log_statement").await?;
        sql.batch_execute("SELECT pg_reload_conf()").await?;
        pause().await;

        // A message continues in lines that begin with a tab.
        let text = text.replace("\n\t", " ");
        let begin = text.lines().rev().find(|line| line.contains("statement: BEGIN READ ONLY"));
        let begin = begin.context("the search did not begin a transaction")?;
        let settings = begin.split(';').filter_map(|statement| statement.trim().strip_prefix("SET LOCAL "));
        let settings = settings.map(|setting| setting.replace(' ', "")).collect();
        let (_, sql) = text
            .lines()
            .rev()
            .find_map(|line| line.split_once(": -- search "))
            .context("the log of Postgres shows no search")?;
        Ok(Self { sql: sql.split_whitespace().collect::<Vec<_>>().join(" "), settings })
    }

    /// Runs it from pgbench; returns queries/s.
    async fn pgbench(&self, postgres: &Postgres, queries: &[Vec<f32>], turn: Duration) -> anyhow::Result<f64> {
        Ok(self.pgbench_with(postgres, queries, turn, CONCURRENCY).await?.0)
    }

    /// The same with so many clients; returns how many milliseconds each query took too.
    async fn pgbench_with(
        &self,
        postgres: &Postgres,
        queries: &[Vec<f32>],
        turn: Duration,
        clients: usize,
    ) -> anyhow::Result<(f64, Vec<f64>)> {
        let folder = tempfile::tempdir()?;
        let mut pgbench = postgres.program("pgbench");
        pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--log", &format!("--client={clients}")]);
        pgbench.arg(format!("--log-prefix={}", folder.path().join("log").display()));
        pgbench.args([format!("--time={}", turn.as_secs()), format!("--define=limit={LIMIT}")]);
        for (number, query) in queries.iter().enumerate() {
            let values: Vec<String> = query.iter().map(f32::to_string).collect();
            let script = folder.path().join(format!("{number}.sql"));
            std::fs::write(&script, self.sql.replace("$1", &format!(":v{number}")).replace("$2", ":limit") + ";\n")?;
            pgbench.arg(format!("--define=v{number}=[{}]", values.join(",")));
            pgbench.arg("--file").arg(script);
        }
        let settings: Vec<String> = self.settings.iter().map(|setting| format!("-c {setting}")).collect();
        let output =
            pgbench.arg(postgres.url()).env("PGOPTIONS", settings.join(" ")).stderr(Stdio::piped()).output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        let rate = rate
            .filter(|_| output.status.success())
            .with_context(|| format!("pgbench failed: {said}{}", String::from_utf8_lossy(&output.stderr)))?;
        let mut times = Vec::new();
        for entry in std::fs::read_dir(folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                continue;
            }
            let text = std::fs::read_to_string(path)?;
            // Client, number, microseconds.
            let microseconds = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
            times.extend(microseconds.map(|microseconds| microseconds / 1e3));
        }
        Ok((rate, times))
    }
}
