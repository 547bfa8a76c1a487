//! Thousands of collections searched at random: what it costs that connections are replaced, and what that saves.

use std::time::Instant;

use anyhow::Context as _;
use pgfox::v1::{self, search_request::Query};
use tokio::task::JoinSet;

use super::{CONCURRENCY, Client, DIMENSIONS, TURN, plain_document};
use crate::setup::{Postgres, Random, Server, median};

const COLLECTIONS: usize = 2_000;
const DOCUMENTS: usize = 10;
const ROUNDS: usize = 20;

/// Prints the memory of backends that are replaced, then the searches/s with and without replacement of connections, and the
/// memory of backends that are not replaced.
pub(super) async fn run(postgres: &Postgres) -> anyhow::Result<()> {
    let replaced = Server::start(postgres, "warn,pgfox_server=info").await?;
    fill(replaced.client()?).await?;
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        search_at_random(&replaced.client()?, &mut random).await?;
    }
    println!("largest private memory of a backend: {} MB", postgres.largest_backend()? >> 20);
    let kept = Server::start_with(postgres, &["--pool-max-collections", "1000000"]).await?;
    let clients = [replaced.client()?, kept.client()?];
    println!("{COLLECTIONS} collections at random, {ROUNDS} rounds of {TURN:?}, searches/s");
    println!("{:>10} {:>10} {:>8}", "replaced", "kept", "ratio");
    let mut ratios = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let mut rates = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            rates[side] = search_at_random(&clients[side], &mut random).await?;
        }
        if round > 0 {
            println!("{:>10.0} {:>10.0} {:>8.3}", rates[0], rates[1], rates[0] / rates[1]);
            ratios.push(rates[0] / rates[1]);
        }
    }
    println!("median of the ratios: {:.3}", median(&ratios));
    println!("largest private memory of a backend: {} MB", postgres.largest_backend()? >> 20);
    replaced.stop().await?;
    kept.stop().await
}

async fn fill(mut client: Client) -> anyhow::Result<()> {
    let mut random = Random::new();
    for number in 0..COLLECTIONS {
        let embedding = Some(v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() });
        let collection = v1::Collection { name: name(number), embedding, ..Default::default() };
        client
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await?;
        let documents = (0..DOCUMENTS).map(|number| plain_document(&mut random, number)).collect();
        client.ingest(v1::IngestRequest { collection: name(number), documents, ..Default::default() }).await?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("bench_{number}")
}

/// Eight callers, each in collections of its own choice.
async fn search_at_random(client: &Client, random: &mut Random) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (mut client, vector) = (client.clone(), random.vector(DIMENSIONS));
        let mut collections = random.below(COLLECTIONS);
        callers.spawn(async move {
            let mut searches = 0;
            while began.elapsed() < TURN {
                let query = Query::Vector(v1::Vector { values: vector.clone() });
                let collection = name(collections.next().context("there is always another")?);
                let request = v1::SearchRequest { collection, query: Some(query), limit: 5, ..Default::default() };
                client.search(request).await?;
                searches += 1;
            }
            anyhow::Ok(searches)
        });
    }
    let mut searches = 0;
    while let Some(ended) = callers.join_next().await {
        searches += ended??;
    }
    Ok(f64::from(searches) / began.elapsed().as_secs_f64())
}
