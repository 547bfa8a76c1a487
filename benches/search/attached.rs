//! A collection with tables of its own against one that is attached to a table of the tutorials' kind, with the same rows and
//! the same index: alternating rounds.

use std::{sync::Arc, time::Instant};

use anyhow::ensure;
use pgfox::v1;

use super::{CONCURRENCY, DIMENSIONS, LIMIT, QUERIES, ROUNDS, TURN, fill, plain_document};
use crate::setup::{Postgres, Random, Server, median};

const DOCUMENTS: usize = 20_000;
const ATTACHED: &str = "attached";
/// The cost of an attached collection that a change may not exceed.
const MAX_RATIO: f64 = 1.05;

pub(super) async fn run(postgres: &Postgres) -> anyhow::Result<()> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let mut client = server.client()?;
    let mut random = Random::new();
    fill(client.clone(), DOCUMENTS, |number| plain_document(&mut random, number)).await?;
    let sql = postgres.connect().await?;
    sql.batch_execute(&format!(
        "CREATE TABLE documents (id bigserial PRIMARY KEY, content text, embedding vector({DIMENSIONS}));
         INSERT INTO documents (content, embedding) SELECT content, embedding FROM pgfox.bench;
         SET maintenance_work_mem = '256MB';
         CREATE INDEX ON documents USING hnsw (embedding vector_l2_ops) WITH (m = 16, ef_construction = 64);
         ANALYZE documents"
    ))
    .await?;
    let source = v1::Source { table: "documents".into(), text_columns: vec!["content".into()], ..Default::default() };
    let collection = v1::Collection {
        name: ATTACHED.into(),
        embedding: Some(v1::Embedding::default()),
        source: Some(source),
        ..Default::default()
    };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await?;
    let queries: Arc<Vec<Vec<f32>>> = Arc::new((0..QUERIES).map(|_| random.vector(DIMENSIONS)).collect());
    println!(
        "{DOCUMENTS} vectors of {DIMENSIONS}, HNSW, the {LIMIT} nearest, {CONCURRENCY} at a time, {ROUNDS} rounds of {TURN:?}"
    );
    println!("{:>10} {:>10} {:>8}   processor time per query in us", "own", "attached", "ratio");
    println!("{:>10} {:>10} {:>8}   server and Postgres: own; attached", "queries/s", "queries/s", "of time");
    let mut ratios = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let mut rates = Vec::new();
        let mut times = Vec::new();
        for name in [super::COLLECTION, ATTACHED] {
            let before = server.processor_time() + postgres.processor_time();
            let began = Instant::now();
            let (searches, elapsed) = super::search_for(&client, name, &queries, TURN).await?;
            ensure!(began.elapsed() >= TURN, "a round was cut short");
            let time = (server.processor_time() + postgres.processor_time()).saturating_sub(before);
            rates.push(searches as f64 / elapsed.as_secs_f64());
            times.push(time.as_secs_f64() * 1e6 / searches as f64);
        }
        // Processor time says more than time on a machine that others use.
        let ratio = times[1] / times[0];
        if round > 0 {
            println!("{:>10.0} {:>10.0} {ratio:>8.3}   {:.0}; {:.0}", rates[0], rates[1], times[0], times[1]);
            ratios.push(ratio);
        }
    }
    let ratio = median(&ratios);
    println!("median of the ratios: {ratio:.3}");
    server.stop().await?;
    ensure!(ratio <= MAX_RATIO, "above a ratio of {MAX_RATIO}");
    Ok(())
}
