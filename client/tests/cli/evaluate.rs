//! `pgfox evaluate` and `pgfox search --batch`: many searches in few calls.

use std::path::Path;

use pgfox_client::v1::{Chunking, ChunkingMethod, SearchMode};
use serde_json::{Value, json};

use crate::{
    run,
    server::{Server, collection},
};

/// Documents a to e.
async fn films() -> (Server, String) {
    let (server, endpoint) = Server::with_collection(collection("films")).await;
    let lines: String = ["a", "b", "c", "d", "e"].map(|id| format!("{{\"id\": \"{id}\", \"text\": \"x\"}}\n")).concat();
    run(&endpoint, &["ingest", "films", "-", "-f", "jsonl"], Path::new("."), lines.as_bytes(), &[]).await.expect(0);
    (server, endpoint)
}

/// Three judged queries: the first finds its document second, the others find theirs first.
const QUERIES: &str = "{\"_id\": \"1\", \"text\": \"find b a\"}
{\"_id\": \"2\", \"text\": \"find c\"}
{\"_id\": \"3\", \"text\": \"find d\"}
{\"_id\": \"4\", \"text\": \"find e\"}
";
const QRELS: &str = "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t-1\n2\tc\t1\n3\td\t1\n4\te\t0\n9\ta\t1\n";

async fn evaluate(endpoint: &str, qrels: &str, arguments: &[&str], code: i32) -> crate::Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queries.jsonl"), QUERIES).unwrap();
    std::fs::write(folder.path().join("qrels.tsv"), qrels).unwrap();
    let mut all = vec!["evaluate", "films", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"];
    all.extend(arguments);
    run(endpoint, &all, folder.path(), b"", &[]).await.expect(code)
}

#[tokio::test]
async fn measures_are_means_over_the_judged_queries() {
    let (server, endpoint) = films().await;
    let output = evaluate(&endpoint, QRELS, &["--mode", "hybrid"], 0).await;
    // (1 / log2(3) + 1 + 1) / 3, and (1 / 2 + 1 + 1) / 3.
    let expected = "queries     3\nnDCG@10     0.8770\nrecall@10   1.0000\nrecall@100  1.0000\nMRR@10      0.8333\n";
    assert_eq!(output.stdout, expected);
    output.says(&[
        "left out 1 of 4 queries, which have no relevant document",
        "1 judged queries are missing in queries.jsonl",
    ]);
    let found = evaluate(&endpoint, QRELS, &["--k", "1", "--json"], 0).await.json();
    assert_eq!((&found["queries"], &found["queries_without_relevant"]), (&json!(3), &json!(1)));
    assert!((found["recall_1"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{found}");
    // The same with the grades 2 and 1. A document with grade 0 stays irrelevant.
    let binary = evaluate(&endpoint, QRELS, &["--binary", "--mode", "hybrid"], 0).await;
    assert_eq!(binary.stdout, expected);
    let graded = QRELS.replace("-1\n", "1\n");
    let ndcg = async |more: &[&str]| {
        evaluate(&endpoint, &graded, &[more, &["--json"]].concat(), 0).await.json()["ndcg_10"].as_f64()
    };
    // For the first query, whose results have the grades 1 and 2: (1 + 2/log2(3)) / (2 + 1/log2(3)), or the best.
    assert!((ndcg(&[]).await.unwrap() * 3.0 - 2.0 - 0.859_718_699_852_197_2).abs() < 1e-9);
    assert_eq!(ndcg(&["--binary"]).await, Some(1.0));
    let request = server.lock().search_requests[0].clone();
    assert_eq!((request.mode(), request.limit, request.group_by_document), (SearchMode::Hybrid, 100, false));
    assert_eq!(server.lock().batches, [3; 5]);
}

#[tokio::test]
async fn chunks_are_grouped_by_document() {
    let (server, endpoint) = films().await;
    let chunking = Chunking { method: ChunkingMethod::Text.into(), ..Default::default() };
    server.lock().collections.get_mut("films").unwrap().0.chunking = Some(chunking);
    evaluate(&endpoint, QRELS, &[], 0).await;
    assert!(server.lock().search_requests[0].group_by_document);
}

#[tokio::test]
async fn batches_that_are_too_large_are_halved() {
    let (server, endpoint) = films().await;
    server.lock().batch_max = Some(1);
    evaluate(&endpoint, QRELS, &[], 0).await;
    assert_eq!(server.lock().batches, [3, 1, 1, 1]);
}

#[tokio::test]
async fn bad_lines_are_named() {
    let (_server, endpoint) = films().await;
    evaluate(&endpoint, "1 0 a 1\n1 0 b good\n", &[], 2).await.says(&["qrels.tsv:2: the grade `good` is not a number"]);
    evaluate(&endpoint, "8 0 a 1\n", &[], 2).await.says(&["no query has a relevant document"]);
    evaluate(&endpoint, "1 0 a 1\n", &["--where", "a ="], 2).await.says(&["--where: column 4"]);
}

#[tokio::test]
async fn a_batch_answers_line_by_line() {
    let (server, endpoint) = films().await;
    let lines = "{\"id\": \"q1\", \"text\": \"find b a\"}\n\n{\"vector\": [1, 2, 3]}\n{\"id\": 3, \"document_id\": \"a\", \"full_text\": \"x\"}\n";
    let arguments = ["search", "films", "--batch", "-", "--limit", "2"];
    let output = run(&endpoint, &arguments, Path::new("."), lines.as_bytes(), &[]).await.expect(0);
    let found: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&found[0]["id"], found[1].get("id"), &found[2]["id"]), (&json!("q1"), None, &json!(3)));
    assert_eq!(found[0]["results"][0]["document"]["id"], "b");
    assert_eq!(found[1]["results"].as_array().unwrap().len(), 2);
    assert_eq!(server.lock().search_requests[2].full_text, "x");
    assert_eq!(server.lock().batches, [3]);
    for (bad, message) in [
        ("{\"id\": 1}", "stdin:1: a search has one of"),
        ("{\"text\": \"x\"}\nx", "stdin:2: "),
        ("{\"txt\": 1}", "unknown field `txt`"),
    ] {
        run(&endpoint, &arguments, Path::new("."), bad.as_bytes(), &[]).await.expect(2).says(&[message]);
    }
}
