//! Searches with a filter return as many results as requested, and the right ones, whatever share of the documents
//! matches.

use pgfox::v1::{self, Completeness, Distance, ShortReason, condition::Test, index_spec::Kind};
use prost_types::Value;
use rstest::rstest;
use serde_json::json;

use crate::{
    calls::{about, build_index, ids, ingest, invalid, near, refusal, search, similar},
    metadata::{all_of, any_of, equals, field, none_of, object, value},
    support::{Client, Server, text_document, texts, vector_document, vectors},
};

const DIMENSIONS: usize = 32;
const CLUSTERS: usize = 50;
const POINTS: usize = 20_000;

/// The same random numbers from 0 to 1 in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// Points around centres, like the vectors of texts about several topics.
struct Point {
    values: Vec<f32>,
    cluster: usize,
    /// The document is among the first `share` of 1,000.
    share: u32,
}

fn points(count: usize) -> Vec<Point> {
    let mut numbers = Numbers(42);
    let centres: Vec<Vec<f32>> =
        (0..CLUSTERS).map(|_| (0..DIMENSIONS).map(|_| numbers.next() * 4.0).collect()).collect();
    let point = |i: usize| {
        let cluster = i % CLUSTERS;
        let values = centres[cluster].iter().map(|x| x + numbers.next() * 3.0 - 1.5).collect();
        Point { values, cluster, share: (numbers.next() * 1_000.0) as u32 }
    };
    (0..count).map(point).collect()
}

async fn load(client: &mut Client, points: &[Point]) {
    client.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    for (i, part) in points.chunks(1_000).enumerate() {
        let document = |(j, point): (usize, &Point)| {
            let flag = |below| u8::from(point.share < below);
            let metadata = object(&json!({
                "cluster": point.cluster,
                "share": point.share,
                "half": flag(500),
                "tenth": flag(100),
                "hundredth": flag(10),
                "thousandth": flag(1),
            }));
            v1::Document { metadata: Some(metadata), ..vector_document(&(i * 1_000 + j).to_string(), &point.values) }
        };
        ingest(client, "c", part.iter().enumerate().map(document).collect()).await;
    }
}

fn l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// A query from a cluster, and its distances to all points.
struct Query {
    cluster: usize,
    values: Vec<f32>,
    distances: Vec<f64>,
}

fn queries(points: &[Point]) -> Vec<Query> {
    let mut numbers = Numbers(7);
    let query = |cluster: usize| {
        let values: Vec<f32> = points[cluster].values.iter().map(|x| x + numbers.next() - 0.5).collect();
        let distances = points.iter().map(|point| l2(&point.values, &values)).collect();
        Query { cluster, values, distances }
    };
    (0..CLUSTERS).step_by(3).map(query).collect()
}

/// The mean share of the true nearest ten among the results.
async fn recall(
    client: &mut Client,
    queries: &[Query],
    what: &str,
    filter: impl Fn(usize) -> (v1::Filter, Vec<usize>),
) {
    const LIMIT: usize = 10;
    let mut sum = 0.0;
    for query in queries {
        let (filter, matching) = filter(query.cluster);
        let request = v1::SearchRequest { filter: Some(filter), ..near("c", &query.values, LIMIT as i32) };
        let response = search(client, request).await;
        let wanted = LIMIT.min(matching.len());
        assert_eq!(response.results.len(), wanted, "{what}: {} match", matching.len());
        let reason = if wanted < LIMIT { ShortReason::FewMatches } else { ShortReason::Unspecified };
        assert_eq!(response.short_reason(), reason, "{what}");
        let mut truth: Vec<f64> = matching.iter().map(|i| query.distances[*i]).collect();
        truth.sort_by(f64::total_cmp);
        let found: Vec<usize> = ids(&response).iter().map(|id| id.parse().unwrap()).collect();
        assert!(found.iter().all(|id| matching.contains(id)), "{what}: only what matches");
        let near = found.iter().filter(|id| query.distances[**id] <= truth[wanted - 1] + 1e-4).count();
        if response.completeness() == Completeness::Exact {
            assert_eq!(near, wanted, "{what}: exact is exact");
        }
        sum += near as f64 / wanted as f64;
    }
    let recall = sum / queries.len() as f64;
    assert!(recall >= 0.95, "{what}: {recall}");
}

async fn finds_what_matches(client: &mut Client, points: &[Point]) {
    let queries = queries(points);
    let with = |matches: &dyn Fn(&Point) -> bool| -> Vec<usize> {
        (0..points.len()).filter(|i| matches(&points[*i])).collect()
    };
    for (name, below) in [("half", 500), ("tenth", 100), ("hundredth", 10), ("thousandth", 1)] {
        let matching = with(&|point| point.share < below);
        recall(client, &queries, name, |_| (equals(name, &json!(1)), matching.clone())).await;
    }
    // With comparisons, which no index serves.
    for below in [500, 10] {
        let less = || field("share", Test::LessThan(value(&json!(below))));
        let matching = with(&|point| point.share < below);
        recall(client, &queries, &format!("below {below}"), |_| (less(), matching.clone())).await;
    }
    let near_and_far = [
        ("the cluster of the query", (|cluster, point| point == cluster) as fn(usize, usize) -> bool),
        ("another cluster", |cluster, point| point == (cluster + 25) % CLUSTERS),
        ("all other clusters", |cluster, point| point != cluster),
        ("half of the clusters, not that of the query", |cluster, point| {
            (1..=25).contains(&((point + 50 - cluster) % 50))
        }),
    ];
    for (what, matches) in near_and_far {
        let filter = |cluster: usize| {
            let clusters = (0..CLUSTERS).filter(|point| matches(cluster, *point));
            let values = clusters.map(|cluster| value(&json!(cluster))).collect();
            let filter = field("cluster", Test::OneOf(prost_types::ListValue { values }));
            (filter, with(&|point| matches(cluster, point.cluster)))
        };
        recall(client, &queries, what, filter).await;
    }
    let beside = |cluster: usize| {
        let (from, to) = if cluster < 25 { (cluster + 1, cluster + 5) } else { (cluster - 5, cluster - 1) };
        let is = |test: fn(Value) -> Test, cluster: usize| field("cluster", test(value(&json!(cluster))));
        let filter = all_of(vec![is(Test::AtLeast, from), is(Test::AtMost, to)]);
        (filter, with(&|point| (from..=to).contains(&point.cluster)))
    };
    recall(client, &queries, "a tenth of the clusters, not that of the query, compared", beside).await;
}

#[tokio::test]
async fn recall_by_hnsw() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let points = points(POINTS);
    load(&mut client, &points).await;
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    finds_what_matches(&mut client, &points).await;
}

#[tokio::test]
async fn recall_by_ivf_flat() {
    let server = Server::start(16).await;
    let mut client = server.client();
    let points = points(POINTS);
    load(&mut client, &points).await;
    build_index(&mut client, "c", Kind::IvfFlat(v1::IvfFlat { lists: 60 })).await;
    finds_what_matches(&mut client, &points).await;
}

#[rstest]
#[tokio::test]
async fn filters_distances_and_fields(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let document = |i: usize| {
        let metadata = Some(object(&json!({"n": i % 10, "a": {"b": i}, "s.t": "x"})));
        v1::Document { text: format!("text {i}"), metadata, ..vector_document(&format!("{i:03}"), &[i as f32]) }
    };
    ingest(&mut client, "c", (0..300).map(document).collect()).await;
    for indexed in [false, true] {
        if indexed {
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        // A filter, fewer matches than requested, and none at all.
        let filtered =
            |value, limit| v1::SearchRequest { filter: Some(equals("n", &json!(value))), ..near("c", &[0.2], limit) };
        let found = search(&mut client, filtered(3.0, 3)).await;
        assert_eq!((ids(&found), found.short_reason()), (vec!["003", "013", "023"], ShortReason::Unspecified));
        let found = search(&mut client, filtered(3.0, 31)).await;
        assert_eq!((found.results.len(), found.short_reason()), (30, ShortReason::FewMatches));
        assert_eq!(found.completeness(), Completeness::Exact);
        let found = search(&mut client, filtered(11.0, 5)).await;
        assert_eq!((found.results.len(), found.short_reason()), (0, ShortReason::FewMatches));
        let not = v1::SearchRequest {
            filter: Some(none_of(vec![equals("n", &json!(0)), equals("n", &json!(1))])),
            ..near("c", &[0.2], 3)
        };
        assert_eq!(ids(&search(&mut client, not).await), ["002", "003", "004"]);

        // A document is not similar to itself.
        let alike = v1::SearchRequest { filter: Some(equals("n", &json!(3))), ..similar("c", "013", 2) };
        let mut found = ids(&search(&mut client, alike).await).into_iter().map(str::to_owned).collect::<Vec<_>>();
        found.sort();
        assert_eq!(found, ["003", "023"]);

        // A maximum distance, alone and with a filter.
        let within = |most, limit| v1::SearchRequest { max_distance: Some(most), ..near("c", &[10.0], limit) };
        let found = search(&mut client, within(1.5, 10)).await;
        assert_eq!((found.results.len(), found.short_reason()), (3, ShortReason::MaxDistance));
        assert_eq!(ids(&found)[0], "010");
        let found = search(&mut client, within(1.5, 3)).await;
        assert_eq!((found.results.len(), found.short_reason()), (3, ShortReason::Unspecified));
        let found = search(&mut client, within(-1.0, 3)).await;
        assert_eq!((found.results.len(), found.short_reason()), (0, ShortReason::MaxDistance));
        let both = v1::SearchRequest { filter: Some(equals("n", &json!(1))), ..within(10.0, 10) };
        assert_eq!(ids(&search(&mut client, both).await), ["011", "001"]);

        // Fields.
        let masked = |paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            v1::SearchRequest { read_mask: Some(prost_types::FieldMask { paths }), ..near("c", &[7.0], 1) }
        };
        let document =
            async |client: &mut Client, request| search(client, request).await.results.remove(0).document.unwrap();
        let text = document(&mut client, masked(&["text"])).await;
        assert_eq!((text.id.as_str(), text.text.as_str(), text.metadata), ("007", "text 7", None));
        let nested = document(&mut client, masked(&["metadata.a.b", "metadata.\"s.t\"", "metadata.x"])).await;
        let wanted = Some(object(&json!({"a": {"b": 7}, "s.t": "x"})));
        assert_eq!((nested.text.as_str(), nested.metadata), ("", wanted));
        let vector = v1::SearchRequest { include_vector: true, ..masked(&["metadata"]) };
        let whole = document(&mut client, vector).await;
        assert_eq!((whole.text.as_str(), whole.metadata.unwrap().fields.len()), ("", 3));
        assert_eq!(whole.vector.unwrap().values, [7.0]);
    }
    let mut bad = v1::SearchRequest {
        filter: Some(any_of(vec![])),
        max_distance: Some(f32::NAN),
        read_mask: Some(prost_types::FieldMask { paths: vec!["title".into()] }),
        limit: -1,
        ..near("c", &[1.0, 2.0], 1)
    };
    bad.limit = -1;
    invalid(
        client.search(bad).await,
        &["limit", "filter.any_of.filters", "max_distance", "read_mask.paths[0]", "vector"],
    );
}

#[rstest]
#[tokio::test]
async fn examples(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("flat", 2, Distance::L2)).await.unwrap();
    client.create_collection(vectors("angles", 2, Distance::Cosine)).await.unwrap();
    let documents: Vec<_> =
        [("a", [1.0, 0.0]), ("b", [0.0, 1.0]), ("c", [4.0, 4.0]), ("d", [-1.0, 0.0]), ("e", [3.0, -2.0])]
            .iter()
            .map(|(id, values)| vector_document(id, values))
            .collect();
    for name in ["flat", "angles"] {
        ingest(&mut client, name, documents.clone()).await;
    }
    let like = |name: &str, positive: &[&str], negative: &[&str]| {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let examples = v1::Examples { positive_ids: ids(positive), negative_ids: ids(negative) };
        let query = Some(v1::search_request::Query::Examples(examples));
        v1::SearchRequest { collection: name.into(), query, limit: 5, include_vector: true, ..Default::default() }
    };
    // The mean of a and b is (0.5, 0.5); c has its direction.
    let found = search(&mut client, like("angles", &["a", "b"], &[])).await;
    assert_eq!(ids(&found)[0], "c");
    assert!((found.results[0].distance.unwrap()).abs() < 1e-6);
    let found = search(&mut client, like("flat", &["a", "b"], &[])).await;
    assert_eq!(ids(&found), ["d", "e", "c"]);
    // 2 * (1, 0) - (0, 1) = (2, -1), and e is the nearest to that.
    let found = search(&mut client, like("flat", &["a"], &["b"])).await;
    assert_eq!(ids(&found), ["e", "d", "c"]);
    assert!((found.results[0].distance.unwrap() - 2_f32.sqrt()).abs() < 1e-6);
    // Normalised first: 2 * a - c = (2 - 0.707, -0.707).
    let found = search(&mut client, like("angles", &["a"], &["c"])).await;
    assert_eq!(ids(&found)[0], "e");
    // a and d are opposite to each other.
    let opposite = client.search(like("angles", &["a", "d"], &[])).await;
    invalid(opposite, &["examples"]);
    assert_eq!(refusal(client.search(like("flat", &["a", "x"], &["y"])).await).1, "DOCUMENT_NOT_FOUND");
    let many: Vec<String> = (0..101).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    invalid(client.search(like("flat", &[], &many)).await, &["examples.negative_ids"]);
    invalid(
        client.search(like("flat", &["", "a\0"], &[])).await,
        &["examples.positive_ids[0]", "examples.positive_ids[1]"],
    );
}

#[rstest]
#[tokio::test]
async fn results_that_differ(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, Distance::Cosine)).await.unwrap();
    let angle = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let documents =
        [0.0, 1.0, 2.0, 3.0, 40.0, 80.0].map(|degrees| vector_document(&degrees.to_string(), &angle(degrees)));
    ingest(&mut client, "c", documents.to_vec()).await;
    let diverse = |weight, limit| v1::SearchRequest {
        diversity: Some(v1::Diversity { weight, candidates: None }),
        ..near("c", &angle(0.0), limit)
    };
    let found = search(&mut client, diverse(Some(0.0), 2)).await;
    assert_eq!(ids(&found), ["0", "80"]);
    assert!(found.results[0].document.as_ref().unwrap().vector.is_none());
    assert_eq!(ids(&search(&mut client, diverse(Some(1.0), 3)).await), ["0", "1", "2"]);
    assert_eq!(search(&mut client, diverse(None, 100)).await.results.len(), 6);
    let few = v1::SearchRequest {
        diversity: Some(v1::Diversity { weight: Some(0.0), candidates: Some(2) }),
        ..near("c", &angle(0.0), 2)
    };
    assert_eq!(ids(&search(&mut client, few).await), ["0", "1"]);
    let bad = v1::SearchRequest {
        diversity: Some(v1::Diversity { weight: Some(1.5), candidates: Some(1_001) }),
        group_by_document: true,
        ..near("c", &angle(0.0), 2)
    };
    invalid(client.search(bad).await, &["diversity", "diversity.weight", "diversity.candidates"]);
}

#[tokio::test]
async fn results_that_differ_do_not_repeat_a_text() {
    let server = Server::start(18).await;
    let mut client = server.client();
    for distance in [Distance::Cosine, Distance::L2, Distance::L1, Distance::InnerProduct] {
        for method in [None, Some(v1::ChunkingMethod::Text)] {
            let name = format!("{}_{}", distance.as_str_name().to_lowercase(), method.is_some());
            let mut created = texts(&name);
            let collection = created.collection.as_mut().unwrap();
            collection.distance = distance.into();
            collection.chunking = method.map(|method| v1::Chunking { method: method.into(), ..Default::default() });
            client.create_collection(created).await.unwrap();
            // Six texts near the query, and four that are farther away.
            let stored = std::iter::repeat_n("a fox in the snow", 6).chain(["hens", "a boat", "the sea", "an owl"]);
            let documents = stored.enumerate().map(|(i, text)| text_document(&format!("{i:02}"), text));
            ingest(&mut client, &name, documents.collect()).await;
            for read_mask in [None, Some(prost_types::FieldMask { paths: vec!["id".into()] })] {
                let request = |weight, limit| v1::SearchRequest {
                    diversity: Some(v1::Diversity { weight, candidates: None }),
                    read_mask: read_mask.clone(),
                    ..about(&name, "a fox in the snow", limit)
                };
                for weight in [None, Some(1.0)] {
                    let found = search(&mut client, request(weight, 6)).await;
                    let first: Vec<bool> = ids(&found).iter().map(|id| *id < "06").collect();
                    assert_eq!(first, [true, false, false, false, false, true], "{name} {weight:?}: {:?}", ids(&found));
                    let has_text = found.results.iter().all(|result| {
                        let chunk = result.chunk.as_ref().map(|chunk| chunk.text.as_str());
                        !chunk.unwrap_or(&result.document.as_ref().unwrap().text).is_empty()
                    });
                    assert_eq!(has_text, read_mask.is_none(), "{name}");
                }
                assert_eq!(search(&mut client, request(None, 20)).await.results.len(), 10);
            }
        }
    }
}
