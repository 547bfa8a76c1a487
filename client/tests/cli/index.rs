//! `pgfox build-index` and `pgfox indexes`.

use pgfox_client::v1::{Hnsw, IvfFlat, index_spec::Kind};

use crate::{
    pgfox,
    server::{Server, collection},
};

#[tokio::test]
async fn parameters_arrive_and_the_index_is_named() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let output = pgfox(&endpoint, &["build-index", "films", "--m", "24", "--ef-construction", "200"]).await.expect(0);
    assert_eq!(output.stdout, "films_1 is ready: hnsw (m 24, ef_construction 200), 3.00 MiB, 2.0 s\n");
    output.says(&["warning: little memory"]);
    let arguments = ["build-index", "films", "--ivfflat", "--lists", "7", "--allow-few-rows", "--json"];
    let output = pgfox(&endpoint, &arguments).await.expect(0);
    assert_eq!(output.json()["index"]["spec"]["ivf_flat"]["lists"], 7);
    assert_eq!(output.json()["warnings"][0], "little memory");
    let requests = server.lock().build_requests.clone();
    assert_eq!(requests[0].spec.unwrap().kind, Some(Kind::Hnsw(Hnsw { m: 24, ef_construction: 200 })));
    assert_eq!(requests[1].spec.unwrap().kind, Some(Kind::IvfFlat(IvfFlat { lists: 7 })));
    assert!(requests[1].spec.unwrap().allow_few_rows && !requests[1].rebuild);
}

#[tokio::test]
async fn a_broken_build_is_attached_to_and_not_begun_twice() {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    server.lock().break_build_after = Some(0);
    pgfox(&endpoint, &["build-index", "films", "--rebuild"]).await.expect(0);
    server.lock().break_build_after = Some(2);
    pgfox(&endpoint, &["build-index", "films", "--rebuild"]).await.expect(0).says(&["attaching again"]);
    let rebuilds: Vec<bool> = server.lock().build_requests.iter().map(|request| request.rebuild).collect();
    // Before the first message the build may not have begun. After it, asking again would begin another one.
    assert_eq!(rebuilds, [true, true, true, false]);
}

#[tokio::test]
async fn flags_of_one_kind_are_refused_for_the_other() {
    for arguments in [
        ["build-index", "films", "--ivfflat", "--m=16"].as_slice(),
        &["build-index", "films", "--lists", "10"],
        &["build-index", "films", "--hnsw", "--ivfflat"],
        &["build-index", "films", "--m", "1"],
    ] {
        pgfox("http://127.0.0.1:1", arguments).await.expect(2);
    }
}

#[tokio::test]
async fn indexes_are_listed_and_dropped() {
    let (_server, endpoint) = Server::with_collection(collection("films")).await;
    let output = pgfox(&endpoint, &["indexes", "list", "films"]).await.expect(0);
    assert!(output.stdout.contains("films_1  ready  ivfflat (lists 10)  1.00 KiB  1,234"), "{}", output.stdout);
    pgfox(&endpoint, &["indexes", "drop", "films"]).await.expect(2).says(&["add --yes"]);
    pgfox(&endpoint, &["indexes", "drop", "films", "--yes"]).await.expect(0);
}
