//! Settings that an operator has put on the role: migrations, builds and metadata indexes still work.

use super::*;
use crate::support::{cluster, create_database, sql};

/// A role that owns the database of a server. It disappears with the cluster of the test run.
struct Role {
    name: String,
    admin: tokio_postgres::Client,
    database_url: String,
}

impl Role {
    async fn create() -> Self {
        let admin_url = create_database(&cluster(18).postgres).await;
        let admin = sql(&admin_url).await;
        let (_, rest) = admin_url.split_once('@').expect("a user");
        let (_, database) = rest.split_once('/').expect("a database");
        let name = format!("operated_{database}");
        let create = format!(
            "CREATE EXTENSION vector; CREATE ROLE {name} LOGIN PASSWORD 'secret'; ALTER DATABASE {database} OWNER TO {name};
             ALTER SCHEMA public OWNER TO {name}"
        );
        admin.batch_execute(&create).await.unwrap();
        let database_url = format!("postgresql://{name}:secret@{rest}");
        Self { name, admin, database_url }
    }

    async fn set(&self, settings: &[(&str, &str)]) {
        for (setting, value) in settings {
            let alter = format!("ALTER ROLE {} SET {setting} = {value}", self.name);
            self.admin.batch_execute(&alter).await.unwrap_or_else(|error| panic!("{alter}: {error:?}"));
        }
    }

    async fn server(&self) -> Server {
        let server = Setup::new(self.database_url.clone()).start().await;
        server.ready().await;
        server
    }
}

/// Each of them once broke something, or could.
const SETTINGS: [(&str, &str); 27] = [
    ("statement_timeout", "'1s'"),
    ("lock_timeout", "'500ms'"),
    ("transaction_timeout", "'1500ms'"),
    ("idle_in_transaction_session_timeout", "'1s'"),
    ("idle_session_timeout", "'5s'"),
    ("client_connection_check_interval", "'500ms'"),
    ("search_path", "nowhere"),
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_deferrable", "on"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("quote_all_identifiers", "on"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("bytea_output", "escape"),
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "0"),
    ("row_security", "off"),
    ("client_min_messages", "error"),
    ("vacuum_cost_delay", "'100ms'"),
    ("check_function_bodies", "off"),
    ("exit_on_error", "on"),
    ("enable_indexscan", "off"),
    ("enable_hashjoin", "off"),
    ("max_parallel_maintenance_workers", "0"),
];

#[tokio::test]
async fn none_of_them_breaks_a_migration_a_build_or_a_metadata_index() {
    let role = Role::create().await;
    role.set(&SETTINGS).await;
    role.set(&[("default_transaction_read_only", "on")]).await;
    // An empty database is set up, and the functions of the schema are correct.
    drop(role.server().await);
    let function = "SELECT pgfox_internal.utc('2024-02-01T10:00:00.5Z') = timestamp '2024-02-01 10:00:00.5'";
    assert!(role.admin.query_one(function, &[]).await.unwrap().get::<_, bool>(0));

    // A server that writes documents cannot use this one.
    let off = format!("ALTER ROLE {} RESET default_transaction_read_only", role.name);
    role.admin.batch_execute(&off).await.unwrap();
    let server = role.server().await;
    fill(&mut server.client()).await;
    drop(server);

    role.set(&[("default_transaction_read_only", "on")]).await;
    let server = role.server().await;
    let mut client = server.client();
    // Longer than any of the timeouts.
    role.admin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    let mut progress = client.build_index(hnsw(0, 0)).await.unwrap().into_inner();
    let metadata = tokio::spawn({
        let mut client = server.client();
        async move { client.update_collection(year()).await }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    progress.message().await.unwrap().expect("a build that lasts");
    role.admin.batch_execute("COMMIT").await.unwrap();
    let index = finish(progress).await.unwrap();
    metadata.await.unwrap().unwrap();
    let attempts = "SELECT attempts FROM pgfox_internal.indexes";
    assert_eq!(role.admin.query_one(attempts, &[]).await.unwrap().get::<_, i32>(0), 1, "nothing interrupted it");
    let valid = "SELECT bool_and(indisvalid), count(*) FROM pg_index JOIN pg_class ON oid = indexrelid
                 WHERE relname LIKE 'documents_1_metadata_%' OR relname = $1";
    let row = role.admin.query_one(valid, &[&index.name]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, 2_i64));
}

/// A request for the index on numbers in the metadata.
fn year() -> v1::UpdateCollectionRequest {
    let index = v1::MetadataIndex { field: "year".into(), r#type: v1::MetadataIndexType::Number.into() };
    let collection = v1::Collection { name: "points".into(), metadata_indexes: vec![index], ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["metadata_indexes".into()] });
    v1::UpdateCollectionRequest { collection: Some(collection), update_mask }
}

#[tokio::test]
async fn the_extension_is_created_where_the_search_path_leads_nowhere() {
    let database_url = create_database(&cluster(18).postgres).await;
    let admin = sql(&database_url).await;
    let (_, database) = database_url.rsplit_once('/').unwrap();
    admin.batch_execute(&format!("ALTER DATABASE {database} SET search_path = nowhere")).await.unwrap();
    let server = Setup::new(database_url).start().await;
    server.ready().await;
    fill(&mut server.client()).await;
    build(&mut server.client(), hnsw(0, 0)).await.unwrap();
}

#[tokio::test]
async fn a_limit_that_ends_a_build_is_named() {
    let role = Role::create().await;
    let server = role.server().await;
    let mut client = server.client();
    client.create_collection(vectors("points", 2, v1::Distance::L2)).await.unwrap();
    // More than fits into memory for sorting.
    let fill = "INSERT INTO pgfox_internal.embeddings_1_1 (document_key, embedding)
                SELECT i, ARRAY[i, i % 100]::real[]::vector(2) FROM generate_series(1, 100000) i";
    role.admin.batch_execute(fill).await.unwrap();
    role.set(&[("maintenance_work_mem", "'1MB'"), ("temp_file_limit", "0")]).await;
    let mut request = ivf_flat(4);
    request.spec.as_mut().unwrap().allow_few_rows = true;
    let status = build(&mut client, request.clone()).await.expect_err("no room for temporary files");
    assert_eq!((status.code(), reason(&status).0.as_str()), (Code::Aborted, "BUILD_FAILED"), "{status:?}");
    assert!(status.message().contains("temp_file_limit"), "{status:?}");
    assert_eq!(in_postgres(&server).await, (vec![], 0));

    let reset = format!("ALTER ROLE {} RESET temp_file_limit", role.name);
    role.admin.batch_execute(&reset).await.unwrap();
    build(&mut client, request).await.unwrap();
}
