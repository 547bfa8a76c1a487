//! Search in a collection with chunks: passages, documents by their best passage, and the places of both.

use std::collections::HashSet;

use pgfox::v1::{self, ChunkUnit, ChunkingMethod, Completeness, SearchMode, ShortReason, index_spec::Kind};
use rstest::rstest;
use serde_json::json;

use crate::{
    calls::{about, build_index, get, ids, ingest, search, similar},
    metadata::{equals, object},
    support::{Client, Server, text_document, texts},
};

const ANIMALS: [&str; 8] = ["fox", "owl", "bee", "elk", "hen", "cow", "bat", "ant"];

/// A passage that becomes its own chunk: two do not fit into 100 characters.
fn passage(animal: &str, number: usize) -> String {
    format!("This passage é{number} is about the {animal}; it says what a {animal} does all day, and why the {animal}.")
}

/// One document of very many passages about foxes, and many others of a few passages.
async fn load(client: &mut Client) -> Vec<v1::Document> {
    let chunking = v1::Chunking {
        method: ChunkingMethod::Text.into(),
        unit: ChunkUnit::Characters.into(),
        max_size: 120,
        overlap: 0,
        embed_headings: None,
    };
    let mut request = texts("c");
    request.collection.as_mut().unwrap().chunking = Some(chunking);
    client.create_collection(request).await.unwrap();
    let join = |passages: Vec<String>| passages.join("\n\n");
    let mut documents = vec![text_document("foxes", &join((0..200).map(|i| passage("fox", i)).collect()))];
    for i in 0..40 {
        let animals = (0..3).map(|j| passage(ANIMALS[(i + j) % ANIMALS.len()], 1_000 + i * 3 + j)).collect();
        let metadata = Some(object(&json!({"n": i % 2})));
        documents.push(v1::Document { metadata, ..text_document(&format!("few {i:02}"), &join(animals)) });
    }
    documents.push(text_document("short", "A fox."));
    ingest(client, "c", documents.clone()).await;
    documents
}

fn in_mode(mode: SearchMode, request: v1::SearchRequest) -> v1::SearchRequest {
    v1::SearchRequest { mode: mode.into(), ..request }
}

#[rstest]
#[tokio::test]
async fn passages_and_documents(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let documents = load(&mut client).await;
    let text_of = |id: &str| documents.iter().find(|document| document.id == id).unwrap().text.clone();
    let modes = [SearchMode::Vector, SearchMode::FullText, SearchMode::Hybrid];
    for indexed in [false, true] {
        if indexed {
            build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
        }
        for mode in modes {
            let request = in_mode(mode, about("c", "what does a fox do?", 30));
            let found = search(&mut client, request.clone()).await;
            assert_eq!((found.results.len(), found.short_reason()), (30, ShortReason::Unspecified));
            let mut seen = HashSet::new();
            for result in &found.results {
                let document = result.document.as_ref().unwrap();
                let chunk = result.chunk.as_ref().expect("a chunk");
                let whole = text_of(&document.id);
                let part: String =
                    whole.chars().skip(chunk.start as usize).take((chunk.end - chunk.start) as usize).collect();
                assert_eq!((chunk.text.as_str(), document.text.as_str()), (part.as_str(), ""));
                assert!(seen.insert((document.id.clone(), chunk.ordinal)), "each passage once");
            }
            let full = v1::SearchRequest { include_full_text: true, include_vector: true, ..request.clone() };
            for result in search(&mut client, full).await.results {
                let document = result.document.unwrap();
                assert_eq!(document.text, text_of(&document.id));
                assert!(document.vector.is_some());
            }

            // Each document appears once, with its best passage, although one of them has nearly all the best passages.
            for (limit, wanted) in [(5, 5), (42, if mode == SearchMode::FullText { 17 } else { 42 })] {
                let grouped = v1::SearchRequest { group_by_document: true, limit, ..request.clone() };
                let grouped = search(&mut client, grouped).await;
                let unique: HashSet<&str> = ids(&grouped).into_iter().collect();
                assert_eq!((grouped.results.len(), unique.len()), (wanted, wanted), "{mode:?} {indexed} {limit}");
                if wanted < limit as usize {
                    assert_eq!(grouped.short_reason(), ShortReason::FewMatches);
                }
                assert!(grouped.results.is_sorted_by(|a, b| a.score >= b.score));
                if mode != SearchMode::Hybrid {
                    // All passages, best first. The first passage of each document is its best one.
                    let params = Some(v1::SearchParams { exact: true, ..Default::default() });
                    let all = v1::SearchRequest { limit: 1_000, params, ..request.clone() };
                    let all = search(&mut client, all).await;
                    for result in grouped.results.iter().take(5) {
                        let id = &result.document.as_ref().unwrap().id;
                        let best = all.results.iter().find(|other| &other.document.as_ref().unwrap().id == id).unwrap();
                        assert_eq!((result.score, &result.chunk), (best.score, &best.chunk));
                    }
                }
            }
            let filtered = v1::SearchRequest {
                filter: Some(equals("n", &json!(1))),
                group_by_document: true,
                limit: 100,
                ..request.clone()
            };
            let filtered = search(&mut client, filtered).await;
            assert_eq!(filtered.results.len(), if mode == SearchMode::FullText { 5 } else { 20 });
            assert_eq!(
                (filtered.completeness(), filtered.short_reason()),
                (Completeness::Exact, ShortReason::FewMatches)
            );
            // No passage is returned without the field text.
            let mask = prost_types::FieldMask { paths: vec!["metadata".into()] };
            let masked = v1::SearchRequest { read_mask: Some(mask), ..request.clone() };
            let masked = search(&mut client, masked).await.results.remove(0);
            assert_eq!(masked.chunk.unwrap().text, "");
        }

        // The vector of a document with chunks is their mean, and the whole document is left out of the results.
        let alike = search(&mut client, similar("c", "foxes", 500)).await;
        assert_eq!(alike.results.len(), 40 * 3 + 1);
        assert!(!ids(&alike).contains(&"foxes"));
        let mean = get(&mut client, "c", &["foxes"]).await.remove(0).vector.unwrap();
        let by_hand = crate::calls::near("c", &mean.values, 500);
        let by_hand = search(&mut client, by_hand).await;
        let others: Vec<&str> = ids(&by_hand).into_iter().filter(|id| *id != "foxes").collect();
        assert_eq!(ids(&alike)[..20], others[..20]);
        // The only chunk of a short document is its text.
        let short = search(&mut client, about("c", "A fox.", 1)).await.results.remove(0);
        let chunk = short.chunk.unwrap();
        assert_eq!((chunk.ordinal, chunk.text.as_str(), chunk.start, chunk.end), (0, "A fox.", 0, 6));
    }
}
