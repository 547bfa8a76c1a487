//! Filtered searches against unfiltered ones: how much slower they are, and how much of the exact result they find.

use pgfox::v1::{Filter, condition::Test, filter::Node};
use prost_types::{Struct, Value, value::Kind};

use super::{
    clusters::{CLUSTERS, Clusters},
    *,
};

const DOCUMENTS: usize = 100_000;
/// Different queries of each kind.
pub(super) const QUERIES: usize = 50;
const ROUNDS: usize = 5;

/// The slowdown of p95 by a filter that 1 % of the documents match, which a change may not exceed.
const MAX_SLOWDOWN: f64 = 3.0;
/// The share of the exact result that every search must find.
pub(super) const MIN_RECALL: f64 = 0.95;

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
    let clusters = Clusters::new(&mut random);
    let document = |number: usize| {
        let fields = [2, 10, 100, 1_000].map(|share| (format!("of_{share}"), number / CLUSTERS % share));
        let fields = fields.into_iter().chain([("cluster".to_owned(), number % CLUSTERS)]);
        let fields = fields.map(|(key, value)| (key, Value { kind: Some(Kind::NumberValue(value as f64)) }));
        v1::Document {
            id: format!("document-{number}"),
            text: format!("The text of document {number}."),
            vector: Some(v1::Vector { values: clusters.vector(&mut random, number % CLUSTERS) }),
            metadata: Some(Struct { fields: fields.collect() }),
            ..Default::default()
        }
    };
    fill(client.clone(), DOCUMENTS, document).await?;
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(|number| clusters.vector(&mut random, number % CLUSTERS)).collect();

    let kinds = KINDS.map(|(_, kind)| move |number| kind.filter(number));
    let mut measured = measure_filters(&mut client, &queries, &kinds).await?;
    println!("{DOCUMENTS} vectors of {DIMENSIONS} in {CLUSTERS} clusters, HNSW, the {LIMIT} nearest, one at a time");
    println!("{:>12} {:>8} {:>8} {:>8} {:>10}", "filter", "p50 ms", "p95 ms", "slower", "recall");
    let unfiltered = percentile(&mut measured[0].times, 0.95);
    let mut kept = true;
    for ((name, kind), Measured { times, recall }) in KINDS.iter().zip(&mut measured) {
        let (p50, p95) = (percentile(times, 0.5), percentile(times, 0.95));
        let slowdown = p95 / unfiltered;
        println!("{name:>12} {p50:>8.2} {p95:>8.2} {slowdown:>8.2} {recall:>10.3}");
        kept &= *recall >= MIN_RECALL && (*kind != Kinds::OneOf(100) || slowdown <= MAX_SLOWDOWN);
    }
    server.stop().await?;
    ensure!(kept, "the recall is below {MIN_RECALL}, or 1 % is more than {MAX_SLOWDOWN} times slower than no filter");
    Ok(())
}

/// What searches with one kind of filter took, in milliseconds, and the part of the nearest that they found.
pub(super) struct Measured {
    pub(super) times: Vec<f64>,
    pub(super) recall: f64,
}

/// Searches with each kind of filter in turns. A kind makes the filter of a query from its number. The first round warms up,
/// and measures recall.
pub(super) async fn measure_filters(
    client: &mut Client,
    queries: &[Vec<f32>],
    kinds: &[impl Fn(usize) -> Option<Filter>],
) -> anyhow::Result<Vec<Measured>> {
    let mut times = vec![Vec::new(); kinds.len()];
    let (mut found, mut wanted) = (vec![0; kinds.len()], vec![0; kinds.len()]);
    for round in 0..=ROUNDS {
        for (position, kind) in kinds.iter().enumerate() {
            for (number, query) in queries.iter().enumerate() {
                let request = request(query, kind(number), false);
                let began = Instant::now();
                let response = client.search(request).await?.into_inner();
                if round > 0 {
                    times[position].push(began.elapsed().as_secs_f64() * 1e3);
                    continue;
                }
                let exact = client.search(self::request(query, kind(number), true)).await?.into_inner();
                ensure!(response.results.len() == exact.results.len(), "a search found too few");
                let exact: Vec<&str> = ids(&exact).collect();
                wanted[position] += exact.len();
                found[position] += ids(&response).filter(|id| exact.contains(id)).count();
            }
        }
    }
    let recalls =
        found.into_iter().zip(wanted).map(|(found, wanted)| f64::from(found as u32) / f64::from(wanted as u32));
    Ok(times.into_iter().zip(recalls).map(|(times, recall)| Measured { times, recall }).collect())
}

pub(super) fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
}

pub(super) fn request(query: &[f32], filter: Option<Filter>, exact: bool) -> v1::SearchRequest {
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

pub(super) fn ids(response: &v1::SearchResponse) -> impl Iterator<Item = &str> {
    response.results.iter().filter_map(|result| Some(result.document.as_ref()?.id.as_str()))
}
