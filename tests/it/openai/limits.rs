//! Texts and batches that a provider refuses: what pgfox cuts, finds and learns.

use super::*;

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_and_the_others_are_not() {
    let provider = Provider::start().await;
    provider.limit_text_bytes(100);
    let embedders = embedders(config(&provider));
    let long = "ü".repeat(1000);
    let mut texts = vec!["fox"; 20];
    texts[7] = &long;

    let embeddings = embedders.embed(&model(), &texts).await.unwrap();

    assert_eq!(embeddings.truncated.iter().filter(|truncated| **truncated).count(), 1);
    assert!(embeddings.truncated[7]);
    let (seventh, first) = (&embeddings.values[7 * DIMENSIONS..8 * DIMENSIONS], &embeddings.values[..DIMENSIONS]);
    // 2000 bytes are cut to the stated 100, or a few less.
    assert_eq!(seventh, vector(&"ü".repeat(42), DIMENSIONS));
    assert_eq!(first, vector("fox", DIMENSIONS));
    assert_eq!(embeddings.values.len(), 20 * DIMENSIONS);
    assert_eq!(embeddings.cut, [(7, 84)]);
    assert!(embeddings.refused.is_empty());
}

#[tokio::test]
async fn openais_own_models_get_what_they_read() {
    let provider = Provider::start().await;
    let embedders = embedders(config(&provider));
    let (short, long) = ("fox ".repeat(2_500), "fox ".repeat(10_000));
    let embeddings = embedders.embed(&model(), &[&short, &long]).await.unwrap();
    assert_eq!(embeddings.truncated, [false, true]);
    assert!(embeddings.cut.is_empty(), "the limit is the model's own");
    let sent = provider.last_body()["input"][1].as_str().unwrap().to_owned();
    assert_eq!(sent.split_whitespace().count(), 8_191);
    assert_eq!(provider.requests(), 1);
}

/// pgfox knows none of these words; each is the message of a provider.
#[tokio::test]
async fn limits_in_any_words_stop_only_what_breaks_them() {
    fn nim(actual: usize, max: usize) -> (u16, String) {
        (422, format!(r#"{{"detail":"Input length {actual} exceeds maximum allowed token size {max}"}}"#))
    }
    fn cohere(actual: usize, max: usize) -> (u16, String) {
        (400, format!(r#"{{"message":"total number of texts must be at most {max} - received {actual}"}}"#))
    }
    fn zhipu(_: usize, _: usize) -> (u16, String) {
        (400, r#"{"error":{"code":"1210","message":"API 调用参数有误，请检查文档。"}}"#.into())
    }
    fn page(_: usize, _: usize) -> (u16, String) {
        (413, "<html>".into())
    }
    let long = "wolf ".repeat(100);
    let mut texts = vec!["fox"; 300];
    (texts[5], texts[131]) = (&long, &long);
    for (refusal, states_limit) in [(nim as Refusal, true), (cohere, false), (zhipu, false), (page, false)] {
        let provider = Provider::start().await;
        let embedders = embedders(config(&provider));
        provider.refuse_with(refusal);
        provider.limit_texts(96);
        let fits = vec!["fox"; 300];
        assert_eq!(embedders.embed(&model(), &fits).await.unwrap().values, expected(&fits));
        provider.limit_text_bytes(400);
        let before = provider.requests();
        let embeddings = embedders.embed(&model(), &texts).await.unwrap();
        // Two texts of 300, each found by halving batches of at most 128.
        assert!(provider.requests() - before <= 50, "{}", provider.requests() - before);
        let neighbours =
            |at: usize| embeddings.values[at * DIMENSIONS..(at + 1) * DIMENSIONS] == vector("fox", DIMENSIONS);
        assert!((0..300).all(|at| [5, 131].contains(&at) || neighbours(at)));
        let (cut, refused) = (&embeddings.cut, &embeddings.refused);
        let positions: Vec<usize> = if states_limit {
            assert!(cut.iter().all(|(_, bytes)| (380..=400).contains(bytes)), "{cut:?}");
            cut.iter().map(|(position, _)| *position).collect()
        } else {
            assert!(refused.iter().all(|(_, why)| why.contains("refuses this text but accepts others")), "{refused:?}");
            refused.iter().map(|(position, _)| *position).collect()
        };
        assert_eq!(positions, [5, 131]);
        assert_eq!(
            (cut.len() + refused.len(), embeddings.truncated.iter().filter(|cut| **cut).count()),
            (2, cut.len())
        );
    }
}

#[tokio::test]
async fn an_overload_is_waited_out_and_cuts_nothing() {
    let text = "the quick brown fox ".repeat(71);
    let words = ["Too many concurrent requests", "the context length of the queue is too large, too many tokens"];
    for (status, words) in [(503, words[0]), (503, words[1]), (429, words[1]), (400, words[0])] {
        let provider = Provider::start().await;
        let embedders = embedders(config(&provider));
        let body = serde_json::json!({ "error": { "message": words } }).to_string();
        provider.script(Answer::Raw(status, vec![], body.clone()), 2);
        let embeddings = embedders.embed(&model(), &[&text]).await.unwrap();
        assert_eq!(embeddings.values, expected(&[&text]), "{status} {words}");
        assert_eq!((embeddings.truncated, provider.requests()), (vec![false], 3), "{status} {words}");
    }
}

/// A provider that refuses every text refuses the key, the model or the like. The error says that once, and soon.
#[tokio::test]
async fn a_refusal_of_everything_is_not_one_of_texts() {
    for status in [400, 413, 422] {
        let provider = Provider::start().await;
        let embedders = embedders(config(&provider));
        provider.script(Answer::Status(status), 1_000);
        let error = embedders.embed(&model(), &["fox"; 128]).await.unwrap_err();
        assert!(matches!(error, EmbedError::Refused { .. }), "{status}: {error}");
        assert_eq!(provider.requests(), 9, "128, 64, ... 1, and another text");
    }
    for status in [401, 403, 404, 405] {
        let provider = Provider::start().await;
        let embedders = embedders(config(&provider));
        provider.script(Answer::Status(status), 1_000);
        let error = embedders.embed(&model(), &["fox"; 128]).await.unwrap_err();
        assert!(matches!(error, EmbedError::Refused { .. }), "{status}: {error}");
        assert_eq!(provider.requests(), 1, "{status}");
    }
}

#[tokio::test]
async fn the_providers_own_batch_size_is_learned() {
    let provider = Provider::start().await;
    provider.limit_texts(32);
    let embedders = embedders(config(&provider));
    let texts = vec!["fox"; 128];
    let first = embedders.embed(&model(), &texts).await.unwrap();
    assert_eq!(first.values, expected(&texts));
    assert_eq!(first.truncated, vec![false; 128]);
    assert_eq!(provider.requests(), 7); // 128, 64, 32, 32, 64, 32, 32
    embedders.embed(&model(), &texts).await.unwrap(); // 32, 32, 32, 32
    assert_eq!(provider.requests(), 7 + 4);
    // It recovers when the limit has gone.
    provider.limit_texts(0);
    let texts = vec!["fox"; 4_096];
    embedders.embed(&model(), &texts).await.unwrap();
    embedders.embed(&model(), &texts).await.unwrap();
    let before = provider.requests();
    embedders.embed(&model(), &texts).await.unwrap();
    assert_eq!(provider.requests() - before, 32);
}
