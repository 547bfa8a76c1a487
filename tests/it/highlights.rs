//! Highlights: the passages that contain the words of a query, with the places of the words in characters.

use pgfox::v1::{self, ChunkUnit, ChunkingMethod, SearchMode};
use rstest::rstest;

use crate::{
    calls::{ids, ingest, invalid, near, search},
    full_text::words,
    support::{Server, text_document, texts, vectors},
};

fn highlighted(request: v1::SearchRequest) -> v1::SearchRequest {
    v1::SearchRequest { highlight: true, ..request }
}

/// The passages of a result with the words in brackets. Checks all places.
fn passages(result: &v1::SearchResult, text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let of = |start: i32, end: i32| characters[start as usize..end as usize].iter().collect::<String>();
    let show = |highlight: &v1::Highlight| {
        assert_eq!(of(highlight.start, highlight.end), highlight.text);
        assert!(highlight.text.chars().count() <= 200 && (1..=50).contains(&highlight.words.len()));
        let mut marked = String::new();
        let mut at = highlight.start;
        for word in &highlight.words {
            marked += &format!("{}[{}]", of(at, word.start), of(word.start, word.end));
            at = word.end;
        }
        marked + &of(at, highlight.end)
    };
    assert!(result.highlights.len() <= 3);
    result.highlights.iter().map(show).collect()
}

#[rstest]
#[tokio::test]
async fn passages_show_the_words(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let filler = "Nothing of interest is in this sentence, nor in the next. ".repeat(20);
    let long = format!("A fox. {filler}🦊 One fox met a dog in the cafe\u{301}. {filler}Another dog. {filler}");
    let document = |id: &str, text: &str, n: f32| v1::Document {
        vector: Some(v1::Vector { values: vec![n] }),
        ..text_document(id, text)
    };
    let documents = vec![document("long", &long, 1.0), document("near", "An owl.", 5.0)];
    ingest(&mut client, "c", documents).await;

    let response = search(&mut client, highlighted(words("c", "dog fox", 10))).await;
    assert_eq!(ids(&response), ["long"]);
    let shown = passages(&response.results[0], &long);
    assert_eq!(shown.len(), 3);
    assert!(shown[0].contains("🦊 One [fox] met a [dog] in the cafe\u{301}."), "{shown:?}");
    assert!(shown[1].starts_with("A [fox]. Nothing") && shown[2].contains("Another [dog]."), "{shown:?}");
    // Only if they are requested.
    assert!(search(&mut client, words("c", "dog fox", 10)).await.results[0].highlights.is_empty());

    // The texts are read for highlights, but not returned.
    let mask = Some(prost_types::FieldMask { paths: vec!["id".into()] });
    let masked = v1::SearchRequest { read_mask: mask, ..highlighted(words("c", "dog fox", 10)) };
    let masked = search(&mut client, masked).await;
    assert_eq!(masked.results[0].document.as_ref().unwrap().text, "");
    assert_eq!(masked.results[0].highlights, response.results[0].highlights);

    // Both searches have highlights. A document that only the vector search found has none of the words.
    let hybrid = |request| v1::SearchRequest {
        mode: SearchMode::Hybrid.into(),
        full_text: "dog fox".into(),
        ..highlighted(request)
    };
    let both = search(&mut client, hybrid(near("c", &[5.0], 10))).await;
    for result in &both.results {
        let is_long = result.document.as_ref().unwrap().id == "long";
        assert_eq!(result.highlights.len(), if is_long { 3 } else { 0 });
    }
    let diverse = v1::SearchRequest { diversity: Some(v1::Diversity::default()), ..hybrid(near("c", &[1.0], 1)) };
    assert_eq!(search(&mut client, diverse).await.results[0].highlights, response.results[0].highlights);

    // Each search of a batch has its own setting.
    let searches =
        vec![highlighted(words("", "dog fox", 1)), words("", "dog fox", 1), highlighted(words("", "owl", 1))];
    let request = v1::SearchBatchRequest { collection: "c".into(), searches };
    let responses = client.search_batch(request).await.unwrap().into_inner().responses;
    assert_eq!(responses[0].results[0].highlights, response.results[0].highlights);
    assert!(responses[1].results[0].highlights.is_empty());
    assert_eq!(passages(&responses[2].results[0], "An owl."), ["An [owl]."]);

    invalid(client.search(highlighted(near("c", &[1.0], 1))).await, &["highlight"]);
    let searches = vec![highlighted(near("", &[1.0], 1))];
    let request = v1::SearchBatchRequest { collection: "c".into(), searches };
    invalid(client.search_batch(request).await, &["searches[0].highlight"]);
}

#[rstest]
#[tokio::test]
async fn chunks_have_their_own_places(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let chunking = v1::Chunking {
        method: ChunkingMethod::Text.into(),
        unit: ChunkUnit::Characters.into(),
        max_size: 100,
        overlap: 0,
        embed_headings: None,
    };
    let mut request = texts("c");
    request.collection.as_mut().unwrap().chunking = Some(chunking);
    client.create_collection(request).await.unwrap();
    let sentence = |animal: &str| format!("Thé {animal} sleeps all day, and says nothing about it to the neighbours.");
    let text = ["owl", "bee", "fox", "hen"].map(sentence).join("\n\n");
    ingest(&mut client, "c", vec![text_document("a", &text)]).await;
    for include_full_text in [false, true] {
        let request = v1::SearchRequest { include_full_text, ..highlighted(words("c", "fox", 10)) };
        let response = search(&mut client, request).await;
        let [result] = &response.results[..] else { panic!("{response:?}") };
        let chunk = result.chunk.as_ref().unwrap();
        assert_eq!(passages(result, &chunk.text), [sentence("[fox]")]);
        let span = result.highlights[0].words[0];
        let place = |at: i32| (chunk.start + at) as usize;
        let word: String = text.chars().skip(place(span.start)).take(3).collect();
        assert_eq!((word.as_str(), place(span.end) - place(span.start)), ("fox", 3));
    }
}

/// Inflected forms, scripts without spaces, phrases, and the language of the document. Excluded words are not marked.
#[rstest]
#[case::german(
    "german",
    "Die Häuser am Fluß: ein altes HAUS.",
    "haus fluss",
    "Die [Häuser] am [Fluß]: ein altes [HAUS]."
)]
#[case::chinese("simple", "敏捷的棕色狐狸跳过了懒狗。", "狐狸", "敏捷的棕色[狐狸]跳过了懒狗。")]
#[case::thai("simple", "กระต่ายวิ่งเร็วมาก", "วิ่ง", "กระต่าย[วิ่ง]เร็วมาก")]
#[case::detected(
    "auto",
    "Die alten Häuser in der kleinen Stadt wurden von den Bürgern wieder aufgebaut.",
    "haus",
    "Die alten [Häuser] in der kleinen Stadt wurden von den Bürgern wieder aufgebaut."
)]
#[case::phrase(
    "english",
    "Dogs are lazy. A lazy dog sleeps.",
    "\"lazy dogs\"",
    "Dogs are lazy. A [lazy] [dog] sleeps."
)]
#[case::compound("english", "The part XK-4711 fits.", "xk-4711", "The part [XK-4711] fits.")]
#[case::excluded("english", "A fox, and a dogged fox.", "foxes -cats", "A [fox], and a dogged [fox].")]
#[tokio::test]
async fn words_are_marked_in_every_language(
    #[values(false, true)] is_chunked: bool,
    #[case] language: &str,
    #[case] text: &str,
    #[case] query: &str,
    #[case] wanted: &str,
) {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut request = vectors("c", 1, v1::Distance::L2);
    let collection = request.collection.as_mut().unwrap();
    collection.text_search_language = language.into();
    if is_chunked {
        *collection = v1::Collection {
            embedding: texts("c").collection.unwrap().embedding,
            chunking: Some(v1::Chunking { method: ChunkingMethod::Text.into(), ..Default::default() }),
            ..collection.clone()
        };
    }
    client.create_collection(request).await.unwrap();
    let vector = (!is_chunked).then(|| v1::Vector { values: vec![1.0] });
    ingest(&mut client, "c", vec![v1::Document { vector, ..text_document("a", text) }]).await;
    let response = search(&mut client, highlighted(words("c", query, 10))).await;
    assert_eq!(passages(&response.results[0], text), [wanted]);
}

/// Texts that are not returned and are together larger than an answer may be, and a text of maximum length.
#[tokio::test]
async fn long_texts_are_scanned_from_the_beginning() {
    let server = Server::start(18).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.unwrap();
    let mut long = "fox ".to_owned() + &"xyz ".repeat(2 * 1024 * 1024 - 2);
    long += "hen ";
    for id in ["a", "b", "c"] {
        let vector = Some(v1::Vector { values: vec![1.0] });
        ingest(&mut client, "c", vec![v1::Document { vector, ..text_document(id, &long) }]).await;
    }
    let mask = Some(prost_types::FieldMask { paths: vec!["id".into()] });
    let request = v1::SearchRequest { read_mask: mask, ..highlighted(words("c", "fox hen", 3)) };
    let response = search(&mut client, request).await;
    assert_eq!(response.results.len(), 3);
    for result in &response.results {
        let shown = passages(result, &long[..1000]);
        assert!(shown.len() == 1 && shown[0].starts_with("[fox] xyz xyz"), "{shown:?}");
    }
}
