//! What codes cost writers: documents into a collection whose declared fields have codes, and into one that declares none,
//! in alternating turns. Both have a vector index.

use std::time::{Duration, Instant};

use anyhow::ensure;
use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use tonic::transport::Channel;

use super::{DIMENSIONS, Rows};
use crate::setup::{Postgres, Server, build_index, median};

/// Documents of a collection before the first turn.
const INDEXED: usize = 5_000;
/// Documents of a turn, in one request.
const TURN: usize = 200;
const ROUNDS: usize = 20;
/// The cost that a change may not exceed.
const MAX_COST: f64 = 1.1;

const COLLECTIONS: [(&str, &[&str]); 2] = [("plain", &[]), ("declared", &["year", "score"])];

/// Prints the table; false when the limit is not kept.
pub(super) async fn run(postgres: &Postgres) -> anyhow::Result<bool> {
    let rows = Rows::new();
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let mut client = server.client()?;
    for (name, fields) in COLLECTIONS {
        let index =
            |field: &&str| v1::MetadataIndex { field: (*field).into(), r#type: v1::MetadataIndexType::Number.into() };
        let collection = v1::Collection {
            name: name.into(),
            embedding: Some(v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() }),
            metadata_indexes: fields.iter().map(index).collect(),
            ..Default::default()
        };
        client
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await?;
        for first in (0..INDEXED).step_by(500) {
            ingest(&mut client, &rows, name, first, 500).await?;
        }
        build_index(&mut client, name).await?;
    }
    let sql = postgres.connect().await?;
    let ready = "SELECT count(*) FROM pgfox_internal.codes WHERE state = 'ready'";
    while sql.query_one(ready, &[]).await?.get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    println!(
        "{TURN} documents with text and metadata in a turn, into collections with a vector index over {DIMENSIONS}"
    );
    println!("{:>10} {:>10} {:>8}", "no codes", "codes", "ratio");
    println!("{:>10} {:>10} {:>8}", "rows/s", "rows/s", "of time");
    let mut ratios = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let mut times = [Duration::ZERO; 2];
        let mut order = [0, 1];
        if round % 2 == 1 {
            order.reverse();
        }
        for side in order {
            sql.batch_execute("CHECKPOINT").await?;
            let began = Instant::now();
            ingest(&mut client, &rows, COLLECTIONS[side].0, INDEXED + round * TURN, TURN).await?;
            times[side] = began.elapsed();
        }
        if round > 0 {
            let [plain, coded] = times.map(|time| time.as_secs_f64());
            println!("{:>10.0} {:>10.0} {:>8.3}", TURN as f64 / plain, TURN as f64 / coded, coded / plain);
            ratios.push(coded / plain);
        }
    }
    server.stop().await?;
    let cost = median(&ratios);
    println!("median of the ratios: {cost:.3}");
    Ok(cost <= MAX_COST)
}

async fn ingest(
    client: &mut PgfoxServiceClient<Channel>,
    rows: &Rows,
    collection: &str,
    first: usize,
    count: usize,
) -> anyhow::Result<()> {
    let request = v1::IngestRequest { collection: collection.into(), ..rows.request(first, first + count, true) };
    let stored = client.ingest(request).await?.into_inner().upserted_count;
    ensure!(stored as usize == count, "{stored} of {count} documents were stored");
    Ok(())
}
