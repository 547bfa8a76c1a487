//! IngestStream against `psql` with COPY BINARY, of vectors alone and of the finished rows, and against a loop of one INSERT
//! and COMMIT per row, in alternating rounds.
//!
//! ```text
//! cargo bench -p pgfox-server --bench ingest             # about two minutes
//! cargo bench -p pgfox-server --bench ingest -- --codes  # what codes cost, in about two
//! ```
//!
//! Rows have an id and a vector of 1,536 dimensions; COPY and the loop write them to a plain table, pgfox to a new
//! collection each time. "Finished" are the rows that pgfox makes of documents with texts and metadata, copied into the same
//! tables with the same indexes. Every side is durable: what counts as stored survives a loss of power.

mod codes;
mod finished;
#[path = "../setup.rs"]
mod setup;

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::ensure;
use finished::Finished;
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use setup::{Postgres, Random, Server, median};
use tonic::transport::Channel;

const ROWS: usize = 10_000;
const DIMENSIONS: usize = 1536;
/// Documents in a request.
const BATCH: usize = 500;
const TEXT_LENGTH: usize = 500;
const ROUNDS: usize = 5;
/// How long the loop of INSERTs runs.
const LOOP_TIME: Duration = Duration::from_secs(2);
/// Documents of the stream during which memory is looked at.
const LONG_STREAM: usize = 100_000;
const COLLECTION: &str = "bench";

/// What a change may not fall below, in rows/s of COPY of ids and vectors: of vectors, and of documents with text and metadata.
const MIN_VECTORS_RATIO: f64 = 0.5;
const MIN_DOCUMENTS_RATIO: f64 = 0.45;
/// The same for these documents, in rows/s of COPY of the finished rows.
const MIN_FINISHED_RATIO: f64 = 0.8;
/// Documents/s that are stored already, just as they are.
const MIN_UNCHANGED: f64 = 20_000.0;
/// The most memory of the server.
const MAX_MEMORY: u64 = 300 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = setup::arguments();
    let with_codes = arguments == ["--codes"];
    ensure!(with_codes || arguments.is_empty(), "usage: ingest [--codes]");
    let postgres = Postgres::start().await?;
    let kept = if with_codes { codes::run(&postgres).await } else { measure(&postgres).await };
    postgres.stop().await;
    ensure!(kept?, "a limit is not kept");
    Ok(())
}

/// Prints the tables; false when a limit is not kept.
async fn measure(postgres: &Postgres) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rows");
    let rows = Rows::new();
    rows.write_copy_file(&file)?;
    let mut server = Server::start(postgres, "warn,pgfox_server=info,pgfox_server::rpc::ingest=debug").await?;
    let mut sql = postgres.connect().await?;
    let finished = Finished::export(postgres, &sql, &server, &rows, folder.path()).await?;

    println!("{ROWS} rows of {DIMENSIONS} dimensions, {BATCH} documents per request, {ROUNDS} rounds, rows/s");
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>9} {:>26}",
        "COPY", "finished", "INSERT", "vectors", "documents", "ratios: vectors, documents"
    );
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "", "", "", "", "", "to COPY", "INSERT", "COPY", "finished"
    );
    let mut ratios: [Vec<f64>; 4] = Default::default();
    let mut spent: [Spent; 2] = Default::default();
    let mut unchanged = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        checkpoint(&sql).await?;
        let copied = copy(postgres, &sql, &file).await?;
        finished.clear(&sql).await?;
        checkpoint(&sql).await?;
        let copied_finished = finished.copy(postgres, &sql).await?;
        checkpoint(&sql).await?;
        let inserted = insert_one_by_one(&mut sql, &rows).await?;
        let mut ingested = [0.0; 2];
        for (kind, documents) in [false, true].into_iter().enumerate() {
            checkpoint(&sql).await?;
            while server.log.try_recv().is_ok() {}
            let ingested_here = ingest(postgres, &mut server, &rows, documents, ROWS, BATCH).await?;
            ingested[kind] = ingested_here.rate;
            if round > 0 {
                spent[kind].add(ingested_here.spent);
                unchanged.extend(documents.then_some(ingested_here.again));
            }
        }
        let [vectors, documents] = ingested;
        let found = [vectors / copied, vectors / inserted, documents / copied, documents / copied_finished];
        if round > 0 {
            println!(
                "{copied:>8.0} {copied_finished:>8.0} {inserted:>8.0} {vectors:>8.0} {documents:>9.0} {:>8.2} {:>8.1} {:>8.2} {:>8.2}",
                found[0], found[1], found[2], found[3]
            );
            ratios.iter_mut().zip(found).for_each(|(ratios, found)| ratios.push(found));
        }
    }
    let [vectors, to_loop, documents, to_finished] = ratios.map(|ratios| median(&ratios));
    println!(
        "medians: vectors {vectors:.2} of COPY and {to_loop:.1} times the loop, documents {documents:.2} of COPY and \
         {to_finished:.2} of COPY of the finished rows\n"
    );
    for (name, spent) in ["vectors", "documents"].into_iter().zip(&spent) {
        spent.print(name, ROUNDS * ROWS);
    }
    let unchanged = median(&unchanged);
    println!("documents again, all of them unchanged: {unchanged:.0} rows/s");

    println!("\n{:>22} {:>10}", "documents per request", "rows/s");
    for (batch, count) in [(1, 300), (10, 1_500), (100, 5_000), (1_000, 10_000)] {
        let ingested = ingest(postgres, &mut server, &rows, false, count, batch).await?;
        println!("{batch:>22} {:>10.0}", ingested.rate);
    }
    server.stop().await?;

    // A server of its own, so that the memory is that of this stream.
    let mut server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let rate = ingest(postgres, &mut server, &rows, true, LONG_STREAM, BATCH).await?.rate;
    let memory = server.peak_memory()?;
    println!("\na stream of {LONG_STREAM} documents: {rate:.0} rows/s, peak memory of the server {} MB", memory >> 20);
    server.stop().await?;
    let kept = vectors >= MIN_VECTORS_RATIO && documents >= MIN_DOCUMENTS_RATIO && to_finished >= MIN_FINISHED_RATIO;
    Ok(kept && unchanged >= MIN_UNCHANGED && memory <= MAX_MEMORY)
}

/// What every side stores.
struct Rows {
    vectors: Vec<Vec<f32>>,
    text: String,
}

impl Rows {
    fn new() -> Self {
        let mut random = Random::new();
        let words = "semantic search finds what is meant and not only what is written ";
        Self {
            vectors: (0..ROWS).map(|_| random.vector(DIMENSIONS)).collect(),
            text: words.chars().cycle().take(TEXT_LENGTH - 8).collect(),
        }
    }

    fn id(number: usize) -> String {
        format!("document-{number}")
    }

    fn vector(&self, number: usize) -> &[f32] {
        &self.vectors[number % self.vectors.len()]
    }

    /// `with_text`: with text and five fields of metadata.
    fn document(&self, number: usize, with_text: bool) -> v1::Document {
        let string = |text: String| Value { kind: Some(Kind::StringValue(text)) };
        let fields = || {
            let fields = [
                ("title", string(format!("The title of document {number}"))),
                ("language", string("en".into())),
                ("year", Value { kind: Some(Kind::NumberValue((1900 + number % 120) as f64)) }),
                ("score", Value { kind: Some(Kind::NumberValue(number as f64 / 7.0)) }),
                ("public", Value { kind: Some(Kind::BoolValue(number.is_multiple_of(2))) }),
            ];
            Struct { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() }
        };
        v1::Document {
            id: Self::id(number),
            text: if with_text { format!("{number:08}{}", self.text) } else { String::new() },
            vector: Some(v1::Vector { values: self.vector(number).to_vec() }),
            metadata: with_text.then(fields),
            ..Default::default()
        }
    }

    fn request(&self, first: usize, end: usize, with_text: bool) -> v1::IngestRequest {
        let documents = (first..end).map(|number| self.document(number, with_text)).collect();
        v1::IngestRequest { collection: COLLECTION.into(), documents, ..Default::default() }
    }

    /// Ids and vectors in the binary format of COPY.
    fn write_copy_file(&self, path: &Path) -> anyhow::Result<()> {
        let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for (number, vector) in self.vectors.iter().enumerate() {
            let id = Self::id(number);
            out.extend(2_i16.to_be_bytes());
            out.extend((id.len() as i32).to_be_bytes());
            out.extend(id.as_bytes());
            out.extend((4 + 4 * DIMENSIONS as i32).to_be_bytes());
            out.extend((DIMENSIONS as i16).to_be_bytes());
            out.extend(0_i16.to_be_bytes());
            out.extend(vector.iter().flat_map(|value| value.to_be_bytes()));
        }
        out.extend((-1_i16).to_be_bytes());
        Ok(std::fs::write(path, out)?)
    }
}

/// One in the middle of a side's turn would be its bad luck.
async fn checkpoint(sql: &tokio_postgres::Client) -> anyhow::Result<()> {
    Ok(sql.batch_execute("CHECKPOINT").await?)
}

async fn create_plain_table(sql: &tokio_postgres::Client) -> anyhow::Result<()> {
    let table =
        format!("DROP TABLE IF EXISTS plain; CREATE TABLE plain (id text PRIMARY KEY, embedding vector({DIMENSIONS}))");
    Ok(sql.batch_execute(&table).await?)
}

/// How long psql took.
async fn psql(postgres: &Postgres, arguments: &[&str]) -> anyhow::Result<Duration> {
    let mut psql = postgres.program("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]).args(arguments);
    let began = Instant::now();
    let output = psql.arg(postgres.url()).stderr(Stdio::piped()).output().await?;
    let elapsed = began.elapsed();
    ensure!(output.status.success(), "psql failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(elapsed)
}

/// Rows/s of psql.
async fn copy(postgres: &Postgres, sql: &tokio_postgres::Client, file: &Path) -> anyhow::Result<f64> {
    create_plain_table(sql).await?;
    let command = format!("\\copy plain FROM '{}' (FORMAT binary)", file.display());
    let elapsed = psql(postgres, &["--command", &command]).await?;
    let count: i64 = sql.query_one("SELECT count(*) FROM plain", &[]).await?.get(0);
    ensure!(count == ROWS as i64, "COPY stored {count} rows");
    Ok(ROWS as f64 / elapsed.as_secs_f64())
}

/// Rows/s of the loop that tutorials show: a transaction per row.
async fn insert_one_by_one(sql: &mut tokio_postgres::Client, rows: &Rows) -> anyhow::Result<f64> {
    create_plain_table(sql).await?;
    let began = Instant::now();
    let mut inserted = 0;
    while began.elapsed() < LOOP_TIME {
        let vector = pgvector::Vector::from(rows.vector(inserted).to_vec());
        let transaction = sql.transaction().await?;
        let statement = "INSERT INTO plain (id, embedding) VALUES ($1, $2)";
        transaction.execute(statement, &[&Rows::id(inserted), &vector]).await?;
        transaction.commit().await?;
        inserted += 1;
    }
    Ok(inserted as f64 / began.elapsed().as_secs_f64())
}

/// Where the time of an ingest went.
#[derive(Default)]
struct Spent {
    /// By the name of the server's stage.
    stages: HashMap<String, Duration>,
    elapsed: Duration,
    client: Duration,
    server: Duration,
    postgres: Duration,
}

impl Spent {
    fn add(&mut self, other: Self) {
        for (name, time) in other.stages {
            *self.stages.entry(name).or_default() += time;
        }
        self.elapsed += other.elapsed;
        self.client += other.client;
        self.server += other.server;
        self.postgres += other.postgres;
    }

    fn print(&self, name: &str, rows: usize) {
        let per_row = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let share = |time: Duration| time.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0;
        let stages: Vec<String> = stages
            .iter()
            .map(|(stage, time)| format!("{stage} {:.0} ({:.0} %)", per_row(**time), share(**time)))
            .collect();
        println!("{name}: {:.0} us per row: {}", per_row(self.elapsed), stages.join(", "));
        println!(
            "    processor time per row in us: client {:.0}, server {:.0}, Postgres {:.0}",
            per_row(self.client),
            per_row(self.server),
            per_row(self.postgres)
        );
    }
}

/// What one stream of documents into a new collection, and the same stream again, took.
struct Ingested {
    /// Rows/s.
    rate: f64,
    /// Rows/s when nothing has changed.
    again: f64,
    spent: Spent,
}

async fn create_collection(client: &mut PgfoxServiceClient<Channel>) -> anyhow::Result<()> {
    let embedding = v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() };
    let collection = v1::Collection { name: COLLECTION.into(), embedding: Some(embedding), ..Default::default() };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await?;
    Ok(())
}

async fn delete_collection(client: &mut PgfoxServiceClient<Channel>) -> anyhow::Result<()> {
    client.delete_collection(v1::DeleteCollectionRequest { name: COLLECTION.into(), ..Default::default() }).await?;
    Ok(())
}

/// Stores documents in a new collection by one stream, and then again.
async fn ingest(
    postgres: &Postgres,
    server: &mut Server,
    rows: &Rows,
    with_text: bool,
    count: usize,
    batch: usize,
) -> anyhow::Result<Ingested> {
    let mut client = server.client()?;
    create_collection(&mut client).await?;
    let before = [setup::own_processor_time(), server.processor_time(), postgres.processor_time()];
    let began = Instant::now();
    let sent = stream(&client, rows, with_text, count, batch).await?;
    let elapsed = began.elapsed();
    let after = [setup::own_processor_time(), server.processor_time(), postgres.processor_time()];
    ensure!(sent == (count, 0), "{sent:?} of {count} documents were stored and unchanged");

    let mut stages = HashMap::from([("decode".to_owned(), decode_time(rows, with_text, count, batch)?)]);
    while let Ok(line) = server.log.try_recv() {
        for (name, time) in stage_times(&line) {
            *stages.entry(name.to_owned()).or_default() += time;
        }
    }
    let began = Instant::now();
    let sent = stream(&client, rows, with_text, count, batch).await?;
    let again = began.elapsed();
    ensure!(sent == (0, count), "{sent:?} of {count} documents were stored and unchanged");
    delete_collection(&mut client).await?;

    let [client, server, postgres] = std::array::from_fn(|side| after[side] - before[side]);
    let spent = Spent { stages, elapsed, client, server, postgres };
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    Ok(Ingested { rate: rate(elapsed), again: rate(again), spent })
}

/// Sends documents by one stream; returns how many were stored, and how many were unchanged.
async fn stream(
    client: &PgfoxServiceClient<Channel>,
    rows: &Rows,
    with_text: bool,
    count: usize,
    batch: usize,
) -> anyhow::Result<(usize, usize)> {
    // Requests are made when there is room for them.
    let (sender, requests) = tokio::sync::mpsc::channel(2);
    let send = async {
        for first in (0..count).step_by(batch) {
            let request = rows.request(first, count.min(first + batch), with_text);
            if sender.send(request).await.is_err() {
                break;
            }
        }
        drop(sender);
        anyhow::Ok(())
    };
    let receive = async {
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut responses = client.clone().ingest_stream(requests).await?.into_inner();
        let (mut stored, mut unchanged) = (0, 0);
        while let Some(response) = responses.message().await? {
            stored += response.upserted_count as usize;
            unchanged += response.unchanged_count as usize;
        }
        anyhow::Ok((stored, unchanged))
    };
    let ((), counts) = tokio::try_join!(send, receive)?;
    Ok(counts)
}

/// tonic decodes while it reads, so the server cannot tell this time: it is that of decoding a request here.
fn decode_time(rows: &Rows, with_text: bool, count: usize, batch: usize) -> anyhow::Result<Duration> {
    let bytes = rows.request(0, batch, with_text).encode_to_vec();
    let began = Instant::now();
    let request = v1::IngestRequest::decode(&bytes[..])?;
    let elapsed = began.elapsed();
    ensure!(request.documents.len() == batch);
    Ok(elapsed * u32::try_from(count / batch)?)
}

/// The times in a line of the server's log, such as `write_us=1234`.
fn stage_times(line: &str) -> impl Iterator<Item = (&str, Duration)> {
    let fields = line.split_whitespace().filter_map(|field| field.split_once("_us="));
    fields.filter_map(|(name, value)| Some((name, Duration::from_micros(value.parse().ok()?))))
}
