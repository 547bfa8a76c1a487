//! Declared booleans and lists of strings: random filters by them find what a collection without declared fields finds.

use super::*;
use crate::{
    calls::{about, with_provider},
    metadata::list,
    provider::Provider,
    support::{text_document, texts},
};

const DECLARED: [(&str, MetadataIndexType); 4] = [
    ("good", MetadataIndexType::Boolean),
    ("more.tags", MetadataIndexType::StringList),
    ("year", MetadataIndexType::Number),
    ("tags", MetadataIndexType::StringList),
];

fn long(number: usize) -> String {
    format!("{}{number}", "long ".repeat(20))
}

/// One of a few strings.
fn tag(numbers: &mut Numbers) -> String {
    match numbers.below(12) {
        0 => long(numbers.below(3)),
        1 => "äöü".into(),
        2 => String::new(),
        _ => ["red", "green", "greenish", "blue", "it's"][numbers.below(5)].into(),
    }
}

fn tags(numbers: &mut Numbers) -> Json {
    match numbers.below(12) {
        0 => json!("red"),
        1 => json!({"red": 1}),
        2 => json!(null),
        3 => json!([1, "red", null, ["green"], {"blue": 1}, "red"]),
        4 => json!([]),
        _ => (0..=numbers.below(4)).map(|_| json!(tag(numbers))).collect(),
    }
}

fn metadata(numbers: &mut Numbers) -> Json {
    let good =
        [json!(true), json!(false), json!("true"), json!(null), json!(1)][numbers.below(7).saturating_sub(2)].clone();
    json!({ "good": good, "tags": tags(numbers), "more": {"tags": tags(numbers)}, "year": 1950 + numbers.below(60) })
}

fn condition(numbers: &mut Numbers) -> v1::Filter {
    let name = ["tags", "tags", "more.tags"][numbers.below(3)];
    let elements = format!("{name}[]");
    let several = |numbers: &mut Numbers| -> Json { (0..=numbers.below(3)).map(|_| json!(tag(numbers))).collect() };
    // So many that a cheaper condition comes first.
    let many = |numbers: &mut Numbers| -> Json {
        let others = (0..10).map(|number| json!(format!("other{number}")));
        others.chain([json!(tag(numbers))]).collect()
    };
    match numbers.below(15) {
        13 => field(name, Test::ContainsAny(list(&many(numbers)))),
        14 => none_of(vec![field(&elements, Test::OneOf(list(&many(numbers))))]),
        0 | 1 => field(name, Test::ContainsAny(list(&several(numbers)))),
        2 | 3 => field(name, Test::ContainsAll(list(&several(numbers)))),
        4 => field(&elements, Test::OneOf(list(&several(numbers)))),
        5 => equals(&elements, &json!(tag(numbers))),
        6 => field(&elements, Test::StartsWith(["green", "l", "ä"][numbers.below(3)].into())),
        7 => none_of(vec![field(name, Test::ContainsAny(list(&several(numbers))))]),
        8 => any_of(vec![field(name, Test::ContainsAll(list(&several(numbers)))), equals("year", &json!(1999))]),
        9 => field(name, Test::ContainsAny(list(&json!([1, "blue"])))),
        10 => equals("good", &json!(numbers.below(2) == 0)),
        11 => none_of(vec![equals("good", &json!(true))]),
        _ => field("year", Test::AtLeast(value(&json!(1950 + numbers.below(60))))),
    }
}

/// Collections of vectors, or of texts that are split.
#[derive(Clone, Copy)]
struct Kinds {
    is_chunked: bool,
}

impl Kinds {
    async fn create(self, client: &mut Client, name: &str, indexes: &[(&str, MetadataIndexType)]) {
        let mut request =
            if self.is_chunked { texts(name) } else { vectors(name, DIMENSIONS as i32, Distance::Cosine) };
        let collection = request.collection.as_mut().unwrap();
        collection.metadata_indexes = declared(indexes);
        collection.chunking = self.is_chunked.then(|| v1::Chunking {
            method: v1::ChunkingMethod::Text.into(),
            unit: v1::ChunkUnit::Characters.into(),
            max_size: 100,
            ..Default::default()
        });
        client.create_collection(request).await.unwrap();
    }

    fn words(numbers: &mut Numbers, count: usize) -> String {
        let words: Vec<_> = (0..count).map(|_| format!("word{}", numbers.below(40))).collect();
        words.join(" ")
    }

    fn document(self, numbers: &mut Numbers, id: usize) -> v1::Document {
        let id = format!("{id:05}");
        let document = if self.is_chunked {
            let passages: Vec<_> = (0..=numbers.below(5)).map(|_| Self::words(numbers, 12)).collect();
            text_document(&id, &passages.join("\n\n"))
        } else {
            vector_document(&id, &numbers.vector())
        };
        v1::Document { metadata: Some(object(&metadata(numbers))), ..document }
    }

    fn search(self, numbers: &mut Numbers) -> v1::SearchRequest {
        let group_by_document = self.is_chunked && numbers.below(2) == 0;
        let request =
            if self.is_chunked { about("c", &Self::words(numbers, 5), 10) } else { near("c", &numbers.vector(), 10) };
        v1::SearchRequest { group_by_document, explain: true, ..request }
    }
}

/// Compares filtered searches in `c` with exact ones in `plain`. Returns how many read the codes of a list.
async fn compare(client: &mut Client, numbers: &mut Numbers, kinds: Kinds, count: usize) -> usize {
    let (mut found, mut wanted, mut by_lists) = (0, 0, 0);
    for _ in 0..count {
        let filter = all_of((0..=numbers.below(3)).map(|_| condition(numbers)).collect());
        let request = v1::SearchRequest { filter: Some(filter.clone()), ..kinds.search(numbers) };
        let response = search(client, request.clone()).await;
        let params = Some(v1::SearchParams { exact: true, ..Default::default() });
        let exact = search(client, v1::SearchRequest { params, collection: "plain".into(), ..request }).await;
        assert_eq!(response.results.len(), exact.results.len(), "{filter:?}");
        let distances = |response: &v1::SearchResponse| -> Vec<f32> {
            response.results.iter().map(|result| result.distance.unwrap()).collect()
        };
        if response.completeness() == Completeness::Exact {
            assert_eq!(distances(&response), distances(&exact), "{filter:?}");
        }
        // Passages can be equally far.
        let farthest = distances(&exact).last().copied().unwrap_or_default();
        wanted += exact.results.len();
        found += distances(&response).iter().filter(|distance| **distance <= farthest).count();
        by_lists += usize::from(response.explanation.unwrap().plan_json.contains("_list"));
    }
    assert!(found as f64 >= 0.97 * wanted as f64, "{found} of {wanted}");
    by_lists
}

#[rstest]
#[tokio::test]
async fn random_filters(#[values(16, 18)] major: u32, #[values(false, true)] is_chunked: bool) {
    let provider = Provider::start().await;
    let server = Server::start_with(major, with_provider(&provider)).await;
    let mut client = server.client();
    let mut numbers = Numbers(37 + u64::from(is_chunked));
    let kinds = Kinds { is_chunked };
    let documents = if is_chunked { 1_000 } else { 3_000 };
    kinds.create(&mut client, "plain", &[("", MetadataIndexType::Gin)]).await;
    // With an index over all metadata, or without.
    let gin = [("", MetadataIndexType::Gin)].into_iter().filter(|_| major == 18);
    kinds.create(&mut client, "c", &gin.chain(DECLARED).collect::<Vec<_>>()).await;
    let write = async |client: &mut Client, documents: Vec<v1::Document>| {
        for documents in documents.chunks(1_000) {
            ingest(client, "plain", documents.to_vec()).await;
            ingest(client, "c", documents.to_vec()).await;
        }
    };
    write(&mut client, (0..documents).map(|id| kinds.document(&mut numbers, id)).collect()).await;
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    await_codes(&server, 4).await;
    are_in_step(&server).await;
    let by_lists = compare(&mut client, &mut numbers, kinds, 150).await;
    assert!(by_lists > 50, "{by_lists}");

    // New texts or vectors, other metadata alone, and fewer documents.
    write(&mut client, (documents - 50..documents + 50).map(|id| kinds.document(&mut numbers, id)).collect()).await;
    let filter = equals("tags[]", &json!("blue"));
    let patches = [json!({"tags": ["red", "new"], "good": false}), json!({"tags": null}), json!({"year": 1990})];
    for (patch, below) in patches.iter().zip([1960, 1970, 1980]) {
        for collection in ["plain", "c"] {
            let below = field("year", Test::LessThan(value(&json!(below))));
            let update = v1::UpdateMetadataRequest {
                collection: collection.into(),
                filter: Some(all_of(vec![filter.clone(), below])),
                metadata: Some(object(patch)),
                ..Default::default()
            };
            assert!(client.update_metadata(update).await.unwrap().into_inner().updated_count > 5);
        }
    }
    for collection in ["plain", "c"] {
        let filter = Some(field("more.tags", Test::ContainsAny(list(&json!(["greenish", "it's"])))));
        let delete = v1::DeleteDocumentsRequest { collection: collection.into(), filter, ..Default::default() };
        assert!(client.delete_documents(delete).await.unwrap().into_inner().deleted_count > 50);
    }
    are_in_step(&server).await;
    compare(&mut client, &mut numbers, kinds, 60).await;

    let delete = v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() };
    client.delete_collection(delete).await.unwrap();
    let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^codes_[0-9]'";
    assert_eq!(server.sql().await.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn documents_with_many_strings() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(61);
    let kinds = Kinds { is_chunked: false };
    kinds.create(&mut client, "plain", &[("", MetadataIndexType::Gin)]).await;
    kinds.create(&mut client, "c", &DECLARED).await;
    // Some have more than the table of a list has rows for.
    let documents: Vec<_> = (0..2_000)
        .map(|id| {
            let mut document = kinds.document(&mut numbers, id);
            if id.is_multiple_of(40) {
                let many = (0..1_200).map(|number| json!(format!("tag{number}"))).chain([json!(tag(&mut numbers))]);
                let many = json!({ "tags": many.collect::<Json>(), "year": 1950 + id % 60 });
                document.metadata = Some(object(&many));
            }
            document
        })
        .collect();
    for documents in documents.chunks(500) {
        ingest(&mut client, "plain", documents.to_vec()).await;
        ingest(&mut client, "c", documents.to_vec()).await;
    }
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    await_codes(&server, 4).await;
    are_in_step(&server).await;
    let admin = server.sql().await;
    let most = "SELECT max(c.count) FROM (SELECT count(*) FROM pgfox_internal.codes_1_1_list4 GROUP BY document_key) c";
    let most = most.replace("codes_1_1", &codes_of(&admin).await);
    assert!(admin.query_one(&most, &[]).await.unwrap().get::<_, i64>(0) <= 1_000);
    compare(&mut client, &mut numbers, kinds, 80).await;
    // Only they match.
    for test in [
        Test::ContainsAny(list(&json!(["tag7", "tag8"]))),
        Test::ContainsAll(list(&json!(["tag1199"]))),
        Test::ContainsAll(list(&json!(["tag1", "tag1199"]))),
    ] {
        let request =
            v1::SearchRequest { filter: Some(field("tags", test)), explain: true, ..near("c", &numbers.vector(), 100) };
        let response = search(&mut client, request.clone()).await;
        let params = Some(v1::SearchParams { exact: true, ..Default::default() });
        let exact = search(&mut client, v1::SearchRequest { params, collection: "plain".into(), ..request }).await;
        assert_eq!((ids(&response), response.completeness()), (ids(&exact), Completeness::Exact));
        assert_eq!(response.results.len(), 50);
        assert!(response.explanation.unwrap().index.starts_with("codes_"));
    }
    // A list gets few strings, and another one many.
    let many: Json = (0..1_001).map(|number| json!(format!("tag{number}"))).collect();
    for (id, tags) in [("00000", json!(["few"])), ("00001", many)] {
        let update = v1::UpdateMetadataRequest {
            collection: "c".into(),
            ids: vec![id.into()],
            metadata: Some(object(&json!({ "tags": tags }))),
            ..Default::default()
        };
        client.update_metadata(update).await.unwrap();
    }
    are_in_step(&server).await;
    for (tag, id) in [("few", "00000"), ("tag1000", "00001")] {
        let filter = Some(field("tags", Test::ContainsAny(list(&json!([tag])))));
        let found = search(&mut client, v1::SearchRequest { filter, ..near("c", &numbers.vector(), 100) }).await;
        assert!(ids(&found).contains(&id), "{tag}");
    }
}

/// The name of the table of the only set of codes.
async fn codes_of(admin: &tokio_postgres::Client) -> String {
    let sql = "SELECT relname::text FROM pg_class WHERE relname ~ '^codes_[0-9]+_[0-9]+$'";
    admin.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn rows_of_a_list_stay_while_it_stays() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(67);
    let kinds = Kinds { is_chunked: false };
    kinds.create(&mut client, "c", &DECLARED).await;
    ingest(&mut client, "c", (0..1_000).map(|id| kinds.document(&mut numbers, id)).collect()).await;
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    await_codes(&server, 4).await;
    let admin = server.sql().await;
    let newest = format!("SELECT max(xmin::text::bigint) FROM pgfox_internal.{}_list4", codes_of(&admin).await);
    let newest = async || admin.query_one(&newest, &[]).await.unwrap().get::<_, i64>(0);
    let before = newest().await;
    for (patch, stays) in [(json!({"more": {"tags": ["new"]}}), true), (json!({"tags": ["new"]}), false)] {
        let update = v1::UpdateMetadataRequest {
            collection: "c".into(),
            filter: Some(field("year", Test::LessThan(value(&json!(2000))))),
            metadata: Some(object(&patch)),
            ..Default::default()
        };
        assert!(client.update_metadata(update).await.unwrap().into_inner().updated_count > 100);
        assert_eq!(newest().await == before, stays);
        are_in_step(&server).await;
    }
}
