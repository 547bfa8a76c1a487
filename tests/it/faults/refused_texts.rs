//! Texts that the embedding provider refuses, or accepts only in part.

use pgfox_server::OpenAiConfig;

use super::*;
use crate::{
    provider::{DIMENSIONS, Provider, vector},
    support::text_document,
};

/// A server with a collection that the provider embeds.
async fn start(provider: &Provider, chunking: Option<v1::Chunking>) -> Server {
    let server = Server::start_with(18, |setup| {
        setup.openai = OpenAiConfig { base_url: Some(provider.base_url()), max_retries: 1, ..OpenAiConfig::default() };
    })
    .await;
    let embedding = v1::Embedding { model: "openai/fixed-test".into(), ..Default::default() };
    let collection =
        v1::Collection { name: "foxes".into(), embedding: Some(embedding), chunking, ..Default::default() };
    let request = v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() };
    server.client().create_collection(request).await.unwrap();
    server
}

async fn ingest_all(
    client: &mut Client,
    documents: &[v1::Document],
    skip_invalid: bool,
) -> Result<v1::IngestResponse, Status> {
    let documents = documents.to_vec();
    let request = v1::IngestRequest { collection: "foxes".into(), documents, skip_invalid, ..Default::default() };
    Ok(client.ingest(request).await?.into_inner())
}

/// New and changed, unchanged, truncated, embedded.
fn counts(response: &v1::IngestResponse) -> (i32, i32, i32, i32) {
    (response.upserted_count, response.unchanged_count, response.truncated_count, response.embedded_count)
}

/// The distance of the nearest vector from that of a text.
async fn distance(client: &mut Client, text: &str) -> f32 {
    search(client, "foxes", &vector(text, DIMENSIONS)).await.unwrap().results[0].distance.unwrap()
}

#[tokio::test]
async fn one_never_blocks_its_neighbours() {
    let provider = Provider::start().await;
    let server = start(&provider, None).await;
    let mut client = server.client();
    provider.forbid("secret");
    let mut documents: Vec<v1::Document> =
        (0..200).map(|i| text_document(&format!("d{i}"), &format!("fox {i}"))).collect();
    documents[17].text = "a secret fox".into();
    documents[130].text = "another secret fox".into();

    let status = ingest_all(&mut client, &documents, false).await.unwrap_err();
    assert_eq!(reported(&status), expected(Code::InvalidArgument, "TEXT_REFUSED", false));
    assert_eq!(reason(&status).1, ["documents[17].text", "documents[130].text"].map(String::from).to_vec());
    assert!(status.message().contains("\"d17\"") || status.message().contains("\"d130\""), "{}", status.message());
    assert_eq!(get(&mut client, "foxes", "d0").await.unwrap().missing_ids, ["d0"]);

    let response = ingest_all(&mut client, &documents, true).await.unwrap();
    assert_eq!(counts(&response), (198, 0, 0, 198));
    let mut errors = response.errors.clone();
    errors.sort_by_key(|error| error.index);
    let named: Vec<(i32, &str)> = errors.iter().map(|error| (error.index, error.id.as_str())).collect();
    assert_eq!(named, [(17, "d17"), (130, "d130")]);
    for error in &errors {
        assert_eq!(error.reason(), v1::ErrorReason::TextRefused);
        assert!(
            error.message.contains("status 400") && error.message.contains("it says: input is not allowed"),
            "{error:?}"
        );
    }
    // The same is true of a query, and it is not an outage either.
    let query = Some(v1::search_request::Query::Text("my secret".into()));
    let request = v1::SearchRequest { collection: "foxes".into(), query, ..Default::default() };
    let status = client.search(request).await.unwrap_err();
    assert_eq!(reported(&status), expected(Code::InvalidArgument, "TEXT_REFUSED", false));
    assert_eq!(reason(&status).1, ["text"]);
    assert_eq!(health(&server, "pgfox.embedder").await, ServingStatus::Serving);
    // The rest is already stored, and texts that the provider now accepts are added.
    provider.forbid("nothing");
    let response = ingest_all(&mut client, &documents, true).await.unwrap();
    assert_eq!((counts(&response), response.errors.len()), ((2, 198, 0, 2), 0));
}

/// Six answers of "too many" cut no text, and the next attempt succeeds.
#[tokio::test]
async fn an_overload_damages_nothing() {
    let provider = Provider::start().await;
    let server = start(&provider, None).await;
    let mut client = server.client();
    let text = "the quick brown fox ".repeat(72);
    let body = r#"{"error":{"message":"Too many concurrent requests"}}"#;
    for status in [503, 400] {
        let document = [text_document(&format!("fox-{status}"), &text)];
        provider.script(crate::provider::Answer::Raw(status, vec![], body.into()), 6);
        for _ in 0..3 {
            let refused = ingest_all(&mut client, &document, true).await.unwrap_err();
            assert!(refused.get_error_details().retry_info().is_some(), "{refused:?}");
        }
        assert_eq!(counts(&ingest_all(&mut client, &document, true).await.unwrap()), (1, 0, 0, 1));
        assert!(distance(&mut client, &text).await < 1e-3);
        assert_eq!(counts(&ingest_all(&mut client, &document, true).await.unwrap()), (0, 1, 0, 0));
    }
}

#[tokio::test]
async fn a_text_that_was_cut_is_embedded_again() {
    let provider = Provider::start().await;
    let server = start(&provider, None).await;
    let mut client = server.client();
    let long: String = (0..200).map(|i| format!("word{i} ")).collect();
    let documents = [text_document("long", &long), text_document("short", "a fox")];
    provider.limit_text_bytes(300);
    assert_eq!(counts(&ingest_all(&mut client, &documents, false).await.unwrap()), (2, 0, 1, 2));
    assert!(distance(&mut client, &long).await > 0.1);

    // Nothing is written while the limit stays the same.
    let version = async |client: &mut Client| get(client, "foxes", "long").await.unwrap().documents[0].version;
    assert_eq!(counts(&ingest_all(&mut client, &documents, false).await.unwrap()), (0, 2, 1, 1));
    assert_eq!(version(&mut client).await, 1);
    let mut with_metadata = documents.clone();
    let fields =
        [("year".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1999.0)) })];
    with_metadata[0].metadata = Some(prost_types::Struct { fields: fields.into() });
    assert_eq!(counts(&ingest_all(&mut client, &with_metadata, false).await.unwrap()), (1, 1, 1, 1));
    assert_eq!(version(&mut client).await, 2);

    provider.limit_text_bytes(0);
    assert_eq!(counts(&ingest_all(&mut client, &with_metadata, false).await.unwrap()), (1, 1, 0, 1));
    assert!(distance(&mut client, &long).await < 1e-3);
    assert_eq!(counts(&ingest_all(&mut client, &with_metadata, false).await.unwrap()), (0, 2, 0, 0));
}

#[tokio::test]
async fn a_chunk_that_was_cut_is_embedded_again() {
    let provider = Provider::start().await;
    let chunking = v1::Chunking { method: v1::ChunkingMethod::Text.into(), max_size: 500, ..Default::default() };
    let server = start(&provider, Some(chunking)).await;
    let mut client = server.client();
    let paragraph = |word: &str, times: usize| format!("{}.", format!("{word} ").repeat(times).trim());
    let long = paragraph("wolf", 80);
    let documents = [text_document("d", &format!("{}\n\n{long}\n\n{}", paragraph("fox", 120), paragraph("owl", 120)))];
    provider.limit_text_bytes(490);
    let response = ingest_all(&mut client, &documents, false).await.unwrap();
    assert_eq!(response.truncated_count, 0, "{response:?}");
    let chunks = response.embedded_count;

    // Another document with the same chunks, of which some are too long now.
    provider.limit_text_bytes(450);
    let again = [text_document("e", &documents[0].text)];
    let first = ingest_all(&mut client, &again, false).await.unwrap();
    assert_eq!((first.upserted_count, first.truncated_count, first.embedded_count), (1, 1, chunks));
    let second = ingest_all(&mut client, &again, false).await.unwrap();
    assert_eq!((second.upserted_count, second.unchanged_count, second.truncated_count), (0, 1, 1));
    let cut = second.embedded_count;
    assert!((1..chunks).contains(&cut), "{cut} of {chunks}: whole chunks keep their vectors");
    provider.limit_text_bytes(0);
    let third = ingest_all(&mut client, &again, false).await.unwrap();
    assert_eq!((third.upserted_count, third.truncated_count, third.embedded_count), (1, 0, cut));
    let fourth = ingest_all(&mut client, &again, false).await.unwrap();
    assert_eq!((fourth.unchanged_count, fourth.embedded_count), (1, 0));
}
