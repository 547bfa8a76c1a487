//! Keys: one column of every type, and several.

use super::*;
use crate::{
    metadata::{selected, with_ids},
    support::{Setup, cluster, create_database, sql as connect},
};

async fn check(server: &Server, ddl: &str, wanted: &[&str], missing: &[&str]) {
    let sql = server.sql().await;
    sql.batch_execute(ddl).await.unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &["body"]))).await.unwrap();
    for index in [false, true] {
        if index {
            sql.batch_execute("SET enable_seqscan = off").await.unwrap();
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        let response = search(&mut client, near("c", &[1.0, 0.0], 10)).await;
        assert_eq!(ids(&response), wanted, "{ddl}");
        let filtered = v1::SearchRequest { filter: Some(with_ids(&wanted[1..])), ..near("c", &[1.0, 0.0], 10) };
        assert_eq!(ids(&search(&mut client, filtered.clone()).await), &wanted[1..], "{ddl}");
        assert_eq!(ids(&search(&mut client, similar("c", wanted[0], 10)).await), &wanted[1..], "{ddl}");
        let mut without = filtered;
        without.query = Some(v1::search_request::Query::DocumentId(wanted[1].into()));
        assert_eq!(ids(&search(&mut client, without).await), &wanted[2..], "{ddl}");
        let vectors = v1::SearchRequest { include_vector: true, max_distance: Some(2.0), ..near("c", &[1.0, 0.0], 10) };
        assert_eq!(ids(&search(&mut client, vectors).await), wanted, "{ddl}");
    }
    let texts: Vec<String> = documents(&mut client, wanted).await.into_iter().map(|document| document.text).collect();
    assert_eq!(texts, ["one", "two", "three"], "{ddl}");
    let mut sorted = selected(&mut client, &with_ids(wanted)).await;
    sorted.sort();
    let mut all = owned(wanted);
    all.sort();
    assert_eq!(sorted, all);
    let mut paged = Vec::new();
    let mut page = v1::ListDocumentsRequest { collection: "c".into(), page_size: 1, ..Default::default() };
    loop {
        let response = client.list_documents(page.clone()).await.unwrap().into_inner();
        paged.extend(response.documents.into_iter().map(|document| document.id));
        if response.next_page_token.is_empty() {
            break;
        }
        page.page_token = response.next_page_token;
    }
    paged.sort();
    assert_eq!(paged, all, "{ddl}");
    assert_eq!(selected(&mut client, &with_ids(missing)).await, Vec::<String>::new(), "{ddl}");
    let request = v1::GetDocumentsRequest {
        collection: "c".into(),
        ids: owned(missing),
        allow_missing: true,
        ..Default::default()
    };
    assert!(client.get_documents(request).await.unwrap().into_inner().documents.is_empty(), "{ddl}");
}

#[rstest]
#[case::smallint("smallint PRIMARY KEY", "-7, 12, 300", &["-7", "12", "300"], &["99999", "x", "07"])]
#[case::integer("integer PRIMARY KEY", "1, 2, 10", &["1", "2", "10"], &["3", "4294967297", "1.0"])]
#[case::bigint("bigint PRIMARY KEY", "1, 9007199254740993, -5", &["1", "9007199254740993", "-5"], &["", "9007199254740992"])]
#[case::uuid(
    "uuid PRIMARY KEY",
    "'123e4567-e89b-12d3-a456-426614174000', '00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    &["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    &["1", "00000000-0000-0000-0000-000000000002"]
)]
#[case::text("text PRIMARY KEY", "'ä''b', '1; DROP TABLE t', 'Z'", &["ä'b", "1; DROP TABLE t", "Z"], &["z"])]
#[case::varchar("varchar(20) UNIQUE NOT NULL", "'a', 'b', 'c'", &["a", "b", "c"], &["d"])]
#[case::date("date PRIMARY KEY", "'2024-02-29', '1999-12-31', '2001-01-01'", &["2024-02-29", "1999-12-31", "2001-01-01"], &["2023-02-29"])]
#[case::any_date(
    "date PRIMARY KEY",
    "'infinity', '0044-03-15 BC', '-infinity'",
    &["infinity", "0044-03-15 BC", "-infinity"],
    &["0044-03-15", "today"]
)]
#[case::domain("key PRIMARY KEY", "5, 6, 7", &["5", "6", "7"], &["8"])]
#[tokio::test]
async fn a_key_of_one_column(
    #[case] kind: &str,
    #[case] values: &str,
    #[case] wanted: &[&str],
    #[case] missing: &[&str],
) {
    let missing: Vec<&str> = missing.iter().copied().filter(|id| !id.is_empty()).collect();
    let server = Server::start(18).await;
    let ddl = format!(
        "CREATE DOMAIN key AS int CHECK (VALUE > 0);
         CREATE TABLE t (id {kind}, body text, embedding vector(2));
         INSERT INTO t SELECT (ARRAY[{values}]{array})[n], (ARRAY['one', 'two', 'three'])[n],
                              (ARRAY['[1,0]', '[1,1]', '[0,1]'])[n]::vector FROM generate_series(1, 3) n",
        array = if kind.starts_with("key") {
            "::int[]".to_owned()
        } else {
            format!("::{}[]", kind.split(' ').next().unwrap())
        }
    );
    check(&server, &ddl, wanted, &missing).await;
}

#[rstest]
#[tokio::test]
async fn a_key_of_several_columns(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let ddl = "CREATE TABLE t (tenant text, n int, body text, embedding vector(2), PRIMARY KEY (tenant, n));
               INSERT INTO t VALUES ('a\"b', 1, 'one', '[1,0]'), ('a\"b', 2, 'two', '[1,1]'), ('ü, x', 1, 'three', '[0,1]')";
    let missing = ["1", r#"["a", 1]"#, r#"["a\"b"]"#, r#"[1, "a\"b"]"#];
    check(&server, ddl, &[r#"["a\"b", 1]"#, r#"["a\"b", 2]"#, r#"["ü, x", 1]"#], &missing).await;
    // White space between the parts does not matter.
    let found = documents(&mut server.client(), &[r#"["a\"b",2]"#]).await;
    assert_eq!((found[0].id.as_str(), found[0].text.as_str()), (r#"["a\"b", 2]"#, "two"));
    assert_eq!(ids(&search(&mut server.client(), similar("c", r#"["a\"b",2]"#, 1)).await).len(), 1);
}

#[tokio::test]
async fn a_key_with_a_date_is_the_same_under_every_date_style() {
    let url = create_database(&cluster(18).postgres).await;
    let database = url.rsplit_once('/').unwrap().1.to_owned();
    let style = format!("ALTER DATABASE {database} SET DateStyle TO 'SQL, DMY'");
    connect(&url).await.batch_execute(&style).await.unwrap();
    let server = Setup::new(url).start().await;
    server.ready().await;
    let ddl = "CREATE TABLE t (day date, n int, body text, embedding vector(2), PRIMARY KEY (day, n));
               INSERT INTO t VALUES ('2024-05-13', 1, 'one', '[1,0]'), ('2024-05-13', 2, 'two', '[1,1]'),
                                    ('2023-12-31', 1, 'three', '[0,1]')";
    let wanted = [r#"["2024-05-13", 1]"#, r#"["2024-05-13", 2]"#, r#"["2023-12-31", 1]"#];
    check(&server, ddl, &wanted, &[r#"["13/05/2024", 1]"#]).await;
}

#[tokio::test]
async fn a_key_is_chosen_among_several() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE t (a int NOT NULL UNIQUE, b int NOT NULL UNIQUE, body text, embedding vector(2));
         INSERT INTO t VALUES (1, 2, 'one', '[1,0]')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    let status = client.create_collection(attach(source("t", &["body"]))).await.unwrap_err();
    assert!(status.message().contains(r#"several keys, "a" or "b""#), "{status:?}");
    let by_b = v1::Source { id_columns: owned(&["b"]), ..source("t", &["body"]) };
    client.create_collection(attach(by_b)).await.unwrap();
    assert_eq!(documents(&mut client, &["2"]).await[0].text, "one");
}

#[tokio::test]
async fn partitions_are_one_table() {
    let server = Server::start(16).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE t (id int, day date, body text, embedding vector(2), PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
         INSERT INTO t VALUES (1, '2024-05-01', 'one', '[1,0]'), (1, '2025-05-01', 'two', '[0,1]')",
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("t", &["body"]))).await.unwrap();
    let wanted = [r#"[1, "2024-05-01"]"#, r#"[1, "2025-05-01"]"#];
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), wanted);
    let estimate = v1::CountDocumentsRequest { collection: "c".into(), estimated: true, ..Default::default() };
    assert!(client.count_documents(estimate).await.unwrap().into_inner().count >= 0);
    assert_eq!(crate::calls::count(&mut client, "c").await, 2);
    // Large partitions are not counted row by row.
    let large = "UPDATE pg_class SET reltuples = 60000 WHERE relname IN ('t_1', 't_2')";
    sql.batch_execute(large).await.unwrap();
    assert_eq!(crate::calls::count(&mut client, "c").await, 120_000);
    let build = v1::BuildIndexRequest { collection: "c".into(), ..Default::default() };
    let status = client.build_index(build).await.unwrap_err();
    assert_eq!(crate::support::reason(&status).0, "INDEX_UNSUPPORTED");
    assert!(status.message().contains("is partitioned"), "{status:?}");
    sql.batch_execute("CREATE INDEX ON t USING hnsw (embedding vector_cosine_ops)").await.unwrap();
    let indexes = client.list_indexes(v1::ListIndexesRequest { collection: "c".into() }).await.unwrap().into_inner();
    assert_eq!(indexes.indexes.len(), 1);
    let response = search(&mut client, near("c", &[1.0, 0.0], 2)).await;
    assert_eq!((ids(&response), response.completeness()), (wanted.to_vec(), Completeness::Approximate));
}
