//! Hybrid search: both results are fused in one statement.

use std::collections::HashMap;

use pgfox::v1::{self, Completeness, SearchMode, ShortReason, index_spec::Kind};
use rstest::rstest;
use serde_json::json;

use crate::{
    calls::{about, build_index, ids, ingest, invalid, near, search, similar},
    full_text::words,
    metadata::{equals, object},
    support::{Server, text_document, texts, vector_document, vectors},
};

fn hybrid(request: v1::SearchRequest) -> v1::SearchRequest {
    v1::SearchRequest { mode: SearchMode::Hybrid.into(), ..request }
}

/// It is found even if many vectors are nearer.
#[rstest]
#[tokio::test]
async fn what_only_words_find_is_found(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("parts", 1, v1::Distance::L2)).await.unwrap();
    let part =
        |i: usize| v1::Document { text: format!("part PX-{i:05}"), ..vector_document(&i.to_string(), &[i as f32]) };
    ingest(&mut client, "parts", (0..300).map(part).collect()).await;
    let request = v1::SearchRequest { full_text: "\"PX-00250\"".into(), ..hybrid(near("parts", &[0.0], 10)) };
    let response = search(&mut client, request).await;
    let found = ids(&response);
    assert_eq!(found[0], "0");
    assert!(found.contains(&"250"), "{found:?}");
}

#[rstest]
#[tokio::test]
async fn ranks_are_fused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(texts("c")).await.unwrap();
    let nouns = ["fox", "dog", "cat", "owl", "bee", "ant", "elk", "bat", "cow", "hen"];
    let document = |i: usize| {
        let text = format!("the {} and the {} number {i}", nouns[i % 10], nouns[(i / 10) % 10]);
        v1::Document { metadata: Some(object(&json!({"n": i % 4}))), ..text_document(&i.to_string(), &text) }
    };
    ingest(&mut client, "c", (0..200).map(document).collect()).await;
    for indexed in [false, true] {
        if indexed {
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        for filter in [None, Some(equals("n", &json!(1)))] {
            let with_filter = |request| v1::SearchRequest { filter: filter.clone(), ..request };
            let nearest = search(&mut client, with_filter(about("c", "a fox with an owl", 100))).await;
            let matches = search(&mut client, with_filter(words("c", "a fox with an owl", 100))).await;
            let by_rank = v1::Fusion {
                method: v1::FusionMethod::ReciprocalRank.into(),
                vector_weight: Some(1.5),
                candidates: Some(100),
                ..Default::default()
            };
            let fused = with_filter(hybrid(about("c", "a fox with an owl", 20)));
            let fused = search(&mut client, v1::SearchRequest { fusion: Some(by_rank), ..fused }).await;
            assert_eq!(fused.results.len(), 20);
            let mut scores: HashMap<&str, f64> = HashMap::new();
            for (weight, response) in [(1.5, &nearest), (1.0, &matches)] {
                for (rank, id) in ids(response).into_iter().enumerate() {
                    *scores.entry(id).or_default() += weight / (10.0 + (rank + 1) as f64);
                }
            }
            let mut best: Vec<f64> = scores.values().copied().collect();
            best.sort_by(|a, b| b.total_cmp(a));
            for (position, result) in fused.results.iter().enumerate() {
                let id = result.document.as_ref().unwrap().id.as_str();
                assert!((f64::from(result.score) - scores[id]).abs() < 1e-6, "{id}");
                assert!((f64::from(result.score) - best[position]).abs() < 1e-6, "{id}");
                let rank = |response| ids(response).iter().position(|other| *other == id).map(|rank| rank as i32 + 1);
                assert_eq!((result.vector_rank, result.full_text_rank), (rank(&nearest), rank(&matches)));
                assert_eq!(result.distance.is_some(), result.vector_rank.is_some());
            }
            let wanted = if indexed && filter.is_none() { Completeness::Approximate } else { Completeness::Exact };
            assert_eq!(fused.completeness(), wanted);
        }

        // Only one of the two.
        let weights = |vector, full_text| v1::Fusion {
            vector_weight: Some(vector),
            full_text_weight: Some(full_text),
            ..Default::default()
        };
        let request =
            |fusion| v1::SearchRequest { fusion: Some(fusion), ..hybrid(about("c", "a fox with an owl", 10)) };
        let nearest = search(&mut client, about("c", "a fox with an owl", 10)).await;
        assert_eq!(ids(&search(&mut client, request(weights(1.0, 0.0))).await), ids(&nearest));
        let matches = search(&mut client, words("c", "a fox with an owl", 10)).await;
        assert_eq!(ids(&search(&mut client, request(weights(0.0, 1.0))).await), ids(&matches));

        // The words can differ from the text, or accompany the id of a document.
        let owls = v1::SearchRequest { full_text: "owl".into(), ..hybrid(similar("c", "0", 10)) };
        let owls = search(&mut client, v1::SearchRequest { fusion: Some(weights(0.0, 1.0)), ..owls }).await;
        assert!(owls.results.iter().all(|result| result.document.as_ref().unwrap().text.contains("owl")));
        let without = v1::SearchRequest { full_text: "number".into(), ..hybrid(similar("c", "0", 1_000)) };
        let without = search(&mut client, without).await;
        assert_eq!((without.results.len(), without.short_reason()), (199, ShortReason::FewDocuments));
        assert!(!ids(&without).contains(&"0"));
        // A document that is too far is found only by its words.
        let near_only = v1::SearchRequest { max_distance: Some(-1.0), ..hybrid(about("c", "owl", 100)) };
        let near_only = search(&mut client, near_only).await;
        assert_eq!((near_only.results.len(), near_only.short_reason()), (38, ShortReason::MaxDistance));
        assert!(near_only.results.iter().all(|result| result.distance.is_none()));
    }
    let bad = v1::Fusion {
        vector_weight: Some(-1.0),
        full_text_weight: Some(f32::NAN),
        rank_constant: Some(0),
        candidates: Some(1_001),
        ..Default::default()
    };
    let bad = v1::SearchRequest { fusion: Some(bad), ..hybrid(near("c", &[1.0], 1)) };
    let fields = [
        "full_text",
        "fusion.vector_weight",
        "fusion.full_text_weight",
        "fusion.rank_constant",
        "fusion.candidates",
        "vector",
    ];
    invalid(client.search(bad).await, &fields);
    let nothing = v1::Fusion { vector_weight: Some(0.0), full_text_weight: Some(0.0), ..Default::default() };
    let nothing = v1::SearchRequest { fusion: Some(nothing), ..hybrid(about("c", "fox", 1)) };
    invalid(client.search(nothing).await, &["fusion"]);
    let vector_mode =
        v1::SearchRequest { full_text: "fox".into(), fusion: Some(v1::Fusion::default()), ..about("c", "fox", 1) };
    invalid(client.search(vector_mode).await, &["full_text", "fusion"]);
}

/// Relative scores of the vectors of a model do not depend on the distance.
#[rstest]
#[tokio::test]
async fn l2_and_cosine_make_the_same_scores(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut found = Vec::new();
    for distance in [v1::Distance::L2, v1::Distance::Cosine] {
        let name = distance.as_str_name().to_lowercase();
        let mut create = texts(&name);
        create.collection.as_mut().unwrap().distance = distance.into();
        client.create_collection(create).await.unwrap();
        let nouns = ["fox", "dog", "cat", "owl", "bee"];
        let document = |i: usize| {
            text_document(&i.to_string(), &format!("the {} and the {} {i}", nouns[i % 5], nouns[(i / 5) % 5]))
        };
        ingest(&mut client, &name, (0..25).map(document).collect()).await;
        let response = search(&mut client, hybrid(about(&name, "a fox with an owl", 25))).await;
        let ids: Vec<String> = ids(&response).into_iter().map(str::to_owned).collect();
        found.push((ids, response.results.iter().map(|result| result.score).collect::<Vec<_>>()));
    }
    assert_eq!(found[0].0, found[1].0);
    assert!(found[0].1.iter().zip(&found[1].1).all(|(one, other)| (one - other).abs() < 1e-4), "{found:?}");
}
