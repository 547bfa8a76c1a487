//! Invalid documents: each is refused with its place and reason, stores nothing and breaks nothing.

use pgfox::v1::{self, Distance, ErrorReason, VectorType};
use prost_types::{ListValue, Struct, Value, value::Kind};
use rstest::rstest;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    calls::{
        about, count, counts, fits_headers, get, ids, info, ingest, invalid, near, refusal, request, search, similar,
        with_provider,
    },
    provider::Provider,
    support::{Client, Server, text_document, texts, vector_document, vectors},
};

async fn create(client: &mut Client, name: &str, dimensions: i32, distance: Distance, vector_type: VectorType) {
    let mut request = vectors(name, dimensions, distance);
    request.collection.as_mut().unwrap().vector_type = vector_type.into();
    client.create_collection(request).await.expect("created");
}

fn with_metadata(id: &str, key: &str, kind: Kind) -> v1::Document {
    let fields = [(key.to_owned(), Value { kind: Some(kind) })].into();
    v1::Document { metadata: Some(Struct { fields }), ..vector_document(id, &[1.0, 2.0]) }
}

/// A document with `depth` nested lists or objects, including the metadata.
fn nested(depth: usize, list: bool) -> v1::Document {
    let mut kind = Kind::StringValue("bottom".into());
    for _ in 1..depth {
        let value = Value { kind: Some(kind) };
        kind = if list {
            Kind::ListValue(ListValue { values: vec![value] })
        } else {
            Kind::StructValue(Struct { fields: [("k".to_owned(), value)].into() })
        };
    }
    with_metadata(&format!("{depth} {list}"), "k", kind)
}

#[rstest]
#[tokio::test]
async fn vectors_that_no_collection_takes(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for distance in [Distance::L2, Distance::Cosine, Distance::InnerProduct, Distance::L1] {
        for vector_type in [VectorType::Vector, VectorType::Halfvec] {
            let name = format!("c{}{}", distance as i32, vector_type as i32);
            create(&mut client, &name, 3, distance, vector_type).await;
            let bad = |values: &[f32]| request(&name, vec![vector_document("a", values)]);
            for values in [&[][..], &[1.0], &[1.0, 2.0], &[1.0; 4], &[1.0; 16_001]] {
                let status = client.ingest(bad(values)).await.unwrap_err();
                assert_eq!(
                    (info(&status)["expected"].as_str(), &info(&status)["actual"]),
                    ("3", &values.len().to_string())
                );
                let (code, reason, fields) = refusal::<()>(Err(status));
                assert_eq!(
                    (code, reason.as_str(), fields),
                    (Code::InvalidArgument, "DIMENSION_MISMATCH", vec!["documents[0].vector".into()])
                );
            }
            for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                invalid(client.ingest(bad(&[0.0, 1.0, value])).await, &["documents[0].vector.values[2]"]);
            }
            let zero = client.ingest(bad(&[0.0, -0.0, 0.0])).await;
            if distance == Distance::Cosine {
                invalid(zero, &["documents[0].vector"]);
                invalid(client.search(near(&name, &[0.0; 3], 1)).await, &["vector"]);
            } else {
                zero.unwrap();
                assert_eq!(search(&mut client, near(&name, &[0.0; 3], 1)).await.results.len(), 1);
            }
            if vector_type == VectorType::Halfvec {
                for value in [65_520.0, -1e6, f32::MAX] {
                    invalid(client.ingest(bad(&[0.0, value, value])).await, &["documents[0].vector.values[1]"]);
                }
                ingest(&mut client, &name, vec![vector_document("a", &[65_504.0, -65_504.0, 1.0])]).await;
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn tiny_and_huge_vectors_never_break_a_search(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let (tiny, huge) = (f32::from_bits(1), f32::MAX);
    for distance in [Distance::L2, Distance::Cosine, Distance::InnerProduct, Distance::L1] {
        let name = format!("c{}", distance as i32);
        create(&mut client, &name, 2, distance, VectorType::Vector).await;
        let documents = [[tiny, tiny], [1e-30, 1e-30], [1.0, 2.0], [1e18, -1e18], [huge, huge], [huge, -huge]];
        let documents =
            documents.iter().enumerate().map(|(i, values)| vector_document(&i.to_string(), values)).collect();
        let skip = v1::IngestRequest { skip_invalid: true, ..request(&name, documents) };
        let response = client.ingest(skip).await.unwrap().into_inner();
        let refused: Vec<i32> = response.errors.iter().map(|error| error.index).collect();
        // pgvector squares lengths in 4-byte floats, so it cannot tell the direction of these vectors.
        assert_eq!(refused, if distance == Distance::Cosine { vec![0, 1, 4, 5] } else { vec![] });
        for indexed in [false, true] {
            if indexed {
                crate::calls::build_index(&mut client, &name, v1::index_spec::Kind::Hnsw(v1::Hnsw::default())).await;
            }
            for values in [[tiny, tiny], [1.0, 1.0], [huge, huge]] {
                match client.search(near(&name, &values, 10)).await {
                    Ok(found) => assert_eq!(found.into_inner().results.len(), 6 - refused.len()),
                    refused => invalid(refused, &["vector"]),
                }
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn strings_that_cannot_be_stored(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", 2, Distance::L2, VectorType::Vector).await;
    let good = || vector_document("good", &[1.0, 2.0]);
    let long = "i".repeat(10_000);
    let longest = "é".repeat(256);
    for id in ["", "\0", "a\0b", &long, &(longest.clone() + "x")] {
        let request = request("c", vec![good(), v1::Document { id: id.into(), ..good() }]);
        invalid(client.ingest(request).await, &["documents[1].id"]);
    }
    let refused = v1::Document { text: "a\0b".into(), ..good() };
    invalid(client.ingest(request("c", vec![refused])).await, &["documents[0].text"]);
    let refused = v1::Document { text: "x".repeat(8 * 1024 * 1024 + 1), ..good() };
    invalid(client.ingest(request("c", vec![refused])).await, &["documents[0].text"]);
    assert_eq!(count(&mut client, "c").await, 0);

    let text = "fünf ".repeat(8 * 1024 * 1024 / 6);
    let stored = vec![v1::Document { id: longest.clone(), text: text.clone(), ..good() }];
    assert_eq!(counts(&ingest(&mut client, "c", stored).await), (1, 0, 0));
    assert!(get(&mut client, "c", &[&longest]).await[0].text == text);
    assert_eq!(
        refusal(
            client
                .get_documents(v1::GetDocumentsRequest {
                    collection: "a\0".into(),
                    ids: vec!["a".into()],
                    ..Default::default()
                })
                .await
        )
        .0,
        Code::InvalidArgument
    );
    invalid(client.search(similar("c\0", "a", 1)).await, &["collection"]);
    invalid(client.ingest(request("", vec![good()])).await, &["collection"]);
    let (code, reason, _) = refusal(client.ingest(request("unknown", vec![good()])).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "COLLECTION_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn metadata_that_is_no_json(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", 2, Distance::L2, VectorType::Vector).await;
    let list = |kind| {
        Kind::ListValue(ListValue { values: [Kind::NullValue(0), kind].map(|kind| Value { kind: Some(kind) }).into() })
    };
    let wide = "w".repeat(1024 * 1024);
    let long_key = "🦊".repeat(100_000);
    for (key, kind) in [
        ("k", Kind::NumberValue(f64::NAN)),
        ("k", Kind::NumberValue(f64::INFINITY)),
        (&long_key, list(Kind::NumberValue(f64::NEG_INFINITY))),
        ("k", Kind::StringValue("a\0".into())),
        ("k\0", Kind::NullValue(0)),
        ("k", list(Kind::StringValue("\0".into()))),
        // Short on the wire, but 300 digits long as text.
        ("k", Kind::ListValue(ListValue { values: vec![Value { kind: Some(Kind::NumberValue(1e300)) }; 4_000] })),
        ("k", Kind::StringValue(wide.clone())),
        (&wide, Kind::BoolValue(true)),
    ] {
        invalid(client.ingest(request("c", vec![with_metadata("a", key, kind)])).await, &["documents[0].metadata"]);
    }
    for list in [false, true] {
        invalid(client.ingest(request("c", vec![nested(33, list)])).await, &["documents[0].metadata"]);
        ingest(&mut client, "c", vec![nested(32, list)]).await;
        // Whatever can be ingested can also be read by every client: a search result is nested deeper than a document
        // to ingest.
        assert_eq!(get(&mut client, "c", &[&format!("32 {list}")]).await[0].metadata, nested(32, list).metadata);
    }
    let found = search(&mut client, near("c", &[1.0, 2.0], 10)).await;
    assert_eq!(ids(&found), ["32 false", "32 true"]);
    // No client library can read these.
    for depth in [34, 60, 200] {
        for list in [false, true] {
            let (code, reason, _) = refusal(client.ingest(request("c", vec![nested(depth, list)])).await);
            assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        }
    }
    let mut stream =
        client.ingest_stream(tokio_stream::iter([request("c", vec![nested(200, false)])])).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(
        (refusal::<()>(Err(status.clone())).1.as_str(), status.code()),
        ("INVALID_FIELD", Code::InvalidArgument)
    );
    let largest = "w".repeat(1024 * 1024 - 8);
    ingest(&mut client, "c", vec![with_metadata("a", "k", Kind::StringValue(largest))]).await;
}

#[rstest]
#[tokio::test]
async fn all_violations_at_once(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", 2, Distance::Cosine, VectorType::Vector).await;
    let worst = v1::Document {
        id: String::new(),
        text: "\0".into(),
        vector: Some(v1::Vector { values: vec![0.0, 0.0] }),
        metadata: with_metadata("", "k", Kind::NumberValue(f64::NAN)).metadata,
        ..Default::default()
    };
    let fields = ["id", "text", "vector", "metadata"].map(|field| format!("documents[1].{field}"));
    let fields: Vec<&str> = fields.iter().map(String::as_str).chain(["documents[2].vector"]).collect();
    let longer = vector_document("b", &[1.0, 2.0, 3.0]);
    let documents = vec![vector_document("a", &[1.0, 2.0]), worst.clone(), longer];
    invalid(client.ingest(request("c", documents)).await, &fields);

    // However many violations there are, the error reaches the client.
    for bad in [worst, text_document(&"🦊".repeat(2_000), "no vector"), vector_document("", &[1.0])] {
        let status = client.ingest(request("c", vec![bad; 1_000])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        fits_headers(&status);
        assert!(status.get_error_details().bad_request().unwrap().field_violations.len() > 20);
        assert!(status.message().contains("more"), "{}", status.message());
    }
    let many = vec![vector_document("a", &[1.0, 2.0]); 1_001];
    invalid(client.ingest(request("c", many)).await, &["documents"]);
    assert_eq!(count(&mut client, "c").await, 0);
    let nothing = v1::IngestRequest { sequence: 9, ..request("c", vec![]) };
    let response = client.ingest(nothing).await.unwrap().into_inner();
    assert_eq!((response.sequence, counts(&response), response.errors.len()), (9, (0, 0, 0), 0));
}

#[rstest]
#[tokio::test]
async fn the_good_ones_are_stored_on_demand(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", 2, Distance::L2, VectorType::Vector).await;
    let long = format!("{}é", "x".repeat(511));
    let documents = vec![
        vector_document("a", &[1.0, 2.0]),
        vector_document("b", &[1.0]),
        vector_document(&long, &[1.0, 2.0]),
        v1::Document { text: "\0".into(), ..vector_document("d", &[1.0, f32::NAN]) },
        vector_document("e", &[3.0, 4.0]),
    ];
    let request = v1::IngestRequest { skip_invalid: true, sequence: -7, ..request("c", documents) };
    let response = client.ingest(request.clone()).await.unwrap().into_inner();
    assert_eq!((response.sequence, counts(&response)), (-7, (2, 0, 0)));
    let reported: Vec<(i32, &str, ErrorReason)> =
        response.errors.iter().map(|error| (error.index, error.id.as_str(), error.reason())).collect();
    assert_eq!(
        reported,
        [
            (1, "b", ErrorReason::DimensionMismatch),
            (2, &long[..511], ErrorReason::InvalidField),
            (3, "d", ErrorReason::InvalidField),
        ]
    );
    assert!(response.errors[0].message.contains("2 dimensions") && response.errors[0].message.contains("not 1"));
    assert!(response.errors[2].message.contains("text") && response.errors[2].message.contains("vector.values[1]"));
    assert_eq!(count(&mut client, "c").await, 2);

    let again = client.ingest(request).await.unwrap().into_inner();
    assert_eq!((counts(&again), again.errors.len()), ((0, 0, 2), 3));
    let all_bad =
        v1::IngestRequest { skip_invalid: true, ..crate::calls::request("c", vec![vector_document("", &[]); 1_000]) };
    assert_eq!(client.ingest(all_bad).await.unwrap().into_inner().errors.len(), 1_000);
}

#[rstest]
#[tokio::test]
async fn messages_that_are_too_large(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", 2, Distance::L2, VectorType::Vector).await;
    let text = "x".repeat(17 * 1024 * 1024);
    let large = || request("c", vec![v1::Document { text: text.clone(), ..vector_document("a", &[1.0, 2.0]) }]);
    let (code, reason, _) = refusal(client.ingest(large()).await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));

    let small = request("c", vec![vector_document("b", &[1.0, 2.0])]);
    let mut stream = client.ingest_stream(tokio_stream::iter([small, large()])).await.unwrap().into_inner();
    assert_eq!(counts(&stream.message().await.unwrap().unwrap()), (1, 0, 0));
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), refusal::<()>(Err(status)).1.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(count(&mut client, "c").await, 1);
}

#[tokio::test]
async fn a_vector_of_ones_own_is_not_embedded() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let probes = provider.texts();
    let own: Vec<f32> = (0..32).map(|i| i as f32).collect();
    let document = v1::Document { text: "a fox".into(), ..vector_document("a", &own) };
    let response = ingest(&mut client, "c", vec![document.clone()]).await;
    assert_eq!((counts(&response), response.usage.unwrap().tokens, provider.texts()), ((1, 0, 0), 0, probes));
    assert_eq!(get(&mut client, "c", &["a"]).await, [document]);
    // Without a vector the text is embedded.
    assert_eq!(counts(&ingest(&mut client, "c", vec![text_document("a", "a fox")]).await), (1, 1, 0));
    assert_eq!(provider.texts(), probes + 1);
    let (_, reason, _) = refusal(client.ingest(request("c", vec![vector_document("a", &[1.0])])).await);
    assert_eq!(reason, "DIMENSION_MISMATCH");
}

#[tokio::test]
async fn a_document_without_text_is_stored_but_not_found() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let probes = provider.texts();
    let empty = ["", " ", "\t\r\n", "\u{3000}\u{2003}"];
    let documents = empty.iter().enumerate().map(|(i, text)| text_document(&i.to_string(), text));
    let documents: Vec<_> = documents.chain([text_document("fox", "a fox")]).collect();
    let response = ingest(&mut client, "c", documents).await;
    assert_eq!((counts(&response), response.unembedded_count, provider.texts()), ((5, 0, 0), 4, probes + 1));
    let found = search(&mut client, about("c", "a fox", 10)).await;
    assert_eq!((ids(&found), found.short_reason()), (vec!["fox"], v1::ShortReason::FewDocuments));
    for (document, text) in get(&mut client, "c", &["0", "1", "2", "3"]).await.iter().zip(empty) {
        assert_eq!((document.text.as_str(), &document.vector), (text, &None));
    }
    let status = client.search(similar("c", "0", 1)).await.unwrap_err();
    assert_eq!((info(&status)["collection"].as_str(), info(&status)["id"].as_str()), ("c", "0"));
    assert_eq!(refusal::<()>(Err(status)), (Code::FailedPrecondition, "DOCUMENT_WITHOUT_VECTOR".into(), vec![]));
}

#[tokio::test]
async fn a_text_of_five_megabytes_is_cut_for_the_model_only() {
    let server = Server::start(18).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let text = "The quick brown fox. ".repeat(250_000);
    let response = ingest(&mut client, "c", vec![text_document("a", &text)]).await;
    assert_eq!((counts(&response), response.truncated_count), ((1, 0, 0), 1));
    assert!(get(&mut client, "c", &["a"]).await[0].text == text);
    let found = search(&mut client, about("c", &text, 1)).await;
    assert_eq!(ids(&found), ["a"]);
    assert!(found.results[0].distance.unwrap() < 1e-3);
}
