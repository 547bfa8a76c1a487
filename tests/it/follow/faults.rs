//! Rows that cannot be documents, a provider that fails, and tables that change.

use pgfox::v1;
use rstest::rstest;

use super::{NOTEBOOK, caught_up, follow, followed, notebook, rows, start, start_with, status, stored};
use crate::{
    calls::{search, with_provider},
    full_text::words,
    provider::{Answer, Provider},
    support::{Setup, eventually},
};

#[rstest]
#[tokio::test]
async fn a_row_that_cannot_be_a_document_is_named(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id text PRIMARY KEY, content text, note text);
         INSERT INTO documents VALUES ('good', 'a heron', ''), (repeat('x', 600), 'an id that is too long', ''),
             ('large', repeat('many words ', 900000), ''), ('huge', repeat('x', 20000000), ''),
             ('note', 'a note that is too long', repeat('y', 1100000))",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    let done = caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, [("good".to_owned(), "a heron".to_owned())]);
    assert_eq!((done.failed_count, done.pending_count), (4, 0));
    let failed: Vec<&str> = done.failures.iter().map(|failure| &failure.id[..4]).collect();
    assert_eq!(failed, ["huge", "larg", "note", "xxxx"]);
    assert!(done.failures.iter().all(|failure| !failure.message.is_empty()), "{:?}", done.failures);
    assert!(done.failures[0].message.contains("20000012 bytes"), "{:?}", done.failures[0]);

    // It is tried again when it changes, and when somebody asks for it.
    let retried = client.retry_failed(v1::RetryFailedRequest { name: "c".into() }).await.unwrap().into_inner();
    assert_eq!(retried.retried_count, 4);
    assert_eq!(caught_up(&mut client).await.failed_count, 4);
    sql.batch_execute(
        "UPDATE documents SET content = 'short', note = ''; DELETE FROM documents WHERE length(id) = 600",
    )
    .await
    .unwrap();
    assert_eq!(caught_up(&mut client).await.failed_count, 0);
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
}

fn without_retries(provider: &Provider) -> impl FnOnce(&mut Setup) {
    let change = with_provider(provider);
    |setup| {
        change(setup);
        setup.openai.max_retries = 0;
    }
}

#[rstest]
#[tokio::test]
async fn a_provider_that_fails_loses_nothing(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, without_retries(&provider)).await;
    let (sql, mut client) = notebook(&server).await;
    provider.script(Answer::Status(503), 2);
    sql.batch_execute("INSERT INTO documents (content) SELECT 'heron ' || i FROM generate_series(1, 300) i")
        .await
        .unwrap();
    eventually("the error is shown", async || !status(&mut client).await.last_error.is_empty()).await;
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.last_error.as_str()), (0, ""));
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
}

#[rstest]
#[tokio::test]
async fn a_text_that_the_provider_refuses_is_named(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, with_provider(&provider)).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    provider.forbid("kits");
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    let done = caught_up(&mut client).await;
    assert_eq!(done.failed_count, 1);
    assert_eq!(done.failures[0].id, "4");
    assert_eq!(stored(&mut client).await.len(), 3);
}

/// Such an answer is usually that of an outage.
#[rstest]
#[tokio::test]
async fn a_text_at_which_the_provider_breaks_is_named(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, without_retries(&provider)).await;
    let (sql, mut client) = notebook(&server).await;
    provider.break_at("kits");
    sql.batch_execute(
        "UPDATE documents SET content = content || '!'; INSERT INTO documents (content) VALUES ('a heron')",
    )
    .await
    .unwrap();
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.failures[0].id.as_str()), (1, "4"), "{done:?}");
    assert!(done.failures[0].message.contains("500"), "{done:?}");
    assert_eq!(stored(&mut client).await.len(), 4, "what it was before is not found any more");
}

#[rstest]
#[tokio::test]
async fn a_table_that_changes_never_refuses_its_writers(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let (sql, mut client) = notebook(&server).await;

    sql.batch_execute(
        "ALTER TABLE documents RENAME COLUMN id TO number; INSERT INTO documents (content) VALUES ('a heron')",
    )
    .await
    .unwrap();
    let names = async |client: &mut crate::support::Client, what: &str| {
        eventually(what, async || status(client).await.last_error.contains(what)).await;
    };
    names(&mut client, "no column \"id\"").await;
    sql.batch_execute("ALTER TABLE documents RENAME COLUMN number TO id").await.unwrap();
    client.resume_source(v1::ResumeSourceRequest { name: "c".into() }).await.unwrap();
    eventually("the row is there", async || stored(&mut client).await == rows(&sql, "documents").await).await;
    assert_eq!(caught_up(&mut client).await.last_error, "");

    // Dropped and made again.
    sql.batch_execute("DROP TABLE documents").await.unwrap();
    names(&mut client, "is gone").await;
    assert_eq!(search(&mut client, words("c", "heron", 1)).await.results.len(), 1, "what is stored is still found");
    sql.batch_execute(NOTEBOOK).await.unwrap();
    client.resume_source(v1::ResumeSourceRequest { name: "c".into() }).await.unwrap();
    eventually("the new rows are there", async || stored(&mut client).await == rows(&sql, "documents").await).await;
    sql.batch_execute("INSERT INTO documents (content) VALUES ('a stork')").await.unwrap();
    eventually("triggers are there", async || search(&mut client, words("c", "stork", 1)).await.results.len() == 1)
        .await;
    assert_eq!(caught_up(&mut client).await.last_error, "");
}

#[rstest]
#[tokio::test]
async fn a_disabled_trigger_is_reported_and_a_comparison_finds_the_rows(#[values(16, 18)] major: u32) {
    let compare = |setup: &mut crate::support::Setup| {
        setup.limits.follow.compare_every = std::time::Duration::from_secs(2);
    };
    let server = start_with(major, compare).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    sql.batch_execute(
        "SET session_replication_role = replica; INSERT INTO documents (content) VALUES ('a heron');
         DELETE FROM documents WHERE id = 1; RESET session_replication_role",
    )
    .await
    .unwrap();
    eventually("they are found", async || stored(&mut client).await == rows(&sql, "documents").await).await;
    sql.batch_execute("ALTER TABLE documents DISABLE TRIGGER USER").await.unwrap();
    eventually("it is reported", async || status(&mut client).await.last_error.contains("disabled")).await;
    sql.batch_execute("ALTER TABLE documents ENABLE TRIGGER USER").await.unwrap();
    eventually("it is over", async || status(&mut client).await.last_error.is_empty()).await;
}

#[rstest]
#[tokio::test]
async fn what_changes_while_a_text_is_embedded_is_looked_at_again(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, with_provider(&provider)).await;
    let (sql, mut client) = notebook(&server).await;
    for change in ["TRUNCATE documents", "UPDATE documents SET content = 'another text'", "DELETE FROM documents"] {
        let release = provider.hold();
        let under_way = provider.requests();
        sql.batch_execute("INSERT INTO documents (content) SELECT 'a text of ' || clock_timestamp()").await.unwrap();
        eventually("it is being embedded", async || provider.requests() > under_way).await;
        sql.batch_execute(change).await.unwrap();
        // The change is noted while the older state waits for its vector.
        eventually("the change is noted", async || {
            let noted = "SELECT count(*) FROM pgfox_internal.changes";
            sql.query_one(noted, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        release.notify_one();
        caught_up(&mut client).await;
        assert_eq!(stored(&mut client).await, rows(&sql, "documents").await, "{change}");
    }
}

#[rstest]
#[tokio::test]
async fn a_row_that_cannot_be_read_is_found_among_others(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    // jsonb has no NUL, and json does not look.
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text, data json);
         INSERT INTO documents SELECT i, 'row ' || i, '{}' FROM generate_series(1, 40) i;
         UPDATE documents SET data = '{\"a\": \"\\u0000\"}' WHERE id = 7",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    eventually("the others are there", async || stored(&mut client).await.len() == 39).await;
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.failures[0].id.as_str(), done.last_error.as_str()), (1, "7", ""), "{done:?}");
    // A failed row that is gone is not a failure.
    sql.batch_execute("TRUNCATE documents").await.unwrap();
    eventually("nothing has failed", async || status(&mut client).await.failed_count == 0).await;
}

#[rstest]
#[tokio::test]
async fn a_row_that_becomes_invalid_is_not_found_any_more(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let (sql, mut client) = notebook(&server).await;
    sql.batch_execute("UPDATE documents SET content = repeat('kits ', 2000000) WHERE id = 4").await.unwrap();
    assert_eq!(caught_up(&mut client).await.failed_count, 1);
    assert!(search(&mut client, words("c", "kits", 1)).await.results.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_publication_of_all_tables_stops_nothing(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    sql.batch_execute("CREATE PUBLICATION everything FOR ALL TABLES").await.unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    sql.batch_execute("UPDATE documents SET content = content || '!'").await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn documents_of_a_partition_that_is_gone_go_too(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF documents FOR VALUES FROM (0) TO (10);
         CREATE TABLE parts_2 PARTITION OF documents FOR VALUES FROM (10) TO (20);
         INSERT INTO documents SELECT i, 'row ' || i FROM generate_series(1, 19) i",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    eventually("the partitions are known", async || {
        let known = "SELECT count(relations) FROM pgfox_internal.follows";
        sql.query_one(known, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await.len(), 19);
    sql.batch_execute("DROP TABLE parts_2").await.unwrap();
    eventually("they are gone", async || stored(&mut client).await == rows(&sql, "documents").await).await;
}

#[rstest]
#[tokio::test]
async fn many_chunks_of_many_dimensions_fit_one_at_a_time(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, with_provider(&provider)).await;
    let sql = server.sql().await;
    // About 5,000 chunks with vectors of 1,536 dimensions: more than the memory for followed rows.
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text);
         INSERT INTO documents SELECT i, (SELECT string_agg('word' || i || 'x' || j, ' ') FROM generate_series(1, 20000) j)
         FROM generate_series(1, 16) i",
    )
    .await
    .unwrap();
    let mut client = server.client();
    let mut request = follow(followed("documents", &["content"]));
    request.collection.as_mut().unwrap().chunking = Some(v1::Chunking {
        method: v1::ChunkingMethod::Text.into(),
        unit: v1::ChunkUnit::Characters.into(),
        max_size: 800,
        ..Default::default()
    });
    client.create_collection(request).await.unwrap();
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.last_error.as_str()), (0, ""));
    assert_eq!(stored(&mut client).await.len(), 16);
}
