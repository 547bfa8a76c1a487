//! What texts and queries become.

use super::*;

mod limits;
mod queries;

fn of_text(text: &str, language: TextLanguage) -> TextWords {
    TextAnalyzer::default().words(text, language.of(text))
}

/// The lexemes of a text with their positions, as Postgres writes a tsvector.
fn lexemes(text: &str, language: Language) -> String {
    let words = of_text(text, TextLanguage::One(language));
    assert!(!words.is_cut, "{text}");
    let lexeme = |lexeme: &Lexeme| {
        let positions: Vec<_> = lexeme.positions.iter().map(u16::to_string).collect();
        format!("{}:{}", lexeme.text, positions.join(","))
    };
    words.lexemes.iter().map(lexeme).collect::<Vec<_>>().join(" ")
}

#[test]
fn words_of_english_texts() {
    for (text, expected) in [
        ("", ""),
        ("The Who", ""),
        ("The quick brown foxes", "brown:3 fox:4 quick:2"),
        ("a fox and a fox", "fox:2,5"),
        ("“normal” Pgfox™", "normal:1 pgfox:2"),
        ("customer’s customer's CUSTOMERS", "custom:1,3,5"),
        ("don't won't isn’t we'll stay", "stay:9"),
        ("input/output", "input:1 input/output:1 output:2"),
        ("XK-4711", "4711:2 xk:1 xk-4711:1"),
        ("docs.acme.com", "acm:2 com:3 doc:1 docs.acme.com:1"),
        ("/var/log/syslog", "log:2 syslog:3 var:1 var/log/syslog:1"),
        ("see Node.js.", "js:3 node:2 node.js:2 see:1"),
        ("jo.doe@acme.com", "acm:3 acme.com:3 com:4 doe:2 jo:1 jo.doe:1 jo.doe@acme.com:1"),
        ("snake_case camelCase", "camelcas:3 case:2 snake:1 snake_case:1"),
        ("C++, C# and C", "c:1,2,4 c#:2 c++:1"),
        ("1.2.3", "1:1 1.2.3:1 2:2 3:3"),
        ("3.14 10,000 one,two", "000:4 10:3 10,000:3 14:2 3:1 3.14:1 one:5 two:6"),
        ("AT&T", "at&t:1"),
        ("to-do", "to-do:1"),
        ("state-of-the-art", "art:4 state:1 state-of-the-art:1"),
        ("a--b - c -", "b:2 c:3"),
        ("café cafe CAFE\u{301} résumé resume", "cafe:1,2,3 resum:4,5"),
        ("MÜNCHEN mu\u{308}nchen", "munchen:1,2"),
        ("Straße STRASSE", "strass:1,2"),
        ("İstanbul ISTANBUL", "istanbul:1,2"),
        ("Łódź Ørsted", "lodz:1 orst:2"),
        ("ＡＢＣ－１２３ ﬁnance", "123:2 abc:1 abc-123:1 financ:3"),
        ("soft\u{ad}ware zero\u{200b}width \u{202b}right\u{200f}", "right:3 softwar:1 zerowidth:2"),
        ("👍🏽 ❤️ 🇩🇪 👩‍💻", "❤:2 🇩🇪:3 👍:1 👩:4 💻:5"),
        ("数据库", "库:2 数据:1"),
        ("Node.js入门", "js:2 node:1 node.js:1 入门:3"),
        ("咖啡馆，飲み", "み:4 咖啡:1 飲:3 馆:2"),
        ("ﾃﾞｰﾀﾍﾞｰｽ データベース テ\u{3099}ータベース", "データベース:1,2,3"),
        ("ประเทศไทย", "ประเทศ:1 ไทย:2"),
        ("камень КАМЕНЬ ёлка", "елка:3 камень:1,2"),
        ("ΣΊΣΥΦΟΣ Σίσυφος", "σισυφοσ:1,2"),
        ("हिन्दी", "हिन्दी:1"),
        ("\u{301}\u{327} ™ ♥\u{fe0f}", "♥:1"),
    ] {
        assert_eq!(lexemes(text, Language::English), expected, "{text}");
    }
}

#[test]
fn parts_of_urls_are_words() {
    assert_eq!(
        lexemes("https://docs.acme.com/guide/installation#top", Language::Simple),
        "acme:3 com:4 docs:2 docs.acme.com:2 docs.acme.com/guide/installation:2 guide:5 https:1 installation:6 top:7"
    );
    let long = format!("https://acme.com/{}/installation", "x".repeat(200));
    let words = lexemes(&long, Language::Simple);
    assert!(words.ends_with(&format!("installation:5 {}:4", "x".repeat(200))), "{words}");
}

#[test]
fn each_language_has_its_accents_and_stems() {
    for (language, text, expected) in [
        (Language::German, "München Muenchen MUNCHEN Häuser Haus café", "cafe:6 haus:4,5 munch:1,2,3"),
        (Language::French, "l'amour élève eleve cœur COEUR", "amour:2 coeur:5,6 elev:3,4"),
        (Language::Spanish, "año ano canción cancion canciones", "ano:2 año:1 cancion:3,4,5"),
        (Language::Swedish, "Malmö malmo café", "cafe:3 malmo:2 malmö:1"),
        (Language::Turkish, "İSTANBUL ISTANBUL istanbul", "istanbul:1,2,3"),
        (Language::Russian, "ёлка елка Running КНИГА книги", "run:3 елк:1,2 книг:4,5"),
        (Language::Greek, "ΣΊΣΥΦΟΣ σισυφος", "σισυφ:1,2"),
        (Language::Arabic, "كِتَاب كتاب", "كتاب:1,2"),
        (Language::Hindi, "किताबें किताब", "किताब:1,2"),
        (Language::Simple, "the running ÉTÉ été", "ete:3,4 running:2 the:1"),
    ] {
        assert_eq!(lexemes(text, language), expected, "{text}");
    }
}

#[test]
fn composed_and_decomposed_texts_have_the_same_words() {
    for text in ["Müller café Ångström", "한국어 텍스트", "データベース", "Việt Nam", "Σίσυφος", "йод ёлка"]
    {
        let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned();
        assert_ne!(text, decomposed);
        for language in Language::ALL {
            assert_eq!(lexemes(text, *language), lexemes(&decomposed, *language), "{text} in {language:?}");
        }
    }
}

#[test]
fn languages_have_the_names_of_postgres() {
    for language in Language::ALL {
        assert_eq!(Language::from_name(language.name()), Some(*language));
    }
    assert_eq!(Language::ALL.len(), 30);
    assert_eq!(Language::from_name("polish"), None);
}

#[test]
fn the_language_of_a_text_is_detected() {
    for (text, expected) in [
        ("The quick brown fox jumps over the lazy dog near the river", Language::English),
        ("Der schnelle braune Fuchs springt über den faulen Hund", Language::German),
        ("Los perros corren por la calle y los gatos duermen en el sofá", Language::Spanish),
        ("Мы читаем книги о базах данных и поиске в них", Language::Russian),
        ("Γεια σου κόσμε", Language::Greek),
        ("L’amour est aveugle", Language::French),
        // Not supported.
        ("Psy biegają po ulicy a koty śpią na kanapie w salonie", Language::Simple),
        ("数据库", Language::Simple),
        // Nothing shows the language.
        ("red shoes", Language::Simple),
        ("4711", Language::Simple),
        ("", Language::Simple),
    ] {
        assert_eq!(TextLanguage::Auto.of(text), expected, "{text}");
    }
}

#[test]
fn words_are_found_in_the_original_text() {
    let found = |text: &str, language, query: &str| -> Vec<String> {
        let terms = of_pieces(&pieces(query, Syntax::Operators), &[language]);
        find(text, language, &terms).iter().map(|found| text[found.start..found.end].to_owned()).collect()
    };
    assert_eq!(found("The Foxes ran. A fox’s den.", Language::English, "fox running"), ["Foxes", "fox"]);
    assert_eq!(found("red fox, red dog, lazy red fox", Language::English, "\"red fox\""), ["red", "fox", "red", "fox"]);
    assert_eq!(found("a cafe\u{301} in MÜNCHEN", Language::German, "café muenchen"), ["cafe\u{301}", "MÜNCHEN"]);
    assert_eq!(found("XK-4711, XK 4711", Language::English, "\"xk-4711\""), ["XK", "4711", "XK", "4711"]);
    assert_eq!(found("the XK-4711", Language::English, "xk-4711"), ["XK", "XK-4711", "4711"]);
    assert_eq!(found("我们的数据库", Language::Simple, "数据"), ["数据"]);
    assert_eq!(found("C++ and C", Language::English, "\"c++\""), ["C++"]);
    assert_eq!(found("state of the art", Language::English, "\"state of the art\""), ["state", "art"]);
}
