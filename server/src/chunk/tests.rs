use std::path::Path;

use super::*;
use crate::embed::{Embedders, EmbeddingConfig, LocalConfig, OpenAiConfig};

pub(super) async fn counter(model: &str) -> TokenCounter {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let config = EmbeddingConfig {
        openai: OpenAiConfig { base_url: Some("http://127.0.0.1:9/v1".into()), ..OpenAiConfig::default() },
        local: LocalConfig { models_dir: Some(models), ..LocalConfig::default() },
        ..EmbeddingConfig::default()
    };
    let embedders = Embedders::new(config).unwrap();
    embedders.token_counter(model).await.unwrap().expect("a tokenizer")
}

pub(super) fn by_characters(method: ChunkMethod, max_size: usize, overlap: usize) -> Splitter {
    let chunking = Chunking { method, unit: ChunkUnit::Characters, max_size, overlap, embed_headings: false };
    Splitter { chunking, counter: None }
}

pub(super) fn by_tokens(counter: TokenCounter, max_size: usize, overlap: usize) -> Splitter {
    let chunking =
        Chunking { method: ChunkMethod::Text, unit: ChunkUnit::Tokens, max_size, overlap, embed_headings: false };
    Splitter { chunking, counter: Some(counter) }
}

/// Texts of many kinds, long enough for several windows.
fn texts() -> Vec<String> {
    let prose: String = (0..250)
        .map(|i| {
            let end = ["\n", " ", "\n\n", " ", " "][i % 5];
            format!("The fox number {i} – «лиса» – jumps over {} lazy dogs, doesn't it?{end}", i * 7919)
        })
        .collect();
    let markdown: String = (0..150)
        .map(|i| {
            format!(
                "# Part {i}\n\nSome *text* about it.\n\n- one\n  - two {i}\n\n```\ncode {i};\n\n    more\n```\n\n\
                 | a | b |\n|---|---|\n| {i} | 狐 |\n\n"
            )
        })
        .collect();
    let base64: String =
        (0..20_000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    vec![
        prose,
        markdown,
        base64,
        "狐狸跳过了懒狗。".repeat(900),
        "🦊👩‍👩‍👧‍👦e\u{301}".repeat(900),
        format!("  start{}middle{}end  ", " ".repeat(10_000), "\n".repeat(10_000)),
        "a\n\n".repeat(7_000),
        "\u{301}".repeat(10_000),
        "wörd ".repeat(3_000),
    ]
}

/// Checks what must hold for all chunks of a text. Returns the texts of the chunks.
pub(super) fn check<'t>(splitter: &Splitter, text: &'t str) -> Vec<&'t str> {
    let chunks = splitter.split(text);
    assert_ne!(chunks.len(), 1, "a single chunk counts as none");
    let characters: Vec<char> = text.chars().collect();
    let mut covered = 0;
    for (position, chunk) in chunks.iter().enumerate() {
        let passage = &text[chunk.bytes.clone()];
        assert_eq!(passage, characters[chunk.characters.clone()].iter().collect::<String>());
        if chunk.headings.is_none() {
            assert_eq!(chunk.hash, ContentHash::from(Sha256::digest(passage)));
        }
        assert!(!passage.trim().is_empty());
        if chunk.bytes.start > covered {
            assert_eq!(text[covered..chunk.bytes.start].trim(), "", "nothing is left out");
        }
        assert!(chunk.bytes.end > covered, "every chunk adds something");
        if splitter.chunking.overlap == 0 {
            assert!(position == 0 || chunk.bytes.start >= covered);
        }
        covered = chunk.bytes.end;
        let size = match &splitter.counter {
            Some(counter) => counter.count(passage),
            None => passage.chars().count(),
        };
        assert!(size <= splitter.chunking.text_size(), "{size}: {passage:?}");
    }
    if !chunks.is_empty() {
        assert_eq!(text[covered..].trim(), "");
    }
    chunks.into_iter().map(|chunk| &text[chunk.bytes]).collect()
}

#[test]
fn chunks_cover_the_text_by_characters() {
    for text in texts() {
        for method in [ChunkMethod::Text, ChunkMethod::Markdown] {
            for (max_size, overlap) in [(100, 0), (300, 150), (1_000, 100)] {
                let chunks = check(&by_characters(method, max_size, overlap), &text);
                assert!(chunks.len() > 1);
            }
        }
    }
}

#[test]
fn chunks_cover_any_text() {
    let parts = [
        " ", "    ", "\n", "\n\n", "\r\n", "\t", "# ", "- ", "1. ", "```\n", "> ", "| ", "---", "*", "[a](b)", "<p>",
        "word",
    ];
    let parts: Vec<&str> = parts.into_iter().chain(["狐", "🦊", "a.", "e\u{301}", "\u{a0}", "longer words "]).collect();
    let mut dice = 1_u32;
    for round in 0..300 {
        let roll = |dice: &mut u32| {
            *dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*dice >> 16) as usize
        };
        // Each round uses some of the parts, so that some are frequent.
        let few: Vec<&str> = (0..2 + round % 7).map(|_| parts[roll(&mut dice) % parts.len()]).collect();
        let text: String = (0..1_500).map(|_| few[roll(&mut dice) % few.len()]).collect();
        for method in [ChunkMethod::Text, ChunkMethod::Markdown] {
            for overlap in [0, 50] {
                check(&by_characters(method, 100, overlap), &text);
            }
        }
    }
}

#[tokio::test]
async fn chunks_cover_the_text_by_tokens() {
    for (model, max_size) in [("local/tiny-bert", 62), ("openai/text-embedding-3-small", 100)] {
        let counter = counter(model).await;
        for text in texts() {
            for overlap in [0, 20] {
                let chunks = check(&by_tokens(counter.clone(), max_size, overlap), &text);
                assert!(chunks.len() > 1);
            }
        }
    }
}

#[tokio::test]
async fn a_short_text_is_not_split() {
    let words = "one two three four five six seven eight";
    for splitter in [
        by_characters(ChunkMethod::Text, 100, 0),
        by_characters(ChunkMethod::Markdown, 100, 50),
        by_tokens(counter("openai/text-embedding-ada-002").await, 16, 8),
    ] {
        for text in ["", " ", words, &format!("\n\n{words}\n\n"), &"\n".repeat(100_000)] {
            assert_eq!(splitter.split(text), []);
        }
        assert!(splitter.split(&words.repeat(10)).len() > 1);
    }
}

#[test]
fn splits_where_the_text_does() {
    let sentence = "A sentence of forty characters, no less.";
    let text = format!("{sentence} {sentence}\n\n{sentence}\n\n{sentence} {sentence} {sentence}");
    let chunks = check(&by_characters(ChunkMethod::Text, 100, 0), &text);
    let two = format!("{sentence} {sentence}");
    assert_eq!(chunks, [two.as_str(), sentence, two.as_str(), sentence]);

    let section = |i: usize| format!("# Title {i}\n\n{sentence}\n\n- {i}\n- item");
    let text = [section(1), section(2), section(3)].join("\n\n");
    let chunks = check(&by_characters(ChunkMethod::Markdown, 100, 0), &text);
    assert_eq!(chunks, [section(1), section(2), section(3)]);
}

#[test]
fn overlapping_chunks_repeat_words() {
    let text: String = (0..400).map(|i| format!("word{i} ")).collect();
    let splitter = by_characters(ChunkMethod::Text, 100, 30);
    let chunks = splitter.split(&text);
    check(&splitter, &text);
    let overlaps = chunks.windows(2).filter(|pair| pair[1].bytes.start < pair[0].bytes.end);
    assert_eq!(overlaps.count(), chunks.len() - 1);
    for pair in chunks.windows(2) {
        assert!(pair[0].bytes.end - pair[1].bytes.start <= 30);
    }
}

#[test]
fn windows_do_not_show() {
    // The result with a single window.
    let text = &texts()[0];
    let splitter = by_characters(ChunkMethod::Text, 200, 0);
    let whole = splitter.split_window(text);
    assert!(text.len() > 5 * WINDOW_CHUNKS * 200, "{}", text.len());
    assert_eq!(splitter.ranges(text), whole);
}

#[tokio::test]
async fn tokens_are_counted_as_the_model_does() {
    for model in ["local/tiny-bert", "openai/text-embedding-3-small"] {
        let counter = counter(model).await;
        let text = &texts()[0][..10_000];
        let sizer = TokenSizer::new(text, &counter);
        let boundaries: Vec<usize> = text.char_indices().map(|(position, _)| position).collect();
        for start in boundaries.iter().copied().step_by(97).filter(|start| !text[*start..].starts_with(' ')) {
            for end in boundaries.iter().copied().filter(|end| *end > start).step_by(211) {
                let part = text[start..end].trim();
                assert_eq!(sizer.size(part), counter.count(part).max(part.chars().count().div_ceil(8)), "{part:?}");
            }
        }
    }
}
