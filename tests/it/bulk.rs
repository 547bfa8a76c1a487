//! Deleting and changing documents that a filter selects: the maximum number, and which calls are delayed.

use std::time::Duration;

use pgfox::v1;
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    calls::{info, ingest, refusal},
    metadata::{all_of, count, document, equals, field, fill, object, value, with_ids},
    support::{Client, Server, eventually, in_time, vector_document, vectors, waiting_for_locks},
};

const LIMIT: usize = 20;

fn delete(filter: v1::Filter) -> v1::DeleteDocumentsRequest {
    v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(filter), ..Default::default() }
}

fn update(filter: v1::Filter) -> v1::UpdateMetadataRequest {
    v1::UpdateMetadataRequest {
        collection: "c".into(),
        filter: Some(filter),
        metadata: Some(object(&json!({"seen": true}))),
        ..Default::default()
    }
}

fn below(n: usize) -> v1::Filter {
    field("n", v1::condition::Test::LessThan(value(&json!(n))))
}

#[rstest]
#[tokio::test]
async fn a_filter_that_selects_too_many_changes_nothing(#[values(16, 18)] major: u32) {
    let server = Server::start_with(major, |setup| setup.limits.max_bulk_documents = LIMIT).await;
    let mut client = server.client();
    fill(&mut client, (0..3 * LIMIT).map(|n| document(&format!("d{n}"), &json!({"n": n}))).collect()).await;
    let many = LIMIT + 1;
    let ids: Vec<String> = (0..many).map(|n| format!("d{n}")).collect();
    let by_ids = with_ids(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for filter in [below(many), by_ids.clone(), all_of(vec![by_ids, below(many)])] {
        let status = client.delete_documents(delete(filter.clone())).await.expect_err("too many");
        let reported = info(&status);
        assert_eq!((reported["limit"].as_str(), reported["collection"].as_str()), ("20", "c"));
        assert!(status.message().contains("--max-bulk-documents"), "{status:?}");
        let refused = (Code::ResourceExhausted, "TOO_MANY_DOCUMENTS".to_owned(), vec![]);
        assert_eq!(refusal::<()>(Err(status)), refused);
        assert_eq!(refusal(client.update_metadata(update(filter.clone())).await), refused);
        // Counting them is the way to find out.
        let dry = v1::DeleteDocumentsRequest { dry_run: true, ..delete(filter.clone()) };
        assert_eq!(client.delete_documents(dry).await.unwrap().into_inner().deleted_count, many as i64);
        let dry = v1::UpdateMetadataRequest { dry_run: true, ..update(filter) };
        assert_eq!(client.update_metadata(dry).await.unwrap().into_inner().matched_count, many as i64);
    }
    assert_eq!(count(&mut client, None).await, 3 * LIMIT as i64);
    assert_eq!(count(&mut client, Some(&equals("seen", &json!(true)))).await, 0);

    let changed = client.update_metadata(update(below(LIMIT))).await.unwrap().into_inner();
    assert_eq!((changed.matched_count, changed.updated_count), (LIMIT as i64, LIMIT as i64));
    assert_eq!(client.delete_documents(delete(below(LIMIT))).await.unwrap().into_inner().deleted_count, LIMIT as i64);
    assert_eq!(count(&mut client, None).await, 2 * LIMIT as i64);
}

async fn store(client: &mut Client, collection: &str) {
    ingest(client, collection, vec![vector_document("a", &[1.0])]).await;
}

/// Row locks of one collection do not affect other collections, however many calls wait for them.
#[tokio::test]
async fn a_change_that_waits_holds_up_no_other_collection() {
    for pool_size in [4, 8] {
        let server = Server::start_with(18, |setup| setup.pool_size = pool_size).await;
        let mut client = server.client();
        fill(&mut client, (0..100).map(|n| document(&format!("d{n}"), &json!({"n": n}))).collect()).await;
        client.create_collection(vectors("other", 1, v1::Distance::L2)).await.unwrap();
        let lock = server.sql().await;
        lock.batch_execute("BEGIN; SELECT FROM pgfox_internal.documents_1 WHERE id = 'd99' FOR UPDATE").await.unwrap();

        let mut waiting = JoinSet::new();
        let mut changing = client.clone();
        waiting.spawn(async move { drop(changing.update_metadata(update(below(100))).await.expect("changed")) });
        eventually("it waits", async || waiting_for_locks(&server.database_url).await == 1).await;
        let elsewhere = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname LIKE 'pgfox%'
                         WHERE l.mode <> 'AccessShareLock' AND l.database = (
                             SELECT oid FROM pg_database WHERE datname = current_database())
                           AND c.relname NOT LIKE 'documents_1%'";
        assert_eq!(lock.query_one(elsewhere, &[]).await.unwrap().get::<_, i64>(0), 0);
        for _ in 0..12 {
            let mut client = client.clone();
            waiting.spawn(async move {
                ingest(&mut client, "c", vec![document("d99", &json!({"n": -1})), document("d0", &json!({"n": -1}))])
                    .await;
            });
        }
        eventually("all of them that may", async || waiting_for_locks(&server.database_url).await > 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..3 {
            in_time("an ingest into another", store(&mut client, "other")).await;
            let request = v1::DeleteDocumentsRequest { collection: "other".into(), ..delete(below(1)) };
            in_time("a change of another", client.delete_documents(request)).await.unwrap();
        }
        assert_eq!(waiting.len(), 13, "nobody got the lock");
        lock.batch_execute("COMMIT").await.unwrap();
        while let Some(done) = waiting.join_next().await {
            done.unwrap();
        }
    }
}
