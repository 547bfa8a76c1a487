//! Pieces and terms of queries.

use super::*;

/// The pieces with their operators.
fn read(query: &str) -> Vec<String> {
    let piece = |piece: &Piece| {
        let quote = if piece.is_phrase { "\"" } else { "" };
        format!("{}{quote}{}{quote}", if piece.is_excluded { "NOT " } else { "" }, piece.text)
    };
    pieces(query, Syntax::Operators).iter().map(piece).collect()
}

fn terms(query: &str, languages: &[Language]) -> Vec<String> {
    let term = |term: &Term| {
        let pattern = match &term.pattern {
            Pattern::Word(any) => any.join("|"),
            Pattern::Phrase(steps) => {
                steps.iter().map(|step| format!("<{}>{}", step.distance, step.any.join("|"))).collect()
            }
        };
        if term.count == 1 { pattern } else { format!("{pattern}*{}", term.count) }
    };
    of_pieces(&pieces(query, Syntax::Operators), languages).iter().map(term).collect()
}

#[test]
fn options_and_numbers_are_no_exclusions() {
    for query in [
        "tar -xvf archive",
        "docker run --rm -it ubuntu",
        "error -1073741819",
        "ls -l",
        "python -m venv",
        "curl -X POST",
        "well-known a-b",
    ] {
        assert_eq!(read(query), query.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn operators_are_read() {
    for (query, expected) in [
        ("fox -dog", &["fox", "NOT dog"][..]),
        ("jaguar -car", &["jaguar", "NOT car"]),
        ("fox -\"lazy dog\"", &["fox", "NOT \"lazy dog\""]),
        ("\"red fox\" -Hund", &["\"red fox\"", "NOT Hund"]),
        ("Fuchs -Jäger", &["Fuchs", "NOT Jäger"]),
        ("狐 -狗", &["狐", "NOT 狗"]),
        ("-dog fox", &["NOT dog", "fox"]),
        ("tar -\"xvf\"", &["tar", "NOT \"xvf\""]),
        ("“red fox” „blauer Fuchs“", &["\"red fox\"", "\"blauer Fuchs\""]),
        ("找“数据库”吧", &["找", "\"数据库\"", "吧"]),
        ("\"fox -dog\"", &["\"fox -dog\""]),
        // Nothing would be left.
        ("-dog", &["dog"]),
        ("-\"lazy dog\" -fox", &["\"lazy dog\"", "fox"]),
        // Punctuation.
        ("5\" pipe 7\" pipe", &["5\"", "pipe", "7\"", "pipe"]),
        ("\"red fox", &["\"red", "fox"]),
        ("- \" -- …", &[]),
        ("", &[]),
    ] {
        assert_eq!(read(query), expected, "{query}");
    }
    let plain = pieces("\"red fox\" -dog", Syntax::Plain);
    assert!(plain.iter().all(|piece| !piece.is_phrase && !piece.is_excluded));
    assert_eq!(plain.len(), 3);
}

#[test]
fn pieces_become_terms() {
    let english = &[Language::English][..];
    for (query, expected) in [
        ("fox Foxes dog", &["fox*2", "dog"][..]),
        ("XK-4711", &["xk-4711", "xk", "4711"]),
        ("\"XK-4711\"", &["<0>xk<1>4711"]),
        ("fox -docs.acme.com", &["fox", "<0>doc<1>acm<1>com"]),
        ("\"state of the art\"", &["<0>state<3>art"]),
        ("\"foxes\"", &["fox"]),
        ("\"to be or not to be\"", &[]),
        ("数据库", &["数据", "库", "<0>数据<1>库"]),
        ("\"数据库\"", &["<0>数据<1>库"]),
        ("C++", &["c++", "c"]),
        ("\"C++ templates\"", &["<0>c++<1>templat"]),
        ("The Who", &[]),
        ("customer’s", &["custom"]),
        ("input/output", &["input", "output"]),
        ("and/or", &["and/or"]),
    ] {
        assert_eq!(terms(query, english), expected, "{query}");
    }
    let both = &[Language::English, Language::German, Language::Simple][..];
    assert_eq!(terms("houses", both), ["hous|houses"]);
    assert_eq!(terms("\"die Häuser\"", both), ["<0>die<1>hauser|haus"]);
}

#[test]
fn queries_have_a_maximum_of_words() {
    let words = |pieces: &[Piece]| {
        pieces.iter().map(|piece| of_text(&piece.text, TextLanguage::One(Language::Simple)).count).sum::<u32>()
    };
    for query in [
        "fox ".repeat(10_000),
        "fox/".repeat(10_000),
        "数据库".repeat(10_000),
        format!("\"{}\"", "fox ".repeat(10_000)),
    ] {
        for syntax in [Syntax::Plain, Syntax::Operators] {
            assert_eq!(words(&pieces(&query, syntax)), MAX_QUERY_WORDS as u32);
        }
    }
    assert_eq!(pieces(&"- ".repeat(100_000), Syntax::Operators), []);
}
