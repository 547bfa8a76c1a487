//! Collections that follow a table: whatever SQL writes there is found soon after.

mod crowd; // several servers, killed ones, and writers all along
mod faults; // rows that cannot be documents, a provider that fails, tables that change
mod limits; // what is refused, privileges, and what detaching leaves

use std::time::Duration;

use pgfox::v1::{self, Distance, SearchMode, SourceStatus};
use rstest::rstest;
use serde_json::json;
use tokio_postgres::Client as Sql;

use crate::{
    attached::{owned, source},
    calls::{about, build_index, count, ids, near, search, with_provider},
    full_text::words,
    metadata::{equals, object},
    provider::Provider,
    support::{Client, Server, Setup, eventually},
};

/// Looks for changes so often that tests need not wait.
pub(crate) fn look_often(setup: &mut Setup) {
    setup.limits.follow.look_every = Duration::from_millis(100);
}

async fn start(major: u32) -> Server {
    start_with(major, |_| {}).await
}

async fn start_with(major: u32, change: impl FnOnce(&mut Setup)) -> Server {
    let often = |setup: &mut Setup| {
        look_often(setup);
        change(setup);
    };
    Server::start_with(major, often).await
}

/// A source that is followed by triggers.
pub(crate) fn followed(table: &str, text: &[&str]) -> v1::Source {
    let follow = v1::Follow { triggers: true, ..Default::default() };
    v1::Source { follow: Some(follow), ..source(table, text) }
}

/// The same by a column that says when a row changed.
fn by_column(table: &str, column: &str) -> v1::Source {
    let follow = v1::Follow { updated_at_column: column.into(), ..Default::default() };
    v1::Source { follow: Some(follow), ..source(table, &["content"]) }
}

/// A collection `c` that follows a source, with the default model.
pub(crate) fn follow(source: v1::Source) -> v1::CreateCollectionRequest {
    let collection = v1::Collection { name: "c".into(), source: Some(source), ..Default::default() };
    v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() }
}

/// The same without a model: the rows have vectors of two dimensions.
pub(crate) fn follow_vectors(source: v1::Source) -> v1::CreateCollectionRequest {
    let mut request = follow(v1::Source { vector_column: "embedding".into(), ..source });
    let collection = request.collection.as_mut().unwrap();
    collection.embedding = Some(v1::Embedding::default());
    collection.distance = Distance::Cosine.into();
    request
}

pub(crate) async fn status(client: &mut Client) -> SourceStatus {
    let request = v1::GetCollectionRequest { name: "c".into() };
    let collection = client.get_collection(request).await.unwrap().into_inner().collection.unwrap();
    collection.source_status.expect("a followed collection")
}

/// Waits until everything that was committed before is stored or has failed.
pub(crate) async fn caught_up(client: &mut Client) -> SourceStatus {
    let mut last = SourceStatus::default();
    eventually("the collection has caught up", async || {
        last = status(client).await;
        last.pending_count == 0 && last.compare_progress.is_none()
    })
    .await;
    last
}

/// The ids and texts of all documents.
pub(crate) async fn stored(client: &mut Client) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            v1::ListDocumentsRequest { collection: "c".into(), page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_documents(request).await.unwrap().into_inner();
        found.extend(page.documents.into_iter().map(|document| (document.id, document.text)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// The ids and texts of all rows of a table, in the order of documents.
pub(crate) async fn rows(sql: &Sql, table: &str) -> Vec<(String, String)> {
    let query = format!("SELECT id::text, content FROM {table} ORDER BY id::text COLLATE \"C\"");
    sql.query(&query, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

const NOTEBOOK: &str = "
    CREATE TABLE documents (id serial PRIMARY KEY, content text, year int);
    INSERT INTO documents (content, year) VALUES
        ('Foxes can make over 40 different sounds', 2021), ('The quick brown fox jumps', 2019),
        ('Postgres stores vectors in tables', 2024), ('Baby foxes are called kits', 2022)";

/// The table of the tutorial, followed by `c`, with all of its rows stored.
async fn notebook(server: &Server) -> (Sql, Client) {
    let (sql, mut client) = (server.sql().await, server.client());
    sql.batch_execute(NOTEBOOK).await.unwrap();
    client.create_collection(follow(followed("documents", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    (sql, client)
}

#[rstest]
#[tokio::test]
async fn rows_are_found_in_every_mode(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(NOTEBOOK).await.unwrap();
    let mut client = server.client();
    let created = client.create_collection(follow(followed("documents", &["content"]))).await.unwrap().into_inner();
    let created = created.collection.unwrap();
    assert_eq!(created.source.as_ref().unwrap().metadata_columns, ["year"]);
    assert!(created.source.unwrap().follow.unwrap().triggers);
    let done = caught_up(&mut client).await;
    assert_eq!((done.failed_count, done.last_error.as_str(), done.paused), (0, "", false));
    assert!(done.rows_per_second > 0.0, "{done:?}");
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);

    let response = search(&mut client, about("c", "Foxes can make over 40 different sounds", 1)).await;
    assert_eq!(ids(&response), ["1"]);
    assert_eq!(ids(&search(&mut client, words("c", "kits", 5)).await), ["4"]);
    let hybrid = v1::SearchRequest { mode: SearchMode::Hybrid.into(), ..about("c", "vectors in tables", 1) };
    assert_eq!(ids(&search(&mut client, hybrid).await), ["3"]);
    let year = v1::SearchRequest { filter: Some(equals("year", &json!(2019))), ..about("c", "fox", 5) };
    assert_eq!(ids(&search(&mut client, year).await), ["2"]);

    // Whatever SQL does is followed, once it is committed.
    sql.batch_execute(
        "INSERT INTO documents (content, year) VALUES ('A badger digs', 2025);
         UPDATE documents SET content = 'A wolf howls' WHERE id = 2;
         UPDATE documents SET id = 40 WHERE id = 4;
         DELETE FROM documents WHERE id = 1",
    )
    .await
    .unwrap();
    sql.batch_execute("BEGIN; INSERT INTO documents (content) VALUES ('never'); ROLLBACK").await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
    assert_eq!(ids(&search(&mut client, words("c", "badger", 5)).await), ["5"]);
    assert!(search(&mut client, words("c", "sounds", 5)).await.results.is_empty());

    // Metadata follow as well, and null texts are empty.
    sql.batch_execute("UPDATE documents SET year = 1999; UPDATE documents SET content = NULL WHERE id = 5")
        .await
        .unwrap();
    caught_up(&mut client).await;
    let request = v1::GetDocumentsRequest { collection: "c".into(), ids: owned(&["3", "5"]), ..Default::default() };
    let documents = client.get_documents(request).await.unwrap().into_inner().documents;
    assert!(documents.iter().all(|document| document.metadata == Some(object(&json!({ "year": 1999 })))));
    assert_eq!(documents[1].text, "");

    sql.batch_execute("TRUNCATE documents; INSERT INTO documents VALUES (7, 'last', 1)").await.unwrap();
    eventually("only the last row is left", async || {
        stored(&mut client).await == [("7".to_owned(), "last".to_owned())]
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn rows_are_found_within_two_seconds(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (sql, mut client) = notebook(&server).await;
    // The server looks once a second; the rest is for a machine that runs other tests as well.
    let began = std::time::Instant::now();
    sql.batch_execute("INSERT INTO documents (content) VALUES ('a heron')").await.unwrap();
    eventually("it is found", async || search(&mut client, words("c", "heron", 1)).await.results.len() == 1).await;
    assert!(began.elapsed().as_secs_f64() < 10.0, "{:?}", began.elapsed());
}

#[rstest]
#[tokio::test]
async fn only_changed_texts_are_embedded(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = start_with(major, with_provider(&provider)).await;
    let (sql, mut client) = notebook(&server).await;
    let before = provider.texts();
    sql.batch_execute(
        "UPDATE documents SET year = 0; UPDATE documents SET content = content;
         UPDATE documents SET content = 'a changed text' WHERE id = 1",
    )
    .await
    .unwrap();
    caught_up(&mut client).await;
    assert_eq!(provider.texts() - before, 1);
    assert_eq!(stored(&mut client).await, rows(&sql, "documents").await);
}

#[rstest]
#[tokio::test]
async fn many_rows_with_vectors_of_their_own(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE points (name text, number int, content text, embedding vector(2), PRIMARY KEY (number, name));
         INSERT INTO points SELECT 'ä' || i, i, 'point ' || i, ('[1,' || i || ']')::vector FROM generate_series(1, 12000) i",
    )
    .await
    .unwrap();
    let mut client = server.client();
    let mut request = follow_vectors(followed("points", &["content"]));
    request.collection.as_mut().unwrap().chunking =
        Some(v1::Chunking { method: v1::ChunkingMethod::None.into(), ..Default::default() });
    client.create_collection(request).await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await.len(), 12_000);
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 1)).await), [r#"[1, "ä1"]"#]);
    let kind = v1::index_spec::Kind::Hnsw(v1::Hnsw::default());
    build_index(&mut client, "c", kind).await;

    // A COPY is one statement.
    sql.batch_execute(
        "INSERT INTO points SELECT 'new', i, 'new ' || i, '[1,0]' FROM generate_series(1, 1000) i;
         DELETE FROM points WHERE number BETWEEN 2001 AND 4000 AND name <> 'new'",
    )
    .await
    .unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await.len(), 11_000);
}

#[rstest]
#[tokio::test]
async fn partitions_are_followed(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE parts (id int PRIMARY KEY, content text) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
         INSERT INTO parts VALUES (1, 'one')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(followed("parts", &["content"]))).await.unwrap();
    caught_up(&mut client).await;
    // Straight into a partition, through the parent, and into a partition that is new.
    sql.batch_execute(
        "INSERT INTO parts_1 VALUES (2, 'two'); INSERT INTO parts VALUES (3, 'three');
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
         INSERT INTO parts_2 VALUES (101, 'hundred and one')",
    )
    .await
    .unwrap();
    eventually("all rows are there", async || stored(&mut client).await == rows(&sql, "parts").await).await;
    sql.batch_execute("UPDATE parts_2 SET content = 'changed'; DELETE FROM parts_1 WHERE id = 2").await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(stored(&mut client).await, rows(&sql, "parts").await);
}

#[rstest]
#[tokio::test]
async fn a_column_says_what_changed(#[values(16, 18)] major: u32) {
    let change = |setup: &mut Setup| {
        // Deleted rows are found by the comparison only.
        setup.limits.follow.compare_every = Duration::from_secs(2);
    };
    let server = start_with(major, change).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text, changed timestamptz NOT NULL DEFAULT now());
         INSERT INTO documents VALUES (1, 'one'), (2, 'two')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(by_column("documents", "changed"))).await.unwrap();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal";
    let none = sql.query_one(triggers, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(none, 0);
    sql.batch_execute(
        "INSERT INTO documents VALUES (3, 'three');
         UPDATE documents SET content = 'first', changed = now() WHERE id = 1; DELETE FROM documents WHERE id = 2",
    )
    .await
    .unwrap();
    eventually("all changes are there", async || stored(&mut client).await == rows(&sql, "documents").await).await;
}

/// What is found by its transaction: late commits, parts of transactions, times in the future, and nothing twice.
#[rstest]
#[tokio::test]
async fn a_column_of_overlapping_transactions(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE documents (id int PRIMARY KEY, content text, changed timestamptz NOT NULL DEFAULT now());
         INSERT INTO documents VALUES (1, 'one', now()), (2, 'of the future', now() + interval '1 hour')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(follow(by_column("documents", "changed"))).await.unwrap();
    caught_up(&mut client).await;
    let late = server.sql().await;
    late.batch_execute(
        "BEGIN; INSERT INTO documents VALUES (3, 'before');
         SAVEPOINT part; INSERT INTO documents VALUES (4, 'a part'); RELEASE part",
    )
    .await
    .unwrap();
    for round in 0..4 {
        sql.batch_execute(&format!("INSERT INTO documents VALUES (1{round}, 'a later one')")).await.unwrap();
        eventually("the other row is there", async || count(&mut client, "c").await == 3 + round).await;
    }
    late.batch_execute("COMMIT").await.unwrap();
    sql.batch_execute("UPDATE documents SET content = 'again', changed = changed + interval '1 hour' WHERE id = 2")
        .await
        .unwrap();
    eventually("all changes are there", async || stored(&mut client).await == rows(&sql, "documents").await).await;
    // Rows that nobody changes are not taken again, although their column lies within the time that is read.
    let polled_since = async |least: i64| {
        let seen = "SELECT pg_snapshot_xmax(seen)::text::bigint FROM pgfox_internal.follows";
        eventually("the column is read again", async || {
            sql.query_one(seen, &[]).await.unwrap().get::<_, i64>(0) >= least
        })
        .await;
    };
    let insert = async |id: i32| -> i64 {
        let insert = "INSERT INTO documents VALUES ($1, 'a new one') RETURNING pg_current_xact_id()::text::bigint";
        sql.query_one(insert, &[&id]).await.unwrap().get(0)
    };
    polled_since(insert(5).await + 1).await;
    caught_up(&mut client).await;
    sql.batch_execute(
        "CREATE TABLE taken (id text);
         CREATE FUNCTION note_taken() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN INSERT INTO public.taken VALUES (new.id); RETURN NULL; END$$;
         CREATE TRIGGER taken AFTER INSERT ON pgfox_internal.pending FOR EACH ROW EXECUTE FUNCTION note_taken()",
    )
    .await
    .unwrap();
    // When an old transaction of another test ends, the rows that are newer than it are taken again.
    let each_once = async |tries: [[i32; 2]; 3]| {
        for ids in tries {
            sql.batch_execute("TRUNCATE taken").await.unwrap();
            for id in ids {
                polled_since(insert(id).await + 1).await;
            }
            let rows = sql.query("SELECT id FROM taken ORDER BY id::int", &[]).await.unwrap();
            let taken: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if taken == ids.map(|id| id.to_string()) {
                return true;
            }
        }
        false
    };
    assert!(each_once([[6, 7], [20, 21], [22, 23]]).await);
    // Nor while an older transaction is open, before which every snapshot has something unfinished.
    late.batch_execute("BEGIN; INSERT INTO documents VALUES (8, 'of an open transaction')").await.unwrap();
    assert!(each_once([[30, 31], [32, 33], [34, 35]]).await);
    late.batch_execute("COMMIT").await.unwrap();
    eventually("all changes are there", async || stored(&mut client).await == rows(&sql, "documents").await).await;
}

#[rstest]
#[tokio::test]
async fn a_paused_source_waits(#[values(16, 18)] major: u32) {
    let server = start(major).await;
    let (sql, mut client) = notebook(&server).await;
    client.pause_source(v1::PauseSourceRequest { name: "c".into() }).await.unwrap();
    sql.batch_execute("INSERT INTO documents (content) VALUES ('a heron')").await.unwrap();
    eventually("it is pending", async || status(&mut client).await.pending_count == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = status(&mut client).await;
    assert!(waiting.paused && waiting.pending_count == 1 && waiting.oldest_pending_time.is_some(), "{waiting:?}");
    assert!(search(&mut client, words("c", "heron", 1)).await.results.is_empty());
    client.resume_source(v1::ResumeSourceRequest { name: "c".into() }).await.unwrap();
    caught_up(&mut client).await;
    assert_eq!(search(&mut client, words("c", "heron", 1)).await.results.len(), 1);
}
