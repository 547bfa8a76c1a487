//! Case, width, ligatures, accents and characters that nobody sees: what words do not differ by.

use std::borrow::Cow;

use icu_normalizer::{
    ComposingNormalizerBorrowed,
    properties::{CanonicalDecompositionBorrowed, Decomposed},
};
use icu_properties::{CodePointSetData, CodePointSetDataBorrowed, props::DefaultIgnorableCodePoint};

use super::Language;

const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
const NFD: CanonicalDecompositionBorrowed<'static> = CanonicalDecompositionBorrowed::new();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();

/// Soft hyphens, zero-width characters, bidi marks, variation selectors and the like.
pub(super) fn is_ignorable(c: char) -> bool {
    IGNORABLE.contains(c)
}

/// Small letters in Unicode's form NFKC, without ignorable characters.
pub(super) fn case(word: &str, language: Language) -> String {
    let is_turkish = language == Language::Turkish;
    if word.is_ascii() {
        return if is_turkish { word.replace('I', "ı").to_ascii_lowercase() } else { word.to_ascii_lowercase() };
    }
    let seen: Cow<'_, str> = if word.contains(is_ignorable) {
        word.chars().filter(|c| !is_ignorable(*c)).collect::<String>().into()
    } else {
        word.into()
    };
    let mut folded = String::with_capacity(seen.len());
    for c in NFKC.normalize(&seen).chars() {
        match c {
            'I' if is_turkish => folded.push('ı'),
            'İ' => folded.push('i'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            c if is_optional_mark(c, language) => {}
            c => folded.extend(c.to_lowercase()),
        }
    }
    match NFKC.normalize(&folded) {
        Cow::Borrowed(_) => folded,
        Cow::Owned(folded) => folded,
    }
}

/// Marks of scripts that most texts are written without: vowel points of Arabic and Hebrew with the tatweel, and the
/// stress of Cyrillic, which forms no letter.
fn is_optional_mark(c: char, language: Language) -> bool {
    match c {
        '\u{591}'..='\u{5bd}' | '\u{5bf}'..='\u{5c7}' => language != Language::Yiddish,
        '\u{640}' | '\u{64b}'..='\u{652}' | '\u{656}'..='\u{65f}' | '\u{670}' => true,
        _ => false,
    }
}

/// Without accents, except on the letters that have a place of their own in the alphabet of the language. Marks of
/// other scripts than Latin and Greek stay: they are vowels or make other letters. `ё` becomes `е`.
pub(super) fn accents(word: String, language: Language) -> String {
    if word.is_ascii() {
        return word;
    }
    let kept = own_letters(language);
    let mut folded = String::with_capacity(word.len());
    let mut has_foldable_base = false;
    for c in word.chars() {
        if c.is_ascii() || kept.contains(c) {
            has_foldable_base = c.is_ascii();
            folded.push(c);
            continue;
        }
        if matches!(c, '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20ff}') {
            if !has_foldable_base {
                folded.push(c);
            }
            continue;
        }
        let base = if is_latin_or_greek(c) { base(c) } else { c };
        has_foldable_base = is_latin_or_greek(base) || matches!(base, '\u{400}'..='\u{52f}');
        match base {
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' | 'ð' => folded.push('d'),
            'ħ' => folded.push('h'),
            'ŧ' => folded.push('t'),
            'ı' => folded.push('i'),
            'ё' => folded.push('е'),
            base => folded.push(base),
        }
    }
    folded
}

/// Letters with marks that are not variants of the letter below.
fn own_letters(language: Language) -> &'static str {
    match language {
        Language::Swedish | Language::Finnish => "åäö",
        Language::Danish | Language::Norwegian => "åæøäö",
        Language::Estonian => "õäöüšž",
        Language::Hungarian => "áéíóöőúüű",
        Language::Lithuanian => "ąčęėįšųūž",
        Language::Serbian => "čćšžđ",
        Language::Spanish | Language::Basque => "ñ",
        // Not `ı`: capitals are written with and without the dot, also by Turks.
        Language::Turkish => "çğöşü",
        _ => "",
    }
}

fn is_latin_or_greek(c: char) -> bool {
    matches!(c, 'a'..='z' | '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{3ff}' | '\u{1e00}'..='\u{1fff}')
}

/// The letter below all marks.
fn base(c: char) -> char {
    match NFD.decompose(c) {
        Decomposed::Singleton(base) | Decomposed::Expansion(base, _) if base != c => self::base(base),
        _ => c,
    }
}

/// The form NFKC of Unicode, for a text that is cut by a dictionary.
pub(super) fn compose(text: &str) -> Cow<'_, str> {
    NFKC.normalize(text)
}
