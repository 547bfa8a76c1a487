//! GetDocuments and DeleteDocuments, and strings that break careless programs, in every place of a document.

use std::time::{Duration, SystemTime};

use pgfox::v1::{self, Distance, VectorType, condition::Test};
use prost_types::{ListValue, Struct, Value, value::Kind};
use rstest::rstest;
use serde_json::json;
use tonic::Code;

use crate::{
    calls::{about, count, counts, get, ids, info, ingest, invalid, near, refusal, search, sent, similar},
    metadata::{all_of, document, equals, field, fill, none_of, value},
    naughty::NAUGHTY,
    support::{Server, text_document, texts, vector_document, vectors},
};

fn wanted(ids: &[&str]) -> v1::GetDocumentsRequest {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    v1::GetDocumentsRequest { collection: "c".into(), ids, ..Default::default() }
}

fn doomed(ids: &[&str]) -> v1::DeleteDocumentsRequest {
    v1::DeleteDocumentsRequest {
        collection: "c".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

fn got(response: &v1::GetDocumentsResponse) -> Vec<&str> {
    response.documents.iter().map(|document| document.id.as_str()).collect()
}

/// A document with a string wherever one fits.
fn naughty(text: &str) -> v1::Document {
    let string = || Value { kind: Some(Kind::StringValue(text.into())) };
    let list = Value { kind: Some(Kind::ListValue(ListValue { values: vec![string()] })) };
    let inner = Struct { fields: [(text.to_owned(), list)].into() };
    let object = Value { kind: Some(Kind::StructValue(inner)) };
    let metadata = Struct { fields: [(text.to_owned(), string()), (format!("{text}{text}"), object)].into() };
    v1::Document { id: text.into(), text: text.into(), metadata: Some(metadata), ..Default::default() }
}

#[rstest]
#[tokio::test]
async fn got_in_the_order_asked_for(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut half = vectors("c", 3, Distance::L2);
    half.collection.as_mut().unwrap().vector_type = VectorType::Halfvec.into();
    client.create_collection(half).await.unwrap();
    let documents: Vec<_> =
        (0..1_000).map(|i| vector_document(&format!("d{i}"), &[i as f32, 0.1, -65_504.0])).collect();
    ingest(&mut client, "c", documents).await;

    let response = client.get_documents(wanted(&["d7", "d3", "d7", "d999", "d3"])).await.unwrap().into_inner();
    assert_eq!((got(&response), response.missing_ids.len()), (vec!["d7", "d3", "d999"], 0));
    assert!(response.documents.iter().all(|document| document.vector.is_none()));
    // As 2-byte floats store it.
    assert_eq!(
        get(&mut client, "c", &["d7"]).await[0].vector.as_ref().unwrap().values,
        [7.0, 0.099_975_586, -65_504.0]
    );
    let all: Vec<String> = (0..1_000).rev().map(|i| format!("d{i}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let response = client.get_documents(wanted(&all)).await.unwrap().into_inner();
    assert_eq!(got(&response), all);

    let status = client.get_documents(wanted(&["d1", "x", "y,z", "d2", "x"])).await.unwrap_err();
    assert_eq!((info(&status)["collection"].as_str(), info(&status)["ids"].as_str()), ("c", "x,y,z"));
    assert!(status.message().contains("\"x\", \"y,z\"") && !status.message().contains("d1"), "{}", status.message());
    assert_eq!(refusal::<()>(Err(status)), (Code::NotFound, "DOCUMENT_NOT_FOUND".into(), vec![]));
    let allowed = v1::GetDocumentsRequest { allow_missing: true, ..wanted(&["y", "d1", "x", "d2", "y"]) };
    let response = client.get_documents(allowed).await.unwrap().into_inner();
    assert_eq!((got(&response), &response.missing_ids[..]), (vec!["d1", "d2"], &["y".to_owned(), "x".into()][..]));
}

#[rstest]
#[tokio::test]
async fn ids_that_cannot_be(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    invalid(client.get_documents(wanted(&[])).await, &["ids"]);
    invalid(client.delete_documents(doomed(&[])).await, &["ids"]);
    invalid(client.get_documents(wanted(&["a"; 1_001])).await, &["ids"]);
    invalid(client.delete_documents(doomed(&["a"; 1_001])).await, &["ids"]);
    let (long, too_long) = ("é".repeat(256), "é".repeat(257));
    let bad = ["a", "", "b\0", &too_long, &long];
    let fields = ["ids[1]", "ids[2]", "ids[3]"];
    invalid(client.get_documents(wanted(&bad)).await, &fields);
    invalid(client.delete_documents(doomed(&bad)).await, &fields);
    // However long they are, the error reaches the client.
    let fox = "🦊".repeat(128);
    let missing: Vec<String> = (0..1_000).map(|i| format!("{i}{}", &fox[..508])).collect();
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    assert_eq!(refusal(client.get_documents(wanted(&missing)).await).0, Code::NotFound);
    refusal(client.get_documents(wanted(&[too_long.as_str(); 1_000])).await);
    let other = v1::GetDocumentsRequest { collection: "unknown".into(), ..wanted(&["a"]) };
    assert_eq!(refusal(client.get_documents(other).await).1, "COLLECTION_NOT_FOUND");
    let other = v1::DeleteDocumentsRequest { collection: "unknown".into(), ..doomed(&["a"]) };
    assert_eq!(refusal(client.delete_documents(other).await).1, "COLLECTION_NOT_FOUND");
    invalid(
        client
            .delete_documents(v1::DeleteDocumentsRequest { collection: "\0".into(), ids: vec![], ..Default::default() })
            .await,
        &["collection", "ids"],
    );
}

#[rstest]
#[tokio::test]
async fn deleted_is_gone(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let documents = || (0..10).map(|i| vector_document(&i.to_string(), &[i as f32])).collect();
    ingest(&mut client, "c", documents()).await;
    let deleted = client.delete_documents(doomed(&["1", "unknown", "3", "1"])).await.unwrap().into_inner();
    assert_eq!((deleted.deleted_count, count(&mut client, "c").await), (2, 8));
    assert_eq!(client.delete_documents(doomed(&["1", "3"])).await.unwrap().into_inner().deleted_count, 0);
    assert_eq!(ids(&search(&mut client, near("c", &[1.0], 3)).await)[2..], ["4"]);
    assert_eq!(refusal(client.search(similar("c", "1", 1)).await).1, "DOCUMENT_NOT_FOUND");
    let rows = server.sql().await.query("SELECT id FROM pgfox.c WHERE id IN ('1', '3')", &[]).await.unwrap();
    assert!(rows.is_empty());
    // A deleted document is new when it comes again.
    assert_eq!(counts(&ingest(&mut client, "c", documents()).await), (2, 0, 8));
    assert_eq!(ids(&search(&mut client, near("c", &[1.0], 1)).await), ["1"]);
}

#[rstest]
#[tokio::test]
async fn deleted_by_a_filter(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    // More than one statement deletes.
    let documents = (0..21_000).map(|i| document(&format!("{i}"), &json!({"even": i % 2 == 0, "i": i})));
    fill(&mut client, documents.collect()).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "INSERT INTO pgfox_internal.embeddings_1_1 SELECT document_key, 1, embedding FROM pgfox_internal.embeddings_1_1;
         INSERT INTO pgfox_internal.chunks_1 SELECT document_key, 1, 0, 0, 0, NULL, '', '', 1, 0
         FROM pgfox_internal.embeddings_1_1 ON CONFLICT DO NOTHING",
    )
    .await
    .unwrap();
    let few = all_of(vec![equals("even", &json!(true)), field("i", Test::LessThan(value(&json!(10))))]);
    let mut request =
        v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(few), dry_run: true, ..Default::default() };
    let mut delete = async |request: &v1::DeleteDocumentsRequest| {
        client.delete_documents(request.clone()).await.unwrap().into_inner().deleted_count
    };
    assert_eq!([delete(&request).await, delete(&request).await], [5, 5]);
    request.dry_run = false;
    assert_eq!([delete(&request).await, delete(&request).await], [5, 0]);
    request.filter = Some(field("i", Test::AtLeast(value(&json!(20)))));
    assert_eq!(delete(&request).await, 20_980);
    let dry = v1::DeleteDocumentsRequest { dry_run: true, ..doomed(&["1", "3", "0", "1"]) };
    assert_eq!(delete(&dry).await, 2);

    let rows = sql
        .query_one(
            "SELECT (SELECT count(*) FROM pgfox_internal.documents_1),
                    (SELECT count(*) FROM pgfox_internal.embeddings_1_1),
                    (SELECT count(DISTINCT document_key) FROM pgfox_internal.chunks_1), (SELECT count(*) FROM pgfox.c)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!([0, 1, 2].map(|column| rows.get::<_, i64>(column)), [15, 30, 15]);
}

/// Whichever comes first, the write or the delete: a document has its vector and its words, and a deleted one has
/// neither.
#[rstest]
#[tokio::test]
async fn nothing_is_left_of_what_is_deleted_while_it_is_written(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    let mut calls = tokio::task::JoinSet::new();
    for task in 0..3 {
        let (mut writer, mut deleter) = (server.client(), server.client());
        calls.spawn(async move {
            for round in 0..30 {
                let documents = (0..20).map(|i| v1::Document {
                    text: format!("words {task} {round}"),
                    vector: Some(v1::Vector { values: vec![round as f32] }),
                    ..document(&format!("d{i}"), &json!({"i": i}))
                });
                ingest(&mut writer, "c", documents.collect()).await;
            }
        });
        calls.spawn(async move {
            for round in 0..30 {
                let filter = field("i", Test::AtLeast(value(&json!(round % 20))));
                let request =
                    v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(filter), ..Default::default() };
                deleter.delete_documents(request).await.expect("a deletion");
            }
        });
    }
    calls.join_all().await;
    let sql = "SELECT (SELECT count(*) FROM pgfox_internal.documents_1 d
                       FULL JOIN pgfox_internal.embeddings_1_1 e ON e.document_key = d.key
                       WHERE d.key IS NULL OR e.document_key IS NULL),
                      (SELECT count(*) FROM pgfox_internal.documents_1 d
                       FULL JOIN pgfox_internal.chunks_1 c ON c.document_key = d.key
                       WHERE d.key IS NULL OR c.document_key IS NULL)";
    let row = server.sql().await.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0));
}

/// Selecting nothing is an error and does not select everything.
#[rstest]
#[tokio::test]
async fn all_is_never_deleted_by_omission(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({})), document("b", &json!({}))]).await;
    for dry_run in [false, true] {
        let nothing = v1::DeleteDocumentsRequest { dry_run, ..doomed(&[]) };
        invalid(client.delete_documents(nothing.clone()).await, &["ids"]);
        let filter = Some(v1::Filter::default());
        let empty = v1::DeleteDocumentsRequest { filter: filter.clone(), ..nothing.clone() };
        invalid(client.delete_documents(empty).await, &["filter"]);
        let both = v1::DeleteDocumentsRequest { filter, dry_run, ..doomed(&["a"]) };
        invalid(client.delete_documents(both).await, &["filter"]);
        let lists = [(all_of(vec![]), "all_of"), (none_of(vec![]), "none_of")];
        for (filter, name) in lists {
            let empty = v1::DeleteDocumentsRequest { filter: Some(filter), ..nothing.clone() };
            invalid(client.delete_documents(empty).await, &[&format!("filter.{name}.filters")]);
        }
    }
    assert_eq!(count(&mut client, "c").await, 2);
}

#[rstest]
#[tokio::test]
async fn versions_and_times_are_returned(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({}))]).await;
    let mut get = async || {
        let document = client.get_documents(wanted(&["a"])).await.unwrap().into_inner().documents.remove(0);
        let times =
            [document.create_time, document.update_time].map(|time| SystemTime::try_from(time.unwrap()).unwrap());
        (document.version, times)
    };
    let (first, [created, updated]) = get().await;
    assert_eq!((first, created), (1, updated));
    assert!(created.elapsed().unwrap() < Duration::from_secs(60));
    let mut writer = server.client();
    ingest(&mut writer, "c", vec![document("a", &json!({}))]).await;
    assert_eq!(get().await, (1, [created, updated]));
    ingest(&mut writer, "c", vec![document("a", &json!({"x": 1}))]).await;
    let (version, [unchanged, changed]) = get().await;
    assert_eq!((version, unchanged), (2, created));
    assert!(changed > updated);
    let found = search(&mut writer, near("c", &[1.0], 1)).await.results.remove(0).document.unwrap();
    assert_eq!((found.version, found.create_time, found.update_time), (0, None, None));
}

/// The vector of a document with chunks is the mean of their vectors.
#[rstest]
#[tokio::test]
async fn the_vector_of_chunks_is_their_mean(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for (name, vector_type) in [("c", VectorType::Vector), ("h", VectorType::Halfvec)] {
        let mut request = vectors(name, 2, Distance::L2);
        request.collection.as_mut().unwrap().vector_type = vector_type.into();
        client.create_collection(request).await.unwrap();
        let documents = [("mean", [1.0, 2.0]), ("at the mean", [3.0, 4.0]), ("at a chunk", [1.0, 2.5])];
        ingest(&mut client, name, documents.map(|(id, values)| vector_document(id, &values)).to_vec()).await;
    }
    for (documents, embeddings) in [("1", "1_1"), ("2", "2_2")] {
        let sql = format!(
            "INSERT INTO pgfox_internal.embeddings_{embeddings}
             SELECT key, chunk, embedding FROM pgfox_internal.documents_{documents},
                    (VALUES (1, '[2,3]'::vector), (7, '[6,7]')) AS added (chunk, embedding)
             WHERE id = 'mean'"
        );
        server.sql().await.batch_execute(&sql).await.unwrap();
    }
    for name in ["c", "h"] {
        let vector = |document: &v1::Document| document.vector.clone().unwrap().values;
        assert_eq!(vector(&get(&mut client, name, &["mean"]).await[0]), [3.0, 4.0]);
        let request = v1::ListDocumentsRequest { collection: name.into(), include_vector: true, ..Default::default() };
        let listed = client.list_documents(request).await.unwrap().into_inner().documents;
        let listed: Vec<_> = listed.iter().map(|document| (document.id.as_str(), vector(document))).collect();
        assert_eq!(listed, [("at a chunk", vec![1.0, 2.5]), ("at the mean", vec![3.0, 4.0]), ("mean", vec![3.0, 4.0])]);
        assert_eq!(ids(&search(&mut client, similar(name, "mean", 1)).await), ["at the mean"]);
    }
}

#[rstest]
#[tokio::test]
async fn naughty_strings_come_back_as_they_were(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let documents: Vec<v1::Document> = NAUGHTY.iter().map(|text| naughty(text)).collect();
    assert_eq!(counts(&ingest(&mut client, "c", documents.clone()).await), (NAUGHTY.len() as i32, 0, 0));
    let plain = client.get_documents(wanted(NAUGHTY)).await.unwrap().into_inner().documents;
    assert_eq!(plain.into_iter().map(sent).collect::<Vec<_>>(), documents);
    assert_eq!(counts(&ingest(&mut client, "c", documents.clone()).await), (0, 0, NAUGHTY.len() as i32));
    for (text, document) in NAUGHTY.iter().zip(&documents).filter(|(text, _)| !text.trim().is_empty()) {
        let found = search(&mut client, about("c", text, 100)).await;
        let found = found.results.into_iter().filter_map(|result| result.document);
        assert!(found.into_iter().any(|found| found == *document), "{text:?}");
        assert!(!ids(&search(&mut client, similar("c", text, 100)).await).contains(text));
    }
    // SQL sees the same strings.
    let rows = server.sql().await.query("SELECT id, content, metadata ->> id FROM pgfox.c", &[]).await.unwrap();
    assert_eq!(rows.len(), NAUGHTY.len());
    for row in rows {
        let columns: [&str; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(columns, [columns[0]; 3]);
    }
    assert_eq!(
        client.delete_documents(doomed(NAUGHTY)).await.unwrap().into_inner().deleted_count,
        NAUGHTY.len() as i64
    );
    // Each is a key, not a pattern or a number, and no two are the same.
    ingest(&mut client, "c", vec![text_document("%", "x"), text_document("1", "x"), text_document("é", "x")]).await;
    let others = v1::GetDocumentsRequest { allow_missing: true, ..wanted(&["_", "01", "1 ", "e\u{301}", "%%"]) };
    assert_eq!(client.get_documents(others).await.unwrap().into_inner().documents, []);
}
