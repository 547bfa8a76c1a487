//! Connections without a call: silent ones, unfinished handshakes, too many connections, and too few descriptors.

use std::{process::Command, time::Duration};

use pgfox::v1::{self, pgfox_service_client::PgfoxServiceClient};
use pgfox_server::{ApiKeys, Certificate};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, transport::Channel};

use crate::{
    process::{ServerProcess, command},
    support::{AN_HOUR, Client, Server, cluster, create_database, eventually, in_time},
};

/// How HTTP/2 begins: the preface and settings without any.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn connect(address: &str, begin: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(begin).await.unwrap();
    socket
}

/// Reads until the server closes.
async fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    // A reset counts as an end too.
    let _ = in_time("the server closes the connection", socket.read_to_end(&mut rest)).await;
}

async fn is_open(socket: &mut TcpStream) -> bool {
    loop {
        let read = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut [0; 1024])).await;
        match read {
            Err(_) => return true,
            Ok(Ok(count)) if count > 0 => {} // frames of the server
            Ok(_) => return false,
        }
    }
}

/// A client with a connection of its own, after a call.
async fn caller(address: &str) -> Client {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = PgfoxServiceClient::new(channel);
    eventually("a call", async || client.list_collections(v1::ListCollectionsRequest::default()).await.is_ok()).await;
    client
}

async fn metric(server: &Server, line: &str) -> u64 {
    let mut socket = TcpStream::connect(server.metrics_address.unwrap()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    in_time("the metrics", socket.read_to_string(&mut text)).await.unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn connections_without_a_call_are_closed() {
    let server = Server::start_with(18, |setup| {
        setup.metrics = true;
        setup.limits.first_call = Duration::from_secs(1);
    })
    .await;
    let mut kept = caller(&server.address).await;
    let strangers = [b"".as_slice(), b"PRI * HT", b"\0", BEGINNING];
    for begin in strangers {
        let (one, other) = (connect(&server.address, begin).await, connect(&server.address, begin).await);
        closed(one).await;
        closed(other).await;
    }
    assert_eq!(metric(&server, "pgfox_connections_closed_total{reason=\"silent\"}").await, 6, "one kind is no HTTP/2");
    // The connection of the caller is older than those of the strangers.
    kept.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
    eventually("only the callers are left", async || metric(&server, "pgfox_connections").await == 2).await;
}

#[tokio::test]
async fn a_call_without_a_key_keeps_no_connection() {
    let key = "a-key-of-many-characters";
    let server = Server::start_with(18, |setup| {
        setup.metrics = true;
        setup.api_keys = ApiKeys::new([key]);
        setup.limits.first_call = Duration::from_secs(2);
    })
    .await;
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut stranger = PgfoxServiceClient::new(channel);
    let status = stranger.list_collections(v1::ListCollectionsRequest::default()).await.expect_err("no key");
    assert_eq!(status.code(), Code::Unauthenticated);
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut with_key = PgfoxServiceClient::new(channel);
    let call = || {
        let mut request = Request::new(v1::ListCollectionsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        request
    };
    with_key.list_collections(call()).await.unwrap();
    let silent = "pgfox_connections_closed_total{reason=\"silent\"}";
    eventually("the stranger's connection is closed", async || metric(&server, silent).await == 1).await;
    // Connections with a key, and with health calls, stay.
    assert_eq!(metric(&server, "pgfox_connections").await, 2);
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_closed() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = Certificate::from_pem(pair.cert.pem().as_bytes(), pair.signing_key.serialize_pem().as_bytes());
    let mut setup = crate::support::Setup::new(create_database(&cluster(18).postgres).await);
    setup.tls = Some(certificate.unwrap());
    setup.limits.first_call = Duration::from_secs(1);
    let server = setup.start().await;
    // Nothing, and the beginning of a hello that announces 508 bytes.
    for begin in [b"".as_slice(), &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let strangers = [connect(&server.address, begin).await, connect(&server.address, begin).await];
        for stranger in strangers {
            closed(stranger).await;
        }
    }
}

#[tokio::test]
async fn strangers_make_room_for_callers() {
    let server = Server::start_with(18, |setup| {
        setup.metrics = true;
        setup.limits.max_connections = 16;
        setup.limits.first_call = AN_HOUR;
    })
    .await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(connect(&server.address, BEGINNING).await);
    }
    let newest = strangers.split_off(96);
    for stranger in strangers {
        closed(stranger).await;
    }
    for mut stranger in newest {
        assert!(is_open(&mut stranger).await);
    }
    // Beside the connection of the fixture.
    let mut callers = Vec::new();
    for _ in 0..15 {
        callers.push(caller(&server.address).await);
    }
    eventually("each has its connection", async || metric(&server, "pgfox_connections").await == 16).await;
    let refused = "pgfox_connections_closed_total{reason=\"refused\"}";
    assert_eq!(metric(&server, refused).await, 0);
    closed(connect(&server.address, b"").await).await;
    assert_eq!(metric(&server, refused).await, 1);
    for client in &mut callers {
        client.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
    }
    drop(callers);
    eventually("there is room again", async || metric(&server, "pgfox_connections").await == 1).await;
    caller(&server.address).await;
}

#[tokio::test]
async fn strangers_do_not_keep_prometheus_out() {
    let server = Server::start_with(18, |setup| setup.metrics = true).await;
    let address = server.metrics_address.unwrap().to_string();
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(connect(&address, b"GET /met").await);
    }
    let began = std::time::Instant::now();
    metric(&server, "pgfox_connections").await;
    // If it had to wait until they are given up, it would take ten.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn idle_callers_are_asked_to_leave_and_no_call_fails() {
    let server = Server::start_with(18, |setup| {
        setup.metrics = true;
        setup.limits.first_call = Duration::from_millis(300);
        setup.limits.max_connection_idle = Duration::from_millis(300);
    })
    .await;
    let idle = "pgfox_connections_closed_total{reason=\"idle\"}";
    eventually("the connection of the fixture is closed", async || {
        metric(&server, idle).await == 1 && metric(&server, "pgfox_connections").await == 0
    })
    .await;
    // A longer call is not cut off.
    let mut client = server.client();
    client.create_collection(crate::support::vectors("points", 3, v1::Distance::L2)).await.unwrap();
    let lock = server.sql().await;
    lock.batch_execute("BEGIN; LOCK TABLE pgfox_internal.documents_1 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let running = tokio::spawn(async move {
        let documents = vec![crate::support::vector_document("a", &[1.0, 0.0, 0.0])];
        client.ingest(v1::IngestRequest { collection: "points".into(), documents, ..Default::default() }).await
    });
    tokio::time::sleep(Duration::from_millis(900)).await;
    lock.batch_execute("COMMIT").await.unwrap();
    running.await.unwrap().unwrap();
}

/// Seconds of the processor that a process has used.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |field: usize| fields.split(' ').nth(field).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Sets the soft limit of open files of a process.
fn limit_files(pid: u32, limit: &str) {
    let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limit}:")]).status();
    assert!(limited.expect("prlimit of util-linux").success());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lack_of_descriptors_is_logged_and_passes() {
    let server = ServerProcess::start(&create_database(&cluster(18).postgres).await, "127.0.0.1:0").await;
    let mut known = caller(&server.address).await;
    let pid = server.pid();
    limit_files(pid, &(open_files(pid) + 3).to_string());
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(connect(&server.address, b"").await);
    }
    eventually("it is logged", async || server.log().contains("cannot accept connections")).await;
    let (before, began) = (processor_time(pid), std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = processor_time(pid) - before;
    assert!(used < began.elapsed().as_secs_f64() / 4.0, "{used} s of the processor");
    assert_eq!(server.log().matches("cannot accept connections").count(), 1, "{}", server.log());
    known.list_collections(v1::ListCollectionsRequest::default()).await.unwrap();
    // Each stranger is closed for the next one, so that a caller gets through.
    in_time("a new caller", caller(&server.address)).await;
    limit_files(pid, "1024");
    in_time("another new caller", caller(&server.address)).await;
    server.kill().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_bounds_connections() {
    let database_url = create_database(&cluster(18).postgres).await;
    let start = async |limits: &str| {
        let server = command("pgfox-server");
        let mut shell = tokio::process::Command::new("/bin/sh");
        shell.args(["-c", &format!("{limits}; exec \"$0\" --listen 127.0.0.1:0 --default-model none")]);
        shell.arg(server.as_std().get_program()).kill_on_drop(true);
        shell.env_clear().env("PATH", "/usr/bin:/bin").env("DATABASE_URL", &database_url).env("HOME", "/nonexistent");
        ServerProcess::spawn(shell).await
    };
    let server = start("ulimit -Sn 80; ulimit -Hn 200").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().filter(|word| *word == "200").count(), 2, "{files}");
    assert!(server.log().contains("at most 100 connections"), "{}", server.log());
    let mut strangers = Vec::new();
    for _ in 0..500 {
        strangers.push(connect(&server.address, b"").await);
    }
    in_time("a caller", caller(&server.address)).await;
    assert!(!server.log().contains("cannot accept"), "{}", server.log());
    server.kill().await;
}
