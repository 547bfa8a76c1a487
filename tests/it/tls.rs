//! TLS to the database at every `sslmode`, and what happens to pooled connections whose call ended early.

mod cluster;

use std::time::Duration;

use pgfox_server::{
    Connector, Dsn,
    connection::{Class, Kind, Pool, PoolOptions, classify},
};
use tokio::time::{sleep, timeout};

use self::cluster::Cluster;

/// Connects, and returns whether the connection is encrypted, or why it failed.
async fn connect(dsn: &str) -> Result<bool, String> {
    let dsn = Dsn::parse(dsn).map_err(|error| error.to_string())?;
    let connector = Connector::new(&dsn).map_err(|error| error.to_string())?;
    let (client, _notices) = connector.connect().await.map_err(|error| error.to_string())?;
    let row = client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    Ok(row.get(0))
}

/// The expected result of a case.
enum Expect {
    Tls,
    Plain,
    /// An error that contains this text.
    Error(&'static str),
}

use Expect::{Error, Plain, Tls};

async fn check(cases: &[(String, Expect)]) {
    for (dsn, expected) in cases {
        let result = connect(dsn).await;
        let as_expected = match (expected, &result) {
            (Tls, Ok(encrypted)) => *encrypted,
            (Plain, Ok(encrypted)) => !encrypted,
            (Error(text), Err(error)) => error.contains(text),
            _ => false,
        };
        assert!(as_expected, "{dsn}: {result:?}");
    }
}

#[tokio::test]
async fn a_server_with_tls_at_every_sslmode() {
    let Some(cluster) = Cluster::start(true) else { return };
    let (ca, other_ca) = (cluster.file("ca.pem"), cluster.file("other-ca.pem"));
    let host = |name: &str| format!("host={name} hostaddr=127.0.0.1 port={} user=plain dbname=postgres", cluster.port);
    let right = |rest: &str| format!("{} {rest}", host("db.test"));
    let wrong = |rest: &str| format!("{} {rest}", host("wrong.test"));
    check(&[
        (right("sslmode=disable"), Plain),
        (right("sslmode=allow"), Tls),
        (right("sslmode=prefer"), Tls),
        (right(""), Tls),
        (wrong("sslmode=require"), Tls),
        // `require` with a root certificate is `verify-ca`.
        (wrong(&format!("sslmode=require sslrootcert={ca}")), Tls),
        (wrong(&format!("sslmode=require sslrootcert={other_ca}")), Error("set sslrootcert")),
        (wrong(&format!("sslmode=verify-ca sslrootcert={ca}")), Tls),
        (right(&format!("sslmode=verify-ca sslrootcert={other_ca}")), Error("set sslrootcert")),
        (right(&format!("sslmode=verify-full sslrootcert={ca}")), Tls),
        (wrong(&format!("sslmode=verify-full sslrootcert={ca}")), Error("subject alternative name")),
        (right(&format!("sslmode=verify-full sslrootcert={other_ca}")), Error("set sslrootcert")),
        // Without sslrootcert the public CAs count. They do not know this server, or the system has none.
        (right("sslmode=verify-full"), Error("sslrootcert")),
        (right("sslrootcert=system"), Error("sslrootcert")),
        (right("sslmode=verify-full sslrootcert=/nonexistent.pem"), Error("`sslrootcert` cannot be used")),
        (right(&format!("sslmode=verify-full ssl_min_protocol_version=TLSv1.3 sslrootcert={ca}")), Tls),
        (format!("postgres://plain@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={ca}", cluster.port), Tls),
    ])
    .await;
}

#[tokio::test]
async fn a_server_without_tls_at_every_sslmode() {
    let Some(cluster) = Cluster::start(false) else { return };
    let ca = cluster.file("ca.pem");
    let url = |rest: &str| format!("postgresql://plain@127.0.0.1:{}/postgres?{rest}", cluster.port);
    let scram = |rest: &str| format!("postgresql://with_scram:pa%20ss@127.0.0.1:{}/postgres?{rest}", cluster.port);
    let no_tls = || Error("server does not support TLS");
    check(&[
        (url("sslmode=disable"), Plain),
        (url("sslmode=allow"), Plain),
        (url("sslmode=prefer"), Plain),
        (url(""), Plain),
        (url("sslmode=require"), no_tls()),
        (url(&format!("sslmode=verify-ca&sslrootcert={ca}")), no_tls()),
        (url(&format!("sslmode=verify-full&sslrootcert={ca}")), no_tls()),
        (scram(""), Plain),
        (scram("channel_binding=require"), Error("channel binding")),
        // A dead first host does not block the second one.
        (format!("postgresql://plain@127.0.0.1:1,127.0.0.1:{}/postgres", cluster.port), Plain),
        (url("target_session_attrs=read-write"), Plain),
        (url("target_session_attrs=read-only"), Error("not read only")),
    ])
    .await;
}

#[tokio::test]
async fn client_certificates_and_channel_binding() {
    let Some(cluster) = Cluster::start(true) else { return };
    let user =
        |user: &str, rest: &str| format!("host=127.0.0.1 port={} user={user} dbname=postgres {rest}", cluster.port);
    let key_pair = |name: &str| {
        let (certificate, key) = (cluster.file(&format!("{name}.pem")), cluster.file(&format!("{name}.key")));
        format!("sslmode=require sslcert={certificate} sslkey={key}")
    };
    let swapped =
        format!("sslmode=require sslcert={} sslkey={}", cluster.file("client.pem"), cluster.file("client.pem"));
    check(&[
        (user("with_cert", &key_pair("client")), Tls),
        (user("with_cert", "sslmode=require"), Error("client certificate")),
        (user("with_cert", &key_pair("other-client")), Error("")),
        (user("with_cert", &swapped), Error("`sslkey` cannot be used")),
        (user("with_scram", "password='pa ss' sslmode=require channel_binding=require"), Tls),
        (user("with_scram", "password='pa ss' sslmode=require channel_binding=disable"), Tls),
        (user("with_scram", "password=wrong sslmode=require"), Error("28P01")),
        // The server lets the role in without SCRAM, so nothing would be bound to the channel.
        (user("plain", "sslmode=require channel_binding=require"), Error("channel binding")),
    ])
    .await;
}

#[tokio::test]
async fn a_server_that_is_its_own_ca() {
    let Some(cluster) = Cluster::start(true) else { return };
    cluster.use_certificate("lonely");
    let (own, ca) = (cluster.file("lonely.pem"), cluster.file("ca.pem"));
    let host = |name: &str, ca: &str| {
        let port = cluster.port;
        format!(
            "host={name} hostaddr=127.0.0.1 port={port} user=plain dbname=postgres sslmode=verify-full sslrootcert={ca}"
        )
    };
    // The server reads its new certificate some time after the signal.
    let mut waits = 0..100;
    while connect(&host("db.test", &own)).await.is_err() && waits.next().is_some() {
        sleep(Duration::from_millis(50)).await;
    }
    check(&[
        (host("db.test", &own), Tls),
        (host("wrong.test", &own), Error("subject alternative name")),
        (host("db.test", &ca), Error("certificate")),
    ])
    .await;
}

fn pool(cluster: &Cluster) -> Pool {
    let dsn = format!("postgresql://plain@127.0.0.1:{}/postgres?sslmode=require", cluster.port);
    let options = PoolOptions { max_size: 1, wait_timeout: Duration::from_secs(10), ..PoolOptions::default() };
    Connector::new(&Dsn::parse(&dsn).unwrap()).unwrap().pool(options)
}

/// The backend of the pool's only connection.
async fn backend(pool: &Pool) -> i32 {
    let connection = pool.get(Class::Search, None).await.unwrap();
    let pid = connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    connection.done();
    pid
}

#[tokio::test]
async fn an_abandoned_connection_is_settled_before_its_next_use() {
    let Some(cluster) = Cluster::start(true) else { return };
    let other_pool = pool(&cluster);
    let pool = pool(&cluster);
    let first = backend(&pool).await;

    // A statement that ends by itself: the connection is kept.
    let connection = pool.get(Class::Search, None).await.unwrap();
    let lock = other_pool.get(Class::Search, None).await.unwrap();
    lock.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let search = connection.batch_execute("SELECT pg_advisory_xact_lock(1)");
    assert!(timeout(Duration::from_millis(20), search).await.is_err());
    lock.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    lock.done();
    drop(connection);
    assert_eq!(backend(&pool).await, first);

    // An open transaction: rolled back, and the connection is kept.
    let connection = pool.get(Class::Search, None).await.unwrap();
    connection.batch_execute("BEGIN; CREATE TABLE left_open (id int)").await.unwrap();
    drop(connection);
    let connection = pool.get(Class::Search, None).await.unwrap();
    let error = connection.batch_execute("SELECT FROM left_open").await.unwrap_err();
    assert_eq!(classify(&error), Kind::Undefined);
    connection.done();
    assert_eq!(backend(&pool).await, first);

    // A statement that would run for long: cancelled, and the next call gets a new connection.
    let connection = pool.get(Class::Search, None).await.unwrap();
    let search = connection.batch_execute("SELECT pg_sleep(600)");
    assert!(timeout(Duration::from_millis(20), search).await.is_err());
    drop(connection);
    let connection = pool.get(Class::Search, None).await.unwrap();
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    assert_eq!(connection.query_one(running, &[]).await.unwrap().get::<_, i64>(0), 0, "the statement still runs");
    connection.done();
    let second = backend(&pool).await;
    assert_ne!(second, first);

    // A session that can no longer be trusted.
    pool.get(Class::Search, None).await.unwrap().discard();
    assert_ne!(backend(&pool).await, second);
}

#[tokio::test]
async fn errors_have_different_kinds() {
    let Some(cluster) = Cluster::start(true) else { return };
    let pool = pool(&cluster);
    let connection = pool.get(Class::Search, None).await.unwrap();
    connection
        .batch_execute("CREATE TABLE numbers (id int PRIMARY KEY); INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    for (sql, kind) in [
        ("SELECT FROM nowhere", Kind::Undefined),
        ("SELECT FROM no_schema.numbers", Kind::Undefined),
        ("INSERT INTO numbers VALUES (1)", Kind::UniqueViolation),
        ("CREATE SCHEMA s", Kind::Privilege),
        ("BEGIN READ ONLY; INSERT INTO numbers VALUES (2)", Kind::ReadOnly),
        ("ROLLBACK; SET statement_timeout = 10; SELECT pg_sleep(60)", Kind::TimedOut),
        ("DEALLOCATE nothing", Kind::StalePlan),
        ("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40001'; END $$", Kind::Conflict),
        ("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '53200'; END $$", Kind::Resources),
        ("SELECT 1/0", Kind::Other),
        ("SELECT pg_terminate_backend(pg_backend_pid())", Kind::ConnectionLost),
    ] {
        let error = connection.batch_execute(sql).await.unwrap_err();
        assert_eq!(classify(&error), kind, "{sql}: {error:?}");
    }
    let error = connection.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(classify(&error), Kind::ConnectionLost, "the connection is closed");
    drop(connection);

    // The pool does not hand out the broken connection again; a plan that no longer fits can be forgotten.
    let connection = pool.get(Class::Search, None).await.unwrap();
    let sql = "SELECT * FROM numbers";
    connection.prepare_cached(sql).await.unwrap(); // the first use is not worth preparing
    let statement = connection.prepare_cached(sql).await.unwrap();
    connection.batch_execute("ALTER TABLE numbers ADD COLUMN name text").await.unwrap();
    let error = connection.query(&statement, &[]).await.unwrap_err();
    assert_eq!(classify(&error), Kind::StalePlan);
    pool.forget_statements();
    connection.done();
    let connection = pool.get(Class::Search, None).await.unwrap();
    let statement = connection.prepare_cached(sql).await.unwrap();
    assert_eq!(connection.query(&statement, &[]).await.unwrap()[0].len(), 2);
    connection.done();
}

#[tokio::test]
async fn a_connection_of_its_own_hears_notices_and_can_be_cancelled() {
    let Some(cluster) = Cluster::start(true) else { return };
    let dsn = format!("postgresql://plain@127.0.0.1:{}/postgres?sslmode=require&connect_timeout=5", cluster.port);
    let connector = Connector::new(&Dsn::parse(&dsn).unwrap()).unwrap();
    let (client, mut notices) = connector.connect().await.unwrap();
    client.batch_execute("DO $$ BEGIN RAISE NOTICE 'graph no longer fits'; END $$").await.unwrap();
    assert_eq!(notices.recv().await.unwrap().message(), "graph no longer fits");

    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let build = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(600)").await });
    let mut build = std::pin::pin!(build);
    // A cancel that comes before the statement does nothing.
    let other = pool(&cluster).get(Class::Search, None).await.unwrap();
    let error = loop {
        other.execute("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap();
        if let Ok(ended) = timeout(Duration::from_millis(100), build.as_mut()).await {
            break ended.unwrap().unwrap_err();
        }
    };
    assert_eq!(classify(&error), Kind::Cancelled);
    assert!(notices.recv().await.is_none(), "the connection ends with its client");
}
