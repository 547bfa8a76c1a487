//! Full-text search: any word is enough, phrases and exclusions work, and every text is scanned.

use pgfox::v1::{self, Completeness, SearchMode, ShortReason};
use rstest::rstest;
use serde_json::json;
use tonic::Code;

use crate::{
    calls::{about, ids, ingest, invalid, near, refusal, search},
    metadata::{equals, object},
    naughty::NAUGHTY,
    support::{Client, Server, text_document, texts, vectors},
};

/// Search by words.
pub(crate) fn words(collection: &str, text: &str, limit: i32) -> v1::SearchRequest {
    v1::SearchRequest { mode: SearchMode::FullText.into(), ..about(collection, text, limit) }
}

async fn found(client: &mut Client, text: &str) -> Vec<String> {
    let response = search(client, words("c", text, 10)).await;
    assert_eq!(response.completeness(), Completeness::Exact);
    let mut scores = response.results.iter().map(|result| result.score);
    assert!(scores.clone().is_sorted_by(|a, b| a >= b) && scores.all(|score| score > 0.0));
    assert!(response.results.iter().all(|result| result.distance.is_none() && result.vector_rank.is_none()));
    ids(&response).into_iter().map(str::to_owned).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[rstest]
#[tokio::test]
async fn any_word_counts(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    // Without a model, since full-text search needs none.
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let document = |id: &str, text: &str, n: f64| v1::Document {
        vector: Some(v1::Vector { values: vec![n as f32] }),
        metadata: Some(object(&json!({"n": n}))),
        ..text_document(id, text)
    };
    let documents = vec![
        document("foxes", "Foxes are running over the quick brown hills.", 1.0),
        document("dog", "The lazy dog sleeps.", 2.0),
        document("both", "A quick fox and a lazy dog are friends.", 3.0),
        document("compound", "A well-known story of nothing.", 4.0),
        document("empty", "", 5.0),
    ];
    ingest(&mut client, "c", documents).await;

    assert_eq!(found(&mut client, "fox dog").await[0], "both");
    assert_eq!(sorted(found(&mut client, "fox dog").await), ["both", "dog", "foxes"]);
    // Another form of the word, and words without meaning.
    assert_eq!(found(&mut client, "the run").await, ["foxes"]);
    assert_eq!(found(&mut client, "who are the unicorn friends?").await, ["both"]);
    // Phrases and exclusions.
    assert_eq!(found(&mut client, "\"lazy dogs sleep\"").await, ["dog"]);
    assert_eq!(found(&mut client, "\"quick dog\"").await, [""; 0]);
    assert_eq!(found(&mut client, "fox -\"lazy dog\"").await, ["foxes"]);
    assert_eq!(found(&mut client, "quick -friends unicorn").await, ["foxes"]);
    assert_eq!(found(&mut client, "known").await, ["compound"]);
    assert_eq!(found(&mut client, "well-known").await, ["compound"]);
    assert_eq!(found(&mut client, "story-fox \"quick brown\"").await.len(), 3);
    // Queries without anything to search for.
    for nothing in ["the", "the -fox", "\"the of\"", "-", "\"\"", "&|!:*()", "unicorn"] {
        let response = search(&mut client, words("c", nothing, 10)).await;
        assert_eq!(
            (ids(&response), response.completeness(), response.short_reason()),
            (vec![], Completeness::Exact, ShortReason::FewMatches),
            "{nothing}"
        );
    }
    let limited = search(&mut client, words("c", "fox dog", 1)).await;
    assert_eq!((ids(&limited), limited.short_reason()), (vec!["both"], ShortReason::Unspecified));
    let filtered = v1::SearchRequest { filter: Some(equals("n", &json!(2))), ..words("c", "fox dog", 5) };
    assert_eq!(ids(&search(&mut client, filtered).await), ["dog"]);
    let vector = v1::SearchRequest { include_vector: true, ..words("c", "sleep", 5) };
    let response = search(&mut client, vector).await;
    assert_eq!(response.results[0].document.as_ref().unwrap().vector.as_ref().unwrap().values, [2.0]);
    assert!(response.results[0].chunk.is_none());

    let vector_query = v1::SearchRequest { mode: SearchMode::FullText.into(), ..near("c", &[1.0], 1) };
    invalid(client.search(vector_query).await, &["vector"]);
    let bad = v1::SearchRequest {
        diversity: Some(v1::Diversity::default()),
        fusion: Some(v1::Fusion::default()),
        full_text: "fox".into(),
        max_distance: Some(1.0),
        ..words("c", " ", 1)
    };
    invalid(client.search(bad).await, &["text", "full_text", "fusion", "max_distance", "diversity"]);
    invalid(client.search(v1::SearchRequest { mode: 7, ..near("c", &[1.0], 1) }).await, &["mode"]);
    assert_eq!(refusal(client.search(words("none", "x", 1)).await).0, Code::NotFound);
}

#[rstest]
#[tokio::test]
async fn any_text_is_a_query(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let documents = NAUGHTY.iter().enumerate().map(|(i, text)| text_document(&i.to_string(), text)).collect();
    ingest(&mut client, "c", documents).await;
    for text in NAUGHTY.iter().filter(|text| !text.trim().is_empty()) {
        search(&mut client, words("c", text, 5)).await;
        let hybrid = v1::SearchRequest { mode: SearchMode::Hybrid.into(), ..about("c", text, 5) };
        search(&mut client, hybrid).await;
    }
    let long = "a.b-c/d@e ".repeat(100_000);
    search(&mut client, words("c", &long, 5)).await;
    search(&mut client, words("c", &format!("\"{long}\""), 5)).await;
    search(&mut client, words("c", &"x".repeat(1_000_000), 5)).await;
}
