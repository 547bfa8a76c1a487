//! Codes of vectors follow all writes. They find the nearest that match a filter by declared fields, and the nearest among
//! vectors with too many dimensions for an index.

mod cells; // searches that leave out what is far away
mod dimensions; // vectors that no index can have
mod lists; // booleans and lists of strings
mod repeats; // searches that need another attempt
mod upkeep; // what people change by SQL, and jobs that fail

use std::{collections::BTreeMap, time::Duration};

use pgfox::v1::{self, Completeness, Distance, MetadataIndexType, condition::Test, index_spec::Kind};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::{
    calls::{build_index, ids, ingest, near, search},
    metadata::{all_of, any_of, equals, field, none_of, object, value},
    support::{Client, Server, eventually, sql, vector_document, vectors},
};

const DIMENSIONS: usize = 24;
const DOCUMENTS: usize = 4_000;

/// The same random numbers from 0 to 1 in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() * limit as f32) as usize
    }

    /// Near one of a few centres.
    fn vector(&mut self) -> Vec<f32> {
        let mut centre = Numbers(1 + self.below(20) as u64 * 7_919);
        (0..DIMENSIONS).map(|_| 3.0 * centre.next() + self.next() + 0.1).collect()
    }

    /// Values of every type, also of types that are not declared.
    fn metadata(&mut self) -> Json {
        let long = |number: usize| format!("{}{number}", "long ".repeat(20));
        let genre = ["drama", "comedy", "war", "äöü"][self.below(4)];
        let mut metadata = json!({
            "year": 1950 + self.below(100),
            "genre": genre,
            "seen": format!("20{:02}-0{}-01T00:00:00Z", self.below(30), 1 + self.below(9)),
            "other": self.below(3),
        });
        match self.below(12) {
            0 => metadata["year"] = json!("1999"),
            1 => metadata["year"] = json!(null),
            2 => metadata["genre"] = json!(["drama"]),
            3 => metadata["seen"] = json!("yesterday"),
            4 | 5 => metadata["genre"] = json!(long(self.below(3))),
            6 => metadata = json!({}),
            7 => metadata["year"] = json!(1e300),
            _ => {}
        }
        metadata
    }

    fn document(&mut self, id: usize) -> v1::Document {
        let metadata = Some(object(&self.metadata()));
        v1::Document { text: format!("text {id}"), metadata, ..vector_document(&format!("{id:05}"), &self.vector()) }
    }
}

fn declared(kinds: &[(&str, MetadataIndexType)]) -> Vec<v1::MetadataIndex> {
    let index = |(field, kind): &(&str, MetadataIndexType)| v1::MetadataIndex {
        field: (*field).into(),
        r#type: (*kind).into(),
    };
    kinds.iter().map(index).collect()
}

const FIELDS: [(&str, MetadataIndexType); 4] = [
    ("", MetadataIndexType::Gin),
    ("year", MetadataIndexType::Number),
    ("genre", MetadataIndexType::String),
    ("seen", MetadataIndexType::Time),
];

async fn create(client: &mut Client, distance: Distance) {
    let mut request = vectors("c", DIMENSIONS as i32, distance);
    request.collection.as_mut().unwrap().metadata_indexes = declared(&FIELDS);
    client.create_collection(request).await.unwrap();
}

/// Creates the collection `c` with an index and codes.
async fn load(client: &mut Client, server: &Server, distance: Distance, numbers: &mut Numbers) {
    create(client, distance).await;
    for first in (0..DOCUMENTS).step_by(1_000) {
        ingest(client, "c", (first..first + 1_000).map(|id| numbers.document(id)).collect()).await;
    }
    build_index(client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    await_codes(server, 3).await;
}

/// Waits until searches use codes for so many fields. Unoptimised and on a busy machine it takes long to make them.
async fn await_codes(server: &Server, fields: i32) {
    let admin = sql(&server.database_url).await;
    let sql = "SELECT count(*) FROM pgfox_internal.codes WHERE state = 'ready' AND jsonb_array_length(fields) = $1";
    for _ in 0..3_000 {
        if admin.query_one(sql, &[&fields]).await.unwrap().get::<_, i64>(0) == 1 {
            return;
        }
        let failed = "SELECT error FROM pgfox_internal.codes WHERE state = 'failed'";
        let failed: Vec<String> = admin.query(failed, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert!(failed.is_empty(), "{failed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("there are no codes");
}

fn filters(numbers: &mut Numbers) -> Vec<(v1::Filter, bool)> {
    let year = || equals("year", &json!(1960));
    let genre = || equals("genre", &json!("drama"));
    let since = |text: &str| {
        let time: prost_types::Timestamp = text.parse().unwrap();
        field("seen", Test::Since(time))
    };
    let long = "long ".repeat(20);
    let one_of = |name: &str, list: &[Json]| {
        field(name, Test::OneOf(prost_types::ListValue { values: list.iter().map(value).collect() }))
    };
    let at_least = |bound: i32| field("year", Test::AtLeast(value(&json!(bound))));
    vec![
        (year(), true),
        (genre(), true),
        (equals("genre", &json!("äöü")), true),
        (one_of("year", &[json!(1960), json!(1961), json!(2001)]), true),
        (one_of("genre", &[json!("war"), json!(format!("{long}1"))]), true),
        (equals("genre", &json!(format!("{long}2"))), true),
        (field("genre", Test::AtMost(value(&json!(format!("{long}1"))))), true),
        (field("genre", Test::StartsWith("d".into())), true),
        (field("genre", Test::StartsWith(format!("{long}0"))), true),
        (at_least(2040), true),
        (all_of(vec![at_least(1990), field("year", Test::LessThan(value(&json!(2000)))), genre()]), true),
        (all_of(vec![since("2027-01-01T00:00:00Z"), none_of(vec![genre()])]), true),
        (all_of(vec![any_of(vec![year(), equals("genre", &json!("war"))]), since("2025-05-05T00:00:00Z")]), true),
        // Together with what the codes do not know.
        (all_of(vec![genre(), equals("other", &json!(1))]), true),
        (all_of(vec![year(), field("other", Test::Exists(true))]), true),
        (none_of(vec![genre(), equals("year", &json!(1970))]), true),
        // Other types and other fields.
        (equals("year", &json!("1999")), false),
        (equals("genre", &json!(["drama"])), false),
        (equals("other", &json!(numbers.below(3))), false),
        (any_of(vec![year(), equals("other", &json!(1))]), false),
    ]
}

/// Compares filtered searches with exact ones. All use codes where they can.
async fn finds_the_nearest(client: &mut Client, numbers: &mut Numbers) {
    let (mut found, mut wanted) = (0, 0);
    for (filter, by_codes) in filters(numbers) {
        for limit in [10, 40] {
            let query = numbers.vector();
            let request = v1::SearchRequest { filter: Some(filter.clone()), explain: true, ..near("c", &query, limit) };
            let response = search(client, request.clone()).await;
            let params = Some(v1::SearchParams { exact: true, ..Default::default() });
            let exact = search(client, v1::SearchRequest { params, ..request }).await;
            assert_eq!(response.results.len(), exact.results.len(), "{filter:?}");
            if response.completeness() == Completeness::Exact {
                let distances = |response: &v1::SearchResponse| -> Vec<Option<f32>> {
                    response.results.iter().map(|result| result.distance).collect()
                };
                assert_eq!(distances(&response), distances(&exact), "{filter:?}");
            }
            let exact = ids(&exact);
            wanted += exact.len();
            found += ids(&response).iter().filter(|id| exact.contains(id)).count();
            let index = &response.explanation.as_ref().unwrap().index;
            // Where nothing matches, Postgres may have had to read nothing.
            assert!(index.starts_with("codes_") == by_codes || exact.is_empty(), "{filter:?} by {index}");
        }
    }
    assert!(found as f64 >= 0.97 * wanted as f64, "{found} of {wanted}");
}

/// Checks that there is a code for each vector, with what its document has, and no other.
async fn are_in_step(server: &Server) {
    let admin = sql(&server.database_url).await;
    let sets = "SELECT collection_id, s.id, k.id, k.fields::text FROM pgfox_internal.codes k
                JOIN pgfox_internal.embedding_spaces s ON s.id = k.space_id WHERE k.state = 'ready'";
    let rows = admin.query(sets, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    let (collection, space, id): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let fields: Vec<(String, Vec<String>)> = serde_json::from_str(row.get(3)).unwrap();
    let paths: Vec<&Vec<String>> = fields.iter().map(|(_, path)| path).collect();
    let differ = fields.iter().enumerate().map(|(i, (kind, _))| {
        format!(" OR c.f{0} IS DISTINCT FROM pgfox_internal.code_{kind}(d.metadata, ${0})", i + 1)
    });
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE c.code IS NULL OR c.norm IS NULL OR e.embedding IS NULL OR d.key IS NULL {})
         FROM pgfox_internal.codes_{collection}_{id} c
         FULL JOIN pgfox_internal.embeddings_{collection}_{space} e ON (e.document_key, e.chunk) = (c.document_key, c.chunk)
         LEFT JOIN pgfox_internal.documents_{collection} d ON d.key = c.document_key",
        differ.collect::<String>()
    );
    let parameters: Vec<_> = paths.iter().map(|path| *path as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
    let row = admin.query_one(&sql, &parameters).await.unwrap();
    let (all, wrong): (i64, i64) = (row.get(0), row.get(1));
    assert!(all > 0);
    assert_eq!(wrong, 0, "of {all}");
    for (number, (kind, _)) in (1..).zip(&fields) {
        if kind != "string_list" {
            continue;
        }
        let others = (1..).zip(&fields).filter(|(_, (kind, _))| kind != "string_list");
        let differ = others.map(|(number, _)| format!(" OR c.f{number} IS DISTINCT FROM l.f{number}"));
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE c.code IS DISTINCT FROM l.code OR c.norm IS DISTINCT FROM l.norm {})
             FROM (SELECT *, unnest(f{number}) AS element FROM pgfox_internal.codes_{collection}_{id}) c
             FULL JOIN pgfox_internal.codes_{collection}_{id}_list{number} l
                 ON (l.document_key, l.chunk, l.f{number}) = (c.document_key, c.chunk, c.element)",
            differ.collect::<String>()
        );
        let row = admin.query_one(&sql, &[]).await.unwrap();
        let (all, wrong): (i64, i64) = (row.get(0), row.get(1));
        assert!(all > 0);
        assert_eq!(wrong, 0, "of {all} strings");
    }
}

#[rstest]
#[tokio::test]
async fn the_nearest_that_match(
    #[values(16, 18)] major: u32,
    #[values(Distance::L2, Distance::Cosine, Distance::InnerProduct)] distance: Distance,
) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut numbers = Numbers(42);
    load(&mut client, &server, distance, &mut numbers).await;
    let get = v1::GetCollectionRequest { name: "c".into() };
    let codes = client.get_collection(get).await.unwrap().into_inner().collection.unwrap().codes.unwrap();
    let fields: Vec<_> = codes.fields.iter().map(|index| (&*index.field, index.r#type())).collect();
    assert_eq!((fields, codes.progress), (FIELDS[1..].to_vec(), 1.0));
    are_in_step(&server).await;
    finds_the_nearest(&mut client, &mut numbers).await;
}

#[tokio::test]
async fn codes_follow_what_is_written() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(7);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    // New documents, changed vectors, changed metadata alone, both, and unchanged ones: few and many at a time.
    for count in [3, 500] {
        let mut documents = Vec::new();
        for id in (DOCUMENTS - count)..(DOCUMENTS + count) {
            documents.push(numbers.document(id));
        }
        ingest(&mut client, "c", documents.clone()).await;
        for (i, document) in documents.iter_mut().enumerate() {
            if i % 3 == 0 {
                document.metadata = Some(object(&numbers.metadata()));
            }
            if i % 3 == 1 {
                *document.vector.as_mut().unwrap() = v1::Vector { values: numbers.vector() };
            }
        }
        ingest(&mut client, "c", documents).await;
        are_in_step(&server).await;
    }
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        filter: Some(equals("genre", &json!("war"))),
        metadata: Some(object(&json!({"genre": "peace", "year": 2_000}))),
        ..Default::default()
    };
    assert!(client.update_metadata(update).await.unwrap().into_inner().updated_count > 100);
    are_in_step(&server).await;
    let delete = v1::DeleteDocumentsRequest {
        collection: "c".into(),
        filter: Some(field("year", Test::LessThan(value(&json!(1970))))),
        ..Default::default()
    };
    assert!(client.delete_documents(delete).await.unwrap().into_inner().deleted_count > 100);
    are_in_step(&server).await;
    finds_the_nearest(&mut client, &mut numbers).await;
    // What is new is found, what is gone is not.
    let query = numbers.vector();
    let document =
        v1::Document { metadata: Some(object(&json!({"genre": "unique"}))), ..vector_document("unique", &query) };
    ingest(&mut client, "c", vec![document]).await;
    let unique = || v1::SearchRequest { filter: Some(equals("genre", &json!("unique"))), ..near("c", &query, 5) };
    assert_eq!(ids(&search(&mut client, unique()).await), ["unique"]);
    let delete =
        v1::DeleteDocumentsRequest { collection: "c".into(), ids: vec!["unique".into()], ..Default::default() };
    client.delete_documents(delete).await.unwrap();
    assert!(search(&mut client, unique()).await.results.is_empty());
}

#[tokio::test]
async fn many_writers_while_codes_are_made() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(11);
    create(&mut client, Distance::L2).await;
    for first in (0..DOCUMENTS).step_by(1_000) {
        ingest(&mut client, "c", (first..first + 1_000).map(|id| numbers.document(id)).collect()).await;
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let mut client = server.client();
        writers.spawn(async move {
            let mut numbers = Numbers(100 + writer);
            for _ in 0..60 {
                let documents: Vec<_> = (0..5)
                    .map(|_| {
                        let id = numbers.below(DOCUMENTS + 500);
                        numbers.document(id)
                    })
                    .collect();
                let documents: BTreeMap<_, _> =
                    documents.into_iter().map(|document| (document.id.clone(), document)).collect();
                ingest(&mut client, "c", documents.into_values().collect()).await;
                let ids = vec![format!("{:05}", numbers.below(DOCUMENTS)), format!("{:05}", numbers.below(DOCUMENTS))];
                let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids, ..Default::default() };
                client.delete_documents(delete).await.unwrap();
                let update = v1::UpdateMetadataRequest {
                    collection: "c".into(),
                    ids: vec![format!("{:05}", numbers.below(DOCUMENTS))],
                    metadata: Some(object(&numbers.metadata())),
                    ..Default::default()
                };
                client.update_metadata(update).await.unwrap();
            }
        });
    }
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    await_codes(&server, 3).await;
    are_in_step(&server).await;
    finds_the_nearest(&mut client, &mut numbers).await;
}

#[tokio::test]
async fn codes_come_and_go_with_declared_fields() {
    let server = Server::start(16).await;
    let mut client = server.client();
    let mut numbers = Numbers(5);
    load(&mut client, &server, Distance::Cosine, &mut numbers).await;
    let admin = sql(&server.database_url).await;
    let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^codes_[0-9]+_[0-9]+$'";
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^codes_'";
    for (fields, sets) in [(2, 1), (0, 0), (3, 1)] {
        let request = v1::UpdateCollectionRequest {
            collection: Some(v1::Collection {
                name: "c".into(),
                metadata_indexes: declared(&FIELDS[..=fields]),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["metadata_indexes".into()] }),
        };
        client.update_collection(request).await.unwrap();
        if sets > 0 {
            await_codes(&server, fields as i32).await;
        }
        eventually("what is replaced is gone", async || {
            let count = async |sql| admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
            count(tables).await == sets && count(triggers).await == 5 * sets
        })
        .await;
        let mut documents: Vec<_> = (0..50).map(|id| numbers.document(id)).collect();
        documents.push(numbers.document(DOCUMENTS + fields));
        ingest(&mut client, "c", documents).await;
        if sets > 0 {
            are_in_step(&server).await;
        }
    }
    finds_the_nearest(&mut client, &mut numbers).await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(admin.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(admin.query_one("SELECT count(*) FROM pgfox_internal.codes", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_database_without_codes_gets_them() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(17);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let admin = sql(&server.database_url).await;
    // As an older version leaves it. A table of codes without a row in the registry is a leftover, which is dropped in use.
    let old: i64 = admin.query_one("DELETE FROM pgfox_internal.codes RETURNING id", &[]).await.unwrap().get(0);
    eventually("others are made", async || {
        search(
            &mut client,
            v1::SearchRequest { filter: Some(equals("year", &json!(1960))), ..near("c", &[1.0; DIMENSIONS], 5) },
        )
        .await;
        let sql = "SELECT count(*) FROM pgfox_internal.codes WHERE state = 'ready' AND id > $1";
        admin.query_one(sql, &[&old]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    are_in_step(&server).await;
    finds_the_nearest(&mut client, &mut numbers).await;
}

#[tokio::test]
async fn how_many_are_compared() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(23);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let query = numbers.vector();
    let genre = || Some(equals("genre", &json!("drama")));
    let with = |candidates| {
        let params = Some(v1::SearchParams { rerank_candidates: candidates, ..Default::default() });
        v1::SearchRequest { params, filter: genre(), ..near("c", &query, 10) }
    };
    // All that match is exact.
    let all = search(&mut client, with(Some(10_000))).await;
    assert_eq!(all.completeness(), Completeness::Exact);
    let few = search(&mut client, with(Some(1))).await;
    assert_eq!((few.completeness(), few.results.len()), (Completeness::Approximate, 10));
    assert_eq!(search(&mut client, with(None)).await.completeness(), Completeness::Approximate);
    let explained = v1::SearchRequest { explain: true, filter: Some(equals("other", &json!(1))), ..with(None) };
    let notes = search(&mut client, explained).await.explanation.unwrap().notes;
    assert!(
        notes.iter().any(|note| note.contains("declare the field other as METADATA_INDEX_TYPE_NUMBER")),
        "{notes:?}"
    );
    // The codes have only the beginning of a long string.
    let long = Some(equals("genre", &json!(format!("{}1", "long ".repeat(20)))));
    let explained = v1::SearchRequest { explain: true, filter: long, ..with(None) };
    let notes = search(&mut client, explained).await.explanation.unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("first 64 characters")), "{notes:?}");
}
