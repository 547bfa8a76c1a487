//! Aliases that move while a server that has cached their target keeps running.

use super::*;
use crate::{
    calls::{about, ids, ingest, similar, with_provider},
    provider::{Answer, Provider},
    support::{text_document, texts},
};

fn examples(collection: &str, id: &str) -> v1::SearchRequest {
    let examples = v1::Examples { positive_ids: vec![id.into()], negative_ids: Vec::new() };
    let query = Some(v1::search_request::Query::Examples(examples));
    v1::SearchRequest { collection: collection.into(), query, ..Default::default() }
}

async fn batch(client: &mut Client, searches: Vec<v1::SearchRequest>) -> Vec<v1::SearchResponse> {
    let request = v1::SearchBatchRequest { searches, ..Default::default() };
    client.search_batch(request).await.unwrap().into_inner().responses
}

#[tokio::test]
async fn documents_of_the_new_collection_are_found_by_a_server_that_knew_the_old_one() {
    let server = Server::start(18).await;
    let mut client = server.client();
    for (name, documents) in [("old", ["only_old", "both"]), ("new", ["only_new", "both"])] {
        create(&mut client, name).await.unwrap();
        for id in documents {
            store(&mut client, name, id).await;
        }
    }
    for request in [similar("current", "only_new", 5), examples("current", "only_new")] {
        set_aliases(&mut client, "old", &["current"]).await.unwrap();
        let other = second(&server).await;
        let mut remembering = other.client();
        assert_eq!(crate::calls::search(&mut remembering, near("current", &[1.0, 2.0], 5)).await.results.len(), 2);
        set_aliases(&mut client, "new", &["current"]).await.unwrap();
        let found = crate::calls::search(&mut remembering, request.clone()).await;
        assert_eq!(ids(&found), ["both"]);

        set_aliases(&mut client, "old", &["current"]).await.unwrap();
        crate::calls::search(&mut remembering, near("current", &[1.0, 2.0], 5)).await;
        set_aliases(&mut client, "new", &["current"]).await.unwrap();
        let found = batch(&mut remembering, vec![near("current", &[1.0, 2.0], 1), request]).await;
        assert_eq!(ids(&found[1]), ["both"]);
    }
    // An id that neither collection has is still reported as missing.
    let status = client.search(similar("current", "only_old", 5)).await.expect_err("no such document");
    assert_eq!(reason(&status).0, "DOCUMENT_NOT_FOUND");
    assert_eq!(info(&status)["collection"], "new");
}

/// A server that has cached an alias of a collection with a provider, after the alias moved to one with the local
/// model.
async fn moved(server: &Server, provider: &Provider) -> Server {
    let mut setup = Setup::new(server.database_url.clone());
    with_provider(provider)(&mut setup);
    let remembering = setup.start().await;
    remembering.ready().await;
    let mut client = remembering.client();
    let embedding = v1::Embedding { model: "openai/test-embedding".into(), ..Default::default() };
    let collection = v1::Collection {
        name: "old".into(),
        embedding: Some(embedding),
        aliases: vec!["current".into()],
        ..Default::default()
    };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await
        .unwrap();
    ingest(&mut client, "old", vec![text_document("old", "a fox")]).await;
    assert_eq!(ids(&crate::calls::search(&mut client, about("current", "fox", 5)).await), ["old"]);

    let mut client = server.client();
    client.create_collection(texts("new")).await.unwrap();
    ingest(&mut client, "new", vec![text_document("new", "a fox")]).await;
    set_aliases(&mut client, "new", &["current"]).await.unwrap();
    remembering
}

#[tokio::test]
async fn a_provider_that_is_gone_with_its_collection_is_not_asked_for_ever() {
    let server = Server::start(18).await;
    let provider = Provider::start().await;
    let remembering = moved(&server, &provider).await;
    // Refuses at once.
    provider.script(Answer::Status(401), 10);
    let mut client = remembering.client();
    let found = batch(&mut client, vec![about("current", "one fox", 5), about("current", "two foxes", 5)]).await;
    assert_eq!((ids(&found[0]), ids(&found[1])), (vec!["new"], vec!["new"]));
    assert_eq!(ids(&crate::calls::search(&mut client, about("current", "hen", 5)).await), ["new"]);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_any_more_is_not_waited_for() {
    for in_batch in [false, true] {
        let server = Server::start(18).await;
        let provider = Provider::start().await;
        let remembering = moved(&server, &provider).await;
        let mut client = remembering.client();
        provider.script(Answer::Slow(Duration::from_secs(60)), 10);
        let began = Instant::now();
        let found = match in_batch {
            false => vec![crate::calls::search(&mut client, about("current", "hen", 5)).await],
            true => batch(&mut client, vec![about("current", "hen", 5), about("current", "fox", 5)]).await,
        };
        assert!(found.iter().all(|found| ids(found) == ["new"]), "{found:?}");
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_build_follows_its_index() {
    let server = Server::start(18).await;
    let mut client = server.client();
    for name in ["old", "new"] {
        create(&mut client, name).await.unwrap();
        store(&mut client, name, "p").await;
    }
    set_aliases(&mut client, "old", &["current"]).await.unwrap();
    // Like a long report, it keeps the build from ending.
    let hold = server.sql().await;
    hold.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let request = v1::BuildIndexRequest { collection: "current".into(), ..Default::default() };
    let mut progress = client.build_index(request).await.unwrap().into_inner();
    eventually("the build waits", async || waiting_for_locks(&server.database_url).await >= 1).await;
    set_aliases(&mut client, "new", &["current"]).await.unwrap();
    let until = Instant::now() + Duration::from_millis(600);
    while Instant::now() < until {
        progress.message().await.unwrap().expect("progress");
    }
    hold.batch_execute("COMMIT").await.unwrap();
    let mut phase = v1::IndexPhase::Unspecified;
    while let Some(message) = progress.message().await.unwrap() {
        phase = message.phase();
    }
    assert_eq!(phase, v1::IndexPhase::Ready);
    let indexes = |name: &str| v1::ListIndexesRequest { collection: name.into() };
    assert_eq!(client.list_indexes(indexes("old")).await.unwrap().into_inner().indexes.len(), 1);
    assert_eq!(client.list_indexes(indexes("new")).await.unwrap().into_inner().indexes.len(), 0);
}
