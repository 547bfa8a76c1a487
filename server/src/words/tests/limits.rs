//! Texts that are as large or odd as they may be.

use super::*;

/// Bytes of a tsvector as Postgres counts them.
fn bytes(words: &TextWords) -> usize {
    let bytes = |lexeme: &Lexeme| lexeme.text.len().next_multiple_of(2) + 2 + 2 * lexeme.positions.len();
    words.lexemes.iter().map(bytes).sum()
}

fn check(text: &str, language: TextLanguage) -> TextWords {
    let words = of_text(text, language);
    assert!(bytes(&words) <= 1_000_000);
    assert!(words.lexemes.is_sorted_by(|a, b| a.text < b.text));
    for lexeme in &words.lexemes {
        assert!((1..=2_046).contains(&lexeme.text.len()));
        assert!((1..=256).contains(&lexeme.positions.len()));
        assert!(lexeme.positions.is_sorted_by(|a, b| a < b));
        assert!(lexeme.positions.iter().all(|position| (1..=16_383).contains(position)));
    }
    words
}

#[test]
fn limits_of_tsvector_are_kept() {
    let one = TextLanguage::One(Language::English);
    let words = check(&"ä".repeat(5_000), one);
    assert!(words.is_cut && words.count == 1 && words.lexemes[0].text.len() == 2_046);

    let words = check(&"fox ".repeat(300), one);
    assert!(words.is_cut && words.count == 300 && words.lexemes[0].positions.len() == 256);

    let distinct: String = (0..20_000).map(|number| format!("w{number} ")).collect();
    let words = check(&distinct, one);
    assert!(words.is_cut && words.lexemes.len() == 20_000, "each is kept, at the last position");

    let distinct: String = (0..150_000).map(|number| format!("word{number} ")).collect();
    let words = check(&distinct, one);
    assert!(words.is_cut && words.count == 150_000);
    assert!((990_000..=1_000_000).contains(&bytes(&words)));
    assert!(words.lexemes.iter().any(|lexeme| &*lexeme.text == "word0"));
}

#[test]
fn texts_before_change_nothing() {
    let mut analyzer = TextAnalyzer::default();
    let long: String = (0..150_000).map(|number| format!("word{number} ")).collect();
    let cut = "ä".repeat(5_000);
    for text in ["The foxes' den", &cut, "a fox, C++ and c", &long, "word149999 foxes", &cut, "The Foxes’ dens"] {
        for language in [Language::English, Language::German] {
            assert_eq!(analyzer.words(text, language), of_text(text, TextLanguage::One(language)), "{language:?}");
        }
    }
}

#[test]
fn odd_texts_are_taken() {
    for part in [
        "\u{301}",
        "\u{200b}\u{200f}",
        "a\u{301}\u{327}",
        "a/",
        "a-",
        "a.",
        "a'",
        "'s",
        "😀🏽",
        "🇩",
        "数",
        "ก",
        "か\u{3099}",
        "ﾞ",
        "a数ไ😀б",
        "\u{ad}",
        "#",
        "C++",
        "\"",
        "-",
    ] {
        let text = part.repeat(20_000 / part.len());
        for language in [TextLanguage::Auto, TextLanguage::One(Language::English), TextLanguage::One(Language::German)]
        {
            check(&text, language);
        }
        let pieces = pieces(&text, Syntax::Operators);
        find(&text, Language::English, &of_pieces(&pieces, &[Language::English]));
    }
}

#[test]
fn long_texts_of_thai_are_cut_by_dictionaries() {
    let count = |text: &str| of_text(text, TextLanguage::One(Language::Simple)).count;
    // The models find two words, the dictionaries one.
    let country = "ประเทศไทย ";
    assert_eq!(count(&country.repeat(100)), 200);
    let times = 20_000;
    assert!(count(&country.repeat(times)) < 2 * times as u32);
    // Also where Chinese comes before it.
    let mixed = format!("中{country}");
    assert!(count(&mixed.repeat(times)) < 3 * times as u32);
}

/// The stemmers take every character of every script.
#[test]
fn each_stemmer_takes_each_character() {
    let endings = ["", "s", "ing", "ción", "ung", "ами", "ουν", "ים", "ات", "ों", "க்கு", "ler", "ään", "ība"];
    let mut text = String::new();
    for (index, code) in (0..0x3_0000).step_by(97).chain(0..0x700).enumerate() {
        let Some(c) = char::from_u32(code) else { continue };
        let ending = endings[index % endings.len()];
        text.extend([c.to_string().as_str(), ending, " ", ending, c.to_string().as_str(), "a", ending, " "]);
    }
    for language in Language::ALL {
        check(&text, TextLanguage::One(*language));
    }
}
