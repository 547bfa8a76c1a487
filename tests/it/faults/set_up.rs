//! Databases that a server is not able, or not allowed, to set up.

use rstest::rstest;

use super::*;
use crate::support::{Setup, cluster, create_database, sql, vector_document, vectors};

/// A role that may only log in, and the DSN with which it does.
async fn create_role(database_url: &str) -> (String, String) {
    let client = sql(database_url).await;
    let role = format!("role_{}", database_url.rsplit_once('/').unwrap().1);
    let create = format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    client.batch_execute(&create).await.unwrap();
    let (_, host) = database_url.rsplit_once('@').unwrap();
    (format!("postgres://{role}:secret@{host}"), role)
}

#[rstest]
#[tokio::test]
async fn an_extension_that_the_role_may_not_create_is_asked_for(#[values(16, 18)] major: u32) {
    let database_url = create_database(&cluster(major).postgres).await;
    let (role_url, role) = create_role(&database_url).await;
    let server = Setup::new(role_url).start().await;
    let mut client = server.client();
    let missing = expected(Code::FailedPrecondition, "EXTENSION_MISSING", false);
    eventually("the extension is missed", async || {
        let status = get(&mut client, "foxes", "fox").await.expect_err("no extension");
        reported(&status) == missing && status.message().contains("run: CREATE EXTENSION vector")
    })
    .await;
    becomes(&server, false).await;

    // Next, it may not create the schema.
    let admin = sql(&database_url).await;
    admin.batch_execute("CREATE EXTENSION vector").await.unwrap();
    let refused = expected(Code::FailedPrecondition, "DATABASE_REFUSED", false);
    eventually("the privilege is missed", async || {
        reported(&get(&mut client, "foxes", "fox").await.expect_err("no schema")) == refused
    })
    .await;
    let database = database_url.rsplit_once('/').unwrap().1;
    admin.batch_execute(&format!("GRANT CREATE ON DATABASE {database} TO {role}")).await.unwrap();
    becomes(&server, true).await;
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn schemas_that_were_made_for_the_role_are_enough(#[values(16, 18)] major: u32) {
    let database_url = create_database(&cluster(major).postgres).await;
    let (role_url, role) = create_role(&database_url).await;
    let schemas = format!(
        "CREATE EXTENSION vector;
         CREATE SCHEMA pgfox AUTHORIZATION {role}; CREATE SCHEMA pgfox_internal AUTHORIZATION {role}"
    );
    sql(&database_url).await.batch_execute(&schemas).await.unwrap();
    let server = Setup::new(role_url).start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_role_that_only_reads_can_only_read(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
    let (role_url, role) = create_role(&server.database_url).await;
    server
        .sql()
        .await
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA pgfox, pgfox_internal TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA pgfox, pgfox_internal TO {role}"
        ))
        .await
        .unwrap();
    let reader = Setup::new(role_url).start().await;
    reader.ready().await;
    let mut client = reader.client();
    assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
    let refused = expected(Code::FailedPrecondition, "DATABASE_REFUSED", false);
    let statuses = [
        ingest(&mut client, "points", vector_document("q", &[1.0, 2.0, 3.0])).await.expect_err("reads only"),
        client.create_collection(vectors("more", 3, v1::Distance::L2)).await.expect_err("reads only"),
        client
            .build_index(v1::BuildIndexRequest { collection: "points".into(), ..Default::default() })
            .await
            .expect_err("reads only"),
    ];
    for status in statuses {
        assert_eq!(reported(&status), refused, "{status:?}");
        assert!(!status.message().contains("permission denied"), "the driver's words: {status:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let sql = server.sql().await;
    let (host, name) = server.database_url.rsplit_once('/').unwrap();
    let latin = format!("{name}_latin");
    let create = format!(
        "CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    sql.batch_execute(&create).await.unwrap();
    let refused = Setup::new(format!("{host}/{latin}")).start().await;
    let error = refused.ended().await.expect_err("another encoding").to_string();
    assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
}

#[rstest]
#[tokio::test]
async fn a_newer_schema_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let sql = server.sql().await;
    sql.batch_execute("INSERT INTO pgfox_internal.schema_migrations (version) VALUES (999)").await.unwrap();
    let late = Setup::new(server.database_url.clone()).start().await;
    let error = late.ended().await.expect_err("a newer schema").to_string();
    assert!(error.contains("version 999") && error.contains("newer pgfox"), "{error}");
}

#[rstest]
#[tokio::test]
async fn servers_that_start_together_set_up_one_schema(#[values(16, 18)] major: u32) {
    let database_url = create_database(&cluster(major).postgres).await;
    let start = || async {
        let server = Setup::new(database_url.clone()).start().await;
        server.ready().await;
        server
    };
    let servers = tokio::join!(start(), start(), start(), start());
    let migrations = "SELECT count(*) FROM pgfox_internal.schema_migrations";
    let applied: i64 = servers.0.sql().await.query_one(migrations, &[]).await.unwrap().get(0);
    assert_eq!(applied, i64::from(pgfox_server::SCHEMA_VERSION));
    servers.0.client().create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(&mut servers.3.client(), "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn words_are_found_whatever_the_locale(#[values(16, 18)] major: u32) {
    let usual = create_database(&cluster(major).postgres).await;
    let (host, name) = usual.rsplit_once('/').unwrap();
    let ascii = format!("{name}_ascii");
    let create = format!("CREATE DATABASE {ascii} LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    sql(&usual).await.batch_execute(&create).await.unwrap();
    let server = Setup::new(format!("{host}/{ascii}")).start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let text = "MÜNCHEN “normal” Москва customer’s XK-4711";
    let document = v1::Document { text: text.into(), ..vector_document("a", &[1.0]) };
    ingest(&mut client, "c", document).await.unwrap();
    for query in ["münchen", "normal", "москва", "customer", "4711"] {
        let request = v1::SearchRequest {
            collection: "c".into(),
            mode: v1::SearchMode::FullText.into(),
            query: Some(v1::search_request::Query::Text(query.into())),
            ..Default::default()
        };
        assert_eq!(client.search(request).await.unwrap().into_inner().results.len(), 1, "{query}");
    }
}
