//! Parts of the database that somebody has dropped: each error names the part and reaches only the calls that need it.

use super::*;
use crate::{
    calls::info,
    support::{Setup, vector_document, vectors},
};

const VALUES: [f32; 3] = [1.0, 2.0, 3.0];

async fn fill(client: &mut Client, name: &str) {
    client.create_collection(vectors(name, 3, v1::Distance::L2)).await.unwrap();
    ingest(client, name, vector_document("p", &VALUES)).await.unwrap();
}

/// The errors of reading and writing vectors of a collection.
async fn errors(client: &mut Client, name: &str) -> [Status; 2] {
    [
        search(client, name, &VALUES).await.expect_err("a search"),
        ingest(client, name, vector_document("q", &[3.0, 2.0, 1.0])).await.expect_err("an ingest"),
    ]
}

async fn assert_damaged(client: &mut Client, name: &str) {
    for status in errors(client, name).await {
        let damaged = expected(Code::FailedPrecondition, "COLLECTION_DAMAGED", false);
        assert_eq!(reported(&status), damaged, "{status:?}");
        assert_eq!(info(&status)["collection"], name);
    }
}

async fn delete(client: &mut Client, name: &str) {
    client.delete_collection(v1::DeleteCollectionRequest { name: name.into(), ..Default::default() }).await.unwrap();
}

#[tokio::test]
async fn lost_vectors_affect_only_their_collection() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, "old").await;
    search(&mut client, "old", &VALUES).await.unwrap();
    // In one step, so that health never sees it missing.
    let again = "BEGIN; DROP EXTENSION vector CASCADE; CREATE EXTENSION vector; COMMIT";
    server.sql().await.batch_execute(again).await.unwrap();
    assert_damaged(&mut client, "old").await;
    // Also after health has checked again.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    becomes(&server, true).await;
    assert_damaged(&mut client, "old").await;

    fill(&mut client, "new").await;
    assert_eq!(search(&mut client, "new", &VALUES).await.unwrap().results.len(), 1);
    delete(&mut client, "old").await;
    fill(&mut client, "old").await;
    assert_eq!(search(&mut client, "old", &VALUES).await.unwrap().results.len(), 1);
}

#[tokio::test]
async fn a_lost_table_affects_only_its_collection() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, "whole").await;
    for lost in ["documents", "chunks", "embeddings"] {
        fill(&mut client, lost).await;
        let table: String = server
            .sql()
            .await
            .query_one("SELECT max(relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE $1 || '\\_%'", &[&lost])
            .await
            .unwrap()
            .get(0);
        let dropped = format!("DROP TABLE pgfox_internal.{table} CASCADE");
        server.sql().await.batch_execute(&dropped).await.unwrap();
        if lost == "chunks" {
            let status = ingest(&mut client, lost, vector_document("q", &VALUES)).await.expect_err("an ingest");
            assert_eq!(reason(&status).0, "COLLECTION_DAMAGED", "{status:?}");
        } else {
            assert_damaged(&mut client, lost).await;
        }
        assert_eq!(search(&mut client, "whole", &VALUES).await.unwrap().results.len(), 1);
        delete(&mut client, lost).await;
    }
}

#[tokio::test]
async fn a_lost_schema_is_reported_until_it_is_set_up_again() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, "points").await;
    server.sql().await.batch_execute("DROP SCHEMA pgfox, pgfox_internal CASCADE").await.unwrap();
    let missing = expected(Code::FailedPrecondition, "SCHEMA_MISSING", false);
    // Both immediately and after health knows.
    for _ in 0..2 {
        for status in errors(&mut client, "points").await {
            assert_eq!(reported(&status), missing, "{status:?}");
        }
        let get = client.get_collection(v1::GetCollectionRequest { name: "points".into() }).await;
        assert_eq!(reported(&get.expect_err("no registry")), missing);
        let list = client.list_collections(v1::ListCollectionsRequest::default()).await;
        assert_eq!(reported(&list.expect_err("no registry")), missing);
        let create = client.create_collection(vectors("more", 3, v1::Distance::L2)).await;
        assert_eq!(reported(&create.expect_err("no registry")), missing);
        becomes(&server, false).await;
    }

    // Another server sets it up. Ids start again, and cached ids are not confused with new ones.
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    becomes(&server, true).await;
    let status = search(&mut client, "points", &VALUES).await.expect_err("another registry");
    assert_eq!(reason(&status).0, "COLLECTION_NOT_FOUND");
    other.client().create_collection(vectors("points", 2, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0])).await.unwrap();
    assert_eq!(search(&mut client, "points", &[1.0, 2.0]).await.unwrap().results.len(), 1);
}
