//! Builds that are dropped, deleted or fail, and dropping complete indexes.

use super::*;

async fn drop_index(client: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::DropIndexRequest { collection: "points".into(), name: name.into() };
    client.drop_index(request).await.map(|_| ())
}

fn assert_stopped(status: &Status) {
    assert_eq!((status.code(), reason(status).0.as_str()), (Code::Aborted, "BUILD_FAILED"), "{status:?}");
}

#[rstest]
#[tokio::test]
async fn dropping_ends_a_build(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let _hold = Hold::snapshot(&server).await;
    // By name, then all of them.
    for by_name in [true, false] {
        let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
        let index = until_waiting(&server, &mut progress).await;
        drop_index(&mut client, if by_name { &index.name } else { "" }).await.unwrap();
        assert_eq!(in_postgres(&server).await, (vec![], 0));
        assert_stopped(&finish(progress).await.expect_err("a build that was dropped"));
    }
    assert_eq!(list(&mut client).await, []);
    assert_eq!(search(&mut client, 3.1, 1).await, (vec!["p3".into()], v1::Completeness::Exact));
}

#[rstest]
#[tokio::test]
async fn deleting_the_collection_ends_a_build(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let _hold = Hold::snapshot(&server).await;
    let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
    until_waiting(&server, &mut progress).await;
    client
        .delete_collection(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(in_postgres(&server).await, (vec![], 0));
    let status = finish(progress).await.expect_err("a build of a collection that is gone");
    assert!(matches!(status.code(), Code::Aborted | Code::NotFound), "{status:?}");
    // The name is free again at once.
    fill(&mut client).await;
}

#[rstest]
#[tokio::test]
async fn a_complete_index_is_dropped_while_its_successor_is_built(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let old = build(&mut client, hnsw(0, 0)).await.unwrap();
    let hold = Hold::snapshot(&server).await;
    let mut progress = client.build_index(ivf_flat(2)).await.unwrap().into_inner();
    until_waiting(&server, &mut progress).await;
    drop_index(&mut client, &old.name).await.unwrap();
    assert_eq!(search(&mut client, 3.1, 1).await.1, v1::Completeness::Exact);
    let listed = list(&mut client).await;
    assert_eq!((listed.len(), listed[0].state()), (1, IndexState::Building));
    hold.release().await;
    let new = finish(progress).await.unwrap();
    eventually("the old index is gone", async || in_postgres(&server).await.0.len() == 1).await;
    assert_only(&server, &new).await;
}

#[rstest]
#[tokio::test]
async fn complete_indexes_are_dropped(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let index = build(&mut client, hnsw(0, 0)).await.unwrap();
    for (name, collection) in [("other", "points"), ("", "none")] {
        let request = v1::DropIndexRequest { collection: collection.into(), name: name.into() };
        let status = client.drop_index(request).await.expect_err("nothing to drop");
        assert_eq!(status.code(), Code::NotFound);
        let expected = if collection == "none" { "COLLECTION_NOT_FOUND" } else { "INDEX_NOT_FOUND" };
        assert_eq!(reason(&status).0, expected);
    }
    drop_index(&mut client, &index.name).await.unwrap();
    assert_eq!(in_postgres(&server).await, (vec![], 0));
    let status = drop_index(&mut client, "").await.expect_err("nothing left");
    assert_eq!(reason(&status).0, "INDEX_NOT_FOUND");
}

#[rstest]
#[tokio::test]
async fn a_failed_build_says_why_and_leaves_nothing(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 600, v1::Distance::L2)).await.unwrap();
    let documents = (0..200).map(|i| vector_document(&i.to_string(), &vec![i as f32; 600])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    client.ingest(request).await.unwrap();
    let sql = server.sql().await;
    let database: String = sql.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
    sql.batch_execute(&format!("ALTER DATABASE {database} SET maintenance_work_mem = '1MB'")).await.unwrap();

    let mut request = ivf_flat(1_000);
    request.spec.as_mut().unwrap().allow_few_rows = true;
    let status = build(&mut client, request.clone()).await.expect_err("too little memory");
    assert_stopped(&status);
    assert!(
        status.message().contains("memory required is") && status.message().contains("--build-memory"),
        "{status:?}"
    );
    assert_eq!(in_postgres(&server).await, (vec![], 0));
    assert_eq!(list(&mut client).await, []);

    // The failure does not block the next attempt either.
    sql.batch_execute(&format!("ALTER DATABASE {database} RESET maintenance_work_mem")).await.unwrap();
    let index = build(&mut client, request).await.unwrap();
    assert_only(&server, &index).await;
}
