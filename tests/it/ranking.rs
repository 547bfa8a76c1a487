//! How full-text search ranks: BM25, the statistics that it needs, and hybrid search on top of it.

use pgfox::v1::{self, Completeness, SearchMode, ShortReason};
use rstest::rstest;

use crate::{
    calls::{about, ids, ingest, near, search},
    full_text::words,
    support::{Server, text_document, vector_document, vectors},
};

fn hybrid(request: v1::SearchRequest) -> v1::SearchRequest {
    v1::SearchRequest { mode: SearchMode::Hybrid.into(), ..request }
}

/// A rare word counts more than many repetitions of common ones.
#[rstest]
#[tokio::test]
async fn rare_words_come_first(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("parts", 1, v1::Distance::L2)).await.unwrap();
    let mut documents: Vec<v1::Document> = (0..40)
        .map(|i| {
            let text = format!("Replacement pump, pump for the replacement of a pump, number {i}");
            v1::Document { text, ..vector_document(&i.to_string(), &[i as f32]) }
        })
        .collect();
    documents.push(v1::Document { text: "Seal XK-4711 for a pump".into(), ..vector_document("seal", &[900.0]) });
    ingest(&mut client, "parts", documents).await;
    let query = "replacement pump XK-4711";
    let response = search(&mut client, words("parts", query, 10)).await;
    assert_eq!((ids(&response)[0], response.completeness()), ("seal", Completeness::Exact));
    let both = v1::SearchRequest { full_text: query.into(), ..hybrid(near("parts", &[0.0], 10)) };
    assert!(ids(&search(&mut client, both).await).contains(&"seal"));
}

/// The score follows the formula of the proto.
#[rstest]
#[tokio::test]
async fn the_score_is_bm25(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut request = vectors("c", 1, v1::Distance::L2);
    let collection = request.collection.as_mut().unwrap();
    collection.full_text = Some(v1::FullText { language: "simple".into(), k1: Some(1.5), b: Some(0.5), progress: 0.0 });
    client.create_collection(request).await.unwrap();
    let texts = ["red fox fox fox", "red dog", "one two three four five six seven eight red red", "owl"];
    let documents = texts
        .iter()
        .enumerate()
        .map(|(i, text)| v1::Document { text: (*text).into(), ..vector_document(&i.to_string(), &[i as f32]) });
    ingest(&mut client, "c", documents.collect()).await;
    let query = ["red", "red", "fox", "unicorn"];
    let response = search(&mut client, words("c", &query.join(" "), 10)).await;
    let split: Vec<Vec<&str>> = texts.iter().map(|text| text.split(' ').collect()).collect();
    let average = split.iter().map(Vec::len).sum::<usize>() as f64 / 4.0;
    for result in &response.results {
        let text = &split[result.document.as_ref().unwrap().id.parse::<usize>().unwrap()];
        let score: f64 = query
            .iter()
            .map(|word| {
                let df = split.iter().filter(|text| text.contains(word)).count() as f64;
                let tf = text.iter().filter(|other| *other == word).count() as f64;
                let idf = (1.0 + (4.0 - df + 0.5) / (df + 0.5)).ln();
                idf * tf * 2.5 / (tf + 1.5 * (0.5 + 0.5 * text.len() as f64 / average))
            })
            .sum();
        assert!((f64::from(result.score) - score).abs() < 1e-4, "{text:?}: {} and {score}", result.score);
    }
    assert_eq!(response.results.len(), 3);
}

/// A collection that is too large to be counted at each search. The first search reports that statistics are missing,
/// and gathers them. The results are those of ranking every text.
#[rstest]
#[tokio::test]
async fn large_collections_have_statistics(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    const WORDS: [&str; 8] = ["harbour", "lantern", "copper", "violin", "meadow", "thunder", "cathedral", "salmon"];
    // The word with number n is in 2 + n texts. Some texts repeat it.
    let text = |i: usize| {
        let mut text = format!("text{i}");
        for (n, word) in WORDS.iter().enumerate() {
            if i.wrapping_mul(7 + 2 * n).is_multiple_of(2 + n) {
                for _ in 0..1 + (i / (3 + n)) % 3 {
                    text += " ";
                    text += word;
                }
            }
        }
        text
    };
    for part in 0..12 {
        let documents = (0..1_000).map(|i| {
            let i = part * 1_000 + i;
            v1::Document { text: text(i), ..vector_document(&i.to_string(), &[i as f32]) }
        });
        ingest(&mut client, "c", documents.collect()).await;
    }
    let first = search(&mut client, words("c", "salmon thunder", 10)).await;
    assert!(first.notes.iter().any(|note| note.contains("statistics")), "{:?}", first.notes);
    let mut notes = first.notes;
    for _ in 0..100 {
        if notes.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        notes = search(&mut client, words("c", "salmon thunder", 10)).await.notes;
    }
    assert!(notes.is_empty(), "statistics are gathered: {notes:?}");
    for query in ["salmon", "harbour lantern", "copper violin meadow", "harbour salmon unicorn", &WORDS.join(" ")] {
        let best = search(&mut client, words("c", query, 10)).await;
        let exact = v1::SearchParams { exact: true, ..Default::default() };
        let all = search(&mut client, v1::SearchRequest { params: Some(exact), ..words("c", query, 1_000) }).await;
        let scores = |response: &v1::SearchResponse| -> Vec<f32> { response.results.iter().map(|r| r.score).collect() };
        assert_eq!(best.completeness(), Completeness::Exact, "{query}");
        for (best, all) in scores(&best).into_iter().zip(scores(&all)) {
            assert!((best - all).abs() < 1e-4, "{query}: {best} and {all}");
        }
        assert_eq!(best.results.len(), 10);
    }
    // Statistics are old if the collection has grown.
    for part in 0..4 {
        let documents = (0..1_000).map(|i| {
            let i = 20_000 + part * 1_000 + i;
            v1::Document { text: text(i), ..vector_document(&i.to_string(), &[i as f32]) }
        });
        ingest(&mut client, "c", documents.collect()).await;
    }
    let mut was_reported = false;
    for _ in 0..150 {
        let response = search(&mut client, words("c", "salmon thunder", 10)).await;
        was_reported |= response.notes.iter().any(|note| note.contains("gathered again"));
        if was_reported && response.notes.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("old statistics were not gathered again; reported: {was_reported}");
}

/// Excluded words are absent from the results of words and of vectors, and the answer names them.
#[rstest]
#[tokio::test]
async fn excluded_words_are_absent(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let documents = ["a red fox", "a red dog", "a lazy dog", "nothing of the kind"];
    let documents = documents
        .iter()
        .enumerate()
        .map(|(i, text)| v1::Document { text: (*text).into(), ..vector_document(&i.to_string(), &[i as f32]) });
    ingest(&mut client, "c", documents.collect()).await;
    let response = search(&mut client, words("c", "red -dog", 10)).await;
    assert_eq!((ids(&response), &response.excluded_words[..]), (vec!["0"], &["dog".to_owned()][..]));
    for exact in [false, true] {
        let params = Some(v1::SearchParams { exact, ..Default::default() });
        let both = v1::SearchRequest {
            full_text: "red -dog -\"of the kind\"".into(),
            params,
            ..hybrid(near("c", &[2.0], 10))
        };
        let response = search(&mut client, both).await;
        assert_eq!(ids(&response), ["0"]);
        assert_eq!(response.excluded_words, ["dog", "of the kind"]);
    }
}

/// Settings at their limits: repetitions that count nothing, and lengths that count fully.
#[rstest]
#[tokio::test]
async fn the_bounds_of_k1_and_b(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for (name, k1, b) in [("none", 0.0, 0.75), ("full", 10.0, 1.0)] {
        let mut request = vectors(name, 1, v1::Distance::L2);
        let collection = request.collection.as_mut().unwrap();
        collection.full_text =
            Some(v1::FullText { language: "english".into(), k1: Some(k1), b: Some(b), progress: 0.0 });
        client.create_collection(request).await.unwrap();
        let texts = ["a fox", "a fox and a fox and a dog", "an owl"];
        let documents = texts
            .iter()
            .enumerate()
            .map(|(i, text)| v1::Document { text: (*text).into(), ..vector_document(&i.to_string(), &[i as f32]) });
        ingest(&mut client, name, documents.collect()).await;
        let response = search(&mut client, words(name, "fox dog", 10)).await;
        assert_eq!(ids(&response), ["1", "0"]);
        let foxes = search(&mut client, words(name, "fox", 10)).await;
        let scores: Vec<f32> = foxes.results.iter().map(|result| result.score).collect();
        assert_eq!(scores.len(), 2);
        assert_eq!((scores[0] - scores[1]).abs() < 1e-4, k1 == 0.0, "{scores:?}");
    }
}

/// A query without words explains why it finds nothing.
#[rstest]
#[tokio::test]
async fn stop_words_only(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    ingest(&mut client, "c", vec![v1::Document { text: "The Who".into(), ..vector_document("a", &[1.0]) }]).await;
    let response = search(&mut client, words("c", "The Who", 10)).await;
    assert_eq!((ids(&response).len(), response.short_reason()), (0, ShortReason::FewMatches));
    assert!(response.notes[0].contains("stop words"), "{:?}", response.notes);
    // An excluded stop word excludes nothing, and the answer does not name it.
    let response = search(&mut client, words("c", "who band -the", 10)).await;
    assert!(
        response.excluded_words.is_empty() && response.notes[0].contains("\"the\" excludes nothing"),
        "{response:?}"
    );

    // Before the first document the language is not known, so the answer does not mention stop words.
    let mut request = vectors("empty", 1, v1::Distance::L2);
    request.collection.as_mut().unwrap().text_search_language = "auto".into();
    client.create_collection(request).await.unwrap();
    let response = search(&mut client, words("empty", "fox -owl", 10)).await;
    assert!(response.notes.iter().all(|note| !note.contains("stop words")), "{:?}", response.notes);
}

/// A search with weight 0 is switched off.
#[rstest]
#[tokio::test]
async fn a_weight_of_zero(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(crate::support::texts("c")).await.unwrap();
    let texts = ["a red fox", "a blue fox", "an owl in a tree"];
    let documents = texts.iter().enumerate().map(|(i, text)| text_document(&i.to_string(), text));
    ingest(&mut client, "c", documents.collect()).await;
    for method in [v1::FusionMethod::RelativeScore, v1::FusionMethod::ReciprocalRank] {
        let fusion = |vector, full_text| v1::Fusion {
            vector_weight: Some(vector),
            full_text_weight: Some(full_text),
            method: method.into(),
            ..Default::default()
        };
        let request = |fusion| v1::SearchRequest { fusion: Some(fusion), ..hybrid(about("c", "the owl", 10)) };
        assert_eq!(ids(&search(&mut client, request(fusion(0.0, 1.0))).await), ["2"]);
        assert_eq!(search(&mut client, request(fusion(1.0, 0.0))).await.results.len(), 3);
        let both = search(&mut client, request(fusion(1.0, 1.0))).await;
        assert_eq!((ids(&both)[0], both.results.len()), ("2", 3));
        if method == v1::FusionMethod::RelativeScore {
            assert!((both.results[0].score - 1.0).abs() < 1e-6, "the best by both is 1");
        }
    }
}
