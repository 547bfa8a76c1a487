//! Two builds of the server in turns, over the same Postgres, each with a schema of its own.

use std::{path::Path, sync::Arc};

use super::{CONCURRENCY, DIMENSIONS, DOCUMENTS, QUERIES, TURN, fill, plain_document, search_for};
use crate::setup::{Postgres, Random, Server, median};

/// Turns of each build. The order within a round alternates, since the machine may be shared.
const ROUNDS: usize = 20;

/// Prints the queries/s of this build and of the one at `other`, and the median of their ratios.
pub(super) async fn run(postgres: &Postgres, other: &Path) -> anyhow::Result<()> {
    let own = Server::start(postgres, "warn,pgfox_server=info").await?;
    let other = Server::start_other(postgres, other, "other").await?;
    let servers = [&own, &other];
    for server in servers {
        let mut random = Random::new();
        fill(server.client()?, DOCUMENTS, |number| plain_document(&mut random, number)).await?;
    }
    let mut random = Random::new();
    let queries: Arc<Vec<Vec<f32>>> = Arc::new((0..QUERIES).map(|_| random.vector(DIMENSIONS)).collect());
    let clients = [own.client()?, other.client()?];

    println!(
        "{DOCUMENTS} vectors of {DIMENSIONS}, HNSW, {CONCURRENCY} at a time, {ROUNDS} rounds of {TURN:?}, queries/s"
    );
    println!(
        "{:>8} {:>8} {:>8}   processor time of the server and of Postgres per query in us",
        "own", "other", "ratio"
    );
    let mut ratios = Vec::new();
    let mut spent = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        let mut rates = [0.0; 2];
        let mut times = [[0.0; 2]; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let before = [servers[side].processor_time(), postgres.processor_time()];
            let (searches, elapsed) = search_for(&clients[side], super::COLLECTION, &queries, TURN).await?;
            let after = [servers[side].processor_time(), postgres.processor_time()];
            rates[side] = searches as f64 / elapsed.as_secs_f64();
            for (time, (before, after)) in times[side].iter_mut().zip(before.iter().zip(after)) {
                *time = (after - *before).as_secs_f64() * 1e6 / searches as f64;
            }
        }
        if round > 0 {
            let [own, other] = times.map(|[server, postgres]| format!("{server:.0} {postgres:.0}"));
            println!("{:>8.0} {:>8.0} {:>8.3}   {own}; {other}", rates[0], rates[1], rates[0] / rates[1]);
            ratios.push(rates[0] / rates[1]);
            spent.push(times.map(|times| times.iter().sum::<f64>()));
        }
    }
    let [own_time, other_time] = [0, 1].map(|side| median(&spent.iter().map(|spent| spent[side]).collect::<Vec<_>>()));
    println!("median of the ratios: {:.3}; of processor time {:.3}", median(&ratios), other_time / own_time);
    own.stop().await?;
    other.stop().await
}
