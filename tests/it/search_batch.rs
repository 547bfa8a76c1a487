//! SearchBatch: the same results as single searches, embedded with one call.

use pgfox::v1::{self, SearchMode, search_request::Query};
use rstest::rstest;
use tonic::Code;

use crate::{
    calls::{about, ids, ingest, invalid, near, refusal, request, search, similar, with_provider},
    provider::{Answer, Provider},
    support::{Server, Setup, text_document, texts, vector_document, vectors},
};

fn batch(collection: &str, searches: Vec<v1::SearchRequest>) -> v1::SearchBatchRequest {
    v1::SearchBatchRequest { collection: collection.into(), searches }
}

#[tokio::test]
async fn one_call_embeds_all_texts() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(texts("t")).await.unwrap();
    let documents = (0..30).map(|i| text_document(&i.to_string(), &format!("number {i} of the foxes")));
    client.ingest(request("t", documents.collect())).await.unwrap();
    let before = provider.requests();
    let mut searches: Vec<_> = (0..20).map(|i| about("", &format!("number {i}"), 3)).collect();
    searches.push(v1::SearchRequest { mode: SearchMode::FullText.into(), ..about("t", "number 7", 1) });
    searches.push(v1::SearchRequest { mode: SearchMode::Hybrid.into(), ..about("t", "number 0", 1) });
    searches.push(similar("", "3", 2));
    let responses = client.search_batch(batch("t", searches.clone())).await.unwrap().into_inner().responses;
    assert_eq!(provider.requests(), before + 1);
    assert_eq!(responses.len(), searches.len());
    for (i, (search_request, response)) in searches.into_iter().zip(&responses).enumerate() {
        let alone = v1::SearchRequest { collection: "t".into(), ..search_request };
        let alone = search(&mut client, alone).await;
        assert_eq!(ids(response), ids(&alone), "{i}");
        assert_eq!(response.completeness(), alone.completeness());
    }
    let tokens: i64 = responses.iter().map(|response| response.usage.unwrap().tokens).sum();
    assert_eq!(tokens, 20 * 2, "as one call, whose equal texts count once");

    // Without the provider nothing is found.
    provider.script(Answer::Status(400), 20);
    let failed = client.search_batch(batch("t", vec![about("", "unknown", 1)])).await;
    assert!(failed.is_err());
}

#[rstest]
#[tokio::test]
async fn a_batch_has_rules(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, v1::Distance::L2)).await.unwrap();
    client.create_collection(texts("t")).await.unwrap();
    ingest(&mut client, "c", (0..10).map(|i| vector_document(&i.to_string(), &[i as f32, 0.0])).collect()).await;
    ingest(&mut client, "t", vec![text_document("fox", "a fox")]).await;
    let many: Vec<_> = (0..100).map(|i| near("", &[(i % 10) as f32, 0.0], 1)).collect();
    let responses = client.search_batch(batch("c", many.clone())).await.unwrap().into_inner().responses;
    for (i, response) in responses.iter().enumerate() {
        assert_eq!(ids(response), [(i % 10).to_string()]);
    }
    let mixed = vec![near("", &[2.0, 0.0], 1), about("t", "fox", 1)];
    let mixed = client.search_batch(batch("c", mixed)).await.unwrap().into_inner().responses;
    assert_eq!((ids(&mixed[0]), ids(&mixed[1])), (vec!["2"], vec!["fox"]));

    invalid(client.search_batch(batch("c", vec![])).await, &["searches"]);
    let too_many = [many.clone(), many].concat();
    invalid(client.search_batch(batch("c", too_many)).await, &["searches"]);
    let bad = vec![
        near("", &[1.0, 0.0], -1),
        near("", &[1.0, 0.0], 1),
        v1::SearchRequest { limit: 5_000, ..near("", &[1.0], 1) },
        about("", "a fox", 1),
        v1::SearchRequest::default(),
    ];
    let fields =
        ["searches[0].limit", "searches[2].limit", "searches[2].vector", "searches[3].text", "searches[4].query"];
    invalid(client.search_batch(batch("c", bad)).await, &fields);
    invalid(client.search_batch(batch("", vec![near("", &[1.0], 1)])).await, &["searches[0].collection"]);
    // Other errors name the position too.
    let cases =
        [(similar("", "unknown", 1), "DOCUMENT_NOT_FOUND"), (near("nowhere", &[1.0], 1), "COLLECTION_NOT_FOUND")];
    for (failing, reason) in cases {
        let status = client.search_batch(batch("c", vec![near("", &[1.0, 0.0], 1), failing])).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().starts_with("searches[1]: "), "{}", status.message());
        assert_eq!(refusal::<()>(Err(status)).1, reason);
    }
    let positive_ids = vec!["1".to_owned(), "x".to_owned()];
    let query = Query::Examples(v1::Examples { positive_ids, negative_ids: Vec::new() });
    let examples = v1::SearchRequest { query: Some(query), ..Default::default() };
    assert_eq!(refusal(client.search_batch(batch("c", vec![examples])).await).1, "DOCUMENT_NOT_FOUND");
}

#[rstest]
#[tokio::test]
async fn all_answers_together_have_a_limit(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let document = v1::Document { text: "x".repeat(6 * 1024 * 1024), ..vector_document("large", &[1.0]) };
    ingest(&mut client, "c", vec![document]).await;
    let searches = |count| (0..count).map(|_| near("", &[1.0], 1)).collect();
    assert_eq!(client.search_batch(batch("c", searches(2))).await.unwrap().into_inner().responses.len(), 2);
    let (code, reason, _) = refusal(client.search_batch(batch("c", searches(3))).await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
}

#[rstest]
#[tokio::test]
async fn a_replaced_collection_is_detected(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let (mut here, mut there) = (server.client(), other.client());
    here.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    ingest(&mut here, "c", vec![vector_document("old", &[1.0])]).await;
    let searches = |values: &[f32]| batch("c", vec![near("", values, 1), near("", values, 1)]);
    here.search_batch(searches(&[1.0])).await.unwrap();
    there.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    there.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    ingest(&mut there, "c", vec![vector_document("new", &[1.0])]).await;
    for response in here.search_batch(searches(&[1.0])).await.unwrap().into_inner().responses {
        assert_eq!(ids(&response), ["new"]);
    }
}
