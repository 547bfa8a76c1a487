//! Compares the settings of the embedded default with the defaults of Postgres, whose buffers are smaller than the vectors.

use super::*;

const DOCUMENTS: usize = 100_000;
const ROUNDS: usize = 4;
/// Before a measurement, to fill the buffers after a start.
const WARM_UP: Duration = Duration::from_secs(10);

/// What initdb writes and Postgres has built in, for all that the embedded default changes.
const DEFAULTS: [(&str, &str); 8] = [
    ("shared_buffers", "128MB"),
    ("effective_cache_size", "4GB"),
    ("work_mem", "4MB"),
    ("maintenance_work_mem", "64MB"),
    ("autovacuum_work_mem", "-1"),
    ("max_wal_size", "1GB"),
    ("random_page_cost", "4"),
    ("jit", "on"),
];

/// Prints the table.
pub(super) async fn run(mut postgres: Postgres) -> anyhow::Result<()> {
    let server = Server::start(&postgres, "warn,pgfox_server=info").await?;
    let mut random = Random::new();
    fill(server.client()?, DOCUMENTS, |number| plain_document(&mut random, number)).await?;
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| random.vector(DIMENSIONS)).collect();
    let statement = Statement::capture(&postgres, server.client()?, &queries[0]).await?;
    server.stop().await?;

    println!(
        "{DOCUMENTS} vectors of {DIMENSIONS}, HNSW, the {LIMIT} nearest, {CONCURRENCY} at a time by pgbench, queries/s"
    );
    println!("{:>10} {:>10} {:>8}", "sized", "defaults", "ratio");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for settings in [&[][..], &DEFAULTS] {
            postgres = postgres.restart(settings).await?;
            statement.pgbench(&postgres, &queries, WARM_UP).await?;
            rates.push(statement.pgbench(&postgres, &queries, TURN).await?);
        }
        println!("{:>10.0} {:>10.0} {:>8.2}", rates[0], rates[1], rates[0] / rates[1]);
        ratios.push(rates[0] / rates[1]);
    }
    println!("median of the ratios: {:.2}", median(&ratios));
    postgres.stop().await;
    Ok(())
}
