//! Conditional writes: only_if_absent and if_version.

use pgfox::v1::{self, Distance};
use rstest::rstest;
use tonic::Code;

use crate::{
    calls::{counts, get, info, ingest, invalid, refusal, request, with_provider},
    provider::Provider,
    support::{Server, eventually, text_document, texts, vector_document, vectors},
};

fn absent(documents: Vec<v1::Document>) -> v1::IngestRequest {
    v1::IngestRequest { only_if_absent: true, ..request("c", documents) }
}

fn at(versions: &[(&str, i64)], documents: Vec<v1::Document>) -> v1::IngestRequest {
    let if_version = versions.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect();
    v1::IngestRequest { if_version, ..request("c", documents) }
}

fn tagged(document: v1::Document, tag: &str) -> v1::Document {
    let kind = Some(prost_types::value::Kind::StringValue(tag.into()));
    let fields = [("tag".to_owned(), prost_types::Value { kind })].into();
    v1::Document { metadata: Some(prost_types::Struct { fields }), ..document }
}

async fn version(server: &Server, id: &str) -> i64 {
    let sql = server.sql().await;
    let table = "SELECT 'pgfox_internal.documents_' || id FROM pgfox_internal.collections";
    let table: String = sql.query_one(table, &[]).await.unwrap().get(0);
    sql.query_one(&format!("SELECT version FROM {table} WHERE id = $1"), &[&id]).await.unwrap().get(0)
}

#[rstest]
#[tokio::test]
async fn what_exists_stays(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    ingest(&mut client, "c", vec![vector_document("b", &[1.0])]).await;
    let documents = |value: f32| ["a", "b", "c"].map(|id| tagged(vector_document(id, &[value]), "new")).to_vec();
    let response = client.ingest(absent(documents(2.0))).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.skipped_count), ((2, 0, 0), 1));
    assert_eq!(get(&mut client, "c", &["b"]).await, [vector_document("b", &[1.0])]);
    let response = client.ingest(absent(documents(2.0))).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.skipped_count), ((0, 0, 0), 3));
    assert_eq!(version(&server, "a").await, 1);
}

#[rstest]
#[tokio::test]
async fn one_of_many_comes_first(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let writers = (0..6_usize).map(|writer| {
        let mut client = server.client();
        tokio::spawn(async move {
            let documents = (0..100).map(|i| vector_document(&i.to_string(), &[writer as f32])).collect();
            client.ingest(absent(documents)).await.unwrap().into_inner()
        })
    });
    let (mut upserted, mut skipped) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        let response = writer.await.unwrap();
        assert_eq!(response.updated_count, 0);
        upserted += response.upserted_count;
        skipped += response.skipped_count;
    }
    assert_eq!((upserted, skipped), (100, 500));
}

#[rstest]
#[tokio::test]
async fn versions_are_checked(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let document = |id: &str, value: f32| vector_document(id, &[value]);
    // 0 means that it must not exist.
    let new = at(&[("a", 0), ("b", 0)], vec![document("a", 1.0), document("b", 1.0)]);
    assert_eq!(counts(client.ingest(new.clone()).await.unwrap().get_ref()), (2, 0, 0));
    let (code, reason, _) = refusal(client.ingest(new.clone()).await);
    assert_eq!((code, reason.as_str()), (Code::Aborted, "VERSION_MISMATCH"));
    let status = client.ingest(new).await.unwrap_err();
    assert_eq!((info(&status)["collection"].as_str(), info(&status)["ids"].as_str()), ("c", "a,b"));

    // The document with the right version is not stored either.
    let mixed = at(&[("a", 1), ("b", 7)], vec![document("a", 2.0), document("b", 2.0), document("c", 2.0)]);
    let status = client.ingest(mixed.clone()).await.unwrap_err();
    assert_eq!(info(&status)["ids"], "b");
    assert_eq!(get(&mut client, "c", &["a"]).await, [document("a", 1.0)]);
    let skip = v1::IngestRequest { skip_invalid: true, ..mixed };
    let response = client.ingest(skip).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.errors.len()), ((2, 1, 0), 1));
    let error = &response.errors[0];
    assert_eq!((error.index, error.id.as_str(), error.reason()), (1, "b", v1::ErrorReason::VersionMismatch));
    assert_eq!((version(&server, "a").await, version(&server, "b").await), (2, 1));

    // An unchanged document keeps its version. A change of metadata alone is a change.
    let same = at(&[("a", 2)], vec![document("a", 2.0)]);
    assert_eq!(counts(client.ingest(same.clone()).await.unwrap().get_ref()), (0, 0, 1));
    assert_eq!(version(&server, "a").await, 2);
    let metadata = at(&[("a", 2)], vec![tagged(document("a", 2.0), "new"), document("b", 3.0)]);
    assert_eq!(counts(client.ingest(metadata.clone()).await.unwrap().get_ref()), (2, 2, 0));
    assert_eq!(refusal(client.ingest(metadata).await).0, Code::Aborted);
    assert_eq!(refusal(client.ingest(same).await).0, Code::Aborted);
    // A document that does not exist has no version.
    assert_eq!(refusal(client.ingest(at(&[("z", 1)], vec![document("z", 1.0)])).await).0, Code::Aborted);
}

#[rstest]
#[tokio::test]
async fn conditions_are_checked(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let documents = || vec![vector_document("a", &[1.0]), vector_document("ü\"", &[1.0])];
    invalid(client.ingest(at(&[("x", 1), ("a", -1)], documents())).await, &["if_version[\"a\"]", "if_version[\"x\"]"]);
    let both = v1::IngestRequest { only_if_absent: true, ..at(&[("a", 1)], documents()) };
    invalid(client.ingest(both).await, &["only_if_absent"]);
    let all = at(&[("a", -1)], vec![vector_document("a", &[1.0, 2.0])]);
    invalid(client.ingest(all).await, &["if_version[\"a\"]", "documents[0].vector"]);
    assert_eq!(counts(client.ingest(at(&[("ü\"", 0)], documents())).await.unwrap().get_ref()), (2, 0, 0));
}

#[rstest]
#[tokio::test]
async fn of_many_writers_of_a_version_one_wins(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    ingest(&mut client, "c", vec![vector_document("n", &[0.0])]).await;
    // Each adds one to a number, by reading and writing.
    let writers = (0..6_usize).map(|writer| {
        let mut client = server.client();
        tokio::spawn(async move {
            let mut added = 0;
            while added < 10 {
                let request = v1::GetDocumentsRequest {
                    collection: "c".into(),
                    ids: vec!["n".into()],
                    include_vector: true,
                    allow_missing: false,
                };
                let stored = client.get_documents(request).await.unwrap().into_inner().documents.remove(0);
                let value = stored.vector.unwrap().values[0];
                // The version is the number of writes, and so it equals the number.
                let document = vector_document("n", &[value + 1.0]);
                let document = if writer % 2 == 0 { document } else { tagged(document, &writer.to_string()) };
                match client.ingest(at(&[("n", value as i64 + 1)], vec![document])).await {
                    Ok(_) => added += 1,
                    Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(get(&mut client, "c", &["n"]).await[0].vector.as_ref().unwrap().values, [60.0]);
    assert_eq!(version(&server, "n").await, 61);
}

/// Another writer comes between the check of the versions and the write.
#[tokio::test]
async fn versions_are_checked_when_they_are_written() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    ingest(&mut client, "c", vec![text_document("a", "first"), text_document("b", "same")]).await;
    for skip_invalid in [false, true] {
        // Its text changes; and only its metadata does, beside one whose text does.
        for id in ["a", "b"] {
            let current = version(&server, id).await;
            let tag = format!("{id} {skip_invalid}");
            let documents = vec![
                if id == "a" {
                    text_document("a", &format!("late {tag}"))
                } else {
                    tagged(text_document("b", "same"), &tag)
                },
                text_document("c", &format!("another {tag}")),
            ];
            let late = v1::IngestRequest { skip_invalid, ..at(&[(id, current)], documents) };
            let held = provider.hold();
            let mut other = server.client();
            let late = tokio::spawn(async move { other.ingest(late).await });
            eventually("the late one is embedded", async || provider.under_way() == 1).await;
            let soon = if id == "a" { "first" } else { "same" };
            let soon = tagged(text_document(id, soon), &format!("soon {skip_invalid}"));
            assert_eq!(ingest(&mut client, "c", vec![soon.clone()]).await.updated_count, 1);
            held.notify_one();
            if skip_invalid {
                let response = late.await.unwrap().unwrap().into_inner();
                assert_eq!((response.upserted_count, response.errors.len()), (1, 1));
                assert_eq!(response.errors[0].id, id);
            } else {
                assert_eq!(refusal(late.await.unwrap()).1, "VERSION_MISMATCH");
            }
            assert_eq!(get(&mut client, "c", &[id]).await[0].metadata, soon.metadata);
            assert_eq!(version(&server, id).await, current + 1);
        }
    }
}

#[tokio::test]
async fn refused_documents_are_not_embedded() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    ingest(&mut client, "c", vec![text_document("a", "first")]).await;
    let texts = provider.texts();
    client.ingest(absent(vec![text_document("a", "second")])).await.unwrap();
    refusal(client.ingest(at(&[("a", 0)], vec![text_document("a", "second"), text_document("b", "new")])).await);
    assert_eq!(provider.texts(), texts);
}
