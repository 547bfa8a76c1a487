//! Searches with filters by declared fields against those without: how much slower they are, and how much of the exact
//! result they find. The filters match every so many documents wherever they lie, or the clusters near to the query, or
//! those far from it.

use std::ops::Range;

use pgfox::v1::{Filter, condition::Test, filter::Node};
use prost_types::{Struct, Value, value::Kind};

use super::{
    clusters::{CLUSTERS, Clusters},
    filtered::{MIN_RECALL, Measured, QUERIES, measure_filters, percentile, request},
    *,
};

/// How many search at once, after one alone.
const CALLERS: [usize; 2] = [8, 32];

/// What a search is filtered by, and how many times slower its p95 may be than that of pgbench without a filter.
enum Kinds {
    Unfiltered,
    /// One of so many documents.
    OneOf(usize, f64),
    /// So many clusters, from that of the query on.
    Near(usize, f64),
    /// So many clusters, none of them near.
    Far(usize, f64),
}

const KINDS: [(&str, Kinds); 10] = [
    ("no filter", Kinds::Unfiltered),
    ("50 %", Kinds::OneOf(2, 4.0)),
    ("10 %", Kinds::OneOf(10, 7.0)),
    ("1 %", Kinds::OneOf(100, 1.5)),
    ("0.1 %", Kinds::OneOf(1_000, 1.5)),
    ("50 %, near", Kinds::Near(CLUSTERS / 2, 4.0)),
    ("50 %, far", Kinds::Far(CLUSTERS / 2, 4.0)),
    ("10 %, near", Kinds::Near(CLUSTERS / 10, 7.0)),
    ("10 %, far", Kinds::Far(CLUSTERS / 10, 7.0)),
    ("1 %, far", Kinds::Far(CLUSTERS / 100, 1.5)),
];

impl Kinds {
    fn most(&self) -> f64 {
        match *self {
            Self::Unfiltered => f64::INFINITY,
            Self::OneOf(_, most) | Self::Near(_, most) | Self::Far(_, most) => most,
        }
    }

    fn filter(&self, query: usize) -> Option<Filter> {
        let cluster = query % CLUSTERS;
        match *self {
            Self::Unfiltered => None,
            Self::OneOf(share, _) => {
                let first = query % share * (1_000 / share);
                Some(range("thousandth", first..first + 1_000 / share))
            }
            Self::Near(count, _) => Some(clusters(cluster, count)),
            // At most half of them, so that of the query is none of them.
            Self::Far(count, _) => Some(clusters((cluster + CLUSTERS / 2) % CLUSTERS, count)),
        }
    }
}

/// So many clusters: from this one on, or the last.
fn clusters(first: usize, count: usize) -> Filter {
    let first = first.min(CLUSTERS - count);
    range("cluster", first..first + count)
}

fn range(field: &str, range: Range<usize>) -> Filter {
    let number = |number: usize| Value { kind: Some(Kind::NumberValue(number as f64)) };
    let test = |test| Filter {
        node: Some(Node::Condition(v1::Condition { field: field.into(), test: Some(test), ignore_case: false })),
    };
    if range.len() == 1 {
        return test(Test::Equals(number(range.start)));
    }
    let filters = vec![test(Test::AtLeast(number(range.start))), test(Test::LessThan(number(range.end)))];
    Filter { node: Some(Node::AllOf(v1::FilterList { filters })) }
}

/// Prints the table, and fails when a limit is not kept.
pub(super) async fn run(postgres: &Postgres, count: usize) -> anyhow::Result<()> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let mut client = server.client()?;
    let mut random = Random::new();
    let clusters = Clusters::new(&mut random);
    let document = |number: usize| {
        // Evenly spread over all documents and clusters, by Knuth's multiplicative hash.
        let thousandth = ((number as u32).wrapping_mul(2_654_435_761) as usize * 1_000) >> 32;
        let fields = [("thousandth", thousandth), ("cluster", number % CLUSTERS)];
        let fields = fields.map(|(key, value)| (key.to_owned(), Value { kind: Some(Kind::NumberValue(value as f64)) }));
        v1::Document {
            id: format!("document-{number}"),
            text: format!("The text of document {number}."),
            vector: Some(v1::Vector { values: clusters.vector(&mut random, number % CLUSTERS) }),
            metadata: Some(Struct { fields: fields.into_iter().collect() }),
            ..Default::default()
        }
    };
    let index = |field: &str| v1::MetadataIndex { field: field.into(), r#type: v1::MetadataIndexType::Number.into() };
    let began = Instant::now();
    let declared = vec![index("thousandth"), index("cluster")];
    store(&mut client, count, v1::Distance::Cosine, declared, document).await?;
    println!("stored {count} documents in {:.0?}", began.elapsed());
    let began = Instant::now();
    build_index(&mut client, COLLECTION).await?;
    println!("built the vector index in {:.0?}", began.elapsed());
    let began = Instant::now();
    await_codes(postgres).await?;
    println!("made the codes in {:.0?} more", began.elapsed());
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|number| clusters.vector(&mut random, number % CLUSTERS)).collect();

    let kinds: Vec<_> = KINDS.iter().map(|(_, kind)| move |number| kind.filter(number)).collect();
    let mut measured = measure_filters(&mut client, &queries, &kinds).await?;
    let statement = Statement::capture(postgres, client.clone(), &queries[0]).await?;
    let (_, mut theirs) = statement.pgbench_with(postgres, &queries, TURN, 1).await?;
    let pgbench = percentile(&mut theirs, 0.95);

    println!("{count} vectors of {DIMENSIONS} in {CLUSTERS} clusters, HNSW, the {LIMIT} nearest, one at a time");
    println!("{:>12} {:>8} {:>8} {:>10} {:>8}   times the p95 of", "filter", "p50 ms", "p95 ms", "recall", "pgbench");
    let mut kept = true;
    for ((name, kind), Measured { times, recall }) in KINDS.iter().zip(&mut measured) {
        let (p50, p95) = (percentile(times, 0.5), percentile(times, 0.95));
        println!("{name:>12} {p50:>8.2} {p95:>8.2} {recall:>10.3} {:>8.2}", p95 / pgbench);
        kept &= *recall >= MIN_RECALL && p95 <= kind.most() * pgbench;
    }
    println!("pgbench without a filter: p50 {:.2} ms, p95 {pgbench:.2} ms", percentile(&mut theirs, 0.5));

    println!("{:>12} {:>8} {:>10} {:>8} {:>8} {:>8}", "filter", "callers", "queries/s", "p50 ms", "p95 ms", "p99 ms");
    for callers in CALLERS {
        for (name, kind) in &KINDS {
            let (rate, times) = search_at_once(&client, &queries, kind, callers).await?;
            row(name, callers, rate, times);
        }
        let (rate, times) = statement.pgbench_with(postgres, &queries, TURN, callers).await?;
        row("by pgbench", callers, rate, times);
    }
    server.stop().await?;
    ensure!(kept, "a recall is below {MIN_RECALL}, or a filter is slower than it may be");
    Ok(())
}

fn row(name: &str, callers: usize, rate: f64, mut times: Vec<f64>) {
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| percentile(&mut times, share));
    println!("{name:>12} {callers:>8} {rate:>10.0} {p50:>8.2} {p95:>8.2} {p99:>8.2}");
}

/// Each of so many callers searches for all queries. Returns the queries per second, and the times in milliseconds.
async fn search_at_once(
    client: &Client,
    queries: &[Vec<f32>],
    kind: &Kinds,
    callers: usize,
) -> anyhow::Result<(f64, Vec<f64>)> {
    let began = Instant::now();
    let calls = (0..callers).map(|caller| {
        let mut client = client.clone();
        async move {
            let mut times = Vec::new();
            for number in (0..queries.len()).map(|number| (number + caller) % queries.len()) {
                let began = Instant::now();
                client.search(request(&queries[number], kind.filter(number), false)).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        }
    });
    let times = futures_util::future::try_join_all(calls).await?.concat();
    Ok((times.len() as f64 / began.elapsed().as_secs_f64(), times))
}

/// Waits until searches use codes; prints what they take.
async fn await_codes(postgres: &Postgres) -> anyhow::Result<()> {
    let sql = postgres.connect().await?;
    loop {
        let ready = sql
            .query_opt(
                "SELECT candidates, slack, share, pg_size_pretty(pg_relation_size(t)), pg_size_pretty(pg_indexes_size(t)),
                        pg_size_pretty(pg_relation_size(e))
                 FROM pgfox_internal.codes k JOIN pgfox_internal.embedding_spaces s ON s.id = k.space_id
                 CROSS JOIN to_regclass(format('pgfox_internal.codes_%s_%s', s.collection_id, k.id)) t
                 CROSS JOIN to_regclass(format('pgfox_internal.embeddings_%s_%s', s.collection_id, s.id)) e
                 WHERE k.state = 'ready'",
                &[],
            )
            .await?;
        if let Some(row) = ready {
            println!(
                "{} candidates are compared, with a slack of {:.3} and {:.2} of the codes read; the codes take {}, their \
                 indexes {}, the vectors {}",
                row.get::<_, i32>(0),
                row.get::<_, f64>(1),
                row.get::<_, f64>(2),
                row.get::<_, &str>(3),
                row.get::<_, &str>(4),
                row.get::<_, &str>(5)
            );
            return Ok(());
        }
        let failed = sql.query_opt("SELECT error FROM pgfox_internal.codes WHERE state = 'failed'", &[]).await?;
        if let Some(row) = failed {
            anyhow::bail!("no codes could be made: {}", row.get::<_, &str>(0));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
