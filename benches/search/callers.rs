//! Far more callers than can be served: those that are admitted must be answered soon, the others refused at once, and
//! calls that search nothing must not notice.

use std::time::{Duration, Instant};

use anyhow::ensure;
use pgfox::v1;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{COLLECTION, Client, DIMENSIONS, LIMIT, QUERIES, plain_document, store};
use crate::setup::{Postgres, Random, Server};

/// Compared one by one by each search, since there is no index.
const DOCUMENTS: usize = 20_000;
const CONNECTIONS: usize = 20;
const TURN: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the other call is made.
const OTHER_EVERY: Duration = Duration::from_millis(50);
/// The time in which callers begin.
const SPREAD: Duration = Duration::from_secs(1);
/// What a caller waits for after an error that names no time.
const RETRY: Duration = Duration::from_secs(1);

/// How long an admitted search, and a refusal, may take at the 99th percentile.
const MAX_ADMITTED: Duration = Duration::from_secs(2);
const MAX_REFUSED: Duration = Duration::from_millis(50);

/// How long calls took.
#[derive(Default)]
struct Times {
    admitted: Vec<Duration>,
    refused: Vec<Duration>,
    /// Refused without a time to try again.
    without_retry: usize,
    failed: Vec<Status>,
}

/// Prints the table, and fails when a limit is not kept.
pub(super) async fn run(postgres: &Postgres, callers: usize) -> anyhow::Result<()> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let mut client = server.client()?;
    let mut random = Random::new();
    store(&mut client, DOCUMENTS, v1::Distance::L2, Vec::new(), |number| plain_document(&mut random, number)).await?;
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|_| random.vector(DIMENSIONS)).collect();
    let began = Instant::now();
    for query in &queries {
        search(&mut client, query).await?;
    }
    let alone = began.elapsed() / QUERIES as u32;
    let until = Instant::now() + Duration::from_secs(1);
    let (_, idle) = tokio::join!(tokio::time::sleep_until(until.into()), others(client.clone(), until));

    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.client()?);
    }
    let until = Instant::now() + TURN;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (client, query) = (connections[caller % CONNECTIONS].clone(), queries[caller % QUERIES].clone());
        tasks.spawn(call(client, query, until));
    }
    let busy = others(client, until).await?;
    let mut all = Times::default();
    while let Some(times) = tasks.join_next().await {
        let times = times?;
        all.admitted.extend(times.admitted);
        all.refused.extend(times.refused);
        all.failed.extend(times.failed);
        all.without_retry += times.without_retry;
    }

    println!(
        "{callers} callers on {CONNECTIONS} connections for {TURN:?}; a search of {DOCUMENTS} vectors alone takes {alone:.1?}"
    );
    println!("{:>25} {:>8} {:>9} {:>9} {:>9}", "", "calls", "p50 ms", "p99 ms", "max ms");
    let admitted = row("admitted", all.admitted);
    let refused = row("refused", all.refused);
    row("GetCollection, idle", idle?);
    row("GetCollection, meanwhile", busy);
    if let Some(status) = all.failed.first() {
        println!("{} failed otherwise, such as {:?}: {}", all.failed.len(), status.code(), status.message());
    }
    server.stop().await?;
    ensure!(all.failed.is_empty(), "calls failed otherwise than by being refused");
    ensure!(all.without_retry == 0, "{} refusals named no time to try again", all.without_retry);
    ensure!(admitted <= MAX_ADMITTED, "p99 of admitted searches is above {MAX_ADMITTED:?}");
    ensure!(refused <= MAX_REFUSED, "p99 of refusals is above {MAX_REFUSED:?}");
    Ok(())
}

/// Prints percentiles; returns the 99th.
fn row(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    let [p50, p99, max] = [50, 99, 100].map(|share| at(share).unwrap_or_default());
    let [a, b, c] = [p50, p99, max].map(|time| time.as_secs_f64() * 1e3);
    println!("{name:>25} {:>8} {a:>9.1} {b:>9.1} {c:>9.1}", times.len());
    p99
}

async fn search(client: &mut Client, query: &[f32]) -> Result<v1::SearchResponse, Status> {
    let query = v1::search_request::Query::Vector(v1::Vector { values: query.to_vec() });
    let mut request = Request::new(v1::SearchRequest {
        collection: COLLECTION.into(),
        query: Some(query),
        limit: LIMIT,
        ..Default::default()
    });
    request.set_timeout(DEADLINE);
    Ok(client.search(request).await?.into_inner())
}

/// One caller, which waits as it is asked to.
async fn call(mut client: Client, query: Vec<f32>, until: Instant) -> Times {
    let mut times = Times::default();
    tokio::time::sleep(SPREAD.mul_f64(rand::random_range(0.0..1.0))).await;
    while Instant::now() < until {
        let began = Instant::now();
        let Err(status) = search(&mut client, &query).await else {
            times.admitted.push(began.elapsed());
            continue;
        };
        let took = began.elapsed();
        let retry = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        if status.code() == Code::ResourceExhausted {
            times.refused.push(took);
            times.without_retry += usize::from(retry.is_none());
        } else {
            times.failed.push(status);
        }
        // Not all at the same time again.
        tokio::time::sleep(retry.unwrap_or(RETRY).mul_f64(rand::random_range(1.0..1.5))).await;
    }
    times
}

/// Calls that search nothing, one at a time.
async fn others(mut client: Client, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        client.get_collection(v1::GetCollectionRequest { name: COLLECTION.into() }).await?;
        times.push(began.elapsed());
        tokio::time::sleep(OTHER_EVERY).await;
    }
    Ok(times)
}
