//! In which language a text is.

use std::ops::ControlFlow;

use whatlang::Lang;

use super::{
    Language, fold,
    split::{Kind, split},
};

/// Bytes at the beginning of a text that its language is detected by.
const SAMPLE: usize = 4_096;
/// Fewer letters say too little by their sequence; stop words decide.
const MIN_LETTERS: usize = 40;

/// The language of a text, [`Language::Simple`] when it is not supported or cannot be detected.
///
/// The frequencies of three letters in sequence decide (Cavnar and Trenkle, 1994). Where they are not reliable, as in
/// short texts, the language with the most stop words does, if no other has as many.
pub(super) fn language(text: &str) -> Language {
    let text = text.trim_start();
    let sample = &text[..text.floor_char_boundary(SAMPLE)];
    let letters = sample.chars().filter(|c| c.is_alphabetic()).take(MIN_LETTERS).count();
    let Some(detected) = whatlang::detect(sample) else { return Language::Simple };
    if detected.is_reliable() && letters >= MIN_LETTERS {
        return supported(detected.lang()).unwrap_or(Language::Simple);
    }
    by_stop_words(sample).unwrap_or_else(|| match supported(detected.lang()) {
        // Its script has no other language, so that few letters are enough.
        Some(language) if detected.confidence() == 1.0 && !detected.script().langs().contains(&Lang::Eng) => language,
        _ => Language::Simple,
    })
}

fn by_stop_words(sample: &str) -> Option<Language> {
    let mut counts = vec![0_u32; Language::ALL.len()];
    let _ = split(sample, |token| {
        if matches!(token.kind, Kind::Word | Kind::Contraction) {
            let word = fold::case(&sample[token.start..token.end], Language::Simple);
            for (language, count) in Language::ALL.iter().zip(&mut counts) {
                *count += u32::from(language.stop_words().contains(word.as_str()));
            }
        }
        ControlFlow::Continue(())
    });
    let most = counts.iter().copied().max().filter(|most| *most > 0)?;
    let mut best = Language::ALL.iter().zip(&counts).filter(|(_, count)| **count == most);
    let (language, _) = best.next()?;
    best.next().is_none().then_some(*language)
}

fn supported(language: Lang) -> Option<Language> {
    Some(match language {
        Lang::Ara => Language::Arabic,
        Lang::Hye => Language::Armenian,
        Lang::Cat => Language::Catalan,
        Lang::Dan => Language::Danish,
        Lang::Nld => Language::Dutch,
        Lang::Eng => Language::English,
        Lang::Est => Language::Estonian,
        Lang::Fin => Language::Finnish,
        Lang::Fra => Language::French,
        Lang::Deu => Language::German,
        Lang::Ell => Language::Greek,
        Lang::Hin => Language::Hindi,
        Lang::Hun => Language::Hungarian,
        Lang::Ind => Language::Indonesian,
        Lang::Ita => Language::Italian,
        Lang::Lit => Language::Lithuanian,
        Lang::Nep => Language::Nepali,
        Lang::Nob => Language::Norwegian,
        Lang::Por => Language::Portuguese,
        Lang::Ron => Language::Romanian,
        Lang::Rus => Language::Russian,
        Lang::Srp => Language::Serbian,
        Lang::Spa => Language::Spanish,
        Lang::Swe => Language::Swedish,
        Lang::Tam => Language::Tamil,
        Lang::Tur => Language::Turkish,
        Lang::Yid => Language::Yiddish,
        _ => return None,
    })
}
