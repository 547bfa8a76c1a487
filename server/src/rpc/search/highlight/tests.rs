use super::*;
use crate::words::Syntax;

/// The passages of a text, with the words in brackets.
fn shown(text: &str, query: &str) -> Vec<String> {
    let language = Language::Simple;
    let terms = words::of_pieces(&words::pieces(query, Syntax::Plain), &[language]);
    let highlighter = Highlighter { terms, language: TextLanguage::One(language), languages: vec![language] };
    highlighter.highlight_text(text, &[language]).iter().map(|highlight| checked(text, highlight)).collect()
}

fn checked(text: &str, highlight: &v1::Highlight) -> String {
    let characters: Vec<char> = text.chars().collect();
    let of = |start: i32, end: i32| characters[start as usize..end as usize].iter().collect::<String>();
    assert_eq!(of(highlight.start, highlight.end), highlight.text);
    assert!(highlight.text.chars().count() <= MAX_CHARACTERS && highlight.words.len() <= MAX_WORDS);
    let mut marked = String::new();
    let mut at = highlight.start;
    for word in &highlight.words {
        assert!(at <= word.start && word.start < word.end && word.end <= highlight.end);
        marked += &format!("{}[{}]", of(at, word.start), of(word.start, word.end));
        at = word.end;
    }
    marked + &of(at, highlight.end)
}

#[test]
fn a_short_text_is_shown_whole() {
    assert_eq!(shown("A fox and a dog.", "dog fox owl"), ["A [fox] and a [dog]."]);
    assert_eq!(shown("  A fox.\n", "fox"), ["A [fox]."]);
    assert_eq!(shown("A fox.", "owl"), [""; 0]);
    assert_eq!(shown("", "owl"), [""; 0]);
    assert_eq!(shown("A fox.", "..."), [""; 0]);
}

#[test]
fn more_words_come_first_and_passages_are_sentences() {
    let filler = "Nothing of interest happens in this sentence, or in the next one. ".repeat(10);
    let text = format!(
        "A fox sleeps. {filler}The dog barks at a fox. {filler}The dog is old; the dog is grey. {filler}A fox. {filler}"
    );
    let shown = shown(&text, "fox dog");
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown[0].contains("The [dog] barks at a [fox]."), "{shown:?}");
    assert!(shown[1].contains("The [dog] is old; the [dog] is grey."), "{shown:?}");
    assert!(shown[2].starts_with("A [fox] sleeps. Nothing"), "{shown:?}");
    assert!(shown.iter().all(|passage| passage.ends_with('.')), "{shown:?}");
}

#[test]
fn passages_do_not_overlap_and_keep_words_whole() {
    for text in ["fox ".repeat(1_000), "fox, owl; ".repeat(400), "a fox\n".repeat(300), "ἀλώπηξ fox. ".repeat(200)]
    {
        let terms = vec![Term { pattern: words::Pattern::Word(vec!["fox".into()]), count: 1 }];
        let mut places: Vec<(i32, i32)> = passages(&text, &words::find(&text, Language::Simple, &terms), 1)
            .iter()
            .map(|highlight| {
                checked(&text, highlight);
                let first = highlight.text.chars().next().unwrap();
                assert!("faoἀ".contains(first), "{highlight:?}");
                (highlight.start, highlight.end)
            })
            .collect();
        places.sort_unstable();
        assert_eq!(places.len(), 3);
        assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{places:?}");
    }
}

#[test]
fn positions_are_characters() {
    let text = "👩‍👩‍👧 e\u{301}te\u{301} 🦊 fox — ру\u{301}сский";
    assert_eq!(shown(text, "fox"), ["👩‍👩‍👧 e\u{301}te\u{301} 🦊 [fox] — ру\u{301}сский"]);
    let text = format!("{}fox{}", "🦊 ".repeat(500), " 🦊".repeat(500));
    let shown = shown(&text, "fox");
    assert!(shown[0].contains("🦊 [fox] 🦊") && shown[0].chars().count() > 190, "{shown:?}");
}

#[test]
fn scripts_without_spaces_are_cut_between_words() {
    let sentence = "กระต่ายวิ่งเร็วมากในทุ่งหญ้าสีเขียว";
    let text = format!("{} fox {}", sentence.repeat(20), sentence.repeat(20));
    let shown = shown(&text, "fox");
    let words = ["กระต่าย", "วิ่ง", "เร็ว", "มาก", "ใน", "ทุ่ง", "หญ้า", "สี", "เขียว"];
    assert!(words.iter().any(|word| shown[0].starts_with(word)), "{shown:?}");
    assert!(words.iter().any(|word| shown[0].ends_with(word)), "{shown:?}");
}

#[test]
fn places_that_overlap_are_one() {
    let text = "the part XK-4711 of it";
    let found = [(9, 16, 0), (9, 11, 1), (12, 16, 2)].map(|(start, end, term)| Found { start, end, term });
    let marked = |found: &[Found], text: &str| {
        passages(text, found, 3).iter().map(|highlight| checked(text, highlight)).collect::<Vec<_>>()
    };
    assert_eq!(marked(&found, text), ["the part [XK-4711] of it"]);
    // A chain of overlapping phrases, and a word that is longer than a passage.
    let chain: Vec<Found> = (0..999).map(|i| Found { start: 2 * i, end: 2 * i + 3, term: 0 }).collect();
    let shown = marked(&chain, &"ab".repeat(1_000));
    assert_eq!(shown.len(), 3);
    let long = [Found { start: 0, end: 1_000, term: 0 }];
    assert_eq!(marked(&long, &"x".repeat(1_000)), [format!("[{}]", "x".repeat(200))]);
}

#[test]
fn words_and_text_are_bounded() {
    let shown = shown(&"a-".repeat(300), "a");
    assert_eq!(shown[0].matches('[').count(), MAX_WORDS);
    let text = format!("{}fox", "x ".repeat(MAX_BYTES / 2));
    assert_eq!(super::tests::shown(&text, "fox"), [""; 0], "beyond the part that is scanned");
    let text = format!("{}fox", "x ".repeat(MAX_BYTES / 2 - 10));
    assert!(super::tests::shown(&text, "fox")[0].ends_with(" x [fox]"));
}

#[test]
fn rarely_a_boundary() {
    // Neither a word nor a sentence ends near the words.
    let text = format!("{}fox{}", "x_".repeat(5_000), "_x".repeat(5_000));
    let found = [Found { start: 10_000, end: 10_003, term: 0 }];
    let shown: Vec<String> = passages(&text, &found, 1).iter().map(|highlight| checked(&text, highlight)).collect();
    assert_eq!(shown, ["[fox]"]);
}
