//! Search: the same neighbours as a computation by hand, every limit and setting, and correct statements about the
//! result.

use pgfox::v1::{self, Completeness, Distance, ShortReason, VectorType, index_spec::Kind};
use rstest::rstest;
use tonic::Code;

use crate::{
    calls::{
        about, build_index, get, ids, info, ingest, invalid, near, refusal, request, search, similar, with_provider,
    },
    naughty::NAUGHTY,
    provider::Provider,
    support::{Client, Server, Setup, text_document, texts, vector_document, vectors},
};

const DIMENSIONS: usize = 16;

/// Numbers from -1 to 1 that 2-byte floats hold exactly; the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % 513) as f32 / 256.0 - 1.0
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSIONS).map(|_| self.next()).collect()
    }

    /// Points around 20 centres.
    fn clustered(&mut self, count: usize) -> Vec<Vec<f32>> {
        let centres: Vec<Vec<f32>> = (0..20).map(|_| self.vector()).collect();
        let near = |centre: &Vec<f32>, numbers: &mut Self| centre.iter().map(|x| x * 4.0 + numbers.next()).collect();
        (0..count).map(|i| near(&centres[i % centres.len()], self)).collect()
    }
}

fn distance(metric: Distance, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match metric {
        Distance::Unspecified | Distance::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        Distance::Cosine => 1.0 - product(a, b) / (product(a, a) * product(b, b)).sqrt(),
        Distance::InnerProduct => -product(a, b),
        Distance::L1 => pairs().map(|(a, b)| (a - b).abs()).sum(),
    }
}

/// Searches, checks what must always be true, and returns the share of the true nearest that was found.
async fn recall(client: &mut Client, request: v1::SearchRequest, metric: Distance, points: &[Vec<f32>]) -> f64 {
    let Some(v1::search_request::Query::Vector(query)) = request.query.clone() else { panic!("a vector") };
    let limit = request.limit as usize;
    let response = search(client, request).await;
    assert_eq!((response.results.len(), response.short_reason()), (limit, ShortReason::Unspecified));
    let mut truth: Vec<f64> = points.iter().map(|point| distance(metric, point, &query.values)).collect();
    let mut found = 0;
    let mut last = f64::NEG_INFINITY;
    let own: Vec<f64> = ids(&response).iter().map(|id| truth[id.parse::<usize>().unwrap()]).collect();
    truth.sort_by(f64::total_cmp);
    let worst = truth[limit - 1];
    for (result, own) in response.results.iter().zip(own) {
        let reported = f64::from(result.distance.unwrap());
        assert!((reported - own).abs() < 1e-4 * own.abs().max(1.0), "{reported} is not {own}");
        let score = match metric {
            Distance::Cosine => 1.0 - reported,
            Distance::InnerProduct => -reported,
            _ => 1.0 / (1.0 + reported),
        };
        assert!((f64::from(result.score) - score).abs() < 1e-5 * score.abs().max(1.0));
        assert!(reported >= last, "in order");
        last = reported;
        found += usize::from(own <= worst + 1e-6);
    }
    found as f64 / limit as f64
}

/// The mean over queries.
async fn mean_recall(client: &mut Client, settings: &v1::SearchRequest, metric: Distance, points: &[Vec<f32>]) -> f64 {
    let queries: Vec<&Vec<f32>> = points.iter().step_by(points.len() / 15).collect();
    let mut sum = 0.0;
    for values in &queries {
        let query =
            Some(v1::search_request::Query::Vector(v1::Vector { values: values.iter().map(|x| x + 0.25).collect() }));
        sum += recall(client, v1::SearchRequest { query, ..settings.clone() }, metric, points).await;
    }
    sum / queries.len() as f64
}

fn with_params(collection: &str, limit: i32, params: v1::SearchParams) -> v1::SearchRequest {
    v1::SearchRequest { params: Some(params), ..near(collection, &[], limit) }
}

async fn load(client: &mut Client, collection: &str, points: &[Vec<f32>]) {
    let documents = |part: &[Vec<f32>], from: usize| {
        part.iter().enumerate().map(|(i, point)| vector_document(&(from + i).to_string(), point)).collect()
    };
    for (i, part) in points.chunks(1_000).enumerate() {
        ingest(client, collection, documents(part, i * 1_000)).await;
    }
}

/// Every kind of index on a collection finds what a computation by hand finds.
async fn finds_the_nearest(mut client: Client, metric: Distance, vector_type: VectorType, points: Vec<Vec<f32>>) {
    let name = format!("c{}{}", metric as i32, vector_type as i32);
    let mut collection = vectors(&name, DIMENSIONS as i32, metric);
    collection.collection.as_mut().unwrap().vector_type = vector_type.into();
    client.create_collection(collection).await.unwrap();
    load(&mut client, &name, &points).await;
    let default = with_params(&name, 10, v1::SearchParams::default());
    let exact = with_params(&name, 10, v1::SearchParams { exact: true, ..Default::default() });
    assert_eq!(mean_recall(&mut client, &default, metric, &points).await, 1.0);
    let hnsw = Kind::Hnsw(v1::Hnsw::default());
    let ivf_flat = Kind::IvfFlat(v1::IvfFlat { lists: 12 });
    for kind in [hnsw, ivf_flat] {
        if metric == Distance::L1 && matches!(kind, Kind::IvfFlat(_)) {
            let spec = Some(v1::IndexSpec { kind: Some(kind), allow_few_rows: true });
            let build = client.build_index(v1::BuildIndexRequest { collection: name.clone(), spec, rebuild: false });
            assert_eq!(refusal(build.await.map(|response| response.map(|_| ()))).1, "INDEX_UNSUPPORTED");
            continue;
        }
        build_index(&mut client, &name, kind).await;
        let found = mean_recall(&mut client, &default, metric, &points).await;
        assert!(found >= 0.95, "{metric:?} {vector_type:?} {kind:?}: {found}");
        assert_eq!(mean_recall(&mut client, &exact, metric, &points).await, 1.0);
        let query = near(&name, &points[0], 10);
        assert_eq!(search(&mut client, query.clone()).await.completeness(), Completeness::Approximate);
        let exact = v1::SearchRequest { query: query.query, ..exact.clone() };
        assert_eq!(search(&mut client, exact).await.completeness(), Completeness::Exact);
    }
}

#[rstest]
#[tokio::test]
async fn every_distance_type_and_index(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let points = Numbers(1).clustered(600);
    let mut tasks = Vec::new();
    for metric in [Distance::L2, Distance::Cosine, Distance::InnerProduct, Distance::L1] {
        for vector_type in [VectorType::Vector, VectorType::Halfvec] {
            tasks.push(tokio::spawn(finds_the_nearest(server.client(), metric, vector_type, points.clone())));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn settings_have_ranges_and_effects(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    let mut numbers = Numbers(2);
    let points: Vec<Vec<f32>> = (0..2_000).map(|_| numbers.vector()).collect();
    load(&mut client, "c", &points).await;
    let ef_search =
        |ef_search| with_params("c", 10, v1::SearchParams { ef_search: Some(ef_search), ..Default::default() });
    let probes = |probes| with_params("c", 10, v1::SearchParams { probes: Some(probes), ..Default::default() });

    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw { m: 2, ef_construction: 4 })).await;
    let few = mean_recall(&mut client, &ef_search(1), Distance::L2, &points).await;
    let many = mean_recall(&mut client, &ef_search(1_000), Distance::L2, &points).await;
    assert!(few < many - 0.1, "{few} {many}");
    build_index(&mut client, "c", Kind::IvfFlat(v1::IvfFlat { lists: 40 })).await;
    let few = mean_recall(&mut client, &probes(1), Distance::L2, &points).await;
    let many = mean_recall(&mut client, &probes(40), Distance::L2, &points).await;
    assert!(few < 0.8 && many == 1.0, "{few} {many}");
    // More probes than lists, or a setting of another index type, do no harm.
    assert_eq!(mean_recall(&mut client, &probes(32_768), Distance::L2, &points).await, 1.0);
    mean_recall(&mut client, &ef_search(1), Distance::L2, &points).await;

    let bad = v1::SearchParams { exact: true, ef_search: Some(0), probes: Some(0), rerank_candidates: Some(10_001) };
    let bad = v1::SearchRequest { limit: -1, ..with_params("c", 10, bad) };
    invalid(
        client.search(bad).await,
        &["limit", "params.ef_search", "params.probes", "params.rerank_candidates", "vector"],
    );
    for (ef_search, probes) in [(1_001, 32_769), (-1, -1), (i32::MAX, i32::MIN)] {
        let params = v1::SearchParams { ef_search: Some(ef_search), probes: Some(probes), ..Default::default() };
        let request = v1::SearchRequest { params: Some(params), ..near("c", &points[0], 10) };
        invalid(client.search(request).await, &["params.ef_search", "params.probes"]);
    }
}

#[rstest]
#[tokio::test]
async fn limits(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    let empty = search(&mut client, near("c", &[0.0; DIMENSIONS], 5)).await;
    assert_eq!(
        (empty.results.len(), empty.completeness(), empty.short_reason()),
        (0, Completeness::Exact, ShortReason::FewDocuments)
    );
    let mut numbers = Numbers(3);
    let points: Vec<Vec<f32>> = (0..1_200).map(|_| numbers.vector()).collect();
    load(&mut client, "c", &points).await;
    for indexed in [false, true] {
        if indexed {
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        for (limit, expected) in [(0, 10), (1, 1), (999, 999), (1_000, 1_000)] {
            let found = search(&mut client, near("c", &points[0], limit)).await;
            assert_eq!((found.results.len(), found.short_reason()), (expected, ShortReason::Unspecified));
        }
        let found = search(&mut client, similar("c", "7", 1_000)).await;
        assert_eq!((found.results.len(), ids(&found).contains(&"7")), (1_000, false));
        for limit in [-1, 1_001, i32::MIN, i32::MAX] {
            invalid(client.search(near("c", &points[0], limit)).await, &["limit"]);
        }
    }
    // The nearest are deleted, and the search still returns as many results as requested.
    let mut nearest: Vec<usize> = (0..1_200).collect();
    nearest.sort_by(|a, b| {
        distance(Distance::L2, &points[*a], &points[0]).total_cmp(&distance(Distance::L2, &points[*b], &points[0]))
    });
    let doomed = nearest[..1_000].iter().map(usize::to_string).collect();
    let deleted = client
        .delete_documents(v1::DeleteDocumentsRequest { collection: "c".into(), ids: doomed, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(deleted.into_inner().deleted_count, 1_000);
    let found = search(&mut client, near("c", &points[0], 100)).await;
    assert_eq!((found.results.len(), found.short_reason()), (100, ShortReason::Unspecified));
    let all = search(&mut client, near("c", &points[0], 201)).await;
    assert_eq!(
        (all.results.len(), all.completeness(), all.short_reason()),
        (200, Completeness::Exact, ShortReason::FewDocuments)
    );
    assert_eq!(ids(&all), nearest[1_000..].iter().map(usize::to_string).collect::<Vec<_>>());
}

#[rstest]
#[tokio::test]
async fn queries_that_cannot_be(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 3, Distance::Cosine)).await.unwrap();
    client.create_collection(texts("t")).await.unwrap();
    let without = vec![text_document("without", " "), text_document("with", "a fox")];
    ingest(&mut client, "t", without).await;
    invalid(client.search(v1::SearchRequest { collection: "c".into(), ..Default::default() }).await, &["query"]);
    invalid(client.search(v1::SearchRequest::default()).await, &["collection", "query"]);
    invalid(client.search(about("c", "a fox", 1)).await, &["text"]);
    for text in ["", " \n", "\0", "a\0b"] {
        invalid(client.search(about("t", text, 1)).await, &["text"]);
    }
    invalid(client.search(near("c", &[0.0, 0.0, 0.0], 1)).await, &["vector"]);
    invalid(client.search(near("c", &[0.0, f32::NAN, 0.0], 1)).await, &["vector.values[1]"]);
    invalid(client.search(near("c", &[f32::INFINITY, f32::NAN, 0.0], 1)).await, &["vector.values[0]"]);
    for values in [&[][..], &[1.0, 2.0], &[1.0; 16_001]] {
        let status = client.search(near("c", values, 1)).await.unwrap_err();
        assert_eq!((info(&status)["expected"].as_str(), &info(&status)["actual"]), ("3", &values.len().to_string()));
        assert_eq!(refusal::<()>(Err(status)).1, "DIMENSION_MISMATCH");
    }
    for id in ["", "\0", &"x".repeat(513)] {
        invalid(client.search(similar("t", id, 1)).await, &["document_id"]);
    }
    let status = client.search(similar("t", "unknown", 1)).await.unwrap_err();
    assert_eq!((status.code(), info(&status)["ids"].as_str()), (Code::NotFound, "unknown"));
    assert_eq!(refusal::<()>(Err(status)).1, "DOCUMENT_NOT_FOUND");
    assert_eq!(refusal(client.search(similar("t", "without", 1)).await).1, "DOCUMENT_WITHOUT_VECTOR");
    assert_eq!(refusal(client.search(similar("unknown", "x", 1)).await).1, "COLLECTION_NOT_FOUND");
    // Any other text is a query.
    for text in NAUGHTY.iter().filter(|text| !text.trim().is_empty()) {
        assert_eq!(ids(&search(&mut client, about("t", text, 5)).await), ["with"]);
    }
}

#[rstest]
#[tokio::test]
async fn results_carry_the_document(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut half = vectors("c", 2, Distance::L2);
    half.collection.as_mut().unwrap().vector_type = VectorType::Halfvec.into();
    client.create_collection(half).await.unwrap();
    let document = |id: usize| {
        let fields =
            [("n".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(id as f64)) })];
        let metadata = Some(prost_types::Struct { fields: fields.into() });
        v1::Document { text: format!("text {id}"), metadata, ..vector_document(&id.to_string(), &[1.0, 0.5]) }
    };
    let documents: Vec<_> = (0..50).map(document).collect();
    ingest(&mut client, "c", documents.clone()).await;
    let plain = search(&mut client, near("c", &[1.0, 0.5], 20)).await;
    let with_vector = v1::SearchRequest { include_vector: true, ..near("c", &[1.0, 0.5], 20) };
    let full = search(&mut client, with_vector.clone()).await;
    for (plain, full) in plain.results.iter().zip(&full.results) {
        let (plain, full) = (plain.document.clone().unwrap(), full.document.clone().unwrap());
        assert_eq!(full, documents[full.id.parse::<usize>().unwrap()]);
        assert_eq!(plain, v1::Document { vector: None, ..full });
    }
    let timing = plain.timing.unwrap();
    assert!(timing.database.unwrap().nanos > 0 && timing.wait.is_some() && timing.embed.is_some());
    // All are at the same distance, and keep their order.
    for _ in 0..5 {
        assert_eq!(ids(&search(&mut client, with_vector.clone()).await), ids(&full));
    }
}

#[rstest]
#[tokio::test]
async fn a_response_has_a_limit(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let text = "x".repeat(5 * 1024 * 1024);
    for i in 0..4 {
        let document = v1::Document { text: text.clone(), ..vector_document(&i.to_string(), &[i as f32]) };
        ingest(&mut client, "c", vec![document]).await;
    }
    let (code, reason, _) = refusal(client.search(near("c", &[0.0], 4)).await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(ids(&search(&mut client, near("c", &[0.0], 3)).await), ["0", "1", "2"]);
    let ids = (0..4).map(|i| i.to_string()).collect();
    let all = v1::GetDocumentsRequest { collection: "c".into(), ids, ..Default::default() };
    assert_eq!(refusal(client.get_documents(all).await).1, "MESSAGE_TOO_LARGE");
    assert_eq!(get(&mut client, "c", &["3", "1", "0"]).await.len(), 3);
}

#[rstest]
#[tokio::test]
async fn changes_by_another_server_are_detected_at_once(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let (mut here, mut there) = (server.client(), other.client());
    here.create_collection(vectors("c", DIMENSIONS as i32, Distance::L2)).await.unwrap();
    let points = Numbers(4).clustered(300);
    load(&mut here, "c", &points).await;
    let query = near("c", &points[5], 10);
    for client in [&mut here, &mut there] {
        assert_eq!(search(client, query.clone()).await.completeness(), Completeness::Exact);
    }
    build_index(&mut there, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    // The first search detects it, and still returns the nearest documents.
    assert_eq!(ids(&search(&mut here, query.clone()).await)[0], "5");
    assert_eq!(search(&mut here, query.clone()).await.completeness(), Completeness::Approximate);
    there.drop_index(v1::DropIndexRequest { collection: "c".into(), name: String::new() }).await.unwrap();
    assert_eq!(search(&mut here, query.clone()).await.completeness(), Completeness::Exact);

    there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(refusal(here.search(query.clone()).await).1, "COLLECTION_NOT_FOUND");
    here.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    for dimensions in [3, 4] {
        there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
        there.create_collection(vectors("c", dimensions, Distance::L2)).await.unwrap();
        let values = vec![1.0; dimensions as usize];
        ingest(&mut there, "c", vec![vector_document("new", &values)]).await;
        assert_eq!(ids(&search(&mut here, near("c", &values, 1)).await), ["new"]);
        let status = here.search(near("c", &[1.0; 2], 1)).await.unwrap_err();
        assert_eq!(info(&status)["expected"], dimensions.to_string());
    }
}

#[tokio::test]
async fn a_query_is_embedded_for_the_current_collection() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut setup = Setup::new(server.database_url.clone());
    with_provider(&provider)(&mut setup);
    let other = setup.start().await;
    other.ready().await;
    let (mut here, mut there) = (server.client(), other.client());
    here.create_collection(texts("c")).await.unwrap();
    here.ingest(request("c", vec![text_document("old", "a fox")])).await.unwrap();
    search(&mut here, about("c", "a fox", 1)).await;

    there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    let mut prefixed = texts("c");
    let embedding = v1::Embedding { model: "openai/e5".into(), query_prefix: "query: ".into(), ..Default::default() };
    prefixed.collection.as_mut().unwrap().embedding = Some(embedding);
    there.create_collection(prefixed).await.unwrap();
    there.ingest(request("c", vec![text_document("new", "a fox")])).await.unwrap();
    assert_eq!(ids(&search(&mut here, about("c", "a fox", 1)).await), ["new"]);
    assert_eq!(provider.last_body()["input"][0], "query: a fox");

    // Without a model the text cannot be embedded, so only the vector counts.
    there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    there.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    invalid(here.search(about("c", "a fox", 1)).await, &["text"]);
}
