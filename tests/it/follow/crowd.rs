//! Several servers follow one table while it is written all along, and some of them are killed.

use std::time::Duration;

use pgfox::v1;
use rstest::rstest;

use super::{caught_up, follow, followed, look_often, rows, start, start_with, stored};
use crate::{
    calls::{count, with_provider},
    provider::Provider,
    support::{Server, Setup, cluster, create_database, eventually, sql, start_postgres},
};

/// Takes as long as a claim.
#[tokio::test]
async fn servers_that_are_killed_lose_and_double_nothing() {
    let database_url = create_database(&cluster(18).postgres).await;
    let start = async || {
        let mut setup = Setup::new(database_url.clone());
        look_often(&mut setup);
        let server = setup.start().await;
        server.ready().await;
        server
    };
    let survivor = start().await;
    let admin = survivor.sql().await;
    admin
        .batch_execute(
            "CREATE TABLE documents (id int PRIMARY KEY, content text);
             INSERT INTO documents SELECT i, 'row ' || i FROM generate_series(1, 500) i",
        )
        .await
        .unwrap();
    let mut client = survivor.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();

    let writers = (0..3).map(|writer| {
        let database_url = database_url.clone();
        tokio::spawn(async move {
            let sql = sql(&database_url).await;
            for round in 0..60 {
                let (id, other) = ((round * 7 + writer * 13) % 700 + 1, (round * 11 + writer) % 700 + 1);
                let write = format!(
                    "INSERT INTO documents VALUES ({id}, 'writer {writer} round {round}')
                         ON CONFLICT (id) DO UPDATE SET content = excluded.content;
                     UPDATE documents SET content = content || ' again' WHERE id BETWEEN {other} AND {other} + 3;
                     DELETE FROM documents WHERE id = {other} + 5"
                );
                // Writers may meet each other.
                let _ = sql.batch_execute(&write).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..3 {
        let victim: Server = start().await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        drop(victim); // aborts whatever it does
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // What a killed server has claimed is taken over when its claim ends.
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.last_error.as_str()), (0, ""));
    assert_eq!(stored(&mut client).await, rows(&admin, "documents").await);
    let unused = "SELECT count(*) FROM pgfox_internal.changes";
    assert_eq!(admin.query_one(unused, &[]).await.unwrap().get::<_, i64>(0), 0);
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_is_killed_loses_and_doubles_nothing() {
    let postgres = start_postgres(18).await;
    let database_url = create_database(&postgres).await;
    let mut setup = Setup::new(database_url.clone());
    look_often(&mut setup);
    let server = setup.start().await;
    server.ready().await;
    let write = async |statement: &str| {
        eventually(statement, async || {
            let Ok((sql, connection)) = tokio_postgres::connect(&database_url, tokio_postgres::NoTls).await else {
                return false;
            };
            tokio::spawn(connection);
            sql.batch_execute(statement).await.is_ok()
        })
        .await;
    };
    write("CREATE TABLE documents (id int PRIMARY KEY, content text)").await;
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    for round in 0..4 {
        // More than is stored before the next kill. Whatever is repeated has the same result.
        write(&format!(
            "INSERT INTO documents SELECT i, 'round {round} row ' || i FROM generate_series(1, 3000) i
                 WHERE i % 4 <> {round} ON CONFLICT (id) DO UPDATE SET content = excluded.content"
        ))
        .await;
        write(&format!("DELETE FROM documents WHERE id % 5 = {round}")).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        postgres.kill().unwrap();
    }
    write("UPDATE documents SET content = content || '!' WHERE id < 100").await;
    let sql = sql(&database_url).await;
    eventually("the server is there again", async || {
        client.get_collection(v1::GetCollectionRequest { name: "c".into() }).await.is_ok()
    })
    .await;
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.last_error.as_str()), (0, ""));
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
    server.stop().await.unwrap();
    postgres.stop().await;
}

/// Another server has taken over a claim: the older state that this one stores must not stay.
#[tokio::test]
async fn a_claim_that_was_lost_is_looked_at_again() {
    let server = start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text); INSERT INTO documents VALUES (1, 'one')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    // Hold the document, so that the server keeps its claim, and take the claim away.
    let hold = server.sql().await;
    hold.batch_execute("BEGIN; SELECT FROM pgfox_internal.documents_1 FOR UPDATE").await.unwrap();
    sql.batch_execute("UPDATE documents SET content = 'two'").await.unwrap();
    let claimed = "SELECT count(*) FROM pgfox_internal.pending WHERE claim IS NOT NULL";
    eventually("it is claimed", async || sql.query_one(claimed, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    sql.batch_execute("UPDATE pgfox_internal.pending SET claim = 0, due_at = 'infinity'").await.unwrap();
    hold.batch_execute("ROLLBACK").await.unwrap();
    let noted = "SELECT is_changed FROM pgfox_internal.pending WHERE id = '1'";
    eventually("the row is noted again", async || sql.query_one(noted, &[]).await.unwrap().get::<_, bool>(0)).await;
    sql.batch_execute("UPDATE pgfox_internal.pending SET claim = NULL, due_at = now()").await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
}

/// Rows of a deleted collection never become documents of another one with its name.
#[rstest]
#[tokio::test]
async fn a_collection_that_is_made_again_gets_its_own_rows(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, with_provider(&provider)).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text); INSERT INTO documents VALUES (1, 'old');
         CREATE TABLE others (id int PRIMARY KEY, content text); INSERT INTO others VALUES (2, 'new')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    let (release, before) = (provider.hold(), provider.requests());
    sql.batch_execute("UPDATE documents SET content = 'changed'").await.unwrap();
    eventually("it is being embedded", async || provider.requests() > before).await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    client.create_collection(follow(followed("others", &["content"]))).await.unwrap();
    release.notify_one();
    caught_up(&mut client).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stored(&mut client).await, [("2".to_owned(), "new".to_owned())]);
}

#[rstest]
#[tokio::test]
async fn two_collections_follow_one_table(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text); INSERT INTO documents VALUES (1, 'one')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    let mut second = follow(followed("documents", &["content"]));
    second.collection.as_mut().unwrap().name = "d".into();
    client.create_collection(second).await.unwrap();
    sql.batch_execute("INSERT INTO documents VALUES (2, 'two')").await.unwrap();
    eventually("both have all rows", async || count(&mut client, "c").await == 2 && count(&mut client, "d").await == 2)
        .await;
    client.delete_collection(v1::DeleteCollectionRequest { name: "d".into(), ..Default::default() }).await.unwrap();
    sql.batch_execute("INSERT INTO documents VALUES (3, 'three')").await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
}
