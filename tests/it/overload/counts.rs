//! Messages that are small on the wire and large in memory.

use std::time::{Duration, Instant};

use tonic::Code;

use super::{RawClient, body, field, framed, gzip};
use crate::{
    process::ServerProcess,
    support::{Server, cluster, create_database, eventually, in_time, reason},
};

/// Messages that would take 2 GB in memory, each with its method and the field that is wrong.
fn bombs() -> [(&'static str, Vec<u8>, &'static str); 5] {
    // Field 2 of IngestRequest are its documents, field 6 is if_version: a map, whose entries have a key and a value.
    let versions = |i: u32| field(6, &field(1, &i.to_be_bytes().map(|byte| byte & 0x7f)));
    // Field 7 of SearchRequest is its filter, fields 2 and 1 are all_of and its filters.
    let nodes = field(7, &field(2, &[0x0a, 0].repeat(8_000_000)));
    // Objects without anything in them, as metadata: a map makes room for eleven values with the first.
    let objects = field(1, &field(5, &field(1, &[]))).repeat(500_000);
    let metadata = field(2, &field(4, &field(1, &field(2, &field(6, &objects)))));
    [
        ("Ingest", [0x12, 0].repeat(8_000_000), "documents"),
        ("Ingest", (0..1_000_000).flat_map(versions).collect(), "if_version"),
        ("Search", nodes.clone(), "filter"),
        ("SearchBatch", field(2, &nodes), "searches[0].filter"),
        ("Ingest", metadata, "documents[0].metadata"),
    ]
}

#[tokio::test]
async fn a_few_bytes_on_the_wire_do_not_become_gigabytes() {
    let database_url = create_database(&cluster(18).postgres).await;
    let server = ServerProcess::start(&database_url, "127.0.0.1:0").await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut check = async || {
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        health.check(request).await.is_ok_and(|response| response.into_inner().status == 1)
    };
    eventually("the server is ready", &mut check).await;
    let (before, _) = server.memory();

    // Compressed beforehand, since that takes longer than all the rest.
    let bombs = bombs().map(|(method, message, wrong)| (method, framed(1, &gzip(&message)), wrong));
    let mut calls = tokio::task::JoinSet::new();
    for (method, message, wrong) in bombs.iter().flat_map(|bomb| [bomb; 3]).cloned() {
        let raw = RawClient::new(&server.address);
        calls.spawn(async move { (raw.refusal(method, body(message)).await, wrong) });
    }
    let began = Instant::now();
    let slowest = async {
        let mut slowest = Duration::ZERO;
        loop {
            let began = Instant::now();
            assert!(in_time("health", check()).await);
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
            if calls.is_empty() {
                return slowest;
            }
            while let Some(ended) = calls.try_join_next() {
                let (status, wrong) = ended.unwrap();
                let expected = (Code::InvalidArgument, ("INVALID_FIELD".to_owned(), vec![wrong.to_owned()]));
                assert_eq!((status.code(), reason(&status)), expected, "{status:?}");
            }
        }
    };
    let slowest = in_time("all are refused", slowest).await;
    // A liveness probe waits for a second or more.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let (_, most) = server.memory();
    println!("refused in {:?}, health within {slowest:?}, {} MB more", began.elapsed(), (most - before) >> 20);
    assert!(most - before < 300 << 20, "{} MB", (most - before) >> 20);
}

#[tokio::test]
async fn a_refused_count_is_named_as_the_rules_do() {
    let server = Server::start(18).await;
    let raw = RawClient::new(&server.address);
    let status = raw.refusal("Ingest", body(framed(0, &[0x12, 0].repeat(1_001)))).await;
    assert_eq!(status.message(), "documents must have at most 1000 entries, not 1001");
    assert_eq!(reason(&status), ("INVALID_FIELD".into(), vec!["documents".into()]));
    // Two messages instead of one, and bytes that are not a message.
    let twice = [framed(0, &[]), framed(0, &[])].concat();
    for wrong in [twice, vec![2, 0, 0, 0, 0], vec![0, 0, 0, 0, 9, 1], framed(0, &[0x07])] {
        let status = raw.refusal("Ingest", body(wrong)).await;
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{status:?}");
    }
}
