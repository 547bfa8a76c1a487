//! Collections of an older version, whose words Postgres has made.

use pgfox::v1;
use pgfox_server::Migrate;
use rstest::rstest;
use tokio_postgres::Client as Sql;

use crate::{
    calls::{ids, ingest, search},
    full_text::words,
    own_words::{found, get},
    support::{Client, Server, Setup, eventually, vector_document},
    upgrade::{first_schema, migration},
};

/// Number of old documents. Keys are 4 and above.
const OLD: i64 = 4_000;

/// A database as version 5 of the schema left it, with many documents.
async fn fifth_schema(major: u32) -> (String, Sql) {
    let (database_url, admin) = first_schema(major).await;
    let migrations = [
        include_str!("../../../server/migrations/0002_chunks_and_metadata.sql"),
        include_str!("../../../server/migrations/0003_metadata_index_jobs.sql"),
        include_str!("../../../server/migrations/0004_times.sql"),
        include_str!("../../../server/migrations/0005_embed_headings.sql"),
    ];
    for sql in migrations {
        admin.batch_execute(&migration(sql)).await.expect("a migration");
    }
    admin
        .batch_execute(&format!(
            "INSERT INTO pgfox_internal.schema_migrations VALUES (2), (3), (4), (5);
             INSERT INTO pgfox_internal.documents_1 (id, text, metadata, content_hash)
                 SELECT 'old ' || n, 'Number ' || n || ' is about foxes in MÜNCHEN and of XK-' || n, '{{}}', '' || n::text::bytea
                 FROM generate_series(1, {OLD}) n;
             INSERT INTO pgfox_internal.embeddings_1_1 (document_key, embedding)
                 SELECT key, '[1,1,1]' FROM pgfox_internal.documents_1 WHERE id LIKE 'old %';
             INSERT INTO pgfox_internal.chunks_1 (document_key, chunk, ordinal, start_char, end_char, words)
                 SELECT key, 0, 0, 0, char_length(text), to_tsvector('english', left(text, 50000))
                 FROM pgfox_internal.documents_1 WHERE id LIKE 'old %'"
        ))
        .await
        .expect("the fifth schema");
    (database_url, admin)
}

async fn start(database_url: &str) -> Server {
    let mut setup = Setup::new(database_url.to_owned());
    setup.migrate = Migrate::Always;
    let server = setup.start().await;
    server.ready().await;
    server
}

async fn progress(client: &mut Client) -> f32 {
    get(client, "foxes").await.full_text.unwrap().progress
}

/// The number of chunks with words of Postgres.
async fn left(admin: &Sql) -> i64 {
    let left = "SELECT count(*) FROM pgfox_internal.chunks_1 WHERE words_version = 0";
    admin.query_one(left, &[]).await.unwrap().get(0)
}

fn new(id: &str, text: &str) -> v1::Document {
    v1::Document { text: text.into(), ..vector_document(id, &[1.0, 1.0, 1.0]) }
}

/// The lease of a vanished server keeps nobody waiting.
async fn end_lease(admin: &Sql) {
    admin
        .batch_execute("UPDATE pgfox_internal.word_jobs SET leased_until = now() - interval '1 second'")
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn words_are_converted_during_searches_and_writes(#[values(16, 18)] major: u32) {
    let (database_url, admin) = fifth_schema(major).await;
    let server = start(&database_url).await;
    let mut client = server.client();
    let began = progress(&mut client).await;
    assert!(began < 1.0, "{began}");
    assert_eq!(get(&mut client, "empty").await.text_search_language, "english");

    // Old, new, changed and deleted documents are always found in their current state.
    let mut seen = vec![began];
    let mut round = 0;
    while progress(&mut client).await < 1.0 {
        round += 1;
        let changed = (0..5).map(|i| {
            let number = (round * 37 + i * 701) % OLD + 1;
            new(&format!("old {number}"), &format!("Changed, a badger{round} of {number}"))
        });
        let mut documents: Vec<v1::Document> = changed.collect();
        documents.push(new(&format!("new {round}"), "New foxes"));
        documents.sort_by(|one, other| one.id.cmp(&other.id));
        documents.dedup_by(|one, other| one.id == other.id);
        let count = documents.len() as i32;
        assert_eq!(ingest(&mut client, "foxes", documents).await.upserted_count, count);
        let delete = v1::DeleteDocumentsRequest {
            collection: "foxes".into(),
            ids: vec![format!("old {}", round * 13 % OLD + 1)],
            ..Default::default()
        };
        client.delete_documents(delete).await.unwrap();
        let response = search(&mut client, words("foxes", "sound", 10)).await;
        assert_eq!(ids(&response), ["sounds"], "round {round}");
        assert_eq!(
            search(&mut client, words("foxes", &format!("badger{round}"), 10)).await.results.len() as i32,
            count - 1
        );
        seen.push(progress(&mut client).await);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().any(|progress| *progress > 0.0 && *progress < 1.0), "{seen:?}");
    assert_eq!(left(&admin).await, 0);
    let counted = "SELECT count(*) FROM pgfox_internal.chunks_1 WHERE word_count = 0";
    assert_eq!(admin.query_one(counted, &[]).await.unwrap().get::<_, i64>(0), 0);
    let registry = "SELECT c.words_version, c.languages,
                           (SELECT count(*) FROM pgfox_internal.word_jobs j WHERE j.collection_id = c.id)
                    FROM pgfox_internal.collections c WHERE c.name = 'foxes'";
    let registry = admin.query_one(registry, &[]).await.unwrap();
    let (version, languages, jobs): (i16, Vec<String>, i64) = (registry.get(0), registry.get(1), registry.get(2));
    assert_eq!((version, languages, jobs), (1, vec!["english".to_owned()], 0));
    // Words that Postgres's parser did not find: letters of any locale, and the parts of a code.
    assert!(found(&admin, "foxes", "münchen").await.len() > 1_000);
    let code = "SELECT id FROM pgfox.foxes WHERE content LIKE '%XK-%' LIMIT 1";
    let id: String = admin.query_one(code, &[]).await.unwrap().get(0);
    assert!(found(&admin, "foxes", id.strip_prefix("old ").unwrap()).await.contains(&id));
    eventually("the empty collection is done too", async || {
        get(&mut client, "empty").await.full_text.unwrap().progress == 1.0
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn another_server_continues_after_a_kill(#[values(16, 18)] major: u32) {
    let (database_url, admin) = fifth_schema(major).await;
    let sixth = migration(include_str!("../../../server/migrations/0006_words.sql"));
    admin.batch_execute(&format!("{sixth}; INSERT INTO pgfox_internal.schema_migrations VALUES (6)")).await.unwrap();
    // Another session holds a chunk, so that the conversion does not end.
    let hold = crate::support::sql(&database_url).await;
    hold.batch_execute("BEGIN; SELECT FROM pgfox_internal.chunks_1 WHERE document_key = 2000 FOR UPDATE")
        .await
        .unwrap();
    let server = start(&database_url).await;
    eventually("it is at the chunk that is held, and behind it", async || {
        let place = "SELECT coalesce(max(document_key), -1) FROM pgfox_internal.word_jobs WHERE collection_id = 1";
        admin.query_one(place, &[]).await.unwrap().get::<_, i64>(0) == 1_999 && left(&admin).await == 1
    })
    .await;
    // A killed server reports nothing to anybody.
    drop(server);
    let other = start(&database_url).await;
    let mut client = other.client();
    let before = progress(&mut client).await;
    assert!(before > 0.4 && before < 0.6, "{before}");
    end_lease(&admin).await;
    hold.batch_execute("COMMIT").await.unwrap();
    eventually("all words are converted", async || progress(&mut client).await == 1.0).await;
    assert_eq!(left(&admin).await, 0);
    assert!(found(&admin, "foxes", "munchen").await.len() as i64 >= OLD);
}

#[tokio::test]
async fn a_collection_is_deleted_while_its_words_are_converted() {
    let (database_url, _admin) = fifth_schema(18).await;
    let server = start(&database_url).await;
    let mut client = server.client();
    eventually("it has begun", async || progress(&mut client).await > 0.0).await;
    client
        .delete_collection(v1::DeleteCollectionRequest { name: "foxes".into(), ..Default::default() })
        .await
        .expect("deleted");
    let admin = server.sql().await;
    let jobs = "SELECT count(*) FROM pgfox_internal.word_jobs WHERE collection_id = 1";
    assert_eq!(admin.query_one(jobs, &[]).await.unwrap().get::<_, i64>(0), 0);
    eventually("the other one is done", async || get(&mut client, "empty").await.full_text.unwrap().progress == 1.0)
        .await;
}
