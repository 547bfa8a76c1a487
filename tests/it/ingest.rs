//! Ingest and IngestStream: what counts as a change, what it costs, and what many concurrent writers leave behind.

use std::collections::HashMap;

use pgfox::v1::{self, Distance};
use prost_types::{ListValue, Struct, Value, value::Kind};
use rstest::rstest;

use crate::{
    calls::{about, count, counts, get, ids, ingest, invalid, near, request, search, with_provider},
    provider::{DIMENSIONS, Provider, vector},
    support::{Client, Server, text_document, texts, vector_document, vectors},
};

fn object(fields: &[(&str, Kind)]) -> Struct {
    Struct {
        fields: fields.iter().map(|(key, kind)| ((*key).to_owned(), Value { kind: Some(kind.clone()) })).collect(),
    }
}

fn tagged(document: v1::Document, tag: &str) -> v1::Document {
    v1::Document { metadata: Some(object(&[("tag", Kind::StringValue(tag.into()))])), ..document }
}

/// Vectors in the only embedding table of the database that belong to no document.
async fn orphans(server: &Server) -> i64 {
    let sql = server.sql().await;
    let table = "SELECT relname FROM pg_class WHERE relname ~ '^embeddings_[0-9]+_[0-9]+$'";
    let embeddings: String = sql.query_one(table, &[]).await.unwrap().get(0);
    let documents = format!("documents_{}", embeddings.split('_').nth(1).unwrap());
    let orphans = format!(
        "SELECT count(*) FROM pgfox_internal.{embeddings}
         WHERE document_key NOT IN (SELECT key FROM pgfox_internal.{documents})"
    );
    sql.query_one(&orphans, &[]).await.unwrap().get(0)
}

#[rstest]
#[tokio::test]
async fn the_last_of_a_repeated_id_wins(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    let twice = |id: &str| {
        vec![vector_document(id, &[1.0, 0.0]), vector_document("other", &[5.0, 5.0]), vector_document(id, &[2.0, 0.0])]
    };
    assert_eq!(counts(&ingest(&mut client, "c", twice("a")).await), (2, 0, 0));
    assert_eq!(get(&mut client, "c", &["a"]).await, [vector_document("a", &[2.0, 0.0])]);
    assert_eq!(counts(&ingest(&mut client, "c", twice("a")).await), (0, 0, 2));
    assert_eq!(counts(&ingest(&mut client, "c", vec![vector_document("a", &[3.0, 0.0])]).await), (1, 1, 0));
    assert_eq!(get(&mut client, "c", &["a"]).await, [vector_document("a", &[3.0, 0.0])]);
    assert_eq!(count(&mut client, "c").await, 2);

    // An invalid one does not win.
    let documents = vec![vector_document("a", &[4.0, 0.0]), vector_document("a", &[4.0])];
    let skip = v1::IngestRequest { skip_invalid: true, ..request("c", documents) };
    let response = client.ingest(skip).await.unwrap().into_inner();
    assert_eq!((counts(&response), response.errors.len()), ((1, 1, 0), 1));
    let many = (0..1_000).map(|i| vector_document("a", &[i as f32, 1.0])).collect();
    assert_eq!(counts(&ingest(&mut client, "c", many).await), (1, 1, 0));
    assert_eq!(get(&mut client, "c", &["a"]).await, [vector_document("a", &[999.0, 1.0])]);
}

#[rstest]
#[tokio::test]
async fn copied_and_inserted_rows_are_the_same(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for (name, vector_type) in [("whole", v1::VectorType::Vector), ("half", v1::VectorType::Halfvec)] {
        let mut collection = vectors(name, 3, Distance::L2);
        collection.collection.as_mut().unwrap().vector_type = vector_type.into();
        client.create_collection(collection).await.unwrap();
        let document = |i: usize| {
            let document = vector_document(&format!("ü{i}"), &[i as f32, -0.5, 0.25 * i as f32]);
            tagged(v1::Document { text: format!("text {i}"), ..document }, &i.to_string())
        };
        // 200 at once are copied, in 20 requests of 10 they are inserted, and 200 with one of the old are inserted too.
        assert_eq!(counts(&ingest(&mut client, name, (0..200).map(document).collect()).await), (200, 0, 0));
        for i in 20..40 {
            ingest(&mut client, name, (i * 10..(i + 1) * 10).map(document).collect()).await;
        }
        let mixed =
            (399..600).map(|i| if i == 399 { v1::Document { text: "new".into(), ..document(i) } } else { document(i) });
        assert_eq!(counts(&ingest(&mut client, name, mixed.collect()).await), (201, 1, 0));
        let expected: Vec<v1::Document> = (0..600).filter(|i| *i != 399).map(document).collect();
        let wanted: Vec<&str> = expected.iter().map(|document| document.id.as_str()).collect();
        assert_eq!(get(&mut client, name, &wanted).await, expected);
        assert_eq!(counts(&ingest(&mut client, name, expected).await), (0, 0, 599));
    }
}

#[rstest]
#[tokio::test]
async fn a_mixed_request_changes_what_changed(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    let document = |id: &str, x: f32, text: &str, tag: &str| {
        tagged(v1::Document { text: text.into(), ..vector_document(id, &[x, 0.0]) }, tag)
    };
    let before = ["vector", "text", "metadata", "same", "all"].map(|id| document(id, 1.0, "old", "old"));
    ingest(&mut client, "c", before.into()).await;
    let after = vec![
        document("vector", 2.0, "old", "old"),
        document("text", 1.0, "new", "old"),
        document("metadata", 1.0, "old", "new"),
        document("same", 1.0, "old", "old"),
        document("all", 2.0, "new", "new"),
        document("new", 3.0, "new", "new"),
    ];
    assert_eq!(counts(&ingest(&mut client, "c", after.clone()).await), (5, 4, 1));
    assert_eq!(get(&mut client, "c", &["vector", "text", "metadata", "same", "all", "new"]).await, after);
    // Only metadata changes, then nothing, then the metadata is removed.
    let tagged = tagged(after[0].clone(), "newer");
    assert_eq!(counts(&ingest(&mut client, "c", vec![tagged.clone()]).await), (1, 1, 0));
    assert_eq!(counts(&ingest(&mut client, "c", vec![tagged.clone()]).await), (0, 0, 1));
    assert_eq!(
        counts(&ingest(&mut client, "c", vec![v1::Document { metadata: None, ..tagged.clone() }]).await),
        (1, 1, 0)
    );
    assert_eq!(
        counts(&ingest(&mut client, "c", vec![v1::Document { metadata: Some(Struct::default()), ..tagged }]).await),
        (0, 0, 1)
    );
    assert_eq!(get(&mut client, "c", &["vector"]).await[0].metadata, None);
}

#[rstest]
#[tokio::test]
async fn metadata_comes_back_as_it_was(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let list = |kinds: Vec<Kind>| {
        Kind::ListValue(ListValue { values: kinds.into_iter().map(|kind| Value { kind: Some(kind) }).collect() })
    };
    let numbers = [
        0.0,
        -1.0,
        0.1,
        0.1 + 0.2,
        1e21,
        1e300,
        -1.7976931348623157e308,
        5e-324,
        9_007_199_254_740_993.0,
        1_700_000_000_123.0,
        2.0_f64.powi(63),
    ];
    let metadata = object(&[
        ("numbers", list(numbers.map(Kind::NumberValue).into())),
        (
            "nested",
            Kind::StructValue(object(&[(
                "deep",
                Kind::StructValue(object(&[("", list(vec![list(vec![]), Kind::StructValue(Struct::default())]))])),
            )])),
        ),
        ("null", Kind::NullValue(0)),
        ("flags", list(vec![Kind::BoolValue(true), Kind::BoolValue(false), Kind::NullValue(0)])),
        ("big", Kind::StringValue("9223372036854775807".into())),
        ("ключ 🦊", Kind::StringValue("значение 🦊".into())),
    ]);
    let document = v1::Document { metadata: Some(metadata), ..vector_document("a", &[1.0]) };
    ingest(&mut client, "c", vec![document.clone()]).await;
    assert_eq!(get(&mut client, "c", &["a"]).await, std::slice::from_ref(&document));
    assert_eq!(counts(&ingest(&mut client, "c", vec![document]).await), (0, 0, 1));
    let row = server
        .sql()
        .await
        .query_one("SELECT metadata #>> '{numbers,2}', metadata ->> 'big' FROM pgfox.c", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("0.1", "9223372036854775807"));
}

#[rstest]
#[tokio::test]
async fn writers_of_the_same_ids_leave_one_of_them_whole(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    let names: Vec<String> = (0..120).map(|i| format!("d{i}")).collect();
    let writers = (0..6_usize).map(|writer| {
        let (mut client, names) = (server.client(), names.clone());
        tokio::spawn(async move {
            for round in 0..8 {
                let version = writer * 100 + round;
                // Overlapping parts in different orders. Some rounds change only the metadata, some delete the rows.
                let start = (version * 7) % 60;
                let mut part: Vec<&String> = names[start..start + 60].iter().collect();
                if writer % 2 == 0 {
                    part.reverse();
                }
                if round == 5 {
                    let ids = part.into_iter().cloned().collect();
                    client
                        .delete_documents(v1::DeleteDocumentsRequest {
                            collection: "c".into(),
                            ids,
                            ..Default::default()
                        })
                        .await
                        .expect("deleted");
                    continue;
                }
                let content = if round % 3 == 0 { 1 } else { version };
                let document = |id: &&String| {
                    let document = vector_document(id, &[content as f32, 0.0]);
                    tagged(v1::Document { text: content.to_string(), ..document }, &version.to_string())
                };
                let documents = part.iter().map(document).collect();
                client.ingest(request("c", documents)).await.expect("stored");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let wanted =
        v1::GetDocumentsRequest { collection: "c".into(), ids: names, include_vector: true, allow_missing: true };
    let stored = client.get_documents(wanted).await.unwrap().into_inner().documents;
    assert!(!stored.is_empty());
    for document in stored {
        assert_eq!(document.vector.unwrap().values[0].to_string(), document.text, "{}", document.id);
    }
    assert_eq!(orphans(&server).await, 0);
}

/// In a collection without a model only words find such documents.
#[rstest]
#[tokio::test]
async fn documents_without_a_vector(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, Distance::L2)).await.unwrap();
    let with_vector = v1::Document { text: "a fox".into(), ..vector_document("a", &[1.0, 2.0]) };
    let empty = v1::Document { id: "e".into(), ..Default::default() };
    let documents = vec![with_vector, text_document("b", "an owl"), empty];
    let response = ingest(&mut client, "c", documents.clone()).await;
    assert_eq!((counts(&response), response.unembedded_count, response.embedded_count), ((3, 0, 0), 2, 0));
    assert_eq!(counts(&ingest(&mut client, "c", documents).await), (0, 0, 3));
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 2.0], 10)).await), ["a"]);
    let owls = v1::SearchRequest { mode: v1::SearchMode::FullText.into(), ..about("c", "owls", 10) };
    assert_eq!(ids(&search(&mut client, owls).await), ["b"]);
    // A vector comes and goes.
    let owl = v1::Document { text: "an owl".into(), ..vector_document("b", &[2.0, 1.0]) };
    assert_eq!(counts(&ingest(&mut client, "c", vec![owl]).await), (1, 1, 0));
    assert_eq!(ids(&search(&mut client, near("c", &[2.0, 1.0], 10)).await), ["b", "a"]);
    let response = ingest(&mut client, "c", vec![text_document("b", "an owl")]).await;
    assert_eq!((counts(&response), response.unembedded_count), ((1, 1, 0), 1));
    assert_eq!(ids(&search(&mut client, near("c", &[2.0, 1.0], 10)).await), ["a"]);
    assert_eq!(orphans(&server).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_collection_replaced_through_another_server(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let other = crate::support::Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let (mut here, mut there) = (server.client(), other.client());
    here.create_collection(vectors("c", 2, Distance::Cosine)).await.unwrap();
    ingest(&mut here, "c", vec![vector_document("a", &[1.0, 2.0])]).await;
    for dimensions in [3, 4, 1] {
        there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
        there.create_collection(vectors("c", dimensions, Distance::L2)).await.unwrap();
        // Its dimensions and its distance are new.
        let zero = vec![0.0; dimensions as usize];
        assert_eq!(counts(&ingest(&mut here, "c", vec![vector_document("b", &zero)]).await), (1, 0, 0));
        invalid(here.ingest(request("c", vec![vector_document("b", &[1.0, 2.0])])).await, &["documents[0].vector"]);
        assert_eq!(ids(&search(&mut there, near("c", &zero, 5)).await), ["b"]);
    }
}

/// The texts that the provider received, except those that asked for its dimensions.
fn asked(provider: &Provider) -> Vec<String> {
    let bodies = provider.bodies();
    let texts = bodies.iter().flat_map(|body| body["input"].as_array().unwrap().clone());
    texts.map(|text| text.as_str().unwrap().to_owned()).filter(|text| text != "dimensions").collect()
}

async fn change(client: &mut Client, document: v1::Document) -> (i32, i32, i32) {
    counts(&ingest(client, "c", vec![document]).await)
}

#[tokio::test]
async fn only_changed_texts_are_embedded() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let documents: Vec<_> = (0..100).map(|i| text_document(&i.to_string(), &format!("fox number {i}"))).collect();
    let response = ingest(&mut client, "c", documents.clone()).await;
    assert_eq!((counts(&response), response.usage.unwrap().tokens, asked(&provider).len()), ((100, 0, 0), 300, 100));
    let response = ingest(&mut client, "c", documents.clone()).await;
    assert_eq!((counts(&response), response.usage.unwrap().tokens), ((0, 0, 100), 0));
    assert_eq!(change(&mut client, tagged(documents[0].clone(), "new")).await, (1, 1, 0));
    assert_eq!(asked(&provider).len(), 100);

    let vector_of = async |client: &mut Client| get(client, "c", &["0"]).await.remove(0).vector;
    assert_eq!(change(&mut client, text_document("0", "a new text")).await, (1, 1, 0));
    assert_eq!(vector_of(&mut client).await.unwrap().values, vector("a new text", DIMENSIONS));
    assert_eq!(change(&mut client, text_document("0", "")).await, (1, 1, 0));
    assert_eq!(vector_of(&mut client).await, None);
    assert_eq!(change(&mut client, text_document("0", "")).await, (0, 0, 1));
    assert_eq!(change(&mut client, text_document("0", "fox number 0")).await, (1, 1, 0));
    assert_eq!(asked(&provider)[100..], ["a new text", "fox number 0"]);
    // If an id is repeated, only the last document is embedded.
    ingest(&mut client, "c", vec![text_document("z", "first"), text_document("z", "last")]).await;
    assert_eq!(asked(&provider)[102..], ["last"]);
    assert_eq!(orphans(&server).await, 0);
}

#[tokio::test]
async fn prefixes_are_sent_and_long_texts_are_counted() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let mut client = server.client();
    let mut collection = texts("c");
    collection.collection.as_mut().unwrap().embedding = Some(v1::Embedding {
        model: "openai/e5".into(),
        query_prefix: "query: ".into(),
        document_prefix: "passage: ".into(),
        ..Default::default()
    });
    client.create_collection(collection).await.unwrap();
    provider.limit_text_bytes(100);
    let documents = vec![text_document("a", "a fox"), text_document("b", &"word ".repeat(50)), text_document("c", "")];
    let response = ingest(&mut client, "c", documents).await;
    assert_eq!((response.truncated_count, response.unembedded_count), (1, 1));
    let found = search(&mut client, about("c", "a fox", 1)).await;
    assert_eq!((ids(&found), found.usage.unwrap().tokens), (vec!["a"], 3));
    let texts = asked(&provider);
    assert_eq!((texts[texts.len() - 1].as_str(), texts[0].as_str()), ("query: a fox", "passage: a fox"));
    assert!(texts[1..texts.len() - 1].iter().all(|text| text.starts_with("passage: ")), "{texts:?}");
    assert_eq!(get(&mut client, "c", &["a"]).await[0].text, "a fox");
}

#[tokio::test]
async fn writers_of_texts_leave_text_and_vector_agreeing() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let writers = (0..4_usize).map(|writer| {
        let mut client = server.client();
        tokio::spawn(async move {
            for round in 0..6 {
                let text = |i: usize| format!("writer {writer} round {round} text {i}");
                let documents = (0..30).map(|i| text_document(&i.to_string(), &text(i))).collect();
                client.ingest(request("c", documents)).await.expect("stored");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let wanted: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut writers: HashMap<String, usize> = HashMap::new();
    for document in get(&mut client, "c", &wanted).await {
        assert_eq!(document.vector.unwrap().values, vector(&document.text, DIMENSIONS), "{}", document.text);
        *writers.entry(document.text.rsplit_once(" text").unwrap().0.to_owned()).or_default() += 1;
    }
    // A request is a transaction: the last one to commit has written all of them.
    assert_eq!(writers.len(), 1, "{writers:?}");
}
