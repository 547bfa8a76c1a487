//! Codes after changes by SQL, and jobs that cannot make them.

use super::*;

/// The name of the only table whose name matches.
async fn table(server: &Server, pattern: &str) -> String {
    let sql = "SELECT 'pgfox_internal.' || relname FROM pg_class WHERE relkind = 'r' AND relname ~ $1";
    server.sql().await.query_one(sql, &[&pattern]).await.unwrap().get(0)
}

const CODES: &str = "^codes_[0-9]+_[0-9]+$";
const EMBEDDINGS: &str = "^embeddings_[0-9]+_[0-9]+$";

/// A search that finds rows without a code, and starts the job. So few match that Postgres never expects too many for codes.
async fn meet_missing_codes(client: &mut Client) {
    let filter = Some(equals("genre", &json!("war")));
    search(client, v1::SearchRequest { filter, ..near("c", &[1.0; DIMENSIONS], 10) }).await;
}

async fn missing_codes(server: &Server) -> i64 {
    let sql = format!("SELECT count(*) FROM {} WHERE code IS NULL", table(server, CODES).await);
    server.sql().await.query_one(&sql, &[]).await.unwrap().get(0)
}

/// Most documents have such a year.
fn by_year() -> Option<v1::Filter> {
    Some(field("year", Test::AtLeast(value(&json!(1950)))))
}

/// How many of the 10 nearest a search finds.
async fn found_by_year(client: &mut Client, query: &[f32], rerank_candidates: Option<i32>) -> usize {
    let params = Some(v1::SearchParams { rerank_candidates, ..Default::default() });
    let request = v1::SearchRequest { filter: by_year(), params, ..near("c", query, 10) };
    let response = search(client, request.clone()).await;
    let params = Some(v1::SearchParams { exact: true, ..Default::default() });
    let exact = search(client, v1::SearchRequest { params, ..request }).await;
    let exact = ids(&exact);
    ids(&response).iter().filter(|id| exact.contains(id)).count()
}

#[tokio::test]
async fn rows_without_a_code_are_found() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(3);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let codes = table(&server, CODES).await;
    // As a server leaves them that does not know of the codes: a few, then more than a search compares.
    for (share, rerank_candidates) in
        [("document_key % 400 = 0", None), ("document_key % 400 = 1", Some(10)), ("true", None)]
    {
        let sql = format!("UPDATE {codes} SET code = NULL, norm = NULL, cell = -1 WHERE {share}");
        server.sql().await.batch_execute(&sql).await.unwrap();
        let found = found_by_year(&mut client, &numbers.vector(), rerank_candidates).await;
        assert!(found >= 8, "{found} where {share}");
        eventually("the codes are made", async || {
            // A job that is about to end does not begin again.
            meet_missing_codes(&mut client).await;
            missing_codes(&server).await == 0
        })
        .await;
        are_in_step(&server).await;
    }
}

#[tokio::test]
async fn vectors_that_sql_changes_get_other_codes() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(13);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let admin = server.sql().await;
    let embeddings = table(&server, EMBEDDINGS).await;
    // The same vectors need no other codes.
    admin.batch_execute(&format!("UPDATE {embeddings} SET embedding = embedding")).await.unwrap();
    assert_eq!(missing_codes(&server).await, 0);
    let mirror = "embedding * array_fill(-1.0::real, ARRAY[24])::vector";
    let sql = format!("UPDATE {embeddings} SET embedding = {mirror} WHERE document_key % 2 = 0");
    let changed = admin.execute(&sql, &[]).await.unwrap();
    assert!(changed > 1_000);
    assert_eq!(missing_codes(&server).await, changed as i64);
    let query: Vec<f32> = numbers.vector().iter().map(|value| -value).collect();
    assert!(found_by_year(&mut client, &query, None).await >= 8);
    eventually("the codes are made", async || {
        meet_missing_codes(&mut client).await;
        missing_codes(&server).await == 0
    })
    .await;
    are_in_step(&server).await;
    assert!(found_by_year(&mut client, &query, None).await >= 8);

    admin.batch_execute(&format!("TRUNCATE {embeddings}")).await.unwrap();
    let sql = format!("SELECT count(*) FROM {}", table(&server, CODES).await);
    assert_eq!(admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn codes_stay_while_the_number_of_vectors_is_unknown_or_wavers() {
    let server = Server::start(18).await;
    let mut client = server.client();
    load(&mut client, &server, Distance::L2, &mut Numbers(19)).await;
    let admin = server.sql().await;
    let codes = table(&server, CODES).await;
    let embeddings = table(&server, EMBEDDINGS).await;
    for (rows, stays) in [(-1, true), (999, true), (400, false)] {
        let sql = format!("UPDATE pg_class SET reltuples = {rows} WHERE oid = '{embeddings}'::regclass");
        let exists = async || {
            let sql = "SELECT to_regclass($1) IS NOT NULL";
            admin.query_one(sql, &[&codes]).await.unwrap().get::<_, bool>(0)
        };
        if stays {
            // Servers check every 6 seconds.
            admin.batch_execute(&sql).await.unwrap();
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert!(exists().await, "{rows}");
        } else {
            eventually("the codes are dropped", async || {
                // A vacuum would count again.
                admin.batch_execute(&sql).await.unwrap();
                !exists().await
            })
            .await;
        }
    }
}

#[tokio::test]
async fn failures_are_recorded() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(29);
    create(&mut client, Distance::L2).await;
    for _ in 0..2 {
        ingest(&mut client, "c", (0..1_000).map(|id| numbers.document(id)).collect()).await;
    }
    ingest(&mut client, "c", (1_000..2_000).map(|id| numbers.document(id)).collect()).await;
    let admin = server.sql().await;
    // Something else has the name of the table.
    admin.batch_execute("CREATE VIEW pgfox_internal.codes_1_1 AS SELECT 1").await.unwrap();
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    let failures = async || {
        let sql = "SELECT count(*), min(error) FROM pgfox_internal.codes WHERE state = 'failed'";
        let row = admin.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, Option<String>>(1).unwrap_or_default())
    };
    eventually("the failure is recorded", async || failures().await.0 == 1).await;
    let error = failures().await.1;
    assert!(!error.is_empty());
    // The last statement fails.
    admin
        .batch_execute(
            "DROP VIEW pgfox_internal.codes_1_1;
             CREATE FUNCTION pgfox_internal.refuse() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON pgfox_internal.codes FOR EACH ROW WHEN (NEW.state = 'ready')
                 EXECUTE FUNCTION pgfox_internal.refuse();
             UPDATE pgfox_internal.codes SET created_at = now() - interval '1 day', error = 'an old one'",
        )
        .await
        .unwrap();
    eventually("the other failure is recorded", async || {
        let (count, error) = failures().await;
        count == 1 && error != "an old one"
    })
    .await;
    // What was made is dropped.
    let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^codes_[0-9]+_[0-9]+$'";
    eventually("nothing is left", async || admin.query_one(tables, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
}

#[tokio::test]
async fn codes_in_use_are_completed_while_others_cannot_be_made() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(53);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let admin = server.sql().await;
    let failed = "INSERT INTO pgfox_internal.codes (space_id, fields, centre, seed, state, error)
                  SELECT space_id, '[]', '{}', 0, 'failed', 'not now' FROM pgfox_internal.codes";
    admin.batch_execute(failed).await.unwrap();
    let request = v1::UpdateCollectionRequest {
        collection: Some(v1::Collection {
            name: "c".into(),
            metadata_indexes: declared(&FIELDS[..3]),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["metadata_indexes".into()] }),
    };
    client.update_collection(request).await.unwrap();
    let codes = table(&server, CODES).await;
    admin.batch_execute(&format!("UPDATE {codes} SET code = NULL, norm = NULL, cell = -1")).await.unwrap();
    assert!(found_by_year(&mut client, &numbers.vector(), None).await >= 8);
    eventually("the codes are made", async || {
        meet_missing_codes(&mut client).await;
        missing_codes(&server).await == 0
    })
    .await;
    // A search that finds rows without a code starts the job, which waits an hour after a failure.
    let sets = "SELECT count(*) FROM pgfox_internal.codes WHERE state <> 'failed'";
    assert_eq!(admin.query_one(sets, &[]).await.unwrap().get::<_, i64>(0), 1);
    let later = "UPDATE pgfox_internal.codes SET created_at = now() - interval '1 day' WHERE state = 'failed'";
    admin.batch_execute(later).await.unwrap();
    let made = "SELECT count(*) FROM pgfox_internal.codes WHERE state = 'ready' AND jsonb_array_length(fields) = 2";
    eventually("the others are made", async || admin.query_one(made, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    are_in_step(&server).await;
}

/// Holds a row while a job begins, until it waits for the row and others have done `work`.
async fn while_the_job_waits(server: &Server, row: &str, begin: impl Future, work: &str) {
    let (holder, admin) = (server.sql().await, server.sql().await);
    holder.batch_execute(&format!("BEGIN; {row} FOR UPDATE")).await.unwrap();
    let others = async {
        eventually("the job waits", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE wait_event_type = 'Lock' AND query ~ '^-- (insert|fill)_codes'
                             AND datname = current_database()";
            admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        admin.batch_execute(work).await.unwrap();
        holder.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(begin, others);
}

/// Checks that the codes are those of the stored vectors: the job makes the same again.
async fn are_of_the_vectors(client: &mut Client, server: &Server) {
    let admin = server.sql().await;
    let codes = table(server, CODES).await;
    let before =
        format!("CREATE TABLE before AS SELECT * FROM {codes}; UPDATE {codes} SET code = NULL, norm = NULL, cell = -1");
    admin.batch_execute(&before).await.unwrap();
    eventually("the codes are made", async || {
        // A job that is about to end does not begin again.
        meet_missing_codes(client).await;
        missing_codes(server).await == 0
    })
    .await;
    let differ = format!(
        "SELECT count(*) FROM {codes} c FULL JOIN before b USING (document_key, chunk)
         WHERE (c.code, c.norm) IS DISTINCT FROM (b.code, b.norm)"
    );
    assert_eq!(admin.query_one(&differ, &[]).await.unwrap().get::<_, i64>(0), 0);
    admin.batch_execute("DROP TABLE before").await.unwrap();
}

#[tokio::test]
async fn vectors_that_sql_changes_while_their_codes_are_made() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(59);
    create(&mut client, Distance::L2).await;
    for first in (0..DOCUMENTS).step_by(1_000) {
        ingest(&mut client, "c", (first..first + 1_000).map(|id| numbers.document(id)).collect()).await;
    }
    let embeddings = table(&server, EMBEDDINGS).await;
    let change = |rest: i32| {
        format!(
            "UPDATE {embeddings} SET embedding = embedding * array_fill(-1.0::real, ARRAY[24])::vector
             WHERE document_key % 3 = {rest}"
        )
    };
    // The job has read the vectors, and has no rows for them yet.
    let document = "SELECT FROM pgfox_internal.documents_1 WHERE id = '00000'";
    let building = build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default()));
    while_the_job_waits(&server, document, building, &change(1)).await;
    await_codes(&server, 3).await;
    are_in_step(&server).await;
    are_of_the_vectors(&mut client, &server).await;

    // It has read rows without a code.
    let codes = table(&server, CODES).await;
    let remove = format!("UPDATE {codes} SET code = NULL, norm = NULL, cell = -1");
    server.sql().await.batch_execute(&remove).await.unwrap();
    let row = format!("SELECT FROM {codes} WHERE document_key = 1");
    let searching = async {
        for _ in 0..20 {
            meet_missing_codes(&mut client).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    while_the_job_waits(&server, &row, searching, &change(2)).await;
    eventually("the codes are made", async || missing_codes(&server).await == 0).await;
    are_in_step(&server).await;
    are_of_the_vectors(&mut client, &server).await;
}

#[tokio::test]
async fn codes_follow_vectors_that_drift() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(71);
    load(&mut client, &server, Distance::L2, &mut numbers).await;
    let admin = server.sql().await;
    let set = async || {
        let sql = "SELECT id, candidates, (SELECT avg(c) FROM unnest(centre) c)::float8 AS centre
                   FROM pgfox_internal.codes WHERE state = 'ready'";
        let row = admin.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i32>(1), row.get::<_, f64>(2))
    };
    // As many vectors are new, but near the old ones: the set stays, with another measurement.
    let (first, ..) = set().await;
    let changed = "UPDATE pgfox_internal.codes SET candidates = 7777";
    admin.batch_execute(changed).await.unwrap();
    let write = async |client: &mut Client, numbers: &mut Numbers, shift: f32| {
        for first in (0..DOCUMENTS).step_by(1_000) {
            let mut documents: Vec<_> = (first..first + 1_000).map(|id| numbers.document(id)).collect();
            for document in &mut documents {
                document.vector.as_mut().unwrap().values.iter_mut().for_each(|value| *value += shift);
            }
            ingest(client, "c", documents).await;
        }
    };
    write(&mut client, &mut numbers, 0.0).await;
    eventually("the codes are measured again", async || set().await.1 != 7777).await;
    assert_eq!(set().await.0, first);
    // All are far away from the centre now.
    write(&mut client, &mut numbers, 100.0).await;
    eventually("others are made", async || set().await.0 > first).await;
    let (_, candidates, centre) = set().await;
    // They may be made before the last vectors are written.
    assert!(candidates < 1_000 && centre > 10.0, "{candidates} around {centre}");
    are_in_step(&server).await;
    let query: Vec<f32> = numbers.vector().iter().map(|value| value + 100.0).collect();
    assert!(found_by_year(&mut client, &query, None).await >= 8);
}
