//! Builds whose server, session or database dies.

use super::*;

/// Ends the sessions that create an index. Returns how many there were.
async fn terminate_builders(server: &Server) -> i64 {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND state = 'active'";
    server.sql().await.query_one(sql, &[]).await.unwrap().get(0)
}

#[rstest]
#[tokio::test]
async fn a_build_whose_session_dies_is_taken_up_again(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let hold = Hold::snapshot(&server).await;
    let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
    until_waiting(&server, &mut progress).await;
    assert_eq!(terminate_builders(&server).await, 1);
    hold.release().await;
    let index = finish(progress).await.unwrap();
    assert_only(&server, &index).await;
}

#[rstest]
#[tokio::test]
async fn a_build_that_always_dies_is_given_up_and_leaves_nothing(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let _hold = Hold::snapshot(&server).await;
    let mut progress = Box::pin(finish(client.build_index(hnsw(0, 0)).await.unwrap().into_inner()));
    let killer = async {
        loop {
            terminate_builders(&server).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let status = tokio::select! {
        result = &mut progress => result.expect_err("a build that cannot end"),
        () = killer => unreachable!(),
    };
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Aborted, "BUILD_FAILED"), "{status:?}");
    assert_eq!(in_postgres(&server).await, (vec![], 0));
}

#[rstest]
#[tokio::test]
async fn another_server_finishes_the_build_of_one_that_died(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    // The end of its runtime leaves nothing of this server, as after kill -9.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let doomed = Setup::new(server.database_url.clone());
    let doomed = runtime.spawn(async move { doomed.start().await }).await.unwrap();
    doomed.ready().await;
    let hold = Hold::snapshot(&server).await;
    let mut progress = doomed.client().build_index(hnsw(0, 0)).await.unwrap().into_inner();
    let index = until_waiting(&server, &mut progress).await;
    runtime.shutdown_background();
    // A message may still have been on its way.
    while let Ok(message) = progress.message().await {
        message.expect("the stream of a dead server ends with an error");
    }
    drop(doomed);

    hold.release().await;
    // Nobody asks for it.
    eventually("the build is finished", async || {
        list(&mut client).await.first().is_some_and(|index| index.state() == IndexState::Ready)
    })
    .await;
    assert_only(&server, &index).await;
}

#[rstest]
#[tokio::test]
async fn a_server_finishes_the_build_of_a_collection_that_others_have_replaced(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let mut other_client = other.client();
    assert_eq!(list(&mut other_client).await.len(), 0);
    client
        .delete_collection(v1::DeleteCollectionRequest { name: "points".into(), ..Default::default() })
        .await
        .unwrap();
    fill(&mut client).await;

    // The row that a killed server leaves behind. The server that knows the old collection takes it over.
    server.stop().await.unwrap();
    let job = "INSERT INTO pgfox_internal.indexes (space_id, method, m, ef_construction, state)
               SELECT id, 'hnsw', 16, 64, 'building' FROM pgfox_internal.embedding_spaces";
    assert_eq!(other.sql().await.execute(job, &[]).await.unwrap(), 1);
    eventually("the build is finished", async || {
        let (indexes, jobs) = in_postgres(&other).await;
        (indexes.len(), jobs) == (1, 0)
    })
    .await;
    assert_eq!(list(&mut other_client).await[0].state(), IndexState::Ready);
}

#[rstest]
#[tokio::test]
async fn a_server_that_stops_leaves_its_build_to_others(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client).await;
    let leaving = Setup::new(server.database_url.clone()).start().await;
    leaving.ready().await;
    let hold = Hold::snapshot(&server).await;
    let mut progress = leaving.client().build_index(hnsw(0, 0)).await.unwrap().into_inner();
    until_waiting(&server, &mut progress).await;
    let (stopped, status) = tokio::join!(leaving.stop(), finish(progress));
    stopped.unwrap();
    let status = status.expect_err("the server is going away");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    hold.release().await;
    let index = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert_only(&server, &index).await;
}

#[tokio::test]
async fn another_server_finishes_the_build_of_a_process_that_was_killed() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    let doomed = crate::process::ServerProcess::start(&server.database_url, "127.0.0.1:0").await;
    let options = pgfox_client::ConnectOptions::new(&doomed.address);
    let mut other = pgfox_client::connect(&options).await.unwrap();
    let hold = Hold::snapshot(&server).await;
    let mut progress = None;
    eventually("the build begins", async || {
        progress = other.build_index(hnsw(0, 0)).await.ok();
        progress.is_some()
    })
    .await;
    let index = until_waiting(&server, progress.unwrap().get_mut()).await;
    doomed.kill().await;
    hold.release().await;
    // Postgres may or may not have completed the statement of the dead server. Another server attaches in either case.
    let finished = build(&mut client, hnsw(0, 0)).await.unwrap();
    assert_eq!(finished.name, index.name);
    assert_only(&server, &finished).await;
}
