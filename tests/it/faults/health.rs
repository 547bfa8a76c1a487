//! Health is right within seconds, even for databases that silently stop, and for databases that come back.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonic_health::pb::health_check_response::ServingStatus;

use super::*;
use crate::{
    proxy::Proxy,
    support::{Setup, cluster, create_database, sql, start_postgres, vector_document, vectors},
};

/// How long health may be wrong.
const LATE: Duration = Duration::from_secs(6);

/// Waits until the server reports the truth, but not too long.
async fn soon(server: &Server, serving: bool) {
    within(LATE, server, serving).await;
}

async fn within(longest: Duration, server: &Server, serving: bool) {
    let began = Instant::now();
    becomes(server, serving).await;
    assert!(began.elapsed() < longest, "{:?} until SERVING is {serving}", began.elapsed());
}

async fn fill(client: &mut Client) {
    client.create_collection(vectors("points", 3, v1::Distance::L2)).await.unwrap();
    ingest(client, "points", vector_document("p", &[1.0, 2.0, 3.0])).await.unwrap();
}

/// All processes of the Postgres with this postmaster.
fn processes(postmaster: u32) -> Vec<u32> {
    let mut found = vec![postmaster];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line.split_whitespace().eq(["PPid:", &postmaster.to_string()])) {
            found.push(pid);
        }
    }
    found
}

fn signal(pids: &[u32], signal: &str) {
    let pids = pids.iter().map(u32::to_string);
    // One of them may have ended by itself.
    let _ = std::process::Command::new("/bin/kill").arg(format!("-{signal}")).args(pids).status().expect("kill");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stopped_postgres_is_missed_and_found_again() {
    let postgres = start_postgres(18).await;
    let server = Setup::new(create_database(&postgres).await).start().await;
    server.ready().await;
    let mut client = server.client();
    fill(&mut client).await;

    let pids = processes(postgres.pid().expect("it runs"));
    assert!(pids.len() > 3, "{pids:?}");
    signal(&pids, "STOP");
    soon(&server, false).await;
    // A call from that time ends at its deadline.
    let mut request = tonic::Request::new(v1::GetCollectionRequest { name: "points".into() });
    request.set_timeout(Duration::from_millis(500));
    let status = client.get_collection(request).await.expect_err("no database");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status:?}");

    signal(&pids, "CONT");
    soon(&server, true).await;
    assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
    drop(server);
    postgres.stop().await;
}

#[tokio::test]
async fn connections_that_lead_nowhere_are_missed_and_replaced() {
    let database_url = create_database(&cluster(18).postgres).await;
    let proxy = Proxy::start(&database_url).await;
    let server = Setup::new(proxy.through(&database_url)).start().await;
    server.ready().await;
    let mut client = server.client();
    fill(&mut client).await;
    // Several connections in the pool.
    let searches: JoinSet<_> = (0..4)
        .map(|_| {
            let mut client = client.clone();
            async move { search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap() }
        })
        .collect();
    searches.join_all().await;

    proxy.freeze();
    proxy.lose();
    soon(&server, false).await;

    proxy.thaw();
    // Health may not know yet, but calls try anyway. None is stuck with an old connection.
    for _ in 0..8 {
        let began = Instant::now();
        assert_eq!(search(&mut client, "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    soon(&server, true).await;
}

#[tokio::test]
async fn one_connection_that_leads_nowhere_is_no_outage() {
    let database_url = create_database(&cluster(18).postgres).await;
    let proxy = Proxy::start(&database_url).await;
    let server = Setup::new(proxy.through(&database_url)).start().await;
    server.ready().await;
    fill(&mut server.client()).await;
    // The connection of the probe is among them.
    proxy.lose();
    let until = Instant::now() + LATE;
    while Instant::now() < until {
        assert_eq!(health(&server, "").await, ServingStatus::Serving);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(search(&mut server.client(), "points", &[1.0, 2.0, 3.0]).await.unwrap().results.len(), 1);
}

#[tokio::test]
async fn a_first_connection_that_stalls_is_not_waited_for() {
    let database_url = create_database(&cluster(18).postgres).await;
    let proxy = Proxy::start(&database_url).await;
    // It stalls while it waits for another server that sets up the schema.
    let other = sql(&database_url).await;
    other.execute("SELECT pg_advisory_lock($1, 0)", &[&lock_class("pgfox")]).await.unwrap();
    let server = Setup::new(proxy.through(&database_url)).start().await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_xact_lock%'
                    AND datname = current_database() AND pid <> pg_backend_pid()";
    eventually("the server waits", async || other.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    proxy.lose();
    drop(other);
    // It may ask once more for the lock over the lost connection.
    within(LATE * 2, &server, true).await;

    // The same after an outage.
    proxy.freeze();
    soon(&server, false).await;
    proxy.lose();
    proxy.thaw();
    soon(&server, true).await;
    fill(&mut server.client()).await;
}

#[tokio::test]
async fn a_terminated_session_is_no_outage() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client).await;
    let sql = server.sql().await;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sql.query_one(terminate, &[]).await.unwrap();
        assert_eq!(health(&server, "").await, ServingStatus::Serving);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eventually("searches work", async || search(&mut client, "points", &[1.0, 2.0, 3.0]).await.is_ok()).await;
}
