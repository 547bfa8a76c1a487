//! What cannot be attached: each mistake is named, all of them at once.

use super::*;
use crate::calls::{invalid, refusal};

async fn refused(client: &mut Client, source: v1::Source, wanted: &[&str]) {
    let status = client.create_collection(attach(source)).await.unwrap_err();
    let fields = crate::support::reason(&status).1;
    for (field, rule) in wanted.iter().map(|wanted| wanted.split_once(' ').unwrap()) {
        let details = tonic_types::StatusExt::get_error_details(&status);
        let violations = details.bad_request().unwrap().field_violations.clone();
        let found =
            violations.iter().any(|violation| violation.field.ends_with(field) && violation.description.contains(rule));
        assert!(found, "{field} {rule}: {violations:?}");
    }
    assert_eq!(fields.len(), wanted.len(), "{status:?}");
}

#[tokio::test]
async fn tables_that_cannot_be_served() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE no_key (id int, body text, embedding vector(2));
         CREATE TABLE nullable (id int UNIQUE, embedding vector(2));
         CREATE TABLE partial (id int NOT NULL, embedding vector(2)); CREATE UNIQUE INDEX ON partial (id) WHERE id > 0;
         CREATE TABLE floats (id float8 PRIMARY KEY, embedding vector(2));
         CREATE TABLE no_vector (id int PRIMARY KEY, body text);
         CREATE TABLE two_vectors (id int PRIMARY KEY, a vector(2), b halfvec(3));
         CREATE TABLE empty (id int PRIMARY KEY, embedding vector);
         CREATE TABLE mixed (id int PRIMARY KEY, embedding vector);
         INSERT INTO mixed VALUES (1, '[1,0]'), (2, '[1,0,0]');
         CREATE TABLE good (id int PRIMARY KEY, body text, raw bytea, embedding vector(2));
         CREATE VIEW seen AS SELECT * FROM good;
         CREATE MATERIALIZED VIEW kept AS SELECT * FROM good;
         CREATE SEQUENCE numbers",
    )
    .await
    .unwrap();
    let mut client = server.client();
    for (table, wanted) in [
        ("no_key", "table has no primary key"),
        ("nullable", "table has no primary key"),
        ("partial", "table has no primary key"),
        ("floats", "id_columns of the type double precision"),
        ("no_vector", "vector_column no column of the type vector"),
        ("two_vectors", "vector_column several columns of vectors, (\"a\", \"b\")"),
        ("empty", "dimensions is required"),
        ("mixed", "dimensions have 2 and 3 dimensions"),
        ("seen", "table is a view"),
        ("kept", "table is a materialized view"),
        ("numbers", "table is not there"),
        ("other.good", "table the schema \"other\" has no table"),
        ("good; DROP TABLE good", "table must be the name of a table"),
        ("\"good\"\" --\"", "table is not there"),
        ("Public.GOOD.x", "table must be the name of a table"),
        ("", "table is required"),
    ] {
        refused(&mut client, source(table, &[]), &[wanted]).await;
    }
    // All at once.
    let wrong = v1::Source {
        table: "good".into(),
        id_columns: owned(&["body"]),
        text_columns: owned(&["bodY", "raw", "body\" FROM good; --"]),
        text_template: String::new(),
        vector_column: "body".into(),
        metadata_columns: owned(&["raw", "id", "id"]),
        follow: None,
    };
    let wanted = [
        "id_columns must be the primary key",
        "text_columns \"bodY\", which the table has not; it has \"body\"",
        "text_columns \"raw\" of the type bytea",
        "text_columns \"body\"\" FROM good; --\", which the table has not",
        "vector_column \"body\" of the type text",
        "metadata_columns \"raw\" of the type bytea",
        "metadata_columns \"id\" twice",
    ];
    refused(&mut client, wrong, &wanted).await;
    for (template, wanted) in [
        ("{title}", "text_template \"title\", which the table has not"),
        ("no column", "text_template must name a column"),
        ("{body", "text_template a `{` without its `}`"),
        ("{body}}", "text_template a `}` without its `{`"),
    ] {
        refused(&mut client, v1::Source { text_template: template.into(), ..source("good", &[]) }, &[wanted]).await;
    }
    let both = v1::Source { text_template: "{body}".into(), ..source("good", &["body"]) };
    refused(&mut client, both, &["text_template cannot be used together"]).await;
    let tables: i64 = sql.query_one("SELECT count(*) FROM good", &[]).await.unwrap().get(0);
    assert_eq!(tables, 0);

    // Before anything is looked up.
    let many = v1::Source { metadata_columns: vec!["a".into(); 201], ..source("a\0b", &[]) };
    invalid(client.create_collection(attach(many)).await, &["collection.source.metadata_columns"]);
    invalid(client.create_collection(attach(source("a\0b", &[]))).await, &["collection.source.table"]);
    let mut request = attach(source("good", &[]));
    let collection = request.collection.as_mut().unwrap();
    collection.metadata_indexes = vec![v1::MetadataIndex::default()];
    collection.text_search_language = "german".into();
    collection.chunking = Some(v1::Chunking { method: v1::ChunkingMethod::Text.into(), ..Default::default() });
    let (code, _, fields) = refusal(client.create_collection(request).await);
    assert_eq!(code, tonic::Code::InvalidArgument);
    for field in ["metadata_indexes", "chunking", "full_text"] {
        assert!(fields.iter().any(|named| named == &format!("collection.{field}")), "{fields:?}");
    }
    let mut typed = attach(source("good", &[]));
    typed.collection.as_mut().unwrap().vector_type = v1::VectorType::Halfvec.into();
    invalid(client.create_collection(typed).await, &["collection.vector_type"]);
    let mut sized = attach(source("good", &[]));
    sized.collection.as_mut().unwrap().embedding = Some(v1::Embedding { dimensions: 3, ..Default::default() });
    invalid(client.create_collection(sized).await, &["collection.embedding.dimensions"]);
    // The default model gives other dimensions than the column has.
    let mut default_model = attach(source("good", &[]));
    default_model.collection.as_mut().unwrap().embedding = None;
    let (_, reason, fields) = refusal(client.create_collection(default_model).await);
    assert_eq!((reason.as_str(), &fields[..]), ("DIMENSION_MISMATCH", &["collection.embedding.model".to_owned()][..]));
}

#[tokio::test]
async fn a_foreign_table_is_refused() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    let ddl = "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;
               CREATE FOREIGN TABLE distant (id int, embedding vector(2)) SERVER away";
    sql.batch_execute(ddl).await.unwrap();
    refused(&mut server.client(), source("distant", &[]), &["table is a foreign table"]).await;
}

#[tokio::test]
async fn vectors_of_other_dimensions_are_left_out() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE mixed (id int PRIMARY KEY, embedding vector);
         INSERT INTO mixed VALUES (1, '[1,0]'), (2, '[1,0,0]'), (3, '[0,1]'), (4, NULL)",
    )
    .await
    .unwrap();
    let mut client = server.client();
    let mut request = attach(source("mixed", &[]));
    request.collection.as_mut().unwrap().embedding = Some(v1::Embedding { dimensions: 2, ..Default::default() });
    client.create_collection(request).await.unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), ["1", "3"]);
    let filtered = v1::SearchRequest {
        filter: Some(crate::metadata::none_of(vec![crate::metadata::with_ids(&["1"])])),
        ..near("c", &[1.0, 0.0], 10)
    };
    assert_eq!(ids(&search(&mut client, filtered).await), ["3"]);
    assert_eq!(documents(&mut client, &["2"]).await.len(), 1);
    let (_, reason, _) = refusal(client.search(similar("c", "2", 1)).await);
    assert_eq!(reason, "DOCUMENT_WITHOUT_VECTOR");
    let status =
        client.build_index(v1::BuildIndexRequest { collection: "c".into(), ..Default::default() }).await.unwrap_err();
    assert!(status.message().contains("TYPE vector(2)"), "{status:?}");
}

#[tokio::test]
async fn names_are_quoted() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute(
        r#"CREATE SCHEMA "My ""Schema'";
           CREATE TABLE "My ""Schema'"."T'able""; --" ("I d" int PRIMARY KEY, "te'xt" text, "Vec""tor" vector(2), "m'e$1t{a}" int);
           INSERT INTO "My ""Schema'"."T'able""; --" VALUES (1, 'one', '[1,0]', 5), (2, 'two', '[0,1]', 6)"#,
    )
    .await
    .unwrap();
    let mut client = server.client();
    client.create_collection(attach(source(r#""My ""Schema'"."T'able""; --""#, &["te'xt"]))).await.unwrap();
    for index in [false, true] {
        if index {
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        let filter = Some(crate::metadata::equals("\"m'e$1t{a}\"", &serde_json::json!(5)));
        let response = search(&mut client, v1::SearchRequest { filter, ..near("c", &[1.0, 0.0], 10) }).await;
        assert_eq!(ids(&response), ["1"]);
        assert_eq!(response.results[0].document.as_ref().unwrap().text, "one");
        assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), ["1", "2"]);
    }
    assert_eq!(crate::calls::count(&mut client, "c").await, 2);
    let drop = v1::DropIndexRequest { collection: "c".into(), name: String::new() };
    client.drop_index(drop).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_creates_nothing_and_names_the_sql() {
    let server = Server::start(18).await;
    let sql = server.sql().await;
    sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(2))").await.unwrap();
    let mut client = server.client();
    let dry_run = v1::CreateCollectionRequest { dry_run: true, ..attach(source("t", &["body"])) };
    let response = client.create_collection(dry_run.clone()).await.unwrap().into_inner();
    let planned = response.collection.unwrap();
    assert_eq!((planned.embedding.unwrap().dimensions, planned.source.unwrap().id_columns), (2, owned(&["id"])));
    let all: Vec<&str> = response.statements.iter().map(|statement| statement.sql.as_str()).collect();
    assert!(
        all.iter().any(|sql| sql.starts_with("CREATE INDEX CONCURRENTLY") && sql.contains("\"public\".\"t\"")),
        "{all:?}"
    );
    assert!(all.iter().any(|sql| sql.contains("-- search")) && !all.iter().any(|sql| sql.contains("GRANT")), "{all:?}");
    assert!(response.statements.iter().all(|statement| !statement.purpose.is_empty()));
    let (code, ..) = refusal(client.get_collection(v1::GetCollectionRequest { name: "c".into() }).await);
    assert_eq!(code, tonic::Code::NotFound);
    client.create_collection(attach(source("t", &["body"]))).await.unwrap();
    let (code, ..) = refusal(client.create_collection(dry_run).await);
    assert_eq!(code, tonic::Code::AlreadyExists);
}
