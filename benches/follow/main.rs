//! What following a table costs its writers, and how fast it embeds.
//!
//! ```text
//! cargo bench -p pgfox-server --bench follow    # about five minutes
//! ```
//!
//! Writers: `psql` copies rows into a table that is followed and into one that is not, in alternating rounds, without a
//! vector index and with one. The server is stopped meanwhile, so that only the triggers are measured. Embedding: texts that
//! SQL has written, against the same texts by IngestStream, with all-MiniLM-L6-v2.

#[path = "../setup.rs"]
mod setup;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use setup::{Postgres, Random, Server, median};
use tonic::transport::Channel;

type Client = PgfoxServiceClient<Channel>;

const ROWS: usize = 100_000;
const TEXT_LENGTH: usize = 500;
const DIMENSIONS: usize = 384;
/// Rows that are copied into a table with a vector index.
const INDEXED_ROWS: usize = 3_000;
const ROUNDS: usize = 5;
/// Texts that are embedded, of about this many words.
const EMBEDDED: usize = 3_000;
const WORDS: usize = 20;
const MODEL: &str = "local/all-MiniLM-L6-v2";
const MAX_EMBEDDING: Duration = Duration::from_secs(300);

/// What a change may not exceed: the time of COPY with the triggers in the time without, and with a vector index.
const MAX_COPY: f64 = 1.5;
const MAX_INDEXED_COPY: f64 = 1.05;
/// The least texts/s of following, in texts/s of IngestStream.
const MIN_EMBEDDING: f64 = 0.9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let postgres = Postgres::start().await?;
    let measured = measure(&postgres).await;
    postgres.stop().await;
    measured
}

async fn measure(postgres: &Postgres) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let sql = postgres.connect().await?;
    let mut client = server.client()?;
    let embedding = measure_embedding(&sql, &mut client).await?;
    for name in ["plain", "followed", "plain_indexed", "followed_indexed"] {
        sql.batch_execute(&format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, content text, embedding vector({DIMENSIONS}))"
        ))
        .await?;
        if name.ends_with("indexed") {
            sql.batch_execute(&format!("CREATE INDEX ON {name} USING hnsw (embedding vector_cosine_ops)")).await?;
        }
        if name.starts_with("followed") {
            client.create_collection(follow(name, name, "")).await?;
        }
    }
    server.stop().await?;
    let copies = Copies { postgres, sql: &sql, folder: folder.path() };
    let copy = copies.compare("", ROWS, false).await?;
    let indexed = copies.compare("_indexed", INDEXED_ROWS, true).await?;
    println!("COPY of {ROWS} rows of {TEXT_LENGTH} characters takes {copy:.2} of the time without triggers");
    println!(
        "COPY of {INDEXED_ROWS} rows into a table with an HNSW index takes {indexed:.2} of the time without triggers"
    );
    println!("following embeds {embedding:.2} of the texts/s of IngestStream");
    ensure!(copy <= MAX_COPY, "COPY takes more than {MAX_COPY} times as long");
    ensure!(indexed <= MAX_INDEXED_COPY, "COPY with an index takes more than {MAX_INDEXED_COPY} times as long");
    ensure!(embedding >= MIN_EMBEDDING, "following embeds less than {MIN_EMBEDDING} of the texts/s");
    Ok(())
}

/// A collection that follows the texts of a table.
fn follow(collection: &str, table: &str, model: &str) -> v1::CreateCollectionRequest {
    let source = v1::Source {
        table: table.into(),
        text_columns: vec!["content".into()],
        vector_column: if model.is_empty() { "embedding".into() } else { String::new() },
        follow: Some(v1::Follow { triggers: true, ..Default::default() }),
        ..Default::default()
    };
    let collection = v1::Collection {
        name: collection.into(),
        embedding: Some(v1::Embedding { model: model.into(), ..Default::default() }),
        source: Some(source),
        ..Default::default()
    };
    v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() }
}

struct Copies<'a> {
    postgres: &'a Postgres,
    sql: &'a tokio_postgres::Client,
    folder: &'a Path,
}

impl Copies<'_> {
    /// The time of COPY into a followed table in that of a plain one.
    async fn compare(&self, suffix: &str, rows: usize, with_vectors: bool) -> anyhow::Result<f64> {
        let file = self.folder.join(format!("rows{suffix}"));
        let mut random = Random::new();
        let mut lines = String::new();
        for id in 0..rows {
            let vector = match with_vectors {
                true => format!("{:?}", random.vector(DIMENSIONS)).replace(' ', ""),
                false => "\\N".into(),
            };
            writeln!(lines, "{id}\t{id:0>TEXT_LENGTH$}\t{vector}")?;
        }
        fs::write(&file, lines)?;
        let mut ratios = Vec::new();
        // The first round warms up.
        for round in 0..=ROUNDS {
            let mut names = [format!("plain{suffix}"), format!("followed{suffix}")];
            if round % 2 == 1 {
                names.reverse();
            }
            let mut times = [0.0; 2];
            for name in &names {
                self.sql
                    .batch_execute(&format!("TRUNCATE {name}; TRUNCATE pgfox_internal.changes; CHECKPOINT"))
                    .await?;
                let began = Instant::now();
                let copy = format!("\\copy {name} FROM '{}'", file.display());
                let done =
                    self.postgres.program("psql").args(["-qX", "-c", &copy, self.postgres.url()]).status().await?;
                ensure!(done.success(), "psql failed");
                times[usize::from(name.starts_with("followed"))] = began.elapsed().as_secs_f64();
            }
            let noted = "SELECT count(*) FROM pgfox_internal.changes";
            let noted: i64 = self.sql.query_one(noted, &[]).await?.get(0);
            ensure!(round % 2 == 1 || noted == rows as i64, "{noted} changes of {rows} were noted");
            if round > 0 {
                ratios.push(times[1] / times[0]);
            }
        }
        println!("COPY{suffix}: {ratios:.2?}");
        Ok(median(&ratios))
    }
}

/// Texts/s of following in those of IngestStream.
async fn measure_embedding(sql: &tokio_postgres::Client, client: &mut Client) -> anyhow::Result<f64> {
    let mut numbers = Random::new().below(100_000);
    let texts: Vec<String> = (0..EMBEDDED)
        .map(|_| numbers.by_ref().take(WORDS).map(|number| format!("word{number}")).collect::<Vec<_>>().join(" "))
        .collect();
    let mut ratios = Vec::new();
    for round in 0..3 {
        let collection = v1::Collection {
            name: format!("ingested_{round}"),
            embedding: Some(v1::Embedding { model: MODEL.into(), ..Default::default() }),
            ..Default::default()
        };
        client
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await?;
        let began = Instant::now();
        let requests: Vec<v1::IngestRequest> = (0..EMBEDDED)
            .step_by(100)
            .map(|first| v1::IngestRequest {
                collection: format!("ingested_{round}"),
                documents: (first..(first + 100).min(EMBEDDED))
                    .map(|id| v1::Document { id: id.to_string(), text: texts[id].clone(), ..Default::default() })
                    .collect(),
                ..Default::default()
            })
            .collect();
        let mut responses = client.ingest_stream(tokio_stream::iter(requests)).await?.into_inner();
        let mut stored = 0;
        while let Some(response) = responses.message().await? {
            stored += response.upserted_count as usize;
        }
        ensure!(stored == EMBEDDED, "{stored} of {EMBEDDED} were stored");
        let ingested = began.elapsed();

        let table = format!("texts_{round}");
        sql.batch_execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, content text)")).await?;
        client.create_collection(follow(&table, &table, MODEL)).await?;
        wait(client, &table).await?;
        let began = Instant::now();
        let insert = format!("INSERT INTO {table} SELECT n - 1, t FROM unnest($1::text[]) WITH ORDINALITY u(t, n)");
        sql.execute(&insert, &[&texts]).await?;
        wait(client, &table).await?;
        let followed = began.elapsed();
        println!(
            "{EMBEDDED} texts: {:.0}/s by IngestStream, {:.0}/s by following",
            EMBEDDED as f64 / ingested.as_secs_f64(),
            EMBEDDED as f64 / followed.as_secs_f64()
        );
        if round > 0 {
            ratios.push(ingested.as_secs_f64() / followed.as_secs_f64());
        }
    }
    Ok(median(&ratios))
}

/// Waits until everything is stored.
async fn wait(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let request = v1::GetCollectionRequest { name: name.into() };
        let collection = client.get_collection(request).await?.into_inner().collection.context("a collection")?;
        let status = collection.source_status.context("a followed collection")?;
        if status.pending_count == 0 && status.compare_progress.is_none() {
            ensure!(status.failed_count == 0, "{status:?}");
            return Ok(());
        }
        ensure!(began.elapsed() < MAX_EMBEDDING, "not in time: {status:?}");
        // Seldom enough to take nothing from what is measured.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
