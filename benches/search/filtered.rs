//! Filtered searches against unfiltered ones: how much slower they are, and how much of the exact result they find.

use pgfox::v1::{Filter, condition::Test, filter::Node};
use prost_types::{Struct, Value, value::Kind};

use super::*;

const DOCUMENTS: usize = 100_000;
/// Vectors lie in clusters and differ in fewer ways than they have dimensions, as those of texts do; random ones are all
/// about equally far from each other.
const CLUSTERS: usize = 200;
const WAYS: usize = 24;
const SPREAD: f32 = 0.8;
/// Different queries of each kind.
const QUERIES: usize = 50;
const ROUNDS: usize = 5;

/// The slowdown of p95 by a filter that 1 % of the documents match, which a change may not exceed.
const MAX_SLOWDOWN: f64 = 3.0;
/// The share of the exact result that every search must find.
const MIN_RECALL: f64 = 0.95;

/// What a search is filtered by.
#[derive(Clone, Copy, PartialEq)]
enum Kinds {
    Unfiltered,
    /// One of so many documents, in every cluster alike.
    OneOf(usize),
    /// The cluster that the query lies in.
    Near,
    /// A cluster far from the query.
    Far,
}

const KINDS: [(&str, Kinds); 7] = [
    ("no filter", Kinds::Unfiltered),
    ("50 %", Kinds::OneOf(2)),
    ("10 %", Kinds::OneOf(10)),
    ("1 %", Kinds::OneOf(100)),
    ("0.1 %", Kinds::OneOf(1_000)),
    ("0.5 %, near", Kinds::Near),
    ("0.5 %, far", Kinds::Far),
];

impl Kinds {
    fn filter(self, query: usize) -> Option<Filter> {
        let (field, value) = match self {
            Self::Unfiltered => return None,
            Self::OneOf(share) => (format!("of_{share}"), query % share),
            Self::Near => ("cluster".into(), query % CLUSTERS),
            Self::Far => ("cluster".into(), (query + CLUSTERS / 2) % CLUSTERS),
        };
        let value = Value { kind: Some(Kind::NumberValue(value as f64)) };
        Some(Filter {
            node: Some(Node::Condition(v1::Condition { field, test: Some(Test::Equals(value)), ignore_case: false })),
        })
    }
}

/// Prints the table, and fails when a limit is not kept.
pub(super) async fn run(postgres: &Postgres) -> anyhow::Result<()> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let mut client = server.client()?;
    let mut random = Random::new();
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| random.vector(WAYS)).collect();
    let directions: Vec<Vec<f32>> = (0..WAYS).map(|_| random.vector(DIMENSIONS)).collect();
    let in_cluster = |random: &mut Random, cluster: usize| -> Vec<f32> {
        let mut values = vec![0.0; DIMENSIONS];
        for ((centre, noise), direction) in centres[cluster].iter().zip(random.vector(WAYS)).zip(&directions) {
            let length = centre + SPREAD * noise;
            values.iter_mut().zip(direction).for_each(|(value, part)| *value += length * part);
        }
        values
    };
    let document = |number: usize| {
        let fields = [2, 10, 100, 1_000].map(|share| (format!("of_{share}"), number / CLUSTERS % share));
        let fields = fields.into_iter().chain([("cluster".to_owned(), number % CLUSTERS)]);
        let fields = fields.map(|(key, value)| (key, Value { kind: Some(Kind::NumberValue(value as f64)) }));
        v1::Document {
            id: format!("document-{number}"),
            text: format!("The text of document {number}."),
            vector: Some(v1::Vector { values: in_cluster(&mut random, number % CLUSTERS) }),
            metadata: Some(Struct { fields: fields.collect() }),
            ..Default::default()
        }
    };
    fill(client.clone(), DOCUMENTS, document).await?;
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|number| in_cluster(&mut random, number % CLUSTERS)).collect();

    let mut times = vec![Vec::new(); KINDS.len()];
    let mut found = [0; KINDS.len()];
    for round in 0..=ROUNDS {
        for (position, (_, kind)) in KINDS.iter().enumerate() {
            for (number, query) in queries.iter().enumerate() {
                let request = request(query, kind.filter(number), false);
                let began = Instant::now();
                let response = client.search(request).await?.into_inner();
                // The first round warms up, and measures recall.
                if round > 0 {
                    times[position].push(began.elapsed().as_secs_f64() * 1e3);
                    continue;
                }
                let exact = self::request(query, kind.filter(number), true);
                let exact = client.search(exact).await?.into_inner();
                ensure!(response.results.len() == exact.results.len(), "a search found too few");
                let ids: Vec<&str> = ids(&exact).collect();
                found[position] += self::ids(&response).filter(|id| ids.contains(id)).count();
            }
        }
    }
    println!("{DOCUMENTS} vectors of {DIMENSIONS} in {CLUSTERS} clusters, HNSW, the {LIMIT} nearest, one at a time");
    println!("{:>12} {:>8} {:>8} {:>8} {:>10}", "filter", "p50 ms", "p95 ms", "slower", "recall");
    let percentile = |times: &mut Vec<f64>, share: f64| {
        times.sort_by(f64::total_cmp);
        times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
    };
    let unfiltered = percentile(&mut times[0], 0.95);
    let mut kept = true;
    for (((name, kind), times), found) in KINDS.iter().zip(&mut times).zip(found) {
        let (p50, p95) = (percentile(times, 0.5), percentile(times, 0.95));
        let (slowdown, recall) = (p95 / unfiltered, found as f64 / (QUERIES * LIMIT as usize) as f64);
        println!("{name:>12} {p50:>8.2} {p95:>8.2} {slowdown:>8.2} {recall:>10.3}");
        kept &= recall >= MIN_RECALL && (*kind != Kinds::OneOf(100) || slowdown <= MAX_SLOWDOWN);
    }
    server.stop().await?;
    ensure!(kept, "the recall is below {MIN_RECALL}, or 1 % is more than {MAX_SLOWDOWN} times slower than no filter");
    Ok(())
}

fn request(query: &[f32], filter: Option<Filter>, exact: bool) -> v1::SearchRequest {
    let query = v1::search_request::Query::Vector(v1::Vector { values: query.to_vec() });
    v1::SearchRequest {
        collection: COLLECTION.into(),
        query: Some(query),
        limit: LIMIT,
        filter,
        params: Some(v1::SearchParams { exact, ..Default::default() }),
        ..Default::default()
    }
}

fn ids(response: &v1::SearchResponse) -> impl Iterator<Item = &str> {
    response.results.iter().filter_map(|result| Some(result.document.as_ref()?.id.as_str()))
}
